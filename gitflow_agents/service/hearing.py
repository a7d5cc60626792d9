"""What is said to an attempt that runs: how it gets there, and how the state learns of that.

Whoever stores a remark, and whoever sees one in the state, leaves it in the folder of the attempt.
Whoever runs the attempt tells what its agents could read and what they were told: at once where it
writes the state itself, else by the attempt's report.
"""

from __future__ import annotations

from collections.abc import Iterable

from gitflow_agents import execute, render
from gitflow_agents.models import Heard, Remark, Status, TaskRecord
from gitflow_agents.runner import new_lease
from gitflow_agents.service.desk import Desk
from gitflow_agents.store import Draft

OFFERED, DELIVERED = "feedback_offered", "feedback_delivered"


def hand(desk: Desk, task: str) -> None:
    """Leave what nobody was offered yet for the attempt that runs at a task on this machine."""
    record = desk.snapshot.record(task)
    if record.status is not Status.IN_PROGRESS or record.lease is None or not record.attempts:
        return
    folder = desk.attempt_folder(task, record.attempts[-1].number)
    for remark in record.feedback:
        if remark.is_pending and not remark.offered_at:
            execute.put(folder, remark)


def hand_here(desk: Desk) -> None:
    """The same for all tasks whose attempts run as processes of this machine."""
    here = new_lease(0).host
    for task in desk.snapshot.by_status[Status.IN_PROGRESS]:
        lease = desk.snapshot.record(task).lease
        if lease is not None and lease.run is None and lease.host == here:
            hand(desk, task)


def marked(record: TaskRecord, heard: Iterable[Heard], now: float) -> tuple[Remark, ...]:
    """Return the remarks of a record, with what became of them in its newest attempt.

    Who tells may not be trusted: what nobody said is passed over, and no time is out of place.
    """
    known = {one.key: one for one in heard}
    number = record.attempts[-1].number if record.attempts else 0
    return tuple(_marked(remark, known.get(remark.key), number, now) for remark in record.feedback)


def _marked(remark: Remark, heard: Heard | None, number: int, now: float) -> Remark:
    if heard is None or not remark.is_pending:
        return remark

    def within(time: float) -> float:
        return min(max(remark.at, time), max(now, remark.at)) if time > 0 else 0.0

    offered = remark.offered_at if remark.attempt == number else 0.0
    offered, delivered = offered or within(heard.offered_at), within(heard.delivered_at)
    if (offered, delivered) == (remark.offered_at, 0.0):
        return remark
    about = {"attempt": number, "offered_at": offered, "delivered_at": delivered}
    return remark.model_copy(update=about)


def tell(draft: Draft, desk: Desk, before: TaskRecord, after: tuple[Remark, ...]) -> None:
    """Tell in a draft what became of the remarks on a task, if anything did."""
    number = before.attempts[-1].number if before.attempts else 0
    old = {remark.key: remark for remark in before.feedback}
    delivered = [r for r in after if old[r.key].is_pending and not r.is_pending]
    offered = [
        r for r in after if r.is_pending and r.offered_at and r.offered_at != old[r.key].offered_at
    ]
    for event, remarks, word in (
        (OFFERED, offered, "can read"),
        (DELIVERED, delivered, "was told"),
    ):
        if remarks:
            note = f"{before.id}: attempt {number} {word} {render.count(len(remarks), 'remark')}"
            draft.tell(event, task=before.id, attempt=number, note=note)
            desk.say(event, note, task=before.id, attempt=number)


def note(desk: Desk, draft: Draft) -> None:
    """Write down what the attempts of this process have told since the last time."""
    told: dict[tuple[str, int], list[Heard]] = {}
    while not desk.heard.empty():
        task, number, heard = desk.heard.get()
        told.setdefault((task, number), []).append(heard)
    for (task, number), heards in told.items():
        record = desk.snapshot.record(task)
        if not record.attempts or record.attempts[-1].number != number:
            continue
        for heard in heards:
            record = record.model_copy(update={"feedback": marked(record, (heard,), desk.clock())})
        before = desk.snapshot.record(task)
        if record.feedback != before.feedback:
            tell(draft, desk, before, record.feedback)
            draft.put(record)


__all__ = ["DELIVERED", "hand", "hand_here", "marked", "note", "tell"]
