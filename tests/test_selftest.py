"""The walk of `doctor --self-test`: every step passes here, a broken one is named, nothing stays."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from gitflow_agents.service import selftest
from tests.repos import Cli, Repo

STEPS = [name for name, _ in selftest.STEPS]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the test makes its temporary ones."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def told(lines: str) -> list[list[str]]:
    """Return the word and the name of each step that was printed."""
    return [line.split()[:2] for line in lines.splitlines() if not line.startswith(" ")]


@pytest.mark.slow
def test_every_step_passes_and_nothing_is_left_behind(
    cli: Cli, repo: Repo, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither a setting nor a config of the repository one stands in has a part in it.
    monkeypatch.setenv("GITFLOW_APPROVAL", "[plan, merge]")
    repo.write(".github/gitflow-agents.yml", "gate: ['false']\n")
    repo.commit("a gate that refuses all")
    before = repo.snapshot()
    done = cli("doctor", "--self-test")
    assert told(done.stdout) == [["pass", name] for name in STEPS]
    assert (list(temporary.iterdir()), repo.snapshot()) == ([], before)


@pytest.mark.slow
def test_a_push_that_does_not_work_is_named_where_it_is_needed(
    cli: Cli, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = shutil.which("git")
    broken = tmp_path / "bin" / "git"
    broken.parent.mkdir()
    broken.write_text(
        f'#!/bin/sh\ncase " $* " in *" push "*) echo "no way out" >&2; exit 1;; esac\nexec {git} "$@"\n'
    )
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}{os.pathsep}{os.environ['PATH']}")
    done = cli("doctor", "--self-test", "--json", check=False)
    assert done.exit_code == 1
    assert [(one["step"], one["passed"]) for one in done.json["steps"]][:3] == [
        ("scratch", True),
        ("accept", False),
        ("claim", None),
    ]
    assert "no way out" in done.json["steps"][1]["message"]
    assert list(temporary.iterdir()) == []


def test_what_cannot_be_begun_has_failed_and_the_rest_was_not_come_to(
    cli: Cli, temporary: Path
) -> None:
    temporary.rmdir()
    done = cli("doctor", "--self-test", check=False)
    assert (done.exit_code, told(done.stdout)) == (
        1,
        [["FAIL", "scratch"], *(["-", name] for name in STEPS[1:])],
    )
    said = cli("doctor", "--self-test", "--json", check=False).json
    assert (said["schema"], said["passed"]) == (1, False)
    assert [one["passed"] for one in said["steps"]] == [False, *[None] * (len(STEPS) - 1)]


def test_a_test_mends_nothing(cli: Cli) -> None:
    done = cli("doctor", "--self-test", "--fix", check=False)
    assert (done.exit_code, done.stderr) == (
        2,
        "error: --self-test has nothing to mend\nhint: leave out --fix\n",
    )
