"""Plans that are really run, and an audit of what they left in git.

`go` runs a plan in this process; `audit` replays what the state and flow branches record, by its
own reading of git, and compares it with what their trees hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gitflow_agents import runner
from gitflow_agents.commands import KINDS
from gitflow_agents.models import Reason, Status
from gitflow_agents.runner import reaper
from gitflow_agents.service import Service
from gitflow_agents.service.acting import Outcome
from gitflow_agents.service.fsck import Finding, check
from gitflow_agents.service.service import Told
from gitflow_agents.store import Repository, Store
from gitflow_agents.transitions import TRANSITIONS, Happened
from tests.repos import Repo, Result

PLAN = "p"
FILE = f"plans/{PLAN}.yaml"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_GIVEN = frozenset({"task_submitted", "task_given"})
_ENDS = _GIVEN | set("attempt_succeeded attempt_failed attempt_expired attempt_stopped".split())
_ENDS |= {"question_asked"}
_NOTES = frozenset(
    "work_kept retry_changed task_held task_resumed task_kept task_approved task_unapproved "
    "feedback_added feedback_withdrawn feedback_offered feedback_delivered".split()
)
"""Events that are about a task and move it nowhere."""
_NEW_WORK = frozenset("plan_accepted plan_closed task_reverted task_retried".split())
"""Events after which a finished plan may be running again, or is over without an end."""


def task(id: str, run: str, **keys: Any) -> dict[str, Any]:
    """Return a task that runs a command."""
    return {"id": id, "title": f"Task {id}", "description": f"do {id}", "run": run, **keys}


def plan(repo: Repo, *tasks: Mapping[str, Any], name: str = PLAN, **keys: Any) -> str:
    """Write `plans/NAME.yaml` into the checkout and return its path there."""
    text = {"plan": name, "goal": "Try it", **keys, "tasks": tasks}
    repo.write(f"plans/{name}.yaml", json.dumps(text, ensure_ascii=False, indent=1))
    return f"plans/{name}.yaml"


def config(repo: Repo, **keys: Any) -> None:
    """Commit a config with these keys to the branch that is checked out."""
    repo.write(".gitflow-agents.yml", json.dumps(keys))
    repo.git("add", ".gitflow-agents.yml")
    repo.git("commit", "--quiet", "--message", "settings")


RUN = "$(cut -d' ' -f4 /proc/$(cut -d' ' -f4 /proc/$PPID/stat)/stat)"
"""Shell words for the run that started a command: it is above the reaper, and the one above that."""


def until(condition: str, seconds: float = 20) -> str:
    """Return shell words that wait until a condition holds, and exit with 99 when it never does."""
    looks = int(seconds / 0.02)
    return (
        f"n=0; until {condition}; do n=$((n+1)); [ $n -lt {looks} ] || exit 99; sleep 0.02; done; "
    )


def recorded(id: str, status: str, name: str = PLAN) -> str:
    """Return a shell condition: the plan's state says that a task has a status."""
    shown = f"git show gitflow/state/{name}:{record_path(id)} 2>/dev/null"
    return f"{shown} | grep -q '^status: {status}$'"


def record_path(id: str) -> str:
    """Return where the state keeps a task."""
    return f"tasks/{hashlib.sha1(id.encode()).hexdigest()[:2]}/{id}.yaml"


@dataclass(frozen=True)
class Played:
    """One run: how it ended, and all that it told."""

    code: int
    message: str
    hint: str
    told: tuple[Told, ...]

    def happened(self, *events: str) -> list[str]:
        """Return what was told of these events: the task's id, or the event itself."""
        return [
            str(told.data.get("task") or told.event) for told in self.told if told.event in events
        ]

    def text(self, event: str) -> str:
        """Return the line of the one time that an event was told."""
        (only,) = (told for told in self.told if told.event == event)
        return only.text


