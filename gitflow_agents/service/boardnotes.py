"""What a plan's state remembers of its board while one process writes to it, and who that is.

The lease is part of what is remembered, so that taking it is a commit which others lose a race by.
Start with Notes: `begin` before the first write, `end` after the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gitflow_agents.board.changes import Drift
from gitflow_agents.board.memory import Index, Placed, Writer
from gitflow_agents.errors import FlowError, LostRace
from gitflow_agents.models import LOCAL
from gitflow_agents.service.desk import Desk
from gitflow_agents.store import Draft, boards
from gitflow_agents.store.boards import Remembered
from gitflow_agents.store.state import new_nonce, state_ref

LEASE_SECONDS = 300.0
"""Seconds for which nobody else writes to a board after somebody said that they do."""
LAG_SECONDS = 60.0
"""Seconds in which a listing may lack a card that was made."""
RACES = 20
"""Times that something is written down when somebody else moves the plan."""
MOST_SAID = 20
"""Edits of people that a commit names which it replaces."""


class Again(FlowError):
    """What was decided on is not so any more: the turn begins again."""


class Notes:
    """What the state remembers of a board, and what is to be remembered; the lease is in it.

    `now` is what is true, `before` what the state says: `write` brings the one to the other.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk, self._nonce = desk, new_nonce()
        self.before = self.now = Remembered()

    @property
    def _clock(self) -> float:
        return self._desk.clock()

    def load(self) -> None:
        """Read what the state remembers."""
        self.before = self.now = boards.read(self._desk.store.repository, self._desk.snapshot.tree)

    def forget(self) -> None:
        """Nothing that is remembered is true of this board."""
        self.now = Remembered(Index(writer=self.now.index.writer))

    def set(self, **changes: object) -> None:
        """Take what is new of the board as a whole."""
        self.now = replace(self.now, index=self.now.index.model_copy(update=changes))

    def place(self, placed: Mapping[str, Placed]) -> None:
        """Take what is new of cards."""
        self.now = replace(self.now, cards={**self.now.cards, **placed})

    @property
    def is_others(self) -> bool:
        """Say whether somebody else is writing to the board."""
        writer = self.before.index.writer
        is_mine = writer is None or writer.nonce == self._nonce
        return not is_mine and writer is not None and self._clock < writer.until

    @property
    def has_begun(self) -> bool:
        """Say whether the state says that we write."""
        writer = self.before.index.writer
        return writer is not None and writer.nonce == self._nonce

    def begin(self, replaced: Sequence[Drift] = ()) -> None:
        """Say that we write, and what; Again where somebody else has written meanwhile.

        What is `replaced` of people's is said as well: who dies after that reports nothing.
        """
        self.set(writer=Writer(nonce=self._nonce, until=self._clock + LEASE_SECONDS))
        said = [f"{one.task} {one.field}: {one.theirs}" for one in replaced[:MOST_SAID]]
        more = f"; in place of what people made of {'; '.join(said)}" if said else ""
        self._write("board_begun", f"the board is being written{more}")

    def go_on(self) -> None:
        """Say that we still write, before others take us for dead."""
        writer = self.before.index.writer
        if writer is not None and writer.until - self._clock < LEASE_SECONDS / 2:
            self.begin()

    def end(self, said: str) -> None:
        """Say what was written, and that we write no more."""
        self.set(writer=None)
        self._write("board_noted", said)

    def break_off(self) -> None:
        """Say what was written until something went wrong.

        Where cards were made of which nobody heard, the board is left alone for as long as its
        listings may lack them: who looks for them too early makes them again.
        """
        said = "the board was written in part"
        if not self.now.index.is_adding:
            self.end(said)
            return
        self.set(writer=Writer(nonce="", until=self._clock + LAG_SECONDS))
        self._write("board_noted", said)

    def _write(self, event: str, said: str) -> None:
        for turn in range(RACES):
            try:
                self._commit(event, said)
                break
            except LostRace:
                if turn == RACES - 1:
                    raise
        self.before = self.now

    def _commit(self, event: str, said: str) -> None:
        desk, refs = self._desk, self._desk.store.refs
        with refs.lock():
            refs.refresh()
            name = desk.snapshot.plan.plan
            if refs.resolve(state_ref(name)) != desk.snapshot.tip:
                self._look_again()
            if boards.index_of(desk.store.repository, desk.snapshot.tree) != self.before.index:
                raise Again("somebody else has written to the board")
            draft = Draft(desk.snapshot, desk.actor, desk.run)
            if boards.put(draft, self.now, self.before):
                draft.tell(event, note=said)
                try:
                    desk.store.commit(draft)
                except BaseException:
                    self._look_again()
                    raise

    def _look_again(self) -> None:
        """Read the plan as it is by now."""
        desk, name = self._desk, self._desk.snapshot.plan.plan
        snapshot = desk.store.load(name)
        if snapshot is None:
            raise FlowError(f"the state of {name} is gone: {state_ref(name)}")
        is_moved = snapshot.state.authority != LOCAL and desk.store.refs.is_local
        if is_moved:
            raise FlowError(
                f"{snapshot.state.authority} decides on plan {name} now",
                hint="run the command again",
            )
        desk.snapshot = snapshot


__all__ = ["LAG_SECONDS", "LEASE_SECONDS", "Again", "Notes"]
