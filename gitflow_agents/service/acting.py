"""A person's command, carried out: what `commands.effects` decided, in one transaction.

A pass goes first, so that the decision is made on what git and the processes say now.  Then
everything that the command changes is written together with its events, or nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gitflow_agents import commands
from gitflow_agents.commands import (
    Approve,
    Decision,
    Follow,
    Ground,
    Hold,
    Mark,
    MergeNow,
    Move,
    PutForward,
    Refused,
    Resume,
    Revert,
    Skip,
    TakeBack,
    Unapprove,
    Update,
)
from gitflow_agents.errors import LostRace
from gitflow_agents.models import Limits, Status
from gitflow_agents.scheduler import Snapshot, limits_now
from gitflow_agents.service.conducting import NEWS, Conductor
from gitflow_agents.service.desk import Desk
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft

MOST_RACES = 5

RECORDABLE: Mapping[type[commands.Act], frozenset[Status]] = {
    Hold: frozenset(Status),
    Resume: frozenset(Status),
    Approve: frozenset(Status),
    Unapprove: frozenset(Status),
    # Elsewhere something runs, or a merge may be on flow that the state does not know of yet.
    Skip: frozenset({Status.PENDING, Status.FAILED, Status.CANCELLED}),
}
"""Commands that may change nothing but records, and the statuses of tasks in which they do."""

LOCAL_LEVEL = "admin"
"""What the person at the terminal may do where no forge knows better."""


@dataclass(frozen=True)
class Outcome:
    """What became of a command: sentences for people, and the words that undo it."""

    plan: str
    changed: bool
    said: tuple[str, ...]
    undo: str
    snapshot: Snapshot
    is_done: bool = True
    """Whether all that was asked for came about."""
    would: bool = False
    """Something would change, and was only said."""


@dataclass
class Acting:
    """Carries out commands on one plan for one person."""

    reconciler: Reconciler
    limits: Limits

    @property
    def desk(self) -> Desk:
        return self.reconciler.desk

    def handle(self, command: commands.Act, *, dry_run: bool = False) -> Outcome:
        """Carry out a command, or with `dry_run` only say what it would do.

        Raises Refused when it is not allowed or not possible, LostRace when others were faster
        every time.
        """
        permit(command, LOCAL_LEVEL)
        for turn in range(MOST_RACES):
            try:
                if isinstance(command, Revert | Update) and not dry_run:
                    self._conductor.wait()
                return self._once(command, dry_run)
            except LostRace:
                if turn == MOST_RACES - 1:
                    raise
                self.reconciler.reload()
        raise AssertionError("unreachable")

    def record(self, command: commands.Act, *, dry_run: bool = False) -> Outcome | None:
        """Carry out a command that changes nothing but the records of the tasks that it names.

        None when it is more than that.  The lock is held, and the snapshot needs no other task: no
        pass goes first, because nothing that it could find changes what is recorded here.
        """
        permit(command, LOCAL_LEVEL)
        desk = self.desk
        snapshot, plan = desk.snapshot, desk.snapshot.plan.plan
        statuses = {snapshot.status(task) for task in snapshot.plan.by_id}
        if snapshot.state.status != "live" or not statuses <= RECORDABLE[type(command)]:
            return None
        decision = commands.effects(command, self._ground(command))
        if not all(isinstance(effect, Mark | Move) for effect in decision.effects):
            return None
        if dry_run or not decision.effects:
            would = bool(decision.effects)
            undo = decision.undo if would else ""
            return Outcome(plan, False, decision.said, undo, snapshot, would=would)
        draft = Draft(snapshot, desk.actor, desk.run)
        self.reconciler.effects.stage(draft, decision.effects)
        desk.store.commit(draft)
        return Outcome(plan, True, decision.said, decision.undo, snapshot)

    def _once(self, command: commands.Act, dry_run: bool) -> Outcome:
        desk, refs = self.desk, self.desk.store.refs
        with refs.lock():
            if not dry_run:
                while self.reconciler.step(self.limits, 0, barrier=False, stopping=True).acted:
                    pass
            self.reconciler.refresh()
            may_wait = isinstance(command, Revert | Update) and not dry_run
            if may_wait and self._conductor.has_to_wait:
                raise LostRace("another train takes merges back", hint="run the command again")
            snapshot = desk.snapshot
            ground = self._ground(command)
            decision = commands.effects(command, ground)
            plan = snapshot.plan.plan
            if dry_run:
                self._rehearse(decision)
            if dry_run or not decision.effects:
                undo = decision.undo if decision.effects else ""
                would = bool(decision.effects)
                return Outcome(plan, False, decision.said, undo, snapshot, would=would)
            merges = [each for each in decision.effects if isinstance(each, MergeNow)]
            if not merges:
                draft = Draft(snapshot, desk.actor, desk.run)
                try:
                    self.reconciler.effects.stage(draft, decision.effects)
                    desk.store.commit(draft)
                except BaseException:
                    desk.dropped()
                    self.reconciler.reload()
                    raise
        if merges:
            return self._merge(merges[0].tasks)
        desk.written(only=NEWS)
        effects = self.reconciler.effects
        effects.end_processes()
        if effects.job is not None:
            self._conductor.settle(effects.job)
        said = (*decision.said, *effects.said)
        return Outcome(plan, True, said, decision.undo, desk.snapshot)

    @property
    def _conductor(self) -> Conductor:
        return Conductor(self.reconciler, self.limits)

    def _ground(self, command: commands.Act) -> Ground:
        desk, base, has_base = self.desk, "", False
        if isinstance(command, Update):
            repository, state = desk.store.repository, desk.snapshot.state
            remote = f"refs/remotes/origin/{state.base}^{{commit}}"
            base = desk.store.refs.tip(state.base) or repository.resolve(remote) or ""
            has_base = bool(base) and repository.is_ancestor(base, state.flow_sha)
        held = desk.snapshot.state.held
        still = desk.executor.guard.still(held) if held else {}
        limits = limits_now(desk.snapshot, desk.config)
        return Ground(desk.snapshot, desk.actor, desk.clock(), limits, base, has_base, still)

    def _rehearse(self, decision: Decision) -> None:
        """Refuse what would be refused for what is on flow or on a branch; nothing moves."""
        trains = self.reconciler.trains
        for effect in decision.effects:
            match effect:
                case PutForward(task):
                    self.reconciler.effects.taking.look(task)
                case TakeBack(tasks, why):
                    trains.reverts.couple(tasks, why)
                case Follow(tip):
                    trains.base_car(tip)

    def _merge(self, tasks: Sequence[str]) -> Outcome:
        plan, before = self.desk.snapshot.plan.plan, self.desk.snapshot.tip
        said, is_done = self._conductor.merge(tasks)
        snapshot = self.desk.snapshot
        merged = [f"{plan}/{task}" for task in tasks if snapshot.status(task) is Status.COMPLETED]
        undo = f"revert {' '.join(merged)} -m WHY" if merged else ""
        return Outcome(plan, snapshot.tip != before, said, undo, snapshot, is_done)


def permit(command: commands.Act, level: str) -> None:
    """Raise Refused unless `level` is enough for a command: the one place that decides it."""
    levels = commands.LEVELS
    if levels.index(level) < levels.index(command.level):
        verb = command.model_dump()["verb"]
        raise Refused("not-allowed", f"you have {level}; {verb} needs {command.level}")


__all__ = ["RECORDABLE", "Acting", "Outcome", "permit"]
