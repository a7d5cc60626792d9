"""Who owns which path: a CODEOWNERS file, read as GitHub documents it.

The last line that matches a path says whose it is, and a line without names that it is nobody's.
What GitHub takes for no pattern (`!`, `[`, `\\#`) is no line here either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
"""Where the file may be; the first that is there counts."""
MOST_BYTES = 3 * 1024 * 1024
"""GitHub reads no longer one."""
_WORD = re.compile(r"(?:\\.|[^\s\\])+")
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Line:
    """One pattern, and those whose it is: folded logins and `organisation/team`, without `@`."""

    pattern: str
    owners: frozenset[str]

    @property
    def is_anchored(self) -> bool:
        """Say whether it is about one place, and not about a name anywhere."""
        return "/" in self.pattern.rstrip("/")

    @cached_property
    def _parts(self) -> list[str]:
        # Each `**` more would take the length of a path once more.
        return re.sub(r"(\*\*/)+", "**/", self.pattern.strip("/")).split("/")

    @cached_property
    def _matches(self) -> re.Pattern[str]:
        text = "" if self.is_anchored else "(?:.*/)?"
        *above, last = self._parts
        for part in above:
            text += "(?:.*/)?" if part == "**" else f"{_glob(part)}/"
        text += ".+" if last == "**" else _glob(last)
        if self.pattern.endswith("/"):
            text += "/.+"
        elif not (self.is_anchored and last in ("*", "**")):
            text += "(?:/.*)?"
        return re.compile(text, re.DOTALL)

    def owns(self, path: str) -> bool:
        """Say whether a path is one of those that the pattern is about."""
        return self._matches.fullmatch(path) is not None

    def may_own_below(self, folder: str) -> bool:
        """Say whether the pattern can be about a path in a folder, which may be the whole tree."""
        if not self.is_anchored or not folder:
            return True
        fixed: list[str] = []
        for part in self._parts:
            if _WILD.search(part):
                break
            fixed.append(part)
        return all(one == other for one, other in zip(fixed, folder.split("/"), strict=False))


@dataclass(frozen=True)
class Owners:
    """The lines of a CODEOWNERS file, in its order; none where there is no file."""

    lines: tuple[Line, ...] = ()

    def of(self, entry: str) -> Iterator[frozenset[str]]:
        """Yield who owns what an entry of a task's `files` is about; each has to agree.

        A path is one owner's, or nobody's.  A folder or a pattern may be several owners': whoever
        is to own all of it has to be in each of the sets.
        """
        fixed = _WILD.split(entry)[0]
        path = entry.strip("/")
        if fixed == entry and not entry.endswith("/"):
            yield next((line.owners for line in reversed(self.lines) if line.owns(path)), _NOBODY)
            return
        folder = fixed.rpartition("/")[0].strip("/")
        for line in reversed(self.lines):
            if line.may_own_below(folder):
                yield line.owners
            if line.owns(f"{folder}/\0/\0".lstrip("/")):
                return
        yield _NOBODY


_NOBODY: frozenset[str] = frozenset()


def read(text: str) -> Owners:
    """Return what a CODEOWNERS file says; lines that are none are left out."""
    lines = []
    for row in text.splitlines():
        words = []
        for word in _WORD.findall(row):
            if word.startswith("#"):
                break
            words.append(word)
        if not words or words[0].startswith(("!", "\\#")) or "[" in words[0]:
            continue
        pattern = re.sub(r"\\(.)", r"\1", words[0])
        if pattern.strip("/"):
            named = frozenset(word.removeprefix("@").casefold() for word in words[1:])
            lines.append(Line(pattern, named))
    return Owners(tuple(lines))


def _glob(part: str) -> str:
    """Return the expression of one name in a pattern."""
    # One after the other stars would take the square of a name's length.
    letters = re.sub(r"\*+", "*", part)
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(one, re.escape(one)) for one in letters)


__all__ = ["MOST_BYTES", "PLACES", "Line", "Owners", "read"]
