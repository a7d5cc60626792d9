"""What a YAML file says, and where it says it.

A file's events are turned into values in one loop, without a tree of nodes in between: that is
faster than the library's own loader, needs no recursion however deep the text is, and remembers
where every key and value stands, so that a problem found later still has its line and column.

Scalars mean what YAML 1.1 says, but a key is always text, a tag cannot make anything that is not
plain data, and what aliases stand for is counted, so that a small file cannot become a large one.
"""

from __future__ import annotations

import gc
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import Reader, ReaderError

from gitflow_agents.errors import InvalidFile, Problem

MOST_BYTES = 16 * 1024 * 1024
MOST_VALUES = 1_500_000
MOST_KEYS = 500
"""In one mapping that a person wrote."""
DEEPEST = 40
MOST_SHOWN = 120
"""Characters of a text that a sentence quotes."""

Path = tuple[int | str, ...]
"""Where a value is: keys, and places in lists, from the top."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null"))
_CONTAINER_TAGS = frozenset({_TAG + "map", _TAG + "seq", "!"})
_TEXT_TAGS = frozenset({_TAG + "str", _TAG + "merge", _TAG + "value", "!"})
RESOLVERS: Mapping[str, Sequence[tuple[str, re.Pattern[str]]]] = (
    yaml.SafeLoader.yaml_implicit_resolvers
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Merge:
    """The key `<<`, as long as it stands in a mapping; text in quotes is another thing."""

    def __str__(self) -> str:
        return "<<"


_MERGE = _Merge()
_LINE_END = re.compile(r"\r\n?|\n")
_NAME = re.compile(r"[\w.-]+")
QUOTE_IT = 'in brackets, quote a whole text that holds , : # ( ) [ ] { or }: ["f(a, b)"]'


class Map(dict[str, Any]):
    """A mapping that remembers where it stands: `start`, and the `starts` of keys and values.

    Places count characters from the beginning of the file; `starts` has two for each item, in
    their order.  `size` is the characters that it takes up, those behind aliases counted each time.
    """

    __slots__ = ("size", "start", "starts")
    start: int
    starts: list[int]
    size: int


class Seq(list[Any]):
    """A list that remembers where it stands: as `Map`, with one of the `starts` for each item."""

    __slots__ = ("size", "start", "starts")
    start: int
    starts: list[int]
    size: int


class Source:
    """One file: its values (`root`), the problems of its text, and where everything stands.

    A file that the tool itself wrote (`is_ours`) may hold any text and any number of keys.
    Raises InvalidFile where the text cannot be read on.
    """

    def __init__(self, data: bytes, file: str, *, is_ours: bool = False) -> None:
        self.file = file
        self.root: Any = None
        self.problems: list[Problem] = []
        self._start = 0
        self._is_ours = is_ours
        self._written: dict[int, str] = {}
        self._kept: dict[Path, list[int]] = {}
        self._text = self._decoded(data)
        with no_collections():
            self._read()

    def problem(
        self, path: Path, reason: str, mend: str = "", *, at_key: bool = False, warn: bool = False
    ) -> Problem:
        """Return a problem of the value at `path`, or of its key."""
        line, column = self.position(path, at_key=at_key)
        return Problem(self.file, line, column, shown(path), reason, mend, warn)

    def position(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Return line and column, from 1, of the value at `path`, or of the nearest one above."""
        return self._line_and_column(self._find(path, at_key=at_key))

    def written(self, path: Path) -> str | None:
        """Return how the number, date or the like at `path` is written; None for all else."""
        return self._written.get(self._find(path))

    def trimmed(self, path: Path) -> Path:
        """Return `path` up to the first scalar on its way."""
        node = self.root
        for depth, part in enumerate(path):
            if not isinstance(node, Map | Seq):
                return path[:depth]
            there = part in node if isinstance(node, Map) else part in range(len(node))
            if not there:
                return path[: depth + 1]
            node = node[part]  # type: ignore[index]
        return path

    def length(self, node: Map | Seq) -> int:
        """Return the bytes that `node` takes up, those behind aliases counted each time."""
        text = self._text[node.start : node.start + node.size]
        return node.size + len(text.encode()) - len(text)

    def leave_out(self, path: Path, kept: Sequence[int]) -> None:
        """Remember that of the list at `path` only the items at the places `kept` were kept."""
        earlier = self._kept.get(path)
        self._kept[path] = [earlier[place] for place in kept] if earlier else list(kept)

    def restored(self, path: Path) -> Path:
        """Return where the item at `path`, as it is counted now, stood before any was left out."""
        *above, last = path
        kept = self._kept.get(tuple(above))
        return (*above, kept[last]) if kept and isinstance(last, int) else path

    def _find(self, path: Path, *, at_key: bool = False) -> int:
        node, start = self.root, self._start
        for depth, part in enumerate(path, start=1):
            if isinstance(node, Map) and part in node:
                place = 2 * list(node).index(str(part))
                start = node.starts[place + (not (at_key and depth == len(path)))]
            elif isinstance(node, Seq) and isinstance(part, int) and part < len(node):
                start = node.starts[part]
            else:
                break
            node = node[part]
        return start

    def _line_and_column(self, start: int) -> tuple[int, int]:
        line = bisect_right(self._lines, start)
        return line, start - self._lines[line - 1] + 1

    @cached_property
    def _lines(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self._text))]

    def _decoded(self, data: bytes) -> str:
        if len(data) > MOST_BYTES:
            raise self._refusal("the file is over 16 MiB", "make it smaller, or several plans")
        try:
            return data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            before = data[: error.start]
            line = before.count(b"\n") + 1
            column = len(before[before.rfind(b"\n") + 1 :].decode()) + 1
            raise self._refusal(
                f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8",
                "save the file as UTF-8",
                line,
                column,
            ) from None

    def _refusal(self, reason: str, mend: str = "", line: int = 0, column: int = 0) -> InvalidFile:
        problem = Problem(self.file, line, column, "", reason, mend)
        return InvalidFile(self.file, (*self.problems, problem))

    def _read(self) -> None:
        try:
            self._build(_Loader(self._text).get_event)
        except yaml.MarkedYAMLError as error:
            raise self._not_yaml(error) from None
        except (ReaderError, yaml.YAMLError) as error:
            raise self._not_text(error) from None

    def _build(self, next_event: Any) -> None:
        # One loop, and no calls where nothing is wrong: it runs for every key and every value.
        stack: list[tuple[Any, Any, Any, int]] = []
        node: Any = None
        key: Any = None
        key_start: Any = None
        extra = 0  # characters behind the aliases of `node` so far
        spent = 0  # the same of the whole file
        values = documents = 0
        anchors: dict[str, tuple[Any, int, str | None]] = {}
        open_anchors: dict[int, str] = {}
        pairs: set[int] = set()  # where a mapping without braces starts between brackets

        def wrong(reason: str, mend: str = "", at: int = -1) -> None:
            frames = [*((one[0], one[1]) for one in stack), (node, key)]
            path = [
                len(one) if type(one) is Seq else name for one, name in frames if one is not None
            ]
            key_path = shown(part for part in path if part is not None)
            place = self._line_and_column(event.start_mark.index if at < 0 else at)
            self.problems.append(Problem(self.file, *place, key_path, reason, mend))

        while True:
            event = next_event()
            kind = type(event)
            if kind is ScalarEvent:
                value: Any = event.value
                start = event.start_mark.index
                values += 1
                if values > MOST_VALUES:
                    wrong(f"the file has over {MOST_VALUES:,} values")
                    break
                if node.__class__ is Map and key is None:
                    key, key_start = value, start
                    if event.anchor or event.tag:
                        wrong("a key cannot have an anchor or a tag", "remove it")
                    if event.style == '"' and (reason := self._unfit(value)):
                        wrong(reason, "write the key without it")
                    if value == "<<" and event.implicit[0]:
                        key = _MERGE
                    continue
                if event.implicit[0]:
                    for tag, pattern in RESOLVERS.get(value[:1], ()):
                        if pattern.match(value):
                            self._written[start] = value
                            value = plain(tag, value)
                            break
                elif event.style == '"' and (reason := self._unfit(value)):
                    wrong(reason, "remove it")
                    value = _SURROGATE.sub("", value.replace("\0", ""))
                if event.tag is not None:
                    value, reason = _tagged(event.tag, value)
                    if reason:
                        wrong(reason, "remove the tag")
                if event.anchor is not None:
                    written = self._written.get(start)
                    anchors[event.anchor] = (value, len(event.value), written)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value, start = node, node.start
                node.size = event.end_mark.index - start + extra
                if open_anchors and id(node) in open_anchors:
                    anchors[open_anchors.pop(id(node))] = (node, node.size, None)
                if kind is MappingEndEvent and _MERGE in node and not _merged(node):
                    wrong("`<<` merges mappings, and this is none", "write `<<: *name`", start)
                inside = extra
                node, key, key_start, extra = stack.pop()
                end = event.start_mark.index
                if self._text[start] in "[{" and self._text.find("(", start, end) >= 0:
                    for place, part in _parts(value, self._text):
                        wrong(f"`{_short(part)}` is only a part of a text", QUOTE_IT, place)
                if start in pairs and not _NAME.fullmatch(str(next(iter(value), ""))):
                    value = self._text[start:end].rstrip()
                    wrong(f"`{_short(value)}` is read as a mapping", QUOTE_IT, start)
                extra += inside
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if len(stack) >= DEEPEST:
                    wrong(f"this is nested over {DEEPEST} deep")
                    break
                if node.__class__ is Map and key is None:
                    wrong("a key has to be text", "quote it")
                    break
                if event.tag is not None and event.tag not in _CONTAINER_TAGS:
                    wrong(f"the tag `{_short(event.tag)}` is not allowed", "remove the tag")
                stack.append((node, key, key_start, extra))
                node = Map() if kind is MappingStartEvent else Seq()
                node.start, node.starts = event.start_mark.index, []
                key, extra = None, 0
                is_bare = event.flow_style and node.start == event.end_mark.index
                if is_bare and kind is MappingStartEvent:
                    pairs.add(node.start)
                if event.anchor is not None:
                    open_anchors[id(node)] = event.anchor
                continue
            elif kind is AliasEvent:
                start = event.start_mark.index
                if node.__class__ is Map and key is None:
                    wrong("an alias cannot be a key", "write the key out")
                    break
                if event.anchor not in anchors:
                    is_inside = event.anchor in open_anchors.values()
                    lacks = "contains itself" if is_inside else "has no anchor before it"
                    wrong(f"the alias `*{event.anchor}` {lacks}", "write out what it stands for")
                    break
                value, size, written = anchors[event.anchor]
                if written is not None:
                    self._written[start] = written
                extra += size
                spent += size + 8
                if spent > MOST_BYTES:
                    wrong("with its aliases written out the file is over 16 MiB")
                    break
            elif kind is StreamEndEvent:
                if documents:
                    return
                raise self._refusal("the file is empty")
            else:
                if kind is DocumentStartEvent:
                    documents += 1
                    if documents > 1:
                        wrong("a second document starts here", "remove the `---`")
                        break
                continue
            if node is None:
                self.root, self._start = value, start
            elif node.__class__ is Map:
                if key in node:
                    first, _ = self._line_and_column(node.starts[2 * list(node).index(key)])
                    wrong(
                        f"the key `{key}` is on line {first} too", "remove one of them", key_start
                    )
                else:
                    node[key] = value
                    node.starts += (key_start, start)
                    if len(node) > MOST_KEYS and not self._is_ours:
                        wrong(f"a mapping has over {MOST_KEYS} keys", "", key_start)
                        break
                key = None
            else:
                node.append(value)
                node.starts.append(start)
        raise InvalidFile(self.file, self.problems)

    def _unfit(self, text: str) -> str:
        # Only double quotes have escapes, and so only they can hold these.
        if "\0" in text and not self._is_ours:
            return "the text holds a NUL"
        if not text.isascii() and _SURROGATE.search(text):
            return "the text holds half of a surrogate pair"
        return ""

    def _not_yaml(self, error: yaml.MarkedYAMLError) -> InvalidFile:
        mark = error.problem_mark or error.context_mark
        reason = f"this is not YAML: {error.problem or error.context}"
        if mark is None:
            return self._refusal(reason)
        line, column = self._line_and_column(mark.index)
        if error.context and error.context_mark and error.context_mark.line != mark.line:
            reason += f" ({error.context} that starts on line {error.context_mark.line + 1})"
        character = self._text[mark.index : mark.index + 1]
        mend = _mend(error.problem or "", character)
        return self._refusal(reason, mend, line, column)

    def _not_text(self, error: yaml.YAMLError) -> InvalidFile:
        found = Reader.NON_PRINTABLE.search(self._text)
        if found is None:
            return self._refusal(f"this is not YAML: {' '.join(str(error).split())}")
        return self._refusal(
            f"the character U+{ord(found[0]):04X} is not allowed",
            'remove it, or write it as an escape between "quotes"',
            *self._line_and_column(found.start()),
        )


