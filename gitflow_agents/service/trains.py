"""The train: the only way onto flow, and what else happens to flow.

Tasks in review are merged on each other without a checkout, the result is tested in a fresh
worktree, and flow moves over all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gitflow_agents import merge, render
from gitflow_agents.execute import Check, checks_of, gate_of
from gitflow_agents.models import ZERO, Car, PlanState, Ran, Reason, Status, TaskRecord, Train
from gitflow_agents.runner import end_all, new_lease
from gitflow_agents.service.desk import Desk, TestJob
from gitflow_agents.store import Draft, Entry
from gitflow_agents.store.repository import FILE, TOOL
from gitflow_agents.store.state import BRIEFING, HEADS, events_of, new_nonce, one_line, try_ref
from gitflow_agents.transitions import By, Happened, advance

E, S = Happened, Status
SUMMARY_BYTES = 64 * 1024
MOST_PATHS = 50
"""Paths of one conflict that are remembered."""
LEASE_SECONDS = 4 * 3600.0
"""Seconds for which another host leaves a train alone."""


@dataclass
class Trains:
    """What can happen to flow; each method stages its part of a decision."""

    desk: Desk

    def start(self, draft: Draft, tasks: tuple[str, ...], follow_base: bool) -> TestJob | None:
        """Couple the cars; merge at once when there is nothing to run, else ask for a test."""
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        plan, state = snapshot.plan, snapshot.state
        start, base_tip = state.flow_sha, ""
        if follow_base:
            start, base_tip = self._follow_base(draft)
        waiting = [self._waiting(task) for task in tasks]
        coupled = merge.couple(repository, state.flow_sha, waiting, start)
        for task, paths in coupled.conflicts.items():
            self._conflict(draft, task, paths)
        if coupled.tip == state.flow_sha:
            return None
        checks = self._checks(tuple(car.task for car in coupled.cars))
        train = Train(
            base=state.flow_sha,
            cars=coupled.cars,
            tip=coupled.tip,
            lease=new_lease(self.desk.clock() + LEASE_SECONDS),
            nonce=new_nonce(),
            base_branch_tip=base_tip,
        )
        tree = repository.commit(coupled.tip).tree
        evidence = self.desk.executor.passed.get((tree, checks))
        if not checks or evidence is not None:
            self._take_train(draft, train, evidence or ())
            return None
        draft.set(train=train)
        draft.move(try_ref(plan.plan), repository.resolve(try_ref(plan.plan)) or ZERO, coupled.tip)
        names = ", ".join(car.task for car in coupled.cars) or f"the base {state.base}"
        draft.tell("train_started", commit=coupled.tip, note=f"testing {names} on flow")
        self.desk.say("train_started", f"testing {names} on {state.flow}: {len(checks)} commands")
        self.desk.testing = coupled.tip
        return TestJob(train, tree, checks, train.nonce)

    def _checks(self, tasks: tuple[str, ...]) -> tuple[Check, ...]:
        plan = self.desk.snapshot.plan
        checks: dict[Check, None] = {}
        for task in tasks:
            checks.update(dict.fromkeys(checks_of(plan, plan.by_id[task])))
        checks.update(dict.fromkeys(gate_of(plan, self.desk.config)))
        return tuple(checks)

    def _follow_base(self, draft: Draft) -> tuple[str, str]:
        """Return flow with the moved base merged in, and the base's tip; flow when it conflicts."""
        state, repository = self.desk.snapshot.state, self.desk.store.repository
        tip = self.desk.snapshot.seen.base_tip
        if repository.is_ancestor(tip, state.flow_sha):
            draft.set(base_sha=tip)
            draft.tell("flow_changed", commit=tip, note=f"{state.base} is in {state.flow} already")
            return state.flow_sha, ""
        merged = repository.merge(state.flow_sha, tip)
        if merged.conflicts:
            draft.set(base_sha=tip)
            note = (
                f"{state.base} moved and does not merge into {state.flow}: "
                f"{', '.join(merged.conflicts[:5])}; merge it by hand when you like"
            )
            draft.tell("flow_changed", commit=tip, note=note)
            self.desk.say("flow_changed", note)
            return state.flow_sha, ""
        commit = repository.write_commit(
            merged.tree,
            [state.flow_sha, tip],
            f"merge {state.base} into {state.flow}\n\n"
            f"Gitflow-Event: flow_changed\nGitflow-Plan: {state.plan}",
        )
        return commit, tip

    def _waiting(self, task: str) -> merge.Waiting:
        record, plan = self.desk.snapshot.record(task), self.desk.snapshot.plan
        attempt = record.attempts[-1]
        report = self.desk.report(self.desk.store.repository.commit(attempt.report).tree)
        name = plan.by_id[task].name
        about = [f"merge {task}: {one_line(name)[:160]}", ""]
        if report.summary.strip():
            about += [merge.quoted(render.clean(report.summary).strip()[:4000]), ""]
        if report.already_provided:
            about += [
                "Nothing to merge: what it provides was there already, as its checks show.",
                "",
            ]
        for command in report.commands:
            about.append(f"- {command.kind} `{one_line(command.command)[:200]}`: {command.code}")
        if report.commands:
            about.append("")
        tracker = plan.by_id[task].tracker or plan.tracker
        if tracker:
            about += [f"Tracker: {one_line(tracker)}", ""]
        about += [
            f"Report: git show {attempt.report[:12]}:{BRIEFING}/report.md",
            "",
            f"Gitflow-Event: {E.TASK_MERGED}",
            f"Gitflow-Plan: {plan.plan}",
            f"Gitflow-Task: {task}",
            f"Gitflow-Attempt: {attempt.number}",
            f"Gitflow-Agent: {attempt.agent}",
        ]
        if attempt.cost_usd is not None:
            about.append(f"Gitflow-Cost-Usd: {attempt.cost_usd}")
        return merge.Waiting(task, attempt.report, attempt.base, "\n".join(about))

    def _conflict(self, draft: Draft, task: str, paths: tuple[str, ...]) -> None:
        record = self.desk.snapshot.record(task)
        some = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        message = f"it does not merge with {self.desk.snapshot.state.flow}: {some}"
        where = dict.fromkeys((*record.conflict_paths, *paths[:MOST_PATHS]))
        record = record.model_copy(
            update={"conflicts": record.conflicts + 1, "conflict_paths": tuple(where)}
        )
        self._refuse_merge(draft, record, Reason.CONFLICT, message, ())

    def disown(self, draft: Draft, task: str) -> None:
        """Fail a task in review whose branch is no longer what publish put there."""
        record = self.desk.snapshot.record(task)
        tip = self.desk.store.repository.tip(record.branch)
        what = f"is at {tip[:12]} now" if tip else "was deleted"
        report = record.attempts[-1].report
        plan, number = self.desk.snapshot.plan.plan, record.attempts[-1].number
        ref = self.desk.free_attempt_ref(plan, task, number, report)
        draft.move(ref, self.desk.store.repository.resolve(ref) or ZERO, report)
        message = (
            f"{record.branch} {what}, not what was to be merged; "
            f"the result is kept as {ref.removeprefix(HEADS)}"
        )
        kept = record.attempts[-1].model_copy(update={"kept": ref.removeprefix(HEADS)})
        record = record.model_copy(update={"attempts": (*record.attempts[:-1], kept)})
        self._refuse_merge(draft, record, Reason.FOREIGN_COMMITS, message, ())

    def _refuse_merge(
        self,
        draft: Draft,
        record: TaskRecord,
        reason: Reason,
        message: str,
        evidence: tuple[Ran, ...],
    ) -> None:
        status = advance(record.status, E.MERGE_REFUSED, By.TRAIN, reason)
        attempt = record.attempts[-1].model_copy(update={"reason": reason, "message": message})
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": reason,
                    "message": one_line(message),
                    "attempts": (*record.attempts[:-1], attempt),
                    "evidence": evidence,
                }
            )
        )
        draft.tell(
            E.MERGE_REFUSED,
            task=record.id,
            attempt=attempt.number,
            status=status,
            reason=reason,
            note=f"{record.id} was not merged: {reason}",
        )
        self.desk.say(
            E.MERGE_REFUSED,
            f"{record.id} was not merged: {reason}: {message}",
            "\n".join(
                [
                    *(evidence[-1].tail.splitlines() if evidence else ()),
                    f"next: gitflow-agents show {self.desk.snapshot.plan.plan}/{record.id}",
                ]
            ),
            task=record.id,
            status=status,
            reason=reason,
        )

    def end(self, draft: Draft) -> None:
        """Take a verdict: merge, halve, fail the one task, or forget a train that was lost."""
        state = self.desk.snapshot.state
        train = state.train
        assert train is not None
        verdict = self.desk.tests.get(train.tip)
        self.desk.afterwards.append(lambda: self.desk.forget_test(train.tip))
        if verdict is None and train.lease.host == new_lease(0).host:
            end_all(f"GITFLOW_CLAIM={train.nonce}")
        self._drop_try(draft)
        draft.set(train=None)
        if verdict is None or verdict.reason in (Reason.INFRASTRUCTURE, Reason.STOPPED):
            draft.tell(
                "train_ended", commit=train.tip, note="the train was lost; it is built again"
            )
            return
        if not all(map(self._is_fresh, train.cars)):
            draft.tell("train_ended", commit=train.tip, note="a car is gone; it is built again")
            return
        if verdict.reason is None:
            if train.base == state.flow_sha:
                self._take_train(draft, train, verdict.commands)
            else:
                draft.tell("train_ended", commit=train.tip, note="flow moved; it is built again")
            return
        names = [car.task for car in train.cars]
        note = f"{verdict.message} with {', '.join(names) or 'the moved base'}"
        draft.tell("train_ended", commit=train.tip, reason=verdict.reason, note=note)
        if not names:
            # The base itself does not pass: it stays out until it moves again.
            draft.set(base_sha=train.base_branch_tip)
            self.desk.say("train_ended", f"{state.base} was not merged into {state.flow}: {note}")
        elif len(names) == 1 and not train.base_branch_tip:
            draft.set(train_limit=1)
            record = self.desk.snapshot.record(names[0])
            reason = verdict.reason
            self._refuse_merge(draft, record, reason, verdict.message, trimmed(verdict.commands))
        elif len(names) == 1:
            draft.set(base_sha=train.base_branch_tip, train_limit=1)
            self.desk.say("train_ended", f"{note}; trying without the moved base")
        else:
            limit = max(1, len(names) // 2)
            draft.set(train_limit=limit)
            self.desk.say("train_ended", f"{note}; trying {limit} at a time")

    def _is_fresh(self, car: Car) -> bool:
        record = self.desk.snapshot.record(car.task)
        return record.status is S.REVIEW and record.attempts[-1].report == car.tip

    def _drop_try(self, draft: Draft) -> None:
        ref = try_ref(self.desk.snapshot.plan.plan)
        tip = self.desk.store.repository.resolve(ref)
        if tip:
            draft.move(ref, tip, ZERO)

    def _take_train(self, draft: Draft, train: Train, evidence: tuple[Ran, ...]) -> None:
        """Move flow over all cars at once and complete their tasks."""
        state: PlanState = self.desk.snapshot.state
        draft.move(f"{HEADS}{state.flow}", state.flow_sha, train.tip)
        changes: dict[str, Any] = {"flow_sha": train.tip, "train_limit": None}
        if train.base_branch_tip:
            changes["base_sha"] = train.base_branch_tip
        if state.train is not None:
            changes["train"] = None
        draft.set(**changes)
        if train.base_branch_tip:
            note = f"{state.base} was merged into {state.flow}"
            draft.tell("flow_changed", commit=train.base_branch_tip, note=note)
            self.desk.say("flow_changed", note)
        for car in train.cars:
            self._merged(draft, car.task, car.merge, trimmed(evidence))

    def _merged(self, draft: Draft, task: str, commit: str, evidence: tuple[Ran, ...]) -> None:
        record = self.desk.snapshot.record(task)
        attempt = record.attempts[-1]
        report = self.desk.report(self.desk.store.repository.commit(attempt.report).tree)
        status = advance(record.status, E.TASK_MERGED, By.TRAIN)
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": None,
                    "message": "",
                    "merge": commit,
                    "summary": report.summary.encode()[:SUMMARY_BYTES].decode(errors="ignore"),
                    "learned": report.learned,
                    "risks": report.risks,
                    "follow_ups": report.follow_ups,
                    "evidence": evidence or trimmed(report.commands),
                }
            )
        )
        for other in tuple(self.desk.snapshot.losing):
            draft.put(self.desk.snapshot.record(other).model_copy(update={"lost": 0}))
        if report.learned:
            learned = dict.fromkeys((*self.desk.snapshot.state.learned, *report.learned))
            draft.set(learned=tuple(learned))
        ref = f"{HEADS}{record.branch}"
        tip = self.desk.store.repository.resolve(ref)
        is_free = ref not in self.desk.store.refs.heads()
        if tip == attempt.report and is_free and not self.desk.config.keep_branches:
            draft.move(ref, tip, ZERO)
        draft.tell(
            E.TASK_MERGED,
            task=task,
            attempt=attempt.number,
            status=status,
            agent=attempt.agent,
            cost_usd=attempt.cost_usd,
            commit=commit,
            note=f"{task} merged",
        )
        done = len(self.desk.snapshot.by_status[S.COMPLETED])
        self.desk.say(
            E.TASK_MERGED,
            f"{task} merged as {commit[:12]} ({done} of {len(self.desk.snapshot.plan.tasks)})",
            task=task,
            attempt=attempt.number,
            status=status,
            merge_sha=commit,
            progress=int(100 * self.desk.snapshot.progress),
        )

    def adopt_flow(self, draft: Draft) -> None:
        """Take what is on flow: merges of ours that the state does not tell, people's commits."""
        state, tip = self.desk.snapshot.state, self.desk.snapshot.seen.flow_tip
        repository = self.desk.store.repository
        people = 0
        for commit in repository.first_parents(tip, state.flow_sha):
            events = [e for e in events_of(commit) if e.plan == self.desk.snapshot.plan.plan]
            if not commit.committer.startswith(f"{TOOL} "):
                events = []  # anybody can write trailers
            task = events[0].task if events else ""
            if events and events[0].event == E.TASK_MERGED and self._waits(task, commit.parents):
                self._merged(draft, task, commit.sha, ())
            elif events and events[0].event == "plan_finished" and self.desk.snapshot.is_over:
                draft.set(status="finished")
                draft.tell("plan_finished", commit=commit.sha, note="finished before a run died")
            else:
                people += 1
        draft.set(flow_sha=tip)
        note = f"{state.flow} moved to {tip[:12]}: {people} commits of people"
        draft.tell("flow_changed", commit=tip, note=note)
        self.desk.say("flow_changed", note, flow_sha=tip)

    def _waits(self, task: str, parents: tuple[str, ...]) -> bool:
        attempt = self.desk.snapshot.record(task).attempt
        return (
            self.desk.snapshot.status(task) is S.REVIEW
            and attempt is not None
            and attempt.report in parents
        )

    def finish(self, draft: Draft) -> None:
        """Put the plan, its report and what it provides on flow."""
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        state, name = snapshot.state, snapshot.plan.plan
        spec_blob = repository.find(snapshot.tree, "spec.yaml")
        assert spec_blob is not None
        report = render.final_report(snapshot, self.desk.clock()).encode()
        edits: dict[str, Entry | None] = {
            f"plans/{name}.yaml": spec_blob,
            f"plans/{name}.report.md": Entry(FILE, repository.write_blob(report)),
            f"plans/{name}.provides.yaml": Entry(
                FILE, repository.write_blob(render.provides_yaml(snapshot))
            ),
        }
        tree = repository.graft(repository.commit(state.flow_sha).tree, edits)
        commit = repository.write_commit(
            tree,
            [state.flow_sha],
            f"finish plan {name} v{state.revision}\n\n"
            f"Gitflow-Event: plan_finished\nGitflow-Plan: {name}",
            author=TOOL,
        )
        draft.move(f"{HEADS}{state.flow}", state.flow_sha, commit)
        draft.set(flow_sha=commit, status="finished")
        done = len(snapshot.by_status[S.COMPLETED])
        note = f"finished: {done} of {len(snapshot.plan.tasks)} tasks are merged to {state.flow}"
        draft.tell("plan_finished", commit=commit, note=note)
        self.desk.say("plan_finished", f"the report is on {state.flow}", flow_sha=commit)


def trimmed(commands: tuple[Ran, ...]) -> tuple[Ran, ...]:
    """Return evidence with only the last lines of each output."""
    return tuple(
        command.model_copy(update={"tail": "\n".join(command.tail.splitlines()[-3:])})
        for command in commands
    )
