"""A board in memory, and who syncs a plan to it, for tests of what is decided.

`Wall` is a board that refuses what a real one refuses; what people do to it are assignments.
`Desk` does what a sync does with the decisions, in the simplest way that keeps the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gitflow_agents.board.cards import Card, cards, former
from gitflow_agents.board.changes import Changes, Drift, adopted, after, changes, stale
from gitflow_agents.board.memory import Placed
from gitflow_agents.board.shown import FIELDS, Layout, Shown, layout, shown_of
from gitflow_agents.board.terms import (
    AddContent,
    AddDraft,
    Archive,
    ClearValue,
    EditDraft,
    Field,
    Item,
    Option,
    Project,
    SetValue,
    Write,
    Wrote,
)
from gitflow_agents.graph import Graph
from gitflow_agents.models import Attempt, Config, Plan, PlanState, TaskRecord
from gitflow_agents.roles import Role
from gitflow_agents.scheduler import Snapshot

BEGAN = 1767323045.0
"""2026-01-02T03:04:05Z"""
PLAN: Mapping[str, Any] = {
    "plan": "auth",
    "goal": "Sign people in",
    "defaults": {"agent": "claude", "verify": ["pytest -q"]},
    "tasks": [
        {
            "id": "001",
            "title": "User model",
            "description": "A user has a name.\nAsk @alice.",
            "provides": ["User"],
            "files": ["models/user.py"],
            "acceptance": ["the hash is never logged"],
            "estimated_time": "8 minutes",
            "priority": "high",
        },
        {"id": "002", "title": "Sign in", "preconditions": ["User"], "agent": "codex"},
        {"id": "003", "title": "Sign out", "depends_on": ["001", "002"], "verify": []},
    ],
}
ROLES = {"review": Role(description="judges", may_change=()), "code": Role(description="writes")}


def snapshot(plan: Mapping[str, Any] | Plan = PLAN, *records: TaskRecord) -> Snapshot:
    read = plan if isinstance(plan, Plan) else Plan.model_validate(plan)
    state = PlanState(
        plan=read.plan,
        commit="c" * 40,
        digest="d" * 40,
        base="main",
        base_sha="b" * 40,
        flow="flow/auth",
        flow_sha="f" * 40,
        accepting="a" * 40,
        accepted_at=BEGAN,
    )
    known = {record.id: record for record in records}
    return Snapshot(read, Graph.of(read), state, "t", "t", known)


def shown(**projects: Any) -> Shown:
    config = Config.model_validate({"projects": {"plans": {"*": 3}, **projects}})
    found = shown_of(config, "auth")
    assert found is not None
    return found


def run_url(number: int) -> str:
    return f"https://forge.test/runs/{number}"


def made(seen: Snapshot, how: Shown | None = None, **more: Any) -> dict[str, Card]:
    return cards(seen, how or shown(), url_of_run=run_url, **more)


def ran(number: int = 1, outcome: Any = "running", **more: Any) -> Attempt:
    began = BEGAN + 100 * number
    ended = None if outcome == "running" else began + 60
    return Attempt(
        number=number, agent="claude", outcome=outcome, started_at=began, ended_at=ended, **more
    )


# --- a board --------------------------------------------------------------------------------------


def field_of(name: str, how: Shown) -> Field:
    """Return a field as a board has it that was made for a plan."""
    options = (Option(one, f"o-{one}") for one in (*how.options(name), "Parked"))
    is_choice = FIELDS[name] == "SINGLE_SELECT"
    return Field(f"f-{name}", how.names[name], FIELDS[name], tuple(options) if is_choice else ())


@dataclass
class Wall:
    """A board in memory."""

    how: Shown
    items: dict[str, Item] = field(default_factory=dict)
    fields: list[Field] = field(default_factory=list)
    writes: int = 0
    refuse: set[int] = field(default_factory=set)
    """The writes that are refused, by their number."""
    die_after: int | None = None
    """How many more writes are done before nobody hears what became of them."""

    def __post_init__(self) -> None:
        self.fields = [field_of(name, self.how) for name in self.how.names]

    @property
    def project(self) -> Project:
        return Project("P", 3, "Board", "https://forge.test/3", tuple(self.fields))

    def layout(self, known: Mapping[str, str] = {}) -> Layout:
        return layout(self.project, self.how, known)

    def write(self, writes: Sequence[Write]) -> list[Wrote]:
        results = []
        for write in writes:
            if self.die_after == 0:
                self.die_after = None
                raise ConnectionError
            self.die_after = self.die_after and self.die_after - 1
            self.writes += 1
            if self.writes in self.refuse:
                results.append(Wrote(refused="not today"))
            else:
                results.append(self._do(write))
        return results

    def _do(self, write: Write) -> Wrote:
        match write:
            case AddDraft(title=title, body=body):
                name = f"i{self.writes}"
                self.items[name] = Item(name, f"d-{name}", True, title, body)
                return Wrote(name, f"d-{name}")
            case AddContent(content=content):
                name = f"i{self.writes}"
                self.items[name] = Item(name, content, False, "its issue")
                return Wrote(name, content)
            case EditDraft(content=content, title=title, body=body):
                (item,) = (one for one in self.items.values() if one.content == content)
                self.items[item.id] = replace(item, title=title, body=body)
            case Archive(item=name, back=back):
                assert self.items[name].is_archived is back
                self.items[name] = replace(self.items[name], is_archived=not back)
            case SetValue(item=name, field=node, value=value):
                return self._change(name, {node: self._chosen(node, value)}, frozenset())
            case ClearValue(item=name, field=node):
                return self._change(name, {}, frozenset({node}))
            case _:
                raise AssertionError(write)
        return Wrote()

    def _chosen(self, node: str, value: Any) -> Any:
        (there,) = (one for one in self.fields if one.id == node)
        if there.kind != "SINGLE_SELECT":
            return value
        (name,) = (option.name for option in there.options if option.id == value)
        return name

    def _change(self, name: str, values: Mapping[str, Any], without: frozenset[str]) -> Wrote:
        item = self.items[name]
        if item.is_archived:
            return Wrote(refused="The item is archived and cannot be updated")
        kept = {node: value for node, value in item.values.items() if node not in without}
        self.items[name] = replace(item, values={**kept, **values})
        return Wrote()


@dataclass
class Desk:
    """Who syncs a plan to a wall."""

    wall: Wall
    seen: Snapshot
    memory: dict[str, Placed] = field(default_factory=dict)
    is_read: bool = False
    contents: Mapping[str, str] = field(default_factory=dict)
    drift: list[Drift] = field(default_factory=list)
    """What was reported since somebody cleared it."""
    waiting: tuple[str, ...] = ()

    @property
    def cards(self) -> dict[str, Card]:
        more = {"contents": self.contents, "roles": ROLES, "known": self.memory}
        return made(self.seen, self.wall.how, **more)

    def sync(
        self, *, full: bool = True, overwrite: bool = False, by_title: bool | None = None
    ) -> int:
        """Bring the board there and return how much was written."""
        there, before = self.wall.layout(), self.wall.writes
        self._adopt(there, by_title)
        self.drift.clear()
        for turn in range(4):
            wanted = self.cards
            tasks = tuple(wanted) if full and not turn else stale(wanted, self.memory)
            found = self._changes(wanted, tasks, there, overwrite)
            self.memory |= found.placed
            self.drift += found.drift if not turn else ()
            if not found.writes:
                break
            for task, writes in found.writes.items():
                results = self.wall.write(writes)
                self.memory[task] = after(self.memory[task], writes, results, there)
        return self.wall.writes - before

    def _adopt(self, there: Layout, by_title: bool | None) -> None:
        lost = {task for task, one in self.memory.items() if one.telling and not one.item}
        if self.is_read and not lost:
            return
        found, self.waiting = adopted(
            self.cards, self.wall.items.values(), there, self.wall.how, by_title=by_title
        )
        for task, item in found.items():
            known = self.memory.get(task, Placed())
            if not known.item:
                self.memory[task] = known.model_copy(update={"item": item.id})
        self.is_read = True

    def _changes(
        self, wanted: Mapping[str, Card], tasks: Sequence[str], there: Layout, overwrite: bool
    ) -> Changes:
        asked = {task: wanted[task] for task in tasks}
        nodes = {task: self.memory[task].item for task in tasks if task in self.memory}
        items = {
            task: self.wall.items[node] for task, node in nodes.items() if node in self.wall.items
        }
        return changes(
            asked,
            self.memory,
            items,
            there,
            lambda task: former(self.seen, self.wall.how, task, ROLES),
            waiting=self.waiting,
            overwrite=overwrite,
        )

    def card(self, task: str) -> Item:
        return self.wall.items[self.memory[task].item]

    def shows(self, task: str, name: str) -> Any:
        return self.card(task).values.get(f"f-{name}")

    def edit(self, task: str, name: str, value: Any) -> None:
        self.change(task, values={**self.card(task).values, f"f-{name}": value})

    def change(self, task: str, **what: Any) -> None:
        item = self.card(task)
        self.wall.items[item.id] = replace(item, **what)
