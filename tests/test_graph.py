"""Who needs whom, and what could run when: examples to read, and small plans by the hundred.

The slow and obvious way to say each rule stands beside the tests that compare with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents.graph import (
    Cost,
    Frontier,
    Graph,
    Overlap,
    Relations,
    Schedule,
    Slot,
    Unblocks,
    attempts_allowed,
    blockers,
    chain,
    covers,
    most_it_can_cost,
    overlaps,
    rank,
    ready,
    relations,
    schedule,
    unblocks,
)
from gitflow_agents.models import ConfigLimits, Limits, Plan, Priority, Status, Task, fold

PENDING, RUNNING, REVIEW = Status.PENDING, Status.IN_PROGRESS, Status.REVIEW
COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED


def plan_of(*tasks: Mapping[str, Any], **keys: Any) -> Plan:
    """Return a plan of these tasks, as a plan file would say them."""
    return Plan.model_validate({"plan": "demo", "goal": "Try it", "tasks": tasks, **keys})


def needing(**needs: str) -> Plan:
    """Return a plan of tasks that need others by id: `needing(a="", b="a", c="a b")`."""
    return plan_of(*({"id": name, "depends_on": row.split()} for name, row in needs.items()))


DIAMOND = needing(a="", b="a", c="a", d="b c", e="")

AUTH = plan_of(
    {"id": "001", "provides": ["User model class"]},
    {
        "id": "002",
        "preconditions": ["User  model\tclass"],
        "provides": ["AuthService.login", "AuthService.register"],
    },
    {
        "id": "003",
        "preconditions": ["AuthService.register", "AuthService.login", "User model class"],
        "depends_on": ["001"],
    },
)


# --- the slow and obvious way ---------------------------------------------------------------------


def naive_requires(plan: Plan, given: Set[str] = frozenset()) -> dict[str, list[str]]:
    """Return each task's prerequisites by looking at all tasks for each."""
    return {
        task.id: [
            other.id
            for other in plan.tasks
            if other.id in task.depends_on or (task.needs - given) & set(other.gives)
        ]
        for task in plan.tasks
    }


def naive_waves(plan: Plan) -> list[list[str]]:
    """Return the waves by asking again and again who needs nobody that is left."""
    left, waves = naive_requires(plan), []
    while wave := [one for one, row in left.items() if not set(row) & left.keys()]:
        waves.append(wave)
        left = {one: row for one, row in left.items() if one not in wave}
    return waves


def naive_ready(plan: Plan, statuses: Mapping[str, Status], given: Set[str]) -> list[str]:
    """Return what can start by collecting what is on flow and looking at every task."""
    done = [task for task in plan.tasks if statuses.get(task.id) is COMPLETED]
    on_flow = set(given).union(*(task.gives for task in done))
    found = [
        task
        for task in plan.tasks
        if statuses.get(task.id, PENDING) is PENDING
        and task.needs <= on_flow
        and set(task.depends_on) <= {other.id for other in done}
    ]
    return [task.id for task in sorted(found, key=lambda task: rank(plan, task))]


def naive_ancestors(plan: Plan, task_id: str) -> set[str]:
    """Return all that a task needs, by adding until nothing more comes."""
    requires = naive_requires(plan)
    found = set(requires[task_id])
    while more := {other for one in found for other in requires[one]} - found:
        found |= more
    return found


def naive_overlaps(plan: Plan) -> set[tuple[str, str]]:
    """Return the pairs that overlap by comparing every two tasks."""
    return {
        (one.id, two.id)
        for one, two in combinations(plan.tasks, 2)
        if one.id not in naive_ancestors(plan, two.id)
        and two.id not in naive_ancestors(plan, one.id)
        and any(covers(x, y) or covers(y, x) for x in one.files for y in two.files)
    }


# --- small plans ----------------------------------------------------------------------------------

NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"]
PATHS = st.lists(
    st.sampled_from(["src", "lib", "a.py", "b.py", "*", "**", "*.py", "?.py", "[ab].py", "s*c"]),
    min_size=1,
    max_size=3,
).map("/".join)


