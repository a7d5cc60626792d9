"""Which board shows a plan, who asks for it there, and what each door does with it.

A board is asked with a token of its own, because the one of a job never reaches one; where there is
none a job leaves the board alone, and a person is told which one is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from gitflow_agents.board.report import Report
from gitflow_agents.board.shown import Shown, shown_of
from gitflow_agents.commands import Refused
from gitflow_agents.errors import FlowError, UsageError
from gitflow_agents.github.client import GitHub
from gitflow_agents.github.issues import Issues
from gitflow_agents.github.projects import Projects, create
from gitflow_agents.github.whereabouts import Whereabouts, is_near, place, token, whereabouts
from gitflow_agents.issues import missing, stale
from gitflow_agents.models import Config, Home, Spoken, place_of
from gitflow_agents.models import Projects as Wanted
from gitflow_agents.render import count
from gitflow_agents.service.desk import Desk, Told
from gitflow_agents.service.issuing import Issuing
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.service import Service
from gitflow_agents.service.syncing import MOST_NEW_IN_A_JOB, Asked, Pace, Syncing
from gitflow_agents.store import boards
from gitflow_agents.store.remote import settings_of, usual_remote

TOKEN = "GITFLOW_PROJECT_TOKEN"
"""The variable that holds the token with which boards are asked."""
HAS_TOKEN = "GITFLOW_HAS_PROJECT_TOKEN"
"""The variable by which a workflow tells a job that a later one of its jobs has such a token."""
SETTING = "the secret GITFLOW_PROJECT_TOKEN"
"""What people call where that token comes from."""


@dataclass
class Boarding:
    """The boards of the plans of one repository, asked with one token."""

    github: GitHub
    pace: Pace = field(default_factory=Pace)
    tell: Callable[[str], None] = lambda text: None
    """Hears of progress."""

    def sync(self, desk: Desk, shown: Shown, asked: Asked) -> Report:
        """Bring the board of a plan in step; ForgeRefused or ForgeDown as `Syncing.go` says."""
        return self.syncing(desk, shown).go(asked)

    def syncing(self, desk: Desk, shown: Shown) -> Syncing:
        """Return who keeps the board of a plan."""
        return Syncing(
            desk,
            shown,
            self._board(shown),
            url_of_run=self.github.url,
            home=self._address(desk.snapshot.state.home),
            pace=self.pace,
            tell=self.tell,
        )

    def last(self, desk: Desk, shown: Shown) -> Shown | None:
        """Return a plan as shown on the board that showed it last, if that is still there."""
        node = boards.index_of(desk.store.repository, desk.snapshot.tree).project
        is_there = bool(node) and Projects(self.github, self._owner, 0, node).is_there()
        return replace(shown, node=node) if is_there else None

    def create(self, shown: Shown) -> tuple[Shown, tuple[str, ...]]:
        """Make a project for a plan that has none; return it as shown, and what was not made."""
        owner = shown.owner or self._owner
        number, said = create(self.github, owner, f"Plan {shown.plan}")
        return replace(shown, owner=owner, number=number), said

    @property
    def _owner(self) -> str:
        return self.github.repository.partition("/")[0]

    def is_due(self, desk: Desk, shown: Shown) -> bool:
        """Say whether the board of a plan has something to be told; nobody is asked for that."""
        return self.syncing(desk, shown).is_due

    def _board(self, shown: Shown) -> Projects:
        if shown.host.partition(":")[0] not in ("", self.github.host):
            raise UsageError(
                f"the board of plan {shown.plan} is on {shown.host}, and the repository on "
                f"{self.github.host}",
                hint="a token is shown to the repository's own server only",
            )
        return Projects(self.github, shown.owner or self._owner, shown.number, shown.node)

    def _address(self, home: Home | None) -> str:
        return self.github.address(home) if home is not None and home.number else ""


def shown(config: Config, plan: str, project: str = "") -> Shown | None:
    """Return how a plan is shown, on the `project` that a person names in place of the config's.

    None where nobody says on which board; UsageError where they name none.
    """
    found = shown_of(config, plan)
    if not project:
        return found
    place = place_of(int(project) if project.isascii() and project.isdecimal() else project)
    if place is None or place.number < 1:
        raise UsageError(
            f"{project} is no project",
            hint="write its number, or its address: https://github.com/orgs/acme/projects/3",
        )
    found = found or bare(config, plan)
    owner = place.owner or found.owner
    return replace(found, owner=owner, host=place.host, number=place.number, node="")


def bare(config: Config, plan: str) -> Shown:
    """Return how a plan would be shown on a board that is not made yet."""
    wanted = (config.projects or Wanted()).model_copy(
        update={"plans": {plan: 1}, "project_mappings": {}}
    )
    found = shown_of(config.model_copy(update={"projects": wanted}), plan)
    assert found is not None
    return replace(found, number=0)


def meant(service: Service, plans: Sequence[str], project: str, *, is_all: bool) -> list[str]:
    """Return the plans whose boards are meant: those named, else all that a board shows.

    With a `project` and no name it is the only plan here, or with `is_all` every one.  Where tasks
    have issues it is every plan, too.
    """
    if plans and is_all:
        raise UsageError("--all and a plan cannot be given together", hint="leave one of them out")
    if plans:
        return service.started(plans)
    if project and not is_all:
        return [service.name("")]
    names = service.started(())
    if project or service.config.issues is not None:
        return names
    found = [name for name in names if shown_of(service.config, name) is not None]
    if not found:
        raise nowhere(names[0] if len(names) == 1 else "PLAN")
    return found


def nowhere(plan: str) -> FlowError:
    """Return what somebody is told whose plan no board shows."""
    return FlowError(
        "no board shows any plan" if plan == "PLAN" else f"no board shows plan {plan}",
        hint=f"name one: gitflow-agents sync {plan} --project NUMBER, or in the config: "
        f"projects: {{plans: {{{plan}: NUMBER}}}}; --create makes one",
    )


def keeps_boards(service: Service, plan: str) -> bool:
    """Say whether this job, or a later one of its run, has a token for the board of a plan."""
    environ = service.environ
    has = environ.get(HAS_TOKEN) == "true" or bool(environ.get(TOKEN))
    return has and shown(service.config, plan) is not None


def no_board(service: Service, plan: str) -> Refused:
    """Return what somebody is told who asks for a sync where none can be."""
    if shown(service.config, plan) is None:
        why = nowhere(plan)
        return Refused("nothing-to-do", why.message, hint=why.hint)
    return Refused("wrong-state", f"no board can be written: {SETTING} is not set")


def is_sync(entry: Spoken) -> bool:
    """Say whether a command of the journal is about the board."""
    return entry.command.get("verb") == "sync"


@dataclass
class Terminal:
    """What a person at a terminal does with boards."""

    service: Service
    project: str = ""
    """The board that they name in place of the config's."""
    tell: Callable[[str], None] = lambda text: None
    """Hears of progress."""
    hears: Callable[[Told], None] = lambda told: None
    """Hears of what is done with issues by `issuing`."""
    pace: Pace = field(default_factory=Pace)
    """Of all that one person makes, issues and cards."""

    @cached_property
    def boarding(self) -> Boarding:
        """Return the boards as this person may see them."""
        return replace(at_terminal(self.service, self._remote, self.tell), pace=self.pace)

    @cached_property
    def tracker(self) -> Issues:
        """Return the issues of the repository; FlowError where there is no token for them."""
        url = dict(settings_of(self.service.repository, self._remote))["url"]
        return Issues(_github(self.service, whereabouts(url, self.service.environ)))

    @property
    def _remote(self) -> str:
        return self.service.config.remote or usual_remote(self.service.repository) or "origin"

    def track(self, plan: str, *, dry_run: bool) -> bool:
        """Bring the issues of a plan's tasks up to date, and tell what came of it.

        False where tasks have none.
        """
        if self.service.config.issues is None:
            return False
        desk = self._desk(plan, lambda told: self.tell(told.text))
        if dry_run:
            lacking, late = len(missing(desk.snapshot)), len(stale(desk.snapshot))
            said = f"{count(lacking, 'task')} would get an issue"
            self.tell(f"plan {plan}: {said}, and {count(late, 'issue')} would be looked at")
            return True
        try:
            tracker = self.tracker
        except UsageError:
            raise
        except FlowError as e:  # the token for projects is enough for a board
            self.tell(f"plan {plan}: the issues of its tasks are left alone: {e.message}")
            return True
        issuing = Issuing(
            Reconciler(desk), tracker, wait=lambda number: self.pace.wait(number, self.tell)
        )
        why = issuing.sync()
        said = f"{count(issuing.made, 'issue')} made, {issuing.written} changed"
        self.tell(f"plan {plan}: {said}{f'; not everything: {why}' if why else ''}")
        return True

    def issuing(self, plan: str) -> Issuing:
        """Return who keeps the issues of a plan's tasks, as much at once as a pass does."""
        return Issuing(Reconciler(self._desk(plan, self.hears)), self.tracker)

    def follow(self, plan: str) -> Report | None:
        """Tell the board what has happened since; None where that is nothing, or no board is."""
        desk, how = self._desk(plan), shown(self.service.config, plan)
        if how is None or not self.boarding.syncing(desk, how).has_news:
            return None
        asked = Asked(most_new=MOST_NEW_IN_A_JOB, is_beside=True)
        return self.boarding.sync(desk, how, asked)

    def shows(self, plan: str) -> bool:
        """Say whether a board shows a plan."""
        return shown(self.service.config, plan, self.project) is not None

    def sync(self, plan: str, asked: Asked) -> Report:
        """Bring the board of a plan in step; FlowError where none shows it."""
        desk = self._desk(plan)
        how = shown(self.service.config, plan, self.project)
        if how is None and not asked.creates:
            raise nowhere(plan)
        if how is None or not (how.number or how.node):
            how = how or bare(self.service.config, plan)
            if last := self.boarding.last(desk, how):
                return self.boarding.sync(desk, last, asked)
            if asked.dry_run:
                left = "a project is made first, and nothing can be said of its cards before"
                return Report(plan, is_dry=True, left=left)
            how, said = self.boarding.create(how)
            for line in said:
                self.tell(line)
            self.tell(
                f"project {how.number} of {how.owner} was made; the config has to name it: "
                f"projects: {{owner: {how.owner}, plans: {{{plan}: {how.number}}}}}"
            )
        return self.boarding.sync(desk, how, asked)

    def _desk(self, plan: str, tell: Callable[[Told], None] = lambda told: None) -> Desk:
        _, snapshot = self.service.authorities.load(plan)
        if snapshot is None:
            raise FlowError(
                f"plan {plan} was never started, and a board shows what became of one",
                hint=f"gitflow-agents run {plan} starts it",
            )
        return self.service.desk(snapshot, tell)


def at_terminal(service: Service, remote: str, tell: Callable[[str], None]) -> Boarding:
    """Return the boards as the person at the terminal may see them.

    FlowError where there is no token, UsageError where the repository is none of GitHub's.
    """
    url = dict(settings_of(service.repository, remote))["url"]
    environ = service.environ
    there = place(url, environ)
    own = environ.get(TOKEN, "") if is_near(there.host, environ) else ""
    found = own or token(there.host, environ)
    if not found:
        raise FlowError(
            f"there is no token for the projects of {there.host}",
            hint=f"gh auth login --hostname {there.host} --scopes project, or set {TOKEN} to a "
            "token that may write projects",
        )
    return Boarding(_github(service, replace(there, token=found)), tell=tell)


def _github(service: Service, there: Whereabouts) -> GitHub:
    branch = service.repository.default_branch()
    return GitHub(there.repository, there.token, api=there.api, server=there.server, branch=branch)


__all__ = [
    "HAS_TOKEN",
    "SETTING",
    "TOKEN",
    "Boarding",
    "Terminal",
    "is_sync",
    "keeps_boards",
    "meant",
    "no_board",
    "nowhere",
    "shown",
]
