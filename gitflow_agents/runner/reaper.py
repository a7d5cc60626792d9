"""A program of its own, under which commands run so that nothing which they start outlives them.

A process can clear its environment, and leave its group, its session and its parent; but where its
parent has died it becomes the child of the next reaper above it, and of that there is one for each
command at a time.  So when a command has ended, a reaper ends its children until it has none.

The first reaper is started by whoever runs commands, and forks the others.  It imports little and
has one thread: to fork it is cheap and allowed, which it is not of a process with threads.  When
whoever started it is gone, each reaper ends what it has and goes too.
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
import time

ASK, END = b"t", b"k"
"""What a reaper is told while a command runs: to ask all of it to end, and to end it."""
READY, UNABLE = b"+", b"-"
"""What a reaper says first, and then its number: whether this system lets it be one."""
PATIENCE = 5.0
"""Seconds after which a reaper says that something cannot be ended."""
HEAD = 8
"""Bytes that hold the length of what is said."""
_PR_SET_CHILD_SUBREAPER = 36


def adopt() -> bool:
    """Become the parent of all below that loses its own; say whether this system can do that."""
    import ctypes  # whoever imports this module for its words needs none

    if not os.access("/proc/self/stat", os.R_OK):
        return False
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


class Bell:
    """Rings when a child has ended."""

    def __init__(self) -> None:
        self.fd, other = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(other, False)
        signal.set_wakeup_fd(other, warn_on_full_buffer=False)
        # A handler, and not to be ignored: that a command would inherit.
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)

    def wait(self, sock: socket.socket | None, seconds: float | None = None) -> bool:
        """Wait until it rings or something is said; say whether something is."""
        events = select.poll()
        events.register(self.fd, select.POLLIN)
        if sock is not None:
            events.register(sock, select.POLLIN)
        ready = [fd for fd, _ in events.poll(None if seconds is None else seconds * 1000)]
        if self.fd in ready:
            os.read(self.fd, 4096)
        return sock is not None and sock.fileno() in ready


def buried() -> dict[int, int] | None:
    """Return the children that have ended, with how; None when there are no children at all."""
    found: dict[int, int] = {}
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return found
            found[pid] = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return found or None


def processes() -> dict[int, tuple[int, bool]]:
    """Return the parent of each process, and whether it lives: what is just ending does not."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                # The name may hold spaces and brackets; the fields behind it do not.
                fields = file.read(4096).rpartition(b")")[2].split()
        except OSError:
            continue
        # One that is about to end has no memory any more; one whose first thread has ended, others.
        is_over = fields[0] in (b"Z", b"X") or fields[20] == b"0"
        found[int(name)] = int(fields[1]), not is_over or fields[17] not in (b"0", b"1")
    return found


