"""Processes: how a command is started, watched, and surely ended.

A command runs in its own process group with an environment that we chose, under a reaper, which
ends all that it started however far that went.  Where a system has no reapers, what a command
started is found by the claim's nonce, which all of it carries in its environment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import selectors
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gitflow_agents.models import Ran, Reason
from gitflow_agents.runner.alive import (
    boot_id,
    end_all,
    inside,
    is_alive,
    is_ours,
    lease_is_lost,
    marked,
    new_lease,
    own_start,
    present,
    process_started,
)
from gitflow_agents.runner.reapers import REAPERS, Said

GRACE = 5.0
"""Seconds between asking a process to end and ending it."""
HURRIED = 2.0
"""The same where we are ended ourselves soon, and have to save what was done."""
TICK = 0.5
"""Seconds between two looks of the watchdog."""
FEED_TICK = 0.1
"""Seconds between two looks at whether there is more for a command to read."""
OUTPUT = 8 * 1024 * 1024
"""Bytes of a command's output that are kept: the first half and the last half."""
LINE = 16 * 1024 * 1024
"""Bytes of the longest line that is listened to; what is longer is only kept."""
TAIL = 20
"""Lines of output that go into a report."""

REAPER_GONE = "the process that watched over it was ended, and what it started is not known"
CANNOT_END = "something that it started cannot be ended"

PASSED_ON = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM TMPDIR TEMP TMP PWD "
    "VIRTUAL_ENV PYENV_ROOT PYENV_VERSION CONDA_PREFIX JAVA_HOME GOPATH GOROOT GOCACHE GOFLAGS "
    "GOPROXY CARGO_HOME RUSTUP_HOME NVM_DIR NODE_PATH NPM_CONFIG_CACHE PIP_CACHE_DIR "
    "PIP_INDEX_URL PIP_CONFIG_FILE UV_CACHE_DIR XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME "
    "XDG_RUNTIME_DIR SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS "
    "HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy".split()
)
"""Variables that reach a command; tokens and agent sockets are not among them."""


# --- running --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caps:
    """What a command may use: seconds in all, seconds of silence, turns, dollars, bytes printed."""

    seconds: float
    silence: float | None = None
    turns: int | None = None
    cost_usd: float | None = None
    output: int | None = None
    lost: float | None = None
    """Seconds for which it may say nothing but that what it needs cannot be reached."""


@dataclass(frozen=True)
class Heard:
    """What a line of a command's output tells: the turn it is at, its cost so far, what it does."""

    turns: int | None = None
    cost_usd: float | None = None
    line: str = ""
    is_lost: bool = False
    """It says that what it needs cannot be reached, and tries again."""
    is_stuck: bool = False
    """It does the same over and over."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (negative for a signal), and why we ended it, if we did.

    `started` is False when the shell could not even be started.
    """

    code: int | None
    seconds: float
    output: str
    stopped_for: Reason | None = None
    turns: int | None = None
    left_behind: bool = False
    trouble: str = ""
    """Why nobody knows that all of it is gone; it was then ended for reasons of infrastructure."""


class Stop:
    """Set when what runs should end: by itself, or with the one that it belongs to.

    No threading.Event: a second signal may come while the first one sets it, and would wait for
    ever for the lock that an Event takes.
    """

    def __init__(self, parent: Stop | None = None) -> None:
        self._is_set = self._is_hurried = False
        self._parent = parent

    def set(self, *, hurried: bool = False) -> None:
        """Let it end; soon, where it is `hurried`."""
        self._is_hurried |= hurried
        self._is_set = True

    @property
    def grace(self) -> float:
        """Return the seconds between asking a process to end and ending it."""
        is_hurried = self._is_hurried or (self._parent is not None and self._parent.grace < GRACE)
        return HURRIED if is_hurried else GRACE

    def is_set(self) -> bool:
        """Say whether it is to end."""
        return self._is_set or (self._parent is not None and self._parent.is_set())


