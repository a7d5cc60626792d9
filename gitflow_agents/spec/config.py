"""What a repository decides for all its plans: its config file, then the environment.

A variable's name is its key's path in capitals: `GITFLOW_TRAIN`, `GITFLOW_LIMITS_PARALLEL`.  Its
value is taken as it stands where that makes sense, so that a command needs no quotes; where it does
not, and where it begins with `[`, it is read as YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from gitflow_agents.errors import InvalidFile, Problem
from gitflow_agents.handoff import PREFIX as INPUT
from gitflow_agents.models import AGENT, CLIS, WITHOUT_MCP, Agents, Config, Projects
from gitflow_agents.spec.names import bad_branch, bad_path
from gitflow_agents.spec.projects import mistakes as wrong_projects
from gitflow_agents.spec.source import Map, Path, Source
from gitflow_agents.spec.wording import (
    LATER,
    checked,
    errors_of,
    near,
    plain,
    sentence,
    short,
    spellings,
)

Names = tuple[str, ...]
"""The keys on the way to a value of the config."""

_PREFIX = "GITFLOW_"
_HOME = re.compile(r"~(/[A-Za-z0-9_.@+-]+)+/?")
"""What can be a folder to keep: it becomes one line of a list."""
OWN_VARIABLES = frozenset(
    f"{_PREFIX}{name}"
    for name in (
        "ATTEMPT BRIEF CLAIM FEEDBACK MAX_TURNS MODEL PLAN PROGRESS REPORT REQUIRE ROLE TASK TOOLS "
        "WEBHOOK PROJECT_TOKEN HAS_PROJECT_TOKEN".split()
    )
)
"""Variables that set no key: set for an agent or for our own tests, or a secret of its own."""


def variables() -> dict[str, Names]:
    """Return every variable that overrides something in the config, with the path of its key."""
    return {f"{_PREFIX}{'_'.join(path).upper()}": path for path in _paths(Config)}


def _paths(model: type[BaseModel]) -> Iterator[Names]:
    for name, (key, *_) in spellings(model).items():
        yield (key,)
        inner = model.model_fields[name].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from ((key, *rest) for rest in _paths(inner))


def read_config(
    data: bytes | None,
    *,
    file: str,
    environ: Mapping[str, str] = {},
) -> Config:
    """Return what the config file (None: there is none) and then the `GITFLOW_*` variables say.

    A variable that is set to nothing counts as not set.  InvalidFile with every problem of both.
    """
    values, problems = _from_file(data, file)
    agents = values.get("agents")
    is_open = not (isinstance(agents, dict) and set(agents) - {"command"})
    for name, path, text in _overrides(environ, problems):
        value, found = _value(name, path, text)
        problems += found
        if not found:
            _put(values, path, value)
    if problems:
        what = file if problems[0].file == file else "the environment"
        raise InvalidFile(what, problems)
    if is_open and set(CLIS) & set(values.get("agents") or ()):
        # A variable says how one agent is run, not that the others may not be.
        values["agents"] |= {name: values["agents"].get(name, {}) for name in CLIS}
    return Config.model_validate(values, by_alias=True, by_name=False)


def _from_file(data: bytes | None, file: str) -> tuple[dict[str, Any], list[Problem]]:
    if data is None or not any(line.split(b"#")[0].strip() for line in data.splitlines()):
        return {}, []
    source = Source(data, file)
    if not isinstance(source.root, Map):
        reason = "a config is a mapping of keys and values"
        return {}, [*source.problems, source.problem((), reason)]
    config, problems = checked(Config, source, (), dict(source.root), {})
    problems += source.problems
    for path, reason, mend in _mistakes(config or Config()):
        problems.append(source.problem(source.trimmed(path), reason, mend))
    problems.sort(key=lambda problem: (problem.line, problem.column))
    return plain(source.root), problems


def _overrides(
    environ: Mapping[str, str], problems: list[Problem]
) -> Iterator[tuple[str, Names, str]]:
    known = variables()
    ours = [name for name in environ if name.startswith(_PREFIX) and environ[name]]
    # Shorter paths first: GITFLOW_LIMITS sets them all, GITFLOW_LIMITS_PARALLEL then one of them.
    for name in sorted(ours, key=lambda name: (len(known.get(name, ())), name)):
        if name in known:
            yield name, known[name], environ[name]
        elif name not in OWN_VARIABLES and not name.startswith(INPUT):
            key = name.removeprefix(_PREFIX).lower()
            if key in LATER[Config]:
                reason, mend = f"`{key}` is not built yet in this version", "unset it"
            else:
                other = near(key, (one.removeprefix(_PREFIX) for one in known))
                reason = "there is no such variable"
                mend = f"did you mean {_PREFIX}{other}?" if other else "unset it"
            problems.append(Problem(name, 0, 0, "", reason, mend))


def _value(name: str, path: Names, text: str) -> tuple[Any, list[Problem]]:
    if not text.startswith("["):
        wrong = _wrong(name, path, text)
        if not wrong:
            return text, []
    try:
        source = Source(text.encode("utf-8", "surrogateescape"), name)
    except InvalidFile as error:
        mend = 'write a list of commands or names as ["one", "two"]'
        return None, [Problem(name, 0, 0, "", each.reason, mend) for each in error.problems]
    if source.problems:
        return None, [Problem(name, 0, 0, "", each.reason, each.mend) for each in source.problems]
    value = plain(source.root)
    return value, _wrong(name, path, value)


def _wrong(name: str, path: Names, value: Any) -> list[Problem]:
    values: dict[str, Any] = {}
    _put(values, path, value)
    errors = errors_of(Config, values)
    if isinstance(errors, list):
        said = [sentence(Config, error, None, error["loc"]) for error in errors]
        return [Problem(name, 0, 0, "", one.reason, one.mend) for one in said]
    return [Problem(name, 0, 0, "", reason, mend) for _, reason, mend in _mistakes(errors)]


def _put(values: dict[str, Any], path: Names, value: Any) -> None:
    *above, last = path
    for key in above:
        inner = values.get(key)
        values[key] = inner if isinstance(inner, dict) else {}
        values = values[key]
    if isinstance(value, dict) and isinstance(values.get(last), dict):
        values[last] |= value
    else:
        values[last] = value


def _mistakes(config: Config) -> Iterator[tuple[Path, str, str]]:
    inside = "write it from the top of the repository"
    for key, paths in (("copy", config.copy_), ("protected_paths", config.protected_paths)):
        for at, path in enumerate(paths):
            if reason := bad_path(path):
                yield (key, at), reason, inside
    for key in ("brief_template", "preferences", "roles"):
        if reason := bad_path(getattr(config, key)):
            yield (key,), reason, inside
    reason = bad_path(config.worktrees)
    if not reason and config.worktrees.strip("./") == "":
        reason = f"`{config.worktrees}` is the repository itself"
    if reason:
        yield ("worktrees",), reason, "write it from the top of the repository, as `.worktrees`"
    for at, folder in enumerate(config.cache):
        parts = folder.removesuffix("/").split("/")
        if not _HOME.fullmatch(folder) or {".", ".."} & {*parts}:
            mend = "write it from your home: ~/.cache/pip"
            yield ("cache", at), f"`{short(folder)}` is no folder below a home", mend
    yield from _wrong_permissions(config)
    yield from _wrong_agents(config.agents)
    for where, reason, mend in wrong_projects(config.projects or Projects()):
        yield ("projects", *where), reason, mend
    for at, base in enumerate(config.bases or ()):
        if reason := bad_branch(base.replace("*", "x").replace("?", "x")):
            yield ("bases", at), f"`{short(base)}` cannot be a branch: {reason}", "rename it"


def _wrong_permissions(config: Config) -> Iterator[tuple[Path, str, str]]:
    if not config.command_permissions:
        return
    from gitflow_agents.commands import KINDS  # it takes long, and few configs need it

    for verb, said in config.command_permissions.items():
        if verb not in KINDS:
            other = near(verb, KINDS)
            mend = f"did you mean `{other}`?" if other else f"they are {', '.join(KINDS)}"
            yield ("command_permissions", verb), f"there is no command `{verb}`", mend
        elif said.codeowners and not KINDS[verb].takes_tasks:
            reason = f"`{verb}` is about no task, so nobody owns what it is about"
            yield ("command_permissions", verb, "codeowners"), reason, "remove it"


def _wrong_agents(agents: Agents) -> Iterator[tuple[Path, str, str]]:
    for name in (*CLIS, *agents.custom):
        path = agents.of(name).mcp_config
        if path and (reason := bad_path(path)):
            yield ("agents", name, "mcp_config"), reason, "write it from the top of the repository"
        elif path and name in WITHOUT_MCP:
            yield ("agents", name, "mcp_config"), f"{name} knows no MCP servers", "remove it"
    for name, own in agents.custom.items():
        if not re.match(AGENT, name):
            mend = "use small letters, digits and `-`"
            yield ("agents", name), f"`{short(name)}` cannot be the name of an agent", mend
        for key, place in _NEEDS_A_PLACE.items():
            if getattr(own, key) is not None and f"{{{place}}}" not in own.places:
                reason = f"`{key}` changes nothing: no argument of `command` holds `{{{place}}}`"
                yield ("agents", name, key), reason, f"add `{{{place}}}`, or remove `{key}`"
        if own.brief == "file" and "{brief}" not in own.places:
            mend = "add `{brief}`, or write `brief: stdin`"
            yield ("agents", name, "brief"), "no argument of `command` holds `{brief}`", mend
        if own.output == "text" and own.says.model_fields_set:
            mend = "write `output: json`, or remove it"
            yield ("agents", name, "says"), "`says` is about JSON, and the output is text", mend
        if own.output == "json" and own.tool is not None:
            mend = "write `says: {tool: ..., arguments: ...}`"
            yield ("agents", name, "tool"), "`tool` is about lines of text, and they are JSON", mend
        if (own.says.tool is None) != (own.says.arguments is None):
            reason = "only `tool` and `arguments` together tell two uses of a tool apart"
            yield ("agents", name, "says"), reason, "write both, or neither"
        patterns: dict[tuple[str, ...], str | None] = {("turn",): own.turn, ("tool",): own.tool}
        patterns |= {("failures", pattern): pattern for pattern in own.failures}
        for where, pattern in patterns.items():
            try:
                re.compile(pattern or "")
            except re.error as e:
                reason = f"`{short(pattern or '')}` is no regular expression: {e}"
                yield ("agents", name, *where), reason, "mend it"


_NEEDS_A_PLACE = {"model": "model", "tools": "tools", "mcp_config": "mcp"}
