"""What one task gets of its agent: the config says the most, plan and task only tighten it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitflow_agents.agents.headless import Cli
from gitflow_agents.agents.survey import missing
from gitflow_agents.models import Agents, Plan, Task
from gitflow_agents.runner import environment

PATIENCE = 120.0
"""Seconds for which an agent may only say that its model cannot be reached."""


@dataclass(frozen=True)
class Terms:
    """Who does a task, with what, and within which caps; `problem` says why nobody can."""

    agent: str
    problem: str = ""
    model: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()
    tools: frozenset[str] | None = None
    mcp: bytes = b""
    silence: float | None = None
    turns: int | None = None
    cost_usd: float | None = None
    lost: float = PATIENCE


def terms(
    plan: Plan,
    task: Task,
    agents: Agents,
    cli: Cli | None,
    environ: Mapping[str, str],
    read: Callable[[str], bytes | None],
) -> Terms:
    """Return what a task gets; `cli` is None for `command`, `read` reads what the config names."""
    name = plan.setting(task, "agent")
    turns, cost = plan.setting(task, "max_turns"), plan.setting(task, "budget_usd")
    if cli is None:
        quiet = agents.command.silence
        return Terms(name, turns=turns, silence=quiet.seconds if quiet else None)
    config = agents.of(name)
    silence = config.silence.seconds if config.silence else None
    mcp = read(config.mcp_config) if config.mcp_config else b""
    problem = missing(cli, environ)
    if mcp is None:
        problem = f"`mcp_config` names {config.mcp_config}, which is not on the default branch"
    wanted = plan.setting(task, "tools")
    tools = [frozenset(each) for each in (config.tools, wanted) if each is not None]
    return Terms(
        agent=name,
        problem=problem,
        model=plan.setting(task, "model") or config.model or "",
        env=environment(environ, (*cli.keys, *cli.passes, *config.env), {}),
        args=config.args,
        tools=frozenset.intersection(*tools) if tools else None,
        mcp=mcp or b"",
        silence=silence,
        turns=_least(turns, config.max_turns),
        cost_usd=_least(cost, config.budget_usd),
        lost=min(PATIENCE, silence or PATIENCE),
    )


def _least(*caps: Any) -> Any:
    return min((cap for cap in caps if cap is not None), default=None)
