"""The view of a plan that goes on, redrawn as it moves: as many lines as the terminal has room for.

What waits for a person comes first and is cut last; then what runs, what is tested, what waits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from gitflow_agents.graph import estimate, schedule
from gitflow_agents.models import Limits, Status, Task
from gitflow_agents.render.facts import percent, waiting, waits_for
from gitflow_agents.render.text import count, duration, fit, ids, one_line, table
from gitflow_agents.scheduler import PARALLEL, Snapshot, plan_status

LEAST = 6
"""Lines that are shown in any terminal."""


def live(
    snapshot: Snapshot,
    limits: Limits,
    now: float,
    said: Mapping[str, str],
    *,
    width: int = 80,
    height: int = 24,
) -> str:
    """Return the view, at most `height` lines of `width` columns.

    `said` has the last line of what runs, by task.
    """
    lines = [_head(snapshot, limits, now)]
    parts = (
        _waiting(snapshot, limits, now),
        _running(snapshot, now, said, width),
        _train(snapshot),
        _next(snapshot, width),
    )
    room = max(height, LEAST) - len(lines)
    for part in parts:
        if not part or room < 2:
            continue
        shown = (
            part if len(part) <= room else [*part[: room - 1], f"  … {len(part) - room + 1} more"]
        )
        lines += shown
        room -= len(shown)
    return "\n".join(fit(line, width) if len(line) > width else line for line in lines)


def _head(snapshot: Snapshot, limits: Limits, now: float) -> str:
    plan, state = snapshot.plan, snapshot.state
    done, total = len(snapshot.by_status[Status.COMPLETED]), len(plan.tasks)
    status = plan_status(snapshot, limits, now)
    text = (
        f"{plan.plan} v{state.revision}: {status}, {percent(snapshot)} % ({done} of {total} merged)"
    )
    left = forecast(snapshot, limits, now)
    if not left or status != "running":
        return text
    about = math.ceil(left / 60) * 60 if left > 60 else left  # nobody knows the seconds of minutes
    return f"{text}, about {duration(about)} left"


def forecast(snapshot: Snapshot, limits: Limits, now: float) -> float:
    """Return the seconds that the rest should take by the estimates, with all slots busy."""
    over = {*snapshot.by_status[Status.COMPLETED], *snapshot.by_status[Status.REVIEW]}
    over |= {*snapshot.by_status[Status.FAILED], *snapshot.by_status[Status.CANCELLED]}

    def minutes(task: Task) -> float:
        if task.id in over:
            return 0.0
        attempt = snapshot.record(task.id).attempt
        is_running = snapshot.status(task.id) is Status.IN_PROGRESS and attempt is not None
        gone = (now - attempt.started_at) / 60 if is_running and attempt else 0.0
        return max(0.0, estimate(task) - gone)

    slots = limits.parallel or PARALLEL
    return 60 * schedule(snapshot.plan, snapshot.graph, slots, minutes=minutes).makespan


def _waiting(snapshot: Snapshot, limits: Limits, now: float) -> list[str]:
    found = list(waiting(snapshot, limits, now))
    lines = [f"Waiting for you: {count(len(found), 'thing')}"] if found else []
    for thing in found:
        lines.append(f"  {one_line(thing.what)}")
        lines += [f"    $ {command}" for command in thing.commands[-1:]]
    return lines


def _running(snapshot: Snapshot, now: float, said: Mapping[str, str], width: int) -> list[str]:
    running = sorted(snapshot.by_status[Status.IN_PROGRESS], key=snapshot.plan.order.__getitem__)
    rows = []
    for task in running:
        attempt = snapshot.record(task).attempt
        if attempt is not None:
            took = duration(int(now - attempt.started_at))
            name = snapshot.plan.by_id[task].name
            line = said.get(task) or name
            rows.append((task, str(attempt.number), attempt.agent, took, one_line(line)))
    if not rows:
        return []
    head = ("ID", "TRY", "AGENT", "TIME", "SAYS")
    return [fit_end(line, width) for line in table(head, rows)]


def fit_end(line: str, width: int) -> str:
    """Return a line of columns cut to a width; unlike `fit` it keeps the spaces between them."""
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _train(snapshot: Snapshot) -> list[str]:
    train = snapshot.state.train
    if train is not None:
        cars = ids([car.task for car in train.cars], 60) or f"the moved {snapshot.state.base}"
        return [f"Testing  {cars} on {snapshot.state.flow}"]
    review = sorted(snapshot.by_status[Status.REVIEW], key=snapshot.plan.order.__getitem__)
    return [f"Done     {ids(review, 60)}: to be merged"] if review else []


def _next(snapshot: Snapshot, width: int) -> list[str]:
    ready = snapshot.frontier.ready
    lines = [f"Ready    {ids(ready, width - 12)}"] if ready else []
    blocked = [
        task
        for task in snapshot.plan.order
        if snapshot.status(task) is Status.PENDING and snapshot.frontier.unmet(task)
    ]
    if blocked:
        rows = [(f"  {task}", "for", waits_for(snapshot, task, width - 20)) for task in blocked]
        lines += [f"Waiting  {count(len(blocked), 'task')}", *table((), rows)]
    return lines
