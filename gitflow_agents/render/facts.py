"""What follows from a snapshot and is shown in more than one view.

Start with `waiting`: what goes on only when a person does something.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitflow_agents.graph import schedule
from gitflow_agents.handoff import letter_of
from gitflow_agents.models import (
    LOCAL,
    Asked,
    Ending,
    Instead,
    Limits,
    Question,
    Remark,
    Status,
    Task,
    TaskRecord,
    fold,
    person,
)
from gitflow_agents.render.text import (
    clean,
    count,
    duration,
    fit,
    ids,
    one_line,
    short,
    utc,
    wrapped,
)
from gitflow_agents.scheduler import (
    FLOW_TROUBLE,
    PARALLEL,
    Snapshot,
    has_attempts,
    held_words,
    is_ahead,
    may_retry,
    piled_up,
    plan_status,
    spent,
)

# Looking a member up on its class is slow in 3.11, and these are asked for once a task.
_PENDING, _COMPLETED = Status.PENDING, Status.COMPLETED
WORDS = {status: status.value.replace("_", " ") for status in Status}
"""The statuses as people read them."""
LOST = "lost: its run died; `run` takes it over"
"""How an attempt stands whose process is gone."""


# --- how far -------------------------------------------------------------------------------------


def percent(snapshot: Snapshot) -> int:
    """Return how many per cent of the tasks are merged, rounded down; 100 is only all of them."""
    total = len(snapshot.plan.tasks) - len(snapshot.by_status[Status.CANCELLED])
    return 100 * len(snapshot.by_status[_COMPLETED]) // total if total else 100


def counts_line(snapshot: Snapshot) -> str:
    """Return the counts of a plan's statuses: `2 completed, 1 in progress, 4 pending (1 ready)`."""
    order = (
        _COMPLETED,
        Status.IN_PROGRESS,
        Status.REVIEW,
        Status.FAILED,
        Status.CANCELLED,
        _PENDING,
    )
    parts = []
    for which in order:
        if number := len(snapshot.by_status[which]):
            word = f"in {WORDS[which]}" if which is Status.REVIEW else WORDS[which]
            dead = len(lost(snapshot)) if which is Status.IN_PROGRESS else 0
            parts.append(f"{number} {word}" + (f" ({dead} lost)" if dead else ""))
    if snapshot.by_status[_PENDING]:
        parts[-1] += f" ({len(snapshot.frontier.ready)} ready)"
    return ", ".join(parts) or "none"


def lost(snapshot: Snapshot) -> list[str]:
    """Return the tasks in progress whose run died, as far as somebody looked, in plan order."""
    dead = snapshot.seen.lost & snapshot.by_status[Status.IN_PROGRESS]
    return sorted(dead, key=snapshot.plan.order.__getitem__)


def is_lost(snapshot: Snapshot, task: str) -> bool:
    """Say whether a task is in progress and its run died."""
    return task in snapshot.seen.lost and task in snapshot.by_status[Status.IN_PROGRESS]


def is_still(snapshot: Snapshot) -> bool:
    """Say whether nobody works on anything: no attempt, no train."""
    no_train = snapshot.state.train is None or snapshot.seen.train == "lost"
    return no_train and snapshot.by_status[Status.IN_PROGRESS] <= snapshot.seen.lost


def word(snapshot: Snapshot, task: str) -> str:
    """Return a task's status for people: a pending task that can start is `ready`."""
    record = snapshot.records.get(task)
    if record is not None and record.open_question:
        return "asks"
    if record is None or record.status is _PENDING:
        return "pending" if snapshot.frontier.unmet(task) else "ready"
    if record.taken_by:
        return "taken"
    return "lost" if is_lost(snapshot, task) else WORDS[record.status]


