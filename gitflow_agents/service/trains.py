"""The train: the only way onto flow, and what else happens to flow.

Tasks in review are merged on each other without a checkout, the result is tested in a fresh
worktree, and flow moves over all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gitflow_agents import merge, render, scheduler, testfirst
from gitflow_agents.commands import Refused
from gitflow_agents.errors import GitFailed
from gitflow_agents.execute import Check, Verdict, checks_of, gate_of, reds_of
from gitflow_agents.models import (
    FORGE,
    PERSON,
    ZERO,
    Attempt,
    Car,
    PlanState,
    Ran,
    Reason,
    Status,
    TaskRecord,
    Train,
    person,
)
from gitflow_agents.runner import Stop, end_all, new_lease
from gitflow_agents.service.desk import Desk, TestJob
from gitflow_agents.service.reverts import Reverts, why_of
from gitflow_agents.store import Commit, Draft, Entry, Repository
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
    reverts: Reverts

    def start(self, draft: Draft, tasks: tuple[str, ...], follow_base: bool) -> TestJob | None:
        """Couple the cars; merge at once when there is nothing to run, else ask for a test."""
        state, repository = self.desk.snapshot.state, self.desk.store.repository
        start, base_tip = state.flow_sha, ""
        if follow_base:
            start, base_tip = self._follow_base(draft)
        unproved = {task: why for task in tasks if (why := self._red(task)[1])}
        for task, why in unproved.items():
            self._refuse_merge(draft, self.desk.snapshot.record(task), Reason.UNVERIFIED, why, ())
        waiting = [self._waiting(task) for task in tasks if task not in unproved]
        coupled = merge.couple(repository, state.flow_sha, waiting, start)
        for task, paths in coupled.conflicts.items():
            self._conflict(draft, task, paths)
        if coupled.tip == state.flow_sha:
            return None
        return self._depart(draft, coupled.tip, cars=coupled.cars, base_branch_tip=base_tip)

    def follow(self, draft: Draft, tip: str) -> TestJob | None:
        """Merge the base's `tip` into flow as a train of its own; Refused when it conflicts."""
        return self._depart(draft, self.base_car(tip), base_branch_tip=tip, by=draft.actor)

    def base_car(self, tip: str) -> str:
        """Return flow with a tip of the base merged in; Refused, with the paths, on a conflict."""
        state = self.desk.snapshot.state
        commit, conflicts = self._with_base(tip)
        if conflicts:
            raise Refused(
                "conflict",
                f"{state.base} does not merge into {state.flow}, and nothing was changed; in "
                f"conflict: {', '.join(conflicts)}",
                hint=f"merge it by hand, and it is adopted: git switch {state.flow} && "
                f"git merge {state.base}; when that is committed: git switch -",
            )
        return commit

    def take_back(self, draft: Draft, tasks: tuple[str, ...], why: str) -> TestJob | None:
        """Revert merges on flow, all or none; at once when there is nothing to run.

        Raises Refused when one does not come off cleanly.
        """
        cars = self.reverts.couple(tasks, why)
        return self._depart(draft, cars[-1].merge, reverts=cars, by=draft.actor)

    def _depart(self, draft: Draft, tip: str, **what: Any) -> TestJob | None:
        """Send a train off that ends in `tip`; return its test unless there is nothing to run."""
        repository, state = self.desk.store.repository, self.desk.snapshot.state
        lease = self.desk.lease(self.desk.clock() + LEASE_SECONDS)
        about = {"base": state.flow_sha, "cars": (), "tip": tip, "lease": lease}
        train = Train.model_validate({**about, "nonce": new_nonce(), **what})
        checks = self._checks(tuple(car.task for car in train.cars))
        tree = repository.commit(tip).tree
        evidence = self.desk.executor.passed.get((tree, checks))
        if not checks or evidence is not None:
            self._take_train(draft, train, evidence or ())
            return None
        draft.set(train=train)
        testing = try_ref(state.plan)
        draft.move(testing, self.desk.store.refs.resolve(testing) or ZERO, tip)
        names = ", ".join(car.task for car in train.cars) or f"the base {state.base}"
        where = "on flow"
        if train.reverts:
            names, where = ", ".join(car.task for car in train.reverts), "taken back"
            said = f"{state.flow} without {names}"
        else:
            said = f"{names} on {state.flow}"
        draft.tell("train_started", commit=tip, note=f"testing {names} {where}")
        self.desk.say("train_started", f"testing {said}: {render.count(len(checks), 'command')}")
        return TestJob(train, tree, checks, train.nonce, Stop(self.desk.executor.stop))

    def job(self) -> TestJob:
        """Return the test of the train that the state names, for whoever does it elsewhere."""
        train = self.desk.snapshot.state.train
        assert train is not None
        checks = self._checks(tuple(car.task for car in train.cars))
        tree = self.desk.store.repository.commit(train.tip).tree
        return TestJob(train, tree, checks, train.nonce, Stop(self.desk.executor.stop))

    def test(self, job: TestJob) -> Verdict:
        """Run a train's test and remember the verdict, whatever came in between."""
        desk = self.desk
        try:
            verdict = desk.executor.test(
                desk.snapshot.plan, job.train.tip, job.tree, job.checks, job.nonce, job.stop
            )
        except (GitFailed, OSError) as e:
            desk.notice(e)
            verdict = Verdict(Reason.INFRASTRUCTURE, str(e), ())
        if job.stop.is_set() and verdict.reason is not None:
            verdict = Verdict(Reason.STOPPED, "interrupted", ())
        desk.tests[job.train.tip] = verdict
        return verdict

    def _checks(self, tasks: tuple[str, ...]) -> tuple[Check, ...]:
        plan = self.desk.snapshot.plan
        checks: dict[Check, None] = {}
        for task in tasks:
            if at := self._red(task)[0]:
                checks.update(dict.fromkeys(reds_of(plan, plan.by_id[task], at)))
            checks.update(dict.fromkeys(checks_of(plan, plan.by_id[task])))
        checks.update(dict.fromkeys(gate_of(plan, self.desk.config)))
        return tuple(checks)

    def _red(self, task: str) -> tuple[str, str]:
        """Return where the tests of a task have to fail, or why it cannot be seen that they did.

        Two empty strings where nobody asks for that; what a person did is theirs to judge.
        """
        plan, record = self.desk.snapshot.plan, self.desk.snapshot.record(task)
        attempt, repository = record.attempts[-1], self.desk.store.repository
        if not testfirst.is_wanted(plan, self.desk.handbook.terms(plan, plan.by_id[task])):
            return "", ""
        tree = repository.commit(attempt.report).tree
        if self.desk.report(tree).already_provided or attempt.agent == PERSON:
            return "", ""
        work = [(a.base, a.tip) for a in record.attempts if a.base and a.tip]
        return testfirst.red(repository, work, tree)

    def _follow_base(self, draft: Draft) -> tuple[str, str]:
        """Return flow with the moved base merged in, and the base's tip; flow when it conflicts."""
        state, repository = self.desk.snapshot.state, self.desk.store.repository
        tip = self.desk.snapshot.seen.base_tip
        if repository.is_ancestor(tip, state.flow_sha):
            draft.set(base_sha=tip)
            draft.tell("flow_changed", commit=tip, note=f"{state.base} is in {state.flow} already")
            return state.flow_sha, ""
        commit, conflicts = self._with_base(tip)
        if conflicts:
            draft.set(base_sha=tip)
            note = (
                f"{state.base} moved and does not merge into {state.flow}: "
                f"{', '.join(conflicts[:5])}; merge it by hand when you like"
            )
            draft.tell("flow_changed", commit=tip, note=note)
            self.desk.say("flow_changed", note)
            return state.flow_sha, ""
        return commit, tip

    def _with_base(self, tip: str) -> tuple[str, tuple[str, ...]]:
        """Return flow with a tip of the base merged in, or the paths in conflict."""
        state, repository = self.desk.snapshot.state, self.desk.store.repository
        merged = repository.merge(state.flow_sha, tip)
        if merged.conflicts:
            return "", merged.conflicts
        commit = repository.write_commit(
            merged.tree,
            [state.flow_sha, tip],
            f"merge {state.base} into {state.flow}\n\n"
            f"Gitflow-Event: flow_changed\nGitflow-Plan: {state.plan}",
        )
        return commit, ()

    def _waiting(self, task: str) -> merge.Waiting:
        record, plan = self.desk.snapshot.record(task), self.desk.snapshot.plan
        attempt = record.attempts[-1]
        report = self.desk.report(self.desk.store.repository.commit(attempt.report).tree)
        name = plan.by_id[task].name
        number = self.desk.snapshot.issue(task)
        about = [f"merge {task}: {one_line(name)[:160]}{f' ({number})' if number else ''}", ""]
        if report.summary.strip():
            about += [merge.quoted(render.clean(report.summary).strip()[:4000]), ""]
        if report.already_provided:
            about += [
                "Nothing to merge: what it provides was there already, as its checks show.",
                "",
            ]
        is_research = self.desk.handbook.terms(plan, plan.by_id[task]).kind == "research"
        if is_research:
            about += ["Nothing to merge: it is research, and this is what it found.", ""]
        for command in report.commands:
            about.append(f"- {command.kind} `{one_line(command.command)[:200]}`: {command.code}")
        if report.commands:
            about.append("")
        tracker = plan.by_id[task].tracker or plan.tracker
        if tracker:
            about += [f"Tracker: {one_line(tracker)}", ""]
        if plan.epic:
            about += [f"Part of {plan.epic}", ""]
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
        message = "\n".join(about)
        return merge.Waiting(task, attempt.report, attempt.base, message, is_research)

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
        tip = self.desk.store.refs.tip(record.result_branch)
        what = f"is at {tip[:12]} now" if tip else "was deleted"
        report = record.attempts[-1].report
        plan, number = self.desk.snapshot.plan.plan, record.attempts[-1].number
        ref = self.desk.free_attempt_ref(plan, task, number, report)
        draft.move(ref, self.desk.store.refs.resolve(ref) or ZERO, report)
        message = (
            f"{record.result_branch} {what}, not what was to be merged; "
            f"the result is kept as {ref.removeprefix(HEADS)}"
        )
        kept = record.attempts[-1].model_copy(update={"kept": ref.removeprefix(HEADS)})
        record = record.model_copy(update={"attempts": (*record.attempts[:-1], kept)})
        self._refuse_merge(draft, record, Reason.FOREIGN_COMMITS, message, ())

    def refuse_push(self, draft: Draft, tasks: tuple[str, ...], message: str) -> None:
        """Fail a task whose merge the remote does not take; of several, try each by itself.

        A train without tasks is given up, and whoever asked for it is told.
        """
        train = self.desk.snapshot.state.train
        if train is not None:
            self.desk.afterwards.append(lambda: self.desk.forget_test(train.tip))
            self._drop_try(draft)
            draft.set(train=None)
        if train is not None and not train.cars:
            state, names = draft.snapshot.state, ", ".join(car.task for car in train.reverts)
            note = f"{names} could not be taken back: {message}"
            if not names:
                draft.set(base_sha=train.base_branch_tip)  # until it moves again
                note = f"{state.base} could not be merged into {state.flow}: {message}"
            draft.tell("train_ended", commit=train.tip, note=note)
            self._set_back(draft, train, note)
            self.desk.say("train_ended", note)
            return
        if len(tasks) > 1:
            draft.set(train_limit=1)
            draft.tell("train_ended", note=f"{message}; trying one at a time")
            self.desk.say("train_ended", f"{message}; trying one at a time")
            return
        record = self.desk.snapshot.record(tasks[0])
        self._refuse_merge(draft, record, Reason.PUSH_REFUSED, message, ())

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
        if train.reverts:
            self._end_reverts(draft, train, verdict)
            return
        if verdict is None or verdict.reason in (Reason.INFRASTRUCTURE, Reason.STOPPED):
            draft.tell(
                "train_ended", commit=train.tip, note="the train was lost; it is built again"
            )
            if verdict is not None and verdict.reason is Reason.INFRASTRUCTURE:
                why = verdict.message
                self.desk.say("train_ended", f"the train was lost: {why}; it is built again")
                self._put_off(why)
            if verdict is None and train.lease.host == FORGE:
                # No process lives long enough to see them all.
                draft.set(lost_trains=state.lost_trains + 1)
            self._will_not_follow(draft, train, "its test was cut off")
            return
        self.desk.lost_trains = 0
        if state.lost_trains:
            draft.set(lost_trains=0)
        if not all(map(self._is_fresh, train.cars)):
            draft.tell("train_ended", commit=train.tip, note="a car is gone; it is built again")
            return
        if verdict.reason is None:
            if train.base == state.flow_sha:
                self._take_train(draft, train, verdict.commands)
            else:
                draft.tell("train_ended", commit=train.tip, note="flow moved; it is built again")
                self._will_not_follow(draft, train, f"{state.flow} moved meanwhile")
            return
        names = [car.task for car in train.cars]
        note = f"{verdict.message} with {', '.join(names) or 'the moved base'}"
        draft.tell("train_ended", commit=train.tip, reason=verdict.reason, note=note)
        if not names:
            # The base itself does not pass: it stays out until it moves again.
            draft.set(base_sha=train.base_branch_tip)
            why = f"{state.base} was not merged into {state.flow}: {note}"
            self._set_back(draft, train, why)
            self.desk.say("train_ended", why)
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

    def _end_reverts(self, draft: Draft, train: Train, verdict: Verdict | None) -> None:
        """Take the verdict on a train of reverts: all of them go to flow, or none."""
        snapshot = self.desk.snapshot
        names = ", ".join(car.task for car in train.reverts)
        reason = verdict.reason if verdict else Reason.STOPPED
        if verdict is None or reason in (Reason.INFRASTRUCTURE, Reason.STOPPED):
            reason, note = None, f"the revert of {names} was cut off; nothing was reverted"
        elif reason is not None:
            note = f"{verdict.message} without {names}; nothing was reverted"
        elif train.base != snapshot.state.flow_sha or any(
            snapshot.record(car.task).merge != car.tip for car in train.reverts
        ):
            note = "flow moved; nothing was reverted yet"
        else:
            self._take_train(draft, train, verdict.commands)
            return
        draft.tell("train_ended", commit=train.tip, reason=reason, note=note)
        self._set_back(draft, train, note)
        self.desk.say("train_ended", note)

    def _set_back(self, draft: Draft, train: Train, why: str) -> None:
        """Note for whoever asked for a train, and did not wait, that it came to nothing."""
        if train.by and train.lease.host == FORGE:
            draft.set(setback=f"{why} ({person(train.by)} had asked for it)")

    def _will_not_follow(self, draft: Draft, train: Train, why: str) -> None:
        """Note that a train with nothing but the base is not built again by itself."""
        if not train.cars and self.desk.config.follow_base != "clean":
            state = draft.snapshot.state
            self._set_back(draft, train, f"{state.base} was not merged into {state.flow}: {why}")

    def _put_off(self, why: str) -> None:
        """Let the next train wait; after too many that were lost somebody has to look."""
        desk = self.desk
        desk.lost_trains += 1
        desk.next_train = desk.clock() + scheduler.back_off(desk.lost_trains)
        if desk.lost_trains >= scheduler.LOST_IN_A_ROW:
            lost = render.count(desk.lost_trains, "train")
            desk.executor.alarms.append(f"{lost} in a row could not be tested: {why}")

    def drop(self, draft: Draft) -> None:
        """Forget the train that is being tested; its tasks stay in review."""
        train = self.desk.snapshot.state.train
        assert train is not None
        self._drop_try(draft)
        draft.set(train=None)
        names = ", ".join(car.task for car in train.reverts)
        what = f"the revert of {names}" if names else f"bringing in {draft.snapshot.state.base}"
        self._set_back(draft, train, f"{what} was ended by {person(draft.actor)}")
        draft.tell("train_ended", commit=train.tip, note="the train was taken apart by a person")

    def _is_fresh(self, car: Car) -> bool:
        record = self.desk.snapshot.record(car.task)
        return record.status is S.REVIEW and record.attempts[-1].report == car.tip

    def _drop_try(self, draft: Draft) -> None:
        ref = try_ref(self.desk.snapshot.plan.plan)
        tip = self.desk.store.refs.resolve(ref)
        if tip:
            draft.move(ref, tip, ZERO)

    def _take_train(self, draft: Draft, train: Train, evidence: tuple[Ran, ...]) -> None:
        """Move flow over all cars at once and complete their tasks."""
        state: PlanState = self.desk.snapshot.state
        draft.move(f"{HEADS}{state.flow}", state.flow_sha, train.tip)
        changes: dict[str, Any] = {"flow_sha": train.tip}
        if not train.reverts:
            changes["train_limit"] = None
        if train.base_branch_tip:
            changes["base_sha"] = train.base_branch_tip
        if state.train is not None:
            changes["train"] = None
        draft.set(**changes)
        if train.base_branch_tip:
            note = f"{state.base} was merged into {state.flow}"
            draft.tell("flow_changed", commit=train.base_branch_tip, note=note)
            self.desk.say("flow_changed", note)
            came = self.desk.store.repository.commits(f"{train.base}..{train.base_branch_tip}")
            self._taken_back_by_people(draft, came)
        for car in train.cars:
            # What others' tests did before their code is no evidence for this one.
            at = self._red(car.task)[0] if any(ran.at for ran in evidence) else ""
            own = tuple(ran for ran in evidence if ran.at in (None, at))
            self._merged(draft, car.task, car.merge, trimmed(own))
        if train.reverts:
            commits = [self.desk.store.repository.commit(car.merge) for car in train.reverts]
            whys = map(why_of, commits)
            taken = [(c.task, c.merge, why) for c, why in zip(train.reverts, whys, strict=True)]
            self.reverts.take(draft, taken)

    def _taken_back_by_people(self, draft: Draft, commits: list[Commit]) -> None:
        found = self.reverts.by_people(commits)
        if found:
            self.reverts.take(draft, [(task, *about) for task, about in found.items()])

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
                    "outputs": report.outputs,
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
        tip = self.desk.store.refs.resolve(ref)
        is_free = ref not in self.desk.store.refs.heads()
        is_kept = self.desk.config.keep_branches
        if tip and is_free and not is_kept and is_part(self.desk.store.repository, tip, attempt):
            draft.move(ref, tip, ZERO)
        beside = f"{HEADS}{attempt.kept}"
        if attempt.kept and self.desk.store.refs.resolve(beside) == attempt.report:
            draft.move(beside, attempt.report, ZERO)  # the merge keeps it from now on
            merged = attempt.model_copy(update={"kept": ""})
            record = self.desk.snapshot.record(task)
            draft.put(record.model_copy(update={"attempts": (*record.attempts[:-1], merged)}))
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
            elif events and self.reverts.is_ours(events[0]):
                self.reverts.take(draft, [(task, commit.sha, why_of(commit))])
            elif events and events[0].event == "plan_finished" and self.desk.snapshot.is_over:
                draft.set(status="finished")
                draft.tell("plan_finished", commit=commit.sha, note="finished before a run died")
            else:
                people += 1
                self._taken_back_by_people(draft, self.reverts.arrived(commit))
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


def is_part(repository: Repository, tip: str, attempt: Attempt) -> bool:
    """Say whether a branch holds nothing but what an attempt came to."""
    if attempt.agent != PERSON:
        return tip == attempt.report
    return bool(attempt.report) and repository.is_ancestor(tip, attempt.report)


def trimmed(commands: tuple[Ran, ...]) -> tuple[Ran, ...]:
    """Return evidence with only the last lines of each output."""
    return tuple(
        command.model_copy(update={"tail": "\n".join(command.tail.splitlines()[-3:])})
        for command in commands
    )
