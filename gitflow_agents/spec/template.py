"""New plans from templates.

A template is a plan file with `$plan` and `$goal`.  A part of it between `#{ for each folder` and
`#}` is written once for each folder, and there `$id`, `$title` and `$folder` (YAML texts) and
`$argument` (a word of a shell command, for a block that begins with `|`) stand for it.  A dollar
sign is `$$`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from string import Template

from gitflow_agents.errors import UsageError
from gitflow_agents.models import PLAN_NAME
from gitflow_agents.spec.files import quoted
from gitflow_agents.spec.names import bad_path

_EACH = re.compile(r"^#\{ for each folder\n(.*?)^#\}\n", re.MULTILINE | re.DOTALL)


def template(name: str, *, text: str, plan: str, goal: str, folders: Sequence[str] = ()) -> str:
    """Return the plan file that the template `text` makes; `name` is what messages call it.

    UsageError for a plan name, goal or folder that cannot be, for folders where there should be
    none or some, and for a placeholder that nobody fills.
    """
    if not re.fullmatch(PLAN_NAME, plan):
        raise UsageError(
            f"`{plan}` is not a plan name, {PLAN_NAME.strip('^$')}",
            hint="use small letters, digits and `-`",
        )
    if not goal.strip():
        raise UsageError("a plan needs a goal", hint="say in a sentence what it is for")
    # Every second piece is what stands between the marks.
    pieces = _EACH.split(text)
    if len(pieces) > 1 and not folders:
        raise UsageError(f"the template `{name}` needs folders", hint="name one or more")
    if len(pieces) == 1 and folders:
        raise UsageError(f"the template `{name}` takes no folders", hint="leave them out")
    values = {"plan": plan, "goal": quoted(goal)}
    each = [values | _folder(*numbered) for numbered in enumerate(dict.fromkeys(folders), start=1)]
    filled = (
        "".join(_filled(name, piece, one) for one in each)
        if place % 2
        else _filled(name, piece, values)
        for place, piece in enumerate(pieces)
    )
    return "".join(filled).rstrip("\n") + "\n"


def modeline(schema: str = "") -> str:
    """Return the line by which editors know the schema of a plan file, at a path relative to it.

    Without one it says how to get it.
    """
    said = schema or "plan.schema.json     (gitflow-agents schema plan > plan.schema.json)"
    return f"# yaml-language-server: $schema={said}\n"


def _folder(number: int, folder: str) -> dict[str, str]:
    reason = bad_path(folder)
    if not folder.strip() or not folder.isprintable():
        reason = f"{folder!r} is not a folder's name"
    if reason:
        raise UsageError(reason, hint="write it from the top of the repository")
    return {
        "id": f"{number:03}",
        "title": quoted(f"Change {folder}"),
        "folder": quoted(folder),
        "argument": shlex.quote(folder),
    }


def _filled(name: str, piece: str, values: Mapping[str, str]) -> str:
    try:
        return Template(piece).substitute(values)
    except KeyError as error:
        known = ", ".join(f"${value}" for value in values)
        raise UsageError(
            f"the template `{name}` has `${error.args[0]}`, which nothing fills",
            hint=f"here it can have {known}",
        ) from None
    except ValueError as error:
        raise UsageError(
            f"the template `{name}` has a `$` that begins no placeholder: {error}",
            hint="write `$$` for a dollar sign",
        ) from None
