"""Commands that end, start again, hold or allow something, decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitflow_agents.commands.common import (
    decided,
    end_train,
    ended,
    ends,
    explicit,
    held_plan,
    is_in_train,
    not_merged,
    running_tasks,
    wrong_state,
)
from gitflow_agents.commands.following import (
    Decision,
    Effect,
    Ground,
    Mark,
    MarkPlan,
    Move,
)
from gitflow_agents.commands.instead import instead
from gitflow_agents.commands.targets import select
from gitflow_agents.commands.words import (
    Hold,
    Refused,
    Reject,
    Resume,
    Retry,
    Skip,
    Start,
    Stop,
)
from gitflow_agents.graph import attempts_allowed
from gitflow_agents.models import (
    Guidance,
    Reason,
    Status,
    TaskRecord,
    person,
)
from gitflow_agents.scheduler import FLOW_TROUBLE, held_words
from gitflow_agents.transitions import Happened

S, E = Status, Happened


def stop(command: Stop, ground: Ground) -> Decision:
    """Decide what ends, and whether it waits, is cancelled, or the plan is closed."""
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    why = f"stopped by {ground.who}"
    if "plan" in command.targets:
        if len(command.targets) > 1:
            raise Refused("target-clash", "plan and a task cannot be named together")
        running = running_tasks(snapshot)
        fences: list[Effect] = [*ends(snapshot, running, why), *end_train(snapshot)]
        closed = MarkPlan("plan_closed", f"closed by {ground.who}", {"status": "closed"})
        return Decision((*fences, closed), (f"plan {plan} is closed", *ended(running)))
    if not command.targets:
        running = running_tasks(snapshot)
        fences = [*ends(snapshot, running, why), *end_train(snapshot)]
        before = snapshot.state.held
        if not fences and before:
            return Decision((), (f"nothing runs, and the plan is {held_words(before)}",))
        held = () if before else (MarkPlan("plan_held", f"held: {why}", {"held": why}),)
        said = (f"plan {plan} is {held_words(before) if before else 'held'}", *ended(running))
        return Decision((*fences, *held), said, f"resume {plan}")
    chosen = select(snapshot, command.targets)
    stopped = [t for t in chosen if snapshot.status(t) not in (S.COMPLETED, S.CANCELLED)]
    not_merged(snapshot, command.targets, chosen)
    done: list[Effect] = []
    if is_in_train(snapshot, stopped):
        done += end_train(snapshot)
    for task in stopped:
        done += [*ends(snapshot, [task], why), Move(task, E.TASK_CANCELLED, Reason.STOPPED, why)]
    told = [f"{task} is cancelled; what it did is kept" for task in stopped]
    return decided(snapshot, done, told, "retry", stopped, "everything named is ended already")


def retry(command: Retry, ground: Ground) -> Decision:
    """Decide which tasks are tried again, and with what they begin."""
    snapshot = ground.snapshot
    if command.repair and command.fresh:
        why = "--repair mends the former work, and --fresh leaves it out"
        raise Refused("bad-value", why)
    words = command.targets or command.default
    chosen = select(snapshot, words)
    not_merged(snapshot, words, chosen)
    for task in chosen:
        if task in words and snapshot.record(task).taken_by:
            who = person(snapshot.record(task).taken_by)
            mend = f"give {snapshot.plan.plan}/{task}"
            raise Refused("wrong-state", f"{task} is taken by {who}", hint=mend)
    explicit(snapshot, words, chosen, (S.IN_PROGRESS,), "is running", "stop {}")
    # What is done and waits to be merged is thrown away only for who names the very task.
    again = [
        t
        for t in chosen
        if snapshot.status(t) in (S.FAILED, S.CANCELLED)
        or (t in words and snapshot.status(t) is S.REVIEW)
    ]
    if command.cascade:
        needing = {t for task in again for t in snapshot.graph.descendants(task)}
        again += [
            t
            for t in sorted(needing, key=snapshot.plan.order.__getitem__)
            if snapshot.status(t) in (S.FAILED, S.CANCELLED) and t not in again
        ]
    done: list[Effect] = list(end_train(snapshot)) if is_in_train(snapshot, again) else []
    for task in again:
        record = snapshot.record(task)
        changes = {
            **_next_attempt(command, ground, record),
            "fresh": command.fresh,
            "provided_by": "",
            "not_before": 0.0,
            "lost": 0,
            "conflicts": 0,
        }
        done.append(Move(task, E.TASK_RETRIED, record.reason, record.message, changes))
    told = [
        f"{task} is tried again by the next run"
        + ("; the approval of its result ends" if snapshot.permission(task, "merge") else "")
        for task in again
    ]
    for task in chosen:
        record = snapshot.record(task)
        if record.status is not S.PENDING or not record.attempts:
            continue
        changes = _next_attempt(command, ground, record)
        if any(getattr(record, name) != value for name, value in changes.items()):
            how = "without the former work" if command.fresh else "as was said"
            note = f"the next attempt at {task} begins {how}"
            done.append(Mark(task, "retry_changed", note, changes))
            told.append(f"{task} waits already; {note}")
            again = [*again, task]
    nothing = "nothing to try again: no task of those named has failed or was cancelled"
    return decided(snapshot, done, told, "stop", again, nothing)


def _next_attempt(command: Retry, ground: Ground, record: TaskRecord) -> dict[str, Any]:
    """Return what a retry changes for a task's next attempt; Refused when it may have none."""
    snapshot, task = ground.snapshot, record.id
    allowed = attempts_allowed(snapshot.plan, task, ground.limits)
    granted = record.granted
    if record.used >= allowed + granted:
        if not command.force:
            raise Refused(
                "attempts-exhausted",
                f"{task} has used {record.used} of {allowed + granted} attempts",
                hint=f"retry {snapshot.plan.plan}/{task} --force gives it one more",
            )
        granted = record.used + 1 - allowed
    return {
        "granted": granted,
        "guidance": _guidance(command, ground, record),
        "instead": instead(command, ground, record),
        "fresh": (record.fresh or command.fresh) and not command.repair,
        "repair": (record.repair or command.repair) and not command.fresh,
    }


