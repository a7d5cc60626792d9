"""How a result gets onto its task's branch, and where it goes when the branch takes it no more.

Whoever ended the attempt meanwhile has put a fence there, so a result that comes late is kept
beside the branch.  One that comes while the remote cannot be reached waits in this repository, and
is delivered by the run that made it or by the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gitflow_agents import render
from gitflow_agents.errors import FlowError, LostRace
from gitflow_agents.models import SCHEMA, ZERO
from gitflow_agents.service.desk import Desk, Told
from gitflow_agents.store import CheckedOut, Offline, RefRefused, Remote
from gitflow_agents.store.refs import Move
from gitflow_agents.store.state import HEADS

TURNS = 3
"""How often a free name for what is kept is looked for, when others take them as well."""


@dataclass(frozen=True)
class Parcel:
    """A result on its way: the event commit that its branch shall hold, and the work below it."""

    task: str
    number: int
    branch: str
    claim: str
    event: str
    last: str
    """The newest commit of the work."""
    beside: tuple[Move, ...]
    """What is kept elsewhere together with it."""
    without: Callable[[str], str]
    """Returns the event for a result whose work a server refused, saying why."""


def send(desk: Desk, parcel: Parcel) -> str:
    """Put a result on its task's branch, expecting exactly the claim.

    Returns the event commit, or nothing when the attempt was fenced off: the work is then kept
    below `gitflow/attempt/`.  Raises Offline when nobody can tell; the same parcel may be sent
    again.
    """
    refs, ref = desk.store.refs, f"{HEADS}{parcel.branch}"
    try:
        return _moved(desk, parcel, ref)
    except (LostRace, CheckedOut) as e:
        why = e.message
    except Offline:
        _keep_unsent(refs, parcel)
        raise
    try:
        kept = keep(desk, parcel.task, parcel.number, parcel.event)
    except Offline:
        _keep_unsent(refs, parcel)
        raise
    desk.fenced[parcel.task] = (parcel.last, kept)
    tell(desk, parcel.task, f"its result was not taken: {why}; the work is kept", kept)
    return ""


def _moved(desk: Desk, parcel: Parcel, ref: str) -> str:
    refs = desk.store.refs
    try:
        refs.move([*parcel.beside, (ref, parcel.claim, parcel.event)])
    except RefRefused as e:
        if not isinstance(refs, Remote):
            raise
        where = refs.keep_refused(parcel.task, parcel.number, parcel.last)
        kept = desk.kept_by or f"in this repository as {where}"
        event = parcel.without(f"{e.message}; the work is kept {kept}")
        refs.move([(ref, parcel.claim, event)])
        return event
    return parcel.event


def _keep_unsent(refs: object, parcel: Parcel) -> None:
    if isinstance(refs, Remote):
        refs.keep_unsent(parcel.task, parcel.number, parcel.event)


def keep(desk: Desk, task: str, number: int, commit: str) -> str:
    """Keep a commit below `gitflow/attempt/` and return the branch."""
    refs, plan = desk.store.refs, desk.snapshot.plan.plan
    for turn in range(TURNS):
        try:
            with refs.lock():
                ref = desk.free_attempt_ref(plan, task, number, commit)
                refs.move([(ref, refs.resolve(ref) or ZERO, commit)])
                return ref.removeprefix(HEADS)
        except LostRace:
            if turn == TURNS - 1:
                raise
    raise AssertionError("unreachable")


def deliver_unsent(desk: Desk) -> None:
    """Deliver the results that earlier runs here could not; the lock is held."""
    refs, snapshot = desk.store.refs, desk.snapshot
    for (task, number), event in refs.unsent().items():
        if task in desk.own or not isinstance(refs, Remote):
            continue  # whoever made it is at it
        record = snapshot.record(task)
        is_its = record.lease is not None and record.attempts[-1].number == number
        is_its = is_its and refs.repository.is_ancestor(record.claim, event)
        try:
            if not is_its:
                raise LostRace(f"attempt {number} has ended")
            refs.move([(f"{HEADS}{record.branch}", record.claim, event)])
            said = f"the result of attempt {number}, which waited for {refs.name}, is there"
            tell(desk, task, said, record.branch, "attempt_delivered")
        except (LostRace, RefRefused) as e:
            if not _is_there(desk, task, event):
                try:
                    kept = keep(desk, task, number, event)
                except FlowError as again:
                    if isinstance(again, Offline):
                        raise
                    kept = refs.keep_refused(task, number, event)
                tell(desk, task, f"its result was not taken: {e.message}; it is kept", kept)
        refs.forget_unsent(task, number)


def _is_there(desk: Desk, task: str, event: str) -> bool:
    """Say whether a result has reached the remote after all: the answer may have been lost."""
    refs, record = desk.store.refs, desk.snapshot.record(task)
    plan = desk.snapshot.plan.plan
    known = {attempt.report for attempt in record.attempts}
    known |= set(refs.tips(f"{HEADS}task/{plan}/", f"{HEADS}gitflow/attempt/{plan}/").values())
    return event in known


def tell(desk: Desk, task: str, said: str, kept: str, event: str = "attempt_fenced") -> None:
    """Tell at once what became of a task's work, and where it is kept."""
    about = {"schema": SCHEMA, "event": event, "at": render.utc(desk.clock())}
    plan = desk.snapshot.plan.plan
    desk.tell(Told(event, f"{task}: {said}", {**about, "plan": plan, "task": task, "kept": kept}))


__all__ = ["Parcel", "deliver_unsent", "keep", "send", "tell"]
