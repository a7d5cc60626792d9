"""Work that somebody asks for in words: a plan of its own, or one more task of one that is there.

Everything is checked before the first ref is made, so that what is refused has written nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from gitflow_agents import spec
from gitflow_agents.commands import AddTask
from gitflow_agents.errors import InvalidFile
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.desk import Told
from gitflow_agents.service.proposing import plan_path
from gitflow_agents.service.service import Service
from gitflow_agents.spec import Wish
from gitflow_agents.store import Store
from gitflow_agents.store.state import HEADS, plan_ref


@dataclass(frozen=True)
class Asked:
    """What became of a wish: the plan that does it, and what else there is to say."""

    plan: str
    said: tuple[str, ...] = ()


def ask(
    service: Service,
    wish: Wish,
    plan: str,
    remote: str,
    on_event: Callable[[Told], None],
    *,
    called: str = "",
    dry_run: bool = False,
) -> Asked:
    """Start a plan of the one task that is asked for, or add it to `plan` if that was started.

    `remote` decides on a new plan, if it is named; without a `plan` it is `called` so, and what was
    asked for under that name before is not asked for again, or it is called after the time, with a
    number behind where that is taken.  InvalidFile, by the names of the options, when it cannot be;
    nothing was written then.
    """
    time_ = time.strftime("session-%Y%m%d-%H%M%S", time.gmtime(service.clock()))
    name = plan or called or time_
    if why := spec.bad_plan_name(name):
        raise spec.wrong("plan", why)
    if not wish.task.strip():
        raise spec.wrong("task", "nothing is asked for", "say in words what is to be done")
    for key, said in vars(wish).items():
        if said != said.encode(errors="ignore").decode():
            raise spec.wrong(key, "it holds what is no character", "write it in UTF-8")
    wish = _by_somebody(service, wish)
    store, snapshot = _looked_up(service, name, remote)
    number = 1
    while snapshot is not None and not plan and not called:
        number += 1
        name = f"{time_}-{number}"
        store, snapshot = _looked_up(service, name, remote)
    try:
        if snapshot is not None and not plan:
            return Asked(name, (f"plan {name} was made of it before",))
        if snapshot is not None:
            if snapshot.state.status in ("landed", "closed"):
                raise _taken(name, f"has {snapshot.state.status}")
            return _added(service, wish, name, dry_run)
        _is_free(service, store, name)
        text = spec.wish_plan(wish, name)
        if dry_run:
            steps = service.rehearse_at(store, name, text)
            return Asked(name, tuple(step.text for step in steps))
        service.accepted(name, text, store, on_event)
    except InvalidFile as e:
        raise spec.by_option(e.problems) from e
    return Asked(name)


def _looked_up(service: Service, name: str, remote: str) -> tuple[Store, Snapshot | None]:
    """Return what decides on a plan, `remote` where it is named, and the plan as that has it."""
    asked = remote or service.config.remote or ""
    store = service.authorities.beginning(name, remote, asked, lambda text: None)
    with store.refs.lock():
        store.refs.refresh()
        return store, store.load(name)


def _by_somebody(service: Service, wish: Wish) -> Wish:
    """Return a wish that says who does it, where only one can be meant."""
    agents = service.config.agents
    if wish.agent or wish.role or agents.command.run:
        return wish
    known = [name for name in agents.allowed if name != "command"]
    if len(known) != 1:
        raise spec.wrong("agent", "nobody is named to do it", f"there are {', '.join(known)}")
    return replace(wish, agent=known[0])


def _added(service: Service, wish: Wish, name: str, dry_run: bool) -> Asked:
    if settled := wish.about_the_plan:
        why = f"plan {name} was started, and says this itself"
        raise spec.wrong(settled[0], why, "leave it out, or change the plan")
    command = AddTask(text=spec.to_yaml(spec.wish_task(wish)).decode())
    outcome = service.handle(command, name, dry_run=dry_run)
    return Asked(name, outcome.said)


def _is_free(service: Service, store: Store, name: str) -> None:
    """Raise InvalidFile where somebody has written a plan of that name."""
    repository = service.repository
    branch = repository.default_branch()
    known = store.refs.known_as(f"{HEADS}{branch}")
    tips = (repository.resolve(f"{ref}^{{commit}}") for ref in (known, f"{HEADS}{branch}"))
    tip = next((tip for tip in tips if tip), "")
    if store.refs.resolve(plan_ref(name)):
        raise _taken(name, f"is proposed on the branch plan/{name}")
    if tip and repository.find(repository.commit(tip).tree, plan_path(name)):
        raise _taken(name, f"is on {branch} as {plan_path(name)}")


def _taken(name: str, why: str) -> InvalidFile:
    return spec.wrong("plan", f"the plan {name} {why}", "choose another name")


def limit(most: str) -> int | None:
    """Return how many attempts at once a text allows, None where it says nothing.

    InvalidFile where it says no number from 1 to 1000.
    """
    said = most.strip()
    if not said:
        return None
    if not (said.isascii() and said.isdecimal() and 1 <= int(said[:9]) <= 1000):
        reason = f"`{' '.join(said.split())[:60]}` is no number from 1 to 1000"
        raise spec.wrong("max_parallel", reason)
    return int(said)


__all__ = ["Asked", "ask", "limit"]
