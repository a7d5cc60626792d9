"""What a task reports reaches the tasks that name it, and nothing that it did not report does."""

from __future__ import annotations

from typing import Any

import pytest

from gitflow_agents import handoff
from gitflow_agents.models import Reason, Task
from gitflow_agents.spec import OWN_VARIABLES, read_config
from tests import engine
from tests.engine import task
from tests.repos import Cli, Repo


def report(text: str) -> str:
    """Return shell words that write a report."""
    return f"cat > $GITFLOW_REPORT <<'END'\n{text}\nEND\n"


def wrong(outputs: Any, given: dict[str, Any]) -> str:
    about = Task.model_validate({"id": "1", "outputs": outputs})
    return handoff.wrong(about, given).removeprefix("its outputs are not what the plan declares: ")


@pytest.mark.parametrize(
    ("outputs", "given", "said"),
    [
        ("port", {"port": "8080"}, ""),
        ("port", {}, "`port` is missing"),
        ("port", {"port": 8080}, "`port` is 8080, and has to be text"),
        ({"name": "port", "type": "number"}, {"port": 8080}, ""),
        ({"name": "port", "type": "number"}, {"port": 0.5}, ""),
        ({"name": "port", "type": "number"}, {"port": True}, "`port` is `true`, and has to be a number"),
        ({"name": "up", "type": "boolean"}, {"up": False}, ""),
        ({"name": "up", "type": "boolean"}, {"up": "yes"}, "`up` is `yes`, and has to be true or false"),
        ({"name": "to", "choices": ["a", "b"]}, {"to": "b"}, ""),
        ({"name": "to", "choices": ["a", "b"]}, {"to": "c"}, "`to` is `c`, and has to be one of a, b"),
        ({"name": "v", "pattern": r"\d+\.\d+"}, {"v": "1.2"}, ""),
        ({"name": "v", "pattern": r"\d|\d\d"}, {"v": "12"}, ""),
        ({"name": "v", "pattern": r"\d+"}, {"v": "12\n"}, "`v` is `12\n`, and has to match \\d+"),
        ({"name": "v", "pattern": "(a+)+b"}, {"v": "a" * 8000}, f"`v` is `{'a' * 80}…`, and has to match (a+)+b"),
        ("v", {"v": "a\0b"}, "`v` holds a zero byte"),
        ("v", {"v": "a", "w": "b"}, "`w` is not declared"),
        ((), {"w": "b"}, "`w` is not declared"),
        (["v", "w"], {}, "`v` is missing; `w` is missing"),
    ],
)  # fmt: skip
def test_a_value_is_what_was_declared_or_is_told_to_be_wrong(
    outputs: Any, given: dict[str, Any], said: str
) -> None:
    outputs = [outputs] if isinstance(outputs, dict) else outputs
    assert wrong(outputs, given) == said


def test_outputs_reach_the_environment_and_the_brief_of_the_task_that_names_them(
    repo: Repo, cli: Cli
) -> None:
    values = "outputs: {url: 'http://x; echo `id` $(id)', port: 8080, up: true}\nsummary: s"
    declared = ["url", {"name": "port", "type": "number"}, {"name": "up", "type": "boolean"}]
    take = 'printf "%s|%s|%s" "$GITFLOW_INPUT_WHERE" "$GITFLOW_INPUT_PORT" "$GITFLOW_INPUT_UP" > b'
    engine.plan(
        repo,
        task("1.a", f"echo a > a; {report(values)}", outputs=declared),
        task(
            "2",
            take,
            depends_on=["1.a"],
            inputs={"where": "1.a.url", "port": "1.a.port", "up": "1.a.up"},
            verify=['test -z "$GITFLOW_INPUT_PORT"'],
        ),
    )
    assert "not reported yet" in cli("brief", f"{engine.FILE}", check=False).stdout or True
    assert engine.go(repo).code == 0
    assert repo.git("show", "flow/p:b") == "http://x; echo `id` $(id)|8080|true"
    kept = engine.record(repo, "1.a")["outputs"]
    assert kept == {"url": "http://x; echo `id` $(id)", "port": 8080, "up": True}
    assert (
        "## Its inputs\n\n"
        "Earlier tasks reported these values; your environment has them under the names in "
        "brackets.\n\n"
        "- where (`GITFLOW_INPUT_WHERE`), of 1.a: ``http://x; echo `id` $(id)``\n"
        "- port (`GITFLOW_INPUT_PORT`), of 1.a: `8080`\n"
        "- up (`GITFLOW_INPUT_UP`), of 1.a: `true`\n"
    ) in cli("brief", "2").stdout
    assert (
        "Your report has to give these values under `outputs`:\n\n"
        "- `url`, a string\n- `port`, a number\n- `up`, a boolean\n"
    ) in cli("brief", "1.a").stdout
    merge = engine.record(repo, "1.a")["merge"]
    assert (
        "## Outputs\n\n- `url`: ``http://x; echo `id` $(id)``\n- `port`: `8080`\n- `up`: `true`"
    ) in repo.git("show", f"{merge}^2:.gitflow/report.md")


