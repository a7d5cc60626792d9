"""A plan is pushed, and the repository does the rest: the workflows that are shipped, executed."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import spec
from gitflow_agents.commands import Stop
from gitflow_agents.github import GitHub
from gitflow_agents.service import Service, setup
from gitflow_agents.service.acting import at_terminal
from gitflow_agents.service.jobs import Jobs
from gitflow_agents.spec.config import read_config
from tests import engine, forge
from tests.engine import task
from tests.forge import wire
from tests.forge.jobs import Uses, Word
from tests.model_server import Say, Write, serving
from tests.repos import Cli, Repo

PROJECT = Path(__file__).parent.parent
TOOL = "alice/gitflow-agents"
MOST_HOURS = 40
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ONE = task("1", "echo a > a.txt", provides=["a"], verify=["grep a a.txt"])
OTHER = task("2", "echo b > b.txt", verify=["grep b b.txt"])
AFTER = task("3", "cat a.txt > c.txt", preconditions=["a"], verify=["grep a c.txt"])

WRITER = "agents: {command: {run: echo a > a.txt}}\n"
HOSTILE = "Write `a.txt`.\n$(touch owned) ${{ github.token }}\n::error::x"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[forge.Hub]:
    """Return a GitHub; a request that GitHub would not know fails the test."""
    with forge.serve(tmp_path / "hub") as hub:
        yield hub


def quick_python(uses: Uses) -> Mapping[str, str]:
    """Stand in for setup-python with a Python that has everything: to install takes no time."""
    program = uses.shop.temp / "quick" / "python"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        'case "$1 $2" in\n'
        '  "-m venv") mkdir -p "$3/bin" && ln -sf "$0" "$3/bin/python" ;;\n'
        '  "-m pip") ;;\n'
        f'  *) exec "{sys.executable}" "$@" ;;\n'
        "esac\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"python-version": "3.12.0", "python-path": str(program)}


class Shop:
    """Alice's repository on the hub, made ready by `init`, and what she does."""

    def __init__(self, hub: forge.Hub, repo: Repo) -> None:
        self.hub, self.repo = hub, repo
        for path, text in setup.files(f"{TOOL}@{COMMIT}").items():
            repo.write(path, text)
        repo.commit("gitflow-agents")
        self.there = hub.repository("alice/shop", repo)
        self.alice = hub.person("alice")
        self.actions = forge.Actions(hub)
        self.actions.map(TOOL, PROJECT)
        self.actions.stand_ins["actions/setup-python"] = quick_python
        repo.git("remote", "add", "origin", hub.url(self.there, self.alice))

    def propose(self, *tasks: dict[str, Any], **keys: Any) -> None:
        """Push a plan p on its branch."""
        self.repo.git("switch", "--quiet", "--force-create", "plan/p", "main")
        engine.plan(self.repo, *tasks, name="p", **keys)
        self.repo.commit("plan p")
        self.repo.git("push", "--quiet", "--force", "origin", "plan/p")
        self.repo.git("switch", "--quiet", "main")

    def submit(self, **inputs: str) -> None:
        """Fill the form in, as on the page of the workflow."""
        body = {"ref": "main", "inputs": {key.replace("_", "-"): v for key, v in inputs.items()}}
        request = "POST /repos/alice/shop/actions/workflows/gitflow.yml/dispatches"
        assert forge.ask(self.hub, self.alice, request, body).status == 204

    def configure(self, text: str) -> None:
        """Push a config."""
        self.repo.write(".github/gitflow-agents.yml", text)
        self.repo.commit("config")
        self.repo.git("push", "--quiet", "origin", "main")

    @property
    def up(self) -> Repo:
        """Return the repository as the hub has it."""
        return self.there.git

    def merged(self) -> list[str]:
        """Return the tasks that flow has merged, the first one first."""
        if "flow/p" not in self.up.branches():
            return []
        lines = self.up.log("flow/p", "%s", "--first-parent", "--reverse").splitlines()
        return [line.split()[1].rstrip(":") for line in lines if line.startswith("merge ")]

    def writes(self) -> list[str]:
        """Return the requests that were made of the API and were not only questions."""
        return [str(one) for one in self.hub.asked() if one.method not in ("GET", "GIT")]


