"""The task state machine.

Whatever decides a task's status lives in this file, and nothing here does I/O.
Start with TRANSITIONS: it is the whole machine.

Theory of operation.  A task has six stored statuses.  It waits (`pending`) until the tasks that it
needs are on the flow branch; nothing about that waiting is stored, because it can be computed.  A
claim (`attempt_started`) makes it `in_progress`: one agent, one attempt, one fence.  The attempt
ends in exactly one event.  If the agent ended it, publish records `attempt_succeeded` or
`attempt_failed`.  If nobody can tell any more, or somebody stopped it, whoever holds the plan
records a fence: `attempt_expired` or `attempt_stopped`.  A success is only a claim of the agent and
goes to `review`; the train turns it into `completed` by a tested merge (`task_merged`), or into
`failed` (`merge_refused`).  So no agent can complete a task, and publish cannot merge one.

`failed` waits for a person, except where the scheduler may retry: infrastructure that broke, and a
conflict as often as `conflict_retries` allows.  A person may also leave a task out (`cancelled`);
`task_retried` brings it back.  A person may do a task in place of an agent: `task_taken` makes it
`in_progress` without any fence, and `task_submitted` (to `review`, as an agent's success) or
`task_given` (back to `pending`) ends that.  An agent that cannot go on without a person asks
(`question_asked`): the task waits as `pending`, costs nothing, and is not started before
`question_answered`; then the same attempt goes on.  `completed` is left only by `task_reverted`: a
person took the merge back, and the task waits again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from gitflow_agents.errors import IllegalTransition
from gitflow_agents.models import Reason, Status


class By(StrEnum):
    """Who records an event."""

    SCHEDULER = "scheduler"
    PUBLISH = "publish"
    TRAIN = "train"
    PERSON = "person"


class Happened(StrEnum):
    """What can happen to a task."""

    ATTEMPT_STARTED = "attempt_started"
    CLAIM_REFUSED = "claim_refused"
    ATTEMPT_SUCCEEDED = "attempt_succeeded"
    ATTEMPT_FAILED = "attempt_failed"
    ATTEMPT_EXPIRED = "attempt_expired"
    ATTEMPT_STOPPED = "attempt_stopped"
    TASK_MERGED = "task_merged"
    MERGE_REFUSED = "merge_refused"
    TASK_RETRIED = "task_retried"
    TASK_CANCELLED = "task_cancelled"
    TASK_SKIPPED = "task_skipped"
    TASK_REMOVED = "task_removed"
    TASK_REVERTED = "task_reverted"
    TASK_TAKEN = "task_taken"
    TASK_SUBMITTED = "task_submitted"
    TASK_GIVEN = "task_given"
    QUESTION_ASKED = "question_asked"
    QUESTION_ANSWERED = "question_answered"


S, E = Status, Happened

_LEFT_OUT = {
    E.TASK_CANCELLED: S.CANCELLED,
    E.TASK_SKIPPED: S.CANCELLED,
    E.TASK_REMOVED: S.CANCELLED,
}
"""Whatever is unfinished can be left out; an attempt that runs is ended first, by its own event."""

TRANSITIONS: Mapping[Status, Mapping[Happened, Status]] = {
    S.PENDING: {
        E.ATTEMPT_STARTED: S.IN_PROGRESS,
        E.CLAIM_REFUSED: S.FAILED,
        E.TASK_TAKEN: S.IN_PROGRESS,
        E.QUESTION_ANSWERED: S.PENDING,
        **_LEFT_OUT,
    },
    S.IN_PROGRESS: {
        E.ATTEMPT_SUCCEEDED: S.REVIEW,
        E.ATTEMPT_FAILED: S.FAILED,
        E.ATTEMPT_EXPIRED: S.FAILED,
        E.ATTEMPT_STOPPED: S.PENDING,
        E.TASK_SUBMITTED: S.REVIEW,
        E.TASK_GIVEN: S.PENDING,
        E.QUESTION_ASKED: S.PENDING,
    },
    S.REVIEW: {
        E.TASK_MERGED: S.COMPLETED,
        E.MERGE_REFUSED: S.FAILED,
        E.TASK_RETRIED: S.PENDING,
        E.TASK_TAKEN: S.IN_PROGRESS,
        **_LEFT_OUT,
    },
    S.FAILED: {E.TASK_RETRIED: S.PENDING, E.TASK_TAKEN: S.IN_PROGRESS, **_LEFT_OUT},
    S.COMPLETED: {E.TASK_REVERTED: S.PENDING},
    S.CANCELLED: {E.TASK_RETRIED: S.PENDING, **_LEFT_OUT},
}

RECORDED_BY: Mapping[Happened, frozenset[By]] = {
    E.ATTEMPT_STARTED: frozenset({By.SCHEDULER}),
    E.CLAIM_REFUSED: frozenset({By.SCHEDULER}),
    E.ATTEMPT_SUCCEEDED: frozenset({By.PUBLISH}),
    E.ATTEMPT_FAILED: frozenset({By.PUBLISH}),
    E.ATTEMPT_EXPIRED: frozenset({By.SCHEDULER}),
    E.ATTEMPT_STOPPED: frozenset({By.SCHEDULER, By.PERSON}),
    E.TASK_MERGED: frozenset({By.TRAIN}),
    E.MERGE_REFUSED: frozenset({By.TRAIN, By.PERSON}),
    E.TASK_RETRIED: frozenset({By.SCHEDULER, By.PERSON}),
    E.TASK_CANCELLED: frozenset({By.PERSON}),
    E.TASK_SKIPPED: frozenset({By.PERSON}),
    E.TASK_REMOVED: frozenset({By.PERSON}),
    E.TASK_REVERTED: frozenset({By.PERSON}),
    E.TASK_TAKEN: frozenset({By.PERSON}),
    E.TASK_SUBMITTED: frozenset({By.PERSON}),
    E.TASK_GIVEN: frozenset({By.PERSON}),
    E.QUESTION_ASKED: frozenset({By.PUBLISH}),
    E.QUESTION_ANSWERED: frozenset({By.PERSON}),
}

REASONS: Mapping[Happened, frozenset[Reason]] = {
    E.CLAIM_REFUSED: frozenset({Reason.PUSH_REFUSED, Reason.PRECONDITION_FAILED}),
    E.ATTEMPT_EXPIRED: frozenset(
        {Reason.LEASE_LOST, Reason.TIMEOUT, Reason.FOREIGN_COMMITS, Reason.INFRASTRUCTURE}
    ),
    E.ATTEMPT_STOPPED: frozenset({Reason.STOPPED}),
    E.MERGE_REFUSED: frozenset(
        {
            Reason.CONFLICT,
            Reason.GATE_FAILED,
            Reason.CHECKS_FAILED,
            Reason.UNVERIFIED,
            Reason.SETUP_FAILED,
            Reason.PRECONDITION_FAILED,
            Reason.FOREIGN_COMMITS,
            Reason.PUSH_REFUSED,
            Reason.REJECTED,
        }
    ),
    E.TASK_CANCELLED: frozenset({Reason.STOPPED}),
    E.TASK_SKIPPED: frozenset({Reason.SKIPPED}),
    E.TASK_REMOVED: frozenset({Reason.REMOVED}),
    E.TASK_REVERTED: frozenset({Reason.REVERTED}),
    E.QUESTION_ASKED: frozenset({Reason.QUESTION}),
    E.QUESTION_ANSWERED: frozenset({Reason.QUESTION}),
}
"""The reasons that an event may carry, where not every reason fits."""

RETRIED_BY_ITSELF = frozenset({Reason.INFRASTRUCTURE, Reason.RATE_LIMIT, Reason.LEASE_LOST})
"""Failures that say nothing about the work: the scheduler tries again, with back-off."""


def advance(status: Status, event: Happened, by: By, reason: Reason | None = None) -> Status:
    """Return the status that `event`, recorded by `by`, moves a task to.

    Raises IllegalTransition, and changes nothing, when the table does not allow it.
    """
    after = TRANSITIONS[status].get(event)
    if after is None:
        allowed = ", ".join(TRANSITIONS[status]) or "nothing"
        article = "an" if status is S.IN_PROGRESS else "a"
        raise IllegalTransition(
            f"{article} {status} task cannot take {event}",
            hint=f"from {status} it can take: {allowed}",
        )
    if by not in RECORDED_BY[event]:
        who = " or ".join(sorted(RECORDED_BY[event]))
        raise IllegalTransition(f"{by} may not record {event}", hint=f"{who} records it")
    if event in REASONS and reason not in REASONS[event]:
        fitting = ", ".join(sorted(REASONS[event]))
        raise IllegalTransition(
            f"{event} cannot carry the reason {reason or 'none'}", hint=f"it can carry: {fitting}"
        )
    return after


def diagram() -> str:
    """Return the machine as a mermaid state diagram, one arrow an entry of the table."""
    lines = ["stateDiagram-v2", "    [*] --> pending"]
    for status, arrows in TRANSITIONS.items():
        for event, after in arrows.items():
            who = ", ".join(sorted(RECORDED_BY[event]))
            lines.append(f"    {status} --> {after}: {event} ({who})")
    return "\n".join(lines)
