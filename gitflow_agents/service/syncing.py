"""Bringing a board in step with a plan: what it is to show, against what it shows, is written.

One function for every door, `Syncing.go`.  A turn reads the cards whose task has changed, says in
the state what it is going to write, writes that, and says what came of it.  Whoever dies in between
leaves enough for the next one to go on with; who meets another writer leaves the board to that one.
Nothing that fails here fails anything else, and what was not written stays unlike what was told.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace

from gitflow_agents.board.cards import Card, cards, digest, former, unmapped
from gitflow_agents.board.changes import adopted, after, changes, stale
from gitflow_agents.board.memory import Placed
from gitflow_agents.board.report import Report
from gitflow_agents.board.shown import Shown, layout, spare
from gitflow_agents.board.terms import (
    AddContent,
    AddDraft,
    AddField,
    Archive,
    Board,
    Item,
    SetOptions,
    SetValue,
    Write,
    Wrote,
)
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import ForgeRefused
from gitflow_agents.issues import contents
from gitflow_agents.render import count
from gitflow_agents.service.boardnotes import Again, Notes
from gitflow_agents.service.desk import Desk

RESERVED = "reserved"
"""Stands in what GitHub says to a name of a field that it keeps for itself."""
MOST_CARDS, MOST_WRITES = 20, 50
"""Cards, and changes of them, in one request: a forge gives one ten seconds."""
MOST_LOOKED_AT = 100
"""Cards that one request reads."""
MOST_TURNS = 20
"""Times that a sync begins again because somebody moved the plan meanwhile."""
MOST_TRIES = 5
"""Times in a row that what is always refused is tried by itself, and then again at any news."""
MOST_NEW_IN_A_JOB = 60
"""Cards that a job makes; the next pass goes on."""
LIMITS = ((60.0, 80), (3600.0, 500))
"""Seconds, and how many things may be made within them: GitHub's secondary limits."""


@dataclass(frozen=True)
class Asked:
    """How a board is to be brought in step.

    `is_full` looks at every card; `adopt` says whether cards that only have the title of a task
    are its own, None that nobody said so; `most_new` bounds the cards that are made.  What is
    refused to somebody `is_beside` a run is not noted: others may have a better token.
    """

    is_full: bool = False
    creates: bool = False
    adopt: bool | None = None
    overwrite: bool = False
    dry_run: bool = False
    most_new: int | None = None
    is_beside: bool = False

    @property
    def is_thorough(self) -> bool:
        """Say whether every card is looked at, whatever is remembered."""
        return self.is_full or self.creates or self.overwrite or self.adopt is not None


@dataclass
class Pace:
    """Waits where more would be made than a forge takes in a minute, or in an hour."""

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    made: deque[float] = field(default_factory=lambda: deque(maxlen=LIMITS[-1][1]))

    def wait(self, number: int, tell: Callable[[str], None]) -> None:
        """Wait until so many more can be made."""
        for seconds, most in LIMITS:
            now = self.clock()
            within = [at for at in self.made if now - at < seconds]
            if len(within) + number > most:
                pause = within[len(within) + number - most - 1] + seconds - now
                tell(f"{most} cards in {seconds:.0f} s are as many as GitHub takes: {pause:.0f} s")
                self.sleep(pause)
        self.made.extend([self.clock()] * number)


