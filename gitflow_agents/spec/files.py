"""The tool's own files: a value as YAML, and back.

They are written in the one simple form that people know from YAML: a key or an item a line, blocks
by indentation.  That form is read back line by line, as it was written; whatever else a file holds,
and every text that YAML could take for something else, is left to the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from io import StringIO
from typing import Any

import yaml
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from gitflow_agents.errors import InvalidFile
from gitflow_agents.spec.source import RESOLVERS, Source, plain

_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_HEAD: Sequence[Event] = (StreamStartEvent(), DocumentStartEvent(explicit=False))
_TAIL: Sequence[Event] = (DocumentEndEvent(explicit=False), StreamEndEvent())
_MAP, _MAP_END = MappingStartEvent(None, None, True, flow_style=False), MappingEndEvent()
_LIST, _LIST_END = SequenceStartEvent(None, None, True, flow_style=False), SequenceEndEvent()
_NO_MAP = MappingStartEvent(None, None, True, flow_style=True)
_NO_LIST = SequenceStartEvent(None, None, True, flow_style=True)


def to_yaml(value: Mapping[str, Any]) -> bytes:
    """Return `value` as UTF-8 YAML, its keys in their order; `from_yaml` gives it back exactly.

    It holds text, numbers, booleans, None, lists, tuples (as lists) and mappings with text keys.
    TypeError for anything else, ValueError for a text that UTF-8 cannot hold.
    """
    lines: list[str] = []
    try:
        _write(value, "", "", lines)
    except _Odd:
        return _by_the_library(value)
    return "".join(lines).encode()


class _Odd(Exception):
    """A text that takes the library to be written right."""


# The usual kinds come first: to ask the abstract one takes ten times as long.
_MAPPINGS = (dict, Mapping)
_BLOCKS = (dict, list, tuple, Mapping)


def _write(value: Any, pad: str, lead: str, lines: list[str]) -> None:
    """Write a mapping or a list as the library does; `lead` stands before its first line."""
    if not value:
        lines.append(f"{lead}{_empty(value)}\n")
    elif isinstance(value, _MAPPINGS):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key has to be text, not {key!r}")
            if isinstance(item, str):
                lines.append(f"{lead}{_usual(key)}: {_usual(item)}\n")
            elif isinstance(item, _BLOCKS):
                if item:
                    lines.append(f"{lead}{_usual(key)}:\n")
                    below = f"{pad}  " if isinstance(item, _MAPPINGS) else pad
                    _write(item, below, below, lines)
                else:
                    lines.append(f"{lead}{_usual(key)}: {_empty(item)}\n")
            else:
                lines.append(f"{lead}{_usual(key)}: {_literal(item)}\n")
            lead = pad
    else:
        for item in value:
            if isinstance(item, str):
                lines.append(f"{lead}- {_usual(item)}\n")
            elif isinstance(item, _BLOCKS):
                _write(item, f"{pad}  ", f"{lead}- ", lines)
            else:
                lines.append(f"{lead}- {_literal(item)}\n")
            lead = pad


def _empty(value: Any) -> str:
    return "{}" if isinstance(value, _MAPPINGS) else "[]"


_USUAL = re.compile(
    r"(?!.{120})[A-Za-z0-9/_][ !\"$-9;-~]*(?::(?! |$)[ !\"$-9;-~]*)*(?<! )"  # at most 119 letters
)
"""Texts that mean nothing to YAML, wherever they stand on a line."""


_QUOTE = "'"


@lru_cache(maxsize=1 << 13)
def _usual(text: str) -> str:
    """Return how a text is written; _Odd where only the library knows."""
    if not text:
        return "''"
    if _USUAL.fullmatch(text) is None:
        raise _Odd
    text = str(text)
    return text if _is_text(text) else f"'{text.replace(_QUOTE, 2 * _QUOTE)}'"


def _by_the_library(value: Mapping[str, Any]) -> bytes:
    out = StringIO()
    emit = _SafeDumper(out, allow_unicode=True, width=2**31 - 1).emit
    for event in _HEAD:
        emit(event)
    _emit(value, emit)
    for event in _TAIL:
        emit(event)
    return out.getvalue().encode()


def _emit(value: Any, emit: Callable[[Event], None]) -> None:
    # Events instead of the library's tree of nodes: it is twice as fast.
    if isinstance(value, str):
        # Much of what is written was written before: names, hashes, the words of the schema.
        emit(_known(str(value)) if len(value) <= _SHORT else _scalar(str(value)))
    elif isinstance(value, Mapping):
        emit(_MAP if value else _NO_MAP)
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key has to be text, not {key!r}")
            emit(_known(str(key)))
            _emit(item, emit)
        emit(_MAP_END)
    elif isinstance(value, list | tuple):
        emit(_LIST if value else _NO_LIST)
        for item in value:
            _emit(item, emit)
        emit(_LIST_END)
    else:
        emit(ScalarEvent(None, None, (True, False), _literal(value)))


_SHORT = 80
"""Characters of a text whose event is worth keeping."""


@lru_cache(maxsize=1 << 13)
def _known(text: str) -> ScalarEvent:
    return _scalar(text)


def _scalar(text: str) -> ScalarEvent:
    # Where a block would lose something, the emitter itself falls back to double quotes.
    return ScalarEvent(
        None, None, (_is_text(text), True), text, style="|" if "\n" in text else None
    )


def _is_text(text: str) -> bool:
    return not any(pattern.match(text) for _, pattern in RESOLVERS.get(text[:1], ()))


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if not isinstance(value, float):
        raise TypeError(f"a file of the tool cannot hold {value!r}")
    text = repr(value)
    if text.endswith(("inf", "nan")):
        return text.replace("inf", ".inf").replace("nan", ".nan")
    return text if "." in text else text.replace("e", ".0e")  # 1e+16 would be text


def from_yaml(data: bytes, *, file: str = "a file of the tool") -> Any:
    """Return the value that `to_yaml` wrote; InvalidFile when it is no such file."""
    try:
        return _read_back(data)
    except _Odd:
        source = Source(data, file, is_ours=True)
    if source.problems:
        raise InvalidFile(file, source.problems)
    return source.root


_MOST_INDENTED = 36
"""Columns by which a line may be indented; the library says what is nested too deeply."""


def _read_back(data: bytes) -> Any:
    """Return the value of a file in the form in which `_write` writes it; _Odd for any other."""
    try:
        *texts, end = data.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise _Odd from None
    lines = []
    for text in texts:
        said = text.lstrip(" ")
        indent = len(text) - len(said)
        if not said or indent > _MOST_INDENTED:
            raise _Odd
        lines.append((indent, said))
    if end or not lines:
        raise _Odd
    value, at = _block(lines, 0, 0)
    if at < len(lines):
        raise _Odd
    return value


def _block(lines: list[tuple[int, str]], at: int, indent: int) -> tuple[Any, int]:
    """Return the mapping or the list that begins at a line, and the line behind it."""
    if lines[at][1].startswith("- "):
        return _items(lines, at, indent)
    found: dict[str, Any] = {}
    while at < len(lines) and lines[at][0] == indent and not lines[at][1].startswith("- "):
        name, is_pair, said = lines[at][1].partition(": ")
        at += 1
        if is_pair:
            value = _value(said)
        else:
            if not name.endswith(":") or at == len(lines):
                raise _Odd
            name = name[:-1]
            # A list below a key stands as far to the left as the key.
            within = indent if lines[at][1].startswith("- ") else indent + 2
            if lines[at][0] != within:
                raise _Odd
            value, at = _block(lines, at, within)
        key = _key(name)
        if key in found:
            raise _Odd
        found[key] = value
    return found, at


def _items(lines: list[tuple[int, str]], at: int, indent: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while at < len(lines) and lines[at][0] == indent and lines[at][1].startswith("- "):
        said = lines[at][1][2:]
        if said.startswith("- ") or ": " in said or said.endswith(":"):
            lines[at] = (indent + 2, said)  # what is in the item begins on its line
            value, at = _block(lines, at, indent + 2)
        else:
            value, at = _value(said), at + 1
        found.append(value)
    return found, at


def _value(said: str) -> Any:
    if said == "{}":
        return {}
    return [] if said == "[]" else _scalar_back(said)


@lru_cache(maxsize=1 << 13)
def _key(said: str) -> str:
    """Return the text of a key; one that looks like a number is text, too."""
    if said[:1] == _QUOTE:
        return _unquoted(said)
    if _USUAL.fullmatch(said) is None:
        raise _Odd
    return said


@lru_cache(maxsize=1 << 13)
def _scalar_back(said: str) -> Any:
    if said[:1] == _QUOTE:
        return _unquoted(said)
    if _USUAL.fullmatch(said) is None:
        raise _Odd
    for tag, pattern in RESOLVERS.get(said[:1], ()):
        if pattern.match(said):
            return plain(tag, said)
    return said


_QUOTED = re.compile("'((?:[^']|'')*)'")


def _unquoted(said: str) -> str:
    found = _QUOTED.fullmatch(said)
    if found is None:
        raise _Odd
    text = found[1].replace(2 * _QUOTE, _QUOTE)
    if text and _USUAL.fullmatch(text) is None:
        raise _Odd
    return text


def quoted(text: str) -> str:
    """Return `text` as a YAML scalar in double quotes, on one line."""
    written: str = yaml.dump(
        text, Dumper=_SafeDumper, default_style='"', allow_unicode=True, width=2**31 - 1
    )
    return written.strip()
