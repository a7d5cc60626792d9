"""What the jobs of a forge do with boards: one says that there is something to tell, one tells it.

The first is a pass, and has no token for projects; the second has it, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gitflow_agents.board.report import Report, text
from gitflow_agents.board.shown import Shown
from gitflow_agents.commands import Act
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import Forge, ForgeRefused, Talk
from gitflow_agents.github import GitHub
from gitflow_agents.scheduler import Snapshot, limits_now
from gitflow_agents.service.acting import Also, Outcome, Permit
from gitflow_agents.service.boarding import SETTING, Boarding, is_sync, keeps_boards, shown
from gitflow_agents.service.commanding import Commanding
from gitflow_agents.service.desk import Desk
from gitflow_agents.service.jobs import Jobs
from gitflow_agents.service.permitting import permitting_of
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.syncing import Asked
from gitflow_agents.store import journal

MOST_SAID = 40
"""Lines of a report that a reply has."""


@dataclass
class BoardJobs:
    """The boards of the plans of one checkout."""

    jobs: Jobs

    def is_behind(self, snapshot: Snapshot, github: GitHub) -> bool:
        """Say whether a later job of this run has something to tell the board of a plan."""
        service, plan = self.jobs.service, snapshot.plan.plan
        how = shown(service.config, plan)
        if how is None:
            return False
        desk = service.desk(snapshot, self.jobs.tell)
        asked = journal.read(desk.store.repository, snapshot.tree, [*snapshot.state.commands])
        is_asked = any(one.status == "open" and is_sync(one) for one in asked)
        if not is_asked and not self._is_due(desk, how, github):
            return False
        if not keeps_boards(service, plan):
            desk.say("board_skipped", f"the board is left alone: {SETTING} is not set")
            desk.written()
            return False
        return True

    def _is_due(self, desk: Desk, how: Shown, github: GitHub) -> bool:
        try:
            return Boarding(github).is_due(desk, how)
        except FlowError as e:  # nothing that is wrong with a board fails a pass
            desk.say("warning", f"whether the board is behind cannot be told: {e.message}")
            desk.written()
            return False

    def sync(
        self,
        plan: str,
        boarding: Boarding,
        asked: Asked,
        project: str = "",
        forge: Forge | None = None,
        talk: Talk | None = None,
    ) -> Report | None:
        """Bring the board of a plan in step, first for those who asked for that in a comment.

        Those are answered where `talk` is, and `forge` is asked what they may.  None where no board
        shows the plan.  Raises ForgeDown, and ForgeRefused where that is new: what was noted before
        comes as a report that nothing was done.
        """
        desk = self.jobs.desk(plan)
        how = shown(self.jobs.service.config, plan, project)
        if how is None:
            return None
        is_waited_for = bool(desk.snapshot.state.commands) and not asked.dry_run
        told: list[Report] = []
        if is_waited_for and forge is not None and talk is not None:
            told = self._sync_for(desk, how, boarding, asked, forge, talk)
        syncing = boarding.syncing(desk, how)
        try:
            return [syncing.go(asked), *told][-1]  # what somebody asked for says more
        except ForgeRefused as e:
            if syncing.is_news:
                raise
            left, asked_for = f"{e.message} (as before)", syncing.board.asked
            return Report(plan, left=left, requests=asked_for, is_behind=True)

    def _sync_for(
        self,
        desk: Desk,
        how: Shown,
        boarding: Boarding,
        asked: Asked,
        forge: Forge,
        talk: Talk,
    ) -> list[Report]:
        """Carry out what somebody asked for in a comment, and answer with what came of it."""
        reconciler = Reconciler(desk)
        reports: list[Report] = []

        def act(
            command: Act,
            actor: str,
            at: float,
            *,
            permit: Permit,
            dry_run: bool,
            also: Also,
            unless: Callable[[Snapshot], bool],
        ) -> Outcome:
            plan, snapshot = desk.snapshot.plan.plan, desk.snapshot
            if unless(snapshot):
                return Outcome(plan, False, (), "", snapshot)
            permit(command, snapshot)
            came = boarding.sync(desk, how, replace(asked, is_full=True, dry_run=dry_run))
            reports.append(came)
            said = tuple(text(came).splitlines())[:MOST_SAID]
            outcome = Outcome(plan, bool(came.writes), said, "", desk.snapshot, would=dry_run)
            reconciler.write(lambda draft: also(draft, outcome))
            return outcome

        limits = limits_now(desk.snapshot, self.jobs.service.config)
        permitting = permitting_of(desk, forge)
        commanding = Commanding(reconciler, talk, limits, permitting, act, is_sync)
        try:
            commanding.carry_out()
        finally:
            if why := commanding.answer():
                desk.say("warning", f"somebody was not answered: {why}")
            desk.written()
        return reports


__all__ = ["BoardJobs"]
