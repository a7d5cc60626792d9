"""What each role permits: a task's role can only narrow what its agent may do.

A role is a small file: a description, a prompt, and what holds for its agent.  KINDS sorts every
path of a repository into one kind, so that a role can say `code` or `tests` instead of a list of
globs; `refusal` holds a result against its role, whatever the agent was told.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from gitflow_agents.errors import FlowError
from gitflow_agents.models import (
    AgentName,
    Count,
    Line,
    Lines,
    Model,
    Plan,
    RunnerName,
    Task,
    Text,
    Timeout,
    Tools,
)

KINDS: Mapping[str, tuple[str, ...]] = {
    "plans": ("/plans/",),
    "knowledge": ("/knowledge/", "/docs/knowledge/"),
    "decisions": (
        "/adr/",
        "/docs/adr/",
        "/docs/architecture/",
        "/docs/architecture.md",
        "/docs/decisions/",
        "/docs/design/",
        "/ARCHITECTURE.md",
    ),
    "vendored": ("vendor/", "third_party/", "node_modules/"),
    "release": ("/VERSION", "/deploy/", "/helm/", "/charts/", "/k8s/", "/terraform/"),
    "quality": (
        ".pre-commit-config.yaml",
        ".editorconfig",
        ".coveragerc",
        ".flake8",
        ".golangci.yml",
        ".golangci.yaml",
        ".eslintrc*",
        ".prettierrc*",
        "eslint.config.*",
        "mypy.ini",
        "ruff.toml",
        ".ruff.toml",
        "rustfmt.toml",
        "clippy.toml",
    ),
    "tests": (
        "test/",
        "tests/",
        "__tests__/",
        "testdata/",
        "conftest.py",
        "test_*.py",
        "*_test.*",
        "*.test.*",
        "*.spec.*",
    ),
    "docs": ("docs/", "doc/", "*.md", "*.rst", "*.adoc", "LICENSE*"),
}
"""Which paths are of which kind: the first that matches; every other path is `code`.
"""
CODE = "code"

Habit = Literal["may", "never", "must"]
"""Whether a result may do something, may not, or has to do it at least once."""


class Role(Model):
    """What a kind of worker is for, and what holds for it beside what its task says."""

    description: Line
    prompt: Text = ""
    agent: AgentName | None = None
    model: Line | None = None
    tools: Tools | None = None
    timeout: Timeout | None = None
    runner: RunnerName | None = None
    may_change: Lines | None = None
    must_change: Lines = ()
    adds: Habit = "may"
    edits: Habit = "may"
    deletes: Habit = "may"
    most_files: Count | None = None
    scope: Literal["flag", "strict"] = "flag"

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """Return what is held against a result, as sentences for its agent."""
        said = []
        if self.may_change is not None:
            said.append(f"it may change {_listed(self.may_change) or 'no file at all'}")
        said += [f"it has to change {_listed([kind])}" for kind in self.must_change]
        for habit, verb in (
            (self.adds, "add a file"),
            (self.edits, "change a file that is there"),
            (self.deletes, "delete a file"),
        ):
            if habit != "may":
                said.append(f"it {'may not' if habit == 'never' else 'has to'} {verb}")
        if self.most_files is not None:
            said.append(f"it may change {self.most_files} files at most")
        return tuple(said)


@dataclass(frozen=True)
class Handbook:
    """What a repository tells every agent: its roles, its preferences, its words for a brief.

    `template` is the text that replaces the packaged template, or empty, and `template_file` says
    where it stands; `sources` says where each role does.
    """

    roles: Mapping[str, Role] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    preferences: str = ""
    template: str = ""
    template_file: str = ""

    def role(self, plan: Plan, task: Task) -> Role | None:
        """Return the role of a task, None when it has none; FlowError when it is gone."""
        name = plan.setting(task, "role")
        if not name:
            return None
        if name not in self.roles:
            raise FlowError(
                f"there is no role {name}, which {task.id} has",
                hint="bring its file back to the default branch, or give the task another role",
            )
        return self.roles[name]

    def of_steps(self, plan: Plan, task: Task) -> tuple[Role, ...]:
        """Return the role of each step of a task; FlowError when one is gone."""
        steps = plan.setting(task, "steps")
        gone = [step.role for step in steps if step.role not in self.roles]
        if gone:
            raise FlowError(
                f"there is no role {gone[0]}, which a step of {task.id} has",
                hint="bring its file back to the default branch, or give the step another role",
            )
        return tuple(self.roles[step.role] for step in steps)

    def terms(self, plan: Plan, task: Task) -> Task:
        """Return a task as its role lets it be."""
        return effective(plan, task, self.role(plan, task))


@dataclass(frozen=True)
class Touched:
    """One path of a result: what became of it."""

    path: str
    how: Literal["adds", "edits", "deletes"]


def effective(plan: Plan, task: Task, role: Role | None) -> Task:
    """Return the task as its role lets it be: nothing in it is wider than before.

    The task's own agent, model and runner win over the role's, the role's over the plan's defaults;
    of two times the shorter one holds, of two lists of tools what is in both.  Where a role may
    change nothing, what it found out is the result.
    """
    if role is None:
        return task
    changes: dict[str, object] = {}
    if role.agent is not None and task.agent is None and task.run is None:
        changes["agent"] = role.agent
    is_its = role.agent in (None, changes.get("agent", task.agent))
    if role.model is not None and task.model is None and is_its:
        changes["model"] = role.model
    if role.timeout is not None:
        changes["timeout"] = min(
            plan.setting(task, "timeout"), role.timeout, key=lambda time: time.seconds
        )
    changes["tools"] = tools(plan.setting(task, "tools"), role.tools)
    if role.runner is not None and task.runner is None:
        changes["runner"] = role.runner
    if role.may_change == ():
        changes["kind"] = "research"
    if role.scope == "strict":
        changes["scope"] = "strict"
    return task.model_copy(update=changes)


def tools(asked: tuple[str, ...] | None, allowed: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the tools that both lists allow, in the order of the first; None allows all."""
    if asked is None or allowed is None:
        return allowed if asked is None else asked
    return tuple(tool for tool in asked if tool in allowed)


