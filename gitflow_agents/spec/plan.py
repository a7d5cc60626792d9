"""Whether a plan file can be accepted, and what a person should know before it is.

RULES are what a plan must keep to; ADVICE are warnings, which `strict` makes errors.  Each of them
is a function that looks at the whole plan and yields its problems, so all of them are told at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import count, islice, pairwise
from types import MappingProxyType
from typing import Any

from gitflow_agents import handoff
from gitflow_agents.errors import InvalidFile, Problem
from gitflow_agents.graph import Graph, contended, overlaps, schedule
from gitflow_agents.models import CLIS, WITHOUT_COST, Config, Plan, Step, Task, fold
from gitflow_agents.roles import Role, effective
from gitflow_agents.spec.names import (
    bad_branch,
    bad_id,
    bad_path,
    branch,
    clashes,
)
from gitflow_agents.spec.source import Map, Path, Seq, Source, no_collections
from gitflow_agents.spec.wording import checked, near, short, spellings
from gitflow_agents.steps import Member, is_reviewed, member, own_reviews

NO_ROLES: Mapping[str, Role] = MappingProxyType({})
MOST_TASKS = 20_000
MOST_OF_A_TASK = 64 * 1024
MOST_BESIDE_TASKS = 256 * 1024
MOST_PROBLEMS = 10_000


@dataclass(frozen=True)
class Reading:
    """A plan without errors, and what a person should know about it."""

    plan: Plan
    warnings: tuple[Problem, ...] = ()


@no_collections()
def load_plan(data: bytes, name: str) -> Plan:
    """Return the plan of a file that was accepted before; `name` is its name if it says none.

    InvalidFile when it is no plan at all.
    """
    source = Source(data, name)
    plan, _, problems = _validated(source, name)
    if plan is None or problems or source.problems:
        raise InvalidFile(name, (*source.problems, *problems))
    return plan


@no_collections()
def read_plan(
    data: bytes,
    *,
    file: str,
    name: str = "",
    config: Config = Config(),  # noqa: B008 - frozen
    given: Collection[str] = (),
    roles: Mapping[str, Role] = NO_ROLES,
    strict: bool = False,
) -> Reading:
    """Return the plan that `data` says, or raise InvalidFile with every problem, warnings too.

    `file` stands in the problems; `name` is the plan's name if the file says none.  `given` are
    folded capabilities that are there before the plan begins, `roles` all roles by name.
    """
    source = Source(data, file)
    plan, places, found = _validated(source, name)
    problems = [*source.problems, *found]
    if plan is not None:
        seen = _Seen(source, plan, places, Graph.of(plan, given), config, roles)
        for rule in (*RULES, *ADVICE):
            problems += rule(seen)
    problems = _in_order(problems, strict)
    if any(not problem.is_warning for problem in problems):
        raise InvalidFile(file, problems)
    assert plan is not None
    return Reading(plan, tuple(problems))


def _in_order(problems: list[Problem], strict: bool) -> list[Problem]:
    if strict:
        problems = [replace(problem, is_warning=False) for problem in problems]
    problems.sort(key=lambda problem: (problem.line, problem.column))
    if len(problems) <= MOST_PROBLEMS:
        return problems
    last = problems[MOST_PROBLEMS]
    reason = f"there are more problems than these {MOST_PROBLEMS:,}"
    return [
        *problems[:MOST_PROBLEMS],
        replace(last, key="", reason=reason, mend="mend these first", is_warning=False),
    ]


def _validated(source: Source, name: str) -> tuple[Plan | None, list[int], list[Problem]]:
    """Return the plan, the place of each of its tasks in the file's list, and the problems."""
    root = source.root
    if not isinstance(root, Map):
        problem = source.problem(
            (), "a plan is a mapping with `goal` and `tasks`", "write `goal: …` and `tasks:`"
        )
        return None, [], [problem]
    entries = root.get("tasks")
    size = root.size - (entries.size if isinstance(entries, Seq) else 0)
    if size > MOST_BESIDE_TASKS:
        problem = source.problem(
            (), "the plan without its tasks is over 256 KiB", "make it smaller"
        )
        return None, [], [problem]
    values: dict[str, Any] = dict(root)
    if not any(key in values for key in spellings(Plan)["plan"]) and name:
        values["plan"] = name
    places: list[int] = []
    problems: list[Problem] = []
    if isinstance(entries, Seq):
        if len(entries) > MOST_TASKS:
            reason = f"the plan has {len(entries):,} tasks, and may have {MOST_TASKS:,}"
            return None, [], [source.problem(("tasks",), reason, "make several plans of it")]
        if not entries:
            problems.append(
                source.problem(("tasks",), "the plan has no task", "start one with `- id:`")
            )
        tasks = []
        for place, entry in enumerate(entries):
            task, found = _task(source, place, entry)
            problems += found
            if task is not None:
                tasks.append(task)
                places.append(place)
            if len(problems) > MOST_PROBLEMS:
                return None, [], problems
        values["tasks"] = tuple(tasks)
    plan, found = checked(Plan, source, (), values, {"plan": _NO_NAME, "goal": "?", "tasks": ()})
    return plan, places, problems + found


