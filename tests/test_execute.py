"""One attempt: what an agent finds, what it may leave, and what counts as a success."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import runner
from gitflow_agents.execute import REPORT_BYTES, read_report
from gitflow_agents.models import Report
from tests import engine
from tests.engine import task
from tests.repos import Repo


def failure(repo: Repo, id: str = "1") -> tuple[str, str]:
    """Return the reason and the message with which a task failed."""
    kept = engine.record(repo, id)
    assert kept["status"] == "failed"
    return kept["reason"], kept["message"]


def report(repo: Repo, id: str = "1") -> dict[str, Any]:
    """Return what is stored about a task's newest attempt."""
    event = engine.record(repo, id)["attempts"][-1]["report"]
    return dict(engine.read_yaml(repo.show(event, ".gitflow/report.yaml")))


# --- what the agent finds -------------------------------------------------------------------------


def test_an_agent_is_told_who_it_is_and_where_its_papers_are(repo: Repo, tmp_path: Path) -> None:
    look = "env | grep -a ^GITFLOW_ | sort > seen.env; pwd > seen.pwd; git rev-parse HEAD > head; "
    more = "git symbolic-ref -q HEAD || echo detached > branch; cp $GITFLOW_BRIEF brief.md"
    engine.plan(repo, task("1", look + more, max_turns=7))
    engine.finished(repo, engine.go(repo))
    worktree = repo.path / ".worktrees" / "p" / "1"
    papers = repo.path / ".git" / "gitflow-agents" / "attempts" / "p" / "1" / "1"
    kept = engine.record(repo, "1")
    seen = dict(line.split("=", 1) for line in repo.show("flow/p", "seen.env").splitlines())
    assert seen == {
        "GITFLOW_ATTEMPT": "1",
        "GITFLOW_BRIEF": str(worktree / ".gitflow" / "brief.md"),
        "GITFLOW_CLAIM": kept["nonce"],
        "GITFLOW_FEEDBACK": str(worktree / ".gitflow" / "feedback.md"),
        "GITFLOW_MAX_TURNS": "7",
        "GITFLOW_PLAN": "p",
        "GITFLOW_PROGRESS": str(papers / "progress"),
        "GITFLOW_REPORT": str(papers / "report.yaml"),
        "GITFLOW_TASK": "1",
    }
    assert repo.show("flow/p", "seen.pwd") == f"{worktree}\n"
    assert repo.show("flow/p", "head") == f"{kept['claim']}\n"
    assert repo.show("flow/p", "branch") == "detached\n"
    assert repo.show("flow/p", "brief.md") == repo.show(kept["claim"], ".gitflow/brief.md")


def test_a_brief_is_kept_with_the_attempt_and_holds_what_the_agent_needs(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a; echo 'summary: use a' > $GITFLOW_REPORT", provides=["a file"]),
        task(
            "2",
            "cat a > b",
            preconditions=["a file"],
            description="Copy ## a: 'well', \"done\"\nand 😀",
            acceptance=["b is a"],
            verify=["cmp a b"],
            files=["b"],
        ),
        architecture="two files",
        decisions=[{"decision": "plain files", "why": "simple"}],
        gate=["test -e a"],
    )
    engine.finished(repo, engine.go(repo))
    brief = repo.show(engine.record(repo, "2")["claim"], ".gitflow/brief.md")
    for said in (
        "Try it",
        "two files",
        "plain files",
        "Copy ## a: 'well', \"done\"\nand 😀",
        "b is a",
        "cmp a b",
        "test -e a",
        "use a",
        engine.record(repo, "1")["merge"][:7],
    ):
        assert said in brief


def test_a_task_file_says_what_is_on_flow_when_its_branch_is_cut(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a", provides=["a"]),
        task("2", "echo 2 > b", depends_on=["1"], title="The second", priority="high"),
        task("3", "echo 3 > c", depends_on=["2"], preconditions=["a"]),
    )
    engine.finished(repo, engine.go(repo))
    seen = {}
    for id in "123":
        kept = engine.record(repo, id)
        file = engine.read_yaml(repo.show(kept["claim"], ".gitflow/task.yaml"))
        seen[id] = (file["completed_tasks"], file["plan_version"], file["depends_on"])
        assert (file["task_id"], file["branch"], file["flow"]) == (id, kept["branch"], "flow/p")
        assert file["plan_branch"] == "plan/p"
    assert seen == {
        "1": ([], "v1", []),
        "2": (["1"], "v1", ["1"]),
        "3": (["1", "2"], "v1", ["1", "2"]),
    }
    second = engine.read_yaml(repo.show(engine.record(repo, "2")["claim"], ".gitflow/task.yaml"))
    assert (second["title"], second["priority"], second["enables"]) == ("The second", "high", ["3"])


