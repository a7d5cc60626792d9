"""Whether what a plan's refs hold agrees with itself: its state replayed, and flow beside it.

`read` collects what git says of one plan at one moment; `judge` is pure and says what does not fit.
Nothing is written, and nothing is taken from a cache.  Each task's status is what its events give
by `transitions.advance`, and completed means that flow's own line holds the merge that the state
names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from gitflow_agents import spec
from gitflow_agents.errors import FlowError, GitFailed, IllegalTransition
from gitflow_agents.merge import reverts_of
from gitflow_agents.models import (
    SCHEMA,
    ZERO,
    Attempt,
    Event,
    PlanState,
    Reason,
    Status,
    TaskRecord,
)
from gitflow_agents.render import count
from gitflow_agents.scheduler import Snapshot, bring_back
from gitflow_agents.store import Commit, Known, Repository, Store
from gitflow_agents.store.repository import EMPTY_TREE, FOLDER, TOOL
from gitflow_agents.store.state import (
    BRIEFING,
    HEADS,
    LINES,
    events_of,
    read_record,
    record_path,
    state_ref,
)
from gitflow_agents.transitions import RECORDED_BY, Happened, advance

E, S = Happened, Status
KNOWN = frozenset(map(str, E))
OVER = ("landed", "closed")
"""Plans that are only looked at, whatever becomes of their branches."""
ENDS = (
    E.ATTEMPT_SUCCEEDED,
    E.ATTEMPT_FAILED,
    E.ATTEMPT_EXPIRED,
    E.ATTEMPT_STOPPED,
    E.TASK_SUBMITTED,
    E.TASK_GIVEN,
    E.QUESTION_ASKED,
)
TOLD_BY = {"finished": "plan_finished", "landed": "plan_landed", "closed": "plan_closed"}
"""The event that must stand in the history of a plan with such a status."""


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit: a sentence, and what to do; `code` is a word for programs."""

    plan: str
    code: str
    message: str
    hint: str = ""
    task: str = ""
    sha: str = ""


