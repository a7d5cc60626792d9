"""What is installed on this machine: each agent's program, its version, whether it has a key."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gitflow_agents.agents.headless import Cli
from gitflow_agents.runner import environment, tail

SECONDS = 20.0
"""Time in which an agent has to say its version."""


@dataclass(frozen=True)
class Standing:
    """How it stands with one agent on this machine.

    `version` is what it says of itself, nothing when it does not; `key` the variable that is set
    or the file of a login, nothing when there is neither; `install` what would get the program.
    """

    name: str
    program: str
    path: str
    version: str
    keys: tuple[str, ...]
    key: str
    install: str
    problem: str = ""


def missing(cli: Cli, environ: Mapping[str, str]) -> str:
    """Return in words that a program is not there and how to get it, or nothing; starts nothing."""
    if shutil.which(cli.program, path=environ.get("PATH")):
        return ""
    return f"{cli.program} is not installed: {cli.install}"


def survey(clis: Iterable[Cli], environ: Mapping[str, str]) -> tuple[Standing, ...]:
    """Return how it stands with each of some agents; they are asked side by side, once."""
    listed = tuple(clis)
    with ThreadPoolExecutor(max(1, len(listed))) as pool:
        return tuple(pool.map(lambda cli: _look(cli, environ), listed))


def _look(cli: Cli, environ: Mapping[str, str]) -> Standing:
    path = shutil.which(cli.program, path=environ.get("PATH")) or ""
    version, problem = _version(cli, path, environ) if path and cli.has_version else ("", "")
    return Standing(
        name=cli.name,
        program=cli.program,
        path=path,
        version=version,
        keys=cli.keys,
        key=_key(cli, environ),
        install=cli.install,
        problem=problem,
    )


def _key(cli: Cli, environ: Mapping[str, str]) -> str:
    for name in cli.keys:
        if environ.get(name):
            return name
    return next((said for said, path in cli.places(cli.login, environ) if path.is_file()), "")


def _version(cli: Cli, path: str, environ: Mapping[str, str]) -> tuple[str, str]:
    try:
        done = subprocess.run(
            [path, *cli.version[1:]],
            env=environment(environ, cli.passes, {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"it did not say its version within {SECONDS:g} seconds"
    except OSError as e:
        return "", f"it cannot be started: {e.strerror}"
    said = tail(done.stdout.decode(errors="replace"), 1)
    found = re.search(r"\d+(?:\.\d+)+\S*", said)
    if done.returncode or found is None:
        return "", f"it did not say its version (exit {done.returncode})"
    return found[0], ""
