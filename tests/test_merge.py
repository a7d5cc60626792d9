"""What may come onto flow: refusals, our own copies of commits, and which results fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents import merge
from gitflow_agents.merge import (
    Coupled,
    Refused,
    TooManyCommits,
    Waiting,
    couple,
    is_protected,
    outside_files,
    quoted,
    recreate,
    refusal,
    strip,
    without,
)
from gitflow_agents.models import Car, Config, ConfigLimits, Plan, Reason
from gitflow_agents.roles import matches
from gitflow_agents.store import Entry, Repository
from gitflow_agents.store.repository import EMPTY_TREE, FILE, SUBMODULE, SYMLINK
from tests.repos import Repo


@pytest.fixture
def store(repo: Repo) -> Iterator[Repository]:
    """Return the test's repository as the tool sees it."""
    made = Repository(repo.path)
    yield made
    made.close()


def plan_of(task: Mapping[str, Any] | None = None, **keys: Any) -> Plan:
    return Plan.model_validate(
        {"plan": "demo", "goal": "Try it", "tasks": [{"id": "1", **(task or {})}], **keys}
    )


def tree(store: Repository, **files: str) -> str:
    """Return a tree of these files; `__` in a name stands for a slash, `_` at its start for a dot."""
    named = {
        ("." + name[1:] if name.startswith("_") else name).replace("__", "/"): text
        for name, text in files.items()
    }
    edits: dict[str, Entry | None] = {
        name: Entry(FILE, store.write_blob(text.encode())) for name, text in named.items()
    }
    return store.graft(EMPTY_TREE, edits)


def commit(store: Repository, subject: str, *parents: str, **files: str) -> str:
    return store.write_commit(tree(store, **files), parents, subject)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "entry", "expected"),
    [
        ("AGENTS.md", "AGENTS.md", True),
        ("docs/deep/agents.MD", "AGENTS.md", True),
        ("AGENTS.md.txt", "AGENTS.md", False),
        (".github/workflows/ci.yml", ".github/", True),
        ("sub/.github/x", ".github/", True),
        ("github/x", ".github/", False),
        (".aider.conf.yml", ".aider*", True),
        ("deploy/prod.yaml", "deploy/*.yaml", True),
        ("deploy/eu/prod.yaml", "deploy/", True),
        ("src/deploy/x", "/deploy/x", False),
        ("deploy/x", "/deploy/x", True),
        ("deploy/x/y", "deploy/x", True),
        ("deploy/xy", "deploy/x", False),
        ("deploy/x", "./deploy/x", True),
    ],
)
def test_an_entry_names_a_file_a_folder_or_a_pattern(path: str, entry: str, expected: bool) -> None:
    assert matches(path, entry) is expected


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".github/dependabot.yml",
        ".GitHub/x",
        ".gitflow/task.yaml",
        ".gitflow-agents.yml",
        ".claude/settings.json",
        "pkg/CLAUDE.md",
        ".mcp.json",
        "secrets/key.pem",
        "infra/main.tf",
        "plans/demo.yaml",
        "plans/demo.report.md",
        "plans/demo.provides.yaml",
    ],
)
def test_what_steers_agents_or_the_plan_is_protected(path: str) -> None:
    plan = plan_of(protected_paths=["infra/"])
    assert is_protected(path, plan, Config(protected_paths=("secrets/",)))


@pytest.mark.parametrize("path", ["src/x.py", "plans/other.yaml", "gitflow/x", "docs/agents.txt"])
def test_everything_else_is_not(path: str) -> None:
    assert not is_protected(path, plan_of(), Config())


def test_a_config_may_allow_what_we_protect_but_never_the_briefing() -> None:
    config = Config(protected_paths=("!.github/dependabot.yml", "!.gitflow/", "!plans/demo.yaml"))
    assert not is_protected(".github/dependabot.yml", plan_of(), config)
    assert is_protected(".github/workflows/ci.yml", plan_of(), config)
    assert is_protected(".gitflow/task.yaml", plan_of(), config)


def test_a_plan_cannot_allow_what_is_protected() -> None:
    plan = plan_of(protected_paths=["!.github/dependabot.yml"])
    assert is_protected(".github/dependabot.yml", plan, Config())


