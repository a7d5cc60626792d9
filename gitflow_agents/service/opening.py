"""The worktrees in which people look at a task or work on it.

One stands beside the agents' own, is made and removed by git itself, and belongs to the person: it
goes only when nothing in it would be lost and nobody is in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitflow_agents.commands import Refused
from gitflow_agents.errors import GitFailed
from gitflow_agents.models import Attempt
from gitflow_agents.runner import inside
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.store import Refs, Repository, Worktrees
from gitflow_agents.store.state import HEADS

ENDING = "+open"
"""What the folder of such a worktree is called, behind the task's id."""


@dataclass(frozen=True)
class Opened:
    """A folder with a task's files: `branch` if it is on one, else it only shows `commit`.

    `is_ours` says that we made it, so that it may go.
    """

    path: Path
    commit: str
    branch: str = ""
    is_ours: bool = True


@dataclass(frozen=True)
class Opening:
    """Makes and removes those worktrees."""

    repository: Repository
    worktrees: Worktrees
    refs: Refs

    def place(self, plan: str, task: str) -> Path:
        """Return where the worktree of a task is, or would be."""
        # `+` can stand in no task's id, so it is no attempt's folder.
        return self.worktrees.root / plan / f"{task}{ENDING}"

    def existing(self, plan: str) -> list[str]:
        """Return the tasks of a plan that have such a worktree."""
        try:
            names = sorted(os.listdir(self.worktrees.root / plan))
        except OSError:
            return []
        return [name.removesuffix(ENDING) for name in names if name.endswith(ENDING)]

    def open(
        self,
        snapshot: Snapshot,
        task: str,
        actor: str,
        heads: Mapping[str, Path],
        *,
        dry_run: bool = False,
    ) -> Opened:
        """Return a folder with a task's files: on its branch for whoever took it, else to look at.

        Raises Refused where an agent is at work, or nobody was yet.
        """
        plan, record = snapshot.plan.plan, snapshot.record(task)
        tip, ref = self.refs.tip(record.branch) or "", f"{HEADS}{record.branch}"
        commit, branch = "", ""
        if record.lease is not None:
            attempt = record.attempts[-1].number
            raise Refused(
                "wrong-state",
                f"attempt {attempt} of {task} is at work in {self.worktrees.root / plan / task}",
                hint=f"take {plan}/{task} ends it, and makes its branch yours",
            )
        if record.taken_by == actor and tip:
            commit, branch = tip, record.branch
            place = heads.get(ref)
            if place is not None and place.is_dir() and place != self.place(plan, task):
                return Opened(place, commit, branch, is_ours=False)
        else:
            found = (record.merge, tip if record.taken_by else "", *_work(record.attempts))
            commit = next((sha for sha in found if sha and self.repository.resolve(sha)), "")
        if not commit:
            raise Refused(
                "wrong-state",
                f"{task} is {record.status.replace('_', ' ')}, and there is no work of it to show",
                hint=f"take {plan}/{task} makes it yours",
            )
        if dry_run:
            return Opened(self.place(plan, task), commit, branch)
        return self._add(plan, task, commit, branch)

    def _add(self, plan: str, task: str, commit: str, branch: str) -> Opened:
        """Check a branch out, or a commit without one; one that is there already is as it was."""
        path = self.place(plan, task)
        if (path / ".git").exists():
            _, out, _ = self._git(path, "symbolic-ref", "--quiet", "--short", "HEAD")
            on = out.decode().strip()
            if branch and on != branch:
                self.close(plan, task)  # if it was only for looking
            if branch and on != branch and path.exists():
                away = f"git worktree remove --force '{path}'"
                raise Refused(
                    "wrong-state",
                    f"{path} is in the way: it shows something else, and was changed or is in use",
                    hint=f"bring away what you want of it, then: {away}",
                )
        if not (path / ".git").exists():
            self.worktrees.exclude()
            path.parent.mkdir(parents=True, exist_ok=True)
            what = [str(path), branch] if branch else ["--detach", str(path), commit]
            if branch and self.repository.tip(branch) is None:  # it is only at the remote so far
                what = ["-b", branch, str(path), commit]
            code, _, said = self.repository.user.attempt("worktree", "add", "--quiet", *what)
            if code:
                last = "".join(said.strip().splitlines()[-1:])
                raise GitFailed(
                    f"the worktree {path} cannot be made: {last}",
                    hint="look at the folder; the config key `worktrees` names another one",
                )
        return Opened(path, commit, branch)

    def uncommitted(self, place: Path) -> tuple[list[str], int]:
        """Return the files that differ from the last commit, and how many git does not know."""
        _, out, _ = self._git(
            place, "--no-optional-locks", "status", "--porcelain", "-z", "--no-renames"
        )
        lines = [os.fsdecode(line) for line in out.split(b"\0") if line]
        changed = [line[3:] for line in lines if not line.startswith("??")]
        return changed, len(lines) - len(changed)

    def close(self, plan: str, task: str, shown: str = "") -> None:
        """Remove a worktree, unless anything in it would be lost or somebody is in it.

        `shown` is the commit that was checked out for looking.
        """
        path = self.place(plan, task)
        if not path.exists() or inside(path):
            return
        _, out, _ = self._git(path, "rev-parse", "HEAD")
        if out.decode().strip() != shown:
            _, out, _ = self._git(path, "for-each-ref", "--count=1", "--contains", "HEAD")
            if not out:
                return  # commits that no branch holds
        code, _, _ = self.repository.user.attempt("worktree", "remove", str(path))
        for folder in (path.parent, self.worktrees.root):
            if code == 0 and folder.is_dir() and not os.listdir(folder):
                folder.rmdir()

    def _git(self, place: Path, *args: str) -> tuple[int, bytes, str]:
        return self.repository.user.attempt("-C", str(place), *args)


def _work(attempts: Sequence[Attempt]) -> list[str]:
    """Return the commits that attempts came to, the newest first."""
    return [attempt.tip for attempt in reversed(attempts)]


__all__ = ["Opened", "Opening"]
