"""What the issues of a plan have to be: which are missing, what each says, when it is closed.

An issue is told what its task's text says and how the task ended, and nothing in between.  What it
shows is compared with that and with what it was told last, so that what people made of it is left
to them.  Nothing here asks anybody; `service.issuing` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from gitflow_agents.board.shown import Shown, assignee
from gitflow_agents.forge import (
    OWN,
    CloseIssue,
    EditIssue,
    Issue,
    IssueWrite,
    NewIssue,
    ReopenIssue,
)
from gitflow_agents.graph import Graph
from gitflow_agents.models import CLIS, Config, Status, Tracked
from gitflow_agents.render.issues import follow_up_text, plan_text, task_text
from gitflow_agents.scheduler import Snapshot

MOST_CHILDREN = 100
"""Issues that may hang below another one; closed ones count, too."""
FOLLOW_UP = "follow-up"
"""The label by which what tasks left to be done is found again."""
PLAN = ""
"""Stands for the plan among the keys of its tasks; none of them is called that."""
Closed = Literal["", "completed", "not_planned"]
_OVER = (Status.COMPLETED, Status.CANCELLED)


# --- which are missing ----------------------------------------------------------------------------


def missing(snapshot: Snapshot) -> list[str]:
    """Return the tasks that have no issue and are to have one, first those that start first.

    What is over by now needs none, and of a plan that waits for an approval nothing is made.
    """
    if snapshot.state.status != "live" or snapshot.awaits():
        return []
    wave = snapshot.graph.wave
    lacking = [
        task
        for task in snapshot.plan.order
        if task not in snapshot.issues and snapshot.status(task) not in _OVER
    ]
    return sorted(lacking, key=lambda task: wave.get(task, 0))


def starting(snapshot: Snapshot, most: int) -> list[str]:
    """Return the tasks without an issue that a pass may start: at most `most` that can start now.

    Those count, too, that wait for nothing but what is at work or in review: one pass may merge
    that and start them.
    """
    if snapshot.awaits():
        return []
    graph, under_way = snapshot.graph, snapshot.by_status[Status.IN_PROGRESS]
    under_way = under_way | snapshot.by_status[Status.REVIEW]
    found = dict.fromkeys(islice(snapshot.frontier.in_order(), most))
    for started in under_way:
        for task in graph.dependants[started]:
            is_next = all(snapshot.is_met(n) or n in under_way for n in graph.requires[task])
            if is_next and snapshot.status(task) is Status.PENDING:
                found[task] = None
    return [task for task in found if task not in snapshot.issues]


def new_issue(
    snapshot: Snapshot, key: str, labels: tuple[str, ...], person: str = "", *, place: int = 0
) -> NewIssue:
    """Return the issue of a task, below the plan's own where there is room, or that of the plan.

    `place` is how many others are made before it, by the same request.
    """
    own = snapshot.tracking.issue
    children = sum(issue.is_child for issue in snapshot.issues.values()) + place
    has_parent = key != PLAN and own is not None and not own.is_gone
    parent = own.node if own is not None and has_parent and children < MOST_CHILDREN else ""
    people = (person,) if person else ()
    return NewIssue(key, _title(snapshot, key), body(snapshot, key), labels, people, parent)


def marker(plan: str, key: str) -> str:
    """Return the hidden line by which an issue is found again."""
    if key.startswith("+"):
        return f"{OWN}follow-up {key[1:]} -->"
    return f"{OWN}issue {plan}{'/' if key else ''}{key} -->"


def _title(snapshot: Snapshot, key: str) -> str:
    return (plan_text(snapshot) if key == PLAN else task_text(snapshot, key)).title


def body(snapshot: Snapshot, key: str) -> str:
    """Return all the words of an issue of a task, or of the plan."""
    text = plan_text(snapshot) if key == PLAN else task_text(snapshot, key)
    return f"{marker(snapshot.plan.plan, key)}\n{text.body}"


def found(plan: str, keys: Iterable[str], there: Iterable[Issue]) -> dict[str, Issue]:
    """Return which of some keys have an issue among those that are there; of two the first."""
    marks = {marker(plan, key): key for key in keys}
    by_key: dict[str, Issue] = {}
    for issue in sorted(there, key=lambda issue: issue.number):
        key = marks.get(issue.body.partition("\n")[0].strip())
        if key is not None:
            by_key.setdefault(key, issue)
    return by_key


def tracked(snapshot: Snapshot, key: str, issue: Issue, *, is_child: bool) -> Tracked:
    """Return what is known of an issue that was made now, or found as it was made by a process.

    One that says something else than the plan by now is told that later.
    """
    told = digest(issue.title, issue.body)
    is_right = key == PLAN or key in snapshot.plan.by_id  # it may have left the plan meanwhile
    is_right = is_right and told == digest(_title(snapshot, key), body(snapshot, key))
    return Tracked(
        number=issue.number,
        node=issue.node,
        id=issue.id,
        text=_text(snapshot, key) if is_right else "",
        told=told,
        is_child=is_child,
    )


def digest(title: str, words: str) -> str:
    """Return what changes with title and words, however their lines end."""
    folded = "\n".join(line.rstrip() for line in words.strip().splitlines())
    said = f"{title.strip()}\n{folded}".encode(errors="replace")
    return hashlib.sha256(said).hexdigest()[:16]


def contents(snapshot: Snapshot) -> dict[str, str]:
    """Return the nodes of the tasks' issues, for their cards on a board."""
    return {task: issue.node for task, issue in snapshot.issues.items() if not issue.is_gone}


