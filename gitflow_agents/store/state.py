"""A plan's state: commits on `gitflow/state/<plan>`, each an event with the state after it.

A commit is the operation, its tree is the state.  `Store.load` reads it; `Store.commit` writes one
decision: it moves the state ref from the tip that the decision was made on, together with every
other ref that the decision concerns.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gitflow_agents import render, spec
from gitflow_agents.errors import FlowError, GitFailed, InvalidFile, LostRace
from gitflow_agents.graph import Graph
from gitflow_agents.models import (
    LOCAL,
    SCHEMA,
    ZERO,
    Config,
    Event,
    Model,
    Plan,
    PlanState,
    Spoken,
    Status,
    TaskRecord,
    Tracked,
    TrackedShard,
    Tracking,
    fold,
    person,
)
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.spec.source import no_collections
from gitflow_agents.store.refs import Refs
from gitflow_agents.store.repository import EMPTY_TREE, FILE, FOLDER, Commit, Entry, Repository

M = TypeVar("M", bound=Model)

HEADS = "refs/heads/"
BRIEFING = ".gitflow"
"""The folder of a task branch that never reaches flow."""
LINES = "spec.jsonl"
"""The file of a state that says what `spec.yaml` says, a line a task."""
TRACKING = "issues.yaml"
"""The file of a state that says what is known of the plan's issues; of the tasks' own it is below
`issues/`."""
KEPT_ATTEMPTS = 3
LONGEST_SUBJECT = 120
"""Letters of a commit's subject that tells several events."""
SETTLED = frozenset(
    "task_merged task_reverted merge_refused attempt_failed attempt_expired attempt_stopped".split()
)
STATUS_EVERY = 5.0
"""Seconds between two renderings of STATUS.md while a plan runs."""


def state_ref(plan: str) -> str:
    """Return the ref that holds a plan's state."""
    return f"{HEADS}gitflow/state/{plan}"


def plan_ref(plan: str) -> str:
    """Return the ref where people propose a plan."""
    return f"{HEADS}plan/{plan}"


def try_ref(plan: str) -> str:
    """Return the ref of the train that is being tested."""
    return f"{HEADS}gitflow/try/{plan}"


def attempt_ref(plan: str, task: str, number: int) -> str:
    """Return the ref that keeps an attempt which is not the task branch's history."""
    return f"{HEADS}gitflow/attempt/{plan}/{task}/{number}"


def record_path(task: str) -> str:
    """Return where a task's record stands in the state's tree."""
    return f"tasks/{hashlib.sha1(task.encode(), usedforsecurity=False).hexdigest()[:2]}/{task}.yaml"


def tracked_path(task: str) -> str:
    """Return the file of the state that says which issue a task has, beside those of others."""
    return f"issues/{hashlib.sha1(task.encode(), usedforsecurity=False).hexdigest()[:2]}.yaml"


