"""Issues, comments, reactions and labels."""

from __future__ import annotations

from tests.forge import wire
from tests.forge.rest.routes import NOT_FOUND, Answer, Call, route, wrong
from tests.forge.rest.shared import (
    edit_issue,
    know_labels,
    latest,
    may_edit,
    new_issue,
    set_milestone,
    text,
)
from tests.forge.state import (
    Comment,
    Issue,
    Reaction,
    Refused,
)


@route("GET /repos/{owner}/{repo}/issues", "issues: read")
def _(call: Call) -> Answer:
    labels = [name for name in call.query.get("labels", "").split(",") if name]
    state = call.query.get("state", "open")
    found = [
        issue
        for issue in latest(call)
        if state in ("all", issue.state)
        and set(labels) <= set(issue.labels)
        and call.query.get("creator", issue.author) == issue.author
        and (wire.at(issue.updated) or "") >= call.query.get("since", "")
    ]
    return Answer([wire.issue(call.hub, call.repo, issue) for issue in found], listed="")


@route("POST /repos/{owner}/{repo}/issues", "issues: write", "read")
def _(call: Call) -> Answer:
    if not call.repo.issues_enabled:
        raise Refused(410, "Issues are disabled for this repo")
    issue = new_issue(call, str(call.body["title"]))
    if call.who.kind != "person" or call.repo.may(call.login, "triage"):
        issue.labels = [str(name) for name in call.body.get("labels") or ()]
        issue.assignees = [str(name) for name in call.body.get("assignees") or ()]
        know_labels(call, issue.labels)
        set_milestone(call, issue)
    call.hub.issue_event(call.repo, call.who, "issues", "opened", issue)
    return Answer(wire.issue(call.hub, call.repo, issue), 201)


@route("GET /repos/{owner}/{repo}/issues/{issue_number}", "issue: read")
def _(call: Call) -> Answer:
    return Answer(wire.issue(call.hub, call.repo, _issue(call)))


@route("PATCH /repos/{owner}/{repo}/issues/{issue_number}", "issue: write")
def _(call: Call) -> Answer:
    issue = _issue(call)
    may_edit(call, issue.author)
    edit_issue(call, issue)
    state = call.body.get("state", issue.state)
    if state != issue.state:
        issue.state = state
        issue.reason = call.body.get("state_reason") or ("completed" if state == "closed" else None)
        issue.closed = call.hub.now() if state == "closed" else None
        issue.closed_by = call.login if state == "closed" else None
        call.hub.on_boards(issue, "closed" if state == "closed" else "reopened")
        action = "closed" if state == "closed" else "reopened"
        call.hub.issue_event(call.repo, call.who, "issues", action, issue)
    else:
        call.hub.issue_event(call.repo, call.who, "issues", "edited", issue)
    return Answer(wire.issue(call.hub, call.repo, issue))


@route("GET /repos/{owner}/{repo}/issues/{issue_number}/comments", "issue: read")
def _(call: Call) -> Answer:
    number = _issue(call).number
    return _comments(call, [one for one in call.repo.comments.values() if one.number == number])


@route("GET /repos/{owner}/{repo}/issues/comments", "issues: read")
def _(call: Call) -> Answer:
    found = sorted(
        call.repo.comments.values(),
        key=lambda one: one.updated if call.query.get("sort") == "updated" else one.created,
        reverse=call.query.get("direction") == "desc",
    )
    return _comments(call, found)


def _comments(call: Call, found: list[Comment]) -> Answer:
    since = call.query.get("since", "")
    shown = [one for one in found if (wire.at(one.updated) or "") >= since]
    return Answer([wire.comment(call.hub, call.repo, one) for one in shown], listed="")


@route("POST /repos/{owner}/{repo}/issues/{issue_number}/comments", "issue: write")
def _(call: Call) -> Answer:
    issue, now = _issue(call), call.hub.now()
    comment = Comment(
        call.hub.next_id(), issue.number, text(call, "IssueComment"), call.login, now, now
    )
    call.repo.comments[comment.id] = comment
    issue.updated = now
    shown = wire.comment(call.hub, call.repo, comment)
    call.hub.issue_event(call.repo, call.who, "issue_comment", "created", issue, comment=shown)
    return Answer(shown, 201)


@route("GET /repos/{owner}/{repo}/issues/comments/{comment_id}", "issue: read")
def _(call: Call) -> Answer:
    return Answer(wire.comment(call.hub, call.repo, _comment(call)))


