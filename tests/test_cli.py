"""The command line: every verb once, whole answers, and what becomes of wrong words and failures.

Start with PLAN: most tests look at one repository in which it was run as far as it goes.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from gitflow_agents import __version__
from gitflow_agents import cli as door
from gitflow_agents.spec.config import read_config
from tests import repos
from tests.repos import Cli, Repo, Result

PLAN = """
goal: Greet people
gate: [test -f hello.txt]
tasks:
  - id: "001"
    title: Say hello
    description: Write a greeting
    provides: [greeting]
    files: [hello.txt]
    run: echo hello > hello.txt
    verify: [grep -q hello hello.txt]
    estimated_time: 5 minutes
    priority: high
  - id: "002"
    title: Say goodbye
    description: Write a farewell
    preconditions: [greeting]
    provides: [farewell]
    files: [bye.txt]
    run: echo bye > bye.txt
    verify: [test -s bye.txt]
    estimated_time: 5 minutes
  - id: "003"
    title: Sing
    description: Write a song
    preconditions: [farewell]
    provides: [song]
    files: [song.txt]
    run: echo no voice >&2; exit 3
    verify: [test -s song.txt]
    estimated_time: 8 minutes
  - id: "004"
    title: Dance
    description: Write a dance to the song
    preconditions: [song]
    files: [dance.txt]
    run: echo dance > dance.txt
    verify: [test -s dance.txt]
    estimated_time: 2 minutes
