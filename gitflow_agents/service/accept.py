"""From a plan file to an accepted plan: what must hold before the first ref is made.

Accepting makes three refs together: `plan/<plan>` where people propose, the flow branch with the
accepting commit, and the state.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from gitflow_agents import render, replan, spec, steps
from gitflow_agents.errors import FlowError, LostRace
from gitflow_agents.execute import command_of
from gitflow_agents.models import ZERO, Config, Plan, PlanState, person
from gitflow_agents.roles import Handbook
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.effects import Effects
from gitflow_agents.service.proposing import Proposal, find_base, plan_path
from gitflow_agents.store import Draft, Entry, Store
from gitflow_agents.store.repository import FILE
from gitflow_agents.store.state import (
    HEADS,
    attempt_ref,
    events_of,
    one_line,
    plan_ref,
    record_path,
    spec_files,
    state_ref,
    try_ref,
)

ACCEPTED = "plan_accepted"


def accept(
    store: Store,
    proposal: Proposal,
    plan: Plan,
    config: Config,
    book: Handbook,
    actor: str,
    doubt: str = "",
) -> Snapshot:
    """Accept a plan for the first time; everything is made together, or nothing.

    `doubt` is why it waits for an approval, whatever it says itself.  Raises FlowError with a hint
    when the base is missing or not allowed, when a name is taken, or when a branch that would have
    to move is checked out.
    """
    repository = store.repository
    all_can_start(plan, config, book)
    store.refs.include(plan.flow_branch)
    base, base_sha = find_base(store, plan, config)
    existing = store.refs.everything()
    flow = f"{HEADS}{plan.flow_branch}"
    blob = repository.write_blob(proposal.data)
    path = plan_path(plan.plan)

    def with_file(parent: str, message: str, author: str) -> str:
        tree = repository.graft(repository.commit(parent).tree, {path: Entry(FILE, blob)})
        return repository.write_commit(tree, [parent], message, author=author)

    proposed = proposal.commit or existing.get(plan_ref(plan.plan), "")
    moves: list[tuple[str, str, str]] = []
    if not proposal.commit:
        start = proposed or base_sha
        proposed = with_file(start, f"plan {plan.plan}: {one_line(plan.goal)[:160]}", actor)
        moves.append((plan_ref(plan.plan), existing.get(plan_ref(plan.plan), ZERO), proposed))
    accepting = begun(store, plan, blob, existing)
    if not accepting:
        accepting = with_file(
            base_sha,
            f"accept plan {plan.plan} v1\n\n{one_line(plan.goal)[:400]}\n\n"
            f"Gitflow-Event: {ACCEPTED}\nGitflow-Plan: {plan.plan}",
            "gitflow-agents <gitflow-agents@localhost>",
        )
        moves.append((flow, ZERO, accepting))
    state = PlanState(
        plan=plan.plan,
        commit=proposed,
        digest=blob,
        base=base,
        base_sha=store.repository.commit(accepting).parents[0],
        flow=plan.flow_branch,
        flow_sha=accepting,
        accepting=accepting,
        authority=store.refs.name,
        accepted_at=repository.clock(),
        accepted_by=actor,
        doubt=doubt,
    )
    snapshot = store.snapshot(plan, state, "", "", {})
    draft = Draft(snapshot, actor)
    draft.tell(
        ACCEPTED,
        commit=accepting,
        note=f"plan accepted as v1: {render.count(len(plan.tasks), 'task')} from {base} to "
        f"{plan.flow_branch}",
    )
    draft.files |= spec_files(proposal.data, plan)
    for ref, old, new in moves:
        draft.move(ref, old, new)
    store.commit(draft)
    return snapshot


def begun(store: Store, plan: Plan, blob: str, existing: Mapping[str, str]) -> str:
    """Return the accepting commit of a run that was cut off, or nothing.

    `existing` are all branches.  Raises FlowError when one is in the way of those to be made.
    """
    ours = _our_accepting_commit(store, plan, existing.get(f"{HEADS}{plan.flow_branch}", ""), blob)
    if not ours:
        names = [ref.removeprefix(HEADS) for ref in existing]
        made = (plan_ref(plan.plan), state_ref(plan.plan), try_ref(plan.plan))
        kept = attempt_ref(plan.plan, "?", 0)  # no branch has this name, but one may be above it
        own = [ref.removeprefix(HEADS) for ref in (*made, kept) if ref not in existing]
        clash = name_clash([plan.flow_branch, *spec.branches(plan).values(), *own], names)
        if clash:
            raise _taken(plan, clash, existing)
        _not_checked_out(store, plan.flow_branch)
    return ours


def revise(
    store: Store, draft: Draft, proposal: Proposal, plan: Plan, effects: Effects
) -> replan.Revision:
    """Stage a new text of a started plan as its next revision; the draft's snapshot is a new one.

    Raises FlowError, with nothing staged, when the new text cannot be accepted.
    """
    snapshot, state = draft.snapshot, draft.snapshot.state
    revision = replan.revise(snapshot, plan, draft.actor)
    all_can_start(plan, effects.desk.config, effects.desk.handbook)
    named = spec.branches(plan)
    existing = store.refs.everything()
    clash = name_clash(
        [named[task] for task in revision.added if not snapshot.record(task).branch],
        [ref.removeprefix(HEADS) for ref in existing],
    )
    if clash:
        raise _taken(plan, clash, existing)
    effects.stage(draft, revision.effects)
    for task in revision.forgotten:
        if snapshot.records.pop(task, None) is not None:
            draft.files[record_path(task)] = None
    changes = {"revision": state.revision + 1, "commit": proposal.commit, "refused": ""}
    changes |= {"doubt": effects.desk.doubt()}
    blob = store.repository.write_blob(proposal.data)
    changes |= {"revised_at": store.repository.clock(), "revised_from": state.commit}
    draft.set(**changes, refusal="", digest=blob)
    draft.files |= spec_files(proposal.data, plan)
    new = store.snapshot(plan, snapshot.state, snapshot.tip, snapshot.tree, snapshot.records)
    new.seen, new.tracking, new.issues = snapshot.seen, snapshot.tracking, snapshot.issues
    draft.snapshot = new
    for task in revision.changed:
        if new.record(task).approvals:
            draft.put(new.record(task))
    if state.approved is not None:
        draft.set(approved=None)
        who = person(state.approved.by)
        draft.tell("plan_unapproved", note=f"not approved any more: {who} approved another text")
    if state.status == "finished" and not new.is_over:
        draft.set(status="live")
    note = f"plan accepted as v{state.revision + 1}: {'; '.join(revision.said)}"
    draft.tell(ACCEPTED, commit=proposal.commit, note=note)
    return revision


def all_can_start(plan: Plan, config: Config, book: Handbook) -> None:
    """Raise FlowError when somebody has to be told first what a task runs, or its role is gone."""
    for task in plan.tasks:
        steps.crew(plan, task, book)
    idle = [
        task.id
        for task in plan.tasks
        if not command_of(plan, task, config)
        and plan.setting(book.terms(plan, task), "agent") == "command"
    ]
    if idle:
        some = ", ".join(idle[:5]) + (f" and {len(idle) - 5} more" if idle[5:] else "")
        raise FlowError(
            f"nobody can start {some}: no `run` says what to do",
            hint="add `run` or `agent` to the tasks or to `defaults`, or "
            "`agents: {command: {run: ...}}` to the config, and commit that",
        )


def name_clash(wanted: Iterable[str], existing: Iterable[str]) -> tuple[str, str] | None:
    """Return the first wanted branch that cannot be made, and the existing one in its way.

    Letters of either case count as the same, and a branch stands in the way of every branch below
    it: git keeps both as files.
    """
    there = {name.casefold(): name for name in existing}
    folders: dict[str, str] = {}
    for folded, name in there.items():
        parts = folded.split("/")
        for length in range(1, len(parts)):
            folders.setdefault("/".join(parts[:length]), name)
    for name in wanted:
        folded = name.casefold()
        parts = folded.split("/")
        if folded in there:
            return name, there[folded]
        if folded in folders:
            return name, folders[folded]
        for length in range(1, len(parts)):
            above = "/".join(parts[:length])
            if above in there:
                return name, there[above]
    return None


def _taken(plan: Plan, clash: tuple[str, str], existing: Mapping[str, str]) -> FlowError:
    wanted, in_the_way = clash
    branches = [ref.removeprefix(HEADS) for ref in existing]
    if wanted == plan.flow_branch:
        tries = _flow_names(plan.plan)
        free = itertools.islice((n for n in tries if not name_clash([n], branches)), 3)
        mend = f"set `flow:` in the plan to one of: {', '.join(free)}"
    else:
        names = (f"{plan.plan[:58]}-{number}" for number in itertools.count(2))
        prefix = wanted.split(f"/{plan.plan}")[0]
        free = itertools.islice(
            (n for n in names if not name_clash([f"{prefix}/{n}/x"], branches)), 3
        )
        if name_clash([f"{prefix}/{plan.plan}-free/x"], branches):
            mend = f"rename it: git branch -m {in_the_way} {in_the_way}-old"
        else:
            mend = f"rename it (git branch -m {in_the_way} NEW), or the plan: {', '.join(free)}"
    what = wanted.removesuffix("/?/0")
    return FlowError(f"the branch {in_the_way} is in the way of {what}", hint=mend)


def _flow_names(plan: str) -> Iterable[str]:
    yield from (f"flow/{plan}", f"feat/{plan}", f"{plan}-flow")
    yield from (f"{plan}-flow-{number}" for number in itertools.count(2))


def _our_accepting_commit(store: Store, plan: Plan, tip: str, blob: str) -> str:
    """Return the flow tip when it is this plan's accepting commit, of a run that was cut off."""
    if not tip:
        return ""
    if store.repository.resolve(f"{tip}^{{commit}}") is None:
        # It was made since the remote was read, by somebody who was quicker.
        raise LostRace(f"{plan.flow_branch} has just been made", hint="run the command again")
    commit = store.repository.commit(tip)
    is_ours = any(
        event.event == ACCEPTED and event.plan == plan.plan for event in events_of(commit)
    )
    entry = store.repository.find(commit.tree, plan_path(plan.plan))
    return tip if is_ours and entry is not None and entry.sha == blob else ""


def _not_checked_out(store: Store, branch: str) -> None:
    place = store.refs.heads().get(f"{HEADS}{branch}")
    if place is not None:
        raise FlowError(
            f"the flow branch {branch} is checked out in {place}", hint="git switch --detach"
        )
