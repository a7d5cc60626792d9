"""A board that people edit between any two steps, on a bad day, ends as the plan has it.

Start with Drill: one plan in real git, one project of the fake GitHub, and who keeps them in step;
every request and every commit of it is a place where it may die.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from gitflow_agents.board.cards import marked, marker
from gitflow_agents.board.changes import BODY, CARD, PUT_AWAY, Drift
from gitflow_agents.board.memory import Placed
from gitflow_agents.board.report import Report
from gitflow_agents.board.shown import FIELDS, Shown
from gitflow_agents.board.terms import Item, SetValue
from gitflow_agents.commands import Act, Hold, Refused, Resume, Retry, Skip
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import ForgeDown, ForgeRefused
from gitflow_agents.github.client import GitHub
from gitflow_agents.github.projects import Projects, _item
from gitflow_agents.models import Tracked
from gitflow_agents.service import Service
from gitflow_agents.service.boardnotes import LEASE_SECONDS
from gitflow_agents.service.syncing import Asked, Syncing
from gitflow_agents.store import Draft, boards
from tests import engine
from tests.forge import Card, Hub, Repository, Token, ask
from tests.forge.graph import answer
from tests.forge.published import SDL, require
from tests.repos import Repo

NAMES = ("TM_ID", "Status", "Priority", "Dependencies", "Plan", "Wave", "Reason")
"""Our fields that are kept here."""
EXTRA = "On hold"
"""A choice of Status that only people make."""


class Killed(BaseException):
    """The process is gone: nothing of it happens any more."""


@dataclass
class Life:
    """How many requests and commits a process still does, and whether the last one is half done."""

    left: int = 10**9
    is_half: bool = False
    """Whether it dies with the last one done and nobody told, and not before it."""

    @contextmanager
    def step(self) -> Iterator[None]:
        """Do one step, or die."""
        self.left -= 1
        if self.left < 0 or (self.left == 0 and not self.is_half):
            self.left = 0
            raise Killed
        yield
        if self.left == 0:
            raise Killed


class Direct:
    """Asks the fake without a wire between, as `GitHub.graph` does; some answers get lost."""

    repository, host = "alice/shop", "github.com"

    def __init__(self, hub: Hub, by: Token) -> None:
        """Ask a hub with a token; what it was asked is in `sent`."""
        self._hub, self._by, self.token = hub, by, by.text
        self.life, self.trouble = Life(), ""
        self.sent: list[dict[str, Any]] = []
        self.look: Callable[[int], None] = lambda asked: None

    def graph(
        self, document: str, variables: Mapping[str, Any], what: str, *, once: bool = False
    ) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
        """Return data and errors."""
        trouble = self.trouble if document.startswith("mutation") or "all" in self.trouble else ""
        with self.life.step():
            if trouble:
                self.trouble = ""
            if "down" in trouble:
                raise ForgeDown(what)
            sent = {"query": document, "variables": dict(variables)}
            self.sent.append(sent)
            self.look(len(self.sent))
            said = answer(self._hub, self._by, sent)
            if "lost" in trouble:
                raise ForgeDown(what)
        return said.get("data") or {}, tuple(said.get("errors", ()))


@dataclass
class Drill:
    """One plan and its board, and what people did to it."""

    hub: Hub
    repo: Repo
    ahead: float = 0.0
    """Seconds by which its clock is ahead."""
    edits: dict[tuple[str, str], Any] = field(default_factory=dict)
    """What a person made of a card last, by task and field, since nobody was told of it."""
    reports: list[Drift] = field(default_factory=list)
    """What was reported."""
    has_forgotten: bool = False
    """Whether nothing was remembered once: who put a card away before nobody knows."""
    is_seen: bool = False
    """Whether its fields are known, so that one can have another name."""

    def __post_init__(self) -> None:
        """Make a plan that waits for an approval, and a board that can show it."""
        self.service = Service(str(self.repo.path), clock=lambda: time.time() + self.ahead)
        self.hub.organisation("acme", "alice")
        own: dict[str, Any] = {name: FIELDS[name] for name in NAMES if name != "Status"}
        own["Priority"] = ["high", "medium", "low"]
        self.board = self.hub.project("acme", fields=own)
        self.board.choose_from("Status", ["Todo", "pending", "in-progress", "done", EXTRA])
        self.by = self.hub.person("alice", scopes=("project",))
        self.asked = Direct(self.hub, self.by)
        self.shown = Shown(
            "p", owner="acme", number=self.board.number, names={one: one for one in NAMES}
        )
        self.nodes = {one.name: one.id for one in self.board.fields}

    # --- the tool

    def syncing(self) -> Syncing:
        """Return a process that keeps the board."""
        snapshot = self.service.store.load("p")
        assert snapshot is not None
        desk = self.service.desk(snapshot, lambda told: None)
        keep = desk.store.commit

        def commit(draft: Draft) -> Any:
            with self.asked.life.step():
                return keep(draft)

        desk.store.commit = commit  # type: ignore[method-assign]
        board = Projects(cast(GitHub, self.asked), "acme", self.board.number)
        return Syncing(desk, self.shown, board, url_of_run=str)

    def sync(self, *, dies_after: int | None = None, is_half: bool = False, **asked: Any) -> Report:
        """Bring the board in step, or die on the way; ForgeDown as it is said."""
        self.asked.life = Life() if dies_after is None else Life(dies_after, is_half)
        syncing = self.syncing()
        try:
            came = syncing.go(Asked(**asked))
        finally:
            del syncing.desk.store.commit
            self.asked.life = Life()
        self.reports += came.drift
        self.is_seen = True
        return came

    def act(self, command: Act) -> None:
        """Give a command, which may be refused."""
        with suppress(Refused):
            self.service.handle(command, "p")

    def forget(self) -> None:
        """Take what is remembered of the board away."""
        self.has_forgotten = True
        desk = self.syncing().desk
        del desk.store.commit
        tree = desk.store.repository.find(desk.snapshot.tree, "board")
        if tree is not None:
            draft = Draft(desk.snapshot)
            names = desk.store.repository.tree(tree.sha)
            draft.files.update(dict.fromkeys((f"board/{name}" for name in names), None))
            draft.tell("board_noted", note="nothing is remembered")
            desk.store.commit(draft)

    def track(self) -> Repository:
        """Give each task an issue, which its card is of from now on."""
        store = self.hub.repository("acme/store", self.repo)
        store.people["alice"], self.by.scopes = "write", ("repo", "project")
        desk = self.syncing().desk
        del desk.store.commit
        draft = Draft(desk.snapshot)
        for task in desk.snapshot.plan.tasks:
            said = ask(self.hub, self.by, "POST /repos/acme/store/issues", {"title": task.title})
            number, node = int(said.value["number"]), str(said.value["node_id"])
            draft.track(task.id, Tracked(number=number, node=node))
        draft.tell("issues_noted", note="each task has an issue")
        desk.store.commit(draft)
        return store

    # --- what there is

    def placed(self, task: str) -> Placed:
        """Return what is remembered of a card."""
        snapshot = self.service.store.load("p")
        assert snapshot is not None
        known = boards.read(self.service.store.repository, snapshot.tree).cards
        return known.get(task, Placed())

    def cards(self) -> dict[str, list[Card]]:
        """Return the cards of each task, by the marker in their text."""
        found: dict[str, list[Card]] = {}
        for card in self.board.cards.values():
            said = marked(card.body)
            if said is not None:
                found.setdefault(said[1], []).append(card)
        return found

    def field(self, name: str) -> str:
        """Return the name that one of our fields has by now."""
        return next(one.name for one in self.board.fields if one.id == self.nodes[name])

    def shows(self, card: Card, name: str) -> Any:
        """Return what a card shows in one of our fields."""
        if name == PUT_AWAY:
            return card.is_archived
        return self.board.values(card).get(self.field(name), "")

    def settle(self) -> None:
        """Let time go by and sync once, cleanly; then everything has to be as it is to be."""
        self.ahead += LEASE_SECONDS + 1
        self.asked.trouble = ""
        self.hub.heal()
        last = self.sync(is_full=True)
        assert (last.failed, last.left, last.waiting) == ({}, "", ())
        kept = {(one.task, one.field): one.theirs for one in last.drift if not one.replaced}
        replaced = {(one.task, one.field, one.theirs) for one in self.reports if one.replaced}
        noted = self.repo.git("log", "--format=%B", "gitflow/state/p")
        cards = self.cards()
        assert {task: len(some) for task, some in cards.items() if len(some) > 1} == {}
        for task, card in self.syncing().wanted().items():
            if task not in cards:
                assert card.is_archived or (task, CARD) in kept, f"{task} has no card"
                continue
            (there,) = cards[task]
            wanted: dict[str, Any] = {} if card.is_archived else dict(card.values)
            wanted[PUT_AWAY] = card.is_archived
            if (task, PUT_AWAY) in kept:  # nothing is told to a card that a person put away
                wanted = {}
            for name, want in wanted.items():
                shows = self.shows(there, name)
                is_there = not lacks(last, name)
                if shows != ("" if want is None else want) and is_there:
                    assert (task, name) in kept, f"{task} shows {name}: {shows}, not {want}"
        for key, words in kept.items():
            if key[1] not in (CARD, BODY):
                assert words == _words(self.edits.get(key)), f"nobody made {key} {words}"
        for (task, name), theirs in self.edits.items():
            if lacks(last, name):
                continue  # it has another name, and nobody remembers that it is ours
            if name == PUT_AWAY and self.has_forgotten:
                continue  # so is a card that was put away before, by whom nobody knows
            if task in cards and self.shows(cards[task][0], name) != theirs:
                is_told = (task, name, _words(theirs)) in replaced
                # Who died could not say so, but what is replaced is in git before it is.
                is_told |= f"{task} {name}: {_words(theirs)}" in noted
                assert is_told, f"{task}: {name} {theirs} is lost"
        before = self.snapshot()
        again = self.sync(is_full=True)
        assert (again.writes, again.requests) == ({}, 1 + (len(cards) > 100))
        assert self.snapshot() == before
        assert self.sync().requests == 0

    def snapshot(self) -> list[Any]:
        """Return all that the board shows."""
        return [
            (card.id, card.title, card.body, card.is_archived, self.board.values(card))
            for card in self.board.cards.values()
        ]


def lacks(report: Report, name: str) -> bool:
    """Say whether a report says that the board has no field of a name."""
    return any(one.startswith("the board") and f"`{name}`" in one for one in report.missing)


def _words(value: Any) -> str:
    """Return how a report names a value."""
    if isinstance(value, bool):
        return "archived" if value else "on the board"
    return str(int(value)) if isinstance(value, float) else str(value)


# --- what may happen ------------------------------------------------------------------------------


def _edit(drill: Drill, dice: random.Random) -> None:
    """Let a person do something to a card."""
    cards = drill.cards()
    if not cards:
        return
    task = dice.choice(sorted(cards))
    card = dice.choice(cards[task])
    what = dice.choice(
        ["Status", "Reason", "Wave", "Priority", "archive", "move", "delete", "body"]
    )
    if what == "archive":
        known = drill.placed(task)
        if PUT_AWAY in known.telling:
            return  # who puts back what an unfinished write has changed cannot be told from none
        card.is_archived = not card.is_archived
        drill.edits[task, PUT_AWAY] = card.is_archived
        if known.told.get(PUT_AWAY) == card.is_archived:
            del drill.edits[task, PUT_AWAY]  # it was only put back
    elif what == "move":
        drill.board.move(card)
    elif what == "body":
        drill.board.edit(card, body=f"by hand {dice.random()}\n\n{marker('p', task)}")
    elif what == "delete":
        if dice.random() < 0.3:
            drill.board.delete(card)
            drill.edits = {key: one for key, one in drill.edits.items() if key[0] != task}
    elif not card.is_archived:
        name = drill.field(what)
        values: dict[str, Any] = {"Status": EXTRA, "Reason": f"by hand {dice.random()}"}
        values |= {"Wave": float(dice.randint(50, 99)), "Priority": "low"}
        drill.board.set(card, name, values[what])
        drill.edits[task, what] = values[what]


def _change(drill: Drill, dice: random.Random) -> None:
    """Let the plan change."""
    snapshot = drill.service.store.load("p")
    assert snapshot is not None
    tasks = [one.id for one in snapshot.plan.tasks]
    task = dice.choice(tasks)
    kind = dice.choice(["skip", "retry", "hold", "resume"])
    commands: dict[str, Act] = {
        "skip": Skip(targets=(task,), reason=f"because {dice.randint(0, 9)}"),
        "retry": Retry(targets=(task,)),
        "hold": Hold(targets=(task,)),
        "resume": Resume(targets=(task,)),
    }
    drill.act(commands[kind])


def _die(drill: Drill, dice: random.Random) -> None:
    """Let a sync die anywhere."""
    with suppress(Killed, FlowError):
        is_full = dice.random() < 0.3
        drill.sync(dies_after=dice.randint(1, 8), is_half=dice.random() < 0.5, is_full=is_full)


def _fail(drill: Drill, dice: random.Random) -> None:
    """Let a sync meet a forge that is down, loses an answer, or refuses one write."""
    kind = dice.choice(["down", "lost", "down all", "lost all", "part"])
    if kind == "part":
        drill.hub.refuse(f"GRAPHQL w{dice.randint(0, 3)} *", 422, message="not today")
    else:
        drill.asked.trouble = kind
    with suppress(FlowError):
        drill.sync()
    drill.asked.trouble = ""
    drill.hub.heal()


def _pass(drill: Drill, dice: random.Random) -> None:
    with suppress(FlowError):
        drill.sync(is_full=dice.random() < 0.3)


def _wait(drill: Drill, dice: random.Random) -> None:
    drill.ahead += dice.choice([30.0, LEASE_SECONDS + 1])


def _rename(drill: Drill, dice: random.Random) -> None:
    name = dice.choice(["Reason", "Plan"]) if drill.is_seen else "TM_ID"
    if name == "TM_ID":
        return
    drill.board.rename_field(drill.field(name), f"{name} {dice.randint(10, 99)}")


def _forget(drill: Drill, dice: random.Random) -> None:
    """Let nothing be remembered, as by a state that was restored; time goes by before."""
    drill.ahead += LEASE_SECONDS + 1
    drill.forget()


def _page(drill: Drill, dice: random.Random) -> None:
    """Let a person change what can be chosen, on the board's page."""
    first, *names = (one.name for one in drill.board.status.choices)
    dice.shuffle(names)
    drill.board.choose_from("Status", [first, *names, f"Choice {dice.random()}"])


