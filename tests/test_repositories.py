"""Repositories of every kind: those that a plan runs in, and those that are refused in a sentence.

What is refused leaves nothing behind; what runs leaves everything of the user's as it was.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.errors import ExitCode
from gitflow_agents.service import Told
from gitflow_agents.store import Repository
from tests import engine, repos
from tests.engine import task
from tests.repos import Cli, Repo, Result
from tests.theirs import MADE, untouched

FLOW = "flow/p"
ADDED = ["plans/p.provides.yaml", "plans/p.report.md", "plans/p.yaml"]
"""What a finished plan puts on its flow branch beside its tasks' work."""


def small_plan(repo: Repo, **keys: Any) -> str:
    """Write a plan of two tasks, the second on top of the first, and return its path."""
    return engine.plan(
        repo,
        task("1", "echo one > one.txt", provides=["one"], verify=["grep one one.txt"]),
        task("2", "cat one.txt one.txt > two.txt", preconditions=["one"]),
        **keys,
    )


def finished(repo: Repo, played: engine.Played, *others: str, flow: str = FLOW) -> None:
    """Hold that the small plan is finished and flow holds its work on top of `others`."""
    engine.finished(repo, played)
    assert repo.tree(flow) == sorted([*others, "one.txt", "two.txt", *ADDED])
    assert repo.show(flow, "two.txt") == "one\none\n"
    assert repo.git("fsck", "--strict", "--no-dangling") == ""


def refused(repo: Repo, *words: str) -> Result:
    """Return what `run` said when it refused, and hold that it made nothing."""
    with untouched(repo, made=()):
        result = Cli(repo)("run", *words or [engine.FILE], check=False)
    assert result.exit_code == ExitCode.FAILED
    assert result.stdout == ""
    return result


# --- refused --------------------------------------------------------------------------------------


def test_a_repository_without_a_commit_is_refused(tmp_path: Path) -> None:
    empty = repos.init(tmp_path / "empty")
    small_plan(empty)
    assert refused(empty).stderr == (
        "error: this repository has no commit yet\n"
        "hint: make one first: git commit --allow-empty -m start\n"
    )


def test_a_repository_with_sha256_is_refused(tmp_path: Path) -> None:
    other = repos.init(tmp_path / "other", sha256=True)
    other.commit("first")
    small_plan(other)
    assert refused(other).stderr == (
        "error: this repository names objects by sha256, and only sha1 is supported\n"
        "hint: use a repository made with git init --object-format=sha1\n"
    )
    assert not (other.path / ".git/gitflow-agents").exists()


def test_a_folder_outside_of_any_repository_is_refused(tmp_path: Path) -> None:
    folder = Repo(tmp_path / "folder")
    path = folder.write("plans/p.yaml", "goal: Nothing\ntasks: []\n")
    result = Cli(folder)("run", "plans/p.yaml", check=False)
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "",
        f"error: {folder.path} is not in a git repository\n"
        "hint: go to one, or make one: git init && git commit --allow-empty -m start\n",
    )
    assert sorted(folder.path.rglob("*")) == [path.parent, path]


