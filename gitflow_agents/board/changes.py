"""What is written to a board so that it shows what it has to.

Three values decide each field of a card: what we want, what we told (or were telling when nobody
saw it end), and what the card shows.  Start with `_field`, which is the whole rule:

* it shows what we want: nothing is written;
* it shows what we told, or what the task has had before where nothing is remembered: it is written;
* else a person changed it.  While we want what we told, theirs is kept and reported as drift; where
  there is news, it is written, and the report says what it replaced.

A person's text of a card is always kept, and so is a card that they archived or took off: those do
not come back by themselves.  With `overwrite` everything is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from gitflow_agents.board.cards import Card, digest_of, marked
from gitflow_agents.board.memory import Placed
from gitflow_agents.board.shown import FIELDS, Layout, Shown
from gitflow_agents.board.terms import (
    AddContent,
    AddDraft,
    Archive,
    ClearValue,
    EditDraft,
    Item,
    SetValue,
    Value,
    Write,
    Wrote,
)

Told = str | float | bool
"""A value as it is remembered; an empty text is no value."""
Former = Callable[[str], Mapping[str, frozenset[Value | bool | None]]]

CARD, TITLE, BODY, PUT_AWAY = "card", "title", "body", "archived"
"""What a card has beside its fields, under the names of memory and report."""
_THEIRS = "theirs"
"""Remembered of the text of a card that was there before us, which nobody wants to change."""
_NOBODY: Collection[str] = frozenset()
_NO_CHOICES: Mapping[str, Collection[str]] = MappingProxyType({})


@dataclass(frozen=True)
class Drift:
    """What a person made of a card: `theirs` was kept, or `replaced` by ours."""

    task: str
    field: str
    theirs: str
    ours: str
    replaced: bool = False


@dataclass(frozen=True)
class Changes:
    """What is to be written, card by card, and what is remembered before the first write.

    A card that is made, or put away for another, has no other writes: once it is there, its
    changes are asked for again.
    """

    writes: Mapping[str, tuple[Write, ...]] = field(default_factory=dict)
    """Only of cards with any; `Add...` alone, else in the order in which they have to be done."""
    placed: Mapping[str, Placed] = field(default_factory=dict)
    """What is known now of each card of which that is new: its `telling` is what is written."""
    drift: tuple[Drift, ...] = ()
    unchanged: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    """Tasks without a card, because one of their title may be theirs."""


# --- which cards --------------------------------------------------------------------------------


def stale(
    cards: Mapping[str, Card],
    memory: Mapping[str, Placed],
    fields: Collection[str] | None = None,
    lacking: Mapping[str, Collection[str]] = _NO_CHOICES,
) -> tuple[str, ...]:
    """Return the tasks whose card has to be read and perhaps written, in plan order.

    `fields` are those of ours that the board has, where that is known, and `lacking` the choices
    of them that it has not: nothing can be written of those.
    """
    nothing = Placed()
    return tuple(
        task
        for task, card in cards.items()
        if _is_stale(card, memory.get(task, nothing), fields, lacking)
    )


def _is_stale(
    card: Card,
    placed: Placed,
    fields: Collection[str] | None,
    lacking: Mapping[str, Collection[str]],
) -> bool:
    if placed.is_gone:
        return False
    if not placed.item:
        return not card.is_archived or bool(placed.telling)
    if placed.telling or placed.told.get(PUT_AWAY, False) != card.is_archived:
        return True
    if card.content and TITLE in placed.told:
        return True  # its draft is to make room for the card of its issue
    if card.is_archived:
        return False  # nothing can be written to a card that is put away
    wanted = _wanted(card, fields)
    if placed.told.get(BODY) == _THEIRS:
        wanted.pop(BODY, None)
    return any(
        placed.told.get(name, "") != value and value not in lacking.get(name, ())
        for name, value in wanted.items()
    )


def _wanted(card: Card, fields: Collection[str] | None = None) -> dict[str, Told]:
    """Return what a card is to show, but for whether it is put away."""
    wanted: dict[str, Told] = {
        name: _told(value)
        for name, value in card.values.items()
        if fields is None or name in fields
    }
    if card.title and not card.content:
        wanted |= {TITLE: card.title, BODY: card.body_digest}
    return wanted


def _told(value: Value | bool | None) -> Told:
    return "" if value is None else value


def adopted(
    cards: Mapping[str, Card],
    items: Iterable[Item],
    layout: Layout,
    shown: Shown,
    *,
    by_title: bool | None,
) -> tuple[dict[str, Item], tuple[str, ...]]:
    """Return the cards that are on a board already, by task, and the tasks that wait for a word.

    A card is a task's by its issue, by our marker, or by `TM_ID` (with `Plan`, where that is set).
    Those with our marker are found of tasks, too, that the plan has no more.
    One that only has the title of a task is its card where `by_title` says so, none of ours where
    that is False, and where nobody said the task waits.  The same holds for one that only has the
    `TM_ID` of a task and another title, on a board of several plans without a field `Plan`.
    """
    by_content = {card.content: task for task, card in cards.items() if card.content}
    titled: dict[str, list[str]] = {}
    for task, card in cards.items():
        if card.title:
            titled.setdefault(card.title, []).append(task)
    ranked: dict[str, tuple[int, Item]] = {}
    by_name: dict[str, Item] = {}
    waiting: list[str] = []
    for item in items:
        task, rank = _whose(item, by_content, layout, shown)
        is_doubtful = (
            rank % _AWAY == _BY_ID
            and shown.is_shared
            and "Plan" not in layout.fields
            and not (task in cards and cards[task].title == item.title)
        )
        if is_doubtful and not by_title:
            waiting += [task] if by_title is None else []
        elif task in cards or (task and marked(item.body)):
            if task not in ranked or rank < ranked[task][0]:
                ranked[task] = rank, item
        elif rank == _NOBODYS and item.title in titled and not item.is_archived:
            by_name.setdefault(item.title, item)
    found = {task: item for task, (_, item) in ranked.items()}
    waiting = [task for task in waiting if task not in found]
    for title, item in by_name.items():
        without = [task for task in titled[title] if task not in found]
        if by_title and without:
            found[without[0]] = item
        elif by_title is None:
            waiting += without
    return found, tuple(task for task in cards if task in set(waiting))


_AWAY, _BY_ID, _NOBODYS = 4, 3, 9
"""How unsure it is whose a card is: that it is put away, is known by `TM_ID` alone, is nobody's."""


