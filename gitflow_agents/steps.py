"""Who does the steps of a task, what their verdict means, and what `quality` asks for.

A step is one more agent on the task's branch, after the task's own.  Each is held to its own role
by what it changed itself.  A step whose role may change nothing is a review: it says `approve` or
`refuse`, and saying nothing is no approval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import dedent
from typing import NamedTuple

from gitflow_agents.models import Agents, Plan, Reason, Review, Step, Task
from gitflow_agents.roles import CODE, Handbook, Role, Touched, effective, kind


class Member(NamedTuple):
    """One step as a task of its own, as its role lets it be."""

    task: Task
    role: Role


class Worker(NamedTuple):
    """Which program does something, with which model; of `command` the command itself."""

    agent: str
    model: str
    run: str = ""


def member(plan: Plan, task: Task, step: Step, role: Role) -> Member:
    """Return a step of a task as a task of its own; what it does not say is the plan's default."""
    changes = {
        "role": step.role,
        "agent": step.agent,
        "model": step.model,
        "tools": step.tools,
        "run": step.run,
        "kind": "change",
        "outputs": (),
        "timeout": plan.setting(task, "timeout"),
    }
    return Member(effective(plan, task.model_copy(update=changes), role), role)


def crew(plan: Plan, task: Task, book: Handbook) -> tuple[Member, ...]:
    """Return the steps of a task; FlowError when a role of one is gone."""
    steps = plan.setting(task, "steps")
    if not steps:
        return ()
    roles = book.of_steps(plan, task)
    return tuple(member(plan, task, *each) for each in zip(steps, roles, strict=True))


def signature(plan: Plan, task: Task) -> str:
    """Return the name under which the agent of a task or a step commits."""
    agent, role = plan.setting(task, "agent"), plan.setting(task, "role")
    return f"{agent} ({role})" if role else str(agent)


def author(plan: Plan, task: Task) -> str:
    """Return who a commit of the agent of a task or a step is by, as git writes it."""
    agent = plan.setting(task, "agent")
    return f"{signature(plan, task)} <{agent}@agent.gitflow-agents.localhost>"


def worker(plan: Plan, task: Task, agents: Agents) -> Worker:
    """Return which program does a task or a step, with the model that plan or config name."""
    name = plan.setting(task, "agent")
    if name == "command":
        return Worker(name, "", str(plan.setting(task, "run") or agents.command.run or ""))
    own = agents.of(name).model if name in agents.allowed else ""
    return Worker(name, plan.setting(task, "model") or own or "")


def is_review(role: Role | None) -> bool:
    """Say whether a step with this role judges the work of others."""
    return role is not None and role.may_change == ()


def own_reviews(plan: Plan, task: Task, crew: Sequence[Member], agents: Agents) -> Iterator[int]:
    """Yield the places of the reviews that are done by who did the task."""
    first = worker(plan, task, agents)
    for place, each in enumerate(crew):
        if is_review(each.role) and worker(plan, each.task, agents) == first:
            yield place


def is_reviewed(plan: Plan, task: Task, crew: Sequence[Member], agents: Agents) -> bool:
    """Say whether somebody else than who did the task judges all of the work."""
    own = set(own_reviews(plan, task, crew, agents))
    last = max((n for n, each in enumerate(crew) if not is_review(each.role)), default=-1)
    judges = range(last + 1, len(crew))
    return any(place not in own for place in judges)


def verdict(review: Review, complaint: str = "") -> tuple[Reason, str] | None:
    """Return why a review lets the work not pass, or None when it approves.

    `complaint` says why its report could not be read.
    """
    if review.verdict == "approve":
        return None
    if review.verdict is None:
        return Reason.UNVERIFIED, f"it gave no verdict{complaint and f'; {complaint}'}"
    why = "; ".join(review.reasons) or review.summary.strip() or "it gave no reason"
    return Reason.REJECTED, f"it refused the work: {why}"


_VERDICT = re.compile(r"^\W*verdict\W*:", re.MULTILINE | re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)


def spoken(words: str, word: str) -> list[str]:
    """Return the YAML of each verdict in an agent's last words: some may write no file.

    Only a fence with the word of its brief is one: any other may be quoted from the work.
    """
    if not word:
        return []
    carries = re.compile(rf"^\W*word\W*:\W*{re.escape(word)}\W*$", re.MULTILINE)
    fenced = _FENCE.split(words)[1:-1]
    return [dedent(text) for text in fenced if carries.search(text)]


def names_verdict(words: str) -> bool:
    """Say whether last words hold a verdict, whoever's it is."""
    return bool(_VERDICT.search(words))


def untested(touched: Sequence[Touched]) -> str:
    """Return a path of new code that no change of a test comes with, or an empty string."""
    kept = [one.path for one in touched if one.how != "deletes"]
    if any(kind(path) == "tests" for path in kept):
        return ""
    return next((path for path in kept if kind(path) == CODE), "")


__all__ = [
    "Member",
    "Worker",
    "author",
    "crew",
    "is_review",
    "is_reviewed",
    "member",
    "names_verdict",
    "own_reviews",
    "signature",
    "spoken",
    "untested",
    "verdict",
    "worker",
]
