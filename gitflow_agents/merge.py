"""What may come onto flow.

Publish asks `refusal` whether a result may be taken at all, and `recreate` makes its commits ours.
The train asks `couple` which results merge on each other, and in which order.  Nothing here moves a
ref.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gitflow_agents import leaks
from gitflow_agents.errors import GitFailed
from gitflow_agents.graph import covers
from gitflow_agents.models import Car, Config, Plan, Reason, Task
from gitflow_agents.render import one_line
from gitflow_agents.roles import Role, Touched, matches
from gitflow_agents.roles import refusal as out_of_role
from gitflow_agents.steps import untested
from gitflow_agents.store import Change, Commit, Entry, Repository
from gitflow_agents.store.repository import EMPTY_TREE, FOLDER, SUBMODULE, SYMLINK
from gitflow_agents.store.state import BRIEFING

PROTECTED = (
    ".github/",
    ".gitflow/",
    ".gitflow-agents.yml",
    ".claude/",
    ".codex/",
    ".gemini/",
    ".opencode/",
    ".agents/",
    ".cursor/",
    ".mcp.json",
    ".aider*",
    "AGENTS.md",
    "AGENTS.override.md",
    "CLAUDE.md",
    "CLAUDE.local.md",
    "GEMINI.md",
    ".cursorrules",
    ".windsurfrules",
    "opencode.json",
    "opencode.jsonc",
)
"""What steers agents or runs with more rights than they have; a config may allow single paths.

A name without a slash is protected in every folder.
"""

MOST_COMMITS = 1000
MOST_SYMLINKS = 40


class TooManyCommits(GitFailed):
    """A result with more commits than anybody would look at."""


@dataclass(frozen=True)
class Refused:
    """Why a result is not taken."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Coupled:
    """A train: its cars in order, and the tasks that did not fit on.

    `waiting` met a car ahead; `conflicts` met flow itself, each with the paths.
    """

    cars: tuple[Car, ...]
    waiting: tuple[str, ...]
    conflicts: dict[str, tuple[str, ...]]
    tip: str


# --- publish --------------------------------------------------------------------------------------


def refusal(
    repository: Repository,
    changes: Sequence[Change],
    plan: Plan,
    task: Task,
    config: Config,
    tree: str = EMPTY_TREE,
    role: Role | None = None,
) -> Refused | None:
    """Return why these changes, which led to `tree`, may not be merged, or None.

    `role` is the one that the agent had; a person has none.
    """
    if refused := steering(changes, plan, config):
        return refused
    for change in changes:
        new = change.new
        if new is None:
            continue
        if new.mode == SUBMODULE and (change.old is None or change.old != new):
            return Refused(
                Reason.PATH_VIOLATION, f"the result adds or moves a submodule: {change.path}"
            )
        if new.mode == SYMLINK and _leaves(repository, tree, change):
            target = repository.blob(new.sha).decode(errors="replace")
            return Refused(
                Reason.PATH_VIOLATION,
                f"the symlink {change.path} leaves the repository: {target!r}",
            )
    most = config.limits.changed_files
    if len(changes) > most:
        return Refused(Reason.TOO_LARGE, f"{len(changes)} files changed, {most} are allowed")
    size = 0
    for change in changes:
        if change.new and change.new.mode != SUBMODULE:
            size += repository.size(change.new.sha)
            if size > config.limits.changed_bytes:
                return Refused(
                    Reason.TOO_LARGE,
                    f"the changed files hold more than {config.limits.changed_bytes:,} bytes",
                )
    outside = outside_files([change.path for change in changes], plan, task)
    is_full = plan.setting(task, "quality") == "full" and task.kind != "research"
    if outside and (is_full or plan.setting(task, "scope") == "strict"):
        return Refused(
            Reason.PATH_VIOLATION, f"the task's files do not name what changed: {_some(outside)}"
        )
    if role is not None and (refused := overstepped(changes, plan, task, role)):
        return refused
    if is_full and (path := untested(list(map(_touched, changes)))):
        said = f"`quality: full` wants a change of tests with that of code, such as {path}"
        return Refused(Reason.UNVERIFIED, one_line(said))
    return None


def steering(changes: Sequence[Change], plan: Plan, config: Config) -> Refused | None:
    """Return that changes touch what steers agents or runs, or None."""
    protected = sorted(c.path for c in changes if is_protected(c.path, plan, config))
    if not protected:
        return None
    workflows = [path for path in protected if path.startswith(".github/workflows/")]
    reason = Reason.NEEDS_WORKFLOW_PERMISSION if workflows else Reason.PROTECTED_PATH
    return Refused(reason, f"the result changes what a task may not: {_some(protected)}")


