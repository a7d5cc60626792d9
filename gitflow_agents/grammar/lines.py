"""Which lines of a comment are seen as plain text, and so can be a command at all.

GitHub shows a comment as markdown: what it shows as code or as a quote, or does not show, was not
said to us.  A line is looked at with those before it only, but where a comment within a line ends.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What a line of a comment is."""

    BLANK = auto()
    QUOTE = auto()
    LAZY = auto()
    """Right below a quote, and shown as a part of it."""
    HIDDEN = auto()
    """In an HTML comment."""
    FENCE = auto()
    """Where a fenced block of code begins or ends."""
    CODE = auto()
    TEXT = auto()


@dataclass(frozen=True)
class Part:
    """A line of a comment; `number` counts from 1."""

    number: int
    text: str
    kind: Kind


# Other characters that some programs end a line at do not end one on GitHub.
_BREAK = re.compile(r"\r\n|\r|\n")
_FENCE = re.compile(r"((?: {0,3}(?:[-+*]|[0-9]{1,9}[.)]) {1,4})*) {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_HIDDEN = re.compile(r" {0,3}<!--")
_RAW = re.compile(r" {0,3}<(pre|script|style|textarea)(?![a-z0-9-])", re.IGNORECASE)
_RAW_END = re.compile(r"</(pre|script|style|textarea)>", re.IGNORECASE)
_QUOTE = re.compile(r" {0,3}>(.*)")
_INDENTED = re.compile(r" {0,3}\t| {4}")


def is_separator(character: str) -> bool:
    """Say whether a character stands between two words: blanks of every width, and tabs."""
    return character in " \t" or unicodedata.category(character) == "Zs"


def parts(text: str) -> Iterator[Part]:
    """Return the lines of a comment, each as what it is shown."""
    lines = _BREAK.split(text)
    is_ended = _comments_that_end(lines)
    block: _Block | None = None
    above = Kind.BLANK
    for number, line in enumerate(lines, 1):
        if block is None:
            kind, block = _opening(line, above, is_ended[number - 1])
        elif block.ends(line):
            kind, block = block.last(line), None
        else:
            kind = block.kind
        above = kind
        if kind is Kind.QUOTE and not line.strip(" \t>"):
            above = Kind.BLANK
        yield Part(number, line, kind)


@dataclass(frozen=True)
class _Block:
    """Lines that are code, or hidden, until one ends them: with `mark` it is a fence."""

    kind: Kind
    mark: str = ""
    is_listed: bool = False
    """Whether it stands in a list, where all of it is indented."""

    def ends(self, line: str) -> bool:
        if self.kind is Kind.HIDDEN:
            return "-->" in line
        if not self.mark:
            return _RAW_END.search(line) is not None
        bare = line.strip()
        is_close = bool(bare) and set(bare) == {self.mark[0]} and len(bare) >= len(self.mark)
        return is_close and (self.is_listed or not _INDENTED.match(line))

    def last(self, line: str) -> Kind:
        """Return what the last line is; what follows an HTML comment in it is seen."""
        if self.kind is Kind.HIDDEN:
            return Kind.CODE if line.rpartition("-->")[2].strip() else Kind.HIDDEN
        return Kind.FENCE if self.mark else Kind.CODE


_HIDING = _Block(Kind.HIDDEN)


def _opening(line: str, above: Kind, is_ended: bool) -> tuple[Kind, _Block | None]:
    """Return what a line outside a block is, and the block that it opens, if it opens one."""
    if not line.strip():
        return Kind.BLANK, None
    if _QUOTE.match(line):
        return Kind.QUOTE, None
    if found := _FENCE.match(line):
        return Kind.FENCE, _Block(Kind.CODE, found[2], bool(found[1]))
    if _RAW.match(line):
        return Kind.CODE, None if _RAW_END.search(line) else _Block(Kind.CODE)
    if _HIDDEN.match(line):
        return (_HIDING.last(line), None) if "-->" in line else (Kind.HIDDEN, _HIDING)
    if above in (Kind.QUOTE, Kind.LAZY):
        return Kind.LAZY, None
    opens = line.rfind("<!--") > line.rfind("-->") and is_ended
    return Kind.CODE if _INDENTED.match(line) else Kind.TEXT, _HIDING if opens else None


def _comments_that_end(lines: list[str]) -> list[bool]:
    """Return for each line whether an HTML comment that begins in its middle would end.

    It does so in the same paragraph or not at all: then it is text.
    """
    found, ends = [], False
    for line in reversed(lines):
        found.append(ends)
        ends = "-->" in line or (ends and bool(line.strip()))
    return found[::-1]


def block_of(note: Iterable[Part]) -> str | None:
    """Return what stands in the first fence of some lines; None without one."""
    inside: list[str] | None = None
    for part in note:
        if part.kind is Kind.FENCE:
            if inside is not None:
                break
            inside = []
        elif inside is not None:
            inside.append(part.text)
    return None if inside is None else "\n".join(inside) + "\n"