@dataclass
class Draft:
    """One decision on its way to the state: what happened, and everything that it changes.

    A task's record and the plan's state are brought forward in the snapshot at once, so that what
    is decided next sees them; `Store.commit` writes it all, or raises and the snapshot is void.
    """

    snapshot: Snapshot
    actor: str = ""
    run: str = ""
    events: list[Event] = field(default_factory=list)
    records: dict[str, TaskRecord] = field(default_factory=dict)
    files: dict[str, bytes | None] = field(default_factory=dict)
    """Files of the state beside the records; None takes one away."""
    moves: dict[str, tuple[str, str]] = field(default_factory=dict)
    state_changed: bool = False
    tracked: set[str] = field(default_factory=set)
    """Tasks whose issue is known otherwise."""
    tracking_changed: bool = False

    def tell(self, event: str, **details: Any) -> None:
        """Add an event; `details` are fields of Event."""
        self.events.append(
            Event(
                event=event,
                plan=self.snapshot.plan.plan,
                actor=self.actor,
                run=self.run,
                **details,
            )
        )

    def put(self, record: TaskRecord) -> None:
        """Take a task's new record; an approval of what is there no more ends, and that is told."""
        if record.approvals and (kept := self.snapshot.still_approved(record)) != record.approvals:
            by = " and ".join({person(one.by): 0 for one in record.approvals if one not in kept})
            record = record.model_copy(update={"approvals": kept})
            note = f"{record.id} is not approved any more: {by} approved something else"
            self.tell("task_unapproved", task=record.id, note=note)
        self.records[record.id] = record
        self.snapshot.apply(record)

    def set(self, **changes: Any) -> None:
        """Change fields of the plan's state."""
        self.snapshot.state = self.snapshot.state.model_copy(update=changes)
        self.state_changed = True

    def track(self, task: str, issue: Tracked) -> None:
        """Take what is known of a task's issue."""
        self.snapshot.issues[task] = issue
        self.tracked.add(task)

    def set_tracking(self, **changes: Any) -> None:
        """Change what is known of the plan's issues as a whole."""
        self.snapshot.tracking = self.snapshot.tracking.model_copy(update=changes)
        self.tracking_changed = True

    def move(self, ref: str, old: str, new: str) -> None:
        """Move a ref with this decision; a second move of it goes on from the first."""
        first = self.moves[ref][0] if ref in self.moves else old
        self.moves[ref] = (first, new)

    def ordered_moves(self) -> list[tuple[str, str, str]]:
        """Return the moves in the order in which a kill in the middle does least harm."""
        flow = f"{HEADS}{self.snapshot.state.flow}"

        def turn(ref: str) -> int:
            if ref.startswith((f"{HEADS}gitflow/", f"{HEADS}plan/")):
                return 0
            return 1 if ref == flow else 2

        return [(ref, *self.moves[ref]) for ref in sorted(self.moves, key=turn)]


def spec_files(data: bytes, plan: Plan) -> dict[str, bytes | None]:
    """Return the files of a state that hold the text of a plan."""
    return {"spec.yaml": data, LINES: spec.to_lines(plan)}


class _Provided(BaseModel):
    name: str


class _Provides(BaseModel):
    provides: tuple[_Provided, ...] = ()


