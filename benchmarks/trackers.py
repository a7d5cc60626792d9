"""Other tools that say which tasks are ready, given the same tasks: whichever are installed.

`tk` is github.com/wedow/ticket, a bash script on PATH; `backlog` and `task-master` come from npm as
backlog.md and task-master-ai.  Nothing is installed for the comparison.  Their answer must be as
many tasks as ours.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.measure import NotMeasured, git, printed, timed
from benchmarks.peers import program
from benchmarks.plans import Task


@dataclass(frozen=True, slots=True)
class Tracker:
    """One tool: how tasks are told to it, what it is asked, and how many tasks it named.

    `targets` are the most that our time over its time may be, with and without our cache.
    """

    name: str
    targets: tuple[float, float | None]
    write: Callable[[Path, tuple[Task, ...], int], None]
    question: tuple[str, ...]
    named: Callable[[str], int]

    def prepare(self, bench: Bench, tasks: tuple[Task, ...], done: int, ready: int) -> Path:
        """Return a repository with the tasks; NotMeasured if the tool does not answer as we do."""
        program(self.name)
        repo = bench.repository()
        self.write(repo, tasks, done)
        git(repo, "add", "-A", env=bench.env)
        git(repo, "commit", "-q", "-m", "Tasks", env=bench.env)
        found = self.named(printed(self._command(), cwd=repo, env=bench.env))
        if found != ready:
            shutil.rmtree(repo.parent)
            raise NotMeasured(f"{self.name} names {found} ready tasks, and there are {ready}")
        return repo

    def ask(self, bench: Bench, repo: Path) -> float:
        """Return the seconds in which it says what is ready."""
        return timed(self._command(), cwd=repo, env=bench.env)

    def _command(self) -> list[str]:
        return [program(self.name), *self.question]


def _tickets(repo: Path, tasks: tuple[Task, ...], done: int) -> None:
    folder = repo / ".tickets"
    folder.mkdir()
    for number, task in enumerate(tasks):
        status = "closed" if number < done else "open"
        needs = ", ".join(f"t-{need}" for need in task.needs)
        (folder / f"t-{task.id}.md").write_text(
            f"---\nid: t-{task.id}\nstatus: {status}\ndeps: [{needs}]\nlinks: []\n"
            "created: 2026-01-02T03:04:05Z\ntype: task\npriority: 2\n---\n"
            f"# Make {task.output}\n\nMake {task.output} with one line\n"
        )


def _backlog(repo: Path, tasks: tuple[Task, ...], done: int) -> None:
    folder = repo / "backlog" / "tasks"
    folder.mkdir(parents=True)
    (folder.parent / "config.yml").write_text(
        'project_name: "bench"\ndefault_status: "To Do"\n'
        'statuses: ["To Do", "In Progress", "Done"]\nlabels: []\n'
        "check_active_branches: false\nremote_operations: false\nauto_commit: false\n"
    )
    for number, task in enumerate(tasks):
        status = "Done" if number < done else "To Do"
        needs = ", ".join(f"TASK-{int(need) + 1}" for need in task.needs)
        (folder / f"task-{number + 1} - Make-{task.id}.md").write_text(
            f"---\nid: TASK-{number + 1}\ntitle: Make {task.output}\nstatus: {status}\n"
            "assignee: []\ncreated_date: '2026-01-02 03:04'\nlabels: []\n"
            f"dependencies: [{needs}]\n---\n\n## Description\n\nMake {task.output}\n"
        )


def _task_master(repo: Path, tasks: tuple[Task, ...], done: int) -> None:
    folder = repo / ".taskmaster" / "tasks"
    folder.mkdir(parents=True)
    rows = [
        {
            "id": int(task.id) + 1,
            "title": f"Make {task.output}",
            "description": f"Make {task.output} with one line",
            "details": "",
            "testStrategy": "",
            "status": "done" if number < done else "pending",
            "dependencies": [int(need) + 1 for need in task.needs],
            "priority": "medium",
            "subtasks": [],
        }
        for number, task in enumerate(tasks)
    ]
    about = {"created": "2026-01-02T03:04:05.000Z", "updated": "2026-01-02T03:04:05.000Z"}
    (folder / "tasks.json").write_text(json.dumps({"master": {"tasks": rows, "metadata": about}}))
    (folder.parent / "state.json").write_text('{"currentTag": "master"}')


def _rows(said: str) -> int:
    # One of them prints a note for people behind the JSON.
    return len(json.JSONDecoder().raw_decode(said.lstrip())[0]["tasks"])


TRACKERS = (
    Tracker("tk", (2, 15), _tickets, ("ready",), lambda said: len(said.splitlines())),
    Tracker(
        "backlog",
        (1 / 15, None),
        _backlog,
        ("task", "list", "--ready", "--json"),
        _rows,
    ),
    Tracker(
        "task-master",
        (1 / 15, None),
        _task_master,
        ("list", "--ready", "--json"),
        _rows,
    ),
)
