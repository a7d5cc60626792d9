"""What an agent must leave alone: the repository's settings and everybody's refs.

A worktree shares its repository's config, hooks and refs, so an agent can change them.  The guard
remembers how they were and says, when an attempt ends, what is different and who did it.  Our own
refs are put back; a person's ref is never moved, only named.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

from gitflow_agents.errors import FlowError
from gitflow_agents.models import ZERO
from gitflow_agents.store.refs import Refs
from gitflow_agents.store.repository import TOOL
from gitflow_agents.store.state import HEADS

WATCHED = (HEADS, "refs/tags/", "refs/stash")
OURS = (f"{HEADS}gitflow/", f"{HEADS}task/")
ADDRESS = "attempt.gitflow-agents.localhost"
"""Ends the committer address of an attempt's git, so that a reflog tells who moved a ref."""


def committer_address(nonce: str) -> str:
    """Return the address under which an attempt's git commits."""
    return f"{nonce}@{ADDRESS}"


@dataclass(frozen=True)
class Findings:
    """What is not as it was: sentences about files, and about refs."""

    files: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()


@dataclass
class Guard:
    """Compares the repository with how it was; one for all attempts of a run."""

    refs: Refs
    flows: tuple[str, ...]
    """The flow refs, which are ours too."""
    _files: dict[str, bytes] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    _offences: dict[str, list[str]] = field(default_factory=dict)

    def begin(self) -> None:
        """Take how everything is now for right."""
        with self.refs.lock():
            self._files = self._read_files()
            self._known = self.refs.repository.tips(*WATCHED)
            self.refs.on_move = self._moved

    def _moved(self, moves: list[tuple[str, str, str]]) -> None:
        for ref, _, new in moves:
            if new == ZERO:
                self._known.pop(ref, None)
            else:
                self._known[ref] = new

    def look(self, nonce: str) -> Findings:
        """Return what the attempt with this nonce changed, and put our own refs back."""
        with self.refs.lock():
            files = self._changed_files()
            self._look_at_refs(nonce)
            return Findings(tuple(files), tuple(self._offences.pop(nonce, ())))

    # --- files ------------------------------------------------------------------------------------

    def _read_files(self) -> dict[str, bytes]:
        common = self.refs.repository.common
        found: dict[str, bytes] = {}
        for name in ("config", "config.worktree", "objects/info/alternates"):
            with contextlib.suppress(OSError):
                found[name] = (common / name).read_bytes()
        for folder in ("hooks", "info"):
            with contextlib.suppress(OSError):
                for entry in os.scandir(common / folder):
                    if entry.name.endswith(".sample"):
                        continue
                    with contextlib.suppress(OSError), open(entry.path, "rb") as file:
                        mode = os.fstat(file.fileno()).st_mode & 0o111
                        found[f"{folder}/{entry.name}"] = b"%o " % mode + file.read()
        return found

    def _changed_files(self) -> list[str]:
        now = self._read_files()
        if now == self._files:
            return []
        changed = []
        for name in sorted(now.keys() | self._files.keys()):
            old, new = self._files.get(name), now.get(name)
            if old == new or (name == "config" and self._settings(old) == self._settings(new)):
                continue
            kept = self.refs.folder / "before" / name
            with contextlib.suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(old or b"")
            where = self.refs.repository.common / name
            changed.append(f"{where} changed while it ran; as it was: {kept}")
        self._files = now
        return changed

    def _settings(self, config: bytes | None) -> list[bytes]:
        """Return a config's settings but the harmless ones that `git push -u` and such write."""
        _, out, _ = self.refs.repository.git.attempt(
            "config", "--file", "-", "-z", "--list", data=config or b""
        )
        return [line for line in out.split(b"\0") if not line.startswith(b"branch.")]

    # --- refs -------------------------------------------------------------------------------------

    def _look_at_refs(self, nonce: str) -> None:
        now = self.refs.repository.tips(*WATCHED)
        if now == self._known:
            return
        for ref in sorted(now.keys() | self._known.keys()):
            old, new = self._known.get(ref, ZERO), now.get(ref, ZERO)
            if old == new:
                continue
            who = self._who(ref, new)
            ours = ref.startswith(OURS) or ref in self.flows
            name = ref.removeprefix(HEADS)
            if who == TOOL.split("<")[1][:-1] or (ours and new == ZERO and ref not in self.flows):
                continue  # another run of ours; a deleted branch of ours is told by the plan's pass
            if who and not who.endswith(ADDRESS):
                continue  # a person working beside us
            culprit = who.removesuffix(f"@{ADDRESS}") if who else nonce
            said = f"{name} moved while it ran, from {_short(old)} to {_short(new)}"
            if ours and old != ZERO:
                with contextlib.suppress(FlowError):
                    self.refs.move([(ref, new, old)])
                    now[ref] = old
                    said += "; it was put back"
            self._offences.setdefault(culprit, []).append(said)
        self._known = {ref: sha for ref, sha in now.items() if sha != ZERO}

    def _who(self, ref: str, new: str) -> str:
        """Return the committer address that the reflog names for a ref's value, or nothing."""
        if new == ZERO:
            return ""
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


def _short(sha: str) -> str:
    return "nothing" if sha == ZERO else sha[:12]


__all__ = ["Findings", "Guard", "committer_address"]