@st.composite
def plans(draw: st.DrawFn, acyclic: bool = True) -> Plan:
    """Draw a plan in a shuffled order; task x provides `x cap`, and `given cap` comes from outside."""
    names = draw(st.permutations(NAMES[: draw(st.integers(0, len(NAMES)))]))
    tasks = []
    for number, name in enumerate(names):
        others = names[:number] if acyclic else [*names, "nobody"]
        some = st.lists(st.sampled_from(others), max_size=3) if others else st.just([])
        outside = draw(st.sampled_from([[], [], ["given cap"]]))
        tasks.append(
            {
                "id": name,
                "preconditions": [f"{other} cap" for other in draw(some)] + outside,
                "depends_on": draw(some),
                "provides": [f"{name} cap"],
                "files": draw(st.lists(PATHS, max_size=2)),
                "priority": draw(st.sampled_from([None, *Priority])),
                "estimated_time": draw(st.sampled_from([None, 1, 2, 5])),
            }
        )
    return plan_of(
        *draw(st.permutations(tasks)), defaults={"priority": draw(st.sampled_from(Priority))}
    )


GIVEN = frozenset({"given cap"})
SOME = st.sets(st.sampled_from([*(f"{name} cap" for name in NAMES), "given cap", "else"]))
STATUSES = st.dictionaries(st.sampled_from([*NAMES, "removed"]), st.sampled_from(Status))


# --- the shape ------------------------------------------------------------------------------------


def test_a_graph_joins_capabilities_and_ids_into_one_set_of_needs() -> None:
    graph = Graph.of(AUTH)
    assert graph.requires == {"001": (), "002": ("001",), "003": ("001", "002")}
    assert graph.dependants == {"001": ("002", "003"), "002": ("003",), "003": ()}
    assert graph.providers == {
        "User model class": "001",
        "AuthService.login": "002",
        "AuthService.register": "002",
    }
    assert (graph.missing, graph.unknown, graph.cycle()) == ((), (), None)


def test_what_nobody_provides_is_listed_as_it_was_written() -> None:
    plan = plan_of(
        {"id": "a", "preconditions": ["No  such", "user model"], "depends_on": ["z", "b"]},
        {"id": "b", "provides": ["User model"]},
    )
    graph = Graph.of(plan)
    assert graph.missing == (("a", "No  such"), ("a", "user model"))
    assert graph.unknown == (("a", "z"),)
    assert graph.requires == {"a": ("b",), "b": ()}


def test_a_given_capability_needs_nobody_but_an_id_always_does() -> None:
    graph = Graph.of(AUTH, ["User model  class"])
    assert graph.given == {"User model class"}
    assert graph.requires == {"001": (), "002": (), "003": ("001", "002")}


def test_tasks_of_one_id_are_one_task_and_the_first_provider_counts() -> None:
    plan = plan_of(
        {"id": "a", "provides": ["x"]},
        {"id": "b", "provides": ["x", "y"]},
        {"id": "c", "preconditions": ["x"]},
        {"id": "c", "preconditions": ["y", "w"]},
    )
    graph = Graph.of(plan)
    assert graph.order == ("a", "b", "c")
    assert graph.requires == {"a": (), "b": (), "c": ("a", "b")}
    assert graph.missing == (("c", "w"),)
    assert graph.waves() == [["a", "b"], ["c"]]


@given(plans(acyclic=False), SOME)
def test_the_graph_is_what_comparing_all_tasks_says(plan: Plan, there: set[str]) -> None:
    graph = Graph.of(plan, there)
    provided = {name for task in plan.tasks for name in task.gives}
    assert {one: list(row) for one, row in graph.requires.items()} == naive_requires(plan, there)
    assert graph.missing == tuple(
        (task.id, text)
        for task in plan.tasks
        for text in task.preconditions
        if fold(text) not in provided | there
    )
    assert graph.unknown == tuple(
        (task.id, other)
        for task in plan.tasks
        for other in task.depends_on
        if other not in plan.by_id
    )


@given(plans(acyclic=False))
def test_tasks_start_by_priority_and_then_in_plan_order(plan: Plan) -> None:
    assert Graph.of(plan).order == tuple(
        task.id
        for level in ("high", "medium", "low")
        for task in plan.tasks
        if (task.priority or plan.defaults.priority) == level
    )


def test_a_wave_is_the_longest_way_from_a_task_that_needs_nobody() -> None:
    graph = Graph.of(needing(late="b", a="", b="a", both="a b", free=""))
    assert graph.waves() == [["a", "free"], ["b"], ["late", "both"]]
    assert graph.wave == {"late": 3, "a": 1, "b": 2, "both": 3, "free": 1}
    assert graph.wave_members("both") == ("late", "both")


