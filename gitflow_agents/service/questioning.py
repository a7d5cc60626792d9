"""Questions of agents on a forge: each in a comment of its own, answered by a sign under it.

That a question is shown is written down before it is, so it is shown once; a sign is what `answer`
of the same person would be, and the first that counts is the answer.  No event tells of a sign: the
next pass sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from gitflow_agents.commands import Answer, Refused
from gitflow_agents.errors import LostRace
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused, Reacted
from gitflow_agents.models import Asked, Limits
from gitflow_agents.render.facts import meanings
from gitflow_agents.render.story import question, question_marker
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.acting import act_for
from gitflow_agents.service.permitting import Permitting, Unasked, permitting_of
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft

UNKNOWN_SECONDS = 120.0
"""Seconds for which whoever writes a comment may take to note its id."""
CLOCKS = 600.0
"""Seconds by which the clock of a forge may be another one."""
RACES = 5

Key = tuple[str, int]
"""A task, and which of its questions."""


@dataclass
class Questions:
    """The questions of one plan, in one pass; nothing that fails here fails it."""

    reconciler: Reconciler
    forge: Forge
    limits: Limits

    @property
    def _snapshot(self) -> Snapshot:
        return self.reconciler.desk.snapshot

    @cached_property
    def _permitting(self) -> Permitting:
        return permitting_of(self.reconciler.desk, self.forge)

    # --- what was answered ------------------------------------------------------------------------

    def hear(self) -> None:
        """Take the signs under questions for answers."""
        for task in sorted(self._snapshot.asking, key=self._snapshot.plan.order.__getitem__):
            asked = self._snapshot.record(task).open_question
            if asked is None or not asked.comment or not meanings(asked):
                continue
            try:
                for one in self.forge.reactions(asked.comment):
                    if self._takes(task, asked, one):
                        break
            except (ForgeDown, ForgeRefused, Unasked, LostRace) as e:
                self._warn(f"signs under the question of {task} are not seen: {e.message}")

    def _takes(self, task: str, asked: Asked, one: Reacted) -> bool:
        """Answer with a sign, and say whether it is an answer of somebody who may give one."""
        said = meanings(asked).get(one.sign)
        if said is None or one.is_bot:
            return False
        who = self._permitting.asker(one.login, one.author)
        about = self.reconciler, self.limits, self._permitting, who
        command = Answer(targets=(task,), text=said)
        try:
            act_for(*about, command, lambda now: _open(now, task) != asked)
        except Unasked:
            raise
        except Refused:
            return False  # of a stranger, who is not talked to
        return True

    # --- what is asked ----------------------------------------------------------------------------

    def show(self) -> None:
        """Show what is asked now, and what came of what was asked before."""
        home, now = self._snapshot.state.home, self.reconciler.desk.clock()
        if home is None or not home.number:
            return
        new, late, over = [], [], []
        for key, asked in self._all():
            is_open = _open(self._snapshot, key[0]) == asked
            if is_open and not asked.shown_at:
                new.append(key)
            elif is_open and not asked.comment and now - asked.shown_at > UNKNOWN_SECONDS:
                late.append(key)
            elif not is_open and asked.comment and not asked.is_closed:
                over.append(key)
        try:
            if new:
                self._note({key: {"shown_at": now} for key in new}, "questions are shown")
            self._write(home.number, new, late)
            self._close(over)
        except (ForgeDown, ForgeRefused, LostRace) as e:
            self._warn(f"a question is not shown: {e.message}")

    def _write(self, number: int, new: list[Key], late: list[Key]) -> None:
        written: dict[Key, Mapping[str, object]] = {}
        why: ForgeRefused | None = None
        try:
            for key in (*late, *new):
                asked = self._asked(key)
                text = question(self._snapshot, key[0], asked)
                try:
                    found = self._found(number, key[0], asked) if key in late else 0
                    written[key] = {"comment": found or self.forge.say(number, text)}
                except ForgeRefused as e:
                    why = e  # the others may be shown all the same
        finally:
            self._note(written, "where questions are shown")
        if why is not None:
            raise why

    def _found(self, number: int, task: str, asked: Asked) -> int:
        """Return the comment of a question that somebody wrote who could not say so, or 0."""
        mark = question_marker(self._snapshot.plan.plan, task, asked)
        written = self.forge.comments(number, asked.shown_at - CLOCKS)
        own = (one for one in written if one.is_own)
        return next((one.id for one in own if one.text.startswith(mark)), 0)

    def _close(self, over: list[Key]) -> None:
        """Let the comments of questions say what came of them."""
        done: dict[Key, Mapping[str, object]] = {}
        try:
            for key in over:
                asked = self._asked(key)
                with suppress(ForgeRefused):  # then it says what it said; the plan's comment knows
                    self.forge.rewrite(asked.comment, question(self._snapshot, key[0], asked))
                done[key] = {"is_closed": True}
        finally:
            self._note(done, "what came of questions is shown")

    # --- shared -----------------------------------------------------------------------------------

    def _all(self) -> Iterator[tuple[Key, Asked]]:
        for task, record in self._snapshot.records.items():
            if task in self._snapshot.plan.by_id:
                for at, asked in enumerate(record.questions):
                    yield (task, at), asked

    def _asked(self, key: Key) -> Asked:
        return self._snapshot.record(key[0]).questions[key[1]]

    def _note(self, changes: Mapping[Key, Mapping[str, object]], what: str) -> None:
        """Write down what is known of the comments of questions."""
        if not changes:
            return

        def stage(draft: Draft) -> None:
            for (task, at), change in changes.items():
                record = draft.snapshot.record(task)
                if at < len(record.questions):
                    questions = list(record.questions)
                    questions[at] = questions[at].model_copy(update=change)
                    draft.put(record.model_copy(update={"questions": tuple(questions)}))
            draft.tell("questions_shown", note=f"{what}: {', '.join(task for task, _ in changes)}")

        for turn in range(RACES):
            try:
                self.reconciler.write(stage)
                return
            except LostRace:
                if turn == RACES - 1:
                    raise

    def _warn(self, text: str) -> None:
        self.reconciler.desk.say("warning", text)
        self.reconciler.desk.written()


def _open(snapshot: Snapshot, task: str) -> Asked | None:
    return snapshot.record(task).open_question if task in snapshot.plan.by_id else None


__all__ = ["Questions"]
