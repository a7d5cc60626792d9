"""One pass: look, decide, do.

`scheduler.decide` says what is due; this is the one place that does it.  Everything that a pass
decides is written as one commit of the state and moves its refs in one transaction; if somebody
else was faster, nothing happened, and the next pass sees what they did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitflow_agents import merge, render, scheduler, spec
from gitflow_agents.errors import FlowError, LostRace
from gitflow_agents.execute import Check, Executor, Order, Result, Verdict, checks_of, gate_of
from gitflow_agents.models import (
    SCHEMA,
    ZERO,
    Attempt,
    Config,
    DoneReport,
    Limits,
    PlanState,
    Ran,
    Reason,
    Status,
    TaskRecord,
    Train,
)
from gitflow_agents.runner import end_all, lease_is_lost, new_lease
from gitflow_agents.scheduler import Seen, Snapshot
from gitflow_agents.store import (
    CheckedOut,
    Draft,
    Entry,
    RefRefused,
    Store,
    Worktrees,
)
from gitflow_agents.store.repository import FILE, TOOL
from gitflow_agents.store.state import (
    BRIEFING,
    HEADS,
    KEPT_ATTEMPTS,
    attempt_ref,
    events_of,
    new_nonce,
    one_line,
    state_ref,
    try_ref,
)
from gitflow_agents.transitions import RETRIED_BY_ITSELF, By, Happened, advance

E, S = Happened, Status
SUMMARY_BYTES = 64 * 1024
LEASE_MARGIN = 15 * 60.0


@dataclass(frozen=True)
class Told:
    """One thing that happened: a line for people, an object for programs, and lines of detail."""

    event: str
    text: str
    data: Mapping[str, Any]
    detail: str = ""


@dataclass(frozen=True)
class TestJob:
    """A train to be tested: the tree, and what must pass on it."""

    train: Train
    tree: str
    checks: tuple[Check, ...]
    nonce: str


@dataclass
class Work:
    """What a pass asks to be done outside the lock."""

    orders: list[Order] = field(default_factory=list)
    test: TestJob | None = None
    acted: bool = False


@dataclass
class Reconciler:
    """The passes over one plan by one process."""

    store: Store
    config: Config
    worktrees: Worktrees
    executor: Executor
    snapshot: Snapshot
    actor: str
    tell: Callable[[Told], None]
    run: str = ""
    clock: Callable[[], float] = time.time
    own: dict[str, Order] = field(default_factory=dict)
    """Attempts that this process is working on."""
    ended: set[str] = field(default_factory=set)
    """Attempts of this process that have ended and are not yet in the state."""
    results: dict[str, tuple[Result, str]] = field(default_factory=dict)
    """Of those that were stopped: what they did, and the commit of it."""
    failures: dict[str, FlowError] = field(default_factory=dict)
    """Attempts of this process that git or the disk let down."""
    tests: dict[str, Verdict] = field(default_factory=dict)
    """Verdicts of this process by the train's tip."""
    testing: str = ""
    _names: dict[str, str] = field(default_factory=dict)
    _singly: bool = False
    _pending: list[Told] = field(default_factory=list)

    # --- before a run -----------------------------------------------------------------------------

    def clear_worktrees(self) -> None:
        """Remove the worktrees that no attempt and no train owns any more; the lock is held."""
        plan = self.snapshot.plan.plan
        for name in self.worktrees.existing(plan):
            train = self.snapshot.state.train
            is_busy = (
                train is not None and not lease_is_lost(train.lease, self.clock())
                if name == ".train"
                else self.snapshot.status(name) is S.IN_PROGRESS
            )
            if not is_busy:
                self.worktrees.remove(self.worktrees.place(plan, name))

    def clear_branches(self) -> None:
        """Delete task branches that are merged and were left: by a kill, or checked out then."""
        if self.config.keep_branches:
            return
        folder = f"{HEADS}task/{self.snapshot.plan.plan}/"
        heads = self.store.refs.heads()
        tips = self.store.repository.tips(folder)
        left = []
        for task in self.snapshot.by_status[S.COMPLETED] if tips else ():
            record = self.snapshot.record(task)
            ref = f"{HEADS}{record.branch}"
            if ref in tips and ref not in heads and tips[ref] == record.attempts[-1].report:
                left.append((ref, tips[ref], ZERO))
        self.store.refs.move(left)

    def end_run(self) -> None:
        """Bring STATUS.md up to date when the plan stops short of its end."""
        if self.snapshot.plan.plan in self.store.stale:
            with self.store.refs.lock():
                self.refresh()
                draft = Draft(self.snapshot, self.actor, self.run)
                done = len(self.snapshot.by_status[S.COMPLETED])
                total = len(self.snapshot.plan.tasks)
                draft.tell("run_ended", note=f"the run ended: {done} of {total} tasks are merged")
                self.store.commit(draft)

    def lift_hold(self) -> None:
        """Go on with a held plan: whoever starts a run has looked; the lock is held."""
        held = self.snapshot.state.held
        if held and not held.startswith(scheduler.FLOW_TROUBLE):
            draft = Draft(self.snapshot, self.actor, self.run)
            draft.set(held="")
            draft.tell("plan_resumed", note="resumed: somebody looked and ran it again")
            self.store.commit(draft)

    # --- look -------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring the snapshot up to what git and the processes say now; the lock is held."""
        name = self.snapshot.plan.plan
        tip = self.store.repository.resolve(state_ref(name))
        if tip != self.snapshot.tip:
            self.reload()
        self.snapshot.seen = self._look()

    def reload(self) -> None:
        """Read the plan's state again."""
        name = self.snapshot.plan.plan
        snapshot = self.store.load(name)
        if snapshot is None:
            raise FlowError(
                f"the state of {name} is gone: {state_ref(name)}",
                hint=f"git branch gitflow/state/{name} {self.snapshot.tip} brings it back",
            )
        self.snapshot = snapshot
        self._names = {}

    def _look(self) -> Seen:
        repository, state = self.store.repository, self.snapshot.state
        flow_tip = repository.tip(state.flow)
        flow: Any = "same"
        if flow_tip is None:
            flow = "missing"
        elif flow_tip != state.flow_sha:
            flow = "ahead" if repository.is_ancestor(state.flow_sha, flow_tip) else "forced"
        base_tip = ""
        if self.config.follow_base == "clean":
            base_tip = repository.tip(state.base) or ""
        concluded, foreign, lost = set(), set(), set()
        for task in self.snapshot.by_status[S.IN_PROGRESS]:
            record = self.snapshot.record(task)
            if task in self.own:
                if task in self.ended:
                    concluded.add(task)
                continue
            tip = repository.tip(record.branch)
            if record.lease is not None and not lease_is_lost(record.lease, self.clock()):
                continue
            if tip == record.claim:
                lost.add(task)
            elif tip is not None and self._is_result(record, tip):
                concluded.add(task)
            else:
                foreign.add(task)
        for task in self.snapshot.by_status[S.REVIEW]:
            record = self.snapshot.record(task)
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
            flow_checked_out=str(self.store.refs.heads().get(f"{HEADS}{state.flow}", "")),
            landed=self._has_landed(base_tip),
            train=self._train_seen(state.train),
        )

    def _has_landed(self, base_tip: str) -> bool:
        """Say whether the base holds the very report that finished this plan."""
        state, repository = self.snapshot.state, self.store.repository
        base_tip = base_tip or repository.tip(state.base) or ""
        if state.status != "finished" or not base_tip or not self.snapshot.is_over:
            return False
        path = f"plans/{state.plan}.report.md"
        here = repository.find(repository.commit(state.flow_sha).tree, path)
        there = repository.find(repository.commit(base_tip).tree, path)
        return here is not None and here == there

    def _train_seen(self, train: Train | None) -> Any:
        if train is None:
            return ""
        if train.tip in self.tests:
            return "failed" if self.tests[train.tip].reason else "passed"
        if self.testing == train.tip:
            return ""
        return "lost" if lease_is_lost(train.lease, self.clock()) or self._is_mine(train) else ""

    def _is_mine(self, train: Train) -> bool:
        mine = new_lease(0)
        return (train.lease.pid, train.lease.pid_started) == (mine.pid, mine.pid_started)

    def _is_result(self, record: TaskRecord, tip: str) -> bool:
        commit = self.store.repository.commit(tip)
        attempt = record.attempt
        return attempt is not None and any(
            event.task == record.id
            and event.attempt == attempt.number
            and event.event in (E.ATTEMPT_SUCCEEDED, E.ATTEMPT_FAILED)
            for event in events_of(commit)
        )

    # --- decide, then do --------------------------------------------------------------------------

    def step(self, limits: Limits, slots: int, *, barrier: bool, stopping: bool) -> Work:
        """Do one pass and return the work that it started; an empty one when nothing was due."""
        work = Work()
        with self.store.refs.lock():
            self.refresh()
            draft = Draft(self.snapshot, self.actor, self.run)
            try:
                if self.executor.alarms:
                    self.hold(draft, self.executor.alarms[0])
                    self.executor.alarms.clear()
                while True:
                    actions = scheduler.decide(
                        self.snapshot,
                        self.clock(),
                        limits,
                        slots=slots - len(self.own) + len(self.ended) - len(work.orders),
                        train=self.config.train,
                        barrier=barrier,
                        stopping=stopping,
                        follow_base=self.config.follow_base == "clean",
                    )
                    if self._singly:
                        actions = [self._single(action) for action in actions[:1]]
                    for action in actions:
                        self._do(draft, action, work)
                    if not actions or self._singly or work.test:
                        break
                    self.snapshot.seen = self._after(actions)
                if draft.events:
                    self.store.commit(draft)
                    work.acted = True
                self._singly = False
            except (CheckedOut, RefRefused, LostRace) as e:
                self._pending.clear()
                self.reload()
                if self._singly and not isinstance(e, LostRace):
                    self._refuse(actions, e)
                    self._singly = False
                else:
                    self._singly = not isinstance(e, LostRace)
                return Work(acted=True)
            except BaseException:
                self._pending.clear()
                raise
        for order in work.orders:
            self.own[order.task.id] = order
        for told in self._pending:
            self.tell(told)
        self._pending.clear()
        return work

    def _after(self, actions: list[scheduler.Action]) -> Seen:
        """Return what is still to be believed once these actions are staged."""
        seen = self.snapshot.seen
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
        draft = Draft(self.snapshot, self.actor, self.run)
        self._fail_claim(
            draft, task, Reason.PUSH_REFUSED, f"{why.message}; {why.hint}".rstrip("; ")
        )
        self.store.commit(draft)
        for told in self._pending:
            self.tell(told)
        self._pending.clear()

    def _do(self, draft: Draft, action: scheduler.Action, work: Work) -> None:
        match action:
            case scheduler.AdoptFlow():
                self._adopt_flow(draft)
            case scheduler.Hold(why):
                self.hold(draft, why)
            case scheduler.Resume():
                draft.set(held="")
                draft.tell("plan_resumed", note="what held the plan is gone")
                self._say("plan_resumed", "the plan goes on")
            case scheduler.Conclude(task):
                self._conclude(draft, task)
            case scheduler.Expire(task, reason):
                self._expire(draft, task, reason)
            case scheduler.Disown(task):
                self._disown(draft, task)
            case scheduler.Retry(task):
                self._retry(draft, task)
            case scheduler.EndTrain():
                self._end_train(draft)
            case scheduler.StartTrain(tasks, follow_base):
                work.test = self._start_train(draft, tasks, follow_base)
            case scheduler.Claim(tasks):
                work.orders += [self._claim(draft, task) for task in tasks]
            case scheduler.Finish():
                self._finish(draft)
            case scheduler.Land():
                base = self.snapshot.state.base
                draft.set(status="landed")
                draft.tell("plan_landed", note=f"landed: flow was merged to {base}")
                self._say("plan_landed", f"the plan has landed on {base}")

    def _say(self, event: str, text: str, detail: str = "", **data: Any) -> None:
        plan = self.snapshot.plan.plan
        self._pending.append(
            Told(
                event,
                one_line(text),
                {"schema": SCHEMA, "event": event, "at": self.clock(), "plan": plan, **data},
                detail,
            )
        )

    # --- flow -------------------------------------------------------------------------------------

    def _adopt_flow(self, draft: Draft) -> None:
        """Take what is on flow: merges of ours that the state does not tell yet, people's commits."""
        state, tip = self.snapshot.state, self.snapshot.seen.flow_tip
        repository = self.store.repository
        people = 0
        for commit in repository.first_parents(tip, state.flow_sha):
            events = [e for e in events_of(commit) if e.plan == self.snapshot.plan.plan]
            task = events[0].task if events else ""
            if events and events[0].event == E.TASK_MERGED and self._waits(task, commit.parents):
                self._merged(draft, task, commit.sha, ())
            elif events and events[0].event == "plan_finished":
                draft.set(status="finished")
            else:
                people += 1
        draft.set(flow_sha=tip)
        note = f"{state.flow} moved to {tip[:12]}: {people} commits of people"
        draft.tell("flow_changed", commit=tip, note=note)
        self._say("flow_changed", note, flow_sha=tip)

    def _waits(self, task: str, parents: tuple[str, ...]) -> bool:
        attempt = self.snapshot.record(task).attempt
        return (
            self.snapshot.status(task) is S.REVIEW
            and attempt is not None
            and attempt.report in parents
        )

    def hold(self, draft: Draft, why: str) -> None:
        """Start and merge nothing more until somebody has looked."""
        draft.set(held=one_line(why))
        draft.tell("plan_held", note=f"held: {one_line(why)}")
        self._say("plan_held", f"the plan is held: {why}")

    # --- attempts ---------------------------------------------------------------------------------

    def _claim(self, draft: Draft, task: str) -> Order:
        """Cut a task's branch from flow, with its briefing and what an earlier attempt left."""
        snapshot, repository = self.snapshot, self.store.repository
        plan, state = snapshot.plan, snapshot.state
        record = snapshot.record(task)
        number = (record.attempt.number if record.attempt else 0) + 1
        branch = record.branch or self._branch(task)
        nonce = new_nonce()
        flow_tree = repository.commit(state.flow_sha).tree
        former, conflict = self._former_work(record)
        briefing = {
            f"{BRIEFING}/task.yaml": render.task_yaml(snapshot, task, branch, number),
            f"{BRIEFING}/brief.md": render.brief(
                snapshot,
                task,
                branch=branch,
                attempt=number,
                kept=tuple(a.kept for a in record.attempts if a.kept),
                conflict=conflict,
            ).encode(),
        }
        entries: dict[str, Entry | None] = {
            path: Entry(FILE, repository.write_blob(data)) for path, data in briefing.items()
        }
        name = plan.by_id[task].name
        claim = repository.write_commit(
            repository.graft(flow_tree, entries),
            [state.flow_sha],
            f"claim {task}: {one_line(name)[:160]}\n\n"
            f"Gitflow-Event: {E.ATTEMPT_STARTED}\nGitflow-Plan: {plan.plan}\n"
            f"Gitflow-Task: {task}\nGitflow-Attempt: {number}\nGitflow-Claim: {nonce}",
        )
        if former and former != flow_tree:
            claim = repository.write_commit(
                repository.graft(former, entries),
                [claim],
                f"bring back the work of attempt {number - 1} of {task}",
            )
        ref = f"{HEADS}{branch}"
        tip = repository.resolve(ref)
        attempts = self._keep_branch(draft, record, tip)
        draft.move(ref, tip or ZERO, claim)
        now = self.clock()
        timeout = plan.setting(plan.by_id[task], "timeout").seconds
        attempt = Attempt(
            number=number,
            agent=plan.setting(plan.by_id[task], "agent"),
            actor=self.actor,
            host=new_lease(0).host,
            started_at=now,
            base=state.flow_sha,
        )
        draft.put(
            record.model_copy(
                update={
                    "status": advance(record.status, E.ATTEMPT_STARTED, By.SCHEDULER),
                    "reason": None,
                    "message": "",
                    "branch": branch,
                    "claim": claim,
                    "nonce": nonce,
                    "lease": new_lease(now + timeout + LEASE_MARGIN),
                    "attempts": (*attempts, attempt),
                    "not_before": 0.0,
                }
            )
        )
        note = f"{task} started, attempt {number}"
        draft.tell(
            E.ATTEMPT_STARTED,
            task=task,
            attempt=number,
            status=S.IN_PROGRESS,
            agent=attempt.agent,
            commit=claim,
            note=note,
        )
        self._say(
            E.ATTEMPT_STARTED,
            f"{task} started{f' (attempt {number})' if number > 1 else ''}: {name}",
            task=task,
            attempt=number,
            status=S.IN_PROGRESS,
            branch=branch,
        )
        folder = self.store.refs.folder / "attempts" / plan.plan / task / str(number)
        base = state.flow_sha
        return Order(plan, plan.by_id[task], number, nonce, branch, claim, base, folder)

    def _branch(self, task: str) -> str:
        if not self._names:
            self._names = spec.branches(self.snapshot.plan)
        return self._names[task]

    def _former_work(self, record: TaskRecord) -> tuple[str, tuple[str, ...]]:
        """Return flow's tree with the last attempt's work on it, or the paths in conflict."""
        attempt, repository = record.attempt, self.store.repository
        if attempt is None or not attempt.tip or repository.resolve(attempt.tip) is None:
            return "", ()
        if record.reason in UNWANTED:
            return "", ()
        tree, conflict = merge.merged(
            repository, self.snapshot.state.flow_sha, attempt.tip, attempt.base
        )
        return ("", conflict) if conflict else (tree, ())

    def _keep_branch(
        self, draft: Draft, record: TaskRecord, tip: str | None
    ) -> tuple[Attempt, ...]:
        """Keep the branch's old tip below `gitflow/attempt/`, and only the last few of those."""
        plan, repository = self.snapshot.plan.plan, self.store.repository
        attempts = list(record.attempts)
        number = attempts[-1].number if attempts else 0
        known = {self._tip_of(a) for a in attempts if a.kept}
        if tip and tip not in known and not self._is_bare_claim(tip):
            ref = self._free_attempt_ref(plan, record.id, number, tip)
            draft.move(ref, ZERO, tip)
            if attempts and not attempts[-1].kept:
                attempts[-1] = attempts[-1].model_copy(update={"kept": ref.removeprefix(HEADS)})
        for place, attempt in enumerate(attempts[: -KEPT_ATTEMPTS or None]):
            old = repository.resolve(f"{HEADS}{attempt.kept}") if attempt.kept else None
            if old:
                draft.move(f"{HEADS}{attempt.kept}", old, ZERO)
            attempts[place] = attempt.model_copy(update={"kept": ""})
        return tuple(attempts)

    def _tip_of(self, attempt: Attempt) -> str | None:
        return self.store.repository.resolve(f"{HEADS}{attempt.kept}")

    def _free_attempt_ref(self, plan: str, task: str, number: int, tip: str) -> str:
        ref, place = attempt_ref(plan, task, number), 1
        while self.store.repository.resolve(ref) not in (None, tip):
            place += 1
            ref = f"{attempt_ref(plan, task, number)}.{place}"
        return ref

    def _is_bare_claim(self, tip: str) -> bool:
        events = list(events_of(self.store.repository.commit(tip)))
        return bool(events) and events[0].event == E.ATTEMPT_STARTED

    def _fail_claim(self, draft: Draft, task: str, reason: Reason, message: str) -> None:
        record = self.snapshot.record(task)
        status = advance(record.status, E.CLAIM_REFUSED, By.SCHEDULER, reason)
        draft.put(
            record.model_copy(
                update={"status": status, "reason": reason, "message": one_line(message)}
            )
        )
        draft.tell(E.CLAIM_REFUSED, task=task, status=status, reason=reason, note=message)
        self._say(E.CLAIM_REFUSED, f"{task} failed: {reason}: {message}", task=task, reason=reason)

    def publish(self, order: Order, result: Result) -> str:
        """Put an attempt's result on its task's branch, expecting exactly the claim.

        Returns the event commit, or nothing when the attempt was fenced off: its work is then kept
        below `gitflow/attempt/`.  A stopped attempt is left to the next pass, which fences it.
        """
        repository = self.store.repository
        plan, task = order.plan, order.task
        last, refused = self._our_commits(order, result)
        report = result.report
        if report.reason is None and refused is None and not report.already_provided:
            refused = merge.refusal(repository, result.changes, plan, task, self.config)
        if refused is not None:
            report = report.model_copy(
                update={
                    "outcome": "failed",
                    "reason": refused.reason,
                    "message": one_line(refused.message),
                }
            )
        if report.reason is Reason.STOPPED:
            self.results[task.id] = (result, last)
            return ""
        # A refused result leaves only its event on the branch; the work is kept beside it.
        aside = report.reason in UNWANTED
        parent = order.claim if aside else last
        files = {
            f"{BRIEFING}/report.yaml": spec.to_yaml(
                report.model_dump(mode="json", by_alias=True, exclude_none=True)
            ),
            f"{BRIEFING}/report.md": render.done_report(report).encode(),
        }
        edits: dict[str, Entry | None] = {
            path: Entry(FILE, repository.write_blob(data)) for path, data in files.items()
        }
        happened = E.ATTEMPT_SUCCEEDED if report.reason is None else E.ATTEMPT_FAILED
        why = f": {report.reason}" if report.reason else ""
        trailer = f"\nGitflow-Reason: {report.reason}" if report.reason else ""
        event = repository.write_commit(
            repository.graft(repository.commit(parent).tree, edits),
            [parent],
            f"{task.id}: {happened.replace('_', ' ')}{why}\n\n{report.message}\n\n"
            f"Gitflow-Event: {happened}\nGitflow-Plan: {plan.plan}\nGitflow-Task: {task.id}\n"
            f"Gitflow-Attempt: {order.number}{trailer}",
        )
        kept = attempt_ref(plan.plan, task.id, order.number)
        ref = f"{HEADS}{order.branch}"
        moves = [(kept, ZERO, last)] if aside and last != order.claim else []
        try:
            self.store.refs.move([*moves, (ref, order.claim, event)])
        except (LostRace, CheckedOut) as e:
            with self.store.refs.lock():
                self.store.refs.move(
                    [(self._free_attempt_ref(plan.plan, task.id, order.number, event), ZERO, event)]
                )
            self.tell(
                Told(
                    "attempt_fenced",
                    f"{task.id}: its result was not taken: {e.message}; the work is kept",
                    {
                        "schema": SCHEMA,
                        "event": "attempt_fenced",
                        "at": self.clock(),
                        "plan": plan.plan,
                        "task": task.id,
                        "kept": kept.removeprefix(HEADS),
                    },
                )
            )
            return ""
        return event

    def _our_commits(self, order: Order, result: Result) -> tuple[str, merge.Refused | None]:
        repository = self.store.repository
        subject = f"{order.task.id}: {one_line(order.task.name)[:160]}"
        author = f"{result.report.agent} <{result.report.agent}@agent.gitflow-agents.localhost>"
        try:
            last = merge.recreate(repository, order.claim, result.tip, result.tree, subject, author)
            return last, None
        except ValueError as e:
            refused = merge.Refused(Reason.BAD_BASE, str(e))
        except merge.TooManyCommits as e:
            refused = merge.Refused(Reason.TOO_LARGE, e.message)
        return repository.write_commit(result.tree, [order.claim], subject, author=author), refused

    def _conclude(self, draft: Draft, task: str) -> None:
        """Tell the state what publish recorded on the task's branch."""
        if task in self.results:
            self._stopped(draft, task)
            return
        if task in self.failures:
            self._let_down(draft, task)
            return
        record, repository = self.snapshot.record(task), self.store.repository
        tip = repository.tip(record.branch) or ""
        order = self.own.pop(task, None)
        self.ended.discard(task)
        if not tip or not self._is_result(record, tip):
            self._foreign(draft, record, tip)
            return
        commit = repository.commit(tip)
        report = self._report(commit.tree)
        event = next(events_of(commit))
        happened = E(event.event)
        reason = report.reason if happened is E.ATTEMPT_FAILED else None
        status = advance(record.status, happened, By.PUBLISH, reason)
        lost = reason in RETRIED_BY_ITSELF
        kept = attempt_ref(self.snapshot.plan.plan, task, record.attempts[-1].number)
        aside = repository.resolve(kept) if reason in UNWANTED else None
        attempt = record.attempts[-1].model_copy(
            update={
                "ended_at": report.ended_at,
                "outcome": "succeeded" if reason is None else "failed",
                "reason": reason,
                "message": report.message,
                "tip": aside or commit.parents[0],
                "kept": kept.removeprefix(HEADS) if aside else "",
                "report": tip,
                "cost_usd": report.cost_usd,
                "turns": report.turns,
            }
        )
        losses = record.lost + 1 if lost else 0
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": reason,
                    "message": report.message if reason else "",
                    "lease": None,
                    "attempts": (*record.attempts[:-1], attempt),
                    "used": record.used + (not lost),
                    "lost": losses,
                    "not_before": self.clock() + scheduler.back_off(losses) if lost else 0.0,
                }
            )
        )
        draft.tell(
            happened,
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
            agent=attempt.agent,
            cost_usd=report.cost_usd,
            commit=tip,
            note=f"{task} {happened.replace('_', ' ')}" + (f": {reason}" if reason else ""),
        )
        name = self.snapshot.plan.plan
        if reason is None:
            done = "is provided already" if report.already_provided else "is done, to be merged"
            self._say(happened, f"{task} {done}", task=task, attempt=attempt.number, status=status)
            return
        log = order.folder / "output.log" if order else None
        tail = _detail(report)
        more = [f"next: gitflow-agents show {name}/{task}"]
        if log is not None and log.exists():
            more.append(f"all of its output: {log}")
        self._say(
            happened,
            f"{task} failed: {reason}: {report.message}",
            "\n".join([*tail, *more]),
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
            message=report.message,
        )

    def _report(self, tree: str) -> DoneReport:
        data = self.store.repository.read(tree, f"{BRIEFING}/report.yaml") or b"{}"
        return DoneReport.model_validate(spec.from_yaml(data))

    def _stopped(self, draft: Draft, task: str) -> None:
        """End an attempt that was interrupted; what it did so far stays on the branch."""
        result, last = self.results.pop(task)
        self.own.pop(task, None)
        self.ended.discard(task)
        self._fence(draft, task, E.ATTEMPT_STOPPED, Reason.STOPPED, last, "interrupted", result)

    def _let_down(self, draft: Draft, task: str) -> None:
        """End an attempt whose result git or the disk did not take; it says nothing of the work."""
        why = self.failures.pop(task)
        record = self.snapshot.record(task)
        self.own.pop(task, None)
        self.ended.discard(task)
        last = self._rescue(record)
        self._fence(draft, task, E.ATTEMPT_EXPIRED, Reason.INFRASTRUCTURE, last, why.message, None)

    def _expire(self, draft: Draft, task: str, reason: Reason) -> None:
        """End an attempt that nobody works on any more, keeping what it did."""
        record = self.snapshot.record(task)
        if reason is Reason.FOREIGN_COMMITS:
            tip = self.store.repository.tip(record.branch) or ""
            self._foreign(draft, record, tip)
            return
        last = record.claim
        if record.lease is not None and record.lease.host == new_lease(0).host:
            end_all(f"GITFLOW_CLAIM={record.nonce}")
            last = self._rescue(record)
        self._fence(draft, task, E.ATTEMPT_EXPIRED, reason, last, "its run died", None)

    def _rescue(self, record: TaskRecord) -> str:
        """Return a commit of what a dead attempt left in its worktree, and remove the worktree."""
        plan, repository = self.snapshot.plan.plan, self.store.repository
        worktree = self.worktrees.place(plan, record.id)
        if not (worktree.admin / "index").exists():
            self.worktrees.remove(worktree)
            return record.claim
        tree = worktree.save()
        if tree == repository.commit(record.claim).tree:
            last = record.claim
        else:
            message = f"what attempt {record.attempts[-1].number} of {record.id} left unfinished"
            last = repository.write_commit(tree, [record.claim], message)
        self.worktrees.remove(worktree)
        return last

    def _fence(
        self,
        draft: Draft,
        task: str,
        happened: Happened,
        reason: Reason,
        last: str,
        why: str,
        result: Result | None,
    ) -> None:
        """End an attempt from outside: a commit on its branch after which publish cannot follow."""
        record, repository = self.snapshot.record(task), self.store.repository
        plan, attempt = self.snapshot.plan.plan, record.attempts[-1]
        fence = repository.write_commit(
            repository.commit(last).tree,
            [last],
            f"{task}: {happened.replace('_', ' ')}: {why}\n\n"
            f"Gitflow-Event: {happened}\nGitflow-Plan: {plan}\nGitflow-Task: {task}\n"
            f"Gitflow-Attempt: {attempt.number}\nGitflow-Reason: {reason}",
        )
        draft.move(f"{HEADS}{record.branch}", record.claim, fence)
        status = advance(record.status, happened, By.SCHEDULER, reason)
        is_lost = happened is E.ATTEMPT_EXPIRED
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": reason,
                    "message": why,
                    "lease": None,
                    "lost": record.lost + is_lost,
                    "not_before": self._not_before(record.lost + 1, reason) if is_lost else 0.0,
                    "attempts": (
                        *record.attempts[:-1],
                        attempt.model_copy(
                            update={
                                "ended_at": result.report.ended_at if result else self.clock(),
                                "outcome": "expired" if is_lost else "stopped",
                                "reason": reason,
                                "message": why,
                                "tip": last,
                                "report": fence,
                            }
                        ),
                    ),
                }
            )
        )
        draft.tell(
            happened,
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
            commit=fence,
            note=f"{task} {happened.replace('_', ' ')}: {why}",
        )
        self._say(
            happened,
            f"{task} {'was lost' if is_lost else 'was stopped'}: {why}; its work is kept",
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
        )

    def _not_before(self, losses: int, reason: Reason) -> float:
        """Return when to try again: at once after a run that died here, else with back-off."""
        if reason is Reason.LEASE_LOST:
            return 0.0
        return self.clock() + scheduler.back_off(losses)

    def _foreign(self, draft: Draft, record: TaskRecord, tip: str) -> None:
        """Fail an attempt whose branch somebody else moved; what they put there is kept."""
        plan, task = self.snapshot.plan.plan, record.id
        self.own.pop(task, None)
        self.ended.discard(task)
        end_all(f"GITFLOW_CLAIM={record.nonce}")
        number = record.attempts[-1].number
        what = f"is at {tip[:12]} now" if tip else "was deleted"
        message = f"{record.branch} {what}; somebody moved it while attempt {number} was running"
        if tip:
            ref = self._free_attempt_ref(plan, task, number, tip)
            draft.move(ref, self.store.repository.resolve(ref) or ZERO, tip)
            message += f"; what is there is kept as {ref.removeprefix(HEADS)} too"
        status = advance(record.status, E.ATTEMPT_EXPIRED, By.SCHEDULER, Reason.FOREIGN_COMMITS)
        attempt = record.attempts[-1].model_copy(
            update={
                "ended_at": self.clock(),
                "outcome": "expired",
                "reason": Reason.FOREIGN_COMMITS,
                "message": message,
            }
        )
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": Reason.FOREIGN_COMMITS,
                    "message": message,
                    "lease": None,
                    "attempts": (*record.attempts[:-1], attempt),
                }
            )
        )
        draft.tell(
            E.ATTEMPT_EXPIRED,
            task=task,
            attempt=number,
            status=status,
            reason=Reason.FOREIGN_COMMITS,
            commit=tip,
            note=message,
        )
        self._say(
            E.ATTEMPT_EXPIRED,
            f"{task} failed: {Reason.FOREIGN_COMMITS}: {message}",
            task=task,
            reason=Reason.FOREIGN_COMMITS,
        )

    def _disown(self, draft: Draft, task: str) -> None:
        """Fail a task in review whose branch is no longer what publish put there."""
        record = self.snapshot.record(task)
        tip = self.store.repository.tip(record.branch)
        what = f"is at {tip[:12]} now" if tip else "was deleted"
        report = record.attempts[-1].report
        plan, number = self.snapshot.plan.plan, record.attempts[-1].number
        ref = self._free_attempt_ref(plan, task, number, report)
        draft.move(ref, self.store.repository.resolve(ref) or ZERO, report)
        message = (
            f"{record.branch} {what}, not what was to be merged; "
            f"the result is kept as {ref.removeprefix(HEADS)}"
        )
        kept = record.attempts[-1].model_copy(update={"kept": ref.removeprefix(HEADS)})
        record = record.model_copy(update={"attempts": (*record.attempts[:-1], kept)})
        self._refuse_merge(draft, record, Reason.FOREIGN_COMMITS, message, ())

    def _retry(self, draft: Draft, task: str) -> None:
        record = self.snapshot.record(task)
        status = advance(record.status, E.TASK_RETRIED, By.SCHEDULER)
        draft.put(record.model_copy(update={"status": status}))
        note = f"{task} is tried again: {record.reason}"
        draft.tell(E.TASK_RETRIED, task=task, status=status, reason=record.reason, note=note)
        self._say(E.TASK_RETRIED, note, task=task, reason=record.reason)

    # --- the train --------------------------------------------------------------------------------

    def _start_train(
        self, draft: Draft, tasks: tuple[str, ...], follow_base: bool
    ) -> TestJob | None:
        """Couple the cars; merge at once when there is nothing to run, else ask for a test."""
        snapshot, repository = self.snapshot, self.store.repository
        plan, state = snapshot.plan, snapshot.state
        start, base_tip = state.flow_sha, ""
        if follow_base:
            start, base_tip = self._follow_base(draft)
        waiting = [self._waiting(task) for task in tasks]
        coupled = merge.couple(repository, start, waiting)
        for task, paths in coupled.conflicts.items():
            self._conflict(draft, task, paths)
        if not coupled.cars and start == state.flow_sha:
            return None
        checks = self._checks(tuple(car.task for car in coupled.cars))
        train = Train(
            base=state.flow_sha,
            cars=coupled.cars,
            tip=coupled.tip,
            lease=new_lease(self.clock() + LEASE_MARGIN),
            nonce=new_nonce(),
            base_branch_tip=base_tip,
        )
        tree = repository.commit(coupled.tip).tree
        evidence = self.executor.passed.get((tree, checks))
        if not checks or evidence is not None:
            self._take_train(draft, train, evidence or ())
            return None
        draft.set(train=train)
        draft.move(try_ref(plan.plan), repository.resolve(try_ref(plan.plan)) or ZERO, coupled.tip)
        names = ", ".join(car.task for car in coupled.cars) or f"the base {state.base}"
        draft.tell("train_started", commit=coupled.tip, note=f"testing {names} on flow")
        self._say("train_started", f"testing {names} on {state.flow}: {len(checks)} commands")
        self.testing = coupled.tip
        return TestJob(train, tree, checks, train.nonce)

    def _checks(self, tasks: tuple[str, ...]) -> tuple[Check, ...]:
        plan = self.snapshot.plan
        checks: dict[Check, None] = {}
        for task in tasks:
            checks.update(dict.fromkeys(checks_of(plan, plan.by_id[task])))
        checks.update(dict.fromkeys(gate_of(plan, self.config)))
        return tuple(checks)

    def _follow_base(self, draft: Draft) -> tuple[str, str]:
        """Return flow with the moved base merged in, and the base's tip; flow when it conflicts."""
        state, repository = self.snapshot.state, self.store.repository
        tip = self.snapshot.seen.base_tip
        if repository.is_ancestor(tip, state.flow_sha):
            draft.set(base_sha=tip)
            draft.tell("flow_changed", commit=tip, note=f"{state.base} is in {state.flow} already")
            return state.flow_sha, ""
        merged = repository.merge(state.flow_sha, tip)
        if merged.conflicts:
            draft.set(base_sha=tip)
            note = (
                f"{state.base} moved and does not merge into {state.flow}: "
                f"{', '.join(merged.conflicts[:5])}; merge it by hand when you like"
            )
            draft.tell("flow_changed", commit=tip, note=note)
            self._say("flow_changed", note)
            return state.flow_sha, ""
        commit = repository.write_commit(
            merged.tree,
            [state.flow_sha, tip],
            f"merge {state.base} into {state.flow}\n\n"
            f"Gitflow-Event: flow_changed\nGitflow-Plan: {state.plan}",
        )
        return commit, tip

    def _waiting(self, task: str) -> merge.Waiting:
        record, plan = self.snapshot.record(task), self.snapshot.plan
        attempt = record.attempts[-1]
        report = self._report(self.store.repository.commit(attempt.report).tree)
        name = plan.by_id[task].name
        about = [f"merge {task}: {one_line(name)[:160]}", ""]
        if report.summary.strip():
            about += [merge.quoted(report.summary.strip()[:4000]), ""]
        if report.already_provided:
            about += [
                "Nothing to merge: what it provides was there already, as its checks show.",
                "",
            ]
        for command in report.commands:
            about.append(f"- {command.kind} `{one_line(command.command)[:200]}`: {command.code}")
        if report.commands:
            about.append("")
        tracker = plan.by_id[task].tracker or plan.tracker
        if tracker:
            about += [f"Tracker: {one_line(tracker)}", ""]
        about += [
            f"Report: git show {attempt.report[:12]}:{BRIEFING}/report.md",
            "",
            f"Gitflow-Event: {E.TASK_MERGED}",
            f"Gitflow-Plan: {plan.plan}",
            f"Gitflow-Task: {task}",
            f"Gitflow-Attempt: {attempt.number}",
            f"Gitflow-Agent: {attempt.agent}",
        ]
        if attempt.cost_usd is not None:
            about.append(f"Gitflow-Cost-Usd: {attempt.cost_usd}")
        return merge.Waiting(task, attempt.report, attempt.base, "\n".join(about))

    def _conflict(self, draft: Draft, task: str, paths: tuple[str, ...]) -> None:
        record = self.snapshot.record(task)
        some = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        message = f"it does not merge with {self.snapshot.state.flow}: {some}"
        record = record.model_copy(update={"conflicts": record.conflicts + 1})
        self._refuse_merge(draft, record, Reason.CONFLICT, message, ())

    def _refuse_merge(
        self,
        draft: Draft,
        record: TaskRecord,
        reason: Reason,
        message: str,
        evidence: tuple[Ran, ...],
    ) -> None:
        status = advance(record.status, E.MERGE_REFUSED, By.TRAIN, reason)
        attempt = record.attempts[-1].model_copy(update={"reason": reason, "message": message})
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": reason,
                    "message": one_line(message),
                    "attempts": (*record.attempts[:-1], attempt),
                    "evidence": evidence,
                }
            )
        )
        draft.tell(
            E.MERGE_REFUSED,
            task=record.id,
            attempt=attempt.number,
            status=status,
            reason=reason,
            note=f"{record.id} was not merged: {reason}",
        )
        self._say(
            E.MERGE_REFUSED,
            f"{record.id} was not merged: {reason}: {message}",
            "\n".join(
                [
                    *(evidence[-1].tail.splitlines() if evidence else ()),
                    f"next: gitflow-agents show {self.snapshot.plan.plan}/{record.id}",
                ]
            ),
            task=record.id,
            status=status,
            reason=reason,
        )

    def _end_train(self, draft: Draft) -> None:
        """Take a verdict: merge, halve, fail the one task, or forget a train that was lost."""
        state = self.snapshot.state
        train = state.train
        assert train is not None
        verdict = self.tests.pop(train.tip, None)
        if verdict is None and train.lease.host == new_lease(0).host:
            end_all(f"GITFLOW_CLAIM={train.nonce}")
        self._drop_try(draft)
        draft.set(train=None)
        if verdict is None or verdict.reason in (Reason.INFRASTRUCTURE, Reason.STOPPED):
            draft.tell(
                "train_ended", commit=train.tip, note="the train was lost; it is built again"
            )
            return
        if verdict.reason is None:
            if train.base == state.flow_sha:
                self._take_train(draft, train, verdict.commands)
            else:
                draft.tell("train_ended", commit=train.tip, note="flow moved; it is built again")
            return
        names = [car.task for car in train.cars]
        note = f"{verdict.message} with {', '.join(names) or 'the moved base'}"
        draft.tell("train_ended", commit=train.tip, reason=verdict.reason, note=note)
        if not names:
            # The base itself does not pass: it stays out until it moves again.
            draft.set(base_sha=train.base_branch_tip)
            self._say("train_ended", f"{state.base} was not merged into {state.flow}: {note}")
        elif len(names) == 1 and not train.base_branch_tip:
            draft.set(train_limit=1)
            record = self.snapshot.record(names[0])
            reason = verdict.reason
            self._refuse_merge(draft, record, reason, verdict.message, trimmed(verdict.commands))
        elif len(names) == 1:
            draft.set(base_sha=train.base_branch_tip, train_limit=1)
            self._say("train_ended", f"{note}; trying without the moved base")
        else:
            limit = max(1, len(names) // 2)
            draft.set(train_limit=limit)
            self._say("train_ended", f"{note}; trying {limit} at a time")

    def _drop_try(self, draft: Draft) -> None:
        ref = try_ref(self.snapshot.plan.plan)
        tip = self.store.repository.resolve(ref)
        if tip:
            draft.move(ref, tip, ZERO)

    def _take_train(self, draft: Draft, train: Train, evidence: tuple[Ran, ...]) -> None:
        """Move flow over all cars at once and complete their tasks."""
        state: PlanState = self.snapshot.state
        draft.move(f"{HEADS}{state.flow}", state.flow_sha, train.tip)
        changes: dict[str, Any] = {"flow_sha": train.tip, "train_limit": None}
        if train.base_branch_tip:
            changes["base_sha"] = train.base_branch_tip
        if state.train is not None:
            changes["train"] = None
        draft.set(**changes)
        if train.base_branch_tip:
            note = f"{state.base} was merged into {state.flow}"
            draft.tell("flow_changed", commit=train.base_branch_tip, note=note)
            self._say("flow_changed", note)
        for car in train.cars:
            self._merged(draft, car.task, car.merge, trimmed(evidence))

    def _merged(self, draft: Draft, task: str, commit: str, evidence: tuple[Ran, ...]) -> None:
        record = self.snapshot.record(task)
        attempt = record.attempts[-1]
        report = self._report(self.store.repository.commit(attempt.report).tree)
        status = advance(record.status, E.TASK_MERGED, By.TRAIN)
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": None,
                    "message": "",
                    "merge": commit,
                    "summary": report.summary.encode()[:SUMMARY_BYTES].decode(errors="ignore"),
                    "learned": report.learned,
                    "evidence": evidence or trimmed(report.commands),
                    "lost": 0,
                }
            )
        )
        if report.learned:
            learned = dict.fromkeys((*self.snapshot.state.learned, *report.learned))
            draft.set(learned=tuple(learned))
        ref = f"{HEADS}{record.branch}"
        tip = self.store.repository.resolve(ref)
        if tip == attempt.report and not self.config.keep_branches:
            if ref not in self.store.refs.heads():
                draft.move(ref, tip, ZERO)
        draft.tell(
            E.TASK_MERGED,
            task=task,
            attempt=attempt.number,
            status=status,
            agent=attempt.agent,
            cost_usd=attempt.cost_usd,
            commit=commit,
            note=f"{task} merged",
        )
        done = len(self.snapshot.by_status[S.COMPLETED])
        self._say(
            E.TASK_MERGED,
            f"{task} merged as {commit[:12]} ({done} of {len(self.snapshot.plan.tasks)})",
            task=task,
            attempt=attempt.number,
            status=status,
            merge_sha=commit,
            progress=round(self.snapshot.progress, 4),
        )

    # --- the end ----------------------------------------------------------------------------------

    def _finish(self, draft: Draft) -> None:
        """Put the plan, its report and what it provides on flow."""
        snapshot, repository = self.snapshot, self.store.repository
        state, name = snapshot.state, snapshot.plan.plan
        spec_blob = repository.find(snapshot.tree, "spec.yaml")
        assert spec_blob is not None
        edits: dict[str, Entry | None] = {
            f"plans/{name}.yaml": spec_blob,
            f"plans/{name}.report.md": Entry(
                FILE, repository.write_blob(render.final_report(snapshot, self.clock()).encode())
            ),
            f"plans/{name}.provides.yaml": Entry(
                FILE, repository.write_blob(render.provides_yaml(snapshot))
            ),
        }
        tree = repository.graft(repository.commit(state.flow_sha).tree, edits)
        commit = repository.write_commit(
            tree,
            [state.flow_sha],
            f"finish plan {name} v{state.revision}\n\n"
            f"Gitflow-Event: plan_finished\nGitflow-Plan: {name}",
            author=TOOL,
        )
        draft.move(f"{HEADS}{state.flow}", state.flow_sha, commit)
        draft.set(flow_sha=commit, status="finished")
        done = len(snapshot.by_status[S.COMPLETED])
        note = f"finished: {done} of {len(snapshot.plan.tasks)} tasks are merged to {state.flow}"
        draft.tell("plan_finished", commit=commit, note=note)
        self._say("plan_finished", note, flow_sha=commit)


UNWANTED = frozenset(
    {
        Reason.PROTECTED_PATH,
        Reason.PATH_VIOLATION,
        Reason.NEEDS_WORKFLOW_PERMISSION,
        Reason.TOO_LARGE,
        Reason.BAD_BASE,
        Reason.SECRET_FOUND,
    }
)
"""Refusals after which the work is kept beside the branch, and is not brought back by itself."""


def trimmed(commands: tuple[Ran, ...]) -> tuple[Ran, ...]:
    """Return evidence with only the last lines of each output."""
    return tuple(
        command.model_copy(update={"tail": "\n".join(command.tail.splitlines()[-3:])})
        for command in commands
    )


def _detail(report: DoneReport) -> list[str]:
    """Return the last lines that tell why an attempt failed."""
    broken = [command for command in report.commands if command.code != 0]
    said = broken[-1].tail if broken else report.output_tail
    return said.splitlines()[-10:]
