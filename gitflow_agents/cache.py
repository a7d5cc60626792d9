"""What need not be read twice: the answer to `ready`, kept beside the refs that it follows from.

An answer holds for one commit of a plan's state, and for ever, so a kept one is right exactly if
the state ref still names that commit.  Finding that out takes a few small files and neither git nor
any package.  Whatever looks odd, a ref stored another way, a damaged file, a folder that belongs to
somebody else, is a miss: the caller then asks git, and nothing is wrong but the time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from gitflow_agents import __version__

STATES = "refs/heads/gitflow/state/"
"""Where `store` keeps the states of plans; it cannot be imported here, for it imports git."""
FOLDER = "gitflow-agents"
"""The tool's own folder in the common git directory."""

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_SHA = frozenset("0123456789abcdef")


# --- where things are -----------------------------------------------------------------------------


def checkout(directory: str) -> str | None:
    """Return the top of the checkout that a folder lies in, or None outside of one."""
    for folder in _upwards(directory):
        if os.path.exists(os.path.join(folder, ".git")):
            return folder
    return None


def common_directory(directory: str) -> str | None:
    """Return the common git directory of the repository that a folder lies in, or None."""
    for folder in _upwards(directory):
        found = _git_directory(os.path.join(folder, ".git")) or _git_directory(folder)
        if found:
            named = _read(os.path.join(found, "commondir"))
            return os.path.normpath(os.path.join(found, named.strip())) if named else found
    return None


def _upwards(directory: str) -> list[str]:
    here = os.path.realpath(directory)
    folders = [here]
    while (above := os.path.dirname(here)) != here:
        folders.append(here := above)
    return folders


def _git_directory(path: str) -> str | None:
    """Return the git directory that `path` is, or that a file `path` points at."""
    if os.path.isfile(path):
        text = _read(path)
        if not text.startswith("gitdir: "):
            return None
        path = os.path.join(os.path.dirname(path), text.removeprefix("gitdir: ").rstrip("\n"))
    is_one = os.path.isfile(os.path.join(path, "HEAD")) and (
        os.path.isdir(os.path.join(path, "refs")) or os.path.isfile(os.path.join(path, "commondir"))
    )
    return os.path.normpath(path) if is_one else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def plans(common: str) -> list[str]:
    """Return the names of all plans that were ever accepted in a repository, sorted."""
    try:
        names = set(os.listdir(os.path.join(common, STATES)))
    except OSError:
        names = set()
    for line in _read(os.path.join(common, "packed-refs")).splitlines():
        sha, _, ref = line.partition(" ")
        if ref.startswith(STATES) and _is_sha(sha):
            names.add(ref.removeprefix(STATES))
    return sorted(filter(_is_name, names))


def tip(common: str, plan: str) -> str | None:
    """Return the commit that a plan's state ref names, or None where only git can tell."""
    try:
        with open(os.path.join(common, STATES, plan), encoding="ascii") as file:
            sha = file.read().strip()
    except FileNotFoundError:
        packed = _read(os.path.join(common, "packed-refs"))
        end = packed.find(f" {STATES}{plan}\n")
        sha = packed[max(0, end - 40) : end] if end >= 0 else ""
    except (OSError, ValueError):
        return None
    return sha if _is_sha(sha) else None


def _is_sha(text: str) -> bool:
    return len(text) == 40 and _SHA.issuperset(text)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 63 and text[0] != "-" and _NAME.issuperset(text)


# --- the answer -----------------------------------------------------------------------------------


def ready(directory: str, plan: str = "") -> dict[str, Any] | None:
    """Return the answer to `ready` that was kept, if it still holds, else None.

    `plan` is a plan's name, or the path of a plan file whose very content was accepted; "" is the
    only plan of the repository.
    """
    common = common_directory(directory)
    if common is None or not _is_ours(common):
        return None
    if "/" in plan or plan.endswith((".yaml", ".yml")):
        return _of_file(common, os.path.join(directory, plan))
    names = [plan] if plan else plans(common)
    return _of_name(common, names[0]) if len(names) == 1 and _is_name(names[0]) else None


def _of_name(common: str, plan: str) -> dict[str, Any] | None:
    kept = _kept(common, plan)
    if kept is None or kept["tip"] != tip(common, plan):
        return None
    return {"schema": 1, "plan": plan, "ready": kept["ready"]}


def _of_file(common: str, path: str) -> dict[str, Any] | None:
    """Return the answer for the plan whose accepted file has the same content as this one."""
    name = os.path.basename(path).rpartition(".")[0]
    if not _is_name(name):
        return None
    kept = _kept(common, name)
    if kept is None or not kept["digest"] or kept["digest"] != digest(path):
        return None
    return _of_name(common, name)


def digest(path: str) -> str | None:
    """Return the sha that git gives a file's content, or None when it cannot be read."""
    import hashlib

    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def write(common: str, plan: str, tip: str, ready: Sequence[str], digest: str = "") -> None:
    """Keep the answer to `ready` at the commit `tip` of a plan's state, if that can be done.

    `digest` is the blob sha of the accepted plan file; without it a path is never answered.
    """
    import json

    path = _place(str(common), plan)
    part = f"{path}.{os.getpid()}"
    value = {"by": __version__, "plan": plan, "tip": tip, "digest": digest, "ready": [*ready]}
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(part, "w", encoding="ascii") as file:
            json.dump(value, file)
        os.replace(part, path)
    except OSError:
        _remove(part)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _kept(common: str, plan: str) -> dict[str, Any] | None:
    """Return what was written for a plan by this version of the tool, checked, or None."""
    import json

    try:
        value = json.loads(_read(_place(common, plan)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or (value.get("by"), value.get("plan")) != (__version__, plan):
        return None
    ids = value.get("ready")
    if not isinstance(ids, list) or not all(isinstance(task, str) for task in ids):
        return None
    texts = (value.get("tip"), value.get("digest"))
    return value if all(isinstance(text, str) for text in texts) else None


def _place(common: str, plan: str) -> str:
    return os.path.join(common, FOLDER, "cache", f"ready-{plan}.json")


def _is_ours(common: str) -> bool:
    """Say whether the repository is the caller's own; git refuses to read those of others."""
    return os.stat(common).st_uid == os.geteuid()
