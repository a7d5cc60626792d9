"""All that is done in one attempt, in order: set-up, agents, saving, checks, the report."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gitflow_agents import detectors, handoff, leaks, merge, steps
from gitflow_agents.agents import Ears, Job, Outcome, agent, find, terms
from gitflow_agents.errors import GitFailed
from gitflow_agents.execute.bench import Bench
from gitflow_agents.execute.inbox import Inbox
from gitflow_agents.execute.orders import (
    MARK,
    REPORT,
    TRACE,
    Order,
    Result,
    Seat,
    Stage,
    StepOrder,
    Verdict,
    checks_of,
    command_of,
)
from gitflow_agents.execute.reports import (
    cost_of,
    judged,
    over_budget,
    read_report,
    spent,
    together,
)
from gitflow_agents.models import DoneReport, Ran, Reason, Remark, Report, Review, StepReport
from gitflow_agents.render import before, clean
from gitflow_agents.render.prompt import TemplateFailed
from gitflow_agents.roles import matches, may_change
from gitflow_agents.runner import Caps
from gitflow_agents.store import Change, Unsavable, Worktree, committer_address
from gitflow_agents.store.repository import EMPTY_TREE, SUBMODULE
from gitflow_agents.store.state import BRIEFING, HEADS, one_line
from gitflow_agents.store.worktrees import Prints, Saved

if TYPE_CHECKING:
    from gitflow_agents.execute.executor import Executor


FLOOD = 256 * 1024 * 1024
"""Bytes that an agent may print; it is ended when it goes on."""
UNPROVED = (Reason.UNVERIFIED, Reason.CHECKS_FAILED)
"""How a check ends; when everything is being stopped it says nothing about the work."""
FEEDBACK = f"{BRIEFING}/feedback.md"
"""The file of the worktree in which an agent finds what is said while it works."""
LEFT_BEHIND = "it left processes behind, which were ended"


@dataclass
class Attempt:
    """All that is done in one attempt, in order."""

    executor: Executor
    order: Order
    worktree: Worktree
    began: float
    since: float
    inbox: Inbox
    missing: str = ""
    """Why the worktree could not be filled, and never will be before somebody installs it."""
    commands: tuple[Ran, ...] = ()
    not_ours: tuple[str, ...] = ()
    """What the set-up or an early check left beside the tree; nobody's work."""
    began_work: bool = False
    """The agent was started; before that there is nothing to keep."""
    stages: tuple[Stage, ...] = ()
    briefs: tuple[str, ...] = ()
    steering: Mapping[str, Prints] = field(default_factory=dict)
    """What was beside the tree before any agent came, and would steer it."""
    taken_away: tuple[str, ...] = ()
    own_config: bytes | None = None
    """The config of this worktree alone, before any agent came; None where there is none."""
    working_since: float = 0.0

    def work(self, on_progress: Callable[[str], None] | None) -> Result:
        order, plan = self.order, self.order.plan
        bench = Bench(
            self.executor,
            plan,
            self.worktree,
            order.nonce,
            Caps(seconds=plan.setting(order.task, "timeout").seconds),
            self._own_environment(self._own_seat),
            order.stop,
        )
        if self.missing:
            ready = Verdict(Reason.PRECONDITION_FAILED, self.missing, ())
        else:
            ready = bench.prepare()
        self.commands = ready.commands
        if ready.reason is not None:
            return self._result(bench, Outcome(ready.reason, ready.message, None, ""), Report())
        is_provided = self._is_provided(bench)
        if ready.commands or bench.copied or self._early_checks():
            self.not_ours = (*bench.copied, *self.worktree.untracked(ignored=False))
        note_not_ours(self.order.folder, self.not_ours)
        if is_provided:
            said = "what it provides is there already; its checks passed before any work"
            return self._result(bench, Outcome(None, said, None, ""), Report(), provided=True)
        self.own_config = self.worktree.own_config
        if order.crew:
            self.steering = self._steering()
        self.began_work = True
        self.working_since = self.executor.elapsed()
        complaint = self._stage(bench, self._own_seat, on_progress)
        for number, step in enumerate(order.crew, 1):
            if self.stages[-1].outcome.reason is not None or self.stages[-1].report.question:
                break
            self._step(bench, number, step, on_progress)
        outcome, report = together(self.stages)
        return self._result(bench, outcome, report, problem=complaint)

    # --- its agents -------------------------------------------------------------------------------

    @property
    def _own_seat(self) -> Seat:
        order = self.order
        brief = self.worktree.path / BRIEFING / "brief.md"
        return Seat(order.task, order.role, order.folder, brief, order.session)

    def _step(
        self,
        bench: Bench,
        number: int,
        step: StepOrder,
        on_progress: Callable[[str], None] | None,
    ) -> None:
        """Let a step's agent work on what the agents before it have left."""
        order, plan = self.order, self.order.plan
        task, role = step.member
        folder = order.folder / f"step-{number}"
        budget = plan.setting(order.task, "budget_usd")
        seat = Seat(
            task,
            role,
            folder,
            folder / "brief.md",
            step=number,
            word=step.word,
            seconds=plan.setting(plan.by_id[order.task.id], "timeout").seconds
            - (self.executor.elapsed() - self.working_since),
            cost_usd=None if budget is None else budget - (spent(self.stages) or 0.0),
        )

        def tell(line: str) -> None:
            said = f"step {number}/{len(order.crew)} {plan.setting(task, 'role')}: {line}"
            # Whoever looks on from beside reads it there.
            with contextlib.suppress(OSError), open(order.folder / "progress", "a") as file:
                file.write(f"{said}\n")
            if on_progress is not None:
                on_progress(said)

        if why := self._no_more(seat):
            self.stages += (Stage(task, role, Outcome(*why, None, ""), Report(), 0.0),)
            return
        done = tuple(
            before(
                steps.signature(plan, stage.task),
                self.worktree.stat(earlier, stage.tree),
                stage.report,
            )
            for earlier, stage in zip(self._trees, self.stages, strict=False)
        )
        meanwhile = tuple(self.inbox.undelivered())
        try:
            text = leaks.hidden(step.brief(done, meanwhile), self.executor.secrets)
        except TemplateFailed as e:
            refused = Outcome(Reason.PRECONDITION_FAILED, e.said, None, "")
            self.stages += (Stage(task, role, refused, Report(), 0.0),)
            return
        self._take_away()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        seat.brief.write_text(text)
        self.briefs += (text,)
        for remark in meanwhile:
            self.inbox.note(remark, True)
        tell(f"started, by {plan.setting(task, 'agent')}")
        self._stage(bench, seat, tell)

    def _steering(self) -> dict[str, Prints]:
        """Return what is beside the tree and steers agents that start here: ignored files."""
        plan, config = self.order.plan, self.executor.config
        paths = self.worktree.untracked(ignored=True)
        return {
            path: self.worktree.prints(path)
            for path in paths
            if not path.startswith(BRIEFING)
            if merge.is_protected(path, plan, config) or self._steered(path, self.order.crew)
        }

    def _steered(self, path: str, crew: Sequence[StepOrder]) -> str:
        """Return the agent of the first of some steps that takes a path for settings of its own."""
        for step in crew:
            name = self.order.plan.setting(step.member.task, "agent")
            agents = self.executor.config.agents
            cli = find(name, agents) if name in agents.allowed else None
            if cli is not None and any(matches(path, entry) for entry in cli.steered_by):
                return str(name)
        return ""

    def _take_away(self) -> None:
        """Move aside what an agent left beside the tree to steer those that follow it."""
        for path, prints in self._steering().items():
            if prints != self.steering.get(path):
                aside = self.order.folder / "taken-away" / str(len(self.taken_away))
                aside.parent.mkdir(exist_ok=True)
                shutil.move(self.worktree.path / path.rstrip("/"), aside)
                self.taken_away += (path,)

    @property
    def _trees(self) -> tuple[str, ...]:
        """Return the tree that each agent began with; of the next one too."""
        claim = self.executor.repository.commit(self.order.claim).tree
        return (claim, *(stage.tree for stage in self.stages))

    def _no_more(self, seat: Seat) -> tuple[Reason, str] | None:
        """Return why a step cannot begin after what those before it took."""
        if self.order.stop.is_set():
            return Reason.STOPPED, "it was stopped"
        if seat.seconds is not None and seat.seconds < 1:
            return Reason.TIMEOUT, "it was not started: no time is left for it"
        if seat.cost_usd is not None and seat.cost_usd <= 0:
            return Reason.BUDGET, "it was not started: the budget is spent"
        return None

    def _stage(self, bench: Bench, seat: Seat, on_progress: Callable[[str], None] | None) -> str:
        """Let one agent work, and note what came of it; returns what is wrong with its report."""
        since = self.executor.elapsed()
        bench = replace(bench, own=self._own_environment(seat))
        try:
            outcome = self._agent(bench, seat, on_progress)
        finally:
            self._forget_feedback()
        seconds = self.executor.elapsed() - since
        file = seat.folder / REPORT
        report: Report
        if seat.step and steps.is_review(seat.role):
            review, complaint = read_report(file, Review)
            if not complaint:
                review, complaint = judged(review, outcome.words or outcome.output, seat.word)
            report = review
        else:
            report, complaint = read_report(file, Report)
        if not report.summary.strip():
            report = report.model_copy(update={"summary": clean(outcome.words)})
        if complaint:
            report = report.model_copy(update={"risks": (*report.risks, complaint)})
        stage = Stage(seat.task, seat.role, outcome, report, seconds)
        if self.order.crew:
            stage = self._kept(stage)
            reason, message = stage.outcome.reason, stage.outcome.message
            if reason is None:
                reason, message = self._unfit(stage, complaint) or (None, message)
            stage = replace(stage, outcome=replace(stage.outcome, reason=reason, message=message))
        self.stages += (stage,)
        return complaint

    @property
    def _ears(self) -> Ears:
        """Return how an agent hears what is said meanwhile; a file of that is nobody's work."""

        def note(remark: Remark, is_delivered: bool) -> None:
            if FEEDBACK not in self.not_ours and (self.worktree.path / FEEDBACK).exists():
                self.not_ours = (*self.not_ours, FEEDBACK)
                note_not_ours(self.order.folder, self.not_ours)
            self.inbox.note(remark, is_delivered)

        return Ears(self.inbox.new, note, self.worktree.path / FEEDBACK)

    def _forget_feedback(self) -> None:
        """Take the file away in which an agent was told something."""
        with contextlib.suppress(OSError):
            if FEEDBACK in self.not_ours and not (self.worktree.path / BRIEFING).is_symlink():
                (self.worktree.path / FEEDBACK).unlink()

    def _kept(self, stage: Stage) -> Stage:
        """Commit what an agent left in the worktree as its own, for those that follow it."""
        order, repository = self.order, self.executor.repository
        role = order.plan.setting(stage.task, "role") if self.stages else ""
        outcome, tip = stage.outcome, self._tip()
        if self.stages and not repository.is_ancestor(self.stages[-1].tip, tip):
            tip = self.stages[-1].tip  # what others did stays theirs, whoever rewrote it
        self.worktree.detach(tip)
        offence = self._offence()
        tree = repository.commit(tip).tree
        try:
            tree, nested, aside = self._saved(repository.commit(order.claim).tree)
        except Unsavable as e:
            nested, aside = (), ""
            offence = e.reason, e.said
        except GitFailed as e:
            raise self._unsaved(e) from e
        if tree != repository.commit(tip).tree:
            subject = one_line(f"{role and f'{role}: '}{order.task.name}")[:160]
            by = steps.author(order.plan, stage.task)
            tip = repository.write_commit(tree, [tip], f"{order.task.id}: {subject}", author=by)
        self.worktree.detach(tip)
        if offence is None and nested:
            said = f"it made a repository of its own in {', '.join(nested)}; it is in {aside}"
            offence = Reason.PATH_VIOLATION, said
        if offence is not None:
            outcome = replace(outcome, reason=offence[0], message=offence[1])
        changes = self._own_changes(stage, tree)
        return replace(stage, outcome=outcome, tip=tip, tree=tree, changes=changes)

    def _own_changes(self, stage: Stage, tree: str) -> tuple[Change, ...]:
        """Return what an agent changed: the task's own also what earlier attempts left it.

        Of that it need not answer for what only a step's role lets be changed.
        """
        order, repository = self.order, self.executor.repository
        if self.stages:
            changes = repository.diff(self._trees[-1], tree)
            return tuple(c for c in changes if not c.path.startswith(BRIEFING))
        base = repository.commit(order.base).tree
        changes = repository.diff(base, merge.strip(repository, tree, base))
        if order.role is None:
            return tuple(changes)
        now = {change.path for change in repository.diff(self._trees[0], tree)}
        others = [step.member.role for step in order.crew]
        return tuple(
            change
            for change in changes
            if change.path in now
            or may_change(order.role, change.path)
            or not any(may_change(role, change.path) for role in others)
        )

    def _unfit(self, stage: Stage, complaint: str) -> tuple[Reason, str] | None:
        """Return why what an agent did lets the attempt not go on, or None."""
        if refused := merge.steering(stage.changes, self.order.plan, self.executor.config):
            return refused.reason, refused.message
        for path in (change.path for change in stage.changes):
            if name := self._steered(path, self.order.crew[len(self.stages) :]):
                return (
                    Reason.PROTECTED_PATH,
                    f"it changes {clean(path)}, which steers {name} after it",
                )
        if stage.role is not None:
            over = merge.overstepped(stage.changes, self.order.plan, stage.task, stage.role)
            if over is not None:
                return over.reason, over.message
        if stage.report.question:
            return None
        if isinstance(stage.report, Review):
            return steps.verdict(stage.report, complaint)
        if not self.stages and not stage.changes and stage.task.kind != "research":
            return Reason.NO_CHANGES, _nothing(stage.outcome)
        return None

    def _own_environment(self, seat: Seat) -> dict[str, str]:
        order = self.order
        turns = order.plan.setting(seat.task, "max_turns")
        agent = order.plan.setting(seat.task, "agent")
        name = steps.signature(order.plan, seat.task)
        return {
            "GITFLOW_TASK": order.task.id,
            "GITFLOW_ATTEMPT": str(order.number),
            "GITFLOW_BRIEF": str(seat.brief),
            "GITFLOW_REPORT": str(seat.folder / REPORT),
            "GITFLOW_PROGRESS": str(seat.folder / "progress"),
            "GITFLOW_FEEDBACK": str(self.worktree.path / FEEDBACK),
            **({"GITFLOW_MAX_TURNS": str(turns)} if turns else {}),
            **self._role(seat),
            "GIT_TRACE2_EVENT": str(order.folder / TRACE),
            "GIT_TRACE2_EVENT_BRIEF": "1",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": f"{agent}@agent.gitflow-agents.localhost",
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": committer_address(order.nonce),
        }

    def _role(self, seat: Seat) -> dict[str, str]:
        """Return what a role says to a command, which nobody but itself can hold to it."""
        plan = self.order.plan
        if seat.role is None:
            return {}
        said = {
            "GITFLOW_ROLE": str(plan.setting(seat.task, "role")),
            "GITFLOW_MODEL": plan.setting(seat.task, "model") or "",
            "GITFLOW_TOOLS": " ".join(plan.setting(seat.task, "tools") or ()),
        }
        return {name: value for name, value in said.items() if value}

    def _inputs(self) -> dict[str, str]:
        given = self.order.inputs.items()
        return {handoff.variable(name): value for name, value in given}

    def _is_provided(self, bench: Bench) -> bool:
        """Say whether every capability has a check and all of the task's checks pass already."""
        claim = self.executor.repository.commit(self.order.claim)
        # What an earlier attempt left proves nothing: nobody has judged it yet.
        if not self._early_checks() or claim.parents != (self.order.base,):
            return False
        checks = checks_of(self.order.plan, self.order.task)
        # What tells soonest that there is work to do comes first.
        verdict = bench.check(sorted(checks, key=lambda check: check.kind != "check"))
        if verdict.reason is None:
            self.commands += verdict.commands
            return True
        return False

    def _early_checks(self) -> bool:
        provides, task = self.order.task.provides, self.order.task
        if task.outputs or task.kind == "research":
            return False  # only an agent can say them
        return bool(provides) and all(capability.check for capability in provides)

    def _agent(
        self, bench: Bench, seat: Seat, on_progress: Callable[[str], None] | None
    ) -> Outcome:
        order, plan, task = self.order, self.order.plan, seat.task
        folder = bench.folder(plan.setting(task, "working_directory") or "")
        if folder is None:
            return Outcome(
                Reason.PATH_VIOLATION, "the working directory leads out of the worktree", None, ""
            )
        config = self.executor.config
        name = plan.setting(task, "agent")
        if name not in config.agents.allowed:  # a role's, or that of a config that was another
            said = f"the config's `agents` does not allow {clean(name)}"
            return Outcome(Reason.PRECONDITION_FAILED, said, None, "")
        if seat.step and name == "command" and task.run is None:  # a role's agent is another now
            return Outcome(Reason.PRECONDITION_FAILED, "the step has no `run`", None, "")
        cli = find(name, config.agents)
        ours = terms(plan, task, config.agents, cli, self.executor.environ, self._committed)
        if ours.problem:
            return Outcome(Reason.PRECONDITION_FAILED, ours.problem, None, "")
        job = Job(
            task=task,
            command=command_of(plan, task, config),
            folder=folder,
            brief=seat.brief,
            report=seat.folder / REPORT,
            progress=seat.folder / "progress",
            transcript=seat.folder / "output.log",
            # The checks run again where these are not: they get none of them.
            env={**ours.env, **bench.env, **self._inputs()},
            mark=f"{MARK}={order.nonce}",
            caps=replace(
                bench.caps,
                seconds=_least(plan.setting(task, "timeout").seconds, seat.seconds),
                silence=ours.silence,
                turns=ours.turns,
                cost_usd=_least(ours.cost_usd, seat.cost_usd),
                output=FLOOD,
                lost=ours.lost,
            ),
            stop=order.stop,
            on_progress=on_progress,
            top=self.worktree.path,
            scratch=seat.folder / "agent",
            model=ours.model,
            tools=ours.tools,
            mcp=ours.mcp,
            args=ours.args,
            session=seat.session,
            ears=self._ears,
        )
        return agent(ours.agent, config.agents).run(job)

    def _committed(self, path: str) -> bytes | None:
        """Return a file of the default branch, where the config is too, or None."""
        repository, branch = self.executor.repository, self.executor.repository.default_branch()
        for ref in (f"{HEADS}{branch}", f"refs/remotes/origin/{branch}"):
            tip = repository.resolve(f"{ref}^{{commit}}")
            if tip:
                return repository.read(repository.commit(tip).tree, path)
        return None

    def _result(
        self,
        bench: Bench,
        outcome: Outcome,
        report: Report,
        *,
        provided: bool = False,
        problem: str = "",
    ) -> Result:
        """Save the worktree, compare what must be left alone, verify, and write the report."""
        order, repository = self.order, self.executor.repository
        claim_tree = repository.commit(order.claim).tree
        tip, tree = self._tip(), claim_tree
        self.worktree.detach(tip)
        offence = self._offence()
        nested: tuple[str, ...] = ()
        aside = ""
        unsaved: tuple[Reason, str] | None = None
        try:
            if self.began_work:
                tree, nested, aside = self._saved(claim_tree)
                tip, tree = merge.without(repository, order.claim, tip, tree, bench.copied)
            else:
                tip = order.claim
        except Unsavable as e:
            left = self.executor.worktrees.aside(self.worktree)
            self.executor.worktrees.move(self.worktree, left)
            tree = repository.commit(tip).tree
            unsaved = e.reason, f"{e.said}; what it had not committed is in {left}"
        except GitFailed as e:
            raise self._unsaved(e) from e
        base_tree = repository.commit(order.base).tree
        stripped = merge.strip(repository, tree, base_tree)
        briefing = [c for c in repository.diff(claim_tree, tree) if c.path.startswith(BRIEFING)]
        changes = (*repository.diff(base_tree, stripped), *briefing)
        reason, message = outcome.reason, outcome.message
        if offence is not None:
            reason, message = offence
            message += f"; {unsaved[1]}" if unsaved else ""
        elif unsaved:
            reason, message = unsaved
        elif reason is None and nested:
            reason = Reason.PATH_VIOLATION
            message = f"it made a repository of its own in {', '.join(nested)}; it is in {aside}"
        elif reason is None and report.question:
            message = "it asks a question"
        elif reason is None and order.task.kind == "research":
            if not report.summary.strip():
                more = f": {problem}" if problem else ""
                reason = Reason.NO_CHANGES
                message = f"it found nothing: its report has no `summary`{more}"
        elif reason is None and stripped == base_tree and not provided:
            reason, message = Reason.NO_CHANGES, _nothing(outcome)
        if order.stop.is_set() and reason in (Reason.SETUP_FAILED, *UNPROVED):
            reason, message = Reason.STOPPED, "it was stopped"
        over = over_budget(order, cost_of(outcome, report))
        if reason is None and over:
            reason, message = Reason.BUDGET, over
        if reason is None and not provided and not report.question:
            reason, message = self._verify(bench, stripped, changes, message)
            if self.commands:  # they ran what the agent wrote
                reason, message = self._offence() or (reason, message)
            if order.stop.is_set() and reason in UNPROVED:
                reason, message = Reason.STOPPED, "it was stopped"
        paths = [change.path for change in changes]
        outside = merge.outside_files(paths, order.plan, order.task)
        done = DoneReport(
            plan=order.plan.plan,
            task=order.task.id,
            attempt=order.number,
            outcome="asked" if reason is None and report.question else _outcome(reason),
            reason=reason,
            message=one_line(message),
            agent=order.plan.setting(order.task, "agent"),
            started_at=self.began,
            ended_at=self.began + self.executor.elapsed() - self.since,
            exit_code=outcome.exit_code,
            scope=report.scope or order.task.name,
            files_touched=tuple(map(clean, paths)),
            outside_files=tuple(map(clean, outside)),
            commands=self.commands,
            risks=(*report.risks, *self._notes(outcome, paths, tip)),
            follow_ups=report.follow_ups,
            summary=report.summary,
            learned=report.learned,
            outputs=report.outputs,
            question=report.question if reason is None else None,
            heard=tuple(self.inbox.heard.values()),
            report_problem=one_line(problem),
            cost_usd=cost_of(outcome, report),
            turns=outcome.turns,
            model=clean(outcome.model),
            session=clean(outcome.session),
            tokens=outcome.tokens,
            denied=tuple(map(clean, outcome.denied)),
            output_tail=outcome.output,
            already_provided=provided,
            steps=self._rows() if order.crew else (),
        )
        return Result(tree, tip, changes, done, self.stages, self.briefs)

    def _rows(self) -> tuple[StepReport, ...]:
        plan = self.order.plan
        return tuple(
            StepReport(
                role=plan.setting(stage.task, "role") or "",
                agent=plan.setting(stage.task, "agent"),
                model=clean(stage.outcome.model),
                outcome=_outcome(stage.outcome.reason),
                reason=stage.outcome.reason,
                message=one_line(stage.outcome.message),
                seconds=stage.seconds,
                turns=stage.outcome.turns,
                cost_usd=cost_of(stage.outcome, stage.report),
                tokens=stage.outcome.tokens,
                verdict=getattr(stage.report, "verdict", None),
                reasons=getattr(stage.report, "reasons", ()),
                summary=stage.report.summary,
                files_touched=tuple(clean(change.path) for change in stage.changes),
            )
            for stage in self.stages
        )

    def _unsaved(self, error: GitFailed) -> GitFailed:
        return GitFailed(
            f"the work of {self.order.task.id} could not be saved: {error.message}",
            hint=f"it is still in {self.worktree.path}",
        )

    def _notes(self, outcome: Outcome, paths: Sequence[str], tip: str) -> Iterator[str]:
        """Yield what a person should know of the attempt, beside what its agent says."""
        if outcome.left_behind:
            yield LEFT_BEHIND
        if pushed := self.executor.guard.pushes(self.order.nonce):
            some = "; ".join(clean(one_line(each)[:120]) for each in pushed[:5])
            yield f"it pushed, although pushes are turned off for it: {some}"
        if self.taken_away:
            some = ", ".join(map(clean, self.taken_away[:5]))
            aside = self.order.folder / "taken-away"
            yield f"ignored files that steer agents were moved from a step's way to {aside}: {some}"
        if swung := detectors.swings(self._history(tip)):
            some = ", ".join(map(clean, swung[:5])) + (", …" if swung[5:] else "")
            yield f"it went to and fro, and brought back what it had taken back: {some}"
        if self.order.task.kind == "research" and paths:
            some = ", ".join(map(clean, paths[:5])) + (", …" if paths[5:] else "")
            yield f"it is research and changed files, which stay on its branch: {some}"

    def _history(self, tip: str) -> list[dict[str, tuple[str, str]]]:
        """Return what each commit of the attempt changed, oldest first; path: old and new blob."""
        repository, claim = self.executor.repository, self.order.claim
        if tip == claim or repository.commit(tip).parents == (claim,):
            return []
        commits = repository.commits("--first-parent", tip, f"^{claim}")[: merge.MOST_COMMITS]
        return [
            {
                change.path: (
                    change.old.sha if change.old else "",
                    change.new.sha if change.new else "",
                )
                for change in repository.diff(
                    repository.commit(commit.parents[0]).tree if commit.parents else EMPTY_TREE,
                    commit.tree,
                )
            }
            for commit in commits
        ]

    def _offence(self) -> tuple[Reason, str] | None:
        """Return what the attempt did to the repository, if anything; our own refs are put back."""
        findings = self.executor.guard.look(self.order.nonce)
        self.executor.alarms += findings.files
        # What it says would be run by the git that saves the work, when all of the agent is gone.
        if self.began_work and self.worktree.put_back(self.own_config):
            said = "the config of its worktree changed while it ran; it was put back"
            return Reason.PROTECTED_PATH, "; ".join((said, *findings.files))
        if findings.files:
            return Reason.PROTECTED_PATH, "; ".join(findings.files)
        return (Reason.PATH_VIOLATION, "; ".join(findings.refs)) if findings.refs else None

    def _saved(self, claim_tree: str) -> Saved:
        """Return what is in the worktree; repositories that the agent made there are opened."""
        claim, repository = self.order.claim, self.executor.repository
        limits = self.executor.config.limits
        saved = self.worktree.save(claim, self.not_ours, limits=limits)
        changes = repository.diff(claim_tree, saved.tree)
        if any(change.new and change.new.mode == SUBMODULE for change in changes):
            saved = self.worktree.save(claim, self.not_ours, limits=limits, thorough=True)
        if FEEDBACK in self.not_ours and repository.find(saved.tree, FEEDBACK) is not None:
            # It committed everything that was there, what it was told included.
            return saved._replace(tree=repository.graft(saved.tree, {FEEDBACK: None}))
        return saved

    def _tip(self) -> str:
        head = self.worktree.head.removeprefix("ref: ")
        if head == self.order.claim:
            return head
        return self.executor.repository.resolve(f"{head}^{{commit}}") or self.order.claim

    def _verify(
        self, bench: Bench, stripped: str, changes: Sequence[Change], message: str
    ) -> tuple[Reason | None, str]:
        """Run the task's checks where it worked; only a worktree without anything else is proof."""
        checks = checks_of(self.order.plan, self.order.task)
        if not checks:
            return None, message
        is_proof = not self.commands and self.worktree.is_just(changes)
        verdict = bench.check(checks)
        self.commands += verdict.commands
        if verdict.reason is not None:
            return verdict.reason, verdict.message
        if is_proof:
            self.executor.remember(stripped, checks, verdict.commands)
        return None, message


def _nothing(outcome: Outcome) -> str:
    denied = ", ".join(map(clean, outcome.denied[:3]))
    return f"it changed nothing; it was denied {denied}" if denied else "it changed nothing"


def _outcome(reason: Reason | None) -> Literal["succeeded", "failed", "stopped"]:
    if reason is None:
        return "succeeded"
    return "stopped" if reason is Reason.STOPPED else "failed"


def _least(cap: float | None, *more: float | None) -> Any:
    return min((each for each in (cap, *more) if each is not None), default=None)


def note_not_ours(folder: Path, paths: Sequence[str]) -> None:
    """Note what is nobody's work, for whoever has to save the worktree if we die."""
    (folder / "not-ours").write_text("\0".join(paths), errors="surrogateescape")


def read_not_ours(folder: Path) -> tuple[str, ...] | None:
    """Return what an attempt noted as nobody's work, or None when it did not get as far."""
    try:
        text = (folder / "not-ours").read_text(errors="surrogateescape")
    except OSError:
        return None if folder.is_dir() else ()
    return tuple(path for path in text.split("\0") if path)
