"""Which names git, the file system and the tool itself allow, and which branches a plan takes.

Everything here answers with a sentence about what is wrong, or with nothing.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator

from gitflow_agents.models import SLUG, Plan, Task

SLUG_LENGTH = 40
_COMPONENT = 250
"""Bytes of one part of a branch name: git appends `.lock`, and a file name has 255 at most."""

_RESERVED = frozenset({"all", "failed", "blocked", "plan"})
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_SUSPECT = re.compile(r"^[/\\~]|:|\.\.|\.git", re.IGNORECASE)


def slug(title: str) -> str:
    """Return a title as a part of a branch name: `User model` gives `user-model`."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    text = "-".join(re.findall(r"[a-z0-9]+", plain))
    if len(text) > SLUG_LENGTH:
        # One more character than fits, so that a word that ends exactly there stays whole.
        text = text[: SLUG_LENGTH + 1].rpartition("-")[0] or text[:SLUG_LENGTH]
    return text or "task"


def service(folder: str) -> str:
    """Return the name of the service that lives in a folder: `api-1b2c3d4e`; `all` for the top.

    Two folders never share one.
    """
    path = posixpath.normpath(folder or ".")
    digest = hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()[:8]
    return "all" if path == "." else f"{slug(path)}-{digest}"


def branch(plan: str, task: Task) -> str:
    """Return the branch that a task gets at its first claim."""
    title = "" if task.name == task.id else task.name
    return f"task/{plan}/{task.id}-{task.slug or slug(title)}"


def branches(plan: Plan) -> dict[str, str]:
    """Return the branch of each task by its id."""
    return {task.id: branch(plan.plan, task) for task in plan.tasks}


def bad_slug(name: str) -> str:
    """Return why a name is no slug, or an empty string."""
    return "" if re.match(SLUG, name) else "use small letters, digits and `-`"


def bad_id(task_id: str) -> str:
    """Return why an id that has the right characters is none, or an empty string."""
    folded = task_id.casefold()
    if ".." in task_id:
        return "an id cannot hold `..`"
    if folded.endswith((".", ".lock")):
        return "an id cannot end in `.` or `.lock`"
    if folded in _RESERVED or folded.startswith("wave"):
        return f"`{task_id}` means several tasks in commands and cannot be the id of one"
    return ""


def bad_branch(name: str) -> str:
    """Return why git does not take `name` as a branch (`git check-ref-format --branch`), or ""."""
    parts = name.split("/")
    if not name:
        return "it is empty"
    if found := _FORBIDDEN.search(name):
        character = found[0] if found[0] > " " and found[0] != "\x7f" else f"U+{ord(found[0]):04X}"
        return f"it holds {_named(character)}"
    if name.startswith("-"):
        return "it starts with `-`"
    if name.startswith("refs/"):
        return "it is a full ref, not a branch"
    if name in ("HEAD", "@"):
        return "git keeps that name for itself"
    for text in ("..", "@{", "//"):
        if text in name:
            return f"it holds `{text}`"
    if name.startswith("/") or name.endswith(("/", ".")):
        return f"it {'starts' if name.startswith('/') else 'ends'} with `{name[-1]}`"
    for part in parts:
        if part.startswith("."):
            return f"`{part}` starts with a dot"
        if part.endswith(".lock"):
            return f"`{part}` ends in `.lock`"
        if len(part.encode()) > _COMPONENT:
            return f"a part of it is over {_COMPONENT} bytes"
    return ""


def _named(character: str) -> str:
    return {"U+0020": "a space"}.get(character, f"`{character}`")


def bad_path(path: str) -> str:
    """Return why a path of a plan or config does not stay inside the repository, or ""."""
    if not _SUSPECT.search(path):
        return ""
    parts = re.split(r"[/\\]", path)
    if path.startswith(("/", "\\", "~")) or _DRIVE.match(path):
        return f"`{path}` is not a path inside the repository"
    if ".." in parts:
        return f"`{path}` climbs out with `..`"
    if any(part.casefold() == ".git" for part in parts):
        return f"`{path}` is git's own folder"
    return ""


def clashes(names: Iterable[tuple[str, str]]) -> Iterator[tuple[int, str, str]]:
    """Yield (place, what, branch in the way) for each name that cannot stand beside an earlier one.

    `names` are (what it is, branch).  Two branches clash when they are equal without regard to
    case, and when one is a folder that the other needs.
    """
    taken: dict[str, tuple[str, str]] = {}
    folders: dict[str, tuple[str, str]] = {}
    for place, (what, name) in enumerate(names):
        folded = name.casefold()
        above = [folded[:at] for at, character in enumerate(folded) if character == "/"]
        other = taken.get(folded) or folders.get(folded)
        other = other or next((taken[folder] for folder in above if folder in taken), None)
        if other:
            yield place, *other
            continue
        taken[folded] = (what, name)
        for folder in above:
            folders.setdefault(folder, (what, name))
