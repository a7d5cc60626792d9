"""What git holds: objects, refs and the repository's own facts.

This is the one place that starts git, through GitPython's `Git`; nobody else sees it.  Objects are
written freely; a ref moves only in `refs.py`, and a worktree is made only in `worktrees.py`.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import re
import secrets
import select
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import zlib
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gitflow_agents.errors import MAKE_ROOM, FlowError, GitFailed
from gitflow_agents.models import ZERO
from gitflow_agents.store.reffiles import Puzzle, RefFiles

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

V = TypeVar("V")

OLDEST_GIT = (2, 38)
TOOL = "gitflow-agents <gitflow-agents@localhost>"
"""Who commits what the tool records."""

LONGEST = 3600.0
"""Seconds after which a git is ended: what it waits for is not going to be."""
PATIENCE = 5.0
"""Seconds for which a git that was ended may take to be gone."""

FILE, EXECUTABLE, SYMLINK, FOLDER, SUBMODULE = "100644", "100755", "120000", "40000", "160000"

RULES = ".gitattributes"

# What a merge gives must not depend on the person's settings.
PINNED = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.logAllRefUpdates": "always",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "merge.renames": "true",
    "merge.directoryRenames": "false",
    "merge.conflictStyle": "merge",
    "advice.detachedHead": "false",
}


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as git stores it; `author` and `committer` hold name, address and time."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: str
    committer: str
    message: str

    @property
    def subject(self) -> str:
        """Return the first line of the message."""
        return self.message.split("\n", 1)[0]

    @property
    def time(self) -> float:
        """Return when it was committed, in seconds since the epoch."""
        return float(self.committer.rsplit(" ", 2)[1])


class Entry(NamedTuple):
    """What a tree says about one name."""

    mode: str
    sha: str


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees; None stands for "is not there"."""

    path: str
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True)
class Merge:
    """The tree that a merge gives; `conflicts` are the paths that it could not decide."""

    tree: str
    conflicts: tuple[str, ...] = ()


def failed(verb: str, code: int, said: Sequence[str]) -> GitFailed:
    """Return the error for a git that ended with `code` (negative for a signal)."""
    why = signal.strsignal(-code) if code < 0 else "it said nothing"
    return GitFailed(
        f"git {verb} ended with {code}: {said[0] if said else why}",
        hint="nothing was lost; look at the message and run the command again",
    )


