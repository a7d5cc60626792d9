"""The parts of the documentation that are printed from the code are what the code prints."""

from __future__ import annotations

import re
from pathlib import Path

from gitflow_agents import spec, transitions

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


def test_the_reference_names_every_variable_that_the_tool_sets() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    told = spec.OWN_VARIABLES - {"GITFLOW_REQUIRE"}  # that one is for tests
    assert [name for name in sorted(told) if f"`{name}`" not in text] == []


def test_the_demo_runs_the_plan_that_the_examples_show() -> None:
    packaged = ROOT / "gitflow_agents" / "templates" / "quick-start.yaml"
    assert packaged.read_bytes() == (ROOT / "plans" / "quick-start.yaml").read_bytes()
