"""Agents that lie: whatever an agent says or does, only what was verified comes onto flow.

Most tests run two tasks, the liar and one that waits for what the liar provides.  `refused` holds
what must be true after every lie: the liar failed with its reason, flow is where it was, and the
other task was never started.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import execute, runner
from gitflow_agents.models import Config, Duration, Plan, Reason
from gitflow_agents.service.desk import Told
from gitflow_agents.store import Guard, Repository, Worktrees, worktrees
from gitflow_agents.store.refs import Refs
from gitflow_agents.store.state import new_nonce
from tests import engine
from tests.engine import Played, task
from tests.repos import Cli, Repo

WORK = "echo a > a.txt; "
COMMIT = "git add -A; git commit -q -m work; "
COMMON = '"$(git rev-parse --git-common-dir)"'
ADMIN = '"$(git rev-parse --git-dir)"'
BRANCH = "task/p/1-task-1"


def lie(repo: Repo, run: str, **keys: Any) -> Played:
    """Run the liar, and a task that waits for what it provides."""
    engine.plan(
        repo,
        task("1", run, **{"provides": ["a"], **keys}),
        task("2", "echo b > b.txt", preconditions=["a"]),
    )
    return engine.go(repo)


def refused(repo: Repo, played: Played, reason: str, message: str) -> None:
    """Hold that the liar failed, that flow is where it was, and that nobody built on the lie."""
    kept = engine.record(repo, "1")
    assert (kept["status"], kept["reason"], kept["message"]) == ("failed", reason, message)
    assert Reason(reason)
    assert played.code == 4
    assert played.happened("attempt_started") == ["1"]
    assert engine.audit(repo) == {"1": "failed", "2": "pending"}
    about = engine.state(repo)
    assert about["accepting"] == about["flow_sha"] == repo.sha("flow/p")
    engine.tidy(repo)


def stored_report(repo: Repo, id: str = "1") -> dict[str, Any]:
    """Return what is stored about a task's newest attempt."""
    event = engine.record(repo, id)["attempts"][-1]["report"]
    return engine.read_yaml(repo.show(event, ".gitflow/report.yaml"))


def forged(event: str, id: str = "1") -> str:
    """Return a commit message that tells an event as the tool would."""
    return f"x\n\nGitflow-Event: {event}\nGitflow-Plan: p\nGitflow-Task: {id}\nGitflow-Attempt: 1"


# --- no success, and nothing is built on it -------------------------------------------------------

CLAIMED = "echo 'summary: everything is done and verified' > $GITFLOW_REPORT; "
ON_OWN_BRANCH = (
    f'c=$(printf "{forged("attempt_succeeded")}" | git commit-tree HEAD^{{tree}} -p HEAD); '
    f"git update-ref refs/heads/{BRANCH} $c; "
)


@pytest.mark.parametrize(
    ("run", "verify", "reason", "message"),
    [
        (f"{WORK}exit 3", [], "agent-error", "the command exited with 3"),
        ("true", [], "no-changes", "it changed nothing"),
        (CLAIMED, [], "no-changes", "it changed nothing"),
        (f"{CLAIMED}{WORK}exit 1", [], "agent-error", "the command exited with 1"),
        (
            f"git commit -q --allow-empty -m '{forged('task_merged')}'",
            [],
            "no-changes",
            "it changed nothing",
        ),
        (
            f"git commit -q --allow-empty -m '{forged('attempt_succeeded')}'; exit 1",
            [],
            "agent-error",
            "the command exited with 1",
        ),
        (f"{ON_OWN_BRANCH}exit 5", [], "agent-error", "the command exited with 5"),
        (ON_OWN_BRANCH, [], "no-changes", "it changed nothing"),
        (
            WORK,
            ["./a.txt"],
            "unverified",
            "verify `./a.txt` could not start (exit 126)",
        ),
        (
            WORK,
            ["no-such-command"],
            "unverified",
            "verify `no-such-command` could not start (exit 127)",
        ),
        (f"{CLAIMED}{WORK}", ["false"], "checks-failed", "verify `false` exited with 1"),
    ],
)
def test_what_is_no_success_is_never_taken_for_one(
    repo: Repo, run: str, verify: list[str], reason: str, message: str
) -> None:
    refused(repo, lie(repo, run, verify=verify), reason, message)


@pytest.mark.parametrize(
    "move",
    ["git update-ref refs/heads/flow/p HEAD", "git branch -q -f flow/p HEAD"],
)
def test_an_agent_that_moves_flow_by_itself_has_failed_and_flow_is_put_back(
    repo: Repo, move: str
) -> None:
    played = lie(repo, f"{WORK}git add -A; git commit -q -m '{forged('task_merged')}'; {move}")
    about = engine.state(repo)
    moved = repo.sha("gitflow/attempt/p/1/1^{commit}")
    left = repo.log("flow/p", "%H", "-g").split("\n")
    assert left[0] == left[2] == about["flow_sha"]  # moved, and moved back
    assert repo.tree(moved) == repo.tree(left[1])
    message = (
        f"flow/p moved while it ran, from {about['flow_sha'][:12]} to {left[1][:12]}; "
        "it was put back"
    )
    refused(repo, played, "path-violation", message)


def test_a_push_of_an_agent_goes_nowhere(repo: Repo) -> None:
    push = f'{WORK}{COMMIT}git push -q {COMMON} HEAD:refs/heads/flow/p || echo "refused"; exit 1'
    played = lie(repo, push)
    refused(repo, played, "agent-error", "the command exited with 1")
    assert stored_report(repo)["output_tail"].endswith("refused")


@pytest.mark.parametrize("is_undone", [True, False])
def test_a_push_of_an_agent_that_undid_its_environment_is_told(
    repo: Repo, tmp_path: Path, is_undone: bool
) -> None:
    bare = repo.clone(tmp_path / "remote.git", bare=True)
    repo.git("remote", "add", "origin", str(bare.path))
    undo = "env -u GIT_CONFIG_COUNT " if is_undone else ""
    played = lie(repo, f"{WORK}{COMMIT}{undo}git push -q origin HEAD:refs/heads/x || true")
    engine.finished(repo, played)
    assert ("x" in bare.branches()) == is_undone
    told = "it pushed, although pushes are turned off for it: git push -q origin HEAD:refs/heads/x"
    assert stored_report(repo).get("risks", []) == ([told] if is_undone else [])


