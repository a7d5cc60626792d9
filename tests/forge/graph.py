"""The GraphQL that the fake answers, executed on GitHub's own schema.

Start with answer. A document that the schema would not take is a violation, and fails the test; a
field that the schema has and the fake does not is one too.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphql import (
    DirectiveDefinitionNode,
    DocumentNode,
    EnumTypeDefinitionNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    InputObjectTypeDefinitionNode,
    InterfaceTypeDefinitionNode,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
    TypeNode,
    build_schema,
    graphql_sync,
    parse,
    print_ast,
    validate,
)

from tests.forge import rest, wire
from tests.forge.published import FOLDER, SDL, require
from tests.forge.state import Issue, Refused, Repository, Token, at_least

if TYPE_CHECKING:
    from tests.forge.hub import Hub

JSON = dict[str, Any]

# What the fake knows something of. The whole schema takes seconds to read.
TYPES = frozenset(
    "Query Mutation Repository PullRequest Ref RateLimit Node Actor User Bot"
    " MarkPullRequestReadyForReviewPayload ConvertPullRequestToDraftPayload"
    " IssueComment UpdateIssueCommentPayload"
    " CheckRun CreateCheckRunPayload UpdateCheckRunPayload".split()
)
TOP = frozenset(
    "repository node nodes viewer rateLimit markPullRequestReadyForReview convertPullRequestToDraft"
    " updateIssueComment createCheckRun updateCheckRun".split()
)
"""The fields of Query and Mutation that are answered."""


@functools.cache
def schema() -> GraphQLSchema:
    """Return GitHub's schema, without a check of itself: it has mistakes that nobody minds."""
    require()
    return build_schema(SDL.read_text(), assume_valid=True, assume_valid_sdl=True)


@functools.cache
def _known() -> GraphQLSchema:
    """Return the part of GitHub's schema that the fake knows something of; it is kept in a file."""
    require()
    about = f"{sorted(TYPES)} {sorted(TOP)} {SDL.stat().st_mtime_ns}"
    kept = FOLDER / f"reduced-{hashlib.sha256(about.encode()).hexdigest()[:16]}.graphql"
    if not kept.exists():
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(print_ast(_cut(parse(SDL.read_text(), no_location=True))))
        new.replace(kept)
    return build_schema(kept.read_text(), assume_valid=True, assume_valid_sdl=True)


def _cut(whole: DocumentNode) -> DocumentNode:
    """Return a schema without the types that are not in TYPES, and the fields that need them."""
    leaves = (ScalarTypeDefinitionNode, EnumTypeDefinitionNode, DirectiveDefinitionNode)
    shapes = (ObjectTypeDefinitionNode, InterfaceTypeDefinitionNode)
    names = {one.name.value for one in whole.definitions if isinstance(one, leaves)} | TYPES
    names |= {"Boolean", "Float", "ID", "Int", "String"}
    inputs = {
        one.name.value: one
        for one in whole.definitions
        if isinstance(one, InputObjectTypeDefinitionNode)
    }
    wanted: set[str] = set()

    def want(type: TypeNode) -> None:
        name = _named(type)
        if name in inputs and name not in wanted:
            wanted.add(name)
            for field in inputs[name].fields or ():
                want(field.type)

    shown: list[Any] = []
    for one in whole.definitions:
        if isinstance(one, leaves):
            shown.append(one)
        elif isinstance(one, shapes) and one.name.value in TYPES:
            fields = [
                field
                for field in one.fields or ()
                if _named(field.type) in names
                and (one.name.value not in ("Query", "Mutation") or field.name.value in TOP)
            ]
            for field in fields:
                for argument in field.arguments or ():
                    want(argument.type)
            above = tuple(it for it in one.interfaces or () if it.name.value in TYPES)
            shown.append(replace(one, fields=tuple(fields), interfaces=above))
    shown += [inputs[name] for name in sorted(wanted)]
    return DocumentNode(definitions=tuple(shown))


def _named(type: TypeNode) -> str:
    while isinstance(type, ListTypeNode | NonNullTypeNode):
        type = type.type
    assert isinstance(type, NamedTypeNode)
    return type.name.value


def complaints(document: str) -> list[str]:
    """Return what GitHub's schema says against a document."""
    return [error.message for error in validate(schema(), parse(document))]


