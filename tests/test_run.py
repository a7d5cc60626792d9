"""A plan is run until nothing can move: order, slots, interruptions, and what is never lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import runner
from gitflow_agents.errors import GitFailed
from gitflow_agents.execute import Executor, Order
from gitflow_agents.service import run
from gitflow_agents.service.service import Told
from gitflow_agents.store import Worktree, Worktrees
from gitflow_agents.store.state import KEPT_ATTEMPTS
from tests import engine
from tests.engine import commits, recorded, task, until
from tests.repos import Repo, Result

LINE = "start"


def logged(path: Path, *lines: str) -> str:
    """Return shell words that append a line each to a log outside the repository."""
    return "".join(f"echo {line} >> {path}; " for line in lines)


# --- order and slots ------------------------------------------------------------------------------


@pytest.mark.parametrize(("jobs", "parallel"), [(2, None), (None, 2), (5, 2)])
def test_no_more_attempts_run_at_once_than_allowed(
    repo: Repo, tmp_path: Path, jobs: int | None, parallel: int | None
) -> None:
    log, here = tmp_path / "log", tmp_path / "here"
    here.mkdir()
    ids = [f"t{n}" for n in range(5)]
    # Each stands in the folder while it works, counts who stands there, and waits for company.
    work = (
        "touch {here}/{id}; n=0; until [ $(ls {here} | wc -l) -ge 2 ] || [ $n -ge 15 ]; do "
        "n=$((n+1)); sleep 0.02; done; ls {here} | wc -l >> {log}; echo 1 > {id}; rm {here}/{id}"
    )
    limits: dict[str, Any] = {"limits": {"parallel": parallel}} if parallel else {}
    engine.plan(repo, *(task(id, work.format(id=id, here=here, log=log)) for id in ids), **limits)
    engine.finished(repo, engine.go(repo, jobs=jobs))
    counts = [int(line) for line in log.read_text().split()]
    assert (len(counts), max(counts)) == (5, 2)


def test_when_slots_are_short_higher_priority_starts_first_and_the_order_is_the_same_again(
    repo: Repo,
) -> None:
    priorities = {"a": "low", "b": "medium", "c": "high", "d": "medium", "e": "high"}
    for name in ("one", "two"):
        tasks = (task(id, f"echo 1 > {id}", priority=p) for id, p in priorities.items())
        engine.plan(repo, *tasks, name=name)
        played = engine.go(repo, f"plans/{name}.yaml", jobs=1)
        assert played.happened("attempt_started") == ["c", "e", "b", "d", "a"]


def test_a_slot_is_free_before_the_folder_of_the_last_task_is_gone(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear, next_began, was_in_time = Executor.clear, threading.Event(), []

    def late(self: Executor, order: Order, *, keep_output: bool) -> None:
        if order.task.id == "1":
            was_in_time.append(next_began.wait(20))
        clear(self, order, keep_output=keep_output)

    def listen(told: Told) -> None:
        if (told.event, told.data.get("task")) == ("attempt_started", "2"):
            next_began.set()

    monkeypatch.setattr(Executor, "clear", late)
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b"))
    assert engine.go(repo, jobs=1, on_event=listen).code == 0
    assert was_in_time == [True]
    assert not (repo.path / ".worktrees").exists()


def test_a_second_attempt_waits_until_the_folder_of_the_first_is_gone(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear, add, again, seen = Executor.clear, Worktrees.add, threading.Event(), []

    def late(self: Executor, order: Order, *, keep_output: bool) -> None:
        if (order.task.id, order.number) == ("2", 1):
            assert again.wait(20)
        clear(self, order, keep_output=keep_output)
        seen.append(f"{order.task.id} gone")

    def noted(self: Worktrees, plan: str, name: str, commit: str) -> Worktree:
        seen.append(f"{name} made")
        return add(self, plan, name, commit)

    def listen(told: Told) -> None:
        if told.event == "attempt_started" and told.data["attempt"] == 2:
            again.set()

    monkeypatch.setattr(Executor, "clear", late)
    monkeypatch.setattr(Worktrees, "add", noted)
    first = task("1", "echo 1 > a")
    engine.plan(repo, first, task("2", f"{until(recorded('1', 'completed'))} echo 2 > a"))
    assert engine.go(repo, on_event=listen).code == 0
    assert [what for what in seen if what[0] == "2"] == ["2 made", "2 gone", "2 made", "2 gone"]


CHAINS = [
    ("a", []),
    ("slow", []),
    ("b", ["a"]),
    ("c", ["b"]),
]


def test_a_task_starts_as_soon_as_its_needs_are_on_flow(repo: Repo) -> None:
    # `slow` is in the first wave and ends last: c, of the third, does not wait for it.
    engine.plan(
        repo,
        *(
            task(
                id,
                (until(recorded("c", "completed")) if id == "slow" else "") + f"echo 1 > {id}",
                depends_on=needs,
            )
            for id, needs in CHAINS
        ),
    )
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("task_merged") == ["a", "b", "c", "slow"]


def test_with_a_barrier_a_wave_starts_only_when_the_former_one_is_over(repo: Repo) -> None:
    engine.plan(
        repo,
        *(
            task(
                id,
                (until(recorded("a", "completed")) if id == "slow" else "") + f"echo 1 > {id}",
                depends_on=needs,
            )
            for id, needs in CHAINS
        ),
    )
    played = engine.go(repo, barrier=True)
    engine.finished(repo, played)
    assert played.happened("attempt_started", "task_merged") == [
        *("a", "slow", "a", "slow"),
        *("b", "b", "c", "c"),
    ]


def test_a_branch_is_cut_from_flow_as_its_prerequisites_left_it(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a"),
        task("2", "echo 2 > b"),
        task("3", "cat a b > c", depends_on=["1", "2"]),
        task("4", "cat a b c > d", depends_on=["3"]),
    )
    engine.finished(repo, engine.go(repo))
    line = repo.log("flow/p", "%H", "--first-parent").split()
    for id, needs in (("1", ""), ("2", ""), ("3", "12"), ("4", "3")):
        kept = engine.record(repo, id)
        base = kept["attempts"][-1]["base"]
        assert base in line
        assert repo.git("merge-base", kept["attempts"][-1]["report"], f"{kept['merge']}^1") == base
        for need in needs:
            merge = engine.record(repo, need)["merge"]
            assert repo.git("merge-base", "--is-ancestor", merge, base) == ""
    assert repo.show("flow/p", "d") == "1\n2\n1\n2\n"


def test_nothing_that_is_not_started_has_a_branch(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "exit 1"),
        task("2", "echo 2 > b", depends_on=["1"]),
        task("3", "echo 3 > c"),
    )
    assert engine.go(repo).code == 4
    assert [b for b in repo.branches() if b.startswith("task/")] == ["task/p/1-task-1"]
    assert engine.audit(repo) == {"1": "failed", "2": "pending", "3": "completed"}


# --- limits ---------------------------------------------------------------------------------------


def test_nothing_more_starts_when_the_budget_is_used_up(repo: Repo) -> None:
    cost = "echo 'cost_usd: 1.5' > $GITFLOW_REPORT; "
    engine.plan(
        repo,
        *(task(id, f"{cost} echo 1 > {id}") for id in "abc"),
        limits={"budget_usd": 2},
    )
    played = engine.go(repo, jobs=1)
    assert (played.code, played.message) == (
        4,
        "the budget of $2 is used up ($3.00); 2 of 3 tasks are merged to flow/p",
    )
    assert engine.audit(repo) == {"a": "completed", "b": "completed", "c": "pending"}
    assert engine.go(repo).code == 4


def test_nothing_more_starts_when_the_minutes_are_used_up(repo: Repo) -> None:
    engine.plan(repo, task("a", "echo 1 > a"), task("b", "echo 1 > b"), limits={"minutes": 3})
    now = time.time()

    def clock() -> float:
        nonlocal now
        now += 200
        return now

    played = engine.go(repo, jobs=1, clock=clock, elapsed=clock)
    assert played.code == 4
    assert played.message.startswith("the 3 minutes of work by all agents together are used up (")
    assert engine.audit(repo) == {"a": "completed", "b": "pending"}


def test_nothing_more_starts_while_as_many_results_as_may_wait_for_people(repo: Repo) -> None:
    engine.plan(
        repo,
        *(task(id, f"echo 1 > {id}") for id in "abc"),
        limits={"open_reviews": 2},
        approval=["merge"],
    )
    played = engine.go(repo, jobs=3)
    assert (played.code, played.message) == (
        4,
        "2 results wait to be merged, and open_reviews allows 2; 0 of 3 tasks are merged to flow/p",
    )
    assert engine.audit(repo) == {"a": "review", "b": "review", "c": "pending"}
    engine.act(repo, "approve", "a")
    assert engine.go(repo).code == 4
    assert engine.audit(repo) == {"a": "completed", "b": "review", "c": "review"}


# --- the end --------------------------------------------------------------------------------------


def test_a_plan_ends_with_one_finishing_commit_that_holds_three_files(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a", provides=["a file", {"name": "a one", "check": "grep 1 a"}]),
        task("2", "echo 2 > b", preconditions=["a file"], verify=["echo '3 passed in 0.1s'"]),
    )
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("plan_finished") == ["plan_finished"]
    assert repo.git("diff", "--name-only", "flow/p^", "flow/p").split() == [
        "plans/p.provides.yaml",
        "plans/p.report.md",
    ]
    assert repo.show("flow/p", "plans/p.yaml") == repo.show("gitflow/state/p", "spec.yaml")
    assert engine.read_yaml(repo.show("flow/p", "plans/p.provides.yaml")) == {
        "schema": 1,
        "plan": "p",
        "provides": [
            {"name": "a file", "task": "1", "merge": engine.record(repo, "1")["merge"]},
            {"name": "a one", "task": "1", "merge": engine.record(repo, "1")["merge"]},
        ],
    }
    report = repo.show("flow/p", "plans/p.report.md")
    for said in (
        "All work merged to flow branch `flow/p`.",
        "- session id: `p`",
        "- total tasks: 2",
        "- waves: 2",
        "Tests passing: 3 ",
        "- **1** Task 1, merged as",
    ):
        assert said in report
    assert repo.log("flow/p", "%an|%B", "-1").rstrip() == (
        "gitflow-agents|finish plan p v1\n\nGitflow-Event: plan_finished\nGitflow-Plan: p"
    )


def test_estimates_are_compared_with_what_it_took(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a", estimated_time="8 minutes"), task("2", "echo 2 > b"))
    engine.finished(repo, engine.go(repo))
    report = repo.show("flow/p", "plans/p.report.md")
    rows = [line for line in report.splitlines() if line.startswith("| 1 |")]
    assert len(rows) == 1
    assert "8 minutes" in rows[0]


def test_a_finished_plan_is_left_as_it_is(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"))
    engine.finished(repo, engine.go(repo))
    before = engine.refs(repo), repo.git("count-objects", "-v")
    for what in (engine.FILE, "p"):
        played = engine.go(repo, what)
        assert (played.code, played.happened("plan_finished", "attempt_started")) == (0, [])
    assert (engine.refs(repo), repo.git("count-objects", "-v")) == before


def test_a_later_plan_may_need_what_an_earlier_one_gave(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a", provides=["a file"]), name="one")
    engine.finished(repo, engine.go(repo, "plans/one.yaml"), "one")
    second = task("1", "cat a > b", preconditions=["a  file"])
    engine.plan(repo, second, name="two")
    with pytest.raises(Exception, match="has 1 error"):
        engine.go(repo, "plans/two.yaml")
    (repo.path / "plans/one.yaml").unlink()
    repo.git("merge", "--quiet", "--no-edit", "flow/one")
    played = engine.go(repo, "plans/two.yaml")
    engine.finished(repo, played, "two")
    assert repo.show("flow/two", "b") == "1\n"
    brief = repo.show(engine.record(repo, "1", "two")["claim"], ".gitflow/brief.md")
    assert "From earlier plans:\n\n- `a  file`" in brief or "- `a file`" in brief


def test_a_plan_whose_flow_was_merged_has_landed(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"))
    engine.finished(repo, engine.go(repo))
    (repo.path / engine.FILE).unlink()
    repo.git("merge", "--quiet", "--no-edit", "flow/p")
    repo.git("branch", "-d", "flow/p")
    played = engine.go(repo, "p")
    assert (played.code, played.message) == (
        0,
        "the plan is landed: 1 of 1 tasks are merged to flow/p",
    )
    assert engine.state(repo)["status"] == "landed"


# --- flow goes away -------------------------------------------------------------------------------


def test_a_plan_whose_flow_is_gone_is_held_with_the_command_that_mends_it(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b", depends_on=["1"]), gate=["true"])  # fmt: skip
    done: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "train_started" and not done:
            done.append(repo.sha("flow/p"))
            repo.git("branch", "-D", "flow/p")

    played = engine.go(repo, on_event=meddle)
    why = f"the flow branch flow/p is gone; bring it back: git branch flow/p {done[0]}"
    assert (played.code, played.message) == (4, f"the plan is held: {why}")
    assert "flow/p" not in repo.branches()
    assert engine.go(repo).message == f"the plan is held: {why}"
    repo.git("branch", "flow/p", done[0])
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("plan_resumed") == ["plan_resumed"]


def test_a_flow_that_goes_away_while_an_agent_works_is_not_blamed_on_it(
    repo: Repo, tmp_path: Path
) -> None:
    engine.plan(repo, task("1", f"{until(f'[ -e {tmp_path}/go ]')} echo 1 > a"))
    done: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "attempt_started":
            done.append(repo.sha("flow/p"))
            repo.git("branch", "-D", "flow/p")
            (tmp_path / "go").touch()

    played = engine.go(repo, on_event=meddle)
    assert played.code == 4
    assert played.message.startswith("the plan is held: the flow branch flow/p is gone")
    assert engine.record(repo, "1")["status"] == "review"
    repo.git("branch", "flow/p", done[0])
    engine.finished(repo, engine.go(repo))


def test_a_flow_that_was_forced_is_never_moved_back(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b", depends_on=["1"]))
    done: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "attempt_started" and told.data["task"] == "2":
            done.append(repo.sha("flow/p"))
            repo.git("update-ref", "refs/heads/flow/p", repo.sha("main"))

    played = engine.go(repo, on_event=meddle)
    assert played.code == 4
    assert played.message == (
        "the plan is held: the flow branch flow/p was moved back or replaced; "
        f"to go on from what was merged: git branch -f flow/p {done[0]}"
    )
    assert repo.sha("flow/p") == repo.sha("main")
    repo.git("branch", "-f", "flow/p", done[0])
    engine.finished(repo, engine.go(repo))


# --- nothing but git ------------------------------------------------------------------------------


def test_all_caches_may_be_deleted_at_any_time(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a; echo 'learned: [x]' > $GITFLOW_REPORT"),
        task("2", "exit 1", depends_on=["1"]),
        task("3", "echo 3 > c", depends_on=["2"]),
    )
    folder = repo.path / ".git" / "gitflow-agents"

    def forget(told: Told) -> None:
        if told.event == "task_merged":
            subprocess.run(["rm", "-rf", str(folder)], check=True)

    played = engine.go(repo, on_event=forget)
    assert played.code == 4
    before = engine.audit(repo)
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    again = engine.go(repo)
    assert (again.code, again.message) == (played.code, played.message)
    assert engine.audit(repo) == before == {"1": "completed", "2": "failed", "3": "pending"}
    engine.tidy(repo)


def test_everything_that_was_done_is_in_git_and_reached_by_a_ref(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b; exit 1"))
    engine.go(repo)
    clone = repo.clone(repo.path.parent / "clone", bare=True)
    assert clone.show("gitflow/state/p", "plan.yaml") == repo.show("gitflow/state/p", "plan.yaml")
    kept = engine.record(clone, "2")
    assert clone.show(kept["attempts"][-1]["report"], "b") == "2\n"
    assert clone.git("fsck", "--strict", "--no-dangling") == ""


# --- people on task branches ----------------------------------------------------------------------


def test_a_person_who_has_a_tasks_branch_checked_out_keeps_it(repo: Repo, tmp_path: Path) -> None:
    look = tmp_path / "look"
    engine.plan(repo, task("1", f"echo 1 > a; {until(f'[ -e {look} ]')}"))

    def meddle(told: Told) -> None:
        if told.event == "attempt_started":
            repo.git("worktree", "add", "-q", str(look), told.data["branch"])

    played = engine.go(repo, on_event=meddle)
    kept = engine.record(repo, "1")
    assert (played.code, kept["status"]) == (4, "failed")
    assert repo.sha(kept["branch"]) == kept["claim"] == Repo(look).sha("HEAD")
    assert repo.show("gitflow/attempt/p/1/1", "a") == "1\n"
    engine.audit(repo)


def test_what_a_killed_attempt_did_is_kept_beside_what_a_person_put_on_its_branch(
    repo: Repo, tmp_path: Path
) -> None:
    engine.plan(repo, task("1", lingering(tmp_path)))
    with running(repo) as process:
        pid_in(tmp_path / "pid")
        process.kill()
    hers = commits(repo, "task/p/1-task-1", "hers", theirs="1\n")
    assert engine.go(repo).code == 4
    assert (engine.record(repo, "1")["reason"], engine.audit(repo)) == (
        "foreign-commits",
        {"1": "failed"},
    )
    kept = {name for name in repo.branches() if name.startswith("gitflow/attempt/p/1/")}
    assert {repo.sha(name) for name in kept} > {hers}
    assert "1\n" in [repo.git("cat-file", "-p", f"{name}:a", check=False) + "\n" for name in kept]
    engine.tidy(repo)


@pytest.mark.parametrize("what", ["deleted", "moved"])
def test_a_tasks_branch_that_a_person_took_while_it_ran_fails_it_and_both_works_are_kept(
    repo: Repo, tmp_path: Path, what: str
) -> None:
    engine.plan(repo, task("1", f"echo 1 > a; {until(f'[ -e {tmp_path}/go ]')}"))

    def meddle(told: Told) -> None:
        if told.event == "attempt_started":
            if what == "deleted":
                repo.git("update-ref", "-d", f"refs/heads/{told.data['branch']}")
            else:
                commits(repo, told.data["branch"], "hers", theirs="1\n")
            (tmp_path / "go").touch()

    played = engine.go(repo, on_event=meddle)
    kept = engine.record(repo, "1")
    assert (played.code, kept["status"], kept["reason"]) == (4, "failed", "foreign-commits")
    assert repo.show("gitflow/attempt/p/1/1", "a") == "1\n"
    if what == "moved":
        assert repo.log(kept["branch"], "%s", "-1") == "hers"
    else:
        assert kept["branch"] not in repo.branches()
    assert engine.audit(repo) == {"1": "failed"}
    engine.tidy(repo)


def test_a_claim_that_git_refuses_fails_that_task_and_the_others_start(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a"),
        task("2", "echo 2 > b", depends_on=["1"]),
        task("3", "echo 3 > c", depends_on=["1"]),
        task("4", "echo 4 > d", depends_on=["2"]),
    )

    def meddle(told: Told) -> None:
        if told.event == "attempt_started" and told.data["task"] == "1":
            repo.git("branch", "task/p/2-task-2/mine")

    played = engine.go(repo, on_event=meddle)
    assert (played.code, played.happened("claim_refused")) == (4, ["2"])
    assert engine.audit(repo) == {
        "1": "completed",
        "2": "failed",
        "3": "completed",
        "4": "pending",
    }
    kept = engine.record(repo, "2")
    assert (kept["reason"], kept.get("attempts", [])) == ("push-refused", [])
    assert "'refs/heads/task/p/2-task-2/mine' exists" in kept["message"]


def test_a_merged_branch_that_a_kill_has_left_is_cleared_away(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "exit 1"))
    engine.go(repo)
    kept = engine.record(repo, "1")
    repo.git("update-ref", f"refs/heads/{kept['branch']}", kept["attempts"][-1]["report"])
    assert engine.go(repo).code == 4
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}


def test_a_worktree_that_git_no_longer_knows_is_mended_and_its_work_is_taken(repo: Repo) -> None:
    admin = repo.path / ".git/worktrees/gitflow-p+1"
    engine.plan(repo, task("1", f"echo 1 > a; rm -rf {admin}"))
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("attempt_expired", "task_retried") == []
    assert repo.show("flow/p", "a") == "1\n"


def test_an_attempt_that_the_disk_lets_down_is_made_again_on_what_it_did(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.plan(repo, task("1", "ls > seen; echo 1 >> a"))
    save, failed = Worktree.save, list[None]()

    def full_once(self: Worktree, *args: Any, **kwargs: Any) -> Any:
        if not failed:
            failed.append(None)
            raise GitFailed("No space left on device")
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Worktree, "save", full_once)
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("attempt_expired", "task_retried") == ["1", "1"]
    first, second = engine.record(repo, "1")["attempts"]
    assert (first["reason"], second["number"]) == ("infrastructure", 2)
    assert first["message"] == "the work of 1 could not be saved: No space left on device"
    assert repo.show("gitflow/attempt/p/1/1", "a") == "1\n"
    assert repo.show("flow/p", "a") == "1\n1\n"
    assert "a" in repo.show("flow/p", "seen").split()


# --- interrupted ----------------------------------------------------------------------------------


@pytest.fixture
def interrupted(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Callable[..., engine.Played]:
    """Return a run that is interrupted as soon as an agent says something in its progress."""
    monkeypatch.setattr(runner, "TICK", 0.02)

    def interrupt(told: Told) -> None:
        if told.event == "attempt_progress":
            os.kill(os.getpid(), signal.SIGINT)

    def run(**more: Any) -> engine.Played:
        return engine.go(repo, on_event=interrupt, **more)

    return run


SAY = "echo 1/2 >> $GITFLOW_PROGRESS; sleep 60"


def test_an_interrupted_run_keeps_what_was_done_and_the_next_goes_on_from_it(
    repo: Repo, tmp_path: Path, interrupted: Callable[..., engine.Played]
) -> None:
    again = tmp_path / "again"
    work = (
        f"test -e {again} && {{ ls > seen; cat half > whole; exit; }}; "
        f"echo 1 > half; git add half; git commit -qm half; echo 2 > loose; {SAY}"
    )
    engine.plan(repo, task("1", work), task("2", "echo 2 > b", depends_on=["1"]))
    played = interrupted()
    assert (played.code, played.message, played.hint) == (
        130,
        "interrupted; 0 of 2 tasks are merged to flow/p, and nothing is lost",
        "gitflow-agents run p goes on where it was",
    )
    assert engine.audit(repo) == {"1": "pending", "2": "pending"}
    engine.tidy(repo)
    kept = engine.record(repo, "1")
    (attempt,) = kept["attempts"]
    assert (attempt["outcome"], attempt["reason"], kept.get("used", 0)) == ("stopped", "stopped", 0)
    assert repo.show(kept["branch"], "loose") == "2\n"
    assert "half" in repo.log(kept["branch"], "%s").splitlines()
    again.touch()
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "seen").split() == ["README.md", "half", "loose", "plans", "seen"]
    assert repo.show("flow/p", "whole") == "1\n"
    assert len(engine.record(repo, "1")["attempts"]) == 2
    brief = repo.show(engine.record(repo, "1")["claim"], ".gitflow/brief.md")
    assert "### Attempt 1: stopped (stopped)" in brief
    assert "gitflow/attempt/p/1/1" in brief


def test_only_the_last_three_attempts_are_kept(
    repo: Repo, tmp_path: Path, interrupted: Callable[..., engine.Played]
) -> None:
    assert KEPT_ATTEMPTS == 3
    engine.plan(repo, task("1", f"test -e {tmp_path}/go || {{ echo x >> a; {SAY}; }}; echo 1 > b"))
    for _ in range(5):
        assert interrupted().code == 130
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))
    kept = [b for b in repo.branches() if b.startswith("gitflow/attempt/")]
    assert kept == [f"gitflow/attempt/p/1/{n}" for n in (3, 4, 5)]
    attempts = engine.record(repo, "1")["attempts"]
    assert [attempt.get("kept", "") for attempt in attempts] == ["", "", *kept, ""]
    # Each attempt went on from the one before.
    assert repo.show("flow/p", "a") == "x\n" * 5


def test_what_setup_left_is_not_brought_back_after_an_interruption(
    repo: Repo, tmp_path: Path, interrupted: Callable[..., engine.Played]
) -> None:
    engine.plan(
        repo,
        task("1", f"test -e {tmp_path}/go || {{ echo 1 > a; {SAY}; }}"),
        setup=["touch junk"],
    )
    assert interrupted().code == 130
    assert "junk" not in repo.tree(engine.record(repo, "1")["branch"])
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))
    assert "junk" not in repo.tree("flow/p")


def test_an_interrupted_train_is_built_again(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), gate=[f"test -e {tmp_path}/go || sleep 60"])

    def interrupt(told: Told) -> None:
        if told.event == "train_started":
            os.kill(os.getpid(), signal.SIGINT)

    assert engine.go(repo, on_event=interrupt).code == 130
    assert engine.audit(repo) == {"1": "review"}
    engine.tidy(repo)
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))


def test_a_stopped_attempt_whose_branch_a_person_has_is_kept_beside_it(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "TICK", 0.02)
    engine.plan(repo, task("1", f"test -e {tmp_path}/go || {{ echo 1 > a; {SAY}; }}; echo 2 > b"))

    def meddle(told: Told) -> None:
        if told.event == "attempt_progress":
            repo.git("worktree", "add", "-q", str(tmp_path / "look"), "task/p/1-task-1")
            os.kill(os.getpid(), signal.SIGINT)

    played = engine.go(repo, on_event=meddle)
    assert (played.code, engine.audit(repo)) == (130, {"1": "pending"})
    claim = engine.log(repo, "gitflow/state/p")[1].events[0]["Commit"]
    assert repo.sha("task/p/1-task-1") == claim
    assert repo.show("gitflow/attempt/p/1/1", "a") == "1\n"
    repo.git("worktree", "remove", str(tmp_path / "look"))
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a") == "1\n"


# --- processes that are killed --------------------------------------------------------------------


@contextmanager
def running(repo: Repo, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run the installed script beside the test, in a process group of its own."""
    script = str(Path(sys.executable).with_name("gitflow-agents"))
    with subprocess.Popen(
        [script, "run", engine.FILE, *args],
        cwd=repo.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for(what: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something holds, or fail."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def pid_in(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def lingering(tmp_path: Path, work: str = "echo 1 > a") -> str:
    """Return a command that works, says its process id, and ends only when `go` is there."""
    return f"{work}; test -e {tmp_path}/go || {{ echo $$ > {tmp_path}/pid; sleep 600; }}"


@pytest.mark.parametrize("group", [False, True], ids=["the run alone", "its whole group"])
def test_an_interrupt_from_a_terminal_ends_agents_and_loses_nothing(
    repo: Repo, tmp_path: Path, group: bool
) -> None:
    engine.plan(repo, task("1", lingering(tmp_path)), task("2", "echo 2 > b", depends_on=["1"]))
    with running(repo) as process:
        agent = pid_in(tmp_path / "pid")
        # Ctrl-C reaches everything in the foreground, the gits that we keep too.
        (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines() == [
        "error: interrupted; 0 of 2 tasks are merged to flow/p, and nothing is lost",
        "hint: gitflow-agents run p goes on where it was",
    ]
    assert not runner.is_alive(agent)
    assert engine.audit(repo) == {"1": "pending", "2": "pending"}
    assert repo.show("task/p/1-task-1", "a") == "1\n"
    engine.tidy(repo)
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))


def test_a_run_that_was_killed_is_taken_up_and_its_agent_is_gone(
    repo: Repo, tmp_path: Path
) -> None:
    repo.write(".env", "TOKEN=1\n")
    work = "git rm -q README.md; git commit -qm 'its own commit'; echo 1 > a"
    engine.plan(
        repo,
        task("1", lingering(tmp_path, work)),
        task("2", "echo 2 > b"),
        copy=[".env"],
        setup=["touch of-the-setup"],
    )
    with running(repo) as process:
        agent = pid_in(tmp_path / "pid")
        wait_for(lambda: "merge 2" in repo.log("flow/p"))
        engine.orphan(process.pid)
    assert runner.is_alive(agent)
    (tmp_path / "go").touch()
    played = engine.go(repo)
    engine.finished(repo, played)
    assert engine.gone(agent)
    kept = engine.record(repo, "1")
    first, second = kept["attempts"]
    assert (first["outcome"], first["reason"], first["kept"]) == (
        "expired",
        "lease-lost",
        "gitflow/attempt/p/1/1",
    )
    assert (second["number"], kept["used"], kept.get("lost", 0)) == (2, 1, 0)
    assert "its own commit" in repo.log("gitflow/attempt/p/1/1").splitlines()
    assert repo.show("gitflow/attempt/p/1/1", "a") == "1\n"
    assert played.happened("attempt_expired", "task_retried", "attempt_started") == ["1"] * 3
    everything = {
        line.partition(" ")[2] for line in repo.git("rev-list", "--objects", "--all").splitlines()
    }
    assert not everything & {".env", "of-the-setup"}


def test_a_run_that_was_killed_in_its_setup_leaves_no_work(repo: Repo, tmp_path: Path) -> None:
    setup = f"touch junk; test -e {tmp_path}/go || {{ echo $$ > {tmp_path}/pid; sleep 600; }}"
    engine.plan(repo, task("1", "echo 1 > a"), setup=[setup])
    with running(repo) as process:
        left = pid_in(tmp_path / "pid")
        process.kill()
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))
    assert engine.gone(left)
    assert "junk" not in {
        line.partition(" ")[2] for line in repo.git("rev-list", "--objects", "--all").splitlines()
    }


