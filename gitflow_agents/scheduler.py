"""What to do next.

`decide` looks at a snapshot of one plan and names the actions that are due, in the order in which
they should be done.  It is pure: no git, no clock, no processes.  Doing an action twice, late or in
two places is harmless, because each names what it was decided on; so calling `decide` again after
any of them is always right.

A pass first believes what the refs say (results, merges, what people moved), then gives up what is
lost, then retries what may be retried, then merges, then starts new attempts, and at the very end
finishes the plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Literal

from gitflow_agents.graph import Frontier, Graph, attempts_allowed, covers
from gitflow_agents.models import (
    EVERYWHERE,
    LOCAL,
    PERSON,
    Approval,
    Config,
    Gate,
    Level,
    Limits,
    Plan,
    PlanState,
    Reason,
    Status,
    TaskRecord,
    Tracked,
    Tracking,
)
from gitflow_agents.transitions import RETRIED_BY_ITSELF

LOST_IN_A_ROW = 10
"""Attempts lost to infrastructure in a row before a person has to look."""
LONGEST_WAIT = 300.0
"""Seconds that anything waits by the clock at most before it is tried again."""
PARALLEL = 3
"""Attempts at once when nobody says otherwise."""


@dataclass(frozen=True)
class Seen:
    """What an edge saw beside the state: refs and processes, looked up just now."""

    flow: Literal["same", "ahead", "forced", "missing"] = "same"
    flow_tip: str = ""
    base_tip: str = ""
    concluded: frozenset[str] = frozenset()
    """Tasks in progress whose branch ends in a result of ours."""
    foreign: frozenset[str] = frozenset()
    """Tasks in progress or review whose branch somebody else deleted, forced or pushed to."""
    lost: frozenset[str] = frozenset()
    """Tasks in progress whose lease nobody holds any more."""
    flow_checked_out: str = ""
    """The folder in which somebody has flow checked out; then it is not moved."""
    landed: bool = False
    """The report of this plan is on the base: somebody merged flow."""
    busy: frozenset[str] = frozenset()
    """Tasks whose attempt has ended, and in whose worktree somebody still works; or `.train`."""
    train: Literal["", "passed", "failed", "lost"] = ""
    """What became of the train that the state names, once its test has ended."""


@dataclass
class Snapshot:
    """One plan as its state ref tells it, with the sets that a pass needs kept up to date.

    `apply` brings it forward after a write of our own; nothing else changes it.
    """

    plan: Plan
    graph: Graph
    state: PlanState
    tip: str
    tree: str
    records: dict[str, TaskRecord]
    given: frozenset[str] = frozenset()
    approval: frozenset[str] = frozenset()
    """What the config wants approved beside what the plan says."""
    approver: Level | None = None
    """The level that the config wants of whoever approves, where it says one."""
    by_oneself: bool = False
    """The config lets those approve who wrote or started it."""
    seen: Seen = Seen()
    authority: str = LOCAL
    """What decides on the plan: `local`, or what the remote is called here."""
    as_of: float | None = None
    """When the remote was last read, where it could not be read now; 0 is never."""
    tracking: Tracking = field(default_factory=Tracking)
    """What is known of the plan's issues on a forge."""
    issues: dict[str, Tracked] = field(default_factory=dict)
    """The issue of each task that has one, also of those that left the plan."""
    frontier: Frontier = field(init=False)
    by_status: dict[Status, set[str]] = field(init=False)
    hopeful: set[str] = field(init=False, default_factory=set)
    """Failed tasks whose reason may be retried without a person."""
    losing: set[str] = field(init=False, default_factory=set)
    """Tasks that lost attempts to infrastructure since any task was completed."""
    contended: set[str] = field(init=False, default_factory=set)
    """Paths in which some task did not merge."""
    cost_usd: float = field(init=False, default=0)
    minutes: float = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.by_status = {status: set() for status in Status}
        statuses = {}
        for task in self.plan.tasks:
            record = self.records.get(task.id)
            status = record.status if record else Status.PENDING
            statuses[task.id] = _counted(record) if record else status
            self.by_status[status].add(task.id)
            if record:
                self._hope(record)
        for record in self.records.values():
            self._spend(record, 1)  # what was taken out of the plan was paid for, too
        self.frontier = Frontier(self.graph, statuses)

    def status(self, task: str) -> Status:
        """Return a task's stored status."""
        record = self.records.get(task)
        return record.status if record else Status.PENDING

    def record(self, task: str) -> TaskRecord:
        """Return what is known about a task; an empty record when nothing is."""
        return self.records.get(task) or _nothing_known(task)

    def issue(self, task: str) -> str:
        """Return the issue of a task as people write it, `#12`; nothing where there is none."""
        number = self.issue_number(task)
        return f"#{number}" if number else ""

    def issue_number(self, task: str = "") -> int | None:
        """Return the number of the issue of a task, or with no task of the plan, if it has one."""
        known = self.issues.get(task) if task else self.tracking.issue
        return known.number if known is not None and not known.is_gone else None

    def plan_for(self, task: str) -> Plan:
        """Return the plan as the next attempt at a task goes by it."""
        record = self.records.get(task)
        return self.plan.with_instead(task, record.instead) if record else self.plan

    def statuses(self) -> dict[str, Status]:
        """Return every task's status, in plan order."""
        return {task.id: self.status(task.id) for task in self.plan.tasks}

    def apply(self, record: TaskRecord) -> None:
        """Take a task's new record."""
        old = self.records.get(record.id)
        before = old.status if old else Status.PENDING
        if old:
            self._spend(old, -1)
        self._spend(record, 1)
        self.records[record.id] = record
        if record.id not in self.plan.by_id:
            return  # it was taken out of the plan
        self._hope(record)
        if before is not record.status:
            self.by_status[before].discard(record.id)
            self.by_status[record.status].add(record.id)
        counted = _counted(old) if old else before
        if counted is not _counted(record):
            self.frontier.move(record.id, counted, _counted(record))

    def _hope(self, record: TaskRecord) -> None:
        self.contended.update(record.conflict_paths)
        (self.losing.add if record.lost else self.losing.discard)(record.id)
        by_itself = record.reason in RETRIED_BY_ITSELF or record.reason is Reason.CONFLICT
        if record.status is Status.FAILED and by_itself:
            self.hopeful.add(record.id)
        else:
            self.hopeful.discard(record.id)

    def _spend(self, record: TaskRecord, sign: int) -> None:
        for attempt in record.attempts:
            self.cost_usd += sign * (attempt.cost_usd or 0)
            if attempt.ended_at is not None and attempt.agent != PERSON:
                self.minutes += sign * max(0.0, attempt.ended_at - attempt.started_at) / 60

    def awaits(self, task: str = "") -> Gate | None:
        """Return the approval that a task, or with no task the plan, waits for right now."""
        state = self.state
        if not task:
            said = {*self.plan.approval, *self.approval}
            given = state.approved is not None and state.approved.digest == state.digest
            is_asked = "plan" in said or bool(state.doubt)
            return "plan" if is_asked and not given else None
        status = self.status(task)
        if status not in (Status.PENDING, Status.REVIEW):
            return None
        gate: Gate = "task" if status is Status.PENDING else "merge"
        about = self.plan.by_id[task]
        is_asked = gate in self.approval or gate in (*about.approval, *self.plan.approval)
        if not is_asked and not (gate == "merge" and self.is_for_review(task)):
            return None
        return None if self.permission(task, gate) else gate

    def permission(self, task: str, gate: Gate) -> Approval | None:
        """Return the approval of a task that holds: of its text and, of a result, this commit."""
        digest, sha = self.plan.by_id[task].digest, self.approvable(task)
        given = (a for a in self.record(task).approvals if a.gate == gate)
        return next((a for a in given if a.digest == digest and a.sha == sha), None)

    def still_approved(self, record: TaskRecord) -> tuple[Approval, ...]:
        """Return the approvals in a record that are still of what is there; of a merged task all.

        The others are over for good: no later result, and no later text, is what was looked at.
        """
        task = self.plan.by_id.get(record.id)
        if task is None or record.status is Status.COMPLETED:
            return record.approvals
        is_there = record.attempt is not None and record.status is Status.REVIEW
        result = record.attempt.report if record.attempt and is_there else ""
        return tuple(
            one
            for one in record.approvals
            if one.digest == task.digest and (one.gate == "task" or one.sha == result)
        )

    def is_for_review(self, task: str) -> bool:
        """Say whether a task is merged only when its pull request, or its result, is approved."""
        return bool(self.plan.setting(self.plan.by_id[task], "merge") == "pr")

    def approvable(self, task: str) -> str:
        """Return the commit that an approval of a task names: its result, else nothing."""
        attempt = self.record(task).attempt
        return attempt.report if attempt and self.status(task) is Status.REVIEW else ""

    @property
    def taken(self) -> frozenset[str]:
        """Return the tasks that people do; nobody can say when they go on."""
        started = self.by_status[Status.IN_PROGRESS]
        return frozenset(task for task in started if self.records[task].taken_by)

    @property
    def asking(self) -> frozenset[str]:
        """Return the tasks that wait for the answer to a question."""
        pending = self.by_status[Status.PENDING]
        return frozenset(t for t, r in self.records.items() if t in pending and r.open_question)

    def is_met(self, task: str) -> bool:
        """Say whether those who need a task may start: it is merged, or a person declared it."""
        record = self.records.get(task)
        return record is not None and _counted(record) is Status.COMPLETED

    @property
    def progress(self) -> float:
        """Return the share of tasks that are merged, 0 to 1; left-out tasks do not count."""
        total = len(self.plan.tasks) - len(self.by_status[Status.CANCELLED])
        return len(self.by_status[Status.COMPLETED]) / total if total else 1.0

    @property
    def is_over(self) -> bool:
        """Say whether every task is completed or left out."""
        ended = len(self.by_status[Status.COMPLETED]) + len(self.by_status[Status.CANCELLED])
        return ended == len(self.plan.tasks)