_NO_NAME = "plan-without-a-name"
_NO_ID = "task-without-an-id-"


def _task(source: Source, place: int, entry: Any) -> tuple[Task | None, list[Problem]]:
    path = ("tasks", place)
    stand_ins = {"id": f"{_NO_ID}{place}"}
    if isinstance(entry, Map) and entry.size * 4 > MOST_OF_A_TASK:
        length = source.length(entry)
        if length > MOST_OF_A_TASK:
            reason = f"the task has {length:,} bytes, and may have {MOST_OF_A_TASK:,} (64 KiB)"
            small = {key: _cut(value) for key, value in entry.items() if not _is_long(value)}
            task, _ = checked(Task, source, path, small, stand_ins)
            return task, [source.problem(path, reason, "move a part of it into files")]
    return checked(Task, source, path, entry, stand_ins)


def _is_long(value: Any) -> bool:
    return isinstance(value, Map | Seq) and value.size > MOST_OF_A_TASK // 8


def _cut(value: Any) -> Any:
    return value[:1000] if isinstance(value, str) else value


# --- what the rules look at -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    source: Source
    plan: Plan
    places: list[int]
    graph: Graph
    config: Config
    roles: Mapping[str, Role]

    @cached_property
    def nearest(self) -> _Nearest:
        """Return what finds the capability that somebody meant."""
        return _Nearest(self.graph)

    def agent(self, task: Task) -> str:
        """Return who does a task: its role may say it."""
        return str(self.plan.setting(self.terms(task), "agent"))

    def terms(self, task: Task) -> Task:
        """Return a task as its role lets it be."""
        role = self.roles.get(self.plan.setting(task, "role") or "")
        return effective(self.plan, task, role)

    def crew(self, task: Task) -> list[Member]:
        """Return the steps of a task; those with an unknown role or agent are told elsewhere."""
        asked = [(step, self.roles.get(step.role)) for step in self.plan.setting(task, "steps")]
        found = [member(self.plan, task, step, role) for step, role in asked if role is not None]
        allowed = self.config.agents.allowed
        return [each for each in found if self.plan.setting(each.task, "agent") in allowed]

    def steps(self) -> Iterator[tuple[Callable[[str], Path], Step]]:
        """Yield each step as it is written, with what finds the place of a key of it."""
        for at, step in enumerate(self.plan.defaults.steps):
            yield partial(self.top, "defaults", "steps", at), step
        for place, task in self.tasks():
            for at, step in enumerate(task.steps or ()):
                yield partial(self._step_key, place, at), step

    def _step_key(self, place: int, at: int, key: str) -> Path:
        return self.path(place, "steps", at, key)

    def tasks(self) -> Iterator[tuple[int, Task]]:
        """Yield each task with its place in the file's list."""
        return zip(self.places, self.plan.tasks, strict=True)

    def path(self, place: int, key: str, *rest: int | str) -> Path:
        """Return where a task's value stands, under whichever spelling the file uses."""
        entry = self.source.root["tasks"][place]
        written = next((one for one in spellings(Task)[key] if one in entry), key)
        return self.source.trimmed(self.source.restored(("tasks", place, written, *rest)))

    def top(self, key: str, *rest: int | str) -> Path:
        """Return where a value of the plan itself stands."""
        written = next((one for one in spellings(Plan)[key] if one in self.source.root), key)
        return self.source.trimmed(self.source.restored((written, *rest)))

    def line(self, path: Path) -> int:
        """Return the line on which the value at `path` stands."""
        return self.source.position(path)[0]

    def warn(self, path: Path, reason: str, mend: str = "") -> Problem:
        """Return a warning about the value at `path`."""
        return self.source.problem(path, reason, mend, warn=True)

    def place(self, task_id: str) -> int:
        """Return the place of a task in the file's list."""
        return self.places[self.plan.order[task_id]]


def _called(task_id: str) -> str:
    if task_id.startswith(_NO_ID):
        return f"tasks[{task_id.removeprefix(_NO_ID)}]"
    return task_id


Rule = Callable[[_Seen], Iterator[Problem]]


# --- rules ----------------------------------------------------------------------------------------


def _ids(seen: _Seen) -> Iterator[Problem]:
    first: dict[str, tuple[int, str]] = {}
    for place, task in seen.tasks():
        if task.id.startswith(_NO_ID):
            continue
        if reason := bad_id(task.id):
            yield seen.source.problem(seen.path(place, "id"), reason, "choose another id")
        other, twin = first.setdefault(task.id.casefold(), (place, task.id))
        if other != place:
            line = seen.line(seen.path(other, "id"))
            how = "" if twin == task.id else ", apart from upper and lower case"
            yield seen.source.problem(
                seen.path(place, "id"),
                f"`{task.id}` is the id of the task on line {line} too{how}",
                "give one of them another id",
            )


