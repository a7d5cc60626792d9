"""A role narrows what its agent may do, and a result that goes beyond it never reaches flow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from gitflow_agents import roles
from gitflow_agents.graph import covers
from gitflow_agents.models import Duration, Plan
from gitflow_agents.roles import KINDS, Role, Touched, effective, kind
from gitflow_agents.service.briefing import Roles
from tests import engine
from tests.engine import task
from tests.repos import Cli, Repo

How = Literal["adds", "edits", "deletes"]
ROLES = Roles({})
STAGES = {"architect", "implement", "test", "review", "fix", "refactor", "document"}
CREW = {"builder", "guardian", "surgeon", "shipper", "brain", "lina", "genie"}


@dataclass(frozen=True)
class Deed:
    """What an agent does: paths that it adds, edits, deletes, and the tool that it needs for it."""

    adds: tuple[str, ...] = ()
    edits: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """What the task names as its files."""
    tool: str = "read"

    @property
    def touched(self) -> list[Touched]:
        hows: tuple[How, ...] = ("adds", "edits", "deletes")
        return [Touched(path, how) for how in hows for path in getattr(self, how)]


DEEDS: Mapping[str, Deed] = {
    "architect": Deed(adds=("docs/adr/0007-queue.md",)),
    "implement": Deed(adds=("src/queue.py",), files=("src/",)),
    "test": Deed(deletes=("tests/test_old.py",)),
    "review": Deed(tool="bash"),
    "fix": Deed(
        edits=("src/queue.py", "tests/test_queue.py"),
        deletes=("src/old.py",),
        files=("src/queue.py",),
    ),
    "refactor": Deed(edits=("src/queue.py",), deletes=("src/old.py",), files=("src/queue.py",)),
    "document": Deed(edits=("README.md",)),
    "builder": Deed(
        edits=("src/queue.py", "tests/test_queue.py"),
        adds=tuple(f"src/part{n}.py" for n in range(12)),
        files=("src/queue.py",),
    ),
    "guardian": Deed(edits=("ruff.toml",)),
    "surgeon": Deed(edits=("vendor/lib/list.c",)),
    "shipper": Deed(edits=("deploy/prod.yaml",)),
    "brain": Deed(adds=("knowledge/queues.md",)),
    "lina": Deed(tool="mcp:linear"),
    "genie": Deed(adds=("plans/next.yaml",)),
}
"""For each role what it permits, and no other role does."""


def permits(name: str, deed: Deed) -> bool:
    """Say whether a role lets a result be merged."""
    role, touched = ROLES[name], deed.touched
    if role.tools is not None and deed.tool not in role.tools:
        return False
    if not touched:
        return role.may_change == ()
    if role.scope == "strict" and deed.files:
        paths = [one.path for one in touched]
        if not all(any(covers(entry, path) for entry in deed.files) for path in paths):
            return False
    return not roles.refusal(name, role, touched)


def test_the_seven_kinds_of_work_and_the_seven_of_the_team_come_with_the_package() -> None:
    assert ROLES.keys() == STAGES | CREW
    assert DEEDS.keys() == ROLES.keys()


@pytest.mark.parametrize("name", DEEDS)
def test_each_role_permits_one_thing_that_no_other_role_does(name: str) -> None:
    assert [other for other in ROLES if permits(other, DEEDS[name])] == [name]


@pytest.mark.parametrize("name", sorted(ROLES))
def test_each_packaged_role_says_what_it_is_for_and_how_long_it_may_take(name: str) -> None:
    role = ROLES[name]
    assert role.description
    assert role.prompt.endswith(".\n")
    assert role.tools
    assert role.timeout is not None


@pytest.mark.parametrize(
    ("path", "of"),
    [
        ("src/app.py", "code"),
        ("Makefile", "code"),
        ("tests/data.json", "tests"),
        ("pkg/test_a.py", "tests"),
        ("web/a.test.ts", "tests"),
        ("README.md", "docs"),
        ("docs/guide.html", "docs"),
        ("docs/adr/1.md", "decisions"),
        ("docs/knowledge/a.md", "knowledge"),
        ("plans/next.yaml", "plans"),
        ("src/plans/a.py", "code"),
        ("lib/vendor/x.c", "vendored"),
        ("deploy/README.md", "release"),
        ("src/deploy/a.py", "code"),
        ("pkg/.eslintrc.json", "quality"),
    ],
)
def test_every_path_is_of_one_kind(path: str, of: str) -> None:
    assert kind(path) == of
    assert of in {*KINDS, roles.CODE}


@pytest.mark.parametrize(
    ("about", "deed", "said"),
    [
        ({"may_change": []}, Deed(edits=("a",)), "may change nothing, and it changed a"),
        ({"may_change": ["src/"]}, Deed(adds=("b",)), "may change `src/`, and it changed b"),
        ({"may_change": ["src/", "docs"]}, Deed(adds=("src/b", "c.md")), ""),
        ({"must_change": "tests"}, Deed(adds=("b",)), "has to change tests, and it did not"),
        ({"adds": "never"}, Deed(adds=("b",)), "may not add files, and it did: b"),
        ({"adds": "must"}, Deed(edits=("b",)), "has to add files, and it did not"),
        (
            {"edits": "never"},
            Deed(edits=("b",)),
            "may not change files that are there, and it did: b",
        ),
        ({"deletes": "never"}, Deed(deletes=("b",)), "may not delete files, and it did: b"),
        ({"most_files": 1}, Deed(adds=("b", "c")), "may change 1 files, and it changed 2"),
        ({"must_change": "tests", "adds": "must"}, Deed(), ""),
    ],
)
def test_a_result_beyond_its_role_is_told_in_a_sentence(
    about: dict[str, Any], deed: Deed, said: str
) -> None:
    role = Role.model_validate({"description": "d", **about})
    assert roles.refusal("x", role, deed.touched) == (said and f"the role x {said}")


def test_a_role_only_narrows_its_task() -> None:
    role = Role.model_validate({"description": "d", "timeout": "20m", "scope": "strict"})
    value = {"plan": "p", "goal": "g", "tasks": [{"id": "1", "timeout": "5m"}, {"id": "2"}]}
    plan = Plan.model_validate(value)
    short, long = (effective(plan, each, role) for each in plan.tasks)
    assert (short.timeout, long.timeout) == (Duration("5m"), Duration("20m"))
    assert (short.scope, short.kind) == ("strict", "change")
    assert roles.tools(("read", "bash"), ("bash", "web")) == ("bash",)
    assert roles.tools(None, ("bash",)) == ("bash",)
    assert roles.tools(("bash",), None) == ("bash",)


# --- in a repository ------------------------------------------------------------------------------

FIND = "printf 'summary: it holds\\n' > $GITFLOW_REPORT"


def own(repo: Repo, name: str, text: str) -> None:
    """Commit a role of the repository's own."""
    path = f".github/gitflow-agents/roles/{name}.yaml"
    repo.write(path, text)
    repo.git("add", path)
    repo.git("commit", "--quiet", "--message", f"role {name}")


