"""Any other agent, as the config describes it: how it is started, and what its output means.

An argument may hold `{brief}`, `{rules}`, `{model}`, `{max_turns}`, `{budget_usd}`, `{tools}`,
`{mcp}`, `{session}`; one whose value is not known is left out, and with it the list it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from gitflow_agents.agents.headless import (
    RULES,
    Cli,
    Said,
    Start,
    event_of,
    inner,
    number,
    one,
    prompt,
    tokens,
    words,
)
from gitflow_agents.agents.job import Job
from gitflow_agents.models import PLACEHOLDER, CustomConfig, Reason, listed


def custom(name: str, config: CustomConfig) -> Cli:
    """Return an agent of the config as what it is to us."""
    program = listed(config.command[0])[0]
    return Cli(
        name=name,
        version=config.version or (program,),
        install=config.install or f"install {program}",
        keys=(),
        passes=config.env,
        steered_by=(".env",),  # nobody knows, and many programs read it
        start=partial(_start, config),
        hear=partial(_hear, config),
        says_when_done=False,
        can_resume="{session}" in config.places,
        has_version=bool(config.version),
    )


def _start(config: CustomConfig, job: Job) -> Start:
    rules = job.scratch / "rules.md"
    rules.write_text(RULES)
    mcp = job.scratch / "mcp.json"
    mcp.write_bytes(job.mcp)
    values = {
        "{brief}": str(prompt(job)),
        "{rules}": str(rules),
        "{model}": job.model,
        "{max_turns}": "" if job.caps.turns is None else str(job.caps.turns),
        "{budget_usd}": "" if job.caps.cost_usd is None else f"{job.caps.cost_usd:g}",
        "{tools}": "" if job.tools is None else ",".join(sorted(job.tools)),
        "{mcp}": str(mcp) if job.mcp else "",
        "{session}": job.session,
    }
    argv = [part for argument in config.command for part in _filled(argument, values)]
    stdin = prompt(job) if config.brief == "stdin" else None
    return Start((*argv, *job.args), stdin)


def _filled(argument: str | tuple[str, ...], values: Mapping[str, str]) -> Iterator[str]:
    parts = listed(argument)
    if all(values[place] for part in parts for place in re.findall(PLACEHOLDER, part)):
        for part in parts:
            # Once over the template: a value that holds braces is not looked at again.
            yield re.sub(PLACEHOLDER, lambda match: values[match[0]], part)


def _hear(config: CustomConfig, said: Said, line: str) -> Said:
    for pattern, reason in config.failures.items():
        if re.search(pattern, line):
            return said.failing(Reason(reason), one(line))
    if config.turn and re.search(config.turn, line):
        said = replace(said, turns=(said.turns or 0) + 1)
    if config.tool and re.search(config.tool, line):
        said = said.using(line, None)
    if config.output == "text":
        return replace(said, text=words(f"{said.text}\n{line}".lstrip()))
    event, says = event_of(line), config.says

    def told(path: str | None) -> object:
        return inner(event, *path.split(".")) if path else None

    text, what, denied = told(says.text), told(says.doing), told(says.denied)
    tool = told(says.tool)
    said = said.using(tool, told(says.arguments)) if tool else said
    turns, cost = number(told(says.turns)), number(told(says.cost_usd))
    used = tokens(told(says.input_tokens), told(says.output_tokens))
    said = replace(
        said,
        text=words(text) if text else said.text,
        doing=one(what, 80) if what else said.doing,
        turns=said.turns if turns is None else int(turns),
        session=str(told(says.session) or said.session),
        cost_usd=said.cost_usd if cost is None else cost,
        tokens=used or said.tokens,
    )
    if denied:
        said = said.refused(one(denied if isinstance(denied, str) else "a tool", 80))
    error = told(says.error)
    return said.failing(Reason.AGENT_ERROR, one(error)) if error else said
