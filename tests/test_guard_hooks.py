"""A folder of hooks that is not git's own is watched as well as git's own is."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitflow_agents.store import Guard, Refs, Repository
from gitflow_agents.store.guard import MOST_HOOK_BYTES, MOST_HOOKS, MOST_HOOKS_READ, Findings
from tests import engine
from tests.engine import task
from tests.repos import Repo


@pytest.fixture
def hooks(repo: Repo, tmp_path: Path) -> Path:
    """Return a folder outside the repository that its config names for hooks, with one in it."""
    folder = tmp_path / "my hooks"
    folder.mkdir()
    (folder / "pre-commit").write_text("exit 0\n")
    repo.git("config", "core.hooksPath", str(folder))
    return folder


@pytest.fixture
def guard(repo: Repo, hooks: Path) -> Iterator[Guard]:
    repository = Repository(repo.path)
    refs = Refs(repository)
    yield Guard(refs, ())
    refs.close()
    repository.close()


def kept(repo: Repo, name: str) -> Path:
    return repo.path / ".git/gitflow-agents/before/core.hooksPath" / name


def test_an_agent_that_changes_a_hook_elsewhere_stops_the_plan(repo: Repo, hooks: Path) -> None:
    hook = hooks / "pre-commit"
    engine.plan(repo, task("1", f"echo 1 > a; echo exit 1 > '{hook}'"), task("2", "echo 2 > b"))
    played = engine.go(repo, jobs=1)
    before = kept(repo, "pre-commit")
    why = f"{hook} changed while it ran; to see how: diff {before} '{hook}'"
    assert (played.code, played.message) == (4, f"the plan is held: {why}")
    assert (hook.read_text(), before.read_text()) == ("exit 1\n", "exit 0\n")
    record = engine.record(repo, "1")
    assert (record["reason"], record["message"]) == ("protected-path", why)


@pytest.mark.parametrize("where", ["--local", "--global"])
def test_the_folder_may_be_named_by_any_config_and_from_the_home(
    repo: Repo, home: Path, where: str
) -> None:
    (home / "hooks" / "more").mkdir(parents=True)
    repo.git("config", where, "core.hooksPath", "~/hooks")
    engine.plan(repo, task("1", f"echo 1 > a; echo x > '{home}/hooks/more/new'"))
    played = engine.go(repo)
    why = f"{home}/hooks/more/new was made while it ran; look at it, and remove it"
    assert (played.code, played.message) == (4, f"the plan is held: {why}")


def test_a_look_that_finds_nothing_waits_for_no_decision(guard: Guard) -> None:
    guard.begin()
    found: list[Findings] = []
    looking = threading.Thread(target=lambda: found.append(guard.look("nobody")), daemon=True)
    with guard.refs.lock():
        looking.start()
        looking.join(20)
        assert found == [Findings()]


def test_what_nobody_touches_is_no_finding(hooks: Path, guard: Guard) -> None:
    guard.begin()
    assert guard.look("nobody").files == ()


def test_who_may_run_a_hook_counts_and_so_does_one_that_is_gone(
    repo: Repo, hooks: Path, guard: Guard
) -> None:
    (hooks / "post-commit").write_text("exit 0\n")
    guard.begin()
    (hooks / "pre-commit").chmod(0o755)
    (hooks / "post-commit").unlink()
    found = guard.look("nobody").files
    assert [line.split(" changed ")[0] for line in found] == [
        str(hooks / "post-commit"),
        str(hooks / "pre-commit"),
    ]
    assert kept(repo, "post-commit").read_text() == "exit 0\n"
    (hooks / "pre-commit").chmod(0o644)
    still = {str(hooks / "post-commit"): True, str(hooks / "pre-commit"): False}
    assert guard.still("; ".join(found)) == still


def test_of_a_large_file_the_size_and_the_time_count(hooks: Path, guard: Guard) -> None:
    large = hooks / "large"
    large.write_bytes(b"a" * (MOST_HOOK_BYTES + 1))
    guard.begin()
    assert guard.look("nobody").files == ()
    about = large.stat()
    large.write_bytes(b"b" * (MOST_HOOK_BYTES + 1))
    os.utime(large, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    assert [line.split(" changed ")[0] for line in guard.look("nobody").files] == [str(large)]


def test_a_folder_of_very_many_files_is_looked_at_only_so_far(hooks: Path, guard: Guard) -> None:
    for number in range(MOST_HOOKS + 10):
        (hooks / f"{number:05}").touch()
    guard.begin()
    os.utime(hooks / f"{MOST_HOOKS_READ + 1:05}", ns=(1, 1))
    (hooks / f"{MOST_HOOKS + 5:05}").write_text("beyond what is looked at")
    (hooks / "00000").write_text("x")
    assert [line.split(" changed ")[0] for line in guard.look("nobody").files] == [
        str(hooks / "00000"),
        str(hooks / f"{MOST_HOOKS_READ + 1:05}"),
    ]


def test_a_folder_that_is_not_there_or_in_each_worktree_is_not_watched(
    repo: Repo, tmp_path: Path
) -> None:
    for folder in (str(tmp_path / "nowhere"), ".husky"):
        repo.git("config", "core.hooksPath", folder)
        engine.plan(repo, task("1", "mkdir .husky; echo 1 > .husky/pre-commit"), name=folder[-5:])
        assert engine.go(repo, f"plans/{folder[-5:]}.yaml").code == 0


def test_rules_that_merges_would_read_from_gits_own_folder_are_watched(repo: Repo) -> None:
    rules = repo.path / ".git" / ".gitattributes"
    engine.plan(repo, task("1", f"echo 1 > a; echo '* merge=union' > '{rules}'"))
    played = engine.go(repo)
    why = f"{rules} was made while it ran; look at it, and remove it"
    assert (played.code, played.message) == (4, f"the plan is held: {why}")
