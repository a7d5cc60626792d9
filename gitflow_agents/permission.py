"""Who may give which command: the one place that decides it.

`permit` is asked before a command of somebody on a forge is carried out, and refuses it with the
reason.  Whoever asks it has learnt from the forge who that is; what cannot be learnt is no right.
Start with `_demands`: it says what a command takes, task by task.

A plan can only tighten.  Its `approvers` choose among those who can write here; where the config
wants the approval itself, they have to be whom the config wants, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gitflow_agents.commands import (
    LEVELS,
    Act,
    Approve,
    Refused,
    Reject,
    Revert,
    Skip,
    Unapprove,
    select,
)
from gitflow_agents.models import PERSON, CommandPermission, Config, Gate, Level, Status
from gitflow_agents.owners import Owners
from gitflow_agents.scheduler import Snapshot

CODEOWNERS = "codeowners"
"""Stands among approvers for the owners of the task's paths."""
TRUSTED: Level = "write"
"""What whom the config lets in counts as at least, and what an approver has to have."""
APPROVING: Level = "maintain"
"""What somebody has to have who approves and is not named, if the config does not say it."""
FOR_PEOPLE = (Approve, Unapprove, Skip, Revert)
"""What no bot does, whoever lets it in."""
HOUR = 3600.0
_NO_MAIL = re.compile(r"<(?:(\d+)\+)?([^@<>+]+)@users\.noreply\.([^<>]+)>$")


@dataclass(frozen=True)
class Asker:
    """Somebody who gives a command, as the forge knows them; by default one with no right at all.

    `level` is one of LEVELS, or empty; `teams` are those of them that somebody asked for, as
    `organisation/team`.
    """

    login: str
    id: int = 0
    level: str = ""
    is_bot: bool = False
    is_own: bool = False
    """It is the account that the tool itself acts with."""
    from_fork: bool = False
    """It is said on a pull request whose head is in another repository."""
    teams: frozenset[str] = frozenset()
    host: str = "github.com"
    is_local: bool = False
    """It is the person at the terminal, whom no forge knows better."""

    @property
    def actor(self) -> str:
        """Return who it is, as git writes people, at the forge's address for no mail."""
        number = f"{self.id}+" if self.id else ""
        return f"{self.login} <{number}{self.login}@users.noreply.{self.host}>"

    @property
    def names(self) -> frozenset[str]:
        """Return what a list can call them, folded: the login, and the teams."""
        return frozenset(name.casefold() for name in (self.login, *self.teams))

    def is_(self, actor: str) -> bool:
        """Say whether an actor is this one: by number where both have one, else by the login."""
        found = _NO_MAIL.search(actor)
        if found is None or found[3] != self.host:
            return False
        number, login = int(found[1] or 0), found[2]
        if number and self.id:
            return number == self.id
        return login.casefold() == self.login.casefold()

    @classmethod
    def called(cls, actor: str, level: str, *, is_bot: bool = False) -> Asker:
        """Return who an `Asker.actor` was, with what they might do then."""
        found = _NO_MAIL.search(actor)
        if found is None:
            return cls(actor, is_bot=is_bot)
        return cls(found[2], int(found[1] or 0), level, is_bot, host=found[3])


TERMINAL = Asker("", level="admin", is_local=True)
"""The person at a terminal, who has every right over what is there."""


@dataclass(frozen=True)
class Rules:
    """What a repository decides about commands: its config, and the owners of its paths."""

    config: Config = field(default_factory=Config)
    owners: Owners = field(default_factory=Owners)


@dataclass(frozen=True)
class _Demand:
    """What a command takes: a level, or a name in its place, and to be one of `only` if it says so.

    Names are folded, a team's is `organisation/team`; `owners` need TRUSTED.
    """

    level: str
    instead: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()
    only: frozenset[str] | None = None
    of: str = ""
    """The task that it is about, where it is about one."""

    @property
    def named(self) -> frozenset[str]:
        return self.instead | self.owners | (self.only or frozenset())

    def is_met(self, names: frozenset[str], level: str) -> bool:
        if self.only is not None and self.only.isdisjoint(names):
            return False
        is_owner = reaches(level, TRUSTED) and not self.owners.isdisjoint(names)
        return reaches(level, self.level) or is_owner or not self.instead.isdisjoint(names)


def reaches(level: str, wanted: str) -> bool:
    """Say whether a level includes another one; none of the forge's words includes nothing."""
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(wanted)


def permit(
    command: Act,
    asker: Asker,
    rules: Rules,
    snapshot: Snapshot | None,
    *,
    authors: frozenset[str] = frozenset(),
    recent: Sequence[float] = (),
    now: float = 0.0,
) -> None:
    """Raise Refused unless somebody may give a command.

    `authors` are the actors who do not count as another's eyes (see `work`), `recent` the times
    of this person's commands in seconds since the epoch, `now` the present one.
    """
    if asker.is_local:
        return
    verb = _verb(command)
    _is_heard(command, asker, rules)
    has_time(asker, rules, recent, now)
    level = standing(asker, rules)
    for demand in _demands(command, asker, rules, snapshot):
        if not demand.is_met(asker.names, level):
            raise _not_allowed(verb, asker, level, demand)
    is_own_work = isinstance(command, Approve) and any(map(asker.is_, authors))
    if is_own_work and not rules.config.allow_self_approval:
        raise Refused(
            "self-approval",
            f"`{asker.login}` wrote or started it, and nobody approves their own work",
            hint=f"{who_can(command, rules, snapshot)}, but not who wrote or started it; where "
            "nobody else is, the config sets `allow_self_approval: true`",
        )