def environment(
    inherited: Mapping[str, str], passed: Sequence[str], own: Mapping[str, str]
) -> dict[str, str]:
    """Return what a command sees: the allow-list, what the config passes on, and our own."""
    names = PASSED_ON | set(passed)
    chosen = {
        name: value
        for name, value in inherited.items()
        if name in names or name.startswith(("LC_", "COVERAGE_"))
    }
    return {
        **chosen,
        # No credential helper, askpass or agent socket, and nothing to push to.
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS": "false",
        "GIT_CONFIG_COUNT": "4",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": "",
        "GIT_CONFIG_KEY_1": "url.pushes-are-off-here:.pushInsteadOf",
        "GIT_CONFIG_VALUE_1": "",
        "GIT_CONFIG_KEY_2": "core.logAllRefUpdates",
        "GIT_CONFIG_VALUE_2": "always",
        "GIT_CONFIG_KEY_3": "gc.auto",
        "GIT_CONFIG_VALUE_3": "0",
        **own,
    }


def shell(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    mark: str,
    caps: Caps,
    stop: Stop,
    transcript: Path | None = None,
    progress: Path | None = None,
    on_progress: Callable[[str], None] | None = None,
    feed: Callable[[], bytes | None] | None = None,
    beat: Callable[[], None] | None = None,
) -> Ended:
    """Run one `sh -c` under the watchdog and return how it ended; nothing of it lives after.

    Standard output and error go to `transcript` (a temporary file when None), bounded by OUTPUT.
    `progress` is a file whose last line may say `3/10 what it is doing`.
    """
    return run(
        ["/bin/sh", "-c", command],
        cwd=cwd,
        env=env,
        mark=mark,
        caps=caps,
        stop=stop,
        transcript=transcript,
        look=None if progress is None else _Progress(progress).look,
        on_progress=on_progress,
        feed=feed,
        beat=beat,
    )


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    mark: str,
    caps: Caps,
    stop: Stop,
    stdin: Path | None = None,
    transcript: Path | None = None,
    hear: Callable[[str], Heard] | None = None,
    look: Callable[[], Heard | None] | None = None,
    on_progress: Callable[[str], None] | None = None,
    feed: Callable[[], bytes | None] | None = None,
    beat: Callable[[], None] | None = None,
) -> Ended:
    """Run a program under the watchdog and return how it ended; nothing of it lives after.

    It reads `stdin`, or nothing, or what `feed` returns every now and then until that is None;
    `beat` is called as often.  What it prints goes to `transcript` as in `shell`; `hear` gets
    each whole line of standard output, and `look` is asked now and then, for what they tell.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        if transcript is None:
            sink = stack.enter_context(tempfile.TemporaryFile())
        else:
            # What an agent prints may hold what only its owner should read.
            sink = stack.enter_context(open(transcript, "w+b", opener=_private))
        source, mouth = _source(stack, stdin, feed)
        reader, writer = os.pipe()
        # Where nobody listens, what is printed stays in the order in which it was printed.
        errors, aside = os.pipe() if hear is not None else (-1, writer)
        try:
            # Some take PWD for where they are, and would work in the person's own checkout.
            files = (source, writer, aside)
            child = _started(argv, cwd, {**env, "PWD": str(cwd)}, files, mark)
        except OSError as e:
            for fd in {reader, writer, errors, aside, mouth} - {-1}:
                os.close(fd)
            return Ended(None, 0, f"{argv[0]} cannot be started in {cwd}: {e.strerror}")
        stack.callback(child.done)
        for fd in {writer, aside}:
            os.close(fd)
        pump = _Pump(child, [fd for fd in (reader, errors) if fd >= 0], sink, hear)
        if feed is not None:
            os.close(source)
            pump.feed_by(mouth, feed)
        why = _watch(pump, caps, stop, began, look, on_progress, beat)
        if why is not None:
            child.ask()
            pump.wait(stop.grace)
        said = child.end()
        pump.finish(GRACE)
        if said is not None and said.error:
            why_not = os.strerror(said.error)
            return Ended(None, 0, f"{argv[0]} cannot be started in {cwd}: {why_not}")
        trouble = ""
        if said is None or not said.is_gone:
            why, trouble = Reason.INFRASTRUCTURE, CANNOT_END if said else REAPER_GONE
        code, is_left = (said.code, said.is_left) if said else (None, True)
        seconds, turns = time.monotonic() - began, pump.told.turns
        return Ended(code, seconds, pump.text(), why, turns, is_left, trouble)


def _source(
    stack: contextlib.ExitStack, stdin: Path | None, feed: Callable[[], bytes | None] | None
) -> tuple[int, int]:
    """Return what a command reads from, and where to write for it; -1 where that is not open."""
    if feed is None:
        return stack.enter_context(open(stdin or os.devnull, "rb")).fileno(), -1
    source, mouth = os.pipe()
    os.set_blocking(mouth, False)
    return source, mouth


class _Child(Protocol):
    """A command that was started."""

    @property
    def fd(self) -> int:
        """Return what can be read when it has ended; -1 where it has to be asked."""

    def has_ended(self) -> bool:
        """Say whether it has."""

    def ask(self) -> None:
        """Ask it, and all that it started, to end."""

    def end(self) -> Said | None:
        """End it, and all that it started; None when nobody can say what came of that."""

    def done(self) -> None:
        """Nobody looks at it any more."""


def _started(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], files: tuple[int, int, int], mark: str
) -> _Child:
    """Start a program with these three files; OSError when it cannot be."""
    while (reaper := REAPERS.take()) is not None:
        try:
            reaper.start(argv, cwd, env, files)
        except ConnectionError:
            reaper.done()  # somebody has just ended it
        else:
            return reaper
    before = present()
    source, out, errors = files
    process = subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=env,
        stdin=source,
        stdout=out,
        stderr=errors,
        start_new_session=True,
    )
    return _Marked(process, mark, before)


class _Marked:
    """A command that we started ourselves; what it started is known by its mark and its group."""

    def __init__(
        self, process: subprocess.Popen[bytes], mark: str, before: frozenset[tuple[str, int]]
    ) -> None:
        self._process, self._mark, self._before = process, mark, before
        self.fd = -1
        if sys.platform == "linux":
            # A process that ends is seen at once; elsewhere it is asked now and then.
            with contextlib.suppress(OSError, AttributeError):
                self.fd = os.pidfd_open(process.pid)

    def has_ended(self) -> bool:
        """Say whether it has."""
        return self._process.poll() is not None

    def ask(self) -> None:
        """Ask it, and all that it started, to end."""
        self._signal(signal.SIGTERM)
        for pid in marked(self._mark):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)

    def end(self) -> Said:
        """End it, and all that it started."""
        if not self.has_ended():
            self._signal(signal.SIGKILL)
        is_left = end_all(self._mark, self._process.pid, self._before)
        # One that became somebody else's (`exec sudo`) cannot be ended by us.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        return Said(self._process.returncode, is_left, True, 0)

    def done(self) -> None:
        """Nobody looks at it any more."""
        if self.fd >= 0:
            os.close(self.fd)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class _Progress:
    """A file to which a command appends what it is doing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = ""

    def look(self) -> Heard | None:
        """Return what the last line says, when it is another one than before."""
        line = _last_line(self._path)
        if line == self._said:
            return None
        self._said = line
        match = re.match(r"\s*(\d+)\s*/\s*\d+", line)
        return Heard(turns=int(match[1]) if match else None, line=line)


