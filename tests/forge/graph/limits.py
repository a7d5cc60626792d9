"""What a request of GraphQL costs, and which ones GitHub does not begin with.

Start with Request. Bounds, nodes and scopes are looked at before anything is executed, so a request
that is refused here did nothing. The sentences are GitHub's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    value_from_ast_untyped,
)

from tests.forge.state import Token

MOST_NODES = 500_000
MOST_PER_PAGE = 100
MAKING = frozenset(
    "addProjectV2DraftIssue addProjectV2ItemById convertProjectV2DraftIssueItemToIssue createIssue"
    " createLabel createProjectV2 createProjectV2Field".split()
)
"""Mutations that make something new, which is limited."""


class Hung(BaseException):
    """The request ended in the middle; what was done is done."""

    def __init__(self, trouble: str) -> None:
        super().__init__(trouble)
        self.trouble = trouble


@dataclass(frozen=True)
class _Asked:
    """One field that is asked for, and how often at most."""

    parent: str
    name: str
    type: str
    arguments: Mapping[str, Any]
    times: int


class Request:
    """One request: what it asks for, before it is executed."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]
    ) -> None:
        """Read a document that is known to be valid."""
        self._schema, self._variables = schema, variables
        self._fragments: dict[str, FragmentDefinitionNode] = {
            one.name.value: one
            for one in document.definitions
            if isinstance(one, FragmentDefinitionNode)
        }
        self.asked: list[_Asked] = []
        self.is_mutation = False
        for one in document.definitions:
            if isinstance(one, OperationDefinitionNode):
                self.is_mutation = one.operation.value == "mutation"
                top = schema.mutation_type if self.is_mutation else schema.query_type
                assert top is not None
                self.asked += self._walk(one.selection_set, top.name, 1)

    def _walk(self, selected: SelectionSetNode | None, parent: str, times: int) -> Iterator[_Asked]:
        for one in selected.selections if selected else ():
            if isinstance(one, InlineFragmentNode):
                name = one.type_condition.name.value if one.type_condition else parent
                yield from self._walk(one.selection_set, name, times)
            elif isinstance(one, FragmentSpreadNode):
                about = self._fragments[one.name.value]
                name = about.type_condition.name.value
                yield from self._walk(about.selection_set, name, times)
            elif isinstance(one, FieldNode) and not one.name.value.startswith("__"):
                fields = getattr(self._schema.type_map[parent], "fields", {})
                about_field = fields.get(one.name.value)
                if about_field is None:
                    continue
                given = {
                    it.name.value: value_from_ast_untyped(it.value, dict(self._variables))
                    for it in one.arguments or ()
                }
                kind = get_named_type(about_field.type).name
                yield _Asked(parent, one.name.value, kind, given, times)
                more = 1
                if kind.endswith("Connection"):
                    more = int(given.get("first") or given.get("last") or 0)
                elif (parent, one.name.value) == ("Query", "nodes"):
                    more = len(given.get("ids") or ())
                yield from self._walk(one.selection_set, kind, times * more)

    @property
    def nodes(self) -> int:
        """Return how many nodes it may be answered with."""
        return sum(
            one.times * int(one.arguments.get("first") or one.arguments.get("last") or 0)
            for one in self.asked
            if one.type.endswith("Connection")
        )

    @property
    def cost(self) -> int:
        """Return the points that it costs."""
        if self.is_mutation:
            return 1
        asked = sum(one.times for one in self.asked if one.type.endswith("Connection"))
        return max(1, round(asked / 100))

    @property
    def making(self) -> int:
        """Return how many new things it makes."""
        return sum(one.parent == "Mutation" and one.name in MAKING for one in self.asked)

    def refusals(self, by: Token) -> Iterator[tuple[str, str]]:
        """Yield why it is not executed: the type of the error, and a sentence."""
        yield from self._bounds()
        if by.scopes is not None and not by.fine_for:
            yield from self._scopes(by.scopes)

    def _bounds(self) -> Iterator[tuple[str, str]]:
        for one in self.asked:
            if not one.type.endswith("Connection"):
                continue
            bounds = {key: one.arguments.get(key) for key in ("first", "last")}
            given = {key: int(value) for key, value in bounds.items() if value is not None}
            if not given:
                yield (
                    "MISSING_PAGINATION_BOUNDARIES",
                    "You must provide a `first` or `last` value to properly paginate the"
                    f" `{one.name}` connection.",
                )
            for key, value in given.items():
                if value > MOST_PER_PAGE:
                    yield (
                        "EXCESSIVE_PAGINATION",
                        f"Requesting {value} records on the `{one.name}` connection exceeds the"
                        f" `{key}` limit of {MOST_PER_PAGE} records.",
                    )
        if self.nodes > MOST_NODES:
            yield (
                "MAX_NODE_LIMIT_EXCEEDED",
                f"This query requests up to {self.nodes:,} possible nodes which exceeds the maximum"
                f" limit of {MOST_NODES:,}.",
            )

    def _scopes(self, scopes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        told = set()
        for one in self.asked:
            if one.parent == "Mutation" and "ProjectV2" in one.name:
                needed, enough = "project", {"project"}
            elif (
                one.parent.startswith("ProjectV2") and one.parent != "ProjectV2Owner"
            ) or one.type in ("ProjectV2", "ProjectV2Connection", "ProjectV2ItemConnection"):
                needed, enough = "read:project", {"project", "read:project"}
            else:
                continue
            if enough & set(scopes) or one.name in told:
                continue
            told.add(one.name)
            granted = ", ".join(f"'{scope}'" for scope in sorted(scopes))
            yield (
                "INSUFFICIENT_SCOPES",
                "Your token has not been granted the required scopes to execute this query."
                f" The '{one.name}' field requires one of the following scopes: ['{needed}'],"
                f" but your token has only been granted the: [{granted}] scopes."
                " Please modify your token's scopes at: https://github.com/settings/tokens.",
            )
