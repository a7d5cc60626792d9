"""The watchdog: a command is started, watched, surely ended, and nothing of it lives after."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents import runner
from gitflow_agents.models import Ran, Reason
from gitflow_agents.runner import (
    Caps,
    Ended,
    Heard,
    Stop,
    end_all,
    environment,
    is_alive,
    is_ours,
    lease_is_lost,
    marked,
    new_lease,
    present,
    process_started,
    ran,
    shell,
    tail,
)
from gitflow_agents.runner import (
    run as start,
)
from tests import engine

LONG = 60.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look ten times as often, and wait a second for a command that will not end."""
    monkeypatch.setattr(runner, "TICK", 0.05)
    monkeypatch.setattr(runner, "GRACE", 1.0)


@pytest.fixture
def without_reapers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be none, as on a system that has none."""
    monkeypatch.setattr(runner.REAPERS, "take", lambda: None)


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """Return a mark of the test's own, as a claim has one."""
    return f"GITFLOW_CLAIM={os.getpid()}-{id(request)}"


@pytest.fixture
def run(tmp_path: Path, mark: str) -> Callable[..., Ended]:
    """Return `shell` in an empty folder, its environment carrying the mark."""

    def run(command: str, seconds: float = LONG, stop: Stop | None = None, **more: Any) -> Ended:
        caps = Caps(seconds, more.pop("silence", None), more.pop("turns", None))
        name, _, value = mark.partition("=")
        ended = shell(
            command,
            cwd=more.pop("cwd", tmp_path),
            env={**os.environ, name: value},
            mark=mark,
            caps=caps,
            stop=stop or Stop(),
            **more,
        )
        assert marked(mark) == [], "a process lives on"
        return ended

    return run


# --- how it ended ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("echo out; echo err >&2", 0, "out\nerr\n"),
        ("exit 3", 3, ""),
        ("echo half; kill -9 $$", -9, "half\n"),
        ("nothing-of-that-name", 127, None),
        ("./no-permission", 126, None),
        ("read line", 1, ""),  # standard input is empty, so nobody waits for a person
    ],
)
def test_a_command_ends_with_its_code_and_its_output(
    run: Callable[..., Ended], tmp_path: Path, command: str, code: int, output: str | None
) -> None:
    (tmp_path / "no-permission").write_text("#!/bin/sh\n")
    ended = run(command)
    assert (ended.code, ended.stopped_for, ended.left_behind) == (code, None, False)
    if output is not None:
        assert ended.output == output


