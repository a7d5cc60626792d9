"""Which agents can work on this machine, and which of them a plan lacks.

A plan whose ready tasks all want a program that is not here is not begun; where some can be done,
they are, and the others fail with what to install, at no cost.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gitflow_agents import agents, steps
from gitflow_agents.agents import Standing
from gitflow_agents.commands import names
from gitflow_agents.errors import FlowError
from gitflow_agents.models import SCHEMA, Config, Plan, Status
from gitflow_agents.render import clean
from gitflow_agents.render.text import screen, titled
from gitflow_agents.roles import Handbook
from gitflow_agents.runner import Caps, Stop, environment, shell, tail
from gitflow_agents.scheduler import Snapshot

INSTALL_SECONDS = 900.0


def look(config: Config, environ: Mapping[str, str]) -> tuple[Standing, ...]:
    """Return how it stands with every agent that the config allows; it takes seconds."""
    return agents.survey(agents.known(config.agents), environ)


def text(found: Iterable[Standing]) -> str:
    """Return agents with version and key, and for what is missing the command that gets it."""
    listed = tuple(found)
    rows = [(one.name, _state(one), one.key or _wanted(one)) for one in listed]
    lines = titled(("AGENT", "VERSION", "KEY"), [("command", "always there", "-"), *rows])
    lines += [f"{one.name}: {one.problem}" for one in listed if one.problem]
    lines += [f"get {one.name}: {one.install}" for one in listed if not one.path]
    return screen(lines)


def _state(one: Standing) -> str:
    return (one.version or "unknown") if one.path else "not installed"


def _wanted(one: Standing) -> str:
    return f"not seen ({' or '.join(one.keys)})" if one.keys else "-"


def as_json(found: Iterable[Standing]) -> dict[str, Any]:
    """Return the object that `agents --json` prints; no key's value is in it."""
    return {
        "schema": SCHEMA,
        "agents": [
            {
                **asdict(one),
                "installed": bool(one.path),
                "version": one.version or None,
                "key": one.key or None,
            }
            for one in found
        ],
    }


def lacking(
    snapshot: Snapshot,
    tasks: Iterable[str],
    book: Handbook,
    config: Config,
    environ: Mapping[str, str],
) -> dict[str, tuple[str, ...]]:
    """Return what is not installed, each in a sentence, with the tasks that want it."""
    wanted: dict[str, list[str]] = {}
    for task in tasks:
        for name in _agents_of(snapshot.plan_for(task), task, book):
            wanted.setdefault(name, []).append(task)
    found = {}
    for name, who in wanted.items():
        cli = agents.find(name, config.agents) if name in config.agents.allowed else None
        why = agents.missing(cli, environ) if cli else ""
        if why:
            found[clean(why)] = tuple(who)
    return found


def _agents_of(plan: Plan, task: str, book: Handbook) -> list[str]:
    """Return the agents that a task and its steps name, each once."""
    crew = steps.crew(plan, plan.by_id[task], book)
    members = (book.terms(plan, plan.by_id[task]), *(member.task for member in crew))
    return list(dict.fromkeys(plan.setting(member, "agent") for member in members))


def no_runner(plan: Plan, task: str, book: Handbook, config: Config) -> str:
    """Return in a sentence that the config names a task's runner no more, or nothing."""
    name = plan.setting(book.terms(plan, plan.by_id[task]), "runner")
    is_known = name is None or name in config.runners
    return "" if is_known else f"the config's `runners` has no {name}"


def install(
    plan: Plan, task: str, book: Handbook, config: Config, environ: Mapping[str, str], stop: Stop
) -> str:
    """Install what a task's agents lack, with the command that each names for it.

    It is done where a machine is thrown away afterwards.  Returns in a sentence what went wrong.
    """
    for name in _agents_of(plan, task, book):
        cli = agents.find(name, config.agents) if name in config.agents.allowed else None
        if cli is None or not agents.missing(cli, environ):
            continue
        with tempfile.TemporaryDirectory() as folder:
            ended = shell(
                cli.install,
                cwd=Path(folder),
                env=environment(environ, (), {}),  # no key is there yet
                mark=f"GITFLOW_CLAIM=install-{os.getpid()}",
                caps=Caps(INSTALL_SECONDS),
                stop=stop,
            )
        if ended.code != 0:
            return f"{name} could not be installed: {cli.install}: {tail(ended.output, 1)}"
    return ""


def ensure(
    snapshot: Snapshot, book: Handbook, config: Config, environ: Mapping[str, str]
) -> list[str]:
    """Return a sentence for each agent that some tasks lack.

    Raises FlowError when nothing that is ready could be done.
    """
    order = snapshot.plan.order
    pending = sorted(snapshot.by_status[Status.PENDING], key=order.__getitem__)
    lacks = lacking(snapshot, pending, book, config, environ)
    said = [f"{names(tasks)} cannot be done here: {why}" for why, tasks in lacks.items()]
    idle = {task for tasks in lacks.values() for task in tasks}
    busy = snapshot.by_status[Status.IN_PROGRESS] or snapshot.by_status[Status.REVIEW]
    ready = set(snapshot.frontier.ready)
    if ready and ready <= idle and not busy:
        hint = "; ".join(why.partition(": ")[2] for why in lacks)
        raise FlowError(f"nothing can be started: {'; '.join(said)}", hint=hint)
    return said


__all__ = ["as_json", "ensure", "install", "lacking", "look", "no_runner", "text"]
