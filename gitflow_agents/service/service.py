"""Everything that a door can ask: read a plan, look at it, run it.

A door parses, calls one method here, and prints what comes back.
"""

from __future__ import annotations

import contextlib
import heapq
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitflow_agents import owners, render, scheduler, spec
from gitflow_agents.commands import Act, AddTask, Refused, is_group, names
from gitflow_agents.errors import FlowError, LostRace, UsageError
from gitflow_agents.execute import Executor
from gitflow_agents.graph import estimate
from gitflow_agents.models import (
    LOCAL,
    SCHEMA,
    Limits,
    Plan,
    Reason,
    Status,
)
from gitflow_agents.permission import Rules
from gitflow_agents.replan import Revision, revise
from gitflow_agents.runner import Stop
from gitflow_agents.scheduler import Seen, Snapshot
from gitflow_agents.service import crew
from gitflow_agents.service.accept import accept, all_can_start, begun
from gitflow_agents.service.acting import RECORDABLE, Acting, Also, Outcome, at_terminal
from gitflow_agents.service.desk import Desk, Told
from gitflow_agents.service.looking import Logged, Views, blob_sha, given_by
from gitflow_agents.service.opening import Opened, Opening
from gitflow_agents.service.proposing import (
    Proposal,
    find_base,
    plan_path,
    proposal_of,
    propose,
    proposing,
)
from gitflow_agents.service.pushing import Pushed, push
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.run import Beside, Run, RunEnd, run_id
from gitflow_agents.store import (
    Draft,
    Guard,
    Store,
    Worktrees,
    create_repository,
)
from gitflow_agents.store.remote import usual_remote
from gitflow_agents.store.repository import FILE, FOLDER
from gitflow_agents.store.state import HEADS, plan_ref, state_ref
from gitflow_agents.webhook import Webhook, webhook

if TYPE_CHECKING:
    from gitflow_agents.service.alerting import Bell

MOST_WARNINGS = 3
"""Warnings of a plan that a run prints; `validate` prints all."""
_PLAN_REFS = (plan_ref, state_ref)