def test_a_working_directory_is_made_and_everything_of_the_task_runs_there(repo: Repo) -> None:
    engine.plan(
        repo,
        task(
            "1",
            "echo 1 > a",
            working_directory="deep/er",
            verify=["test -e a", "test $(basename $PWD) = er"],
            provides=[{"name": "a", "check": "grep 1 a"}],
        ),
        task("2", "cat a > b", working_directory="deep/er", preconditions=["a"]),
        gate=["test -e deep/er/a"],
    )
    engine.finished(repo, engine.go(repo))
    assert [path for path in repo.tree("flow/p") if path.startswith("deep")] == [
        "deep/er/a",
        "deep/er/b",
    ]


def test_a_working_directory_that_leads_out_runs_nothing(repo: Repo, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (repo.path / "link").symlink_to(outside)
    repo.commit("a link that leaves the repository")
    engine.plan(repo, task("1", "echo 1 > a", working_directory="link"))
    assert engine.go(repo).code == 4
    assert failure(repo) == ("path-violation", "the working directory leads out of the worktree")
    assert list(outside.iterdir()) == []


def test_an_agents_commits_are_its_own_and_recorded_by_the_tool(repo: Repo) -> None:
    commits = "echo 1 > a; git add a; git commit -qm 'first half'; echo 2 > b"
    engine.plan(repo, task("1", commits))
    engine.finished(repo, engine.go(repo))
    tip = engine.record(repo, "1")["merge"] + "^2"
    who = "command <command@agent.gitflow-agents.localhost>"
    tool = "gitflow-agents <gitflow-agents@localhost>"
    shown = repo.log(f"flow/p^^1..{tip}", "%s|%an <%ae>|%cn <%ce>").splitlines()
    assert shown == [
        f"1: attempt succeeded|{tool}|{tool}",
        f"1: Task 1|{who}|{tool}",
        f"first half|{who}|{tool}",
        f"claim 1: Task 1|{tool}|{tool}",
    ]


# --- set-up and copied files ----------------------------------------------------------------------


def test_set_up_runs_in_every_fresh_worktree_before_anything_else(
    repo: Repo, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    engine.config(repo, setup=[f"echo config >> {log}"])
    engine.plan(
        repo,
        task(
            "1",
            f"echo agent >> {log}; test -e ready && echo 1 > a",
            verify=[f"echo verify >> {log}"],
        ),
        setup=[f"echo plan >> {log}; touch ready"],
        gate=[f"test -e ready && echo gate >> {log}"],
    )
    engine.finished(repo, engine.go(repo))
    first = ["config", "plan", "agent", "verify"]
    assert log.read_text().split() == [*first, "config", "plan", "verify", "gate"]
    assert repo.tree("flow/p")[:2] == [".gitflow-agents.yml", "README.md"]
    assert "ready" not in repo.tree("flow/p")


def test_a_set_up_that_fails_is_told_with_its_last_lines_and_no_agent_starts(
    repo: Repo, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    engine.plan(
        repo,
        task("1", f"touch {started}; echo 1 > a"),
        setup=["touch junk; seq 30; echo no such package; exit 3", f"touch {started}"],
    )
    played = engine.go(repo)
    assert played.code == 4
    reason, message = failure(repo)
    assert (reason, message) == (
        "setup-failed",
        "setup `touch junk; seq 30; echo no such package; exit 3` exited with 3",
    )
    (told,) = (told for told in played.told if told.event == "attempt_failed")
    assert told.detail.splitlines()[-2:] == ["no such package", "next: gitflow-agents show p/1"]
    assert not started.exists()
    # What the set-up left is nobody's work, so there is none to bring back.
    assert "junk" not in repo.tree(engine.record(repo, "1")["attempts"][-1]["tip"])
    engine.tidy(repo)


def test_files_that_set_up_left_behind_are_not_committed(repo: Repo) -> None:
    repo.write(".gitignore", "*.log\n")
    repo.commit("ignore logs")
    engine.plan(
        repo,
        task("1", "echo 1 > a; echo more >> left/over; echo mine > own; echo l > x.log"),
        setup=["mkdir left; echo 1 > left/over; echo 2 > loose; echo 3 > y.log"],
    )
    engine.finished(repo, engine.go(repo))
    assert set(repo.tree("flow/p")) - set(repo.tree("main")) == {
        "a",
        "own",
        "plans/p.yaml",
        "plans/p.report.md",
        "plans/p.provides.yaml",
    }


def test_what_set_up_changes_in_committed_files_is_seen_as_work(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), setup=["echo more >> README.md"])
    engine.finished(repo, engine.go(repo))
    assert report(repo)["files_touched"] == ["README.md", "a"]


@pytest.mark.parametrize(
    "commit",
    [
        "",
        "; git add -A",
        "; git add -A; git commit -qm all",
        "; git add -A; git commit -qm all; git rm -rq --cached .env conf; git commit -qm oh",
    ],
)
def test_copied_files_are_there_and_never_committed(repo: Repo, commit: str) -> None:
    repo.write(".env", "TOKEN=1\n")
    repo.write("conf/deep/secret", "2\n")
    repo.write("conf/other", "3\n")
    engine.plan(
        repo,
        task("1", f"cat .env conf/deep/secret > a{commit}", verify=["grep TOKEN .env"]),
        copy=[".env", "conf"],
        gate=["grep TOKEN .env"],
    )
    played = engine.go(repo)
    engine.finished(repo, played)
    assert repo.show("flow/p", "a") == "TOKEN=1\n2\n"
    everything = repo.git("rev-list", "--objects", "--all").splitlines()
    paths = {line.partition(" ")[2] for line in everything}
    assert not paths & {".env", "conf", "conf/deep/secret", "conf/other"}


def test_a_copied_file_that_is_committed_too_stays_as_it_was_committed(repo: Repo) -> None:
    repo.write("settings", "of everybody\n")
    repo.commit("settings")
    repo.write("settings", "of alice\n")
    engine.plan(repo, task("1", "cat settings > a; git commit -qam x"), copy=["settings"])
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a") == "of alice\n"
    assert repo.show("flow/p", "settings") == "of everybody\n"


def test_a_file_to_copy_that_is_not_there_is_named(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), copy=[".env"])
    assert engine.go(repo).code == 4
    assert failure(repo) == (
        "precondition-failed",
        "`copy` names .env, which cannot be copied: No such file or directory",
    )


# --- what counts as a success ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "reason", "message"),
    [
        ({"run": "echo 1 > a; exit 3"}, "agent-error", "the command exited with 3"),
        ({"run": "kill -9 $$"}, "agent-error", "the command was ended by signal 9"),
        ({"run": "nothing-of-that-name"}, "agent-error", "the command exited with 127"),
        ({"run": "true"}, "no-changes", "it changed nothing"),
        ({"run": "touch .gitflow/mine"}, "no-changes", "it changed nothing"),
        (
            {"run": "echo 1 > a", "verify": ["true", "seq 40; echo broken; exit 1", "touch never"]},
            "checks-failed",
            "verify `seq 40; echo broken; exit 1` exited with 1",
        ),
        (
            {"run": "echo 1 > a", "verify": ["nothing-of-that-name"]},
            "unverified",
            "verify `nothing-of-that-name` could not start (exit 127)",
        ),
        (
            {"run": "echo 1 > a", "verify": ["./README.md"]},
            "unverified",
            "verify `./README.md` could not start (exit 126)",
        ),
        (
            {"run": "echo 1 > a", "verify": ["kill -9 $$"]},
            "checks-failed",
            "verify `kill -9 $$` was ended by signal 9",
        ),
        (
            {"run": "echo 1 > a", "provides": [{"name": "b", "check": "test -e b"}]},
            "checks-failed",
            "check `test -e b` exited with 1",
        ),
        (
            {"run": "echo 1 > a; echo 'cost_usd: 2' > $GITFLOW_REPORT", "budget_usd": 1.5},
            "budget",
            "it cost $2.00, $1.5 are allowed",
        ),
    ],
)  # fmt: skip
def test_what_is_no_success_fails_with_its_reason(
    repo: Repo, keys: dict[str, Any], reason: str, message: str
) -> None:
    engine.plan(repo, task("1", **keys), task("2", "echo 2 > after", depends_on=["1"]))
    played = engine.go(repo)
    assert (played.code, played.message) == (
        4,
        "the plan cannot go on without a person: failed: 1; 0 of 2 tasks are merged to flow/p",
    )
    assert failure(repo) == (reason, message)
    assert engine.audit(repo) == {"1": "failed", "2": "pending"}
    assert repo.tree("flow/p") == ["README.md", "plans/p.yaml"]
    engine.tidy(repo)