def refused(
    store: Repository,
    before: str,
    after: str,
    plan: Plan | None = None,
    config: Config | None = None,
) -> Refused | None:
    plan = plan or plan_of()
    changes = list(store.diff(before, after))
    return refusal(store, changes, plan, plan.tasks[0], config or Config())


def test_an_ordinary_change_is_not_refused(store: Repository) -> None:
    assert refused(store, EMPTY_TREE, tree(store, src__a="1", README="2")) is None


def test_a_workflow_is_told_apart_from_other_protected_paths(store: Repository) -> None:
    workflow = tree(store, _github__workflows__ci="on: push", a="1")
    assert refused(store, EMPTY_TREE, workflow) == Refused(
        Reason.NEEDS_WORKFLOW_PERMISSION,
        "the result changes what a task may not: .github/workflows/ci",
    )
    assert refused(store, EMPTY_TREE, tree(store, _claude__x="1", _github__y="2")) == Refused(
        Reason.PROTECTED_PATH, "the result changes what a task may not: .claude/x, .github/y"
    )


def test_taking_a_protected_file_away_is_refused_too(store: Repository) -> None:
    answer = refused(store, tree(store, _github__x="1"), EMPTY_TREE)
    assert answer is not None
    assert answer.reason is Reason.PROTECTED_PATH


@pytest.mark.parametrize(
    ("path", "target", "leaves"),
    [
        ("a", "b", False),
        ("dir/a", "../b", False),
        ("dir/a", "../../b", True),
        ("a", "..", True),
        ("a", "/etc/passwd", True),
        ("a", "dir/../../b", True),
        ("a", ".git/config", True),
        ("dir/a", "../.git", True),
        ("a", "C:/x", True),
        ("a", ".gitignore", False),
    ],
)
def test_a_symlink_that_leaves_the_repository_is_refused(
    store: Repository, path: str, target: str, leaves: bool
) -> None:
    link = Entry(SYMLINK, store.write_blob(target.encode()))
    answer = refused(store, EMPTY_TREE, store.graft(EMPTY_TREE, {path: link}))
    expected = f"the symlink {path} leaves the repository: {target!r}"
    assert answer == (Refused(Reason.PATH_VIOLATION, expected) if leaves else None)


def test_a_submodule_is_refused_unless_it_stays_as_it_is(store: Repository) -> None:
    one, two = Entry(SUBMODULE, "1" * 40), Entry(SUBMODULE, "2" * 40)
    with_one = store.graft(EMPTY_TREE, {"lib": one})
    for before, after in (
        (EMPTY_TREE, with_one),
        (with_one, store.graft(EMPTY_TREE, {"lib": two})),
    ):
        assert refused(store, before, after) == Refused(
            Reason.PATH_VIOLATION, "the result adds or moves a submodule: lib"
        )
    assert refused(store, with_one, EMPTY_TREE) is None
    assert (
        refused(store, with_one, store.graft(with_one, {"a": Entry(FILE, store.write_blob(b""))}))
        is None
    )


def test_too_many_files_or_bytes_are_refused(store: Repository) -> None:
    three = tree(store, a="x" * 10, b="y" * 10, c="z" * 10)
    files = Config(limits=ConfigLimits(changed_files=2))
    assert refused(store, EMPTY_TREE, three, config=files) == Refused(
        Reason.TOO_LARGE, "3 files changed, 2 are allowed"
    )
    size = Config(limits=ConfigLimits(changed_bytes=29))
    assert refused(store, EMPTY_TREE, three, config=size) == Refused(
        Reason.TOO_LARGE, "the changed files hold more than 29 bytes"
    )
    enough = Config(limits=ConfigLimits(changed_files=3, changed_bytes=30))
    assert refused(store, EMPTY_TREE, three, config=enough) is None
    assert refused(store, three, EMPTY_TREE, config=size) is None  # what goes away has no size


def test_a_change_outside_the_tasks_files_is_refused_where_the_scope_is_strict(
    store: Repository,
) -> None:
    after = tree(store, src__a="1", docs__b="2")
    task = {"files": ["src/"]}
    assert refused(store, EMPTY_TREE, after, plan_of(task)) is None
    assert refused(store, EMPTY_TREE, after, plan_of({**task, "scope": "strict"})) == Refused(
        Reason.PATH_VIOLATION, "the task's files do not name what changed: docs/b"
    )


