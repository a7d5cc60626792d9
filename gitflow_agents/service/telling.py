"""What the forge shows of a plan: one pull request of its flow branch, with one comment.

It is made when the plan is accepted, and edited when something has changed that people care for.
Nothing there is ever read back as the truth, and nothing that fails here fails a pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused
from gitflow_agents.models import Home, Limits
from gitflow_agents.render.alerts import mention
from gitflow_agents.render.story import marker, matters, opening, story, title
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.alerting import due
from gitflow_agents.service.reconcile import Reconciler


@dataclass
class Telling:
    """Tells people on the forge of the passes of one process over one plan."""

    reconciler: Reconciler
    forge: Forge
    limits: Limits
    _before: tuple[object, ...] | None = None

    @property
    def _snapshot(self) -> Snapshot:
        return self.reconciler.desk.snapshot

    def begin(self) -> None:
        """Note how everything is before the pass."""
        self._before = matters(self._snapshot)

    def end(self) -> str:
        """Bring the pull request up to date; returns in a sentence why that cannot be."""
        snapshot = self._snapshot
        home, is_over = snapshot.state.home, snapshot.state.status == "finished"
        is_new = matters(snapshot) != self._before
        try:
            if home is None or (not home.pull and is_new):
                home = self._open()
            if home.pull and (is_new or home.is_behind or not home.comment):
                text = story(snapshot, self.limits, self.reconciler.desk.clock())
                comment = self.forge.tell(home.pull, home.comment, marker(snapshot.plan.plan), text)
                home = home.model_copy(update={"comment": comment, "is_behind": False})
                self._note(home)
                self._mention(home.pull)
            # Also when the pass that saw the end did not live to say so.
            if home.pull and is_over and not home.is_ready:
                is_ready = self.forge.offer(home.pull)
                self._note(home.model_copy(update={"is_ready": is_ready}))
        except (ForgeDown, ForgeRefused) as e:
            if home is not None and is_new:
                self._note(home.model_copy(update={"is_behind": True}))
            return e.message
        return ""

    def _mention(self, pull: int) -> None:
        """Ping those whom the config names about what they were not told before."""
        whom = self.reconciler.desk.config.notify
        if whom and (told := due(self.reconciler, self.limits, "mention")):
            self.forge.say(pull, mention(self._snapshot, whom, told))

    def _open(self) -> Home:
        """Find the pull request of the flow branch, or open it as a draft."""
        snapshot = self._snapshot
        state = snapshot.state
        try:
            pull = self.forge.open(state.flow, state.base, title(snapshot), opening(snapshot))
        except ForgeRefused as e:
            home = Home(refused=e.message)
            self._note(home)
            raise
        home = Home(pull=pull)
        self._note(home)
        return home

    def _note(self, home: Home) -> None:
        """Write down where the plan is told of, if that is new."""
        where = f"pull request {home.pull}" if home.pull else "no pull request"
        why = f": {home.refused}" if home.refused else ""
        self.reconciler.note("home_noted", f"the plan is told of in {where}{why}", home=home)


__all__ = ["Telling"]
