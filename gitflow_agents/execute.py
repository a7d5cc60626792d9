"""One attempt in its worktree, and one test of a train in a fresh one.

This is the untrusted half: it runs what a plan says and what an agent does.  What comes out is a
tree, what the agent claims, and what we observed ourselves; whether that may be merged is decided
elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from gitflow_agents import detectors, handoff, leaks, merge, spec, steps
from gitflow_agents.agents import BUILT_IN, Job, Logins, Outcome, agent, find, terms
from gitflow_agents.errors import GitFailed, InvalidFile
from gitflow_agents.models import (
    Config,
    DoneReport,
    Plan,
    Ran,
    Reason,
    Report,
    Review,
    StepReport,
    Task,
    Tokens,
)
from gitflow_agents.render import Before, before, clean
from gitflow_agents.render.prompt import TemplateFailed
from gitflow_agents.roles import Role, may_change
from gitflow_agents.runner import Caps, Stop, end_all, environment, ran, read_plain, shell
from gitflow_agents.store import (
    Change,
    FilterMissing,
    Guard,
    Repository,
    Unsavable,
    Worktree,
    Worktrees,
    committer_address,
)
from gitflow_agents.store.repository import EMPTY_TREE, SUBMODULE
from gitflow_agents.store.state import BRIEFING, HEADS, one_line
from gitflow_agents.store.worktrees import Prints, Saved

REPORT_BYTES = 64 * 1024
DEFAULT_GATE_SECONDS = 3600.0
FLOOD = 256 * 1024 * 1024
"""Bytes that an agent may print; it is ended when it goes on."""
MARK = "GITFLOW_CLAIM"
TRACE = "git.trace"
"""The file in an attempt's folder to which its git writes what it was told to do."""
UNPROVED = (Reason.UNVERIFIED, Reason.CHECKS_FAILED)
"""How a check ends; when everything is being stopped it says nothing about the work."""
LEFT_BEHIND = "it left processes behind, which were ended"


@dataclass(frozen=True)
class StepOrder:
    """A step of an attempt: a task of its own, and `brief` writes what its agent is told."""

    member: steps.Member
    brief: Callable[[tuple[Before, ...]], str]
    word: str = ""
    """What its verdict has to carry, if it is a review; only its brief says it."""


@dataclass(frozen=True)
class Order:
    """One attempt: everything that it needs, so that no state is read while it goes on."""

    plan: Plan
    task: Task
    number: int
    nonce: str
    branch: str
    claim: str
    base: str
    """The flow commit that the claim was cut from."""
    folder: Path
    """Where the agent's report, its progress and its output go."""
    stop: Stop = field(default_factory=Stop)
    """Set when this attempt should end."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What earlier tasks reported for this one, by name."""
    role: Role | None = None
    session: str = ""
    """The memory of the attempt before, as its agent called it, to go on with."""
    crew: tuple[StepOrder, ...] = ()
    """The steps, which follow the task's own agent."""


@dataclass(frozen=True)
class Stage:
    """What one agent of an attempt did: the task's own first, then each step.

    `tip` is the commit that it led to, with the whole worktree as its tree; `changes` what is its
    own doing.
    """

    task: Task
    role: Role | None
    outcome: Outcome
    report: Report
    seconds: float
    tip: str = ""
    tree: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Result:
    """What came of an attempt: its whole tree, the commit the agent left, and the report."""

    tree: str
    tip: str
    changes: tuple[Change, ...]
    report: DoneReport
    stages: tuple[Stage, ...] = ()
    """What each agent did; none when none was started."""
    briefs: tuple[str, ...] = ()
    """What the agents of the steps were told."""


@dataclass(frozen=True)
class Seat:
    """Where one agent of an attempt works: what it has to do, its papers, and what is left for it.

    `step` is 0 for the task's own agent; `seconds` and `cost_usd` are what the others left.
    """

    task: Task
    role: Role | None
    folder: Path
    brief: Path
    session: str = ""
    step: int = 0
    word: str = ""
    seconds: float | None = None
    cost_usd: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of testing a tree; no `reason` when everything passed."""

    reason: Reason | None
    message: str
    commands: tuple[Ran, ...]


@dataclass(frozen=True)
class Check:
    """One command of a train: `kind` decides what its failure is called."""

    kind: str
    command: str
    folder: str = ""
    at: str = ""
    """Of the kind `red`: the commit at which one of these has to fail."""


def reds_of(plan: Plan, task: Task, at: str) -> tuple[Check, ...]:
    """Return what has to fail at a commit, so that the task's tests are seen to have come first."""
    folder = plan.setting(task, "working_directory") or ""
    return tuple(Check("red", command, folder, at) for command in plan.verify(task))


def checks_of(plan: Plan, task: Task) -> tuple[Check, ...]:
    """Return what proves a task: its verification, then the check of each capability."""
    folder = plan.setting(task, "working_directory") or ""
    verify = [Check("verify", command, folder) for command in plan.verify(task)]
    proofs = [Check("check", c.check, folder) for c in task.provides if c.check]
    return (*verify, *proofs)


def command_of(plan: Plan, task: Task, config: Config) -> str:
    """Return what the agent `command` runs for a task: its own, the plan's, or the config's."""
    return str(plan.setting(task, "run") or config.agents.command.run or "")


def gate_of(plan: Plan, config: Config) -> tuple[Check, ...]:
    """Return what must pass on every merged tree: the config's gate and the plan's."""
    return tuple(Check("gate", command) for command in dict.fromkeys((*config.gate, *plan.gate)))


