"""A plan or config file says what it means, or is told everything that is wrong with it at once."""

from __future__ import annotations

import math
import subprocess
import textwrap
from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from gitflow_agents import spec
from gitflow_agents.errors import InvalidFile, Problem
from gitflow_agents.models import (
    Capability,
    Config,
    ConfigLimits,
    Decision,
    Duration,
    Issues,
    Limits,
    Plan,
    Priority,
    Projects,
    Task,
)
from gitflow_agents.roles import Role
from gitflow_agents.spec import files as yaml_files
from gitflow_agents.spec import (
    from_lines,
    from_yaml,
    load_plan,
    plan_schema,
    read_config,
    read_plan,
    slice_of,
    to_lines,
    to_yaml,
)
from gitflow_agents.spec import source as yaml_source
from gitflow_agents.spec.names import bad_branch, bad_id, bad_path, clashes
from gitflow_agents.spec.schema import ABOUT
from gitflow_agents.spec.source import Source
from gitflow_agents.spec.wording import LATER, keys

ROLES = {
    "implement": Role(description="Builds"),
    "review": Role(description="Judges", agent="claude"),
    "odd": Role(description="Is done by nobody", agent="hal"),
}
QUIET = Config(gate=("true",), limits=ConfigLimits(task_minutes=1000))
"""A config under which a short plan has nothing to be warned about but what the test wants."""


def text(source: str) -> bytes:
    return textwrap.dedent(source).lstrip("\n").encode()


def told(
    source: str | bytes,
    *,
    name: str = "auth",
    config: Config = QUIET,
    given: Collection[str] = (),
    strict: bool = False,
) -> list[str]:
    """Return what is told about a plan, errors or warnings, without the file's name."""
    data = text(source) if isinstance(source, str) else source
    try:
        reading = read_plan(
            data, file="p", name=name, config=config, given=given, roles=ROLES, strict=strict
        )
    except InvalidFile as error:
        found = error.problems
        assert any(not problem.is_warning for problem in found)
    else:
        found = reading.warnings
        assert all(problem.is_warning for problem in found)
    return [str(problem).removeprefix("p:").strip() for problem in found]


def told_of_tasks(*tasks: str, top: str = "goal: g\n", **options: Any) -> list[str]:
    """Return what is told about a plan of tasks in braces, which begin on line 3."""
    rows = [
        f"  - {{{row}}}" if "run:" in row else f"  - {{{row}, run: x, description: d}}"
        for row in tasks
    ]
    return told("\n".join([top + "tasks:", *rows]), **options)


def plan_of(source: str, **options: Any) -> Plan:
    return read_plan(text(source), file="p", **options).plan


# --- what a plan says -----------------------------------------------------------------------------

FULL = """
    plan: auth
    goal: Add user authentication with JWT
    base: main
    type: feat
    architecture: MVC with Flask
    design_patterns: Repository, Service Layer
    technology_stack: Python 3.11
    decisions:
      - {decision: bcrypt cost 12, why: 250 ms on the target, alternative: argon2}
      - decision: sessions
        alternative_considered: cookies
        implementation: a table
        components: [auth, web]
    defaults: {agent: command, timeout: 20m, verify: pytest -q}
    setup: [pip install -e .]
    copy: [.env]
    limits: {parallel: 3, attempts: 2, minutes: 240, budget_usd: 20}
    gate: [pytest -q]
    protected_paths: [deploy/]
    tracker: NMSTX-366
    tasks:
      - id: "001"
        title: User model
        description: Create User model with email and password
        preconditions: []
        provides:
          - User model class
          - {name: User.verify_password, check: "python -c 'import models'"}
        files: [models/user.py]
        acceptance: [a wrong password is refused, the hash is never logged]
        verify: [pytest -q tests/test_user.py]
        estimated_time: 8 minutes
        priority: high
        tracker: NMSTX-367
        run: make model
      - id: "002"
        description: Login on top of the user model
        preconditions: [User model class]
        depends_on: ["001"]
        slug: login
        working_directory: services/auth
        timeout: 90s
        max_turns: 30
        budget_usd: 1.5
        attempts: 1
        conflict_retries: 0
        scope: strict
        run: make login
"""


def test_a_plan_says_what_it_says() -> None:
    assert plan_of(FULL) == Plan(
        plan="auth",
        goal="Add user authentication with JWT",
        base="main",
        type="feat",
        architecture="MVC with Flask",
        design_patterns="Repository, Service Layer",
        technology_stack="Python 3.11",
        decisions=(
            Decision(decision="bcrypt cost 12", why="250 ms on the target", alternative="argon2"),
            Decision.model_validate(
                {
                    "decision": "sessions",
                    "alternative": "cookies",
                    "implementation": "a table",
                    "components": ["auth", "web"],
                }
            ),
        ),
        defaults={"timeout": "20m", "verify": ["pytest -q"]},  # type: ignore[arg-type]
        setup=("pip install -e .",),
        copy_=(".env",),
        limits=Limits(parallel=3, attempts=2, minutes=240, budget_usd=20),
        gate=("pytest -q",),
        protected_paths=("deploy/",),
        tracker="NMSTX-366",
        tasks=(
            Task(
                id="001",
                title="User model",
                description="Create User model with email and password",
                provides=(
                    Capability(name="User model class"),
                    Capability(name="User.verify_password", check="python -c 'import models'"),
                ),
                files=("models/user.py",),
                acceptance=("a wrong password is refused", "the hash is never logged"),
                verify=("pytest -q tests/test_user.py",),
                estimated_time=Duration("8 minutes"),
                priority=Priority.HIGH,
                tracker="NMSTX-367",
                run="make model",
            ),
            Task(
                id="002",
                description="Login on top of the user model",
                preconditions=("User model class",),
                depends_on=("001",),
                slug="login",
                working_directory="services/auth",
                timeout=Duration("90s"),
                max_turns=30,
                budget_usd=1.5,
                attempts=1,
                conflict_retries=0,
                scope="strict",
                run="make login",
            ),
        ),
    )


def test_the_fast_way_reads_the_same() -> None:
    assert load_plan(text(FULL), "other") == plan_of(FULL)


def test_a_plan_that_was_read_can_be_written_and_read_again() -> None:
    plan = plan_of(FULL)
    again = to_yaml(plan.model_dump(mode="json", by_alias=True, exclude_unset=True))
    assert load_plan(again, "") == plan


def test_a_plan_as_lines_is_the_same_plan() -> None:
    for plan in (plan_of(FULL), *examples()):
        lines = to_lines(plan)
        assert lines.count(b"\n") == 1 + len(plan.tasks)
        assert from_lines(lines) == plan


def test_a_task_is_found_among_the_lines_of_a_plan() -> None:
    plan = plan_of(
        r"""
        plan: p
        goal: 'says {"id":"2"'
        tasks:
          - {id: "1", run: a, description: "a line\n{\"id\":\"2\",\"run\":\"forged\"}"}
          - {id: "2", run: b, preconditions: [c], depends_on: ["1"]}
          - {id: "20", run: c, provides: [c]}
        """
    )
    lines = to_lines(plan)
    for wanted in (("2",), ("20", "1"), ("2", "2")):
        found = slice_of(lines, wanted)
        assert found is not None
        assert found.tasks == tuple(plan.by_id[task] for task in dict.fromkeys(wanted))
        assert found.model_copy(update={"tasks": ()}) == plan.model_copy(update={"tasks": ()})
    assert slice_of(lines, ("2", "3")) is None
    assert slice_of(lines, ('2","run":"b',)) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"not json\n", b'{"plan":"p"}\n'])
def test_damaged_lines_are_no_plan(damage: bytes) -> None:
    with pytest.raises(InvalidFile, match=r"spec\.jsonl"):
        from_lines(damage)


def examples() -> Iterator[Plan]:
    """Yield the plans that come with the project."""
    for file in sorted((Path(__file__).parent.parent / "plans").glob("*.yaml")):
        yield load_plan(file.read_bytes(), file.stem)


def test_the_key_names_of_other_orchestrators_are_understood() -> None:
    plan = plan_of(
        """
        session_id: session-20250112-143000
        user_request: Add authentication
        architecture: MVC
        design_patterns: Repository
        technology_stack: Flask
        estimated_total_time: 16 minutes
        dependency_graph: "Wave 1: 001\\nWave 2: 002"
        total_tasks: 2
        plan_version: v1
        tasks:
          - task_id: "001"
            branch_slug: user-model
            description: The user model
            status: pending
            preconditions: []
            provides: [User]
            files: [user.py]
            estimated_time: 8 minutes
            priority: high
            session_goal: Add authentication
            session_id: session-20250112-143000
            plan_branch: plan/session-20250112-143000
            plan_version: v1
            depends_on: []
            enables: ["002"]
            parallel_with: []
            completed_tasks: []
            run: make user
          - task_id: "002"
            description: Logging in
            preconditions: [User]
            enables: []
            estimated_time: 8 minutes
            run: make login
        """,
        config=QUIET,
    )
    assert (plan.plan, plan.goal) == ("session-20250112-143000", "Add authentication")
    assert [(task.id, task.slug) for task in plan.tasks] == [("001", "user-model"), ("002", None)]


def test_the_file_names_a_plan_that_does_not() -> None:
    source = "goal: g\ntasks: [{id: a, run: x}]"
    assert plan_of(source, name="auth").plan == "auth"
    assert load_plan(source.encode(), "auth").plan == "auth"
    assert plan_of("plan: own\n" + source, name="auth").plan == "own"


def test_one_text_stands_for_a_list_of_one() -> None:
    task = plan_of(
        "plan: p\ngoal: g\ntasks: [{id: a, run: x, verify: make, provides: C, depends_on: b}, "
        "{id: b, run: x}]"
    ).tasks[0]
    assert (task.verify, task.gives, task.depends_on) == (("make",), ("C",), ("b",))


# --- free text ------------------------------------------------------------------------------------


def test_free_text_comes_through_unharmed() -> None:
    description = (
        "## Not a comment\n\n- a: b, c\n'single' \"double\" \\ `tick` 😀 é\n\ttab  \n" * 700
    )
    assert 60_000 > len(description.encode()) > 35_000
    task = {"id": "1", "run": "x", "description": description, "title": "a: # b"}
    data = to_yaml({"plan": "p", "goal": "yes", "tasks": [task]})
    plan = read_plan(data, file="p").plan
    assert plan.goal == "yes"
    assert (plan.tasks[0].description, plan.tasks[0].title) == (description, "a: # b")


def test_a_description_of_60_kb_is_a_description() -> None:
    long = "word " * 12_000
    source = {"goal": "g", "tasks": [{"id": "1", "run": "x", "description": long}]}
    assert read_plan(to_yaml(source), file="p", name="p").plan.tasks[0].description == long


def test_a_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    source = text(FULL)
    assert load_plan(b"\xef\xbb\xbf" + source.replace(b"\n", b"\r\n"), "") == load_plan(source, "")


def test_positions_count_characters_in_whatever_line_ends_and_scripts() -> None:
    row = "tasks: [{id: a, run: x, description: 😀, priorty: high}]"
    assert told(f"goal: 😀é\r\n# 漢字\r\n{row}".encode()) == [
        f"3:{row.index('priorty') + 1}: error: tasks[0].priorty: there is no key `priorty` (did you mean `priority`?)"
    ]


# --- every error, with its place and how to mend it -----------------------------------------------


