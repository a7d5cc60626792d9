"""A plan in a world of nothing but values: agents, trains, people and accidents, without git.

`World` does what the service does with the scheduler's actions and with the effects of commands, in
the simplest way that keeps the rules, and remembers apart from the state what really happened.
`check` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from gitflow_agents import commands, replan, scheduler, spec
from gitflow_agents.commands import DropTrain, End, Ground, Mark, MarkPlan, Move
from gitflow_agents.graph import Graph, attempts_allowed
from gitflow_agents.models import (
    Attempt,
    Car,
    Lease,
    Limits,
    Plan,
    PlanState,
    Reason,
    Status,
    Train,
)
from gitflow_agents.scheduler import Seen, Snapshot, decide
from gitflow_agents.service.acting import RECORDABLE
from gitflow_agents.transitions import RETRIED_BY_ITSELF, By, Happened, advance

S, E = Status, Happened
LIMITS = Limits(parallel=2, attempts=2)
LEASE = Lease(host="here", boot="1", pid=1, pid_started=1, until=0)
Ending = Literal["succeeded", "failed", "lost"]
Verdict = Literal["passed", "failed", "lost"]


def plan_of(needs: Iterable[Iterable[int]], **keys: object) -> Plan:
    """Return a plan of tasks `1`, `2`, ...; the n-th entry says which earlier ones it needs."""
    tasks = [
        {"id": str(n), "run": "true", "depends_on": [str(need) for need in sorted(set(each))]}
        for n, each in enumerate(needs, 1)
    ]
    return Plan.model_validate({"plan": "p", "goal": "try", "tasks": tasks, **keys})


def _decided(command: commands.Act, ground: Ground) -> object:
    try:
        return commands.effects(command, ground)
    except commands.Refused as refusal:
        return refusal.reason_code, str(refusal), refusal.hint


def begin(plan: Plan) -> Snapshot:
    """Return a plan as it is when it was accepted."""
    state = PlanState(
        plan="p",
        commit="c1",
        digest="d1",
        base="main",
        base_sha="b",
        flow="flow/p",
        flow_sha="f0",
        accepting="f0",
        accepted_at=0,
    )
    return Snapshot(plan, Graph.of(plan), state, "t", "t", {})


@dataclass
class World:
    """One plan, what is known of it, and what is true."""

    snapshot: Snapshot
    limits: Limits = LIMITS
    is_tested: bool = True
    """Whether a train has anything to run."""
    now: float = 0
    flow: list[str] = field(default_factory=list)
    """The tasks that are on flow, in the order of their merges."""
    ended: dict[str, Ending] = field(default_factory=dict)
    """How attempts have ended that the state calls running."""
    verdict: Verdict | Literal[""] = ""
    conflicting: set[str] = field(default_factory=set)
    """Tasks that will not merge the next time."""
    nonce: int = 0

    # --- what is seen, and what is done about it --------------------------------------------------

    def step(self, slots: int = 2, *, stopping: bool = False) -> list[scheduler.Action]:
        """Do one pass; return what it did."""
        self.snapshot.seen = self._seen()
        actions = decide(
            self.snapshot, self.now, self.limits, slots=slots, follow_base=False, stopping=stopping
        )
        for action in actions:
            self._do(action)
        self.check()
        return actions

    def settle(self, slots: int = 2) -> None:
        """Do passes until nothing is due."""
        for _ in range(200):
            if not self.step(slots):
                return
        raise AssertionError("passes without end")

    def _seen(self) -> Seen:
        lost = frozenset(task for task, how in self.ended.items() if how == "lost")
        done = frozenset(self.ended) - lost
        verdict = self.verdict if self.snapshot.state.train is not None else ""
        return Seen(flow_tip=self.snapshot.state.flow_sha, concluded=done, lost=lost, train=verdict)

    def _do(self, action: scheduler.Action) -> None:
        match action:
            case scheduler.Claim(tasks):
                for task in tasks:
                    self._claim(task)
            case scheduler.Conclude(task):
                is_good = self.ended.pop(task) == "succeeded"
                record = self.snapshot.record(task)
                event = E.ATTEMPT_SUCCEEDED if is_good else E.ATTEMPT_FAILED
                reason = None if is_good else Reason.AGENT_ERROR
                status = advance(record.status, event, By.PUBLISH, reason)
                self._close(task, status, reason, used=record.used + 1)
            case scheduler.Expire(task, reason):
                self.ended.pop(task)
                record = self.snapshot.record(task)
                status = advance(record.status, E.ATTEMPT_EXPIRED, By.SCHEDULER, reason)
                self._close(task, status, reason, lost=record.lost + 1)
            case scheduler.Retry(task):
                record = self.snapshot.record(task)
                assert record.reason in {*RETRIED_BY_ITSELF, Reason.CONFLICT}
                status = advance(record.status, E.TASK_RETRIED, By.SCHEDULER)
                self.snapshot.apply(record.model_copy(update={"status": status}))
            case scheduler.StartTrain(tasks):
                self._couple(tasks)
            case scheduler.EndTrain():
                self._end_train()
            case scheduler.Finish():
                assert self.snapshot.is_over
                self._set(status="finished")
            case _:
                raise AssertionError(f"nothing asks for {action}")

    def _claim(self, task: str) -> None:
        snapshot = self.snapshot
        record = snapshot.record(task)
        assert not snapshot.state.held
        assert not record.held
        assert snapshot.awaits() is None
        assert snapshot.awaits(task) is None
        assert all(self._is_there(need) for need in snapshot.graph.requires[task])
        assert record.used < attempts_allowed(snapshot.plan, task, self.limits) + record.granted
        self.nonce += 1
        number = (record.attempt.number if record.attempt else 0) + 1
        status = advance(record.status, E.ATTEMPT_STARTED, By.SCHEDULER)
        changes = {
            "status": status,
            "reason": None,
            "lease": LEASE,
            "nonce": str(self.nonce),
            "fresh": False,
            "attempts": (*record.attempts, Attempt(number=number, base=snapshot.state.flow_sha)),
        }
        snapshot.apply(record.model_copy(update=changes))

    def _is_there(self, task: str) -> bool:
        record = self.snapshot.record(task)
        declared = record.status is S.CANCELLED and bool(record.provided_by)
        return task in self.flow or declared

    def _close(self, task: str, status: Status, reason: Reason | None, **more: object) -> None:
        record = self.snapshot.record(task)
        self.nonce += 1
        last = record.attempts[-1].model_copy(update={"report": f"r{self.nonce}"})
        attempts = (*record.attempts[:-1], last)
        changes = {"status": status, "reason": reason, "lease": None, "attempts": attempts, **more}
        self.snapshot.apply(record.model_copy(update=changes))

    def _couple(self, tasks: tuple[str, ...]) -> None:
        assert tasks
        assert not self.snapshot.state.held
        assert self.snapshot.state.train is None
        cars = []
        for task in tasks:
            assert self.snapshot.awaits(task) is None
            assert not self.snapshot.record(task).held
            assert all(self._is_there(need) for need in self.snapshot.graph.requires[task])
            if task in self.conflicting:
                self.conflicting.discard(task)
                self._refuse(task, Reason.CONFLICT)
            else:
                tip = self.snapshot.record(task).attempts[-1].report
                cars.append(Car(task=task, tip=tip, merge=f"m{task}"))
        if not cars:
            return
        base = self.snapshot.state.flow_sha
        train = Train(base=base, cars=tuple(cars), tip=f"{base}+{len(cars)}", lease=LEASE)
        if self.is_tested:
            self.verdict = ""
            self._set(train=train)
        else:
            self._merge(train)

    def _refuse(self, task: str, reason: Reason) -> None:
        record = self.snapshot.record(task)
        status = advance(record.status, E.MERGE_REFUSED, By.TRAIN, reason)
        conflicts = record.conflicts + (reason is Reason.CONFLICT)
        changes = {"status": status, "reason": reason, "conflicts": conflicts}
        self.snapshot.apply(record.model_copy(update=changes))

    def _end_train(self) -> None:
        train, verdict = self.snapshot.state.train, self.verdict
        assert train is not None
        assert verdict
        self.verdict = ""
        self._set(train=None)
        fresh = all(
            self.snapshot.status(car.task) is S.REVIEW
            and self.snapshot.record(car.task).attempts[-1].report == car.tip
            for car in train.cars
        )
        if verdict == "lost" or not fresh:
            return
        if verdict == "passed":
            self._merge(train)
        elif len(train.cars) == 1:
            self._set(train_limit=1)
            self._refuse(train.cars[0].task, Reason.GATE_FAILED)
        else:
            self._set(train_limit=max(1, len(train.cars) // 2))

    def _merge(self, train: Train) -> None:
        assert train.base == self.snapshot.state.flow_sha, "what was tested is not what flow gets"
        self._set(flow_sha=train.tip, train_limit=None)
        for car in train.cars:
            record = self.snapshot.record(car.task)
            status = advance(record.status, E.TASK_MERGED, By.TRAIN)
            changes = {"status": status, "reason": None, "merge": car.merge}
            self.snapshot.apply(record.model_copy(update=changes))
            assert car.task not in self.flow, "merged twice"
            self.flow.append(car.task)

    def _set(self, **changes: object) -> None:
        self.snapshot.state = self.snapshot.state.model_copy(update=changes)

    # --- people -----------------------------------------------------------------------------------

    def tell(self, command: commands.Act) -> bool:
        """Carry out a person's command; say whether it changed anything, or raise Refused."""
        ground = Ground(self.snapshot, "alice", self.now, self.limits)
        self._check_slice(command, ground)
        decision = commands.effects(command, ground)
        self._effects(decision.effects)
        self.check()
        return bool(decision.effects)

    def _check_slice(self, command: commands.Act, ground: Ground) -> None:
        """Hold that what is recorded of a task is decided alike without the other tasks."""
        snapshot, tasks = self.snapshot, command.targets
        if not tasks or not {snapshot.status(task) for task in tasks} <= RECORDABLE.get(
            type(command), frozenset()
        ):
            return
        plan = spec.slice_of(spec.to_lines(snapshot.plan), tasks)
        if plan is None:
            return  # a word for several
        records = {task: snapshot.records[task] for task in tasks if task in snapshot.records}
        alone = Snapshot(plan, Graph.of(plan), snapshot.state, "t", "t", records)
        assert _decided(command, replace(ground, snapshot=alone)) == _decided(command, ground)

    def replan(self, new: Plan) -> None:
        """Give the plan another text."""
        if new == self.snapshot.plan:
            return
        revision = replan.revise(self.snapshot, new, "alice")
        self._effects(revision.effects)
        for task in revision.forgotten:
            self.snapshot.records.pop(task, None)
        state = self.snapshot.state
        number = state.revision + 1
        self._set(revision=number, commit=f"c{number}", digest=f"d{number}")
        records = self.snapshot.records
        self.snapshot = Snapshot(new, Graph.of(new), self.snapshot.state, "t", "t", records)
        if self.snapshot.state.status == "finished" and not self.snapshot.is_over:
            self._set(status="live")
        self.ended = {t: how for t, how in self.ended.items() if self._is_running(t)}
        self.check()

    def _effects(self, effects: Iterable[commands.Effect]) -> None:
        for effect in effects:
            match effect:
                case End(task, _):
                    self.ended.pop(task, None)
                    record = self.snapshot.record(task)
                    reason = Reason.STOPPED
                    status = advance(record.status, E.ATTEMPT_STOPPED, By.PERSON, reason)
                    self._close(task, status, reason)
                case Move(task, event, reason, message, changes):
                    record = self.snapshot.record(task)
                    status = advance(record.status, event, By.PERSON, reason)
                    about = {"status": status, "reason": reason, "message": message}
                    self.snapshot.apply(record.model_copy(update={**about, **changes}))
                case Mark(task, _, _, changes):
                    record = self.snapshot.record(task)
                    self.snapshot.apply(record.model_copy(update=dict(changes)))
                case MarkPlan(_, _, changes):
                    self._set(**changes)
                case DropTrain():
                    self.verdict = ""
                    self._set(train=None)

    # --- accidents --------------------------------------------------------------------------------

    @property
    def running(self) -> list[str]:
        """Return the tasks whose attempt goes on."""
        tasks = self.snapshot.by_status[S.IN_PROGRESS] - set(self.ended)
        return sorted(tasks)

    def _is_running(self, task: str) -> bool:
        return self.snapshot.status(task) is S.IN_PROGRESS

    # --- what must hold ---------------------------------------------------------------------------

    def check(self) -> None:
        """Hold what must be true of every plan at every moment."""
        snapshot = self.snapshot
        known = {task.id for task in snapshot.plan.tasks}
        completed = {
            task for task, record in snapshot.records.items() if record.status is S.COMPLETED
        }
        assert completed == set(self.flow), "completed is exactly what is on flow"
        running = [t for t, record in snapshot.records.items() if record.status is S.IN_PROGRESS]
        assert len(running) <= (self.limits.parallel or len(running))
        for task, record in snapshot.records.items():
            assert (record.lease is not None) == (record.status is S.IN_PROGRESS)
            if task in known:
                allowed = attempts_allowed(snapshot.plan, task, self.limits)
                assert record.used <= allowed + record.granted
        anew = Snapshot(
            snapshot.plan, snapshot.graph, snapshot.state, "t", "t", dict(snapshot.records)
        )
        assert anew.by_status == snapshot.by_status
        assert anew.frontier.ready == snapshot.frontier.ready
        assert anew.hopeful == snapshot.hopeful
        if snapshot.state.status == "finished" and not snapshot.state.held:
            assert snapshot.is_over or completed <= set(self.flow)

    def copy(self) -> World:
        """Return another world that is the same until something happens to one of them."""
        s = self.snapshot
        snapshot = Snapshot(s.plan, s.graph, s.state, s.tip, s.tree, dict(s.records))
        return replace(
            self,
            snapshot=snapshot,
            flow=list(self.flow),
            ended=dict(self.ended),
            conflicting=set(self.conflicting),
        )
