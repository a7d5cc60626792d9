"""Agents: who does a task's work, and what came of it.

An agent is a name and one function.  It gets a job, works in the job's folder, and says how it
ended; whether its work is any good is decided elsewhere, from what we observe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gitflow_agents.models import Reason, Task
from gitflow_agents.runner import Caps, Ended, Stop, shell, tail


@dataclass(frozen=True)
class Job:
    """One attempt as an agent sees it.

    `folder` is where it starts, `brief` a file with everything it should know, `report` a file it
    may write, `progress` a file it may append lines such as `3/10 writing tests` to.
    """

    task: Task
    command: str
    folder: Path
    brief: Path
    report: Path
    progress: Path
    transcript: Path
    env: Mapping[str, str]
    mark: str
    caps: Caps
    stop: Stop
    on_progress: Callable[[str], None] | None = None


@dataclass(frozen=True)
class Outcome:
    """How an agent ended: no `reason` when it says that all went well."""

    reason: Reason | None
    message: str
    exit_code: int | None
    output: str
    turns: int | None = None
    cost_usd: float | None = None
    left_behind: bool = False
    """It left processes behind, which were ended."""


class Agent(Protocol):
    """Something that can work on a task."""

    def run(self, job: Job) -> Outcome:
        """Work until done, stopped by the watchdog, or failed; leave no process behind."""


class Command:
    """A shell command: the task's `run`, or the one that the plan or the config names."""

    def run(self, job: Job) -> Outcome:
        """Run the command; it is done when it exits with 0 and left no process behind."""
        ended = shell(
            job.command,
            cwd=job.folder,
            env=job.env,
            mark=job.mark,
            caps=job.caps,
            stop=job.stop,
            transcript=job.transcript,
            progress=job.progress,
            on_progress=job.on_progress,
        )
        reason, message = _verdict(ended, job.caps)
        return Outcome(
            reason,
            message,
            ended.code,
            tail(ended.output),
            ended.turns,
            left_behind=ended.left_behind,
        )


def _verdict(ended: Ended, caps: Caps) -> tuple[Reason | None, str]:
    if ended.stopped_for is Reason.TIMEOUT:
        return Reason.TIMEOUT, f"it was ended after {caps.seconds:g} seconds"
    if ended.stopped_for is Reason.STALLED:
        return Reason.STALLED, f"it was ended after {caps.silence or 0:g} seconds of silence"
    if ended.stopped_for is Reason.TURNS:
        return Reason.TURNS, f"it was ended at turn {ended.turns}, {caps.turns} are allowed"
    if ended.stopped_for is Reason.STOPPED:
        return Reason.STOPPED, "it was stopped"
    if ended.code is None:
        return Reason.INFRASTRUCTURE, ended.output
    if ended.code < 0:
        return Reason.AGENT_ERROR, f"the command was ended by signal {-ended.code}"
    if ended.code:
        return Reason.AGENT_ERROR, f"the command exited with {ended.code}"
    return None, "the command exited with 0"


AGENTS: Mapping[str, Agent] = {"command": Command()}
"""Every agent by name; one more is one more entry."""