_MAKER = SafeConstructor()


def _made(tag: str, text: str) -> Any:
    # Not construct_object, which remembers everything that it ever made.
    return SafeConstructor.yaml_constructors[tag](_MAKER, yaml.ScalarNode(tag, text))


def plain(tag: str, text: str) -> Any:
    """Return what a plain scalar means that a resolver has found to be of this tag."""
    if tag in _TEXT_TAGS:
        return text
    try:
        return _made(tag, text)
    except (ValueError, OverflowError):
        return text  # a 13th month, or more digits than a number may have


def _tagged(tag: str, value: Any) -> tuple[Any, str]:
    if tag == "!":
        return value, ""
    if tag not in _SCALAR_TAGS:
        return value, f"the tag `{_short(tag)}` is not allowed"
    try:
        return _made(tag, value), ""
    except (ValueError, OverflowError, LookupError):
        return value, f"this is not what its tag `{_short(tag)}` says"


def _short(text: str) -> str:
    """Return a tag as people write it, and the beginning of any other text that is long."""
    text = "!!" + text.removeprefix(_TAG) if text.startswith(_TAG) else text
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _parts(node: Any, text: str) -> Iterator[tuple[int, str]]:
    """Yield the place and the text of what a comma cut off behind an open parenthesis."""
    if isinstance(node, Map):
        listed = [part for key, value in node.items() for part in (key, value)]
    else:
        listed = list(node)
    is_open = False
    for start, part in zip(node.starts, listed, strict=False):
        if isinstance(part, str) and text[start] not in "\"'":
            more = part.count("(") - part.count(")")
            if is_open and more < 0:
                yield start, part
            is_open = more > 0 or (is_open and more == 0)


