"""Which board shows a plan, under which names, and whether that board can show it.

Our own names of fields and statuses never change; a config says what people call them.  Start with
FIELDS and `shown_of`; `layout` holds what a config wants against a board as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from gitflow_agents.board.terms import AddField, Color, Field, Kind, Option, Project, SetOptions
from gitflow_agents.models import (
    CLIS,
    AgentMapping,
    Config,
    Plan,
    Priority,
    Projects,
    Status,
    Task,
    place_of,
)

FIELDS: Mapping[str, Kind] = MappingProxyType(
    {
        "TM_ID": "TEXT",
        "Status": "SINGLE_SELECT",
        "Priority": "SINGLE_SELECT",
        "Assignee": "TEXT",
        "Dependencies": "TEXT",
        "Test Strategy": "TEXT",
        "Plan": "TEXT",
        "Wave": "NUMBER",
        "Attempt": "NUMBER",
        "Agent": "TEXT",
        "Cost": "NUMBER",
        "Run": "TEXT",
        "Estimate": "NUMBER",
        "Started": "DATE",
        "Ended": "DATE",
        "Reason": "TEXT",
    }
)
"""What a card says of a task, in the order in which a new board gets it."""
STATES: Mapping[Status, str] = MappingProxyType(
    {
        Status.PENDING: "pending",
        Status.IN_PROGRESS: "in-progress",
        Status.REVIEW: "QA Review",
        Status.COMPLETED: "done",
        Status.FAILED: "in-progress",
        Status.CANCELLED: "archived",
    }
)
"""The choice of `Status` that stands for each status."""
ARCHIVED = "archived"
"""Stands in STATES for no choice: the card is put away."""
MOST_OPTIONS = 50
"""Choices that a forge lets a field have."""
ANY = "*"
"""Stands for every plan that is not named, and for every service."""

_COLORS: Mapping[str, Color] = {
    "pending": "GRAY",
    "in-progress": "YELLOW",
    "QA Review": "PURPLE",
    "done": "GREEN",
    "high": "RED",
    "medium": "ORANGE",
    "low": "BLUE",
}


@dataclass(frozen=True)
class Shown:
    """How a plan is shown: on which board, under which names, and for whom."""

    plan: str
    owner: str = ""
    """Whose board it is; empty for the owner of the repository."""
    host: str = ""
    """The host that an address named; empty where none did."""
    number: int = 0
    node: str = ""
    """What the forge calls the board, where only that, or that too, was said."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What people call each of our fields; one that is not here is not kept."""
    states: Mapping[Status, str] = field(default_factory=lambda: STATES)
    people: Mapping[str, AgentMapping] = field(default_factory=dict)
    agents: frozenset[str] = frozenset()
    """The names of all agents there are, so that a name in `people` is known for one."""
    is_shared: bool = False
    """Other plans may be shown on the same board."""

    def options(self, name: str) -> tuple[str, ...]:
        """Return the choices that one of our fields needs, in the order of a new board."""
        if name == "Priority":
            return tuple(priority.value for priority in Priority)
        if name != "Status":
            return ()
        return tuple(dict.fromkeys(state for state in self.states.values() if state != ARCHIVED))


def shown_of(config: Config, plan: str) -> Shown | None:
    """Return how a config shows a plan, or None where it shows it nowhere.

    The file that `projects` names has been read into it.
    """
    projects = config.projects
    if projects is None:
        return None
    where = _place(projects, plan)
    if where is None:
        return None
    owner, host, number, node = where
    said = {str(ours): theirs for ours, theirs in projects.fields.items()}
    return Shown(
        plan=plan,
        owner=owner,
        host=host,
        number=number,
        node=node,
        names={ours: theirs for ours in FIELDS if (theirs := said.get(ours, ours)) is not None},
        states={**STATES, **{Status(one): name for one, name in projects.states.items()}},
        people={**projects.agent_mapping, **config.agent_mapping},
        agents=frozenset({"command", *CLIS, *config.agents.custom}),
        is_shared=_is_shared(projects, plan, where),
    )


def _is_shared(projects: Projects, plan: str, where: tuple[str, str, int, str]) -> bool:
    """Say whether a config shows another plan on the same board, or any plan."""
    named = {*projects.plans, *projects.project_mappings}
    return plan not in named or any(_place(projects, name) == where for name in named - {plan})


def _place(projects: Projects, plan: str) -> tuple[str, str, int, str] | None:
    """Return owner, host, number and node of the board of a plan."""
    owner = projects.owner or ""
    for name in (plan, ANY):
        if (said := projects.plans.get(name)) is not None and (place := place_of(said)):
            return place.owner or owner, place.host, place.number, ""
        if (mapping := projects.project_mappings.get(name)) is not None:
            return owner, "", mapping.project_number or 0, mapping.project_id or ""
    return None


# --- who answers for a task -----------------------------------------------------------------------


def _owns(services: Sequence[str], plan: Plan, task: Task) -> bool:
    """Say whether one of these is the plan's name, or a folder of what a task is about."""
    about = (*task.files, plan.setting(task, "working_directory") or "")
    paths = [f"{path.removeprefix('./').rstrip('/')}/" for path in about]
    folders = [service.removeprefix("./").rstrip("/") for service in services]
    return plan.plan in services or any(
        path.startswith(f"{folder}/") for folder in folders for path in paths if folder
    )