def test_all_errors_are_told_in_one_pass_in_the_order_of_the_file() -> None:
    source = """
        plan: My Plan
        goal:
        flow: a..b
        copy: [../x]
        limits: null
        approvers: [alice]
        type: feature
        gaol: x
        defaults: {agent: claude, model: x, timeout: 10s}
        tasks:
          - id: 001
            title: yes
            run: 8080
            verify: [2024-01-01, "", a]
            preconditions: [User model class]
            provides: User model class (models.user.User)
            files: [/etc/passwd]
          - id: "002"
            task_id: "003"
            run: x
            role: x
            depends_on: ["002", "00x", auth thing, 1]
            estimated_time: soon
            provides: [{name: x, chek: y}, "User model  class (models.user.User)"]
            max_turns: 500
            attempts: "3"
            branch_slug: No Slug
          - task
          - id: all
            run: x
            description: d
        """
    assert told(source) == [
        "1:7: error: plan: `My Plan` is not a plan name, [a-z0-9][a-z0-9-]{0,62} (use small letters, digits and `-`)",
        "2:6: error: goal: `goal` is empty, and has to be text (write it)",
        "3:7: error: flow: `a..b` cannot be a branch: it holds `..` (rename it)",
        "4:8: error: copy[0]: `../x` climbs out with `..` (write it from the top of the repository)",
        "5:9: error: limits: `limits` is empty, and has to be a mapping (write it, or remove the key)",
        "6:1: error: approvers: there is no key `approvers` here (it belongs to a task or under `defaults`)",
        "7:7: error: type: `type` is `feature`, and has to be one of feat, fix, chore, docs, refactor, test (did you mean `feat`?)",
        "8:1: error: gaol: there is no key `gaol` (did you mean `goal`?)",
        "9:46: error: defaults.timeout: `10s` has to be between 60 seconds and 4 hours",
        "11:5: warning: tasks[0]: 001 does not say what it is about (add a `description`, or `acceptance`)",
        '11:9: error: tasks[0].id: `id` has to be text, and 001 is a number (write id: "001")',
        '12:12: error: tasks[0].title: `title` has to be text, and yes is true or false (write title: "yes")',
        '13:10: error: tasks[0].run: `run` has to be text, and 8080 is a number (write run: "8080")',
        '14:14: error: tasks[0].verify[0]: `verify[0]` has to be text, and 2024-01-01 is a date (write "2024-01-01")',
        "14:26: error: tasks[0].verify[1]: `verify[1]` is empty (write it, or remove it)",
        "15:21: error: tasks[0].preconditions[0]: `User model class` is needed by 001; 001 provides `User model class (models.user.User)` (write the same name in both places)",
        "17:13: error: tasks[0].files[0]: `/etc/passwd` is not a path inside the repository (write it from the top of the repository)",
        "18:5: warning: tasks[1]: 002 does not say what it is about (add a `description`, or `acceptance`)",
        "19:5: error: tasks[1].task_id: `task_id` is another spelling of `id` (remove one)",
        "21:11: error: tasks[1].role: there is no role `x` (there are implement, review, odd)",
        "22:18: error: tasks[1].depends_on[0]: 002 depends on itself (remove it here)",
        "22:25: error: tasks[1].depends_on[1]: 002 depends on 00x, and there is no such task (did you mean 002?)",
        "22:32: error: tasks[1].depends_on[2]: `auth thing` is not a task id, [A-Za-z0-9][A-Za-z0-9.-]{0,31} (use letters, digits, `.` and `-`; a capability belongs in `preconditions`)",
        '22:44: error: tasks[1].depends_on[3]: `depends_on[3]` has to be text, and 1 is a number (write "1")',
        "22:44: error: tasks[1].depends_on[3]: 002 depends on 1, and there is no such task (remove it here, or add that task)",
        "23:21: error: tasks[1].estimated_time: `soon` is not a time (write a number of minutes, or 90s, 30m, 2h, 8 minutes)",
        "24:26: error: tasks[1].provides[0].chek: there is no key `chek` (did you mean `check`?)",
        "24:36: error: tasks[1].provides[1]: `User model class (models.user.User)` is provided twice: by 001 on line 16 too (give one of them another name)",
        "25:16: error: tasks[1].max_turns: `max_turns` is 500, and has to be at most 200",
        "26:15: error: tasks[1].attempts: `attempts` has to be a whole number, and is text (write attempts: 3 without quotes)",
        "27:18: error: tasks[1].branch_slug: `No Slug` is not a slug, [a-z0-9][a-z0-9-]{0,62} (use small letters, digits and `-`)",
        "28:5: error: tasks[2]: `tasks[2]` has to be a mapping, and is text (start each task with `- id:`)",
        "29:9: error: tasks[3].id: `all` means several tasks in commands and cannot be the id of one (choose another id)",
    ]


def test_the_whole_is_refused_in_one_sentence() -> None:
    with pytest.raises(InvalidFile) as caught:
        read_plan(b"goal: g\ntasks: []\nx: 1", file="plans/a.yaml", name="a")
    assert caught.value.message == "plans/a.yaml has 2 errors; nothing was changed"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b"", ["error: the file is empty"]),
        (b"# nothing\n", ["error: the file is empty"]),
        (
            b"- a\n",
            ["1:1: error: a plan is a mapping with `goal` and `tasks` (write `goal: …` and `tasks:`)"],
        ),
        (
            b"a: b\n---\nc: d\n",
            ["2:1: error: a second document starts here (remove the `---`)"],
        ),
        (
            b"\xff\xfeg\0",
            ["1:1: error: byte 0 (0xff) is not UTF-8 (save the file as UTF-8)"],
        ),
        (
            "goal: é".encode() + b"\ngo\xe9\n",
            ["2:3: error: byte 11 (0xe9) is not UTF-8 (save the file as UTF-8)"],
        ),
        (
            b"goal: \0\n",
            ['1:7: error: the character U+0000 is not allowed (remove it, or write it as an escape between "quotes")'],
        ),
        (
            b'goal: "a\\0"\ntasks: [{id: a, run: x, description: d}]',
            ["1:7: error: goal: the text holds a NUL (remove it)"],
        ),
        (
            b"? [a]\n: b",
            ["1:3: error: a key has to be text (quote it)"],
        ),
        (
            b"goal: *b",
            ["1:7: error: goal: the alias `*b` has no anchor before it (write out what it stands for)"],
        ),
        (
            b"goal: &a [*a]",
            ["1:11: error: goal[0]: the alias `*a` contains itself (write out what it stands for)"],
        ),
        (
            b"goal: &a x\n*a : b",
            ["2:1: error: an alias cannot be a key (write the key out)"],
        ),
        (b"[" * 100_000, ["1:41: error: [0][0][0][0]"]),
        (b"- " * 100_000, ["1:81: error: [0][0][0][0]"]),
        (b"{a: " * 100_000, ["1:161: error: a.a.a.a"]),
    ],
)  # fmt: skip
def test_what_is_not_a_plan_at_all_is_refused(source: bytes, expected: list[str]) -> None:
    found = told(source)
    if "[0][0]" in expected[0] or "a.a" in expected[0]:
        assert len(found) == 1
        assert found[0].startswith(expected[0])
        assert found[0].endswith(": this is nested over 40 deep")
    else:
        assert found == expected


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="the sentences are those of libyaml")
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "goal: x\n\ttasks: 1",
            "2:1: error: this is not YAML: found a tab character that violates indentation (while scanning a plain scalar that starts on line 1) (indent with spaces, not with a tab)",
        ),
        (
            "goal: x: y",
            "1:8: error: this is not YAML: mapping values are not allowed in this context (quote a text that holds `: `, and look at the indentation)",
        ),
        (
            "goal: 'x",
            "1:9: error: this is not YAML: found unexpected end of stream (a quote or a bracket is not closed)",
        ),
        (
            "goal: @x",
            "1:7: error: this is not YAML: found character that cannot start any token (quote a text that starts with `@`)",
        ),
        (
            "goal: [a\n",
            "2:1: error: this is not YAML: did not find expected ',' or ']' (while parsing a flow sequence that starts on line 1) (close the bracket; "
            "in brackets, quote a whole text that holds , : # ( ) [ ] { or }: [\"f(a, b)\"])",
        ),
    ],
)  # fmt: skip
def test_what_is_not_yaml_is_told_with_its_likely_cause(source: str, expected: str) -> None:
    assert told(source.encode()) == [expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("provides: [f(x: str), b]", "3:16: error: tasks[0].provides[0]: `f(x: str)` is read as a mapping"),
        ("verify: [echo a: b]", "3:14: error: tasks[0].verify[0]: `echo a: b` is read as a mapping"),
        ("provides: [login(a, b), c]", "3:25: error: tasks[0].provides: `b)` is only a part of a text"),
        ("verify: [a, f(b, c, d)]", "3:25: error: tasks[0].verify: `d)` is only a part of a text"),
        (
            "provides: [{name: a, check: f(1, 2)}]",
            "3:38: error: tasks[0].provides[0]: `2)` is only a part of a text",
        ),
        ("steps: [role: review]", None),
        ("verify: ['echo (a', 'b) c', test (a), f(b)]", None),
    ],
)  # fmt: skip
def test_a_text_that_brackets_cut_in_two_is_told_to_be_quoted(
    value: str, expected: str | None
) -> None:
    text = f"goal: g\ntasks:\n  - {value}\n    id: b\n    run: x\n"
    quote_it = ' (in brackets, quote a whole text that holds , : # ( ) [ ] { or }: ["f(a, b)"])'
    found = [line for line in told(text.encode()) if quote_it in line]
    assert found == ([expected + quote_it] if expected else [])


def test_the_problems_before_broken_yaml_are_told_too() -> None:
    assert [line[:30] for line in told(b"goal: a\ngoal: b\ntasks: [\n")] == [
        "2:1: error: goal: the key `goa",
        "4:1: error: this is not YAML: ",
    ]


def test_keys_and_tags_are_checked_where_they_stand() -> None:
    source = """
        goal: !!python/object:os.system x
        architecture: !secret y
        tasks:
          - {id: a, run: x, description: d, run: y}
          - !!set {id: b, run: x, description: d}
          - {id: c, run: x, description: d, max_turns: !!int three}
        """
    assert told(source) == [
        "1:7: error: goal: the tag `!!python/object:os.system` is not allowed (remove the tag)",
        "2:15: error: architecture: the tag `!secret` is not allowed (remove the tag)",
        "4:37: error: tasks[0].run: the key `run` is on line 4 too (remove one of them)",
        "5:5: error: tasks[1]: the tag `!!set` is not allowed (remove the tag)",
        "6:48: error: tasks[2].max_turns: this is not what its tag `!!int` says (remove the tag)",
        "6:48: error: tasks[2].max_turns: `max_turns` has to be a whole number, and is text",
    ]


def test_an_alias_is_shown_as_what_it_stands_for() -> None:
    found = told_of_tasks("&key id: a, max_turns: &n 12", "id: b, slug: *n")
    assert found == [
        "3:6: error: tasks[0].id: a key cannot have an anchor or a tag (remove it)",
        '4:19: error: tasks[1].slug: `slug` has to be text, and 12 is a number (write slug: "12")',
    ]


def test_a_tag_may_say_what_a_plain_value_is() -> None:
    plan = plan_of(
        "plan: p\ngoal: !!str 2024\ntasks: [{id: !!str 001, run: ! x, max_turns: !!int '3'}]"
    )
    assert (plan.goal, plan.tasks[0].id, plan.tasks[0].max_turns) == ("2024", "001", 3)


def test_merge_keys_and_aliases_are_read() -> None:
    tasks = plan_of(
        """
        plan: p
        goal: g
        tasks:
          - &first {id: a, run: x, verify: [make a, make b]}
          - {id: b, <<: *first, title: own}
          - {<<: [{id: c, title: first}, *first]}
        """
    ).tasks
    assert [(task.id, task.title, task.run, task.verify) for task in tasks] == [
        ("a", "", "x", ("make a", "make b")),
        ("b", "own", "x", ("make a", "make b")),
        ("c", "first", "x", ("make a", "make b")),
    ]


