"""What changed in the person's own checkout while agents worked beside it.

An agent can write there, and so does the person, and nothing tells the one from the other: so a
change is told and never put back.  Looking takes a moment for each file, so it is done before the
first attempt and after the last; in between only where the index or HEAD has moved.  What git
ignores is not looked at, and git compares no contents: that could start filters of the person's.
"""

from __future__ import annotations

import contextlib
import os
import threading

from gitflow_agents.errors import GitFailed
from gitflow_agents.store.repository import Repository

SECONDS = 60.0
"""Time for one look; where it takes longer nothing is told."""

Print = tuple[str, int, int, int]


class Checkout:
    """The main checkout of a repository, and who worked since it was looked at last."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._known: dict[str, Print] | None = None
        self._mark: tuple[object, ...] = ()
        self._working: set[str] = set()
        self._worked: set[str] = set()
        self._looking = threading.Lock()

    def begin(self, task: str) -> None:
        """An attempt at a task begins; before the first one, take how all is now for right."""
        if self.repository.is_bare:
            return
        with self._looking:
            if self._known is None:
                self._known = self._files()
                self._mark = self._moved()
            self._working.add(task)
            self._worked.add(task)

    def end(self, task: str) -> str:
        """An attempt is over: return in a sentence what changed, if it is seen cheaply."""
        with self._looking:
            said = self._look() if self._known is not None and self._moved() != self._mark else ""
            self._working.discard(task)
            return said

    def close(self) -> str:
        """All attempts are over: return in a sentence what else has changed, or nothing."""
        with self._looking:
            return self._look() if self._known is not None else ""

    def _look(self) -> str:
        before, worked = self._known or {}, sorted(self._worked)
        self._known = now = self._files()
        self._mark = self._moved()
        self._worked = set(self._working)
        paths = sorted(p for p in before.keys() | now.keys() if before.get(p) != now.get(p))
        if not paths or not worked:
            return ""
        some = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if paths[5:] else "")
        return (
            f"files of your checkout changed while {', '.join(worked)} ran, "
            f"by an agent or by somebody else: {some}"
        )

    def _moved(self) -> tuple[object, ...]:
        """Return what moves when files are staged or committed, or another branch is there."""
        found: list[object] = []
        for name in ("index", "HEAD"):
            with contextlib.suppress(OSError):
                about = os.stat(self.repository.common / name)
                found.append((about.st_ino, about.st_mtime_ns))
        return tuple(found)

    def _files(self) -> dict[str, Print]:
        """Return of each file what the index says of it, and what tells it from a later one."""
        how = ("ls-files", "-z", "-t", "-s", "--cached", "--others", "--exclude-standard")
        quiet = ("-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "-C")
        home = str(self.repository.home)
        try:
            code, out, _ = self.repository.user.attempt(
                *quiet, home, *how, "--directory", "--no-empty-directory", seconds=SECONDS
            )
        except GitFailed:
            code, out = 1, b""
        if code:
            return self._known or {}
        found: dict[str, Print] = {}
        for item in os.fsdecode(out).split("\0")[:-1]:
            tag, _, rest = item.partition(" ")
            state, tab, path = rest.partition("\t")
            if tag == "?" or not tab:
                state, path = tag, rest
            try:
                about = os.lstat(f"{home}/{path}")
                found[path] = state, about.st_ino, about.st_size, about.st_mtime_ns
            except OSError:
                found[path] = state, 0, 0, 0
        return found