def may_change(role: Role, path: str) -> bool:
    """Say whether a path is among those that a role may change."""
    return role.may_change is None or _is_any(path, role.may_change)


def refusal(name: str, role: Role, touched: Sequence[Touched]) -> str:
    """Return why a role does not permit a result, or an empty string.

    A result that changes nothing is another question; nothing is asked of it here.
    """
    if not touched:
        return ""
    paths = [one.path for one in touched]
    if role.may_change is not None:
        outside = [path for path in paths if not _is_any(path, role.may_change)]
        if outside:
            allowed = _listed(role.may_change) or "nothing"
            return f"the role {name} may change {allowed}, and it changed {_some(outside)}"
    for wanted in role.must_change:
        if not any(_is_any(path, (wanted,)) for path in paths):
            return f"the role {name} has to change {_listed([wanted])}, and it did not"
    for how, verb in (("adds", "add"), ("edits", "change"), ("deletes", "delete")):
        those = [one.path for one in touched if one.how == how]
        habit = getattr(role, how)
        what = "files" if how != "edits" else "files that are there"
        if habit == "never" and those:
            return f"the role {name} may not {verb} {what}, and it did: {_some(those)}"
        if habit == "must" and not those:
            return f"the role {name} has to {verb} {what}, and it did not"
    if role.most_files is not None and len(paths) > role.most_files:
        return f"the role {name} may change {role.most_files} files, and it changed {len(paths)}"
    return ""


def kind(path: str) -> str:
    """Return the one kind that a path is of."""
    for name, entries in KINDS.items():
        if any(matches(path, entry) for entry in entries):
            return name
    return CODE


def kind_reference() -> str:
    """Return the table of the kinds, for the documentation."""
    rows = [
        f"| `{name}` | {', '.join(f'`{entry}`' for entry in entries)} |"
        for name, entries in KINDS.items()
    ]
    return "\n".join(["| Kind | Files |", "|---|---|", *rows, f"| `{CODE}` | all others |"])


def _is_any(path: str, entries: Iterable[str]) -> bool:
    own = kind(path)
    return any(
        entry == own if entry in KINDS or entry == CODE else matches(path, entry)
        for entry in entries
    )


def matches(path: str, entry: str) -> bool:
    """Say whether a path is what an entry names: a file, a folder, or a pattern.

    An entry without a slash (but at its end) is looked for in every folder.  Letters of either case
    count as the same, because some file systems hold them to be.
    """
    path, entry = path.casefold(), entry.casefold().removeprefix("./")
    bare = entry.rstrip("/")
    if "/" not in bare:
        parts = path.split("/")
        return any(fnmatch.fnmatchcase(part, bare) for part in parts)
    pattern = bare.removeprefix("/")
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + "/*")


def _listed(entries: Collection[str]) -> str:
    return ", ".join(
        entry if entry in KINDS or entry == CODE else f"`{entry}`" for entry in entries
    )


def _some(paths: Sequence[str], most: int = 5) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return " ".join(", ".join(paths[:most]).split()) + more


__all__ = [
    "CODE",
    "KINDS",
    "Handbook",
    "Role",
    "Touched",
    "effective",
    "kind",
    "matches",
    "may_change",
    "refusal",
]
