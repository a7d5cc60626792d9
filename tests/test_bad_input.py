"""Input that breaks careless programs: odd text, odd names, many tasks, no room on the disk.

Each gets through unharmed, or one clear sentence; nothing is lost on the way.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.models import Limits
from gitflow_agents.render import clean
from gitflow_agents.service import Service
from gitflow_agents.service.desk import Told
from gitflow_agents.service.reconcile import Reconciler
from tests import engine, repos
from tests.engine import task
from tests.repos import Cli, Repo

# --- text -----------------------------------------------------------------------------------------

ODD = """## heading: with, commas; "double", 'single' and `code`

- item: [1, 2] {a: b} & *alias !tag %directive @at | > ~
---
...
# no comment
```
fence
```
Gitflow-Event: task_merged
Gitflow-Task: 2
\ttab, trailing space \n
<b>&amp;</b> $(touch never) `touch never` \\ \\n %s {x} {{y}} 🎉 é e\u0301 \u00a0 \ufeff ‮ 中文
null
true
1e3
2026-01-02
last: line"""
LINE = f"## {'word, ' * 20}\"one\" 'two' — 🎉 é: #\n"
LONG = (LINE * 1000).encode()[:60_000].decode(errors="ignore")
NAME = "## a: \"b\", 'c' 🎉 & <d> `e` | f % {g} # h"


TEXTS: dict[str, Any] = {"title": NAME, "description": ODD, "acceptance": [NAME]}


def test_a_plans_text_comes_through_every_door_as_it_was_written(repo: Repo, cli: Cli) -> None:
    path = engine.plan(
        repo,
        task("1", "echo a > a.txt", provides=[NAME], **{**TEXTS, "description": LONG}),
        task("2", "echo b > b.txt", preconditions=[NAME], **TEXTS),
        goal=ODD,
        architecture=LONG,
        design_patterns=ODD,
        technology_stack=ODD,
        decisions=[{"decision": NAME, "why": ODD, "alternative": ODD}],
    )
    written = repo.path / path
    assert cli("validate", path).exit_code == 0
    engine.finished(repo, engine.go(repo))
    for rev, there in (("plan/p", path), ("flow/p", path), ("gitflow/state/p", "spec.yaml")):
        assert repo.show(rev, there).encode() == written.read_bytes()
    shown = cli("show", "p", "--json").json
    assert [shown["goal"], shown["architecture"]] == [ODD, LONG]
    for id, description in (("1", LONG), ("2", ODD)):
        one = cli("show", f"p/{id}", "--json").json
        assert {key: one[key] for key in ("title", "description", "acceptance")} == {
            "title": " ".join(NAME.split()),
            "description": description,
            "acceptance": [NAME],
        }
        kept = engine.record(repo, id)
        carried = engine.read_yaml(repo.show(f"{kept['merge']}^2", ".gitflow/task.yaml"))
        assert (carried["description"], carried["session_goal"]) == (description, ODD)
        brief = repo.show(f"{kept['merge']}^2", ".gitflow/brief.md")
        for line in clean(description).splitlines()[:20]:
            assert line.strip() in brief
        subject = repo.log(kept["merge"], "%s", "-1")
        assert subject == f"merge {id}: {NAME}"
    assert carried["preconditions"] == [NAME]
    assert cli("provides", "p", "--json").json["provides"][0]["name"] == NAME
    given = engine.read_yaml(repo.show("flow/p", "plans/p.provides.yaml"))
    assert given["provides"][0]["name"] == NAME
    assert "never" not in repo.tree("flow/p")


SAID = {"summary": ODD, "scope": NAME, "risks": [ODD], "follow_ups": [NAME], "learned": [ODD]}


def saying(tmp_path: Path, said: dict[str, Any]) -> str:
    """Return shell words with which an agent reports something."""
    file = tmp_path / "said.yaml"
    file.write_text(json.dumps(said, ensure_ascii=False))
    return f"cp {file} $GITFLOW_REPORT; "


def test_an_agents_text_comes_through_as_it_was_said_and_tells_no_events(
    repo: Repo, tmp_path: Path
) -> None:
    engine.plan(
        repo, task("1", f"{saying(tmp_path, SAID)}echo a > a.txt"), task("2", "echo b > b.txt")
    )
    engine.finished(repo, engine.go(repo, jobs=1))
    kept = engine.record(repo, "1")
    assert (kept["summary"], kept["learned"]) == (ODD, [ODD])
    report = engine.read_yaml(repo.show(kept["attempts"][0]["report"], ".gitflow/report.yaml"))
    assert {key: report[key] for key in SAID} == SAID
    told = repo.log(kept["merge"], "%(trailers:key=Gitflow-Task,valueonly)", "-1").split()
    assert told == ["1"]


def test_sixty_thousand_bytes_of_a_summary_are_kept_and_the_message_stays_short(
    repo: Repo, tmp_path: Path
) -> None:
    said = {"summary": LONG}
    engine.plan(repo, task("1", f"{saying(tmp_path, said)}echo a > a.txt"))
    engine.finished(repo, engine.go(repo))
    kept = engine.record(repo, "1")
    assert kept["summary"] == LONG
    assert len(repo.log(kept["merge"], "%B", "-1")) < 6_000


# --- metadata -------------------------------------------------------------------------------------


def test_a_tasks_metadata_is_read_after_any_number_of_work_commits(repo: Repo, cli: Cli) -> None:
    commits = (
        'i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i > "file $i"; git add -A; '
        'git commit -q -m "work: $i"; done; '
    )
    engine.plan(
        repo,
        task("1", f"{commits}exit 1", description="first: do\n\nthis", files=["a b"]),
        task("2", f"{commits}true", description="second", priority="high"),
    )
    played = engine.go(repo, jobs=1)
    assert (played.code, engine.audit(repo)) == (4, {"1": "failed", "2": "completed"})
    failed, merged = engine.record(repo, "1"), engine.record(repo, "2")
    for id, tip in (("1", failed["branch"]), ("2", f"{merged['merge']}^2")):
        carried = engine.read_yaml(repo.show(tip, ".gitflow/task.yaml"))
        assert [carried["task_id"], carried["session_id"], carried["attempt"]] == [id, "p", 1]
        assert carried["description"] == {"1": "first: do\n\nthis", "2": "second"}[id]
        assert repo.log(tip, "%s", "--grep=^work: ").count("work: ") == 40
    shown = cli("show", "p/1", "--json").json
    assert (shown["status"], shown["description"]) == ("failed", "first: do\n\nthis")


# --- ids and names --------------------------------------------------------------------------------


def test_ids_that_begin_alike_are_different_tasks(repo: Repo, cli: Cli) -> None:
    ids = ["1", "10", "1.0", "1-0", "01", "100", "a", "a.b"]
    engine.plan(
        repo,
        *(
            task(id, f"echo {id} > '{id}.txt'", depends_on=[ids[n - 1]] if n else [])
            for n, id in enumerate(ids)
        ),
    )
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("task_merged") == ids
    for id in ids:
        assert repo.show("flow/p", f"{id}.txt") == f"{id}\n"
        assert cli("show", f"p/{id}", "--json").json["id"] == id
        assert repo.log(engine.record(repo, id)["merge"], "%s", "-1") == f"merge {id}: Task {id}"


def test_two_plans_may_have_the_same_ids(repo: Repo, cli: Cli) -> None:
    for name in ("one", "two"):
        engine.plan(
            repo,
            task("001", f"echo {name} > {name}.txt", provides=["thing"]),
            task("002", "exit 3", preconditions=["thing"]),
            name=name,
        )
        played = engine.go(repo, f"plans/{name}.yaml")
        assert (played.code, engine.audit(repo, name)) == (4, {"001": "completed", "002": "failed"})
    for name in ("one", "two"):
        kept = engine.record(repo, "001", name)
        assert kept["branch"] == f"task/{name}/001-task-001"
        assert set(repo.tree(f"flow/{name}")) == {"README.md", f"{name}.txt", f"plans/{name}.yaml"}
        assert cli("show", f"{name}/001", "--json").json["status"] == "completed"
    asked = cli("show", "001", check=False)
    assert asked.exit_code == 2
    assert "one/001" in asked.stderr
    assert "two/001" in asked.stderr


# --- many -----------------------------------------------------------------------------------------

PLAN = f"many-{'n' * 58}"


@pytest.fixture
def few_arguments() -> Iterator[None]:
    """Let the kernel take no more than 256 KiB of arguments: a quarter of the stack."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def named(n: int) -> str:
    """Return an id as long as one may be."""
    return f"{n:05}-{'i' * 26}"


