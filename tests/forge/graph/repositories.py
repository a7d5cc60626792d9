"""Repositories, pull requests, comments and checks, as GraphQL shows and changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.forge import wire
from tests.forge.graph.shapes import INTEGRATION, JSON, Asker, connection, missing
from tests.forge.state import Issue, No, Repository


class Repositories:
    """What can be asked of repositories."""

    def __init__(self, asker: Asker) -> None:
        """Answer one who asks."""
        self._asker, self._hub = asker, asker.hub
        self.fields: dict[str, Callable[..., Any]] = {
            "repository": self._repository,
            "markPullRequestReadyForReview": lambda input: self._draft(input, False),
            "convertPullRequestToDraft": lambda input: self._draft(input, True),
            "updateIssueComment": self._update_comment,
            "createCheckRun": self._create_check,
            "updateCheckRun": self._update_check,
        }
        asker.kinds |= {
            "Repository": lambda id: shown(asker, asker.repository(id)),
            "PullRequest": lambda id: _pull(asker, *self._find(id)),
            "IssueComment": self._comment,
        }

    def _repository(self, owner: str, name: str, **_: Any) -> JSON:
        repository = self._hub.repositories.get(f"{owner}/{name}")
        if repository is None or not self._asker.may(repository, "metadata", "read"):
            words = f"Could not resolve to a Repository with the name '{owner}/{name}'."
            raise No("NOT_FOUND", words)
        return shown(self._asker, repository)

    def _find(self, id: str) -> tuple[Repository, Issue]:
        for repository in self._hub.repositories.values():
            for issue in repository.issues.values():
                if issue.pull and wire.node_id("PullRequest", issue.pull.id) == id:
                    return repository, issue
        raise missing(id)

    def _comment(self, id: str) -> JSON:
        for repository in self._hub.repositories.values():
            for comment in repository.comments.values():
                if wire.node_id("IssueComment", comment.id) == id:
                    about = {
                        "id": id,
                        "lastEditedAt": wire.at(comment.edited),
                        "body": comment.body,
                    }
                    return {"__typename": "IssueComment", **about}
        raise missing(id)

    def _draft(self, input: Mapping[str, Any], draft: bool) -> JSON:
        repository, issue = self._find(str(input["pullRequestId"]))
        assert issue.pull is not None
        if not self._asker.may(repository, "pull-requests", "write"):
            raise No("FORBIDDEN", INTEGRATION)
        if draft and not repository.allow_drafts:
            raise No("UNPROCESSABLE", "Draft pull requests are not supported in this repository.")
        if issue.state != "open":
            raise No("UNPROCESSABLE", "Pull request is closed")
        if issue.pull.draft != draft:
            issue.pull.draft, issue.updated = draft, self._hub.now()
            action = "converted_to_draft" if draft else "ready_for_review"
            self._hub.pull_event(repository, issue, action, self._asker.by)
        return {
            "clientMutationId": input.get("clientMutationId"),
            "pullRequest": _pull(self._asker, repository, issue),
        }

    # What these change is what REST changes, and by its rules.

    def _update_comment(self, input: Mapping[str, Any]) -> JSON:
        id = str(input["id"])
        for repository in self._hub.repositories.values():
            for comment in repository.comments.values():
                if wire.node_id("IssueComment", comment.id) == id:
                    path = f"/issues/comments/{comment.id}"
                    said = self._asker.rest("PATCH", repository, path, {"body": input["body"]})
                    return {"issueComment": {"__typename": "IssueComment", "id": said["node_id"]}}
        raise missing(id)

    def _create_check(self, input: Mapping[str, Any]) -> JSON:
        repository = self._asker.repository(str(input["repositoryId"]))
        body = _as_rest(input) | {"name": input["name"], "head_sha": input["headSha"]}
        return _check_shown(self._asker.rest("POST", repository, "/check-runs", body))

    def _update_check(self, input: Mapping[str, Any]) -> JSON:
        repository = self._asker.repository(str(input["repositoryId"]))
        id = str(input["checkRunId"])
        for check in repository.checks.values():
            if wire.node_id("CheckRun", check.id) == id:
                path = f"/check-runs/{check.id}"
                return _check_shown(self._asker.rest("PATCH", repository, path, _as_rest(input)))
        raise missing(id)


def shown(asker: Asker, repository: Repository) -> JSON:
    """Return a repository."""
    from tests.forge.graph import issues, projects

    about = wire.repository(asker.hub, repository)

    def numbered(kind: str, number: int) -> JSON:
        found = repository.issues.get(number)
        is_there = found is not None and (kind == "Issue") == (found.pull is None)
        if found is None or not (is_there or kind == "issue or pull request"):
            words = f"Could not resolve to {'an' if kind[0] in 'iI' else 'a'} {kind}"
            raise No("NOT_FOUND", f"{words} with the number of {number}.")
        if found.pull is None:
            return issues.shown(asker, repository, found)
        return _pull(asker, repository, found)

    def labels(query: str | None = None, **page: Any) -> JSON:
        names = [one for one in repository.labels if (query or "").lower() in one.lower()]
        return connection(names, lambda one: issues.label(asker, repository, one), **page)

    def label(name: str) -> JSON | None:
        known = {one.lower(): one for one in repository.labels}
        found = known.get(name.lower())
        return None if found is None else issues.label(asker, repository, found)

    def assignable(query: str | None = None, **page: Any) -> JSON:
        people = [one for one in repository.people if (query or "").lower() in one.lower()]
        return connection(people, asker.person, **page)

    return {
        "__typename": "Repository",
        "id": about["node_id"],
        "databaseId": repository.id,
        "name": about["name"],
        "nameWithOwner": repository.name,
        "owner": lambda: projects.account(asker, repository.owner),
        "isPrivate": repository.private,
        "isArchived": repository.archived,
        "hasIssuesEnabled": repository.issues_enabled,
        "url": about["html_url"],
        "defaultBranchRef": {"name": repository.default_branch},
        "pullRequest": lambda number: numbered("PullRequest", number),
        "issue": lambda number: numbered("Issue", number),
        "issueOrPullRequest": lambda number: numbered("issue or pull request", number),
        "issues": lambda **page: issues.listed(asker, repository, **page),
        "assignableUsers": assignable,
        "milestone": lambda number: issues.milestone(repository, number),
        "labels": labels,
        "label": label,
    }


def _pull(asker: Asker, repository: Repository, issue: Issue) -> JSON:
    assert issue.pull is not None
    about = wire.pull(asker.hub, repository, issue)
    state = "MERGED" if about["merged"] else issue.state.upper()
    return {
        "__typename": "PullRequest",
        "id": about["node_id"],
        "fullDatabaseId": str(issue.pull.id),
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "state": state,
        "isDraft": issue.pull.draft,
        "url": about["html_url"],
        "headRefName": issue.pull.head,
        "headRefOid": issue.pull.head_sha,
        "baseRefName": issue.pull.base,
        "baseRefOid": issue.pull.base_sha,
        "merged": about["merged"],
        "closed": issue.state == "closed",
        "author": asker.person(issue.author),
    }


def _as_rest(input: Mapping[str, Any]) -> JSON:
    """Return what is said of a check as REST says it."""
    body = {key: str(input[key]).lower() for key in ("status", "conclusion") if key in input}
    return body | ({"output": dict(input["output"])} if "output" in input else {})


def _check_shown(said: Mapping[str, Any]) -> JSON:
    return {"checkRun": {"__typename": "CheckRun", "id": said["node_id"], "databaseId": said["id"]}}
