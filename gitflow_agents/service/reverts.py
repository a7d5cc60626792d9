"""Taking merges back: what a revert does to flow, to its task, and to the tasks that needed it.

A revert is a commit on flow's own line.  The tool makes one a task, dependants first; a person's
own `git revert` of a merge counts as much, wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gitflow_agents import merge, scheduler
from gitflow_agents.commands import Refused
from gitflow_agents.graph import attempts_allowed
from gitflow_agents.models import ZERO, Car, Event, Reason, Status, TaskRecord
from gitflow_agents.service.desk import Desk
from gitflow_agents.store import Commit, Draft
from gitflow_agents.store.state import HEADS, one_line
from gitflow_agents.transitions import By, Happened, advance

E, S = Happened, Status
MOST_SHOWN = 20
"""Paths in conflict that a refusal names."""


@dataclass
class Reverts:
    """What reverts do; each method stages its part of a decision."""

    desk: Desk
    fence: Callable[[Draft, str, str], None]
    """Ends the attempt that runs at a task."""

    def couple(self, tasks: Iterable[str], why: str) -> tuple[Car, ...]:
        """Return one revert a task, each on the one before, the last merge first.

        What needs a task was merged after it, so dependants come first.  Raises Refused, and then
        none is taken back, when one does not come off flow cleanly.
        """
        state, repository = self.desk.snapshot.state, self.desk.store.repository
        line = repository.first_parents(state.flow_sha, state.accepting)
        place = {commit.sha: number for number, commit in enumerate(line)}
        merges = {task: self.desk.snapshot.record(task).merge for task in tasks}
        for task, sha in merges.items():
            if sha not in place:
                raise Refused("wrong-state", f"the merge of {task}, {sha[:12]}, is not on flow")
        cars: list[Car] = []
        last = state.flow_sha
        for task in sorted(merges, key=lambda task: place[merges[task]], reverse=True):
            tree, paths = merge.taken_back(repository, last, merges[task])
            if paths:
                raise self._conflict(task, paths)
            last = repository.write_commit(
                tree, [last], self._message(task, merges[task], why), author=self.desk.actor
            )
            cars.append(Car(task=task, tip=merges[task], merge=last))
        return tuple(cars)

    def _conflict(self, task: str, paths: Sequence[str]) -> Refused:
        some, more = ", ".join(paths[:MOST_SHOWN]), len(paths) - MOST_SHOWN
        flow = self.desk.snapshot.state.flow
        return Refused(
            "conflict",
            f"{task} does not come off {flow} cleanly, and nothing was reverted; in conflict: "
            f"{some}{f' and {more} more' if more > 0 else ''}",
            hint="revert what changed the same lines later with it, or do it by hand on "
            f"{flow} (git revert -m 1 {self.desk.snapshot.record(task).merge[:12]}): it is adopted",
        )

    def _message(self, task: str, sha: str, why: str) -> str:
        snapshot, made = self.desk.snapshot, self.desk.store.repository.commit(sha)
        attempt = snapshot.record(task).attempts[-1]
        return "\n".join(
            [
                f"revert {task}: {one_line(snapshot.plan.by_id[task].name)[:160]}",
                "",
                one_line(why),
                "",
                f"This reverts commit {sha}, reversing",
                f"changes made to {made.parents[0]}.",
                "",
                f"Gitflow-Event: {E.TASK_REVERTED}",
                f"Gitflow-Plan: {snapshot.plan.plan}",
                f"Gitflow-Task: {task}",
                f"Gitflow-Attempt: {attempt.number}",
                f"Gitflow-Reason: {Reason.REVERTED}",
                f"Gitflow-Actor: {one_line(self.desk.actor)}",
                f"Gitflow-Commit: {sha}",
            ]
        )

    # --- what follows -----------------------------------------------------------------------------

    def is_ours(self, event: Event) -> bool:
        """Say whether an event of a commit of ours takes back a merge that still counts."""
        record = self.desk.snapshot.records.get(event.task)
        return (
            event.event == E.TASK_REVERTED
            and record is not None
            and record.status is S.COMPLETED
            and record.merge == event.commit
        )

    def by_people(self, commits: Iterable[Commit]) -> dict[str, tuple[str, str]]:
        """Return the tasks whose merges these commits revert, each with the revert and why."""
        records = self.desk.snapshot.records.values()
        merges = {r.merge: r.id for r in records if r.status is S.COMPLETED}
        found: dict[str, tuple[str, str]] = {}
        for commit in commits:
            for named in merge.reverts_of(commit.message):
                whole = [named] if named in merges else [m for m in merges if m.startswith(named)]
                for sha in whole if len(whole) == 1 else ():
                    who = commit.author.partition(" <")[0]
                    found[merges[sha]] = commit.sha, f"reverted by {who}: {commit.subject}"
        return found

    def arrived(self, commit: Commit) -> list[Commit]:
        """Return a commit of flow's line with all that a merge brought along."""
        if len(commit.parents) < 2:
            return [commit]
        return self.desk.store.repository.commits(f"{commit.parents[0]}..{commit.sha}")

    def take(self, draft: Draft, reverts: Sequence[tuple[str, str, str]]) -> None:
        """Let reverted tasks wait again, and what began on them: (task, revert, why) each."""
        for task, revert, why in reverts:
            self._reopen(draft, task, revert, one_line(why))
        if self.desk.snapshot.state.status == "finished":
            draft.set(status="live")
        self._unsettle(draft, {task for task, _, _ in reverts})

    def _reopen(self, draft: Draft, task: str, revert: str, why: str) -> None:
        """Send a completed task back to pending; its work stays reachable."""
        snapshot = self.desk.snapshot
        record = snapshot.record(task)
        attempt = record.attempts[-1]
        ref = self.desk.free_attempt_ref(snapshot.plan.plan, task, attempt.number, attempt.report)
        draft.move(ref, self.desk.store.refs.resolve(ref) or ZERO, attempt.report)
        status = advance(record.status, E.TASK_REVERTED, By.PERSON, Reason.REVERTED)
        ended = attempt.model_copy(
            update={
                "reason": Reason.REVERTED,
                "message": why,
                "kept": ref.removeprefix(HEADS),
                "merged": record.merge,
                "reverted": revert,
            }
        )
        # What only the merge of this task said is said no more.
        blank = TaskRecord(id=task).model_dump(include=set(_OF_A_MERGE))
        draft.put(
            record.model_copy(
                update={
                    **blank,
                    "status": status,
                    "reason": Reason.REVERTED,
                    "message": why,
                    "granted": self._granted(record),
                    "attempts": (*record.attempts[:-1], ended),
                }
            )
        )
        self._unlearn(draft, record)
        draft.tell(
            E.TASK_REVERTED,
            task=task,
            attempt=attempt.number,
            status=status,
            reason=Reason.REVERTED,
            commit=revert,
            note=f"{task} {why}",
        )
        self.desk.say(
            E.TASK_REVERTED,
            f"{task} {why}; it waits again",
            task=task,
            attempt=attempt.number,
            status=status,
            reason=Reason.REVERTED,
            revert_sha=revert,
        )

    def _granted(self, record: TaskRecord) -> int:
        """Return the attempts beyond the limit: whoever reverts a task allows one more at it."""
        plan = self.desk.snapshot.plan
        if record.id not in plan.by_id:
            return record.granted
        limits = scheduler.limits_of(plan, self.desk.config)
        return max(record.granted, record.used + 1 - attempts_allowed(plan, record.id, limits))

    def _unlearn(self, draft: Draft, record: TaskRecord) -> None:
        """Forget what only this task had taught the others."""
        snapshot = self.desk.snapshot
        if record.learned:
            merged = [r for r in snapshot.records.values() if r.status is S.COMPLETED]
            kept = {said for other in merged for said in other.learned}
            gone = set(record.learned) - kept
            draft.set(learned=tuple(said for said in snapshot.state.learned if said not in gone))

    def _unsettle(self, draft: Draft, reverted: set[str]) -> None:
        """End what runs on something that is on flow no more, and send back what waits."""
        snapshot = self.desk.snapshot
        started = snapshot.by_status[S.IN_PROGRESS] | snapshot.by_status[S.REVIEW]
        for task in sorted(started, key=snapshot.plan.order.__getitem__):
            gone = [need for need in snapshot.graph.requires[task] if need in reverted]
            if not gone or snapshot.record(task).taken_by:
                continue  # a person goes on, and is merged when what it needs is there again
            why = f"{', '.join(gone)}, which it needs, was reverted"
            if snapshot.status(task) is S.IN_PROGRESS:
                self.fence(draft, task, why)
            if snapshot.status(task) is S.REVIEW:  # also what had ended just now
                self._send_back(draft, task, why)

    def _send_back(self, draft: Draft, task: str, why: str) -> None:
        record = self.desk.snapshot.record(task)
        status = advance(record.status, E.TASK_RETRIED, By.PERSON)
        about = {"status": status, "reason": Reason.REVERTED, "message": why, "approvals": ()}
        draft.put(
            record.model_copy(update={**about, "granted": self._granted(record), "not_before": 0.0})
        )
        note = f"{task} waits again: {why}"
        draft.tell(E.TASK_RETRIED, task=task, status=status, reason=Reason.REVERTED, note=note)
        self.desk.say(E.TASK_RETRIED, note, task=task, status=status, reason=Reason.REVERTED)


_OF_A_MERGE = (
    "merge",
    "summary",
    "learned",
    "risks",
    "follow_ups",
    "evidence",
    "approvals",
    "gave",
    "lost",
    "conflicts",
    "not_before",
)
"""Fields of a record that begin anew when its merge is taken back."""


def why_of(commit: Commit) -> str:
    """Return why one of our own reverts was made: the paragraph below its subject."""
    return one_line((*commit.message.split("\n\n"), "")[1])


__all__ = ["Reverts", "why_of"]
