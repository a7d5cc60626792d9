"""Worktrees: a fresh one for each attempt and each train, and nothing of them left behind.

The admin folders are made by hand: `git worktree add` costs two processes more, and git's own prune
never removes a half-made one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gitflow_agents.errors import MAKE_ROOM, FlowError, GitFailed, is_full
from gitflow_agents.models import ZERO, ConfigLimits, Reason
from gitflow_agents.runner import is_alive, own_start, read_plain
from gitflow_agents.store import index
from gitflow_agents.store.repository import (
    EMPTY_TREE,
    FILE,
    RULES,
    SUBMODULE,
    Change,
    Entry,
    Git,
    Repository,
    failed,
    pinned,
)

QUIET = {
    "core.sparseCheckout": "false",
    "submodule.recurse": "false",
    "core.safecrlf": "false",  # it would refuse to save what an agent wrote
    "index.version": "2",
    "core.untrackedCache": "false",
}


ELSEWHERE = "look at the folder; the config key `worktrees` names another one"
PATIENCE = 10.0
"""Seconds to go on asking for a folder whose parents others take away."""
SHORT_LOOK = 2.0
"""Seconds for git to save a worktree before anybody looks how much there is to save."""
LOOK, LONG_LOOK = 60.0, 300.0
"""Seconds after that: at first, and when what git may wait for was taken away."""
COMMON = "../..\n"
"""Where an admin folder says that the repository is."""
OWNER = "gitflow-owner"
"""The file in an admin folder that names who works there: pid, start time, and the commit."""
OWN_CONFIG, MOST_CONFIG = "config.worktree", 1024 * 1024
"""The file in an admin folder with git's config for one worktree, and the bytes of it to read."""
SOUND_HEAD = r"ref: refs/\S+|[0-9a-f]{40}"
_FILTER_FAILED = r"(?m)^fatal: .*: (?:smudge|clean) filter '?([^'\n]+?)'? failed$"
_NO_PROGRAM = (
    r"(?m)(?:^|: )([^:\s]+): (?:command )?not found$",
    r"(?m)^error: cannot run (\S+): No such file",
    r"(?m)^git: '(\S+)' is not a git command",
)
"""How a shell and git say that there is no such program."""


class Unsavable(GitFailed):
    """A worktree that git will not take as it is, however often it is asked."""

    reason = Reason.PRECONDITION_FAILED


class FilterMissing(Unsavable):
    """A filter without which git handles no file that needs it, and whose program is not there."""


class TooLarge(Unsavable):
    """More work than a result may hold, so much that git has not read it after some seconds."""

    reason = Reason.TOO_LARGE


Prints = tuple[tuple[str, int, int, int], ...]
"""Of some files: path, number, size, and when each was changed."""


class Saved(NamedTuple):
    """What a worktree held: its tree, and what it had of repositories of its own.

    `nested` names their folders; each one's `.git` was moved to below `aside`.
    """

    tree: str
    nested: tuple[str, ...] = ()
    aside: str = ""


