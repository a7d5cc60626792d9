"""The machine: which event moves a task, who may record it, and with which reason."""

from __future__ import annotations

from itertools import product

import pytest

from gitflow_agents.errors import IllegalTransition
from gitflow_agents.models import Reason, Status
from gitflow_agents.transitions import (
    RECORDED_BY,
    RETRIED_BY_ITSELF,
    TRANSITIONS,
    By,
    Happened,
    advance,
    diagram,
)

S, E = Status, Happened

# The machine once more, as a reader would say it: (from, event, to, who records it).
MACHINE = """
pending      attempt_started    in_progress  scheduler
pending      claim_refused      failed       scheduler
in_progress  attempt_succeeded  review       publish
in_progress  attempt_failed     failed       publish
in_progress  attempt_expired    failed       scheduler
in_progress  attempt_stopped    pending      scheduler person
in_progress  task_submitted     review       person
in_progress  task_given         pending      person
review       task_merged        completed    train
review       merge_refused      failed       train person
review       task_retried       pending      scheduler person
failed       task_retried       pending      scheduler person
cancelled    task_retried       pending      scheduler person
completed    task_reverted      pending      person
in_progress  question_asked     pending      publish
pending      question_answered  pending      person
pending      task_taken         in_progress  person
review       task_taken         in_progress  person
failed       task_taken         in_progress  person
pending      task_cancelled     cancelled    person
pending      task_skipped       cancelled    person
pending      task_removed       cancelled    person
review       task_cancelled     cancelled    person
review       task_skipped       cancelled    person
review       task_removed       cancelled    person
failed       task_cancelled     cancelled    person
failed       task_skipped       cancelled    person
failed       task_removed       cancelled    person
cancelled    task_cancelled     cancelled    person
cancelled    task_skipped       cancelled    person
cancelled    task_removed       cancelled    person
"""
ALLOWED = {
    (S(before), E(event), By(by)): S(after)
    for before, event, after, *who in map(str.split, MACHINE.strip().splitlines())
    for by in who
}
FITTING = {
    E.CLAIM_REFUSED: Reason.PUSH_REFUSED,
    E.ATTEMPT_EXPIRED: Reason.LEASE_LOST,
    E.ATTEMPT_STOPPED: Reason.STOPPED,
    E.MERGE_REFUSED: Reason.CONFLICT,
    E.TASK_CANCELLED: Reason.STOPPED,
    E.TASK_SKIPPED: Reason.SKIPPED,
    E.TASK_REMOVED: Reason.REMOVED,
    E.TASK_REVERTED: Reason.REVERTED,
    E.QUESTION_ASKED: Reason.QUESTION,
    E.QUESTION_ANSWERED: Reason.QUESTION,
}


@pytest.mark.parametrize(("status", "event", "by"), list(product(S, E, By)))
def test_only_the_table_moves_a_task(status: Status, event: Happened, by: By) -> None:
    after = ALLOWED.get((status, event, by))
    if after is None:
        with pytest.raises(IllegalTransition):
            advance(status, event, by, FITTING.get(event))
    else:
        assert advance(status, event, by, FITTING.get(event)) is after


def test_an_agents_result_cannot_merge_itself() -> None:
    with pytest.raises(IllegalTransition) as refused:
        advance(S.REVIEW, E.TASK_MERGED, By.PUBLISH)
    assert refused.value.message == "publish may not record task_merged"
    assert refused.value.hint == "train records it"


def test_what_the_table_refuses_is_refused_with_what_it_allows() -> None:
    with pytest.raises(IllegalTransition) as refused:
        advance(S.IN_PROGRESS, E.TASK_MERGED, By.TRAIN)
    assert refused.value.message == "an in_progress task cannot take task_merged"
    assert refused.value.hint == (
        "from in_progress it can take: attempt_succeeded, attempt_failed, attempt_expired, "
        "attempt_stopped, task_submitted, task_given, question_asked"
    )
    with pytest.raises(IllegalTransition) as refused:
        advance(S.COMPLETED, E.TASK_RETRIED, By.PERSON)
    assert refused.value.hint == "from completed it can take: task_reverted"


@pytest.mark.parametrize(
    ("status", "event", "by", "reasons"),
    [
        (S.PENDING, E.CLAIM_REFUSED, By.SCHEDULER, "push-refused precondition-failed"),
        (
            S.IN_PROGRESS,
            E.ATTEMPT_EXPIRED,
            By.SCHEDULER,
            "lease-lost timeout foreign-commits infrastructure",
        ),
        (S.IN_PROGRESS, E.ATTEMPT_STOPPED, By.PERSON, "stopped"),
        (
            S.REVIEW,
            E.MERGE_REFUSED,
            By.TRAIN,
            "conflict gate-failed checks-failed unverified setup-failed foreign-commits "
            "push-refused precondition-failed rejected",
        ),
        (S.FAILED, E.TASK_CANCELLED, By.PERSON, "stopped"),
        (S.REVIEW, E.TASK_SKIPPED, By.PERSON, "skipped"),
        (S.PENDING, E.TASK_REMOVED, By.PERSON, "removed"),
        (S.COMPLETED, E.TASK_REVERTED, By.PERSON, "reverted"),
        (S.IN_PROGRESS, E.QUESTION_ASKED, By.PUBLISH, "question"),
        (S.PENDING, E.QUESTION_ANSWERED, By.PERSON, "question"),
    ],
)
def test_an_event_carries_only_the_reasons_that_fit(
    status: Status, event: Happened, by: By, reasons: str
) -> None:
    fitting = {Reason(reason) for reason in reasons.split()}
    for reason in fitting:
        assert advance(status, event, by, reason) is ALLOWED[status, event, by]
    for other in {None, *Reason} - fitting:
        with pytest.raises(IllegalTransition, match=f"cannot carry the reason {other or 'none'}"):
            advance(status, event, by, other)


def test_an_agents_failure_carries_any_reason() -> None:
    for reason in Reason:
        assert advance(S.IN_PROGRESS, E.ATTEMPT_FAILED, By.PUBLISH, reason) is S.FAILED


def test_only_what_says_nothing_about_the_work_is_retried_by_itself() -> None:
    assert {reason.value for reason in RETRIED_BY_ITSELF} == {
        "infrastructure",
        "rate-limit",
        "lease-lost",
    }


def test_every_event_is_recorded_by_somebody_and_moves_something() -> None:
    assert set(RECORDED_BY) == set(E)
    assert {event for arrows in TRANSITIONS.values() for event in arrows} == set(E)
    assert set(TRANSITIONS) == set(S)


def test_the_diagram_has_one_arrow_an_entry() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> pending"]
    assert sorted(lines[2:]) == sorted(
        f"    {before} --> {after}: {event} ({', '.join(sorted(who))})"
        for before, event, after, *who in map(str.split, MACHINE.strip().splitlines())
    )