def alone(repo: Repo, folder: Path, run: str, verify: str, seconds: float) -> execute.Result:
    """Return what comes of one attempt whose time is shorter than a plan allows."""
    plan = Plan.model_validate(
        {"plan": "p", "goal": "g", "tasks": [{"id": "1", "run": run, "verify": verify}]}
    )
    work = plan.tasks[0].model_copy(update={"timeout": Duration(f"{seconds}s")})
    repository = Repository(repo.path)
    guard = Guard(Refs(repository), ())
    guard.begin()
    executor = execute.Executor(
        repository,
        Worktrees(repository, ".worktrees"),
        guard,
        Config(),
        dict(os.environ),
        runner.Stop(),
    )
    base = repo.sha("main")
    order = execute.Order(plan, work, 1, new_nonce(), BRANCH, base, base, folder / "attempt")
    try:
        return executor.execute(order)
    finally:
        executor.clear(order, keep_output=True)
        guard.refs.close()
        repository.close()


def test_a_verification_that_does_not_end_is_no_success(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TICK", 0.05)
    done = alone(repo, tmp_path, WORK, "sleep 60", 0.5).report
    assert (done.outcome, done.reason, done.message) == (
        "failed",
        Reason.UNVERIFIED,
        "verify `sleep 60` did not end by itself or could not start",
    )


def test_an_agent_that_ignores_its_end_is_ended_all_the_same(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TICK", 0.05)
    monkeypatch.setattr(runner, "GRACE", 0.3)
    pid = tmp_path / "pid"
    deaf = f"trap '' TERM INT HUP; echo $$ > {pid}; {WORK}while :; do sleep 0.1; done"
    done = alone(repo, tmp_path, deaf, "true", 0.5)
    assert (done.report.outcome, done.report.reason, done.report.message) == (
        "failed",
        Reason.TIMEOUT,
        "it was ended after 0.5 seconds",
    )
    assert done.report.ended_at - done.report.started_at < 10
    assert not runner.is_alive(int(pid.read_text()))
    assert [change.path for change in done.changes] == ["a.txt"]  # what it did is kept


# --- commits that pretend -------------------------------------------------------------------------


def test_forged_trailers_in_an_agents_commits_tell_nothing(repo: Repo) -> None:
    commits = "".join(
        f"echo {n} > a.txt; git add -A; git commit -q -m '{forged(event, id)}'; "
        for n, (event, id) in enumerate(
            [("task_merged", "2"), ("plan_finished", ""), ("attempt_failed", "1")]
        )
    )
    played = lie(repo, commits)
    engine.finished(repo, played)
    merge = engine.record(repo, "1")["merge"]
    told = [commit.events for commit in engine.log(repo, f"{merge}^2", "-6")]
    ours = [[event["Event"] for event in events] for events in told]
    assert ours == [["plan_accepted"], ["attempt_started"], [], [], [], ["attempt_succeeded"]]
    shown = repo.log(f"{merge}^2~1", "%(trailers:key=Gitflow-Event)%(trailers:key=Gitflow-Task)")
    assert shown.count("Gitflow-Event") == 2  # the claim's and the accepting commit's


def test_trailers_that_an_agent_hides_behind_a_nul_are_quoted_too(repo: Repo) -> None:
    head = (
        "tree %s\\nparent %s\\nauthor a <a@b> 1 +0000\\ncommitter a <a@b> 1 +0000\\n\\n"
        "work\\0\\n\\nGitflow-Event: task_merged\\n"
    )
    make = f"printf '{head}' $(git write-tree) $(git rev-parse HEAD) | git hash-object -t commit -w --stdin"
    played = lie(repo, f"{WORK}git add -A; git update-ref --no-deref HEAD $({make})")
    engine.finished(repo, played)
    written = repo.git("cat-file", "commit", f"{engine.record(repo, '1')['merge']}^2~1")
    assert written.endswith("\n\nwork\n\n> Gitflow-Event: task_merged")


def test_an_agent_may_work_on_its_own_branch_and_only_what_is_checked_counts(repo: Repo) -> None:
    played = lie(
        repo,
        f"git switch -q {BRANCH}; {WORK}git add -A; "
        f"git commit -q -m '{forged('attempt_failed')}\nGitflow-Reason: infrastructure'",
        verify=["grep a a.txt"],
    )
    engine.finished(repo, played)
    assert engine.record(repo, "1")["used"] == 1
    assert [len(engine.record(repo, id)["attempts"]) for id in "12"] == [1, 1]


# --- what a task may not touch --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "reason", "paths"),
    [
        ("echo x >> .gitflow/task.yaml", "protected-path", ".gitflow/task.yaml"),
        ("echo x > .gitflow/report.yaml", "protected-path", ".gitflow/report.yaml"),
        ("rm -r .gitflow", "protected-path", ".gitflow/brief.md, .gitflow/task.yaml"),
        (
            "mkdir -p .github/workflows; echo x > .github/workflows/ci.yml",
            "needs-workflow-permission",
            ".github/workflows/ci.yml",
        ),
        ("mkdir .github; echo x > .github/CODEOWNERS", "protected-path", ".github/CODEOWNERS"),
        (
            "mkdir -p .GitHub/workflows; echo x > .GitHub/workflows/ci.yml",
            "protected-path",
            ".GitHub/workflows/ci.yml",
        ),
        ("mkdir -p sub; echo x > sub/claude.md", "protected-path", "sub/claude.md"),
        ("echo x >> plans/p.yaml", "protected-path", "plans/p.yaml"),
        (f"mkdir .GitFlow; echo x > .GitFlow/x; {COMMIT}", "protected-path", ".GitFlow/x"),
    ],
)
def test_a_result_that_touches_what_steers_is_refused_and_kept_aside(
    repo: Repo, run: str, reason: str, paths: str
) -> None:
    played = lie(repo, f"{WORK}{run}")
    refused(repo, played, reason, f"the result changes what a task may not: {paths}")
    assert engine.record(repo, "1")["attempts"][-1]["kept"] == "gitflow/attempt/p/1/1"
    assert repo.show("gitflow/attempt/p/1/1", "a.txt") == "a\n"
    assert repo.tree(BRANCH) == [
        ".gitflow/brief.md",
        ".gitflow/report.md",
        ".gitflow/report.yaml",
        ".gitflow/task.yaml",
        "README.md",
        "plans/p.yaml",
    ]


@pytest.mark.parametrize(
    ("run", "link", "target"),
    [
        ("ln -s /etc/passwd out", "out", "/etc/passwd"),
        ("ln -s ../../x out", "out", "../../x"),
        ("mkdir -p d/e; ln -s ../../../x d/e/out", "d/e/out", "../../../x"),
        ("mkdir -p d/e; ln -s d/e in; ln -s in/../../../x out", "out", "in/../../../x"),
        ("mkdir -p d/e; ln -s ../.. d/e/up; ln -s d/e/up/../x out", "out", "d/e/up/../x"),
        ("ln -s .git/config out", "out", ".git/config"),
        ("ln -s .GIT/hooks/x out", "out", ".GIT/hooks/x"),
        ("ln -s C:/Windows out", "out", "C:/Windows"),
    ],
)
def test_a_symlink_that_leaves_the_tree_is_refused(
    repo: Repo, run: str, link: str, target: str
) -> None:
    played = lie(repo, f"{WORK}{run}")
    refused(repo, played, "path-violation", f"the symlink {link} leaves the repository: {target!r}")


def test_a_symlink_inside_the_tree_is_an_ordinary_file(repo: Repo) -> None:
    played = lie(repo, f"{WORK}mkdir d; ln -s ../a.txt d/in; ln -s d/in again; ln -s round round")
    engine.finished(repo, played)
    assert repo.show("flow/p", "again") == "d/in"


@pytest.mark.parametrize(
    ("settings", "run", "message"),
    [
        (
            {"changed_bytes": 1_000_000},
            "head -c 1000001 /dev/zero > big",
            "the changed files hold more than 1,000,000 bytes",
        ),
        ({"changed_files": 5}, "touch 1 2 3 4 5", "6 files changed, 5 are allowed"),
    ],
)
def test_a_result_that_is_too_large_is_refused(
    repo: Repo, settings: dict[str, int], run: str, message: str
) -> None:
    engine.config(repo, limits=settings)
    refused(repo, lie(repo, f"{WORK}{run}"), "too-large", message)


@pytest.mark.parametrize(
    "steps", [[], pytest.param([{"role": "test", "run": "true"}], marks=pytest.mark.slow)]
)
def test_a_file_that_git_would_read_for_hours_is_refused_in_seconds_and_stays_where_it_is(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, steps: list[dict[str, str]]
) -> None:
    monkeypatch.setattr(worktrees, "SHORT_LOOK", 0.05)
    engine.config(repo, copy=["mine.bin"])
    with open(repo.path / "mine.bin", "wb") as file:
        file.truncate(60 * 1024 * 1024)  # what is nobody's work does not count
    kept = f"{WORK}git add a.txt; git commit -q -m work; truncate -s 400G big"
    played = lie(repo, kept, steps=steps)
    (left,) = (repo.path / ".worktrees" / "p").glob("1.left-*")
    assert (left / "big").stat().st_size == 400 * 1024**3
    shutil.rmtree(left.parents[1])
    said = "the changed files hold more than 52,428,800 bytes"
    refused(repo, played, "too-large", f"{said}; what it had not committed is in {left}")
    assert repo.show("gitflow/attempt/p/1/1", "a.txt") == "a\n"


@pytest.mark.slow
def test_a_git_that_takes_its_time_for_what_is_not_too_large_is_given_it(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worktrees, "SHORT_LOOK", 0.0)
    engine.finished(repo, lie(repo, WORK))


@pytest.mark.slow
def test_more_than_fifty_megabytes_are_too_large_without_a_setting(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worktrees, "SHORT_LOOK", 60.0)  # so that they are added, and then counted
    played = lie(repo, f"{WORK}head -c 60000000 /dev/urandom > big")
    refused(repo, played, "too-large", "the changed files hold more than 52,428,800 bytes")


@pytest.mark.parametrize(
    "run",
    [
        "git init -q sub; echo x > sub/work",
        "git init -q sub; cd sub; echo x > work; git add -A; git commit -q -m x",
        f"git init -q sub; (cd sub; echo x > work; git add -A; git commit -q -m x); {COMMIT}",
    ],
)
def test_a_repository_inside_the_worktree_is_refused_and_nothing_of_it_is_lost(
    repo: Repo, run: str
) -> None:
    played = lie(repo, f"{WORK}{run}")
    message = engine.record(repo, "1")["message"]
    start, _, place = message.rpartition(" ")
    assert start == "it made a repository of its own in sub; it is in"
    refused(repo, played, "path-violation", message)
    assert repo.show("gitflow/attempt/p/1/1", "sub/work") == "x\n"
    assert (Path(place) / "0" / "HEAD").read_text() == "ref: refs/heads/master\n"


def test_a_submodule_is_refused(repo: Repo) -> None:
    add = 'git update-index --add --cacheinfo "160000,$(git rev-parse HEAD),sub"; mkdir sub; '
    played = lie(repo, f"{WORK}git add -A; {add}git commit -q -m x")
    refused(repo, played, "path-violation", "the result adds or moves a submodule: sub")


# --- other people's refs --------------------------------------------------------------------------


@pytest.fixture
def shared(repo: Repo) -> Repo:
    """Return the repository with a branch, a tag and two stashes of a person."""
    repo.git("branch", "other")
    repo.git("tag", "old")
    for text in ("first\n", "second\n"):
        repo.write("README.md", text)
        repo.git("stash", "--quiet")
    return repo


@pytest.mark.parametrize(
    ("run", "ref"),
    [
        ("git branch mine", "refs/heads/mine"),
        ("git switch -q -c mine", "refs/heads/mine"),
        ("git checkout -q --orphan mine; git commit -q -m x", "refs/heads/mine"),
        ("git branch -q -f other HEAD", "refs/heads/other"),
        ("git update-ref refs/heads/main HEAD", "refs/heads/main"),
        (f"git rev-parse HEAD > {COMMON}/refs/heads/other", "refs/heads/other"),
        ("git tag mine", "refs/tags/mine"),
        ("git tag -f old HEAD", "refs/tags/old"),
        ("echo x >> README.md; git stash -q", "refs/stash"),
        ("git stash drop -q", "refs/stash"),
        ("git branch -q -D other", "refs/heads/other"),
        ("git update-ref -d refs/heads/other", "refs/heads/other"),
        ("echo delete refs/heads/other | git update-ref --stdin", "refs/heads/other"),
        ("git tag -d old", "refs/tags/old"),
        ("git stash clear", "refs/stash"),
    ],
)
def test_an_agent_that_moves_a_ref_of_a_person_has_failed_and_the_message_names_both_values(
    shared: Repo, run: str, ref: str
) -> None:
    before = engine.refs(shared).get(ref, "nothing")
    played = lie(shared, f"{WORK}{run}")
    after = engine.refs(shared).get(ref, "nothing")
    assert before != after  # it is never moved back
    name = ref.removeprefix("refs/heads/")
    message = f"{name} moved while it ran, from {before[:12]} to {after[:12]}"
    if after == "nothing":
        message += f"; to bring it back: git update-ref {ref} {before}"
    refused(shared, played, "path-violation", message)


def test_what_stands_in_for_an_object_deceives_nobody(repo: Repo) -> None:
    key = "ghp_" + "A1b2C3d4E5f6" * 3
    (secret, harmless) = (
        repo.git("hash-object", "-w", str(repo.write("x", text))).strip()
        for text in (f"{key}\n", "nothing to see\n")
    )
    (repo.path / "x").unlink()
    repo.git("replace", secret, harmless)
    played = lie(repo, f"K=ghp; echo ${{K}}{key[3:]} > a.txt")
    (left,) = (repo.path / ".worktrees/p").iterdir()
    assert played.code == 4
    assert engine.record(repo, "1")["message"] == (
        f"a.txt, line 1, holds what looks like a secret (GitHub Token); the work is in {left} only"
    )


def test_an_agent_that_lets_something_stand_in_for_an_object_has_failed(repo: Repo) -> None:
    blob = repo.sha("main:README.md")
    played = lie(repo, f"{WORK}git replace {blob} $(echo x | git hash-object -w --stdin)")
    ref = f"refs/replace/{blob}"
    message = f"{ref} moved while it ran, from nothing to {repo.sha(ref)[:12]}"
    refused(repo, played, "path-violation", message)


@pytest.mark.parametrize("with_setup", [False, True])
def test_a_config_of_its_worktree_runs_nothing_when_its_work_is_saved(
    repo: Repo, tmp_path: Path, with_setup: bool
) -> None:
    repo.git("config", "extensions.worktreeConfig", "true")
    trap = tmp_path / "trap"
    run = f"git config --worktree filter.x.clean 'touch {trap}; cat'; echo '* filter=x'"
    setup = ["git config --worktree filter.y.clean cat"] if with_setup else []
    engine.plan(repo, task("1", f"{WORK}{run} > .gitattributes"), setup=setup)
    assert engine.go(repo).code == 4
    record = engine.record(repo, "1")
    assert (record["reason"], record["message"], trap.exists()) == (
        "protected-path",
        "the config of its worktree changed while it ran; it was put back",
        False,
    )


# --- the tool's own refs --------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["flow/p", "gitflow/state/p"])
@pytest.mark.parametrize(
    "deed",
    [
        "git update-ref refs/heads/{ref} HEAD",
        "git update-ref refs/heads/{ref} main",
        "git update-ref -d refs/heads/{ref}",
    ],
)
@pytest.mark.parametrize("is_looked_at", [False, True])
def test_a_ref_of_the_tool_is_put_back_and_nobody_was_deceived(
    repo: Repo, ref: str, deed: str, is_looked_at: bool
) -> None:
    # With `is_looked_at` the test of a train ends meanwhile, so that a pass meets the lie.
    before = engine.until("git rev-parse -q --verify gitflow/try/p")
    after = f"touch ../hit; {engine.until('test -e ../looked')}"
    run = f"{WORK}{COMMIT}{deed.format(ref=ref)}; "
    tasks = [
        task("1", f"{before}{run}{after}" if is_looked_at else run, provides=["a"]),
        task("2", "echo b > b.txt", preconditions=["a"]),
        task("3", "echo c > c.txt"),
        task("4", "touch ../looked; echo d > d.txt", depends_on=["3"]),
    ]
    gate = [f"test -e d.txt || {{ {engine.until('test -e ../hit')} }}"]
    engine.plan(repo, *(tasks if is_looked_at else tasks[:2]), gate=gate)
    played = engine.go(repo)
    kept = engine.record(repo, "1")
    assert (kept["status"], kept["reason"]) == ("failed", "path-violation")
    start, _, end = kept["message"].partition(" moved while it ran, from ")
    assert (start, end.endswith("; it was put back")) == (ref, True)
    others = {"3": "completed", "4": "completed"} if is_looked_at else {}
    assert engine.audit(repo) == {"1": "failed", "2": "pending", **others}
    assert "a.txt" not in repo.tree("flow/p")
    assert played.code == 4
    assert "plan_held" not in [told.event for told in played.told]


@pytest.mark.parametrize("ref", ["flow/p", "gitflow/state/p"])
def test_a_ref_of_the_tool_that_was_written_by_hand_is_put_back(repo: Repo, ref: str) -> None:
    played = lie(repo, f"{WORK}{COMMIT}git rev-parse HEAD > {COMMON}/refs/heads/{ref}")
    message = engine.record(repo, "1")["message"]
    assert message.startswith(f"{ref} moved while it ran, from ")
    refused(repo, played, "path-violation", message)


@pytest.mark.parametrize("ref", ["flow/p", "gitflow/state/p"])
def test_where_nobody_knows_which_agent_wrote_a_ref_the_plan_stops(repo: Repo, ref: str) -> None:
    by_hand = f"git rev-parse HEAD > {COMMON}/refs/heads/{ref}; "
    engine.plan(
        repo,
        task("1", f"{WORK}{by_hand}touch ../hit; {engine.until('test -e ../looked')}"),
        task("2", f"{engine.until('test -e ../hit')}echo b > b.txt"),
        task("3", f"{engine.until('test -e ../hit')}echo c > c.txt; sleep 0.2; touch ../looked"),
    )
    played = engine.go(repo, jobs=3)
    held = engine.state(repo)["held"]
    start, _, end = held.partition(" moved while it ran, from ")
    assert (start, end.endswith("; it was put back")) == (ref, True)
    assert (played.code, played.message) == (4, f"the plan is held: {held}")
    assert set(engine.audit(repo).values()) == {"review"}


@pytest.mark.parametrize("deed", ["git branch -q -f {branch} main", "git branch -q -D {branch}"])
def test_another_tasks_branch_is_put_back_and_that_task_goes_on(repo: Repo, deed: str) -> None:
    other = "task/p/2-task-2"
    engine.plan(
        repo,
        task("1", f"{engine.until(f'git rev-parse -q --verify {other}')}{WORK}{deed.format(branch=other)}; touch ../hit"),
        task("2", f"{engine.until(engine.recorded('1', 'failed'))}echo b > b.txt"),
    )  # fmt: skip
    played = engine.go(repo)
    claim = engine.record(repo, "2")["claim"]
    moved = "nothing" if "-D" in deed else repo.sha("main")[:12]
    assert engine.record(repo, "1")["message"] == (
        f"{other} moved while it ran, from {claim[:12]} to {moved}; it was put back"
    )
    assert (played.code, engine.audit(repo)) == (4, {"1": "failed", "2": "completed"})


# --- git's own files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "file"),
    [
        ("git config user.name mallory", "config"),
        (f"git config -f {COMMON}/config.worktree core.editor x", "config.worktree"),
        (
            f"mkdir -p {COMMON}/hooks; echo exit 1 > {COMMON}/hooks/pre-commit",
            "hooks/pre-commit",
        ),
        (f"echo '*.log' >> {COMMON}/info/exclude", "info/exclude"),
        (f"echo '* merge=ours' > {COMMON}/info/attributes", "info/attributes"),
        (f"echo /elsewhere > {COMMON}/objects/info/alternates", "objects/info/alternates"),
    ],
)
def test_an_agent_that_changes_gits_own_files_stops_the_plan(
    repo: Repo, run: str, file: str
) -> None:
    git = repo.path / ".git"
    engine.go(repo, engine.plan(repo, task("1", "true"), name="before"))  # writes info/exclude
    before = (git / file).read_text() if (git / file).exists() else None
    engine.plan(
        repo,
        task("1", f"{WORK}{run}"),
        task("2", "echo b > b.txt", depends_on=["3"]),
        task("3", f"{engine.until(engine.recorded('1', 'failed'))}echo c > c.txt"),
    )
    played = engine.go(repo)
    kept = git / "gitflow-agents" / "before" / file
    why = f"{git / file} was made while it ran; look at it, and remove it"
    if before is not None:
        why = f"{git / file} changed while it ran; to see how: diff {kept} {git / file}"
        assert kept.read_text() == before
    assert (played.code, played.message) == (4, f"the plan is held: {why}")
    failed = engine.record(repo, "1")
    assert (failed["status"], failed["reason"], failed["message"]) == (
        "failed",
        "protected-path",
        why,
    )
    # What was running was let end, and nothing was started or merged any more.
    assert engine.audit(repo) == {"1": "failed", "2": "pending", "3": "review"}
    assert played.happened("attempt_started") == ["1", "3"]


