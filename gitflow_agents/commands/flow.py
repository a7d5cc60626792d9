"""Commands that move the flow branch, decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gitflow_agents.commands.common import (
    end_train,
    held_plan,
    wrong_state,
)
from gitflow_agents.commands.following import (
    Decision,
    Follow,
    Ground,
    MergeNow,
    TakeBack,
)
from gitflow_agents.commands.targets import names, select
from gitflow_agents.commands.words import (
    Merge,
    Refused,
    Revert,
    Update,
)
from gitflow_agents.models import (
    Status,
)
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.transitions import Happened

S, E = Status, Happened


def merge(command: Merge, ground: Ground) -> Decision:
    """Decide what is merged now."""
    snapshot = ground.snapshot
    _flow_may_move(snapshot)
    if snapshot.state.held:
        raise held_plan(snapshot)
    words = command.targets or ("all",)
    chosen = select(snapshot, words)
    for task in chosen:
        if task in words and snapshot.status(task) not in (S.REVIEW, S.COMPLETED):
            raise wrong_state(snapshot, task, "only what is done, and in review, can be merged")
    waiting = [task for task in chosen if snapshot.status(task) is S.REVIEW]
    ready = []
    for task in waiting:
        refusal = _not_mergeable(snapshot, task, waiting)
        if refusal is None:
            ready.append(task)
        elif task in words:
            raise refusal
    if not ready:
        is_there = all(snapshot.status(task) is S.COMPLETED for task in chosen)
        return Decision((), ("everything named is merged already" if is_there else _NO_REVIEW,))
    plan, flow = snapshot.plan.plan, snapshot.state.flow
    undo = f"revert {' '.join(f'{plan}/{task}' for task in ready)} -m WHY"
    said = tuple(f"{task} is merged to {flow} if its tests pass" for task in ready)
    return Decision((MergeNow(tuple(ready)),), said, undo)


_NO_REVIEW = "nothing to merge: no task that was named is in review"


def _not_mergeable(snapshot: Snapshot, task: str, along: Sequence[str]) -> Refused | None:
    """Return why a task in review may not be merged, when `along` is merged with it."""
    target = f"{snapshot.plan.plan}/{task}"
    held = snapshot.record(task).held
    if held:
        return Refused("held", f"{task} is {held}", hint=f"resume {target}")
    if snapshot.awaits(task):
        return Refused("wrong-state", f"{task} waits for an approval", hint=f"approve {target}")
    missing = [
        need
        for need in snapshot.graph.requires[task]
        if need not in along and not snapshot.is_met(need)
    ]
    if missing:
        why = f"{task} needs {names(missing)}, which is not on {snapshot.state.flow}"
        return Refused("wrong-state", why, hint=f"explain {target}")
    return None


def update(command: Update, ground: Ground) -> Decision:
    """Decide whether the base is merged into flow."""
    snapshot = ground.snapshot
    if command.targets:
        raise Refused("bad-value", "update takes a plan and no task: it is about the whole of flow")
    _flow_may_move(snapshot)
    if snapshot.state.held:
        raise held_plan(snapshot)
    base, flow, tip = snapshot.state.base, snapshot.state.flow, ground.base_tip
    if not tip:
        raise Refused("wrong-state", f"there is no branch {base} here to bring into {flow}")
    if ground.has_base:
        return Decision((), (f"{base} is in {flow} already",))
    said = f"{base} ({tip[:12]}) is merged into {flow}"
    undo = f"git switch {flow} && git revert -m 1 HEAD && git switch -"
    return Decision((*end_train(snapshot), Follow(tip)), (said,), undo)


def revert(command: Revert, ground: Ground) -> Decision:
    """Decide which merges are taken back, and what stops because of it."""
    snapshot = ground.snapshot
    chosen = select(snapshot, command.targets)
    for task in chosen:
        was_merged = any(attempt.reverted for attempt in snapshot.record(task).attempts)
        is_off = snapshot.status(task) is not S.COMPLETED
        if task in command.targets and is_off and not was_merged:
            raise wrong_state(snapshot, task, "only what is merged can be reverted")
    asked = [task for task in chosen if snapshot.status(task) is S.COMPLETED]
    if not asked:
        is_one = all(word in snapshot.plan.order for word in command.targets)
        nothing = "everything named is reverted already" if is_one else "nothing of it is merged"
        return Decision((), (nothing,))
    _flow_may_move(snapshot)
    needing = _standing_on(snapshot, asked)
    merged = [t for t in needing if snapshot.status(t) is S.COMPLETED and t not in asked]
    gone = {*asked, *merged}
    said = [f"{task} is reverted, and waits again" for task in asked]
    for task in needing:
        needs = [need for need in snapshot.graph.requires[task] if need in gone]
        if task in merged:
            said.append(f"{task} is reverted with it: it needs {names(needs)}")
        elif snapshot.status(task) is S.IN_PROGRESS and needs:
            is_ours = snapshot.record(task).lease is not None
            done = "is stopped, and waits again" if is_ours else "is with a person, and goes on"
            said.append(f"{task} {done}: it needs {names(needs)}")
        elif snapshot.status(task) is S.REVIEW and needs:
            said.append(f"{task} is not merged, and waits again: it needs {names(needs)}")
    why = f"reverted by {ground.who}: {command.reason}"
    back = TakeBack(tuple(t for t in snapshot.plan.order if t in gone), why)
    return Decision((*end_train(snapshot), back), tuple(said), f"run {snapshot.plan.plan}")


def _standing_on(snapshot: Snapshot, tasks: Iterable[str]) -> list[str]:
    """Return what needs these tasks, over any number of links, in plan order.

    What a person declared to be there stands by itself, and so does what needs it.
    """
    found: set[str] = set()
    ahead = list(tasks)
    while ahead:
        for other in snapshot.graph.dependants[ahead.pop()]:
            if other not in found and not snapshot.record(other).provided_by:
                found.add(other)
                ahead.append(other)
    return sorted(found, key=snapshot.plan.order.__getitem__)


def _flow_may_move(snapshot: Snapshot) -> None:
    """Refuse what changes flow while nobody may move it."""
    flow, place = snapshot.state.flow, snapshot.seen.flow_checked_out
    if snapshot.seen.flow in ("missing", "forced"):
        raise held_plan(snapshot)
    if place:
        raise Refused(
            "wrong-state",
            f"{flow} is checked out in {place}, so it is not moved",
            hint=f"git -C '{place}' switch --detach",
        )