def go(
    repo: Repo,
    what: str = FILE,
    *,
    jobs: int | None = 2,
    barrier: bool = False,
    remote: str = "",
    watch: bool = False,
    on_event: Callable[[Told], None] = lambda told: None,
    clock: Callable[[], float] = time.time,
    elapsed: Callable[[], float] = time.monotonic,
) -> Played:
    """Run a plan in this process until nothing can move."""
    told: list[Told] = []

    def listen(each: Told) -> None:
        told.append(each)
        on_event(each)

    service = Service(str(repo.path), clock=clock, elapsed=elapsed)
    try:
        how: dict[str, Any] = {"barrier": barrier, "remote": remote, "watch": watch}
        end = service.run(what, jobs=jobs, **how, on_event=listen)
    finally:
        service.close()
    return Played(int(end.code), end.message, end.hint, tuple(told))


@dataclass(frozen=True)
class Other:
    """A run of the installed tool in a process of its own."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def ends(self, seconds: float = 60) -> Result:
        """Return how it ended, once it did."""
        code = self.process.wait(seconds)
        return Result(code, self.out.read_text(), self.err.read_text())

    def dies(self) -> None:
        """Kill it, and nothing but it, as the machine does when it has no memory."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def other(repo: Repo, *words: str) -> Iterator[Other]:
    """Run the installed tool beside the test, `run p` if nothing is said; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=repo.path.parent))
    script = Path(sys.executable).with_name("gitflow-agents")
    with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
        process = subprocess.Popen(
            [str(script), *(words or ("run", PLAN))],
            cwd=repo.path,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            yield Other(process, folder / "out", folder / "err")
        finally:
            process.terminate()
            process.wait(60)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Look again and again until something holds; fail when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def orphan(pid: int) -> None:
    """Kill a run, and before it all that would end its agents with it, so that they live on."""
    os.kill(pid, signal.SIGSTOP)
    above = {child: parent for child, (parent, _) in reaper.processes().items()}
    first = [child for child, parent in above.items() if parent == pid and _is_reaper(child)]
    others = [child for child, parent in above.items() if parent in first]
    for each in (*first, *others, pid):
        os.kill(each, signal.SIGKILL)


def _is_reaper(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"reaper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def gone(pid: int) -> bool:
    """Say whether a process that was killed is gone: the system takes a moment to carry it out."""
    for _ in range(500):
        if not runner.is_alive(pid):
            return True
        time.sleep(0.01)
    return False


def act(
    repo: Repo, verb: str, *targets: str, plan: str = PLAN, dry_run: bool = False, **options: Any
) -> Outcome:
    """Carry out a command in this process, as the person that git names."""
    service = Service(str(repo.path))
    try:
        return service.handle(KINDS[verb](targets=targets, **options), plan, dry_run=dry_run)
    finally:
        service.close()


def record(repo: Repo, id: str, name: str = PLAN) -> dict[str, Any]:
    """Return what the state keeps of a task."""
    return dict(read_yaml(repo.show(f"gitflow/state/{name}", record_path(id))))


def state(repo: Repo, name: str = PLAN) -> dict[str, Any]:
    """Return what the state keeps of a plan."""
    return dict(read_yaml(repo.show(f"gitflow/state/{name}", "plan.yaml")))


def refs(repo: Repo) -> dict[str, str]:
    """Return every ref with its sha."""
    lines = repo.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return {words[0]: words[1] for words in map(str.split, lines)}


def finished(repo: Repo, played: Played, name: str = PLAN) -> None:
    """Hold that a run finished its plan, that its record is true, and that nothing is left over."""
    assert (played.code, played.message.partition(":")[0]) == (0, "the plan is finished")
    statuses = audit(repo, name)
    assert set(statuses.values()) == {"completed"}
    tidy(repo)


def tidy(repo: Repo) -> None:
    """Hold that no worktree, lock, train or intent was left."""
    git = repo.path / repo.git("rev-parse", "--git-common-dir")
    assert not (repo.path / ".worktrees").exists()
    assert [path.name for path in git.glob("worktrees/gitflow-*")] == []
    assert [str(path) for path in git.rglob("*.lock")] == []
    assert repo.git("for-each-ref", "refs/heads/gitflow/try") == ""
    intent = git / "gitflow-agents" / "intent.json"
    assert not intent.exists() or intent.read_bytes() == b""


# --- the audit ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Commit:
    """A commit as `git log` shows it, and the events that its last paragraph tells."""

    sha: str
    parents: tuple[str, ...]
    events: tuple[dict[str, str], ...]


def audit(repo: Repo, name: str = PLAN, *, kept: bool = False) -> dict[str, str]:
    """Replay a plan's state and flow, compare them with their trees, return every task's status.

    With `kept` the branches of merged tasks stay.
    """
    line = log(repo, f"gitflow/state/{name}")
    assert [commit.parents for commit in line] == [
        (),
        *((before.sha,) for before in line[:-1]),
    ], "the state is one line that begins with itself"
    statuses: dict[str, Status] = {}
    running: dict[str, int] = {}
    attempts: dict[str, int] = {}
    taken: set[str] = set()
    asking: set[str] = set()
    records: dict[str, dict[str, Any]] = {}
    for commit, records in zip(line, _trees(repo, line), strict=True):
        assert commit.events, f"{commit.sha} tells nothing"
        for event in commit.events:
            assert event["Plan"] == name
            if id := event.get("Task"):
                _replay(event, id, statuses, attempts, running, taken, asking)
        if any(event["Event"] == "plan_accepted" for event in commit.events):
            _forget(records, statuses, attempts)
        held = {id: record.get("status", "pending") for id, record in records.items()}
        assert held == statuses
        assert {id for id, record in records.items() if record.get("taken_by")} == taken
    about, spec = (f"gitflow/state/{name}:{file}" for file in ("plan.yaml", "spec.yaml"))
    files = _blobs(repo, [about, spec])
    _compare_flow(repo, name, read_yaml(files[about][1]), files[spec][0], records, line)
    _compare_plan(read_yaml(files[about][1]), records, line)
    branches = set(repo.branches())
    for record in records.values():
        if record.get("status") == "completed":
            assert (record["branch"] in branches) == kept
    assert fsck(repo, name) == ()
    tasks = read_yaml(files[spec][1])["tasks"]
    return {each["id"]: str(statuses.get(each["id"], Status.PENDING)) for each in tasks}


def fsck(repo: Repo, name: str = PLAN) -> tuple[Finding, ...]:
    """Return what the tool's own check finds wrong with a plan."""
    store = Store(Repository(repo.path))
    try:
        return check(store, name).findings
    finally:
        store.close()


