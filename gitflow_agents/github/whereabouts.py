"""Where a clone's repository is on GitHub, and with which token a person may ask there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from gitflow_agents.errors import FlowError, UsageError

PUBLIC = "github.com"
CLOUD = "ghe.com"
"""Companies have a name below it."""
TOKENS = ("GH_TOKEN", "GITHUB_TOKEN")
"""The variables that hold a token, in the order in which the program `gh` looks at them."""
ELSEWHERE = ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
"""The same for a server that is not GitHub's own: it must not see what is meant for that one."""
_URLS = (
    re.compile(
        r"(?:ssh://)?(?:[\w.-]+@)(?P<host>[\w.-]+)[:/](?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?"
    ),
    re.compile(r"https?://(?:[^@/]+@)?(?P<host>[\w.:-]+)/(?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?"),
)
GH_SECONDS = 10


@dataclass(frozen=True)
class Whereabouts:
    """A repository `OWNER/NAME`, where it is asked and seen, and a token for it."""

    repository: str
    host: str
    api: str
    server: str
    token: str


def whereabouts(url: str, environ: Mapping[str, str]) -> Whereabouts:
    """Return where the repository of a remote's address is, with a token.

    `GITHUB_API_URL` and `GITHUB_SERVER_URL` say where a server of one's own is asked.  UsageError
    when GitHub has it not, FlowError when there is no token.
    """
    there = place(url, environ)
    found = token(there.host, environ)
    if not found:
        raise FlowError(
            f"there is no token for {there.host}",
            hint=f"gh auth login --hostname {there.host}, or set "
            f"{_names(there.host, environ)[0]} to a token that may start workflows",
        )
    return replace(there, token=found)


def place(url: str, environ: Mapping[str, str]) -> Whereabouts:
    """Return the same without a token; UsageError when the address is none of GitHub's."""
    found = next((match for form in _URLS if (match := form.fullmatch(url))), None)
    if found is None:
        raise UsageError(
            f"{url} is no repository of GitHub's", hint="run it here: gitflow-agents run"
        )
    host = PUBLIC if found["host"] == f"ssh.{PUBLIC}" else found["host"]
    api = f"https://api.{PUBLIC}" if host == PUBLIC else f"https://{host}/api/v3"
    return Whereabouts(
        found["name"],
        host,
        (environ.get("GITHUB_API_URL") or api).rstrip("/"),
        (environ.get("GITHUB_SERVER_URL") or f"https://{host}").rstrip("/"),
        "",
    )


def is_near(host: str, environ: Mapping[str, str]) -> bool:
    """Say whether what is meant for GitHub may be shown to a host: it is, or somebody said so."""
    said = [environ.get("GH_HOST", "")]
    said += [urlsplit(environ.get(f"GITHUB_{one}_URL", "")).netloc for one in ("SERVER", "API")]
    return host == PUBLIC or host.endswith(f".{CLOUD}") or host in said


def _names(host: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    return TOKENS if is_near(host, environ) else ELSEWHERE


def token(host: str, environ: Mapping[str, str]) -> str:
    """Return the token of a person: a variable's, or that of the program `gh`; empty if none."""
    for name in _names(host, environ):
        if environ.get(name):
            return environ[name]
    program = shutil.which("gh", path=environ.get("PATH"))
    if not program:
        return ""
    try:
        done = subprocess.run(
            [program, "auth", "token", "--hostname", host],
            capture_output=True,
            text=True,
            check=False,
            timeout=GH_SECONDS,
            env=dict(environ),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


__all__ = ["TOKENS", "Whereabouts", "is_near", "place", "token", "whereabouts"]
