"""What the words behind a command's name say: its targets, its text and its options.

A command's own fields are the grammar; nothing is listed here a second time.  Every word ends up in
a field, or is refused by name with the place where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gitflow_agents.commands import Act, Option, Refused, options
from gitflow_agents.grammar.lines import is_separator

MOST_ARGUMENTS = 20
MOST_LETTERS = 200
"""Of one argument."""
MOST_NOTE = 4000
"""Letters below a command."""

# What a phone makes of quotes and of two hyphens.
_QUOTES: Mapping[str, str] = {'"': '"', "“": "”“", "”": "”“", "„": "”“"}
_OPTION = re.compile(r"(?:--|[—–])([A-Za-z][A-Za-z0-9_-]*)(=?)")
_SHORT = re.compile(r"-[A-Za-z]")
_TARGET = re.compile(
    r"(?:[a-z0-9][a-z0-9-]{0,62}/)?"
    r"(?:wave:[0-9]{1,9}|[A-Za-z0-9*?\[][A-Za-z0-9.*?!\[\]-]{0,62})"
)


@dataclass(frozen=True)
class Said:
    """What a line says for a command, not yet checked against its fields."""

    kind: type[Act]
    values: Mapping[str, Any]
    dry_run: bool


@dataclass(frozen=True)
class _Word:
    text: str
    column: int
    is_quoted: bool = False
    option: str = ""
    """The option's name, where the word is one; `text` is then the value behind `=`."""
    has_value: bool = False


def verb_of(kind: type[Act]) -> str:
    """Return the name of a command."""
    return str(kind.model_fields["verb"].default)


def is_target(word: str) -> bool:
    """Say whether a word has the form of a target."""
    return _TARGET.fullmatch(word) is not None


def shown(word: str) -> str:
    """Return what somebody typed for the middle of a sentence, in backticks."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in word)
    return f"`{cut(plain.replace('`', chr(39)), 60).strip()}`"


def cut(text: str, most: int) -> str:
    """Return at most so many letters of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"


# --- words ----------------------------------------------------------------------------------------


def _words(text: str, column: int) -> Iterator[_Word]:
    """Yield the words of a line; `column` is where the text begins in it."""
    place = 0
    while True:
        while place < len(text) and is_separator(text[place]):
            place += 1
        if place == len(text):
            return
        start, at = place, column + place
        option = _OPTION.match(text, place)
        name = f"--{option[1].lower()}" if option else ""
        if option and option[2]:
            place = option.end()
        is_quoted = text[place : place + 1] in _QUOTES and place < len(text)
        if is_quoted:
            value, place = _quoted(text, place, column)
            yield _Word(value, at, True, name, bool(name))
            continue
        while place < len(text) and not is_separator(text[place]):
            if text[place] in _QUOTES:
                why = f"the quote in column {column + place} stands inside a word"
                raise Refused("bad-value", why, hint="put quotes around all of it")
            place += 1
        whole = text[start:place]
        if option is None:
            short = _SHORT.fullmatch(whole) is not None
            yield _Word("" if short else whole, at, option=whole if short else "")
        elif option[2]:
            yield _Word(text[option.end() : place], at, False, name, True)
        elif option.end() < place:
            raise Refused("unknown-flag", f"{shown(whole)} in column {at} is no option")
        else:
            yield _Word("", at, False, name)


def _quoted(text: str, place: int, column: int) -> tuple[str, int]:
    """Return the text in the quotes that open at a place, and where the next word can begin."""
    closing, start, value = _QUOTES[text[place]], place, list[str]()
    place += 1
    while place < len(text) and text[place] not in closing:
        if text[place] == "\\" and text[place + 1 : place + 2] in (*closing, "\\"):
            place += 1
        value.append(text[place])
        place += 1
    if place >= len(text):
        why = f"the quote that opens in column {column + start} is not closed in its line"
        raise Refused("unclosed-quote", why, hint=f"{_LONGER}, without quotes")
    place += 1
    if place < len(text) and not is_separator(text[place]):
        why = f"the quote in column {column + place - 1} ends inside a word"
        raise Refused("bad-value", why, hint='a quote in quotes is written `\\"`')
    return "".join(value), place


_LONGER = "a longer text can stand below the command"


# --- what they say --------------------------------------------------------------------------------