def _whose(
    item: Item, by_content: Mapping[str, str], layout: Layout, shown: Shown
) -> tuple[str, int]:
    """Return the task whose card it is, or nothing, and how sure that is: 0 is most."""
    away = _AWAY if item.is_archived else 0
    if item.content in by_content:
        return by_content[item.content], away
    if said := marked(item.body):
        return (said[1], away + 1) if said[0] == shown.plan else ("", away)
    task, plan = _shows(item, layout, "TM_ID"), _shows(item, layout, "Plan")
    if task and plan in ("", shown.plan):
        return str(task), away + 2 + (not plan)
    return "", _NOBODYS if not task else away


# --- what is written ------------------------------------------------------------------------------


def changes(
    cards: Mapping[str, Card],
    memory: Mapping[str, Placed],
    items: Mapping[str, Item],
    layout: Layout,
    former: Former,
    *,
    waiting: Collection[str] = _NOBODY,
    overwrite: bool = False,
    is_fresh: bool = False,
) -> Changes:
    """Return the writes that bring cards to what they are to show.

    `items` are those of these cards that are on the board, by task: each of `cards` was looked for.
    They are `is_fresh` where they were put there a moment ago.
    """
    writes: dict[str, tuple[Write, ...]] = {}
    placed: dict[str, Placed] = {}
    drift: list[Drift] = []
    unchanged, left = [], []
    for task, card in cards.items():
        if task in waiting and task not in items:
            left.append(task)
            continue
        known = memory.get(task) or Placed()
        one = _OfCard(card, known, items.get(task), layout, former, overwrite, is_fresh)
        one.decide()
        if one.writes:
            writes[task] = tuple(one.writes)
        else:
            unchanged.append(task)
        if one.writes or one.placed != known:
            placed[task] = one.placed
        drift += one.drift
    return Changes(writes, placed, tuple(drift), tuple(unchanged), tuple(left))


