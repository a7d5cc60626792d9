"""Who does a task, with which model and within which bounds, when a retry says so.

What the config and the task's role allow is never widened: more is refused by name.
"""

from __future__ import annotations

from typing import Any

from gitflow_agents.commands.following import Ground
from gitflow_agents.commands.words import Refused, Retry
from gitflow_agents.models import WITHOUT_COST, Instead, Task, TaskRecord


def instead(command: Retry, ground: Ground, record: TaskRecord) -> Instead | None:
    """Return what holds for the next attempts at a task in place of its text; None for nothing.

    What an earlier retry said goes on where this one says nothing of it.  Raises Refused for what
    may not be.
    """
    given = {
        name: value
        for name, value in (
            ("agent", command.agent),
            ("model", command.model),
            ("budget_usd", command.budget),
            ("timeout", command.timeout),
        )
        if value not in ("", None)
    }
    if command.as_planned:
        if given:
            raise Refused(
                "bad-value", f"--as-planned leaves --{_option(next(iter(given)))} nothing to say"
            )
        return None
    task = ground.snapshot.plan.by_id[record.id]
    before = record.instead if record.instead and record.instead.digest == task.digest else None
    if not given:
        return before
    kept = before.model_dump(include={"agent", "model", "budget_usd", "timeout"}) if before else {}
    if "agent" in given and given["agent"] != _agent(ground, task):
        kept.pop("model", None)  # it was one of another agent's
    told: dict[str, Any] = {**kept, **given}
    said = Instead(**told, by=ground.actor, at=ground.now, digest=task.digest)
    if before and before.model_copy(update={"by": said.by, "at": said.at}) == said:
        return before
    _is_allowed(ground, record.id, said, given)
    return said


def _option(field: str) -> str:
    return field.removesuffix("_usd")


def _agent(ground: Ground, task: Task) -> str:
    plan = ground.snapshot.plan_for(task.id)
    return str(plan.setting(ground.book.terms(plan, plan.by_id[task.id]), "agent"))


def _is_allowed(ground: Ground, task: str, said: Instead, given: dict[str, Any]) -> None:
    """Refuse what the config, the task's role or the agent itself does not let be."""
    plan, agents = ground.snapshot.plan.with_instead(task, said), ground.config.agents
    terms = ground.book.terms(plan, plan.by_id[task])
    name = str(plan.setting(terms, "agent"))
    if name not in agents.allowed:
        raise Refused(
            "bad-value",
            f"the config does not allow the agent {name}",
            hint=f"it allows: {', '.join(agents.allowed)}",
        )
    if name == "command":
        if not (plan.setting(terms, "run") or agents.command.run):
            raise Refused("bad-value", f"{task} has no `run` that the agent command could do")
        if "model" in given:
            raise Refused("bad-value", f"{task} is done by the agent command, which has no model")
    budget = given.get("budget_usd")
    if budget is not None and name in WITHOUT_COST:
        raise Refused(
            "bad-value",
            f"{name} does not tell what it costs, so --budget cannot end it",
            hint="say --timeout",
        )
    own = agents.of(name).budget_usd if name != "command" else None
    for most, whose in ((own, f"the config for {name}"), (ground.limits.budget_usd, "`limits`")):
        if budget is not None and most is not None and budget > most:
            raise Refused("bad-value", f"--budget {budget:g} is more than {whose} allows: {most:g}")
    timeout = plan.setting(terms, "timeout")
    if "timeout" in given and timeout.seconds < given["timeout"].seconds:
        role = plan.setting(terms, "role")
        raise Refused(
            "bad-value",
            f"--timeout {given['timeout']} is more than the role {role} allows: {timeout}",
        )


__all__ = ["instead"]
