"""The runners of the fake GitHub: they take queued jobs and execute them, two at once.

Start with Actions.drain. A test may look in before every step, cancel there, or let the runner die.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from tests.forge.hub import Hub
from tests.forge.jobs import At, Shop, StandIn, StepFailed, Word, execute
from tests.forge.runs import Job, Run
from tests.forge.standins import STAND_INS
from tests.forge.state import Permissions, Repository
from tests.forge.triggers import Event


@dataclass(frozen=True)
class App:
    """A GitHub App that the repositories installed: what it shows, and what it may."""

    key: str
    permissions: Permissions
    slug: str = "helper"


@dataclass
class Actions:
    """Runners for the jobs of a hub."""

    hub: Hub
    slots: int = 2
    """How many jobs run at once."""
    labels: frozenset[str] = frozenset({"ubuntu-latest", "ubuntu-24.04"})
    """What runners there are: a job that asks for others waits."""
    path: Sequence[Path] = ()
    """Folders whose programs every job finds first."""
    minute: float = 60.0
    """Seconds in a minute of `timeout-minutes`."""
    grace: float = 2.0
    """Seconds that a cancelled step has to end by itself: ten at GitHub."""
    at_step: Callable[[At], Word] = lambda at: "go"
    """Asked before every step: go on, cancel the run there, or let the runner die."""
    seed: int | None = None
    """With it, waiting jobs are taken in an order of its own instead of as they came."""
    apps: dict[str, App] = field(default_factory=dict)
    """GitHub Apps by their id, for actions/create-github-app-token."""
    stand_ins: dict[str, StandIn] = field(default_factory=lambda: dict(STAND_INS))

    def __post_init__(self) -> None:
        """Make the folder that the jobs work in."""
        self.work = self.hub.root / "runners"
        self.work.mkdir(parents=True, exist_ok=True)
        self._told = 0

    def map(self, name: str, folder: Path) -> None:
        """Let `OWNER/NAME`, which is not on the hub, be the files of a folder, whatever the ref."""
        self.hub.engine.folders[name] = folder

    def deliver(self, repository: Repository, event: Event) -> list[Run]:
        """Let an event happen, as GitHub would tell it; return the runs that it starts."""
        return self.hub.happen(repository, event)

    def drain(self, *, most: int = 500, seconds: float = 300) -> list[Run]:
        """Execute jobs until none is left that could run; return the runs that ended since the last time.

        More jobs than `most`, or more time than `seconds`, fail the test.
        """
        taken = 0
        ends = time.monotonic() + seconds
        dice = None if self.seed is None else random.Random(self.seed)
        with ThreadPoolExecutor(self.slots) as pool:
            running: set[Future[None]] = set()
            while True:
                while len(running) < self.slots and (job := self._next(dice)) is not None:
                    taken += 1
                    if taken > most:
                        self._stop()
                        raise AssertionError(f"over {most} jobs, and still no end")
                    running.add(pool.submit(self._execute, job))
                if not running:
                    ended = self.hub.runs_ended[self._told :]
                    self._told += len(ended)
                    return ended
                done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
                if time.monotonic() > ends:
                    self._stop()
                    raise AssertionError(f"jobs were still running after {seconds} s")

    def _next(self, dice: random.Random | None) -> Job | None:
        """Take a queued job for a runner, if there is one that a runner suits."""
        with self.hub.lock:
            found = [job for job in self.hub.engine.queued() if set(job.labels) <= self.labels]
            if not found:
                return None
            job = dice.choice(found) if dice else found[0]
            self.hub.engine.begin(job, f"runner-{job.id}")
            return job

    def _execute(self, job: Job) -> None:
        conclusion, outputs = "failure", dict[str, str]()
        try:
            conclusion, outputs = execute(self, job)
        finally:
            with self.hub.lock:
                self.hub.engine.finished(job, conclusion, outputs)

    def _stop(self) -> None:
        """Tell everything that runs to end, so that the threads do."""
        with self.hub.lock:
            for repository in self.hub.repositories.values():
                for job in repository.jobs.values():
                    job.stop.set()

    # What jobs find on their runner

    def home(self, job: Job) -> Path:
        """Return the home of a job's runner; it has no configuration in it."""
        folder = self.work / str(job.id) / "home"
        folder.mkdir(exist_ok=True)
        return folder

    def git_env(self, job: Job) -> Mapping[str, str]:
        """Return the environment in which a stand-in starts git."""
        return {**os.environ, "HOME": str(self.home(job))}

    def action(self, shop: Shop, uses: str) -> Path:
        """Return the folder of an action: in the workspace, mapped, or from the hub at its ref."""
        name, _, ref = uses.partition("@")
        if name.startswith("./"):
            return shop.workspace / name
        owner, repo, *below = name.split("/")
        full, inner = f"{owner}/{repo}", "/".join(below)
        if (folder := self.hub.engine.folders.get(full)) is not None:
            return folder / inner
        repository = self.hub.repositories.get(full)
        sha = repository.sha(ref) if repository else None
        if repository is None or sha is None:
            raise StepFailed(f"Unable to resolve action `{uses}`, repository not found")
        into = shop.workspace.parent / "actions" / f"{owner}-{repo}-{sha}"
        if not into.exists():
            into.mkdir(parents=True)
            packed = subprocess.run(
                ["git", "archive", "--format=tar", sha],
                cwd=repository.git.path,
                capture_output=True,
                check=True,
            )
            subprocess.run(["tar", "-x"], cwd=into, input=packed.stdout, check=True)
        return into / inner

    def clean(self) -> None:
        """Remove what jobs left on the runners."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
