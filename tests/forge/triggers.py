"""Which workflow files an event starts, and from which commit they are read.

Start with found. GitHub looks at the files of the event's own commit, or at those of the default
branch, depending on the event (ON_DEFAULT_BRANCH).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.forge import expressions
from tests.forge.state import ZERO, Repository

FOLDER = ".github/workflows"
ON_DEFAULT_BRANCH = frozenset(
    "schedule workflow_dispatch repository_dispatch issue_comment issues workflow_run delete check_run"
    " check_suite status".split()
)
DEFAULT_TYPES: Mapping[str, tuple[str, ...]] = {
    "pull_request": ("opened", "synchronize", "reopened")
}
SKIPS = re.compile(r"\[(skip ci|ci skip|no ci|skip actions|actions skip)\]")
STAY_SILENT = frozenset({"push", "pull_request"})
"""Events that such words in a commit message keep from starting anything."""


@dataclass(frozen=True)
class Event:
    """Something that happened in a repository."""

    name: str
    payload: Mapping[str, Any]
    actor: str
    ref: str
    """The full name of the ref that a run has, as GITHUB_REF."""
    sha: str
    """The commit that a run has, as GITHUB_SHA."""
    by_default_token: bool = False
    workflow: str = ""
    """The one file that is meant, where an event means one."""
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class File:
    """A workflow file at a commit."""

    repository: str
    path: str
    sha: str
    content: str

    @property
    def value(self) -> dict[str, Any]:
        """Return its YAML; raise Broken."""
        value = expressions.load(self.content)
        if not isinstance(value, dict):
            raise expressions.Broken(f"{self.path} is no mapping")
        return value

    @property
    def name(self) -> str:
        """Return what the file calls itself, else its path."""
        try:
            return str(self.value.get("name") or self.path)
        except expressions.Broken:
            return self.path


def files(repository: Repository, rev: str) -> Iterator[File]:
    """Yield the workflow files of a revision, in order of their names."""
    sha = repository.sha(rev)
    if sha is None:
        return
    listed = repository.git.git("ls-tree", "-z", "--name-only", f"{sha}:{FOLDER}", check=False)
    for name in sorted(filter(None, listed.split("\0"))):
        if name.endswith((".yml", ".yaml")):
            path = f"{FOLDER}/{name}"
            yield File(repository.name, path, sha, repository.git.show(sha, path))


def found(repository: Repository, event: Event) -> list[File]:
    """Return the files that an event starts; one that cannot be read is started too, and fails."""
    rev = event.sha
    if event.name in ON_DEFAULT_BRANCH and event.name != "workflow_dispatch":
        rev = "refs/heads/" + repository.default_branch
    if event.name in STAY_SILENT and _is_skipped(repository, event):
        return []
    result = []
    for file in files(repository, rev):
        if event.workflow and file.path != event.workflow:
            continue
        try:
            about = triggers(file.value)
        except expressions.Broken:
            if event.name == "push":
                result.append(file)
            continue
        if event.name in about and _wants(about[event.name] or {}, repository, event):
            result.append(file)
    return result


def triggers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a workflow file runs on, by event."""
    on = value.get("on")
    if isinstance(on, str):
        return {on: None}
    if isinstance(on, list):
        return dict.fromkeys(on)
    return dict(on or {})


def _wants(about: Any, repository: Repository, event: Event) -> bool:
    if not isinstance(about, Mapping):
        return True  # a schedule
    action = event.payload.get("action")
    types = _list(about.get("types")) or DEFAULT_TYPES.get(event.name, ())
    if types and event.name != "repository_dispatch" and action not in types:
        return False
    if event.name == "repository_dispatch":
        return not types or action in types
    if event.name == "push":
        ref = str(event.payload["ref"])  # of a deletion the one that is gone
        return _wants_ref(about, ref) and _wants_paths(about, repository, event)
    if event.name == "pull_request":
        base = event.payload["pull_request"]["base"]["ref"]
        return _passes(about, "branches", base) and _wants_paths(about, repository, event)
    if event.name == "workflow_run":
        run = event.payload["workflow_run"]
        names = _list(about.get("workflows"))
        return run["name"] in names and _passes(about, "branches", run["head_branch"])
    return True


def _wants_ref(about: Mapping[str, Any], ref: str) -> bool:
    kind, name = ("tags", ref[10:]) if ref.startswith("refs/tags/") else ("branches", ref[11:])
    said = [key for key in ("branches", "branches-ignore", "tags", "tags-ignore") if key in about]
    if said and not any(key.startswith(kind) for key in said):
        return False  # filters for one kind leave the other out
    return _passes(about, kind, name)


def _passes(about: Mapping[str, Any], key: str, name: str) -> bool:
    if key + "-ignore" in about:
        return not matches(_list(about[key + "-ignore"]), name)
    return key not in about or matches(_list(about[key]), name)


def _wants_paths(about: Mapping[str, Any], repository: Repository, event: Event) -> bool:
    has_filter = "paths" in about or "paths-ignore" in about
    if not has_filter or event.payload.get("after") == ZERO:
        return True
    changed = _changed(repository, event)
    if "paths-ignore" in about:
        ignored = _list(about["paths-ignore"])
        return any(not matches(ignored, path) for path in changed)
    return any(matches(_list(about["paths"]), path) for path in changed)


def _changed(repository: Repository, event: Event) -> list[str]:
    if event.name == "pull_request":
        pull = event.payload["pull_request"]
        span = f"{pull['base']['sha']}...{pull['head']['sha']}"
        return repository.git.git("diff", "--name-only", span).split("\n")
    before, after = event.payload["before"], event.payload["after"]
    if before == ZERO:
        before = repository.git.git("hash-object", "-t", "tree", "/dev/null")
    return repository.git.git("diff", "--name-only", before, after).split("\n")


def _is_skipped(repository: Repository, event: Event) -> bool:
    if event.name == "pull_request":
        sha = event.payload["pull_request"]["head"]["sha"]
    else:
        sha = event.payload["after"]
    return sha != ZERO and bool(SKIPS.search(repository.git.log(sha, "%B", "-1")))


def matches(patterns: list[str], name: str) -> bool:
    """Return whether a name is meant by patterns of a filter, of which the last that fits counts."""
    result = False
    for pattern in patterns:
        if _pattern(pattern.removeprefix("!")).fullmatch(name):
            result = not pattern.startswith("!")
    return result


def _pattern(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\+|\[[^\]]*\])", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    return re.compile(
        "".join(
            meaning.get(part, part if part.startswith("[") else re.escape(part)) for part in parts
        )
    )


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