def standing(asker: Asker, rules: Rules) -> str:
    """Return what somebody counts as: the forge's level, or more where the config names them."""
    is_raised = _is_named(asker, rules) and not reaches(asker.level, TRUSTED)
    return TRUSTED if is_raised else asker.level


def who_can(command: Act, rules: Rules, snapshot: Snapshot | None) -> str:
    """Return in words who may give a command; names are code, so that nobody is called."""
    demands = [*_demands(command, None, rules, snapshot)]
    return "who can: " + "; ".join(dict.fromkeys(map(_who, demands)))


def approvers(snapshot: Snapshot, task: str, level: Level | None) -> tuple[frozenset[str], Level]:
    """Return whom the plan names to approve a task, folded, and what they have to have as well.

    `level` is what the config wants of whoever approves, if it says it.  Where nobody is named it
    is anybody who has that.
    """
    named = _folded(snapshot.plan.setting(snapshot.plan.by_id[task], "approvers"))
    gate: Gate = "task" if snapshot.status(task) is Status.PENDING else "merge"
    # What only the plan asks for it may leave to whom it likes, of those who can write.
    is_plans = bool(named) and gate not in snapshot.approval and level is None
    return named, TRUSTED if is_plans else level or APPROVING


def doubt(asker: Asker | None, rules: Rules) -> str:
    """Return why a text that somebody proposes waits for an approval, whatever it says itself.

    It does where they could not start it by a command.  None is whoever it was that could push.
    """
    demand = _starting(rules)
    if asker is None:
        is_met, who = demand.is_met(frozenset(), TRUSTED), "somebody"
    else:
        is_met, who = demand.is_met(asker.names, standing(asker, rules)), asker.login
        is_met &= not asker.is_bot or _is_named(asker, rules)
    return "" if is_met else f"{who} proposed it, and `/start` takes {demand.level}"


def starters(rules: Rules) -> frozenset[str]:
    """Return the teams, folded, in which somebody might have to be to start a plan."""
    named = _starting(rules).named | _folded(rules.config.allow_users)
    return frozenset(name for name in named if "/" in name)


def teams(command: Act, rules: Rules, snapshot: Snapshot | None) -> frozenset[str]:
    """Return the teams, folded, in which somebody might have to be to give a command."""
    named = {name for one in _demands(command, None, rules, snapshot) for name in one.named}
    return frozenset(name for name in {*named, *_folded(rules.config.allow_users)} if "/" in name)


@dataclass(frozen=True)
class Work:
    """What somebody else is to approve: whose it is as far as that is known, and where it is told.

    `actors` are people; authors and committers of `commits`, and of all commits that flow lacks
    of `results`, are others.
    """

    actors: frozenset[str] = frozenset()
    commits: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


def work(command: Act, snapshot: Snapshot) -> Work:
    """Return whose work a command approves: nothing where it approves none."""
    if not isinstance(command, Approve):
        return Work()
    actors, results = {snapshot.state.accepted_by}, []
    for task in _meant(command, snapshot):
        actors |= {one.actor for one in snapshot.record(task).attempts if one.agent == PERSON}
        results.append(snapshot.approvable(task))
    return Work(frozenset(actors - {""}), (snapshot.state.commit,), tuple(filter(None, results)))


def _starting(rules: Rules) -> _Demand:
    said = rules.config.command_permissions.get("start", CommandPermission())
    return _Demand(said.level or TRUSTED, _folded(said.users))


# --- what a command takes -------------------------------------------------------------------------


def _demands(
    command: Act, asker: Asker | None, rules: Rules, snapshot: Snapshot | None
) -> Iterator[_Demand]:
    """Yield what a command takes; all of it has to be met."""
    said = rules.config.command_permissions.get(_verb(command), CommandPermission())
    level = said.level or command.level
    if command.needs_level != command.level:  # more than the verb: names in its place do not count
        yield _Demand(max(level, command.needs_level, key=LEVELS.index))
        return
    users = _folded(said.users)
    try:
        tasks = _meant(command, snapshot) if snapshot else []
    except Refused:
        yield _Demand(level, users)  # whoever may not give it learns nothing of the plan
        raise
    if isinstance(command, Unapprove) and snapshot and asker and _gave(command, asker, snapshot):
        return
    if snapshot is None or not tasks:
        yield _Demand(level, users)
        return
    for task in tasks:
        chosen, needed = approvers(snapshot, task, said.level)
        if not chosen or not isinstance(command, Approve | Reject):
            for owners in _owners(rules, snapshot, task) if said.codeowners else [frozenset()]:
                yield _Demand(level, users, owners, of=task)
            continue
        people = chosen - {CODEOWNERS}
        lent = users if needed == level else frozenset()
        for owners in _owners(rules, snapshot, task) if CODEOWNERS in chosen else [frozenset()]:
            yield _Demand(needed, lent, only=people | owners, of=task)