def answer(hub: Hub, by: Token | None, body: Mapping[str, Any]) -> JSON:
    """Return what GitHub says to a query or a mutation; raise Refused without a token."""
    if by is None:
        raise Refused(401, "This endpoint requires you to be authenticated.")
    document = str(body.get("query", ""))
    unknown = [error.message for error in validate(_known(), parse(document))]
    if unknown:
        # Only what all of the schema says is to be believed.
        said = complaints(document)
        said = said or [f"{one}: GitHub has this, the fake does not" for one in unknown]
        hub.violations += [f"GraphQL: {one}" for one in said]
        return {"errors": [{"message": one} for one in said]}
    done = graphql_sync(
        _known(),
        document,
        root_value=_Root(hub, by),
        variable_values=body.get("variables"),
        operation_name=body.get("operationName"),
        field_resolver=_resolve,
        type_resolver=lambda value, info, kind: str(value["__typename"]),
    )
    for error in done.errors or ():
        if not isinstance(error.original_error, _No):
            hub.violations.append(f"GraphQL: {error.message}")
    result: JSON = {"data": done.data}
    if done.errors:
        result["errors"] = [_error(error) for error in done.errors]
    return result


class _No(Exception):
    """An answer that is no, with the type of GitHub's error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _error(error: GraphQLError) -> JSON:
    shown: JSON = {"message": error.message, "path": error.path}
    if isinstance(error.original_error, _No):
        shown["type"] = error.original_error.kind
    return shown


class _Root:
    """What can be asked at the top, by the name of the field."""

    def __init__(self, hub: Hub, by: Token) -> None:
        self._hub, self._by = hub, by
        self.fields: dict[str, Callable[..., Any]] = {
            "repository": self._repository,
            "node": self._node,
            "nodes": lambda ids: [self._comment(str(id)) for id in ids],
            "viewer": lambda: _actor(by.login) | {"__typename": "User"},
            "rateLimit": self._rate_limit,
            "markPullRequestReadyForReview": lambda input: self._draft(input, False),
            "convertPullRequestToDraft": lambda input: self._draft(input, True),
            "updateIssueComment": self._update_comment,
            "createCheckRun": self._create_check,
            "updateCheckRun": self._update_check,
        }

    def _repository(self, owner: str, name: str, **_: Any) -> JSON:
        repository = self._hub.repositories.get(f"{owner}/{name}")
        if repository is None or not self._may(repository, "metadata", "read"):
            words = f"Could not resolve to a Repository with the name '{owner}/{name}'."
            raise _No("NOT_FOUND", words)
        return self._shown(repository)

    def _shown(self, repository: Repository) -> JSON:
        about = wire.repository(self._hub, repository)

        def pull(number: int) -> JSON:
            issue = repository.issues.get(number)
            if issue is None or issue.pull is None:
                words = f"Could not resolve to a PullRequest with the number of {number}."
                raise _No("NOT_FOUND", words)
            return self._pull(repository, issue)

        return {
            "__typename": "Repository",
            "id": about["node_id"],
            "databaseId": repository.id,
            "name": about["name"],
            "nameWithOwner": repository.name,
            "isPrivate": repository.private,
            "url": about["html_url"],
            "defaultBranchRef": {"name": repository.default_branch},
            "pullRequest": pull,
        }

    def _pull(self, repository: Repository, issue: Issue) -> JSON:
        assert issue.pull is not None
        about = wire.pull(self._hub, repository, issue)
        state = "MERGED" if about["merged"] else issue.state.upper()
        return {
            "__typename": "PullRequest",
            "id": about["node_id"],
            "fullDatabaseId": str(issue.pull.id),
            "number": issue.number,
            "title": issue.title,
            "body": issue.body,
            "state": state,
            "isDraft": issue.pull.draft,
            "url": about["html_url"],
            "headRefName": issue.pull.head,
            "headRefOid": issue.pull.head_sha,
            "baseRefName": issue.pull.base,
            "baseRefOid": issue.pull.base_sha,
            "merged": about["merged"],
            "closed": issue.state == "closed",
            "author": _actor(issue.author),
        }

    def _find(self, id: str) -> tuple[Repository, Issue]:
        for repository in self._hub.repositories.values():
            for issue in repository.issues.values():
                if issue.pull and wire.node_id("PullRequest", issue.pull.id) == id:
                    return repository, issue
        raise _No("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'")

    def _node(self, id: str) -> JSON:
        return self._pull(*self._find(id))

    def _comment(self, id: str) -> JSON:
        for repository in self._hub.repositories.values():
            for comment in repository.comments.values():
                if wire.node_id("IssueComment", comment.id) == id:
                    about = {
                        "id": id,
                        "lastEditedAt": wire.at(comment.edited),
                        "body": comment.body,
                    }
                    return {"__typename": "IssueComment", **about}
        raise _No("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'")

    def _draft(self, input: Mapping[str, Any], draft: bool) -> JSON:
        repository, issue = self._find(str(input["pullRequestId"]))
        assert issue.pull is not None
        if not self._may(repository, "pull-requests", "write"):
            raise _No("FORBIDDEN", "Resource not accessible by integration")
        if draft and not repository.allow_drafts:
            raise _No("UNPROCESSABLE", "Draft pull requests are not supported in this repository.")
        if issue.state != "open":
            raise _No("UNPROCESSABLE", "Pull request is closed")
        if issue.pull.draft != draft:
            issue.pull.draft, issue.updated = draft, self._hub.now()
            action = "converted_to_draft" if draft else "ready_for_review"
            self._hub.pull_event(repository, issue, action, self._by)
        return {
            "clientMutationId": input.get("clientMutationId"),
            "pullRequest": self._pull(repository, issue),
        }

    # What these change is what REST changes, and by its rules.

    def _rest(self, method: str, where: Repository, path: str, body: JSON) -> JSON:
        path = f"/repos/{where.name}{path}"
        found = rest.find(method, path)
        assert found is not None, path
        one, params = found
        call = rest.Call(self._hub, self._by, params, {}, body)
        try:
            rest.permit(one, call)
            return dict(one.handler(call).value)
        except Refused as e:
            kind = "FORBIDDEN" if e.status in (403, 404) else "UNPROCESSABLE"
            raise _No(kind, e.message) from None

    def _update_comment(self, input: Mapping[str, Any]) -> JSON:
        id = str(input["id"])
        for repository in self._hub.repositories.values():
            for comment in repository.comments.values():
                if wire.node_id("IssueComment", comment.id) == id:
                    path = f"/issues/comments/{comment.id}"
                    said = self._rest("PATCH", repository, path, {"body": input["body"]})
                    return {"issueComment": {"__typename": "IssueComment", "id": said["node_id"]}}
        raise _No("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'")

    def _create_check(self, input: Mapping[str, Any]) -> JSON:
        repository = self._repository_of(input)
        body = _as_rest(input) | {"name": input["name"], "head_sha": input["headSha"]}
        return _check_shown(self._rest("POST", repository, "/check-runs", body))

    def _update_check(self, input: Mapping[str, Any]) -> JSON:
        repository, id = self._repository_of(input), str(input["checkRunId"])
        for check in repository.checks.values():
            if wire.node_id("CheckRun", check.id) == id:
                path = f"/check-runs/{check.id}"
                return _check_shown(self._rest("PATCH", repository, path, _as_rest(input)))
        raise _No("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'")

    def _repository_of(self, input: Mapping[str, Any]) -> Repository:
        id = str(input["repositoryId"])
        for repository in self._hub.repositories.values():
            if wire.repository(self._hub, repository)["node_id"] == id:
                return repository
        raise _No("NOT_FOUND", f"Could not resolve to a node with the global id of '{id}'")

    def _rate_limit(self, **_: Any) -> JSON:
        return {"cost": 1, "limit": 1000, "remaining": 999, "used": 1, "nodeCount": 1}

    def _may(self, repository: Repository, scope: str, level: str) -> bool:
        if self._by.kind == "person":
            return repository.may(self._by.login, level)
        if self._by.repository != repository.name:
            return False
        return scope == "metadata" or at_least(self._by.permissions, scope, level)


def _as_rest(input: Mapping[str, Any]) -> JSON:
    """Return what is said of a check as REST says it."""
    body = {key: str(input[key]).lower() for key in ("status", "conclusion") if key in input}
    return body | ({"output": dict(input["output"])} if "output" in input else {})


def _check_shown(said: Mapping[str, Any]) -> JSON:
    shown = {"__typename": "CheckRun", "id": said["node_id"], "databaseId": said["id"]}
    return {"checkRun": shown}


def _actor(login: str) -> JSON:
    return {
        "__typename": "Bot" if login.endswith("[bot]") else "User",
        "login": login.removesuffix("[bot]"),
    }


def _resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    fields = source.fields if isinstance(source, _Root) else source
    if info.field_name not in fields:
        raise AssertionError(
            f"the fake has no {info.parent_type.name}.{info.field_name}, GitHub has"
        )
    value = fields[info.field_name]
    return value(**arguments) if callable(value) else value
