"""How many git processes the tool starts, counted by git itself.

A count is what noise cannot change: with GIT_TRACE2_EVENT every git writes down that it started,
and the name it goes by there tells whether we started it or another git did.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from gitflow_agents.errors import ExitCode
from gitflow_agents.service import Service
from gitflow_agents.store import Draft
from tests import repos
from tests.repos import Cli, Repo, Result

OURS_A_TASK = 6
ALL_A_TASK = 9
A_RUN = 22
"""What a run may start beside its tasks, however many those are."""
A_LOOK = 10
"""What a verb that only looks may start, however large the plan is."""


@dataclass
class Started:
    """The git processes that were started, by verb: by us, and by a git."""

    ours: Counter[str] = field(default_factory=Counter)
    gits: Counter[str] = field(default_factory=Counter)

    @property
    def all(self) -> int:
        """Return how many there were in all."""
        return self.ours.total() + self.gits.total()


@contextmanager
def counted(folder: Path) -> Iterator[Started]:
    """Yield what is filled with the git processes of the block when it ends."""
    folder.mkdir()
    started = Started()
    with mock.patch.dict(os.environ, GIT_TRACE2_EVENT=str(folder)):
        yield started
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "start":
                kind = started.gits if "/" in event["sid"] else started.ours
                kind[next(word for word in event["argv"][1:] if not word.startswith("-"))] += 1


def layers(tasks: int, width: int) -> str:
    """Return a plan of tasks that write a line each; each needs the one a layer above it."""
    lines = ["plan: p1", "goal: Count", "tasks:"]
    for task in range(tasks):
        needs = [f"c{task - width}"] if task >= width else []
        lines.append(
            f'  - {{id: "{task}", title: Task {task}, description: Write a line, '
            f'run: "echo {task} > f{task}", provides: [c{task}], preconditions: {needs}}}'
        )
    return "\n".join(lines) + "\n"


def run(repo: Repo, *, jobs: int, code: ExitCode = ExitCode.DONE) -> None:
    service = Service(str(repo.path))
    try:
        end = service.run("plans/p1.yaml", jobs=jobs, on_event=lambda told: None)
    finally:
        service.close()
    assert end.code is code, end.message


def processes(template: Repo, folder: Path, *, tasks: int, width: int, jobs: int) -> Started:
    """Return the processes of a whole run in a repository of its own."""
    repo = repos.copy(template, folder / f"repo {tasks}")
    repo.plan("p1", layers(tasks, width))
    with counted(folder / f"trace {tasks}") as started:
        run(repo, jobs=jobs)
    return started


# --- a run ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chains(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> list[Started]:
    """Return what chains of 4, 12 and 20 tasks started, one task at a time."""
    folder = tmp_path_factory.mktemp("chains")
    with counted(folder / "first"):
        service = Service(str(template.path))
        service.repository.commit("HEAD")  # GitPython asks for git's version when imported
        service.close()
    return [processes(template, folder, tasks=n, width=1, jobs=1) for n in (4, 12, 20)]


def test_a_task_that_does_nothing_costs_few_processes(chains: list[Started]) -> None:
    four, _, twenty = chains
    assert (twenty.ours.total() - four.ours.total()) / 16 <= OURS_A_TASK, twenty
    assert (twenty.all - four.all) / 16 <= ALL_A_TASK, twenty


def test_a_task_that_is_merged_beside_others_costs_few_processes(
    template: Repo, tmp_path: Path
) -> None:
    few = processes(template, tmp_path, tasks=4, width=4, jobs=2)
    many = processes(template, tmp_path, tasks=20, width=4, jobs=2)
    assert (many.ours.total() - few.ours.total()) / 16 <= OURS_A_TASK, many
    assert (many.all - few.all) / 16 <= ALL_A_TASK, many


def test_a_task_of_a_longer_plan_costs_what_one_of_a_shorter_did(chains: list[Started]) -> None:
    four, twelve, twenty = chains
    assert twenty.all - twelve.all == twelve.all - four.all


def test_a_run_itself_costs_few_processes(chains: list[Started]) -> None:
    four, twelve, _ = chains
    assert four.all - (twelve.all - four.all) / 2 <= A_RUN, four


def test_a_run_with_nothing_left_to_do_costs_the_same_whatever_was_done(
    template: Repo, tmp_path: Path
) -> None:
    counts = []
    for tasks in (2, 12):
        repo = repos.copy(template, tmp_path / f"repo {tasks}")
        repo.plan("p1", layers(tasks, 1))
        run(repo, jobs=1)
        with counted(tmp_path / f"trace {tasks}") as started:
            run(repo, jobs=1)
        counts.append(started)
    assert counts[0] == counts[1]
    assert counts[0].all <= A_RUN


# --- looking --------------------------------------------------------------------------------------

LOOKS = [
    "status",
    "status --json",
    "status p1",
    "status --at gitflow/state/p1~1",
    "ready",
    "ready p1",
    "show p1",
    "show p1 --json",
    "show p1/1",
    "show 1 --json",
    "provides",
    "provides --json",
    "plans",
    "plans --json",
    "explain p1/5",
    "explain 5 --json",
    "waves p1",
    "waves p1 --json",
    "graph p1",
    "log",
    "log --json",
    "brief p1/1",
    "report",
    "diff p1/1",
    "validate p1",
    "validate plans/p1.yaml",
    "run p1 --dry-run",
]


def started_plan(template: Repo, folder: Path, tasks: int) -> Repo:
    """Return a repository with a plan of which all but the last task are recorded.

    The first was merged and the second failed; the others are recorded as the first was, because
    running hundreds of them would tell nothing more about looking.
    """
    repo = repos.copy(template, folder / f"repo {tasks}")
    lines = [
        "plan: p1",
        "goal: Look",
        "tasks:",
        '  - {id: "1", title: Good, description: Do it, run: "echo 1 > f1", provides: [c1]}',
        '  - {id: "2", title: Bad, description: Do not, run: "false", provides: [c2]}',
    ]
    lines += [
        f'  - {{id: "{task}", title: Task {task}, description: Wait, run: "true", '
        f"provides: [c{task}], preconditions: [c2]}}"
        for task in range(3, tasks + 1)
    ]
    repo.plan("p1", "\n".join(lines) + "\n")
    run(repo, jobs=1, code=ExitCode.NEEDS_A_PERSON)
    service = Service(str(repo.path))
    snapshot = service.store.load("p1")
    assert snapshot is not None
    draft = Draft(snapshot)
    for task in range(3, tasks):
        draft.put(snapshot.record("1").model_copy(update={"id": str(task)}))
    draft.tell("flow_changed")
    service.store.commit(draft)
    service.close()
    return repo


@pytest.fixture(scope="module")
def started_plans(
    template: Repo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Repo, Repo]]:
    with mock.patch.dict(os.environ):
        folder = tmp_path_factory.mktemp("started")
        yield started_plan(template, folder, 5), started_plan(template, folder, 500)


def look(repo: Repo, folder: Path, *words: str) -> tuple[Result, Started]:
    with counted(folder) as started:
        result = Cli(repo)(*words)
    return result, started


@pytest.mark.parametrize("verb", LOOKS)
def test_looking_costs_the_same_few_processes_however_large_the_plan(
    started_plans: tuple[Repo, Repo], tmp_path: Path, verb: str
) -> None:
    small, large = started_plans
    _, few = look(small, tmp_path / "small", *verb.split())
    _, many = look(large, tmp_path / "large", *verb.split())
    assert many == few
    assert 0 < many.all <= A_LOOK


@pytest.mark.parametrize("words", [["ready", "--json"], ["ready", "p1", "--json"]], ids=" ".join)
def test_what_is_ready_is_told_again_without_any_process(
    started_plans: tuple[Repo, Repo], tmp_path: Path, words: list[str]
) -> None:
    _, large = started_plans
    first, _ = look(large, tmp_path / "first", *words)
    again, started = look(large, tmp_path / "again", *words)
    assert started == Started()
    assert again == first
    assert again.json == {"schema": 1, "plan": "p1", "ready": []}


def test_what_is_ready_is_asked_of_git_once_after_the_plan_moved(
    template: Repo, tmp_path: Path
) -> None:
    repo = repos.copy(template, tmp_path / "repo")
    repo.plan("p1", layers(3, 1))
    assert look(repo, tmp_path / "before", "ready", "p1", "--json")[0].json["ready"] == ["0"]
    run(repo, jobs=1)
    cold, asked = look(repo, tmp_path / "cold", "ready", "--json")
    warm, told = look(repo, tmp_path / "warm", "ready", "--json")
    assert cold.json == warm.json == {"schema": 1, "plan": "p1", "ready": []}
    assert 0 < asked.all <= A_LOOK
    assert told == Started()
