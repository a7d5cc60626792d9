"""What GitHub publishes about itself, as `tests/forge/install` left it in the checkout.

None of it is the project's: where it is missing, what needs it skips. Start with require.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER = Path(__file__).parents[2] / ".venv-node"
MODULES = FOLDER / "node_modules"
OPENAPI = MODULES / "@octokit/openapi/generated/api.github.com.json"
SDL = MODULES / "@octokit/graphql-schema/schema.graphql"
WEBHOOKS = MODULES / "@octokit/webhooks-examples/api.github.com/index.json"


def require() -> None:
    """Skip the running test where GitHub's packages, or the Node that runs them, are missing."""
    if not (FOLDER / "made").exists():
        pytest.skip("GitHub's own packages are not installed: `make .venv-node/made` does it")
    if shutil.which("node") is None:
        pytest.skip("GitHub's own packages need node, which is not installed")


class Payload(NamedTuple):
    """One webhook payload that GitHub gives as an example."""

    event: str
    action: str
    """What happened to it, where the event says so; else empty."""
    body: dict[str, Any]


def payloads() -> Iterator[Payload]:
    """Yield every payload of GitHub's webhook examples."""
    require()
    for event in json.loads(WEBHOOKS.read_text()):
        for body in event["examples"]:
            yield Payload(event["name"], str(body.get("action") or ""), body)
