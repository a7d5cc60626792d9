"""The verbs that jobs of GitHub Actions call: what a job says, by outputs, summary and log.

Decisions are made in `service.jobs`.  What a plan or an agent says is printed between two lines
that tell the runner to take nothing in between for a command of its own.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gitflow_agents import render, spec
from gitflow_agents.errors import ExitCode, FlowError, Problem, UsageError
from gitflow_agents.execute import Verdict
from gitflow_agents.forge import Forge, ForgeRun
from gitflow_agents.github import GitHub, Surroundings, annotation, surroundings, whereabouts
from gitflow_agents.github.issues import Issues
from gitflow_agents.models import SCHEMA, Limits, Status
from gitflow_agents.render.story import summary
from gitflow_agents.render.text import cell
from gitflow_agents.scheduler import Snapshot, is_ahead, limits_of, wake_at
from gitflow_agents.service import Service
from gitflow_agents.service.asking import ask, limit
from gitflow_agents.service.boardjobs import BoardJobs
from gitflow_agents.service.commanding import Typed, Words
from gitflow_agents.service.jobs import ClaimOver, Jobs
from gitflow_agents.service.permitting import Permitting
from gitflow_agents.spec import Wish
from gitflow_agents.store.remote import settings_of

if TYPE_CHECKING:
    from gitflow_agents.cli import App
    from gitflow_agents.service import Told


MOST_ANNOTATIONS = 10
"""Mistakes that are shown at their lines; GitHub takes so many of a step."""
_BRANCH = re.compile("^plan/[a-z0-9-]+:")
"""Begins the name of a file that was read on a plan's branch."""


@contextmanager
def hushed(app: App) -> Iterator[list[str]]:
    """Let no line that is printed speak to the runner of a job; one of JSON cannot.

    What is put into the list is said to the runner in the end.
    """
    aloud: list[str] = []
    if app.json or os.environ.get("GITHUB_ACTIONS") != "true":
        yield aloud
        return
    word = secrets.token_hex(16)
    click.echo(f"::stop-commands::{word}")
    yield aloud
    # After an error it stays so: its words are printed later, and may be a stranger's, too.
    click.echo(f"::{word}::")
    for line in aloud:
        click.echo(line)


class Job:
    """One verb in one job: its surroundings, and the service that it asks."""

    def __init__(self, app: App, tell: Callable[[Told], None]) -> None:
        self._app = app
        self.refused: list[Problem] = []
        """What was found wrong in new texts of plans that run."""
        self.around: Surroundings = surroundings(os.environ)

        def hear(told: Told) -> None:
            self.refused += told.problems
            tell(told)

        self._tell = hear

    @cached_property
    def jobs(self) -> Jobs:
        """Return what can be done in the checkout."""
        # The transport of git asks the environment; nothing of it reaches an agent.
        os.environ.update(self.around.git_settings())
        service: Service = self._app.service
        if self.around.actor:
            service.actor = self.around.actor
        service.doubt = self._doubt
        return Jobs(service, self._tell)

    def _doubt(self) -> str:
        """Return why what is proposed now waits for an approval."""
        login, number = self.around.who
        asks = Permitting(self.forge, self.jobs.service.rules)
        return asks.doubt(login, number, is_bot=login.endswith("[bot]"))

    @property
    def forge(self) -> Forge:
        """Return where runs are started."""
        return self.github

    @cached_property
    def github(self) -> GitHub:
        """Return GitHub, as this job's token sees it."""
        around = self.around
        if not around.token:
            raise UsageError(
                "GITHUB_TOKEN is not set",
                hint="a workflow has to pass it on: env: {GITHUB_TOKEN: ${{ github.token }}}",
            )
        branch = around.branch or self.jobs.service.repository.default_branch()
        return GitHub(
            around.repository, around.token, api=around.api, server=around.server, branch=branch
        )


def reconcile(
    app: App,
    plans: Sequence[str],
    verdict: str,
    tell: Callable[[Told], None],
    aloud: list[str],
) -> int:
    """Pass over the plans that are named, or all that the remote has; return the exit code.

    `verdict` is what became of the test in this very run, if that is a train's; what is wrong in a
    plan's file goes to `aloud`, for the runner to show at its lines.
    """
    job = Job(app, tell)
    for plan in plans:
        if why := spec.bad_plan_name(plan):
            return say_failed(app, UsageError(why), aloud)
    if job.around.event == "issue_comment":
        return _comment(app, job, aloud)
    # The sweep hears what GitHub has lost; nobody else asks for what was written.
    words = Words() if job.around.event == "schedule" else None
    return _pass(app, job, plans, aloud, verdict, words=words)


