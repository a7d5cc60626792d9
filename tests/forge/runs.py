"""Workflow runs as values: a run has files, a file has nodes, a node becomes jobs.

Start with Run. `engine` decides what becomes of them, `jobs` executes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.forge.expressions import text
from tests.forge.state import Permissions, Repository, Token
from tests.forge.triggers import Event, File


@dataclass
class Step:
    """A step of a job, as the job's page shows it."""

    number: int
    name: str
    status: str = "queued"
    conclusion: str | None = None


@dataclass(eq=False, repr=False)
class Job:
    """One job on one runner."""

    id: int
    run: Run
    node: Node
    name: str
    matrix: dict[str, Any]
    index: int
    total: int
    permissions: dict[str, str]
    labels: list[str]
    environment: str
    status: str = "queued"
    conclusion: str | None = None
    attempt: int = 1
    created: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    token: Token | None = None
    log: str = ""
    """All that its steps printed, secrets included: nothing is masked."""
    annotations: list[dict[str, str]] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    summary: str = ""
    runner: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the run was cancelled while this job ran."""

    @property
    def key(self) -> str:
        """Return which job of which file it is: `.github/workflows/x.yml JOB`."""
        return f"{self.node.within.file.path} {self.node.id}"


@dataclass(eq=False, repr=False)
class Node:
    """A job of a workflow file, before it is known which and how many jobs that means."""

    id: str
    definition: dict[str, Any]
    within: Within
    state: str = "waiting"
    """waiting, held (by its concurrency group), active or done."""
    result: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    matrices: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    calls: list[Within] = field(default_factory=list)
    group: str = ""

    @property
    def needs(self) -> list[Node]:
        """Return the nodes that it waits for."""
        named = self.definition.get("needs") or []
        return [self.within.nodes[name] for name in ([named] if isinstance(named, str) else named)]


@dataclass(eq=False, repr=False)
class Within:
    """A workflow file that takes part in a run: the one that was started, or one that it calls."""

    file: File
    value: dict[str, Any]
    inputs: dict[str, Any]
    secrets: dict[str, str]
    cap: Permissions
    """What its jobs may at most."""
    caller: Node | None = None
    prefix: str = ""
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Return whether none of its jobs can run any more."""
        return all(node.state == "done" for node in self.nodes.values())

    @property
    def result(self) -> str:
        """Return how it ended."""
        results = {node.result for node in self.nodes.values()}
        return next((one for one in ("failure", "cancelled") if one in results), "success")


@dataclass(eq=False, repr=False)
class Run:
    """A run of a workflow file."""

    id: int
    number: int
    repository: Repository
    file: File
    event: Event
    name: str
    """Its run-name; the file's own name is `file.name`."""
    created: datetime
    updated: datetime
    status: str = "queued"
    conclusion: str | None = None
    attempt: int = 1
    top: Within | None = None
    error: str = ""
    """Why it did not start."""
    is_cancelling: bool = False
    group: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    workflow_id: int = 0
    jobs: list[Job] = field(default_factory=list)
    reviewed: list[tuple[str, str, str, str]] = field(default_factory=list)
    """What reviewers of environments said: environment, login, `approved` or `rejected`, comment."""

    @property
    def branch(self) -> str:
        """Return the branch that its page shows."""
        pull = self.event.payload.get("pull_request")
        if self.event.name.startswith("pull_request") and pull:
            return str(pull["head"]["ref"])
        return self.event.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")

    @property
    def shown_sha(self) -> str:
        """Return the commit that its page shows: of a pull request its head, not the merge."""
        pull = self.event.payload.get("pull_request")
        if self.event.name.startswith("pull_request") and pull:
            return str(pull["head"]["sha"])
        return self.event.sha


def nodes(within: Within) -> dict[str, Node]:
    """Return the jobs of a file."""
    jobs = within.value.get("jobs") or {}
    return {str(id): Node(str(id), dict(about), within) for id, about in jobs.items()}


def is_soft(node: Node) -> bool:
    """Return whether a job may fail without harm."""
    return text(node.definition.get("continue-on-error", False)) == "true"


def ancestors(node: Node) -> Iterator[Node]:
    """Yield all jobs that one waits for, directly or not."""
    for one in node.needs:
        yield one
        yield from ancestors(one)


def every(within: Within) -> Iterator[Node]:
    """Yield the jobs of a file and of those that it calls."""
    for node in within.nodes.values():
        yield node
        for call in node.calls:
            yield from every(call)