def _watch(
    pump: _Pump,
    caps: Caps,
    stop: Stop,
    began: float,
    look: Callable[[], Heard | None] | None,
    on_progress: Callable[[str], None] | None,
    beat: Callable[[], None] | None = None,
) -> Reason | None:
    """Return why the process must end now, or None when it ended by itself."""
    said = ""
    while True:
        pump.feed()
        if beat is not None:
            beat()
        done = pump.wait(FEED_TICK if pump.is_fed else TICK)
        news = look() if look is not None else None
        if news is not None:
            pump.take(news)
            pump.heard = time.monotonic()
        told = pump.told
        if told.line != said:
            said = told.line
            if on_progress is not None:
                on_progress(said)
        over = _over(told, pump.size, caps)
        if done or over is not None:
            return over
        now = time.monotonic()
        if stop.is_set():
            return Reason.STOPPED
        if now - began > caps.seconds:
            return Reason.TIMEOUT
        since = pump.lost_since
        if caps.lost is not None and since is not None and now - since > caps.lost:
            return Reason.INFRASTRUCTURE
        if caps.silence is not None and now - pump.heard > caps.silence:
            return Reason.STALLED


def _over(told: Heard, size: int, caps: Caps) -> Reason | None:
    """Return which cap was passed."""
    if caps.turns is not None and told.turns is not None and told.turns > caps.turns:
        return Reason.TURNS
    if caps.cost_usd is not None and told.cost_usd is not None and told.cost_usd > caps.cost_usd:
        return Reason.BUDGET
    if caps.output is not None and size > caps.output:
        return Reason.TOO_LARGE
    return Reason.STALLED if told.is_stuck else None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _last_line(path: Path) -> str:
    try:
        lines = read_plain(path, 4096, end=True).decode(errors="replace").splitlines()
    except OSError:
        return ""
    return tail(lines[-1], 1)[:200] if lines else ""