@dataclass(frozen=True)
class Step:
    """One commit of the state: the events that it tells, and the records that it changed.

    `records` holds None for a record that was taken away, and the complaint for one that cannot be
    read; `garbled` counts the events whose trailers make none.
    """

    commit: Commit
    events: tuple[Event, ...]
    garbled: int = 0
    records: Mapping[str, TaskRecord | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What git says of one plan.

    `flow_tip` is None when the branch is gone; `flow` is flow's own line from the accepting commit
    (left out) to its tip, or to where the state has it when the branch is no use.
    """

    plan: str
    steps: tuple[Step, ...]
    snapshot: Snapshot | None
    trouble: str = ""
    """Why the newest state, or flow, cannot be read."""
    spec: str = ""
    flow_tip: str | None = None
    flow: tuple[Commit, ...] = ()
    is_forced: bool = False
    """The branch's own line does not hold what the state has as its tip."""
    strays: tuple[str, ...] = ()
    """Paths at the top of flow that never get there."""
    tips: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False
    """A move of refs was written down and not completed."""
    is_one_text: bool = True
    """Whether the two files that hold the plan's text say the same."""


@dataclass(frozen=True)
class Checked:
    """A plan that was looked at, how much there was, and what was found."""

    plan: str
    commits: int
    tasks: int
    merges: int
    findings: tuple[Finding, ...]


def check(store: Store, plan: str) -> Checked:
    """Return what does not fit in a plan; a number of git processes that does not grow with it."""
    evidence = read(store, plan)
    tasks = len(evidence.snapshot.plan.tasks) if evidence.snapshot else 0
    merges = sum(1 for _ in _merges(evidence))
    return Checked(plan, len(evidence.steps), tasks, merges, tuple(judge(evidence)))


# --- reading --------------------------------------------------------------------------------------


def read(store: Store, plan: str) -> Evidence:
    """Return what git says of a plan; FlowError when there is no such plan."""
    repository = store.repository
    with store.refs.quiet():  # between flow and state, a move in two steps would look like damage
        tips = store.refs.tips(HEADS)
        is_cut = bool(store.refs.intent())
    tip = tips.get(state_ref(plan))
    if tip is None:
        raise FlowError(f"plan {plan} has no state", hint="gitflow-agents plans lists the plans")
    known = Known()
    try:
        steps = tuple(_steps(repository, tip, known))
    except GitFailed as e:
        return Evidence(plan, (), None, e.message, tips=tips, is_cut=is_cut)
    try:
        snapshot = store.load(plan, tip, known)
    except FlowError as e:
        return Evidence(plan, steps, None, e.message, tips=tips, is_cut=is_cut)
    assert snapshot is not None
    text = repository.find(snapshot.tree, "spec.yaml")
    state = snapshot.state
    flow_tip = tips.get(f"{HEADS}{state.flow}")
    line, trouble, is_forced = _line(repository, state, flow_tip)
    strays: tuple[str, ...] = ()
    if line:
        top = repository.tree(line[-1].tree).get(BRIEFING)
        strays = (BRIEFING,) if top is not None and top.mode == FOLDER else ()
    return Evidence(
        plan,
        steps,
        snapshot,
        trouble,
        text.sha if text else "",
        flow_tip,
        tuple(line),
        is_forced,
        strays,
        tips,
        is_cut,
        text is None or spec.load_plan(repository.blob(text.sha), plan) == snapshot.plan,
    )


def _line(
    repository: Repository, state: PlanState, flow_tip: str | None
) -> tuple[Sequence[Commit], str, bool]:
    """Return flow's own line, why it cannot be read, and whether the branch lost what was on it."""
    for tip in (flow_tip, state.flow_sha):
        if tip is not None:
            try:
                line = repository.first_parents(tip, state.accepting)
            except GitFailed as e:
                return (), e.message, False
            ends = {tip, state.accepting, *(commit.sha for commit in line)}
            begins = line[0].parents[:1] == (state.accepting,) if line else tip == state.accepting
            if tip == state.flow_sha or (begins and state.flow_sha in ends):
                return line, "", flow_tip not in (None, tip)
    return (), "", False


def _steps(repository: Repository, tip: str, known: Known) -> Iterator[Step]:
    """Yield the commits of a state, oldest first: four processes for any number of them."""
    commits = repository.commits("--first-parent", tip)
    changes = list(_changes(repository, commits))
    blobs = sorted({sha for change in changes for sha in change.values() if sha != ZERO})
    contents = dict(zip(blobs, repository.blobs(blobs), strict=True))
    for commit, change in zip(commits, changes, strict=True):
        events = tuple(events_of(commit))
        told = commit.message.rstrip("\n").rpartition("\n\n")[2].split("\n")
        garbled = sum(line.startswith("Gitflow-Event: ") for line in told) - len(events)
        records: dict[str, TaskRecord | str | None] = {}
        for path, sha in change.items():
            task = os.path.basename(path).removesuffix(".yaml")
            if sha == ZERO:
                records[task] = None
                continue
            try:
                record: TaskRecord = known.value(sha, contents, read_record)
            except FlowError as e:
                records[task] = e.message
            else:
                is_in_place = path == record_path(record.id)
                records[task] = record if is_in_place else f"it says that it is {record.id}"
        yield Step(commit, events, garbled, records)


def _changes(repository: Repository, commits: Sequence[Commit]) -> Iterator[dict[str, str]]:
    """Yield for each commit the files of records that it changed, with their blobs or ZERO."""
    trees = [EMPTY_TREE, *(commit.tree for commit in commits)]
    pairs = "".join(f"{old} {new}\n" for old, new in pairwise(trees))
    how = ("--stdin", "-r", "-z", "--no-renames", "--", "tasks")
    _, out = repository.git.run("diff-tree", *how, data=pairs.encode())
    found: dict[str, str] = {}
    begun = False
    words = iter(os.fsdecode(out).split("\0"))
    for word in words:
        # A pair that was compared is told on a line of its own, in front of its first change.
        *heads, rest = word.split("\n") if not word.startswith(":") else [word]
        for _ in heads:
            if begun:
                yield found
            found, begun = {}, True
        if rest:
            found[next(words)] = rest.split()[3]
    if begun:
        yield found


# --- judging --------------------------------------------------------------------------------------


def judge(evidence: Evidence) -> Iterator[Finding]:
    """Yield what does not fit, in the order in which it is best looked at."""
    plan = evidence.plan
    if evidence.is_cut:
        yield Finding(
            plan,
            "move-cut-off",
            "a run died while it moved refs, and what it began is neither completed nor dropped",
            "gitflow-agents doctor --fix does that, and so does the next run",
        )
    replay = Replay(plan)
    for step in evidence.steps:
        yield from replay.take(step)
        if replay.is_lost:
            break
    if evidence.snapshot is None:
        yield Finding(
            plan,
            "state-unreadable",
            f"the state of {plan} cannot be read: {evidence.trouble}",
            f"git log gitflow/state/{plan} shows who wrote it; git fsck shows missing objects",
        )
        return
    yield from _plan(evidence, evidence.snapshot, replay)
    yield from _flow(evidence, evidence.snapshot)
    for task in sorted(evidence.snapshot.records):
        yield from _record(evidence, evidence.snapshot, evidence.snapshot.records[task])


@dataclass
class Replay:
    """The statuses that events give, followed commit by commit."""

    plan: str
    statuses: dict[str, Status] = field(default_factory=dict)
    recorded: dict[str, Status] = field(default_factory=dict)
    """What the records hold."""
    attempts: dict[str, int] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    asking: set[str] = field(default_factory=set)
    """Tasks whose newest attempt goes on under its number once its question is answered."""
    told: Counter[str] = field(default_factory=Counter)
    before: str = ""
    is_lost: bool = False
    """The line is broken, so that what comes after says nothing."""

    def take(self, step: Step) -> Iterator[Finding]:
        """Go one commit on and yield what does not fit there."""
        commit = step.commit
        parents = (self.before,) if self.before else ()
        if commit.parents != parents:
            self.is_lost = True
            yield self._found(
                commit,
                "state-not-a-line",
                f"{commit.sha[:12]} has {len(commit.parents)} parents, and one state follows one "
                "other",
            )
            return
        self.before = commit.sha
        if not commit.committer.startswith(f"{TOOL} "):
            who = commit.committer.rsplit(" ", 2)[0]
            yield self._found(
                commit, "state-by-somebody", f"{commit.sha[:12]} was committed by {who}"
            )
        if step.garbled:
            yield self._found(
                commit,
                "event-unreadable",
                f"{commit.sha[:12]} tells events that nobody can read: {step.garbled}",
            )
        elif not step.events:
            yield self._found(commit, "state-untold", f"{commit.sha[:12]} tells no event")
        touched = set(step.records)
        for event in step.events:
            self.told[event.event] += 1
            if event.plan != self.plan:
                what = f"{commit.sha[:12]} tells an event of the plan {event.plan}"
                yield self._found(commit, "event-of-another-plan", what)
            elif event.task and (event.event in KNOWN or event.status is not None):
                touched.add(event.task)
                yield from self._happen(commit, event)
        for task in sorted(touched):
            yield from self._compare(step, task)

    def _happen(self, commit: Commit, event: Event) -> Iterator[Finding]:
        task, now = event.task, self.statuses.get(event.task, S.PENDING)
        try:
            happened = E(event.event)
            by = min(RECORDED_BY[happened])
            after = advance(now, happened, by, event.reason)
        except ValueError:
            yield self._found(commit, "event-unknown", f"nobody knows {event.event}", task)
            after = event.status or now
        except IllegalTransition as e:
            yield self._found(commit, "event-illegal", f"{task}: {e.message}", task)
            after = event.status or now
        else:
            if event.status is not None and event.status is not after:
                what = f"{task}: {happened} says {event.status} and gives {after}"
                yield self._found(commit, "event-untrue", what, task)
            yield from self._number(commit, event, happened)
        self.statuses[task] = after

    def _number(self, commit: Commit, event: Event, happened: Happened) -> Iterator[Finding]:
        task, count = event.task, self.attempts.get(event.task, 0)
        goes_on = happened is E.ATTEMPT_STARTED and task in self.asking
        if happened is not E.QUESTION_ANSWERED:
            self.asking.discard(task)
        if happened is E.QUESTION_ASKED:
            self.asking.add(task)
        if happened in (E.ATTEMPT_STARTED, E.TASK_TAKEN):
            count += not goes_on
            if task in self.running:
                what = f"{task}: attempt {count} began before the one before had ended"
                yield self._found(commit, "attempts-not-numbered", what, task)
            self.running.add(task)
        elif happened in ENDS:
            if task not in self.running:
                what = f"{task}: attempt {event.attempt} ended without having begun, or twice"
                yield self._found(commit, "attempts-not-numbered", what, task)
            self.running.discard(task)
        if event.attempt is not None and event.attempt != count:
            what = f"{task}: {happened} is of attempt {event.attempt}, and the newest is {count}"
            yield self._found(commit, "attempts-not-numbered", what, task)
            count = event.attempt
        self.attempts[task] = count

    def _compare(self, step: Step, task: str) -> Iterator[Finding]:
        """Hold a record against what the events give; then believe the record."""
        commit, record = step.commit, step.records.get(task)
        if isinstance(record, str):
            what = f"the record of {task} in {commit.sha[:12]} is none: {record}"
            yield self._found(commit, "record-unreadable", what, task)
            return
        told = self.statuses.get(task, S.PENDING)
        if task not in step.records:
            if self.recorded.get(task, S.PENDING) is not told:
                what = f"{task} is {told} by its events, and {commit.sha[:12]} does not record it"
                yield self._found(commit, "status-untrue", what, task)
                self.statuses[task] = self.recorded.get(task, S.PENDING)
            return
        held = record.status if record else S.PENDING
        self.recorded[task] = held
        if record is None:
            self.attempts.pop(task, None)  # it was taken out of the plan before it was begun
        if held is not told:
            what = (
                f"{task} is {told} by its events, and its record in {commit.sha[:12]} says {held}"
            )
            yield self._found(commit, "status-untrue", what, task)
            self.statuses[task] = held

    def _found(self, commit: Commit, code: str, message: str, task: str = "") -> Finding:
        hint = f"git show {commit.sha[:12]} shows what was written, and by whom"
        return Finding(self.plan, code, message, hint, task, commit.sha)


def _plan(evidence: Evidence, snapshot: Snapshot, replay: Replay) -> Iterator[Finding]:
    """Yield what does not fit in what is known of the plan as a whole."""
    plan, state = evidence.plan, snapshot.state
    look = f"git log gitflow/state/{plan} shows who wrote it"
    if state.plan != plan or snapshot.plan.plan != plan:
        what = f"the state of {plan} says that it is of {state.plan}, its text that of "
        yield Finding(plan, "plan-untrue", f"{what}{snapshot.plan.plan}", look)
    if state.digest != evidence.spec:
        what = "spec.yaml in the state is not the text that was accepted"
        yield Finding(plan, "spec-untrue", f"{what}: {state.digest[:12]}", look)
    if not evidence.is_one_text:
        what = f"{LINES} in the state does not say what spec.yaml says"
        yield Finding(plan, "spec-untrue", what, look)
    needed = TOLD_BY.get(state.status)
    if needed and not replay.told[needed] and not replay.is_lost:
        what = f"the plan is {state.status}, and no event tells it"
        yield Finding(plan, "status-untrue", what, look)
    by_id = snapshot.plan.by_id
    for task, record in sorted(snapshot.records.items()):
        if task not in by_id and record.status not in (S.COMPLETED, S.CANCELLED):
            what = f"{task} is {record.status}, and the plan has no such task"
            yield Finding(plan, "task-unknown", what, look, task)


def _merges(evidence: Evidence) -> Iterator[tuple[Event, Commit]]:
    """Yield the merges of tasks, and their reverts, on flow's own line: ours, oldest first."""
    for commit in evidence.flow:
        if commit.committer.startswith(f"{TOOL} "):  # anybody can write trailers
            for event in events_of(commit):
                if event.plan == evidence.plan and event.event in ("task_merged", "task_reverted"):
                    yield event, commit


def _flow(evidence: Evidence, snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what does not fit on flow: where it is, and what its own line holds."""
    plan, state = evidence.plan, snapshot.state
    flow, sha, tip = state.flow, state.flow_sha, evidence.flow_tip
    is_over = state.status in OVER
    if tip is None and not is_over:
        back = f"{bring_back(snapshot.authority, flow, sha)} brings it back"
        yield Finding(plan, "flow-missing", f"the branch {flow} is gone", back, sha=sha)
    elif tip is not None and evidence.is_forced and not is_over:
        what = f"{flow} was moved to {tip[:12]}, whose own line does not hold {sha[:12]}"
        again = bring_back(snapshot.authority, flow, sha, force=True)
        back = f"to go on from what was merged: {again}"
        yield Finding(plan, "flow-forced", what, back, sha=tip)
    if evidence.trouble:
        if not (is_over and tip is None):  # then what it held may be gone, too
            what = f"{flow} cannot be read: {evidence.trouble}"
            yield Finding(plan, "flow-unreadable", what, "git fsck shows what is missing", sha=sha)
        return
    if evidence.flow and evidence.flow[0].parents[:1] != (state.accepting,):
        what = f"{flow} does not begin with {state.accepting[:12]}, which accepted the plan"
        look = f"git log --first-parent {flow}"
        yield Finding(plan, "flow-forced", what, look, sha=evidence.flow[0].sha)
    for path in evidence.strays:
        look = f"git log -1 {flow} -- {path} shows who put it there"
        yield Finding(plan, "flow-stray", f"{path} is on {flow}, where it never belongs", look)
    yield from _merged(evidence, snapshot)


def _merged(evidence: Evidence, snapshot: Snapshot) -> Iterator[Finding]:
    """Completed is exactly what flow's own line holds a merge of, the one that the state names."""
    plan, flow = evidence.plan, snapshot.state.flow
    on_flow: dict[str, Commit] = {}
    attempts = [a for record in snapshot.records.values() for a in record.attempts]
    by_people = {a.merged for a in attempts if a.reverted}  # and by the tool, which is told twice
    for event, commit in _merges(evidence):
        if event.event == "task_reverted":
            on_flow.pop(event.task, None)
        elif commit.sha in by_people:
            continue
        elif event.task in on_flow:
            what = f"{event.task} is merged twice on {flow}: {on_flow[event.task].sha[:12]} and "
            look = f"git log --first-parent {flow}"
            yield Finding(
                plan,
                "merged-twice",
                f"{what}{commit.sha[:12]}",
                look,
                event.task,
                commit.sha,
            )
        else:
            on_flow[event.task] = commit
    done = {t: r for t, r in snapshot.records.items() if r.status is S.COMPLETED}
    for task, commit in _taken_back(evidence, snapshot):
        what = f"{task} is completed, and {commit.sha[:12]} on {flow} reverts its merge"
        look = f"git show {commit.sha[:12]} shows by whom"
        yield Finding(plan, "merge-reverted", what, look, task, commit.sha)
    for task, commit in on_flow.items():
        if task not in done:
            what = f"{flow} holds the merge {commit.sha[:12]} of {task}, which is "
            now = f"{what}{snapshot.status(task)} in the state"
            mend = f"gitflow-agents run {plan} takes it over, when it is the result that waits"
            yield Finding(plan, "merge-unknown", now, mend, task, commit.sha)
    for task, record in sorted(done.items()):
        found = on_flow.get(task)
        look = f"git show {record.merge[:12]}; git log --first-parent {flow}"
        if found is None or found.sha != record.merge:
            there = f"holds {found.sha[:12]}" if found else "holds no merge of it"
            what = f"{task} is completed by {record.merge[:12]}, and {flow} {there}"
            yield Finding(plan, "merge-missing", what, look, task, record.merge)
            continue
        tip = record.attempts[-1].report if record.attempts else ""
        if found.parents[1:] != (tip,):
            merged = " and ".join(sha[:12] for sha in found.parents[1:]) or "nothing"
            what = f"{record.merge[:12]} merges {merged} for {task}, whose result is {tip[:12]}"
            yield Finding(plan, "merge-untrue", what, look, task, record.merge)


def _taken_back(evidence: Evidence, snapshot: Snapshot) -> Iterator[tuple[str, Commit]]:
    """Yield completed tasks with a later revert of their merge on what the state knows of flow."""
    merges = {r.merge: r.id for r in snapshot.records.values() if r.status is S.COMPLETED}
    known = [n for n, c in enumerate(evidence.flow) if c.sha == snapshot.state.flow_sha]
    for commit in evidence.flow[: known[0] + 1] if known else ():
        is_merge = any(event.event == "task_merged" for event in events_of(commit))
        for sha in () if is_merge else reverts_of(commit.message):
            for merge in (merge for merge in merges if merge.startswith(sha)):
                yield merges[merge], commit


def _record(evidence: Evidence, snapshot: Snapshot, record: TaskRecord) -> Iterator[Finding]:
    """Yield what does not fit in what is known of one task."""
    plan, task = evidence.plan, record.id

    def found(code: str, message: str, hint: str = "") -> Finding:
        return Finding(plan, code, message, hint or look, task)

    look = f"gitflow-agents show {plan}/{task}"
    numbers = [attempt.number for attempt in record.attempts]
    if numbers != list(range(1, len(numbers) + 1)):
        what = f"the attempts of {task} are numbered {', '.join(map(str, numbers))}"
        yield found("attempts-not-numbered", what)
    is_running = record.status is S.IN_PROGRESS
    open_ = [a.number for a in record.attempts if a.outcome == "running"]
    if record.lease is not None and not is_running:
        what = f"{task} is {record.status}, and still there is a lease on it"
        yield found("lease-untrue", what)
    if record.lease is not None and open_ != numbers[-1:]:
        yield found("attempt-untrue", f"{task} runs, and not its newest attempt does")
    if open_ and record.lease is None and record.status is not S.IN_PROGRESS:
        yield found("attempt-untrue", f"{task} is {record.status}, and attempt {open_[0]} runs")
    if is_running and record.lease is None and open_ and not record.taken_by:
        what = f"{task} is in progress, and no lease says who is at work"
        yield found("lease-missing", what)
    if snapshot.state.status in OVER:
        return
    yield from (
        found(
            "ref-missing",
            f"{attempt.kept}, which keeps attempt {attempt.number} of {task}, is gone",
            _branch_back(attempt.kept, attempt),
        )
        for attempt in record.attempts
        if attempt.kept and f"{HEADS}{attempt.kept}" not in evidence.tips
    )
    yield from _branch(evidence, record, found_hint=look)


def _branch(evidence: Evidence, record: TaskRecord, found_hint: str) -> Iterator[Finding]:
    """Yield what does not fit in the branch of a task that is not merged."""
    plan, task, attempt = evidence.plan, record.id, record.attempt
    if attempt is None or record.status in (S.COMPLETED, S.CANCELLED):
        return
    branch = record.result_branch if record.status is S.REVIEW else record.branch
    tip = evidence.tips.get(f"{HEADS}{branch}")
    if record.status is S.REVIEW and tip != attempt.report:
        there = f"is at {tip[:12]}" if tip else "is gone"
        what = f"{branch} {there}, and {attempt.report[:12]} is to be merged from it"
        mend = f"git branch -f {branch} {attempt.report} brings it back"
        yield Finding(plan, "branch-moved", what, mend, task)
    elif record.status is S.IN_PROGRESS and tip is None and record.lease is not None:
        what = f"{record.branch} is gone, and attempt {attempt.number} of {task} works on it"
        mend = f"git branch {record.branch} {record.claim} brings it back"
        yield Finding(plan, "branch-missing", what, mend, task)
    elif (
        tip is None
        and attempt.tip
        and not attempt.kept
        and record.status in (S.FAILED, S.PENDING)
        and record.reason is not Reason.FOREIGN_COMMITS
    ):
        what = f"{record.branch} is gone, and nothing keeps what attempt {attempt.number} did"
        mend = _branch_back(record.branch, attempt) or found_hint
        yield Finding(plan, "branch-missing", what, mend, task)


def _branch_back(branch: str, attempt: Attempt) -> str:
    sha = attempt.report or attempt.tip
    return f"git branch {branch} {sha} brings it back" if sha else ""


# --- telling --------------------------------------------------------------------------------------


def text(checked: Sequence[Checked]) -> str:
    """Return what was found, for people: a sentence a finding, and what to do."""
    lines: list[str] = []
    for plan in checked:
        for finding in plan.findings:
            lines.append(f"{plan.plan}: {finding.message}")
            if finding.hint:
                lines.append(f"  hint: {finding.hint}")
        if not plan.findings:
            much = (
                count(plan.commits, "commit"),
                count(plan.tasks, "task"),
                count(plan.merges, "merge"),
            )
            lines.append(f"{plan.plan}: {', '.join(much)}: nothing wrong")
    return "\n".join(lines) or "there is no plan here"


def as_json(checked: Sequence[Checked]) -> dict[str, Any]:
    """Return what `fsck --json` prints."""
    return {"schema": SCHEMA, "clean": is_clean(checked), "plans": [asdict(c) for c in checked]}


def is_clean(checked: Sequence[Checked]) -> bool:
    """Say whether nothing was found."""
    return not any(plan.findings for plan in checked)


__all__ = [
    "Checked",
    "Evidence",
    "Finding",
    "Step",
    "as_json",
    "check",
    "is_clean",
    "judge",
    "read",
    "text",
]
