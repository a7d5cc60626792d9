"""The reapers of this process: which of them runs the next command, and what it said of the last.

`reaper` is the program.  It is started when the first command is, and lives as long as we do.
Where a system has no reapers there are none, and commands are found by their mark.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import marshal
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gitflow_agents.runner import reaper

MOST_IDLE = 16
"""Reapers that are kept when they have nothing to do."""
PATIENCE = 20.0
"""Seconds for which a reaper is waited for; after that another one is started."""
TRIES = 3
"""Times that a reaper is started where somebody ends it."""
PROGRAM = Path(reaper.__file__)


class Said(NamedTuple):
    """What a reaper says of a command: its exit code, and what came of all that it started.

    `error` is the system's number for why it could not be started, or 0.
    """

    code: int | None
    is_left: bool
    is_gone: bool
    error: int


class Reaper:
    """A process that runs one command at a time."""

    def __init__(self, sock: socket.socket, pid: int, pool: Reapers) -> None:
        self._sock, self._pid, self._pool = sock, pid, pool
        self.said: Said | None = None
        self._is_busy = self._was_told = False
        self.is_lost = False
        """It ended without a word, and nobody knows what became of the command."""

    @property
    def fd(self) -> int:
        """Return what can be read when the command has ended."""
        return self._sock.fileno()

    def start(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], fds: Sequence[int]
    ) -> None:
        """Let it run a command with these three files; OSError when it has died meanwhile."""
        words = [os.fsencode(word) for word in argv]
        variables = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
        data = marshal.dumps((words, os.fsencode(cwd), variables, _umask()))
        data = len(data).to_bytes(reaper.HEAD, "big") + data
        self._is_busy = True
        sent = socket.send_fds(self._sock, [data], list(fds))
        self._sock.sendall(data[sent:])

    def has_ended(self) -> bool:
        """Say whether the command, and all that it started, has ended."""
        if self.said is None and not self.is_lost:
            with contextlib.suppress(BlockingIOError):
                self._hear(socket.MSG_DONTWAIT)
        return self.said is not None or self.is_lost

    def ask(self) -> None:
        """Ask the command, and all that it started, to end."""
        self._tell(reaper.ASK)

    def end(self) -> Said | None:
        """End the command and return what is said of it; None when its reaper is gone."""
        if not self.has_ended():
            self._tell(reaper.END)
            # It may take its time twice: for the command, and for the rest.
            self._sock.settimeout(3 * reaper.PATIENCE)
            try:
                self._hear(0)
            except TimeoutError:
                # Somebody has suspended it; the first one ends what it leaves.
                os.kill(self._pid, signal.SIGKILL)
                self.is_lost = True
            self._sock.settimeout(None)
        return self.said

    def done(self) -> None:
        """Let it run something else, or go when it cannot; then it ends what it has."""
        self._pool.give(self)

    def is_free(self) -> bool:
        """Say whether it can run another command: of the last one nothing is left, no word either.

        What it was told when the command had just ended it would take for the next one.
        """
        self._is_busy &= self.said is None or not self.said.is_gone
        self.said = None
        return not (self._is_busy or self._was_told or self.is_lost)

    def close(self) -> None:
        """Let it go."""
        self._sock.close()

    def _hear(self, flags: int) -> None:
        try:
            data = self._sock.recv(256, flags)
        except ConnectionError:
            data = b""
        self.is_lost = not data
        self.said = Said(*marshal.loads(data)) if data else None

    def _tell(self, word: bytes) -> None:
        self._was_told = True
        with contextlib.suppress(OSError):
            self._sock.send(word)


class Reapers:
    """Those that have nothing to do, and the one that forks them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Reaper] = []
        self._home: socket.socket | None = None
        self._first = 0
        self._are_any = sys.platform == "linux" and bool(sys.executable) and PROGRAM.is_file()

    def take(self) -> Reaper | None:
        """Return a reaper for one command, None where the system has none.

        Raises OSError when it has them, and none can be had.
        """
        with self._lock:
            while self._idle:
                found = self._idle.pop()
                if not found.has_ended():
                    return found
                found.close()
            return self._new() if self._are_any else None

    def give(self, found: Reaper) -> None:
        """Take a reaper back, if it can go on."""
        with self._lock:
            if found.is_free() and len(self._idle) < MOST_IDLE:
                self._idle.append(found)
            else:
                found.close()

    def _new(self) -> Reaper | None:
        for _ in range(TRIES):
            ours, other = socket.socketpair()
            with contextlib.suppress(OSError):
                with other:
                    socket.send_fds(self._parent(), [b"."], [other.fileno()])
                ours.settimeout(PATIENCE)
                word = ours.recv(32)
                ours.settimeout(None)
                if word.startswith(reaper.READY):
                    return Reaper(ours, int(word[1:]), self)
                self._are_any = not word.startswith(reaper.UNABLE)
            ours.close()
            if not self._are_any:
                return None
            # Somebody has ended the one that forks them.
            self._close()
        raise OSError(errno.ECHILD, "what ends its processes cannot be started")

    def close(self) -> None:
        """Let all go that have nothing to do, and the first one."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
            self._close()

    def _close(self) -> None:
        if self._home is not None:
            self._home.close()
        self._home = None

    def _parent(self) -> socket.socket:
        if self._home is None:
            ours, other = socket.socketpair()
            with other:
                if self._first:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(self._first, os.WNOHANG)
                other.set_inheritable(True)
                words = [sys.executable, "-I", "-S", str(PROGRAM), str(other.fileno())]
                quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
                self._first = os.posix_spawn(sys.executable, words, os.environ, file_actions=quiet)
            self._home = ours
        return self._home


def _umask() -> int:
    """Return our umask, which cannot be asked for but by another one; -1 where it is not told."""
    with contextlib.suppress(OSError, ValueError):
        status = Path("/proc/self/status").read_bytes()
        return int(status.partition(b"\nUmask:")[2].split(b"\n", 1)[0], 8)
    return -1


REAPERS = Reapers()
atexit.register(REAPERS.close)