def _replay(
    event: dict[str, str],
    id: str,
    statuses: dict[str, Status],
    attempts: dict[str, int],
    running: dict[str, int],
    taken: set[str],
    asking: set[str],
) -> None:
    if event["Event"] in _NOTES:
        assert "Status" not in event
        statuses.setdefault(id, Status.PENDING)
        if event["Event"] == "work_kept":
            assert int(event["Attempt"]) <= attempts[id]
            assert event["Commit"]
        return
    happened, after = Happened(event["Event"]), Status(event["Status"])
    assert TRANSITIONS[statuses.get(id, Status.PENDING)][happened] is after
    statuses[id] = after
    if reason := event.get("Reason"):
        assert Reason(reason)
    goes_on = happened is Happened.ATTEMPT_STARTED and id in asking
    if happened is Happened.QUESTION_ASKED:
        asking.add(id)
    elif happened is not Happened.QUESTION_ANSWERED:
        asking.discard(id)
    if happened in (Happened.ATTEMPT_STARTED, Happened.TASK_TAKEN):
        attempts[id] = attempts.get(id, 0) + (not goes_on)
        assert id not in running
        running[id] = attempts[id]
    if "Attempt" in event:
        assert int(event["Attempt"]) == attempts[id]
    if happened is Happened.TASK_TAKEN:
        taken.add(id)
    if happened in _ENDS:
        assert running.pop(id) == attempts[id]
        assert (happened in _GIVEN) == (id in taken), "only a person ends what a person took"
        taken.discard(id)