def _guidance(command: Retry, ground: Ground, record: TaskRecord) -> tuple[Guidance, ...]:
    """Return what people said of a task, and what this command says."""
    text, mode = command.guidance
    number = record.attempt.number if record.attempt else 0
    last = record.guidance[-1] if record.guidance else None
    if not text or (last and (last.text, last.mode, last.after_attempt) == (text, mode, number)):
        return record.guidance  # nothing is said, or it was said already
    said = Guidance(text=text, mode=mode, by=ground.actor, at=ground.now, after_attempt=number)
    return (*record.guidance, said)


def start(command: Start, ground: Ground) -> Decision:
    """Decide how many attempts a plan has at once; whoever asked lets a pass run."""
    state, plan = ground.snapshot.state, ground.snapshot.plan.plan
    if state.held:
        raise held_plan(ground.snapshot)
    wanted, now = command.max_parallel, f"a pass looks at plan {plan} now"
    if wanted in (None, state.parallel):
        return Decision((), (now,))
    said = f"{wanted} {'attempt' if wanted == 1 else 'attempts'} at once, from now on"
    mark = MarkPlan("plan_limited", said, {"parallel": wanted})
    undo = f"start {plan} -j {state.parallel}" if state.parallel else ""
    return Decision((mark,), (said, now), undo)


def hold(command: Hold, ground: Ground) -> Decision:
    """Decide what is neither started nor merged."""
    snapshot = ground.snapshot
    why = f"held by {ground.who}" + (f": {command.reason}" if command.reason else "")
    if not command.targets or tuple(command.targets) == ("all",):
        if snapshot.state.held:
            return Decision((), (f"the plan is {held_words(snapshot.state.held)} already",))
        plan = snapshot.plan.plan
        mark = MarkPlan("plan_held", why, {"held": why})
        return Decision((mark,), (f"plan {plan} is held; what runs goes on",), f"resume {plan}")
    chosen = select(snapshot, command.targets)
    not_merged(snapshot, command.targets, chosen)
    fresh = [
        t for t in chosen if not snapshot.record(t).held and snapshot.status(t) is not S.COMPLETED
    ]
    done: list[Effect] = [Mark(t, "task_held", f"{t} {why}", {"held": why}) for t in fresh]
    said = [f"{t} is held: it is neither started nor merged" for t in fresh]
    return decided(snapshot, done, said, "resume", fresh, "everything named is held already")