@dataclass
class Git:
    """git in one folder with one environment: every process that we start goes through `run`."""

    folder: str
    environment: Mapping[str, str]
    started: int = 0

    @cached_property
    def _own(self) -> dict[bytes, bytes]:
        """Return all that a git of ours sees: what we inherited and it may obey, and our own."""
        left_out = {os.fsencode(name) for name in foreign(os.environ)}
        # A copy stumbles over a variable that another thread takes away meanwhile.
        found = {name: os.environb.get(name) for name in os.environb if name not in left_out}
        kept = {name: value for name, value in found.items() if value is not None}
        return kept | _encoded({"LANGUAGE": "C", "LC_ALL": "C", **self.environment})

    def beside(self, folder: str, changes: Mapping[str, str]) -> Git:
        """Return the git of another folder, which sees the same but for these variables."""
        git = Git(folder, {**self.environment, **changes})
        git._own = self._own | _encoded(changes)
        return git

    @cached_property
    def _git(self) -> Any:
        """Return GitPython's git, which keeps the partners."""
        git = _gitpython().Git(self.folder)
        # GitPython takes the $HOME in a folder's name for a variable.
        git._working_dir = self.folder
        git.update_environment(**self.environment)
        return git

    def run(
        self, *args: str, data: bytes | None = None, ok: Sequence[int] = (0,)
    ) -> tuple[int, bytes]:
        """Return git's exit code and standard output; GitFailed when the code is not in `ok`."""
        code, out, err = self.attempt(*args, data=data)
        if code not in ok:
            raise failed(args[0], code, err.strip().splitlines()[-1:])
        return code, out

    def attempt(
        self, *args: str, data: bytes | None = None, seconds: float = LONGEST
    ) -> tuple[int, bytes, str]:
        """Return git's exit code, standard output and standard error, whatever they are.

        Raises GitFailed when git has not ended after so many seconds.
        """
        import subprocess

        self.started += 1
        with contextlib.ExitStack() as stack:
            stream: Any = subprocess.DEVNULL
            if data is not None:
                # A real file: git gets it as it is, so no thread copies anything.
                try:
                    stream = stack.enter_context(tempfile.TemporaryFile())
                    stream.write(data)
                    stream.seek(0)
                except OSError as e:
                    raise GitFailed(
                        f"nothing can be written to {tempfile.tempdir or 'a temporary folder'}: "
                        f"{e.strerror}",
                        hint=MAKE_ROOM,
                    ) from e
            try:
                process = subprocess.Popen(
                    [_program(os.environ.get("PATH", os.defpath)), *args],
                    # A worktree may be gone; its git is told where everything is in any case.
                    cwd=self.folder if os.access(self.folder, os.X_OK) else None,
                    env=self._own,
                    stdin=stream,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as e:
                raise _no_git() from e
            return self._outcome(args[0], process, seconds)

    def _outcome(self, verb: str, process: Any, seconds: float) -> tuple[int, bytes, str]:
        """Wait for a git; one that waits for something itself (a filter, a pipe) is ended."""
        from subprocess import TimeoutExpired

        try:
            out, err = process.communicate(timeout=seconds)
        except TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutExpired):
                process.communicate(timeout=PATIENCE)
            raise GitFailed(
                f"git {verb} was ended: it took more than {seconds:g} seconds",
                hint="nothing was lost; a filter or a pipe that git waits for may be the cause",
            ) from None
        return int(process.returncode), out, err.decode(errors="replace")

    def partner(self, *args: str) -> Any:
        """Return a git process that is spoken to through its pipes (GitPython's AutoInterrupt)."""
        import subprocess

        self.started += 1
        # Ctrl-C in a terminal reaches our whole group: it must not end a git that we still ask.
        return self._git.execute(
            [*_git_without(foreign(os.environ) - self.environment.keys()), *args],
            as_process=True,
            istream=subprocess.PIPE,
            start_new_session=True,
        )

    def header(self, name: str) -> tuple[str, str, int]:
        """Return (sha, type, size) from the long-lived `cat-file`; ValueError when missing."""
        sha, kind, size = self._ask(
            "cat_file_header", "--batch-check", lambda: self._git.get_object_header(name)
        )
        return _text(sha), _text(kind), int(size)

    def object(self, name: str) -> tuple[str, str, int, bytes]:
        """Return (sha, type, size, data) from the long-lived `cat-file`."""

        def whole() -> tuple[Any, Any, int, bytes]:
            sha, kind, size, data = self._git.get_object_data(name)
            if len(data) != size:
                raise EOFError(f"{name} ends too soon")
            return sha, kind, size, data

        sha, kind, size, data = self._ask("cat_file_all", "--batch", whole)
        return _text(sha), _text(kind), int(size), data

    def _ask(self, slot: str, how: str, ask: Callable[[], V]) -> V:
        """Ask a long-lived `cat-file`; one that somebody has ended is started again, once."""
        for _ in range(2):
            if getattr(self._git, slot) is None:
                setattr(self._git, slot, self.partner("cat-file", how))
                os.set_blocking(getattr(self._git, slot).proc.stderr.fileno(), False)
            process = getattr(self._git, slot).proc
            process.stderr.read()  # when its pipe is full of warnings, git waits and says no more
            try:
                return ask()
            except (ValueError, OSError, EOFError) as e:
                error = e
                answers = select.poll()
                answers.register(process.stdout, select.POLLIN)
                if not isinstance(e, OSError | EOFError) and not answers.poll(0):
                    raise  # it lives, and that was its answer
                setattr(self._git, slot, None)
                with contextlib.suppress(OSError), process:
                    process.kill()
        raise ValueError(str(error)) from error

    def close(self) -> None:
        """End the long-lived processes."""
        if "_git" in self.__dict__:
            self._git.clear_cache()


def _text(said: str | bytes) -> str:
    # GitPython says str and returns bytes.
    return said.decode() if isinstance(said, bytes) else said


HARMLESS = ("GIT_TRACE2", "GIT_PYTHON_", "GIT_PS1_", "GIT_ASKPASS", "GIT_SSH", "GIT_PAGER")
"""What names begin with that a git of ours does not obey: it asks, shows and fetches nothing."""


def foreign(inherited: Iterable[str]) -> set[str]:
    """Return the inherited variables that a git must not see: GIT_*, tracing apart.

    Inside a hook GIT_DIR points at the outer repository, and GIT_INDEX_FILE at its index.
    """
    return {n for n in inherited if n.startswith("GIT_") and not n.startswith(HARMLESS)}


def _no_git() -> FlowError:
    return FlowError("git cannot be started", hint="install git 2.38 or newer and put it on PATH")


_importing = threading.Lock()


def _gitpython() -> Any:
    """Return the package; it takes long to import, and most commands that end at once need none."""
    # It looks for a git when it is imported, and complains unless it is told not to.
    with _importing:
        if "git" not in sys.modules and "GIT_PYTHON_REFRESH" not in os.environ:
            os.environ["GIT_PYTHON_REFRESH"] = "quiet"
            try:
                import git
            finally:
                del os.environ["GIT_PYTHON_REFRESH"]
        import git

        return git


