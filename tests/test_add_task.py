"""Tasks that are added to a plan that was started: every byte of its text stays, and it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents.commands import AddTask, Refused
from gitflow_agents.errors import FlowError, InvalidFile, Problem
from gitflow_agents.service import Service
from gitflow_agents.service.acting import Outcome
from gitflow_agents.service.service import Told
from gitflow_agents.spec import from_yaml, to_yaml, with_tasks
from gitflow_agents.spec.adding import next_id
from tests import engine
from tests.engine import PLAN
from tests.repos import Cli, Repo

TEXT = """\
# what it is for
plan: p
goal: Try it   # a goal
tasks:
  - id: "001"
    title: User model
    description: |
      Create it.

      # this is text, no comment
    run: echo a > a.txt
    provides: [User model]

  # the second
  - id: "002"
    title: Auth service
    run: cat a.txt > b.txt
    preconditions: [User model]
    provides:
      - AuthService
    # a comment of the second

# what follows
limits: {parallel: 3}
"""
PATH = f"plans/{PLAN}.yaml"


def puts(text: str, block: str, says: str) -> bool:
    """Say whether adding a block puts these lines into a text that is otherwise as it was."""
    result = with_tasks(text.encode(), block, plan=PLAN).data.decode()
    return any(result == text[:at] + says + text[at:] for at in range(len(text) + 1))


# --- the text -------------------------------------------------------------------------------------


def test_a_task_stands_behind_the_last_one_and_all_else_as_it_was() -> None:
    block = "title: Third\nrun: echo c > c.txt  # quick\n"
    before, _, after = TEXT.partition("\n# what follows")
    assert with_tasks(TEXT.encode(), block, plan=PLAN).data.decode() == (
        f'{before.removesuffix(chr(10))}\n\n  - id: "003"\n    title: Third\n'
        f"    run: echo c > c.txt  # quick\n\n# what follows{after}"
    )


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("  - {id: a, run: x}", '\n  - id: "4"\n    run: y\n'),
        ("  - {id: a,\n run: x}\n", '  - id: "4"\n    run: y\n'),
        ("  - id: a\n    run: |+\n      x\n\n", '  - id: "4"\n    run: y\n'),
        ("  - id: a\n    run: >-\n      x\n\n\n", '  - id: "4"\n    run: y\n'),
        (
            "  - id: a\n    run: x   # why\n    # and this\n  # not this\n",
            '  - id: "4"\n    run: y\n',
        ),
        ("  - id: a\n    docs:\n", '  - id: "4"\n    run: y\n'),
        ('  - id: a\n    run: "x\n\n      y"\n...\n', '  - id: "4"\n    run: y\n'),
        ("  -\n    id: a\n    run: x\ngate: [z]\n", '  - id: "4"\n    run: y\n'),
    ],
)
def test_wherever_a_list_ends_the_task_comes_behind_it(end: str, says: str) -> None:
    text = f"plan: p\ngoal: g\ntasks:\n{end}"
    assert puts(text, 'id: "4"\nrun: y\n', says)
    value = from_yaml(with_tasks(text.encode(), 'id: "4"\nrun: y', plan=PLAN).data)
    old = from_yaml(text.encode())
    assert value == {**old, "tasks": [*old["tasks"], {"id": "4", "run": "y"}]}


def test_a_list_at_the_margin_and_other_line_ends_and_a_mark_in_front_are_kept() -> None:
    text = "\ufeffplan: p\r\ngoal: g\r\ntasks:\r\n- id: t1\r\n  run: x\r\n- id: t9\r\n  run: x\r\n"
    result = with_tasks(text.encode(), "run: y\nfiles:\n  - a\n", plan=PLAN)
    assert result.data.decode() == f'{text}- id: "t10"\r\n  run: y\r\n  files:\r\n    - a\r\n'
    assert result.ids == ("t10",)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("  run: y\n  files:\n  - a\n", '  - id: "2"\n    run: y\n    files:\n    - a\n'),
        ("{run: y, files: [a]}", '  - {id: "2", run: y, files: [a]}\n'),
        ("- run: y\n- id: z\n  run: z\n", '  - id: "2"\n    run: y\n  - id: z\n    run: z\n'),
        ("   - run: y\n   - run: z\n", '  - id: "2"\n    run: y\n  - id: "3"\n    run: z\n'),
        ("# why\nrun: |\n  y\n\n  z\n", '  - id: "2"\n    run: |\n      y\n\n      z\n'),
    ],
)
def test_a_block_is_indented_as_the_list_is(block: str, says: str) -> None:
    assert puts('plan: p\ngoal: g\ntasks:\n  - id: "1"\n    run: x\n', block, says)


@pytest.mark.parametrize(
    ("ids", "following"),
    [
        (["001", "002"], "003"),
        (["1", "2", "9"], "10"),
        (["t1", "t3", "t2"], "t4"),
        (["a", "b"], "3"),
        (["db-1", "db-2", "ui-7"], "ui-8"),
        (["099"], "100"),
        (["T1", "x"], "T2"),
        (["1.1", "1.2"], "1.3"),
    ],
)
def test_a_made_up_id_is_the_next_in_the_plans_own_style(ids: list[str], following: str) -> None:
    assert next_id(ids) == following


@pytest.mark.parametrize(
    ("tasks", "why"),
    [
        ("tasks: [{id: a, run: x}]\n", "its `tasks:` are not a list with a `-`"),
        ("tasks: []\n", "its `tasks:` are not a list with a `-`"),
        ("kept: &k\n  - {id: a, run: x}\ntasks: *k\n", "its `tasks:` are not a list with a `-`"),
    ],
)
def test_a_list_of_another_style_is_left_to_an_editor(tasks: str, why: str) -> None:
    with pytest.raises(FlowError, match=why) as refused:
        with_tasks(f"plan: p\ngoal: g\n{tasks}".encode(), "run: y", plan=PLAN)
    assert refused.value.hint == "gitflow-agents edit p"


@pytest.mark.parametrize("block", ["words", "[{run: y}]", "- words\n", "[]", "3"])
def test_what_is_no_task_is_not_added(block: str) -> None:
    with pytest.raises(FlowError, match="neither a task nor a list of tasks"):
        with_tasks(TEXT.encode(), block, plan=PLAN)


@pytest.mark.parametrize("block", ["run: [y", "run: y\nrun: z\n", "", "a: *b"])
def test_what_is_no_yaml_is_refused_with_its_place(block: str) -> None:
    with pytest.raises(InvalidFile):
        with_tasks(TEXT.encode(), block, plan=PLAN)


_words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30
)
_texts = st.lists(_words, min_size=1, max_size=4).map("\n".join)
_task = st.fixed_dictionaries(
    {"run": _texts}, optional={"title": _texts, "files": st.lists(_words, max_size=3)}
)


@given(st.lists(_task, min_size=1, max_size=3), _task)
def test_whatever_a_plan_and_a_task_say_both_say_it_afterwards(
    old: list[dict[str, object]], new: dict[str, object]
) -> None:
    plan = {"plan": "p", "goal": "g", "tasks": [{"id": f"t{n}", **t} for n, t in enumerate(old)]}
    text = to_yaml({**plan, "gate": ["true"]})
    made = {"id": f"t{len(old)}", **new}
    result = with_tasks(text, to_yaml(made).decode(), plan=PLAN)
    assert from_yaml(result.data) == {
        **plan,
        "tasks": [*plan["tasks"], made],
        "gate": ["true"],
    }
    assert len(result.data) > len(text)


# --- the plan -------------------------------------------------------------------------------------


@contextmanager
def served(repo: Repo) -> Iterator[Service]:
    service = Service(str(repo.path))
    try:
        yield service
    finally:
        service.close()


def act(repo: Repo, command: AddTask, *, dry_run: bool = False) -> Outcome:
    with served(repo) as service:
        return service.handle(command, PLAN, dry_run=dry_run)


@pytest.fixture
def started(repo: Repo) -> Repo:
    """Return a repository whose plan is finished."""
    repo.git("config", "user.name", "alice")
    repo.git("config", "user.email", "alice@example.com")
    repo.write(PATH, TEXT)
    repo.commit("the plan")
    engine.finished(repo, engine.go(repo))
    return repo


STRIPE = AddTask(
    id="006",
    title="Add Stripe payment integration",
    description="Pay: with a card",
    run="cat a.txt b.txt > pay.txt",
    needs=("User model", "AuthService"),
    provides=("PaymentService", "Stripe webhooks"),
    files=("pay.txt",),
    verify=("test -s pay.txt",),
    estimated_time="15 minutes",
    priority="high",
)


def test_a_task_is_added_as_a_commit_and_the_next_run_does_it(started: Repo) -> None:
    before = started.sha("plan/p")
    outcome = act(started, STRIPE)
    commit = started.sha("plan/p")
    assert (outcome.changed, outcome.said, outcome.undo) == (
        True,
        (
            "006 is added to plan/p; the next pass, or run, takes it up",
            f"{PATH} in your checkout has it not yet: git show plan/p:{PATH}",
        ),
        f"git update-ref refs/heads/plan/p {before} {commit}",
    )
    assert started.sha("plan/p~1") == before
    assert started.log("plan/p", "%s%n%an <%ae>", "-1").split("\n") == [
        "plan p: add 006",
        "alice <alice@example.com>",
    ]
    text = started.show("plan/p", PATH)
    assert engine.read_yaml(text)["tasks"][2] == {
        "id": "006",
        "title": "Add Stripe payment integration",
        "description": "Pay: with a card",
        "preconditions": ["User model", "AuthService"],
        "run": "cat a.txt b.txt > pay.txt",
        "provides": ["PaymentService", "Stripe webhooks"],
        "files": ["pay.txt"],
        "verify": ["test -s pay.txt"],
        "priority": "high",
        "estimated_time": "15 minutes",
    }
    played = engine.go(started, PLAN)
    engine.finished(started, played)
    assert played.text("plan_accepted") == "plan p accepted as v2: added: 006"
    assert played.happened("attempt_started") == ["006"]
    assert started.path.joinpath(PATH).read_text() == TEXT


def test_the_printed_undo_takes_the_task_out_again(started: Repo) -> None:
    outcome = act(started, STRIPE)
    started.git(*outcome.undo.split()[1:])
    played = engine.go(started, PLAN)
    assert (played.code, played.happened("attempt_started")) == (0, [])
    assert engine.audit(started) == {"001": "completed", "002": "completed"}


def test_adding_the_same_again_adds_nothing(started: Repo) -> None:
    act(started, STRIPE)
    act(started, AddTask(title="One more", run="true"))
    before = engine.refs(started)
    said = [act(started, again).said for again in (STRIPE, AddTask(title="One more", run="true"))]
    assert said == [("plan p has that already, as 006",), ("plan p has that already, as 007",)]
    assert engine.refs(started) == before


def errors(refused: InvalidFile) -> list[Problem]:
    return [problem for problem in refused.problems if not problem.is_warning]


def test_a_rehearsal_adds_nothing_and_finds_the_same_mistakes(started: Repo) -> None:
    before = engine.refs(started)
    outcome = act(started, STRIPE, dry_run=True)
    assert (outcome.changed, outcome.said[0]) == (
        False,
        "006 is added to plan/p; the next pass, or run, takes it up",
    )
    wrong = AddTask(title="x", run="y", needs=("user model",))
    with pytest.raises(InvalidFile) as refused:
        act(started, wrong, dry_run=True)
    assert errors(refused.value)[0].reason.startswith("`user model` is needed by 003; 001 provides")
    with pytest.raises(InvalidFile):
        act(started, wrong)
    with pytest.raises(InvalidFile) as refused:
        act(started, AddTask(id="002", title="another", run="y"))
    assert errors(refused.value)[0].key == "tasks[2].id"
    assert engine.refs(started) == before


@pytest.mark.slow
def test_a_run_that_goes_on_takes_it_up_and_leaves_the_rest_alone(
    repo: Repo, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    wait = engine.until(f"[ -e {gone} ]")
    repo.write(PATH, TEXT.replace("echo a > a.txt", f"{wait}echo a > a.txt"))
    repo.commit("the plan")

    def deed(told: Told) -> None:
        if told.event == "attempt_started" and told.data["task"] == "001":
            act(repo, AddTask(title="Beside", run=f"touch {gone}; echo c > c.txt"))

    played = engine.go(repo, on_event=deed)
    engine.finished(repo, played)
    assert played.happened("attempt_started") == ["001", "003", "002"]
    assert [a["number"] for a in engine.record(repo, "001")["attempts"]] == [1]


def test_a_plan_branch_that_is_gone_is_made_again_from_what_was_accepted(started: Repo) -> None:
    started.git("branch", "-D", "plan/p")
    assert act(started, STRIPE).undo == "edit p"
    assert engine.go(started, PLAN).happened("attempt_started") == ["006"]


def test_a_task_is_read_from_a_file_or_from_standard_input(started: Repo, cli: Cli) -> None:
    block = "title: Fourth   # why\nrun: echo d > d.txt\n"
    started.write("task.yaml", block)
    assert cli("add-task", PLAN, "--file", "-", stdin=block, check=False).exit_code == 0
    assert '  - id: "003"\n    title: Fourth   # why\n' in started.show("plan/p", PATH)
    file = str(started.path / "task.yaml")
    again = cli("add-task", PATH, "--file", file, "--json").json
    assert again == {
        "schema": 1,
        "verb": "add-task",
        "plan": "p",
        "changed": False,
        "dry_run": False,
        "said": ["plan p has that already, as 003"],
        "undo": "",
        "done": True,
    }


def test_the_other_spellings_of_options_mean_the_same(started: Repo, cli: Cli) -> None:
    words = ["--title", "Fourth", "--prompt", "Do it", "--run", "true", "-w", "sub"]
    assert cli("add-task", *words, "--verify", "true", "--verify", "test 1").stdout.startswith(
        "003 is added to plan/p; the next pass, or run, takes it up\n"
    )
    assert engine.read_yaml(started.show("plan/p", PATH))["tasks"][2] == {
        "id": "003",
        "title": "Fourth",
        "description": "Do it",
        "run": "true",
        "verify": ["true", "test 1"],
        "working_directory": "sub",
    }


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (AddTask(), "missing-argument", "add-task needs a task: --file, or --title and --run"),
        (
            AddTask(text="run: x", title="y"),
            "bad-value",
            "--file says all of the task, so no other option can",
        ),
        (
            AddTask(title="y", targets=("001",)),
            "bad-value",
            "add-task takes a plan and no task",
        ),
    ],
)
def test_an_empty_or_a_double_task_is_refused(
    started: Repo, command: AddTask, code: str, message: str
) -> None:
    with pytest.raises(Refused) as refused:
        act(started, command)
    assert (refused.value.reason_code, refused.value.message) == (code, message)


def test_a_task_that_nobody_could_start_is_refused_before_it_is_committed(
    repo: Repo, cli: Cli
) -> None:
    text = 'plan: p\ngoal: try\ntasks:\n  - id: "1"\n    run: echo 1 > a.txt\n'
    repo.write("plans/p.yaml", text)
    engine.go(repo)
    before = engine.refs(repo)
    result = cli("add-task", "p", "--title", "Idle", check=False)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: nobody can start 2: no `run` says what to do\nhint: ")
    assert engine.refs(repo) == before
