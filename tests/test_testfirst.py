"""`tdd: true` is accepted only when history shows that the tests failed first."""

from __future__ import annotations

import pytest

from gitflow_agents.errors import InvalidFile
from gitflow_agents.spec import read_plan
from tests import engine
from tests.engine import task
from tests.repos import Cli, Repo

COMMIT = "git add -A && git commit -qm work; "
TEST = "echo 'grep -q 1 a' > a_test.sh; "
CODE = "echo 1 > a; "
VERIFY = ["sh a_test.sh"]


def tdd(run: str, **keys: object) -> dict[str, object]:
    return task("1", run, **{"tdd": True, "verify": VERIFY, **keys})


@pytest.mark.parametrize(
    "run",
    [TEST + COMMIT + CODE + COMMIT, TEST + COMMIT + CODE],
    ids=["two commits", "code that was left uncommitted"],
)
def test_tests_that_fail_before_the_code_and_pass_after_it_are_accepted(
    repo: Repo, cli: Cli, run: str
) -> None:
    engine.plan(repo, tdd(run))
    engine.finished(repo, engine.go(repo))
    red, green = engine.record(repo, "1")["evidence"]
    at = red["at"]
    assert (red["kind"], red["command"], red["code"] != 0) == ("red", VERIFY[0], True)
    assert (green["kind"], green["command"], green["code"]) == ("verify", VERIFY[0], 0)
    assert set(repo.tree(at)) & {"a", "a_test.sh"} == {"a_test.sh"}
    assert at in repo.git("rev-list", "flow/p").split()
    shown = cli("show", "p/1").stdout
    assert f"\nFailed at  {at[:12]}, before the code: sh a_test.sh: failure 2\n" in shown


def test_one_commit_with_both_proves_nothing(repo: Repo) -> None:
    engine.plan(repo, tdd(TEST + CODE + COMMIT))
    engine.go(repo)
    record = engine.record(repo, "1")
    tip = record["attempts"][-1]["tip"][:12]
    assert (record["reason"], record["message"]) == (
        "unverified",
        "the task is `tdd`, and its tests did not come first: nothing was changed after "
        f"{tip}, the commit that has them as they are in the result",
    )


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (CODE, "the task is `tdd`, and its result adds or changes no test"),
        (
            TEST + COMMIT + CODE + COMMIT + "echo true >> a_test.sh",
            "the task is `tdd`, and its tests did not come first: nothing was changed after "
            "{tip}, the commit that has them as they are in the result",
        ),
    ],
    ids=["no test", "a test that was changed when it passed"],
)
def test_what_does_not_show_it_is_unverified(repo: Repo, run: str, message: str) -> None:
    engine.plan(repo, tdd(run, verify=["true"]))
    engine.go(repo)
    record = engine.record(repo, "1")
    tip = record["attempts"][-1]["tip"][:12]
    assert (record["reason"], record["message"]) == ("unverified", message.format(tip=tip))


def test_tests_that_pass_already_are_refused_by_the_train(repo: Repo) -> None:
    engine.plan(repo, tdd(CODE + TEST + COMMIT + "echo 2 > b"))
    engine.go(repo)
    record = engine.record(repo, "1")
    (red,) = record["evidence"]
    assert (red["kind"], red["code"]) == ("red", 0)
    assert (record["reason"], record["message"]) == (
        "checks-failed",
        f"the task is `tdd`, and its tests pass already at {red['at'][:12]}, "
        "before what they are for",
    )


def test_a_test_that_cannot_start_has_not_failed(repo: Repo) -> None:
    engine.plan(
        repo, tdd(TEST + COMMIT + CODE + "chmod +x a", verify=["./a 2>&1 || ./a || exit $?"])
    )
    engine.go(repo)
    record = engine.record(repo, "1")
    assert record["reason"] == "unverified"
    assert record["message"].endswith("could not start (exit 127)")


def test_the_tests_of_an_earlier_attempt_count_for_the_next(repo: Repo) -> None:
    first = TEST + COMMIT + CODE + "exit 3"
    engine.plan(repo, tdd(f"if [ $GITFLOW_ATTEMPT = 1 ]; then {first}; fi; echo 2 > b"))
    engine.go(repo)
    assert engine.record(repo, "1")["reason"] == "agent-error"
    engine.act(repo, "retry", "1")
    engine.finished(repo, engine.go(repo))


def test_two_tasks_in_one_train_show_it_each_for_itself(repo: Repo) -> None:
    engine.plan(
        repo,
        *(
            task(
                id,
                f"echo 'test -e {id}' > {id}_test.sh; {COMMIT} echo 1 > {id}",
                tdd=True,
                verify=[f"sh {id}_test.sh"],
            )
            for id in "12"
        ),
    )
    engine.finished(repo, engine.go(repo))
    for id in "12":
        reds = [
            ran["command"] for ran in engine.record(repo, id)["evidence"] if ran["kind"] == "red"
        ]
        assert reds == [f"sh {id}_test.sh"]


def test_the_brief_says_that_tests_come_first(repo: Repo) -> None:
    engine.plan(repo, tdd(TEST + COMMIT + CODE), task("2", "echo 2 > b", verify=["true"]))
    engine.finished(repo, engine.go(repo))
    said = {
        id: "Tests come first" in repo.show(engine.record(repo, id)["claim"], ".gitflow/brief.md")
        for id in "12"
    }
    assert said == {"1": True, "2": False}


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (
            '{"id": "1", "run": "x", "tdd": true}',
            "nothing runs the tests of 1, which has `tdd`",
        ),
        (
            '{"id": "1", "run": "x", "tdd": true, "kind": "research", "verify": ["x"]}',
            "1 is research, and has no tests to begin with",
        ),
    ],
)
def test_a_plan_that_cannot_show_it_is_refused(task: str, problem: str) -> None:
    text = f'{{"plan": "p", "goal": "g", "tasks": [{task}]}}'
    with pytest.raises(InvalidFile) as caught:
        read_plan(text.encode(), file="p.yaml")
    assert [p.reason for p in caught.value.problems if not p.is_warning] == [problem]
