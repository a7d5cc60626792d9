"""The command line: parse, call the service, print.

Nothing is decided here.  A verb is one function at the end of this file; what they share comes
first: the options that stand before or after any verb, and the one place where a failure becomes
an exit code.  Only what every start needs is imported at the top.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TextIO

import click

from gitflow_agents import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from gitflow_agents.errors import Problem
    from gitflow_agents.service import Folder, Service, Told, Views

NAME = "gitflow-agents"
GROUPS = {
    "begin": "Begin",
    "before": "Before spending",
    "go": "Go",
    "look": "Look",
    "act": "Act",
    "plumbing": "Plumbing",
}
ACTS = {
    "stop": "End what runs; what it did is kept.",
    "retry": "Try failed, cancelled or finished but unmerged tasks again, on the same branch.",
    "hold": "Start and merge nothing more of these tasks, or of the whole plan; what runs goes on.",
    "resume": "Lift a hold.",
    "reject": "Refuse what a task has done, before it is merged; the reason goes to the next "
    "attempt.",
    "skip": "Leave a task out; the tasks that need it stay blocked unless --provides.",
    "approve": "Give the approval that a task, or the plan, waits for; it holds for exactly this "
    "text.",
    "unapprove": "Withdraw an approval, until what it is for has happened.",
    "feedback": "Say something to the agent of a task: to the one that runs where it can hear, "
    "else the next.",
    "answer": "Answer the question that a task asked; it goes on where it stopped.",
    "merge": "Merge what is in review now, tested as always, and start nothing.",
    "revert": "Take merged tasks back off flow, with the merged tasks that need them; all or none.",
    "update": "Bring the base into flow now, tested as always, whatever `follow_base` says.",
    "take": "Do tasks yourself in place of an agent: their branches are yours.",
    "submit": "Say that tasks which you took are done; they are checked and merged as an agent's "
    "result.",
    "give": "Hand tasks back that you took; the next attempt begins with what you committed.",
    "add-task": "Add a task to a plan that was started; the next pass takes it up, of a running "
    "`run` too.",
    "open": "Open a shell among a task's files.",
}
"""The first sentence of each command's own help: importing them takes longer than `--help` may."""
MOST_OVERLAPS = 2000
"""Pairs of tasks among which `waves` looks for paths that several want."""
FOLLOW_EVERY = 0.5
"""Seconds between two looks of `log -f`."""
MADE_BETWEEN_LOOKS = 50_000
"""Objects after which garbage is looked for: most that a command makes stays to its end."""
UNREAD = 141
"""The exit code when whoever read our output has gone: what a shell says of git then."""

_COLOURS = {
    "attempt_failed": "red",
    "merge_refused": "red",
    "claim_refused": "red",
    "plan_held": "yellow",
    "plan_resumed": "yellow",
    "warning": "yellow",
    "task_merged": "green",
    "plan_finished": "green",
}


# --- what every verb shares -----------------------------------------------------------------------


class _Unread(Exception):
    """Nobody reads any more what we print."""


@contextmanager
def _printing() -> Iterator[None]:
    # Other pipes break too, such as one to a git that died: only what is done in here is printing.
    try:
        yield
    except BrokenPipeError:
        raise _Unread from None


def _echo(text: str, **kwargs: Any) -> None:
    with _printing():
        click.echo(text, **kwargs)


