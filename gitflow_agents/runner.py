"""Processes: how a command is started, watched, and surely ended.

A command runs in its own process group with an environment that we chose.  Everything that it
started carries the claim's nonce in its environment, so at the end all of it can be found and
ended, also what left the group.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import selectors
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gitflow_agents.models import Lease, Ran, Reason

GRACE = 5.0
"""Seconds between asking a process to end and ending it."""
TICK = 0.5
"""Seconds between two looks of the watchdog."""
ENVIRON = 16 * 1024
"""Bytes of a process's environment that are read at a time."""
OUTPUT = 8 * 1024 * 1024
"""Bytes of a command's output that are kept: the first half and the last half."""
TAIL = 20
"""Lines of output that go into a report."""

PASSED_ON = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM TMPDIR TEMP TMP PWD "
    "VIRTUAL_ENV PYENV_ROOT PYENV_VERSION CONDA_PREFIX JAVA_HOME GOPATH GOROOT GOCACHE GOFLAGS "
    "GOPROXY CARGO_HOME RUSTUP_HOME NVM_DIR NODE_PATH NPM_CONFIG_CACHE PIP_CACHE_DIR "
    "PIP_INDEX_URL PIP_CONFIG_FILE UV_CACHE_DIR XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME "
    "XDG_RUNTIME_DIR SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS "
    "HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy".split()
)
"""Variables that reach a command; tokens and agent sockets are not among them."""


# --- who is alive ---------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return what tells this boot of this machine from any other, as well as the system knows."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    said = subprocess.run(
        ["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False
    ).stdout
    return re.sub(r"\D+", "-", said).strip("-") or "unknown"


def process_started(pid: int) -> int:
    """Return when a process started, in a unit of the system's own, or 0 when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        if sys.platform == "linux":
            return 0
        said = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, check=False
        ).stdout.strip()
        return int.from_bytes(said[-12:]) if said else 0
    except OSError:
        return 0
    # The name may hold spaces and brackets; the fields behind it do not.
    fields = stat.rpartition(b")")[2].split()
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


@lru_cache(maxsize=1)
def own_start(pid: int) -> int:
    """Return when this process, whose `pid` it is, started: asked often, and never another."""
    return process_started(pid)


def is_alive(pid: int, started: int | None = None) -> bool:
    """Say whether a process lives; with `started`, whether it is still the same one."""
    now = process_started(pid)
    return now != 0 and (started is None or now == started)


def new_lease(until: float) -> Lease:
    """Return a lease of this very process."""
    pid = os.getpid()
    return Lease(
        host=socket.gethostname(),
        boot=boot_id(),
        pid=pid,
        pid_started=own_start(pid),
        until=until,
    )


def is_ours(lease: Lease) -> bool:
    """Say whether a lease is held by this very process."""
    mine = new_lease(0)
    return lease.model_copy(update={"until": mine.until}) == mine


def lease_is_lost(lease: Lease, now: float) -> bool:
    """Say whether nobody works under a lease any more: looked up here, waited for elsewhere."""
    if lease.host != socket.gethostname():
        return now > lease.until
    return lease.boot != boot_id() or not is_alive(lease.pid, lease.pid_started)


_BARE: set[str] = set()
"""Processes that have no environment, and were given the time to show one."""


def present() -> frozenset[tuple[str, int]]:
    """Return the processes that there are: what is named here, no later process is called."""
    try:
        with os.scandir("/proc") as entries:
            # A process that gets the number of a former one is another file.
            return frozenset((e.name, e.inode()) for e in entries if e.name.isdigit())
    except OSError:
        return frozenset()


def marked(mark: str, before: frozenset[tuple[str, int]] = frozenset()) -> list[int]:
    """Return the processes whose environment holds `mark` (`NAME=value`), zombies left out.

    Those of `before` are not looked at: they were there before anything got the mark.
    """
    found: list[int] = []
    wanted, own = mark.encode(), str(os.getpid())
    names = [name for name, _ in present() - before if name != own]
    for _ in range(100):
        late = []
        for name in names:
            environ = _environ(name)
            if environ is None:
                continue
            if wanted in environ and wanted in environ.split(b"\0"):
                found.append(int(name))
            elif not environ and name not in _BARE and os.path.exists(f"/proc/{name}/exe"):
                late.append(name)
        if not late:
            return found
        # In the midst of an exec a process shows no environment; a moment later it does.
        names = late
        time.sleep(0.001)
    _BARE.update(names)
    return found


def _environ(name: str) -> bytes | None:
    """Return the environment of a process; None when it is gone or somebody else's."""
    try:
        fd = os.open(f"/proc/{name}/environ", os.O_RDONLY)
    except OSError:
        return None
    try:
        # Room for the usual one: asking the system for a large block takes longer than to read.
        environ = more = os.read(fd, ENVIRON)
        while len(more) == ENVIRON:
            more = os.read(fd, ENVIRON)
            environ += more
    except OSError:
        return None
    finally:
        os.close(fd)
    return environ


def inside(folder: Path) -> list[int]:
    """Return the processes whose working directory is a folder or below it."""
    found: list[int] = []
    top = os.path.realpath(folder)
    with contextlib.suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                where = os.readlink(f"/proc/{name}/cwd")
                if where == top or where.startswith(top + os.sep):
                    found.append(int(name))
    return found


def end_all(
    mark: str, group: int | None = None, before: frozenset[tuple[str, int]] = frozenset()
) -> bool:
    """End every process that carries `mark` and its group; say whether there was any."""
    any_left = False
    for _ in range(50):
        left = marked(mark, before)
        if not left:
            break
        any_left = True
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    if group is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    return any_left