def waits_for(snapshot: Snapshot, task: str, width: int = 24) -> str:
    """Return in a few words what a task waits for: ids, whole ones only, or whom."""
    record = snapshot.record(task)
    if record.open_question:
        return "your answer"
    if record.status is _PENDING:
        blocked = ids(blockers_of(snapshot, task), width)
        if not blocked and record.held:
            return "resume: it is held"
        return blocked or ("your approval" if snapshot.awaits(task) or snapshot.awaits() else "")
    if snapshot.awaits(task):
        return "your approval"
    if record.status is Status.REVIEW:
        return "resume: it is held" if record.held else "the train"
    if record.taken_by:
        return fit(person(record.taken_by), width)
    if is_lost(snapshot, task):
        return "run: its run died"
    if record.status in (Status.FAILED, Status.CANCELLED):
        return str(record.reason or "")
    return ""


def blockers_of(snapshot: Snapshot, task: str) -> tuple[str, ...]:
    """Return the direct prerequisites of a task that are not met, in plan order."""
    return tuple(need for need in snapshot.graph.requires[task] if not snapshot.is_met(need))


def worked(snapshot: Snapshot, task: str) -> float:
    """Return the seconds that all ended attempts at a task took together."""
    return sum(
        max(0.0, attempt.ended_at - attempt.started_at)
        for attempt in snapshot.record(task).attempts
        if attempt.ended_at is not None
    )


def estimated(task: Task) -> str:
    """Return a task's estimate as it is written, a bare number with its unit; "" for none."""
    said = one_line(str(task.estimated_time or ""))
    return f"{said} minutes" if said.replace(".", "", 1).isdigit() else said


def tip(record: TaskRecord | None) -> str | None:
    """Return the commit that a task's newest attempt made or began from, if there is one."""
    if record is None:
        return None
    return (record.attempt.tip if record.attempt else "") or record.claim or None


def when(seconds: float | None) -> str | None:
    """Return a time as UTC text; None stays None, and so does a time that was never set."""
    return utc(seconds) if seconds else None


def cost(record: TaskRecord | None) -> float | None:
    """Return what a task's attempts reported to have cost together, None if none did."""
    costs = [a.cost_usd for a in (record.attempts if record else ()) if a.cost_usd is not None]
    return sum(costs) if costs else None


def lacking(snapshot: Snapshot, task: Task) -> list[str]:
    """Return what a task needs that is not on flow: capabilities as written, then plain ids."""
    graph = snapshot.graph
    names = [
        text
        for text in task.preconditions
        if fold(text) not in graph.given
        and not snapshot.is_met(graph.providers.get(fold(text), ""))
    ]
    return names + [other for other in task.depends_on if not snapshot.is_met(other)]


@dataclass(frozen=True)
class OnFlow:
    """A capability on flow; `task` and `merge` gave it, or the earlier plan `plan` did.

    `declared_by` is who said that what a skipped task provides is there.
    """

    name: str
    task: str = ""
    merge: str = ""
    plan: str = ""
    declared_by: str = ""


def on_flow(snapshot: Snapshot, given_by: Mapping[str, str] | None = None) -> Iterator[OnFlow]:
    """Yield the capabilities on flow: the plan's own in plan order, then what was given.

    `given_by` names the earlier plan of each folded capability, where it is known.
    """
    own = set()
    for task in snapshot.plan.tasks:
        if snapshot.is_met(task.id):
            record = snapshot.record(task.id)
            merge, said = record.merge, person(record.provided_by)
            for capability in task.provides:
                own.add(fold(capability.name))
                yield OnFlow(capability.name, task.id, merge, declared_by=said)
    for record in snapshot.records.values():
        for name in record.gave if record.status is _COMPLETED else ():
            if fold(name) not in own:
                own.add(fold(name))
                yield OnFlow(name, record.id, record.merge)
    for name in sorted(snapshot.given - own):
        yield OnFlow(name, plan=(given_by or {}).get(name, ""))


# --- how a task stands ---------------------------------------------------------------------------