def test_a_run_that_was_killed_and_whose_caches_are_gone_loses_nothing(
    repo: Repo, tmp_path: Path
) -> None:
    engine.plan(repo, task("1", lingering(tmp_path)))
    with running(repo) as process:
        pid_in(tmp_path / "pid")
        process.kill()
    subprocess.run(["rm", "-rf", str(repo.path / ".git/gitflow-agents")], check=True)
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))
    assert repo.show("gitflow/attempt/p/1/1", "a") == "1\n"


def test_a_run_that_was_killed_while_a_train_was_tested_builds_it_again(
    repo: Repo, tmp_path: Path
) -> None:
    gate = f"test -e {tmp_path}/go || {{ echo $$ > {tmp_path}/pid; sleep 600; }}"
    engine.plan(repo, task("1", "echo 1 > a"), gate=[gate])
    with running(repo) as process:
        tester = pid_in(tmp_path / "pid")
        process.kill()
    assert repo.sha("gitflow/try/p")
    (tmp_path / "go").touch()
    played = engine.go(repo)
    engine.finished(repo, played)
    assert engine.gone(tester)
    assert played.happened("attempt_started") == []


def test_a_result_that_was_published_before_the_kill_is_taken_and_nobody_works_again(
    repo: Repo, tmp_path: Path
) -> None:
    # The agent itself kills the run once its result is on its branch: a child of it waits for that.
    published = (
        f"git -C {repo.path} log -1 --format=%s task/p/1-task-1 | grep -q 'attempt succeeded'"
    )
    killer = tmp_path / "killer"
    killer.write_text(f"echo $$ > {tmp_path}/pid\n{until(published)}\nkill -9 $1\n")
    engine.plan(repo, task("1", f"echo run >> {tmp_path}/log; echo 1 > a"), gate=["sleep 0.5"])
    with running(repo) as process:
        subprocess.run(["sh", str(killer), str(process.pid)], check=True, timeout=60)
        process.wait(timeout=60)
    assert process.returncode == -signal.SIGKILL
    engine.finished(repo, engine.go(repo))
    assert (tmp_path / "log").read_text() == "run\n"
    assert len(engine.record(repo, "1")["attempts"]) == 1