# --- running --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Caps:
    """What a command may use: seconds in all, seconds of silence, turns."""

    seconds: float
    silence: float | None = None
    turns: int | None = None


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


class Stop:
    """Set when what runs should end: by itself, or with the one that it belongs to.

    No threading.Event: a second signal may come while the first one sets it, and would wait for
    ever for the lock that an Event takes.
    """

    def __init__(self, parent: Stop | None = None) -> None:
        self._is_set = False
        self._parent = parent

    def set(self) -> None:
        """Let it end."""
        self._is_set = True

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
) -> Ended:
    """Run one `sh -c` under the watchdog and return how it ended; nothing of it lives after.

    Standard output and error go to `transcript` (a temporary file when None), bounded by OUTPUT.
    `progress` is a file whose last line may say `3/10 what it is doing`.
    """
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        if transcript is None:
            sink = stack.enter_context(tempfile.TemporaryFile())
        else:
            sink = stack.enter_context(open(transcript, "w+b"))
        reader, writer = os.pipe()
        before = present()
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                start_new_session=True,
            )
        except OSError as e:
            os.close(reader)
            os.close(writer)
            return Ended(None, 0, f"/bin/sh cannot be started in {cwd}: {e.strerror}")
        os.close(writer)
        pump = _Pump(process, reader, sink)
        why, turns = _watch(pump, caps, stop, began, progress, on_progress)
        if why is not None:
            _end(process, pump, mark)
        left = end_all(mark, process.pid, before)
        # One that became somebody else's (`exec sudo`) cannot be ended by us.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        pump.finish(GRACE)
        code: int | None = process.returncode
        if code == 126 or code == 127:
            pass  # kept: the caller tells "could not start" from "failed"
        return Ended(code, time.monotonic() - began, pump.text(), why, turns, left)


def _watch(
    pump: _Pump,
    caps: Caps,
    stop: Stop,
    began: float,
    progress: Path | None,
    on_progress: Callable[[str], None] | None,
) -> tuple[Reason | None, int | None]:
    """Return why the process must end now, or None when it ended by itself; and its turns."""
    said, turns = "", None
    while True:
        done = pump.wait(TICK)
        if progress is not None:
            line = _last_line(progress)
            if line != said:
                said = line
                pump.heard = time.monotonic()
                match = re.match(r"\s*(\d+)\s*/\s*\d+", line)
                turns = int(match[1]) if match else turns
                if on_progress is not None:
                    on_progress(line)
        over = caps.turns is not None and turns is not None and turns > caps.turns
        if done:
            return (Reason.TURNS if over else None), turns
        now = time.monotonic()
        if stop.is_set():
            return Reason.STOPPED, turns
        if now - began > caps.seconds:
            return Reason.TIMEOUT, turns
        if caps.silence is not None and now - pump.heard > caps.silence:
            return Reason.STALLED, turns
        if over:
            return Reason.TURNS, turns


def _end(process: subprocess.Popen[bytes], pump: _Pump, mark: str) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    pump.wait(GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


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

    def __init__(self, process: subprocess.Popen[bytes], fd: int, sink: object) -> None:
        self._process = process
        self._fd = fd
        self._sink = sink
        self._head = 0
        self._tail = bytearray()
        self._dropped = 0
        self.heard = time.monotonic()
        self._events = selectors.DefaultSelector()
        self._events.register(fd, selectors.EVENT_READ)
        self._life = -1
        if sys.platform == "linux":
            # A process that ends is seen at once; elsewhere it is asked now and then.
            with contextlib.suppress(OSError, AttributeError):
                self._life = os.pidfd_open(process.pid)
                self._events.register(self._life, selectors.EVENT_READ)

    def wait(self, seconds: float) -> bool:
        """Read for so long at most, or until the command has ended; say whether it has."""
        until = time.monotonic() + seconds
        pause = seconds if self._life >= 0 else 0.001
        while self._process.poll() is None:
            left = until - time.monotonic()
            if left <= 0:
                return False
            self._read(min(left, pause))
            pause = min(pause * 2, 0.05) if self._life < 0 else pause
        return True

    def finish(self, seconds: float) -> None:
        """Read what is left, for so long at most: somebody else may hold the other end open."""
        if self._life >= 0:
            self._events.unregister(self._life)
            os.close(self._life)
        until = time.monotonic() + seconds
        while self._events.get_map() and time.monotonic() < until:
            self._read(max(0.0, until - time.monotonic()))
        self._events.close()
        os.close(self._fd)
        room = OUTPUT - self._head
        self._dropped += max(0, len(self._tail) - room)
        del self._tail[:-room]
        if self._dropped:
            self._write(b"\n[... %d bytes left out ...]\n" % self._dropped)
        self._write(bytes(self._tail))

    def _read(self, seconds: float) -> None:
        if self._fd not in [key.fd for key, _ in self._events.select(seconds)]:
            return
        data = os.read(self._fd, 65536)
        if not data:
            self._events.unregister(self._fd)
            return
        self.heard = time.monotonic()
        room = OUTPUT // 2 - self._head
        if room > 0:
            self._write(data[:room])
            self._head += min(room, len(data))
            data = data[room:]
        self._tail += data
        if len(self._tail) > OUTPUT:
            self._dropped += len(self._tail) - OUTPUT // 2
            del self._tail[: -OUTPUT // 2]

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
            "tail": tail(ended.output),
        }
    )
