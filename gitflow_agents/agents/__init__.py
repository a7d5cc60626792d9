"""Agents: who does a task's work, and what came of it.

An agent is a name and one function.  It gets a job, works in the job's folder, and says how it
ended; whether its work is any good is decided elsewhere, from what we observe.  One module an
agent; `headless` is what those have in common that are command lines of somebody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gitflow_agents.agents.aider import AIDER
from gitflow_agents.agents.claude import CLAUDE
from gitflow_agents.agents.codex import CODEX
from gitflow_agents.agents.command import Command
from gitflow_agents.agents.custom import custom
from gitflow_agents.agents.gemini import GEMINI
from gitflow_agents.agents.headless import Cli, Headless
from gitflow_agents.agents.job import Agent, Ears, Job, Outcome, failure_of
from gitflow_agents.agents.logins import Logins
from gitflow_agents.agents.opencode import OPENCODE
from gitflow_agents.agents.survey import Standing, missing, survey
from gitflow_agents.agents.terms import Terms, terms
from gitflow_agents.models import Agents

BUILT_IN: Mapping[str, Cli] = {cli.name: cli for cli in (CLAUDE, CODEX, GEMINI, OPENCODE, AIDER)}
"""Every command line that is known by name; one more is one more entry, and one in CLIS."""


def cli_of(name: str, agents: Agents) -> Cli:
    """Return what is known of an agent other than `command`; KeyError for one that nobody knows."""
    if name not in BUILT_IN:
        return custom(name, agents.custom[name])
    install = agents.of(name).install
    return replace(BUILT_IN[name], install=install) if install else BUILT_IN[name]


def find(name: str, agents: Agents) -> Cli | None:
    """Return what is known of an agent; None for `command`, which is no program of its own."""
    return None if name == "command" else cli_of(name, agents)


def agent(name: str, agents: Agents) -> Agent:
    """Return what does the work of an agent; KeyError for one that nobody knows."""
    cli = find(name, agents)
    return Command() if cli is None else Headless(cli)


def known(agents: Agents) -> tuple[Cli, ...]:
    """Return every command line that a config allows, in the order in which they are listed."""
    return tuple(cli_of(name, agents) for name in agents.allowed if name != "command")


__all__ = [
    "BUILT_IN",
    "Agent",
    "Cli",
    "Ears",
    "Job",
    "Logins",
    "Outcome",
    "Standing",
    "Terms",
    "agent",
    "cli_of",
    "failure_of",
    "find",
    "known",
    "missing",
    "survey",
    "terms",
]
