"""How refs move: all of one decision together, under the lock, each with the value it replaces.

git's own transaction of several refs can be cut in the middle by a kill, so every move first writes
down what it intends.  Whoever takes the lock next completes what was begun, or drops what was not,
before it looks at anything.
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gitflow_agents.errors import MAKE_ROOM, FlowError, GitFailed, LostRace, is_full
from gitflow_agents.models import LOCAL, ZERO
from gitflow_agents.runner import is_alive, own_start
from gitflow_agents.store.reffiles import read_small
from gitflow_agents.store.repository import Repository

_MOVE = r"refs/(?:heads|gitflow)/(?!.*\.\.)[^\x00-\x20\x7f~^:?*\[\\]+ [0-9a-f]{40} [0-9a-f]{40}"
"""A move as an intent holds it: a ref's name, what it was, what it shall be."""
PATIENCE = 5.0
"""Seconds to wait for a lock of somebody else's git, or for a dead run's git to end."""
LOCK_PATIENCE = 300.0
"""Seconds to wait for another run's decision; one that was suspended in it holds it for ever."""
BEAT = 2.0
"""Seconds between two looks at what others did."""
LOOK = 0.1
"""Seconds between two looks whether a wait for the lock has been long enough."""


Move = tuple[str, str, str]
"""A ref's name, what it was, and what it shall be; ZERO stands for "is not there"."""


class RefRefused(FlowError):
    """A ref that git will not make, such as `a/b` where `a` exists."""


class CheckedOut(FlowError):
    """A branch that a worktree has checked out; it is never moved under anybody's feet."""