def _comment(app: App, job: Job, aloud: list[str]) -> int:
    """Hear a comment, where it stands in what is told of a plan."""
    said = job.around.comment
    if said is None or said.is_own:
        app.note("nobody has said anything new")
        return ExitCode.DONE
    plan = job.jobs.plan_at(said.number)
    if plan:
        return _pass(app, job, [plan], aloud, words=Words((said,)))
    why = job.jobs.answer_stranger(said, job.github, job.around.repository)
    app.note(f"no plan is told of in {said.number}{f': {why}' if why else ''}")
    return ExitCode.DONE


def command(
    app: App,
    plan: str,
    text: str,
    tell: Callable[[Told], None],
    aloud: list[str],
    *,
    dry_run: bool,
) -> int:
    """Carry out what somebody typed into the form, in the words of a comment."""
    job = Job(app, tell)
    if not plan:
        return say_failed(
            app, spec.wrong("plan", "no plan is named", "name the one it is for"), aloud
        )
    if why := spec.bad_plan_name(plan):
        return say_failed(app, spec.wrong("plan", why), aloud)
    around = job.around
    now = job.jobs.service.clock()
    typed = Typed(f"form-{around.run}", text, *around.who, now, dry_run, around.first)
    words = Words(typed=typed, listens=False)
    code = _pass(app, job, [plan], aloud, words=words)
    for one in words.came:
        app.note(f"{one.line}: {one.code or one.status}: {'; '.join(one.said)}")
    if not words.came:
        app.fail(f"`{render.one_line(text)[:200]}` is not a command", "help lists them")
    fine = ("done", "open")  # what is open is left to a later job of this run
    is_done = words.came and all(one.status in fine for one in words.came)
    return code or (ExitCode.DONE if is_done else ExitCode.FAILED)


def end_runs(app: App, plans: Sequence[str], tell: Callable[[Told], None], aloud: list[str]) -> int:
    """End the runs that plans want no more, and wait for it; return the exit code."""
    job = Job(app, tell)
    codes = [ExitCode.DONE]
    for plan in plans or job.jobs.plans():
        try:
            said = job.jobs.end_runs(plan, job.forge, wait=True)
        except FlowError as e:
            codes.append(ExitCode(say_failed(app, e, aloud, f"{plan}: ")))
            continue
        if app.json:
            app.write({"schema": SCHEMA, "event": "runs_ended", "plan": plan, "said": list(said)})
        for line in said or (f"plan {plan} has no run that is to end",):
            app.note(line)
    return max(codes)


def _pass(
    app: App,
    job: Job,
    plans: Sequence[str],
    aloud: list[str],
    verdict: str = "",
    parallel: int | None = None,
    words: Words | None = None,
) -> int:
    run = job.around.run
    heard = ForgeRun(run, "", True, verdict, job.forge.url(run)) if verdict else None
    names = list(plans) or job.around.pushed or job.jobs.plans()
    failed: list[tuple[str, FlowError]] = []
    done: list[Snapshot] = []
    for plan in names:
        try:
            beside = heard, parallel, words, job.github, Issues(job.github)
            done.append(job.jobs.reconcile(plan, job.github, *beside))
        except FlowError as e:  # one plan must not keep the others waiting
            failed.append((plan, e))
    for snapshot in done:
        if app.json:
            about = {"event": "pass_ended", **_outputs(snapshot)}
            app.write({"schema": SCHEMA, **about, "progress": snapshot.progress})
        limits, now = limits_of(snapshot.plan, job.jobs.service.config), job.jobs.service.clock()
        app.note(standing(snapshot, limits, now))
        if words is not None and words.reply:  # who asked reads that first
            job.around.add_summary(f"{words.reply}\n")
        job.around.add_summary(summary(snapshot, limits, now))
    if len(names) == 1 and done:
        job.around.set_outputs(_outputs(done[0]))
    is_behind = [BoardJobs(job.jobs).is_behind(snapshot, job.github) for snapshot in done]
    job.around.set_outputs({"board": "true" if any(is_behind) else ""})
    for plan, error in failed:
        say_failed(app, error, aloud, f"{plan}: ")
    # A new text of a plan that runs was refused: that fails nothing, and is shown all the same.
    aloud += [annotation(_placed(problem)) for problem in job.refused[:MOST_ANNOTATIONS]]
    if not names:
        app.note("there is no plan: push one on a branch plan/NAME")
    worst = [error.code for _, error in failed]
    return ExitCode.FAILED if ExitCode.FAILED in worst else max(worst, default=ExitCode.DONE)