@pytest.fixture
def shop(hub: forge.Hub, repo: Repo) -> Shop:
    """Return alice's repository."""
    return Shop(hub, repo)


def ends(runs: list[forge.Run]) -> list[tuple[str, str | None]]:
    """Return how each job of some runs ended, in their order."""
    return [(job.name, job.conclusion) for run in runs for job in run.jobs]


@pytest.mark.slow
def test_a_pushed_plan_becomes_a_merged_flow_branch_and_one_pull_request(shop: Shop) -> None:
    runners = "runners: {gpu: [self-hosted, gpu], default: ubuntu-latest}\n"
    board = shop.hub.project("alice", fields={"TM_ID": "TEXT", "Run": "TEXT"})
    board.choose_from("Status", ["pending", "in-progress", "done"])
    shop.there.secrets["GITFLOW_PROJECT_TOKEN"] = shop.hub.person("alice", scopes=("project",)).text
    shop.configure(f"{runners}cache: [~/.cache/tool]\nprojects: {{plans: {{p: {board.number}}}}}\n")
    shop.actions.labels |= {"self-hosted", "gpu"}
    leaves = "mkdir -p ~/.cache/tool && echo {0} > ~/.cache/tool/left && {1}"
    first = {**ONE, "run": leaves.format(1, ONE["run"])}
    other = {**OTHER, "run": leaves.format(2, OTHER["run"]), "working_directory": "b"}
    after = {**AFTER, "run": "cat a.txt ~/.cache/tool/left > c.txt", "runner": "gpu"}
    shop.propose(first, other, after)
    runs = shop.actions.drain()
    machines = {(run.name.split()[0], job.name, *job.labels) for run in runs for job in run.jobs}
    assert {machine for machine in machines if "execute" in machine[1]} == {
        ("p-command-task1-attempt1", "task / execute", "ubuntu-latest"),
        ("p-command-task2-attempt1", "task / execute", "ubuntu-latest"),
        ("p-command-task3-attempt1", "task / execute", "self-hosted", "gpu"),
    }
    tested = {machine[2:] for machine in machines if "test" in machine[1]}
    assert tested == {("ubuntu-latest",), ("self-hosted", "gpu")}
    logs = "\n".join(job.log for run in runs for job in run.jobs)
    assert {conclusion for _, conclusion in ends(runs)} == {"success"}, logs
    assert sorted(shop.merged()) == ["1", "2", "3"], logs
    assert shop.up.show("flow/p", "c.txt") == "a\n1\n"
    services = {key.partition("@")[0] for key in shop.there.caches}
    assert services == {"gitflow/all", f"gitflow/{spec.service('b')}"}
    assert engine.fsck(shop.up, "p") == ()
    (issue,) = shop.there.issues.values()
    assert (issue.title, issue.pull is not None and issue.pull.draft) == ("p: Try it", False)
    (comment,) = shop.there.comments.values()
    assert comment.body.startswith("<!-- gitflow-agents plan p -->\n### 100 %: 3 of 3 tasks merged")
    # Each head of flow has one check, and only the last one says how it ended.
    checks = [*shop.there.checks.values()]
    heads = shop.up.log("flow/p", "%H", "--first-parent").split()
    assert {one.name for one in checks} == {"gitflow-agents"}
    assert len({one.sha for one in checks}) == len(checks) >= 3
    assert {one.sha for one in checks} <= set(heads)
    last = next(one for one in checks if one.sha == heads[0])
    assert (last.conclusion, last.output["title"]) == ("success", "finished: 3 of 3 tasks merged")
    assert len(last.output["text"].splitlines()) == 3
    assert {one.conclusion for one in checks if one is not last} == {"neutral"}
    # Each pass that changed something was told to the board by a job of its own, with its token.
    assert {name: values["Status"] for name, values in board.shown().items()} == dict.fromkeys(
        ("Task 1", "Task 2", "Task 3"), "done"
    )
    # The pull request is looked for, opened, told of, checked and made ready, whatever its tasks.
    asked = [one for one in shop.hub.asked() if one.method != "GIT"]
    own = [one for one in asked if one.by != "alice"]
    assert len(own) - 8 <= 4 * 3, own
    # A board is found, read whole and filled by five; each task then begins and is done, at two each.
    assert len(asked) - len(own) - 5 <= 2 * 3, asked


