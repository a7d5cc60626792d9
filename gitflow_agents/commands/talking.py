"""Commands with which people speak to the agents of tasks, decided."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from gitflow_agents import handoff
from gitflow_agents.commands.common import decided, not_merged, one_line, wrong_state
from gitflow_agents.commands.following import Decision, Effect, Ground, Mark, Move
from gitflow_agents.commands.targets import is_group, select
from gitflow_agents.commands.words import Answer, Feedback, Refused
from gitflow_agents.models import Asked, Reason, Remark, Status, TaskRecord, person
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.transitions import Happened

S, E = Status, Happened
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


def answer(command: Answer, ground: Ground) -> Decision:
    """Decide what the agent that asked is told, or refuse what is no answer."""
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    if len(command.targets) != 1 or is_group(command.targets[0]):
        raise Refused("bad-value", "answer is for one task")
    (task,) = select(snapshot, command.targets)
    record = snapshot.record(task)
    asked = record.questions[-1] if record.questions else None
    if asked is None:
        raise wrong_state(snapshot, task, "it has asked nothing", hint=f"show {plan}/{task}")
    words = (command.choice or command.text).strip()
    note = command.text.strip() if command.choice or command.decline else ""
    said = "" if command.decline else _chosen(snapshot, task, asked, words)
    if command.decline and command.choice:
        raise Refused("bad-value", "--decline leaves it to the agent, and chooses nothing")
    if record.open_question is None:
        if (asked.answer, asked.note) == (said, note) and asked.answered_at:
            return Decision((), (f"{task} was answered so already",))
        over = f"was answered by {person(asked.answered_by)}" if asked.answered_at else "is over"
        hint = f'feedback {plan}/{task} -m "..." says more to its agent'
        raise wrong_state(snapshot, task, f"its question {over}", hint=hint)
    told = {"answer": said, "note": note, "answered_by": ground.actor, "answered_at": ground.now}
    questions = (*record.questions[:-1], asked.model_copy(update=told))
    move = Move(task, E.QUESTION_ANSWERED, Reason.QUESTION, "", {"questions": questions})
    what = f"the answer is {one_line(said)}" if said else "it decides for itself"
    return decided(
        snapshot, [move], [f"{task} goes on with the next run: {what}"], "stop", [task], ""
    )


def _chosen(snapshot: Snapshot, task: str, asked: Asked, words: str) -> str:
    """Return what somebody's words answer; Refused, with the options, where they are no answer."""
    plan = snapshot.plan.plan
    if asked.options:
        listed = "; ".join(
            f"{handoff.letter_of(at)}: {one_line(option)}"
            for at, option in enumerate(asked.options)
        )
        code, mend = "missing-argument", f"answer {plan}/{task} a, of: {listed}"
    else:
        code, mend = "missing-argument", f'answer {plan}/{task} -m "..."'
    if not words:
        raise Refused(code, f"{task} asks, and answer says nothing", hint=mend)
    said, why = handoff.answered(asked, words)
    if why:
        raise Refused(
            "bad-value", f"{one_line(words)[:200]!r} is no answer for {task}: it {why}", hint=mend
        )
    return said


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


__all__ = ["answer", "feedback"]
