"""What is left over of plans that are over and of runs that were killed, and whether it may go.

`look` collects what is there, `decide` is pure and says of each thing whether it goes or stays and
why, `carry_out` removes.  Nothing goes whose work is not held by something that stays: a branch
goes when its tip is in flow, in the base or below another branch; a folder when its content is in
a commit.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitflow_agents.errors import GitFailed
from gitflow_agents.models import SCHEMA, ZERO, Status
from gitflow_agents.render import count
from gitflow_agents.runner import lease_is_lost
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.store import Draft, Offline, Worktrees
from gitflow_agents.store.repository import (
    EXECUTABLE,
    FILE,
    FOLDER,
    SYMLINK,
    TOOL,
    Repository,
)
from gitflow_agents.store.state import HEADS, KEPT_ATTEMPTS, plan_ref, try_ref
from gitflow_agents.store.worktrees import is_linked, remove_folder

if TYPE_CHECKING:
    from gitflow_agents.service.service import Service

S = Status
EVENT = "branches_cleaned"
WORDS = dict.fromkeys(("left", "nested", "scratch", "logs"), "folder")
MOST_NAMED = 4
"""Things that are named one by one where they go or stay for one reason."""
LEFT = re.compile(r"\.left-[0-9a-f]{8}$")
_ATTEMPT = re.compile(r"refs/heads/gitflow/attempt/[^/]+/([^/]+)/(\d+)(?:\.\d+)?")


@dataclass(frozen=True)
class Item:
    """One thing, why it goes or stays; `name` is a branch or a path."""

    kind: str
    name: str
    plan: str
    why: str
    sha: str = ""


@dataclass(frozen=True)
class Sweep:
    """What goes and what stays."""

    gone: tuple[Item, ...] = ()
    kept: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Folder:
    """A folder of the tool's: an attempt's worktree, what was left of one, or logs.

    `content` is the tree of what it holds, empty for one that is not there; `busy` says why
    somebody may still need it.
    """

    kind: str
    path: Path
    plan: str
    content: str = ""
    admin: Path | None = None
    busy: str = ""


@dataclass(frozen=True)
class Ground:
    """What was found of one plan: its refs, who has any checked out, and its folders.

    `unheld` are the tips among them that nothing else in the repository reaches; `trees` are those
    of the plan's commits.
    """

    plan: str
    snapshot: Snapshot | None
    tips: Mapping[str, str]
    heads: Mapping[str, Path]
    unheld: Set[str]
    trees: Set[str]
    folders: tuple[Folder, ...] = ()
    at_work: bool = False
    keeps_branches: bool = False
    remade: frozenset[str] = frozenset()
    """Tips of trains: merges of ours of what other branches hold, which can be made again."""

    @cached_property
    def last(self) -> Set[str]:
        """Return the refs of the last attempts of each task, which stay in any case."""
        return last_attempts(self.tips)

    @cached_property
    def results(self) -> dict[str, str]:
        """Return the branches of merged tasks, each with what was merged from it."""
        records = self.snapshot.records.values() if self.snapshot else ()
        done = (record for record in records if record.status is S.COMPLETED and record.attempts)
        return {f"{HEADS}{record.branch}": record.attempts[-1].report for record in done}


def last_attempts(refs: Iterable[str]) -> Set[str]:
    """Return those refs that keep one of the last attempts of its task."""
    found = {ref: match for ref in refs if (match := _ATTEMPT.fullmatch(ref))}
    numbers: dict[str, set[int]] = {}
    for match in found.values():
        numbers.setdefault(match[1], set()).add(int(match[2]))
    last = {task: set(sorted(all_)[-KEPT_ATTEMPTS:]) for task, all_ in numbers.items()}
    return {ref for ref, match in found.items() if int(match[2]) in last[match[1]]}


# --- deciding -------------------------------------------------------------------------------------


def decide(ground: Ground) -> Sweep:
    """Return what goes and what stays of one plan."""
    if ground.at_work:
        why = "a run is at work on it, so nothing of it is touched"
        return Sweep(kept=(Item("plan", ground.plan, ground.plan, why),))
    gone: list[Item] = []
    kept: list[Item] = []
    for ref, sha in sorted(ground.tips.items()):
        may_go, why = _branch(ground, ref, sha)
        item = Item("branch", ref.removeprefix(HEADS), ground.plan, why, sha)
        (gone if may_go else kept).append(item)
    for folder in ground.folders:
        may_go, why = _folder(ground, folder)
        item = Item(folder.kind, str(folder.path), ground.plan, why)
        (gone if may_go else kept).append(item)
    return Sweep(tuple(gone), tuple(kept))


def _branch(ground: Ground, ref: str, sha: str) -> tuple[bool, str]:
    wanted = _wanted(ground, ref, sha)
    if wanted:
        return False, wanted
    if ref in ground.heads:
        return False, f"checked out in {ground.heads[ref]}"
    if sha in ground.remade:
        return True, "a train that nobody tests any more"
    if sha in ground.unheld:
        return False, "not merged: nothing else holds what is on it"
    return True, "what is on it is held elsewhere"


def _wanted(ground: Ground, ref: str, sha: str) -> str:
    """Return why a branch is still wanted, or nothing."""
    snapshot = ground.snapshot
    if snapshot is None:
        return "its plan has no state here"
    state = snapshot.state
    attempt = _ATTEMPT.fullmatch(ref)
    if attempt:
        is_last = ref in ground.last
        return f"among the last {KEPT_ATTEMPTS} attempts of {attempt[1]}" if is_last else ""
    if ref == try_ref(ground.plan):
        return "a train that is being tested" if state.train is not None else ""
    if ref in (f"{HEADS}{state.flow}", plan_ref(ground.plan)):
        return "" if state.status in ("landed", "closed") else f"the plan is {_name(snapshot)}"
    if ground.keeps_branches:
        return "the config says keep_branches"
    if _is_over(snapshot) or ground.results.get(ref) == sha:
        return ""
    return f"the plan is {_name(snapshot)}"


def _is_over(snapshot: Snapshot) -> bool:
    status = snapshot.state.status
    return status in ("landed", "closed") or (status == "finished" and snapshot.is_over)


def _name(snapshot: Snapshot) -> str:
    return snapshot.state.status if _is_over(snapshot) else "not over"


def _folder(ground: Ground, folder: Folder) -> tuple[bool, str]:
    if folder.busy:
        return False, folder.busy
    if folder.kind == "logs":
        if ground.snapshot is None:
            return False, "logs of a plan that has no state here: remove them yourself"
        if _is_over(ground.snapshot):
            return True, "logs of attempts of a plan that is over"
        return False, "logs of attempts of a plan that is not over"
    if not folder.content:
        return True, "half-made, and nobody works there"
    if folder.content in ground.trees:
        return True, "what is in it is in a commit"
    return False, "what is in it is in no commit: look at it, then remove it yourself"


# --- looking --------------------------------------------------------------------------------------


@dataclass
class Cleaner:
    """Looks at one repository and removes what was decided; the lock is held while it does."""

    service: Service
    _all: dict[str, str] = field(default_factory=dict)

    def sweep(self, plans: Sequence[str], *, yes: bool = False) -> Sweep:
        """Return what goes and what stays of these plans, or of all and of no plan; do it if asked.

        Without `yes` nothing is written.
        """
        store = self.service.store
        context = store.refs.lock() if yes else store.refs.quiet()
        gone: list[Item] = []
        kept: list[Item] = []
        with context:
            here = store.repository.tips("refs/")
            for plan in plans or self._everybody():
                with self._decider(plan, here, yes):
                    ground = self._ground(plan)
                    sweep = decide(ground)
                    if yes:
                        self._carry_out(ground, sweep)
                gone += sweep.gone
                kept += sweep.kept
                for item in sweep.gone:  # what goes holds nothing that is looked at later
                    self._all.pop(f"{HEADS}{item.name}", None)
            if not plans:
                litter = list(self._litter())
                for item in litter:
                    if yes and item.kind == "scratch":
                        remove_folder(Path(item.name))
                gone += [item for item in litter if item.kind == "scratch"]
                kept += [item for item in litter if item.kind != "scratch"]
        return Sweep(tuple(gone), tuple(kept))

    @contextlib.contextmanager
    def _decider(self, plan: str, here: dict[str, str], yes: bool) -> Iterator[None]:
        """Look at the refs of what decides on a plan, and hold its lock where it is to change."""
        refs, self._all = self.service.at(plan).refs, here
        if refs.is_local:
            yield
            return
        with refs.lock() if yes else contextlib.nullcontext():
            try:
                refs.refresh()
            except Offline:
                if yes:
                    raise
            self._all = refs.tips(HEADS)
            yield

    @property
    def _worktrees(self) -> Worktrees:
        return Worktrees(self.service.repository, self.service.config.worktrees)

    def _everybody(self) -> list[str]:
        """Return all plans that anything here is named after."""
        store, worktrees = self.service.store, self._worktrees
        names = set(self.service.authorities.plans())
        folders = (worktrees.root, store.refs.folder / "attempts")
        names |= {p.name for folder in folders for p in _entries(folder) if _is_plan(p)}
        admins = _entries(store.repository.common / "worktrees")
        return sorted(names | {plan for plan, _ in filter(None, map(_admin_of, admins))})

    def _ground(self, plan: str) -> Ground:
        store, repository = self.service.at(plan), self.service.repository
        snapshot = store.load(plan)
        tips = self._own(plan, snapshot)
        return Ground(
            plan,
            snapshot,
            tips,
            store.refs.heads(),
            self._unheld(snapshot, tips),
            trees := self._trees(snapshot, tips),
            tuple(self._folders(plan, snapshot, bool(trees))),
            _at_work(snapshot, self.service.clock()),
            self.service.config.keep_branches,
            self._remade(repository, plan, tips),
        )

    def _own(self, plan: str, snapshot: Snapshot | None) -> dict[str, str]:
        """Return the branches of a plan that may go one day; its state never does."""
        if snapshot is None:
            return {}
        below = (f"{HEADS}task/{plan}/", f"{HEADS}gitflow/attempt/{plan}/")
        names = {try_ref(plan), plan_ref(plan), f"{HEADS}{snapshot.state.flow}"}
        return {r: s for r, s in self._all.items() if r in names or r.startswith(below)}

    def _unheld(self, snapshot: Snapshot | None, tips: Mapping[str, str]) -> Set[str]:
        """Return the tips that neither flow, nor the base, nor a branch that stays reaches."""
        if snapshot is None:
            return set()
        state = snapshot.state
        flow = f"{HEADS}{state.flow}"
        base = (f"{HEADS}{state.base}", f"refs/remotes/origin/{state.base}")
        others = {
            sha
            for ref, sha in self._all.items()
            if ref not in tips
            and (ref.startswith((HEADS, "refs/tags/")) or ref in base)
            and not ref.startswith(f"{HEADS}gitflow/")
        }
        # Flow first: where it stays, it holds what was merged to it.
        flow_tip = tips.get(flow)
        is_open = state.status not in ("landed", "closed")
        unmerged = set() if is_open or not flow_tip else self._beyond([flow_tip], others)
        stays = last_attempts(tips) | ({flow} if flow_tip and (is_open or unmerged) else set())
        asked = [sha for ref, sha in tips.items() if ref not in stays]
        return unmerged | self._beyond(asked, others | {tips[ref] for ref in stays})

    def _beyond(self, tips: Iterable[str], held: Iterable[str]) -> set[str]:
        """Return those of the tips that `held` do not reach: one process."""
        asked = set(tips)
        if not asked:
            return set()
        lines = [*asked, *(f"^{sha}" for sha in held)]
        out = self.service.repository.git.run(
            "rev-list", "--stdin", data="".join(f"{line}\n" for line in lines).encode()
        )[1]
        return asked & set(out.decode().split())

    def _remade(self, repository: Repository, plan: str, tips: Mapping[str, str]) -> frozenset[str]:
        tip = tips.get(try_ref(plan))
        if tip is None:
            return frozenset()
        held = [sha for ref, sha in self._all.items() if ref != try_ref(plan)]
        beyond = repository.commits(tip, "--not", *sorted(set(held)))
        is_ours = all(
            commit.committer.startswith(f"{TOOL} ") and len(commit.parents) == 2
            for commit in beyond
        )
        return frozenset({tip} if is_ours else ())

    def _trees(self, snapshot: Snapshot | None, tips: Mapping[str, str]) -> Set[str]:
        """Return the trees of the plan's commits: what a folder holds may be one of them."""
        if snapshot is None:
            return set()
        repository, state = self.service.repository, snapshot.state
        revisions = {*tips.values(), self._all.get(f"{HEADS}{state.base}", state.flow_sha)}
        try:
            start = repository.commit(state.accepting).parents
            asked = [*sorted(revisions), *(f"^{sha}" for sha in start)]
            _, out = repository.git.run("rev-list", "--format=%T", *asked)
        except GitFailed:
            return set()
        return {line for line in out.decode().split("\n") if len(line) == 40}

    def _folders(self, plan: str, snapshot: Snapshot | None, has_commits: bool) -> Iterator[Folder]:
        worktrees, common = self._worktrees, self.service.repository.common
        seen: set[Path] = set()
        for name in worktrees.existing(plan):
            place = worktrees.place(plan, name)
            seen.add(place.path)
            busy = ""
            if place.owner_lives:
                busy = "a process works there"
            elif _is_open(snapshot, name):
                busy = f"what a run that died did is there: gitflow-agents run {plan} takes it up"
            content = content_of(place.path) if place.path.is_dir() and has_commits else ""
            if place.path.is_dir() and not content:
                content = "?"
            yield Folder("worktree", place.path, plan, content, place.admin, busy)
        for path in _entries(worktrees.root / plan):
            if path not in seen:
                content = (content_of(path) if has_commits and path.is_dir() else "") or "?"
                kind = "left" if LEFT.search(path.name) else "worktree"
                is_probe = path.name.startswith(".probe-") and not list(_entries(path))
                busy = "a worktree of your own" if is_linked(path, common / "worktrees") else ""
                yield Folder(kind, path, plan, "" if is_probe else content, busy=busy)
        logs = common / "gitflow-agents" / "attempts" / plan
        if logs.is_dir():
            yield Folder("logs", logs, plan)

    def _litter(self) -> Iterator[Item]:
        """Yield what belongs to no plan: what a kill left of a merge, and what agents made."""
        for path in _entries(self.service.store.refs.folder):
            if path.name.startswith("merge-"):
                yield Item("scratch", str(path), "", "left by a merge that was cut off")
            elif path.name == "nested":
                for inside in _entries(path):
                    why = "the .git of a repository that an agent made: look at it, then remove it"
                    yield Item("nested", str(inside), "", why)

    # --- doing ----------------------------------------------------------------------------------

    def _carry_out(self, ground: Ground, sweep: Sweep) -> None:
        """Remove what goes; in the same transaction a record stops naming a branch that goes."""
        refs = {f"{HEADS}{item.name}": item.sha for item in sweep.gone if item.kind == "branch"}
        snapshot, store = ground.snapshot, self.service.at(ground.plan)
        if refs and snapshot is not None:
            draft = Draft(snapshot, self.service.actor)
            for record in list(snapshot.records.values()):
                kept = [f"{HEADS}{attempt.kept}" in refs for attempt in record.attempts]
                if any(kept):
                    attempts = tuple(
                        attempt.model_copy(update={"kept": ""}) if goes else attempt
                        for attempt, goes in zip(record.attempts, kept, strict=True)
                    )
                    draft.put(record.model_copy(update={"attempts": attempts}))
            if draft.records:
                for ref, sha in refs.items():
                    draft.move(ref, sha, ZERO)
                draft.tell(EVENT, note=f"branches cleaned away: {len(refs)}")
                store.commit(draft)
            else:
                store.refs.move([(ref, sha, ZERO) for ref, sha in refs.items()])
        names = {item.name for item in sweep.gone if item.kind != "branch"}
        for folder in ground.folders:
            if str(folder.path) in names:
                remove_folder(folder.path)
                if folder.admin is not None:
                    remove_folder(folder.admin)
                _remove_empty(folder.path.parent, self._worktrees.base)


