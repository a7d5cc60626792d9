"""Issues, as GraphQL shows and changes them.

What is changed is what REST changes, and by its rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.forge import wire
from tests.forge.graph.shapes import JSON, Asker, connection, missing
from tests.forge.state import Issue, Repository


class Issues:
    """What can be asked of issues."""

    def __init__(self, asker: Asker) -> None:
        """Answer one who asks."""
        self._asker, self._hub = asker, asker.hub
        self.fields: dict[str, Callable[..., Any]] = {
            "createIssue": self._create,
            "updateIssue": self._update,
            "closeIssue": self._close,
            "reopenIssue": self._reopen,
            "addSubIssue": self._add_part,
            "removeSubIssue": self._remove_part,
            "addLabelsToLabelable": self._add_labels,
            "addAssigneesToAssignable": self._add_assignees,
            "createLabel": self._create_label,
        }
        asker.kinds |= {
            "Issue": lambda id: shown(asker, *asker.issue(id)),
            "Label": self._label,
            "User": lambda id: asker.person(asker.account(id)),
        }

    def _create(self, input: Mapping[str, Any]) -> JSON:
        repository = self._asker.repository(str(input["repositoryId"]))
        self._asker.demand(repository, "metadata", "read")
        parent = (
            self._asker.issue(str(input["parentIssueId"])) if input.get("parentIssueId") else None
        )
        body = self._as_rest(repository, input)
        said = self._asker.rest("POST", repository, "/issues", body)
        issue = repository.issues[said["number"]]
        if parent is not None:
            path = f"/issues/{parent[1].number}/sub_issues"
            self._asker.rest("POST", parent[0], path, {"sub_issue_id": issue.id})
        return self._told(input, repository, issue)

    def _update(self, input: Mapping[str, Any]) -> JSON:
        repository, issue = self._asker.issue(str(input["id"]))
        body = self._as_rest(repository, input)
        if input.get("state"):
            body["state"] = str(input["state"]).lower()
        self._asker.rest("PATCH", repository, f"/issues/{issue.number}", body)
        return self._told(input, repository, issue)

    def _close(self, input: Mapping[str, Any]) -> JSON:
        repository, issue = self._asker.issue(str(input["issueId"]))
        reason = str(input.get("stateReason") or "COMPLETED").lower()
        body = {"state": "closed", "state_reason": reason}
        self._asker.rest("PATCH", repository, f"/issues/{issue.number}", body)
        return self._told(input, repository, issue)

    def _reopen(self, input: Mapping[str, Any]) -> JSON:
        repository, issue = self._asker.issue(str(input["issueId"]))
        body = {"state": "open", "state_reason": "reopened"}
        self._asker.rest("PATCH", repository, f"/issues/{issue.number}", body)
        return self._told(input, repository, issue)

    def _add_part(self, input: Mapping[str, Any]) -> JSON:
        repository, issue = self._asker.issue(str(input["issueId"]))
        of, part = self._asker.issue(str(input.get("subIssueId")))
        body = {"sub_issue_id": part.id, "replace_parent": bool(input.get("replaceParent"))}
        self._asker.rest("POST", repository, f"/issues/{issue.number}/sub_issues", body)
        return self._told(input, repository, issue) | {"subIssue": shown(self._asker, of, part)}

    def _remove_part(self, input: Mapping[str, Any]) -> JSON:
        repository, issue = self._asker.issue(str(input["issueId"]))
        of, part = self._asker.issue(str(input["subIssueId"]))
        body = {"sub_issue_id": part.id}
        self._asker.rest("DELETE", repository, f"/issues/{issue.number}/sub_issue", body)
        return self._told(input, repository, issue) | {"subIssue": shown(self._asker, of, part)}

    def _add_labels(self, input: Mapping[str, Any]) -> JSON:
        repository, issue = self._asker.issue(str(input["labelableId"]))
        names = self._labels(repository, input["labelIds"])
        self._asker.rest("POST", repository, f"/issues/{issue.number}/labels", {"labels": names})
        return {"labelable": shown(self._asker, repository, issue)}

    def _add_assignees(self, input: Mapping[str, Any]) -> JSON:
        repository, issue = self._asker.issue(str(input["assignableId"]))
        logins = [self._asker.account(str(id)) for id in input["assigneeIds"]]
        path = f"/issues/{issue.number}/assignees"
        self._asker.rest("POST", repository, path, {"assignees": logins})
        return {"assignable": shown(self._asker, repository, issue)}

    def _create_label(self, input: Mapping[str, Any]) -> JSON:
        repository = self._asker.repository(str(input["repositoryId"]))
        body = {"name": input["name"], "color": input["color"]}
        self._asker.rest("POST", repository, "/labels", body)
        return {"label": label(self._asker, repository, str(input["name"]))}

    def _label(self, id: str) -> JSON:
        for repository in self._hub.repositories.values():
            for name in repository.labels:
                if wire.label(self._hub, repository, name)["node_id"] == id:
                    return label(self._asker, repository, name)
        raise missing(id)

    def _labels(self, repository: Repository, ids: Iterable[Any]) -> list[str]:
        known = {
            wire.label(self._hub, repository, name)["node_id"]: name for name in repository.labels
        }
        for id in ids:
            if id not in known:
                raise missing(str(id))
        return [known[str(id)] for id in ids]

    def _as_rest(self, repository: Repository, input: Mapping[str, Any]) -> JSON:
        """Return what is said of an issue as REST says it."""
        body = {key: input[key] for key in ("title", "body") if input.get(key) is not None}
        if input.get("labelIds") is not None:
            body["labels"] = self._labels(repository, input["labelIds"])
        if input.get("assigneeIds") is not None:
            body["assignees"] = [self._asker.account(str(id)) for id in input["assigneeIds"]]
        if input.get("milestoneId") is not None:
            ids = [wire.node_id("Milestone", at) for at in range(1, len(repository.milestones) + 1)]
            if input["milestoneId"] not in ids:
                raise missing(str(input["milestoneId"]))
            body["milestone"] = ids.index(input["milestoneId"]) + 1
        return body

    def _told(self, input: Mapping[str, Any], repository: Repository, issue: Issue) -> JSON:
        return {
            "clientMutationId": input.get("clientMutationId"),
            "issue": shown(self._asker, repository, issue),
        }


def milestone(repository: Repository, number: int | None) -> JSON | None:
    """Return a milestone, or None where there is none of that number."""
    if number is None or not 0 < number <= len(repository.milestones):
        return None
    return {
        "__typename": "Milestone",
        "id": wire.node_id("Milestone", number),
        "number": number,
        "title": repository.milestones[number - 1],
    }


def shown(asker: Asker, repository: Repository, issue: Issue) -> JSON:
    """Return an issue."""
    from tests.forge.graph import projects, repositories

    about = wire.issue(asker.hub, repository, issue)
    found = {
        one.id: (of, one) for of in asker.hub.repositories.values() for one in of.issues.values()
    }
    parts = [found[id] for id in issue.parts if id in found]
    closed = sum(part.state == "closed" for _, part in parts)

    def assignees(**page: Any) -> JSON:
        return connection(issue.assignees, asker.person, **page)

    return {
        "__typename": "Issue",
        "id": about["node_id"],
        "databaseId": issue.id,
        "fullDatabaseId": str(issue.id),
        "number": issue.number,
        "title": issue.title,
        "body": issue.body,
        "state": issue.state.upper(),
        "stateReason": lambda **_: (issue.reason or "").upper() or None,
        "closed": issue.state == "closed",
        "closedAt": about["closed_at"],
        "createdAt": about["created_at"],
        "updatedAt": about["updated_at"],
        "url": about["html_url"],
        "author": lambda: asker.person(issue.author),
        "repository": lambda: repositories.shown(asker, repository),
        "labels": lambda **page: connection(
            issue.labels, lambda one: label(asker, repository, one), **page
        ),
        "assignees": assignees,
        "milestone": lambda: milestone(repository, issue.milestone),
        "parent": lambda: shown(asker, *found[issue.parent]) if issue.parent in found else None,
        "subIssues": lambda **page: connection(parts, lambda one: shown(asker, *one), **page),
        "subIssuesSummary": {
            "total": len(parts),
            "completed": closed,
            "percentCompleted": 100 * closed // len(parts) if parts else 0,
        },
        "projectItems": lambda **asked: projects.of_issue(asker, issue, **asked),
    }


def listed(
    asker: Asker,
    repository: Repository,
    states: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    **page: Any,
) -> JSON:
    """Return the issues of a repository, pull requests apart."""
    wanted, names = set(states or ("OPEN", "CLOSED")), set(labels or ())
    found = [
        one
        for one in repository.issues.values()
        if one.pull is None
        and one.state.upper() in wanted
        and (not names or names & set(one.labels))
    ]
    return connection(found, lambda one: shown(asker, repository, one), **page)


def label(asker: Asker, repository: Repository, name: str) -> JSON:
    """Return a label."""
    about = wire.label(asker.hub, repository, name)
    return {
        "__typename": "Label",
        "id": about["node_id"],
        "name": name,
        "color": about["color"],
        "description": None,
        "isDefault": False,
        "url": about["url"],
    }