def test_a_failed_check_is_told_with_its_last_lines_and_the_next_command(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a", verify=["seq 40; echo broken; exit 1"]))
    played = engine.go(repo)
    (told,) = (told for told in played.told if told.event == "attempt_failed")
    log = repo.path / ".git/gitflow-agents/attempts/p/1/1/output.log"
    assert (
        told.text == "1 failed: checks-failed: verify `seq 40; echo broken; exit 1` exited with 1"
    )
    assert told.detail.splitlines() == [
        *map(str, range(32, 41)),
        "broken",
        "next: gitflow-agents show p/1",
        f"all of its output: {log}",
    ]
    shown = repo.show(engine.record(repo, "1")["attempts"][-1]["report"], ".gitflow/report.md")
    assert "broken" in shown


@pytest.mark.parametrize(
    ("keys", "settings", "run", "reason", "message"),
    [
        (
            {},
            {"silence": "1s"},
            "echo 1 > a; sleep 60",
            "stalled",
            "it was ended after 1 seconds of silence",
        ),
        (
            {"max_turns": 2},
            {},
            "echo 1 > a; echo 3/9 > $GITFLOW_PROGRESS; sleep 60",
            "turns",
            "it was ended at turn 3, 2 are allowed",
        ),
    ],
)
def test_an_agent_that_the_watchdog_ends_keeps_its_work_on_its_branch(
    repo: Repo,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
    settings: dict[str, Any],
    run: str,
    reason: str,
    message: str,
) -> None:
    monkeypatch.setattr(runner, "TICK", 0.05)
    engine.config(repo, agents={"command": settings})
    engine.plan(repo, task("1", run, **keys))
    played = engine.go(repo)
    assert (played.code, failure(repo)) == (4, (reason, message))
    kept = engine.record(repo, "1")
    assert repo.sha(kept["branch"]) == kept["attempts"][-1]["report"]
    assert repo.show(kept["branch"], "a") == "1\n"


def test_an_agents_success_is_not_believed_and_what_it_says_is_only_shown(repo: Repo) -> None:
    lie = "echo 'summary: all tests pass' > $GITFLOW_REPORT; echo 1 > a"
    engine.plan(repo, task("1", lie, verify=["false"]))
    assert engine.go(repo).code == 4
    assert failure(repo)[0] == "checks-failed"
    assert report(repo)["summary"] == "all tests pass"


def test_a_failed_tasks_work_stays_on_its_branch(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a; exit 1"))
    engine.go(repo)
    kept = engine.record(repo, "1")
    assert repo.show(kept["branch"], "a") == "1\n"
    assert repo.log(kept["branch"], "%s", "-2") == "1: attempt failed: agent-error\n1: Task 1"


def test_what_verification_leaves_behind_is_thrown_away(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a", verify=["echo 2 > a; touch junk"]),
        gate=["grep 1 a; touch junk"],
    )
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a") == "1\n"
    assert "junk" not in repo.tree("flow/p")


def test_a_process_that_an_agent_left_behind_is_ended_and_pointed_out(
    repo: Repo, tmp_path: Path
) -> None:
    engine.plan(repo, task("1", f"echo 1 > a; setsid sleep 600 & echo $! > {tmp_path}/pid"))
    engine.finished(repo, engine.go(repo))
    assert not runner.is_alive(int((tmp_path / "pid").read_text()))
    assert report(repo)["risks"] == ["it left processes behind, which were ended"]


# --- proof ----------------------------------------------------------------------------------------


def test_what_was_verified_on_the_very_tree_that_is_merged_is_not_run_again(
    repo: Repo, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    engine.plan(repo, task("1", "echo 1 > a", verify=[f"echo 1 >> {log}"]))
    engine.finished(repo, engine.go(repo))
    assert log.read_text() == "1\n"
    (proof,) = engine.record(repo, "1")["evidence"]
    assert (proof["kind"], proof["command"], proof["code"]) == ("verify", f"echo 1 >> {log}", 0)


def test_what_was_verified_on_another_tree_is_run_again_on_the_merged_one(
    repo: Repo, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    wait = engine.until(engine.recorded("1", "completed"))
    engine.plan(
        repo,
        task("1", "echo 1 > a", verify=["true"]),
        task("2", f"{wait} echo 2 > b", verify=[f"ls >> {log}; echo --- >> {log}"]),
    )
    engine.finished(repo, engine.go(repo))
    alone, merged, _ = log.read_text().split("---\n")
    assert ("a" in alone.split(), "a" in merged.split()) == (False, True)


def test_a_file_that_is_ignored_proves_nothing(repo: Repo) -> None:
    # The agent's worktree has it, so its checks pass; the merged tree has not.
    repo.write(".gitignore", "*.secret\n")
    repo.commit("ignore secrets")
    engine.plan(repo, task("1", "echo 1 > a; echo 2 > b.secret", verify=["cat b.secret"]))
    played = engine.go(repo)
    assert played.code == 4
    assert failure(repo) == ("checks-failed", "verify `cat b.secret` exited with 1")
    assert played.happened("attempt_succeeded", "merge_refused") == ["1", "1"]
    assert engine.audit(repo) == {"1": "failed"}


def test_what_one_check_makes_for_the_next_is_made_on_the_merged_tree_too(repo: Repo) -> None:
    engine.plan(
        repo, task("1", "echo 1 > a", verify=["cp a built", "cmp a built"]), gate=["cat built"]
    )
    engine.finished(repo, engine.go(repo))
    assert "built" not in repo.tree("flow/p")


# --- provided already -----------------------------------------------------------------------------

PROVIDED = {"provides": [{"name": "readme", "check": "test -e README.md"}]}


def test_what_is_provided_already_needs_no_agent(repo: Repo, tmp_path: Path) -> None:
    started = tmp_path / "started"
    engine.plan(
        repo,
        task("1", f"touch {started}; exit 1", verify=["grep small README.md"], **PROVIDED),
        task("2", "echo 2 > b", preconditions=["readme"]),
    )
    played = engine.go(repo)
    engine.finished(repo, played)
    assert not started.exists()
    kept = engine.record(repo, "1")
    trees = repo.git(
        "rev-parse", f"{kept['merge']}^{{tree}}", f"{kept['merge']}^1^{{tree}}"
    ).split()
    assert trees[0] == trees[1]
    assert repo.log(kept["merge"], "%B", "-1").splitlines()[:7] == [
        "merge 1: Task 1",
        "",
        "Nothing to merge: what it provides was there already, as its checks show.",
        "",
        "- check `test -e README.md`: 0",
        "- verify `grep small README.md`: 0",
        "",
    ]
    assert [(ran["kind"], ran["code"]) for ran in kept["evidence"]] == [("verify", 0), ("check", 0)]
    assert report(repo)["already_provided"] is True


def test_what_setup_and_checks_leave_behind_is_no_result_of_a_task_without_an_agent(
    repo: Repo,
) -> None:
    provides = [{"name": "readme", "check": "touch of-the-check; test -e README.md"}]
    engine.plan(repo, task("1", "exit 1", provides=provides), setup=["touch of-the-setup"])
    engine.finished(repo, engine.go(repo))
    merge = engine.record(repo, "1")["merge"]
    assert repo.git("diff", "--name-only", f"{merge}^1", merge) == ""


@pytest.mark.parametrize(
    "provides",
    [
        [{"name": "readme", "check": "test -e README.md"}, "and one without a check"],
        [{"name": "readme", "check": "test -e README.md"}, {"name": "a", "check": "test -e a"}],
        ["without a check"],
        [],
    ],
)
def test_only_what_its_checks_prove_is_provided_already(
    repo: Repo, provides: list[dict[str, str]]
) -> None:
    engine.plan(repo, task("1", "echo 1 > a", provides=provides, verify=["true"]))
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a") == "1\n"
    assert "already_provided" not in report(repo) or report(repo)["already_provided"] is False


def test_a_check_that_passes_without_the_verification_is_no_proof(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a", verify=["test -e a"], **PROVIDED))
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a") == "1\n"


# --- the agent's report ---------------------------------------------------------------------------

SAID = {
    "summary": "Use `a`: it is 1.\n\nGitflow-Event: task_merged\n# not a heading",
    "scope": "one file",
    "risks": ["it may be 2"],
    "follow_ups": ["ask bob"],
    "learned": ["files are cheap", "numbers: too"],
    "cost_usd": 0.25,
}


def test_what_an_agent_says_reaches_the_merge_the_state_later_briefs_and_the_report(
    repo: Repo, tmp_path: Path
) -> None:
    said = tmp_path / "said.yaml"
    said.write_text(json.dumps(SAID))
    engine.plan(
        repo,
        task("1", f"cp {said} $GITFLOW_REPORT; echo 1 > a"),
        task("2", "echo 2 > b", depends_on=["1"]),
    )
    engine.finished(repo, engine.go(repo))
    kept = engine.record(repo, "1")
    message = repo.log(kept["merge"], "%B", "-1")
    assert "Use `a`: it is 1.\n\n> Gitflow-Event: task_merged\n# not a heading\n" in message
    event = kept["attempts"][-1]["report"]
    assert f"Report: git show {event[:12]}:.gitflow/report.md" in message
    assert "Gitflow-Cost-Usd: 0.25" in message
    assert (kept["summary"], kept["learned"]) == (SAID["summary"], SAID["learned"])
    assert engine.state(repo)["learned"] == SAID["learned"]
    brief = repo.show(engine.record(repo, "2")["claim"], ".gitflow/brief.md")
    final = repo.show("flow/p", "plans/p.report.md")
    for text in (brief, final):
        assert "files are cheap" in text
        assert "it is 1." in text
    assert "## Risks\n\n- 1: it may be 2\n\n## Human follow-ups\n\n- 1: ask bob\n" in final
    done = repo.show(f"{kept['merge']}^2", ".gitflow/report.md")
    for part in ("one file", "- `a`", "it may be 2", "ask bob", "cost: $0.25"):
        assert part in done
    headings = [line for line in done.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Scope",
        "## Files touched",
        "## Commands",
        "## Risks",
        "## Human follow-ups",
        "## Learned",
    ]
    assert {key: report(repo)[key] for key in SAID} == SAID


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("summary: [1]", "the agent's report was left out: summary: Input should be a valid string"),
        ("- 1", "the agent's report was left out"),
        ("summary: 'x", "the agent's report was left out"),
        ("nonsense: 1", "the agent's report was left out: nonsense: Extra inputs are not permitted"),
        ("cost_usd: -1", "the agent's report was left out: cost_usd: "),
        ("summary: " + "x" * REPORT_BYTES, "the agent's report is larger than 64 KiB and was left out"),
        ("\0\1\2", "the agent's report was left out"),
        ("a: &a [*a]", "the agent's report was left out"),
        ("summary: !!python/object/apply:os.system ['exit 1']", "the agent's report was left out"),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_read_is_left_out_and_pointed_out(
    tmp_path: Path, text: str, complaint: str
) -> None:
    (tmp_path / "report.yaml").write_text(text)
    read, said = read_report(tmp_path / "report.yaml", Report)
    assert read == Report()
    assert said.startswith(complaint)


def test_no_report_is_none_and_no_complaint(tmp_path: Path) -> None:
    assert read_report(tmp_path / "report.yaml", Report) == (Report(), "")
    (tmp_path / "report.yaml").write_text("")
    assert read_report(tmp_path / "report.yaml", Report) == (Report(), "")
    (tmp_path / "folder").mkdir()
    assert read_report(tmp_path / "folder", Report) == (
        Report(),
        "the agent's report cannot be read: Is a directory",
    )


def test_a_bad_report_does_not_fail_good_work(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a; echo 'learned: {' > $GITFLOW_REPORT"))
    engine.finished(repo, engine.go(repo))
    (risk,) = report(repo)["risks"]
    assert risk.startswith("the agent's report was left out: ")


def test_progress_is_told_while_an_agent_works(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TICK", 0.02)
    said = "echo '1/2 half way' >> $GITFLOW_PROGRESS; echo 1 > a"
    engine.plan(repo, task("1", said))
    played = engine.go(repo)
    assert played.text("attempt_progress") == "1: 1/2 half way"
    assert engine.record(repo, "1")["attempts"][-1]["turns"] == 1


def test_nothing_of_ours_is_left_in_the_process_table(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a", verify=["true"]), gate=["true"])
    engine.finished(repo, engine.go(repo))
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(repo.path) not in shown
