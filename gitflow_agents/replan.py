"""What follows when a plan that was started gets another text.

A new text that says the same is no new revision.  What runs goes on with the brief that it has;
what is merged stays merged; what waits takes the new text.  A task that is left out is forgotten
when nothing was done for it, else it is cancelled and its work kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gitflow_agents.commands import DropTrain, Effect, End, Mark, Move, names
from gitflow_agents.errors import FlowError
from gitflow_agents.models import Plan, Reason, Status, Task, TaskRecord, fold, person
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.transitions import Happened

S, E = Status, Happened

FIXED = ("plan", "base", "flow", "type")
"""What a plan keeps from its first revision on."""
PROOF = ("verify", "tdd", "provides", "files", "acceptance", "preconditions", "depends_on")
"""What, changed, makes the checks of a finished task run again."""
ASKED = ("steps", "quality")
"""What is asked of an attempt, and not of a result that is there already."""


@dataclass(frozen=True)
class Revision:
    """The difference between two texts of a plan, and what it does to the tasks.

    `forgotten` are the records to be dropped; `said` are sentences for people, `warnings` those
    that a person should look at.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    said: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def revise(snapshot: Snapshot, new: Plan, actor: str) -> Revision:
    """Return what a new text changes; FlowError where it changes what is fixed.

    `new` says something else than the accepted text.
    """
    old, state = snapshot.plan, snapshot.state
    if state.status in ("landed", "closed"):
        raise FlowError(
            f"plan {old.plan} is {state.status}, and only looked at",
            hint="put what is left into a plan of its own",
        )
    for name in FIXED:
        before, after = getattr(old, name), getattr(new, name)
        is_same = after in (None, state.base) if name == "base" else before == after
        is_same |= name in ("flow", "type") and new.flow_branch == state.flow
        if not is_same:
            raise FlowError(
                f"`{name}` of a plan that was started cannot be changed "
                f"(it is {before or 'not set'}, the new text says {after or 'nothing'})",
                hint="take that change back, or put it into a plan of its own",
            )
    added = tuple(task.id for task in new.tasks if task.id not in old.by_id)
    removed = tuple(task.id for task in old.tasks if task.id not in new.by_id)
    changed = tuple(t.id for t in new.tasks if t.id in old.by_id and old.by_id[t.id] != t)
    effects: list[Effect] = []
    said: list[str] = []
    warnings: list[str] = []
    forgotten: list[str] = []
    for task in removed:
        record = snapshot.records.get(task)
        if record is None or (record.status is S.PENDING and not record.attempts):
            forgotten.append(task)
        elif record.status is S.COMPLETED:
            effects.append(_kept(old, new, record))
            warnings.append(f"{task} was taken out of the plan, but is merged; it stays on flow")
        else:
            message = f"taken out of the plan by {person(actor)}"
            if record.status is S.IN_PROGRESS:
                effects.append(End(task, message))
            effects.append(Move(task, E.TASK_REMOVED, Reason.REMOVED, message))
    proofs = [
        task
        for task in changed
        if snapshot.status(task) is S.REVIEW and _proof_differs(old.by_id[task], new.by_id[task])
    ]
    train = state.train
    cars = {car.task for car in train.cars} if train is not None else set()
    is_gated = (old.gate, old.setup, old.defaults) != (new.gate, new.setup, new.defaults)
    if train is not None and (is_gated or not cars.isdisjoint((*removed, *proofs))):
        effects.insert(0, DropTrain())
    back = [snapshot.records[task] for task in added if task in snapshot.records]
    for record in back:
        if record.status is S.CANCELLED and record.reason is Reason.REMOVED:
            # It was in the plan before: it waits again, and has an attempt left.
            granted = max(record.granted, record.used)
            message = f"back in the plan by {person(actor)}"
            effects.append(Move(record.id, E.TASK_RETRIED, None, message, {"granted": granted}))
    merged = [task for task in changed if snapshot.status(task) is S.COMPLETED]
    for task in merged:
        if set(old.by_id[task].gives) - set(new.by_id[task].gives):
            effects.append(_kept(old, new, snapshot.records[task]))
        before = old.by_id[task].gives
        if more := [c.name for c in new.by_id[task].provides if fold(c.name) not in before]:
            warnings.append(f"{task} is merged, and counts as giving {names(more)} from now on")
    if merged:
        warnings.append(
            f"{names(merged)} {'are' if merged[1:] else 'is'} merged already; "
            "the new text changes nothing of that"
        )
    running = [task for task in changed if snapshot.status(task) is S.IN_PROGRESS]
    if running:
        said.append(f"{names(running)} {'go' if running[1:] else 'goes'} on with the old text")
    unasked = [
        task
        for task in changed
        if snapshot.status(task) is S.REVIEW
        and any(getattr(old.by_id[task], key) != getattr(new.by_id[task], key) for key in ASKED)
    ]
    if unasked:
        warnings.append(
            f"{names(unasked)} {'are' if unasked[1:] else 'is'} in review, done under the old "
            "`steps` and `quality`; `retry` has the new ones carried out"
        )
    if back_to := [task for task in changed if snapshot.record(task).instead]:
        said.append(f"{names(back_to)}: who does it, and within what, is what the new text says")
    open_ = (task for task in changed if snapshot.status(task) is not S.COMPLETED)
    if lost := [task for task in open_ if snapshot.record(task).approvals]:
        said.append(f"{names(lost)}: approved no more, as the text is another one")
    again = [task for task in changed if snapshot.status(task) in (S.FAILED, S.CANCELLED)]
    if again:
        said.append(f"{names(again)}: the new text counts when it is tried again: retry")
    return Revision(
        added,
        removed,
        changed,
        tuple(forgotten),
        tuple(effects),
        (*_counted(added, removed, changed), *said),
        tuple(warnings),
    )


def _kept(old: Plan, new: Plan, record: TaskRecord) -> Mark:
    """Return the note of what a merged task gave, which the new text says no more."""
    task = record.id
    still = new.by_id[task].gives if task in new.by_id else ()
    before = (capability.name for capability in old.by_id[task].provides)
    gave = dict.fromkeys((*record.gave, *(name for name in before if fold(name) not in still)))
    return Mark(task, "task_kept", f"{task} is merged, and stays on flow", {"gave": tuple(gave)})


def _proof_differs(old: Task, new: Task) -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in PROOF)


def _counted(
    added: tuple[str, ...], removed: tuple[str, ...], changed: tuple[str, ...]
) -> Iterator[str]:
    for what, tasks in (("added", added), ("taken out", removed), ("changed", changed)):
        if tasks:
            yield f"{what}: {names(tasks)}"
    if not (added or removed or changed):
        yield "only what is said about the plan as a whole has changed"
