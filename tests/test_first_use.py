"""What somebody meets who uses the tool for the first time, and follows what it says to the letter."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.cli import NAME
from tests import engine
from tests.engine import task
from tests.repos import Cli, Repo
from tests.test_cli import SCRIPT, refs, stable, started

WORK = "echo a > a.txt"
COMMON = "$(git rev-parse --git-common-dir)"


def commands(text: str) -> list[str]:
    """Return the commands that an answer says to type."""
    return re.findall(r"^ +\$ (.*)$", text, re.MULTILINE)


def typed(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Type a command into a shell, with the installed script for the tool's name."""
    line = re.sub(rf"\b{NAME}\b", shlex.quote(SCRIPT), command)
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )


# --- a run that was killed ------------------------------------------------------------------------


@pytest.fixture
def killed(repo: Repo) -> Repo:
    """Return a repository in which a run was killed while it worked on the first of two tasks."""
    repo.identify()
    first = f"[ -e {repo.path}/../again ] || exec sleep 300; {WORK}"
    engine.plan(
        repo, task("1", first), task("2", "echo b > b.txt", depends_on=["1"]), task("3", "exit 1")
    )
    repo.commit("a plan")
    with started(repo, "run", "plans/p.yaml", "-j", "1") as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("1 started"):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    (repo.path / "../again").touch()
    return repo


LOST = """\
Waiting for you: 1 thing (the plan runs by itself, without approvals)
  1 is lost: its run died; `run` takes it over
      $ gitflow-agents run p

Plan       p: running
Goal       Try it
Version    v1, accepted TIME by alice
Progress   0 % (0 of 3 tasks merged)
Tasks      1 in progress (1 lost), 2 pending (1 ready)
Used       0s of work by all agents together

main at SHA
└─ flow/p at SHA
   └─ task/p/1-task-1 lost

ID  STATUS   WAVE  TRY  TIME  WAITING FOR        TITLE
1   lost     1     1          run: its run died  Task 1
2   pending  2                1                  Task 2
3   ready    1                                   Task 3
"""


def test_a_run_that_was_killed_is_told_as_lost_until_a_run_takes_it_over(killed: Repo) -> None:
    cli, before = Cli(killed), (killed.snapshot(), refs(killed))
    assert stable(cli("status").stdout, killed) == LOST
    told = cli("status", "--json").json["tasks"]
    assert [(each["id"], each["status"], each["lost"]) for each in told] == [
        ("1", "in_progress", True),
        ("2", "pending", False),
        ("3", "pending", False),
    ]
    for verb in ("show", "explain"):
        second = cli(verb, "1").stdout.splitlines()[1]
        assert second == "  is lost: its run died; `run` takes it over"
        assert cli(verb, "1", "--json").json["lost"] is True
    assert "1 in progress (1 lost)" in cli("plans").stdout
    then = cli("status", "p", "--at", "gitflow/state/p", "--json").json["tasks"]
    assert not any(each["lost"] for each in then)  # what was is not looked up
    rehearsed = cli("run", "p", "--dry-run").stdout.splitlines()
    assert rehearsed[:2] == [
        "    0 min  take over 1, whose run died; what it did is kept",
        "    0 min  start 1 on task/p/1-task-1: Task 1",
    ]
    assert (killed.snapshot(), refs(killed)) == before
    assert engine.go(killed, "p").happened("task_merged") == ["1", "2"]
    told = cli("status", "--json").json["tasks"]
    assert not any(each["lost"] for each in told)


def test_an_attempt_that_is_at_work_is_not_lost(repo: Repo) -> None:
    seen: list[Any] = []

    def look(told: Any) -> None:
        if told.event == "attempt_started":
            seen.append(Cli(repo)("status", "p", "--json").json["tasks"][0]["lost"])

    engine.plan(repo, task("1", WORK))
    engine.go(repo, on_event=look)
    assert seen == [False]


# --- a plan that was held -------------------------------------------------------------------------


@pytest.mark.parametrize("is_mended", [False, True], ids=["still there", "mended"])
@pytest.mark.parametrize("what", ["config", "hook", "mode"])
def test_who_resumes_a_held_plan_is_told_what_held_it_and_whether_it_is_still_so(
    repo: Repo, what: str, is_mended: bool
) -> None:
    hook, config = repo.path / ".git/hooks/update", repo.path / ".git/config"
    before = config.read_bytes()
    deed = {
        "config": "git config alias.x status",
        "hook": f"mkdir -p {COMMON}/hooks; touch {COMMON}/hooks/update",
        "mode": f"chmod +x {COMMON}/hooks/update",
    }[what]
    if what == "mode":
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("exit 1")
    engine.plan(repo, task("1", f"{WORK}; {deed}"), task("2", "echo b > b.txt"))
    played = engine.go(repo, jobs=1)
    held = played.message.removeprefix("the plan is held: ")
    assert not any(held in told.text for told in played.told), "it is said once, at the end"
    assert " ".join(Cli(repo)("status", "p").stdout.split()).count(held) == 1
    if is_mended and what == "config":
        config.write_bytes(before)
    elif is_mended:
        hook.unlink() if what == "hook" else hook.chmod(0o644)
    where = config if what == "config" else hook
    assert engine.go(repo).message == f"the plan is held: {held}"
    now = "that is put back" if is_mended else f"{where} is still so"
    said = Cli(repo)("resume", "p").stdout.splitlines()[0]
    assert said == f"plan p goes on; it was held: {held}; {now}"
    assert engine.go(repo).code == 4
    assert engine.audit(repo) == {"1": "failed", "2": "completed"}


