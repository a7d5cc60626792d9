"""Trains that a person asked for: tested here and now, while the person waits.

What was asked for is done when flow has moved; until then a kill, Ctrl-C or a failing test leaves
flow and the tasks as they were.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gitflow_agents import render
from gitflow_agents.commands import Refused
from gitflow_agents.errors import GitFailed, LostRace
from gitflow_agents.execute import Verdict
from gitflow_agents.models import Limits, Reason, Status, Train
from gitflow_agents.runner import is_ours, lease_is_lost
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.desk import Desk, TestJob
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.run import interruptible
from gitflow_agents.store import Draft

S = Status
NEWS = frozenset({"train_started", "work_kept"})
"""What a command tells beside its own sentences, which say what became of it."""
LOOK = 0.2
"""Seconds between two looks at a train of somebody else."""


@dataclass
class Conductor:
    """Tests trains for one command."""

    reconciler: Reconciler
    limits: Limits

    @property
    def desk(self) -> Desk:
        return self.reconciler.desk

    def wait(self) -> None:
        """Wait until no other process is taking merges back."""
        while True:
            with self.desk.store.refs.lock():
                self.reconciler.refresh()
            if not self.has_to_wait:
                return
            time.sleep(LOOK)

    @property
    def has_to_wait(self) -> bool:
        """Say whether another process is taking merges back: one train of that kind at a time."""
        train = self.desk.snapshot.state.train
        return train is not None and bool(train.reverts) and self._is_anothers(train)

    def _is_anothers(self, train: Train) -> bool:
        return not is_ours(train.lease) and not lease_is_lost(train.lease, self.desk.clock())

    def settle(self, job: TestJob) -> None:
        """Test a train that the state names, and take the verdict.

        Raises Refused when it does not pass, LostRace when flow moved meanwhile, KeyboardInterrupt
        when somebody wants us to end; nothing has moved then.
        """
        desk = self.desk
        try:
            verdict = self._test(job)
        finally:
            with desk.store.refs.lock():
                self._end(job)
        if desk.snapshot.state.flow_sha == job.train.tip:
            return
        self._raise_unless_passed(verdict)
        if desk.snapshot.state.held:
            raise Refused("held", f"the plan is held: {desk.snapshot.state.held}")
        raise LostRace(
            f"{desk.snapshot.state.flow} moved while it was tested, so nothing was changed",
            hint="run the command again",
        )

    def _test(self, job: TestJob) -> Verdict:
        self.desk.testing = job
        try:
            with interruptible(self.desk.executor.stop.set):
                return self.reconciler.trains.test(job)
        finally:
            self.desk.testing = None

    def _end(self, job: TestJob) -> None:
        """Take the verdict if the train is still on its way; the lock is held."""
        desk, reconciler = self.desk, self.reconciler
        reconciler.refresh()
        train = desk.snapshot.state.train
        if train is None or train.tip != job.train.tip:
            desk.forget_test(job.train.tip)
            return
        draft = Draft(desk.snapshot, desk.actor, desk.run)
        try:
            if desk.executor.alarms:  # what was tested changed the repository: it proves nothing
                alarms = tuple(desk.executor.alarms)
                reconciler.hold(draft, "; ".join(alarms))
                desk.afterwards.append(lambda: desk.executor.heard(len(alarms)))
                desk.forget_test(job.train.tip)
            reconciler.effects.ending.clear()
            reconciler.trains.end(draft)
            desk.store.commit(draft)
        except BaseException:
            desk.dropped()
            reconciler.reload()
            raise
        desk.written(only=NEWS)
        reconciler.effects.end_processes()

    def _raise_unless_passed(self, verdict: Verdict) -> None:
        if self.desk.executor.stop.is_set():
            raise KeyboardInterrupt
        if verdict.reason is Reason.INFRASTRUCTURE:
            raise GitFailed(
                f"it could not be tested: {verdict.message}",
                hint="nothing was changed; run the command again",
            )
        if verdict.reason is not None:
            tail = verdict.commands[-1].tail if verdict.commands else ""
            last = "".join(f"\n  {line}" for line in tail.splitlines()[-5:])
            raise Refused(
                str(verdict.reason),
                f"{verdict.message}; nothing was changed{render.clean(last)}",
                hint="mend what fails, then run the command again",
            )

    # --- merging ----------------------------------------------------------------------------------

    def merge(self, tasks: Sequence[str]) -> tuple[tuple[str, ...], bool]:
        """Merge tasks in review, and nothing else, by as many trains as it takes.

        Returns a sentence a task, and whether all of them are merged.
        """
        desk, reconciler = self.desk, self.reconciler
        results = {task: desk.snapshot.record(task).attempts[-1].report for task in tasks}
        while not desk.executor.stop.is_set():
            work = reconciler.step(
                self.limits, 0, barrier=False, stopping=False, only=frozenset(tasks)
            )
            if work.test is not None:
                self._test(work.test)
                continue
            if work.acted:
                continue
            waiting = [task for task in tasks if self._waits(task, results[task])]
            train = desk.snapshot.state.train
            is_busy = ".train" in desk.snapshot.seen.busy
            if not waiting or not (is_busy or (train and self._is_anothers(train))):
                break
            time.sleep(LOOK)
        if desk.executor.stop.is_set():
            self._leave()
            raise KeyboardInterrupt
        said = tuple(self._told(task, results[task]) for task in tasks)
        merged = [task for task in tasks if desk.snapshot.status(task) is S.COMPLETED]
        return said, len(merged) == len(tasks)

    def _leave(self) -> None:
        """Note that the train that we were testing goes nowhere."""
        while self.reconciler.step(self.limits, 0, barrier=False, stopping=True).acted:
            pass

    def _waits(self, task: str, result: str) -> bool:
        record = self.desk.snapshot.record(task)
        return record.status is S.REVIEW and record.attempts[-1].report == result

    def _told(self, task: str, result: str) -> str:
        snapshot = self.desk.snapshot
        if self._waits(task, result):
            held = snapshot.state.held or "nothing can be merged now"
            return f"{task} is still in review: {held}"
        return told_of_merge(snapshot, task)


def told_of_merge(snapshot: Snapshot, task: str) -> str:
    """Return in a sentence what became of a task that was to be merged, and is not in review."""
    record = snapshot.record(task)
    if record.status is S.COMPLETED:
        return f"{task} is merged to {snapshot.state.flow} as {record.merge[:12]}"
    why = f": {record.reason}: {record.message}" if record.reason else ""
    return f"{task} was not merged, and is {record.status.replace('_', ' ')}{why}"


__all__ = ["NEWS", "Conductor", "told_of_merge"]