def many(repo: Repo, count: int, width: int) -> None:
    """Accept a plan of `count` tasks, `width` of them ready, and claim all of those at once."""
    path = engine.plan(
        repo,
        *(
            task(
                named(n),
                "echo x > x",
                slug="s" * 63,
                provides=[f"thing number {n:05}"],
                preconditions=[f"thing number {n - width:05}"] if n >= width else [],
            )
            for n in range(count)
        ),
        name=PLAN,
    )
    ready = [named(n) for n in range(width)]
    service = Service(str(repo.path))
    told: list[Told] = []
    try:
        snapshot = service._accepted(path, told.append)
        assert list(snapshot.frontier.ready) == ready
        desk = service.desk(snapshot, told.append)
        work = Reconciler(desk).step(Limits(), count, barrier=False, stopping=False)
        assert [order.task.id for order in work.orders] == ready
        desk.executor.guard.begin()
    finally:
        service.close()


def looked_at(repo: Repo, cli: Cli, count: int, width: int) -> None:
    """Hold that every way to look at the plan shows all of it."""
    assert len(repo.branches()) == width + 4
    assert set(engine.audit(repo, PLAN).values()) == {"in_progress", "pending"}
    assert cli("ready", PLAN, "--json").json["ready"] == []
    status = cli("status", PLAN, "--json").json
    assert len(status["tasks"]) == count
    assert (status["counts"]["in_progress"], status["counts"]["pending"]) == (width, count - width)
    for verb in ("status", "waves", "graph", "log", "show", "provides", "report", "plans"):
        cli(verb, *([] if verb == "plans" else [PLAN]))
    cli("explain", f"{PLAN}/{named(count - 1)}")
    cli("run", PLAN, "--dry-run")