@pytest.mark.slow
def test_the_workflow_of_ones_own_that_the_documents_show_keeps_a_board(shop: Shop) -> None:
    board = shop.hub.project("alice", fields={"TM_ID": "TEXT"})
    shop.there.secrets["GITFLOW_PROJECT_TOKEN"] = shop.hub.person("alice", scopes=("project",)).text
    page = (PROJECT / "docs" / "actions.md").read_text()
    (text,) = (one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "sync" in one)
    text = text.replace("plan: auth", "plan: p").replace("@COMMIT", f"@{COMMIT}")
    text = text.replace("gitflow-agents/gitflow-agents", TOOL)
    text = text.replace("https://github.com/orgs/acme/projects/3", str(board.number))
    shop.repo.write(".github/workflows/board.yml", text)
    shop.repo.commit("board")
    shop.repo.git("push", "--quiet", "origin", "main")
    shop.propose(ONE)
    shop.actions.drain()
    request = "POST /repos/alice/shop/actions/workflows/board.yml/dispatches"
    assert forge.ask(shop.hub, shop.alice, request, {"ref": "main"}).status == 204
    (run,) = shop.actions.drain()
    assert run.conclusion == "success", "\n".join(job.log for job in run.jobs)
    assert {name: shown["TM_ID"] for name, shown in board.shown().items()} == {"Task 1": "1"}


@pytest.mark.slow
def test_a_sweep_with_nothing_to_do_writes_nothing(shop: Shop) -> None:
    shop.configure("issues: true\n")
    shop.propose(ONE)
    shop.actions.drain()
    before, refs = shop.writes(), engine.refs(shop.up)
    shop.hub.schedule(shop.there)
    assert ends(shop.actions.drain()) == [("reconcile / reconcile", "success")]
    assert (shop.writes(), engine.refs(shop.up)) == (before, refs)


@pytest.mark.slow
def test_a_plan_file_that_is_pushed_starts_once_and_is_looked_at_no_more_when_it_has_landed(
    shop: Shop,
) -> None:
    up, main = shop.up, shop.repo
    for path, text in setup.files(f"{TOOL}@{COMMIT}", pushed="main").items():
        main.write(path, text)
    engine.plan(main, ONE, name="p")
    shop.configure("start: on-push\nissues: true\n")
    runs = shop.actions.drain()
    assert {conclusion for _, conclusion in ends(runs)} == {"success"}
    assert shop.merged() == ["1"]
    told = {one.title: one.reason for one in shop.there.issues.values() if one.pull is None}
    assert told == {"p: Try it": None, "1: Task 1": "completed"}
    assert up.log("flow/p~1", "%s", "-1") == "merge 1: Task 1 (#2)"
    main.git("fetch", "--quiet", "origin")
    main.git("merge", "--quiet", "origin/flow/p")
    main.git("push", "--quiet", "origin", "main")
    shop.actions.drain()
    assert engine.state(up, "p")["status"] == "landed"
    assert {one.reason for one in shop.there.issues.values() if not one.pull} == {"completed"}
    up.git("update-ref", "-d", "refs/heads/gitflow/state/p")
    up.git("update-ref", "-d", "refs/heads/plan/p")
    shop.hub.schedule(shop.there)
    (run,) = shop.actions.drain()
    assert "there is no plan" in run.jobs[0].log


