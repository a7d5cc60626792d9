"""A worktree in which commands of a plan are run, and what their exit codes say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gitflow_agents import leaks
from gitflow_agents.execute.orders import MARK, Check, Verdict
from gitflow_agents.models import Plan, Ran, Reason
from gitflow_agents.runner import Caps, Stop, environment, ran, shell
from gitflow_agents.store import Worktree
from gitflow_agents.store.state import one_line

if TYPE_CHECKING:
    from gitflow_agents.execute.executor import Executor


@dataclass(frozen=True)
class Bench:
    """A worktree in which commands of a plan are run."""

    executor: Executor
    plan: Plan
    worktree: Worktree
    nonce: str
    caps: Caps
    own: Mapping[str, str]
    stop: Stop

    @property
    def env(self) -> dict[str, str]:
        """Return what every command here sees."""
        return environment(
            self.executor.environ,
            self.executor.config.agents.command.env,
            {
                **self.own,
                MARK: self.nonce,
                "GITFLOW_PLAN": self.plan.plan,
                # Without the worktree's .git a git would find the person's checkout above it.
                "GIT_CEILING_DIRECTORIES": str(self.worktree.path.parent),
            },
        )

    def run(self, kind: str, command: str, folder: str = "") -> Ran:
        """Run one command; a folder that leaves the worktree runs nothing."""
        place = self.folder(folder)
        if place is None:
            return Ran.model_validate(
                {
                    "command": command,
                    "kind": kind,
                    "code": None,
                    "seconds": 0,
                    "tail": f"{folder} is not a folder inside the worktree",
                }
            )
        ended = shell(
            command,
            cwd=place,
            env=self.env,
            mark=f"{MARK}={self.nonce}",
            caps=self.caps,
            stop=self.stop,
        )
        done = ran(kind, command, ended)
        return done.model_copy(update={"tail": leaks.hidden(done.tail, self.executor.secrets)})

    def folder(self, name: str) -> Path | None:
        """Return a folder of the worktree, made if it is missing; None when it leads outside."""
        top = os.path.realpath(self.worktree.path)
        place = os.path.realpath(os.path.join(top, name))
        if place != top and not place.startswith(top + os.sep):
            return None
        try:
            os.makedirs(place, exist_ok=True)
        except OSError:
            return None
        return Path(place)

    @property
    def copied(self) -> tuple[str, ...]:
        """Return the paths that are brought from the person's checkout and never committed."""
        return tuple(dict.fromkeys((*self.executor.config.copy_, *self.plan.copy_)))

    def prepare(self) -> Verdict:
        """Bring the copied files and run the set-up."""
        for path in self.copied:
            source = self.executor.repository.home / path
            target = self.worktree.path / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
                else:
                    shutil.copy2(source, target)
            except OSError as e:
                return Verdict(
                    Reason.PRECONDITION_FAILED,
                    f"`copy` names {path}, which cannot be copied: {e.strerror or e}",
                    (),
                )
        done: list[Ran] = []
        for command in dict.fromkeys((*self.executor.config.setup, *self.plan.setup)):
            done.append(self.run("setup", command))
            if done[-1].code != 0:
                return Verdict(Reason.SETUP_FAILED, failed(done[-1]), tuple(done))
        return Verdict(None, "", tuple(done))

    def check(self, checks: Sequence[Check], before: tuple[Ran, ...] = ()) -> Verdict:
        """Run checks in order, up to the first that fails."""
        done = list(before)
        for check in checks:
            done.append(self.run(check.kind, check.command, check.folder))
            code = done[-1].code
            if code != 0:
                if code is None or code in (126, 127):
                    reason = Reason.UNVERIFIED
                else:
                    reason = Reason.GATE_FAILED if check.kind == "gate" else Reason.CHECKS_FAILED
                return Verdict(reason, failed(done[-1]), tuple(done))
        return Verdict(None, "", tuple(done))

    def fail(self, reds: Sequence[Check]) -> Verdict:
        """Run what has to fail at this commit, up to the first that does."""
        done: list[Ran] = []
        for red in reds:
            ended = self.run(red.kind, red.command, red.folder)
            done.append(ended.model_copy(update={"at": red.at}))
            if ended.code == 0:
                continue
            if ended.code is None or ended.code < 0 or ended.code in (126, 127):
                why = f"the tests could not be seen to fail at {red.at[:12]}: {failed(ended)}"
                return Verdict(Reason.UNVERIFIED, why, tuple(done))
            return Verdict(None, "", tuple(done))
        why = "the task is `tdd`, and its tests pass already at {at}, before what they are for"
        return Verdict(Reason.CHECKS_FAILED, why.format(at=reds[0].at[:12]), tuple(done))


def failed(command: Ran) -> str:
    """Return in a sentence how a command failed."""
    what = f"{command.kind} `{one_line(command.command)[:120]}`"
    if command.code is None:
        return f"{what} did not end by itself or could not start"
    if command.code in (126, 127):
        return f"{what} could not start (exit {command.code})"
    if command.code < 0:
        return f"{what} was ended by signal {-command.code}"
    return f"{what} exited with {command.code}"
