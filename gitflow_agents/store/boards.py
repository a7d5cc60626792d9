"""What a plan's state remembers of its board: an index, and the cards in a few dozen files.

It is a cache that is part of the state's tree, so that who writes to a board says so by the same
commit that others lose a race by.  What cannot be read is nothing: the board is read again then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from gitflow_agents import spec
from gitflow_agents.board.memory import FOLDER, INDEX, Index, Placed, Shard, shard_path
from gitflow_agents.errors import FlowError
from gitflow_agents.models import SCHEMA
from gitflow_agents.store.repository import FOLDER as A_FOLDER
from gitflow_agents.store.repository import Repository
from gitflow_agents.store.state import Draft

M = TypeVar("M", Index, Shard)


@dataclass(frozen=True)
class Remembered:
    """What is known of a board, and of the card of each task."""

    index: Index = field(default_factory=Index)
    cards: Mapping[str, Placed] = field(default_factory=dict)


def index_of(repository: Repository, tree: str) -> Index:
    """Return what a state's tree knows of the board as a whole: one file is read."""
    data = repository.read(tree, INDEX) if tree else None
    found = _read(Index, data) if data is not None else None
    return found or Index()


def read(repository: Repository, tree: str) -> Remembered:
    """Return all that a state's tree knows of the board."""
    folder = repository.find(tree, FOLDER) if tree else None
    if folder is None or folder.mode != A_FOLDER:
        return Remembered()
    index = index_of(repository, tree)
    there = repository.tree(folder.sha)
    shas = [entry.sha for name, entry in there.items() if f"{FOLDER}/{name}" != INDEX]
    cards: dict[str, Placed] = {}
    for data in repository.blobs(shas):
        if (shard := _read(Shard, data)) is None:
            # Who forgets some cards would make them again.
            return Remembered(index.model_copy(update={"is_read": False, "told": ""}))
        cards |= shard.cards
    return Remembered(index, cards)


def put(draft: Draft, now: Remembered, before: Remembered) -> bool:
    """Stage what is new of what is remembered, and say whether anything is."""
    files: dict[str, bytes] = {}
    if now.index != before.index:
        files[INDEX] = _written(now.index)
    new = {shard_path(task) for task, card in now.cards.items() if before.cards.get(task) != card}
    new |= {shard_path(task) for task in before.cards.keys() - now.cards.keys()}
    for path in sorted(new):
        cards = {task: card for task, card in now.cards.items() if shard_path(task) == path}
        files[path] = _written(Shard(cards=dict(sorted(cards.items()))))
    draft.files.update(files)
    return bool(files)


def _written(value: Index | Shard) -> bytes:
    said = value.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return spec.to_yaml({"schema": SCHEMA, **said})


def _read(kind: type[M], data: bytes) -> M | None:
    with contextlib.suppress(FlowError, ValidationError):
        return kind.model_validate(spec.from_yaml(data))
    return None


__all__ = ["Remembered", "index_of", "put", "read"]