# --- taking the result over -----------------------------------------------------------------------


def finished(repo: Repo) -> Cli:
    engine.plan(repo, task("1", WORK))
    assert engine.go(repo).code == 0
    return Cli(repo)


def lands(repo: Repo, cli: Cli, folder: Path | None = None) -> None:
    """Do what status says, and hold that the result is on main then, and that status sees it."""
    for command in commands(cli("status").stdout):
        done = typed(folder or repo.path, f"GIT_EDITOR=true; export GIT_EDITOR; {command}")
        assert done.returncode == 0, (command, done.stderr)
    assert "a.txt" in repo.tree("main")
    assert cli("status").stdout.splitlines()[1] == "  the result is on main"


def test_what_status_says_takes_the_result_over_although_the_plan_is_in_the_way(
    repo: Repo,
) -> None:
    repo.identify()
    cli = finished(repo)
    repo.write("other.txt", "more")
    assert commands(cli("status").stdout) == [
        "git add plans/p.yaml && git commit -m 'plan p' plans/p.yaml",
        "git merge flow/p",
    ]
    lands(repo, cli)
    assert repo.git("status", "--short") == "?? other.txt"


def test_from_a_folder_further_down_the_commands_work_too(repo: Repo) -> None:
    repo.identify()
    finished(repo)
    (repo.path / "below").mkdir()
    lands(repo, Cli(Repo(repo.path / "below")), repo.path / "below")


def test_a_committed_plan_is_merged_with_one_command(repo: Repo) -> None:
    engine.plan(repo, task("1", WORK))
    repo.identify()
    repo.commit("a plan")
    cli = finished(repo)
    assert commands(cli("status").stdout) == ["git merge flow/p"]
    lands(repo, cli)


def test_a_plan_file_that_was_changed_since_is_moved_aside_and_kept(repo: Repo) -> None:
    repo.identify()
    cli = finished(repo)
    path = engine.plan(repo, task("1", "echo other > a.txt"))
    mine = (repo.path / path).read_bytes()
    lands(repo, cli)
    assert (repo.path / "plans/p.yaml.mine").read_bytes() == mine


def test_the_branch_to_merge_into_is_named_when_another_one_is_checked_out(
    repo: Repo, tmp_path: Path
) -> None:
    repo.identify()
    engine.plan(repo, task("1", WORK))
    repo.commit("a plan")
    cli = finished(repo)
    repo.git("switch", "--quiet", "--create", "elsewhere")
    assert commands(cli("status").stdout) == ["git switch main", "git merge flow/p"]
    place = tmp_path / "the main one"
    repo.git("worktree", "add", "--quiet", str(place), "main")
    assert commands(cli("status").stdout) == [f"git -C '{place}' merge flow/p"]
    lands(repo, cli)


# --- a plan file of another name ------------------------------------------------------------------


def test_a_plan_is_found_by_its_name_where_its_file_has_another(cli: Cli, repo: Repo) -> None:
    path = engine.plan(repo, task("1", WORK), name="party")
    (repo.path / path).rename(repo.path / "plans/mine.yaml")
    repo.write("plans/empty.yaml", "")
    place = "plans/mine.yaml:"
    for plan in ("plans/mine.yaml", "mine", "party"):
        result = cli("validate", plan)
        assert result.stdout == f"{plan} is valid: plan party, 1 task in 1 wave\n"
        assert [line.startswith(place) for line in result.stderr.splitlines()] == [True]
    hint = cli("report", "mine", check=False).stderr.splitlines()[-1]
    command = re.sub(r"^hint: (.*) shows what it would do$", r"\1", hint)
    assert command == "gitflow-agents waves party"
    assert typed(repo.path, command).returncode == 0
    assert cli("explain", "party/1").exit_code == 0
    assert cli("status", "nobody", check=False).exit_code == 1


def test_a_dry_run_says_that_nobody_can_start_a_task_as_a_run_does(cli: Cli, repo: Repo) -> None:
    repo.plan("p", "goal: g\ntasks: [{id: a, description: d}]\n")
    dry = cli("run", "plans/p.yaml", "--dry-run", check=False)
    assert dry == cli("run", "plans/p.yaml", check=False)
    assert dry.stderr.splitlines()[0] == "error: nobody can start a: no `run` says what to do"