@lru_cache(maxsize=4096)
def _nothing_known(task: str) -> TaskRecord:
    """Return the record of a task that nothing has happened to; a pass asks for it again."""
    return TaskRecord(id=task)


def _counted(record: TaskRecord) -> Status:
    """Return the status that a task has for those who need it."""
    is_declared = record.status is Status.CANCELLED and record.provided_by
    return Status.COMPLETED if is_declared else record.status


# --- what can be done -----------------------------------------------------------------------------


@dataclass(frozen=True)
class AdoptFlow:
    """Take what is on flow since we looked: people's commits, or merges of a run that died."""


@dataclass(frozen=True)
class Hold:
    """Start and merge nothing more, and say why."""

    why: str


@dataclass(frozen=True)
class Resume:
    """Go on: what held the plan is gone."""


@dataclass(frozen=True)
class Conclude:
    """Believe a result that publish recorded on the task's branch."""

    task: str


@dataclass(frozen=True)
class Expire:
    """End an attempt that nobody works on any more, keeping what it did."""

    task: str
    reason: Reason


@dataclass(frozen=True)
class Disown:
    """A task in review whose branch is no longer what was reviewed."""

    task: str


@dataclass(frozen=True)
class Retry:
    """Send a failed task back to pending, without a person."""

    task: str


