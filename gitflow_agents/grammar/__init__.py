"""Which commands a comment gives: its leading lines, and nothing else of it.

`read` returns every line that is meant for us with the command that it is, or with why it is none;
where one is wrong, nobody carries out any.  It decides nothing about plans and people.  What a line
holds ends up in the fields of a command and nowhere else.

`lines` says which lines of a comment can be commands at all, `arguments` what a line says,
`nearly` what somebody who talks to us may have meant, and `typed` how a command is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gitflow_agents.commands import SYNONYMS, Act, Refused, kinds
from gitflow_agents.grammar.arguments import MOST_NOTE, Said, build, cut, said, shown, takes
from gitflow_agents.grammar.lines import Kind, Part, block_of, is_separator, parts
from gitflow_agents.grammar.nearly import MENTIONS, PROGRAM, meant
from gitflow_agents.grammar.typed import Prefix, of_terminal, typed

MOST_COMMANDS = 10
MOST_SHOWN = 300
"""Letters of a line that are told again."""
SHORTEST_NEAR = 5
_WORD = re.compile(r"[a-z][a-z-]{0,19}")


@dataclass(frozen=True)
class Line:
    """One line of a comment that is meant for us: a command, or why it is none."""

    number: int
    """Of the comment, from 1."""
    text: str
    """As it was typed, cut where it is long."""
    verb: str
    """The command's main name, empty where it is not known."""
    command: Act | None
    refused: Refused | None
    synonym: str = ""
    """What was typed, where that is another name."""
    dry_run: bool = False


@dataclass(frozen=True)
class Heard:
    """What a comment says to us; without a line it says nothing to us, and nobody answers."""

    lines: tuple[Line, ...] = ()
    note: str = ""
    """What stands below the commands."""

    @property
    def is_wrong(self) -> bool:
        """Say whether a line cannot be carried out, so that none of them is."""
        return any(line.refused is not None for line in self.lines)


def read(
    text: str,
    *,
    prefix: Prefix = Prefix(),  # noqa: B008 - frozen
    ignored: frozenset[str] = frozenset(),
    mentions: frozenset[str] = MENTIONS,
    is_form: bool = False,
) -> Heard:
    """Return the commands of a comment; it raises nothing, whatever the text is.

    `ignored` are words that are left to other programs, `mentions` the names under which people
    talk to us.  What stands in a form is meant for us: its first line needs no slash, and is
    answered whatever it is.
    """
    if is_form:
        text, prefix, ignored = text.strip(), Prefix(prefix.word), frozenset()
    reader = _Reader(prefix, ignored, is_form)
    found: list[_Spoken] = []
    note: list[Part] = []
    late: Line | None = None
    is_leading = True
    for part in parts(text):
        if part.kind is Kind.HIDDEN:
            continue
        spoken = reader.spoken(part) if part.kind in (Kind.TEXT, Kind.LAZY) else None
        if is_leading:
            if part.kind is Kind.BLANK or (part.kind is Kind.QUOTE and not found):
                continue
            if part.kind is Kind.LAZY and not found:
                late = late or reader.too_late(spoken, _IN_QUOTE)
                continue
            if part.kind is Kind.TEXT and (spoken or reader.is_for_others(part.text)):
                found += [spoken] if spoken else []
                if len(found) > MOST_COMMANDS:
                    break
                continue
            is_leading = False
        note.append(part)
        if part.kind is Kind.TEXT:
            late = late or reader.too_late(spoken, _NOT_FIRST)
    below = "\n".join(part.text for part in note).strip()
    lines = reader.commands(found, below, block_of(note))
    if late is not None:
        lines = (*lines, late)
    if not lines:
        lines = _nearly(note, prefix, mentions)
    return Heard(lines, below[:MOST_NOTE]) if lines else Heard()


# --- one line -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Spoken:
    """A line that is meant for us, before the command is made: what it says, or why it cannot."""

    number: int
    text: str
    verb: str
    synonym: str = ""
    said: Said | None = None
    refused: Refused | None = None

    def line(self, command: Act | None, refused: Refused | None) -> Line:
        is_dry = self.said is not None and self.said.dry_run
        text = cut(self.text, MOST_SHOWN)
        return Line(self.number, text, self.verb, command, refused, self.synonym, is_dry)