@dataclass(frozen=True)
class Worktree:
    """A detached checkout: `path` is where the files are, `admin` what git knows about it."""

    path: Path
    admin: Path
    git: Git
    repository: Repository

    @property
    def owner_lives(self) -> bool:
        """Say whether the process that made it is still there."""
        try:
            pid, started = self._owner[:2]
            return is_alive(int(pid), int(started))
        except ValueError:
            return False

    @property
    def is_ours(self) -> bool:
        """Say whether this very process made it, and so knows whether it still works there."""
        return self._owner[:1] == [str(os.getpid())]

    def is_for(self, commit: str) -> bool:
        """Say whether it was made at this commit, as far as anybody can tell.

        Else it is what an earlier attempt left, and a kill may have cut its removal.
        """
        return self._owner[2:] in ([commit], [])

    @property
    def made_for(self) -> str:
        """Return the commit that it was made at, or nothing when that cannot be told."""
        return "".join(self._owner[2:3])

    @property
    def _owner(self) -> list[str]:
        """Return the process that made it, when that started, and the commit that it was for."""
        with contextlib.suppress(OSError):
            return read_plain(self.admin / OWNER, 200).decode(errors="replace").split()
        return []

    @property
    def head(self) -> str:
        """Return what HEAD says: a sha, or `ref: refs/heads/x` when somebody switched."""
        try:
            return read_plain(self.admin / "HEAD", 4096).decode(errors="replace").strip()
        except OSError:
            return ""  # somebody deleted it

    @property
    def own_config(self) -> bytes | None:
        """Return git's config for this worktree alone, or None."""
        try:
            return read_plain(self.admin / OWN_CONFIG, MOST_CONFIG)
        except OSError:
            return None

    def put_back(self, config: bytes | None) -> bool:
        """Let the config for this worktree alone be this; say whether it was another."""
        path = self.admin / OWN_CONFIG
        if self.own_config == config and (config is not None or not os.path.lexists(path)):
            return False
        remove_folder(path)
        if config is not None:
            self.admin.mkdir(parents=True, exist_ok=True)
            path.write_bytes(config)
        return True

    def detach(self, commit: str) -> None:
        """Let go of the branch that somebody checked out here."""
        with contextlib.suppress(OSError):
            _write(self.admin / "HEAD", f"{commit}\n")

    def tip(self, otherwise: str) -> str:
        """Return the commit that HEAD names, through a branch or not; `otherwise` when none."""
        head = self.head.removeprefix("ref: ")
        code, out, _ = self.git.attempt("rev-parse", "--verify", "-q", f"{head}^{{commit}}")
        return out.decode().strip() if code == 0 else otherwise

    def save(
        self,
        claim: str,
        left_out: Sequence[str] = (),
        *,
        limits: ConfigLimits,
        thorough: bool = False,
    ) -> Saved:
        """Return the tree of everything in the worktree, but ignored files and `left_out`.

        What an agent broke is mended first, as far as it goes: git's own files are made anew from
        `claim`, folders are made readable, and repositories inside become ordinary folders.  With
        `thorough` they are looked for in any case.  Raises Unsavable where that helps nothing.
        """
        try:
            return self._save(claim, left_out, limits, thorough)
        except OSError as e:
            raise GitFailed(f"{e.filename or self.path} is in the way: {e.strerror or e}") from e

    def _save(
        self, claim: str, left_out: Sequence[str], limits: ConfigLimits, thorough: bool
    ) -> Saved:
        nested: tuple[str, ...] = ()
        aside = self.admin.parents[1] / "gitflow-agents" / "nested" / os.urandom(4).hex()
        if not self._is_sound:
            self._make_anew(claim)
        code, said = self._add(left_out, limits, LOOK)
        if code:
            self._look_for_filter(said)
        # git says something, and does not fail, where it cannot look or meets another repository.
        if code or said or thorough:
            nested = self._open_up(claim, aside)
            code, said = self._add(left_out, limits)
        tree = "" if code else self._tree()
        if not tree:
            with contextlib.suppress(GitFailed):
                self._make_anew(claim)
                again, _ = self._add(left_out, limits)
                tree = "" if again else self._tree()
        if not tree:
            raise failed("add", code, said.strip().splitlines()[:1])
        self.repository.note(tree, self.repository.commit(claim).tree)
        return Saved(tree, nested, str(aside))

    def fill(self, commit: str) -> None:
        """Check a commit out; FilterMissing where a file needs a filter that nobody installed."""
        code, _, said = self.git.attempt("read-tree", "-u", "--reset", commit)
        if code:
            self._look_for_filter(said)
            raise failed("read-tree", code, said.strip().splitlines()[-1:])

    def _look_for_filter(self, said: str) -> None:
        """Raise FilterMissing when that is what git, which failed, complains of."""
        programs = [found[1] for how in _NO_PROGRAM if (found := re.search(how, said))]
        if not programs:
            return
        program = programs[0]
        name = re.search(_FILTER_FAILED, said)
        # Of a filter that is a process git does not always tell the name.
        what = name[1] if name else self._filter_that_runs(program)
        if not what:
            return
        command = f"git {program}" if f"git: '{program}'" in said else program
        raise FilterMissing(
            f"git needs the filter {what} for files here, and its program {command} cannot be run",
            hint=f"install {command}, or take filter.{what} out of git's config",
        )

    def _filter_that_runs(self, program: str) -> str:
        """Return the name of the filter whose command is a program, or nothing."""
        _, out, _ = self.git.attempt("config", "-z", "--get-regexp", r"^filter\..*\.")
        for item in os.fsdecode(out).split("\0"):
            key, _, command = item.partition("\n")
            if program in command.split():
                return key.split(".", 1)[1].rpartition(".")[0]
        return ""

    @property
    def _is_sound(self) -> bool:
        is_there = self.path.is_dir() and not self.path.is_symlink()
        files = [self.admin / name for name in ("HEAD", "index", "commondir", "gitdir")]
        if not is_there or not all(file.is_file() for file in files):
            return False
        is_ours = files[2].read_bytes() == COMMON.encode()
        return is_ours and re.fullmatch(SOUND_HEAD, self.head) is not None

    def _tree(self) -> str:
        """Return the tree of what was added, or nothing when its index names what is not there."""
        tree = None
        with contextlib.suppress(OSError):
            tree = index.tree_of(self.repository, (self.admin / "index").read_bytes())
        if tree is None:
            code, out, _ = self.git.attempt("write-tree")
            tree = "" if code else out.decode().strip()
        return tree

    def _add(
        self, left_out: Sequence[str], limits: ConfigLimits, seconds: float = LONG_LOOK
    ) -> tuple[int, str]:
        with contextlib.suppress(GitFailed):
            return self._add_in(left_out, SHORT_LOOK)
        self._weigh(left_out, limits)
        try:
            return self._add_in(left_out, seconds)
        except GitFailed as e:
            return 1, e.message  # it waited for what has no end

    def _weigh(self, left_out: Sequence[str], limits: ConfigLimits) -> None:
        """Raise TooLarge when what changed is more than a result may hold.

        Asked only where git takes its time: to look costs about as much as to add.
        """
        how = ("ls-files", "--others", "--modified", "--exclude-standard", "-z")
        try:
            _, out, _ = self.git.attempt(*how, seconds=LOOK)
        except GitFailed:
            return  # it waits for something else than its own reading
        skipped = tuple(f"{path.rstrip('/')}/" for path in left_out)
        found = {path for path in os.fsdecode(out).split("\0") if path}
        paths = [path for path in found if not f"{path}/".startswith(skipped)]
        if len(paths) > limits.changed_files:
            raise TooLarge(f"{len(paths)} files changed, {limits.changed_files} are allowed")
        size = 0
        for path in paths:
            with contextlib.suppress(OSError):  # it was deleted
                about = os.lstat(self.path / path)
                size += about.st_size if stat.S_ISREG(about.st_mode) else 0
        if size > limits.changed_bytes:
            raise TooLarge(f"the changed files hold more than {limits.changed_bytes:,} bytes")

    def _add_in(self, left_out: Sequence[str], seconds: float) -> tuple[int, str]:
        with contextlib.suppress(OSError):
            (self.admin / "index.lock").unlink()  # of a git that was killed; all are dead now
        listed, how = None, ["add", "-A"]
        left_out = self._not_ignored(left_out, seconds)
        if left_out:
            specs = [":/", *(f":(exclude,literal,top){path.rstrip('/')}" for path in left_out)]
            listed = "\0".join(specs).encode("utf-8", "surrogateescape")
            how += ["--pathspec-from-file=-", "--pathspec-file-nul"]
        code, _, said = self.git.attempt(*how, data=listed, seconds=seconds)
        return code, said

    def _not_ignored(self, paths: Sequence[str], seconds: float) -> list[str]:
        """Return the paths that git would add; it refuses to be told to leave out the others."""
        if not paths:
            return []
        listed = "\0".join(paths).encode("utf-8", "surrogateescape")
        how = ("check-ignore", "--no-index", "-z", "--stdin")
        _, out, _ = self.git.attempt(*how, data=listed, seconds=seconds)
        ignored = set(os.fsdecode(out).split("\0"))
        return [path for path in paths if path not in ignored]

    def _make_anew(self, claim: str) -> None:
        """Write what git needs to know of the worktree; the files stay as they are."""
        if self.path.is_symlink() or not self.path.is_dir():
            self.path.unlink(missing_ok=True)
            self.path.mkdir(parents=True)
        head = self.head
        for name in ("HEAD", "index", "index.lock", "commondir", "gitdir"):
            remove_folder(self.admin / name)
        self.describe(head if re.fullmatch(SOUND_HEAD, head) else claim)
        self.git.run("read-tree", claim)

    def describe(self, head: str) -> None:
        """Write the files by which git knows that this is a worktree."""
        self.admin.mkdir(parents=True, exist_ok=True)
        _write(self.admin / "commondir", COMMON)
        _write(self.admin / "gitdir", f"{self.path}/.git\n")
        _write(self.admin / "HEAD", f"{head}\n")

    def _open_up(self, claim: str, aside: Path) -> tuple[str, ...]:
        """Make all folders readable, and move the `.git` of each repository inside to `aside`.

        Pipes and their like go: they hold no work, and git waits for what never comes out of them.
        """
        _, out = self.git.run("ls-tree", "-r", "-z", claim)
        links = [line for line in out.split(b"\0") if line.startswith(SUBMODULE.encode())]
        ours = {os.fsdecode(line.partition(b"\t")[2]) for line in links}
        nested: list[str] = []
        for folder, folders, names in os.walk(self.path):
            place = os.path.relpath(folder, self.path)
            if place in ours:
                folders.clear()  # a submodule that was there before
                continue
            if place != "." and ".git" in (*folders, *names):
                aside.mkdir(parents=True, exist_ok=True)
                shutil.move(os.path.join(folder, ".git"), aside / str(len(nested)))
                nested.append(place)
            folders[:] = [name for name in folders if name != ".git"]
            for path in (os.path.join(folder, name) for name in names):
                with contextlib.suppress(OSError):
                    mode = os.lstat(path).st_mode
                    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                        os.unlink(path)
            for path in (os.path.join(folder, name) for name in folders):
                with contextlib.suppress(OSError):  # somebody else's; git says whether it matters
                    if not os.path.islink(path):
                        os.chmod(path, stat.S_IMODE(os.lstat(path).st_mode) | stat.S_IRWXU)
        listed = os.fsencode("".join(f"{place}\0" for place in nested))
        if nested:
            self.git.attempt("update-index", "-z", "--force-remove", "--stdin", data=listed)
        return tuple(nested)

    def is_just(self, changes: Sequence[Change]) -> bool:
        """Say whether a fresh checkout of the saved tree would hold the same and nothing else."""
        _, out = self.git.run("ls-files", "--cached", "--others", "--directory", "-v", "-z")
        # H is a file as git knows it, S and h are those that it was told not to look at.
        if any(line[:2] != b"H " for line in out.split(b"\0")[:-1]):
            return False
        return not any(map(self._is_converted, changes))

    def _is_converted(self, change: Change) -> bool:
        if change.new is None or change.new.mode == SUBMODULE:
            return False
        path = self.path / change.path
        try:
            data = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        except OSError:
            return True
        is_rule = path.name == ".gitattributes"
        return is_rule or _blob_sha(data) != change.new.sha

    def stat(self, old: str, new: str) -> str:
        """Return which files differ between two trees, and by how much, as git shows it."""
        how = ("--stat=100", "--no-ext-diff", "--no-textconv", "--no-color", "-r")
        code, out, _ = self.git.attempt("diff-tree", *how, old, new)
        return "" if code else os.fsdecode(out).rstrip("\n")

    def prints(self, path: str) -> Prints:
        """Return what tells a file, or all the files of a folder, from what is written later."""
        top = self.path / path.rstrip("/")
        paths = (top, *sorted(top.rglob("*"))) if top.is_dir() and not top.is_symlink() else (top,)
        found = []
        for each in paths:
            with contextlib.suppress(OSError):
                about = each.lstat()
                found.append((str(each), about.st_ino, about.st_size, about.st_ctime_ns))
        return tuple(found)

    def untracked(self, *, ignored: bool) -> tuple[str, ...]:
        """Return what is there beside the tree, whole folders as one; ignored files if asked."""
        which = () if ignored else ("--exclude-standard",)
        _, out = self.git.run(
            "ls-files", "--others", "--directory", "--no-empty-directory", "-z", *which
        )
        return tuple(path for path in os.fsdecode(out).split("\0") if path)