@pytest.mark.parametrize(
    ("task", "outside"),
    [
        ({}, []),
        ({"files": ["src"]}, ["docs/b", "srcs"]),
        ({"files": ["src/*.py", "docs/"]}, ["src/a", "srcs"]),
        ({"files": ["."]}, []),
        ({"files": ["./src/"]}, ["docs/b", "srcs"]),
        ({"working_directory": "docs"}, ["src/a", "src/a.py", "srcs"]),
        ({"working_directory": "docs", "files": ["src/"]}, ["docs/b", "srcs"]),
    ],
)
def test_a_tasks_files_or_else_its_working_directory_say_what_is_inside(
    task: Mapping[str, Any], outside: list[str]
) -> None:
    plan = plan_of(task)
    paths = ["src/a", "src/a.py", "docs/b", "srcs"]
    assert outside_files(paths, plan, plan.tasks[0]) == outside


# --- our copies of an agent's commits -------------------------------------------------------------

WHO = "command <command@agent.gitflow-agents.localhost>"


def copied(store: Repository, repo: Repo, claim: str, tip: str, tree: str) -> list[list[str]]:
    """Return subject, author and committer of each commit that `recreate` makes, newest first."""
    last = recreate(store, claim, tip, tree, "1: the task", WHO)
    shown = repo.log(f"{claim}..{last}", "%s|%an <%ae> %ad|%cn|%T", "--date=raw")
    assert repo.git("rev-parse", f"{last}^{{tree}}") == tree
    return [line.split("|")[:3] for line in shown.splitlines()]


def test_an_agent_that_commits_nothing_gets_one_commit(store: Repository, repo: Repo) -> None:
    claim = commit(store, "claim 1", README="1")
    after = tree(store, README="2")
    (made,) = copied(store, repo, claim, claim, after)
    assert (made[0], made[1].split(">")[0] + ">", made[2]) == ("1: the task", WHO, "gitflow-agents")
    assert copied(store, repo, claim, claim, tree(store, README="1")) == []


def test_an_agents_commits_keep_order_author_time_and_message(
    store: Repository, repo: Repo
) -> None:
    repo.git("switch", "--quiet", "--detach")
    claim = repo.sha("HEAD")
    for n in (1, 2):
        repo.write("a", str(n))
        repo.git("add", "a")
        repo.git("commit", "-q", "-m", f"step {n}", "--date", f"@170000000{n} +0230")
    tip = repo.sha("HEAD")
    made = copied(store, repo, claim, tip, repo.git("rev-parse", "HEAD^{tree}"))
    assert made == [
        [f"step {n}", f"alice <alice@example.com> 170000000{n} +0230", "gitflow-agents"]
        for n in (2, 1)
    ]


def test_what_the_agent_left_uncommitted_is_one_commit_more(store: Repository, repo: Repo) -> None:
    claim = commit(store, "claim 1", README="1")
    tip = commit(store, "half", claim, README="2")
    made = copied(store, repo, claim, tip, tree(store, README="3"))
    assert [row[0] for row in made] == ["1: the task", "half"]


def test_an_agents_merges_keep_their_shape(store: Repository, repo: Repo) -> None:
    claim = commit(store, "claim 1", README="1")
    left = commit(store, "left", claim, README="1", a="1")
    right = commit(store, "right", claim, README="1", b="1")
    tip = commit(store, "both", left, right, README="1", a="1", b="1")
    last = recreate(store, claim, tip, store.commit(tip).tree, "1: the task", WHO)
    assert repo.log(last, "%s").splitlines()[0] == "both"
    assert repo.git("rev-list", "--count", "--merges", f"{claim}..{last}") == "1"
    assert repo.git("rev-list", "--count", f"{claim}..{last}") == "3"


def test_a_result_that_does_not_build_on_the_claim_is_refused(store: Repository) -> None:
    claim = commit(store, "claim 1", README="1")
    elsewhere = commit(store, "another root", README="2")
    with pytest.raises(ValueError, match="does not build on the claim"):
        recreate(store, claim, elsewhere, store.commit(elsewhere).tree, "1", WHO)


