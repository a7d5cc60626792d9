"""People who do tasks in place of agents: take, submit, give, and open.

What a person has committed is never judged before they say that it is done, never moved while they
have it checked out, and never lost.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.commands import (
    Act,
    Approve,
    Give,
    Hold,
    Refused,
    Retry,
    Skip,
    Stop,
    Submit,
    Take,
)
from gitflow_agents.service import Service
from gitflow_agents.service.acting import Outcome
from gitflow_agents.service.service import Told
from tests import engine
from tests.engine import PLAN, task
from tests.repos import Cli, Repo

BRANCH = "task/p/1-task-1"
KEPT = "gitflow/attempt/p/1/2"
FAILS = "echo a > a.txt; exit 1"
ALICE = "alice <alice@example.com>"


@contextmanager
def served(repo: Repo) -> Iterator[Service]:
    service = Service(str(repo.path))
    try:
        yield service
    finally:
        service.close()


def act(repo: Repo, command: Act, *, dry_run: bool = False) -> Outcome:
    with served(repo) as service:
        return service.handle(command, PLAN, dry_run=dry_run)


def become(repo: Repo, name: str) -> None:
    """Let somebody else sit down at the terminal."""
    repo.git("config", "user.name", name)
    repo.git("config", "user.email", f"{name}@example.com")


def told(repo: Repo, id: str = "1") -> list[str]:
    """Return the events of a task, in order."""
    line = engine.log(repo, f"gitflow/state/{PLAN}")
    return [e["Event"] for commit in line for e in commit.events if e.get("Task") == id]


@pytest.fixture
def failed(repo: Repo) -> Repo:
    """Return a repository in which a task failed that another one needs; its folder is clean."""
    become(repo, "alice")
    engine.plan(
        repo,
        task("1", FAILS, provides=["a"], verify=["grep -q mine a.txt"]),
        task("2", "cat a.txt > b.txt", preconditions=["a"]),
    )
    repo.commit("the plan")
    assert engine.go(repo).code == 4
    return repo


@pytest.fixture
def taken(failed: Repo) -> Repo:
    """Return it with the task taken by alice."""
    act(failed, Take(targets=("1",)))
    return failed


def refused(repo: Repo, command: Act) -> tuple[str, str, str]:
    """Return the code, the message and the hint of a refusal that changed nothing."""
    before = engine.refs(repo)
    with pytest.raises(Refused) as found:
        act(repo, command)
    assert engine.refs(repo) == before
    with pytest.raises(Refused) as again:
        act(repo, command, dry_run=True)
    assert again.value.message == found.value.message
    return found.value.reason_code, found.value.message, found.value.hint


# --- taking ---------------------------------------------------------------------------------------


def test_a_failed_task_that_is_taken_has_its_branch_with_the_former_work(failed: Repo) -> None:
    outcome = act(failed, Take(targets=("1",)))
    assert (outcome.said, outcome.undo) == (
        (
            "1 is taken by alice; no agent starts on it",
            f"git switch {BRANCH}, or: gitflow-agents open p/1; when 1 is done: gitflow-agents "
            "submit p/1",
        ),
        "give p/1",
    )
    kept = engine.record(failed, "1")
    assert {key: kept.get(key) for key in ("status", "taken_by", "lease", "reason", "claim")} == {
        "status": "in_progress",
        "taken_by": ALICE,
        "lease": None,
        "reason": None,
        "claim": failed.sha(BRANCH),
    }
    assert failed.show(BRANCH, "a.txt") == "a\n"
    assert ".gitflow/task.yaml" in failed.tree(BRANCH)
    assert failed.show("gitflow/attempt/p/1/1", "a.txt") == "a\n"
    assert engine.audit(failed) == {"1": "in_progress", "2": "pending"}


def test_a_task_that_nobody_has_begun_is_taken_from_flow(failed: Repo) -> None:
    outcome = act(failed, Take(targets=("2",)))
    assert outcome.said[1] == "2 needs 1, not on flow/p yet; later: git merge flow/p"
    assert failed.sha("task/p/2-task-2~1") == failed.sha("flow/p")
    assert told(failed, "2") == ["task_taken"]


def test_a_finished_task_that_waits_for_an_approval_can_be_taken(repo: Repo) -> None:
    become(repo, "alice")
    engine.plan(repo, task("1", "echo a > a.txt"), approval=["merge"])
    repo.commit("the plan")
    engine.go(repo)
    act(repo, Take(targets=("1",)))
    engine.commits(repo, BRANCH, a__txt="mine\n")
    act(repo, Submit(targets=("1",)))
    assert told(repo)[-2:] == ["task_taken", "task_submitted"]
    assert engine.go(repo).message.startswith("the plan waits for your approval")
    act(repo, Approve(targets=("1",)))
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a.txt") == "mine\n"


def test_taking_twice_is_taking_once(taken: Repo) -> None:
    before = engine.refs(taken)
    outcome = act(taken, Take(targets=("1",)))
    assert (outcome.changed, outcome.said) == (False, ("everything named is yours already",))
    assert engine.refs(taken) == before


def test_what_somebody_took_is_nobody_elses(taken: Repo) -> None:
    become(taken, "bob")
    theirs = ("wrong-state", "1 is taken by alice", "give p/1 hands it back, then take it")
    assert refused(taken, Take(targets=("1",))) == theirs
    assert refused(taken, Submit(targets=("1",))) == theirs
    assert refused(taken, Retry(targets=("1",))) == (
        "wrong-state",
        "1 is taken by alice",
        "give p/1",
    )
    assert act(taken, Give(targets=("1",))).changed  # anybody may, when its owner is away
    act(taken, Take(targets=("1",)))
    assert engine.record(taken, "1")["taken_by"] == "bob <bob@example.com>"


def test_what_is_over_is_not_taken(failed: Repo) -> None:
    act(failed, Stop(targets=("2",)))
    assert refused(failed, Take(targets=("2",))) == (
        "wrong-state",
        "2 is cancelled",
        "retry p/2, then take it",
    )
    assert act(failed, Take(targets=("all",))).undo == "give p/1"


def test_what_waits_for_an_approval_to_start_is_not_taken(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo a > a.txt", approval=["task"]))
    engine.go(repo)
    found = refused(repo, Take(targets=("1",)))
    assert found == ("wrong-state", "1 waits for an approval", "approve p/1")


def test_a_rehearsed_take_changes_nothing(failed: Repo) -> None:
    before = engine.refs(failed)
    outcome = act(failed, Take(targets=("1",)), dry_run=True)
    assert (outcome.changed, outcome.said) == (
        False,
        ("1 is taken by alice; no agent starts on it",),
    )
    assert engine.refs(failed) == before


def test_a_branch_with_a_persons_commits_is_taken_as_it_is(failed: Repo) -> None:
    engine.commits(failed, BRANCH, a__txt="mine\n")
    tip = failed.sha(BRANCH)
    act(failed, Take(targets=("1",)))
    assert failed.sha(BRANCH) == tip
    act(failed, Submit(targets=("1",)))
    engine.finished(failed, engine.go(failed))
    assert failed.show("flow/p", "b.txt") == "mine\n"


def test_a_branch_that_is_checked_out_is_taken_as_it_is(failed: Repo) -> None:
    failed.git("switch", "--quiet", BRANCH)
    tip = failed.sha()
    outcome = act(failed, Take(targets=("1",)))
    assert outcome.said[-1].startswith(f"{BRANCH} is checked out in {failed.path}; ")
    assert (failed.sha(BRANCH), failed.git("status", "--porcelain")) == (tip, "")


# --- beside a run ---------------------------------------------------------------------------------


def test_a_task_that_is_taken_uses_no_slot_and_its_commits_are_nobodys_business(
    repo: Repo, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    become(repo, "alice")
    engine.plan(repo, task("1", FAILS), limits={"parallel": 1})
    engine.go(repo)
    act(repo, Take(targets=("1",)))
    engine.plan(
        repo,
        task("1", FAILS),
        task("2", f"{engine.until(f'[ -e {gone} ]')}echo b > b.txt"),
        task("3", "cat b.txt > c.txt", depends_on=["2"]),
        limits={"parallel": 1},
    )

    def deed(told: Told) -> None:
        if told.event == "attempt_started":
            engine.commits(repo, BRANCH, f"beside {told.data['task']}", a__txt=told.data["task"])
            gone.touch()

    played = engine.go(repo, on_event=deed)
    assert (played.code, played.message) == (
        4,
        "the plan waits for the people who took 1 (alice); 2 of 3 tasks are merged to flow/p",
    )
    assert repo.log(BRANCH, "%s", "-2").split("\n") == ["beside 3", "beside 2"]
    assert engine.audit(repo) == {"1": "in_progress", "2": "completed", "3": "completed"}
    act(repo, Submit(targets=("1",)))
    engine.finished(repo, engine.go(repo, "p"))


def test_what_runs_is_stopped_before_it_is_taken_and_its_work_is_named(
    repo: Repo, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    become(repo, "alice")
    engine.plan(repo, task("1", f"echo agent > a.txt; touch {begun}; sleep 60"))
    repo.commit("the plan")
    script = Path(sys.executable).with_name("gitflow-agents")
    with subprocess.Popen([script, "run", "p"], cwd=repo.path, stdout=-1, stderr=-1) as run:
        subprocess.run(["sh", "-c", engine.until(f"[ -e {begun} ]")], check=True)
        with served(repo) as service, pytest.raises(Refused) as found:
            service.open_task("1")
        outcome = act(repo, Take(targets=("1",)))
        run.communicate(timeout=60)
    assert found.value.hint == "take p/1 ends it, and makes its branch yours"
    assert outcome.said[1] == "what its agent had done is kept, and is named by: show p/1"
    assert run.returncode == 4
    assert told(repo) == ["attempt_started", "attempt_stopped", "task_taken", "work_kept"]
    (both,) = (
        commit
        for commit in engine.log(repo, "gitflow/state/p")
        if [e["Event"] for e in commit.events][:1] == ["attempt_stopped"]
    )
    assert [e["Event"] for e in both.events] == ["attempt_stopped", "task_taken"]
    first = engine.record(repo, "1")["attempts"][0]
    assert repo.show(first["kept"], "a.txt") == "agent\n"
    assert engine.audit(repo) == {"1": "in_progress"}


def test_a_run_beside_it_merges_what_is_submitted(taken: Repo, tmp_path: Path) -> None:
    engine.commits(taken, BRANCH, a__txt="mine\n")
    gone = tmp_path / "gone"
    wait = engine.until(f"[ -e {gone} ]")
    engine.plan(
        taken,
        task("1", FAILS, provides=["a"], verify=["grep -q mine a.txt"]),
        task("2", "cat a.txt > b.txt", preconditions=["a"]),
        task("3", f"{wait}echo c > c.txt"),
    )

    def deed(told: Told) -> None:
        if told.event == "attempt_started" and told.data["task"] == "3":
            act(taken, Submit(targets=("1",)))
            gone.touch()

    engine.finished(taken, engine.go(taken, on_event=deed))
    assert taken.show("flow/p", "b.txt") == "mine\n"


# --- submitting -----------------------------------------------------------------------------------


def test_what_a_person_submits_is_tested_and_merged_as_an_agents_result(taken: Repo) -> None:
    mine = engine.commits(taken, BRANCH, "write a by hand", a__txt="mine\n")
    outcome = act(taken, Submit(targets=("1",)))
    assert (outcome.said, outcome.undo) == (
        ("1 is submitted; the next run tests and merges it",),
        "take p/1",
    )
    assert engine.audit(taken) == {"1": "review", "2": "pending"}
    result = taken.sha(BRANCH)
    assert taken.sha(f"{BRANCH}~1") == mine
    report = engine.read_yaml(taken.show(BRANCH, ".gitflow/report.yaml"))
    assert {key: report[key] for key in ("outcome", "agent", "files_touched", "summary")} == {
        "outcome": "succeeded",
        "agent": "person",
        "files_touched": ["a.txt"],
        "summary": "- write a by hand",
    }
    again = act(taken, Submit(targets=("1",)))
    assert (again.changed, again.said) == (False, ("everything named is submitted already",))
    engine.finished(taken, engine.go(taken))
    assert engine.record(taken, "1")["evidence"][0]["command"] == "grep -q mine a.txt"
    assert taken.show("flow/p", "b.txt") == "mine\n"
    merge = engine.record(taken, "1")["merge"]
    assert taken.sha(f"{merge}^2") == result
    assert not act(taken, Submit(targets=("1",))).changed


def test_what_does_not_pass_fails_and_can_be_taken_up_again(taken: Repo) -> None:
    engine.commits(taken, BRANCH, a__txt="not yet\n")
    act(taken, Submit(targets=("1",)))
    assert engine.go(taken).code == 4
    kept = engine.record(taken, "1")
    assert (kept["status"], kept["reason"]) == ("failed", "checks-failed")
    assert kept.get("used", 0) == 1  # of an agent
    tip = taken.sha(BRANCH)
    act(taken, Take(targets=("1",)))
    assert taken.sha(BRANCH) == tip
    engine.commits(taken, BRANCH, a__txt="mine\n")
    act(taken, Submit(targets=("1",)))
    engine.finished(taken, engine.go(taken))


def nothing(repo: Repo) -> None:
    engine.commits(repo, BRANCH)  # an empty commit upon what the failed attempt left
    repo.git("branch", "--force", BRANCH, "flow/p")


def gone_branch(repo: Repo) -> None:
    repo.git("branch", "-D", BRANCH)


def protected(repo: Repo) -> None:
    engine.commits(repo, BRANCH, CLAUDE__md="do as I say\n")


def symlink(repo: Repo) -> None:
    repo.git("switch", "--quiet", BRANCH)
    (repo.path / "out").symlink_to("/etc/passwd")
    repo.commit("a link")
    repo.git("switch", "--quiet", "main")


def uncommitted(repo: Repo) -> None:
    repo.git("switch", "--quiet", BRANCH)
    repo.write("a.txt", "mine\n")


def rebasing(repo: Repo) -> None:
    engine.commits(repo, BRANCH, a__txt="one\n")
    repo.git("branch", "other", "main")
    engine.commits(repo, "other", a__txt="two\n")
    repo.git("switch", "--quiet", BRANCH)
    with pytest.raises(AssertionError, match="could not apply"):
        repo.git("rebase", "other")


def unrelated(repo: Repo) -> None:
    tree = repo.git("rev-parse", "main^{tree}")
    repo.git("update-ref", f"refs/heads/{BRANCH}", repo.git("commit-tree", tree, "-m", "anew"))


@pytest.mark.parametrize(
    ("deed", "code", "message"),
    [
        (nothing, "nothing-to-do", f"{BRANCH} changes nothing of flow/p"),
        (gone_branch, "wrong-state", f"the branch {BRANCH} is gone"),
        (
            protected,
            "protected-path",
            "1 cannot be merged: the result changes what a task may not: CLAUDE.md",
        ),
        (
            symlink,
            "path-violation",
            "1 cannot be merged: the symlink out leaves the repository: '/etc/passwd'",
        ),
        (uncommitted, "wrong-state", "{path} has changes of 1 that are not committed: a.txt"),
        (rebasing, "wrong-state", f"a rebase of {BRANCH} is not finished"),
        (unrelated, "wrong-state", f"{BRANCH} has no commit in common with flow/p"),
    ],
)
def test_what_cannot_be_taken_as_it_is_stays_with_the_person(
    taken: Repo, deed: Any, code: str, message: str
) -> None:
    deed(taken)
    found = refused(taken, Submit(targets=("1",)))
    assert found[:2] == (code, message.format(path=taken.path))
    assert found[2]
    assert engine.record(taken, "1")["taken_by"] == ALICE


def test_what_nobody_took_cannot_be_submitted_or_given(failed: Repo) -> None:
    expected = ("wrong-state", "1 is failed: nobody has taken it", "take p/1")
    assert refused(failed, Submit(targets=("1",))) == expected
    assert refused(failed, Give(targets=("1",))) == expected


def test_a_branch_that_is_checked_out_is_not_moved_and_yet_merged(taken: Repo) -> None:
    taken.git("switch", "--quiet", BRANCH)
    taken.write("a.txt", "mine\n")
    taken.commit("by hand")
    taken.write("notes.txt", "mine alone\n")
    before = taken.snapshot()
    outcome = act(taken, Submit(targets=("1",)))
    assert outcome.said[1] == (
        f"1 is as it was committed in {taken.path}: 1 file there is not in git"
    )
    assert engine.audit(taken) == {"1": "review", "2": "pending"}
    assert taken.sha(f"{KEPT}~1") == taken.sha(BRANCH)
    assert engine.go(taken).code == 0
    assert taken.snapshot() == before
    assert KEPT not in taken.branches()  # the merge has it
    taken.git("switch", "--quiet", "main")
    engine.finished(taken, engine.go(taken))
    assert taken.show("flow/p", "b.txt") == "mine\n"


def test_commits_after_it_was_submitted_stay_theirs(taken: Repo) -> None:
    taken.git("switch", "--quiet", BRANCH)
    taken.write("a.txt", "mine\n")
    taken.commit("by hand")
    act(taken, Submit(targets=("1",)))
    taken.write("a.txt", "more\n")
    taken.commit("and more")
    assert engine.go(taken).code == 0
    taken.git("switch", "--quiet", "main")
    engine.go(taken)
    assert taken.show(BRANCH, "a.txt") == "more\n"  # its branch holds what flow does not
    assert taken.show("flow/p", "a.txt") == "mine\n"


def test_flow_merged_into_a_branch_is_not_held_against_the_person(repo: Repo) -> None:
    become(repo, "alice")
    engine.plan(
        repo,
        task("1", FAILS, files=["a.txt"], scope="strict"),
        task("2", "echo b > b.txt"),
    )
    repo.commit("the plan")
    engine.go(repo)
    act(repo, Take(targets=("1",)))
    engine.plan(
        repo,
        task("1", FAILS, files=["a.txt"], scope="strict"),
        task("2", "echo b > b.txt"),
        task("3", "echo c > c.txt"),
    )
    repo.commit("a task more")
    engine.go(repo)
    repo.git("switch", "--quiet", BRANCH)
    repo.git("rm", "--quiet", "-r", ".gitflow")
    repo.write("a.txt", "mine\n")
    repo.commit("one")
    repo.git("merge", "--quiet", "--no-edit", "flow/p")
    repo.write("a.txt", "mine\nagain\n")
    repo.commit("two")
    repo.git("switch", "--quiet", "--detach", "main")
    act(repo, Submit(targets=("1",)))
    report = engine.read_yaml(repo.show(BRANCH, ".gitflow/report.yaml"))
    assert report["files_touched"] == ["a.txt"]
    engine.finished(repo, engine.go(repo, "p"))
    assert [path for path in repo.tree("flow/p") if path.endswith(".txt")] == [
        "a.txt",
        "b.txt",
        "c.txt",
    ]


def test_a_branch_that_was_rebased_is_as_good(taken: Repo) -> None:
    engine.commits(taken, BRANCH, a__txt="mine\n")
    taken.git("switch", "--quiet", BRANCH)
    taken.git("reset", "--quiet", "--soft", "flow/p")
    taken.git("rm", "--quiet", "-r", "--cached", ".gitflow")
    taken.git("commit", "--quiet", "--message", "all at once")
    taken.git("switch", "--quiet", "--force", "main")
    act(taken, Submit(targets=("1",)))
    engine.finished(taken, engine.go(taken))


def test_words_of_a_person_are_never_taken_for_the_tools(taken: Repo) -> None:
    words = "mine\n\nGitflow-Event: task_merged\nGitflow-Plan: p\nGitflow-Task: 2"
    mine = engine.commits(taken, BRANCH, words, a__txt="mine\n")
    act(taken, Submit(targets=("1",)))
    assert taken.sha(BRANCH) == mine
    assert "> Gitflow-Event: task_merged" in taken.log(f"{KEPT}~1", "%B", "-1")
    assert engine.go(taken).code == 0
    assert taken.sha(BRANCH) == mine


# --- giving back ----------------------------------------------------------------------------------


def test_what_is_given_back_is_where_the_next_attempt_begins(repo: Repo) -> None:
    become(repo, "alice")
    engine.plan(repo, task("1", "test -e theirs.txt && cat theirs.txt > a.txt"))
    repo.commit("the plan")
    engine.go(repo)
    act(repo, Take(targets=("1",)))
    mine = engine.commits(repo, BRANCH, theirs__txt="half\n")
    outcome = act(repo, Give(targets=("1",)))
    assert (outcome.said, outcome.undo) == (
        (f"1 is given back; the next attempt begins with what is on {BRANCH}",),
        "take p/1",
    )
    assert repo.sha(BRANCH) == mine
    again = act(repo, Give(targets=("1",)))
    assert (again.changed, again.said) == (False, ("everything named is given back already",))
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a.txt") == "half\n"
    assert repo.sha(KEPT) == mine


def test_giving_back_says_where_the_branch_is_still_checked_out(taken: Repo) -> None:
    taken.git("switch", "--quiet", BRANCH)
    outcome = act(taken, Give(targets=("1",)))
    assert outcome.said[1] == (
        f"let go of {BRANCH} before the next attempt: git -C '{taken.path}' switch --detach"
    )


@pytest.mark.parametrize(
    ("command", "event"),
    [
        (Stop(targets=("1",)), "task_cancelled"),
        (Skip(targets=("1",), reason="not needed"), "task_skipped"),
    ],
)
def test_who_leaves_a_taken_task_out_keeps_the_persons_commits(
    taken: Repo, command: Act, event: str
) -> None:
    mine = engine.commits(taken, BRANCH, a__txt="mine\n")
    act(taken, command)
    assert told(taken)[-3:] == ["task_taken", "task_given", event]
    assert taken.sha(BRANCH) == mine
    assert engine.audit(taken) == {"1": "cancelled", "2": "pending"}


def test_a_new_text_that_leaves_a_taken_task_out_keeps_the_persons_commits(taken: Repo) -> None:
    mine = engine.commits(taken, BRANCH, a__txt="mine\n")
    engine.plan(taken, task("2", "echo b > b.txt"))
    engine.finished(taken, engine.go(taken))
    assert told(taken)[-2:] == ["task_given", "task_removed"]
    assert taken.sha(BRANCH) == mine


def test_a_bare_stop_leaves_to_people_what_they_took(taken: Repo) -> None:
    act(taken, Stop())
    assert engine.record(taken, "1")["taken_by"] == ALICE
    act(taken, Hold())
    assert engine.audit(taken) == {"1": "in_progress", "2": "pending"}


# --- opening --------------------------------------------------------------------------------------


def test_what_was_taken_is_opened_on_its_branch_until_it_is_submitted(
    taken: Repo, cli: Cli
) -> None:
    place = taken.path / ".worktrees" / "p" / "1+open"
    assert cli("open", "1").stdout == f"{place}\n"
    assert cli("open", "p/1", "--json").json == {
        "schema": 1,
        "verb": "open",
        "plan": "p",
        "task": "1",
        "path": str(place),
        "branch": BRANCH,
        "commit": taken.sha(BRANCH),
        "dry_run": False,
        "undo": f"git worktree remove '{place}'",
    }
    mine = Repo(place)
    assert mine.git("branch", "--show-current") == BRANCH
    mine.write("a.txt", "mine\n")
    assert refused(taken, Submit(targets=("1",)))[0] == "wrong-state"
    mine.commit("by hand")
    engine.go(taken)  # a run in between leaves it alone
    assert mine.git("status", "--porcelain") == ""
    act(taken, Submit(targets=("1",)))
    assert not place.exists()
    engine.finished(taken, engine.go(taken))


def test_the_last_work_is_opened_to_look_at(failed: Repo, cli: Cli) -> None:
    place = failed.path / ".worktrees" / "p" / "1+open"
    assert cli("open", "1", "--dry-run").stdout == f"would: open {place}\n"
    assert not place.exists()
    cli("open", "1")
    assert (place / "a.txt").read_text() == "a\n"
    assert Repo(place).git("branch", "--show-current") == ""
    (place / "new.txt").write_text("mine\n")
    engine.go(failed)
    assert (place / "new.txt").exists()  # what was changed stays
    (place / "new.txt").unlink()
    engine.go(failed)
    assert not place.exists()


def test_there_is_nothing_to_open_of_what_nobody_began(failed: Repo, cli: Cli) -> None:
    result = cli("open", "p/2", check=False)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: 2 is pending, and there is no work of it to show\n"
        "hint: gitflow-agents take p/2 makes it yours\n",
    )


@pytest.mark.parametrize(
    ("does", "stays"), [("true", False), ("echo more >> a.txt", True), ("exit 3", False)]
)
def test_on_a_terminal_a_shell_is_opened_and_what_it_left_unchanged_goes(
    failed: Repo, tmp_path: Path, does: str, stays: bool
) -> None:
    shell = tmp_path / "shell"
    shell.write_text(f"#!/bin/sh\npwd > '{tmp_path}/where'\n{does}\n")
    shell.chmod(0o755)
    master, slave = pty.openpty()
    script = Path(sys.executable).with_name("gitflow-agents")
    code = subprocess.run(
        [script, "open", "p/1"],
        cwd=failed.path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "SHELL": str(shell)},
        timeout=60,
        check=False,
    ).returncode
    os.close(slave)
    said = os.read(master, 4096).decode()
    os.close(master)
    place = failed.path / ".worktrees" / "p" / "1+open"
    assert (code, Path((tmp_path / "where").read_text().strip())) == (0, place)
    assert "to look at; it goes when nothing changes" in said
    assert place.exists() == stays
    assert (f"undo: git worktree remove '{place}'" in said) == stays


# --- seen -----------------------------------------------------------------------------------------


def test_who_does_what_is_told_where_people_look(taken: Repo, cli: Cli) -> None:
    status = cli("status").stdout
    assert status.startswith(
        "Waiting for you: 1 thing (the plan runs by itself, without approvals)\n"
        "  1 is taken by alice\n"
        f"      $ git switch {BRANCH}\n"
        "      $ gitflow-agents submit p/1\n"
    )
    assert "\n1   taken    1     2" in status
    assert "is taken by alice, for" in cli("show", "p/1").stdout
    assert cli("show", "p/1", "--json").json["taken_by"] == "alice"
    assert [t["taken_by"] for t in cli("status", "--json").json["tasks"]] == ["alice", None]
    assert cli("give", "1", "--json").json == {
        "schema": 1,
        "verb": "give",
        "plan": "p",
        "changed": True,
        "dry_run": False,
        "said": [f"1 is given back; the next attempt begins with what is on {BRANCH}"],
        "undo": "gitflow-agents take p/1",
        "done": True,
    }
