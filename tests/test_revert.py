"""Taking merges back: the tool's own reverts, a person's, and what becomes of the work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.commands import Refused, Retry, Revert
from gitflow_agents.service import Service
from gitflow_agents.service.acting import Outcome
from tests import engine
from tests.engine import PLAN, task
from tests.repos import Repo

WHY = "it is wrong"
FLOW = "flow/p"


@contextmanager
def served(repo: Repo) -> Iterator[Service]:
    service = Service(str(repo.path))
    try:
        yield service
    finally:
        service.close()


def revert(repo: Repo, *targets: str, dry_run: bool = False) -> Outcome:
    with served(repo) as service:
        return service.handle(Revert(targets=targets, reason=WHY), PLAN, dry_run=dry_run)


def chain(repo: Repo, **keys: Any) -> None:
    """Run a plan to its end in which 2 needs 1, 3 needs 2, and 4 needs nothing."""
    engine.plan(
        repo,
        task("1", "echo a >> a.txt", provides=["a"]),
        task("2", "echo b >> b.txt", provides=["b"], preconditions=["a"]),
        task("3", "echo c >> c.txt", preconditions=["b"]),
        task("4", "echo d >> d.txt"),
        **keys,
    )
    engine.finished(repo, engine.go(repo))


def files(repo: Repo, rev: str = FLOW) -> list[str]:
    return [path for path in repo.tree(rev) if path.endswith(".txt")]


def by_hand(repo: Repo, path: Path, *steps: tuple[str, ...]) -> None:
    """Do git's steps in a clone with flow checked out, as a person does, and push flow."""
    clone = repo.clone(path)
    clone.git("switch", "--quiet", "--create", "own", f"origin/{FLOW}")
    for step in steps:
        clone.git(*step)
    clone.git("push", "--quiet", "origin", f"own:{FLOW}")


def merge_of(repo: Repo, id: str) -> str:
    return str(engine.record(repo, id)["merge"])


# --- the tool's own -------------------------------------------------------------------------------


def test_a_revert_takes_the_dependants_back_first_and_gives_each_a_commit(repo: Repo) -> None:
    repo.identify()
    chain(repo)
    merges = {id: merge_of(repo, id) for id in "123"}
    outcome = revert(repo, "1")
    assert (outcome.changed, outcome.said, outcome.undo) == (
        True,
        (
            "1 is reverted, and waits again",
            "2 is reverted with it: it needs 1",
            "3 is reverted with it: it needs 2",
        ),
        "run p",
    )
    line = engine.log(repo, FLOW, "--first-parent")[-3:]
    assert [event for commit in line for event in commit.events] == [
        {
            "Event": "task_reverted",
            "Plan": "p",
            "Task": id,
            "Attempt": "1",
            "Reason": "reverted",
            "Actor": "alice <alice@example.com>",
            "Commit": merges[id],
        }
        for id in "321"
    ]
    assert [len(commit.parents) for commit in line] == [1, 1, 1]
    assert repo.log(FLOW, "%s%n%n%b", "-1").split("\n\nGitflow-")[0] == (
        "revert 1: Task 1\n\n"
        "reverted by alice: it is wrong\n\n"
        f"This reverts commit {merges['1']}, reversing\n"
        f"changes made to {repo.sha(merges['1'] + '^')}."
    )
    assert files(repo) == ["d.txt"]
    assert engine.audit(repo) == {"1": "pending", "2": "pending", "3": "pending", "4": "completed"}
    assert engine.state(repo).get("status", "live") == "live"
    engine.tidy(repo)


def test_what_was_reverted_stays_reachable_and_comes_back_with_the_next_attempt(repo: Repo) -> None:
    chain(repo)
    results = {id: engine.record(repo, id)["attempts"][0]["report"] for id in "12"}
    revert(repo, "1")
    for id, sha in results.items():
        assert repo.sha(f"gitflow/attempt/p/{id}/1") == sha
    engine.finished(repo, engine.go(repo))
    # Each ran once more on what its first attempt had left.
    assert [repo.show(FLOW, f"{name}.txt") for name in "abcd"] == [
        "a\na\n",
        "b\nb\n",
        "c\nc\n",
        "d\n",
    ]
    result = f"{merge_of(repo, '1')}^2"
    assert repo.log(result, "%s", "-4").splitlines()[1:3] == [
        "1: Task 1",
        "bring back the work of attempt 1 of 1",
    ]
    brief = repo.show(result, ".gitflow/brief.md")
    assert "### Attempt 1: succeeded (reverted)" in brief
    assert "Its work is kept as `gitflow/attempt/p/1/1`." in brief


