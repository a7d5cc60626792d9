"""The merge that takes no process says what git's own merge says, or leaves it to git."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents import merge
from gitflow_agents.store import Entry, Repository
from gitflow_agents.store.repository import EMPTY_TREE, EXECUTABLE, FILE, Merge
from tests.repos import Repo

Files = dict[str, str]

PATHS = ("a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "f/a", "f/b", "g")
TEXT = "".join(f"line {number}\n" for number in range(12))
BASE: Files = {path: f"{path}\n{TEXT}" for path in ("a", "d/a", "d/b", "d/e/a", "f/a")}


@pytest.fixture(scope="module")
def store(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Return a repository that only takes objects; no ref of it moves."""
    folder = tmp_path_factory.mktemp("apart")
    Repo(template.path).git("clone", "--quiet", str(template.path), str(folder / "repo"))
    made = Repository(folder / "repo")
    yield made
    made.close()


def tree(store: Repository, files: Files) -> str:
    edits: dict[str, Entry | None] = {
        path: Entry(EXECUTABLE if text.startswith("#!") else FILE, store.write_blob(text.encode()))
        for path, text in files.items()
    }
    return store.graft(EMPTY_TREE, edits)


def by_git(store: Repository, base: str, ours: str, theirs: str) -> Merge:
    root = store.write_commit(base, [], "base")
    sides = (store.write_commit(side, [root], "side") for side in (ours, theirs))
    return store.merge(*sides)


edits = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(PATHS), st.sampled_from(("x", "y", "#!z"))),
        st.tuples(st.just("append"), st.sampled_from(PATHS), st.sampled_from(("x", "y"))),
        st.tuples(st.just("remove"), st.sampled_from(PATHS), st.just("")),
        st.tuples(st.just("move"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
    ),
    max_size=4,
)


def edited(files: Files, steps: list[tuple[str, str, str]]) -> Files:
    """Return the files after the steps; what would stand where a folder is goes away with it."""
    now = dict(files)
    for what, path, other in steps:
        target = other if what == "move" else path
        text = now.get(path)
        if what == "remove" or (what == "move" and text is not None):
            now.pop(path, None)
        if what == "remove" or (text is None and what != "write"):
            continue
        now = {
            name: old
            for name, old in now.items()
            if not name.startswith(f"{target}/") and not target.startswith(f"{name}/")
        }
        now[target] = {"write": f"{other}\n", "append": f"{text}{other}\n"}.get(what, text or "")
    return now


@given(ours=edits, theirs=edits)
def test_it_agrees_with_git_or_leaves_it_to_git(
    store: Repository, ours: list[tuple[str, str, str]], theirs: list[tuple[str, str, str]]
) -> None:
    trees = [tree(store, files) for files in (BASE, edited(BASE, ours), edited(BASE, theirs))]
    found = merge.apart(store, *trees)
    if found is not None:
        assert by_git(store, *trees) == Merge(found)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        pytest.param({"d/new": "1"}, {"d/e/new": "2"}, {"d/new": "1", "d/e/new": "2"}, id="added"),
        pytest.param({"a": "1"}, {"d/a": "2"}, {"a": "1", "d/a": "2"}, id="changed"),
        pytest.param({"d/e/a": None}, {"d/b": "2"}, {"d/e/a": None, "d/b": "2"}, id="removed"),
        pytest.param({"f/a": None}, {"f/new": "2"}, {"f/a": None, "f/new": "2"}, id="folder-gone"),
        pytest.param({"h/a": "1"}, {"h/b": "2"}, {"h/a": "1", "h/b": "2"}, id="same-new-folder"),
        pytest.param({"a": "#!x"}, {"b": "2"}, {"a": "#!x", "b": "2"}, id="mode"),
    ],
)
def test_different_paths_are_merged_without_git(
    store: Repository,
    ours: dict[str, str | None],
    theirs: dict[str, str | None],
    expected: dict[str, str | None],
) -> None:
    def side(changes: dict[str, str | None]) -> str:
        after = {**BASE, **changes}
        return tree(store, {path: text for path, text in after.items() if text is not None})

    assert merge.apart(store, tree(store, BASE), side(ours), side(theirs)) == side(expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param([("append", "a", "x")], [("append", "a", "y")], id="one file"),
        pytest.param([("append", "a", "x")], [("append", "a", "x")], id="alike"),
        pytest.param([("move", "a", "g")], [("append", "a", "y")], id="renamed and changed"),
        pytest.param([("move", "a", "g")], [("move", "a", "b")], id="renamed twice"),
        pytest.param([("remove", "a", "")], [("remove", "a", "")], id="removed twice"),
        pytest.param([("write", "h", "x")], [("write", "h/a", "y")], id="file and folder"),
        pytest.param([("move", "d/a", "g")], [("append", "d/a", "y")], id="out of a folder"),
    ],
)
def test_the_same_path_on_both_sides_is_for_git(
    store: Repository, ours: list[tuple[str, str, str]], theirs: list[tuple[str, str, str]]
) -> None:
    trees = [tree(store, files) for files in (BASE, edited(BASE, ours), edited(BASE, theirs))]
    assert merge.apart(store, *trees) is None


def test_a_result_that_holds_a_merge_is_for_git(store: Repository) -> None:
    """Flow took a file back that the task's own merge still has: only git knows who was last."""
    base = store.write_commit(tree(store, BASE), [], "base")
    ahead = store.write_commit(tree(store, {**BASE, "a": "new\n"}), [base], "ahead")
    flow = store.write_commit(tree(store, BASE), [ahead], "taken back")
    work = store.write_commit(
        tree(store, {**BASE, "a": "new\n", "g": "1\n"}), [base, ahead], "work"
    )
    assert merge.merged(store, flow, work, base) == (tree(store, {**BASE, "g": "1\n"}), ())