def test_what_was_merged_in_is_shown_where_it_was_written() -> None:
    source = """
        goal: g
        tasks:
          - &first {id: a, run: x, description: d, max_turns: 0}
          - {id: b, <<: *first, run: y}
          - {id: c, run: x, description: d, <<: 3}
        """
    assert told(source) == [
        "3:55: error: tasks[0].max_turns: `max_turns` is 0, and has to be at least 1",
        "3:55: error: tasks[1].max_turns: `max_turns` is 0, and has to be at least 1",
        "5:5: error: tasks[2]: `<<` merges mappings, and this is none (write `<<: *name`)",
    ]


def test_yaml_that_explodes_is_refused() -> None:
    rows = ["a: &a0 [xxxxxxxxxxx, xxxxxxxxxx]"]
    rows += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert told("\n".join(rows).encode()) == [
        "7:40: error: b6[6]: with its aliases written out the file is over 16 MiB"
    ]


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_source, "MOST_VALUES", 1000)
    assert told(b"goal: [" + b"1," * 2000 + b"]") == [
        "1:2006: error: goal[999]: the file has over 1,000 values"
    ]


def test_a_mapping_with_hundreds_of_keys_is_refused() -> None:
    data = "\n".join(f"key{n}: 1" for n in range(600)).encode()
    assert told(data) == ["501:1: error: key500: a mapping has over 500 keys"]


# --- sizes ----------------------------------------------------------------------------------------


def test_a_file_over_16_mib_is_refused() -> None:
    data = b"#" * (16 * 1024 * 1024 + 1)
    assert told(data) == ["error: the file is over 16 MiB (make it smaller, or several plans)"]


def test_a_task_over_64_kib_is_refused_by_its_bytes_and_hides_nothing() -> None:
    long = "é" * 33_000  # 33,000 characters, 66,000 bytes
    source = f"""
        goal: g
        tasks:
          - {{id: a, run: x, provides: [A], description: "{long}"}}
          - {{id: b, run: x, description: d, preconditions: [A, B]}}
        """
    size = len(f'{{id: a, run: x, provides: [A], description: "{long}"}}'.encode())
    assert told(source) == [
        f"3:5: error: tasks[0]: the task has {size:,} bytes, and may have 65,536 (64 KiB) (move a part of it into files)",
        "4:56: error: tasks[1].preconditions[1]: `B` is needed by b, and nothing provides it (let a task provide it, or remove it here)",
    ]


def test_what_aliases_stand_for_counts_as_a_part_of_a_task() -> None:
    source = f"""
        goal: g
        tasks:
          - {{id: a, run: x, description: &long "{"x" * 40_000}"}}
          - {{id: b, run: x, description: *long, title: *long}}
        """
    assert [line[:48] for line in told(source)] == [
        "4:5: error: tasks[1]: the task has 80,049 bytes,"
    ]


def test_over_20_000_tasks_are_refused() -> None:
    data = b"goal: g\ntasks:\n" + b"- {}\n" * 20_001
    assert told(data) == [
        "3:1: error: tasks: the plan has 20,001 tasks, and may have 20,000 (make several plans of it)"
    ]


def test_a_plan_too_big_beside_its_tasks_is_refused() -> None:
    data = b"goal: g\ngate: [" + b"1, " * 100_000 + b"1]\ntasks: []"
    assert told(data) == [
        "1:1: error: the plan without its tasks is over 256 KiB (make it smaller)"
    ]


def test_there_is_an_end_to_what_is_told() -> None:
    data = b"goal: g\ntasks:\n" + b"- {id: 1}\n" * 10_002
    found = told(data)
    assert len(found) == 10_001
    assert found[-1].endswith("there are more problems than these 10,000 (mend these first)")


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", sorted(LATER[Plan]))
def test_keys_of_later_versions_are_refused_by_name(key: str) -> None:
    source = f"goal: g\n{key}: 1\ndefaults: {{{key}: 1}}\ntasks: [{{id: a, run: x, description: d, {key}: 1}}]"
    reason = f"`{key}` is not built yet in this version (remove it)"
    assert told(source) == [
        f"2:1: error: {key}: {reason}",
        f"3:12: error: defaults.{key}: {reason}",
        f"4:41: error: tasks[0].{key}: {reason}",
    ]


def test_a_key_in_the_wrong_place_is_told_its_place() -> None:
    found = told_of_tasks("id: a, gate: x", top="goal: g\nfiles: [x]\nverify: [x]\n")
    assert found == [
        "2:1: error: files: there is no key `files` here (it belongs to a task)",
        "3:1: error: verify: there is no key `verify` here (it belongs to a task or under `defaults`)",
        "5:13: error: tasks[0].gate: there is no key `gate` here (it belongs at the top of a plan)",
    ]


def test_what_the_models_call_a_key_inside_is_no_key() -> None:
    found = told_of_tasks("id: a", top="goal: g\ncopy_: [x]\n")
    assert found == ["2:1: error: copy_: there is no key `copy_` (did you mean `copy`?)"]


def test_two_spellings_of_one_key_are_one_too_many() -> None:
    found = told_of_tasks("id: a", top="goal: g\nuser_request: h\nsession_id: a\nplan: b\n")
    assert found == [
        "2:1: error: user_request: `user_request` is another spelling of `goal` (remove one)",
        "3:1: error: session_id: `session_id` is another spelling of `plan` (remove one)",
    ]


def test_what_is_missing_is_named() -> None:
    assert told("x: 1\ntasks:\n- run: x\n  description: d", name="") == [
        "1:1: error: plan: `plan` is missing (add `plan: …`)",
        "1:1: error: goal: `goal` is missing (add `goal: …`)",
        f"1:1: error: x: there is no key `x` here (the keys are {', '.join(one for one in keys(Plan) if one not in ('session_id', 'user_request'))})",
        "3:3: error: tasks[0].id: `id` is missing (add `id: …`)",
    ]
    assert told("goal: g") == ["1:1: error: tasks: `tasks` is missing (add `tasks: …`)"]
    assert told("goal: g\ntasks: []") == [
        "2:8: error: tasks: the plan has no task (start one with `- id:`)"
    ]


