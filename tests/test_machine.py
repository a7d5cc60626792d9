"""The pure core under random plans, people and accidents, and every small plan to its very end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import chain, combinations, product
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gitflow_agents.commands import (
    Approve,
    Hold,
    Refused,
    Reject,
    Resume,
    Retry,
    Skip,
    Stop,
    Unapprove,
)
from gitflow_agents.errors import FlowError
from gitflow_agents.models import Limits, Plan, Status
from tests.world import Ending, Verdict, World, begin, plan_of

S = Status
ENDINGS: tuple[Ending, ...] = ("succeeded", "failed", "lost")
VERDICTS: tuple[Verdict, ...] = ("passed", "failed", "lost")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Return a plan of up to six tasks that each need some of the earlier ones."""
    count = draw(st.integers(0, 5))
    needs: list[list[int]] = [
        draw(st.lists(st.integers(1, n), max_size=2)) if n else [] for n in range(count + 1)
    ]
    gates = st.lists(st.sampled_from(["plan", "task", "merge"]), max_size=1)
    return plan_of(needs, approval=draw(gates), gate=["true"])


class AnyPlan(RuleBasedStateMachine):
    """Whatever happens in whichever order, the rules of the world hold."""

    @initialize(plan=plans(), is_tested=st.booleans(), parallel=st.integers(1, 3))
    def begin(self, plan: Plan, is_tested: bool, parallel: int) -> None:
        self.world = World(begin(plan), Limits(parallel=parallel, attempts=2), is_tested)

    @rule(slots=st.integers(0, 3), stopping=st.booleans())
    def a_pass(self, slots: int, stopping: bool) -> None:
        self.world.step(slots, stopping=stopping)

    @precondition(lambda self: self.world.running)
    @rule(pick=st.integers(0, 10), how=st.sampled_from(["succeeded", "failed", "lost"]))
    def an_attempt_ends(self, pick: int, how: Ending) -> None:
        running = self.world.running
        self.world.ended[running[pick % len(running)]] = how

    @precondition(lambda self: self.world.snapshot.state.train is not None)
    @rule(verdict=st.sampled_from(["passed", "failed", "lost"]))
    def a_test_ends(self, verdict: Any) -> None:
        self.world.verdict = verdict

    @rule(task=st.integers(1, 6))
    def two_changes_will_meet(self, task: int) -> None:
        self.world.conflicting.add(str(task))

    @rule(seconds=st.sampled_from([1.0, 30.0, 400.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(
        kind=st.sampled_from([Stop, Retry, Hold, Resume, Reject, Skip, Approve, Unapprove]),
        word=st.sampled_from(["", "1", "2", "3", "all", "failed", "blocked", "[12]", "wave:1"]),
        flag=st.booleans(),
    )
    def a_person_commands(self, kind: Any, word: str, flag: bool) -> None:
        more: dict[str, Any] = {}
        if kind in (Reject, Skip):
            more["reason"] = "because"
        if kind is Skip:
            more["provides"] = flag
        if kind is Retry:
            more["force"] = flag
        command = kind(targets=(word,) if word else (), **more)
        with contextlib.suppress(Refused):
            self.world.tell(command)
            again = self.world.tell(command)
            assert not again or kind is Retry, "what was said twice changed something twice"

    @rule(plan=plans())
    def a_person_replans(self, plan: Plan) -> None:
        with contextlib.suppress(FlowError):
            self.world.replan(plan)

    def teardown(self) -> None:
        """When everybody lets it, every plan comes to its end."""
        if not hasattr(self, "world"):
            return
        world = self.world
        for _ in range(60):
            for command in (Resume(), Approve(targets=("all",)), Approve()):
                with contextlib.suppress(Refused):
                    world.tell(command)
            with contextlib.suppress(Refused):
                world.tell(Retry(targets=("failed",), force=True))
            world.now += 1000
            world.conflicting.clear()
            world.settle()
            for task in world.running:
                world.ended[task] = "succeeded"
            if world.snapshot.state.train is not None:
                world.verdict = "passed"
        left = {
            task
            for task, status in world.snapshot.statuses().items()
            if status not in (S.COMPLETED, S.CANCELLED)
        }
        cancelled = world.snapshot.by_status[S.CANCELLED]
        for task in left:
            above = world.snapshot.graph.ancestors(task)
            assert above & cancelled, f"{task} does not end, and nothing holds it up"
        if not left:
            assert world.snapshot.state.status == "finished"


TestAnyPlan = AnyPlan.TestCase


# --- every small plan -----------------------------------------------------------------------------


def shapes(count: int) -> list[list[tuple[int, ...]]]:
    """Return every way in which so many tasks can need earlier ones."""
    before = [range(1, n) for n in range(1, count + 1)]
    each = [
        list(chain.from_iterable(combinations(ids, size) for size in range(len(ids) + 1)))
        for ids in before
    ]
    return [list(shape) for shape in product(*each)]


def walked(shape: Iterable[Iterable[int]], accidents: bool) -> int:
    """Go every way that a plan can go; return in how many states it can be.

    Attempts succeed or fail, and a person tries again what failed; with `accidents` runs die, tasks
    do not merge, and trains are tested.
    """
    seen: set[Any] = set()
    ahead = [World(begin(plan_of(shape)), is_tested=accidents)]
    while ahead:
        ahead += ways(ahead.pop(), seen, accidents)
    return len(seen)


def ways(world: World, seen: set[Any], accidents: bool) -> list[World]:
    """Settle a world; return what can become of it next, or nothing where that was seen before."""
    world.settle()
    snapshot = world.snapshot
    key = (
        tuple(
            (record.status, record.reason, record.used, record.lost, record.conflicts)
            for record in map(snapshot.record, snapshot.plan.order)
        ),
        snapshot.state.status,
        snapshot.state.train_limit,
        tuple(sorted(world.conflicting)),
        snapshot.state.train and tuple(car.task for car in snapshot.state.train.cars),
    )
    if key in seen:
        return []
    seen.add(key)
    found: list[World] = []
    for task in world.running:
        for how in ENDINGS[: 3 if accidents and not snapshot.record(task).lost else 2]:
            other = world.copy()
            other.ended[task] = how
            found.append(other)
            if accidents and how == "succeeded" and not snapshot.record(task).conflicts:
                meets = other.copy()
                meets.conflicting.add(task)
                found.append(meets)
    if snapshot.state.train is not None:
        for verdict in VERDICTS:
            other = world.copy()
            other.verdict = verdict
            found.append(other)
    if not found:
        statuses = set(snapshot.statuses().values())
        assert snapshot.state.status == "finished" or S.FAILED in statuses
        assert statuses <= {S.COMPLETED, S.FAILED, S.PENDING}
    for task in snapshot.by_status[S.FAILED]:
        other = world.copy()
        with contextlib.suppress(Refused):
            other.tell(Retry(targets=(task,)))
            found.append(other)
    for other in found:
        other.now += 1000
    return found


def test_as_many_plans_are_walked_as_tasks_can_need_each_other() -> None:
    assert [len(shapes(count)) for count in (1, 2, 3, 4)] == [1, 2, 8, 64]


@pytest.mark.parametrize(("count", "accidents"), [(1, True), (2, True), (3, False)])
def test_every_plan_of_a_few_tasks_goes_every_way_it_can(count: int, accidents: bool) -> None:
    assert min(walked(shape, accidents) for shape in shapes(count)) > 4


@pytest.mark.slow
@pytest.mark.parametrize("shape", shapes(3), ids=str)
def test_a_plan_of_three_tasks_goes_every_way_it_can(shape: list[tuple[int, ...]]) -> None:
    assert walked(shape, accidents=True) > 1000


@pytest.mark.slow
def test_every_plan_of_four_tasks_goes_every_way_it_can() -> None:
    assert min(walked(shape, accidents=False) for shape in shapes(4)) > 50
