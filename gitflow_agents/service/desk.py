"""What one process has at hand for one plan: its tools, the snapshot, and what it works on."""

from __future__ import annotations

import errno
import os
import queue
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gitflow_agents import spec
from gitflow_agents.errors import FlowError, Problem, is_full
from gitflow_agents.execute import Check, Executor, Order, Result, Verdict
from gitflow_agents.models import SCHEMA, Config, DoneReport, Ending, Heard, Lease, Train
from gitflow_agents.permission import Rules
from gitflow_agents.render import utc
from gitflow_agents.roles import Handbook
from gitflow_agents.runner import Stop, new_lease
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.store import Draft, Store, Worktrees
from gitflow_agents.store.state import BRIEFING, attempt_ref, one_line

MOST_REPORTS = 64
"""Reports that are held in memory."""


@dataclass(frozen=True)
class Told:
    """One thing that happened: a line for people, an object for programs, and lines of detail."""

    event: str
    text: str
    data: Mapping[str, Any]
    detail: str = ""
    problems: Sequence[Problem] = ()
    """What is new that is wrong in a file, for those who can show it there."""


@dataclass(frozen=True)
class TestJob:
    """A train to be tested: the tree, and what must pass on it."""

    train: Train
    tree: str
    checks: tuple[Check, ...]
    nonce: str
    stop: Stop


@dataclass
class Desk:
    """The tools of a run, and the attempts and the train that this process is working on."""

    store: Store
    config: Config
    worktrees: Worktrees
    executor: Executor
    snapshot: Snapshot
    actor: str
    tell: Callable[[Told], None]
    check: Callable[[bytes], spec.Reading]
    """Reads a new text of the plan; InvalidFile with everything that is wrong in it."""
    book: Callable[[], Handbook] = Handbook
    """Reads the handbook, which few of the commands need."""
    rules: Callable[[], Rules] = Rules
    """Reads what the repository decides about commands."""
    doubt: Callable[[], str] = str
    """Says why what is proposed now waits for an approval, whatever it says itself."""
    run: str = ""
    clock: Callable[[], float] = time.time
    lease: Callable[[float], Lease] = new_lease
    """Makes the lease of whoever will work, until a time in seconds since the epoch."""
    kept_by: str = ""
    """Where work can be found that no branch takes, if this clone is gone by then."""
    runs_over: frozenset[int] = frozenset()
    """Runs of the forge that are known to be over."""
    asked_to_end: set[int] = field(default_factory=set)
    """Runs of the forge that this process has asked to end."""
    own: dict[str, Order] = field(default_factory=dict)
    """Attempts that this process is working on, or that ended and are not yet in the state."""
    ended: set[str] = field(default_factory=set)
    """Those that have ended."""
    results: dict[str, tuple[Result, str]] = field(default_factory=dict)
    """Of those that were stopped: what they did, and the commit of it."""
    published: dict[str, str] = field(default_factory=dict)
    """The event commits that publish made for those that have ended."""
    fenced: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of those whose result came too late: the commit of their work, and the ref that keeps it."""
    failures: dict[str, FlowError] = field(default_factory=dict)
    """Those that git or the disk let down."""
    heard: queue.SimpleQueue[tuple[str, int, Heard]] = field(default_factory=queue.SimpleQueue)
    """What became of what was said to attempts of this process: task, attempt, and that."""
    tests: dict[str, Verdict] = field(default_factory=dict)
    """Verdicts of this process by the train's tip."""
    testing: TestJob | None = None
    """The train that is being tested by this process."""
    full: str = ""
    """What could not be written, twice in a row, for want of room; nothing more is started then."""
    _was_full: bool = False
    lost_trains: int = 0
    """How many in a row git or the disk let down in this process."""
    next_train: float = 0.0
    """When the next one may be built."""
    pending: list[Told] = field(default_factory=list)
    """What will be told once the decision is written."""
    reports: dict[str, DoneReport] = field(default_factory=dict)
    """Some of those that were read, by the tree that holds them."""
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    """What will be done then: a decision that is not written must leave no trace."""

    @cached_property
    def handbook(self) -> Handbook:
        """Return what the repository tells every agent."""
        return self.book()

    def say(
        self,
        event: str,
        text: str,
        detail: str = "",
        *,
        problems: Sequence[Problem] = (),
        **data: Any,
    ) -> None:
        plan = self.snapshot.plan.plan
        self.pending.append(
            Told(
                event,
                one_line(text),
                {"schema": SCHEMA, "event": event, "at": utc(self.clock()), "plan": plan, **data},
                detail,
                problems,
            )
        )

    def written(self, only: Container[str] | None = None) -> None:
        """The decision is in git: do what follows from it, and tell it, or `only` these events."""
        afterwards, self.afterwards = self.afterwards, []
        for act in afterwards:
            act()
        pending, self.pending = self.pending, []
        for told in pending:
            if only is None or told.event in only:
                self.tell(told)

    def dropped(self) -> None:
        """The decision was not written: nothing of it happened."""
        self.afterwards.clear()
        self.pending.clear()

    def notice(self, error: Exception | None) -> None:
        """Note how a piece of work ended: for want of room it is tried once more, and not again."""
        cause: BaseException | None = error
        was_full, self._was_full = self._was_full, False
        while cause is not None:
            # What git itself could not write is told in its words.
            in_words = os.strerror(errno.ENOSPC) in str(cause)
            self._was_full |= in_words or (isinstance(cause, OSError) and is_full(cause))
            cause = cause.__cause__
        if was_full and self._was_full:
            self.full = str(error)

    def is_unwanted(self, draft: Draft, lease: Lease, task: str = "", attempt: int = 0) -> None:
        """Note that nobody wants the run any more which a lease names.

        One that the state has not named yet never begins, and needs nothing.
        """
        if lease.run and lease.run not in self.runs_over:
            one = Ending(run=lease.run, task=task, attempt=attempt, since=self.clock())
            draft.set(ending=(*draft.snapshot.state.ending, one))

    def attempt_folder(self, task: str, number: int) -> Path:
        """Return the folder for an attempt's report, progress and output, outside every tree."""
        return self.store.refs.folder / f"attempts/{self.snapshot.plan.plan}/{task}/{number}"

    def forget_test(self, tip: str) -> None:
        """The verdict on a train is in the state."""
        self.tests.pop(tip, None)

    def forget(self, task: str) -> None:
        """The attempt at a task is in the state; this process has no more to do with it."""
        self.own.pop(task, None)
        self.ended.discard(task)
        self.results.pop(task, None)
        self.failures.pop(task, None)
        self.fenced.pop(task, None)
        self.published.pop(task, None)

    def report(self, tree: str) -> DoneReport:
        """Return the report in a tree; on its way to flow the same one is asked for three times."""
        found = self.reports.get(tree)
        if found is None:
            data = self.store.repository.read(tree, f"{BRIEFING}/report.yaml") or b"{}"
            found = DoneReport.model_validate(spec.from_yaml(data))
            self.keep_report(tree, found)
        return found

    def keep_report(self, tree: str, report: DoneReport) -> None:
        """Hold a report in memory; the tree that it was read from or written to never changes."""
        if len(self.reports) >= MOST_REPORTS:
            self.reports.clear()
        self.reports[tree] = report

    def free_attempt_ref(
        self, plan: str, task: str, number: int, tip: str, taken: Container[str] = ()
    ) -> str:
        ref, place = attempt_ref(plan, task, number), 1
        while ref in taken or self.store.refs.resolve(ref) not in (None, tip):
            place += 1
            ref = f"{attempt_ref(plan, task, number)}.{place}"
        return ref
