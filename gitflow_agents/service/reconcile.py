"""One pass: look, decide, do.

`scheduler.decide` says what is due; this is the one place that does it.  Everything that a pass
decides is written as one commit of the state and moves its refs in one transaction; if somebody
else was faster, nothing happened, and the next pass sees what they did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gitflow_agents import scheduler
from gitflow_agents.errors import FlowError, LostRace
from gitflow_agents.execute import Order
from gitflow_agents.models import LOCAL, ZERO, Lease, Limits, Reason, Status, Train
from gitflow_agents.runner import is_ours, lease_is_lost
from gitflow_agents.scheduler import Seen
from gitflow_agents.service import hearing
from gitflow_agents.service.accept import revise
from gitflow_agents.service.attempts import Attempts, is_result
from gitflow_agents.service.delivery import deliver_unsent
from gitflow_agents.service.desk import Desk, TestJob
from gitflow_agents.service.effects import Effects
from gitflow_agents.service.opening import Opening
from gitflow_agents.service.proposing import proposal_of
from gitflow_agents.service.reverts import Reverts
from gitflow_agents.service.trains import Trains, is_part
from gitflow_agents.store import CheckedOut, Draft, Offline, RefRefused
from gitflow_agents.store.state import HEADS, one_line, plan_ref, state_ref, try_ref

S = Status
MOST_RACES = 5
"""Lost races in a row with nobody else moving the plan, before a run gives up."""


@dataclass
class Work:
    """What a pass asks to be done outside the lock."""

    orders: list[Order] = field(default_factory=list)
    test: TestJob | None = None
    acted: bool = False


@dataclass
class Reconciler:
    """The passes over one plan by one process."""

    desk: Desk
    attempts: Attempts = field(init=False)
    trains: Trains = field(init=False)
    effects: Effects = field(init=False)
    _looked_at: str = ""
    """The last tip of the plan's branch that was looked at."""
    _unsure: set[str] = field(default_factory=set)
    """Claims that may be in the state though nobody works on them: the answer was lost."""
    _singly: bool = False
    _races: int = 0

    def __post_init__(self) -> None:
        self.attempts = Attempts(self.desk)
        reverts = Reverts(self.desk, lambda draft, task, why: self.effects.fence(draft, task, why))
        self.trains = Trains(self.desk, reverts)
        self.effects = Effects(self.desk, self.attempts, self.trains)

    def clear_worktrees(self) -> None:
        """Remove the worktrees that no attempt and no train owns any more; the lock is held."""
        plan = self.desk.snapshot.plan.plan
        for name in self.desk.worktrees.existing(plan):
            train = self.desk.snapshot.state.train
            is_busy = name in self.desk.own or (
                train is not None and not lease_is_lost(train.lease, self.desk.clock())
                if name == ".train"
                else self.desk.snapshot.record(name).lease is not None
            )
            if is_busy:
                continue
            worktree = self.desk.worktrees.place(plan, name)
            if not self.desk.store.refs.is_local and name != ".train":
                if worktree.owner_lives and not worktree.is_ours:
                    continue  # it was ended from elsewhere, and its run has not heard of it yet
                self.attempts.save_left(worktree, name)
            self.desk.worktrees.remove(worktree)
        opening = Opening(self.desk.store.repository, self.desk.worktrees, self.desk.store.refs)
        for task in opening.existing(plan):
            if not self.desk.snapshot.record(task).taken_by:
                opening.close(plan, task)

    def clear_branches(self) -> None:
        """Delete branches that a kill has left, or that were checked out when they were merged."""
        snapshot, refs = self.desk.snapshot, self.desk.store.refs
        train = try_ref(snapshot.plan.plan)
        tips = refs.tips(f"{HEADS}task/{snapshot.plan.plan}/", train)
        left = [(train, tips[train], ZERO)] if train in tips and not snapshot.state.train else []
        heads = refs.heads()
        for task in () if self.desk.config.keep_branches else snapshot.by_status[S.COMPLETED]:
            record = snapshot.record(task)
            ref = f"{HEADS}{record.branch}"
            if ref in heads or ref not in tips:
                continue
            if is_part(refs.repository, tips[ref], record.attempts[-1]):
                left.append((ref, tips[ref], ZERO))
        refs.move(left)

    def end_run(self) -> None:
        """Leave nothing of an attempt whose end came from elsewhere, and STATUS.md up to date.

        A push goes on without the process that was killed over it: what a run takes for a dead
        attempt as it begins can be a finished one a moment later, with its worktree still there.
        """
        plan, state = self.desk.snapshot.plan.plan, self.desk.snapshot.state
        if self.desk.worktrees.existing(plan):
            with self.desk.store.refs.lock():
                self.refresh()
                self.clear_worktrees()
        if plan in self.desk.store.stale and state.status != "closed":
            with self.desk.store.refs.lock():
                self.refresh()
                draft = Draft(self.desk.snapshot, self.desk.actor, self.desk.run)
                done = len(self.desk.snapshot.by_status[S.COMPLETED])
                total = len(self.desk.snapshot.plan.tasks)
                draft.tell("run_ended", note=f"the run ended: {done} of {total} tasks are merged")
                self.desk.store.commit(draft)

    def refresh(self) -> None:
        """Bring the snapshot up to what git and the processes say now; the lock is held."""
        name, refs = self.desk.snapshot.plan.plan, self.desk.store.refs
        refs.refresh()
        if refs.is_local:  # an agent can reach no ref of a remote
            self._put_back(name)
        if refs.resolve(state_ref(name)) != self.desk.snapshot.tip:
            self.reload()
        if self.desk.snapshot.state.authority != LOCAL and refs.is_local:
            raise LostRace(
                f"{self.desk.snapshot.state.authority} decides on plan {name} now",
                hint="run the command again",
            )
        deliver_unsent(self.desk)
        self.desk.snapshot.seen = self._look()

    def _put_back(self, name: str) -> None:
        """Put back what agents did to refs that this plan stands on."""
        state = self.desk.snapshot.state
        expected = {f"{HEADS}{state.flow}": state.flow_sha, state_ref(name): self.desk.snapshot.tip}
        for task in self.desk.snapshot.by_status[S.REVIEW]:
            record = self.desk.snapshot.record(task)
            expected[f"{HEADS}{record.result_branch}"] = record.attempts[-1].report
        self.desk.executor.alarms += self.desk.executor.guard.put_back(expected)

    def note(self, event: str, said: str, **facts: Any) -> None:
        """Write facts about the plan as a whole down, unless they are; no task moves."""
        state = self.desk.snapshot.state
        if all(getattr(state, name) == fact for name, fact in facts.items()):
            return

        def stage(draft: Draft) -> None:
            draft.set(**facts)
            draft.tell(event, note=said)

        self.write(stage)

    def write(self, stage: Callable[[Draft], None]) -> None:
        """Look at the plan again, and write what is staged on that, all of it or nothing.

        Raises LostRace where somebody moves the plan meanwhile; it is read anew then.
        """
        desk = self.desk
        with desk.store.refs.lock():
            self.refresh()
            draft = Draft(desk.snapshot, desk.actor, desk.run)
            try:
                stage(draft)
                if draft.events:
                    desk.store.commit(draft)
            except BaseException:
                desk.dropped()
                self.reload()
                raise
            desk.written()

    def reload(self) -> None:
        """Read the plan's state again."""
        name = self.desk.snapshot.plan.plan
        snapshot = self.desk.store.load(name)
        if snapshot is None:
            raise FlowError(
                f"the state of {name} is gone: {state_ref(name)}",
                hint=f"git branch gitflow/state/{name} {self.desk.snapshot.tip} brings it back",
            )
        self.desk.snapshot = snapshot

    def _look(self) -> Seen:
        refs, state = self.desk.store.refs, self.desk.snapshot.state
        flow_tip = refs.tip(state.flow)
        flow: Any = "same"
        if flow_tip is None:
            flow = "missing"
        elif flow_tip != state.flow_sha:
            flow = "ahead" if refs.repository.is_ancestor(state.flow_sha, flow_tip) else "forced"
        base_tip = ""
        if self.desk.config.follow_base == "clean":
            base_tip = refs.tip(state.base) or ""
        concluded, foreign, lost = set(), set(), set()
        for task in self.desk.snapshot.by_status[S.IN_PROGRESS] - self.desk.snapshot.taken:
            record = self.desk.snapshot.record(task)
            if self._is_own(task):
                if task in self.desk.ended:
                    concluded.add(task)
                continue
            tip, lease = refs.tip(record.branch), record.lease
            is_held = lease is not None and not self._is_lost(lease)
            # A run of the forge publishes, and leaves it to a pass to see that.
            is_published = lease is not None and lease.run is not None and tip != record.claim
            if is_held and not is_published and record.nonce not in self._unsure:
                continue
            if tip == record.claim:
                lost.add(task)
            elif tip is not None and is_result(self.desk.store, record, tip):
                concluded.add(task)
            else:
                foreign.add(task)
        for task in self.desk.snapshot.by_status[S.REVIEW]:
            record = self.desk.snapshot.record(task)
            attempt = record.attempt
            if attempt is None or refs.tip(record.result_branch) != attempt.report:
                foreign.add(task)
        return Seen(
            flow=flow,
            flow_tip=flow_tip or "",
            base_tip=base_tip,
            concluded=frozenset(concluded),
            foreign=frozenset(foreign),
            lost=frozenset(lost),
            flow_checked_out=str(refs.heads().get(f"{HEADS}{state.flow}", "")),
            landed=self._has_landed(base_tip),
            busy=self._busy(),
            train=self._train_seen(state.train),
        )

    def _is_lost(self, lease: Lease) -> bool:
        """Say whether nobody works under a lease any more, as far as this process can tell."""
        return lease.run in self.desk.runs_over or lease_is_lost(lease, self.desk.clock())

    def _is_own(self, task: str) -> bool:
        """Say whether this process works on the attempt that the state names."""
        order, record = self.desk.own.get(task), self.desk.snapshot.record(task)
        return order is not None and order.nonce == record.nonce and record.lease is not None

    def _busy(self) -> frozenset[str]:
        """Return whose worktree is still used for what has ended in the state; end that too."""
        snapshot, testing = self.desk.snapshot, self.desk.testing
        own = {task for task in self.desk.own if not self._is_own(task)}
        for task in own:
            self.desk.own[task].stop.set()
        train = snapshot.state.train
        if testing is not None and (train is None or train.tip != testing.train.tip):
            testing.stop.set()
            own.add(".train")
        for name in self.desk.worktrees.existing(snapshot.plan.plan):
            is_live = train if name == ".train" else snapshot.record(name).lease
            if is_live is None:
                place = self.desk.worktrees.place(snapshot.plan.plan, name)
                if place.owner_lives and not place.is_ours:
                    own.add(name)
        return frozenset(own)

    def _let_go(self, draft: Draft) -> None:
        """Forget the attempts of ours that somebody ended, now that nobody works on them."""
        for task in [task for task in self.desk.ended if not self._is_own(task)]:
            self.attempts.let_go(draft, task)

    def _has_landed(self, base_tip: str) -> bool:
        """Say whether the base holds the very report that finished this plan."""
        state, repository = self.desk.snapshot.state, self.desk.store.repository
        base_tip = base_tip or self.desk.store.refs.tip(state.base) or ""
        if state.status != "finished" or not base_tip or not self.desk.snapshot.is_over:
            return False
        path = f"plans/{state.plan}.report.md"
        here = repository.find(repository.commit(state.flow_sha).tree, path)
        there = repository.find(repository.commit(base_tip).tree, path)
        return here is not None and here == there

    def _train_seen(self, train: Train | None) -> Any:
        if train is None:
            return ""
        if train.tip in self.desk.tests:
            return "failed" if self.desk.tests[train.tip].reason else "passed"
        if self.desk.testing is not None and self.desk.testing.train.tip == train.tip:
            return ""
        is_lost = self._is_lost(train.lease) or is_ours(train.lease)
        return "lost" if is_lost else ""

    def revise(self) -> bool:
        """Accept what the plan's branch says by now, or note why not; the lock is held."""
        desk = self.desk
        snapshot = desk.snapshot
        name, state = snapshot.plan.plan, snapshot.state
        tip = desk.store.refs.resolve(plan_ref(name))
        if tip is None or tip in (state.commit, self._looked_at):
            return False
        if state.status in ("landed", "closed"):
            return False
        self._looked_at = tip
        draft = Draft(snapshot, desk.actor, desk.run)
        try:
            proposal = proposal_of(desk.store, name)
            plan = desk.check(proposal.data).plan
            if plan == snapshot.plan:
                return False
            revision = revise(desk.store, draft, proposal, plan, self.effects)
        except FlowError as e:
            desk.dropped()
            self.reload()
            return self._refuse_text(tip, e)
        desk.store.commit(draft)
        desk.snapshot = draft.snapshot
        number = desk.snapshot.state.revision
        desk.say(
            "plan_accepted",
            f"plan {name} accepted as v{number}: {'; '.join(revision.said)}",
            "\n".join(f"note: {warning}" for warning in revision.warnings),
            revision=number,
            commit=tip,
            added=list(revision.added),
            removed=list(revision.removed),
            changed=list(revision.changed),
        )
        desk.written()
        self.effects.end_processes(wait=False)
        return True

    def _refuse_text(self, tip: str, error: FlowError) -> bool:
        """Say why a new text is no revision; once a run, and only the first time in the state."""
        desk = self.desk
        problems = [each for each in getattr(error, "problems", ()) if not each.is_warning]
        why = f"{error.message}; {error.hint}".rstrip("; ")
        if problems:
            more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
            why = f"{problems[0]}{more}"
        name, state = desk.snapshot.plan.plan, desk.snapshot.state
        is_new = (state.refused, state.refusal) != (tip, one_line(why))
        desk.say(
            "plan_refused",
            f"the new text of plan/{name} was refused, nothing has changed: {why}",
            "\n".join(map(str, problems[1:10])),
            problems=problems if is_new else (),
            commit=tip,
        )
        if is_new:
            draft = Draft(desk.snapshot, desk.actor, desk.run)
            draft.set(refused=tip, refusal=one_line(why))
            draft.tell("plan_refused", commit=tip, note=f"the new text was refused: {why}")
            desk.store.commit(draft)
        desk.written()
        return is_new

    def step(
        self,
        limits: Limits,
        slots: int,
        *,
        barrier: bool,
        stopping: bool,
        only: frozenset[str] | None = None,
    ) -> Work:
        """Do one pass and return the work that it started; an empty one when nothing was due.

        With `only` no other tasks are merged.
        """
        work = Work()
        with self.desk.store.refs.lock():
            self.refresh()
            if self.revise():  # what is due now, and the limits that hold, the next pass sees
                work.acted = True
                return work
            draft = Draft(self.desk.snapshot, self.desk.actor, self.desk.run)
            try:
                alarms = tuple(self.desk.executor.alarms)
                self._let_go(draft)
                hearing.note(self.desk, draft)
                if alarms:
                    self.hold(draft, "; ".join(alarms))
                    self.desk.afterwards.append(lambda: self.desk.executor.heard(len(alarms)))
                while True:
                    actions = self.due(
                        limits,
                        slots - len(self.desk.own) + len(self.desk.ended) - len(work.orders),
                        barrier=barrier,
                        stopping=stopping,
                        only=only,
                    )
                    if self._singly:
                        actions = [self._single(action) for action in actions[:1]]
                    for action in actions:
                        self._do(draft, action, work)
                    if not actions or self._singly or work.test:
                        break
                    self.desk.snapshot.seen = self._after(actions)
                if draft.events:
                    self.desk.store.commit(draft)
                    work.acted = True
                self._singly, self._races = False, 0
            except (CheckedOut, RefRefused, LostRace) as e:
                self.desk.dropped()
                before = self.desk.snapshot.tip
                self.reload()
                if isinstance(e, LostRace):
                    self._races = self._races + 1 if self.desk.snapshot.tip == before else 0
                    if self._races > MOST_RACES:
                        raise  # nobody else moved the plan: what we expect is not going to be
                if self._singly and not isinstance(e, LostRace):
                    self._refuse(actions, e)
                    self._singly = False
                else:
                    self._singly = not isinstance(e, LostRace)
                return Work(acted=True)
            except Offline:
                self._unsure |= {order.nonce for order in work.orders}
                self.desk.dropped()
                self.reload()
                raise
            except BaseException:
                self.desk.dropped()
                raise
        # First what follows from the attempts that ended: one pass may end one and start the next.
        self.desk.written()
        for order in work.orders:
            self.desk.own[order.task.id] = order
        if work.test is not None:
            self.desk.testing = work.test
        for task in self.desk.own:
            hearing.hand(self.desk, task)
        return work

    def due(
        self,
        limits: Limits,
        slots: int,
        *,
        barrier: bool = False,
        stopping: bool = False,
        only: frozenset[str] | None = None,
    ) -> list[scheduler.Action]:
        """Return what is due now, as far as the snapshot knows."""
        desk, now = self.desk, self.desk.clock()
        return scheduler.decide(
            desk.snapshot,
            now,
            limits,
            slots=slots,
            train=0 if scheduler.is_ahead(desk.next_train, now) else desk.config.train,
            barrier=barrier,
            stopping=stopping,
            follow_base=desk.config.follow_base == "clean",
            only=only,
        )

    def _after(self, actions: list[scheduler.Action]) -> Seen:
        """Return what is still to be believed once these actions are staged."""
        seen = self.desk.snapshot.seen
        done = {a.task for a in actions if isinstance(a, scheduler.Conclude | scheduler.Expire)}
        done |= {a.task for a in actions if isinstance(a, scheduler.Disown)}
        ended = any(isinstance(a, scheduler.EndTrain) for a in actions)
        flow = any(isinstance(a, scheduler.AdoptFlow | scheduler.Resume) for a in actions)
        return Seen(
            flow="same" if flow or seen.flow == "same" else seen.flow,
            flow_tip=seen.flow_tip,
            base_tip=seen.base_tip,
            concluded=seen.concluded - done,
            foreign=seen.foreign - done,
            lost=seen.lost - done,
            flow_checked_out=seen.flow_checked_out,
            busy=seen.busy,
            train="" if ended else seen.train,
        )

    def _single(self, action: scheduler.Action) -> scheduler.Action:
        if isinstance(action, scheduler.Claim):
            return scheduler.Claim(action.tasks[:1])
        if isinstance(action, scheduler.StartTrain):
            return scheduler.StartTrain(action.tasks[:1], action.follow_base)
        return action

    def _refuse(self, actions: list[scheduler.Action], why: FlowError) -> None:
        """Record that one claim or merge cannot be made; what else is refused is a person's."""
        draft = Draft(self.desk.snapshot, self.desk.actor, self.desk.run)
        said = f"{why.message}; {why.hint}".rstrip("; ")
        match actions[0] if actions else None:
            case scheduler.Claim((task, *_)):
                self.attempts.fail_claim(draft, task, Reason.PUSH_REFUSED, said)
            case scheduler.StartTrain((task, *_), False) if not self.desk.store.refs.is_local:
                self.trains.refuse_push(draft, (task,), said)
            case scheduler.EndTrain() if not self.desk.store.refs.is_local:
                train = self.desk.snapshot.state.train
                if train is None:
                    raise why
                self.trains.refuse_push(draft, tuple(car.task for car in train.cars), said)
            case _:
                raise why
        self.desk.store.commit(draft)
        self.desk.written()

    def _do(self, draft: Draft, action: scheduler.Action, work: Work) -> None:
        match action:
            case scheduler.AdoptFlow():
                self.trains.adopt_flow(draft)
            case scheduler.Hold(why):
                self.hold(draft, why)
            case scheduler.Resume():
                draft.set(held="")
                draft.tell("plan_resumed", note="what held the plan is gone")
                self.desk.say("plan_resumed", "the plan goes on")
            case scheduler.Conclude(task):
                self.attempts.conclude(draft, task)
            case scheduler.Expire(task, reason):
                self.attempts.expire(draft, task, reason)
            case scheduler.Disown(task):
                self.trains.disown(draft, task)
            case scheduler.Retry(task):
                self.attempts.retry(draft, task)
            case scheduler.EndTrain():
                self.trains.end(draft)
                lost = draft.snapshot.state.lost_trains
                if lost >= scheduler.LOST_IN_A_ROW:
                    draft.set(lost_trains=0)  # who lets it go on has looked
                    self.hold(draft, f"the runs of {lost} trains in a row ended without a verdict")
            case scheduler.StartTrain(tasks, follow_base):
                work.test = self.trains.start(draft, tasks, follow_base)
            case scheduler.Claim(tasks):
                started = (self.attempts.claim(draft, task) for task in tasks)
                work.orders += [order for order in started if order is not None]
            case scheduler.Finish():
                self.trains.finish(draft)
            case scheduler.Land():
                base = self.desk.snapshot.state.base
                draft.set(status="landed")
                draft.tell("plan_landed", note=f"landed: flow was merged to {base}")
                self.desk.say("plan_landed", f"the plan has landed on {base}")

    def hold(self, draft: Draft, why: str) -> None:
        """Start and merge nothing more until somebody has looked."""
        draft.set(held=one_line(why))
        draft.tell("plan_held", note=f"held: {one_line(why)}")
        self.desk.say("plan_held", "the plan is held: nothing more is started", message=why)