def test_a_task_in_or_behind_a_cycle_is_in_no_wave() -> None:
    graph = Graph.of(needing(a="", b="a c", c="b", behind="c"))
    assert graph.waves() == [["a"]]
    assert graph.wave_members("behind") == ()


@given(plans(acyclic=False))
def test_waves_are_what_asking_again_and_again_gives(plan: Plan) -> None:
    graph = Graph.of(plan)
    assert graph.waves() == naive_waves(plan)
    assert graph.wave == {one: n for n, wave in enumerate(graph.waves(), 1) for one in wave}


@given(plans(acyclic=False))
def test_ancestors_and_descendants_are_two_sides_of_one_relation(plan: Plan) -> None:
    graph = Graph.of(plan)
    above = {task.id: graph.ancestors(task.id) for task in plan.tasks}
    assert above == {task.id: naive_ancestors(plan, task.id) for task in plan.tasks}
    assert {task.id: graph.descendants(task.id) for task in plan.tasks} == {
        one: {other for other, row in above.items() if one in row} for one in above
    }


@pytest.mark.parametrize(
    ("plan", "cycle"),
    [
        (DIAMOND, None),
        (needing(a="a"), ("a", "a")),
        (needing(a="b", b="a"), ("a", "b", "a")),
        (needing(a="b", b="c", c="d a", d="b"), ("a", "b", "c", "a")),
        (needing(start="", x="y", y="z start", z="y x"), ("y", "z", "y")),
        (needing(behind="x", x="y", y="x"), ("x", "y", "x")),
        (needing(a="b", b="c", c="a", d="a e", e="d"), ("d", "e", "d")),
    ],
)
def test_a_cycle_is_shown_by_a_shortest_way_round(
    plan: Plan, cycle: tuple[str, ...] | None
) -> None:
    assert Graph.of(plan).cycle() == cycle


@given(plans(acyclic=False))
def test_a_plan_has_a_cycle_exactly_if_a_task_needs_itself_in_the_end(plan: Plan) -> None:
    graph = Graph.of(plan)
    cycle = graph.cycle()
    if cycle is None:
        assert not any(task.id in naive_ancestors(plan, task.id) for task in plan.tasks)
        return
    assert cycle[0] == cycle[-1] == min(cycle, key=plan.order.__getitem__)
    assert len(set(cycle)) == len(cycle) - 1
    assert all(needed in graph.requires[one] for one, needed in pairwise(cycle))


def test_relations_are_a_tasks_neighbours_and_the_others_of_its_wave() -> None:
    graph = Graph.of(DIAMOND)
    assert relations(graph, "a") == Relations((), ("b", "c"), ("e",))
    assert relations(graph, "b") == Relations(("a",), ("d",), ("c",))
    assert relations(graph, "d") == Relations(("b", "c"), (), ())


# --- what can start -------------------------------------------------------------------------------


def test_a_task_is_ready_when_all_that_it_needs_is_merged() -> None:
    graph = Graph.of(AUTH)
    assert ready(AUTH, graph, {}) == ["001"]
    assert ready(AUTH, graph, {"001": REVIEW}) == []
    assert ready(AUTH, graph, {"001": COMPLETED}) == ["002"]
    assert ready(AUTH, graph, {"001": COMPLETED, "002": COMPLETED}) == ["003"]
    assert ready(AUTH, graph, {}, given=["User model\nclass"]) == ["001", "002"]


@given(plans(acyclic=False), STATUSES, SOME, SOME)
def test_ready_is_what_looking_at_every_task_says(
    plan: Plan, statuses: dict[str, Status], built_with: set[str], given_later: set[str]
) -> None:
    graph = Graph.of(plan, built_with)
    expected = naive_ready(plan, statuses, built_with | given_later)
    assert ready(plan, graph, statuses, given_later) == expected


@given(plans(acyclic=False), STATUSES, st.data())
def test_a_frontier_says_what_ready_says_after_any_events(
    plan: Plan, statuses: dict[str, Status], data: st.DataObject
) -> None:
    graph = Graph.of(plan, GIVEN)
    frontier = Frontier(graph, statuses)
    now = {task.id: statuses.get(task.id, PENDING) for task in plan.tasks}
    moves = st.tuples(st.sampled_from(list(now) or [""]), st.sampled_from(Status))
    for task_id, new in data.draw(st.lists(moves, max_size=20 if now else 0)):
        before = set(frontier.ready)
        woken = frontier.move(task_id, now[task_id], new)
        now[task_id] = new
        assert frontier.ready == naive_ready(plan, now, GIVEN)
        assert woken == [one for one in frontier.ready if one not in before]
        assert frontier.status(task_id) is new
        assert frontier.counts == {one: list(now.values()).count(one) for one in Status}
        assert frontier.has_ready is bool(frontier.ready)


