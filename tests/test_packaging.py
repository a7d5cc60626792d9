"""How the project itself is tested and published: its own workflows, executed on a small project.

What they call is a make of three lines; the one action of others is stood in for, as PyPI is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import forge
from tests.forge.jobs import Uses
from tests.repos import Repo

WORKFLOWS = Path(__file__).parent.parent / ".github" / "workflows"
MAKEFILE = """\
test:
\t@echo "make test with $$(python3 -c 'print(1)')"
dist:
\t@mkdir -p dist && echo wheel >dist/gitflow_agents-1.2.0-py3-none-any.whl
\t@echo sdist >dist/gitflow_agents-1.2.0.tar.gz
"""


class Project:
    """A project with our workflows, and what reached PyPI from it."""

    def __init__(self, hub: forge.Hub, repo: Repo) -> None:
        self.hub, self.repo = hub, repo
        for name in ("ci.yml", "release.yml"):
            repo.write(f".github/workflows/{name}", (WORKFLOWS / name).read_text())
        repo.write("Makefile", MAKEFILE)
        repo.write(".ci/run", "#!/bin/sh\necho all of it\n").chmod(0o755)
        repo.commit("a project")
        self.there = hub.repository("alice/tool")
        self.there.environments["pypi"] = forge.Environment()
        self.alice = hub.person("alice")
        self.actions = forge.Actions(hub)
        self.actions.stand_ins["actions/setup-python"] = lambda uses: {}
        self.actions.stand_ins["pypa/gh-action-pypi-publish"] = self._publish
        self.published: list[tuple[dict[str, str], Mapping[str, str], list[str]]] = []

    def _publish(self, uses: Uses) -> Mapping[str, str]:
        token = self.hub.tokens[uses.shop.context["github"]["token"]]
        files = sorted(file.name for file in (uses.shop.workspace / "dist").iterdir())
        self.published.append((dict(token.permissions), dict(uses.inputs), files))
        return {}

    def push(self, *refs: str) -> dict[str, str | None]:
        """Push and return how each job ended."""
        forge.push(self.hub, self.repo, self.there, self.alice, *refs)
        return forge.results(self.actions.drain())


@pytest.fixture
def project(hub: forge.Hub, repo: Repo) -> Project:
    return Project(hub, repo)


TESTED = {"all": "success", "fast (3.11)": "success", "fast (3.13)": "success"}


@pytest.mark.slow
def test_a_tag_that_is_the_version_is_tested_built_once_and_published(project: Project) -> None:
    assert project.push("main") == TESTED
    project.repo.git("tag", "v1.2.0")
    ended = project.push("refs/tags/v1.2.0")
    assert ended == {
        **{f"ci / {job}": end for job, end in TESTED.items()},
        "build": "success",
        "publish": "success",
    }
    files = ["gitflow_agents-1.2.0-py3-none-any.whl", "gitflow_agents-1.2.0.tar.gz"]
    assert project.published == [({"id-token": "write"}, {"attestations": "true"}, files)]
    project.repo.git("tag", "v1.3.0")
    ended = project.push("refs/tags/v1.3.0")
    assert (ended["build"], ended.get("publish")) == ("failure", None)
    assert len(project.published) == 1
