"""The reapers: whatever a command starts ends with it, wherever it went, and so does a run's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gitflow_agents import runner
from gitflow_agents.models import Reason
from gitflow_agents.runner import Caps, Ended, Stop, is_alive, reaper, shell
from gitflow_agents.runner.reapers import MOST_IDLE, PROGRAM, Reapers
from tests import engine
from tests.engine import task, until
from tests.repos import Repo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has reapers")

HIDDEN = "env -i PATH=$PATH setsid sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; {what}' &"
"""A process that has neither the mark nor the group nor the session of what started it."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TICK", 0.05)


@pytest.fixture
def pid(tmp_path: Path) -> Path:
    """Return the file into which a process writes its number."""
    return tmp_path / "pid"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    """Return `shell` in an empty folder; it is stopped as soon as it writes to its progress."""

    def run(command: str, **env: str) -> Ended:
        stop = Stop()
        return shell(
            command,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **env},
            mark="M=1",
            caps=Caps(60),
            stop=stop,
            progress=tmp_path / "progress",
            on_progress=lambda line: stop.set(),
        )

    return run


def ended(pid: Path) -> bool:
    return not is_alive(int(pid.read_text()))


# --- what a command starts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        HIDDEN,
        "(" + HIDDEN + ") &",
        # Its parents die one after the other, and none of them has anything of ours.
        "env -i PATH=$PATH setsid sh -c \"setsid sh -c '(echo \\$\\$ > {pid}; {what}) &' &\" &",
    ],
)
def test_what_hides_from_its_mark_and_its_group_is_ended(
    run: Callable[..., Ended], pid: Path, command: str
) -> None:
    started = command.format(pid=pid, what="sleep 60; sleep 60")
    done = run(f"{started} {until(f'[ -s {pid} ]')}")
    assert (done.code, done.left_behind, done.trouble) == (0, True, "")
    assert ended(pid)


def test_what_hides_ends_with_a_stop_too(run: Callable[..., Ended], pid: Path) -> None:
    started = HIDDEN.format(pid=pid, what="trap : TERM; while :; do sleep 0.05; done")
    done = run(f"{started} {until(f'[ -s {pid} ]')} echo 1/1 > progress; sleep 60")
    assert (done.code, done.stopped_for) == (-15, Reason.STOPPED)
    assert ended(pid)


def test_nothing_is_left_behind_by_what_waits_for_its_own(run: Callable[..., Ended]) -> None:
    done = run("echo a | cat | cat; (echo b; echo c) | sort; sleep 0.01 & wait")
    assert (done.code, done.output, done.left_behind) == (0, "a\nb\nc\n", False)


def test_one_reaper_runs_one_command_after_the_other(run: Callable[..., Ended]) -> None:
    first, second = run("echo $PPID"), run("echo $PPID")
    assert first.output == second.output


def test_what_was_said_to_one_command_does_not_reach_the_next(run: Callable[..., Ended]) -> None:
    first, second = run("echo 1/1 > progress; echo $PPID; sleep 60"), run("echo $PPID")
    assert (first.stopped_for, second.code) == (Reason.STOPPED, 0)
    assert first.output != second.output


