"""One attempt from claim to conclusion, as commits: everything that happens to a task's branch.

A claim cuts the branch, publish puts the result on it, and a fence ends it from outside.  None of
them merges anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gitflow_agents import handoff, leaks, merge, render, scheduler, spec, steps, testfirst
from gitflow_agents.errors import GitFailed
from gitflow_agents.execute import FEEDBACK, Order, Result, StepOrder, empty, read_not_ours
from gitflow_agents.models import (
    EVERYWHERE,
    MOST_QUESTIONS,
    ZERO,
    Asked,
    Attempt,
    DoneReport,
    Event,
    Plan,
    Question,
    Reason,
    Remark,
    Status,
    Task,
    TaskRecord,
    Tokens,
)
from gitflow_agents.render.prompt import Said, TemplateFailed
from gitflow_agents.runner import Stop, end_all, new_lease
from gitflow_agents.service import briefing, hearing
from gitflow_agents.service.delivery import Parcel, keep, send, tell
from gitflow_agents.service.desk import Desk
from gitflow_agents.store import Draft, Entry, Repository, Store, Worktree
from gitflow_agents.store.repository import FILE, TOOL
from gitflow_agents.store.state import (
    BRIEFING,
    HEADS,
    KEPT_ATTEMPTS,
    attempt_ref,
    events_of,
    new_nonce,
    new_word,
    one_line,
)
from gitflow_agents.transitions import RETRIED_BY_ITSELF, By, Happened, advance

E, S = Happened, Status
KEPT_QUESTIONS = 20
"""Questions that a task's record holds; the oldest go first."""
MOST_TOUCHED = 200
"""Changed paths that the state lists; more count as everywhere."""
LEASE_MARGIN = 15 * 60.0
"""Seconds beyond its timeout for which another host leaves an attempt alone."""

UNWANTED = frozenset(
    {
        Reason.PROTECTED_PATH,
        Reason.PATH_VIOLATION,
        Reason.NEEDS_WORKFLOW_PERMISSION,
        Reason.TOO_LARGE,
        Reason.BAD_BASE,
        Reason.SECRET_FOUND,
    }
)
"""Refusals after which the work is kept beside the branch, and is not brought back by itself."""