def _commands(seen: _Seen) -> Iterator[Problem]:
    if seen.plan.defaults.run or seen.config.agents.command.run:
        return
    for place, task in seen.tasks():
        if seen.agent(task) != "command":
            continue
        if task.run is None and seen.source.root["tasks"][place].get("run") is None:
            yield seen.warn(
                seen.path(place, "run"),
                f"{_called(task.id)} has no `run`, so nobody can start it",
                "add `run: <a shell command>` or an `agent` to it or to `defaults`, or "
                "`agents: {command: {run: …}}` to the config",
            )


def _agents(seen: _Seen) -> Iterator[Problem]:
    """Who is named has to be allowed, and able to do what is asked of it."""
    plan, agents = seen.plan, seen.config.agents
    if plan.defaults.agent not in agents.allowed:
        yield _unknown_agent(seen, seen.top("defaults", "agent"), plan.defaults.agent)
    if plan.defaults.tools and (
        more := _not_allowed(seen, plan.defaults.agent, plan.defaults.tools)
    ):
        yield seen.source.problem(seen.top("defaults", "tools"), *more)
    for place, task in seen.tasks():
        name = seen.agent(task)
        if name not in agents.allowed and name != plan.defaults.agent:
            key = "agent" if task.agent is not None else "role"
            yield _unknown_agent(seen, seen.path(place, key), name)
        elif name == "command":
            for key in ("model", "tools"):
                if getattr(task, key) is not None:
                    reason = f"{_called(task.id)} is done by `command`, which takes no `{key}`"
                    yield seen.source.problem(seen.path(place, key), reason, "remove it")
        elif task.run is not None:
            reason = f"{_called(task.id)} is done by {name}, which runs no `run`"
            mend = "remove `run`, or write `agent: command`"
            yield seen.source.problem(seen.path(place, "run"), reason, mend)
        elif task.tools and (more := _not_allowed(seen, name, task.tools)):
            yield seen.source.problem(seen.path(place, "tools"), *more)
        if task.budget_usd is None:
            continue
        names = [name, *(plan.setting(each.task, "agent") for each in seen.crew(task))]
        for name in dict.fromkeys(one for one in names if one in WITHOUT_COST):
            reason = f"{name} does not tell what it costs, so `budget_usd` cannot end it"
            yield seen.warn(seen.path(place, "budget_usd"), reason, "set `max_turns` or `timeout`")


def _step_agents(seen: _Seen) -> Iterator[Problem]:
    """Whoever does a step has to be allowed, and able to do it."""
    plan, allowed = seen.plan, seen.config.agents.allowed
    for path, step in seen.steps():
        role = seen.roles.get(step.role)
        if role is None:
            continue
        name = plan.setting(member(plan, _ANY, step, role).task, "agent")
        called = f"the step `{short(step.role)}`"
        if name not in allowed:
            if name != plan.defaults.agent:
                yield _unknown_agent(seen, path("role" if step.agent is None else "agent"), name)
        elif name == "command":
            if step.run is None:
                reason = f"{called} has no `run`, so nobody can do it"
                mend = "add `run: <a shell command>`, or name its `agent`"
                yield seen.source.problem(path("role"), reason, mend)
            for key in ("model", "tools"):
                if getattr(step, key) is not None:
                    reason = f"{called} is done by `command`, which takes no `{key}`"
                    yield seen.source.problem(path(key), reason, "remove it")
        elif step.run is not None:
            reason = f"{called} is done by {name}, which runs no `run`"
            mend = "remove `run`, or write `agent: command`"
            yield seen.source.problem(path("run"), reason, mend)
        elif step.tools and (more := _not_allowed(seen, name, step.tools)):
            yield seen.source.problem(path("tools"), *more)


_ANY = Task(id="any")
"""A task of which nothing is asked but the plan's defaults."""


def _unknown_agent(seen: _Seen, path: Path, name: str) -> Problem:
    allowed = seen.config.agents.allowed
    other = near(name, allowed)
    if name in CLIS:
        reason = f"the config's `agents` does not allow {name}"
        return seen.source.problem(path, reason, f"it allows {', '.join(allowed)}")
    mend = f"did you mean `{other}`?" if other else f"there are {', '.join(allowed)}"
    return seen.source.problem(path, f"there is no agent `{short(name)}`", mend)


def _not_allowed(seen: _Seen, name: str, tools: Sequence[str]) -> tuple[str, str] | None:
    if name == "command" or name not in seen.config.agents.allowed:
        return None
    most = seen.config.agents.of(name).tools
    wider = [tool for tool in tools if most is not None and tool not in most]
    if not wider or most is None:
        return None
    said = f"the config does not allow {name} to use {', '.join(wider)}"
    return said, f"it allows {', '.join(most) or 'nothing'}; a plan can only narrow that"


def _runners(seen: _Seen) -> Iterator[Problem]:
    """Which machine a task is done on is for the config to allow."""
    default = seen.plan.defaults.runner
    if default is not None and default not in seen.config.runners:
        yield _unknown_runner(seen, seen.top("defaults", "runner"), default)
    for place, task in seen.tasks():
        name = seen.terms(task).runner
        if name is not None and name not in seen.config.runners:
            key = "runner" if task.runner is not None else "role"
            yield _unknown_runner(seen, seen.path(place, key), name)