def say_failed(app: App, error: FlowError, aloud: list[str], about: str = "") -> int:
    """Say what went wrong, in the log and for the runner to show; return the exit code."""
    problems = getattr(error, "problems", ())
    app.fail(f"{about}{error.message}", error.hint, problems)
    sentence = Problem("", 0, 0, "", f"{about}{error.message}", error.hint)
    aloud += [annotation(_placed(one)) for one in problems[:MOST_ANNOTATIONS] or (sentence,)]
    return error.code


def _placed(problem: Problem) -> Problem:
    """Return a problem by the path that a runner knows, which is not that of a branch."""
    return replace(problem, file=_BRANCH.sub("", problem.file))


def execute(
    app: App,
    plan: str,
    task: str,
    claim: str,
    folder: str,
    tell: Callable[[Told], None],
    *,
    install: bool,
) -> int:
    """Do an attempt and leave what came of it in a folder; return the exit code."""
    job = Job(app, tell)
    run, place = job.around.run, Path(folder)
    try:
        report = job.jobs.execute(plan, task, claim, run, place, install=install)
    except ClaimOver as e:
        return _over(app, job, e)
    if app.json:
        app.write(report.model_dump(mode="json", by_alias=True))
    outcome = f"{report.reason}: {report.message}" if report.reason else "succeeded"
    app.note(f"attempt {report.attempt} at {plan}/{task}: {outcome}")
    job.around.add_summary(render.done_report(report))
    job.around.set_outputs(
        {
            "state": report.outcome,
            "plan": plan,
            "task-id": task,
            "attempt": str(report.attempt),
            "cost-usd": "" if report.cost_usd is None else str(report.cost_usd),
            "error-code": str(report.reason or ""),
            "error-message": report.message,
            "bundle-path": folder,
        }
    )
    return ExitCode.FAILED if report.reason else ExitCode.DONE


def publish(
    app: App, plan: str, task: str, claim: str, folder: str, tell: Callable[[Told], None]
) -> int:
    """Publish what another job left in a folder; return the exit code."""
    job = Job(app, tell)
    try:
        published = job.jobs.publish(plan, task, claim, job.around.run, Path(folder))
    except ClaimOver as e:
        return _over(app, job, e)
    said = published.report.reason or "succeeded"
    if app.json:
        about = {"plan": plan, "task": task, "attempt": published.report.attempt}
        came = {"commit": published.event, "kept": published.kept}
        app.write({"schema": SCHEMA, **about, "reason": published.report.reason, **came})
    if published.kept:
        app.note(f"{plan}/{task} was ended meanwhile; what came of it is kept as {published.kept}")
    else:
        app.note(f"attempt {published.report.attempt} at {plan}/{task} is published: {said}")
    _ask_for_a_pass(app, job.forge, plan)
    return ExitCode.DONE


def test(app: App, plan: str, tip: str, tell: Callable[[Told], None]) -> int:
    """Test a train; the exit code is the verdict."""
    job = Job(app, tell)
    try:
        verdict = job.jobs.test(plan, tip)
    except ClaimOver as e:
        app.fail(e.message)
        return ExitCode.TRY_AGAIN
    if app.json:
        commands = [ran.model_dump(mode="json") for ran in verdict.commands]
        about = {"plan": plan, "claim": tip, "reason": verdict.reason, "commands": commands}
        app.write({"schema": SCHEMA, **about})
    job.around.add_summary(_tested(plan, verdict))
    state = "failed" if verdict.reason else "succeeded"
    code = str(verdict.reason or "")
    job.around.set_outputs(
        {"state": state, "plan": plan, "error-code": code, "error-message": verdict.message}
    )
    for ran in verdict.commands:
        app.note(f"{ran.kind}: {render.one_line(ran.command)}: {ran.code}")
        if ran.code != 0:
            app.note(render.clean(ran.tail))
    if verdict.reason is not None:
        app.fail(f"{verdict.reason}: {verdict.message}")
        return ExitCode.FAILED
    app.note("everything passed")
    return ExitCode.DONE


def _tested(plan: str, verdict: Verdict) -> str:
    """Return what was run of a train and what came of it, for the summary of its job."""
    came = f"failed: {verdict.reason}" if verdict.reason else "passed"
    rows = [f"| {one.kind} | {cell(one.command)} | {one.code} |" for one in verdict.commands]
    table = ["| What | Command | Exit |", "|---|---|---:|", *rows] if rows else []
    return "\n".join([f"### A train of {plan} has {came}", "", *table]) + "\n"