def overstepped(changes: Sequence[Change], plan: Plan, task: Task, role: Role) -> Refused | None:
    """Return why a role does not permit what its agent changed, or None.

    `task` is as the role lets it be; a step of a task counts as one.
    """
    outside = outside_files([change.path for change in changes], plan, task)
    if outside and plan.setting(task, "scope") == "strict":
        return Refused(
            Reason.PATH_VIOLATION, f"the task's files do not name what changed: {_some(outside)}"
        )
    said = out_of_role(plan.setting(task, "role"), role, [_touched(change) for change in changes])
    return Refused(Reason.PATH_VIOLATION, one_line(said)) if said else None


def leaked(
    repository: Repository,
    claim: str,
    tip: str,
    tree: str,
    config: Config,
    secrets: Mapping[str, str],
) -> str:
    """Return in a sentence which secret came after `claim`, and where; or an empty string.

    Every commit up to `tip` counts, its message too, because each stays in the history; then
    `tree`.  What was there before is nobody's leak.  `secrets` are as `leaks.known` has them.
    """
    try:
        commits = _between(repository, claim, tip) if tip != claim else []
    except (ValueError, TooManyCommits):
        commits = []  # they are not taken, and only the tree is kept
    for commit in commits:
        for line in commit.message.splitlines():
            if kind := leaks.kind(line.encode(errors="replace"), secrets):
                return f"a commit message holds what looks like a secret ({kind})"
    trees = [(commit.parents, commit.tree) for commit in commits]
    last = commits[-1].sha if commits else claim
    for parents, after in (*trees, ((last,), tree)):
        before = [repository.commit(parent).tree for parent in parents] or [EMPTY_TREE]
        if place := _secret_in(repository, before, after, config, secrets):
            return place
    return ""


def _secret_in(
    repository: Repository,
    before: Sequence[str],
    after: str,
    config: Config,
    secrets: Mapping[str, str],
) -> str:
    """Return which line of a tree holds a secret that none of the trees before it has."""
    changes = list(repository.diff(before[0], after))
    old = [change.old for change in changes if change.old]
    gone = [change.old for change in changes if change.old and not change.new]
    for change in changes:
        new = change.new
        if new is None or new.mode == SUBMODULE or new in old:
            continue
        if any(repository.find(other, change.path) == new for other in before[1:]):
            continue  # a merge brought it as it was
        if any(matches(change.path, entry) for entry in config.allow_secrets):
            continue
        if repository.size(new.sha) > config.limits.changed_bytes:
            continue  # it is refused for that
        data = repository.blob(new.sha)
        if not leaks.could_hold(data, secrets):
            continue
        # A file that was not there may be one that went, under another name.
        former = [change.old] if change.old else gone
        there = {line for entry in former for line in _lines(repository, entry)}
        for number, line in enumerate(data.splitlines(), 1):
            if line not in there and (kind := leaks.kind(line, secrets)):
                place = one_line(f"{change.path}, line {number}")
                return f"{place}, holds what looks like a secret ({kind})"
    return ""


def _lines(repository: Repository, entry: Entry) -> list[bytes]:
    return [] if entry.mode == SUBMODULE else repository.blob(entry.sha).splitlines()


def _touched(change: Change) -> Touched:
    if change.old is None:
        return Touched(change.path, "adds")
    return Touched(change.path, "deletes" if change.new is None else "edits")


def is_protected(path: str, plan: Plan, config: Config) -> bool:
    """Say whether a task may not touch a path; in the config `!path` allows what we protect."""
    allowed = [entry[1:] for entry in config.protected_paths if entry.startswith("!")]
    if path.split("/")[0] != BRIEFING and any(matches(path, entry) for entry in allowed):
        return False
    entries = [
        *PROTECTED,
        *(entry for entry in config.protected_paths if not entry.startswith("!")),
        *plan.protected_paths,
        f"plans/{plan.plan}.yaml",
        "plans/*.report.md",
        "plans/*.provides.yaml",
    ]
    return any(matches(path, entry) for entry in entries)


def outside_files(paths: Sequence[str], plan: Plan, task: Task) -> list[str]:
    """Return the paths that the task's `files` and `working_directory` do not name."""
    folder = plan.setting(task, "working_directory")
    entries = list(task.files)
    if folder and not entries:
        entries = [folder.rstrip("/") + "/"]
    if not entries:
        return []
    return [path for path in paths if not any(covers(entry, path) for entry in entries)]


