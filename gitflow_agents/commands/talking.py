"""Commands with which people speak to the agents of tasks, decided."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from gitflow_agents.commands.common import decided, not_merged
from gitflow_agents.commands.following import Decision, Effect, Ground, Mark
from gitflow_agents.commands.targets import select
from gitflow_agents.commands.words import Feedback, Refused
from gitflow_agents.models import Remark, Status, TaskRecord
from gitflow_agents.scheduler import Snapshot

S = Status
MOST_REMARKS = 20
"""Remarks that a task's record holds; of those that agents were told the oldest go first."""


def feedback(command: Feedback, ground: Ground) -> Decision:
    """Decide what the agents of some tasks are told."""
    snapshot = ground.snapshot
    chosen = select(snapshot, command.targets)
    not_merged(snapshot, command.targets, chosen)
    chosen = [task for task in chosen if snapshot.status(task) is not S.COMPLETED]
    text = command.text.strip()
    if command.withdraw:
        if text:
            raise Refused("bad-value", "--withdraw takes back what was said, and says nothing")
        return _withdrawn(ground, chosen)
    if not text:
        plan, task = snapshot.plan.plan, command.targets[0]
        example = f'feedback {plan}/{task} -m "use the parser that is there"'
        raise Refused("missing-argument", "feedback needs a text", hint=example)
    done: list[Effect] = []
    said: list[str] = []
    for task in chosen:
        record = snapshot.record(task)
        new = Remark(text=text, kind=command.kind, by=ground.actor, at=ground.now, key="")
        new = new.model_copy(update={"key": command.key or _key(task, new)})
        if any(_is_said(old, new) for old in record.feedback):
            continue
        kept = _with(snapshot, record, new)
        note = f"{task}: {ground.who} has something to say to its agent"
        done.append(Mark(task, "feedback_added", note, {"feedback": kept}))
        said.append(f"{task} is told: {_who_hears(record)}")
    tasks = [effect.task for effect in done if isinstance(effect, Mark)]
    nothing = "nobody is told anything new: that was said already"
    decision = decided(snapshot, done, said, "feedback", tasks, nothing)
    return Decision(decision.effects, decision.said, f"{decision.undo} --withdraw" if done else "")


def _key(task: str, remark: Remark) -> str:
    """Return a name for a remark that nobody else's has."""
    about = "\0".join((task, remark.by, remark.kind, repr(remark.at), remark.text))
    return hashlib.sha256(about.encode(errors="replace")).hexdigest()[:16]


def _is_said(old: Remark, new: Remark) -> bool:
    """Say whether a remark is there already: by its key, or as one that nobody was told yet."""
    is_same = (old.text, old.kind, old.by) == (new.text, new.kind, new.by)
    return old.key == new.key or (is_same and old.is_pending)


def _with(snapshot: Snapshot, record: TaskRecord, new: Remark) -> tuple[Remark, ...]:
    """Return a task's remarks with one more; Refused while too many wait to be told."""
    pending = sum(old.is_pending for old in record.feedback)
    if pending >= MOST_REMARKS:
        raise Refused(
            "too-many",
            f"{pending} remarks wait for the next agent of {record.id}, and no more can",
            hint=f"show {snapshot.plan.plan}/{record.id}",
        )
    kept = list(record.feedback)
    while len(kept) >= MOST_REMARKS:
        kept.remove(next(old for old in kept if not old.is_pending))
    return (*kept, new)


def _who_hears(record: TaskRecord) -> str:
    """Return in words which agent hears of a new remark."""
    if record.status is S.IN_PROGRESS and record.lease is not None and record.attempt is not None:
        return f"attempt {record.attempt.number}, which runs, where it can hear; else the next one"
    if record.taken_by:
        return "whoever has taken it; `show` says what"
    return "the next attempt"


def _withdrawn(ground: Ground, tasks: Iterable[str]) -> Decision:
    """Decide what is told to nobody after all."""
    snapshot = ground.snapshot
    done: list[Effect] = []
    said: list[str] = []
    for task in tasks:
        remarks = snapshot.record(task).feedback
        kept = tuple(r for r in remarks if r.by != ground.actor or not r.is_pending or r.offered_at)
        if kept != remarks:
            note = f"{task}: {ground.who} took back what nobody was told yet"
            done.append(Mark(task, "feedback_withdrawn", note, {"feedback": kept}))
            said.append(f"{task}: what you said is taken back; nobody was told")
    nothing = "nothing that you said is still waiting to be told"
    return Decision(tuple(done), tuple(said) or (nothing,))


__all__ = ["feedback"]
