"""A retry that says who does a task, and within what: what it changes, how long, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gitflow_agents import render
from gitflow_agents.commands import KINDS, Ground, Move, Refused, effects
from gitflow_agents.models import Agents, Config, Duration, Instead, Limits, Plan
from gitflow_agents.roles import Handbook, Role
from gitflow_agents.scheduler import Snapshot
from tests import engine
from tests.engine import act, record, task
from tests.repos import Repo
from tests.test_acting import brief
from tests.test_commands import ALICE, one
from tests.test_scheduler import NOW, snapshot

TEXT = {"id": "t", "title": "T", "description": "do it"}


def failed(before: Instead | None = None, role: str | None = None, **keys: Any) -> Snapshot:
    """Return a plan whose one task has failed, done by claude unless its text says another."""
    text = {"agent": "claude", "model": "opus", **TEXT, **keys}
    plan = Plan.model_validate({"plan": "demo", "goal": "g", "tasks": [{**text, "role": role}]})
    of = one("f")
    return snapshot(
        plan, "f", records={"t": {"attempts": of.record("t").attempts, "instead": before}}
    )


def asked(of: Snapshot, config: Config | None = None, **options: Any) -> Instead | None:
    """Return what holds for the task after a retry."""
    roles = {"slow": Role(description="d", timeout=Duration("10m"))}
    ground = Ground(
        of, ALICE, NOW, Limits(budget_usd=20), config=config or Config(), book=Handbook(roles)
    )
    (move,) = effects(KINDS["retry"](targets=("t",), **options), ground).effects
    assert isinstance(move, Move)
    found: Instead | None = move.changes["instead"]
    return found


def said(of: Snapshot, **more: Any) -> Instead:
    return Instead(**more, by=ALICE, at=NOW, digest=of.plan.by_id["t"].digest)


def goes_by(of: Snapshot, held: Instead | None) -> tuple[str, str | None, Any, str]:
    """Return agent, model, budget and time of the next attempt."""
    plan = of.plan.with_instead("t", held)
    names = ("agent", "model", "budget_usd", "timeout")
    agent, model, budget, timeout = (plan.setting(plan.by_id["t"], name) for name in names)
    return str(agent), model, budget, str(timeout)


def test_a_retry_says_who_does_the_next_attempts_and_within_what() -> None:
    of = failed()
    held = asked(of, agent="opencode", model="big", budget=5, timeout="45m")
    assert held == said(of, agent="opencode", model="big", budget_usd=5, timeout=Duration("45m"))
    assert goes_by(of, held) == ("opencode", "big", 5, "45m")
    assert goes_by(of, None) == ("claude", "opus", None, "30m")


def test_it_holds_until_another_retry_says_otherwise() -> None:
    of = failed()
    held = failed(asked(of, agent="opencode", model="big", timeout="45m"))
    assert asked(held) == held.record("t").instead
    assert goes_by(of, asked(held, timeout="2h")) == ("opencode", "big", None, "2h")
    assert goes_by(of, asked(held, agent="aider")) == ("aider", None, None, "45m")
    assert asked(held, as_planned=True) is None


def test_it_dies_with_the_text_of_the_task() -> None:
    held = asked(failed(), agent="codex")
    changed = failed(held, title="another")
    assert changed.plan_for("t") is changed.plan
    assert asked(changed) is None


def test_the_model_of_the_plans_own_agent_is_for_nobody_else() -> None:
    of = failed()
    assert goes_by(of, asked(of, agent="codex")) == ("codex", None, None, "30m")
    assert goes_by(of, asked(of, agent="claude")) == ("claude", "opus", None, "30m")


SMALL = Config(agents=Agents.model_validate({"claude": {"budget_usd": 3}, "codex": {}}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agent": "aider"}, "the config does not allow the agent aider"),
        ({"agent": "command"}, "t has no `run` that the agent command could do"),
        ({"budget": 4}, "--budget 4 is more than the config for claude allows: 3"),
        (
            {"agent": "codex", "budget": 2},
            "codex does not tell what it costs, so --budget cannot end it",
        ),
        ({"timeout": "20m"}, "--timeout 20m is more than the role slow allows: 10m"),
        ({"as_planned": True, "model": "x"}, "--as-planned leaves --model nothing to say"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as error:
        asked(failed(role="slow"), SMALL, **options)
    assert (error.value.reason_code, error.value.message) == ("bad-value", message)


def test_no_attempt_may_cost_more_than_the_plan() -> None:
    with pytest.raises(Refused, match="--budget 30 is more than `limits` allows: 20"):
        asked(failed(), budget=30)
    with pytest.raises(Refused, match="t is done by the agent command, which has no model"):
        asked(failed(agent="command", model=None, run="true"), model="x")


def test_every_view_says_who_does_it_now() -> None:
    held = failed(asked(failed(), agent="codex", model="big", timeout="45m"))
    words = "codex, model big, 45m (alice)"
    assert f"As retries said\n  t  {words}" in render.status(held, Limits(), NOW)
    assert f"By         {words}\n" in render.show_task(held, "t", NOW)
    assert f"its next attempt, as a retry said: {words}\n" in render.explain(held, "t", NOW)
    assert render.show_task_json(held, "t", NOW)["instead"] == {
        "agent": "codex",
        "model": "big",
        "budget_usd": None,
        "timeout": "45m",
        "by": "alice",
        "at": render.utc(NOW),
    }


@pytest.mark.slow
def test_another_agent_does_the_next_attempt(repo: Repo) -> None:
    repo.identify()
    engine.config(repo, agents={"mine": {"command": ["sh", "-c", "echo mine > x.txt"]}})
    engine.plan(repo, task("1", "exit 3"))
    engine.go(repo)
    act(repo, "retry", "1", agent="mine", timeout="2m")
    engine.finished(repo, engine.go(repo))
    assert [attempt["agent"] for attempt in record(repo, "1")["attempts"][1:]] == ["mine"]
    assert repo.show("flow/p", "x.txt") == "mine\n"
    assert "- time: 2m\n" in brief(repo)
