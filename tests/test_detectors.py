"""What shows that an agent gets nowhere: each on a run that trips it and on an honest long one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from gitflow_agents.agents import BUILT_IN
from gitflow_agents.agents.headless import Said, circling, heard
from gitflow_agents.detectors import AGAIN, circle, swings, used
from tests import engine
from tests.engine import task
from tests.repos import Repo

Use = tuple[str, dict[str, Any]]
TEST: Use = ("Bash", {"command": "pytest -q"})


def circled(uses: list[Use]) -> int:
    """Return the first circle that is found in a run while it goes on."""
    before: tuple[str, ...] = ()
    for tool, arguments in uses:
        before = used(before, tool, arguments)
        if found := circle(before):
            return found
    return 0


EDIT: Use = ("Edit", {"file_path": "a.py", "old_string": "1", "new_string": "2"})
UNDO: Use = ("Edit", {"file_path": "a.py", "old_string": "2", "new_string": "1"})


@pytest.mark.parametrize(
    ("uses", "steps"),
    [([TEST], 1), ([EDIT, TEST], 2), ([EDIT, UNDO], 2), ([EDIT, UNDO, TEST], 3)],
    ids=["one command", "the same edit and its test", "an edit and its undoing", "all of them"],
)
def test_the_same_over_and_over_is_a_circle_when_it_is_enough(uses: list[Use], steps: int) -> None:
    assert circled([("Read", {"file_path": "a.py"}), *uses * (AGAIN - 1)]) == 0
    assert circled([("Read", {"file_path": "a.py"}), *uses * AGAIN]) == steps


def honest() -> Iterator[Use]:
    """Yield a long run: every test fails again, and each time something else is tried."""
    for turn in range(200):
        yield "Read", {"file_path": f"src/{turn % 7}.py"}
        yield "Edit", {"file_path": "src/x.py", "old_string": "x", "new_string": f"x{turn}"}
        yield TEST
        if turn % 20 == 0:
            for _ in range(AGAIN + 5):  # a build that takes its time
                yield "BashOutput", {"bash_id": "1"}
                yield "Bash", {"command": "sleep 30; tail -n 3 build.log"}


def test_a_long_run_that_tries_something_else_each_time_is_none() -> None:
    assert circled(list(honest())) == 0


def line(agent: str, number: int, command: str) -> dict[str, Any]:
    """Return what an agent prints when it runs a command."""
    ident = f"i{number}"
    match agent:
        case "claude":
            block = {"type": "tool_use", "name": "Bash", "input": {"command": command}}
            return {"type": "assistant", "message": {"id": ident, "content": [block]}}
        case "codex":
            about = {"id": ident, "type": "command_execution", "command": command, "exit_code": 1}
            return {"type": "item.completed", "item": about}
        case "gemini":
            name = {"tool_name": "run_shell_command", "tool_id": ident}
            return {"type": "tool_use", **name, "parameters": {"command": command}}
    part = {"tool": "bash", "callID": ident, "state": {"input": {"command": command}}}
    return {"type": "tool_use", "sessionID": "s", "part": part}


def said_by(agent: str, commands: list[str]) -> Said:
    lines = [json.dumps(line(agent, number, each)) for number, each in enumerate(commands)]
    return heard(BUILT_IN[agent], lines)


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini", "opencode"])
def test_an_agent_that_tells_its_tools_is_seen_to_go_in_circles(agent: str) -> None:
    stuck = said_by(agent, ["make test"] * AGAIN)
    assert circling(stuck) == "it was ended after the same 10 times in a row: running make test"
    # Alike in all that a line of progress shows of them.
    alike = [f"echo {'x' * 100} > file-{number}" for number in range(2 * AGAIN)]
    assert circling(said_by(agent, alike)) == ""


def test_codex_tells_only_the_paths_of_an_edit_so_many_of_one_file_are_none() -> None:
    changes = {"type": "file_change", "changes": [{"path": "a.py", "kind": "update"}]}
    items = [
        {"type": "item.completed", "item": {"id": str(number), **changes}}
        for number in range(3 * AGAIN)
    ]
    assert circling(heard(BUILT_IN["codex"], map(json.dumps, items))) == ""


@pytest.mark.parametrize(
    ("contents", "paths"),
    [
        ("aba", []),
        ("abab", ["x"]),
        ("abcdefgh", []),
        ("abcacd", ["x"]),
    ],
    ids=["taken back once", "brought back", "a long way", "to and fro on a longer way"],
)
def test_what_was_taken_back_and_brought_back_is_to_and_fro(
    contents: str, paths: list[str]
) -> None:
    history = [
        {"x": (old, new), f"y{place}": ("", new)}
        for place, (old, new) in enumerate(pairwise(contents))
    ]
    assert swings(history) == paths


def test_to_and_fro_is_told_with_the_result_and_recorded(repo: Repo) -> None:
    turns = "; ".join(f"echo {n} > a; git add a; git commit -qm {n}" for n in (1, 2, 1, 2))
    engine.plan(repo, task("1", turns), task("2", "for n in 1 2 3 4; do echo $n > b; git add b; git commit -qm $n; done"))  # fmt: skip
    engine.finished(repo, engine.go(repo))
    said = "it went to and fro, and brought back what it had taken back: a"
    assert engine.record(repo, "1")["risks"] == [said]
    assert "risks" not in engine.record(repo, "2")