@dataclass
class Attempts:
    """What can happen to attempts; each method stages its part of a decision."""

    desk: Desk
    _names: tuple[str, dict[str, str]] = field(default=("", {}))
    """The branches of the tasks, and the text of the plan that they were made from."""

    def claim(self, draft: Draft, task: str) -> Order | None:
        """Start an attempt at a task on its branch, cut from flow.

        None when it cannot begin: what it names as its documentation or its inputs is not there.
        """
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        plan, state = snapshot.plan_for(task), snapshot.state
        record = snapshot.record(task)
        number = (record.attempt.number if record.attempt else 0) + (not record.is_asked)
        nonce = new_nonce()
        flow_tree = repository.commit(state.flow_sha).tree
        if why := briefing.unmet(repository, snapshot, flow_tree, task):
            self.fail_claim(draft, task, Reason.PRECONDITION_FAILED, why)
            return None
        before = dict(draft.moves)
        try:
            branch, claim, attempts = self.cut(draft, record, E.ATTEMPT_STARTED, number, nonce)
        except TemplateFailed as e:
            draft.moves.clear()
            draft.moves.update(before)
            why = f"{e.message}; {e.hint}"
            self.fail_claim(draft, task, Reason.PRECONDITION_FAILED, why)
            return None
        role = self.desk.handbook.role(plan, plan.by_id[task])
        terms = self.desk.handbook.terms(plan, plan.by_id[task])
        name = terms.name
        now = self.desk.clock()
        crew = self._crew(record, branch, number, attempts)
        timeout = plan.setting(plan.by_id[task] if crew else terms, "timeout").seconds
        lease = self.desk.lease(now + timeout + LEASE_MARGIN)
        attempt = Attempt(
            number=number,
            agent=plan.setting(terms, "agent"),
            actor=self.desk.actor,
            host=lease.host,
            started_at=now,
            base=state.flow_sha,
        )
        session = self._session(record, attempt)
        if record.is_asked:
            attempt, attempts = _going_on(attempt, attempts[-1]), attempts[:-1]
            terms = _with_what_is_left(plan, terms, attempt)
        draft.put(
            record.model_copy(
                update={
                    "status": advance(record.status, E.ATTEMPT_STARTED, By.SCHEDULER),
                    "reason": None,
                    "message": "",
                    "branch": branch,
                    "claim": claim,
                    "nonce": nonce,
                    "lease": lease,
                    "attempts": (*attempts, attempt),
                    "not_before": 0.0,
                    "fresh": False,
                    "repair": False,
                    "feedback": _told(record, number, now),
                }
            )
        )
        note = f"{task} started, attempt {number}"
        draft.tell(
            E.ATTEMPT_STARTED,
            task=task,
            attempt=number,
            status=S.IN_PROGRESS,
            agent=attempt.agent,
            commit=claim,
            note=note,
        )
        self.desk.say(
            E.ATTEMPT_STARTED,
            f"{task} started{f' (attempt {number})' if number > 1 else ''}: {name}",
            task=task,
            attempt=number,
            status=S.IN_PROGRESS,
            branch=branch,
        )
        self._tell_told(draft, record, number)
        folder = self.desk.attempt_folder(task, number)
        self.desk.afterwards.append(lambda: empty(folder))
        return Order(
            plan,
            terms,
            number,
            nonce,
            branch,
            claim,
            state.flow_sha,
            folder,
            Stop(self.desk.executor.stop),
            inputs=handoff.inputs(terms, snapshot.records)[0],
            role=role,
            session=session,
            crew=crew,
            tell=lambda heard: self.desk.heard.put((task, number, heard)),
        )

    def _tell_told(self, draft: Draft, record: TaskRecord, number: int) -> None:
        """Note that the brief of an attempt holds what nobody had been told yet."""
        pending = sum(remark.is_pending for remark in record.feedback)
        if pending:
            note = f"{record.id}: attempt {number} is told {render.count(pending, 'remark')}"
            draft.tell(hearing.DELIVERED, task=record.id, attempt=number, note=note)

    def order(self, task: str) -> Order:
        """Return what whoever works on the running attempt at a task needs, as `claim` does.

        The agent's memory of the attempt before is where that one was, and not here.
        """
        snapshot, handbook = self.desk.snapshot, self.desk.handbook
        plan, record = snapshot.plan_for(task), snapshot.record(task)
        *former, attempt = record.attempts
        before = record.model_copy(update={"attempts": tuple(former)})
        terms = handbook.terms(plan, plan.by_id[task])
        terms = _with_what_is_left(plan, terms, attempt)
        return Order(
            plan,
            terms,
            attempt.number,
            record.nonce,
            record.branch,
            record.claim,
            attempt.base,
            self.desk.attempt_folder(task, attempt.number),
            Stop(self.desk.executor.stop),
            inputs=handoff.inputs(terms, snapshot.records)[0],
            role=handbook.role(plan, plan.by_id[task]),
            crew=self._crew(before, record.branch, attempt.number, tuple(former)),
        )

    def _crew(
        self, record: TaskRecord, branch: str, number: int, attempts: tuple[Attempt, ...]
    ) -> tuple[StepOrder, ...]:
        """Return the steps that follow the task's own agent, each with its brief."""
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        plan = snapshot.plan_for(record.id)
        task = plan.by_id[record.id]
        asked = plan.setting(task, "steps")
        if not asked:
            return ()
        docs, _ = briefing.docs_of(
            repository, repository.commit(snapshot.state.flow_sha).tree, task
        )
        beside = render.Beside(
            kept=tuple(a.kept for a in attempts if a.kept),
            conflict=() if record.fresh else self._former_work(record)[1],
            docs=docs,
            inputs=handoff.inputs(task, snapshot.records)[0],
        )
        found = []
        members = steps.crew(plan, task, self.desk.handbook)
        for at, (step, member) in enumerate(zip(asked, members, strict=True), 1):
            is_review = steps.is_review(member.role)
            # What a command does is the plan's word, not that of a text that it has read.
            has_words = is_review and plan.setting(member.task, "agent") != "command"
            word = new_word() if has_words else ""
            facts = render.StepFacts(at, len(asked), Said(step.prompt), is_review, word)
            brief = self._step_brief(member, facts, branch, number, beside)
            found.append(StepOrder(member, brief, word))
        return tuple(found)

    def _step_brief(
        self,
        member: steps.Member,
        facts: render.StepFacts,
        branch: str,
        number: int,
        beside: render.Beside,
    ) -> Callable[[tuple[render.Before, ...], tuple[Remark, ...]], str]:
        """Return what writes the brief of a step, once it is known what was done before it."""
        template = briefing.template_of(self.desk.handbook)
        values = render.brief_values(
            self.desk.snapshot,
            member.task.id,
            branch=branch,
            attempt=number,
            handbook=self.desk.handbook,
            beside=beside,
            member=member,
            step=facts,
        )
        known = {remark.key for remark in self.desk.snapshot.record(member.task.id).feedback}

        def brief(before: tuple[render.Before, ...], said: tuple[Remark, ...]) -> str:
            new = render.heard(remark for remark in said if remark.key not in known)
            step = replace(facts, before=before)
            return template.render(replace(values, step=step, feedback=(*values.feedback, *new)))

        return brief

    def _session(self, record: TaskRecord, attempt: Attempt) -> str:
        """Return the memory that an attempt goes on with: its agent's own, of the one before.

        What people want forgotten is: a fresh start, or guidance in place of the description.
        """
        last = record.attempt
        if last is None or record.fresh or last.merged:
            return ""
        if (last.agent, last.host) != (attempt.agent, attempt.host):
            return ""
        newest = record.guidance[-1] if record.guidance else None
        if newest is not None and newest.mode == "replace":
            return ""
        return last.session

    def cut(
        self, draft: Draft, record: TaskRecord, happened: Happened, number: int, nonce: str
    ) -> tuple[str, str, tuple[Attempt, ...]]:
        """Cut a task's branch from flow, with its briefing and what an earlier attempt left.

        What is on the branch is kept beside it.  Returns the branch, its new tip, and the former
        attempts with the refs that keep them.
        """
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        plan, state, task = snapshot.plan, snapshot.state, record.id
        branch = record.branch or self.branch(task)
        flow_tree = repository.commit(state.flow_sha).tree
        former, conflict = ("", ()) if record.fresh else self._former_work(record)
        ref = f"{HEADS}{branch}"
        # What this very decision does to the branch comes first: a fence on the attempt before.
        tip = draft.moves[ref][1] if ref in draft.moves else self.desk.store.refs.resolve(ref)
        # What stood there when a question was asked is part of what goes on after its answer.
        is_its = record.is_asked and record.attempts[-1].report == tip
        goes_on = is_its and bool(former) and happened is E.ATTEMPT_STARTED
        attempts = record.attempts if goes_on else self._keep_branch(draft, record, tip)
        docs, _ = briefing.docs_of(repository, flow_tree, plan.by_id[task])
        texts = {
            f"{BRIEFING}/task.yaml": render.task_yaml(snapshot, task, branch, number),
            f"{BRIEFING}/brief.md": render.brief(
                briefing.template_of(self.desk.handbook),
                snapshot,
                task,
                branch=branch,
                attempt=number,
                handbook=self.desk.handbook,
                beside=render.Beside(
                    kept=tuple(a.kept for a in attempts if a.kept),
                    conflict=conflict,
                    docs=docs,
                    inputs=handoff.inputs(plan.by_id[task], snapshot.records)[0],
                    repair=self._repair(record),
                ),
            ).encode(),
        }
        entries: dict[str, Entry | None] = {
            path: Entry(FILE, repository.write_blob(data)) for path, data in texts.items()
        }
        issue = snapshot.issue(task)
        part = f"Part of {plan.epic}\n\n" if plan.epic else ""
        claim = repository.write_commit(
            repository.graft(flow_tree, entries),
            [state.flow_sha],
            f"claim {task}: {one_line(plan.by_id[task].name)[:160]}{f' ({issue})' if issue else ''}"
            f"\n\n{part}"
            f"Gitflow-Event: {happened}\nGitflow-Plan: {plan.plan}\n"
            f"Gitflow-Task: {task}\nGitflow-Attempt: {number}\nGitflow-Claim: {nonce}",
        )
        if goes_on or (former and former != flow_tree):
            last = number if goes_on else number - 1
            claim = repository.write_commit(
                repository.graft(former, {**entries, FEEDBACK: None}),
                [claim, tip] if goes_on and tip else [claim],
                f"bring back the work of attempt {last} of {task}",
            )
        draft.move(ref, tip or ZERO, claim)
        return branch, claim, attempts

    def _repair(self, record: TaskRecord) -> render.Repair:
        """Return what the next attempt is told of the failure that it has to look into."""
        if not record.repair or record.attempt is None:
            return render.Repair()
        repository, event = self.desk.store.repository, record.attempt.report
        report = self.desk.report(repository.commit(event).tree) if event else None
        return briefing.repair_of(repository, record, report)

    def branch(self, task: str) -> str:
        """Return the branch that a task gets, when it has none yet."""
        digest = self.desk.snapshot.state.digest
        if self._names[0] != digest:  # another run may have accepted another text
            self._names = (digest, spec.branches(self.desk.snapshot.plan))
        return self._names[1][task]

    def _former_work(self, record: TaskRecord) -> tuple[str, tuple[str, ...]]:
        """Return flow's tree with the last attempt's work on it, or the paths in conflict."""
        attempt, repository = record.attempt, self.desk.store.repository
        if attempt is None or not attempt.tip or repository.resolve(attempt.tip) is None:
            return "", ()
        if record.reason in UNWANTED:
            return "", ()
        flow = self.desk.snapshot.state.flow_sha
        if attempt.reverted:
            tree, conflict = merge.brought_back(repository, flow, attempt.reverted, attempt.merged)
        else:
            tree, conflict = merge.merged(repository, flow, attempt.tip, attempt.base)
        return ("", conflict) if conflict else (tree, ())

    def _keep_branch(
        self, draft: Draft, record: TaskRecord, tip: str | None
    ) -> tuple[Attempt, ...]:
        """Keep the branch's old tip below `gitflow/attempt/`, and only the last few of those."""
        plan = self.desk.snapshot.plan.plan
        attempts = list(record.attempts)
        number = attempts[-1].number if attempts else 0
        known = {self._tip_of(a) for a in attempts if a.kept}
        if tip and tip not in known and not self._is_bare_claim(tip):
            ref = self.desk.free_attempt_ref(plan, record.id, number, tip)
            draft.move(ref, ZERO, tip)
            if attempts and not attempts[-1].kept:
                attempts[-1] = attempts[-1].model_copy(update={"kept": ref.removeprefix(HEADS)})
        for place, attempt in enumerate(attempts[: -KEPT_ATTEMPTS or None]):
            old = self._tip_of(attempt) if attempt.kept else None
            if old:
                draft.move(f"{HEADS}{attempt.kept}", old, ZERO)
            attempts[place] = attempt.model_copy(update={"kept": ""})
        return tuple(attempts)

    def _tip_of(self, attempt: Attempt) -> str | None:
        return self.desk.store.refs.resolve(f"{HEADS}{attempt.kept}")

    def _is_bare_claim(self, tip: str) -> bool:
        """Say whether there is nothing on a branch but a claim, or the fence of one."""
        commit = self.desk.store.repository.commit(tip)
        events = list(events_of(commit))
        if events and events[0].event == E.ATTEMPT_STOPPED:
            events = list(events_of(self.desk.store.repository.commit(commit.parents[0])))
        return bool(events) and events[0].event in (E.ATTEMPT_STARTED, E.TASK_TAKEN)

    def fail_claim(self, draft: Draft, task: str, reason: Reason, message: str) -> None:
        record = self.desk.snapshot.record(task)
        status = advance(record.status, E.CLAIM_REFUSED, By.SCHEDULER, reason)
        draft.put(
            record.model_copy(
                update={"status": status, "reason": reason, "message": one_line(message)}
            )
        )
        draft.tell(E.CLAIM_REFUSED, task=task, status=status, reason=reason, note=message)
        self.desk.say(
            E.CLAIM_REFUSED,
            f"{task} failed: {reason}: {message}",
            f"next: gitflow-agents show {self.desk.snapshot.plan.plan}/{task}",
            task=task,
            reason=reason,
        )

    def publish(self, order: Order, result: Result) -> str:
        """Put an attempt's result on its task's branch, expecting exactly the claim.

        Returns the event commit, or nothing when the attempt was fenced off or stopped.
        """
        parcel = self.pack(order, result)
        return send(self.desk, parcel) if parcel is not None else ""

    def pack(self, order: Order, result: Result) -> Parcel | None:
        """Return an attempt's result, ready to be sent; what may not be merged is only told.

        A stopped attempt is left to the next pass, which fences it: None.
        """
        plan, task = order.plan, order.task
        report = self._without_secrets(result.report)
        if leak := self._leak(order.claim, result.tip, result.tree):
            # Nothing of it may get into a ref, however the attempt ended.
            worktree = self.desk.worktrees.place(plan.plan, task.id)
            place = self.desk.worktrees.aside(worktree)
            where = str(place) if worktree.path.exists() else "what its run handed over"
            self.desk.worktrees.move(worktree, place)
            last, leak = order.claim, f"{leak}; the work is in {where} only"
            if report.reason is Reason.STOPPED:
                tell(self.desk, task.id, leak, str(place), "work_kept")
            else:
                report = _failed(report, Reason.SECRET_FOUND, leak)
        else:
            last, refused = self._our_commits(order, result)
            if report.reason is None and refused is None:
                refused = self._refusal(order, result, last)
            if refused is not None and report.reason is None:
                report = _failed(report, refused.reason, refused.message)
        if report.reason is Reason.STOPPED:
            # The next pass fences it; until then this ref is all that holds the work.
            kept = attempt_ref(plan.plan, task.id, order.number)
            refs = self.desk.store.refs
            refs.move([(kept, refs.resolve(kept) or ZERO, last)])
            self.desk.results[task.id] = (result, last)
            return None
        # A refused result leaves only its event on the branch; the work is kept beside it.
        aside = report.reason in UNWANTED
        event = self._event(order, report, order.claim if aside else last, result.briefs)
        kept = attempt_ref(plan.plan, task.id, order.number)
        beside = ((kept, ZERO, last),) if aside and last != order.claim else ()

        def without(why: str) -> str:
            told = _failed(report, Reason.PUSH_REFUSED, why)
            return self._event(order, told, order.claim, result.briefs)

        return Parcel(
            task.id, order.number, order.branch, order.claim, event, last, beside, without
        )

    def _event(self, order: Order, report: DoneReport, parent: str, briefs: tuple[str, ...]) -> str:
        """Write the commit that tells how an attempt ended, on top of its work."""
        repository, task = self.desk.store.repository, order.task.id
        files = {
            f"{BRIEFING}/report.yaml": spec.to_yaml(
                report.model_dump(mode="json", by_alias=True, exclude_none=True)
            ),
            f"{BRIEFING}/report.md": render.done_report(report).encode(),
        }
        files |= {
            f"{BRIEFING}/steps/{number}.md": text.encode() for number, text in enumerate(briefs, 1)
        }
        edits: dict[str, Entry | None] = {
            path: Entry(FILE, repository.write_blob(data)) for path, data in files.items()
        }
        happened, reason = E.ATTEMPT_SUCCEEDED, report.reason
        if reason is not None:
            happened = E.ATTEMPT_FAILED
        elif report.question is not None:
            happened, reason = E.QUESTION_ASKED, Reason.QUESTION
        why = f": {reason}" if reason else ""
        trailer = f"\nGitflow-Reason: {reason}" if reason else ""
        tree = repository.graft(repository.commit(parent).tree, edits)
        self.desk.keep_report(tree, report)
        return repository.write_commit(
            tree,
            [parent],
            f"{task}: {happened.replace('_', ' ')}{why}\n\n{report.message}\n\n"
            f"Gitflow-Event: {happened}\nGitflow-Plan: {order.plan.plan}\nGitflow-Task: {task}\n"
            f"Gitflow-Attempt: {order.number}{trailer}",
        )

    def _leak(self, claim: str, tip: str, tree: str) -> str:
        """Return in a sentence which secret is in some work, or an empty string."""
        repository, secrets = self.desk.store.repository, self.desk.executor.secrets
        return merge.leaked(repository, claim, tip, tree, self.desk.config, secrets)

    def without_secrets(self, order: Order, result: Result) -> Result:
        """Return a result that may leave this machine: without its work where a secret is in it."""
        report = self._without_secrets(result.report)
        leak = self._leak(order.claim, result.tip, result.tree)
        if not leak:
            return replace(result, report=report)
        said = f"{leak}; nothing of the work was handed on"
        tree = self.desk.store.repository.commit(order.claim).tree
        return Result(tree, order.claim, (), _failed(report, Reason.SECRET_FOUND, said))

    def _without_secrets(self, report: DoneReport) -> DoneReport:
        said = report.model_dump(mode="json", by_alias=True)
        hidden = leaks.hidden_in(said, self.desk.executor.secrets)
        return report if hidden == said else DoneReport.model_validate(hidden)

    def _refusal(self, order: Order, result: Result, last: str) -> merge.Refused | None:
        """Return why a result, whose commits end in `last`, may not be merged, or None."""
        repository, task, report = self.desk.store.repository, order.task, result.report
        refused = merge.refusal(
            repository,
            result.changes,
            order.plan,
            task,
            self.desk.config,
            result.tree,
            None if order.crew else order.role,
        )
        if report.question is not None:
            return refused or self._one_too_many(order)
        if refused is None:
            refused = self._unproved(order, result)
        if refused is None and (why := handoff.wrong(task, report.outputs)):
            more = f"; {report.report_problem}" if report.report_problem else ""
            return merge.Refused(Reason.CHECKS_FAILED, f"{why}{more}")
        is_asked = testfirst.is_wanted(order.plan, task) and not report.already_provided
        if refused is None and is_asked:
            work = (*self.work_of(task.id, order.number), (order.base, last))
            _, why = testfirst.red(repository, work, repository.commit(last).tree)
            return merge.Refused(Reason.UNVERIFIED, why) if why else None
        return refused

    def _one_too_many(self, order: Order) -> merge.Refused | None:
        """Return why an attempt may not ask once more, or None."""
        questions = self.desk.snapshot.record(order.task.id).questions
        if sum(asked.attempt == order.number for asked in questions) < MOST_QUESTIONS:
            return None
        why = f"it asks once more, and an attempt may ask {MOST_QUESTIONS} times"
        return merge.Refused(Reason.QUESTION, why)

    def work_of(self, task: str, before: int) -> tuple[tuple[str, str], ...]:
        """Return what each attempt before one was cut from, and its last commit, oldest first.

        What the one itself did before it asked something counts as such.
        """
        record = self.desk.snapshot.record(task)
        done = [(a.number, 1, a.base, a.tip) for a in record.attempts if a.number < before]
        done += [(q.attempt, 0, q.base, q.tip) for q in record.questions if q.attempt <= before]
        in_order = sorted(done, key=lambda each: each[:2])
        return tuple(dict.fromkeys((base, tip) for *_, base, tip in in_order if base and tip))

    def _unproved(self, order: Order, result: Result) -> merge.Refused | None:
        """Return what the steps and the quality of a task ask for and its result has not."""
        plan, task, report = order.plan, order.task, result.report
        if report.already_provided:
            return None
        crew = tuple(step.member for step in order.crew)
        for number, stage in enumerate(result.stages if crew else ()):
            over = stage.role and merge.overstepped(stage.changes, plan, stage.task, stage.role)
            if over:
                where = f"step {number} ({stage.task.role}): " if number else ""
                return merge.Refused(over.reason, f"{where}{over.message}")
        if crew and [step.outcome for step in report.steps] != ["succeeded"] * (len(crew) + 1):
            return merge.Refused(Reason.UNVERIFIED, "not all of its steps have succeeded")
        if plan.setting(task, "quality") != "full":
            return None
        proofs = [ran for ran in report.commands if ran.kind in ("verify", "check")]
        if not proofs and task.kind != "research":
            said = "`quality: full` wants a command that verifies it, and none was run"
            return merge.Refused(Reason.UNVERIFIED, said)
        if not steps.is_reviewed(plan, task, crew, self.desk.config.agents):
            said = "`quality: full` wants a review by another agent or model, and there was none"
            return merge.Refused(Reason.UNVERIFIED, said)
        return None

    def _our_commits(self, order: Order, result: Result) -> tuple[str, merge.Refused | None]:
        repository = self.desk.store.repository
        number = self.desk.snapshot.issue(order.task.id)
        name = f"{one_line(order.task.name)[:160]}{f' ({number})' if number else ''}"
        subject = f"{order.task.id}: {name}"
        last_task = result.stages[-1].task if result.stages else order.task
        author = steps.author(order.plan, last_task)
        try:
            last = merge.recreate(repository, order.claim, result.tip, result.tree, subject, author)
            return last, None
        except ValueError as e:
            refused = merge.Refused(Reason.BAD_BASE, str(e))
        except merge.TooManyCommits as e:
            refused = merge.Refused(Reason.TOO_LARGE, e.message)
        return repository.write_commit(result.tree, [order.claim], subject, author=author), refused

    def conclude(self, draft: Draft, task: str) -> None:
        """Tell the state what publish recorded on the task's branch."""
        if task in self.desk.results:
            self._stopped(draft, task)
            return
        published = self.desk.published.get(task)
        if task in self.desk.failures:
            self._let_down(draft, task)
            return
        record, repository = self.desk.snapshot.record(task), self.desk.store.repository
        tip = self.desk.store.refs.tip(record.branch) or ""
        order = self.desk.own.get(task)
        self.desk.afterwards.append(lambda: self.desk.forget(task))
        if order is None:
            # Its run died when the result was on the branch and the worktree not yet gone.
            worktree = self.desk.worktrees.place(self.desk.snapshot.plan.plan, task)
            self.desk.afterwards.append(lambda: self.desk.worktrees.remove(worktree))
        is_other = order is not None and tip != published
        if not tip or is_other or not is_result(self.desk.store, record, tip):
            self._foreign(draft, record, tip)
            return
        commit = repository.commit(tip)
        report = self.desk.report(commit.tree)
        event = next(events_of(commit))
        happened = E(event.event)
        if happened is E.QUESTION_ASKED and report.question is not None:
            self._asked(draft, task, tip, report, report.question)
            return
        reason = report.reason if happened is E.ATTEMPT_FAILED else None
        status = advance(record.status, happened, By.PUBLISH, reason)
        lost = reason in RETRIED_BY_ITSELF
        kept = attempt_ref(self.desk.snapshot.plan.plan, task, record.attempts[-1].number)
        aside = self.desk.store.refs.resolve(kept) if reason in UNWANTED else None
        attempt = record.attempts[-1].model_copy(
            update={
                "ended_at": _ended(record.attempts[-1], report),
                "outcome": "succeeded" if reason is None else "failed",
                "reason": reason,
                "message": report.message,
                "tip": aside or commit.parents[0],
                "kept": kept.removeprefix(HEADS) if aside else "",
                "report": tip,
                "shown_at": self.desk.clock(),
                "touched": report.files_touched
                if len(report.files_touched) <= MOST_TOUCHED
                else EVERYWHERE,
                **_spent(record.attempts[-1], report),
            }
        )
        losses = record.lost + 1 if lost else 0
        feedback = self._heard(draft, record, report)
        draft.put(
            record.model_copy(
                update={
                    "feedback": feedback,
                    "status": status,
                    "reason": reason,
                    "message": report.message if reason else "",
                    "lease": None,
                    "attempts": (*record.attempts[:-1], attempt),
                    "used": record.used + (not lost),
                    "lost": losses,
                    "not_before": self.desk.clock() + scheduler.back_off(losses) if lost else 0.0,
                }
            )
        )
        draft.tell(
            happened,
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
            agent=attempt.agent,
            model=report.model,
            cost_usd=report.cost_usd,
            commit=tip,
            note=f"{task} {happened.replace('_', ' ')}" + (f": {reason}" if reason else ""),
        )
        name = self.desk.snapshot.plan.plan
        problem = report.report_problem
        said: dict[str, Any] = {"report_problem": problem} if problem else {}
        if reason is None:
            done = "is provided already" if report.already_provided else "is done, to be merged"
            self.desk.say(
                happened,
                f"{task} {done}{problem and f'; {problem}'}",
                task=task,
                attempt=attempt.number,
                status=status,
                **said,
            )
            return
        number = len(report.steps) - 1
        folder = f"step-{number}" if number > 0 else "."
        log = order.folder / folder / "output.log" if order else None
        tail = _detail(report)
        more = [f"next: gitflow-agents show {name}/{task}"]
        if log is not None and log.exists():
            more.append(f"all of its output: {log}")
        # What holds the plan is said where the run ends, so that it is said once.
        alarms = self.desk.executor.alarms
        is_alarm = report.message in (one_line("; ".join(alarms)), *map(one_line, alarms))
        why = "it did what holds the plan" if is_alarm else report.message
        self.desk.say(
            happened,
            f"{task} failed: {reason}: {why}",
            "\n".join([*tail, *([problem] if problem else []), *more]),
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
            message=report.message,
            **said,
        )

    def _heard(self, draft: Draft, record: TaskRecord, report: DoneReport) -> tuple[Remark, ...]:
        """Return what was said to a task, with what its attempt's report says became of it."""
        after = hearing.marked(record, report.heard, self.desk.clock())
        hearing.tell(draft, self.desk, record, after)
        return after

    def _asked(
        self, draft: Draft, task: str, tip: str, report: DoneReport, question: Question
    ) -> None:
        """Let a task wait for an answer; the attempt goes on with what it has done so far."""
        record, last = self.desk.snapshot.record(task), self.desk.snapshot.record(task).attempts[-1]
        parent = self.desk.store.repository.commit(tip).parents[0]
        status = advance(record.status, E.QUESTION_ASKED, By.PUBLISH, Reason.QUESTION)
        attempt = last.model_copy(
            update={
                "ended_at": _ended(last, report),
                "outcome": "asked",
                "reason": Reason.QUESTION,
                "message": one_line(question.text),
                "tip": parent,
                "report": tip,
                **_spent(last, report),
            }
        )
        asked = Asked(
            **question.model_dump(),
            attempt=last.number,
            at=self.desk.clock(),
            base=last.base,
            tip=parent,
        )
        feedback = self._heard(draft, record, report)
        draft.put(
            record.model_copy(
                update={
                    "feedback": feedback,
                    "status": status,
                    "reason": Reason.QUESTION,
                    "message": one_line(question.text),
                    "lease": None,
                    "attempts": (*record.attempts[:-1], attempt),
                    "lost": 0,
                    "not_before": 0.0,
                    "questions": (*record.questions[-KEPT_QUESTIONS + 1 :], asked),
                }
            )
        )
        draft.tell(
            E.QUESTION_ASKED,
            task=task,
            attempt=last.number,
            status=status,
            reason=Reason.QUESTION,
            agent=last.agent,
            model=report.model,
            cost_usd=report.cost_usd,
            commit=tip,
            note=f"{task} asks: {one_line(question.text)}",
        )
        plan = self.desk.snapshot.plan.plan
        self.desk.say(
            E.QUESTION_ASKED,
            f"{task} asks: {one_line(question.text)}",
            "\n".join(
                [*render.choices(question), f"next: {render.to_answer(plan, task, question)}"]
            ),
            task=task,
            attempt=last.number,
            status=status,
            question=question.model_dump(mode="json"),
        )

    def _stopped(self, draft: Draft, task: str) -> None:
        """End an attempt that was interrupted; what it did so far stays on the branch."""
        result, last = self.desk.results[task]
        self.desk.afterwards.append(lambda: self.desk.forget(task))
        self._fence(draft, task, E.ATTEMPT_STOPPED, Reason.STOPPED, last, "interrupted", result)
        number = self.desk.snapshot.record(task).attempts[-1].number
        ref = attempt_ref(self.desk.snapshot.plan.plan, task, number)
        if ref not in draft.moves:
            draft.move(ref, last, ZERO)

    def _let_down(self, draft: Draft, task: str) -> None:
        """End an attempt whose result git or the disk did not take; it says nothing of the work."""
        why = self.desk.failures[task]
        record = self.desk.snapshot.record(task)
        self.desk.afterwards.append(lambda: self.desk.forget(task))
        last = self._rescue(record)
        self._fence(draft, task, E.ATTEMPT_EXPIRED, Reason.INFRASTRUCTURE, last, why.message, None)

    def stop(self, draft: Draft, task: str, why: str, *, is_dead: bool) -> None:
        """End an attempt because a person says so; of a dead one, what it did is saved first."""
        record = self.desk.snapshot.record(task)
        last = record.claim
        if is_dead and record.lease is not None and record.lease.host == new_lease(0).host:
            end_all(f"GITFLOW_CLAIM={record.nonce}")
            last = self._rescue(record)
        self._fence(draft, task, E.ATTEMPT_STOPPED, Reason.STOPPED, last, one_line(why), None)

    def let_go(self, draft: Draft, task: str) -> None:
        """Note where the work of an attempt is that somebody ended while this process was at it."""
        order = self.desk.own[task]
        self.desk.afterwards.append(lambda: self.desk.forget(task))
        if task in self.desk.failures:
            worktree = self.desk.worktrees.place(order.plan.plan, task)
            aside = self.desk.worktrees.aside(worktree)
            self.desk.afterwards.append(lambda: self.desk.worktrees.move(worktree, aside))
            why = self.desk.failures[task].message
            self.desk.say("work_kept", f"{task}: {why}; what it left is in {aside}", task=task)
        last, kept = self.desk.fenced.get(task, ("", ""))
        if task in self.desk.results:  # it was stopped here too, and published as such
            last = self.desk.results[task][1]
            kept = attempt_ref(order.plan.plan, task, order.number).removeprefix(HEADS)
        if last:
            self.keep_work(draft, task, order.number, last, kept)

    def keep_work(self, draft: Draft, task: str, number: int, last: str, kept: str) -> None:
        """Note where the work of an attempt is that was ended, unless that is known."""
        record = draft.snapshot.record(task)
        if not any(a.number == number and not a.kept for a in record.attempts):
            return
        attempts = tuple(
            a.model_copy(update={"kept": kept, "tip": last}) if a.number == number else a
            for a in record.attempts
        )
        draft.put(record.model_copy(update={"attempts": attempts}))
        note = f"what attempt {number} of {task} had done is kept as {kept}"
        draft.tell("work_kept", task=task, attempt=number, commit=last, note=note)
        self.desk.say("work_kept", note, task=task, attempt=number, kept=kept)

    def expire(self, draft: Draft, task: str, reason: Reason) -> None:
        """End an attempt that nobody works on any more, keeping what it did."""
        record = self.desk.snapshot.record(task)
        last = record.claim
        if record.lease is not None and record.lease.host == new_lease(0).host:
            end_all(f"GITFLOW_CLAIM={record.nonce}")
            last = self._rescue(record)
        elif record.lease is not None and record.lease.run is not None:
            last = self._kept_beside(record)
            self.desk.is_unwanted(draft, record.lease, task, record.attempts[-1].number)
        if reason is Reason.FOREIGN_COMMITS:
            tip = self.desk.store.refs.tip(record.branch) or ""
            self._foreign(draft, record, tip)
            if last != record.claim:
                plan, number = self.desk.snapshot.plan.plan, record.attempts[-1].number
                ref = self.desk.free_attempt_ref(plan, task, number, last, draft.moves)
                draft.move(ref, ZERO, last)
            return
        self._fence(draft, task, E.ATTEMPT_EXPIRED, reason, last, "its run died", None)

    def _rescue(self, record: TaskRecord) -> str:
        """Return a commit of what a dead attempt left in its worktree, which can go then."""
        plan = self.desk.snapshot.plan
        worktree = self.desk.worktrees.place(plan.plan, record.id)
        self.desk.afterwards.append(lambda: self.desk.worktrees.remove(worktree))
        number = record.attempts[-1].number
        noted = read_not_ours(self.desk.attempt_folder(record.id, number))
        if noted is None or not worktree.path.exists() or not worktree.is_for(record.claim):
            # Either no agent has worked there yet, or the work of a stopped attempt was kept and
            # the run died before it could say so.
            return self._kept_beside(record)
        try:
            return self._saved(worktree, record.id, number, record.claim, noted)
        except GitFailed as e:
            aside = self.desk.worktrees.aside(worktree)
            self.desk.afterwards[-1] = lambda: self.desk.worktrees.move(worktree, aside)
            self.desk.say("work_kept", f"{record.id}: {e.message}; what it left is in {aside}")
            return record.claim

    def _kept_beside(self, record: TaskRecord) -> str:
        """Return what was kept of an attempt whose end nobody told, else its claim."""
        plan, number = self.desk.snapshot.plan.plan, record.attempts[-1].number
        kept = self.desk.store.refs.resolve(attempt_ref(plan, record.id, number))
        is_its = kept is not None and self.desk.store.repository.is_ancestor(record.claim, kept)
        return kept if kept is not None and is_its else record.claim

    def _saved(
        self, worktree: Worktree, task: str, number: int, claim: str, noted: tuple[str, ...]
    ) -> str:
        """Return a commit of what is in a worktree; GitFailed when that cannot be saved."""
        repository = self.desk.store.repository
        copied = (*self.desk.config.copy_, *self.desk.snapshot.plan.copy_)
        tree = worktree.save(claim, (*copied, *noted), limits=self.desk.config.limits).tree
        tip, tree = merge.without(repository, claim, worktree.tip(claim), tree, copied)
        if leak := self._leak(claim, tip, tree):
            raise GitFailed(leak)
        message = f"what attempt {number} of {task} left unfinished"
        try:
            return merge.recreate(repository, claim, tip, tree, message, TOOL)
        except (ValueError, merge.TooManyCommits):
            return repository.write_commit(tree, [claim], message)

    def save_left(self, worktree: Worktree, task: str) -> None:
        """Keep what an attempt left in its worktree that somebody elsewhere has ended."""
        repository, record = self.desk.store.repository, self.desk.snapshot.record(task)
        claim = worktree.made_for
        if not claim or repository.resolve(claim) is None or not worktree.path.is_dir():
            return
        told = [*events_of(repository.commit(claim))]
        told += [e for sha in repository.commit(claim).parents for e in _events_at(repository, sha)]
        number = next((e.attempt for e in told if e.task == task and e.attempt), 0)
        noted = read_not_ours(self.desk.attempt_folder(task, number))
        if not number or noted is None:
            return  # no agent has worked there yet
        try:
            last = self._saved(worktree, task, number, claim, noted)
        except GitFailed as e:
            aside = self.desk.worktrees.aside(worktree)
            self.desk.worktrees.move(worktree, aside)
            self.desk.say("work_kept", f"{task}: {e.message}; what it left is in {aside}")
            return
        tree = repository.commit(last).tree
        known = [a.tip for a in record.attempts if a.number == number and a.tip]
        if tree in (repository.commit(sha).tree for sha in (claim, *known)):
            return
        kept = keep(self.desk, task, number, last)
        note = f"what attempt {number} of {task} had done here is kept as {kept}"
        self.desk.say("work_kept", note, task=task, attempt=number, kept=kept)

    def _fence(
        self,
        draft: Draft,
        task: str,
        happened: Happened,
        reason: Reason,
        last: str,
        why: str,
        result: Result | None,
    ) -> None:
        """End an attempt from outside: a commit on its branch after which publish cannot follow."""
        record, repository = self.desk.snapshot.record(task), self.desk.store.repository
        plan, attempt = self.desk.snapshot.plan.plan, record.attempts[-1]
        fence = repository.write_commit(
            repository.commit(last).tree,
            [last],
            f"{task}: {happened.replace('_', ' ')}: {why}\n\n"
            f"Gitflow-Event: {happened}\nGitflow-Plan: {plan}\nGitflow-Task: {task}\n"
            f"Gitflow-Attempt: {attempt.number}\nGitflow-Reason: {reason}",
        )
        ref, old, kept = f"{HEADS}{record.branch}", record.claim, ""
        if self.desk.store.refs.resolve(ref) != old or ref in self.desk.store.refs.heads():
            # A person has the branch now: it stays theirs, and the fence is put beside it.
            ref = self.desk.free_attempt_ref(plan, task, attempt.number, last)
            old, kept = self.desk.store.refs.resolve(ref) or ZERO, ref.removeprefix(HEADS)
        draft.move(ref, old, fence)
        status = advance(record.status, happened, By.SCHEDULER, reason)
        is_lost = happened is E.ATTEMPT_EXPIRED
        feedback = self._heard(draft, record, result.report) if result else record.feedback
        draft.put(
            record.model_copy(
                update={
                    "feedback": feedback,
                    "status": status,
                    "reason": reason,
                    "message": why,
                    "lease": None,
                    "lost": record.lost + is_lost,
                    "not_before": self._not_before(record.lost + 1, reason) if is_lost else 0.0,
                    "attempts": (
                        *record.attempts[:-1],
                        attempt.model_copy(
                            update={
                                "ended_at": (
                                    _ended(attempt, result.report) if result else self.desk.clock()
                                ),
                                "outcome": "expired" if is_lost else "stopped",
                                "reason": reason,
                                "message": why,
                                "tip": last,
                                "kept": kept,
                                "report": fence,
                                "session": result.report.session if result else "",
                            }
                        ),
                    ),
                }
            )
        )
        draft.tell(
            happened,
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
            commit=fence,
            note=f"{task} {happened.replace('_', ' ')}: {why}",
        )
        self.desk.say(
            happened,
            f"{task} {'was lost' if is_lost else 'was stopped'}: {why}; its work is kept",
            task=task,
            attempt=attempt.number,
            status=status,
            reason=reason,
        )

    def _not_before(self, losses: int, reason: Reason) -> float:
        """Return when to try again: at once after a run that died here, else with back-off."""
        if reason is Reason.LEASE_LOST:
            return 0.0
        return self.desk.clock() + scheduler.back_off(losses)

    def _foreign(self, draft: Draft, record: TaskRecord, tip: str) -> None:
        """Fail an attempt whose branch somebody else moved; what they put there is kept."""
        plan, task = self.desk.snapshot.plan.plan, record.id
        self.desk.afterwards.append(lambda: self.desk.forget(task))
        end_all(f"GITFLOW_CLAIM={record.nonce}")
        number = record.attempts[-1].number
        what = f"is at {tip[:12]} now" if tip else "was deleted"
        message = f"{record.branch} {what}; somebody moved it while attempt {number} was running"
        aside = attempt_ref(plan, task, number)
        result = self.desk.store.refs.resolve(aside)
        tried: dict[str, str] = {}
        if result and is_result(self.desk.store, record, result):
            tried = {"kept": aside.removeprefix(HEADS), "tip": result}
        if tip == record.claim:
            # Nobody moved it: publish did not either, because somebody looks at it.
            place = self.desk.store.refs.heads().get(f"{HEADS}{record.branch}", "a worktree")
            message = f"{record.branch} was checked out in {place}, so the result was not put there"
        elif tip:
            ref = self.desk.free_attempt_ref(plan, task, number, tip)
            draft.move(ref, self.desk.store.refs.resolve(ref) or ZERO, tip)
            message += f"; what is there is kept as {ref.removeprefix(HEADS)} too"
        if tried:
            what = "it" if tip == record.claim else "the result"
            message += f"; {what} is kept as {tried['kept']}"
        status = advance(record.status, E.ATTEMPT_EXPIRED, By.SCHEDULER, Reason.FOREIGN_COMMITS)
        attempt = record.attempts[-1].model_copy(
            update={
                "ended_at": self.desk.clock(),
                "outcome": "expired",
                "reason": Reason.FOREIGN_COMMITS,
                "message": message,
                **tried,
            }
        )
        draft.put(
            record.model_copy(
                update={
                    "status": status,
                    "reason": Reason.FOREIGN_COMMITS,
                    "message": message,
                    "lease": None,
                    "attempts": (*record.attempts[:-1], attempt),
                }
            )
        )
        draft.tell(
            E.ATTEMPT_EXPIRED,
            task=task,
            attempt=number,
            status=status,
            reason=Reason.FOREIGN_COMMITS,
            commit=tip,
            note=message,
        )
        self.desk.say(
            E.ATTEMPT_EXPIRED,
            f"{task} failed: {Reason.FOREIGN_COMMITS}: {message}",
            f"next: gitflow-agents show {plan}/{task}",
            task=task,
            reason=Reason.FOREIGN_COMMITS,
        )

    def retry(self, draft: Draft, task: str) -> None:
        record = self.desk.snapshot.record(task)
        status = advance(record.status, E.TASK_RETRIED, By.SCHEDULER)
        draft.put(record.model_copy(update={"status": status}))
        note = f"{task} is tried again: {record.reason}"
        draft.tell(E.TASK_RETRIED, task=task, status=status, reason=record.reason, note=note)
        self.desk.say(E.TASK_RETRIED, note, task=task, reason=record.reason)