@dataclass
class Executor:
    """Runs attempts and tests for one run of the tool."""

    repository: Repository
    worktrees: Worktrees
    guard: Guard
    config: Config
    environ: Mapping[str, str]
    stop: Stop
    clock: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic
    """What is measured with; the clock of a machine may jump."""
    passed: dict[tuple[str, tuple[Check, ...]], tuple[Ran, ...]] = field(default_factory=dict)
    """What passed on which tree, seen in a worktree that held that tree and nothing else."""
    alarms: list[str] = field(default_factory=list)
    """What an agent did to the repository itself; after one of these nothing more is started."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def secrets(self) -> Mapping[str, str]:
        """Return what nobody else has to see: of our environment, and of the agents' logins."""
        return {**self._logins.secrets(), **self._given}

    @cached_property
    def _given(self) -> Mapping[str, str]:
        return leaks.known(self.environ)

    @cached_property
    def _logins(self) -> Logins:
        return Logins(tuple(BUILT_IN.values()), self.environ)

    # --- an attempt -------------------------------------------------------------------------------

    def execute(self, order: Order, on_progress: Callable[[str], None] | None = None) -> Result:
        """Do one attempt and return what came of it; its processes are gone.

        The worktree stays until `clear`: its work is safe only when it is published.  Raises
        GitFailed when its work could not be saved.
        """
        began, since = self.clock(), self.elapsed()
        order.folder.mkdir(parents=True, exist_ok=True)
        missing = ""
        try:
            worktree = self.worktrees.add(order.plan.plan, order.task.id, order.claim)
        except FilterMissing as e:
            worktree = self.worktrees.place(order.plan.plan, order.task.id)
            missing = e.said
        attempt = _Attempt(self, order, worktree, began, since, missing)
        self.guard.watch(order.nonce, f"{HEADS}{order.branch}", order.folder / TRACE)
        try:
            return attempt.work(on_progress)
        except BaseException:
            # Each command ends what it started; an error in between must not leave anything.
            end_all(f"{MARK}={order.nonce}")
            raise
        finally:
            self.guard.forget(order.nonce)

    def clear(self, order: Order, *, keep_output: bool) -> None:
        """Remove what an attempt needed, now that its work is kept in git."""
        self.worktrees.remove(self.worktrees.place(order.plan.plan, order.task.id))
        if not keep_output:
            with contextlib.suppress(OSError):
                shutil.rmtree(order.folder)
                order.folder.parent.rmdir()

    def heard(self, count: int) -> None:
        """The first `count` alarms are in the state."""
        del self.alarms[:count]

    # --- a train ----------------------------------------------------------------------------------

    def test(
        self, plan: Plan, commit: str, tree: str, checks: Sequence[Check], nonce: str, stop: Stop
    ) -> Verdict:
        """Run `checks` in a fresh worktree of `commit` and return the verdict.

        Those that have to fail at another commit come first, each commit in a worktree of its own.
        """
        known = self.passed.get((tree, tuple(checks)))
        if known is not None:
            return Verdict(None, "", known)
        failed_first: tuple[Ran, ...] = ()
        for at in dict.fromkeys(check.at for check in checks if check.at):
            reds = [check for check in checks if check.at == at]
            verdict = self._tested(plan, at, nonce, stop, partial(Bench.fail, reds=reds))
            failed_first += verdict.commands
            if verdict.reason is Reason.SETUP_FAILED:
                why = f"the tests could not be seen to fail at {at[:12]}: {verdict.message}"
                return Verdict(Reason.UNVERIFIED, why, failed_first)
            if verdict.reason is not None:
                return replace(verdict, commands=failed_first)
        greens = [check for check in checks if not check.at]
        verdict = self._tested(plan, commit, nonce, stop, partial(Bench.check, checks=greens))
        verdict = replace(verdict, commands=(*failed_first, *verdict.commands))
        if verdict.reason is None:
            self.remember(tree, checks, verdict.commands)
        return verdict

    def _tested(
        self, plan: Plan, commit: str, nonce: str, stop: Stop, run: Callable[[Bench], Verdict]
    ) -> Verdict:
        """Return what comes of running something in a fresh worktree, after the set-up."""
        try:
            worktree = self.worktrees.add(plan.plan, ".train", commit)
        except FilterMissing as e:
            self.worktrees.remove(self.worktrees.place(plan.plan, ".train"))
            return Verdict(e.reason, e.said, ())
        except GitFailed:
            self.worktrees.remove(self.worktrees.place(plan.plan, ".train"))
            raise
        seconds = max([plan.setting(task, "timeout").seconds for task in plan.tasks], default=0)
        identity = {"GIT_COMMITTER_NAME": "train", "GIT_COMMITTER_EMAIL": committer_address(nonce)}
        caps = Caps(max(seconds, DEFAULT_GATE_SECONDS))
        bench = Bench(self, plan, worktree, nonce, caps, identity, stop)
        try:
            verdict = bench.prepare()
            if verdict.reason is None:
                ran_first, verdict = verdict.commands, run(bench)
                verdict = replace(verdict, commands=(*ran_first, *verdict.commands))
        finally:
            end_all(f"{MARK}={nonce}")
            self.worktrees.remove(worktree)
            self.alarms += self.guard.look(nonce).files
        return verdict

    def remember(self, tree: str, checks: Sequence[Check], commands: tuple[Ran, ...]) -> None:
        """Note that `checks` passed on exactly this tree."""
        with self._lock:
            self.passed[tree, tuple(checks)] = commands


