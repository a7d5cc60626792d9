"""The workflow files that are shipped, and those that `init` writes, before any of them runs."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest

from gitflow_agents.service import setup
from tests.forge import Actions, Hub, Token, checks, counts, expressions
from tests.forge.expressions import load
from tests.repos import Cli, Repo

ROOT = Path(__file__).parent.parent
SHIPPED = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PASS = load((ROOT / ".github/workflows/reconcile.yml").read_text())
ACTION = ROOT / "action.yml"
UPDATES = ROOT / ".github" / "dependabot.yml"
OURS = "gitflow-agents/gitflow-agents"

# The job of an agent gets the keys of models, those that write a token of their own, that of a pass
# the address for alerts; the files that call them hand them over.
MAY_READ_SECRETS = frozenset(
    {
        "task.yml execute",
        "task.yml publish",
        "gitflow-task.yml task",
        "reconcile.yml reconcile",
        "reconcile.yml sync",
        "command.yml sync",
        "train.yml sync",
        "sync.yml sync",
        "gitflow.yml reconcile",
        "train.yml then",
        "gitflow-train.yml train",
        "command.yml command",
        "command.yml stopped",
        "reconcile.yml stopped",
        "gitflow-commands.yml command",
        "approval.yml then",
        "gitflow-approval.yml approval",
    }
)

# zizmor's rules that are about something else here: a job's name is its id, and the local action is
# a checkout of another repository than the one whose workflow runs.
NOT_MEANT = frozenset({"anonymous-definition", "self-repository"})


@pytest.fixture
def written(repo: Repo, cli: Cli) -> list[Path]:
    """Return the workflow files that `init` writes where the config asks for all of them."""
    repo.write(".github/gitflow-agents.yml", "environments: {plan: gates}\n")
    repo.commit("config")
    cli("init", "--uses", f"{OURS}@{'a' * 40}")
    return sorted((repo.path / ".github" / "workflows").glob("*.yml"))


@pytest.fixture
def elsewhere(repo: Repo, cli: Cli) -> list[Path]:
    """Return those that it writes where `origin` is on a server of one's own."""
    repo.git("remote", "add", "origin", "git@git.example.com:alice/shop.git")
    repo.write(".github/gitflow-agents.yml", "environments: {plan: gates}\n")
    repo.commit("config")
    cli("init", "--uses", f"{OURS}@{'a' * 40}")
    return sorted((repo.path / ".github" / "workflows").glob("*.yml"))


@pytest.fixture
def called() -> dict[str, Path]:
    """Return the shipped files by what a caller calls them, and by what they call each other."""
    return {
        f"{place}/.github/workflows/{file.name}": file for file in SHIPPED for place in (OURS, ".")
    }


def test_the_files_keep_our_own_rules(written: list[Path], called: dict[str, Path]) -> None:
    found = [
        one
        for file in [*SHIPPED, *written, ACTION]
        for one in checks.own(file, may_read_secrets=MAY_READ_SECRETS)
    ]
    found += [one for file in [*SHIPPED, *written] for one in checks.rights(file, called)]
    assert found == []
    uses = re.findall(r"uses: (\S+)@", "\n".join(file.read_text() for file in written))
    assert {one for one in uses if one.startswith(OURS)} <= set(called)


def test_githubs_parser_takes_the_files(written: list[Path], called: dict[str, Path]) -> None:
    assert [one for file in [*SHIPPED, *written] for one in checks.said(file, called)] == []


def test_a_server_of_ones_own_is_told_what_github_tells_by_itself(elsewhere: list[Path]) -> None:
    said = [load(file.read_text())["jobs"] for file in elsewhere]
    given = [job["with"] for jobs in said for job in jobs.values()]
    assert [(one["tool-repository"], one["tool-ref"]) for one in given] == [(OURS, "a" * 40)] * 5


@pytest.mark.slow  # the parser takes its time, and the same files without two lines are fast
def test_githubs_parser_takes_those_for_a_server_of_ones_own(
    elsewhere: list[Path], called: dict[str, Path]
) -> None:
    assert [one for file in elsewhere for one in checks.said(file, called)] == []
    assert checks.zizmor(elsewhere, but=NOT_MEANT) + checks.schema(elsewhere) == []


@pytest.mark.slow  # three tools of others; our own rules and GitHub's parser are fast
def test_tools_of_others_have_nothing_to_say(written: list[Path]) -> None:
    files = [*SHIPPED, *written, ACTION]
    found = checks.zizmor([*files, UPDATES], but=NOT_MEANT) + checks.schema([*files, UPDATES])
    assert found + checks.shellcheck(files) == []


# Who waits for whom.


@pytest.mark.parametrize(
    ("plan", "form", "group"),
    [
        ("", "", "main"),
        ("", "null", "main"),
        ("", "{}", "main"),
        ("", '{"plan": "", "task": "", "max-parallel": "", "dry-run": false}', "main"),
        ("p", '{"plan": "p", "task": "", "max-parallel": "", "dry-run": false}', "plan/p"),
        ("p", '{"plan": "p", "task": "Do it"}', "form-7"),
        ("", '{"task": "Do it"}', "form-7"),
        ("p", '{"plan": "p", "max-parallel": "2"}', "form-7"),
        ("p", '{"plan": "p", "dry-run": true}', "form-7"),
    ],
)
def test_what_a_form_says_more_than_its_plan_is_in_no_group_with_others(
    plan: str, form: str, group: str
) -> None:
    said = PASS["jobs"]["reconcile"]["concurrency"]["group"]
    about = {"run_id": "7", "ref_name": "main"}
    context = {"github": about, "inputs": {"plan": plan, "form": form}}
    assert expressions.evaluate(said, context) == f"gitflow-pass-{group}"


