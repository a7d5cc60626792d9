"""What `fsck` finds: each lie that a state, a flow branch or a record can tell, told for real."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gitflow_agents.models import SCHEMA
from gitflow_agents.service.fsck import check
from gitflow_agents.store import Repository, Store
from tests import engine, repos
from tests.engine import task
from tests.repos import Cli, Repo, Result

STATE = "gitflow/state/p"
TOOL = {
    "GIT_COMMITTER_NAME": "gitflow-agents",
    "GIT_COMMITTER_EMAIL": "gitflow-agents@localhost",
}


@pytest.fixture(scope="module")
def made(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return a repository with the plan p: 1 is merged, 2 was tried twice and has failed; copy it."""
    repo = repos.copy(template, tmp_path_factory.mktemp("made") / "repo")
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b; exit 1"))
    assert engine.go(repo, jobs=1).code == 4
    Cli(repo)("retry", "p/2")
    assert engine.go(repo, jobs=1).code == 4
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}
    return repo


@pytest.fixture
def repo(made: Repo, tmp_path: Path) -> Repo:
    return repos.copy(made, tmp_path / "repo")


def put(
    repo: Repo,
    branch: str,
    files: dict[str, str | None],
    message: str,
    *parents: str,
    by_tool: bool = True,
) -> str:
    """Put a commit onto a branch that changes these files (None: takes away), and return it."""
    env = {"GIT_INDEX_FILE": str(repo.path / ".git" / "index-of-the-test")}
    repo.git("read-tree", branch, env=env)
    for path, text in files.items():
        if text is None:
            repo.git("update-index", "--force-remove", path, env=env)
        else:
            blob = repo.git("hash-object", "-w", "--stdin", stdin=text)
            repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
    tree = repo.git("write-tree", env=env)
    over = [word for parent in (branch, *parents) for word in ("-p", parent)]
    who = TOOL if by_tool else {}
    made = repo.git("commit-tree", tree, *over, "-m", message, env=who)
    repo.git("update-ref", f"refs/heads/{branch}", made)
    return made


def event(name: str, **trailers: object) -> str:
    """Return the message of a commit that tells an event of the plan p."""
    lines = [f"Gitflow-Event: {name}", "Gitflow-Plan: p"]
    lines += [f"Gitflow-{key.capitalize()}: {value}" for key, value in trailers.items()]
    return "p: something\n\n" + "\n".join(lines)


def record(repo: Repo, id: str, **changes: object) -> dict[str, str | None]:
    """Return the file of a task's record with some keys changed; None takes one away."""
    now = {**engine.record(repo, id), **changes}
    kept = {key: value for key, value in now.items() if value is not None}
    return {engine.record_path(id): json.dumps(kept)}


def found(repo: Repo) -> list[tuple[str, str]]:
    return [(finding.code, finding.task) for finding in engine.fsck(repo)]


NOTE = event("flow_changed")
"""An event that moves no task."""


def test_a_plan_that_is_as_it_should_be_is_called_so(repo: Repo, cli: Cli) -> None:
    count = repo.git("rev-list", "--count", STATE)
    assert cli("fsck") == Result(0, f"p: {count} commits, 2 tasks, 1 merge: nothing wrong\n", "")
    assert cli("fsck", "p", "--json").json == {
        "schema": SCHEMA,
        "clean": True,
        "plans": [{"plan": "p", "commits": int(count), "tasks": 2, "merges": 1, "findings": []}],
    }


def test_where_there_is_no_plan_nothing_is_wrong(template: Repo, cli: Cli) -> None:
    assert cli("fsck", repo=template) == Result(0, "there is no plan here\n", "")


def test_a_plan_that_was_never_started_cannot_be_checked(repo: Repo, cli: Cli) -> None:
    engine.plan(repo, task("1", "true"), name="other")
    done = cli("fsck", "other", check=False)
    assert (done.exit_code, done.stderr) == (
        1,
        "error: plan other was never started\nhint: gitflow-agents run other starts it\n",
    )


def test_a_finding_is_a_sentence_with_a_hint(repo: Repo, cli: Cli) -> None:
    sha = repo.sha("flow/p")
    repo.git("branch", "-D", "flow/p")
    assert cli("fsck", check=False) == Result(
        1,
        f"p: the branch flow/p is gone\n  hint: git branch flow/p {sha} brings it back\n",
        "",
    )
    told = cli("fsck", "--json", check=False).json
    assert (told["clean"], told["plans"][0]["findings"]) == (
        False,
        [
            {
                "plan": "p",
                "code": "flow-missing",
                "message": "the branch flow/p is gone",
                "hint": f"git branch flow/p {sha} brings it back",
                "task": "",
                "sha": sha,
            }
        ],
    )