MOVES: Mapping[Callable[[Drill, random.Random], None], int] = {
    _edit: 6,
    _change: 5,
    _pass: 4,
    _die: 4,
    _fail: 3,
    _wait: 2,
    _rename: 1,
    _page: 1,
    _forget: 1,
}


def play(drill: Drill, seed: int, length: int) -> None:
    """Let a number of things happen, the same ones for the same seed, and then settle."""
    dice = random.Random(seed)
    done = []
    for move in dice.choices([*MOVES], [*MOVES.values()], k=length):
        done.append(move.__name__)
        move(drill, dice)
    try:
        drill.settle()
    except AssertionError as e:
        raise AssertionError(f"seed {seed}, after {' '.join(done)}: {e}") from e


@pytest.fixture
def drill(hub: Hub, repo: Repo) -> Iterator[Drill]:
    """Return a plan of four tasks on a board that nobody has seen yet."""
    engine.plan(
        repo,
        *(
            engine.task(str(at), "true", depends_on=[str(at - 1)] if at > 1 else [])
            for at in range(1, 5)
        ),
        approval=["plan"],
    )
    repo.commit("plan")
    engine.go(repo)
    made = Drill(hub, repo)
    yield made
    made.service.close()


def test_whatever_happens_the_board_ends_as_the_plan_has_it(drill: Drill) -> None:
    play(drill, 0, 5)


