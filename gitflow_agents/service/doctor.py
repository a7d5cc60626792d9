"""What is wrong on this machine and in this repository, and what can be mended without a decision.

Each kind of damage is one generator of CHECKS: it looks and yields ailments, and an ailment that
can be mended brings the act that does it.  Looking writes nothing.  Mending does what the next run
would do, or undoes what nobody can have wanted; whatever may have been a person's wish is only
named, with the command.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitflow_agents import commands
from gitflow_agents.errors import FlowError, InvalidFile
from gitflow_agents.forge import Looked
from gitflow_agents.models import LOCAL, SCHEMA, ZERO, Config, Status
from gitflow_agents.render import count
from gitflow_agents.runner import is_alive, lease_is_lost
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import crew
from gitflow_agents.service.callers import at_github, troubles
from gitflow_agents.service.cleanup import content_of
from gitflow_agents.store import Commit, Worktrees
from gitflow_agents.store.repository import TOOL
from gitflow_agents.store.state import HEADS, events_of, plan_ref, state_ref, try_ref
from gitflow_agents.store.worktrees import SOUND_HEAD, is_linked, remove_folder

if TYPE_CHECKING:
    from gitflow_agents.service.service import Service

S = Status
UNCHANGED = 5.0
"""Seconds for which a lock file stays untouched before it can be one that a kill has left."""
OLD = 600.0
"""Seconds after which a lock file is named although some git runs here."""
TOLD_BY_US = "gitflow-agents"
"""What the reflog says of a move of ours."""
OURS_ALONE = "refs/"
"""Locks below this are of refs: a new one is made by whoever moves the ref next."""


@dataclass(frozen=True)
class Ailment:
    """One thing that is wrong, in a sentence; `hint` is the command, or what `--fix` does."""

    code: str
    message: str
    hint: str
    plan: str = ""
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Diagnosis:
    """What was mended, what is left, what was looked at, and what nobody here could tell."""

    mended: tuple[Ailment, ...]
    left: tuple[Ailment, ...]
    looked_at: str = ""
    unchecked: tuple[str, ...] = ()


def examine(service: Callable[[], Service], *, fix: bool = False) -> Diagnosis:
    """Return what is wrong, after mending with `fix` what needs no decision.

    `service` is started here, because a machine without a usable git has no service.
    """
    try:
        doctor = Doctor(service())
    except FlowError as e:
        return Diagnosis((), (Ailment("repository", e.message, e.hint),))
    before, there = doctor.look(), doctor.elsewhere()
    outside = tuple(Ailment(one.code, one.message, one.hint, one.plan) for one in there.troubles)
    about = ", ".join(filter(None, (doctor.about, there.about)))
    if not fix:
        return Diagnosis((), (*before, *outside), about, there.unchecked)
    tried: list[Ailment] = []
    for _ in CHECKS:  # what was hidden behind another damage comes to light
        now = [ailment for ailment in doctor.look() if ailment.mend and ailment not in tried]
        if not now:
            break
        for ailment in now:
            tried.append(ailment)
            assert ailment.mend is not None
            with contextlib.suppress(FlowError, OSError):
                ailment.mend()
    left = (*doctor.look(), *outside)
    mended = tuple(ailment for ailment in tried if ailment not in left)
    return Diagnosis(mended, left, about, there.unchecked)


@dataclass
class Doctor:
    """Looks at one repository."""

    service: Service

    def __post_init__(self) -> None:
        self.store, self.repository = self.service.store, self.service.repository
        self.common = self.repository.common
        self.store.refs.is_hurried = lambda: True  # nobody waits minutes for an answer
        self._is_quiet = True

    @property
    def about(self) -> str:
        """Return what was looked at, in a few words."""
        plans = count(len(self.store.plans()), "plan")
        return f"{self.repository.home}, {plans}"

    def look(self) -> list[Ailment]:
        """Return what is wrong now, each thing once; nothing is written."""
        self.__dict__.pop("_snapshots", None)
        with self.store.refs.quiet() as self._is_quiet:  # no run moves anything meanwhile
            return [ailment for check in CHECKS for ailment in check(self)]

    def elsewhere(self) -> Looked:
        """Return what is wrong at GitHub; it is asked once, and without the lock of refs."""
        try:
            branch = self.repository.default_branch()
        except FlowError:
            return Looked()
        return at_github(self.repository, branch, self.service.environ, self._config)

    # --- the machine and the settings -------------------------------------------------------------

    def identity(self) -> Iterator[Ailment]:
        """Who is at the terminal has to be known to git."""
        wanted = [key for key in ("user.name", "user.email") if not self._setting(key)]
        if wanted:
            yield Ailment(
                "no-identity",
                f"git has no {' and no '.join(wanted)}, so nobody can tell who did what",
                "; ".join(f'git config --global {key} "..."' for key in wanted),
            )

    def config(self) -> Iterator[Ailment]:
        """The committed config has to be one."""
        try:
            _ = self.service.config
            _ = self.service.handbook
        except InvalidFile as e:
            first = str(next((p for p in e.problems if not p.is_warning), e.message))
            yield Ailment("config-invalid", f"{e.message}: {first}", e.hint or "mend it")

    def agents(self) -> Iterator[Ailment]:
        """What a plan's open tasks are to be done by has to be installed."""
        try:
            config, environ = self.service.config, self.service.environ
            book = self.service.handbook
        except FlowError:
            return  # told already
        for plan, snapshot in self._open:
            pending = sorted(snapshot.by_status[S.PENDING], key=snapshot.plan.order.__getitem__)
            for why, tasks in crew.lacking(snapshot, pending, book, config, environ).items():
                what, _, command = why.partition(": ")
                message = f"{what}, and plan {plan} wants it for {commands.names(tasks)}"
                yield Ailment("agent-missing", message, command, plan)

    def hooks(self) -> Iterator[Ailment]:
        """A folder of hooks that is not there means that no hook ever runs."""
        path = self._setting("core.hooksPath", "--path")
        if path:
            place = (self.repository.top or self.common) / path
            if not place.is_dir():
                yield Ailment(
                    "hooks-missing",
                    f"core.hooksPath is {path}, and no such folder is there, so no hook runs",
                    "make the folder, or: git config --unset core.hooksPath",
                )

    def filters(self) -> Iterator[Ailment]:
        """What .gitattributes needs has to be installed."""
        sha = self.repository.resolve("HEAD^{commit}")
        if sha is None:
            return
        tree = self.repository.commit(sha).tree
        for name in self._worktrees.unknown_filters(tree):
            yield Ailment(
                "filter-missing",
                f".gitattributes names the filter {name}, and no config of git's defines it",
                f"install what defines filter.{name}; agents see its files as git stores them",
            )
        rules = (self.repository.read(tree, ".gitattributes") or b"").decode(errors="replace")
        for name in sorted(set(re.findall(r"\bfilter=(\S+)", rules))):
            for key in ("process", "smudge", "clean"):
                program = _program(self._setting(f"filter.{name}.{key}"))
                if program and shutil.which(program) is None:
                    yield Ailment(
                        "filter-missing",
                        f"the filter {name} needs the program {program}, which is not there",
                        f"install {program}, or take filter.{name} out of git's config",
                    )
                    break

    def _setting(self, key: str, *how: str) -> str:
        _, out, _ = self.repository.user.attempt("config", *how, "--get", key)
        return os.fsdecode(out).strip()

    # --- moves of refs ----------------------------------------------------------------------------

    def lock(self) -> Iterator[Ailment]:
        """A process that was suspended while it held the lock holds up everybody."""
        if not self._is_quiet:
            pid = self.store.refs.holder()
            which = f"process {pid}" if pid else "a process"
            state = "was suspended with" if pid and _state(pid) in "Tt" else "has for seconds had"
            yield Ailment(
                "lock-held",
                f"{which} {state} the lock of this repository, and every run waits for it",
                f"kill -CONT {pid} lets it go on; see what it is: ps -fp {pid}"
                if pid
                else "see which gitflow-agents still runs",
            )

    def locks(self) -> Iterator[Ailment]:
        """Files by which a git that was killed keeps others from moving refs."""
        paths = [p for p in _lock_files(self.common) if _age(p) >= UNCHANGED]
        if not paths:
            return
        is_busy = _is_git_at_work(self.common, self.repository.home)
        for path in paths:
            name = path.relative_to(self.common)
            if is_busy and _age(path) < OLD:
                continue
            is_refs = str(name).startswith(OURS_ALONE) or str(name) == "packed-refs.lock"
            is_ours = is_refs and not is_busy
            yield Ailment(
                "lock-file",
                f"{path} was left by a git that was killed, and nobody can write {name.stem}",
                "--fix removes it"
                if is_ours
                else f"when no git runs here: rm {shlex.quote(str(path))}",
                mend=partial(path.unlink, missing_ok=True) if is_ours else None,
            )

    def intent(self) -> Iterator[Ailment]:
        """A move of several refs that a kill has cut."""
        moves = self.store.refs.intent()
        if moves:
            what = ", ".join(ref.removeprefix(HEADS) for ref, _, _ in moves)
            yield Ailment(
                "move-cut-off",
                f"a run died while it moved {what}",
                "--fix completes the move or drops it, and so does the next run",
                mend=self._take_lock,
            )

    def _take_lock(self) -> None:
        with self.store.refs.lock():
            pass

    # --- plans ------------------------------------------------------------------------------------

    @cached_property
    def _snapshots(self) -> dict[str, Snapshot]:
        found = {}
        for plan in self.store.plans():
            with contextlib.suppress(FlowError):
                snapshot = self.store.load(plan)
                if snapshot is not None and snapshot.state.authority == LOCAL:
                    found[plan] = snapshot
        return found

    @property
    def _open(self) -> Iterator[tuple[str, Snapshot]]:
        for plan, snapshot in self._snapshots.items():
            if snapshot.state.status not in ("landed", "closed"):
                yield plan, snapshot

    def states(self) -> Iterator[Ailment]:
        """The state ref has to be where we left it."""
        logs = self.common / "logs" / "refs" / "heads" / "gitflow" / "state"
        logged = {path.name for path in logs.iterdir()} if logs.is_dir() else set()
        for plan in sorted({*logged, *self.store.plans()}):
            yield from self._state(plan)
        for plan in self._stateless(logged):
            yield from self._lost_state(plan)

    def _state(self, plan: str) -> Iterator[Ailment]:
        ref, repository = state_ref(plan), self.repository
        now, ours = repository.resolve(ref), self._last_of_ours(ref)
        if not ours or now == ours or repository.resolve(f"{ours}^{{commit}}") is None:
            return
        name = ref.removeprefix(HEADS)
        back = f"git update-ref {ref} {ours}"
        if now is None or repository.is_ancestor(now, ours):
            where = f"back to {now[:12]}" if now else "away"
            yield Ailment(
                "state-moved",
                f"somebody moved {name} {where}, so that nobody sees what happened after",
                f"--fix brings it back to {ours[:12]}",
                plan,
                partial(self.store.refs.move, [(ref, now or ZERO, ours)]),
            )
        elif not repository.is_ancestor(ours, now):
            yield Ailment(
                "state-moved",
                f"somebody replaced {name} by {now[:12]}",
                f"compare it with what was written, git log {ours[:12]}; to go back: {back}",
                plan,
            )
        else:
            strange = [c for c in repository.commits(f"{ours}..{now}") if not _is_ours(c)]
            if strange:
                yield Ailment(
                    "state-moved",
                    f"{count(len(strange), 'commit')} of somebody else stand on {name}",
                    f"look at them: git log {ours[:12]}..{name}; to take them away: {back}",
                    plan,
                )

    def _last_of_ours(self, ref: str) -> str:
        """Return where we moved a ref to last, as its reflog tells."""
        try:
            lines = (self.common / "logs" / ref).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            head, _, said = line.partition("\t")
            if said == TOLD_BY_US:
                return head.split(" ")[1]
        return ""

    def _stateless(self, logged: set[str]) -> list[str]:
        """Return the plans of which there are branches, but neither a state nor where it was."""
        tips = self.repository.tips(f"{HEADS}task/", f"{HEADS}flow/", f"{HEADS}plan/")
        names = {ref.split("/")[3] for ref in tips}
        return sorted(names - logged - set(self.service.authorities.plans()))

    def _lost_state(self, plan: str) -> Iterator[Ailment]:
        tip = self.repository.tip(f"flow/{plan}")
        if tip is None or self._events(tip) == ["plan_accepted"]:
            return  # nothing was done yet, or an acceptance was cut off: a run takes it up
        line = self.repository.commits("--first-parent", "-n", "2000", tip)
        is_plans = any(e.plan == plan for c in line if _is_ours(c) for e in events_of(c))
        if not is_plans:
            return
        found = self._find_state(plan)
        what = f"gitflow/state/{plan} is gone, and with it all that is known of the plan {plan}"
        hint = f"git branch gitflow/state/{plan} {found} brings back the newest that git still has"
        lost = "fetch it from a clone that has it; git fsck --lost-found lists what git still has"
        yield Ailment("state-gone", what, hint if found else lost, plan)

    def _events(self, sha: str) -> list[str]:
        return [event.event for event in events_of(self.repository.commit(sha))]

    def _find_state(self, plan: str) -> str:
        """Return the newest commit of a plan's state that no ref reaches any more."""
        git = self.repository.git
        how = ("--unreachable", "--no-reflogs", "--no-progress", "--connectivity-only")
        _, out, _ = git.attempt("fsck", *how)
        shas = [line.split()[2] for line in out.decode().splitlines() if " commit " in line]
        commits = {}
        for sha in shas:
            commit = self.repository.commit(sha)
            told = any(event.plan == plan for event in events_of(commit))
            if told and _is_ours(commit) and self.repository.find(commit.tree, "plan.yaml"):
                commits[sha] = commit
        inner = {parent for commit in commits.values() for parent in commit.parents}
        ends = [commit for sha, commit in commits.items() if sha not in inner]
        return max(ends, key=lambda commit: commit.time).sha if ends else ""

    def remotes(self) -> Iterator[Ailment]:
        """What is on its way to a remote, and has not arrived as far as is known."""
        for plan in self.service.authorities.plans():
            refs = self.service.at(plan).refs
            if not refs.is_local and refs.resolve(state_ref(plan)) is None:
                yield Ailment(
                    "push-cut-off",
                    f"plan {plan} was to go to {refs.name}, and nobody here has seen it there",
                    f"gitflow-agents push {plan} --remote {refs.name}",
                    plan,
                )
            for task, number in refs.unsent():
                yield Ailment(
                    "result-unsent",
                    f"the result of attempt {number} of {task} waits for {refs.name}",
                    f"gitflow-agents run {plan} delivers it",
                    plan,
                )

    def flows(self) -> Iterator[Ailment]:
        """Flow has to be there, to hold what was merged, and to be free to move."""
        heads = self.store.refs.heads()
        for plan, snapshot in self._open:
            flow, sha = snapshot.state.flow, snapshot.state.flow_sha
            tip = self.repository.tip(flow)
            if tip is None:
                yield Ailment(
                    "flow-missing", f"the branch {flow} is gone", f"git branch {flow} {sha}", plan
                )
            elif tip != sha and not self.repository.is_ancestor(sha, tip):
                yield Ailment(
                    "flow-forced",
                    f"{flow} was moved back or replaced: it does not hold {sha[:12]} any more",
                    f"to go on from what was merged: git branch -f {flow} {sha}",
                    plan,
                )
            place = heads.get(f"{HEADS}{flow}")
            if place is not None and not snapshot.is_over:
                yield Ailment(
                    "flow-checked-out",
                    f"{flow} is checked out in {place}, so nothing can be merged to it",
                    f"git -C {shlex.quote(str(place))} switch --detach",
                    plan,
                )

    def plan_branches(self) -> Iterator[Ailment]:
        """The branch on which people propose changes of a plan."""
        for plan, snapshot in self._open:
            ref, commit = plan_ref(plan), snapshot.state.commit
            is_there = self.repository.resolve(ref) is not None
            if not is_there and self.repository.resolve(f"{commit}^{{commit}}"):
                yield Ailment(
                    "plan-branch-gone",
                    f"plan/{plan} is gone, so no change of the plan can be proposed",
                    f"--fix makes it again at {commit[:12]}, which was accepted",
                    plan,
                    partial(self.store.refs.move, [(ref, ZERO, commit)]),
                )

    @property
    def _config(self) -> Config:
        """Return the config, or the usual one where there is something wrong with it."""
        with contextlib.suppress(FlowError):
            return self.service.config
        return Config()

    def workflows(self) -> Iterator[Ailment]:
        """What GitHub Actions need, where they are to work on plans."""
        with contextlib.suppress(FlowError):
            branch = self.repository.default_branch()
            for one in troubles(self.repository, branch, self._config):
                yield Ailment(one.code, one.message, one.hint, one.plan)

    def leases(self) -> Iterator[Ailment]:
        """Attempts and trains of runs that died."""
        now = self.service.clock()
        for plan, snapshot in self._open:
            running = ((t, snapshot.record(t).lease) for t in snapshot.by_status[S.IN_PROGRESS])
            dead = sorted(t for t, lease in running if lease and lease_is_lost(lease, now))
            train = snapshot.state.train
            said = []
            if dead:
                tasks = ", ".join(dead[:5]) + (f" and {len(dead) - 5} more" if dead[5:] else "")
                said.append(f"the run that was at work on {tasks} died")
            if train is not None and lease_is_lost(train.lease, now):
                said.append("the run that tested a train died")
            if said:
                yield Ailment(
                    "lease-dead",
                    f"plan {plan}: {' and '.join(said)}",
                    "--fix keeps what was done and gives the tasks back, and so does the next run",
                    plan,
                    partial(self.service.settle, plan),
                )

    def branches(self) -> Iterator[Ailment]:
        """Branches that a kill has left: of a train that nobody tests, of a task that is merged."""
        heads = self.store.refs.heads()
        for plan, snapshot in self._open:
            tips = self.repository.tips(f"{HEADS}task/{plan}/", try_ref(plan))
            left = [ref for ref in tips if ref == try_ref(plan) and not snapshot.state.train]
            if not self._keeps_branches:
                for task in snapshot.by_status[S.COMPLETED]:
                    record = snapshot.record(task)
                    ref = f"{HEADS}{record.branch}"
                    if record.attempts and tips.get(ref) == record.attempts[-1].report:
                        left += [ref] if ref not in heads else []
            if left:
                names = ", ".join(ref.removeprefix(HEADS) for ref in left)
                yield Ailment(
                    "branch-left",
                    f"{names}: nobody needs it any more, and a run that died has left it",
                    "--fix deletes it; what is on it is on flow, or made again",
                    plan,
                    partial(self.service.settle, plan),
                )

    @property
    def _keeps_branches(self) -> bool:
        try:
            return self.service.config.keep_branches
        except InvalidFile:
            return True

    # --- worktrees --------------------------------------------------------------------------------

    @property
    def _worktrees(self) -> Worktrees:
        try:
            return Worktrees(self.repository, self.service.config.worktrees)
        except InvalidFile:
            return Worktrees(self.repository, ".worktrees")

    def worktrees(self) -> Iterator[Ailment]:
        """Worktrees that no attempt owns, and what git knows of those that are gone."""
        root, worktrees = self._worktrees.root, self._worktrees
        admins = self.common / "worktrees"
        names = [p.name for p in sorted(admins.glob("gitflow-*+*"))] if admins.is_dir() else []
        known: set[Path] = set()
        for admin in names:
            plan, _, name = admin.removeprefix("gitflow-").partition("+")
            place = worktrees.place(plan, name)
            known.add(place.path)
            if place.owner_lives or self._is_used(plan, name):
                continue
            files = [place.admin / file for file in ("HEAD", "commondir", "gitdir", "index")]
            is_whole = place.path.is_dir() and all(file.is_file() for file in files)
            is_whole = is_whole and re.fullmatch(SOUND_HEAD, place.head) is not None
            if not is_whole:
                yield Ailment(
                    "worktree-half-made",
                    f"{place.admin} is half a worktree, which git never prunes by itself",
                    "--fix removes it; files that lie in the worktree are moved aside",
                    plan,
                    partial(self._put_aside, place.path, place.admin),
                )
            else:
                yield Ailment(
                    "worktree-of-nobody",
                    f"{place.path} is a worktree of no attempt that goes on",
                    "--fix removes it when a commit holds what is in it, else moves it aside",
                    plan,
                    partial(self._put_aside, place.path, place.admin),
                )
        for path in sorted(root.glob("*/*")):
            is_strange = path not in known and path.is_dir() and ".left-" not in path.name
            if is_strange and not is_linked(path, admins):
                yield Ailment(
                    "worktree-of-nobody",
                    f"{path} lies among the worktrees, and git knows nothing of it",
                    "--fix removes it when a commit holds what is in it, else moves it aside",
                    path.parent.name,
                    partial(self._put_aside, path, None),
                )

    def _is_used(self, plan: str, name: str) -> bool:
        """Say whether the state says that somebody works there; if they died, a run takes it up."""
        snapshot = self._snapshots.get(plan)
        if snapshot is None:
            return plan in self.store.plans()  # nobody can tell
        if name == ".train":
            return snapshot.state.train is not None
        return snapshot.status(name) is S.IN_PROGRESS

    def _put_aside(self, path: Path, admin: Path | None) -> None:
        """Remove a worktree, or move its files aside when no commit holds them."""
        with self.store.refs.lock():
            content = content_of(path) if path.is_dir() else ""
            is_empty = path.is_dir() and not any(p.name != ".git" for p in path.iterdir())
            is_held = bool(content) and content in self._trees()
            if is_empty or is_held or not path.exists():
                remove_folder(path)
            else:
                path.rename(path.with_name(f"{path.name}.left-{os.urandom(4).hex()}"))
            if admin is not None:
                remove_folder(admin)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
                path.parent.parent.rmdir()

    def _trees(self) -> set[str]:
        _, out = self.repository.git.run("rev-list", "--all", "--format=%T")
        return {line for line in out.decode().split("\n") if len(line) == 40}


