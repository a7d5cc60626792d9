"""A GitHub of our own, and runners that execute workflow files on it.

    with forge.serve(tmp_path / "hub") as hub:         # the fixture `hub`; it fails at its end if
                                                       # anybody asked what GitHub does not know
        shop = hub.repository("alice/shop", source)
        alice = hub.person("alice")                    # the owner; others: ("bob", (shop, "write"))
        actions = forge.Actions(hub)
        forge.push(hub, source, shop, alice, "plan/auth")
        runs = actions.drain()                         # executes all that this led to

What there is: `hub.api`, `hub.base`, `hub.graphql` (addresses), `hub.mint` and `hub.app` (tokens),
`hub.refuse`, `hub.limit`, `hub.trouble`, `hub.heal` (faults), `hub.transit` with `lost` and
`doubled` (events on their way), `hub.schedule`, `hub.clock`, `hub.asked` (requests so far),
`hub.executed` (jobs so far); of a repository its settings, issues, comments, checks, runs and jobs;
`ask`, `query` and `push` (what a person does); `Actions.at_step` (look in before any step, cancel
there, or let the runner die), `Actions.map` (a repository that is a folder), `Actions.stand_ins`;
`payloads` (GitHub's webhook examples). Apart: `act` (somebody else's runner), `checks` (what is to be
said against workflow files), `counts` (which jobs no test executed).

Needs GitHub's own packages, which `make` installs; a test without them skips.
"""

from __future__ import annotations

from tests.forge.actions import Actions, App
from tests.forge.client import Reply, ask, push, query, results, workflow
from tests.forge.hub import Hub, Request, doubled, lost
from tests.forge.jobs import At
from tests.forge.published import Payload, payloads
from tests.forge.runs import Job, Run
from tests.forge.server import serve
from tests.forge.state import Environment, Repository, Token
from tests.forge.triggers import Event

__all__ = [
    "Actions",
    "App",
    "At",
    "Environment",
    "Event",
    "Hub",
    "Job",
    "Payload",
    "Reply",
    "Repository",
    "Request",
    "Run",
    "Token",
    "ask",
    "doubled",
    "lost",
    "payloads",
    "push",
    "query",
    "results",
    "serve",
    "workflow",
]
