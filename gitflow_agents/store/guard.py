"""What an agent must leave alone: the repository's settings and everybody's refs.

A worktree shares its repository's config, hooks and refs, so an agent can change them.  The guard
remembers how they were and says, when an attempt ends, what is different and who did it.  Our own
refs are put back; a person's ref is never moved, only named.

Who moved a ref stands in its reflog, under the address that each attempt's git commits with.  A ref
that was deleted has no reflog; what the attempt's git was told (its trace) tells instead.  Where
nothing points at an attempt it was a person who works beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from gitflow_agents.errors import FlowError
from gitflow_agents.models import ZERO
from gitflow_agents.runner import read_plain
from gitflow_agents.store.refs import Refs
from gitflow_agents.store.remote import UNSENT
from gitflow_agents.store.state import HEADS, one_line

STASH = "refs/stash"
STAND_INS = "refs/replace/"
"""Where git finds what to show in the place of an object, to all who do not ask it not to."""
WATCHED = (HEADS, "refs/tags/", STASH, STAND_INS, UNSENT)
OURS = (f"{HEADS}gitflow/", f"{HEADS}task/", UNSENT)
ADDRESS = "attempt.gitflow-agents.localhost"
"""Ends the committer address of an attempt's git, so that a reflog tells who moved a ref."""
MOVERS = frozenset("branch tag update-ref stash push fetch reflog fast-import replace".split())
"""The git commands by which refs are deleted."""
SOMEBODY = "?"
"""The culprit where it was one of the attempts, and there is no telling which."""
REWRITTEN = "info/refs"
"""A file that git itself writes when it packs."""
MOST_BYTES = 8 * 1024 * 1024
HOOKS_ELSEWHERE = "core.hooksPath"
"""What stands for the folder of hooks in the names of files, when it is not git's own."""
MOST_HOOKS, MOST_HOOKS_READ = 2000, 200
"""Files of such a folder that are looked at, and those of them that are read."""
MOST_HOOK_BYTES = 256 * 1024
_MADE, _CHANGED = " was made while it ran", " changed while it ran"


def committer_address(nonce: str) -> str:
    """Return the address under which an attempt's git commits."""
    return f"{nonce}@{ADDRESS}"


@dataclass(frozen=True)
class Findings:
    """What is not as it was: sentences about files, and about refs."""

    files: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watched:
    """An attempt that is going on: the branch that is its own, and where its git leaves a trace."""

    ref: str
    trace: Path

    def named(self, ref: str) -> bool:
        """Say whether its git was told to do something with a ref."""
        short = "stash" if ref == STASH else ref.split("/", 2)[2]
        for line in self._traced():
            if '"event":"start"' in line:
                with contextlib.suppress(ValueError, KeyError, AttributeError):
                    words = [str(word).lstrip("+:") for word in json.loads(line)["argv"]]
                    if "update-ref" in words and "--stdin" in words:
                        return True
                    is_named = any(word == short or word.endswith(f"/{short}") for word in words)
                    if is_named and not MOVERS.isdisjoint(words):
                        return True
        return False

    @property
    def pushes(self) -> tuple[str, ...]:
        """Return the pushes that its git says have come through, as they were asked for."""
        asked: dict[str, str] = {}
        through: dict[str, None] = {}
        for line in self._traced():
            if '"push"' in line or any(session in line for session in asked):
                with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError):
                    event = json.loads(line)
                    if event["event"] == "start" and "push" in event["argv"]:
                        asked[event["sid"]] = shlex.join(map(str, event["argv"]))
                    elif event["event"] == "exit" and event["code"] == 0 and event["sid"] in asked:
                        through[asked[event["sid"]]] = None
        return tuple(through)

    def _traced(self) -> list[str]:
        try:
            data = read_plain(self.trace, MOST_BYTES, end=True)
        except OSError:
            return []
        return data.decode(errors="replace").split("\n")


