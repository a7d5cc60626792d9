"""The parts of the documentation that are printed from the code are what the code prints."""

from __future__ import annotations

import re
from pathlib import Path

from gitflow_agents import spec, transitions
from gitflow_agents.board.shown import ARCHIVED, FIELDS, STATES
from gitflow_agents.grammar import read
from gitflow_agents.render import answers

ROOT = Path(__file__).parent.parent


def test_the_diagram_of_a_tasks_life_is_the_transition_table() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    found = re.search(r"<!-- transitions.*?-->\n```mermaid\n(.*?)\n```\n<!-- end -->", text, re.S)
    assert found is not None
    assert found[1] == transitions.diagram()


def test_the_reference_has_every_key_with_its_sentence() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    found = re.search(r"<!-- reference.*?-->\n\n(.*?)\n\n<!-- end -->", text, re.S)
    assert found is not None
    assert found[1] == spec.reference()


def test_the_commands_of_a_comment_are_listed_as_help_lists_them() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    for part, printed in (("commands", answers.reference()), ("words", answers.other_words())):
        found = re.search(rf"<!-- {part}:.*?-->\n\n(.*?)\n\n<!-- end -->", text, re.S)
        assert found is not None
        assert found[1] == printed, f"put this into docs/commands.md:\n{printed}"


def test_every_command_that_the_documentation_shows_is_one() -> None:
    for path in (ROOT / "README.md", ROOT / "docs" / "commands.md"):
        text = path.read_text()
        shown = re.findall(r"^(/[a-z].*)$|`(/[a-z]+[^`]*)`", text, re.M)
        lines = [block or span for block, span in shown]
        assert lines
        assert [line for line in lines if _is_wrong(line)] == []


def _is_wrong(line: str) -> bool:
    """Say whether a line is refused for more than a task or a text that it leaves out."""
    (heard,) = read(line).lines
    return heard.refused is not None and heard.refused.reason_code != "missing-argument"


def test_the_reference_names_every_variable_that_the_tool_sets() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    told = spec.OWN_VARIABLES - {"GITFLOW_REQUIRE"}  # that one is for tests
    assert [name for name in sorted(told) if f"`{name}`" not in text] == []


def test_the_demo_runs_the_plan_that_the_examples_show() -> None:
    packaged = ROOT / "gitflow_agents" / "templates" / "quick-start.yaml"
    assert packaged.read_bytes() == (ROOT / "plans" / "quick-start.yaml").read_bytes()


def test_the_page_about_boards_names_every_field_with_its_kind_and_every_state() -> None:
    text = (ROOT / "docs" / "board.md").read_text()
    kinds = {"text": "TEXT", "number": "NUMBER", "date": "DATE", "single select": "SINGLE_SELECT"}
    rows = re.findall(r"^\| `([^`]+)` \| (text|number|date|single select) \|", text, re.M)
    assert [(name, kinds[kind]) for name, kind in rows] == [*FIELDS.items()]
    states = {*STATES.values()} - {ARCHIVED}
    assert [state for state in sorted(states) if f"`{state}`" not in text] == []
