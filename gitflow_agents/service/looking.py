"""What can be seen of the plans of a repository: which there are, what they say, what happened.

Every verb that looks waits for these imports; the commands are imported only where they are needed.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gitflow_agents import cache, handoff, render, scheduler, spec
from gitflow_agents.errors import FlowError, InvalidFile, Problem, UsageError
from gitflow_agents.graph import Graph
from gitflow_agents.models import (
    LOCAL,
    PLAN_NAME,
    SCHEMA,
    Config,
    DoneReport,
    Event,
    Limits,
    Plan,
    PlanState,
    Status,
    TaskRecord,
)
from gitflow_agents.roles import Handbook
from gitflow_agents.runner import lease_is_lost
from gitflow_agents.scheduler import Seen, Snapshot
from gitflow_agents.service import briefing
from gitflow_agents.service.authority import Authorities
from gitflow_agents.service.proposing import find_base, plan_path, proposal_of
from gitflow_agents.store import (
    Known,
    Offline,
    Remote,
    Repository,
    Store,
)
from gitflow_agents.store.remote import usual_remote
from gitflow_agents.store.repository import EMPTY_TREE
from gitflow_agents.store.state import BRIEFING, HEADS, events_of, gone, plan_ref, state_ref

MOST_PATHS = 1000
"""Paths that git is asked about by name; of more than these all are compared."""
CONFIGS = (".github/gitflow-agents.yml", ".gitflow-agents.yml")


@dataclass(frozen=True)
class Logged:
    """One commit of a plan's state: when, and what happened."""

    sha: str
    at: float
    subject: str
    events: tuple[Event, ...]