def _encoded(variables: Mapping[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}


@lru_cache(maxsize=8)
def _program(path: str) -> str:
    """Return where git is on a PATH: to try each of its folders for each process takes a while."""
    found = shutil.which("git", path=path) or ""
    return found if os.path.isabs(found) else "git"


def _git_without(names: Iterable[str]) -> list[str]:
    """Return the words that start git without these variables; GitPython only ever adds some.

    They are not taken out of our own environment: that is the caller's as well.
    """
    unset = [word for name in sorted(names) for word in ("-u", name)]
    return ["env", *unset, "git"] if unset else ["git"]


def pinned(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that set the pinned configuration, and `extra`, for one git.

    It shows every object as it is, and none that stands in for it: what was looked at has to be
    what others get.
    """
    settings = {**PINNED, **(extra or {})}
    values = {"GIT_CONFIG_COUNT": str(len(settings)), "GIT_TERMINAL_PROMPT": "0"}
    values["GIT_NO_REPLACE_OBJECTS"] = "1"
    for place, (key, value) in enumerate(settings.items()):
        values[f"GIT_CONFIG_KEY_{place}"] = key
        values[f"GIT_CONFIG_VALUE_{place}"] = value
    return values


class Repository:
    """One git repository, seen from the folder that a command was started in.

    `common` is its common git directory, `home` the main checkout (the common directory of a bare
    repository), `top` the checkout that we were started in or None.
    """

    def __init__(self, directory: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.directory = Path(directory).absolute()
        if not self.directory.is_dir():
            raise FlowError(f"{directory} is not a folder", hint="name a folder with -C DIR")
        self.user = Git(str(self.directory), {"GIT_TERMINAL_PROMPT": "0"})
        self._look()
        self.git = Git(
            str(self.common),
            {
                **pinned(self._fsync),
                "GIT_DIR": str(self.common),
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_COMMITTER_NAME": TOOL.split(" <")[0],
                "GIT_COMMITTER_EMAIL": TOOL.split("<")[1][:-1],
            },
        )
        self._common = os.fspath(self.common)
        self._refs = RefFiles(self.common)
        self._reading = threading.Lock()
        self._settling = threading.Lock()
        self._fresh: deque[str] = deque()
        # Of a disk that is, an object is brought there while it is open: that saves another look.
        self._is_quick = False
        self._parts, self._part = secrets.token_hex(8), count()
        # What was read or written lately, by sha: objects never change.
        self._trees: OrderedDict[str, dict[str, Entry]] = OrderedDict()
        self._rows: OrderedDict[str, Rows] = OrderedDict()
        self._commits: OrderedDict[str, Commit] = OrderedDict()

    def _look(self) -> None:
        code, out, err = self.user.attempt("version")
        numbers = re.search(rb"(\d+)\.(\d+)", out)
        version = (int(numbers[1]), int(numbers[2])) if code == 0 and numbers else (0, 0)
        if version < OLDEST_GIT:
            raise FlowError(
                f"git {version[0]}.{version[1]} is too old",
                hint=f"install git {OLDEST_GIT[0]}.{OLDEST_GIT[1]} or newer",
            )
        code, out, err = self.user.attempt(
            "rev-parse",
            "--path-format=absolute",
            "--git-common-dir",
            "--show-object-format",
            "--is-bare-repository",
            "--is-inside-work-tree",
        )
        if code != 0:
            if "dubious ownership" in err:
                raise FlowError(
                    f"{self.directory} belongs to another user, so git refuses to read it",
                    hint=f"git config --global --add safe.directory '{self.directory}'",
                )
            raise FlowError(
                f"{self.directory} is not in a git repository",
                hint="go to one, or make one: git init && git commit --allow-empty -m start",
            )
        common, object_format, _bare, inside = os.fsdecode(out).rstrip("\n").rsplit("\n", 3)
        if object_format != "sha1":
            raise FlowError(
                f"this repository names objects by {object_format}, and only sha1 is supported",
                hint="use a repository made with git init --object-format=sha1",
            )
        self.common = Path(common)
        self.top: Path | None = None
        if inside == "true":
            _, out = self.user.run("rev-parse", "--path-format=absolute", "--show-toplevel")
            self.top = Path(os.fsdecode(out).rstrip("\n"))
        wanted = r"^(core\.(bare|fsync)|user\.(name|email))$"
        _, out, _ = self.user.attempt("config", "-z", "--show-scope", "--get-regexp", wanted)
        items = out.decode(errors="replace").split("\0")
        settings = list(zip(items[::2], items[1::2], strict=False))
        own = [
            item for scope, item in settings if scope == "local" and item.startswith("core.bare")
        ]
        self.is_bare = own[-1:] in (["core.bare\ntrue"], ["core.bare"])
        asked = [item.partition("\n")[2] for _, item in settings if item.startswith("core.fsync\n")]
        self._fsync = {"core.fsync": asked[-1]} if asked else {}
        self._user = [item for _, item in settings if item.startswith("user.")]
        self.home = self.common if self.is_bare else self._main_checkout()

    def _main_checkout(self) -> Path:
        if self.top is not None and _git_directory(self.top) == os.path.realpath(self.common):
            return self.top
        _, out, _ = self.user.attempt("worktree", "list", "--porcelain", "-z")
        first = out.split(b"\0", 1)[0]
        return Path(os.fsdecode(first.removeprefix(b"worktree ")))

    def mover(self) -> Git:
        """Return the git that moves refs: a ref's new file is written out before it is one.

        That is enough: file systems with a journal keep the order, and the next intent, or the end,
        brings the move itself to the disk.  Whoever has set core.fsync gets what it says.
        """
        settings = self._fsync or {"core.fsync": "reference", "core.fsyncMethod": "writeout-only"}
        return Git(self.git.folder, {**self.git.environment, **pinned(settings)})

    # --- facts ------------------------------------------------------------------------------------

    def person(self) -> str:
        """Return who is at the terminal: git's user.name and user.email, else the login name."""
        found: dict[str, str] = {}
        for item in self._user:
            key, _, value = item.partition("\n")
            if value.strip():
                found[key] = re.sub(r"[<>\n\0]", "", value).strip()
        name, email = found.get("user.name"), found.get("user.email")
        if name and email:
            return f"{name} <{email}>"
        try:
            login = getpass.getuser()
        except (KeyError, OSError):
            login = "unknown"
        return name or email or login

    def default_branch(self) -> str:
        """Return the branch that a plan starts from when it names none."""
        # git keeps what a symbolic ref says in a file of that name, never anywhere else.
        own = Path(_git_directory(self.top)) if self.top is not None else self.common
        for path in (self.common / "refs/remotes/origin/HEAD", own / "HEAD"):
            with contextlib.suppress(OSError):
                said, _, ref = os.fsdecode(path.read_bytes()).strip().partition(": ")
                if said == "ref":
                    branch = ref.strip().removeprefix("refs/heads/")
                    return branch.removeprefix("refs/remotes/origin/")
        raise FlowError(
            "no branch is checked out, and there is no origin/HEAD to start from",
            hint="say where to start in the plan: base: main",
        )

    # --- reading ----------------------------------------------------------------------------------

    def resolve(self, name: str) -> str | None:
        """Return the sha that a revision names now, or None."""
        if not name or "\n" in name or name.startswith("-"):
            return None
        plain = name.removesuffix("^{commit}")
        with contextlib.suppress(Puzzle, GitFailed):
            sha = self._refs.branch(plain)
            if sha is not None and plain != name:
                self.commit(sha)  # it is one; whoever asks so reads it next
            return sha
        with self._reading:
            try:
                return self.git.header(name)[0]
            except ValueError:  # also a name that is not text, which cannot be asked for
                return None

    def tip(self, branch: str) -> str | None:
        """Return the commit that a branch points at now, or None."""
        return self.resolve(f"refs/heads/{branch}")

    def tips(self, *prefixes: str) -> dict[str, str]:
        """Return every ref below the prefixes (`refs/heads/task/`) with its sha."""
        with contextlib.suppress(Puzzle):
            return self._refs.below(prefixes)
        _, out = self.git.run("for-each-ref", "--format=%(refname) %(objectname)", *prefixes)
        return dict(line.rsplit(" ", 1) for line in os.fsdecode(out).splitlines())

    def object(self, name: str, kind: str) -> tuple[str, bytes]:
        """Return the sha and the content of an object; GitFailed when it is not there."""
        read = loose(self._common, name)
        if read is not None:
            sha, (found, data) = name, read
        else:
            with self._reading:
                try:
                    sha, found, _, data = self.git.object(name)
                except ValueError as e:
                    raise GitFailed(
                        f"the object {name} is missing", hint="git fsck shows what else is damaged"
                    ) from e
        if found != kind:
            raise GitFailed(f"{name} is a {found}, not a {kind}")
        return sha, data

    def size(self, sha: str) -> int:
        """Return how many bytes an object holds."""
        found = _loose_size(self._common, sha)
        if found is not None:
            return found
        with self._reading:
            try:
                return self.git.header(sha)[2]
            except ValueError as e:
                raise GitFailed(f"the object {sha} is missing") from e

    def blob(self, sha: str) -> bytes:
        """Return a file's content."""
        return self.object(sha, "blob")[1]

    def blobs(self, shas: Iterable[str]) -> Iterator[bytes]:
        """Yield the content of many objects, in order, from one process."""
        wanted = list(shas)
        if not wanted:
            return
        _, out = self.git.run(
            "cat-file", "--batch", "--buffer", data=("\n".join(wanted) + "\n").encode()
        )
        at = 0
        for sha in wanted:
            end = out.index(b"\n", at)
            words = out[at:end].split(b" ")
            if len(words) != 3:
                raise GitFailed(f"the object {sha} is missing")
            size = int(words[2])
            yield out[end + 1 : end + 1 + size]
            at = end + size + 2

    def commit(self, name: str) -> Commit:
        """Return a commit."""
        found = self._commits.get(name)
        if found is None:
            sha, data = self.object(name, "commit")
            found = parse_commit(sha, data)
            _remember(self._commits, sha, found)
        return found

    def tree(self, sha: str) -> dict[str, Entry]:
        """Return what a tree holds, by name; do not change it."""
        if sha == EMPTY_TREE:
            return {}
        found = self._trees.get(sha)
        if found is None:
            found = _parse_tree(self.object(sha, "tree")[1])
            _remember(self._trees, sha, found)
        return found

    def find(self, tree: str, path: str) -> Entry | None:
        """Return what a tree holds at a path, or None."""
        entry: Entry | None = Entry(FOLDER, tree)
        for name in path.split("/"):
            if entry is None or entry.mode != FOLDER:
                return None
            entry = self.tree(entry.sha).get(name)
        return entry

    def read(self, tree: str, path: str) -> bytes | None:
        """Return the file at a path of a tree, or None."""
        entry = self.find(tree, path)
        return self.blob(entry.sha) if entry and entry.mode != FOLDER else None

    def files(self, tree: str, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """Yield (path, entry) for everything below a tree that is not a folder."""
        for name, entry in self.tree(tree).items():
            if entry.mode == FOLDER:
                yield from self.files(entry.sha, f"{prefix}{name}/")
            else:
                yield f"{prefix}{name}", entry

    def diff(self, old: str, new: str, prefix: str = "") -> Iterator[Change]:
        """Yield the paths in which two trees differ; equal folders are not read."""
        if old == new:
            return
        before, after = self.tree(old), self.tree(new)
        for name in sorted({name for name, _ in before.items() ^ after.items()}):
            a, b = before.get(name), after.get(name)
            path = prefix + name
            old_folder = a.sha if a and a.mode == FOLDER else EMPTY_TREE
            new_folder = b.sha if b and b.mode == FOLDER else EMPTY_TREE
            yield from self.diff(old_folder, new_folder, f"{path}/")
            a = None if a and a.mode == FOLDER else a
            b = None if b and b.mode == FOLDER else b
            if a or b:
                yield Change(path, a, b)

    def commits(self, *revisions: str) -> list[Commit]:
        """Return the commits of `rev-list REVISIONS`, oldest first, parents before children."""
        _, out = self.git.run("rev-list", "--topo-order", "--reverse", *revisions)
        shas = out.decode().split()
        return [parse_commit(sha, data) for sha, data in zip(shas, self.blobs(shas), strict=True)]

    def first_parents(self, tip: str, stop: str) -> list[Commit]:
        """Return flow's own line from `stop` (left out) to `tip`, oldest first."""
        return self.commits("--first-parent", f"{stop}..{tip}")

    def is_ancestor(self, old: str, new: str) -> bool:
        """Say whether `new` contains `old`."""
        if old == new:
            return True
        code, _ = self.git.run("merge-base", "--is-ancestor", old, new, ok=(0, 1))
        return code == 0

    def merge(self, ours: str, theirs: str) -> Merge:
        """Return the merge of two commits, made without a checkout, as one of `ours` would make it.

        The `.gitattributes` that count are those that `ours` holds, and nobody else's.
        """
        rules = dict(self._rules(self.commit(ours).tree, self.commit(theirs).tree))
        if not rules:
            return self._merge(self.git, ours, theirs)
        # git before 2.41 reads them from files only, and from the folder that it is started in.
        with self._checkout_of(rules) as folder:
            inside = {**self.git.environment, "GIT_WORK_TREE": folder}
            return self._merge(Git(folder, inside), ours, theirs)

    def _rules(self, ours: str, theirs: str, prefix: str = "") -> Iterator[tuple[str, str]]:
        """Yield (path, blob) of each `.gitattributes` of `ours` above what differs in `theirs`."""
        mine, other = self.tree(ours), self.tree(theirs)
        rule = mine.get(RULES)
        if rule is not None and rule.mode in (FILE, EXECUTABLE):  # git follows no link to rules
            yield prefix + RULES, rule.sha
        for name in sorted({name for name, _ in mine.items() ^ other.items()}):
            folder, below = mine.get(name), other.get(name)
            if folder is not None and folder.mode == FOLDER and _is_name(name):
                is_folder = below is not None and below.mode == FOLDER
                yield from self._rules(
                    folder.sha, below.sha if below and is_folder else EMPTY_TREE, f"{prefix}{name}/"
                )

    @contextlib.contextmanager
    def _checkout_of(self, files: Mapping[str, str]) -> Iterator[str]:
        """Yield a folder that holds these files (path: blob) and that is gone afterwards."""
        with contextlib.ExitStack() as stack:
            try:
                own = self.common / "gitflow-agents"
                own.mkdir(exist_ok=True)
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(
                        prefix="merge-", dir=own, ignore_cleanup_errors=True
                    )
                )
                for path, blob in files.items():
                    target = Path(folder, path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(self.blob(blob))
            except OSError as e:
                raise GitFailed(
                    f"the rules for a merge cannot be written: {e.strerror or e}",
                    hint=MAKE_ROOM,
                ) from e
            yield folder

    def _merge(self, git: Git, ours: str, theirs: str) -> Merge:
        code, out = git.run(
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            "-z",
            ours,
            theirs,
            ok=(0, 1),
        )
        tree, *paths = os.fsdecode(out).split("\0")
        # A name that is not text cannot be told; what it is called is only for people.
        named = {path.encode(errors="replace").decode() for path in paths if path}
        conflicts = tuple(sorted(named)) if code else ()
        if not code:
            self.note(tree, self.commit(ours).tree)
        return Merge(tree, conflicts or (("?",) if code else ()))

    # --- writing ----------------------------------------------------------------------------------

    def store(self, kind: bytes, data: bytes) -> str:
        """Write an object and return its sha.  What no ref reaches does no harm."""
        whole = b"%s %d\0%s" % (kind, len(data), data)
        sha = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
        folder = f"{self._common}/objects/{sha[:2]}"
        path = f"{folder}/{sha[2:]}"
        # Most are new, and to ask so costs no exception; a power cut can leave an empty one.
        if os.access(path, os.F_OK) and _size(path):
            return sha
        # git's own name for an object that is not whole yet: its gc clears away what a kill left.
        part = f"{folder}/tmp_obj_{self._parts}_{next(self._part)}"
        try:
            try:
                fd = self._new_file(folder, part)
                try:
                    left = _deflated(whole)
                    while left := left[os.write(fd, left) :]:
                        pass
                    os.rename(part, path)
                    if self._is_quick:
                        self._bring(fd)
                    else:
                        self._fresh.append(sha)
                finally:
                    os.close(fd)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(part)
                raise
        except OSError as e:
            raise GitFailed(
                f"git's objects cannot be written: {e.strerror or e}",
                hint=MAKE_ROOM,
            ) from e
        return sha

    def note(self, tree: str, base: str) -> None:
        """Note what a tree holds and `base` does not: some git wrote it, and settled nothing."""
        if tree == base:
            return
        self._fresh.append(tree)
        before = self.tree(base)
        for name, entry in self.tree(tree).items() - before.items():
            if entry.mode == FOLDER:
                old = before.get(name)
                self.note(entry.sha, old.sha if old and old.mode == FOLDER else EMPTY_TREE)
            elif entry.mode != SUBMODULE:
                self._fresh.append(entry.sha)

    def settle(self) -> None:
        """Bring to the disk what was written or noted since the last time; then a ref may move."""
        with self._settling:  # whoever comes second waits, because what it wrote may be among it
            taken: list[str] = []
            with contextlib.suppress(IndexError):
                while True:
                    taken.append(self._fresh.popleft())
            if "none" in self._fsync.values():
                return
            rest = iter(dict.fromkeys(taken))
            try:
                for sha in rest:
                    self._settle(sha)
                    if not self._is_quick:
                        break  # a disk that takes its time
                # Side by side: what is asked for together costs such a disk little more than one.
                left = list(rest)
                shares = [left[at::SETTLERS] for at in range(min(SETTLERS, len(left)))]
                for _ in self._settlers.map(self._settle_all, shares) if left else ():
                    pass
            except OSError as e:
                self._fresh.extend(taken)
                raise GitFailed(
                    f"git's objects cannot be brought to the disk: {e.strerror}",
                    hint="look at the disk, then run the command again",
                ) from e

    def _settle_all(self, shas: Iterable[str]) -> None:
        for sha in shas:
            self._settle(sha)

    def _settle(self, sha: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # it was packed, and git settles packs
            fd = os.open(f"{self._common}/objects/{sha[:2]}/{sha[2:]}", os.O_RDONLY)
            try:
                self._bring(fd)
            finally:
                os.close(fd)

    def _bring(self, fd: int) -> None:
        """Bring a file to the disk, and note whether that took its time."""
        began = time.perf_counter()
        os.fsync(fd)
        self._is_quick = time.perf_counter() - began <= AT_ONCE

    @cached_property
    def _settlers(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(SETTLERS, "settle")

    def _new_file(self, folder: str, path: str) -> int:
        """Open a new object's file; where a group shares the repository, open to the group."""
        shared = self._shared
        while True:
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
            except FileNotFoundError:  # or somebody's gc took it away, because it was empty
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)
                    if shared:
                        os.chmod(folder, shared)
            else:
                if shared:
                    os.fchmod(fd, 0o444 & shared)
                return fd

    @cached_property
    def _shared(self) -> int:
        """Return the mode of git's own folder of objects where a group may write to it, else 0."""
        mode = os.stat(f"{self._common}/objects").st_mode & 0o7777
        return mode if mode & 0o020 else 0

    def write_blob(self, data: bytes) -> str:
        """Write a file's content."""
        return self.store(b"blob", data)

    def write_tree(self, entries: Mapping[str, Entry]) -> str:
        """Write a tree; names are sorted the way git sorts them (folders as if they ended in /)."""
        return self.write_rows(Rows.of(entries))

    def write_rows(self, rows: Rows) -> str:
        """Write a tree that is ready to be written."""
        sha = self.store(b"tree", b"".join(rows.texts))
        _remember(self._trees, sha, dict(zip(rows.names, rows.entries, strict=True)))
        _remember(self._rows, sha, rows, ROWS_REMEMBERED)
        return sha

    def write_commit(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        *,
        author: str = TOOL,
        author_time: str = "",
    ) -> str:
        """Write a commit of the tool; `author` is "name <address>", its time git's own form."""
        now = f"{int(self.clock())} +0000"
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {_identity(author)} {author_time or now}", f"committer {TOOL} {now}"]
        # git reads a message up to a NUL, and what stands behind it is our trailers.
        text = "\n".join(lines) + "\n\n" + message.replace("\0", "").rstrip("\n") + "\n"
        data = text.encode("utf-8", "surrogateescape")
        sha = self.store(b"commit", data)
        _remember(self._commits, sha, parse_commit(sha, data))
        return sha

    def graft(self, tree: str, edits: Mapping[str, Entry | None]) -> str:
        """Return a tree with paths replaced, added, or (None) left out; empty folders vanish."""
        if not edits:
            return tree
        entries = dict(self.tree(tree))
        here: dict[str, Entry | None] = {}
        below: dict[str, dict[str, Entry | None]] = {}
        for path, entry in edits.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = entry
            else:
                here[name] = entry
        for name, inner in below.items():
            now = here[name] if name in here else entries.get(name)
            folder = now.sha if now and now.mode == FOLDER else EMPTY_TREE
            grafted = self.graft(folder, inner)
            here[name] = None if grafted == EMPTY_TREE else Entry(FOLDER, grafted)
        # Most of a large tree stays, so its rows are neither made nor sorted again.
        known = self._rows.get(tree)
        rows = known.copy() if known is not None else Rows.of(entries)
        for name, entry in here.items():
            old = entries.pop(name, None)
            if old is not None:
                rows.take(name, old)
            if entry is not None:
                entries[name] = entry
                rows.put(name, entry)
        return self.write_rows(rows) if rows.names else EMPTY_TREE

    def pack(self) -> None:
        """Pack loose objects, where git itself would: below that it costs more than it gives.

        Reads go on, and nothing that somebody just wrote is dropped.
        """
        # git's own way to guess at them: names are spread evenly, so one folder tells of all.
        try:
            some = os.listdir(f"{self._common}/objects/17")
        except OSError:
            return
        if len(some) * 256 <= MANY:
            return
        with contextlib.suppress(GitFailed):
            self.git.attempt("maintenance", "run", "--quiet", "--task=loose-objects")

    def close(self) -> None:
        """End every process and thread that was kept."""
        if "_settlers" in self.__dict__:
            self._settlers.shutdown()
        self.git.close()
        self.user.close()


EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
SETTLERS = 8
"""Files that are brought to the disk at a time."""
AT_ONCE = 0.0005
"""Seconds that a file takes to get there where it is no use to ask for several together."""
REMEMBERED = 2048
"""Commits, and trees, that are held in memory."""
ROWS_REMEMBERED = 256
"""Trees that are held ready to be written again with a few rows changed."""
MANY = 6700
"""Loose objects from which on git packs them by itself."""
BLOCK = 4000
"""Bytes of an object that fits, with what zlib puts around it, into a block of the usual disk."""


def _remember(known: OrderedDict[str, V], sha: str, value: V, most: int = REMEMBERED) -> None:
    known[sha] = value
    while len(known) > most:
        known.popitem(last=False)


_SHA = re.compile("[0-9a-f]{40}")


def loose(common: str, sha: str) -> tuple[str, bytes] | None:
    """Return the kind and the content of an object that has a file of its own, else None.

    Lately written ones do, and a git that is asked for each costs more than reading it.  None also
    for a file that cannot be read: git may have the object elsewhere, or says what is wrong.
    """
    if _SHA.fullmatch(sha) is None:
        return None
    try:
        with open(f"{common}/objects/{sha[:2]}/{sha[2:]}", "rb") as file:
            head, _, data = zlib.decompress(file.read()).partition(b"\0")
    except (OSError, zlib.error):
        return None
    kind, _, size = head.partition(b" ")
    if size != b"%d" % len(data):  # git itself reads such a one for ever
        raise GitFailed(f"the object {sha} is damaged", hint="git fsck shows what else is damaged")
    return kind.decode(), data


def _loose_size(common: str, sha: str) -> int | None:
    """Return how many bytes an object holds that has a file of its own, else None."""
    try:
        with open(f"{common}/objects/{sha[:2]}/{sha[2:]}", "rb", buffering=0) as file:
            head = zlib.decompressobj().decompress(file.read(BLOCK), 32)
    except (OSError, zlib.error):
        return None
    found = re.match(rb"[a-z]+ (\d+)\0", head)
    return int(found[1]) if found else None


def _size(path: str) -> int:
    """Return the bytes of a file; 0 when it is gone."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _is_name(name: str) -> bool:
    """Say whether a name in a tree can be a folder's on the disk; git lets odd ones be written."""
    return name not in ("", ".", "..") and "/" not in name


def _git_directory(checkout: Path) -> str:
    """Return the git directory of a checkout: its `.git`, or what a file of that name points at."""
    link = checkout / ".git"
    if link.is_file():
        with contextlib.suppress(OSError):
            text = os.fsdecode(link.read_bytes()).removeprefix("gitdir: ").rstrip("\n")
            return os.path.realpath(checkout / text)
    return os.path.realpath(link)


def _identity(person: str) -> str:
    """Return "name <address>" for a commit header."""
    if re.fullmatch(r"[^<>\n\0]+ <[^<>\n\0]*>", person):
        return person
    name = re.sub(r"[<>\n\0]", "", person)
    return f"{name or 'unknown'} <>"


def parse_commit(sha: str, data: bytes) -> Commit:
    """Return the commit that an object's bytes say."""
    text = data.decode("utf-8", "surrogateescape")
    head, _, message = text.partition("\n\n")
    tree, author, committer = "", "", ""
    parents: list[str] = []
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key == "author":
            author = value
        elif key == "committer":
            committer = value
    return Commit(sha, tree, tuple(parents), author, committer, message)


def _deflated(data: bytes) -> bytes:
    """Return an object's bytes as its file holds them.

    One that fits into a block of the disk is stored as it is: squeezed it would take as much room,
    and to make ready for squeezing takes ten times as long as its use.  Packing squeezes it.
    """
    if len(data) >= BLOCK:
        return zlib.compress(data, 1)
    size = struct.pack("<HH", len(data), len(data) ^ 0xFFFF)
    return b"\x78\x01\x01%s%s%s" % (size, data, zlib.adler32(data).to_bytes(4))


_Row = tuple[bytes, bytes, str, Entry]


class Rows(NamedTuple):
    """A tree as it is written, in git's own order: where each row belongs, and what it says."""

    places: list[bytes]
    texts: list[bytes]
    names: list[str]
    entries: list[Entry]

    @classmethod
    def of(cls, entries: Mapping[str, Entry]) -> Rows:
        """Return the rows of a tree that holds these entries."""
        return cls._sorted(_row(name, entry) for name, entry in entries.items())

    @classmethod
    def read(cls, texts: Iterable[bytes]) -> Rows:
        """Return the rows that have these texts."""
        return cls._sorted(map(_read_row, texts))

    @classmethod
    def _sorted(cls, rows: Iterable[_Row]) -> Rows:
        columns = list(map(list, zip(*sorted(rows), strict=True)))
        return cls(*columns) if columns else cls([], [], [], [])

    def copy(self) -> Rows:
        """Return rows that can be changed."""
        return Rows(self.places[:], self.texts[:], self.names[:], self.entries[:])

    def take(self, name: str, entry: Entry) -> None:
        """Leave out a row that is there."""
        at = bisect_left(self.places, _row(name, entry)[0])
        del self.places[at], self.texts[at], self.names[at], self.entries[at]

    def put(self, name: str, entry: Entry) -> None:
        """Add a row that is not there."""
        place, text, _, _ = _row(name, entry)
        at = bisect_left(self.places, place)
        self.places.insert(at, place)
        self.texts.insert(at, text)
        self.names.insert(at, name)
        self.entries.insert(at, entry)


@lru_cache(maxsize=1 << 15)
def _row(name: str, entry: Entry) -> _Row:
    """Return where an entry belongs in a tree, and what stands there; most were there before."""
    raw = os.fsencode(name)
    text = b"%s %s\0%s" % (entry.mode.encode(), raw, bytes.fromhex(entry.sha))
    return raw + b"/" if entry.mode == FOLDER else raw, text, name, entry


@lru_cache(maxsize=1 << 15)
def _read_row(text: bytes) -> _Row:
    """Return the row that is written so."""
    mode, _, rest = text.partition(b" ")
    raw, _, sha = rest.partition(b"\0")
    return _row(os.fsdecode(raw), Entry(mode.decode(), sha.hex()))


_TREE_ENTRY = re.compile(rb"(\d+) ([^\0]+)\0(.{20})", re.DOTALL)


def _parse_tree(data: bytes) -> dict[str, Entry]:
    return {
        os.fsdecode(name): Entry(mode.decode(), sha.hex())
        for mode, name, sha in _TREE_ENTRY.findall(data)
    }


__all__ = ["EMPTY_TREE", "TOOL", "ZERO", "Change", "Commit", "Entry", "Merge", "Repository"]