def _forget(
    records: dict[str, dict[str, Any]], statuses: dict[str, Status], attempts: dict[str, int]
) -> None:
    """Forget what a new text of the plan leaves out: only what nothing was ever done for."""
    for id in statuses.keys() - records.keys():
        assert statuses.pop(id) is Status.PENDING
        assert id not in attempts


def _compare_plan(
    about: dict[str, Any], records: dict[str, dict[str, Any]], line: list[Commit]
) -> None:
    """What is told of the plan as a whole is what the state says in the end."""
    revision, is_finished, is_held, is_closed = 0, False, False, False
    held_tasks: set[str] = set()
    for event in (event for commit in line for event in commit.events):
        happened = event["Event"]
        assert not is_closed or happened == "work_kept", "a closed plan is only looked at"
        match happened:
            case "plan_accepted":
                revision, is_finished = revision + 1, False
            case "plan_refused":
                assert revision
                assert event["Commit"]
            case "plan_held":
                is_held = True
            case "plan_resumed":
                assert is_held
                is_held = False
            case "plan_closed":
                is_closed = True
            case "plan_finished":
                assert not is_finished, "it ends once, unless it has work again"
                is_finished = True
            case "task_held":
                assert event["Task"] not in held_tasks
                held_tasks.add(event["Task"])
            case "task_resumed":
                held_tasks.remove(event["Task"])
            case _ if happened in set(Happened):
                is_finished = False
    assert about.get("revision", 1) == revision
    assert bool(about.get("held")) == is_held
    assert (about.get("status") == "closed") == is_closed
    assert held_tasks >= {id for id, record in records.items() if record.get("held")}
    assert {id for id in held_tasks if id in records and not records[id].get("held")} == set()
    assert not is_finished or about["status"] in ("finished", "landed", "closed")


def _compare_flow(
    repo: Repo,
    name: str,
    about: dict[str, Any],
    digest: str,
    records: dict[str, dict[str, Any]],
    line: list[Commit],
) -> None:
    """Completed is exactly what flow's own line holds a merge of, the one that the state names."""
    flow = log(repo, about["flow"], "--first-parent")
    assert flow[-1].sha == about["flow_sha"]
    assert about["digest"] == digest
    told: dict[str, str] = {}
    taken_back: set[str] = set()
    for event in (event for commit in line for event in commit.events):
        if event["Event"] == "task_merged":
            told[event["Task"]] = event["Commit"]
        elif event["Event"] == "task_reverted":
            repo.git("merge-base", "--is-ancestor", event["Commit"], about["flow_sha"])
            taken = told.pop(event["Task"])
            said = repo.log(event["Commit"], "%B", "-1")
            assert f"This reverts commit {taken[:7]}" in said
            taken_back.add(taken)
    merges = [
        (event["Task"], commit)
        for commit in flow
        for event in commit.events
        if event["Event"] == "task_merged" and event["Plan"] == name
        if commit.sha not in taken_back
    ]
    assert len(merges) == len({id for id, _ in merges}), "a task is merged once"
    on_flow = {id: commit.sha for id, commit in merges}
    assert on_flow == told
    how = ("--first-parent", "--no-merges", "--grep=^This reverts commit ")
    reverting = repo.log(about["flow_sha"], "%B", *how)
    assert not any(f"This reverts commit {sha[:7]}" in reverting for sha in on_flow.values())
    assert on_flow == {
        id: record["merge"] for id, record in records.items() if record.get("status") == "completed"
    }
    for id, commit in merges:
        assert commit.parents[1] == records[id]["attempts"][-1]["report"]
    assert not any(path.startswith(".gitflow/") for path in repo.tree(about["flow"]))
    ends = [e for commit in line for e in commit.events if e["Event"] == "plan_finished"]
    is_over = about.get("status", "live") in ("finished", "landed")
    again = {e["Event"] for commit in line[1:] for e in commit.events} & _NEW_WORK
    assert len(ends) >= is_over if again else len(ends) == is_over


