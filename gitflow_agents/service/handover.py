"""How an attempt's result gets from the job that made it to the job that publishes it.

The first runs an agent and may write nothing; the second may write and runs nothing.  Between them
is a folder: `result.bundle` with one commit, and `report.json`.  Whoever reads it takes all of it
for data that a stranger wrote: what counts is compared, counted and written again from the commits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from gitflow_agents import merge
from gitflow_agents.agents import Outcome
from gitflow_agents.errors import FlowError, GitFailed
from gitflow_agents.execute import Order, Result, Stage
from gitflow_agents.models import SCHEMA, DoneReport, Model, Reason, Report, Text
from gitflow_agents.render import clean
from gitflow_agents.runner import read_plain
from gitflow_agents.store import Repository
from gitflow_agents.store.repository import TOOL
from gitflow_agents.store.state import BRIEFING, one_line

BUNDLE, PAPER = "result.bundle", "report.json"
MOST_OF_A_PAPER = 4 * 1024 * 1024
MOST_OF_A_BUNDLE = 512 * 1024 * 1024
"""Bytes of a bundle that are read at all; what a result may hold is compared later."""
MOST_OF_A_MESSAGE = 2000
MOST_DOLLARS = 1_000_000
REF = "refs/gitflow/handover/"
SUBJECT = "what an attempt came to"


class Paper(Model):
    """What the job that ran the agent says: none of it is evidence."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    report: DoneReport
    stages: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """The commit that each agent of a crew led to."""
    briefs: Annotated[tuple[Text, ...], Field(max_length=100)] = ()


@dataclass(frozen=True)
class Handed:
    """A folder that was handed over: the commit that wraps the result, and what is said of it."""

    wrapper: str
    paper: Paper


