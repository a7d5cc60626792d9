"""Real git repositories for tests, and two ways to run the tool on them.

Start with Repo: a folder and the few git questions a test asks. Nothing here is a stand-in;
every method starts git.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from click.testing import CliRunner

# The helper's own commits have an author although the repository names none. GIT_OPTIONAL_LOCKS:
# a `git status` that refreshes the index would look like the tool having touched it.
HELPER_ENV = {
    "GIT_AUTHOR_NAME": "alice",
    "GIT_AUTHOR_EMAIL": "alice@example.com",
    "GIT_COMMITTER_NAME": "alice",
    "GIT_COMMITTER_EMAIL": "alice@example.com",
    "GIT_OPTIONAL_LOCKS": "0",
}
WORKTREES = ".worktrees"
TOOL_TIMEOUT = 300.0


class File(NamedTuple):
    """One entry of a working folder: a file, a link (its target is the content) or a folder."""

    path: str
    mode: str
    mtime_ns: int
    content: bytes


@dataclass(frozen=True)
class Snapshot:
    """Everything in a repository that belongs to its user; two are equal when nothing moved.

    `refs` are the commit that is checked out and all tags, `pseudo_refs` the files HEAD (which
    names the branch), MERGE_HEAD, COMMIT_EDITMSG and their like, `index` is the digest of the
    file and `staged` what it says, `hooks` holds (name, mode, content).
    """

    refs: str
    pseudo_refs: tuple[tuple[str, str], ...]
    head_log: str
    stash: str
    index: str
    staged: str
    status: str
    config: bytes
    hooks: tuple[tuple[str, str, bytes], ...]
    files: tuple[File, ...]


@dataclass(frozen=True)
class Repo:
    """A repository at `path`: a checkout, a linked worktree or a bare one."""

    path: Path

    def git(
        self,
        *args: str,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> str:
        """Return what `git ARGS` prints, without the last newline; a failure raises with its stderr."""
        return self._git(*args, stdin=stdin, env=env, check=check).removesuffix("\n")

    def _git(
        self,
        *args: str,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> str:
        done = subprocess.run(
            ["git", "-c", "maintenance.auto=false", *args],
            cwd=self.path,
            env={**os.environ, **HELPER_ENV, **(env or {})},
            input=None if stdin is None else os.fsencode(stdin),
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
        # Not as text: that would turn \r\n into \n.
        out, err = os.fsdecode(done.stdout), os.fsdecode(done.stderr)
        if check and done.returncode != 0:
            raise AssertionError(f"git {' '.join(args)} ended with {done.returncode}:\n{out}{err}")
        return out

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file of the working folder, with the folders above it, and return its path."""
        target = self.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        return target

    def plan(self, name: str, text: str) -> Path:
        """Write `plans/NAME.yaml` from `text`, its common indentation taken off."""
        return self.write(f"plans/{name}.yaml", textwrap.dedent(text).lstrip("\n"))

    def commit(self, message: str) -> str:
        """Commit all that lies in the working folder, or nothing, and return the new sha."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.sha("HEAD")

    def identify(self, name: str = "alice", email: str = "alice@example.com") -> None:
        """Set user.name and user.email, which no repository here has by default."""
        self.git("config", "user.name", name)
        self.git("config", "user.email", email)

    def sha(self, rev: str = "HEAD") -> str:
        """Return the full sha of a revision."""
        return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", rev)

    def branches(self) -> list[str]:
        """Return the short names of all local branches, sorted."""
        return self.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").split()

    def tree(self, rev: str = "HEAD") -> list[str]:
        """Return the paths of all files in a revision, sorted."""
        return self._git("ls-tree", "-rz", "--name-only", rev).split("\0")[:-1]

    def show(self, rev: str, path: str) -> str:
        """Return the text of a file in a revision, byte for byte."""
        return self._git("cat-file", "blob", f"{rev}:{path}")

    def log(self, rev: str = "HEAD", fmt: str = "%s", *options: str) -> str:
        """Return `git log` of a revision, newest first, each commit in the given format."""
        return self.git("log", f"--format={fmt}", *options, rev, "--")

    def clone(self, path: Path, *, bare: bool = False) -> Repo:
        """Return a clone of this repository, which is its `origin`."""
        self.git("clone", "--quiet", "--template=", *["--bare"] * bare, str(self.path), str(path))
        return Repo(path)

    def worktree(self, path: Path, rev: str = "HEAD") -> Repo:
        """Return a linked worktree, its HEAD detached at a revision."""
        self.git("worktree", "add", "--quiet", "--detach", str(path), rev)
        return Repo(path)

    def snapshot(self) -> Snapshot:
        """Return everything that the user would call theirs; the tool's refs and worktrees are left out."""
        where = ("--absolute-git-dir", "--git-common-dir", "--is-bare-repository")
        git_dir, common_dir, is_bare = self.git("rev-parse", *where).split("\n")
        private, common, bare = Path(git_dir), self.path / common_dir, is_bare == "true"
        return Snapshot(
            refs=self.git("show-ref", "--head", "--tags", check=False),
            pseudo_refs=tuple(
                (file.name, os.fsdecode(file.read_bytes()))
                for file in sorted(private.iterdir())
                if file.is_file() and file.name.replace("_", "").isupper()
            ),
            head_log=_text(private / "logs/HEAD"),
            stash=_text(common / "logs/refs/stash"),
            index=hashlib.sha256(_bytes(private / "index")).hexdigest(),
            staged=self.git("ls-files", "--stage", "--debug"),
            status="" if bare else self.git("status", "--porcelain", "--untracked-files=all"),
            config=_bytes(common / "config") + _bytes(private / "config.worktree"),
            hooks=tuple(
                (file.name, oct(file.lstat().st_mode), file.read_bytes())
                for file in sorted((common / "hooks").glob("*"))
            ),
            files=() if bare else tuple(_files(self.path)),
        )


