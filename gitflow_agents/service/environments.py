"""Approvals by the reviewers of an environment: a run waits there, and who lets it in says yes.

The run does nothing but the next pass.  The state says first that somebody is asked and then by
which run, so one that is lost or doubled costs nothing.  A yes is what `approve` of the same person
would be, for the commit and the text that were asked about; when those are not what is waited for
any more the run is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gitflow_agents.commands import Approve, Refused
from gitflow_agents.errors import LostRace
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused, ForgeRun
from gitflow_agents.models import AskedFor, Limits
from gitflow_agents.render.text import fit, one_line
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.acting import act_for
from gitflow_agents.service.permitting import Permitting, Unasked, permitting_of
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft

MOST = 20
"""Runs of one plan that wait for somebody at once."""
UNNAMED_SECONDS = 120.0
"""Seconds for which whoever starts a run may take to note its id."""
LOOK_SECONDS = 600.0
"""Seconds after which it is asked whether a run that nobody decided on still waits."""
WAIT_SECONDS = 29 * 24 * 3600.0
"""Seconds after which a run may have failed because nobody decided: GitHub waits for 30 days."""
FAILED = ("failure", "startup_failure")
RACES = 5
MOST_SAID = 300

Asked = Mapping[str, AskedFor]


@dataclass
class Environments:
    """What one pass over one plan asks the reviewers of environments for."""

    reconciler: Reconciler
    forge: Forge
    limits: Limits
    _decided: set[int] = field(default_factory=set)
    """Runs that were let in: one of them may be the one that this pass is a part of."""

    @property
    def _snapshot(self) -> Snapshot:
        return self.reconciler.desk.snapshot

    @cached_property
    def _permitting(self) -> Permitting:
        return permitting_of(self.reconciler.desk, self.forge)

    # --- what they said ---------------------------------------------------------------------------

    def hear(self) -> None:
        """Take what reviewers said since the last pass; nothing that fails here fails it."""
        for key, asked in self._snapshot.state.asked_for.items():
            if asked.run and not asked.refused and self._is_wanted(key, asked):
                try:
                    self._hear(key, asked)
                except (ForgeDown, ForgeRefused, LostRace) as e:
                    self._warn(f"environment {asked.environment} is not heard: {e.message}")

    def _hear(self, key: str, asked: AskedFor) -> None:
        name = asked.environment.casefold()
        said = [
            one for one in self.forge.decisions(asked.run) if one.environment.casefold() == name
        ]
        if not said:
            self._look(key, asked)
            return
        self._decided.add(asked.run)
        if no := next((one for one in said if not one.is_yes), None):
            why = f": {one_line(no.text)}" if no.text.strip() else ""
            self._refuse(key, asked, f"{no.login} refused it there{why}")
            return
        yes = said[-1]
        task = key.partition(" ")[2]
        try:
            who = self._permitting.asker(yes.login, yes.id)
            about = self.reconciler, self.limits, self._permitting, who
            command = Approve(targets=(task or "plan",), sha=asked.sha)
            act_for(*about, command, lambda now: not _is_wanted(now, key, asked))
        except Unasked as e:
            self._warn(f"the approval of {yes.login} does not count yet: {e.message}")
        except Refused as e:
            self._refuse(key, asked, f"the approval of {yes.login} does not count: {e.message}")

    def _look(self, key: str, asked: AskedFor) -> None:
        """See whether a run still waits that nobody has decided on."""
        if self.reconciler.desk.clock() - asked.at < LOOK_SECONDS:
            return
        run = self.forge.run(asked.run)
        if run is not None and not run.is_over:
            return
        if run is not None and run.conclusion == "success":
            self._refuse(key, asked, "it let the run in and asked nobody: it has no reviewers")
            return
        age = self.reconciler.desk.clock() - asked.at
        if run is not None and run.conclusion in FAILED and age < WAIT_SECONDS:
            why = "nobody could let the run in: it has no reviewers, or rules that this run breaks"
            self._refuse(key, asked, f"{why} ({asked.url})")
            return
        # It was cancelled, or waited for longer than runs can: somebody is asked again.
        self._note(lambda now: {one: it for one, it in now.items() if one != key})

    def _refuse(self, key: str, asked: AskedFor, why: str) -> None:
        said = fit(why, MOST_SAID)
        self._note(lambda now: {**now, key: asked.model_copy(update={"refused": said})})
        self._warn(f"{key} is not approved in environment {asked.environment}: {said}")

    # --- asking -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Ask for what is waited for now, and cancel what is not waited for any more."""
        known, now = self._snapshot.state.asked_for, self.reconciler.desk.clock()
        wanted = dict(self._wanted())
        over = {key: one for key, one in known.items() if not _is_same(one, wanted.get(key))}
        new = {
            key: one.model_copy(update={"at": now})
            for key, one in wanted.items()
            if key not in known or key in over
        }
        late = {
            key: one
            for key, one in known.items()
            if key not in over and not (one.run or one.refused) and now - one.at > UNNAMED_SECONDS
        }
        try:
            if over or new:
                self._note(lambda then: {k: v for k, v in then.items() if over.get(k) != v} | new)
            left = {one.run for one in over.values() if not one.refused}
            self._cancel(sorted(left - self._decided - {0}))
            if new or late:
                self._start(new, late)
        except (ForgeDown, ForgeRefused, LostRace) as e:
            self._warn(f"no environment is asked for an approval: {e.message}")

    def _wanted(self) -> Iterator[tuple[str, AskedFor]]:
        """Yield what is to be asked for of the plan as it is, in plan order."""
        where, snapshot = self.reconciler.desk.config.environments, self._snapshot
        if not (where.plan or where.task or where.merge) or snapshot.state.status != "live":
            return
        if snapshot.awaits():
            if where.plan:
                yield "plan", _of_plan(snapshot, where.plan)
            return
        tasks = (task for task in snapshot.plan.order if snapshot.awaits(task))
        found = 0
        for task in tasks:
            gate = snapshot.awaits(task)
            name = where.task if gate == "task" else where.merge
            if not name or (gate == "task" and snapshot.frontier.unmet(task)):
                continue
            key, asked = f"{gate} {task}", _of_task(snapshot, task, name)
            yield key, asked
            known = snapshot.state.asked_for.get(key)
            is_over = known is not None and bool(known.refused) and _is_same(known, asked)
            found += not is_over  # nobody waits there
            if found == MOST:
                return

    def _start(self, new: Asked, late: Asked) -> None:
        """Start the runs that are to wait, or find those of whom nobody noted the id."""
        runs: dict[str, int] = {}
        refused: dict[str, str] = {}
        there: Sequence[ForgeRun] = ()
        if late:
            there = self.forge.runs("approval", min(one.at for one in late.values()))
        try:
            for key, one in {**late, **new}.items():
                name = run_name(self._snapshot.plan.plan, key, one)
                found = min((run.id for run in there if run.title == name), default=0)
                inputs = {
                    "plan": self._snapshot.plan.plan,
                    "environment": one.environment,
                    "name": name,
                }
                try:
                    runs[key] = found or self.forge.start("approval", inputs)
                except ForgeRefused as e:
                    refused[key] = fit(e.message, MOST_SAID)
        finally:
            asked = {**late, **new}
            self._note(lambda now: {**now, **self._named(now, asked, runs, refused)})
        for why in dict.fromkeys(refused.values()):
            self._warn(f"no environment is asked for an approval: {why}")

    def _named(
        self, now: Asked, asked: Asked, runs: Mapping[str, int], refused: Mapping[str, str]
    ) -> dict[str, AskedFor]:
        named = {}
        for key, one in asked.items():
            if _is_same(now.get(key), one) and not now[key].run:
                run = runs.get(key, 0)
                told = {"run": run, "url": self.forge.url(run) if run else ""}
                named[key] = now[key].model_copy(update={**told, "refused": refused.get(key, "")})
        return named

    def _cancel(self, runs: Sequence[int]) -> None:
        for run in runs:
            try:
                # One that was let in does a pass, which may be this one.
                if not self.forge.decisions(run):
                    self.forge.cancel(run)
            except (ForgeDown, ForgeRefused) as e:
                self._warn(f"run {run}, which waits for an approval, goes on waiting: {e.message}")

    # --- shared -----------------------------------------------------------------------------------

    def _is_wanted(self, key: str, asked: AskedFor) -> bool:
        return _is_wanted(self._snapshot, key, asked)

    def _note(self, change: Callable[[Asked], Mapping[str, AskedFor]]) -> None:
        """Write down whom is asked for what, on whatever others have written meanwhile."""

        def stage(draft: Draft) -> None:
            then = draft.snapshot.state.asked_for
            now = dict(change(then))
            if now != then:
                draft.set(asked_for=now)
                draft.tell("environments_asked", note=_told(now))

        for turn in range(RACES):
            try:
                self.reconciler.write(stage)
                return
            except LostRace:
                if turn == RACES - 1:
                    raise

    def _warn(self, text: str) -> None:
        self.reconciler.desk.say("warning", text)
        self.reconciler.desk.written()


