"""What of a repository's settings on GitHub keeps plans from running there; it is only asked.

Each thing is one question of QUESTIONS: it asks, and yields what is wrong with the setting to
change.  What GitHub does not tell is no trouble, and is told as what could not be checked.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

from gitflow_agents.forge import ForgeDown, ForgeRefused, Looked, Trouble
from gitflow_agents.github.client import GitHub
from gitflow_agents.github.whereabouts import Whereabouts

TOKEN, APP_KEY, APP = "GITFLOW_TOKEN", "GITFLOW_APP_PRIVATE_KEY", "GITFLOW_APP_CLIENT_ID"
"""Two secrets and a variable by which the workflows act as somebody else than GitHub Actions."""
BOARDS = "GITFLOW_PROJECT_TOKEN"
"""The secret with which boards are kept."""
USED = (
    "checkout",
    "cache",
    "setup-python",
    "create-github-app-token",
    "upload-artifact",
    "download-artifact",
)
"""The actions of GitHub's that the called workflows use."""
PER_PAGE, MOST_PAGES = 30, 40
"""Names on a page, as many as GitHub gives of variables, and pages: there can be 1000 of them."""
BRANCHES = ("flow/PLAN", "task/PLAN/1-TITLE", "gitflow/state/PLAN", "gitflow/try/PLAN")
"""Names as the tool pushes to them."""
IN_THE_WAY = frozenset(
    "creation update deletion non_fast_forward pull_request merge_queue required_status_checks "
    "required_signatures required_linear_history required_deployments workflows "
    "branch_name_pattern commit_message_pattern commit_author_email_pattern "
    "committer_email_pattern".split()
)
"""Rules of branches by which GitHub refuses some push of the tool."""


@dataclass(frozen=True)
class Wanted:
    """What a clone expects: the default branch, the callers on it, and what they call.

    `called` is OWNER/NAME@COMMIT, or empty where they say something else.
    """

    branch: str
    files: tuple[str, ...]
    called: str = ""
    environments: tuple[str, ...] = ()
    """Environments whose reviewers are asked for approvals."""
    has_boards: bool = False
    """Whether the config says which board shows a plan."""


@dataclass(frozen=True)
class Kind:
    """A kind of token: what it is called, and what opens to it what it was refused."""

    name: str
    opens: Literal["permission", "scope", "job", ""] = ""

    def needs(self, permission: str) -> str:
        """Return what it takes for such a token to read what a permission is for."""
        role = ", and you the role admin" if permission == "Administration" else ""
        if self.opens == "permission":
            return f"it needs `{permission}: read`{role}"
        if self.opens == "scope":
            return f"it needs the scope `repo`{role}"
        if self.opens == "job" and permission not in NEVER_A_JOBS:
            return f"the job has to give it `{permission.lower()}: read`"
        return "ask with the token of an admin"


CLASSIC, OAUTH = Kind("a classic token", "scope"), Kind("the token of a login", "scope")
OF_A_JOB = Kind("the token of a job or of an App", "job")
UNKNOWN = Kind("a token of no known kind")
KINDS: Mapping[str, Kind] = {
    "github_pat_": Kind("a fine-grained token", "permission"),
    "ghp_": CLASSIC,
    "gho_": OAUTH,
    "ghu_": Kind("the token of an App for a person", "permission"),
    "ghs_": OF_A_JOB,
}
"""By how a token begins."""
PERMISSIONS: Mapping[str, str] = {
    "/actions/permissions": "Administration",
    "/actions/secrets": "Secrets",
    "/actions/organization-secrets": "Secrets",
    "/actions/variables": "Variables",
    "/actions/organization-variables": "Variables",
    "/actions/": "Actions",
    "/environments/": "Actions",
    "/contents/": "Contents",
}
"""What may be read with which permission; the first that fits."""
NEVER_A_JOBS = frozenset({"Administration", "Secrets", "Variables"})


def kind_of(token: str) -> Kind:
    """Return what kind of token it is."""
    return next((kind for start, kind in KINDS.items() if token.startswith(start)), UNKNOWN)


def look(there: Whereabouts, wanted: Wanted) -> Looked:
    """Return what is wrong at GitHub, and what it does not tell."""
    asked = _Asked(there, wanted)
    troubles: list[Trouble] = []
    silent: dict[str, list[str]] = {}
    for question in QUESTIONS:
        try:
            troubles += question(asked)
        except _Silent as e:
            silent.setdefault(e.why, []).append(e.what)
            if e.is_all:
                break
    unchecked = tuple(f"{', '.join(what)}: {why}" for why, what in silent.items())
    about = f"{there.repository} on {there.host}, asked with {asked.kind.name}"
    return Looked(tuple(troubles), unchecked, about)


