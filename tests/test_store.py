"""What is kept: the state as commits, refs that move together or not at all, and the lock."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import zlib
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitflow_agents import spec
from gitflow_agents.errors import FlowError, GitFailed, LostRace
from gitflow_agents.models import (
    ZERO,
    Attempt,
    Car,
    Event,
    Lease,
    Plan,
    PlanState,
    Ran,
    Reason,
    Status,
    TaskRecord,
    Train,
)
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.store import CheckedOut, Draft, Known, RefRefused, Repository, Store
from gitflow_agents.store import refs as refs_module
from gitflow_agents.store.repository import EMPTY_TREE, FILE, Commit, Entry, Git, loose
from gitflow_agents.store.state import (
    events_of,
    message,
    new_nonce,
    one_line,
    record_path,
    spec_files,
    state_ref,
    trailers,
)
from tests import engine
from tests.repos import Repo

TEXT = b"plan: p\ngoal: Try it\ntasks: [{id: '1'}, {id: '10'}, {id: '2'}]\n"
PLAN = spec.load_plan(TEXT, "p")
STATE = state_ref("p")
FLOW = "refs/heads/flow/p"
TASK = "refs/heads/task/p/1-first"
KEPT = "refs/heads/gitflow/attempt/p/1/1"


@pytest.fixture
def store(repo: Repo) -> Iterator[Store]:
    """Return the store of the test's repository."""
    made = Store(Repository(repo.path, clock=lambda: 1_700_000_000))
    yield made
    made.close()


@pytest.fixture
def other(repo: Repo) -> Iterator[Store]:
    """Return the same repository's store as another process has it."""
    made = Store(Repository(repo.path))
    yield made
    made.close()


def commit(store: Store, subject: str, *parents: str) -> str:
    return store.repository.write_commit(EMPTY_TREE, parents, subject)


def a_state(store: Store, **more: Any) -> PlanState:
    sha = commit(store, "accept plan p v1")
    about: dict[str, Any] = {
        "plan": "p",
        "commit": sha,
        "digest": sha,
        "base": "main",
        "base_sha": sha,
    }
    about |= {"flow": "flow/p", "flow_sha": sha, "accepting": sha, "accepted_at": 1.5}
    return PlanState.model_validate(about | more)


def start(store: Store, **more: Any) -> Snapshot:
    """Write the first commit of the plan's state."""
    draft = Draft(store.snapshot(PLAN, a_state(store, **more), "", "", {}), "alice")
    draft.files["spec.yaml"] = TEXT
    draft.tell("plan_accepted", note="plan accepted as v1")
    store.commit(draft)
    return draft.snapshot


def loaded(store: Store, at: str = "") -> Snapshot:
    found = store.load("p", at)
    assert found is not None
    return found


# --- the state ------------------------------------------------------------------------------------

# What a YAML file can hold: everything printable, and the white space that people type.
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"))
NASTY = (
    "## a: b, 'c' \"d\"\n---\n- e: [f]\n# g\n😀 é\u200b \\ {x} %y @z !!python/object:os.system `w`"
)
attempts = st.builds(
    Attempt,
    number=st.integers(1, 99),
    message=text,
    ended_at=st.none() | st.floats(0, 1e10),
    outcome=st.sampled_from(["running", "succeeded", "failed", "stopped", "expired"]),
    reason=st.none() | st.sampled_from(Reason),
    cost_usd=st.none() | st.floats(0, 1e6),
)
leases = st.builds(
    Lease,
    host=text,
    boot=text,
    pid=st.integers(1),
    pid_started=st.integers(0),
    until=st.floats(0, 1e10),
)
evidence = st.builds(
    Ran,
    command=text,
    kind=st.sampled_from(["setup", "verify", "check", "gate"]),
    code=st.none() | st.integers(-64, 255),
    seconds=st.floats(0, 1e6),
    tail=text,
)
records = st.builds(
    TaskRecord,
    id=st.just("1"),
    status=st.sampled_from(Status),
    reason=st.none() | st.sampled_from(Reason),
    message=text,
    summary=text | st.just(NASTY),
    learned=st.lists(text, max_size=3).map(tuple),
    lease=st.none() | leases,
    attempts=st.lists(attempts, max_size=3).map(tuple),
    evidence=st.lists(evidence, max_size=2).map(tuple),
    not_before=st.floats(0, 1e10),
)