def _leaves(repository: Repository, tree: str, change: Change) -> bool:
    """Say whether a symlink leads out of the tree, other symlinks on its way included."""
    where = change.path.split("/")[:-1]
    link, followed = change.new, 0
    ahead: list[str] = []
    while True:
        if link is not None and link.mode == SYMLINK:
            text = repository.blob(link.sha).decode("utf-8", "surrogateescape")
            followed += 1
            if text.startswith("/") or re.match(r"[A-Za-z]:", text):
                return True
            if followed > MOST_SYMLINKS:
                return False  # it leads round in a circle
            ahead += reversed(text.split("/"))
            link = None
        if not ahead:
            return False
        part = ahead.pop()
        if part == "..":
            if not where:
                return True
            where.pop()
        elif part not in ("", "."):
            path = "/".join([*where, part])
            if path.split("/")[0].casefold() == ".git":
                return True
            link = repository.find(tree, path)
            if link is None or link.mode != SYMLINK:
                where.append(part)


def _some(paths: Sequence[str], most: int = 5) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return one_line(", ".join(paths[:most])) + more


def strip(repository: Repository, tree: str, base_tree: str) -> str:
    """Return a task's tree with `.gitflow` as the base has it: it never reaches flow."""
    return repository.graft(tree, {BRIEFING: repository.tree(base_tree).get(BRIEFING)})


def without(
    repository: Repository, claim: str, tip: str, tree: str, paths: Sequence[str]
) -> tuple[str, str]:
    """Return a result's tip and tree with `paths` as the claim has them, whoever committed them.

    The tip is the claim when a commit on the way holds one: its history cannot be kept then.
    """
    if not paths:
        return tip, tree
    base = repository.commit(claim).tree
    names = [posixpath.normpath(path) for path in paths]
    own = {name: repository.find(base, name) for name in names}

    def others(tree: str) -> dict[str, Entry | None]:
        return {name: old for name, old in own.items() if repository.find(tree, name) != old}

    history = repository.commits(tip, f"^{claim}") if tip != claim else ()
    is_clean = not any(others(commit.tree) for commit in history)
    return tip if is_clean else claim, repository.graft(tree, others(tree))


def recreate(
    repository: Repository, claim: str, tip: str, tree: str, subject: str, author: str
) -> str:
    """Return our own copy of the agent's commits from `claim` to `tip`, ending in `tree`.

    Same trees, order, authors and messages; what looks like one of our trailers is quoted.  When
    `tree` holds more than `tip` has, one commit more has it.  TooManyCommits says so;
    ValueError when `tip` does not descend from `claim`.
    """
    commits: list[Commit] = []
    if tip != claim:
        commits = _between(repository, claim, tip)
    copies = {claim: claim}
    last = claim
    for commit in commits:
        parents = [copies.get(parent, parent) for parent in commit.parents]
        repository.note(commit.tree, repository.commit(last).tree)
        name, _, when = commit.author.partition("> ")
        last = repository.write_commit(
            commit.tree, parents, quoted(commit.message), author=f"{name}>", author_time=when
        )
        copies[commit.sha] = last
    if repository.commit(last).tree != tree:
        last = repository.write_commit(tree, [last], subject, author=author)
    return last


def _between(repository: Repository, claim: str, tip: str) -> list[Commit]:
    first = repository.commit(tip)
    if first.parents == (claim,):
        return [first]
    if not repository.is_ancestor(claim, tip):
        raise ValueError("the result does not build on the claim")
    commits = repository.commits(tip, f"^{claim}")
    if len(commits) > MOST_COMMITS:
        raise TooManyCommits(f"the result has {len(commits)} commits, {MOST_COMMITS} are allowed")
    return commits


def quoted(message: str) -> str:
    """Return a message in which no line can be taken for one of our trailers."""
    return re.sub(r"(?im)^(\s*)(gitflow-)", r"\1> \2", message)


# --- the train ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waiting:
    """A task that wants to be merged: its branch's tip, what it was cut from, the message."""

    task: str
    tip: str
    base: str
    message: str
    leaves_files: bool = False
    """What it changed stays on its branch, and its merge has the tree that flow had."""


def couple(
    repository: Repository, flow: str, waiting: Sequence[Waiting], first: str = ""
) -> Coupled:
    """Merge each task on the one before it, in order, and say which did not fit.

    `first` is flow with the moved base merged in, when that is the first car.
    """
    cars: list[Car] = []
    behind: list[str] = []
    conflicts: dict[str, tuple[str, ...]] = {}
    last = first or flow
    for car in waiting:
        tree = repository.commit(last).tree
        paths: tuple[str, ...] = ()
        if not car.leaves_files:
            tree, paths = merged(repository, last, car.tip, car.base)
        if paths and last != flow:
            tree, paths = merged(repository, flow, car.tip, car.base)
            if not paths:
                behind.append(car.task)
                continue
        if paths:
            conflicts[car.task] = paths
            continue
        last = repository.write_commit(tree, [last, car.tip], car.message)
        cars.append(Car(task=car.task, tip=car.tip, merge=last))
    return Coupled(tuple(cars), tuple(behind), conflicts, last)


