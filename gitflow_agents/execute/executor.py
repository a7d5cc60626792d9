"""The front: a worktree for each attempt and each test, and what passed on which tree."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from gitflow_agents import leaks
from gitflow_agents.agents import BUILT_IN, Logins
from gitflow_agents.errors import GitFailed
from gitflow_agents.execute import inbox
from gitflow_agents.execute.attempt import Attempt
from gitflow_agents.execute.bench import Bench
from gitflow_agents.execute.orders import MARK, REPORT, TRACE, Check, Order, Result, Verdict
from gitflow_agents.models import Config, Plan, Ran, Reason
from gitflow_agents.runner import Caps, Stop, end_all
from gitflow_agents.store import FilterMissing, Guard, Repository, Worktrees, committer_address
from gitflow_agents.store.state import HEADS

DEFAULT_GATE_SECONDS = 3600.0


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
        # An attempt that goes on after a question has said these already.
        for name in (REPORT, "progress"):
            (order.folder / name).unlink(missing_ok=True)
        missing = ""
        try:
            worktree = self.worktrees.add(order.plan.plan, order.task.id, order.claim)
        except FilterMissing as e:
            worktree = self.worktrees.place(order.plan.plan, order.task.id)
            missing = e.said
        ears = inbox.Inbox(order.folder, order.tell, self.clock)
        attempt = Attempt(self, order, worktree, began, since, ears, missing)
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
