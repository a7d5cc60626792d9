"""Stories of several runs, each a text that a person can read: `tests/stories/*.txt`.

A story is a sentence, a plan, what is typed (`$ WORDS`, the exit code below it; `= ID: KEY: VALUE`
changes a task in the plan's file), and what the state says in the end.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests import engine, repos
from tests.repos import Repo

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))
QUICK = ("retried",)


def told(text: str) -> tuple[str, list[tuple[str, int]], str]:
    """Return the plan of a story, what is typed with its exit code, and the end."""
    _, plan, typed, *rest = re.split(r"\n\n", text.strip())
    steps: list[tuple[str, int]] = []
    lines = iter(typed.split("\n"))
    for line in lines:
        steps.append((line, int(next(lines)) if line.startswith("$ ") else 0))
    return plan, steps, "\n\n".join(rest)


def ended(repo: Repo) -> str:
    """Return the end of a story as the state and flow tell it."""
    state = engine.state(repo)
    status = repos.tool(repo, "status", "p", "--json").json["status"]
    lines = [f"p {status} v{state.get('revision', 1)}"]
    for id, stands in engine.audit(repo).items():
        count = len(engine.record(repo, id).get("attempts", []))
        lines.append(f"{id} {stands} {count} attempt{'s' if count != 1 else ''}")
    made = [path for path in repo.tree(state["flow"]) if "/" not in path and path != "README.md"]
    return "\n".join([*lines, f"on flow: {' '.join(sorted(made))}"])


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else [pytest.mark.slow])
        for path in STORIES
    ],
)
def test_a_story_ends_as_it_is_told(repo: Repo, story: Path) -> None:
    plan, steps, end = told(story.read_text())
    file = repo.write("plans/p.yaml", plan + "\n")
    for step, code in steps:
        if step.startswith("= "):
            id, _, change = step.removeprefix("= ").partition(": ")
            text = engine.read_yaml(file.read_text())
            (task,) = (task for task in text["tasks"] if task["id"] == id)
            task.update(engine.read_yaml(change))
            file.write_text(yaml.dump(text, sort_keys=False))
        else:
            result = repos.tool(repo, *shlex.split(step.removeprefix("$ ")), check=False)
            assert result.exit_code == code, f"{step}\n{result.stdout}{result.stderr}"
    assert ended(repo) == end


def test_there_are_stories_and_each_begins_with_a_sentence() -> None:
    assert len(STORIES) > 4
    assert all(story.read_text().split("\n\n")[0].endswith(".") for story in STORIES)
