"""Damage made for real: doctor finds it, --fix mends it or leaves it to a person, fsck agrees."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitflow_agents.service import Service
from gitflow_agents.service.doctor import Diagnosis, examine
from gitflow_agents.store import refs as moves
from tests import engine, repos
from tests.engine import task
from tests.repos import Cli, Repo, Result
from tests.test_run import die, lingering, pid_in, running, small_plan

LONG_AGO = 60.0


@pytest.fixture(scope="module")
def made(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return a repository with the plan p, of which 1 is merged and 2 has failed; copy it."""
    repo = repos.copy(template, tmp_path_factory.mktemp("made") / "repo")
    repo.identify()
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b; exit 1"))
    assert engine.go(repo, jobs=1).code == 4
    return repo


@pytest.fixture
def half(made: Repo, tmp_path: Path) -> Repo:
    return repos.copy(made, tmp_path / "half")


@pytest.fixture
def repo(repo: Repo) -> Repo:
    """Return a repository that knows who works in it."""
    repo.identify()
    return repo


def look(repo: Repo, *, fix: bool = False) -> Diagnosis:
    service: list[Service] = []

    def start() -> Service:
        service.append(Service(str(repo.path)))
        return service[0]

    try:
        return examine(start, fix=fix)
    finally:
        for each in service:
            each.close()


def codes(diagnosis: Diagnosis) -> tuple[list[str], list[str]]:
    """Return what was mended, and what is left."""
    return [a.code for a in diagnosis.mended], [a.code for a in diagnosis.left]


def mended(repo: Repo, *found: str) -> Diagnosis:
    """Hold that doctor finds this damage and changes nothing, that --fix mends it, fsck agrees."""
    before = engine.refs(repo)
    assert codes(look(repo)) == ([], list(found))
    assert engine.refs(repo) == before
    diagnosis = look(repo, fix=True)
    assert codes(diagnosis) == (list(found), [])
    after = engine.refs(repo)
    assert codes(look(repo, fix=True)) == ([], [])
    assert engine.refs(repo) == after
    assert engine.fsck(repo) == ()
    return diagnosis


def left_to_a_person(repo: Repo, code: str) -> str:
    """Hold that --fix changes nothing about this damage; return what is to be typed."""
    before = engine.refs(repo)
    diagnosis = look(repo, fix=True)
    assert codes(diagnosis) == ([], [code])
    assert engine.refs(repo) == before
    return diagnosis.left[0].hint


def typed(repo: Repo, hint: str) -> None:
    """Type the git command with which a hint ends, and hold that nothing is wrong then."""
    _, *words = shlex.split(hint[hint.index("git ") :])
    repo.git(*words)
    assert codes(look(repo)) == ([], [])
    assert engine.fsck(repo) == ()


def aged(path: Path) -> Path:
    """Make a file look as if nobody had touched it for a while."""
    then = time.time() - LONG_AGO
    os.utime(path, (then, then))
    return path


def test_a_healthy_repository_is_called_so(half: Repo, cli: Cli) -> None:
    assert cli("doctor", repo=half) == Result(0, f"nothing wrong: {half.path}, 1 plan\n", "")
    assert cli("doctor", "--fix", "--json", repo=half).json == {
        "schema": 1,
        "healthy": True,
        "mended": [],
        "left": [],
        "unchecked": [],
    }


def test_what_is_wrong_is_told_with_what_mends_it(half: Repo, cli: Cli) -> None:
    commit = engine.state(half)["commit"][:12]
    half.git("branch", "-D", "plan/p")
    assert cli("doctor", repo=half, check=False) == Result(
        1,
        "wrong: plan/p is gone, so no change of the plan can be proposed\n"
        f"  hint: --fix makes it again at {commit}, which was accepted\n"
        "gitflow-agents doctor --fix mends what needs no decision\n",
        "",
    )
    told = cli("doctor", "--fix", "--json", repo=half).json
    assert (told["healthy"], [each["code"] for each in told["mended"]], told["left"]) == (
        True,
        ["plan-branch-gone"],
        [],
    )


# --- killed processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_a_move_that_a_kill_has_cut_is_completed(repo: Repo, tmp_path: Path, count: int) -> None:
    small_plan(repo, tmp_path / "log")
    die(repo, 4, count)  # the merge of the first task
    assert "move-cut-off" in [finding.code for finding in engine.fsck(repo)]
    diagnosis = look(repo, fix=True)
    assert diagnosis.left == ()
    assert diagnosis.mended[0].code == "move-cut-off"
    assert engine.fsck(repo) == ()
    assert "merge 1" in repo.log("flow/p")
    engine.finished(repo, engine.go(repo))


