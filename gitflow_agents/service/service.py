"""Everything that a door can ask: read a plan, look at it, run it.

A door parses, calls one method here, and prints what comes back.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import heapq
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gitflow_agents import cache, render, scheduler, spec
from gitflow_agents.errors import FlowError, UsageError
from gitflow_agents.execute import Executor
from gitflow_agents.graph import Graph, estimate
from gitflow_agents.models import (
    SCHEMA,
    Config,
    DoneReport,
    Event,
    Limits,
    Plan,
    PlanState,
    Status,
    TaskRecord,
)
from gitflow_agents.runner import Stop
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.accept import (
    Proposal,
    accept,
    begun,
    find_base,
    plan_path,
    proposal_of,
    propose,
)
from gitflow_agents.service.desk import Desk, Told
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.run import Run, RunEnd, run_id
from gitflow_agents.store import Guard, Known, Repository, Store, Worktrees, create_repository
from gitflow_agents.store.state import BRIEFING, HEADS, events_of, plan_ref, state_ref

MOST_WARNINGS = 3
"""Warnings of a plan that a run prints; `validate` prints all."""
CONFIGS = (".github/gitflow-agents.yml", ".gitflow-agents.yml")


@dataclass(frozen=True)
class Logged:
    """One commit of a plan's state: when, and what happened."""

    sha: str
    at: float
    subject: str
    events: tuple[Event, ...]


