"""Where a plan stands: what waits for a person, what can start, and every task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from typing import Any

from gitflow_agents.graph import estimate
from gitflow_agents.models import (
    LOCAL,
    SCHEMA,
    Asked,
    Event,
    Limits,
    Reason,
    Status,
    Task,
    TaskRecord,
    person,
)
from gitflow_agents.render.facts import (
    WORDS,
    approvals,
    blockers_of,
    cost,
    counts_line,
    instead_line,
    instead_of,
    is_lost,
    is_still,
    lacking,
    on_flow,
    percent,
    question_json,
    remark_json,
    remark_line,
    said_lately,
    tip,
    waiting,
    waits_for,
    when,
    word,
    worked,
)
from gitflow_agents.render.text import (
    WIDTH,
    cell,
    code,
    count,
    duration,
    fence,
    fit,
    ids,
    money,
    one_line,
    screen,
    short,
    table,
    titled,
    utc,
    wrapped,
)
from gitflow_agents.scheduler import Snapshot, plan_status

# Looking a member up on its class is slow in 3.11, and these are asked for once a task.
_PENDING, _COMPLETED = Status.PENDING, Status.COMPLETED

PLAN_STATUSES = (
    "waiting",
    "running",
    "held",
    "blocked",
    "failed",
    "finished",
    "landed",
    "closed",
)

MOST_WAITING = 20
"""Tasks named one by one above a status; the rest are counted."""
MOST_LEAVES = 20
"""Branches in the tree."""
MOST_REMARKS = 10
"""What was said to agents, above which it is counted."""


def _waiting_lines(
    snapshot: Snapshot, limits: Limits, now: float, file: str, landing: Sequence[str] | None
) -> Iterator[str]:
    found = list(waiting(snapshot, limits, now, file=file))
    how_many = count(len(found), "thing") if found else "nothing"
    yield f"Waiting for you: {how_many} (the plan {approvals(snapshot)})"
    for thing in found[:MOST_WAITING]:
        yield from wrapped(f"{thing.what}{': ' if thing.why else ''}{thing.why}", "  ", "    ")
        yield from (f"      $ {command}" for command in thing.commands)
    if len(found) > MOST_WAITING:
        yield f"  … and {len(found) - MOST_WAITING} more"
    state = snapshot.state
    if not found and is_to_land(snapshot):
        commands = (f"git merge {state.flow}",) if landing is None else landing
        if commands:
            yield f"  to take the result over into {state.base}:"
        else:
            yield f"  the result is on {state.base}"
        yield from (f"      $ {command}" for command in commands)
    run = f"gitflow-agents run {snapshot.plan.plan}"
    is_asked = any(run in thing.commands for thing in found)
    if not is_asked and is_still(snapshot) and plan_status(snapshot, limits, now) == "running":
        yield "  nothing is at work just now; to go on:"
        yield f"      $ {run}"


def is_to_land(snapshot: Snapshot) -> bool:
    """Say whether a plan is finished, and nobody has noted that its result was taken over."""
    return snapshot.state.status == "finished" and snapshot.is_over


# --- status ---------------------------------------------------------------------------------------


def status(
    snapshot: Snapshot,
    limits: Limits,
    now: float,
    *,
    tasks: Sequence[str] = (),
    file: str = "",
    landing: Sequence[str] | None = None,
) -> str:
    """Return where a plan stands, beginning with what waits for a person.

    `now` is in seconds since the epoch; `tasks` are those to list, none for all; `file` is the
    plan's file where it has not been accepted yet; `landing` are the commands that take the result
    of a finished plan over, none when it is there already.
    """
    rows = list(tasks) or list(snapshot.plan.by_id)
    return screen(
        [
            *_waiting_lines(snapshot, limits, now, file, landing),
            "",
            *_facts(snapshot, limits, now),
            "",
            *_tree(snapshot),
            "",
            *_task_table(snapshot, rows, now),
            *_insteads(snapshot),
            *_remarks(snapshot),
            *_estimates(snapshot),
        ]
    )


def _authority(snapshot: Snapshot, now: float) -> str:
    """Return which remote decides on a plan, and how old it is where that is not what is there."""
    if snapshot.as_of is None:
        return f"{snapshot.authority}, a remote"
    age = duration(max(0.0, now - snapshot.as_of))
    return f"{snapshot.authority}, as it was {age} ago: it cannot be reached now"


def _facts(snapshot: Snapshot, limits: Limits, now: float) -> Iterator[str]:
    plan, state = snapshot.plan, snapshot.state
    done = len(snapshot.by_status[_COMPLETED])
    wide = WIDTH - 11
    told = plan_status(snapshot, limits, now)
    version = f"v{state.revision}"
    if snapshot.tip:
        version += f", accepted {utc(state.accepted_at)}"
        version += f" by {person(state.accepted_by)}" if state.accepted_by else ""
    yield f"Plan       {plan.plan}: {told}"
    yield f"Goal       {fit(plan.goal, wide)}"
    yield f"Version    {fit(version, wide)}"
    yield f"Progress   {percent(snapshot)} % ({done} of {count(len(plan.tasks), 'task')} merged)"
    yield f"Tasks      {counts_line(snapshot)}"
    if snapshot.authority != LOCAL:
        yield f"Authority  {fit(_authority(snapshot, now), wide)}"
    if state.train is not None:
        cars = [car.task for car in state.train.cars]
        if snapshot.seen.train == "lost":
            yield f"Train      lost: its run died; `run` tests {ids(cars, wide - 48)} again"
        else:
            yield f"Train      testing {ids(cars, wide - 8)}"
    used = f"{duration(snapshot.minutes * 60)} of work by all agents together"
    if snapshot.cost_usd:
        used += f", {money(snapshot.cost_usd)}"
    allowed = [
        said
        for said in (
            f"{limits.minutes:g} minutes of it" if limits.minutes is not None else "",
            f"${limits.budget_usd:g}" if limits.budget_usd is not None else "",
            f"{limits.parallel} at once" if limits.parallel is not None else "",
            f"{count(limits.open_reviews, 'open review')}"
            if limits.open_reviews is not None
            else "",
        )
        if said
    ]
    yield f"Used       {used}" + (f" (limits: {', '.join(allowed)})" if allowed else "")


def _tree(snapshot: Snapshot) -> Iterator[str]:
    """Yield the branches: the base, the flow that grows from it, the tasks that grow from that."""
    state, completed = snapshot.state, snapshot.by_status[_COMPLETED]
    at = f" at {short(state.base_sha)}" if state.base_sha else ""
    yield f"{one_line(state.base) or 'the base'}{at}"
    at = f" at {short(state.flow_sha)}" if state.flow_sha else ""
    yield f"└─ {state.flow or snapshot.plan.flow_branch}{at}"
    leaves = []
    for task in snapshot.plan.order:
        record = snapshot.records.get(task)
        if record is not None and record.branch and task not in completed:
            leaves.append(f"{record.branch} {word(snapshot, task)}")
    for task in snapshot.plan.order:
        if len(leaves) > MOST_LEAVES:
            break
        if task in completed:
            leaves.append(f"{task} merged as {short(snapshot.records[task].merge)}")
    total = sum(
        bool(record.branch) or record.status is _COMPLETED for record in snapshot.records.values()
    )
    if total > MOST_LEAVES:
        leaves[MOST_LEAVES:] = [f"… and {total - MOST_LEAVES} more"]
    for place, leaf in enumerate(leaves, 1):
        yield f"   {'└' if place == len(leaves) else '├'}─ {leaf}"


def _task_table(snapshot: Snapshot, tasks: Iterable[str], now: float) -> list[str]:
    is_tracked = bool(snapshot.issues)
    head: tuple[str, ...] = ("ID", "STATUS", "WAVE", "TRY", "TIME", "WAITING FOR", "TITLE")
    head = ("ID", "ISSUE", *head[1:]) if is_tracked else head
    rows = []
    for task in tasks:
        record = snapshot.record(task)
        rows.append(
            (
                task,
                *([snapshot.issue(task)] if is_tracked else []),
                word(snapshot, task),
                str(snapshot.graph.wave.get(task, "")),
                str(record.attempt.number) if record.attempt else "",
                _time(snapshot, task, now),
                waits_for(snapshot, task),
                snapshot.plan.by_id[task].name,
            )
        )
    return titled(head, rows)


def _insteads(snapshot: Snapshot) -> Iterator[str]:
    """Yield who does the unfinished tasks of which a retry said it."""
    open_ = [
        task
        for task, record in snapshot.records.items()
        if record.instead and record.status not in (_COMPLETED, Status.CANCELLED)
    ]
    found = [
        (task, said)
        for task in sorted(open_, key=lambda task: snapshot.plan.order.get(task, 0))
        if task in snapshot.plan.order and (said := instead_of(snapshot, task))
    ]
    if found:
        yield ""
        yield "As retries said"
    for task, said in found[:MOST_REMARKS]:
        yield f"  {task}  {fit(instead_line(said), WIDTH - 20)}"
    if len(found) > MOST_REMARKS:
        yield f"  … and {len(found) - MOST_REMARKS} more"


def _remarks(snapshot: Snapshot) -> Iterator[str]:
    """Yield what was said to agents, and whether they were told."""
    found = said_lately(snapshot)
    if found:
        yield ""
        yield "Feedback"
    for task, one in found[:MOST_REMARKS]:
        yield from wrapped(f"{task}  {remark_line(one)}: {fit(one.text, 60)}", "  ", "    ")
    if len(found) > MOST_REMARKS:
        yield f"  … and {len(found) - MOST_REMARKS} more"


def _time(snapshot: Snapshot, task: str, now: float) -> str:
    seconds = worked(snapshot, task)
    attempt = snapshot.record(task).attempt
    if is_lost(snapshot, task):
        return duration(seconds) if seconds else ""  # nobody knows when it died
    if attempt is not None and attempt.ended_at is None:
        seconds += max(0.0, now - attempt.started_at)
    return duration(seconds) if attempt is not None else ""


def _estimates(snapshot: Snapshot) -> Iterator[str]:
    tasks = [task for task in snapshot.plan.tasks if task.estimated_time is not None]
    if not tasks:
        return
    completed = snapshot.by_status[_COMPLETED]
    done = [task for task in tasks if task.id in completed]
    yield ""
    yield f"Estimated  {duration(60 * sum(map(estimate, tasks)))} for {count(len(tasks), 'task')}"
    if done:
        took = sum(worked(snapshot, task.id) for task in done)
        said = duration(60 * sum(map(estimate, done)))
        of = f"{len(done)} of {len(tasks)}"
        yield f"           {said} for what is merged ({of}), which took {duration(took)}"


def status_json(snapshot: Snapshot, limits: Limits, now: float, flow_sha: str) -> dict[str, Any]:
    """Return the object that `status --json` prints.

    Times are UTC, `progress` is in per cent; what is not known is null.  `blocked_by` are ids,
    `waiting_for` the capabilities and ids that are not on flow yet.
    """
    state, by_status = snapshot.state, snapshot.by_status
    return {
        "schema": SCHEMA,
        "plan": snapshot.plan.plan,
        "status": plan_status(snapshot, limits, now),
        "revision": state.revision,
        "base": state.base,
        "flow": state.flow,
        "flow_sha": flow_sha,
        "authority": snapshot.authority,
        "as_of": when(snapshot.as_of),
        "counts": {which.value: len(by_status[which]) for which in Status},
        "progress": percent(snapshot),
        "provides": [row.name for row in on_flow(snapshot)],
        "ready": snapshot.frontier.ready,
        "tasks": [_task_json(snapshot, task) for task in snapshot.plan.tasks],
    }


def _task_json(snapshot: Snapshot, task: Task) -> dict[str, Any]:
    record = snapshot.records.get(task.id)
    attempt = record.attempt if record else None
    is_waiting = record is None or record.status is _PENDING
    return {
        "id": task.id,
        "title": task.name,
        "issue": snapshot.issue_number(task.id),
        "status": (record.status if record else _PENDING).value,
        "lost": is_lost(snapshot, task.id),
        "taken_by": person(record.taken_by) if record and record.taken_by else None,
        "reason": record.reason.value if record and record.reason else None,
        "wave": snapshot.graph.wave.get(task.id),
        "attempt": attempt.number if attempt else 0,
        "branch": (record.branch if record else "") or None,
        "sha": tip(record),
        "merge_sha": (record.merge if record else "") or None,
        "blocked_by": list(blockers_of(snapshot, task.id)) if is_waiting else [],
        "waiting_for": lacking(snapshot, task) if is_waiting else [],
        "started_at": when(attempt.started_at if attempt else None),
        "ended_at": when(attempt.ended_at if attempt else None),
        "cost_usd": cost(record),
        "run_url": (record.attempts[-1].url or None) if record and record.attempts else None,
        "question": question_json(asked) if (asked := _open(record)) else None,
        "feedback": [remark_json(one) for one in record.feedback] if record else [],
    }


def _open(record: TaskRecord | None) -> Asked | None:
    return record.open_question if record else None


def status_schema() -> dict[str, Any]:
    """Return the JSON schema of what `status --json` prints."""
    text, ids_ = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    maybe_text = {"type": ["string", "null"]}
    maybe_time = {"type": ["string", "null"], "format": "date-time"}
    number = {"type": "integer", "minimum": 0}
    a_remark = {
        "by": text,
        "kind": {"enum": ["user", "system"]},
        "text": text,
        "at": maybe_time,
        "attempt": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "The attempt that it was offered or delivered to.",
        },
        "offered_at": maybe_time | {"description": "When a running attempt could read it."},
        "delivered_at": maybe_time | {"description": "When an agent was told."},
    }
    a_question = {
        "text": text,
        "options": ids_,
        "default": maybe_text | {"description": "What its agent would take."},
        "type": {"enum": ["string", "number", "boolean"]},
        "pattern": maybe_text,
        "attempt": number,
        "asked_at": maybe_time,
        "answer": maybe_text,
        "note": maybe_text,
        "answered_by": maybe_text,
        "answered_at": maybe_time,
    }
    a_task = {
        "id": text,
        "title": text,
        "issue": {"type": ["integer", "null"], "minimum": 1, "description": "Its number."},
        "status": {"enum": [which.value for which in Status]},
        "lost": {
            "type": "boolean",
            "description": "It is in progress, but its run died; `run` takes it over.",
        },
        "taken_by": maybe_text | {"description": "The person who does it in place of an agent."},
        "reason": {"enum": [*(reason.value for reason in Reason), None]},
        "wave": {"type": ["integer", "null"], "minimum": 1},
        "attempt": number | {"description": "The newest attempt's number, 0 before the first."},
        "branch": maybe_text,
        "sha": maybe_text | {"description": "What the newest attempt made, or began from."},
        "merge_sha": maybe_text,
        "blocked_by": ids_ | {"description": "Tasks that must be completed first."},
        "waiting_for": ids_ | {"description": "Capabilities and ids that are not on flow yet."},
        "started_at": maybe_time,
        "ended_at": maybe_time,
        "cost_usd": {"type": ["number", "null"], "description": "Of all attempts together."},
        "run_url": maybe_text,
        "question": _closed(a_question)
        | {"type": ["object", "null"], "description": "What it asks and nobody answered yet."},
        "feedback": {
            "type": "array",
            "items": _closed(a_remark),
            "description": "What was said to its agents, the oldest first.",
        },
    }
    a_plan = {
        "schema": {"const": SCHEMA},
        "plan": text,
        "status": {"enum": list(PLAN_STATUSES)},
        "revision": number,
        "base": text,
        "flow": text,
        "flow_sha": text,
        "authority": text | {"description": "`local`, or the remote that decides."},
        "as_of": maybe_time
        | {"description": "When the remote was last read, where it cannot be read now; else null."},
        "counts": _closed({which.value: number for which in Status}),
        "progress": number | {"maximum": 100, "description": "Per cent of the tasks merged."},
        "provides": ids_ | {"description": "Capabilities on flow."},
        "ready": ids_ | {"description": "Tasks that can start now, in that order."},
        "tasks": {"type": "array", "items": _closed(a_task)},
    }
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": "gitflow-agents status --json", **_closed(a_plan)}


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }


# --- ready ----------------------------------------------------------------------------------------


def ready_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the object that `ready --json` prints."""
    return {"schema": SCHEMA, "plan": snapshot.plan.plan, "ready": snapshot.frontier.ready}