class Refs:
    """The refs of one repository: `lock()` for a decision, `move()` for its outcome."""

    name = LOCAL
    """The authority that these refs are of: this repository, or the name of a remote."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.folder = repository.common / "gitflow-agents"
        self._place = self.folder
        self._mutex = threading.RLock()
        self._depth = 0
        self._lock_fd = -1
        self._intent_fd = -1
        self._partner: Any = None
        self.on_move: Callable[[list[tuple[str, str, str]]], None] | None = None
        self.is_hurried: Callable[[], bool] = lambda: False
        """Says whether somebody wants us to end, so that nothing is waited for at length."""

    # --- reading ----------------------------------------------------------------------------------

    @property
    def beat(self) -> float:
        """Return the seconds after which to look again when nothing happened here."""
        return BEAT

    @property
    def is_local(self) -> bool:
        """Say whether the branches of this very repository decide."""
        return self.name == LOCAL

    def refresh(self, *, force: bool = False) -> None:
        """Bring what is known of the refs up to date; here they are read where they are."""

    def include(self, *branches: str) -> None:
        """Read these branches too: a plan's flow and its base."""

    def resolve(self, ref: str) -> str | None:
        """Return what a ref names now, or None."""
        return self.repository.resolve(ref)

    def tip(self, branch: str) -> str | None:
        """Return the commit that a branch points at now, or None."""
        return self.resolve(f"refs/heads/{branch}")

    def tips(self, *prefixes: str) -> dict[str, str]:
        """Return every ref below the prefixes (`refs/heads/task/`) with its sha."""
        return self.repository.tips(*prefixes)

    def everything(self) -> dict[str, str]:
        """Return all branches with their shas, those of other plans and of people too."""
        return self.tips("refs/heads/")

    def checkouts(self) -> dict[str, Path]:
        """Return the local branches that worktrees have checked out, with where."""
        return self.heads()

    def unsent(self) -> dict[tuple[str, int], str]:
        """Return the results that wait to be moved: (task, attempt) and the commit; none here."""
        return {}

    def known_as(self, ref: str) -> str:
        """Return the name under which git knows a ref here."""
        return ref

    # --- the lock ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the repository's lock: no other run decides or moves anything meanwhile."""
        with self._mutex:
            if self._depth == 0:
                self._acquire()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    fcntl.flock(self._lock_fd, fcntl.LOCK_UN)

    def _acquire(self) -> None:
        if self._lock_fd < 0:
            try:
                self._place.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                self._intent_fd = os.open(self._place / "intent.json", flags, 0o644)
                self._lock_fd = os.open(self._place / "lock", flags, 0o644)
            except OSError as e:
                raise GitFailed(
                    f"{self._place} cannot be written: {e.strerror}",
                    hint=MAKE_ROOM if is_full(e) else "the repository must be writable by you",
                ) from e
        self._take_lock()
        try:
            self._recover()
        except BaseException:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
            raise

    def _take_lock(self) -> None:
        """Take the lock, or raise GitFailed when whoever has it does not let go of it in time."""
        fd = self._lock_fd
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The system's own wait is fair but has no end, so a thread does it and can be left to it:
        # a bare one, because many wait so for less time than it takes to start and end any other.
        mutex, taken, is_left = threading.Lock(), threading.Lock(), False
        taken.acquire()

        def wait() -> None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with mutex:
                os.close(fd) if is_left else taken.release()

        began = time.monotonic()
        _thread.start_new_thread(wait, ())
        while not taken.acquire(timeout=LOOK):
            patience = PATIENCE if self.is_hurried() else LOCK_PATIENCE
            if time.monotonic() - began > patience:
                with mutex:
                    if taken.acquire(blocking=False):
                        return None
                    is_left = True
                os.close(self._intent_fd)
                self._lock_fd = self._intent_fd = -1
                raise GitFailed(
                    f"another run{self._holder()} has held the lock of this repository for "
                    f"{patience:g} seconds",
                    hint="see what it does; one that was suspended goes on with kill -CONT or fg",
                )
        return None

    def _holder(self) -> str:
        """Return which process has the lock, in brackets, where the system tells."""
        with contextlib.suppress(OSError):
            inode = str(os.stat(self._place / "lock").st_ino)
            for line in Path("/proc/locks").read_text().splitlines():
                words = line.split()
                if "->" not in words and words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                    return f" (process {words[4]})"
        return ""

    @contextlib.contextmanager
    def quiet(self, patience: float = PATIENCE) -> Iterator[bool]:
        """Look at refs while no run moves any; nothing is written, nor completed.

        Yields False when whoever moves them does not let go in so many seconds.
        """
        with self._mutex, contextlib.ExitStack() as stack:
            try:
                fd = os.open(self._place / "lock", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                fd = -1
            else:
                stack.callback(os.close, fd)
            deadline = time.monotonic() + patience
            is_ours = fd < 0 or self._depth > 0
            while not is_ours:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    is_ours = True
                if is_ours or time.monotonic() >= deadline:
                    break
                time.sleep(0.01)
            yield is_ours

    def holder(self) -> int | None:
        """Return the process that has the lock, where the system tells."""
        found = re.search(r"\d+", self._holder())
        return int(found[0]) if found else None

    def intent(self) -> tuple[tuple[str, str, str], ...]:
        """Return the moves that a process began and died before it could end them."""
        try:
            intent = json.loads((self._place / "intent.json").read_bytes())
            if is_alive(int(intent["pid"]), int(intent["started"])):
                return ()
            return tuple((str(ref), str(old), str(new)) for ref, old, new in intent["moves"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ()

    # --- moving -----------------------------------------------------------------------------------

    def move(self, moves: Sequence[tuple[str, str, str]]) -> None:
        """Move refs together: (ref, old, new) each, ZERO for "is not there", in this order.

        The last one is the commit point.  Raises LostRace when an old value no longer holds,
        RefRefused when git cannot make a ref, CheckedOut when a worktree has one checked out.
        """
        moves = [move for move in moves if move[1] != move[2]]
        if not moves:
            return
        self.repository.settle()  # not under the lock, where others would wait for a slow disk
        with self.lock():
            self._guard(moves)
            self._intend(moves)
            try:
                self._transact(moves)
            finally:
                os.ftruncate(self._intent_fd, 0)
            if self.on_move is not None:
                self.on_move(moves)

    def heads(self) -> dict[str, Path]:
        """Return the refs that worktrees have checked out, with where; read from their HEADs."""
        found: dict[str, Path] = {}
        common = os.fspath(self.repository.common)
        admins = [] if self.repository.is_bare else [common]
        with contextlib.suppress(OSError):
            admins += [entry.path for entry in os.scandir(f"{common}/worktrees")]
        for admin in admins:
            with contextlib.suppress(OSError):
                text = os.fsdecode(read_small(f"{admin}/HEAD"))
                if text.startswith("ref: "):
                    ref = text[5:].strip()
                    found[ref] = self.repository.home if admin == common else Path(admin)
                    if admin != common:
                        gitdir = os.fsdecode((Path(admin) / "gitdir").read_bytes())
                        found[ref] = Path(gitdir.rstrip("\n")).parent
        return found

    def _guard(self, moves: Sequence[tuple[str, str, str]]) -> None:
        heads = self.heads()
        for ref, _, _ in moves:
            if ref in heads:
                place = heads[ref]
                branch = ref.removeprefix("refs/heads/")
                raise CheckedOut(
                    f"the branch {branch} is checked out in {place}, so it is not moved",
                    hint=f"git -C '{place}' switch --detach",
                )

    def _intend(self, moves: Sequence[tuple[str, str, str]]) -> None:
        partner = self._update_ref()
        intent = {
            "moves": moves,
            "pid": os.getpid(),
            "started": own_start(os.getpid()),
            "git": partner.proc.pid,
        }
        data = json.dumps(intent).encode()
        try:
            os.ftruncate(self._intent_fd, 0)
            os.pwrite(self._intent_fd, data, 0)
            os.fsync(self._intent_fd)
        except OSError as e:
            with contextlib.suppress(OSError):
                os.ftruncate(self._intent_fd, 0)
            raise GitFailed(
                f"the disk cannot be written: {e.strerror}",
                hint=MAKE_ROOM,
            ) from e

    def _update_ref(self) -> Any:
        if self._partner is None or self._partner.proc.poll() is not None:
            self._partner = self.repository.mover().partner(
                "update-ref", "-m", "gitflow-agents", "--no-deref", "--create-reflog", "--stdin"
            )
        return self._partner

    def _transact(self, moves: Sequence[tuple[str, str, str]]) -> None:
        deadline = time.monotonic() + PATIENCE
        pause = 0.02
        while True:
            said = self._try(moves)
            if said is None:
                return
            if all(self._now(ref) == new for ref, _, new in moves):
                return  # the answer was lost, not the move
            if "File exists" in said and ".lock'" in said and time.monotonic() < deadline:
                time.sleep(pause)  # somebody's git holds this ref for a moment
                pause *= 1.5
                continue
            raise self._refusal(said, moves)

    def _try(self, moves: Sequence[tuple[str, str, str]]) -> str | None:
        """Return None when the moves were made, else what git said."""
        partner = self._update_ref()
        lines = ["start"]
        for ref, old, new in moves:
            if new == ZERO:
                lines.append(f"delete {ref} {old}")
            else:
                lines.append(f"update {ref} {new} {old}")
        lines += ["prepare", "commit"]
        process = partner.proc
        try:
            process.stdin.write(("\n".join(lines) + "\n").encode())
            process.stdin.flush()
            for expected in (b"start: ok\n", b"prepare: ok\n", b"commit: ok\n"):
                if process.stdout.readline() != expected:
                    break
            else:
                return None
        except (BrokenPipeError, OSError):
            pass
        self._partner = None
        with contextlib.suppress(OSError):
            process.stdin.close()
        said = process.stderr.read().decode(errors="replace").strip() or "it said nothing"
        process.wait()
        return said

    def _refusal(self, said: str, moves: Sequence[tuple[str, str, str]]) -> FlowError:
        for ref, old, _ in moves:
            now = self._now(ref)
            if now != old:
                branch = ref.removeprefix("refs/heads/")
                there = "is gone" if now == ZERO else f"is at {now[:12]} ({self._subject(now)})"
                return LostRace(
                    f"somebody was faster: {branch} {there}", hint="run the command again"
                )
        locked = re.search(r"'([^'\n]+\.lock)': File exists", said)
        if locked:
            return GitFailed(
                f"git could not move its refs: {locked[1]} is in the way",
                hint="a git that still runs has it, or one that was killed left it; when none runs "
                f"here: rm '{locked[1]}'",
            )
        last = said.splitlines()[-1].removeprefix("fatal: ")
        if "cannot lock ref" in last and "exists" in last and "File exists" not in last:
            return RefRefused(f"git cannot make the branch: {last}")
        return GitFailed(f"git could not move its refs: {last}", hint="run the command again")

    def _subject(self, sha: str) -> str:
        try:
            return self.repository.commit(sha).subject
        except GitFailed:
            return "not a commit"

    def _now(self, ref: str) -> str:
        return self.resolve(ref) or ZERO

    # --- after a kill -----------------------------------------------------------------------------

    def _recover(self) -> None:
        """Complete or drop what a run that died has written down."""
        if os.fstat(self._intent_fd).st_size == 0:
            return
        data = os.pread(self._intent_fd, os.fstat(self._intent_fd).st_size, 0)
        try:
            intent = json.loads(data)
            moves = [(str(ref), str(old), str(new)) for ref, old, new in intent["moves"]]
            git = int(intent["git"])
            if not all(re.fullmatch(_MOVE, " ".join(move)) for move in moves):
                raise ValueError("not what we write")
        except (ValueError, KeyError, TypeError, RecursionError):
            # Torn: it died while writing it down, so nothing had moved; or it is not ours.
            os.ftruncate(self._intent_fd, 0)
            return
        deadline = time.monotonic() + PATIENCE
        while is_alive(git) and time.monotonic() < deadline:
            time.sleep(0.01)
        self._unlock(moves)
        now = {ref: self._now(ref) for ref, _, _ in moves}
        moved = [ref for ref, _, new in moves if now[ref] == new]
        rest = [(ref, old, new) for ref, old, new in moves if now[ref] != new]
        if moved and all(now[ref] == old for ref, old, _ in rest):
            self._transact(rest) if rest else None
        os.ftruncate(self._intent_fd, 0)

    def _unlock(self, moves: Sequence[tuple[str, str, str]]) -> None:
        for ref, _, new in moves:
            lock = self.repository.common / f"{ref}.lock"
            with contextlib.suppress(OSError):
                if lock.read_bytes().strip() in (b"", new.encode()):
                    lock.unlink()
        if any(new == ZERO for _, _, new in moves):
            packed = self.repository.common / "packed-refs.lock"
            with contextlib.suppress(OSError):
                before = packed.stat()
                time.sleep(PATIENCE)
                after = packed.stat()
                if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
                    packed.unlink()

    def close(self) -> None:
        """End the long-lived process and let go of the files."""
        if self._partner is not None:
            with contextlib.suppress(OSError):
                self._partner.proc.stdin.close()
            self._partner.proc.wait()
            self._partner = None
            with contextlib.suppress(OSError):
                os.fsync(self._intent_fd)  # and with it, the last moves
        for fd in (self._lock_fd, self._intent_fd):
            if fd >= 0:
                os.close(fd)
        self._lock_fd = self._intent_fd = -1