def answering(snapshot: Snapshot, config: Config, task: str) -> str | None:
    """Return who is to be assigned to the issue of a task; nothing where nobody is ever.

    None where the config says who answers for what, and nobody for this one.
    """
    people = {**(config.projects.agent_mapping if config.projects else {}), **config.agent_mapping}
    if not people:
        return ""
    plan, agents = snapshot.plan_for(task), frozenset(config.agents.allowed) | {*CLIS}
    shown = Shown(plan.plan, people=people, agents=agents)
    return assignee(plan.by_id[task], plan, shown)


# --- what has changed -----------------------------------------------------------------------------


def stale(snapshot: Snapshot) -> list[str]:
    """Return whose issues have to be read, and perhaps written: tasks, or the plan."""
    due = [
        task
        for task, issue in snapshot.issues.items()
        if not issue.is_gone
        and (issue.closed != closed(snapshot, task) or issue.text != _text(snapshot, task))
    ]
    own = snapshot.tracking.issue
    if own is not None and not own.is_gone:
        is_told = (own.closed, own.text) == (closed(snapshot, PLAN), _text(snapshot, PLAN))
        due += [] if is_told else [PLAN]
    return due


def _text(snapshot: Snapshot, key: str) -> str:
    """Return the digest of what a task's text says; of one that left the plan it is the last told.

    The issue of such a task is closed, and says what it said.
    """
    if key == PLAN:
        text = plan_text(snapshot)
        return digest(text.title, text.body)
    about = snapshot.plan.by_id.get(key)
    if about is None:
        return snapshot.issues[key].text
    return digest(about.digest, "\n".join(snapshot.plan.verify(about)))


def closed(snapshot: Snapshot, key: str) -> Closed:
    """Return why an issue is to be closed; empty while it is to be open."""
    state = snapshot.state
    if key == PLAN:
        ended: dict[str, Closed] = {"landed": "completed", "closed": "not_planned"}
        return ended.get(state.status, "")
    status = snapshot.status(key)
    if status is Status.COMPLETED:
        return "completed"
    is_left = status is Status.CANCELLED or key not in snapshot.plan.by_id
    return "not_planned" if is_left or state.status == "closed" else ""


@dataclass(frozen=True)
class Settled:
    """What is to be done about an issue: its writes, what is known after them, what people did."""

    writes: tuple[IssueWrite, ...]
    after: Tracked
    said: str = ""


