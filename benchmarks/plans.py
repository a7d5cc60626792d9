"""The plans that are measured: tasks in layers, each needing three of the layer before.

A task makes one file of its own, so that there is something to commit and never a conflict. A fresh
work tree costs by the file, so a long plan of such tasks would measure the disk. In a *steady* plan
the tasks of a column, each of which needs the one before, write one file in turn: there the number
of files stays, and what grows with the number of tasks is the engine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

NAME = "bench"
WIDTH = 10
FAN_IN = 3


@dataclass(frozen=True, slots=True)
class Task:
    """One task: its id, the ids of the tasks that it needs, its file and its shell command."""

    id: str
    needs: tuple[str, ...]
    output: str
    command: str

    @property
    def capability(self) -> str:
        """Return the name of what the task provides."""
        return capability(self.id)


def capability(task_id: str) -> str:
    """Return the name of what the task `task_id` provides."""
    return f"cap-{task_id}"


def layered(count: int, *, steady: bool = False) -> tuple[Task, ...]:
    """Return `count` tasks in layers of WIDTH, each needing FAN_IN of the layer before.

    The order is one in which they can be done: a task stands after all that it needs.
    """
    digits = len(str(count - 1))
    ids = [f"{number:0{digits}d}" for number in range(count)]
    tasks = []
    for number, task_id in enumerate(ids):
        layer, column = divmod(number, WIDTH)
        before = ids[(layer - 1) * WIDTH : layer * WIDTH] if layer else []
        wanted = {(column + step) % WIDTH for step in range(FAN_IN)}
        needs = tuple(before[place] for place in sorted(wanted) if before)
        output = f"out-{column}.txt" if steady else f"out-{task_id}.txt"
        command = f"echo {task_id if steady else 'x'} > {output}"
        tasks.append(Task(task_id, needs, output, command))
    return tuple(tasks)


def as_yaml(tasks: tuple[Task, ...], name: str = NAME) -> str:
    """Return the text of the plan file of `tasks`.

    Written by hand, as JSON strings and lists are YAML: no YAML package is imported for it.
    """
    lines = [f"plan: {name}", f"goal: Make {len(tasks)} files", "tasks:"]
    for task in tasks:
        lines += [
            f"  - id: {json.dumps(task.id)}",
            f"    title: Make {task.output}",
            f"    description: Make {task.output} with one line",
            f"    preconditions: {json.dumps([capability(need) for need in task.needs])}",
            f"    provides: {json.dumps([task.capability])}",
            f"    run: {json.dumps(task.command)}",
        ]
    return "\n".join(lines) + "\n"


def as_records(tasks: tuple[Task, ...], done: int = 0) -> list[dict[str, Any]]:
    """Return `tasks` as plain dictionaries, the first `done` of them completed."""
    return [
        {
            "id": task.id,
            "title": f"Make {task.output}",
            "status": "completed" if number < done else "pending",
            "preconditions": [capability(need) for need in task.needs],
            "provides": [task.capability],
        }
        for number, task in enumerate(tasks)
    ]