def sentence(snapshot: Snapshot, task: str, now: float) -> str:
    """Return in a sentence without its subject how a task stands."""
    record = snapshot.record(task)
    attempt = record.attempt
    match record.status:
        case Status.IN_PROGRESS if is_lost(snapshot, task):
            return f"is {LOST}"
        case Status.IN_PROGRESS if attempt is not None and record.taken_by:
            since = duration(now - attempt.started_at)
            return f"is taken by {person(record.taken_by)}, for {since}, on {record.branch}."
        case Status.IN_PROGRESS if attempt is not None:
            since = duration(now - attempt.started_at)
            return f"is in progress: attempt {attempt.number}, for {since}."
        case Status.IN_PROGRESS:
            return "is in progress."
        case Status.REVIEW:
            train = snapshot.state.train
            if train is not None and any(car.task == task for car in train.cars):
                return "is done; its merge is being tested."
            return "is done and waits to be merged."
        case Status.COMPLETED:
            return f"is completed, merged as {short(record.merge)}"
        case Status.FAILED | Status.CANCELLED:
            reason = f" ({record.reason})" if record.reason else ""
            said = f": {last}" if (last := last_line(record)) else ""
            after = "; it is tried again by itself" if retries_by_itself(snapshot, task) else ""
            return f"{record.status}{reason}{after}{said}"
    if asked := record.open_question:
        return f"waits for an answer to attempt {asked.attempt}: {fit(asked.text, 300)}"
    blocking = blockers_of(snapshot, task)
    if blocking:
        return f"is pending and waits for {count(len(blocking), 'task')}: {ids(blocking, 40)}"
    if snapshot.frontier.unmet(task):
        return "is pending and waits for what nobody provides."
    if is_ahead(record.not_before, now):
        return f"is ready, and is tried again at {utc(record.not_before)}"
    return "is ready: nothing blocks it, it starts when there is a free slot."


def what_next(snapshot: Snapshot, task: str) -> list[str]:
    """Return the line with the next command for a task that waits for a person, else nothing."""
    if asked := snapshot.record(task).open_question:
        lines = wrapped("; ".join(choices(asked)), "  ", "  ") if choices(asked) else []
        return [*lines, f"      $ {to_answer(snapshot.plan.plan, task, asked)}"]
    if snapshot.status(task) is Status.FAILED and not retries_by_itself(snapshot, task):
        return [f"      $ {next_command(snapshot, task)}"]
    if is_lost(snapshot, task):
        return [f"      $ gitflow-agents run {snapshot.plan.plan}"]
    return []


# --- what retries said of who does it -------------------------------------------------------------


def instead_of(snapshot: Snapshot, task: str) -> Instead | None:
    """Return what a retry said of who does a task, if it holds for the text as it is now."""
    said = snapshot.record(task).instead
    return said if said and said.digest == snapshot.plan.by_id[task].digest else None


def instead_line(said: Instead) -> str:
    """Return in words who does the next attempts, and within what: `codex, $5, 45m (bob)`."""
    model = f"model {one_line(said.model)}" if said.model else ""
    budget = f"${said.budget_usd:g}" if said.budget_usd is not None else ""
    time = one_line(said.timeout) if said.timeout is not None else ""
    told = ", ".join(part for part in (said.agent, model, budget, time) if part)
    return f"{told} ({one_line(person(said.by))})"


def instead_json(said: Instead | None) -> dict[str, Any] | None:
    """Return the same as an object, or None where no retry said it."""
    if said is None:
        return None
    told = said.model_dump(mode="json", exclude={"digest", "by", "at"})
    return {**told, "by": person(said.by), "at": when(said.at)}


# --- what agents ask ------------------------------------------------------------------------------