@pytest.mark.parametrize(
    ("deed", "reason", "message"),
    [
        (
            "git update-ref refs/heads/main HEAD",
            "path-violation",
            "main moved while it ran, from {main} to {claim}",
        ),
        (
            "git update-ref refs/heads/flow/p HEAD",
            "path-violation",
            "flow/p moved while it ran, from {flow} to {claim}; it was put back",
        ),
        (
            f"mkdir -p {COMMON}/hooks; touch {COMMON}/hooks/update",
            "protected-path",
            "{git}/hooks/update was made while it ran; look at it, and remove it",
        ),
    ],
)
def test_what_the_agent_wrote_may_not_do_it_while_it_is_verified_either(
    repo: Repo, deed: str, reason: str, message: str
) -> None:
    main = repo.sha("main")[:12]
    played = lie(repo, f"echo '{deed}' > check; chmod +x check", verify=["./check"])
    named = {
        "main": main,
        "flow": repo.sha("flow/p")[:12],
        "claim": engine.record(repo, "1")["claim"][:12],
        "git": repo.path / ".git",
    }
    refused(repo, played, reason, message.format(**named))


def test_what_runs_in_the_test_of_a_train_may_not_do_it_either(repo: Repo) -> None:
    on_flow = "git rev-parse -q --verify gitflow/try/p > /dev/null || exit 0; "
    deeds = (
        f"git update-ref refs/heads/flow/p HEAD; mkdir -p {COMMON}/hooks; touch {COMMON}/hooks/x"
    )
    engine.plan(repo, task("1", WORK), task("2", "echo b > b.txt"), gate=[f"{on_flow}{deeds}"])
    played = engine.go(repo, jobs=1)
    hook = repo.path / ".git/hooks/x"
    assert (played.code, played.message) == (
        4,
        f"the plan is held: {hook} was made while it ran; look at it, and remove it",
    )
    about = engine.state(repo)
    assert about["flow_sha"] == about["accepting"] == repo.sha("flow/p")
    hook.unlink()
    shutil.rmtree(hook.parent)
    assert engine.audit(repo)["1"] == "review"


