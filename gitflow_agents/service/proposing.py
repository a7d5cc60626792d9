"""The text of a plan that somebody wants to be run: where it stands, and what it starts from."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from gitflow_agents.errors import FlowError, UsageError
from gitflow_agents.models import ZERO, Config, Plan
from gitflow_agents.store import Commit, Entry, Store
from gitflow_agents.store.refs import Move
from gitflow_agents.store.repository import FILE
from gitflow_agents.store.state import HEADS, plan_ref


@dataclass(frozen=True)
class Proposal:
    """A plan file that somebody wants to be run: its text, and the plan-branch commit it is in."""

    name: str
    data: bytes
    commit: str = ""


def plan_path(name: str) -> str:
    """Return where a plan's file stands on its branch and on flow."""
    return f"plans/{name}.yaml"


def find_base(store: Store, plan: Plan, config: Config) -> tuple[str, str]:
    """Return the branch that a plan starts from and its tip."""
    repository = store.repository
    base = plan.base or repository.default_branch()
    store.refs.include(base)
    if config.bases is not None and not any(
        fnmatch.fnmatchcase(base, entry) for entry in config.bases
    ):
        raise FlowError(
            f"the config does not allow plans to start from {base}",
            hint=f"`bases` allows: {', '.join(config.bases) or 'nothing'}",
        )
    store.refs.refresh()  # what a remote decides on begins from what everybody there has
    names = (store.refs.known_as(f"{HEADS}{base}"), f"{HEADS}{base}", f"refs/remotes/origin/{base}")
    for ref in dict.fromkeys(names):
        sha = repository.resolve(f"{ref}^{{commit}}")
        if sha:
            return base, sha
    if not repository.tips(HEADS, "refs/remotes/"):
        raise FlowError(
            "this repository has no commit yet",
            hint="make one first: git commit --allow-empty -m start",
        )
    raise FlowError(
        f"there is no branch {base} to start from",
        hint="say which one: `base: <branch>` in the plan, or --base",
    )


def propose(store: Store, name: str, data: bytes, base: str, actor: str, message: str = "") -> str:
    """Commit a plan file to `plan/<plan>` for a person and return the commit."""
    with store.refs.lock():
        move = proposing(store, name, data, base, actor, message)
        store.refs.move([move])
    return move[2]


def proposing(store: Store, name: str, data: bytes, base: str, actor: str, message: str) -> Move:
    """Return the move of `plan/<plan>` to a new commit of a plan file; the lock is held."""
    repository = store.repository
    tip = store.refs.resolve(plan_ref(name))
    parent = tip or base
    entry = Entry(FILE, repository.write_blob(data))
    tree = repository.graft(repository.commit(parent).tree, {plan_path(name): entry})
    message = message or f"plan {name}"
    commit = repository.write_commit(tree, [parent], message, author=actor)
    return plan_ref(name), tip or ZERO, commit


def proposal_of(store: Store, name: str) -> Proposal:
    """Return what a plan's branch proposes; UsageError when there is no such plan."""
    repository = store.repository
    tip = store.refs.resolve(plan_ref(name))
    if tip is None:
        raise UsageError(f"there is no plan {name}")
    commit: Commit = repository.commit(tip)
    data = repository.read(commit.tree, plan_path(name))
    if data is None:
        raise FlowError(
            f"the branch plan/{name} holds no {plan_path(name)}",
            hint=f"commit the plan's file there as {plan_path(name)}",
        )
    return Proposal(name, data, tip)
