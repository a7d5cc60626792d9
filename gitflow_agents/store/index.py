"""The tree that git's index stands for, where it is small and plain enough to be read here.

`git write-tree` gives the same at the price of a process for each attempt.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from gitflow_agents.store.repository import EMPTY_TREE, FOLDER, Repository, Rows

MOST = 500
"""Entries; with more of them git is faster."""

_HEADER = struct.Struct(">4sLL")
_ENTRY = struct.Struct(">24xL12x20sH")
_EXTENSION = struct.Struct(">4sL")
_STAGE_OR_MORE = 0xF000
"""Flags of a conflict, of an entry in a longer format, and of one that git shall not look at."""
_LENGTH = 0x0FFF
_CHECKSUM = 20
_NO_NAMES = frozenset({"", ".", "..", ".git"})


def tree_of(repository: Repository, index: bytes) -> str | None:
    """Return the tree of an index, or None where git has to say: conflicts, another format."""
    try:
        kind, version, count = _HEADER.unpack_from(index)
        if (kind, version) != (b"DIRC", 2) or count > MOST:
            return None
        folders: dict[bytes, list[bytes]] = {b"": []}
        at = _HEADER.size
        for _ in range(count):
            mode, sha, flags = _ENTRY.unpack_from(index, at)
            length = flags & _LENGTH
            if flags & _STAGE_OR_MORE or length == _LENGTH:
                return None
            start = at + _ENTRY.size
            folder, _, name = index[start : start + length].rpartition(b"/")
            rows = folders.get(folder)
            if rows is None:
                rows = _open(folders, folder)
            rows.append(_mode(mode) + name + b"\0" + sha)
            at += (_ENTRY.size + length + 8) & ~7  # filled up with at least one NUL
        while at < len(index) - _CHECKSUM:
            kind, length = _EXTENSION.unpack_from(index, at)
            if kind[:1].islower():
                return None  # without this one, what was read is not the whole of it
            at += _EXTENSION.size + length
    except struct.error:
        return None
    return _written(repository, folders)


@lru_cache(maxsize=16)
def _mode(mode: int) -> bytes:
    return b"%o " % mode


def _open(folders: dict[bytes, list[bytes]], folder: bytes) -> list[bytes]:
    found = folders.get(folder)
    if found is None:
        found = folders[folder] = []
        _open(folders, folder.rpartition(b"/")[0])
    return found


def _written(repository: Repository, folders: dict[bytes, list[bytes]]) -> str | None:
    # The longest first: a folder's own tree must be there before the one that holds it.
    for folder in sorted(folders, key=len, reverse=True):
        rows = Rows.read(folders[folder])
        names = set(rows.names)
        # A file and a folder of one name, or what git itself would not check out.
        if len(names) != len(rows.names) or not _NO_NAMES.isdisjoint(names):
            return None
        if not folder:
            return repository.write_rows(rows) if names else EMPTY_TREE
        above, _, name = folder.rpartition(b"/")
        sha = bytes.fromhex(repository.write_rows(rows))
        folders[above].append(b"%s %s\0%s" % (FOLDER.encode(), name, sha))
    return None
