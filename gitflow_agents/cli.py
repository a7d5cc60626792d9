"""The command line: parse, call the service, print.

Nothing is decided here.  A verb is one function at the end of this file; what they share comes
first: the options that stand before or after any verb, and the one place where a failure becomes
an exit code.  Only what every start needs is imported at the top.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import click

from gitflow_agents import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from gitflow_agents.errors import Problem
    from gitflow_agents.service import Service, Told

NAME = "gitflow-agents"
GROUPS = {
    "begin": "Begin",
    "before": "Before spending",
    "go": "Go",
    "look": "Look",
}
FOLLOW_EVERY = 0.5
"""Seconds between two looks of `log -f`."""

_COLOURS = {
    "attempt_failed": "red",
    "merge_refused": "red",
    "claim_refused": "red",
    "plan_held": "yellow",
    "task_merged": "green",
    "plan_finished": "green",
}


# --- what every verb shares -----------------------------------------------------------------------


class App:
    """What the words of one call say, the service they are put to, and how it answers."""

    def __init__(self) -> None:
        self.directory = "."
        self.json = False
        self.quiet = False
        self.no_color = bool(os.environ.get("NO_COLOR"))

    @cached_property
    def service(self) -> Service:
        """Return the service, started when it is first asked for."""
        from gitflow_agents.service import Service

        return Service(self.directory)

    def path(self, name: str) -> str:
        """Return a path that was given on the command line as it is from where we are."""
        return name if self.directory == "." else os.path.join(self.directory, name)

    def close(self) -> None:
        """End the service, if one was started."""
        if "service" in vars(self):
            self.service.close()

    def say(self, text: str, *, colour: str = "", err: bool = False) -> None:
        """Print text for people; control characters of a plan or an agent reach no terminal."""
        stream = sys.stderr if err else sys.stdout
        if stream.isatty():
            text = text.translate(_CONTROLS)
        # What is not coloured by us goes out as it is, a file's own escape codes too.
        color = self._color if colour else True
        text = click.style(text, fg=colour) if colour else text
        click.echo(text, nl=not text.endswith("\n"), err=err, color=color)

    @property
    def _color(self) -> bool | None:
        return False if self.no_color else None

    def note(self, text: str) -> None:
        """Print what nobody asked for but most people like to know."""
        if not (self.quiet or self.json):
            self.say(text)

    def answer(self, text: Callable[[], str], value: Callable[[], Any]) -> None:
        """Print the answer, for people or as one JSON value on one line."""
        if self.json:
            self.write(value())
        else:
            self.say(text())

    def write(self, value: Any) -> None:
        """Print one JSON value on one line."""
        import json

        click.echo(json.dumps(value))

    def problems(self, problems: Sequence[Problem]) -> None:
        """Print the problems of a file, each where compilers print theirs."""
        for problem in problems:
            self.say(str(problem), err=True)

    def fail(self, message: str, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        """Print what is wrong and what to do about it."""
        if self.json:
            self.write(
                {
                    "schema": 1,
                    "error": message,
                    "hint": hint,
                    "problems": [as_json(problem) for problem in problems],
                }
            )
            return
        self.problems(problems)
        for colour, word, said in (("red", "error", message), ("cyan", "hint", hint)):
            if said:
                label = click.style(f"{word}:", fg=colour, bold=True)
                text = said.translate(_CONTROLS)
                click.echo(f"{label} {text}", err=True, color=self._color)


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


def as_json(problem: Problem) -> dict[str, Any]:
    """Return a problem as a JSON object."""
    return {name: getattr(problem, name) for name in problem.__dataclass_fields__}


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    app = ctx.ensure_object(App)
    if value and param.name == "directory":
        value = app.path(value)
    if value and param.name:
        setattr(app, param.name, value)


def _flag(name: str, meaning: str) -> click.Option:
    return click.Option([name], is_flag=True, help=meaning, expose_value=False, callback=_remember)


_everywhere = (
    click.Option(
        ["-C", "directory"],
        metavar="DIR",
        type=click.Path(file_okay=False),
        help="Work as if started in DIR.",
        expose_value=False,
        callback=_remember,
    ),
    _flag("--json", "Answer in JSON."),
    _flag("--quiet", "Print answers and errors only."),
    _flag("--no-color", "Print without colours."),
)


class Verb(click.Command):
    """One verb: `part` is its group in the help, `no_json` says why it has no `--json`."""

    def __init__(self, *args: Any, part: str, no_json: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.part = part
        self.no_json = no_json
        self.params += _everywhere

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the words in capitals stand for."""
        for param in self.params:
            meaning = _MEANINGS.get(param.human_readable_name)
            if isinstance(param, click.Argument) and meaning:
                formatter.write_paragraph()
                formatter.write_text(meaning)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own options, then those that every verb has."""
        hidden = {"--json"} if self.no_json else set()
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = isinstance(param, click.Option) and param.get_help_record(ctx)
            if record and not hidden.intersection(param.opts):
                (shared if param in _everywhere else own).append(record)
        for title, records in (("Options", own), ("Before or after any verb", shared)):
            with formatter.section(title):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb, unless it was asked for JSON that it does not have."""
        app: App = ctx.obj
        if app.json and self.no_json:
            from gitflow_agents.errors import UsageError

            raise UsageError(f"{self.name} has no --json: {self.no_json}")
        ctx.call_on_close(app.close)
        return super().invoke(ctx)