@pytest.mark.slow  # the same for many more days, each of them longer
@pytest.mark.parametrize("seed", range(100, 112))
def test_whatever_happens_on_many_days_the_board_ends_as_the_plan_has_it(
    drill: Drill, seed: int
) -> None:
    play(drill, seed, 25)


@pytest.mark.slow  # a process that dies at any point is among what may happen above
@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("steps", range(1, 6))
def test_a_first_sync_that_dies_anywhere_leaves_no_card_twice(
    drill: Drill, steps: int, is_half: bool
) -> None:
    with pytest.raises(Killed):
        drill.sync(dies_after=steps, is_half=is_half)
    meanwhile = drill.sync()
    has_begun = drill.syncing()._notes.before.index.writer is not None
    assert (meanwhile.left == "somebody else is writing to the board") or not has_begun
    drill.settle()
    assert [len(some) for some in drill.cards().values()] == [1] * 4


@pytest.mark.slow  # asks for issues over the wire; which cards take the place of which is fast
@pytest.mark.parametrize("were_drafts", [False, True])
def test_cards_of_issues_show_what_the_plan_says_and_nobody_is_said_to_have_changed_them(
    drill: Drill, were_drafts: bool
) -> None:
    drafts = []
    if were_drafts:
        drill.sync()
        drafts = [*drill.board.cards.values()]
    drill.track()
    came = drill.sync()
    assert (came.created, came.drift, came.failed) == (["1", "2", "3", "4"], [], {})
    shown = {title: values["Status"] for title, values in drill.board.shown().items()}
    assert shown == {f"Task {number}": "pending" for number in range(1, 5)}
    assert [card.is_archived for card in drafts] == [True] * len(drafts)
    again = drill.sync(is_full=True)
    assert (again.writes, again.drift, again.requests) == ({}, [], 1)


