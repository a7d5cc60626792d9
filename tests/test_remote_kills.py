"""A run whose plan a remote decides on, killed at points of its work, and then run again.

What a point is stands in `tests/killing/sitecustomize.py`; a push that was begun goes on without
the process that began it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests import engine, repos
from tests.engine import task
from tests.repos import Repo
from tests.test_kills import SEED, left_behind, run

DRAWN = 40
WORDS = ("run", engine.FILE, "--remote", "origin")
END = {"1": "completed", "2": "completed", "3": "failed"}


def begin(template: Repo, folder: Path) -> tuple[Repo, Repo]:
    """Return a repository with a plan, and the bare one that is its origin."""
    repo = repos.copy(template, folder / "repo")
    up = repos.init(folder / "up.git", bare=True)
    repo.git("remote", "add", "origin", str(up.path))
    repo.git("push", "--quiet", "origin", "main")
    engine.plan(
        repo,
        task("1", "echo 1 > a.txt", provides=["a"], verify=["test -s a.txt"]),
        task("2", "echo 2 > b.txt"),
        task("3", "cat a.txt > d.txt; exit 3", preconditions=["a"]),
        gate=["test -e plans/p.yaml"],
    )
    return repo, up


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory, template: Repo) -> int:
    """Return how many points one undisturbed run has."""
    folder = tmp_path_factory.mktemp("count")
    repo, _ = begin(template, folder)
    done = run(repo, *WORDS, count=folder / "points")
    assert done.exit_code == 4, done.stdout + done.stderr
    return int((folder / "points").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(DRAWN))
def test_after_a_kill_one_more_run_is_enough(
    template: Repo, tmp_path: Path, points: int, draw: int
) -> None:
    at = random.Random(f"{SEED}-remote-{draw}").randint(1, points)
    repo, up = begin(template, tmp_path)
    done = run(repo, *WORDS, at=at)
    assert done.exit_code in (-9, 4), done.stdout + done.stderr
    try:
        again = engine.go(repo, remote="origin")
        assert again.code == 4, again.message
        assert engine.audit(up) == END
        assert not (repo.path / ".worktrees").exists()
        assert left_behind(repo) == []
        assert repo.branches() == ["main"]
        stays = [ref for ref in up.branches() if not ref.startswith("gitflow/attempt/")]
        assert stays == ["flow/p", "gitflow/state/p", "main", "plan/p", "task/p/3-task-3"]
    except BaseException as e:
        e.add_note(f"KILL_SEED={SEED}: killed at point {at} of {points}; see {repo.path}")
        raise


@pytest.mark.slow
@pytest.mark.parametrize("draw", range(5))
def test_a_push_of_the_authority_that_was_killed_is_done_or_not_begun(
    template: Repo, tmp_path: Path, draw: int
) -> None:
    repo, up = begin(template, tmp_path)
    assert run(repo, "run", engine.FILE).exit_code == 4
    at = random.Random(f"{SEED}-push-{draw}").randint(1, 30)
    run(repo, "push", "p", at=at)
    assert run(repo, "push", "p").exit_code == 0
    assert engine.state(up)["authority"] == "origin"
    assert engine.audit(up) == END
    assert engine.go(repo, "p").code == 4
