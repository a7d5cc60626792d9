"""Passes over one plan whose attempts and trains are runs of a forge.

Each claim, and each train, is one dispatch.  The state says first that there is to be a run and
then which one it is; a run that the state does not name does not begin.  So a dispatch that is
lost, doubled or late costs nothing: the next pass finds it by its name, or sends another.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gitflow_agents import scheduler, spec
from gitflow_agents.errors import LostRace
from gitflow_agents.execute import Order, Verdict
from gitflow_agents.forge import (
    Forge,
    ForgeDown,
    ForgeRefused,
    ForgeRun,
    Job,
    Tracker,
)
from gitflow_agents.models import FORGE, Attempt, Lease, Limits, Reason, Status
from gitflow_agents.service.desk import Desk, TestJob
from gitflow_agents.service.ending import Ends
from gitflow_agents.service.environments import Environments
from gitflow_agents.service.issuing import Issuing
from gitflow_agents.service.questioning import Questions
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.reviewing import Reviewing
from gitflow_agents.service.telling import Telling
from gitflow_agents.store import Draft

LEASE_SECONDS = 24 * 3600.0
"""Seconds after which an attempt without a result is over, whatever the forge says."""
UNNAMED_SECONDS = 120.0
"""Seconds for which whoever dispatched a run may take to note its id."""
VERDICTS = ("success", "failure", "timed_out")
"""Conclusions of a train's test that say something of what it tested."""
TOLD_BY_STEPS = (Reason.SETUP_FAILED, Reason.GATE_FAILED, Reason.UNVERIFIED)
"""Why a train's test failed, by the step of its job that has that name; else it is the checks."""
RACES = 5
"""Times that the id of a run is written down when somebody else moves the plan."""
FOR_ALL = (403, 404)
"""Answers of a forge that it gives to every dispatch of the same kind."""
MOST_LISTED = 1000
"""Runs that a forge lists; where there are more, one that is not listed may be at work."""
NAME = 12
"""Letters of a claim that stand in the name of its run."""


def forge_lease(until: float, now: float) -> Lease:
    """Return the lease of a run that is still to be dispatched."""
    return Lease(host=FORGE, until=max(until, now + LEASE_SECONDS), run=0)


def run_name(plan: str, task: str, attempt: Attempt, claim: str) -> str:
    """Return what the run of an attempt is called: unique to the claim, and read by people."""
    return f"{plan}-{attempt.agent}-task{task}-attempt{attempt.number} {claim[:NAME]}"


def train_name(plan: str, tip: str) -> str:
    """Return what the run of a train is called."""
    return f"{plan}-train {tip[:NAME]}"


