"""Many tasks that change one file: each merges in the end, and none fails for its neighbours."""

from __future__ import annotations

import pytest

from gitflow_agents.errors import ExitCode
from gitflow_agents.models import Status
from gitflow_agents.service import Service
from tests.repos import Repo


def plan(tasks: int, files: str) -> str:
    lines = ["plan: list", "goal: everybody adds a line on top of one list", "tasks:"]
    for number in range(tasks):
        lines.append(
            f'  - {{id: "{number:02}", title: T{number}, description: add a line, {files}'
            f'run: "echo {number:02} | cat - list.txt > .new && mv .new list.txt"}}'
        )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("files", ["files: [list.txt], ", ""], ids=["declared", "not declared"])
def test_tasks_that_all_change_one_line_merge_one_after_another(repo: Repo, files: str) -> None:
    repo.write("list.txt", "end\n")
    repo.commit("a list")
    repo.plan("list", plan(8, files))
    service = Service(str(repo.path), environ={})
    try:
        end = service.run("plans/list.yaml", jobs=4, on_event=lambda told: None)
        snapshot = service.open("list")
    finally:
        service.close()
    assert end.code is ExitCode.DONE
    assert set(snapshot.statuses().values()) == {Status.COMPLETED}
    assert sorted(repo.show("flow/list", "list.txt").split()) == [
        *(f"{number:02}" for number in range(8)),
        "end",
    ]
    assert max(snapshot.record(task).conflicts for task in snapshot.plan.by_id) == 1
