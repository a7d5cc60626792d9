"""A person's command, carried out: what `commands.effects` decided, in one transaction.

A pass goes first, so that the decision is made on what git and the processes say now.  Then
everything that the command changes is written together with its events, or nothing is.  A train is
tested here while the person waits; where runs of a forge test, it is written down for the next pass
to start, and nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gitflow_agents import commands, permission, scheduler
from gitflow_agents.commands import (
    Answer,
    Approve,
    Decision,
    Feedback,
    Follow,
    Ground,
    Hold,
    Mark,
    MergeNow,
    Move,
    PutForward,
    Refused,
    Resume,
    Retry,
    Revert,
    Skip,
    TakeBack,
    Unapprove,
    Update,
)
from gitflow_agents.errors import LostRace
from gitflow_agents.models import Limits, Status
from gitflow_agents.roles import Handbook
from gitflow_agents.scheduler import Snapshot, limits_now
from gitflow_agents.service.conducting import NEWS, Conductor, told_of_merge
from gitflow_agents.service.desk import Desk
from gitflow_agents.service.hearing import hand_here
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import CheckedOut, Draft, RefRefused

if TYPE_CHECKING:
    from gitflow_agents.permission import Asker
    from gitflow_agents.service.permitting import Permitting

MOST_RACES = 5

RECORDABLE: Mapping[type[commands.Act], frozenset[Status]] = {
    Hold: frozenset(Status),
    Resume: frozenset(Status),
    Approve: frozenset(Status),
    Unapprove: frozenset(Status),
    Feedback: frozenset(Status),
    Answer: frozenset({Status.PENDING}),
    # Elsewhere something runs, or a merge may be on flow that the state does not know of yet.
    Skip: frozenset({Status.PENDING, Status.FAILED, Status.CANCELLED}),
}
"""Commands that may change nothing but records, and the statuses of tasks in which they do."""

Permit = Callable[[commands.Act, Snapshot], None]
"""Raises Refused where somebody may not give a command on a plan as it is."""


def act_for(
    reconciler: Reconciler,
    limits: Limits,
    permitting: Permitting,
    who: Asker,
    command: commands.Act,
    unless: Callable[[Snapshot], bool],
) -> Outcome:
    """Carry out what somebody on a forge said without words, as if they had given the command.

    Raises what `Acting.handle` raises.
    """

    def permit(asked: commands.Act, snapshot: Snapshot) -> None:
        permitting.permit(asked, who, snapshot)

    desk = reconciler.desk
    own, desk.actor = desk.actor, who.actor
    try:
        acting = Acting(reconciler, limits, permit, tests_here=False)
        return acting.handle(command, unless=unless)
    finally:
        desk.actor = own


def at_terminal(command: commands.Act, snapshot: Snapshot) -> None:
    """Permit what the person at the terminal asks for, where no forge knows better."""
    permission.permit(command, permission.TERMINAL, permission.Rules(), snapshot)


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
    is_staged: bool = False
    """It comes about once a train that a run of the forge tests has passed."""


Also = Callable[[Draft, Outcome], None]
"""Adds to what a command changes, in its transaction; what it raises undoes the whole of it."""


@dataclass
class Acting:
    """Carries out commands on one plan for one person."""

    reconciler: Reconciler
    limits: Limits
    permit: Permit = at_terminal
    asked_at: float | None = None
    """When it was given on a forge, in seconds since the epoch: what came later was not seen."""
    tests_here: bool = True
    """Whether this process tests trains, while the person waits; else a run of the forge does."""

    @property
    def desk(self) -> Desk:
        return self.reconciler.desk

    def handle(
        self,
        command: commands.Act,
        *,
        dry_run: bool = False,
        also: Also | None = None,
        unless: Callable[[Snapshot], bool] = lambda snapshot: False,
    ) -> Outcome:
        """Carry out a command, or with `dry_run` only say what it would do.

        `also` is called once for what is written, even when the command itself changes nothing; it
        is for a forge's trains only, for one that is tested here is more than one transaction.
        With the plan of which `unless` is true nothing is done at all, and nothing said.

        Raises Refused when it is not allowed or not possible, LostRace when others were faster
        every time.
        """
        assert also is None or not self.tests_here
        for turn in range(MOST_RACES):
            try:
                if isinstance(command, Revert | Update) and self.tests_here and not dry_run:
                    self._conductor.wait()
                return self._once(command, dry_run, also, unless)
            except LostRace:
                if turn == MOST_RACES - 1:
                    raise
                self.reconciler.reload()
        raise AssertionError("unreachable")

    def record(self, command: commands.Act, *, dry_run: bool = False) -> Outcome | None:
        """Carry out a command that changes nothing but the records of the tasks that it names.

        None when it is more than that.  The snapshot needs no other task: no pass goes first,
        because nothing that it could find changes what is recorded here.  Raises LostRace where
        somebody has changed meanwhile what it was decided on.
        """
        desk = self.desk
        snapshot, plan = desk.snapshot, desk.snapshot.plan.plan
        self.permit(command, snapshot)
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
        with desk.store.refs.lock():
            desk.store.renew_slice(snapshot)
            desk.store.commit(draft)
            if isinstance(command, Feedback):
                hand_here(desk)
        return Outcome(plan, True, decision.said, decision.undo, snapshot)

    def _once(
        self,
        command: commands.Act,
        dry_run: bool,
        also: Also | None,
        unless: Callable[[Snapshot], bool],
    ) -> Outcome:
        desk, refs = self.desk, self.desk.store.refs
        plan = desk.snapshot.plan.plan
        with refs.lock():
            if not dry_run:
                while self.reconciler.step(self.limits, 0, barrier=False, stopping=True).acted:
                    pass
            self.reconciler.refresh()
            if unless(desk.snapshot):
                return Outcome(plan, False, (), "", desk.snapshot)
            self.permit(command, desk.snapshot)
            if isinstance(command, Revert | Update) and not dry_run:
                self._one_at_a_time()
            decision = commands.effects(command, self._ground(command))
            if dry_run:
                self._rehearse(decision)
            is_merge = any(isinstance(each, MergeNow) for each in decision.effects)
            if not (is_merge and self.tests_here) or dry_run:
                outcome = self._write(decision, dry_run, also)
        if is_merge and self.tests_here and not dry_run:
            return self._merge(decision)
        if dry_run:
            return outcome
        if isinstance(command, Feedback):
            hand_here(desk)
        desk.written(only=NEWS)
        effects = self.reconciler.effects
        effects.end_processes()
        if effects.job is not None and self.tests_here:
            self._conductor.settle(effects.job)
        return outcome

    def _one_at_a_time(self) -> None:
        """Let nobody's train of reverts be taken apart for another one."""
        if not self._conductor.has_to_wait:
            return
        if self.tests_here:
            raise LostRace("another train takes merges back", hint="run the command again")
        train = self.desk.snapshot.state.train
        gone = commands.names([car.task for car in train.reverts]) if train else ""
        raise Refused(
            "wrong-state",
            f"a train that takes {gone} back is tested; nothing was changed",
            hint="say it again when that has ended",
        )

    def _write(self, decision: Decision, dry_run: bool, also: Also | None) -> Outcome:
        """Write what was decided and what goes with it; the lock is held."""
        desk, effects = self.desk, self.reconciler.effects
        draft = Draft(desk.snapshot, desk.actor, desk.run)
        try:
            outcome = self._stage(draft, decision, dry_run)
            if also is not None:
                also(draft, outcome)
            if draft.events:
                desk.store.commit(draft)
        except BaseException as e:
            effects.dropped()
            desk.dropped()
            self.reconciler.reload()
            if isinstance(e, RefRefused | CheckedOut) and not self.tests_here:
                # It is refused again the next time: whoever asked has to know.
                said = f"{e.message}; nothing was changed"
                raise Refused("push-refused", said, hint=e.hint) from e
            raise
        return outcome

    def _stage(self, draft: Draft, decision: Decision, dry_run: bool) -> Outcome:
        desk, effects = self.desk, self.reconciler.effects
        snapshot, plan = desk.snapshot, desk.snapshot.plan.plan
        if dry_run or not decision.effects:
            effects.dropped()
            would = bool(decision.effects)
            undo = decision.undo if would else ""
            return Outcome(plan, False, decision.said, undo, snapshot, would=would)
        if snapshot.state.setback:
            draft.set(setback="")  # who acts again has seen it
        merges = [each for each in decision.effects if isinstance(each, MergeNow)]
        if merges:
            return self._stage_merge(draft, merges[0].tasks)
        effects.stage(draft, decision.effects)
        said = (*decision.said, *effects.said)
        is_staged = effects.job is not None and not self.tests_here
        if is_staged:
            said = (*said, "that is so once it is tested; flow has not moved yet")
        return Outcome(plan, True, said, decision.undo, snapshot, not is_staged, False, is_staged)

    def _stage_merge(self, draft: Draft, tasks: Sequence[str]) -> Outcome:
        """Write down the train that merges tasks; on flow at once when there is nothing to run."""
        reconciler, plan = self.reconciler, self.desk.snapshot.plan.plan
        reconciler.effects.dropped()
        due = reconciler.due(self.limits, 0, only=frozenset(tasks))
        start = next((each for each in due if isinstance(each, scheduler.StartTrain)), None)
        if start is not None:
            reconciler.trains.start(draft, start.tasks, start.follow_base)
        snapshot = draft.snapshot
        merged = [task for task in tasks if snapshot.status(task) is Status.COMPLETED]
        waiting = [task for task in tasks if snapshot.status(task) is Status.REVIEW]
        said = tuple(self._told(snapshot, task) for task in tasks)
        undo = f"revert {' '.join(f'{plan}/{task}' for task in merged)} -m WHY" if merged else ""
        changed, is_done = bool(draft.events), len(merged) == len(tasks)
        return Outcome(plan, changed, said, undo, snapshot, is_done, False, bool(waiting))

    def _told(self, snapshot: Snapshot, task: str) -> str:
        record, train = snapshot.record(task), snapshot.state.train
        if record.status is not Status.REVIEW:
            return told_of_merge(snapshot, task)
        if train is not None and task in {car.task for car in train.cars}:
            return f"{task} is tested, and merged to {snapshot.state.flow} when that passes"
        return f"{task} is merged by the next train that can take it"

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
        says_who = isinstance(command, Retry) and command.says_who
        return Ground(
            desk.snapshot,
            desk.actor,
            desk.clock(),
            limits,
            base_tip=base,
            has_base=has_base,
            config=desk.config,
            book=desk.handbook if says_who else Handbook(),
            still=still,
            asked_at=self.asked_at,
        )

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

    def _merge(self, decision: Decision) -> Outcome:
        tasks = next(each.tasks for each in decision.effects if isinstance(each, MergeNow))
        plan, before = self.desk.snapshot.plan.plan, self.desk.snapshot.tip
        said, is_done = self._conductor.merge(tasks)
        snapshot = self.desk.snapshot
        merged = [f"{plan}/{task}" for task in tasks if snapshot.status(task) is Status.COMPLETED]
        undo = f"revert {' '.join(merged)} -m WHY" if merged else ""
        return Outcome(plan, snapshot.tip != before, said, undo, snapshot, is_done)


__all__ = ["RECORDABLE", "Acting", "Also", "Outcome", "Permit", "act_for", "at_terminal"]