def apart(repository: Repository, base: str, ours: str, theirs: str) -> str | None:
    """Return the merge of two trees that changed different paths, or None where git must decide.

    What one side alone changed is as that side has it, and git's merge says the same: it looks for
    renames only where the other side changed the old path or the new one, and there this gives up.
    It takes no process, and no time for what neither side changed.
    """
    old, mine, new = (repository.tree(tree) for tree in (base, ours, theirs))
    edits: dict[str, Entry | None] = {}
    for name in {name for name, _ in old.items() ^ new.items()}:
        sides = old.get(name), mine.get(name), new.get(name)
        if sides[1] == sides[0]:
            edits[name] = sides[2]
            continue
        if any(side is not None and side.mode != FOLDER for side in sides):
            return None
        below = apart(repository, *(side.sha if side else EMPTY_TREE for side in sides))
        if below is None:
            return None
        edits[name] = None if below == EMPTY_TREE else Entry(FOLDER, below)
    return repository.graft(ours, edits)


def _is_straight(repository: Repository, base: str, tip: str) -> bool:
    """Say whether `tip` grew from `base` without any merge, so that this is where they part."""
    for _ in range(MOST_COMMITS):
        if tip == base:
            return True
        parents = repository.commit(tip).parents
        if len(parents) != 1:
            break
        tip = parents[0]
    return False


def merged(repository: Repository, onto: str, tip: str, base: str) -> tuple[str, tuple[str, ...]]:
    """Return the tree of a task merged onto a commit, and the paths in conflict.

    `base` is the flow commit that the task was cut from; what the task has under `.gitflow` is left
    out on the way, so it can never be in conflict.
    """
    base_tree = repository.commit(base).tree if base else EMPTY_TREE
    commit = repository.commit(tip)
    tree = strip(repository, commit.tree, base_tree)
    if onto == base:
        return tree, ()
    onto_tree = repository.commit(onto).tree
    if tree == base_tree:
        return onto_tree, ()
    if _is_straight(repository, base, tip):
        easy = apart(repository, base_tree, onto_tree, tree)
        if easy is not None:
            return easy, ()
    plain = repository.write_commit(tree, [tip], "the result without its briefing")
    merge = repository.merge(onto, plain)
    return merge.tree, merge.conflicts


# --- taking back ----------------------------------------------------------------------------------

REVERTS = re.compile(r"(?m)^This reverts commit ([0-9a-f]{7,40})\b")
"""What git itself writes into the message of a revert."""


def reverts_of(message: str) -> list[str]:
    """Return what a message says it reverts: shas, or at least the first seven letters of one."""
    return REVERTS.findall(message)


def taken_back(repository: Repository, onto: str, merge: str) -> tuple[str, tuple[str, ...]]:
    """Return the tree of `onto` without what a merge brought to it, and the paths in conflict."""
    made = repository.commit(merge)
    before = repository.commit(made.parents[0]).tree
    return _three_ways(repository, made.tree, repository.commit(onto).tree, before)


def brought_back(
    repository: Repository, onto: str, revert: str, merge: str
) -> tuple[str, tuple[str, ...]]:
    """Return the tree of `onto` with what `revert` took back of `merge`, and the paths in conflict.

    A revert of several things at once brings back only what `merge` brought.
    """
    commit = repository.commit(revert)
    onto_tree = repository.commit(onto).tree
    if len(reverts_of(commit.message)) > 1:
        made = repository.commit(merge)
        before = repository.commit(made.parents[0]).tree
        return _three_ways(repository, before, onto_tree, made.tree)
    before = repository.commit(commit.parents[0]).tree
    easy = apart(repository, commit.tree, onto_tree, before)
    if easy is not None:
        return easy, ()
    # The merge base of these two is the revert, so what differs is what it took back.
    undone = repository.write_commit(before, [revert], "the work before it was reverted")
    found = repository.merge(onto, undone)
    return found.tree, found.conflicts


def _three_ways(
    repository: Repository, base: str, ours: str, theirs: str
) -> tuple[str, tuple[str, ...]]:
    """Return the merge of two trees on the tree that they are said to come from."""
    easy = apart(repository, base, ours, theirs)
    if easy is not None:
        return easy, ()
    # git before 2.40 merges only commits, and finds their base itself.
    root = repository.write_commit(base, [], "the base of a merge")
    sides = [repository.write_commit(tree, [root], "a side of a merge") for tree in (ours, theirs)]
    found = repository.merge(*sides)
    return found.tree, found.conflicts
