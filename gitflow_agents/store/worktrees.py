"""Worktrees: a fresh one for each attempt and each train, and nothing of them left behind.

The admin folders are made by hand: `git worktree add` costs two processes more, and git's own prune
never removes a half-made one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitflow_agents.errors import GitFailed
from gitflow_agents.models import ZERO
from gitflow_agents.store.repository import EMPTY_TREE, FILE, Entry, Git, Repository, pinned

QUIET = {
    "core.sparseCheckout": "false",
    "submodule.recurse": "false",
    "core.safecrlf": "false",  # it would refuse to save what an agent wrote
    "index.version": "2",
    "core.untrackedCache": "false",
}


@dataclass(frozen=True)
class Worktree:
    """A detached checkout: `path` is where the files are, `admin` what git knows about it."""

    path: Path
    admin: Path
    git: Git

    @property
    def head(self) -> str:
        """Return what HEAD says: a sha, or `ref: refs/heads/x` when somebody switched."""
        try:
            return (self.admin / "HEAD").read_text().strip()
        except OSError as e:
            raise GitFailed(f"the worktree {self.path} lost its HEAD") from e

    def tip(self, otherwise: str) -> str:
        """Return the commit that HEAD names, through a branch or not; `otherwise` when none."""
        try:
            head = (self.admin / "HEAD").read_text().strip().removeprefix("ref: ")
        except OSError:
            return otherwise
        code, out, _ = self.git.attempt("rev-parse", "--verify", "-q", f"{head}^{{commit}}")
        return out.decode().strip() if code == 0 else otherwise

    def save(self, left_out: Sequence[str] = ()) -> str:
        """Return the tree of everything in the worktree, but ignored files and `left_out`."""
        with contextlib.suppress(OSError):
            (self.admin / "index.lock").unlink()  # of a git that was killed; all are dead now
        if left_out:
            specs = [":/", *(f":(exclude,literal,top){path.rstrip('/')}" for path in left_out)]
            listed = "\0".join(specs).encode("utf-8", "surrogateescape")
            self.git.run("add", "-A", "--pathspec-from-file=-", "--pathspec-file-nul", data=listed)
        else:
            self.git.run("add", "-A")
        _, out = self.git.run("write-tree")
        return out.decode().strip()

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

    def exclude(self) -> None:
        """Keep the folder out of the person's `git status`, through `.git/info/exclude`."""
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

    def place(self, plan: str, name: str) -> Worktree:
        """Return the worktree of that name, whether it is there or not."""
        path = self.root / plan / name
        # `+` can stand in neither a plan's name nor a task's id, so no two share a folder.
        admin = self.repository.common / "worktrees" / f"gitflow-{plan}+{name}"
        git = Git(
            str(path),
            {**pinned(QUIET), "GIT_DIR": str(admin), "GIT_WORK_TREE": str(path)},
        )
        # Files are written and read under the person's own settings (filters, line endings).
        return Worktree(path, admin, git)

    def add(self, plan: str, name: str, commit: str) -> Worktree:
        """Make a fresh worktree at a commit; what stood in its place is moved aside or removed."""
        tree = self.place(plan, name)
        self.remove(tree)
        try:
            _make_folder(tree.path)
            _make_folder(tree.admin)
            (tree.admin / "commondir").write_text("../..\n")
            (tree.admin / "gitdir").write_text(f"{tree.path}/.git\n")
            (tree.admin / "HEAD").write_text(f"{commit}\n")
            (tree.path / ".git").write_text(f"gitdir: {tree.admin}\n")
        except OSError as e:
            raise GitFailed(
                f"the worktree {tree.path} cannot be made: {e.strerror}",
                hint="look at the folder; the config key `worktrees` names another one",
            ) from e
        tree.git.run("read-tree", "-u", "--reset", commit)
        return tree

    def remove(self, tree: Worktree) -> None:
        """Remove a worktree of ours; a folder that is not one is moved aside, never deleted."""
        if tree.path.is_symlink() or (tree.path.exists() and not tree.admin.exists()):
            aside = tree.path.with_name(f"{tree.path.name}.left-{os.urandom(4).hex()}")
            with contextlib.suppress(OSError):
                tree.path.rename(aside)
        remove_folder(tree.path)
        remove_folder(tree.admin)
        with contextlib.suppress(OSError):
            for folder in tree.path.parents:
                if folder == self.base:
                    break
                folder.rmdir()  # stops at the first that holds anything

    def existing(self, plan: str) -> list[str]:
        """Return the names of this plan's worktrees that have an admin folder."""
        prefix = f"gitflow-{plan}+"
        try:
            names = os.listdir(self.repository.common / "worktrees")
        except OSError:
            return []
        return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _make_folder(path: Path) -> None:
    """Make a folder; an attempt that ends takes the empty folders above with it, so ask again."""
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):
            path.mkdir(parents=True)
            return
    path.mkdir(parents=True)


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

    if path.is_symlink():
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
