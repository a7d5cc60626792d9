"""Aider: `aider --message-file`, which prints text for people.

It exits with 0 whatever its model did, so what it prints of a failure decides.  It edits the files
that it is given; it neither runs commands nor takes MCP servers nor remembers a session.
"""

from __future__ import annotations

import re
from dataclasses import replace

from gitflow_agents.agents.headless import RULES, Cli, Said, Start, may, more, one, tokens, words
from gitflow_agents.agents.job import Job, failure_of

MOST_FILES = 50
"""Files that are put before the model at once."""

_TOKENS = re.compile(
    r"^Tokens: ([\d.]+)(k|M)? sent,(?: ([\d.]+)(k|M)? cache \w+,)*? ?([\d.]+)(k|M)? received\."
    r"(?: Cost: \$[\d.]+ message, \$([\d.]+) session\.)?"
)
_FAILED = re.compile(r"^litellm\.(\w+): |^(The API provider|Retrying in|.*Authentication)")
_UNITS = {"": 1, "k": 1000, "M": 1_000_000}


def start(job: Job) -> Start:
    """Return how a job is started."""
    rules = job.scratch / "rules.md"
    rules.write_text(RULES)
    message = job.scratch / "message.md"
    # A line that begins with a slash would be a command of its own.
    text = job.brief.read_text(errors="replace")
    message.write_text(f"{text.lstrip('/!')}")
    writes = may(job, "edit") or may(job, "write")
    argv = ["aider", "--message-file", str(message), "--read", str(rules)]
    argv += ["--yes-always", "--no-pretty", "--no-stream", "--no-fancy-input", "--no-gitignore"]
    argv += ["--no-auto-commits", "--no-dirty-commits", "--no-suggest-shell-commands"]
    argv += ["--no-check-update", "--no-analytics", "--no-show-release-notes"]
    argv += ["--no-show-model-warnings", "--no-detect-urls"]
    argv += [] if writes else ["--chat-mode", "ask"]
    for option in ("chat-history-file", "input-history-file"):
        argv += [f"--{option}", str(job.scratch / option)]
    if job.model:
        argv += ["--model", job.model]
    # Into a pipe it would print what it has to say all at once, at its end.
    return Start((*argv, *job.args, "--", *_files(job)), None, {"PYTHONUNBUFFERED": "1"})


def _files(job: Job) -> list[str]:
    """Return the files that are there of those that the task names; it would make the others."""
    found = (path for pattern in job.task.files for path in sorted(job.top.glob(pattern)))
    files = (str(path) for path in found if path.is_file() and ".git" not in path.parts)
    return list(dict.fromkeys(files))[:MOST_FILES]


def hear(said: Said, line: str) -> Said:
    """Return what is known after one more line."""
    spent = _TOKENS.match(line)
    if spent:
        read, wrote = _count(spent[1], spent[2]), _count(spent[5], spent[6])
        return replace(
            said,
            turns=(said.turns or 0) + 1,
            tokens=more(said.tokens, tokens(read, wrote)),
            cost_usd=float(spent[7]) if spent[7] else said.cost_usd,
            reason=None,  # it tried again, and this time it was answered
            error="",
            is_lost=False,
        )
    failed = _FAILED.match(line)
    if failed:
        told = f"{said.error} {line}".strip()
        return replace(said.failing(failure_of(told), told), is_lost=True)
    if line.startswith("Applied edit to "):
        return replace(said, doing=f"editing {one(line.removeprefix('Applied edit to '), 80)}")
    return replace(said, text=words(f"{said.text}\n{line}".lstrip()))


def _count(figure: str, unit: str | None) -> int:
    return round(float(figure) * _UNITS[unit or ""])


AIDER = Cli(
    name="aider",
    version=("aider", "--version"),
    install="python -m pip install aider-chat",
    keys=(
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "DEEPSEEK_API_KEY",
        "OPENROUTER_API_KEY",
    ),
    passes=("OPENAI_API_BASE", "AIDER_MODEL", "LITELLM_LOCAL_MODEL_COST_MAP"),
    keeps=(".aider.conf.yml", ".aider/oauth-keys.env", ".env"),
    litter=(".aider.*",),
    steered_by=(".env",),
    start=start,
    hear=hear,
    says_when_done=False,
    can_resume=False,
)
