"""Projects as GitHub keeps them, and what people do with one.

Start with Project. What is said here of GitHub was seen and told in public (F), stands in GitHub's
description (D), or is a guess that takes the worse for a client (G):

- A draft that arrives gets the first choice of Status by a workflow that is on in every new project,
  an issue too (F). Closing an issue chooses Done (D); opening it again chooses the first one (G).
- All choices of a field are rewritten at once. One that is sent without its id is a new one, also
  under its old name: it has another id, the cards that had the old one have none, and a workflow
  that set it is off (F, September 2026). GitHub's page keeps the ids of those that stay (F).
- The id of a choice that is to stay can be sent, and archived cards can be asked for, on github.com
  (F) but not by the description that is published for programs: `graph.schemas` has both.
- Who lists cards without naming archived ones does not get them (F).
- A listing may lack a card that was made just before (F): `Project.lag`. A node does not (G).
- An archived card cannot be changed (F), nor a closed project (G).
- Adding an issue that is there returns its card (D), also an archived one, as it is (G).
- A draft whose title is the address of an issue is a card of that issue (D).
- A text has at most 1,024 characters (F); that these are bytes is (F) by one report.
- Some names are reserved for fields that GitHub makes itself, `Assignee` and `Type` among them (F).
- A project has at most 50 fields (D), a field at most 50 choices (G: once documented, since denied).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.forge.state import Issue, No, Repository

if TYPE_CHECKING:
    from tests.forge.hub import Hub

MOST_TEXT = 1024
MOST_TITLE = 256
MOST_BODY = 65_536
MOST_FIELDS = 50
MOST_CHOICES = 50
MOST_CARDS = 50_000
BUILT_IN = (
    ("Title", "TITLE"),
    ("Assignees", "ASSIGNEES"),
    ("Status", "SINGLE_SELECT"),
    ("Labels", "LABELS"),
    ("Linked pull requests", "LINKED_PULL_REQUESTS"),
    ("Milestone", "MILESTONE"),
    ("Repository", "REPOSITORY"),
    ("Reviewers", "REVIEWERS"),
    ("Parent issue", "PARENT_ISSUE"),
    ("Sub-issues progress", "SUB_ISSUES_PROGRESS"),
)
RESERVED = frozenset(name.lower() for name, _ in BUILT_IN) | frozenset(
    "assignee repo type created updated closed".split()
)
OWN_KINDS = ("TEXT", "NUMBER", "DATE", "SINGLE_SELECT", "ITERATION")
FIRST_CHOICES = (("Todo", "GREEN"), ("In Progress", "YELLOW"), ("Done", "PURPLE"))
# What a value is sent as, by the kind of the field.
SENT_AS = {
    "TEXT": "text",
    "TITLE": "text",
    "NUMBER": "number",
    "DATE": "date",
    "SINGLE_SELECT": "singleSelectOptionId",
    "ITERATION": "iterationId",
}

Value = str | float


def opaque(kind: str, number: int) -> str:
    """Return an id that says nothing but what it is of."""
    digest = hashlib.sha256(f"{kind} {number}".encode()).digest()
    return f"{kind}_{base64.urlsafe_b64encode(digest[:12]).decode()}"


@dataclass(eq=False)
class Choice:
    """One of the values that a field may have."""

    id: str
    name: str
    color: str = "GRAY"
    description: str = ""


@dataclass(eq=False)
class Field:
    """A field of a project."""

    id: str
    number: int
    name: str
    kind: str
    choices: list[Choice] = field(default_factory=list)
    is_own: bool = True
    """Whether somebody made it; the others are GitHub's."""

    def choice(self, name: str) -> Choice:
        """Return the choice of a name."""
        return next(one for one in self.choices if one.name == name)


@dataclass(eq=False)
class Draft:
    """A card's content that is no issue."""

    id: str
    title: str
    body: str = ""
    assignees: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Card:
    """An item of a project."""

    id: str
    number: int
    content: Draft | tuple[Repository, Issue]
    author: str
    created: datetime
    values: dict[str, Value] = field(default_factory=dict)
    """By the id of the field; of a choice its id."""
    is_archived: bool = False

    @property
    def title(self) -> str:
        """Return what people read on it."""
        return self.content.title if isinstance(self.content, Draft) else self.content[1].title

    @property
    def body(self) -> str:
        """Return the text behind it."""
        return self.content.body if isinstance(self.content, Draft) else self.content[1].body