def _hush() -> None:
    """Let go to nowhere what nobody reads; it would be tried once more, and told, at the end."""
    for stream in (sys.stdout, sys.stderr):
        if _is_unread(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_unread(stream: TextIO) -> bool:
    """Say whether the other end of a stream is closed."""
    import select

    try:
        stream.flush()
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    except BrokenPipeError:
        return True
    except (AttributeError, OSError, ValueError):
        return False  # no file at all, or a system without poll


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

        service = Service(self.directory)
        service.authorities.on_offline = self._note_offline
        return service

    @cached_property
    def views(self) -> Views:
        """Return what shows plans and changes none; it is there sooner than the service."""
        from gitflow_agents.service import Views

        views = Views(self.directory)
        views.authorities.on_offline = self._note_offline
        return views

    def _note_offline(self, text: str) -> None:
        self.say(f"note: {text}", err=True)

    @cached_property
    def files(self) -> Views | Folder:
        """Return what reads plan files: outside of any repository the folder."""
        from gitflow_agents import cache

        if cache.common_directory(self.directory):
            return self.views
        from gitflow_agents.service import Folder

        return Folder(self.directory)

    def path(self, name: str) -> str:
        """Return a path that was given on the command line as it is from where we are."""
        return name if self.directory == "." else os.path.join(self.directory, name)

    def close(self) -> None:
        """End what was started."""
        for name in {"service", "views"} & vars(self).keys():
            getattr(self, name).close()

    def say(self, text: str, *, colour: str = "", err: bool = False) -> None:
        """Print text for people; control characters of a plan or an agent reach no terminal."""
        stream = sys.stderr if err else sys.stdout
        if stream.isatty():
            text = text.translate(_CONTROLS)
        # What is not coloured by us goes out as it is, a file's own escape codes too.
        color = self._color if colour else True
        text = click.style(text, fg=colour) if colour else text
        _echo(text, nl=not text.endswith("\n"), err=err, color=color)

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

        _echo(json.dumps(value))

    def problems(self, problems: Sequence[Problem]) -> None:
        """Print the problems of a file, each where compilers print theirs."""
        for problem in problems:
            self.say(str(problem), err=True)

    def fail(
        self, message: str, hint: str = "", problems: Sequence[Problem] = (), *, code: str = ""
    ) -> None:
        """Print what is wrong and what to do about it; `code` is for programs."""
        if self.json:
            about: dict[str, Any] = {"schema": 1, "error": message, "hint": hint}
            about |= {"code": code} if code else {}
            self.write({**about, "problems": [as_json(problem) for problem in problems]})
            return
        self.problems(problems)
        for colour, word, said in (("red", "error", message), ("cyan", "hint", hint)):
            if said:
                label = click.style(f"{word}:", fg=colour, bold=True)
                text = said.translate(_CONTROLS)
                _echo(f"{label} {text}", err=True, color=self._color)


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
        try:
            return super().invoke(ctx)
        except BrokenPipeError as e:
            from gitflow_agents.errors import GitFailed

            raise GitFailed(
                "a process that was asked something has ended", hint="run the command again"
            ) from e

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the words after the verb; its help is printed here."""
        with _printing():
            return super().make_context(*args, **kwargs)


class Verbs(click.Group):
    """All verbs, and what becomes of a failure."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the words of the command line and exit with what came of it."""
        gc.set_threshold(MADE_BETWEEN_LOOKS)
        app = App()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                # A terminal that cannot show a character shows its number.
                stream.reconfigure(errors="backslashreplace")
        kwargs |= {"prog_name": NAME, "standalone_mode": False, "obj": app}
        try:
            try:
                code = super().main(*args, **kwargs) or 0
            except _Unread:
                raise
            except Exception as e:
                code = _failed(app, e)
        except _Unread:
            code = UNREAD
            _hush()
        sys.exit(code)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the words up to the verb; the help of all verbs is printed here."""
        with _printing():
            return super().make_context(*args, **kwargs)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the verb that the next word names."""
        word = args[0]
        if (
            word not in self.list_commands(ctx)
            and not word.startswith("-")
            and not ctx.resilient_parsing
        ):
            from difflib import get_close_matches

            from gitflow_agents.errors import UsageError

            near = " or ".join(get_close_matches(word, self.list_commands(ctx), 2))
            hint = f"did you mean {near}?" if near else f"{NAME} --help lists the verbs"
            raise UsageError(f"there is no verb {word!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all verbs, in the order in which the help shows them."""
        return [*self.commands, *ACTS]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the verbs that begin so; none of them has to be made for that."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        about = {name: verb.get_short_help_str() for name, verb in self.commands.items()} | ACTS
        return [
            CompletionItem(n, help=said) for n, said in about.items() if n.startswith(incomplete)
        ]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a verb; those that act are made from their commands when they are asked for."""
        if name not in ACTS:
            return super().get_command(ctx, name)
        from gitflow_agents import acts

        return acts.verb(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs by what they are for, in the order in which they are defined."""
        verbs = [verb for verb in self.commands.values() if isinstance(verb, Verb)]
        lines = [(verb.part, verb.name or "", verb.get_short_help_str(100)) for verb in verbs]
        lines += [("act", name, about) for name, about in ACTS.items()]
        width = max(len(name) for _, name, _ in lines)
        for part, title in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(n.ljust(width), about) for p, n, about in lines if p == part])


def _failed(app: App, error: Exception) -> int:
    """Say what went wrong and return its exit code: the only place that translates failures."""
    from gitflow_agents.errors import MAKE_ROOM, ExitCode, FlowError, UsageError, is_full

    app.json = app.json or (isinstance(error, UsageError) and "--json" in sys.argv)
    match error:
        case FlowError():
            problems, code = getattr(error, "problems", ()), getattr(error, "reason_code", "")
            app.fail(error.message, error.hint, problems, code=code)
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
        case OSError() if is_full(error) or error.errno == errno.EFBIG:
            app.fail(f"{error.filename or 'a file'} cannot be written: {error.strerror}", MAKE_ROOM)
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


