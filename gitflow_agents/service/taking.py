"""A person in the place of an agent: what taking, submitting and giving back do to a task.

While a task is taken its branch is the person's: no pass judges what is on it, and nothing that
they have checked out is moved.  What they submit is held against the rules for an agent's result,
and only refused with a sentence, so that they can mend it where it is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gitflow_agents import merge, render, spec
from gitflow_agents.commands import Refused
from gitflow_agents.models import (
    EVERYWHERE,
    PERSON,
    ZERO,
    Attempt,
    DoneReport,
    Reason,
    Status,
    TaskRecord,
    Value,
    person,
)
from gitflow_agents.runner import new_lease
from gitflow_agents.scheduler import bring_back
from gitflow_agents.service.attempts import MOST_TOUCHED, Attempts
from gitflow_agents.service.desk import Desk
from gitflow_agents.service.opening import Opening
from gitflow_agents.store import Change, Commit, Draft, Entry, Repository
from gitflow_agents.store.repository import FILE, TOOL
from gitflow_agents.store.state import BRIEFING, HEADS, new_nonce, one_line
from gitflow_agents.transitions import By, Happened, advance

E, S = Happened, Status
MOST_SUBJECTS = 50
"""Commits of a person that the report of their work names."""


@dataclass(frozen=True)
class Work:
    """What a person did: the commits, what they change, and where their branch is checked out.

    `base` is the newest commit of flow that it builds on; `tree` is without `.gitflow`.
    """

    tip: str
    base: str
    tree: str
    changes: tuple[Change, ...]
    commits: tuple[Commit, ...]
    place: Path | None
    untracked: int = 0


@dataclass
class Taking:
    """What people do to tasks; each method stages its part of a decision."""

    desk: Desk
    attempts: Attempts

    @property
    def opening(self) -> Opening:
        store = self.desk.store
        return Opening(store.repository, self.desk.worktrees, store.refs)

    # --- taking -----------------------------------------------------------------------------------

    def take(self, draft: Draft, task: str) -> str:
        """Make a task a person's, and return in a sentence where they go on.

        What is theirs on its branch already, or checked out, stays as it is; else the branch is cut
        from flow with the work of the former attempts, as for an agent.
        """
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        plan, state = snapshot.plan.plan, snapshot.state
        record = snapshot.record(task)
        branch = record.branch or self.attempts.branch(task)
        number = (record.attempt.number if record.attempt else 0) + 1
        nonce, base = new_nonce(), state.flow_sha
        claim, attempts = self._theirs(draft, record, branch), record.attempts
        if claim:
            base = merge_base(repository, claim, base) or base
        else:
            branch, claim, attempts = self.attempts.cut(draft, record, E.TASK_TAKEN, number, nonce)
        attempt = Attempt(
            number=number,
            agent=PERSON,
            actor=draft.actor,
            host=new_lease(0).host,
            started_at=self.desk.clock(),
            base=base,
        )
        status = advance(record.status, E.TASK_TAKEN, By.PERSON)
        update = {
            "status": status,
            "reason": None,
            "message": "",
            "branch": branch,
            "claim": claim,
            "nonce": nonce,
            "lease": None,
            "attempts": (*attempts, attempt),
            "not_before": 0.0,
            "fresh": False,
            "repair": False,
            "taken_by": draft.actor,
        }
        draft.put(record.model_copy(update=update))
        note = f"{task} was taken by {person(draft.actor)}"
        draft.tell(
            E.TASK_TAKEN,
            task=task,
            attempt=number,
            status=status,
            agent=PERSON,
            commit=claim,
            note=note,
        )
        self.desk.say(E.TASK_TAKEN, note, task=task, status=status, branch=branch)
        refs = self.desk.store.refs
        place = refs.checkouts().get(f"{HEADS}{branch}")
        then = f"when {task} is done: gitflow-agents submit {plan}/{task}"
        if not refs.is_local:
            get, put = f"git fetch {refs.name} && git switch {branch}", f"git push {refs.name}"
            return f"{get}, or: gitflow-agents open {plan}/{task}; {put} {branch}; {then}"
        if place is not None:
            return f"{branch} is checked out in {place}; {then}"
        return f"git switch {branch}, or: gitflow-agents open {plan}/{task}; {then}"

    def _theirs(self, draft: Draft, record: TaskRecord, branch: str) -> str:
        """Return the branch's tip where it has to stay as it is, else nothing."""
        repository, ref = self.desk.store.repository, f"{HEADS}{branch}"
        tip, attempt = self.desk.store.refs.resolve(ref), record.attempt
        if tip is None or ref in draft.moves or record.fresh or (attempt and attempt.reverted):
            return ""
        is_theirs = not repository.commit(tip).committer.startswith(f"{TOOL} ")
        is_theirs |= attempt is not None and attempt.agent == PERSON
        is_theirs |= ref in self.desk.store.refs.heads()
        flow = self.desk.snapshot.state.flow_sha
        return tip if is_theirs and merge_base(repository, tip, flow) else ""

    # --- submitting -------------------------------------------------------------------------------

    def look(self, task: str) -> Work:
        """Return what a person did at a task; Refused where it cannot be taken as it is."""
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        plan, flow = snapshot.plan, snapshot.state.flow
        record = snapshot.record(task)
        tip = self.desk.store.refs.tip(record.branch)
        if tip is None:
            raise Refused(
                "wrong-state",
                f"the branch {record.branch} is gone",
                hint="bring it back: "
                f"{bring_back(snapshot.authority, record.branch, record.claim)}",
            )
        self._has_come(record.branch, tip)
        place, untracked = self._checked_out(task, record.branch)
        base = merge_base(repository, tip, snapshot.state.flow_sha)
        if not base:
            raise Refused(
                "wrong-state",
                f"{record.branch} has no commit in common with {flow}",
                hint=f"put your work on top of it: git rebase --root --onto {flow}",
            )
        base_tree = repository.commit(base).tree
        tree = merge.strip(repository, repository.commit(tip).tree, base_tree)
        is_research = self._is_research(task)
        if tree == base_tree and not is_research:
            files = render.count(untracked, "file is", "files are")
            more = f"; {files} not in git" if untracked else ""
            raise Refused(
                "nothing-to-do",
                f"{record.branch} changes nothing of {flow}{more}",
                hint=f"commit your work on {record.branch}, or: give {plan.plan}/{task}",
            )
        commits = repository.commits(tip, f"^{base}")
        theirs = tuple(c for c in commits if not c.committer.startswith(f"{TOOL} "))
        if is_research and not theirs:
            raise Refused(
                "nothing-to-do",
                f"{record.branch} does not say what was found",
                hint="say it in a commit: git commit --allow-empty",
            )
        if len(commits) > merge.MOST_COMMITS:
            raise Refused(
                "too-many",
                f"{record.branch} has {len(commits)} commits that are not on {flow}, "
                f"{merge.MOST_COMMITS} are allowed",
                hint="make fewer of them: git rebase -i",
            )
        changes = tuple(repository.diff(base_tree, tree))
        refused = merge.refusal(repository, changes, plan, plan.by_id[task], self.desk.config, tree)
        if refused is not None:
            raise Refused(
                str(refused.reason),
                f"{task} cannot be merged: {refused.message}",
                hint=f"change that on {record.branch}, then submit it again",
            )
        secrets = self.desk.executor.secrets
        leak = merge.leaked(repository, base, tip, tree, self.desk.config, secrets)
        if leak:
            raise Refused(
                str(Reason.SECRET_FOUND),
                f"{task} cannot be merged: {leak}",
                hint=f"take it out of the history of {record.branch} (git rebase -i), "
                "then submit it again",
            )
        return Work(tip, base, tree, changes, theirs, place, untracked)

    def _has_come(self, branch: str, tip: str) -> None:
        """Raise Refused where a person's own branch holds what the remote has not got."""
        refs, repository = self.desk.store.refs, self.desk.store.repository
        mine = repository.tip(branch) if not refs.is_local else None
        if mine is not None and not repository.is_ancestor(mine, tip):
            raise Refused(
                "wrong-state",
                f"your branch {branch} has commits that {refs.name} has not got",
                hint=f"git push {refs.name} {branch}",
            )

    def _is_research(self, task: str) -> bool:
        plan = self.desk.snapshot.plan
        return self.desk.handbook.terms(plan, plan.by_id[task]).kind == "research"

    def _checked_out(self, task: str, branch: str) -> tuple[Path | None, int]:
        """Return where a branch is checked out, and how many files there are not in git."""
        repository, ref = self.desk.store.repository, f"{HEADS}{branch}"
        if under_rebase(repository, ref):
            raise Refused(
                "wrong-state",
                f"a rebase of {branch} is not finished",
                hint="finish it first: git rebase --continue, or --abort",
            )
        place = self.desk.store.refs.checkouts().get(ref)
        if place is None or not place.is_dir():
            return place, 0
        changed, untracked = self.opening.uncommitted(place)
        if changed:
            some = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" * bool(changed[5:]))
            raise Refused(
                "wrong-state",
                f"{place} has changes of {task} that are not committed: {one_line(some)}",
                hint="commit them, or put them away: git stash",
            )
        return place, untracked

    def submit(self, draft: Draft, task: str, outputs: Mapping[str, Value]) -> list[str]:
        """Put what a person did forward to be merged; return what else they should know."""
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        plan, work = snapshot.plan, self.look(task)
        record = snapshot.record(task)
        attempt = record.attempts[-1]
        report = self._report(record, work).model_copy(update={"outputs": dict(outputs)})
        is_plain = all(merge.quoted(c.message) == c.message for c in work.commits)
        parent = work.tip
        if not is_plain:
            tree = repository.commit(work.tip).tree
            parent = merge.recreate(repository, work.base, work.tip, tree, task, TOOL)
        tree = self._with_report(record, work.tip, report)
        event = repository.write_commit(
            tree,
            [parent],
            f"{task}: {E.TASK_SUBMITTED.replace('_', ' ')}\n\n{report.message}\n\n"
            f"Gitflow-Event: {E.TASK_SUBMITTED}\nGitflow-Plan: {plan.plan}\nGitflow-Task: {task}\n"
            f"Gitflow-Attempt: {attempt.number}",
        )
        self.desk.keep_report(tree, report)
        ref, old, kept = f"{HEADS}{record.branch}", work.tip, ""
        is_looked_at = work.place is not None and self.desk.store.refs.is_local
        if is_looked_at or not is_plain:
            # Nobody's checkout is moved, and nobody's commits are replaced: it stands beside them.
            ref = self.desk.free_attempt_ref(plan.plan, task, attempt.number, event, draft.moves)
            old, kept = ZERO, ref.removeprefix(HEADS)
        draft.move(ref, old, event)
        status = advance(record.status, E.TASK_SUBMITTED, By.PERSON)
        paths = report.files_touched
        ended = attempt.model_copy(
            update={
                "ended_at": report.ended_at,
                "outcome": "succeeded",
                "message": report.message,
                "base": work.base,
                "tip": parent,
                "kept": kept,
                "report": event,
                "shown_at": self.desk.clock(),
                "touched": paths if len(paths) <= MOST_TOUCHED else EVERYWHERE,
            }
        )
        attempts = (*record.attempts[:-1], ended)
        draft.put(
            record.model_copy(update={"status": status, "attempts": attempts, "taken_by": ""})
        )
        note = f"{task} was submitted by {person(draft.actor)}"
        draft.tell(
            E.TASK_SUBMITTED,
            task=task,
            attempt=attempt.number,
            status=status,
            agent=PERSON,
            commit=event,
            note=note,
        )
        self.desk.say(E.TASK_SUBMITTED, note, task=task, status=status, sha=event)
        self.desk.afterwards.append(lambda: self.opening.close(plan.plan, task))
        return [self._left_out(task, work)] if work.untracked else []

    def _left_out(self, task: str, work: Work) -> str:
        files = render.count(work.untracked, "file there is", "files there are")
        return f"{task} is as it was committed in {work.place}: {files} not in git"

    def _report(self, record: TaskRecord, work: Work) -> DoneReport:
        plan = self.desk.snapshot.plan
        task, attempt = plan.by_id[record.id], record.attempts[-1]
        paths = [change.path for change in work.changes]
        subjects = [f"- {commit.subject}" for commit in work.commits]
        if self._is_research(record.id):  # what they found is all that there is
            subjects = [commit.message.strip() + "\n" for commit in work.commits]
        more = len(subjects) - MOST_SUBJECTS
        rest = [f"- and {more} more commits"] if more > 0 else []
        return DoneReport(
            plan=plan.plan,
            task=record.id,
            attempt=attempt.number,
            outcome="succeeded",
            message=f"submitted by {one_line(person(record.taken_by))}",
            agent=PERSON,
            started_at=attempt.started_at,
            ended_at=self.desk.clock(),
            scope=task.name,
            files_touched=tuple(map(render.clean, paths)),
            outside_files=tuple(map(render.clean, merge.outside_files(paths, plan, task))),
            summary="\n".join([*subjects[:MOST_SUBJECTS], *rest]),
        )

    def _with_report(self, record: TaskRecord, tip: str, report: DoneReport) -> str:
        """Return the tree of a tip with our own `.gitflow` in it, whatever became of that."""
        repository = self.desk.store.repository
        claimed = repository.tree(repository.commit(record.claim).tree).get(BRIEFING)
        tree = repository.graft(repository.commit(tip).tree, {BRIEFING: claimed})
        files = {
            f"{BRIEFING}/report.yaml": spec.to_yaml(
                report.model_dump(mode="json", by_alias=True, exclude_none=True)
            ),
            f"{BRIEFING}/report.md": render.done_report(report).encode(),
        }
        return repository.graft(
            tree, {path: Entry(FILE, repository.write_blob(data)) for path, data in files.items()}
        )

    # --- giving back ------------------------------------------------------------------------------

    def give(self, draft: Draft, task: str, why: str = "") -> list[str]:
        """Let agents have a task again; what the person committed is where they begin."""
        snapshot, repository = self.desk.snapshot, self.desk.store.repository
        record, flow = snapshot.record(task), snapshot.state.flow_sha
        attempt, tip = record.attempts[-1], self.desk.store.refs.tip(record.branch) or ""
        base = merge_base(repository, tip, flow) if tip else ""
        if tip and not why:
            self._has_come(record.branch, tip)
        message = one_line(why) or f"given back by {person(draft.actor)}"
        ended = attempt.model_copy(
            update={
                "ended_at": self.desk.clock(),
                "outcome": "stopped",
                "message": message,
                "base": base or attempt.base,
                "tip": tip if base else "",
            }
        )
        status = advance(record.status, E.TASK_GIVEN, By.PERSON)
        attempts = (*record.attempts[:-1], ended)
        draft.put(
            record.model_copy(update={"status": status, "attempts": attempts, "taken_by": ""})
        )
        note = f"{task} was given back" + (f": {message}" if why else f" by {person(draft.actor)}")
        draft.tell(
            E.TASK_GIVEN,
            task=task,
            attempt=attempt.number,
            status=status,
            agent=PERSON,
            commit=tip,
            note=note,
        )
        self.desk.say(E.TASK_GIVEN, note, task=task, status=status)
        plan = snapshot.plan.plan
        self.desk.afterwards.append(lambda: self.opening.close(plan, task))
        place = self.desk.store.refs.heads().get(
            f"{HEADS}{record.branch}"
        )  # it would be in the way
        if place is None or place == self.opening.place(plan, task):
            return []
        free = f"git -C '{place}' switch --detach"
        return [f"let go of {record.branch} before the next attempt: {free}"]


def merge_base(repository: Repository, one: str, other: str) -> str:
    """Return the newest commit that two commits have in common, or nothing."""
    code, out, _ = repository.git.attempt("merge-base", one, other)
    return out.decode().strip() if code == 0 else ""


def under_rebase(repository: Repository, ref: str) -> bool:
    """Say whether some worktree is in the middle of a rebase of a branch."""
    admins = [repository.common]
    with contextlib.suppress(OSError):
        admins += [Path(entry.path) for entry in os.scandir(repository.common / "worktrees")]
    for admin in admins:
        for kind in ("rebase-merge", "rebase-apply"):
            with contextlib.suppress(OSError):
                if (admin / kind / "head-name").read_text().strip() == ref:
                    return True
    return False


__all__ = ["Taking", "Work"]