@pytest.mark.slow
def test_a_task_from_the_form_is_merged_and_an_issue_tells_of_it_where_pull_requests_are_not_allowed(
    shop: Shop,
) -> None:
    shop.there.allow_pull_requests = False
    shop.configure(WRITER)
    shop.submit(task=HOSTILE, plan="p", verify="grep a a.txt")
    runs = shop.actions.drain()
    assert {conclusion for _, conclusion in ends(runs)} == {"success"}
    assert shop.merged() == ["1"]
    (issue,) = shop.there.issues.values()
    assert (issue.state, issue.pull) == ("open", None)
    assert "/compare/main...flow/p?expand=1)" in issue.body
    (comment,) = shop.there.comments.values()
    assert (comment.number, "### 100 %: 1 of 1 task merged" in comment.body) == (1, True)
    (made,) = engine.read_yaml(shop.up.show("plan/p", "plans/p.yaml"))["tasks"]
    assert (made["title"], made["description"]) == ("Write `a.txt`.", HOSTILE)


@pytest.mark.slow
def test_a_form_that_is_wrong_or_only_asks_what_would_happen_writes_nothing(shop: Shop) -> None:
    shop.configure(WRITER)
    before = engine.refs(shop.up)
    shop.submit(task="x", plan="p", agent="clod", max_turns="::debug::")
    (run,) = shop.actions.drain()
    assert run.conclusion == "failure"
    assert "\n::error::agent: there is no agent `clod`" in run.jobs[0].log
    assert "\n::error::max-turns: " in run.jobs[0].log
    shop.submit(task=HOSTILE, plan="p", dry_run="true")
    (run,) = shop.actions.drain()
    assert run.conclusion == "success"
    assert "accept plan p: make plan/p and flow/p from main at origin" in run.jobs[0].log
    assert engine.refs(shop.up) == before


@pytest.mark.slow
def test_the_form_takes_what_a_comment_takes_and_its_summary_answers(shop: Shop) -> None:
    shop.configure("runners: {gpu: [gpu]}\n")  # there is none, so its run waits
    shop.propose({**ONE, "runner": "gpu"})
    shop.actions.drain()
    shop.submit(plan="p", command="stop 1")
    runs = shop.actions.drain()
    assert set(ends(runs)) >= {
        ("reconcile / reconcile", "success"),
        ("reconcile / stopped", "success"),
    }
    (job,) = (one for run in runs for one in run.jobs if one.name == "reconcile / reconcile")
    assert job.summary.startswith("`stop 1`:\n\n- 1 is cancelled; what it did is kept\n"), job.log
    assert "/retry 1" in job.summary
    assert engine.record(shop.up, "1", "p")["status"] == "cancelled"
    assert "ending" not in engine.state(shop.up, "p")
    shop.submit(plan="p", command="retyr 1")
    (run,) = shop.actions.drain()
    assert (run.conclusion, "did you mean `/retry`?" in run.jobs[0].summary) == ("failure", True)
    # What a board is to be told is left to the job that has the token for it.
    board = shop.hub.project("alice", fields={"TM_ID": "TEXT"})
    shop.there.secrets["GITFLOW_PROJECT_TOKEN"] = shop.hub.person("alice", scopes=("project",)).text
    shop.configure(f"projects: {{plans: {{p: {board.number}}}}}\n")
    shop.submit(plan="p", command="sync")
    runs = shop.actions.drain()
    summaries = {job.name: job.summary for run in runs for job in run.jobs}
    assert summaries["reconcile / reconcile"].startswith(
        "`sync`:\n\n- a later job of this run does"
    )
    # It was put away, so there is nothing to make.
    assert "0 cards made, 0 changed, 1 unchanged" in summaries["reconcile / sync / sync"]
    asked = "POST /repos/alice/shop/issues/1/comments"
    assert forge.ask(shop.hub, shop.alice, asked, {"body": "/sync"}).status == 201
    assert ends(shop.actions.drain()) == [
        ("command / command", "success"),
        ("command / sync / sync", "success"),
    ]
    reply = [*shop.there.comments.values()][-1].body
    assert "0 cards made, 0 changed, 1 unchanged, 0 failed; 1 request" in reply


