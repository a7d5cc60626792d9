"""What waits for a person's yes, and what that yes is worth when something changes."""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import pytest

from gitflow_agents.commands import Approve, Ground, Refused, effects
from gitflow_agents.commands.approving import seen
from gitflow_agents.models import Approval, Attempt, Home, Limits
from gitflow_agents.render import approvals as approvals_in_words
from gitflow_agents.render.facts import waiting
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import Service
from tests import engine
from tests.engine import act, task
from tests.repos import Cli, Repo
from tests.test_scheduler import plan_of, snapshot

ONE = task("1", "echo 1 > a.txt", verify=["test -s a.txt"])
A, B, C = "a" * 40, "b" * 40, "c" * 40
HOME = Home(pull=1)
TWO = task("2", "echo 2 > b.txt", depends_on=["1"], verify=["test -s b.txt"])


def statuses(repo: Repo) -> dict[str, str]:
    return engine.audit(repo)


def waits(repo: Repo) -> engine.Played:
    """Run the plan and hold that all that is left waits for a person."""
    played = engine.go(repo)
    assert played.code == 4
    assert played.message.startswith("the plan waits for your approval")
    return played


def ended(repo: Repo) -> list[str]:
    """Return what was said of approvals that ended."""
    said = repo.git("log", "--format=%b", "gitflow/state/p").splitlines()
    lines = [line.removeprefix("- ") for line in said if "approved any more" in line]
    return [re.sub(": .* approved", ": somebody approved", line) for line in lines]


def approvals(repo: Repo, task: str) -> list[str]:
    return [one["gate"] for one in engine.record(repo, task).get("approvals", ())]


def test_nothing_starts_before_the_text_of_the_plan_is_approved(repo: Repo, cli: Cli) -> None:
    engine.plan(repo, ONE, TWO, approval=["plan"])
    waits(repo)
    assert statuses(repo) == {"1": "pending", "2": "pending"}
    shown = cli("status", "p").stdout
    assert "v1 of the plan needs your approval: 2 tasks across 2 waves, about 20m" in shown
    assert "      $ gitflow-agents approve p\n" in shown
    assert act(repo, "approve").said == ("plan p v1 is approved",)
    assert not act(repo, "approve").changed
    engine.finished(repo, engine.go(repo))
    approved = engine.state(repo)["approved"]
    assert (approved["gate"], approved["digest"]) == ("plan", engine.state(repo)["digest"])


def test_a_new_text_has_to_be_approved_again(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO, approval="plan")
    waits(repo)
    act(repo, "approve")
    engine.plan(repo, ONE, TWO, task("3", "echo 3 > c.txt"), approval="plan")
    waits(repo)
    assert ended(repo) == ["not approved any more: somebody approved another text"]
    assert "approved" not in engine.state(repo)
    assert set(statuses(repo).values()) == {"pending"}
    act(repo, "approve")
    engine.finished(repo, engine.go(repo))


def test_a_yes_to_the_plan_can_be_withdrawn(repo: Repo) -> None:
    engine.plan(repo, ONE, approval=["plan"])
    waits(repo)
    act(repo, "approve")
    assert act(repo, "unapprove").said == ("plan p is not approved any more; what runs goes on",)
    assert not act(repo, "unapprove").changed
    waits(repo)


@pytest.mark.parametrize("where", ["plan", "task", "config"])
def test_a_task_starts_when_it_was_approved(repo: Repo, where: str) -> None:
    said: dict[str, Any] = {"approval": ["task"]}
    if where == "config":
        engine.config(repo, **said)
    two = {**TWO, **said} if where == "task" else TWO
    engine.plan(repo, ONE, two, **(said if where == "plan" else {}))
    waits(repo)
    if where != "task":
        assert statuses(repo) == {"1": "pending", "2": "pending"}
        act(repo, "approve", "1")
        waits(repo)
    assert statuses(repo) == {"1": "completed", "2": "pending"}
    act(repo, "approve", "2")
    engine.finished(repo, engine.go(repo))


def test_a_yes_to_a_task_dies_with_what_the_plan_says_of_it(repo: Repo) -> None:
    engine.plan(repo, ONE, {**TWO, "approval": ["task"]})
    waits(repo)
    act(repo, "approve", "2")
    changed = {**TWO, "approval": ["task"], "run": "echo other > b.txt"}
    engine.plan(repo, ONE, changed)
    waits(repo)
    assert ended(repo) == ["2 is not approved any more: somebody approved something else"]
    act(repo, "approve", "2")
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "b.txt") == "other\n"