def test_a_command_whose_folder_is_gone_did_not_start(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    ended = run("true", cwd=gone)
    assert ended == Ended(
        None, 0, f"/bin/sh cannot be started in {gone}: No such file or directory"
    )


def test_output_that_is_not_text_is_read_all_the_same(run: Callable[..., Ended]) -> None:
    assert run(r"printf '\377\0caf\303\251'").output == "\ufffd\0café"


# --- time, silence, turns -------------------------------------------------------------------------


def test_a_command_that_takes_too_long_is_ended(run: Callable[..., Ended]) -> None:
    ended = run("echo begun; sleep 60", seconds=0.8)
    assert (ended.code, ended.stopped_for, ended.output) == (-15, Reason.TIMEOUT, "begun\n")
    assert 0.8 <= ended.seconds < 30


def stopped_when_ready(run: Callable[..., Ended], folder: Path, command: str) -> Ended:
    """Run a command and stop it as soon as it has said so in its progress."""
    stop = Stop()
    return run(
        command, stop=stop, progress=folder / "progress", on_progress=lambda line: stop.set()
    )


def test_a_command_that_ignores_the_polite_signal_is_ended_all_the_same(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    deaf = "trap '' TERM; echo deaf; echo 1/1 > progress; while :; do sleep 0.05; done"
    ended = stopped_when_ready(run, tmp_path, deaf)
    assert (ended.code, ended.stopped_for, ended.output) == (-9, Reason.STOPPED, "deaf\n")


def test_a_command_may_clean_up_when_it_is_ended(run: Callable[..., Ended], tmp_path: Path) -> None:
    tidy = "trap 'echo cleaned > cleaned; exit 7' TERM; echo 1/1 > progress; "
    ended = stopped_when_ready(run, tmp_path, tidy + "while :; do sleep 0.02; done")
    assert (ended.code, ended.stopped_for) == (7, Reason.STOPPED)
    assert (tmp_path / "cleaned").read_text() == "cleaned\n"


def test_a_command_that_says_nothing_for_too_long_is_ended(run: Callable[..., Ended]) -> None:
    ended = run("echo begun; sleep 60", silence=0.4)
    assert (ended.stopped_for, ended.output) == (Reason.STALLED, "begun\n")


def test_a_command_that_goes_on_talking_is_not_silent(run: Callable[..., Ended]) -> None:
    chatter = "for i in $(seq 17); do echo $i; sleep 0.1; done"
    ended = run(chatter, silence=1.5)
    assert (ended.code, ended.stopped_for) == (0, None)
    assert ended.seconds > 1.5


def test_progress_is_passed_on_and_breaks_the_silence(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    file, lines = tmp_path / "progress", list[str]()
    wait = "while [ ! -e seen ]; do sleep 0.02; done; rm seen"

    def on_progress(line: str) -> None:
        lines.append(line)
        (tmp_path / "seen").touch()

    steps = "".join(f"echo '{n}/3 step {n}' >> progress; {wait}; " for n in (1, 2, 3))
    ended = run(steps, silence=5, progress=file, on_progress=on_progress)
    assert (ended.code, ended.turns) == (0, 3)
    assert lines == ["1/3 step 1", "2/3 step 2", "3/3 step 3"]


def test_a_command_that_takes_too_many_turns_is_ended(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    command = "for n in 1 2 3 4; do echo $n/9 >> progress; sleep 0.15; done; sleep 60"
    ended = run(command, turns=3, progress=tmp_path / "progress")
    assert (ended.stopped_for, ended.turns) == (Reason.TURNS, 4)


@pytest.mark.parametrize(
    ("said", "turns"), [("", None), ("no number", None), (" 7 / 9 x", 7), ("1/2\nlast", None)]
)
def test_turns_are_what_the_last_line_of_progress_says(
    run: Callable[..., Ended], tmp_path: Path, said: str, turns: int | None
) -> None:
    (tmp_path / "progress").write_text(said)
    assert run("true", progress=tmp_path / "progress").turns == turns


def test_a_progress_file_that_is_no_file_says_nothing(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "progress").mkdir()
    assert run("true", progress=tmp_path / "progress").turns is None


def test_a_stop_ends_a_command_that_runs(run: Callable[..., Ended], tmp_path: Path) -> None:
    ended = stopped_when_ready(run, tmp_path, "echo 1/9 > progress; sleep 60")
    assert (ended.code, ended.stopped_for) == (-15, Reason.STOPPED)


def test_after_a_stop_nothing_gets_far(run: Callable[..., Ended]) -> None:
    stop = Stop()
    stop.set()
    assert run("sleep 60", stop=stop).stopped_for is Reason.STOPPED


# --- a flood --------------------------------------------------------------------------------------


def test_a_flood_of_output_is_bounded_and_its_two_ends_are_kept(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "OUTPUT", 100_000)
    log = tmp_path / "output.log"
    flood = "import os\nfor n in range(200_000): os.write(1, b'%09d\\n' % n)"
    ended = run(f'exec {sys.executable} -c "{flood}"', transcript=log)
    assert log.stat().st_mode & 0o777 == 0o600
    assert (ended.code, ended.stopped_for) == (0, None)
    assert ended.output == log.read_text()
    head, dropped, rest = re.split(r"\n?\[\.\.\. (\d+) bytes left out \.\.\.\]\n", ended.output)
    assert head.startswith("000000000\n000000001\n")
    assert rest.endswith("000199998\n000199999\n")
    assert len(head) == 50_000
    assert len(head) + int(dropped) + len(rest) == 2_000_000
    assert log.stat().st_size < 160_000


def test_a_flood_does_not_hide_that_time_is_over(run: Callable[..., Ended]) -> None:
    ended = run("yes", seconds=0.3)
    assert ended.stopped_for is Reason.TIMEOUT
    assert len(ended.output) <= runner.OUTPUT + runner.OUTPUT // 2 + 100


# --- what it started ------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_reapers")
def test_without_reapers_a_command_is_watched_and_ended_all_the_same(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    assert run("echo out; exit 3").code == 3
    gone = tmp_path / "gone"
    said = f"/bin/sh cannot be started in {gone}: No such file or directory"
    assert run("true", cwd=gone) == Ended(None, 0, said)
    deaf = "trap '' TERM; echo deaf; echo 1/1 > progress; while :; do sleep 0.05; done"
    ended = stopped_when_ready(run, tmp_path, deaf)
    assert (ended.code, ended.stopped_for, ended.output) == (-9, Reason.STOPPED, "deaf\n")


def test_what_a_command_left_behind_is_ended(run: Callable[..., Ended], tmp_path: Path) -> None:
    ended = run("sleep 60 & echo $! > pid")
    assert (ended.code, ended.left_behind) == (0, True)
    assert not is_alive(int((tmp_path / "pid").read_text()))
    assert ended.seconds < 10  # although the sleeper held its output open


@pytest.mark.usefixtures("without_reapers")
def test_what_left_the_group_is_found_by_its_mark(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    leave = "setsid sh -c 'echo $$ > pid; exec sleep 60' </dev/null >/dev/null 2>&1 &"
    ended = run(f"{leave} while [ ! -s pid ]; do sleep 0.02; done")
    assert (ended.code, ended.left_behind) == (0, True)
    assert not is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.usefixtures("without_reapers")
def test_what_left_the_group_ends_with_a_timeout_too(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    leave = "setsid sh -c 'trap \"\" TERM; echo $$ > pid; sleep 60; sleep 60' &"
    ended = run(f"{leave} while [ ! -s pid ]; do sleep 0.02; done; sleep 60", seconds=0.5)
    assert ended.stopped_for is Reason.TIMEOUT
    assert not is_alive(int((tmp_path / "pid").read_text()))


@pytest.mark.usefixtures("without_reapers")
def test_what_dropped_its_environment_is_ended_with_its_group(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    run(
        "env -i /bin/sh -c 'echo $$ > pid; sleep 60; sleep 60' & while [ ! -s pid ]; do sleep 0.02; done"
    )
    assert engine.gone(int((tmp_path / "pid").read_text()))


def test_only_what_came_later_is_looked_at() -> None:
    before = present()
    with subprocess.Popen(["sleep", "60"], env={"GITFLOW_CLAIM": "later"}) as p:
        try:
            assert marked("GITFLOW_CLAIM=later", before) == [p.pid]
            assert marked("GITFLOW_CLAIM=later", present()) == []
        finally:
            p.kill()


def test_only_whole_values_of_a_mark_count(tmp_path: Path) -> None:
    with subprocess.Popen(
        ["sleep", "60"], env={"GITFLOW_CLAIM": "abcd", "X": "GITFLOW_CLAIM=ab"}
    ) as p:
        try:
            assert marked("GITFLOW_CLAIM=ab") == []
            assert marked("GITFLOW_CLAIM=abcd") == [p.pid]
            assert not end_all("GITFLOW_CLAIM=abc")
            assert end_all("GITFLOW_CLAIM=abcd")
        finally:
            p.kill()
    assert p.returncode == -signal.SIGKILL


def test_we_never_end_ourselves() -> None:
    # Our own environment may carry a mark: `gitflow-agents` run inside a task of another plan.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from gitflow_agents.runner import end_all; print(end_all('GITFLOW_CLAIM=outer'))",
        ],
        env={**os.environ, "GITFLOW_CLAIM": "outer"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "False\n"


# --- what it sees ---------------------------------------------------------------------------------


def test_a_command_sees_only_what_is_allowed() -> None:
    inherited = {
        "PATH": "/bin",
        "HOME": "/home/alice",
        "LC_ALL": "C.UTF-8",
        "HTTPS_PROXY": "http://proxy",
        "GITHUB_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SSH_AUTH_SOCK": "/agent",
        "GIT_DIR": "/elsewhere",
        "GITFLOW_PLAN": "an outer one",
        "MY_KEY": "wanted",
        "ANOTHER": "not wanted",
    }
    seen = environment(inherited, ["MY_KEY", "NOT_SET"], {"GITFLOW_PLAN": "p"})
    git = {name: value for name, value in seen.items() if name.startswith(("GIT_", "SSH_"))}
    assert {name: value for name, value in seen.items() if name not in git} == {
        "PATH": "/bin",
        "HOME": "/home/alice",
        "LC_ALL": "C.UTF-8",
        "HTTPS_PROXY": "http://proxy",
        "MY_KEY": "wanted",
        "GITFLOW_PLAN": "p",
    }
    assert (git["GIT_TERMINAL_PROMPT"], git["GIT_ASKPASS"], git["SSH_ASKPASS"]) == ("0", "false", "false")  # fmt: skip
    assert "GIT_DIR" not in git
    assert "SSH_AUTH_SOCK" not in git
    count = int(git["GIT_CONFIG_COUNT"])
    keys = {git[f"GIT_CONFIG_KEY_{n}"]: git[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}
    assert keys["credential.helper"] == ""
    assert keys["url.pushes-are-off-here:.pushInsteadOf"] == ""


# --- who is alive ---------------------------------------------------------------------------------


def test_a_process_is_known_by_its_start_too() -> None:
    started = process_started(os.getpid())
    assert started > 0
    assert is_alive(os.getpid(), started)
    assert not is_alive(os.getpid(), started + 1)
    with subprocess.Popen(["true"]) as done:
        pass
    assert (process_started(done.pid), is_alive(done.pid)) == (0, False)


def test_a_process_that_ended_and_was_not_fetched_is_not_alive() -> None:
    with subprocess.Popen(["sh", "-c", "exit 0"], stdout=subprocess.PIPE) as zombie:
        assert zombie.stdout is not None
        zombie.stdout.read()  # ends when it has
        for _ in range(500):
            if not is_alive(zombie.pid):
                break
            time.sleep(0.01)
        assert not is_alive(zombie.pid)


def test_a_lease_of_this_very_process_is_held_however_long_it_takes() -> None:
    lease = new_lease(until=5)
    assert (lease.host, lease.pid) == (socket.gethostname(), os.getpid())
    assert not lease_is_lost(lease, now=1e12)


def test_only_this_very_process_holds_its_lease() -> None:
    lease = new_lease(until=5)
    assert is_ours(lease)
    for change in ({"pid": 1}, {"pid_started": 1}, {"boot": "b"}, {"host": "h"}):
        assert not is_ours(lease.model_copy(update=change))


@pytest.mark.parametrize(
    ("changes", "lost_before", "lost_after"),
    [
        ({"pid_started": 1}, True, True),
        ({"boot": "another boot"}, True, True),
        ({"host": "another-host"}, False, True),
        ({"host": "another-host", "boot": "b", "pid": 1, "pid_started": 1}, False, True),
    ],
)
def test_a_lease_is_looked_up_here_and_waited_for_elsewhere(
    changes: Mapping[str, Any], lost_before: bool, lost_after: bool
) -> None:
    lease = new_lease(until=100).model_copy(update=changes)
    assert (lease_is_lost(lease, now=99), lease_is_lost(lease, now=101)) == (
        lost_before,
        lost_after,
    )


# --- the end of an output -------------------------------------------------------------------------


def test_the_last_lines_are_what_a_terminal_shows_without_its_controls() -> None:
    assert tail("\x1b[31mred\x1b[0m\r\n\x07bell\tand tab\n\n\n") == "red\nbell\tand tab"
    assert tail("".join(f"{n}\n" for n in range(100)), lines=3) == "97\n98\n99"
    assert tail("x" * 9999) == "x" * 500
    assert tail("") == ""


@given(st.text())
def test_the_last_lines_of_anything_hold_no_control_character(output: str) -> None:
    found = tail(output)
    assert len(found.splitlines()) <= runner.TAIL
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", found)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (Ended(0, 1.23456, "done\n"), 0),
        (Ended(-15, 1.23456, "done\n", Reason.TIMEOUT), None),
        (Ended(None, 1.23456, "done\n"), None),
    ],
)
def test_a_command_that_was_ended_has_no_code_as_evidence(ended: Ended, code: int | None) -> None:
    assert ran("verify", "make test", ended) == Ran(
        command="make test", kind="verify", code=code, seconds=1.235, tail="done"
    )


# --- a program that is listened to ----------------------------------------------------------------


def listen(tmp_path: Path, mark: str, script: str, **more: Any) -> tuple[Ended, list[str]]:
    """Run a script as a program that is listened to; return its end and the lines heard."""
    heard: list[str] = []

    def hear(line: str) -> Heard:
        heard.append(line)
        return Heard(turns=len(heard), line=line[:9], is_lost=line == "lost")

    name, _, value = mark.partition("=")
    ended = start(
        ["sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, name: value},
        mark=mark,
        caps=Caps(LONG, **more.pop("caps", {})),
        stop=Stop(),
        hear=hear,
        **more,
    )
    return ended, heard


def test_whole_lines_of_standard_output_are_heard_and_both_streams_are_kept(
    tmp_path: Path, mark: str
) -> None:
    brief = tmp_path / "brief"
    brief.write_text("from a file")
    said: list[str] = []

    def tell(line: str) -> None:
        said.append(line)
        (tmp_path / "told").touch()

    ended, heard = listen(
        tmp_path,
        mark,
        "printf on; echo aside >&2; printf 'e\\n'; until [ -e told ]; do sleep 0.01; done;"
        " cat; echo; pwd -P >&2; echo $PWD; printf end",
        stdin=brief,
        on_progress=tell,
    )
    assert heard == ["one", "from a file", str(tmp_path), "end"]
    assert ("aside\n" in ended.output, ended.output.count(str(tmp_path))) == (True, 2)
    assert (ended.code, ended.turns, said[0]) == (0, 4, "one")


@pytest.mark.parametrize(
    ("script", "caps", "reason"),
    [
        ("while :; do echo x; done", {"output": 100_000}, Reason.TOO_LARGE),
        ("while :; do echo x; done", {"turns": 20}, Reason.TURNS),
        ("while :; do echo lost; sleep 0.05; done", {"lost": 0.2}, Reason.INFRASTRUCTURE),
        ("echo lost; sleep 0.1; echo here; exec sleep 0.5", {"lost": 0.3}, None),
    ],
)
def test_a_program_is_ended_by_what_it_prints(
    script: str, caps: dict[str, Any], reason: Reason | None, tmp_path: Path, mark: str
) -> None:
    ended, _ = listen(tmp_path, mark, script, caps=caps)
    assert ended.stopped_for == reason


def test_a_line_without_an_end_is_kept_and_not_heard(
    tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LINE", 1000)
    ended, heard = listen(tmp_path, mark, "head -c 300000 /dev/zero | tr '\\0' x; echo; echo after")
    assert (heard, len(ended.output)) == (["after"], 300_007)


def test_a_program_that_is_not_there_is_told(tmp_path: Path, mark: str) -> None:
    ended = start(
        ["no-such-program"],
        cwd=tmp_path,
        env={},
        mark=mark,
        caps=Caps(LONG),
        stop=Stop(),
        hear=lambda line: Heard(),
    )
    said = f"no-such-program cannot be started in {tmp_path}: No such file or directory"
    assert (ended.code, ended.output) == (None, said)


def test_a_command_is_fed_while_it_runs_until_there_is_no_more(run: Callable[..., Ended]) -> None:
    """More than a pipe holds goes in by and by, and it reads to the end."""
    parts: list[bytes | None] = [b"x" * 300_000, b"", b"y\n", None]
    ended = run("wc -c", feed=lambda: parts.pop(0) if parts else None)
    assert (ended.code, ended.output.strip()) == (0, "300002")


@pytest.mark.usefixtures("without_reapers")
def test_a_command_that_reads_nothing_ends_all_the_same(run: Callable[..., Ended]) -> None:
    beats: list[int] = []
    ended = run("exec <&-; echo x", feed=lambda: b"z" * 300_000, beat=lambda: beats.append(1))
    assert (ended.code, ended.output, bool(beats)) == (0, "x\n", True)