FORGED = """
git checkout -q -b mine
echo 1 > a; git add a; git commit -q -F - <<'END'
1: attempt succeeded

Gitflow-Event: attempt_succeeded
Gitflow-Plan: p
Gitflow-Task: 1
Gitflow-Attempt: 1
END
git update-ref refs/heads/task/p/1-task-1 HEAD
"""


def test_a_result_that_an_agent_forged_before_it_killed_its_run_is_not_believed(
    repo: Repo, tmp_path: Path
) -> None:
    (tmp_path / "forge").write_text(FORGED)
    engine.plan(repo, task("1", lingering(tmp_path, f"sh -e {tmp_path}/forge")))
    with running(repo) as process:
        pid_in(tmp_path / "pid")
        process.kill()
    (tmp_path / "go").touch()
    played = engine.go(repo)
    kept = engine.record(repo, "1")
    assert (played.code, kept["status"], kept["reason"]) == (4, "failed", "foreign-commits")
    assert engine.audit(repo) == {"1": "failed"}
    assert "a" not in repo.tree("flow/p")


def test_what_a_killed_attempt_left_is_judged_like_any_other_work(
    repo: Repo, tmp_path: Path
) -> None:
    # All checks of the task pass on what is brought back; still it is no proof that nobody worked.
    work = "mkdir -p .github/workflows; echo on > .github/workflows/ci.yml; echo 1 > a"
    provides = [{"name": "a", "check": "test -e a"}]
    engine.plan(repo, task("1", lingering(tmp_path, work), provides=provides))
    with running(repo) as process:
        pid_in(tmp_path / "pid")
        process.kill()
    (tmp_path / "go").touch()
    played = engine.go(repo)
    kept = engine.record(repo, "1")
    assert (played.code, kept["status"], kept["reason"]) == (
        4,
        "failed",
        "needs-workflow-permission",
    )
    assert ".github/workflows/ci.yml" not in repo.tree("flow/p")


