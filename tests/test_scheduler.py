"""What is due: `decide` over snapshots made by hand, without git, a clock or a process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents.graph import Graph, attempts_allowed
from gitflow_agents.models import (
    EVERYWHERE,
    Attempt,
    Car,
    Config,
    ConfigLimits,
    Lease,
    Limits,
    Plan,
    PlanState,
    Reason,
    Status,
    TaskRecord,
    Train,
)
from gitflow_agents.scheduler import (
    FLOW_TROUBLE,
    LOST_IN_A_ROW,
    Action,
    AdoptFlow,
    Claim,
    Conclude,
    Disown,
    EndTrain,
    Expire,
    Finish,
    Hold,
    Land,
    Resume,
    Retry,
    Seen,
    Snapshot,
    StartTrain,
    back_off,
    decide,
    limits_of,
    piled_up,
    plan_status,
    spent,
    waiting_for,
    wake_at,
)

S = Status
LETTERS = {
    "p": S.PENDING,
    "i": S.IN_PROGRESS,
    "r": S.REVIEW,
    "c": S.COMPLETED,
    "f": S.FAILED,
    "x": S.CANCELLED,
}
NOW = 1_000_000.0


def plan_of(*tasks: Mapping[str, Any], **keys: Any) -> Plan:
    return Plan.model_validate({"plan": "demo", "goal": "Try it", "tasks": tasks, **keys})


def needing(**needs: str) -> Plan:
    """Return a plan of tasks that need others by id: `needing(a="", b="a", c="a b")`."""
    return plan_of(*({"id": name, "depends_on": row.split()} for name, row in needs.items()))


def lease() -> Lease:
    return Lease(host="here", boot="b", pid=1, pid_started=1, until=NOW)


def train(*tasks: str, base: str = "flow1") -> Train:
    cars = tuple(Car(task=task, tip=f"tip-{task}", merge=f"merge-{task}") for task in tasks)
    return Train(base=base, cars=cars, tip="train-tip", lease=lease())


def snapshot(
    plan: Plan,
    statuses: str = "",
    *,
    seen: Seen | None = None,
    records: Mapping[str, Mapping[str, Any]] | None = None,
    **state: Any,
) -> Snapshot:
    """Return a plan with a status letter a task (`p i r c f x`), pending where there is none.

    `records` holds more fields of single tasks' records, `state` those of the plan's state.
    """
    known = {}
    for task, letter in zip(plan.tasks, statuses.ljust(len(plan.tasks), "p"), strict=True):
        more = (records or {}).get(task.id, {})
        if letter != "p" or more:
            known[task.id] = TaskRecord(id=task.id, status=LETTERS[letter], **more)
    about = PlanState(
        **{
            "plan": plan.plan,
            "commit": "plan1",
            "digest": "blob1",
            "base": "main",
            "base_sha": "base1",
            "flow": "flow/demo",
            "flow_sha": "flow1",
            "accepting": "flow0",
            "accepted_at": NOW,
            **state,
        }
    )
    made = Snapshot(plan, Graph.of(plan), about, "tip", "tree", known)
    made.seen = seen or Seen()
    return made


def due(
    what: Snapshot, now: float = NOW, limits: Limits | None = None, slots: int = 3, **more: Any
) -> list[Action]:
    return decide(what, now, what.plan.limits if limits is None else limits, slots=slots, **more)


# --- claims ---------------------------------------------------------------------------------------

DIAMOND = needing(a="", b="a", c="a", d="b c", e="")


def test_what_needs_nothing_starts_in_plan_order() -> None:
    assert due(snapshot(DIAMOND)) == [Claim(("a", "e"))]


def test_a_task_starts_as_soon_as_its_own_needs_are_merged() -> None:
    assert due(snapshot(DIAMOND, "cpppi")) == [Claim(("b", "c"))]
    assert due(snapshot(DIAMOND, "cicpi")) == []
    assert due(snapshot(DIAMOND, "cccpi")) == [Claim(("d",))]


@pytest.mark.parametrize("letter", list("pirfx"))
def test_nothing_but_completed_satisfies_a_need(letter: str) -> None:
    what = snapshot(needing(a="", b="a"), letter)
    started = [task for action in due(what) if isinstance(action, Claim) for task in action.tasks]
    assert "b" not in started


@pytest.mark.parametrize(
    ("slots", "started"), [(0, []), (1, [Claim(("a",))]), (2, [Claim(("a", "b"))])]
)
def test_no_more_start_than_there_are_slots(slots: int, started: list[Action]) -> None:
    assert due(snapshot(needing(a="", b="", c="")), slots=slots) == started


def test_the_plans_own_limit_counts_what_other_runs_have_started() -> None:
    plan = needing(a="", b="", c="", d="")
    assert due(snapshot(plan, "i"), limits=Limits(parallel=2)) == [Claim(("b",))]
    assert due(snapshot(plan, "ii"), limits=Limits(parallel=2)) == []
    assert due(snapshot(plan, "ii"), limits=Limits(parallel=1)) == []
    assert due(snapshot(plan, "ii"), limits=Limits(parallel=None), slots=1) == [Claim(("c",))]


def test_higher_priority_starts_first_and_equals_in_plan_order() -> None:
    tasks = [("a", "low"), ("b", None), ("c", "high"), ("d", "medium"), ("e", "high")]
    plan = plan_of(*({"id": id, **({"priority": p} if p else {})} for id, p in tasks))
    assert due(snapshot(plan), slots=9) == [Claim(("c", "e", "b", "d", "a"))]
    assert due(snapshot(plan), slots=1) == [Claim(("c",))]


def test_a_plans_default_priority_counts_where_a_task_names_none() -> None:
    plan = plan_of({"id": "a"}, {"id": "b", "priority": "medium"}, defaults={"priority": "low"})
    assert due(snapshot(plan), slots=9) == [Claim(("b", "a"))]


def test_a_task_whose_attempts_are_used_up_is_not_started_and_holds_up_nobody() -> None:
    plan = needing(a="", b="")
    used = {"a": {"used": 3}}
    assert due(snapshot(plan, records=used), slots=1) == [Claim(("b",))]
    used = {"a": {"used": 2}}
    assert due(snapshot(plan, records=used), slots=1) == [Claim(("a",))]
    assert due(snapshot(plan, records=used), slots=1, limits=Limits(attempts=2)) == [Claim(("b",))]


def test_of_all_limits_on_attempts_the_smallest_counts() -> None:
    plan = plan_of({"id": "a", "attempts": 5}, {"id": "b"}, defaults={"attempts": 2})
    assert [attempts_allowed(plan, id, Limits()) for id in "ab"] == [5, 2]
    assert [attempts_allowed(plan, id, Limits(attempts=4)) for id in "ab"] == [4, 2]
    assert attempts_allowed(needing(a=""), "a", Limits()) == 3


def test_what_has_to_wait_by_the_clock_starts_when_its_time_has_come() -> None:
    what = snapshot(needing(a=""), records={"a": {"not_before": NOW + 5}})
    assert due(what) == []
    assert due(what, now=NOW + 5) == [Claim(("a",))]


# --- budget and minutes ---------------------------------------------------------------------------


def ran(minutes: float = 0, cost_usd: float | None = None) -> dict[str, Any]:
    attempt = Attempt(
        number=1,
        started_at=NOW,
        ended_at=NOW + minutes * 60,
        outcome="succeeded",
        cost_usd=cost_usd,
    )
    return {"attempts": (attempt,)}


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(budget_usd=2.5), "the budget of $2.5 is used up ($2.50)"),
        (Limits(budget_usd=1), "the budget of $1 is used up ($2.50)"),
        (Limits(minutes=12), "the 12 minutes of work by all agents together are used up (12.0)"),
        (Limits(budget_usd=2.51, minutes=12.5), ""),
        (Limits(), ""),
    ],
)
def test_nothing_starts_when_the_plan_has_spent_what_it_may(limits: Limits, sentence: str) -> None:
    records = {"a": ran(minutes=4, cost_usd=1.5), "b": ran(minutes=8, cost_usd=1)}
    what = snapshot(needing(a="", b="", c=""), "cc", records=records)
    assert spent(what, limits) == sentence
    assert due(what, limits=limits) == ([] if sentence else [Claim(("c",))])


@pytest.mark.parametrize(
    ("statuses", "most", "started", "sentence"),
    [
        ("rp", None, 1, ""),
        ("rpp", 2, 1, ""),
        ("rip", 2, 0, ""),
        ("rrp", 2, 0, "2 results wait to be merged, and open_reviews allows 2"),
        ("rp", 1, 0, "1 result waits to be merged, and open_reviews allows 1"),
    ],
)  # fmt: skip
def test_no_more_results_wait_to_be_merged_than_may(
    statuses: str, most: int | None, started: int, sentence: str
) -> None:
    names = "abc"[: len(statuses)]
    held = {name: {"held": "look"} for name, s in zip(names, statuses, strict=True) if s == "r"}
    what = snapshot(needing(**dict.fromkeys(names, "")), statuses.rstrip("p"), records=held)
    limits = Limits(open_reviews=most)
    claims = [action for action in due(what, limits=limits) if isinstance(action, Claim)]
    assert sum(len(claim.tasks) for claim in claims) == started
    assert piled_up(what, limits) == sentence


def test_what_is_done_is_merged_although_the_budget_is_used_up() -> None:
    what = snapshot(needing(a="", b=""), "r", records={"a": ran(cost_usd=9)})
    assert due(what, limits=Limits(budget_usd=1)) == [StartTrain(("a",))]


def test_a_record_that_is_replaced_is_not_counted_twice() -> None:
    what = snapshot(needing(a="", b=""), "i", records={"a": ran(minutes=1, cost_usd=1)})
    for _ in range(3):
        what.apply(TaskRecord(id="a", status=S.REVIEW, **ran(minutes=2, cost_usd=3)))
    assert (what.cost_usd, what.minutes) == (3, 2)


def test_an_attempt_that_is_running_has_cost_no_minutes_yet() -> None:
    attempt = Attempt(number=1, started_at=NOW)
    assert snapshot(needing(a=""), "i", records={"a": {"attempts": (attempt,)}}).minutes == 0


def test_of_plan_and_config_the_smaller_limit_counts() -> None:
    plan = plan_of({"id": "a"}, limits={"parallel": 4, "budget_usd": 3})
    config = Config(limits=ConfigLimits(parallel=2, attempts=1, budget_usd=5))
    assert limits_of(plan, config) == Limits(parallel=2, attempts=1, budget_usd=3)


# --- the barrier ----------------------------------------------------------------------------------

TWO_WAVES = needing(a="", b="", c="a", d="b")


@pytest.mark.parametrize(
    ("statuses", "free", "strict"),
    [
        ("pppp", ["a", "b"], ["a", "b"]),
        ("cipp", ["c"], []),
        ("cppp", ["b", "c"], ["b"]),
        ("cfpp", ["c"], ["c"]),
        ("cxpp", ["c"], ["c"]),
        ("ccpp", ["c", "d"], ["c", "d"]),
        ("cccp", ["d"], ["d"]),
    ],
)
def test_with_a_barrier_a_wave_starts_when_the_former_one_is_over(
    statuses: str, free: list[str], strict: list[str]
) -> None:
    def started(barrier: bool) -> list[str]:
        actions = due(snapshot(TWO_WAVES, statuses), barrier=barrier)
        return [task for action in actions if isinstance(action, Claim) for task in action.tasks]

    assert started(False) == free
    assert started(True) == strict


def test_a_barrier_waits_for_what_is_done_and_not_yet_merged() -> None:
    what = snapshot(TWO_WAVES, "crpp", train=train("b"))
    assert due(what, barrier=True) == []
    assert due(what) == [Claim(("c",))]


# --- trains ---------------------------------------------------------------------------------------


def test_what_is_in_review_is_merged_in_plan_order_before_anything_starts() -> None:
    assert due(snapshot(needing(a="", b="", c="", d=""), "prpr")) == [StartTrain(("b", "d"))]


def test_one_train_goes_at_a_time_and_work_starts_beside_it() -> None:
    what = snapshot(needing(a="", b="", c=""), "rr", train=train("a"))
    assert due(what) == [Claim(("c",))]


def test_a_train_is_no_longer_than_the_config_and_the_last_failure_allow() -> None:
    plan = needing(**{f"t{n}": "" for n in range(12)})
    names = tuple(plan.order)
    everything = "r" * 12
    assert due(snapshot(plan, everything)) == [StartTrain(names[:8])]
    assert due(snapshot(plan, everything), train=20) == [StartTrain(names)]
    assert due(snapshot(plan, everything, train_limit=4)) == [StartTrain(names[:4])]
    assert due(snapshot(plan, everything, train_limit=1)) == [StartTrain(names[:1])]
    assert due(snapshot(plan, everything, train_limit=4), train=2) == [StartTrain(names[:2])]


def test_a_task_in_review_waits_until_its_needs_are_on_flow() -> None:
    # A need that was reverted, or added by a later revision of the plan.
    assert due(snapshot(needing(a="", b="a"), "rr")) == [StartTrain(("a",))]
    assert due(snapshot(needing(a="", b="a"), "fr")) == []


@pytest.mark.parametrize("verdict", ["passed", "failed", "lost"])
def test_a_train_whose_test_has_ended_is_ended_first(verdict: Any) -> None:
    what = snapshot(needing(a="", b=""), "r", train=train("a"), seen=Seen(train=verdict))
    assert due(what) == [EndTrain()]
    assert due(what, stopping=True) == [EndTrain()]


def test_nothing_is_merged_while_somebody_has_flow_checked_out() -> None:
    seen = Seen(flow_checked_out="/somewhere")
    assert due(snapshot(needing(a="", b=""), "r", seen=seen)) == [Claim(("b",))]
    assert due(snapshot(needing(a=""), "c", seen=seen)) == []
    seen = Seen(flow_checked_out="/somewhere", train="passed")
    assert due(snapshot(needing(a=""), "r", seen=seen, train=train("a"))) == []


# --- the base -------------------------------------------------------------------------------------


def test_a_moved_base_is_the_first_car() -> None:
    moved = Seen(base_tip="base2")
    assert due(snapshot(needing(a="", b=""), "r", seen=moved)) == [StartTrain(("a",), True)]
    assert due(snapshot(needing(a="", b=""), "", seen=moved)) == [StartTrain((), True)]
    assert due(snapshot(needing(a="", b="a"), "i", seen=moved)) == [StartTrain((), True)]


def test_a_moved_base_is_left_alone_when_the_config_says_so() -> None:
    what = snapshot(needing(a="", b=""), "r", seen=Seen(base_tip="base2"))
    assert due(what, follow_base=False) == [StartTrain(("a",))]


def test_a_moved_base_alone_starts_no_train_when_nothing_can_go_on() -> None:
    moved = Seen(base_tip="base2")
    assert due(snapshot(needing(a="", b="a"), "f", seen=moved)) == []
    assert due(snapshot(needing(a=""), "c", seen=moved)) == [Finish()]
    assert due(snapshot(needing(a=""), "c", seen=moved, status="finished")) == []
    assert due(snapshot(needing(a="", b=""), "c", seen=Seen(base_tip="base1"))) == [Claim(("b",))]


# --- flow, and holding ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flow", "why"),
    [
        ("missing", "the flow branch flow/demo is gone; bring it back: git branch flow/demo flow1"),
        (
            "forced",
            "the flow branch flow/demo was moved back or replaced; "
            "to go on from what was merged: git branch -f flow/demo flow1",
        ),
    ],
)
def test_a_plan_without_its_flow_is_held_and_goes_on_when_it_is_back(flow: Any, why: str) -> None:
    plan = needing(a="", b="")
    assert due(snapshot(plan, "r", seen=Seen(flow=flow))) == [Hold(why)]
    assert due(snapshot(plan, "r", seen=Seen(flow=flow), held=why)) == []
    assert due(snapshot(plan, "r", held=why)) == [Resume()]
    assert why.startswith(FLOW_TROUBLE)


def test_what_people_put_on_flow_is_taken_before_anything_else() -> None:
    seen = Seen(flow="ahead", concluded=frozenset("b"), base_tip="base2")
    assert due(snapshot(needing(a="", b=""), "ri", seen=seen)) == [AdoptFlow()]


def test_a_held_plan_ends_what_runs_and_starts_and_merges_nothing() -> None:
    plan = needing(a="", b="", c="")
    assert due(snapshot(plan, "r", held="look at it")) == []
    seen = Seen(concluded=frozenset("b"))
    assert due(snapshot(plan, "ri", held="look at it", seen=seen)) == [Conclude("b")]
    what = snapshot(plan, "r", held="look at it", train=train("a"), seen=Seen(train="passed"))
    assert due(what) == []


@pytest.mark.parametrize("status", ["landed", "closed"])
def test_an_ended_plan_is_only_looked_at(status: str) -> None:
    seen = Seen(flow="missing", concluded=frozenset("b"))
    assert due(snapshot(needing(a="", b=""), "ri", status=status, seen=seen)) == []


def test_a_plan_whose_report_is_on_the_base_has_landed() -> None:
    # Whatever became of its flow branch: people delete it when they merge.
    seen = Seen(landed=True, flow="missing")
    assert due(snapshot(needing(a=""), "c", status="finished", seen=seen)) == [Land()]


# --- attempts that end ----------------------------------------------------------------------------


def test_what_refs_and_processes_say_is_believed_first_in_plan_order() -> None:
    plan = needing(a="", b="", c="", d="", e="", f="")
    seen = Seen(
        lost=frozenset("a"), concluded=frozenset("bd"), foreign=frozenset("ce"), train="passed"
    )
    assert due(snapshot(plan, "iiiirp", seen=seen, train=train("e"))) == [
        Expire("a", Reason.LEASE_LOST),
        Conclude("b"),
        Expire("c", Reason.FOREIGN_COMMITS),
        Conclude("d"),
        Disown("e"),
    ]


def test_what_runs_elsewhere_is_left_alone() -> None:
    assert due(snapshot(needing(a="", b="a"), "i")) == []


def failed(reason: Reason, **more: Any) -> dict[str, Any]:
    return {"reason": reason, **more}


@pytest.mark.parametrize("reason", list(Reason))
def test_only_infrastructure_and_a_conflict_are_retried_without_a_person(reason: Reason) -> None:
    record = failed(reason, lost=1, conflicts=1, used=1)
    what = snapshot(needing(a=""), "f", records={"a": record})
    again = {Reason.INFRASTRUCTURE, Reason.RATE_LIMIT, Reason.LEASE_LOST, Reason.CONFLICT}
    assert due(what) == ([Retry("a")] if reason in again else [])


@pytest.mark.parametrize(
    ("retries", "conflicts", "is_retried"),
    [(0, 1, False), (1, 1, True), (1, 2, False), (2, 2, True), (2, 3, False), (3, 3, True)],
)
def test_a_conflict_is_retried_as_often_as_the_task_allows(
    retries: int, conflicts: int, is_retried: bool
) -> None:
    plan = plan_of({"id": "a", "conflict_retries": retries, "attempts": 9})
    record = failed(Reason.CONFLICT, conflicts=conflicts, used=conflicts)
    assert due(snapshot(plan, "f", records={"a": record})) == [Retry("a")] * is_retried


def test_a_conflict_is_not_retried_when_the_attempts_are_used_up() -> None:
    # Else it would wait in `pending` for ever, and nobody would be told why.
    record = failed(Reason.CONFLICT, conflicts=1, used=1)
    what = snapshot(plan_of({"id": "a", "attempts": 1}), "f", records={"a": record})
    assert due(what) == []
    assert plan_status(what, Limits(), NOW) == "failed"


def test_what_was_lost_waits_longer_each_time_and_gives_up_after_ten() -> None:
    assert [back_off(n) for n in range(1, 11)] == [0, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    plan = needing(a="")
    for lost in range(1, LOST_IN_A_ROW):
        record = failed(Reason.LEASE_LOST, lost=lost, not_before=NOW + 2)
        what = snapshot(plan, "f", records={"a": record})
        assert (due(what), due(what, now=NOW + 2)) == ([], [Retry("a")])
        assert wake_at(what, Limits()) == NOW + 2
    what = snapshot(plan, "f", records={"a": failed(Reason.LEASE_LOST, lost=LOST_IN_A_ROW)})
    assert (due(what), wake_at(what, Limits())) == ([], None)


# --- paths that tasks have met in -----------------------------------------------------------------


def met(*paths: str, **more: Any) -> dict[str, Any]:
    return {"conflict_paths": paths, "conflicts": 1, **more}


def touching(*paths: str) -> dict[str, Any]:
    return {"attempts": (Attempt(number=1, touched=paths),)}


LIST = plan_of(*({"id": id, "files": files} for id, files in zip("abcd", [["list"], ["list"], ["."], ["other"]], strict=True)))  # fmt: skip


def test_a_path_that_tasks_have_met_in_is_given_to_one_task_at_a_time() -> None:
    assert due(snapshot(LIST), slots=9) == [Claim(("a", "b", "c", "d"))]
    again = {"b": met("list", used=1)}
    assert due(snapshot(LIST, "cp", records=again), slots=9) == [Claim(("b", "d"))]
    assert due(snapshot(LIST, "ci", records=again), slots=9) == [Claim(("d",))]
    assert due(snapshot(LIST, "cc", records=again), slots=9) == [Claim(("c", "d"))]


def test_what_is_done_gives_way_to_what_is_tried_again_in_the_same_path() -> None:
    plan = needing(a="", b="", c="")
    records = {"a": touching("list"), "b": met("list"), "c": touching("other")}
    assert due(snapshot(plan, "rir", records=records)) == [StartTrain(("c",))]
    assert due(snapshot(plan, "rcr", records=records)) == [StartTrain(("a", "c"))]
    everywhere = {**records, "c": touching(*EVERYWHERE)}
    assert due(snapshot(plan, "rir", records=everywhere)) == []


def test_of_two_that_are_done_the_earlier_goes_first_and_none_waits_for_ever() -> None:
    plan = needing(a="", b="")
    both = {id: {**met("list"), **touching("list")} for id in "ab"}
    assert due(snapshot(plan, "rr", records=both)) == [StartTrain(("a",))]
    assert due(snapshot(plan, "cr", records=both)) == [StartTrain(("b",))]


# --- stopping, finishing --------------------------------------------------------------------------


def test_nothing_new_begins_while_stopping() -> None:
    assert due(snapshot(needing(a="", b="", c=""), "rp"), stopping=True) == []
    assert due(snapshot(needing(a=""), "c"), stopping=True) == []
    seen = Seen(concluded=frozenset("a"))
    assert due(snapshot(needing(a=""), "i", seen=seen), stopping=True) == [Conclude("a")]


def test_a_plan_is_finished_once_when_all_is_merged_or_left_out() -> None:
    plan = needing(a="", b="", c="")
    assert due(snapshot(plan, "cxc")) == [Finish()]
    assert due(snapshot(plan, "cxc", status="finished")) == []
    assert due(snapshot(plan, "ccf")) == []
    assert due(snapshot(plan, "ccr", train=train("c"))) == []


# --- what is computed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "state", "said"),
    [
        ("ppp", {}, "waiting"),
        ("ipp", {}, "running"),
        ("rpp", {}, "running"),
        ("cpp", {}, "running"),
        ("fpp", {}, "failed"),
        ("fip", {}, "running"),
        ("xpp", {}, "blocked"),
        ("ccc", {}, "running"),
        ("ccc", {"status": "finished"}, "finished"),
        ("ccp", {"status": "finished"}, "running"),
        ("ccc", {"status": "landed"}, "landed"),
        ("cpp", {"status": "closed"}, "closed"),
        ("cpp", {"held": "look"}, "held"),
    ],
)
def test_a_plans_status_is_computed(statuses: str, state: Mapping[str, Any], said: str) -> None:
    what = snapshot(needing(a="", b="a", c="b"), statuses, **state)
    assert plan_status(what, Limits(), NOW) == said


def test_a_plan_that_may_start_nothing_more_is_not_running() -> None:
    what = snapshot(needing(a="", b=""), "c", records={"a": ran(cost_usd=2)})
    assert plan_status(what, Limits(budget_usd=1), NOW) == "blocked"
    used_up = snapshot(needing(a=""), "p", records={"a": {"used": 3}})
    assert plan_status(used_up, Limits(), NOW) == "blocked"


def test_progress_is_the_share_that_is_merged_of_what_is_not_left_out() -> None:
    plan = needing(a="", b="", c="", d="", e="")
    assert [snapshot(plan, s).progress for s in ("", "cr", "ccxp", "xxxxx")] == [0, 0.2, 0.5, 1]


def test_a_task_waits_for_what_it_needs_directly_and_is_not_merged() -> None:
    assert waiting_for(snapshot(DIAMOND, "ccf"), "d") == {"c": S.FAILED}


# --- any snapshot ---------------------------------------------------------------------------------


@given(
    statuses=st.text("pircfx", min_size=5, max_size=5),
    slots=st.integers(0, 4),
    parallel=st.integers(1, 4) | st.none(),
    barrier=st.booleans(),
    seen_train=st.sampled_from(["", "passed", "failed", "lost"]),
    has_train=st.booleans(),
    moved=st.booleans(),
)
def test_whatever_is_due_is_due_again_until_it_is_done_and_within_its_limits(
    statuses: str,
    slots: int,
    parallel: int | None,
    barrier: bool,
    seen_train: Any,
    has_train: bool,
    moved: bool,
) -> None:
    seen = Seen(train=seen_train, base_tip="base2" if moved else "")
    on = train("a") if has_train else None
    what = snapshot(DIAMOND, statuses, seen=seen, train=on)
    limits = Limits(parallel=parallel)
    actions = due(what, limits=limits, slots=slots, barrier=barrier)
    assert actions == due(what, limits=limits, slots=slots, barrier=barrier)
    running = statuses.count("i")
    for action in actions:
        if isinstance(action, Claim):
            assert 0 < len(action.tasks) <= slots
            assert parallel is None or running + len(action.tasks) <= parallel
            for task in action.tasks:
                assert what.status(task) is S.PENDING
                assert waiting_for(what, task) == {}
        if isinstance(action, StartTrain):
            assert not has_train
            assert {what.status(task) for task in action.tasks} <= {S.REVIEW}
