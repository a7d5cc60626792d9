"""Merging what is in review now, and bringing the base into flow now."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import commands
from gitflow_agents.commands import Hold, Merge, Refused, Update
from gitflow_agents.service import Service
from gitflow_agents.service.acting import Outcome
from gitflow_agents.service.service import Told
from tests import engine
from tests.engine import PLAN, task
from tests.repos import Cli, Repo

FLOW = "flow/p"


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    """Return the file that the gate waits for."""
    return tmp_path / "gone"


@contextmanager
def served(repo: Repo) -> Iterator[Service]:
    service = Service(str(repo.path))
    try:
        yield service
    finally:
        service.close()


def act(repo: Repo, command: commands.Act, *, dry_run: bool = False) -> Outcome:
    with served(repo) as service:
        return service.handle(command, PLAN, dry_run=dry_run)


def reviewed(repo: Repo, gone: Path, *tasks: dict[str, Any], gate: str = "true") -> None:
    """Run a plan until its tasks are all in review, and none is merged; the gate passes then."""
    engine.plan(repo, *tasks, gate=[f"{engine.until(f'[ -e {gone} ]')}{gate}"])
    seen: list[str] = []

    def interrupt(told: Told) -> None:
        seen.append(told.event)
        if seen.count("attempt_succeeded") == len(tasks) and "train_started" in seen:
            os.kill(os.getpid(), signal.SIGINT)

    with served(repo) as service:
        end = service.run(engine.FILE, jobs=len(tasks), on_event=interrupt)
    assert int(end.code) == 130
    gone.touch()
    assert set(engine.audit(repo).values()) == {"review"}


TWO = (task("1", "echo a > a.txt"), task("2", "echo b > b.txt"))


# --- merge ----------------------------------------------------------------------------------------


def test_what_is_in_review_is_merged_tested_and_nothing_is_started(repo: Repo, gone: Path) -> None:
    engine.plan(repo, *TWO)
    reviewed(repo, gone, *TWO)
    outcome = act(repo, Merge())
    merges = [str(engine.record(repo, id)["merge"])[:12] for id in "12"]
    assert (outcome.changed, outcome.is_done, outcome.said, outcome.undo) == (
        True,
        True,
        tuple(f"{id} is merged to flow/p as {sha}" for id, sha in zip("12", merges, strict=True)),
        "revert p/1 p/2 -m WHY",
    )
    assert engine.audit(repo) == {"1": "completed", "2": "completed"}
    assert engine.state(repo)["status"] == "finished"  # nothing was left to do
    assert "true" in engine.record(repo, "1")["evidence"][-1]["command"]
    engine.tidy(repo)


def test_only_the_named_task_is_merged_and_the_second_time_nothing(repo: Repo, gone: Path) -> None:
    reviewed(repo, gone, *TWO)
    act(repo, Merge(targets=("2",)))
    assert engine.audit(repo) == {"1": "review", "2": "completed"}
    before = engine.refs(repo)
    again = act(repo, Merge(targets=("2",)))
    assert (again.changed, again.said) == (False, ("everything named is merged already",))
    assert engine.refs(repo) == before


def test_a_dry_merge_says_what_it_would_and_does_nothing(repo: Repo, gone: Path) -> None:
    reviewed(repo, gone, *TWO)
    before = engine.refs(repo)
    outcome = act(repo, Merge(targets=("1",)), dry_run=True)
    assert (outcome.changed, outcome.said, outcome.undo) == (
        False,
        ("1 is merged to flow/p if its tests pass",),
        "revert p/1 -m WHY",
    )
    assert engine.refs(repo) == before


def test_what_does_not_pass_is_told_with_the_exit_code(repo: Repo, cli: Cli, gone: Path) -> None:
    reviewed(repo, gone, *TWO, gate="test ! -e b.txt")
    result = cli("merge", "p", check=False)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("testing 1, 2 on flow/p: 1 command")
    assert [line for line in lines if line.startswith("1 is merged to flow/p as ")]
    assert [line for line in lines if line.startswith("2 was not merged, and is failed: gate-fail")]
    assert lines[-1] == "undo: gitflow-agents revert p/1 -m WHY"
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}


def test_only_what_is_in_review_can_be_merged(repo: Repo, gone: Path) -> None:
    engine.plan(repo, task("1", "exit 1"), task("2", "true", depends_on=["1"]))
    engine.go(repo)
    for id, status in (("1", "failed"), ("2", "pending")):
        with pytest.raises(Refused) as refused:
            act(repo, Merge(targets=(id,)))
        assert (refused.value.reason_code, refused.value.message) == (
            "wrong-state",
            f"{id} is {status}: only what is done, and in review, can be merged",
        )
    assert act(repo, Merge()).said == ("nothing to merge: no task that was named is in review",)


def test_what_is_held_is_not_merged(repo: Repo, gone: Path) -> None:
    reviewed(repo, gone, *TWO)
    act(repo, Hold(targets=("1",), reason="wait"))
    with pytest.raises(Refused) as refused:
        act(repo, Merge(targets=("1",)))
    assert (refused.value.reason_code, refused.value.hint) == ("held", "resume p/1")
    assert act(repo, Merge(), dry_run=True).said == ("2 is merged to flow/p if its tests pass",)
    act(repo, Hold())
    with pytest.raises(Refused) as refused:
        act(repo, Merge())
    assert (refused.value.reason_code, refused.value.hint) == ("held", "resume p")


def test_of_two_that_meet_each_other_the_first_is_merged_and_the_second_waits_again(
    repo: Repo, gone: Path
) -> None:
    reviewed(repo, gone, task("1", "echo a > same.txt"), task("2", "echo b > same.txt"))
    outcome = act(repo, Merge())
    assert (outcome.is_done, engine.record(repo, "2")["reason"]) == (False, "conflict")
    assert outcome.said[1].startswith("2 was not merged, and is pending: conflict: ")
    assert engine.audit(repo) == {"1": "completed", "2": "pending"}


# --- update ---------------------------------------------------------------------------------------


def half(repo: Repo, **keys: Any) -> None:
    """Run a plan as far as it goes: the first task is merged, the second fails."""
    engine.plan(repo, task("1", "echo a > a.txt"), task("2", "exit 1"), **keys)
    assert engine.go(repo).code == 4


@pytest.mark.parametrize("follow_base", ["clean", "off"])
def test_the_base_is_brought_into_flow_as_a_tested_merge(repo: Repo, follow_base: str) -> None:
    engine.config(repo, follow_base=follow_base)
    half(repo, gate=["test ! -e bad.txt"])
    base = engine.commits(repo, "main", m__txt="m\n")
    flow = repo.sha(FLOW)
    assert act(repo, Update(), dry_run=True).said == (f"main ({base[:12]}) is merged into flow/p",)
    assert repo.sha(FLOW) == flow
    outcome = act(repo, Update())
    assert (outcome.said, outcome.undo) == (
        (f"main ({base[:12]}) is merged into flow/p",),
        "git switch flow/p && git revert -m 1 HEAD && git switch -",
    )
    (merge,) = engine.log(repo, f"{flow}..{FLOW}", "--first-parent")
    assert merge.parents == (flow, base)
    assert [event["Event"] for event in merge.events] == ["flow_changed"]
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}
    assert engine.state(repo)["base_sha"] == base
    again = act(repo, Update())
    assert (again.changed, again.said) == (False, ("main is in flow/p already",))
    engine.tidy(repo)


def test_a_base_that_conflicts_is_refused_with_the_files(repo: Repo) -> None:
    half(repo)
    engine.commits(repo, "main", a__txt="theirs\n")
    before = engine.refs(repo)
    for dry_run in (True, False):
        with pytest.raises(Refused) as refused:
            act(repo, Update(), dry_run=dry_run)
        assert (refused.value.reason_code, refused.value.message) == (
            "conflict",
            "main does not merge into flow/p, and nothing was changed; in conflict: a.txt",
        )
        assert "git merge main" in refused.value.hint
    assert engine.refs(repo) == before


def test_a_base_that_does_not_pass_stays_out_and_may_be_tried_again(
    repo: Repo, tmp_path: Path
) -> None:
    passes = tmp_path / "passes"
    half(repo, gate=[f"test ! -e bad.txt || test -e {passes}"])
    engine.commits(repo, "main", bad__txt="bad\n")
    flow = repo.sha(FLOW)
    with pytest.raises(Refused) as refused:
        act(repo, Update())
    assert (refused.value.reason_code, repo.sha(FLOW)) == ("gate-failed", flow)
    passes.touch()
    act(repo, Update())
    assert "bad.txt" in repo.tree(FLOW)


def test_an_update_takes_no_task(repo: Repo) -> None:
    half(repo)
    with pytest.raises(Refused) as refused:
        act(repo, Update(targets=("1",)))
    assert refused.value.reason_code == "bad-value"
    act(repo, Hold())
    with pytest.raises(Refused) as refused:
        act(repo, Update())
    assert refused.value.reason_code == "held"


def test_a_revert_on_the_base_that_an_update_brings_is_one_of_the_task(
    repo: Repo, tmp_path: Path
) -> None:
    half(repo)
    repo.git("branch", "--force", "base", FLOW)
    repo.git("update-ref", "refs/heads/main", "base")
    clone = repo.clone(tmp_path / "clone")
    clone.git("switch", "--quiet", "main")
    clone.git("revert", "--no-edit", "-m", "1", engine.record(repo, "1")["merge"])
    clone.git("push", "--quiet", "origin", "main:base")
    repo.git("update-ref", "refs/heads/main", "base")
    act(repo, Update())
    assert engine.audit(repo) == {"1": "pending", "2": "failed"}
