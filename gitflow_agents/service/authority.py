"""Who decides on a plan: this repository, or a remote.

A plan has one authority, and its state says which.  The local state says it where there is one;
else whatever remote was seen to have the state.  Everything else asks `Authorities` for a store,
and need not know which it got.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from gitflow_agents import spec
from gitflow_agents.errors import FlowError
from gitflow_agents.models import LOCAL
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.store import Known, Offline, Remote, Store
from gitflow_agents.store.remote import (
    GLANCE_SECONDS,
    plans_of_remotes,
    remotes_that_know,
    usual_remote,
)
from gitflow_agents.store.state import state_ref


@dataclass
class Authorities:
    """The stores of one repository's plans, by what decides on them."""

    local: Store
    on_offline: Callable[[str], None] = lambda text: None
    """Is told why what is shown is what was known last."""
    _stores: dict[tuple[str, str], Store] = field(default_factory=dict)
    _states: dict[str, dict[str, str]] = field(default_factory=dict)
    """What states say of the plan as a whole, by the blob that holds it: few events change it."""

    def at(self, plan: str) -> Store:
        """Return the store of what decides on a plan; the local one for a new plan."""
        told = self.told(plan)
        if told == LOCAL:
            return self.local
        known = remotes_that_know(self.local.repository, plan)
        remote = known[0] if known else told
        return self.store(remote, plan) if remote else self.local

    def told(self, plan: str) -> str:
        """Return what the local state says of who decides; nothing where there is none."""
        tip = self.local.refs.resolve(state_ref(plan))
        return self._state(tip).get("authority", LOCAL) if tip else ""

    def _state(self, tip: str) -> dict[str, str]:
        """Return what a state says of the plan as a whole; a damaged one is for its reader."""
        repository = self.local.repository
        with contextlib.suppress(FlowError):
            entry = repository.find(repository.commit(tip).tree, "plan.yaml")
            if entry is None:
                return {}
            if entry.sha in self._states:
                return self._states[entry.sha]
            state = spec.from_yaml(repository.blob(entry.sha))
            if isinstance(state, dict):
                texts = {key: value for key, value in state.items() if isinstance(value, str)}
                home = state.get("home")
                said = home if isinstance(home, dict) else {}
                texts |= {name: str(said[name]) for name in ("pull", "issue") if said.get(name)}
                for name in ("ending", "commands"):
                    if state.get(name):
                        texts[name] = "still"
                return self._states.setdefault(entry.sha, texts)
        return {}

    def home(self, tip: str) -> tuple[int, ...]:
        """Return the pull request, and the issue, in which a plan with this state is told of."""
        state = self._state(tip)
        return tuple(int(state[name]) for name in ("pull", "issue") if name in state)

    def is_over(self, tip: str | None, proposed: str | None) -> bool:
        """Say whether a plan has landed or was closed, with no new text for it and no run left.

        Nor anybody left who gave a command and was not told what came of it.
        """
        state = self._state(tip) if tip else {}
        is_over = state.get("status") in ("landed", "closed")
        is_over &= state.keys().isdisjoint(("ending", "commands"))
        return is_over and proposed in (None, state.get("commit"))

    def store(self, remote: str, plan: str) -> Store:
        """Return the store of a plan on which a remote decides."""
        if (remote, plan) not in self._stores:
            store = Store(self.local.repository, Remote(self.local.refs, remote, plan))
            store.config = self.local.config
            tip = store.refs.resolve(state_ref(plan))
            state = self._state(tip) if tip else {}
            if {"flow", "base"} <= state.keys():  # so that one look reads these, too
                store.refs.include(state["flow"], state["base"])
            self._stores[remote, plan] = store
        return self._stores[remote, plan]

    def plans(self) -> list[str]:
        """Return the names of all plans that were ever accepted, here or at a remote."""
        return sorted({*self.local.plans(), *plans_of_remotes(self.local.repository)})

    def is_at(self, remote: str, plan: str) -> bool:
        """Say whether a remote has a plan, as far as can be told; it is known from then on."""
        refs = self.store(remote, plan).refs
        assert isinstance(refs, Remote)
        with contextlib.suppress(FlowError):
            if refs.is_there(state_ref(plan), GLANCE_SECONDS):
                refs.glance()
        return refs.resolve(state_ref(plan)) is not None

    def look(self, plan: str, at: str = "", known: Known | None = None) -> Snapshot | None:
        """Return a plan as it is now; where its remote cannot be reached, as it was known last."""
        store, refs = self.at(plan), self.at(plan).refs
        if not isinstance(refs, Remote):
            return store.load(plan, at, known)
        offline: Offline | None = None
        try:
            refs.glance()
            snapshot = store.load(plan, at, known)
            refs.glance()  # the first time its flow was not known before
        except Offline as e:
            offline, snapshot = e, store.load(plan, at, known)
        if offline is not None and snapshot is None:
            raise offline
        if offline is not None and snapshot is not None:
            snapshot.as_of = refs.fetched_at
            self.on_offline(offline.message)
        return snapshot

    def load(self, plan: str) -> tuple[Store, Snapshot | None]:
        """Return a plan to decide on, with its store; Offline where its remote is not reached."""
        store = self.at(plan)
        store.refs.refresh()
        snapshot = store.load(plan)
        store.refs.refresh()  # the first time its flow was not known before
        return store, snapshot

    def beginning(self, plan: str, remote: str, asked: str, tell: Callable[[str], None]) -> Store:
        """Return the store of what decides on a plan, or will when it begins now.

        `remote` was named by the person, `asked` by them or the config.  Raises FlowError where
        another one decides already.
        """
        store = self.at(plan)
        if store.refs.is_local and not self.told(plan):
            if not asked:
                return self._found(plan, tell)
            store = self.store(asked, plan)
            store.refs.refresh()
        elif remote and store.refs.name != remote:
            is_local = store.refs.is_local
            there = f"gitflow-agents push {plan} --remote {remote} moves it there"
            raise FlowError(
                f"{'this repository' if is_local else store.refs.name} decides on plan {plan}, "
                f"not {remote}",
                hint=there if is_local else f"leave --remote out: gitflow-agents run {plan}",
            )
        return store

    def _found(self, plan: str, tell: Callable[[str], None]) -> Store:
        """Return the store of the usual remote where that has the plan, else the local one."""
        remote = usual_remote(self.local.repository)
        if remote:
            store = self.store(remote, plan)
            assert isinstance(store.refs, Remote)
            try:
                # Asked, not fetched: where it has none, nothing of it is kept here.
                if store.refs.is_there(state_ref(plan)):
                    store.refs.refresh()
                    return store
            except Offline as e:
                tell(f"whether {remote} has a plan {plan} cannot be told, so it begins here: {e}")
        return self.local

    def close(self) -> None:
        """End what was kept open."""
        for store in self._stores.values():
            store.refs.close()


__all__ = ["Authorities"]
