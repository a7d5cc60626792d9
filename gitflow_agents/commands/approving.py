"""Approvals, given and withdrawn: of exactly what somebody has seen, and of nothing later."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gitflow_agents.commands.common import decided, end_train, is_in_train
from gitflow_agents.commands.following import Decision, Effect, Ground, Mark, MarkPlan
from gitflow_agents.commands.targets import MOST_NAMED, select
from gitflow_agents.commands.words import Approve, Refused, Unapprove
from gitflow_agents.models import Approval, Status, TaskRecord

S = Status

LOOKING_SECONDS = 60.0
"""Seconds that somebody may take from what they see to what they say of it."""
History = Sequence[tuple[float, str]]
"""Commits that people were shown one after the other, each with its time since the epoch."""


def approve(command: Approve, ground: Ground) -> Decision:
    """Decide what is allowed, for exactly this commit and text."""
    snapshot = ground.snapshot
    state, plan = snapshot.state, snapshot.plan.plan
    given = partial(Approval, by=ground.actor, at=ground.now)
    if not command.targets or tuple(command.targets) == ("plan",):
        if snapshot.awaits() is None:
            waiting = [t for t in snapshot.plan.order if snapshot.awaits(t)]
            if waiting and not command.targets:
                some = " ".join(f"{plan}/{task}" for task in waiting[:MOST_NAMED])
                raise Refused(
                    "missing-argument",
                    f"{len(waiting)} tasks of {plan} wait for an approval, and none was named",
                    hint=f"approve {some}",
                )
            what = "is approved already" if state.approved else "needs no approval of its text"
            return Decision((), (f"plan {plan} {what}",))
        _same_commit(command.sha, state.commit, f"plan {plan}")
        if not command.sha:
            _was_seen(ground, _texts(ground), f"plan {plan}", f"{plan} --sha {state.commit[:12]}")
        yes = given(gate="plan", sha=state.commit, digest=state.digest)
        mark = MarkPlan("plan_approved", f"v{state.revision} approved", {"approved": yes})
        return Decision(
            (mark,), (f"plan {plan} v{state.revision} is approved",), f"unapprove {plan}"
        )
    chosen = select(snapshot, command.targets)
    done: list[Effect] = []
    told = []
    for task in chosen:
        gate = snapshot.awaits(task)
        if gate is None:
            continue
        sha, record = snapshot.approvable(task), snapshot.record(task)
        _same_commit(command.sha, sha, task)
        if not command.sha:
            shown, what = (_results(record), task) if sha else (_texts(ground), f"plan {plan}")
            again = f"{plan}/{task}" + (f" --sha {sha[:12]}" if sha else "")
            _was_seen(ground, shown, what, again)
        yes = given(gate=gate, sha=sha, digest=snapshot.plan.by_id[task].digest)
        kept = tuple(a for a in record.approvals if a.gate != gate)
        what = "may be merged" if gate == "merge" else "may start"
        done.append(Mark(task, "task_approved", f"{task} {what}", {"approvals": (*kept, yes)}))
        told.append(f"{task} {what}" + (f" as {sha[:12]}" if sha else ""))
    nothing = "nothing of what was named waits for an approval"
    tasks = [effect.task for effect in done if isinstance(effect, Mark)]
    return decided(snapshot, done, told, "unapprove", tasks, nothing)


def unapprove(command: Unapprove, ground: Ground) -> Decision:
    """Decide what is not allowed any more."""
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    by = f"withdrawn by {ground.who}"
    if not command.targets or tuple(command.targets) == ("plan",):
        if snapshot.state.approved is None:
            return Decision((), (f"plan {plan} is not approved",))
        withdrawn: dict[str, object] = {"approved": None, "unapproved": ground.now}
        mark = MarkPlan("plan_unapproved", f"approval {by}", withdrawn)
        said = f"plan {plan} is not approved any more; what runs goes on"
        return Decision((mark,), (said,), f"approve {plan}")
    chosen = select(snapshot, command.targets)
    given = [
        t for t in chosen if snapshot.record(t).approvals and snapshot.status(t) is not S.COMPLETED
    ]
    done: list[Effect] = list(end_train(snapshot)) if is_in_train(snapshot, given) else []
    withdrawn = {"approvals": (), "unapproved": ground.now}
    done += [Mark(t, "task_unapproved", f"approval of {t} {by}", withdrawn) for t in given]
    told = [f"{t} is not approved any more" for t in given]
    return decided(snapshot, done, told, "approve", given, "nothing of what was named is approved")


def _same_commit(wanted: str, here: str, what: str) -> None:
    """Refuse an approval that was meant for another commit."""
    if wanted and not here.startswith(wanted):
        is_at = f"is at {here[:12]} now" if here else "has no result yet"
        raise Refused("stale-approval", f"{what} {is_at}, not at {wanted[:12]}")


def seen(history: History, asked_at: float) -> str | None:
    """Return which commit somebody had before their eyes when they asked, empty where none was.

    None where nobody can say it: one took the place of another less than a minute before.
    """
    shown = [(at, sha) for at, sha in history if at <= asked_at]
    if (
        len(shown) > 1
        and shown[-1][0] > asked_at - LOOKING_SECONDS
        and shown[-2][1] != shown[-1][1]
    ):
        return None
    return shown[-1][1] if shown else ""


def _was_seen(ground: Ground, history: History, what: str, again: str) -> None:
    """Refuse an approval of what somebody on a forge may not have seen; it named no commit."""
    if ground.asked_at is None or not history:
        return
    before, here = seen(history, ground.asked_at), history[-1][1]
    if before == here:
        return
    how = "changed while that was asked"
    if before is not None:
        how = f"was at {before[:12]}, and is at {here[:12]} now" if before else "was not there yet"
    raise Refused("stale-approval", f"{what} {how}", hint=f"look again, then: approve {again}")


def _results(record: TaskRecord) -> History:
    """Return the results of a task that could be merged."""
    done = (one for one in record.attempts if one.outcome == "succeeded" and one.report)
    return [(one.shown_at or one.ended_at or 0.0, one.report) for one in done]


def _texts(ground: Ground) -> History:
    """Return the texts of the plan: this one, and the one before."""
    state = ground.snapshot.state
    if not state.revised_at:
        return [(state.accepted_at, state.commit)]
    return [(state.accepted_at, state.revised_from), (state.revised_at, state.commit)]
