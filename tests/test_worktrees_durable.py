"""What is on the disk when a ref moves: all that it names, so that a power cut breaks nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from gitflow_agents.models import ZERO
from gitflow_agents.store import Repository, repository
from tests import engine
from tests.engine import recorded, task, until
from tests.repos import Repo

COMMIT = "git -c user.name=a -c user.email=a@example.com commit -qm"


def loose(repo: Repo) -> set[str]:
    """Return the objects that are files of their own."""
    return {path.parent.name + path.name for path in (repo.path / ".git/objects").glob("??/*")}


@contextmanager
def watched(repo: Repo) -> Iterator[tuple[set[str], list[str]]]:
    """Yield the objects that were brought to the disk, and those that came too late for a ref."""
    there, settled, late = loose(repo), set[str](), list[str]()
    fsync = os.fsync

    def look(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if path.name == "intent.json" and path.read_text():
            for _, old, new in json.loads(path.read_text())["moves"]:
                without = [] if old == ZERO else ["--not", old]
                if new != ZERO:
                    named = repo.git("rev-list", "--objects", new, *without)
                    shas = {line.split()[0] for line in named.splitlines()}
                    late.extend(sorted(shas - settled - there))
        elif path.parents[1].name == "objects":
            settled.add(path.parent.name + path.name)
        fsync(fd)

    with mock.patch.object(os, "fsync", look):
        yield settled, late


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux what a file is called")
def test_all_that_a_ref_names_is_on_the_disk_before_it_moves(repo: Repo) -> None:
    lines = "".join(f"line {n}\n" for n in range(30))
    repo.write("both", lines)
    repo.commit("a file that two tasks change")
    first = until("git rev-parse -q --verify task/p/2-task-2 >/dev/null")
    engine.plan(
        repo,
        task("1", f"{first} sed -i 1s/line/top/ both; mkdir d; echo 1 > d/1"),
        task(
            "2",
            f"{until(recorded('1', 'completed'))} sed -i 30s/line/end/ both; git add both;"
            f" {COMMIT} one; mkdir e; echo 2 > e/2; git add e; {COMMIT} two; rm e/2; echo 3 > e/3",
            verify=["true"],
        ),
    )
    with watched(repo) as (settled, late):
        played = engine.go(repo)
    engine.finished(repo, played)
    assert late == []
    assert "top 0" in repo.show("flow/p", "both")
    assert "end 29" in repo.show("flow/p", "both")
    # What an agent's git, the tool and git's merge wrote, one each.
    written = [repo.sha(f"flow/p:{path}") for path in ("e/3", "d/1", "both")]
    assert settled.issuperset([*written, repo.sha("gitflow/state/p")])


def test_who_told_git_to_bring_nothing_to_the_disk_is_heard(repo: Repo) -> None:
    repo.git("config", "core.fsync", "none")
    engine.plan(repo, task("1", "echo 1 > a"))
    with watched(repo) as (settled, _):
        engine.finished(repo, engine.go(repo))
    assert settled == set()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux what a file is called")
def test_a_quick_disk_gets_objects_one_by_one_and_a_slow_one_all_together(repo: Repo) -> None:
    store = Repository(repo.path)

    def written(*texts: bytes) -> list[bool]:
        """Write some texts, then settle; return of each whether it had to wait for that."""
        shas = [store.write_blob(text) for text in texts]
        waited = [sha not in settled for sha in shas]
        store.settle()
        assert settled.issuperset(shas)
        return waited

    try:
        with watched(repo) as (settled, _):
            with mock.patch.object(repository, "AT_ONCE", float("inf")):
                assert written(b"1", b"2") == [True, True]  # nobody knows the disk yet
                assert written(b"3", b"4") == [False, False]
            with mock.patch.object(repository, "AT_ONCE", -1.0):
                assert written(b"5", b"6", b"7") == [False, True, True]
                assert written(b"8", b"9") == [True, True]
            with mock.patch.object(repository, "AT_ONCE", float("inf")):
                assert written(b"10", b"11") == [True, True]
                assert written(b"12") == [False]
    finally:
        store.close()


def test_an_object_that_a_power_cut_left_empty_is_written_again(repo: Repo) -> None:
    store = Repository(repo.path)
    try:
        sha = store.write_blob(b"what was lost\n")
        path = repo.path / ".git" / "objects" / sha[:2] / sha[2:]
        path.chmod(0o644)
        path.write_bytes(b"")
        assert store.write_blob(b"what was lost\n") == sha
    finally:
        store.close()
    assert repo.git("cat-file", "blob", sha) == "what was lost"
