"""The view on a terminal: its lines as values, and what is on the screen of a real one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from gitflow_agents import render
from gitflow_agents.models import Status
from tests import engine
from tests.engine import task
from tests.repos import Cli, Repo
from tests.world import World, begin, plan_of

S = Status
NOW = 100.0


def world() -> World:
    """Return a plan of which one task is merged, one failed, two run and three wait."""
    made = World(begin(plan_of([(), (), (1,), (1,), (3, 4), (2,), ()])), is_tested=False)
    made.step(2)
    made.ended = {"1": "succeeded", "2": "failed"}
    made.step(2)
    made.settle(2)
    return made


def view(width: int, height: int, **said: str) -> list[str]:
    lines = {name.removeprefix("task"): text for name, text in said.items()}
    made = world()
    shown = render.live(made.snapshot, made.limits, NOW, lines, width=width, height=height)
    return shown.split("\n")


def test_what_waits_for_a_person_comes_first_then_what_runs_then_what_waits() -> None:
    assert view(80, 24, task3="tests: 4 of 9") == [
        "p v1: running, 14 % (1 of 7 merged), about 29m left",
        "Waiting for you: 1 thing",
        "  2 failed (agent-error)",
        "    $ gitflow-agents retry p/2",
        "ID  TRY  AGENT    TIME    SAYS",
        "3   1    command  1m 40s  tests: 4 of 9",
        "4   1    command  1m 40s  4",
        "Ready    7",
        "Waiting  2 tasks",
        "  5  for  3, 4",
        "  6  for  2",
    ]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10), (20, 6), (80, 3)])
def test_the_view_fits_any_terminal(width: int, height: int) -> None:
    lines = view(width, height, task3="x" * 500, task4="\x1b[2J\nred\u202e" + "語" * 200)
    assert len(lines) <= max(height, 6)
    assert max(len(line) for line in lines) <= width
    assert not any(ord(letter) < 32 for line in lines for letter in line)


def test_ten_thousand_tasks_are_a_few_lines() -> None:
    made = World(begin(plan_of([()] * 10_000)))
    lines = render.live(made.snapshot, made.limits, NOW, {}, width=80, height=24).split("\n")
    assert lines[-1].startswith("Ready    1, 2, 3")
    assert lines[-1].endswith(" +9981")


# --- a real terminal ------------------------------------------------------------------------------


class Terminal:
    """A program on a terminal of its own, and what its screen shows."""

    def __init__(self, repo: Repo, *args: str, columns: int = 80, lines: int = 24) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        script = Path(sys.executable).with_name("gitflow-agents")
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.pop("COLUMNS", None)
            os.environ["TERM"] = "xterm-256color"
            os.chdir(repo.path)
            os.execv(script, [str(script), *args])
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(self.fd)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def key(self, letters: bytes) -> None:
        """Type something."""
        os.write(self.fd, letters)

    @property
    def shown(self) -> list[str]:
        """Return the lines of the screen, the empty ones left out."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def until(self, holds: Callable[[list[str]], bool], seconds: float = 30) -> None:
        """Read what is drawn until the screen looks so."""
        deadline = time.monotonic() + seconds
        while not holds(self.shown):
            assert time.monotonic() < deadline, self.shown
            assert self._read(), self.shown

    def end(self) -> int:
        """Read until the program ends; return its exit code."""
        while self._read():
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.fd], [], [], 30)
        assert ready, "nothing was drawn for half a minute"
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self._stream.feed(data)
        return bool(data)


@pytest.fixture
def slow_plan(repo: Repo) -> Iterator[Repo]:
    late = engine.until("test -e ../../../go")
    engine.plan(repo, task("1", f"echo thinking hard; {late}echo 1 > a"), task("2", "exit 3"))
    yield repo
    (repo.path / "go").touch()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50)])
def test_a_run_on_a_terminal_shows_what_goes_on_and_leaves_only_what_was_told(
    slow_plan: Repo, columns: int, lines: int
) -> None:
    terminal = Terminal(slow_plan, "run", engine.FILE, columns=columns, lines=lines)
    terminal.until(lambda shown: any("thinking hard" in line for line in shown))
    terminal.until(lambda shown: "    $ gitflow-agents retry p/2" in shown)
    at = terminal.shown.index("Waiting for you: 1 thing")
    assert terminal.shown[at - 1] == "p v1: running, 0 % (0 of 2 merged), about 10m left"
    assert terminal.shown[at + 1 : at + 4] == [
        "  2 failed (agent-error)",
        "    $ gitflow-agents retry p/2",
        "ID  TRY  AGENT    TIME  SAYS",
    ]
    (slow_plan.path / "go").touch()
    assert terminal.end() == 4
    assert not any(line.startswith(("ID ", "Waiting for")) for line in terminal.shown)
    assert any(line.startswith("1 merged as") for line in terminal.shown)
    assert not terminal.screen.cursor.hidden


def test_ctrl_c_and_a_new_size_leave_the_terminal_sane(slow_plan: Repo) -> None:
    terminal = Terminal(slow_plan, "run", engine.FILE)
    terminal.until(lambda shown: any("thinking hard" in line for line in shown))
    terminal.resize(60, 12)
    terminal.until(lambda shown: any("thinking hard" in line for line in shown))
    terminal.key(b"\x03")
    terminal.until(lambda shown: any("gitflow-agents run p goes on" in line for line in shown))
    assert termios.tcgetattr(terminal.fd) == terminal.modes
    assert terminal.end() == 130
    assert not terminal.screen.cursor.hidden


def test_a_plan_can_be_watched_from_beside(slow_plan: Repo) -> None:
    with engine.other(slow_plan, "run", engine.FILE):
        engine.wait_for(lambda: "gitflow/state/p" in slow_plan.branches())
        terminal = Terminal(slow_plan, "status", "p", "--watch")
        terminal.until(lambda shown: any("thinking hard" in line for line in shown))
        terminal.key(b"\x03")
        assert terminal.end() == 0
        assert not terminal.screen.cursor.hidden
        (slow_plan.path / "go").touch()


def test_watching_is_for_a_terminal(repo: Repo, cli: Cli) -> None:
    result = cli("status", "p", "--watch", check=False)
    assert (result.exit_code, result.stderr.split("\n")[0]) == (
        2,
        "error: --watch is for a terminal, and for now",
    )
