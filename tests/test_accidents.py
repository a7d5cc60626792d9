"""What happens to the machine and to the repository while a plan runs: nothing is lost by it."""

from __future__ import annotations

import random
import time

import pytest

from gitflow_agents.models import TaskRecord
from gitflow_agents.scheduler import LONGEST_WAIT, is_ahead, may_retry
from tests import engine, world
from tests.engine import task
from tests.repos import Repo

YEAR = 365 * 86400.0


# --- the clock ------------------------------------------------------------------------------------


def test_what_is_due_later_than_anything_waits_was_noted_by_another_clock() -> None:
    now = 1_000_000.0
    assert not is_ahead(now, now)
    assert not is_ahead(now - YEAR, now)
    assert is_ahead(now + 1, now)
    assert is_ahead(now + LONGEST_WAIT, now)
    assert not is_ahead(now + LONGEST_WAIT + 1, now)


def test_a_clock_that_jumps_delays_nothing_and_loses_nothing(repo: Repo) -> None:
    chance = random.Random(1)
    engine.plan(
        repo,
        *(task(str(n), f"echo {n} > {n}.txt", verify=[f"test -s {n}.txt"]) for n in range(4)),
        task("4", "cat ?.txt > all.txt", depends_on=["0", "1", "2", "3"]),
        gate=["ls"],
    )
    engine.finished(repo, engine.go(repo, clock=lambda: time.time() + chance.choice(JUMPS)))
    assert set(engine.audit(repo).values()) == {"completed"}
    assert repo.show("flow/p", "all.txt").split() == ["0", "1", "2", "3"]
    # What was measured is no matter of the clock: 10 years would be all the minutes of any plan.
    for id in "01234":
        for attempt in engine.record(repo, id)["attempts"]:
            assert 0 <= attempt["ended_at"] - attempt["started_at"] < 60


JUMPS = (0.0, 0.0, 10 * YEAR, -YEAR, -20 * YEAR, 3600.0)


@pytest.mark.parametrize(
    ("due", "expected"), [(YEAR, True), (LONGEST_WAIT, False), (1, False), (0, True), (-YEAR, True)]
)
def test_a_retry_that_is_due_in_years_is_due_now(due: float, expected: bool) -> None:
    now = 2_000_000_000.0
    snapshot = world.begin(world.plan_of([()]))
    lost = {"status": "failed", "reason": "infrastructure", "lost": 2, "not_before": now + due}
    snapshot.apply(TaskRecord.model_validate({"id": "1", **lost}))
    assert may_retry(snapshot, "1", now, world.LIMITS) is expected


# --- the repository -------------------------------------------------------------------------------


def test_a_repository_that_is_repacked_under_a_run_stays_whole(repo: Repo) -> None:
    # Not --prune=now: git itself says that it harms whatever is written meanwhile.
    pack = "git gc --quiet; git repack -adq; git pack-refs --all --prune"
    engine.plan(
        repo,
        *(task(str(n), f"echo {n} > {n}.txt; {pack}", verify=[f"test -s {n}.txt"]) for n in "12"),
        task("3", f"cat 1.txt 2.txt > 3.txt; {pack}", depends_on=["1", "2"]),
        gate=["ls"],
    )
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "3.txt").split() == ["1", "2"]
    repo.git("fsck", "--strict", "--no-dangling")
