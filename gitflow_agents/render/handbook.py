"""The roles that a task can have, as people and programs see them."""

from __future__ import annotations

from typing import Any

from gitflow_agents.models import SCHEMA
from gitflow_agents.render.text import one_line, screen, wrapped
from gitflow_agents.roles import Handbook


def roles(book: Handbook) -> str:
    """Return every role with where it comes from, what it is for and what it is held to."""
    lines = []
    for name in sorted(book.roles):
        role = book.roles[name]
        lines.append(f"{name} ({one_line(book.sources[name])})")
        lines += wrapped(one_line(role.description), "  ", "  ")
        for rule in (*role.rules, *_said(book, name)):
            lines += wrapped(one_line(rule), "  - ", "    ")
    return screen(lines)


def _said(book: Handbook, name: str) -> list[str]:
    role = book.roles[name]
    tools = None if role.tools is None else ", ".join(role.tools) or "none"
    about = (
        ("tools", tools),
        ("agent", role.agent),
        ("model", role.model),
        ("at most", role.timeout),
        ("runner", role.runner),
    )
    return [f"{word}: {said}" for word, said in about if said is not None]


def roles_json(book: Handbook) -> dict[str, Any]:
    """Return the same for programs; a key that a role leaves out is left out."""
    return {
        "schema": SCHEMA,
        "roles": [
            {
                "name": name,
                "source": book.sources[name],
                **book.roles[name].model_dump(mode="json", exclude_defaults=True),
            }
            for name in sorted(book.roles)
        ],
    }
