"""The journal of a plan: every command that was given by a comment or a form, a file each.

It is part of the state's tree, so that a command and what it changed are one commit.  A file stays
when its command is over: that is how a comment that is heard twice is known.
"""

from __future__ import annotations

from gitflow_agents.models import Spoken
from gitflow_agents.store.repository import FOLDER, Repository
from gitflow_agents.store.state import Draft, read_spoken, write_record

JOURNAL = "commands"


def path(key: str) -> str:
    """Return where a command stands in the state's tree."""
    return f"{JOURNAL}/{key}.yaml"


def keys(repository: Repository, tree: str) -> frozenset[str]:
    """Return the keys of all commands that a state's tree has."""
    folder = repository.find(tree, JOURNAL)
    if folder is None or folder.mode != FOLDER:
        return frozenset()
    return frozenset(name.removesuffix(".yaml") for name in repository.tree(folder.sha))


def read(repository: Repository, tree: str, names: list[str]) -> list[Spoken]:
    """Return commands of a state's tree, in the order in which they are named."""
    folder = repository.find(tree, JOURNAL)
    there = repository.tree(folder.sha) if folder is not None else {}
    shas = [there[f"{name}.yaml"].sha for name in names if f"{name}.yaml" in there]
    return [read_spoken(data) for data in repository.blobs(shas)]


def starters(repository: Repository, tree: str) -> frozenset[str]:
    """Return who has had the plan started by a command."""
    done = (one for one in read(repository, tree, [*keys(repository, tree)]) if not one.dry_run)
    return frozenset(
        one.by for one in done if one.status == "done" and one.command.get("verb") == "start"
    )


def put(draft: Draft, spoken: Spoken) -> None:
    """Write a command down with a decision."""
    draft.files[path(spoken.key)] = write_record(spoken)


__all__ = ["JOURNAL", "keys", "path", "put", "read", "starters"]
