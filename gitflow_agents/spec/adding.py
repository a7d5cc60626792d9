"""How a task is put into the text of a plan: behind those that are there, all else untouched.

Every byte of the plan stays where a person wrote it; what comes in is the added text, indented as
the list is.  Where that would mean anything else than the old tasks and the new ones, it is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gitflow_agents.errors import FlowError, InvalidFile
from gitflow_agents.spec.source import Map, Seq, Source

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBERED = re.compile(r"(.*?)(\d+)")
BOM = "\ufeff"


@dataclass(frozen=True)
class Added:
    """A plan's text with tasks added, and their ids; no `ids` when all of them are there already.

    `present` are the ids of those.
    """

    data: bytes
    ids: tuple[str, ...]
    present: tuple[str, ...] = ()


def with_tasks(data: bytes, block: str, *, plan: str) -> Added:
    """Return a plan's text with the tasks of a YAML block, one task or a list, behind its own.

    A task without an id gets the next free number, written as the plan's own ids are.  InvalidFile
    where a text cannot be read; FlowError where it cannot be done without changing more.
    """
    source = Source(data, f"plan/{plan}")
    root, text = source.root, data.decode("utf-8").removeprefix(BOM)
    old = root.get("tasks") if isinstance(root, Map) else None
    if not isinstance(old, Seq) or not old or not _is_block_list(root, old, text):
        raise _cannot(plan, "its `tasks:` are not a list with a `-` on a line of its own for each")
    lines, new = _items(block, [_id(task) for task in old])
    present = [_like(task, old) for task in new]
    if all(present):
        return Added(data, (), tuple(present))
    if any(present):
        there = ", ".join(filter(None, present))
        raise FlowError(f"{there} is in plan {plan} already", hint="leave it out of what you add")
    column = old.start - text.rfind("\n", 0, old.start) - 1
    end = _end(text, old.start, column)
    newline = "\r\n" if text[:end].endswith("\r\n") else "\n"
    first = "" if text[:end].endswith("\n") else newline
    apart = newline if _is_spaced(text, old) else ""
    put = [" " * column + line if line.strip() else line for line in lines]
    added = first + apart + newline.join(put) + newline
    whole = text[:end] + added + text[end:]
    made = (BOM if data.startswith(BOM.encode()) else "") + whole
    result = made.encode("utf-8")
    _hold(plan, root, Source(result, f"plan/{plan}").root, new)
    return Added(result, tuple(_id(task) for task in new))


def _hold(plan: str, old: Any, root: Any, new: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a text that says more or less than the old one with the new tasks."""
    expected = {**old, "tasks": [*old["tasks"], *new]}
    if root != expected:
        raise _cannot(
            plan, "together with what stands around it, the text would mean another thing"
        )


def _cannot(plan: str, why: str) -> FlowError:
    return FlowError(
        f"the text of plan {plan} cannot be added to: {why}",
        hint=f"gitflow-agents edit {plan}",
    )


def _is_block_list(root: Map, tasks: Seq, text: str) -> bool:
    at = root.starts[2 * list(root).index("tasks") + 1]
    return at == tasks.start and text[at : at + 1] == "-"  # an alias starts elsewhere


def _id(task: Any) -> str:
    return str(task.get("id", task.get("task_id", ""))) if isinstance(task, Mapping) else ""


def _like(task: Mapping[str, Any], old: Seq) -> str:
    """Return the id of a task that says the same, whatever the number that was made up."""
    made = isinstance(task, _Numbered)
    for other in old:
        if made and isinstance(other, Mapping):
            if {k: v for k, v in other.items() if k != "id"} == _without_id(task):
                return _id(other)
        elif other == task:
            return _id(other)
    return ""


def _without_id(task: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in task.items() if key != "id"}


class _Numbered(dict[str, Any]):
    """A task whose id was made up."""


# --- what is added --------------------------------------------------------------------------------