@pytest.mark.slow
def test_start_at_a_terminal_makes_the_plan_there_and_asks_for_a_pass(shop: Shop, cli: Cli) -> None:
    shop.configure(WRITER)
    person = {"GH_TOKEN": shop.alice.text, "GITHUB_API_URL": shop.hub.api}
    result = cli("start", "p", "--task", "x", "--verify", "true", "-j2", env=person)
    assert result.stdout.startswith("plan p accepted as v1: 1 task\na pass over p was asked for: ")
    assert engine.state(shop.up, "p")["authority"] == "origin"
    (asked,) = (one for one in shop.hub.asked() if one.method == "POST")
    assert asked.body["inputs"] == {"plan": "p", "max-parallel": "2"}
    assert "plan/p" not in shop.repo.branches()
    before = engine.refs(shop.up)
    assert cli("start", "p", "--dry-run", env=person).stdout.startswith("    0 min  start 1 on ")
    assert engine.refs(shop.up) == before


@pytest.mark.slow
def test_a_plan_that_cannot_be_accepted_fails_its_pass_with_the_line(shop: Shop) -> None:
    shop.propose({**ONE, "preconditions": ["nothing"]})
    (run,) = shop.actions.drain()
    assert run.conclusion == "failure"
    assert re.search(r"(?m)^::error file=plans/p.yaml,line=\d+,col=\d+::", run.jobs[0].log)
    assert "flow/p" not in shop.up.branches()


@pytest.mark.slow
def test_a_task_that_fails_is_told_and_blocks_nobody_else(shop: Shop) -> None:
    shop.propose(task("1", "exit 3", provides=["a"]), OTHER, AFTER)
    runs = shop.actions.drain()
    assert shop.merged() == ["2"]
    (comment,) = shop.there.comments.values()
    assert "- 1 failed (agent-error)" in comment.body
    assert ("task / execute", "failure") in ends(runs)
    # A new text that is refused is shown at its lines, and changes nothing.
    shop.propose({**ONE, "preconditions": ["nothing"]})
    (run,) = shop.actions.drain()
    assert (run.conclusion, shop.merged()) == ("success", ["2"])
    assert re.search(r"(?m)^::error file=plans/p.yaml,line=\d+,col=\d+::", run.jobs[0].log)


@pytest.mark.slow
def test_why_a_test_failed_is_told_by_the_steps_of_its_job(shop: Shop) -> None:
    shop.propose(ONE, gate=["test ! -e a.txt"])
    runs = shop.actions.drain()
    assert ("train / test", "failure") in ends(runs)
    record = engine.record(shop.up, "1", "p")
    assert (record["status"], record["reason"]) == ("failed", "gate-failed")


@pytest.mark.slow
def test_a_task_with_a_pull_request_is_merged_when_that_is_approved(shop: Shop) -> None:
    shop.propose({**ONE, "merge": "pr"})
    shop.actions.drain()
    flow, own = shop.there.issues.values()
    assert own.pull is not None
    assert (own.pull.head, own.pull.base, own.pull.draft) == ("task/p/1-task-1", "flow/p", True)
    assert shop.merged() == []
    asked = f"POST /repos/alice/shop/pulls/{own.number}/reviews"
    stranger = shop.hub.person("eve")
    assert forge.ask(shop.hub, stranger, asked, {"event": "APPROVE"}).status == 200
    (run,) = shop.actions.drain()
    assert (run.conclusion, shop.merged()) == ("skipped", [])
    # It is the plan of who pushed it, and nobody's own work is approved by themselves.
    assert forge.ask(shop.hub, shop.alice, asked, {"event": "APPROVE"}).status == 200
    (run,) = shop.actions.drain()
    assert (run.conclusion, shop.merged()) == ("success", [])
    assert "an approval does not count: `alice` wrote or started it" in run.jobs[0].log
    dora = shop.hub.person("dora", (shop.there, "maintain"))
    assert forge.ask(shop.hub, dora, asked, {"event": "APPROVE"}).status == 200
    runs = shop.actions.drain()
    assert ("reconcile / reconcile", "success") in ends(runs)
    assert (shop.merged(), own.state, flow.state) == (["1"], "closed", "open")