@dataclass(frozen=True)
class Bench:
    """A worktree in which commands of a plan are run."""

    executor: Executor
    plan: Plan
    worktree: Worktree
    nonce: str
    caps: Caps
    own: Mapping[str, str]
    stop: Stop

    @property
    def env(self) -> dict[str, str]:
        """Return what every command here sees."""
        return environment(
            self.executor.environ,
            self.executor.config.agents.command.env,
            {
                **self.own,
                MARK: self.nonce,
                "GITFLOW_PLAN": self.plan.plan,
                # Without the worktree's .git a git would find the person's checkout above it.
                "GIT_CEILING_DIRECTORIES": str(self.worktree.path.parent),
            },
        )

    def run(self, kind: str, command: str, folder: str = "") -> Ran:
        """Run one command; a folder that leaves the worktree runs nothing."""
        place = self.folder(folder)
        if place is None:
            return Ran.model_validate(
                {
                    "command": command,
                    "kind": kind,
                    "code": None,
                    "seconds": 0,
                    "tail": f"{folder} is not a folder inside the worktree",
                }
            )
        ended = shell(
            command,
            cwd=place,
            env=self.env,
            mark=f"{MARK}={self.nonce}",
            caps=self.caps,
            stop=self.stop,
        )
        done = ran(kind, command, ended)
        return done.model_copy(update={"tail": leaks.hidden(done.tail, self.executor.secrets)})

    def folder(self, name: str) -> Path | None:
        """Return a folder of the worktree, made if it is missing; None when it leads outside."""
        top = os.path.realpath(self.worktree.path)
        place = os.path.realpath(os.path.join(top, name))
        if place != top and not place.startswith(top + os.sep):
            return None
        try:
            os.makedirs(place, exist_ok=True)
        except OSError:
            return None
        return Path(place)

    @property
    def copied(self) -> tuple[str, ...]:
        """Return the paths that are brought from the person's checkout and never committed."""
        return tuple(dict.fromkeys((*self.executor.config.copy_, *self.plan.copy_)))

    def prepare(self) -> Verdict:
        """Bring the copied files and run the set-up."""
        for path in self.copied:
            source = self.executor.repository.home / path
            target = self.worktree.path / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
                else:
                    shutil.copy2(source, target)
            except OSError as e:
                return Verdict(
                    Reason.PRECONDITION_FAILED,
                    f"`copy` names {path}, which cannot be copied: {e.strerror or e}",
                    (),
                )
        done: list[Ran] = []
        for command in dict.fromkeys((*self.executor.config.setup, *self.plan.setup)):
            done.append(self.run("setup", command))
            if done[-1].code != 0:
                return Verdict(Reason.SETUP_FAILED, failed(done[-1]), tuple(done))
        return Verdict(None, "", tuple(done))

    def check(self, checks: Sequence[Check], before: tuple[Ran, ...] = ()) -> Verdict:
        """Run checks in order, up to the first that fails."""
        done = list(before)
        for check in checks:
            done.append(self.run(check.kind, check.command, check.folder))
            code = done[-1].code
            if code != 0:
                if code is None or code in (126, 127):
                    reason = Reason.UNVERIFIED
                else:
                    reason = Reason.GATE_FAILED if check.kind == "gate" else Reason.CHECKS_FAILED
                return Verdict(reason, failed(done[-1]), tuple(done))
        return Verdict(None, "", tuple(done))

    def fail(self, reds: Sequence[Check]) -> Verdict:
        """Run what has to fail at this commit, up to the first that does."""
        done: list[Ran] = []
        for red in reds:
            ended = self.run(red.kind, red.command, red.folder)
            done.append(ended.model_copy(update={"at": red.at}))
            if ended.code == 0:
                continue
            if ended.code is None or ended.code < 0 or ended.code in (126, 127):
                why = f"the tests could not be seen to fail at {red.at[:12]}: {failed(ended)}"
                return Verdict(Reason.UNVERIFIED, why, tuple(done))
            return Verdict(None, "", tuple(done))
        why = "the task is `tdd`, and its tests pass already at {at}, before what they are for"
        return Verdict(Reason.CHECKS_FAILED, why.format(at=reds[0].at[:12]), tuple(done))


def failed(command: Ran) -> str:
    """Return in a sentence how a command failed."""
    what = f"{command.kind} `{one_line(command.command)[:120]}`"
    if command.code is None:
        return f"{what} did not end by itself or could not start"
    if command.code in (126, 127):
        return f"{what} could not start (exit {command.code})"
    if command.code < 0:
        return f"{what} was ended by signal {-command.code}"
    return f"{what} exited with {command.code}"


