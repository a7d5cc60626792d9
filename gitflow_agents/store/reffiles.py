"""What refs say, read from git's own files where these are of the plain kind.

A look at the refs belongs to every attempt and every pass, and a process for each would be most of
what a short task costs.  Whatever is not plain (a symbolic ref, another storage, a file that is not
whole) is a Puzzle: git has to be asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SHA_LINE = re.compile(rb"[0-9a-f]{40}\n")
_PLAIN = ("refs/heads/", "refs/gitflow/")
_EXPRESSION = re.compile(r"[~^:\0]|@\{")


def read_small(path: str) -> bytes:
    """Return what a file holds, up to a few KiB; nothing of a pipe to which nobody writes."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


class Puzzle(Exception):
    """Something about refs that only git knows."""


class RefFiles:
    """The refs of one repository, as its common directory holds them."""

    def __init__(self, common: Path) -> None:
        self._common = os.fspath(common)
        self._kept = _Packed((0, 0, 0), {})

    def branch(self, name: str) -> str | None:
        """Return the sha that `refs/heads/x` names now, or None; Puzzle for anything else."""
        if not name.startswith(_PLAIN) or _EXPRESSION.search(name):
            raise Puzzle(name)
        try:
            return self._loose(name)
        except (FileNotFoundError, IsADirectoryError):
            return self._packed().shas.get(name)
        except OSError as e:
            raise Puzzle(name) from e

    def below(self, prefixes: tuple[str, ...]) -> dict[str, str]:
        """Return the refs below the prefixes, which are whole names or end in `/`, with shas."""
        found: dict[str, str] = {}
        unread = list(prefixes)
        try:
            while unread:
                name = unread.pop()
                try:
                    if name.endswith("/"):
                        unread += self._inside(name)
                    elif not name.endswith(".lock"):
                        found[name] = self._loose(name)
                except FileNotFoundError:
                    continue  # deleted, or packed, since its folder was read
        except OSError as e:
            raise Puzzle(name) from e
        # Packed ones come last: a ref that is packed meanwhile is in one place or the other.
        return dict(sorted({**self._packed().below(prefixes), **found}.items()))

    def _inside(self, folder: str) -> list[str]:
        with os.scandir(f"{self._common}/{folder}") as entries:
            return [
                f"{folder}{entry.name}{'/' if entry.is_dir(follow_symlinks=False) else ''}"
                for entry in entries
            ]

    def _loose(self, ref: str) -> str:
        said = read_small(f"{self._common}/{ref}")
        if not _SHA_LINE.fullmatch(said):
            raise Puzzle(ref)
        return said[:40].decode()

    def _packed(self) -> _Packed:
        """Return the packed refs; their file is read again only when it is another one."""
        kept, path = self._kept, f"{self._common}/packed-refs"
        try:
            if _key(os.stat(path)) != kept.key:
                with open(path, "rb") as file:
                    key = _key(os.fstat(file.fileno()))
                    lines = os.fsdecode(file.read()).split("\n")
                shas = {line[41:]: line[:40] for line in lines if line[40:41] == " "}
                self._kept = kept = _Packed(key, shas)
        except FileNotFoundError:
            return _Packed((0, 0, 0), {})
        except OSError as e:
            raise Puzzle("packed-refs") from e
        return kept


def _key(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_ctime_ns, about.st_size


@dataclass(frozen=True)
class _Packed:
    """One content of the file `packed-refs`: `key` tells it from any other."""

    key: tuple[int, int, int]
    shas: Mapping[str, str]
    _picked: dict[tuple[str, ...], Mapping[str, str]] = field(default_factory=dict)

    def below(self, prefixes: tuple[str, ...]) -> Mapping[str, str]:
        if prefixes not in self._picked:
            folders = tuple(prefix for prefix in prefixes if prefix.endswith("/"))
            self._picked[prefixes] = {
                ref: sha
                for ref, sha in self.shas.items()
                if ref in prefixes or ref.startswith(folders)
            }
        return self._picked[prefixes]
