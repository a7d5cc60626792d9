"""What several kinds of requests do alike."""

from __future__ import annotations

from tests.forge import wire
from tests.forge.rest.routes import MOST_TEXT, Call, wrong
from tests.forge.state import (
    ZERO,
    Issue,
    Refused,
    Repository,
)


def move(call: Call, name: str, old: str, new: str) -> None:
    """Move a ref as a push would."""
    branch = name.removeprefix("refs/heads/")
    if branch in call.repo.protected and call.login not in call.repo.protected[branch]:
        raise Refused(422, f"Cannot update this protected ref: {name}")
    if new == ZERO:
        call.repo.git.git("update-ref", "-d", name, old)
    else:
        call.repo.git.git("update-ref", name, new, old)
    call.hub.pushed(call.repo, call.who, [(old, new, name)])


def merged(repo: Repository, old: str, other: str, message: str) -> str:
    """Return a commit that merges two; refuse where they conflict."""
    try:
        tree = repo.git.git("merge-tree", "--write-tree", old, other).split("\n")[0]
    except AssertionError:
        raise Refused(409, "Merge conflict") from None
    return repo.git.git("commit-tree", "-p", old, "-p", other, "-m", message, tree)


def changed_files(call: Call, old: str, new: str) -> list[wire.JSON]:
    """Return the files that differ between two commits."""
    git, repo = call.repo.git, call.repo
    words = {"A": "added", "D": "removed", "M": "modified", "T": "changed"}
    kinds = git.git("diff", "--no-renames", "--name-status", old, new).splitlines()
    counts = git.git("diff", "--no-renames", "--numstat", old, new).splitlines()
    shown = []
    for kind, count in zip(kinds, counts, strict=True):
        status, path = kind.split("\t", 1)
        plus, minus, _ = count.split("\t", 2)
        added, gone = (0 if one == "-" else int(one) for one in (plus, minus))
        blob = git.git("rev-parse", f"{old if status == 'D' else new}:{path}")
        shown.append(
            {
                "sha": blob,
                "filename": path,
                "status": words[status],
                "additions": added,
                "deletions": gone,
                "changes": added + gone,
                "blob_url": f"{call.hub.base}/{repo.name}/blob/{new}/{path}",
                "raw_url": f"{call.hub.base}/{repo.name}/raw/{new}/{path}",
                "contents_url": f"{call.hub.api}/repos/{repo.name}/contents/{path}?ref={new}",
            }
        )
    return shown


def latest(call: Call) -> list[Issue]:
    """Return issues and pull requests in the order that was asked for."""
    by_update = call.query.get("sort") == "updated"
    return sorted(
        call.repo.issues.values(),
        key=lambda one: (one.updated if by_update else one.created, one.number),
        reverse=call.query.get("direction", "desc") == "desc",
    )


def new_issue(call: Call, title: str) -> Issue:
    """Open an issue, or the half of a pull request that is one."""
    if not title.strip():
        raise wrong("Issue", "missing_field", field="title")
    number, now = len(call.repo.issues) + 1, call.hub.now()
    body = text(call, "Issue") if call.body.get("body") else ""
    issue = Issue(call.hub.next_id(), number, title, body, call.login, now, now)
    call.repo.issues[number] = issue
    return issue


def edit_issue(call: Call, issue: Issue) -> None:
    """Change of an issue what the body names."""
    if "title" in call.body:
        issue.title = str(call.body["title"])
    if "body" in call.body:
        issue.body = text(call, "Issue") if call.body["body"] else ""
    for name, held in (("labels", issue.labels), ("assignees", issue.assignees)):
        if name in call.body:
            held[:] = [str(one) for one in call.body[name]]
    know_labels(call, issue.labels)
    set_milestone(call, issue)
    issue.updated = call.hub.now()


def know_labels(call: Call, names: list[str]) -> None:
    """Let a repository have labels that are used."""
    for name in names:
        call.repo.labels.setdefault(name, "ededed")


def set_milestone(call: Call, issue: Issue) -> None:
    """Change the milestone of an issue, where the body names one; refuse one that is not there."""
    if "milestone" not in call.body:
        return
    number = call.body["milestone"]
    if number is not None and not 0 < int(number) <= len(call.repo.milestones):
        raise wrong("Issue", "invalid", field="milestone")
    issue.milestone = None if number is None else int(number)


def text(call: Call, resource: str) -> str:
    """Return the body of a comment or an issue; refuse none, and one too long."""
    text = str(call.body.get("body") or "")
    if not text.strip():
        raise wrong(resource, "missing_field", field="body")
    if len(text) > MOST_TEXT:
        message = f"body is too long (maximum is {MOST_TEXT} characters)"
        raise wrong(resource, "custom", field="body", message=message)
    return text


def may_edit(call: Call, author: str) -> None:
    """Refuse a person who neither wrote something nor may write."""
    is_person = call.who.kind == "person"
    if is_person and call.login != author and not call.repo.may(call.login, "triage"):
        raise Refused(403, "Must have admin rights to Repository.")
