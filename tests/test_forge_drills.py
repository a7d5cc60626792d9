"""Trouble with GitHub itself: whichever call fails and however, the next pass makes up for it.

The hub, its workflow files and the requests are as in `test_actions`; only what a job does is done
here, in a clone of its own, rather than by the steps of its file.
"""

from __future__ import annotations

import fnmatch
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.errors import FlowError
from gitflow_agents.forge import ForgeRun
from gitflow_agents.github import GitHub, client
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import Service, setup
from gitflow_agents.service.boarding import HAS_TOKEN, Boarding
from gitflow_agents.service.boardjobs import BoardJobs
from gitflow_agents.service.jobs import Jobs
from gitflow_agents.service.syncing import Asked
from tests import engine, forge
from tests.engine import task
from tests.forge.hub import Trouble
from tests.forge.runs import Job
from tests.repos import Cli, Repo

PROJECT = Path(__file__).parent.parent
TOOL = "alice/gitflow-agents"
ONE = task("1", "echo a > a.txt", provides=["a"], verify=["grep a a.txt"])
AFTER = task("2", "cp a.txt b.txt", preconditions=["a"], provides=["b"], verify=["grep a b.txt"])
LAST = task("3", "cp b.txt c.txt", preconditions=["b"], verify=["grep a c.txt"])
MOST = 60


class Runners:
    """Does the jobs of a hub by hand."""

    def __init__(self, hub: forge.Hub, repo: Repo, folder: Path) -> None:
        folder.mkdir()
        self.hub, self.folder, self.hours = hub, folder, 0
        for path, text in setup.files(f"{TOOL}@{'0' * 40}").items():
            repo.write(path, text)
        repo.commit("gitflow-agents")
        self.there = hub.repository("alice/shop", repo)
        hub.engine.folders[TOOL] = PROJECT
        repo.git("remote", "add", "origin", hub.url(self.there, hub.person("alice")))
        self.repo, self.told = repo, list[str]()
        self.dice = random.Random(7)
        self.token = ""
        """What the board of all plans may be written with, if there is one."""

    def propose(self, *tasks: dict[str, Any]) -> None:
        """Push a plan p on its branch."""
        self.repo.git("switch", "--quiet", "--create", "plan/p", "main")
        engine.plan(self.repo, *tasks, name="p")
        self.repo.commit("plan p")
        self.repo.git("push", "--quiet", "origin", "plan/p")

    def drain(self) -> None:
        """Do every job that comes up, in any order."""
        for _ in range(MOST):
            waiting = self.hub.engine.queued()
            if not waiting:
                return
            self.do(self.dice.choice(waiting))
        raise AssertionError(f"it did not end after {MOST} jobs")

    def settle(self) -> None:
        """Do all that comes up and what a sweep finds an hour later, until all is merged."""
        self.drain()
        for _ in range(6):
            if self.is_told():
                return
            self.hours += 1
            self.hub.schedule(self.there)
            self.drain()

    def is_told(self) -> bool:
        """Say whether everything is merged, and people know."""
        pulls = [issue.pull for issue in self.there.issues.values()]
        is_ready = any(pull is not None and not pull.draft for pull in pulls)
        return is_ready and engine.state(self.there.git, "p").get("status") == "finished"

    def do(self, job: Job) -> None:
        """Do one job, as its file would."""
        self.hub.engine.begin(job, "a runner")
        try:
            with self.jobs(job) as jobs:
                conclusion = self._do(job, jobs)
        except FlowError as e:
            self.told.append(str(e))
            conclusion = "failure"
        self.hub.engine.finished(job, conclusion, {})

    @contextmanager
    def jobs(self, job: Job) -> Iterator[Jobs]:
        """Return the jobs of a fresh clone, which pushes with the token of a job."""
        clone = self.there.git.clone(self.folder / f"runner {len(list(self.folder.iterdir()))}")
        token = self.hub.mint(self.there, job.permissions, str(job.id))
        clone.git("remote", "set-url", "origin", self.hub.url(self.there, token))
        late = self.hours * 3600
        service = Service(str(clone.path), clock=lambda: time.time() + late)
        service.actor = "bob <bob@example.com>"
        try:
            yield Jobs(service, lambda told: self.told.append(told.text), naming_seconds=0)
        finally:
            service.close()

    def _do(self, job: Job, jobs: Jobs) -> str:
        run, inputs = job.run, {key: str(value) for key, value in job.run.inputs.items()}
        plan, claim = inputs.get("plan") or "p", inputs.get("claim", "")
        token = self.hub.mint(self.there, job.permissions, str(job.id)).text
        hub = GitHub("alice/shop", token, api=self.hub.api, server=self.hub.base, branch="main")
        folder = self.folder / f"result {run.id}"
        match job.key.removeprefix(".github/workflows/"):
            case "reconcile.yml reconcile":
                self._show(jobs, hub, jobs.reconcile(plan, hub))
            case "task.yml execute":
                done = jobs.execute(plan, inputs["task"], claim, run.id, folder)
                return "success" if done.outcome == "succeeded" else "failure"
            case "task.yml publish":
                jobs.publish(plan, inputs["task"], claim, run.id, folder)
                hub.start("reconcile", {"plan": plan})
            case "train.yml test":
                return "failure" if jobs.test(plan, claim).reason else "success"
            case "train.yml then":
                (test,) = (one for one in run.jobs if one.node.id == "test")
                heard = ForgeRun(run.id, "", True, test.conclusion or "", hub.url(run.id))
                self._show(jobs, hub, jobs.reconcile(plan, hub, heard))
            case other:
                raise AssertionError(f"nobody knows what {other} does")
        return "success"

    def _show(self, jobs: Jobs, hub: GitHub, snapshot: Snapshot) -> None:
        """Bring the board in step, as a job after a pass does, if there is one and it is behind."""
        boards = BoardJobs(jobs)
        if self.token and boards.is_behind(snapshot, hub):
            api, server = self.hub.api, self.hub.base
            there = GitHub("alice/shop", self.token, api=api, server=server, branch="main")
            boards.sync(snapshot.plan.plan, Boarding(there), Asked())


