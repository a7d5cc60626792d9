"""`push`: a remote decides on a plan from now on, once and for good.

First the local state says so, then everything that the plan stands on goes there in one push.  A
kill or a cut line between the two leaves a plan on which nobody decides; the next `push`, or `run`,
sees which of the two has happened and does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from gitflow_agents import render
from gitflow_agents.errors import FlowError
from gitflow_agents.models import LOCAL, ZERO, Status
from gitflow_agents.runner import lease_is_lost
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.authority import Authorities
from gitflow_agents.store import Draft, Offline, Refs, Store
from gitflow_agents.store.refs import Move
from gitflow_agents.store.state import HEADS, plan_ref, state_ref, try_ref

EVENT = "authority_moved"


@dataclass(frozen=True)
class Pushed:
    """What became of a push: the branches that went there, and what people are told."""

    plan: str
    remote: str
    changed: bool
    branches: tuple[str, ...]
    said: str


def push(
    authorities: Authorities, plan: str, remote: str, actor: str, *, dry_run: bool = False
) -> Pushed:
    """Let a remote decide on a plan that this repository decides on.

    Raises FlowError, with nothing changed, when somebody is at work, when a branch of the plan is
    there already, or when another remote decides; Offline when nobody can tell what came of it.
    """
    here, there = authorities.local, authorities.store(remote, plan)
    with there.refs.lock(), here.refs.lock():
        snapshot = here.load(plan)
        authority = authorities.at(plan).refs.name
        if snapshot is None and authority == remote:
            return Pushed(plan, remote, False, (), f"{remote} decides on plan {plan} already")
        if snapshot is None or authority not in (LOCAL, remote):
            who = f"{authority} decides on it" if authority != LOCAL else "it was never started"
            raise FlowError(
                f"plan {plan} cannot be pushed: {who}", hint=f"gitflow-agents run {plan}"
            )
        there.refs.include(snapshot.state.flow)
        there.refs.refresh(force=True)
        if authority == remote and _has_arrived(there, snapshot):
            return Pushed(plan, remote, False, (), f"{remote} decides on plan {plan} already")
        try:
            return _push(here, there, snapshot, actor, dry_run)
        except Offline as e:
            e.hint = f"gitflow-agents push {plan} --remote {remote} goes on when the line is back"
            raise
        except FlowError:
            if here.load(plan) is not None and authorities.told(plan) != LOCAL:
                _take_back(here, plan, actor)
            raise


def _push(here: Store, there: Store, snapshot: Snapshot, actor: str, dry_run: bool) -> Pushed:
    plan, remote = snapshot.plan.plan, there.refs.name
    if snapshot.state.authority == LOCAL:
        _nobody_at_work(snapshot, here.repository.clock())
    own = _own(here.refs, snapshot)
    for ref in (state_ref(plan), *own):
        if there.refs.resolve(ref) is not None:
            raise _in_the_way(here, there, ref, snapshot)
    branches = tuple(ref.removeprefix(HEADS) for ref in (*own, state_ref(plan)))
    said = f"{remote} decides on plan {plan}"
    if dry_run:
        told = f"{render.count(len(branches), 'branch', 'branches')} would go there"
        return Pushed(plan, remote, False, branches, f"{told}, and {said} from then on")
    if snapshot.state.authority == LOCAL:
        _tell(here, snapshot, remote, actor, f"{remote} decides from now on")
    moves: list[Move] = [(ref, ZERO, sha) for ref, sha in own.items()]
    there.refs.move([*moves, (state_ref(plan), ZERO, snapshot.tip)])
    return Pushed(plan, remote, True, branches, f"{said} from now on")


def _tell(here: Store, snapshot: Snapshot, authority: str, actor: str, note: str) -> None:
    draft = Draft(snapshot, actor)
    draft.set(authority=authority)
    draft.tell(EVENT, note=note)
    here.commit(draft)


def _take_back(here: Store, plan: str, actor: str) -> None:
    """Decide here again: the push was refused, and nothing of it is there."""
    snapshot = here.load(plan)
    assert snapshot is not None
    remote = snapshot.state.authority
    _tell(here, snapshot, LOCAL, actor, f"{remote} did not take it, so this repository decides on")


def _own(refs: Refs, snapshot: Snapshot) -> dict[str, str]:
    """Return the branches that a plan stands on beside its state."""
    plan, flow = snapshot.plan.plan, f"{HEADS}{snapshot.state.flow}"
    below = (f"{HEADS}task/{plan}/", f"{HEADS}gitflow/attempt/{plan}/")
    return refs.tips(plan_ref(plan), flow, try_ref(plan), *below)


def _has_arrived(there: Store, snapshot: Snapshot) -> bool:
    """Say whether what the local state announces is there, and maybe more since then."""
    tip = there.refs.resolve(state_ref(snapshot.plan.plan))
    return tip is not None and there.repository.is_ancestor(snapshot.tip, tip)


def _nobody_at_work(snapshot: Snapshot, now: float) -> None:
    leases = {task: snapshot.record(task).lease for task in snapshot.by_status[Status.IN_PROGRESS]}
    busy = [task for task, lease in leases.items() if lease and not lease_is_lost(lease, now)]
    train = snapshot.state.train
    if train is not None and not lease_is_lost(train.lease, now):
        busy.append("a train")
    if busy:
        plan = snapshot.plan.plan
        raise FlowError(
            f"a run is at work on {', '.join(sorted(busy))}, and it decides here",
            hint=f"wait for it, or end it: gitflow-agents stop {plan}; then push, resume and run",
        )


def _in_the_way(here: Store, there: Store, ref: str, snapshot: Snapshot) -> FlowError:
    """Return the error that shows what is there beside what is here."""
    plan, remote, branch = snapshot.plan.plan, there.refs.name, ref.removeprefix(HEADS)
    theirs, ours = there.refs.resolve(ref) or "", here.refs.resolve(ref) or ""
    what = f"there it is at {_commit(here, theirs)}, here at {_commit(here, ours)}"
    if ref == state_ref(plan):
        try:
            other = there.load(plan)
        except FlowError:
            other = None
        if other is not None:
            what = f"there it is {_standing(other)}, here {_standing(snapshot)}"
    return FlowError(
        f"{remote} has {branch} already: {what}",
        hint=f"nothing was changed; if what is there is not needed: git push {remote} --delete "
        f"{branch}; else go on with that in another clone, or run this one under another name",
    )


def _commit(store: Store, sha: str) -> str:
    commit = store.repository.commit(sha)
    return f"{sha[:12]} ({render.one_line(commit.subject)})"


def _standing(snapshot: Snapshot) -> str:
    done, all_ = len(snapshot.by_status[Status.COMPLETED]), len(snapshot.plan.tasks)
    return f"v{snapshot.state.revision}, {done} of {all_} tasks merged, at {snapshot.tip[:12]}"


__all__ = ["Pushed", "push"]
