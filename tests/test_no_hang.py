"""What a run waits for ends: signals, pipes, filters, locks and processes that never answer.

Each of these once made the tool wait, or try again, for ever; where one comes back, its test is
ended by the time that stands in it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitflow_agents import runner, scheduler
from gitflow_agents.commands import Resume
from gitflow_agents.errors import ExitCode, GitFailed
from gitflow_agents.models import Reason
from gitflow_agents.runner import Caps, Stop, shell
from gitflow_agents.service import Service
from gitflow_agents.store import Repository, Store, refs, worktrees
from gitflow_agents.store.repository import Git
from tests import engine
from tests.repos import Repo

FOR_EVER = "sleep 600"
A_HANG = 100.0
"""Seconds after which a process of a test hangs, however busy the machine is."""


# --- signals --------------------------------------------------------------------------------------

INTERRUPTED_AT_EVERY_LINE = """
import signal, sys
from gitflow_agents.cli import main

set_up, seen, busy = signal.signal, set(), []

def trace(frame, event, argument):
    line = (frame.f_code, frame.f_lineno)
    if event == "line" and line not in seen:
        seen.add(line)
        signal.raise_signal(signal.SIGTERM)
    return trace

def signal_watched(number, handler):
    def handle(number, frame):
        if busy:
            return handler(number, frame)
        busy.append(number)
        sys.settrace(trace)
        try:
            handler(number, frame)
        finally:
            sys.settrace(None)
            busy.clear()
    return set_up(number, handle if callable(handler) else handler)

signal.signal = signal_watched
try:
    main(["run", "plans/p.yaml"])
finally:
    print("interrupted again at", min(len(seen), 3), "lines or more")
"""


def test_a_signal_in_the_midst_of_another_does_not_wait_for_it(repo: Repo) -> None:
    engine.plan(repo, engine.task("1", f"kill -INT {engine.RUN}; {FOR_EVER}"))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_EVERY_LINE],
        cwd=repo.path,
        capture_output=True,
        text=True,
        timeout=A_HANG,
        check=False,
    )
    assert done.returncode is ExitCode.INTERRUPTED.value, done.stderr
    assert done.stdout.splitlines()[-1] == "interrupted again at 3 lines or more"
    engine.audit(repo)


# --- trains ---------------------------------------------------------------------------------------


def filtered(repo: Repo, smudge: str) -> None:
    """Let every text file of the repository go through a command when it is checked out."""
    repo.git("config", "filter.f.clean", "cat")
    repo.git("config", "filter.f.smudge", smudge)
    repo.git("config", "filter.f.required", "true")
    repo.write(".gitattributes", "*.txt filter=f\n")
    repo.write("a.txt", "a\n")
    repo.commit("a filter")


def test_trains_that_git_lets_down_are_not_built_for_ever(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "back_off", lambda lost: 0.0 if lost < 10 else 60.0)
    filtered(repo, "case $PWD in */.train) exit 9;; esac; cat")
    engine.plan(repo, engine.task("1", "echo b > b.txt"), gate=["true"])
    played = engine.go(repo)
    assert (played.code, played.message) == (
        ExitCode.NEEDS_A_PERSON,
        "the plan is held: 10 trains in a row could not be tested: "
        "git read-tree ended with 128: fatal: a.txt: smudge filter f failed",
    )
    assert len(played.happened("train_started")) == scheduler.LOST_IN_A_ROW
    assert engine.audit(repo) == {"1": "review"}
    repo.git("config", "filter.f.smudge", "cat")
    service = Service(str(repo.path))
    service.handle(Resume(), engine.PLAN)
    service.close()
    engine.finished(repo, engine.go(repo))


def test_a_train_that_git_lets_down_waits_before_it_is_built_again(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []

    def back_off(lost: int) -> float:
        waits.append(lost)
        return 0.05

    monkeypatch.setattr(scheduler, "back_off", back_off)
    tries = tmp_path / "tries"
    broken = (
        f"case $PWD in */.train) echo >> {tries}; [ $(wc -l < {tries}) -gt 3 ] || exit 9;; esac"
    )
    filtered(repo, f"{broken}; cat")
    engine.plan(repo, engine.task("1", "echo b > b.txt"), gate=["true"])
    played = engine.go(repo)
    engine.finished(repo, played)
    assert waits == [1, 2, 3]
    assert played.happened("run_waits") == ["run_waits"]


# --- what an agent leaves -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pipe",
    [
        ".gitignore",
        pytest.param(".gitattributes", marks=pytest.mark.slow),
        pytest.param("d/.gitignore", marks=pytest.mark.slow),
    ],
)
def test_a_pipe_in_the_place_of_a_file_that_git_reads_stops_nobody(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, pipe: str
) -> None:
    monkeypatch.setattr(worktrees, "LOOK", 0.5)
    repo.write("d/a.txt", "a\n")
    repo.commit("a folder")
    engine.plan(repo, engine.task("1", f"echo b > b.txt; mkfifo {pipe}"))
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "b.txt") == "b\n"


def test_a_pipe_in_the_place_of_a_file_is_a_file_that_was_deleted(repo: Repo) -> None:
    repo.write("a.txt", "a\n")
    repo.commit("a file")
    engine.plan(repo, engine.task("1", "echo b > b.txt; rm a.txt; mkfifo a.txt"))
    engine.finished(repo, engine.go(repo))
    assert [path for path in repo.tree("flow/p") if path.endswith(".txt")] == ["b.txt"]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here")
def test_a_process_that_is_just_starting_a_program_is_found_by_its_mark(tmp_path: Path) -> None:
    script = tmp_path / "again"
    script.write_text(f"exec /bin/sh {script}\n")
    restless = subprocess.Popen(["/bin/sh", str(script)], env={"MARK": "restless"})
    try:
        looks = {tuple(runner.marked("MARK=restless")) for _ in range(200)}
    finally:
        restless.kill()
        restless.wait()
    assert looks == {(restless.pid,)}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_process_that_cannot_be_ended_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*about: int) -> None:
        raise PermissionError  # as for one that became another user's

    end = os.killpg
    monkeypatch.setattr(runner.REAPERS, "take", lambda: None)
    monkeypatch.setattr(runner, "GRACE", 0.05)
    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(os, "killpg", refuse)
    pid = tmp_path / "pid"
    ended = shell(
        f"echo $$ > {pid}; exec {FOR_EVER}",
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "MARK": "no-hang"},
        mark="MARK=no-hang",
        caps=Caps(0.5),
        stop=Stop(),
    )
    end(int(pid.read_text()), signal.SIGKILL)
    assert (ended.code, ended.stopped_for, ended.left_behind) == (None, Reason.TIMEOUT, True)


# --- git ------------------------------------------------------------------------------------------


def test_a_git_that_does_not_end_is_ended_with_all_that_it_started(
    repo: Repo, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    git = Git(str(repo.path), {})
    alias = f"alias.wait=!echo $$ > {pid}.new; mv {pid}.new {pid}; {FOR_EVER}; :"
    with pytest.raises(GitFailed, match="git -c was ended: it took more than 1 seconds"):
        git.attempt("-c", alias, "wait", seconds=1)
    assert engine.gone(int(pid.read_text()))


def test_a_git_that_warns_at_every_question_goes_on_answering(repo: Repo) -> None:
    repo.git("branch", "refs/heads/main")  # now `refs/heads/main` is ambiguous, and git says so
    repository = Repository(repo.path)
    try:
        answers = {repository.resolve("refs/heads/main^{tree}") for _ in range(2000)}
    finally:
        repository.close()
    assert answers == {repo.sha("main^{tree}")}


@pytest.mark.parametrize("name", ["main^{tree}", "nothing^{tree}"])
def test_a_git_that_somebody_ended_is_started_again(repo: Repo, name: str) -> None:
    repository = Repository(repo.path)

    def look() -> tuple[str | None, str]:
        return repository.resolve(name), repository.object("main^{tree}", "tree")[0]

    try:
        before = look()
        for partner in (repository.git._git.cat_file_header, repository.git._git.cat_file_all):
            os.kill(partner.proc.pid, signal.SIGKILL)
        assert look() == before
    finally:
        repository.close()


# --- the lock -------------------------------------------------------------------------------------


@contextmanager
def locked(repo: Repo) -> Iterator[Callable[[], None]]:
    """Hold the repository's lock as another run does; yield what lets go of it."""
    folder = repo.path / ".git" / "gitflow-agents"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(file, fcntl.LOCK_UN)


