"""What has to be asked of the forge before `permission.permit` can decide, and no more than that.

What the forge does not tell is no right: where it cannot be asked, nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from gitflow_agents import permission
from gitflow_agents.commands import Act, Refused
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import Forge, ForgeDown, ForgeRefused
from gitflow_agents.permission import Asker, Rules
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.desk import Desk
from gitflow_agents.store import journal

K = TypeVar("K")
T = TypeVar("T")


class Unasked(Refused):
    """The forge could not be asked who somebody is: the same command may be given again."""

    def __init__(self, why: FlowError) -> None:
        super().__init__(
            "permission-check-failed", why.message, hint="nothing was done; send it again"
        )


@dataclass
class Permitting:
    """Asks one forge about people, each thing once."""

    forge: Forge
    rules: Rules
    starters: Callable[[], frozenset[str]] = frozenset
    """Returns the actors who said `start`, beside who is known to the state."""
    _levels: dict[tuple[str, int], str] = field(default_factory=dict)
    _teams: dict[tuple[str, str], bool] = field(default_factory=dict)
    _authors: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def asker(
        self,
        login: str,
        id: int,
        *,
        is_bot: bool = False,
        is_own: bool = False,
        from_fork: bool = False,
    ) -> Asker:
        """Return somebody with what they may do here; Unasked where that cannot be asked.

        Who is refused for another reason is not asked for.
        """
        who = Asker(
            login, id, is_bot=is_bot, is_own=is_own, from_fork=from_fork, host=self.forge.host
        )
        if is_own or from_fork or (is_bot and not permission.standing(who, self.rules)):
            return who
        level = _asked(self._levels, (login, id), lambda: self.forge.level(login, id))
        return replace(who, level=level)

    def permit(
        self,
        command: Act,
        asker: Asker,
        snapshot: Snapshot | None,
        *,
        recent: Sequence[float] = (),
        now: float = 0.0,
    ) -> None:
        """Raise Refused unless somebody may give a command; the teams and authors are asked for.

        `recent` and `now` are as those of `permission.permit`.
        """
        about = (self.rules, snapshot)
        try:
            permission.permit(command, asker, *about, recent=recent, now=now)
        except Refused as refused:
            if refused.reason_code != "not-allowed" or asker.is_bot or asker.is_own:
                raise
            named = permission.teams(command, *about)
            joined = frozenset(team for team in sorted(named) if self._is_in(team, asker))
            if not joined:
                raise
            asker = replace(asker, teams=joined)
        # Whose work it is, is asked only of those who might approve it.
        permission.permit(
            command, asker, *about, authors=self._authors_of(command, asker, snapshot)
        )

    def doubt(self, login: str, id: int, *, is_bot: bool = False) -> str:
        """Return why what somebody proposes waits for an approval; empty where it does not.

        Without a login it is somebody of whom nothing is known but that they could push.
        """
        if not login:
            return permission.doubt(None, self.rules)
        try:
            asker = self.asker(login, id, is_bot=is_bot)
            found = permission.doubt(asker, self.rules)
            if found and not is_bot:
                named = permission.starters(self.rules)
                joined = frozenset(team for team in sorted(named) if self._is_in(team, asker))
                found = permission.doubt(replace(asker, teams=joined), self.rules)
        except Unasked as e:
            return f"whether {login} may start it is not known: {e.message}"
        return found

    def _is_in(self, team: str, asker: Asker) -> bool:
        login = asker.login
        return _asked(self._teams, (team, login), lambda: self.forge.is_in_team(team, login))

    def _authors_of(self, command: Act, asker: Asker, snapshot: Snapshot | None) -> frozenset[str]:
        if snapshot is None or asker.is_local or self.rules.config.allow_self_approval:
            return frozenset()
        work, flow = permission.work(command, snapshot), snapshot.state.flow_sha
        spans = [*((sha, "") for sha in work.commits), *((sha, flow) for sha in work.results)]
        found = {*work.actors, *(self.starters() if work.commits else ())}
        for span in spans:
            people = _asked(self._authors, span, partial(self.forge.authors, *span))
            found |= {*people}
        return frozenset(found)


def permitting_of(desk: Desk, forge: Forge) -> Permitting:
    """Return who asks a forge about the people of one plan."""
    repository = desk.store.repository
    return Permitting(forge, desk.rules(), lambda: journal.starters(repository, desk.snapshot.tree))


def _asked(known: dict[K, T], key: K, ask: Callable[[], T]) -> T:
    """Return what was asked for before, or is asked for now; Unasked when that does not work."""
    if key not in known:
        try:
            known[key] = ask()
        except (ForgeDown, ForgeRefused) as e:
            raise Unasked(e) from e
    return known[key]


__all__ = ["Permitting", "Unasked", "permitting_of"]
