"""The verbs with which people act on a plan: made from the commands that there are.

A verb's arguments, options and help are what its command says of itself, so that every door asks
for the same words.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import click
from pydantic import ValidationError

from gitflow_agents.cli import ACTS, NAME, App, Target, Verb
from gitflow_agents.commands import KINDS, LOOKS, Act, Option, Refused, options
from gitflow_agents.errors import ExitCode, FlowError, UsageError
from gitflow_agents.service import Service, Told

TOLD = frozenset(
    "train_started plan_accepted plan_refused attempt_expired attempt_stopped work_kept".split()
)
"""What a command says of the pass that goes before it, and of what takes long."""
TARGETS = (
    "TASK is PLAN/ID, or ID where one live plan has it; a glob of ids, all, failed, blocked and "
    "wave:N name several."
)


def verb(name: str) -> click.Command:
    """Return the verb for a command."""
    if name == "open":
        return opening
    kind = KINDS[name]
    help_ = (kind.__doc__ or "").strip()
    needed = kind.needs_target
    metavar = "TASK..." if needed else "[TASK|PLAN]..." if kind.takes_tasks else "[PLAN]"
    # Where a command is about one task, the word behind it needs no name either.
    is_one = kind.most_targets == 1 and bool(kind.positional)
    params: list[click.Parameter] = [
        click.Argument(
            ["targets"],
            nargs=1 if is_one else -1,
            required=needed,
            metavar="TASK" if is_one else metavar,
            type=Target(plans=False),
        )
    ]
    if is_one:
        word = f"[{kind.positional.upper()}]"
        params.append(click.Argument([kind.positional], required=False, metavar=word))
    params += [
        _option(each, kind)
        for each in options(kind)
        if not (is_one and each.field == kind.positional)
    ]
    params.append(
        click.Option(
            ["--dry-run"], is_flag=True, help="Say what it would change, and change nothing."
        )
    )
    return Verb(
        name,
        params=params,
        help=help_,
        part="act",
        callback=_callback(kind),
        epilog=TARGETS if kind.takes_tasks and not is_one else None,
    )


def _option(each: Option, kind: type[Act]) -> click.Option:
    words = [each.field, *each.short, each.name]
    if each.is_flag:
        return click.Option(words, is_flag=True, help=each.about)
    if each.field == kind.block:
        file = click.File(encoding="utf-8")
        return click.Option([each.field, "--file"], type=file, metavar="F", help=each.about)
    if each.is_multiple:
        return click.Option(words, metavar=each.value, multiple=True, help=each.about)
    return click.Option(
        words,
        type=click.Choice(each.choices) if each.choices else click.STRING,
        metavar=None if each.choices else each.value,
        required=each.is_required,
        help=each.about,
    )


def _callback(kind: type[Act]) -> Callable[..., int]:
    @click.pass_obj
    def act(app: App, /, targets: str | tuple[str, ...], dry_run: bool, **given: Any) -> int:
        words = (targets,) if isinstance(targets, str) else targets
        values = {name: value for name, value in given.items() if value is not None}
        if kind.block in values:
            values[kind.block] = _text(values[kind.block])
        return _act(app, kind, words, values, dry_run)

    return act


def _text(file: IO[str]) -> str:
    try:
        return file.read()
    except UnicodeDecodeError as e:
        raise UsageError(f"{file.name} is not UTF-8", hint="save the file as UTF-8") from e


def _act(
    app: App, kind: type[Act], words: tuple[str, ...], values: dict[str, Any], dry_run: bool
) -> int:
    service: Service = app.service
    plan, targets = service.meant(words)
    try:
        command = kind(targets=targets, **values)
    except ValidationError as e:
        first = e.errors()[0]
        what = "--" + str(first["loc"][-1]).replace("_", "-")
        hint = f"{NAME} {kind.model_fields['verb'].default} --help says what it takes"
        raise UsageError(f"{what}: {first['msg'].lower()}", hint=hint) from None

    def tell(told: Told) -> None:
        if told.event in TOLD:
            app.note(told.text)

    try:
        outcome = service.handle(command, plan, dry_run=dry_run, on_event=tell)
    except Refused as e:
        raise _with_name(e) from None
    code = int(ExitCode.DONE if outcome.is_done else ExitCode.FAILED)
    if app.json:
        app.write(
            {
                "schema": 1,
                "verb": command.model_dump()["verb"],
                "plan": outcome.plan,
                "changed": outcome.changed,
                "dry_run": dry_run,
                "said": list(outcome.said),
                "undo": _typed(outcome.undo),
                "done": outcome.is_done,
            }
        )
        return code
    would = "would: " if outcome.would else ""
    for line in outcome.said:
        app.say(would + line)
    if outcome.undo and not dry_run:
        app.note(f"undo: {_typed(outcome.undo)}")
    return code


def _with_name(refused: Refused) -> Refused:
    """Return a refusal whose hint, where it begins with a verb, is as it is typed."""
    if refused.hint.partition(" ")[0] in (*ACTS, *LOOKS):
        refused.hint = f"{NAME} {refused.hint}"
    return refused


def _typed(undo: str) -> str:
    """Return the words of an undo as they are typed: ours, or git's own."""
    return undo if not undo or undo.startswith("git ") else f"{NAME} {undo}"


# --- looking at the files -------------------------------------------------------------------------


@click.pass_obj
def _open(app: App, task: str, dry_run: bool) -> int:
    service: Service = app.service
    try:
        plan, task, opened = service.open_task(task, dry_run=dry_run)
    except Refused as e:
        raise _with_name(e) from None
    undo = f"git worktree remove '{opened.path}'" if opened.is_ours else ""
    if app.json:
        about = {"plan": plan, "task": task, "path": str(opened.path), "branch": opened.branch}
        answer = {"schema": 1, "verb": "open", **about, "commit": opened.commit}
        app.write({**answer, "dry_run": dry_run, "undo": undo})
        return 0
    if dry_run or not (sys.stdin.isatty() and sys.stdout.isatty()):
        app.say(f"would: open {opened.path}" if dry_run else str(opened.path))
        return 0
    where = f"on {opened.branch}" if opened.branch else "to look at; it goes when nothing changes"
    app.note(f"{plan}/{task} in {opened.path}, {where}; leave the shell with exit")
    _shell(opened.path)
    if service.close_task(plan, task, opened) and undo:
        app.note(f"{opened.path} stays; undo: {undo}")
    return 0


def _shell(folder: Path) -> None:
    shell = os.environ.get("SHELL") or "/bin/sh"
    before = signal.signal(signal.SIGINT, lambda number, frame: None)  # Ctrl-C is for the shell
    try:
        subprocess.call([shell], cwd=folder)
    except OSError as e:
        raise FlowError(
            f"the shell {shell} cannot be started: {e.strerror}",
            hint="name yours: export SHELL=/bin/sh",
        ) from e
    finally:
        signal.signal(signal.SIGINT, before)


opening = Verb(
    "open",
    params=[
        click.Argument(["task"], type=Target(plans=False)),
        click.Option(["--dry-run"], is_flag=True, help="Say which folder, and make none."),
    ],
    help="""Open a shell among a task's files.

    A task that you took has its branch checked out there, in a folder that stays until you submit
    or give it. Of any other it is the last work to look at, in a folder that goes with the shell
    unless you changed something. Where there is no terminal the folder's name is printed.
    """,
    part="act",
    callback=_open,
)
