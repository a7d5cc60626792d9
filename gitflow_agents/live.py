"""A plan on a terminal, redrawn in place while it goes on: `run` and `status --watch`.

What is shown is read from git and from what agents print, by a service of its own, so the view
knows no more than anybody else and cannot hold up a run.  Needs the extra `live` (rich).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from gitflow_agents import render
from gitflow_agents.errors import FlowError
from gitflow_agents.models import Status
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import Views

EVERY = 0.5
"""Seconds between two drawings."""
LAST_BYTES = 4096


class View:
    """What a plan looks like now, for a terminal of any size."""

    def __init__(self, directory: str, plan: str) -> None:
        self._views = Views(directory)
        self._plan = plan
        self._tip = ""
        self._snapshot: Snapshot | None = None

    def draw(self, width: int, height: int) -> str:
        """Return the view; nothing before the plan is accepted."""
        views = self._views
        tip = views.tip(self._plan)
        if not tip:
            return ""
        if tip != self._tip or self._snapshot is None:
            self._snapshot = views.open(self._plan)
            self._tip = tip
        snapshot = self._snapshot
        limits = views.limits(snapshot)
        said = {
            task: last_line(views.attempt_folder(snapshot, task))
            for task in snapshot.by_status[Status.IN_PROGRESS]
        }
        now = views.clock()
        return render.live(snapshot, limits, now, said, width=width, height=height)

    @property
    def is_over(self) -> bool:
        """Say whether the plan has ended for good."""
        return self._snapshot is not None and self._snapshot.state.status != "live"

    def close(self) -> None:
        """End what was started."""
        self._views.close()


def last_line(folder: Path) -> str:
    """Return the last thing that an agent said: its progress, else its output."""
    for name in ("progress", "output.log"):
        with contextlib.suppress(OSError), open(folder / name, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_BYTES))
            lines = [
                line for line in file.read().decode(errors="replace").splitlines() if line.strip()
            ]
            if lines:
                return lines[-1]
    return ""


class Screen:
    """The lower part of a terminal, in which a view is kept up to date."""

    def __init__(self, view: View, *, color: bool = True) -> None:
        self.console = Console(no_color=not color, highlight=False, soft_wrap=True)
        self._view = view
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._stop = threading.Event()

    def print(self, text: str, style: str = "") -> None:
        """Print a line above the view; it stays."""
        self.console.print(Text(text, style=style))

    def refresh(self) -> None:
        """Draw once."""
        size = self.console.size
        with contextlib.suppress(FlowError):
            drawn = self._view.draw(size.width - 1, size.height - 1)
            self._live.update(Text(drawn, no_wrap=True, overflow="ellipsis"), refresh=True)

    def _keep_drawing(self) -> None:
        while not self._stop.wait(EVERY):
            self.refresh()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Draw now and then, beside what is done meanwhile; the terminal is left as it was."""
        with self._live:
            self.refresh()
            thread = threading.Thread(target=self._keep_drawing, name="view", daemon=True)
            thread.start()
            try:
                yield
            finally:
                self._stop.set()
                thread.join()
        self._view.close()


def watch(directory: str, plan: str, *, color: bool = True) -> None:
    """Show a plan until it has ended for good, or until somebody interrupts."""
    view = View(directory, plan)
    screen = Screen(view, color=color)
    with contextlib.suppress(KeyboardInterrupt), screen.shown():
        while not view.is_over:
            time.sleep(EVERY)
    screen.print(view_text(directory, plan))


def view_text(directory: str, plan: str) -> str:
    """Return the last view, which stays on the terminal."""
    view = View(directory, plan)
    try:
        return view.draw(79, 200)
    finally:
        view.close()
