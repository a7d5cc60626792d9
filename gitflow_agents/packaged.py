"""What comes with the package beside its code: templates of plans and briefs, and roles."""

from __future__ import annotations

import os
from functools import cache

_HERE = os.path.dirname(__file__)
ROLES = "roles"


@cache
def text(name: str) -> str:
    """Return the text of a file that comes with the package."""
    with open(os.path.join(_HERE, name), encoding="utf-8") as file:
        return file.read()


@cache
def roles() -> tuple[str, ...]:
    """Return the names of the roles that come with the package, in alphabetical order."""
    names = os.listdir(os.path.join(_HERE, ROLES))
    return tuple(sorted(name[:-5] for name in names if name.endswith(".yaml")))


def role(name: str) -> bytes:
    """Return the text of a role that comes with the package."""
    return text(f"{ROLES}/{name}.yaml").encode()