def test_an_output_that_is_missing_or_wrong_fails_the_task_and_is_never_made_up(
    repo: Repo,
) -> None:
    engine.plan(
        repo,
        task("1", "echo a > a", outputs=["url"]),
        task("2", f"echo b > b; {report('outputs: {port: x}')}", outputs=[{"name": "port", "type": "number"}]),
        task("3", f"echo c > c; {report('outputs: [')}", outputs=["v"]),
    )  # fmt: skip
    assert engine.go(repo).code == 4
    begin = "its outputs are not what the plan declares"
    assert [engine.record(repo, each)["message"] for each in "12"] == [
        f"{begin}: `url` is missing",
        f"{begin}: `port` is `x`, and has to be a number",
    ]
    third = engine.record(repo, "3")
    assert third["message"].startswith(f"{begin}: `v` is missing; the agent's report was left out")
    assert {engine.record(repo, each)["reason"] for each in "123"} == {Reason.CHECKS_FAILED}


def test_an_input_that_a_skipped_task_never_gave_refuses_the_claim(repo: Repo, cli: Cli) -> None:
    engine.plan(
        repo,
        task("1", "exit 1", outputs=["url"], provides=["x"]),
        task("2", "touch /nowhere", preconditions=["x"], inputs={"u": "1.url"}),
    )
    engine.go(repo)
    cli("skip", "p/1", "-m", "it is there", "--provides")
    assert engine.go(repo, "p").code == 4
    failed = engine.record(repo, "2")
    assert (failed["reason"], failed["message"]) == (
        "precondition-failed",
        "its input u is `1.url`, and 1 gave no output url",
    )
    assert "attempts" not in failed


def test_variables_of_inputs_configure_nothing() -> None:
    assert "GITFLOW_ROLE" in OWN_VARIABLES
    assert read_config(None, file="c", environ={"GITFLOW_INPUT_PORT": "1"}).train == 8


# --- documentation --------------------------------------------------------------------------------


def test_a_tasks_documentation_is_in_its_brief_as_it_is_on_flow(repo: Repo, cli: Cli) -> None:
    repo.write(".taskmaster/docs/task-7/task.md", "# Do it\n```\nx\n```\n")
    repo.write(".taskmaster/docs/task-7/acceptance-criteria.md", "it works\n")
    repo.write(".taskmaster/docs/task-7/big.md", "x" * 40_000)
    repo.write("empty.md", "")
    (repo.path / "picture").write_bytes(b"\x89PNG\0\xff")
    repo.git("add", ".")
    repo.git("commit", "--quiet", "--message", "docs")
    engine.plan(
        repo,
        task("1", "mkdir made; echo new > made/by-1.md"),
        task(
            "7",
            "echo a > a",
            depends_on=["1"],
            docs=[".taskmaster/docs/task-7/", "./picture", "empty.md", "made/by-1.md"],
        ),
    )
    assert "`made/by-1.md`: it is not there yet." in cli("brief", "p/7").stdout
    assert engine.go(repo).code == 0
    assert (
        "## Its documentation\n\n"
        "### `.taskmaster/docs/task-7/acceptance-criteria.md`\n\n```text\nit works\n```\n\n"
        "`.taskmaster/docs/task-7/big.md`: read it there; it has 40,000 bytes.\n\n"
        "### `.taskmaster/docs/task-7/task.md`\n\n````text\n# Do it\n```\nx\n```\n````\n\n"
        "`picture`: read it there; it is no text.\n\n"
        "`empty.md`: it is empty.\n\n"
        "### `made/by-1.md`\n\n```text\nnew\n```\n\n"
        "## What is there already\n"
    ) in cli("brief", "p/7").stdout


def test_documentation_that_is_missing_refuses_the_claim_with_its_name(
    repo: Repo, cli: Cli
) -> None:
    engine.plan(
        repo, task("1", "echo a > a", docs=["docs/task-1/", "b.md"]), task("2", "echo b > b")
    )
    played = engine.go(repo)
    assert played.code == 4
    assert played.happened("claim_refused", "attempt_started") == ["1", "2"]
    failed = engine.record(repo, "1")
    assert (failed["status"], failed["reason"], failed["message"]) == (
        "failed",
        "precondition-failed",
        "`docs` names docs/task-1, b.md, which are not there",
    )
    assert "attempts" not in failed
    repo.write("docs/task-1/task.md", "do it\n")
    repo.write("b.md", "b\n")
    repo.git("add", ".")
    repo.git("commit", "--quiet", "--message", "docs")
    cli("retry", "p/1")
    assert engine.go(repo, "p").code == 0
    assert engine.record(repo, "1")["status"] == "completed"