def ready_text(snapshot: Snapshot) -> str:
    """Return what can start now, in the order in which it starts, and what the others wait for."""
    by_id = snapshot.plan.by_id
    ready = snapshot.frontier.ready
    started = set(ready)
    rows = [(f"  {task}", fit(by_id[task].name, 60)) for task in ready]
    lines = ["Ready now", *(table((), rows) or ["  nothing"])]
    pending = snapshot.by_status[_PENDING]
    waits = [
        (f"  {task.id}", _waits_for(snapshot, task), task.name)
        for task in snapshot.plan.tasks
        if task.id in pending and task.id not in started
    ]
    if waits:
        lines += ["", "Waiting for what", *titled(("  ID", "WAITS FOR", "TITLE"), waits)]
    return screen(lines)


def _waits_for(snapshot: Snapshot, task: Task) -> str:
    if blocking := blockers_of(snapshot, task.id):
        return ids(blocking)
    return ", ".join(fit(text, 40) for text in lacking(snapshot, task))


# --- STATUS.md ------------------------------------------------------------------------------------

PAGE_ROWS = 200
PAGE_BYTES = 64 * 1024
_FEW = 50


def status_page(snapshot: Snapshot, now: float) -> str:
    """Return STATUS.md: counts and at most 200 rows, at most 64 KiB, made without a full scan.

    What is at work, in review, failed or ready comes first, then the other tasks in plan order.
    """
    plan, state = snapshot.plan, snapshot.state
    done = len(snapshot.by_status[_COMPLETED])
    counts = "\n".join(f"| {WORDS[which]} | {len(snapshot.by_status[which])} |" for which in Status)
    source = f" and state `{short(snapshot.tip)}`" if snapshot.tip else ""
    held = f"\n\nHeld: {code(fit(state.held, 400))}" if state.held else ""
    page = (
        f"# Status of plan {plan.plan}\n\n"
        f"Generated {utc(now)} by gitflow-agents from {code(state.flow)} at "
        f"`{short(state.flow_sha)}`{source}; do not edit.\n"
        f"The plan {approvals(snapshot)}. Version v{state.revision}.\n\n"
        f"{fence(fit(plan.goal, 400))}{held}\n\n"
        f"Progress: {percent(snapshot)} %, {done} of {len(plan.tasks)} tasks merged, "
        f"{len(snapshot.frontier.ready)} ready.\n\n"
        f"| Status | Tasks |\n|---|---:|\n{counts}\n\n"
        "| Task | Status | Wave | Try | Waiting for | Title |\n|---|---|---:|---:|---|---|\n"
    )
    rest = f"\n{len(plan.tasks):,} more tasks are not listed.\n"
    left = PAGE_BYTES - len(page.encode()) - len(rest) - 64
    rows = []
    for task in _page_tasks(snapshot):
        row = _page_row(snapshot, task)
        left -= len(row.encode())
        if left < 0:
            break
        rows.append(row)
    more = len(plan.tasks) - len(rows)
    note = f"\n{count(more, 'more task is', 'more tasks are')} not listed.\n" if more else ""
    return page + "".join(rows) + note