# --- killed at every step -------------------------------------------------------------------------

DIES = """
import os, signal, subprocess, sys
from gitflow_agents.service import Service
from gitflow_agents.store import Refs

path, at, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
one_try, seen = Refs._try, 0

def cut(self, moves):
    global seen
    seen += 1
    if seen <= at:
        return one_try(self, moves)
    print(len(moves), *(ref for ref, _, _ in moves), flush=True)
    # What git does that is killed on its way: updates come first, in their order.
    ordered = sorted(moves, key=lambda move: set(move[2]) == {"0"})
    for ref, old, new in ordered[:count]:
        delete = set(new) == {"0"}
        args = ["-d", ref, old] if delete else [ref, new, old]
        subprocess.run(["git", "update-ref", *args], cwd=path, check=True)
    os.kill(os.getpid(), signal.SIGKILL)

Refs._try = cut
service = Service(path)
end = service.run("plans/p.yaml", jobs=2, on_event=lambda told: None)
service.close()
print("ended", int(end.code), flush=True)
"""


def die(repo: Repo, at: int, count: int) -> list[str]:
    """Run the plan until its transaction number `at`, of which only `count` refs move.

    Returns the refs of that transaction; nothing when the run ended before.
    """
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(repo.path), str(at), str(count)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.stdout == "ended 0\n":
        return []
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.split()[1:]