def test_a_file_name_that_is_no_plan_name_needs_a_plan_key() -> None:
    assert told("goal: g\ntasks: [{id: a, run: x, description: d}]", name="My Plan") == [
        "1:1: error: plan: `My Plan` is not a plan name, [a-z0-9][a-z0-9-]{0,62} (use small letters, digits and `-`)"
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("priority: urgent", "`priority` is `urgent`, and has to be one of high, medium, low"),
        ("scope: Strict", "`scope` is `Strict`, and has to be one of flag, strict (did you mean `strict`?)"),
        ("timeout: 0.5", "`0.5` has to be between 60 seconds and 4 hours"),
        ("timeout: 59s", "`59s` has to be between 60 seconds and 4 hours"),
        ("timeout: 5h", "`5h` has to be between 60 seconds and 4 hours"),
        ("timeout: yes", "`yes` is not a time (write a number of minutes, or 90s, 30m, 2h, 8 minutes)"),
        ("estimated_time: 9999999999", "`9999999999` is longer than a year"),
        ("max_turns: 0", "`max_turns` is 0, and has to be at least 1"),
        ("max_turns: 201", "`max_turns` is 201, and has to be at most 200"),
        ("max_turns: 1.5", "`max_turns` has to be a whole number, and 1.5 is a number"),
        ("conflict_retries: 4", "`conflict_retries` is 4, and has to be at most 3"),
        ("budget_usd: -1", "`budget_usd` is -1, and has to be at least 0"),
        ("budget_usd: .inf", "`budget_usd` is .inf, and has to be finite"),
        ("budget_usd: '2'", "`budget_usd` has to be a number, and is text (write budget_usd: 2 without quotes)"),
        ("budget_usd: yes", "`budget_usd` has to be a number, and yes is true or false"),
        ("provides: {name: x}", "`provides` has to be a list, and is a mapping"),
        ("provides: [[x]]", "`provides[0]` has to be text, and is a list"),
        ("files: 3", "`files` has to be a list, and 3 is a number"),
        ("title: [a]", "`title` has to be text, and is a list"),
        ("title: ~", "`title` is empty, and has to be text (write it, or remove the key)"),
        ("verify: ' '", "`verify` is empty (write it, or remove it)"),
        ("agent: codx", "there is no agent `codx` (did you mean `codex`?)"),
        ("agent: Codex", "`Codex` is not a name of an agent, [a-z][a-z0-9-]{0,31} (use small letters, digits and `-`)"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_a_sentence(row: str, expected: str) -> None:
    key = row.partition(":")[0]
    found = told_of_tasks(f"id: a, run: x, description: d, {row}")
    assert [line.partition(f"tasks[0].{key}")[2].partition(": ")[2] for line in found] == [expected]


def test_a_role_may_say_who_does_a_task() -> None:
    plan = """
        goal: Judge
        tasks:
          - {id: "1", description: Look, role: review, verify: ["true"]}
          - {id: "2", description: Build, role: implement, verify: ["true"]}
          - {id: "3", description: Wonder, role: odd, verify: ["true"]}
        """
    assert told(plan) == [
        "4:5: warning: tasks[1].run: 2 has no `run`, so nobody can start it (add `run: <a shell "
        "command>` or an `agent` to it or to `defaults`, or `agents: {command: {run: …}}` to the "
        "config)",
        "5:42: error: tasks[2].role: there is no agent `hal` (there are command, claude, codex, "
        "gemini, opencode, aider)",
    ]


def test_tasks_have_to_be_a_list() -> None:
    assert told("goal: g\ntasks: {a: {run: x}}") == [
        "2:8: error: tasks: `tasks` has to be a list, and is a mapping (start each task with `- id:`)"
    ]
    assert told("goal: g\ntasks:") == [
        "2:7: error: tasks: `tasks` is empty, and has to be a list (write it)"
    ]


def test_a_task_without_a_command_is_told_what_to_add() -> None:
    assert told("goal: g\ngate: [x]\ntasks:\n- {id: a, description: d}") == [
        "4:3: warning: tasks[0].run: a has no `run`, so nobody can start it (add `run: <a shell command>` or an `agent` to it or to `defaults`, or `agents: {command: {run: …}}` to the config)"
    ]
    assert told("goal: g\ngate: [x]\ndefaults: {run: x}\ntasks:\n- {id: a, description: d}") == []


# --- ids ------------------------------------------------------------------------------------------


def test_ids_1_and_10_and_001_are_three_ids() -> None:
    plan = plan_of(
        "plan: p\ngoal: g\ntasks: [{id: '1', run: x}, {id: '10', run: x}, {id: '001', run: x}]"
    )
    assert spec.branches(plan) == {
        "1": "task/p/1-task",
        "10": "task/p/10-task",
        "001": "task/p/001-task",
    }


@pytest.mark.parametrize("written", ["001", "1", "1.5", "0x1F", "1_000", "12:30", "1.0e+3"])
def test_an_id_that_is_a_number_is_shown_in_quotes(written: str) -> None:
    assert told_of_tasks(f"id: {written}") == [
        f'3:10: error: tasks[0].id: `id` has to be text, and {written} is a number (write id: "{written}")'
    ]


def test_an_id_that_looks_like_a_date_or_a_truth_is_shown_in_quotes() -> None:
    assert told_of_tasks("id: 2024-01-02", "id: on", "id: null") == [
        '3:10: error: tasks[0].id: `id` has to be text, and 2024-01-02 is a date (write id: "2024-01-02")',
        '4:10: error: tasks[1].id: `id` has to be text, and on is true or false (write id: "on")',
        "5:10: error: tasks[2].id: `id` is empty, and has to be text (write it)",
    ]


@pytest.mark.parametrize(
    ("task_id", "reason"),
    [
        ("a..b", "an id cannot hold `..`"),
        ("a.", "an id cannot end in `.` or `.lock`"),
        ("a.LOCK", "an id cannot end in `.` or `.lock`"),
        ("all", "`all` means several tasks in commands and cannot be the id of one"),
        ("Failed", "`Failed` means several tasks in commands and cannot be the id of one"),
        ("blocked", "`blocked` means several tasks in commands and cannot be the id of one"),
        ("plan", "`plan` means several tasks in commands and cannot be the id of one"),
        ("wave2", "`wave2` means several tasks in commands and cannot be the id of one"),
    ],
)  # fmt: skip
def test_ids_that_cannot_be_are_refused(task_id: str, reason: str) -> None:
    assert told_of_tasks(f"id: {task_id}") == [
        f"3:10: error: tasks[0].id: {reason} (choose another id)"
    ]


def test_ids_that_can_be_are_taken() -> None:
    assert [bad_id(one) for one in ("001", "a.b-c", "planner", "A1", "lock", "x.lock.y")] == [
        ""
    ] * 6


def test_ids_are_unique_without_regard_to_case() -> None:
    assert told_of_tasks("id: a1", "id: b", "task_id: A1", "id: b") == [
        "5:15: error: tasks[2].task_id: `A1` is the id of the task on line 3 too, apart from upper and lower case (give one of them another id)",
        "6:10: error: tasks[3].id: `b` is the id of the task on line 4 too (give one of them another id)",
    ]  # fmt: skip


# --- what tasks need ------------------------------------------------------------------------------


def test_capabilities_are_equal_after_folding_white_space_and_unicode() -> None:
    assert told_of_tasks("id: a, provides: ['Caf\\u00e9   model']".replace("'", '"'), 'id: b, preconditions: ["Cafe\\u0301 model"]') == []  # fmt: skip


def test_capabilities_are_never_equal_in_part_or_in_another_case() -> None:
    found = told_of_tasks(
        "id: a, provides: [User model]",
        "id: b, preconditions: [user model]",
        "id: c, preconditions: [User model class]",
        "id: d, preconditions: [Usr model]",
        "id: e, preconditions: [Billing]",
    )
    assert found == [
        "4:29: error: tasks[1].preconditions[0]: `user model` is needed by b; a provides `User model` (write the same name in both places)",
        "5:29: error: tasks[2].preconditions[0]: `User model class` is needed by c; a provides `User model` (write the same name in both places)",
        "6:29: error: tasks[3].preconditions[0]: `Usr model` is needed by d; a provides `User model` (write the same name in both places)",
        "7:29: error: tasks[4].preconditions[0]: `Billing` is needed by e, and nothing provides it (let a task provide it, or remove it here)",
    ]


def test_a_capability_of_an_earlier_plan_may_be_needed() -> None:
    row = "id: a, preconditions: [User model]"
    assert told_of_tasks(row, given={"User model"}) == []
    assert told_of_tasks(row, given={"User Model"}) == [
        "3:29: error: tasks[0].preconditions[0]: `User model` is needed by a; an earlier plan provides `User Model` (write the same name in both places)"
    ]


def test_ids_and_capabilities_in_each_others_place_are_told_where_they_belong() -> None:
    found = told_of_tasks(
        "id: a, provides: [Auth]", "id: b, preconditions: [a], depends_on: [Auth]"
    )
    assert found == [
        "4:29: error: tasks[1].preconditions[0]: `a` is needed by b, and nothing provides it (a is a task: name it under `depends_on`)",
        "4:46: error: tasks[1].depends_on[0]: b depends on Auth, and there is no such task (`Auth` is a capability: name it under `preconditions`)",
    ]


def test_a_capability_is_provided_once() -> None:
    found = told_of_tasks("id: a, provides: [A, B, 'A ']", "id: b, provides: [{name: B}]")
    assert found == [
        "3:30: error: tasks[0].provides[2]: `A` is provided twice: by the same task on line 3 too (give one of them another name)",
        "4:24: error: tasks[1].provides[0]: `B` is provided twice: by a on line 3 too (give one of them another name)",
    ]


def test_every_cycle_is_shown_with_its_path_and_what_waits_behind_it_is_not() -> None:
    found = told_of_tasks(
        "id: a, preconditions: [C], provides: [A]",
        "id: b, preconditions: [A], provides: [B]",
        "id: c, preconditions: [B], provides: [C]",
        "id: d, preconditions: [C], provides: [D]",
        "id: e, depends_on: [f]",
        "id: f, depends_on: [e, d]",
        "id: g, preconditions: [G], provides: [G]",
        "id: h, depends_on: [h]",
    )
    assert found == [
        "3:29: error: tasks[0].preconditions[0]: a → c → b → a is a cycle: a needs `C` of c, c needs `B` of b, b needs `A` of a (remove one of these needs)",
        "7:26: error: tasks[4].depends_on[0]: e → f → e is a cycle: e needs f, f needs e (remove one of these needs)",
        "9:29: error: tasks[6].preconditions[0]: `G` is needed by g, which itself provides it (remove it here)",
        "10:26: error: tasks[7].depends_on[0]: h depends on itself (remove it here)",
    ]


def test_a_long_cycle_is_shown_in_part() -> None:
    rows = [f"id: t{n}, depends_on: [t{(n + 1) % 500}]" for n in range(500)]
    (found,) = told_of_tasks(*rows)
    assert found.startswith("3:27: error: tasks[0].depends_on[0]: t0 → t1 → t2 → ")
    assert " → t11 → … → t0 is a cycle: t0 needs t1, t1 needs t2, " in found


def test_a_wrong_task_still_provides_what_it_provides() -> None:
    found = told_of_tasks(
        "id: 001, provides: [A, 7], priority: x",
        "id: b, preconditions: [A], depends_on: ['001']",
        "id: c c, provides: [C]",
        "id: d, preconditions: [C]",
    )
    assert [line.partition(": error: ")[2].partition(":")[0] for line in found] == [
        "tasks[0].id",
        "tasks[0].provides[1]",
        "tasks[0].priority",
        "tasks[2].id",
    ]


# --- names and paths ------------------------------------------------------------------------------

BRANCHES = (
    "a a/b/c é a@b @a a/@ a{ a.lockx A.LOCK x-y_z HEAD -x .a a/.b a..b a.lock a.lock/b a. /a a/ a//b "
    "a@{b @{-1} a~b a^b a:b a?b a*b a[b a\\b a\x7fb"
).split(" ")


@pytest.mark.parametrize("name", [*BRANCHES, "a b", "a\tb", "", "a/b.lock/c", "x" * 240])
def test_a_branch_can_be_exactly_what_git_takes(name: str) -> None:
    answer = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True)
    assert (bad_branch(name) == "") == (answer.returncode == 0)


def test_a_branch_that_git_would_take_and_nobody_could_use_is_refused() -> None:
    assert bad_branch("refs/heads/x") == "it is a full ref, not a branch"
    assert bad_branch("@") == "git keeps that name for itself"
    assert bad_branch("é" * 126) == "a part of it is over 250 bytes"


def test_a_base_outside_the_configs_list_is_refused() -> None:
    config = QUIET.model_copy(update={"bases": ("main", "release/*")})
    assert told_of_tasks("id: a", top="goal: g\nbase: release/1\n", config=config) == []
    assert told_of_tasks("id: a", top="goal: g\nbase: dev\n", config=config) == [
        "2:7: error: base: the config does not allow `dev` as a base (it allows main, release/*)"
    ]


def test_the_flow_branch_gets_out_of_the_way_of_the_plans_other_branches() -> None:
    def flow(name: str, rest: str = "") -> list[str]:
        return told_of_tasks("id: a, title: T", top=f"goal: g\nflow: {name}\n{rest}")

    free = "(free are flow/auth, feat/auth, integration/auth)"
    assert flow("task/auth") == [
        f"2:7: error: flow: the flow branch `task/auth` and the branch of a `task/auth/a-t` cannot both exist {free}"
    ]
    assert flow("Plan/auth") == [
        f"2:7: error: flow: the flow branch `Plan/auth` and the plan's own branch `plan/auth` cannot both exist {free}"
    ]
    assert flow("gitflow") == [
        f"2:7: error: flow: the flow branch `gitflow` and the plan's state `gitflow/state/auth` cannot both exist {free}"
    ]
    assert flow("main", "base: main\n") == [
        f"2:7: error: flow: the flow branch `main` and the base branch `main` cannot both exist {free}"
    ]
    assert flow("main/x", "base: main\n") == [
        f"2:7: error: flow: the flow branch `main/x` and the base branch `main` cannot both exist {free}"
    ]
    assert flow("task/other") == []


def test_a_base_in_the_way_of_the_default_flow_is_told() -> None:
    assert told_of_tasks("id: a", top="goal: g\nbase: docs\ntype: docs\n") == [
        "3:7: error: type: the flow branch `docs/auth` and the base branch `docs` cannot both exist (free are flow/auth, feat/auth, integration/auth)"
    ]
    assert told_of_tasks("id: a", top="goal: g\nbase: task/auth\n") == [
        "2:7: error: base: the base branch `task/auth` and the branch of a `task/auth/a-d` cannot both exist (choose another base)"
    ]


def test_two_tasks_do_not_get_one_branch() -> None:
    found = told_of_tasks(
        "id: a, slug: b-c", "id: a-b, slug: c", "id: x, slug: c-2", "id: A-B-c, title: 'c'"
    )
    assert found == [
        "4:21: error: tasks[1].slug: the branch of a-b `task/auth/a-b-c` and the branch of a `task/auth/a-b-c` cannot both exist (give it a slug; free are c-2, c-3, c-4)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc", "`/etc` is not a path inside the repository"),
        ("~/x", "`~/x` is not a path inside the repository"),
        ("C:\\x", "`C:\\x` is not a path inside the repository"),
        ("\\\\host\\x", "`\\\\host\\x` is not a path inside the repository"),
        ("a/../../b", "`a/../../b` climbs out with `..`"),
        ("..", "`..` climbs out with `..`"),
        ("..\\x", "`..\\x` climbs out with `..`"),
        (".git/config", "`.git/config` is git's own folder"),
        ("sub/.GIT", "`sub/.GIT` is git's own folder"),
    ],
)
def test_a_path_stays_inside_the_repository(path: str, reason: str) -> None:
    assert bad_path(path) == reason


def test_ordinary_paths_and_globs_are_taken() -> None:
    good = [
        "a",
        "./a",
        "src/**/*.py",
        "a..b",
        ".github/x.yml",
        ".gitignore",
        "a b/é",
        "x.git",
        "a:b",
    ]
    assert [bad_path(path) for path in good] == [""] * len(good)


def test_every_kind_of_path_is_looked_at() -> None:
    found = told_of_tasks(
        "id: a, files: [ok, ../x], working_directory: /w",
        top="goal: g\ncopy: [ok, /c]\nprotected_paths: [../p]\ndefaults: {working_directory: ..}\n",
    )
    assert [line.partition(": `")[0] for line in found] == [
        "2:12: error: copy[1]",
        "3:19: error: protected_paths[0]",
        "4:31: error: defaults.working_directory",
        "6:25: error: tasks[0].files[1]",
        "6:51: error: tasks[0].working_directory",
    ]