def said(kind: type[Act], text: str, column: int, start: str) -> Said:
    """Return what the words behind a command's name say.

    `start` is what commands begin with.  Raises Refused at the first word that says nothing.
    """
    words = list(_words(text, column))
    for word in words:
        if len(word.text) > MOST_LETTERS:
            why = (
                f"an argument has at most {MOST_LETTERS} letters, and the one in column "
                f"{word.column} has {len(word.text)}"
            )
            raise Refused("too-long", why, hint=_LONGER)
    values: dict[str, Any] = {}
    targets: list[str] = []
    dry_run, count, rest = False, 0, iter(words)
    for word in rest:
        count += 1
        if word.option == "--dry-run" and not kind.reads:
            if word.has_value or dry_run:
                raise _bad(start, kind, "`--dry-run` stands alone, and once")
            dry_run = True
        elif word.option:
            each = _option(kind, word.option, start)
            _take(values, each, _value(each, word, rest, start, kind), start, kind)
        elif _is_text(kind, word, targets, values):
            values[kind.positional] = word.text
        else:
            targets.append(_target(kind, word, targets, start))
    if count > MOST_ARGUMENTS:
        why = f"a command takes at most {MOST_ARGUMENTS} arguments, and this has {count}"
        raise Refused("too-many", why, hint="use a glob, or several commands")
    _clash(targets)
    return Said(kind, {**values, "targets": tuple(targets)}, dry_run)


def _option(kind: type[Act], name: str, start: str) -> Option:
    known = {
        spelling: each
        for each in options(kind)
        if each.field != kind.block
        for spelling in (each.name, *each.short)
    }
    if name in known:
        return known[name]
    names = [*known, *(() if kind.reads else ("--dry-run",))]
    near = get_close_matches(name.replace("_", "-"), names, 1)
    ask = f"; did you mean `{near[0]}`?" if near else ""
    why = f"`{start}{verb_of(kind)}` has no option {shown(name)}{ask}"
    raise Refused("unknown-flag", why, hint=_usage_hint(kind, start))


def _value(each: Option, word: _Word, rest: Iterator[_Word], start: str, kind: type[Act]) -> Any:
    if each.is_flag:
        if word.has_value:
            raise _bad(start, kind, f"`{each.name}` takes no value")
        return True
    if word.has_value:
        return word.text
    following = next(rest, None)
    if following is None or following.option:
        needs = f"`{word.option}` in column {word.column} needs a value"
        raise Refused("missing-argument", needs, hint=_usage_hint(kind, start))
    return following.text


def _take(values: dict[str, Any], each: Option, value: object, start: str, kind: type[Act]) -> None:
    if each.is_multiple:
        values[each.field] = (*values.get(each.field, ()), value)
    elif each.field in values:
        raise _bad(start, kind, f"`{each.name}` is given twice")
    else:
        values[each.field] = value


def _is_text(kind: type[Act], word: _Word, targets: list[str], values: Mapping[str, Any]) -> bool:
    """Say whether a word is the text behind the targets: it is quoted, or no target is left."""
    if not kind.positional or kind.positional in values:
        return False
    return word.is_quoted or len(targets) == _most(kind)


def _most(kind: type[Act]) -> int | None:
    return kind.most_targets if kind.takes_tasks else 0


def _target(kind: type[Act], word: _Word, before: list[str], start: str) -> str:
    """Return a word as a target; Refused when it cannot be one."""
    verb, here = f"{start}{verb_of(kind)}", f"{shown(word.text)} in column {word.column}"
    most = _most(kind)
    if most is not None and len(before) >= most:
        what = {0: "takes no task", 1: "takes one task"}.get(most, f"takes {most} tasks")
        raise _bad(start, kind, f"`{verb}` {what}, and {here} is one more word")
    if not is_target(word.text):
        bare = word.text.strip("`'\",;:.()#")
        mend = f"; did you mean {shown(bare)}?" if is_target(bare) else ""
        if not mend and kind.positional:
            mend = "; a text stands in quotes"
        raise _bad(start, kind, f"{here} is no task{mend}")
    if word.text.rpartition("/")[2] == "plan" and not kind.takes_plan:
        raise _bad(start, kind, f"`{verb}` is for tasks, and `plan` is none")
    return word.text


def _clash(targets: list[str]) -> None:
    for alone in ("all", "plan"):
        others = [word for word in targets if word != alone]
        if alone in targets and others:
            raise Refused(
                "target-clash", f"`{alone}` and {shown(others[0])} cannot be named together"
            )


def _bad(start: str, kind: type[Act], why: str) -> Refused:
    return Refused("bad-value", why, hint=_usage_hint(kind, start))


# --- the command ----------------------------------------------------------------------------------