@given(record=records, held=text, learned=st.lists(text, max_size=3).map(tuple))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again_as_it_was(
    store: Store, other: Store, record: TaskRecord, held: str, learned: tuple[str, ...]
) -> None:
    snapshot = store.load("p") or start(store)
    draft = Draft(snapshot, "alice")
    draft.set(held=held, learned=learned)
    draft.put(record)
    draft.tell("plan_held")
    store.commit(draft)
    seen = loaded(other)
    assert (seen.records["1"], seen.state) == (record, snapshot.state)
    assert (seen.plan, seen.tip, seen.tree) == (PLAN, snapshot.tip, snapshot.tree)


def test_a_plans_state_with_a_train_is_read_again_as_it_was(store: Store, other: Store) -> None:
    lease = Lease(host="h", boot="b", pid=7, pid_started=8, until=9.5)
    car = Car(task="1", tip="a" * 40, merge="b" * 40)
    train = Train(base="c" * 40, cars=(car,), tip="b" * 40, lease=lease, base_branch_tip="d" * 40)
    written = start(store, train=train, train_limit=2, status="finished", revision=3)
    assert loaded(other).state == written.state
    assert loaded(other).state.train == train


def test_tasks_have_a_small_file_each_and_only_those_with_a_fact(store: Store, repo: Repo) -> None:
    snapshot = start(store)
    assert repo.tree(STATE) == ["STATUS.md", "plan.yaml", "spec.yaml"]
    for id in ("1", "10"):
        draft = Draft(snapshot)
        draft.put(TaskRecord(id=id, status=Status.IN_PROGRESS))
        draft.tell("attempt_started", task=id)
        store.commit(draft)
    files = [path for path in repo.tree(STATE) if path.startswith("tasks/")]
    assert files == sorted([record_path("1"), record_path("10")])
    # Two hex digits of sha1(id): `printf 1 | sha1sum` begins with 35.
    assert record_path("1") == "tasks/35/1.yaml"
    assert repo.show(STATE, record_path("10")) == "schema: 1\nid: '10'\nstatus: in_progress\n"


def test_an_event_touches_only_the_files_that_it_changes(store: Store, repo: Repo) -> None:
    snapshot = start(store)
    before = snapshot.tip
    draft = Draft(snapshot)
    draft.put(TaskRecord(id="1", status=Status.IN_PROGRESS))
    draft.tell("attempt_started", task="1")
    store.commit(draft)
    changed = repo.git("diff", "--name-only", before, snapshot.tip).split()
    assert changed == ["tasks/35/1.yaml"]


def test_an_older_state_is_read_by_its_commit(store: Store) -> None:
    snapshot = start(store)
    first = snapshot.tip
    draft = Draft(snapshot)
    draft.put(TaskRecord(id="1", status=Status.IN_PROGRESS))
    draft.tell("attempt_started", task="1")
    store.commit(draft)
    assert loaded(store, first).status("1") is Status.PENDING
    assert loaded(store).status("1") is Status.IN_PROGRESS
    assert [entry.sha for entry in store.history("p")] == [first, snapshot.tip]
    assert [entry.sha for entry in store.history("p", since=first)] == [snapshot.tip]


def test_a_plan_that_was_never_accepted_has_no_state(store: Store) -> None:
    assert store.load("p") is None
    assert store.plans() == []
    with pytest.raises(FlowError, match="v9 names no commit"):
        store.load("p", "v9")


def test_a_commit_that_is_no_state_is_refused(store: Store) -> None:
    start(store)
    with pytest.raises(FlowError, match="main is not the state of a plan"):
        store.load("p", "main")


def test_a_state_of_a_newer_version_is_refused(store: Store, repo: Repo) -> None:
    snapshot = start(store)
    newer = repo.show(STATE, "plan.yaml").replace("schema: 1\n", "schema: 2\n", 1)
    blob = store.repository.write_blob(newer.encode())
    tree = store.repository.graft(snapshot.tree, {"plan.yaml": Entry(FILE, blob)})
    tip = store.repository.write_commit(tree, [snapshot.tip], "from the future")
    with pytest.raises(FlowError, match="written in schema 2, this version reads 1") as refused:
        store.load("p", tip)
    assert refused.value.hint == "install a newer gitflow-agents"


def test_a_state_that_somebody_damaged_is_an_error_and_no_crash(store: Store) -> None:
    snapshot = start(store)
    for damage in (b"schema: 1\nplan: p\n", b"- 1\n", b"\xff\xfe", b"schema: 1\nplan: [\n"):
        blob = store.repository.write_blob(damage)
        tree = store.repository.graft(snapshot.tree, {"plan.yaml": Entry(FILE, blob)})
        tip = store.repository.write_commit(tree, [snapshot.tip], "damaged")
        with pytest.raises(FlowError):
            store.load("p", tip)