def test_a_plan_that_was_stopped_goes_on_when_somebody_has_looked(repo: Repo) -> None:
    hook = f"mkdir -p {COMMON}/hooks; touch {COMMON}/hooks/update"
    engine.plan(repo, task("1", f"{WORK}{hook}"), task("2", "echo b > b.txt"))
    assert engine.go(repo, jobs=1).message.startswith("the plan is held: ")
    assert engine.go(repo).hint == "gitflow-agents resume p"
    hook_ = repo.path / ".git/hooks/update"
    still = engine.act(repo, "resume", dry_run=True).said
    made = f"{hook_} was made while it ran; look at it, and remove it"
    assert still == (f"plan p goes on; it was held: {made}; {hook_} is still so",)
    hook_.unlink()
    assert engine.act(repo, "resume").said[0].endswith("; that is put back")
    played = engine.go(repo)
    assert (played.code, engine.audit(repo)) == (4, {"1": "failed", "2": "completed"})


# --- its worktree ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        "rm .git",
        f"rm {ADMIN}/index",
        f"echo garbage > {ADMIN}/index",
        f"d={ADMIN}; rm $d/index; mkfifo $d/index",
        f"touch {ADMIN}/index.lock",
        f"rm {ADMIN}/HEAD",
        f"printf '\\377\\376' > {ADMIN}/HEAD",
        f"git init -q --bare ../other.git; echo ../../../.worktrees/p/other.git > {ADMIN}/commondir",
        f"rm -rf {ADMIN}",
        f"{COMMIT}rm -rf {ADMIN} .git",
        "git update-index --add --cacheinfo 100644,ffffffffffffffffffffffffffffffffffffffff,x;"
        "git update-index --assume-unchanged x",
        "git update-index --add --cacheinfo 100644,ffffffffffffffffffffffffffffffffffffffff,x;"
        "git update-index --skip-worktree x",
        "git checkout -q --detach HEAD",
        "mkfifo pipe",
    ],
)
def test_a_worktree_that_is_damaged_does_not_lose_the_work_in_it(repo: Repo, run: str) -> None:
    played = lie(repo, f"{WORK}{run}; rm -rf ../other.git", verify=["grep a a.txt"])
    assert (played.code, played.message) == (
        0,
        "the plan is finished: 2 of 2 tasks are merged to flow/p",
    )
    assert set(engine.audit(repo).values()) == {"completed"}
    assert repo.tree("flow/p") == [
        "README.md",
        "a.txt",
        "b.txt",
        "plans/p.provides.yaml",
        "plans/p.report.md",
        "plans/p.yaml",
    ]
    assert not (repo.path / ".git/worktrees").exists() or not list(
        (repo.path / ".git/worktrees").iterdir()
    )


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("git reset -q --hard HEAD~1", "the result does not build on the claim"),
        ("git commit -q --amend --allow-empty -m mine", "the result does not build on the claim"),
        (
            f"git checkout -q --detach main; {WORK}git add -A; git commit -q -m x",
            "the result does not build on the claim",
        ),
        (
            'git checkout -q --detach $(git commit-tree HEAD^{tree} -m "no parent")',
            "the result does not build on the claim",
        ),
    ],
)
def test_a_result_on_another_base_is_refused_and_kept_aside(
    repo: Repo, run: str, message: str
) -> None:
    played = lie(repo, f"{run}; {WORK}")
    refused(repo, played, "bad-base", message)
    assert repo.show("gitflow/attempt/p/1/1", "a.txt") == "a\n"