def _told(record: TaskRecord, number: int, now: float) -> tuple[Remark, ...]:
    """Return the remarks on a task once an attempt was told all of them."""
    told = {"attempt": number, "delivered_at": now}
    return tuple(r.model_copy(update=told) if r.is_pending else r for r in record.feedback)


def _going_on(attempt: Attempt, asked: Attempt) -> Attempt:
    """Return an attempt that goes on after a question: the time in between is not its own."""
    worked = (asked.ended_at or asked.started_at) - asked.started_at
    spent = {"cost_usd": asked.cost_usd, "turns": asked.turns, "tokens": asked.tokens}
    began = attempt.started_at - max(0.0, worked)
    return attempt.model_copy(update={**spent, "started_at": began})


def _with_what_is_left(plan: Plan, terms: Task, attempt: Attempt) -> Task:
    """Return a task with what an attempt that goes on may still cost."""
    budget = plan.setting(terms, "budget_usd")
    if budget is None or attempt.cost_usd is None:
        return terms
    return terms.model_copy(update={"budget_usd": max(0.01, budget - attempt.cost_usd)})


def _ended(attempt: Attempt, report: DoneReport) -> float:
    """Return when an attempt ended, by the clock of its claim: another one may have gone wrong."""
    return attempt.started_at + max(0.0, report.ended_at - report.started_at)