@given(plans(), STATUSES, st.lists(st.sampled_from(NAMES), max_size=8))
def test_completing_many_at_once_is_completing_them_one_by_one(
    plan: Plan, statuses: dict[str, Status], names: list[str]
) -> None:
    names = [name for name in names if name in plan.by_id]
    together, apart = (Frontier(Graph.of(plan, GIVEN), statuses) for _ in range(2))
    before = set(together.ready)
    woken = together.complete(*names)
    for name in names:
        apart.complete(name)
    assert (together.ready, together.counts) == (apart.ready, apart.counts)
    assert woken == [name for name in together.ready if name not in before]


@given(plans(), st.data())
def test_what_is_taken_or_removed_stays_away_until_it_is_added(
    plan: Plan, data: st.DataObject
) -> None:
    frontier = Frontier(Graph.of(plan, GIVEN), {})
    ready_now, able = list(frontier.ready), list(frontier.ready)
    for verb, number in data.draw(
        st.lists(st.tuples(st.sampled_from(["take", "remove", "add"]), st.integers(0, 3)))
    ):
        if verb == "take":
            assert frontier.take(number) == ready_now[:number]
            ready_now = ready_now[number:]
        elif number < len(plan.tasks):
            name = plan.tasks[number].id
            if verb == "remove":
                frontier.remove(name)
                ready_now = [one for one in ready_now if one != name]
            else:
                assert frontier.add(name) is (name in able)
                ready_now = [one for one in able if one in {name, *ready_now} and one in able]
        assert list(frontier.in_order()) == ready_now
    assert frontier.take() == ready_now
    assert not frontier.has_ready


def test_a_move_from_a_status_that_the_task_has_not_changes_nothing() -> None:
    frontier = Frontier(Graph.of(DIAMOND), {"a": RUNNING})
    with pytest.raises(ValueError, match="a is in_progress, not pending"):
        frontier.move("a", PENDING, COMPLETED)
    assert frontier.move("a", RUNNING, RUNNING) == []
    assert (frontier.ready, frontier.status("a")) == (["e"], RUNNING)


def test_a_reverted_task_takes_back_what_it_had_made_ready() -> None:
    frontier = Frontier(Graph.of(DIAMOND), {"e": COMPLETED})
    assert frontier.complete("a") == ["b", "c"]
    assert frontier.complete("a") == []
    assert frontier.complete("b") == []
    assert (frontier.ready, frontier.unmet("d")) == (["c"], 1)
    assert frontier.reopen("a") == ["a"]
    assert (frontier.ready, frontier.unmet("c")) == (["a"], 1)


def test_a_retried_task_whose_needs_were_reverted_waits() -> None:
    frontier = Frontier(Graph.of(DIAMOND), {"a": COMPLETED, "b": FAILED})
    frontier.move("a", COMPLETED, PENDING)
    assert frontier.reopen("b") == []
    assert frontier.complete("a") == ["b", "c"]


def test_many_that_wake_at_once_take_their_places_among_the_ready() -> None:
    rows = [{"id": f"t{n:02}", "depends_on": ["first"] * (n % 2)} for n in range(40)]
    frontier = Frontier(Graph.of(plan_of(*rows, {"id": "first", "priority": "high"})), {})
    assert frontier.take(1) == ["first"]
    assert frontier.complete("first") == [f"t{n:02}" for n in range(1, 40, 2)]
    assert frontier.ready == [f"t{n:02}" for n in range(40)]


def test_a_run_that_goes_on_sees_every_task_once_and_in_one_order() -> None:
    tasks = [
        {"id": f"t{n}", "priority": ["low", "high"][n % 2], "depends_on": [f"t{n // 3}"] * (n > 0)}
        for n in range(500)
    ]
    plan = plan_of(*tasks)
    graph = Graph.of(plan)
    frontier = Frontier(graph, {})
    statuses: dict[str, Status] = {}
    started: list[str] = []
    while frontier.has_ready:
        expected = ready(plan, graph, statuses)[:7]
        for task_id in frontier.take(7):
            started.append(task_id)
            frontier.move(task_id, PENDING, RUNNING)
            statuses[task_id] = RUNNING
        assert started[-len(expected) :] == expected
        for task_id in expected:
            frontier.move(task_id, RUNNING, COMPLETED)
            statuses[task_id] = COMPLETED
    assert sorted(started) == sorted(plan.by_id)
    assert frontier.counts[COMPLETED] == 500


