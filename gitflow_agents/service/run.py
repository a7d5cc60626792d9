"""`run`: passes over one plan until nothing can move, with the attempts in threads beside them.

A pass is short and holds the lock; an attempt is long and holds nothing.  When one ends, it wakes
the next pass.  An interruption ends the agents, keeps what they did, and gives the tasks back.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, Protocol

from gitflow_agents import scheduler, steps
from gitflow_agents.commands import names
from gitflow_agents.errors import ExitCode, GitFailed
from gitflow_agents.execute import Order, Result
from gitflow_agents.models import LOCAL, SCHEMA, Limits, Plan, Status
from gitflow_agents.render import approvals, count, is_held, taken_by, utc
from gitflow_agents.runner import Stop, is_ours, lease_is_lost
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.delivery import send
from gitflow_agents.service.desk import Desk, TestJob, Told
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Checkout, Offline
from gitflow_agents.store.state import one_line

OFFLINE_PATIENCE = 120.0
"""Seconds for which a run that has nothing else to do waits for a remote."""
OFFLINE_PAUSE, OFFLINE_PAUSES = 0.5, 20.0
"""Seconds to the second look at a remote that is away, and the longest pause between two."""
MOST_AT_ONCE = 1000
"""Attempts of one process; more threads start only when there is work for them."""
WATCH_SECONDS = 1.0
"""Seconds between two looks of a run that stays though nothing can move."""
PACK_EVERY = 300
"""Merges after which loose objects are packed, if they are many: a task leaves about 25."""


@dataclass(frozen=True)
class RunEnd:
    """How a run ended, and the plan as it is then."""

    code: ExitCode
    snapshot: Snapshot
    message: str
    hint: str = ""


@dataclass
class _Cut:
    """The line to the remote is away: why, since when (on the monotonic clock), and our looks."""

    why: Offline
    since: float
    looks: int = 0


class Beside(Protocol):
    """Tells others of a plan while it runs, and keeps nothing waiting."""

    def begin(self, free: int) -> None:
        """Start: the run does, with so many slots that are free."""

    def ring(self) -> None:
        """Hear that something may have changed."""

    def close(self, is_hurried: Callable[[], bool]) -> None:
        """Tell what is left, within some seconds; fewer of them once somebody interrupts."""


@dataclass
class Run:
    """One run of one plan by this process."""

    desk: Desk
    reconciler: Reconciler
    jobs: int | None
    """How many attempts at once were asked for, if that was said."""
    barrier: bool
    stop: Stop
    tell: Callable[[Told], None]
    beside: Sequence[Beside] = ()
    """Who tells others of the plan while it runs."""
    about: Sequence[str] = ()
    """What is said of them as the run begins."""
    watch: bool = False
    """It stays when nothing can move, for what is pushed or said later."""
    _ended: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    _threads: dict[str, Future[None]] = field(default_factory=dict)
    _tidying: dict[str, Future[None]] = field(default_factory=dict)
    """Attempts that are over, and whose worktree may still be on its way out."""
    _delivering: set[str] = field(default_factory=set)
    """Our attempts that have ended and whose results the remote has not got yet."""
    _cut: set[str] = field(default_factory=set)
    """Those that this run has given up to deliver."""
    _offline: _Cut | None = None
    _is_over: threading.Event = field(default_factory=threading.Event)
    _bug: BaseException | None = None
    _packed: int = 0
    _said_waiting: bool = False
    _rung_at: str = ""
    """The state of the plan that was told last."""
    _stays_at: str = ""
    """The state of the plan at which it was said that this run stays."""
    _limited: tuple[Plan, int | None, Limits] | None = None
    """A text of the plan and its limits: they are asked for in every pass."""

    def __post_init__(self) -> None:
        # One more than the attempts, for the train.  Threads that stay save a start for each task.
        # A new text of the plan may allow more attempts than the first one.
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE + 1)
        self._checkout = Checkout(self.desk.store.repository)

    @property
    def limits(self) -> Limits:
        """Return the limits of the plan as it is now."""
        snapshot = self.desk.snapshot
        plan, parallel = snapshot.plan, snapshot.state.parallel
        known = self._limited
        if known is None or known[0] is not plan or known[1] != parallel:
            known = (plan, parallel, scheduler.limits_now(snapshot, self.desk.config))
            self._limited = known
        return known[2]

    @property
    def slots(self) -> int:
        """Return how many attempts this process works on at once."""
        allowed = [n for n in (self.jobs, self.limits.parallel) if n]
        return min(MOST_AT_ONCE, *allowed) if allowed else scheduler.PARALLEL

    def go(self) -> RunEnd:
        """Run until nothing can move any more, or somebody interrupts."""
        with interruptible(self._interrupt):
            try:
                return self._go()
            finally:
                for one in self.beside:
                    one.ring()
                    one.close(self.stop.is_set)

    def _go(self) -> RunEnd:
        reconciler = self.reconciler
        # What is there stays to the end: it need not be looked through for garbage in every pass.
        gc.freeze()
        try:
            self._begin()
            while self._bug is None:
                limits, slots = self.limits, self.slots
                try:
                    work = reconciler.step(
                        limits,
                        slots,
                        barrier=self.barrier,
                        stopping=self.stop.is_set() or bool(self.desk.full),
                    )
                except Offline as e:
                    if self._is_given_up(e):
                        break
                    self._wait(self._pause)
                    continue
                self._offline = None
                self._ring()
                for order in work.orders:
                    self._start(order.task.id, self._attempt, order)
                if work.test is not None:
                    self._start(work.test.train.tip, self._test, work.test)
                if not self._threads:
                    if work.acted:
                        continue
                    if self.stop.is_set() or self.desk.full:
                        break
                    if not self._may_move():
                        if not self.watch or self.desk.snapshot.state.status == "closed":
                            break
                        self._stay()
                        continue
                self._wait()
        finally:
            self._end_threads()
            gc.unfreeze()
        if self._bug is not None:
            raise self._bug
        self._warn(self._checkout.close())
        with contextlib.suppress(Offline):
            reconciler.end_run()
        self._pack()
        if self._offline is not None and not self.stop.is_set():
            why = self._offline.why
            return RunEnd(ExitCode.TRY_AGAIN, self.desk.snapshot, why.message, why.hint)
        return self._end()

    # --- without the line -------------------------------------------------------------------------

    def _is_given_up(self, why: Offline) -> bool:
        """Say whether to stop trying: not while attempts are at work, nor at once."""
        now = time.monotonic()
        if self._offline is None:
            self._offline = _Cut(why, now)
            text = f"{why.message}; what runs goes on, and this run tries again"
            self.tell(self._waits(text))
        self._offline.looks += 1
        self._offline.why = why
        if self._threads and not self._is_all_done:
            return False
        return self.stop.is_set() or now - self._offline.since > OFFLINE_PATIENCE

    @property
    def _is_all_done(self) -> bool:
        """Say whether all that is left of our attempts is to deliver their results."""
        return self._threads.keys() <= self._delivering

    @property
    def _pause(self) -> float:
        looks = self._offline.looks if self._offline else 0
        # Two clones that were cut off together need not come back in the same moment.
        return float(min(OFFLINE_PAUSE * 2.0**looks, OFFLINE_PAUSES) * random.uniform(0.5, 1.0))

    def _send(self, order: Order, result: Result) -> str:
        """Deliver a result, however long the line is away; Offline when this run gives up."""
        attempts, parcel, looks = self.reconciler.attempts, None, 0
        while True:
            try:
                parcel = parcel or attempts.pack(order, result)
                published = send(self.desk, parcel) if parcel is not None else ""
            except Offline:
                self._delivering.add(order.task.id)
                if self.stop.is_set() or self._is_over.is_set():
                    raise
                looks += 1
                pause = min(OFFLINE_PAUSE * 2.0**looks, OFFLINE_PAUSES) * random.uniform(0.5, 1.0)
                self._is_over.wait(pause)
            else:
                self._delivering.discard(order.task.id)
                return published

    def _ring(self) -> None:
        """Tell who is beside that the plan has moved, whoever moved it."""
        if self.desk.snapshot.tip != self._rung_at:
            self._rung_at = self.desk.snapshot.tip
            for one in self.beside:
                one.ring()

    # --- before -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        desk, reconciler = self.desk, self.reconciler
        with desk.store.refs.lock():
            reconciler.refresh()
            desk.executor.guard.begin()
            reconciler.clear_worktrees()
            reconciler.clear_branches()
        desk.written()
        snapshot = desk.snapshot
        self._packed = len(snapshot.by_status[Status.COMPLETED])
        state, plan = snapshot.state, snapshot.plan
        is_local = desk.store.refs.is_local
        authority = "" if is_local else f"\nauthority: {snapshot.authority}, a remote"
        asked = (snapshot.plan_for(task.id).by_id[task.id] for task in plan.tasks)
        terms = [desk.handbook.terms(plan, task) for task in asked]
        crews = (steps.crew(plan, task, desk.handbook) for task in plan.tasks)
        terms += [member.task for crew in crews for member in crew]
        agents = sorted({plan.setting(task, "agent") for task in terms})
        self.tell(
            Told(
                "run_started",
                f"plan {plan.plan} v{state.revision}: {count(len(plan.tasks), 'task')}, "
                f"{self.slots} at "
                f"once, from {state.base} to {state.flow}; it {approvals(snapshot)}",
                {
                    "schema": SCHEMA,
                    "event": "run_started",
                    "at": utc(desk.clock()),
                    "plan": plan.plan,
                    "plan_branch": f"plan/{plan.plan}",
                    "flow": state.flow,
                    "base": state.base,
                    "authority": snapshot.authority,
                    "revision": state.revision,
                    "tasks": len(plan.tasks),
                    "parallel": self.slots,
                    "working_directory": str(desk.store.repository.home),
                    "agents": agents,
                },
                "\n".join(
                    (
                        f"plan branch: plan/{plan.plan}",
                        f"working directory: {desk.store.repository.home}",
                        f"worktrees: {desk.worktrees.root / plan.plan}",
                        f"agents: {', '.join(agents)}{authority}",
                        *self.about,
                    )
                ),
            )
        )
        self._warn_of_filters()
        for one in self.beside:
            one.begin(self.slots)

    def _warn_of_filters(self) -> None:
        """Say which files attempts will see as git stores them, not as they are meant."""
        desk = self.desk
        flow = desk.store.repository.commit(desk.snapshot.state.flow_sha)
        for name in desk.worktrees.unknown_filters(flow.tree):
            self._warn(
                f"no git config defines the filter {name}, which .gitattributes names: agents see "
                f"its files as git stores them; install what defines filter.{name}, if they matter"
            )

    def _warn(self, text: str) -> None:
        """Tell what a person should look at, if there is anything."""
        if text:
            desk, said = self.desk, one_line(text)
            data = {"schema": SCHEMA, "event": "warning", "at": utc(desk.clock())}
            data |= {"plan": desk.snapshot.plan.plan, "text": said}
            self.tell(Told("warning", said, data))

    # --- beside -----------------------------------------------------------------------------------

    def _start(self, name: str, work: Callable[[Any], Callable[[], None]], job: object) -> None:
        """Do a job in a thread of its own; what it returns is done when its end was told."""
        before = self._tidying.pop(name, None)

        def failed(error: BaseException) -> None:
            self._bug = self._bug or error
            self.stop.set()

        def guarded() -> None:
            tidy = nothing
            try:
                if before is not None:
                    before.result()  # the worktree has the same place
                tidy = work(job)
            except BaseException as e:
                failed(e)
            finally:
                self._ended.put(name)
            try:
                # Its work is in git: what cannot be removed now, the next run removes.
                with contextlib.suppress(OSError):
                    tidy()
            except BaseException as e:
                failed(e)

        self._threads[name] = self._pool.submit(guarded)

    def _attempt(self, order: Order) -> Callable[[], None]:
        desk, task = self.desk, order.task.id

        def on_progress(line: str) -> None:
            data = {
                "schema": SCHEMA,
                "event": "attempt_progress",
                "at": utc(desk.clock()),
                "plan": order.plan.plan,
                "task": task,
                "progress": line,
            }
            self.tell(Told("attempt_progress", f"{task}: {line}", data))

        self._checkout.begin(task)
        try:
            result = desk.executor.execute(order, on_progress)
            self._warn(self._checkout.end(task))
            published = self._send(order, result)
            desk.published[task] = published
            desk.notice(None)
            clear = partial(desk.executor.clear, order)
            # What a model said is worth more than what a command printed.
            tasks = (order.task, *(step.member.task for step in order.crew))
            is_model = any(order.plan.setting(each, "agent") != "command" for each in tasks)
            if published and self._succeeded(published):
                return partial(clear, keep_output=is_model)
            # Of a failure is told where its output is, so what is kept must be settled by then.
            clear(keep_output=is_model or not published or bool(result.report.reason))
        except Offline:
            # The next run delivers it, or takes over what is in the worktree.
            self._cut.add(task)
        except GitFailed as e:
            desk.notice(e)
            desk.failures[task] = e
        except OSError as e:
            desk.notice(e)
            desk.failures[task] = GitFailed(f"the disk or a folder failed: {e}")
        return nothing

    def _succeeded(self, published: str) -> bool:
        tree = self.desk.store.repository.commit(published).tree
        return self.desk.report(tree).reason is None

    def _test(self, job: TestJob) -> Callable[[], None]:
        self.reconciler.trains.test(job)
        return nothing

    def _wait(self, seconds: float = 0.0) -> None:
        """Wait until something of ours has ended, or it is time to look around."""
        if not self._threads and not self._said_waiting and not seconds:
            self._said_waiting = True
            self.tell(self._waiting())
        seconds = seconds or self.desk.store.refs.beat
        due = self._due()
        if due is not None:
            seconds = min(seconds, max(0.01, due - self.desk.clock()))
        with contextlib.suppress(queue.Empty):
            self._take(self._ended.get(timeout=seconds))
            while True:
                self._take(self._ended.get_nowait())

    def _stay(self) -> None:
        """Leave everything as at the end of a run, and look again a little later."""
        snapshot = self.desk.snapshot
        if snapshot.tip != self._stays_at:
            with contextlib.suppress(Offline):
                self.reconciler.end_run()
            self._ring()
            self._pack()
            self._stays_at = self.desk.snapshot.tip
            text = f"{self._end().message}; this run stays for what comes, until Ctrl-C"
            self.tell(self._waits(text))
        self._wait(max(WATCH_SECONDS, self.desk.store.refs.beat))

    def _waiting(self) -> Told:
        """Return why nothing of ours runs and yet the run goes on."""
        due, now = self._due(), self.desk.clock()
        text = "another run is at work on this plan; this one helps where it can"
        if due is not None and scheduler.is_ahead(due, now):
            text = f"trying again in {due - now:.0f} seconds"
        return self._waits(text)

    def _waits(self, text: str) -> Told:
        plan, now = self.desk.snapshot.plan.plan, self.desk.clock()
        data = {"schema": SCHEMA, "event": "run_waits", "at": utc(now), "plan": plan, "text": text}
        return Told("run_waits", text, data)

    def _take(self, name: str) -> None:
        thread = self._threads.pop(name, None)
        self._tidying = {n: t for n, t in self._tidying.items() if not t.done()}
        if thread is not None and not thread.done():
            self._tidying[name] = thread
        if name in self._cut:
            self._cut.discard(name)
            self.desk.forget(name)
        elif name in self.desk.own:
            self.desk.ended.add(name)
        elif self.desk.testing is not None and name == self.desk.testing.train.tip:
            self.desk.testing = None
        if self._is_to_pack(PACK_EVERY):
            # Beside the work: nothing waits for it but the end of the run.
            self._pool.submit(self.desk.store.repository.pack)

    def _may_move(self) -> bool:
        """Say whether waiting can help: somebody else works on this plan, or a retry is due."""
        snapshot = self.desk.snapshot
        now = self.desk.clock()
        if snapshot.seen.busy:
            return True
        if snapshot.state.status in ("finished", "landed", "closed") and snapshot.is_over:
            return False
        leases = [snapshot.record(task).lease for task in snapshot.by_status[Status.IN_PROGRESS]]
        if snapshot.state.train is not None:
            leases.append(snapshot.state.train.lease)
        # Nothing of ours runs when this is asked, so our own leases are nothing to wait for.
        others = [lease for lease in leases if lease is not None and not is_ours(lease)]
        if any(not lease_is_lost(lease, now) for lease in others):
            return True
        return not snapshot.state.held and self._due() is not None

    def _due(self) -> float | None:
        """Return when something that waits by the clock is due: a retry, or the next train."""
        desk = self.desk
        due = scheduler.wake_at(desk.snapshot, self.limits)
        is_later = scheduler.is_ahead(desk.next_train, desk.clock())
        if desk.snapshot.by_status[Status.REVIEW] and is_later:
            return min(desk.next_train, due or desk.next_train)
        return due

    def _pack(self) -> None:
        if self._is_to_pack(0):
            self.desk.store.repository.pack()

    def _is_to_pack(self, every: int) -> bool:
        """Say whether more was merged since the last packing, and count from here on."""
        done = len(self.desk.snapshot.by_status[Status.COMPLETED])
        is_more = done - self._packed > every
        self._packed = done if is_more else self._packed
        return is_more

    def _end_threads(self) -> None:
        self._is_over.set()
        if self._threads and (self._offline is None or not self._is_all_done):
            self.stop.set()
        self._pool.shutdown()

    # --- after ------------------------------------------------------------------------------------

    def _end(self) -> RunEnd:
        snapshot = self.desk.snapshot
        name = snapshot.plan.plan
        status = scheduler.plan_status(snapshot, self.limits, self.desk.clock())
        done, all_ = len(snapshot.by_status[Status.COMPLETED]), len(snapshot.plan.tasks)
        counted = f"{done} of {all_} tasks are merged to {snapshot.state.flow}"
        look = f"gitflow-agents status {name}"
        if status in ("finished", "landed"):
            flow, authority = snapshot.state.flow, snapshot.authority
            look = f"git log --first-parent {flow}"
            if authority != LOCAL:
                look = f"git fetch {authority} && git log --first-parent {authority}/{flow}"
            hint = f"gitflow-agents report {name}; {look}"
            return RunEnd(ExitCode.DONE, snapshot, f"the plan is {status}: {counted}", hint)
        if self.stop.is_set():
            again = f"gitflow-agents run {name} goes on where it was"
            message = f"interrupted; {counted}, and nothing is lost"
            return RunEnd(ExitCode.INTERRUPTED, snapshot, message, again)
        if self.desk.full:
            hint = f"make room on the disk, then gitflow-agents run {name} goes on where it was"
            return RunEnd(ExitCode.TRY_AGAIN, snapshot, f"{self.desk.full}; {counted}", hint)
        if status == "closed":
            return RunEnd(ExitCode.FAILED, snapshot, "the plan is closed", look)
        where = snapshot.seen.flow_checked_out
        if snapshot.state.held:
            message = f"the plan is {scheduler.held_words(snapshot.state.held)}"
            if not snapshot.state.held.startswith(scheduler.FLOW_TROUBLE):
                look = f"gitflow-agents resume {name}"
        elif where:
            message = f"{snapshot.state.flow} is checked out in {where}, so nothing is merged"
            look = f"git -C '{where}' switch --detach, then run it again"
        elif scheduler.spent(snapshot, self.limits):
            message = f"{scheduler.spent(snapshot, self.limits)}; {counted}"
        elif status == "waiting" and scheduler.piled_up(snapshot, self.limits):
            message = f"{scheduler.piled_up(snapshot, self.limits)}; {counted}"
        elif status == "waiting" and snapshot.asking:
            asking = sorted(snapshot.asking, key=snapshot.plan.order.__getitem__)
            message = f"the plan waits for an answer to {names(asking)}; {counted}"
        elif status == "waiting" and snapshot.taken:
            who = taken_by(snapshot)
            message = f"the plan waits for the people who took {who}; {counted}"
        elif status == "waiting":
            message = f"the plan waits for your approval; {counted}"
        else:
            failed = sorted(snapshot.by_status[Status.FAILED], key=snapshot.plan.order.__getitem__)
            some = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if failed[5:] else "")
            held = [task for task in snapshot.plan.order if is_held(snapshot, task)]
            what = f"failed: {some}" if failed else "nothing that is left can start"
            if held:
                what += f"; held: {names(held)}"
                look += f"; gitflow-agents resume {name}"
            message = f"the plan cannot go on without a person: {what}; {counted}"
            if failed:
                look += f"; gitflow-agents retry {name} tries again"
        return RunEnd(ExitCode.NEEDS_A_PERSON, snapshot, message, look)

    def _interrupt(self) -> None:
        self.stop.set()
        self._ended.put("")


def nothing() -> None:
    """Do nothing: a job leaves nothing to be tidied."""


@contextlib.contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` for what would end this process, from Ctrl-C to a terminal that goes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        interrupt()

    before = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # as under nohup
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_id() -> str:
    """Return what names this run in the state: the process and when it began."""
    return f"local-{os.getpid()}-{int(time.time())}"


__all__ = ["Beside", "Run", "RunEnd", "interruptible", "run_id"]