def choices(asked: Question) -> list[str]:
    """Return the options of a question with their letters, and what its agent would take."""
    lines = [f"{letter_of(at)}: {one_line(option)}" for at, option in enumerate(asked.options)]
    if asked.type != "string":
        lines.append(f"the answer is a {asked.type}")
    if asked.pattern:
        lines.append(f"the answer matches {one_line(asked.pattern)}")
    if asked.default is not None:
        lines.append(f"it would take: {one_line(asked.default)}")
    return lines


ANSWERS = ("rocket", "heart", "hooray", "laugh", "eyes")
"""Signs that stand for the options of a question, in their order; further ones have none."""
YES, NO = "+1", "-1"
SHOWN: Mapping[str, str] = {
    "rocket": "\N{ROCKET}",
    "heart": "\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}",
    "hooray": "\N{PARTY POPPER}",
    "laugh": "\N{SMILING FACE WITH OPEN MOUTH AND SMILING EYES}",
    "eyes": "\N{EYES}",
    YES: "\N{THUMBS UP SIGN}",
    NO: "\N{THUMBS DOWN SIGN}",
}
"""What people see of a sign."""


def meanings(asked: Question) -> dict[str, str]:
    """Return what signs under a question answer, in the words of `answer`; none for free text."""
    if asked.options:
        return dict(zip(ANSWERS, asked.options, strict=False))
    return {YES: "true", NO: "false"} if asked.type == "boolean" and not asked.pattern else {}


def to_answer(plan: str, task: str, asked: Question) -> str:
    """Return what a person types to answer."""
    if not asked.options:
        return f'gitflow-agents answer {plan}/{task} -m "..."'
    known = asked.options.index(asked.default) if asked.default in asked.options else 0
    return f"gitflow-agents answer {plan}/{task} {letter_of(known)}"


def answer_line(asked: Asked) -> str:
    """Return in words what became of a question."""
    if not asked.answered_at:
        return "not answered yet"
    who, at = one_line(person(asked.answered_by)), utc(asked.answered_at)
    said = one_line(asked.answer) if asked.answer else "left to the agent"
    return f"{said}{f' ({one_line(asked.note)})' if asked.note else ''}, by {who} {at}"


def question_json(asked: Asked) -> dict[str, Any]:
    """Return a question and its answer as an object; what is not known is null."""
    return {
        "text": asked.text,
        "options": list(asked.options),
        "default": asked.default,
        "type": asked.type,
        "pattern": asked.pattern,
        "attempt": asked.attempt,
        "asked_at": when(asked.at),
        "answer": asked.answer or None,
        "note": asked.note or None,
        "answered_by": person(asked.answered_by) if asked.answered_by else None,
        "answered_at": when(asked.answered_at),
    }


# --- what was said to agents ---------------------------------------------------------------------


def remark_line(remark: Remark) -> str:
    """Return in words who said something, and whether an agent was told."""
    who = one_line(person(remark.by)) + (" (system)" if remark.kind == "system" else "")
    which = f"attempt {remark.attempt}"
    if remark.delivered_at:
        offered = f"offered {utc(remark.offered_at)}, " if remark.offered_at else ""
        return f"{who}: {offered}delivered to {which} {utc(remark.delivered_at)}"
    if remark.offered_at:
        return f"{who}: offered to {which} {utc(remark.offered_at)}, not delivered yet"
    return f"{who}: not delivered yet"


def said_lately(snapshot: Snapshot) -> list[tuple[str, Remark]]:
    """Return what was said to the agents of unfinished tasks, by task, what waits to be told first.

    Of each task it is what nobody was told yet, and what the attempt that runs was told.
    """
    found = []
    for task, record in snapshot.records.items():
        is_running = record.lease is not None and record.attempt is not None
        number = record.attempt.number if is_running and record.attempt else 0
        if record.status not in (_COMPLETED, Status.CANCELLED):
            found += [
                (task, one) for one in record.feedback if one.is_pending or one.attempt == number
            ]
    order = snapshot.plan.order
    return sorted(found, key=lambda each: (not each[1].is_pending, order.get(each[0], len(order))))