def test_a_review_changes_nothing_and_is_done_by_what_it_found(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", FIND, role="review", provides=["judged"]),
        task("2", f"echo x > a; {FIND}", role="review"),
        task("3", 'grep "it holds" $GITFLOW_BRIEF > b', preconditions=["judged"]),
    )
    played = engine.go(repo)
    assert played.code == 4
    record = engine.record(repo, "1")
    assert (record["status"], record["summary"]) == ("completed", "it holds")
    failed = engine.record(repo, "2")
    assert (failed["reason"], failed["message"]) == (
        "path-violation",
        "the role review may change nothing, and it changed a",
    )
    assert engine.record(repo, "3")["status"] == "completed"
    assert "a" not in repo.tree("flow/p")


def test_a_role_of_the_repository_counts_as_the_packaged_ones_do(repo: Repo, cli: Cli) -> None:
    own(repo, "shouter", "description: Shouts\nprompt: |\n  Shout it.\nmay_change: [loud.txt]\n")
    own(repo, "document", "description: Ours\nmay_change: [manual/]\n")
    engine.plan(
        repo,
        task("1", "echo A > loud.txt; cp $GITFLOW_BRIEF brief.md; rm brief.md", role="shouter"),
        task("2", "echo b > README.md", role="document"),
    )
    played = engine.go(repo)
    assert played.code == 4
    assert engine.record(repo, "1")["status"] == "completed"
    assert engine.record(repo, "2")["reason"] == "path-violation"
    said = cli("brief", "1").stdout
    assert (
        "## Your role: `shouter`\n\nShout it.\n\n"
        "It is held against your result, whatever your task says:\n\n"
        "- it may change `loud.txt`\n"
    ) in said
    listed = json.loads(cli("roles", "--json").stdout)["roles"]
    assert [each["name"] for each in listed] == sorted(STAGES | CREW | {"shouter"})
    sources = {each["name"]: each["source"] for each in listed}
    assert sources["document"] == ".github/gitflow-agents/roles/document.yaml"
    assert sources["review"] == "packaged"
    shown = cli("roles").stdout
    assert "document (.github/gitflow-agents/roles/document.yaml)\n  Ours\n  - it may" in shown


