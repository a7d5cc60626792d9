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
`payloads` (GitHub's webhook examples).

    hub.organisation("acme", "alice")                  # without this an account is a person's
    board = hub.project("acme", fields={"TM_ID": "TEXT", "Priority": ["high", "low"]})
    token = hub.person("alice", scopes=("project",))   # hub.fine, hub.app, hub.mint: other kinds
    board.set(board.card("User model"), "Status", "Done")      # what people do: see boards.Project
    board.shown()                                      # {"User model": {"Status": "Done", ...}}

`hub.is_dated` (its GraphQL is the published one), `hub.is_paced` (what is made is limited by the
minute), `board.lag` (listings come late), `hub.refuse("GRAPHQL u3 *")` (one mutation of a request),
`hub.points` (what GraphQL cost); `complaints` (what GitHub's schema says against a document). Apart: `act` (somebody else's runner), `checks` (what is to be
said against workflow files), `counts` (which jobs no test executed).

Needs GitHub's own packages, which `make` installs; a test without them skips.
"""

from __future__ import annotations

from tests.forge.actions import Actions, App
from tests.forge.boards import Card, Project
from tests.forge.client import Reply, ask, push, query, results, workflow
from tests.forge.graph import complaints
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
    "Card",
    "Environment",
    "Event",
    "Hub",
    "Job",
    "Payload",
    "Project",
    "Reply",
    "Repository",
    "Request",
    "Run",
    "Token",
    "ask",
    "complaints",
    "doubled",
    "lost",
    "payloads",
    "push",
    "query",
    "results",
    "serve",
    "workflow",
]