class Views:
    """The plans of one repository as they are; nothing is decided or written here but a cache."""

    def __init__(
        self,
        directory: str = ".",
        *,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = Path(directory)
        self.environ = dict(os.environ if environ is None else environ)
        self.clock, self.elapsed = clock, elapsed
        self.repository = Repository(directory, clock=clock)
        self._config_aside = ""
        """What is to be said of a config in the checkout that does not count."""
        self.store = Store(self.repository)
        self.store.config = lambda: self.config
        self.authorities = Authorities(self.store)
        self.doubt: Callable[[], str] = str
        """Says why what is proposed now waits for an approval; at a terminal it does not."""

    @cached_property
    def actor(self) -> str:
        """Return who is at the terminal."""
        return self.repository.person()

    @cached_property
    def _default(self) -> tuple[str, str]:
        """Return the default branch and the tree at its tip; an empty one before any commit."""
        try:
            branch = self.repository.default_branch()
            names = [f"{HEADS}{branch}", f"refs/remotes/origin/{branch}"]
        except FlowError:
            branch, names = "HEAD", ["HEAD"]
        shas = (self.repository.resolve(f"{name}^{{commit}}") for name in names)
        sha = next((sha for sha in shas if sha), None)
        return branch, self.repository.commit(sha).tree if sha else ""

    @cached_property
    def handbook(self) -> Handbook:
        """Return the roles, preferences and words of a brief; InvalidFile with all that is wrong.

        As the config, they are read on the default branch only.
        """
        return briefing.read_handbook(self.repository, self._default[1], self.config)

    @cached_property
    def roles(self) -> briefing.Roles:
        """Return all roles here that can be read."""
        return briefing.roles_of(self.repository, self._default[1], self.config)

    @cached_property
    def config(self) -> Config:
        """Return the config on the default branch, with `GITFLOW_*` over it."""
        branch, tree = self._default
        file, data = CONFIGS[0], None
        for path in CONFIGS if tree else ():
            data = self.repository.read(tree, path)
            if data is not None:
                file = f"{path} as committed on {branch}"
                break
        path, mine = self._own_config()
        if mine is not None and mine != data:
            self._config_aside = (
                f"{path} in your checkout is not what is committed on {branch}; "
                "only what is committed there counts"
            )
        try:
            return self._with_boards(spec.read_config(data, file=file, environ=self.environ))
        except InvalidFile as e:
            if any(problem.file == file for problem in e.problems):
                e.hint = self._config_hint(data, branch)
            raise

    def _with_boards(self, config: Config) -> Config:
        """Return a config with what the file says that it names for its boards."""
        if config.projects is None or config.projects.file is None:
            return config
        path, (branch, tree) = config.projects.file, self._default
        file = f"{path} as committed on {branch}"
        data = self.repository.read(tree, path) if tree else None
        if data is None:
            reason = "the config names it as `projects`, and it is not on the default branch"
            problem = Problem(path, 0, 0, "", reason, "commit it there, or take the key out")
            raise InvalidFile(path, [problem])
        try:
            found = spec.read_projects(data, file=file, beside=config.projects)
        except InvalidFile as e:
            e.hint = f"mend it and commit it on {branch}: only what is committed there counts"
            raise
        return config.model_copy(update={"projects": found})

    def _config_hint(self, data: bytes | None, branch: str) -> str:
        """Return how to mend the committed config; a changed copy in the checkout is not read."""
        path, mine = self._own_config()
        if mine is None or mine == data:
            return f"mend it and commit it on {branch}: only what is committed there counts"
        try:
            spec.read_config(mine, file=path)
        except InvalidFile:
            state = "has errors too: mend it"
        else:
            state = "has no errors"
        return (
            f"{path} in your checkout is different and {state}; only what is committed on "
            f"{branch} counts, so commit it there"
        )

    def _own_config(self) -> tuple[str, bytes | None]:
        """Return the config as it is in the checkout, with its path."""
        for path in CONFIGS if self.repository.top else ():
            with contextlib.suppress(OSError):
                return path, ((self.repository.top or self.directory) / path).read_bytes()
        return CONFIGS[0], None

    # --- who decides ------------------------------------------------------------------------------

    def at(self, plan: str) -> Store:
        """Return the store of what decides on a plan: this repository, or a remote."""
        return self.authorities.at(plan)

    def look(self, plan: str, at: str = "", known: Known | None = None) -> Snapshot | None:
        """Return a plan as it is now; where its remote cannot be reached, as it was known last."""
        return self.authorities.look(plan, at, known)

    def _name(self, plan: str) -> str:
        """Return the name of a plan of which nothing needs to be here yet."""
        try:
            return self._source(plan)[0]
        except FlowError:
            if not re.fullmatch(PLAN_NAME, plan):
                raise
            return plan

    # --- which plan -------------------------------------------------------------------------------

    def open(self, plan: str = "", at: str = "", *, cached: bool = True) -> Snapshot:
        """Return a plan by its name or its file's path; the only one here when none is named.

        A plan that was never accepted has a snapshot with an empty `tip`.  `at` names an older
        commit of its state.
        """
        name, data = self._source(plan)
        known = self._known(name) if cached else Known()
        snapshot = self.look(name, at, known)
        if snapshot is None:
            if data is None:
                data = proposal_of(self.store, name).data
            return self._unstarted(
                self._checked(name, data, file=self._shown(plan, name)).plan, data
            )
        if cached and not at:
            if known.is_news:
                self._keep(name, known)
            self._keep_ready(snapshot)
        if not at:
            snapshot.seen = self._leases_lost(snapshot)
            self._forget_refusal(snapshot)
        return snapshot

    def _forget_refusal(self, snapshot: Snapshot) -> None:
        """Leave out why a text was refused that the plan's branch holds no more."""
        state = snapshot.state
        if (
            state.refused
            and self.at(state.plan).refs.resolve(plan_ref(state.plan)) != state.refused
        ):
            snapshot.state = state.model_copy(update={"refused": "", "refusal": ""})

    def name(self, plan: str) -> str:
        """Return the name of the plan that a name or a file's path means."""
        return self._source(plan)[0]

    def tip(self, plan: str) -> str:
        """Return the newest commit of a plan's state, or nothing before it was accepted."""
        refs = self.at(plan).refs
        if isinstance(refs, Remote):
            with contextlib.suppress(Offline):
                refs.glance()
        return refs.resolve(state_ref(plan)) or ""

    def attempt_folder(self, snapshot: Snapshot, task: str) -> Path:
        """Return the folder in which the newest attempt at a task leaves what it prints."""
        attempt = snapshot.record(task).attempt
        number = attempt.number if attempt else 0
        return self.store.refs.folder / "attempts" / snapshot.plan.plan / task / str(number)

    def _leases_lost(self, snapshot: Snapshot) -> Seen:
        """Return which attempts, and whether the train, nobody works on any more."""
        now, train = self.clock(), snapshot.state.train
        leases = {t: snapshot.record(t).lease for t in snapshot.by_status[Status.IN_PROGRESS]}
        dead = (t for t, lease in leases.items() if lease and lease_is_lost(lease, now))
        is_dead = train is not None and lease_is_lost(train.lease, now)
        return Seen(lost=frozenset(dead), train="lost" if is_dead else "")

    def task(self, target: str, at: str = "") -> tuple[Snapshot, str]:
        """Return the plan and the id that `<plan>/<id>` or `<id>` names."""
        if "/" in target:
            name, _, task = target.rpartition("/")
            snapshot = self.open(name, at)
            if task not in snapshot.plan.by_id:
                from gitflow_agents.commands import no_such_task

                raise no_such_task(snapshot, task)
            return snapshot, task
        here = [*self.plans(), *self._unaccepted()]
        found = [snapshot for snapshot in here if target in snapshot.plan.by_id]
        live = [s for s in found if s.state.status == "live"] or found
        if len(live) == 1:
            if at:
                return self.open(live[0].plan.plan, at), target
            return live[0], target
        if live:
            which = ", ".join(f"{snapshot.plan.plan}/{target}" for snapshot in live)
            raise UsageError(f"{len(live)} plans have a task {target}", hint=f"say which: {which}")
        ids = sorted({task.id for snapshot in here for task in snapshot.plan.tasks})
        near = difflib.get_close_matches(target, ids, 3)
        hint = f"near names: {', '.join(near)}" if near else "gitflow-agents plans lists the plans"
        raise FlowError(f"no plan here has a task {target}", hint=hint)

    def find(self, what: str, at: str = "") -> tuple[Snapshot, str]:
        """Return what PLAN or TASK names: a plan with no task id, or a plan and a task's id."""
        names = self._names()
        if what.endswith((".yaml", ".yml")) or what in names:
            return self.open(what, at), ""
        plan, _, _ = what.rpartition("/")
        if plan and plan not in names:
            raise self._unknown(plan)
        return self.task(what, at)

    def _unaccepted(self) -> list[Snapshot]:
        """Return the plans that are only files in the checkout so far."""
        found = []
        known = {*self.authorities.plans(), *self._proposed()}
        for name in self._names():
            if name not in known:
                with contextlib.suppress(FlowError):  # `validate` says what is wrong with it
                    found.append(self.open(name))
        return found

    def plans(self) -> list[Snapshot]:
        """Return every plan here: the accepted ones, then those that are only proposed."""
        accepted = self.authorities.plans()
        found = [self.open(name) for name in accepted]
        for name in self._proposed():
            if name not in accepted:
                try:
                    found.append(self.open(name))
                except FlowError:
                    continue  # `validate NAME` says what is wrong with it
        return found

    def read(self, plan: str, *, strict: bool = False) -> spec.Reading:
        """Check a plan file; raise InvalidFile with everything that is wrong."""
        _ = self.handbook  # raises where no attempt could begin
        name, data = self._source(plan)
        if data is None:
            data = self.plan_text(name)
        snapshot, more = self.look(name), {}
        if snapshot is not None:
            more = given_by(snapshot)
        file = self._shown(plan, name)
        reading = self._checked(name, data, file=file, strict=strict, more=more)
        if snapshot is not None and reading.plan != snapshot.plan:
            from gitflow_agents.replan import revise

            revise(snapshot, reading.plan, self.actor)  # raises where it cannot be accepted
        return reading

    def plan_text(self, plan: str) -> bytes:
        """Return the newest text of a plan: its file, its branch, or what was accepted."""
        name, data = self._source(plan)
        if data is not None:
            return data
        store = self.at(name)
        with contextlib.suppress(Offline):
            store.refs.refresh()
        if store.refs.resolve(plan_ref(name)):
            return proposal_of(store, name).data
        tip = self.repository.resolve(f"{store.refs.known_as(state_ref(name))}^{{commit}}")
        text = tip and self.repository.read(self.repository.commit(tip).tree, "spec.yaml")
        if not text:
            raise self._unknown(name)
        return text

    def _source(self, plan: str) -> tuple[str, bytes | None]:
        """Return a plan's name, and its text when a file was named."""
        plan = plan or self._only_plan()
        path = self._file(plan)
        if path is not None:
            try:
                data = path.read_bytes()
            except OSError as e:
                raise FlowError(f"{plan} cannot be read: {e.strerror}") from e
            return spec.plan_name(data, default=path.stem), data
        if self.repository.resolve(state_ref(plan)) or self.repository.resolve(plan_ref(plan)):
            return plan, None
        if plan in self.authorities.plans():
            return plan, None
        inside = self._inside(plan)
        if inside is not None:
            data = inside.read_bytes()
            return spec.plan_name(data, default=plan), data
        if self._is_elsewhere(plan):
            return plan, None
        raise self._unknown(plan)

    def _inside(self, plan: str) -> Path | None:
        """Return the file in the checkout that has a plan's name, or says that it is this plan."""
        top = self.repository.top or self.directory
        path = top / plan_path(plan)
        if path.is_file():
            return path
        for other in sorted((top / "plans").glob("*.yaml")):
            with contextlib.suppress(OSError):
                if spec.plan_name(other.read_bytes(), default="") == plan:
                    return other
        return None

    def _file(self, plan: str) -> Path | None:
        """Return the file that a PLAN argument names, if it is meant as a path."""
        looks_like_one = "/" in plan or plan.endswith((".yaml", ".yml"))
        path = self.directory / plan
        if looks_like_one and not path.is_file():
            raise FlowError(f"there is no file {plan}", hint="gitflow-agents plans lists the plans")
        return path if looks_like_one else None

    def _is_elsewhere(self, plan: str) -> bool:
        """Say whether the usual remote has a plan of which nothing was seen here yet."""
        remote = self.config.remote or usual_remote(self.repository)
        is_one = bool(remote) and re.fullmatch(PLAN_NAME, plan) is not None
        return is_one and self.authorities.is_at(remote, plan)

    def _unknown(self, plan: str) -> FlowError:
        near = difflib.get_close_matches(plan, self._names(), 3)
        if near:
            return FlowError(f"there is no plan {plan}", hint=f"did you mean {', '.join(near)}?")
        return FlowError(
            f"there is no plan {plan}",
            hint=f"write one: gitflow-agents new {plan}; or name a file: plans/{plan}.yaml",
        )

    def _proposed(self) -> list[str]:
        return [ref.removeprefix(plan_ref("")) for ref in self.repository.tips(plan_ref(""))]

    def _names(self) -> list[str]:
        proposed = self._proposed()
        folder = (self.repository.top or self.directory) / "plans"
        files = [path.stem for path in folder.glob("*.yaml") if "." not in path.stem]
        return sorted({*self.authorities.plans(), *proposed, *files})

    def _only_plan(self) -> str:
        accepted = self.authorities.plans()
        names = accepted if accepted else self._names()
        if len(names) == 1:
            return names[0]
        live = [n for n in names if self._is_live(n)] if len(names) > 1 else []
        if len(live) == 1:
            return live[0]
        if names:
            raise UsageError(
                f"there are {len(names)} plans here", hint=f"say which one: {', '.join(names)}"
            )
        raise FlowError("there is no plan here", hint="write one: gitflow-agents new NAME")

    def _is_live(self, name: str) -> bool:
        snapshot = self.at(name).load(name, known=self._known(name))
        return snapshot is not None and snapshot.state.status == "live"

    def _shown(self, plan: str, name: str) -> str:
        if self._file(plan):
            return plan
        if self.at(name).refs.resolve(plan_ref(name)):
            return f"plan/{name}:{plan_path(name)}"
        inside = self._inside(plan or name)
        return str(inside.relative_to(self.repository.top or self.directory)) if inside else name

    def _checked(
        self,
        name: str,
        data: bytes,
        *,
        file: str = "",
        strict: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> spec.Reading:
        given = {**self._given(data, name), **(more or {})}
        return spec.read_plan(
            data,
            file=file or plan_path(name),
            name=name,
            config=self.config,
            given=given,
            roles=self.roles,
            strict=strict,
        )

    def _given(self, data: bytes, name: str) -> dict[str, str]:
        """Return what earlier plans left on the base that this plan starts from."""
        base = spec.plan_base(data)
        try:
            base = base or self.repository.default_branch()
        except FlowError:
            base = "HEAD"
        for ref in (f"{HEADS}{base}", f"refs/remotes/origin/{base}", base):
            sha = self.repository.resolve(f"{ref}^{{commit}}")
            if sha:
                return self.store.provided_before(sha, but=name)
        return {}

    def _unstarted(self, plan: Plan, data: bytes) -> Snapshot:
        try:
            base, base_sha = find_base(self.store, plan, self.config)
        except FlowError:
            base, base_sha = plan.base or "", ""
        state = PlanState(
            plan=plan.plan,
            commit="",
            digest=blob_sha(data),
            base=base,
            base_sha=base_sha,
            flow=plan.flow_branch,
            flow_sha="",
            accepting="",
            accepted_at=0,
        )
        graph = Graph.of(plan)
        given: frozenset[str] = frozenset()
        if graph.missing and base_sha:
            before = self.store.provided_before(base_sha, but=plan.plan)
            given = frozenset(before.keys() - graph.providers.keys())
            graph = Graph.of(plan, given)
        return Snapshot(plan, graph, state, "", "", {}, given)

    # --- the cache of the looking verbs -----------------------------------------------------------

    def _cache_file(self, name: str) -> Path:
        return self.store.refs.folder / "cache" / f"{name}.json"

    def _known(self, name: str) -> Known:
        return Known.read(self._cache_file(name))

    def _keep(self, name: str, known: Known) -> None:
        known.write(self._cache_file(name))

    def _keep_ready(self, snapshot: Snapshot) -> None:
        if snapshot.authority != LOCAL:
            return  # the local state says nothing of it
        cache.write(
            str(self.repository.common),
            snapshot.plan.plan,
            snapshot.tip,
            snapshot.frontier.ready,
            snapshot.state.digest,
        )

    # --- look -------------------------------------------------------------------------------------

    def limits(self, snapshot: Snapshot) -> Limits:
        """Return the limits of plan and config together."""
        return scheduler.limits_now(snapshot, self.config)

    def flow_sha(self, snapshot: Snapshot) -> str:
        """Return the tip of the flow branch: as it is now, or as an older state says."""
        refs = self.at(snapshot.plan.plan).refs
        if snapshot.tip != (refs.resolve(state_ref(snapshot.plan.plan)) or ""):
            return snapshot.state.flow_sha
        return refs.tip(snapshot.state.flow) or ""

    def landing(self, snapshot: Snapshot) -> tuple[str, ...]:
        """Return the commands that take a finished plan's result over into its base, in order.

        None are needed where it is there already.
        """
        state, name, repository = snapshot.state, snapshot.plan.plan, self.repository
        refs = self.at(name).refs
        base = refs.tip(state.base)
        report = f"plans/{name}.report.md"
        on_flow = repository.find(repository.commit(state.flow_sha).tree, report)
        if base and on_flow and repository.find(repository.commit(base).tree, report) == on_flow:
            return ()
        if not refs.is_local:
            merge = f"git merge {refs.name}/{state.base} && git merge {refs.name}/{state.flow}"
            first = (f"git fetch {refs.name}", f"git switch {state.base}")
            return (*first, merge, f"git push {refs.name} {state.base}")
        place = self.store.refs.heads().get(f"{HEADS}{state.base}")
        top = place or repository.top
        if top is None:
            return (f"git push . {state.flow}:{state.base}",)
        here = repository.top is not None and top.resolve() == repository.top.resolve()
        git = "git" if here else f"git -C {shlex.quote(str(top))}"
        steps = [] if place else [f"{git} switch {state.base}"]
        path = plan_path(name)
        # From a folder further down git has to be told that the path begins at the top.
        is_below = here and self.directory.resolve() != top.resolve()
        shown = f":/{path}" if is_below else path
        _, out, _ = repository.user.attempt(
            "-C", str(top), "--no-optional-locks", "status", "--porcelain", "--", path
        )
        if out.startswith((b"??", b"A")):  # git refuses to merge over it
            mine = (top / path).read_bytes() if (top / path).is_file() else b""
            if blob_sha(mine) == state.digest:
                steps.append(f"{git} add {shown} && {git} commit -m 'plan {name}' {shown}")
            else:
                theirs = shlex.quote(str(top / path))
                steps.append(f"mv {theirs} {theirs}.mine")
        return (*steps, f"{git} merge {state.flow}")

    def history(self, plan: str, since: str = "") -> list[Logged]:
        """Return what happened to a plan, oldest first; only what came after `since` if named."""
        name, _ = self._source(plan)
        if not self.tip(name):
            return []
        return [
            Logged(commit.sha, commit.time, commit.subject, tuple(events_of(commit)))
            for commit in self.at(name).history(name, since)
        ]

    def brief(self, snapshot: Snapshot, task: str) -> str:
        """Return the brief of a task's newest attempt, or the one that it would get now."""
        record = snapshot.record(task)
        if record.claim:
            tree = self.repository.commit(record.claim).tree
            data = self.repository.read(tree, f"{BRIEFING}/brief.md")
            if data is not None:
                return data.decode()
        branch = record.branch or spec.branches(snapshot.plan)[task]
        repository, about = self.repository, snapshot.plan.by_id[task]
        tip = snapshot.state.flow_sha or snapshot.state.base_sha
        tree = repository.commit(tip).tree if tip else EMPTY_TREE
        docs, _ = briefing.docs_of(repository, tree, about)
        inputs, _ = handoff.inputs(about, snapshot.records)
        return render.brief(
            briefing.template_of(self.handbook),
            snapshot,
            task,
            branch=branch,
            attempt=len(record.attempts) + 1,
            handbook=self.handbook,
            beside=render.Beside(docs=docs, inputs=inputs),
        )

    def diff(
        self,
        snapshot: Snapshot,
        task: str,
        *,
        stat: bool = False,
        attempt: int | None = None,
        against: int | None = None,
    ) -> str:
        """Return what a task changed, as git shows it: merged, or by its newest attempt so far.

        With `attempt` it is what that one changed; with `against` how its files differ from those
        of another one, in the paths that either changed.
        """
        old, new, paths = self._both_ends(snapshot, task, attempt, against)
        some = [f":(top,literal){path}" for path in paths] or [":/"]
        _, out = self.repository.git.run(
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            *(["--stat"] if stat else []),
            old,
            new,
            "--",
            *some,
            f":(top,exclude){BRIEFING}",
        )
        return out.decode(errors="replace")

    def diff_json(
        self,
        snapshot: Snapshot,
        task: str,
        *,
        attempt: int | None = None,
        against: int | None = None,
    ) -> dict[str, Any]:
        """Return what `diff TASK --json` prints; lines of a binary file are null."""
        old, new, paths = self._both_ends(snapshot, task, attempt, against)
        _, out = self.repository.git.run(
            "diff", "--no-ext-diff", "--no-textconv", "--no-renames", "--numstat", "-z", old, new
        )
        lines: dict[str, tuple[int | None, int | None]] = {}
        for entry in filter(None, out.split(b"\0")):
            plus, minus, path = entry.split(b"\t", 2)
            pair = (None, None) if plus == b"-" else (int(plus), int(minus))
            lines[os.fsdecode(path)] = pair
        trees = (self.repository.commit(old).tree, self.repository.commit(new).tree)
        files = []
        for change in self.repository.diff(*trees):
            is_asked = not paths or change.path in paths
            if is_asked and not change.path.startswith(f"{BRIEFING}/"):
                plus_, minus_ = lines.get(change.path, (None, None))
                kind = "added" if not change.old else "modified" if change.new else "deleted"
                path_ = change.path.encode(errors="replace").decode()
                files.append(
                    {"path": path_, "change": kind, "insertions": plus_, "deletions": minus_}
                )
        return {
            "schema": SCHEMA,
            "plan": snapshot.plan.plan,
            "task": task,
            "base": old,
            "sha": new,
            "files": files,
        }

    def _both_ends(
        self, snapshot: Snapshot, task: str, attempt: int | None, against: int | None
    ) -> tuple[str, str, frozenset[str]]:
        """Return two commits and the paths to be compared; none are all of them."""
        record = snapshot.record(task)
        old, new = self._ends(record)
        if not new:
            raise FlowError(
                f"{task} has nothing to show yet: it is {snapshot.status(task)}",
                hint=f"gitflow-agents explain {snapshot.plan.plan}/{task}",
            )
        if attempt is None and against is None:
            return old, new, frozenset()
        old, new = self._work(snapshot, task, attempt or record.attempts[-1].number)
        if against is None:
            return old, new, frozenset()
        other = self._work(snapshot, task, against)
        # Between two attempts flow may have moved, which is nothing that either did.
        paths = {
            change.path
            for base, tip in ((old, new), other)
            for change in self.repository.diff(
                self.repository.commit(base).tree, self.repository.commit(tip).tree
            )
        }
        return other[1], new, frozenset(paths) if len(paths) <= MOST_PATHS else frozenset()

    def _work(self, snapshot: Snapshot, task: str, number: int) -> tuple[str, str]:
        """Return what an attempt was cut from and its last commit; FlowError when it is gone."""
        attempts = snapshot.record(task).attempts
        look = f"gitflow-agents show {snapshot.plan.plan}/{task}"
        for attempt in attempts:
            if attempt.number == number:
                if attempt.tip and self.repository.resolve(attempt.tip):
                    return attempt.base, attempt.tip
                raise FlowError(f"nothing is kept of attempt {number} of {task}", hint=look)
        had = render.count(len(attempts), "attempt")
        raise FlowError(f"{task} has had {had}, and none is number {number}", hint=look)

    def _ends(self, record: TaskRecord) -> tuple[str, str]:
        if record.merge:
            return self.repository.commit(record.merge).parents[0], record.merge
        for attempt in reversed(record.attempts):
            if attempt.tip and self.repository.resolve(attempt.tip):
                return attempt.base, attempt.tip
        return "", ""

    def report(self, snapshot: Snapshot) -> str:
        """Return the report on flow when the plan is finished, else the report so far."""
        self._was_started(snapshot)
        if snapshot.state.status in ("finished", "landed"):
            tree = self.repository.commit(snapshot.state.flow_sha).tree
            data = self.repository.read(tree, f"plans/{snapshot.plan.plan}.report.md")
            if data is not None:
                return data.decode()
        return render.final_report(snapshot, self.clock())

    def report_json(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return what `report --json` prints: of when the plan was finished, else so far."""
        self._was_started(snapshot)
        now = self.clock()
        if snapshot.state.status in ("finished", "landed"):
            path = f"plans/{snapshot.plan.plan}.report.md"
            asked = ("log", "-1", "--format=%ct", snapshot.state.flow_sha, "--", path)
            _, out = self.repository.git.run(*asked)
            now = float(out) if out.strip() else now
        return render.final_report_json(snapshot, now)

    def _was_started(self, snapshot: Snapshot) -> None:
        if not snapshot.tip:
            raise FlowError(
                f"plan {snapshot.plan.plan} was not started, so there is nothing to report",
                hint=f"gitflow-agents waves {snapshot.plan.plan} shows what it would do",
            )

    def attempt_report(self, snapshot: Snapshot, task: str) -> DoneReport | None:
        """Return what is recorded about a task's newest ended attempt."""
        for attempt in reversed(snapshot.record(task).attempts):
            if attempt.report and self.repository.resolve(attempt.report):
                tree = self.repository.commit(attempt.report).tree
                data = self.repository.read(tree, f"{BRIEFING}/report.yaml")
                if data is not None:
                    return DoneReport.model_validate(spec.from_yaml(data))
        return None

    def close(self) -> None:
        """End every process that was kept."""
        self.authorities.close()
        self.store.close()


def given_by(snapshot: Snapshot) -> dict[str, str]:
    """Return the capabilities that merged tasks gave: a new text need not name those tasks."""
    plan = snapshot.plan
    merged = (plan.by_id[task] for task in snapshot.by_status[Status.COMPLETED])
    there = {name: plan.plan for task in merged for name in task.gives}
    return {**there, **gone(plan, snapshot.records)}


def blob_sha(data: bytes) -> str:
    head = b"blob %d\0" % len(data)
    return hashlib.sha1(head + data, usedforsecurity=False).hexdigest()
