"""Commands with which a person does a task in place of an agent, decided."""

from __future__ import annotations

from gitflow_agents import handoff
from gitflow_agents.commands.common import (
    decided,
    end_train,
    ends,
    explicit,
    is_in_train,
    not_merged,
    wrong_state,
)
from gitflow_agents.commands.following import (
    Assign,
    Decision,
    Effect,
    Ground,
    HandBack,
    PutForward,
)
from gitflow_agents.commands.targets import names, select
from gitflow_agents.commands.words import (
    Give,
    Refused,
    Submit,
    Take,
    Targets,
)
from gitflow_agents.models import (
    PERSON,
    Status,
    Task,
    TaskRecord,
    Value,
    person,
)
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.transitions import Happened

S, E = Status, Happened


def take(command: Take, ground: Ground) -> Decision:
    """Decide which tasks become the person's."""
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    words = command.targets
    chosen = select(snapshot, words)
    not_merged(snapshot, words, chosen)
    explicit(snapshot, words, chosen, (S.CANCELLED,), "is cancelled", "retry {}, then take it")
    taken: list[str] = []
    for task in chosen:
        who = snapshot.record(task).taken_by
        if who:
            _not_anothers(snapshot, words, task, ground.actor)
        elif snapshot.status(task) not in (S.COMPLETED, S.CANCELLED):
            if snapshot.status(task) is S.PENDING:
                _may_start(snapshot, task)
            taken.append(task)
    done: list[Effect] = list(end_train(snapshot)) if is_in_train(snapshot, taken) else []
    said: list[str] = []
    for task in taken:
        done += ends(snapshot, [task], f"taken by {ground.who}")
        done.append(Assign(task))
        said.append(f"{task} is taken by {ground.who}; no agent starts on it")
        if snapshot.record(task).lease is not None:
            said.append(f"what its agent had done is kept, and is named by: show {plan}/{task}")
        needs = [need for need in snapshot.graph.requires[task] if not snapshot.is_met(need)]
        if needs:
            flow = snapshot.state.flow
            said.append(f"{task} needs {names(needs)}, not on {flow} yet; later: git merge {flow}")
    return decided(snapshot, done, said, "give", taken, "everything named is yours already")


def _may_start(snapshot: Snapshot, task: str) -> None:
    """Refuse to begin a task for whose beginning, or whose plan's, somebody's yes is missing."""
    plan = snapshot.plan.plan
    for what, target in ((f"plan {plan}", plan), (task, f"{plan}/{task}")):
        if snapshot.awaits("" if target == plan else task):
            raise Refused("wrong-state", f"{what} waits for an approval", hint=f"approve {target}")


def submit(command: Submit, ground: Ground) -> Decision:
    """Decide which results of a person are put forward."""
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    words = command.targets
    ready: list[str] = []
    for task in select(snapshot, words):
        record = snapshot.record(task)
        if record.taken_by:
            if _not_anothers(snapshot, words, task, ground.actor):
                ready.append(task)
        elif task in words and not _is_submitted(record):
            raise wrong_state(snapshot, task, "nobody has taken it", hint=f"take {plan}/{task}")
    if command.output and len(ready) > 1:
        raise Refused("bad-value", "--output is for one task", hint="submit one after the other")
    done = [PutForward(task, _reported(snapshot.plan.by_id[task], command)) for task in ready]
    said = [f"{task} is submitted; the next run tests and merges it" for task in ready]
    return decided(snapshot, done, said, "take", ready, "everything named is submitted already")


def _reported(task: Task, command: Submit) -> dict[str, Value]:
    """Return the values that a person reports; Refused when they are not what the task declares."""
    given, why = handoff.typed(task, command.output)
    if why := why or handoff.wrong(task, given):
        raise Refused(
            "bad-value",
            f"{task.id} cannot be merged: {why}",
            hint="say each of them: --output NAME=VALUE",
        )
    return given


def _is_submitted(record: TaskRecord) -> bool:
    is_theirs = record.attempt is not None and record.attempt.agent == PERSON
    return is_theirs and record.status in (S.REVIEW, S.COMPLETED)


def give(command: Give, ground: Ground) -> Decision:
    """Decide which tasks agents may have again."""
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    back: list[str] = []
    for task in select(snapshot, command.targets):
        record = snapshot.record(task)
        is_theirs = record.attempt is not None and record.attempt.agent == PERSON
        if record.taken_by:
            back.append(task)
        elif task in command.targets and not (is_theirs and record.status is S.PENDING):
            raise wrong_state(snapshot, task, "nobody has taken it", hint=f"take {plan}/{task}")
    done = [HandBack(task) for task in back]
    said = [
        f"{task} is given back; the next attempt begins with what is on "
        f"{snapshot.record(task).branch}"
        for task in back
    ]
    return decided(snapshot, done, said, "take", back, "everything named is given back already")


def _not_anothers(snapshot: Snapshot, words: Targets, task: str, actor: str) -> bool:
    """Say whether a taken task is the actor's; refuse one of somebody else's that was named."""
    who = snapshot.record(task).taken_by
    if who != actor and task in words:
        raise Refused(
            "wrong-state",
            f"{task} is taken by {person(who)}",
            hint=f"give {snapshot.plan.plan}/{task} hands it back, then take it",
        )
    return who == actor