def small_plan(repo: Repo, log: Path) -> None:
    engine.plan(
        repo,
        task("1", f"echo 1 >> {log}; echo 1 > a", provides=["a"]),
        task("2", f"echo 2 >> {log}; cat a > b", preconditions=["a"], verify=["grep 1 b"]),
        gate=["test -e README.md"],
    )


def survive(repo: Repo, log: Path, at: int, count: int, *, forget: bool) -> list[str]:
    """Cut one transaction short, then run the plan again: it has to end as if nothing happened."""
    small_plan(repo, log)
    moved = die(repo, at, count)
    if forget:
        subprocess.run(["rm", "-rf", str(repo.path / ".git/gitflow-agents")], check=True)
    played = engine.go(repo)
    assert (played.code, played.message.partition(":")[0]) == (0, "the plan is finished")
    assert engine.audit(repo) == {"1": "completed", "2": "completed"}
    engine.tidy(repo)
    assert repo.show("flow/p", "b") == "1\n"
    assert log.read_text().count("1") in (1, 2)
    assert repo.git("fsck", "--no-dangling") == ""
    return moved


@pytest.mark.slow
@pytest.mark.parametrize("forget", [False, True], ids=["with its intent", "without"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_merge_that_a_kill_has_cut_is_made_once(
    repo: Repo, tmp_path: Path, count: int, forget: bool
) -> None:
    # accept, claim, publish, train, then the merge of the first task.
    moved = survive(repo, tmp_path / "log", 4, count, forget=forget)
    names = [ref.removeprefix("refs/heads/") for ref in moved]
    assert names[-1] == "gitflow/state/p"
    assert {"flow/p", "task/p/1-task-1"} < set(names)


@pytest.mark.slow
@pytest.mark.parametrize("forget", [False, True], ids=["with its intent", "without"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_plan_that_is_killed_in_any_transaction_ends_as_if_nothing_happened(
    repo: Repo, tmp_path: Path, count: int, forget: bool
) -> None:
    at = 0
    while True:
        here = Repo(tmp_path / f"at-{at}")
        shutil.copytree(repo.path, here.path)
        if not survive(here, tmp_path / f"log-{at}", at, count, forget=forget):
            break
        at += 1
    assert at >= 8


@pytest.mark.slow
def test_a_plan_that_is_killed_again_and_again_ends_well(repo: Repo, tmp_path: Path) -> None:
    ids = [f"t{n}" for n in range(8)]
    engine.plan(
        repo,
        *(
            task(
                id,
                f"for i in 1 2 3 4 5; do echo $i >> {id}; sleep 0.03; done; sort -u {id} -o {id}",
                depends_on=ids[n - 3 : n - 2] if n > 2 else [],
                verify=[f"test -s {id}"],
            )
            for n, id in enumerate(ids)
        ),
        gate=["sleep 0.05; test -e README.md"],
    )
    for turn in range(12):
        with running(repo, "-j", "3") as process:
            try:
                process.wait(timeout=0.7 + turn * 0.11)
            except subprocess.TimeoutExpired:
                process.kill()
        if turn % 4 == 3:
            subprocess.run(["rm", "-rf", str(repo.path / ".git/gitflow-agents")], check=True)
    played = engine.go(repo)
    engine.finished(repo, played)
    for id in ids:
        assert repo.show("flow/p", id) == "1\n2\n3\n4\n5\n"
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(repo.path) not in shown


# --- two runs at once -----------------------------------------------------------------------------


def finish(process: subprocess.Popen[str]) -> Result:
    out, err = process.communicate(timeout=120)
    return Result(process.returncode, out, err)


@pytest.mark.slow
def test_two_runs_of_one_plan_help_each_other_and_merge_every_task_once(
    repo: Repo, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    together = until(f"[ $(wc -l < {log}) -ge 2 ]")
    engine.plan(
        repo,
        *(
            task(f"t{n}", f"echo t{n} {engine.RUN} >> {log}; {together} echo {n} > f{n}")
            for n in range(6)
        ),
        limits={"parallel": 2},
        gate=["test -e README.md"],
    )
    with running(repo, "-j", "1") as one:
        wait_for(log.exists)
        with running(repo, "-j", "1") as two:
            ended = [finish(one), finish(two)]
    assert [each.exit_code for each in ended] == [0, 0], ended
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(name for name, _ in lines) == [f"t{n}" for n in range(6)]
    assert {int(pid) for _, pid in lines} == {one.pid, two.pid}
    assert set(engine.audit(repo).values()) == {"completed"}
    engine.tidy(repo)


@pytest.mark.slow
def test_the_plans_own_limit_holds_for_two_runs_together(repo: Repo, tmp_path: Path) -> None:
    here, log = tmp_path / "here", tmp_path / "log"
    here.mkdir()
    work = "touch {here}/{id}; sleep 0.2; ls {here} | wc -l >> {log}; echo 1 > {id}; rm {here}/{id}"
    ids = [f"t{n}" for n in range(5)]
    engine.plan(
        repo,
        *(task(id, work.format(id=id, here=here, log=log)) for id in ids),
        limits={"parallel": 1},
    )
    with running(repo, "-j", "3") as one, running(repo, "-j", "3") as two:
        ended = [finish(one), finish(two)]
    assert [each.exit_code for each in ended] == [0, 0], ended
    assert log.read_text().split() == ["1"] * 5


@pytest.mark.slow
def test_two_runs_that_both_accept_a_plan_end_well(repo: Repo) -> None:
    engine.plan(repo, *(task(f"t{n}", f"echo {n} > f{n}") for n in range(4)))
    with running(repo) as one, running(repo) as two:
        ended = [finish(one), finish(two)]
    assert [each.exit_code for each in ended] == [0, 0], ended
    assert set(engine.audit(repo).values()) == {"completed"}
    engine.tidy(repo)


@pytest.mark.slow
def test_a_second_run_waits_for_what_the_first_does_and_ends_with_the_plans_code(
    repo: Repo, tmp_path: Path
) -> None:
    engine.plan(repo, task("1", f"touch {tmp_path}/here; {until(f'[ -e {tmp_path}/go ]')} exit 1"))
    with running(repo) as one:
        wait_for((tmp_path / "here").exists)
        with running(repo) as two:
            wait_for(lambda: "at once" in two.stdout.readline())  # type: ignore[union-attr]
            assert two.poll() is None
            (tmp_path / "go").touch()
            ended = [finish(one), finish(two)]
    assert [each.exit_code for each in ended] == [4, 4], ended
    assert "the plan cannot go on without a person: failed: 1" in ended[1].stderr
    assert len(engine.record(repo, "1")["attempts"]) == 1


def test_the_plan_goes_on_when_one_of_two_runs_is_killed(repo: Repo, tmp_path: Path) -> None:
    engine.plan(
        repo,
        task("1", lingering(tmp_path)),
        task("2", f"touch {tmp_path}/here; {until(f'[ -e {tmp_path}/go ]')} echo 2 > b"),
    )
    with running(repo, "-j", "1") as one:
        pid_in(tmp_path / "pid")
        with running(repo, "-j", "1") as two:
            wait_for((tmp_path / "here").exists)
            one.kill()
            one.wait()
            (tmp_path / "go").touch()
            ended = finish(two)
    assert ended.exit_code == 0, ended
    assert engine.audit(repo) == {"1": "completed", "2": "completed"}
    assert len(engine.record(repo, "1")["attempts"]) == 2
    engine.tidy(repo)


# --- a race with a person -------------------------------------------------------------------------


def test_a_decision_that_somebody_beat_is_made_again_and_nothing_is_forgotten(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person commits to flow between our look and our move, when a result is merged."""
    from gitflow_agents.store import Refs

    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b", depends_on=["1"]))
    move, done = Refs.move, list[str]()

    def beaten(self: Refs, moves: Any) -> None:
        if any(ref == "refs/heads/flow/p" and int(old, 16) for ref, old, _ in moves) and not done:
            done.append(commits(repo, "flow/p", theirs="1\n"))
        move(self, moves)

    monkeypatch.setattr(Refs, "move", beaten)
    played = engine.go(repo)
    engine.finished(repo, played)
    assert repo.log("flow/p", "%s", "--first-parent").splitlines()[1:4] == [
        "merge 2: Task 2",
        "merge 1: Task 1",
        "by hand",
    ]


def test_json_of_a_run_tells_the_same_story_a_line_each(repo: Repo, tool: Any) -> None:
    engine.plan(repo, task("1", "echo 1 > a"))
    done = tool(repo, "--json", "run", engine.FILE)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    names = [each["event"] for each in told if "event" in each]
    assert [name for name in names if name != "warning"][:6] == [
        "plan_accepted",
        "run_started",
        "attempt_started",
        "attempt_succeeded",
        "task_merged",
        "plan_finished",
    ]
    (merged,) = (each for each in told if each.get("event") == "task_merged")
    assert merged["merge_sha"] == engine.record(repo, "1")["merge"]
    assert (merged["task"], merged["status"], merged["progress"]) == ("1", "completed", 100)


@pytest.mark.slow
def test_a_run_that_watches_goes_on_with_what_comes_until_it_is_interrupted(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "WATCH_SECONDS", 0.02)
    one, two = task("1", "test -e a && echo 1 > b"), task("2", "echo 2 > c")
    engine.plan(repo, one)
    stays: list[str] = []

    def meddle(told: Told) -> None:
        if told.event != "run_waits":
            return
        stays.append(told.text)
        if len(stays) == 1:  # it failed, and a person mends what it stands on
            engine.commits(repo, "flow/p", a="now it is there")
            threading.Thread(target=engine.act, args=(repo, "retry", "1")).start()
        elif len(stays) == 2:
            text = json.dumps({"plan": "p", "goal": "Try it", "tasks": [one, two]})
            engine.commits(repo, "plan/p", "more", **{"plans/p__yaml": text})
        else:
            os.kill(os.getpid(), signal.SIGINT)

    played = engine.go(repo, on_event=meddle, watch=True)
    assert [one.partition(":")[0] for one in stays] == [
        "the plan cannot go on without a person",
        "the plan is finished",
        "the plan is finished",
    ]
    assert all(one.endswith("; this run stays for what comes, until Ctrl-C") for one in stays)
    engine.finished(repo, played)
    assert engine.audit(repo) == {"1": "completed", "2": "completed"}
