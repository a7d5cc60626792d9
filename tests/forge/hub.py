"""The fake GitHub as a whole: who is there, what happened, what is wrong with it today.

Start with Hub. `server` gives it an address, `rest` and `graph` answer for it, `runs` does its
Actions.
"""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import os
import random
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from tests import repos
from tests.forge import triggers, wire
from tests.forge.boards import Card, Field, Project, opaque
from tests.forge.engine import Engine
from tests.forge.inputs import check_inputs
from tests.forge.runs import Node, Run
from tests.forge.state import (
    BOT,
    ZERO,
    Issue,
    Permissions,
    Pull,
    Refused,
    Repository,
    Token,
)
from tests.forge.triggers import Event
from tests.repos import Repo

COUNTS = "FORGE_COUNTS"
"""Names the file that gets a line for every job that was executed: file of the workflow, job."""

PER_HOUR = 1000
"""Requests that a job's token may make in a repository, all jobs together."""
PERSON_PER_HOUR = 5000

PER_MINUTE_MADE, PER_HOUR_MADE = 80, 500
"""Things that one may make in a minute and in an hour where that is limited."""
SECONDARY = (
    "You have exceeded a secondary rate limit and have been temporarily blocked from content"
    " creation. Please retry your request again later."
)

Trouble = int | Literal["lost", "silent", "away"]
"""A status; or done and never answered; or neither done nor answered; or hung up at once."""