@dataclass(frozen=True)
class EndTrain:
    """Take the verdict on a train: its merges go to flow, or it is halved, or forgotten."""


@dataclass(frozen=True)
class StartTrain:
    """Merge these tasks on each other, in this order, and test the result."""

    tasks: tuple[str, ...]
    follow_base: bool = False


@dataclass(frozen=True)
class Claim:
    """Start one attempt for each of these tasks."""

    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Finish:
    """Put the report on flow: everything that can be merged is."""


@dataclass(frozen=True)
class Land:
    """Note that flow was merged to the base; the plan is only looked at from now on."""


Action = (
    AdoptFlow
    | Hold
    | Resume
    | Conclude
    | Expire
    | Disown
    | Retry
    | EndTrain
    | StartTrain
    | Claim
    | Finish
    | Land
)


# --- how much may happen --------------------------------------------------------------------------


def limits_of(plan: Plan, config: Config) -> Limits:
    """Return the limits that hold: of plan and config, the smaller number each."""
    return plan.limits.tightened(
        Limits(**{name: getattr(config.limits, name) for name in Limits.model_fields})
    )


def limits_now(snapshot: Snapshot, config: Config) -> Limits:
    """Return the limits that hold for a plan that was started: what its state says counts, too."""
    return limits_of(snapshot.plan, config).tightened(Limits(parallel=snapshot.state.parallel))