@pytest.mark.parametrize(
    "run",
    [
        "rm -rf * .g* ",
        'rm -rf "$PWD"',
        'here="$PWD"; cd ..; rm -rf "$here"; ln -s "$HOME" "$here"',
        'here="$PWD"; cd ..; rm -rf "$here"; echo x > "$here"',
    ],
)
def test_an_agent_that_deletes_everything_deletes_nothing_but_its_worktree(
    repo: Repo, home: Path, run: str
) -> None:
    (home / "precious").write_text("x")
    repo.write("notes.txt", "mine\n")
    before = repo.snapshot()
    played = lie(repo, run)
    gone = ".gitflow/brief.md, .gitflow/task.yaml, plans/p.yaml"
    refused(repo, played, "protected-path", f"the result changes what a task may not: {gone}")
    (repo.path / "plans/p.yaml").unlink()
    (repo.path / "plans").rmdir()
    assert repo.snapshot() == before
    assert [file.name for file in home.iterdir()] == ["precious"]
    assert "precious" not in repo.tree("gitflow/attempt/p/1/1")


def test_without_its_git_file_an_agent_does_not_commit_to_the_persons_checkout(repo: Repo) -> None:
    repo.write("notes.txt", "mine\n")
    before = repo.snapshot()
    played = lie(repo, f"{WORK}rm .git; {COMMIT}")
    refused(repo, played, "agent-error", "the command exited with 128")
    shutil.rmtree(repo.path / "plans")
    assert repo.snapshot() == before


