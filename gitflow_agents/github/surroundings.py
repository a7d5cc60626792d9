"""What a job of GitHub Actions knows of itself, by the variables that its runner sets.

The names are those of GitHub's documentation ("Default environment variables"); the token comes by
`GITHUB_TOKEN`, which a workflow has to pass on by itself.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gitflow_agents.errors import FlowError, Problem, UsageError
from gitflow_agents.forge import OWN, Comment

MOST_OF_A_PAYLOAD = 32 * 1024 * 1024
"""Bytes of an event's payload that are read."""
OF_WRITERS = ("push", "workflow_dispatch")
"""Events that nobody can cause who may not write here, and that tell who it was."""
BOT = "github-actions[bot]"
OUTPUT_VARIABLE, SUMMARY_VARIABLE = "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"
MOST_OF_A_SUMMARY = 1024 * 1024
"""Bytes of a step's summary; GitHub drops one that is longer."""


@dataclass(frozen=True)
class Surroundings:
    """A job: the repository `OWNER/NAME`, where it is asked and seen, and who it is.

    `branch` is the default branch as far as the event tells it, `run` the id of the workflow's run.
    """

    repository: str
    api: str
    server: str
    token: str
    run: int
    actor: str
    branch: str
    who: tuple[str, int] = ("", 0)
    """Login and id of who pushed or asked for a run; nobody where the event does not say it."""
    pushed: tuple[str, ...] = ()
    """The plan whose branch was pushed, if that is what happened."""
    output: str = ""
    summary: str = ""
    event: str = ""
    """What started the run, in GitHub's word."""
    first: tuple[str, int] = ("", 0)
    """Login and id of who has started the run, where another one starts it again."""
    comment: Comment | None = None
    """The comment that was written, if that is what happened."""

    def git_settings(self) -> dict[str, str]:
        """Return the variables by which git shows the token to this server, and to no other."""
        said = base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{self.server}/.extraheader",
            "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {said}",
        }

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """Set outputs of the step; nothing in a value can end it or begin another one."""
        if not self.output:
            return
        with open(self.output, "a", encoding="utf-8") as file:
            for name, value in values.items():
                end = secrets.token_hex(16)
                file.write(f"{name}<<{end}\n{value}\n{end}\n")

    def add_summary(self, text: str) -> None:
        """Add Markdown to the step's summary, cut where GitHub would drop all of it."""
        if not self.summary:
            return
        room = MOST_OF_A_SUMMARY - (os.path.getsize(self.summary) if _exists(self.summary) else 0)
        data = text.encode()
        if len(data) > room:
            data = data[: max(0, room - 64)].decode(errors="ignore").encode() + b"\n\n(cut)\n"
        with open(self.summary, "ab") as file:
            file.write(data[: max(0, room)])


def _exists(path: str) -> bool:
    return os.path.exists(path)


def surroundings(environ: Mapping[str, str]) -> Surroundings:
    """Return what a job knows of itself; UsageError outside of one."""
    wanted = ("GITHUB_REPOSITORY", "GITHUB_API_URL", "GITHUB_SERVER_URL", "GITHUB_RUN_ID")
    missing = [name for name in wanted if not environ.get(name)]
    if missing:
        raise UsageError(
            f"this is not a job of GitHub Actions: {', '.join(missing)} is not set",
            hint="on your own machine it is: gitflow-agents run PLAN",
        )
    try:
        run = int(environ["GITHUB_RUN_ID"])
    except ValueError as e:
        raise UsageError(f"GITHUB_RUN_ID is no number: {environ['GITHUB_RUN_ID']!r}") from e
    return Surroundings(
        repository=environ["GITHUB_REPOSITORY"],
        api=environ["GITHUB_API_URL"].rstrip("/"),
        server=environ["GITHUB_SERVER_URL"].rstrip("/"),
        token=environ.get("GITHUB_TOKEN", ""),
        run=run,
        actor=_actor(environ),
        branch=_default_branch(environ),
        who=_who(environ),
        pushed=_pushed(environ),
        output=environ.get(OUTPUT_VARIABLE, ""),
        summary=environ.get(SUMMARY_VARIABLE, ""),
        event=environ.get("GITHUB_EVENT_NAME", ""),
        first=_first(environ),
        comment=_comment(environ),
    )


