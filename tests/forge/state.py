"""What the fake GitHub remembers: repositories, people, tokens, pull requests, checks.

Runs and jobs are in `runs`. Start with Repository. All of it is read and changed under the hub's
lock only.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.repos import Repo

if TYPE_CHECKING:
    from tests.forge.runs import Job, Run

ZERO = "0" * 40
BOT = "github-actions[bot]"

Level = Literal["none", "read", "write"]
LEVELS: tuple[Level, ...] = ("none", "read", "write")
SCOPES = tuple(
    "actions artifact-metadata attestations checks contents deployments discussions id-token issues"
    " models packages pages pull-requests security-events statuses vulnerability-alerts".split()
)
"""The keys of `permissions:`."""

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
"""What somebody may be in a repository; each may do what those before it may."""

Permissions = Mapping[str, str]


class Refused(Exception):
    """An answer that is no: its status, and what GitHub says."""

    def __init__(self, status: int, message: str, *errors: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, errors


class No(Exception):
    """An answer of GraphQL that is no: the type of GitHub's error, and what GitHub says."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Token:
    """What somebody shows to be let in."""

    kind: Literal["default", "app", "person"]
    login: str
    repository: str = ""
    """The one repository of a token that is not a person's."""
    permissions: Permissions = field(default_factory=dict)
    job: str = ""
    """The job it was minted for, as `FILE JOB`."""
    is_over: bool = False
    text: str = field(default_factory=lambda: "ghs_" + secrets.token_hex(18))
    used: int = 0
    """Requests of this hour."""
    scopes: tuple[str, ...] | None = None
    """Of a classic token, which GitHub tells with every answer."""
    fine_for: str = ""
    """Of a person's fine-grained token: the account whose things it is for, by `permissions`."""


@dataclass
class Environment:
    """An environment of a repository: secrets that only some branches may use."""

    secrets: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    """The branches that may use it; none means all."""
    reviewers: tuple[str, ...] = ()
    """Who has to let a job in, one of them; with none it begins by itself."""


@dataclass
class Comment:
    """A comment on an issue or a pull request."""

    id: int
    number: int
    body: str
    author: str
    created: datetime
    updated: datetime
    reactions: list[Reaction] = field(default_factory=list)
    edited: datetime | None = None


@dataclass
class Reaction:
    """Somebody's sign under a comment."""

    id: int
    content: str
    author: str
    created: datetime


@dataclass
class Issue:
    """An issue, or the half of a pull request that is one."""

    id: int
    number: int
    title: str
    body: str
    author: str
    created: datetime
    updated: datetime
    state: str = "open"
    reason: str | None = None
    closed: datetime | None = None
    closed_by: str | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    pull: Pull | None = None
    reactions: list[Reaction] = field(default_factory=list)
    milestone: int | None = None
    parent: int | None = None
    """The id of the issue that this one is a part of."""
    parts: list[int] = field(default_factory=list)
    """The ids of its sub-issues, in their order."""
    blocked_by: list[int] = field(default_factory=list)
    """The ids of the issues that it waits for."""


@dataclass
class Pull:
    """The other half of a pull request."""

    id: int
    head: str
    base: str
    head_sha: str
    base_sha: str
    draft: bool
    head_repository: str
    merged: datetime | None = None
    merged_by: str | None = None
    merge_sha: str | None = None
    reviews: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Check:
    """A check run."""

    id: int
    name: str
    sha: str
    app: str
    status: str = "queued"
    conclusion: str | None = None
    started: datetime | None = None
    completed: datetime | None = None
    details_url: str | None = None
    external_id: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Artifact:
    """Files that a run keeps, in a folder of the hub."""

    id: int
    name: str
    run: int
    folder: Path
    created: datetime
    size: int


@dataclass(eq=False, repr=False)
class Repository:
    """A repository: git's part is a bare one below the hub, the rest is here."""

    name: str
    """As `OWNER/NAME`."""
    id: int
    git: Repo
    default_branch: str
    private: bool
    allow_pull_requests: bool
    """Whether GitHub Actions may create and approve pull requests."""
    allow_drafts: bool
    default_permissions: Literal["read", "write"]
    """What a workflow may that says nothing about permissions."""
    people: dict[str, str] = field(default_factory=dict)
    """The role of everybody who has one, by login."""
    protected: dict[str, set[str]] = field(default_factory=dict)
    """Who may push, by branch that nobody else may push to."""
    secrets: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    milestones: list[str] = field(default_factory=list)
    """Their titles; the first one has number 1."""
    issues_enabled: bool = True
    checks: dict[int, Check] = field(default_factory=dict)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[int, Run] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    workflows: dict[str, int] = field(default_factory=dict)
    """The id of every workflow that the default branch ever had, by path."""
    artifacts: dict[int, Artifact] = field(default_factory=dict)
    caches: dict[str, list[Path | None]] = field(default_factory=dict)
    """What was saved under each key, the oldest first: a folder for each path that was there."""
    forbidden_events: set[str] = field(default_factory=set)
    """Events that a policy for Actions lets start nothing."""
    archived: bool = False
    actions_enabled: bool = True
    allowed_actions: Literal["all", "local_only", "selected"] = "all"
    chosen_actions: dict[str, Any] = field(default_factory=dict)
    """Which ones, where they are selected."""
    switched_off: dict[str, str] = field(default_factory=dict)
    """The state of each workflow file that is not active, by path."""
    rules: dict[str, set[str]] = field(default_factory=dict)
    """Kinds of rules by the pattern of the branches that they are for; nobody is held to them."""

    @property
    def owner(self) -> str:
        """Return whose it is."""
        return self.name.partition("/")[0]

    def role(self, login: str) -> str:
        """Return what somebody may here: in a public repository everybody reads."""
        return self.people.get(login, "none" if self.private else "read")

    def may(self, login: str, role: str) -> bool:
        """Return whether somebody has at least a role."""
        return ROLES.index(self.role(login)) >= ROLES.index(role)

    def sha(self, rev: str) -> str | None:
        """Return the commit that a revision names, or None."""
        found = self.git.git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", rev + "^{commit}", check=False
        )
        return found or None

    def head(self, branch: str) -> str | None:
        """Return the tip of a branch, or None."""
        return self.sha("refs/heads/" + branch)

    def text(self, rev: str, path: str) -> str | None:
        """Return a file of a revision, or None."""
        try:
            return self.git.show(rev, path)
        except AssertionError:
            return None


def at_least(granted: Permissions, scope: str, level: str) -> bool:
    """Return whether permissions hold a level of a scope."""
    return LEVELS.index(_level(granted.get(scope, "none"))) >= LEVELS.index(_level(level))


def stated(permissions: Any) -> dict[str, str] | None:
    """Return what a `permissions:` of a workflow file grants, or None where it says nothing."""
    if permissions is None:
        return None
    if permissions in ("read-all", "write-all"):
        level = "read" if permissions == "read-all" else "write"
        return dict.fromkeys(SCOPES, level)
    return {str(scope): str(level) for scope, level in dict(permissions).items()}


def _level(word: str) -> Level:
    return LEVELS[LEVELS.index(word)]