class _OfCard:
    """The decision about one card: what is written, what is remembered, what people changed."""

    def __init__(
        self,
        card: Card,
        known: Placed,
        item: Item | None,
        layout: Layout,
        former: Former,
        overwrite: bool,
        is_fresh: bool,
    ) -> None:
        self.card, self.known, self.item = card, known, item
        self.layout, self._former, self.overwrite = layout, former, overwrite
        self._is_fresh = is_fresh
        self.placed = known
        self.writes: list[Write] = []
        self.drift: list[Drift] = []
        self._told: dict[str, Told] = dict(known.told)
        self._telling: dict[str, Told] = {}

    def decide(self) -> None:
        """Fill `writes`, `placed` and `drift`."""
        if self.item is None:
            self._without(self.known.item)
        elif self.card.content and self.item.is_draft and not self.card.is_archived:
            self._in_place_of_a_draft(self.item)
        else:
            self._with(self.item)

    # --- a card that is not there -----------------------------------------------------------------

    def _without(self, was: str) -> None:
        card = self.card
        if card.is_archived:  # what is to be put away need not be made
            self.placed = self.known.model_copy(update={"is_gone": bool(was), "telling": {}})
            return
        if (was or self.known.is_gone) and not self.overwrite:
            self.placed = self.known.model_copy(update={"is_gone": True, "telling": {}})
            self.drift.append(Drift(card.task, CARD, "taken off the board", card.title))
            return
        self._add()
        if was:
            self.drift.append(Drift(card.task, CARD, "taken off the board", card.title, True))

    def _add(self) -> None:
        card = self.card
        telling = _wanted(card, self.layout.fields) | {PUT_AWAY: False}
        new: Write = AddDraft(card.task, card.title, card.body)
        if card.content:
            new = AddContent(card.task, card.content)
        self.writes.append(new)
        self.placed = Placed(telling=telling)

    def _in_place_of_a_draft(self, item: Item) -> None:
        """The task has an issue now, whose card takes the place of the draft."""
        if item.is_archived:
            self._add()
            return
        self.writes.append(Archive(item.id))
        where = {"item": item.id, "content": item.content}
        self.placed = self.known.model_copy(update={**where, "telling": {PUT_AWAY: True}})

    # --- a card that is there ---------------------------------------------------------------------

    def _with(self, item: Item) -> None:
        is_away = self._is_away(item)
        if is_away and item.is_archived:
            self._settle(item)
        else:
            # A forge refuses to change a card while it is put away.
            others = [*self._draft(item), *self._values(item)]
            self.writes = [*others, *self.writes] if is_away else [*self.writes, *others]
        where = {"item": item.id, "content": item.content, "is_gone": False}
        self.placed = self.known.model_copy(
            update={**where, "told": self._told, "telling": self._telling}
        )

    def _settle(self, item: Item) -> None:
        """Note which of the writes that nobody saw end were done, of a card that stays away."""
        shows = {name: _shows(item, self.layout, name) for name in self.layout.fields}
        shows |= {TITLE: item.title, BODY: digest_of(item.body)}
        for name, value in self.known.telling.items():
            if name in shows and _same(shows[name], value):
                self._told[name] = value

    def _is_away(self, item: Item) -> bool:
        """Decide whether the card is put away, and return whether it will be."""
        want = self.card.is_archived
        if self._field(PUT_AWAY, want, item.is_archived, False):
            self.writes.append(Archive(item.id, back=not want))
            return want
        return item.is_archived

    def _draft(self, item: Item) -> Iterator[Write]:
        """Yield what changes title and text of a card that is no issue."""
        card = self.card
        if not card.title:
            return
        if not item.is_draft:
            # A person made an issue of it; title and text are that issue's.
            ours = {TITLE: card.title, BODY: card.body_digest}
            self._told = {k: v for k, v in self._told.items() if k not in ours}
            self._told |= {} if card.content else ours
            return
        title, body = item.title, item.body
        if self._field(TITLE, card.title, item.title, ""):
            title = card.title
        if self._text(item):
            body = card.body
        if (title, body) != (item.title, item.body):
            yield EditDraft(item.content, title, body)

    def _text(self, item: Item) -> bool:
        """Decide whether the text of a draft is written; one of a person's is always kept."""
        card, shows = self.card, digest_of(item.body)
        ours = {self.known.told.get(BODY), self.known.telling.get(BODY)}
        is_theirs = shows != card.body_digest and shows not in ours
        if is_theirs and not self.overwrite:
            # Without our marker it never was ours: a card that was adopted keeps its text.
            is_adopted = not marked(item.body) and self.known.told.get(BODY, _THEIRS) == _THEIRS
            self._told[BODY] = _THEIRS if is_adopted else card.body_digest
            if not is_adopted:
                self._report(BODY, "a text of their own", "ours", False)
            return False
        return self._field(BODY, card.body_digest, shows, "")

    def _values(self, item: Item) -> Iterator[Write]:
        for name, wanted in self.card.values.items():
            if (there := self.layout.fields.get(name)) is None:
                continue
            want, shows = _told(wanted), _shows(item, self.layout, name)
            choice = ""
            if FIELDS[name] == "SINGLE_SELECT":
                option = self.layout.option(name, str(want)) if want else None
                if want and option is None:
                    continue  # the layout says which choices the board lacks
                choice = option.id if option else ""
                shows = self._spelt(name, want, shows)
            if not self._field(name, want, shows, ""):
                continue
            if want == "":
                yield ClearValue(item.id, there.id)
            else:
                yield SetValue(item.id, there.id, FIELDS[name], choice or want)

    def _spelt(self, name: str, want: Told, shows: Told) -> Told:
        """Return a choice as we spell it: a board's may have other capitals."""
        former = self._former(self.card.task).get(name, ())
        ours = (want, self.known.told.get(name), self.known.telling.get(name), *former)
        folded = str(shows).casefold()
        return next((one for one in ours if one and str(one).casefold() == folded), shows)

    # --- the rule ---------------------------------------------------------------------------------

    def _field(self, name: str, want: Told, shows: Told, empty: Told) -> bool:
        """Decide about one field, and return whether it is written; `empty` is how it begins."""
        told, telling = self.known.told, self.known.telling
        if _same(shows, want):
            self._told[name] = want
            return False
        is_remembered = name in told or name in telling
        if is_remembered:
            last = telling.get(name, told.get(name))
            is_ours = any(_same(shows, one) for one in (told.get(name, empty), last))
            is_ours |= self._is_fresh and name == "Status" and shows == self._first
            # What a card shows that was only just made is a workflow's of the board.
            is_new = name not in told and name in FIELDS
            is_news = is_new or not _same(want, last if last is not None else empty)
        else:
            before = {_told(one) for one in self._former(self.card.task).get(name, ())}
            is_news = _same(shows, empty) or (name == "Status" and shows == self._first)
            is_ours = any(_same(shows, one) for one in before) or (
                is_news and bool(told or telling or not self._is_marked)
            )
        if not is_ours:
            is_written = self.overwrite or is_news
            self._report(name, _words(shows), _words(want), is_written)
            if not is_written:
                self._told[name] = want
                return False
        else:
            self._told[name] = shows  # of two that it could be, this is the one
        self._telling[name] = want
        return True

    @property
    def _first(self) -> str:
        """Return the status that a board gives a card itself, as one is put there."""
        there = self.layout.fields.get("Status")
        return there.options[0].name if there is not None and there.options else ""

    @property
    def _is_marked(self) -> bool:
        return self.item is not None and marked(self.item.body) is not None

    def _report(self, name: str, theirs: str, ours: str, is_replaced: bool) -> None:
        self.drift.append(Drift(self.card.task, name, theirs, ours, is_replaced))