def settle(snapshot: Snapshot, key: str, known: Tracked, seen: Issue | None) -> Settled:
    """Return how an issue is brought up to date; what people made of it is left to them.

    `seen` is what it shows now, None where it is gone.
    """
    if seen is None:
        said = f"#{known.number} was deleted; it is not made again"
        return Settled((), known.model_copy(update={"is_gone": True, "theirs": said}), said)
    writes: list[IssueWrite] = []
    theirs: list[str] = []
    told, text = known.told, _text(snapshot, key)
    if known.text != text:
        title, words = _title(snapshot, key), body(snapshot, key)
        wanted, shown = digest(title, words), digest(seen.title, seen.body)
        if shown == known.told != wanted:
            writes.append(EditIssue(known.node, title, words))
        elif shown != wanted:
            theirs.append("says what people wrote, and not what the plan says now")
        told = wanted if shown in (known.told, wanted) else known.told
    wants = closed(snapshot, key)
    if wants not in (known.closed, seen.closed):
        if seen.closed == known.closed:
            writes.append(CloseIssue(known.node, wants) if wants else ReopenIssue(known.node))
        else:
            now = "reopened" if not seen.closed else f"closed as {seen.closed.replace('_', ' ')}"
            theirs.append(f"was {now} by somebody, and stays so")
    said = f"#{known.number} {' and '.join(theirs)}" if theirs else ""
    changes = {"text": text, "told": told, "closed": wants, "theirs": said}
    return Settled(tuple(writes), known.model_copy(update=changes), said)


# --- what waits for what --------------------------------------------------------------------------


@dataclass(frozen=True)
class Blocks:
    """The tasks that an issue is to be told, and not told any more, that it waits for."""

    task: str
    add: tuple[str, ...]
    drop: tuple[str, ...]


def blocks(snapshot: Snapshot) -> Iterator[Blocks]:
    """Yield the issues that show other needs than their tasks have, as far as those have issues.

    What follows from another need is left out: what people see is the next thing in the way.
    """
    for task in snapshot.plan.order:
        issue = snapshot.issues.get(task)
        needs = tuple(snapshot.graph.requires.get(task, ()))
        if issue is None or issue.is_gone or issue.needs == needs or issue.closed:
            continue
        waits = [
            need
            for need in needs
            if need not in snapshot.issues and snapshot.status(need) not in _OVER
        ]
        if waits:
            continue  # until they have an issue
        direct = [need for need in next_ones(snapshot.graph, task) if _is_there(snapshot, need)]
        add = tuple(need for need in direct if need not in issue.blocked_by)
        drop = tuple(
            need for need in issue.blocked_by if need not in direct and _is_there(snapshot, need)
        )
        yield Blocks(task, add, drop)


def _is_there(snapshot: Snapshot, task: str) -> bool:
    issue = snapshot.issues.get(task)
    return issue is not None and not issue.is_gone


def next_ones(graph: Graph, task: str) -> list[str]:
    """Return the tasks that a task needs, without those that another of them needs already."""
    needs = graph.requires.get(task, ())
    behind: set[str] = set()
    for need in needs:
        if need not in behind:
            behind |= graph.ancestors(need)
    return [need for need in needs if need not in behind]


# --- what tasks left to be done -------------------------------------------------------------------


@dataclass(frozen=True)
class FollowUp:
    """What a merged task left to be done, and the key of its issue."""

    key: str
    text: str
    task: str


def follow_ups(snapshot: Snapshot) -> Iterator[FollowUp]:
    """Yield what merged tasks left to be done and nobody has an issue of; the same thing once."""
    known = set(snapshot.tracking.followed)
    for task in snapshot.plan.order:
        record = snapshot.records.get(task)
        if record is None or record.status is not Status.COMPLETED:
            continue
        for text in record.follow_ups:
            folded = " ".join(text.split()).casefold().encode(errors="replace")
            name = hashlib.sha256(folded).hexdigest()[:16]
            if folded and name not in known:
                known.add(name)
                yield FollowUp(f"+{name}", text, task)


def follow_up(snapshot: Snapshot, one: FollowUp, labels: tuple[str, ...]) -> NewIssue:
    """Return the issue of what a task left to be done."""
    text = follow_up_text(snapshot, one.task, one.text)
    words = f"{marker(snapshot.plan.plan, one.key)}\n{text.body}"
    return NewIssue(one.key, text.title, words, (*labels, FOLLOW_UP))


__all__ = [
    "FOLLOW_UP",
    "PLAN",
    "Blocks",
    "FollowUp",
    "Settled",
    "answering",
    "blocks",
    "body",
    "closed",
    "contents",
    "digest",
    "follow_up",
    "follow_ups",
    "found",
    "marker",
    "missing",
    "new_issue",
    "next_ones",
    "settle",
    "stale",
    "starting",
    "tracked",
]