@dataclass
class _Attempt:
    """All that is done in one attempt, in order."""

    executor: Executor
    order: Order
    worktree: Worktree
    began: float
    since: float
    missing: str = ""
    """Why the worktree could not be filled, and never will be before somebody installs it."""
    commands: tuple[Ran, ...] = ()
    not_ours: tuple[str, ...] = ()
    """What the set-up or an early check left beside the tree; nobody's work."""
    began_work: bool = False
    """The agent was started; before that there is nothing to keep."""
    stages: tuple[Stage, ...] = ()
    briefs: tuple[str, ...] = ()
    steering: Mapping[str, Prints] = field(default_factory=dict)
    """What was beside the tree before any agent came, and would steer it."""
    taken_away: tuple[str, ...] = ()
    own_config: bytes | None = None
    """The config of this worktree alone, before any agent came; None where there is none."""
    working_since: float = 0.0

    def work(self, on_progress: Callable[[str], None] | None) -> Result:
        order, plan = self.order, self.order.plan
        bench = Bench(
            self.executor,
            plan,
            self.worktree,
            order.nonce,
            Caps(seconds=plan.setting(order.task, "timeout").seconds),
            self._own_environment(self._own_seat),
            order.stop,
        )
        if self.missing:
            ready = Verdict(Reason.PRECONDITION_FAILED, self.missing, ())
        else:
            ready = bench.prepare()
        self.commands = ready.commands
        if ready.reason is not None:
            return self._result(bench, Outcome(ready.reason, ready.message, None, ""), Report())
        is_provided = self._is_provided(bench)
        if ready.commands or bench.copied or self._early_checks():
            self.not_ours = (*bench.copied, *self.worktree.untracked(ignored=False))
        note_not_ours(self.order.folder, self.not_ours)
        if is_provided:
            said = "what it provides is there already; its checks passed before any work"
            return self._result(bench, Outcome(None, said, None, ""), Report(), provided=True)
        self.own_config = self.worktree.own_config
        if order.crew:
            self.steering = self._steering()
        self.began_work = True
        self.working_since = self.executor.elapsed()
        complaint = self._stage(bench, self._own_seat, on_progress)
        for number, step in enumerate(order.crew, 1):
            if self.stages[-1].outcome.reason is not None:
                break
            self._step(bench, number, step, on_progress)
        outcome, report = together(self.stages)
        return self._result(bench, outcome, report, problem=complaint)

    # --- its agents -------------------------------------------------------------------------------

    @property
    def _own_seat(self) -> Seat:
        order = self.order
        brief = self.worktree.path / BRIEFING / "brief.md"
        return Seat(order.task, order.role, order.folder, brief, order.session)

    def _step(
        self,
        bench: Bench,
        number: int,
        step: StepOrder,
        on_progress: Callable[[str], None] | None,
    ) -> None:
        """Let a step's agent work on what the agents before it have left."""
        order, plan = self.order, self.order.plan
        task, role = step.member
        folder = order.folder / f"step-{number}"
        budget = plan.setting(order.task, "budget_usd")
        seat = Seat(
            task,
            role,
            folder,
            folder / "brief.md",
            step=number,
            word=step.word,
            seconds=plan.setting(plan.by_id[order.task.id], "timeout").seconds
            - (self.executor.elapsed() - self.working_since),
            cost_usd=None if budget is None else budget - (_spent(self.stages) or 0.0),
        )

        def tell(line: str) -> None:
            said = f"step {number}/{len(order.crew)} {plan.setting(task, 'role')}: {line}"
            # Whoever looks on from beside reads it there.
            with contextlib.suppress(OSError), open(order.folder / "progress", "a") as file:
                file.write(f"{said}\n")
            if on_progress is not None:
                on_progress(said)

        if why := self._no_more(seat):
            self.stages += (Stage(task, role, Outcome(*why, None, ""), Report(), 0.0),)
            return
        done = tuple(
            before(
                steps.signature(plan, stage.task),
                self.worktree.stat(earlier, stage.tree),
                stage.report,
            )
            for earlier, stage in zip(self._trees, self.stages, strict=False)
        )
        try:
            text = leaks.hidden(step.brief(done), self.executor.secrets)
        except TemplateFailed as e:
            refused = Outcome(Reason.PRECONDITION_FAILED, e.said, None, "")
            self.stages += (Stage(task, role, refused, Report(), 0.0),)
            return
        self._take_away()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        seat.brief.write_text(text)
        self.briefs += (text,)
        tell(f"started, by {plan.setting(task, 'agent')}")
        self._stage(bench, seat, tell)

    def _steering(self) -> dict[str, Prints]:
        """Return what is beside the tree and steers agents that start here: ignored files."""
        plan, config = self.order.plan, self.executor.config
        paths = self.worktree.untracked(ignored=True)
        return {
            path: self.worktree.prints(path)
            for path in paths
            if not path.startswith(BRIEFING) and merge.is_protected(path, plan, config)
        }

    def _take_away(self) -> None:
        """Move aside what an agent left beside the tree to steer those that follow it."""
        for path, prints in self._steering().items():
            if prints != self.steering.get(path):
                aside = self.order.folder / "taken-away" / str(len(self.taken_away))
                aside.parent.mkdir(exist_ok=True)
                shutil.move(self.worktree.path / path.rstrip("/"), aside)
                self.taken_away += (path,)

    @property
    def _trees(self) -> tuple[str, ...]:
        """Return the tree that each agent began with; of the next one too."""
        claim = self.executor.repository.commit(self.order.claim).tree
        return (claim, *(stage.tree for stage in self.stages))

    def _no_more(self, seat: Seat) -> tuple[Reason, str] | None:
        """Return why a step cannot begin after what those before it took."""
        if self.order.stop.is_set():
            return Reason.STOPPED, "it was stopped"
        if seat.seconds is not None and seat.seconds < 1:
            return Reason.TIMEOUT, "it was not started: no time is left for it"
        if seat.cost_usd is not None and seat.cost_usd <= 0:
            return Reason.BUDGET, "it was not started: the budget is spent"
        return None

    def _stage(self, bench: Bench, seat: Seat, on_progress: Callable[[str], None] | None) -> str:
        """Let one agent work, and note what came of it; returns what is wrong with its report."""
        since = self.executor.elapsed()
        bench = replace(bench, own=self._own_environment(seat))
        outcome = self._agent(bench, seat, on_progress)
        seconds = self.executor.elapsed() - since
        file = seat.folder / "report.yaml"
        report: Report
        if seat.step and steps.is_review(seat.role):
            review, complaint = read_report(file, Review)
            if not complaint:
                review, complaint = judged(review, outcome.words or outcome.output, seat.word)
            report = review
        else:
            report, complaint = read_report(file, Report)
        if not report.summary.strip():
            report = report.model_copy(update={"summary": clean(outcome.words)})
        if complaint:
            report = report.model_copy(update={"risks": (*report.risks, complaint)})
        stage = Stage(seat.task, seat.role, outcome, report, seconds)
        if self.order.crew:
            stage = self._kept(stage)
            reason, message = stage.outcome.reason, stage.outcome.message
            if reason is None:
                reason, message = self._unfit(stage, complaint) or (None, message)
            stage = replace(stage, outcome=replace(stage.outcome, reason=reason, message=message))
        self.stages += (stage,)
        return complaint

    def _kept(self, stage: Stage) -> Stage:
        """Commit what an agent left in the worktree as its own, for those that follow it."""
        order, repository = self.order, self.executor.repository
        role = order.plan.setting(stage.task, "role") if self.stages else ""
        outcome, tip = stage.outcome, self._tip()
        if self.stages and not repository.is_ancestor(self.stages[-1].tip, tip):
            tip = self.stages[-1].tip  # what others did stays theirs, whoever rewrote it
        self.worktree.detach(tip)
        offence = self._offence()
        tree = repository.commit(tip).tree
        try:
            tree, nested, aside = self._saved(repository.commit(order.claim).tree)
        except Unsavable as e:
            nested, aside = (), ""
            offence = e.reason, e.said
        except GitFailed as e:
            raise self._unsaved(e) from e
        if tree != repository.commit(tip).tree:
            subject = one_line(f"{role and f'{role}: '}{order.task.name}")[:160]
            by = steps.author(order.plan, stage.task)
            tip = repository.write_commit(tree, [tip], f"{order.task.id}: {subject}", author=by)
        self.worktree.detach(tip)
        if offence is None and nested:
            said = f"it made a repository of its own in {', '.join(nested)}; it is in {aside}"
            offence = Reason.PATH_VIOLATION, said
        if offence is not None:
            outcome = replace(outcome, reason=offence[0], message=offence[1])
        changes = self._own_changes(stage, tree)
        return replace(stage, outcome=outcome, tip=tip, tree=tree, changes=changes)

    def _own_changes(self, stage: Stage, tree: str) -> tuple[Change, ...]:
        """Return what an agent changed: the task's own also what earlier attempts left it.

        Of that it need not answer for what only a step's role lets be changed.
        """
        order, repository = self.order, self.executor.repository
        if self.stages:
            changes = repository.diff(self._trees[-1], tree)
            return tuple(c for c in changes if not c.path.startswith(BRIEFING))
        base = repository.commit(order.base).tree
        changes = repository.diff(base, merge.strip(repository, tree, base))
        if order.role is None:
            return tuple(changes)
        now = {change.path for change in repository.diff(self._trees[0], tree)}
        others = [step.member.role for step in order.crew]
        return tuple(
            change
            for change in changes
            if change.path in now
            or may_change(order.role, change.path)
            or not any(may_change(role, change.path) for role in others)
        )

    def _unfit(self, stage: Stage, complaint: str) -> tuple[Reason, str] | None:
        """Return why what an agent did lets the attempt not go on, or None."""
        if refused := merge.steering(stage.changes, self.order.plan, self.executor.config):
            return refused.reason, refused.message
        if stage.role is not None:
            over = merge.overstepped(stage.changes, self.order.plan, stage.task, stage.role)
            if over is not None:
                return over.reason, over.message
        if isinstance(stage.report, Review):
            return steps.verdict(stage.report, complaint)
        if not self.stages and not stage.changes and stage.task.kind != "research":
            return Reason.NO_CHANGES, _nothing(stage.outcome)
        return None

    def _own_environment(self, seat: Seat) -> dict[str, str]:
        order = self.order
        turns = order.plan.setting(seat.task, "max_turns")
        agent = order.plan.setting(seat.task, "agent")
        name = steps.signature(order.plan, seat.task)
        return {
            "GITFLOW_TASK": order.task.id,
            "GITFLOW_ATTEMPT": str(order.number),
            "GITFLOW_BRIEF": str(seat.brief),
            "GITFLOW_REPORT": str(seat.folder / "report.yaml"),
            "GITFLOW_PROGRESS": str(seat.folder / "progress"),
            **({"GITFLOW_MAX_TURNS": str(turns)} if turns else {}),
            **self._role(seat),
            "GIT_TRACE2_EVENT": str(order.folder / TRACE),
            "GIT_TRACE2_EVENT_BRIEF": "1",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": f"{agent}@agent.gitflow-agents.localhost",
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": committer_address(order.nonce),
        }

    def _role(self, seat: Seat) -> dict[str, str]:
        """Return what a role says to a command, which nobody but itself can hold to it."""
        plan = self.order.plan
        if seat.role is None:
            return {}
        said = {
            "GITFLOW_ROLE": str(plan.setting(seat.task, "role")),
            "GITFLOW_MODEL": plan.setting(seat.task, "model") or "",
            "GITFLOW_TOOLS": " ".join(plan.setting(seat.task, "tools") or ()),
        }
        return {name: value for name, value in said.items() if value}

    def _inputs(self) -> dict[str, str]:
        given = self.order.inputs.items()
        return {handoff.variable(name): value for name, value in given}

    def _is_provided(self, bench: Bench) -> bool:
        """Say whether every capability has a check and all of the task's checks pass already."""
        claim = self.executor.repository.commit(self.order.claim)
        # What an earlier attempt left proves nothing: nobody has judged it yet.
        if not self._early_checks() or claim.parents != (self.order.base,):
            return False
        checks = checks_of(self.order.plan, self.order.task)
        # What tells soonest that there is work to do comes first.
        verdict = bench.check(sorted(checks, key=lambda check: check.kind != "check"))
        if verdict.reason is None:
            self.commands += verdict.commands
            return True
        return False

    def _early_checks(self) -> bool:
        provides, task = self.order.task.provides, self.order.task
        if task.outputs or task.kind == "research":
            return False  # only an agent can say them
        return bool(provides) and all(capability.check for capability in provides)

    def _agent(
        self, bench: Bench, seat: Seat, on_progress: Callable[[str], None] | None
    ) -> Outcome:
        order, plan, task = self.order, self.order.plan, seat.task
        folder = bench.folder(plan.setting(task, "working_directory") or "")
        if folder is None:
            return Outcome(
                Reason.PATH_VIOLATION, "the working directory leads out of the worktree", None, ""
            )
        config = self.executor.config
        name = plan.setting(task, "agent")
        if name not in config.agents.allowed:  # a role's, or that of a config that was another
            said = f"the config's `agents` does not allow {clean(name)}"
            return Outcome(Reason.PRECONDITION_FAILED, said, None, "")
        if seat.step and name == "command" and task.run is None:  # a role's agent is another now
            return Outcome(Reason.PRECONDITION_FAILED, "the step has no `run`", None, "")
        cli = find(name, config.agents)
        ours = terms(plan, task, config.agents, cli, self.executor.environ, self._committed)
        if ours.problem:
            return Outcome(Reason.PRECONDITION_FAILED, ours.problem, None, "")
        job = Job(
            task=task,
            command=command_of(plan, task, config),
            folder=folder,
            brief=seat.brief,
            report=seat.folder / "report.yaml",
            progress=seat.folder / "progress",
            transcript=seat.folder / "output.log",
            # The checks run again where these are not: they get none of them.
            env={**ours.env, **bench.env, **self._inputs()},
            mark=f"{MARK}={order.nonce}",
            caps=replace(
                bench.caps,
                seconds=_least(plan.setting(task, "timeout").seconds, seat.seconds),
                silence=ours.silence,
                turns=ours.turns,
                cost_usd=_least(ours.cost_usd, seat.cost_usd),
                output=FLOOD,
                lost=ours.lost,
            ),
            stop=order.stop,
            on_progress=on_progress,
            top=self.worktree.path,
            scratch=seat.folder / "agent",
            model=ours.model,
            tools=ours.tools,
            mcp=ours.mcp,
            args=ours.args,
            session=seat.session,
        )
        return agent(ours.agent, config.agents).run(job)

    def _committed(self, path: str) -> bytes | None:
        """Return a file of the default branch, where the config is too, or None."""
        repository, branch = self.executor.repository, self.executor.repository.default_branch()
        for ref in (f"{HEADS}{branch}", f"refs/remotes/origin/{branch}"):
            tip = repository.resolve(f"{ref}^{{commit}}")
            if tip:
                return repository.read(repository.commit(tip).tree, path)
        return None

    def _result(
        self,
        bench: Bench,
        outcome: Outcome,
        report: Report,
        *,
        provided: bool = False,
        problem: str = "",
    ) -> Result:
        """Save the worktree, compare what must be left alone, verify, and write the report."""
        order, repository = self.order, self.executor.repository
        claim_tree = repository.commit(order.claim).tree
        tip, tree = self._tip(), claim_tree
        self.worktree.detach(tip)
        offence = self._offence()
        nested: tuple[str, ...] = ()
        aside = ""
        unsaved: tuple[Reason, str] | None = None
        try:
            if self.began_work:
                tree, nested, aside = self._saved(claim_tree)
                tip, tree = merge.without(repository, order.claim, tip, tree, bench.copied)
            else:
                tip = order.claim
        except Unsavable as e:
            left = self.executor.worktrees.aside(self.worktree)
            self.executor.worktrees.move(self.worktree, left)
            tree = repository.commit(tip).tree
            unsaved = e.reason, f"{e.said}; what it had not committed is in {left}"
        except GitFailed as e:
            raise self._unsaved(e) from e
        base_tree = repository.commit(order.base).tree
        stripped = merge.strip(repository, tree, base_tree)
        briefing = [c for c in repository.diff(claim_tree, tree) if c.path.startswith(BRIEFING)]
        changes = (*repository.diff(base_tree, stripped), *briefing)
        reason, message = outcome.reason, outcome.message
        if offence is not None:
            reason, message = offence
            message += f"; {unsaved[1]}" if unsaved else ""
        elif unsaved:
            reason, message = unsaved
        elif reason is None and nested:
            reason = Reason.PATH_VIOLATION
            message = f"it made a repository of its own in {', '.join(nested)}; it is in {aside}"
        elif reason is None and order.task.kind == "research":
            if not report.summary.strip():
                more = f": {problem}" if problem else ""
                reason = Reason.NO_CHANGES
                message = f"it found nothing: its report has no `summary`{more}"
        elif reason is None and stripped == base_tree and not provided:
            reason, message = Reason.NO_CHANGES, _nothing(outcome)
        if order.stop.is_set() and reason in (Reason.SETUP_FAILED, *UNPROVED):
            reason, message = Reason.STOPPED, "it was stopped"
        over = _over_budget(order, _cost(outcome, report))
        if reason is None and over:
            reason, message = Reason.BUDGET, over
        if reason is None and not provided:
            reason, message = self._verify(bench, stripped, changes, message)
            if self.commands:  # they ran what the agent wrote
                reason, message = self._offence() or (reason, message)
            if order.stop.is_set() and reason in UNPROVED:
                reason, message = Reason.STOPPED, "it was stopped"
        paths = [change.path for change in changes]
        outside = merge.outside_files(paths, order.plan, order.task)
        done = DoneReport(
            plan=order.plan.plan,
            task=order.task.id,
            attempt=order.number,
            outcome=_outcome(reason),
            reason=reason,
            message=one_line(message),
            agent=order.plan.setting(order.task, "agent"),
            started_at=self.began,
            ended_at=self.began + self.executor.elapsed() - self.since,
            exit_code=outcome.exit_code,
            scope=report.scope or order.task.name,
            files_touched=tuple(map(clean, paths)),
            outside_files=tuple(map(clean, outside)),
            commands=self.commands,
            risks=(*report.risks, *self._notes(outcome, paths, tip)),
            follow_ups=report.follow_ups,
            summary=report.summary,
            learned=report.learned,
            outputs=report.outputs,
            report_problem=one_line(problem),
            cost_usd=_cost(outcome, report),
            turns=outcome.turns,
            model=clean(outcome.model),
            session=clean(outcome.session),
            tokens=outcome.tokens,
            denied=tuple(map(clean, outcome.denied)),
            output_tail=outcome.output,
            already_provided=provided,
            steps=self._rows() if order.crew else (),
        )
        return Result(tree, tip, changes, done, self.stages, self.briefs)

    def _rows(self) -> tuple[StepReport, ...]:
        plan = self.order.plan
        return tuple(
            StepReport(
                role=plan.setting(stage.task, "role") or "",
                agent=plan.setting(stage.task, "agent"),
                model=clean(stage.outcome.model),
                outcome=_outcome(stage.outcome.reason),
                reason=stage.outcome.reason,
                message=one_line(stage.outcome.message),
                seconds=stage.seconds,
                turns=stage.outcome.turns,
                cost_usd=_cost(stage.outcome, stage.report),
                tokens=stage.outcome.tokens,
                verdict=getattr(stage.report, "verdict", None),
                reasons=getattr(stage.report, "reasons", ()),
                summary=stage.report.summary,
                files_touched=tuple(clean(change.path) for change in stage.changes),
            )
            for stage in self.stages
        )

    def _unsaved(self, error: GitFailed) -> GitFailed:
        return GitFailed(
            f"the work of {self.order.task.id} could not be saved: {error.message}",
            hint=f"it is still in {self.worktree.path}",
        )

    def _notes(self, outcome: Outcome, paths: Sequence[str], tip: str) -> Iterator[str]:
        """Yield what a person should know of the attempt, beside what its agent says."""
        if outcome.left_behind:
            yield LEFT_BEHIND
        if self.taken_away:
            some = ", ".join(map(clean, self.taken_away[:5]))
            aside = self.order.folder / "taken-away"
            yield f"ignored files that steer agents were moved from a step's way to {aside}: {some}"
        if swung := detectors.swings(self._history(tip)):
            some = ", ".join(map(clean, swung[:5])) + (", …" if swung[5:] else "")
            yield f"it went to and fro, and brought back what it had taken back: {some}"
        if self.order.task.kind == "research" and paths:
            some = ", ".join(map(clean, paths[:5])) + (", …" if paths[5:] else "")
            yield f"it is research and changed files, which stay on its branch: {some}"

    def _history(self, tip: str) -> list[dict[str, tuple[str, str]]]:
        """Return what each commit of the attempt changed, oldest first; path: old and new blob."""
        repository, claim = self.executor.repository, self.order.claim
        if tip == claim or repository.commit(tip).parents == (claim,):
            return []
        commits = repository.commits("--first-parent", tip, f"^{claim}")[: merge.MOST_COMMITS]
        return [
            {
                change.path: (
                    change.old.sha if change.old else "",
                    change.new.sha if change.new else "",
                )
                for change in repository.diff(
                    repository.commit(commit.parents[0]).tree if commit.parents else EMPTY_TREE,
                    commit.tree,
                )
            }
            for commit in commits
        ]

    def _offence(self) -> tuple[Reason, str] | None:
        """Return what the attempt did to the repository, if anything; our own refs are put back."""
        findings = self.executor.guard.look(self.order.nonce)
        self.executor.alarms += findings.files
        # What it says would be run by the git that saves the work, when all of the agent is gone.
        if self.began_work and self.worktree.put_back(self.own_config):
            said = "the config of its worktree changed while it ran; it was put back"
            return Reason.PROTECTED_PATH, "; ".join((said, *findings.files))
        if findings.files:
            return Reason.PROTECTED_PATH, "; ".join(findings.files)
        return (Reason.PATH_VIOLATION, "; ".join(findings.refs)) if findings.refs else None

    def _saved(self, claim_tree: str) -> Saved:
        """Return what is in the worktree; repositories that the agent made there are opened."""
        claim, repository = self.order.claim, self.executor.repository
        limits = self.executor.config.limits
        saved = self.worktree.save(claim, self.not_ours, limits=limits)
        changes = repository.diff(claim_tree, saved.tree)
        if any(change.new and change.new.mode == SUBMODULE for change in changes):
            return self.worktree.save(claim, self.not_ours, limits=limits, thorough=True)
        return saved

    def _tip(self) -> str:
        head = self.worktree.head.removeprefix("ref: ")
        if head == self.order.claim:
            return head
        return self.executor.repository.resolve(f"{head}^{{commit}}") or self.order.claim

    def _verify(
        self, bench: Bench, stripped: str, changes: Sequence[Change], message: str
    ) -> tuple[Reason | None, str]:
        """Run the task's checks where it worked; only a worktree without anything else is proof."""
        checks = checks_of(self.order.plan, self.order.task)
        if not checks:
            return None, message
        is_proof = not self.commands and self.worktree.is_just(changes)
        verdict = bench.check(checks)
        self.commands += verdict.commands
        if verdict.reason is not None:
            return verdict.reason, verdict.message
        if is_proof:
            self.executor.remember(stripped, checks, verdict.commands)
        return None, message