class Store:
    """The plans of one repository."""

    def __init__(self, repository: Repository, refs: Refs | None = None) -> None:
        self.repository = repository
        self.refs = refs or Refs(repository)
        self.config: Callable[[], Config] = Config
        """Returns what the repository decides, of which approvals matter here."""
        self._rendered: dict[str, float] = {}
        self.stale: set[str] = set()
        """Plans whose STATUS.md does not show their last commit."""

    # --- reading ----------------------------------------------------------------------------------

    def plans(self) -> list[str]:
        """Return the names of all plans that were ever accepted here."""
        return sorted(ref.removeprefix(state_ref("")) for ref in self.refs.tips(state_ref("")))

    @no_collections()
    def load(self, plan: str, at: str = "", known: Known | None = None) -> Snapshot | None:
        """Return a plan as its state says it, or None when it was never accepted.

        `at` names an older commit of the state.  `known` saves parsing what was parsed before.
        """
        own = state_ref(plan)
        name = at or self.refs.known_as(own)
        if at.startswith(own.removeprefix(HEADS)) and not self.refs.is_local:
            name = f"{self.refs.known_as(own)}{at.removeprefix(own.removeprefix(HEADS))}"
        tip = self.repository.resolve(f"{name}^{{commit}}")
        if tip is None:
            if at:
                raise FlowError(
                    f"{at} names no commit", hint=f"git log gitflow/state/{plan} lists them"
                )
            return None
        tree = self.repository.commit(tip).tree
        known = known if known is not None else Known()
        entries = self._entries(tree)
        if "plan.yaml" not in entries or "spec.yaml" not in entries:
            raise FlowError(
                f"{name} is not the state of a plan",
                hint=f"git log gitflow/state/{plan} lists the states of the plan",
            )
        has_lines = LINES in entries  # an older version wrote a state without
        text = entries[LINES if has_lines else "spec.yaml"]
        others = (sha for path, sha in entries.items() if path not in (LINES, "spec.yaml"))
        wanted = [sha for sha in (text, *others) if sha not in known.values]
        contents = dict(zip(wanted, self.repository.blobs(wanted), strict=True))
        state = known.value(entries["plan.yaml"], contents, _read_state)
        self._is_no_copy(state)
        read = spec.from_lines if has_lines else partial(spec.load_plan, name=plan)
        parsed: Plan = known.value(text, contents, read)
        records: dict[str, TaskRecord] = {}
        for path, sha in entries.items():
            if path.startswith("tasks/"):
                record = known.value(sha, contents, read_record)
                records[record.id] = record
        found = self.snapshot(parsed, state, tip, tree, records)
        for path, sha in entries.items():
            if path.startswith("issues/"):
                found.issues |= known.value(sha, contents, _read_tracked).tasks
        if TRACKING in entries:
            found.tracking = known.value(entries[TRACKING], contents, _read_tracking)
        known.keep(entries.values())
        self.refs.include(state.flow, state.base)
        return found

    def load_slice(self, plan: str, tasks: Sequence[str]) -> Snapshot | None:
        """Return a plan as if it had these tasks and no others, or None where that is not at hand.

        It costs the same whatever the number of the others: enough to record a fact of a task,
        and to decide nothing that depends on another one.
        """
        tip = self.repository.resolve(f"{self.refs.known_as(state_ref(plan))}^{{commit}}")
        if tip is None:
            return None
        tree = self.repository.commit(tip).tree
        lines, head = (self.repository.read(tree, path) for path in (LINES, "plan.yaml"))
        found = spec.slice_of(lines, tasks) if lines is not None else None
        if head is None or found is None:
            return None
        records = {}
        for task in found.tasks:
            data = self.repository.read(tree, record_path(task.id))
            if data is not None:
                records[task.id] = read_record(data)
        state = _read_state(head)
        self._is_no_copy(state)
        return Snapshot(found, Graph.of(found), state, tip, tree, records, **self._decided())

    def renew_slice(self, snapshot: Snapshot) -> None:
        """Bring a slice up to the newest state, the lock being held; LostRace where it differs.

        What others recorded of other tasks changes nothing of what was decided on this one.
        """
        name = self.refs.known_as(state_ref(snapshot.plan.plan))
        tip = self.repository.resolve(f"{name}^{{commit}}") or ""
        if tip == snapshot.tip:
            return
        tree = self.repository.commit(tip).tree if tip else EMPTY_TREE
        find = self.repository.find
        for path in (LINES, "plan.yaml", *map(record_path, snapshot.plan.by_id)):
            if find(tree, path) != find(snapshot.tree, path):
                raise LostRace("somebody was faster", hint="run the command again")
        snapshot.tip, snapshot.tree = tip, tree

    def _decided(self) -> dict[str, Any]:
        """Return what every snapshot knows beside what the state holds."""
        config = self.config()
        said = config.command_permissions.get("approve")
        return {
            "approval": frozenset(config.approval),
            "approver": said.level if said else None,
            "by_oneself": config.allow_self_approval,
            "authority": self.refs.name,
        }

    def _is_no_copy(self, state: PlanState) -> None:
        """Raise FlowError where somebody pushed what another clone decides on."""
        if state.authority == LOCAL and not self.refs.is_local:
            plan, remote = state.plan, self.refs.name
            raise FlowError(
                f"{remote} has only a copy of plan {plan}: another clone decides on it",
                hint=f"there: gitflow-agents push {plan} --remote {remote}, once the copy is gone: "
                f"git push {remote} --delete gitflow/state/{plan}",
            )

    def _entries(self, tree: str) -> dict[str, str]:
        _, out = self.repository.git.run("ls-tree", "-r", "-z", tree)
        entries = {}
        for line in out.decode().split("\0")[:-1]:
            about, path = line.split("\t", 1)
            if path.startswith(("tasks/", "issues/")) or path in _READ:
                entries[path] = about.rsplit(" ", 1)[1]
        return entries

    def snapshot(
        self,
        plan: Plan,
        state: PlanState,
        tip: str,
        tree: str,
        records: dict[str, TaskRecord],
    ) -> Snapshot:
        """Return the snapshot of a state; capabilities of earlier plans are read only if needed."""
        graph = Graph.of(plan)
        given: frozenset[str] = frozenset()
        if graph.missing:
            # What a task of this plan provides is waited for, though an earlier plan gave it too.
            before = {**self.provided_before(state.accepting, but=plan.plan), **gone(plan, records)}
            given = frozenset(before.keys() - graph.providers.keys())
            graph = Graph.of(plan, given)
        return Snapshot(plan, graph, state, tip, tree, records, given, **self._decided())

    def provided_before(self, commit: str, but: str = "") -> dict[str, str]:
        """Return the folded capabilities that earlier plans left at a commit, with their plan."""
        found: dict[str, str] = {}
        tree = self.repository.commit(commit).tree
        folder = self.repository.find(tree, "plans")
        if folder is None or folder.mode != FOLDER:
            return found
        for name, entry in self.repository.tree(folder.sha).items():
            plan = name.removesuffix(".provides.yaml")
            if plan != name and plan != but and entry.mode == FILE:
                with contextlib.suppress(InvalidFile, ValidationError):
                    data = spec.from_yaml(self.repository.blob(entry.sha))
                    for capability in _Provides.model_validate(data).provides:
                        found[fold(capability.name)] = plan
        return found

    def history(self, plan: str, since: str = "") -> list[Commit]:
        """Return the commits of a plan's state, oldest first."""
        ref = self.refs.known_as(state_ref(plan))
        return self.repository.commits(f"{since}..{ref}" if since else ref)

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, draft: Draft) -> str:
        """Write one decision and move its refs together; return the state's new tip.

        When it raises nothing was moved, and the snapshot must be loaded again.
        """
        snapshot = draft.snapshot
        files: dict[str, bytes | None] = dict(draft.files)
        if draft.state_changed or not snapshot.tip:
            files["plan.yaml"] = write_record(snapshot.state)
        for task, record in draft.records.items():
            files[record_path(task)] = write_record(record)
        if draft.tracking_changed:
            files[TRACKING] = write_record(snapshot.tracking)
        files |= _tracked_files(draft)
        if self._is_due(draft):
            files["STATUS.md"] = render.status_page(snapshot, self.repository.clock()).encode()
        tree = self._tree(snapshot.tree, files)
        parents = [snapshot.tip] if snapshot.tip else []
        commit = self.repository.write_commit(tree, parents, message(draft.events))
        self.refs.move(
            [
                *draft.ordered_moves(),
                (state_ref(snapshot.plan.plan), snapshot.tip or ZERO, commit),
            ]
        )
        snapshot.tip, snapshot.tree = commit, tree
        return commit

    def _tree(self, tree: str, files: Mapping[str, bytes | None]) -> str:
        write = self.repository.write_blob
        return self.repository.graft(
            tree or EMPTY_TREE,
            {p: None if data is None else Entry(FILE, write(data)) for p, data in files.items()},
        )

    def _is_due(self, draft: Draft) -> bool:
        """Say whether STATUS.md goes into this commit: at turns of the plan, else now and then."""
        snapshot = draft.snapshot
        name, now = snapshot.plan.plan, self.repository.clock()
        turned = any(event.event.startswith(("plan_", "run_")) for event in draft.events)
        settled = any(event.event in SETTLED for event in draft.events)
        late = abs(now - self._rendered.get(name, 0)) >= STATUS_EVERY
        if turned or (settled and late):
            self._rendered[name] = now
            self.stale.discard(name)
            return True
        self.stale.add(name)
        return False

    def close(self) -> None:
        """End every process that was kept."""
        self.refs.close()
        self.repository.close()