def test_an_environment_and_a_name_that_are_no_text_get_there_as_they_are(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    many = {f"N{n}": "x" * 1000 for n in range(500)}  # more than a socket takes at a time
    assert run(f'printf %s "$ODD" > {odd}; echo $N499', ODD=odd, **many).output == "x" * 1000 + "\n"
    assert (tmp_path / odd).read_bytes() == b"caf\xe9"


# --- without one of them --------------------------------------------------------------------------


def test_a_command_that_ends_its_reaper_has_not_ended_well_and_what_it_left_is_ended(
    run: Callable[..., Ended], pid: Path
) -> None:
    hidden = HIDDEN.format(pid=pid, what="sleep 60; sleep 60")
    done = run(f"{hidden} {until(f'[ -s {pid} ]')} kill -9 $PPID; sleep 60")
    assert (done.code, done.stopped_for) == (None, Reason.INFRASTRUCTURE)
    assert done.trouble == runner.REAPER_GONE
    engine.wait_for(lambda: ended(pid))
    assert run("echo on").output == "on\n"


def test_a_command_that_suspends_its_reaper_is_ended_all_the_same(
    run: Callable[..., Ended], pid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "PATIENCE", 0.05)
    monkeypatch.setattr(runner, "GRACE", 0.05)
    done = run(f"echo $$ > {pid}; trap '' TERM; kill -STOP $PPID; echo 1/1 > progress; sleep 60")
    assert (done.stopped_for, done.trouble) == (Reason.INFRASTRUCTURE, runner.REAPER_GONE)
    engine.wait_for(lambda: ended(pid))


def test_when_the_first_reaper_is_gone_there_is_another_one(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Reapers()) as pool:
        monkeypatch.setattr(runner, "REAPERS", pool)
        assert run("kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)").code == 0
        busy = pool.take()
        assert run("echo on").output == "on\n"
        assert busy is not None
        busy.done()


def test_more_reapers_than_are_kept_go_when_they_are_done() -> None:
    with closing(Reapers()) as pool:
        taken = [pool.take() for _ in range(MOST_IDLE + 2)]
        for each in taken:
            assert each is not None
            each.done()
        assert [each.fd >= 0 for each in taken if each] == [True] * MOST_IDLE + [False] * 2


# --- without the run ------------------------------------------------------------------------------


def test_the_commands_of_a_process_that_is_killed_end_with_it(tmp_path: Path, pid: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gitflow_agents.runner import *\n"
        "shell(sys.argv[1], cwd=Path('.'), env={'PATH': sys.argv[2]}, mark='X=1',"
        " caps=Caps(100), stop=Stop())"
    )
    hidden = HIDDEN.format(pid=pid, what="sleep 60; sleep 60")
    words = [sys.executable, "-c", program, f"{hidden} sleep 60", os.environ["PATH"]]
    with subprocess.Popen(words, cwd=tmp_path) as process:
        engine.wait_for(pid.exists)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    engine.wait_for(lambda: ended(pid))


def test_what_cannot_be_ended_is_told() -> None:
    program = (
        "import os, subprocess, sys; sys.path.insert(0, sys.argv[1]); import reaper\n"
        "bell, kill, child = reaper.Bell(), os.kill, subprocess.Popen(['sleep', '60'])\n"
        "def refuse(*about): raise PermissionError\n"  # as for one that became another user's
        "os.kill = refuse; print(reaper.end_all(bell, 0.05))\n"
        "os.kill = kill; print(reaper.end_all(bell, 60), reaper.end_all(bell, 60))"
    )
    words = [sys.executable, "-S", "-c", program, str(PROGRAM.parent)]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    assert said.stdout == "(True, False)\n(True, True) (False, True)\n"


# --- on its way to flow ---------------------------------------------------------------------------

LOOKS = "touch {seen}; for n in 1 2 3 4 5 6 7 8 9 10; do grep -q good a.txt && exit 0; sleep 0.02; done; exit 1"
"""A check that begins with a signal to whoever wants to deceive it, and is patient."""


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("verify", "checks-failed"), pytest.param("gate", "gate-failed", marks=pytest.mark.slow)],
)
def test_a_process_that_hides_cannot_let_a_check_see_other_files_than_what_is_merged(
    repo: Repo, tmp_path: Path, kind: str, reason: str
) -> None:
    pid, seen, place = tmp_path / "pid", tmp_path / "seen", repo.path / ".worktrees" / "p"
    writes = (
        f"[ -e {seen} ] && for d in 1 .train; do echo good > {place}/$d/a.txt; done; sleep 0.01"
    )
    hidden = HIDDEN.format(pid=pid, what=f"while :; do {writes}; done 2>/dev/null")
    checks = [LOOKS.format(seen=seen)]
    run = f"{hidden} {until(f'[ -s {pid} ]')} echo bad > a.txt"
    if kind == "verify":
        engine.plan(repo, task("1", run, verify=checks))
    else:
        engine.plan(repo, task("1", run), gate=checks)
    assert engine.go(repo).code == 4
    kept = engine.record(repo, "1")
    assert (kept["status"], kept["reason"]) == ("failed", reason)
    assert ended(pid)
    assert "a.txt" not in repo.tree("flow/p")