def test_parsed_values_are_kept_by_their_blob_and_a_damaged_cache_is_nothing(
    store: Store, tmp_path: Path
) -> None:
    snapshot = start(store)
    draft = Draft(snapshot)
    draft.put(TaskRecord(id="1", status=Status.FAILED, reason=Reason.CONFLICT, message=NASTY))
    draft.tell("merge_refused", task="1")
    store.commit(draft)
    known = Known()
    store.load("p", known=known)
    file = tmp_path / "below" / "p.json"
    known.write(file)
    kept = {sha: value for sha, value in known.values.items() if not isinstance(value, Plan)}
    assert Known.read(file).values == kept
    again = Known.read(file)
    now = store.load("p", known=again)
    assert now is not None
    assert (now.plan, now.records) == (snapshot.plan, snapshot.records)
    assert (known.is_news, again.is_news) == (True, False)
    assert loaded(store).records == {"1": next(iter(snapshot.records.values()))}
    for damage in (
        b"",
        b"{",
        b"7\n",
        b"a Nothing {}\n",
        b"a TaskRecord {}\n",
        b"\xff PlanState {}",
    ):
        file.write_bytes(damage)
        assert Known.read(file).values == {}


# --- a decision -----------------------------------------------------------------------------------


def test_a_decision_on_an_old_state_loses_and_changes_nothing(
    store: Store, other: Store, repo: Repo
) -> None:
    start(store)
    mine, theirs = Draft(loaded(store)), Draft(loaded(other))
    for draft, ref in ((mine, TASK), (theirs, KEPT)):
        draft.move(ref, ZERO, commit(store, "claim 1"))
        draft.put(TaskRecord(id="1", status=Status.IN_PROGRESS))
        draft.tell("attempt_started", task="1")
    store.commit(mine)
    before = engine.refs(repo)
    with pytest.raises(LostRace) as lost:
        other.commit(theirs)
    assert lost.value.code == 75
    assert lost.value.message.startswith(
        f"somebody was faster: gitflow/state/p is at {mine.snapshot.tip[:12]}"
    )
    assert engine.refs(repo) == before


def start_in_lines(store: Store) -> None:
    """Write a state of which a slice can be read."""
    draft = Draft(start(store))
    draft.files |= spec_files(TEXT, PLAN)
    draft.tell("flow_changed")
    store.commit(draft)


def holding(store: Store, task: str) -> Draft:
    """Return a decision on one task, made on nothing but what the state says of that one."""
    snapshot = store.load_slice("p", [task])
    assert snapshot is not None
    draft = Draft(snapshot, "alice")
    draft.put(TaskRecord(id=task, held=f"by {store.repository.directory.name}"))
    draft.tell("task_held", task=task)
    return draft


def test_a_decision_on_a_task_stands_beside_what_others_recorded_of_another(
    store: Store, other: Store
) -> None:
    start_in_lines(store)
    mine, theirs = holding(store, "1"), holding(other, "2")
    first = other.commit(theirs)
    with store.refs.lock():
        store.renew_slice(mine.snapshot)
        second = store.commit(mine)
    assert store.repository.commit(second).parents == (first,)
    assert loaded(store).records == mine.records | theirs.records


@pytest.mark.parametrize("what", ["task", "plan"])
def test_a_decision_on_a_task_is_lost_when_what_it_was_made_on_has_changed(
    store: Store, other: Store, what: str
) -> None:
    start_in_lines(store)
    mine, theirs = holding(store, "1"), holding(other, "1" if what == "task" else "2")
    if what == "plan":
        theirs.set(held="because")
    last = other.commit(theirs)
    with store.refs.lock(), pytest.raises(LostRace, match="somebody was faster"):
        store.renew_slice(mine.snapshot)
    assert loaded(store).tip == last


def test_of_two_first_acceptances_one_wins(store: Store, other: Store) -> None:
    snapshot = other.snapshot(PLAN, a_state(other), "", "", {})
    late = Draft(snapshot)
    late.files["spec.yaml"] = TEXT
    late.tell("plan_accepted")
    start(store)
    with pytest.raises(LostRace):
        other.commit(late)
    assert store.plans() == ["p"]


def test_two_claims_are_never_the_same_commit() -> None:
    assert len({new_nonce() for _ in range(1000)}) == 1000


def test_the_state_moves_last_and_what_it_stands_on_first(store: Store) -> None:
    snapshot = start(store)
    draft = Draft(snapshot)
    names = [
        "task/p/2-b",
        "flow/p",
        "gitflow/try/p",
        "task/p/1-a",
        "plan/p",
        "gitflow/attempt/p/1/1",
    ]
    for name in names:
        draft.move(f"refs/heads/{name}", ZERO, "a" * 40)
    assert [ref.removeprefix("refs/heads/") for ref, _, _ in draft.ordered_moves()] == [
        "gitflow/try/p",
        "plan/p",
        "gitflow/attempt/p/1/1",
        "flow/p",
        "task/p/2-b",
        "task/p/1-a",
    ]