def spent(snapshot: Snapshot, limits: Limits) -> str:
    """Return which limit of the plan is used up, as a sentence, or nothing."""
    if limits.budget_usd is not None and snapshot.cost_usd >= limits.budget_usd:
        return f"the budget of ${limits.budget_usd:g} is used up (${snapshot.cost_usd:.2f})"
    if limits.minutes is not None and snapshot.minutes >= limits.minutes:
        return (
            f"the {limits.minutes:g} minutes of work by all agents together are used up "
            f"({snapshot.minutes:.1f})"
        )
    return ""


def piled_up(snapshot: Snapshot, limits: Limits) -> str:
    """Return in a sentence that as many results wait to be merged as may, or nothing."""
    waiting, most = len(snapshot.by_status[Status.REVIEW]), limits.open_reviews
    if most is None or waiting < most:
        return ""
    results = "1 result waits" if waiting == 1 else f"{waiting} results wait"
    return f"{results} to be merged, and open_reviews allows {most}"


# --- the decision ---------------------------------------------------------------------------------


def decide(
    snapshot: Snapshot,
    now: float,
    limits: Limits,
    *,
    slots: int,
    train: int = 8,
    barrier: bool = False,
    stopping: bool = False,
    follow_base: bool = True,
    only: frozenset[str] | None = None,
) -> list[Action]:
    """Return what is due now, in order.

    `now` is in seconds since the epoch.  `slots` says how many attempts this caller can start.
    With `stopping` nothing new begins.  With `barrier` a wave starts when the former one is over.
    With `only` no other tasks are merged, and these at once.
    """
    state, seen = snapshot.state, snapshot.seen
    if state.status in ("landed", "closed"):
        return []
    if seen.landed:
        return [Land()]
    held = _held(snapshot)
    if held and state.held != held and _is_trouble(state.held):
        return [Hold(held)]
    if not held and state.held and _is_trouble(state.held):
        return [Resume()]
    if seen.flow_checked_out or (state.train is None and ".train" in seen.busy):
        train = 0
    if seen.flow == "ahead":
        return [AdoptFlow()]
    actions: list[Action] = []
    order = snapshot.plan.order
    for task in sorted(snapshot.by_status[Status.IN_PROGRESS], key=order.__getitem__):
        if task in seen.concluded:
            actions.append(Conclude(task))
        elif task in seen.foreign:
            actions.append(Expire(task, Reason.FOREIGN_COMMITS))
        elif task in seen.lost:
            actions.append(Expire(task, Reason.LEASE_LOST))
    actions += [
        Disown(task)
        for task in sorted(snapshot.by_status[Status.REVIEW] & seen.foreign, key=order.__getitem__)
    ]
    if actions:
        return actions  # what they change decides the rest
    actions += [
        Retry(task)
        for task in sorted(snapshot.hopeful, key=order.__getitem__)
        if may_retry(snapshot, task, now, limits)
    ]
    if state.held:
        return actions
    if state.train is not None and seen.train and train:
        return [*actions, EndTrain()]
    if stopping or actions:
        return actions
    if state.train is None and train:
        cars = _cars(snapshot, train, only)
        behind = follow_base and bool(seen.base_tip) and seen.base_tip != state.base_sha
        may_be_alone = only is None and not snapshot.is_over
        if cars or (behind and may_be_alone and _can_go_on(snapshot)):
            return [StartTrain(cars, follow_base=behind)]
    claims = _claims(snapshot, now, limits, slots, barrier)
    if claims:
        actions.append(Claim(claims))
    elif train and snapshot.is_over and state.train is None and state.status != "finished":
        actions.append(Finish())
    return actions


FLOW_TROUBLE = "the flow branch"
"""Begins what holds a plan until flow is mended; such a hold is lifted by itself."""


def bring_back(authority: str, branch: str, sha: str, *, force: bool = False) -> str:
    """Return the command that puts a branch where it was, here or at the remote that decides."""
    if authority == LOCAL:
        return f"git branch {'-f ' if force else ''}{branch} {sha}"
    return f"git push {'-f ' if force else ''}{authority} {sha}:refs/heads/{branch}"


def held_words(held: str) -> str:
    """Return why a plan or a task is held, for a sentence about it: `held by alice: she asks`."""
    return held if held.startswith("held by ") else f"held: {held}"