def test_a_role_on_any_other_branch_is_nobodys(repo: Repo, cli: Cli) -> None:
    repo.git("switch", "--quiet", "--create", "other")
    own(repo, "shouter", "description: Shouts\n")
    repo.git("switch", "--quiet", "main")
    engine.plan(repo, task("1", "echo A > a", role="shouter"))
    refused = cli("validate", engine.FILE, check=False)
    assert refused.exit_code == 1
    assert "tasks[0].role: there is no role `shouter`" in refused.stdout + refused.stderr


def test_an_unknown_role_is_told_with_the_nearest_name(repo: Repo, cli: Cli) -> None:
    engine.plan(repo, task("1", "true", role="reveiw"), defaults={"role": "fixx"})
    refused = cli("validate", engine.FILE, check=False)
    said = refused.stdout + refused.stderr
    assert "defaults.role: there is no role `fixx` (did you mean `fix`?)" in said
    assert "tasks[0].role: there is no role `reveiw` (did you mean `review`?)" in said


def test_a_broken_role_stops_a_run_before_anything_is_claimed(repo: Repo, cli: Cli) -> None:
    own(repo, "odd", "description: d\ntools: [hammer]\nmay_chnge: []\n")
    engine.plan(repo, task("1", "echo a > a"))
    for args in (["run", engine.FILE], ["validate", engine.FILE]):
        said = cli(*args, check=False)
        assert said.exit_code == 1
        path = ".github/gitflow-agents/roles/odd.yaml"
        assert f"{path}:2:9: error: tools[0]: `hammer` is not a tool" in said.stderr + said.stdout
        assert (
            f"{path}:3:1: error: may_chnge: there is no key `may_chnge`"
            in said.stderr + said.stdout
        )
    assert repo.git("branch", "--list", "flow/*") == ""
    assert "odd.yaml has 2 errors" in cli("doctor", check=False).stdout


def test_a_role_that_is_gone_stops_the_next_run(repo: Repo) -> None:
    own(repo, "shouter", "description: Shouts\n")
    engine.plan(repo, task("1", "exit 1", role="shouter"))
    assert engine.go(repo).code == 4
    repo.git("rm", "--quiet", ".github/gitflow-agents/roles/shouter.yaml")
    repo.git("commit", "--quiet", "--message", "no shouting")
    with pytest.raises(Exception, match="there is no role shouter, which 1 has"):
        engine.go(repo, "p")


def test_a_command_is_told_its_role_and_its_tools(repo: Repo) -> None:
    said = 'echo "$GITFLOW_ROLE: $GITFLOW_TOOLS" > knowledge/a'
    engine.plan(repo, task("1", f"mkdir knowledge; {said}", role="brain"))
    assert engine.go(repo).code == 0
    assert repo.git("show", "flow/p:knowledge/a") == "brain: read edit write"
