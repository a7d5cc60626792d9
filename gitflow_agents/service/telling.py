"""What the forge shows of a plan: one pull request of its flow branch, with a comment and a check.

It is made when the plan is accepted, and edited when something has changed that people care for.
Where no pull request may be opened, an issue stands in for it until there is one.  Nothing there is
ever read back as the truth, and nothing that fails here fails a pass.
"""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass

from gitflow_agents.errors import LostRace
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused, Page
from gitflow_agents.models import Home, Limits
from gitflow_agents.render.alerts import mention
from gitflow_agents.render.story import check, marker, matters, moved, opening, story, title
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.alerting import due
from gitflow_agents.service.reconcile import Reconciler

RACES = 5
"""Times that something is written down when somebody else moves the plan."""


@dataclass
class Telling:
    """Tells people on the forge of the passes of one process over one plan."""

    reconciler: Reconciler
    forge: Forge
    limits: Limits

    @property
    def _snapshot(self) -> Snapshot:
        return self.reconciler.desk.snapshot

    def end(self) -> str:
        """Bring what is shown up to date; returns in a sentence why that cannot be."""
        home, why = self._snapshot.state.home, ""
        now = _digest(self._snapshot)
        # Not compared with how it was before this pass: people and runs that died move a plan, too.
        is_new = home is None or home.told != now
        if home is not None and not is_new and self._is_shown(home) and not self._is_late(home):
            return ""
        try:
            home = self._settled(home, is_new=is_new)
            if is_new or not self._is_shown(home):
                home = self.forge.tell(home, self._page(home))
                home = home.model_copy(update={"told": now})
            # Also when the pass that saw the end did not live to say so.
            if home.pull and self._is_late(home):
                home = home.model_copy(update={"is_ready": self.forge.offer(home.pull)})
        except (ForgeDown, ForgeRefused) as e:
            why = e.message  # what was not told is told by the next pass
        if home is not None and home.number:
            self._note(home)
        if home is None or why:
            return why
        return self._mention(home.number)

    def _page(self, home: Home) -> Page:
        """Return what is told there; what is waited for depends on there being a place."""
        snapshot, now = copy(self._snapshot), self.reconciler.desk.clock()
        snapshot.state = snapshot.state.model_copy(update={"home": home})
        text = story(snapshot, self.limits, now)
        return Page(marker(snapshot.plan.plan), text, check(snapshot, self.limits, now))

    def _is_shown(self, home: Home) -> bool:
        """Say whether there is nothing to be written, as far as the forge allows it."""
        if not home.number:
            return True  # it is tried again when something has changed
        is_checked = home.check is not None and home.check.sha == self._snapshot.state.flow_sha
        return bool(home.comment) and (is_checked or bool(home.unchecked))

    def _is_late(self, home: Home) -> bool:
        """Say whether a plan is over, and its pull request a draft all the same, or not there."""
        return self._snapshot.state.status == "finished" and home.number > 0 and not home.is_ready

    def _settled(self, home: Home | None, *, is_new: bool) -> Home:
        """Return where the plan is told of; it is looked for, or opened, where that is not known.

        ForgeRefused where there is no place.
        """
        if home is not None and home.pull:
            return home
        state = self._snapshot.state
        issue = home if home is not None and home.issue else None
        found = self.forge.find(state.flow, state.base)  # a person may have opened it
        if found is None and issue is not None and not is_new:
            return issue
        if found is None:
            about = title(self._snapshot), opening(self._snapshot)
            try:
                found = self.forge.open(state.flow, state.base, *about)
            except ForgeRefused as e:
                # Another pass may have been quicker, or an answer was lost.
                found = self.forge.find(state.flow, state.base) if e.status == 422 else None
                if found is None:
                    return issue or self._issue(e)
        if issue is not None:
            self.forge.say(issue.issue, moved(self._snapshot, found.pull))
            self.forge.close(issue.issue)
            names = ("issue", "check", "unchecked", "unchecked_at")
            kept = {name: getattr(issue, name) for name in names}
            found = found.model_copy(update=kept)
        return found

    def _issue(self, why: ForgeRefused) -> Home:
        """Return the issue that stands in for a pull request."""
        snapshot, state = self._snapshot, self._snapshot.state
        by_hand = self.forge.compare(state.flow, state.base)
        body = opening(snapshot, why.message, by_hand)
        try:
            home = self.forge.report(marker(snapshot.plan.plan), title(snapshot), body)
        except ForgeRefused as e:
            told = _digest(snapshot)  # it is tried again when something has changed
            self._note(Home(refused=f"{why.message}; {e.message}", told=told))
            raise
        return home.model_copy(update={"refused": why.message})

    def _mention(self, number: int) -> str:
        """Ping those whom the config names about what they were not told before."""
        whom = self.reconciler.desk.config.notify
        told = due(self.reconciler, self.limits, "mention") if whom else []
        try:
            if told:
                self.forge.say(number, mention(self._snapshot, whom, told))
        except (ForgeDown, ForgeRefused) as e:
            return e.message
        return ""

    def _note(self, home: Home) -> None:
        """Write down where the plan is told of, if that is new."""
        for turn in range(RACES):
            known = self._snapshot.state.home
            if known is not None and known.pull and not home.pull:
                return  # another pass has found a place that this one had not
            try:
                self.reconciler.note("home_noted", _where(home), home=home)
                break
            except LostRace:
                if turn == RACES - 1:
                    raise


def _digest(snapshot: Snapshot) -> str:
    said = repr(matters(snapshot)).encode(errors="replace")
    return hashlib.sha1(said, usedforsecurity=False).hexdigest()[:12]


def _where(home: Home) -> str:
    """Return in a sentence where a plan is told of."""
    where = f"pull request {home.pull}" if home.pull else f"issue {home.issue}"
    said = f"the plan is told of in {where if home.number else 'no pull request'}"
    if home.check is not None:
        said += f", and checked as {home.check.id}"
    why = "; ".join(one for one in (home.refused, home.unchecked) if one)
    return f"{said}: {why}" if why else said


__all__ = ["Telling"]
