"""How a value of the wrong kind is put into words.

`checked` turns what a file says into a model.  What the model refuses becomes problems in
sentences, and the rest of the value is kept, so that one wrong key hides no other mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ValidationError

from gitflow_agents.errors import Problem
from gitflow_agents.models import (
    AGENT,
    BOT,
    CLIS,
    LABEL,
    LOGIN,
    NODE,
    PERSON_LOGIN,
    PLAN_NAME,
    RUNNER,
    TAG,
    TASK_ID,
    TOOL,
    VARIABLE,
    WORD,
    Agents,
    Config,
    CustomConfig,
    Defaults,
    Plan,
    Task,
)
from gitflow_agents.spec.source import Path, Source

M = TypeVar("M", bound=BaseModel)

_LATER_IN_A_PLAN = frozenset({"repository"})
LATER: Mapping[type[BaseModel], frozenset[str]] = {
    Plan: _LATER_IN_A_PLAN,
    Task: _LATER_IN_A_PLAN,
    Defaults: _LATER_IN_A_PLAN,
    Config: frozenset({"comment_mode"}),
}
"""Keys that have a meaning, but not in this version."""

_PATTERNS = {
    AGENT: ("name of an agent", "use small letters, digits and `-`"),
    RUNNER: ("name of a runner", "use small letters, digits and `-`"),
    LABEL: ("label of a runner", "use letters, digits, `_`, `-`, `.`, `:`, `/`, `=` and `+`"),
    PLAN_NAME: ("plan name", "use small letters, digits and `-`"),
    TASK_ID: ("task id", "use letters, digits, `.` and `-`"),
    VARIABLE: ("name of a variable", "use letters, digits and `_`"),
    TOOL: ("tool", "use read, edit, write, bash, web, or mcp:<server>"),
    TAG: ("label of an issue", "use at most 50 characters, and no comma"),
    BOT: ("bot on GitHub", "write its name: `renovate`, or `renovate[bot]`"),
    WORD: ("word of a command", "write it without `/`"),
    PERSON_LOGIN: ("person or organisation on GitHub", "write it without `@`"),
    NODE: ("project's id", "write it as GitHub does: `PVT_...`, or leave it out"),
    LOGIN: ("person or team on GitHub", "write it without `@`; a team is `organisation/team`"),
}
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "dict_type": "a mapping",
}
_KINDS: Sequence[tuple[type | tuple[type, ...], str]] = (
    (type(None), "empty"),
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
)
_REQUIRED = frozenset({"goal", "user_request", "tasks", "id", "task_id", "decision", "name"})
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
}


class Said(NamedTuple):
    """What is wrong with a value, how to mend it, and whether its key is the culprit."""

    reason: str
    mend: str = ""
    at_key: bool = False


def near(name: str, known: Iterable[str]) -> str:
    """Return the known name that looks most like `name`, or an empty string."""
    import difflib  # only a mistake needs it

    if len(name) > _COMPARED:
        return ""
    folded: dict[str, str] = {}
    for other in known:
        if len(other) <= _COMPARED:
            folded.setdefault(other.casefold(), other)
    found = difflib.get_close_matches(name.casefold(), folded, 1, 0.6)
    return folded[found[0]] if found else ""


_COMPARED = 200
"""Characters of the longest names that are compared: it takes their square."""


def short(text: str) -> str:
    """Return `text` in one line of at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"