def _is_trouble(held: str) -> bool:
    """Say whether nothing but flow holds a plan: what a person or an agent did comes first."""
    return not held or held.startswith(FLOW_TROUBLE)


def _held(snapshot: Snapshot) -> str:
    """Return what is wrong with flow, in a sentence that says how to mend it."""
    flow, sha = snapshot.state.flow, snapshot.state.flow_sha
    if snapshot.seen.flow == "missing":
        back = bring_back(snapshot.authority, flow, sha)
        return f"{FLOW_TROUBLE} {flow} is gone; bring it back: {back}"
    if snapshot.seen.flow == "forced":
        return (
            f"{FLOW_TROUBLE} {flow} was moved back or replaced; "
            "to go on from what was merged: "
            f"{bring_back(snapshot.authority, flow, sha, force=True)}"
        )
    return ""


def may_retry(snapshot: Snapshot, task: str, now: float, limits: Limits) -> bool:
    """Say whether a failed task is tried again without a person."""
    record = snapshot.record(task)
    if is_ahead(record.not_before, now) or record.reason is None:
        return False
    if record.reason in RETRIED_BY_ITSELF:
        return record.lost < LOST_IN_A_ROW
    if record.reason is Reason.CONFLICT:
        allowed = snapshot.plan.setting(snapshot.plan.by_id[task], "conflict_retries")
        return has_attempts(snapshot, task, limits) and record.conflicts <= int(allowed)
    return False


def has_attempts(snapshot: Snapshot, task: str, limits: Limits) -> bool:
    """Say whether an agent may make one more attempt at a task."""
    record = snapshot.record(task)
    return record.used < attempts_allowed(snapshot.plan, task, limits) + record.granted


def back_off(lost: int) -> float:
    """Return how many seconds to wait after `lost` losses in a row: 0, 2, 4, ... up to 300."""
    return 0.0 if lost <= 1 else min(LONGEST_WAIT, 2.0 ** (lost - 1))


def is_ahead(due: float, now: float) -> bool:
    """Say whether what is due then has to wait.

    What is due later than anything can be was noted by a clock that has been put back since.
    """
    return 0 < due - now <= LONGEST_WAIT


def _cars(snapshot: Snapshot, longest: int, only: frozenset[str] | None = None) -> tuple[str, ...]:
    limit = min(longest, snapshot.state.train_limit or longest)
    waiting = sorted(snapshot.by_status[Status.REVIEW], key=snapshot.plan.order.__getitem__)
    cars = [
        task
        for task in waiting
        if all(map(snapshot.is_met, snapshot.graph.requires[task]))
        and not snapshot.record(task).held
        and snapshot.awaits(task) is None
        and (task in only if only is not None else not _gives_way(snapshot, task))
    ]
    return tuple(cars[:limit])


def _gives_way(snapshot: Snapshot, task: str) -> bool:
    """Say whether a task waits for one that is tried again after a conflict in the same paths.

    Without this the second try meets the next conflict, and of many tasks that add to one list all
    but a few would fail.  Of two that are done, the earlier one goes first, so none waits for ever.
    """
    if not snapshot.contended:
        return False
    attempt = snapshot.record(task).attempt
    touched = attempt.touched if attempt else ()
    place = snapshot.plan.order[task]
    started = snapshot.by_status[Status.IN_PROGRESS] | snapshot.by_status[Status.REVIEW]
    for other in started - snapshot.taken:
        paths = snapshot.record(other).conflict_paths
        is_ahead = (
            snapshot.status(other) is Status.IN_PROGRESS or snapshot.plan.order[other] < place
        )
        meets = touched == EVERYWHERE or not set(paths).isdisjoint(touched)
        if other != task and paths and is_ahead and meets:
            return True
    return False


def _wants(snapshot: Snapshot, task: str) -> set[str]:
    """Return the contended paths that a task will change, as far as anybody can tell."""
    record = snapshot.records.get(task)
    files = snapshot.plan.by_id[task].files
    known = set(record.conflict_paths) if record else set()
    named = {path for path in snapshot.contended if any(covers(entry, path) for entry in files)}
    return known | named


def _can_go_on(snapshot: Snapshot) -> bool:
    return bool(snapshot.frontier.has_ready or snapshot.by_status[Status.IN_PROGRESS])


