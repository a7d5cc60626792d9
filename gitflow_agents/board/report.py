"""What came of bringing a board in step, and how that reads: in a terminal, in markdown, as JSON.

A write is told in words, with the names that people see on the board and no ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitflow_agents.board.changes import Drift
from gitflow_agents.board.shown import Layout
from gitflow_agents.board.terms import (
    AddContent,
    AddDraft,
    AddField,
    Archive,
    ClearValue,
    EditDraft,
    SetOptions,
    SetValue,
    Write,
)
from gitflow_agents.models import SCHEMA
from gitflow_agents.render.text import cell, code, count, fit, ids, inline, one_line, table

MOST_ROWS = 100
"""Of a table in markdown."""
MOST_LISTED = 20
"""Of anything else there."""


@dataclass
class Report:
    """What came of it, by task.

    `writes` are those that were done, or of a dry run would be; `left` says what was not done and
    why, and `is_behind` that something of that is still to be written.
    """

    plan: str
    url: str = ""
    is_dry: bool = False
    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Why, of each card to which not everything could be written."""
    drift: list[Drift] = field(default_factory=list)
    waiting: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    made: tuple[AddField | SetOptions, ...] = ()
    unmade: dict[str, str] = field(default_factory=dict)
    """What of that was refused, and why."""
    unmapped: tuple[str, ...] = ()
    writes: dict[str, tuple[Write, ...]] = field(default_factory=dict)
    left: str = ""
    requests: int = 0
    is_behind: bool = False
    layout: Layout = field(default_factory=lambda: Layout({}))
    """By which writes are told with the names that people see."""

    @property
    def written(self) -> int:
        """Return how many cards were made or changed."""
        return len(self.created) + len(self.updated)


# --- in words -------------------------------------------------------------------------------------


def summary(report: Report) -> str:
    """Return in a sentence how much was done: what people read of a pass."""
    parts = [
        f"{count(len(report.created), 'card')} {'to make' if report.is_dry else 'made'}",
        f"{len(report.updated)} {'to change' if report.is_dry else 'changed'}",
        f"{len(report.unchanged)} unchanged",
        f"{len(report.failed)} failed",
    ]
    if report.drift:
        kept = sum(not one.replaced for one in report.drift)
        parts.append(f"{len(report.drift)} changed by people ({kept} kept)")
    if report.waiting:
        parts.append(f"{len(report.waiting)} waiting for a word")
    return f"{', '.join(parts)}; {count(report.requests, 'request')}"


def text(report: Report) -> str:
    """Return what a terminal shows, the writes of a dry run first."""
    lines = [*write_lines(report)] if report.is_dry else []
    where = f" ({report.url})" if report.url else ""
    lines.append(f"the board of {report.plan}{where}: {summary(report)}")
    lines += [f"  {what} failed: {one_line(why)}" for what, why in _failures(report)]
    if report.drift:
        head = ("TASK", "FIELD", "THEIRS", "OURS", "")
        rows = [
            (one.task, one.field, fit(one.theirs, 24), fit(one.ours, 24), _became(report, one))
            for one in report.drift
        ]
        lines += ["what people changed:", *table(head, rows, "  ")]
    lines += [f"  {one}" for one in report.missing if not report.made]
    if not report.is_dry:
        lines += [f"  done: {one}" for one in _made(report)]
    if report.left:
        lines.append(f"left: {report.left}")
    lines += [f"hint: {hint}" for hint in hints(report)]
    return "\n".join(lines)


def hints(report: Report) -> Iterator[str]:
    """Yield what a person can do next, a sentence each."""
    sync = f"gitflow-agents sync {report.plan}"
    if report.waiting:
        yield (
            f"a card that may be theirs is on the board for {ids(report.waiting, 40)}: "
            f"{sync} --adopt takes them, {sync} --no-adopt makes others"
        )
    if any(not one.replaced for one in report.drift):
        yield f"what people changed was kept: {sync} --overwrite puts it back"
    if report.missing and not report.made:
        yield f"what the board lacks is left out: {sync} --create makes it"
    if report.unmapped:
        yield f"nobody answers for {', '.join(report.unmapped)}: add them to agent_mapping"


def _became(report: Report, one: Drift) -> str:
    if not one.replaced:
        return "kept"
    return "to replace" if report.is_dry else "replaced"


