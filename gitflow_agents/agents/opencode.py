"""opencode: `opencode run --format json`, which prints one event a line.

Its config is given beside the worktree, in a variable; what is neither allowed nor denied there it
asks for, and without anybody to answer that is a denial.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from gitflow_agents.agents.headless import (
    RULES,
    Cli,
    Said,
    Start,
    event_of,
    inner,
    may,
    more,
    number,
    servers,
    tokens,
    words,
)
from gitflow_agents.agents.job import Job, failure_of

_TOOLS = {
    "read": ("read", "glob", "grep", "list", "lsp"),
    "edit": ("edit",),
    "bash": ("bash",),
    "web": ("webfetch", "websearch", "codesearch"),
}
_REFUSED = ("rejected permission", "specified a rule which prevents")


def start(job: Job) -> Start:
    """Return how a job is started."""
    rules = job.scratch / "rules.md"
    rules.write_text(RULES)
    argv = ["opencode", "run", "--format", "json"]
    if job.model:
        argv += ["--model", job.model]
    if job.session:
        argv += ["--session", job.session]
    env = {
        "OPENCODE_CONFIG_CONTENT": json.dumps(_config(job, str(rules))),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "NO_COLOR": "1",
    }
    return Start((*argv, *job.args), job.brief, env)


def _config(job: Job, rules: str) -> dict[str, Any]:
    permission: dict[str, str] = {}
    for kind, names in _TOOLS.items():
        # One permission stands for both ways of changing a file.
        is_allowed = may(job, kind) or (kind == "edit" and may(job, "write"))
        permission |= dict.fromkeys(names, "allow" if is_allowed else "deny")
    places = {"*": "ask", f"{job.report.parent}/*": "allow"}
    return {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "instructions": [rules],
        "permission": {**permission, "question": "deny", "external_directory": places},
        "mcp": {name: _server(server) for name, server in servers(job).items()},
    }


def _server(server: dict[str, Any]) -> dict[str, Any]:
    """Return an MCP server in its own words."""
    if "url" in server:
        headers = {"headers": server["headers"]} if "headers" in server else {}
        return {"type": "remote", "url": server["url"], "enabled": True, **headers}
    command = [server.get("command", ""), *server.get("args", ())]
    environment = server.get("env") or {}
    return {"type": "local", "command": command, "environment": environment, "enabled": True}


def hear(said: Said, line: str) -> Said:
    """Return what is known after one more line."""
    event = event_of(line)
    session = event.get("sessionID")
    if session and not said.session:
        said = replace(said, session=str(session))
    part = event.get("part")
    match event.get("type"):
        case "step_start":
            return replace(said, turns=(said.turns or 0) + 1, doing="", is_done=False)
        case "tool_use":
            return _tool(said, part)
        case "text":
            return replace(said, text=words(inner(part, "text")))
        case "step_finish":
            return _step(said, part)
        case "error":
            return _error(said, event)
    return said


def _tool(said: Said, part: Any) -> Said:
    name = str(inner(part, "tool"))
    said = said.using(name, inner(part, "state", "input"))
    error = str(inner(part, "state", "error") or "")
    return said.refused(name) if any(words in error for words in _REFUSED) else said


def _step(said: Said, part: Any) -> Said:
    cached, created = (
        inner(part, "tokens", "cache", "read"),
        inner(part, "tokens", "cache", "write"),
    )
    read = sum(number(n) or 0 for n in (inner(part, "tokens", "input"), cached, created))
    spent = tokens(read, inner(part, "tokens", "output"), cached)
    cost = number(inner(part, "cost"))
    # It says 0 of a model whose price it does not know, or that is paid for by the month.
    known = (said.cost_usd or 0) + cost if cost else said.cost_usd
    is_done = inner(part, "reason") not in ("tool-calls", "error")
    return replace(said, tokens=more(said.tokens, spent), cost_usd=known, is_done=is_done)


def _error(said: Said, event: dict[str, Any]) -> Said:
    error = event.get("error")
    told = str(inner(error, "data", "message") or inner(error, "name") or "")
    status = number(inner(error, "data", "statusCode"))
    return said.failing(failure_of(told, int(status) if status else None), told)


OPENCODE = Cli(
    name="opencode",
    version=("opencode", "--version"),
    install="npm install -g opencode-ai",
    keys=(
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "GEMINI_API_KEY",
        "OPENROUTER_API_KEY",
        "OPENCODE_API_KEY",
    ),
    passes=(
        "OPENCODE_CONFIG",
        "OPENCODE_CONFIG_DIR",
        "OPENCODE_DISABLE_MODELS_FETCH",
        "OPENCODE_DISABLE_LSP_DOWNLOAD",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS",
    ),
    login=(".local/share/opencode/auth.json",),
    keeps=(".config/opencode/opencode.json", ".config/opencode/opencode.jsonc"),
    start=start,
    hear=hear,
)