class Verbs(click.Group):
    """All verbs, and what becomes of a failure."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the words of the command line and exit with what came of it."""
        app = App()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                # A terminal that cannot show a character shows its number.
                stream.reconfigure(errors="backslashreplace")
        kwargs |= {"prog_name": NAME, "standalone_mode": False, "obj": app}
        try:
            try:
                code = super().main(*args, **kwargs) or 0
            except Exception as e:
                code = _failed(app, e)
        except BrokenPipeError:
            code = 1  # nobody reads any more what went wrong
        sys.exit(code)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that the next word names."""
        word = args[0]
        if word not in self.commands and not word.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            from gitflow_agents.errors import UsageError

            near = " or ".join(get_close_matches(word, self.commands, 2))
            hint = f"did you mean {near}?" if near else f"{NAME} --help lists the verbs"
            raise UsageError(f"there is no verb {word!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs by what they are for, in the order in which they are defined."""
        verbs = [verb for verb in self.commands.values() if isinstance(verb, Verb)]
        width = max(len(verb.name or "") for verb in verbs)
        for part, title in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        ((verb.name or "").ljust(width), verb.get_short_help_str(100))
                        for verb in verbs
                        if verb.part == part
                    ]
                )


def _failed(app: App, error: Exception) -> int:
    """Say what went wrong and return its exit code: the only place that translates failures."""
    from gitflow_agents.errors import ExitCode, FlowError

    match error:
        case FlowError():
            app.fail(error.message, error.hint, getattr(error, "problems", ()))
            return error.code
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return ExitCode.USAGE
        case click.ClickException():
            app.json = app.json or "--json" in sys.argv
            app.fail(*_in_our_words(error))
            return ExitCode.USAGE
        case click.Abort():
            app.fail("interrupted")
            return ExitCode.INTERRUPTED
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            hint = "make room on the disk, then run the command again; nothing was lost"
            app.fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}", hint)
            return ExitCode.TRY_AGAIN
    told = " ".join(str(error).split())[:200]
    app.fail(
        f"this is a bug in {NAME}: {type(error).__name__}{f': {told}' if told else ''}; "
        f"the traceback is in {_log(app, error)}",
        "what git recorded is safe, and running the same again does no harm",
    )
    return ExitCode.BUG


