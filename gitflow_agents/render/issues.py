"""What the issues of a plan and its tasks say.

Text of plans and agents is shown as these characters: it pings nobody, and GitHub makes
a link of a plain address only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitflow_agents.models import Task
from gitflow_agents.render.story import quiet
from gitflow_agents.render.text import clean, code, fit
from gitflow_agents.scheduler import Snapshot

WIDTH, MOST_TITLE = 200, 256
"""Columns of a title, and the characters of one that GitHub takes: some take no column."""
MOST_CHARACTERS = 60_000
"""Of the words; GitHub takes 65,536."""


@dataclass(frozen=True)
class Text:
    """A title, and the words below the line by which the issue is found."""

    title: str
    body: str


def plan_text(snapshot: Snapshot) -> Text:
    """Return what the issue of a plan says."""
    plan, state = snapshot.plan, snapshot.state
    lines = [
        quiet(fit(plan.goal, 1000)),
        "",
        f"The plan {code(plan.plan)}; what is done is merged to {code(state.flow)}.",
    ]
    if plan.epic:
        lines += ["", f"Part of {plan.epic}."]
    return Text(_title(f"{plan.plan}: {plan.goal}"), _cut(lines))


def task_text(snapshot: Snapshot, task: str) -> Text:
    """Return what the issue of a task says: what its text says, and nothing of how it stands."""
    plan, about = snapshot.plan, snapshot.plan.by_id[task]
    own = snapshot.issue_number()
    of = f", part of #{own}" if own else ""
    lines = [
        f"Task {code(task)} of the plan {code(plan.plan)}{of}.",
        "",
        *(quiet(line) for line in clean(about.description).strip().split("\n")),
        "",
        *_facts(snapshot, about),
    ]
    return Text(_title(f"{task}: {about.name}"), _cut(lines))


def _facts(snapshot: Snapshot, task: Task) -> Iterator[str]:
    lists = (
        ("Needs", [quiet(one) for one in (*task.preconditions, *task.depends_on)]),
        ("Provides", [quiet(one.name) for one in task.provides]),
        ("Done when", [quiet(one) for one in task.acceptance]),
        ("Files", [code(one) for one in task.files]),
        ("Verified by", [code(one) for one in snapshot.plan.verify(task)]),
    )
    for name, entries in lists:
        if entries:
            yield f"- {name}: {'; '.join(entries)}"


def follow_up_text(snapshot: Snapshot, task: str, text: str) -> Text:
    """Return what an issue says of something that a merged task left to be done."""
    home, number = snapshot.state.home, snapshot.issue(task)
    seen = f", see #{home.pull}" if home is not None and home.pull else ""
    lines = [
        *(f"> {quiet(line)}" for line in clean(text).strip().split("\n")),
        "",
        f"Left by the task {code(task)}{f' ({number})' if number else ''} of the plan "
        f"{code(snapshot.plan.plan)}{seen}.",
    ]
    return Text(_title(text), _cut(lines))


def _title(text: str) -> str:
    return fit(text, WIDTH)[:MOST_TITLE]


def _cut(lines: list[str]) -> str:
    """Return lines as a text without those at its end that are too many."""
    text = "\n".join(lines) + "\n"
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].rpartition("\n")[0]


__all__ = ["Text", "follow_up_text", "plan_text", "task_text"]
