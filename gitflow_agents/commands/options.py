"""How the fields of a command are spelled, as every door reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from gitflow_agents.commands.words import Act

SHORT = {
    "reason": ("-m",),
    "text": ("-m",),
    "description": ("--prompt",),
    "working_directory": ("-w",),
    "max_parallel": ("-j",),
}
"""Options that can be written in another way too."""
VALUES = {"agent": "NAME", "model": "NAME", "budget": "USD", "timeout": "TIME"}
"""What help calls some values."""


@dataclass(frozen=True)
class Option:
    """A field of a command as an option: `choices` are the words that it takes, none for any."""

    field: str
    name: str
    short: tuple[str, ...]
    choices: tuple[str, ...]
    value: str
    """What help calls its value."""
    is_flag: bool
    is_multiple: bool
    is_required: bool
    about: str


@cache
def options(kind: type[Act]) -> tuple[Option, ...]:
    """Return the options of a command, in the order in which help lists them."""
    unasked = {"targets", "verb", *kind.unasked}
    return tuple(_option(kind, field) for field in kind.model_fields if field not in unasked)


def _option(kind: type[Act], field: str) -> Option:
    about = kind.model_fields[field]
    words = get_args(about.annotation) or (about.annotation,)
    is_number = any(word in (int, float) for word in _bare(words))
    is_choice = get_origin(about.annotation) is Literal
    return Option(
        field=field,
        name=f"--{field.replace('_', '-')}",
        short=SHORT.get(field, ()),
        choices=tuple(word for word in words if is_choice and word),
        value=VALUES.get(field, "N" if is_number else "TEXT"),
        is_flag=about.annotation is bool,
        is_multiple=get_origin(about.annotation) is tuple,
        is_required=about.is_required(),
        about=about.description or "",
    )


def _bare(words: Iterable[Any]) -> list[Any]:
    """Return types without what they are annotated with."""
    return [get_args(word)[0] if get_origin(word) is Annotated else word for word in words]