def test_folders_without_permissions_are_read_and_removed(repo: Repo, tmp_path: Path) -> None:
    repo.write("old/file", "old\n")
    repo.git("add", "old")
    repo.git("commit", "--quiet", "--message", "old")
    shut = "mkdir -p new/deep; echo x > new/deep/x; echo y >> old/file; chmod 000 new/deep new old"
    engine.plan(repo, task("1", f"{WORK}{shut}", verify=["grep x new/deep/x"]))
    # Nothing is closed to root unless it gives that power up.
    powers = "-dac_override,-dac_read_search"
    without = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"]
    script = Path(sys.executable).with_name("gitflow-agents")
    done = subprocess.run(
        [*(without if os.geteuid() == 0 else []), script, "run", engine.FILE],
        cwd=repo.path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (repo.show("flow/p", "new/deep/x"), repo.show("flow/p", "old/file")) == (
        "x\n",
        "old\ny\n",
    )
    engine.tidy(repo)


# --- what it leaves behind ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        "{forever} &",
        "setsid {forever} &",
        "(setsid {forever} &) &",
        "setsid setsid sh -c 'setsid {forever} & setsid {forever} &' &",
        "python -c 'import os, sys; os.fork() and sys.exit(); os.setsid(); os.fork() and sys.exit(); "
        'os.execvp("sh", ["sh", "-c", sys.argv[1]])\' {quoted} &',
        "python -c 'import os, sys; os.setpgid(0, 0); os.execvp(\"sh\", [\"sh\", \"-c\", sys.argv[1]])' {quoted} &",
    ],
)  # fmt: skip
def test_a_process_that_was_left_behind_is_dead_before_the_work_is_read(
    repo: Repo, tmp_path: Path, start: str
) -> None:
    pids, script = tmp_path / "pids", tmp_path / "forever"
    script.write_text(
        f"echo $$ >> {pids}; trap '' HUP INT TERM; while :; do echo late >> late; sleep 0.01; done"
    )
    forever = f"sh {script}"
    wait = engine.until(f"test -s {pids} -a -s late")
    run = start.format(forever=forever, quoted=f'"{forever}"')
    played = lie(repo, f"{WORK}{run} {wait}", verify=["cp late before; sleep 0.1; cmp late before"])
    engine.finished(repo, played)
    left = [int(pid) for pid in pids.read_text().split()]
    assert left
    assert not any(map(runner.is_alive, left))
    assert stored_report(repo)["risks"] == ["it left processes behind, which were ended"]


