"""A board as it is, and what can be written to it: the words that its parts share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Value = str | float
"""Text, the name of an option, a date as YYYY-MM-DD, or a number."""
Kind = Literal["TEXT", "NUMBER", "DATE", "SINGLE_SELECT"]
Color = Literal["BLUE", "GRAY", "GREEN", "ORANGE", "PINK", "PURPLE", "RED", "YELLOW"]


@dataclass(frozen=True)
class Option:
    """One choice of a field; without an `id` it is to be made."""

    name: str
    id: str = ""
    color: Color = "GRAY"
    description: str = ""


@dataclass(frozen=True)
class Field:
    """A field of a board; `kind` is any of the forge's, also such as nobody can write to."""

    id: str
    name: str
    kind: str
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class Project:
    """A board, with all its fields."""

    id: str
    number: int
    title: str
    url: str
    fields: tuple[Field, ...]
    may_write: bool = True
    is_closed: bool = False


@dataclass(frozen=True)
class Item:
    """A card that is on a board; `values` are by the id of their field, only those that are set.

    `content` is the node of its draft or issue, empty where nobody may see it.
    """

    id: str
    content: str
    is_draft: bool
    title: str
    body: str = ""
    is_archived: bool = False
    values: Mapping[str, Value] = field(default_factory=dict)


# --- what is written ------------------------------------------------------------------------------


@dataclass(frozen=True)
class AddDraft:
    """A new card of a task."""

    task: str
    title: str
    body: str


@dataclass(frozen=True)
class AddContent:
    """A card for the issue of a task, which may be there already."""

    task: str
    content: str


@dataclass(frozen=True)
class EditDraft:
    """Another title and text of a card that is no issue."""

    content: str
    title: str
    body: str


@dataclass(frozen=True)
class SetValue:
    """A value of a card, whose field is of a kind; of a choice it is the id of the option."""

    item: str
    field: str
    kind: Kind
    value: Value


@dataclass(frozen=True)
class ClearValue:
    """A card has no value in a field any more."""

    item: str
    field: str


@dataclass(frozen=True)
class Archive:
    """A card is put away, or with `back` is shown again."""

    item: str
    back: bool = False


@dataclass(frozen=True)
class AddField:
    """A field that the board lacks."""

    name: str
    kind: Kind
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class SetOptions:
    """All choices of a field in their order, those that were there and new ones.

    Their ids may be others afterwards, and so may what cards had chosen.
    """

    field: str
    options: tuple[Option, ...]


Write = AddDraft | AddContent | EditDraft | SetValue | ClearValue | Archive | AddField | SetOptions


@dataclass(frozen=True)
class Wrote:
    """What came of one write: the node of what was made, if any, or why it was not done.

    Of a card `content` is the node of its draft or issue.
    """

    id: str = ""
    content: str = ""
    refused: str = ""


class Board(Protocol):
    """One board of a forge; each method is one request, and raises ForgeRefused or ForgeDown.

    A token that lacks a right is ForgeRefused; the message names the right, the hint where it is
    given.
    """

    @property
    def asked(self) -> int:
        """Return how many requests were made so far."""
        ...

    def look(self, items: Sequence[str] = ()) -> tuple[Project, Mapping[str, Item]]:
        """Return the board, and of at most 100 cards those that are still there, by their id."""
        ...

    def all(self) -> Iterator[Item]:
        """Go through all cards, 100 a request."""
        ...

    def write(self, project: str, writes: Sequence[Write]) -> tuple[Wrote, ...]:
        """Do at most 50 writes in their order, and return what came of each.

        ForgeDown where nobody knows which of them were done.
        """
        ...


__all__ = [
    "AddContent",
    "AddDraft",
    "AddField",
    "Archive",
    "Board",
    "ClearValue",
    "Color",
    "EditDraft",
    "Field",
    "Item",
    "Kind",
    "Option",
    "Project",
    "SetOptions",
    "SetValue",
    "Value",
    "Write",
    "Wrote",
]