def _claims(
    snapshot: Snapshot, now: float, limits: Limits, slots: int, barrier: bool
) -> tuple[str, ...]:
    running = len(snapshot.by_status[Status.IN_PROGRESS] - snapshot.taken)
    free = min(slots, (limits.parallel or slots + running) - running)
    if limits.open_reviews is not None:  # what is worked on will be a result, too
        free = min(free, limits.open_reviews - running - len(snapshot.by_status[Status.REVIEW]))
    if free <= 0 or spent(snapshot, limits) or snapshot.awaits():
        return ()
    wave = _open_wave(snapshot) if barrier else None
    train = snapshot.state.train
    leaving = {car.task for car in train.reverts} if train else set()
    held: set[str] = set()
    if snapshot.contended:
        started = snapshot.by_status[Status.IN_PROGRESS] | snapshot.by_status[Status.REVIEW]
        for other in started - snapshot.taken:
            held |= _wants(snapshot, other)

    def fits(task: str) -> bool:
        if snapshot.contended:
            wanted = _wants(snapshot, task)
            if not wanted.isdisjoint(held) or not may_start(task):
                return False
            held.update(wanted)
            return True
        return may_start(task)

    def may_start(task: str) -> bool:
        record = snapshot.records.get(task)
        if wave is not None and snapshot.graph.wave[task] != wave:
            return False
        if task in snapshot.seen.busy or snapshot.awaits(task):
            return False
        if leaving and not leaving.isdisjoint(snapshot.graph.requires[task]):
            return False
        return record is None or (
            not is_ahead(record.not_before, now)
            and not record.held
            and record.open_question is None
            and has_attempts(snapshot, task, limits)
        )

    return tuple(islice(filter(fits, snapshot.frontier.in_order()), free))


def _open_wave(snapshot: Snapshot) -> int | None:
    """Return the first wave in which something may still move."""
    waves = [
        snapshot.graph.wave[task]
        for status in (Status.IN_PROGRESS, Status.REVIEW)
        for task in snapshot.by_status[status]
    ]
    waves += [snapshot.graph.wave[task] for task in snapshot.frontier.ready]
    return min(waves) if waves else None


def wake_at(snapshot: Snapshot, limits: Limits) -> float | None:
    """Return when something that waits by the clock is due, or None."""
    times = [
        snapshot.record(task).not_before
        for task in snapshot.hopeful
        if may_retry(snapshot, task, math.inf, limits)
    ]
    return min(times) if times else None


def plan_status(snapshot: Snapshot, limits: Limits, now: float) -> str:
    """Return a plan's status: stored ones as they are, the rest computed.

    `waiting` nothing was started, an approval or an answer is missing, or a person does what is
    left;
    `running` something moves or can; `held`; `failed` a failed task is in the way; `blocked`
    nothing can move for another reason.
    """
    state = snapshot.state
    if state.status != "live" and (state.status != "finished" or snapshot.is_over):
        return state.status
    if state.held:
        return "held"
    waits = {task for task in snapshot.by_status[Status.REVIEW] if snapshot.awaits(task)}
    started = snapshot.by_status[Status.IN_PROGRESS] - snapshot.taken
    moving = started or snapshot.by_status[Status.REVIEW] - waits
    if moving or state.train is not None:
        return "running"
    if any(may_retry(snapshot, task, math.inf, limits) for task in snapshot.hopeful):
        return "running"
    if snapshot.awaits():
        return "waiting"
    may_start = (
        has_attempts(snapshot, task, limits)
        and not snapshot.record(task).held
        and snapshot.record(task).open_question is None
        and not snapshot.awaits(task)
        for task in snapshot.frontier.in_order()
    )
    if any(may_start) and not spent(snapshot, limits) and not piled_up(snapshot, limits):
        return "running" if snapshot.records else "waiting"
    if snapshot.is_over:
        return "running"  # the report is still missing
    waits |= snapshot.taken | snapshot.asking
    if waits or any(snapshot.awaits(task) for task in snapshot.frontier.in_order()):
        return "waiting"
    return "failed" if snapshot.by_status[Status.FAILED] else "blocked"


def waiting_for(snapshot: Snapshot, task: str) -> Mapping[str, Status]:
    """Return the unfinished tasks that a task directly needs, with their statuses."""
    return {
        need: snapshot.status(need)
        for need in snapshot.graph.requires[task]
        if not snapshot.is_met(need)
    }