@pytest.mark.slow  # runs of four dispatches; the names of their groups are fast
def test_a_form_that_waits_survives_a_newer_dispatch(hub: Hub, repo: Repo, alice: Token) -> None:
    job = PASS["jobs"]["reconcile"] | {"steps": [{"run": "true"}]}
    called = PASS | {"jobs": {"reconcile": job}}
    caller = ".github/workflows/gitflow.yml"
    repo.write(".github/workflows/reconcile.yml", json.dumps(called))
    repo.write(caller, setup.files(f"{OURS}@{'a' * 40}")[caller])
    repo.commit("workflows")
    shop, actions = hub.repository("alice/shop", repo), Actions(hub)
    actions.map(OURS, repo.path)
    for more in ({}, {"task": "Do it"}, {}, {}):
        hub.dispatch(shop, alice, caller, "main", {"plan": "p"} | more)
    actions.drain()
    ends = [run.conclusion for run in shop.runs.values()]
    assert ends == ["success", "success", "cancelled", "success"]


# The checks themselves: each finds what it is for.

BAD = """
    on: {pull_request_target: , push: }
    permissions: {contents: read}
    jobs:
      one:
        runs-on: ubuntu-latest
        concurrency: {group: x, queue: max, cancel-in-progress: true}
        steps:
          - uses: actions/checkout@v4
          - run: echo ${{ github.event.head_commit.message }} $UNQUOTED
            env: {KEY: "${{ secrets.KEY }}"}
      two:
        permissions: {contents: read}
        secrets: inherit
        uses: alice/tool/.github/workflows/called.yml@main
    """
CALLED = """
    on: workflow_call
    jobs:
      inner: {runs-on: ubuntu-latest, permissions: {contents: write}, steps: [{run: "true"}]}
    """


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file and return its path."""
    (folder / name).write_text(textwrap.dedent(text).lstrip("\n"))
    return folder / name


def test_our_rules_find_what_they_are_for(tmp_path: Path) -> None:
    bad, other = write(tmp_path, "bad.yml", BAD), write(tmp_path, "called.yml", CALLED)
    assert checks.own(bad) == [
        "bad.yml: one step 1: actions/checkout@v4 is not pinned to a full sha",
        "bad.yml: one step 1: the checkout leaves its token behind",
        "bad.yml: one step 2: an expression inside `run`, where it is code",
        "bad.yml: pull_request_target runs what strangers wrote with our rights",
        "bad.yml: permissions: {} is missing at the top",
        "bad.yml: one: queue: max with cancel-in-progress",
        "bad.yml: one: states no permissions of its own",
        "bad.yml: one: has no timeout-minutes",
        "bad.yml: one: reads secrets",
        "bad.yml: two: alice/tool/.github/workflows/called.yml@main is not pinned to a full sha",
        "bad.yml: two: hands over every secret that there is",
    ]
    assert checks.rights(bad, {"alice/tool/.github/workflows/called.yml": other}) == [
        "bad.yml: two: called.yml inner wants contents: write"
    ]


def test_githubs_parser_looks_at_what_is_called(tmp_path: Path) -> None:
    caller = write(
        tmp_path,
        "caller.yml",
        """
        on: push
        jobs:
          one:
            uses: alice/tool/.github/workflows/called.yml@main
            with: {plan: x, other: y}
        """,
    )
    callee = write(
        tmp_path,
        "called.yml",
        """
        on: {workflow_call: {inputs: {plan: {type: boolean}, task: {type: string, required: true}}}}
        jobs: {inner: {runs-on: ubuntu-latest, steps: [{run: "true"}]}}
        """,
    )
    said = checks.said(caller, {"alice/tool/.github/workflows/called.yml": callee})
    assert said == [
        "caller.yml (Line: 4, Col: 11): Input task is required, but not provided while calling.",
        "caller.yml (Line: 5, Col: 28): Invalid input, other is not defined in the referenced workflow.",
    ]


@pytest.mark.slow  # three tools of others, as above
def test_tools_of_others_find_what_they_are_for(tmp_path: Path) -> None:
    bad = write(tmp_path, "bad.yml", BAD.replace("concurrency", "concurrent"))
    assert any("'concurrent' was unexpected" in one for one in checks.schema([bad]))
    hasty = write(tmp_path, "dependabot.yml", "version: 2\nupdates: [{package-ecosystem: pip}]\n")
    assert checks.schema([hasty]) != []
    fine = write(tmp_path, "fine.yml", BAD)
    idents = {one.split(": ")[1] for one in checks.zizmor([fine])}
    assert {"template-injection", "dangerous-triggers", "unpinned-uses"} <= idents
    assert [one for one in checks.shellcheck([fine]) if "Double quote" in one]


def test_yaml_means_what_github_reads() -> None:
    text = "on: push\nyes: no\ntime: 12:30\noctal: 012\nnone: ~\nflag: true\n"
    assert expressions.load(text) == {
        "on": "push",
        "yes": "no",
        "time": "12:30",
        "octal": 12,
        "none": None,
        "flag": True,
    }


def test_a_job_that_no_test_executed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = tmp_path / "counts"
    counted.write_text("alice/tool .github/workflows/called.yml inner\n" * 2)
    files = [write(tmp_path, "called.yml", CALLED), write(tmp_path, "bad.yml", BAD)]
    assert counts.main([str(counted), str(files[0])]) == 0
    assert counts.main([str(counted), *map(str, files)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[1:] == [
        "     2 called.yml inner",
        "     0 bad.yml one",
        "     0 bad.yml two",
    ]
    assert said.err == "error: never executed: bad.yml one, bad.yml two\n"