@dataclass
class Guard:
    """Compares the repository with how it was; one for all attempts of a run."""

    refs: Refs
    flows: tuple[str, ...]
    """The flow refs, which are ours too."""
    _files: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _first: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """The files as they were when the run began."""
    _known: dict[str, str] = field(default_factory=dict)
    _running: dict[str, Watched] = field(default_factory=dict)
    _offences: dict[str, list[str]] = field(default_factory=dict)
    _judging: threading.Lock = field(default_factory=threading.Lock)
    """Held from before a ref is put back until whose offence it was is noted."""

    def begin(self) -> None:
        """Take how everything is now for right."""
        with self.refs.lock():
            self._files = self._first = self._read_files()
            self._known = self.refs.repository.tips(*WATCHED)
            self.refs.on_move = self._moved

    def _moved(self, moves: list[tuple[str, str, str]]) -> None:
        for ref, _, new in moves:
            if not ref.startswith(WATCHED):
                continue
            if new == ZERO:
                self._known.pop(ref, None)
            else:
                self._known[ref] = new

    def watch(self, nonce: str, ref: str, trace: Path) -> None:
        """An attempt begins: `ref` is its own branch, and its git writes to `trace`."""
        self._running[nonce] = Watched(ref, trace)

    def forget(self, nonce: str) -> None:
        """An attempt is over."""
        watched = self._running.pop(nonce, None)
        if watched is not None:
            with contextlib.suppress(OSError):
                watched.trace.unlink()

    def pushes(self, nonce: str) -> tuple[str, ...]:
        """Return the pushes that came through in an attempt, where its git's trace tells."""
        watched = self._running.get(nonce)
        return watched.pushes if watched is not None else ()

    def put_back(self, expected: Mapping[str, str]) -> list[str]:
        """Put refs of ours back where an attempt moved them; other moves are left to their pass.

        Returns what was put back although nobody knows which of the attempts did it.
        """
        with self.refs.lock():
            for ref, old in expected.items():
                new = self.refs.repository.resolve(ref) or ZERO
                if new != old:
                    with self._judging:
                        self._judge(ref, old, new)
            return self._offences.pop(SOMEBODY, [])

    def look(self, nonce: str) -> Findings:
        """Return what the attempt with this nonce changed, and put our own refs back."""
        # Where all is as it was there is nothing to decide, so a decision need not be waited for.
        if self._is_as_it_was():
            with self._judging:  # it may be so only because it was put back a moment ago
                return Findings((), tuple(self._offences.pop(nonce, ())))
        with self.refs.lock():
            files = self._changed_files()
            with self._judging:
                self._look_at_refs()
                return Findings(tuple(files), tuple(self._offences.pop(nonce, ())))

    def _is_as_it_was(self) -> bool:
        """Say whether nothing differs; refs that we move just now do."""
        return (
            self._read_files() == self._files and self.refs.repository.tips(*WATCHED) == self._known
        )

    # --- files ------------------------------------------------------------------------------------

    def _read_files(self) -> dict[str, tuple[int, bytes]]:
        """Return git's own files: who may run each, and what it holds."""
        common = self.refs.repository.common
        found: dict[str, tuple[int, bytes]] = {}
        # git's merges read rules from the folder that they are started in, which is this one.
        for name in ("config", "config.worktree", ".gitattributes", "objects/info/alternates"):
            with contextlib.suppress(OSError):
                found[name] = 0, (common / name).read_bytes()
        for folder in ("hooks", "info"):
            with contextlib.suppress(OSError):
                for entry in os.scandir(common / folder):
                    if entry.name.endswith(".sample") or f"{folder}/{entry.name}" == REWRITTEN:
                        continue
                    name = f"{folder}/{entry.name}"
                    with contextlib.suppress(OSError):
                        mode = entry.stat().st_mode & 0o111
                        found[name] = mode, read_plain(Path(entry.path), MOST_BYTES)
        return found | self._read_hooks_elsewhere()

    @cached_property
    def _hooks_elsewhere(self) -> Path | None:
        """Return the folder that the person's config names for hooks, when it is none of git's own.

        One that is not absolute is in each worktree, and so a part of what tasks may change.
        """
        repository = self.refs.repository
        _, out, _ = repository.user.attempt("config", "--type=path", "--get", "core.hooksPath")
        folder = Path(os.fsdecode(out).removesuffix("\n"))
        is_own = folder == repository.common / "hooks"
        return folder if folder.is_absolute() and not is_own else None

    def _read_hooks_elsewhere(self) -> dict[str, tuple[int, bytes]]:
        """Return the files of that folder; of large ones, and of very many, only size and time."""
        found: dict[str, tuple[int, bytes]] = {}
        for path in islice(_files_below(self._hooks_elsewhere), MOST_HOOKS):
            with contextlib.suppress(OSError):
                about = path.stat()
                if len(found) < MOST_HOOKS_READ and about.st_size <= MOST_HOOK_BYTES:
                    held = read_plain(path, MOST_HOOK_BYTES)
                else:
                    held = b"%d bytes, changed at %d ns\n" % (about.st_size, about.st_mtime_ns)
                name = f"{HOOKS_ELSEWHERE}/{path.relative_to(self._hooks_elsewhere or path)}"
                found[name] = about.st_mode & 0o111, held
        return found

    def _where(self, name: str) -> Path:
        """Return the path of a watched file."""
        first, _, rest = name.partition("/")
        if first == HOOKS_ELSEWHERE and self._hooks_elsewhere is not None:
            return self._hooks_elsewhere / rest
        return self.refs.repository.common / name

    def _changed_files(self) -> list[str]:
        now = self._read_files()
        if now == self._files:
            return []
        changed = []
        for name in sorted(now.keys() | self._files.keys()):
            old, new = self._files.get(name), now.get(name)
            if old == new or (name == "config" and self._settings(old) == self._settings(new)):
                continue
            kept, where = self._kept(name), self._where(name)
            first = self._first.get(name)
            with contextlib.suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(first[1] if first else b"")
                kept.chmod(0o600 | (first[0] if first else 0))
            if first is None:
                changed.append(f"{where}{_MADE}; look at it, and remove it")
            else:
                command = shlex.join(["diff", str(kept), str(where)])
                changed.append(f"{where}{_CHANGED}; to see how: {command}")
        self._files = now
        return changed

    def still(self, held: str) -> dict[str, bool]:
        """Return the files that held a plan, as `held` says, and whether each is still so."""
        now, found = self._read_files(), {}
        for kept in sorted(self._kept("").rglob("*")):
            name = str(kept.relative_to(self._kept("")))
            where, new = str(self._where(name)), now.get(name)
            if f"{one_line(where)}{_MADE}" in held:
                found[where] = new is not None
            elif f"{one_line(where)}{_CHANGED}" in held:
                old = (kept.stat().st_mode & 0o111, kept.read_bytes())
                is_config = name == "config" and new is not None
                found[where] = (
                    self._settings(old) != self._settings(new) if is_config else old != new
                )
        return found

    def _kept(self, name: str) -> Path:
        return self.refs.folder / "before" / name

    def _settings(self, config: tuple[int, bytes] | None) -> list[bytes]:
        """Return a config's settings but the harmless ones that `git push -u` and such write."""
        _, out, _ = self.refs.repository.git.attempt(
            "config", "--file", "-", "-z", "--list", data=config[1] if config else b""
        )
        return [line for line in out.split(b"\0") if not line.startswith(b"branch.")]

    # --- refs -------------------------------------------------------------------------------------

    def _look_at_refs(self) -> None:
        now = self.refs.repository.tips(*WATCHED)
        if now == self._known:
            return
        for ref in sorted(now.keys() | self._known.keys()):
            old, new = self._known.get(ref, ZERO), now.get(ref, ZERO)
            if old != new and self._judge(ref, old, new):
                now[ref] = old
        self._known = {ref: sha for ref, sha in now.items() if sha != ZERO}

    def _judge(self, ref: str, old: str, new: str) -> bool:
        """Note an attempt's offence, if it was one; say whether the ref was put back."""
        culprit = self._culprit(ref, new)
        if not culprit:
            return False  # another run of ours, or a person beside us: told by the plan's pass
        said = f"{ref.removeprefix(HEADS)} moved while it ran, from {_short(old)} to {_short(new)}"
        is_back = False
        if self._is_ours(ref) and old != ZERO:
            with contextlib.suppress(FlowError):
                self.refs.move([(ref, new, old)])
                is_back = True
                said += "; it was put back"
        elif new == ZERO:
            said += f"; to bring it back: git update-ref {ref} {old}"
        watched = self._running.get(culprit)
        if watched is None or watched.ref != ref:  # what it does to its own branch is its affair
            self._offences.setdefault(culprit, []).append(said)
        return is_back

    def _is_ours(self, ref: str) -> bool:
        return ref.startswith(OURS) or ref in self.flows

    def _culprit(self, ref: str, new: str) -> str:
        """Return the nonce of the attempt that moved a ref, or nothing when none did."""
        who = self._who(ref, new) if new != ZERO else ""
        if who.endswith(ADDRESS):
            return who.removesuffix(f"@{ADDRESS}")
        if new == ZERO or ref == STASH:  # a dropped stash leaves only older ones in the log
            running = list(self._running.items())  # attempts begin and end in other threads
            return next((nonce for nonce, job in running if job.named(ref)), "")
        has_log = (self.refs.repository.common / "logs" / ref).exists()
        if who or not (self._is_ours(ref) or has_log):
            return ""
        nonces = list(self._running)  # the ref's file was written by hand
        return nonces[0] if len(nonces) == 1 else SOMEBODY if nonces else ""

    def _who(self, ref: str, new: str) -> str:
        """Return the committer address that the reflog names for a ref's value, or nothing."""
        log = self.refs.repository.common / "logs" / ref
        try:
            with open(log, "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 4096))
                last = file.read().splitlines()[-1].decode(errors="replace")
        except (OSError, IndexError):
            # Without any log it is a push into a bare repository: an attempt's git always logs.
            return "unknown" if self.refs.repository.is_bare else ""
        head, _, _ = last.partition("\t")
        words = head.split(" ")
        if len(words) < 2 or words[1] != new:
            return ""  # the ref's file was written by hand
        return head[head.find("<") + 1 : head.find(">")]


def _files_below(folder: Path | None) -> Iterator[Path]:
    """Yield the files in a folder and below, always in the same order."""
    if folder is not None:
        for place, folders, names in os.walk(folder):
            folders.sort()
            yield from (Path(place, name) for name in sorted(names))


def _short(sha: str) -> str:
    return "nothing" if sha == ZERO else sha[:12]


__all__ = ["Findings", "Guard", "committer_address"]