def remark_json(remark: Remark) -> dict[str, Any]:
    """Return what was said as an object; times are UTC, what has not happened is null."""
    return {
        "by": person(remark.by),
        "kind": remark.kind,
        "text": remark.text,
        "at": when(remark.at),
        "attempt": remark.attempt or None,
        "offered_at": when(remark.offered_at),
        "delivered_at": when(remark.delivered_at),
    }


# --- what waits for a person ----------------------------------------------------------------------


@dataclass(frozen=True)
class Waiting:
    """One thing that goes on only when a person does something: what, why, and which commands."""

    what: str
    why: str = ""
    commands: tuple[str, ...] = ()


def lasting(snapshot: Snapshot) -> list[Ending]:
    """Return the runs that were to end long ago, or cannot be ended."""
    return [one for one in snapshot.state.ending if one.told or one.refused]


def waiting(snapshot: Snapshot, limits: Limits, now: float, *, file: str = "") -> Iterator[Waiting]:
    """Yield what waits for a person, the plan's own troubles first, then tasks in plan order.

    `file` is the plan's file where it has not been accepted yet.
    """
    name, state = snapshot.plan.plan, snapshot.state
    run = f"gitflow-agents run {name}"
    status = plan_status(snapshot, limits, now)
    for one in lasting(snapshot):
        yield Waiting(f"run {one.run} was stopped and has not ended", one_line(one.refused))
    if status in ("landed", "closed"):
        return
    if not snapshot.tip:
        path = file or f"plans/{name}.yaml"
        yield Waiting("nothing was started yet", commands=(f"gitflow-agents run {path}",))
        return
    if snapshot.awaits():
        slots = limits.parallel or PARALLEL
        length = duration(60 * schedule(snapshot.plan, snapshot.graph, slots).makespan)
        waves = count(len(set(snapshot.graph.wave.values())), "wave")
        tasks = count(len(snapshot.plan.tasks), "task")
        why = f"{tasks} across {waves}, about {length} with {slots} at once"
        if whom := from_whom(snapshot):
            why = f"from {whom}, for {state.commit[:12]}: {why}"
        look = f"gitflow-agents show {name}"
        doubt = f" ({one_line(state.doubt)})" if state.doubt else ""
        yield Waiting(
            f"v{state.revision} of the plan needs your approval{doubt}",
            why,
            (look, f"gitflow-agents approve {name}"),
        )
    for task in snapshot.plan.order:
        if gate := snapshot.awaits(task):
            if gate == "task" and (snapshot.awaits() or snapshot.frontier.unmet(task)):
                continue
            what = "may start" if gate == "task" else "may be merged"
            sha = snapshot.approvable(task)
            approve = f"gitflow-agents approve {name}/{task}"
            look = f"gitflow-agents diff {name}/{task}"
            typed = [look, f"{approve} --sha {sha[:12]}"] if sha else [approve]
            pull = snapshot.record(task).pull if gate == "merge" else 0
            whom = from_whom(snapshot, task)
            told = [f"from {whom}" if whom else "", f"in pull request {pull}, or" if pull else ""]
            where = ", ".join(filter(None, told))
            yield Waiting(f"{task} {what} only with your approval", where, tuple(typed))
    if state.refused:
        what = f"the new text on plan/{name} was refused"
        yield Waiting(what, one_line(state.refusal), (f"gitflow-agents validate {name}",))
    if state.held:
        why, commands = _with_command(state.held)
        is_trouble = state.held.startswith(FLOW_TROUBLE)
        lift = run if is_trouble else f"gitflow-agents resume {name}"
        yield Waiting(f"the plan is {held_words(why)}", commands=(*commands, lift))
    elif status == "waiting" and not snapshot.records and not snapshot.awaits():
        yield Waiting("nothing was started yet", commands=(run,))
    elif where := snapshot.seen.flow_checked_out:
        what = f"{state.flow} is checked out in {where}, so nothing is merged"
        yield Waiting(what, commands=(f"git -C {shlex.quote(where)} switch --detach", run))
    if state.undispatched:
        why = one_line(state.undispatched)
        yield Waiting("no runs are started", why, ("gitflow-agents doctor",))
    if state.setback:
        yield Waiting("what was asked for did not come about", one_line(state.setback))
    if (dead := lost(snapshot)) and is_still(snapshot):
        yield Waiting(f"{ids(dead, 40)} {'are' if dead[1:] else 'is'} {LOST}", commands=(run,))
    used_up = spent(snapshot, limits)
    if used_up and snapshot.by_status[_PENDING]:
        if spent(snapshot, snapshot.plan.limits):
            why = "the plan says so; put what is left into a plan of its own"
            yield Waiting(used_up, why, (f"gitflow-agents new {name[:61]}-2",))
        else:
            yield Waiting(used_up, "the config says so; raise it there, then", (run,))
    is_stuck = status == "waiting" and snapshot.by_status[_PENDING]
    if is_stuck and (many := piled_up(snapshot, limits)):
        yield Waiting(many, "no other task starts before one is")
    for task in sorted(snapshot.taken, key=snapshot.plan.order.__getitem__):
        who, branch = person(snapshot.record(task).taken_by), snapshot.record(task).branch
        done = f"gitflow-agents submit {name}/{task}"
        get = () if snapshot.authority == LOCAL else (f"git fetch {snapshot.authority}",)
        commands = (*get, f"git switch {branch}", done)
        yield Waiting(f"{task} is taken by {who}", commands=commands)
    for task in sorted(snapshot.asking, key=snapshot.plan.order.__getitem__):
        if asked := snapshot.record(task).open_question:
            what = f"{task} asks: {fit(asked.text, 500)}"
            yield Waiting(what, "; ".join(choices(asked)), (to_answer(name, task, asked),))
    failed = snapshot.by_status[Status.FAILED]
    for task in sorted(failed, key=snapshot.plan.order.__getitem__):
        if not retries_by_itself(snapshot, task, limits):
            record = snapshot.record(task)
            reason = f" ({record.reason})" if record.reason else ""
            commands = (next_command(snapshot, task), _retry_command(snapshot, task, limits))
            is_told = record.message and record.message in snapshot.state.held
            why = "it did what holds the plan" if is_told else last_line(record)
            yield Waiting(f"{task} failed{reason}", why, commands)
    for task in _worn_out(snapshot, limits):
        used = count(snapshot.record(task).used, "attempt")
        commands = (next_command(snapshot, task), _retry_command(snapshot, task, limits))
        yield Waiting(f"{task} may not be tried again", f"{used} used up", commands)
    held = [task for task in snapshot.plan.order if is_held(snapshot, task)]
    for task in held:
        why = held_words(one_line(snapshot.record(task).held))
        yield Waiting(f"{task} is {why}", commands=(f"gitflow-agents resume {name}/{task}",))
    if status == "blocked" and not used_up and not held:
        stuck = sorted(snapshot.by_status[_PENDING], key=snapshot.plan.order.__getitem__)
        if stuck:
            what = f"{count(len(stuck), 'task')} can never start"
            yield Waiting(what, commands=(f"gitflow-agents explain {name}/{stuck[0]}",))


