"""How work that somebody asks for in words, without a plan file, becomes a plan of one task.

Nothing is judged here: what the words come to is checked as any plan is, and what is wrong is told
by the name of the option, or of the input of a form, that said it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from gitflow_agents.errors import InvalidFile, Problem
from gitflow_agents.models import PLAN_NAME
from gitflow_agents.spec.files import to_yaml

MOST_OF_A_TITLE = 80
ASKED = "what was asked for"


@dataclass(frozen=True)
class Wish:
    """One piece of work for an agent, each value as it was typed; empty is not said.

    The names are those of the options, with `_` for `-`.
    """

    task: str = ""
    agent: str = ""
    model: str = ""
    role: str = ""
    verify: str = ""
    max_turns: str = ""
    timeout: str = ""
    budget_usd: str = ""
    base: str = ""
    flow: str = ""
    approval: str = ""
    max_parallel: str = ""

    @property
    def about_the_task(self) -> list[str]:
        """Return the options that mean nothing without a task."""
        return [name for name in self.said if name not in ("task", "max-parallel")]

    @property
    def about_the_plan(self) -> list[str]:
        """Return the options that are settled where the plan is there already."""
        return [name for name in self.said if name in ("base", "flow", "approval")]

    @property
    def said(self) -> list[str]:
        """Return the options that say something."""
        return [option(field.name) for field in fields(self) if getattr(self, field.name).strip()]


def option(name: str) -> str:
    """Return what a key of a plan is called as an option."""
    return name.replace("_", "-")


def wish_task(wish: Wish) -> dict[str, Any]:
    """Return the task that somebody asks for, as a plan writes one; it has no id."""
    first = re.split(r"(?<=[.!?])\s|\n", wish.task.strip(), maxsplit=1)[0]
    keys = {
        "title": " ".join(first.split())[:MOST_OF_A_TITLE].rstrip(),
        "description": wish.task.strip(),
        "role": wish.role,
        "agent": wish.agent,
        "model": wish.model,
        "verify": [wish.verify] if wish.verify.strip() else [],
        "max_turns": _number(wish.max_turns),
        "timeout": _number(wish.timeout),
        "budget_usd": _number(wish.budget_usd),
    }
    return {key: value for key, value in keys.items() if value not in ("", [])}


def wish_plan(wish: Wish, name: str) -> bytes:
    """Return the text of the plan whose one task is what somebody asks for."""
    task = wish_task(wish)
    gates = [word for word in re.split(r"[\s,]+", wish.approval) if word]
    keys: dict[str, Any] = {
        "plan": name,
        "goal": task["title"],
        "base": wish.base.strip(),
        "flow": wish.flow.strip(),
        "approval": gates,
        "limits": _limits(wish),
    }
    kept: Mapping[str, Any] = {key: value for key, value in keys.items() if value}
    return to_yaml({**kept, "tasks": [{"id": "1", **task}]})


def _limits(wish: Wish) -> dict[str, Any]:
    return {"parallel": _number(wish.max_parallel)} if wish.max_parallel.strip() else {}


def _number(text: str) -> int | float | str:
    """Return the number that a text says; what says none stays as it is, to be refused."""
    said = text.strip()
    if re.fullmatch(r"\d{1,9}", said):
        return int(said)
    return float(said) if re.fullmatch(r"\d{1,9}\.\d{1,9}", said) else said


def wrong(name: str, reason: str, mend: str = "") -> InvalidFile:
    """Return the refusal of one option."""
    return InvalidFile(ASKED, [Problem("", 0, 0, option(name), reason, mend)])


def bad_plan_name(name: str) -> str:
    """Return why a plan cannot be called so, or nothing."""
    is_one = re.fullmatch(PLAN_NAME, name) is not None
    rule = f"is no name of a plan, {PLAN_NAME.strip('^$')}"
    return "" if is_one else f"`{' '.join(name.split())[:60]}` {rule}"


def by_option(problems: Sequence[Problem]) -> InvalidFile:
    """Return what is wrong with a plan that was made of a wish, by the options that said it."""
    return InvalidFile(ASKED, [*dict.fromkeys(_by_option(problems))])  # a text is in many places


def _by_option(problems: Iterable[Problem]) -> Iterable[Problem]:
    for problem in problems:
        if not problem.is_warning:
            key = re.sub(r"\[\d+\]", "", problem.key).rpartition(".")[2]
            name = _OPTIONS.get(key, "task")
            yield replace(problem, file="", line=0, column=0, key=name)


_OPTIONS = {field.name: option(field.name) for field in fields(Wish)}
_OPTIONS |= {"plan": "plan", "parallel": "max-parallel", "limits": "max-parallel"}

__all__ = ["Wish", "bad_plan_name", "by_option", "option", "wish_plan", "wish_task", "wrong"]