def test_a_ref_that_moves_twice_in_one_decision_moves_once(store: Store) -> None:
    draft = Draft(start(store))
    draft.move(TASK, "a" * 40, "b" * 40)
    draft.move(TASK, "b" * 40, "c" * 40)
    assert draft.ordered_moves() == [(TASK, "a" * 40, "c" * 40)]


def test_a_decision_brings_its_snapshot_forward(store: Store) -> None:
    draft = Draft(start(store))
    draft.put(TaskRecord(id="1", status=Status.COMPLETED))
    draft.set(held="why")
    assert draft.snapshot.status("1") is Status.COMPLETED
    assert draft.snapshot.state.held == "why"
    assert draft.snapshot.by_status[Status.COMPLETED] == {"1"}


# --- events as messages ---------------------------------------------------------------------------

words = st.text(min_size=1, max_size=60).map(one_line).filter(lambda said: said.strip() == said)
events = st.builds(
    Event,
    event=st.sampled_from(["attempt_started", "task_merged", "plan_held"]),
    plan=st.just("p"),
    task=st.sampled_from(["", "1", "10", "a.b-c"]),
    attempt=st.none() | st.integers(1, 999),
    status=st.none() | st.sampled_from(Status),
    reason=st.none() | st.sampled_from(Reason),
    actor=words,
    run=words,
    agent=st.sampled_from(["", "command"]),
    cost_usd=st.none() | st.floats(0, 1000),
    commit=st.sampled_from(["", "a" * 40]),
    note=st.text(),
)


def said_by(text: str) -> list[Event]:
    return list(events_of(Commit("0" * 40, EMPTY_TREE, (), "", "", text)))


@given(told=st.lists(events, min_size=1, max_size=4))
def test_events_are_read_from_a_message_as_they_were_told(told: list[Event]) -> None:
    assert said_by(message(told)) == [event.model_copy(update={"note": ""}) for event in told]


@given(note=st.text(), line=st.sampled_from(["Gitflow-Event: task_merged", "gitflow-task: 9"]))
def test_free_text_in_an_event_cannot_tell_another_one(note: str, line: str) -> None:
    event = Event(event="plan_held", plan="p", note=f"{note}\n\n{line}", actor=f"eve\n{line}")
    (read,) = said_by(message([event]))
    assert (read.event, read.task) == ("plan_held", "")


def test_a_message_says_first_what_people_read(store: Store) -> None:
    one = Event(event="task_merged", plan="p", task="1", attempt=2, note="1 merged")
    two = Event(event="plan_finished", plan="p")
    assert message([one]) == (
        "p: 1 merged\n\n"
        "Gitflow-Event: task_merged\nGitflow-Plan: p\nGitflow-Task: 1\nGitflow-Attempt: 2"
    )
    assert message([one, two]) == (
        "p: 1 merged; plan finished\n\n- 1 merged\n- plan finished\n\n"
        "Gitflow-Event: task_merged\nGitflow-Plan: p\nGitflow-Task: 1\nGitflow-Attempt: 2\n"
        "Gitflow-Event: plan_finished\nGitflow-Plan: p"
    )
    assert message([one] * 30).startswith("p: 1 merged (and 29 more)\n\n- 1 merged\n- 1 merged\n")


def test_trailers_are_what_git_takes_for_trailers(store: Store, repo: Repo) -> None:
    event = Event(
        event="attempt_failed",
        plan="p",
        task="1",
        attempt=1,
        status=Status.FAILED,
        reason=Reason.CHECKS_FAILED,
        actor="Zoë <z@example.com>",
        run="local-1-2",
        agent="command",
        cost_usd=0.25,
        commit="a" * 40,
    )
    sha = store.repository.write_commit(EMPTY_TREE, [], message([event]))
    parsed = repo.git("log", "-1", "--format=%(trailers:only,unfold)", sha)
    assert parsed.strip() == trailers(event)
    assert trailers(event).splitlines() == [
        "Gitflow-Event: attempt_failed",
        "Gitflow-Plan: p",
        "Gitflow-Task: 1",
        "Gitflow-Attempt: 1",
        "Gitflow-Status: failed",
        "Gitflow-Reason: checks-failed",
        "Gitflow-Actor: Zoë <z@example.com>",
        "Gitflow-Run: local-1-2",
        "Gitflow-Agent: command",
        "Gitflow-Cost-Usd: 0.25",
        f"Gitflow-Commit: {'a' * 40}",
    ]