def taken_by(snapshot: Snapshot) -> str:
    """Return who took which tasks, in words: `2 (alice), 3 (bob)`."""
    tasks = sorted(snapshot.taken, key=snapshot.plan.order.__getitem__)
    some = [f"{task} ({person(snapshot.record(task).taken_by)})" for task in tasks[:5]]
    return ", ".join(some) + (f" and {len(tasks) - 5} more" if tasks[5:] else "")


def from_whom(snapshot: Snapshot, task: str = "") -> str:
    """Return in words who can approve the plan, or a task of it, on the forge that tells of it.

    Empty where there is no forge: then it is whoever is at a terminal.
    """
    if snapshot.state.home is None:
        return ""
    whom = _from_whom(snapshot, task)
    gate = snapshot.awaits(task)
    asked = snapshot.state.asked_for.get(f"{gate} {task}" if task else "plan")
    if asked is None or not asked.run or gate is None:
        return whom
    if asked.refused:
        return f"{whom} (environment {asked.environment}: {one_line(asked.refused)})"
    return f"{whom}, or in environment {asked.environment}: {asked.url}"


def _from_whom(snapshot: Snapshot, task: str) -> str:
    from gitflow_agents import permission  # it takes long, and is needed where somebody waits

    named, level = frozenset[str](), snapshot.approver or permission.APPROVING
    if task:
        named, level = permission.approvers(snapshot, task, snapshot.approver)
    if not named:
        return f"anybody with {level}"
    people = sorted(name for name in named if name != permission.CODEOWNERS)
    told = [f"team {name}" if "/" in name else name for name in people]
    if permission.CODEOWNERS in named:
        told.append("the owners of its files")
    return f"{' or '.join(told)} with {level}"