def _unknown_runner(seen: _Seen, path: Path, name: str) -> Problem:
    allowed = seen.config.runners
    other = near(name, allowed)
    mend = f"did you mean `{other}`?" if other else f"there are {', '.join(allowed)}"
    if not allowed:
        mend = "name it there with its labels: `runners: {NAME: [LABEL]}`, on the default branch"
    return seen.source.problem(path, f"the config's `runners` has no `{short(name)}`", mend)


def _capabilities(seen: _Seen) -> Iterator[Problem]:
    first: dict[str, tuple[int, int, str]] = {}
    for place, task in seen.tasks():
        for at, name in enumerate(task.gives):
            other, other_at, giver = first.setdefault(name, (place, at, task.id))
            if (other, other_at) == (place, at):
                continue
            line = seen.line(seen.path(other, "provides", other_at))
            who = "the same task" if other == place else _called(giver)
            yield seen.source.problem(
                seen.path(place, "provides", at),
                f"`{short(name)}` is provided twice: by {who} on line {line} too",
                "give one of them another name",
            )


def _needs(seen: _Seen) -> Iterator[Problem]:
    missing = {*seen.graph.missing, *seen.graph.unknown}
    for place, task in seen.tasks():
        for at, name in enumerate(task.preconditions):
            if fold(name) in task.gives:
                reason = (
                    f"`{short(name)}` is needed by {_called(task.id)}, which itself provides it"
                )
                path = seen.path(place, "preconditions", at)
                yield seen.source.problem(path, reason, "remove it here")
            elif missing and (task.id, name) in missing:
                yield _never_provided(seen, seen.path(place, "preconditions", at), task, name)
        for at, other in enumerate(task.depends_on):
            path = seen.path(place, "depends_on", at)
            if other == task.id:
                yield seen.source.problem(path, f"{other} depends on itself", "remove it here")
            elif missing and (task.id, other) in missing:
                yield _no_such_task(seen, path, task, other)


def _never_provided(seen: _Seen, path: Path, task: Task, name: str) -> Problem:
    needed = f"`{short(name)}` is needed by {_called(task.id)}"
    if name in seen.graph.requires:
        mend = f"{name} is a task: name it under `depends_on`"
        return seen.source.problem(path, f"{needed}, and nothing provides it", mend)
    other = seen.nearest(fold(name))
    if not other:
        mend = "let a task provide it, or remove it here"
        return seen.source.problem(path, f"{needed}, and nothing provides it", mend)
    giver = seen.graph.providers.get(other)
    who = f"{_called(giver)} provides" if giver else "an earlier plan provides"
    return seen.source.problem(
        path, f"{needed}; {who} `{short(other)}`", "write the same name in both places"
    )


def _no_such_task(seen: _Seen, path: Path, task: Task, other: str) -> Problem:
    if fold(other) in seen.graph.providers:
        mend = f"`{other}` is a capability: name it under `preconditions`"
    else:
        twin = near(other, seen.graph.requires) if len(seen.graph.requires) < 2000 else ""
        mend = f"did you mean {twin}?" if twin else "remove it here, or add that task"
    return seen.source.problem(
        path, f"{_called(task.id)} depends on {other}, and there is no such task", mend
    )


class _Nearest:
    """Finds the capability that somebody meant, as long as looking is cheap."""

    def __init__(self, graph: Graph) -> None:
        self._names = [*graph.providers, *graph.given]
        self._folded = {name.casefold(): name for name in reversed(self._names)}
        self._comparisons = 200_000

    def __call__(self, name: str) -> str:
        """Return the capability whose name comes nearest to `name`, or an empty string."""
        folded = name.casefold()
        if folded in self._folded:
            return self._folded[folded]
        self._comparisons -= len(self._names)
        if self._comparisons < 0:
            return ""
        inside = [
            other
            for other in self._folded
            if min(len(folded), len(other)) > 3 and (folded in other or other in folded)
        ]
        if inside:
            return self._folded[min(inside, key=lambda other: abs(len(other) - len(folded)))]
        self._comparisons -= 20 * len(self._names)
        return near(name, self._names) if self._comparisons > 0 else ""


def _cycles(seen: _Seen) -> Iterator[Problem]:
    if len(seen.graph.wave) == len(seen.graph.requires):
        return
    tasks = tuple(map(_without_itself, seen.plan.tasks))
    given = set(seen.graph.given)
    for _ in range(_MOST_CYCLES):
        # What stands in one cycle is taken for done, so that the next one can be seen.
        graph = Graph.of(Plan.model_construct(tasks=tasks, defaults=seen.plan.defaults), given)
        cycle = graph.cycle()
        if cycle is None:
            return
        yield _cycle(seen, cycle)
        for task in tasks:
            if task.id in cycle:
                given.update(task.gives)
        tasks = tuple(task for task in tasks if task.id not in cycle)


_MOST_CYCLES = 20
_MOST_STEPS = 12