class Worktrees:
    """The worktrees of one repository, below the folder that the config names."""

    def __init__(self, repository: Repository, folder: str) -> None:
        self.repository = repository
        self.base = repository.common / "gitflow-agents" if repository.is_bare else repository.home
        self.root = self.base / folder
        self._excluded = False
        # Files are written and read under the person's own settings (filters, line endings).
        self._git = Git(str(self.root), pinned(QUIET))

    def exclude(self) -> None:
        """Keep the folder out of the person's `git status`, through `.git/info/exclude`."""
        self._try_out()
        if self._excluded or self.repository.is_bare:
            return
        line = f"/{self.root.relative_to(self.repository.home)}/"
        path = self.repository.common / "info" / "exclude"
        path.parent.mkdir(exist_ok=True)
        text = path.read_text(errors="surrogateescape") if path.exists() else ""
        if line not in text.splitlines():
            with open(path, "a", errors="surrogateescape") as file:
                file.write(("" if text.endswith("\n") or not text else "\n") + line + "\n")
        self._excluded = True

    def _try_out(self) -> None:
        """Raise FlowError where no worktree can be made, before an attempt depends on it."""
        probe = self.root / f".probe-{os.urandom(4).hex()}"
        for left in self.root.glob(".probe-*"):  # of a process that was killed here
            self._remove_empty(left)
        try:
            _make_folder(probe)
        except OSError as e:
            raise FlowError(
                f"the folder {self.root} cannot hold worktrees: {e.strerror}",
                hint=MAKE_ROOM if is_full(e) else ELSEWHERE,
            ) from e
        self._remove_empty(probe)

    def _remove_empty(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            while folder != self.base:
                folder.rmdir()  # stops at the first that holds anything
                folder = folder.parent

    def place(self, plan: str, name: str) -> Worktree:
        """Return the worktree of that name, whether it is there or not."""
        path = self.root / plan / name
        # `+` can stand in neither a plan's name nor a task's id, so no two share a folder.
        admin = self.repository.common / "worktrees" / f"gitflow-{plan}+{name}"
        where = {"GIT_DIR": str(admin), "GIT_WORK_TREE": str(path)}
        git = self._git.beside(where["GIT_WORK_TREE"], where)
        return Worktree(path, admin, git, self.repository)

    def add(self, plan: str, name: str, commit: str) -> Worktree:
        """Make a fresh worktree at a commit; what stood in its place is moved aside or removed."""
        tree = self.place(plan, name)
        if os.path.lexists(tree.path) or os.path.lexists(tree.admin):
            self.remove(tree)
        try:
            # First what says that it is ours: a folder that nobody claims is never deleted.
            _make_folder(tree.admin)
            tree.describe(commit)
            owner = f"{os.getpid()} {own_start(os.getpid())} {commit}\n"
            _write(tree.admin / OWNER, owner)
            _make_folder(tree.path)
            _write(tree.path / ".git", f"gitdir: {tree.admin}\n")
        except OSError as e:
            raise GitFailed(
                f"the worktree {tree.path} cannot be made: {e.strerror}",
                hint=MAKE_ROOM if is_full(e) else ELSEWHERE,
            ) from e
        tree.fill(commit)
        return tree

    def remove(self, tree: Worktree) -> None:
        """Remove a worktree of ours; a folder that is not one is moved aside, never deleted."""
        if tree.path.is_symlink() or (tree.path.exists() and not tree.admin.exists()):
            self.move(tree, self.aside(tree))
        else:
            remove_folder(tree.path)
            remove_folder(tree.admin)
        self._remove_empty(tree.path.parent)

    def move(self, tree: Worktree, aside: Path) -> None:
        """Leave what is in a worktree in another folder, which is none any more."""
        with contextlib.suppress(OSError):
            tree.path.rename(aside)
        remove_folder(tree.admin)

    def unknown_filters(self, tree: str) -> tuple[str, ...]:
        """Return the filters that a tree's `.gitattributes` names and no config of git's defines.

        Only the file at the top is read: it is where such rules stand, and the check costs little.
        """
        rules = (self.repository.read(tree, RULES) or b"").decode(errors="replace")
        lines = [line.split() for line in rules.splitlines() if not line.lstrip().startswith("#")]
        named = {word[7:]: "" for line in lines for word in line[1:] if word.startswith("filter=")}
        if not named:
            return ()
        _, out, _ = self.repository.user.attempt("config", "-z", "--get-regexp", r"^filter\..*\.")
        keys = [item.split("\n", 1)[0] for item in os.fsdecode(out).split("\0")]
        known = {key.split(".", 1)[1].rpartition(".")[0] for key in keys if key}
        return tuple(name for name in named if name not in known)

    def aside(self, tree: Worktree) -> Path:
        """Return a folder that is not there yet, to which a worktree can be moved and stay."""
        return tree.path.with_name(f"{tree.path.name}.left-{os.urandom(4).hex()}")

    def existing(self, plan: str) -> list[str]:
        """Return the names of this plan's worktrees that have an admin folder."""
        prefix = f"gitflow-{plan}+"
        try:
            names = os.listdir(self.repository.common / "worktrees")
        except OSError:
            return []
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def is_linked(path: Path, admins: Path) -> bool:
    """Say whether git knows a folder as a worktree by an admin folder that is not ours."""
    try:
        named = os.fsdecode(read_plain(path / ".git", 4096)).removeprefix("gitdir: ").rstrip("\n")
    except OSError:
        return False
    admin = Path(os.path.normpath(path / named))
    return admin.parent == admins and admin.is_dir() and not admin.name.startswith("gitflow-")


def _make_folder(path: Path) -> None:
    """Make a folder; an attempt that ends takes the empty folders above with it, so ask again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return path.mkdir(parents=True)
        except (FileNotFoundError, FileExistsError):  # one above was there, and then was not
            if os.path.lexists(path) or time.monotonic() > deadline:
                raise


def _write(path: Path, text: str) -> None:
    """Write a small file by the fewest calls: an attempt needs some of them."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        os.write(fd, os.fsencode(text))
    finally:
        os.close(fd)


def _blob_sha(data: bytes) -> str:
    head = b"blob %d\0" % len(data)
    return hashlib.sha1(head + data, usedforsecurity=False).hexdigest()


def remove_folder(path: Path) -> None:
    """Remove a folder and all below it, also where somebody took the permission away."""

    def permit(function: object, name: str, _: object) -> None:
        parent = os.path.dirname(name)
        with contextlib.suppress(OSError):
            os.chmod(parent, stat.S_IRWXU)
            if not os.path.islink(name):
                os.chmod(name, stat.S_IRWXU)
            if os.path.isdir(name) and not os.path.islink(name):
                shutil.rmtree(name, ignore_errors=True)
            else:
                os.unlink(name)

    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif path.exists():
        shutil.rmtree(path, onerror=permit)


def create_repository(path: Path, files: Mapping[str, bytes], message: str) -> None:
    """Make a repository with one commit on `main` that holds `files`, checked out."""
    path.mkdir(parents=True, exist_ok=True)
    Git(str(path), {}).run("init", "--quiet", "--initial-branch=main")
    repository = Repository(path)
    edits: dict[str, Entry | None] = {
        name: Entry(FILE, repository.write_blob(data)) for name, data in files.items()
    }
    commit = repository.write_commit(repository.graft(EMPTY_TREE, edits), [], message)
    repository.git.run("update-ref", "refs/heads/main", commit, ZERO)
    repository.user.run("read-tree", "-u", "--reset", "HEAD")
    repository.close()


def clone_repository(source: Path, path: Path) -> None:
    """Make a clone of a repository of this machine, with `origin` as its remote."""
    Git(str(path.parent), {}).run("clone", "--quiet", str(source), str(path))