def _in_our_words(error: click.ClickException) -> tuple[str, str]:
    """Return message and hint of an error of click's, as our own read."""
    near = getattr(error, "possibilities", None)
    message = (error.message if near else error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context else NAME
    hint = f"did you mean {' or '.join(near)}?" if near else f"{path} --help shows how it is used"
    return message[:1].lower() + message[1:], hint


def _log(app: App, error: Exception) -> str:
    """Write the traceback of a bug where it does not get lost, and return the file's name."""
    import contextlib
    import tempfile
    import time
    import traceback

    from gitflow_agents import cache

    name = time.strftime(f"crash-%Y%m%d-%H%M%S-{os.getpid()}.log", time.gmtime())
    text = f"{NAME} {__version__}\n{sys.argv}\n\n{''.join(traceback.format_exception(error))}"
    common = cache.common_directory(app.directory)
    temporary = ""
    with contextlib.suppress(OSError):
        temporary = tempfile.gettempdir()  # it tries to write there
    for folder in (common and os.path.join(common, cache.FOLDER), temporary):
        if folder:
            path = os.path.join(folder, name)
            try:
                os.makedirs(folder, exist_ok=True)
                with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
            except OSError:
                continue
            return path
    return "no file, because none could be written"


class _PlanName(click.types.StringParamType):
    """A plan's name or a plan file's path; the shell completes both."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from gitflow_agents import cache

        common = cache.common_directory(ctx.ensure_object(App).directory)
        names = cache.plans(common) if common else []
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *found]


_MEANINGS = {
    "PLAN": "PLAN is the name of a plan, or the path of a plan file.",
    "[PLAN]": "PLAN is the name of a plan, or the path of a plan file; it may be left out where "
    "there is only one.",
    "PLAN...": "PLAN is the path of a plan file, or the name of a plan.",
    "TASK": "TASK is PLAN/ID, or ID where one plan has it.",
    "PLAN|TASK": "PLAN is the name of a plan, or the path of a plan file; TASK is PLAN/ID, or ID "
    "where one plan has it.",
}
_PLAN = _PlanName()
_plan = click.argument("plan", type=_PLAN)
_the_plan = click.argument("plan", metavar="[PLAN]", type=_PLAN, default="")
_task = click.argument("task")
_at = click.option("--at", metavar="REV", default="", help="As of REV, a commit of its state.")
_jobs = click.option(
    "-j", "--jobs", metavar="N", type=click.IntRange(min=1), help="N attempts at once."
)
_barrier = click.option("--barrier", is_flag=True, help="Start a wave only when the last is over.")


def _now() -> float:
    import time

    return time.time()


def _verb(part: str, no_json: str = "") -> Callable[[Callable[..., Any]], click.Command]:
    return main.command(cls=Verb, part=part, no_json=no_json)


@click.group(
    cls=Verbs,
    params=[*_everywhere],
    subcommand_metavar="VERB [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"{NAME} VERB --help says more about a verb.",
)
@click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
def main() -> None:
    """Run plans of tasks by coding agents; what passes its checks is merged to a flow branch."""


# --- begin ----------------------------------------------------------------------------------------


@_verb("begin")
@click.argument("folder", metavar="[DIR]", type=click.Path(file_okay=False), default="")
@click.pass_obj
def demo(app: App, folder: str) -> int:
    """Make a small real repository and run a plan in it.

    DIR is a new or empty folder, else a temporary one is made. It needs no network and no key.
    """
    from gitflow_agents.service import create_demo

    if folder:
        app.directory = app.path(folder)
    else:
        import tempfile

        app.directory = tempfile.mkdtemp(prefix="gitflow-demo-")
    plan = create_demo(app.directory)
    if app.json:
        app.write({"schema": 1, "event": "demo_made", "folder": app.directory, "plan": plan})
    app.note(f"a small repository with the plan {plan} is in {app.directory}")
    code = _run(app, plan)
    import shlex

    app.note(f"look around: cd {shlex.quote(app.directory)}")
    return code


@_verb("begin", no_json="it writes a file, and says which")
@click.argument("name", required=False)
@click.option(
    "--template",
    type=click.Choice(["feature", "hive", "codemod"]),
    default="feature",
    show_default=True,
    help="What to begin with.",
)
@click.option(
    "--goal",
    metavar="TEXT",
    default="Say in a sentence what this plan is for",
    help="What the plan is for, in a sentence.",
)
@click.option("--folder", "folders", metavar="F", multiple=True, help="A folder of a codemod.")
@click.option("--output", metavar="PATH", default="", help="Default: plans/NAME.yaml.")
@click.pass_obj
def new(
    app: App, name: str | None, template: str, goal: str, folders: tuple[str, ...], output: str
) -> None:
    """Write a plan file to begin with.

    It is plans/NAME.yaml at the top of the checkout; a file that exists stays as it is.  Without a
    NAME it is called after the time: session-YYYYMMDD-HHMMSS.
    """
    import time

    from gitflow_agents import cache, spec

    name = name or time.strftime("session-%Y%m%d-%H%M%S", time.gmtime())
    given = _packaged(f"templates/{template}.yaml")
    text = spec.template(template, text=given, plan=name, goal=goal, folders=folders)
    top = cache.checkout(app.directory) or app.directory
    path = app.path(output) if output else os.path.join(top, "plans", f"{name}.yaml")
    _write_new(path, text.encode())
    shown = os.path.relpath(path)
    app.note(f"wrote {shown}\nnext: {NAME} validate {shown}")


def _write_new(path: str, data: bytes) -> None:
    from gitflow_agents.errors import FlowError

    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)
    except OSError as e:
        if os.path.lexists(path):
            raise FlowError(
                f"{path} exists and stays as it is", hint="choose another name, or --output PATH"
            ) from None
        raise FlowError(f"{path} cannot be written: {e.strerror}") from e


@_verb("begin", no_json="it opens an editor")
@_plan
@click.pass_obj
def edit(app: App, plan: str) -> None:
    """Change a plan in your editor, and propose the change.

    The newest text is opened with $VISUAL or $EDITOR; when it is valid it is committed to the
    branch plan/PLAN. A file in your checkout stays as it is.
    """
    import shutil
    import tempfile

    data = app.service.plan_text(plan)
    folder = tempfile.mkdtemp(prefix="gitflow-edit-")
    name = os.path.splitext(os.path.basename(plan))[0]
    path = os.path.join(folder, f"{name}.yaml")
    with open(path, "wb") as file:
        file.write(data)
    try:
        edited = _edited(app, path)
        commit = app.service.propose(plan, edited) if edited != data else ""
    except BaseException:
        app.say(f"your text is kept in {path}", err=True)
        raise
    shutil.rmtree(folder)
    app.note(f"committed to plan/{name} as {commit}" if commit else "nothing was changed")


def _edited(app: App, path: str) -> bytes:
    """Return a valid plan text, edited as often as it takes; raises InvalidFile when given up."""
    import shlex
    import subprocess

    from gitflow_agents.errors import FlowError, InvalidFile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    while True:
        try:
            code = subprocess.call([*shlex.split(editor), path])
        except OSError as e:
            raise FlowError(
                f"the editor {editor} cannot be started: {e.strerror}",
                hint="name yours: export EDITOR=nano",
            ) from e
        if code:
            raise FlowError(f"the editor {editor} ended with {code}; nothing was changed")
        try:
            app.service.read(path)
        except InvalidFile as e:
            if not sys.stdin.isatty():
                raise
            app.problems(e.problems)
            if not click.confirm("edit again?", default=True, err=True):
                raise FlowError(e.message, hint=e.hint) from None
        else:
            with open(path, "rb") as file:
                return file.read()


@_verb("begin", no_json="it prints a program for the shell")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete verbs and plans.

    SHELL is bash, zsh or fish. For bash: eval "$(gitflow-agents completion bash)".
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    variable = f"_{NAME}_COMPLETE".replace("-", "_").upper()
    if kind is not None:
        click.echo(kind(main, {}, NAME, variable).source())


@_verb("begin")
@click.argument("what", type=click.Choice(["plan", "config", "status"]))
def schema(what: str) -> None:
    """Print a JSON schema: of plan, config or status.

    plan is for plan files, config for the file .github/gitflow-agents.yml, status for what
    `status --json` prints.
    """
    import json

    from gitflow_agents import spec

    made = {"plan": spec.plan_schema, "config": spec.config_schema, "status": _status_schema}[what]
    click.echo(json.dumps(made(), indent=2))


def _status_schema() -> dict[str, Any]:
    import json

    schema: dict[str, Any] = json.loads(_packaged("status.schema.json"))
    return schema


def _packaged(name: str) -> str:
    """Return the text of a file that comes with the package."""
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


# --- before spending ------------------------------------------------------------------------------


@_verb("before")
@click.argument("plans", metavar="PLAN...", type=_PLAN, nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.pass_obj
def validate(app: App, plans: tuple[str, ...], strict: bool) -> int:
    """Find every mistake in plans, with its place and its mending."""
    from gitflow_agents import render
    from gitflow_agents.errors import InvalidFile

    told: list[dict[str, Any]] = []
    code = 0
    for plan in plans:
        try:
            reading = app.service.read(plan, strict=strict)
        except InvalidFile as e:
            code = e.code
            told.append({"file": plan, "valid": False, "problems": [*map(as_json, e.problems)]})
            if not app.json:
                app.fail(e.message, e.hint, e.problems)
        else:
            problems = [*map(as_json, reading.warnings)]
            told.append({"file": plan, "valid": True, "problems": problems})
            if not app.json:
                if not app.quiet:
                    app.problems(reading.warnings)
                app.note(render.valid(plan, reading.plan))
    if app.json:
        app.write({"schema": 1, "valid": code == 0, "plans": told})
    return code


@_verb("before")
@_plan
@_jobs
@_barrier
@click.pass_obj
def waves(app: App, plan: str, jobs: int | None, barrier: bool) -> None:
    """Show what would run when, how long, at what cost.

    It is the schedule for N slots from the estimates, with the critical path, the files that two
    tasks both want, and the most that all attempts can cost.
    """
    from gitflow_agents import graph, render
    from gitflow_agents.scheduler import PARALLEL

    snapshot = app.service.open(plan)
    limits = app.service.limits(snapshot)
    slots = jobs or limits.parallel or PARALLEL
    facts = (
        snapshot.plan,
        snapshot.graph,
        graph.schedule(snapshot.plan, snapshot.graph, slots, barrier=barrier),
        graph.overlaps(snapshot.plan, snapshot.graph),
        graph.most_it_can_cost(snapshot.plan, limits),
        slots,
    )
    app.answer(lambda: render.waves(*facts), lambda: render.waves_json(*facts))


@_verb("before", no_json="show PLAN --json has the tasks and what they need")
@_plan
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "dot", "text"]),
    default="mermaid",
    show_default=True,
    help="How it is drawn.",
)
@click.pass_obj
def graph(app: App, plan: str, form: str) -> None:
    """Draw which task needs which."""
    from gitflow_agents import render

    snapshot = app.service.open(plan)
    draw = {
        "mermaid": render.graph_mermaid,
        "dot": render.graph_dot,
        "text": render.graph_text,
    }[form]
    app.say(draw(snapshot.plan, snapshot.graph, snapshot.statuses()))


@_verb("before")
@_task
@click.pass_obj
def explain(app: App, task: str) -> None:
    """Say what a task waits for, and what it would unblock."""
    from gitflow_agents import render

    snapshot, task = app.service.task(task)
    now = _now()
    app.answer(
        lambda: render.explain(snapshot, task, now),
        lambda: render.explain_json(snapshot, task, now),
    )


# --- go -------------------------------------------------------------------------------------------


@_verb("go")
@_plan
@_jobs
@_barrier
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@click.pass_obj
def run(app: App, plan: str, jobs: int | None, barrier: bool, dry_run: bool) -> int:
    """Run a plan until nothing can move; merge what passes.

    Your checkout is never touched. Ctrl-C ends the attempts and keeps what they did; the same
    command goes on from there.
    """
    if dry_run:
        lines = app.service.rehearse(plan, jobs=jobs, barrier=barrier)
        app.answer(lambda: "\n".join(lines), lambda: {"schema": 1, "plan": plan, "would": lines})
        return 0
    return _run(app, plan, jobs=jobs, barrier=barrier)


def _run(app: App, plan: str, *, jobs: int | None = None, barrier: bool = False) -> int:
    end = app.service.run(plan, jobs=jobs, barrier=barrier, on_event=_Teller(app))
    if end.code:
        app.fail(end.message, end.hint)
    else:
        app.note(f"{end.message}\nnext: {end.hint}")
    return end.code


class _Teller:
    """Prints what happens in a run; the run goes on when nobody reads it any more."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.is_heard = True

    def __call__(self, told: Told) -> None:
        if self.is_heard:
            try:
                self._tell(told)
            except BrokenPipeError:
                self.is_heard = False

    def _tell(self, told: Told) -> None:
        if self.app.json:
            self.app.write({"schema": 1, **told.data})
        elif not self.app.quiet:
            self.app.say(told.text, colour=_COLOURS.get(told.event, ""))
            for line in told.detail.splitlines():
                self.app.say(f"  | {line}")


# --- look -----------------------------------------------------------------------------------------


@_verb("look")
@_the_plan
@_at
@click.pass_obj
def status(app: App, plan: str, at: str) -> None:
    """Show what waits for you, how far the plan is, every task."""
    from gitflow_agents import render

    snapshot = app.service.open(plan, at)
    limits = app.service.limits(snapshot)
    now = _now()
    app.answer(
        lambda: render.status(snapshot, limits, now, file=plan),
        lambda: render.status_json(snapshot, limits, now, app.service.flow_sha(snapshot)),
    )


@_verb("look")
@_the_plan
@click.pass_obj
def ready(app: App, plan: str) -> None:
    """List what can start now, and what the rest waits for."""
    if app.json:
        from gitflow_agents import cache

        kept = cache.ready(app.directory, plan)
        if kept is not None:
            app.write(kept)
            return
    from gitflow_agents import render

    snapshot = app.service.open(plan)
    app.answer(lambda: render.ready_text(snapshot), lambda: render.ready_json(snapshot))


@_verb("look")
@click.argument("what", metavar="PLAN|TASK", type=_PLAN)
@_at
@click.pass_obj
def show(app: App, what: str, at: str) -> None:
    """Show all that is known of a plan or a task."""
    from gitflow_agents import render

    snapshot, task = app.service.find(what, at)
    now = _now()
    if task:
        app.answer(
            lambda: render.show_task(
                snapshot, task, now, app.service.attempt_report(snapshot, task)
            ),
            lambda: render.show_task_json(snapshot, task, now),
        )
    else:
        app.answer(lambda: render.show_plan(snapshot), lambda: render.show_plan_json(snapshot))


@_verb("look")
@_the_plan
@click.pass_obj
def provides(app: App, plan: str) -> None:
    """List the capabilities on flow, and which task gave them."""
    from gitflow_agents import render

    snapshot = app.service.open(plan)
    app.answer(lambda: render.provides(snapshot), lambda: render.provides_json(snapshot))


@_verb("look", no_json="show TASK --json has the commits")
@_task
@click.option("--stat", is_flag=True, help="Files and numbers of lines only.")
@click.pass_obj
def diff(app: App, task: str, stat: bool) -> None:
    """Show what a task changed."""
    snapshot, task = app.service.task(task)
    app.say(app.service.diff(snapshot, task, stat=stat))


@_verb("look")
@_the_plan
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.pass_obj
def log(app: App, plan: str, follow: bool) -> None:
    """List what happened, oldest first."""
    import time

    from gitflow_agents import render

    seen = ""
    while True:
        for entry in app.service.history(plan, seen):
            seen = entry.sha
            facts = (entry.at, entry.subject, entry.events)
            app.answer(
                partial(render.log_line, *facts), partial(render.log_json, entry.sha, *facts)
            )
        if not follow:
            break
        time.sleep(FOLLOW_EVERY)


@_verb("look", no_json="it is a text for the agent")
@_task
@click.pass_obj
def brief(app: App, task: str) -> None:
    """Show what the agent of a task is told."""
    snapshot, task = app.service.task(task)
    app.say(app.service.brief(snapshot, task))


@_verb("look", no_json="status --json has its numbers")
@_the_plan
@click.pass_obj
def report(app: App, plan: str) -> None:
    """Show what was built, how it was verified, what it took."""
    app.say(app.service.report(app.service.open(plan)))


@_verb("look")
@click.pass_obj
def plans(app: App) -> None:
    """List the plans here, with counts by status."""
    from gitflow_agents import render
    from gitflow_agents.scheduler import plan_status

    now = _now()
    found = [
        (snapshot, plan_status(snapshot, app.service.limits(snapshot), now))
        for snapshot in app.service.plans()
    ]
    app.answer(lambda: render.plans(found), lambda: render.plans_json(found))
