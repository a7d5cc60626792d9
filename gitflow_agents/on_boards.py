"""The verb `sync` at its two doors, a terminal and a job of Actions: how a report is shown there.

A job looks at what its passes have changed, unless somebody asks for more; a person looks at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from gitflow_agents.board import report
from gitflow_agents.board.report import Report
from gitflow_agents.errors import ExitCode, FlowError, UsageError
from gitflow_agents.github import GitHub
from gitflow_agents.on_actions import Job, hushed, say_failed
from gitflow_agents.render import count
from gitflow_agents.service.boarding import HAS_TOKEN, SETTING, TOKEN, Boarding, Terminal, meant
from gitflow_agents.service.boardjobs import BoardJobs
from gitflow_agents.service.syncing import MOST_NEW_IN_A_JOB, Asked

if TYPE_CHECKING:
    from gitflow_agents.cli import App
    from gitflow_agents.service import Told


def sync(
    app: App,
    plans: Sequence[str],
    asked: Asked,
    project: str,
    *,
    is_all: bool,
    tell: Callable[[Told], None],
) -> int:
    """Bring boards in step, show what came of it, and return the exit code."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        with hushed(app) as aloud:
            return _in_a_job(app, plans, asked, project, is_all, tell, aloud)
    terminal = Terminal(app.service, project, app.note)
    codes = [ExitCode.DONE]
    for plan in meant(app.service, plans, project, is_all=is_all):
        try:
            is_tracked = terminal.track(plan, dry_run=asked.dry_run)
            if is_tracked and not (asked.creates or terminal.shows(plan)):
                continue  # its issues are all there is of it
            came = terminal.sync(plan, asked)
            if came.waiting and not asked.dry_run and _can_ask(app):
                _show(app, came)
                tasks = count(len(came.waiting), "task")
                what = f"are the cards that look like those of {tasks} theirs?"
                came = terminal.sync(plan, replace(asked, adopt=click.confirm(what)))
        except UsageError:
            raise
        except FlowError as e:  # one board must not keep the others waiting
            app.fail(f"{plan}: {e.message}", e.hint)
            codes.append(e.code)
            continue
        _show(app, came)
        codes.append(_code(came))
    return _worst(codes)


def _in_a_job(
    app: App,
    plans: Sequence[str],
    asked: Asked,
    project: str,
    is_all: bool,
    tell: Callable[[Told], None],
    aloud: list[str],
) -> int:
    """Tell boards what passes have changed, and answer who asked for that in a comment."""
    job = Job(app, tell)
    # An App that may not write projects has no token for them: with its other one GitHub refuses,
    # by name and once, so that it is told and passes need not ask again.
    is_app = os.environ.get(HAS_TOKEN) == "true"
    token = os.environ.get(TOKEN, "") or (job.around.token if is_app else "")
    if not token:
        app.note(f"no board is kept: {SETTING} is not set")
        return ExitCode.DONE
    names = list(plans) or job.jobs.plans()
    around, branch = job.around, job.github.branch
    github = GitHub(around.repository, token, api=around.api, server=around.server, branch=branch)
    boarding = Boarding(github, tell=app.note)
    asked = replace(asked, is_full=is_all, most_new=MOST_NEW_IN_A_JOB)
    codes = [ExitCode.DONE]
    for plan in names:
        try:
            came = BoardJobs(job.jobs).sync(plan, boarding, asked, project, job.forge, job.github)
        except FlowError as e:
            codes.append(ExitCode(say_failed(app, e, aloud, f"{plan}: ")))
            continue
        if came is None:
            app.note(f"no board shows plan {plan}")
            continue
        _show(app, came)
        around.add_summary(report.markdown(came))
        if came.failed or came.unmade:
            codes.append(ExitCode.FAILED)
    return _worst(codes)


def _can_ask(app: App) -> bool:
    return not app.json and sys.stdin.isatty() and sys.stdout.isatty()


def _show(app: App, came: Report) -> None:
    app.answer(lambda: report.text(came), lambda: report.as_json(came))


def _code(came: Report) -> ExitCode:
    """Return the exit code of what came of a sync."""
    if came.failed or came.unmade:
        return ExitCode.FAILED
    if came.waiting:
        return ExitCode.NEEDS_A_PERSON
    return ExitCode.TRY_AGAIN if came.is_behind else ExitCode.DONE


def _worst(codes: Sequence[ExitCode]) -> int:
    return ExitCode.FAILED if ExitCode.FAILED in codes else max(codes)


__all__ = ["sync"]
