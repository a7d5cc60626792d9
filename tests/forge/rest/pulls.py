"""Pull requests and their reviews."""

from __future__ import annotations

from tests.forge import wire
from tests.forge.rest.routes import NOT_FOUND, Answer, Call, route, wrong
from tests.forge.rest.shared import (
    changed_files,
    edit_issue,
    latest,
    may_edit,
    merged,
    new_issue,
)
from tests.forge.state import (
    Issue,
    Pull,
    Refused,
)
from tests.forge.triggers import Event


@route("GET /repos/{owner}/{repo}/pulls", "pull-requests: read")
def _(call: Call) -> Answer:
    wanted, head = call.query.get("state", "open"), call.query.get("head")
    found = [
        issue
        for issue in latest(call)
        if issue.pull is not None
        and wanted in ("all", issue.state)
        and (head is None or head == f"{call.repo.owner}:{issue.pull.head}")
        and call.query.get("base", issue.pull.base) == issue.pull.base
    ]
    # A list has no `merged` and no counts, which only a single one shows.
    single = ("merged", "merged_by", "mergeable", "mergeable_state", "comments")
    shown = [wire.pull(call.hub, call.repo, issue) for issue in found]
    return Answer(
        [{key: one for key, one in pull.items() if key not in single} for pull in shown], listed=""
    )


@route("POST /repos/{owner}/{repo}/pulls", "pull-requests: write", "read")
def _(call: Call) -> Answer:
    repo, hub = call.repo, call.hub
    if call.who.kind == "default" and not repo.allow_pull_requests:
        raise Refused(403, "GitHub Actions is not permitted to create or approve pull requests.")
    base, head = str(call.body["base"]), str(call.body["head"]).removeprefix(repo.owner + ":")
    draft = bool(call.body.get("draft"))
    if draft and not repo.allow_drafts:
        raise Refused(422, "Draft pull requests are not supported in this repository.")
    base_sha, head_sha = repo.head(base), repo.head(head)
    for field_, sha in (("base", base_sha), ("head", head_sha)):
        if sha is None:
            raise wrong("PullRequest", "invalid", field=field_)
    assert base_sha is not None
    assert head_sha is not None
    for issue in repo.issues.values():
        pull = issue.pull
        if pull and issue.state == "open" and (pull.head, pull.base) == (head, base):
            message = f"A pull request already exists for {repo.owner}:{head}."
            raise wrong("PullRequest", "custom", message=message)
    if not repo.git.git("rev-list", "-n", "1", f"{base_sha}..{head_sha}"):
        message = f"No commits between {base} and {head}"
        raise wrong("PullRequest", "custom", message=message)
    issue = new_issue(call, str(call.body.get("title") or ""))
    issue.pull = Pull(hub.next_id(), head, base, head_sha, base_sha, draft, repo.name)
    hub.pull_event(repo, issue, "opened", call.who)
    return Answer(wire.pull(hub, repo, issue), 201)


@route("GET /repos/{owner}/{repo}/pulls/{pull_number}", "pull-requests: read")
def _(call: Call) -> Answer:
    return Answer(wire.pull(call.hub, call.repo, _pull(call)[0]))


@route("PATCH /repos/{owner}/{repo}/pulls/{pull_number}", "pull-requests: write", "read")
def _(call: Call) -> Answer:
    issue, pull = _pull(call)
    may_edit(call, issue.author)
    edit_issue(call, issue)
    if "base" in call.body:
        if call.repo.head(str(call.body["base"])) is None:
            raise wrong("PullRequest", "invalid", field="base")
        pull.base = str(call.body["base"])
    state = call.body.get("state")
    if state == "closed" and issue.state == "open":
        call.hub.close_pull(call.repo, issue, call.who)
    elif state == "open" and issue.state == "closed":
        if pull.merged is not None or call.repo.head(pull.head) is None:
            raise wrong("PullRequest", "invalid", field="state")
        issue.state, issue.closed, issue.closed_by = "open", None, None
        call.hub.pull_event(call.repo, issue, "reopened", call.who)
    elif state is None:
        call.hub.pull_event(call.repo, issue, "edited", call.who)
    return Answer(wire.pull(call.hub, call.repo, issue))