def _at_work(snapshot: Snapshot | None, now: float) -> bool:
    """Say whether somebody works under a lease of the plan's."""
    if snapshot is None:
        return False
    leases = [snapshot.record(task).lease for task in snapshot.by_status[S.IN_PROGRESS]]
    leases += [snapshot.state.train.lease] if snapshot.state.train else []
    return any(lease is not None and not lease_is_lost(lease, now) for lease in leases)


def _is_open(snapshot: Snapshot | None, name: str) -> bool:
    """Say whether the state says that somebody works in the worktree of that name."""
    if snapshot is None:
        return False
    if name == ".train":
        return snapshot.state.train is not None
    return snapshot.status(name) is S.IN_PROGRESS


def content_of(folder: Path) -> str:
    """Return the tree that git would make of everything in a folder, or nothing where it cannot.

    Written by hand, so that no object is made: a repository inside, a pipe or a file that cannot be
    read is in no commit.  The `.git` of the worktree itself is no content.
    """
    try:
        return _tree_of(folder, top=True)
    except OSError:
        return ""


def _tree_of(folder: Path, *, top: bool = False) -> str:
    rows: list[tuple[bytes, bytes]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if top and entry.name == ".git" and stat.S_ISREG(mode):
                continue
            if entry.name == ".git":
                raise OSError("a repository of its own")
            if stat.S_ISLNK(mode):
                kind, sha = SYMLINK, _sha("blob", os.fsencode(os.readlink(entry.path)))
            elif stat.S_ISDIR(mode):
                kind, sha = FOLDER, _tree_of(Path(entry.path))
                if sha == _EMPTY:
                    continue
            elif stat.S_ISREG(mode):
                kind = EXECUTABLE if mode & stat.S_IXUSR else FILE
                sha = _sha("blob", Path(entry.path).read_bytes())
            else:
                raise OSError("neither a file nor a folder")
            raw = os.fsencode(entry.name)
            row = kind.encode() + b" " + raw + b"\0" + bytes.fromhex(sha)
            rows.append((raw + b"/" if kind == FOLDER else raw, row))
    return _sha("tree", b"".join(row for _, row in sorted(rows)))


def _sha(kind: str, data: bytes) -> str:
    head = f"{kind} {len(data)}\0".encode()
    return hashlib.sha1(head + data, usedforsecurity=False).hexdigest()


_EMPTY = _sha("tree", b"")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_plan(path: Path) -> bool:
    return path.is_dir() and re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", path.name) is not None


def _admin_of(path: Path) -> tuple[str, str] | None:
    """Return plan and name of the worktree that an admin folder of ours is for."""
    plan, plus, name = path.name.removeprefix("gitflow-").partition("+")
    return (plan, name) if plus and path.name.startswith("gitflow-") else None


def _remove_empty(folder: Path, top: Path) -> None:
    while folder != top and top in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


# --- telling --------------------------------------------------------------------------------------


def text(sweep: Sweep, *, yes: bool) -> str:
    """Return what went, or would go, and what stays, for people."""
    lines = [*_told("removed" if yes else "would remove", sweep.gone), *_told("kept", sweep.kept)]
    if not sweep.gone:
        lines.append("nothing to remove")
    elif not yes:
        lines.append("nothing was changed; --yes does it")
    return "\n".join(lines)


def _told(what: str, items: Sequence[Item]) -> Iterator[str]:
    """Yield a line an item; many that go or stay for one reason share a line."""
    groups: dict[tuple[str, str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.plan, WORDS.get(item.kind, item.kind), item.why), []).append(item)
    for (_, word, why), alike in groups.items():
        if len(alike) > MOST_NAMED:
            few = ", ".join(item.name for item in alike[:2])
            yield f"{what} {count(len(alike), word)} ({few}, ...): {why}"
        else:
            for item in alike:
                at = f" (was {item.sha[:12]})" if item.sha and what != "kept" else ""
                yield f"{what} {word} {item.name}{at}: {why}"


def as_json(sweep: Sweep, *, yes: bool) -> dict[str, Any]:
    """Return what `cleanup --json` prints."""
    return {
        "schema": SCHEMA,
        "dry_run": not yes,
        "removed": [asdict(item) for item in sweep.gone],
        "kept": [asdict(item) for item in sweep.kept],
    }


__all__ = [
    "Cleaner",
    "Folder",
    "Ground",
    "Item",
    "Sweep",
    "as_json",
    "content_of",
    "decide",
    "text",
]