@pytest.fixture
def runners(hub: forge.Hub, repo: Repo, tmp_path: Path) -> Runners:
    """Return runners for alice's repository."""
    return Runners(hub, repo, tmp_path / "runners")


def landed(runners: Runners) -> list[str]:
    """Return the tasks that flow has merged, the first one first, when all else is in order."""
    up = runners.there.git
    assert engine.fsck(up, "p") == ()
    # Where GitHub would not have it for once, an issue has stood in for the pull request.
    (issue,) = (one for one in runners.there.issues.values() if one.state == "open")
    assert (issue.title, issue.pull is not None) == ("p: Try it", True)
    (comment,) = (one for one in runners.there.comments.values() if one.number == issue.number)
    assert "### 100 %" in comment.body
    return merged(runners)


def merged(runners: Runners) -> list[str]:
    """Return the tasks that flow has merged, the first one first."""
    lines = runners.there.git.log("flow/p", "%s", "--first-parent", "--reverse").splitlines()
    return [line.split()[1].rstrip(":") for line in lines if line.startswith("merge ")]


CALLS = [
    "POST /repos/alice/shop/actions/workflows/gitflow-task.yml/dispatches",
    "POST /repos/alice/shop/actions/workflows/gitflow-train.yml/dispatches",
    "POST /repos/alice/shop/actions/workflows/gitflow.yml/dispatches",
    "GET /repos/alice/shop/pulls",
    "POST /repos/alice/shop/pulls",
    "GET /repos/alice/shop/issues/*/comments",
    "POST /repos/alice/shop/issues/*/comments",
    "POST /repos/alice/shop/check-runs",
    "GET /repos/alice/shop/pulls/*",
    "POST /graphql",
]
"""Every call that is made for a plan."""


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [500, 502, 403, "lost", "silent", "away"])
def test_every_call_fails_once_and_nothing_is_lost_or_done_twice(
    runners: Runners, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 1)
    monkeypatch.setattr(client, "MOST_REPEATS", 1)
    for call in CALLS:
        # What is answered with 403 is not asked again, and what is in any other trouble is.
        runners.hub.refuse(call, trouble, times=1 if trouble == 403 else 2)
    runners.propose(ONE, AFTER, LAST)
    runners.settle()
    assert landed(runners) == ["1", "2", "3"], runners.told
    refused = {str(one) for one in runners.hub.asked() if one.trouble == trouble}
    assert [call for call in CALLS if not fnmatch.filter(refused, call)] == []