# --- as long and as wide as a plan can be ----------------------------------------------------------

MOST = 100_000
# The smaller number is still ten times what a recursion could take.
SIZES = pytest.mark.parametrize("many", [10_000, pytest.param(MOST, marks=pytest.mark.slow)])


@lru_cache
def big(many: int, *, links: bool) -> Plan:
    """Return a chain of tasks, or as many that need only the first one."""
    tasks = [Task(id="t0", files=("README.md",))]
    for number in range(1, many):
        before = f"t{number - 1}" if links else "t0"
        tasks.append(Task(id=f"t{number}", depends_on=(before,)))
    return Plan(plan="big", goal="Be big", tasks=tuple(tasks))


@SIZES
def test_a_chain_may_be_as_long_as_the_plan(many: int) -> None:
    plan = big(many, links=True)
    graph = Graph.of(plan)
    last = f"t{many - 1}"
    assert graph.wave[last] == many
    assert graph.cycle() is None
    assert len(graph.ancestors(last)) == len(graph.descendants("t0")) == many - 1
    assert [len(row) for row in chain(graph, {}, last)] == [many]
    assert unblocks(graph, {}, "t0") == Unblocks(("t1",), many - 1)
    planned = schedule(plan, graph, 3, default_minutes=1)
    assert planned.best == planned.makespan == planned.total == many
    assert planned.critical_path == graph.order
    assert overlaps(plan, graph) == []


@SIZES
def test_a_cycle_may_be_as_long_as_the_plan(many: int) -> None:
    plan = big(many, links=True)
    first = plan.tasks[0].model_copy(update={"depends_on": (f"t{many - 1}",)})
    cycle = Graph.of(plan.model_copy(update={"tasks": (first, *plan.tasks[1:])})).cycle()
    assert cycle is not None
    assert cycle[:2] + cycle[-2:] == ("t0", f"t{many - 1}", "t1", "t0")


@SIZES
def test_a_wave_may_be_as_wide_as_the_plan(many: int) -> None:
    plan = big(many, links=False)
    graph = Graph.of(plan)
    frontier = Frontier(graph, {})
    assert frontier.take() == ["t0"]
    assert len(frontier.complete("t0")) == many - 1
    assert frontier.take(2) == ["t1", "t2"]
    assert frontier.reopen("t0") == ["t0"]
    assert frontier.take() == ["t0"]
    assert len(graph.wave_members("t1")) == many - 1
    assert schedule(plan, graph, many, default_minutes=1).makespan == 2


# --- what blocks what -----------------------------------------------------------------------------


def test_blockers_are_the_direct_needs_that_are_not_merged() -> None:
    graph = Graph.of(DIAMOND)
    assert blockers(graph, {"b": REVIEW}, "d") == ("b", "c")
    assert blockers(graph, {"b": COMPLETED}, "d") == ("c",)
    assert blockers(graph, {}, "a") == ()


def test_chains_lead_down_to_what_must_move_first() -> None:
    graph = Graph.of(DIAMOND)
    assert chain(graph, {}, "d") == [["d", "b", "a"], ["d", "c", "a"]]
    assert chain(graph, {"a": COMPLETED, "b": FAILED}, "d") == [["d", "b"], ["d", "c"]]
    assert chain(graph, {"a": COMPLETED, "b": COMPLETED, "c": RUNNING}, "d") == [["d", "c"]]
    assert chain(graph, {}, "d", limit=1) == [["d", "b", "a"]]
    assert chain(graph, {}, "a") == []
    assert chain(graph, {"d": COMPLETED}, "d") == []


def test_a_chain_into_a_cycle_ends() -> None:
    graph = Graph.of(needing(a="b", b="c", c="b"))
    assert chain(graph, {}, "a") == [["a", "b", "c", "b", "c"]]


def blocking_edges(
    graph: Graph, statuses: Mapping[str, Status], task_id: str
) -> set[tuple[str, str]]:
    """Return every pair of a task that waits and one it waits for, from the task downwards."""
    found, waiting = set(), {task_id}
    while waiting:
        one = waiting.pop()
        for other in blockers(graph, statuses, one):
            found.add((one, other))
            if statuses.get(other, PENDING) is PENDING:
                waiting.add(other)
    return found