@route("PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}", "issue: write")
def _(call: Call) -> Answer:
    comment = _comment(call)
    may_edit(call, comment.author)
    old, comment.body = comment.body, text(call, "IssueComment")
    comment.updated = comment.edited = call.hub.now()
    shown = wire.comment(call.hub, call.repo, comment)
    issue = call.repo.issues[comment.number]
    more = {"comment": shown, "changes": {"body": {"from": old}}}
    call.hub.issue_event(call.repo, call.who, "issue_comment", "edited", issue, **more)
    return Answer(shown)


@route("DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}", "issue: write")
def _(call: Call) -> Answer:
    comment = _comment(call)
    may_edit(call, comment.author)
    del call.repo.comments[comment.id]
    return Answer(status=204)


@route("GET /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions", "issue: read")
def _(call: Call) -> Answer:
    return Answer([wire.reaction(call.hub, one) for one in _comment(call).reactions], listed="")


@route("POST /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions", "issue: write")
def _(call: Call) -> Answer:
    return _react(call, _comment(call).reactions)


@route("GET /repos/{owner}/{repo}/issues/{issue_number}/reactions", "issue: read")
def _(call: Call) -> Answer:
    return Answer([wire.reaction(call.hub, one) for one in _issue(call).reactions], listed="")


@route("POST /repos/{owner}/{repo}/issues/{issue_number}/reactions", "issue: write")
def _(call: Call) -> Answer:
    return _react(call, _issue(call).reactions)


@route(
    "DELETE /repos/{owner}/{repo}/issues/comments/{comment_id}/reactions/{reaction_id}",
    "issue: write",
)
def _(call: Call) -> Answer:
    reactions = _comment(call).reactions
    left = [one for one in reactions if one.id != int(call.params["reaction_id"])]
    if len(left) == len(reactions):
        raise Refused(404, NOT_FOUND)
    reactions[:] = left
    return Answer(status=204)


def _react(call: Call, reactions: list[Reaction]) -> Answer:
    sign = str(call.body["content"])
    for one in reactions:
        if (one.author, one.content) == (call.login, sign):
            return Answer(wire.reaction(call.hub, one), 200)
    made = Reaction(call.hub.next_id(), sign, call.login, call.hub.now())
    reactions.append(made)
    return Answer(wire.reaction(call.hub, made), 201)


@route("GET /repos/{owner}/{repo}/issues/{issue_number}/labels", "issue: read")
def _(call: Call) -> Answer:
    return Answer([wire.label(call.hub, call.repo, one) for one in _issue(call).labels], listed="")


@route("POST /repos/{owner}/{repo}/issues/{issue_number}/labels", "issue: write", "triage")
def _(call: Call) -> Answer:
    issue = _issue(call)
    added = [str(name) for name in call.body.get("labels", ()) if name not in issue.labels]
    issue.labels += added
    know_labels(call, added)
    return Answer([wire.label(call.hub, call.repo, one) for one in issue.labels])


@route("DELETE /repos/{owner}/{repo}/issues/{issue_number}/labels/{name}", "issue: write", "triage")
def _(call: Call) -> Answer:
    issue = _issue(call)
    if call.params["name"] not in issue.labels:
        raise Refused(404, "Label does not exist")
    issue.labels.remove(call.params["name"])
    return Answer([wire.label(call.hub, call.repo, one) for one in issue.labels])


@route("GET /repos/{owner}/{repo}/labels", "issues: read")
def _(call: Call) -> Answer:
    return Answer([wire.label(call.hub, call.repo, one) for one in call.repo.labels], listed="")


@route("POST /repos/{owner}/{repo}/labels", "issues: write")
def _(call: Call) -> Answer:
    name = str(call.body["name"])
    if name in call.repo.labels:
        raise wrong("Label", "already_exists", field="name")
    call.repo.labels[name] = str(call.body.get("color") or "ededed")
    return Answer(wire.label(call.hub, call.repo, name), 201)


def _issue(call: Call) -> Issue:
    issue = call.repo.issues.get(int(call.params["issue_number"]))
    if issue is None:
        raise Refused(404, NOT_FOUND)
    return issue


def _comment(call: Call) -> Comment:
    comment = call.repo.comments.get(int(call.params["comment_id"]))
    if comment is None:
        raise Refused(404, NOT_FOUND)
    return comment
