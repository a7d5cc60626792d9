"""One request of GraphQL from its arrival to its answer.

Start with answer. The mutations of a request are done one after the other; one that fails leaves its
error, with its path, beside the data of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLError,
    GraphQLResolveInfo,
    graphql_sync,
    parse,
    validate,
)

from tests.forge import wire
from tests.forge.graph.issues import Issues
from tests.forge.graph.limits import Hung, Request
from tests.forge.graph.projects import Projects
from tests.forge.graph.repositories import Repositories
from tests.forge.graph.schemas import complaints, known
from tests.forge.graph.shapes import Asker, purse
from tests.forge.state import No, Refused, Token

if TYPE_CHECKING:
    from tests.forge.hub import Hub

JSON = dict[str, Any]
SOMETHING = "Something went wrong while executing your query. Please include `0000:0000:000` when reporting this issue."
KINDS = {403: "FORBIDDEN", 404: "NOT_FOUND", 422: "UNPROCESSABLE", 429: "RATE_LIMITED"}


def answer(hub: Hub, by: Token | None, body: Mapping[str, Any]) -> JSON:
    """Return what GitHub says to a query or a mutation; raise Refused without a token.

    Raise Hung where the request was to end in the middle.
    """
    if by is None:
        raise Refused(401, "This endpoint requires you to be authenticated.")
    document, variables = str(body.get("query", "")), body.get("variables") or {}
    schema = known(is_dated=hub.is_dated)
    parsed = parse(document)
    unknown = [error.message for error in validate(schema, parsed)]
    if unknown:
        if hub.is_dated and not validate(known(), parsed):
            return {"errors": [{"message": one} for one in unknown]}
        # Only what all of the schema says is to be believed.
        said = complaints(document)
        said = said or [f"{one}: GitHub has this, the fake does not" for one in unknown]
        hub.violations += [f"GraphQL: {one}" for one in said]
        return {"errors": [{"message": one} for one in said]}
    request = Request(schema, parsed, variables)
    refused = list(request.refusals(by))
    if refused:
        return {"errors": [{"type": kind, "message": one} for kind, one in refused]}
    if request.making and (too_many := hub.made(purse(by), request.making)):
        raise Refused(403, too_many)
    hub.points[purse(by)] += request.cost
    done = graphql_sync(
        schema,
        document,
        root_value=_Root(hub, by, request),
        variable_values=variables,
        operation_name=body.get("operationName"),
        field_resolver=_resolve,
        type_resolver=lambda value, info, kind: str(value["__typename"]),
    )
    for error in done.errors or ():
        if not isinstance(error.original_error, No):
            hub.violations.append(f"GraphQL: {error.message}")
    result: JSON = {"data": done.data}
    if done.errors:
        result["errors"] = [_error(error) for error in done.errors]
    return result


def _error(error: GraphQLError) -> JSON:
    places = [{"line": at.line, "column": at.column} for at in error.locations or ()]
    shown: JSON = {"path": error.path, "locations": places, "message": error.message}
    if isinstance(error.original_error, No) and error.original_error.kind:
        shown = {"type": error.original_error.kind} | shown
    return shown


class _Root:
    """What can be asked at the top, by the name of the field."""

    def __init__(self, hub: Hub, by: Token, request: Request) -> None:
        asker = Asker(hub, by)
        self._asker, self._request = asker, request
        self._parts = (Repositories(asker), Issues(asker), Projects(asker))
        self.fields: dict[str, Callable[..., Any]] = {
            "node": self._node,
            "nodes": self._nodes,
            "viewer": lambda: asker.person(by.login),
            "rateLimit": self._rate_limit,
        }
        for part in self._parts:
            self.fields |= part.fields

    def _node(self, id: str) -> JSON:
        return self._asker.node(id)

    def _nodes(self, ids: list[str]) -> list[JSON | No]:
        found: list[JSON | No] = []
        for id in ids:
            try:
                found.append(self._asker.node(id))
            except No as no:
                found.append(no)
        return found

    def _rate_limit(self, **_: Any) -> JSON:
        limit = 5000 if self._asker.by.kind == "person" else 1000
        used = self._asker.hub.points[purse(self._asker.by)]
        reset = self._asker.hub.now().replace(minute=59, second=59)
        return {
            "cost": self._request.cost,
            "nodeCount": self._request.nodes,
            "limit": limit,
            "used": used,
            "remaining": max(limit - used, 0),
            "resetAt": wire.at(reset),
        }


def _resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    fields = source.fields if isinstance(source, _Root) else source
    if info.field_name not in fields:
        raise AssertionError(
            f"the fake has no {info.parent_type.name}.{info.field_name}, GitHub has"
        )
    value = fields[info.field_name]
    if info.parent_type.name == "Mutation":
        return _mutate(info, lambda: value(**arguments))
    return value(**arguments) if callable(value) else value


def _mutate(info: GraphQLResolveInfo[Any], do: Callable[[], Any]) -> Any:
    """Do one mutation, or what is wrong with it today."""
    asked = f"GRAPHQL {info.path.key} {info.field_name}"
    trouble, message = info.root_value._asker.hub.trouble_within(asked) or (None, "")
    if isinstance(trouble, int):
        raise No(KINDS.get(trouble, ""), message or SOMETHING)
    if trouble in ("away", "silent"):
        raise Hung(str(trouble))
    done = do()
    if trouble == "lost":
        raise No("", message or SOMETHING)
    return done
