"""Results that are looked at in a pull request of their own: an approval there is the permission.

The pull request is a draft, so that nobody merges it: the train does, when the result was approved
at exactly the commit that is to be merged.  Nothing that fails here fails a pass; the result waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from gitflow_agents.commands import Act, Approve, DropTrain, Refused, Reject, Unapprove
from gitflow_agents.commands.approving import LOOKING_SECONDS
from gitflow_agents.errors import LostRace
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused, Review
from gitflow_agents.models import Approval, Status, TaskRecord, person
from gitflow_agents.render import done_report
from gitflow_agents.render.story import looked_at
from gitflow_agents.render.text import fit
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.permitting import Permitting, Unasked, permitting_of
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
        """Take what was said there since the last pass: approvals, and that one holds no more."""
        counts = self.reconciler.desk.config.reviews
        if "plan" in counts:
            self._hear_of_plan()
        if "merge" in counts:
            self._hear_of_results()

    def _hear_of_plan(self) -> None:
        """Take what was said of the text of the plan, in the pull request of its flow branch."""
        state, home = self._snapshot.state, self._snapshot.state.home
        given = state.approved
        is_asked = self._snapshot.awaits() == "plan" or (given is not None and given.pull)
        if home is None or not home.pull or not is_asked:
            return
        try:
            reviews = self.forge.reviews(home.pull)
            if given is not None:
                is_no = any(self._may(Unapprove(), one) for one in reviews if not one.is_yes)
                is_yes = any(one.is_yes and one.actor == given.by for one in reviews)
                by = given.by if is_yes and not is_no else ""
            else:
                shown = state.revised_at + LOOKING_SECONDS if state.revised_at else 0.0
                since = max(state.accepted_at, state.unapproved, shown)
                people = agreed(
                    reviews,
                    state.flow_sha,
                    since,
                    lambda one: self._may(Approve() if one.is_yes else Unapprove(), one),
                )
                by = people[0] if people else ""
        except (ForgeDown, ForgeRefused, Unasked) as e:
            self._warn(f"reviews of the plan do not count: {e.message}")
            return
        if bool(by) != (given is not None):
            self._write(lambda draft: self._note_of_plan(draft, state.digest, by, home.pull))

    def _note_of_plan(self, draft: Draft, digest: str, by: str, pull: int) -> None:
        """Stage what people said of a text that is still the one that they saw."""
        desk, state = self.reconciler.desk, self._snapshot.state
        if state.digest != digest:
            return
        where, yes = f"in pull request {pull}", None
        event, note = "plan_unapproved", f"the plan is not approved any more {where}"
        if by:
            at, sha = desk.clock(), state.commit
            yes = Approval(gate="plan", by=by, at=at, sha=sha, digest=digest, pull=pull)
            event, note = "plan_approved", f"v{state.revision} approved {where} by {person(by)}"
        draft.set(approved=yes)
        draft.tell(event, note=note)
        desk.say(event, note)

    def _hear_of_results(self) -> None:
        heard: dict[str, tuple[TaskRecord, tuple[str, ...]]] = {}
        for task, record, sha in self._looked_at():
            try:
                people = self._people(task, record, sha)
            except (ForgeDown, ForgeRefused, Unasked) as e:
                stands = "stays approved" if record.approvals else "is not approved"
                self._warn(f"{task} {stands}: {e.message}")
                continue
            if approvals_of(self._snapshot, task, people, 0) != record.approvals:
                heard[task] = record, people
        if heard:
            self._write(lambda draft: self._note(draft, heard))

    def _people(self, task: str, record: TaskRecord, sha: str) -> tuple[str, ...]:
        """Return who approves a result in its pull request."""
        yes = Approve(targets=(task,), sha=sha)
        no = Reject(targets=(task,), reason="changes are wanted")
        reviews = self.forge.reviews(record.pull)
        return agreed(
            reviews, sha, record.unapproved, lambda one: self._may(yes if one.is_yes else no, one)
        )

    def _may(self, command: Act, review: Review) -> bool:
        """Say whether somebody could do by a command what they did by a review."""
        who = self._permitting.asker(review.login, review.id)
        try:
            self._permitting.permit(command, who, self._snapshot)
        except Unasked:
            raise
        except Refused as e:
            if e.reason_code == "self-approval":
                self._warn(f"an approval does not count: {e.said}")
            return False
        return True

    @cached_property
    def _permitting(self) -> Permitting:
        return permitting_of(self.reconciler.desk, self.forge)

    def _note(self, draft: Draft, heard: Mapping[str, tuple[TaskRecord, tuple[str, ...]]]) -> None:
        """Stage what people said of results that nothing has happened to since they were asked."""
        desk, snapshot = self.reconciler.desk, self._snapshot
        same = {t: people for t, (record, people) in heard.items() if snapshot.record(t) == record}
        train = snapshot.state.train
        if train and any(car.task in same and not same[car.task] for car in train.cars):
            self.reconciler.effects.stage(draft, [DropTrain()])
        for task, people in same.items():
            record, sha = snapshot.record(task), snapshot.approvable(task)
            given = approvals_of(snapshot, task, people, desk.clock())
            draft.put(record.model_copy(update={"approvals": given}))
            where = f"in pull request {record.pull}"
            event, note = "task_unapproved", f"{task} is not approved any more {where}"
            if people:
                by = person(given[-1].by)
                event, note = "task_approved", f"{task} may be merged: approved {where} by {by}"
            draft.tell(event, task=task, commit=sha, note=note)
            desk.say(event, note, task=task)

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
            self._write(lambda draft: self._show(draft, found))

    def _show(self, draft: Draft, found: Mapping[str, tuple[int, str]]) -> None:
        """Stage the pull requests of results that still wait."""
        for task, record, sha in self._waiting():
            number, of = found.get(task, (0, ""))
            if of == sha:
                draft.put(record.model_copy(update={"pull": number, "pulled": sha}))
                note = f"{task} is looked at in pull request {number}"
                draft.tell("task_shown", task=task, commit=sha, note=note)
                self.reconciler.desk.say("task_shown", note, task=task, pull=number)

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

    def _results(self) -> Iterator[tuple[str, TaskRecord, str]]:
        """Yield the results that need an approval in a pull request, in plan order."""
        snapshot = self._snapshot
        for task in sorted(snapshot.by_status[Status.REVIEW], key=snapshot.plan.order.__getitem__):
            if snapshot.is_for_review(task):
                yield task, snapshot.record(task), snapshot.approvable(task)

    def _waiting(self) -> Iterator[tuple[str, TaskRecord, str]]:
        """Yield those that have none."""
        return (one for one in self._results() if self._snapshot.awaits(one[0]) == "merge")

    def _looked_at(self) -> Iterator[tuple[str, TaskRecord, str]]:
        """Yield those whose pull request has the say: it can give one, or has, and may withdraw."""
        for task, record, sha in self._results():
            given = self._snapshot.permission(task, "merge")
            if record.pull and record.pulled == sha and (given is None or given.pull):
                yield task, record, sha

    def _write(self, stage: Callable[[Draft], None]) -> None:
        """Write what is staged once the plan was looked at again."""
        try:
            self.reconciler.write(stage)
        except LostRace:
            return  # the next pass looks again
        self.reconciler.effects.end_processes()

    def _warn(self, text: str) -> None:
        self.reconciler.desk.say("warning", text)
        self.reconciler.desk.written()


def agreed(
    reviews: Sequence[Review], sha: str, since: float, may: Callable[[Review], bool]
) -> tuple[str, ...]:
    """Return who approves exactly a commit, later than a time in seconds since the epoch.

    Those count who may; none are returned when one of them wants changes, whenever that was said.
    """
    if any(may(one) for one in reviews if not one.is_yes):
        return ()
    given = (one for one in reviews if one.is_yes and one.sha == sha and one.at > since)
    return tuple(one.actor for one in given if may(one))


def approvals_of(
    snapshot: Snapshot, task: str, people: Sequence[str], at: float
) -> tuple[Approval, ...]:
    """Return the approvals of a result when it is these people who approve its pull request."""
    record, given = snapshot.record(task), snapshot.permission(task, "merge")
    if (given.by in people) if given else not people:
        return record.approvals
    kept = tuple(one for one in record.approvals if one.gate != "merge")
    if not people:
        return kept
    yes = Approval(
        gate="merge",
        by=people[0],
        at=at,
        sha=snapshot.approvable(task),
        digest=snapshot.plan.by_id[task].digest,
        pull=record.pull,
    )
    return (*kept, yes)


__all__ = ["Reviewing", "agreed", "approvals_of"]
