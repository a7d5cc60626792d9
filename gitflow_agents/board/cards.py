"""What a board has to show of a plan: one card a task, computed from a snapshot.

Start with `cards`.  Whatever a plan, an agent or a person wrote is data here: on one line in a
field, escaped in a text, and cut to what a forge takes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from types import MappingProxyType

from gitflow_agents.board.shown import ARCHIVED, FIELDS, Shown, assignee, shown_of
from gitflow_agents.board.terms import Value
from gitflow_agents.forge import OWN
from gitflow_agents.models import Attempt, Plan, Reason, Status, Task, TaskRecord
from gitflow_agents.render.text import clean, code, inline, one_line, utc
from gitflow_agents.roles import Role, effective
from gitflow_agents.scheduler import Snapshot, held_words
from gitflow_agents.steps import is_review

MOST_TEXT = 1024
"""Bytes of a text field, as GitHub was seen to count them; characters are never more."""
MOST_TITLE = 256
MOST_BODY = 10_000
"""Characters of a card's text; a forge takes more than anybody reads on a card."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_ROLES: Mapping[str, Role] = MappingProxyType({})


@dataclass(frozen=True)
class Card:
    """What the card of one task is to show.

    `values` are by our names of fields, None where a field is to be empty; what is not among them
    is left as it is, and so are title and body where there is no title.
    """

    task: str
    title: str
    body: str
    values: Mapping[str, Value | None]
    is_archived: bool
    content: str = ""
    """The node of its issue, whose title and text are not the card's."""

    @cached_property
    def body_digest(self) -> str:
        """Return what changes with the text, as it is remembered."""
        return digest_of(self.body)


def marker(plan: str, task: str) -> str:
    """Return the hidden line by which the card of a task is found again."""
    return f"{OWN}card {plan}/{task} -->"


_MARKER = re.compile(rf"^{re.escape(OWN)}card ([a-z0-9-]+)/([A-Za-z0-9.-]+) -->\s*$", re.MULTILINE)


def marked(body: str) -> tuple[str, str] | None:
    """Return the plan and the task whose card a text says that it is."""
    found = _MARKER.search(body)
    return (found[1], found[2]) if found else None


def digest_of(body: str) -> str:
    """Return a digest of a card's text, the same however a forge ends its lines."""
    lines = [line.rstrip() for line in body.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode(errors="replace")).hexdigest()[:16]


def digest(cards: Mapping[str, Card]) -> str:
    """Return what changes with anything that the cards are to show."""
    found = hashlib.sha256()
    for card in cards.values():
        said = (card.task, card.title, card.body, sorted(card.values.items()), card.is_archived)
        found.update(repr((*said, card.content)).encode(errors="replace"))
    return found.hexdigest()[:40]


def cards(
    snapshot: Snapshot,
    shown: Shown,
    *,
    url_of_run: Callable[[int], str],
    contents: Mapping[str, str] = _NOTHING,
    roles: Mapping[str, Role] = _NO_ROLES,
    home: str = "",
    known: Iterable[str] = (),
) -> dict[str, Card]:
    """Return the card of each task, in plan order, then those of tasks that the plan lost.

    `contents` are the nodes of the tasks' issues, `home` the address where the plan is told of,
    `known` the tasks of which a card is remembered.
    """
    plan = snapshot.plan
    found = {}
    for task in plan.tasks:
        state = _state(snapshot, shown, task, roles)
        values = _values(snapshot, shown, task, roles, url_of_run)
        if state != ARCHIVED:
            values["Status"] = state
        found[task.id] = Card(
            task=task.id,
            title=_title(task),
            body=_body(plan, task, home),
            values={name: values[name] for name in shown.names if name in values},
            is_archived=state == ARCHIVED,
            content=contents.get(task.id, ""),
        )
    for name in known:
        if name not in found:
            found[name] = Card(name, "", "", {}, is_archived=True, content=contents.get(name, ""))
    return found


