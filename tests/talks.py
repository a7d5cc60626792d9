"""People who talk to a plan on a fake GitHub, and the job that hears them: a process that can die.

Start with Talk: `say` is a comment, `hear` does the job that it starts, `sweep` the scheduled one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitflow_agents.github import GitHub
from gitflow_agents.service import Service, setup
from gitflow_agents.service.jobs import Jobs
from tests import engine, forge
from tests.forge.state import Comment, Token
from tests.repos import Repo

PROJECT = Path(__file__).parent.parent
TOOL = "alice/gitflow-agents"
MAY = {
    "contents": "write",
    "actions": "write",
    "checks": "write",
    "issues": "write",
    "pull-requests": "write",
}
LATER = Path(__file__).parent / "later"
PASSED_ON = ("PATH", "COVERAGE_PROCESS_START", "TMPDIR", "GIT_CONFIG_NOSYSTEM")


@dataclass
class Talk:
    """Alice's repository on a hub, with a plan p that is told of in a pull request."""

    hub: forge.Hub
    repo: Repo
    folder: Path
    people: dict[str, Token] = field(default_factory=dict)
    runs: int = 5000
    """The id of the next run."""
    points: int = 0
    """Requests that the job which is at work has made."""
    dies_at: int = 0
    """The request at which it is killed; 0 for none."""
    process: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        """Make the repository, and the person who owns it."""
        self.folder.mkdir()
        for path, text in setup.files(f"{TOOL}@{'0' * 40}").items():
            self.repo.write(path, text)
        self.repo.commit("gitflow-agents")
        self.hub.engine.folders[TOOL] = PROJECT
        self.there = self.hub.repository("alice/shop", self.repo)
        self.join("alice", "admin")
        self.repo.git("remote", "add", "origin", self.hub.url(self.there, self.people["alice"]))
        self.hub.before = self._look

    def join(self, login: str, role: str) -> None:
        """Let somebody have a role here; `none` is a stranger."""
        roles = [] if role == "none" else [(self.there, role)]
        self.people[login] = self.hub.person(login, *roles)

    def begin(self, *tasks: Mapping[str, Any], **keys: Any) -> int:
        """Push a plan p, do its first pass, and return the number of its pull request."""
        self.repo.git("switch", "--quiet", "--force-create", "plan/p", "main")
        engine.plan(self.repo, *tasks, name="p", **keys)
        self.repo.commit("plan p")
        self.repo.git("push", "--quiet", "--force", "origin", "plan/p", "main")
        self.repo.git("switch", "--quiet", "main")
        token, clone = self.hub.mint(self.there, MAY), self._clone()
        clone.git("remote", "set-url", "origin", self.hub.url(self.there, token))
        service = Service(str(clone.path))
        service.actor = "alice <1+alice@users.noreply.github.com>"
        api, server = self.hub.api, self.hub.base
        hub = GitHub("alice/shop", token.text, api=api, server=server, branch="main")
        try:
            Jobs(service, lambda told: None).reconcile("p", hub)
        finally:
            service.close()
        return int(self.state["home"]["pull"])

    @property
    def state(self) -> Any:
        """Return what is known of the plan as a whole."""
        return engine.state(self.there.git, "p")

    def journal(self) -> dict[str, Any]:
        """Return all commands of the journal, by their keys."""
        git, tip = self.there.git, "gitflow/state/p"
        names = git.git("ls-tree", "--name-only", tip, "commands/", check=False).split()
        shown = {name.removeprefix("commands/").removesuffix(".yaml"): name for name in names}
        return {key: engine.read_yaml(git.show(tip, name)) for key, name in sorted(shown.items())}

    # --- what people do ---------------------------------------------------------------------------

    def say(self, login: str, text: str, number: int = 1) -> Comment:
        """Write a comment and return it."""
        asked = f"POST /repos/alice/shop/issues/{number}/comments"
        reply = forge.ask(self.hub, self.people[login], asked, {"body": text})
        assert reply.status == 201, reply
        return self.there.comments[int(reply.value["id"])]

    def replies(self) -> list[str]:
        """Return what the tool has written in comments of its own, but for the one that stays."""
        return [
            one.body
            for one in self.there.comments.values()
            if one.body.startswith("<!-- gitflow-agents ")
            and not one.body.startswith("<!-- gitflow-agents plan ")
        ]

    def signs(self, comment: Comment) -> list[str]:
        """Return the signs under a comment."""
        return [one.content for one in comment.reactions]

    # --- what jobs do -----------------------------------------------------------------------------

    def hear(self, comment: Comment | None = None, *, dies_at: int = 0, minutes: float = 0) -> str:
        """Do the job that a comment starts, or the sweep without one; return what it printed.

        With `dies_at` it is killed when it makes its request of that number, with `minutes` it is
        done so much later.
        """
        self.runs += 1
        place = self.folder / f"job {self.runs}"
        clone = self._clone()
        event = {"repository": {"default_branch": "main"}}
        name = "schedule"
        if comment is not None:
            name, event = "issue_comment", dict(self._event(comment))
        place.with_suffix(".json").write_text(json.dumps(event))
        env = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
            "HOME": str(self.folder),
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "alice/shop",
            "GITHUB_API_URL": self.hub.api,
            "GITHUB_SERVER_URL": self.hub.base,
            "GITHUB_RUN_ID": str(self.runs),
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(place.with_suffix(".json")),
            "GITHUB_ACTOR": "alice",
            "PYTHONPATH": str(LATER),
            "LATER": str(minutes * 60),
            "GITHUB_TOKEN": self.hub.mint(self.there, MAY).text,
        }
        self.points, self.dies_at = 0, dies_at
        with place.with_suffix(".log").open("w+") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gitflow_agents", "reconcile"],
                cwd=clone.path,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.process.wait(timeout=300)
            self.process = None
            log.seek(0)
            return log.read()

    def _event(self, comment: Comment) -> Mapping[str, Any]:
        events = (event for _, event in self.hub.events if event.name == "issue_comment")
        return next(
            event.payload for event in events if event.payload["comment"]["id"] == comment.id
        )

    def _clone(self) -> Repo:
        clone = self.there.git.clone(self.folder / f"clone {len(list(self.folder.iterdir()))}")
        clone.git("remote", "set-url", "origin", f"{self.hub.base}/alice/shop.git")
        return clone

    def _look(self, asked: str) -> None:
        self.points += 1
        if self.process is not None and self.points == self.dies_at:
            self.process.kill()