def task_ids(directory: str, plan: str) -> list[str]:
    """Return the ids of a plan's tasks, in plan order, for a shell: none when anything is odd."""
    try:
        repository = Repository(directory)
    except FlowError:
        return []
    try:
        tip = repository.resolve(f"{state_ref(plan)}^{{commit}}")
        tree = repository.commit(tip).tree if tip else EMPTY_TREE
        lines = repository.read(tree, LINES) or b""
        return re.findall(r'^\{"id":"([^"]+)"', lines.decode(), re.MULTILINE)
    except (FlowError, ValueError):
        return []
    finally:
        repository.close()


def gone(plan: Plan, records: Mapping[str, TaskRecord]) -> dict[str, str]:
    """Return the folded capabilities that merged tasks gave, and the plan's text says no more."""
    merged = (record for record in records.values() if record.status is Status.COMPLETED)
    return {fold(name): plan.plan for record in merged for name in record.gave}


@dataclass
class Known:
    """Values by the sha of the blob that holds them: content-addressed, so never stale."""

    values: dict[str, Any] = field(default_factory=dict)
    is_news: bool = field(default=False, compare=False)
    """Something was read since, of what a file keeps."""

    def value(self, sha: str, contents: Mapping[str, bytes], read: Callable[[bytes], Any]) -> Any:
        """Return what a blob says, reading it only the first time."""
        if sha not in self.values:
            self.values[sha] = read(contents[sha])
            self.is_news |= isinstance(self.values[sha], _KEPT)
        return self.values[sha]

    @classmethod
    @no_collections()
    def read(cls, path: Path) -> Known:
        """Return what was kept in a file; nothing when it is missing or damaged."""
        values: dict[str, Any] = {}
        try:
            for line in path.read_bytes().splitlines():
                sha, kind, text = line.split(b" ", 2)
                values[sha.decode()] = _KINDS[kind].model_validate_json(text)
        except (OSError, ValueError, KeyError):
            return cls()
        return cls(values)

    @no_collections()
    def write(self, path: Path) -> None:
        """Keep the values in a file, if it can be written; it may be deleted at any time."""
        lines = []
        for sha, value in self.values.items():
            if isinstance(value, _KEPT):
                text = value.model_dump_json(by_alias=True, exclude_defaults=True)
                lines.append(f"{sha} {type(value).__name__} {text}\n")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text("".join(lines), encoding="utf-8")
            draft.replace(path)

    def keep(self, shas: Iterable[str]) -> None:
        """Forget every value but these."""
        kept = set(shas)
        self.values = {sha: value for sha, value in self.values.items() if sha in kept}


