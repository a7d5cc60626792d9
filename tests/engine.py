"""Plans that are really run, and an audit of what they left in git.

`go` runs a plan in this process; `audit` replays what the state and flow branches record, by its
own reading of git, and compares it with what their trees hold.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from gitflow_agents.models import Reason, Status
from gitflow_agents.service import Service
from gitflow_agents.service.service import Told
from gitflow_agents.transitions import TRANSITIONS, Happened
from tests.repos import Repo

PLAN = "p"
FILE = f"plans/{PLAN}.yaml"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ENDS = frozenset("attempt_succeeded attempt_failed attempt_expired attempt_stopped".split())


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
    on_event: Callable[[Told], None] = lambda told: None,
    clock: Callable[[], float] = time.time,
) -> Played:
    """Run a plan in this process until nothing can move."""
    told: list[Told] = []

    def listen(each: Told) -> None:
        told.append(each)
        on_event(each)

    service = Service(str(repo.path), clock=clock)
    try:
        end = service.run(what, jobs=jobs, barrier=barrier, on_event=listen)
    finally:
        service.close()
    return Played(int(end.code), end.message, end.hint, tuple(told))


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
    for commit in line:
        assert commit.events, f"{commit.sha} tells nothing"
        for event in commit.events:
            assert event["Plan"] == name
            if id := event.get("Task"):
                _replay(event, id, statuses, attempts, running)
        held = _trees(repo, commit.sha)
        assert {id: record.get("status", "pending") for id, record in held.items()} == statuses
    records = _trees(repo, line[-1].sha)
    _compare_flow(repo, name, records, line)
    branches = set(repo.branches())
    for record in records.values():
        if record.get("status") == "completed":
            assert (record["branch"] in branches) == kept
    tasks = yaml.load(repo.show(f"gitflow/state/{name}", "spec.yaml"), _Loader)["tasks"]
    return {each["id"]: str(statuses.get(each["id"], Status.PENDING)) for each in tasks}


def _replay(
    event: dict[str, str],
    id: str,
    statuses: dict[str, Status],
    attempts: dict[str, int],
    running: dict[str, int],
) -> None:
    happened, after = Happened(event["Event"]), Status(event["Status"])
    assert TRANSITIONS[statuses.get(id, Status.PENDING)][happened] is after
    statuses[id] = after
    if reason := event.get("Reason"):
        assert Reason(reason)
    if happened is Happened.ATTEMPT_STARTED:
        attempts[id] = attempts.get(id, 0) + 1
        assert id not in running
        running[id] = attempts[id]
    if "Attempt" in event:
        assert int(event["Attempt"]) == attempts[id]
    if happened in _ENDS:
        assert running.pop(id) == attempts[id]


def _compare_flow(
    repo: Repo, name: str, records: dict[str, dict[str, Any]], line: list[Commit]
) -> None:
    """Completed is exactly what flow's own line holds a merge of, the one that the state names."""
    about = state(repo, name)
    flow = log(repo, about["flow"], "--first-parent")
    assert flow[-1].sha == about["flow_sha"]
    assert about["digest"] == repo.git("rev-parse", f"gitflow/state/{name}:spec.yaml")
    told = {
        event["Task"]: event["Commit"]
        for commit in line
        for event in commit.events
        if event["Event"] == "task_merged"
    }
    merges = [
        (event["Task"], commit)
        for commit in flow
        for event in commit.events
        if event["Event"] == "task_merged" and event["Plan"] == name
    ]
    assert len(merges) == len({id for id, _ in merges}), "a task is merged once"
    on_flow = {id: commit.sha for id, commit in merges}
    assert on_flow == told
    assert on_flow == {
        id: record["merge"] for id, record in records.items() if record.get("status") == "completed"
    }
    for id, commit in merges:
        assert commit.parents[1] == records[id]["attempts"][-1]["report"]
    assert not any(path.startswith(".gitflow/") for path in repo.tree(about["flow"]))
    ends = [e for commit in line for e in commit.events if e["Event"] == "plan_finished"]
    assert len(ends) == (about.get("status", "live") in ("finished", "landed"))


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


def _trees(repo: Repo, commit: str) -> dict[str, dict[str, Any]]:
    """Return the tasks' records in one commit of the state."""
    paths = [path for path in repo.tree(commit) if path.startswith("tasks/")]
    asked = "".join(f"{commit}:{path}\n" for path in paths)
    said = repo._git("cat-file", "--batch", stdin=asked).encode("utf-8", "surrogateescape")
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        head, _, said = said.partition(b"\n")
        size = int(head.split()[-1])
        value = read_yaml(said[:size].decode())
        said = said[size + 1 :]
        assert path == record_path(value["id"])
        found[value["id"]] = value
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