def _page_tasks(snapshot: Snapshot) -> list[str]:
    order = snapshot.plan.order.__getitem__
    chosen: dict[str, None] = {}
    for which in (Status.IN_PROGRESS, Status.REVIEW, Status.FAILED):
        if found := snapshot.by_status[which]:
            chosen.update(dict.fromkeys(nsmallest(PAGE_ROWS, found, key=order)))
    for tasks in (snapshot.frontier.in_order(), snapshot.plan.order):
        for task in tasks:
            if len(chosen) >= PAGE_ROWS:
                return list(chosen)[:PAGE_ROWS]
            chosen[task] = None
    return list(chosen)


def _page_row(snapshot: Snapshot, task: str) -> str:
    record = snapshot.records.get(task)
    tried: int | str = ""
    waits = ""
    if record is None or record.status is _PENDING:
        unmet = snapshot.frontier.unmet(task)
        told = "pending" if unmet else "ready"
        if unmet:
            # Looking through thousands of prerequisites for a row that few read is not worth it.
            few = len(snapshot.graph.requires[task]) <= _FEW
            waits = waits_for(snapshot, task) if few else count(unmet, "task")
    else:
        told = WORDS[record.status]
        waits = "" if record.status is _COMPLETED else waits_for(snapshot, task)
    if record is not None and record.attempts:
        tried = record.attempts[-1].number
    wave = snapshot.graph.wave.get(task, "")
    number = snapshot.issue(task)
    title = cell(snapshot.plan.by_id[task].name) + (f" ({number})" if number else "")
    return f"| {task} | {told} | {wave} | {tried} | {waits} | {title} |\n"