def _nothing(outcome: Outcome) -> str:
    denied = ", ".join(map(clean, outcome.denied[:3]))
    return f"it changed nothing; it was denied {denied}" if denied else "it changed nothing"


def _outcome(reason: Reason | None) -> Literal["succeeded", "failed", "stopped"]:
    if reason is None:
        return "succeeded"
    return "stopped" if reason is Reason.STOPPED else "failed"


def together(stages: Sequence[Stage]) -> tuple[Outcome, Report]:
    """Return what all agents of an attempt come to, as the outcome and the report of one.

    It ends as the last one did; the words and the memory are those of the task's own agent.
    """
    first, last = stages[0], stages[-1]
    if len(stages) == 1:
        return first.outcome, first.report
    outcomes = [stage.outcome for stage in stages]
    reports = [stage.report for stage in stages]
    message = first.outcome.message
    if last.outcome.reason is not None:
        message = f"step {len(stages) - 1} ({last.task.role}): {last.outcome.message}"
    turns = [one.turns for one in outcomes if one.turns is not None]
    tokens = [one.tokens for one in outcomes if one.tokens is not None]
    outcome = replace(
        first.outcome,
        reason=last.outcome.reason,
        message=message,
        exit_code=last.outcome.exit_code,
        output=last.outcome.output,
        turns=sum(turns) if turns else None,
        cost_usd=_spent(stages),
        left_behind=any(one.left_behind for one in outcomes),
        tokens=_sum(tokens) if tokens else None,
        denied=tuple(name for one in outcomes for name in one.denied),
    )
    report = first.report.model_copy(
        update={
            "risks": tuple(line for one in reports for line in one.risks),
            "follow_ups": tuple(line for one in reports for line in one.follow_ups),
            "learned": tuple(line for one in reports for line in one.learned),
            "outputs": {name: value for one in reports for name, value in one.outputs.items()},
        }
    )
    return outcome, report