def test_a_result_is_merged_when_exactly_it_was_approved(repo: Repo) -> None:
    engine.plan(repo, {**ONE, "approval": ["merge"]}, TWO)
    waits(repo)
    assert statuses(repo) == {"1": "review", "2": "pending"}
    first = engine.record(repo, "1")["attempts"][-1]["report"]
    with pytest.raises(Refused) as refused:
        act(repo, "approve", "1", sha="1234567")
    assert refused.value.reason_code == "stale-approval"
    act(repo, "approve", "1")
    assert approvals(repo, "1") == ["merge"]
    said = act(repo, "retry", "1").said
    assert said == ("1 is tried again by the next run; the approval of its result ends",)
    assert ended(repo) == ["1 is not approved any more: somebody approved something else"]
    assert approvals(repo, "1") == []
    waits(repo)
    with pytest.raises(Refused):
        act(repo, "approve", "1", sha=first)
    now = engine.record(repo, "1")["attempts"][-1]["report"]
    assert act(repo, "approve", "1", sha=now[:12]).said == (f"1 may be merged as {now[:12]}",)
    engine.finished(repo, engine.go(repo))


def test_a_withdrawn_yes_keeps_a_result_off_flow(repo: Repo) -> None:
    engine.plan(repo, {**ONE, "approval": ["merge"]})
    waits(repo)
    act(repo, "approve", "1")
    assert act(repo, "unapprove", "1").changed
    assert not act(repo, "unapprove", "1").changed
    waits(repo)
    assert statuses(repo) == {"1": "review"}


def test_what_waits_for_no_yes_is_told_so(repo: Repo) -> None:
    engine.plan(repo, ONE)
    engine.finished(repo, engine.go(repo))
    assert act(repo, "approve").said == ("plan p needs no approval of its text",)
    assert act(repo, "approve", "1").said == ("nothing of what was named waits for an approval",)


def test_a_doubted_text_waits_until_it_is_approved_as_it_is() -> None:
    plan = plan_of({"id": "t"})
    yes = Approval(gate="plan", by="bob", at=1, sha="plan1", digest="blob1")
    no = yes.model_copy(update={"digest": "blob0"})
    found = [snapshot(plan, doubt="eve", approved=given).awaits() for given in (None, no, yes)]
    assert found == ["plan", "plan", None]
    assert snapshot(plan).awaits() is None


@pytest.mark.slow
def test_a_text_in_doubt_waits_for_an_approval_whatever_it_says(repo: Repo, cli: Cli) -> None:
    repo.identify()
    with closing(Service(str(repo.path))) as service:
        service.doubt = lambda: "eve proposed it"
        snapshot = service._accepted(engine.plan(repo, ONE), print)
        assert (snapshot.state.doubt, snapshot.awaits()) == ("eve proposed it", "plan")
    waits(repo)
    assert "(eve proposed it): 1 task across 1 wave" in cli("status", "p").stdout
    act(repo, "approve")
    engine.finished(repo, engine.go(repo))
    # A later text is doubted by itself, and what a person at a terminal runs is not.
    engine.plan(repo, ONE, TWO)
    assert engine.state(repo)["doubt"] == "eve proposed it"
    engine.finished(repo, engine.go(repo))
    assert "doubt" not in engine.state(repo)


def test_what_is_waited_for_on_a_forge_is_told_with_from_whom_and_for_what() -> None:
    def told(config: dict[str, Any], home: Home | None = HOME, **about: Any) -> list[str]:
        plan = plan_of({"id": "t", "approval": ["merge"], **about})
        records = {"t": {"attempts": (Attempt(number=1, report=A),)}}
        of = snapshot(plan, "r", records=records, home=home, **config.pop("state", {}))
        of.approver, of.approval = config.get("level"), frozenset(config.get("gates", ()))
        of.by_oneself = config.get("by_oneself", False)
        lines = [f"{one.what}: {one.why}" for one in waiting(of, Limits(), 1000)]
        return [approvals_in_words(of), *lines]

    merge = "waits for an approval of each merge"
    may = "t may be merged only with your approval: "
    assert told({}) == [merge, f"{may}from anybody with maintain"]
    assert told({}, None) == [merge, may]
    assert told({"level": "admin"}) == [merge, f"{may}from anybody with admin"]
    named: dict[str, Any] = {"approvers": ["Bob", "shop/core", "codeowners"]}
    whom = "bob or team shop/core or the owners of its files"
    assert told({}, **named) == [merge, f"{may}from {whom} with write"]
    assert told({"gates": ["merge"]}, **named) == [merge, f"{may}from {whom} with maintain"]
    alone = f"{merge}, also from who wrote or started it"
    assert told({"by_oneself": True}) == [alone, f"{may}from anybody with maintain"]
    doubted = told({"state": {"doubt": "eve proposed it", "commit": B}})
    assert doubted[:2] == [
        "waits for an approval of its text and each merge",
        "v1 of the plan needs your approval (eve proposed it): from anybody with maintain, for "
        f"{B[:12]}: 1 task across 1 wave, about 10m with 3 at once",
    ]