class _Silent(Exception):
    """GitHub does not tell `what`; with `is_all` it will tell nothing else either."""

    def __init__(self, what: str, why: str, *, is_all: bool = False) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.why, self.is_all = what, why, is_all


class _Asked:
    """Asks about one repository; an answer is kept."""

    def __init__(self, there: Whereabouts, wanted: Wanted) -> None:
        self.there, self.wanted = there, wanted
        self.name = there.repository
        self.settings = f"{there.server}/{there.repository}/settings"
        self.kind = kind_of(there.token)
        self.github = GitHub(
            there.repository,
            there.token,
            api=there.api,
            server=there.server,
            branch=wanted.branch,
            is_hurried=True,
        )

    def ask(self, path: str, what: str, *, of: str = "", **query: Any) -> Any:
        """Return GitHub's answer, or None where it has no such thing; `of` is the repository."""
        try:
            return self.github.ask("GET", f"/repos/{of or self.name}{path}", what, query=query)
        except ForgeRefused as e:
            if e.status == 404:
                return None
            why = e.message.removeprefix(f"{what}: ").rstrip(".")
            hint = self._needs(path) if e.status == 403 else e.hint
            hint = f"this token may not look at {of}" if of and e.status == 403 else hint
            raise _Silent(what, f"{why}; {hint}", is_all=e.status == 401) from None
        except ForgeDown as e:
            raise _Silent(what, e.message.removeprefix(f"{what}: "), is_all=True) from None

    def settled(self, path: str, what: str) -> Any:
        """Return a setting; GitHub hides from who may not see it that there is one."""
        found = self.ask(path, what)
        if found is None:
            raise _Silent(what, f"GitHub answered 404; {self._needs(path)}")
        return found

    def _needs(self, path: str) -> str:
        fitting = (name for start, name in PERMISSIONS.items() if path.startswith(start))
        return self.kind.needs(next(fitting, "Metadata"))

    @cached_property
    def repository(self) -> dict[str, Any]:
        what = f"anything of {self.name}"
        found = self.ask("", what)
        if found is None:
            why = "it is not there, or this token may not see it: gh auth status"
            raise _Silent(what, why, is_all=True)
        if not isinstance(found, dict) or "full_name" not in found:
            raise _Silent(what, f"what answers at {self.there.api} is no GitHub", is_all=True)
        return found

    @cached_property
    def secrets(self) -> frozenset[str]:
        return self._names("secrets", "which secrets there are")

    @cached_property
    def variables(self) -> frozenset[str]:
        return self._names("variables", "which variables there are")

    def _names(self, kind: str, what: str) -> frozenset[str]:
        """Return the names of the secrets or variables that the workflows see."""
        found: set[str] = set()
        for path in (f"/actions/{kind}", f"/actions/organization-{kind}"):
            for page in range(1, MOST_PAGES + 1):
                said = self.ask(path, what, per_page=PER_PAGE, page=page)
                some = (said or {}).get(kind, ())
                found |= {str(one["name"]) for one in some}
                if len(some) < PER_PAGE:
                    break
        return frozenset(found)

    @cached_property
    def policy(self) -> Mapping[str, Any]:
        return dict(self.settled("/actions/permissions", "whether Actions may run"))


# --- the questions --------------------------------------------------------------------------------


def _repository(asked: _Asked) -> Iterator[Trouble]:
    """Whether it is what the clone takes it for, and whether it can be written to."""
    about, branch = asked.repository, asked.wanted.branch
    if about["full_name"].lower() != asked.name.lower():
        yield Trouble(
            "repository-moved",
            f"{asked.name} is now called {about['full_name']}, and a run is asked for by name",
            f"git remote set-url origin {about['clone_url']}",
        )
    if about["archived"] or about["disabled"]:
        state = "archived" if about["archived"] else "disabled"
        yield Trouble(
            "repository-closed",
            f"{asked.name} is {state}, so nothing can be pushed there",
            f"{asked.settings}, at its end",
        )
    if about["default_branch"] != branch:
        yield Trouble(
            "default-branch-other",
            f"the default branch of {asked.name} is {about['default_branch']}, where GitHub looks "
            f"for workflows, and not {branch}",
            f"git remote set-head origin --auto, or change it: {asked.settings}/branches",
        )


