"""Whatever people, plans and accidents do: nothing is written twice, and nobody's edit is lost.

A story is a list of steps, each one thing that somebody does: the plan goes on, a person changes a
card, a sync is refused or dies in the middle, what was remembered is lost.  After every sync each
edit of a person is still there or was reported, and in the end one clean sync leads to the board
that the plan wants, but for what the report names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents.board.cards import marked
from gitflow_agents.board.changes import changes, stale
from gitflow_agents.board.memory import Placed
from gitflow_agents.models import Plan, Reason, Status, TaskRecord
from tests.wall import PLAN, Desk, Wall, made, ran, shown, snapshot

S = Status
TASKS = [task["id"] for task in PLAN["tasks"]]
STANDINGS: dict[str, dict[str, Any]] = {
    "new": {},
    "runs": {"status": S.IN_PROGRESS, "attempts": (ran(),)},
    "failed": {
        "status": S.FAILED,
        "reason": Reason.TIMEOUT,
        "attempts": (ran(1, "failed", reason=Reason.TIMEOUT),),
    },
    "again": {"status": S.IN_PROGRESS, "attempts": (ran(1, "failed"), ran(2, cost_usd=0.5))},
    "done": {"status": S.COMPLETED, "attempts": (ran(1, "succeeded", cost_usd=0.25),)},
    "skipped": {"status": S.CANCELLED, "reason": Reason.SKIPPED},
}
VALUES: dict[str, tuple[Any, ...]] = {
    "Status": ("Parked",),
    "Plan": ("mine", "hers"),
    "Cost": (77.0, 78.5),
    "Started": ("1999-01-01",),
    "Test Strategy": ("by hand",),
}
"""What people write: never what the tool would."""


@dataclass
class Story:
    """A board, who syncs it, and what people made of it since the last sync."""

    desk: Desk = field(default_factory=lambda: Desk(Wall(shown()), snapshot()))
    standing: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    edits: dict[tuple[str, str], Any] = field(default_factory=dict)
    """By card and field what a person wrote there last."""

    def news(self, task: str, standing: str) -> None:
        self.standing[task] = standing
        self._look()

    def drop(self, task: str) -> None:
        self.gone ^= {task}
        self._look()

    def _look(self) -> None:
        tasks = [task for task in PLAN["tasks"] if task["id"] not in self.gone]
        if any(set(task.get("depends_on", ())) & self.gone for task in tasks) or not tasks:
            tasks = PLAN["tasks"]  # such a plan would not be accepted
        ids = {task["id"] for task in tasks}
        records = [
            TaskRecord(id=task, **STANDINGS[how])
            for task, how in self.standing.items()
            if task in ids
        ]
        self.desk.seen = snapshot({**PLAN, "tasks": tasks}, *records)

    def edit(self, task: str, name: str, value: Any) -> None:
        if item := self._item(task):
            self.desk.edit(task, name, value)
            self.edits[item, name] = value

    def retitle(self, task: str) -> None:
        if item := self._item(task):
            self.desk.change(task, title="Mine")
            self.edits[item, "title"] = "Mine"

    def rewrite(self, task: str) -> None:
        if item := self._item(task):
            body = self.desk.card(task).body
            self.desk.change(task, body=f"{body}\nand more")
            self.edits[item, "body"] = self.desk.card(task).body

    def put_away(self, task: str, away: bool) -> None:
        if item := self._item(task):
            self.desk.change(task, is_archived=away)
            self.edits[item, "archived"] = away

    def take_off(self, task: str) -> None:
        if item := self._item(task):
            del self.desk.wall.items[item]
            self.edits = {at: value for at, value in self.edits.items() if at[0] != item}
            self.edits[item, "card"] = None

    def forget(self) -> None:
        self.desk.memory, self.desk.is_read = {}, False
        # Without a memory nobody knows of a card that is not there any more.
        self.edits = {at: value for at, value in self.edits.items() if at[1] != "card"}

    def sync(self, full: bool, refuse: set[int], dies: int | None) -> None:
        wall = self.desk.wall
        before = wall.writes
        wall.refuse, wall.die_after = {before + number for number in refuse}, dies
        owners = {one.item: task for task, one in self.desk.memory.items()}
        with suppress(ConnectionError):
            self.desk.sync(full=full)
        wall.refuse, wall.die_after = set(), None
        owners |= {one.item: task for task, one in self.desk.memory.items()}
        self._nothing_is_lost(owners)

    def _nothing_is_lost(self, owners: dict[str, str]) -> None:
        for (item, name), value in [*self.edits.items()]:
            task = owners.get(item, "")
            told = [one for one in self.desk.drift if (one.task, one.field) == (task, name)]
            if self._shows(item, name) == value:
                continue
            is_ours = name == "archived" and value == self._was_ours(task)
            assert is_ours or any(one.replaced for one in told), (task, name, value)
            del self.edits[item, name]

    def _was_ours(self, task: str) -> bool:
        """A card that is put back to where it was before is as we told it."""
        return not self.desk.cards[task].is_archived

    def _shows(self, item: str, name: str) -> Any:
        there = self.desk.wall.items.get(item)
        if name == "card" or there is None:
            return None
        special = {"title": there.title, "body": there.body, "archived": there.is_archived}
        return special[name] if name in special else there.values.get(f"f-{name}")

    def _item(self, task: str) -> str:
        """Return the card of a task on which a person can act."""
        known = self.desk.memory.get(task, Placed()).item
        return known if known in self.desk.wall.items else ""


def steps() -> st.SearchStrategy[list[Callable[[Story], None]]]:
    """Return stories: what happens, in order."""
    task = st.sampled_from(TASKS)
    name = st.sampled_from(sorted(VALUES))
    edit = name.flatmap(lambda one: st.tuples(st.just(one), st.sampled_from(VALUES[one])))
    refused = st.sets(st.integers(1, 12), max_size=3)
    syncs = st.tuples(st.booleans(), refused, st.none() | st.integers(0, 20))
    return st.lists(
        st.one_of(
            st.tuples(st.just(Story.news), st.tuples(task, st.sampled_from([*STANDINGS]))),
            st.tuples(st.just(Story.drop), st.tuples(task)),
            st.tuples(st.just(Story.edit), st.tuples(task, edit).map(lambda t: (t[0], *t[1]))),
            st.tuples(st.just(Story.retitle), st.tuples(task)),
            st.tuples(st.just(Story.rewrite), st.tuples(task)),
            st.tuples(st.just(Story.put_away), st.tuples(task, st.booleans())),
            st.tuples(st.just(Story.take_off), st.tuples(task)),
            st.tuples(st.just(Story.forget), st.just(())),
            st.tuples(st.just(Story.sync), syncs),
            st.tuples(st.just(Story.sync), syncs),
        ),
        max_size=25,
    )


@given(steps())
def test_no_edit_is_lost_and_one_clean_sync_ends_in_the_board_that_is_wanted(story: Any) -> None:
    it = Story()
    it.sync(True, set(), None)
    for step, how in story:
        step(it, *how)
    it.sync(True, set(), None)
    desk, wall = it.desk, it.desk.wall
    kept = {(one.task, one.field) for one in desk.drift if not one.replaced}
    for task, card in desk.cards.items():
        if (task, "card") in kept or (card.is_archived and not it._item(task)):
            continue
        item = desk.card(task)
        assert item.is_archived == card.is_archived or (task, "archived") in kept
        if card.title and not item.is_archived:
            assert item.title == card.title or (task, "title") in kept
            for name, value in card.values.items():
                assert desk.shows(task, name) == value or (task, name) in kept, (task, name)
    owners = [marked(item.body) for item in wall.items.values()]
    assert len(owners) == len(set(owners)), "a card was made twice"
    assert stale(desk.cards, desk.memory) in ((), _away(it))
    before = dict(wall.items)
    desk.sync()
    assert wall.items == before
    there = {task for task in desk.cards if it._item(task) and not desk.card(task).is_archived}
    again = {(one.task, one.field) for one in desk.drift}
    assert {one for one in again if one[0] in there} == {one for one in kept if one[0] in there}
    desk.sync(overwrite=True)
    assert (desk.sync(overwrite=True), desk.drift) == (0, [])


def _away(it: Story) -> tuple[str, ...]:
    """Return the cards that a person put away, for which there is news."""
    away = [task for task in it.desk.cards if it._item(task) and it.desk.card(task).is_archived]
    return tuple(task for task in stale(it.desk.cards, it.desk.memory) if task in away)


class Counted(dict[str, Any]):
    """A mapping that counts how often anything is looked up in it."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)


def test_each_card_is_looked_up_once_however_many_there_are() -> None:
    looks = {}
    for many in (100, 1000):
        tasks = [{"id": f"t{n}", "title": f"Task {n}", "run": "true"} for n in range(many)]
        seen = snapshot(Plan.model_validate({"plan": "auth", "goal": "g", "tasks": tasks}))
        wall = Wall(shown())
        wanted = made(seen, wall.how)
        memory, items = Counted(), Counted()
        found = changes(wanted, memory, items, wall.layout(), lambda task: {})
        assert len(found.writes) == many
        looks[many] = memory.looks, items.looks, len(stale(wanted, Counted(found.placed)))
    assert looks == {100: (100, 100, 100), 1000: (1000, 1000, 1000)}