"""
VERBS = {name: verb for name, verb in door.main.commands.items() if isinstance(verb, door.Verb)}


def stable(text: str, repo: Repo) -> str:
    """Return output with what differs from run to run replaced: the folder, times and shas."""
    text = text.replace(str(repo.path), "REPO")
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)
    text = re.sub(r"\b(?:[0-9a-f]{40}|[0-9a-f]{12}|[0-9a-f]{7})\b", "SHA", text)
    return re.sub(r"\b\d+\.\d+s\b", "0.0s", text)


@pytest.fixture(scope="module")
def played(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repo, Result]:
    """Return a repository in which PLAN was run as far as it goes, and what the run printed."""
    repo = repos.copy(template, tmp_path_factory.mktemp("played") / "repo")
    repo.identify()
    repo.plan("party", PLAN)
    repo.commit("a plan")
    return repo, Cli(repo)("run", "plans/party.yaml", "-j", "1", check=False)


@pytest.fixture
def look(played: tuple[Repo, Result]) -> Callable[..., str]:
    """Return what looks at the repository of `played` and gives its stable output."""
    repo, _ = played

    def look(*args: str) -> str:
        return stable(Cli(repo)(*args).stdout, repo)

    return look


SCRIPT = str(Path(sys.executable).with_name("gitflow-agents"))


@contextmanager
def started(repo: Repo, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Start the installed script, and end it whatever becomes of the test."""
    with subprocess.Popen(
        [SCRIPT, *args],
        cwd=repo.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def refs(repo: Repo) -> str:
    return repo.git("for-each-ref")


def on_a_terminal(
    repo: Repo, *args: str, stdin: str = "", env: dict[str, str] | None = None
) -> Result:
    """Run the installed script with a terminal on all three streams; stderr comes with stdout."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [SCRIPT, *args],
        cwd=repo.path,
        env={**os.environ, **(env or {})},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        os.write(ours, stdin.encode())
        out = b"".join(_all_of(ours))
    os.close(ours)
    return Result(process.returncode, out.decode().replace("\r\n", "\n"), "")


def _all_of(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # the other end is closed
            return
        if not part:
            return
        yield part


# --- words ----------------------------------------------------------------------------------------

HELP = """\
Usage: gitflow-agents [OPTIONS] VERB [ARGS]...

  Run plans of tasks by coding agents; what passes its checks is merged to a
  flow branch.

Options:
  -C DIR      Work as if started in DIR.
  --json      Answer in JSON.
  --quiet     Print answers and errors only.
  --no-color  Print without colours.
  --version   Show the version and exit.
  -h, --help  Show this message and exit.

Begin:
  demo        Make a small real repository and run a plan in it.
  doctor      Find what is wrong on this machine and in this repository.
  init        Make a repository ready for GitHub Actions.
  new         Write a plan file to begin with.
  edit        Change a plan in your editor, and propose the change.
  completion  Print what makes a shell complete verbs, plans and tasks.
  schema      Print a JSON schema: of plan, config, role, status or webhook.

Before spending:
  validate    Find every mistake in plans, with its place and its mending.
  waves       Show what would run when, how long, at what cost.
  graph       Draw which task needs which.
  explain     Say what a task waits for, and what it would unblock.

Go:
  run         Run a plan until nothing can move; merge what passes.
  push        Let a remote decide on a plan, so that other clones can help.
  start       Let GitHub Actions work on a plan.

Look:
  status      Show what waits for you, how far the plan is, every task.
  ready       List what can start now, and what the rest waits for.
  show        Show all that is known of a plan or a task.
  provides    List the capabilities on flow, and which task gave them.
  diff        Show what a task changed.
  log         List what happened, oldest first.
  brief       Show what the agent of a task is told.
  report      Show what was built, how it was verified, what it took.
  plans       List the plans here, with counts by status.
  roles       List the roles that a task can have, and where each comes from.
  agents      List the coding agents: installed or not, version, key.

Act:
  stop        End what runs; what it did is kept.
  retry       Try failed, cancelled or finished but unmerged tasks again, on
              the same branch.
  hold        Start and merge nothing more of these tasks, or of the whole
              plan; what runs goes on.
  resume      Lift a hold.
  reject      Refuse what a task has done, before it is merged; the reason
              goes to the next attempt.
  skip        Leave a task out; the tasks that need it stay blocked unless
              --provides.
  approve     Give the approval that a task, or the plan, waits for; it holds
              for exactly this text.
  unapprove   Withdraw an approval, until what it is for has happened.
  feedback    Say something to the agent of a task: to the one that runs where
              it can hear, else the next.
  answer      Answer the question that a task asked; it goes on where it
              stopped.
  merge       Merge what is in review now, tested as always, and start
              nothing.
  revert      Take merged tasks back off flow, with the merged tasks that need
              them; all or none.
  update      Bring the base into flow now, tested as always, whatever
              `follow_base` says.
  take        Do tasks yourself in place of an agent: their branches are
              yours.
  submit      Say that tasks which you took are done; they are checked and
              merged as an agent's result.
  give        Hand tasks back that you took; the next attempt begins with what
              you committed.
  add-task    Add a task to a plan that was started; the next pass takes it
              up, of a running `run` too.
  open        Open a shell among a task's files.

Plumbing:
  reconcile   In a job of GitHub Actions: do what is due, and start runs for
              the rest.
  execute     In a job of GitHub Actions: do one attempt, or test one train.
  publish     In a job of GitHub Actions: put what `execute` left on the
              task's branch.
  sync        Bring the boards of plans in step with git.
  fsck        Check that state, flow and branches agree with each other.
  cleanup     Remove what plans that are over, and killed runs, have left.

  gitflow-agents VERB --help says more about a verb.
"""


def test_the_help_lists_the_verbs_by_what_they_are_for(
    repo: Repo, cli: Cli, tool: Callable[..., Result]
) -> None:
    assert tool(repo, "--help").stdout == HELP  # as wide as a terminal is
    assert cli("-h").stdout == cli("--help").stdout


def test_without_a_word_the_help_is_shown_and_that_is_a_usage_error(
    repo: Repo, cli: Cli, tool: Callable[..., Result]
) -> None:
    assert tool(repo, check=False) == Result(2, "", HELP)
    hint = "hint: gitflow-agents --help shows how it is used\n"
    assert cli(check=False) == Result(2, "", f"error: missing command\n{hint}")


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version").stdout == f"gitflow-agents {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_lists_json_only_if_it_has_it(cli: Cli, verb: str) -> None:
    text = cli(verb, "--help").stdout
    assert text.startswith(f"Usage: gitflow-agents {verb} [OPTIONS]")
    assert ("  --json " in text) is (VERBS[verb].no_json == "")


RUN_HELP = """\
Usage: gitflow-agents run [OPTIONS] PLAN|--task TEXT

  Run a plan until nothing can move; merge what passes.

  Your checkout is never touched. Ctrl-C ends the attempts and keeps what they
  did; the same command goes on from there. Nothing is pushed, unless a remote
  is to decide on the plan; then every move is a push there, and other clones
  can help. Where the config has a board or issues for the plan, and you have a
  token, they are kept in step beside the work.

  With --watch it stays when nothing can move, and goes on by itself when the
  plan gets a new text, or somebody answers, approves or retries. Ctrl-C ends
  it, with 0 if the plan is finished.

  With --task no plan file is needed: a plan of one task is made, and called
  PLAN, or after the time. Where PLAN was started already, the task is added to
  it.

Options:
  -j, --jobs N      N attempts at once.  [x>=1]
  --barrier         Start a wave only when the last is over.
  --remote NAME     The remote that decides on a new plan.
  --task TEXT       Work for an agent in words, in place of a plan file: a plan
                    is made of it.
  --agent NAME      Who does it; without it the only agent that there is.
  --model NAME      The agent's model.
  --role NAME       The role in which it is done.
  --verify COMMAND  A shell command whose success proves it.
  --max-turns N     The most turns of the agent.
  --timeout TIME    The longest that it may take: minutes, or 90s, 30m, 2h.
  --budget-usd N    The most that it may cost, in dollars.
  --base BRANCH     The branch that it starts from.
  --flow BRANCH     The branch that it is merged to; flow/PLAN if nobody says.
  --approval WORDS  Where a person says yes first: plan, task, merge.
  --watch           Stay for what is pushed or said later, until Ctrl-C.
  --dry-run         Say what would happen, and write nothing.
  -h, --help        Show this message and exit.

Before or after any verb:
  -C DIR      Work as if started in DIR.
  --json      Answer in JSON.
  --quiet     Print answers and errors only.
  --no-color  Print without colours.

PLAN is the name of a plan, or the path of a plan file.
"""


def test_the_help_of_a_verb_says_what_its_words_stand_for(cli: Cli) -> None:
    assert cli("run", "--help").stdout == RUN_HELP


def test_options_stand_before_or_after_the_verb(
    played: tuple[Repo, Result], tmp_path: Path
) -> None:
    repo, _ = played
    here = Cli(Repo(tmp_path))
    asked = [
        here("-C", str(repo.path), "--json", "ready", "party"),
        here("--json", "ready", "party", "-C", str(repo.path)),
        here("ready", "--json", "-C", str(repo.path), "party"),
        Cli(Repo(repo.path.parent))("ready", "party", "--json", "-C", "repo"),
    ]
    assert [result.json for result in asked] == [{"schema": 1, "plan": "party", "ready": []}] * 4


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["staus"], "error: there is no verb 'staus'\nhint: did you mean status or start?\n"),
        (["frobnicate"], "error: there is no verb 'frobnicate'\nhint: gitflow-agents --help lists the verbs\n"),
        (["status", "--colour"], "error: no such option '--colour'\nhint: did you mean --no-color?\n"),
        (["run"], "error: missing argument 'PLAN'\nhint: gitflow-agents run --help shows how it is used\n"),
        (
            ["run", "x", "-j", "0"],
            "error: invalid value for '-j' / '--jobs': 0 is not in the range x>=1\n"
            "hint: gitflow-agents run --help shows how it is used\n",
        ),
        (
            ["completion", "tcsh"],
            "error: invalid value for 'SHELL': 'tcsh' is not one of 'bash', 'zsh', 'fish'\n"
            "hint: gitflow-agents completion --help shows how it is used\n",
        ),
    ],
)  # fmt: skip
def test_wrong_words_are_a_usage_error_that_says_what_would_be_right(
    cli: Cli, args: list[str], error: str
) -> None:
    assert cli(*args, check=False) == Result(2, "", error)


def test_wrong_words_are_told_in_json_where_json_was_asked_for(cli: Cli) -> None:
    result = cli("run", "--json", check=False)
    assert result.exit_code == 2
    assert result.json == {
        "schema": 1,
        "error": "missing argument 'PLAN'",
        "hint": "gitflow-agents run --help shows how it is used",
        "problems": [],
    }


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.no_json])
def test_a_verb_without_json_refuses_it_by_name(cli: Cli, verb: str) -> None:
    result = cli(verb, "bash" if verb == "completion" else "x", "--json", check=False)
    assert result.exit_code == 2
    assert result.json == {
        "schema": 1,
        "error": f"{verb} has no --json: {VERBS[verb].no_json}",
        "hint": "",
        "problems": [],
    }


# --- failures -------------------------------------------------------------------------------------


def test_a_folder_without_a_repository_is_an_expected_failure(cli: Cli, tmp_path: Path) -> None:
    result = cli("plans", repo=Repo(tmp_path), check=False)
    assert stable(result.stderr, Repo(tmp_path)) == (
        "error: REPO is not in a git repository\n"
        "hint: go to one, or make one: git init && git commit --allow-empty -m start\n"
    )
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_bug_leaves_its_traceback_in_the_git_directory(cli: Cli, repo: Repo) -> None:
    with mock.patch("gitflow_agents.service.Views.plans", side_effect=KeyError("x")):
        result = cli("plans", check=False)
    (log,) = (repo.path / ".git/gitflow-agents").glob("crash-*.log")
    assert result == Result(
        3,
        "",
        f"error: this is a bug in gitflow-agents: KeyError: 'x'; the traceback is in {log}\n"
        "hint: what git recorded is safe, and running the same again does no harm\n",
    )
    head, _, rest = log.read_text().partition("\n")
    assert head == f"gitflow-agents {__version__}"
    assert rest.endswith("KeyError: 'x'\n")
    assert "Traceback (most recent call last)" in rest


def test_a_bug_outside_of_a_repository_leaves_its_traceback_in_the_temporary_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with mock.patch("gitflow_agents.service.Views.__init__", side_effect=ZeroDivisionError):
        result = cli("plans", "--json", repo=Repo(tmp_path), check=False)
    (log,) = tmp_path.glob("crash-*.log")
    assert result.exit_code == 3
    assert result.json["error"] == (
        f"this is a bug in gitflow-agents: ZeroDivisionError; the traceback is in {log}"
    )


def test_a_reader_who_has_seen_enough_is_no_failure_worth_a_word(
    played: tuple[Repo, Result],
) -> None:
    repo, _ = played
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [SCRIPT, "status"], cwd=repo.path, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def ends_unread(repo: Repo, asked: Sequence[str]) -> set[tuple[str, int, bytes]]:
    """Return exit code and stderr of each of these calls whose output nobody reads."""
    ends = set()
    for words in asked:
        reading, writing = os.pipe()
        os.close(reading)
        argv = [SCRIPT, *words.split()]
        done = subprocess.run(
            argv, cwd=repo.path, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False
        )
        os.close(writing)
        ends.add((words, done.returncode, done.stderr))
    return ends


def test_the_help_and_a_list_end_quietly_when_nobody_reads_on(played: tuple[Repo, Result]) -> None:
    asked = ["--help", "log --help", "log", "frobnicate --json"]
    assert ends_unread(played[0], asked) == {(words, 141, b"") for words in asked}


@pytest.mark.slow
def test_every_verb_ends_quietly_when_nobody_reads_on(played: tuple[Repo, Result]) -> None:
    asked = [
        "--version",
        "completion bash",
        "schema plan",
        "validate plans/party.yaml",
        "validate plans/party.yaml --json",
        "waves party",
        "graph party",
        "explain 004",
        "run party --dry-run",
        "ready",
        "ready --json",
        "show party",
        "provides",
        "diff 002",
        "log --follow",
        "brief 002",
        "report",
        "plans",
    ]
    assert ends_unread(played[0], asked) == {(words, 141, b"") for words in asked}


def test_a_follower_ends_when_its_reader_has_gone_although_nothing_happens(
    played: tuple[Repo, Result],
) -> None:
    with started(played[0], "log", "--follow") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 141


def test_a_run_goes_on_when_nobody_reads_what_it_says(repo: Repo) -> None:
    repo.plan("party", PLAN.replace("exit 3", "echo la > song.txt"))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [SCRIPT, "run", "plans/party.yaml"],
        cwd=repo.path,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "song.txt" in repo.tree("flow/party")


def test_what_a_file_holds_cannot_steer_the_terminal(repo: Repo) -> None:
    repo.plan(
        "ink",
        """
        goal: Write in red
        gate: ["true"]
        tasks:
          - {id: "1", description: Use red ink, run: "printf '\\\\033[31mred\\\\007' > ink.txt"}
        """,
    )
    Cli(repo)("run", "plans/ink.yaml", "--quiet")
    shown = on_a_terminal(repo, "diff", "ink/1").stdout
    assert shown.splitlines()[-2] == "+\\x1b[31mred\\x07"
    assert "+\x1b[31mred\x07\n" in Cli(repo)("diff", "ink/1").stdout  # to a file, as it is


def test_errors_are_coloured_on_a_terminal_unless_somebody_minds(repo: Repo) -> None:
    said = "there is no verb 'staus'\n"
    coloured = f"\x1b[31m\x1b[1merror:\x1b[0m {said}\x1b[36m\x1b[1mhint:\x1b[0m did you mean status or start?\n"
    plain = f"error: {said}hint: did you mean status or start?\n"
    assert on_a_terminal(repo, "staus").stdout == coloured
    assert on_a_terminal(repo, "--no-color", "staus").stdout == plain
    assert on_a_terminal(repo, "staus", env={"NO_COLOR": "1"}).stdout == plain


# --- begin ----------------------------------------------------------------------------------------


def test_new_writes_a_plan_at_the_top_of_the_checkout(cli: Cli, repo: Repo) -> None:
    repo.write("src/code.py", "")
    result = cli("new", "search", "--goal", "Find a word: fast", "-C", "src")
    path = os.path.relpath(repo.path / "plans/search.yaml")
    assert result.stdout == f"wrote {path}\nnext: gitflow-agents validate {path}\n"
    assert cli("show", "plans/search.yaml", "--json").json["goal"] == "Find a word: fast"
    first, _, _ = (repo.path / "plans/search.yaml").read_text().partition("\n")
    assert first.startswith("# yaml-language-server: $schema=plan.schema.json  ")
    assert "gitflow-agents schema plan > plan.schema.json" in first


def test_a_new_plan_names_the_schema_that_init_wrote(cli: Cli, repo: Repo) -> None:
    cli("init", "--uses", f"alice/tool@{'0' * 40}")
    cli("new", "search", "-C", ".github")
    first, _, _ = (repo.path / "plans/search.yaml").read_text().partition("\n")
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert schema == "../.github/gitflow-agents/plan.schema.json"
    assert (
        json.loads((repo.path / "plans" / schema).read_text())["title"]
        == "A plan of gitflow-agents"
    )


def test_a_new_plan_without_a_name_is_called_after_the_time(cli: Cli, repo: Repo) -> None:
    cli("new")
    (path,) = (repo.path / "plans").iterdir()
    assert re.fullmatch(r"session-\d{8}-\d{6}\.yaml", path.name)
    assert cli("validate", f"plans/{path.name}", "--json").json["valid"] is True


@pytest.mark.parametrize("name", ["feature", "hive", "codemod"])
def test_every_template_makes_a_valid_plan(cli: Cli, name: str) -> None:
    folders = ["--folder", "api", "--folder", "a web"] * (name == "codemod")
    cli("new", "search", "--template", name, "--goal", "Find words", *folders, "--quiet")
    assert cli("validate", "plans/search.yaml", "--json").json["valid"] is True


def test_new_never_writes_over_a_file(cli: Cli, repo: Repo) -> None:
    path = repo.plan("search", "goal: mine\n")
    result = cli("new", "search", check=False)
    assert (result.exit_code, path.read_text()) == (1, "goal: mine\n")
    assert stable(result.stderr, repo) == (
        "error: REPO/plans/search.yaml exists and stays as it is\n"
        "hint: choose another name, or --output PATH\n"
    )
    cli("new", "search", "--output", "other/search.yaml")
    assert (repo.path / "other/search.yaml").exists()


def test_new_says_when_it_cannot_write(cli: Cli, repo: Repo) -> None:
    repo.write("plans", "a file")
    result = cli("new", "search", check=False)
    assert stable(result.stderr, repo) == (
        "error: REPO/plans/search.yaml cannot be written: File exists\n"
    )


def test_new_refuses_a_name_that_no_plan_can_have(cli: Cli, repo: Repo) -> None:
    result = cli("new", "../Search", check=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: `../Search` is not a plan name")
    assert repo.tree() == ["README.md"]


def editor(tmp_path: Path, *texts: str, code: int = 0) -> dict[str, str | None]:
    """Return an environment whose editor writes the next of `texts` each time that it is started."""
    for number, text in enumerate(texts):
        (tmp_path / f"text-{number}").write_text(text)
    script = tmp_path / "an editor"
    script.write_text(
        "#!/bin/sh\n"
        f"cd {shlex.quote(str(tmp_path))}\n"
        'for text in text-*; do [ -e "$text" ] && cat "$text" >"$2" && rm "$text"; break; done\n'
        f"exit {code}\n"
    )
    script.chmod(0o755)
    return {"VISUAL": f"{shlex.quote(str(script))} --wait", "TMPDIR": str(tmp_path)}


def kept(result: Result) -> Path:
    """Return the file that a failed edit says the text is kept in."""
    said, _, path = result.stderr.partition("your text is kept in ")
    assert path, said
    return Path(path.splitlines()[0])


def test_edit_commits_a_valid_text_to_the_plan_branch(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    path = repo.plan("party", PLAN)
    changed = PLAN.replace("Greet people", "Greet everybody").lstrip()
    result = cli("edit", "plans/party.yaml", env=editor(tmp_path, changed))
    assert result.stdout == f"committed to plan/party as {repo.sha('plan/party')}\n"
    assert repo.show("plan/party", "plans/party.yaml") == changed
    assert path.read_text() == PLAN.lstrip()
    again = changed.replace("everybody", "nobody")
    cli("edit", "party", env=editor(tmp_path, again))
    assert repo.show("plan/party", "plans/party.yaml") == again


def test_edit_that_changes_nothing_commits_nothing(cli: Cli, repo: Repo, tmp_path: Path) -> None:
    repo.plan("party", PLAN)
    result = cli("edit", "plans/party.yaml", env=editor(tmp_path))
    assert result.stdout == "nothing was changed\n"
    assert repo.branches() == ["main"]


def test_edit_keeps_an_invalid_text_and_says_what_is_wrong(
    cli: Cli, repo: Repo, tmp_path: Path
) -> None:
    repo.plan("party", PLAN)
    result = cli("edit", "plans/party.yaml", env=editor(tmp_path, "goal: x\n"), check=False)
    assert result.exit_code == 1
    assert kept(result).read_text() == "goal: x\n"
    assert "error: tasks:" in result.stderr
    assert repo.branches() == ["main"]


def test_edit_lets_one_try_again_on_a_terminal(repo: Repo, tmp_path: Path) -> None:
    repo.plan("party", PLAN)
    changed = PLAN.replace("Greet people", "Greet everybody").lstrip()
    env = {name: str(value) for name, value in editor(tmp_path, "goal: x\n", changed).items()}
    result = on_a_terminal(repo, "edit", "plans/party.yaml", stdin="y\n", env=env)
    assert result.exit_code == 0, result.stdout
    assert "edit again? [Y/n]:" in result.stdout
    assert repo.show("plan/party", "plans/party.yaml") == changed


def test_edit_given_up_on_a_terminal_keeps_the_text(repo: Repo, tmp_path: Path) -> None:
    repo.plan("party", PLAN)
    env = {name: str(value) for name, value in editor(tmp_path, "goal: x\n").items()}
    result = on_a_terminal(repo, "edit", "plans/party.yaml", stdin="n\n", env=env)
    assert result.exit_code == 1, result.stdout
    assert kept(Result(1, "", result.stdout)).read_text() == "goal: x\n"


def test_edit_says_when_the_editor_fails_or_is_missing(
    cli: Cli, repo: Repo, tmp_path: Path
) -> None:
    repo.plan("party", PLAN)
    failed = cli("edit", "plans/party.yaml", env=editor(tmp_path, code=1), check=False)
    assert failed.exit_code == 1
    assert failed.stderr.endswith("ended with 1; nothing was changed\n")
    env = {"VISUAL": "", "EDITOR": "no-such-editor"}
    missing = cli("edit", "plans/party.yaml", env=env, check=False)
    assert missing.stderr.splitlines()[-2:] == [
        "error: the editor no-such-editor cannot be started: No such file or directory",
        "hint: name yours: export EDITOR=nano",
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_program_for_the_shell(cli: Cli, shell: str) -> None:
    text = cli("completion", shell).stdout
    assert f"_GITFLOW_AGENTS_COMPLETE={shell}_complete" in text
    assert "gitflow-agents" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["explain", "party/"], [f"party/00{n}" for n in range(1, 5)]),
        (["hold", "party/00"], [f"party/00{n}" for n in range(1, 5)]),
        (["hold", "p"], ["party"]),
        (["open", "party/003"], ["party/003"]),
        (["status", "party/"], []),
        (["hold", "nobody/"], []),
        (["re"], ["ready", "reconcile", "reject", "report", "resume", "retry", "revert"]),
    ],
)
def test_a_shell_completes_verbs_plans_and_tasks(
    played: tuple[Repo, Result], words: list[str], expected: list[str]
) -> None:
    env = {
        "_GITFLOW_AGENTS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["gitflow-agents", "-C", str(played[0].path), *words]),
        "COMP_CWORD": str(2 + len(words)),
    }
    said = Cli(played[0])(env=env).stdout.splitlines()
    assert sorted(line.partition(",")[2] for line in said if line.startswith("plain")) == expected


@pytest.mark.parametrize("what", ["plan", "config", "status"])
def test_schema_prints_a_schema_that_knows_every_key(cli: Cli, what: str) -> None:
    schema = cli("schema", what).json
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False


def test_the_schema_of_status_has_exactly_the_keys_that_status_prints(
    played: tuple[Repo, Result],
) -> None:
    cli = Cli(played[0])
    schema, status = cli("schema", "status").json, cli("status", "--json").json

    def compare(schema: dict[str, Any], value: Any) -> None:
        if "enum" in schema:
            assert value in schema["enum"]
        if value is None and "null" in schema.get("type", ()):
            return
        if "properties" in schema:
            assert list(value) == list(schema["properties"]) == schema["required"]
            for key, part in schema["properties"].items():
                compare(part, value[key])
        for item in value if "items" in schema else []:
            compare(schema["items"], item)

    compare(schema, status)


# --- before spending ------------------------------------------------------------------------------

BROKEN = """
goal: Greet people
taks: []
tasks:
  - id: 1
    description: Say hello
    run: echo hello
    verify: ["true"]
"""
PROBLEMS = """\
plans/broken.yaml:2:1: error: taks: there is no key `taks` (did you mean `tasks`?)
plans/broken.yaml:4:9: error: tasks[0].id: `id` has to be text, and 1 is a number (write id: "1")
"""


def test_validate_names_every_mistake_with_its_place(cli: Cli, repo: Repo) -> None:
    repo.plan("broken", BROKEN)
    repo.plan("party", PLAN)
    assert cli("validate", "plans/broken.yaml", "plans/party.yaml", check=False) == Result(
        1,
        "plans/party.yaml is valid: plan party, 4 tasks in 4 waves\n",
        f"{PROBLEMS}error: plans/broken.yaml has 2 errors; nothing was changed\n",
    )


def test_validate_in_json_tells_all_files(cli: Cli, repo: Repo) -> None:
    repo.plan("broken", BROKEN)
    repo.plan("party", PLAN)
    result = cli("validate", "plans/broken.yaml", "plans/party.yaml", "--json", check=False)
    assert (result.exit_code, result.stderr) == (1, "")
    problem = {
        "file": "plans/broken.yaml",
        "line": 2,
        "column": 1,
        "key": "taks",
        "reason": "there is no key `taks`",
        "mend": "did you mean `tasks`?",
        "is_warning": False,
    }
    told = result.json
    problems = told["plans"][0].pop("problems")
    assert (problems[0], len(problems)) == (problem, 2)
    assert told == {
        "schema": 1,
        "valid": False,
        "plans": [
            {"file": "plans/broken.yaml", "valid": False},
            {"file": "plans/party.yaml", "valid": True, "problems": []},
        ],
    }


def test_a_warning_is_an_error_if_one_is_strict(cli: Cli, repo: Repo) -> None:
    repo.plan("party", PLAN.replace("2 minutes", "20 minutes"))
    place = "plans/party.yaml:38:21"
    lax = cli("validate", "plans/party.yaml")
    assert lax.stdout == "plans/party.yaml is valid: plan party, 4 tasks in 4 waves\n"
    assert lax.stderr.startswith(f"{place}: warning: tasks[3].estimated_time: ")
    assert cli("validate", "plans/party.yaml", "--quiet") == Result(0, "", "")
    strict = cli("validate", "plans/party.yaml", "--strict", check=False)
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert strict.stderr.startswith(f"{place}: error: tasks[3].estimated_time: ")


WAVES = """\
Plan party: 4 tasks in 4 waves

START  END  SLOT  WAVE     ID   TITLE
0s     5m   1     1     *  001  Say hello
5m     10m  1     2     *  002  Say goodbye
10m    18m  1     3     *  003  Sing
18m    20m  1     4     *  004  Dance

With 2 slots:       20m
Best possible:      20m (the critical path, marked *)
All work together:  20m
Critical path:      001 > 002 > 003 > 004

No two tasks that could run at once name the same file.

What it can cost has no bound: neither every task nor the plan has a budget_usd.
"""


def test_waves_is_a_schedule_with_its_critical_path(look: Callable[..., str]) -> None:
    assert look("waves", "party", "-j", "2") == WAVES


def test_waves_in_json_counts_in_minutes(played: tuple[Repo, Result]) -> None:
    answer = Cli(played[0])("waves", "party", "--barrier", "--json").json
    assert answer["waves"] == [["001"], ["002"], ["003"], ["004"]]
    assert (answer["slots"], answer["makespan"], answer["best"]) == (3, 20.0, 20.0)


MERMAID = """\
flowchart TD
    t0["001: Say hello"]
    t1["002: Say goodbye"]
    t2["003: Sing"]
    t3["004: Dance"]
    t0 --> t1
    t1 --> t2
    t2 --> t3
    classDef completed fill:#d1e7dd,color:#000
    class t0,t1 completed
    classDef failed fill:#f8d7da,color:#000
    class t2 failed
"""


DOT = """\
digraph "party" {
    rankdir=LR;
    node [shape=box];
    "001" [label="001: Say hello", style=filled, fillcolor="#d1e7dd"];
    "002" [label="002: Say goodbye", style=filled, fillcolor="#d1e7dd"];
    "003" [label="003: Sing", style=filled, fillcolor="#f8d7da"];
    "004" [label="004: Dance"];
    "001" -> "002";
    "002" -> "003";
    "003" -> "004";
}
"""


TEXT = """\
Wave 1
  001  completed  Say hello

Wave 2
  002  completed  needs 001  Say goodbye

Wave 3
  003  failed  needs 002  Sing

Wave 4
  004  pending  needs 003  Dance
"""


def test_graph_draws_the_plan_in_three_ways(look: Callable[..., str]) -> None:
    assert look("graph", "party") == MERMAID
    assert look("graph", "party", "--format", "dot") == DOT
    assert look("graph", "party", "--format", "text") == TEXT


def test_graph_in_json_has_nodes_and_edges(played: tuple[Repo, Result]) -> None:
    cli = Cli(played[0])
    assert cli("graph", "party", "--json").json == {
        "schema": 1,
        "plan": "party",
        "nodes": [
            {"id": "001", "title": "Say hello", "status": "completed", "wave": 1},
            {"id": "002", "title": "Say goodbye", "status": "completed", "wave": 2},
            {"id": "003", "title": "Sing", "status": "failed", "wave": 3},
            {"id": "004", "title": "Dance", "status": "pending", "wave": 4},
        ],
        "edges": [
            {"from": "001", "to": "002", "capabilities": ["greeting"]},
            {"from": "002", "to": "003", "capabilities": ["farewell"]},
            {"from": "003", "to": "004", "capabilities": ["song"]},
        ],
    }
    result = cli("graph", "party", "--json", "--format", "dot", check=False)
    assert (result.exit_code, result.json["hint"]) == (2, "use one of them")


EXPLAINED = """\
004 Dance
  is pending and waits for 1 task: 003

What blocks it
  004  pending              Dance
  003  failed   gives song  Sing
  003 failed (agent-error): the command exited with 3
      $ gitflow-agents show party/003

What it unblocks
  nothing waits for it
"""


EXPLAINED_DONE = """\
001 Say hello
  is completed, merged as SHA

What it unblocks
  it is on flow already
"""


def test_explain_gives_the_chain_that_blocks_a_task(look: Callable[..., str]) -> None:
    assert look("explain", "004") == EXPLAINED
    assert look("explain", "party/001") == EXPLAINED_DONE


def test_explain_in_json_has_the_chains(played: tuple[Repo, Result]) -> None:
    answer = Cli(played[0])("explain", "004", "--json").json
    assert (answer["chains"], answer["unblocks"]) == ([["004", "003"]], {"ready": [], "behind": 0})


# --- go -------------------------------------------------------------------------------------------


TOLD = """\
plan party accepted as v1: 4 tasks
plan party v1: 4 tasks, 1 at once, from main to flow/party; it runs by itself, without approvals
  | plan branch: plan/party
  | working directory: REPO
  | worktrees: REPO/.worktrees/party
  | agents: command
001 started: Say hello
001 is done, to be merged
testing 001 on flow/party: 2 commands
001 merged as SHA (1 of 4)
002 started: Say goodbye
002 is done, to be merged
testing 002 on flow/party: 2 commands
002 merged as SHA (2 of 4)
003 started: Sing
003 failed: agent-error: the command exited with 3
  | no voice
  | next: gitflow-agents show party/003
  | all of its output: REPO/.git/gitflow-agents/attempts/party/003/1/output.log
"""


def test_run_tells_what_happens_and_ends_where_a_person_is_needed(
    played: tuple[Repo, Result],
) -> None:
    repo, result = played
    assert stable(result.stdout, repo) == TOLD
    assert (result.exit_code, result.stderr) == (
        4,
        "error: the plan cannot go on without a person: failed: 003; "
        "2 of 4 tasks are merged to flow/party\n"
        "hint: gitflow-agents status party"
        "; gitflow-agents retry party tries again\n",
    )


SUNG = PLAN.replace("echo no voice >&2; exit 3", "echo la > song.txt")


def test_run_to_the_end_says_where_the_result_is(cli: Cli, repo: Repo) -> None:
    repo.plan("party", SUNG)
    result = cli("run", "plans/party.yaml", "-j", "1")
    assert stable(result.stdout, repo).splitlines()[-3:] == [
        "the report is on flow/party",
        "the plan is finished: 4 of 4 tasks are merged to flow/party",
        "next: gitflow-agents report party; git log --first-parent flow/party",
    ]
    assert cli("report").stdout == repo.show("flow/party", "plans/party.report.md")
    assert cli("run", "party", "--quiet") == Result(0, "", "")


def test_run_says_that_a_plan_file_would_be_in_the_way_of_a_merge(cli: Cli, repo: Repo) -> None:
    repo.plan("party", SUNG)
    assert cli("run", "plans/party.yaml").stdout.splitlines()[0] == (
        "plans/party.yaml is not committed; commit it, or it is in the way of flow/party"
    )


def test_run_in_json_prints_one_event_a_line(cli: Cli, repo: Repo) -> None:
    repo.plan("party", PLAN)
    repo.commit("a plan")
    result = cli("run", "plans/party.yaml", "-j", "1", "--json", check=False)
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each.get("event") for each in told] == [
        "plan_accepted",
        "run_started",
        *["attempt_started", "attempt_succeeded", "train_started", "task_merged"] * 2,
        "attempt_started",
        "attempt_failed",
        None,
    ]
    assert {each["schema"] for each in told} == {1}
    assert {stable(each["at"], repo) for each in told[:-1]} == {"TIME"}
    assert told[-1] == {
        "schema": 1,
        "error": "the plan cannot go on without a person: failed: 003; "
        "2 of 4 tasks are merged to flow/party",
        "hint": "gitflow-agents status party; gitflow-agents retry party tries again",
        "problems": [],
    }
    assert (result.exit_code, result.stderr) == (4, "")


REHEARSED = """\
accept plan party: make plan/party and flow/party from main
    0 min  start 001 on task/party/001-say-hello: Say hello
    5 min  merge 001 to flow/party
    5 min  start 002 on task/party/002-say-goodbye: Say goodbye
   10 min  merge 002 to flow/party
   10 min  start 003 on task/party/003-sing: Sing
   18 min  merge 003 to flow/party
   18 min  start 004 on task/party/004-dance: Dance
   20 min  merge 004 to flow/party
   20 min  finish: the report goes to flow/party
"""


def test_a_dry_run_walks_the_whole_plan_and_writes_nothing(cli: Cli, repo: Repo) -> None:
    repo.plan("party", PLAN)
    before = (repo.snapshot(), refs(repo), repo.git("count-objects"))
    result = cli("run", "plans/party.yaml", "-j", "1", "--dry-run")
    assert result.stdout == REHEARSED
    assert (repo.snapshot(), refs(repo), repo.git("count-objects")) == before
    told = cli("run", "plans/party.yaml", "-j", "1", "--dry-run", "--json").json
    steps = told.pop("would")
    assert told == {"schema": 1, "plan": "party"}
    assert steps[:3] == [
        {
            "event": "plan_accepted",
            "minutes": 0,
            "plan": "party",
            "plan_branch": "plan/party",
            "flow": "flow/party",
            "base": "main",
            "authority": "local",
        },
        {
            "event": "attempt_started",
            "minutes": 0,
            "plan": "party",
            "task": "001",
            "branch": "task/party/001-say-hello",
        },
        {
            "event": "task_merged",
            "minutes": 5,
            "plan": "party",
            "task": "001",
            "flow": "flow/party",
        },
    ]
    assert steps[-1] == {
        "event": "plan_finished",
        "minutes": 20,
        "plan": "party",
        "flow": "flow/party",
    }
    assert len(steps) == len(result.stdout.splitlines())


def test_an_invalid_plan_is_not_run(cli: Cli, repo: Repo) -> None:
    repo.plan("broken", BROKEN)
    before = refs(repo)
    assert cli("run", "plans/broken.yaml", check=False) == Result(
        1, "", f"{PROBLEMS}error: plans/broken.yaml has 2 errors; nothing was changed\n"
    )
    assert refs(repo) == before


def test_ctrl_c_ends_a_run_which_goes_on_later(repo: Repo) -> None:
    repo.plan("party", PLAN.replace("echo hello > hello.txt", "exec sleep 300"))
    with started(repo, "run", "plans/party.yaml") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("001 started"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        130,
        "error: interrupted; 0 of 4 tasks are merged to flow/party, and nothing is lost\n"
        "hint: gitflow-agents run party goes on where it was\n",
    )
    assert Cli(repo)("ready", "--json").json["ready"] == ["001"]


# --- look -----------------------------------------------------------------------------------------


STATUS = """\
Waiting for you: 1 thing (the plan runs by itself, without approvals)
  003 failed (agent-error): the command exited with 3
      $ gitflow-agents show party/003
      $ gitflow-agents retry party/003

Plan       party: failed
Goal       Greet people
Version    v1, accepted TIME by alice
Progress   50 % (2 of 4 tasks merged)
Tasks      2 completed, 1 failed, 1 pending (0 ready)
Used       0.0s of work by all agents together

main at SHA
└─ flow/party at SHA
   ├─ task/party/003-sing failed
   ├─ 001 merged as SHA
   └─ 002 merged as SHA

ID   STATUS     WAVE  TRY  TIME  WAITING FOR  TITLE
001  completed  1     1    0.0s               Say hello
002  completed  2     1    0.0s               Say goodbye
003  failed     3     1    0.0s  agent-error  Sing
004  pending    4                003          Dance

Estimated  20m for 4 tasks
           10m for what is merged (2 of 4), which took 0.0s
"""


def test_status_begins_with_what_waits_for_you(look: Callable[..., str]) -> None:
    assert look("status") == STATUS


def test_status_at_an_older_state_is_as_it_was(played: tuple[Repo, Result]) -> None:
    repo, _ = played
    first = repo.git("rev-list", "--reverse", "gitflow/state/party").split()[0]
    then = Cli(repo)("status", "party", "--at", first, "--json").json
    assert then["counts"]["pending"] == 4
    assert then["ready"] == ["001"]


READY = """\
Ready now
  nothing

Waiting for what
  ID   WAITS FOR  TITLE
  004  003        Dance
"""


def test_ready_gives_the_same_answer_cold_and_warm(cli: Cli, repo: Repo) -> None:
    repo.plan("party", PLAN)
    before = cli("ready", "plans/party.yaml", "--json")
    assert before.json == {"schema": 1, "plan": "party", "ready": ["001"]}
    cli("run", "plans/party.yaml", "--quiet", check=False)
    cache = repo.path / ".git/gitflow-agents/cache/ready-party.json"
    cache.unlink(missing_ok=True)
    for plan in ("party", "plans/party.yaml"):
        cold = cli("ready", plan, "--json")
        with mock.patch("gitflow_agents.service.Views.__init__", side_effect=AssertionError):
            assert cli("ready", plan, "--json") == cold
        cache.unlink()
    assert cli("ready", "party").stdout == READY


SHOWN_PLAN = """\
Plan       party v1
Goal       Greet people
Base       main
Flow       flow/party
Tasks      4: 2 completed, 1 failed, 1 pending (0 ready)
Estimated  20m

Wave 1
  001  completed  Say hello

Wave 2
  002  completed  needs 001  Say goodbye

Wave 3
  003  failed  needs 002  Sing

Wave 4
  004  pending  needs 003  Dance
"""


def test_show_a_plan(look: Callable[..., str]) -> None:
    assert look("show", "party") == SHOWN_PLAN


SHOWN_TASK = """\
party/002 Say goodbye
  is completed, merged as SHA
      $ gitflow-agents diff party/002

Branch     task/party/002-say-goodbye
Merge      SHA
Wave       2
Priority   medium
Estimated  5 minutes
Needs      greeting (from 001)
Provides   farewell
Files      bye.txt
Enables    003
Command    echo bye > bye.txt
Verified   test -s bye.txt

Description
  Write a farewell

Attempts
  1  TIME  succeeded, 0.0s
     the command exited with 0
     git show SHA:.gitflow/report.md
"""


def test_show_a_task(look: Callable[..., str]) -> None:
    assert look("show", "002") == look("show", "party/002") == SHOWN_TASK


def test_show_a_task_in_json_has_its_record(played: tuple[Repo, Result]) -> None:
    answer = Cli(played[0])("show", "002", "--json").json
    record = {
        "id": "002",
        "description": "Write a farewell",
        "status": "completed",
        "preconditions": ["greeting"],
        "provides": ["farewell"],
        "files": ["bye.txt"],
        "estimated_time": "5 minutes",
        "priority": "medium",
    }
    assert {key: answer[key] for key in record} == record


def test_what_is_not_here_is_an_expected_failure_that_says_so(played: tuple[Repo, Result]) -> None:
    cli = Cli(played[0])
    for args, error in (
        (["status", "nix"], "there is no plan nix"),
        (["explain", "nix"], "no plan here has a task nix"),
        (["explain", "party/nix"], "plan party has 4 tasks, and none is 'nix'"),
        (["status", "plans/nix.yaml"], "there is no file plans/nix.yaml"),
    ):
        result = cli(*args, check=False)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.splitlines()[0] == f"error: {error}"


def test_provides_names_the_task_and_the_merge(played: tuple[Repo, Result]) -> None:
    repo, _ = played
    merges = repo.log("flow/party", "%h", "--first-parent", "--merges", "--abbrev=7").split()
    assert Cli(repo)("provides").stdout == (
        f"TASK  MERGE    CAPABILITY\n001   {merges[1]}  greeting\n002   {merges[0]}  farewell\n"
    )
    answer = Cli(repo)("provides", "--json").json
    assert answer["names"] == ["greeting", "farewell"]


DIFF = """\
diff --git a/bye.txt b/bye.txt
new file mode 100644
index SHA..SHA
--- /dev/null
+++ b/bye.txt
@@ -0,0 +1 @@
+bye
"""


def test_diff_shows_what_a_task_changed(look: Callable[..., str]) -> None:
    assert look("diff", "002") == DIFF
    assert look("diff", "002", "--stat") == (" bye.txt | 1 +\n 1 file changed, 1 insertion(+)\n")


def test_diff_in_json_has_paths_and_numbers_of_lines(
    played: tuple[Repo, Result], cli: Cli, repo: Repo
) -> None:
    merge = played[0].log("flow/party", "%H %P", "--first-parent", "--merges").split()
    assert Cli(played[0])("diff", "002", "--json").json == {
        "schema": 1,
        "plan": "party",
        "task": "002",
        "base": merge[1],
        "sha": merge[0],
        "files": [{"path": "bye.txt", "change": "added", "insertions": 1, "deletions": 0}],
    }
    repo.write("old.txt", "1\n2\n")
    repo.commit("something to change")
    repo.plan(
        "many",
        r"""
        goal: Change files in every way
        tasks:
          - id: "1"
            description: All at once
            run: printf '\0' > "a b\tc"; echo 3 >> README.md; mkdir n; mv old.txt n/new.txt
        """,
    )
    cli("run", "plans/many.yaml", "--quiet")
    assert cli("diff", "many/1", "--json").json["files"] == [
        {"path": "README.md", "change": "modified", "insertions": 1, "deletions": 0},
        {"path": "a b\\tc", "change": "added", "insertions": None, "deletions": None},
        {"path": "n/new.txt", "change": "added", "insertions": 2, "deletions": 0},
        {"path": "old.txt", "change": "deleted", "insertions": 0, "deletions": 2},
    ]


def test_diff_of_what_was_not_begun_says_why(played: tuple[Repo, Result]) -> None:
    assert Cli(played[0])("diff", "004", check=False) == Result(
        1,
        "",
        "error: 004 has nothing to show yet: it is pending\nhint: gitflow-agents explain party/004\n",
    )


def test_log_lists_every_commit_of_the_state(
    played: tuple[Repo, Result], look: Callable[..., str]
) -> None:
    repo, _ = played
    assert look("log") == "".join(
        f"TIME  {subject}  (alice)\n"
        for subject in repo.log("gitflow/state/party", "%s", "--reverse").splitlines()
    )
    lines = Cli(repo)("log", "--json").stdout.splitlines()
    shas = repo.log("gitflow/state/party", "%H", "--reverse").splitlines()
    assert [json.loads(line)["sha"] for line in lines] == shas


def test_log_follows_until_it_is_interrupted(repo: Repo) -> None:
    repo.plan("party", SUNG)
    Cli(repo)("run", "plans/party.yaml", "--quiet")
    first, *others = repo.git("rev-list", "--reverse", "gitflow/state/party").split()
    last = others[-1]
    repo.git("update-ref", "refs/heads/gitflow/state/party", first)
    with started(repo, "log", "party", "--follow", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["sha"] == first
        repo.git("update-ref", "refs/heads/gitflow/state/party", last)
        assert [json.loads(process.stdout.readline())["sha"] for _ in others] == others
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (130, "")
    assert json.loads(out)["error"] == "interrupted"


def test_brief_is_what_the_agent_was_told(played: tuple[Repo, Result]) -> None:
    repo, _ = played
    told = repo.show("task/party/003-sing", ".gitflow/brief.md")
    assert Cli(repo)("brief", "003").stdout == told
    assert told.startswith("# Task 003 of plan party\n")


def test_report_in_json_is_what_the_report_says(played: tuple[Repo, Result]) -> None:
    told = Cli(played[0])("report", "--json").json
    merges = played[0].log("flow/party", "%H", "--first-parent", "--merges").split()
    assert told.pop("total_seconds") > told.pop("work_seconds") > 0
    assert stable(told.pop("at"), played[0]) == "TIME"
    assert [each.pop("work_seconds") > 0 for each in told["estimates"]] == [True] * 3 + [False]
    assert told == {
        "schema": 1,
        "plan": "party",
        "session_id": "party",
        "goal": "Greet people",
        "revision": 1,
        "base": "main",
        "flow": "flow/party",
        "flow_sha": merges[0],
        "finished": False,
        "built": [
            {
                "id": "001",
                "title": "Say hello",
                "tracker": None,
                "merge_sha": merges[1],
                "summary": None,
            },
            {
                "id": "002",
                "title": "Say goodbye",
                "tracker": None,
                "merge_sha": merges[0],
                "summary": None,
            },
        ],
        "failed": [
            {
                "id": "003",
                "title": "Sing",
                "reason": "agent-error",
                "message": "the command exited with 3",
            }
        ],
        "left_out": [],
        "not_done": ["004"],
        "verification": [
            {
                "command": "grep -q hello hello.txt",
                "kind": "verify",
                "times": 1,
                "tests_passing": None,
            },
            {"command": "test -f hello.txt", "kind": "gate", "times": 2, "tests_passing": None},
            {"command": "test -s bye.txt", "kind": "verify", "times": 1, "tests_passing": None},
        ],
        "tests_passing": None,
        "total_tasks": 4,
        "waves": 4,
        "attempts": 3,
        "cost_usd": None,
        "cost_is_complete": False,
        "tracker": None,
        "estimates": [
            {"id": "001", "estimated_minutes": 5},
            {"id": "002", "estimated_minutes": 5},
            {"id": "003", "estimated_minutes": 8},
            {"id": "004", "estimated_minutes": 2},
        ],
        "risks": [],
        "follow_ups": [],
        "learned": [],
    }


PLANS = """\
PLAN   STATUS  DONE  TASKS                                       GOAL
party  failed  50 %  2 completed, 1 failed, 1 pending (0 ready)  Greet people
"""


def test_plans_lists_what_is_here(look: Callable[..., str], cli: Cli) -> None:
    assert look("plans") == PLANS
    assert cli("plans").stdout == "No plan was started here yet.\n"
    assert cli("plans", "--json").json == {"schema": 1, "plans": []}


def test_every_looking_verb_writes_nothing_that_is_the_users(played: tuple[Repo, Result]) -> None:
    repo, _ = played
    before = (repo.snapshot(), refs(repo))
    for words in (
        "status",
        "ready",
        "show party",
        "provides",
        "log",
        "report",
        "plans",
        "waves party",
    ):
        Cli(repo)(*words.split())
    assert (repo.snapshot(), refs(repo)) == before


def test_the_installed_script_does_all_this_in_a_process_of_its_own(
    repo: Repo, tool: Callable[..., Result]
) -> None:
    repo.plan("party", PLAN)
    result = tool(repo, "run", "plans/party.yaml", check=False)
    assert result.exit_code == 4
    assert tool(repo, "status", "--json").json["counts"]["completed"] == 2


# --- the documents --------------------------------------------------------------------------------

PROJECT = Path(__file__).parent.parent


def test_every_command_of_the_feature_list_works_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PROJECT / "docs/features.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    repo = Repo(tmp_path / "empty")
    repo.path.mkdir()
    monkeypatch.chdir(repo.path)
    shown: list[str] = []
    for line in lines:
        program, *words = shlex.split(line.removesuffix("`").rpartition("`")[2])
        shown.append(words[0])
        if program == "git":
            repo.git(*words)
        else:
            Cli(Repo(Path()))(*words)
    assert set(VERBS) - set(shown) == {"edit"}  # it needs somebody who edits


def test_the_readme_lists_the_verbs_as_the_help_does() -> None:
    text = (PROJECT / "README.md").read_text()
    verbs = [(verb.part, verb.name, verb.get_short_help_str(100)) for verb in VERBS.values()]
    verbs += [("act", name, about) for name, about in door.ACTS.items()]
    rows = [
        f"| {'' if place else title} | `{name}` | {about} |"
        for part, title in door.GROUPS.items()
        for place, (_, name, about) in enumerate(verb for verb in verbs if verb[0] == part)
    ]
    table = "\n".join(["| | Verb | What it does |", "|---|---|---|", *rows])
    assert table in text, f"put this into README.md:\n{table}"


def test_the_plan_of_the_readme_has_not_even_a_warning(cli: Cli, repo: Repo) -> None:
    found = re.findall(r"```yaml\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    plan, agents, config = found
    assert read_config(config.encode(), file="README.md").projects is not None
    by_agent = agents + re.sub(r"\n    run: .*", "", plan)
    assert by_agent.count("run:") == 0
    for text in (plan, by_agent):
        repo.plan("readme", text)
        assert cli("validate", "plans/readme.yaml", "--strict").stderr == ""


def test_a_refusal_has_its_code_for_programs(played: tuple[Repo, Result]) -> None:
    refused = Cli(played[0])("--json", "retry", "party/001", check=False)
    said = json.loads(refused.stdout)
    assert (refused.exit_code, said["code"], sorted(said)) == (
        1,
        "wrong-state",
        ["code", "error", "hint", "problems", "schema"],
    )


def test_a_run_that_only_says_what_would_happen_does_not_stay(cli: Cli) -> None:
    asked = cli("run", "p", "--watch", "--dry-run", check=False)
    assert (asked.exit_code, asked.stderr.splitlines()[0]) == (
        2,
        "error: --watch and --dry-run cannot be given together",
    )
