"""What attempts changed, and how two of them differ."""

from __future__ import annotations

from tests import engine
from tests.engine import task
from tests.repos import Cli, Repo, Result

TRIES = """case $GITFLOW_ATTEMPT in
1) echo one > a; echo same > b; exit 1;;
2) echo two > a; exit 1;;
esac"""


def tried(repo: Repo, cli: Cli) -> None:
    """Have a task fail twice, with flow moved in between."""
    engine.plan(repo, task("1", TRIES), task("2", "echo 2 > other"))
    engine.go(repo)
    cli("retry", "1", "--fresh")
    engine.go(repo)


def test_each_attempt_is_shown_and_two_are_compared_without_what_flow_did(
    repo: Repo, cli: Cli
) -> None:
    tried(repo, cli)
    assert cli("diff", "1", "--attempt", "1", "--stat").stdout == (
        " a | 1 +\n b | 1 +\n 2 files changed, 2 insertions(+)\n"
    )
    compared = cli("diff", "1", "--attempt", "2", "--against", "1").stdout
    shown = [
        line
        for line in compared.splitlines()
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert shown == ["-one", "+two", "-same"]
    assert cli("diff", "1", "--against", "1").stdout == compared
    tips = [attempt["tip"] for attempt in engine.record(repo, "1")["attempts"]]
    answer = cli("diff", "1", "--attempt", "1", "--against", "2", "--json").json
    assert (answer["base"], answer["sha"]) == (tips[1], tips[0])
    assert answer["files"] == [
        {"path": "a", "change": "modified", "insertions": 1, "deletions": 1},
        {"path": "b", "change": "added", "insertions": 1, "deletions": 0},
    ]


def test_an_attempt_that_there_never_was_is_told(repo: Repo, cli: Cli) -> None:
    engine.plan(repo, task("1", "echo 1 > a"))
    engine.go(repo)
    assert cli("diff", "1", "--attempt", "7", check=False) == Result(
        1,
        "",
        "error: 1 has had 1 attempt, and none is number 7\nhint: gitflow-agents show p/1\n",
    )
    assert cli("diff", "1", "--attempt", "0", check=False).exit_code == 2
