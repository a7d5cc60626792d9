"""What somebody may have meant who talks to us without giving a command.

Nothing of it ever runs: they get the command to copy.  It is kept strict, because a comment is
mostly people talking to each other: somebody has to say our name, or `please` and a command with
its slash, at the beginning of the line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gitflow_agents.commands import SYNONYMS, Act, Refused, kinds
from gitflow_agents.grammar.arguments import MOST_LETTERS, is_target, lacks, usage
from gitflow_agents.grammar.typed import Prefix, typed

PROGRAM = "gitflow-agents"
MENTIONS = frozenset({"bot", "gitflow", PROGRAM})
"""Names behind an @ under which we are spoken to if nobody says more."""

_GREETINGS = frozenset("hey hi hello ok okay".split())
_PLEASE = frozenset("please pls kindly".split())
_ASKING = frozenset("can could would will".split())
_BEFORE_TASKS = frozenset("task tasks the of for on".split())
_BETWEEN_TASKS = frozenset("and & ,".split())
_BEFORE_TEXT = frozenset("with because since as saying : - -- – —".split())
_AFTER = frozenset("please pls now again thanks".split())
_NO_TASK = frozenset("a an it its this that them these those everything".split())
_GROUPS = frozenset("all failed blocked plan".split())
_EDGES = "`'\",.;:()!?"
_ENDS = ",.;:!?"
"""What can stand at a word that speaks to us; in quotes or as code it does not."""
_MOST_READ = 1000
_TELLING = re.compile(r"[0-9*?]")


@dataclass(frozen=True)
class Wish:
    """A command that was nearly given, and what is answered."""

    verb: str
    refused: Refused


def meant(text: str, prefix: Prefix, mentions: frozenset[str] = MENTIONS) -> Wish | None:
    """Return what a line asks of us that is no command; None when it is not said to us."""
    words = text[:_MOST_READ].split()
    place, is_named, is_mentioned, is_polite = _address(words, prefix, mentions)
    if place >= len(words):
        return None
    name = words[place].strip(_ENDS)
    has_slash = name.startswith("/")
    name = name.lstrip("/").lower()
    kind = kinds("comment").get(SYNONYMS.get(name, name))
    if kind is None or not (is_named or is_mentioned or (has_slash and is_polite)):
        return None
    targets, rest = _targets(words[place + 1 :])
    is_clear = is_mentioned or is_polite or has_slash
    if not is_clear and rest and rest[0].lower().strip(_EDGES) not in _AFTER | _BEFORE_TEXT:
        return None
    return Wish(SYNONYMS.get(name, name), _refused(kind, targets, _text(rest), prefix))


def _address(
    words: Sequence[str], prefix: Prefix, mentions: frozenset[str]
) -> tuple[int, bool, bool, bool]:
    """Return where the words begin that follow our name, and how we are spoken to."""
    named = mentioned = polite = False
    place = 0
    while place < len(words):
        word = words[place].strip(_ENDS).lower()
        if word in _PLEASE:
            polite = True
        elif word in _ASKING and words[place + 1 : place + 2] == ["you"]:
            place += 1
        elif word.removeprefix("@").removesuffix("[bot]") in mentions and word.startswith("@"):
            mentioned = True
        elif word.removeprefix("/") in (prefix.word, PROGRAM):
            named = True
            mentioned = mentioned or word.startswith("/")
        elif word not in _GREETINGS:
            break
        place += 1
    return place, named, mentioned, polite


def _targets(words: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """Return the tasks that follow a command's name, as far as they can be told, and the rest."""
    found: list[str] = []
    place = 0
    while place < len(words):
        bare = words[place].strip(_EDGES)
        if bare.lower() in _BEFORE_TASKS | _BETWEEN_TASKS and _tells(words[place + 1 :]):
            place += 1
            continue
        is_lone = not found and _ends_here(words, place) and bare.lower() not in _NO_TASK
        if not is_target(bare) or not (_tells(words[place:]) or is_lone):
            break
        found.append(bare)
        place += 1
        if words[place - 1].endswith(":"):
            break
    return found, words[place:]


def _tells(words: Sequence[str]) -> bool:
    """Say whether the next word names a task beyond doubt."""
    if not words:
        return False
    bare = words[0].strip(_EDGES)
    is_one = bool(_TELLING.search(bare)) or bare in _GROUPS or words[0].startswith("`")
    return is_one and is_target(bare)


def _ends_here(words: Sequence[str], place: int) -> bool:
    """Say whether nothing but a text, or a courtesy, follows a word."""
    if words[place].endswith(":") or place + 1 == len(words):
        return True
    return words[place + 1].lower().strip(",.;:!?") in _BEFORE_TEXT | _AFTER


def _text(words: Sequence[str]) -> str:
    """Return what is to be said to whoever does the task."""
    rest = list(words)
    while rest and rest[0].lower().strip(",.;:!?") in {*_BEFORE_TEXT, *_AFTER, ""}:
        rest = rest[1:]
    return " ".join(rest).strip(" \"'")[:MOST_LETTERS]


def _refused(kind: type[Act], targets: Sequence[str], text: str, prefix: Prefix) -> Refused:
    """Return the refusal with the command to copy, or with how it is written."""
    if not kind.takes_tasks:
        targets = ()
    elif not kind.takes_plan:
        targets = [target for target in targets if target != "plan"]
    field = kind.positional or kind.note
    for said in ({field: text}, {}) if field and text else ({},):
        values: dict[str, Any] = {"targets": tuple(targets[: kind.most_targets]), **said}
        try:
            if not lacks(kind, values):
                command = kind(**values)
                command.check()
                return Refused("nearly", _NOT_RUN, hint=typed(command, prefix))
        except (Refused, ValidationError, ValueError):
            continue
    return Refused("nearly", _NOT_RUN, hint=f"usage: `{usage(kind, prefix.start)}`")


_NOT_RUN = "this is nearly a command, and nothing ran"