@pytest.mark.slow
@pytest.mark.parametrize("forget", [False, True], ids=["with its intent", "without"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_every_transaction_that_a_kill_has_cut_is_mended(
    repo: Repo, tmp_path: Path, count: int, forget: bool
) -> None:
    at = 0
    while True:
        here = repos.copy(repo, tmp_path / f"at-{at}")
        small_plan(here, tmp_path / f"log-{at}")
        if not die(here, at, count):
            break
        if forget:
            shutil.rmtree(here.path / ".git/gitflow-agents")
        look(here, fix=True)
        assert codes(look(here, fix=True)) == ([], [])
        if "gitflow/state/p" in here.branches():
            assert engine.fsck(here) == ()
        engine.finished(here, engine.go(here))
        at += 1
    assert at >= 8


def test_what_a_killed_run_did_is_kept_and_its_agent_is_ended(repo: Repo, tmp_path: Path) -> None:
    engine.plan(repo, task("1", lingering(tmp_path)))
    with running(repo) as process:
        agent = pid_in(tmp_path / "pid")
        assert codes(look(repo, fix=True)) == ([], [])  # somebody works there
        process.kill()
    mended(repo, "lease-dead")
    assert engine.gone(agent)
    assert engine.audit(repo) in ({"1": "pending"}, {"1": "failed"})
    assert repo.show("task/p/1-task-1", "a") == "1\n"
    engine.tidy(repo)


@pytest.mark.slow
def test_a_train_whose_run_was_killed_is_taken_apart(repo: Repo, tmp_path: Path) -> None:
    gate = f"test -e {tmp_path}/go || {{ echo $$ > {tmp_path}/pid; sleep 600; }}"
    engine.plan(repo, task("1", "echo 1 > a"), gate=[gate])
    with running(repo) as process:
        tester = pid_in(tmp_path / "pid")
        process.kill()
    assert (
        mended(repo, "lease-dead").mended[0].message == "plan p: the run that tested a train died"
    )
    assert engine.gone(tester)
    assert engine.audit(repo) == {"1": "review"}
    engine.tidy(repo)


@contextmanager
def prepared(repo: Repo, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Begin a transaction of refs in a git of its own, and stop before it is committed."""
    process = subprocess.Popen(
        ["sh", "-c", "git update-ref --stdin; :"],  # a child of our own would be taken for ours
        cwd=repo.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"start\n{' '.join(words)}\nprepare\n".encode())
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == [b"start: ok\n", b"prepare: ok\n"]
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_lock_files_that_a_killed_git_has_left_are_removed(half: Repo) -> None:
    git = half.path / ".git"
    half.git("pack-refs", "--all")
    locks = [git / "refs/heads/plan/p.lock", git / "packed-refs.lock"]
    with prepared(half, "delete", "refs/heads/plan/p"):
        assert [aged(lock) for lock in locks] == locks
        assert codes(look(half, fix=True)) == ([], [])  # that git may yet go on
        assert all(lock.exists() for lock in locks)
    mended(half, "lock-file", "lock-file")
    assert not any(lock.exists() for lock in locks)


def test_a_fresh_lock_file_may_be_of_a_git_that_nobody_sees(half: Repo) -> None:
    lock = half.write(".git/refs/heads/plan/p.lock", "")
    assert codes(look(half, fix=True)) == ([], [])
    aged(lock)
    mended(half, "lock-file")


def test_the_lock_of_the_index_is_yours_and_only_named(half: Repo) -> None:
    lock = aged(half.write(".git/index.lock", ""))
    assert left_to_a_person(half, "lock-file") == f"when no git runs here: rm {lock}"
    lock.unlink()
    assert codes(look(half)) == ([], [])


@pytest.mark.slow
def test_who_was_suspended_with_the_lock_is_named(
    half: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "PATIENCE", 0.1)
    hold = (
        "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(flush=True); time.sleep(99)"
    )
    lock = half.path / ".git/gitflow-agents/lock"
    process = subprocess.Popen([sys.executable, "-c", hold, lock], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    process.send_signal(signal.SIGSTOP)
    try:
        left = look(half, fix=True).left
    finally:
        process.kill()
        process.communicate()
    assert [(wrong.code, wrong.message) for wrong in left] == [
        (
            "lock-held",
            f"process {process.pid} was suspended with the lock of this repository, "
            "and every run waits for it",
        )
    ]
    assert codes(look(half)) == ([], [])


# --- worktrees ------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [[], ["HEAD"], ["HEAD", "commondir", "gitdir"]])
def test_half_a_worktree_is_removed(half: Repo, files: list[str]) -> None:
    admin = half.path / ".git/worktrees/gitflow-p+2"
    admin.mkdir(parents=True)
    said = {"HEAD": "ref: x", "commondir": "../..", "gitdir": f"{half.path}/.worktrees/p/2/.git"}
    for name in files:
        (admin / name).write_text(said[name] + "\n")
    mended(half, "worktree-half-made")
    assert not admin.exists()


def a_worktree(repo: Repo, name: str) -> Path:
    """Make a worktree as the tool makes them: of the tip of flow, for the task `name`."""
    service = Service(str(repo.path))
    try:
        from gitflow_agents.store import Worktrees

        tree = Worktrees(service.repository, ".worktrees").add("p", name, repo.sha("flow/p"))
        (tree.admin / "gitflow-owner").write_text("999999999 1\n")
        return tree.path
    finally:
        service.close()


def test_a_worktree_of_nobody_goes_when_a_commit_holds_what_is_in_it(half: Repo) -> None:
    path = a_worktree(half, "2")
    mended(half, "worktree-of-nobody")
    assert not path.parent.exists()
    engine.tidy(half)


def test_a_worktree_of_nobody_is_moved_aside_when_there_is_more_in_it(half: Repo) -> None:
    path = a_worktree(half, "2")
    (path / "only-here").write_text("precious\n")
    mended(half, "worktree-of-nobody")
    (aside,) = path.parent.iterdir()
    assert aside.name.startswith("2.left-")
    assert (aside / "only-here").read_text() == "precious\n"
    assert half.git("worktree", "list").count("\n") == 0


def test_a_folder_among_the_worktrees_that_git_does_not_know_is_moved_aside(half: Repo) -> None:
    half.write(".worktrees/p/9/notes", "mine\n")
    mended(half, "worktree-of-nobody")
    (aside,) = (half.path / ".worktrees/p").iterdir()
    assert (aside / "notes").read_text() == "mine\n"


def test_a_worktree_that_a_person_made_there_is_left_alone(half: Repo) -> None:
    mine = half.worktree(half.path / ".worktrees/p/mine", "main")
    assert codes(look(half, fix=True)) == ([], [])
    assert (mine.path / "README.md").exists()


# --- refs -----------------------------------------------------------------------------------------


def test_a_state_that_somebody_moved_back_is_brought_forward(half: Repo) -> None:
    tip = half.sha("gitflow/state/p")
    half.git("update-ref", "refs/heads/gitflow/state/p", "gitflow/state/p~2")
    mended(half, "state-moved")
    assert half.sha("gitflow/state/p") == tip


def test_a_state_whose_file_was_removed_is_brought_back(half: Repo) -> None:
    tip = half.sha("gitflow/state/p")
    (half.path / ".git/refs/heads/gitflow/state/p").unlink()
    mended(half, "state-moved")
    assert half.sha("gitflow/state/p") == tip


def test_a_state_that_was_deleted_is_found_among_what_git_still_has(half: Repo) -> None:
    tip = half.sha("gitflow/state/p")
    half.git("branch", "-D", "gitflow/state/p")
    hint = left_to_a_person(half, "state-gone")
    assert hint == f"git branch gitflow/state/p {tip} brings back the newest that git still has"
    typed(half, hint.partition(" brings")[0])


def test_a_commit_of_somebody_on_the_state_is_named(half: Repo) -> None:
    tip = half.sha("gitflow/state/p")
    engine.commits(half, "gitflow/state/p", "by hand", note="mine")
    hint = left_to_a_person(half, "state-moved")
    assert hint.endswith(f"to take them away: git update-ref refs/heads/gitflow/state/p {tip}")
    typed(half, hint[hint.index("away: ") :])


def test_a_state_that_was_replaced_is_left_to_a_person(half: Repo) -> None:
    tip = half.sha("gitflow/state/p")
    half.git("update-ref", "refs/heads/gitflow/state/p", "main")
    hint = left_to_a_person(half, "state-moved")
    assert hint.endswith(f"to go back: git update-ref refs/heads/gitflow/state/p {tip}")
    typed(half, hint[hint.index("back: ") :])


def test_a_flow_that_is_gone_is_never_made_again_by_itself(half: Repo) -> None:
    tip = half.sha("flow/p")
    half.git("branch", "-D", "flow/p")
    hint = left_to_a_person(half, "flow-missing")
    assert hint == f"git branch flow/p {tip}"
    typed(half, hint)


def test_a_flow_that_was_moved_back_is_left_to_a_person(half: Repo) -> None:
    tip = half.sha("flow/p")
    half.git("update-ref", "refs/heads/flow/p", "flow/p~1")
    hint = left_to_a_person(half, "flow-forced")
    assert hint == f"to go on from what was merged: git branch -f flow/p {tip}"
    typed(half, hint)


def test_a_flow_that_somebody_looks_at_is_named_with_the_folder(half: Repo) -> None:
    half.git("add", "--all")
    half.git("commit", "--quiet", "--message", "the plan")
    half.git("switch", "--quiet", "flow/p")
    hint = left_to_a_person(half, "flow-checked-out")
    assert hint == f"git -C {half.path} switch --detach"
    typed(half, hint)


def test_a_plan_branch_that_is_gone_is_made_again(half: Repo) -> None:
    half.git("branch", "-D", "plan/p")
    mended(half, "plan-branch-gone")
    assert half.sha("plan/p") == engine.state(half)["commit"]


def test_branches_that_a_kill_has_left_are_deleted(half: Repo) -> None:
    report = engine.record(half, "1")["attempts"][-1]["report"]
    half.git("branch", "task/p/1-task-1", report)
    half.git("branch", "gitflow/try/p", "flow/p")
    mended(half, "branch-left")
    assert not {"task/p/1-task-1", "gitflow/try/p"} & set(half.branches())


# --- settings -------------------------------------------------------------------------------------


def test_nobody_at_the_terminal_is_named(half: Repo) -> None:
    half.git("config", "--unset", "user.email")
    assert left_to_a_person(half, "no-identity") == 'git config --global user.email "..."'
    half.git("config", "user.email", "alice@example.com")
    assert codes(look(half)) == ([], [])


def test_a_config_with_errors_is_named_with_the_first(half: Repo) -> None:
    engine.config(half, trian=3)
    (wrong,) = look(half).left
    assert wrong.code == "config-invalid"
    assert "trian" in wrong.message
    engine.config(half, train=3)
    assert codes(look(half)) == ([], [])


def test_hooks_that_are_not_there_are_named(half: Repo) -> None:
    half.git("config", "core.hooksPath", "nowhere")
    typed(half, left_to_a_person(half, "hooks-missing").replace("make the folder, or: ", ""))


def test_filters_that_are_not_there_are_named(half: Repo) -> None:
    engine.commits(half, "main", __gitattributes="*.bin filter=big\n")
    assert left_to_a_person(half, "filter-missing").startswith("install what defines filter.big;")
    half.git("config", "filter.big.clean", "no-such-program %f")
    hint = "install no-such-program, or take filter.big out of git's config"
    assert left_to_a_person(half, "filter-missing") == hint
    half.git("config", "filter.big.clean", "cat")
    assert codes(look(half)) == ([], [])


def test_a_git_that_is_too_old_is_named(
    half: Repo, tmp_path: Path, tool: Callable[..., Result]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "git").write_text("#!/bin/sh\necho git version 2.30.1\n")
    (old / "git").chmod(0o755)
    path = f"{old}{os.pathsep}{os.environ['PATH']}"
    done = tool(half, "doctor", "--json", env={"PATH": path}, check=False)
    assert (done.exit_code, json.loads(done.stdout)["left"]) == (
        1,
        [
            {
                "code": "repository",
                "plan": "",
                "message": "git 2.30 is too old",
                "hint": "install git 2.38 or newer",
                "can_be_mended": False,
            }
        ],
    )


def test_a_folder_that_is_no_repository_is_named(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    done = cli("doctor", repo=Repo(folder), check=False)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        1,
        f"wrong: {folder} is not in a git repository",
    )


@pytest.mark.slow
def test_all_damage_at_once_is_mended_together(half: Repo) -> None:
    half.git("branch", "-D", "plan/p")
    half.git("update-ref", "refs/heads/gitflow/state/p", "gitflow/state/p~1")
    half.git("branch", "gitflow/try/p", "flow/p")
    (half.path / ".git/worktrees/gitflow-p+2").mkdir(parents=True)
    aged(half.write(".git/packed-refs.lock", ""))
    shutil.rmtree(half.path / ".git/gitflow-agents")
    diagnosis = look(half, fix=True)
    assert sorted(codes(diagnosis)[0]) == [
        "branch-left",
        "lock-file",
        "plan-branch-gone",
        "state-moved",
        "worktree-half-made",
    ]
    assert diagnosis.left == ()
    assert engine.audit(half) == {"1": "completed", "2": "failed"}
