"""What a plan looks like: what could run when, drawings, and what blocks what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from gitflow_agents.graph import Cost, Graph, Overlap, Schedule, chain, contended, unblocks
from gitflow_agents.models import SCHEMA, Limits, Plan, Status, Task, fold
from gitflow_agents.render.facts import (
    WORDS,
    blockers_of,
    instead_line,
    instead_of,
    is_lost,
    lacking,
    sentence,
    what_next,
    when,
    word,
)
from gitflow_agents.render.text import (
    WIDTH,
    count,
    duration,
    fit,
    ids,
    money,
    one_line,
    screen,
    table,
    titled,
    wrapped,
)
from gitflow_agents.scheduler import Snapshot, is_ahead, piled_up, spent

_PENDING, _COMPLETED = Status.PENDING, Status.COMPLETED
MOST_PATHS = 40
"""Paths that several tasks want which are shown."""
MOST_LINKS = 40
"""Links of a chain that are shown one by one; what is in the middle is counted."""


def valid(file: str, plan: Plan) -> str:
    """Return the line that says that a plan file has no mistake."""
    waves_ = max(Graph.of(plan).wave.values(), default=0)
    size = f"{count(len(plan.tasks), 'task')} in {count(waves_, 'wave')}"
    return f"{one_line(file)} is valid: plan {plan.plan}, {size}"


# --- waves ----------------------------------------------------------------------------------------


def waves(
    plan: Plan,
    graph: Graph,
    schedule: Schedule,
    overlaps: Sequence[Overlap],
    cost: Cost,
    slots: int,
) -> str:
    """Return what would run when on so many slots, and what it can take and cost at most."""
    return screen(
        [
            f"Plan {plan.plan}: {count(len(plan.tasks), 'task')} in "
            f"{count(max(graph.wave.values(), default=0), 'wave')}",
            "",
            *_schedule_table(plan, graph, schedule),
            "",
            *_times(plan, schedule, slots),
            "",
            *_overlaps(plan, overlaps),
            "",
            *_cost(plan, cost),
        ]
    )


def _schedule_table(plan: Plan, graph: Graph, schedule: Schedule) -> list[str]:
    critical = set(schedule.critical_path)
    rows = [
        (
            _minutes(row.start),
            _minutes(row.end),
            str(row.lane),
            str(graph.wave.get(row.task, "")),
            "*" if row.task in critical else "",
            row.task,
            plan.by_id[row.task].name,
        )
        for row in schedule.rows
    ]
    return titled(("START", "END", "SLOT", "WAVE", "", "ID", "TITLE"), rows)


def _minutes(minutes: float) -> str:
    return duration(minutes * 60)


def _times(plan: Plan, schedule: Schedule, slots: int) -> Iterator[str]:
    with_slots = f"With {count(slots, 'slot')}:"
    yield f"{with_slots:<20}{_minutes(schedule.makespan)}"
    yield f"Best possible:      {_minutes(schedule.best)} (the critical path, marked *)"
    yield f"All work together:  {_minutes(schedule.total)}"
    path = " > ".join(schedule.critical_path)
    yield from wrapped(f"Critical path:      {path}", "", " " * 20)
    if guessed := sum(task.estimated_time is None for task in plan.tasks):
        yield f"{count(guessed, 'task has', 'tasks have')} no estimated_time; 10m each is assumed."


def _overlaps(plan: Plan, overlaps: Sequence[Overlap]) -> Iterator[str]:
    if not overlaps:
        yield "No two tasks that could run at once name the same file."
        return
    yield "Tasks that could run at once and name the same file (a conflict is likely):"
    found = contended(plan, overlaps)
    rows = [(f"  {one_line(path)}", ids(tasks, 40)) for path, tasks in found.items()]
    yield from table((), rows[:MOST_PATHS])
    if len(rows) > MOST_PATHS:
        yield f"  … and {len(rows) - MOST_PATHS} more paths"


def _cost(plan: Plan, cost: Cost) -> Iterator[str]:
    if cost.at_most is None:
        yield "What it can cost has no bound: neither every task nor the plan has a budget_usd."
    else:
        yield f"It can cost at most {money(cost.at_most)}."
    if 0 < len(cost.without_budget) < len(plan.tasks):
        yield f"Without a budget_usd of their own: {ids(cost.without_budget, 40)}."


def waves_json(
    plan: Plan,
    graph: Graph,
    schedule: Schedule,
    overlaps: Sequence[Overlap],
    cost: Cost,
    slots: int,
) -> dict[str, Any]:
    """Return the object that `waves --json` prints; times are in minutes, costs in dollars.

    An overlap is a path with all tasks that name it and could run beside another one of these.
    """
    return {
        "schema": SCHEMA,
        "plan": plan.plan,
        "slots": slots,
        "waves": graph.waves(),
        "schedule": [
            {"task": row.task, "start": row.start, "end": row.end, "slot": row.lane}
            for row in schedule.rows
        ],
        "makespan": schedule.makespan,
        "best": schedule.best,
        "total": schedule.total,
        "critical_path": list(schedule.critical_path),
        "overlaps": [
            {"path": path, "tasks": tasks} for path, tasks in contended(plan, overlaps).items()
        ],
        "cost": {"at_most": cost.at_most, "without_budget": list(cost.without_budget)},
    }


# --- graph ----------------------------------------------------------------------------------------

_COLOURS = {
    Status.IN_PROGRESS: "#cfe2ff",
    Status.REVIEW: "#e2d9f3",
    _COMPLETED: "#d1e7dd",
    Status.FAILED: "#f8d7da",
    Status.CANCELLED: "#e2e3e5",
}
_PLAIN = re.compile(r"[^\w ,.:()-]|_")


def graph_mermaid(plan: Plan, graph: Graph, statuses: Mapping[str, Status]) -> str:
    """Return the plan as a mermaid flowchart: arrows lead from what is needed to what needs it."""
    place = plan.order
    lines = ["flowchart TD"]
    for task in plan.tasks:
        lines.append(f'    t{place[task.id]}["{_mermaid(task)}"]')
    for task_id, needs in graph.requires.items():
        lines += [f"    t{place[need]} --> t{place[task_id]}" for need in needs]
    for status, colour in _COLOURS.items():
        members = [f"t{place[t.id]}" for t in plan.tasks if statuses.get(t.id) is status]
        if members:
            lines.append(f"    classDef {status} fill:{colour},color:#000")
            lines.append(f"    class {','.join(members)} {status}")
    return screen(lines)


def _mermaid(task: Task) -> str:
    # Any character that mermaid or its markdown could read as more than itself goes in by number.
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};", f"{task.id}: {fit(task.name, 60)}")


def graph_dot(plan: Plan, graph: Graph, statuses: Mapping[str, Status]) -> str:
    """Return the plan as a graph for graphviz."""
    lines = [f'digraph "{plan.plan}" {{', "    rankdir=LR;", "    node [shape=box];"]
    for task in plan.tasks:
        colour = _COLOURS.get(statuses.get(task.id, _PENDING))
        style = f', style=filled, fillcolor="{colour}"' if colour else ""
        lines.append(f'    "{task.id}" [label="{_dot(task)}"{style}];')
    for task_id, needs in graph.requires.items():
        lines += [f'    "{need}" -> "{task_id}";' for need in needs]
    return screen([*lines, "}"])


def _dot(task: Task) -> str:
    label = f"{task.id}: {fit(task.name, 60)}".replace("&", "&amp;")
    return label.replace("\\", "\\\\").replace('"', '\\"')


def graph_json(plan: Plan, graph: Graph, statuses: Mapping[str, Status]) -> dict[str, Any]:
    """Return the object that `graph --json` prints; an edge leads from what is needed."""
    return {
        "schema": SCHEMA,
        "plan": plan.plan,
        "nodes": [
            {
                "id": task.id,
                "title": task.name,
                "status": statuses.get(task.id, _PENDING).value,
                "wave": graph.wave.get(task.id),
            }
            for task in plan.tasks
        ],
        "edges": [
            {"from": need, "to": task_id, "capabilities": _needed(plan, graph, task_id, need)}
            for task_id, needs in graph.requires.items()
            for need in needs
        ],
    }


def graph_text(plan: Plan, graph: Graph, statuses: Mapping[str, Status]) -> str:
    """Return the plan wave by wave, each task with what it needs."""
    lines: list[str] = []
    for number, members in enumerate(graph.waves(), 1):
        lines += [""] if lines else []
        lines.append(f"Wave {number}")
        lines += titled(
            (),
            [
                (
                    f"  {task_id}",
                    WORDS[statuses.get(task_id, _PENDING)],
                    f"needs {ids(graph.requires[task_id])}" if graph.requires[task_id] else "",
                    plan.by_id[task_id].name,
                )
                for task_id in members
            ],
        )
    return screen(lines)


# --- explain --------------------------------------------------------------------------------------


def explain(
    snapshot: Snapshot,
    task: str,
    now: float,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> str:
    """Return the exact chain that blocks a task, and what its completion would unblock."""
    plan = snapshot.plan
    lines = [
        fit(f"{task} {plan.by_id[task].name}", WIDTH),
        *wrapped(sentence(snapshot, task, now), "  ", "  "),
        *what_next(snapshot, task),
    ]
    if said := instead_of(snapshot, task):
        lines += wrapped(f"its next attempt, as a retry said: {instead_line(said)}", "  ", "  ")
    full = spent(snapshot, limits) or piled_up(snapshot, limits)
    if full and snapshot.status(task) is _PENDING:
        lines += wrapped(f"no task starts now: {full}", "  ", "  ")
    # A chain of one link is the task itself, which was told above.
    chains = chain(snapshot.graph, snapshot.statuses(), task)
    for number, links in enumerate(chains, 1):
        of = f" ({number} of {len(chains)})" if len(chains) > 1 else ""
        lines += ["", f"What blocks it{of}", *_links(snapshot, links)]
        end = links[-1]
        lines += wrapped(f"{end} {sentence(snapshot, end, now)}", "  ", "  ")
        lines += what_next(snapshot, end)
    if nobody := _from_nobody(snapshot, task):
        lines += ["", "What nobody provides", *(f"  {fit(text, 70)}" for text in nobody)]
    lines += ["", *_unblocks(snapshot, task)]
    return screen(lines)


def _links(snapshot: Snapshot, links: Sequence[str]) -> list[str]:
    rows = [(f"  {links[0]}", word(snapshot, links[0]), "", snapshot.plan.by_id[links[0]].name)]
    for above, here in pairwise(links):
        given = ", ".join(fit(name, 30) for name in _gives(snapshot, above, here)[:2])
        title = snapshot.plan.by_id[here].name
        rows.append((f"  {here}", word(snapshot, here), f"gives {given}" if given else "", title))
    lines = titled((), rows)
    if len(lines) > MOST_LINKS:
        half = MOST_LINKS // 2
        lines[half:-half] = [f"  … {len(lines) - MOST_LINKS} more between them …"]
    return lines


def _gives(snapshot: Snapshot, task: str, need: str) -> list[str]:
    """Return the preconditions of a task that another one gives."""
    return _needed(snapshot.plan, snapshot.graph, task, need)


def _needed(plan: Plan, graph: Graph, task: str, need: str) -> list[str]:
    return [t for t in plan.by_id[task].preconditions if graph.providers.get(fold(t)) == need]


def _from_nobody(snapshot: Snapshot, task: str) -> list[str]:
    graph = snapshot.graph
    return [text for who, text in (*graph.missing, *graph.unknown) if who == task]


def _unblocks(snapshot: Snapshot, task: str) -> Iterator[str]:
    found = unblocks(snapshot.graph, snapshot.statuses(), task)
    yield "What it unblocks"
    if snapshot.status(task) is _COMPLETED:
        yield "  it is on flow already"
    elif not found.behind:
        yield "  nothing waits for it"
    else:
        yield f"  ready at once: {ids(found.ready, 60) or 'none'}"
        yield f"  behind it in all: {count(found.behind, 'task')}"


def explain_json(snapshot: Snapshot, task: str, now: float) -> dict[str, Any]:
    """Return the object that `explain --json` prints.

    Each of `chains` leads from the task down to what must move first.
    """
    record = snapshot.record(task)
    statuses = snapshot.statuses()
    found = unblocks(snapshot.graph, statuses, task)
    is_pending = record.status is _PENDING
    return {
        "schema": SCHEMA,
        "plan": snapshot.plan.plan,
        "task": task,
        "status": record.status.value,
        "lost": is_lost(snapshot, task),
        "reason": record.reason.value if record.reason else None,
        "message": record.message or None,
        "wave": snapshot.graph.wave.get(task),
        "ready": is_pending and not snapshot.frontier.unmet(task),
        "not_before": when(record.not_before if is_ahead(record.not_before, now) else None),
        "blocked_by": list(blockers_of(snapshot, task)) if is_pending else [],
        "waiting_for": lacking(snapshot, snapshot.plan.by_id[task]) if is_pending else [],
        "chains": chain(snapshot.graph, statuses, task),
        "unblocks": {"ready": list(found.ready), "behind": found.behind},
    }
