"""Claude Code: `claude -p`, which prints one JSON object a line.

Its last line is the result.  `is_error` decides and never `subtype`, which says `success` of a
model that could not be reached; what was denied leaves the exit code at 0.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from gitflow_agents.agents.headless import (
    RULES,
    TOOLS,
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
from gitflow_agents.models import Reason

_TOOLS = {
    "read": ("Read", "Glob", "Grep"),
    "edit": ("Edit", "NotebookEdit"),
    "write": ("Write",),
    "bash": ("Bash",),
    "web": ("WebFetch", "WebSearch"),
}
_FAILED = {
    "authentication_failed": Reason.AUTH,
    "billing_error": Reason.AUTH,
    "rate_limit": Reason.RATE_LIMIT,
    "server_error": Reason.INFRASTRUCTURE,
}
_LIMITS = {"error_max_turns": Reason.TURNS, "error_max_budget_usd": Reason.BUDGET}


def start(job: Job) -> Start:
    """Return how a job is started."""
    rules = job.scratch / "rules.md"
    rules.write_text(RULES)
    mcp = job.scratch / "mcp.json"
    mcp.write_text(json.dumps({"mcpServers": servers(job)}))
    tools = [name for kind in sorted(TOOLS) if may(job, kind) for name in _TOOLS[kind]]
    # Edits are accepted where it works by its mode; a rule of their own would allow them anywhere.
    edits = [name for kind in ("edit", "write") for name in _TOOLS[kind]]
    allowed = [name for name in tools if name not in edits]
    allowed += [f"Edit(/{job.report})", *(f"mcp__{name}" for name in servers(job))]
    argv = ["claude", "-p", "--output-format", "stream-json", "--verbose"]
    argv += ["--input-format", "stream-json", "--replay-user-messages"]
    writes = may(job, "edit") or may(job, "write")
    argv += ["--permission-mode", "acceptEdits" if writes else "default"]
    argv += ["--tools", ",".join(tools), "--allowedTools", ",".join(allowed)]
    argv += ["--append-system-prompt-file", str(rules)]
    argv += ["--mcp-config", str(mcp), "--strict-mcp-config"]
    if job.model:
        argv += ["--model", job.model]
    if job.caps.turns is not None:
        argv += ["--max-turns", str(job.caps.turns)]
    if job.caps.cost_usd is not None:
        argv += ["--max-budget-usd", f"{job.caps.cost_usd:g}"]
    if job.session:
        argv += ["--resume", job.session]
    env = {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        # Its own ten keep a broken endpoint busy for minutes; we try again by ourselves.
        "CLAUDE_CODE_MAX_RETRIES": job.env.get("CLAUDE_CODE_MAX_RETRIES", "3"),
    }
    return Start((*argv, *job.args), None, env, message)


def message(text: str, name: str) -> bytes:
    """Return a text as a line of its input; it repeats the name once it has read that."""
    content = [{"type": "text", "text": text}]
    line = {"type": "user", "uuid": name, "message": {"role": "user", "content": content}}
    return f"{json.dumps(line)}\n".encode()


def hear(said: Said, line: str) -> Said:
    """Return what is known after one more line."""
    event = event_of(line)
    match event.get("type"):
        case "system" if event.get("subtype") == "init":
            return replace(
                said,
                session=str(event.get("session_id") or ""),
                model=str(event.get("model") or said.model),
            )
        case "system" if event.get("subtype") == "api_retry":
            return replace(said, is_lost=True, error=str(event.get("error_status") or "connection"))
        case "user" if event.get("isReplay"):
            # What is read after a result is answered by another one.
            return replace(said, taken=(*said.taken, str(event.get("uuid"))), is_done=False)
        case "assistant":
            return _message(said, event)
        case "result":
            return _result(said, event)
    return said


def _message(said: Said, event: dict[str, Any]) -> Said:
    if inner(event, "message", "model") == "<synthetic>":
        # Not the model's words but what went wrong on the way to it; the result tells for good.
        return replace(said, error=str(event.get("error") or ""))
    said = replace(said, is_lost=False, error="")
    if event.get("parent_tool_use_id") is None:
        ident = str(inner(event, "message", "id"))
        if said.marks != (ident,):
            said = replace(said, marks=(ident,), turns=(said.turns or 0) + 1, doing="")
    content = inner(event, "message", "content")
    for block in content if isinstance(content, list) else ():
        if inner(block, "type") == "tool_use":
            said = said.using(block.get("name"), block.get("input"))
        elif inner(block, "type") == "text":
            said = replace(said, text=words(block.get("text")))
    return said


def _result(said: Said, event: dict[str, Any]) -> Said:
    usage = event.get("usage")
    cached, created = (
        inner(usage, "cache_read_input_tokens"),
        inner(usage, "cache_creation_input_tokens"),
    )
    read = sum(number(part) or 0 for part in (inner(usage, "input_tokens"), cached, created))
    denials = event.get("permission_denials")
    denied = [str(inner(d, "tool_name")) for d in (denials if isinstance(denials, list) else ())]
    before = said.error
    said = replace(
        said,
        is_done=True,
        session=str(event.get("session_id") or said.session),
        # Of several results each counts its own turns and tokens, and all of the cost so far.
        turns=max(int(number(event.get("num_turns")) or 0), said.turns or 0) or None,
        cost_usd=number(event.get("total_cost_usd")),
        tokens=more(said.tokens, tokens(read, inner(usage, "output_tokens"), cached)),
        denied=tuple(dict.fromkeys((*said.denied, *denied))),
        error="",
    )
    if not event.get("is_error"):
        return replace(said, text=words(event.get("result") or said.text))
    errors = event.get("errors")
    told = event.get("result") or (errors[0] if isinstance(errors, list) and errors else "")
    limit = _LIMITS.get(str(event.get("subtype")))
    if limit is not None:
        return said.failing(limit, told)
    status = number(event.get("api_error_status"))
    if status is not None:
        return said.failing(failure_of("", int(status)), told)
    return said.failing(_FAILED.get(before) or failure_of(str(told)), told)


CLAUDE = Cli(
    name="claude",
    version=("claude", "--version"),
    install="npm install -g @anthropic-ai/claude-code",
    keys=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
    passes=("ANTHROPIC_BASE_URL", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_MAX_RETRIES"),
    login=(".claude/.credentials.json",),
    keeps=(".claude.json", ".claude/settings.json", ".claude/settings.local.json"),
    moved=("CLAUDE_CONFIG_DIR", ".claude"),
    start=start,
    hear=hear,
)