def _without_itself(task: Task) -> Task:
    others = tuple(name for name in task.preconditions if fold(name) not in task.gives)
    ids = tuple(other for other in task.depends_on if other != task.id)
    if len(others) == len(task.preconditions) and len(ids) == len(task.depends_on):
        return task
    return task.model_copy(update={"preconditions": others, "depends_on": ids})


def _cycle(seen: _Seen, cycle: tuple[str, ...]) -> Problem:
    steps = []
    for one, other in pairwise(cycle[: _MOST_STEPS + 1]):
        _, name = _edge(seen, one, other)
        steps.append(f"{one} needs `{short(name)}` of {other}" if name else f"{one} needs {other}")
    ids = [*cycle[:_MOST_STEPS], "…", cycle[-1]] if len(cycle) > _MOST_STEPS + 1 else cycle
    return seen.source.problem(
        _edge(seen, cycle[0], cycle[1])[0],
        f"{' → '.join(ids)} is a cycle: {', '.join(steps)}",
        "remove one of these needs",
    )


def _edge(seen: _Seen, task_id: str, other: str) -> tuple[Path, str]:
    task, place = seen.plan.by_id[task_id], seen.place(task_id)
    for at, name in enumerate(task.preconditions):
        if seen.graph.providers.get(fold(name)) == other:
            return seen.path(place, "preconditions", at), name
    return seen.path(place, "depends_on", task.depends_on.index(other)), ""


def _branches(seen: _Seen) -> Iterator[Problem]:
    plan = seen.plan
    is_usable = {"base": False, "flow": plan.flow is None}
    for key, name in (("base", plan.base), ("flow", plan.flow)):
        if name is None:
            continue
        reason = bad_branch(name)
        is_usable[key] = not reason
        if reason:
            yield seen.source.problem(
                seen.top(key), f"`{short(name)}` cannot be a branch: {reason}", "rename it"
            )
    allowed = seen.config.bases
    if plan.base and allowed and not any(fnmatchcase(plan.base, one) for one in allowed):
        yield seen.source.problem(
            seen.top("base"),
            f"the config does not allow `{plan.base}` as a base",
            f"it allows {', '.join(allowed)}",
        )
    if plan.plan == _NO_NAME:
        return
    names: list[tuple[str, str, Path]] = [
        ("the plan's own branch", f"plan/{plan.plan}", ()),
        ("the plan's state", f"gitflow/state/{plan.plan}", ()),
        ("the plan's trains", f"gitflow/try/{plan.plan}", ()),
        ("the plan's earlier attempts", f"gitflow/attempt/{plan.plan}/1/1", ()),
    ]
    ids: set[str] = set()
    for place, task in seen.tasks():
        if task.id.casefold() not in ids:
            ids.add(task.id.casefold())
            path = seen.path(place, "slug")
            names.append((f"the branch of {task.id}", branch(plan.plan, task), path))
    if plan.base and is_usable["base"]:
        names.append(("the base branch", plan.base, seen.top("base")))
    if is_usable["flow"]:
        key = "type" if plan.flow is None and plan.type else "flow"
        names.append(("the flow branch", plan.flow_branch, seen.top(key)))
    taken = {name.casefold() for _, name, _ in names}
    for at, other, name in clashes((what, name) for what, name, _ in names):
        what, own, path = names[at]
        if what == "the base branch":
            mend = "choose another base"
        elif what == "the flow branch":
            mend = f"free are {_listed(_free_flows(plan, names[:at]))}"
        else:
            start = len(own) - len(own.removeprefix(f"task/{plan.plan}/{what.split()[-1]}-"))
            free = (f"{own}-{number}" for number in count(2))
            slugs = [one[start:] for one in islice((f for f in free if f not in taken), 3)]
            mend = f"give it a slug; free are {_listed(slugs)}"
        reason = f"{what} `{own}` and {other} `{name}` cannot both exist"
        yield seen.source.problem(path, reason, mend)


def _free_flows(plan: Plan, names: list[tuple[str, str, Path]]) -> list[str]:
    wishes = [f"{kind}/{plan.plan}" for kind in ("flow", "feat", "integration")]
    wishes += [f"flow/{plan.plan}-{number}" for number in range(2, 5)]
    others = [(what, name) for what, name, _ in names]
    return [wish for wish in wishes if not any(clashes([*others, ("", wish)]))][:3]


def _paths(seen: _Seen) -> Iterator[Problem]:
    plan = seen.plan
    found: list[tuple[Path, str]] = []
    for key, paths in (("copy_", plan.copy_), ("protected_paths", plan.protected_paths)):
        found += [(seen.top(key, at), bad_path(path)) for at, path in enumerate(paths)]
    if plan.defaults.working_directory:
        reason = bad_path(plan.defaults.working_directory)
        found.append((("defaults", "working_directory"), reason))
    for place, task in seen.tasks():
        for at, path in enumerate(task.files):
            if reason := bad_path(path):
                found.append((seen.path(place, "files", at), reason))
        for at, path in enumerate(task.docs):
            if reason := bad_path(path):
                found.append((seen.path(place, "docs", at), reason))
        if task.working_directory and (reason := bad_path(task.working_directory)):
            found.append((seen.path(place, "working_directory"), reason))
    for where, reason in found:
        if reason:
            yield seen.source.problem(where, reason, "write it from the top of the repository")


