"""A forge on this machine: its runs wait in a list, and each is done when the test says so.

Every job works in a clone of its own, as on a fresh runner, and has only the remote in common with
the others.  Start with Near: `turn` does one run, `finish` all that come.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gitflow_agents.commands import Act
from gitflow_agents.forge import (
    Check,
    CloseIssue,
    Comment,
    Decision,
    EditIssue,
    ForgeDown,
    ForgeRefused,
    ForgeRun,
    Ground,
    HangIssue,
    Issue,
    IssueWrite,
    IssueWrote,
    NewIssue,
    Page,
    PlanIssue,
    Reacted,
    Reaction,
    ReopenIssue,
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
BARE = Ground("R_1", {}, {})
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
class Tracked:
    """The issues of a forge, as they are and as people change them: a Tracker."""

    there: dict[int, Issue] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    goals: dict[str, str] = field(default_factory=dict)
    """The milestone of each issue that has one."""
    """What an issue hangs below, by their nodes."""
    labels: dict[int, tuple[str, ...]] = field(default_factory=dict)
    assigned: dict[int, tuple[str, ...]] = field(default_factory=dict)
    waits: set[tuple[int, int]] = field(default_factory=set)
    """Which issue waits for which, by their numbers."""
    unwanted: set[tuple[int, int]] = field(default_factory=set)
    """Which cannot wait for which."""
    assignable: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    fails: list[str] = field(default_factory=list)
    """What goes wrong with the next writes: `lost`, `late`, `down`, `refused`, or a word that an
    issue's title holds which alone is refused."""
    late: list[tuple[Ground, list[IssueWrite]]] = field(default_factory=list)
    """Writes that are done when `arrive` is called."""
    forbids: set[str] = field(default_factory=set)
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    """What is done before and after a write."""
    last: int = 10

    def ground(
        self,
        labels: Sequence[str],
        people: Sequence[str],
        epic: str = "",
        there: Sequence[str] = (),
    ) -> Ground:
        """Return what issues are made with."""
        self._ask("ground")
        nodes = {issue.node for issue in self.there.values()}
        who = {login: f"U_{login}" for login in people if login in self.assignable}
        below = f"I_{epic[1:]}" if epic.startswith("#") and int(epic[1:]) in self.there else ""
        number = epic.removeprefix("milestone ")
        goal = f"M_{number}" if epic != number else ""
        names = {name: name for name in labels}
        return Ground("R_1", names, who, below, goal, gone=frozenset(there) - nodes)

    def issues(self, nodes: Sequence[str]) -> Mapping[str, Issue]:
        """Return some issues."""
        self._ask("issues")
        return {one.node: one for one in self.there.values() if one.node in nodes}

    def own_issues(self, since: float, label: str = "") -> tuple[Issue, ...]:
        """Return all issues, or the open ones of a label."""
        self._ask("own_issues")
        return tuple(
            one
            for number, one in self.there.items()
            if not label or (label in self.labels.get(number, ()) and not one.closed)
        )

    def write_issues(self, ground: Ground, writes: Sequence[IssueWrite]) -> tuple[IssueWrote, ...]:
        """Do some writes, or let them go wrong."""
        self._ask("write_issues")
        self.before()
        fault = self.fails.pop(0) if self.fails else ""
        if fault == "refused":
            raise ForgeRefused("there are no issues here", status=403)
        if fault == "late":
            self.late.append((ground, [*writes]))
        if fault in ("late", "down"):
            raise ForgeDown("no answer")
        done = tuple(self.write(one, ground, fault) for one in writes)
        self.after()
        if fault == "lost":
            raise ForgeDown("no answer")
        return done

    def write(self, write: IssueWrite, ground: Ground = BARE, fault: str = "") -> IssueWrote:
        """Do one write, or refuse it where a title holds a word."""
        match write:
            case NewIssue(_, title, body, labels, people, parent):
                if fault and fault in title:
                    return IssueWrote(refused=f"no {fault} here")
                self.last += 1
                where = f"https://github.com/alice/shop/issues/{self.last}"
                made = Issue(self.last, f"I_{self.last}", 1000 + self.last, title, body, "", where)
                self.there[self.last], self.labels[self.last] = made, labels
                self.assigned[self.last] = people
                if parent:
                    self.parents[made.node] = parent
                if ground.milestone:
                    self.goals[made.node] = ground.milestone
                return IssueWrote(made)
            case EditIssue(node, title, body):
                return self.change(node, title=title, body=body)
            case CloseIssue(node, reason):
                return self.change(node, closed=reason)
            case ReopenIssue(node):
                return self.change(node, closed="")
            case HangIssue(node, parent):
                self.parents[node] = parent
                return IssueWrote()
            case PlanIssue(node, goal):
                self.goals[node] = goal
                return IssueWrote()

    def change(self, node: str, **changes: Any) -> IssueWrote:
        """Change an issue, as people do."""
        number = int(node.removeprefix("I_"))
        if number not in self.there:
            return IssueWrote(refused="there is no such issue")
        self.there[number] = replace(self.there[number], **changes)
        return IssueWrote()

    def arrive(self) -> None:
        """Do the writes that were late."""
        for ground, writes in self.late:
            for one in writes:
                self.write(one, ground)
        self.late.clear()

    def block(self, number: int, by: int, *, ends: bool = False) -> None:
        """Let an issue wait for another one."""
        self._ask("block")
        if not {number, by - 1000} <= self.there.keys():
            raise ForgeRefused("there is no such issue", status=404)
        if (number, by - 1000) in self.unwanted:
            raise ForgeRefused(f"{number} cannot wait for that", status=422)
        (self.waits.discard if ends else self.waits.add)((number, by - 1000))

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if what in self.forbids:
            raise ForgeRefused(f"nobody may {what}", status=403)

    @property
    def shown(self) -> dict[int, tuple[str, str]]:
        """Return title and end of each issue, by its number."""
        return {number: (one.title, one.closed) for number, one in self.there.items()}


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
    tracker: Tracked = field(default_factory=Tracked)
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
            jobs.reconcile(plan, self, tracker=self.tracker)

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