@pytest.mark.slow
def test_a_run_that_waits_in_an_environment_is_the_approval_of_who_lets_it_in(shop: Shop) -> None:
    shop.there.environments["gates"] = forge.Environment(reviewers=("dora", "eve"))
    shop.hub.person("dora", (shop.there, "maintain"))
    config = "environments: {plan: gates}\n"
    for path, text in setup.files(
        f"{TOOL}@{COMMIT}", workflows=setup.wanted(read_config(config.encode(), file="c"))
    ).items():
        shop.repo.write(path, text)
    shop.configure(config)
    shop.actions.drain()
    shop.propose(ONE, approval=["plan"])
    runs = shop.actions.drain()
    assert shop.merged() == []
    (waits,) = (run for run in shop.there.runs.values() if run.status == "waiting")
    assert waits.name.startswith("p-approval of the plan ")
    where = f"{shop.hub.base}/alice/shop/actions/runs/{waits.id}"
    (pull,) = shop.there.issues.values()
    (comment,) = shop.there.comments.values()
    assert f"or in environment gates: {where}" in comment.body
    shop.hub.engine.review(waits, "dora", "approved", "looks right")
    runs = shop.actions.drain()
    assert ends([waits]) == [
        ("approval / approval", "success"),
        ("approval / then / reconcile", "success"),
    ]
    assert (shop.merged(), pull.state) == (["1"], "open")
    state = engine.state(shop.up, "p")
    dora = wire.user(shop.hub, "dora")["id"]
    assert state["approved"]["by"].startswith(f"dora <{dora}+dora@users.noreply.")
    assert runs[0] is waits


@pytest.mark.slow
def test_runs_that_are_cancelled_between_any_two_steps_lose_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    cancelled: dict[tuple[str, int], int] = {}

    def look(at: forge.At) -> Word:
        """Cancel each run at the first of its steps at which none was cancelled before."""
        point = (at.job.key.rpartition("/")[2], at.number)
        if point in cancelled or at.job.run.id in cancelled.values():
            return "go"
        cancelled[point] = at.job.run.id
        return "cancel"

    shop.actions.at_step = look
    # One after the other, so that there are as many trains as the jobs of one have steps.
    chain = [task(f"{n}", f"echo {n} > {n}.txt", depends_on=[f"{n - 1}"]) for n in (4, 5)]
    shop.propose(ONE, AFTER, *chain, gate=["test -e a.txt"])
    shop.actions.drain()
    hours = 0
    # Until half of its time is up an attempt is taken for one at work; then somebody asks.
    while (hours := hours + 1) < MOST_HOURS and len(shop.merged()) < 4:
        later(shop, tmp_path, hours)
        shop.actions.drain()
    assert shop.merged() == ["1", "3", "4", "5"]
    assert engine.fsck(shop.up, "p") == ()
    done = {
        (job.key.rpartition("/")[2], step.number)
        for job in shop.there.jobs.values()
        for step in job.steps
        if step.conclusion == "success"
    }
    assert (done - cancelled.keys(), len({key for key, _ in cancelled})) == (set(), 5)


def later(shop: Shop, tmp_path: Path, hours: int = 1) -> None:
    """Do a pass by another clock."""
    with beside(shop, tmp_path / f"{hours} later", lambda: time.time() + hours * 3600) as job:
        jobs, there = job
        jobs.reconcile("p", there)


@contextmanager
def beside(
    shop: Shop, folder: Path, clock: Callable[[], float] = time.time
) -> Iterator[tuple[Jobs, GitHub]]:
    """Return what a job that no workflow describes has: a clone, and a token that may do all."""
    clone = shop.up.clone(folder)
    service = Service(str(clone.path), clock=clock)
    service.actor = "bob <bob@example.com>"
    rights = ("contents", "actions", "pull-requests", "issues", "checks")
    may = dict.fromkeys(rights, "write")
    token = shop.hub.mint(shop.there, may).text
    there = GitHub("alice/shop", token, api=shop.hub.api, server=shop.hub.base, branch="main")
    try:
        yield Jobs(service, lambda told: None), there
    finally:
        service.close()


