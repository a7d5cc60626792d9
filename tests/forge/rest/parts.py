"""What issues are to each other: parts of one another, and what waits for what; milestones too.

That a part has one parent, once, is GitHub's rule and sentence; a parent has at most 100 parts, eight
deep. That an issue cannot wait for itself or twice for the same is a guess.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.forge import wire
from tests.forge.rest.routes import NOT_FOUND, Answer, Call, route
from tests.forge.state import Issue, Refused, Repository

MOST_PARTS = 100
DEEPEST = 8
HERE = "/repos/{owner}/{repo}/issues/{issue_number}"


@route(f"GET {HERE}/sub_issues", "issues: read")
def _(call: Call) -> Answer:
    return _listed(call, _issue(call).parts)


@route(f"POST {HERE}/sub_issues", "issues: write", "triage")
def _(call: Call) -> Answer:
    issue, id = _issue(call), int(call.body["sub_issue_id"])
    part_repo, part = _by_id(call, id)
    if part is issue or part_repo.owner != call.repo.owner:
        raise Refused(422, "An error occurred while adding the sub-issue to the parent issue.")
    if part.parent is not None and not call.body.get("replace_parent"):
        words = "Issue may not contain duplicate sub-issues and " if id in issue.parts else ""
        raise Refused(422, f"{words}Sub issue may only have one parent")
    if len(issue.parts) >= MOST_PARTS:
        raise Refused(422, f"Parent cannot have more than {MOST_PARTS} sub-issues")
    if len(_above(call, issue)) >= DEEPEST or id in _above(call, issue):
        raise Refused(422, "Sub-issues may not be nested so deep, or in a circle")
    if part.parent is not None:
        _by_id(call, part.parent)[1].parts.remove(id)
    issue.parts.append(id)
    part.parent = issue.id
    return Answer(wire.issue(call.hub, call.repo, issue), 201)


@route(f"DELETE {HERE}/sub_issue", "issues: write", "triage")
def _(call: Call) -> Answer:
    issue, id = _issue(call), int(call.body["sub_issue_id"])
    if id not in issue.parts:
        raise Refused(404, "The provided sub-issue does not exist")
    issue.parts.remove(id)
    _by_id(call, id)[1].parent = None
    return Answer(wire.issue(call.hub, call.repo, issue))


@route(f"GET {HERE}/parent", "issues: read")
def _(call: Call) -> Answer:
    parent = _issue(call).parent
    if parent is None:
        raise Refused(404, NOT_FOUND)
    repo, issue = _by_id(call, parent)
    return Answer(wire.issue(call.hub, repo, issue))


@route(f"GET {HERE}/dependencies/blocked_by", "issues: read")
def _(call: Call) -> Answer:
    return _listed(call, _issue(call).blocked_by)


@route(f"GET {HERE}/dependencies/blocking", "issues: read")
def _(call: Call) -> Answer:
    id = _issue(call).id
    repositories = call.hub.repositories.values()
    return _listed(
        call,
        [one.id for of in repositories for one in of.issues.values() if id in one.blocked_by],
    )


@route(f"POST {HERE}/dependencies/blocked_by", "issues: write", "triage")
def _(call: Call) -> Answer:
    issue, id = _issue(call), int(call.body["issue_id"])
    repo, other = _by_id(call, id)
    if other is issue:
        raise Refused(422, "An issue cannot be blocked by itself")
    if id in issue.blocked_by:
        raise Refused(422, "Validation failed: Target issue has already been taken")
    issue.blocked_by.append(id)
    return Answer(wire.issue(call.hub, repo, other), 201)


@route(f"DELETE {HERE}/dependencies/blocked_by/{{issue_id}}", "issues: write", "triage")
def _(call: Call) -> Answer:
    issue, id = _issue(call), int(call.params["issue_id"])
    if id not in issue.blocked_by:
        raise Refused(404, NOT_FOUND)
    issue.blocked_by.remove(id)
    repo, other = _by_id(call, id)
    return Answer(wire.issue(call.hub, repo, other))


@route(f"POST {HERE}/assignees", "issue: write")
def _(call: Call) -> Answer:
    issue = _issue(call)
    issue.assignees += [
        str(one) for one in call.body.get("assignees") or () if one not in issue.assignees
    ]
    return Answer(wire.issue(call.hub, call.repo, issue), 201)


@route(f"DELETE {HERE}/assignees", "issue: write")
def _(call: Call) -> Answer:
    issue = _issue(call)
    gone = set(call.body.get("assignees") or ())
    issue.assignees = [one for one in issue.assignees if one not in gone]
    return Answer(wire.issue(call.hub, call.repo, issue))


@route("GET /repos/{owner}/{repo}/milestones", "issues: read")
def _(call: Call) -> Answer:
    numbers = range(1, len(call.repo.milestones) + 1)
    return Answer([wire.milestone(call.hub, call.repo, one) for one in numbers], listed="")


@route("POST /repos/{owner}/{repo}/milestones", "issues: write")
def _(call: Call) -> Answer:
    call.repo.milestones.append(str(call.body["title"]))
    return Answer(wire.milestone(call.hub, call.repo, len(call.repo.milestones)), 201)


def _issue(call: Call) -> Issue:
    issue = call.repo.issues.get(int(call.params["issue_number"]))
    if issue is None:
        raise Refused(404, NOT_FOUND)
    if not call.repo.issues_enabled:
        raise Refused(410, "Issues are disabled for this repo")
    return issue


def _by_id(call: Call, id: int) -> tuple[Repository, Issue]:
    for repository in call.hub.repositories.values():
        for issue in repository.issues.values():
            if issue.id == id:
                return repository, issue
    raise Refused(404, NOT_FOUND)


def _above(call: Call, issue: Issue) -> list[int]:
    """Return the ids of an issue and of all that it is a part of."""
    found = [issue.id]
    while issue.parent is not None:
        issue = _by_id(call, issue.parent)[1]
        found.append(issue.id)
    return found


def _listed(call: Call, ids: Iterable[int]) -> Answer:
    found = [_by_id(call, id) for id in ids]
    return Answer([wire.issue(call.hub, repo, issue) for repo, issue in found], listed="")
