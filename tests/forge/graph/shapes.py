"""What several parts of GraphQL show alike, and who asks for it.

Start with Asker: whatever has an id is found through it, and what its token may is decided there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tests.forge import rest, wire
from tests.forge.boards import Project
from tests.forge.state import Issue, No, Refused, Repository, Token, at_least

if TYPE_CHECKING:
    from tests.forge.hub import Hub

JSON = dict[str, Any]
INTEGRATION = "Resource not accessible by integration"
FINE = "Resource not accessible by personal access token"


def purse(by: Token) -> str:
    """Return whose points and new things a request counts in."""
    return by.login if by.kind == "person" else f"{by.kind} {by.repository}"


def connection(items: Sequence[Any], show: Callable[[Any], JSON], **asked: Any) -> JSON:
    """Return a page of a list as GraphQL has it; a cursor is a number, in disguise."""
    start, end = 0, len(items)
    if asked.get("after"):
        start = _number(asked["after"])
    if asked.get("before"):
        end = min(end, _number(asked["before"]) - 1)
    first, last = asked.get("first"), asked.get("last")
    if first is not None:
        end = min(end, start + first)
    if last is not None:
        start = max(start, end - last)
    page = items[start:end]

    def edges() -> list[JSON]:
        return [{"cursor": _cursor(start + at), "node": show(it)} for at, it in enumerate(page, 1)]

    return {
        "totalCount": len(items),
        "nodes": lambda: [show(one) for one in page],
        "edges": edges,
        "pageInfo": {
            "startCursor": _cursor(start + 1) if page else None,
            "endCursor": _cursor(end) if page else None,
            "hasNextPage": end < len(items),
            "hasPreviousPage": start > 0,
        },
    }


def _cursor(number: int) -> str:
    return base64.b64encode(f"cursor:{number}".encode()).decode().rstrip("=")


def _number(cursor: str) -> int:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        return int(base64.b64decode(padded).decode().removeprefix("cursor:"))
    except ValueError:
        words = f"`{cursor}` does not appear to be a valid cursor."
        raise No("INVALID_CURSOR_ARGUMENTS", words) from None


def missing(id: str) -> No:
    """Return what GitHub says of an id that there is nothing for."""
    return No("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'.")


class Asker:
    """Who asks, and of what."""

    def __init__(self, hub: Hub, by: Token) -> None:
        """Ask a hub with a token."""
        self.hub, self.by = hub, by
        self.kinds: dict[str, Callable[[str], JSON]] = {}
        """What shows something of a kind by its id, by what the id begins with."""

    # --- what a token may

    def may(self, repository: Repository, scope: str, level: str) -> bool:
        """Return whether the token may do something in a repository."""
        if self.by.fine_for:
            is_own = self.by.fine_for == repository.owner
            is_granted = scope == "metadata" or at_least(self.by.permissions, scope, level)
            if not (is_own and is_granted) and not (level == "read" and not repository.private):
                return False
        if self.by.kind == "person":
            return repository.may(self.by.login, level)
        if self.by.repository != repository.name:
            return level == "read" and not repository.private
        return scope == "metadata" or at_least(self.by.permissions, scope, level)

    def demand(self, repository: Repository, scope: str, level: str = "write") -> None:
        """Refuse what the token may not do in a repository."""
        if not self.may(repository, "metadata", "read"):
            raise No("NOT_FOUND", "Could not resolve to a node.")
        if not self.may(repository, scope, level):
            words = INTEGRATION if self.by.kind != "person" else FINE
            raise No("FORBIDDEN", words)

    def level(self, project: Project) -> str:
        """Return what the token may do to a project: none, read or write.

        A job's own token never sees one, an App's and a fine-grained one only an organisation's.
        """
        is_organisation = project.owner in self.hub.organisations
        open_to_all = "read" if project.public else "none"
        if self.by.kind == "default":
            return "none"
        if self.by.kind == "app":
            owner = self.by.repository.partition("/")[0]
            if not is_organisation or owner != project.owner:
                return open_to_all
            return self.by.permissions.get("organization-projects", "none")
        granted = self._personal(project) or open_to_all
        if self.by.fine_for:
            if not is_organisation or self.by.fine_for != project.owner:
                return open_to_all
            mine = self.by.permissions.get("organization-projects", "none")
            return min(granted, mine, key=("none", "read", "write").index)
        return granted

    def _personal(self, project: Project) -> str:
        login = self.by.login
        if login == project.owner or login in self.hub.organisations.get(project.owner, ()):
            return "write"
        return project.people.get(login, "")

    # --- what there is

    def node(self, id: str) -> JSON:
        """Return whatever has an id; refuse where there is nothing."""
        show = self.kinds.get(_kind(id))
        if show is None:
            raise missing(id)
        return show(id)

    def repository(self, id: str) -> Repository:
        """Return a repository by its id."""
        for one in self.hub.repositories.values():
            if wire.node_id("Repository", one.id) == id and self.may(one, "metadata", "read"):
                return one
        raise missing(id)

    def issue(self, id: str) -> tuple[Repository, Issue]:
        """Return an issue by its id."""
        for repository in self.hub.repositories.values():
            for one in repository.issues.values():
                if wire.node_id("Issue", one.id) == id and self.may(repository, "issues", "read"):
                    return repository, one
        raise missing(id)

    def logins(self) -> set[str]:
        """Return all accounts that there are."""
        hub = self.hub
        found = {one.owner for one in hub.repositories.values()} | set(hub.organisations)
        found |= {one.login for one in hub.tokens.values()}
        found |= {one for repository in hub.repositories.values() for one in repository.people}
        return found | {one.owner for one in hub.projects}

    def account(self, id: str) -> str:
        """Return the login of an account by its id."""
        for login in self.logins():
            if wire.user(self.hub, login)["node_id"] == id:
                return login
        raise missing(id)

    def person(self, login: str) -> JSON:
        """Return an account that something is done by."""
        is_bot = login.endswith("[bot]")
        about = wire.user(self.hub, login)
        return {
            "__typename": "Bot" if is_bot else "User",
            "id": about["node_id"],
            "databaseId": about["id"],
            "login": login.removesuffix("[bot]"),
            "url": about["html_url"],
        }

    def rest(self, method: str, where: Repository, path: str, body: JSON) -> JSON:
        """Do what a REST request does, by its rules, and return what it shows."""
        path = f"/repos/{where.name}{path}"
        found = rest.find(method, path)
        assert found is not None, path
        one, params = found
        call = rest.Call(self.hub, self.by, params, {}, body)
        try:
            rest.permit(one, call)
            return dict(one.handler(call).value)
        except Refused as e:
            kind = "FORBIDDEN" if e.status in (403, 404) else "UNPROCESSABLE"
            raise No(kind, e.message) from None


def _kind(id: str) -> str:
    """Return the beginning of an id that says what it is of; some are in disguise."""
    if "_" in id:
        return id.partition("_")[0]
    try:
        return base64.b64decode(id, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""
