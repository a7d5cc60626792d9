"""The requests that are made of GitHub: few, each named after what it is for.

PyGithub does them, waits where GitHub asks for patience, and repeats what failed on the way.  So a
dispatch may be done twice; whoever asks for one has to be content with that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlsplit

import github
from github import Auth, Github, GithubException, GithubRetry
from requests.exceptions import RequestException

from gitflow_agents.commands import LEVELS
from gitflow_agents.forge import (
    OWN,
    Check,
    Comment,
    Decision,
    ForgeDown,
    ForgeRefused,
    ForgeRun,
    Job,
    Page,
    Reacted,
    Reaction,
    Review,
)
from gitflow_agents.models import Checked, Home

WORKFLOWS: Mapping[Job, str] = {
    "task": "gitflow-task.yml",
    "train": "gitflow-train.yml",
    "reconcile": "gitflow.yml",
    "approval": "gitflow-approval.yml",
}
"""The files on the default branch that a dispatch starts."""
WORK = ("test", "execute")
"""The jobs that work: the first one's conclusion is a train's verdict."""
CHECK = "gitflow-agents"
"""What the check of a plan is called, so that a rule for a branch can ask for it."""
LEFT = "flow has moved on"
_VERDICTS = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
"""States of a review that replace what the same person said before."""
PATIENCE = 120.0
"""Seconds that are waited for a limit to pass; the next pass is there before longer ones are."""
TIMEOUT = 30
HURRIED = 5
"""Seconds that somebody waits for an answer who only wants to know."""
MOST_REPEATS = 4
PER_PAGE = 100
MOST_PAGES = 10
"""Pages of runs that are read: those asked for are among the newest."""
VERSION = "2022-11-28"
_EDITED = """
query Edited($ids: [ID!]!) {
  nodes(ids: $ids) {
    ... on IssueComment { id lastEditedAt }
  }
}
"""
_READY = """
mutation Ready($pull: ID!) {
  markPullRequestReadyForReview(input: {pullRequestId: $pull}) {
    pullRequest { isDraft }
  }
}
"""


class GitHub:
    """One repository of GitHub, asked with one token: a Forge."""

    def __init__(
        self,
        repository: str,
        token: str,
        *,
        api: str,
        server: str,
        branch: str,
        is_hurried: bool = False,
    ) -> None:
        """Ask about `repository`; who `is_hurried` waits for nothing and tries nothing twice."""
        self.repository = repository
        self._token, self._api, self._server = token, api, server
        self.branch, self._is_hurried = branch, is_hurried

    @property
    def host(self) -> str:
        """Return the name of GitHub's server."""
        return urlsplit(self._server).hostname or "github.com"

    @property
    def token(self) -> str:
        """Return the token that it is asked with."""
        return self._token

    @cached_property
    def _github(self) -> Github:
        return self._connected()

    @cached_property
    def _careful(self) -> Github:
        """Repeats only what GitHub did not take: what was sent and got no answer may be done."""
        return self._connected(read=0, status_forcelist=[])

    def _connected(self, **how: Any) -> Github:
        # Nobody has to be spared on the loopback.
        is_near = urlsplit(self._api).hostname in ("127.0.0.1", "localhost", "::1")
        return Github(
            auth=Auth.Token(self._token) if self._token else None,
            base_url=self._api,
            timeout=HURRIED if self._is_hurried else TIMEOUT,
            retry=None
            if self._is_hurried
            else GithubRetry(
                total=MOST_REPEATS,
                backoff_factor=0.05 if is_near else 1,
                secondary_rate_wait=1 if is_near else 60,
                max_rate_limit_wait=PATIENCE,
                **how,
            ),
            per_page=PER_PAGE,
            seconds_between_requests=0 if is_near else None,
            seconds_between_writes=0 if is_near else 1,
            lazy=True,
        )

    # --- runs -------------------------------------------------------------------------------------

    def start(self, job: Job, inputs: Mapping[str, str]) -> int:
        """Dispatch a workflow on the default branch and return the id of its run."""
        file = WORKFLOWS[job]
        said = self._ask(
            "POST",
            f"/actions/workflows/{file}/dispatches",
            f"{file} could not be started",
            body={
                "ref": self.branch,
                "inputs": {name: value for name, value in inputs.items() if value},
                "return_run_details": True,
            },
        )
        return int(said.get("workflow_run_id") or 0) if isinstance(said, dict) else 0

    def verdict(self, run: int) -> ForgeRun | None:
        """Return the job of a run that works, a train's test; None when there is no such run."""
        what = f"what became of run {run} could not be read"
        query = {"per_page": PER_PAGE, "filter": "latest"}
        try:
            said = self._ask("GET", f"/actions/runs/{run}/jobs", what, query=query)
        except ForgeRefused as e:
            if e.status == 404:
                return None
            raise
        # A job of a called workflow has the caller's name before its own.
        jobs = [j for j in said["jobs"] if str(j["name"]).rpartition("/")[2].strip() in WORK]
        if not jobs:
            return ForgeRun(run, url=self.url(run))  # it has not come to that yet
        job = jobs[-1]
        is_over = job["status"] == "completed"
        steps = (one for one in job.get("steps") or () if one["conclusion"] == "success")
        return ForgeRun(
            run,
            "",
            is_over,
            job["conclusion"] or "",
            job["html_url"] or self.url(run),
            frozenset(str(one["name"]) for one in steps),
        )

    def run(self, number: int) -> ForgeRun | None:
        """Return a run as it is now; None when there is no such run."""
        what = f"what became of run {number} could not be read"
        try:
            return _run(self._ask("GET", f"/actions/runs/{number}", what))
        except ForgeRefused as e:
            if e.status == 404:
                return None
            raise

    def decisions(self, run: int) -> tuple[Decision, ...]:
        """Return what reviewers of environments said to a run."""
        what = f"who let run {run} in could not be read"
        try:
            said = self._ask("GET", f"/actions/runs/{run}/approvals", what)
        except ForgeRefused as e:
            if e.status == 404:
                return ()
            raise
        return tuple(
            Decision(
                login=str(one["user"]["login"]),
                id=int(one["user"]["id"]),
                environment=str(environment["name"]),
                is_yes=one["state"] == "approved",
                text=str(one["comment"] or ""),
            )
            for one in said
            if one["state"] in ("approved", "rejected")
            for environment in one["environments"]
        )

    def cancel(self, run: int, *, force: bool = False) -> bool:
        """Cancel a run, and say whether GitHub took it: not of one that is over or gone."""
        path = f"/actions/runs/{run}/{'force-cancel' if force else 'cancel'}"
        try:
            self._ask("POST", path, f"run {run} could not be cancelled")
        except ForgeRefused as e:
            if e.status not in (404, 409):
                raise
            return False
        return True

    def runs(self, job: Job, since: float) -> tuple[ForgeRun, ...]:
        """Return the runs of a workflow since a time, the newest first."""
        file, found = WORKFLOWS[job], []
        at = datetime.fromtimestamp(since - 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for page in range(1, MOST_PAGES + 1):
            query = {"per_page": PER_PAGE, "page": page, "created": f">={at}"}
            what = f"the runs of {file} could not be read"
            said = self._ask("GET", f"/actions/workflows/{file}/runs", what, query=query)
            found += [_run(each) for each in said["workflow_runs"]]
            if len(said["workflow_runs"]) < PER_PAGE:
                break
        return tuple(found)

    # --- what people see --------------------------------------------------------------------------

    def find(self, head: str, base: str) -> Home | None:
        """Return the open pull request of a branch, if there is one."""
        what = f"the pull request of {head} could not be looked for"
        owner = self.repository.partition("/")[0]
        query = {"head": f"{owner}:{head}", "base": base, "state": "open", "per_page": 10}
        found = self._ask("GET", "/pulls", what, query=query)
        own = (
            pull
            for pull in found
            if (pull["head"]["repo"] or {}).get("full_name") == self.repository
        )
        return next(map(_home, own), None)

    def open(
        self, head: str, base: str, title: str, body: str, *, only_draft: bool = False
    ) -> Home:
        """Open the pull request of a branch as a draft; whoever asks has looked for one before."""
        what = f"no pull request of {head} could be opened"
        about = {"head": head, "base": base, "title": title, "body": body}
        try:
            made = self._ask("POST", "/pulls", what, body={**about, "draft": True})
        except ForgeRefused as e:
            # Some plans of GitHub's have no drafts in private repositories.
            if only_draft or e.status != 422 or "draft" not in e.message.lower():
                raise
            made = self._ask("POST", "/pulls", what, body=about)
        return _home(made)

    # --- people -----------------------------------------------------------------------------------

    def reviews(self, pull: int) -> tuple[Review, ...]:
        """Return the last verdict of each person who gave one and did not lose it."""
        what = f"the reviews of pull request {pull} could not be read"
        last: dict[int, Mapping[str, Any]] = {}
        for page in range(1, MOST_PAGES + 1):
            query = {"per_page": PER_PAGE, "page": page}
            said = self._ask("GET", f"/pulls/{pull}/reviews", what, query=query)
            for one in said:
                # What somebody only remarked takes nothing back.
                if (one["user"] or {}).get("type") == "User" and one["state"] in _VERDICTS:
                    last[int(one["user"]["id"])] = one
            if len(said) < PER_PAGE:
                break
        return tuple(
            Review(
                login=str(one["user"]["login"]),
                id=number,
                is_yes=one["state"] == "APPROVED",
                sha=str(one["commit_id"] or ""),
                at=datetime.fromisoformat(one["submitted_at"]).timestamp(),
                actor=self._actor(one["user"]),
            )
            for number, one in last.items()
            if one["state"] != "DISMISSED"
        )

    def level(self, login: str, id: int) -> str:
        """Return what somebody may do here; an own role counts as what it is made of."""
        what = f"what {login} may do here could not be read"
        path = f"/collaborators/{quote(login, safe='')}/permission"
        said = self._found(f"/repos/{self.repository}{path}", what)
        if not said or not said["user"] or said["user"]["id"] != (id or said["user"]["id"]):
            return ""  # nobody that this repository knows, or a name that passed to another
        roles = (said.get("role_name"), said["permission"])
        return next((str(one) for one in roles if one in LEVELS), "")

    def is_in_team(self, team: str, login: str) -> bool:
        """Say whether somebody is a member of a team; who was only invited is not."""
        what = f"whether {login} is in {team} could not be read"
        owner, _, name = team.partition("/")
        path = f"/orgs/{quote(owner, safe='')}/teams/{quote(name, safe='')}/memberships/"
        said = self._found(path + quote(login, safe=""), what)
        return bool(said) and said["state"] == "active"

    def authors(self, sha: str, since: str = "") -> tuple[str, ...]:
        """Return whose accounts a commit, or all since another one, belongs to."""
        what = f"who wrote {sha[:12]} could not be read"
        if not since:
            commits = [self._ask("GET", f"/commits/{sha}", what)]
        else:
            commits = []
            for page in range(1, MOST_PAGES + 1):
                query = {"per_page": PER_PAGE, "page": page}
                said = self._ask("GET", f"/compare/{since}...{sha}", what, query=query)
                commits += said["commits"]
                if len(said["commits"]) < PER_PAGE:
                    break
        people = (one[part] for one in commits for part in ("author", "committer"))
        # GitHub writes `{}` for somebody whom it does not know.
        return tuple(dict.fromkeys(self._actor(one) for one in people if one and "id" in one))

    def _actor(self, user: Mapping[str, Any]) -> str:
        """Return an account as git writes people, at its address for no mail."""
        return f"{user['login']} <{user['id']}+{user['login']}@users.noreply.{self.host}>"

    def _found(self, path: str, what: str) -> Any:
        """Return what GitHub answers, or None where it knows nothing of that name."""
        try:
            return self.ask("GET", path, what)
        except ForgeRefused as e:
            if e.status == 404:
                return None
            raise

    # --- where a plan is told of ------------------------------------------------------------------

    def report(self, marker: str, title: str, body: str) -> Home:
        """Return the open issue of ours that begins with `marker`; opened where there is none."""
        what = "the plan's issue could not be looked for"
        query = {"state": "open", "per_page": PER_PAGE}
        found = self._ask("GET", "/issues", what, query=query)
        own = self.ours((one for one in found if "pull_request" not in one), marker)
        issue = own[0] if own else None
        if issue is None:
            about, what = {"title": title, "body": body}, "no issue could be opened"
            issue = self._ask("POST", "/issues", what, body=about, by=self._careful)
        repository = self._ask("GET", "", "the repository could not be read")
        return Home(issue=int(issue["number"]), repository=str(repository["node_id"]))

    def tell(self, home: Home, page: Page) -> Home:
        """Bring the comment and the check of a plan up to date: by one request where that is known.

        What GraphQL refuses, as of a comment that somebody has deleted, is done one by one.
        """
        is_all = False
        if home.node and home.repository and (home.check or home.unchecked):
            home, is_all = self._tell_at_once(home, page)
        if not is_all:
            home = self._comment(home, page)
        if home.unchecked:  # whoever acts may be another by now, who may do it
            is_all = home.unchecked_at == page.check.sha
        return home if is_all else self._check(home, page.check)

    def _tell_at_once(self, home: Home, page: Page) -> tuple[Home, bool]:
        """Return what is known after one request for everything, and whether all of it was done."""
        what = f"what {home.number} tells could not be brought up to date"
        asked: dict[str, Any] = {"comment": {"id": home.node, "body": page.text}}
        now, where = home.check, {"repositoryId": home.repository}
        if now is not None:
            about = {**where, **_checked(page.check, is_graph=True)}
            if now.sha == page.check.sha:
                asked["kept"] = {**about, "checkRunId": now.node}
            else:
                asked["made"] = {**about, "name": CHECK, "headSha": page.check.sha}
                if not now.is_over:
                    over = _checked(_left(now), is_graph=True)
                    asked["left"] = {**where, **over, "checkRunId": now.node}
        is_all = True
        try:
            said = self._change(_document(asked), asked, what)
        except ForgeRefused as e:
            is_all, said = False, _partly(e)
        if made := (said.get("made") or {}).get("checkRun"):
            now = Checked(id=int(made["databaseId"]), node=made["id"], sha=page.check.sha)
        if now is not None and is_all:
            now = now.model_copy(update={"is_over": bool(page.check.conclusion)})
        return home.model_copy(update={"check": now}), is_all

    def say(self, number: int, text: str) -> int:
        """Add a comment to a pull request or an issue, and return its id."""
        return int(self._add(number, text, f"no comment could be added to {number}")["id"])

    def rewrite(self, comment: int, text: str) -> None:
        """Let a comment of ours say something else; one that is gone stays gone."""
        what = f"comment {comment} could not be changed"
        try:
            self._ask("PATCH", f"/issues/comments/{comment}", what, body={"body": text})
        except ForgeRefused as e:
            if e.status != 404:
                raise

    def reactions(self, comment: int) -> tuple[Reacted, ...]:
        """Return what people put under a comment, of the first hundred signs, the oldest first."""
        what = f"the signs under comment {comment} could not be read"
        query = {"per_page": PER_PAGE}
        try:
            said = self._ask("GET", f"/issues/comments/{comment}/reactions", what, query=query)
        except ForgeRefused as e:
            if e.status == 404:
                return ()
            raise
        return tuple(
            Reacted(
                login=str(one["user"]["login"]),
                author=int(one["user"]["id"]),
                sign=str(one["content"]),
                at=datetime.fromisoformat(one["created_at"]).timestamp(),
                is_bot=one["user"].get("type") != "User",
            )
            for one in sorted(said, key=lambda one: int(one["id"]))
            if one["user"]
        )

    def comments(self, number: int, since: float) -> tuple[Comment, ...]:
        """Return what was written on a pull request or an issue since a time, the oldest first.

        Which of them were edited GraphQL alone says: signs under a comment may count for REST.
        """
        what = f"the comments of {number} could not be read"
        at = datetime.fromtimestamp(max(0.0, since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found: list[Mapping[str, Any]] = []
        for page in range(1, MOST_PAGES + 1):
            query = {"since": at, "per_page": PER_PAGE, "page": page}
            said = self._ask("GET", f"/issues/{number}/comments", what, query=query)
            found += said
            if len(said) < PER_PAGE:
                break
        own = {id(one) for one in self.ours(found, OWN)}
        changed = [one for one in found if one["updated_at"] != one["created_at"]]
        edited = self._edited([one["node_id"] for one in changed if id(one) not in own], what)
        return tuple(
            Comment(
                id=int(one["id"]),
                number=number,
                text=one["body"] or "",
                login=str((one["user"] or {}).get("login") or ""),
                author=int((one["user"] or {}).get("id") or 0),
                at=datetime.fromisoformat(one["created_at"]).timestamp(),
                is_bot=(one["user"] or {}).get("type") != "User",
                is_own=id(one) in own,
                is_edited=one["node_id"] in edited,
            )
            for one in sorted(found, key=lambda one: int(one["id"]))
        )

    def _edited(self, nodes: Sequence[str], what: str) -> frozenset[str]:
        """Return which comments were edited."""
        found: set[str] = set()
        for start in range(0, len(nodes), PER_PAGE):
            said = self._change(_EDITED, {"ids": [*nodes[start : start + PER_PAGE]]}, what)
            found |= {one["id"] for one in said["nodes"] if one and one.get("lastEditedAt")}
        return frozenset(found)

    def react(self, comment: int, sign: Reaction, instead: int = 0) -> int:
        """Put a sign under a comment, in the place of one of ours, and return its id.

        Where the comment is gone it is 0.
        """
        what, path = f"comment {comment} got no sign", f"/issues/comments/{comment}/reactions"
        try:
            made = self._ask("POST", path, what, body={"content": sign})
            if instead and instead != int(made["id"]):
                self._ask("DELETE", f"{path}/{instead}", what)
        except ForgeRefused as e:
            if e.status == 404:
                return 0
            raise
        return int(made["id"])

    def head(self, number: int) -> str:
        """Return the repository that a pull request comes from, empty for an issue."""
        try:
            said = self._ask("GET", f"/pulls/{number}", f"pull request {number} could not be read")
        except ForgeRefused as e:
            if e.status == 404:
                return ""
            raise
        return str((said["head"]["repo"] or {}).get("full_name") or "nobody's any more")

    def close(self, issue: int) -> None:
        """Close an issue; what it was for is told elsewhere."""
        about = {"state": "closed", "state_reason": "not_planned"}
        self._ask("PATCH", f"/issues/{issue}", f"issue {issue} could not be closed", body=about)

    def _comment(self, home: Home, page: Page) -> Home:
        number, comment = home.number, home.comment
        what = f"the comment on {number} could not be written"
        if not comment:
            comment = self._own_comment(number, page.marker)
        said = None
        if comment:
            try:
                body = {"body": page.text}
                said = self._ask("PATCH", f"/issues/comments/{comment}", what, body=body)
            except ForgeRefused as e:
                if e.status != 404:
                    raise
        if said is None:
            said = self._add(number, page.text, what)
        return home.model_copy(update={"comment": int(said["id"]), "node": str(said["node_id"])})

    def _add(self, number: int, text: str, what: str) -> Mapping[str, Any]:
        """Add a comment, at most one, and return it."""
        path, body = f"/issues/{number}/comments", {"body": text}
        added: Mapping[str, Any] = self._ask("POST", path, what, body=body, by=self._careful)
        return added

    def _own_comment(self, number: int, marker: str) -> int:
        """Return the comment of ours that a pass has written which could not say so, or 0."""
        what = f"the comments of {number} could not be read"
        query = {"per_page": PER_PAGE}
        said = self._ask("GET", f"/issues/{number}/comments", what, query=query)
        return next((int(each["id"]) for each in self.ours(said, marker)), 0)

    def ours(self, said: Iterable[Mapping[str, Any]], marker: str) -> list[Mapping[str, Any]]:
        """Return those of some comments or issues that we have written for what a marker names."""
        marked = [one for one in said if (one["body"] or "").startswith(marker)]
        # Who has no account any more is nobody.
        bots = [one for one in marked if (one["user"] or {}).get("type") == "Bot"]
        if marked and not bots:  # with the token of a person it is theirs
            me = self._login()
            bots = [one for one in marked if (one["user"] or {}).get("login") == me]
        return bots

    def _login(self) -> str:
        """Return whose token it is, or nothing where it is nobody's."""
        try:
            return str(self.ask("GET", "/user", "whose token it is could not be read")["login"])
        except ForgeRefused:
            return ""

    def _check(self, home: Home, check: Check) -> Home:
        """Make the check of a commit, or change it; a refusal is noted for that commit.

        Only the App that made one may change it, so one that may not be changed is made anew.
        """
        what, now = "the check could not be written", home.check
        about, said = _checked(check), None
        is_kept = now is not None and now.sha == check.sha
        if now is not None and (is_kept or not now.is_over):
            body = about if is_kept else _checked(_left(now))
            with suppress(ForgeRefused):
                said = self._ask("PATCH", f"/check-runs/{now.id}", what, body=body)
        try:
            if said is None or not is_kept:
                made = {"name": CHECK, "head_sha": check.sha, **about}
                said = self._ask("POST", "/check-runs", what, body=made)
        except ForgeRefused as e:
            refused = {"unchecked": e.message, "unchecked_at": check.sha, "check": None}
            return home.model_copy(update=refused)
        found = Checked(
            id=int(said["id"]),
            node=str(said["node_id"]),
            sha=check.sha,
            is_over=bool(check.conclusion),
        )
        return home.model_copy(update={"check": found, "unchecked": "", "unchecked_at": ""})

    def offer(self, pull: int) -> bool:
        """Let a draft be ready for review; the REST API has no way to."""
        what = f"pull request {pull} could not be made ready for review"
        said = self._ask("GET", f"/pulls/{pull}", what)
        if said["draft"]:
            self._change(_READY, {"pull": said["node_id"]}, what)
        return True

    def _change(self, document: str, variables: Mapping[str, Any], what: str) -> Any:
        """Do a mutation of GraphQL and return its data."""
        try:
            _, said = self._github.requester.graphql_query(document, dict(variables))
        except GithubException as e:
            raise _failed(what, e) from e
        except RequestException as e:
            raise ForgeDown(f"{what}: GitHub cannot be reached: {type(e).__name__}") from e
        return said["data"]

    def graph(
        self, document: str, variables: Mapping[str, Any], what: str, *, once: bool = False
    ) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
        """Return what GraphQL answers, and what it says against parts of the document.

        With `once` nothing is repeated that may be done already.  Raises ForgeDown where no answer
        came or patience is asked for, ForgeRefused where the document as a whole was refused.
        """
        by = self._careful if once else self._github
        try:
            _, said = by.requester.graphql_query(document, dict(variables))
        except GithubException as e:
            wrong = e.data.get("errors") if isinstance(e.data, dict) else None
            if not isinstance(wrong, list) or _is_limited(e):
                raise _failed(what, e) from e
            return e.data.get("data") or {}, tuple(wrong)
        except RequestException as e:
            raise ForgeDown(
                f"{what}: GitHub cannot be reached: {type(e).__name__}",
                hint="nothing is lost; run it again when the line is back",
            ) from e
        return said["data"], ()

    def url(self, run: int) -> str:
        """Return where people see a run."""
        return f"{self._server}/{self.repository}/actions/runs/{run}"

    def address(self, home: Home) -> str:
        """Return where people read what is told of a plan."""
        kind = "pull" if home.pull else "issues"
        return f"{self._server}/{self.repository}/{kind}/{home.number}"

    def compare(self, head: str, base: str) -> str:
        """Return where people open a pull request of a branch by hand."""
        return f"{self._server}/{self.repository}/compare/{quote(base)}...{quote(head)}?expand=1"

    # --- asking -----------------------------------------------------------------------------------

    @property
    def scopes(self) -> list[str] | None:
        """Return the scopes of the token, as the last answer told; None where it has no such."""
        return self._github.oauth_scopes

    def _ask(
        self,
        verb: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        by: Github | None = None,
    ) -> Any:
        path = f"/repos/{self.repository}{path}"
        return self.ask(verb, path, what, query=query, body=body, by=by)

    def ask(
        self,
        verb: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        by: Github | None = None,
    ) -> Any:
        """Return what GitHub answers; `what` says in a sentence what did not work when it fails."""
        try:
            _, data = (by or self._github).requester.requestJsonAndCheck(
                verb,
                path,
                parameters=dict(query) if query else None,
                headers={"X-GitHub-Api-Version": VERSION},
                input=dict(body) if body is not None else None,
            )
        except GithubException as e:
            raise _failed(what, e) from e
        except RequestException as e:
            raise ForgeDown(
                f"{what}: GitHub cannot be reached: {type(e).__name__}",
                hint="nothing is lost; run it again when the line is back",
            ) from e
        return data


def _home(pull: Mapping[str, Any]) -> Home:
    return Home(pull=int(pull["number"]), repository=str(pull["base"]["repo"]["node_id"]))


def _left(check: Checked) -> Check:
    """Return what is shown at a commit that flow has left behind."""
    return Check(check.sha, LEFT, LEFT, conclusion="neutral")


def _checked(check: Check, *, is_graph: bool = False) -> dict[str, Any]:
    """Return a check as REST wants it, or as GraphQL does."""
    said = {"status": "completed" if check.conclusion else "in_progress"}
    said |= {"conclusion": check.conclusion} if check.conclusion else {}
    output = {"title": check.title, "summary": check.summary}
    output |= {"text": check.text} if check.text else {}
    return {
        **{key: one.upper() if is_graph else one for key, one in said.items()},
        "output": output,
    }


def _partly(error: ForgeRefused) -> Mapping[str, Any]:
    """Return what GraphQL has done of a mutation that it has refused in part."""
    said = getattr(error.__cause__, "data", None)
    done = said.get("data") if isinstance(said, dict) else None
    return done if isinstance(done, dict) else {}


def _document(parts: Iterable[str]) -> str:
    """Return one mutation that does some of _PARTS, each with the variable of its name."""
    wanted = [(name, *_PARTS[name]) for name in parts]
    given = ", ".join(f"${name}: {kind}!" for name, kind, _, _ in wanted)
    asked = "\n".join(
        f"  {name}: {field}(input: ${name}) {back}" for name, _, field, back in wanted
    )
    return f"mutation Tell({given}) {{\n{asked}\n}}"


_PARTS: Mapping[str, tuple[str, str, str]] = {
    "comment": ("UpdateIssueCommentInput", "updateIssueComment", "{ issueComment { id } }"),
    "kept": ("UpdateCheckRunInput", "updateCheckRun", "{ checkRun { id } }"),
    "made": ("CreateCheckRunInput", "createCheckRun", "{ checkRun { id databaseId } }"),
    "left": ("UpdateCheckRunInput", "updateCheckRun", "{ checkRun { id } }"),
}


def _run(said: Mapping[str, Any]) -> ForgeRun:
    return ForgeRun(
        id=int(said["id"]),
        title=str(said.get("display_title") or said.get("name") or ""),
        is_over=said["status"] == "completed",
        conclusion=said["conclusion"] or "",
        url=said["html_url"],
    )


def _failed(what: str, error: GithubException) -> ForgeRefused | ForgeDown:
    said = error.data.get("message") if isinstance(error.data, dict) else None
    if isinstance(error, github.RateLimitExceededException) or _is_limited(error):
        return ForgeDown(
            f"{what}: GitHub's limit of requests is used up",
            hint="nothing is lost; run it again in an hour",
        )
    words = f"{what}: GitHub answered {error.status}: {said or error.message or 'no words'}"
    if error.status >= 500 or error.status in (408, 429):
        return ForgeDown(words, hint="nothing is lost; run it again")
    hint = _HINTS.get(error.status, "gitflow-agents doctor looks for why")
    if error.status == 403 and str(said).startswith("Event "):
        hint = "an Actions policy forbids it: Settings, Actions, Policies"
    return ForgeRefused(words, hint=hint, status=error.status)


def found_nodes(
    nodes: Sequence[Mapping[str, Any] | None] | None,
    wrong: Iterable[Mapping[str, Any]],
    what: str,
) -> list[Mapping[str, Any]]:
    """Return those of the nodes of an answer of GraphQL that are there.

    ForgeDown where GitHub does not say that the others are gone: what takes it too long is left
    out, too.
    """
    doubt = [one for one in wrong if one.get("type") != "NOT_FOUND"]
    if nodes is None or (doubt and not all(nodes)):
        words = next((str(one["message"]) for one in doubt if one.get("message")), "no answer")
        raise ForgeDown(f"{what}: {words}", hint="nothing is lost; run it again")
    return [one for one in nodes if one]


def _is_limited(error: GithubException) -> bool:
    """Say whether GraphQL does not answer for the limit of its points; its status is 200 then."""
    wrong = error.data.get("errors") if isinstance(error.data, dict) else None
    return isinstance(wrong, list) and any(one.get("type") == _LIMITED for one in wrong)


_LIMITED = "RATE_LIMITED"
_HINTS = {
    401: "the token is no good, or too old",
    403: "the job's `permissions` do not allow it: compare them with those that init writes",
    404: "is the file on the default branch, and may the token see the repository?",
    422: "compare the workflow on the default branch with the one that init writes",
}

__all__ = ["WORK", "WORKFLOWS", "GitHub", "found_nodes"]