@dataclass(frozen=True)
class _Reader:
    prefix: Prefix
    ignored: frozenset[str]
    is_form: bool = False

    def spoken(self, part: Part) -> _Spoken | None:
        """Return what a line says to us; None when it is for nobody, or for somebody else."""
        is_ours = self.is_form and part.number == 1
        if not is_ours and not part.text.lstrip(" ").startswith("/"):
            return None
        word, rest, column = _first(part.text)
        name = _lower(word.removeprefix("/"))
        if name == self.prefix.word:
            is_ours = True
            word, rest, column = _first(rest, column)
            name = _lower(word.removeprefix("/"))
        elif not is_ours and (self.prefix.is_required or name in self.ignored):
            return None
        first, _, _ = _first(rest)
        main = SYNONYMS.get(f"{name} {_lower(first)}", "")
        if main:
            _, rest, column = _first(rest, column)
            name = f"{name} {_lower(first)}"
        main = main or SYNONYMS.get(name, name)
        spoken = _Spoken(part.number, part.text.strip(), main, name if name != main else "")
        kind = kinds("comment").get(main)
        if kind is None:
            refused = self._unknown(name, word, rest, is_ours)
            return replace(spoken, verb="", synonym="", refused=refused) if refused else None
        try:
            return replace(spoken, said=said(kind, rest, column, self.prefix.start))
        except Refused as e:
            return replace(spoken, refused=e)

    def is_for_others(self, text: str) -> bool:
        """Say whether a line looks like the command of another program."""
        word, _, _ = _first(text)
        name = word[1:].replace("-", "")
        is_command = word.startswith("/") and name.isascii() and name.isalnum()
        return is_command and word[1:].lower() != PROGRAM

    def too_late(self, spoken: _Spoken | None, why: str) -> Line | None:
        """Return the refusal of a line that is exactly a command, at a place where it is none."""
        if spoken is None:
            return None
        try:
            self.command(spoken)
        except Refused:
            return None
        why = f"{shown(spoken.text)} {why.format(spoken.number)}; nothing ran"
        hint = "send it as the first line of a comment"
        return spoken.line(None, Refused("not-leading", why, hint=hint))

    def commands(self, found: Sequence[_Spoken], below: str, block: str | None) -> tuple[Line, ...]:
        """Return lines as commands; the last one that takes it gets what stands below them."""
        taker = next(
            (one for one in reversed(found) if one.said and takes(one.said, below, block)), None
        )
        lines = []
        for one in found[:MOST_COMMANDS]:
            try:
                mine = (below, block) if one is taker else ("", None)
                lines.append(one.line(self.command(one, *mine), None))
            except Refused as e:
                lines.append(one.line(None, e))
        if len(found) > MOST_COMMANDS:
            why = f"a comment holds at most {MOST_COMMANDS} commands; nothing ran"
            lines.append(found[-1].line(None, Refused("too-many", why)))
        return tuple(lines)

    def command(self, spoken: _Spoken, below: str = "", block: str | None = None) -> Act:
        """Return what a line asks for; raises Refused when it asks for nothing that there is."""
        if spoken.refused is not None:
            raise spoken.refused
        assert spoken.said is not None
        return build(spoken.said, below, block, self.prefix.start)

    def _unknown(self, name: str, word: str, rest: str, is_ours: bool) -> Refused | None:
        """Return what is said to a word that is no command; nothing where it may not be for us."""
        is_prefixed = is_ours and not self.is_form
        typed_ = f"/{self.prefix.word} {word}".strip() if is_prefixed else word
        help_ = f"{self.prefix.start}help"
        if name == "open":
            return Refused(
                "unknown-verb", "`open` is for a terminal only", hint=f"`{help_}` lists the others"
            )
        near = near_verb(name, is_strict=not is_ours)
        if not near and not is_ours:
            return None
        if not name:
            return Refused(
                "unknown-verb",
                f"{shown(typed_)} says no command",
                hint=f"`{help_}` lists them",
            )
        ask = f"; did you mean `{self.prefix.start}{near}`?" if near else ""
        refused = Refused(
            "unknown-verb", f"{shown(typed_)} is not a command{ask}", hint=f"`{help_}` lists them"
        )
        again = (
            self.spoken(Part(1, f"{self.prefix.start}{near}{rest}", Kind.TEXT)) if near else None
        )
        try:
            if again is not None:
                refused.hint = typed(self.command(again), self.prefix)
        except (Refused, ValueError):
            pass  # more is wrong with it than the name
        return refused


def _first(text: str, column: int = 1) -> tuple[str, str, int]:
    """Return the first word of a text, what follows it, and in which column that begins."""
    start = 0
    while start < len(text) and is_separator(text[start]):
        start += 1
    end = start
    while end < len(text) and not is_separator(text[end]):
        end += 1
    return text[start:end], text[end:], column + end


def _lower(word: str) -> str:
    # Other alphabets have letters whose small form is one of ours.
    return word.lower() if word.isascii() else word


def near_verb(name: str, *, is_strict: bool) -> str:
    """Return the command that a word misspells, or nothing.

    A strict reader takes one wrong letter in a word of five or more, because the word may be meant
    for somebody else.  Of a long word two may be wrong otherwise.
    """
    if not _WORD.fullmatch(name):
        return ""
    words = [*kinds("comment"), *(word for word in SYNONYMS if " " not in word)]
    most = 1 if is_strict or len(name) < 2 + SHORTEST_NEAR else 2
    shortest = SHORTEST_NEAR if is_strict else 3
    near = [
        (_edits(name, word), place, word)
        for place, word in enumerate(words)
        if min(len(name), len(word)) >= shortest and abs(len(name) - len(word)) <= most
    ]
    edits, _, word = min(near, default=(most + 1, 0, ""))
    return word if edits <= most else ""


def _edits(one: str, other: str) -> int:
    """Return how many letters are wrong, missing, too many or change places."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, wanted in enumerate(other, 1):
            line.append(min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != wanted)))
            if before and column > 1 and letter == other[column - 2] and wanted == one[row - 2]:
                line[-1] = min(line[-1], before[column - 2] + 1)
        before, last = last, line
    return last[-1]


# --- the comment as a whole -----------------------------------------------------------------------

_NOT_FIRST = "is on line {}, and commands must come first in a comment"
_IN_QUOTE = "is on line {}, right below a quote and so a part of it: leave a blank line between"


def _nearly(note: Iterable[Part], prefix: Prefix, mentions: frozenset[str]) -> tuple[Line, ...]:
    """Return the first sentence that speaks to us and is no command, with the command to copy."""
    for part in note:
        if part.kind is Kind.TEXT:
            wish = meant(part.text, prefix, mentions)
            if wish is not None:
                text = cut(part.text.strip(), MOST_SHOWN)
                return (Line(part.number, text, wish.verb, None, wish.refused),)
    return ()


__all__ = ["MENTIONS", "Heard", "Line", "Prefix", "of_terminal", "read", "typed"]
