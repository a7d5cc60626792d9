"""What one task hands to the next: values under declared names.

A task declares `outputs`, its agent reports them, and its merge puts them into the state; the
`inputs` of a later task name them.  Nothing is guessed: a value that is missing or of another kind
fails the task that should have given it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any

from pydantic import StringConstraints, TypeAdapter, ValidationError

from gitflow_agents.models import Output, Question, Task, TaskRecord, Value, whole

PREFIX = "GITFLOW_INPUT_"
"""How the variables begin that hold a task's inputs."""
_SHOWN = 80


def variable(name: str) -> str:
    """Return the variable of the agent's environment that holds an input."""
    return f"{PREFIX}{name.upper()}"


def source(where: str) -> tuple[str, str]:
    """Return the task and the output that an input names: `001.port` is `port` of 001."""
    task, _, output = where.rpartition(".")
    return task, output


def text(value: Value) -> str:
    """Return a value as an environment and a brief hold it: `true`, `8080`, `1.5`, the text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def wrong(task: Task, given: Mapping[str, Value]) -> str:
    """Return what is wrong with the outputs that an agent reported, or an empty string."""
    said = []
    for output in task.outputs:
        if output.name not in given:
            said.append(f"`{output.name}` is missing")
        elif why := _misfit(output, given[output.name]):
            said.append(f"`{output.name}` {why}")
    declared = {output.name for output in task.outputs}
    said += [f"`{name}` is not declared" for name in given if name not in declared]
    return f"its outputs are not what the plan declares: {'; '.join(said)}" if said else ""


def typed(task: Task, said: Iterable[str]) -> tuple[dict[str, Value], str]:
    """Return the values that `NAME=VALUE` words say, as the task's outputs declare them.

    Beside them what is wrong with the words, in a sentence.
    """
    kinds = {output.name: output.type for output in task.outputs}
    found: dict[str, Value] = {}
    for word in said:
        name, sign, value = word.partition("=")
        if not sign:
            return found, f"`{word}` is not NAME=VALUE"
        found[name] = _typed(kinds.get(name, "string"), value)
    return found, ""


def _typed(kind: str, value: str) -> Value:
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind == "number":
        for number in (int, float):
            with suppress(ValueError, OverflowError):
                if isfinite(found := number(value)):
                    return found
    return value


def _misfit(output: Output, value: Value) -> str:
    shown = text(value)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    if output.type == "boolean":
        return "" if isinstance(value, bool) else f"is `{shown}`, and has to be true or false"
    if output.type == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number else f"is `{shown}`, and has to be a number"
    if not isinstance(value, str):
        return f"is {shown}, and has to be text"
    if "\0" in value:
        return "holds a zero byte"
    if output.choices and value not in output.choices:
        return f"is `{shown}`, and has to be one of {', '.join(output.choices)}"
    if output.pattern:
        try:
            _pattern(output.pattern).validate_python(value)
        except ValidationError:
            return f"is `{shown}`, and has to match {output.pattern}"
    return ""


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> TypeAdapter[Any]:
    # This engine takes time in proportion to the text, whatever pattern a plan comes with.
    return TypeAdapter(Annotated[str, StringConstraints(pattern=whole(pattern))])


def bad_pattern(pattern: str) -> str:
    """Return why a text is no pattern, or an empty string."""
    try:
        _pattern(pattern)
    except Exception as e:  # the engine's own error has no public name
        return " ".join(str(e).split())[:200]
    return ""


def answered(question: Question, said: str) -> tuple[str, str]:
    """Return the answer that somebody's words are, and in a sentence why they are none.

    An option is named by its letter (`a` is the first), or by all of its text in either case.
    """
    said = said.strip()
    if question.options:
        letters = {letter_of(place): option for place, option in enumerate(question.options)}
        texts = {option.strip().casefold(): option for option in question.options}
        found = texts.get(said.casefold()) or letters.get(said.casefold())
        return (found, "") if found else ("", "is none of its options")
    about = Output(name="answer", type=question.type, pattern=question.pattern)
    why = _misfit(about, _typed(question.type, said))
    return ("", why) if why else (said, "")


def letter_of(place: int) -> str:
    """Return the letter by which an option is named."""
    return "abcdefghijklmnopqrstuvwxyz"[place]


def inputs(task: Task, records: Mapping[str, TaskRecord]) -> tuple[dict[str, str], str]:
    """Return the values of a task's inputs by name, and in a sentence what is missing."""
    found: dict[str, str] = {}
    for name, where in task.inputs.items():
        giver, output = source(where)
        record = records.get(giver)
        if record is None or output not in record.outputs:
            return found, f"its input {name} is `{where}`, and {giver} gave no output {output}"
        found[name] = text(record.outputs[output])
    return found, ""


__all__ = [
    "PREFIX",
    "answered",
    "bad_pattern",
    "inputs",
    "letter_of",
    "source",
    "text",
    "typed",
    "variable",
    "wrong",
]