def init(path: Path, *, branch: str = "main", bare: bool = False, sha256: bool = False) -> Repo:
    """Return a new repository without a commit; sha1 unless `sha256`."""
    path.mkdir(parents=True, exist_ok=True)
    repo = Repo(path)
    repo.git(
        "init",
        "--quiet",
        "--template=",
        f"--initial-branch={branch}",
        f"--object-format={'sha256' if sha256 else 'sha1'}",
        *["--bare"] * bare,
    )
    return repo


def copy(template: Repo, path: Path) -> Repo:
    """Return a copy of a repository made without starting git."""
    shutil.copytree(template.path, path, symlinks=True)
    return Repo(path)


@dataclass(frozen=True)
class Result:
    """What one run of the tool left: its exit code, and what it printed on each stream."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Return standard output read as one JSON value."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Cli:
    """The tool in this process, on `repo` unless a call names another."""

    repo: Repo

    def __call__(
        self,
        *args: str,
        repo: Repo | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: str = "",
        check: bool = True,
    ) -> Result:
        """Run `gitflow-agents -C REPO ARGS` as its script does; with `check` any exit code but 0 fails the test.

        An exception that the tool did not turn into an exit code comes out as it is.
        """
        from gitflow_agents import cli  # not before a test asks: it is part of what is tested

        main: Callable[[], object] = cli.main
        argv = ["gitflow-agents", "-C", str((repo or self.repo).path), *args]
        code: object = None
        with (
            CliRunner().isolation(input=stdin, env=env) as (stdout, stderr, _),
            mock.patch.object(sys, "argv", argv),
        ):
            try:
                raise SystemExit(main())
            except SystemExit as exit_:
                code = exit_.code
            if code is not None and not isinstance(code, int):
                sys.stderr.write(f"{code}\n")  # as the interpreter does
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            result = Result(code or 0, stdout.getvalue().decode(), stderr.getvalue().decode())
        return _checked(result, args, check)


def tool(
    repo: Repo,
    *args: str,
    env: Mapping[str, str | None] | None = None,
    stdin: str = "",
    check: bool = True,
    timeout: float = TOOL_TIMEOUT,
) -> Result:
    """Run the installed script in the repository's folder; with `check` any exit code but 0 fails the test.

    `env` is laid over the environment of the test (None removes a name); `timeout` in seconds.
    """
    merged = {**os.environ, **(env or {})}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("gitflow-agents")), *args],
        cwd=repo.path,
        env={name: value for name, value in merged.items() if value is not None},
        input=stdin.encode(),
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return _checked(
        Result(done.returncode, done.stdout.decode(), done.stderr.decode()), args, check
    )


def _checked(result: Result, args: tuple[str, ...], check: bool) -> Result:
    if check and result.exit_code != 0:
        raise AssertionError(
            f"gitflow-agents {' '.join(args)} ended with {result.exit_code}:\n"
            f"{result.stdout}{result.stderr}"
        )
    return result


def _files(top: Path) -> Iterator[File]:
    """Yield all below `top` in order, without git's own folder and the tool's worktrees."""
    for folder, folders, names in os.walk(top):
        if Path(folder) == top:
            folders[:] = [name for name in folders if name not in {".git", WORKTREES}]
        folders.sort()
        for name in sorted([*folders, *names]):
            path = Path(folder, name)
            stat = path.lstat()
            if path.is_symlink():
                content = os.fsencode(os.readlink(path))
            else:
                content = path.read_bytes() if path.is_file() else b""
            # A folder's time moves when the tool adds .worktrees to it; its entries are listed anyway.
            mtime = 0 if path.is_dir() and not path.is_symlink() else stat.st_mtime_ns
            yield File(str(path.relative_to(top)), oct(stat.st_mode), mtime, content)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _text(path: Path) -> str:
    return os.fsdecode(_bytes(path))
