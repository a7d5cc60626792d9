"""Templates make plans that are right as they stand, and the example plans are such plans."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

import gitflow_agents
from gitflow_agents.errors import UsageError
from gitflow_agents.graph import Graph
from gitflow_agents.models import Plan
from gitflow_agents.service.briefing import Roles
from gitflow_agents.spec import Reading, read_plan, template
from tests import engine
from tests.repos import Repo

TEMPLATES = Path(gitflow_agents.__file__).parent / "templates"
NAMES = ["codemod", "feature", "hive"]
EXAMPLES = sorted((Path(__file__).parent.parent / "plans").glob("*.yaml"))
QUICK_START = [
    "textkit",
    "textkit.words",
    "textkit.sentences",
    "textkit.summary",
    "textkit on the command line",
]
GIVEN = {"follow-up": QUICK_START}


def made(
    name: str, goal: str = "Make it better", plan: str = "better", folders: Collection[str] = ()
) -> str:
    source = (TEMPLATES / f"{name}.yaml").read_text(encoding="utf-8")
    if name == "codemod":
        folders = folders or ("src/one", "src/two")
    return template(name, text=source, plan=plan, goal=goal, folders=tuple(folders))


def read(source: str, name: str = "") -> Reading:
    return read_plan(
        source.encode(), file="p", name=name, given=GIVEN.get(name, ()), roles=Roles({})
    )


def carry_out(plan: Plan, folder: Path, given: Collection[str] = ()) -> None:
    """Run a plan's commands one after the other in one folder, and everything that verifies them."""
    env = os.environ | {"GITFLOW_REPORT": os.devnull, "GITFLOW_INPUT_VERDICT": "good"}
    for wave in Graph.of(plan, given).waves():
        for task in (plan.by_id[task_id] for task_id in wave):
            checks = (capability.check for capability in task.provides if capability.check)
            for command in (task.run, *plan.verify(task), *checks):
                assert command is not None
                done = subprocess.run(
                    ["sh", "-c", command], cwd=folder, capture_output=True, text=True, env=env
                )
                assert (done.returncode, task.id, command) == (0, task.id, command), done.stderr
        for command in plan.gate:
            done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True)
            assert (done.returncode, command) == (0, command), done.stderr


# --- templates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_template_makes_a_plan_without_a_warning(name: str) -> None:
    reading = read(made(name))
    assert reading.warnings == ()
    assert (reading.plan.plan, reading.plan.goal) == ("better", "Make it better")


@pytest.mark.parametrize("name", NAMES)
def test_a_new_plan_can_be_run_as_it_stands(name: str, tmp_path: Path) -> None:
    folders = ["src/one", "it's a $HOME"] if name == "codemod" else []
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    carry_out(read(made(name, folders=folders)).plan, tmp_path)
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert (
        written
        == {
            "feature": {
                f"notes/better/{part}.md" for part in ("design", "code", "tests", "README")
            },
            "hive": {
                "notes/better.md",
                "docs/design/better.md",
                "src/better.sh",
                "tests/better.sh",
                "deploy/better.md",
            },
            "codemod": {"tools/better.sh", "src/one/better.txt", "it's a $HOME/better.txt"},
        }[name]
    )


def test_the_hive_has_its_six_phases_in_order() -> None:
    plan = read(made("hive")).plan
    assert Graph.of(plan).waves() == [
        ["ANALYZER"],
        ["ARCHITECT"],
        ["BUILDER"],
        ["TESTER"],
        ["VALIDATOR"],
        ["DEPLOYER"],
    ]


@pytest.mark.parametrize("name", ["better", "tests", "docs"])
def test_each_phase_of_the_hive_does_what_its_role_permits(repo: Repo, name: str) -> None:
    repo.write(f"plans/{name}.yaml", made("hive", plan=name))
    assert engine.go(repo, f"plans/{name}.yaml").code == 0
    assert repo.git("show", f"feat/{name}:deploy/{name}.md") == "# Release: good"


def test_a_codemod_has_a_task_for_each_folder_and_each_folder_once() -> None:
    folders = ["src/one", "a b/c", "src/one", "it's $HOME", "tab", "-x", "é😀", "# no: comment"]
    plan = read(made("codemod", folders=folders)).plan
    assert [(task.id, task.title, task.files, task.run) for task in plan.tasks[1:4]] == [
        ("001", "Change src/one", ("src/one",), "sh tools/better.sh src/one\n"),
        ("002", "Change a b/c", ("a b/c",), "sh tools/better.sh 'a b/c'\n"),
        ("003", "Change it's $HOME", ("it's $HOME",), "sh tools/better.sh 'it'\"'\"'s $HOME'\n"),
    ]
    assert [task.files[0] for task in plan.tasks[1:]] == list(dict.fromkeys(folders))
    assert Graph.of(plan).waves() == [["script"], [f"00{number}" for number in range(1, 8)]]


