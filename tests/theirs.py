"""What in a repository belongs to its user, and the promise that it stays as it is.

`untouched` compares everything before and after: the checkout, the index, HEAD, the stash, hooks,
configuration and every other file of the git directory.  Left out is what the tool says it writes:
objects, its own folder, its own branches, and one line that hides its worktrees.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from tests.repos import WORKTREES, Repo, Snapshot

MADE = ("plan/", "flow/", "task/", "gitflow/")
"""How the branches begin that a run makes, unless its plan says otherwise."""
OURS = ("objects/", "gitflow-agents/")
# A submodule is a repository of its own, to be named beside the one that it is in.
MODULES = "modules/"
# Refs are compared by what they say, because git itself moves them from file to file.
REFS = ("refs/", "logs/refs/", "packed-refs")


@dataclass(frozen=True)
class Theirs:
    """Everything that is the user's; two are equal when nothing moved.

    `refs` are all refs but the tool's, `private` the files of the git directory, `hidden` the lines
    of `info/exclude`, `beside` all paths in the folder where the tool makes its worktrees.
    """

    snapshot: Snapshot
    refs: tuple[str, ...]
    private: tuple[tuple[str, bytes], ...]
    hidden: tuple[str, ...]
    beside: tuple[str, ...]


def theirs(repo: Repo, made: Sequence[str] = MADE) -> Theirs:
    """Return everything that is the user's, but for branches that begin as in `made`."""
    common = repo.path / repo.git("rev-parse", "--git-common-dir")
    ours = tuple(f"refs/heads/{name}" for name in made)
    refs = repo.git("for-each-ref", "--format=%(refname) %(objectname) %(symref)").splitlines()
    exclude = common / "info" / "exclude"
    lines = exclude.read_text().splitlines() if exclude.exists() else []
    return Theirs(
        snapshot=repo.snapshot(),
        refs=tuple(ref for ref in refs if not ref.startswith(ours)),
        private=tuple(_private(common)),
        hidden=tuple(line for line in lines if line != f"/{WORKTREES}/"),
        beside=tuple(sorted(str(path) for path in (repo.path / WORKTREES).rglob("*"))),
    )


def _private(common: Path) -> Iterator[tuple[str, bytes]]:
    for folder, folders, names in os.walk(common):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            inside = path.relative_to(common).as_posix()
            if not inside.startswith((*OURS, *REFS, MODULES)) and inside != "info/exclude":
                yield inside, path.read_bytes()


@contextmanager
def untouched(*repos: Repo, made: Sequence[str] = MADE) -> Iterator[None]:
    """Hold that the block leaves what is the user's as it is; it may make the branches `made`."""
    before = [theirs(repo, made) for repo in repos]
    yield
    for repo, was in zip(repos, before, strict=True):
        now = theirs(repo, made)
        assert now == was, "\n".join(_differences(was, now))


def _differences(was: Theirs | Snapshot, now: Theirs | Snapshot) -> Iterator[str]:
    for each in fields(was):
        before, after = getattr(was, each.name), getattr(now, each.name)
        if isinstance(before, Snapshot):
            yield from _differences(before, after)
        elif isinstance(before, tuple):
            yield from (f"{each.name}: - {item}"[:500] for item in before if item not in after)
            yield from (f"{each.name}: + {item}"[:500] for item in after if item not in before)
        elif before != after:
            yield f"{each.name}: {before!r} became {after!r}"