def _first(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return who has started a run that another one starts again, and nobody otherwise."""
    actor, number = environ.get("GITHUB_ACTOR", ""), environ.get("GITHUB_ACTOR_ID", "")
    if environ.get("GITHUB_TRIGGERING_ACTOR", "") in ("", actor):
        return "", 0
    return actor, int(number) if number.isascii() and number.isdecimal() else 0


def _comment(environ: Mapping[str, str]) -> Comment | None:
    """Return the comment that an event tells of, as it was first written; FlowError if garbled."""
    if environ.get("GITHUB_EVENT_NAME") != "issue_comment":
        return None
    event = payload(environ)
    said, issue = event.get("comment"), event.get("issue")
    if event.get("action") != "created" or not isinstance(said, dict):
        return None
    user = said.get("user") or {}
    try:
        text = str(said.get("body") or "")
        return Comment(
            id=int(said["id"]),
            number=int((issue or {})["number"]),
            text=text,
            login=str(user.get("login") or ""),
            author=int(user.get("id") or 0),
            at=datetime.fromisoformat(said["created_at"]).timestamp(),
            is_bot=user.get("type") != "User",
            is_own=text.startswith(OWN),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise FlowError(f"the event tells of no comment that can be read: {e!r}") from e


def _actor(environ: Mapping[str, str]) -> str:
    """Return who the event is about, as git writes people, at GitHub's address for no mail.

    What anybody can cause, such as a review, and what only the clock does, is in nobody's name.
    """
    name = environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR") or ""
    if environ.get("GITHUB_EVENT_NAME") not in OF_WRITERS:
        name = BOT
    elif not name:
        return ""
    host = urlsplit(environ["GITHUB_SERVER_URL"]).hostname or "github.com"
    number = environ.get("GITHUB_ACTOR_ID", "")
    own = f"{number}+{name}" if number and name == environ.get("GITHUB_ACTOR") else name
    return f"{name} <{own}@users.noreply.{host}>"


def _who(environ: Mapping[str, str]) -> tuple[str, int]:
    """Return who is behind an event; who does something again is known by the login alone."""
    name = environ.get("GITHUB_TRIGGERING_ACTOR") or environ.get("GITHUB_ACTOR") or ""
    event = environ.get("GITHUB_EVENT_NAME")
    # A run that a bot asks for is one job of ours calling the next, for whoever it was.
    if event not in OF_WRITERS or (event != "push" and name.endswith("[bot]")):
        return "", 0
    number = environ.get("GITHUB_ACTOR_ID", "") if name == environ.get("GITHUB_ACTOR") else ""
    return name, int(number) if number.isdecimal() else 0


def _default_branch(environ: Mapping[str, str]) -> str:
    said = payload(environ).get("repository")
    branch = said.get("default_branch") if isinstance(said, dict) else None
    return branch if isinstance(branch, str) else ""


def _pushed(environ: Mapping[str, str]) -> tuple[str, ...]:
    kind, _, plan = environ.get("GITHUB_REF", "").partition("refs/heads/plan/")
    is_one = environ.get("GITHUB_EVENT_NAME") == "push" and not kind and "/" not in plan
    # A branch that was deleted proposes nothing; its plan is looked at by the next sweep.
    return (plan,) if is_one and plan and not payload(environ).get("deleted") else ()


def annotation(problem: Problem) -> str:
    """Return the line by which a runner shows a mistake where it is ("Workflow commands")."""
    kind = "warning" if problem.is_warning else "error"
    place = {"file": problem.file, "line": problem.line, "col": problem.column}
    about = ",".join(f"{n}={_escaped(str(v), ':,')}" for n, v in place.items() if v)
    mend = f"; {problem.mend}" if problem.mend else ""
    said = f"{problem.key}: {problem.reason}{mend}" if problem.key else f"{problem.reason}{mend}"
    return f"::{kind} {about}".rstrip() + f"::{_escaped(said)}"


def _escaped(text: str, more: str = "") -> str:
    """Return text that a runner reads as these characters: it ends no line and no property."""
    codes = {letter: f"%{ord(letter):02X}" for letter in "%\r\n" + more}
    return "".join(codes.get(letter, letter) for letter in text)


def payload(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the event's payload; an empty one where there is none.

    Raises FlowError when it cannot be read.
    """
    path = environ.get("GITHUB_EVENT_PATH", "")
    if not path or not Path(path).is_file():
        return {}
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_OF_A_PAYLOAD + 1)
        if len(data) > MOST_OF_A_PAYLOAD:
            raise FlowError(f"the event's payload has more than {MOST_OF_A_PAYLOAD} bytes")
        said = json.loads(data)
    except (OSError, ValueError) as e:
        raise FlowError(f"the event's payload cannot be read: {e}") from e
    return said if isinstance(said, dict) else {}


__all__ = ["Surroundings", "annotation", "payload", "surroundings"]
