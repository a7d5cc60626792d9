"""What is read from the files of refs is what git says of them, or a puzzle for git."""

from __future__ import annotations

import pytest

from gitflow_agents.store import Repository
from gitflow_agents.store.reffiles import Puzzle, RefFiles
from tests.repos import Repo

ALL = ("refs/heads/", "refs/tags/", "refs/stash")


@pytest.fixture
def refs(repo: Repo) -> RefFiles:
    """Return the reader; it is asked again and again, as in a run."""
    return RefFiles(repo.path / ".git")


def by_git(repo: Repo, *prefixes: str) -> dict[str, str]:
    said = repo.git("for-each-ref", "--format=%(refname) %(objectname)", *(prefixes or ALL))
    return dict(line.rsplit(" ", 1) for line in said.splitlines())


def test_it_says_what_git_says_however_the_refs_are_stored(repo: Repo, refs: RefFiles) -> None:
    steps = [
        ("branch", "task/p/1-one"),
        ("tag", "-a", "-m", "one", "v1"),
        ("pack-refs", "--all"),
        ("branch", "task/p/2-two"),
        ("branch", "-f", "task/p/1-one", "main~0"),
        ("commit", "-q", "--allow-empty", "-m", "more"),
        ("branch", "-f", "task/p/1-one", "main"),
        ("branch", "-D", "task/p/2-two"),
        ("pack-refs", "--all"),
        ("branch", "-D", "task/p/1-one"),
        ("branch", "tas"),
        ("stash", "push", "-q", "-u"),
        ("branch", "ä/ö"),
    ]
    (repo.path / "untracked").write_text("x\n")
    names = ["main", "task/p/1-one", "task/p/2-two", "tas", "ä/ö", "task/p", "never"]
    for step in steps:
        repo.git(*step, env={"GIT_COMMITTER_DATE": "@1 +0000"})
        assert refs.below(ALL) == by_git(repo)
        assert list(refs.below(ALL)) == list(by_git(repo))
        tips = by_git(repo, "refs/heads/")
        found = {f"refs/heads/{name}": refs.branch(f"refs/heads/{name}") for name in names}
        assert found == {ref: tips.get(ref) for ref in found}
    assert refs.below(("refs/heads/task/",)) == {}


def test_a_branch_is_found_in_whichever_file_it_is(repo: Repo, refs: RefFiles) -> None:
    repo.git("branch", "a/b")
    repo.git("pack-refs", "--all")
    assert (refs.branch("refs/heads/a/b"), refs.branch("refs/heads/a")) == (repo.sha(), None)
    (repo.path / ".git/refs/heads/a").mkdir(exist_ok=True)
    repo.git("branch", "-D", "a/b")
    repo.git("branch", "a")
    repo.git("pack-refs", "--all")
    (repo.path / ".git/refs/heads/a").mkdir(exist_ok=True)
    assert refs.branch("refs/heads/a") == repo.sha()


@pytest.mark.parametrize(
    "name",
    [
        "main",
        "HEAD",
        "refs/tags/v1",
        "refs/heads/main^{commit}",
        "refs/heads/main~1",
        "refs/heads/main:README.md",
        "refs/heads/main@{0}",
        "refs/heads/\0",
    ],
)
def test_anything_but_a_plain_branch_is_for_git(refs: RefFiles, name: str) -> None:
    with pytest.raises(Puzzle):
        refs.branch(name)


def test_a_symbolic_branch_is_for_git(repo: Repo, refs: RefFiles) -> None:
    repo.git("symbolic-ref", "refs/heads/other", "refs/heads/main")
    with pytest.raises(Puzzle):
        refs.branch("refs/heads/other")
    with pytest.raises(Puzzle):
        refs.below(ALL)
    store = Repository(repo.path)
    assert store.resolve("refs/heads/other") == store.tips(*ALL)["refs/heads/other"] == repo.sha()
    store.close()


def test_a_ref_that_is_not_whole_is_for_git(repo: Repo, refs: RefFiles) -> None:
    (repo.path / ".git/refs/heads/torn").write_bytes(b"")
    with pytest.raises(Puzzle):
        refs.branch("refs/heads/torn")


def test_refs_that_are_not_stored_in_files_are_for_git(repo: Repo, refs: RefFiles) -> None:
    repo.git("pack-refs", "--all")
    folder = repo.path / ".git/refs/heads"
    folder.rmdir()
    folder.write_text("this repository uses the reftable format\n")
    with pytest.raises(Puzzle):
        refs.branch("refs/heads/main")
    with pytest.raises(Puzzle):
        refs.below(ALL)


def test_links_that_lead_round_in_circles_end(repo: Repo, refs: RefFiles) -> None:
    (repo.path / ".git/refs/heads/round").symlink_to("..")
    with pytest.raises(Puzzle):
        refs.below(ALL)


def test_a_lock_is_no_ref(repo: Repo, refs: RefFiles) -> None:
    (repo.path / ".git/refs/heads/main.lock").write_text(f"{repo.sha()}\n")
    assert refs.below(ALL) == {"refs/heads/main": repo.sha()}
