"""What goes wrong on an ordinary day, and must cost nobody any work."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from gitflow_agents import spec
from gitflow_agents.models import DoneReport, Ran
from gitflow_agents.service.service import Told
from tests import engine
from tests.engine import task
from tests.repos import Repo


def test_a_file_that_git_ignores_can_be_copied_into_every_worktree(repo: Repo) -> None:
    repo.write(".gitignore", ".env\n")
    repo.commit("ignore settings")
    repo.write(".env", "SECRET=1\n")
    engine.plan(
        repo, task("1", "cp .env seen", verify=["test -f .env"], provides=["seen"]), copy=[".env"]
    )
    played = engine.go(repo)
    engine.finished(repo, played)
    assert repo.show("flow/p", "seen") == "SECRET=1\n"
    assert ".env" not in repo.tree("flow/p")


def test_a_command_without_an_exit_code_is_read_from_a_report_as_it_was_written() -> None:
    report = DoneReport(
        plan="p",
        task="1",
        attempt=1,
        outcome="failed",
        started_at=1,
        ended_at=2,
        scope="x",
        commands=(Ran(command="sleep 100", kind="verify", code=None, seconds=60),),
    )
    written = spec.to_yaml(report.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert DoneReport.model_validate(spec.from_yaml(written)) == report


def test_an_interruption_while_a_result_is_verified_is_no_failure(
    repo: Repo, tmp_path: Path
) -> None:
    marker = tmp_path / "verifying"
    once = f"test -e {marker} || {{ touch {marker}; sleep 60; }}"
    engine.plan(repo, task("1", "echo 1 > a", verify=[once]))

    def interrupt() -> None:
        deadline = time.monotonic() + 20
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    played = engine.go(repo)
    thread.join()
    assert played.code == 130
    assert engine.audit(repo) == {"1": "pending"}
    assert engine.record(repo, "1").get("used", 0) == 0
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "a") == "1\n"


def test_a_task_cannot_say_what_earlier_plans_provided(repo: Repo) -> None:
    work = "mkdir -p plans; echo '{{{ x [' > plans/other.provides.yaml"
    engine.plan(repo, task("1", work))
    assert engine.go(repo).code == 4
    assert engine.record(repo, "1")["reason"] == "protected-path"


def test_a_broken_list_of_what_earlier_plans_provided_stops_no_plan(repo: Repo) -> None:
    repo.write("plans/old.provides.yaml", "{{{ x [")
    repo.write("plans/older.provides.yaml", "provides: [{name: something}]\n")
    repo.commit("lists")
    engine.plan(repo, task("1", "echo 1 > a", preconditions=["something"]))
    engine.finished(repo, engine.go(repo))


def test_a_task_that_meets_only_the_moved_base_waits_for_the_next_train(repo: Repo) -> None:
    repo.write("list", "end\n")
    repo.commit("a list")
    engine.plan(repo, task("1", "echo 1 | cat - list > new; mv new list"))

    def move_the_base(told: Told) -> None:
        if told.event == "attempt_started" and told.data["attempt"] == 1:
            repo.write("list", "hers\nend\n")
            repo.git("commit", "--quiet", "--all", "--message", "hers")

    engine.finished(repo, engine.go(repo, on_event=move_the_base))
    assert repo.show("flow/p", "list").split() == ["1", "hers", "end"]
    assert engine.record(repo, "1")["conflicts"] == 1