def _roles(seen: _Seen) -> Iterator[Problem]:
    asked: list[tuple[Path, str]] = []
    if seen.plan.defaults.role:
        asked.append((("defaults", "role"), seen.plan.defaults.role))
    asked += [(seen.path(place, "role"), task.role) for place, task in seen.tasks() if task.role]
    asked += [(path("role"), step.role) for path, step in seen.steps()]
    for path, name in asked:
        if name not in seen.roles:
            other = near(name, seen.roles)
            mend = f"did you mean `{other}`?" if other else f"there are {', '.join(seen.roles)}"
            yield seen.source.problem(path, f"there is no role `{short(name)}`", mend)


def _test_first(seen: _Seen) -> Iterator[Problem]:
    for place, task in seen.tasks():
        if task.tdd and task.kind == "research":
            reason = f"{_called(task.id)} is research, and has no tests to begin with"
            yield seen.source.problem(seen.path(place, "tdd"), reason, "remove `tdd`")
        elif seen.plan.setting(task, "tdd") and not seen.plan.verify(task):
            if task.kind == "research":
                continue
            path = seen.path(place, "tdd") if task.tdd else ("defaults", "tdd")
            reason = f"nothing runs the tests of {_called(task.id)}, which has `tdd`"
            yield seen.source.problem(path, reason, "add the command to its `verify`")


def _quality(seen: _Seen) -> Iterator[Problem]:
    """What `quality: full` asks for has to be in the plan before anything is spent."""
    plan, agents = seen.plan, seen.config.agents
    for place, task in seen.tasks():
        if plan.setting(task, "quality") != "full":
            continue
        asked = f"`quality: full` of {_called(task.id)} wants"
        path = seen.path(place, "quality")
        own = effective(plan, task, seen.roles.get(plan.setting(task, "role") or ""))
        if own.kind != "research":
            if not plan.verify(task) and not any(one.check for one in task.provides):
                reason = f"{asked} a command that verifies it"
                mend = "add `verify`, or a `check` to what it provides"
                yield seen.source.problem(path, reason, mend)
            if not task.files and not plan.setting(task, "working_directory"):
                reason = f"{asked} `files`, outside which nothing may change"
                yield seen.source.problem(path, reason, "add `files`")
        crew = seen.crew(task)
        is_known = seen.agent(task) in agents.allowed
        is_known = is_known and len(crew) == len(plan.setting(task, "steps"))
        if is_known and not is_reviewed(plan, own, crew, agents):
            yield seen.source.problem(
                path,
                f"{asked} a review by another agent or model than the one that did it, after every "
                "step that may change something",
                "end `steps` with `{role: review, agent: …}`",
            )


def _outputs(seen: _Seen) -> Iterator[Problem]:
    for place, task in seen.tasks():
        names: set[str] = set()
        for at, output in enumerate(task.outputs):
            path = seen.path(place, "outputs", at)
            if output.name in names:
                yield seen.source.problem(path, f"`{output.name}` is declared twice", "remove one")
            names.add(output.name)
            if output.type != "string" and (output.choices or output.pattern):
                reason = f"`{output.name}` is a {output.type}, and has no choices and no pattern"
                yield seen.source.problem(path, reason, "remove them, or its `type`")
            elif output.pattern and (why := handoff.bad_pattern(output.pattern)):
                reason = f"`{short(output.pattern)}` is no pattern: {why}"
                yield seen.source.problem(path, reason, "mend it")


def _inputs(seen: _Seen) -> Iterator[Problem]:
    related = _Related(seen.graph)
    for place, task in seen.tasks():
        taken: dict[str, str] = {}
        for name, where in task.inputs.items():
            path = seen.path(place, "inputs", name)
            variable = handoff.variable(name)
            if variable in taken:
                reason = f"`{name}` and `{taken[variable]}` would both be {variable}"
                yield seen.source.problem(path, reason, "rename one")
            taken[variable] = name
            if said := _no_such_input(seen, related, task, name, where):
                yield seen.source.problem(path, *said)


def _no_such_input(
    seen: _Seen, related: _Related, task: Task, name: str, where: str
) -> tuple[str, str] | None:
    giver, output = handoff.source(where)
    if not giver:
        reason = f"`{short(where)}` is not the output of a task"
        return reason, "write `<task>.<output>`, such as `001.port`"
    said = f"the input `{name}` is `{short(output)}` of {short(giver)}"
    other = seen.plan.by_id.get(giver)
    if other is None:
        few = len(seen.graph.requires) < 2000
        twin = near(giver, seen.graph.requires) if few else ""
        return f"{said}, and there is no such task", f"did you mean {twin}?" if twin else ""
    names = [one.name for one in other.outputs]
    if output not in names:
        twin = near(output, names)
        mend = f"did you mean `{twin}`?" if twin else f"declare it under `outputs` of {giver}"
        return f"{said}, which declares no such output", mend
    if related.needs(task.id, giver) is False:
        return f"{said}, and {_called(task.id)} does not need {giver}", (
            f"name {giver} under `depends_on`, or something that it provides under `preconditions`"
        )
    return None