def log(repo: Repo, rev: str, *options: str) -> list[Commit]:
    """Return the commits of a revision with the events that they tell, oldest first."""
    shown = repo.log(rev, "%H%x00%P%x00%B%x1e", "--reverse", *options)
    commits = []
    for entry in shown.split("\x1e")[:-1]:
        sha, parents, message = entry.lstrip("\n").split("\0")
        commits.append(Commit(sha, tuple(parents.split()), tuple(_events(message))))
    return commits


def _events(message: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for line in message.strip("\n").split("\n\n")[-1].split("\n"):
        key, _, value = line.partition(": ")
        if key == "Gitflow-Event":
            found.append({})
        if found:
            assert key.startswith("Gitflow-"), f"{line!r} stands among the trailers"
            found[-1][key.removeprefix("Gitflow-")] = value
    return found


def _trees(repo: Repo, line: list[Commit]) -> Iterator[dict[str, dict[str, Any]]]:
    """Yield the tasks' records in each commit of the state, whose line begins with itself.

    What every commit changes is asked at once: two processes for any number of commits.
    """
    asked = "".join(f"{commit.sha}\n" for commit in line)
    how = ("--stdin", "--always", "--root", "-r", "-z", "--no-renames")
    changes: list[dict[str, str]] = []
    words = iter(repo._git("diff-tree", *how, stdin=asked).split("\0")[:-1])
    for word in words:
        if word.startswith(":"):
            path, blob = next(words), word.split()[3]
            if path.startswith("tasks/"):
                changes[-1][path] = blob
        else:
            assert word == line[len(changes)].sha
            changes.append({})
    # A file that was taken away has a blob of noughts.
    blobs = _blobs(
        repo, {blob for change in changes for blob in change.values() if blob.strip("0")}
    )
    found: dict[str, dict[str, Any]] = {}
    for change in changes:
        for path, blob in change.items():
            found.pop(path, None)
            if blob in blobs:
                found[path] = read_yaml(blobs[blob][1])
                assert path == record_path(found[path]["id"])
        yield {record["id"]: record for record in found.values()}


def _blobs(repo: Repo, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the sha and the text of each blob, by the name that it was asked for."""
    asked = sorted(names)
    said = repo._git("cat-file", "--batch", stdin="".join(f"{name}\n" for name in asked))
    rest = said.encode("utf-8", "surrogateescape")
    found: dict[str, tuple[str, str]] = {}
    for name in asked:
        head, _, rest = rest.partition(b"\n")
        sha, kind, size = head.decode().split()
        assert kind == "blob"
        found[name] = (sha, rest[: int(size)].decode())
        rest = rest[int(size) + 1 :]
    return found


def read_yaml(text: str) -> dict[str, Any]:
    """Return what a YAML file of the tool says."""
    value = yaml.load(text, _Loader)
    assert isinstance(value, dict)
    return value


# --- people beside a run --------------------------------------------------------------------------


def commits(repo: Repo, branch: str, message: str = "by hand", **files: str) -> str:
    """Put a commit with these files onto a branch as a person would elsewhere; return its sha.

    `__` in a name stands for a dot.
    """
    index = {"GIT_INDEX_FILE": str(repo.path / ".git" / "index-of-the-test")}
    repo.git("read-tree", branch, env=index)
    for name, text in files.items():
        blob = repo.git("hash-object", "-w", "--stdin", stdin=text)
        path = name.replace("__", ".")
        repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
    made = repo.git("commit-tree", repo.git("write-tree", env=index), "-p", branch, "-m", message)
    repo.git("update-ref", f"refs/heads/{branch}", made)
    return made


def settled(*ids: str, name: str = PLAN) -> str:
    """Return shell words that wait until each of these tasks is in review or beyond."""
    return "".join(
        until(
            f"git show gitflow/state/{name}:{record_path(id)} 2>/dev/null"
            " | grep -qE '^status: (review|completed|failed)$'"
        )
        for id in ids
    )