_READ = ("plan.yaml", "spec.yaml", LINES, TRACKING)
_KEPT = (PlanState, TaskRecord, Tracking, TrackedShard)
"""What is kept in a file.  The plan is not: its blob holds it as JSON already."""
_KINDS: Mapping[bytes, type[Model]] = {kind.__name__.encode(): kind for kind in _KEPT}


def _tracked_files(draft: Draft) -> dict[str, bytes | None]:
    """Return the files that say which issues tasks have, of those that this decision changes."""
    shards: dict[str, dict[str, Tracked]] = {tracked_path(task): {} for task in draft.tracked}
    for task, issue in draft.snapshot.issues.items() if shards else ():
        if (path := tracked_path(task)) in shards:
            shards[path][task] = issue
    return {path: write_record(TrackedShard(tasks=tasks)) for path, tasks in shards.items()}


# --- records as files ----------------------------------------------------------------------------


def write_record(value: PlanState | TaskRecord | Spoken | Tracking | TrackedShard) -> bytes:
    """Return the file of the state that says a record."""
    return spec.to_yaml(
        {"schema": SCHEMA, **value.model_dump(mode="json", by_alias=True, exclude_defaults=True)}
    )


def _read_state(data: bytes) -> PlanState:
    return _read(PlanState, data)


def read_record(data: bytes) -> TaskRecord:
    """Return what a task's file in the state says; FlowError when it says nothing."""
    return _read(TaskRecord, data)


def _read_tracked(data: bytes) -> TrackedShard:
    return _read(TrackedShard, data)


