"""What is remembered of a board between two passes, in the plan's state below `board/`.

It is a cache: without it the board is read once, and everything is found again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from gitflow_agents.models import SCHEMA, Model

FOLDER = "board"
INDEX = f"{FOLDER}/index.yaml"


def shard_path(task: str) -> str:
    """Return the file that remembers the card of a task."""
    return f"{FOLDER}/{hashlib.sha1(task.encode(), usedforsecurity=False).hexdigest()[:2]}.yaml"


class Placed(Model):
    """The card of one task: where it is, what was written there, and what is being written.

    Names of fields are ours, not those that people see.  `telling` holds what a write was begun
    with that nobody saw end: the card shows that or what `told` says.
    """

    item: str = ""
    content: str = ""
    told: Mapping[str, str | float | bool] = {}
    telling: Mapping[str, str | float | bool] = {}
    is_gone: bool = False
    """A person took the card off the board."""


class Writer(Model):
    """Who writes to the board now; the others leave it alone until then (seconds since epoch)."""

    nonce: str
    until: float


class Index(Model):
    """What is remembered of the board as a whole."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    project: str = ""
    """The node of the project; of another one nothing here is true."""
    url: str = ""
    fields: Mapping[str, str] = {}
    """The node of each of our fields, so that one that was renamed is known."""
    names: Mapping[str, str] = {}
    """What the config called each of our fields then; where that is new, cards are read anew."""
    lacking: Mapping[str, tuple[str, ...]] = {}
    """The choices that our fields lack there: nobody looks at cards for the sake of those."""
    writer: Writer | None = None
    is_read: bool = False
    """Cards that were there before us were looked for."""
    is_adding: bool = False
    """Cards were being made by who did not live to say so: they have to be looked for."""
    told: str = ""
    """A digest of all that the board is to show, when all of it was written."""
    refused: str = ""
    """Why nothing can be written, until that is another reason."""
    refused_at: str = ""
    """The digest that was to be told then; it is not tried again by itself for the same."""
    tries: int = 0
    """Times in a row that all that was to be written was refused."""
    waiting: tuple[str, ...] = ()
    """Tasks without a card until somebody says whether a card of their title is theirs."""
    choices: Mapping[str, Mapping[str, str]] = {}
    """What cards had chosen in fields whose choices are being rewritten: field, card, name."""


class Shard(Model):
    """The cards of some tasks."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    cards: Mapping[str, Placed] = {}


__all__ = ["FOLDER", "INDEX", "Index", "Placed", "Shard", "Writer", "shard_path"]
