"""What the decisions on several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gitflow_agents.commands.following import (
    Decision,
    DropTrain,
    Effect,
    End,
)
from gitflow_agents.commands.words import (
    Refused,
)
from gitflow_agents.models import (
    Status,
)
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.transitions import Happened

S, E = Status, Happened


def running_tasks(snapshot: Snapshot) -> list[str]:
    """Return the tasks that a lease of the tool is on, in plan order."""
    running = (t for t in snapshot.by_status[S.IN_PROGRESS] if snapshot.record(t).lease)
    return sorted(running, key=snapshot.plan.order.__getitem__)


def ends(snapshot: Snapshot, tasks: Iterable[str], why: str) -> Iterator[Effect]:
    """Yield the end of each attempt that runs."""
    for task in tasks:
        if snapshot.status(task) is S.IN_PROGRESS:
            yield End(task, why)


def end_train(snapshot: Snapshot) -> tuple[Effect, ...]:
    """Return the end of the train that is tested, if there is one."""
    return (DropTrain(),) if snapshot.state.train is not None else ()


def is_in_train(snapshot: Snapshot, tasks: Iterable[str]) -> bool:
    """Say whether one of some tasks is in the train that is tested."""
    train = snapshot.state.train
    return train is not None and not {car.task for car in train.cars}.isdisjoint(tasks)


def ended(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each attempt that was stopped."""
    return tuple(f"{task} is stopped; what it did is kept" for task in tasks)


def one_line(text: str) -> str:
    """Return what somebody wrote for a sentence: on one line, and nothing but letters that show."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def not_merged(snapshot: Snapshot, words: Sequence[str], chosen: Sequence[str]) -> None:
    """Refuse a merged task that was named by its own id."""
    explicit(snapshot, words, chosen, (S.COMPLETED,), "is merged", "revert {} -m WHY")


def explicit(
    snapshot: Snapshot,
    words: Sequence[str],
    chosen: Sequence[str],
    statuses: Sequence[Status],
    what: str,
    mend: str,
) -> None:
    """Refuse a task that was named by its own id and is in one of `statuses`."""
    for task in chosen:
        if task in words and snapshot.status(task) in statuses:
            target = f"{snapshot.plan.plan}/{task}"
            raise Refused("wrong-state", f"{task} {what}", hint=mend.format(target))


def wrong_state(snapshot: Snapshot, task: str, why: str, hint: str = "") -> Refused:
    """Return why a command is not for a task in its status."""
    status = snapshot.status(task).replace("_", " ")
    return Refused("wrong-state", f"{task} is {status}: {why}", hint=hint)


def decided(
    snapshot: Snapshot,
    done: Sequence[Effect],
    said: Sequence[str],
    undo: str,
    tasks: Sequence[str],
    nothing: str,
) -> Decision:
    """Return a decision on some tasks, with its undo; `nothing` is said when it has no effect."""
    if not done:
        return Decision((), (nothing,))
    plan = snapshot.plan.plan
    return Decision(
        tuple(done), tuple(said), f"{undo} {' '.join(f'{plan}/{task}' for task in tasks)}"
    )


def held_plan(snapshot: Snapshot) -> Refused:
    """Return why nothing of a held plan is done."""
    plan = snapshot.plan.plan
    return Refused("held", f"plan {plan} is held: {snapshot.state.held}", hint=f"resume {plan}")
