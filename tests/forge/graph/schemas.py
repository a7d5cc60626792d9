"""GitHub's schema: what is published for programs, and what github.com has had since.

Start with schema. NEWER was seen on github.com (by introspection, told in public in 2026) and is not
in the package yet; a GitHub that `is_dated` does not know it.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import replace
from typing import Any

from graphql import (
    DirectiveDefinitionNode,
    DocumentNode,
    EnumTypeDefinitionNode,
    GraphQLSchema,
    InputObjectTypeDefinitionNode,
    InterfaceTypeDefinitionNode,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
    TypeNode,
    UnionTypeDefinitionNode,
    build_ast_schema,
    build_schema,
    parse,
    print_ast,
    validate,
)

from tests.forge.published import FOLDER, SDL, require

NEWER = """
enum ProjectV2ItemArchivedState { ARCHIVED NOT_ARCHIVED }
type ProjectV2 {
  items(archivedStates: [ProjectV2ItemArchivedState!] = [NOT_ARCHIVED], query: String): Int
}
input ProjectV2SingleSelectFieldOptionInput { id: String }
"""
"""Arguments, fields and types beside those that are published."""

# What the fake knows something of. The whole schema takes seconds to read.
TYPES = frozenset(
    "Query Mutation Repository PullRequest Ref RateLimit Node Actor User Bot PageInfo"
    " RepositoryOwner Organization ProjectV2Owner Assignable Labelable"
    " MarkPullRequestReadyForReviewPayload ConvertPullRequestToDraftPayload"
    " IssueComment UpdateIssueCommentPayload"
    " CheckRun CreateCheckRunPayload UpdateCheckRunPayload"
    " Issue IssueConnection IssueOrPullRequest Label LabelConnection UserConnection Milestone"
    " SubIssuesSummary CreateIssuePayload UpdateIssuePayload CloseIssuePayload ReopenIssuePayload"
    " AddSubIssuePayload RemoveSubIssuePayload AddLabelsToLabelablePayload"
    " AddAssigneesToAssignablePayload CreateLabelPayload"
    " ProjectV2 ProjectV2Connection ProjectV2Item ProjectV2ItemConnection ProjectV2ItemContent"
    " DraftIssue ProjectV2Field ProjectV2FieldCommon ProjectV2FieldConfiguration"
    " ProjectV2FieldConfigurationConnection ProjectV2SingleSelectField"
    " ProjectV2SingleSelectFieldOption ProjectV2IterationField"
    " ProjectV2IterationFieldConfiguration ProjectV2IterationFieldIteration"
    " ProjectV2ItemFieldValue ProjectV2ItemFieldValueCommon ProjectV2ItemFieldValueConnection"
    " ProjectV2ItemFieldDateValue ProjectV2ItemFieldIterationValue ProjectV2ItemFieldLabelValue"
    " ProjectV2ItemFieldMilestoneValue ProjectV2ItemFieldNumberValue"
    " ProjectV2ItemFieldRepositoryValue ProjectV2ItemFieldSingleSelectValue"
    " ProjectV2ItemFieldTextValue ProjectV2ItemFieldUserValue"
    " CreateProjectV2Payload UpdateProjectV2Payload CreateProjectV2FieldPayload"
    " UpdateProjectV2FieldPayload DeleteProjectV2FieldPayload AddProjectV2DraftIssuePayload"
    " UpdateProjectV2DraftIssuePayload AddProjectV2ItemByIdPayload"
    " UpdateProjectV2ItemFieldValuePayload ClearProjectV2ItemFieldValuePayload"
    " ArchiveProjectV2ItemPayload UnarchiveProjectV2ItemPayload DeleteProjectV2ItemPayload"
    " UpdateProjectV2ItemPositionPayload ConvertProjectV2DraftIssueItemToIssuePayload"
    " LinkProjectV2ToRepositoryPayload".split()
)
TOP = frozenset(
    "repository node nodes viewer rateLimit user organization repositoryOwner"
    " markPullRequestReadyForReview convertPullRequestToDraft"
    " updateIssueComment createCheckRun updateCheckRun"
    " createIssue updateIssue closeIssue reopenIssue addSubIssue removeSubIssue createLabel"
    " addLabelsToLabelable addAssigneesToAssignable"
    " createProjectV2 updateProjectV2 createProjectV2Field updateProjectV2Field"
    " deleteProjectV2Field addProjectV2DraftIssue updateProjectV2DraftIssue addProjectV2ItemById"
    " updateProjectV2ItemFieldValue clearProjectV2ItemFieldValue archiveProjectV2Item"
    " unarchiveProjectV2Item deleteProjectV2Item updateProjectV2ItemPosition"
    " convertProjectV2DraftIssueItemToIssue linkProjectV2ToRepository".split()
)
"""The fields of Query and Mutation that are answered."""


@functools.cache
def schema(*, is_dated: bool = False) -> GraphQLSchema:
    """Return GitHub's schema, without a check of itself: it has mistakes that nobody minds."""
    require()
    return build_ast_schema(_whole(is_dated), assume_valid=True, assume_valid_sdl=True)


@functools.cache
def known(*, is_dated: bool = False) -> GraphQLSchema:
    """Return the part of GitHub's schema that the fake knows something of; it is kept in a file."""
    require()
    about = f"{sorted(TYPES)} {sorted(TOP)} {'' if is_dated else NEWER} {SDL.stat().st_mtime_ns}"
    kept = FOLDER / f"reduced-{hashlib.sha256(about.encode()).hexdigest()[:16]}.graphql"
    if not kept.exists():
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(print_ast(_cut(_whole(is_dated))))
        new.replace(kept)
    return build_schema(kept.read_text(), assume_valid=True, assume_valid_sdl=True)


def complaints(document: str, *, is_dated: bool = False) -> list[str]:
    """Return what GitHub's schema says against a document."""
    return [error.message for error in validate(schema(is_dated=is_dated), parse(document))]


def _whole(is_dated: bool) -> DocumentNode:
    published = parse(SDL.read_text(), no_location=True)
    if is_dated:
        return published
    newer = {_name(one): one for one in parse(NEWER, no_location=True).definitions}
    merged = [_merged(one, newer.pop(_name(one), None)) for one in published.definitions]
    return DocumentNode(definitions=(*merged, *newer.values()))


def _merged(old: Any, new: Any) -> Any:
    """Return a type with the fields and arguments that another one has beside its own."""
    if new is None:
        return old
    fields = {_name(one): one for one in old.fields}
    for one in new.fields:
        there = fields.get(_name(one))
        if there is None:
            fields[_name(one)] = one
        else:
            fields[_name(one)] = replace(there, arguments=(*there.arguments, *one.arguments))
    return replace(old, fields=tuple(fields.values()))


def _name(node: Any) -> str:
    return node.name.value if getattr(node, "name", None) else ""


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
        elif isinstance(one, UnionTypeDefinitionNode) and one.name.value in TYPES:
            kept = tuple(it for it in one.types or () if it.name.value in TYPES)
            shown.append(replace(one, types=kept))
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