def fake_git(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Put a git on the PATH that says another version and does what the real one does."""
    real = subprocess.check_output(["sh", "-c", "command -v git"], text=True).strip()
    folder.mkdir()
    fake = folder / "git"
    fake.write_text(
        '#!/bin/sh\nfor word; do [ "$word" = version ] || [ "$word" = --version ] && '
        f'echo "git version {version}" && exit; done\nexec "{real}" "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.parametrize("version", ["2.30.2", "2.37.7.windows.1", "1.9.1"])
def test_a_git_that_is_too_old_is_refused(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    small_plan(repo)
    fake_git(tmp_path / "bin", monkeypatch, version)
    short = ".".join(version.split(".")[:2])
    assert refused(repo).stderr == (
        f"error: git {short} is too old\nhint: install git 2.38 or newer\n"
    )
    assert not (repo.path / ".git/gitflow-agents").exists()


@pytest.mark.parametrize("version", ["2.38.0", "2.39.5 (Apple Git-154)", "2.100.0.rc1", "3.0.0"])
def test_a_git_that_is_new_enough_is_not(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    small_plan(repo)
    fake_git(tmp_path / "bin", monkeypatch, version)
    assert Cli(repo)("validate", engine.FILE).exit_code == 0


def test_no_git_at_all_is_said_in_a_sentence(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_plan(repo)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = Cli(repo)("run", engine.FILE, check=False)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: git cannot be started\nhint: install git 2.38 or newer and put it on PATH\n",
    )


# The same rights as any other user: root may write everywhere.
_WITHOUT_PRIVILEGE = """
import ctypes, os, sys
for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    ctypes.CDLL(None).prctl(24, capability)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""


def unprivileged(repo: Repo, *words: str) -> Result:
    """Return what the installed script says when it has no rights but those that files give."""
    script = str(Path(sys.executable).with_name("gitflow-agents"))
    argv = [script, *words]
    if os.geteuid() == 0:
        argv = [sys.executable, "-c", _WITHOUT_PRIVILEGE, *argv]
    done = subprocess.run(argv, cwd=repo.path, capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def read_only(repo: Repo) -> Iterator[Repo]:
    """Return a repository with a plan that was run half, in which nobody may write."""
    engine.plan(repo, task("1", "echo > a.txt"), task("2", "false"))
    engine.go(repo)
    folders = [Path(folder) for folder, _, _ in os.walk(repo.path)]
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in folders}
    files = [path for path in repo.path.rglob("*") if path.is_file()]
    for path in [*files, *folders]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield repo
    for folder, mode in modes.items():
        folder.chmod(mode)


def test_a_repository_that_cannot_be_written_is_refused_in_a_sentence(read_only: Repo) -> None:
    with untouched(read_only, made=()):
        result = unprivileged(read_only, "run", "p")
    lock = read_only.path / ".git/gitflow-agents"
    assert (result.exit_code, result.stdout, result.stderr) == (
        75,
        "",
        f"error: {lock} cannot be written: Permission denied\n"
        "hint: the repository must be writable by you\n",
    )


@pytest.mark.slow
def test_a_repository_that_cannot_be_written_can_be_looked_at(read_only: Repo) -> None:
    with untouched(read_only, made=()):
        for words in ("status", "ready --json", "diff p/1"):
            result = unprivileged(read_only, *words.split())
            assert (result.exit_code, result.stderr) == (0, ""), words
            assert result.stdout


def test_a_folder_that_cannot_hold_worktrees_is_said_before_a_task_starts(repo: Repo) -> None:
    repo.write(".worktrees", "a file of mine\n")
    small_plan(repo)
    with untouched(repo):
        result = Cli(repo)("run", engine.FILE, check=False)
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: the folder {repo.path}/.worktrees cannot hold worktrees: Not a directory\n"
        "hint: look at the folder; the config key `worktrees` names another one\n",
    )
    assert not any(name.startswith("task/") for name in repo.branches())
    (repo.path / ".worktrees").unlink()
    finished(repo, engine.go(repo, "p"), "README.md")


# --- names that are taken -------------------------------------------------------------------------

OTHER_PLANS = "or the plan: p-2, p-3, p-4"