def unmapped(snapshot: Snapshot, shown: Shown, roles: Mapping[str, Role] = _NO_ROLES) -> list[str]:
    """Return the agents that do tasks for which nobody answers, where the config names people."""
    if not shown.people or "Assignee" not in shown.names:
        return []
    found = {}
    for task in snapshot.plan.tasks:
        agent = _agent(snapshot, task, roles)
        if assignee(task, snapshot.plan, shown, agent=agent) is None:
            found[agent] = True
    return sorted(found)


# --- what a task shows ----------------------------------------------------------------------------


def is_reviewed(snapshot: Snapshot, task: Task, roles: Mapping[str, Role]) -> bool:
    """Say whether anybody judges a task's result before it is merged: an agent or a person."""
    plan = snapshot.plan
    asked = {*plan.approval, *snapshot.approval, *task.approval}
    return (
        plan.setting(task, "quality") == "full"
        or "merge" in asked
        or plan.setting(task, "merge") == "pr"
        or any(is_review(roles.get(step.role)) for step in plan.setting(task, "steps"))
    )


def _state(snapshot: Snapshot, shown: Shown, task: Task, roles: Mapping[str, Role]) -> str:
    status = snapshot.status(task.id)
    if status is Status.REVIEW and not is_reviewed(snapshot, task, roles):
        status = Status.IN_PROGRESS
    return shown.states[status]


def _values(
    snapshot: Snapshot,
    shown: Shown,
    task: Task,
    roles: Mapping[str, Role],
    url_of_run: Callable[[int], str],
) -> dict[str, Value | None]:
    plan, record = snapshot.plan, snapshot.record(task.id)
    attempt, agent = record.attempt, _agent(snapshot, task, roles)
    wave = snapshot.graph.wave.get(task.id)
    is_over = record.status not in (Status.PENDING, Status.IN_PROGRESS)
    proofs = (*plan.verify(task), *task.acceptance)
    return {
        "TM_ID": task.id,
        "Priority": str(plan.setting(task, "priority")),
        "Assignee": assignee(task, plan, shown, agent=agent),
        "Dependencies": _text(", ".join(snapshot.graph.requires[task.id])),
        "Test Strategy": _text("; ".join(proofs)),
        "Plan": plan.plan,
        "Wave": float(wave) if wave else None,
        "Attempt": float(attempt.number) if attempt else None,
        "Agent": attempt.agent if attempt else agent,
        "Cost": _cost(record.attempts),
        "Run": _text(_run(record, attempt, url_of_run)),
        "Estimate": round(task.estimated_time.minutes, 2) if task.estimated_time else None,
        "Started": _day(record.attempts[0].started_at) if record.attempts else None,
        "Ended": _day(attempt.ended_at) if attempt and attempt.ended_at and is_over else None,
        "Reason": _text(_reason(record)),
    }


def _agent(snapshot: Snapshot, task: Task, roles: Mapping[str, Role]) -> str:
    """Return who does the next attempt at a task."""
    plan = snapshot.plan_for(task.id)
    role = roles.get(plan.setting(task, "role") or "")
    return str(plan.setting(effective(plan, plan.by_id[task.id], role), "agent"))


def _cost(attempts: Iterable[Attempt]) -> float | None:
    costs = [one.cost_usd for one in attempts if one.cost_usd is not None]
    return round(sum(costs), 4) if costs else None


def _run(record: TaskRecord, attempt: Attempt | None, url_of_run: Callable[[int], str]) -> str:
    if attempt is not None and attempt.url:
        return attempt.url
    return url_of_run(record.lease.run) if record.lease and record.lease.run else ""


def _reason(record: TaskRecord) -> str:
    if record.status in (Status.COMPLETED, Status.IN_PROGRESS):
        return ""
    if record.held:
        return held_words(record.held)
    if asked := record.open_question:
        return f"question: {asked.text}"
    return _because(record.reason, record.message) if record.reason else ""


def _because(reason: Reason, message: str) -> str:
    """Return a reason with the last line of its message that says anything."""
    lines = [line for line in clean(message).split("\n") if line.strip()]
    return f"{reason}: {lines[-1]}" if lines else reason.value


