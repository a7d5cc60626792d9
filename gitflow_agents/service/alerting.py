"""Which alerts are due: what a person must know and was not told yet, by each way of telling.

The state notes an alert before it is told.  So it is told at most once, however many processes look
at the plan; one that gets lost on its way is still in `status`, and in the comment of the plan.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gitflow_agents.errors import LostRace
from gitflow_agents.models import Limits
from gitflow_agents.render import count
from gitflow_agents.render.alerts import Alert, alerts, parcel
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft, Offline, RefRefused
from gitflow_agents.webhook import NotDelivered, Webhook

Way = Literal["mention", "webhook"]
"""How a person is told."""
PATIENCE = 20.0
"""Seconds that the end of a run waits for what is on its way."""


def due(reconciler: Reconciler, limits: Limits, way: Way) -> list[Alert]:
    """Return what was not told in this way before, and note that it is; empty when in doubt."""
    if not _news(reconciler, limits, way):
        return []
    new: list[Alert] = []

    def stage(draft: Draft) -> None:
        found = _news(reconciler, limits, way)
        if found is not None:
            keys, news = found
            new.extend(news)
            draft.set(alerted={**draft.snapshot.state.alerted, way: keys})
            told = "; ".join(one.key for one in news) or "nothing waits any more"
            draft.tell("alerts_noted", note=f"told by {way}: {told}")

    try:
        reconciler.write(stage)
    except (LostRace, Offline, RefRefused):
        return []  # the next pass looks again
    return new


def _news(
    reconciler: Reconciler, limits: Limits, way: Way
) -> tuple[tuple[str, ...], list[Alert]] | None:
    """Return the keys of all that stands now and the alerts that are new; None: nothing to note."""
    desk = reconciler.desk
    known = desk.snapshot.state.alerted.get(way, ())
    now = {one.key: one for one in alerts(desk.snapshot, limits, desk.clock())}
    keys = tuple(now)
    if set(keys) == set(known):
        return None
    return keys, [one for key, one in now.items() if key not in known]


@dataclass
class Bell:
    """Sends alerts of one plan to a webhook, beside the work."""

    reconciler: Reconciler
    limits: Callable[[], Limits]
    webhook: Webhook
    repository: str
    warn: Callable[[str], None]
    _threads: list[threading.Thread] = field(default_factory=list)

    def ring(self) -> None:
        """Send what is due; nothing waits for it."""
        told = due(self.reconciler, self.limits(), "webhook")
        if told:
            desk = self.reconciler.desk
            body = parcel(desk.snapshot, self.repository, told, desk.clock())
            thread = threading.Thread(target=self._send, args=(body, told), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _send(self, body: Mapping[str, Any], told: Sequence[Alert]) -> None:
        try:
            self.webhook.send(body)
        except NotDelivered as e:
            self.warn(f"{count(len(told), 'alert')} did not get through: {e.message}")

    def begin(self, free: int) -> None:
        """Do nothing: what waited already is told at the first ring."""

    def close(self, is_hurried: Callable[[], bool] = bool) -> None:
        """Wait a little for what is on its way."""
        for thread in self._threads:
            thread.join(PATIENCE)


__all__ = ["Bell", "Way", "due"]
