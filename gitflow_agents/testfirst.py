"""Whether tests came before what makes them pass: `tdd: true`, as history shows it.

The tests of a result are its changed files of the kind `tests`.  The commit that has to fail is the
first from which on all of them stay as they are in the result; the commits of earlier attempts
count, because their work is brought back in one piece.  That they fail there, and pass in the end,
is for the train to see; here is only found where it has to look.
"""

from __future__ import annotations

from collections.abc import Sequence

from gitflow_agents import merge
from gitflow_agents.models import Plan, Task
from gitflow_agents.roles import kind
from gitflow_agents.store import Repository

TESTS = "tests"


def is_wanted(plan: Plan, task: Task) -> bool:
    """Say whether a task is accepted only when its tests came first; `task` as its role lets it."""
    return bool(plan.setting(task, "tdd")) and task.kind != "research"


def red(repository: Repository, work: Sequence[tuple[str, str]], tree: str) -> tuple[str, str]:
    """Return the commit at which the tests of a result have to fail, or in a sentence why none is.

    `work` are the attempts at it, oldest first: what each was cut from, and its last commit; the
    result, with `tree`, is what the last of them led to.
    """
    base_tree = repository.commit(work[-1][0]).tree
    result = merge.strip(repository, tree, base_tree)
    changes = repository.diff(base_tree, result)
    tests = {change.path: change.new for change in changes if kind(change.path) == TESTS}
    if not any(tests.values()):
        return "", "the task is `tdd`, and its result adds or changes no test"
    first = ""
    for sha, own in _line(repository, work):
        if any(repository.find(own, path) != entry for path, entry in tests.items()):
            first = ""
        elif not first:
            first = sha
            is_all = own == result
    if not first:
        return "", "the task is `tdd`, and no commit holds its tests as they are in the result"
    if is_all:
        return "", (
            "the task is `tdd`, and its tests did not come first: nothing was changed after "
            f"{first[:12]}, the commit that has them as they are in the result"
        )
    return first, ""


def _line(repository: Repository, work: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return every commit with work in it, in order, with its tree as it would be merged."""
    found: dict[str, str] = {}
    for base, tip in work:
        if repository.resolve(base) is None or repository.resolve(tip) is None:
            continue  # only the last few attempts are kept
        base_tree = repository.commit(base).tree
        for commit in repository.commits(tip, f"^{base}"):
            tree = merge.strip(repository, commit.tree, base_tree)
            if tree != base_tree:
                found.setdefault(commit.sha, tree)
    return list(found.items())


__all__ = ["is_wanted", "red"]
