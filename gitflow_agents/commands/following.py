"""What follows from a command: what it changes, one thing each, and what it was decided on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gitflow_agents.models import (
    Config,
    Limits,
    Reason,
    Value,
    person,
)
from gitflow_agents.roles import Handbook
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.transitions import Happened


@dataclass(frozen=True)
class End:
    """End the attempt that runs at a task: its processes, its lease; what it did is kept.

    A task that a person took is given back.
    """

    task: str
    why: str


@dataclass(frozen=True)
class Move:
    """Take a task to another status; `changes` are fields of its record."""

    task: str
    event: Happened
    reason: Reason | None = None
    message: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """Note something on a task that moves it nowhere."""

    task: str
    event: str
    note: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class MarkPlan:
    """Note something on the plan."""

    event: str
    note: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class DropTrain:
    """End the test of the train that is on its way; its tasks stay in review."""


@dataclass(frozen=True)
class Assign:
    """Make a task the person's who asks."""

    task: str


@dataclass(frozen=True)
class PutForward:
    """Take what a person did at a task for its result; `outputs` is what they report."""

    task: str
    outputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class HandBack:
    """Let agents have a task again that a person took."""

    task: str


@dataclass(frozen=True)
class TakeBack:
    """Take the merges of completed tasks off flow, all or none."""

    tasks: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Follow:
    """Merge a tip of the base into flow."""

    tip: str


@dataclass(frozen=True)
class MergeNow:
    """Merge tasks in review, by as many trains as it takes."""

    tasks: tuple[str, ...]


Effect = (
    End
    | Move
    | Mark
    | MarkPlan
    | DropTrain
    | Assign
    | PutForward
    | HandBack
    | TakeBack
    | Follow
    | MergeNow
)


@dataclass(frozen=True)
class Decision:
    """What a command changes, a sentence a task for people, and the words that undo it."""

    effects: tuple[Effect, ...]
    said: tuple[str, ...]
    undo: str = ""


@dataclass(frozen=True)
class Ground:
    """What a decision is made on: the plan as it is, who asks, when, and the limits that hold."""

    snapshot: Snapshot
    actor: str
    now: float
    limits: Limits
    base_tip: str = ""
    """The tip of the base, where the command is about it."""
    has_base: bool = False
    """Whether flow holds that tip."""
    config: Config = field(default_factory=Config)
    book: Handbook = field(default_factory=Handbook)
    """The roles that tasks have; read only for a command that says who does one."""
    still: Mapping[str, bool] = field(default_factory=dict)
    """The files for which the plan is held, and whether each is still as it was then."""
    asked_at: float | None = None
    """When somebody on a forge asked, who has seen nothing later; None of one at a terminal."""

    @property
    def who(self) -> str:
        """Return who asks, for a sentence."""
        return person(self.actor)