def test_a_finished_plan_is_live_again_and_finishes_a_second_time(repo: Repo) -> None:
    chain(repo)
    revert(repo, "4")
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("plan_finished") == ["plan_finished"]


def test_a_retried_task_begins_without_the_reverted_work(repo: Repo) -> None:
    chain(repo)
    revert(repo, "4")
    with served(repo) as service:
        asked = Retry(targets=("4",), fresh=True, append="by another way")
        first, again = (service.handle(asked, PLAN) for _ in range(2))
        bare = service.handle(Retry(targets=("4",), fresh=True), PLAN)
    assert first.said == ("4 waits already; the next attempt at 4 begins without the former work",)
    assert (first.changed, again.changed, bare.changed) == (True, False, False)
    engine.finished(repo, engine.go(repo))
    assert repo.show(FLOW, "d.txt") == "d\n"
    assert "by another way" in repo.show(f"{merge_of(repo, '4')}^2", ".gitflow/brief.md")


def test_work_that_does_not_come_back_cleanly_is_named_in_the_brief(repo: Repo) -> None:
    engine.plan(repo, task("1", "test -e a.txt || echo a > a.txt; echo b >> a.txt"))
    engine.finished(repo, engine.go(repo))
    revert(repo, "1")
    engine.commits(repo, FLOW, a__txt="theirs\n")
    engine.finished(repo, engine.go(repo))
    brief = repo.show(f"{merge_of(repo, '1')}^2", ".gitflow/brief.md")
    assert "Its work is kept as `gitflow/attempt/p/1/1`." in brief
    assert "- `a.txt`" in brief
    assert repo.show(FLOW, "a.txt") == "theirs\nb\n"


def test_a_revert_that_meets_later_work_refuses_the_whole_and_names_the_paths(repo: Repo) -> None:
    chain(repo)
    engine.commits(repo, FLOW, "on top", a__txt="a\nmine\n")
    engine.go(repo)  # adopts it
    before = engine.refs(repo)
    for dry_run in (True, False):
        with pytest.raises(Refused) as refused:
            revert(repo, "1", "4", dry_run=dry_run)
        assert (refused.value.reason_code, refused.value.message) == (
            "conflict",
            "1 does not come off flow/p cleanly, and nothing was reverted; in conflict: a.txt",
        )
    assert engine.refs(repo) == before


