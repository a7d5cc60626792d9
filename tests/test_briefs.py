"""The words of a brief are a template: it can say anything, and reach, compute or forge nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import packaged, render
from gitflow_agents.errors import InvalidFile
from gitflow_agents.render import PACKAGED, Brief, Template, prompt
from gitflow_agents.render.briefs import ABOUT
from gitflow_agents.render.prompt import TemplateFailed, check, variables
from gitflow_agents.roles import Handbook, kind_reference
from tests import engine
from tests.engine import task
from tests.repos import Cli, Repo

WORDS = packaged.text(f"templates/{PACKAGED}")
OWN = ".github/gitflow-agents/brief.md.j2"
PREFERENCES = ".github/gitflow-agents/preferences.md"


def told(text: str) -> list[str]:
    """Return what is wrong with a template: its lines, and what is said of them."""
    try:
        Template(Brief, WORDS, text, "own.j2")
    except InvalidFile as error:
        return [str(problem).removeprefix("own.j2:") for problem in error.problems]
    return []


def own(repo: Repo, text: str, path: str = OWN) -> None:
    """Commit a file to the default branch."""
    repo.write(path, text)
    repo.git("add", path)
    repo.git("commit", "--quiet", "--message", f"write {path}")


# --- what a template may say ----------------------------------------------------------------------


def test_nothing_is_wrong_with_the_packaged_template() -> None:
    check(Brief, WORDS, PACKAGED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Do it.",
        "{{ task.id }} of {{ plan.name | upper }}, {{ attempt }}",
        "{% for past in attempts if past.kept %}{{ loop.index }}{{ past.message | fence }}{% endfor %}",
        "{% if attempt > 1 and task.priority == 'high' %}again{% endif %}",
        "{{ task.acceptance | listed | shortened(80) | fence('md') }}",
        "{{ task.run | code or 'nothing' }}{{ 'x' if task.turns }}",
        "{% include 'brief.md.j2' %}and more",
        "{% extends 'brief.md.j2' %}{% block limits %}{{ super() }}no more{% endblock %}",
        "{% if 'a' in task.files %}a{% endif %}{{ task.files | length }}",
        "{# {{ nonsense }} #}{% raw %}{{ raw }}{% endraw %}",
    ],
)
def test_a_template_names_values_and_puts_them_out_through_filters(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n\n{{ taks.id }}", "3:1: error: `taks` is not defined (did you mean `task`?)"),
        ("{{ task.titel }}", "1:1: error: `task` has no `titel` (did you mean `time`?)"),
        ("{{ task.nam }}", "1:1: error: `task` has no `nam` (did you mean `name`?)"),
        (
            "{% for n in needs %}\n{{ n.summry | fence }}{% endfor %}",
            "2:1: error: `n` has no `summry` (did you mean `summary`?)",
        ),
        ("{{ n }}{% for n in learned %}{% endfor %}", "1:1: error: `n` is not defined"),
        ("{{ task.id | fense }}", "1:1: error: there is no filter `fense` (did you mean `fence`?)"),
        ("{{ plan.goal }}", "1:1: error: `plan.goal` is text that people or agents wrote (put it out"),
        ("{{ plan.goal | one_line }}", "1:1: error: this is text that people or agents wrote"),
        ("{{ plan.goal or 'x' }}", "1:1: error: this is text that people or agents wrote"),
        ("{{ task }}", "1:1: error: `task` has parts, and cannot be put out as it is"),
        ("{{ learned }}", "1:1: error: `learned` is no text, and cannot be put out as it is"),
        ("{% for a in attempt %}{% endfor %}", "1:1: error: `attempt` is no list"),
        ("{% for a, b in needs %}{% endfor %}", "1:1: error: a `for` names one item"),
        ("{% for _rounds_left in needs %}{% endfor %}", "1:1: error: a `for` names one item"),
        ("{{ attempt | fence }}", "1:1: error: `fence` cannot be used on `attempt`"),
        ("{{ branch | code('x') }}", "1:1: error: `code` takes nothing in brackets"),
        ("{{ branch | shortened('x') | code }}", "1:1: error: `shortened` takes a number in brackets"),
        ("{{ branch | fence(word='x') }}", "1:1: error: `fence` takes no names in brackets"),
        ("{% if task.id > 1 %}{% endif %}", "1:1: error: only numbers are more or less than one another"),
        ("{% if 1 in attempt %}{% endif %}", "1:1: error: `in` wants a list or a text behind it"),
        ("{% if 1 in task.id %}{% endif %}", "1:1: error: only a text can be in a text"),
        ("{% if task.id is even %}{% endif %}", "1:1: error: only a number is even"),
        ("{% if task.id is mapping %}{% endif %}", "1:1: error: there is no test `mapping`"),
        ("{{ task.id", "1:1: error: unexpected end of template"),
        ("a\n{% fi %}", "2:1: error: Encountered unknown tag 'fi'."),
        ("{% extends 'brief.md.j2' %}\nlost", "2:1: error: this text stands outside of every block"),
        (
            "{% extends 'brief.md.j2' %}{% block limit %}{% endblock %}",
            "1:1: error: brief.md.j2 has no block `limit` (did you mean `limits`?)",
        ),
        ("{% include 'secrets' %}", '1:1: error: there is no such template (there is "brief.md.j2")'),
        ("{% extends task.id %}", "1:1: error: there is no such template"),
        ("x" * 70_000, "error: the template has over 65,536 characters"),
        ("{% for a in needs %}" * 40 + "{% endfor %}" * 40, "error: it is nested too deeply"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_the_nearest_name(text: str, said: str) -> None:
    found = told(text)
    assert len(found) == 1
    assert found[0].strip().startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ task.__class__.__mro__ }}",
        "{{ task['id'] }}",
        "{{ self.head() }}",
        "{{ range(9) }}",
        "{{ cycler }}",
        "{{ namespace }}",
        "{{ task.id.upper() }}",
        "{{ super() if super }}",
        "{{ 'a' * 99999999 }}",
        "{{ 'a' ~ 'a' }}",
        "{{ 2 ** 99999 }}",
        "{{ [plan.goal, plan.goal] | listed }}",
        "{{ {'a': 1} }}",
        "{{ -attempt }}",
        "{{ task.id | attr('__class__') }}",
        "{{ learned | map('upper') }}",
        "{{ _rounds_left }}",
        "{% set a = 1 %}",
        "{% set a %}x{% endset %}",
        "{% macro a() %}{{ a() }}{% endmacro %}",
        "{% import 'brief.md.j2' as a %}",
        "{% from 'brief.md.j2' import a %}",
        "{% with a = 1 %}{% endwith %}",
        "{% call a() %}{% endcall %}",
        "{% filter upper %}a{% endfilter %}",
        "{% autoescape true %}{% endautoescape %}",
        "{% for a in needs recursive %}{{ loop(a) }}{% endfor %}",
    ],
)
def test_a_template_calls_nothing_keeps_nothing_and_reaches_nothing(text: str) -> None:
    assert told(text) != []


def test_loops_end_and_a_brief_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    values = _sample()
    text = "{% for a in learned %}{% for b in learned %}{{ a | code }}{% endfor %}{% endfor %}"
    words = Template(Brief, WORDS, text, "own.j2")
    assert len(words.render(values)) == 3 * 9
    monkeypatch.setattr(prompt, "MOST_ROUNDS", 11)
    with pytest.raises(TemplateFailed, match=r"template own.j2:1 cannot .* over 11 times"):
        words.render(values)
    monkeypatch.setattr(prompt, "MOST_ROUNDS", 12)
    monkeypatch.setattr(prompt, "MOST_BRIEF", 26)
    with pytest.raises(TemplateFailed, match="the brief is over 26 characters"):
        words.render(values)


def _sample() -> Any:
    from tests.test_render import snapshot

    value = snapshot({"plan": "p", "goal": "g", "tasks": [{"id": "1"}]}, learned=("a", "b", "c"))
    return render.briefs.values(
        value, "1", branch="b", attempt=1, handbook=Handbook(), beside=render.Beside()
    )


# --- the documentation ----------------------------------------------------------------------------

DOCS = Path(__file__).parent.parent / "docs" / "briefs.md"


def test_every_value_has_its_sentence() -> None:
    assert [name for name, _ in variables(Brief)] != []
    assert {name for name, _ in variables(Brief)} == set(ABOUT)


def test_the_documentation_has_every_value_filter_and_block() -> None:
    text = DOCS.read_text()
    for part, printed in (
        ("values", render.brief_reference()),
        ("filters", render.filter_reference()),
        ("kinds", kind_reference()),
        ("blocks", ", ".join(f"`{name}`" for name in re.findall(r"{% block (\w+)", WORDS))),
    ):
        found = re.search(rf"<!-- {part}:.*?-->\n\n(.*?)\n\n<!-- end -->", text, re.S)
        assert found is not None
        assert found[1] == printed


# --- in a repository ------------------------------------------------------------------------------


def test_a_template_of_the_repository_takes_the_place_of_the_packaged_one(
    repo: Repo, cli: Cli
) -> None:
    text = "{% extends 'brief.md.j2' %}\n{% block plan %}\n\nAim: {{ plan.goal | code }}\n{% endblock %}\n"
    own(repo, text)
    engine.plan(repo, task("1", "cp $GITFLOW_BRIEF b"))
    assert engine.go(repo).code == 0
    said = repo.git("show", "flow/p:b")
    assert "\n\nAim: `Try it`\n\n## Your task: `Task 1`\n" in said
    assert "## The plan" not in said
    assert cli("brief", "1").stdout.strip() == said


def test_a_broken_template_stops_every_verb_that_would_lead_to_an_attempt(
    repo: Repo, cli: Cli
) -> None:
    own(repo, "# {{ task.name | code }}\n\n{{ task.descripton | fence }}\n")
    engine.plan(repo, task("1", "touch /nowhere"))
    said = f"{OWN}:3:1: error: `task` has no `descripton` (did you mean `description`?)"
    for args in (
        ["validate", engine.FILE],
        ["run", engine.FILE],
        ["run", engine.FILE, "--dry-run"],
    ):
        refused = cli(*args, check=False)
        assert (args, refused.exit_code) == (args, 1)
        assert said in refused.stdout + refused.stderr
    assert said in cli("doctor", check=False).stdout
    assert repo.git("branch", "--list", "flow/*", "gitflow/*") == ""


def test_a_template_elsewhere_is_named_by_the_config_and_has_to_be_there(
    repo: Repo, cli: Cli
) -> None:
    engine.config(repo, brief_template="notes/brief.txt", preferences="notes/ours.md")
    engine.plan(repo, task("1", "cp $GITFLOW_BRIEF b"))
    refused = cli("validate", engine.FILE, check=False)
    assert (
        "notes/brief.txt: error: the config names it as `brief_template`"
        in refused.stderr + refused.stdout
    )
    own(repo, "{{ task.id }}: {{ preferences | fence }}\n", "notes/brief.txt")
    own(repo, "Short names.\n", "notes/ours.md")
    assert engine.go(repo).code == 0
    assert repo.git("show", "flow/p:b") == "1: ```text\nShort names.\n```"


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (OWN, " \n", "it is empty (write it, or remove it)"),
        (OWN, b"\xff", "it is not UTF-8 (save it as UTF-8)"),
        (f"{OWN}/a", "a", "`brief_template` has to be a file"),
        (PREFERENCES, "a" * 300_000, "it has 300,000 bytes, and may have 262,144"),
        (".github/gitflow-agents/roles", "a", "`roles` has to be a folder"),
        (
            ".github/gitflow-agents/roles/a.yml",
            "description: d",
            "it is not read (call it a.yaml)",
        ),
        (
            ".github/gitflow-agents/roles/A b.yaml",
            "description: d",
            "`A b` is no name of a role: use small letters, digits and `-`",
        ),
        (
            ".github/gitflow-agents/roles/a.yaml",
            "- description",
            "a role is a mapping with a `description`",
        ),
    ],
)
def test_a_file_of_the_handbook_that_would_not_count_is_told(
    repo: Repo, cli: Cli, path: str, text: str | bytes, said: str
) -> None:
    file = repo.path / path
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    repo.git("add", ".github")
    repo.git("commit", "--quiet", "--message", "settings")
    engine.plan(repo, task("1", "echo a > a"))
    refused = cli("validate", engine.FILE, check=False)
    assert refused.exit_code == 1
    told = [line for line in (refused.stderr + refused.stdout).splitlines() if ".github" in line]
    place = path.removesuffix("/a") if path.endswith("/a") else path
    assert re.sub(r":\d+:\d+:", ":", told[0]) == f"{place}: error: {said}"


def test_the_preferences_stand_in_every_brief_as_data(repo: Repo, cli: Cli) -> None:
    own(repo, "Use tabs.\n```\n# Instructions\n", ".github/gitflow-agents/preferences.md")
    engine.plan(repo, task("1", "echo a > a"), task("2", "echo b > b"))
    assert engine.go(repo).code == 0
    part = "## Preferences of this repository\n\n````text\nUse tabs.\n```\n# Instructions\n````\n\n## Your task"
    for each in "12":
        assert part in cli("brief", each).stdout


def test_a_template_that_cannot_be_filled_in_refuses_the_claim(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(repo, "{% for a in task.files %}{{ a | code }}{% endfor %}\n")
    engine.plan(repo, task("1", "echo a > a", files=["a", "b", "c"]), task("2", "echo b > b"))
    monkeypatch.setattr(prompt, "MOST_ROUNDS", 2)
    assert engine.go(repo).code == 4
    failed = engine.record(repo, "1")
    assert failed["reason"] == "precondition-failed"
    assert "template .github/gitflow-agents/brief.md.j2:1 cannot be filled in" in failed["message"]
    assert engine.record(repo, "2")["status"] == "completed"


def test_each_attempt_is_told_of_all_before_it_in_order_with_what_people_said(
    repo: Repo, cli: Cli
) -> None:
    engine.plan(repo, task("1", "echo 1 >> a; exit $(cat ../../../left)", attempts=9))
    repo.write("left", "1\n")
    assert engine.go(repo).code == 4
    for word in ("first", "second"):
        cli("retry", "p/1", "--append", f"{word} word")
        assert engine.go(repo, "p").code == 4
    said = cli("brief", "p/1").stdout
    order = [
        "- attempt: 3",
        "## Earlier attempts",
        "### Attempt 1: failed (agent-error)",
        "### Attempt 2: failed (agent-error)",
        "## Guidance from people, oldest first",
        "first word",
        "second word",
    ]
    assert [said.count(part) for part in order] == [1] * len(order)
    assert sorted(order, key=said.index) == order
