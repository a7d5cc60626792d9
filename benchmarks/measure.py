"""How a figure is taken, and what it may be called.

Contenders are measured in turns (A B A B, never all of A and then all of B), so that a slow minute
of the machine falls on all of them. A ratio is the ratio of the medians; beside it stands the range
of the ratios of the single rounds, which is how much noise there was. Milliseconds are context.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

# One figure a round, in seconds unless the row says otherwise.
Series = tuple[float, ...]
# Does the work once and returns the seconds that count: what it sets up is not among them.
Contender = Callable[[], float]

ROOT = Path(__file__).resolve().parent.parent


class NotMeasured(Exception):
    """A figure that could not be taken, with the reason as a sentence."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a value with its target, or the reason why there is none."""

    row: str
    what: str
    value: float | None = None
    unit: str = "x"
    target: float | None = None
    low: float | None = None
    high: float | None = None
    beside: str = ""

    @property
    def verdict(self) -> str:
        """Return whether the target is met, or nothing where there is none."""
        if self.value is None or self.target is None:
            return ""
        return "met" if self.value <= self.target else "MISSED"

    def line(self) -> str:
        """Return the figure as one line of text."""
        head = f"{self.row:<10} {self.what:<58} "
        if self.value is None:
            return f"{head}{self.beside}"
        parts = [f"{self.value:7.2f}{self.unit}"]
        if self.low is not None and self.high is not None:
            parts.append(f"[{self.low:.2f}..{self.high:.2f}]")
        if self.target is not None:
            parts.append(f"target <= {self.target:g}{self.unit}: {self.verdict}")
        if self.beside:
            parts.append(f"({self.beside})")
        return head + " ".join(parts)


def not_measured(row: str, what: str, reason: object) -> Figure:
    """Return the line of a figure that could not be taken."""
    return Figure(row, what, beside=f"not measured: {reason}")


def ratio(
    row: str,
    what: str,
    over: Series,
    under: Series,
    *,
    target: float | None = None,
    beside: str = "",
) -> Figure:
    """Return `over` / `under` as a figure; both hold the same rounds, in the same order."""
    rounds = [a / b for a, b in zip(over, under, strict=True)]
    return Figure(
        row,
        what,
        median(over) / median(under),
        target=target,
        low=min(rounds),
        high=max(rounds),
        beside=beside,
    )


def interleave(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Series]:
    """Return the seconds of each contender, measured in turns for `rounds` rounds."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            taken[name].append(contender())
    return {name: tuple(seconds) for name, seconds in taken.items()}


def per_task(many: Series, one: Series, count: int) -> Series:
    """Return the seconds that a task adds: a run of `count` tasks less a run of one task.

    What is paid once (start-up, the first commit of a plan) is thus in none of the figures.
    """
    return tuple((a - b) / (count - 1) for a, b in zip(many, one, strict=True))


def ms(seconds: Series) -> str:
    """Return the median of `seconds` in milliseconds, as text."""
    return f"{median(seconds) * 1000:.2f} ms"


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Give a function that returns the seconds between the entry and the exit of the block."""
    start = time.perf_counter()
    end: list[float] = []
    try:
        yield lambda: end[0] - start
    finally:
        end.append(time.perf_counter())


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Return the environment of everything that is measured.

    Nothing of the person's own git set-up takes part: no GIT_* variable, no config but the
    repository's.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GIT_", "GITFLOW_", "PYTHON", "XDG_"))
    }
    return {
        **kept,
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        **extra,
    }


def timed(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> float:
    """Run `command` and return its seconds from start to end; NotMeasured if it fails."""
    with stopwatch() as seconds:
        printed(command, cwd=cwd, env=env)
    return seconds()


def printed(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> str:
    """Run `command` and return what it printed; NotMeasured if it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        last = f": {said[-1]}" if said else ""
        raise NotMeasured(f"`{Path(command[0]).name}` ended with {done.returncode}{last}")
    return done.stdout


def git(repo: Path, *arguments: str, env: Mapping[str, str], stdin: bytes | None = None) -> str:
    """Return what a git command in `repo` printed, for setting up and for checking."""
    done = subprocess.run(
        ["git", *arguments], cwd=repo, env=env, input=stdin, stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode().strip()


@dataclass(frozen=True, slots=True)
class Processes:
    """How many git processes there were: started by the program, and by git itself as well."""

    ours: int
    every: int
    names: Mapping[str, int]

    def since(self, one: Processes, count: int) -> tuple[float, float]:
        """Return (ours, every) a task, of a run of `count` tasks less a run of one task."""
        return (self.ours - one.ours) / (count - 1), (self.every - one.every) / (count - 1)

    def names_since(self, one: Processes, count: int) -> str:
        """Return the git commands of a task as text, the most frequent first."""
        added = Counter(dict(self.names))
        added.subtract(dict(one.names))
        return ", ".join(
            f"{name} {number / (count - 1):.2f}" for name, number in added.most_common() if number
        )


def count_processes(trace: Path) -> Processes:
    """Return the count of git processes in `trace`, the folder that GIT_TRACE2_EVENT named.

    A `sid` with a slash in it is that of a process that another git process started.
    """
    ours = every = 0
    names: Counter[str] = Counter()
    for file in trace.iterdir():
        for line in file.read_text("utf-8", "replace").splitlines():
            event = json.loads(line)
            match event["event"]:
                case "start":
                    every += 1
                    ours += "/" not in event["sid"]
                case "cmd_name":
                    names[event["name"]] += 1
    return Processes(ours, every, names)


def machine(scratch: Path) -> str:
    """Return the machine in one line: cores, Python, git, and the kind of disk worked on."""
    version = subprocess.run(["git", "version"], stdout=subprocess.PIPE, text=True, check=True)
    return (
        f"machine: {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {version.stdout.strip()}, "
        f"work on {filesystem(scratch)}, {sys.platform}"
    )


def filesystem(path: Path) -> str:
    """Return the type of the file system that holds `path`, where the system tells."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "an unnamed file system"
    best = ("", "an unnamed file system")
    for line in mounts.read_text().splitlines():
        _, point, kind, *_ = line.split()
        if path.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def fresh(path: Path) -> Path:
    """Return `path` as an empty folder."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
