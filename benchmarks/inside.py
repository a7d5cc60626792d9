"""The product's inner parts, put to work as its service does it, for what no command does alone.

A plan is accepted as `run` accepts it; what stands for work that was done is one commit of the
state, because running 2,000 tasks to look at 5,000 would take minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import NotMeasured, stopwatch
from benchmarks.plans import NAME, Task, as_yaml
from gitflow_agents import merge, spec
from gitflow_agents.models import Attempt, Limits, Ran, Status, TaskRecord
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import Service
from gitflow_agents.service.accept import accept
from gitflow_agents.service.proposing import Proposal
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft
from gitflow_agents.store.state import BRIEFING, HEADS, new_nonce, state_ref

__all__ = ["Snapshot", "accepted", "briefings", "claim", "complete", "opened", "train"]


@contextmanager
def opened(repo: Path) -> Iterator[Service]:
    """Give the service of a repository, and end it."""
    service = Service(str(repo))
    try:
        yield service
    finally:
        service.close()


def accepted(service: Service, tasks: tuple[Task, ...]) -> Snapshot:
    """Accept a plan of these tasks in a repository where nothing of it is yet."""
    data = as_yaml(tasks).encode()
    plan = spec.load_plan(data, NAME)
    with service.store.refs.lock():
        proposal, book = Proposal(NAME, data), service.handbook
        return accept(service.store, proposal, plan, service.config, book, service.actor)


def complete(service: Service, snapshot: Snapshot, tasks: tuple[Task, ...]) -> str:
    """Record that these tasks are done, in one commit; return the state's ref.

    The records are as long as those of tasks that were run; what they name is not there.
    """
    draft = Draft(snapshot, service.actor)
    now = snapshot.state.accepted_at
    names = spec.branches(snapshot.plan)
    for task in tasks:
        attempt = Attempt(
            number=1,
            actor=service.actor,
            host="bench",
            started_at=now,
            ended_at=now + 60,
            outcome="succeeded",
            base=snapshot.state.flow_sha,
            tip=new_nonce() + "0" * 16,
            report=new_nonce() + "0" * 16,
        )
        draft.put(
            TaskRecord(
                id=task.id,
                status=Status.COMPLETED,
                branch=names[task.id],
                claim=new_nonce() + "0" * 16,
                nonce=new_nonce(),
                attempts=(attempt,),
                used=1,
                merge=new_nonce() + "0" * 16,
                summary=f"{task.output} holds one line now",
                evidence=(Ran(command=task.command, kind="verify", code=0, seconds=0.1),),
            )
        )
    draft.tell("flow_changed", note=f"{len(tasks)} tasks are done")
    with service.store.refs.lock():
        service.store.commit(draft)
    return state_ref(NAME)


def claim(service: Service, snapshot: Snapshot) -> float:
    """Return the seconds of one pass that claims every ready task of a plan."""
    desk = service.desk(snapshot, lambda told: None)
    ready = len(snapshot.frontier.ready)
    with stopwatch() as seconds:
        work = Reconciler(desk).step(Limits(), ready, barrier=False, stopping=False)
    if len(work.orders) != ready:
        raise NotMeasured(f"{ready} tasks were ready, and {len(work.orders)} were claimed")
    return seconds()


def briefings(service: Service, snapshot: Snapshot) -> dict[str, dict[str, bytes]]:
    """Return what each claim put on its branch: {branch: {path: content}}."""
    repository = service.repository
    found: dict[str, dict[str, bytes]] = {}
    for record in snapshot.records.values():
        tree = repository.commit(record.claim).tree
        paths = (f"{BRIEFING}/task.yaml", f"{BRIEFING}/brief.md")
        found[record.branch] = {path: repository.read(tree, path) or b"" for path in paths}
    return found


def train(service: Service, flow: str, base: str) -> Callable[[str], float]:
    """Return what merges a branch that was cut from `base` to the branch `flow`, in seconds."""
    repository = service.repository

    def couple(branch: str) -> float:
        tip, onto = repository.tip(branch), repository.tip(flow)
        if tip is None or onto is None:
            raise NotMeasured(f"there is no {branch}, or no {flow}")
        with stopwatch() as seconds:
            car = merge.Waiting(branch, tip, base, f"Merge {branch}")
            coupled = merge.couple(repository, onto, [car])
            service.store.refs.move([(f"{HEADS}{flow}", onto, coupled.tip)])
        if not coupled.cars:
            raise NotMeasured(f"{branch} did not merge")
        return seconds()

    return couple