def markdown(report: Report) -> str:
    """Return what the summary of a job, and the reply to a comment, tell: all of it is data."""
    name = f"[{inline(report.plan)}]({report.url})" if report.url else code(report.plan)
    lines = [f"**Board of {name}**: {summary(report)}."]
    if report.is_dry:
        lines += ["", *_some([f"- {_quiet(line)}" for line in write_lines(report)], MOST_ROWS)]
    rows = [f"- {code(what)} failed: {_quiet(fit(why, 300))}" for what, why in _failures(report)]
    if rows:
        lines += ["", *_some(rows, MOST_LISTED)]
    if report.drift:
        rows = [
            f"| {_cell(one.task)} | {_cell(one.field)} | {_cell(one.theirs)} | {_cell(one.ours)} "
            f"| {_became(report, one)} |"
            for one in report.drift
        ]
        lines += ["", "| Task | Field | Theirs | Ours | |", "|---|---|---|---|---|"]
        lines += _some(rows, MOST_ROWS)
    told = [f"- {_quiet(one)}" for one in report.missing if not report.made]
    if not report.is_dry:
        told += [f"- done: {_quiet(one)}" for one in _made(report)]
    told += [f"- not done: {_quiet(report.left)}"] if report.left else []
    told += [f"- {_quiet(hint)}" for hint in hints(report)]
    if told:
        lines += ["", *_some(told, MOST_LISTED)]
    return "\n".join(lines) + "\n"


def _some(lines: Sequence[str], most: int) -> list[str]:
    left = len(lines) - most
    return [*lines[:most], *(["", f"and {left:,} more"] if left > 0 else [])]


def _quiet(text: str) -> str:
    return inline(text).replace("@", "@\u200b")


def _cell(text: str) -> str:
    return cell(text).replace("@", "@\u200b")


# --- the writes -----------------------------------------------------------------------------------


def write_lines(report: Report) -> Iterator[str]:
    """Yield each write in words, with the names that people see on the board."""
    names = {there.id: there.name for there in report.layout.fields.values()}
    choices = {
        option.id: option.name
        for there in report.layout.fields.values()
        for option in there.options
    }
    yield from _made(report)
    for task, writes in report.writes.items():
        yield from (f"{task}: {_of_card(write, names, choices)}" for write in writes)


def _made(report: Report) -> list[str]:
    names = {there.id: there.name for there in report.layout.fields.values()}
    return [_of_board(made, names) for made in report.made]


def _of_board(write: AddField | SetOptions, names: Mapping[str, str]) -> str:
    if isinstance(write, AddField):
        kind = write.kind.lower().replace("_", " ")
        choices = ", ".join(option.name for option in write.options)
        return f"make the field {write.name} ({kind}{choices and ': '}{choices})"
    new = ", ".join(option.name for option in write.options if not option.id)
    return f"add to the choices of {names.get(write.field, 'a field')}: {new}"


def _of_card(write: Write, names: Mapping[str, str], choices: Mapping[str, str]) -> str:
    match write:
        case AddDraft(title=title):
            return f"make the card: {fit(title, 200)}"
        case AddContent():
            return "make the card of its issue"
        case EditDraft(title=title):
            return f"write title and text: {fit(title, 200)}"
        case SetValue(field=node, kind=kind, value=value):
            shown = choices.get(str(value), value) if kind == "SINGLE_SELECT" else value
            said = f"{shown:g}" if isinstance(shown, float) else fit(shown, 200)
            return f"set {names.get(node, node)} to {said}"
        case ClearValue(field=node):
            return f"empty {names.get(node, node)}"
        case Archive(back=back):
            return "bring the card back" if back else "put the card away"
        case _:
            return _of_board(write, names)


# --- for programs ---------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as one object, versioned."""
    return {
        "schema": SCHEMA,
        "plan": report.plan,
        "url": report.url,
        "dry_run": report.is_dry,
        "created": report.created,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "failed": [{"what": what, "why": why} for what, why in _failures(report)],
        "drift": [
            {
                "task": one.task,
                "field": one.field,
                "theirs": one.theirs,
                "ours": one.ours,
                "kept": not one.replaced,
            }
            for one in report.drift
        ],
        "waiting": list(report.waiting),
        "missing": list(report.missing),
        "unmapped": list(report.unmapped),
        "writes": list(write_lines(report)),
        "left": report.left,
        "is_behind": report.is_behind,
        "requests": report.requests,
    }


def _failures(report: Report) -> Iterator[tuple[str, str]]:
    yield from report.failed.items()
    yield from report.unmade.items()


__all__ = ["Report", "as_json", "hints", "markdown", "summary", "text", "write_lines"]