@pytest.mark.parametrize(
    ("there", "keys", "wanted", "mend"),
    [
        pytest.param(
            "docs",
            {"type": "docs"},
            "docs/p",
            "set `flow:` in the plan to one of: flow/p, feat/p, p-flow",
            id="docs, of which docs/p would be a part",
        ),
        pytest.param(
            "flow",
            {},
            "flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
            id="flow, so that no flow/p can be",
        ),
        pytest.param(
            "flow/p",
            {},
            "flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
            id="a flow branch that is not this plan's",
        ),
        pytest.param(
            "flow/p/old",
            {},
            "flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
            id="a branch below the flow branch",
        ),
        pytest.param(
            "Flow/P",
            {},
            "flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
            id="a flow branch in other letters",
        ),
        pytest.param(
            "release",
            {"flow": "release/p"},
            "release/p",
            "set `flow:` in the plan to one of: flow/p, feat/p, p-flow",
            id="a branch above the flow that the plan names",
        ),
        pytest.param(
            "task",
            {},
            "task/p/1-task-1",
            "rename it: git branch -m task task-old",
            id="task, so that no task can have a branch",
        ),
        pytest.param(
            "task/p",
            {},
            "task/p/1-task-1",
            f"rename it (git branch -m task/p NEW), {OTHER_PLANS}",
            id="a branch above the plan's tasks",
        ),
        pytest.param(
            "task/p/2-task-2",
            {},
            "task/p/2-task-2",
            f"rename it (git branch -m task/p/2-task-2 NEW), {OTHER_PLANS}",
            id="a task's own branch",
        ),
        pytest.param(
            "TASK/P/2-Task-2",
            {},
            "task/p/2-task-2",
            f"rename it (git branch -m TASK/P/2-Task-2 NEW), {OTHER_PLANS}",
            id="a task's own branch in other letters",
        ),
        pytest.param(
            "task/p/2-task-2/try",
            {},
            "task/p/2-task-2",
            f"rename it (git branch -m task/p/2-task-2/try NEW), {OTHER_PLANS}",
            id="a branch below a task's",
        ),
        pytest.param(
            "plan",
            {},
            "plan/p",
            "rename it: git branch -m plan plan-old",
            id="plan, so that no plan can have a branch",
        ),
        pytest.param(
            "gitflow",
            {},
            "gitflow/state/p",
            "rename it: git branch -m gitflow gitflow-old",
            id="gitflow, so that there can be no state",
        ),
        pytest.param(
            "gitflow/attempt",
            {},
            "gitflow/attempt/p",
            "rename it: git branch -m gitflow/attempt gitflow/attempt-old",
            id="the folder for former attempts",
        ),
    ],
)
def test_a_branch_in_the_way_is_named_with_what_would_be_free(
    repo: Repo, there: str, keys: dict[str, str], wanted: str, mend: str
) -> None:
    repo.git("branch", there)
    small_plan(repo, **keys)
    assert refused(repo).stderr == (
        f"error: the branch {there} is in the way of {wanted}\nhint: {mend}\n"
    )


def test_the_names_that_are_offered_are_free_indeed(repo: Repo) -> None:
    for name in ("docs", "flow/p", "feat", "P-Flow", "p-flow-2/x"):
        repo.git("branch", name)
    small_plan(repo, type="docs")
    said = refused(repo).stderr
    offered = said.rpartition(": ")[2].strip().split(", ")
    assert offered == ["p-flow-3", "p-flow-4", "p-flow-5"]
    for name in offered:
        repo.git("branch", name)
        repo.git("branch", "--delete", name)
    small_plan(repo, flow=offered[0])
    with untouched(repo, made=("plan/", "task/", "gitflow/", offered[0])):
        played = engine.go(repo)
    finished(repo, played, "README.md", flow=offered[0])


def test_branches_of_a_plan_that_cannot_both_be_are_refused(repo: Repo) -> None:
    engine.plan(repo, task("1", "true", slug="x-y"), task("1-x", "true", slug="y"), gate=["true"])
    assert refused(repo).stderr == (
        "plans/p.yaml:20:12: error: tasks[1].slug: the branch of 1-x `task/p/1-x-y` and the branch "
        "of 1 `task/p/1-x-y` cannot both exist (give it a slug; free are y-2, y-3, y-4)\n"
        "error: plans/p.yaml has 1 error; nothing was changed\n"
    )


def test_the_base_itself_cannot_be_the_flow_branch(repo: Repo) -> None:
    small_plan(repo, flow="main")
    assert refused(repo).stderr == (
        "error: the branch main is in the way of main\n"
        "hint: set `flow:` in the plan to one of: flow/p, feat/p, p-flow\n"
    )


# --- other repositories ---------------------------------------------------------------------------