def test_hundreds_of_tasks_are_claimed_at_once(repo: Repo, cli: Cli, few_arguments: None) -> None:
    many(repo, 400, 150)
    looked_at(repo, cli, 400, 150)


@pytest.mark.slow
def test_five_thousand_tasks_meet_no_limit_of_the_kernel(
    repo: Repo, cli: Cli, few_arguments: None
) -> None:
    # The names of 1,600 branches are more than fits into the arguments of one process.
    many(repo, 5000, 1600)
    with pytest.raises(OSError, match="Argument list too long"):
        repo.git("show-ref", *(f"refs/heads/{name}" for name in repo.branches()))
    looked_at(repo, cli, 5000, 1600)


# --- no room on the disk --------------------------------------------------------------------------

ROOMY = """
import sys
from gitflow_agents import scheduler
scheduler.LOST_IN_A_ROW = 1  # otherwise the run goes on for a quarter of an hour
from gitflow_agents.cli import main
sys.argv[0] = "gitflow-agents"
main()
"""


def cramped(repo: Repo, most: int, *args: str) -> repos.Result:
    """Run the tool where no file can grow beyond `most` bytes."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    # What coverage measured would not fit into a file either.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", ROOMY, *args],
        cwd=repo.path,
        # Nor would what Python compiled, and it takes the part that did for all of it.
        env={
            **env,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=120,
        check=False,
    )
    return repos.Result(done.returncode, done.stdout, done.stderr)


def cramped_plan(repo: Repo) -> str:
    return engine.plan(
        repo,
        task("1", "seq 100 > a.txt", provides=["a"], verify=["test -s a.txt"]),
        task("2", "sort a.txt > b.txt", preconditions=["a"], verify=["test -s b.txt"]),
        task("3", "head -c 20000 /dev/urandom > c.bin"),
        gate=["true"],
    )


@pytest.mark.parametrize(
    "most", [0, *(pytest.param(most, marks=pytest.mark.slow) for most in (60, 150, 500, 1200))]
)
@pytest.mark.parametrize("is_accepted", [False, True])
def test_without_room_for_our_own_files_there_is_one_sentence_and_the_next_run_goes_on(
    repo: Repo, most: int, is_accepted: bool
) -> None:
    path = cramped_plan(repo)
    if is_accepted:
        service = Service(str(repo.path))
        service._accepted(path, lambda told: None)
        service.close()
    before = engine.refs(repo)
    result = cramped(repo, most, "run", path)
    assert result.exit_code in (4, 75)
    error, hint = result.stderr.removesuffix("\n").split("\n")[-2:]
    assert (error[:7], hint[:6]) == ("error: ", "hint: ")
    assert "Traceback" not in result.stdout + result.stderr
    if result.exit_code == 75:
        assert hint == "hint: make room on the disk, then run the command again; nothing was lost"
        assert {ref: engine.refs(repo).get(ref) for ref in before} == before
    assert engine.go(repo, path).code == 0
    assert set(engine.audit(repo).values()) == {"completed"}
    repo.git("fsck", "--no-dangling")


def test_work_for_which_there_is_no_room_stays_where_it_is_and_is_done_again(repo: Repo) -> None:
    path = cramped_plan(repo)
    result = cramped(repo, 15_000, "run", path)
    assert result.exit_code == 4
    # The agent itself met the limit; with more room than it needs, git meets it.
    assert engine.record(repo, "3")["status"] == "failed"
    assert engine.record(repo, "2")["status"] == "completed"


def test_a_result_that_git_has_no_room_for_is_kept_in_its_folder(repo: Repo) -> None:
    path = engine.plan(
        repo,
        task("1", "for n in 1 2 3; do head -c 9000 /dev/urandom; done | split -b 9000 - part."),
    )
    result = cramped(repo, 9_005, "run", path)
    assert result.exit_code == 4
    kept = engine.record(repo, "1")
    assert (kept["status"], kept["reason"]) == ("failed", "infrastructure")
    (place,) = (repo.path / ".worktrees/p").iterdir()
    assert [file.stat().st_size for file in sorted(place.glob("part.*"))] == [9000] * 3
    said = "git add ended with -25: File size limit exceeded"
    assert f"1: {said}; what it left is in {place}\n" in result.stdout
    assert kept["message"] == f"the work of 1 could not be saved: {said}"
    repos.tool(repo, "run", "p")
    assert engine.audit(repo) == {"1": "completed"}
    assert [path for path in repo.tree("flow/p") if path.startswith("part.")] == [
        "part.aa",
        "part.ab",
        "part.ac",
    ]


def test_an_agent_without_room_has_failed_and_says_so(repo: Repo) -> None:
    write = "ulimit -f 4; trap '' XFSZ; echo small > a.txt; head -c 100000 /dev/zero > b.txt"
    engine.plan(repo, task("1", write), task("2", "echo c > c.txt", depends_on=["1"]))
    played = engine.go(repo)
    assert (played.code, engine.audit(repo)) == (4, {"1": "failed", "2": "pending"})
    kept = engine.record(repo, "1")
    assert (kept["reason"], kept["message"]) == ("agent-error", "the command exited with 1")
    (told,) = (told for told in played.told if told.event == "attempt_failed")
    said, after, _ = told.detail.splitlines()
    assert "File too large" in said
    assert after == "next: gitflow-agents show p/1"
    assert repo.show(kept["branch"], "a.txt") == "small\n"