def _token(asked: _Asked) -> Iterator[Trouble]:
    """Whether the token may start runs, as far as one can be asked that."""
    scopes = asked.github.scopes if asked.kind.opens == "scope" else None
    enough = {"repo"} if asked.repository["private"] else {"repo", "public_repo"}
    if scopes is not None and not enough & set(scopes):
        yield Trouble(
            "token-scope",
            f"{asked.kind.name} has the scopes {', '.join(scopes) or '(none)'} and not `repo`, so "
            "it can start no run",
            "gh auth refresh --scopes repo"
            if asked.kind is OAUTH
            else f"add the scope: {asked.there.server}/settings/tokens",
        )
    rights = asked.repository.get("permissions") or {}
    if asked.kind is not OF_A_JOB and not rights.get("push", True):
        yield Trouble(
            "token-reads-only",
            f"you may not write to {asked.name}, so you can push no plan there and start no run",
            "ask its admins for the role write",
        )


def _actions(asked: _Asked) -> Iterator[Trouble]:
    """Whether Actions may run at all, and may use what the workflows use."""
    place = f"{asked.settings}/actions, Actions permissions"
    if not asked.policy["enabled"]:
        yield Trouble("actions-off", f"Actions are switched off for {asked.name}", f"{place}")
        return
    allowed = asked.policy.get("allowed_actions", "all")
    barred: Sequence[str] = ()
    if allowed == "local_only":
        barred = _used(asked.wanted.called, but_of=asked.name.partition("/")[0])
    elif allowed == "selected":
        what = "which actions may be used"
        barred = _barred(asked, asked.settled("/actions/permissions/selected-actions", what))
    if barred:
        yield Trouble(
            "actions-barred",
            f"Actions of {asked.name} may not use {', '.join(barred)}, which the workflows use",
            f"allow it: {place}",
        )


def _used(called: str, *, but_of: str) -> list[str]:
    """Return what the workflows use that is not an owner's own, each as `OWNER/NAME`."""
    names = [f"actions/{name}" for name in USED] + ([called.partition("@")[0]] if called else [])
    return [name for name in names if name.partition("/")[0].lower() != but_of.lower()]


def _barred(asked: _Asked, chosen: Mapping[str, Any]) -> list[str]:
    patterns = [str(one) for one in chosen.get("patterns_allowed") or ()]
    commit = asked.wanted.called.partition("@")[2]

    def is_allowed(name: str) -> bool:
        if name.startswith("actions/") and chosen.get("github_owned_allowed"):
            return True
        # A pattern may end behind the repository, at a file of it, or at a version.
        forms = (name, f"{name}@{commit}", f"{name}/.github/workflows/task.yml@{commit}")
        return any(fnmatch.fnmatchcase(form, one) for form in forms for one in patterns)

    owner = asked.name.partition("/")[0]
    return [name for name in _used(asked.wanted.called, but_of=owner) if not is_allowed(name)]


def _pull_requests(asked: _Asked) -> Iterator[Trouble]:
    """Whether Actions may open the pull request by which people are told."""
    what = "whether Actions may open pull requests"
    said = asked.settled("/actions/permissions/workflow", what)
    if said["can_approve_pull_request_reviews"]:
        return
    with suppress(_Silent):  # where that is not told there is most likely no token of its own
        if TOKEN in asked.secrets or (APP_KEY in asked.secrets and APP in asked.variables):
            return
    yield Trouble(
        "pull-requests-not-allowed",
        f"Actions of {asked.name} may open no pull request, so a plan is merged to its flow "
        "branch, and is told of in an issue",
        f"{asked.settings}/actions, Workflow permissions: tick `Allow GitHub Actions to create "
        "and approve pull requests`",
    )


def _own_token(asked: _Asked) -> Iterator[Trouble]:
    """Whether an App is named together with its key: one without the other is not used."""
    place = f"{asked.settings}/secrets/actions"
    if APP_KEY in asked.secrets and APP not in asked.variables:
        message = f"the secret {APP_KEY} is set and the variable {APP} is not, so no App acts"
        yield Trouble("app-half-set", message, f"gh variable set {APP}, or: {place}")
    elif APP in asked.variables and APP_KEY not in asked.secrets:
        message = f"the variable {APP} is set and the secret {APP_KEY} is not, so every pass fails"
        yield Trouble("app-half-set", message, f"gh secret set {APP_KEY} < KEY.pem, or: {place}")


def _boards(asked: _Asked) -> Iterator[Trouble]:
    """Whether there is anything to ask boards with, where a config names one."""
    if not asked.wanted.has_boards or BOARDS in asked.secrets or APP_KEY in asked.secrets:
        return
    yield Trouble(
        "board-token-missing",
        f"the config names boards, and there is no secret {BOARDS}: no job can keep them",
        f"gh secret set {BOARDS}, with a classic token that has the scope `project`, or an "
        f"organization's that has Projects: read and write; or: {asked.settings}/secrets/actions",
    )


