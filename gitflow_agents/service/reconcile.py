"""One pass: look, decide, do.

`scheduler.decide` says what is due; this is the one place that does it.  Everything that a pass
decides is written as one commit of the state and moves its refs in one transaction; if somebody
else was faster, nothing happened, and the next pass sees what they did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gitflow_agents import scheduler
from gitflow_agents.errors import FlowError, LostRace
from gitflow_agents.execute import Order
from gitflow_agents.models import ZERO, Limits, Reason, Status, Train
from gitflow_agents.runner import is_ours, lease_is_lost
from gitflow_agents.scheduler import Seen
from gitflow_agents.service.attempts import Attempts, is_result
from gitflow_agents.service.desk import Desk, TestJob
from gitflow_agents.service.trains import Trains
from gitflow_agents.store import CheckedOut, Draft, RefRefused
from gitflow_agents.store.state import HEADS, one_line, state_ref, try_ref

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
    _singly: bool = False
    _races: int = 0

    def __post_init__(self) -> None:
        self.attempts, self.trains = Attempts(self.desk), Trains(self.desk)

    def clear_worktrees(self) -> None:
        """Remove the worktrees that no attempt and no train owns any more; the lock is held."""
        plan = self.desk.snapshot.plan.plan
        for name in self.desk.worktrees.existing(plan):
            train = self.desk.snapshot.state.train
            is_busy = (
                train is not None and not lease_is_lost(train.lease, self.desk.clock())
                if name == ".train"
                else self.desk.snapshot.status(name) is S.IN_PROGRESS
            )
            if not is_busy:
                self.desk.worktrees.remove(self.desk.worktrees.place(plan, name))

    def clear_branches(self) -> None:
        """Delete branches that a kill has left, or that were checked out when they were merged."""
        snapshot, refs = self.desk.snapshot, self.desk.store.refs
        train = try_ref(snapshot.plan.plan)
        tips = refs.repository.tips(f"{HEADS}task/{snapshot.plan.plan}/", train)
        left = [(train, tips[train], ZERO)] if train in tips and not snapshot.state.train else []
        heads = refs.heads()
        for task in () if self.desk.config.keep_branches else snapshot.by_status[S.COMPLETED]:
            record = snapshot.record(task)
            ref = f"{HEADS}{record.branch}"
            if ref in tips and ref not in heads and tips[ref] == record.attempts[-1].report:
                left.append((ref, tips[ref], ZERO))
        refs.move(left)

    def end_run(self) -> None:
        """Bring STATUS.md up to date when the plan stops short of its end."""
        if self.desk.snapshot.plan.plan in self.desk.store.stale:
            with self.desk.store.refs.lock():
                self.refresh()
                draft = Draft(self.desk.snapshot, self.desk.actor, self.desk.run)
                done = len(self.desk.snapshot.by_status[S.COMPLETED])
                total = len(self.desk.snapshot.plan.tasks)
                draft.tell("run_ended", note=f"the run ended: {done} of {total} tasks are merged")
                self.desk.store.commit(draft)

    def lift_hold(self) -> None:
        """Go on with a held plan: whoever starts a run has looked; the lock is held."""
        held = self.desk.snapshot.state.held
        if held and not held.startswith(scheduler.FLOW_TROUBLE):
            draft = Draft(self.desk.snapshot, self.desk.actor, self.desk.run)
            draft.set(held="")
            draft.tell("plan_resumed", note="resumed: somebody looked and ran it again")
            self.desk.store.commit(draft)

    def refresh(self) -> None:
        """Bring the snapshot up to what git and the processes say now; the lock is held."""
        name, repository = self.desk.snapshot.plan.plan, self.desk.store.repository
        state = self.desk.snapshot.state
        expected = {f"{HEADS}{state.flow}": state.flow_sha, state_ref(name): self.desk.snapshot.tip}
        for task in self.desk.snapshot.by_status[S.REVIEW]:
            record = self.desk.snapshot.record(task)
            expected[f"{HEADS}{record.branch}"] = record.attempts[-1].report
        self.desk.executor.alarms += self.desk.executor.guard.put_back(expected)
        if repository.resolve(state_ref(name)) != self.desk.snapshot.tip:
            self.reload()
        self.desk.snapshot.seen = self._look()

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
        repository, state = self.desk.store.repository, self.desk.snapshot.state
        flow_tip = repository.tip(state.flow)
        flow: Any = "same"
        if flow_tip is None:
            flow = "missing"
        elif flow_tip != state.flow_sha:
            flow = "ahead" if repository.is_ancestor(state.flow_sha, flow_tip) else "forced"
        base_tip = ""
        if self.desk.config.follow_base == "clean":
            base_tip = repository.tip(state.base) or ""
        concluded, foreign, lost = set(), set(), set()
        for task in self.desk.snapshot.by_status[S.IN_PROGRESS]:
            record = self.desk.snapshot.record(task)
            if task in self.desk.own:
                if task in self.desk.ended:
                    concluded.add(task)
                continue
            tip = repository.tip(record.branch)
            if record.lease is not None and not lease_is_lost(record.lease, self.desk.clock()):
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
            if attempt is None or repository.tip(record.branch) != attempt.report:
                foreign.add(task)
        return Seen(
            flow=flow,
            flow_tip=flow_tip or "",
            base_tip=base_tip,
            concluded=frozenset(concluded),
            foreign=frozenset(foreign),
            lost=frozenset(lost),
            flow_checked_out=str(self.desk.store.refs.heads().get(f"{HEADS}{state.flow}", "")),
            landed=self._has_landed(base_tip),
            train=self._train_seen(state.train),
        )

    def _has_landed(self, base_tip: str) -> bool:
        """Say whether the base holds the very report that finished this plan."""
        state, repository = self.desk.snapshot.state, self.desk.store.repository
        base_tip = base_tip or repository.tip(state.base) or ""
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
        if self.desk.testing == train.tip:
            return ""
        is_lost = lease_is_lost(train.lease, self.desk.clock()) or is_ours(train.lease)
        return "lost" if is_lost else ""

    def step(self, limits: Limits, slots: int, *, barrier: bool, stopping: bool) -> Work:
        """Do one pass and return the work that it started; an empty one when nothing was due."""
        work = Work()
        with self.desk.store.refs.lock():
            self.refresh()
            draft = Draft(self.desk.snapshot, self.desk.actor, self.desk.run)
            try:
                alarms = tuple(self.desk.executor.alarms)
                if alarms:
                    self.hold(draft, "; ".join(alarms))
                    self.desk.afterwards.append(lambda: self.desk.executor.heard(len(alarms)))
                while True:
                    actions = scheduler.decide(
                        self.desk.snapshot,
                        self.desk.clock(),
                        limits,
                        slots=slots - len(self.desk.own) + len(self.desk.ended) - len(work.orders),
                        train=self.desk.config.train,
                        barrier=barrier,
                        stopping=stopping,
                        follow_base=self.desk.config.follow_base == "clean",
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
            except BaseException:
                self.desk.dropped()
                raise
        # First what follows from the attempts that ended: one pass may end one and start the next.
        self.desk.written()
        for order in work.orders:
            self.desk.own[order.task.id] = order
        return work

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
            train="" if ended else seen.train,
        )

    def _single(self, action: scheduler.Action) -> scheduler.Action:
        if isinstance(action, scheduler.Claim):
            return scheduler.Claim(action.tasks[:1])
        return action

    def _refuse(self, actions: list[scheduler.Action], why: FlowError) -> None:
        """Record that one claim cannot be made; anything else that git refuses is a person's."""
        claim = actions[0] if actions else None
        if not isinstance(claim, scheduler.Claim):
            raise why
        task = claim.tasks[0]
        draft = Draft(self.desk.snapshot, self.desk.actor, self.desk.run)
        self.attempts.fail_claim(
            draft, task, Reason.PUSH_REFUSED, f"{why.message}; {why.hint}".rstrip("; ")
        )
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
            case scheduler.StartTrain(tasks, follow_base):
                work.test = self.trains.start(draft, tasks, follow_base)
            case scheduler.Claim(tasks):
                work.orders += [self.attempts.claim(draft, task) for task in tasks]
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
        self.desk.say("plan_held", f"the plan is held: {why}")
