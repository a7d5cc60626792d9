"""Many processes at one plan: nothing is lost, nothing is done twice, and everybody is told."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gitflow_agents.commands import Hold
from gitflow_agents.service import Service
from tests import engine, repos
from tests.engine import task
from tests.repos import Repo

SCRIPT = Path(sys.executable).with_name("gitflow-agents")


def begin(repo: Repo, *words: str) -> subprocess.Popen[str]:
    """Start the installed tool and do not wait for it."""
    return subprocess.Popen(
        [SCRIPT, *words],
        cwd=repo.path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def all_ended(processes: list[subprocess.Popen[str]]) -> Counter[int]:
    """Wait for processes and return how many ended with each exit code; no bug among them."""
    codes: Counter[int] = Counter()
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert "bug" not in err, out + err
        codes[process.returncode] += 1
    return codes


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 8])
def test_runs_of_one_plan_share_its_work(repo: Repo, count: int) -> None:
    firsts = [task(f"a{n}", f"sleep 0.2; echo {n} > a{n}.txt") for n in range(8)]
    lasts = [
        task(f"b{n}", f"cat a{n}.txt > b{n}.txt", depends_on=[f"a{n}", f"a{(n + 1) % 8}"])
        for n in range(8)
    ]
    engine.plan(repo, *firsts, *lasts, gate=["true"], limits={"parallel": 6})
    codes = all_ended([begin(repo, "run", engine.FILE, "-j", "2") for _ in range(count)])
    assert codes == {0: count}
    assert set(engine.audit(repo).values()) == {"completed"}
    attempts = [len(engine.record(repo, each["id"])["attempts"]) for each in (*firsts, *lasts)]
    assert attempts == [1] * 16
    engine.tidy(repo)


@pytest.mark.slow
def test_what_64_processes_say_at_once_is_all_recorded(repo: Repo) -> None:
    tasks = [task(f"t{n}", "exit 1") for n in range(64)]
    engine.plan(repo, task("first", "exit 1"), *({**t, "depends_on": ["first"]} for t in tasks))
    assert engine.go(repo).code == 4
    codes = all_ended(
        [begin(repo, "hold", f"p/t{n}", "--reason", f"words of {n}") for n in range(64)]
    )
    assert codes == {0: 64}
    line = engine.log(repo, "gitflow/state/p")
    held = [e["Task"] for commit in line for e in commit.events if e["Event"] == "task_held"]
    assert sorted(held) == sorted(f"t{n}" for n in range(64))
    assert [engine.record(repo, f"t{n}")["held"].endswith(f"words of {n}") for n in range(64)] == [
        True
    ] * 64
    engine.audit(repo)


@pytest.mark.slow
def test_what_was_decided_while_somebody_else_had_the_lock_is_decided_again(repo: Repo) -> None:
    engine.plan(repo, task("a", "exit 1"))
    assert engine.go(repo).code == 4
    first, second = (Service(str(repo.path)) for _ in range(2))
    waits = threading.Event()

    def is_hurried() -> bool:  # it is asked whenever the wait for the lock has gone on for a while
        waits.set()
        return False

    second.store.refs.is_hurried = is_hurried
    with contextlib.closing(first), contextlib.closing(second), ThreadPoolExecutor() as pool:
        with first.store.refs.lock():
            late = pool.submit(second.handle, Hold(targets=("a",), reason="late"), "p")
            assert waits.wait(60)
            assert first.handle(Hold(targets=("a",), reason="early"), "p").changed
        assert late.result(60).said == ("everything named is held already",)
    assert engine.record(repo, "a")["held"].endswith(": early")


@pytest.mark.slow
def test_people_who_change_their_minds_beside_a_run_lose_nothing(repo: Repo) -> None:
    tasks = [task(f"t{n}", f"sleep 0.3; echo {n} > t{n}.txt") for n in range(10)]
    engine.plan(repo, *tasks)
    run = begin(repo, "run", engine.FILE, "-j", "3")
    engine.wait_for(lambda: "gitflow/state/p" in repo.branches())
    acts = [
        ("stop", "p/t3"),
        ("hold", "p/t4"),
        ("skip", "p/t5", "--reason", "no"),
        ("stop", "p/t6"),
    ]
    assert set(all_ended([begin(repo, *words) for words in acts])) <= {0, 1}
    assert all_ended([run]).keys() <= {0, 4}
    engine.audit(repo)
    repos.tool(repo, "resume", "p")
    repos.tool(repo, "retry", "p/all", check=False)
    assert repos.tool(repo, "run", "p").exit_code == 0
    assert set(engine.audit(repo).values()) == {"completed"}
    engine.tidy(repo)
