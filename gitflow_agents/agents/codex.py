"""Codex: `codex exec --json`, which prints one event a line.

Its sandbox is what limits it: without `edit`, `write` and `bash` it may only read.  It has no cap
of its own and tells no cost; what it calls a turn is a whole run, so we count the tools it uses.

What it thinks that its sandbox denied it does not print at all; only its log of the session has it.
It guesses that from a command's words, so a failing test may look like one: it is told, and fails
nothing by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
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


MOST_OF_A_LOG = 64 * 1024 * 1024
"""Bytes of a session's log that are looked at."""
_DENIED = re.compile(
    r"read-only file system|not permitted|permission denied|rejected|sandbox", re.IGNORECASE
)


_READ_ONLY = re.compile(
    r"exited with code [1-9]\d*\b.*: Read-only file system|approval policy is never", re.DOTALL
)
"""What only a sandbox, or nobody to be asked, can be the reason of."""


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
        argv += ["-c", f"{key}={_toml(value)}"]
    return Start((*argv, *job.args, "-"), job.brief)


def _servers(job: Job) -> Iterator[tuple[str, Any]]:
    # The key of `-c` is cut at each dot and takes no quotes, so that a server is one value.
    for name, server in servers(job).items():
        said: dict[str, Any] = {
            key: server[key] for key in ("command", "args", "url") if key in server
        }
        for key, theirs in (("env", "env"), ("http_headers", "headers")):
            values = server.get(theirs)
            if isinstance(values, dict) and values:
                said[key] = {variable: str(value) for variable, value in values.items()}
        # Which servers there are is for the config to say; nobody is there to be asked at each use.
        yield f"mcp_servers.{name}", {**said, "default_tools_approval_mode": "approve"}


def _toml(value: Any) -> str:
    """Return a value as TOML has it on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}={_toml(v)}' for key, v in value.items())}}}"
    return json.dumps(value)


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


def held_back(session: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what was refused in the last run of a session: uses of tools that it did not print."""
    home = environ.get("CODEX_HOME") or os.path.join(environ.get("HOME", ""), ".codex")
    if re.fullmatch(r"[\w-]+", session) is None:
        return ()
    asked: dict[str, str] = {}
    refused: dict[str, None] = {}
    printed: set[str] = set()
    for path in sorted(Path(home, "sessions").glob(f"*/*/*/rollout-*-{session}.jsonl")):
        with contextlib.suppress(OSError), open(path, errors="replace") as log:
            for line in log.read(MOST_OF_A_LOG).splitlines():
                event = event_of(line)
                kind = str(inner(event, "payload", "type"))
                ident = str(inner(event, "payload", "call_id"))
                if kind == "task_started":
                    asked, refused = {}, {}
                elif kind in ("function_call", "custom_tool_call"):
                    asked[ident] = _asked(inner(event, "payload"))
                elif kind == "item_completed":
                    printed.add(str(inner(event, "payload", "item", "id")))
                elif kind.endswith("_call_output") and ident in asked:
                    output = str(inner(event, "payload", "output"))
                    # A command that took longer it prints in any case, as one that failed.
                    words = _READ_ONLY if ident in printed else _DENIED
                    refused |= {asked[ident]: None} if words.search(output) else {}
    return tuple(refused)


def _asked(call: Any) -> str:
    """Return in a few words what a call was for."""
    arguments = event_of(str(inner(call, "arguments")))
    what = next((v for v in (arguments.get("cmd"), arguments.get("command")) if v), "")
    return one(f"{inner(call, 'name')} {what}".strip(), 120)


CODEX = Cli(
    name="codex",
    version=("codex", "--version"),
    install="npm install -g @openai/codex",
    keys=("OPENAI_API_KEY", "CODEX_API_KEY"),
    passes=("OPENAI_BASE_URL", "CODEX_HOME"),
    login=(".codex/auth.json",),
    keeps=(".codex/config.toml",),
    moved=("CODEX_HOME", ".codex"),
    start=start,
    hear=hear,
    held_back=held_back,
)