def _sum(tokens: Sequence[Tokens]) -> Tokens:
    return Tokens(
        input=sum(one.input for one in tokens),
        cached=sum(one.cached for one in tokens),
        output=sum(one.output for one in tokens),
    )


def _spent(stages: Sequence[Stage]) -> float | None:
    """Return what those agents cost together that say it; None when none does."""
    costs = [_cost(stage.outcome, stage.report) for stage in stages]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def _least(cap: float | None, *more: float | None) -> Any:
    return min((each for each in (cap, *more) if each is not None), default=None)


def _cost(outcome: Outcome, report: Report) -> float | None:
    """Return what was spent: as the agent's program counted it, else as the agent says."""
    return report.cost_usd if outcome.cost_usd is None else outcome.cost_usd


def _over_budget(order: Order, cost: float | None) -> str:
    budget = order.plan.setting(order.task, "budget_usd")
    if budget is None or cost is None or cost <= budget:
        return ""
    return f"it cost ${cost:.2f}, ${budget:g} are allowed"


AnyReport = TypeVar("AnyReport", bound=Report)


def read_report(path: Path, kind: type[AnyReport]) -> tuple[AnyReport, str]:
    """Return what an agent wrote of its work, and a complaint when that cannot be read."""
    try:
        data = read_plain(path, REPORT_BYTES + 1)
    except FileNotFoundError:
        return kind(), ""
    except OSError as e:
        return kind(), f"the agent's report cannot be read: {e.strerror}"
    if len(data) > REPORT_BYTES:
        return kind(), "the agent's report is larger than 64 KiB and was left out"
    return _report(data, kind)


