"""Runs of a forge that have to end: asked to, looked after and forced, until there is none left.

The state names them from the very commit on after which nobody wants what they do.  So whoever is
killed over it, the next pass goes on; and a run that outlives all of it changes nothing, because
its claim is over.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from gitflow_agents.errors import LostRace
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused
from gitflow_agents.models import Ending
from gitflow_agents.service.desk import Desk
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft
from gitflow_agents.store.state import HEADS, attempt_ref

FORCE_SECONDS = 60.0
"""Seconds after which a run is forced whose agent, or test, is still at work."""
PATIENCE_SECONDS = 300.0
"""Seconds after which a person is told that a run has not ended."""
FORGET_SECONDS = 24 * 3600.0
"""Seconds after which nobody asks any more for a run that does not end."""
PAUSES = (2.0, 3.0, 5.0, 10.0, 20.0, 22.0, 30.0, 60.0, 70.0, 80.0)
"""Seconds between two looks of whoever waits: few requests, and soon where it is soon over."""
RACES = 5


@dataclass
class _Turn:
    """What one look at the runs found, to be written down at once."""

    over: set[int] = field(default_factory=set)
    forgotten: set[int] = field(default_factory=set)
    forced: set[int] = field(default_factory=set)
    late: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)


@dataclass
class Ends:
    """Ends the runs that one plan wants no more."""

    reconciler: Reconciler
    forge: Forge
    sleep: Callable[[float], None] = time.sleep
    own: int = 0
    """The run in which this is done: it ends by itself, when all of this is over."""
    _is_late: bool = False
    """A person has to be told, who was not before."""
    _said: dict[int, str] = field(default_factory=dict)

    @property
    def desk(self) -> Desk:
        return self.reconciler.desk

    def go(self, *, wait: bool = False) -> tuple[str, ...]:
        """Ask all of them to end, and see to those that were asked before.

        With `wait` until none is left for which there is any hope, at most five minutes.  Returns
        a sentence for each run; that a forge cannot be asked, or refuses, is one of them.
        """
        self._turn(() if wait else self.desk.asked_to_end)
        for pause in PAUSES if wait else ():
            if all(one.told for one in self.desk.snapshot.state.ending):
                break
            before = self.desk.snapshot.state.ending
            self.sleep(pause)
            with self.desk.store.refs.lock():
                self.reconciler.refresh()
            left = {one.run for one in self.desk.snapshot.state.ending}
            for one in before:
                if one.run not in left:  # a pass has found it before us
                    self._say(one, self._ended(self._kept(one)))
            self._turn()
        if wait and self._is_late:  # who waits may tell nobody; a pass does
            with contextlib.suppress(ForgeDown, ForgeRefused):
                self.forge.start("reconcile", {"plan": self.desk.snapshot.plan.plan})
        return tuple(self._said.values())

    def _turn(self, known: Collection[int] = ()) -> None:
        """Look at all of them once; of those that are `known` nobody expects anything new."""
        now, turn = self.desk.clock(), _Turn()
        left_alone = {self.own, *known}
        runs = [one for one in self.desk.snapshot.state.ending if one.run not in left_alone]
        for one in runs:
            try:
                self._see_to(one, now, turn)
            except (ForgeDown, ForgeRefused) as e:
                self._say(one, f"could not be asked for: {e.message}; the next pass tries again")
            is_there = one.run not in turn.over | turn.forgotten
            if is_there and now - one.since >= PATIENCE_SECONDS and not one.told:
                turn.late.add(one.run)
        if turn != _Turn():
            self._write(turn)
        for one in runs:
            if one.run in turn.late or (one.told and one.run not in turn.over | turn.forgotten):
                self._say(one, f"has not ended in 5 minutes; end it there: {self._url(one)}")

    def _see_to(self, one: Ending, now: float, turn: _Turn) -> None:
        """Ask a run to end, or for whether it has; what came of it goes to the turn."""
        is_asked = one.run in self.desk.asked_to_end
        if not is_asked and self._ask(one, turn) and now - one.since < FORCE_SECONDS:
            return
        run = self.forge.run(one.run)
        if run is None or run.is_over:
            turn.over.add(one.run)
            return
        if now - one.since > FORGET_SECONDS:
            turn.forgotten.add(one.run)
            return
        if now - one.since < FORCE_SECONDS or one.forced_at:
            return
        # Where only what was done is still being saved, force would lose it.
        work = self.forge.verdict(one.run)
        if work is not None and not work.is_over:
            self.forge.cancel(one.run, force=True)
            turn.forced.add(one.run)
            self._say(one, "did not end in 60 seconds, and is forced to")

    def _ask(self, one: Ending, turn: _Turn) -> bool:
        """Ask a run to end; say whether it is going to, as far as can be told."""
        try:
            is_at_work = self.forge.cancel(one.run)
        except ForgeRefused as e:
            self._say(one, f"cannot be ended: {e.message}")
            if one.refused != e.message:
                turn.refused[one.run] = e.message
            return False
        self.desk.asked_to_end.add(one.run)
        if is_at_work:
            self._say(one, "is asked to end")
        return is_at_work

    def _write(self, turn: _Turn) -> None:
        for attempt in range(RACES):
            try:
                self.reconciler.write(lambda draft: self._stage(draft, turn))
                return
            except LostRace:
                if attempt == RACES - 1:
                    raise

    def _stage(self, draft: Draft, turn: _Turn) -> None:
        now, left = self.desk.clock(), []
        for one in draft.snapshot.state.ending:
            what = self._what(one)
            if one.run in turn.forgotten:
                self._say(one, f"is not asked for any more: {self._url(one)}")
                draft.tell("run_ended", note=self._said[one.run])
                continue
            if one.run in turn.over:
                kept = self._keep(draft, one)
                what += f" {self._ended(kept)}"
                self._said[one.run] = what
                draft.tell("run_ended", note=what)
                self.desk.say("run_ended", what, run=one.run)
                continue
            if one.run in turn.forced:
                one = one.model_copy(update={"forced_at": now})
                draft.tell("run_forced", note=f"{what} is forced to end")
            if why := turn.refused.get(one.run):
                one = one.model_copy(update={"refused": why})
                draft.tell("run_lives", note=f"{what} cannot be ended: {why}")
            if one.run in turn.late:
                self._is_late = True
                one = one.model_copy(update={"told": True})
                said = f"{what} has not ended in 5 minutes: {self._url(one)}"
                draft.tell("run_lives", note=said)
                self.desk.say("run_lives", said, run=one.run)
            left.append(one)
        if tuple(left) != draft.snapshot.state.ending:
            draft.set(ending=tuple(left))

    def _keep(self, draft: Draft, one: Ending) -> str:
        """Note where what a run had done was put, and return that branch; nothing if nowhere."""
        kept = self._kept(one)
        last = self.desk.store.refs.resolve(f"{HEADS}{kept}") if kept else None
        if last:
            self.reconciler.attempts.keep_work(draft, one.task, one.attempt, last, kept)
        return kept

    def _kept(self, one: Ending) -> str:
        """Return the branch that what a run had done was put on; nothing if there is none."""
        plan = self.desk.snapshot.plan
        if not one.task or one.task not in plan.by_id:
            return ""
        ref = attempt_ref(plan.plan, one.task, one.attempt)
        return ref.removeprefix(HEADS) if self.desk.store.refs.resolve(ref) else ""

    def _ended(self, kept: str) -> str:
        return f"has ended{f'; what it had done is kept as {kept}' if kept else ''}"

    def _say(self, one: Ending, what: str) -> None:
        self._said[one.run] = f"{self._what(one)} {what}"

    def _what(self, one: Ending) -> str:
        whose = f"{one.task}: its run" if one.task else "the train: its run"
        return f"{whose} {one.run}"

    def _url(self, one: Ending) -> str:
        return self.forge.url(one.run)


__all__ = ["Ends"]