@pytest.mark.slow  # what is lost, and looked for at once, is among what may happen above
def test_cards_that_no_listing_has_yet_are_not_made_again(drill: Drill) -> None:
    drill.board.lag = 20.0
    drill.asked.trouble = "lost"
    with pytest.raises(ForgeDown):
        drill.sync()
    for _ in range(4):
        drill.sync(is_full=True)
        drill.ahead += 10.0
        drill.hub.clock = timedelta(seconds=drill.ahead)
    drill.ahead += LEASE_SECONDS
    drill.sync()
    assert [len(some) for some in drill.cards().values()] == [1] * 4
    assert all(drill.board.values(card)["TM_ID"] for (card,) in drill.cards().values())


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.slow  # asks over the wire; `test_projects` has a sentence for each refusal
def test_a_token_that_lacks_a_right_is_told_which_one_and_where_it_is_given(
    hub: Hub, repo: Repo
) -> None:
    hub.organisation("acme", "alice")
    store = hub.repository("acme/store", repo)
    board, own = hub.project("acme"), hub.project("alice")
    card = board.draft("Model")
    write = {"organization-projects": "write"}
    tokens = {
        "no scope": hub.person("alice", scopes=("repo",)),
        "to read": hub.person("alice", scopes=("repo", "read:project")),
        "fine": hub.fine("alice", "acme", {"issues": "write"}),
        "fine, to read": hub.fine("alice", "acme", {"organization-projects": "read"}),
        "fine, a person's": hub.fine("alice", "alice", write),
        "App": hub.app(store, {"issues": "write"}),
        "App, to read": hub.app(store, {"organization-projects": "read"}),
        "App, a person's": hub.app(store, write),
        "job": hub.mint(store, {"issues": "write"}),
    }

    def said(kind: str) -> tuple[str, str]:
        by, of = tokens[kind], own if kind.endswith("a person's") else board
        github = GitHub("acme/store", by.text, api=hub.api, server=hub.base, branch="main")
        asked = Projects(github, of.owner, of.number)
        try:
            project, _ = asked.look()
            assert kind == "to read" or not project.may_write
            asked.write(project.id, [SetValue(card.id, board.named("Title").id, "TEXT", "x")])
        except ForgeRefused as e:
            return e.message, e.hint
        return "", ""

    scope, permission = "the scope `project`", "the organization permission Projects"
    words = {kind: said(kind) for kind in tokens}
    assert {kind for kind, (message, _) in words.items() if not message} == set()
    needed = dict.fromkeys(("no scope", "to read"), scope)
    for kind, (message, hint) in words.items():
        assert needed.get(kind, permission) in f"{message} {hint}", (kind, message, hint)
    assert "GITFLOW_PROJECT_TOKEN" in words["job"][1]
    assert scope in words["fine, a person's"][1]
    assert card.title == "Model"