def test_a_revert_is_tested_and_what_fails_reverts_nothing(repo: Repo, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    gate = f"ls *.txt | tr '\\n' ' ' >> {seen}; echo >> {seen}; test -e d.txt || ! test -e c.txt"
    chain(repo, gate=[gate], setup=["echo ready > ready.txt"])
    seen.write_text("")
    before = engine.refs(repo)
    with pytest.raises(Refused) as refused:
        revert(repo, "4")
    assert refused.value.reason_code == "gate-failed"
    assert "exited with 1; nothing was changed" in refused.value.message
    after = engine.refs(repo)
    assert {ref for ref in before | after if before.get(ref) != after.get(ref)} == {
        "refs/heads/gitflow/state/p"
    }
    revert(repo, "3")
    assert seen.read_text() == "a.txt b.txt c.txt ready.txt \na.txt b.txt d.txt ready.txt \n"
    assert engine.audit(repo) == {
        "1": "completed",
        "2": "completed",
        "3": "pending",
        "4": "completed",
    }
    engine.tidy(repo)


def test_a_revert_given_twice_does_nothing_more_and_a_dry_one_nothing(repo: Repo) -> None:
    chain(repo)
    before = engine.refs(repo)
    dry = revert(repo, "3", "4", dry_run=True)
    assert (dry.changed, dry.said, dry.undo, engine.refs(repo)) == (
        False,
        ("3 is reverted, and waits again", "4 is reverted, and waits again"),
        "run p",
        before,
    )
    revert(repo, "3", "4")
    before = engine.refs(repo)
    again = revert(repo, "3", "4")
    assert (again.changed, again.said, again.undo, engine.refs(repo)) == (
        False,
        ("everything named is reverted already",),
        "",
        before,
    )


def test_only_what_is_merged_can_be_reverted(repo: Repo) -> None:
    engine.plan(repo, task("1", "exit 1"))
    engine.go(repo)
    with pytest.raises(Refused) as refused:
        revert(repo, "1")
    assert (refused.value.reason_code, refused.value.message) == (
        "wrong-state",
        "1 is failed: only what is merged can be reverted",
    )
    assert revert(repo, "all").said == ("nothing of it is merged",)


def test_a_revert_is_refused_while_flow_is_checked_out_and_while_it_is_gone(repo: Repo) -> None:
    chain(repo)
    repo.git("clean", "--quiet", "--force", "plans")
    repo.git("switch", "--quiet", FLOW)
    with pytest.raises(Refused) as refused:
        revert(repo, "1")
    assert refused.value.message == f"{FLOW} is checked out in {repo.path}, so it is not moved"
    repo.git("switch", "--quiet", "main")
    repo.git("branch", "--quiet", "-D", FLOW)
    with pytest.raises(Refused) as refused:
        revert(repo, "1")
    assert (refused.value.reason_code, f"{FLOW} is gone" in refused.value.message) == ("held", True)


def test_one_attempt_more_is_allowed_where_all_were_used(repo: Repo) -> None:
    chain(repo, limits={"attempts": 1})
    revert(repo, "4")
    engine.finished(repo, engine.go(repo))


def test_what_only_the_reverted_task_had_taught_is_forgotten(repo: Repo) -> None:
    said = "printf 'learned: [%s, both]\\nsummary: done\\n' > $GITFLOW_REPORT"
    engine.plan(
        repo,
        task("1", f"echo a > a.txt; {said % 'one'}"),
        task("2", f"echo b > b.txt; {said % 'two'}", depends_on=["1"]),
    )
    engine.finished(repo, engine.go(repo))
    assert engine.state(repo)["learned"] == ["one", "both", "two"]
    revert(repo, "2")
    assert engine.state(repo)["learned"] == ["one", "both"]
    assert "summary" not in engine.record(repo, "2")


# --- beside a run ---------------------------------------------------------------------------------


def test_dependants_in_progress_are_fenced_and_those_in_review_wait_again(
    repo: Repo, tmp_path: Path
) -> None:
    gone, slow = tmp_path / "gone", tmp_path / "slow"
    engine.plan(
        repo,
        task("1", "echo a >> a.txt", provides=["a"]),
        # On its first run it waits to be ended; on its second it does not.
        task(
            "2",
            f"echo b >> b.txt; [ -e {slow} ] || {{ touch {slow}; {wait(gone)}}}",
            preconditions=["a"],
        ),
        task("3", "echo c >> c.txt", preconditions=["a"]),
        gate=[f"! test -e c.txt || {{ {wait(gone)}}}"],
    )
    played: list[engine.Played] = []
    thread = threading.Thread(target=lambda: played.append(engine.go(repo, jobs=3)))
    thread.start()
    try:
        until(lambda: slow.exists() and "refs/heads/gitflow/try/p" in engine.refs(repo))
        assert [engine.record(repo, id)["status"] for id in "123"] == [
            "completed",
            "in_progress",
            "review",
        ]
        outcome = revert(repo, "1")
    finally:
        gone.touch()
        thread.join()
    assert outcome.said == (
        "1 is reverted, and waits again",
        "2 is stopped, and waits again: it needs 1",
        "3 is not merged, and waits again: it needs 1",
    )
    engine.finished(repo, played[0])  # the run that goes on does all of them again
    assert [len(engine.record(repo, id)["attempts"]) for id in "123"] == [2, 2, 2]
    stopped = engine.record(repo, "2")["attempts"][0]
    assert (stopped["outcome"], stopped["message"]) == (
        "stopped",
        "1, which it needs, was reverted",
    )
    assert [repo.show(FLOW, f"{name}.txt") for name in "abc"] == ["a\na\n", "b\nb\n", "c\nc\n"]


# --- a person's -----------------------------------------------------------------------------------


def test_a_persons_revert_that_is_pushed_to_flow_counts_as_much(repo: Repo, tmp_path: Path) -> None:
    chain(repo)
    merge = merge_of(repo, "3")
    by_hand(repo, tmp_path / "clone", ("revert", "--no-edit", "-m", "1", merge))
    sha = repo.sha(FLOW)
    with served(repo) as service:
        service.handle(Retry(), PLAN)  # any pass adopts it
    record = engine.record(repo, "3")
    assert (record["reason"], record["message"]) == (
        "reverted",
        'reverted by alice: Revert "merge 3: Task 3"',
    )
    assert (record["attempts"][0]["merged"], record["attempts"][0]["reverted"]) == (merge, sha)
    assert engine.audit(repo)["3"] == "pending"
    engine.finished(repo, engine.go(repo))
    assert repo.show(FLOW, "c.txt") == "c\nc\n"


def test_one_commit_of_a_person_may_revert_several_and_come_by_a_merge(
    repo: Repo, tmp_path: Path
) -> None:
    chain(repo)
    merges = [merge_of(repo, id) for id in "34"]
    said = "".join(f"\nThis reverts commit {sha[:9]}." for sha in merges)
    by_hand(
        repo,
        tmp_path / "clone",
        ("switch", "--quiet", "--create", "side"),
        ("revert", "--no-commit", "-m", "1", *merges),
        ("commit", "--quiet", "--message", f"take both back\n{said}"),
        ("switch", "--quiet", "own"),
        ("merge", "--quiet", "--no-ff", "--message", "by a pull request", "side"),
    )
    played = engine.go(repo)
    engine.finished(repo, played)
    assert sorted(played.happened("task_reverted")) == ["3", "4"]
    assert [repo.show(FLOW, f"{name}.txt") for name in "cd"] == ["c\nc\n", "d\nd\n"]


def test_what_a_person_leaves_on_flow_stays_completed(repo: Repo, tmp_path: Path) -> None:
    chain(repo)
    by_hand(repo, tmp_path / "clone", ("revert", "--no-edit", "-m", "1", merge_of(repo, "1")))
    with served(repo) as service:
        service.handle(Retry(), PLAN)
    assert engine.audit(repo) == {
        "1": "pending",
        "2": "completed",
        "3": "completed",
        "4": "completed",
    }


def test_an_agent_that_writes_what_git_writes_reverts_nothing(repo: Repo) -> None:
    words = 'git commit -qam "This reverts commit $(git rev-parse HEAD^)" -m '
    words += "\"This reverts commit $(git log --format=%H --grep='^merge 1' -1)\""
    engine.plan(
        repo,
        task("1", "echo a > a.txt"),
        task("2", f"echo b > b.txt; git add b.txt; {words}", depends_on=["1"]),
        task(
            "3",
            "echo 'summary: |\n  This reverts commit '$(git log --format=%H --grep='^merge 1'"
            " -1) > $GITFLOW_REPORT; echo c > c.txt",
            depends_on=["2"],
        ),
    )
    engine.finished(repo, engine.go(repo))


# --- kills ----------------------------------------------------------------------------------------


def test_a_revert_whose_state_was_not_written_is_adopted_from_flow(repo: Repo) -> None:
    chain(repo)
    state, flow = repo.sha("gitflow/state/p"), repo.sha(FLOW)
    revert(repo, "2")
    after = engine.record(repo, "2")
    assert flow != repo.sha(FLOW)
    # As a kill leaves it that nobody could complete: flow has moved, the state has not.
    repo.git("update-ref", "refs/heads/gitflow/state/p", state)
    with served(repo) as service:
        service.handle(Retry(), PLAN)
    assert engine.record(repo, "2") == after
    assert engine.audit(repo) == {
        "1": "completed",
        "2": "pending",
        "3": "pending",
        "4": "completed",
    }
    engine.finished(repo, engine.go(repo))


SLOW = [pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGINT)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, *SLOW])
def test_a_revert_that_is_killed_while_it_is_tested_reverts_nothing(
    repo: Repo, tmp_path: Path, number: signal.Signals
) -> None:
    testing, gone = tmp_path / "testing", tmp_path / "gone"
    gate = f"test -e d.txt || ! test -e c.txt || {{ touch {testing}; {wait(gone)}}}"
    chain(repo, gate=[gate])
    flow = repo.sha(FLOW)
    script = str(Path(sys.executable).with_name("gitflow-agents"))
    process = subprocess.Popen(
        [script, "-C", str(repo.path), "revert", "p/4", "-m", WHY],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until(testing.exists)
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode == (-9 if number is signal.SIGKILL else 130)
    assert repo.sha(FLOW) == flow
    gone.touch()
    revert(repo, "4")
    assert engine.audit(repo)["4"] == "pending"
    engine.tidy(repo)


# --- helpers --------------------------------------------------------------------------------------


def wait(gone: Path) -> str:
    """Return shell words that wait until a file is there."""
    return engine.until(f"[ -e {gone} ]")


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait until something holds; fail when it never does."""
    event = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        event.wait(0.02)
    raise AssertionError("it never came about")
