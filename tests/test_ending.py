"""Stop means stopped: what runs elsewhere is cancelled, asked for, forced, and told of at last."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from gitflow_agents import on_actions, runner
from gitflow_agents.cli import App
from gitflow_agents.commands import Act, Reject, Retry, Revert, Skip, Stop, Take
from gitflow_agents.forge import ForgeRun
from gitflow_agents.models import Reason
from gitflow_agents.runner import Stop as Stopping
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import ending
from gitflow_agents.service.acting import Outcome
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft, Remote
from tests import engine, near_forge
from tests.engine import task
from tests.near_forge import Near
from tests.repos import Repo

ONE = task("1", "echo a > a.txt")
Obeys = Literal["cancel", "force", "nothing"]


@pytest.fixture
def forge(repo: Repo, up: Repo, tmp_path: Path) -> Near:
    """Return a forge at which one task is at work, in run 1."""
    forge = Near(up, tmp_path)
    near_forge.propose(repo, up, ONE)
    forge.reconcile()
    return forge


def left(up: Repo) -> list[dict[str, Any]]:
    """Return the runs that have to end, as the state names them."""
    found: list[dict[str, Any]] = engine.state(up, "p").get("ending", [])
    return found


class Wait:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = time.time()
        self.began = self.now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def end(forge: Near, *, wait: bool = False, clock: Wait | None = None) -> tuple[str, ...]:
    """End the runs in a job of its own."""
    clock = clock or Wait()
    with forge.jobs(clock=clock) as jobs:
        return jobs.end_runs("p", forge, wait=wait, sleep=clock.sleep)


# --- what is ended ---------------------------------------------------------------------------------


def test_a_stop_names_the_run_in_its_commit_and_a_look_ends_it(up: Repo, forge: Near) -> None:
    forge.act(Stop(targets=("1",)))
    (one,) = left(up)
    assert (one["run"], one["task"], one["attempt"]) == (1, "1", 1)
    assert engine.record(up, "1", "p")["status"] == "cancelled"
    asked = len(forge.asked)
    with forge.jobs() as jobs:
        reconciler = Reconciler(jobs.desk("p"))
        said = [ending.Ends(reconciler, forge).go() for _ in range(2)]  # as for a command and after
    assert said == [("1: its run 1 is asked to end",), ()]
    assert forge.asked[asked:] == ["cancel"]
    assert end(forge) == ("1: its run 1 has ended",)
    assert forge.asked[asked:] == ["cancel", "cancel", "run"]
    assert left(up) == []
    assert end(forge) == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        Stop(),
        Stop(targets=("plan",)),
        Skip(targets=("1",), reason="no"),
        Take(targets=("1",)),
    ],
    ids=["all", "plan", "skip", "take"],
)
def test_whatever_ends_an_attempt_ends_its_run_in_the_next_pass(
    up: Repo, forge: Near, command: Act
) -> None:
    forge.act(command)
    assert [one["run"] for one in left(up)] == [1]
    with forge.jobs() as jobs:
        assert jobs.plans() == ["p"]  # also one that is closed
    forge.reconcile()
    assert (forge.started[0].conclusion, [one["run"] for one in left(up)]) == ("cancelled", [1])
    forge.reconcile()
    assert left(up) == []
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_a_new_text_without_a_task_ends_its_run(repo: Repo, up: Repo, forge: Near) -> None:
    near_forge.propose(repo, up, task("2", "echo b > b.txt"))
    forge.reconcile()
    assert [one["run"] for one in left(up)] == [1]
    forge.reconcile()
    assert forge.started[0].conclusion == "cancelled"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [Stop(), Retry(targets=("1",)), Reject(targets=("1",), reason="no")],
    ids=["stop", "retry", "reject"],
)
def test_a_train_that_is_dropped_has_its_run_ended(
    repo: Repo, up: Repo, tmp_path: Path, command: Act
) -> None:
    forge = Near(up, tmp_path)
    near_forge.propose(repo, up, ONE, gate=["true"])
    forge.reconcile()
    forge.turn()
    forge.act(command)
    assert [(one["run"], one.get("task", "")) for one in left(up)] == [(2, "")]
    if isinstance(command, Stop):  # the pass that this very run asks for does not end itself
        with forge.jobs() as jobs:
            jobs.reconcile("p", forge, ForgeRun(2, is_over=True, conclusion="cancelled"))
        assert [one["run"] for one in left(up)] == [2]
    assert end(forge) == ("the train: its run 2 is asked to end",)
    assert forge.started[1].conclusion == "cancelled"


@pytest.mark.slow
def test_a_revert_ends_what_was_built_on_it(repo: Repo, up: Repo, tmp_path: Path) -> None:
    forge = Near(up, tmp_path)
    needs = task("2", "cat a.txt > b.txt", depends_on=["1"])
    near_forge.propose(repo, up, ONE, needs)
    forge.reconcile()
    forge.turn()
    assert [one.inputs["task"] for one in forge.waiting] == ["2"]
    forge.act(Revert(targets=("1",), reason="it is wrong"))
    assert [(one["run"], one["task"]) for one in left(up)] == [(2, "2")]


@pytest.mark.slow
def test_what_was_never_named_needs_no_end(repo: Repo, up: Repo, tmp_path: Path) -> None:
    forge = Near(up, tmp_path, hides=1)
    near_forge.propose(repo, up, ONE)
    forge.reconcile()
    forge.act(Stop())
    assert left(up) == []


# --- runs that do not end --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obeys", "asked", "said"),
    [
        ("cancel", ["cancel", "run"], "1: its run 1 has ended"),
        (
            "force",
            ["cancel", *["run"] * 6, "verdict", "force-cancel", "run"],
            "1: its run 1 has ended",
        ),
        (
            "nothing",
            ["cancel", *["run"] * 6, "verdict", "force-cancel", *["run"] * 4, "start"],
            "1: its run 1 has not ended in 5 minutes; end it there: run/1",
        ),
    ],
)
@pytest.mark.slow
def test_who_waits_asks_seldom_forces_after_a_minute_and_tells_after_five(
    up: Repo, forge: Near, obeys: Obeys, asked: list[str], said: str
) -> None:
    forge.obeys = obeys
    clock = Wait()
    forge.act(Stop(targets=("1",)))
    before = len(forge.asked)
    assert end(forge, wait=True, clock=clock) == (said,)
    assert forge.asked[before:] == asked
    assert clock.now - clock.began <= ending.PATIENCE_SECONDS + 5
    if obeys != "nothing":
        assert left(up) == []
        return
    (one,) = left(up)
    assert one["told"]
    assert one["forced_at"] - one["since"] == pytest.approx(62, abs=5)
    before = len(forge.asked)
    assert forge.started.pop().job == "reconcile"
    forge.reconcile(clock=clock)
    assert forge.asked[before : before + 2] == ["cancel", "run"]
    assert end(forge, clock=clock) == (said,)
    forge.started[0].conclusion = "cancelled"
    assert end(forge, clock=clock) == ("1: its run 1 has ended",)
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_a_run_that_only_saves_what_was_done_is_not_forced(up: Repo, forge: Near) -> None:
    forge.obeys = "force"
    folder = forge.execute(forge.started[0])
    forge.is_saving = True
    clock = Wait()
    forge.act(Stop(targets=("1",)))
    clock.sleep(100)
    end(forge, clock=clock)
    assert forge.asked[-3:] == ["cancel", "run", "verdict"]
    forge.publish(forge.started[0], folder)
    forge.started[0].conclusion = "cancelled"
    said = "1: its run 1 has ended; what it had done is kept as gitflow/attempt/p/1/1"
    assert end(forge, clock=clock) == (said,)
    (attempt,) = engine.record(up, "1", "p")["attempts"]
    assert attempt["kept"] == "gitflow/attempt/p/1/1"
    assert up.show(attempt["tip"], "a.txt") == "a\n"
    forge.act(Retry(targets=("1",)))
    forge.reconcile()
    assert up.show(engine.record(up, "1", "p")["claim"], "a.txt") == "a\n"
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_a_forge_that_is_down_or_refuses_keeps_nothing_else_from_going_on(
    repo: Repo, up: Repo, tmp_path: Path
) -> None:
    forge = Near(up, tmp_path)
    near_forge.propose(repo, up, ONE, task("2", "echo b > b.txt"), limits={"parallel": 1})
    forge.reconcile()
    forge.act(Stop(targets=("1",)))
    forge.is_down = True
    said = "1: its run 1 could not be asked for: the forge is down; the next pass tries again"
    assert end(forge) == (said,)
    forge.is_down, forge.refuses = False, {"cancel"}
    assert end(forge) == ("1: its run 1 cannot be ended: nobody may cancel",)
    assert end(forge) == ("1: its run 1 cannot be ended: nobody may cancel",)
    assert [one["refused"] for one in left(up)] == ["nobody may cancel"]
    log = up.log("gitflow/state/p", "%B")
    assert log.count("1: its run 1 cannot be ended: nobody may cancel") == 1
    forge.reconcile()
    assert [one.inputs["task"] for one in forge.started] == ["1", "2"]
    forge.started[0].conclusion = "success"  # it ended all the same
    assert end(forge) == ("1: its run 1 has ended",)


@pytest.mark.slow
def test_a_job_that_only_ends_runs_says_what_became_of_each(
    forge: Near, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ending, "PAUSES", (0.0, 0.0))
    forge.act(Stop(targets=("1",)))
    with forge.jobs() as jobs:
        job = SimpleNamespace(jobs=jobs, forge=forge)
        monkeypatch.setattr(on_actions, "Job", lambda app, tell: job)
        codes = [on_actions.end_runs(App(), plans, print, []) for plans in ((), ("p",), ("q",))]
    assert codes == [0, 0, 1]
    out, err = capsys.readouterr()
    assert [line for line in (out + err).splitlines() if "run" in line or "plan" in line] == [
        "1: its run 1 has ended",
        "plan p has no run that is to end",
        "error: q: origin has no plan q",
    ]


@pytest.mark.slow
def test_a_day_later_nobody_asks_any_more(up: Repo, forge: Near) -> None:
    forge.obeys = "nothing"
    forge.act(Stop())
    clock = Wait()
    clock.sleep(ending.FORGET_SECONDS + 60)
    assert end(forge, clock=clock) == ("1: its run 1 is not asked for any more: run/1",)
    assert left(up) == []


def test_a_run_that_is_cancelled_saves_what_its_agent_did(
    repo: Repo, up: Repo, tmp_path: Path
) -> None:
    forge = Near(up, tmp_path)
    near_forge.propose(
        repo, up, task("1", f"echo half > half.txt; kill -INT {engine.RUN}; sleep 60")
    )
    forge.reconcile()
    (one,) = forge.waiting
    folder = forge.execute(one)
    forge.act(Stop(targets=("1",)))
    published = forge.publish(one, folder)
    assert published is not None
    assert (published.report.reason, published.kept) == (Reason.STOPPED, "gitflow/attempt/p/1/1")
    assert up.show(published.kept, "half.txt") == "half\n"


@pytest.mark.parametrize("hurried", [True, False])
def test_who_is_ended_soon_gives_less_time(hurried: bool) -> None:
    stop = Stopping(Stopping())
    assert not stop.is_set()
    stop.set(hurried=hurried)
    assert (stop.is_set(), stop.grace < runner.GRACE) == (True, hurried)
    assert Stopping(stop).grace == stop.grace


# --- killed in the middle --------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone; what it had in its clone is gone with it."""


