"""What a person can tell a plan to do, and what follows from it.

`Command` is the one vocabulary of every door: the command line, comments, forms and tools parse
their words into these objects, and their help is generated from them.  `effects` decides, against a
snapshot, what a command changes; it is pure, and it refuses with a code of the closed list.  The
service does what is returned, in one transaction.  Every command can be given twice: what holds
already is no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gitflow_agents.commands.approving import approve, unapprove
from gitflow_agents.commands.flow import merge, revert, update
from gitflow_agents.commands.following import (
    Assign,
    Decision,
    DropTrain,
    Effect,
    End,
    Follow,
    Ground,
    HandBack,
    Mark,
    MarkPlan,
    MergeNow,
    Move,
    PutForward,
    TakeBack,
)
from gitflow_agents.commands.options import Option, options
from gitflow_agents.commands.people import give, submit, take
from gitflow_agents.commands.steering import (
    hold,
    reject,
    resume,
    retry,
    skip,
    start,
    stop,
)
from gitflow_agents.commands.talking import answer, feedback
from gitflow_agents.commands.targets import is_group, names, no_such_task, select, within
from gitflow_agents.commands.words import (
    KINDS,
    LEVELS,
    LOOKS,
    SYNONYMS,
    Act,
    AddTask,
    Answer,
    Approve,
    Command,
    Explain,
    Feedback,
    Give,
    Help,
    Hold,
    Look,
    Merge,
    Refused,
    Reject,
    Resume,
    Retry,
    Revert,
    Skip,
    Start,
    Stop,
    Submit,
    Sync,
    Take,
    Unapprove,
    Update,
    Waves,
    kinds,
)
from gitflow_agents.scheduler import Snapshot


def effects(command: Act, ground: Ground) -> Decision:
    """Return what a command changes; no effects when everything is so already.

    Raises Refused, with a hint that says what can be done, when it cannot be carried out.
    """
    snapshot = ground.snapshot
    if isinstance(command, Stop) and command.targets == ("plan",) and is_closed(snapshot):
        return Decision((), (f"plan {snapshot.plan.plan} is closed already",))
    if snapshot.state.status in ("landed", "closed"):
        raise Refused(
            "closed", f"plan {snapshot.plan.plan} is {snapshot.state.status}, and only looked at"
        )
    if command.needs_target and not command.targets:
        verb = command.model_dump()["verb"]
        raise Refused("missing-argument", f"{verb} needs a task")
    return _DECIDE[type(command)](command, ground)


def is_closed(snapshot: Snapshot) -> bool:
    """Say whether somebody closed a plan."""
    return snapshot.state.status == "closed"


_DECIDE: Mapping[type[Act], Callable[[Any, Ground], Decision]] = {
    Start: start,
    Stop: stop,
    Retry: retry,
    Hold: hold,
    Resume: resume,
    Reject: reject,
    Skip: skip,
    Approve: approve,
    Unapprove: unapprove,
    Feedback: feedback,
    Answer: answer,
    Merge: merge,
    Revert: revert,
    Update: update,
    Take: take,
    Submit: submit,
    Give: give,
}


__all__ = [
    "KINDS",
    "LEVELS",
    "LOOKS",
    "SYNONYMS",
    "Act",
    "AddTask",
    "Answer",
    "Approve",
    "Assign",
    "Command",
    "Decision",
    "DropTrain",
    "Effect",
    "End",
    "Explain",
    "Feedback",
    "Follow",
    "Give",
    "Ground",
    "HandBack",
    "Help",
    "Hold",
    "Look",
    "Mark",
    "MarkPlan",
    "Merge",
    "MergeNow",
    "Move",
    "Option",
    "PutForward",
    "Refused",
    "Reject",
    "Resume",
    "Retry",
    "Revert",
    "Skip",
    "Start",
    "Stop",
    "Submit",
    "Sync",
    "Take",
    "TakeBack",
    "Unapprove",
    "Update",
    "Waves",
    "effects",
    "is_closed",
    "is_group",
    "kinds",
    "names",
    "no_such_task",
    "options",
    "select",
    "within",
]
