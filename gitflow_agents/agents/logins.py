"""Which secrets the agents of this machine keep in files of their own.

An agent reads them itself; what is known of them here serves only to find them where they should
not be.  They are read anew when a file has changed, because a login is renewed while it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gitflow_agents import leaks
from gitflow_agents.agents.headless import Cli
from gitflow_agents.runner import read_plain

MOST_BYTES = 4 * 1024 * 1024

Print = tuple[int, int, int]


@dataclass
class Logins:
    """The secrets in the files of some agents; one that was there once is known for ever."""

    clis: tuple[Cli, ...]
    environ: Mapping[str, str]
    _prints: dict[Path, Print] = field(default_factory=dict)
    _found: dict[str, str] = field(default_factory=dict)

    def secrets(self) -> Mapping[str, str]:
        """Return them as `leaks.known` does: what each is called, by its value."""
        for shown, path in self._places:
            self._look(shown, path)
        return self._found

    @cached_property
    def _places(self) -> tuple[tuple[str, Path], ...]:
        """Return where they may be; every result is searched for them, so that is asked once."""
        return tuple(
            place
            for cli in self.clis
            for place in cli.places((*cli.login, *cli.keeps), self.environ)
        )

    def _look(self, shown: str, path: Path) -> None:
        try:
            about = path.stat()
            now = about.st_ino, about.st_size, about.st_mtime_ns
            if self._prints.get(path) == now:
                return
            text = read_plain(path, MOST_BYTES).decode(errors="replace")
        except OSError:
            return
        # A new mapping, so that who goes through the old one in another thread is not disturbed.
        self._found = {**self._found, **leaks.kept(text, shown)}
        self._prints[path] = now
