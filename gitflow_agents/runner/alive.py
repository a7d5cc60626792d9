"""Who is alive: processes by their number and start, leases, and what carries a mark."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

from gitflow_agents.models import Lease

ENVIRON = 16 * 1024
"""Bytes of a process's environment that are read at a time."""


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
