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
SOON, LOOK = 2.0, 0.1
"""Seconds after which somebody is told what is waited for, and between two looks whether it is."""
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
    _made: set[str] = field(default_factory=set)
    _changed: set[str] = field(default_factory=set)
    _requests: int = 0
    _is_behind: bool = False
    """Whether the last look left something to be told."""
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

    def close(self, is_hurried: Callable[[], bool]) -> None:
        """Wait a little until what is left is told, and say what came of all of it."""
        if self._thread is None:
            return self.terminal.service.close()
        began, is_said = time.monotonic(), False
        self._until = began + PATIENCE
        self._closing.set()
        self._news.set()
        while self._thread.is_alive():
            waited = time.monotonic() - began
            if waited > (HURRIED if is_hurried() else PATIENCE):
                break
            if waited > SOON and not is_said:
                is_said = True
                self.say("board_waits", f"what is left is told on GitHub: {PATIENCE:.0f} s at most")
            self._thread.join(LOOK)
        if self._last is not None:
            made, changed = count(len(self._made), "card"), len(self._changed)
            asked = count(self._requests, "request")
            text = f"the board has {made} made and {changed} changed, by {asked}: {self._last.url}"
            if self._made and self._last.missing:
                text += (
                    f"; it lacks some fields or choices: gitflow-agents sync {self.plan} --create"
                )
            self.say("board_told", text)
        if self._is_behind or self._thread.is_alive():
            what = "the board is" if self.keeps_board else "the issues are"
            self._warn(f"{what} behind; gitflow-agents sync {self.plan} goes on")
        return None

    # --- in a thread of its own -------------------------------------------------------------------

    def _work(self, free: int) -> None:
        try:
            self._try("the issues are", lambda: self._begin(free))
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

    def _begin(self, free: int) -> bool:
        if self.keeps_issues:
            self.terminal.issuing(self.plan).begin(free)
        return False

    def _look(self) -> bool:
        """Tell what is new; say whether more of it could be told at once."""
        self._is_behind = False
        if self.keeps_issues:
            self._try("the issues are", self._track)
        return self.keeps_board and self._try("the board is", self._follow)

    def _follow(self) -> bool:
        report = self.terminal.follow(self.plan)
        if report is None:
            return False
        self._last = report
        self._made |= {*report.created}
        self._changed |= {*report.updated}
        self._requests += report.requests
        self._is_behind |= report.is_behind
        for task, why in report.failed.items():
            self._warn(f"the card of {task} is not as it should be: {why}")
        if report.waiting:
            waiting = count(len(report.waiting), "card")
            how = f"gitflow-agents sync {self.plan} asks"
            self._warn(f"{waiting} on the board may be those of tasks here; {how}")
        return report.is_behind

    def _track(self) -> bool:
        if why := self.terminal.issuing(self.plan).end():
            self._is_behind = True
            self._warn(f"not all issues are as they should be: {why}")
        return False

    def _try(self, what: str, act: Callable[[], bool]) -> bool:
        """Do something at the forge, and return what that does; what goes wrong is told once."""
        try:
            return act()
        except ForgeRefused as e:
            self.keeps_board = False  # it would be refused again; of issues that is not raised
            self._warn(f"{what} left alone: {e.message}", e.hint)
        except (FlowError, OSError) as e:
            self._is_behind = True
            self._warn(f"{what} behind: {e}", getattr(e, "hint", ""))
        return False

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
