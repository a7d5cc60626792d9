"""What one job of a forge does for a plan: a pass, an attempt, its publishing, a train's test.

The jobs share nothing but the remote: each reads the state there first, and does nothing when the
state names another run than its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gitflow_agents import render
from gitflow_agents.commands import Act, AddTask, Refused, Sync, no_such_task
from gitflow_agents.errors import FlowError, LostRace, UsageError
from gitflow_agents.execute import Order, Result, Verdict
from gitflow_agents.forge import Comment, Forge, ForgeRun, Talk, Tracker
from gitflow_agents.models import DoneReport, Lease, Reason, Status
from gitflow_agents.render import replies
from gitflow_agents.runner import Stop
from gitflow_agents.scheduler import Snapshot, limits_now
from gitflow_agents.service import crew, handover
from gitflow_agents.service.acting import MOST_RACES, Acting, Also, Outcome, Permit
from gitflow_agents.service.attempts import Attempts
from gitflow_agents.service.boarding import is_sync, keeps_boards, no_board
from gitflow_agents.service.commanding import Commanding, Words, places, understood
from gitflow_agents.service.delivery import keep, send
from gitflow_agents.service.desk import Desk, Told
from gitflow_agents.service.dispatching import Dispatcher, forge_lease
from gitflow_agents.service.ending import Ends
from gitflow_agents.service.hearing import hand
from gitflow_agents.service.permitting import permitting_of
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.reverts import Reverts
from gitflow_agents.service.run import interruptible
from gitflow_agents.service.service import Service
from gitflow_agents.service.trains import Trains
from gitflow_agents.store import Offline, RefRefused, Store
from gitflow_agents.store.state import HEADS, events_of, plan_ref, state_ref
from gitflow_agents.webhook import webhook

NAMING_SECONDS = 90.0
"""Seconds for which a run waits until the state names it."""
LOOK_SECONDS = 20.0
"""Seconds between two looks of a run at whether its attempt goes on."""


ARTIFACT = "gitflow-result"
"""What the workflow calls the folder that one of its jobs leaves for the other."""


class ClaimOver(FlowError):
    """The attempt, or the train, that a run was started for is not its own any more."""


@dataclass(frozen=True)
class Published:
    """What became of a result: the event commit on its branch, or where it is kept."""

    report: DoneReport
    event: str
    kept: str = ""


@dataclass
class Jobs:
    """The jobs of one checkout, whose `remote` decides."""

    service: Service
    tell: Callable[[Told], None]
    remote: str = "origin"
    naming_seconds: float = NAMING_SECONDS

    # --- a pass -----------------------------------------------------------------------------------

    def plans(self) -> list[str]:
        """Return the plans that the remote has, started or only proposed, but those that are over.

        Where the config says `start: on-push`, the files of the default branch that were never
        started propose one, too.  What was fetched last is looked at, and nothing is asked.
        """
        tracking = f"refs/remotes/{self.remote}/"
        proposed, begun = (
            tracking + ref.removeprefix(HEADS) for ref in (plan_ref(""), state_ref(""))
        )
        tips = self.service.repository.tips(proposed, begun)
        names = {ref.removeprefix(proposed).removeprefix(begun) for ref in tips}
        over = {
            name
            for name in names
            if self.service.authorities.is_over(tips.get(begun + name), tips.get(proposed + name))
        }
        if self.service.config.start == "on-push":
            names |= self.service.unstarted(self.remote).keys()
        return sorted(name for name in names - over if "/" not in name)

    def reconcile(
        self,
        plan: str,
        forge: Forge,
        heard: ForgeRun | None = None,
        parallel: int | None = None,
        words: Words | None = None,
        talk: Talk | None = None,
        tracker: Tracker | None = None,
    ) -> Snapshot:
        """Do what can be done for a plan now, and start runs for the rest; accept it when new.

        `heard` is what became of the test of a train, where the forge told it by itself;
        `parallel` how many attempts at once a person allows from now on; `words` what people said,
        and `talk` is where they are answered; `tracker` is where tasks have issues.
        """
        service, store = self.service, self._store(plan)
        path, text = self._written(store, plan)
        snapshot = service.accepted(plan, text, store, self.tell, file=path)
        desk = service.desk(snapshot, self.tell)
        reconciler = Reconciler(desk)
        if parallel is not None:
            said = f"{render.count(parallel, 'attempt')} at once, from now on"
            reconciler.note("plan_limited", said, parallel=parallel)
        if talk is not None and (words is not None or desk.snapshot.state.commands):
            self._obey(reconciler, forge, talk, words)
        limits = limits_now(desk.snapshot, service.config)
        try:
            Dispatcher(reconciler, forge, limits, heard, tracker).go()
        finally:
            self._ring(reconciler)
        return desk.snapshot

    # --- what people say --------------------------------------------------------------------------

    def _obey(self, reconciler: Reconciler, forge: Forge, talk: Talk, words: Words | None) -> None:
        """Hear what was said, do it, and answer; what a process left that died is done, too."""
        desk = reconciler.desk
        limits = limits_now(desk.snapshot, self.service.config)
        permitting = permitting_of(desk, forge)

        def act(
            command: Act,
            actor: str,
            at: float,
            *,
            permit: Permit,
            dry_run: bool,
            also: Also,
            unless: Callable[[Snapshot], bool],
        ) -> Outcome:
            how = permit, dry_run, also, unless
            return self._act(reconciler, command, actor, at, *how)

        later = keeps_boards(
            self.service, desk.snapshot.plan.plan
        )  # by a job of the same run, which has the token
        commanding = Commanding(
            reconciler, talk, limits, permitting, act, lambda one: not (later and is_sync(one))
        )
        if words is not None:
            commanding.hear(words)
        ending: tuple[str, ...] = ()
        try:
            commanding.carry_out()
            ending = Ends(reconciler, forge).go()
        finally:
            if why := commanding.answer(words, ending):
                desk.say("warning", f"somebody was not answered: {why}")
            desk.written()

    def answer_stranger(self, said: Comment, talk: Talk, repository: str) -> str:
        """Tell somebody once, who gives commands where no plan is told of, that nothing ran.

        Who may be talking to somebody else is not disturbed.  Returns what was said, or nothing.
        """
        heard = understood(said, self.service.config)
        is_ours = any(line.text.lower().startswith("/gitflow") for line in heard.lines)
        if not heard.lines or said.is_bot or said.is_own:
            return ""
        head = talk.head(said.number)
        if not is_ours and head in ("", repository):
            return ""
        text = replies.stranger(said.author, is_fork=head not in ("", repository))
        mark = text.partition("\n")[0]
        if any(one.is_own and one.text.startswith(mark) for one in talk.comments(said.number, 0)):
            return "it was said before"
        talk.say(said.number, text)
        return "that was said"

    def plan_at(self, number: int) -> str:
        """Return the plan that is told of in a pull request or an issue, or nothing."""
        tracking = f"refs/remotes/{self.remote}/{state_ref('').removeprefix(HEADS)}"
        tips = self.service.repository.tips(tracking)
        # Anybody can make us look: first where it costs little, and what was fetched is enough.
        for ref, tip in tips.items():
            if number in self.service.authorities.home(tip):
                return ref.removeprefix(tracking)
        for ref, tip in tips.items():
            plan = ref.removeprefix(tracking)
            if not self.service.authorities.is_over(tip, None):
                snapshot = self.service.authorities.store(self.remote, plan).load(plan)
                if snapshot is not None and number in places(snapshot):
                    return plan
        return ""

    def _ring(self, reconciler: Reconciler) -> None:
        """Tell the webhook, if there is one; nothing that goes wrong there concerns the plan."""
        desk = reconciler.desk

        def warn(text: str) -> None:
            desk.say("warning", text)
            desk.written()

        try:
            hook = webhook(self.service.environ)
        except UsageError as e:
            warn(f"nobody is alerted: {e.message}")
            return
        if hook is not None:
            bell = self.service.bell(reconciler, hook, warn)
            bell.ring()
            bell.close()

    def act(
        self,
        plan: str,
        command: Act,
        actor: str,
        *,
        permit: Permit,
        asked_at: float | None = None,
        dry_run: bool = False,
        also: Also | None = None,
        unless: Callable[[Snapshot], bool] = lambda snapshot: False,
    ) -> Outcome:
        """Carry out the command of a person (`name <address>`), as `Acting.handle` says.

        `permit` raises Refused where they may not; `asked_at` is when they gave it, in seconds
        since the epoch: they saw nothing that came later.

        Nothing of the plan runs here: what has to be tested, the next pass starts a run for.
        Raises ClaimOver where there is no such plan.
        """
        reconciler = Reconciler(self.desk(plan))
        about = reconciler, command, actor, asked_at
        how = permit, dry_run, also, unless
        return self._act(*about, *how)

    def _act(
        self,
        reconciler: Reconciler,
        command: Act,
        actor: str,
        at: float | None,
        permit: Permit,
        dry_run: bool,
        also: Also | None,
        unless: Callable[[Snapshot], bool],
    ) -> Outcome:
        desk = reconciler.desk
        own, desk.actor = desk.actor, actor
        try:
            if isinstance(command, Sync):
                raise no_board(self.service, desk.snapshot.plan.plan)
            if isinstance(command, AddTask):
                return self._add_tasks(desk, command, permit, dry_run, also, unless)
            desk.lease = lambda until: forge_lease(until, desk.clock())
            limits = limits_now(desk.snapshot, self.service.config)
            acting = Acting(reconciler, limits, permit, at, tests_here=False)
            return acting.handle(command, dry_run=dry_run, also=also, unless=unless)
        finally:
            desk.actor = own

    def _add_tasks(
        self,
        desk: Desk,
        command: AddTask,
        permit: Permit,
        dry_run: bool,
        also: Also | None,
        unless: Callable[[Snapshot], bool],
    ) -> Outcome:
        for turn in range(MOST_RACES):
            if unless(desk.snapshot):
                return Outcome(desk.snapshot.plan.plan, False, (), "", desk.snapshot)
            permit(command, desk.snapshot)
            what = command, desk.snapshot, desk.store, desk.actor
            try:
                return self.service.add_tasks(*what, dry_run=dry_run, also=also)
            except RefRefused as e:
                said = f"{e.message}; nothing was changed"
                raise Refused("push-refused", said, hint=e.hint) from e
            except LostRace:
                if turn == MOST_RACES - 1:
                    raise
                self._look_again(desk)
        raise AssertionError("unreachable")

    def end_runs(
        self,
        plan: str,
        forge: Forge,
        *,
        wait: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> tuple[str, ...]:
        """Ask the runs of a plan to end that are wanted no more; return a sentence for each.

        With `wait` until they have: after a minute they are forced, after five a person is told.
        """
        desk = self.desk(plan)
        reconciler = Reconciler(desk)
        try:
            return Ends(reconciler, forge, sleep).go(wait=wait)
        finally:
            desk.written()

    def rehearse(self, plan: str, parallel: int | None = None) -> list[Told]:
        """Return what passes would come to from now on, writing nothing."""
        store = self._store(plan)
        _, text = self._written(store, plan)
        return self.service.rehearse_at(store, plan, text, jobs=parallel)

    # --- an attempt -------------------------------------------------------------------------------

    def execute(
        self, plan: str, task: str, claim: str, run: int, folder: Path, *, install: bool = False
    ) -> DoneReport:
        """Do the attempt that a claim began, and leave what came of it in a folder.

        With `install` the agents that are missing here are fetched first.  Raises ClaimOver when
        the attempt is not this run's; nothing was started then.
        """
        desk = self.desk(plan)
        self._named(desk, run, lambda: self._lease(desk, task, claim))
        desk.worktrees.exclude()
        desk.executor.guard.begin()
        attempts = Attempts(desk)
        order = attempts.order(task)
        # A runner that cancels its job leaves us ten seconds to save what was done.
        with interruptible(lambda: order.stop.set(hurried=True)):
            result = self._worked(desk, order, claim, install=install)
            result = attempts.without_secrets(order, result)
            handover.write(folder, desk.store.repository, order, result)
        return result.report

    def _worked(self, desk: Desk, order: Order, claim: str, *, install: bool) -> Result:
        """Return what came of an attempt; of one that could not begin, why."""
        task = order.task.id
        plan_ = desk.snapshot.plan_for(task)
        known = desk.handbook, desk.config, self.service.environ
        broken = crew.no_runner(plan_, task, desk.handbook, desk.config)
        if install and not broken:
            broken = crew.install(plan_, task, *known, order.stop)
        lacks = [broken] if broken else [*crew.lacking(desk.snapshot, (task,), *known)]
        if lacks:
            return _nothing(desk, order, Reason.PRECONDITION_FAILED, "; ".join(lacks))

        def lease() -> Lease | None:
            hand(desk, task)  # what was said since
            return self._lease(desk, task, claim)

        with self._watched(desk, order.stop, lease):
            return desk.executor.execute(order, self._progress(desk, order))

    def _progress(self, desk: Desk, order: Order) -> Callable[[str], None]:
        def on_progress(line: str) -> None:
            desk.say("attempt_progress", f"{order.task.id}: {line}", task=order.task.id)
            desk.written()

        return on_progress

    def publish(self, plan: str, task: str, claim: str, run: int, folder: Path) -> Published:
        """Put what a run left in a folder on its task's branch, expecting exactly the claim.

        What comes too late is kept below `gitflow/attempt/`.  A folder without anything in it is
        an attempt whose runner died.
        """
        desk = self.desk(plan)
        repository = desk.store.repository
        lease = self._lease(desk, task, claim)
        if lease is None or lease.run != run:
            return self._too_late(desk, task, claim, folder)
        desk.kept_by = f"for a week with run {run}, as its artifact {ARTIFACT}"
        order = Attempts(desk).order(task)
        try:
            handed = handover.read(folder, repository, order.claim)
            if handed is None:
                why = f"run {run} ended and left no result"
                result = _nothing(desk, order, Reason.INFRASTRUCTURE, why)
            else:
                began = desk.snapshot.record(task).attempts[-1].started_at
                longest = max(0.0, desk.clock() - began)
                result = handover.unwrapped(handed, repository, order, longest)
        except FlowError as e:
            result = _nothing(desk, order, Reason.BAD_BASE, e.message)
        attempts = Attempts(desk)
        parcel = attempts.pack(order, result)
        if parcel is None:  # it was stopped; the next pass says so, and takes what is kept
            return Published(result.report, "")
        event = send(desk, parcel)
        if not event:
            return Published(result.report, "", desk.fenced[task][1])
        return Published(desk.report(repository.commit(event).tree), event)

    def _too_late(self, desk: Desk, task: str, claim: str, folder: Path) -> Published:
        """Keep the work of an attempt that was ended while its run was at it."""
        repository = desk.store.repository
        said = None
        if repository.resolve(f"{claim}^{{commit}}"):
            cut = [
                claim,
                *repository.commit(claim).parents,
            ]  # work may have been brought back on it
            told = (event for sha in cut for event in events_of(repository.commit(sha)))
            said = next((e for e in told if e.task == task and e.attempt), None)
        handed = handover.read(folder, repository, claim) if said else None
        if said is None or handed is None or not handed.wrapper or not said.attempt:
            raise ClaimOver(f"the attempt at {task} has ended, and its run left no work")
        last = repository.commit(handed.wrapper).parents[0]
        if not repository.is_ancestor(claim, last):
            raise ClaimOver(f"the attempt at {task} has ended, and what came is not its work")
        kept = keep(desk, task, said.attempt, handed.wrapper)
        return Published(handed.paper.report, "", kept)

    # --- a train ----------------------------------------------------------------------------------

    def test(self, plan: str, tip: str) -> Verdict:
        """Test the train whose last commit is `tip`; ClaimOver when the state names another."""
        desk = self.desk(plan)
        if self._train_lease(desk, tip) is None:
            raise ClaimOver("the train that this run was started for is over")
        desk.worktrees.exclude()
        desk.executor.guard.begin()
        trains = Trains(desk, Reverts(desk, lambda draft, task, why: None))
        job = trains.job()
        with (
            interruptible(lambda: job.stop.set(hurried=True)),
            self._watched(desk, job.stop, lambda: self._train_lease(desk, tip)),
        ):
            return trains.test(job)

    # --- shared -----------------------------------------------------------------------------------

    def _store(self, plan: str) -> Store:
        store = self.service.authorities.store(self.remote, plan)
        store.refs.refresh(force=True)
        return store

    def _written(self, store: Store, plan: str) -> tuple[str, bytes | None]:
        """Return path and text of a plan that has only a file on the default branch."""
        if store.refs.resolve(state_ref(plan)) or store.refs.resolve(plan_ref(plan)):
            return "", None
        return self.service.unstarted(self.remote).get(plan, ("", None))

    def desk(self, plan: str) -> Desk:
        """Return the tools for a plan as the remote has it now; ClaimOver where it has none."""
        store = self._store(plan)
        snapshot = store.load(plan)
        if snapshot is None:
            raise ClaimOver(f"{self.remote} has no plan {plan}")
        store.refs.refresh()  # its flow is known now
        return self.service.desk(snapshot, self.tell)

    def _lease(self, desk: Desk, task: str, claim: str) -> Lease | None:
        """Return the lease of the attempt that a claim began, as the state has it."""
        if task not in desk.snapshot.plan.by_id:
            raise no_such_task(desk.snapshot, task)
        record = desk.snapshot.record(task)
        is_its = record.status is Status.IN_PROGRESS and claim == record.claim
        return record.lease if is_its else None

    def _train_lease(self, desk: Desk, tip: str) -> Lease | None:
        train = desk.snapshot.state.train
        return train.lease if train is not None and train.tip == tip else None

    def _named(self, desk: Desk, run: int, lease: Callable[[], Lease | None]) -> None:
        """Wait until the state names this run; ClaimOver when it never does."""
        deadline = time.monotonic() + self.naming_seconds
        while True:
            found = lease()
            if found is None:
                raise ClaimOver("what this run was started for is over")
            if found.run == run:
                return
            if found.run:
                raise ClaimOver(f"run {found.run} does what this one was started for")
            if time.monotonic() > deadline:
                raise ClaimOver("the state did not name this run; the next pass starts another")
            time.sleep(1)
            self._look_again(desk)

    def _look_again(self, desk: Desk) -> None:
        desk.store.refs.refresh(force=True)
        snapshot = desk.store.load(desk.snapshot.plan.plan)
        if snapshot is None:
            raise ClaimOver(f"{self.remote} has the plan no more")
        desk.snapshot = snapshot

    def _watched(self, desk: Desk, stop: Stop, lease: Callable[[], Lease | None]) -> _Watch:
        """Look now and then whether what runs is still wanted, and end it when not."""

        def is_over() -> bool:
            try:
                self._look_again(desk)
            except ClaimOver:
                return True
            except Offline:
                return False  # nobody can tell: the work goes on
            return lease() is None

        return _Watch(stop, is_over)


class _Watch:
    """Asks from time to time, beside what runs, whether it is over."""

    def __init__(self, stop: Stop, is_over: Callable[[], bool]) -> None:
        self._stop, self._is_over = stop, is_over
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)

    def _go(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            if self._is_over():
                self._stop.set()
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        # Whoever is ended in ten seconds has no time for a slow line.
        self._thread.join(1 if self._stop.is_set() else None)


def _nothing(desk: Desk, order: Order, reason: Reason, message: str) -> Result:
    """Return the result of an attempt that came to nothing."""
    now, attempt = desk.clock(), desk.snapshot.record(order.task.id).attempts[-1]
    report = DoneReport(
        plan=order.plan.plan,
        task=order.task.id,
        attempt=order.number,
        outcome="failed",
        reason=reason,
        message=render.one_line(message),
        agent=attempt.agent,
        started_at=attempt.started_at,
        ended_at=now,
        scope=order.task.name,
    )
    tree = desk.store.repository.commit(order.claim).tree
    return Result(tree, order.claim, (), report)


__all__ = ["ClaimOver", "Jobs", "Published"]
