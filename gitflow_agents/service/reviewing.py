"""Results that are looked at in a pull request of their own: an approval there is the permission.

The pull request is a draft, so that nobody merges it: the train does, when the result was approved
at exactly the commit that is to be merged.  Nothing that fails here fails a pass; the result waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gitflow_agents.commands import Approve
from gitflow_agents.errors import LostRace
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused
from gitflow_agents.models import Approval, Status, TaskRecord, person
from gitflow_agents.render import done_report
from gitflow_agents.render.story import looked_at
from gitflow_agents.render.text import fit
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft


@dataclass
class Reviewing:
    """The pull requests of the tasks of one plan, in one pass."""

    reconciler: Reconciler
    forge: Forge

    @property
    def _snapshot(self) -> Snapshot:
        return self.reconciler.desk.snapshot

    def hear(self) -> None:
        """Take the approvals that were given there since the last pass."""
        found: dict[str, Approval] = {}
        for task, record, sha in self._waiting():
            if not record.pull or record.pulled != sha:
                continue
            try:
                people = self.forge.approvers(record.pull, sha, Approve.level)
            except (ForgeDown, ForgeRefused) as e:
                self._warn(f"{task} is not approved: {e.message}")
                continue
            if people:
                found[task] = Approval(
                    gate="merge",
                    by=people[0],
                    at=self.reconciler.desk.clock(),
                    sha=sha,
                    digest=self._snapshot.plan.by_id[task].digest,
                )
        if found:
            self._write(found, {})

    def open(self) -> None:
        """Open the pull requests of results that wait for an approval, or find them again."""
        home = self._snapshot.state.home
        if home is not None and not home.pull:
            return  # none may be opened here; an approval at a terminal is the way
        found: dict[str, tuple[int, str]] = {}
        for task, record, sha in self._waiting():
            if record.pulled != sha:
                try:
                    found[task] = (self._pull(task, record, sha), sha)
                except (ForgeDown, ForgeRefused) as e:
                    self._warn(f"{task} has no pull request: {e.message}")
        if found:
            self._write({}, found)

    def _pull(self, task: str, record: TaskRecord, sha: str) -> int:
        """Return the number of the pull request of a result, which is opened if needed."""
        snapshot, desk = self._snapshot, self.reconciler.desk
        branch, flow = record.result_branch, snapshot.state.flow
        found = self.forge.find(branch, flow)
        if found is None:
            report = desk.report(desk.store.repository.commit(sha).tree)
            named = fit(f"{snapshot.plan.plan}/{task}: {snapshot.plan.by_id[task].name}", 120)
            text = looked_at(snapshot, task, done_report(report))
            # One that can be merged there would bring along what the train leaves out.
            found = self.forge.open(branch, flow, named, text, only_draft=True)
        return found.pull

    def _waiting(self) -> Iterator[tuple[str, TaskRecord, str]]:
        """Yield the results that wait for an approval in a pull request, in plan order."""
        snapshot = self._snapshot
        for task in sorted(snapshot.by_status[Status.REVIEW], key=snapshot.plan.order.__getitem__):
            if snapshot.is_for_review(task) and snapshot.awaits(task) == "merge":
                yield task, snapshot.record(task), snapshot.approvable(task)

    def _write(self, approved: dict[str, Approval], opened: dict[str, tuple[int, str]]) -> None:
        """Note what still holds once the plan was looked at again."""
        desk = self.reconciler.desk
        try:
            with desk.store.refs.lock():
                self.reconciler.refresh()
                draft = Draft(desk.snapshot, desk.actor, desk.run)
                for task, record, sha in [*self._waiting()]:
                    number, of = opened.get(task, (0, ""))
                    yes = approved.get(task)
                    if of == sha:
                        draft.put(record.model_copy(update={"pull": number, "pulled": sha}))
                        note = f"{task} is looked at in pull request {number}"
                        draft.tell("task_shown", task=task, commit=sha, note=note)
                        desk.say("task_shown", note, task=task, pull=number)
                    elif yes is not None and yes.sha == sha:
                        kept = tuple(one for one in record.approvals if one.gate != "merge")
                        draft.put(record.model_copy(update={"approvals": (*kept, yes)}))
                        where = f"in pull request {record.pull} by {person(yes.by)}"
                        note = f"{task} may be merged: approved {where}"
                        draft.tell("task_approved", task=task, commit=sha, note=note)
                        desk.say("task_approved", note, task=task)
                if draft.events:
                    try:
                        desk.store.commit(draft)
                    except BaseException:
                        desk.dropped()
                        self.reconciler.reload()
                        raise
                desk.written()
        except LostRace:
            return  # the next pass looks again

    def _warn(self, text: str) -> None:
        self.reconciler.desk.say("warning", text)
        self.reconciler.desk.written()


__all__ = ["Reviewing"]
