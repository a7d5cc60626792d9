"""A forge on this machine: its runs wait in a list, and each is done when the test says so.

Every job works in a clone of its own, as on a fresh runner, and has only the remote in common with
the others.  Start with Near: `turn` does one run, `finish` all that come.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gitflow_agents.commands import Act
from gitflow_agents.forge import (
    Check,
    Comment,
    Decision,
    ForgeDown,
    ForgeRefused,
    ForgeRun,
    Page,
    Reacted,
    Reaction,
    Review,
)
from gitflow_agents.forge import Job as Kind
from gitflow_agents.models import Checked, Home
from gitflow_agents.service import Service
from gitflow_agents.service.acting import Outcome, at_terminal
from gitflow_agents.service.jobs import ClaimOver, Jobs, Published
from gitflow_agents.service.service import Told
from tests import engine
from tests.repos import Repo

MOST = 100
ALICE = "alice <alice@example.com>"
REPLIES = 1_000_000
"""The id of the first comment of ours, above those of people."""


@dataclass
class Waiting:
    """A run that was asked for, and what came of it."""

    id: int
    job: Kind
    inputs: dict[str, str]
    conclusion: str = ""
    reason: str = ""
    """The step of a failed test that says why."""

    @property
    def seen(self) -> ForgeRun:
        """Return the run as the forge tells of it."""
        name = self.inputs.get("name", "")
        steps = frozenset({self.reason}) if self.reason else frozenset[str]()
        over = bool(self.conclusion)
        return ForgeRun(self.id, name, over, self.conclusion, f"run/{self.id}", steps)


@dataclass
class Near:
    """A forge over one remote, and the folder below which its runners have their clones."""

    up: Repo
    folder: Path
    started: list[Waiting] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    loses: int = 0
    """How many dispatches from now on are taken and never heard of again."""
    hides: int = 0
    """How many are taken, and their id is not told."""
    doubles: int = 0
    """How many become two runs."""
    obeys: Literal["cancel", "force", "nothing"] = "cancel"
    """What ends a run."""
    is_saving: bool = False
    """What works in the runs has ended, and only their other jobs go on."""
    is_down: bool = False
    refuses: set[str] = field(default_factory=set)
    """What it is not to be asked for."""
    forbids: dict[Kind, int] = field(default_factory=dict)
    """Runs that it does not start, and the number that it answers."""
    forbids_pulls: bool = False
    forbids_issues: bool = False
    yes: dict[tuple[int, str], tuple[str, ...]] = field(default_factory=dict)
    """Who has approved a pull request at which commit."""
    said_at: float = math.inf
    """When they did."""
    decided: dict[int, list[Decision]] = field(default_factory=dict)
    """What reviewers of environments said to a run that waits for them."""
    people: dict[str, str] = field(default_factory=dict)
    """The level of each person who is no maintainer."""
    teams: dict[str, tuple[str, ...]] = field(default_factory=dict)
    wrote: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Whose a commit is."""
    host: str = "github.com"
    issues: dict[int, str] = field(default_factory=dict)
    """The words of each open issue."""
    checks: dict[str, Check] = field(default_factory=dict)
    """What is shown at each commit."""
    pulls: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The title and the words of each pull request, by its branch."""
    stories: dict[int, str] = field(default_factory=dict)
    """The comment of each plan."""
    said: list[str] = field(default_factory=list)
    """The comments that notify somebody."""
    written: list[Comment] = field(default_factory=list)
    """What people wrote, and what we replied."""
    heads: dict[int, str] = field(default_factory=dict)
    """The repository of each pull request that comes from another one; empty for an issue."""
    signs: dict[int, str] = field(default_factory=dict)
    """The sign under each comment."""
    reacted: dict[int, list[Reacted]] = field(default_factory=dict)
    """What people put under a comment."""
    ready: set[int] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    """What is set for every job beside its PATH."""
    now: float = 0.0
    """When what we say is said."""
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _clones: Iterator[int] = field(default_factory=itertools.count)

    # --- what the tool asks -----------------------------------------------------------------------

    def start(self, job: Kind, inputs: Mapping[str, str]) -> int:
        """Put a run on the list."""
        self._ask("start")
        if job in self.forbids:
            raise ForgeRefused(f"no {job} here", status=self.forbids[job])
        if self.loses:
            self.loses -= 1
            return 0
        run = self._add(job, inputs)
        if self.doubles:
            self.doubles -= 1
            self._add(job, inputs)
        if self.hides:
            self.hides -= 1
            return 0
        return run

    def verdict(self, run: int) -> ForgeRun | None:
        """Return a run by what works in it."""
        self._ask("verdict")
        (found,) = (one.seen for one in self.started if one.id == run)
        return replace(found, is_over=True) if self.is_saving else found

    def run(self, number: int) -> ForgeRun | None:
        """Return a run."""
        self._ask("run")
        return next((one.seen for one in self.started if one.id == number), None)

    def cancel(self, run: int, *, force: bool = False) -> bool:
        """End a run, if that is how it can be ended; what it has to save is saved first."""
        self._ask("force-cancel" if force else "cancel")
        (one,) = (one for one in self.started if one.id == run)
        if one.conclusion:
            return False
        if self.obeys == "cancel" or (force and self.obeys == "force"):
            one.conclusion = "cancelled"
        return True

    def runs(self, job: Kind, since: float) -> tuple[ForgeRun, ...]:
        """Return all runs of a kind, the newest first."""
        self._ask("runs")
        return tuple(one.seen for one in reversed(self.started) if one.job == job)

    def find(self, head: str, base: str) -> Home | None:
        """Return the open pull request of a branch, if there is one."""
        self._ask("find")
        return Home(pull=[*self.pulls].index(head) + 1) if head in self.pulls else None

    def open(
        self, head: str, base: str, title: str, body: str, *, only_draft: bool = False
    ) -> Home:
        """Return the pull request of a branch."""
        self._ask("open")
        if self.forbids_pulls:
            raise ForgeRefused("pull requests are not allowed here")
        assert head not in self.pulls
        self.pulls[head] = (title, body)
        return Home(pull=len(self.pulls))

    def reviews(self, pull: int) -> tuple[Review, ...]:
        """Return who has approved a pull request, at which commit."""
        self._ask("reviews")
        given = [
            (sha, by)
            for (number, sha), people in self.yes.items()
            for by in people
            if number == pull
        ]
        return tuple(
            Review(by.split()[0], n, True, sha, self.said_at, by)
            for n, (sha, by) in enumerate(given)
        )

    def decisions(self, run: int) -> tuple[Decision, ...]:
        """Return what reviewers said to a run."""
        self._ask("decisions")
        return tuple(self.decided.get(run, ()))

    def level(self, login: str, id: int) -> str:
        """Return what somebody may do."""
        return self.people.get(login, "maintain")

    def is_in_team(self, team: str, login: str) -> bool:
        """Say whether somebody is in a team."""
        return login in self.teams.get(team, ())

    def authors(self, sha: str, since: str = "") -> tuple[str, ...]:
        """Return who wrote a commit, or some."""
        return self.wrote.get(sha, ())

    def report(self, marker: str, title: str, body: str) -> Home:
        """Return the issue of a plan."""
        self._ask("report")
        if self.forbids_issues:
            raise ForgeRefused("there are no issues here")
        assert body.startswith(marker)
        self.issues[50] = body
        return Home(issue=50)

    def tell(self, home: Home, page: Page) -> Home:
        """Write the comment of a pull request, and its check."""
        self._ask("tell")
        assert page.text.startswith(page.marker)
        comment = home.comment or 100 + home.number
        self.stories[comment] = page.text
        self.checks[page.check.sha] = page.check
        check = Checked(id=1, sha=page.check.sha, is_over=bool(page.check.conclusion))
        return home.model_copy(update={"comment": comment, "check": check})

    def comments(self, number: int, since: float) -> tuple[Comment, ...]:
        """Return what was written somewhere since a time."""
        self._ask("comments")
        there = (one for one in self.written if one.number == number)
        return tuple(one for one in there if one.at >= since)

    def react(self, comment: int, sign: Reaction, instead: int = 0) -> int:
        """Put a sign under a comment."""
        self._ask("react")
        self.signs[comment] = sign
        return comment

    def head(self, number: int) -> str:
        """Return where a pull request comes from."""
        self._ask("head")
        return self.heads.get(number, "alice/shop")

    def close(self, issue: int) -> None:
        """Close an issue."""
        self._ask("close")
        del self.issues[issue]

    def say(self, pull: int, text: str) -> int:
        """Add a comment to a pull request."""
        self._ask("say")
        self.said.append(text)
        number = len(self.written) + REPLIES
        own = Comment(number, pull, text, "tool[bot]", 1, self.now, is_bot=True, is_own=True)
        self.written.append(own)
        return number

    def rewrite(self, comment: int, text: str) -> None:
        """Let a comment say something else."""
        self._ask("rewrite")
        self.written = [
            replace(one, text=text) if one.id == comment else one for one in self.written
        ]

    def reactions(self, comment: int) -> tuple[Reacted, ...]:
        """Return what people put under a comment."""
        self._ask("reactions")
        return tuple(self.reacted.get(comment, ()))

    def offer(self, pull: int) -> bool:
        """Let a pull request be ready."""
        self._ask("offer")
        self.ready.add(pull)
        return True

    def compare(self, head: str, base: str) -> str:
        """Return a place to open a pull request."""
        return f"compare/{base}...{head}"

    def url(self, run: int) -> str:
        """Return a place for a run."""
        return f"run/{run}"

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.is_down:
            raise ForgeDown("the forge is down")
        if what in self.refuses:
            raise ForgeRefused(f"nobody may {what}")

    def _add(self, job: Kind, inputs: Mapping[str, str]) -> int:
        self.started.append(Waiting(next(self._ids), job, dict(inputs)))
        return self.started[-1].id

    # --- what a test does -------------------------------------------------------------------------

    @property
    def waiting(self) -> list[Waiting]:
        """Return the runs that were not done yet, and wait for nobody."""
        return [one for one in self.started if not one.conclusion and one.job != "approval"]

    @property
    def asking(self) -> list[Waiting]:
        """Return the runs that wait for an approval."""
        return [one for one in self.started if not one.conclusion and one.job == "approval"]

    @contextmanager
    def jobs(self, **options: Any) -> Iterator[Jobs]:
        """Return the jobs of a fresh clone."""
        clone = self.up.clone(self.folder / f"runner {next(self._clones)}")
        environ = {"PATH": f"{self.folder / 'bin'}:{_path()}", **self.environ}
        service = Service(str(clone.path), environ=environ, **options)
        service.actor = "bob <bob@example.com>"
        try:
            yield Jobs(service, self.told.append, naming_seconds=0)
        finally:
            service.close()

    def reconcile(self, plan: str = "p", **options: Any) -> None:
        """Do one pass."""
        with self.jobs(**options) as jobs:
            jobs.reconcile(plan, self)

    def act(self, command: Act, **options: Any) -> Outcome:
        """Carry out what alice says in a job of its own."""
        with self.jobs() as jobs:
            return jobs.act("p", command, ALICE, permit=at_terminal, **options)

    def execute(self, one: Waiting, *, install: bool = False) -> Path:
        """Do the first half of a task's run, and return what it left."""
        folder = self.folder / f"result {one.id}"
        with self.jobs() as jobs, suppress(ClaimOver):
            inputs = one.inputs
            what = inputs["plan"], inputs["task"], inputs["claim"], one.id, folder
            jobs.execute(*what, install=install)
        return folder

    def publish(self, one: Waiting, folder: Path) -> Published | None:
        """Do the second half; None when nobody wants it."""
        with self.jobs() as jobs, suppress(ClaimOver):
            inputs = one.inputs
            return jobs.publish(inputs["plan"], inputs["task"], inputs["claim"], one.id, folder)
        return None

    def test(self, one: Waiting) -> str:
        """Do a train's run and return its conclusion."""
        with self.jobs() as jobs:
            verdict = jobs.test(one.inputs["plan"], one.inputs["claim"])
        one.conclusion = "failure" if verdict.reason else "success"
        one.reason = str(verdict.reason or "")
        return one.conclusion

    def turn(self, one: Waiting | None = None) -> None:
        """Do a run, or the first that waits, and the pass that it asks for."""
        one = one or self.waiting[0]
        if one.job == "task":
            self.publish(one, self.execute(one))
            one.conclusion = "success"
        else:
            with suppress(ClaimOver):
                self.test(one)
            one.conclusion = one.conclusion or "failure"
        self.reconcile(one.inputs["plan"])

    def finish(self, plan: str = "p") -> None:
        """Do everything that comes up, starting with a pass."""
        self.reconcile(plan)
        for _ in range(MOST):
            if not self.waiting:
                return
            self.turn()
        raise AssertionError(f"it did not end after {MOST} runs")

    def texts(self) -> list[str]:
        """Return what was told so far, in lines."""
        return [told.text for told in self.told]


def propose(repo: Repo, up: Repo, *tasks: Mapping[str, Any], **keys: Any) -> None:
    """Push a plan p with some tasks on its branch to the remote."""
    repo.git("switch", "--quiet", "--force-create", "plan/p", "main")
    engine.plan(repo, *tasks, name="p", **keys)
    repo.commit("plan p")
    repo.git("push", "--quiet", "--force", str(up.path), "plan/p")
    repo.git("switch", "--quiet", "main")


def _path() -> str:
    import os

    return os.environ["PATH"]