@given(plans(), STATUSES)
def test_chains_hold_every_edge_that_blocks_and_end_where_something_must_move(
    plan: Plan, statuses: dict[str, Status]
) -> None:
    graph = Graph.of(plan)
    for one in [task.id for task in plan.tasks if statuses.get(task.id, PENDING) is PENDING]:
        chains = chain(graph, statuses, one, limit=1000)
        shown = {edge for row in chains for edge in pairwise(row)}
        assert shown == blocking_edges(graph, statuses, one)
        assert {row[0] for row in chains} <= {one}
        for end in [row[-1] for row in chains]:
            moving = statuses.get(end, PENDING) is not PENDING
            assert moving or not blockers(graph, statuses, end)


def test_a_task_unblocks_those_that_wait_for_it_alone() -> None:
    graph = Graph.of(DIAMOND)
    assert unblocks(graph, {}, "a") == Unblocks(("b", "c"), 3)
    assert unblocks(graph, {"a": COMPLETED}, "b") == Unblocks((), 1)
    assert unblocks(graph, {"a": COMPLETED, "c": COMPLETED}, "b") == Unblocks(("d",), 1)
    assert unblocks(graph, {"b": CANCELLED}, "a") == Unblocks(("c",), 2)


@given(plans(), STATUSES)
def test_what_a_task_unblocks_is_what_its_completion_makes_ready(
    plan: Plan, statuses: dict[str, Status]
) -> None:
    graph = Graph.of(plan)
    for one in [task.id for task in plan.tasks if statuses.get(task.id) is not COMPLETED]:
        woken = Frontier(graph, statuses).complete(one)
        found = unblocks(graph, statuses, one)
        assert list(found.ready) == sorted(woken, key=plan.order.__getitem__)


# --- how long it takes ----------------------------------------------------------------------------

HOUSE = plan_of(
    {"id": "walls", "estimated_time": "20 minutes"},
    {"id": "garden", "estimated_time": "1h"},
    {"id": "roof", "depends_on": ["walls"], "estimated_time": 15},
    {"id": "paint", "depends_on": ["walls"]},
    {"id": "party", "depends_on": ["roof", "garden"], "estimated_time": "30s", "priority": "high"},
)


def test_a_schedule_fills_the_slots_in_the_order_of_the_scheduler() -> None:
    assert schedule(HOUSE, Graph.of(HOUSE), 2) == Schedule(
        rows=(
            Slot("walls", 0, 20, 1),
            Slot("garden", 0, 60, 2),
            Slot("roof", 20, 35, 1),
            Slot("paint", 35, 45, 1),
            Slot("party", 60, 60.5, 1),
        ),
        makespan=60.5,
        critical_path=("garden", "party"),
        best=60.5,
        total=105.5,
    )


def test_one_slot_takes_the_total_and_no_number_beats_the_critical_path() -> None:
    graph = Graph.of(HOUSE)
    assert schedule(HOUSE, graph, 1).makespan == 105.5
    assert schedule(HOUSE, graph, 1000).makespan == schedule(HOUSE, graph, 1000).best == 60.5


def test_a_barrier_waits_for_the_whole_wave() -> None:
    assert schedule(HOUSE, Graph.of(HOUSE), 2, barrier=True).rows == (
        Slot("walls", 0, 20, 1),
        Slot("garden", 0, 60, 2),
        Slot("roof", 60, 75, 1),
        Slot("paint", 60, 70, 2),
        Slot("party", 75, 75.5, 1),
    )


def test_what_ends_together_is_over_before_anything_starts() -> None:
    plan = plan_of(
        {"id": "a"},
        {"id": "b"},
        {"id": "late", "depends_on": ["a"]},
        {"id": "soon", "depends_on": ["b"], "priority": "high"},
    )
    assert schedule(plan, Graph.of(plan), 2).rows[2:] == (
        Slot("soon", 10, 20, 1),
        Slot("late", 10, 20, 2),
    )


def test_other_lengths_and_another_default_can_be_given() -> None:
    graph = Graph.of(HOUSE)
    by_name = schedule(HOUSE, graph, 9, minutes=lambda task: len(task.id))
    assert (by_name.critical_path, by_name.best) == (("walls", "roof", "party"), 14)
    assert schedule(HOUSE, graph, 9, default_minutes=90).best == 110