def assignee(task: Task, plan: Plan, shown: Shown, *, agent: str = "") -> str | None:
    """Return the login of who answers for a task, or None where nobody does.

    Of those who own one of its services: first who is named as its agent, then who has its role,
    then who named the service and not all of them, then the first.  A name that is another
    agent's does not answer for this one.
    """
    agent = agent or str(plan.setting(task, "agent"))
    role = str(plan.setting(task, "role") or "")
    best: tuple[tuple[bool, bool, bool], str] | None = None
    for name, one in shown.people.items():
        is_named = _owns(one.services, plan, task)
        if not is_named and ANY not in one.services:
            continue
        if name in shown.agents and name != agent:
            continue
        rank = (name == agent, bool(role) and one.role == role, is_named)
        if best is None or rank > best[0]:
            best = rank, one.github_username
    return best[1] if best else None


# --- whether a board can show it ------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """Our fields as a board has them, and what is to be said about that.

    `problems` keep everything from being written; what is `missing` is only left out, and `to_make`
    is what makes it.
    """

    fields: Mapping[str, Field]
    """By our names."""
    missing: tuple[str, ...] = ()
    to_make: tuple[AddField | SetOptions, ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    """A sentence and what to do about it."""

    def option(self, name: str, choice: str) -> Option | None:
        """Return a choice of one of our fields, as it is called or but for its case."""
        return _option(self.fields[name].options, choice) if name in self.fields else None

    def lacking(self, shown: Shown) -> dict[str, tuple[str, ...]]:
        """Return the choices that our fields lack, of those that do."""
        found = {
            ours: tuple(one for one in shown.options(ours) if self.option(ours, one) is None)
            for ours in self.fields
        }
        return {ours: choices for ours, choices in found.items() if choices}


def _option(options: Sequence[Option], choice: str) -> Option | None:
    exact = next((one for one in options if one.name == choice), None)
    folded = choice.casefold()
    return exact or next((one for one in options if one.name.casefold() == folded), None)


def spare(name: str) -> str:
    """Return what a field is called where the forge keeps its name for a field of its own."""
    return f"TM_{name}"


def layout(project: Project, shown: Shown, known: Mapping[str, str]) -> Layout:
    """Return how a board can show a plan; `known` are the nodes of our fields as last seen.

    A field is found by its name, else by the name that `spare` gives it; one that lost it is still
    the one that it was.
    """
    by_name = {one.name: one for one in reversed(project.fields)}
    by_folded = {one.name.casefold(): one for one in reversed(project.fields)}
    found: dict[str, Field] = {}
    for ours, theirs in shown.names.items():
        for name in (theirs, spare(theirs)):
            if one := by_name.get(name) or by_folded.get(name.casefold()):
                found.setdefault(ours, one)
    taken = {one.id for one in found.values()}
    by_id = {one.id: one for one in project.fields}
    for ours in shown.names:
        node = known.get(ours, "")
        if ours not in found and node in by_id and node not in taken:
            found[ours] = by_id[node]
    wrong = {ours for ours, one in found.items() if one.kind != FIELDS[ours]}
    lacks: list[str] = []
    missing: list[str] = []
    to_make: list[AddField | SetOptions] = []
    problems = list(_closed(project))
    for ours, theirs in shown.names.items():
        wanted = shown.options(ours)
        if ours in wrong:
            problems.append(_misfit(ours, found[ours]))
        elif ours not in found:
            lacks.append(theirs)
            to_make.append(AddField(theirs, FIELDS[ours], tuple(map(_new, wanted))))
        elif lacking := [one for one in wanted if _option(found[ours].options, one) is None]:
            name, options = found[ours].name, found[ours].options
            missing.append(f"the field `{name}` has no {_listed('choice', lacking)}")
            if len(options) + len(lacking) > MOST_OPTIONS:
                missing.append(f"the field `{name}` can have {MOST_OPTIONS} choices")
            else:
                to_make.append(SetOptions(found[ours].id, (*options, *map(_new, lacking))))
    fields = {ours: found[ours] for ours in shown.names if ours in found and ours not in wrong}
    if lacks:
        missing.insert(0, f"the board has no {_listed('field', lacks)}")
    return Layout(fields, tuple(missing), tuple(to_make), tuple(problems))


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}{'s' if len(names) > 1 else ''} {', '.join(f'`{name}`' for name in names)}"


def _new(name: str) -> Option:
    return Option(name, color=_COLORS.get(name, "GRAY"))


_KINDS: Mapping[str, str] = {
    "TEXT": "a text",
    "NUMBER": "a number",
    "DATE": "a date",
    "SINGLE_SELECT": "a single select",
    "ITERATION": "an iteration",
}


def _misfit(ours: str, there: Field) -> tuple[str, str]:
    kind = _KINDS.get(there.kind, "one that only GitHub writes")
    return (
        f"the board's field `{there.name}` is {kind}, and has to be {_KINDS[FIELDS[ours]]}",
        f"rename it on the board, or give ours another name in the config: "
        f'projects: {{fields: {{"{ours}": Another name}}}}, with null to leave it out',
    )


def _closed(project: Project) -> Iterator[tuple[str, str]]:
    if project.is_closed:
        yield f"the board {project.url} is closed", "reopen it, or take it out of the config"
    elif not project.may_write:
        yield (
            f"the token may not write to the board {project.url}",
            "give its owner the role Write in the board's settings (Manage access)",
        )


__all__ = [
    "ANY",
    "ARCHIVED",
    "FIELDS",
    "MOST_OPTIONS",
    "STATES",
    "Layout",
    "Shown",
    "assignee",
    "layout",
    "shown_of",
    "spare",
]