def run_name(plan: str, key: str, asked: AskedFor) -> str:
    """Return what the run is called that waits: unique to what is asked, and read by people."""
    gate, _, task = key.partition(" ")
    what = f"{'start' if gate == 'task' else 'merge'} of {task}" if task else "the plan"
    return f"{plan}-approval of {what} {(asked.sha or asked.digest)[:12]}"


def _of_plan(snapshot: Snapshot, environment: str) -> AskedFor:
    state = snapshot.state
    return AskedFor(environment=environment, sha=state.commit, digest=state.digest, at=0)


def _of_task(snapshot: Snapshot, task: str, environment: str) -> AskedFor:
    sha, digest = snapshot.approvable(task), snapshot.plan.by_id[task].digest
    return AskedFor(environment=environment, sha=sha, digest=digest, at=0)


def _is_same(one: AskedFor | None, other: AskedFor | None) -> bool:
    """Say whether two ask the same of the same."""
    if one is None or other is None:
        return False
    mine, theirs = ((it.environment, it.sha, it.digest) for it in (one, other))
    return mine == theirs


def _is_wanted(snapshot: Snapshot, key: str, asked: AskedFor) -> bool:
    """Say whether an approval is still waited for, of exactly what was asked about."""
    gate, _, task = key.partition(" ")
    if task and task not in snapshot.plan.by_id:
        return False
    if snapshot.awaits(task) != gate:
        return False
    where = asked.environment
    return _is_same(_of_task(snapshot, task, where) if task else _of_plan(snapshot, where), asked)


def _told(asked: Asked) -> str:
    where = [
        f"{key} in {one.environment}" + (" (no)" if one.refused else "")
        for key, one in asked.items()
    ]
    return f"environments are asked: {', '.join(where)}" if where else "no environment is asked"


__all__ = ["Environments", "run_name"]