@route("GET /repos/{owner}/{repo}/pulls/{pull_number}/files", "pull-requests: read")
def _(call: Call) -> Answer:
    _, pull = _pull(call)
    base = call.repo.git.git("merge-base", pull.base_sha, pull.head_sha)
    return Answer(changed_files(call, base, pull.head_sha), listed="")


@route("GET /repos/{owner}/{repo}/pulls/{pull_number}/commits", "pull-requests: read")
def _(call: Call) -> Answer:
    _, pull = _pull(call)
    span = f"{pull.base_sha}..{pull.head_sha}"
    shas = call.repo.git.git("rev-list", "--reverse", span).split()
    return Answer([wire.commit(call.hub, call.repo, sha) for sha in shas], listed="")


@route("PUT /repos/{owner}/{repo}/pulls/{pull_number}/merge", "contents: write")
def _(call: Call) -> Answer:
    repo, (issue, pull) = call.repo, _pull(call)
    if issue.state != "open" or pull.draft:
        raise Refused(405, "Pull Request is not mergeable")
    if call.body.get("sha", pull.head_sha) != pull.head_sha:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    if pull.base in repo.protected and call.who.kind == "default":
        raise Refused(
            405, "At least 1 approving review is required by reviewers with write access."
        )
    old = repo.head(pull.base) or pull.base_sha
    title = str(call.body.get("commit_title") or f"Merge pull request #{issue.number}")
    try:
        sha = merged(repo, old, pull.head_sha, title)
    except Refused:
        raise Refused(405, "Pull Request is not mergeable") from None
    if call.body.get("merge_method") in ("squash", "rebase"):
        sha = repo.git.git("commit-tree", "-p", old, "-m", title, f"{sha}^{{tree}}")
    repo.git.git("update-ref", f"refs/heads/{pull.base}", sha, old)
    call.hub.close_pull(repo, issue, call.who, merge_sha=sha)
    call.hub.pushed(repo, call.who, [(old, sha, f"refs/heads/{pull.base}")])
    return Answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})


@route("GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews", "pull-requests: read")
def _(call: Call) -> Answer:
    return Answer(list(_pull(call)[1].reviews), listed="")


@route("POST /repos/{owner}/{repo}/pulls/{pull_number}/reviews", "pull-requests: write", "read")
def _(call: Call) -> Answer:
    repo, (issue, pull) = call.repo, _pull(call)
    event = call.body.get("event", "PENDING")
    if call.who.kind == "default" and event == "APPROVE" and not repo.allow_pull_requests:
        raise Refused(403, "GitHub Actions is not permitted to create or approve pull requests.")
    if call.login == issue.author and event in ("APPROVE", "REQUEST_CHANGES"):
        raise Refused(422, "Can not approve your own pull request")
    states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
    id = call.hub.next_id()
    shown = {
        "id": id,
        "node_id": wire.node_id("Review", id),
        "user": wire.user(call.hub, call.login),
        "body": str(call.body.get("body") or ""),
        "state": states.get(str(event), "PENDING"),
        "commit_id": str(call.body.get("commit_id") or pull.head_sha),
        "submitted_at": wire.at(call.hub.now()),
        "html_url": f"{call.hub.base}/{repo.name}/pull/{issue.number}#pullrequestreview-{id}",
        "pull_request_url": f"{call.hub.api}/repos/{repo.name}/pulls/{issue.number}",
        "author_association": wire.association(repo, call.login),
    }
    pull.reviews.append(shown)
    told = {
        "action": "submitted",
        "review": shown | {"state": str(shown["state"]).lower()},
        "pull_request": wire.pull(call.hub, repo, issue),
        "repository": wire.repository(call.hub, repo),
        "sender": wire.user(call.hub, call.login),
    }
    by_default = call.who.kind == "default"
    ref = f"refs/pull/{issue.number}/merge"
    event_ = Event("pull_request_review", told, call.login, ref, pull.head_sha, by_default)
    call.hub.happen(repo, event_)
    return Answer(shown)


def _pull(call: Call) -> tuple[Issue, Pull]:
    issue = call.repo.issues.get(int(call.params["pull_number"]))
    if issue is None or issue.pull is None:
        raise Refused(404, NOT_FOUND)
    return issue, issue.pull
