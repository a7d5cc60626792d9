"""The installed command, killed at every point of its work, and then run again.

A kill is SIGKILL of the process, with its agents left where they were.  Each point of one plan is
taken in turn (`tests/killing/sitecustomize.py` says what a point is); the fast tier draws some of
them by a seed that a failing test prints.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import engine, repos
from tests.engine import task
from tests.repos import Repo

DRAWN = 30
SEED = os.environ.get("KILL_SEED") or str(time.time_ns() % 1_000_000)
STRIDES = 20
"""One slow test takes every twentieth point."""
SCRIPT = Path(sys.executable).with_name("gitflow-agents")


def story(repo: Repo) -> str:
    """Write a plan in which most of what a run does happens: a conflict, a gate, a failure."""
    # Its second attempt need not wait: 2 is merged by then.
    late = engine.until(engine.recorded("2", "completed"))
    return engine.plan(
        repo,
        task("1", "echo 1 > a.txt", provides=["a"], verify=["test -s a.txt"]),
        task("2", "echo 2 > shared.txt", verify=["test -s shared.txt"]),
        task(
            "3",
            f"{late}grep -qs 3 shared.txt || echo 3 >> shared.txt",
            verify=["test -s shared.txt"],
        ),
        task("4", "cat a.txt > d.txt; exit 3", preconditions=["a"]),
        gate=["test -e plans/p.yaml"],
        limits={"parallel": 3},
    )


def run(
    repo: Repo, *args: str, at: int = 0, count: Path | None = None, how: str = "kill"
) -> repos.Result:
    """Run the installed command as a process of its own, to be killed at a point (0: not)."""
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")},
        "PYTHONPATH": str(Path(__file__).parent / "killing"),
        "KILL_BELOW": str(repo.path),
        "KILL_AT": str(at),
        "KILL_COUNT": str(count or ""),
        "KILL_HOW": how,
    }
    done = subprocess.run(
        [SCRIPT, *args],
        cwd=repo.path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return repos.Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def points(tmp_path_factory: pytest.TempPathFactory, template: Repo) -> int:
    """Return how many points one undisturbed run of the story has."""
    folder = tmp_path_factory.mktemp("count")
    repo = repos.copy(template, folder / "repo")
    done = run(repo, "run", story(repo), count=folder / "points")
    assert done.exit_code == 4, done.stderr
    return int((folder / "points").read_text())


def holds(repo: Repo) -> None:
    """Hold that after a kill, one more run is all that it takes."""
    again = engine.go(repo)
    assert again.code == 4, again.message
    assert engine.audit(repo) == {
        "1": "completed", "2": "completed", "3": "completed", "4": "failed"
    }  # fmt: skip
    engine.tidy(repo)
    assert repo.show("flow/p", "a.txt") == "1\n"
    assert repo.show("flow/p", "shared.txt").split() in (["2", "3"], ["3", "2"])
    assert left_behind(repo) == []
    repo.git("fsck", "--strict", "--no-dangling")


def left_behind(repo: Repo) -> list[str]:
    """Return the processes that work below a repository."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "cwd").startswith(str(repo.path)):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def killed(template: Repo, folder: Path, at: int) -> None:
    """Kill a run at a point, and hold that the next one mends everything."""
    repo = repos.copy(template, folder / f"repo {at}")
    story(repo)
    done = run(repo, "run", engine.FILE, at=at)
    assert done.exit_code in (-9, 4), done.stdout + done.stderr
    assert "bug" not in done.stderr
    try:
        holds(repo)
    except BaseException as e:
        e.add_note(f"KILL_SEED={SEED}: killed at point {at}; the repository is {repo.path}")
        raise


def filled(template: Repo, folder: Path, at: int) -> None:
    """Fill the disk at a point of a run, and hold that the next one, with room, mends everything."""
    repo = repos.copy(template, folder / f"repo {at}")
    story(repo)
    done = run(repo, "run", engine.FILE, at=at, how="full")
    try:
        said = done.stdout + done.stderr
        # What was written by then is all that was left to write, or it says what to do.
        assert done.exit_code == 4 or "make room on the disk" in done.stderr, said
        assert done.exit_code in (1, 4, 75), said
        holds(repo)
    except BaseException as e:
        e.add_note(f"KILL_SEED={SEED}: the disk was full at point {at}; it is {repo.path}")
        raise


@pytest.mark.parametrize("draw", range(3))
def test_after_the_disk_was_full_one_more_run_is_enough(
    template: Repo, tmp_path: Path, points: int, draw: int
) -> None:
    filled(template, tmp_path, random.Random(f"{SEED}-full-{draw}").randint(1, 2 * points))


@pytest.mark.slow
@pytest.mark.parametrize("stride", range(4))
def test_after_the_disk_was_full_from_any_point_on_one_more_run_is_enough(
    template: Repo, tmp_path: Path, points: int, stride: int
) -> None:
    # Here every object is a point of its own, and what comes after a point is full as well.
    for at in range(30 * stride + 1, 2 * points, 120):
        filled(template, tmp_path, at)


@pytest.mark.parametrize("draw", range(DRAWN))
def test_after_a_kill_at_any_point_one_more_run_is_enough(
    template: Repo, tmp_path: Path, points: int, draw: int
) -> None:
    killed(template, tmp_path, random.Random(f"{SEED}-{draw}").randint(1, points))


@pytest.mark.slow
@pytest.mark.parametrize("stride", range(STRIDES))
def test_after_a_kill_at_each_point_one_more_run_is_enough(
    template: Repo, tmp_path: Path, points: int, stride: int
) -> None:
    for at in range(stride + 1, points + 1, STRIDES):
        killed(template, tmp_path, at)


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(20))
def test_killed_again_and_again_a_run_gets_there_in_the_end(
    template: Repo, tmp_path: Path, points: int, draw: int
) -> None:
    chance = random.Random(f"{SEED}-again-{draw}")
    repo = repos.copy(template, tmp_path / "repo")
    story(repo)
    for _ in range(6):
        run(repo, "run", engine.FILE, at=chance.randint(1, points // 2))
    holds(repo)