def resume(command: Resume, ground: Ground) -> Decision:
    """Decide what goes on."""
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    by = f"resumed by {ground.who}"
    is_all = not command.targets or tuple(command.targets) == ("all",)
    chosen = list(snapshot.plan.order) if is_all else select(snapshot, command.targets)
    held = [t for t in chosen if snapshot.record(t).held]
    done: list[Effect] = [Mark(t, "task_resumed", f"{t} {by}", {"held": ""}) for t in held]
    said = [f"{t} goes on" for t in held]
    if is_all and snapshot.state.held:
        reason, there = snapshot.state.held, _still(ground.still)
        if reason.startswith(FLOW_TROUBLE):  # a pass has just looked: it is not mended
            said_, _, mend = reason.rpartition(": ")
            raise Refused("held", f"plan {plan} is held: {said_}", hint=mend)
        done.insert(0, MarkPlan("plan_resumed", f"{by}{there}", {"held": ""}))
        said.insert(0, f"plan {plan} goes on; it was {held_words(reason)}{there}")
        return Decision(tuple(done), tuple(said), f"hold {plan}")
    return decided(snapshot, done, said, "hold", held, "nothing of it is held")


def _still(files: Mapping[str, bool]) -> str:
    """Return in words whether what held a plan is still so, where that can be told."""
    left = [path for path, is_so in files.items() if is_so]
    if left:
        return f"; {' and '.join(left)} {'are' if left[1:] else 'is'} still so"
    return "; that is put back" if files else ""


def reject(command: Reject, ground: Ground) -> Decision:
    """Decide which results are refused."""
    snapshot = ground.snapshot
    chosen = select(snapshot, command.targets)
    for task in chosen:
        status = snapshot.status(task)
        if status is S.FAILED and snapshot.record(task).reason is Reason.REJECTED:
            continue
        if status is not S.REVIEW:
            raise wrong_state(snapshot, task, "only what is done and not merged can be rejected")
    waiting = [task for task in chosen if snapshot.status(task) is S.REVIEW]
    done: list[Effect] = list(end_train(snapshot)) if is_in_train(snapshot, waiting) else []
    for task in waiting:
        record = snapshot.record(task)
        number = record.attempt.number if record.attempt else 0
        said = Guidance(
            text=command.reason,
            mode="append",
            by=ground.actor,
            at=ground.now,
            after_attempt=number,
        )
        message = f"rejected by {ground.who}: {command.reason}"
        changes = {"guidance": (*record.guidance, said)}
        done.append(Move(task, E.MERGE_REFUSED, Reason.REJECTED, message, changes))
    told = [f"{task} is rejected" for task in waiting]
    return decided(snapshot, done, told, "retry", waiting, "everything named is rejected already")


def skip(command: Skip, ground: Ground) -> Decision:
    """Decide which tasks are left out."""
    snapshot = ground.snapshot
    chosen = select(snapshot, command.targets)
    not_merged(snapshot, command.targets, chosen)
    by = ground.actor if command.provides else ""
    left = [
        t
        for t in chosen
        if snapshot.status(t) is not S.COMPLETED
        and not (_is_skipped(snapshot.record(t)) and snapshot.record(t).provided_by == by)
    ]
    done: list[Effect] = list(end_train(snapshot)) if is_in_train(snapshot, left) else []
    message = f"skipped by {ground.who}: {command.reason}"
    for task in left:
        done += ends(snapshot, [task], message)
        done.append(Move(task, E.TASK_SKIPPED, Reason.SKIPPED, message, {"provided_by": by}))
    rest = "what it provides counts as there" if by else "what needs it stays blocked"
    said = [f"{task} is skipped; {rest}" for task in left]
    return decided(snapshot, done, said, "retry", left, "everything named is skipped already")


def _is_skipped(record: TaskRecord) -> bool:
    return record.status is S.CANCELLED and record.reason is Reason.SKIPPED
