"""What a role's file says."""

from __future__ import annotations

from gitflow_agents.errors import InvalidFile
from gitflow_agents.roles import Role
from gitflow_agents.spec.source import Map, Source
from gitflow_agents.spec.wording import checked


def read_role(data: bytes, *, file: str) -> Role:
    """Return the role that a file says, or raise InvalidFile with every problem in it."""
    source = Source(data, file)
    if not isinstance(source.root, Map):
        reason = "a role is a mapping with a `description`"
        raise InvalidFile(file, [*source.problems, source.problem((), reason)])
    role, problems = checked(Role, source, (), dict(source.root), {})
    problems = [*source.problems, *problems]
    if problems or role is None:
        problems.sort(key=lambda problem: (problem.line, problem.column))
        raise InvalidFile(file, problems)
    return role
