"""The effects of a decision, staged in a draft: the one place that turns them into records.

What a person commands and what a new text of the plan changes both come here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from gitflow_agents.commands import (
    Assign,
    DropTrain,
    Effect,
    End,
    Follow,
    HandBack,
    Mark,
    MarkPlan,
    Move,
    PutForward,
    TakeBack,
)
from gitflow_agents.models import Lease, person
from gitflow_agents.runner import end_all, lease_is_lost, new_lease
from gitflow_agents.service.attempts import Attempts, is_result
from gitflow_agents.service.desk import Desk, TestJob
from gitflow_agents.service.taking import Taking
from gitflow_agents.service.trains import Trains
from gitflow_agents.store import Draft
from gitflow_agents.store.state import one_line
from gitflow_agents.transitions import By, advance

PATIENCE = 20.0
"""Seconds for which the run of an attempt that was stopped may save what it did."""


@dataclass
class Effects:
    """Stages effects; what has to end with them ends once they are written."""

    desk: Desk
    attempts: Attempts
    trains: Trains
    ending: list[tuple[str, Lease, str]] = field(default_factory=list)
    """Worktree, lease and nonce of what runs and was ended."""
    job: TestJob | None = None
    """The train that has to be tested before what was asked for is done."""
    said: list[str] = field(default_factory=list)
    """What people should know of what was staged, beside what was decided."""

    @property
    def taking(self) -> Taking:
        return Taking(self.desk, self.attempts)

    def stage(self, draft: Draft, effects: Iterable[Effect]) -> None:
        """Stage effects in their order."""
        self.dropped()
        for effect in effects:
            self._stage(draft, effect)
        if draft.snapshot.state.status == "finished" and not draft.snapshot.is_over:
            draft.set(status="live")  # it has work again, and gets another end

    def dropped(self) -> None:
        """Forget what was staged: it is not written, or there was nothing."""
        self.ending.clear()
        self.said.clear()
        self.job = None

    def _stage(self, draft: Draft, effect: Effect) -> None:
        snapshot = self.desk.snapshot
        match effect:
            case End(task, why):
                self.fence(draft, task, why)
            case DropTrain():
                train = snapshot.state.train
                if train is not None:
                    self.ending.append((".train", train.lease, train.nonce))
                    self.desk.is_unwanted(draft, train.lease)
                    self.trains.drop(draft)
            case Move(task, event, reason, message, changes):
                record, who = snapshot.record(task), person(draft.actor)
                status = advance(record.status, event, By.PERSON, reason)
                about = {"status": status, "reason": reason, "message": one_line(message)}
                draft.put(record.model_copy(update={**about, **changes}))
                note = f"{task} {event.removeprefix('task_').replace('_', ' ')}"
                why = f"{note}: {one_line(message)}" if message else f"{note} by {who}"
                draft.tell(event, task=task, status=status, reason=reason, note=why)
            case Mark(task, name, note, changes):
                draft.put(snapshot.record(task).model_copy(update=dict(changes)))
                draft.tell(name, task=task, note=one_line(note))
            case Assign(task):
                self.said.append(self.taking.take(draft, task))
            case PutForward(task, outputs):
                self.said += self.taking.submit(draft, task, outputs)
            case HandBack(task):
                self.said += self.taking.give(draft, task)
            case TakeBack(tasks, why):
                self.job = self.trains.take_back(draft, tasks, why)
            case Follow(tip):
                self.job = self.trains.follow(draft, tip)
            case MarkPlan(name, note, changes):
                draft.set(**{k: one_line(v) if k == "held" else v for k, v in changes.items()})
                draft.tell(name, note=one_line(note))

    def fence(self, draft: Draft, task: str, why: str) -> None:
        """End an attempt, or take the result that it had come to before anybody said so."""
        record = self.desk.snapshot.record(task)
        if record.taken_by:
            self.said += self.taking.give(draft, task, why)
            return
        tip = self.desk.store.refs.tip(record.branch)
        if tip is not None and tip != record.claim and is_result(self.desk.store, record, tip):
            self.attempts.conclude(draft, task)  # it was done before anybody said stop
            return
        if record.lease is None:
            return
        is_dead = lease_is_lost(record.lease, self.desk.clock())
        self.attempts.stop(draft, task, why, is_dead=is_dead)
        if not is_dead:
            self.ending.append((task, record.lease, record.nonce))
            number = record.attempts[-1].number
            self.desk.is_unwanted(draft, record.lease, task, number)

    def end_processes(self, *, wait: bool = True) -> None:
        """End what runs here; with `wait`, until the run that it belongs to has saved its work."""
        here = new_lease(0).host
        plan = self.desk.snapshot.plan.plan
        mine = [(name, nonce) for name, lease, nonce in self.ending if lease.host == here]
        deadline = time.monotonic() + PATIENCE
        while mine and time.monotonic() < deadline:
            for _, nonce in mine:
                end_all(f"GITFLOW_CLAIM={nonce}")
            mine = [(n, o) for n, o in mine if self.desk.worktrees.place(plan, n).owner_lives]
            if not wait:
                break
            if mine:
                time.sleep(0.1)
        self.ending.clear()


__all__ = ["Effects"]