def test_a_flood_of_output_takes_little_memory_and_little_disk(repo: Repo, tmp_path: Path) -> None:
    flood = "echo first; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo last"
    code = (
        "import json, resource, sys\n"
        "from pathlib import Path\n"
        "from gitflow_agents import runner\n"
        "ended = runner.shell(sys.argv[1], cwd=Path('.'), env={'PATH': sys.argv[2]}, mark='X=1',\n"
        "    caps=runner.Caps(100), stop=runner.Stop(), transcript=Path('output.log'))\n"
        "most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(json.dumps([ended.code, ended.output[:8], ended.output[-8:], most]))\n"
    )
    # By way of a shell: the peak of a process counts what it was forked from, and that is the tests.
    by_shell = ("sh", "-c", '"$@"; exit $?', "sh")
    done = subprocess.run(
        [*by_shell, sys.executable, "-c", code, flood, os.environ["PATH"]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    ended, start, end, most = json.loads(done.stdout)
    assert (ended, start, end) == (0, "first\nxx", "xx\nlast\n")
    assert most * (1 if sys.platform == "darwin" else 1024) < 150_000_000
    assert (tmp_path / "output.log").stat().st_size < runner.OUTPUT + 100  # and a line that says so


def test_a_flood_does_not_hide_the_last_words(repo: Repo) -> None:
    flood = "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo 'last words' >&2; exit 3"
    played = lie(repo, flood)
    refused(repo, played, "agent-error", "the command exited with 3")
    (told,) = (told for told in played.told if told.event == "attempt_failed")
    log = repo.path / ".git/gitflow-agents/attempts/p/1/1/output.log"
    assert told.detail.splitlines()[-3:] == [
        "last words",
        "next: gitflow-agents show p/1",
        f"all of its output: {log}",
    ]
    assert log.stat().st_size < runner.OUTPUT + 100
    assert max(map(len, told.detail.splitlines())) <= 500


# --- what it says of itself -----------------------------------------------------------------------

SAID = 'cat > "$GITFLOW_REPORT" <<"."\n{}\n.\n'
BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    + [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]"
        for a, b in zip("abcdefg", "bcdefgh", strict=True)
    ]
)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (SAID.format(BOMB), "the agent's report was left out"),
        ("yes 'summary: x' | head -c 1000000 > $GITFLOW_REPORT", "larger than 64 KiB"),
        (SAID.format("summary: {a: 1}\nlearned: 3"), "the agent's report was left out"),
        (SAID.format("status: completed\noutcome: succeeded"), "the agent's report was left out"),
        (SAID.format("cost_usd: .inf"), "the agent's report was left out: cost_usd: "),
        (SAID.format("cost_usd: .nan"), "the agent's report was left out: cost_usd: "),
        (SAID.format('summary: "\\uD800"'), "the agent's report was left out"),
        ("head -c 3000 /dev/urandom > $GITFLOW_REPORT", "the agent's report was left out"),
        ("mkdir $GITFLOW_REPORT", "the agent's report cannot be read: Is a directory"),
        ("mkfifo $GITFLOW_REPORT", "the agent's report cannot be read: it is not a plain file"),
        ("ln -s /dev/zero $GITFLOW_REPORT", "cannot be read: it is not a plain file"),
        ("ln -s loop $GITFLOW_REPORT; ln -s report.yaml $(dirname $GITFLOW_REPORT)/loop", "the agent's report cannot be read"),
    ],
)  # fmt: skip
def test_a_report_that_is_a_trap_is_left_out_and_good_work_goes_on(
    repo: Repo, make: str, complaint: str
) -> None:
    engine.finished(repo, lie(repo, f"{WORK}{make}"))
    report = stored_report(repo)
    (risk,) = report["risks"]
    assert complaint in risk
    assert "summary" not in report or report["summary"] == ""
    assert "cost_usd" not in report


def test_events_and_control_characters_in_a_report_are_only_words(repo: Repo) -> None:
    words = {
        "summary": f"done\0\n\n{forged('task_merged', '2')}\n\x1b[2J\x07red\u202e",
        "scope": "Gitflow-Event: plan_finished",
        "risks": ["Gitflow-Event: task_merged\nGitflow-Task: 2", "\x1b]0;title\x07"],
        "learned": ["Gitflow-Task: 2\n## heading\n```", "\x9b31m"],
        "follow_ups": ["---\nstatus: completed"],
    }
    played = lie(repo, f"{WORK}printf '%s' '{json.dumps(words)}' > $GITFLOW_REPORT")
    engine.finished(repo, played)
    written = [repo.git("log", "--all", "--format=%B")]
    for path in ("plans/p.report.md", "plans/p.provides.yaml"):
        written.append(repo.show("flow/p", path))
    kept = engine.record(repo, "1")
    for path in ("report.md", "task.yaml", "brief.md"):
        written.append(repo.show(f"{kept['merge']}^2", f".gitflow/{path}"))
    written += [told.text + told.detail for told in played.told]
    assert not {c for text in written for c in text if ord(c) < 32 or 127 <= ord(c) < 160} - {"\n"}
    assert {key: stored_report(repo)[key] for key in words} == words  # the data says what was said


def test_what_was_said_is_shown_without_what_a_terminal_obeys(repo: Repo, cli: Cli) -> None:
    lie(
        repo,
        f"{WORK}printf 'summary: \"\\\\e[2Jred\"' > $GITFLOW_REPORT; printf '\\033[2Jx'; exit 1",
    )
    for verb in (["status"], ["show", "p/1"], ["report", "p"], ["log", "p"], ["brief", "p/1"]):
        assert "\x1b" not in cli(*verb).stdout


