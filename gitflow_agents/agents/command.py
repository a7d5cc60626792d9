"""The agent `command`: a shell command, the task's `run`, or the plan's or the config's."""

from __future__ import annotations

from gitflow_agents.agents.job import Job, Outcome, stopped
from gitflow_agents.models import Reason
from gitflow_agents.runner import Caps, Ended, shell, tail


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
            beat=job.ears.write if job.ears else None,
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
    if ended.stopped_for is not None:
        return ended.stopped_for, stopped(ended, caps)
    if ended.code is None:
        return Reason.INFRASTRUCTURE, ended.output
    if ended.code < 0:
        return Reason.AGENT_ERROR, f"the command was ended by signal {-ended.code}"
    if ended.code:
        return Reason.AGENT_ERROR, f"the command exited with {ended.code}"
    return None, "the command exited with 0"
