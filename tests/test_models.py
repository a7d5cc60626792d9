"""The values that people write mean what people mean by them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import ValidationError

from gitflow_agents.models import (
    Config,
    ConfigLimits,
    Defaults,
    Duration,
    Limits,
    Plan,
    Priority,
    Task,
    fold,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("8", 480),
        ("0.5", 30),
        ("90s", 90),
        ("30m", 1800),
        ("2h", 7200),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("8 minutes", 480),
        ("1 minute", 60),
        ("5 mins", 300),
        ("1 hr", 3600),
        ("3 hrs", 10800),
        ("1 hour and 15 minutes", 4500),
        ("1 hour, 15 minutes", 4500),
        ("2-3 h", 10800),
        ("2–3 hours", 10800),
        ("2 to 3 hours", 10800),
        (" 45 Minutes ", 2700),
        ("0", 0),
    ],
)
def test_a_time_is_what_people_mean_by_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert (Duration(text).seconds, Duration(text).minutes) == (seconds, seconds / 60)


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "-5", "5 days", "5 5x", "h", "m5", "1..5", "5m later", "nan", "inf"]
)
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a time; write a number of minutes, or 90s, "):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9000h", "9" * 400])
def test_no_time_is_longer_than_a_year(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is longer than a year$"):
        parse_duration(text)


@given(some.text(max_size=30))
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= 366 * 24 * 3600


def test_a_time_keeps_the_words_it_was_written_in() -> None:
    task = Task.model_validate({"id": "a", "estimated_time": "2-3 h", "timeout": 8})
    assert task.model_dump(mode="json", exclude_unset=True) == {
        "id": "a",
        "estimated_time": "2-3 h",
        "timeout": "8",
    }


@pytest.mark.parametrize("timeout", ["59s", "241m", 0.9, True, None, [1]])
def test_a_timeout_is_between_a_minute_and_four_hours(timeout: object) -> None:
    with pytest.raises(ValidationError):
        Defaults.model_validate({"timeout": timeout})
    assert [Defaults.model_validate({"timeout": one}).timeout for one in ("60s", "4h")] == [
        "60s",
        "4h",
    ]


def test_capabilities_are_compared_after_folding() -> None:
    assert fold("  User\n model \t class ") == "User model class"
    assert fold("Cafe\u0301") == fold("Caf\u00e9") == "Café"
    assert fold("User") != fold("user")


def test_a_task_knows_its_needs_and_what_it_gives_in_folded_form() -> None:
    task = Task.model_validate(
        {"id": "a", "preconditions": ["A  b", "c"], "provides": ["D  e", {"name": " f "}]}
    )
    assert (task.needs, task.gives) == (frozenset({"A b", "c"}), ("D e", "f"))


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (Task(id="001", title=" User \n model ", description="x"), "User model"),
        (Task(id="001", description="Create it. Then test it."), "Create it."),
        (Task(id="001", description="Create it\nthen test it"), "Create it"),
        (Task(id="001", description="v1.5 is out! Rejoice"), "v1.5 is out!"),
        (Task(id="001", description="x" * 100), "x" * 80),
        (Task(id="001", title=" ", description="\n"), "001"),
    ],
)
def test_a_task_is_called_by_its_title_or_its_first_sentence_or_its_id(
    task: Task, name: str
) -> None:
    assert task.name == name


def test_the_smaller_limit_counts() -> None:
    plan = Limits(parallel=3, attempts=5, budget_usd=0)
    config = ConfigLimits(parallel=4, attempts=2, minutes=60)
    assert plan.tightened(config) == Limits(parallel=3, attempts=2, minutes=60, budget_usd=0)
    assert Limits().tightened(Limits()) == Limits()


def test_a_plan_says_which_branch_results_go_to() -> None:
    task = Task(id="a")
    assert [
        Plan(plan="auth", goal="g", tasks=(task,)).flow_branch,
        Plan(plan="auth", goal="g", type="docs", tasks=(task,)).flow_branch,
        Plan(plan="auth", goal="g", type="docs", flow="own/one", tasks=(task,)).flow_branch,
    ] == ["flow/auth", "docs/auth", "own/one"]


def test_a_tasks_own_word_counts_before_the_plans() -> None:
    own = Task(id="a", verify=("a",), max_turns=3, priority=Priority.LOW)
    none = Task(id="b", verify=())
    silent = Task(id="c")
    plan = Plan(
        plan="p",
        goal="g",
        defaults=Defaults(verify=("d",), max_turns=9, priority=Priority.HIGH),
        tasks=(own, none, silent),
    )
    assert [plan.verify(task) for task in plan.tasks] == [("a",), (), ("d",)]
    assert [plan.setting(task, "max_turns") for task in plan.tasks] == [3, 9, 9]
    assert [plan.setting(task, "priority") for task in plan.tasks] == ["low", "high", "high"]
    assert (plan.by_id["b"], plan.order) == (none, {"a": 0, "b": 1, "c": 2})


def test_priorities_have_an_order() -> None:
    assert sorted(Priority, key=lambda priority: priority.rank) == ["high", "medium", "low"]


def test_values_do_not_change_and_take_nothing_unknown() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().train = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        Task.model_validate({"id": "a", "colour": "red"})


@pytest.mark.parametrize(
    ("key", "value"),
    [("parallel", 0), ("parallel", "3"), ("parallel", True), ("minutes", 0), ("minutes", "9")],
)
def test_a_limit_is_a_number_and_positive(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate({key: value})


def test_an_unquoted_off_is_off() -> None:
    assert Config.model_validate({"follow_base": False}).follow_base == "off"
    with pytest.raises(ValidationError):
        Config.model_validate({"follow_base": True})