def test_what_can_never_be_ready_is_in_no_schedule() -> None:
    plan = plan_of(
        {"id": "a", "depends_on": ["b"]},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "preconditions": ["nobody's"]},
        {"id": "d"},
    )
    assert schedule(plan, Graph.of(plan), 3) == Schedule((Slot("d", 0, 10, 1),), 10, ("d",), 10, 10)
    empty = plan_of()
    assert schedule(empty, Graph.of(empty), 1) == Schedule((), 0, (), 0, 0)


def test_a_schedule_without_a_slot_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        schedule(HOUSE, Graph.of(HOUSE), 0)


def longest(plan: Plan, minutes: Mapping[str, float]) -> float:
    """Return the length of the longest chain, wave by wave."""
    until: dict[str, float] = {}
    for wave in naive_waves(plan):
        for one in wave:
            before = [until[other] for other in naive_requires(plan)[one]]
            until[one] = minutes[one] + max(before, default=0)
    return max(until.values(), default=0)


@given(plans(), st.integers(1, 4), st.booleans())
def test_every_schedule_is_one_that_could_be_run(plan: Plan, slots: int, barrier: bool) -> None:
    graph = Graph.of(plan, GIVEN)
    planned = schedule(plan, graph, slots, barrier=barrier)
    rows = {row.task: row for row in planned.rows}
    minutes = {
        task.id: task.estimated_time.minutes if task.estimated_time else 10 for task in plan.tasks
    }
    assert rows.keys() == plan.by_id.keys()
    assert {one: row.end - row.start for one, row in rows.items()} == minutes
    for row in planned.rows:
        assert all(rows[other].end <= row.start for other in graph.requires[row.task])
    for one, two in combinations(planned.rows, 2):
        assert one.start <= two.start
        if one.lane == two.lane:
            assert one.end <= two.start
        if barrier and graph.wave[one.task] != graph.wave[two.task]:
            assert one.end <= two.start
    assert {row.lane for row in planned.rows} <= set(range(1, slots + 1))
    assert planned.makespan == max((row.end for row in planned.rows), default=0)
    assert planned.total == sum(minutes.values())
    assert (
        planned.best == longest(plan, minutes) == sum(minutes[one] for one in planned.critical_path)
    )
    assert all(one in graph.requires[two] for one, two in pairwise(planned.critical_path))
    if not barrier:  # no slot is ever left empty while something is ready
        assert planned.makespan <= (planned.total + (slots - 1) * planned.best) / slots + 1e-9


# --- what gets in whose way -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "path", "named"),
    [
        ("src/a.py", "src/a.py", True),
        ("./src//a.py", "src/a.py", True),
        ("src/a.py", "src/a.pyc", False),
        ("src", "src/deep/a.py", True),
        ("src/", "src/a.py", True),
        ("src", "srcs/a.py", False),
        ("src/a.py", "src", False),
        (".", "anything/at/all", True),
        ("*.py", "a.py", True),
        ("*.py", "src/a.py", False),
        ("src/*", "src/deep/a.py", True),
        ("src/?.py", "src/ab.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "src/deep/a.py", True),
        ("src/**", "src/deep/a.py", True),
        ("src/**/a.py", "src/a.py", True),
        ("src/**/**/a.py", "src/x/y/z/a.py", True),
        ("src/**/a.py", "lib/a.py", False),
        ("src/**/b/**/a.py", "src/x/b/y/z/a.py", True),
        ("src/**/b/**/a.py", "src/x/c/y/z/a.py", False),
        ("app/[id]/page.tsx", "app/[id]/page.tsx", True),
        ("app/[ab].py", "app/b.py", True),
        ("app/[!ab].py", "app/b.py", False),
        ("SRC", "src/a.py", False),
    ],
)
def test_an_entry_names_itself_what_is_below_it_and_what_its_glob_says(
    entry: str, path: str, named: bool
) -> None:
    assert covers(entry, path) is named


def test_an_overlap_names_the_narrower_path_once_a_pair_in_plan_order() -> None:
    plan = plan_of(
        {"id": "model", "files": ["models/user.py", "README.md"]},
        {"id": "tests", "files": ["tests", "models/user.py", "README.md"]},
        {"id": "login", "files": ["tests/login.py"]},
        {"id": "docs", "files": ["**/*.md"], "depends_on": ["tests"]},
        {"id": "all", "files": ["."], "depends_on": ["model", "login", "docs"]},
    )
    assert overlaps(plan, Graph.of(plan)) == [
        Overlap("models/user.py", "model", "tests"),
        Overlap("README.md", "model", "docs"),
        Overlap("tests/login.py", "tests", "login"),
    ]


