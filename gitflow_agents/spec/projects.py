"""What a file says that a config names as its `projects`, and what of it means nothing.

The file is of the same shape as the key itself; one that an earlier tool wrote as JSON is read as
it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from gitflow_agents.errors import InvalidFile
from gitflow_agents.models import PLAN_NAME, CardField, Projects
from gitflow_agents.spec.names import bad_path
from gitflow_agents.spec.source import Map, Path, Source
from gitflow_agents.spec.wording import checked, short

_ANY = "*"


def read_projects(data: bytes, *, file: str, beside: Projects) -> Projects:
    """Return what a file says of boards, with what the config says beside it over that.

    InvalidFile with every problem in it.
    """
    source = Source(data, file)
    if not isinstance(source.root, Map):
        reason = "it has to be a mapping of keys and values"
        raise InvalidFile(file, [*source.problems, source.problem((), reason)])
    found, problems = checked(Projects, source, (), dict(source.root), {})
    problems = [*source.problems, *problems]
    for path, reason, mend in mistakes(found or Projects()):
        problems.append(source.problem(source.trimmed(path), reason, mend))
    if found is not None and found.file is not None:
        mend = "write here what that file says"
        problems.append(source.problem(("file",), "a file cannot name another one", mend))
    if problems or found is None:
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise InvalidFile(file, problems)
    return Projects.model_validate(_over(_said(found), _said(beside)))


def _said(projects: Projects) -> dict[str, Any]:
    return projects.model_dump(exclude_unset=True)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        is_merged = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = {**both[key], **value} if is_merged else value
    # A plan has one board: what names it above hides how it is named below.
    for one, other in (("plans", "project_mappings"), ("project_mappings", "plans")):
        hidden = set(above.get(one, ()))
        both[other] = {k: v for k, v in both.get(other, {}).items() if k not in hidden}
    return both


def mistakes(projects: Projects) -> Iterator[tuple[Path, str, str]]:
    """Yield (where, what is wrong, how to mend it) of what fits the shape and means nothing."""
    if projects.file is not None and (reason := bad_path(projects.file)):
        yield ("file",), reason, "write it from the top of the repository"
    for key in ("plans", "project_mappings"):
        for name in getattr(projects, key):
            if name != _ANY and not re.match(PLAN_NAME, name):
                mend = "use small letters, digits and `-`, or `*` for every plan"
                yield (key, name), f"`{short(name)}` cannot be the name of a plan", mend
    for name, mapping in projects.project_mappings.items():
        at = ("project_mappings", name)
        if name in projects.plans:
            yield at, f"`{short(name)}` is among `plans` too", "remove one"
        elif mapping.project_number is None and mapping.project_id is None:
            yield at, "it names no board", "add `project_number: …`"
    taken = {ours.casefold(): ours for ours in get_args(CardField) if ours not in projects.fields}
    for ours, theirs in projects.fields.items():
        other = taken.setdefault(theirs.casefold(), ours) if theirs else ours
        if other != ours:
            reason = f"`{short(theirs or '')}` is the name of `{other}` already"
            yield ("fields", ours), reason, "give one of them another name, or null"


__all__ = ["mistakes", "read_projects"]