def judged(report: Review, words: str, word: str) -> tuple[Review, str]:
    """Return a review as its report and its agent's last words have it, and what is wrong with it.

    A verdict without the word of the brief is none, and neither are two that do not agree:
    something else than the agent may have written one.
    """
    spoken = [_report(text.encode(), Review) for text in steps.spoken(words, word)]
    none = report.model_copy(update={"verdict": None, "reasons": ()})
    if len(spoken) > 1:
        return none, "its last words hold more than one verdict"
    without = "its verdict does not carry the word of its brief"
    told, complaint = spoken[0] if spoken else (Review(), "")
    if not spoken and word and steps.names_verdict(words):
        complaint = without
    if report.verdict is None:
        said = {"verdict": told.verdict, "reasons": told.reasons}
        return (told if report == Review() else report.model_copy(update=said)), complaint
    if report.word != word:
        return none, without
    if told.verdict not in (None, report.verdict):
        return none, "its report and its last words do not agree"
    return report, ""


def _report(data: bytes, kind: type[AnyReport]) -> tuple[AnyReport, str]:
    if not data.strip():
        return kind(), ""
    try:
        return kind.model_validate(spec.from_yaml(data, file="report.yaml") or {}), ""
    except ValidationError as e:
        error = e.errors()[0]
        where = ".".join(str(part) for part in error["loc"])
        return kind(), f"the agent's report was left out: {where}: {error['msg']}"
    except InvalidFile as e:
        first = e.problems[0]
        return kind(), f"the agent's report was left out: line {first.line}: {first.reason}"


def note_not_ours(folder: Path, paths: Sequence[str]) -> None:
    """Note what is nobody's work, for whoever has to save the worktree if we die."""
    (folder / "not-ours").write_text("\0".join(paths), errors="surrogateescape")


def read_not_ours(folder: Path) -> tuple[str, ...] | None:
    """Return what an attempt noted as nobody's work, or None when it did not get as far."""
    try:
        text = (folder / "not-ours").read_text(errors="surrogateescape")
    except OSError:
        return None if folder.is_dir() else ()
    return tuple(path for path in text.split("\0") if path)


__all__ = ["Check", "Executor", "Order", "Result", "Verdict", "checks_of", "gate_of"]