def test_nothing_is_written(repo: Repo) -> None:
    def everything() -> list[tuple[Path, bytes]]:
        files = sorted((repo.path / ".git").rglob("*"))
        return [(file, file.read_bytes()) for file in files if file.is_file()]

    before = everything()
    put(repo, STATE, record(repo, "2", status="pending"), NOTE)
    assert everything() != before
    before = everything()
    assert found(repo) == [("status-untrue", "2")]
    assert everything() == before


# --- the state ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message", "expected"),
    [
        ({"status": "pending"}, NOTE, ["status-untrue"]),
        (
            {},
            event("task_merged", task="2", status="completed"),
            ["event-illegal", "status-untrue"],
        ),
        ({}, event("task_retried", task="2", status="review"), ["event-untrue", "status-untrue"]),
        ({}, event("task_eaten", task="2", status="failed"), ["event-unknown"]),
        ({}, event("flow_changed", attempt="many"), ["event-unreadable"]),
        ({}, "p: nothing to tell", ["state-untold"]),
        ({}, NOTE.replace("Plan: p", "Plan: q"), ["event-of-another-plan"]),
        (
            {"status": "pending"},
            event("task_retried", task="2", status="pending", reason="agent-error"),
            [],
        ),
        (
            {"status": "failed"},
            event("attempt_failed", task="2", status="failed", attempt=2),
            ["event-illegal"],
        ),
    ],
)
def test_each_event_has_to_give_what_the_record_says(
    repo: Repo, change: dict[str, object], message: str, expected: list[str]
) -> None:
    put(repo, STATE, record(repo, "2", **change) if change else {}, message)
    assert [code for code, _ in found(repo)] == expected


def test_attempts_are_counted_from_one_on(repo: Repo) -> None:
    attempts = engine.record(repo, "2")["attempts"]
    put(
        repo,
        STATE,
        record(repo, "2", attempts=[attempts[1], attempts[1]]),
        event("task_retried", task="2", status="pending", attempt=7),
    )
    codes = [code for code, _ in found(repo)]
    assert codes == ["attempts-not-numbered", "status-untrue", "attempts-not-numbered"]


def test_a_commit_of_somebody_else_on_the_state_is_named(repo: Repo) -> None:
    sha = put(repo, STATE, {}, NOTE, by_tool=False)
    (finding,) = engine.fsck(repo)
    assert (finding.code, finding.sha) == ("state-by-somebody", sha)
    assert finding.message == f"{sha[:12]} was committed by alice <alice@example.com>"


def test_a_state_follows_one_other(repo: Repo) -> None:
    put(repo, STATE, {}, NOTE, "main")
    put(repo, STATE, record(repo, "2", status="pending"), NOTE)  # nothing is said of what follows
    assert found(repo) == [("state-not-a-line", "")]


def test_a_record_that_cannot_be_read_is_named(repo: Repo) -> None:
    put(repo, STATE, {engine.record_path("2"): "status: [\n"}, NOTE)
    assert found(repo) == [("record-unreadable", "2"), ("state-unreadable", "")]


def test_a_record_in_the_wrong_place_is_named(repo: Repo) -> None:
    (text,) = record(repo, "2").values()
    put(repo, STATE, {engine.record_path("3"): text}, NOTE)
    assert ("record-unreadable", "3") in found(repo)


def test_the_text_of_the_plan_is_the_one_that_was_accepted(repo: Repo) -> None:
    spec = repo.show(STATE, "spec.yaml").replace("Try it", "Try something else")
    put(repo, STATE, {"spec.yaml": spec}, NOTE)
    assert found(repo) == [("spec-untrue", ""), ("spec-untrue", "")]


def test_the_text_that_is_read_is_the_one_that_people_see(repo: Repo) -> None:
    lines = repo.show(STATE, "spec.jsonl").replace("Try it", "Try something else")
    put(repo, STATE, {"spec.jsonl": lines}, NOTE)
    assert found(repo) == [("spec-untrue", "")]


def test_a_plan_is_over_only_when_an_event_says_so(repo: Repo) -> None:
    about = {**engine.state(repo), "status": "finished"}
    put(repo, STATE, {"plan.yaml": json.dumps(about)}, NOTE)
    assert found(repo) == [("status-untrue", "")]


def test_a_lease_belongs_to_a_task_in_progress(repo: Repo) -> None:
    lease = {"host": "h", "boot": "b", "pid": 1, "pid_started": 1, "until": 0}
    put(repo, STATE, record(repo, "2", lease=lease), NOTE)
    assert found(repo) == [("lease-untrue", "2"), ("attempt-untrue", "2")]