# --- plans, log -----------------------------------------------------------------------------------


def plans(found: Sequence[tuple[Snapshot, str]]) -> str:
    """Return the plans of a repository with their statuses and counts."""
    if not found:
        return "No plan was started here yet."
    is_shared = any(each.authority != LOCAL for each, _ in found)
    head = ("PLAN", "STATUS", *(["AUTHORITY"] if is_shared else []), "DONE", "TASKS", "GOAL")
    rows = [
        (
            each.plan.plan,
            told,
            *([each.authority] if is_shared else []),
            f"{percent(each)} %",
            counts_line(each),
            each.plan.goal,
        )
        for each, told in found
    ]
    return screen(titled(head, rows))


def plans_json(found: Sequence[tuple[Snapshot, str]]) -> dict[str, Any]:
    """Return the object that `plans --json` prints."""
    return {
        "schema": SCHEMA,
        "plans": [
            {
                "plan": snapshot.plan.plan,
                "goal": snapshot.plan.goal,
                "status": told,
                "active": told not in ("finished", "landed", "closed"),
                "revision": snapshot.state.revision,
                "flow": snapshot.state.flow,
                "authority": snapshot.authority,
                "progress": percent(snapshot),
                "counts": {which.value: len(snapshot.by_status[which]) for which in Status},
                "ready": len(snapshot.frontier.ready),
                "accepted_at": when(snapshot.state.accepted_at),
            }
            for snapshot, told in found
        ],
    }


def log_line(at: float, subject: str, events: Sequence[Event] = ()) -> str:
    """Return one commit of a plan's state as a line for people."""
    return screen([f"{utc(at)}  {one_line(subject)}{_actor(events)}"])


def _actor(events: Sequence[Event]) -> str:
    names = (one_line(event.actor).partition(" <")[0] for event in events)
    actors = [name for name in dict.fromkeys(names) if name]
    return f"  ({', '.join(actors)})" if actors else ""


def log_json(sha: str, at: float, subject: str, events: Sequence[Event]) -> dict[str, Any]:
    """Return one commit of a plan's state as an object."""
    return {
        "schema": SCHEMA,
        "sha": sha,
        "at": utc(at),
        "subject": one_line(subject),
        "events": [event.model_dump(mode="json", exclude_defaults=True) for event in events],
    }
