"""Concurrency groups: who may go on, who waits, and who is cancelled for it.

Start with Groups.enter. One holds a group; of those that wait, `queue: single` keeps the newest and
`queue: max` keeps a hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

MOST_WAITING = 100


@dataclass
class _Holder:
    who: object
    wake: Callable[[], None]
    drop: Callable[[], None]


@dataclass
class _Group:
    holder: _Holder | None = None
    waiting: list[_Holder] = field(default_factory=list)


class Groups:
    """All groups of a hub, by their name in small letters."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def enter(
        self,
        name: str,
        who: object,
        wake: Callable[[], None],
        drop: Callable[[], None],
        *,
        queue: str,
        cancels: bool,
    ) -> bool:
        """Return whether somebody holds the group at once.

        Else `wake` is called when its turn has come, or `drop` when another takes its place; `drop`
        is also what a holder hears that is to be cancelled.
        """
        group = self._groups.setdefault(name, _Group())
        new = _Holder(who, wake, drop)
        if group.holder is None:
            group.holder = new
            return True
        if queue == "max":
            if len(group.waiting) >= MOST_WAITING:
                drop()
            else:
                group.waiting.append(new)
            return False
        replaced, group.waiting = group.waiting, [new]
        for one in replaced:
            one.drop()
        if cancels:
            group.holder.drop()
        # Where nothing of the old one was running yet, it is gone already.
        return group.holder is new

    def leave(self, name: str, who: object) -> None:
        """Give a group to the one that waited longest, or take somebody out of those who wait."""
        group = self._groups[name]
        if group.holder is None or group.holder.who is not who:
            self.forget(name, who)
            return
        group.holder = group.waiting.pop(0) if group.waiting else None
        if group.holder is not None:
            group.holder.wake()

    def forget(self, name: str, who: object) -> None:
        """Take somebody out of those who wait."""
        group = self._groups[name]
        group.waiting = [one for one in group.waiting if one.who is not who]