def _day(seconds: float) -> str:
    return utc(seconds)[:10]


def _cut(text: str, most: int) -> str:
    line = one_line(text)
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _title(task: Task) -> str:
    """Return the title of a card; GitHub makes a card of the issue whose address it is."""
    is_address = re.fullmatch(r"https?://\S+", one_line(task.name))
    return _cut(f"{task.id}: {task.name}" if is_address else task.name, MOST_TITLE)


def _text(text: str) -> str | None:
    line = one_line(text)
    data = line.encode(errors="replace")
    if len(data) > MOST_TEXT:
        line = data[: MOST_TEXT - len("…".encode())].decode(errors="ignore").rstrip() + "…"
    return line or None


def _body(plan: Plan, task: Task, home: str) -> str:
    """Return the text of a card: it pings nobody, hides nothing, and links plain addresses only."""
    parts = []
    if task.description.strip():
        parts.append(_quiet(task.description))
    if task.acceptance:
        parts.append("\n".join(f"- {_quiet(' '.join(each.split()))}" for each in task.acceptance))
    flow = f"merged to {code(plan.flow_branch)}"
    told = f"; [what happens there]({home})" if home else ""
    parts.append(f"A task of the plan {code(plan.plan)}, {flow}{told}.")
    last = f"\n\n{marker(plan.plan, task.id)}\n"
    text = "\n\n".join(parts)
    if len(text) > MOST_BODY:
        text = text[: MOST_BODY - 1].rstrip("\\").rstrip() + "…"
    return text + last


def _quiet(text: str) -> str:
    lines = (inline(line) for line in clean(text).strip().split("\n"))
    return "\n".join(lines).replace("@", "@\u200b")


# --- what it showed before ------------------------------------------------------------------------


def former(
    snapshot: Snapshot, shown: Shown, task: str, roles: Mapping[str, Role] = _NO_ROLES
) -> dict[str, frozenset[Value | bool | None]]:
    """Return the values that a task has had before, by our fields and `archived`.

    It is what its record still tells; the text of former revisions is not.
    """
    about = snapshot.plan.by_id.get(task)
    if about is None:
        return {"archived": frozenset({False})}
    record = snapshot.record(task)
    states = {shown.states[status] for status in _been(record)}
    ended = [one.ended_at for one in record.attempts if one.ended_at]
    costs = accumulate(one.cost_usd or 0 for one in record.attempts)
    texts = {_because(one.reason, one.message) for one in record.attempts if one.reason}
    had: dict[str, set[Value | bool | None]] = {
        "Status": set(states - {ARCHIVED}),
        "Attempt": {None, *(float(one.number) for one in record.attempts)},
        "Agent": {_agent(snapshot, about, roles), *(one.agent for one in record.attempts)},
        "Cost": {None, *(round(one, 4) for one in costs)},
        "Run": {None, *(_text(one.url) for one in record.attempts)},
        "Started": {None},
        "Ended": {None, *map(_day, ended)},
        "Reason": {None, *map(_text, texts)},
        "archived": {False, *([True] if ARCHIVED in states else [])},
    }
    return {name: frozenset(values) for name, values in had.items()}


def _been(record: TaskRecord) -> set[Status]:
    """Return every status that a task has had, as far as its record tells."""
    been = {Status.PENDING, record.status}
    for one in record.attempts:
        been.add(Status.IN_PROGRESS)
        if one.outcome == "succeeded":
            been |= {Status.REVIEW, Status.FAILED}  # its merge may have been refused
        if one.outcome in ("failed", "expired"):
            been.add(Status.FAILED)
        if one.merged:
            been.add(Status.COMPLETED)
    return been


__all__ = [
    "FIELDS",
    "MOST_TEXT",
    "MOST_TITLE",
    "Card",
    "Shown",
    "assignee",
    "cards",
    "digest",
    "digest_of",
    "former",
    "is_reviewed",
    "marked",
    "marker",
    "shown_of",
    "unmapped",
]