def test_more_commits_than_anybody_would_look_at_are_refused(
    store: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "MOST_COMMITS", 2)
    claim = tip = commit(store, "claim 1", README="1")
    for n in range(3):
        tip = commit(store, f"{n}", tip, README=f"{n}")
    with pytest.raises(TooManyCommits, match="the result has 3 commits, 2 are allowed"):
        recreate(store, claim, tip, store.commit(tip).tree, "1", WHO)


def test_forged_trailers_are_quoted(store: Repository, repo: Repo) -> None:
    claim = commit(store, "claim 1", README="1")
    forged = "done\n\nGitflow-Event: task_merged\n gitflow-Task: 1\nSigned-off-by: x\n"
    tip = store.write_commit(tree(store, README="2"), [claim], forged)
    last = recreate(store, claim, tip, store.commit(tip).tree, "1: the task", WHO)
    assert repo.log(last, "%B", "-1") == (
        "done\n\n> Gitflow-Event: task_merged\n > gitflow-Task: 1\nSigned-off-by: x\n"
    )


@given(st.text() | st.from_regex(r"(?i)(\s*gitflow-[a-z]+: .*\n)+"))
def test_no_line_of_a_quoted_message_can_be_one_of_our_trailers(message: str) -> None:
    for line in quoted(message).split("\n"):  # a line as git sees it
        assert not line.strip().lower().startswith("gitflow-")


def test_what_was_only_lent_is_taken_out_of_a_result_whoever_committed_it(
    store: Repository,
) -> None:
    claim = commit(store, "claim 1", README="1", own="of the user")
    lent = (".env", "conf/", "./own")
    worked = tree(store, README="2", own="of the user")
    staged = tree(store, README="2", own="changed", _env="1", conf__x="1")
    assert without(store, claim, claim, staged, lent) == (claim, worked)
    clean = commit(store, "clean", claim, README="2", own="of the user")
    assert without(store, claim, clean, staged, lent) == (clean, worked)
    dirty = commit(store, "dirty", claim, README="1", own="of the user", _env="1")
    after = store.write_commit(worked, [dirty], "taken out again")
    assert without(store, claim, after, worked, lent) == (claim, worked)
    assert without(store, claim, dirty, staged, ()) == (dirty, staged)


# --- the briefing ---------------------------------------------------------------------------------


def test_the_briefing_never_reaches_flow_and_the_bases_own_stays(store: Repository) -> None:
    base = tree(store, README="1", _gitflow__own="of the user")
    work = tree(store, README="2", _gitflow__task="x", _gitflow__own="changed")
    assert strip(store, work, base) == tree(store, README="2", _gitflow__own="of the user")
    assert strip(store, work, tree(store, README="1")) == tree(store, README="2")


# --- trains ---------------------------------------------------------------------------------------


def waiting(store: Repository, task: str, base: str, **files: str) -> Waiting:
    """Return a result cut from `base`: the base's own files with these over them, and a briefing."""
    claim = store.write_commit(
        store.graft(
            store.commit(base).tree,
            {".gitflow/task.yaml": Entry(FILE, store.write_blob(task.encode()))},
        ),
        [base],
        f"claim {task}",
    )
    edits: dict[str, Entry | None] = {
        name: Entry(FILE, store.write_blob(text.encode())) for name, text in files.items()
    }
    tip = store.write_commit(store.graft(store.commit(claim).tree, edits), [claim], task)
    return Waiting(task, tip, base, f"merge {task}")


def test_cars_are_merged_on_each_other_in_order(store: Repository, repo: Repo) -> None:
    flow = commit(store, "flow", README="1")
    one, two = waiting(store, "1", flow, a="1"), waiting(store, "2", flow, b="2")
    coupled = couple(store, flow, [one, two])
    assert repo.log(coupled.tip, "%s", "--first-parent") == "merge 2\nmerge 1\nflow"
    first, second = coupled.cars
    assert (first.task, first.tip, first.merge) == ("1", one.tip, repo.sha(f"{coupled.tip}^"))
    assert (second.task, second.tip, second.merge) == ("2", two.tip, coupled.tip)
    assert repo.sha(f"{first.merge}^2") == one.tip
    assert repo.tree(coupled.tip) == ["README", "a", "b"]
    assert (coupled.waiting, coupled.conflicts) == ((), {})