class Service(Views):
    """The plans of one repository, for one person at one door."""

    @cached_property
    def rules(self) -> Rules:
        """Return what the default branch says of commands: its config, and who owns its paths."""
        tree, read = self._default[1], self.repository.read
        found = (read(tree, path) for path in owners.PLACES if tree)
        data = next((one for one in found if one is not None), b"")
        text = data.decode(errors="replace") if len(data) <= owners.MOST_BYTES else ""
        return Rules(self.config, owners.read(text))

    # --- go ---------------------------------------------------------------------------------------

    def run(
        self,
        plan: str,
        *,
        jobs: int | None = None,
        barrier: bool = False,
        remote: str = "",
        watch: bool = False,
        on_event: Callable[[Told], None],
    ) -> RunEnd:
        """Run a plan until nothing can move; accept it first when it is new.

        `remote` is to decide on it, if it begins now; with `watch` the run stays until somebody
        interrupts it, and goes on with what is pushed or said.
        """
        _ = self.handbook
        hook = webhook(self.environ)

        def say(event: str, text: str) -> None:
            about = {"schema": SCHEMA, "event": event, "at": render.utc(self.clock())}
            on_event(Told(event, text, {**about, "plan": self._name(plan), "text": text}))

        def warn(text: str) -> None:
            say("warning", text)

        if self.config and self._config_aside:
            warn(self._config_aside)
        snapshot = self._accepted(plan, on_event, self._beginning_at(plan, remote, warn))
        for task in snapshot.plan.tasks:
            self.handbook.role(snapshot.plan, task)  # raises for one that is gone
        for said in crew.ensure(snapshot, self.handbook, self.config, self.environ):
            warn(said)
        desk = self.desk(snapshot, on_event)
        desk.worktrees.exclude()
        stop, reconciler = desk.executor.stop, Reconciler(desk)
        desk.store.refs.is_hurried = self.store.refs.is_hurried = stop.is_set
        beside: list[Beside] = [self.bell(reconciler, hook, warn)] if hook else []
        about: tuple[str, ...] = ()
        if self.config.projects is not None or self.config.issues is not None:
            # It needs what is slow to import.
            from gitflow_agents.service.following import following

            own = Service(str(self.directory), environ=self.environ, clock=self.clock)
            follower, about = following(own, snapshot, say)
            beside += [follower] if follower is not None else []
        try:
            return Run(desk, reconciler, jobs, barrier, stop, on_event, beside, about, watch).go()
        finally:
            # What an agent may have written there would be shown as the truth.
            shutil.rmtree(self._cache_file("").parent, ignore_errors=True)

    def bell(self, reconciler: Reconciler, hook: Webhook, warn: Callable[[str], None]) -> Bell:
        """Return what tells a webhook of a plan."""
        from gitflow_agents.service.alerting import Bell  # few have a webhook

        named = self.environ.get("GITHUB_REPOSITORY") or self.repository.home.name

        def limits() -> Limits:
            return scheduler.limits_of(reconciler.desk.snapshot.plan, self.config)

        return Bell(reconciler, limits, hook, named, warn)

    def propose(self, plan: str, data: bytes) -> str:
        """Commit a checked plan file to `plan/<plan>` for the person and return the commit."""
        name, _ = self._source(plan)
        reading = self._checked(name, data)
        store, snapshot = self.authorities.load(reading.plan.plan)
        if snapshot is not None:
            self._revision(snapshot, data)  # raises where it cannot be accepted
        _, base = find_base(store, reading.plan, self.config)
        return propose(store, reading.plan.plan, data, base, self.actor)

    def _beginning_at(self, plan: str, remote: str, tell: Callable[[str], None]) -> Store:
        """Return the store of what decides on a plan, or will when it begins now."""
        name, asked = self._name(plan), remote or self.config.remote or ""
        store = self.authorities.beginning(name, remote, asked, tell)
        is_announced = self.authorities.told(name) not in ("", LOCAL)
        if is_announced and store.refs.resolve(state_ref(name)) is None:
            self.push(name, store.refs.name)  # one that was cut off
        return store

    def push(self, plan: str, remote: str = "", *, dry_run: bool = False) -> Pushed:
        """Let a remote decide on a plan: the one that is named, the config's, or the usual one."""
        name = self._name(plan)
        remote = remote or self.config.remote or usual_remote(self.repository)
        if not remote:
            raise UsageError(
                "nobody says which remote is to decide",
                hint=f"gitflow-agents push {name} --remote NAME; git remote -v lists them",
            )
        return push(self.authorities, name, remote, self.actor, dry_run=dry_run)

    def offer(self, plan: str, remote: str) -> str:
        """Commit a plan's newest text here to its branch at a remote, unless that has it.

        Returns the plan's name.  Raises FlowError where it cannot be accepted there, and where
        this repository decides on the plan.
        """
        name, data = self._source(plan)
        if self.authorities.told(name) == LOCAL:
            raise FlowError(
                f"this repository decides on plan {name}, and nobody elsewhere",
                hint=f"gitflow-agents push {name} --remote {remote} moves it there",
            )
        store = self.authorities.store(remote, name)
        with store.refs.lock():
            store.refs.refresh(force=True)
            there = self._on_branch(store, name)
            if data is None and there is None and self.repository.resolve(plan_ref(name)):
                data = proposal_of(self.store, name).data  # what the person's own branch holds
            snapshot = store.load(name)
            if snapshot is not None:
                store.refs.refresh()  # its flow is known now
                self._propose_change(store, snapshot, data)
            elif data is not None and data != there:
                if there is not None:
                    raise self._two_texts(name)
                reading = self._checked(name, data, file=self._shown(plan, name))
                _, base = find_base(store, reading.plan, self.config)
                propose(store, name, data, base, self.actor)
            elif there is None:
                raise self._unknown(name)
        return name

    def desk(self, snapshot: Snapshot, on_event: Callable[[Told], None]) -> Desk:
        """Return the tools of this process for one plan."""
        worktrees = Worktrees(self.repository, self.config.worktrees)
        store = self.at(snapshot.plan.plan)
        # An agent can reach the refs of this repository, whoever decides.
        flows = (f"{HEADS}{snapshot.state.flow}",) if store.refs.is_local else ()
        guard = Guard(self.store.refs, flows)
        executor = Executor(
            self.repository,
            worktrees,
            guard,
            self.config,
            self.environ,
            Stop(),
            self.clock,
            self.elapsed,
        )
        name = snapshot.plan.plan
        desk = Desk(
            store,
            self.config,
            worktrees,
            executor,
            snapshot,
            self.actor,
            on_event,
            # By then the desk has a newer snapshot, in which more is merged.
            lambda data: self._checked(
                name, data, file=self._shown(name, name), more=given_by(desk.snapshot)
            ),
            lambda: self.handbook,
            lambda: self.rules,
            self.doubt,
            run_id(),
            self.clock,
        )
        return desk

    def unstarted(self, remote: str) -> dict[str, tuple[str, bytes]]:
        """Return path and text of each plan file on a remote's default branch that nobody started.

        One was started where the remote has its state, or the branch its report; what is proposed
        on `plan/<plan>` counts in its place.
        """
        repository = self.repository
        branch = f"refs/remotes/{remote}/{repository.default_branch()}"
        tip = repository.resolve(f"{branch}^{{commit}}")
        folder = repository.find(repository.commit(tip).tree, "plans") if tip else None
        files = repository.tree(folder.sha) if folder and folder.mode == FOLDER else {}
        found: dict[str, tuple[str, bytes]] = {}
        for file, entry in files.items():
            stem = file.removesuffix(".yaml")
            if stem == file or "." in stem or entry.mode != FILE:
                continue
            data = repository.blob(entry.sha)
            name = spec.plan_name(data, default=stem)
            refs = (f"refs/remotes/{remote}/{ref(name).removeprefix(HEADS)}" for ref in _PLAN_REFS)
            left = {f"{name}.report.md", f"{name}.provides.yaml"} & files.keys()
            if not spec.bad_plan_name(name) and not left and not any(map(repository.resolve, refs)):
                found.setdefault(name, (f"plans/{file}", data))
        return found

    def started(self, plans: Sequence[str]) -> list[str]:
        """Return the names of plans that were accepted: those named, or all of them."""
        known = self.authorities.plans()
        names = [self._source(plan)[0] for plan in plans]
        for name in names:
            if name not in known:
                raise FlowError(
                    f"plan {name} was never started", hint=f"gitflow-agents run {name} starts it"
                )
        return names if plans else known

    def settle(self, plan: str) -> Snapshot | None:
        """Do what a run does first: end what nobody works on any more; start nothing."""
        with self.at(plan).refs.lock():
            _, snapshot = self.authorities.load(plan)
            if snapshot is None:
                return None
            desk = self.desk(snapshot, lambda told: None)
            desk.executor.guard.begin()
            reconciler = Reconciler(desk)
            while reconciler.step(self.limits(snapshot), 0, barrier=False, stopping=True).acted:
                pass
            reconciler.refresh()
            reconciler.clear_worktrees()
            reconciler.clear_branches()
        shutil.rmtree(self._cache_file("").parent, ignore_errors=True)
        return desk.snapshot

    # --- acting -----------------------------------------------------------------------------------

    def meant(self, words: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """Return the plan that target words are about, and the targets in it.

        A word is `PLAN/TARGET`, a plan's name, or a target where one live plan can be meant.
        """
        plans: dict[str, None] = {}
        targets: list[str] = []
        known = self.authorities.plans()
        for word in words:
            plan, _, target = word.rpartition("/")
            if word.endswith((".yaml", ".yml")):
                plans[self._source(word)[0]] = None
            elif plan:
                plans[plan] = None
                targets.append(target)
            elif word in known:
                plans[word] = None
            else:
                targets.append(word)
        if not plans:
            ids = [target for target in targets if not is_group(target)]
            try:
                plans[self.task(ids[0])[0].plan.plan if ids else self._only_plan()] = None
            except FlowError:
                if not ids or not self._is_elsewhere(ids[0]):
                    raise
                plans[ids[0]] = None
                targets.remove(ids[0])
        if len(plans) > 1:
            raise UsageError(
                f"one command is for one plan, not for {' and '.join(plans)}",
                hint="give it once for each",
            )
        (plan,) = plans
        if plan not in known and not self._is_elsewhere(plan):
            if plan in self._names():
                raise FlowError(
                    f"plan {plan} was never started", hint=f"gitflow-agents run {plan} starts it"
                )
            raise self._unknown(plan)
        return plan, tuple(targets)

    def handle(
        self,
        command: Act,
        plan: str,
        *,
        dry_run: bool = False,
        on_event: Callable[[Told], None] = lambda told: None,
    ) -> Outcome:
        """Carry out a command on a plan; Refused when it is not allowed or not possible."""
        outcome = self._record(command, plan, dry_run, on_event)
        if outcome is not None:
            return outcome
        _, snapshot = self.authorities.load(plan)
        if snapshot is None:
            raise self._unknown(plan)
        if isinstance(command, AddTask):
            at_terminal(command, snapshot)
            return self.add_tasks(command, snapshot, self.at(plan), self.actor, dry_run=dry_run)
        desk = self.desk(snapshot, on_event)
        desk.worktrees.exclude()
        desk.executor.guard.begin()
        acting = Acting(Reconciler(desk), self.limits(snapshot))
        try:
            return acting.handle(command, dry_run=dry_run)
        finally:
            shutil.rmtree(self._cache_file("").parent, ignore_errors=True)

    def _record(
        self, command: Act, plan: str, dry_run: bool, on_event: Callable[[Told], None]
    ) -> Outcome | None:
        """Carry out a command whose price does not grow with the plan; None where it needs all."""
        tasks = command.targets
        if type(command) not in RECORDABLE or not tasks or any(map(is_group, tasks)):
            return None
        store = self.at(plan)

        def record() -> Outcome | None:
            snapshot = store.load_slice(plan, tasks)
            if snapshot is None:
                return None
            acting = Acting(Reconciler(self.desk(snapshot, on_event)), self.limits(snapshot))
            with contextlib.suppress(LostRace):
                return acting.record(command, dry_run=dry_run)
            return None

        if store.refs.is_local and not dry_run:
            # Decided before the lock is held, so that nobody waits for what others decide. Only
            # what changes something counts: a refusal may be of what a dead run has not completed.
            with contextlib.suppress(Refused):
                outcome = record()
                if outcome is not None and outcome.changed:
                    return outcome
        with store.refs.lock():
            store.refs.refresh()
            return record()

    def add_tasks(
        self,
        command: AddTask,
        snapshot: Snapshot,
        store: Store,
        actor: str,
        *,
        dry_run: bool = False,
        also: Also | None = None,
    ) -> Outcome:
        """Commit a plan's newest text with tasks added, checked as a whole, to its branch.

        `also` is written together with that, and in any case.
        """
        draft = Draft(snapshot, actor)
        with store.refs.lock():
            outcome = self._add_tasks(command, store, draft, dry_run)
            if also is not None:
                also(draft, outcome)
            if draft.events:
                store.commit(draft)
            else:
                store.refs.move(draft.ordered_moves())
        return outcome

    def _add_tasks(self, command: AddTask, store: Store, draft: Draft, dry_run: bool) -> Outcome:
        snapshot = draft.snapshot
        name, state = snapshot.plan.plan, snapshot.state
        if command.targets:
            raise Refused("bad-value", "add-task takes a plan and no task")
        keys = command.keys
        block = spec.to_yaml(keys).decode() if keys else command.text
        before = store.refs.resolve(plan_ref(name))
        if before:
            data = proposal_of(store, name).data
        else:
            data = self.repository.read(snapshot.tree, "spec.yaml") or b""
        added = spec.with_tasks(data, block, plan=name)
        if not added.ids:
            there = f"plan {name} has that already, as {names(added.present)}"
            return Outcome(name, False, (there,), "", snapshot)
        self._revision(snapshot, added.data)  # raises where it cannot be accepted
        what = names(added.ids)
        said = [f"{what} is added to plan/{name}; the next pass, or run, takes it up"]
        if dry_run:
            return Outcome(name, False, tuple(said), f"edit {name}", snapshot, would=True)
        message = f"plan {name}: add {what}"
        move = proposing(store, name, added.data, state.base_sha, draft.actor, message)
        draft.move(*move)
        if "plan" in {*snapshot.plan.approval, *snapshot.approval}:
            said.append("the new text of the plan needs an approval")
        path = plan_path(name)
        mine = (self.repository.top or self.directory) / path
        if mine.is_file() and mine.read_bytes() != added.data:
            said.append(f"{path} in your checkout has it not yet: git show plan/{name}:{path}")
        undo = f"git update-ref {plan_ref(name)} {before} {move[2]}" if before else f"edit {name}"
        return Outcome(name, True, tuple(said), undo, snapshot)

    def open_task(self, target: str, *, dry_run: bool = False) -> tuple[str, str, Opened]:
        """Return the plan, the id and a folder with a task's files: to work in, or to look at."""
        snapshot, task = self.task(target)
        opening = self._opening(snapshot.plan.plan)
        heads = self.store.refs.heads()
        opened = opening.open(snapshot, task, self.actor, heads, dry_run=dry_run)
        return snapshot.plan.plan, task, opened

    def close_task(self, plan: str, task: str, opened: Opened) -> bool:
        """Remove a folder that was opened, unless somebody needs it; say whether it stays."""
        snapshot = self.at(plan).load(plan)
        is_theirs = snapshot is not None and snapshot.record(task).taken_by == self.actor
        if not opened.is_ours or (opened.branch and is_theirs):
            return True
        opening = self._opening(plan)
        opening.close(plan, task, opened.commit)
        return opened.path.exists()

    def _opening(self, plan: str) -> Opening:
        worktrees = Worktrees(self.repository, self.config.worktrees)
        return Opening(self.repository, worktrees, self.at(plan).refs)

    def _accepted(
        self, plan: str, on_event: Callable[[Told], None], store: Store | None = None
    ) -> Snapshot:
        name, data = self._source(plan)
        return self.accepted(
            name, data, store or self.at(name), on_event, file=self._shown(plan, name)
        )

    def accepted(
        self,
        name: str,
        data: bytes | None,
        store: Store,
        on_event: Callable[[Told], None],
        *,
        file: str = "",
    ) -> Snapshot:
        """Return a plan that was accepted, or is now: from a text, or from its branch."""
        with store.refs.lock():
            store.refs.refresh()
            snapshot = store.load(name)
            if snapshot is not None:
                store.refs.refresh()  # the first time its flow was not known before
                self._propose_change(store, snapshot, data)
                place = store.refs.heads().get(f"{HEADS}{snapshot.state.flow}")
                if place is not None and snapshot.state.status == "live":
                    raise FlowError(
                        f"the flow branch {snapshot.state.flow} is checked out in {place}",
                        hint="git switch --detach",
                    )
                return snapshot
            proposal = self._proposal(store, name, data)
            reading = self._checked(name, proposal.data, file=file)
            about = self.config, self.handbook, self.actor, self.doubt()
            snapshot = accept(store, proposal, reading.plan, *about)

        def tell(event: str, text: str) -> None:
            at = render.utc(self.clock())
            data = {"schema": SCHEMA, "event": event, "at": at, "plan": name}
            on_event(Told(event, text, {**data, "text": text}))

        for warning in reading.warnings[:MOST_WARNINGS]:
            tell("warning", str(warning))
        more = len(reading.warnings) - MOST_WARNINGS
        if more > 0:
            tell("warning", f"and {more} more warnings: gitflow-agents validate {file or name}")
        if self._is_uncommitted(snapshot):
            path, flow = plan_path(name), snapshot.state.flow
            tell("warning", f"{path} is not committed; commit it, or it is in the way of {flow}")
        tasks = render.count(len(reading.plan.tasks), "task")
        tell("plan_accepted", f"plan {name} accepted as v1: {tasks}")
        return snapshot

    def _is_uncommitted(self, snapshot: Snapshot) -> bool:
        """Say whether the plan's file lies in the checkout but not in the base: no merge then."""
        path = plan_path(snapshot.plan.plan)
        base = self.repository.commit(snapshot.state.base_sha).tree
        lies_there = self.repository.top is not None and (self.repository.top / path).exists()
        return lies_there and self.repository.find(base, path) is None

    def _proposal(self, store: Store, name: str, data: bytes | None) -> Proposal:
        """Return what is to be accepted; a file and a plan branch must not say different things."""
        if not store.refs.resolve(plan_ref(name)):
            if data is None and not store.refs.is_local and self.repository.resolve(plan_ref(name)):
                data = proposal_of(self.store, name).data  # what the person's own branch holds
            if data is None:
                raise self._unknown(name)
            return Proposal(name, data)
        proposed = proposal_of(store, name)
        if data is not None and data != proposed.data:
            raise self._two_texts(name)
        return proposed

    def _propose_change(self, store: Store, snapshot: Snapshot, data: bytes | None) -> None:
        """Commit a changed file to the plan's branch, from where a pass takes it; the lock is held.

        Raises InvalidFile or FlowError, with nothing changed, where it cannot be the next revision.
        """
        name, state = snapshot.plan.plan, snapshot.state
        if data is None:
            return
        tip = store.refs.resolve(plan_ref(name))
        there = self._on_branch(store, name)
        if there == data:
            return
        if there is not None and tip != state.refused and self._is_open(snapshot, there):
            raise self._two_texts(name)
        if self._revision(snapshot, data) is not None:
            propose(store, name, data, state.base_sha, self.actor)

    def _on_branch(self, store: Store, name: str) -> bytes | None:
        """Return the text on a started plan's branch; None where there is no branch or no file."""
        tip = store.refs.resolve(plan_ref(name))
        if tip is None:
            return None
        return self.repository.read(self.repository.commit(tip).tree, plan_path(name))

    def _is_open(self, snapshot: Snapshot, data: bytes) -> bool:
        """Say whether a text says something that was not accepted yet."""
        try:
            return self._revision(snapshot, data) is not None
        except FlowError:
            return True

    def _revision(self, snapshot: Snapshot, data: bytes) -> tuple[Plan, Revision] | None:
        """Return what a new text changes, or None when it says what was accepted."""
        if blob_sha(data) == snapshot.state.digest:
            return None
        name = snapshot.plan.plan
        plan = self._checked(name, data, more=given_by(snapshot)).plan
        if plan == snapshot.plan:
            return None
        all_can_start(plan, self.config, self.handbook)
        return plan, revise(snapshot, plan, self.actor)

    def _next_revision(
        self, snapshot: Snapshot, data: bytes | None
    ) -> tuple[tuple[Plan, Revision] | None, FlowError | None]:
        """Return what a run would accept, or why it would refuse what the plan's branch holds.

        Raises FlowError where a file is named with which a run would not begin.
        """
        name, state = snapshot.plan.plan, snapshot.state
        store = self.at(name)
        tip, there = store.refs.resolve(plan_ref(name)), self._on_branch(store, name)
        if data is not None and data != there:
            if there is not None and tip != state.refused and self._is_open(snapshot, there):
                raise self._two_texts(name)
            return self._revision(snapshot, data), None
        if tip is None or tip == state.commit or state.status in ("landed", "closed"):
            return None, None
        try:
            return self._revision(snapshot, proposal_of(store, name).data), None
        except FlowError as e:
            return None, e

    def _two_texts(self, name: str) -> FlowError:
        return FlowError(
            f"the file and the branch plan/{name} say different things",
            hint=f"look at both: git show plan/{name}:{plan_path(name)}; then commit the one "
            f"that counts there, or run the branch: gitflow-agents run {name}",
        )

    def rehearse(
        self, plan: str, *, jobs: int | None = None, barrier: bool = False, remote: str = ""
    ) -> tuple[str, list[Told]]:
        """Return the plan's name and what `run` would tell, by the same decisions, writing nothing.

        Instead of a time each has the `minutes` since the beginning.
        """
        _ = self.handbook
        store = self._beginning_at(plan, remote, lambda text: None)
        _, data = self._source(plan)
        snapshot = self.open(plan, cached=False)
        steps = self._rehearsed(store, snapshot, data, jobs=jobs, barrier=barrier)
        return snapshot.plan.plan, steps

    def rehearse_at(
        self, store: Store, name: str, data: bytes | None = None, *, jobs: int | None = None
    ) -> list[Told]:
        """Return what a plan would come to where its store is, from a text or as it is there."""
        with store.refs.lock():
            store.refs.refresh()
        snapshot = store.load(name)
        if snapshot is None:
            text = self._proposal(store, name, data).data
            snapshot = self._unstarted(self._checked(name, text).plan, text)
        return self._rehearsed(store, snapshot, data, jobs=jobs)

    def _rehearsed(
        self,
        store: Store,
        snapshot: Snapshot,
        data: bytes | None,
        *,
        jobs: int | None = None,
        barrier: bool = False,
    ) -> list[Told]:
        name, state = snapshot.plan.plan, snapshot.state
        steps = []
        if snapshot.tip:
            new, refused = self._next_revision(snapshot, data)
            if refused is not None:
                text = f"refuse the new text of plan/{name}: {refused.message}"
                steps.append(Told("plan_refused", text, {"event": "plan_refused", "plan": name}))
            if new is not None:
                plan_, revision = new
                number, minutes = state.revision + 1, {"minutes": 0.0, "plan": name}
                text = f"accept plan {name} as v{number}: {'; '.join(revision.said)}"
                about = {"event": "plan_accepted", "revision": number, **minutes}
                steps.append(Told("plan_accepted", text, about))
                records = {t: r for t, r in snapshot.records.items() if t in plan_.by_id}
                tip, tree = snapshot.tip, snapshot.tree
                snapshot = store.snapshot(plan_, state, tip, tree, records)
        else:
            proposal = self._proposal(store, name, data)
            store.refs.include(snapshot.plan.flow_branch)
            find_base(store, snapshot.plan, self.config)
            branches = store.refs.everything()
            begun(store, snapshot.plan, blob_sha(proposal.data), branches)
            all_can_start(snapshot.plan, self.config, self.handbook)
            accepted = {
                "event": "plan_accepted",
                "minutes": 0.0,
                "plan": name,
                "plan_branch": f"plan/{name}",
                "flow": state.flow,
                "base": state.base,
                "authority": store.refs.name,
            }
            where = "" if store.refs.is_local else f" at {store.refs.name}"
            text = f"accept plan {name}: make plan/{name} and {state.flow} from {state.base}{where}"
            steps.append(Told("plan_accepted", text, accepted))
        limits = self.limits(snapshot)
        slots = _slots(jobs, limits)
        return steps + rehearsal(snapshot, limits, slots, self.config.train, barrier)


def rehearsal(
    snapshot: Snapshot, limits: Limits, slots: int, train: int, barrier: bool
) -> list[Told]:
    """Return the steps of a run in which every attempt succeeds after its estimated time."""
    steps: list[Told] = []
    names = spec.branches(snapshot.plan)
    now = 0.0
    busy: list[tuple[float, int, str]] = []
    flow = snapshot.state.flow

    def tell(text: str, event: str, **data: Any) -> None:
        about = {"event": event, "minutes": now, "plan": snapshot.plan.plan, **data}
        steps.append(Told(event, f"{now:5g} min  {text}", about))

    def put(task: str, status: Status) -> None:
        snapshot.apply(snapshot.record(task).model_copy(update={"status": status}))

    for task in sorted(snapshot.seen.lost, key=snapshot.plan.order.__getitem__):
        said = f"take over {task}, whose run died; what it did is kept"
        tell(said, "attempt_expired", task=task, reason=str(Reason.LEASE_LOST))
        put(task, Status.PENDING)
    snapshot.state = snapshot.state.model_copy(update={"train": None})  # its cars are in review
    snapshot.seen = Seen()
    for task in snapshot.by_status[Status.IN_PROGRESS] - snapshot.taken:
        heapq.heappush(busy, (0.0, snapshot.plan.order[task], task))
    while True:
        actions = scheduler.decide(
            snapshot,
            now,
            limits,
            slots=slots - len(busy),
            train=train,
            barrier=barrier,
            follow_base=False,
        )
        done = False
        for action in actions:
            match action:
                case scheduler.Claim(tasks):
                    for task in tasks:
                        put(task, Status.IN_PROGRESS)
                        minutes = estimate(snapshot.plan.by_id[task])
                        place = snapshot.plan.order[task]
                        heapq.heappush(busy, (now + minutes, place, task))
                        title = snapshot.plan.by_id[task].name
                        branch = snapshot.record(task).branch or names[task]
                        said = f"start {task} on {branch}: {title}"
                        tell(said, "attempt_started", task=task, branch=branch)
                    done = True
                case scheduler.StartTrain(tasks):
                    for task in tasks:
                        put(task, Status.COMPLETED)
                        tell(f"merge {task} to {flow}", "task_merged", task=task, flow=flow)
                    done = True
                case scheduler.Finish():
                    tell(f"finish: the report goes to {flow}", "plan_finished", flow=flow)
                    return steps
        if done:
            continue
        if not busy:
            break
        now, _, task = heapq.heappop(busy)
        put(task, Status.REVIEW)
    left = len(snapshot.plan.tasks) - len(snapshot.by_status[Status.COMPLETED])
    if left and snapshot.state.status == "live":
        text = f"stop: {render.count(left, 'task')} cannot start without a person"
        stuck = [t for t in snapshot.plan.order if snapshot.status(t) is not Status.COMPLETED]
        tell(text, "run_ended", left=stuck)
    return steps


def create_demo(directory: str) -> str:
    """Make a small real repository with the quick-start plan in it; return the plan's path."""
    path = Path(directory)
    if path.exists() and any(path.iterdir()):
        raise FlowError(f"{directory} is not empty", hint="name a folder that does not exist yet")
    text = (Path(__file__).parent.parent / "templates" / "quick-start.yaml").read_bytes()
    create_repository(
        path,
        {
            "README.md": b"# Text tools\n\nWritten by a plan: see plans/quick-start.yaml.\n",
            "plans/quick-start.yaml": text,
            ".gitignore": b"__pycache__/\n",
        },
        "start of the demo",
    )
    return "plans/quick-start.yaml"


def _slots(jobs: int | None, limits: Limits) -> int:
    return min([n for n in (jobs, limits.parallel) if n] or [scheduler.PARALLEL])


__all__ = ["Logged", "RunEnd", "Service", "Told", "create_demo"]