def _workflows(asked: _Asked) -> Iterator[Trouble]:
    """Whether GitHub has the callers, and they are not switched off."""
    for file in asked.wanted.files:
        about = asked.ask(f"/actions/workflows/{file}", f"the state of {file}")
        page = f"{asked.there.server}/{asked.name}/actions/workflows/{file}"
        if about is None:
            yield Trouble(
                "workflow-unknown",
                f"GitHub has no workflow {file} on the default branch of {asked.name}",
                f"push it: git push origin {asked.wanted.branch}",
            )
        elif about["state"] != "active":
            why = {"disabled_inactivity": " after 60 days in which nothing happened"}
            yield Trouble(
                "workflow-off",
                f"the workflow {file} is switched off{why.get(about['state'], '')}",
                f"gh workflow enable {file}, or: {page}",
            )
        else:
            yield from _last_run(asked, file)


def _last_run(asked: _Asked, file: str) -> Iterator[Trouble]:
    """A run that ended before any job of it: of a policy nothing else can be asked."""
    what = f"how the last run of {file} ended"
    said = asked.ask(f"/actions/workflows/{file}/runs", what, per_page=1)
    for run in said["workflow_runs"][:1] if said else ():
        if run["conclusion"] not in ("failure", "startup_failure"):
            continue
        jobs = asked.ask(f"/actions/runs/{run['id']}/jobs", what, per_page=1)
        if jobs and not jobs["total_count"]:
            yield Trouble(
                "run-never-began",
                f"the last run of {file} ended before any job began: {run['html_url']}",
                "it says why; when the event is not allowed, it is a policy: "
                f"{asked.settings}/actions, Policies, or that of the organisation",
            )


def _called(asked: _Asked) -> Iterator[Trouble]:
    """Whether what the callers call is there."""
    name, _, commit = asked.wanted.called.partition("@")
    if not name:
        return
    what = f"whether {name} has the commit {commit[:12]}"
    path = "/contents/.github/workflows/task.yml"
    if asked.ask(path, what, of=name, ref=commit) is None:
        if asked.ask("", what, of=name) is None:
            raise _Silent(what, f"{name} is not there, or this token may not see it")
        yield Trouble(
            "called-missing",
            f"the workflows call {name} at {commit[:12]}, and it has no such workflow there",
            f"gitflow-agents init --upgrade --uses {name}@COMMIT",
        )


def _rules(asked: _Asked) -> Iterator[Trouble]:
    """Whether a rule for branches holds up what is pushed to those of plans."""
    found: dict[str, list[str]] = {}
    for branch in BRANCHES:
        what = f"the rules for branches such as {branch}"
        said = asked.ask(f"/rules/branches/{quote(branch, safe='')}", what) or ()
        for kind in sorted({rule["type"] for rule in said} & IN_THE_WAY):
            found.setdefault(kind, []).append(branch)
    if found:
        rules = "; ".join(f"`{kind}` for {', '.join(names)}" for kind, names in found.items())
        yield Trouble(
            "branches-ruled",
            f"rules of {asked.name} are in the way of what the workflows push: {rules}",
            f"leave out flow/**, task/** and gitflow/**, or let who pushes bypass them: "
            f"{asked.settings}/rules",
        )


def _environments(asked: _Asked) -> Iterator[Trouble]:
    """Whether the environments that are asked for approvals have anybody to ask."""
    for name in asked.wanted.environments:
        about = asked.ask(f"/environments/{quote(name, safe='')}", "who reviews in an environment")
        rules = (about or {}).get("protection_rules", ())
        people = (one for one in rules if one["type"] == "required_reviewers")
        if about is not None and any(one["reviewers"] for one in people):
            continue
        is_there = "asks nobody: it has no reviewers" if about is not None else "is not there"
        yield Trouble(
            "environment-open",
            f"environment {name}, which the config asks for approvals, {is_there}",
            f"add required reviewers: {asked.settings}/environments",
        )


QUESTIONS: tuple[Callable[[_Asked], Iterator[Trouble]], ...] = (
    _repository,
    _token,
    _actions,
    _pull_requests,
    _own_token,
    _boards,
    _workflows,
    _called,
    _rules,
    _environments,
)
"""In this order: without the repository itself there is no other answer."""

__all__ = ["USED", "Kind", "Wanted", "kind_of", "look"]