@pytest.mark.slow
def test_a_flow_branch_that_is_protected_is_named_and_its_work_is_merged_when_it_is_not(
    runners: Runners,
) -> None:
    there = runners.there
    runners.propose(ONE, AFTER)
    runners.do(runners.hub.engine.queued()[0])
    there.protected["flow/p"] = {"alice"}
    runners.drain()
    record = engine.record(there.git, "1", "p")
    assert (record["status"], record["reason"]) == ("failed", "push-refused")
    assert "Protected branch update failed for refs/heads/flow/p" in record["message"]
    there.protected.clear()
    runners.repo.git("fetch", "--quiet", "origin")
    Cli(runners.repo)("retry", "p/1")
    runners.settle()
    assert landed(runners) == ["1", "2"]


@pytest.mark.slow
def test_a_workflow_that_an_agent_wrote_is_refused_and_kept_with_its_run(runners: Runners) -> None:
    write = "mkdir -p .github/workflows; echo on: push > .github/workflows/x.yml"
    runners.propose(task("1", write), task("2", "echo b > b.txt"))
    runners.settle()
    record = engine.record(runners.there.git, "1", "p")
    assert (record["status"], record["reason"]) == ("failed", "push-refused")
    assert "without `workflows` permission" in record["message"]
    run = record["attempts"][0]["url"].rpartition("/")[2]
    kept = f"the work is kept for a week with run {run}, as its artifact gitflow-result"
    assert record["message"].endswith(kept)


@pytest.mark.slow
def test_a_plan_of_ten_tasks_notifies_four_times_and_asks_little_for_a_task_and_its_card(
    runners: Runners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITFLOW_NOTIFY", "alice")
    monkeypatch.setenv("GITFLOW_LIMITS_PARALLEL", "10")
    board = runners.hub.project("alice", fields={"TM_ID": "TEXT"})
    board.choose_from("Status", ["pending", "in-progress", "done"])
    runners.repo.write(".github/gitflow-agents.yml", "projects: {plans: {'*': 1}}\n")
    runners.repo.commit("a board")
    runners.repo.git("push", "--quiet", "origin", "main")
    monkeypatch.setenv(HAS_TOKEN, "true")
    runners.token = runners.hub.person("alice", scopes=("project",)).text
    names = [str(n) for n in range(10)]
    runners.propose(*(task(n, f"echo {n} > {n}.txt", verify=[f"grep {n} {n}.txt"]) for n in names))
    runners.drain()
    assert sorted(merged(runners)) == names
    asked = [one for one in runners.hub.asked() if one.method != "GIT"]
    # Who watches the repository is told of what is new, and not of what is edited.
    new = [str(one) for one in asked if one.method == "POST" and "dispatches" not in one.path]
    told = [one for one in new if not one.endswith(("/graphql", "/check-runs"))]
    assert told == [
        "POST /repos/alice/shop/pulls",
        "POST /repos/alice/shop/issues/1/comments",
        "POST /repos/alice/shop/issues/1/comments",
    ]
    (_, mention) = runners.there.comments.values()
    assert mention.body.splitlines()[1:4] == [
        "@alice `p`:",
        "",
        "- plan p is finished: 10 tasks, merged to flow/p",
    ]
    assert runners.there.issues[1].pull is not None
    assert not runners.there.issues[1].pull.draft  # the fourth: it is ready for review
    assert {one["Status"] for one in board.shown().values()} == {"done"}
    # A plan's pull request is opened, told of, checked and made ready by eight, and its board found
    # and filled by five.  A task is started, calls a pass, and that asks for a train's test at most.
    # A train is started, and a pass tells of it and of what it has merged: once there, and the board
    # is read and written.
    trains = len(runners.hub.asked(CALLS[1]))
    assert len(asked) - 8 - 5 <= 3 * len(names) + 4 * trains