# --- branches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("User model", "user-model"),
        ("  Été à l'École!  ", "ete-a-l-ecole"),
        ("漢字 😀", "task"),
        ("A/B ~ ..lock.", "a-b-lock"),
        ("Build the whole thing so that it is really ready", "build-the-whole-thing-so-that-it-is"),
        ("x" * 50, "x" * 40),
        ("y" * 40, "y" * 40),
        ("y" * 40 + " z", "y" * 40),
        ("", "task"),
    ],
)
def test_a_title_becomes_a_slug(title: str, expected: str) -> None:
    assert spec.slug(title) == expected
    assert bad_branch(f"task/p/1-{expected}") == ""


def test_a_branch_is_named_by_its_slug_or_title_or_description() -> None:
    plan = Plan(
        plan="auth",
        goal="g",
        tasks=(
            Task(id="001", title="User model", slug="model"),
            Task(id="002", title="User model"),
            Task(id="003", description="Create it. Then more"),
            Task(id="004"),
        ),
    )
    assert spec.branches(plan) == {
        "001": "task/auth/001-model",
        "002": "task/auth/002-user-model",
        "003": "task/auth/003-create-it",
        "004": "task/auth/004-task",
    }


@given(some.text(max_size=80))
def test_any_title_makes_a_branch_that_git_takes(title: str) -> None:
    assert bad_branch(f"task/p/1-{spec.slug(title)}") == ""
    assert len(spec.slug(title)) <= 40


def test_names_clash_without_regard_to_case_and_as_folders() -> None:
    names = [("one", "a/b"), ("two", "A"), ("three", "a/B"), ("four", "a/b/c"), ("five", "a/bc")]
    assert list(clashes(names)) == [
        (1, "one", "a/b"),
        (2, "one", "a/b"),
        (3, "one", "a/b"),
    ]


# --- advice ---------------------------------------------------------------------------------------


def test_advice_is_told_and_does_not_refuse() -> None:
    source = """
        goal: g
        tasks:
          - {id: a, run: x, estimated_time: 11 minutes, files: [src/]}
          - {id: b, run: x, description: d, status: done, files: [src/x.py], completed_tasks: [a]}
          - {id: c, run: x, acceptance: [it works], verify: make, files: ["src/*.py"]}
          - {id: d, run: x, description: d, provides: [{name: D, check: c}], plan_version: v2}
        """
    expected = [
        "3:5: warning: tasks[0].verify: nothing verifies a (add `verify`, a `check` to what it provides, or a `gate`)",
        "3:5: warning: tasks[0]: a does not say what it is about (add a `description`, or `acceptance`)",
        "3:37: warning: tasks[0].estimated_time: a is estimated at over 10 minutes (split it, or set `limits.task_minutes` in the config)",
        "4:5: warning: tasks[1].verify: nothing verifies b (add `verify`, a `check` to what it provides, or a `gate`)",
        "4:45: warning: tasks[1].status: `status: done` is ignored (remove it: what is done is what was merged)",
        "4:58: warning: tasks[1].files: 3 tasks (a, b, c) could run at the same time, and `src/x.py` is among the files of each (let them need one another, or expect conflicts)",
        "4:87: warning: tasks[1].completed_tasks: `completed_tasks` is ignored (remove it: what is done is what was merged)",
        "5:66: warning: tasks[2].files: a and c could run at the same time, and `src/*.py` is among the files of both (let one need the other, or expect a conflict)",
        "6:84: warning: tasks[3].plan_version: `plan_version: v2` is ignored (remove it: revisions are counted when they are accepted)",
    ]
    assert told(source, config=Config()) == expected
    strictly = told(source, config=Config(), strict=True)
    assert strictly == [line.replace(": warning: ", ": error: ") for line in expected]


def overlapping(files: Collection[str]) -> list[str]:
    """Return what is told of tasks that need nothing and name these files, one each."""
    tasks = (
        f'  - {{id: "{place}", run: x, description: d, files: [{name}]}}'
        for place, name in enumerate(files, 1)
    )
    return told("\n".join(["goal: g", "gate: [x]", "tasks:", *tasks]), config=Config())


def test_a_file_that_many_tasks_want_is_warned_of_once() -> None:
    assert overlapping(["CHANGELOG.md"] * 30) == [
        "5:46: warning: tasks[1].files: 30 tasks (1, 2, 3 and 27 more) could run at the same time, and `CHANGELOG.md` is among the files of each (let them need one another, or expect conflicts)"
    ]
    (told,) = overlapping(["CHANGELOG.md"] * 100)  # more pairs than are looked for
    assert "tasks[1].files: at least 64 tasks (1, 2, 3 and 61 more) could run" in told


def test_a_task_that_meets_many_others_in_a_file_each_is_warned_of_once() -> None:
    assert overlapping([*(f"src/{place}.py" for place in range(1, 31)), "src/"]) == [
        "34:47: warning: tasks[30].files: 31 could run at the same time as 30 tasks (1, 2, 3 and 27 more), and names files of each, such as `src/1.py` (let one need the other, or expect conflicts)"
    ]


def test_a_gate_or_a_default_verifies_every_task() -> None:
    for top in ("gate: [make]", "defaults: {verify: make}"):
        assert told_of_tasks("id: a", top=f"goal: g\n{top}\n", config=Config()) == []
    assert (
        len(
            told_of_tasks(
                "id: a, verify: []", top="goal: g\ndefaults: {verify: make}\n", config=Config()
            )
        )
        == 1
    )


def test_the_limit_of_a_task_is_the_configs() -> None:
    config = QUIET.model_copy(update={"limits": ConfigLimits(task_minutes=4.5)})
    assert told_of_tasks("id: a, estimated_time: 4", "id: b, estimated_time: 5", config=config) == [
        "4:29: warning: tasks[1].estimated_time: b is estimated at over 4.5 minutes (split it, or set `limits.task_minutes` in the config)"
    ]


def test_tasks_that_wait_for_each_other_may_share_files() -> None:
    assert (
        told_of_tasks(
            "id: a, files: [x]",
            "id: b, files: [x], depends_on: [a]",
            "id: c, files: [x], depends_on: [b]",
        )
        == []
    )


def test_what_is_said_twice_is_compared() -> None:
    found = told_of_tasks(
        "id: a, session_id: other, session_goal: x, plan_branch: plan/auth, provides: [A]",
        "id: b, preconditions: [A], session_id: auth, session_goal: 'g '",
    )
    assert found == [
        "3:25: warning: tasks[0].session_id: `session_id` is `other`, and the plan says `auth` (remove it)",
        "3:46: warning: tasks[0].session_goal: `session_goal` is `x`, and the plan says `g` (remove it)",
    ]


def test_relations_are_compared_with_what_tasks_need() -> None:
    found = told_of_tasks(
        "id: a, provides: [A], enables: [b, c, d, x], parallel_with: [d]",
        "id: b, preconditions: [A], parallel_with: [a, d, x]",
        "id: c, depends_on: [b]",
        "id: d",
    )
    assert found == [
        "3:44: warning: tasks[0].enables[2]: `enables` names d, which does not need a (remove it, or let d need a)",
        "3:47: warning: tasks[0].enables[3]: `enables` names x, and there is no such task",
        "4:49: warning: tasks[1].parallel_with[0]: `parallel_with` names a, and one of them needs the other (remove it)",
        "4:55: warning: tasks[1].parallel_with[2]: `parallel_with` names x, and there is no such task (remove it)",
    ]


def test_a_dependency_graph_is_compared_with_the_waves() -> None:
    def graph(said: str) -> list[str]:
        rows = [
            "id: '001', provides: [A]",
            "id: '002', preconditions: [A]",
            "id: '003', preconditions: [A]",
        ]
        return told_of_tasks(*rows, top=f'goal: g\ndependency_graph: "{said}"\n')

    assert graph("Wave 1: 001\\nWave 2: 002, 003\\n") == []
    assert graph("wave 1 : 001\\n\\nWAVE 2: 003 002") == []
    assert graph("Wave 1: 001, 002\\nWave 2: 003") == [
        "2:19: warning: dependency_graph: `dependency_graph` puts 001, 002 into wave 1; what the tasks need puts 001 there (remove it, or correct it)"
    ]
    assert graph("Wave 1: 001") == [
        "2:19: warning: dependency_graph: `dependency_graph` puts nothing into wave 2; what the tasks need puts 002, 003 there (remove it, or correct it)"
    ]
    assert graph("001 -> 002") == [
        "2:19: warning: dependency_graph: `dependency_graph` says `001 -> 002`, which is not `Wave 1: 001, 002` (remove it)"
    ]


@pytest.mark.parametrize(
    ("said", "is_off"),
    [("10", True), ("15 minutes", False), ("20", False), ("25m", False), ("35", False), ("1h", True)],
)  # fmt: skip
def test_a_total_is_off_when_it_fits_neither_the_sum_nor_the_longest_chain(
    said: str, is_off: bool
) -> None:
    rows = [
        "id: a, estimated_time: 10, provides: [A]",
        "id: b, estimated_time: 8, preconditions: [A]",
        "id: c, estimated_time: 10",
    ]
    expected = f"2:23: warning: estimated_total_time: `estimated_total_time` is `{said}`; the tasks add up to 28 minutes, 18 of them one after the other (remove it)"
    assert (
        told_of_tasks(*rows, top=f"goal: g\nestimated_total_time: {said}\n") == [expected] * is_off
    )


def test_a_wrong_number_of_tasks_is_told() -> None:
    assert told_of_tasks("id: a", top="goal: g\ntotal_tasks: 5\nplan_version: v3\n") == [
        "2:14: warning: total_tasks: `total_tasks` is 5, and there are 1 (remove it)",
        "3:15: warning: plan_version: `plan_version: v3` is ignored (remove it: revisions are counted when they are accepted)",
    ]


# --- a first glance -------------------------------------------------------------------------------


def test_a_first_glance_tells_name_and_base_of_a_plan_that_may_be_broken() -> None:
    source = b"\xef\xbb\xbfsession_id: 'auth'  # own\r\nbase: main\r\ntasks: [\n"
    assert (spec.plan_name(source, default="x"), spec.plan_base(source)) == ("auth", "main")


@pytest.mark.parametrize(
    "source", [b"goal: g", b"plan: [", b"plan: 3", b"  plan: x", b"plan:", b"\xff"]
)
def test_without_a_name_at_first_glance_there_is_the_default(source: bytes) -> None:
    assert (spec.plan_name(source, default="x"), spec.plan_base(source)) == ("x", "")


# --- many tasks -----------------------------------------------------------------------------------


def many(count: int) -> bytes:
    """Return a plan of realistic tasks, each of which needs three earlier ones."""
    rows = ["plan: big", "goal: something big", "tasks:"]
    for number in range(count):
        needs = ", ".join(
            f"thing {other}" for other in range(max(0, number - 13), max(0, number - 10))
        )
        rows += [
            f'  - id: "{number:05}"',
            f"    title: Build the number {number} of things",
            f"    description: A longer text that says what task {number} is about, with its reasons and details, "
            "and with some more words, so that it is as long as descriptions are",
            f"    preconditions: [{needs}]",
            f"    provides: [thing {number}, {{name: other.{number}, check: python3 -c 'import other{number}'}}]",
            f"    files: [src/pkg/mod{number}.py, tests/test_mod{number}.py]",
            "    acceptance: [it works, it is fast]",
            f"    run: python3 tools/make.py --number {number}",
            f"    verify: [python3 -m unittest tests.test_mod{number}]",
            "    estimated_time: 8 minutes",
            "    priority: high",
        ]
    return "\n".join(rows).encode()


def test_thousands_of_tasks_are_read_as_the_library_reads_them() -> None:
    data = many(2500)
    loaded = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert read_plan(data, file="p").warnings == ()
    assert load_plan(data, "p") == Plan.model_validate(loaded)


