"""What a test itself does on the fake GitHub, as a person at a keyboard would do it.

Over the wire, so that what it asks is held against GitHub's description too. Start with ask.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.forge.hub import Hub
from tests.forge.runs import Run
from tests.forge.state import Repository, Token
from tests.repos import Repo


class Reply(NamedTuple):
    """What was answered."""

    status: int
    value: Any
    headers: dict[str, str]


def ask(hub: Hub, by: Token | None, request: str, body: Any = None) -> Reply:
    """Return the answer to a REST request, as `POST /repos/alice/shop/issues`."""
    method, _, path = request.partition(" ")
    headers = {"User-Agent": "tests", "Accept": "application/vnd.github+json"}
    if by is not None:
        headers["Authorization"] = f"Bearer {by.text}"
    connection = http.client.HTTPConnection(urlsplit(hub.base).netloc, timeout=30)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request(method, f"/api/v3{path}", sent, headers)
        response = connection.getresponse()
        text = response.read()
        return Reply(response.status, json.loads(text) if text else None, dict(response.headers))
    finally:
        connection.close()


def query(hub: Hub, by: Token, document: str, **variables: Any) -> Any:
    """Return what GraphQL says to a document: `data`, and `errors` where there are any."""
    headers = {"Authorization": f"Bearer {by.text}", "User-Agent": "tests"}
    connection = http.client.HTTPConnection(urlsplit(hub.base).netloc, timeout=30)
    try:
        sent = json.dumps({"query": document, "variables": variables})
        connection.request("POST", "/api/graphql", sent, headers)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def push(hub: Hub, repo: Repo, to: Repository, by: Token, *what: str) -> str:
    """Push what is checked out, or refspecs; return what git says against it, or nothing."""
    done = subprocess.run(
        ["git", "push", hub.url(to, by), *(what or ("HEAD",))],
        cwd=repo.path,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def workflow(repo: Repo, text: str, name: str = "w") -> str:
    """Commit a workflow file to the branch that is checked out and return its path."""
    path = f".github/workflows/{name}.yml"
    repo.write(path, textwrap.dedent(text).lstrip("\n"))
    repo.commit(f"workflow {name}")
    return path


def results(runs: Iterable[Run]) -> dict[str, str | None]:
    """Return how each job of some runs ended, by its name."""
    return {job.name: job.conclusion for run in runs for job in run.jobs}
