"""Gemini CLI: `gemini -o stream-json`, which prints one event a line.

What it may use is a policy file of ours, MCP servers are settings of ours; both lie beside the
worktree, and the person's own settings and login stay what they are.  Its exit code after a failed
request is the status of HTTP, cut to eight bits.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from gitflow_agents.agents.headless import (
    TOOLS,
    Cli,
    Said,
    Start,
    event_of,
    inner,
    may,
    prompt,
    servers,
    tokens,
    words,
)
from gitflow_agents.agents.job import Job, failure_of
from gitflow_agents.models import Reason

_TOOLS = {
    "read": (
        "read_file",
        "read_many_files",
        "list_directory",
        "glob",
        "grep_search",
        "search_file_content",
        "get_internal_docs",
    ),
    "edit": ("replace",),
    "write": ("write_file",),
    "bash": ("run_shell_command",),
    "web": ("web_fetch", "google_web_search"),
}
_ALWAYS = ("write_todos", "update_topic", "complete_task")
_OUTSIDE = "Path not in workspace"
"""How it says that a file is none of those that it may read or write."""
_STATUSES = (401, 403, 408, 429, 500, 502, 503, 504, 529)
_CODES = {41: Reason.AUTH, 53: Reason.TURNS} | {
    status & 0xFF: failure_of("", status) for status in _STATUSES
}


def start(job: Job) -> Start:
    """Return how a job is started."""
    policy = job.scratch / "policy.toml"
    policy.write_text(_policy(job))
    argv = ["gemini", "--output-format", "stream-json", "--approval-mode", "default"]
    argv += ["--skip-trust", "--policy", str(policy)]
    argv += ["--include-directories", str(job.report.parent)]
    env = {"GEMINI_CLI_TRUST_WORKSPACE": "true", "NO_COLOR": "1"}
    if job.model:
        argv += ["--model", job.model]
    if job.session:
        argv += ["--resume", job.session]
    if servers(job):
        settings = job.scratch / "settings.json"
        settings.write_text(json.dumps({"mcpServers": servers(job)}))
        env["GEMINI_CLI_SYSTEM_SETTINGS_PATH"] = str(settings)
    argv += ["--allowed-mcp-server-names", ",".join(servers(job)) or "none"]
    return Start((*argv, *job.args), prompt(job), env)


def _policy(job: Job) -> str:
    """Return rules that allow what the job may use and nothing else."""
    names = [*_ALWAYS, *(name for kind in sorted(TOOLS) if may(job, kind) for name in _TOOLS[kind])]
    rules = [_rule("*", "deny", 100)]
    rules += [_rule(name, "allow", 900) for name in names]
    rules += [_rule("*", "allow", 900, server) for server in servers(job)]
    return "\n".join(rules)


def _rule(tool: str, decision: str, priority: int, server: str = "") -> str:
    # One that it cannot read, such as one without a `toolName`, makes it leave out all of them.
    return (
        f"[[rule]]\ntoolName = {json.dumps(tool)}\n"
        + (f"mcpName = {json.dumps(server)}\n" if server else "")
        + ("allowRedirection = true\n" if tool in _TOOLS["bash"] else "")
        + f'decision = "{decision}"\npriority = {priority}\n'
    )


def hear(said: Said, line: str) -> Said:
    """Return what is known after one more line."""
    event = event_of(line)
    match event.get("type"):
        case "init":
            return replace(
                said,
                session=str(event.get("session_id") or ""),
                model=str(event.get("model") or said.model),
            )
        case "tool_use":
            name = event.get("tool_name")
            said = _turn(said)
            tool = (str(event.get("tool_id")), str(name))
            said = said.using(name, event.get("parameters"))
            return replace(said, marks=("turn", *tool), text="")
        case "tool_result":
            return _result(said, event)
        case "message" if event.get("role") == "assistant":
            said = _turn(said)
            return replace(said, text=words(said.text + str(event.get("content") or "")))
        case "error":
            told = str(event.get("message") or "")
            # It gives up by itself, with exit code 0 and a result that says success.
            if told.startswith("Loop detected"):
                return said.failing(Reason.STALLED, told)
            return replace(said, error=told)
        case "result":
            return _end(said, event)
    return said


def _turn(said: Said) -> Said:
    """Return the same, a turn further if this is the first word after a tool's."""
    if said.marks[:1] == ("turn",):
        return said
    return replace(said, turns=(said.turns or 0) + 1, marks=("turn",), doing="", text="")


def _result(said: Said, event: dict[str, Any]) -> Said:
    kind = str(inner(event, "error", "type") or "")
    told = str(inner(event, "error", "message") or "")
    if event.get("status") == "error" and ("policy" in kind or told.startswith(_OUTSIDE)):
        name = said.marks[2] if said.marks[1:2] == (str(event.get("tool_id")),) else "a tool"
        said = said.refused(name)
    return replace(said, marks=())


def _end(said: Said, event: dict[str, Any]) -> Said:
    stats = event.get("stats")
    spent = tokens(
        inner(stats, "input_tokens"), inner(stats, "output_tokens"), inner(stats, "cached")
    )
    said = replace(said, is_done=True, tokens=spent)
    if event.get("status") != "error":
        return said
    told = str(inner(event, "error", "message") or "")
    if inner(event, "error", "type") == "FatalTurnLimitedError":
        return said.failing(Reason.TURNS, told)
    return said.failing(failure_of(told), told)


GEMINI = Cli(
    name="gemini",
    version=("gemini", "--version"),
    install="npm install -g @google/gemini-cli",
    keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    passes=(
        "GOOGLE_GEMINI_BASE_URL",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "GOOGLE_GENAI_USE_GCA",
        "GEMINI_CLI_HOME",
    ),
    login=(".gemini/oauth_creds.json",),
    keeps=(".gemini/.env", ".gemini/settings.json"),
    moved=("GEMINI_CLI_HOME", ""),
    steered_by=(".env", ".geminiignore"),
    start=start,
    hear=hear,
    codes=_CODES,
)