@dataclass
class Syncing:
    """Keeps the board of one plan."""

    desk: Desk
    shown: Shown
    board: Board
    url_of_run: Callable[[int], str]
    home: str = ""
    """The address where the plan is told of."""
    pace: Pace = field(default_factory=Pace)
    tell: Callable[[str], None] = lambda text: None
    """Hears of progress."""
    is_news: bool = True
    """Whether a refusal was not noted before."""

    def __post_init__(self) -> None:
        self._notes = Notes(self.desk)

    def go(self, asked: Asked) -> Report:
        """Bring the board in step, and return what came of it.

        Raises ForgeRefused where nothing can be written, and notes that; ForgeDown where the forge
        could not be asked.  What was done until then is remembered.
        """
        came = Report(self.desk.snapshot.plan.plan, is_dry=asked.dry_run)
        try:
            for _ in range(MOST_TURNS):
                before = deepcopy(came)
                try:
                    is_done = self._turn(asked, came)
                except Again:
                    came = before
                    continue
                if is_done:
                    return came
                # What a person asked for is done; the plan alone has moved.
                asked = Asked(most_new=asked.most_new, is_beside=asked.is_beside)
        except ForgeRefused as e:
            if asked.is_beside:
                self._break_off()
            elif not asked.dry_run:
                self._refused(e)
            raise
        except BaseException:
            self._break_off()
            raise
        finally:
            came.requests = self.board.asked
        came.left, came.is_behind = "the plan is moved all the time", True
        return came

    def _break_off(self) -> None:
        if self._notes.has_begun:
            with suppress(FlowError):
                self._notes.break_off()

    @property
    def has_news(self) -> bool:
        """Say whether the board has something to be told; no request is made for that."""
        self._notes.load()
        return not self._is_shown(self.wanted(self._notes.now.cards))

    def _is_shown(self, wanted: Mapping[str, Card]) -> bool:
        """Say whether the board shows that already, as far as anybody remembers.

        What is news to a plan need not be seen on a board: a field that it lacks changes nothing.
        """
        index, known = self._notes.now.index, self._notes.now.cards
        if self._is_elsewhere or not index.is_read or index.is_adding or index.choices:
            return False
        if self.is_called_otherwise:
            return False
        is_told = index.told == digest(wanted)
        return is_told or not stale(wanted, known, index.fields or None, index.lacking)

    @property
    def is_due(self) -> bool:
        """Say whether the board has something to be told that was not refused before."""
        return self.has_news and self._digest() != self._notes.now.index.refused_at

    def _digest(self) -> str:
        return digest(self.wanted(self._notes.now.cards))

    @property
    def _is_elsewhere(self) -> bool:
        """Say whether what is remembered is of another board than the one that is meant."""
        shown, index = self.shown, self._notes.now.index
        if not shown.number:
            return bool(shown.node) and index.project not in ("", shown.node)
        owner = f"/{shown.owner}" if shown.owner else ""
        address = f"{owner}/projects/{shown.number}".casefold()
        return bool(index.url) and not index.url.casefold().endswith(address)

    @property
    def is_called_otherwise(self) -> bool:
        """Say whether the config has other names for fields than when the board was read last."""
        return self._notes.now.index.names not in ({}, self.shown.names)

    def wanted(self, known: Iterable[str] = ()) -> dict[str, Card]:
        """Return what the board is to show."""
        desk = self.desk
        return cards(
            desk.snapshot,
            self.shown,
            url_of_run=self.url_of_run,
            contents=contents(desk.snapshot),
            roles=desk.handbook.roles,
            home=self.home,
            known=known,
        )

    def _turn(self, asked: Asked, came: Report) -> bool:
        """Do what is due; return whether nothing has become due meanwhile."""
        notes, desk = self._notes, self.desk
        notes.load()
        wanted = self.wanted(notes.now.cards)
        target = digest(wanted)
        if not asked.is_thorough and self._is_shown(wanted):
            return True
        if notes.is_others:
            came.left, came.is_behind = "somebody else is writing to the board", True
            return True
        turn = _Turn(self, notes, asked, came, wanted)
        turn.read()
        came.unmapped = tuple(unmapped(desk.snapshot, self.shown, desk.handbook.roles))
        turn.write()
        if asked.dry_run:
            return True
        is_all = not came.failed and not came.is_behind
        tries = notes.now.index.tries + 1 if came.failed and not came.written else 0
        at = target if tries >= MOST_TRIES else ""
        notes.set(told=target if is_all else "", is_adding=False, refused="", refused_at=at)
        notes.set(tries=tries)
        notes.end("the board shows the plan" if is_all else "the board was written in part")
        return came.is_behind or self._digest() == target

    def _refused(self, why: ForgeRefused) -> None:
        """Note why nothing can be written; for the same plan it is not tried again by itself."""
        notes = self._notes
        self.is_news = notes.before.index.refused != why.message
        notes.set(refused=why.message, refused_at=self._digest(), told="")
        with suppress(FlowError):
            notes.end(f"the board cannot be written: {why.message}")