def _is_ours(commit: Commit) -> bool:
    return commit.committer.startswith(f"{TOOL} ")


CHECKS: tuple[Callable[[Doctor], Iterator[Ailment]], ...] = (
    Doctor.identity,
    Doctor.config,
    Doctor.agents,
    Doctor.hooks,
    Doctor.filters,
    Doctor.lock,
    Doctor.locks,
    Doctor.intent,
    Doctor.states,
    Doctor.remotes,
    Doctor.flows,
    Doctor.plan_branches,
    Doctor.workflows,
    Doctor.leases,
    Doctor.branches,
    Doctor.worktrees,
)
"""What is looked at, in this order: what is mended first may be in the way of the next."""


# --- processes and files --------------------------------------------------------------------------


def _program(command: str) -> str:
    """Return the program that a filter's command starts, or nothing."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if len(words) > 1 and words[0] == "git":
        return f"git-{words[1]}"
    return words[0] if words else ""


def _lock_files(common: Path) -> Iterator[Path]:
    """Yield the lock files of refs and of what else git locks at the top."""
    for folder, _, names in os.walk(common / "refs"):
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".lock"))
    for name in ("packed-refs", "HEAD", "index", "config", "shallow"):
        path = common / f"{name}.lock"
        if path.exists():
            yield path


def _age(path: Path) -> float:
    """Return for how many seconds a file was not touched; 0 when it is gone."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return 0.0