def test_a_plan_runs_in_a_bare_repository(repo: Repo, tmp_path: Path) -> None:
    path = small_plan(repo)
    repo.git("switch", "--quiet", "--create", "plan/p")
    repo.commit("a plan")
    repo.git("switch", "--quiet", "main")
    bare = repo.clone(tmp_path / "bare.git", bare=True)
    with untouched(repo, bare):
        played = engine.go(bare, "p")
    finished(bare, played, "README.md")
    assert bare.show("plan/p", path) == repo.show("plan/p", path)
    assert not (bare.path / "gitflow-agents/.worktrees").exists()


def test_a_bare_repository_takes_a_plan_file_from_elsewhere(repo: Repo, tmp_path: Path) -> None:
    bare = repo.clone(tmp_path / "bare.git", bare=True)
    small_plan(repo)
    with untouched(repo, bare):
        played = engine.go(bare, str(repo.path / engine.FILE))
    finished(bare, played, "README.md")
    assert repo.branches() == ["main"]


def test_a_plan_starts_from_a_default_branch_of_any_name(tmp_path: Path) -> None:
    repo = repos.init(tmp_path / "repo", branch="trunk/next")
    repo.write("README.md", "# Another\n")
    repo.commit("first")
    small_plan(repo)
    with untouched(repo):
        played = engine.go(repo)
    finished(repo, played, "README.md")
    assert engine.state(repo)["base"] == "trunk/next"


def test_a_plan_starts_from_the_default_branch_of_origin_not_from_where_one_is(
    repo: Repo, tmp_path: Path
) -> None:
    repo.git("branch", "--move", "develop")
    mine = repo.clone(tmp_path / "mine")
    mine.git("switch", "--quiet", "--create", "topic")
    mine.write("topic.txt", "topic\n")
    mine.commit("on the topic")
    mine.git("branch", "--quiet", "--delete", "--force", "develop")
    small_plan(mine)
    with untouched(mine, repo):
        played = engine.go(mine)
    finished(mine, played, "README.md")
    assert engine.state(mine)["base"] == "develop"
    assert mine.sha("flow/p~4") == mine.sha("origin/develop")


def test_a_detached_head_needs_a_base_in_the_plan(repo: Repo) -> None:
    repo.git("switch", "--quiet", "--detach")
    small_plan(repo)
    assert refused(repo).stderr.splitlines()[-2:] == [
        "error: no branch is checked out, and there is no origin/HEAD to start from",
        "hint: say where to start in the plan: base: main",
    ]
    small_plan(repo, base="main")
    with untouched(repo):
        played = engine.go(repo)
    finished(repo, played, "README.md")


def shallow(repo: Repo, path: Path) -> Repo:
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(path))
    assert (path / ".git/shallow").exists()
    return Repo(path)


def sharing_objects(repo: Repo, path: Path) -> Repo:
    repo.git("clone", "--quiet", "--shared", str(repo.path), str(path))
    assert (path / ".git/objects/info/alternates").exists()
    return Repo(path)


def partial(repo: Repo, path: Path) -> Repo:
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("clone", "--quiet", "--filter=blob:none", f"file://{repo.path}", str(path))
    assert Repo(path).git("config", "remote.origin.promisor") == "true"
    return Repo(path)


@pytest.mark.parametrize(
    "clone", [shallow, sharing_objects, partial], ids=lambda clone: clone.__name__
)
def test_a_plan_runs_in_a_clone_that_lacks_objects(
    repo: Repo, tmp_path: Path, clone: Callable[[Repo, Path], Repo]
) -> None:
    repo.write("old.txt", "old\n")
    repo.commit("second")
    repo.write("old.txt", "new\n")
    repo.commit("third")
    mine = clone(repo, tmp_path / "mine")
    small_plan(mine)
    with untouched(mine, repo):
        played = engine.go(mine)
    finished(mine, played, "README.md", "old.txt")


def test_branches_that_are_packed_in_the_middle_of_a_run_are_found_and_removed(repo: Repo) -> None:
    small_plan(repo, gate=["git pack-refs --all"])

    def pack(told: Told) -> None:
        if told.event == "attempt_started":
            repo.git("pack-refs", "--all", "--no-prune")
            repo.git("pack-refs", "--all")

    with untouched(repo):
        played = engine.go(repo, on_event=pack)
    finished(repo, played, "README.md")
    assert repo.branches() == ["flow/p", "gitflow/state/p", "main", "plan/p"]
    assert "task/p/" not in (repo.path / ".git/packed-refs").read_text()