def test_nothing_to_couple_is_flow_itself(store: Repository) -> None:
    flow = commit(store, "flow", README="1")
    assert couple(store, flow, []) == Coupled((), (), {}, flow)


def test_what_conflicts_with_a_car_ahead_waits_and_the_next_one_still_fits(
    store: Repository, repo: Repo
) -> None:
    flow = commit(store, "flow", README="1\n")
    cars = [
        waiting(store, "1", flow, README="one\n"),
        waiting(store, "2", flow, README="two\n"),
        waiting(store, "3", flow, c="3"),
    ]
    coupled = couple(store, flow, cars)
    assert [car.task for car in coupled.cars] == ["1", "3"]
    assert (coupled.waiting, coupled.conflicts) == (("2",), {})
    assert repo.show(coupled.tip, "README") == "one\n"


def test_what_conflicts_with_flow_itself_is_a_conflict_wherever_it_stands(
    store: Repository,
) -> None:
    old = commit(store, "flow", README="1\n", other="1\n")
    flow = commit(store, "flow moved", old, README="2\n", other="1\n")
    late = waiting(store, "1", old, README="one\n")
    fits = waiting(store, "2", old, other="two\n")
    for cars in ([late, fits], [fits, late]):
        coupled = couple(store, flow, cars)
        assert [car.task for car in coupled.cars] == ["2"]
        assert (coupled.waiting, coupled.conflicts) == ((), {"1": ("README",)})


def test_a_file_where_the_other_made_a_folder_is_a_conflict(store: Repository) -> None:
    old = commit(store, "flow", README="1")
    flow = commit(store, "flow moved", old, README="1", docs__x="1")
    coupled = couple(store, flow, [waiting(store, "1", old, docs="a file")])
    assert coupled.cars == ()
    assert list(coupled.conflicts) == ["1"]


def test_briefings_are_never_in_conflict(store: Repository, repo: Repo) -> None:
    # Both add .gitflow/task.yaml with different text, and flow has a file of that name of its own.
    flow = commit(store, "flow", README="1", _gitflow__own="of the user")
    coupled = couple(
        store, flow, [waiting(store, "1", flow, a="1"), waiting(store, "2", flow, b="1")]
    )
    assert [car.task for car in coupled.cars] == ["1", "2"]
    assert repo.tree(coupled.tip) == [".gitflow/own", "README", "a", "b"]


def test_a_result_without_any_change_is_merged_with_flows_own_tree(
    store: Repository, repo: Repo
) -> None:
    old = commit(store, "flow", README="1")
    flow = commit(store, "flow moved", old, README="2", more="1")
    for base in (old, flow):
        coupled = couple(store, flow, [waiting(store, "1", base)])
        assert [car.task for car in coupled.cars] == ["1"]
        assert repo.git("rev-parse", f"{coupled.tip}^{{tree}}", f"{flow}^{{tree}}").split()[0] == (
            repo.git("rev-parse", f"{flow}^{{tree}}")
        )


def test_a_change_that_is_on_flow_already_is_merged_without_a_conflict(store: Repository) -> None:
    old = commit(store, "flow", README="1\n")
    flow = commit(store, "flow moved", old, README="2\n")
    coupled = couple(store, flow, [waiting(store, "1", old, README="2\n")])
    assert coupled.cars == (Car(task="1", tip=coupled.cars[0].tip, merge=coupled.tip),)
    assert store.commit(coupled.tip).tree == store.commit(flow).tree


def test_a_rename_and_an_edit_of_the_same_file_merge(store: Repository, repo: Repo) -> None:
    text = "".join(f"line {n}\n" for n in range(30))
    old = commit(store, "flow", name=text)
    flow = store.write_commit(tree(store, renamed=text), [old], "flow renamed it")
    coupled = couple(store, flow, [waiting(store, "1", old, name=text + "one more\n")])
    assert coupled.conflicts == {}
    assert repo.tree(coupled.tip) == ["renamed"]
    assert repo.show(coupled.tip, "renamed") == text + "one more\n"