def signal_to(pids: list[int], number: int) -> None:
    """Send a signal to each of these processes that is there and may be sent one."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def ask_all() -> None:
    """Ask all below to end."""
    there = processes()
    below = {os.getpid()}
    while more := {pid for pid, (parent, _) in there.items() if parent in below} - below:
        below |= more
    signal_to(sorted(below - {os.getpid()}), signal.SIGTERM)


def end_all(bell: Bell, seconds: float, spared: set[int] | None = None) -> tuple[bool, bool]:
    """End all below; say whether anything lived, and whether it is all gone.

    Only our own children are ended, for as long as there are any: no other process can have been
    given the number of one, and whatever they leave becomes our child.
    """
    any_left, until, pause = False, time.monotonic() + seconds, 0.005
    while buried() is not None:
        me = os.getpid()
        left = {pid: lives for pid, (parent, lives) in processes().items() if parent == me}
        for pid in spared or ():
            left.pop(pid, None)
        if spared is not None and not left:
            break
        any_left |= any(left.values())
        signal_to(list(left), signal.SIGKILL)
        if time.monotonic() > until:
            return any_left, False
        # What is ended rings; what cannot be may stay for hours.
        bell.wait(None, pause)
        pause = min(2 * pause, 1.0)
    return any_left, True


def received(sock: socket.socket) -> tuple[tuple[object, ...], list[int]] | None:
    """Return what we are told to run, and its three files; None when nobody is there any more."""
    data, fds, _, _ = socket.recv_fds(sock, 65536, 3)
    while data and (len(data) < HEAD or len(data) < HEAD + int.from_bytes(data[:HEAD], "big")):
        more = sock.recv(65536)
        data = data + more if more else b""
    return (marshal.loads(data[HEAD:]), fds) if data else None


def attend(pid: int, sock: socket.socket, bell: Bell) -> tuple[int | None, bool]:
    """Return the exit code of a command that is over, and whether somebody waits for it."""
    while True:
        ended = buried() or {}
        if pid in ended:
            return ended[pid], True
        if bell.wait(sock):
            word = b""
            with contextlib.suppress(ConnectionError):
                word = sock.recv(1)
            if word != ASK:
                return None, word == END
            ask_all()


def ended(pid: int, sock: socket.socket, bell: Bell) -> tuple[int | None, bool, bool, bool]:
    """Return a command's code, whether it left anything, if that is gone, and if anybody waits."""
    code, is_waited_for = attend(pid, sock, bell)
    if code is None:
        signal_to([pid], signal.SIGKILL)
        until = time.monotonic() + PATIENCE
        while code is None and time.monotonic() < until:
            code = (buried() or {}).get(pid)
            if code is None:
                bell.wait(None, 0.01)
    left, is_gone = end_all(bell, PATIENCE)
    return code, left, is_gone, is_waited_for


def serve(sock: socket.socket) -> None:
    """Run one command after the other, and end all that each of them started."""
    bell, can_adopt = Bell(), adopt()
    sock.sendall(b"%s%d" % (READY if can_adopt else UNABLE, os.getpid()))
    while can_adopt and (order := received(sock)) is not None:
        (argv, cwd, env, umask), fds = order
        try:
            process = subprocess.Popen(
                argv,  # type: ignore[call-overload]
                cwd=cwd,
                env=env,
                stdin=fds[0],
                stdout=fds[1],
                stderr=fds[2],
                start_new_session=True,
                umask=umask,
            )
        except OSError as e:
            code, left, why = None, False, e.errno or errno.EIO
            is_gone = is_waited_for = True
        else:
            for fd in fds:
                os.close(fd)
            fds = []
            code, left, is_gone, is_waited_for = ended(process.pid, sock, bell)
            process.returncode = -1  # it has been waited for
            why = 0
        for fd in fds:
            os.close(fd)
        if is_waited_for:
            try:
                sock.sendall(marshal.dumps((code, left, is_gone, why)))
            except OSError:
                is_waited_for = False
        if not is_gone:
            while not end_all(bell, PATIENCE)[1]:
                pass
        if not (is_gone and is_waited_for):
            return


def main(fd: int) -> None:
    """Fork a reaper for each socket that comes, until none can and those that came are gone."""
    adopt()
    # It stands in no folder of anybody, and what a terminal says to us is not meant for it.
    os.chdir("/")
    os.setsid()
    home: socket.socket | None = socket.socket(fileno=fd)
    bell, reapers = Bell(), set[int]()
    while home is not None or reapers:
        is_said = bell.wait(home)
        found = buried() or {}
        if any(code or pid not in reapers for pid, code in found.items()):
            # Somebody has ended a reaper, and what it watched over is ours now.
            end_all(bell, PATIENCE, reapers)
        reapers -= found.keys()
        if home is None or not is_said:
            continue
        data, fds, _, _ = socket.recv_fds(home, 1, 1)
        if not data:
            home.close()
            home = None
            continue
        pid = os.fork()
        if pid == 0:
            home.close()
            code = 1
            try:
                serve(socket.socket(fileno=fds[0]))
                code = 0
            finally:
                os._exit(code)
        reapers.add(pid)
        os.close(fds[0])


if __name__ == "__main__":
    main(int(sys.argv[1]))