RULES: tuple[Rule, ...] = (
    _ids,
    _capabilities,
    _needs,
    _cycles,
    _branches,
    _paths,
    _roles,
    _test_first,
    _quality,
    _outputs,
    _inputs,
)


# --- advice ---------------------------------------------------------------------------------------


def _size(seen: _Seen) -> Iterator[Problem]:
    most = seen.config.limits.task_minutes
    for place, task in seen.tasks():
        if task.estimated_time is not None and task.estimated_time.minutes > most:
            yield seen.warn(
                seen.path(place, "estimated_time"),
                f"{_called(task.id)} is estimated at over {most:g} minutes",
                "split it, or set `limits.task_minutes` in the config",
            )


def _unverified(seen: _Seen) -> Iterator[Problem]:
    if seen.plan.gate or seen.config.gate:
        return
    for place, task in seen.tasks():
        has_check = any(capability.check for capability in task.provides)
        is_verified = has_check or seen.plan.verify(task)
        if task.kind == "research" or seen.plan.setting(task, "quality") != "basic":
            continue  # its report is what is wanted, or nothing more, or it is an error
        if not is_verified and not seen.source.root["tasks"][place].get("verify"):
            yield seen.warn(
                seen.path(place, "verify"),
                f"nothing verifies {_called(task.id)}",
                "add `verify`, a `check` to what it provides, or a `gate`",
            )


def _reviewed_by_itself(seen: _Seen) -> Iterator[Problem]:
    plan, agents = seen.plan, seen.config.agents
    for place, task in seen.tasks():
        if plan.setting(task, "quality") != "basic" or not plan.setting(task, "steps"):
            continue
        if seen.agent(task) not in agents.allowed:
            continue
        own = effective(plan, task, seen.roles.get(plan.setting(task, "role") or ""))
        for at in own_reviews(plan, own, seen.crew(task), agents):
            yield seen.warn(
                seen.path(place, "steps", at),
                f"{_called(task.id)} is reviewed by the agent and model that did it",
                "name another `agent` or `model` for the review",
            )


def _unsaid(seen: _Seen) -> Iterator[Problem]:
    for place, task in seen.tasks():
        if not task.description.strip() and not task.acceptance:
            yield seen.warn(
                ("tasks", place),
                f"{_called(task.id)} does not say what it is about",
                "add a `description`, or `acceptance`",
            )


def _overlaps(seen: _Seen) -> Iterator[Problem]:
    """Warn of each path once, and of each task that meets many others in many paths once."""
    found = overlaps(seen.plan, seen.graph, limit=_MOST_OVERLAPS)
    groups = contended(seen.plan, found)
    meets = Counter(task for tasks in groups.values() if len(tasks) == 2 for task in tasks)
    wide: dict[str, list[str]] = {}
    for path, (first, second, *others) in groups.items():
        hub = max(second, first, key=meets.__getitem__)
        if not others and meets[hub] > _FEW:
            wide.setdefault(hub, []).append(path)
            continue
        those, whose = f"{_called(first)} and {_called(second)}", "both"
        mend = "let one need the other, or expect a conflict"
        if others:
            # Where there are more pairs than were looked for, there may be more tasks too.
            least = "at least " if len(found) == _MOST_OVERLAPS else ""
            named = _some([first, second, *others])
            those, whose = f"{least}{len(others) + 2} tasks ({named})", "each"
            mend = "let them need one another, or expect conflicts"
        yield seen.warn(
            seen.path(seen.place(second), "files"),
            f"{those} could run at the same time, and `{short(path)}` is among the files of "
            f"{whose}",
            mend,
        )
    for hub, paths in wide.items():
        others = [task for path in paths for task in groups[path] if task != hub]
        yield seen.warn(
            seen.path(seen.place(hub), "files"),
            f"{_called(hub)} could run at the same time as {len(others)} tasks ({_some(others)}), "
            f"and names files of each, such as `{short(paths[0])}`",
            "let one need the other, or expect conflicts",
        )


def _some(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - _FEW} more" if tasks[_FEW:] else ""
    return ", ".join(map(_called, tasks[:_FEW])) + more


_MOST_OVERLAPS = 2000
_FEW = 3
"""Tasks of one overlap that are named."""


def _ignored(seen: _Seen) -> Iterator[Problem]:
    version = seen.plan.plan_version
    plan_says = [("plan_version", version)] if version is not None else []
    for key, value in plan_says:
        yield from _version(seen, seen.top(key), value)
    for place, task in seen.tasks():
        if task.status != "pending":
            yield seen.warn(
                seen.path(place, "status"),
                f"`status: {short(task.status)}` is ignored",
                "remove it: what is done is what was merged",
            )
        if task.completed_tasks:
            yield seen.warn(
                seen.path(place, "completed_tasks"),
                "`completed_tasks` is ignored",
                "remove it: what is done is what was merged",
            )
        if task.plan_version is not None:
            yield from _version(seen, seen.path(place, "plan_version"), task.plan_version)


