"""Where a clone's repository is on GitHub, and with which token a person may ask there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from gitflow_agents.errors import FlowError, UsageError

PUBLIC = "github.com"
TOKENS = ("GH_TOKEN", "GITHUB_TOKEN")
"""The variables that hold a token, in the order in which the program `gh` looks at them."""
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
    api: str
    server: str
    token: str


def whereabouts(url: str, environ: Mapping[str, str]) -> Whereabouts:
    """Return where the repository of a remote's address is; UsageError when GitHub has it not.

    `GITHUB_API_URL` and `GITHUB_SERVER_URL` say where a server of one's own is asked.
    """
    found = next((match for form in _URLS if (match := form.fullmatch(url))), None)
    if found is None:
        raise UsageError(
            f"{url} is no repository of GitHub's", hint="run it here: gitflow-agents run"
        )
    host = found["host"]
    near = PUBLIC if host == f"ssh.{PUBLIC}" else host
    api = f"https://api.{PUBLIC}" if near == PUBLIC else f"https://{near}/api/v3"
    return Whereabouts(
        found["name"],
        (environ.get("GITHUB_API_URL") or api).rstrip("/"),
        (environ.get("GITHUB_SERVER_URL") or f"https://{near}").rstrip("/"),
        token(near, environ),
    )


def token(host: str, environ: Mapping[str, str]) -> str:
    """Return the token of a person: a variable's, or that of the program `gh`."""
    for name in TOKENS:
        if environ.get(name):
            return environ[name]
    program = shutil.which("gh", path=environ.get("PATH"))
    said = ""
    if program:
        try:
            done = subprocess.run(
                [program, "auth", "token", "--hostname", host],
                capture_output=True,
                text=True,
                check=False,
                timeout=GH_SECONDS,
                env=dict(environ),
            )
            said = done.stdout.strip() if done.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            said = ""
    if not said:
        raise FlowError(
            f"there is no token for {host}",
            hint=f"gh auth login, or set {TOKENS[0]} to a token that may start workflows",
        )
    return said


__all__ = ["TOKENS", "Whereabouts", "token", "whereabouts"]