@dataclass(frozen=True)
class Request:
    """One request that reached the server."""

    method: str
    path: str
    """Without the query; of REST without the prefix, so that it begins with `/repos/`."""
    query: dict[str, str]
    body: Any
    status: int
    by: str
    """Whose token it was: a login, or `FILE JOB`."""
    trouble: Trouble | None = None

    def __str__(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"


@dataclass
class _Fault:
    pattern: str
    trouble: Trouble
    times: int
    headers: Mapping[str, str]
    message: str


@dataclass(eq=False, repr=False)
class Hub:
    """A GitHub of its own below a folder; everything in it is guarded by `lock`."""

    root: Path
    base: str = ""
    """Its address, as GITHUB_SERVER_URL."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    teams: dict[str, dict[str, str]] = field(default_factory=dict)
    """Who has joined a team `ORGANISATION/TEAM`, or was invited: `active` or `pending`."""
    organisations: dict[str, set[str]] = field(default_factory=dict)
    """Who is a member, by organisation; every other account is a person's."""
    projects: list[Project] = field(default_factory=list)
    nodes: dict[str, tuple[Project, Project | Field | Card]] = field(default_factory=dict)
    """What projects are made of, by the id that GraphQL has for it, drafts by that of theirs too."""
    is_dated: bool = False
    """Whether its GraphQL knows no more than the description that is published for programs."""
    is_paced: bool = False
    """Whether what makes something new is limited to so many a minute and an hour."""
    requests: list[Request] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """What a request asked for that GitHub's descriptions do not know, a sentence each."""
    executed: Counter[str] = field(default_factory=Counter)
    """How often each job was executed, by `OWNER/NAME FILE JOB`; a call of a file counts too."""
    events: list[tuple[str, Event]] = field(default_factory=list)
    """All that ever happened, with the name of the repository."""
    runs_ended: list[Run] = field(default_factory=list)
    """Every end of a run, in order; one that was done again is here twice."""
    transit: Callable[[Event], Iterable[Event]] = lambda event: [event]
    """What becomes of an event before it starts anything: lost, doubled, kept for later."""
    tells_where: bool = True
    """Whether a job is told where its workflow is from, which GitHub's own servers alone do."""
    clock: timedelta = timedelta(0)
    """How far its time is ahead of the machine's."""
    before: Callable[[str], None] = lambda asked: None
    """Called with every request, as `GET /repos/...`, before anything is done about it."""

    def __post_init__(self) -> None:
        """Make what needs the hub itself."""
        self.engine = Engine(self)
        self._ids = itertools.count(1001)
        self._faults: list[_Fault] = []
        self._weather: tuple[int, float, tuple[Trouble, ...]] | None = None
        self._asked: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        """Requests of this hour, by whom the limit is for."""
        self.most: dict[str, int] = {}
        """Another limit than the usual one, by whom it is for."""
        self.points: Counter[str] = Counter()
        """What GraphQL has cost so far, by whom the limit is for."""
        self._made: dict[str, list[datetime]] = {}

    # Where it is

    @property
    def api(self) -> str:
        """Return the address of REST, as GITHUB_API_URL."""
        return self.base + "/api/v3"

    @property
    def graphql(self) -> str:
        """Return the address of GraphQL, as GITHUB_GRAPHQL_URL."""
        return self.base + "/api/graphql"

    def url(self, repository: Repository, token: Token | None = None) -> str:
        """Return the address for git, with the token in it if there is one."""
        known = f"x-access-token:{token.text}@" if token else ""
        return self.base.replace("://", f"://{known}") + f"/{repository.name}.git"

    def now(self) -> datetime:
        """Return the hub's time, in whole seconds as GitHub's."""
        return (datetime.now(UTC) + self.clock).replace(microsecond=0)

    def next_id(self) -> int:
        """Return a number that nothing has yet."""
        return next(self._ids)

    # Who is there

    def repository(
        self,
        name: str,
        source: Repo | None = None,
        *,
        default_branch: str = "main",
        private: bool = False,
        allow_pull_requests: bool = True,
        allow_drafts: bool = True,
        default_permissions: Literal["read", "write"] = "read",
    ) -> Repository:
        """Return a new repository, a clone of `source` if there is one; its owner is its admin."""
        path = self.root / "git" / f"{name}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        if source is not None:
            git = source.clone(path, bare=True)
            git.git("remote", "remove", "origin")
            git.git("symbolic-ref", "HEAD", f"refs/heads/{default_branch}")
        else:
            git = repos.init(path, branch=default_branch, bare=True)
        for key in ("http.receivepack", "uploadpack.allowAnySHA1InWant", "core.logAllRefUpdates"):
            git.git("config", key, "true")
        for hook, text in HOOKS.items():
            (path / "hooks").mkdir(exist_ok=True)
            (path / "hooks" / hook).write_text(text)
            (path / "hooks" / hook).chmod(0o755)
        repository = Repository(
            name=name,
            id=self.next_id(),
            git=git,
            default_branch=default_branch,
            private=private,
            allow_pull_requests=allow_pull_requests,
            allow_drafts=allow_drafts,
            default_permissions=default_permissions,
        )
        repository.people[repository.owner] = "admin"
        with self.lock:
            self.repositories[name] = repository
        return repository

    def person(
        self,
        login: str,
        *roles: tuple[Repository, str],
        scopes: tuple[str, ...] = ("repo", "workflow"),
    ) -> Token:
        """Return a personal token of somebody who has these roles from now on.

        For projects it needs the scope `project`, or `read:project` to look only.
        """
        with self.lock:
            for repository, role in roles:
                repository.people[login] = role
            text = "ghp_" + secrets.token_hex(18)
            return self._keep(Token("person", login, text=text, scopes=scopes))

    def fine(self, login: str, account: str, permissions: Permissions) -> Token:
        """Return somebody's fine-grained token for what an account has."""
        text = "github_pat_" + secrets.token_hex(18)
        granted = dict(permissions)
        return self._keep(Token("person", login, permissions=granted, text=text, fine_for=account))

    def organisation(self, login: str, *members: str) -> None:
        """Let an account be an organisation's; members may write to its projects."""
        with self.lock:
            self.organisations[login] = set(members)

    def project(
        self,
        owner: str,
        title: str = "Board",
        *,
        public: bool = False,
        fields: Mapping[str, str | Iterable[str]] | None = None,
    ) -> Project:
        """Return a new project of an account, with own fields: a kind, or the choices, by name."""
        with self.lock:
            number = sum(one.owner == owner for one in self.projects) + 1
            database_id = self.next_id()
            id = opaque("PVT", database_id)
            made = Project(self, owner, number, title, id, database_id, public)
            self.projects.append(made)
            self.nodes[made.id] = (made, made)
            for name, kind in (fields or {}).items():
                if isinstance(kind, str):
                    made.add_field(name, kind)
                else:
                    made.add_field(name, "SINGLE_SELECT", kind)
            return made

    def mint(self, repository: Repository, permissions: Permissions, job: str = "") -> Token:
        """Return a token as a job gets it: for one repository, with exactly these permissions."""
        return self._keep(Token("default", BOT, repository.name, dict(permissions), job))

    def app(self, repository: Repository, permissions: Permissions, slug: str = "helper") -> Token:
        """Return an installation token of a GitHub App; what it does starts workflows."""
        return self._keep(Token("app", f"{slug}[bot]", repository.name, dict(permissions)))

    def _keep(self, token: Token) -> Token:
        with self.lock:
            self.tokens[token.text] = token
        return token

    def workflow_id(self, repository: Repository, path: str) -> int:
        """Return the number of a workflow file."""
        if path not in repository.workflows:
            repository.workflows[path] = self.next_id()
        return repository.workflows[path]

    # What happens

    def happen(self, repository: Repository, event: Event) -> list[Run]:
        """Record an event and start what it starts; return those runs."""
        with self.lock:
            self.events.append((repository.name, event))
            return [
                run for one in self.transit(event) for run in self.engine.start(repository, one)
            ]

    def schedule(self, repository: Repository) -> list[Run]:
        """Let the time come that every `schedule:` of the default branch names."""
        sha = repository.head(repository.default_branch) or ZERO
        payload = {"schedule": "17,47 * * * *", "repository": wire.repository(self, repository)}
        ref = f"refs/heads/{repository.default_branch}"
        return self.happen(repository, Event("schedule", payload, repository.owner, ref, sha))

    def pushed(
        self, repository: Repository, by: Token, updates: Iterable[tuple[str, str, str]]
    ) -> None:
        """Let a push have happened: (old, new, ref) each."""
        with self.lock:
            for old, new, ref in updates:
                if not ref.startswith(("refs/heads/", "refs/tags/")):
                    continue
                self._push(repository, by, old, new, ref)
                self._follow(repository, by, new, ref)

    def _push(self, repository: Repository, by: Token, old: str, new: str, ref: str) -> None:
        is_gone = new == ZERO
        git = repository.git
        is_forced = ZERO not in (old, new) and git.git("merge-base", old, new, check=False) != old
        payload = {
            "ref": ref,
            "before": old,
            "after": new,
            "base_ref": None,
            "created": old == ZERO,
            "deleted": is_gone,
            "forced": is_forced,
            "compare": f"{self.base}/{repository.name}/compare/{old[:12]}...{new[:12]}",
            "commits": [],
            "head_commit": None if is_gone else wire.pushed_commit(self, repository, new),
            "pusher": {"name": by.login},
            **self._told(repository, by),
        }
        if is_gone:
            sha = repository.head(repository.default_branch) or ZERO
            home = f"refs/heads/{repository.default_branch}"
            self._say(repository, by, "push", payload, home, sha)
        else:
            self._say(repository, by, "push", payload, ref, new)

    def _follow(self, repository: Repository, by: Token, new: str, ref: str) -> None:
        """Let pull requests take notice of a push."""
        branch = ref.removeprefix("refs/heads/")
        for issue in list(repository.issues.values()):
            pull = issue.pull
            if pull is None or issue.state != "open":
                continue
            if pull.head == branch and new == ZERO:
                self.close_pull(repository, issue, by)
            elif pull.head == branch:
                pull.head_sha, issue.updated = new, self.now()
                self.pull_event(repository, issue, "synchronize", by)
            if pull.base == branch and new != ZERO and issue.state == "open":
                done = repository.git.git("merge-base", pull.head_sha, new, check=False)
                if done == pull.head_sha:
                    self.close_pull(repository, issue, by, merge_sha=new)
                pull.base_sha = new

    def close_pull(
        self, repository: Repository, issue: Issue, by: Token, merge_sha: str | None = None
    ) -> None:
        """Close a pull request, merged if there is a merge."""
        assert issue.pull is not None
        issue.state, issue.closed, issue.closed_by = "closed", self.now(), by.login
        if merge_sha is not None:
            issue.pull.merged, issue.pull.merged_by = self.now(), by.login
            issue.pull.merge_sha = merge_sha
        self.pull_event(repository, issue, "closed", by)

    def pull_event(self, repository: Repository, issue: Issue, action: str, by: Token) -> None:
        """Let something have happened to a pull request."""
        pull = issue.pull
        assert pull is not None
        payload = {
            "action": action,
            "number": issue.number,
            "pull_request": wire.pull(self, repository, issue),
            **self._told(repository, by),
        }
        ref, sha = f"refs/pull/{issue.number}/merge", self._merge(repository, pull)
        if action == "closed":
            sha = repository.head(pull.base) or pull.base_sha
        if sha is not None:
            self._say(repository, by, "pull_request", payload, ref, sha)

    def _merge(self, repository: Repository, pull: Pull) -> str | None:
        """Return the merge of a pull request's branches, or None where they conflict."""
        base = repository.head(pull.base)
        if base is None:
            return None
        try:
            tree = repository.git.git("merge-tree", "--write-tree", base, pull.head_sha)
        except AssertionError:
            return None
        return repository.git.git(
            "commit-tree", "-p", base, "-p", pull.head_sha, "-m", "Merge", tree.split("\n")[0]
        )

    def issue_event(
        self,
        repository: Repository,
        by: Token,
        name: str,
        action: str,
        issue: Issue,
        **more: Any,
    ) -> None:
        """Let something have happened to an issue, or to a comment on one."""
        payload = {
            "action": action,
            "issue": wire.issue(self, repository, issue),
            **more,
            **self._told(repository, by),
        }
        sha = repository.head(repository.default_branch) or ZERO
        self._say(repository, by, name, payload, f"refs/heads/{repository.default_branch}", sha)

    def on_boards(self, issue: Issue, what: str) -> None:
        """Let the projects that have an issue take notice of what happened to it."""
        for project in self.projects:
            for card in project.cards.values():
                if isinstance(card.content, tuple) and card.content[1] is issue:
                    project.happened(card, what)

    def run_completed(self, run: Run) -> None:
        """Let a run have ended, which may start others."""
        repository = run.repository
        level = int(run.event.payload.get("_level", 0))
        if level >= 3:
            return  # GitHub starts no longer chain of them
        payload = {
            "action": "completed",
            "workflow_run": wire.run(self, run),
            "_level": level + 1,
            **self._told(repository, Token("person", run.event.actor)),
        }
        sha = repository.head(repository.default_branch) or ZERO
        ref = f"refs/heads/{repository.default_branch}"
        self.happen(repository, Event("workflow_run", payload, run.event.actor, ref, sha))

    def dispatch(
        self, repository: Repository, by: Token, path: str, ref: str, inputs: Mapping[str, Any]
    ) -> list[Run]:
        """Let a workflow have been asked for by name; refuse what GitHub refuses."""
        full = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
        sha = repository.sha(full)
        if sha is None:
            raise Refused(422, f"No ref found for: {ref}")
        text = repository.text(sha, path)
        about = triggers.triggers(triggers.File(repository.name, path, sha, text or "{}").value)
        if "workflow_dispatch" not in about:
            raise Refused(422, "Workflow does not have 'workflow_dispatch' trigger")
        check_inputs((about["workflow_dispatch"] or {}).get("inputs") or {}, inputs)
        payload = {
            "inputs": dict(inputs),
            "ref": full,
            "workflow": path,
            **self._told(repository, by),
        }
        event = Event(
            "workflow_dispatch", payload, by.login, full, sha, workflow=path, inputs=dict(inputs)
        )
        return self.happen(repository, event)

    def _say(
        self,
        repository: Repository,
        by: Token,
        name: str,
        payload: Mapping[str, Any],
        ref: str,
        sha: str,
    ) -> None:
        event = Event(name, payload, by.login, ref, sha, by_default_token=by.kind == "default")
        self.happen(repository, event)

    def _told(self, repository: Repository, by: Token) -> dict[str, Any]:
        return {
            "repository": wire.repository(self, repository),
            "sender": wire.user(self, by.login),
        }

    # What is wrong with it

    def refuse(
        self,
        pattern: str,
        trouble: Trouble = 500,
        *,
        times: int = 1,
        message: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the next requests that fit a pattern, as `POST /repos/*/pulls`, with trouble.

        git's own begin with `GIT`: `GIT alice/shop.git/git-receive-pack`. `times` below 0: for ever.
        One mutation of a GraphQL request is `GRAPHQL ALIAS FIELD`: `GRAPHQL * createIssue`; there a
        status becomes an error beside the others' data, `lost` is done all the same, and with `away`
        and `silent` the request ends there, what stands before it done and nothing answered.
        """
        with self.lock:
            self._faults.append(_Fault(pattern, trouble, times, headers or {}, message))

    def heal(self) -> None:
        """End all trouble, and forget what was asked while there was some."""
        with self.lock:
            self._faults.clear()
            self._weather = None
            self._asked.clear()

    def limit(self, pattern: str = "*", *, secondary: bool = False, times: int = 1) -> None:
        """Say to the next requests that fit a pattern that there were too many of them."""
        if secondary:
            message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
            self.refuse(pattern, 403, times=times, message=message, headers={"Retry-After": "60"})
            return
        reset = str(int((self.now() + timedelta(minutes=20)).timestamp()))
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        message = "API rate limit exceeded for installation ID 1."
        self.refuse(pattern, 403, times=times, message=message, headers=headers)

    def trouble(
        self, seed: int, rate: float, kinds: tuple[Trouble, ...] = (500, 502, 403, "lost")
    ) -> None:
        """Let a share of all requests fail, the same ones for the same seed.

        Which of them is decided by what is asked and how often it was, so that threads that overtake
        each other change nothing.
        """
        with self.lock:
            self._weather = (seed, rate, kinds)

    def trouble_within(self, asked: str) -> tuple[Trouble, str] | None:
        """Return what is wrong with one part of a GraphQL request, as `GRAPHQL ALIAS FIELD`."""
        with self.lock:
            for fault in self._faults:
                is_meant = fault.pattern.startswith("GRAPHQL ")
                if is_meant and fault.times and fnmatch.fnmatchcase(asked, fault.pattern):
                    fault.times -= 1
                    return fault.trouble, fault.message
            return None

    def made(self, by: str, count: int) -> str:
        """Record that somebody makes new things; return why that is too much, or nothing."""
        now = self.now()
        made = [at for at in self._made.get(by, []) if now - at < timedelta(hours=1)]
        minute = sum(now - at < timedelta(minutes=1) for at in made)
        if self.is_paced and (
            minute + count > PER_MINUTE_MADE or len(made) + count > PER_HOUR_MADE
        ):
            return SECONDARY
        self._made[by] = made + [now] * count
        return ""

    def trouble_for(self, asked: str) -> tuple[Trouble, Mapping[str, str], str] | None:
        """Return what is wrong with a request, if anything is: trouble, headers, message."""
        self.before(asked)
        with self.lock:
            for fault in self._faults:
                if fault.times and fnmatch.fnmatchcase(asked, fault.pattern):
                    fault.times -= 1
                    return fault.trouble, fault.headers, fault.message
            if self._weather is None:
                return None
            seed, rate, kinds = self._weather
            self._asked[asked] += 1
            text = f"{seed} {asked} {self._asked[asked]}"
            dice = random.Random(hashlib.sha256(text.encode()).digest())
            return (dice.choice(kinds), {}, "") if dice.random() < rate else None

    # What was counted

    def asked(self, pattern: str = "*") -> list[Request]:
        """Return the requests that fit a pattern, as `GET /repos/*`; git's begin with `GIT`."""
        with self.lock:
            return [one for one in self.requests if fnmatch.fnmatchcase(str(one), pattern)]

    def count(self, node: Node) -> None:
        """Record that a job was executed, or that what it calls began to be."""
        file = node.within.file
        self.count_line(f"{file.repository} {file.path} {node.id}")

    def count_line(self, line: str) -> None:
        """Record that something of a name was executed, in the file that the environment names."""
        with self.lock:
            self.executed[line] += 1
            if path := os.environ.get(COUNTS):
                with open(path, "a", encoding="utf-8") as file:
                    file.write(line + "\n")


# What the server says to a push that it would not take, in GitHub's words.
_UPDATE = """#!/bin/sh
ref=$1 old=$2 new=$3 zero=0000000000000000000000000000000000000000
case " $FORGE_CLOSED " in
*" $ref "*)
  echo "error: GH006: Protected branch update failed for $ref." >&2
  echo "error: Changes must be made through a pull request." >&2
  exit 1 ;;
esac
[ "$new" != $zero ] || exit 0
[ -z "$FORGE_NO_WORKFLOWS" ] || {
  if [ "$old" = $zero ]; then
    old=$(git merge-base HEAD "$new" 2>/dev/null) || old=$(git hash-object -t tree /dev/null)
  fi
  # The same file with the same content on another branch is no news.
  git diff --name-only "$old" "$new" -- .github/workflows | while read -r file; do
    blob=$(git rev-parse --verify --quiet "$new:$file") &&
      git for-each-ref --format="%(objectname):$file" refs/heads |
      git cat-file --batch-check='%(objectname)' | grep -q "^$blob" || {
      echo "refusing to allow a GitHub App to create or update workflow \\`$file\\` without \\`workflows\\` permission" >&2
      exit 1
    }
  done || exit 1
}
"""
_TOLD = """#!/bin/sh
cat >>"$FORGE_PUSHED"
"""
HOOKS: Mapping[str, str] = {"update": _UPDATE, "post-receive": _TOLD}


Transit = Callable[[Event], Iterable[Event]]


def lost(name: str, times: int = 1) -> Transit:
    """Return a way on which the next events of a name get lost."""
    left = itertools.count()
    return lambda event: [] if event.name == name and next(left) < times else [event]


def doubled(name: str, times: int = 1) -> Transit:
    """Return a way on which the next events of a name arrive twice."""
    left = itertools.count()
    return lambda event: [event] * (1 + (event.name == name and next(left) < times))
