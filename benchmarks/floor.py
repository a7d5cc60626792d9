"""The floor: the least that git makes such a loop cost, with nothing of gitflow-agents in it.

Each task gets a branch cut from the tip of flow and a fresh work tree, runs its command there, is
committed, is merged to flow, and its state is recorded; then the work tree goes. What makes it
cheap, and nothing else does:

- three git processes a task (`read-tree -u`, `add -A`, `write-tree`), and `merge-tree` as the
  fourth only where flow has moved since the branch was cut;
- every commit, and every tree and blob of the state, written as a loose object from Python;
- one `update-ref --stdin` that lives as long as the run; task, flow and state move together in it;
- the admin folder of a work tree written by hand. `--trees add` lets `git worktree add
  --no-checkout` make it, which is one process more (and one more that git starts by itself).

Nothing is checked, retried or recovered on the way: that is what the engine above it costs.
`check` reads afterwards, from git, that all the work is there.

    python -m benchmarks.floor REPO --tasks 100 -j 2
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from io import BytesIO
from pathlib import Path
from threading import Lock

from gitdb import IStream, LooseObjectDB

from benchmarks.measure import git
from benchmarks.plans import NAME, Task, layered

FLOW = f"refs/heads/flow/{NAME}"
STATE = f"refs/heads/gitflow/state/{NAME}"
ABSENT = "0" * 40
WHO = b"bench <bench@example.invalid>"


def branch(task: Task) -> str:
    """Return the ref of the branch of `task`."""
    return f"refs/heads/task/{NAME}/{task.id}"


class Objects:
    """Writes git objects without a process; safe in several threads."""

    def __init__(self, git_dir: Path) -> None:
        self._store = LooseObjectDB(str(git_dir / "objects"))

    def put(self, kind: bytes, data: bytes) -> str:
        """Return the sha of `data`, stored as an object of `kind`."""
        stream = self._store.store(IStream(kind, len(data), BytesIO(data)))
        sha: bytes = stream.hexsha
        return sha.decode()

    def tree(self, entries: Mapping[str, tuple[bytes, str]]) -> str:
        """Return the sha of a tree of {name: (mode, sha)}; names of folders end in `/`."""
        return self.put(
            b"tree",
            b"".join(
                mode + b" " + name.rstrip("/").encode() + b"\0" + bytes.fromhex(sha)
                for name, (mode, sha) in sorted(entries.items())
            ),
        )

    def commit(self, tree: str, parents: tuple[str, ...], subject: str) -> str:
        """Return the sha of a commit of `tree`."""
        when = b"%d +0000" % time.time()
        lines = [b"tree " + tree.encode()]
        lines += [b"parent " + parent.encode() for parent in parents if parent != ABSENT]
        lines += [b"author " + WHO + b" " + when, b"committer " + WHO + b" " + when]
        return self.put(b"commit", b"\n".join(lines) + b"\n\n" + subject.encode() + b"\n")


class Refs:
    """Moves refs through one git process that lives as long as the run; safe in several threads."""

    def __init__(self, repo: Path) -> None:
        self._lock = Lock()
        self._git = subprocess.Popen(
            ["git", "update-ref", "--stdin"],
            cwd=repo,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def move(self, moves: Mapping[str, tuple[str, str]]) -> None:
        """Move each ref of {ref: (old, new)} at once, or none of them."""
        assert self._git.stdin
        assert self._git.stdout
        updates = "".join(f"update {ref} {new} {old}\n" for ref, (old, new) in moves.items())
        with self._lock:
            self._git.stdin.write(f"start\n{updates}prepare\ncommit\n".encode())
            self._git.stdin.flush()
            answers = [self._git.stdout.readline() for _ in range(3)]
        if answers != [b"start: ok\n", b"prepare: ok\n", b"commit: ok\n"]:
            raise RuntimeError(f"git moved nothing of {', '.join(moves)}")

    def close(self) -> None:
        """End the process."""
        assert self._git.stdin
        self._git.stdin.close()
        self._git.wait()


class Floor:
    """One run over the tasks of a plan in a repository whose HEAD is the base."""

    def __init__(self, repo: Path, trees: str) -> None:
        self._repo = repo
        self._git_dir = repo / ".git"
        self._work = repo / ".worktrees"
        self._by_hand = trees == "hand"
        self._objects = Objects(self._git_dir)
        self._refs = Refs(repo)
        self._adding = Lock()
        self._merging = Lock()
        self._flow = self._run("rev-parse", "HEAD", cwd=repo)
        self._state = ABSENT
        # The state tree: {folder: {file: (mode, sha)}}, and the tree object of each folder.
        self._files: dict[str, dict[str, tuple[bytes, str]]] = defaultdict(dict)
        self._folders: dict[str, tuple[bytes, str]] = {}

    def run(self, tasks: tuple[Task, ...], jobs: int) -> None:
        """Do all `tasks`, up to `jobs` at once, each when what it needs is on flow."""
        self._work.mkdir()
        self._refs.move({FLOW: (ABSENT, self._flow)})
        missing = {task.id: len(task.needs) for task in tasks}
        waiting: dict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            for need in task.needs:
                waiting[need].append(task)
        with ThreadPoolExecutor(jobs) as pool:
            running: set[Future[Task]] = {
                pool.submit(self._perform, task) for task in tasks if not task.needs
            }
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    for follower in waiting[future.result().id]:
                        missing[follower.id] -= 1
                        if not missing[follower.id]:
                            running.add(pool.submit(self._perform, follower))
        self._refs.close()

    def _perform(self, task: Task) -> Task:
        base = self._flow
        self._refs.move({branch(task): (ABSENT, base)})
        tree = self._add_tree(task, base)
        subprocess.run(["sh", "-c", task.command], cwd=tree, check=True)
        self._run("add", "-A", cwd=tree)
        result = self._run("write-tree", cwd=tree)
        work = self._objects.commit(result, (base,), f"Make {task.output}")
        with self._merging:
            self._merge(task, base, result, work)
        self._remove_tree(task)
        return task

    def _merge(self, task: Task, base: str, result: str, work: str) -> None:
        flow, state = self._flow, self._state
        if flow != base:
            result = self._run("merge-tree", "--write-tree", flow, work, cwd=self._repo)
        merge = self._objects.commit(result, (flow, work), f"Merge {task.id}")
        record = self._record(task, work, merge)
        self._refs.move(
            {branch(task): (base, work), FLOW: (flow, merge), STATE: (state, record)},
        )
        self._flow, self._state = merge, record

    def _record(self, task: Task, work: str, merge: str) -> str:
        """Return a state commit with one small file a task, in folders by the hash of its id."""
        text = f"id: '{task.id}'\nstatus: completed\nattempt: 1\nsha: {work}\nmerge_sha: {merge}\n"
        folder = hashlib.sha1(task.id.encode()).hexdigest()[:2]
        blob = self._objects.put(b"blob", text.encode())
        self._files[folder][f"{task.id}.yaml"] = (b"100644", blob)
        self._folders[f"{folder}/"] = (b"40000", self._objects.tree(self._files[folder]))
        return self._objects.commit(
            self._objects.tree(self._folders), (self._state,), f"{task.id} is completed"
        )

    def _add_tree(self, task: Task, base: str) -> Path:
        tree = self._work / task.id
        if self._by_hand:
            admin = self._admin(task)
            admin.mkdir(parents=True)
            tree.mkdir()
            (admin / "HEAD").write_text(f"{base}\n")
            (admin / "commondir").write_text("../..\n")
            (admin / "gitdir").write_text(f"{tree}/.git\n")
            (tree / ".git").write_text(f"gitdir: {admin}\n")
        else:
            arguments = ("worktree", "add", "-q", "--no-checkout", "--detach", str(tree), base)
            # Two at once can meet in git's choice of the admin folder's name.
            with self._adding:
                self._run(*arguments, cwd=self._repo)
        self._run("read-tree", "-m", "-u", base, cwd=tree)
        return tree

    def _remove_tree(self, task: Task) -> None:
        shutil.rmtree(self._work / task.id)
        shutil.rmtree(self._admin(task))

    def _admin(self, task: Task) -> Path:
        return self._git_dir / "worktrees" / task.id

    def _run(self, *arguments: str, cwd: Path) -> str:
        done = subprocess.run(["git", *arguments], cwd=cwd, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()


def check(repo: Path, tasks: tuple[Task, ...], env: Mapping[str, str]) -> None:
    """Read from git that each task has its commit, its merge and its state; RuntimeError if not."""
    count = len(tasks)
    base = git(repo, "rev-parse", "HEAD", env=env)
    found = {
        "task commits": git(
            repo, "rev-list", "--count", f"--glob=refs/heads/task/{NAME}/*", "--no-merges",
            f"^{base}", env=env,
        ),
        "branches": str(
            len(git(repo, "for-each-ref", f"refs/heads/task/{NAME}/", env=env).splitlines())
        ),
        "merges": git(
            repo, "rev-list", "--count", "--first-parent", "--min-parents=2", f"{base}..{FLOW}",
            env=env,
        ),
        "plan states": git(repo, "rev-list", "--count", STATE, env=env),
        "state files": str(
            len(git(repo, "ls-tree", "-r", "--name-only", STATE, env=env).splitlines())
        ),
    }  # fmt: skip
    short = {what: number for what, number in found.items() if number != str(count)}
    if short:
        raise RuntimeError(f"{count} of each were to be there, found {short}")
    made = set(git(repo, "ls-tree", "--name-only", FLOW, env=env).splitlines())
    lost = sorted({task.output for task in tasks} - made)
    if lost:
        raise RuntimeError(f"flow has not the files {', '.join(lost)}")


def main() -> None:
    """Run the floor once in the repository that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor")
    parser.add_argument("repo", type=Path, help="a repository with one commit; it is written to")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--steady", action="store_true", help="the number of files stays")
    parser.add_argument("--trees", choices=("hand", "add"), default="hand")
    options = parser.parse_args()
    floor = Floor(options.repo.resolve(), options.trees)
    floor.run(layered(options.tasks, steady=options.steady), options.jobs)


if __name__ == "__main__":
    main()