def _merged(node: Any) -> bool:
    """Put what stands behind the `<<` of a mapping into it; say whether that was possible."""
    place = 2 * list(node).index(_MERGE)
    del node.starts[place : place + 2]
    merged = node.pop(_MERGE)
    others = merged if isinstance(merged, Seq) else [merged]
    for other in others:
        if not isinstance(other, Map):
            return False
        for at, (key, value) in enumerate(other.items()):
            if key not in node:
                node[key] = value
                node.starts += other.starts[2 * at : 2 * at + 2]
    return True


def _mend(problem: str, character: str) -> str:
    if character == "\t":
        return "indent with spaces, not with a tab"
    if "mapping values are not allowed" in problem:
        return "quote a text that holds `: `, and look at the indentation"
    if "expected ','" in problem:
        return f"close the bracket; {QUOTE_IT}"
    if "cannot start any token" in problem:
        return f"quote a text that starts with `{character}`"
    if "end of stream" in problem:
        return "a quote or a bracket is not closed"
    return "look at the indentation, the quotes and the brackets here and just before"


def shown(path: Iterable[Any]) -> str:
    """Return a path as people read it: `tasks[2].preconditions[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@contextmanager
def no_collections() -> Iterator[None]:
    """Leave the garbage collector out of something short.

    Nothing that is made here refers to itself, and looking for such things again and again in a
    tree that only grows takes as long as making it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