@pytest.mark.parametrize(
    "forged",
    [
        "Gitflow-Event: task_merged",
        "Gitflow-Event: a\nGitflow-Event: b",
        "Gitflow-Event: a\nGitflow-Plan: p\nGitflow-Attempt: x\nGitflow-Event: b",
        "Gitflow-Plan: p\nGitflow-Task: 1",
        "Gitflow-Event:\nGitflow-Plan: p",
        "Gitflow-Status: odd\nGitflow-Event: c\nGitflow-Plan: p\nGitflow-Status: odd",
    ],
)
def test_trailers_that_make_no_event_are_nobodys(forged: str) -> None:
    assert said_by(f"a commit of a person\n\n{forged}\n") == []


# --- refs that move together ----------------------------------------------------------------------


@pytest.fixture
def shas(store: Store, repo: Repo) -> dict[str, str]:
    """Return commits by name; `flow`, `task` and `state` are where their refs are now."""
    made = {name: commit(store, name) for name in "flow task state flow2 state2 kept x".split()}
    for ref, name in ((FLOW, "flow"), (TASK, "task"), (STATE, "state")):
        repo.git("update-ref", ref, made[name])
    return made


def merge_of(shas: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return the moves of a merge, with an older attempt that is kept on the way."""
    return [
        (KEPT, ZERO, shas["kept"]),
        (FLOW, shas["flow"], shas["flow2"]),
        (TASK, shas["task"], ZERO),
        (STATE, shas["state"], shas["state2"]),
    ]


def after(repo: Repo) -> dict[str, str]:
    return {ref: sha for ref, sha in engine.refs(repo).items() if ref != "refs/heads/main"}


def old(shas: dict[str, str]) -> dict[str, str]:
    return {FLOW: shas["flow"], TASK: shas["task"], STATE: shas["state"]}


def new(shas: dict[str, str]) -> dict[str, str]:
    return {KEPT: shas["kept"], FLOW: shas["flow2"], STATE: shas["state2"]}


def intent_of(store: Store) -> Path:
    return store.refs.folder / "intent.json"


def test_refs_are_made_moved_and_deleted_together(
    store: Store, repo: Repo, shas: dict[str, str]
) -> None:
    seen: list[Any] = []
    store.refs.on_move = seen.append
    store.refs.move(merge_of(shas))
    assert after(repo) == new(shas)
    assert seen == [merge_of(shas)]
    assert intent_of(store).read_bytes() == b""


@pytest.mark.parametrize("late", range(4))
def test_one_old_value_that_no_longer_holds_stops_them_all(
    store: Store, repo: Repo, shas: dict[str, str], late: int
) -> None:
    moves = merge_of(shas)
    repo.git("update-ref", moves[late][0], shas["x"])
    before = after(repo)
    with pytest.raises(LostRace, match=f"is at {shas['x'][:12]} \\(x\\)") as lost:
        store.refs.move(moves)
    assert lost.value.hint == "run the command again"
    assert after(repo) == before
    assert intent_of(store).read_bytes() == b""


def test_a_ref_that_is_gone_is_a_lost_race_too(
    store: Store, repo: Repo, shas: dict[str, str]
) -> None:
    repo.git("update-ref", "-d", FLOW)
    with pytest.raises(LostRace, match="somebody was faster: flow/p is gone"):
        store.refs.move(merge_of(shas))
    assert after(repo) == {TASK: shas["task"], STATE: shas["state"]}


def test_a_move_to_where_a_ref_is_already_is_none(
    store: Store, repo: Repo, shas: dict[str, str]
) -> None:
    store.refs.move([(FLOW, shas["flow"], shas["flow"])])
    store.refs.move([])
    assert not intent_of(store).exists()


def test_a_branch_below_a_branch_is_refused(store: Store, repo: Repo, shas: dict[str, str]) -> None:
    before = after(repo)
    with pytest.raises(RefRefused, match="git cannot make the branch"):
        store.refs.move([(f"{FLOW}/below", ZERO, shas["x"]), (STATE, shas["state"], shas["x"])])
    assert after(repo) == before
    store.refs.move(merge_of(shas))
    assert after(repo) == new(shas)


def test_a_branch_that_a_worktree_has_checked_out_is_not_moved(
    store: Store, repo: Repo, tmp_path: Path
) -> None:
    main = repo.sha("main")
    with pytest.raises(CheckedOut) as refused:
        store.refs.move([("refs/heads/main", main, commit(store, "x"))])
    assert refused.value.message == (
        f"the branch main is checked out in {repo.path}, so it is not moved"
    )
    assert refused.value.hint == f"git -C '{repo.path}' switch --detach"
    repo.git("branch", "side")
    repo.git("worktree", "add", "--quiet", str(tmp_path / "linked"), "side")
    with pytest.raises(CheckedOut, match=f"side is checked out in {tmp_path / 'linked'}"):
        store.refs.move([("refs/heads/side", main, ZERO)])
    assert (repo.sha("main"), repo.sha("side")) == (main, main)


def test_a_move_waits_for_somebody_elses_git(
    store: Store, repo: Repo, shas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = repo.path / ".git" / f"{FLOW}.lock"
    lock.write_text("held by a git of the user's\n")
    tries: list[None] = []
    one_try = store.refs._try

    def counted(moves: Any) -> str | None:
        tries.append(None)
        if len(tries) == 3:
            lock.unlink()
        return one_try(moves)

    monkeypatch.setattr(store.refs, "_try", counted)
    store.refs.move(merge_of(shas))
    assert (len(tries), after(repo)) == (3, new(shas))


def test_a_lock_that_stays_is_reported_and_nothing_moves(
    store: Store, repo: Repo, shas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs_module, "PATIENCE", 0.1)
    lock = repo.path / ".git" / f"{FLOW}.lock"
    lock.write_text("held by a git of the user's\n")
    with pytest.raises(GitFailed, match="git could not move its refs") as failed:
        store.refs.move(merge_of(shas))
    assert failed.value.code == 75
    assert after(repo) == old(shas)
    assert lock.exists()


def test_only_one_holds_the_lock(store: Store, other: Store) -> None:
    order: list[str] = []
    tries = threading.Event()

    def second() -> None:
        tries.set()
        with other.refs.lock():
            order.append("second")

    thread = threading.Thread(target=second)
    with store.refs.lock():
        thread.start()
        tries.wait()
        thread.join(timeout=0.2)
        assert thread.is_alive()
        with store.refs.lock():  # the holder may take it again
            order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_an_interrupt_from_a_terminal_reaches_no_git_that_is_still_asked(
    store: Store, repo: Repo, shas: dict[str, str]
) -> None:
    # Ctrl-C goes to everything in our group. An answer that is cut off reads like "no such ref".
    store.refs.move([(KEPT, ZERO, shas["kept"])])
    store.repository.object("HEAD", "commit")
    assert store.repository.resolve("HEAD~0") == repo.sha("HEAD")
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    gits = [pid for pid in children if "git" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(gits) >= 3
    assert not any(os.getpgid(int(pid)) == os.getpgrp() for pid in gits)


def test_what_was_just_written_is_read_without_a_git(store: Store, other: Store) -> None:
    tip = commit(store, "written")
    store.refs.move([(KEPT, ZERO, tip)])
    started = other.repository.git.started
    assert other.repository.resolve(f"{KEPT}^{{commit}}") == tip
    assert other.repository.commit(tip).subject == "written"
    assert other.repository.git.started == started


@pytest.mark.parametrize("length", [0, 40, 100_000])
def test_how_large_an_object_is_takes_a_git_only_where_it_was_packed(
    store: Store, repo: Repo, length: int
) -> None:
    ours = store.repository.write_blob(b"x" * length)
    gits = repo.git("hash-object", "-w", "--stdin", stdin="y" * length)
    started = store.repository.git.started
    assert (store.repository.size(ours), store.repository.size(gits)) == (length, length)
    assert store.repository.git.started == started
    repo.git("pack-objects", "-q", ".git/objects/pack/pack", stdin=f"{ours}\n{gits}\n")
    repo.git("prune-packed", "-q")
    assert (store.repository.size(ours), store.repository.size(gits)) == (length, length)
    assert store.repository.git.started == started + 1


@pytest.mark.parametrize("damage", [b"", b"x", zlib.compress(b"blob 9\0short")])
def test_an_object_whose_file_is_not_whole_is_an_error(store: Store, damage: bytes) -> None:
    sha = store.repository.write_blob(b"something")
    path = store.repository.common / "objects" / sha[:2] / sha[2:]
    path.unlink()
    path.write_bytes(damage)
    with pytest.raises(GitFailed, match=sha):
        store.repository.blob(sha)


def test_an_object_that_was_packed_is_read_all_the_same(store: Store, repo: Repo) -> None:
    sha = store.repository.resolve("HEAD")
    assert sha is not None
    before = loose(str(store.repository.common), sha)
    repo.git("repack", "-a", "-d", "-q")
    assert loose(str(store.repository.common), sha) is None
    assert before == ("commit", store.repository.object(sha, "commit")[1])


def test_loose_objects_are_packed_where_git_would_pack_them(store: Store, repo: Repo) -> None:
    # One name in 256 begins like that, and by those names git guesses how many there are.
    texts = (b"%d" % number for number in count())
    named = (text for text in texts if blob_name(text).startswith("17"))
    for text in islice(named, 26):
        store.repository.write_blob(text)
    store.repository.pack()
    few = repo.git("count-objects", "-v").splitlines()
    store.repository.write_blob(next(named))
    store.repository.pack()
    many = repo.git("count-objects", "-v").splitlines()
    assert ("packs: 0" in few, "packs: 1" in many) == (True, True)


def blob_name(data: bytes) -> str:
    """Return what git calls a file's content."""
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()


def test_a_repository_that_cannot_be_written_is_one_clear_sentence(
    store: Store, repo: Repo
) -> None:
    (repo.path / ".git" / "gitflow-agents").write_text("a file stands where the folder goes")
    with pytest.raises(GitFailed, match=r"gitflow-agents cannot be written: ") as failed:
        store.refs.move([(KEPT, ZERO, repo.sha("main"))])
    assert failed.value.hint == "the repository must be writable by you"


# --- after a kill ---------------------------------------------------------------------------------


def dead_process() -> int:
    """Return the id of a process that is no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def intend(store: Store, moves: Any, git: int | None = None) -> None:
    """Leave what a run leaves that was killed while it moved these refs."""
    with store.refs.lock():
        pass  # makes the folder
    git = dead_process() if git is None else git
    intent = {"moves": moves, "pid": dead_process(), "started": 1, "git": git}
    intent_of(store).write_text(json.dumps(intent))


def cut(repo: Repo, moves: list[tuple[str, str, str]], count: int) -> None:
    """Make only the first moves, deletions last, as a git does that is killed on the way."""
    ordered = sorted(moves, key=lambda move: move[2] == ZERO)
    for ref, _, sha in ordered[:count]:
        repo.git("update-ref", *(["-d", ref] if sha == ZERO else [ref, sha]))


@pytest.mark.parametrize("count", range(5))
def test_a_transaction_that_a_kill_has_cut_is_completed_or_was_never_begun(
    store: Store, other: Store, repo: Repo, shas: dict[str, str], count: int
) -> None:
    moves = merge_of(shas)
    intend(store, moves)
    cut(repo, moves, count)
    with other.refs.lock():
        assert after(repo) == (new(shas) if count else old(shas))
    assert intent_of(store).read_bytes() == b""
    with store.refs.lock():
        assert after(repo) == (new(shas) if count else old(shas))


def test_what_somebody_moved_meanwhile_is_not_moved_back(
    store: Store, repo: Repo, shas: dict[str, str]
) -> None:
    moves = merge_of(shas)
    intend(store, moves)
    cut(repo, moves, 1)
    repo.git("update-ref", FLOW, shas["x"])
    with store.refs.lock():
        pass
    assert after(repo) == {**old(shas), KEPT: shas["kept"], FLOW: shas["x"]}
    assert intent_of(store).read_bytes() == b""


@pytest.mark.parametrize(
    "torn",
    ["{", '{"moves": [["refs/he', "[]", '{"moves": [], "pid": 1}', '{"moves": [1], "git": 1}', "\0" * 64],
)  # fmt: skip
def test_a_torn_intent_is_dropped_because_nothing_had_moved(
    store: Store, repo: Repo, shas: dict[str, str], torn: str
) -> None:
    with store.refs.lock():
        pass
    intent_of(store).write_text(torn)
    store.refs.move(merge_of(shas))
    assert after(repo) == new(shas)
    assert intent_of(store).read_bytes() == b""


@pytest.mark.parametrize("content", ["", "the intended sha"])
def test_lock_files_of_the_dead_git_are_removed(
    store: Store, other: Store, repo: Repo, shas: dict[str, str], content: str
) -> None:
    moves = merge_of(shas)
    intend(store, moves)
    cut(repo, moves, 1)
    for ref, _, sha in moves:
        if sha != ZERO:
            lock = repo.path / ".git" / f"{ref}.lock"
            lock.write_text(f"{sha}\n" if content else "")
    (repo.path / ".git" / f"{TASK}.lock").write_text("")
    other.refs.move([("refs/heads/more", ZERO, shas["x"])])
    assert after(repo) == {**new(shas), "refs/heads/more": shas["x"]}
    engine.tidy(repo)


def test_a_lock_file_with_something_else_in_it_is_somebody_elses(
    store: Store, repo: Repo, shas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs_module, "PATIENCE", 0.1)
    moves = merge_of(shas)
    intend(store, moves)
    cut(repo, moves, 1)
    lock = repo.path / ".git" / f"{FLOW}.lock"
    lock.write_text(f"{shas['x']}\n")
    with pytest.raises(GitFailed), store.refs.lock():
        pass
    assert lock.read_text() == f"{shas['x']}\n"
    lock.unlink()
    with store.refs.lock():
        assert after(repo) == new(shas)


def test_packed_refs_are_unlocked_when_nobody_writes_them(
    store: Store, repo: Repo, shas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refs_module, "PATIENCE", 0.2)
    repo.git("pack-refs", "--all")
    moves = merge_of(shas)
    intend(store, moves)
    cut(repo, moves, 1)
    (repo.path / ".git" / "packed-refs.lock").write_text("half of the packed refs")
    with store.refs.lock():
        assert after(repo) == new(shas)
    engine.tidy(repo)


def test_packed_refs_that_are_being_written_are_waited_for(
    store: Store, repo: Repo, shas: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.git("pack-refs", "--all")
    intend(store, merge_of(shas))
    lock = repo.path / ".git" / "packed-refs.lock"
    lock.write_text("half")
    pauses: list[float] = []

    def while_it_is_written(seconds: float) -> None:
        pauses.append(seconds)
        lock.write_text("half, and more")

    monkeypatch.setattr("time.sleep", while_it_is_written)
    with store.refs.lock():
        pass
    assert (pauses, lock.read_text()) == ([refs_module.PATIENCE], "half, and more")


def test_a_git_that_outlived_its_run_may_end_first(
    store: Store, repo: Repo, shas: dict[str, str]
) -> None:
    # What the killed run's git still does: it moves the refs, then it ends.
    moves = merge_of(shas)
    script = textwrap.dedent(
        f"""
        read line
        git update-ref {KEPT} {shas["kept"]} && git update-ref {FLOW} {shas["flow2"]} &&
        git update-ref -d {TASK} && git update-ref {STATE} {shas["state2"]}
        """
    )
    with subprocess.Popen(["sh", "-c", script], cwd=repo.path, stdin=subprocess.PIPE) as git:
        intend(store, moves, git.pid)
        threading.Timer(0.1, git.communicate, [b"go\n"]).start()
        with store.refs.lock():
            assert after(repo) == new(shas)


KILLED = """
import os, signal, sys, threading
from gitflow_agents.store import Repository, Store

path, delay, ref, flow, *shas = sys.argv[1:]
store = Store(Repository(path))
threading.Timer(float(delay), os.kill, [os.getpid(), signal.SIGKILL]).start()
at = 0
print("ready", flush=True)
while True:
    old, new = shas[at % 2], shas[(at + 1) % 2]
    extra = [(ref, "0" * 40, new)] if at % 2 == 0 else [(ref, old, "0" * 40)]
    store.refs.move([(flow, old, new), *extra, ("refs/heads/gitflow/state/p", old, new)])
    at += 1
"""


def kill_while_it_moves(repo: Repo, first: str, second: str, delay: float) -> None:
    for ref in (FLOW, STATE):
        repo.git("update-ref", ref, first)
    repo.git("update-ref", "-d", TASK)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(repo.path), str(delay), TASK, FLOW, first, second],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "ready\n"), done.stderr


def agree(repo: Repo, first: str, second: str) -> None:
    now = after(repo)
    assert now in ({FLOW: first, STATE: first}, {FLOW: second, STATE: second, TASK: second})


def test_after_a_real_kill_all_refs_of_a_transaction_agree(store: Store, repo: Repo) -> None:
    first, second = commit(store, "first"), commit(store, "second")
    kill_while_it_moves(repo, first, second, 0.05)
    with store.refs.lock():
        agree(repo, first, second)
    engine.tidy(repo)


@pytest.mark.slow
def test_after_many_real_kills_all_refs_of_a_transaction_agree(store: Store, repo: Repo) -> None:
    first, second = commit(store, "first"), commit(store, "second")
    for turn in range(20):
        kill_while_it_moves(repo, first, second, 0.02 + turn * 0.0017)
        with store.refs.lock():
            agree(repo, first, second)
        engine.tidy(repo)


def test_a_variable_that_comes_and_goes_meanwhile_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMES_AND_GOES", "")
    is_over = threading.Event()

    def flip() -> None:
        while not is_over.is_set():
            os.environ.pop("COMES_AND_GOES", None)
            os.environ["COMES_AND_GOES"] = "1"

    flipping, interval = threading.Thread(target=flip), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    flipping.start()
    try:
        for _ in range(500):
            assert Git(str(tmp_path), {})._own[b"LC_ALL"] == b"C"
    finally:
        is_over.set()
        flipping.join()
        sys.setswitchinterval(interval)