class Service:
    """The plans of one repository, for one person at one door."""

    def __init__(
        self,
        directory: str = ".",
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = Path(directory)
        self.environ = dict(os.environ if environ is None else environ)
        self.clock = clock
        self.repository = Repository(directory, clock=clock)
        self.store = Store(self.repository)

    @cached_property
    def actor(self) -> str:
        """Return who is at the terminal."""
        return self.repository.person()

    @cached_property
    def config(self) -> Config:
        """Return the config on the default branch, with `GITFLOW_*` over it."""
        try:
            branch = self.repository.default_branch()
            names = [f"{HEADS}{branch}", f"refs/remotes/origin/{branch}"]
        except FlowError:
            names = ["HEAD"]
        shas = (self.repository.resolve(f"{name}^{{commit}}") for name in names)
        sha = next((sha for sha in shas if sha), None)
        file, data = CONFIGS[0], None
        if sha:
            tree = self.repository.commit(sha).tree
            for path in CONFIGS:
                data = self.repository.read(tree, path)
                if data is not None:
                    file = f"{path} as committed on {names[0].removeprefix(HEADS)}"
                    break
        return spec.read_config(data, file=file, environ=self.environ)

    # --- which plan -------------------------------------------------------------------------------

    def open(self, plan: str = "", at: str = "", *, cached: bool = True) -> Snapshot:
        """Return a plan by its name or its file's path; the only one here when none is named.

        A plan that was never accepted has a snapshot with an empty `tip`.  `at` names an older
        commit of its state.
        """
        name, data = self._source(plan)
        known = self._known(name) if cached else Known()
        before = set(known.values)
        snapshot = self.store.load(name, at, known)
        if snapshot is None:
            if data is None:
                data = proposal_of(self.store, name).data
            return self._unstarted(
                self._checked(name, data, file=self._shown(plan, name)).plan, data
            )
        if cached and not at:
            if before != set(known.values):
                self._keep(name, known)
            self._keep_ready(snapshot)
        return snapshot

    def task(self, target: str, at: str = "") -> tuple[Snapshot, str]:
        """Return the plan and the id that `<plan>/<id>` or `<id>` names."""
        if "/" in target:
            name, _, task = target.rpartition("/")
            snapshot = self.open(name, at)
            if task not in snapshot.plan.by_id:
                raise self._no_such_task(snapshot, task)
            return snapshot, task
        here = [*self.plans(), *self._unaccepted()]
        found = [snapshot for snapshot in here if target in snapshot.plan.by_id]
        live = [s for s in found if s.state.status == "live"] or found
        if len(live) == 1:
            if at:
                return self.open(live[0].plan.plan, at), target
            return live[0], target
        if live:
            which = ", ".join(f"{snapshot.plan.plan}/{target}" for snapshot in live)
            raise UsageError(f"{len(live)} plans have a task {target}", hint=f"say which: {which}")
        ids = sorted({task.id for snapshot in here for task in snapshot.plan.tasks})
        near = difflib.get_close_matches(target, ids, 3)
        hint = f"near names: {', '.join(near)}" if near else "gitflow-agents plans lists the plans"
        raise FlowError(f"no plan here has a task {target}", hint=hint)

    def find(self, what: str, at: str = "") -> tuple[Snapshot, str]:
        """Return what PLAN or TASK names: a plan with no task id, or a plan and a task's id."""
        names = self._names()
        if what.endswith((".yaml", ".yml")) or what in names:
            return self.open(what, at), ""
        plan, _, _ = what.rpartition("/")
        if plan and plan not in names:
            raise self._unknown(plan)
        return self.task(what, at)

    def _unaccepted(self) -> list[Snapshot]:
        """Return the plans that are only files in the checkout so far."""
        found = []
        known = {*self.store.plans(), *self._proposed()}
        for name in self._names():
            if name not in known:
                with contextlib.suppress(FlowError):  # `validate` says what is wrong with it
                    found.append(self.open(name))
        return found

    def _no_such_task(self, snapshot: Snapshot, task: str) -> FlowError:
        ids = [each.id for each in snapshot.plan.tasks]
        near = difflib.get_close_matches(task, ids, 3)
        some = ", ".join(near or ids[:5])
        return FlowError(
            f"plan {snapshot.plan.plan} has {len(ids)} tasks, and none is {task!r}",
            hint=f"near ids: {some}",
        )

    def plans(self) -> list[Snapshot]:
        """Return every plan here: the accepted ones, then those that are only proposed."""
        accepted = self.store.plans()
        found = [self.open(name) for name in accepted]
        for name in self._proposed():
            if name not in accepted:
                try:
                    found.append(self.open(name))
                except FlowError:
                    continue  # `validate NAME` says what is wrong with it
        return found

    def read(self, plan: str, *, strict: bool = False) -> spec.Reading:
        """Check a plan file; raise InvalidFile with everything that is wrong."""
        name, data = self._source(plan)
        if data is None:
            data = self.plan_text(name)
        return self._checked(name, data, file=self._shown(plan, name), strict=strict)

    def plan_text(self, plan: str) -> bytes:
        """Return the newest text of a plan: its file, its branch, or what was accepted."""
        name, data = self._source(plan)
        if data is not None:
            return data
        if self.repository.resolve(plan_ref(name)):
            return proposal_of(self.store, name).data
        tip = self.repository.resolve(f"{state_ref(name)}^{{commit}}")
        text = tip and self.repository.read(self.repository.commit(tip).tree, "spec.yaml")
        if not text:
            raise self._unknown(name)
        return text

    def propose(self, plan: str, data: bytes) -> str:
        """Commit a checked plan file to `plan/<plan>` for the person and return the commit."""
        name, _ = self._source(plan)
        reading = self._checked(name, data)
        snapshot = self.store.load(reading.plan.plan)
        if snapshot is not None:
            self._same_text(snapshot, data)
        _, base = find_base(self.store, reading.plan, self.config)
        return propose(self.store, reading.plan.plan, data, base, self.actor)

    def _source(self, plan: str) -> tuple[str, bytes | None]:
        """Return a plan's name, and its text when a file was named."""
        plan = plan or self._only_plan()
        path = self._file(plan)
        if path is not None:
            try:
                data = path.read_bytes()
            except OSError as e:
                raise FlowError(f"{plan} cannot be read: {e.strerror}") from e
            return spec.plan_name(data, default=path.stem), data
        if self.repository.resolve(state_ref(plan)) or self.repository.resolve(plan_ref(plan)):
            return plan, None
        inside = (self.repository.top or self.directory) / plan_path(plan)
        if inside.is_file():
            data = inside.read_bytes()
            return spec.plan_name(data, default=plan), data
        raise self._unknown(plan)

    def _file(self, plan: str) -> Path | None:
        """Return the file that a PLAN argument names, if it is meant as a path."""
        looks_like_one = "/" in plan or plan.endswith((".yaml", ".yml"))
        path = self.directory / plan
        if looks_like_one and not path.is_file():
            raise FlowError(f"there is no file {plan}", hint="gitflow-agents plans lists the plans")
        return path if looks_like_one else None

    def _unknown(self, plan: str) -> FlowError:
        near = difflib.get_close_matches(plan, self._names(), 3)
        if near:
            return FlowError(f"there is no plan {plan}", hint=f"did you mean {', '.join(near)}?")
        return FlowError(
            f"there is no plan {plan}",
            hint=f"write one: gitflow-agents new {plan}; or name a file: plans/{plan}.yaml",
        )

    def _proposed(self) -> list[str]:
        return [ref.removeprefix(plan_ref("")) for ref in self.repository.tips(plan_ref(""))]

    def _names(self) -> list[str]:
        proposed = self._proposed()
        folder = (self.repository.top or self.directory) / "plans"
        files = [path.stem for path in folder.glob("*.yaml") if "." not in path.stem]
        return sorted({*self.store.plans(), *proposed, *files})

    def _only_plan(self) -> str:
        accepted = self.store.plans()
        names = accepted if accepted else self._names()
        if len(names) == 1:
            return names[0]
        live = [n for n in names if self._is_live(n)] if len(names) > 1 else []
        if len(live) == 1:
            return live[0]
        if names:
            raise UsageError(
                f"there are {len(names)} plans here", hint=f"say which one: {', '.join(names)}"
            )
        raise FlowError("there is no plan here", hint="write one: gitflow-agents new NAME")

    def _is_live(self, name: str) -> bool:
        snapshot = self.store.load(name, known=self._known(name))
        return snapshot is not None and snapshot.state.status == "live"

    def _shown(self, plan: str, name: str) -> str:
        return plan if self._file(plan) else f"plan/{name}:{plan_path(name)}"

    def _checked(
        self, name: str, data: bytes, *, file: str = "", strict: bool = False
    ) -> spec.Reading:
        given = self._given(data, name)
        return spec.read_plan(
            data,
            file=file or plan_path(name),
            name=name,
            config=self.config,
            given=given,
            strict=strict,
        )

    def _given(self, data: bytes, name: str) -> dict[str, str]:
        """Return what earlier plans left on the base that this plan starts from."""
        base = spec.plan_base(data)
        try:
            base = base or self.repository.default_branch()
        except FlowError:
            base = "HEAD"
        for ref in (f"{HEADS}{base}", f"refs/remotes/origin/{base}", base):
            sha = self.repository.resolve(f"{ref}^{{commit}}")
            if sha:
                return self.store.provided_before(sha, but=name)
        return {}

    def _unstarted(self, plan: Plan, data: bytes) -> Snapshot:
        try:
            base, base_sha = find_base(self.store, plan, self.config)
        except FlowError:
            base, base_sha = plan.base or "", ""
        state = PlanState(
            plan=plan.plan,
            commit="",
            digest=_blob_sha(data),
            base=base,
            base_sha=base_sha,
            flow=plan.flow_branch,
            flow_sha="",
            accepting="",
            accepted_at=0,
        )
        graph = Graph.of(plan)
        given: frozenset[str] = frozenset()
        if graph.missing and base_sha:
            before = self.store.provided_before(base_sha, but=plan.plan)
            given = frozenset(before.keys() - graph.providers.keys())
            graph = Graph.of(plan, given)
        return Snapshot(plan, graph, state, "", "", {}, given)

    # --- the cache of the looking verbs -----------------------------------------------------------

    def _cache_file(self, name: str) -> Path:
        return self.store.refs.folder / "cache" / f"{name}.json"

    def _known(self, name: str) -> Known:
        return Known.read(self._cache_file(name))

    def _keep(self, name: str, known: Known) -> None:
        known.write(self._cache_file(name))

    def _keep_ready(self, snapshot: Snapshot) -> None:
        cache.write(
            str(self.repository.common),
            snapshot.plan.plan,
            snapshot.tip,
            snapshot.frontier.ready,
            snapshot.state.digest,
        )

    # --- look -------------------------------------------------------------------------------------

    def limits(self, snapshot: Snapshot) -> Limits:
        """Return the limits of plan and config together."""
        return scheduler.limits_of(snapshot.plan, self.config)

    def flow_sha(self, snapshot: Snapshot) -> str:
        """Return the tip of the flow branch: as it is now, or as an older state says."""
        if snapshot.tip != (self.repository.resolve(state_ref(snapshot.plan.plan)) or ""):
            return snapshot.state.flow_sha
        return self.repository.tip(snapshot.state.flow) or ""

    def history(self, plan: str, since: str = "") -> list[Logged]:
        """Return what happened to a plan, oldest first; only what came after `since` if named."""
        name, _ = self._source(plan)
        if not self.repository.resolve(state_ref(name)):
            return []
        return [
            Logged(commit.sha, commit.time, commit.subject, tuple(events_of(commit)))
            for commit in self.store.history(name, since)
        ]

    def brief(self, snapshot: Snapshot, task: str) -> str:
        """Return the brief of a task's newest attempt, or the one that it would get now."""
        record = snapshot.record(task)
        if record.claim:
            tree = self.repository.commit(record.claim).tree
            data = self.repository.read(tree, f"{BRIEFING}/brief.md")
            if data is not None:
                return data.decode()
        branch = record.branch or spec.branches(snapshot.plan)[task]
        return render.brief(snapshot, task, branch=branch, attempt=len(record.attempts) + 1)

    def diff(self, snapshot: Snapshot, task: str, *, stat: bool = False) -> str:
        """Return what a task changed, as git shows it: merged, or by its newest attempt so far."""
        record = snapshot.record(task)
        old, new = self._ends(record)
        if not new:
            raise FlowError(
                f"{task} has nothing to show yet: it is {snapshot.status(task)}",
                hint=f"gitflow-agents explain {snapshot.plan.plan}/{task}",
            )
        _, out = self.repository.git.run(
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            *(["--stat"] if stat else []),
            old,
            new,
            "--",
            ":/",
            f":(top,exclude){BRIEFING}",
        )
        return out.decode(errors="replace")

    def _ends(self, record: TaskRecord) -> tuple[str, str]:
        if record.merge:
            return self.repository.commit(record.merge).parents[0], record.merge
        for attempt in reversed(record.attempts):
            if attempt.tip and self.repository.resolve(attempt.tip):
                return attempt.base, attempt.tip
        return "", ""

    def report(self, snapshot: Snapshot) -> str:
        """Return the report on flow when the plan is finished, else the report so far."""
        if not snapshot.tip:
            raise FlowError(
                f"plan {snapshot.plan.plan} was not started, so there is nothing to report",
                hint=f"gitflow-agents waves {snapshot.plan.plan} shows what it would do",
            )
        if snapshot.state.status in ("finished", "landed"):
            tree = self.repository.commit(snapshot.state.flow_sha).tree
            data = self.repository.read(tree, f"plans/{snapshot.plan.plan}.report.md")
            if data is not None:
                return data.decode()
        return render.final_report(snapshot, self.clock())

    def attempt_report(self, snapshot: Snapshot, task: str) -> DoneReport | None:
        """Return what is recorded about a task's newest ended attempt."""
        for attempt in reversed(snapshot.record(task).attempts):
            if attempt.report and self.repository.resolve(attempt.report):
                tree = self.repository.commit(attempt.report).tree
                data = self.repository.read(tree, f"{BRIEFING}/report.yaml")
                if data is not None:
                    return DoneReport.model_validate(spec.from_yaml(data))
        return None

    # --- go ---------------------------------------------------------------------------------------

    def run(
        self,
        plan: str,
        *,
        jobs: int | None = None,
        barrier: bool = False,
        on_event: Callable[[Told], None],
    ) -> RunEnd:
        """Run a plan until nothing can move; accept it first when it is new."""
        snapshot = self._accepted(plan, on_event)
        limits = self.limits(snapshot)
        worktrees = Worktrees(self.repository, self.config.worktrees)
        worktrees.exclude()
        stop = Stop()
        guard = Guard(self.store.refs, (f"{HEADS}{snapshot.state.flow}",))
        executor = Executor(
            self.repository, worktrees, guard, self.config, self.environ, stop, self.clock
        )
        desk = Desk(
            self.store,
            self.config,
            worktrees,
            executor,
            snapshot,
            self.actor,
            on_event,
            run_id(),
            self.clock,
        )
        slots = _slots(jobs, limits)
        try:
            return Run(desk, Reconciler(desk), limits, slots, barrier, stop, on_event).go()
        finally:
            # What an agent may have written there would be shown as the truth.
            shutil.rmtree(self._cache_file("").parent, ignore_errors=True)

    def _accepted(self, plan: str, on_event: Callable[[Told], None]) -> Snapshot:
        name, data = self._source(plan)
        with self.store.refs.lock():
            snapshot = self.store.load(name)
            if snapshot is not None:
                self._same_text(snapshot, data)
                place = self.store.refs.heads().get(f"{HEADS}{snapshot.state.flow}")
                if place is not None and snapshot.state.status == "live":
                    raise FlowError(
                        f"the flow branch {snapshot.state.flow} is checked out in {place}",
                        hint="git switch --detach",
                    )
                return snapshot
            proposal = self._proposal(name, data)
            reading = self._checked(name, proposal.data, file=self._shown(plan, name))
            snapshot = accept(self.store, proposal, reading.plan, self.config, self.actor)

        def tell(event: str, text: str) -> None:
            data = {"schema": SCHEMA, "event": event, "at": self.clock(), "plan": name}
            on_event(Told(event, text, {**data, "text": text}))

        for warning in reading.warnings[:MOST_WARNINGS]:
            tell("warning", str(warning))
        more = len(reading.warnings) - MOST_WARNINGS
        if more > 0:
            tell("warning", f"and {more} more warnings: gitflow-agents validate {plan}")
        if self._is_uncommitted(snapshot):
            path, flow = plan_path(name), snapshot.state.flow
            tell("warning", f"{path} is not committed; commit it, or it is in the way of {flow}")
        tasks = render.count(len(reading.plan.tasks), "task")
        tell("plan_accepted", f"plan {name} accepted as v1: {tasks}")
        return snapshot

    def _is_uncommitted(self, snapshot: Snapshot) -> bool:
        """Say whether the plan's file lies in the checkout but not in the base: no merge then."""
        path = plan_path(snapshot.plan.plan)
        base = self.repository.commit(snapshot.state.base_sha).tree
        lies_there = self.repository.top is not None and (self.repository.top / path).exists()
        return lies_there and self.repository.find(base, path) is None

    def _proposal(self, name: str, data: bytes | None) -> Proposal:
        """Return what is to be accepted; a file and a plan branch must not say different things."""
        if not self.repository.resolve(plan_ref(name)):
            if data is None:
                raise self._unknown(name)
            return Proposal(name, data)
        proposed = proposal_of(self.store, name)
        if data is not None and data != proposed.data:
            raise FlowError(
                f"the file and the branch plan/{name} say different things",
                hint=f"look at both: git show plan/{name}:{plan_path(name)}; then commit the one "
                f"that counts there, or run the branch: gitflow-agents run {name}",
            )
        return proposed

    def _same_text(self, snapshot: Snapshot, data: bytes | None) -> None:
        """Refuse a file that says something else than what was accepted."""
        name = snapshot.plan.plan
        if data is None:
            if not self.repository.resolve(plan_ref(name)):
                return
            data = proposal_of(self.store, name).data
        if _blob_sha(data) == snapshot.state.digest:
            return
        if self._checked(name, data).plan != snapshot.plan:
            raise FlowError(
                f"plan {name} was accepted as v{snapshot.state.revision}, and its text has "
                "changed since; changing a plan that was started is not built yet",
                hint="put the change into a plan with a name of its own, or take it back: "
                f"git show {snapshot.state.commit[:12]}:{plan_path(name)}",
            )

    def rehearse(self, plan: str, *, jobs: int | None = None, barrier: bool = False) -> list[str]:
        """Return what `run` would do, a line each, by the same decisions; nothing is written."""
        snapshot = self.open(plan, cached=False)
        name, state = snapshot.plan.plan, snapshot.state
        lines = []
        _, data = self._source(plan)
        if snapshot.tip:
            self._same_text(snapshot, data)
        else:
            proposal = self._proposal(name, data)
            find_base(self.store, snapshot.plan, self.config)
            branches = self.repository.tips(HEADS)
            begun(self.store, snapshot.plan, _blob_sha(proposal.data), branches)
            lines.append(f"accept plan {name}: make plan/{name} and {state.flow} from {state.base}")
        limits = self.limits(snapshot)
        slots = _slots(jobs, limits)
        return lines + rehearsal(snapshot, limits, slots, self.config.train, barrier)

    def close(self) -> None:
        """End every process that was kept."""
        self.store.close()


def rehearsal(
    snapshot: Snapshot, limits: Limits, slots: int, train: int, barrier: bool
) -> list[str]:
    """Return the lines of a run in which every attempt succeeds after its estimated time."""
    lines: list[str] = []
    names = spec.branches(snapshot.plan)
    now = 0.0
    busy: list[tuple[float, int, str]] = []

    def put(task: str, status: Status) -> None:
        snapshot.apply(snapshot.record(task).model_copy(update={"status": status}))

    for task in snapshot.by_status[Status.IN_PROGRESS]:
        heapq.heappush(busy, (0.0, snapshot.plan.order[task], task))
    while True:
        actions = scheduler.decide(
            snapshot,
            now,
            limits,
            slots=slots - len(busy),
            train=train,
            barrier=barrier,
            follow_base=False,
        )
        done = False
        for action in actions:
            match action:
                case scheduler.Claim(tasks):
                    for task in tasks:
                        put(task, Status.IN_PROGRESS)
                        minutes = estimate(snapshot.plan.by_id[task])
                        place = snapshot.plan.order[task]
                        heapq.heappush(busy, (now + minutes, place, task))
                        title = snapshot.plan.by_id[task].name
                        lines.append(f"{now:5g} min  start {task} on {names[task]}: {title}")
                    done = True
                case scheduler.StartTrain(tasks):
                    for task in tasks:
                        put(task, Status.COMPLETED)
                    lines.append(f"{now:5g} min  merge {', '.join(tasks)} to {snapshot.state.flow}")
                    done = True
                case scheduler.Finish():
                    lines.append(f"{now:5g} min  finish: the report goes to {snapshot.state.flow}")
                    return lines
        if done:
            continue
        if not busy:
            break
        now, _, task = heapq.heappop(busy)
        put(task, Status.REVIEW)
    left = len(snapshot.plan.tasks) - len(snapshot.by_status[Status.COMPLETED])
    if left and snapshot.state.status == "live":
        lines.append(f"{now:5g} min  stop: {left} tasks cannot start without a person")
    return lines


def create_demo(directory: str) -> str:
    """Make a small real repository with the quick-start plan in it; return the plan's path."""
    path = Path(directory)
    if path.exists() and any(path.iterdir()):
        raise FlowError(f"{directory} is not empty", hint="name a folder that does not exist yet")
    text = (Path(__file__).parent.parent / "templates" / "quick-start.yaml").read_bytes()
    create_repository(
        path,
        {
            "README.md": b"# Text tools\n\nWritten by a plan: see plans/quick-start.yaml.\n",
            "plans/quick-start.yaml": text,
            ".gitignore": b"__pycache__/\n",
        },
        "start of the demo",
    )
    return "plans/quick-start.yaml"


def _slots(jobs: int | None, limits: Limits) -> int:
    return min([n for n in (jobs, limits.parallel) if n] or [scheduler.PARALLEL])


def _blob_sha(data: bytes) -> str:
    head = b"blob %d\0" % len(data)
    return hashlib.sha1(head + data, usedforsecurity=False).hexdigest()


__all__ = ["Logged", "RunEnd", "Service", "Told", "create_demo"]