DEAF = "trap '' INT TERM HUP; echo half > half.txt"
"""An agent that does not hear, and one that it has started and let go of."""


@pytest.mark.slow
def test_a_stop_ends_a_deaf_agent_and_all_that_it_started_and_keeps_its_work(
    shop: Shop, tmp_path: Path
) -> None:
    child, begun = tmp_path / "child", tmp_path / "begun"
    orphan = f"setsid sh -c 'trap \"\" INT TERM; echo $$ > {child}; sleep 300' & "
    waits = f"{engine.until(f'[ -s {child} ]')}touch {begun}; sleep 300; echo late > late.txt"
    shop.propose(task("1", f"{DEAF}; {orphan}{waits}"))
    shop.actions.grace = 15  # more than the ten of a hosted runner: this machine may be busy
    over = threading.Event()

    def sleep(seconds: float) -> None:
        over.wait(seconds)  # whoever waits for runs need not when there is none any more

    def stop() -> tuple[str, ...]:
        engine.wait_for(begun.exists)
        with beside(shop, tmp_path / "stop") as (jobs, there):
            jobs.act("p", Stop(targets=("1",)), "alice <alice@example.com>", permit=at_terminal)
            return jobs.end_runs("p", there, wait=True, sleep=sleep)

    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(stop)
        try:
            runs = shop.actions.drain()
        finally:
            over.set()
    one = next(run for run in runs if "task" in run.file.path)
    kept = "gitflow/attempt/p/1/1"
    assert said.result() == (f"1: its run {one.id} has ended; what it had done is kept as {kept}",)
    assert ends([one]) == [("task / execute", "cancelled"), ("task / publish", "success")]
    assert engine.gone(int(child.read_text()))
    record = engine.record(shop.up, "1", "p")
    assert (record["status"], record["attempts"][0]["kept"]) == ("cancelled", kept)
    assert [path for path in shop.up.tree(kept) if path.endswith(".txt")] == ["half.txt"]
    assert shop.merged() == []
    asked = [str(request) for request in shop.hub.asked() if f"/runs/{one.id}" in str(request)]
    assert sorted({*asked}) == [
        f"GET /repos/alice/shop/actions/runs/{one.id}",
        f"POST /repos/alice/shop/actions/runs/{one.id}/cancel",
    ]
    assert len(asked) <= 7
    assert engine.fsck(shop.up, "p") == ()


@pytest.mark.slow
@pytest.mark.parametrize("how", [forge.lost, forge.doubled])
def test_dispatches_that_are_lost_or_doubled_cost_nothing(
    shop: Shop, tmp_path: Path, how: Callable[[str, int], Any]
) -> None:
    shop.hub.transit = how("workflow_dispatch", 1)
    shop.propose(ONE)
    shop.actions.drain()
    if shop.merged() != ["1"]:
        later(shop, tmp_path)
        shop.actions.drain()
    assert shop.merged() == ["1"]
    assert len(engine.record(shop.up, "1", "p")["attempts"]) <= 2


PROGRAMS = PROJECT / ".venv-agents" / "bin"
KEY = "sk-ant-" + "a1b2c3d4" * 6
"""A key that must not be seen anywhere but where the model is asked."""


CI = """\
on: {push: {branches: ["task/**", "flow/**"]}, pull_request: {types: [opened]}}
permissions: {}
jobs:
  ci: {runs-on: ubuntu-latest, timeout-minutes: 5, steps: [{run: "true"}]}
"""


