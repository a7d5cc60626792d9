"""The requests that are made of GitHub: few, each named after what it is for.

PyGithub does them, waits where GitHub asks for patience, and repeats what failed on the way.  So a
dispatch may be done twice; whoever asks for one has to be content with that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import github
from github import Auth, Github, GithubException, GithubRetry
from requests.exceptions import RequestException

from gitflow_agents.forge import ForgeDown, ForgeRefused, ForgeRun, Job

WORKFLOWS: Mapping[Job, str] = {
    "task": "gitflow-task.yml",
    "train": "gitflow-train.yml",
    "reconcile": "gitflow.yml",
}
"""The files on the default branch that a dispatch starts."""
VERDICT = "test"
"""The job whose conclusion is a train's verdict."""
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
        self._branch, self._is_hurried = branch, is_hurried

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
                "ref": self._branch,
                "inputs": {name: value for name, value in inputs.items() if value},
                "return_run_details": True,
            },
        )
        return int(said.get("workflow_run_id") or 0) if isinstance(said, dict) else 0

    def verdict(self, run: int) -> ForgeRun | None:
        """Return the job of a train's run that tested it; None when there is no such run."""
        what = f"what became of run {run} could not be read"
        query = {"per_page": PER_PAGE, "filter": "latest"}
        try:
            said = self._ask("GET", f"/actions/runs/{run}/jobs", what, query=query)
        except ForgeRefused as e:
            if e.status == 404:
                return None
            raise
        # A job of a called workflow has the caller's name before its own.
        jobs = [j for j in said["jobs"] if str(j["name"]).rpartition("/")[2].strip() == VERDICT]
        if not jobs:
            return ForgeRun(run, url=self.url(run))  # it has not come to that yet
        job = jobs[-1]
        is_over = job["status"] == "completed"
        return ForgeRun(run, "", is_over, job["conclusion"] or "", job["html_url"] or self.url(run))

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

    def open(self, head: str, base: str, title: str, body: str) -> int:
        """Return the pull request of a branch; where there is none, it is opened as a draft."""
        what = f"the pull request of {head} could not be looked for"
        owner = self.repository.partition("/")[0]
        query = {"head": f"{owner}:{head}", "base": base, "state": "all", "per_page": 10}
        found = self._ask("GET", "/pulls", what, query=query)
        own = [
            pull
            for pull in found
            if (pull["head"]["repo"] or {}).get("full_name") == self.repository
        ]
        still = [pull for pull in own if pull["state"] == "open"] or own
        if still:
            return int(still[0]["number"])
        what = f"no pull request of {head} could be opened"
        about = {"head": head, "base": base, "title": title, "body": body}
        try:
            made = self._ask("POST", "/pulls", what, body={**about, "draft": True})
        except ForgeRefused as e:
            # Some plans of GitHub's have no drafts in private repositories.
            if e.status != 422 or "draft" not in e.message.lower():
                raise
            made = self._ask("POST", "/pulls", what, body=about)
        return int(made["number"])

    def tell(self, pull: int, comment: int, marker: str, text: str) -> int:
        """Write the one comment of a pull request and return its id."""
        what = f"the comment on pull request {pull} could not be written"
        if not comment:
            comment = self._comment(pull, marker)
        if comment:
            try:
                self._ask("PATCH", f"/issues/comments/{comment}", what, body={"body": text})
            except ForgeRefused as e:
                if e.status != 404:
                    raise
            else:
                return comment
        return self._add(pull, text, what)

    def say(self, pull: int, text: str) -> None:
        """Add a comment to a pull request."""
        self._add(pull, text, f"no comment could be added to pull request {pull}")

    def _add(self, pull: int, text: str, what: str) -> int:
        """Add a comment, at most one, and return its id."""
        path = f"/issues/{pull}/comments"
        return int(self._ask("POST", path, what, body={"body": text}, by=self._careful)["id"])

    def _comment(self, pull: int, marker: str) -> int:
        """Return the comment of ours that a pass has written which could not say so, or 0."""
        what = f"the comments of pull request {pull} could not be read"
        query = {"per_page": PER_PAGE}
        said = self._ask("GET", f"/issues/{pull}/comments", what, query=query)
        marked = [comment for comment in said if comment["body"].startswith(marker)]
        bots = [comment for comment in marked if comment["user"]["type"] == "Bot"]
        if marked and not bots:  # with the token of a person it is theirs
            me = self._login()
            bots = [comment for comment in marked if comment["user"]["login"] == me]
        return next((int(each["id"]) for each in bots), 0)

    def _login(self) -> str:
        """Return whose token it is, or nothing where it is nobody's."""
        try:
            return str(self.ask("GET", "/user", "whose token it is could not be read")["login"])
        except ForgeRefused:
            return ""

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

    def url(self, run: int) -> str:
        """Return where people see a run."""
        return f"{self._server}/{self.repository}/actions/runs/{run}"

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
        except github.RateLimitExceededException as e:
            raise ForgeDown(
                f"{what}: GitHub's limit of requests is used up",
                hint="nothing is lost; run it again in an hour",
            ) from e
        except GithubException as e:
            raise _failed(what, e) from e
        except RequestException as e:
            raise ForgeDown(
                f"{what}: GitHub cannot be reached: {type(e).__name__}",
                hint="nothing is lost; run it again when the line is back",
            ) from e
        return data


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
    words = f"{what}: GitHub answered {error.status}: {said or error.message or 'no words'}"
    if error.status >= 500 or error.status in (408, 429):
        return ForgeDown(words, hint="nothing is lost; run it again")
    hint = _HINTS.get(error.status, "gitflow-agents doctor looks for why")
    if error.status == 403 and str(said).startswith("Event "):
        hint = "an Actions policy forbids it: Settings, Actions, Policies"
    return ForgeRefused(words, hint=hint, status=error.status)


_HINTS = {
    401: "the token is no good, or too old",
    403: "the job's `permissions` do not allow it: compare them with those that init writes",
    404: "is the file on the default branch, and may the token see the repository?",
    422: "compare the workflow on the default branch with the one that init writes",
}

__all__ = ["VERDICT", "WORKFLOWS", "GitHub"]