@given(some.text(min_size=1).filter(str.strip))
def test_no_goal_breaks_a_plan(goal: str) -> None:
    for name in NAMES:
        if "\0" not in goal:
            assert read(made(name, goal=goal)).plan.goal == goal


@pytest.mark.parametrize("plan", ["1", "0x1f", "null", "yes", "2024-01-01", "1e5", "a" * 63])
def test_no_plan_name_is_taken_for_something_else(plan: str) -> None:
    for name in NAMES:
        assert read(made(name, plan=plan)).plan.plan == plan


# --- what a template cannot do --------------------------------------------------------------------


def refused(text: str = "$goal", plan: str = "p", goal: str = "g", folders: tuple[str, ...] = ()) -> str:  # fmt: skip
    with pytest.raises(UsageError) as caught:
        template("mine", text=text, plan=plan, goal=goal, folders=folders)
    return f"{caught.value.message} | {caught.value.hint}"


EACH = "#{ for each folder\n- $folder\n#}\n"


def test_what_cannot_be_filled_in_is_refused() -> None:
    assert [
        refused(plan="My Plan"),
        refused(goal=" "),
        refused(text="a $colour"),
        refused(text="costs $ 5"),
        refused(text=f"{EACH}$folder", folders=("a",)),
        refused(folders=("a",)),
        refused(text=EACH),
        refused(text=EACH, folders=("../a",)),
        refused(text=EACH, folders=("a\nb",)),
        refused(text=EACH, folders=(" ",)),
    ] == [
        "`My Plan` is not a plan name, [a-z0-9][a-z0-9-]{0,62} | use small letters, digits and `-`",
        "a plan needs a goal | say in a sentence what it is for",
        "the template `mine` has `$colour`, which nothing fills | here it can have $plan, $goal",
        "the template `mine` has a `$` that begins no placeholder: Invalid placeholder in string: line 1, col 7 | write `$$` for a dollar sign",
        "the template `mine` has `$folder`, which nothing fills | here it can have $plan, $goal",
        "the template `mine` takes no folders | leave them out",
        "the template `mine` needs folders | name one or more",
        "`../a` climbs out with `..` | write it from the top of the repository",
        "'a\\nb' is not a folder's name | write it from the top of the repository",
        "' ' is not a folder's name | write it from the top of the repository",
    ]


def test_what_was_filled_in_is_not_filled_in_again() -> None:
    text = "$goal $$5\n" + EACH
    assert template("mine", text=text, plan="p", goal="$plan $x", folders=("$id",)) == (
        '"$plan $x" $5\n- "$id"\n'
    )


# --- examples -------------------------------------------------------------------------------------


def test_there_are_examples_of_each_kind() -> None:
    assert [file.stem for file in EXAMPLES] == [
        "changelog",
        "codemod",
        "follow-up",
        "quick-start",
        "session-20250112-143000",
    ]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_a_plan_of_its_files_name_that_says_what_it_shows(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert read(source, file.stem).plan.plan == file.stem
    assert source.startswith("# ")


def test_only_the_example_of_a_conflict_has_warnings() -> None:
    readings = {file.stem: read(file.read_text(encoding="utf-8"), file.stem) for file in EXAMPLES}
    found = {
        name: [warning.reason for warning in reading.warnings]
        for name, reading in readings.items()
        if reading.warnings
    }
    assert found == {
        "changelog": [
            "3 tasks (install, use, remove) could run at the same time, and `NEWS.md` is among the "
            "files of each",
        ]
    }


def test_the_second_plan_needs_what_the_first_provides() -> None:
    first, second = (
        read((EXAMPLES[0].parent / f"{name}.yaml").read_text(encoding="utf-8"), name).plan
        for name in ("quick-start", "follow-up")
    )
    assert [name for task in first.tasks for name in task.gives] == QUICK_START
    assert second.base == first.flow_branch
    assert Graph.of(second).missing != ()
    assert Graph.of(second, QUICK_START).missing == ()


def test_the_examples_commands_do_what_their_plans_say(tmp_path: Path) -> None:
    order = ["quick-start", "follow-up", "codemod", "changelog", "session-20250112-143000"]
    (tmp_path / "plans").mkdir()
    for name in order:
        source = (EXAMPLES[0].parent / f"{name}.yaml").read_text(encoding="utf-8")
        (tmp_path / "plans" / f"{name}.yaml").write_text(source, encoding="utf-8")
        carry_out(read(source, name).plan, tmp_path, GIVEN.get(name, ()))
    done = subprocess.run(
        ["python3", "-m", "textkit"], cwd=tmp_path, input="Tea.", capture_output=True, text=True
    )
    assert done.stdout == "1 word, 1 sentence\n   1 tea\n"
    assert (tmp_path / "packages/west/greeting.py").read_text() == textwrap.dedent(
        """\
        def greeting(name):
            return f"{name}, it is west here"


        def count(number):
            return f"{number} steps"
        """
    )
