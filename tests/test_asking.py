"""Work that is asked for in words: it becomes a plan of one task, or nothing is written."""

from __future__ import annotations

from contextlib import closing
from dataclasses import fields

import pytest

from gitflow_agents import cli as door
from gitflow_agents import spec
from gitflow_agents.errors import InvalidFile
from gitflow_agents.service import Service
from gitflow_agents.service.asking import Asked, ask
from gitflow_agents.spec import Wish
from tests import engine
from tests.repos import Cli, Repo

HOSTILE = "Write `a.txt`. Then:\n- $(touch owned) ${{ github.token }}\n---\n::error::x"


def wanted(**said: str) -> spec.Reading:
    """Return what the plan of a wish says."""
    return spec.read_plan(spec.wish_plan(Wish(**said), "p"), file="p")


def test_what_is_asked_for_is_one_task_of_a_plan_word_for_word() -> None:
    said = {
        "task": HOSTILE,
        "agent": "claude",
        "model": "sonnet",
        "verify": "grep -q a: 'a.txt'",
        "max_turns": "30",
        "timeout": "45",
        "budget_usd": "2.5",
        "base": "main",
        "flow": "feat/x",
        "approval": "merge, plan",
        "max_parallel": "2",
    }
    plan = wanted(**said).plan
    (task,) = plan.tasks
    assert (task.title, task.description) == ("Write `a.txt`.", HOSTILE)
    assert (task.agent, task.model, task.verify) == ("claude", "sonnet", ("grep -q a: 'a.txt'",))
    assert (task.max_turns, task.timeout and task.timeout.minutes) == (30, 45)
    assert task.budget_usd == 2.5
    assert (plan.plan, plan.goal, plan.base, plan.flow) == ("p", task.title, "main", "feat/x")
    assert (plan.approval, plan.limits.parallel) == (("merge", "plan"), 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("agent", "clod"),
        ("agent", "a b"),
        ("max_turns", "many"),
        ("max_turns", "201"),
        ("timeout", "an age"),
        ("timeout", "5h"),
        ("budget_usd", "ten"),
        ("budget_usd", "-1"),
        ("base", "a..b"),
        ("flow", "a b"),
        ("role", "nobody"),
        ("approval", "never"),
        ("max_parallel", "0"),
    ],
)
def test_a_value_that_is_wrong_is_told_by_its_option(name: str, value: str) -> None:
    with pytest.raises(InvalidFile) as e:
        wanted(**{"task": "Do it", "agent": "claude", name: value})
    (problem, *_) = spec.by_option(e.value.problems).problems
    assert problem.key == spec.option(name)
    assert str(problem).startswith(f"error: {spec.option(name)}: ")


def test_run_and_start_take_every_value_that_a_wish_has() -> None:
    names = {spec.option(field.name) for field in fields(Wish)}
    for verb, but in ((door.run, {"max-parallel"}), (door.start, set())):
        assert names - but <= {name.lstrip("-") for param in verb.params for name in param.opts}


WRITES = {"command": {"run": "echo a > a.txt"}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "x", "--agent", "clod"], "error: agent: there is no agent `clod`"),
        (["--task", "x", "--base", "nope"], "error: there is no branch nope to start from"),
        (["--task", " "], "error: task: nothing is asked for"),
        (
            ["--task", "x\0y"],
            "error: task: the text holds a NUL (remove it)\nerror: what was asked ",
        ),
        (["--task", "x\ud800y"], "error: task: it holds what is no character"),
        (["--agent", "claude"], "error: task: nothing is asked for"),
        (["--task", "x", "P"], "error: plan: `P` is no name of a plan"),
        (["--task", "x", "--", "-p"], "error: plan: `-p` is no name of a plan"),
        (["--task", "x", "there"], "error: plan: the plan there is on main as plans/there.yaml"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    repo: Repo, cli: Cli, words: list[str], said: str
) -> None:
    engine.config(repo, agents=WRITES)
    engine.plan(repo, engine.task("1", "true"), name="there")
    repo.commit("a plan")
    before = repo.snapshot()
    result = cli("run", *words, check=False)
    assert result.exit_code in (1, 2)
    assert result.stderr.startswith(said)
    assert repo.snapshot() == before


def test_without_a_word_about_it_the_only_agent_does_it(repo: Repo, cli: Cli) -> None:
    before = repo.snapshot()
    result = cli("run", "--task", "Write a.txt", check=False)
    assert result.stderr.startswith("error: agent: nobody is named to do it (there are claude, ")
    engine.config(repo, agents={"mine": {"command": ["true"]}})
    after = repo.snapshot()
    assert cli("run", "p", "--task", "Write a.txt", "--dry-run").stdout == (
        "accept plan p: make plan/p and flow/p from main\n"
        "    0 min  start 1 on task/p/1-write-a-txt: Write a.txt\n"
        "   10 min  merge 1 to flow/p\n"
        "   10 min  finish: the report goes to flow/p\n"
    )
    assert (repo.snapshot(), after == before) == (after, False)


def test_what_is_asked_for_in_the_same_second_is_a_plan_of_its_own_but_for_the_same_run(
    repo: Repo,
) -> None:
    def asked(text: str, called: str = "") -> Asked:
        wish = Wish(task=text, agent="claude")
        with closing(Service(str(repo.path), clock=lambda: 0.0)) as service:
            return ask(service, wish, "", "", lambda told: None, called=called)

    first = "session-19700101-000000"
    assert [asked(text).plan for text in ("Do a", "Do b", "Do c")] == [
        first,
        f"{first}-2",
        f"{first}-3",
    ]
    assert "Do b" in repo.show(f"plan/{first}-2", f"plans/{first}-2.yaml")
    assert [asked("Do d", "session-7") for _ in range(2)] == [
        Asked("session-7"),
        Asked("session-7", ("plan session-7 was made of it before",)),
    ]


@pytest.mark.slow  # the fast ones end where this begins
def test_a_task_without_a_plan_file_is_run_and_another_one_joins_it(repo: Repo, cli: Cli) -> None:
    engine.config(repo, agents=WRITES)
    cli("run", "p", "--task", HOSTILE, "--verify", "grep a a.txt")
    assert engine.record(repo, "1", "p")["status"] == "completed"
    engine.config(repo, agents={"command": {"run": "echo b > b.txt"}})
    cli("run", "p", "--task", "And b: too")
    assert repo.show("flow/p", "b.txt") == "b\n"
    assert engine.fsck(repo, "p") == ()
    late = cli("run", "p", "--task", "More", "--base", "main", check=False)
    assert late.stderr.startswith("error: base: plan p was started, and says this itself")