def test_thousands_of_mistakes_are_all_told() -> None:
    source = ["goal: g", "tasks:"]
    source += [
        f"- {{id: t{n}, run: x, description: d, preconditions: [Some capability {n * 7}x], depends_on: [u{n}]}}"
        for n in range(3000)
    ]
    assert len(told("\n".join(source).encode())) == 6000


# --- the tool's own files -------------------------------------------------------------------------

TEXTS = some.text(
    some.one_of(
        some.sampled_from(" \n\t#:|>'\"-?x\r\x85\u2028\ufeff\0\x7f😀é%@`&*![]{},0~<="),
        some.characters(exclude_categories=["Cs"]),
    )
)
VALUES = some.recursive(
    some.one_of(TEXTS, some.none(), some.booleans(), some.integers(), some.floats(allow_nan=False)),
    lambda inner: some.one_of(
        some.lists(inner, max_size=4), some.dictionaries(TEXTS, inner, max_size=4)
    ),
    max_leaves=20,
)


WRITTEN = some.text("abny01.:,-#'\"[]{}<= ", max_size=6) | some.sampled_from(
    ["yes", "null", "2024-01-01", "1:30", "0x10", "<<", "...", "---", "a" * 130]
)
"""Texts as records hold them, and those that look like something else."""


@given(some.dictionaries(TEXTS, VALUES, max_size=5))
@settings(max_examples=5 * settings().max_examples)
def test_what_is_written_is_read_back_exactly(value: dict[str, Any]) -> None:
    assert from_yaml(to_yaml(value)) == value


@given(some.dictionaries(TEXTS, VALUES, max_size=5))
def test_the_library_reads_what_is_written_the_same(value: dict[str, Any]) -> None:
    written = to_yaml(value)
    assert yaml.load(written, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) == value


@pytest.mark.parametrize(
    "word",
    ["1", "01", "1.0", "1e3", "0x10", "1:30", "yes", "No", "on", "~", "null", "", "2024-01-01", "<<", "=", "- a", "a: b", "# a", "😀", " x ", "a\n", "\n", "a\n\n b\n", "x\r\ny", "%", "---", "...", "!", "&a", "*a"],
)  # fmt: skip
def test_every_text_stays_text(word: str) -> None:
    for value in ({"k": word}, {word: "v"}, {"k": [word]}, {"k": {word: [word, {word: word}]}}):
        assert from_yaml(to_yaml(value)) == value


@given(
    some.dictionaries(
        WRITTEN,
        some.recursive(
            WRITTEN,
            lambda inner: some.lists(inner) | some.dictionaries(WRITTEN, inner),
            max_leaves=8,
        ),
        max_size=4,
    )
)
def test_what_is_written_without_the_library_is_what_it_writes(value: dict[str, Any]) -> None:
    assert to_yaml(value) == yaml_files._by_the_library(value)


PIECES = some.sampled_from(
    ["a", "b c", "'", "''", "1", "01:30", "null", "{}", "[]", ":", ": ", "- ", "-", " ", "  ", "\n", "\n  ", "\n- ", "a: ", "b:\n", "#", '"', "~", "...", "x: 1\n", "é", "|", "\t", "\r", "<<", "*a"]
)  # fmt: skip
"""What lines of YAML are made of, ours and others."""


@given(some.lists(PIECES, max_size=20).map("".join))
@settings(max_examples=5 * settings().max_examples)
def test_what_is_read_without_the_library_is_what_it_reads(text: str) -> None:
    try:
        value = yaml_files._read_back(f"{text}\n".encode())
    except yaml_files._Odd:
        return
    source = Source(f"{text}\n".encode(), "p", is_ours=True)
    assert (value, source.problems) == (source.root, [])
    assert repr(value) == repr(source.root)  # True is 1, and 1 is 1.0


def test_a_record_is_read_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"id": "001", "n": 1.5, "no": None, "in": {"a": [{"b": ["x", {}]}, []]}, "on": True}
    written = to_yaml(value)
    monkeypatch.setattr(yaml_files, "Source", None)
    assert from_yaml(written) == value


def test_60_kb_of_anything_are_read_back() -> None:
    long = "## a: b, 'c' \"d\" 😀  \n\n\t- e\n" * 2000
    assert from_yaml(to_yaml({"summary": long, "list": [long]})) == {
        "summary": long,
        "list": [long],
    }


def test_numbers_keep_their_kind() -> None:
    value = {
        "a": 1,
        "b": 1.0,
        "c": 1e16,
        "d": 1e-7,
        "e": math.inf,
        "f": -math.inf,
        "g": 1.7e9,
        "h": -3,
    }
    again = from_yaml(to_yaml(value))
    assert again == value
    assert [type(one) for one in again.values()] == [type(one) for one in value.values()]
    assert math.isnan(from_yaml(to_yaml({"a": math.nan}))["a"])


class Colour(StrEnum):
    RED = "red"


def test_texts_and_lists_of_other_classes_are_written_as_what_they_are() -> None:
    value = {"a": Colour.RED, "b": Duration("8 minutes"), "c": (1, ("x",)), "d": {}, "e": ()}
    assert from_yaml(to_yaml(value)) == {
        "a": "red",
        "b": "8 minutes",
        "c": [1, ["x"]],
        "d": {},
        "e": [],
    }


def test_a_file_of_the_tool_reads_well() -> None:
    value = {"id": "001", "status": "failed", "message": "two\nlines\n", "sha": "1" * 8, "none": None, "empty": [], "tasks": [{"a": True}, "é"]}  # fmt: skip
    assert to_yaml(value).decode() == textwrap.dedent(
        """\
        id: '001'
        status: failed
        message: |
          two
          lines
        sha: '11111111'
        none: null
        empty: []
        tasks:
        - a: true
        - é
        """
    )


@pytest.mark.parametrize("value", [{"a": "\ud800"}, {"\udfff": 1}])
def test_half_a_surrogate_pair_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        to_yaml(value)


@pytest.mark.parametrize("value", [{"a": object()}, {"a": b"x"}, {"a": {1: 2}}, {"a": {3}}])
def test_what_is_no_plain_data_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        to_yaml(value)


def test_a_damaged_file_of_the_tool_is_named() -> None:
    with pytest.raises(InvalidFile) as caught:
        from_yaml(b"id: a\nid: b\n", file="tasks/ab/001.yaml")
    assert [str(problem) for problem in caught.value.problems] == [
        "tasks/ab/001.yaml:2:1: error: id: the key `id` is on line 1 too (remove one of them)"
    ]


def test_without_the_c_library_everything_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_source, "_Loader", yaml.SafeLoader)
    monkeypatch.setattr(yaml_files, "_SafeDumper", yaml.SafeDumper)
    value = {"a": "two\nlines", "b": ["é 😀", "", "1", " x"], "c": {"d": None}, "e": 1.5}
    assert from_yaml(to_yaml(value)) == value
    assert load_plan(text(FULL), "").tasks[0].id == "001"
    assert told(b'goal: "\\ud800"\ntasks: [{id: a, run: x, description: d}]')[0] == (
        "1:7: error: goal: the text holds half of a surrogate pair (remove it)"
    )
    assert told(b"goal: 'x")[0].startswith("1:9: error: this is not YAML: ")


# --- anything at all ------------------------------------------------------------------------------

WORDS = [
    *sorted({*keys(Plan), *keys(Task), "agent", "name", "check", "parallel", "role", "<<", "x"}),
    *'001 "001" a b all wave1 null ~ yes 3 -1 1.5 8m 2024-01-01 command .inf &a *a !x !!int ? | > # --- ...'.split(),
    *["[", "]", "{", "}", ":", ": ", "- ", ", ", "\n", "\n  ", "\n    ", "\n  - ", "\t", '"', "'", "\\", "\0", "é", "..", "/"],
]  # fmt: skip


def only_refuses(data: bytes) -> None:
    """Read `data` in every way; whatever it is, nothing but InvalidFile comes out."""
    for read in (
        lambda: read_plan(data, file="p", name="p"),
        lambda: load_plan(data, "p"),
        lambda: read_config(data, file="c"),
        lambda: from_yaml(data),
    ):
        problems: tuple[Problem, ...] | None = None
        try:
            read()
        except InvalidFile as error:
            problems = error.problems
        assert problems is None or (problems and all(one.reason for one in problems))


@given(some.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data: bytes) -> None:
    only_refuses(data)


@given(some.lists(some.sampled_from(WORDS), max_size=60).map("".join))
@settings(max_examples=4 * settings().max_examples)
def test_no_shuffled_words_do_more_than_be_refused(source: str) -> None:
    only_refuses(source.encode())


@given(
    some.integers(0, len(text(FULL)) - 1),
    some.integers(0, 30),
    some.sampled_from(WORDS).map(str.encode),
)
@settings(max_examples=3 * settings().max_examples)
def test_no_damage_to_a_plan_does_more_than_make_it_refused(
    at: int, length: int, word: bytes
) -> None:
    data = text(FULL)
    only_refuses(data[:at] + word + data[at + length :])


LOOSE = some.recursive(
    some.one_of(
        some.none(),
        some.booleans(),
        some.integers(-3, 300),
        some.sampled_from(WORDS),
        some.floats(),
    ),
    lambda inner: some.one_of(
        some.lists(inner, max_size=3),
        some.dictionaries(some.sampled_from(WORDS), inner, max_size=4),
    ),
    max_leaves=8,
)


@given(
    some.dictionaries(some.sampled_from(keys(Plan)), LOOSE, max_size=4),
    some.lists(some.dictionaries(some.sampled_from(keys(Task)), LOOSE, max_size=6), max_size=4),
)
@settings(max_examples=3 * settings().max_examples)
def test_no_values_in_the_right_places_do_more_than_be_refused(
    top: dict[str, Any], tasks: list[dict[str, Any]]
) -> None:
    only_refuses(to_yaml({"goal": "g", **top, "tasks": tasks}))


# --- the config -----------------------------------------------------------------------------------


def refused(data: bytes | None, **environ: str) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        read_config(data, file="c", environ=environ)
    return [str(problem) for problem in caught.value.problems]


def test_no_config_is_the_default_config() -> None:
    for data in (None, b"", b"# nothing yet\n\n", b"\n"):
        assert read_config(data, file="c") == Config()


def test_a_config_says_what_it_says() -> None:
    data = text(
        """
        agents: {command: {env: [NODE_ENV, CI], silence: 5m}}
        bases: [main, release/*]
        protected_paths: deploy/
        limits: {parallel: 4, task_minutes: 15, changed_files: 10}
        gate: [make test]
        setup: make deps
        copy: [.env]
        worktrees: .work
        keep_branches: true
        train: 4
        follow_base: off
        """
    )
    config = read_config(data, file="c")
    assert config.model_dump(by_alias=True, exclude_unset=True) == {
        "agents": {"command": {"env": ("NODE_ENV", "CI"), "silence": "5m"}},
        "bases": ("main", "release/*"),
        "protected_paths": ("deploy/",),
        "limits": {"parallel": 4, "task_minutes": 15.0, "changed_files": 10},
        "gate": ("make test",),
        "setup": ("make deps",),
        "copy": (".env",),
        "worktrees": ".work",
        "keep_branches": True,
        "train": 4,
        "follow_base": "off",
    }