# --- many cards -----------------------------------------------------------------------------------


@pytest.mark.slow  # ten thousand cards; `test_syncing` counts requests of a few
def test_of_ten_thousand_cards_only_those_are_asked_for_that_have_changed(drill: Drill) -> None:
    for number in range(10_000):
        drill.board.draft(f"Another {number}")
    before = drill.hub.points["alice"]
    alive = []

    def look(asked: int) -> None:
        if asked == 90:
            alive.append(sum(isinstance(one, Item) for one in gc.get_objects()))

    drill.asked.look = look
    first = drill.sync()
    pages = sum("items(first" in one["query"] for one in drill.asked.sent)
    assert (len(first.created), pages, first.requests - pages) == (4, 100, 4)
    assert alive[0] < 300  # a page is read, looked through, and forgotten
    assert drill.hub.points["alice"] - before < 300
    costs = []
    for held in (1, 2, 4):
        drill.act(Resume(targets=("all",)))
        drill.sync()
        drill.act(Hold(targets=tuple(map(str, range(1, held + 1)))))
        spent = drill.hub.points["alice"]
        came = drill.sync()
        costs.append((len(came.updated), came.requests, drill.hub.points["alice"] - spent))
    assert costs == [(1, 2, 2), (2, 2, 2), (4, 2, 2)]