@cache
def spellings(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Return the fields of a model with the keys that each may have in a file."""
    found = {}
    for name, field in model.model_fields.items():
        choices = field.validation_alias
        if isinstance(choices, AliasChoices):
            found[name] = tuple(str(choice) for choice in choices.choices)
        else:
            found[name] = (field.alias or name,)
    return found


def keys(model: type[BaseModel]) -> list[str]:
    """Return every key that a mapping of this model may have."""
    return [spelling for group in spellings(model).values() for spelling in group]


def checked(
    model: type[M], source: Source, path: Path, values: Any, stand_ins: Mapping[str, Any]
) -> tuple[M | None, list[Problem]]:
    """Return the model's value of `values`, which stand at `path`, and what is wrong with them.

    What is wrong is left out and `stand_ins` take the place of required keys, so that the rest can
    be looked at; None when nothing is left.
    """
    errors = errors_of(model, values)
    if not isinstance(errors, list):
        return errors, []
    problems = [_problem(model, source, path, error) for error in errors]
    kept = plain(values)
    for _ in range(3):
        if not isinstance(kept, dict):
            break
        kept = _without(kept, source, path, errors)
        for field, value in stand_ins.items():
            if not any(key in kept for key in spellings(model)[field]):
                kept[spellings(model)[field][0]] = value
        errors = errors_of(model, kept)
        if not isinstance(errors, list):
            return errors, problems
    return None, problems


def errors_of(model: type[M], values: Any) -> M | list[Mapping[str, Any]]:
    """Return the model's value of `values`, or what the model finds wrong with them."""
    try:
        return model.model_validate(values, by_alias=True, by_name=False)
    except ValidationError as error:
        return [dict(each) for each in error.errors(include_url=False)]


def _problem(
    model: type[BaseModel], source: Source, path: Path, error: Mapping[str, Any]
) -> Problem:
    place = source.trimmed((*path, *error["loc"]))
    said = sentence(model, error, source.written(place), place)
    return source.problem(place, said.reason, said.mend, at_key=said.at_key)


def sentence(
    model: type[BaseModel], error: Mapping[str, Any], written: str | None, place: Path
) -> Said:
    """Return a model's error in words; `written` is the value as it stands in the file."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    name = _name(place)
    text = short(written or (value if isinstance(value, str) else str(value)))
    if kind == "extra_forbidden":
        return _unknown(_model_at(model, error["loc"]), str(error["loc"][-1]))
    if kind == "missing" and _model_at(model, error["loc"]) is CustomConfig:
        mend = (
            f"an agent of your own needs one: `command: [program, …]`; known are {', '.join(CLIS)}"
        )
        return Said(f"`{name}` is missing", mend)
    if kind == "missing":
        return Said(f"`{name}` is missing", f"add `{name}: …`")
    if kind in ("literal_error", "enum") and error["loc"][-1] == "[key]":
        said = _choice(name, text, context["expected"])
        return Said(f"there is no `{text}` to name here", said.mend or _allowed(context), True)
    if kind in ("literal_error", "enum"):
        return _choice(name, text, context["expected"])
    if kind in _WANTED:
        is_capability = context.get("class_name") == "Capability"
        wanted = "text" if is_capability else _WANTED[kind]
        return _wrong_kind(name, wanted, value, written)
    if kind in ("string_too_short", "too_short") or context.get("pattern") == r"\S":
        return Said(f"`{name}` is empty", "write it, or remove it")
    if kind == "string_pattern_mismatch":
        what, rule = _PATTERNS[context["pattern"]]
        if "slug" in name:
            what = "slug"
        if place and "depends_on" in place:
            rule += "; a capability belongs in `preconditions`"
        return Said(f"`{text}` is not a {what}, {context['pattern'].strip('^$')}", rule)
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return Said(f"`{name}` is {text}, and has to be {words} {context[bound]:g}")
    if kind == "too_long":
        many, most = context["actual_length"], context["max_length"]
        return Said(f"`{name}` has {many} entries, and may have {most}", "remove some")
    if kind == "finite_number":
        return Said(f"`{name}` is {text}, and has to be finite")
    if kind == "value_error":
        reason, _, mend = str(context["error"]).partition("; ")
        return Said(f"`{text}` {reason}", mend)
    return Said(f"`{name}`: {error['msg']}")


def _unknown(model: type[BaseModel], key: str) -> Said:
    if key in LATER.get(model, ()):
        return Said(f"`{key}` is not built yet in this version", "remove it", at_key=True)
    known = keys(model)
    for group in spellings(model).values():
        if key in group:
            others = " and ".join(f"`{other}`" for other in group if other != key)
            return Said(f"`{key}` is another spelling of {others}", "remove one", at_key=True)
    other = near(key, known)
    if other and not any(key in keys(elsewhere) for elsewhere, _ in _HOMES):
        return Said(f"there is no key `{key}`", f"did you mean `{other}`?", at_key=True)
    homes = [home for one, home in _HOMES if one is not model and key in keys(one)]
    preferred = ", ".join(group[0] for group in spellings(model).values())
    mend = f"it belongs {' or '.join(homes)}" if homes else f"the keys are {preferred}"
    return Said(f"there is no key `{key}` here", mend, at_key=True)


_HOMES = ((Plan, "at the top of a plan"), (Task, "to a task"), (Defaults, "under `defaults`"))


def _choice(name: str, text: str, expected: str) -> Said:
    allowed = [part for part in expected.split("'") if part.strip() not in ("", ",", "or")]
    other = near(text, allowed)
    mend = f"did you mean `{other}`?" if other else ""
    return Said(f"`{name}` is `{text}`, and has to be one of {', '.join(allowed)}", mend)


def _allowed(context: Mapping[str, Any]) -> str:
    parts = context["expected"].split("'")
    return f"they are {', '.join(part for part in parts if part.strip() not in ('', ',', 'or'))}"


def _wrong_kind(name: str, wanted: str, value: Any, written: str | None) -> Said:
    kind = next((words for types, words in _KINDS if isinstance(value, types)), "a date")
    key = "" if name.endswith("]") else f"{name}: "
    if value is None:
        mend = "write it" if name in _REQUIRED else "write it, or remove the key"
        return Said(f"`{name}` is empty, and has to be {wanted}", mend)
    if written:
        mend = f'write {key}"{written}"' if wanted == "text" else ""
        return Said(f"`{name}` has to be {wanted}, and {written} is {kind}", mend)
    mend = ""
    if name == "tasks" or (name.startswith("tasks[") and wanted == "a mapping"):
        mend = "start each task with `- id:`"
    elif isinstance(value, str) and value.strip().isdecimal() and "number" in wanted:
        mend = f"write {key}{value.strip()} without quotes"
    return Said(f"`{name}` has to be {wanted}, and is {kind}", mend)


def _name(place: Path) -> str:
    name = ""
    for part in reversed(place):
        if isinstance(part, str):
            return part + name
        name = f"[{part}]{name}"
    return name or "the file"


def _model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel]:
    for part in location[:-1]:
        for name, group in spellings(model).items():
            if part in group:
                model = _inner(model.model_fields[name].annotation) or model
                break
        else:
            if model is Agents:
                model = CustomConfig
    return model


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_inner, get_args(annotation))), None)


# --- leaving out what is wrong --------------------------------------------------------------------

_GONE: Any = object()


def plain(value: Any) -> Any:
    """Return a copy of `value` in ordinary lists and mappings."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _without(
    values: dict[str, Any], source: Source, path: Path, errors: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    for error in errors:
        *above, last = error["loc"] or ("",)
        if error["type"] == "missing" and above:
            *above, last = above  # what lacks a key goes as a whole
        node: Any = values
        for part in above:
            inner = node[part] if _has(node, part) else _GONE
            if not isinstance(inner, dict | list):
                last = part
                break
            node = inner
        if _has(node, last):
            is_text = error["type"] == "string_type"
            written = source.written((*path, *error["loc"])) if is_text else None
            node[last] = _GONE if written is None else written
    swept: dict[str, Any] = _swept(values, source, path)
    return swept


def _has(node: Any, part: int | str) -> bool:
    if isinstance(node, dict):
        return part in node
    return isinstance(node, list) and isinstance(part, int) and part < len(node)


def _swept(value: Any, source: Source, path: Path) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if item is not _GONE}
        return {key: _swept(item, source, (*path, key)) for key, item in kept.items()}
    if not isinstance(value, list):
        return value
    places = [place for place, item in enumerate(value) if item is not _GONE]
    if len(places) < len(value):
        source.leave_out(path, places)
    return [_swept(value[place], source, (*path, place)) for place in places]