# --- on a forge somebody may not have seen what is there ------------------------------------------


@pytest.mark.parametrize(
    ("history", "asked_at", "expected"),
    [
        ([], 500, ""),
        ([(100, A)], 99, ""),
        ([(100, A)], 100, A),
        ([(100, A), (400, B)], 399, A),
        ([(100, A), (400, B)], 400, None),
        ([(100, A), (400, B)], 459, None),
        ([(100, A), (400, B)], 460, B),
        ([(100, A), (400, A)], 401, A),
        ([(100, A), (400, B), (410, C)], 405, None),
        ([(100, A), (400, B), (900, C)], 500, B),
    ],
)
def test_what_somebody_saw_is_what_was_there_for_a_minute(
    history: list[tuple[float, str]], asked_at: float, expected: str | None
) -> None:
    assert seen(history, asked_at) == expected


def result(number: int, report: str, shown_at: float, outcome: str = "succeeded") -> Attempt:
    about: dict[str, Any] = {"report": report, "outcome": outcome, "shown_at": shown_at}
    return Attempt(number=number, ended_at=shown_at - 300, **about)


def asked(of: Snapshot, asked_at: float, *targets: str, sha: str = "") -> str:
    """Return what an approval from a forge says, or why it is refused."""
    ground = Ground(of, "bob", 1000, Limits(), asked_at=asked_at)
    try:
        return effects(Approve(targets=targets, sha=sha), ground).said[0]
    except Refused as e:
        return f"{e.reason_code}: {e.said}"


def test_an_approval_from_a_forge_is_of_the_result_that_was_seen() -> None:
    attempts = (result(1, A, 100), result(2, C, 200, "failed"), result(3, B, 400))
    of = snapshot(
        plan_of({"id": "t", "approval": ["merge"]}), "r", records={"t": {"attempts": attempts}}
    )
    again = "look again, then: approve demo/t --sha bbbbbbbbbbbb"
    assert asked(of, 50, "t") == f"stale-approval: t was not there yet; {again}"
    assert asked(of, 390, "t") == (
        f"stale-approval: t was at aaaaaaaaaaaa, and is at bbbbbbbbbbbb now; {again}"
    )
    assert asked(of, 420, "t") == f"stale-approval: t changed while that was asked; {again}"
    assert asked(of, 460, "t") == "t may be merged as bbbbbbbbbbbb"
    assert asked(of, 390, "t", sha=B) == "t may be merged as bbbbbbbbbbbb"
    assert asked(of, 460, "t", sha=A[:12]).startswith("stale-approval: t is at bbbbbbbbbbbb now")


def test_an_approval_from_a_forge_is_of_the_text_that_was_seen() -> None:
    revised: dict[str, Any] = {"revised_at": 400.0, "revised_from": A, "commit": B, "revision": 2}
    of = snapshot(
        plan_of({"id": "t", "approval": ["task"]}, approval=["plan"]), accepted_at=100, **revised
    )
    told = (
        "plan demo was at aaaaaaaaaaaa, and is at bbbbbbbbbbbb now; look again, then: approve demo"
    )
    assert asked(of, 390) == f"stale-approval: {told} --sha bbbbbbbbbbbb"
    assert asked(of, 390, "t") == f"stale-approval: {told}/t"
    assert asked(of, 460) == "plan demo v2 is approved"
    assert asked(of, 460, "t") == "t may start"
    first = snapshot(plan_of({"id": "t"}, approval=["plan"]), accepted_at=100)
    assert asked(first, 101) == "plan demo v1 is approved"