@dataclass(eq=False, repr=False)
class Project:
    """A project of a person or an organisation; its methods are what people do on its page."""

    hub: Hub
    owner: str
    number: int
    title: str
    id: str
    database_id: int
    public: bool = False
    closed: bool = False
    people: dict[str, str] = field(default_factory=dict)
    """Who may `read` or `write` it beside its owner and the organisation's members."""
    fields: list[Field] = field(default_factory=list)
    cards: dict[str, Card] = field(default_factory=dict)
    """In their order on the board, by id."""
    repositories: list[Repository] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    workflows: dict[str, str] = field(default_factory=dict)
    """The choice of Status that is made when a card was `added`, its issue `closed` or `reopened`."""
    lag: float = 0.0
    """Seconds of the hub's clock for which a new card is in no listing."""

    # --- what there is

    def named(self, name: str) -> Field:
        """Return the field of a name, upper or lower case."""
        return next(one for one in self.fields if one.name.lower() == name.lower())

    def card(self, title: str) -> Card:
        """Return the one card with a title."""
        (found,) = [one for one in self.cards.values() if one.title == title]
        return found

    def values(self, card: Card) -> dict[str, Value]:
        """Return what a card shows, by the name of the field; of a choice its name."""
        shown: dict[str, Value] = {}
        for one in self.fields:
            if one.id in card.values:
                value = card.values[one.id]
                names = {choice.id: choice.name for choice in one.choices}
                shown[one.name] = names[str(value)] if one.choices else value
        return shown

    def shown(self) -> dict[str, dict[str, Value]]:
        """Return what people see: by title, without archived cards; a title twice is a failure."""
        cards = [card for card in self.cards.values() if not card.is_archived]
        titles = [card.title for card in cards]
        assert len(titles) == len(set(titles)), f"twice on the board: {sorted(titles)}"
        return {card.title: self.values(card) for card in cards}

    # --- what people do

    def add_field(self, name: str, kind: str, choices: Iterable[str] = ()) -> Field:
        """Make a field, of whatever kind."""
        with self.hub.lock:
            made = [(one, "GRAY", "") for one in choices]
            return self.make_field(name, kind, made, is_own=True)

    def rename_field(self, name: str, new: str) -> None:
        """Give a field another name; it stays the same one."""
        with self.hub.lock:
            self.named(name).name = new

    def delete_field(self, name: str) -> None:
        """Delete a field with all its values."""
        with self.hub.lock:
            gone = self.named(name)
            assert gone.is_own, f"nobody can delete {name}"
            self.fields.remove(gone)
            for card in self.cards.values():
                card.values.pop(gone.id, None)

    def choose_from(self, name: str, choices: Sequence[str]) -> None:
        """Edit the choices of a field on its page: those that stay by name keep their ids."""
        with self.hub.lock:
            about = self.named(name)
            known = {one.name: one for one in about.choices}
            about.choices = [known.get(one) or self._choice(one) for one in choices]
            self._forget_choices(about)

    def rename_choice(self, name: str, old: str, new: str) -> None:
        """Give a choice another name; cards keep it."""
        with self.hub.lock:
            self.named(name).choice(old).name = new

    def draft(self, title: str, body: str = "", **values: Value) -> Card:
        """Make a card."""
        with self.hub.lock:
            card = self.add(self._new_draft(title, body), self.owner)
            for name, value in values.items():
                self.set(card, name.replace("_", " ") if name != "TM_ID" else name, value)
            return card

    def put(self, repository: Repository, issue: Issue) -> Card:
        """Put an issue on the board."""
        with self.hub.lock:
            return self.add((repository, issue), self.owner)

    def set(self, card: Card, name: str, value: Value) -> None:
        """Change what a card shows; of a choice its name is given."""
        with self.hub.lock:
            about = self.named(name)
            card.values[about.id] = about.choice(str(value)).id if about.choices else value

    def clear(self, card: Card, name: str) -> None:
        """Let a card show nothing in a field."""
        with self.hub.lock:
            card.values.pop(self.named(name).id, None)

    def edit(self, card: Card, *, title: str | None = None, body: str | None = None) -> None:
        """Change the text of a card, also that of its issue."""
        with self.hub.lock:
            about = card.content if isinstance(card.content, Draft) else card.content[1]
            about.title = about.title if title is None else title
            about.body = about.body if body is None else body

    def move(self, card: Card, after: Card | None = None) -> None:
        """Move a card behind another one, or to the top."""
        with self.hub.lock:
            left = [one for one in self.cards.values() if one is not card]
            left.insert(0 if after is None else left.index(after) + 1, card)
            self.cards = {one.id: one for one in left}

    def archive(self, card: Card, *, back: bool = False) -> None:
        """Put a card away, or take it back."""
        with self.hub.lock:
            card.is_archived = not back

    def delete(self, card: Card) -> None:
        """Take a card off the board; a draft is gone with it."""
        with self.hub.lock:
            del self.cards[card.id]
            self.hub.nodes.pop(card.id)
            if isinstance(card.content, Draft):
                self.hub.nodes.pop(card.content.id)

    def convert(self, card: Card, repository: Repository) -> Issue:
        """Make an issue of a draft; its card stays the same one."""
        with self.hub.lock:
            draft, now = card.content, self.hub.now()
            assert isinstance(draft, Draft)
            number = max(repository.issues, default=0) + 1
            issue = Issue(self.hub.next_id(), number, draft.title, draft.body, self.owner, now, now)
            repository.issues[number] = issue
            card.content = (repository, issue)
            self.hub.nodes.pop(draft.id)
            return issue

    # --- what both people and programs do; the hub's lock is held

    def make_field(
        self, name: str, kind: str, choices: Iterable[tuple[str, str, str]], *, is_own: bool
    ) -> Field:
        """Make a field and return it."""
        prefix = {"SINGLE_SELECT": "PVTSSF", "ITERATION": "PVTIF"}.get(kind, "PVTF")
        number = self.hub.next_id()
        made = Field(opaque(prefix, number), number, name, kind, is_own=is_own)
        made.choices = [self._choice(*one) for one in choices]
        self.fields.append(made)
        self.hub.nodes[made.id] = (self, made)
        return made

    def add(self, content: Draft | tuple[Repository, Issue], by: str) -> Card:
        """Put something on the board and return its card; what is there is not put there twice."""
        if isinstance(content, tuple):
            for card in self.cards.values():
                if isinstance(card.content, tuple) and card.content[1] is content[1]:
                    return card
        if len(self.cards) >= MOST_CARDS:
            raise No("UNPROCESSABLE", f"Projects cannot have more than {MOST_CARDS} items")
        number = self.hub.next_id()
        card = Card(opaque("PVTI", number), number, content, by, self.hub.now())
        self.cards[card.id] = card
        self.hub.nodes[card.id] = (self, card)
        if isinstance(content, Draft):
            self.hub.nodes[content.id] = (self, card)
        self.happened(card, "added")
        return card

    def happened(self, card: Card, what: str) -> None:
        """Let the project's own workflow do what it does then."""
        if what in self.workflows:
            card.values[self.status.id] = self.workflows[what]

    def listed(self, archived: Iterable[bool]) -> list[Card]:
        """Return the cards that a listing has; those that are archived if it says so."""
        states = set(archived)
        found = [card for card in self.cards.values() if card.is_archived in states]
        if self.lag:
            now = self.hub.now()
            found = [card for card in found if (now - card.created).total_seconds() >= self.lag]
        return found

    def add_draft(self, title: str, body: str, assignees: Iterable[str], by: str) -> Card:
        """Make a card that is no issue, unless its title is the address of one."""
        about = re.fullmatch(
            re.escape(self.hub.base) + r"/([^/]+/[^/]+)/issues/(\d+)", title.strip()
        )
        if about and about[1] in self.hub.repositories:
            repository = self.hub.repositories[about[1]]
            return self.add((repository, repository.issues[int(about[2])]), by)
        check_text(title, body)
        draft = self._new_draft(title, body)
        draft.assignees = list(assignees)
        return self.add(draft, by)

    def new_field(self, name: str, kind: str, choices: Sequence[Mapping[str, Any]] | None) -> Field:
        """Make a field that a program asks for."""
        problems = []
        if name.strip().lower() in RESERVED:
            problems.append("Name cannot have a reserved value")
        if name.strip().lower() in {one.name.lower() for one in self.fields}:
            problems.append("Name has already been taken")
        if len(self.fields) >= MOST_FIELDS:
            problems.append(f"Project cannot have more than {MOST_FIELDS} fields")
        if kind == "SINGLE_SELECT" and not choices:
            problems.append("Single select options can't be blank")
        if problems:
            raise No("UNPROCESSABLE", ", ".join(problems))
        made = self.make_field(name.strip(), kind, (), is_own=True)
        if choices:
            self.rewrite(made, choices)
        return made

    def rewrite(self, about: Field, choices: Sequence[Mapping[str, Any]]) -> None:
        """Replace all choices of a field, as a program does it; without its id each is new."""
        names = [str(one["name"]) for one in choices]
        if about.kind != "SINGLE_SELECT":
            raise No("UNPROCESSABLE", "Only single select fields have options")
        if len(choices) > MOST_CHOICES:
            raise No("UNPROCESSABLE", f"A field cannot have more than {MOST_CHOICES} options")
        if len({name.lower() for name in names}) < len(names):
            raise No("UNPROCESSABLE", "Names of options must be unique")
        known = {one.id: one for one in about.choices}
        new = []
        for one in choices:
            made = self._choice(str(one["name"]), str(one["color"]), str(one["description"]))
            if one.get("id"):
                if one["id"] not in known:
                    raise No(
                        "VALIDATION", "The single select option Id does not belong to the field"
                    )
                made.id = str(one["id"])
            new.append(made)
        about.choices = new
        self._forget_choices(about)

    def write(self, card: Card, about: Field, sent: Mapping[str, Any]) -> None:
        """Change what a card shows, as a program does it."""
        self.check_open(card)
        expected = SENT_AS.get(about.kind)
        if expected is None:
            kind = about.kind.lower()
            raise No("VALIDATION", f"The field of type {kind} is currently not supported.")
        given = {key: value for key, value in sent.items() if value is not None}
        if len(given) > 1:
            raise No("VALIDATION", "Only one value can be given")
        if set(given) != {expected}:
            kind = about.kind.lower()
            raise No(
                "VALIDATION", f"Did not receive a {kind} value to update a field of type {kind}"
            )
        value = given[expected]
        if about.kind == "SINGLE_SELECT" and value not in {one.id for one in about.choices}:
            raise No("VALIDATION", "The single select option Id does not belong to the field")
        if about.kind == "TEXT" and len(str(value).encode()) > MOST_TEXT:
            raise No("UNPROCESSABLE", "Column value must be a valid value for text column")
        if about.kind == "DATE" and not re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
            raise No("UNPROCESSABLE", "Column value must be a valid value for date column")
        if about.kind == "TITLE":
            check_text(str(value), "")
            (card.content if isinstance(card.content, Draft) else card.content[1]).title = value
        elif value == "":
            card.values.pop(about.id, None)
        else:
            card.values[about.id] = value

    def erase(self, card: Card, about: Field) -> None:
        """Let a card show nothing in a field, as a program does it."""
        self.check_open(card)
        if about.kind not in (*OWN_KINDS, "ASSIGNEES", "LABELS", "MILESTONE"):
            kind = about.kind.lower()
            raise No("VALIDATION", f"The field of type {kind} is currently not supported.")
        card.values.pop(about.id, None)

    def check_open(self, card: Card | None = None) -> None:
        """Refuse to change what is put away."""
        if self.closed:
            raise No("UNPROCESSABLE", "The project is closed and cannot be updated")
        if card is not None and card.is_archived:
            raise No("UNPROCESSABLE", "The item is archived and cannot be updated")

    def __post_init__(self) -> None:
        """Make what every project has."""
        for name, kind in BUILT_IN:
            made = [(one, color, "") for one, color in FIRST_CHOICES] if name == "Status" else []
            self.make_field(name, kind, made, is_own=False)
        self.status = self.named("Status")
        todo, _, done = self.status.choices
        self.workflows |= {"added": todo.id, "closed": done.id, "reopened": todo.id}

    def _choice(self, name: str, color: str = "GRAY", description: str = "") -> Choice:
        digest = hashlib.sha256(f"choice {self.hub.next_id()}".encode()).hexdigest()
        return Choice(digest[:8], name, color, description)

    def _new_draft(self, title: str, body: str) -> Draft:
        return Draft(opaque("DI", self.hub.next_id()), title, body)

    def _forget_choices(self, about: Field) -> None:
        known = {one.id for one in about.choices}
        for card in self.cards.values():
            if about.id in card.values and card.values[about.id] not in known:
                del card.values[about.id]
        if about is self.status:
            self.workflows = {on: one for on, one in self.workflows.items() if one in known}


def check_text(title: str, body: str) -> None:
    """Refuse the title and the text of a card that are none, or too long."""
    if not title.strip():
        raise No("UNPROCESSABLE", "Title can't be blank")
    if len(title) > MOST_TITLE:
        raise No("UNPROCESSABLE", f"Title is too long (maximum is {MOST_TITLE} characters)")
    if len(body) > MOST_BODY:
        raise No("UNPROCESSABLE", f"Body is too long (maximum is {MOST_BODY} characters)")