class Kill:
    """Kills whoever comes to a point: just before a step that others can see, or just after it."""

    def __init__(self, at: int) -> None:
        self.at, self.passed = at, 0

    def __call__(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Killed


POINTS = 16
"""How many there are when nobody is killed; after one is as good as before the next."""


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, *range(2, POINTS + 1, 2), POINTS + 1])
def test_whoever_is_killed_over_a_stop_the_next_one_ends_the_run(
    up: Repo, forge: Near, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    kill, move, ask = Kill(at), Remote.move, forge.cancel
    told: list[str] = []

    def moved(refs: Remote, moves: Any) -> None:
        kill()
        move(refs, moves)
        kill()

    def cancel(run: int, *, force: bool = False) -> bool:
        kill()
        is_at_work = ask(run, force=force)
        kill()
        return is_at_work

    monkeypatch.setattr(Remote, "move", moved)
    monkeypatch.setattr(forge, "cancel", cancel)
    forge.obeys = "force"

    def note(draft: Draft, outcome: Outcome) -> None:
        draft.tell("command_done", note="; ".join(outcome.said))

    def is_noted(snapshot: Snapshot) -> bool:
        return "command_done" in up.log("gitflow/state/p", "%b")

    clock = Wait()
    for _ in range(4):
        try:
            forge.act(Stop(targets=("1",)), also=note, unless=is_noted)
            told += end(forge, wait=True, clock=clock)
            forge.reconcile(clock=clock)
        except Killed:
            continue
        break
    assert (kill.passed >= at) == (at <= POINTS)
    assert forge.started[0].conclusion == "cancelled"
    assert left(up) == []
    assert up.log("gitflow/state/p", "%b").count("command_done") == 1
    assert up.log("gitflow/state/p", "%b").count("attempt_stopped") == 1
    assert engine.record(up, "1", "p")["status"] == "cancelled"
    assert engine.fsck(up, "p") == ()
