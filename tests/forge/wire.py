"""How GitHub shows what it has: the JSON of answers and webhooks.

Only what the fake has an opinion on is here; what GitHub's description asks for beyond that is
filled in by `description`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.forge.state import Artifact, Check, Comment, Issue, Reaction, Repository

if TYPE_CHECKING:
    from tests.forge.hub import Hub
    from tests.forge.runs import Job, Run

JSON = dict[str, Any]
SIGNS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket")


def at(when: datetime | None) -> str | None:
    """Return a time as GitHub writes it."""
    return None if when is None else when.strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, id: int) -> str:
    """Return the id that GraphQL has for something."""
    return base64.b64encode(f"{kind}:{id}".encode()).decode()


def user(hub: Hub, login: str) -> JSON:
    """Return a person, or a bot."""
    id = int(hashlib.sha256(login.encode()).hexdigest()[:7], 16)
    return {
        "login": login,
        "id": id,
        "node_id": node_id("User", id),
        "type": "Bot" if login.endswith("[bot]") else "User",
        "site_admin": False,
        "url": f"{hub.api}/users/{login}",
        "html_url": f"{hub.base}/{login}",
    }


def _user(hub: Hub, login: str | None) -> JSON | None:
    return None if login is None else user(hub, login)


def _account(hub: Hub, email: str) -> JSON | None:
    """Return whose address for no mail it is; no other one is known here."""
    found = re.fullmatch(r"(?:\d+\+)?([^@+]+)@users\.noreply\..+", email)
    return None if found is None else user(hub, found[1])


def repository(hub: Hub, repo: Repository) -> JSON:
    """Return a repository."""
    url = f"{hub.api}/repos/{repo.name}"
    return {
        "id": repo.id,
        "node_id": node_id("Repository", repo.id),
        "name": repo.name.partition("/")[2],
        "full_name": repo.name,
        "owner": user(hub, repo.owner),
        "private": repo.private,
        "visibility": "private" if repo.private else "public",
        "default_branch": repo.default_branch,
        "fork": False,
        "archived": repo.archived,
        "disabled": False,
        "has_issues": repo.issues_enabled,
        "url": url,
        "html_url": f"{hub.base}/{repo.name}",
        "clone_url": f"{hub.base}/{repo.name}.git",
        "git_url": f"{hub.base}/{repo.name}.git",
    }


def commit(hub: Hub, repo: Repository, sha: str) -> JSON:
    """Return a commit as REST lists it."""
    fields = repo.git.log(sha, "%T%x00%P%x00%an%x00%ae%x00%aI%x00%ce%x00%B", "-1").split("\0")
    tree, parents, name, email, date, committer, message = fields
    url = f"{hub.api}/repos/{repo.name}"
    who = {"name": name, "email": email, "date": date}
    return {
        "sha": sha,
        "node_id": node_id("Commit", int(sha[:8], 16)),
        "url": f"{url}/commits/{sha}",
        "html_url": f"{hub.base}/{repo.name}/commit/{sha}",
        "commit": {
            "message": message.strip("\n"),
            "author": who,
            "committer": who,
            "tree": {"sha": tree, "url": f"{url}/git/trees/{tree}"},
            "url": f"{url}/git/commits/{sha}",
            "comment_count": 0,
        },
        "author": _account(hub, email),
        "committer": _account(hub, committer),
        "parents": [{"sha": one, "url": f"{url}/commits/{one}"} for one in parents.split()],
    }


def pushed_commit(hub: Hub, repo: Repository, sha: str) -> JSON:
    """Return a commit as the payload of a push has it."""
    tree, name, email, date, message = repo.git.log(
        sha, "%T%x00%an%x00%ae%x00%aI%x00%B", "-1"
    ).split("\0")
    who = {"name": name, "email": email}
    return {
        "id": sha,
        "tree_id": tree,
        "message": message.strip("\n"),
        "timestamp": date,
        "author": who,
        "committer": who,
        "url": f"{hub.base}/{repo.name}/commit/{sha}",
    }


def ref(hub: Hub, repo: Repository, name: str, sha: str) -> JSON:
    """Return a ref."""
    url = f"{hub.api}/repos/{repo.name}/git"
    return {
        "ref": name,
        "node_id": node_id("Ref", int(sha[:8], 16)),
        "url": f"{url}/{name}",
        "object": {"type": "commit", "sha": sha, "url": f"{url}/commits/{sha}"},
    }


def _side(hub: Hub, repo: Repository, branch: str, sha: str) -> JSON:
    return {
        "label": f"{repo.owner}:{branch}",
        "ref": branch,
        "sha": sha,
        "user": user(hub, repo.owner),
        "repo": repository(hub, repo),
    }


def pull(hub: Hub, repo: Repository, issue: Issue) -> JSON:
    """Return a pull request."""
    about = issue.pull
    assert about is not None
    url = f"{hub.api}/repos/{repo.name}"
    head = hub.repositories.get(about.head_repository, repo)
    return {
        "id": about.id,
        "node_id": node_id("PullRequest", about.id),
        "number": issue.number,
        "state": issue.state,
        "locked": False,
        "title": issue.title,
        "body": issue.body,
        "user": user(hub, issue.author),
        "draft": about.draft,
        "head": _side(hub, head, about.head, about.head_sha),
        "base": _side(hub, repo, about.base, about.base_sha),
        "merged": about.merged is not None,
        "merged_at": at(about.merged),
        "merged_by": _user(hub, about.merged_by),
        "merge_commit_sha": about.merge_sha,
        "mergeable": True if issue.state == "open" else None,
        "mergeable_state": "draft" if about.draft else "clean",
        "created_at": at(issue.created),
        "updated_at": at(issue.updated),
        "closed_at": at(issue.closed),
        "labels": [label(hub, repo, name) for name in issue.labels],
        "assignees": [user(hub, one) for one in issue.assignees],
        "assignee": _user(hub, issue.assignees[0] if issue.assignees else None),
        "requested_reviewers": [],
        "requested_teams": [],
        "milestone": None,
        "auto_merge": None,
        "author_association": association(repo, issue.author),
        "url": f"{url}/pulls/{issue.number}",
        "html_url": f"{hub.base}/{repo.name}/pull/{issue.number}",
        "issue_url": f"{url}/issues/{issue.number}",
        "comments_url": f"{url}/issues/{issue.number}/comments",
        "comments": sum(one.number == issue.number for one in repo.comments.values()),
    }


def issue(hub: Hub, repo: Repository, one: Issue) -> JSON:
    """Return an issue; a pull request is one too."""
    url = f"{hub.api}/repos/{repo.name}"
    page = "pull" if one.pull else "issues"
    shown: JSON = {
        "id": one.id,
        "node_id": node_id("Issue", one.id),
        "number": one.number,
        "state": one.state,
        "state_reason": one.reason,
        "locked": False,
        "title": one.title,
        "body": one.body,
        "user": user(hub, one.author),
        "labels": [label(hub, repo, name) for name in one.labels],
        "assignees": [user(hub, login) for login in one.assignees],
        "assignee": _user(hub, one.assignees[0] if one.assignees else None),
        "milestone": milestone(hub, repo, one.milestone),
        "comments": sum(c.number == one.number for c in repo.comments.values()),
        "created_at": at(one.created),
        "updated_at": at(one.updated),
        "closed_at": at(one.closed),
        "closed_by": _user(hub, one.closed_by),
        "author_association": association(repo, one.author),
        "reactions": _reactions(f"{url}/issues/{one.number}/reactions", one.reactions),
        "url": f"{url}/issues/{one.number}",
        "html_url": f"{hub.base}/{repo.name}/{page}/{one.number}",
        "comments_url": f"{url}/issues/{one.number}/comments",
        "repository_url": url,
    }
    if one.pull is not None:
        shown["draft"] = one.pull.draft
        shown["pull_request"] = {
            "url": f"{url}/pulls/{one.number}",
            "html_url": shown["html_url"],
            "diff_url": shown["html_url"] + ".diff",
            "patch_url": shown["html_url"] + ".patch",
            "merged_at": at(one.pull.merged),
        }
    return shown


def comment(hub: Hub, repo: Repository, one: Comment) -> JSON:
    """Return a comment."""
    url = f"{hub.api}/repos/{repo.name}/issues"
    page = f"{hub.base}/{repo.name}/issues/{one.number}"
    return {
        "id": one.id,
        "node_id": node_id("IssueComment", one.id),
        "body": one.body,
        "user": user(hub, one.author),
        "created_at": at(one.created),
        "updated_at": at(one.updated),
        "author_association": association(repo, one.author),
        "reactions": _reactions(f"{url}/comments/{one.id}/reactions", one.reactions),
        "url": f"{url}/comments/{one.id}",
        "html_url": f"{page}#issuecomment-{one.id}",
        "issue_url": f"{url}/{one.number}",
    }


def reaction(hub: Hub, one: Reaction) -> JSON:
    """Return a reaction."""
    return {
        "id": one.id,
        "node_id": node_id("Reaction", one.id),
        "user": user(hub, one.author),
        "content": one.content,
        "created_at": at(one.created),
    }


def _reactions(url: str, reactions: list[Reaction]) -> JSON:
    counts = {sign: sum(one.content == sign for one in reactions) for sign in SIGNS}
    return {"url": url, "total_count": len(reactions), **counts}


def label(hub: Hub, repo: Repository, name: str) -> JSON:
    """Return a label."""
    id = int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)
    return {
        "id": id,
        "node_id": node_id("Label", id),
        "name": name,
        "color": repo.labels.get(name, "ededed"),
        "default": False,
        "description": None,
        "url": f"{hub.api}/repos/{repo.name}/labels/{name}",
    }


def milestone(hub: Hub, repo: Repository, number: int | None) -> JSON | None:
    """Return a milestone, if there is one."""
    if number is None:
        return None
    url = f"{hub.api}/repos/{repo.name}/milestones/{number}"
    return {
        "id": number,
        "node_id": node_id("Milestone", number),
        "number": number,
        "title": repo.milestones[number - 1],
        "state": "open",
        "url": url,
        "labels_url": f"{url}/labels",
        "html_url": f"{hub.base}/{repo.name}/milestone/{number}",
    }


def check(hub: Hub, repo: Repository, one: Check) -> JSON:
    """Return a check run."""
    url = f"{hub.api}/repos/{repo.name}/check-runs/{one.id}"
    return {
        "id": one.id,
        "node_id": node_id("CheckRun", one.id),
        "name": one.name,
        "head_sha": one.sha,
        "status": one.status,
        "conclusion": one.conclusion,
        "started_at": at(one.started),
        "completed_at": at(one.completed),
        "details_url": one.details_url,
        "external_id": one.external_id,
        "output": {
            "title": one.output.get("title"),
            "summary": one.output.get("summary"),
            "text": one.output.get("text"),
            "annotations_count": len(one.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": int(one.sha[:7], 16)},
        "app": {"slug": one.app, "name": one.app},
        "pull_requests": [],
        "url": url,
        "html_url": f"{hub.base}/{repo.name}/runs/{one.id}",
    }


def run(hub: Hub, one: Run) -> JSON:
    """Return a workflow run."""
    repo = one.repository
    url = f"{hub.api}/repos/{repo.name}/actions/runs/{one.id}"
    return {
        "id": one.id,
        "node_id": node_id("WorkflowRun", one.id),
        "name": one.file.name,
        "display_title": one.name,
        "path": one.file.path,
        "run_number": one.number,
        "run_attempt": one.attempt,
        "event": one.event.name,
        "status": one.status,
        "conclusion": one.conclusion,
        "workflow_id": one.workflow_id,
        "head_branch": one.branch,
        "head_sha": one.shown_sha,
        "actor": user(hub, one.event.actor),
        "triggering_actor": user(hub, one.event.actor),
        "created_at": at(one.created),
        "updated_at": at(one.updated),
        "run_started_at": at(one.created),
        "pull_requests": [],
        "referenced_workflows": [],
        "repository": repository(hub, repo),
        "head_repository": repository(hub, repo),
        "url": url,
        "html_url": f"{hub.base}/{repo.name}/actions/runs/{one.id}",
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "artifacts_url": f"{url}/artifacts",
        "cancel_url": f"{url}/cancel",
        "rerun_url": f"{url}/rerun",
        "workflow_url": f"{hub.api}/repos/{repo.name}/actions/workflows/{one.workflow_id}",
    }


def job(hub: Hub, one: Job) -> JSON:
    """Return a job of a run."""
    repo = one.run.repository
    url = f"{hub.api}/repos/{repo.name}/actions"
    return {
        "id": one.id,
        "node_id": node_id("CheckRun", one.id),
        "run_id": one.run.id,
        "run_url": f"{url}/runs/{one.run.id}",
        "run_attempt": one.attempt,
        "head_sha": one.run.shown_sha,
        "head_branch": one.run.branch,
        "workflow_name": one.run.file.name,
        "name": one.name,
        "status": one.status,
        "conclusion": one.conclusion,
        "created_at": at(one.created),
        "started_at": at(one.started or one.created),
        "completed_at": at(one.completed),
        "labels": one.labels,
        "runner_name": one.runner or None,
        "runner_id": 1 if one.runner else None,
        "steps": [
            {
                "number": step.number,
                "name": step.name,
                "status": step.status,
                "conclusion": step.conclusion,
            }
            for step in one.steps
        ],
        "url": f"{url}/jobs/{one.id}",
        "html_url": f"{hub.base}/{repo.name}/actions/runs/{one.run.id}/job/{one.id}",
        "check_run_url": f"{hub.api}/repos/{repo.name}/check-runs/{one.id}",
    }


def workflow(hub: Hub, repo: Repository, path: str, id: int, name: str) -> JSON:
    """Return a workflow file."""
    return {
        "id": id,
        "node_id": node_id("Workflow", id),
        "name": name,
        "path": path,
        "state": repo.switched_off.get(path, "active"),
        "url": f"{hub.api}/repos/{repo.name}/actions/workflows/{id}",
        "html_url": f"{hub.base}/{repo.name}/blob/{repo.default_branch}/{path}",
        "badge_url": f"{hub.base}/{repo.name}/workflows/{name}/badge.svg",
    }


def artifact(hub: Hub, repo: Repository, one: Artifact) -> JSON:
    """Return an artifact of a run."""
    url = f"{hub.api}/repos/{repo.name}/actions/artifacts/{one.id}"
    about = repo.runs[one.run]
    return {
        "id": one.id,
        "node_id": node_id("Artifact", one.id),
        "name": one.name,
        "size_in_bytes": one.size,
        "expired": False,
        "created_at": at(one.created),
        "updated_at": at(one.created),
        "expires_at": None,
        "url": url,
        "archive_download_url": f"{url}/zip",
        "workflow_run": {
            "id": one.run,
            "repository_id": repo.id,
            "head_repository_id": repo.id,
            "head_branch": about.branch,
            "head_sha": about.shown_sha,
        },
    }


def association(repo: Repository, login: str) -> str:
    """Return what somebody is to a repository; whoever was invited is a collaborator."""
    if login == repo.owner:
        return "OWNER"
    return "COLLABORATOR" if login in repo.people else "NONE"