@pytest.mark.slow
@pytest.mark.parametrize("who", ["helper[bot]", "bob"])
def test_what_a_token_of_its_own_pushes_is_tested_and_the_token_is_nowhere(
    shop: Shop, who: str
) -> None:
    secrets = shop.there.secrets
    if who == "helper[bot]":
        rights = {"contents": "write", "actions": "write", "pull-requests": "write"}
        shop.there.variables["GITFLOW_APP_CLIENT_ID"] = "Iv1.shop"
        secrets["GITFLOW_APP_PRIVATE_KEY"] = "swordfish"
        shop.actions.apps["Iv1.shop"] = forge.App("swordfish", rights)
        # It may write no projects, and one is asked for.
        board = shop.hub.project("alice")
        config = f"projects: {{owner: alice, plans: {{'*': {board.number}}}}}\n"
        shop.repo.write(".github/gitflow-agents.yml", config)
    else:
        shop.there.allow_pull_requests = False  # that is about GitHub Actions
        secrets["GITFLOW_TOKEN"] = shop.hub.person(who, (shop.there, "write")).text
        # A server of their own, too, which does not tell a job where its workflow is from.
        shop.hub.tells_where = False
        for path, text in setup.files(f"{TOOL}@{COMMIT}", is_told=False).items():
            shop.repo.write(path, text)
    shop.repo.write(".github/workflows/ci.yml", CI)
    shop.repo.commit("tests of alice's own")
    shop.repo.git("push", "--quiet", "origin", "main")
    shop.propose(ONE)
    runs = shop.actions.drain()
    logs = "\n".join(job.log for run in runs for job in run.jobs)
    assert shop.merged() == ["1"], logs
    (issue,), (comment,) = shop.there.issues.values(), shop.there.comments.values()
    assert (issue.author, comment.author) == (who, who)
    own = [run for run in shop.there.runs.values() if run.file.path.endswith("/ci.yml")]
    started = {(run.event.name, run.event.actor, run.conclusion) for run in own}
    assert started == {("push", who, "success"), ("pull_request", who, "success")}
    tokens = [token for token in shop.hub.tokens.values() if token is not shop.alice]
    assert {token.login for token in tokens} >= {who}
    assert [token.login for token in tokens if token.text in logs] == []
    told = [job for run in shop.there.runs.values() for job in run.jobs if "sync /" in job.name]
    if who == "helper[bot]":
        assert "let an App act that has the organization permission Projects" in told[0].log
        assert [job.conclusion for job in told[:1]] == ["failure"]


@pytest.mark.agents
def test_a_real_agent_does_a_task_on_actions_and_its_key_is_nowhere(
    shop: Shop, tmp_path: Path
) -> None:
    program = shutil.which("claude", path=str(PROGRAMS))
    if program is None:
        pytest.skip("claude is not installed: make test-agents installs it")
    work = (Write("hello.txt", "hello\n"), Say(f"I wrote hello.txt, and my key is {KEY}."))
    with serving(*work) as model:
        # On a runner of one's own the agent may be there already, and know where its model is.
        wrapper = tmp_path / "programs" / "claude"
        wrapper.parent.mkdir()
        wrapper.write_text(
            f'#!/bin/sh\nANTHROPIC_BASE_URL={model.url} exec {shlex.quote(program)} "$@"\n'
        )
        wrapper.chmod(0o755)
        shop.actions.path = [wrapper.parent]
        shop.there.secrets["ANTHROPIC_API_KEY"] = KEY
        shop.propose(
            {
                "id": "a",
                "title": "A greeting",
                "description": "Write hello into hello.txt",
                "agent": "claude",
                "model": "sonnet",
                "verify": ["grep -q hello hello.txt"],
            }
        )
        runs = shop.actions.drain()
    logs = "\n".join(job.log for run in runs for job in run.jobs)
    assert shop.merged() == ["a"], logs
    report = shop.up.show("flow/p", "plans/p.report.md")
    comments = "\n".join(comment.body for comment in shop.there.comments.values())
    folders = [artifact.folder for artifact in shop.there.artifacts.values()]
    kept = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in kept} == {"report.json", "result.bundle"}
    artifacts = b"".join(path.read_bytes() for path in kept).decode(errors="replace")
    assert [KEY in text for text in (logs, report, comments, artifacts)] == [False] * 4
    assert engine.record(shop.up, "a", "p")["attempts"][0]["tokens"]
