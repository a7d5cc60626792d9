"""A merge obeys the `.gitattributes` that flow holds, as a merge in a checkout of flow would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gitflow_agents.store import Repository
from gitflow_agents.store.repository import Merge
from tests import engine
from tests.engine import recorded, task, until
from tests.repos import Repo
from tests.test_processes import counted

Files = dict[str, str]

BASE = {"a.txt": "base\n", "sub/a.txt": "base\n", "sub/deep/a.txt": "base\n", "other/b": "b\n"}
OURS = {path: text + "ours\n" for path, text in BASE.items()}
THEIRS = {path: text + "theirs\n" for path, text in BASE.items()}


@pytest.fixture
def store(repo: Repo) -> Iterator[Repository]:
    found = Repository(repo.path)
    yield found
    found.close()


def sides(repo: Repo, rules: Files, base: Files, ours: Files, theirs: Files) -> None:
    """Make the branches `ours` and `theirs`, which part at a commit with `base` and `rules`."""
    for branch, files in (("base", {**base, **rules}), ("ours", ours), ("theirs", theirs)):
        repo.git("switch", "--quiet", "--create", branch, "main" if branch == "base" else "base")
        for path, text in files.items():
            repo.write(path, text)
        repo.commit(branch)
    repo.git("switch", "--quiet", "--detach", "main")


def by_checkout(repo: Repo, folder: Path) -> Merge:
    """Return what `git merge` says in a checkout of `ours`; its tree only where it is clean."""
    checkout = repo.worktree(folder, "ours")
    checkout.git("merge", "--quiet", "--no-edit", "theirs", check=False)
    conflicts = checkout.git("diff", "--name-only", "--diff-filter=U").split()
    tree = "" if conflicts else checkout.git("rev-parse", "HEAD^{tree}")
    return Merge(tree, tuple(conflicts))


CASES = {
    "none": {},
    "union": {".gitattributes": "*.txt merge=union\n"},
    "union everywhere": {".gitattributes": "* merge=union\n"},
    "no merge": {".gitattributes": "* merge=union\nother/b -merge\n"},
    "binary": {".gitattributes": "*.txt binary\n"},
    "a folder's own": {"sub/.gitattributes": "*.txt merge=union\n"},
    "a folder takes it back": {
        ".gitattributes": "* merge=union\n",
        "sub/deep/.gitattributes": "*.txt !merge\n",
    },
    "a driver that nobody has": {".gitattributes": "* merge=nobody\n"},
    "a macro": {".gitattributes": "[attr]both merge=union\n*.txt both\n"},
    "no rule applies": {".gitattributes": "*.md merge=union\n"},
}


@pytest.mark.parametrize("rules", CASES.values(), ids=list(CASES))
def test_a_merge_is_what_git_merge_makes_in_a_checkout(
    repo: Repo, store: Repository, tmp_path: Path, rules: Files
) -> None:
    sides(repo, rules, BASE, OURS, THEIRS)
    expected = by_checkout(repo, tmp_path / "checkout")
    found = store.merge(repo.sha("ours"), repo.sha("theirs"))
    assert found.conflicts == expected.conflicts
    if not expected.conflicts:
        assert found.tree == expected.tree


def test_the_rules_that_count_are_those_of_the_first_side(
    repo: Repo, store: Repository, tmp_path: Path
) -> None:
    rule = {".gitattributes": "* merge=union\n"}
    sides(repo, {}, BASE, {**OURS, **rule}, THEIRS)
    expected = by_checkout(repo, tmp_path / "checkout")
    assert expected.conflicts == ()
    assert store.merge(repo.sha("ours"), repo.sha("theirs")) == expected
    other = store.merge(repo.sha("theirs"), repo.sha("ours"))
    assert other.conflicts == tuple(sorted(BASE))


def test_a_renamed_file_is_merged_by_the_rules_of_where_it_is_now(
    repo: Repo, store: Repository, tmp_path: Path
) -> None:
    text = "".join(f"line {n}\n" for n in range(20))
    sides(repo, {"new/.gitattributes": "* merge=union\n"}, {"a": text}, {}, {"a": f"{text}2\n"})
    repo.git("switch", "--quiet", "ours")
    repo.git("mv", "a", "new/a")
    repo.write("new/a", f"{text}1\n")
    repo.commit("moved")
    repo.git("switch", "--quiet", "--detach", "main")
    expected = by_checkout(repo, tmp_path / "checkout")
    assert expected.conflicts == ()
    assert store.merge(repo.sha("ours"), repo.sha("theirs")) == expected


def test_a_link_to_rules_is_not_followed(repo: Repo, store: Repository, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("* merge=union\n")
    (repo.path / ".gitattributes").symlink_to(outside)
    repo.commit("a link")
    sides(repo, {}, BASE, OURS, THEIRS)
    found = store.merge(repo.sha("ours"), repo.sha("theirs"))
    assert found.conflicts == by_checkout(repo, tmp_path / "checkout").conflicts
    assert found.conflicts == tuple(sorted(BASE))


def test_a_driver_of_the_repository_is_asked(repo: Repo, store: Repository, tmp_path: Path) -> None:
    repo.git("config", "merge.mine.driver", "printf 'by %s' %P > %A")
    sides(repo, {".gitattributes": "* merge=mine\n"}, BASE, OURS, THEIRS)
    found = store.merge(repo.sha("ours"), repo.sha("theirs"))
    assert found == by_checkout(repo, tmp_path / "checkout")
    assert repo.show(found.tree, "sub/a.txt") == "by sub/a.txt"


def test_a_bare_repository_merges_by_the_same_rules(repo: Repo, tmp_path: Path) -> None:
    sides(repo, CASES["union everywhere"], BASE, OURS, THEIRS)
    expected = by_checkout(repo, tmp_path / "checkout")
    bare = repo.clone(tmp_path / "bare.git", bare=True)
    found = Repository(bare.path)
    try:
        assert found.merge(bare.sha("ours"), bare.sha("theirs")) == expected
    finally:
        found.close()


def test_rules_outside_any_checkout_of_flow_change_nothing(repo: Repo, store: Repository) -> None:
    sides(repo, {}, BASE, OURS, THEIRS)
    repo.write(".gitattributes", "* merge=union\n")
    repo.write("sub/.gitattributes", "* merge=union\n")
    repo.git("add", "sub/.gitattributes")
    assert store.merge(repo.sha("ours"), repo.sha("theirs")).conflicts == tuple(sorted(BASE))


@pytest.mark.parametrize("rules", [CASES["none"], CASES["union everywhere"]], ids=["none", "some"])
def test_rules_cost_no_process_and_leave_nothing_behind(
    repo: Repo, store: Repository, tmp_path: Path, rules: Files
) -> None:
    sides(repo, rules, BASE, OURS, THEIRS)
    ours, theirs = repo.sha("ours"), repo.sha("theirs")
    store.commit(ours)  # what is asked about objects is there from now on
    with counted(tmp_path / "trace") as started:
        store.merge(ours, theirs)
    assert started.ours == {"merge-tree": 1}
    assert list((repo.path / ".git").glob("**/merge-*")) == []


# --- a run ----------------------------------------------------------------------------------------

APPEND = [
    task(
        "1", f"{until('git rev-parse -q --verify task/p/2-task-2 >/dev/null')} echo 1 >> shared.txt"
    ),
    task("2", f"{until(recorded('1', 'completed'))} echo 2 >> shared.txt"),
]
"""Two tasks that begin with the same file and append to it, one after the other."""


def appended(repo: Repo) -> engine.Played:
    repo.write("shared.txt", "0\n")
    repo.commit("a file that all append to")
    engine.plan(repo, *APPEND, defaults={"conflict_retries": 0})
    return engine.go(repo)


def test_two_tasks_that_append_to_a_file_of_union_are_both_merged(repo: Repo) -> None:
    repo.write(".gitattributes", "*.txt merge=union\n")
    engine.finished(repo, appended(repo))
    assert repo.show("flow/p", "shared.txt") == "0\n1\n2\n"


def test_what_the_person_has_not_committed_rules_no_merge(repo: Repo) -> None:
    repo.write("shared.txt", "0\n")
    repo.commit("a file that all append to")
    repo.write(".gitattributes", "*.txt merge=union\n")
    engine.plan(repo, *APPEND, defaults={"conflict_retries": 0})
    assert engine.go(repo).code == 4
    assert engine.record(repo, "2")["reason"] == "conflict"
    assert repo.show("flow/p", "shared.txt") == "0\n1\n"


def test_a_file_that_must_not_be_merged_is_a_conflict_although_its_lines_would_fit(
    repo: Repo,
) -> None:
    lines = "".join(f"line {n}\n" for n in range(20))
    repo.write("data", lines)
    repo.write(".gitattributes", "data -merge\n")
    repo.commit("a file that is one thing")
    first, second = (one["run"].split("echo")[0] for one in APPEND)
    engine.plan(
        repo,
        task("1", f"{first} sed -i 1d data"),
        task("2", f"{second} echo 2 >> data"),
        defaults={"conflict_retries": 0},
    )
    assert engine.go(repo).code == 4
    assert engine.record(repo, "2")["reason"] == "conflict"
    assert engine.record(repo, "2")["conflict_paths"] == ["data"]