# --- research -------------------------------------------------------------------------------------


def test_research_is_completed_by_a_merge_that_changes_nothing(repo: Repo, cli: Cli) -> None:
    found = "summary: |\n  the queue is slow\nlearned: [use a ring]\noutputs: {cause: locks}"
    engine.plan(
        repo,
        task("1", f"echo draft > notes; {report(found)}", kind="research", outputs=["cause"]),
        task("2", 'echo "$GITFLOW_INPUT_CAUSE" > b', depends_on=["1"], inputs={"cause": "1.cause"}),
    )
    assert engine.go(repo).code == 0
    merge = engine.record(repo, "1")["merge"]
    assert repo.git("rev-parse", f"{merge}^{{tree}}") == repo.git(
        "rev-parse", f"{merge}^1^{{tree}}"
    )
    message = repo.git("show", "--no-patch", "--format=%B", merge)
    assert "the queue is slow" in message
    assert "Nothing to merge: it is research, and this is what it found." in message
    assert repo.git("show", f"{merge}^2:notes") == "draft"
    risk = "it is research and changed files, which stay on its branch: notes"
    assert engine.record(repo, "1")["risks"] == [risk]
    said = cli("brief", "2").stdout
    assert "Its agent reported:\n\n```text\nthe queue is slow\n```\n" in said
    assert "## Learned so far\n\n```text\n- use a ring\n```\n" in said
    assert repo.git("show", "flow/p:b") == "locks"
    assert cli("fsck").exit_code == 0


def test_research_without_findings_has_failed(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo a > a", kind="research"))
    assert engine.go(repo).code == 4
    failed = engine.record(repo, "1")
    assert (failed["reason"], failed["message"]) == (
        "no-changes",
        "it found nothing: its report has no `summary`",
    )


# --- people ---------------------------------------------------------------------------------------


def committed(repo: Repo, branch: str, file: str = "") -> None:
    """Commit something to a branch as a person does; nothing but words without a `file`."""
    repo.path.joinpath(engine.FILE).unlink(missing_ok=True)  # it would be in the way
    repo.git("switch", "--quiet", branch)
    if file:
        repo.write(file, "mine\n")
        repo.git("add", file)
    repo.git("commit", "--quiet", "--allow-empty", "--message", "what I did\n\nand why")
    repo.git("switch", "--quiet", "main")


def test_a_person_reports_the_outputs_of_a_task_that_they_took(repo: Repo, cli: Cli) -> None:
    engine.plan(
        repo,
        task("1", "exit 1", outputs=["url", {"name": "port", "type": "number"}]),
        task("2", 'echo "$GITFLOW_INPUT_PORT" > b', depends_on=["1"], inputs={"port": "1.port"}),
        task("3", "exit 1", kind="research", role="review"),
    )
    engine.go(repo)
    cli("take", "p/1", "p/3")
    committed(repo, "task/p/1-task-1", "a")
    committed(repo, "task/p/3-task-3")
    for words, why in (
        ([], "`url` is missing; `port` is missing"),
        (["--output", "port=x", "--output", "url=a=b"], "`port` is `x`, and has to be a number"),
        (["--output", "port"], "`port` is not NAME=VALUE"),
    ):
        refused = cli("submit", "p/1", *words, check=False)
        assert refused.exit_code == 1
        assert why in refused.stderr
        assert "hint: say each of them: --output NAME=VALUE" in refused.stderr
    cli("submit", "p/1", "--output", "url=a=b", "--output", "port=80")
    cli("submit", "p/3")
    assert engine.go(repo, "p").code == 0
    assert engine.record(repo, "1")["outputs"] == {"url": "a=b", "port": 80}
    assert repo.git("show", "flow/p:b") == "80"
    assert engine.record(repo, "3")["summary"].strip() == "what I did\n\nand why"


def test_a_person_is_not_held_to_the_role_of_the_agent_whose_task_they_took(
    repo: Repo, cli: Cli
) -> None:
    engine.plan(repo, task("1", "exit 1", role="test"))
    engine.go(repo)
    cli("take", "p/1")
    committed(repo, "task/p/1-task-1", "code.py")
    cli("submit", "p/1")
    assert engine.go(repo, "p").code == 0
    assert "code.py" in repo.tree("flow/p")