def approvals(snapshot: Snapshot) -> str:
    """Return in words, for a sentence about the plan, what of it waits for approvals."""
    said = {*snapshot.plan.approval, *snapshot.approval}
    said |= {gate for task in snapshot.plan.tasks for gate in task.approval}
    if any(snapshot.is_for_review(task.id) for task in snapshot.plan.tasks):
        said.add("merge")
    if snapshot.state.doubt:
        said.add("plan")
    if not said:
        return "runs by itself, without approvals"
    words = {"plan": "its text", "task": "each start", "merge": "each merge"}
    some = [words[gate] for gate in ("plan", "task", "merge") if gate in said]
    alone = ", also from who wrote or started it" if snapshot.by_oneself else ""
    return f"waits for an approval of {' and '.join(some)}{alone}"


def retries_by_itself(snapshot: Snapshot, task: str, limits: Limits | None = None) -> bool:
    """Say whether a failed task is tried again without a person, now or later."""
    return may_retry(snapshot, task, math.inf, limits or snapshot.plan.limits)


def _with_command(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a sentence without the command at its end, and that command."""
    said, _, last = one_line(text).rpartition(": ")
    if said and last.startswith(("git ", "gitflow-agents ")):
        return said, (last,)
    return one_line(text), ()


def _worn_out(snapshot: Snapshot, limits: Limits) -> list[str]:
    """Return the ready tasks that are not started because their attempts are used up."""
    pending = snapshot.by_status[_PENDING]
    return [
        task
        for task in snapshot.plan.order
        if task in snapshot.records
        and task in pending
        and not has_attempts(snapshot, task, limits)
        and not snapshot.frontier.unmet(task)
    ]


def is_held(snapshot: Snapshot, task: str) -> bool:
    """Say whether a hold of its own keeps a task from being started or merged."""
    record = snapshot.records.get(task)
    return record is not None and bool(record.held) and record.status in _HOLDABLE


_HOLDABLE = (Status.PENDING, Status.IN_PROGRESS, Status.REVIEW)


def _retry_command(snapshot: Snapshot, task: str, limits: Limits) -> str:
    force = "" if has_attempts(snapshot, task, limits) else " --force"
    return f"gitflow-agents retry {snapshot.plan.plan}/{task}{force}"


def next_command(snapshot: Snapshot, task: str) -> str:
    """Return what a person types next about a task."""
    return f"gitflow-agents show {snapshot.plan.plan}/{task}"


def last_line(record: TaskRecord) -> str:
    """Return the last line of a task's message that says anything."""
    lines = [line for line in clean(record.message).split("\n") if line.strip()]
    return fit(lines[-1], 300) if lines else ""
