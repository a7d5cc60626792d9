"""The REST requests that the fake answers, and the permission that each of them needs.

Start with ROUTES, which the decorator fills. A handler runs under the hub's lock, after the token's
permission was looked at, and returns the answer or raises Refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.forge.state import (
    Refused,
    Repository,
    Token,
    at_least,
)

if TYPE_CHECKING:
    from tests.forge.hub import Hub

MOST_TEXT = 65_536
NOT_FOUND = "Not Found"
NOT_ACCESSIBLE = "Resource not accessible by integration"


@dataclass
class Call:
    """One request, as a handler sees it."""

    hub: Hub
    by: Token | None
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def repo(self) -> Repository:
        """Return the repository that it is about."""
        name = f"{self.params['owner']}/{self.params['repo']}"
        for known, repository in self.hub.repositories.items():
            if known.lower() == name.lower():
                return repository
        raise Refused(404, NOT_FOUND)

    @property
    def who(self) -> Token:
        """Return the token; without one nothing is done."""
        if self.by is None:
            raise Refused(401, "Requires authentication")
        return self.by

    @property
    def login(self) -> str:
        """Return who asks."""
        return self.who.login


@dataclass
class Answer:
    """What is answered; a `listed` one is cut into pages by the server."""

    value: Any = None
    status: int = 200
    listed: str | None = None
    """Where the list of a page is: under this key beside a count, or all of it where it is empty."""
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    name: str
    needs: str
    """`SCOPE: LEVEL`, `issue: LEVEL` (issues or pull-requests, as it is), `metadata: read`, or empty."""
    role: str
    """What a person has to be."""
    pattern: re.Pattern[str]
    handler: Callable[[Call], Answer]

    @property
    def makes(self) -> bool:
        """Return whether it makes something that people read, of which only so many may be made."""
        ends = ("{repo}/issues", "/comments", "/pulls", "{repo}/labels", "/views")
        return self.name.startswith("POST ") and self.name.endswith(ends)


ROUTES: list[Route] = []
# Names with slashes in them.
_LONG = frozenset({"path", "basehead"})


def route(
    name: str, needs: str, role: str = ""
) -> Callable[[Callable[[Call], Answer]], Callable[[Call], Answer]]:
    """Return a decorator that makes a function answer a request, named as GitHub's description does."""
    path = name.partition(" ")[2]

    def part(found: re.Match[str]) -> str:
        is_long = found[1] in _LONG or (found[1] in ("ref", "branch") and "/commits/" not in path)
        return f"(?P<{found[1]}>{'.+?' if is_long else '[^/]+'})"

    pattern = re.compile(re.sub(r"\{(\w+)\}", part, path))
    by_default = "write" if needs.endswith("write") and not needs.startswith("issue") else "read"

    def keep(handler: Callable[[Call], Answer]) -> Callable[[Call], Answer]:
        ROUTES.append(Route(name, needs, role or by_default, pattern, handler))
        return handler

    return keep


def find(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the route of a request with what its path names."""
    found = [
        (one, match.groupdict())
        for one in ROUTES
        if one.name.startswith(method + " ") and (match := one.pattern.fullmatch(path))
    ]
    # A word that is written out goes before one that may be anything.
    return min(found, key=lambda one: one[0].name.count("{"), default=None)


def permit(one: Route, call: Call) -> None:
    """Refuse what the token may not, as GitHub does."""
    if not one.needs:
        return
    repo, token = call.repo, call.by
    if token is None:
        if repo.private:
            raise Refused(404, NOT_FOUND)
        if not one.needs.endswith("read"):
            raise Refused(401, "Requires authentication")
        return
    if token.kind == "person":
        if repo.private and not repo.may(token.login, "read"):
            raise Refused(404, NOT_FOUND)
        if not repo.may(token.login, one.role):
            raise Refused(403, "Must have admin rights to Repository.")
        if token.fine_for and not _fine(one, call, token):
            raise Refused(403, "Resource not accessible by personal access token")
        return
    if token.repository != repo.name:
        raise Refused(404 if repo.private else 403, NOT_FOUND if repo.private else NOT_ACCESSIBLE)
    scope, level = _scope(one, call)
    if scope == "metadata":
        return
    # No workflow can be given the administration of its repository.
    if scope == "administration" or not at_least(token.permissions, scope, level):
        raise Refused(403, NOT_ACCESSIBLE)


def _scope(one: Route, call: Call) -> tuple[str, str]:
    """Return the permission that a request needs, and its level."""
    scope, level = one.needs.split(": ")
    if scope == "issue":
        scope = "pull-requests" if _is_pull(call) else "issues"
    return scope, level


def _fine(one: Route, call: Call, token: Token) -> bool:
    """Return whether a fine-grained token may what its owner may."""
    scope, level = _scope(one, call)
    if level == "read" and not call.repo.private:
        return True
    is_granted = scope == "metadata" or at_least(token.permissions, scope, level)
    return token.fine_for == call.repo.owner and is_granted


def _is_pull(call: Call) -> bool:
    number = call.params.get("issue_number")
    if number is None and "comment_id" in call.params:
        comment = call.repo.comments.get(int(call.params["comment_id"]))
        number = str(comment.number) if comment else None
    issue = call.repo.issues.get(int(number)) if number else None
    return issue is not None and issue.pull is not None


def wrong(resource: str, code: str, **more: str) -> Refused:
    """Return the refusal of something that is not valid."""
    return Refused(422, "Validation Failed", {"resource": resource, "code": code, **more})