def _meant(command: Act, snapshot: Snapshot) -> list[str]:
    """Return the tasks that a command names; Refused where a word names none."""
    if not command.takes_tasks or command.targets == ("plan",):
        return []
    words = [word for word in command.targets or command.default if word != "plan"]
    return select(snapshot, words) if words else []


def _gave(command: Unapprove, asker: Asker, snapshot: Snapshot) -> bool:
    """Say whether somebody withdraws nothing but what they gave."""
    given = [one for task in _meant(command, snapshot) for one in snapshot.record(task).approvals]
    if not command.targets or command.targets == ("plan",):
        given = [snapshot.state.approved] if snapshot.state.approved else []
    return bool(given) and all(asker.is_(one.by) for one in given)


def _owners(rules: Rules, snapshot: Snapshot, task: str) -> list[frozenset[str]]:
    """Return who owns each path of a task: those that it declares, and those that it changed."""
    attempt = snapshot.record(task).attempt
    touched = attempt.touched if attempt and snapshot.status(task) is Status.REVIEW else ()
    paths = dict.fromkeys((*snapshot.plan.by_id[task].files, *touched))
    found = [owners for path in paths for owners in rules.owners.of(path)]
    return list(dict.fromkeys(found)) or [frozenset()]


def _verb(command: Act) -> str:
    return str(type(command).model_fields["verb"].default)


def _folded(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


def _is_named(asker: Asker, rules: Rules) -> bool:
    """Say whether the config lets somebody in by name."""
    if asker.is_bot:
        return _bot(asker.login) in map(_bot, rules.config.allow_bots)
    return not asker.names.isdisjoint(_folded(rules.config.allow_users))


def _bot(name: str) -> str:
    return name.casefold().removesuffix("[bot]")


# --- who is heard at all --------------------------------------------------------------------------


def _is_heard(command: Act, asker: Asker, rules: Rules) -> None:
    """Refuse those whose rights do not matter."""
    if asker.is_own:
        raise Refused("not-allowed", f"`{asker.login}` is this tool, which commands nothing")
    if asker.from_fork:
        raise Refused(
            "fork",
            "a pull request from a fork takes no commands",
            hint="push the branch to this repository, or comment on the plan's own pull request",
        )
    if not asker.is_bot:
        return
    if isinstance(command, FOR_PEOPLE):
        raise Refused("not-allowed", f"`{asker.login}` is a bot; `/{_verb(command)}` is for people")
    if not _is_named(asker, rules):
        raise Refused(
            "not-allowed",
            f"`{asker.login}` is a bot that the config does not name",
            hint=f"`allow_bots: [{_bot(asker.login)}]` in the config lets it in",
        )


def has_time(asker: Asker, rules: Rules, recent: Sequence[float], now: float) -> None:
    """Raise Refused for who has given as many commands within the hour as one person may."""
    most = rules.config.command_limit
    last = sorted(at for at in recent if now - HOUR < at)
    if len(last) < most:
        return
    at = datetime.fromtimestamp(last[-most] + HOUR, UTC)
    given = "a command" if most == 1 else f"{most} commands"
    raise Refused(
        "rate-limited",
        f"`{asker.login}` gave {given} within an hour, and more are not taken",
        hint=f"the next one is taken at {at:%H:%M} UTC",
    )


# --- what they are told ---------------------------------------------------------------------------


def _not_allowed(verb: str, asker: Asker, level: str, demand: _Demand) -> Refused:
    if demand.only is not None and demand.only.isdisjoint(asker.names):
        message = f"`{asker.login}` is no approver of `{demand.of}`"
    else:
        message = f"`{asker.login}` has {level or 'no rights here'}; `/{verb}` needs {demand.level}"
    return Refused("not-allowed", message, hint=f"who can: {_who(demand)}")


def _who(demand: _Demand) -> str:
    """Return in words who meets a demand."""
    if demand.only is not None:
        if not demand.only:
            return "nobody: no owner of the task's `files` is known; the plan names `approvers`"
        also = f", or {_names(demand.instead & demand.only)}" if demand.instead else ""
        return f"{_names(demand.only)} with {demand.level}{also}"
    parts = [f"anybody with {demand.level}"]
    if demand.owners:
        parts.append(f"{_names(demand.owners)} with {TRUSTED}")
    if demand.instead:
        parts.append(_names(demand.instead))
    return " or ".join(parts)


def _names(names: Iterable[str]) -> str:
    told = (f"team `{name}`" if "/" in name else f"`{name}`" for name in sorted(names))
    return ", ".join(told)


__all__ = [
    "APPROVING",
    "CODEOWNERS",
    "FOR_PEOPLE",
    "HOUR",
    "TERMINAL",
    "TRUSTED",
    "Asker",
    "Rules",
    "Work",
    "approvers",
    "doubt",
    "has_time",
    "permit",
    "reaches",
    "standing",
    "starters",
    "teams",
    "who_can",
    "work",
]