def test_an_attempt_that_runs_has_a_lease(repo: Repo) -> None:
    attempts = engine.record(repo, "2")["attempts"]
    running = {"number": 3, "base": attempts[0]["base"]}
    put(repo, STATE, record(repo, "2", status="pending"), event("task_retried", task="2"))
    put(
        repo,
        STATE,
        record(repo, "2", status="in_progress", attempts=[*attempts, running]),
        event("attempt_started", task="2", attempt=3, status="in_progress"),
    )
    assert found(repo) == [("lease-missing", "2")]


# --- flow -----------------------------------------------------------------------------------------


def test_a_flow_that_was_moved_back_is_named_once(repo: Repo) -> None:
    repo.git("update-ref", "refs/heads/flow/p", "flow/p~1")
    assert found(repo) == [("flow-forced", "")]


def test_a_flow_of_something_else_is_named(repo: Repo) -> None:
    repo.git("update-ref", "refs/heads/flow/p", "main")
    assert found(repo) == [("flow-forced", "")]


def test_commits_of_people_on_flow_are_welcome(repo: Repo) -> None:
    engine.commits(repo, "flow/p", event("task_merged", task="2"), mine="1")
    assert found(repo) == []


def test_a_merge_that_the_state_does_not_know_is_named(repo: Repo) -> None:
    put(repo, "flow/p", {}, event("task_merged", task="2", attempt=2), "task/p/2-task-2")
    assert found(repo) == [("merge-unknown", "2")]


def test_a_task_is_merged_once(repo: Repo) -> None:
    put(repo, "flow/p", {}, event("task_merged", task="1", attempt=1), "main")
    assert found(repo) == [("merged-twice", "1")]


def test_a_merge_that_was_taken_back_completes_nothing(repo: Repo) -> None:
    put(repo, "flow/p", {"a": None}, event("task_reverted", task="1"))
    assert found(repo) == [("merge-missing", "1")]


def test_a_completed_task_names_its_merge(repo: Repo) -> None:
    put(repo, STATE, record(repo, "1", merge=repo.sha("main")), NOTE)
    assert found(repo) == [("merge-missing", "1")]


def test_a_merge_is_of_the_result_that_was_judged(repo: Repo) -> None:
    (attempt,) = engine.record(repo, "1")["attempts"]
    put(repo, STATE, record(repo, "1", attempts=[{**attempt, "report": repo.sha("main")}]), NOTE)
    assert found(repo) == [("merge-untrue", "1")]


def test_briefings_never_reach_flow(repo: Repo) -> None:
    put(repo, "flow/p", {".gitflow/brief.md": "text"}, "by hand", by_tool=False)
    assert found(repo) == [("flow-stray", "")]


# --- branches -------------------------------------------------------------------------------------


def test_a_branch_that_keeps_an_attempt_has_to_be_there(repo: Repo) -> None:
    kept = engine.record(repo, "2")["attempts"][0]["kept"]
    tip = repo.sha(kept)
    repo.git("branch", "-D", kept)
    (finding,) = engine.fsck(repo)
    assert (finding.code, finding.hint) == (
        "ref-missing",
        f"git branch {kept} {tip} brings it back",
    )


def test_a_branch_with_work_that_nothing_else_keeps_has_to_be_there(repo: Repo) -> None:
    tip = repo.sha("task/p/2-task-2")
    repo.git("branch", "-D", "task/p/2-task-2")
    (finding,) = engine.fsck(repo)
    assert (finding.code, finding.hint) == (
        "branch-missing",
        f"git branch task/p/2-task-2 {tip} brings it back",
    )


# --- while a run goes on, and how much it asks ----------------------------------------------------


@pytest.mark.slow
def test_a_run_that_goes_on_is_clean_at_every_moment(template: Repo, tmp_path: Path) -> None:
    repo = repos.copy(template, tmp_path / "other")
    engine.plan(repo, *(task(str(n), f"echo {n} > f{n}") for n in range(4)), gate=["true"])
    looks = []
    engine.finished(repo, engine.go(repo, on_event=lambda told: looks.append(found(repo))))
    assert len(looks) > 12
    assert [look for look in looks if look] == []


def asked(repo: Repo) -> int:
    """Return how many git processes a check starts."""
    repository = Repository(repo.path)
    store = Store(repository)
    try:
        before = repository.git.started + repository.user.started
        assert check(store, "p").findings == ()
        return repository.git.started + repository.user.started - before
    finally:
        store.close()