# --- an agent's report ----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "; exit 1"], ids=["done", "failed"])
def test_a_report_that_was_left_out_is_told_by_the_run_and_by_show(repo: Repo, end: str) -> None:
    engine.plan(repo, task("1", f"{WORK}; echo 'sumary: x' > $GITFLOW_REPORT{end}"))
    played = engine.go(repo)
    problem = "the agent's report was left out: sumary: Extra inputs are not permitted"
    event = "attempt_failed" if end else "attempt_succeeded"
    (told,) = (each for each in played.told if each.event == event)
    assert told.data["report_problem"] == problem
    if end:
        assert problem in told.detail.splitlines()
    else:
        assert told.text == f"1 is done, to be merged; {problem}"
    cli = Cli(repo)
    assert f"\nReport\n  {problem}\n" in cli("show", "p/1").stdout
    assert cli("show", "p/1", "--json").json["report_problem"] == problem


# --- no repository --------------------------------------------------------------------------------


def test_a_plan_file_is_looked_at_in_any_folder(tmp_path: Path) -> None:
    folder = tmp_path / "no repository"
    (folder / "plans").mkdir(parents=True)
    here = Repo(folder)
    path = engine.plan(here, task("1", WORK, provides=["a"]), task("2", WORK, preconditions=["a"]))
    cli = Cli(here)
    for plan in (path, "p"):
        assert cli("validate", plan).stdout == f"{plan} is valid: plan p, 2 tasks in 2 waves\n"
        assert cli("waves", plan, "--json").json["waves"] == [["1"], ["2"]]
        assert cli("graph", plan, "--format", "text").stdout.splitlines()[0] == "Wave 1"
    limited = cli("waves", path, "--json", env={"GITFLOW_LIMITS_PARALLEL": "1"})
    assert limited.json["slots"] == 1
    engine.plan(here, task("1", WORK, preconditions=["b"]))
    assert cli("validate", path, check=False).exit_code == 1
    assert list(folder.iterdir()) == [folder / "plans"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("validate plans/nix.yaml", "there is no file plans/nix.yaml"),
        ("validate nix", "REPO is not in a git repository"),
        ("waves plans", "REPO is not in a git repository"),
        ("validate ./plans", "./plans cannot be read: Is a directory"),
        ("run plans/p.yaml", "REPO is not in a git repository"),
    ],
)
def test_without_a_repository_what_cannot_be_done_is_said(
    tmp_path: Path, words: str, error: str
) -> None:
    (tmp_path / "plans").mkdir()
    engine.plan(Repo(tmp_path), task("1", WORK))
    result = Cli(Repo(tmp_path))(*words.split(), check=False)
    assert result.exit_code == 1
    assert stable(result.stderr, Repo(tmp_path)).splitlines()[0] == f"error: {error}"


# --- the config -----------------------------------------------------------------------------------


def test_an_error_in_the_committed_config_says_what_the_checkout_has(cli: Cli, repo: Repo) -> None:
    engine.plan(repo, task("1", WORK))
    repo.write(".gitflow-agents.yml", "trian: 3\n")
    repo.git("add", ".gitflow-agents.yml")
    repo.git("commit", "--quiet", "--message", "settings")

    def hint() -> str:
        result = cli("validate", "plans/p.yaml", check=False)
        assert ".gitflow-agents.yml as committed on main:1:1: error: " in result.stderr
        return result.stderr.splitlines()[-1]

    assert hint() == "hint: mend it and commit it on main: only what is committed there counts"
    repo.write(".gitflow-agents.yml", "train: 3\n")
    assert hint() == (
        "hint: .gitflow-agents.yml in your checkout is different and has no errors; "
        "only what is committed on main counts, so commit it there"
    )
    repo.write(".github/gitflow-agents.yml", "trian: 4\n")
    assert hint() == (
        "hint: .github/gitflow-agents.yml in your checkout is different and has errors too: "
        "mend it; only what is committed on main counts, so commit it there"
    )


def test_a_run_says_that_a_config_in_the_checkout_does_not_count(repo: Repo) -> None:
    engine.plan(repo, task("1", WORK))
    repo.write(".gitflow-agents.yml", "train: 3\n")
    told = engine.go(repo).told[0]
    assert (told.event, told.data["plan"]) == ("warning", "p")
    assert told.text == (
        ".gitflow-agents.yml in your checkout is not what is committed on main; "
        "only what is committed there counts"
    )
    repo.commit("settings")
    assert engine.go(repo).happened("warning") == []


def test_an_error_in_a_variable_is_no_matter_of_files(cli: Cli, repo: Repo) -> None:
    engine.plan(repo, task("1", WORK))
    env = {"GITFLOW_TRAIN": "many"}
    result = cli("validate", "plans/p.yaml", "--json", env=env, check=False)
    assert json.loads(result.stdout)["plans"][0]["problems"][0]["file"] == "GITFLOW_TRAIN"
    assert cli("status", "p", env=env, check=False).stderr.splitlines()[1:] == [
        "error: the environment has 1 error; nothing was changed"
    ]