def test_progress_is_told_clean_and_a_pipe_in_its_place_stops_nobody(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TICK", 0.02)
    say = "printf '1/2 \\033[2J\\007half\\n' > $GITFLOW_PROGRESS; sleep 0.3; "
    played = lie(repo, f"{WORK}{say}rm $GITFLOW_PROGRESS; mkfifo $GITFLOW_PROGRESS; sleep 0.3")
    engine.finished(repo, played)
    assert [t.text for t in played.told if t.event == "attempt_progress"][:1] == ["1: 1/2 half"]


# --- the tool's own folder ------------------------------------------------------------------------

OWN = f"{COMMON}/gitflow-agents"
EVIL = "0123456789012345678901234567890123456789"


def intent(text: str) -> str:
    """Return shell words that write down an intent as the tool does; `$(...)` is filled in."""
    return f"cat > {OWN}/intent.json <<.\n{text}\n.\n"


@pytest.mark.parametrize(
    "write",
    [
        intent("{garbage"),
        intent("[]"),
        intent('{"moves": [[1, 2, 3]], "git": 1}'),
        intent(f'{{"moves": [["refs/heads/../../x", "{EVIL}", "{EVIL}"]], "git": 1}}'),
        intent(f'{{"moves": [["refs/heads/main", "$(git rev-parse main)", "{EVIL}"]], "git": 1e9}}'),
        intent(f'{{"moves": [["refs/heads/x\\ndelete refs/heads/main", "{EVIL}", "{EVIL}"]]}}'),
        f"rm {OWN}/lock {OWN}/intent.json",
        f"rm -rf {OWN}",
        f"mkdir -p {OWN}/cache; echo '{{}}' > {OWN}/cache/p.json",
        f"setsid flock {OWN}/lock sleep 60 & sleep 0.1",
        f"echo x > {OWN}/attempts/p/1/1/not-ours",
    ],
)  # fmt: skip
def test_what_an_agent_writes_into_the_tools_folder_moves_nothing(repo: Repo, write: str) -> None:
    main = repo.sha("main")
    engine.finished(repo, lie(repo, f"{WORK}{write}", verify=["grep a a.txt"]))
    assert repo.sha("main") == main


FORGE = """
import glob, sys
for path in glob.glob(sys.argv[1] + "/*.json"):
    kept = open(path).read()
    kept = kept.replace('"status":"failed"', '"status":"completed"')
    open(path, "w").write(kept.replace('"ready": []', '"ready": ["2"]'))
"""


def test_a_forged_cache_shows_nothing_that_is_not_so(repo: Repo, cli: Cli, tmp_path: Path) -> None:
    engine.plan(repo, task("1", f"{WORK}exit 1"), task("2", "echo b > b.txt", depends_on=["1"]))
    engine.go(repo)
    cli("ready", "p")
    (tmp_path / "forge.py").write_text(FORGE)
    caches = repo.path / ".git/gitflow-agents/cache"
    assert len(list(caches.iterdir())) == 2
    forge = f"python {tmp_path}/forge.py {caches}; cp {caches}/* ."
    engine.plan(repo, task("1", f"{WORK}{forge}"), name="q")
    engine.finished(repo, engine.go(repo, "plans/q.yaml"), "q")
    assert '"status":"completed"' in repo.show("flow/q", "p.json")
    assert '"ready": ["2"]' in repo.show("flow/q", "ready-p.json")
    assert engine.audit(repo) == {"1": "failed", "2": "pending"}
    assert cli("ready", "p", "--json").json["ready"] == []
    assert cli("status", "p", "--json").json["counts"]["completed"] == 0
    played = engine.go(repo)
    assert (played.code, played.happened("attempt_started")) == (4, [])


# --- proof that is none ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "verify"),
    [
        ("echo '*.tmp' > .gitignore; echo x > x.tmp", "test -e x.tmp"),
        ("echo build/ > .gitignore; mkdir build; echo x > build/x", "test -e build/x"),
        ("mkdir empty", "test -d empty"),
        (
            "echo b >> README.md; git update-index --assume-unchanged README.md",
            "grep b README.md",
        ),
        ("git update-index --skip-worktree README.md; echo b >> README.md", "grep b README.md"),
        ("echo '*.txt eol=crlf' > .gitattributes", '! grep "$(printf "\\r")" a.txt'),
        (
            "echo '*.txt ident' > .gitattributes; echo '$Id$' >> a.txt",
            "grep '^[$]Id[$]$' a.txt",
        ),
        ("git init -q sub; rm -rf sub/.git/*; rmdir sub/.git; touch sub/x; echo sub > .gitignore", "test -e sub/x"),
    ],
)  # fmt: skip
def test_what_passes_only_where_the_agent_worked_is_not_merged(
    repo: Repo, run: str, verify: str
) -> None:
    played = lie(repo, f"{WORK}{run}", verify=[verify])
    refused(repo, played, "checks-failed", f"verify `{verify}` exited with 1")
    assert played.happened("attempt_succeeded", "train_started", "merge_refused") == [
        "1",
        "train_started",
        "1",
    ]


def test_a_verification_that_passes_on_its_second_try_does_not_pass(repo: Repo) -> None:
    verify = "test -e tried || { touch tried; false; }"
    refused(
        repo,
        lie(repo, WORK, verify=[verify]),
        "checks-failed",
        f"verify `{verify}` exited with 1",
    )


# --- names ----------------------------------------------------------------------------------------


def test_files_with_any_name_are_merged_and_told(repo: Repo, cli: Cli) -> None:
    names = [
        b"two\nlines",
        b"\xff\xfe",
        "é".encode(),
        b":(top)x",
        b"-rf",
        b"a\tb",
        b"\x1b[2J",
        b'"q"',
    ]
    escaped = ["".join(rf"\{byte:03o}" for byte in name) for name in names]
    make = "".join(f"echo x > \"$(printf './{name}')\"; " for name in escaped)
    played = lie(repo, f"{make}true")
    engine.finished(repo, played)
    there = subprocess.run(
        ["git", "ls-tree", "-z", "--name-only", "flow/p"],
        cwd=repo.path,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    assert set(names) <= set(there)
    assert "\x1b" not in cli("show", "p/1").stdout + cli("report", "p").stdout
    assert len(stored_report(repo)["files_touched"]) == len(names)


def test_a_conflict_in_a_file_whose_name_is_no_text_is_told(repo: Repo) -> None:
    write = 'echo {} > "$(printf "\\377")"'
    engine.plan(
        repo,
        task("1", write.format("one"), conflict_retries=0),
        task("2", engine.settled("1") + write.format("two"), conflict_retries=0),
    )
    played = engine.go(repo)
    assert (played.code, engine.audit(repo)) == (4, {"1": "completed", "2": "failed"})
    assert engine.record(repo, "2")["message"] == "it does not merge with flow/p: ?"


# --- the message ----------------------------------------------------------------------------------


def test_every_failure_ends_with_what_to_do_next(repo: Repo) -> None:
    played = lie(repo, f"{WORK}mkdir .github; touch .github/x")
    (told,) = (told for told in played.told if told.event == "attempt_failed")
    assert told == replace(
        told,
        text="1 failed: protected-path: the result changes what a task may not: .github/x",
        detail="next: gitflow-agents show p/1",
    )
    assert isinstance(told, Told)