def refused(store: Store, seconds: str) -> None:
    with (
        pytest.raises(GitFailed) as refusal,
        store.refs.lock(),
    ):
        pass
    which = f" (process {os.getpid()})" if Path("/proc/locks").exists() else ""
    assert refusal.value.message == (
        f"another run{which} has held the lock of this repository for {seconds} seconds"
    )
    assert refusal.value.code is ExitCode.TRY_AGAIN


@pytest.fixture
def store(repo: Repo) -> Iterator[Store]:
    store = Store(Repository(repo.path))
    yield store
    store.close()


def test_a_run_that_was_suspended_with_the_lock_is_not_waited_for_for_ever(
    repo: Repo, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "LOOK", 0.01)
    monkeypatch.setattr(refs, "LOCK_PATIENCE", 0.1)
    with locked(repo) as let_go:
        refused(store, "0.1")
        refused(store, "0.1")
        let_go()
        monkeypatch.setattr(refs, "LOCK_PATIENCE", A_HANG)
        with store.refs.lock():  # those that were left to wait have let go of it too
            pass


def test_whoever_is_to_end_does_not_wait_long_for_the_lock(
    repo: Repo, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "LOOK", 0.01)
    monkeypatch.setattr(refs, "PATIENCE", 0.1)
    store.refs.is_hurried = lambda: True
    with locked(repo):
        refused(store, "0.1")


def test_the_lock_is_taken_when_another_run_lets_go_of_it(
    repo: Repo, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs, "LOOK", 0.01)
    looks: list[str] = []
    with locked(repo) as let_go:

        def look() -> bool:
            looks.append("look")
            if len(looks) == 3:
                let_go()
            return False

        store.refs.is_hurried = look
        with (
            store.refs.lock(),
            open(store.refs.folder / "lock") as file,
            pytest.raises(BlockingIOError),
        ):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert looks[:3] == ["look"] * 3