def _items(block: str, ids: Sequence[str]) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Return the lines of a list of the tasks in a block, at no indentation, and the tasks."""
    text = block.replace("\r\n", "\n").removeprefix(BOM).rstrip() + "\n"
    source = Source(text.encode(), "the task")
    if source.problems:
        raise InvalidFile("the task", source.problems)
    root = source.root
    start = getattr(root, "start", 0)
    tasks = [root] if isinstance(root, Map) else list(root) if isinstance(root, Seq) else []
    is_block = isinstance(root, Map) or text[start : start + 1] == "-"
    if not tasks or not is_block or not all(isinstance(task, Map) for task in tasks):
        raise FlowError(
            "what is added is neither a task nor a list of tasks",
            hint='write its keys, one on a line: `id: "7"`, `title: ...`, `run: ...`',
        )
    taken = list(ids) + [_id(task) for task in tasks if _id(task)]
    found: list[Mapping[str, Any]] = []
    gaps: list[tuple[int, str]] = []
    for task in tasks:
        if "id" in task or "task_id" in task:
            found.append(dict(task))
            continue
        made = next_id(taken)
        taken.append(made)
        found.append(_Numbered({"id": made, **task}))
        if text[task.start] == "{":
            gaps.append((task.start + 1, f'id: "{made}", '))
        else:
            gaps.append((task.start, f'id: "{made}"\n{" " * _column(text, task.start)}'))
    for at, words in reversed(gaps):
        text = text[:at] + words + text[at:]
    column = _column(text, start)
    lines = text[start - column :].split("\n")[:-1]
    lines = [line[column:] if not line[:column].strip() else line.lstrip() for line in lines]
    if isinstance(root, Map):
        lines = [f"- {lines[0]}", *(f"  {line}" if line else line for line in lines[1:])]
    return lines, found


def _column(text: str, at: int) -> int:
    return at - text.rfind("\n", 0, at) - 1


def next_id(ids: Sequence[str]) -> str:
    """Return the next free number in the style of these ids: `004` after `003`, `t4` after `t3`."""
    found = [match for id in ids if (match := _NUMBERED.fullmatch(id))]
    prefix, width, most = "", 1, len(ids)
    if found:
        prefix, width = found[-1][1], len(found[-1][2])
        most = max(int(match[2]) for match in found if match[1] == prefix)
    folded = {id.casefold() for id in ids}
    number = most + 1
    while f"{prefix}{number:0{width}}".casefold() in folded:
        number += 1
    return f"{prefix}{number:0{width}}"


# --- where it goes --------------------------------------------------------------------------------


def _end(text: str, start: int, column: int) -> int:
    """Return where the line after a block list begins, comments of its last item counted in."""
    end = _end_of_values(text, start)
    line = text.rfind("\n", 0, end) + 1
    if end != line:
        after = text.find("\n", end)
        is_at_start = not text[line:end].strip()
        end = line if is_at_start else len(text) if after < 0 else after + 1
    while True:
        after = text.find("\n", end)
        following = text[end : after if after >= 0 else len(text)]
        deep = len(following) - len(following.lstrip(" "))
        if not following.lstrip(" ").startswith("#") or deep <= column or not following:
            return end
        end = after + 1 if after >= 0 else len(text)


def _end_of_values(text: str, start: int) -> int:
    """Return where the last value of the list that starts at `start` ends."""
    end, depth = start, 0
    flows: list[bool] = []
    event: Any
    for event in yaml.parse(text, _Loader):
        kind = type(event)
        at, till = event.start_mark.index, event.end_mark.index
        if not depth and not (kind is yaml.SequenceStartEvent and at == start):
            continue
        if kind in (yaml.SequenceStartEvent, yaml.MappingStartEvent):
            depth += 1
            flows.append(bool(event.flow_style))
        elif kind in (yaml.SequenceEndEvent, yaml.MappingEndEvent):
            depth -= 1
            if flows.pop():
                end = max(end, till)
            if not depth:
                break
        elif kind is yaml.ScalarEvent and event.style in ("|", ">"):
            header = text[at : text.find("\n", at)]
            # Blank lines behind it are part of it only where it says so.
            kept = till if "+" in header else at + len(text[at:till].rstrip())
            end = max(end, kept)
        else:
            end = max(end, till)
    return end


def _is_spaced(text: str, tasks: Seq) -> bool:
    """Say whether an empty line stands before the last task of several, or before its comments."""
    dash = text.rfind("-", 0, tasks.starts[-1] + 1)
    above = text[: text.rfind("\n", 0, dash) + 1].split("\n")[:-1]
    while above and above[-1].lstrip().startswith("#"):
        above.pop()
    return len(tasks) > 1 and bool(above) and not above[-1].strip()


__all__ = ["Added", "next_id", "with_tasks"]
