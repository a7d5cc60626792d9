"""Codex: `codex exec --json`, which prints one event a line.

Its sandbox is what limits it: without `edit`, `write` and `bash` it may only read.  It has no cap
of its own and tells no cost; what it calls a turn is a whole run, so we count the tools it uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gitflow_agents.agents.headless import (
    RULES,
    Cli,
    Said,
    Start,
    doing,
    event_of,
    inner,
    may,
    more,
    one,
    servers,
    tokens,
    words,
)
from gitflow_agents.agents.job import Job, failure_of

_TALK = ("agent_message", "reasoning", "error", "todo_list", "plan_update")
"""Items that use no tool."""
_ASKED = ("server", "tool", "arguments", "command", "query")
"""What of an item is the use of a tool, and not what came of it."""


def start(job: Job) -> Start:
    """Return how a job is started."""
    writes = may(job, "edit") or may(job, "write")
    options = {
        "sandbox_mode": "workspace-write" if writes else "read-only",
        "sandbox_workspace_write.network_access": may(job, "web"),
        "sandbox_workspace_write.writable_roots": [str(job.report.parent)],
        "web_search": "live" if may(job, "web") else "disabled",
        "approval_policy": "never",
        "developer_instructions": RULES,
        "check_for_update_on_startup": False,
        **({} if may(job, "bash") else {"features.shell_tool": False}),
        **dict(_servers(job)),
    }
    argv = ["codex", "exec"]
    argv += ["resume", job.session] if job.session else []
    argv += ["--json", "--skip-git-repo-check"]
    if job.model:
        argv += ["--model", job.model]
    for key, value in options.items():
        argv += ["-c", f"{key}={json.dumps(value)}"]
    return Start((*argv, *job.args, "-"), job.brief)


def _servers(job: Job) -> Iterator[tuple[str, Any]]:
    for name, server in servers(job).items():
        for key in ("command", "args", "url"):
            if key in server:
                yield f"mcp_servers.{json.dumps(name)}.{key}", server[key]
        for key in ("env", "http_headers"):
            values = server.get("headers" if key == "http_headers" else key)
            for variable, value in (values if isinstance(values, dict) else {}).items():
                yield f"mcp_servers.{json.dumps(name)}.{key}.{json.dumps(variable)}", str(value)


def hear(said: Said, line: str) -> Said:
    """Return what is known after one more line."""
    event = event_of(line)
    match event.get("type"):
        case "thread.started":
            return replace(said, session=str(event.get("thread_id") or ""))
        case "item.started" | "item.completed":
            return _item(said, event)
        case "turn.completed":
            usage = event.get("usage")
            spent = tokens(
                inner(usage, "input_tokens"),
                inner(usage, "output_tokens"),
                inner(usage, "cached_input_tokens"),
            )
            return replace(said, is_done=True, tokens=more(said.tokens, spent))
        case "turn.failed":
            told = str(inner(event, "error", "message") or "")
            return said.failing(failure_of(told), told)
        case "error":  # it tries again, for ever if need be; else it says `turn.failed`
            told = str(event.get("message") or "")
            return replace(said, doing=one(told, 80), error=one(told), is_lost=True)
    return said


def _item(said: Said, event: dict[str, Any]) -> Said:
    kind, ident = str(inner(event, "item", "type")), str(inner(event, "item", "id"))
    said = replace(said, is_lost=False, error="")
    if kind == "agent_message":
        return replace(said, text=words(inner(event, "item", "text")))
    if kind in _TALK:
        return said
    if inner(event, "item", "status") == "declined":
        said = said.refused(kind)
    if said.marks == (ident,):
        return said
    what = inner(event, "item")
    changes = inner(what, "changes")
    if isinstance(changes, list) and changes:
        what = changes[0]
    said = replace(said, marks=(ident,), turns=(said.turns or 0) + 1)
    tool = _tool(kind, what)
    asked = {key: inner(what, key) for key in _ASKED if inner(what, key) is not None}
    if not asked:  # of a change of files it tells the paths, so no two are known to be the same
        return replace(said, doing=doing(tool, what), uses=())
    return said.using(tool, asked)


def _tool(kind: str, item: Any) -> str:
    return str(inner(item, "tool") or kind) if kind == "mcp_tool_call" else kind


CODEX = Cli(
    name="codex",
    version=("codex", "--version"),
    install="npm install -g @openai/codex",
    keys=("OPENAI_API_KEY", "CODEX_API_KEY"),
    passes=("OPENAI_BASE_URL", "CODEX_HOME"),
    login=(".codex/auth.json",),
    start=start,
    hear=hear,
)