def start(
    app: App,
    plan: str,
    wish: Wish,
    remote: str,
    tell: Callable[[Told], None],
    aloud: list[str],
    *,
    dry_run: bool,
) -> int:
    """Let Actions work on a plan, or on what is asked for in words; return the exit code.

    In a job the pass is done here and now, from a terminal it is asked for.
    """
    in_a_job = os.environ.get("GITHUB_ACTIONS") == "true"
    try:
        if in_a_job:
            return _start_here(app, plan, wish, tell, aloud, dry_run=dry_run)
        return _start_there(app, plan, wish, remote, tell, dry_run=dry_run)
    except FlowError as e:
        if not in_a_job:
            raise
        return say_failed(app, e, aloud)


def _start_here(
    app: App,
    plan: str,
    wish: Wish,
    tell: Callable[[Told], None],
    aloud: list[str],
    *,
    dry_run: bool,
) -> int:
    parallel = _sensible(plan, wish)
    if plan and (why := spec.bad_plan_name(plan)):
        raise spec.wrong("plan", why)
    job = Job(app, tell)
    jobs = job.jobs
    if wish.task:
        own = f"session-{job.around.run}"  # another attempt at this run asks for the same
        asked = ask(jobs.service, wish, plan, jobs.remote, tell, called=own, dry_run=dry_run)
        plan, said = asked.plan, list(asked.said)
    elif dry_run:
        said = [step.text for step in jobs.rehearse(plan, parallel)]
    else:
        return _pass(app, job, [plan], aloud, parallel=parallel)
    _say(app, plan, said, dry_run=dry_run)
    if dry_run:
        job.around.add_summary(_preview(plan, said))
        return ExitCode.DONE
    return _pass(app, job, [plan], aloud, parallel=parallel)


def _start_there(
    app: App, plan: str, wish: Wish, remote: str, tell: Callable[[Told], None], *, dry_run: bool
) -> int:
    service, parallel = app.service, _sensible(plan, wish)
    if dry_run and not wish.task:
        plan, steps = service.rehearse(plan, jobs=parallel, remote=remote)
        _say(app, plan, [step.text for step in steps], dry_run=True)
        return ExitCode.DONE
    forge = None if dry_run else _there(service, remote)
    if wish.task:
        asked = ask(service, wish, plan, remote, tell, dry_run=dry_run)
        plan = asked.plan
        _say(app, plan, list(asked.said), dry_run=dry_run)
    elif not dry_run:
        plan = service.offer(plan, remote)
    if forge is not None:
        _ask_for_a_pass(app, forge, plan, parallel)
    return ExitCode.DONE


def _there(service: Service, remote: str) -> Forge:
    """Return GitHub, as the person at the terminal sees it."""
    settings = dict(settings_of(service.repository, remote))
    there = whereabouts(settings["url"], os.environ)
    branch = service.repository.default_branch()
    return GitHub(there.repository, there.token, api=there.api, server=there.server, branch=branch)


def _sensible(plan: str, wish: Wish) -> int | None:
    """Return the attempts at once that are asked for; InvalidFile where options do not agree."""
    if not wish.task.strip() and (idle := wish.about_the_task):
        what = "say what is to be done: task"
        raise spec.wrong(idle[0], "it is about new work, and there is none", what)
    if not wish.task and not plan:
        raise spec.wrong("plan", "no plan is named", "name one, or say what is to be done: task")
    return limit(wish.max_parallel)


def _say(app: App, plan: str, said: Sequence[str], *, dry_run: bool) -> None:
    if dry_run and app.json:
        app.write({"schema": SCHEMA, "plan": plan, "would": list(said)})
    for line in said:
        if dry_run and not app.json:
            app.say(line)
        else:
            app.note(line)


def _preview(plan: str, said: Sequence[str]) -> str:
    rows = [f"### What would happen to plan {cell(plan)}", "", *(f"- {cell(one)}" for one in said)]
    return "\n".join([*rows, "", "Nothing was written.", ""])


def _ask_for_a_pass(app: App, forge: Forge, plan: str, parallel: int | None = None) -> None:
    more = {"max-parallel": str(parallel)} if parallel else {}
    run = forge.start("reconcile", {"plan": plan, **more})
    if app.json:
        url = forge.url(run) if run else ""
        app.write({"schema": SCHEMA, "plan": plan, "run": run or None, "url": url})
    app.note(f"a pass over {plan} was asked for{f': {forge.url(run)}' if run else ''}")


def _over(app: App, job: Job, why: ClaimOver) -> int:
    """Nothing was to be done: somebody else does it, or nobody wants it any more."""
    if app.json:
        app.write({"schema": SCHEMA, "state": "over", "message": why.message})
    app.note(f"nothing was done: {why.message}")
    job.around.set_outputs({"state": "over"})
    return ExitCode.DONE


