"""What is said to an attempt while it runs: a folder beside it, and what became of each remark.

The state is the truth, and the folder a nudge: whoever has stored a remark puts it there, twice or
late as it may be, and whoever runs the attempt looks.  What is no remark is passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from gitflow_agents.models import Heard, Remark
from gitflow_agents.runner import read_plain

FOLDER = "inbox"
MOST_BYTES = 64 * 1024
"""Bytes of a remark that are read."""
MOST = 100
"""Remarks that one attempt hears."""


def put(folder: Path, remark: Remark) -> None:
    """Leave a remark for the attempt whose folder this is, if it is not there yet."""
    inbox = folder / FOLDER
    name = hashlib.sha256(remark.key.encode(errors="replace")).hexdigest()[:32]
    with contextlib.suppress(OSError):
        inbox.mkdir(parents=True, exist_ok=True)
        if (inbox / f"{name}.json").exists():
            return
        draft = inbox / f".{name}.{os.getpid()}"
        draft.write_text(remark.model_dump_json())
        draft.replace(inbox / f"{name}.json")


def empty(folder: Path) -> None:
    """Forget what was said so far: the brief of what comes now has it."""
    inbox = os.path.join(folder, FOLDER)
    if os.path.lexists(inbox):  # few attempts have one when they begin
        shutil.rmtree(inbox, ignore_errors=True)


@dataclass
class Inbox:
    """What one attempt was told so far; used by the one thread that runs it."""

    folder: Path
    tell: Callable[[Heard], None] = lambda heard: None
    """Is told at once what became of a remark."""
    clock: Callable[[], float] = time.time
    known: dict[str, Remark] = field(default_factory=dict)
    heard: dict[str, Heard] = field(default_factory=dict)
    """What became of those that were offered or delivered, by their keys."""
    _seen: set[str] = field(default_factory=set)

    def new(self) -> list[Remark]:
        """Return what has come in since this was asked last, the oldest first."""
        with contextlib.suppress(OSError):
            names = [n for n in os.listdir(self.folder / FOLDER) if n.endswith(".json")]
            found = [self._read(name) for name in names if name not in self._seen]
            self._seen.update(names)
            fresh = {r.key: r for r in found if r is not None and r.key not in self.known}
            in_order = sorted(fresh.values(), key=lambda remark: remark.at)
            in_order = in_order[: MOST - len(self.known)]
            self.known.update((remark.key, remark) for remark in in_order)
            return in_order
        return []

    def _read(self, name: str) -> Remark | None:
        with contextlib.suppress(OSError, ValidationError):
            return Remark.model_validate_json(read_plain(self.folder / FOLDER / name, MOST_BYTES))
        return None

    def note(self, remark: Remark, is_delivered: bool) -> None:
        """Note that an agent can read a remark now, or that it was told."""
        now, before = self.clock(), self.heard.get(remark.key)
        offered = before.offered_at if before else now
        heard = Heard(key=remark.key, offered_at=offered, delivered_at=now if is_delivered else 0)
        if before is None or (is_delivered and not before.delivered_at):
            self.heard[remark.key] = heard
            self.tell(heard)

    def undelivered(self) -> Sequence[Remark]:
        """Return what came in and no agent of this attempt was told yet."""
        self.new()
        told = {key for key, heard in self.heard.items() if heard.delivered_at}
        return [remark for key, remark in self.known.items() if key not in told]


__all__ = ["Inbox", "empty", "put"]
