"""A plan is pushed, and the repository does the rest: the workflows that are shipped, executed."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.service import setup
from tests import engine, forge
from tests.engine import task
from tests.forge.jobs import Uses
from tests.repos import Repo

PROJECT = Path(__file__).parent.parent
TOOL = "seed/gitflow-agents"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ONE = task("1", "echo a > a.txt", provides=["a"], verify=["grep a a.txt"])
OTHER = task("2", "echo b > b.txt", verify=["grep b b.txt"])
AFTER = task("3", "cat a.txt > c.txt", preconditions=["a"], verify=["grep a c.txt"])


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

    @property
    def up(self) -> Repo:
        """Return the repository as the hub has it."""
        return self.there.git

    def merged(self) -> list[str]:
        """Return the tasks that flow has merged, the first one first."""
        lines = self.up.log("flow/p", "%s", "--first-parent", "--reverse").splitlines()
        return [line.split()[1].rstrip(":") for line in lines if line.startswith("merge ")]

    def writes(self) -> list[str]:
        """Return the requests that were made of the API and were not only questions."""
        return [str(one) for one in self.hub.asked() if one.method != "GET"]


@pytest.fixture
def shop(hub: forge.Hub, repo: Repo) -> Shop:
    """Return alice's repository."""
    return Shop(hub, repo)


def ends(runs: list[forge.Run]) -> list[tuple[str, str | None]]:
    """Return how each job of some runs ended, in their order."""
    return [(job.name, job.conclusion) for run in runs for job in run.jobs]


def test_a_pushed_plan_becomes_a_merged_flow_branch_and_one_pull_request(shop: Shop) -> None:
    shop.propose(ONE, OTHER, AFTER)
    runs = shop.actions.drain()
    logs = "\n".join(job.log for run in runs for job in run.jobs)
    assert {conclusion for _, conclusion in ends(runs)} == {"success"}, logs
    assert sorted(shop.merged()) == ["1", "2", "3"], logs
    assert engine.fsck(shop.up, "p") == ()