def standing(snapshot: Snapshot, limits: Limits, now: float) -> str:
    """Return in a sentence how far a pass has come, and when more is due by the clock."""
    due = wake_at(snapshot, limits)
    later = "" if due is None or not is_ahead(due, now) else f"; more is due at {render.utc(due)}"
    running = len(snapshot.by_status[Status.IN_PROGRESS])
    done, total = len(snapshot.by_status[Status.COMPLETED]), len(snapshot.plan.tasks)
    testing = ", a train is tested" if snapshot.state.train else ""
    return (
        f"plan {snapshot.plan.plan}: {done} of {total} tasks are merged to {snapshot.state.flow}, "
        f"{render.count(running, 'attempt')} at work{testing}{later}"
    )


def _outputs(snapshot: Snapshot) -> dict[str, str]:
    def ids(tasks: Any) -> str:
        return json.dumps(sorted(tasks, key=snapshot.plan.order.__getitem__))

    return {
        "state": snapshot.state.status,
        "plan": snapshot.plan.plan,
        "flow-branch": snapshot.state.flow,
        "ending": "true" if snapshot.state.ending else "",
        "ready": ids(snapshot.frontier.ready),
        "running": ids(snapshot.by_status[Status.IN_PROGRESS]),
        "failed": ids(snapshot.by_status[Status.FAILED]),
    }


def words(environ: Mapping[str, str]) -> list[str]:
    """Return the command line that the inputs of the action come to.

    UsageError when its form is none that this version knows.
    """
    given = shlex.split(environ.get("ACTION_COMMAND") or "reconcile")
    form = _form(environ.get("ACTION_FORM", ""))
    plan, task, claim, folder, verdict = (
        environ.get(f"ACTION_{name}", "") for name in ("PLAN", "TASK", "CLAIM", "FOLDER", "VERDICT")
    )
    plan = plan or form.pop("plan", "")
    form.pop("plan", "")
    if "command" in form:
        if idle := sorted(form.keys() - {"command", "dry-run"}):
            raise UsageError(
                f"{idle[0]} is about new work, and command about a plan that is there",
                hint="leave one of them out",
            )
    elif form:
        given[0] = "start"
    project = environ.get("ACTION_PROJECT", "")
    about = {"claim": claim, "verdict": verdict, "project": project}
    about |= {{"execute": "to", "publish": "from"}.get(given[0], ""): folder}
    given += [f"--{name}={value}" for name, value in about.items() if name and value]
    given += [f"--{name}={value}" if value else f"--{name}" for name, value in form.items()]
    what = f"{plan}/{task}" if task else plan
    # Whatever it is, it is no option.
    return [*given, "--", what] if what else given


FLAGS = ("dry-run",)
INPUTS = (*("plan", "command", *(spec.option(field.name) for field in fields(Wish))), *FLAGS)
"""The inputs of the form: each is the option of `start` that has its name, `command` of a pass."""


def _form(text: str) -> dict[str, str]:
    """Return what somebody filled in, by input; a flag that is set has no text."""
    try:
        said = json.loads(text or "{}")
    except ValueError as e:
        raise UsageError("the form is no JSON", hint="form: ${{ toJSON(inputs) }}") from e
    if not isinstance(said, dict | None):
        raise UsageError("the form is no object", hint="form: ${{ toJSON(inputs) }}")
    filled: dict[str, str] = {}
    for name, value in (said or {}).items():
        if name not in INPUTS:
            hint = f"there are {', '.join(INPUTS)}; gitflow-agents init --upgrade"
            raise UsageError(f"the form has an input {name[:60]!r}, which means nothing", hint=hint)
        word = value if isinstance(value, str) else json.dumps(value)
        if name in FLAGS and word not in ("true", "false", ""):
            raise UsageError(f"{name}: {word[:60]!r} is neither true nor false")
        if name in FLAGS:
            filled |= {name: ""} if word == "true" else {}
        elif word.strip() and value is not None:
            filled[name] = word
    return filled


def main() -> None:
    """Run the verb that the inputs of the action name."""
    from gitflow_agents.cli import App
    from gitflow_agents.cli import main as run

    try:
        sys.argv[1:] = words(os.environ)
    except UsageError as e:
        aloud: list[str] = []
        code = say_failed(App(), e, aloud)
        for line in aloud:
            click.echo(line)
        sys.exit(code)
    run()


__all__ = [
    "Job",
    "end_runs",
    "execute",
    "hushed",
    "main",
    "publish",
    "reconcile",
    "say_failed",
    "standing",
    "start",
    "test",
    "words",
]

if __name__ == "__main__":
    main()