@dataclass
class Dispatcher:
    """The passes of one process over one plan, with a forge that does the work."""

    reconciler: Reconciler
    forge: Forge
    limits: Limits
    heard: ForgeRun | None = None
    """What became of a train's test, where the forge told it without being asked."""
    tracker: Tracker | None = None
    """Where tasks have issues, if there is such a place."""
    _has_started: bool = False
    _trouble: ForgeRefused | ForgeDown | None = None
    """Why the first of the runs that could not be started was not."""
    _hopeless: set[Job] = field(default_factory=set)
    """What is not asked for again in this pass."""

    @property
    def desk(self) -> Desk:
        return self.reconciler.desk

    def go(self) -> None:
        """Pass until nothing can move before a run has ended.

        Raises ForgeDown or ForgeRefused in the end when a run could not be started: its claim
        stays, and the next pass starts it.
        """
        desk = self.desk
        desk.lease = lambda until: forge_lease(until, desk.clock())
        telling = Telling(self.reconciler, self.forge, self.limits)
        with desk.store.refs.lock():
            self.reconciler.refresh()
            self.reconciler.clear_branches()
        tracker = self.tracker if desk.config.issues else None
        issuing = Issuing(self.reconciler, tracker) if tracker is not None else None
        try:
            self._pass(issuing)
        finally:  # also of what a pass did that could not start a run
            if issuing is not None and (why := issuing.end()):
                desk.say("warning", f"issues of plan {desk.snapshot.plan.plan} are late: {why}")
                desk.written()
            if why := telling.end():
                desk.say("warning", f"plan {desk.snapshot.plan.plan} is not told of: {why}")
                desk.written()

    def _pass(self, issuing: Issuing | None) -> None:
        desk = self.desk
        reviewing = Reviewing(self.reconciler, self.forge)
        environments = Environments(self.reconciler, self.forge, self.limits)
        reviewing.hear()
        environments.hear()
        questions = Questions(self.reconciler, self.forge, self.limits)
        questions.hear()
        Ends(self.reconciler, self.forge, own=self.heard.id if self.heard else 0).go()
        self._hear()
        self._catch_up()
        while True:
            if issuing is not None:
                issuing.begin(self._free)
            work = self.reconciler.step(self.limits, self._free, barrier=False, stopping=False)
            for order in work.orders:
                desk.own.pop(order.task.id, None)
            desk.testing = None
            self._dispatch(work.orders, work.test)
            if not work.acted:
                break
        self._note_refusal()
        reviewing.open()
        environments.open()
        questions.show()
        self.reconciler.end_run()
        if self._trouble is not None:
            raise self._trouble

    def _note_refusal(self) -> None:
        """Write down that the forge starts no runs, or that it does again."""
        trouble, known = self._trouble, self.desk.snapshot.state.undispatched
        if isinstance(trouble, ForgeRefused):
            self.reconciler.note("runs_refused", trouble.message, undispatched=trouble.message)
        elif known and self._has_started:
            self.reconciler.note("runs_start", "runs are started again", undispatched="")

    @property
    def _free(self) -> int:
        """Return how many attempts may still be started; what runs elsewhere counts."""
        snapshot = self.desk.snapshot
        running = len(snapshot.by_status[Status.IN_PROGRESS] - snapshot.taken)
        return max(0, (self.limits.parallel or scheduler.PARALLEL) - running)

    # --- what became of runs ----------------------------------------------------------------------

    def _hear(self) -> None:
        """Ask for what became of the train, and of attempts that take long."""
        self._hear_of_train()
        late = {run: attempt.started_at for run, attempt in self._late()}
        if late:
            runs = self.forge.runs("task", min(late.values()))
            at_work = {run.id for run in runs if not run.is_over}
            # One that the forge was asked for and never had is over, too.
            known = {run.id for run in runs} if len(runs) >= MOST_LISTED else late.keys()
            self.desk.runs_over = frozenset(late.keys() & known - at_work)

    def _hear_of_train(self) -> None:
        train = self.desk.snapshot.state.train
        if train is None or not train.lease.run:
            return
        run = self.heard if self.heard and self.heard.id == train.lease.run else None
        if run is None or run.conclusion == "failure":  # only the forge knows why it failed
            run = self._asked(train.lease.run, run)
        if run is None or (run.is_over and run.conclusion not in VERDICTS):
            self.desk.runs_over |= {train.lease.run}  # it proves nothing; it is built again
        elif run.is_over:
            self.desk.tests[train.tip] = _verdict(run)

    def _asked(self, number: int, heard: ForgeRun | None) -> ForgeRun | None:
        """Return what the forge says of a train's test, at least what was heard of it."""
        if heard is None:
            return self.forge.verdict(number)
        with contextlib.suppress(ForgeDown, ForgeRefused):
            run = self.forge.verdict(number)
            if run is not None and run.conclusion == heard.conclusion:
                return run
        return heard

    def _late(self) -> Iterator[tuple[int, Attempt]]:
        """Yield the runs of attempts that are past half of their time; others are not asked for."""
        snapshot, now = self.desk.snapshot, self.desk.clock()
        for task in snapshot.by_status[Status.IN_PROGRESS] - snapshot.taken:
            record = snapshot.record(task)
            lease, attempt = record.lease, record.attempts[-1]
            plan = snapshot.plan_for(task)
            timeout = plan.setting(plan.by_id[task], "timeout").seconds
            if lease and lease.run and now - attempt.started_at > timeout / 2:
                yield lease.run, attempt

    # --- starting runs ----------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Find, or start, the runs of those of whom nobody noted one in time."""
        snapshot, now = self.desk.snapshot, self.desk.clock()
        unnamed = []
        for task in snapshot.by_status[Status.IN_PROGRESS] - snapshot.taken:
            record = snapshot.record(task)
            is_unnamed = record.lease is not None and record.lease.run == 0
            if is_unnamed and now - record.attempts[-1].started_at > UNNAMED_SECONDS:
                unnamed.append(task)
        if unnamed:
            unnamed.sort(key=snapshot.plan.order.__getitem__)
            since = min(snapshot.record(task).attempts[-1].started_at for task in unnamed)
            there = self.forge.runs("task", since)
            self._note({task: self._found(task, there) or self._start(task) for task in unnamed})
        train = snapshot.state.train
        # A train's test is whoever's it likes to be: two of them say the same.
        if train is not None and train.lease.run == 0:
            name = train_name(snapshot.plan.plan, train.tip)
            there = self.forge.runs("train", now - LEASE_SECONDS)
            self._note({}, _lowest(name, there) or self._start_train())

    def _found(self, task: str, runs: tuple[ForgeRun, ...]) -> int:
        record = self.desk.snapshot.record(task)
        plan = self.desk.snapshot.plan.plan
        name = run_name(plan, task, record.attempts[-1], record.claim)
        return _lowest(name, tuple(run for run in runs if not run.is_over))  # it gave up

    def _dispatch(self, orders: list[Order], test: TestJob | None) -> None:
        if not orders and test is None:
            return
        runs: dict[str, int] = {}
        try:
            for order in orders:
                runs[order.task.id] = self._start(order.task.id)
            train = self._start_train() if test is not None else 0
        except BaseException:
            self._note(runs)
            raise
        self._note(runs, train)

    def _start(self, task: str) -> int:
        snapshot = self.desk.snapshot
        record, plan = snapshot.record(task), snapshot.plan.plan
        name = run_name(plan, task, record.attempts[-1], record.claim)
        about = {"plan": plan, "task": task, "claim": record.claim, "name": name}
        return self._asked_for("task", about | {"runner": self._runner([task])} | self._cache(task))

    def _start_train(self) -> int:
        train, plan = self.desk.snapshot.state.train, self.desk.snapshot.plan.plan
        assert train is not None
        name = train_name(plan, train.tip)
        about = {"plan": plan, "claim": train.tip, "name": name}
        runner = self._runner([car.task for car in train.cars])
        return self._asked_for("train", {**about, "runner": runner})

    def _asked_for(self, job: Job, inputs: Mapping[str, str]) -> int:
        """Return the run that was started, 0 where none was; nothing else waits for that."""
        if job in self._hopeless:
            return 0
        try:
            run = self.forge.start(job, inputs)
        except (ForgeRefused, ForgeDown) as e:
            self._trouble = self._trouble or e
            if isinstance(e, ForgeDown):
                self._hopeless |= {"task", "train"}
            elif e.status in FOR_ALL:
                self._hopeless.add(job)
            return 0
        self._has_started = True
        return run

    def _cache(self, task: str) -> dict[str, str]:
        """Return which folders a task finds as another left them, and whose they are."""
        plan, folders = self.desk.snapshot.plan, self.desk.config.cache
        folder = plan.setting(plan.by_id[task], "working_directory") or ""
        return {"cache": "\n".join(folders), "service": spec.service(folder)} if folders else {}

    def _runner(self, tasks: Sequence[str]) -> str:
        """Return the labels of the machine that tasks ask for, as JSON; empty for the usual one.

        Where they do not agree it is the usual one: what fails there for want of another is tested
        again by itself.
        """
        desk, plan = self.desk, self.desk.snapshot.plan
        known = [plan.by_id[task] for task in tasks if task in plan.by_id]
        names = {plan.setting(desk.handbook.terms(plan, task), "runner") for task in known}
        labels = desk.config.labels(names.pop() if len(names) == 1 else None)
        return json.dumps(labels) if labels else ""

    def _note(self, runs: dict[str, int], train: int = 0) -> None:
        """Write down which run is whose: nobody else may begin."""
        known = {task: run for task, run in runs.items() if run}
        for turn in range(RACES if known or train else 0):
            try:
                self.reconciler.write(lambda draft: self._stage(draft, known, train))
                break
            except LostRace:
                if turn == RACES - 1:
                    raise

    def _stage(self, draft: Draft, runs: dict[str, int], train: int) -> None:
        desk = self.desk
        for task, run in runs.items():
            record = desk.snapshot.record(task)
            if record.lease is None or record.lease.run != 0:
                continue  # somebody ended it meanwhile, or was faster
            lease = record.lease.model_copy(update={"run": run})
            *former, last = record.attempts
            attempts = (*former, last.model_copy(update={"url": self.forge.url(run)}))
            draft.put(record.model_copy(update={"lease": lease, "attempts": attempts}))
            number = last.number
            note = f"{task} is done by run {run}: {self.forge.url(run)}"
            draft.tell("attempt_dispatched", task=task, attempt=number, note=note)
            desk.say("attempt_dispatched", note, task=task, attempt=number, run=run)
        state = desk.snapshot.state
        if train and state.train is not None and state.train.lease.run == 0:
            lease = state.train.lease.model_copy(update={"run": train})
            draft.set(train=state.train.model_copy(update={"lease": lease}))
            note = f"it is tested by run {train}: {self.forge.url(train)}"
            draft.tell("train_dispatched", commit=state.train.tip, note=note)
            desk.say("train_dispatched", note, run=train)


def _verdict(run: ForgeRun) -> Verdict:
    if run.conclusion == "success":
        return Verdict(None, "", ())
    reason = next((one for one in TOLD_BY_STEPS if one in run.steps), Reason.CHECKS_FAILED)
    return Verdict(reason, f"its run failed: {run.url}", ())


def _lowest(name: str, runs: tuple[ForgeRun, ...]) -> int:
    """Return the first of the runs that a dispatch was doubled into, 0 where there is none."""
    return min((run.id for run in runs if run.title == name), default=0)


__all__ = ["Dispatcher", "forge_lease", "run_name", "train_name"]