# --- what others say to the same requests ---------------------------------------------------------


@pytest.mark.slow  # starts node; that our own schema takes the documents is fast
def test_another_implementation_of_graphql_takes_the_same_requests(drill: Drill) -> None:
    require()
    drill.hub.is_dated = True
    drill.board.delete_field("Reason")
    drill.board.choose_from("Status", ["Todo", "pending", "done"])
    drill.sync(creates=True)
    drill.act(Skip(targets=("4",), reason="x"))
    (card,) = drill.cards()["3"]
    drill.board.edit(card, body="by hand")
    drill.board.set(card, "Wave", 9.0)
    drill.sync(is_full=True, overwrite=True)
    shapes = {one["query"]: one for one in drill.asked.sent}
    done = subprocess.run(
        ["node", str(Path(__file__).parent / "forge" / "second.mjs"), str(SDL)],
        input=json.dumps([*shapes.values()]),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout)
    assert len(answers) == len(shapes) >= 5
    assert [one.get("errors", []) for one in answers] == [[]] * len(shapes)
    # What it makes up is of the right types, so it can be read as an answer.
    for sent, said in zip(shapes.values(), answers, strict=True):
        if "nodes(ids" in sent["query"]:
            (shown,) = {_item(one).id for one in said["data"]["nodes"]}
            assert shown == "made up"