def _spent(before: Attempt, report: DoneReport) -> dict[str, Any]:
    """Return what an attempt took, with what it had taken before it asked something."""
    costs = [cost for cost in (before.cost_usd, report.cost_usd) if cost is not None]
    turns = [count for count in (before.turns, report.turns) if count is not None]
    tokens = report.tokens or before.tokens
    if before.tokens and report.tokens:
        names = ("input", "cached", "output")
        both = {n: getattr(before.tokens, n) + getattr(report.tokens, n) for n in names}
        tokens = Tokens(**both)
    return {
        "cost_usd": sum(costs) if costs else None,
        "turns": sum(turns) if turns else None,
        "model": report.model,
        "session": report.session,
        "tokens": tokens,
    }


def _failed(report: DoneReport, reason: Reason, message: str) -> DoneReport:
    about = {"outcome": "failed", "reason": reason, "message": one_line(message)}
    return report.model_copy(update=about)


def is_result(store: Store, record: TaskRecord, tip: str) -> bool:
    """Say whether a branch ends in what publish recorded for the task's newest attempt."""
    attempt, commit = record.attempt, store.repository.commit(tip)
    # Anybody can write trailers; only publish commits as the tool, and with a report.
    if not commit.committer.startswith(f"{TOOL} ") or attempt is None:
        return False
    if store.repository.find(commit.tree, f"{BRIEFING}/report.yaml") is None:
        return False
    return any(
        event.task == record.id
        and event.attempt == attempt.number
        and event.event in (E.ATTEMPT_SUCCEEDED, E.ATTEMPT_FAILED, E.QUESTION_ASKED)
        for event in events_of(commit)
    )


def _events_at(repository: Repository, sha: str) -> list[Event]:
    return [*events_of(repository.commit(sha))]


def _detail(report: DoneReport) -> list[str]:
    """Return the last lines that tell why an attempt failed."""
    broken = [command for command in report.commands if command.code != 0]
    said = broken[-1].tail if broken else report.output_tail
    return said.splitlines()[-10:]
