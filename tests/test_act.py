"""The shipped workflows, executed by somebody else's runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitflow_agents.service import setup
from tests import engine
from tests.engine import task
from tests.forge import Hub
from tests.forge.act import Act
from tests.repos import Repo

PROJECT = Path(__file__).parent.parent
TOOL = "alice/gitflow-agents"

pytestmark = pytest.mark.slow


def test_a_pushed_plan_is_merged_where_act_is_the_runner(hub: Hub, repo: Repo) -> None:
    for path, text in setup.files(f"{TOOL}@{'a' * 40}").items():
        repo.write(path, text)
    repo.commit("gitflow-agents")
    shop, alice = hub.repository("alice/shop", repo), hub.person("alice")
    repo.git("switch", "--quiet", "--create", "plan/p")
    first = task("1", "echo a > a.txt", provides=["a"], verify=["grep a a.txt"])
    engine.plan(repo, first, task("2", "cat a.txt > b.txt", preconditions=["a"]), name="p")
    repo.commit("plan p")
    runner = Act(hub, TOOL, PROJECT)
    repo.git("push", "--quiet", hub.url(shop, alice), "plan/p")
    runs = runner.drain()
    logs = "\n".join(runner.logs.values())
    assert {run.conclusion for run in runs} == {"success"}, logs
    lines = shop.git.log("flow/p", "%s", "--first-parent", "--reverse").splitlines()
    merges = [line.split(":")[0] for line in lines if line.startswith("merge ")]
    assert merges == ["merge 1", "merge 2"], logs
    assert engine.fsck(shop.git, "p") == ()
    kinds = {run.file.path.rpartition("/")[2] for run in runs}
    assert kinds == {"gitflow.yml", "gitflow-task.yml", "gitflow-train.yml"}
