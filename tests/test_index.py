"""The tree that is read from git's index is the one that git writes of it, or git is asked."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from gitflow_agents.store import Repository
from gitflow_agents.store.index import MOST, tree_of
from gitflow_agents.store.repository import EMPTY_TREE, EXECUTABLE, FILE, SYMLINK, Entry
from tests.repos import Repo


@pytest.fixture
def store(repo: Repo) -> Iterator[Repository]:
    """Return the test's repository as the tool sees it."""
    made = Repository(repo.path)
    yield made
    made.close()


def index(repo: Repo) -> bytes:
    return (repo.path / ".git" / "index").read_bytes()


def staged(repo: Repo, *names: str) -> None:
    for name in names:
        path = repo.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    repo.git("add", "-A")


def test_the_tree_is_the_one_that_git_writes(repo: Repo, store: Repository) -> None:
    staged(repo, "a.txt", "a/b/c.txt", "a/b.txt", "a-b", "ab/c", "ä ö.txt", "z" * 200, "a0", ".x")
    (repo.path / "run").write_text("#!/bin/sh\n")
    (repo.path / "run").chmod(0o755)
    (repo.path / "link").symlink_to("a.txt")
    Path(os.fsdecode(os.fsencode(repo.path / "latin-") + b"\xe9")).write_text("not UTF-8\n")
    repo.git("add", "-A")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    assert tree_of(store, index(repo)) == repo.git("write-tree", "--missing-ok").strip()


def test_a_tree_that_lost_all_its_files_is_the_empty_one(repo: Repo, store: Repository) -> None:
    repo.git("rm", "-q", "-r", ".")
    assert tree_of(store, index(repo)) == EMPTY_TREE


def test_changes_after_a_checkout_are_in_it(repo: Repo, store: Repository) -> None:
    staged(repo, "d/one", "d/two", "e/one")
    repo.commit("more")
    (repo.path / "d/one").write_text("changed\n")
    (repo.path / "e/one").unlink()
    repo.git("add", "-A")
    assert tree_of(store, index(repo)) == repo.git("write-tree").strip()


@pytest.mark.parametrize("version", ["3", "4"])
def test_another_format_is_for_git(repo: Repo, store: Repository, version: str) -> None:
    staged(repo, "a", "b")
    (repo.path / "c").write_text("later\n")
    repo.git("add", "--intent-to-add", "c")
    repo.git("update-index", "--index-version", version)
    assert tree_of(store, index(repo)) is None


def test_a_split_index_is_for_git(repo: Repo, store: Repository) -> None:
    staged(repo, "a", "b")
    repo.git("update-index", "--split-index")
    assert tree_of(store, index(repo)) is None


def test_a_conflict_is_for_git(repo: Repo, store: Repository) -> None:
    sha = repo.git("hash-object", "-w", "--stdin", stdin="x").strip()
    repo.git("update-index", "--index-info", stdin=f"100644 {sha} 2\tREADME.md\n")
    assert tree_of(store, index(repo)) is None


def test_a_name_that_no_tree_may_hold_is_for_git(repo: Repo, store: Repository) -> None:
    staged(repo, "aaaa/config", "bbbbb")
    assert tree_of(store, index(repo).replace(b"aaaa/config", b".git/config")) is None
    assert tree_of(store, index(repo).replace(b"bbbbb", b"aaaa/")) is None


def test_many_files_are_for_git(repo: Repo, store: Repository) -> None:
    staged(repo, *(f"{number}" for number in range(MOST)))
    assert tree_of(store, index(repo)) is None


@pytest.mark.parametrize("size", [0, 11, 50, 100])
def test_what_is_cut_short_is_for_git(repo: Repo, store: Repository, size: int) -> None:
    staged(repo, "a", "b")
    assert tree_of(store, index(repo)[:size]) is None


def test_something_else_is_for_git(repo: Repo, store: Repository) -> None:
    assert tree_of(store, struct.pack(">4sLL", b"NOPE", 2, 0) + b"\0" * 20) is None


EDITS = some.dictionaries(
    some.sampled_from(["a", "a/x", "a/y", "a-b", "a.b", "a0", "ab/x", "ab", "A", "ä"]),
    some.sampled_from([None, FILE, EXECUTABLE, SYMLINK]),
    max_size=4,
)


@given(some.lists(EDITS, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tree_changed_step_by_step_is_the_one_that_is_written_at_once(
    store: Repository, steps: list[dict[str, str | None]]
) -> None:
    blob = store.write_blob(b"")
    tree = EMPTY_TREE
    for edits in steps:
        tree = store.graft(
            tree, {n: Entry(mode, blob) if mode else None for n, mode in edits.items()}
        )
    held = dict(store.files(tree))
    assert list(held) == sorted(held)
    assert store.graft(EMPTY_TREE, held) == tree