def _state(pid: int) -> str:
    """Return the letter by which the system tells what a process does."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "?"


def _is_git_at_work(*folders: Path) -> bool:
    """Say whether a git of somebody runs in one of the folders, or nobody can tell.

    Our own do not count: they only answer questions.
    """
    if not Path("/proc/self").exists():
        return True
    places = tuple(os.path.realpath(folder) for folder in folders)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if not (entry / "comm").read_text().startswith("git"):
                continue
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() or not is_alive(int(entry.name)):
                continue
            where = os.path.realpath(entry / "cwd")
            if any(where == place or where.startswith(f"{place}/") for place in places):
                return True
    return False


# --- telling --------------------------------------------------------------------------------------


def text(diagnosis: Diagnosis) -> str:
    """Return what was mended and what is left, for people."""
    lines = [f"mended: {ailment.message}" for ailment in diagnosis.mended]
    for ailment in diagnosis.left:
        lines.append(f"wrong: {ailment.message}")
        if ailment.hint:
            lines.append(f"  hint: {ailment.hint}")
    lines += [f"could not be checked: {one}" for one in diagnosis.unchecked]
    if not diagnosis.left:
        lines.append(f"nothing wrong: {diagnosis.looked_at}")
    elif any(ailment.mend for ailment in diagnosis.left) and not diagnosis.mended:
        lines.append("gitflow-agents doctor --fix mends what needs no decision")
    return "\n".join(lines)


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return what `doctor --json` prints."""
    return {
        "schema": SCHEMA,
        "healthy": not diagnosis.left,
        "mended": _objects(diagnosis.mended),
        "left": _objects(diagnosis.left),
        "unchecked": [*diagnosis.unchecked],
    }


def _objects(ailments: Sequence[Ailment]) -> list[dict[str, Any]]:
    return [
        {
            "code": ailment.code,
            "plan": ailment.plan,
            "message": ailment.message,
            "hint": ailment.hint,
            "can_be_mended": ailment.mend is not None,
        }
        for ailment in ailments
    ]


__all__ = ["CHECKS", "Ailment", "Diagnosis", "Doctor", "as_json", "examine", "text"]
