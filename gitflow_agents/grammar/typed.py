"""How a command is written in a comment, so that reading it gives the same command."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from gitflow_agents.commands import Act, Refused, kinds, options
from gitflow_agents.grammar.arguments import MOST_LETTERS, build, said, verb_of

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/+-]*")
_FENCES = re.compile(r"`{3,}")


@dataclass(frozen=True)
class Prefix:
    """The word that commands begin with behind the slash, where they have to or may."""

    word: str = "gitflow"
    is_required: bool = False

    @property
    def start(self) -> str:
        """Return what stands before a command's name."""
        return f"/{self.word} " if self.is_required else "/"


_NONE = Prefix()


def typed(command: Act, prefix: Prefix = _NONE, *, dry_run: bool = False) -> str:
    """Return a command as it is written in a comment; long texts stand below the line.

    Raises ValueError for a text that has no place in a comment.
    """
    kind, below = type(command), ""
    words = [f"{prefix.start}{verb_of(kind)}", *command.targets]
    for each in options(kind):
        value = getattr(command, each.field)
        if value == kind.model_fields[each.field].default:
            continue
        if each.field == kind.block:
            ticks = max((len(run) for run in _FENCES.findall(value)), default=2) + 1
            below = f"\n{'`' * ticks}yaml\n{value}{'' if value.endswith(chr(10)) else chr(10)}"
            below += "`" * ticks
        elif each.is_flag:
            words.append(each.name)
        elif each.is_multiple:
            words += [word for item in value for word in (each.name, _quoted(item))]
        elif each.field == kind.note and ("\n" in str(value) or len(str(value)) > MOST_LETTERS):
            below = f"\n{value}"
        elif each.field == kind.positional:
            may_be_bare = kind.most_targets is not None or not kind.takes_tasks
            words.append(_word(value) if may_be_bare else _quoted(value))
        else:
            words += [each.name, _word(str(value))]
    return " ".join([*words, "--dry-run"] if dry_run else words) + below


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    if "\n" in text or "\r" in text or len(text) > MOST_LETTERS:
        raise ValueError("a text of several lines, or a long one, is no argument of a comment")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def of_terminal(words: str, plan: str, prefix: Prefix = _NONE) -> tuple[str, str]:
    """Return what is typed at a terminal about a plan as it is written in a comment, and the rest.

    Such as an undo, or a hint that begins with a command and goes on as a sentence.  The command is
    empty where comments have none for it.
    """
    name, _, text = words.strip().removeprefix("gitflow-agents ").partition(" ")
    kind = kinds("comment").get("start" if name == "run" else name)
    if kind is None:
        return "", words
    try:
        ours, rest = _ours(shlex.split(text), plan, kind)
        if rest and not ours:
            return "", words  # a sentence whose first word happens to be a command
        spoken = said(kind, " ".join(ours), 1, prefix.start)
        command = build(spoken, "", None, prefix.start)
        return typed(command, prefix, dry_run=spoken.dry_run), rest
    except (Refused, ValueError):
        return "", words


def _ours(words: list[str], plan: str, kind: type[Act]) -> tuple[list[str], str]:
    """Return the words that are about a plan, without its name, and the sentence behind them."""
    valued = {
        name for each in options(kind) if not each.is_flag for name in (each.name, *each.short)
    }
    kept: list[str] = []
    for place, word in enumerate(words):
        target = word.removeprefix(f"{plan}/")
        if place and words[place - 1] in valued:
            kept.append(_quoted(word))
        elif word.startswith("-") or target != word:
            kept.append(target)
        elif kind.positional and len(kept) == kind.most_targets and place == len(words) - 1:
            kept.append(_word(word))
        elif word != plan:
            return kept, " ".join(words[place:])
    return kept, ""