class _Turn:
    """One turn: what is read, and what is written of it."""

    def __init__(
        self, syncing: Syncing, notes: Notes, asked: Asked, came: Report, wanted: Mapping[str, Card]
    ) -> None:
        self._syncing, self._notes, self._asked, self._came = syncing, notes, asked, came
        self._wanted, self._board = wanted, syncing.board
        self._items: dict[str, Item] = {}
        """Cards that are on the board, by task."""
        self._due: tuple[str, ...] = ()

    # --- reading ----------------------------------------------------------------------------------

    def read(self) -> None:
        """Read what is due, and all cards where it is not known which are ours.

        ForgeRefused where the board cannot show the plan.
        """
        notes, asked, came = self._notes, self._asked, self._came
        index = notes.now.index
        self._due = tuple(self._wanted)
        is_whole = asked.is_thorough or self._syncing.is_called_otherwise
        if not is_whole:
            self._due = self._stale(index.fields or None, index.lacking)
        self._look()
        is_new = self._project.id != index.project
        if is_new:
            notes.forget()
            self._due = tuple(self._wanted)
        self._lay_out()
        for said, hint in self._layout.problems:
            raise ForgeRefused(said, hint=hint)
        if asked.creates or index.choices:
            self._make()
        self._forget_other_fields()
        lacking = self._layout.lacking(self._syncing.shown)
        if not (is_whole or is_new):
            due = self._stale(self._layout.fields, lacking)
            if not {*due} <= {*self._due}:  # the board has more than it had
                self._due = due
                self._look()
        waiting = tuple(task for task in index.waiting if task in self._wanted)
        if is_new or not index.is_read or index.is_adding or asked.adopt is not None:
            waiting = self._page()
        fields = {ours: one.id for ours, one in self._layout.fields.items()}
        notes.set(project=self._project.id, url=self._project.url, fields=fields)
        notes.set(names=dict(self._syncing.shown.names))
        notes.set(is_read=True, waiting=waiting, lacking=lacking)
        came.url, came.missing = self._project.url, self._layout.missing
        came.layout = self._layout
        came.waiting = tuple(task for task in waiting if task not in self._items)

    def _lay_out(self) -> None:
        """Find our fields on the board; one that the config calls otherwise now is another one."""
        index, names = self._notes.now.index, self._syncing.shown.names
        known = {
            ours: node
            for ours, node in index.fields.items()
            if index.names.get(ours, names.get(ours)) == names.get(ours)
        }
        self._layout = layout(self._project, self._syncing.shown, known)

    def _forget_other_fields(self) -> None:
        """Forget what was told to fields that are others now: nothing was told to those."""
        known, now = self._notes.now.index.fields, self._layout.fields
        others = {ours for ours, one in now.items() if known.get(ours) != one.id}
        cards = self._notes.now.cards.items() if known and others else ()
        placed = {
            task: card.model_copy(
                update={"told": {k: said for k, said in card.told.items() if k not in others}}
            )
            for task, card in cards
        }
        self._notes.place(placed)

    def _stale(
        self, fields: Collection[str] | None, lacking: Mapping[str, Collection[str]]
    ) -> tuple[str, ...]:
        return stale(self._wanted, self._notes.now.cards, fields, lacking)

    def _look(self) -> None:
        """Read the board, and the cards that are due as far as they are known."""
        known = self._notes.now.cards
        items = {known[task].item: task for task in self._due if task in known}
        nodes = [node for node in items if node]
        self._project, found = self._board.look(nodes[:MOST_LOOKED_AT])
        for start in range(MOST_LOOKED_AT, len(nodes), MOST_LOOKED_AT):
            self._syncing.tell(f"{start} of {len(nodes)} cards are read")
            _, more = self._board.look(nodes[start : start + MOST_LOOKED_AT])
            found = {**found, **more}
        self._items = {items[node]: item for node, item in found.items()}

    def _page(self) -> tuple[str, ...]:
        """Read all cards, find those of tasks whose card is not known; return who has to wait."""
        known = self._notes.now.cards
        by_node = {card.item: task for task, card in known.items() if card.item}

        def others() -> Iterator[Item]:
            for turn, item in enumerate(self._board.all(), 1):
                if turn % (10 * MOST_LOOKED_AT) == 0:
                    self._syncing.tell(f"{turn} cards of the board are read")
                if item.id not in by_node:
                    yield item
                elif by_node[item.id] in self._due:
                    self._items[by_node[item.id]] = item

        lost = {task: card for task, card in self._wanted.items() if task not in self._items}
        about = self._layout, self._syncing.shown
        found, waiting = adopted(lost, others(), *about, by_title=self._asked.adopt)
        self._items = {**found, **self._items}
        return waiting

    # --- fields and choices that the board lacks --------------------------------------------------

    def _make(self) -> None:
        """Make what the board lacks; a card whose choice was lost with its id has it again."""
        notes, came = self._notes, self._came
        to_make = self._layout.to_make if self._asked.creates else ()
        choices = dict(notes.now.index.choices)
        if self._asked.dry_run:
            came.made = to_make
            return
        if not to_make and not choices:
            return
        rewritten = [one.field for one in to_make if isinstance(one, SetOptions)]
        if rewritten:
            choices = {**self._chosen(rewritten), **choices}
        notes.set(choices=choices)
        notes.begin()
        for writes in _batches({str(turn): (one,) for turn, one in enumerate(to_make)}):
            some = [write for _, part in writes for write in part]
            for write, result in zip(some, self._send(some), strict=True):
                if isinstance(write, AddField) and RESERVED in result.refused:
                    other = replace(write, name=spare(write.name))
                    (result,) = self._send([other])
                if result.refused:
                    name = write.name if isinstance(write, AddField) else "its choices"
                    came.unmade[f"the field {name}"] = result.refused
        came.made = to_make
        self._project, _ = self._board.look()
        self._lay_out()
        if choices:
            self._choose_again(choices)
            notes.set(choices={})
            self._look()

    def _chosen(self, fields: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the names of what all cards have chosen in some fields: by field and card."""
        found: dict[str, dict[str, str]] = {node: {} for node in fields}
        for item in self._board.all():
            for node in fields:
                if node in item.values:
                    found[node][item.id] = str(item.values[node])
        return found

    def _choose_again(self, choices: Mapping[str, Mapping[str, str]]) -> None:
        ids = {one.id: {o.name: o.id for o in one.options} for one in self._project.fields}
        lost: dict[str, tuple[Write, ...]] = {}
        for item in self._board.all():
            writes: list[Write] = []
            for node, chosen in choices.items():
                there = ids.get(node, {})
                choice = there.get(chosen.get(item.id, ""))
                if choice and node not in item.values:
                    writes.append(SetValue(item.id, node, "SINGLE_SELECT", choice))
            if writes and item.is_archived:  # a forge changes no card that is put away
                writes = [Archive(item.id, back=True), *writes, Archive(item.id)]
            if writes:
                lost[item.id] = tuple(writes)
        for some in _batches(lost):
            for result in self._send([write for _, part in some for write in part]):
                if result.refused:
                    self._came.unmade["choices that were lost"] = result.refused

    # --- writing ----------------------------------------------------------------------------------

    def write(self) -> None:
        """Write what is to be written: what is made now gets its values by a second request."""
        notes, came, asked = self._notes, self._came, self._asked
        snapshot, shown = self._syncing.desk.snapshot, self._syncing.shown
        roles = self._syncing.desk.handbook.roles
        todo = {task: self._wanted[task] for task in self._chosen_tasks()}
        turn = 0
        while todo:
            change = changes(
                todo,
                notes.now.cards,
                self._items,
                self._layout,
                lambda task: former(snapshot, shown, task, roles),
                waiting=notes.now.index.waiting,
                overwrite=asked.overwrite,
                is_fresh=turn > 0,
            )
            came.drift += change.drift
            came.unchanged += change.unchanged if not turn else ()
            notes.place(change.placed)
            for task, writes in change.writes.items():
                came.writes[task] = (*came.writes.get(task, ()), *writes)
            is_adding = any(isinstance(w, AddDraft) for ws in change.writes.values() for w in ws)
            replaced = [one for one in change.drift if one.replaced]
            is_new = is_adding or bool(replaced) or not notes.has_begun
            if change.writes and not asked.dry_run and is_new:
                notes.set(is_adding=is_adding)
                notes.begin(replaced)
            again = self._do(todo, change.writes)
            notes.set(is_adding=False)
            todo, turn = {task: todo[task] for task in again}, turn + 1
        for task, writes in came.writes.items():
            is_new = any(isinstance(one, AddDraft | AddContent) for one in writes)
            if task not in came.failed:
                (came.created if is_new else came.updated).append(task)

    def _chosen_tasks(self) -> list[str]:
        """Return the tasks whose cards are looked at now; of too many new ones the first."""
        notes, most = self._notes.now, self._asked.most_new
        tasks, new = [], 0
        for task in self._due:
            is_gone = task in notes.cards and notes.cards[task].is_gone
            is_none = is_gone or self._wanted[task].is_archived or task in notes.index.waiting
            if task not in self._items and not is_none:
                new += 1
                if most is not None and new > most:
                    continue
            tasks.append(task)
        if len(tasks) < len(self._due):
            left = count(len(self._due) - len(tasks), "card")
            self._came.left, self._came.is_behind = f"{left} more are made by the next pass", True
        return tasks

    def _do(
        self, todo: Mapping[str, Card], writes: Mapping[str, tuple[Write, ...]]
    ) -> tuple[str, ...]:
        """Do the writes of some cards; return those whose changes have to be asked for again."""
        again: list[str] = []
        looked: dict[str, str] = {}
        done = 0
        for batch in _batches(writes):
            flat = [write for _, some in batch for write in some]
            results = iter(_as_if(flat) if self._asked.dry_run else self._send(flat))
            for task, some in batch:
                came = [next(results) for _ in some]
                self._take(todo[task], some, came)
                if refused := [one.refused for one in came if one.refused]:
                    self._came.failed[task] = refused[0]
                elif isinstance(some[0], AddContent) and not self._asked.dry_run:
                    looked[came[0].id] = task
                is_new = isinstance(some[0], AddDraft | AddContent)
                item = self._items.get(task)
                is_moving = item is not None and item.is_draft and bool(todo[task].content)
                if (is_new or is_moving) and not refused:
                    again.append(task)
            done += len(batch)
            if len(writes) > done:
                self._syncing.tell(f"{done} of {count(len(writes), 'card')} are written")
        # What was on the board already may show anything.
        nodes = [*looked]
        for start in range(0, len(nodes), MOST_LOOKED_AT):
            _, found = self._board.look(nodes[start : start + MOST_LOOKED_AT])
            self._items |= {looked[node]: item for node, item in found.items()}
        return tuple(again)

    def _take(self, card: Card, writes: Sequence[Write], results: Sequence[Wrote]) -> None:
        """Take what came of the writes of one card."""
        placed = self._notes.now.cards.get(card.task, Placed())
        self._notes.place({card.task: after(placed, writes, results, self._layout)})
        for write, result in zip(writes, results, strict=True):
            if result.refused:
                continue
            if isinstance(write, AddDraft | AddContent):
                is_draft = isinstance(write, AddDraft)
                body = card.body if is_draft else ""
                new = Item(result.id, result.content, is_draft, card.title, body)
                self._items[card.task] = new
            elif isinstance(write, Archive):
                item = self._items[card.task]
                self._items[card.task] = replace(item, is_archived=not write.back)

    def _send(self, writes: Sequence[Write]) -> tuple[Wrote, ...]:
        """Do some writes, at the pace that the forge wants; the lease is kept up."""
        if new := sum(isinstance(one, AddDraft | AddContent) for one in writes):
            self._syncing.pace.wait(new, self._syncing.tell)
        self._notes.go_on()
        return self._board.write(self._project.id, writes)


def _as_if(writes: Sequence[Write]) -> tuple[Wrote, ...]:
    """Return what would come of writes: what is made is called by its task."""
    return tuple(
        Wrote(id=f"new-{one.task}", content=f"new-{one.task}")
        if isinstance(one, AddDraft | AddContent)
        else Wrote()
        for one in writes
    )


def _batches(
    writes: Mapping[str, tuple[Write, ...]],
) -> Iterator[list[tuple[str, tuple[Write, ...]]]]:
    """Yield the writes of some cards at a time, as many as one request takes."""
    batch: list[tuple[str, tuple[Write, ...]]] = []
    size = 0
    for task, some in writes.items():
        if batch and (len(batch) == MOST_CARDS or size + len(some) > MOST_WRITES):
            yield batch
            batch, size = [], 0
        batch.append((task, some))
        size += len(some)
    if batch:
        yield batch


__all__ = ["MOST_NEW_IN_A_JOB", "Asked", "Pace", "Syncing"]
