"""What is asked for and what comes of it: the values that go into attempts and tests, and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gitflow_agents import steps
from gitflow_agents.agents import Outcome
from gitflow_agents.models import (
    Config,
    DoneReport,
    Heard,
    Plan,
    Ran,
    Reason,
    Remark,
    Report,
    Task,
)
from gitflow_agents.render import Before
from gitflow_agents.roles import Role
from gitflow_agents.runner import Stop
from gitflow_agents.store import Change

MARK = "GITFLOW_CLAIM"
"""The variable by which the processes of an attempt or a test are known."""
REPORT = "report.yaml"
"""The file in an attempt's folder in which its agent reports."""
TRACE = "git.trace"
"""The file in an attempt's folder to which its git writes what it was told to do."""


@dataclass(frozen=True)
class StepOrder:
    """A step of an attempt: a task of its own, and `brief` writes what its agent is told."""

    member: steps.Member
    brief: Callable[[tuple[Before, ...], tuple[Remark, ...]], str]
    """Is given what was done before it, and what was said meanwhile."""
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
    tell: Callable[[Heard], None] = lambda heard: None
    """Is told at once what became of what is said while it runs."""


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