def test_a_longer_plan_asks_git_no_more_often(repo: Repo, template: Repo, tmp_path: Path) -> None:
    longer = repos.copy(template, tmp_path / "longer")
    engine.plan(longer, *(task(str(n), f"echo {n} > f{n}") for n in range(12)))
    engine.finished(longer, engine.go(longer))
    assert asked(longer) == asked(repo) <= 10


def thousand(repo: Repo, tasks: int) -> None:
    """Write the state and flow of a plan of which each task was tried and merged."""
    commits: list[str] = []
    names = [str(n) for n in range(tasks)]
    spec = json.dumps({"plan": "p", "goal": "g", "tasks": [task(name, "true") for name in names]})
    blob = repo.git("hash-object", "-w", "--stdin", stdin=spec)
    base = repo.sha("main")
    who = "committer gitflow-agents <gitflow-agents@localhost> 1 +0000"

    def commit(ref: str, mark: int, text: str, *lines: str) -> None:
        commits.extend([f"commit refs/heads/{ref}", f"mark :{mark}", who])
        commits.extend([f"data {len(text)}", text, *lines])

    def inline(path: str, text: str) -> list[str]:
        return [f"M 100644 inline {path}", f"data {len(text)}", text]

    for place, name in enumerate(names):
        commit(f"t/{name}", place + 1, "work", f"from {base}", *inline(f"f{name}", name))
    commit("flow/p", tasks + 1, event("plan_accepted"), f"from {base}")
    for place, name in enumerate(names):
        told = event("task_merged", task=name, attempt=1)
        merged = (f"merge :{place + 1}", *inline(f"f{name}", name))
        before = f"from :{tasks + 1 + place}"
        commit("flow/p", tasks + 2 + place, told, before, *merged)
    # The shas that the records name are known once the first half is written.
    marks = repo.path / "marks"
    script = "\n".join([*commits, ""])
    repo.git("fast-import", "--quiet", f"--export-marks={marks}", stdin=script)
    shas = dict(line[1:].split() for line in marks.read_text().splitlines())
    commits.clear()
    about = {
        "schema": 1,
        "plan": "p",
        "commit": base,
        "digest": blob,
        "base": "main",
        "base_sha": base,
        "flow": "flow/p",
        "flow_sha": shas[str(2 * tasks + 1)],
        "accepting": shas[str(tasks + 1)],
        "accepted_at": 1,
    }
    plan = json.dumps(about)
    files = [*inline("plan.yaml", plan), f"M 100644 {blob} spec.yaml"]
    commit(STATE, 1, event("plan_accepted"), *files)
    mark = 1
    for place, name in enumerate(names):
        report = shas[str(place + 1)]
        for happened, status in (
            ("attempt_started", "in_progress"),
            ("attempt_succeeded", "review"),
            ("task_merged", "completed"),
        ):
            mark += 1
            attempt = {"number": 1, "outcome": "succeeded", "tip": report, "report": report}
            merge = shas[str(tasks + 2 + place)] if status == "completed" else ""
            kept = {"schema": 1, "id": name, "status": status, "branch": f"t/{name}"}
            text = json.dumps({**kept, "attempts": [attempt], "merge": merge})
            told = event(happened, task=name, attempt=1, status=status)
            commit(STATE, mark, told, *inline(engine.record_path(name), text))
    repo.git("fast-import", "--quiet", stdin="\n".join([*commits, ""]))


def seconds(repo: Repo) -> float:
    """Return the processor time of a check that finds nothing."""
    began = time.process_time()
    assert engine.fsck(repo) == ()
    return time.process_time() - began


@pytest.mark.slow
def test_the_work_grows_with_the_plan_and_no_faster(template: Repo, tmp_path: Path) -> None:
    took = []
    for tasks in (100, 400):
        repo = repos.copy(template, tmp_path / f"of {tasks}")
        thousand(repo, tasks)
        took.append(min(seconds(repo) for _ in range(2)))
    assert took[1] < 12 * took[0]


@pytest.mark.slow
def test_a_thousand_tasks_take_seconds(template: Repo, tmp_path: Path) -> None:
    repo = repos.copy(template, tmp_path / "large")
    thousand(repo, 1000)
    assert seconds(repo) < 15


def test_a_state_that_an_earlier_version_wrote_is_read_and_brought_forward(repo: Repo) -> None:
    put(repo, STATE, {"spec.jsonl": None}, NOTE)
    assert found(repo) == []
    assert engine.act(repo, "hold", "2").changed
    assert found(repo) == []
    text = repo.show(STATE, "spec.yaml").replace("Try it", "Try something else")
    repo.write(engine.FILE, text)
    engine.go(repo)
    assert "Try something else" in repo.show(STATE, "spec.jsonl")
    assert found(repo) == []
