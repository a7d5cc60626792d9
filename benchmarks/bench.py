"""The repositories that are measured in, and one run of the floor or of the product in them.

Every run gets a copy of its own of a template. Copying, writing the plan and checking the result
are not measured; a run whose result is not all there is not a figure but an error.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from benchmarks import floor
from benchmarks.measure import (
    ROOT,
    NotMeasured,
    Processes,
    count_processes,
    environment,
    fresh,
    git,
    timed,
)
from benchmarks.plans import NAME, Task, as_yaml, layered

Sizes = Literal["full", "quick", "tiny"]

JOBS = 2
SMALL = 20
BIG = 5000
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where to work, how many rounds, and which sizes: full, quick, or tiny for a test of a row."""

    scratch: Path
    rounds: int
    sizes: Sizes = "full"

    def size(self, full: int, quick: int) -> int:
        """Return the size that this run is to use."""
        match self.sizes:
            case "full":
                return full
            case "quick":
                return quick
            case "tiny":
                return max(3, quick // 50)

    def turns(self, least: int, share: float = 1) -> int:
        """Return a share of the rounds, but not fewer than `least`; one is enough for a test."""
        return 1 if self.sizes == "tiny" else max(least, int(self.rounds * share))

    @property
    def env(self) -> dict[str, str]:
        """Return the environment of everything that is measured."""
        return environment(self.scratch / "home")

    def folder(self) -> Path:
        """Return a new, empty folder."""
        return fresh(self.scratch / f"{next(_numbers):04d}")

    def repository(self, files: int = SMALL) -> Path:
        """Return a new repository whose one commit on `main` has `files` files."""
        template = self.scratch / f"template-{files}"
        if not template.exists():
            self._seed(template, files)
        repo = self.folder() / "repo"
        shutil.copytree(template, repo, symlinks=True)
        return repo

    def _seed(self, repo: Path, files: int) -> None:
        repo.mkdir(parents=True)
        for number in range(files):
            path = repo / f"part-{number // 100:02d}" / f"file-{number:04d}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"file {number}\n" * 10)
        env = self.env
        git(repo, "init", "-q", "-b", "main", "--template=", env=env)
        git(repo, "config", "user.name", "bench", env=env)
        git(repo, "config", "user.email", "bench@example.invalid", env=env)
        git(repo, "add", "-A", env=env)
        git(repo, "commit", "-q", "-m", "Seed", env=env)
        git(repo, "gc", "-q", env=env)

    def floor(
        self, tasks: int, *, trees: str = "hand", steady: bool = False, trace: Path | None = None
    ) -> float:
        """Return the seconds of the floor, start of Python included, over `tasks` tasks."""
        repo = self.repository()
        command = [sys.executable, "-m", "benchmarks.floor", str(repo)]
        command += ["--tasks", str(tasks), "-j", str(JOBS), "--trees", trees]
        command += ["--steady"] if steady else []
        seconds = timed(command, cwd=ROOT, env=traced(self.env, trace))
        floor.check(repo, layered(tasks, steady=steady), self.env)
        shutil.rmtree(repo.parent)
        return seconds

    def product(self, tasks: int, *, steady: bool = False, trace: Path | None = None) -> float:
        """Return the seconds of `gitflow-agents run`, start-up included, over `tasks` tasks."""
        program = script()
        repo = self.repository()
        plan = repo / "plans" / f"{NAME}.yaml"
        plan.parent.mkdir()
        plan.write_text(as_yaml(layered(tasks, steady=steady)))
        command = [str(program), "-C", str(repo), "run", f"plans/{NAME}.yaml"]
        command += ["-j", str(JOBS), "--quiet"]
        seconds = timed(command, cwd=repo, env=traced(self.env, trace))
        self._check_product(repo, layered(tasks, steady=steady))
        shutil.rmtree(repo.parent)
        return seconds

    def _check_product(self, repo: Path, tasks: tuple[Task, ...]) -> None:
        flow = f"refs/heads/flow/{NAME}"
        if not git(repo, "for-each-ref", flow, env=self.env):
            raise NotMeasured("`run` ended well and made no flow branch")
        first_parents = ("rev-list", "--count", "--first-parent", "--min-parents=2")
        merges = git(repo, *first_parents, f"main..{flow}", env=self.env)
        made = set(git(repo, "ls-tree", "--name-only", flow, env=self.env).splitlines())
        lost = {task.output for task in tasks} - made
        if merges != str(len(tasks)) or lost:
            raise NotMeasured(
                f"flow has {merges} merges for {len(tasks)} tasks, and {len(lost)} files too few"
            )

    def floor_processes(self, tasks: int, trees: str = "hand") -> Processes:
        """Return the git processes of one run of the floor; it is not timed."""
        trace = self.folder()
        self.floor(tasks, trees=trees, trace=trace)
        return count_processes(trace)

    def product_processes(self, tasks: int) -> Processes:
        """Return the git processes of one run of the product; it is not timed."""
        trace = self.folder()
        self.product(tasks, trace=trace)
        return count_processes(trace)


def traced(env: dict[str, str], trace: Path | None) -> dict[str, str]:
    """Return `env` with every git process writing its events to the folder `trace`."""
    return env if trace is None else {**env, "GIT_TRACE2_EVENT": str(trace)}


def script() -> Path:
    """Return the program that is installed beside this Python; NotMeasured if there is none."""
    path = Path(sys.executable).with_name("gitflow-agents")
    if not path.exists():
        raise NotMeasured("`gitflow-agents` is not installed beside this Python")
    return path