def _version(seen: _Seen, path: Path, value: str) -> Iterator[Problem]:
    if value != "v1":
        reason = f"`plan_version: {short(value)}` is ignored"
        yield seen.warn(path, reason, "remove it: revisions are counted when they are accepted")


def _told_twice(seen: _Seen) -> Iterator[Problem]:
    plan = seen.plan
    expected = {
        "session_id": plan.plan,
        "session_goal": plan.goal,
        "plan_branch": f"plan/{plan.plan}",
    }
    for place, task in seen.tasks():
        for key, value in expected.items():
            said = getattr(task, key)
            if said is not None and fold(said) != fold(value):
                yield seen.warn(
                    seen.path(place, key),
                    f"`{key}` is `{short(said)}`, and the plan says `{short(value)}`",
                    "remove it",
                )


def _relations(seen: _Seen) -> Iterator[Problem]:
    related = _Related(seen.graph)
    for place, task in seen.tasks():
        for at, other in enumerate(task.enables or ()):
            path = seen.path(place, "enables", at)
            if other not in seen.graph.requires:
                yield seen.warn(path, f"`enables` names {short(other)}, and there is no such task")
            elif related.needs(other, task.id) is False:
                reason = f"`enables` names {other}, which does not need {_called(task.id)}"
                yield seen.warn(path, reason, f"remove it, or let {other} need {_called(task.id)}")
        for at, other in enumerate(task.parallel_with or ()):
            path = seen.path(place, "parallel_with", at)
            if other not in seen.graph.requires:
                reason = f"`parallel_with` names {short(other)}, and there is no such task"
                yield seen.warn(path, reason, "remove it")
            elif related.needs(task.id, other) or related.needs(other, task.id):
                reason = f"`parallel_with` names {other}, and one of them needs the other"
                yield seen.warn(path, reason, "remove it")


class _Related:
    """Answers whether one task needs another, directly or not, as long as that is cheap."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._of: str | None = None
        self._needed: set[str] = set()
        self._steps = 2_000_000

    def needs(self, task_id: str, other: str) -> bool | None:
        """Say whether `task_id` needs `other`; None when finding that out would take too long."""
        if other in self._graph.requires[task_id]:
            return True
        wave = self._graph.wave
        if wave.get(task_id, 0) <= wave.get(other, 0):
            return False
        if task_id != self._of:
            if self._steps < 0:
                return None
            self._of, self._needed = task_id, self._graph.ancestors(task_id)
            self._steps -= len(self._needed)
        return other in self._needed


def _totals(seen: _Seen) -> Iterator[Problem]:
    plan, graph = seen.plan, seen.graph
    if plan.total_tasks is not None and plan.total_tasks != len(plan.tasks):
        reason = f"`total_tasks` is {plan.total_tasks}, and there are {len(plan.tasks)}"
        yield seen.warn(seen.top("total_tasks"), reason, "remove it")
    said = plan.estimated_total_time
    if said is not None and all(task.estimated_time is not None for task in plan.tasks):
        times = schedule(plan, graph, 1)
        if not 0.8 * times.best <= said.minutes <= 1.25 * times.total:
            yield seen.warn(
                seen.top("estimated_total_time"),
                f"`estimated_total_time` is `{short(said)}`; the tasks add up to {times.total:g} "
                f"minutes, {times.best:g} of them one after the other",
                "remove it",
            )
    if plan.dependency_graph is not None:
        yield from _waves(seen, plan.dependency_graph)


_WAVE = re.compile(r"wave\s+(\d+)\s*:(.*)", re.IGNORECASE)


def _waves(seen: _Seen, text: str) -> Iterator[Problem]:
    said: dict[int, set[str]] = {}
    for line in filter(str.strip, text.splitlines()):
        match = _WAVE.fullmatch(line.strip())
        if match is None or len(match[1]) > 6:
            reason = f"`dependency_graph` says `{short(line)}`, which is not `Wave 1: 001, 002`"
            yield seen.warn(seen.top("dependency_graph"), reason, "remove it")
            return
        said.setdefault(int(match[1]), set()).update(match[2].replace(",", " ").split())
    waves = dict(enumerate(seen.graph.waves(), start=1))
    for number in sorted(said.keys() | waves.keys()):
        computed, told = waves.get(number, []), said.get(number, set())
        if set(computed) != told:
            yield seen.warn(
                seen.top("dependency_graph"),
                f"`dependency_graph` puts {_listed(sorted(told))} into wave {number}; "
                f"what the tasks need puts {_listed(computed)} there",
                "remove it, or correct it",
            )
            return


def _listed(ids: list[str]) -> str:
    return short(", ".join(ids)) or "nothing"


ADVICE: tuple[Rule, ...] = (
    _commands,
    _agents,
    _step_agents,
    _runners,
    _reviewed_by_itself,
    _size,
    _unverified,
    _unsaid,
    _overlaps,
    _ignored,
    _told_twice,
    _relations,
    _totals,
)