def _shows(item: Item, layout: Layout, name: str) -> Told:
    there = layout.fields.get(name)
    return item.values.get(there.id, "") if there is not None else ""


def _same(one: Told | None, other: Told | None) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return abs(one - other) < 1e-6
    return one == other


def _words(value: Told) -> str:
    if isinstance(value, bool):
        return "archived" if value else "on the board"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) or "empty"


# --- what came of it ------------------------------------------------------------------------------


def after(
    placed: Placed, writes: Sequence[Write], results: Sequence[Wrote], layout: Layout
) -> Placed:
    """Return what is remembered of a card after some of its writes: each was done or refused.

    What was refused counts as never begun, so that the next pass does it.
    """
    names = {there.id: name for name, there in layout.fields.items()}
    told, telling = dict(placed.told), dict(placed.telling)
    item, content = placed.item, placed.content
    for write, result in zip(writes, results, strict=True):
        about: tuple[str, ...] = ()
        match write:
            case AddDraft() | AddContent() if result.refused:
                return placed.model_copy(update={"telling": {}})
            case AddDraft() | AddContent():
                item, content = result.id, result.content
                about = (PUT_AWAY, TITLE, BODY) if isinstance(write, AddDraft) else (PUT_AWAY,)
            case EditDraft():
                about = (TITLE, BODY)
            case Archive():
                about = (PUT_AWAY,)
            case SetValue(field=node) | ClearValue(field=node):
                about = (names[node],)
        for name in about:
            if name in telling:
                value = telling.pop(name)
                if not result.refused:
                    told[name] = value
    return Placed(item=item, content=content, told=told, telling=telling)


__all__ = ["Changes", "Drift", "adopted", "after", "changes", "stale"]