def test_overlaps_stop_at_the_limit() -> None:
    plan = plan_of(*({"id": f"t{n}", "files": ["README.md"]} for n in range(100)))
    graph = Graph.of(plan)
    assert overlaps(plan, graph, limit=2) == [
        Overlap("README.md", "t0", "t1"),
        Overlap("README.md", "t0", "t2"),
    ]
    assert len(overlaps(plan, graph, limit=10_000)) == 100 * 99 // 2


def test_overlaps_are_found_at_both_ends_of_a_big_plan() -> None:
    files = {"files": ["README.md"]}
    chained = [{"id": f"t{n}", "depends_on": [f"t{n - 1}"] * (n > 0), **files} for n in range(5000)]
    ends = [{"id": name, "depends_on": ["t4999"], **files} for name in ("left", "right")]
    plan = plan_of({"id": "alone", **files}, *chained, *ends)
    assert overlaps(plan, Graph.of(plan), limit=10_000) == [
        *(Overlap("README.md", "alone", f"t{n}") for n in range(5000)),
        Overlap("README.md", "alone", "left"),
        Overlap("README.md", "alone", "right"),
        Overlap("README.md", "left", "right"),
    ]


def test_far_too_many_globs_hide_no_plain_overlap() -> None:
    files = [[f"**/*_{n}.py", f"src/m{n}.py"] for n in range(800)]
    plan = plan_of(
        *({"id": f"t{n}", "files": row} for n, row in enumerate(files)),
        {"id": "z", "files": ["src/m7.py"]},
    )
    assert Overlap("src/m7.py", "t7", "z") in overlaps(plan, Graph.of(plan))


@given(plans())
def test_overlaps_are_what_comparing_every_two_tasks_says(plan: Plan) -> None:
    found = overlaps(plan, Graph.of(plan))
    pairs = [(overlap.first, overlap.second) for overlap in found]
    assert set(pairs) == naive_overlaps(plan)
    assert pairs == sorted(set(pairs), key=lambda pair: [plan.order[one] for one in pair])
    for overlap in found:
        one, two = plan.by_id[overlap.first], plan.by_id[overlap.second]
        assert named(one.files, overlap.path)
        assert named(two.files, overlap.path)


def named(files: Sequence[str], path: str) -> bool:
    """Say whether some entry names the path."""
    return any(covers(entry, path) for entry in files)


# --- what it can cost -----------------------------------------------------------------------------


def costing(budgets: Iterable[float | None], **keys: Any) -> Plan:
    """Return a plan whose tasks have these budgets."""
    return plan_of(*({"id": f"t{n}", "budget_usd": b} for n, b in enumerate(budgets)), **keys)


@pytest.mark.parametrize(
    ("plan", "config", "cost"),
    [
        (costing([1, 2]), Limits(), Cost(9, ())),
        (costing([1, 2], limits={"attempts": 2}), Limits(), Cost(6, ())),
        (costing([1, 2], limits={"attempts": 2}), ConfigLimits(attempts=1), Cost(3, ())),
        (costing([1, 2], defaults={"attempts": 5}), Limits(), Cost(15, ())),
        (costing([1, 2]), Limits(budget_usd=4), Cost(4, ())),
        (costing([1, 2], limits={"budget_usd": 4}), Limits(budget_usd=20), Cost(4, ())),
        (costing([1, 2]), Limits(budget_usd=20), Cost(9, ())),
        (costing([1, None]), Limits(), Cost(None, ("t1",))),
        (costing([1, None]), Limits(budget_usd=20), Cost(20, ("t1",))),
        (costing([0, None], defaults={"budget_usd": 0.5}), Limits(), Cost(1.5, ())),
        (costing([]), Limits(), Cost(0, ())),
    ],
)
def test_a_plan_can_cost_every_budget_in_every_attempt_but_no_more_than_its_limit(
    plan: Plan, config: Limits, cost: Cost
) -> None:
    assert most_it_can_cost(plan, config) == cost


def test_the_smallest_number_of_attempts_that_anybody_set_counts() -> None:
    plan = plan_of({"id": "a", "attempts": 4}, {"id": "b"}, defaults={"attempts": 6})
    assert attempts_allowed(plan, "a", Limits()) == 4
    assert attempts_allowed(plan, "b", Limits()) == 6
    assert attempts_allowed(plan, "b", Limits(attempts=2)) == 2
    assert attempts_allowed(plan_of({"id": "a"}), "a", Limits()) == 3
