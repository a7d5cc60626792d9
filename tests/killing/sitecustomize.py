"""Imported by Python itself: ends the process, as a kill does, at one point of its work.

With `KILL_HOW=full` it goes on instead, and from that point on the disk is full.

Points are what the tool does to the world below a folder: a file opened for writing, made, moved or
removed there, and a process started.
`KILL_BELOW` is that folder, `KILL_AT` the number of the point (from 1; 0 only counts), `KILL_COUNT`
a file that gets the number of points when the process ends by itself.
"""

import atexit
import errno
import os
import signal
import sys
import threading

_below = os.environ.pop("KILL_BELOW", "")
_at = int(os.environ.pop("KILL_AT", "0"))
_count = os.environ.pop("KILL_COUNT", "")
_is_disk = os.environ.pop("KILL_HOW", "") == "full"
_writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_points = 0
_lock = threading.Lock()
_own = os.getpid()


def _passed(path: object = None) -> None:
    """Count a point; `path` is what would need room on the disk."""
    global _points
    if os.getpid() != _own:
        return
    with _lock:
        _points += 1
        if _points == _at and not _is_disk:
            os.kill(_own, signal.SIGKILL)
        if _is_disk and path is not None and 0 < _at <= _points:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _is_below(path: object) -> bool:
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(_below)


def _look(event: str, args: tuple[object, ...]) -> None:
    if event == "open":
        path, _, flags = args
        # An object counts once, when it gets its name.
        is_part = isinstance(path, str) and "/tmp_obj_" in path and not _is_disk
        if isinstance(flags, int) and flags & _writing and _is_below(path) and not is_part:
            _passed(path)
    elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"):
        if _is_below(args[0]) and not (event == "os.mkdir" and "/objects/" in str(args[0])):
            _passed(args[0] if event == "os.mkdir" else None)
    elif event in ("subprocess.Popen", "os.truncate"):
        _passed()


def _tell() -> None:
    with open(_count, "w") as file:
        file.write(str(_points))


if _below:
    sys.addaudithook(_look)
    if _count:
        atexit.register(_tell)
