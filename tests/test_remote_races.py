"""Two clones and one remote: whoever is killed, cut off or late, no task is done twice."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest

from tests import engine, repos
from tests.engine import task
from tests.git_server import serve
from tests.repos import Cli, Repo

MOST_AT_ONCE = 3


@pytest.fixture
def up(repo: Repo, tmp_path: Path) -> Repo:
    """Return a bare repository with `main`, the `origin` of `repo`."""
    up = repos.init(tmp_path / "up.git", bare=True)
    repo.git("remote", "add", "origin", str(up.path))
    repo.git("push", "--quiet", "origin", "main")
    return up


def begin(repo: Repo, tmp_path: Path, tasks: int) -> list[str]:
    """Begin a plan at the remote whose tasks note when they begin and end; return their ids."""
    notes = tmp_path / "notes"
    notes.mkdir()
    ids = [f"t{number}" for number in range(tasks)]
    for_each = [
        task(
            each,
            f"touch '{notes}'/began-{each}-$GITFLOW_ATTEMPT; ls '{notes}' | grep -c now- >> "
            f"'{tmp_path}/busy'; touch '{notes}'/now-{each}; sleep 0.2; rm '{notes}'/now-{each}; "
            f"echo {each} > {each}.txt",
            depends_on=[f"t{int(each[1:]) - 3}"] if int(each[1:]) >= 3 else [],
        )
        for each in ids
    ]
    engine.plan(repo, *for_each, limits={"parallel": MOST_AT_ONCE}, gate=["true"])
    Cli(repo)("run", engine.FILE, "--remote", "origin", "--dry-run")
    return ids


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1, 2])
def test_runs_in_two_clones_share_the_work(repo: Repo, up: Repo, tmp_path: Path, runs: int) -> None:
    clone = up.clone(tmp_path / "clone")
    ids = begin(repo, tmp_path, 9)
    with ExitStack() as stack:
        first = stack.enter_context(engine.other(repo, "run", engine.FILE, "--remote", "origin"))
        engine.wait_for(lambda: "gitflow/state/p" in up.branches())
        more = [
            stack.enter_context(engine.other(each, "run", "p")) for each in (clone, repo) * runs
        ]
        assert [other.ends(300).exit_code for other in (first, *more)] == [0] * (1 + 2 * runs)
    assert engine.audit(up) == dict.fromkeys(ids, "completed")
    assert [len(engine.record(up, each)["attempts"]) for each in ids] == [1] * len(ids)
    busy = (tmp_path / "busy").read_text().split()
    assert max(map(int, busy)) < MOST_AT_ONCE
    for each in (repo, clone):
        assert not (each.path / ".worktrees").exists()
        assert Cli(each)("fsck").stdout.endswith("nothing wrong\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_runs_that_are_killed_in_two_clones_lose_nothing(
    repo: Repo, up: Repo, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    clone = up.clone(tmp_path / "clone")
    ids = begin(repo, tmp_path, 6)
    with engine.other(repo, "run", engine.FILE, "--remote", "origin") as other:
        engine.wait_for(lambda: "gitflow/state/p" in up.branches())
        for _ in range(8):
            with engine.other(chance.choice([repo, clone]), "run", "p") as beside:
                time.sleep(chance.uniform(0.3, 1.2))  # not to wait for something: to hit anything
                beside.dies()
        other.dies()
    for each in (clone, repo):
        assert repos.tool(each, "run", "p", timeout=120).exit_code == 0
    assert engine.audit(up) == dict.fromkeys(ids, "completed")
    for each in (repo, clone):
        assert not (each.path / ".worktrees").exists()
        assert Cli(each)("fsck").stdout.endswith("nothing wrong\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_fails_at_random_makes_no_difference_in_the_end(
    repo: Repo, up: Repo, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    up.git("config", "http.receivepack", "true")
    ids = begin(repo, tmp_path, 6)
    clone = up.clone(tmp_path / "clone")
    with serve(tmp_path) as server, ExitStack() as stack:
        for each in (repo, clone):
            each.git("remote", "set-url", "origin", server.url(up))

        def fail() -> None:
            server.drops = chance.random() < 0.2
            server.is_away = chance.random() < 0.1
            if server.is_away:
                Timer(chance.uniform(0.1, 2.0), setattr, (server, "is_away", False)).start()

        words = ("run", engine.FILE, "--remote", "origin")
        first = stack.enter_context(engine.other(repo, *words))
        engine.wait_for(lambda: "gitflow/state/p" in up.branches())
        server.before_push = fail
        more = stack.enter_context(engine.other(clone, "run", "p"))
        ended = [other.ends(300) for other in (first, more)]
    assert {each.exit_code for each in ended} <= {0, 75}, ended
    assert 0 in {each.exit_code for each in ended}, ended
    assert engine.audit(up) == dict.fromkeys(ids, "completed")
    began = [path.name.split("-")[1] for path in (tmp_path / "notes").glob("began-*-1")]
    assert sorted(began) == ids


@pytest.mark.slow
def test_what_a_killed_run_left_in_its_clone_is_kept_when_another_clone_went_on(
    repo: Repo, up: Repo, tmp_path: Path
) -> None:
    clone = up.clone(tmp_path / "clone")
    engine.plan(repo, task("a", "[ -e partial.txt ] || { echo > partial.txt; sleep 60; }; exit 0"))
    with engine.other(repo, "run", engine.FILE, "--remote", "origin") as other:
        engine.wait_for(lambda: (repo.path / ".worktrees/p/a/partial.txt").exists())
        repos.tool(clone, "hold", "p")
        other.dies()
    repos.tool(clone, "stop", "p/a")
    repos.tool(repo, "run", "p", check=False)
    kept = [ref for ref in up.branches() if ref.startswith("gitflow/attempt/")]
    assert [ref for ref in kept if "partial.txt" in up.tree(ref)] == ["gitflow/attempt/p/a/1"]
    assert not (repo.path / ".worktrees").exists()
    engine.audit(up)
