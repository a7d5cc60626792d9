"""What is asked of the forge about somebody, and what becomes of it when the forge does not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest

from gitflow_agents import owners
from gitflow_agents.commands import KINDS, Act, Refused
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused
from gitflow_agents.models import Attempt, Config
from gitflow_agents.permission import Rules
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.permitting import Permitting
from tests.test_scheduler import plan_of, snapshot

DONE = Attempt(number=1, report="a" * 40)


@dataclass
class People:
    """The part of a forge that knows people; it keeps what it was asked."""

    levels: dict[str, str] = field(default_factory=dict)
    teams: dict[str, tuple[str, ...]] = field(default_factory=dict)
    wrote: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fails: Exception | None = None
    asked: list[str] = field(default_factory=list)
    host: str = "git.example.com"

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.fails is not None:
            raise self.fails

    def level(self, login: str, id: int) -> str:
        """Return what somebody may do."""
        self._ask(f"level of {login}")
        return self.levels.get(f"{login}/{id}", "")

    def is_in_team(self, team: str, login: str) -> bool:
        """Say whether somebody is in a team."""
        self._ask(f"{login} in {team}")
        return login in self.teams.get(team, ())

    def authors(self, sha: str, since: str = "") -> tuple[str, ...]:
        """Return who wrote something."""
        self._ask(f"authors of {sha[:5]} since {since or 'ever'}")
        return self.wrote.get(sha, ())


def permitting(people: People, text: str = "", **config: Any) -> Permitting:
    return Permitting(cast(Forge, people), Rules(Config.model_validate(config), owners.read(text)))


def plan(**about: Any) -> Snapshot:
    of = plan_of({"id": "t", "approval": ["merge"], **about})
    return snapshot(of, "r", records={"t": {"attempts": (DONE,)}})


def approve() -> Act:
    return KINDS["approve"].model_construct(targets=("t",), verb="approve")


def answer(asks: Permitting, login: str, command: Act, of: Snapshot, **more: Any) -> str:
    """Return with which code somebody's command is refused, `yes` where it is not."""
    try:
        asks.permit(command, asks.asker(login, 7, **more), of)
    except Refused as e:
        return e.reason_code
    return "yes"


def test_each_thing_is_asked_once_and_only_where_it_matters() -> None:
    people = People({"bob/7": "maintain", "carol/7": "write"})
    asks, of = permitting(people, allow_users=["shop/core"]), plan()
    assert answer(asks, "bob", approve(), of) == "yes"
    first = ["level of bob", "authors of plan1 since ever", "authors of aaaaa since flow1"]
    assert people.asked == first
    assert answer(asks, "bob", approve(), of) == "yes"
    assert answer(asks, "carol", KINDS["hold"](), of) == "yes"
    assert people.asked == [*first, "level of carol"]
    assert answer(asks, "eve", KINDS["hold"](), of) == "not-allowed"
    assert people.asked[-2:] == ["level of eve", "eve in shop/core"]


def test_nobody_is_asked_for_who_is_refused_anyhow() -> None:
    people = People({"bob/7": "admin"})
    asks, of = permitting(people, allow_users=["shop/core"]), plan()
    hold = KINDS["hold"]()
    assert answer(asks, "bob", hold, of, is_own=True) == "not-allowed"
    assert answer(asks, "bob", hold, of, from_fork=True) == "fork"
    assert answer(asks, "other[bot]", hold, of, is_bot=True) == "not-allowed"
    assert people.asked == []


def test_a_team_lets_its_members_in() -> None:
    people = People(
        {"bob/7": "write", "carol/7": "write"}, {"shop/core": ("bob",), "shop/friends": ("eve",)}
    )
    asks = permitting(people, "* @Shop/Core\n", allow_users=["shop/friends"])
    of = plan(approvers=["codeowners"], files=["a.py"])
    said = {who: answer(asks, who, approve(), of) for who in ("bob", "carol", "eve")}
    assert said == {"bob": "yes", "carol": "not-allowed", "eve": "not-allowed"}
    assert answer(asks, "eve", KINDS["hold"](), of) == "yes"


def test_whoever_had_a_hand_in_it_does_not_approve_it() -> None:
    def account(login: str) -> str:
        return f"{login} <7+{login}@users.noreply.git.example.com>"

    people = People({f"{who}/7": "admin" for who in ("alice", "bob", "carol", "dave")})
    of, all_ = plan(), ("alice", "bob", "carol", "dave")
    hands: list[tuple[dict[str, tuple[str, ...]], str]] = [
        ({"plan1": (account("x"),)}, ""),
        ({"a" * 40: (account("x"),)}, ""),
        ({}, account("x")),
    ]
    for wrote, starter in hands:
        asks = permitting(people)
        people.wrote, asks.starters = wrote, partial(frozenset, {starter} - {""})
        # All of them have the number 7: it is by that, not by the name, that one is known.
        assert {answer(asks, who, approve(), of) for who in all_} == {"self-approval"}
        alone = permitting(people, allow_self_approval=True)
        assert answer(alone, "alice", approve(), of) == "yes"
    people.wrote = {}
    assert answer(permitting(people), "alice", approve(), of) == "yes"


@pytest.mark.parametrize(
    "error", [ForgeRefused("GitHub answered 403: no", status=403), ForgeDown("GitHub is down")]
)
def test_where_the_forge_does_not_say_it_nothing_is_allowed(error: Exception) -> None:
    people = People({"bob/7": "admin", "eve/7": "read"}, fails=error)
    asks, of = permitting(people, allow_users=["shop/core"]), plan()
    assert answer(asks, "bob", KINDS["hold"](), of) == "permission-check-failed"
    people.fails = None
    known = [asks.asker(login, 7) for login in ("bob", "eve")]
    people.fails = error
    for who, command in zip(known, (approve(), KINDS["hold"]()), strict=True):
        with pytest.raises(Refused) as refused:
            asks.permit(command, who, of)
        assert (refused.value.reason_code, refused.value.message, refused.value.hint) == (
            "permission-check-failed",
            str(error),
            "nothing was done; send it again",
        )


def test_whether_somebody_could_start_what_they_propose_is_asked_and_fails_closed() -> None:
    people = People({"bob/7": "write", "carol/7": "read"}, {"shop/core": ("carol",)})
    asks = permitting(people)
    found = [asks.doubt(login, 7) for login in ("", "bob", "carol")]
    assert found == ["", "", "carol proposed it, and `/start` takes write"]
    asks = permitting(people, allow_users=["shop/core"])
    assert [asks.doubt(login, 7) for login in ("carol", "eve")] == [
        "",
        "eve proposed it, and `/start` takes write",
    ]
    people.fails = ForgeDown("GitHub is down")
    assert asks.doubt("dave", 7) == "whether dave may start it is not known: GitHub is down"