def read_plain(path: Path, most: int, *, end: bool = False) -> bytes:
    """Return the first bytes of a file that somebody else made, or the last.

    Raises OSError for anything but a plain file: to read from a pipe is to wait for ever.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        about = os.fstat(fd)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        if end:
            os.lseek(fd, max(0, about.st_size - most), os.SEEK_SET)
        data = more = os.read(fd, min(most, about.st_size + 1))
        while more and len(data) < most:
            more = os.read(fd, most - len(data))
            data += more
        return data
    finally:
        os.close(fd)


class _Pump:
    """Reads a command's output as fast as it comes, keeps a bounded part of it, and sees its end.

    It is no thread: whoever waits for the command reads for it.
    """

    def __init__(
        self,
        child: _Child,
        fds: Sequence[int],
        sink: object,
        hear: Callable[[str], Heard] | None,
    ) -> None:
        self._child = child
        self._fds = tuple(fds)
        self._sink = sink
        self._hear = hear
        self._line: bytearray | None = bytearray()
        self._head = 0
        self._tail = bytearray()
        self._dropped = 0
        self.size = 0
        self.told = Heard()
        self.lost_since: float | None = None
        self.heard = time.monotonic()
        self._events = selectors.DefaultSelector()
        for fd in fds:
            self._events.register(fd, selectors.EVENT_READ)
        self._mouth = -1
        self._feed: Callable[[], bytes | None] | None = None
        self._unwritten = bytearray()
        self._life = child.fd
        if self._life >= 0:
            self._events.register(self._life, selectors.EVENT_READ)

    def feed_by(self, mouth: int, feed: Callable[[], bytes | None]) -> None:
        """Write what a function returns to the command, until that is None."""
        self._mouth, self._feed = mouth, feed

    @property
    def is_fed(self) -> bool:
        """Say whether there may be more to write."""
        return self._mouth >= 0

    def feed(self) -> None:
        """Ask for what is to be written now, and write as much of it as the command takes."""
        if self._feed is None or self._mouth < 0:
            return
        more = self._feed()
        if more is None:
            self._close_mouth()
        elif more:
            self._unwritten += more
            self._speak()

    def _speak(self) -> None:
        try:
            del self._unwritten[: os.write(self._mouth, self._unwritten)]
        except BlockingIOError:
            pass
        except OSError:  # it reads no more
            self._close_mouth()
            return
        is_listed = self._mouth in self._events.get_map()
        if self._unwritten and not is_listed:
            self._events.register(self._mouth, selectors.EVENT_WRITE)
        elif not self._unwritten and is_listed:
            self._events.unregister(self._mouth)

    def _close_mouth(self) -> None:
        if self._mouth < 0:
            return
        if self._mouth in self._events.get_map():
            self._events.unregister(self._mouth)
        os.close(self._mouth)
        self._mouth = -1
        self._unwritten.clear()

    def wait(self, seconds: float) -> bool:
        """Read until there is news, or for so long at most, or until the command has ended.

        Says whether it has.
        """
        until, before = time.monotonic() + seconds, self.told
        pause = seconds if self._life >= 0 else 0.001
        while not self._child.has_ended():
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._read(min(left, pause))
            if self.told is not before:
                return False
            pause = min(pause * 2, 0.05) if self._life < 0 else pause
        return True

    def finish(self, seconds: float) -> None:
        """Read what is left, for so long at most: somebody else may hold the other end open."""
        self._close_mouth()
        if self._life >= 0:
            self._events.unregister(self._life)
        until = time.monotonic() + seconds
        while self._events.get_map() and time.monotonic() < until:
            self._read(max(0.0, until - time.monotonic()))
        self._events.close()
        for fd in self._fds:
            os.close(fd)
        if self._line:
            self._listen(b"\n")
        room = OUTPUT - self._head
        self._dropped += max(0, len(self._tail) - room)
        del self._tail[:-room]
        if self._dropped:
            self._write(b"\n[... %d bytes left out ...]\n" % self._dropped)
        self._write(bytes(self._tail))

    def take(self, news: Heard) -> None:
        """Note what the command tells of itself; what it does not tell now is as it was."""
        self.told = Heard(
            turns=self.told.turns if news.turns is None else news.turns,
            cost_usd=self.told.cost_usd if news.cost_usd is None else news.cost_usd,
            line=news.line or self.told.line,
            is_stuck=self.told.is_stuck or news.is_stuck,
        )
        if not news.is_lost:
            self.lost_since = None
        elif self.lost_since is None:
            self.lost_since = time.monotonic()

    def _read(self, seconds: float) -> None:
        ready = [key.fd for key, _ in self._events.select(seconds)]
        if self._mouth in ready:
            self._speak()
        for fd in self._fds:
            if fd in ready:
                self._read_from(fd)

    def _read_from(self, fd: int) -> None:
        data = os.read(fd, 65536)
        if not data:
            self._events.unregister(fd)
            return
        self.heard = time.monotonic()
        self.size += len(data)
        if self._hear is not None and fd == self._fds[0]:
            self._listen(data)
        room = OUTPUT // 2 - self._head
        if room > 0:
            self._write(data[:room])
            self._head += min(room, len(data))
            data = data[room:]
        self._tail += data
        if len(self._tail) > OUTPUT:
            self._dropped += len(self._tail) - OUTPUT // 2
            del self._tail[: -OUTPUT // 2]

    def _listen(self, data: bytes) -> None:
        """Hand on the whole lines; one that is too long is let go of up to its end."""
        assert self._hear is not None
        *whole, rest = data.split(b"\n")
        for part in whole:
            if self._line is not None:
                self.take(self._hear((self._line + part).decode(errors="replace")))
            self._line = bytearray()
        if self._line is not None:
            self._line += rest
            if len(self._line) > LINE:
                self._line = None

    def _write(self, data: bytes) -> None:
        # A full disk must not block the agent; what it said is then lost, what it did is not.
        with contextlib.suppress(OSError):
            self._sink.write(data)  # type: ignore[attr-defined]
            self._sink.flush()  # type: ignore[attr-defined]

    def text(self) -> str:
        """Return what was kept, as text."""
        try:
            self._sink.seek(0)  # type: ignore[attr-defined]
            return str(self._sink.read().decode(errors="replace"))  # type: ignore[attr-defined]
        except (OSError, ValueError):
            return ""


def tail(output: str, lines: int = TAIL) -> str:
    """Return the last lines of an output, control characters taken out."""
    clean = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", output)
    clean = re.sub(r"[^\n\t\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", clean)
    return "\n".join(line[:500] for line in clean.rstrip().splitlines()[-lines:])


def ran(kind: str, command: str, ended: Ended) -> Ran:
    """Return a command's end as evidence."""
    return Ran.model_validate(
        {
            "command": command,
            "kind": kind,
            "code": None if ended.stopped_for else ended.code,
            "seconds": round(ended.seconds, 3),
            "tail": tail(f"{ended.output}\n{ended.trouble}"),
        }
    )


__all__ = [
    "REAPERS",
    "Caps",
    "Ended",
    "Heard",
    "Stop",
    "boot_id",
    "end_all",
    "environment",
    "inside",
    "is_alive",
    "is_ours",
    "lease_is_lost",
    "marked",
    "new_lease",
    "own_start",
    "present",
    "process_started",
    "ran",
    "read_plain",
    "run",
    "shell",
    "tail",
]