class Target(click.types.StringParamType):
    """A plan's name, a plan file's path or a task; the shell completes what may stand there."""

    name = "target"

    def __init__(self, *, plans: bool = True, tasks: bool = True) -> None:
        self._plans, self._tasks = plans, tasks

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from gitflow_agents import cache

        directory = ctx.ensure_object(App).directory
        common = cache.common_directory(directory)
        names = cache.plans(common) if common else []
        plan, slash, _ = incomplete.partition("/")
        if slash and self._tasks and plan in names:
            from gitflow_agents.store import task_ids

            names = [f"{plan}/{task}" for task in task_ids(directory, plan)]
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *found] if self._plans else found


_MEANINGS = {
    "PLAN": "PLAN is the name of a plan, or the path of a plan file.",
    "[PLAN]": "PLAN is the name of a plan, or the path of a plan file; it may be left out where "
    "there is only one.",
    "[PLAN]...": "PLAN is the name of a plan, or the path of a plan file; all if none is named.",
    "PLAN...": "PLAN is the path of a plan file, or the name of a plan.",
    "PLAN|--task TEXT": "PLAN is the name of a plan, or the path of a plan file.",
    "TASK": "TASK is PLAN/ID, or ID where one plan has it.",
    "PLAN|TASK": "PLAN is the name of a plan, or the path of a plan file; TASK is PLAN/ID, or ID "
    "where one plan has it.",
}
_PLAN = Target(tasks=False)
_TASK = Target(plans=False)
_plan = click.argument("plan", type=_PLAN)
_the_plan = click.argument("plan", metavar="[PLAN]", type=_PLAN, default="")
_all_plans = click.argument("plans", metavar="[PLAN]...", type=_PLAN, nargs=-1)
_task = click.argument("task", type=_TASK)
_at = click.option("--at", metavar="REV", default="", help="As of REV, a commit of its state.")
_jobs = click.option(
    "-j", "--jobs", metavar="N", type=click.IntRange(min=1), help="N attempts at once."
)
_remote = click.option(
    "--remote", metavar="NAME", default="", help="The remote that decides on a new plan."
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


@_verb("begin")
@click.option("--fix", is_flag=True, help="Mend what can be mended without a decision of yours.")
@click.option(
    "--self-test",
    is_flag=True,
    help="Walk a plan from accept to merge in a scratch repository, which is removed again.",
)
@click.pass_obj
def doctor(app: App, fix: bool, self_test: bool) -> int:
    """Find what is wrong on this machine and in this repository.

    Each thing is told with the command that mends it, or with what --fix does. It ends with 1 when
    something is left. Where GitHub Actions work on plans, GitHub is asked about its settings, with
    GH_TOKEN or the token of the program gh; without one that is told.
    """
    if self_test:
        return _self_test(app, fix)
    from gitflow_agents.service import doctor as doctors

    diagnosis = doctors.examine(lambda: app.service, fix=fix)
    app.answer(lambda: doctors.text(diagnosis), lambda: doctors.as_json(diagnosis))
    return 1 if diagnosis.left else 0


def _self_test(app: App, fix: bool) -> int:
    from gitflow_agents.errors import UsageError
    from gitflow_agents.service import selftest

    if fix:
        raise UsageError("--self-test has nothing to mend", hint="leave out --fix")
    steps = []
    for step in selftest.walk(os.environ):
        steps.append(step)
        if not app.json:
            app.say(selftest.text(step), colour="red" if step.passed is False else "")
    if app.json:
        app.write(selftest.as_json(steps))
    return 0 if all(step.passed for step in steps) else 1


@_verb("begin")
@click.option(
    "--uses",
    metavar="OWNER/NAME@COMMIT",
    default="",
    help="What the workflows call; without it what is installed here, if that is known.",
)
@click.option("--upgrade", is_flag=True, help="Write the workflows anew, and show what changes.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@click.pass_obj
def init(app: App, uses: str, upgrade: bool, dry_run: bool) -> None:
    """Make a repository ready for GitHub Actions.

    It writes the workflows, a config and the schemas for your editor, and prints what is left to do
    by hand. What is there already stays as it is, unless --upgrade; the config always does.
    """
    from gitflow_agents.errors import FlowError
    from gitflow_agents.service import setup

    repository = app.service.repository
    if repository.top is None:
        raise FlowError("this repository has no checkout to write files to")
    branch = repository.default_branch()
    written = setup.write(
        repository.top,
        uses,
        pushed=branch if app.service.config.start else "",
        is_told=setup.is_told(repository),
        workflows=setup.wanted(app.service.config),
        upgrade=upgrade,
        dry_run=dry_run,
    )
    todo = setup.left(branch, written)
    app.answer(
        lambda: setup.text(written, todo, dry_run=dry_run), lambda: setup.as_json(written, todo)
    )


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
    schema = os.path.join(top, spec.PLAN_SCHEMA)
    known = os.path.relpath(schema, os.path.dirname(path)) if os.path.exists(schema) else ""
    _write_new(path, f"{spec.modeline(known)}#\n{text}".encode())
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
    """Print what makes a shell complete verbs, plans and tasks.

    SHELL is bash, zsh or fish. For bash: eval "$(gitflow-agents completion bash)".
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    variable = f"_{NAME}_COMPLETE".replace("-", "_").upper()
    if kind is not None:
        _echo(kind(main, {}, NAME, variable).source())


@_verb("begin")
@click.argument("what", type=click.Choice(["plan", "config", "role", "status", "webhook"]))
def schema(what: str) -> None:
    """Print a JSON schema: of plan, config, role, status or webhook.

    plan is for plan files, config for the file .github/gitflow-agents.yml, role for the files in
    .github/gitflow-agents/roles, status for what `status --json` prints, webhook for what is sent
    to the address in GITFLOW_WEBHOOK.
    """
    import json

    from gitflow_agents import spec
    from gitflow_agents.render.alerts import webhook_schema

    made = {
        "plan": spec.plan_schema,
        "config": spec.config_schema,
        "role": spec.role_schema,
        "status": _status_schema,
        "webhook": webhook_schema,
    }
    _echo(json.dumps(made[what](), indent=2))


def _status_schema() -> dict[str, Any]:
    import json

    schema: dict[str, Any] = json.loads(_packaged("status.schema.json"))
    return schema


def _packaged(name: str) -> str:
    """Return the text of a file that comes with the package."""
    from gitflow_agents import packaged

    return packaged.text(name)


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
            reading = app.files.read(plan, strict=strict)
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

    snapshot = app.files.open(plan)
    limits = app.files.limits(snapshot)
    slots = jobs or limits.parallel or PARALLEL
    facts = (
        snapshot.plan,
        snapshot.graph,
        graph.schedule(snapshot.plan, snapshot.graph, slots, barrier=barrier),
        graph.overlaps(snapshot.plan, snapshot.graph, limit=MOST_OVERLAPS),
        graph.most_it_can_cost(snapshot.plan, limits),
        slots,
    )
    app.answer(lambda: render.waves(*facts), lambda: render.waves_json(*facts))


@_verb("before")
@_plan
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "dot", "text"]),
    help="How it is drawn; mermaid if nothing is said.",
)
@click.pass_obj
def graph(app: App, plan: str, form: str | None) -> None:
    """Draw which task needs which."""
    from gitflow_agents import render

    if app.json and form:
        from gitflow_agents.errors import UsageError

        raise UsageError("--json is no drawing, so --format says nothing", hint="use one of them")
    snapshot = app.files.open(plan)
    draw = {
        "mermaid": render.graph_mermaid,
        "dot": render.graph_dot,
        "text": render.graph_text,
    }[form or "mermaid"]
    facts = (snapshot.plan, snapshot.graph, snapshot.statuses())
    app.answer(lambda: draw(*facts), lambda: render.graph_json(*facts))


@_verb("before")
@_task
@click.pass_obj
def explain(app: App, task: str) -> None:
    """Say what a task waits for, and what it would unblock."""
    from gitflow_agents import render

    snapshot, task = app.views.task(task)
    now = _now()
    app.answer(
        lambda: render.explain(snapshot, task, now, app.views.limits(snapshot)),
        lambda: render.explain_json(snapshot, task, now),
    )


# --- go -------------------------------------------------------------------------------------------


_WISH = {
    "task": ("TEXT", "Work for an agent in words, in place of a plan file: a plan is made of it."),
    "agent": ("NAME", "Who does it; without it the only agent that there is."),
    "model": ("NAME", "The agent's model."),
    "role": ("NAME", "The role in which it is done."),
    "verify": ("COMMAND", "A shell command whose success proves it."),
    "max-turns": ("N", "The most turns of the agent."),
    "timeout": ("TIME", "The longest that it may take: minutes, or 90s, 30m, 2h."),
    "budget-usd": ("N", "The most that it may cost, in dollars."),
    "base": ("BRANCH", "The branch that it starts from."),
    "flow": ("BRANCH", "The branch that it is merged to; flow/PLAN if nobody says."),
    "approval": ("WORDS", "Where a person says yes first: plan, task, merge."),
}
"""What can be said of work that has no plan file, by its option."""


def _wish(verb: Callable[..., Any]) -> Callable[..., Any]:
    for name, (metavar, about) in reversed(_WISH.items()):
        verb = click.option(f"--{name}", metavar=metavar, default="", help=about)(verb)
    return verb


_plan_or_task = click.argument("plan", metavar="PLAN|--task TEXT", type=_PLAN, default="")


@_verb("go")
@_plan_or_task
@_jobs
@_barrier
@_remote
@_wish
@click.option("--watch", is_flag=True, help="Stay for what is pushed or said later, until Ctrl-C.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@click.pass_obj
def run(
    app: App,
    /,
    plan: str,
    jobs: int | None,
    barrier: bool,
    remote: str,
    watch: bool,
    dry_run: bool,
    **wish: str,
) -> int:
    """Run a plan until nothing can move; merge what passes.

    Your checkout is never touched. Ctrl-C ends the attempts and keeps what they did; the same
    command goes on from there. Nothing is pushed, unless a remote is to decide on the plan; then
    every move is a push there, and other clones can help. Where the config has a board or issues
    for the plan, and you have a token, they are kept in step beside the work.

    With --watch it stays when nothing can move, and goes on by itself when the plan gets a new
    text, or somebody answers, approves or retries. Ctrl-C ends it, with 0 if the plan is finished.

    With --task no plan file is needed: a plan of one task is made, and called PLAN, or after the
    time. Where PLAN was started already, the task is added to it.
    """
    if watch and dry_run:
        raise click.UsageError("--watch and --dry-run cannot be given together")
    if any(wish.values()):
        from gitflow_agents.service.asking import ask
        from gitflow_agents.spec import Wish

        made = Wish(**wish)
        asked = ask(app.service, made, plan, remote, _Teller(app), dry_run=dry_run)
        if dry_run:
            app.answer(
                lambda: "\n".join(asked.said),
                lambda: {"schema": 1, "plan": asked.plan, "would": list(asked.said)},
            )
            return 0
        plan = asked.plan
    elif not plan:
        raise click.MissingParameter(param_hint="'PLAN'", param_type="argument")
    if dry_run:
        name, steps = app.service.rehearse(plan, jobs=jobs, barrier=barrier, remote=remote)
        app.answer(
            lambda: "\n".join(step.text for step in steps),
            lambda: {"schema": 1, "plan": name, "would": [dict(step.data) for step in steps]},
        )
        return 0
    return _run(app, plan, jobs=jobs, barrier=barrier, remote=remote, watch=watch)


def _run(
    app: App,
    plan: str,
    *,
    jobs: int | None = None,
    barrier: bool = False,
    remote: str = "",
    watch: bool = False,
) -> int:
    teller = _Teller(app)
    how: dict[str, Any] = {"jobs": jobs, "barrier": barrier, "remote": remote, "watch": watch}
    with _screen(app, plan, teller):
        end = app.service.run(plan, on_event=teller, **how)
    if end.code:
        app.fail(end.message, end.hint)
    else:
        app.note(f"{end.message}\nnext: {end.hint}")
    return end.code


@_verb("go")
@_plan
@click.option("--remote", metavar="NAME", default="", help="The remote; `origin` if nobody says.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@click.pass_obj
def push(app: App, plan: str, remote: str, dry_run: bool) -> None:
    """Let a remote decide on a plan, so that other clones can help.

    Everything that the plan stands on goes there in one push, which is refused when any of it is
    there already. From then on every move is a push there, and the local branches stay as they are.
    Without --remote it is the config's `remote`, else the only one, else `origin`.
    """
    pushed = app.service.push(plan, remote, dry_run=dry_run)
    next_ = "" if dry_run else f"\nnext: {NAME} run {pushed.plan}"
    app.answer(
        lambda: f"{pushed.said}{next_}",
        lambda: {
            "schema": 1,
            "plan": pushed.plan,
            "authority": pushed.remote,
            "changed": pushed.changed,
            "branches": [*pushed.branches],
            "said": pushed.said,
        },
    )


@_verb("go")
@_plan_or_task
@click.option(
    "-j", "--max-parallel", metavar="N", default="", help="N attempts at once, from now on."
)
@click.option(
    "--remote", metavar="NAME", default="origin", show_default=True, help="Where GitHub's is."
)
@_wish
@click.option("--dry-run", is_flag=True, help="Say what would happen, and write nothing.")
@click.pass_obj
def start(app: App, /, plan: str, remote: str, dry_run: bool, **wish: str) -> int:
    """Let GitHub Actions work on a plan.

    A plan file is first committed to the branch plan/NAME there, as `run` does it here; then a pass
    is asked for. It takes a token that may start workflows: GH_TOKEN, or that of the program gh.

    With --task no plan file is needed: a plan of one task is made there, and called PLAN, or after
    the time. Where PLAN was started already, the task is added to it.
    """
    from gitflow_agents import on_actions
    from gitflow_agents.spec import Wish

    with on_actions.hushed(app) as aloud:
        made, teller = Wish(**wish), _Teller(app)
        return on_actions.start(app, plan, made, remote, teller, aloud, dry_run=dry_run)


@contextmanager
def _screen(app: App, plan: str, teller: _Teller) -> Iterator[None]:
    """Keep a view of the plan below what is told, on a terminal that can; else do nothing."""
    is_dumb = os.environ.get("TERM", "dumb") in ("dumb", "")
    if app.json or app.quiet or is_dumb or not sys.stdout.isatty():
        yield
        return
    try:
        from gitflow_agents import live
    except ImportError:
        yield  # the extra `live` is not installed: plain lines do
        return
    name = app.service.name(plan)
    screen = live.Screen(live.View(app.directory, name), color=not app.no_color)
    teller.say = lambda text, colour: screen.print(text.translate(_CONTROLS), colour)
    with screen.shown():
        yield
    teller.say = teller.plainly


class _Teller:
    """Prints what happens in a run; the run goes on when nobody reads it any more."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.is_heard = True
        self.say: Callable[[str, str], None] = self.plainly

    def plainly(self, text: str, colour: str) -> None:
        """Print a line and go on."""
        self.app.say(text, colour=colour)

    def __call__(self, told: Told) -> None:
        if self.is_heard:
            try:
                self._tell(told)
            except _Unread:
                self.is_heard = False
                _hush()

    def _tell(self, told: Told) -> None:
        if self.app.json:
            self.app.write({"schema": 1, **told.data})
        elif not self.app.quiet:
            self.say(told.text, _COLOURS.get(told.event, ""))
            for line in told.detail.splitlines():
                self.say(f"  | {line}", "")


# --- look -----------------------------------------------------------------------------------------


@_verb("look")
@_the_plan
@_at
@click.option("--watch", is_flag=True, help="Keep it on the terminal, up to date, until Ctrl-C.")
@click.pass_obj
def status(app: App, plan: str, at: str, watch: bool) -> None:
    """Show what waits for you, how far the plan is, every task."""
    from gitflow_agents import render

    if watch:
        _watch(app, plan, at)
        return

    snapshot = app.views.open(plan, at)
    limits = app.views.limits(snapshot)
    now = _now()
    landing = None if at or not render.is_to_land(snapshot) else app.views.landing(snapshot)
    app.answer(
        lambda: render.status(snapshot, limits, now, file=plan, landing=landing),
        lambda: render.status_json(snapshot, limits, now, app.views.flow_sha(snapshot)),
    )


def _watch(app: App, plan: str, at: str) -> None:
    from gitflow_agents.errors import FlowError, UsageError

    if at or app.json or not sys.stdout.isatty():
        raise UsageError(
            "--watch is for a terminal, and for now",
            hint=f"{NAME} log -f prints what happens; --json too",
        )
    try:
        from gitflow_agents import live
    except ImportError:
        hint = "pip install 'gitflow-agents[live]'"
        raise FlowError("--watch needs the package rich", hint=hint) from None
    name = app.views.open(plan).plan.plan
    live.watch(app.directory, name, color=not app.no_color)


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

    snapshot = app.views.open(plan)
    app.answer(lambda: render.ready_text(snapshot), lambda: render.ready_json(snapshot))


@_verb("look")
@click.argument("what", metavar="PLAN|TASK", type=Target())
@_at
@click.pass_obj
def show(app: App, what: str, at: str) -> None:
    """Show all that is known of a plan or a task."""
    from gitflow_agents import render

    snapshot, task = app.views.find(what, at)
    now = _now()
    if task:
        facts = (snapshot, task, now, app.views.attempt_report(snapshot, task))
        app.answer(lambda: render.show_task(*facts), lambda: render.show_task_json(*facts))
    else:
        app.answer(lambda: render.show_plan(snapshot), lambda: render.show_plan_json(snapshot))


@_verb("look")
@_the_plan
@click.pass_obj
def provides(app: App, plan: str) -> None:
    """List the capabilities on flow, and which task gave them."""
    from gitflow_agents import render

    snapshot = app.views.open(plan)
    app.answer(lambda: render.provides(snapshot), lambda: render.provides_json(snapshot))


@_verb("look")
@_task
@click.option("--stat", is_flag=True, help="Files and numbers of lines only.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="What this attempt changed.")
@click.option(
    "--against",
    type=click.IntRange(1),
    metavar="M",
    help="How the files of an attempt (the newest, or --attempt) differ from those of attempt M.",
)
@click.pass_obj
def diff(app: App, task: str, stat: bool, attempt: int | None, against: int | None) -> None:
    """Show what a task changed.

    In JSON it is the files and numbers of lines.
    """
    snapshot, task = app.views.task(task)
    app.answer(
        lambda: app.views.diff(snapshot, task, stat=stat, attempt=attempt, against=against),
        lambda: app.views.diff_json(snapshot, task, attempt=attempt, against=against),
    )


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
        for entry in app.views.history(plan, seen):
            seen = entry.sha
            facts = (entry.at, entry.subject, entry.events)
            app.answer(
                partial(render.log_line, *facts), partial(render.log_json, entry.sha, *facts)
            )
        if not follow:
            break
        if _is_unread(sys.stdout):
            raise _Unread
        time.sleep(FOLLOW_EVERY)


@_verb("look", no_json="it is a text for the agent")
@_task
@click.pass_obj
def brief(app: App, task: str) -> None:
    """Show what the agent of a task is told."""
    snapshot, task = app.views.task(task)
    app.say(app.views.brief(snapshot, task))


@_verb("look")
@_the_plan
@click.pass_obj
def report(app: App, plan: str) -> None:
    """Show what was built, how it was verified, what it took."""
    snapshot = app.views.open(plan)
    app.answer(lambda: app.views.report(snapshot), lambda: app.views.report_json(snapshot))


@_verb("look")
@click.pass_obj
def plans(app: App) -> None:
    """List the plans here, with counts by status."""
    from gitflow_agents import render
    from gitflow_agents.scheduler import plan_status

    now = _now()
    found = [
        (snapshot, plan_status(snapshot, app.views.limits(snapshot), now))
        for snapshot in app.views.plans()
    ]
    app.answer(lambda: render.plans(found), lambda: render.plans_json(found))


@_verb("look")
@click.pass_obj
def roles(app: App) -> None:
    """List the roles that a task can have, and where each comes from.

    A role says what an agent is told, what it may use and what its result may hold. The
    repository's own are in .github/gitflow-agents/roles on the default branch.
    """
    from gitflow_agents import render

    book = app.files.handbook
    app.answer(lambda: render.roles(book), lambda: render.roles_json(book))


@_verb("look")
@click.pass_obj
def agents(app: App) -> None:
    """List the coding agents: installed or not, version, key.

    A key is told by the name of its variable, or by the file of a login; never its value. What is
    not installed is listed with the command that gets it.
    """
    from gitflow_agents.service import crew

    found = crew.look(app.files.config, app.files.environ)
    app.answer(lambda: crew.text(found), lambda: crew.as_json(found))


# --- plumbing -------------------------------------------------------------------------------------

_claim = click.option(
    "--claim", metavar="SHA", required=True, help="The commit that the state names for it."
)


@_verb("plumbing")
@click.argument("plans", metavar="[PLAN]...", nargs=-1)
@click.option(
    "--verdict",
    type=click.Choice(["success", "failure", "cancelled", "skipped"]),
    help="What became of the test of a train in this very run, as GitHub says.",
)
@click.option(
    "--command", metavar="TEXT", help="Commands as in a comment, of who started this run; for PLAN."
)
@click.option(
    "--dry-run", is_flag=True, help="With --command: say what it would do, and write none of it."
)
@click.option(
    "--end-runs", is_flag=True, help="Only see to it that runs end which were stopped, and wait."
)
@click.pass_obj
def reconcile(
    app: App,
    plans: tuple[str, ...],
    verdict: str | None,
    command: str | None,
    dry_run: bool,
    end_runs: bool,
) -> int:
    """In a job of GitHub Actions: do what is due, and start runs for the rest.

    Each pass reads the state that origin has, takes what was published, merges what passed, and
    starts a run a task. It may be called at any time, twice at once too. Without PLAN it looks at
    all that origin has. In the run of a comment it hears what was said, and in that of a schedule
    what was not heard. With --end-runs it cancels what is wanted no more, forces what has not ended
    in a minute, and says after five which run has not.
    """
    from gitflow_agents import on_actions
    from gitflow_agents.errors import UsageError

    if end_runs and (verdict or command):
        other = "--verdict" if verdict else "--command"
        raise UsageError(f"{other} is for a pass, and --end-runs does none")
    if dry_run and not command:
        raise UsageError(
            "--dry-run says what --command would do", hint=f"{NAME} start PLAN --dry-run"
        )
    with on_actions.hushed(app) as aloud:
        if command:
            plan = plans[0] if len(plans) == 1 else ""
            return on_actions.command(app, plan, command, _Teller(app), aloud, dry_run=dry_run)
        if end_runs:
            return on_actions.end_runs(app, plans, _Teller(app), aloud)
        return on_actions.reconcile(app, plans, verdict or "", _Teller(app), aloud)


@_verb("plumbing")
@click.argument("what", metavar="PLAN/TASK")
@_claim
@click.option("--to", "folder", metavar="DIR", help="Where the result is left for `publish`.")
@click.option("--install", is_flag=True, help="Install the task's agents where they are missing.")
@click.option("--train", is_flag=True, help="Test the train of PLAN; the exit code is the verdict.")
@click.pass_obj
def execute(app: App, what: str, claim: str, folder: str | None, install: bool, train: bool) -> int:
    """In a job of GitHub Actions: do one attempt, or test one train.

    Nothing is written to origin. Nothing is started when the state names another run than this one.
    """
    from gitflow_agents import on_actions
    from gitflow_agents.errors import UsageError

    plan, _, task = what.rpartition("/")
    with on_actions.hushed(app):
        if train:
            return on_actions.test(app, what, claim, _Teller(app))
        if not plan or not folder:
            raise UsageError("an attempt needs PLAN/TASK and --to DIR")
        teller = _Teller(app)
        return on_actions.execute(app, plan, task, claim, folder, teller, install=install)


@_verb("plumbing")
@click.argument("what", metavar="PLAN/TASK")
@_claim
@click.option("--from", "folder", metavar="DIR", required=True, help="What `execute` left.")
@click.pass_obj
def publish(app: App, what: str, claim: str, folder: str) -> int:
    """In a job of GitHub Actions: put what `execute` left on the task's branch.

    No file of it is executed or checked out, and what it says of itself is compared with its
    commits. What comes too late is kept beside the branch.
    """
    from gitflow_agents import on_actions
    from gitflow_agents.errors import UsageError

    plan, _, task = what.rpartition("/")
    if not plan:
        raise UsageError("publish needs PLAN/TASK")
    with on_actions.hushed(app):
        return on_actions.publish(app, plan, task, claim, folder, _Teller(app))


@_verb("plumbing")
@_all_plans
@click.option("--all", "is_all", is_flag=True, help="Every plan, also with --project.")
@click.option(
    "--project", metavar="NUMBER|URL", default="", help="The board, whatever config says."
)
@click.option("--create", is_flag=True, help="Make the fields that are missing, or the project.")
@click.option(
    "--adopt/--no-adopt",
    default=None,
    help="Whether cards that only have the title of a task are its own.",
)
@click.option("--overwrite", is_flag=True, help="Put back what people changed.")
@click.option("--dry-run", is_flag=True, help="Say every write, and do none.")
@click.pass_obj
def sync(
    app: App,
    plans: tuple[str, ...],
    is_all: bool,
    project: str,
    create: bool,
    adopt: bool | None,
    overwrite: bool,
    dry_run: bool,
) -> int:
    """Bring the boards of plans in step with git.

    Every card is looked at, and only what is different is written. What people changed on a board
    is kept and told of. The token is GITFLOW_PROJECT_TOKEN, else the one for GitHub. In a job of
    Actions it is what a pass has changed that is written. Where the config wants issues of tasks,
    they are brought up to date first.
    """
    from gitflow_agents import on_boards
    from gitflow_agents.service.syncing import Asked

    asked = Asked(True, create, adopt, overwrite, dry_run)
    return on_boards.sync(app, plans, asked, project, is_all=is_all, tell=_Teller(app))


@_verb("plumbing")
@_all_plans
@click.pass_obj
def fsck(app: App, plans: tuple[str, ...]) -> int:
    """Check that state, flow and branches agree with each other.

    The state is replayed, event by event, and flow's own line is held against it. Nothing is
    written. It ends with 1 when something does not fit.
    """
    from gitflow_agents.service import fsck as checks

    checked = [checks.check(app.service.at(plan), plan) for plan in app.service.started(plans)]
    app.answer(lambda: checks.text(checked), lambda: checks.as_json(checked))
    return 0 if checks.is_clean(checked) else 1


@_verb("plumbing")
@_all_plans
@click.option("--yes", is_flag=True, help="Remove it; without this it is only listed.")
@click.pass_obj
def cleanup(app: App, plans: tuple[str, ...], yes: bool) -> None:
    """Remove what plans that are over, and killed runs, have left.

    Branches go when flow, the base or another branch holds what is on them, folders when a commit
    does. The last three attempts of each task stay, and so does the record of every plan.
    """
    from gitflow_agents.service import cleanup as left

    names = app.service.started(plans) if plans else []
    sweep = left.Cleaner(app.service).sweep(names, yes=yes)
    app.answer(lambda: left.text(sweep, yes=yes), lambda: left.as_json(sweep, yes=yes))
