"""The board of a plan, and the issues of its tasks, kept in step beside a run of it.

A thread with a service of its own does that, as another process would: no attempt waits for a
forge, and nothing that goes wrong there concerns the run.  Many merges close together are told at
once, and what came last is told before the run ends, unless that takes too long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gitflow_agents.board.report import Report
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import ForgeRefused
from gitflow_agents.models import LOCAL
from gitflow_agents.render import count
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.boarding import Terminal, shown
from gitflow_agents.service.service import Service

PAUSE = 5.0
"""Seconds between two looks: what happens within them is told at once."""
FIRST = 20.0
"""Seconds for which the first tasks wait for their issues."""
SOON = 2.0
"""Seconds after which somebody is told what is waited for."""
PATIENCE, HURRIED = 60.0, 5.0
"""Seconds for which a run waits for what is left to be told; where somebody interrupts, less."""


@dataclass
class Following:
    """Keeps a board, and issues, in step with one run; what it `say`s comes with an event."""

    plan: str
    terminal: Terminal
    say: Callable[[str, str], None]
    keeps_board: bool
    keeps_issues: bool
    pause: float = field(default_factory=lambda: PAUSE)
    _news: threading.Event = field(default_factory=threading.Event)
    _closing: threading.Event = field(default_factory=threading.Event)
    _first: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _said: set[str] = field(default_factory=set)
    _until: float = float("inf")
    _made: list[str] = field(default_factory=list)
    _changed: list[str] = field(default_factory=list)
    _requests: int = 0
    _last: Report | None = None

    def begin(self, free: int) -> None:
        """Start, with the issues of the tasks for which `free` slots are there."""
        name = f"the board of {self.plan}"
        self._thread = threading.Thread(target=self._work, args=(free,), name=name, daemon=True)
        self._thread.start()
        self._first.wait(FIRST)

    def ring(self) -> None:
        """Say that something may have changed; nothing waits for it."""
        self._news.set()

    def close(self, *, hurried: bool) -> None:
        """Wait a little until what is left is told, and say what came of all of it."""
        patience = HURRIED if hurried else PATIENCE
        self._until = time.monotonic() + patience
        self._closing.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(min(SOON, patience))
            if self._thread.is_alive():
                self.say("board_waits", f"what is left is told on GitHub: {patience:.0f} s at most")
                self._thread.join(patience - SOON)
        is_cut = self._thread is not None and self._thread.is_alive()
        if self._last is not None:
            made, changed = count(len({*self._made}), "card"), len({*self._changed})
            asked = count(self._requests, "request")
            text = f"the board has {made} made and {changed} changed, by {asked}: {self._last.url}"
            if self._made and self._last.missing:
                text += (
                    f"; it lacks some fields or choices: gitflow-agents sync {self.plan} --create"
                )
            self.say("board_told", text)
        if is_cut or (self._last is not None and self._last.is_behind):
            self._warn(f"the board is behind; gitflow-agents sync {self.plan} goes on")

    # --- in a thread of its own -------------------------------------------------------------------

    def _work(self, free: int) -> None:
        try:
            self._try(lambda: self._begin(free))
            self._first.set()
            is_over = False
            while not is_over:
                self._news.wait()
                self._news.clear()
                is_closing = self._closing.is_set()
                is_behind = self._look()
                if is_behind:
                    self._news.set()
                is_over = is_closing and (not is_behind or time.monotonic() > self._until)
                self._closing.wait(self.pause)
        finally:
            self._first.set()
            self.terminal.service.close()

    def _begin(self, free: int) -> None:
        if self.keeps_issues:
            self.terminal.issuing(self.plan).begin(free)

    def _look(self) -> bool:
        """Tell what is new; say whether more of it could be told at once."""
        if self.keeps_issues:
            self._try(self._track)
        if not self.keeps_board:
            return False
        came: list[Report | None] = []
        self._try(lambda: came.append(self.terminal.follow(self.plan)))
        if not came or came[0] is None:
            return False
        report = self._last = came[0]
        self._made += report.created
        self._changed += report.updated
        self._requests += report.requests
        for task, why in report.failed.items():
            self._warn(f"the card of {task} is not as it should be: {why}")
        if report.waiting:
            waiting = count(len(report.waiting), "card")
            how = f"gitflow-agents sync {self.plan} asks"
            self._warn(f"{waiting} on the board may be those of tasks here; {how}")
        return report.is_behind

    def _track(self) -> None:
        if why := self.terminal.issuing(self.plan).end():
            self._warn(f"not all issues are as they should be: {why}")

    def _try(self, act: Callable[[], None]) -> None:
        """Do something at the forge; what goes wrong is told once."""
        try:
            act()
        except ForgeRefused as e:
            self.keeps_board = False  # it would be refused again
            self._warn(f"the board is left alone: {e.message}", e.hint)
        except FlowError as e:
            self._warn(f"the board is behind: {e.message}", e.hint)

    def _warn(self, text: str, hint: str = "") -> None:
        if text not in self._said:
            self._said.add(text)
            self.say("warning", f"{text}; {hint}" if hint else text)


def following(
    service: Service, snapshot: Snapshot, say: Callable[[str, str], None]
) -> tuple[Following | None, tuple[str, ...]]:
    """Return who keeps a board and issues in step with a run, and what the run says of them.

    None where nobody is needed, or there is no token.  `service` is nobody else's, and is closed
    by whoever is returned, or here.
    """
    plan, config = snapshot.plan.plan, service.config
    terminal = Terminal(service, hears=lambda told: say(told.event, told.text))
    lines: list[str] = []

    def can(what: str, reach: Callable[[], object]) -> bool:
        try:
            reach()
        except FlowError as e:
            lines.append(f"{what}: left alone; {e.message}")
            return False
        lines.append(f"{what}: kept in step beside the work")
        return True

    has_board = shown(config, plan) is not None and can("board", lambda: terminal.boarding)
    has_issues = False
    if config.issues is not None and snapshot.authority != LOCAL:
        lines.append("issues: none are made here; a pass on GitHub Actions makes them")
    elif config.issues is not None:
        has_issues = can("issues", lambda: terminal.tracker)
    if has_board or has_issues:
        return Following(plan, terminal, say, has_board, has_issues), tuple(lines)
    service.close()
    return None, tuple(lines)


__all__ = ["Following", "following"]