def test_wrong_values_of_a_config_are_told_by_name() -> None:
    data = text(
        """
        agents: {command: {env: [A=b]}, claud: {}}
        bases: [a..b, ok/*]
        limits: {parallel: 0, open_reviews: 0, paralel: 3}
        copy: [../x]
        worktrees: /tmp/x
        keep_branches: maybe
        train: "4"
        follow_base: always
        start: at-once
        gaet: [x]
        """
    )
    assert refused(data) == [
        "c:1:26: error: agents.command.env[0]: `A=b` is not a name of a variable, [A-Za-z_][A-Za-z0-9_]* (use letters, digits and `_`)",
        "c:1:40: error: agents.claud.command: `command` is missing (an agent of your own needs one: `command: [program, …]`; known are claude, codex, gemini, opencode, aider)",
        "c:2:9: error: bases[0]: `a..b` cannot be a branch: it holds `..` (rename it)",
        "c:3:20: error: limits.parallel: `parallel` is 0, and has to be at least 1",
        "c:3:37: error: limits.open_reviews: `open_reviews` is 0, and has to be at least 1",
        "c:3:40: error: limits.paralel: there is no key `paralel` (did you mean `parallel`?)",
        "c:4:8: error: copy[0]: `../x` climbs out with `..` (write it from the top of the repository)",
        "c:5:12: error: worktrees: `/tmp/x` is not a path inside the repository (write it from the top of the repository, as `.worktrees`)",
        "c:6:16: error: keep_branches: `keep_branches` has to be true or false, and is text",
        'c:7:8: error: train: `train` has to be a whole number, and is text (write train: 4 without quotes)',
        "c:8:14: error: follow_base: `follow_base` is `always`, and has to be one of clean, off",
        "c:9:8: error: start: `start` is `at-once`, and has to be one of on-push",
        "c:10:1: error: gaet: there is no key `gaet` (did you mean `gate`?)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("runners", "row", "found"),
    [
        ("{gpu: [self-hosted, gpu]}", "runner: gpu", []),
        ("{gpu: x}", "runner: cpu", ["tasks[0].runner: the config's `runners` has no `cpu` (did you mean `gpu`?)"]),
        ("{big: x, mac: y}", "runner: windows", ["tasks[0].runner: the config's `runners` has no `windows` (there are big, mac)"]),
        ("{}", "runner: gpu", ["tasks[0].runner: the config's `runners` has no `gpu` (name it there with its labels: `runners: {NAME: [LABEL]}`, on the default branch)"]),
        ("{big: x}", "role: heavy", ["tasks[0].role: the config's `runners` has no `huge` (there are big)"]),
        ("{big: x}", "role: heavy, runner: big", []),
    ],
)  # fmt: skip
def test_a_plan_can_name_a_runner_that_the_config_has(
    runners: str, row: str, found: list[str]
) -> None:
    config = read_config(f"runners: {runners}".encode(), file="c")
    roles = {"heavy": Role(description="x", runner="huge")}
    data = f"goal: g\ntasks:\n- {{id: a, run: x, {row}}}\n".encode()
    try:
        read_plan(data, file="p", name="p", config=config, roles=roles)
        told = []
    except InvalidFile as e:
        told = [str(one).partition(": error: ")[2] for one in e.problems if not one.is_warning]
    assert told == found


def test_the_runner_of_all_tasks_is_one_that_the_config_has() -> None:
    assert told_of_tasks("id: a", top="goal: g\ndefaults: {runner: cpu}\n")[0] == (
        "2:20: error: defaults.runner: the config's `runners` has no `cpu` (name it there with its labels: `runners: {NAME: [LABEL]}`, on the default branch)"
    )


def test_a_runner_is_a_name_with_labels() -> None:
    rule = "[A-Za-z0-9_][A-Za-z0-9_.:/=+-]{0,127} (use letters, digits, `_`, `-`, `.`, `:`, `/`, `=` and `+`)"
    assert refused(b"runners: {Big One: x, none: [], bad: ['a b', '${{ x }}'], one: 3}") == [
        "c:1:20: error: runners.Big One: `Big One` is not a name of a runner, [a-z0-9][a-z0-9-]{0,31} (use small letters, digits and `-`)",
        "c:1:29: error: runners.none: `none` is empty (write it, or remove it)",
        f"c:1:39: error: runners.bad[0]: `a b` is not a label of a runner, {rule}",
        f"c:1:46: error: runners.bad[1]: `${{{{ x }}}}` is not a label of a runner, {rule}",
        "c:1:64: error: runners.one: `one` has to be a list, and 3 is a number",
    ]


@pytest.mark.parametrize(
    "folder", ["/etc", "~", "~/", "~/../x", "~/./x", "node_modules", "~/a b", "~/a*", "~/a\nb"]
)
def test_what_is_kept_is_a_folder_of_a_home(folder: str) -> None:
    assert read_config(b"cache: ~/.cache/pip/", file="c").cache == ("~/.cache/pip/",)
    (said,) = refused(spec.to_yaml({"cache": [folder]}))
    assert said.startswith("c:2:3: error: cache[0]: `")
    assert said.endswith("is no folder below a home (write it from your home: ~/.cache/pip)")


def test_services_share_a_name_only_when_they_share_a_folder() -> None:
    folders = ["api", "api/v2", "api-v2", "API", "a b", "a/b", "-", "é", "all", "x@y"]
    names = [spec.service(folder) for folder in folders]
    assert len({*names, "all"}) == len(folders) + 1
    assert {*"".join(names)} <= {*"abcdefghijklmnopqrstuvwxyz0123456789-"}
    assert [spec.service(folder) for folder in ("", ".", "./", "api/", "./api")] == [
        *["all"] * 3,
        *[names[0]] * 2,
    ]


@pytest.mark.parametrize("key", sorted(LATER[Config]))
def test_config_keys_of_later_versions_are_refused_by_name(key: str) -> None:
    reason = f"`{key}` is not built yet in this version"
    assert refused(f"{key}: 1".encode()) == [f"c:1:1: error: {key}: {reason} (remove it)"]
    variable = f"GITFLOW_{key.upper()}"
    assert refused(None, **{variable: "1"}) == [f"{variable}: error: {reason} (unset it)"]


SYNC_CONFIG = b"""{
  "version": "1.0.0",
  "organization": "acme",
  "project_mappings": {
    "auth": {"project_number": 3, "project_id": "PVT_kwDO", "last_sync": "2026-01-02T03:04:05Z"}
  },
  "agent_mapping": {
    "claude-1": {"github_username": "alice", "services": ["trader"], "role": "implement"}
  }
}
"""


def test_a_file_of_an_earlier_tool_says_where_plans_are_shown() -> None:
    inline = read_config(b"projects: " + SYNC_CONFIG, file="c").projects
    found = spec.read_projects(SYNC_CONFIG, file="s", beside=Projects(file="s"))
    assert inline is not None
    assert found == inline.model_copy(update={"file": "s", "plans": {}})
    assert (found.owner, found.project_mappings["auth"].project_number) == ("acme", 3)
    assert found.agent_mapping["claude-1"].services == ("trader",)


def test_what_stands_beside_the_file_goes_first() -> None:
    beside = Projects.model_validate(
        {"file": "s", "plans": {"auth": 9, "*": 7}, "fields": {"Wave": None}}
    )
    found = spec.read_projects(SYNC_CONFIG, file="s", beside=beside)
    assert (found.plans, found.project_mappings) == ({"auth": 9, "*": 7}, {})
    assert (found.owner, found.fields) == ("acme", {"Wave": None})


def test_a_path_stands_for_the_file_of_the_boards() -> None:
    found = read_config(b"projects: .github/sync.json", file="c").projects
    assert found == Projects(file=".github/sync.json")
    (said,) = refused(b"projects: ../x")
    assert said.endswith("`../x` climbs out with `..` (write it from the top of the repository)")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fields: {Statu: x}", "fields.Statu: there is no `Statu` to name here (did you mean `Status`?)"),
        ("states: {xyz: x}", "states.xyz: there is no `xyz` to name here (they are pending, in_progress, review, completed, failed, cancelled)"),
        ("plans: {auth: 0}", "plans.auth: `0` is no project (write its number, or its address: https://github.com/orgs/acme/projects/3)"),
        ("plans: {auth: acme/3}", "plans.auth: `acme/3` is no project (write its number, or its address: https://github.com/orgs/acme/projects/3)"),
        ("plans: {A B: 1}", "plans.A B: `A B` cannot be the name of a plan (use small letters, digits and `-`, or `*` for every plan)"),
        ("plans: {a: 1}, project_mappings: {a: {project_number: 1}}", "project_mappings.a: `a` is among `plans` too (remove one)"),
        ("project_mappings: {a: {}}", "project_mappings.a: it names no board (add `project_number: …`)"),
        ("project_mappings: {a: {project_number: 1, project_id: a b}}", "project_mappings.a.project_id: `a b` is not a project's id, [A-Za-z0-9_=-]{1,100} (write it as GitHub does: `PVT_...`, or leave it out)"),
        ("fields: {Status: plan}", "fields.Status: `plan` is the name of `Plan` already (give one of them another name, or null)"),
        ("fields: {Status: S, Plan: s}", "fields.Plan: `s` is the name of `Status` already (give one of them another name, or null)"),
        ("owner: a, organization: b", "organization: `organization` is another spelling of `owner` (remove one)"),
        ("file: x", "file: a file cannot name another one (write here what that file says)"),
        ("version: beta", "version: `version` is `beta`, and has to be one of 1.0.0"),
    ],
)  # fmt: skip
def test_each_mistake_about_boards_is_told_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        spec.read_projects(f"{{{text}}}".encode(), file="s", beside=Projects())
    assert [str(each).partition("error: ")[2] for each in caught.value.problems] == [reason]
    if not reason.startswith("file: a"):
        (said,) = refused(f"projects: {{{text}}}".encode())
        assert said.partition("error: projects.")[2] == reason


@pytest.mark.parametrize(
    ("written", "means"),
    [("true", Issues()), ("false", None), ("{labels: a b}", Issues(labels=("a b",)))],
)
def test_issues_are_wanted_by_a_word_or_by_what_they_are_like(
    written: str, means: Issues | None
) -> None:
    assert read_config(f"issues: {written}".encode(), file="c").issues == means
    assert read_config(None, file="c", environ={"GITFLOW_ISSUES": "true"}).issues == Issues()


def test_what_issues_are_like_is_refused_by_name() -> None:
    known = "the keys are labels, follow_ups"
    assert refused(b"issues: 5") == [
        "c:1:9: error: issues: `5` is neither true nor false (or write what they are like: {labels: [x]})"
    ]
    assert refused(b"issues: {assign: true}") == [
        f"c:1:10: error: issues.assign: there is no key `assign` here ({known})"
    ]
    assert refused(b"issues: {labels: ['a,b']}") == [
        "c:1:19: error: issues.labels[0]: `a,b` is not a label of an issue, "
        r"[^\s,](?:[^,\r\n]{0,48}[^\s,])? (use at most 50 characters, and no comma)"
    ]


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("12", "#12"),
        ("'#12'", "#12"),
        ("acme/shop#3", "acme/shop#3"),
        ("https://github.com/acme/shop/issues/9", "acme/shop#9"),
        ("milestone 3", "milestone 3"),
        ("https://github.com/acme/shop/milestone/3", "acme/shop milestone 3"),
    ],
)
def test_an_epic_is_an_issue_here_or_elsewhere_or_a_milestone(written: str, means: str) -> None:
    source = f"goal: g\nepic: {written}\ntasks: [{{id: a, run: x, description: d}}]"
    assert load_plan(source.encode(), "p").epic == means


@pytest.mark.parametrize("written", ["0", "x", "true", "https://github.com/acme/shop/pull/9"])
def test_what_is_no_issue_is_no_epic(written: str) -> None:
    source = f"goal: g\nepic: {written}\ntasks: [{{id: a, run: x, description: d, epic: 1}}]"
    assert told(source) == [
        f"2:7: error: epic: `{written}` is no issue and no milestone (write its number, or "
        "its address)",
        "3:41: error: tasks[0].epic: there is no key `epic` here (it belongs at the top of a plan)",
    ]


