"""How free text becomes safe to show, and how values become words.

Titles, reasons and whatever an agent printed are data.  `clean` takes out what a terminal would
obey; `one_line`, `fit`, `cell`, `code`, `fence`, `inline` put the rest where it belongs so that it
cannot end the line, the table cell, the code span or the fence that it stands in.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

WIDTH = 80
"""Columns that plain output has."""

# Whole escape sequences first, so that no half of one is left to be read as text.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# Controls but newline and tab; what turns the direction of writing; what UTF-8 or YAML lacks.
_UNSAFE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BACKTICKS = re.compile("`+")


def clean(text: str) -> str:
    """Return text without anything that a terminal obeys; lines and tabs stay.

    Escape sequences go, every way to end a line becomes a newline, any other control character
    becomes U+FFFD.
    """
    if text.isascii() and text.isprintable():
        return text
    plain = _ESCAPE.sub("", _BREAKS.sub("\n", text))
    return _UNSAFE.sub("\ufffd", plain)


def one_line(text: str) -> str:
    """Return text on one line: clean, white space folded."""
    return " ".join(clean(text).split())


def screen(lines: Iterable[str]) -> str:
    """Return lines as what a terminal gets: clean, whatever got into them."""
    return clean("\n".join(lines))


def columns(text: str) -> int:
    """Return how many columns of a terminal a line takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


@lru_cache(maxsize=4096)
def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, width: int) -> str:
    """Return text on one line of at most `width` columns; what is cut off is shown as `…`."""
    line = one_line(text)
    if columns(line) <= width:
        return line
    left = width - 1
    for place, character in enumerate(line):
        left -= _columns(character)
        if left < 0:
            return line[:place].rstrip() + "…"
    return line


def pad(text: str, width: int) -> str:
    """Return text filled with spaces to `width` columns."""
    return text + " " * (width - columns(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> list[str]:
    """Return rows as lines in columns, each as wide as its widest cell; cells are safe already."""
    lines = [head, *rows] if head else list(rows)
    if not lines:
        return []
    widths = [max(columns(row[place]) for row in lines) for place in range(len(lines[0]) - 1)]
    return [(indent + "  ".join([*map(pad, row[:-1], widths), row[-1]])).rstrip() for row in lines]


def titled(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table whose last column is cut to what the others leave of the line.

    Without a head, a column in which nothing stands takes no room.
    """
    rows = list(rows)
    if not head and rows:
        kept = [place for place in range(len(rows[0])) if any(row[place] for row in rows)]
        rows = [[row[place] for place in kept] for row in rows]
    lines = [head, *rows] if head else rows
    last = len(lines[0]) - 1 if lines else 0
    widths = [max(columns(row[place]) for row in lines) for place in range(last)]
    left = max(12, WIDTH - sum(widths) - 2 * len(widths))
    return table(head, [(*row[:-1], fit(row[-1], left)) for row in rows])


def wrapped(text: str, first: str, other: str) -> list[str]:
    """Return one-line text as lines of at most 80 columns; a long word stays whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]


def ids(names: Sequence[str], width: int = 24) -> str:
    """Return ids in about `width` columns: whole ones only, at least one, `+N` for the rest."""
    text = ""
    for place, name in enumerate(names):
        longer = f"{text}, {name}" if text else name
        if text and len(longer) > width:
            return f"{text} +{len(names) - place}"
        text = longer
    return text


def count(number: int, noun: str, plural: str = "") -> str:
    """Return `1 task`, `2 tasks`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


# --- values as words ------------------------------------------------------------------------------


_UNITS = ((86400, 3600, "d", "h"), (3600, 60, "h", "m"), (60, 1, "m", "s"))


def duration(seconds: float) -> str:
    """Return seconds for people: `0.4s`, `45s`, `3m 20s`, `2h 5m`, `3d 4h`."""
    if seconds < 10 and seconds != int(seconds):
        return f"{max(seconds, 0):.1f}s"
    whole = max(0, round(seconds))
    for big, small, one, other in _UNITS:
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big}{one}" + (f" {rest}{other}" if rest else "")
    return f"{whole}s"


def utc(seconds: float) -> str:
    """Return seconds since the epoch as `2026-01-02T03:04:05Z`."""
    return _utc(int(seconds))


@lru_cache(maxsize=256)
def _utc(seconds: int) -> str:
    # A pass tells of many things in the same second.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def money(dollars: float) -> str:
    """Return dollars as `$1.20`, and as much as is needed of a fraction of a cent."""
    return f"${dollars:.2f}" if dollars >= 0.01 or dollars == 0 else f"${dollars:.4f}"


def short(sha: str) -> str:
    """Return the part of a sha that people read."""
    return sha[:7]


# --- markdown -------------------------------------------------------------------------------------

_INLINE = re.compile(r"[\\`*_\[\]<>&|~#!$]")
_OPENING = re.compile(r"^(\d+)([.)])|^([-+=])")


def inline(text: str) -> str:
    """Return text for a line of markdown: it is read as these characters and nothing else."""
    line = _INLINE.sub(r"\\\g<0>", one_line(text))
    return _OPENING.sub(lambda found: f"{found[1] or ''}\\{found[2] or found[3]}", line)


@lru_cache(maxsize=65536)
def cell(text: str, width: int = 60) -> str:
    """Return text for a cell of a markdown table, at most `width` columns before escaping."""
    return inline(fit(text, width))


def code_cell(text: str, width: int = 60) -> str:
    """Return text as a code span in a cell of a markdown table."""
    return code(fit(text, width)).replace("|", "\\|")


def code(text: str) -> str:
    """Return text as a code span; a text without a character is an empty string."""
    line = one_line(text)
    if not line:
        return ""
    if "`" not in line:
        return f"`{line}`"
    ticks = "`" * (max(map(len, _BACKTICKS.findall(line)), default=0) + 1)
    if line.startswith("`") or line.endswith("`"):
        line = f" {line} "
    return f"{ticks}{line}{ticks}"


def fence(text: str, word: str = "text") -> str:
    """Return text in a fence that is longer than any run of backticks in it."""
    body = clean(text).strip("\n")
    ticks = "`" * max(3, max(map(len, _BACKTICKS.findall(body)), default=0) + 1)
    return f"{ticks}{word}\n{body}\n{ticks}"


def bullets(items: Iterable[str]) -> list[str]:
    """Return free texts as a markdown list; a text of several lines becomes a fenced item."""
    lines = []
    for item in items:
        body = clean(item).strip()
        if "\n" in body:
            fenced = fence(body).replace("\n", "\n  ")
            lines.append(f"- {fenced}")
        else:
            lines.append(f"- {inline(body)}")
    return lines


def shortened(text: str, most: int, where: str = "") -> str:
    """Return at most `most` characters of a text, and say so when there were more."""
    if len(text) <= most:
        return text
    rest = f"; {where} has all of it" if where else ""
    return f"{text[:most]}\n[… {len(text) - most:,} characters more{rest}]"