# --- whose it is, and what things are called ------------------------------------------------------


def test_nobody_needs_a_name(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    repo.git("config", "--global", "user.useConfigOnly", "true")
    engine.plan(repo, task("1", "echo > a.txt; git add a.txt; git commit -q -m mine"))
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert repo.log("plan/p", "%an <%ae>").splitlines()[0] == "carol <>"
    assert engine.state(repo)["accepted_by"] == "carol"
    tool = "gitflow-agents <gitflow-agents@localhost>"
    assert set(repo.log("main..flow/p", "%cn <%ce>").splitlines()) == {tool}
    assert set(repo.log("gitflow/state/p", "%an <%ae> %cn <%ce>").splitlines()) == {
        f"{tool} {tool}"
    }
    assert repo.git("fsck", "--strict", "--no-dangling") == ""


@pytest.mark.parametrize(
    ("name", "email", "actor"),
    [
        ('Zoë O\'Neil, "Zo"', "z+o@example.com", 'Zoë O\'Neil, "Zo" <z+o@example.com>'),
        ("a <b> c", "<d@example.com>", "a b c <d@example.com>"),
        ("two\nlines", "a@example.com", "twolines <a@example.com>"),
        ("Gitflow-Event: x", "a@example.com", "Gitflow-Event: x <a@example.com>"),
        ("名前 🙂", "n@example.com", "名前 🙂 <n@example.com>"),
        ("$(touch x) `touch y`", "e@example.com", "$(touch x) `touch y` <e@example.com>"),
        ("only a name", "", "only a name"),
        ("", "only@example.com", "only@example.com"),
        ("<>", "x@example.com", "x@example.com"),
    ],
)
def test_a_name_of_any_characters_is_recorded_and_starts_nothing(
    repo: Repo, name: str, email: str, actor: str
) -> None:
    for key, value in (("name", name), ("email", email)):
        repo.git("config", f"user.{key}", value)
    small_plan(repo)
    with untouched(repo):
        played = engine.go(repo)
    finished(repo, played, "README.md")
    assert engine.state(repo)["accepted_by"] == actor
    author = actor if actor.endswith(">") else f"{actor} <>"
    assert repo.log("plan/p", "%an <%ae>").splitlines()[0] == author
    events = [event for commit in engine.log(repo, "gitflow/state/p") for event in commit.events]
    recorded = actor.replace("Gitflow-Event:", "gitflow Event:")  # it could be taken for a trailer
    assert {event["Actor"] for event in events} == {recorded}


ODD_FOLDERS = [
    "a folder with spaces",
    "ünï/çødé 名前",
    'it\'s "quoted" & $HOME `x` \\ (1) [a-z]* ?;',
    " -C",
    "100%s {x}",
    os.fsdecode(b"caf\xe9"),
]


@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_a_repository_may_be_in_a_folder_of_any_name(
    template: Repo, tmp_path: Path, folder: str
) -> None:
    repo = repos.copy(template, tmp_path / folder)
    small_plan(repo)
    with untouched(repo):
        played = engine.go(repo)
    finished(repo, played, "README.md")
    assert Cli(repo)("ready", "--json").json == Cli(repo)("ready", "--json").json
    linked = repo.worktree(tmp_path / "linked" / folder, "main")
    assert Cli(linked)("status", "--json").json["status"] == "finished"


@pytest.mark.parametrize(
    "text",
    [
        '{"plan": "p", "goal": "Go", "base": "main", "tasks": [%s]}',
        '# in braces\n\n---\n{\n  "plan": "p",\n  "goal": "Go",\n  "base": "main",\n  "tasks": [%s]\n}\n',
        "  plan: p\n  goal: Go\n  base: main\n  tasks: [%s]\n",
        "tasks: [%s]\nbase: main\ngoal: Go\nsession_id: 'p'\n",
    ],
    ids=["one line", "braces", "indented", "block"],
)
def test_a_plan_is_called_what_its_file_says_however_that_is_written(repo: Repo, text: str) -> None:
    repo.git("switch", "--quiet", "--create", "topic")
    one = '{"id": "1", "title": "One", "description": "Do it", "run": "echo > a.txt"}'
    repo.write("plans/other.yaml", text % one)
    with untouched(repo):
        played = engine.go(repo, "plans/other.yaml")
        engine.finished(repo, played)
        again = engine.go(repo, "plans/other.yaml")
    assert again.code == 0
    assert engine.state(repo)["base"] == "main"
    assert repo.branches() == ["flow/p", "gitflow/state/p", "main", "plan/p", "topic"]


ODD_FILES = [
    "with space.txt",
    "ünïcödé 名前 🙂.txt",
    "quo\"te's.txt",
    "tab\tand\nnewline.txt",
    "-dash",
    ":(top)colon",
    "*[glob]?",
    "back\\slash",
    " leading and trailing ",
    "a/b c/d/é",
    "%s {x} $HOME",
]


def test_files_of_any_name_are_there_for_a_task_and_come_back(repo: Repo) -> None:
    for name in ODD_FILES:
        repo.write(f"old/{name}", f"{name}\n")
    repo.commit("odd names")
    make = "import os, shutil; shutil.copytree('old', 'new'); shutil.rmtree('old')"
    engine.plan(
        repo,
        task("1", f'python -c "{make}"', files=["new/", "old/"], verify=["test -e new/-dash"]),
        gate=["test ! -e old"],
    )
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert repo.tree(FLOW) == sorted(["README.md", *ADDED, *(f"new/{name}" for name in ODD_FILES)])
    for name in ODD_FILES:
        assert repo.show(FLOW, f"new/{name}") == f"{name}\n"
    told = engine.record(repo, "1")["attempts"][-1]["report"]
    report = engine.read_yaml(repo.show(told, ".gitflow/report.yaml"))
    touched = [f"{top}/{name}" for top in ("old", "new") for name in ODD_FILES]
    assert sorted(report["files_touched"]) == sorted(touched)


def test_files_whose_names_are_not_text_are_there_for_a_task_and_come_back(repo: Repo) -> None:
    old, new = os.fsdecode(b"caf\xe9"), os.fsdecode(b"n\xffw")
    repo.write(old, "old\n")
    repo.commit("a name from long ago")
    make = "import os; os.rename(b'caf\\xe9', b'n\\xffw')"
    engine.plan(repo, task("1", f'python -c "{make}"'))
    with untouched(repo):
        engine.finished(repo, engine.go(repo))
    assert repo.tree(FLOW) == sorted(["README.md", *ADDED, new])


# --- the environment that it is started in --------------------------------------------------------


def test_variables_of_another_repository_are_not_followed(
    repo: Repo, template: Repo, tmp_path: Path
) -> None:
    other = repos.copy(template, tmp_path / "other")
    other.write("staged.txt", "staged\n")
    other.git("add", "staged.txt")
    git = str(other.path / ".git")
    small_plan(repo)
    elsewhere = {
        "GIT_DIR": git,
        "GIT_COMMON_DIR": git,
        "GIT_WORK_TREE": str(other.path),
        "GIT_INDEX_FILE": f"{git}/index",
        "GIT_OBJECT_DIRECTORY": f"{git}/objects",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{git}/objects",
        "GIT_QUARANTINE_PATH": f"{git}/objects",
        "GIT_NAMESPACE": "other",
        "GIT_PREFIX": "below/",
        "GIT_AUTHOR_NAME": "mallory",
        "GIT_COMMITTER_EMAIL": "mallory@example.com",
        "GIT_CONFIG_PARAMETERS": "'core.bare=true'",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": "/nowhere",
        "GIT_REFLOG_ACTION": "other",
    }
    with untouched(repo, other, made=MADE):
        result = repos.tool(repo, "run", engine.FILE, env={**elsewhere}, check=False)
    assert (result.exit_code, result.stderr) == (0, "")
    assert repo.tree(FLOW) == sorted(["README.md", "one.txt", "two.txt", *ADDED])
    assert other.branches() == ["main"]
    assert set(repo.log(f"main..{FLOW}", "%cn").splitlines()) == {"gitflow-agents"}


def test_the_callers_environment_stays_as_it_is(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "many")
    before = dict(os.environ)
    # The test's own git would follow these; the tool's does not.
    engine.plan(repo, task("1", 'echo > a.txt; [ -z "$GIT_DIR" ]'))
    assert engine.go(repo).code == 0
    assert dict(os.environ) == before


@pytest.mark.parametrize("hook", ["pre-commit", "post-commit"])
def test_a_plan_may_be_run_by_a_hook_in_the_middle_of_a_commit(
    repo: Repo, tmp_path: Path, hook: str
) -> None:
    small_plan(repo)
    script = Path(sys.executable).with_name("gitflow-agents")
    path = repo.write(
        f".git/hooks/{hook}",
        f'#!/bin/sh\ntest -e "{tmp_path}/said" || "{script}" run plans/p.yaml > "{tmp_path}/said" 2>&1\n',
    )
    path.chmod(0o755)
    repo.write("README.md", "changed\n")
    repo.write("not staged.txt", "not staged\n")
    repo.git("commit", "--quiet", "--message", "by hand", "README.md")
    assert repo.git("diff", "--stat", "HEAD") == ""
    assert repo.tree("main") == ["README.md"]
    assert set(repo.tree(FLOW)) == {"README.md", "one.txt", "two.txt", *ADDED}, (
        tmp_path / "said"
    ).read_text()
    assert repo.git("status", "--porcelain").splitlines() == ['?? "not staged.txt"', "?? plans/"]


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_an_unusual_umask_is_kept_and_changes_no_mode(repo: Repo, umask: int) -> None:
    script = repo.write("old.sh", "true\n")
    script.chmod(0o755)
    repo.commit("a script")
    engine.plan(
        repo,
        task("1", "echo > a.txt; echo true > new.sh; chmod +x new.sh; umask > seen"),
        gate=["test -x new.sh -a -x old.sh"],
    )
    before = os.umask(umask)
    try:
        with untouched(repo):
            engine.finished(repo, engine.go(repo))
    finally:
        os.umask(before)
    listed = repo.git("ls-tree", FLOW, "a.txt", "new.sh", "old.sh", "seen").splitlines()
    assert [line.split(" ")[0] for line in listed] == ["100644", "100755", "100755", "100644"]
    assert int(repo.show(FLOW, "seen"), 8) == umask


def test_a_group_that_shares_a_repository_can_go_on_writing(repo: Repo) -> None:
    git = repo.path / ".git"
    repo.git("config", "core.sharedRepository", "group")
    for path in git.rglob("*"):
        path.chmod(0o2770 if path.is_dir() else 0o660)
    small_plan(repo)
    there = set(git.rglob("*"))
    before = os.umask(0o077)
    try:
        with untouched(repo):
            played = engine.go(repo)
    finally:
        os.umask(before)
    finished(repo, played, "README.md")
    made = [path for path in git.rglob("objects/??/**/*") if path not in there]
    made += [path for path in git.glob("objects/??") if path not in there]
    modes = {(path.is_dir(), oct(stat.S_IMODE(path.stat().st_mode))) for path in made}
    assert modes == {(True, "0o2770"), (False, "0o440")}


def test_an_object_is_written_while_somebody_tidies_the_folders(repo: Repo) -> None:
    repository = Repository(repo.path)
    over = threading.Event()

    def tidy() -> None:
        while not over.is_set():
            for folder in (repo.path / ".git/objects").glob("??"):
                with suppress(OSError):
                    folder.rmdir()

    tidier = threading.Thread(target=tidy)
    tidier.start()
    try:
        shas = [repository.write_blob(b"%d" % number) for number in range(300)]
    finally:
        over.set()
        tidier.join()
        repository.close()
    assert [repo.git("cat-file", "blob", sha) for sha in shas[::50]] == [
        str(number) for number in range(0, 300, 50)
    ]
