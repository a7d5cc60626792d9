"""Which tasks the words of a command name."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

from gitflow_agents.commands.words import (
    Act,
    Refused,
)
from gitflow_agents.models import (
    Status,
)
from gitflow_agents.scheduler import Snapshot

S = Status
A = TypeVar("A", bound=Act)

MOST_NAMED = 5
"""Tasks that a sentence names before it counts the others."""

WORDS = ("all", "failed", "blocked", "plan")


def is_group(word: str) -> bool:
    """Say whether a target word may stand for several tasks, of whichever plan."""
    return word in WORDS or word.startswith("wave:") or any(letter in word for letter in "*?[")


def within(command: A, snapshot: Snapshot) -> A:
    """Return a command with its targets as they are called within the plan that it is given on.

    `PLAN/ID` is ID, and the plan's own name says nothing new.  Raises Refused for another plan.
    """
    name, found = snapshot.plan.plan, list[str]()
    for word in command.targets:
        plan, _, target = word.rpartition("/")
        if plan not in ("", name):
            raise Refused("no-such-task", f"this is about plan {name}, and {word} is of another")
        if plan or word != name or word in snapshot.plan.order:
            found.append(target)
    return command.model_copy(update={"targets": tuple(found)})


def select(snapshot: Snapshot, words: Sequence[str]) -> list[str]:
    """Return the ids that target words name, in plan order.

    Words are ids, globs of ids, `all`, `failed`, `blocked` or `wave:N`.  Raises Refused when one
    names nothing there is, or when `all` stands beside others.
    """
    if "all" in words and len(words) > 1:
        other = next(word for word in words if word != "all")
        raise Refused("target-clash", f"all and {other} cannot be named together")
    found: set[str] = set()
    for word in words:
        found.update(_named(snapshot, word))
    return sorted(found, key=snapshot.plan.order.__getitem__)


def _named(snapshot: Snapshot, word: str) -> Iterable[str]:
    order = snapshot.plan.order
    if word in order:
        return (word,)
    if word == "all":
        return order
    if word == "failed":
        return snapshot.by_status[S.FAILED]
    if word == "blocked":
        return _blocked(snapshot)
    if word.startswith("wave:"):
        waves = sorted(set(snapshot.graph.wave.values()))
        number = word.removeprefix("wave:")
        if not number.isdecimal() or int(number) not in waves:
            raise Refused("no-such-task", f"there is no {word}; there are waves 1 to {waves[-1]}")
        return (task for task in order if snapshot.graph.wave[task] == int(number))
    if any(letter in word for letter in "*?["):
        hits = [task for task in order if fnmatch.fnmatchcase(task, word)]
        if hits:
            return hits
    raise no_such_task(snapshot, word)


def no_such_task(snapshot: Snapshot, word: str) -> Refused:
    """Return what is said where a word is no task of a plan."""
    order = snapshot.plan.order
    folded = [task for task in order if task.casefold() == word.casefold()]
    near = folded or get_close_matches(word, order, 3)
    some = f"near ids: {', '.join(near)}" if near else f"some ids: {', '.join(list(order)[:5])}"
    tasks = "1 task, and it is not" if len(order) == 1 else f"{len(order)} tasks, and none is"
    return Refused("no-such-task", f"plan {snapshot.plan.plan} has {tasks} {word!r}", hint=some)


def _blocked(snapshot: Snapshot) -> set[str]:
    """Return the pending tasks that wait, however far off, for one that failed or is left out."""
    stuck = snapshot.by_status[S.FAILED] | snapshot.by_status[S.CANCELLED]
    todo, found = [task for task in stuck if not snapshot.is_met(task)], set[str]()
    while todo:
        for task in snapshot.graph.dependants[todo.pop()]:
            if task not in found and snapshot.status(task) is S.PENDING:
                found.add(task)
                todo.append(task)
    return found


def names(tasks: Sequence[str]) -> str:
    """Return some ids for a sentence, and how many more there are."""
    more = len(tasks) - MOST_NAMED
    return ", ".join(tasks[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
