"""The issues of tasks on GitHub: made, closed and reopened a few a request.

Start with Issues.  Documents are written here and hold nothing of a plan: what is said goes along
as variables, and the parts of a mutation are named by their position alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from gitflow_agents.forge import (
    OWN,
    CloseIssue,
    EditIssue,
    ForgeDown,
    ForgeRefused,
    Ground,
    HangIssue,
    Issue,
    IssueWrite,
    IssueWrote,
    NewIssue,
    PlanIssue,
    ReopenIssue,
)
from gitflow_agents.github.client import MOST_PAGES, PER_PAGE, GitHub, found_nodes
from gitflow_agents.models import MILESTONE

_ISSUE = "{ id fullDatabaseId number title body url state stateReason }"
_ISSUES = f"query Issues($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on Issue {_ISSUE} }} }}"
_PARTS: Mapping[type, tuple[str, str, str]] = {
    NewIssue: ("CreateIssueInput", "createIssue", f"{{ issue {_ISSUE} }}"),
    EditIssue: ("UpdateIssueInput", "updateIssue", "{ issue { id } }"),
    CloseIssue: ("CloseIssueInput", "closeIssue", "{ issue { id } }"),
    ReopenIssue: ("ReopenIssueInput", "reopenIssue", "{ issue { id } }"),
    HangIssue: ("AddSubIssueInput", "addSubIssue", "{ subIssue { id } }"),
    PlanIssue: ("UpdateIssueInput", "updateIssue", "{ issue { id } }"),
}
"""By the kind of a write: its input, its field, and what is asked back."""

_FOR_ALL = {"FORBIDDEN", "INSUFFICIENT_SCOPES"}
"""What GraphQL calls an answer that it gives to every write of the same token."""


class Issues:
    """The issues of one repository, asked as the token of `github` may: a Tracker."""

    def __init__(self, github: GitHub) -> None:
        self._github = github

    def ground(
        self,
        labels: Sequence[str],
        people: Sequence[str],
        epic: str = "",
        there: Sequence[str] = (),
    ) -> Ground:
        """Look up labels, people and issues by one request; a label that is missing is made."""
        what = "the repository could not be asked about its issues"
        document, variables = _looking(self._github.repository, labels, people, epic, there)
        said, wrong = self._github.graph(document, variables, what)
        about = said.get("repository")
        if not about:
            raise ForgeRefused(f"{what}: {_words(wrong)}", status=404)
        if not about["hasIssuesEnabled"]:
            why = f"{self._github.repository} has no issues"
            raise ForgeRefused(why, hint="Settings, General, Features: Issues", status=410)
        found = {name: (about[f"l{n}"] or {}).get("id") for n, name in enumerate(labels)}
        lists = ((about[f"u{n}"] or {}).get("nodes") or () for n in range(len(people)))
        shown = [user for users in lists for user in users if user]
        logins = {str(user["login"]).lower(): str(user["id"]) for user in shown}
        here = {one["id"] for one in found_nodes(said.get("nodes"), wrong, what)} if there else ()
        return Ground(
            repository=str(about["id"]),
            labels={name: str(id or self._label(name)) for name, id in found.items()},
            people={who: logins[who.lower()] for who in people if who.lower() in logins},
            epic=str(((said.get("epic") or {}).get("issue") or {}).get("id") or ""),
            milestone=str((about.get("milestone") or {}).get("id") or ""),
            gone=frozenset(there).difference(here),
        )

    def _label(self, name: str) -> str:
        """Make a label and return its node, or nothing where that is not allowed."""
        what = f"the label {name} could not be made"
        try:
            path = f"/repos/{self._github.repository}/labels"
            return str(self._github.ask("POST", path, what, body={"name": name})["node_id"])
        except ForgeRefused:
            return ""  # an issue without a label is better than none

    def issues(self, nodes: Sequence[str]) -> Mapping[str, Issue]:
        """Return those of at most 100 issues that are still there, by their node."""
        what = "issues could not be read"
        said, wrong = self._github.graph(_ISSUES, {"ids": [*nodes]}, what)
        return {one["id"]: _issue(one) for one in found_nodes(said.get("nodes"), wrong, what)}

    def own_issues(self, since: float, label: str = "") -> tuple[Issue, ...]:
        """Return the issues of ours that were changed since a time, or the open ones of a label.

        They are listed and not searched for: what was made just now is in no index yet.
        """
        query: dict[str, Any] = {"per_page": PER_PAGE, "sort": "created", "direction": "desc"}
        at = datetime.fromtimestamp(max(0.0, since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query |= {"labels": label} if label else {"state": "all", "since": at}
        found: list[Mapping[str, Any]] = []
        for page in range(1, MOST_PAGES + 1):
            path, what = f"/repos/{self._github.repository}/issues", "issues could not be listed"
            said = self._github.ask("GET", path, what, query={**query, "page": page})
            found += [one for one in said if "pull_request" not in one]
            if len(said) < PER_PAGE:
                break
        return tuple(_listed(one) for one in self._github.ours(found, OWN))

    def write_issues(self, ground: Ground, writes: Sequence[IssueWrite]) -> tuple[IssueWrote, ...]:
        """Do a few writes by one request, which is never repeated, and say what came of each."""
        asked = {f"w{n}": (write, _input(write, ground)) for n, write in enumerate(writes)}
        kinds = {name: _PARTS[type(write)] for name, (write, _) in asked.items()}
        given = ", ".join(f"${name}: {kind}!" for name, (kind, _, _) in kinds.items())
        parts = "\n".join(
            f"  {name}: {field}(input: ${name}) {back}" for name, (_, field, back) in kinds.items()
        )
        said, wrong = self._github.graph(
            f"mutation Track({given}) {{\n{parts}\n}}",
            {name: about for name, (_, about) in asked.items()},
            "issues could not be written",
            once=True,
        )
        if wrong and not any(said.values()):
            _raise_for_all(wrong)
        whys = {str(one["path"][0]): str(one["message"]) for one in wrong if one.get("path")}
        done = []
        for name, (write, _) in asked.items():
            part = said.get(name) or {}
            if name in whys or not part:
                done.append(IssueWrote(refused=whys.get(name) or _words(wrong)))
            elif isinstance(write, NewIssue):
                done.append(_wrote(part.get("issue")))
            else:
                done.append(IssueWrote())
        return tuple(done)

    def block(self, number: int, by: int, *, ends: bool = False) -> None:
        """Let an issue wait for another one, or not any more; what holds already is no error."""
        path = f"/repos/{self._github.repository}/issues/{number}/dependencies/blocked_by"
        what = f"issue {number} could not be told what it waits for"
        try:
            if ends:
                self._github.ask("DELETE", f"{path}/{by}", what)
            else:
                self._github.ask("POST", path, what, body={"issue_id": by})
        except ForgeRefused as e:
            # A repeated request finds it done; and nobody minds what was taken away already.
            is_there = e.status == 422 and "already" in e.message.lower()
            if not (e.status == 404 if ends else is_there):
                raise


def _looking(
    repository: str,
    labels: Sequence[str],
    people: Sequence[str],
    epic: str,
    there: Sequence[str],
) -> tuple[str, dict[str, Any]]:
    """Return the query for what issues are made with, and its variables."""
    owner, _, name = repository.partition("/")
    given: dict[str, tuple[str, Any]] = {"owner": ("String!", owner), "name": ("String!", name)}
    asked = ["id", "hasIssuesEnabled"]
    for n, label in enumerate(labels):
        given[f"l{n}"] = "String!", label
        asked.append(f"l{n}: label(name: $l{n}) {{ id }}")
    for n, login in enumerate(people):
        given[f"u{n}"] = "String!", login
        asked.append(f"u{n}: assignableUsers(query: $u{n}, first: 10) {{ nodes {{ id login }} }}")
    where, is_milestone, number = epic.rpartition(f"{MILESTONE} ")
    # That of another repository is none here.
    if is_milestone and where.strip().lower() in ("", repository.lower()):
        given["milestone"] = "Int!", int(number)
        asked.append("milestone(number: $milestone) { id }")
    parts = [f"repository(owner: $owner, name: $name) {{ {' '.join(asked)} }}"]
    if epic and not is_milestone:
        where, _, number = epic.partition("#")
        of, _, which = (where or repository).partition("/")
        given |= {"of": ("String!", of), "which": ("String!", which), "epic": ("Int!", int(number))}
        parts.append("epic: repository(owner: $of, name: $which) { issue(number: $epic) { id } }")
    if there:
        given["there"] = "[ID!]!", [*there]
        parts.append("nodes(ids: $there) { ... on Issue { id } }")
    heads = ", ".join(f"${name}: {kind}" for name, (kind, _) in given.items())
    document = f"query Ground({heads}) {{ {' '.join(parts)} }}"
    return document, {name: value for name, (_, value) in given.items()}


def _input(write: IssueWrite, ground: Ground) -> dict[str, Any]:
    match write:
        case NewIssue(_, title, body, labels, people, parent):
            about: dict[str, Any] = {"repositoryId": ground.repository, "title": title}
            about |= {"body": body}
            tags = [node for name in labels if (node := ground.labels.get(name))]
            about |= {"labelIds": tags} if tags else {}
            whom = [ground.people[who] for who in people if who in ground.people]
            about |= {"assigneeIds": whom} if whom else {}
            about |= {"milestoneId": ground.milestone} if ground.milestone else {}
            return about | ({"parentIssueId": parent} if parent else {})
        case EditIssue(node, title, body):
            return {"id": node, "title": title, "body": body}
        case CloseIssue(node, reason):
            return {"issueId": node, "stateReason": reason.upper()}
        case ReopenIssue(node):
            return {"issueId": node}
        case HangIssue(node, parent):
            return {"issueId": parent, "subIssueId": node, "replaceParent": True}
        case PlanIssue(node, milestone):
            return {"id": node, "milestoneId": milestone}


def _raise_for_all(wrong: Sequence[Mapping[str, Any]]) -> None:
    """Raise where what GraphQL says is about no write by itself.

    Without a place it has begun and not ended, or not understood the document at all.
    """
    why = f"issues could not be written: {_words(wrong)}"
    if {one.get("type") for one in wrong} <= _FOR_ALL:
        raise ForgeRefused(why, hint="the job's `permissions` want `issues: write`", status=403)
    if any("type" not in one and one.get("extensions") for one in wrong):
        raise ForgeRefused(why, hint="does the server know sub-issues?", status=422)
    if not any(one.get("path") for one in wrong):
        raise ForgeDown(why, hint="nothing is lost; run it again")


def _wrote(made: Mapping[str, Any] | None) -> IssueWrote:
    return IssueWrote(_issue(made)) if made else IssueWrote(refused="GitHub did not show it")


def _words(wrong: Iterable[Mapping[str, Any]]) -> str:
    """Return what GraphQL says against a document."""
    return "; ".join(dict.fromkeys(str(one.get("message", "")) for one in wrong)) or "no words"


def _closed(state: str, reason: Any) -> Literal["", "completed", "not_planned"]:
    if state.lower() != "closed":
        return ""
    return "not_planned" if str(reason).lower() in ("not_planned", "duplicate") else "completed"


def _issue(said: Mapping[str, Any]) -> Issue:
    return Issue(
        number=int(said["number"]),
        node=str(said["id"]),
        id=int(said["fullDatabaseId"] or 0),
        title=str(said["title"]),
        body=str(said["body"]),
        closed=_closed(said["state"], said["stateReason"]),
        url=str(said["url"]),
    )


def _listed(said: Mapping[str, Any]) -> Issue:
    return Issue(
        number=int(said["number"]),
        node=str(said["node_id"]),
        id=int(said["id"]),
        title=str(said["title"]),
        body=str(said["body"] or ""),
        closed=_closed(said["state"], said.get("state_reason")),
        url=str(said["html_url"]),
    )


__all__ = ["Issues"]