def test_a_config_has_to_be_a_mapping() -> None:
    assert refused(b"- a") == ["c:1:1: error: a config is a mapping of keys and values"]


def test_worktrees_cannot_be_the_repository_itself() -> None:
    assert refused(b"worktrees: ./") == [
        "c:1:12: error: worktrees: `./` is the repository itself (write it from the top of the repository, as `.worktrees`)"
    ]


def test_the_environment_overrides_the_file_key_by_key() -> None:
    config = read_config(
        b"train: 2\nlimits: {parallel: 1, attempts: 5}\ngate: [a]\n",
        file="c",
        environ={
            "GITFLOW_TRAIN": "4",
            "GITFLOW_LIMITS_PARALLEL": "2",
            "GITFLOW_LIMITS_TASK_MINUTES": "2.5",
            "GITFLOW_GATE": "test -f x: # not a comment",
            "GITFLOW_SETUP": '["a b", c]',
            "GITFLOW_KEEP_BRANCHES": "true",
            "GITFLOW_FOLLOW_BASE": "off",
            "GITFLOW_WORKTREES": "123",
            "GITFLOW_AGENTS_COMMAND_SILENCE": "90s",
            "GITFLOW_COPY": "",
            "PATH": "/bin",
        },
    )
    assert config.model_dump(by_alias=True, exclude_unset=True) == {
        "agents": {"command": {"silence": "90s"}},
        "train": 4,
        "limits": {"parallel": 2, "attempts": 5, "task_minutes": 2.5},
        "gate": ("test -f x: # not a comment",),
        "setup": ("a b", "c"),
        "keep_branches": True,
        "follow_base": "off",
        "worktrees": "123",
    }


def test_a_deeper_variable_wins_over_a_whole_mapping() -> None:
    environ = {"GITFLOW_LIMITS_PARALLEL": "2", "GITFLOW_LIMITS": "{parallel: 9, attempts: 4}"}
    limits = read_config(None, file="c", environ=environ).limits
    assert (limits.parallel, limits.attempts) == (2, 4)


def test_wrong_variables_are_told_by_name_beside_the_files_problems() -> None:
    found = refused(
        b"train: x\n",
        GITFLOW_TRAIN="zero",
        GITFLOW_LIMITS_PARALEL="2",
        GITFLOW_LIMITS_PARALLEL="0",
        GITFLOW_GATE="[ -f x ] && make",
        GITFLOW_WORKTREES="../out",
        GITFLOW_KEEP_BRANCHES="sometimes",
        GITFLOW_SETUP="[a, !x b]",
        GITFLOW_QQQQQQ="1",
    )
    assert found[0] == "c:1:8: error: train: `train` has to be a whole number, and is text"
    assert found[2:] == [
        "GITFLOW_QQQQQQ: error: there is no such variable (unset it)",
        """GITFLOW_GATE: error: this is not YAML: did not find expected alphabetic or numeric character (write a list of commands or names as ["one", "two"])""",
        "GITFLOW_KEEP_BRANCHES: error: `keep_branches` has to be true or false, and is text",
        "GITFLOW_SETUP: error: the tag `!x` is not allowed (remove the tag)",
        "GITFLOW_TRAIN: error: `train` has to be a whole number, and is text",
        "GITFLOW_WORKTREES: error: `../out` climbs out with `..` (write it from the top of the repository, as `.worktrees`)",
        "GITFLOW_LIMITS_PARALLEL: error: `parallel` is 0, and has to be at least 1",
    ]
    assert found[1] == (
        "GITFLOW_LIMITS_PARALEL: error: there is no such variable (did you mean GITFLOW_LIMITS_PARALLEL?)"
    )


def test_who_is_wrong_is_named_first() -> None:
    with pytest.raises(InvalidFile) as caught:
        read_config(None, file="c", environ={"GITFLOW_TRAIN": "x"})
    assert caught.value.message == "the environment has 1 error; nothing was changed"


def test_variables_that_the_tool_sets_configure_nothing() -> None:
    environ = dict.fromkeys(spec.OWN_VARIABLES, "anything")
    assert read_config(None, file="c", environ=environ) == Config()
    assert not spec.OWN_VARIABLES & spec.variables().keys()


def test_every_key_of_the_config_has_its_variable() -> None:
    assert spec.variables()["GITFLOW_LIMITS_PARALLEL"] == ("limits", "parallel")
    assert spec.variables()["GITFLOW_COPY"] == ("copy",)
    assert {path[0] for path in spec.variables().values()} == set(keys(Config))


# --- schemas --------------------------------------------------------------------------------------


def test_every_key_has_a_sentence_and_every_sentence_a_key() -> None:
    for model, about in ABOUT.items():
        assert set(about) == set(model.model_fields), model.__name__
        assert all(line.rstrip("`").endswith(".") for line in about.values()), model.__name__


def described(schema: dict[str, Any]) -> list[str]:
    """Return the keys of a schema, of all its mappings, that have no description."""
    parts = [schema, *schema["$defs"].values()]
    return [
        key
        for part in parts
        for key, value in part.get("properties", {}).items()
        if not value.get("description")
    ]


def test_the_plans_schema_has_every_key_and_none_that_is_refused() -> None:
    schema = plan_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) == set(keys(Plan))
    assert set(schema["$defs"]["Task"]["properties"]) == set(keys(Task))
    assert schema["required"] == ["tasks"]
    assert (
        "required" not in schema["$defs"]["Task"]
        or "run" not in schema["$defs"]["Task"]["required"]
    )
    assert schema["allOf"] == [
        {"not": {"required": ["plan", "session_id"]}},
        {"oneOf": [{"required": ["goal"]}, {"required": ["user_request"]}]},
    ]
    assert described(schema) == []
    assert not LATER[Plan] & (
        set(schema["properties"]) | set(schema["$defs"]["Task"]["properties"])
    )
    assert schema["additionalProperties"] is False


def test_the_configs_schema_has_every_key_and_none_that_is_refused() -> None:
    schema = spec.config_schema()
    assert set(schema["properties"]) == set(keys(Config))
    assert described(schema) == []
    assert "required" not in schema
    assert not LATER[Config] & set(schema["properties"])


def test_a_schema_says_where_a_text_may_stand_for_a_list() -> None:
    task = plan_schema()["$defs"]["Task"]["properties"]
    assert [one.get("type") for one in task["files"]["anyOf"]] == ["string", "array"]
    assert [one.get("type") for one in task["estimated_time"]["anyOf"]] == ["string", "number", "null"] or (
        task["estimated_time"]["anyOf"][0]["anyOf"] == [{"type": "string"}, {"minimum": 0, "type": "number"}]
    )  # fmt: skip


# --- agents ---------------------------------------------------------------------------------------


def told_with(config: str, *tasks: str) -> list[str]:
    """Return what is said of a plan under a config, without the place."""
    rows = "".join(
        f"- {{id: '{n}', description: d, verify: [x], {task}}}\n" for n, task in enumerate(tasks)
    )
    data = f"goal: g\ngate: [x]\ntasks:\n{rows}".encode()
    found = spec.read_config(f"agents: {config}".encode(), file="c")
    try:
        reading = spec.read_plan(data, file="p", name="p", config=found, given={})
    except InvalidFile as e:
        return [f"{problem.key}: {problem.reason} ({problem.mend})" for problem in e.problems]
    return [f"{problem.key}: {problem.reason}" for problem in reading.warnings]


@pytest.mark.parametrize(
    ("config", "task", "expected"),
    [
        ("{}", "agent: codex", []),
        ("{command: {env: [CI]}}", "agent: codex", []),
        ("{claude: {}}", "agent: codex", ["tasks[0].agent: the config's `agents` does not allow codex (it allows command, claude)"]),
        ("{goose: {command: goose}}", "agent: gose", ["tasks[0].agent: there is no agent `gose` (did you mean `goose`?)"]),
        ("{claude: {tools: [read]}}", "agent: claude, tools: [read, bash]", ["tasks[0].tools: the config does not allow claude to use bash (it allows read; a plan can only narrow that)"]),
        ("{claude: {tools: [read, bash]}}", "agent: claude, tools: [read]", []),
        ("{}", "agent: claude, run: x", ["tasks[0].run: 0 is done by claude, which runs no `run` (remove `run`, or write `agent: command`)"]),
        ("{}", "run: x, tools: [read]", ["tasks[0].tools: 0 is done by `command`, which takes no `tools` (remove it)"]),
        ("{}", "agent: codex, budget_usd: 2", ["tasks[0].budget_usd: codex does not tell what it costs, so `budget_usd` cannot end it"]),
        ("{}", "agent: claude, budget_usd: 2", []),
        ("{}", "run: x, model: m", ["tasks[0].model: 0 is done by `command`, which takes no `model` (remove it)"]),
    ],
)  # fmt: skip
def test_agents_and_tools_are_allow_lists_of_the_config(
    config: str, task: str, expected: list[str]
) -> None:
    assert told_with(config, task) == expected


def test_a_default_model_is_one_of_the_default_agent() -> None:
    plan = plan_of(
        "plan: p\ngoal: g\ndefaults: {agent: claude, model: opus}\n"
        "tasks: [{id: a}, {id: b, agent: codex}, {id: c, run: x}, {id: d, agent: codex, model: m}]"
    )
    said = [(plan.setting(t, "agent"), plan.setting(t, "model")) for t in plan.tasks]
    assert said == [("claude", "opus"), ("codex", None), ("command", None), ("codex", "m")]


def test_a_variable_that_says_how_an_agent_is_run_forbids_no_other() -> None:
    config = spec.read_config(None, file="c", environ={"GITFLOW_AGENTS_CLAUDE_MODEL": "opus"})
    assert config.agents.claude.model == "opus"
    assert "codex" in config.agents.allowed


@pytest.mark.parametrize(
    ("agents", "expected"),
    [
        ("{aider: {mcp_config: mcp.json}}", "agents.aider.mcp_config: aider knows no MCP servers (remove it)"),
        ("{claude: {mcp_config: ../x}}", "agents.claude.mcp_config: `../x` climbs out with `..` (write it from the top of the repository)"),
        ("{goose: {command: goose, model: m}}", "agents.goose.model: `model` changes nothing: no argument of `command` holds `{model}` (add `{model}`, or remove `model`)"),
        ("{goose: {command: goose, brief: file}}", "agents.goose.brief: no argument of `command` holds `{brief}` (add `{brief}`, or write `brief: stdin`)"),
        ("{goose: {command: goose, says: {text: x}}}", "agents.goose.says: `says` is about JSON, and the output is text (write `output: json`, or remove it)"),
        ("{goose: {command: goose, output: json, tool: x}}", "agents.goose.tool: `tool` is about lines of text, and they are JSON (write `says: {tool: ..., arguments: ...}`)"),
        ("{goose: {command: goose, output: json, says: {tool: x}}}", "agents.goose.says: only `tool` and `arguments` together tell two uses of a tool apart (write both, or neither)"),
        ("{goose: {command: goose, tool: '('}}", "agents.goose.tool: `(` is no regular expression: missing ), unterminated subpattern at position 0 (mend it)"),
        ("{goose: {command: goose, turn: '('}}", "agents.goose.turn: `(` is no regular expression: missing ), unterminated subpattern at position 0 (mend it)"),
        ("{goose: {command: goose, colour: red}}", "agents.goose.colour: there is no key `colour`"),
    ],
)  # fmt: skip
def test_what_would_change_nothing_for_an_agent_is_refused(agents: str, expected: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        spec.read_config(f"agents: {agents}".encode(), file="c")
    (problem,) = caught.value.problems
    assert f"{problem.key}: {problem.reason} ({problem.mend})".startswith(expected)