def write(folder: Path, repository: Repository, order: Order, result: Result) -> None:
    """Write a result into a folder; without any work there is no bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    paper = Paper(
        report=result.report,
        stages=tuple(stage.tip for stage in result.stages) if order.crew else (),
        briefs=result.briefs,
    )
    (folder / PAPER).write_text(paper.model_dump_json(by_alias=True, exclude_none=True))
    if result.tip == order.claim and result.tree == repository.commit(order.claim).tree:
        return
    # One commit tells both: its parent is where the agent ended, its tree what the worktree held.
    wrapper = repository.write_commit(result.tree, [result.tip], SUBJECT, author=TOOL)
    repository.settle()
    git, ref, bundle = repository.git, f"{REF}{order.claim}", folder / BUNDLE
    git.run("update-ref", ref, wrapper)
    try:
        git.run("bundle", "create", "--quiet", os.path.abspath(bundle), ref, f"^{order.claim}")
    finally:
        git.run("update-ref", "-d", ref)


def read(folder: Path, repository: Repository, claim: str) -> Handed | None:
    """Read what was handed over; None where the job that runs the agent left nothing.

    Raises FlowError when it cannot be what that job writes.
    """
    try:
        data = read_plain(folder / PAPER, MOST_OF_A_PAPER + 1)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise FlowError(f"{PAPER} cannot be read: {e.strerror}") from e
    if len(data) > MOST_OF_A_PAPER:
        raise FlowError(f"{PAPER} has more than {MOST_OF_A_PAPER} bytes")
    try:
        paper = Paper.model_validate_json(data)
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FlowError(f"{PAPER} is not what an attempt writes: {where}: {first['msg']}") from e
    return Handed(_unbundled(folder / BUNDLE, repository, claim), paper)


def _unbundled(bundle: Path, repository: Repository, claim: str) -> str:
    """Bring the one commit of a bundle into the repository and return it; nothing without one."""
    if not bundle.is_file() or bundle.is_symlink():
        return ""
    size = bundle.stat().st_size
    if size > MOST_OF_A_BUNDLE:
        raise FlowError(f"{BUNDLE} has {size} bytes, {MOST_OF_A_BUNDLE} are read")
    ref = f"{REF}{claim}"
    code, _, said = repository.git.attempt(
        *("-c", "transfer.fsckObjects=true", "-c", "fetch.fsckObjects=true"),
        *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
        *(os.path.abspath(bundle), f"+{ref}:{ref}"),
    )
    if code:
        lines = said.strip().splitlines()
        raise FlowError(f"{BUNDLE} cannot be read: {lines[-1] if lines else 'git said nothing'}")
    wrapper = repository.resolve(f"{ref}^{{commit}}") or ""
    repository.git.run("update-ref", "-d", ref)
    return wrapper


def unwrapped(handed: Handed, repository: Repository, order: Order, longest: float) -> Result:
    """Return the result of an attempt as its commits tell it, whatever the report says of them.

    `longest` is how many seconds the attempt can have taken.
    """
    claim, paper = order.claim, handed.paper
    tip = tree = ""
    if handed.wrapper:
        about = repository.commit(handed.wrapper)
        tip, tree = (about.parents[0] if about.parents else ""), about.tree
    if not tip:
        tip, tree = claim, repository.commit(claim).tree
    base_tree = repository.commit(order.base).tree
    stripped = merge.strip(repository, tree, base_tree)
    claim_tree = repository.commit(claim).tree
    briefing = [c for c in repository.diff(claim_tree, tree) if c.path.startswith(BRIEFING)]
    changes = (*repository.diff(base_tree, stripped), *briefing)
    said = paper.report
    touched = tuple(clean(change.path) for change in changes)
    report = said.model_copy(
        update={
            "plan": order.plan.plan,
            "task": order.task.id,
            "attempt": order.number,
            "agent": order.plan.setting(order.task, "agent"),
            "outcome": _outcome(said),
            "message": one_line(said.message)[:MOST_OF_A_MESSAGE],
            "model": clean(said.model)[:200],
            "session": clean(said.session)[:200],
            "started_at": 0.0,
            "ended_at": _between(0.0, said.ended_at - said.started_at, longest),
            "cost_usd": said.cost_usd if _is_money(said.cost_usd) else None,
            "files_touched": touched,
        }
    )
    is_asked = report.reason is None and report.question is not None
    if report.reason is None and not touched and not report.already_provided and not is_asked:
        is_research = order.task.kind == "research"
        if not is_research:
            failed = {"outcome": "failed", "reason": Reason.NO_CHANGES}
            report = report.model_copy(update={**failed, "message": "it changed nothing"})
    stages = _stages(repository, order, tip, paper.stages)
    return Result(tree, tip, changes, report, stages, paper.briefs)


def _outcome(said: DoneReport) -> Literal["succeeded", "failed", "stopped", "asked"]:
    if said.reason is None:
        return "asked" if said.question else "succeeded"
    return "stopped" if said.reason is Reason.STOPPED else "failed"


def _between(least: float, value: float, most: float) -> float:
    return min(max(least, value), most) if math.isfinite(value) else least


def _is_money(dollars: float | None) -> bool:
    """Say whether somebody's word for a cost is an amount that can be added to others."""
    return dollars is not None and math.isfinite(dollars) and 0 <= dollars < MOST_DOLLARS


def _stages(
    repository: Repository, order: Order, tip: str, tips: Sequence[str]
) -> tuple[Stage, ...]:
    """Return who did what, by the commits that each is said to have led to.

    Raises FlowError when these are not on the way from the claim to the result.
    """
    members = [(order.task, order.role)]
    members += [(step.member.task, step.member.role) for step in order.crew]
    found: list[Stage] = []
    before = order.claim
    for (task, role), sha in zip(members, tips, strict=False):
        if not sha:
            continue
        try:
            is_between = repository.is_ancestor(before, sha) and repository.is_ancestor(sha, tip)
        except GitFailed:
            is_between = False
        if not is_between:
            raise FlowError(f"{PAPER} names {sha[:12]} for a step, which is not on its way")
        tree = repository.commit(sha).tree
        changes = tuple(repository.diff(repository.commit(before).tree, tree))
        nothing = Outcome(None, "", None, "")
        found.append(Stage(task, role, nothing, Report(), 0.0, sha, tree, changes))
        before = sha
    return tuple(found)


__all__ = ["BUNDLE", "PAPER", "Handed", "read", "unwrapped", "write"]