def _read_tracking(data: bytes) -> Tracking:
    return _read(Tracking, data)


def read_spoken(data: bytes) -> Spoken:
    """Return a command of the journal; FlowError when its file says nothing."""
    return _read(Spoken, data)


def _read(kind: type[M], data: bytes) -> M:
    try:
        value = spec.from_yaml(data)
        if isinstance(value, Mapping) and value.get("schema") != SCHEMA:
            raise FlowError(
                f"the state was written in schema {value.get('schema')}, this version reads "
                f"{SCHEMA}",
                hint="install a newer gitflow-agents",
            )
        return kind.model_validate(value)
    except ValidationError as e:
        raise GitFailed(
            f"a {kind.__name__} of the state cannot be read: {e.errors()[0]['msg']}",
            hint="only the tool writes the state; git log gitflow/state/<plan> shows who did",
        ) from e


# --- events as messages --------------------------------------------------------------------------

_TRAILERS = (
    ("Gitflow-Event", "event"),
    ("Gitflow-Plan", "plan"),
    ("Gitflow-Task", "task"),
    ("Gitflow-Attempt", "attempt"),
    ("Gitflow-Status", "status"),
    ("Gitflow-Reason", "reason"),
    ("Gitflow-Actor", "actor"),
    ("Gitflow-Run", "run"),
    ("Gitflow-Agent", "agent"),
    ("Gitflow-Model", "model"),
    ("Gitflow-Cost-Usd", "cost_usd"),
    ("Gitflow-Commit", "commit"),
)


def one_line(text: str) -> str:
    """Return free text as one line that cannot be taken for a trailer."""
    line = render.one_line(text)
    return re.sub(r"(?i)\bgitflow-(?=[a-z-]+:)", "gitflow ", line) if ":" in line else line


def trailers(event: Event) -> str:
    """Return an event as trailers, one a line."""
    values = ((name, getattr(event, key)) for name, key in _TRAILERS)
    return "\n".join(
        _trailer(name, str(value)) for name, value in values if value not in (None, "")
    )


@lru_cache(maxsize=256)
def _trailer(name: str, value: str) -> str:
    """Return a trailer; most of those of a commit's events say the same."""
    return f"{name}: {one_line(value)}"


def message(events: Sequence[Event]) -> str:
    """Return the message of a state commit: a subject for people, trailers for programs."""
    told = [event.note or _told(event) for event in events]
    plan = events[0].plan if events else ""
    if len(told) == 1:
        subject, body = told[0], ""
    else:
        subject = "; ".join(told)
        if len(subject) > LONGEST_SUBJECT:
            subject = f"{told[0]} (and {len(told) - 1} more)"
        body = "\n".join(f"- {one_line(line)}" for line in told) + "\n\n"
    subject = one_line(subject)
    return f"{plan}: {subject[:200]}\n\n{body}" + "\n".join(trailers(event) for event in events)


def _told(event: Event) -> str:
    what = event.event.replace("_", " ")
    why = f": {event.reason}" if event.reason else ""
    attempt = f" (attempt {event.attempt})" if event.attempt else ""
    return f"{event.task} {what}{attempt}{why}".strip()


def events_of(commit: Commit) -> Iterator[Event]:
    """Yield the events that a commit of ours records, from its last paragraph.

    Trailers that make no event are somebody else's: anybody can write them.
    """
    paragraph = commit.message.rstrip("\n").rpartition("\n\n")[2]
    names = dict(_TRAILERS)
    found: list[dict[str, str]] = []
    for line in paragraph.split("\n"):
        name, _, value = line.partition(": ")
        if name == "Gitflow-Event":
            found.append({})
        if found and name in names:
            found[-1][names[name]] = value
    for event in found:
        with contextlib.suppress(ValidationError):
            yield Event.model_validate(event)


def new_nonce() -> str:
    """Return what makes a claim unlike any other."""
    return secrets.token_hex(12)


def new_word() -> str:
    """Return a word that nobody guesses and YAML takes for nothing but a word."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