def takes(spoken: Said, note: str, block: str | None) -> bool:
    """Say whether a command has a place for what stands below it, and none of it yet."""
    kind, values = spoken.kind, spoken.values
    if kind.block:
        return block is not None
    return bool(note and kind.note) and not values.keys() & {kind.note, *kind.instead}


def build(spoken: Said, note: str, block: str | None, start: str) -> Act:
    """Return a command from what is said, with what stands below it, if it takes that.

    Raises Refused where a value is missing, wrong or too long.
    """
    kind, values = spoken.kind, dict(spoken.values)
    if takes(spoken, note, block):
        below = (block or "") if kind.block else note
        if len(below) > MOST_NOTE:
            why = f"what stands below a command has at most {MOST_NOTE} letters, and this has "
            raise Refused("too-long", f"{why}{len(below)}")
        values[kind.block or kind.note] = below
    if lacks(kind, values):
        needs = " and ".join(_needs(kind))
        example = f"for example `{example_of(kind, start)}`"
        raise Refused("missing-argument", f"`{start}{verb_of(kind)}` needs {needs}", hint=example)
    try:
        command = kind(**values)
    except ValidationError as e:
        raise _wrong(kind, e.errors()[0], start) from None
    try:
        command.check()
    except Refused as e:
        e.hint = e.hint or _usage_hint(kind, start)
        raise
    return command


def lacks(kind: type[Act], values: Mapping[str, Any]) -> bool:
    """Say whether something is missing without which a command says nothing."""
    if kind.block and not any(values.values()):
        return True
    if not kind.needs_target:
        return any(each.is_required and not values.get(each.field) for each in options(kind))
    texts = (kind.positional, kind.note, *kind.instead) if kind.positional else ()
    return not values["targets"] or not any(values.get(text) for text in texts or ("targets",))


def _needs(kind: type[Act]) -> list[str]:
    if kind.block:
        return ["a task: a fenced block below it, or options"]
    needs = ["a task"] if kind.needs_target else []
    if kind.positional:
        is_other = kind.note not in ("", kind.positional)
        needs.append(f"a {kind.positional}{', or a text below it' if is_other else ''}")
    return needs


def example_of(kind: type[Act], start: str) -> str:
    """Return the shortest line that gives a command."""
    words = [f"{start}{verb_of(kind)}"]
    if kind.needs_target:
        words.append("t4")
        words += [f'"the {kind.positional}"'] if kind.positional else []
    if kind.block:
        words += ['--title "Say hello"', '--run "echo hello"']
    return " ".join(words)


def usage(kind: type[Act], start: str) -> str:
    """Return all that can stand in a command's line."""
    words = [f"{start}{verb_of(kind)}"]
    if kind.takes_tasks:
        task = "TASK" if kind.most_targets == 1 else "TASK..."
        task += " or plan" if kind.takes_plan else ""
        words.append(task if kind.needs_target else f"[{task}]")
    for each in options(kind):
        if each.field == kind.block:
            continue
        value = "|".join(each.choices) or each.value
        if each.field == kind.positional:
            value = each.field.upper()
            text = value if _most(kind) is not None else f'"{value}"'
            words.append(text if each.is_required else f"[{text}]")
        else:
            more = "..." if each.is_multiple else ""
            words.append(f"[{each.name}{'' if each.is_flag else f' {value}'}]{more}")
    return " ".join(words if kind.reads else [*words, "[--dry-run]"])


def _usage_hint(kind: type[Act], start: str) -> str:
    return f"usage: `{usage(kind, start)}`"


_NUMBERS = {
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
}


def _wrong(kind: type[Act], error: ErrorDetails, start: str) -> Refused:
    """Return what is wrong with a value, by the name of its option."""
    field = str(error["loc"][0]) if error["loc"] else ""
    each = next((one for one in options(kind) if one.field == field), None)
    name = f"`{each.name}`" if each else f"`{start}{verb_of(kind)}`"
    got = shown(str(error["input"]))
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ").lower()
    if error["type"] in _NUMBERS:
        return _bad(start, kind, f"{name} needs {_NUMBERS[error['type']]}, got {got}")
    if each and each.choices:
        words = " or ".join(f"`{word}`" for word in each.choices)
        return _bad(start, kind, f"{name} is {words}, not {got}")
    if error["type"] == "string_too_long":
        return Refused("too-long", f"{name} {message}")
    if error["type"] == "value_error":
        return _bad(start, kind, f"{name} {message}")
    if error["type"].startswith("string"):
        return _bad(start, kind, f"{name} cannot be {got}")
    return _bad(start, kind, f"{name} has to be {message}, not {got}")
