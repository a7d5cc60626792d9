"""What a worktree is filled with when the repository has filters, and what happens without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import engine, repos
from tests.engine import task
from tests.repos import Repo

UPPER = "tr a-z A-Z"
LOWER = "tr A-Z a-z"
NOT_THERE = {
    "command": {"smudge": "git-nolfs smudge -- %f", "clean": "git-nolfs clean -- %f"},
    "word": {"smudge": "git-nolfs", "clean": "git-nolfs"},
    "process": {"process": "git-nolfs filter-process"},
    "git command": {"smudge": "git nolfs smudge", "clean": "git nolfs clean"},
}


def rules(repo: Repo, text: str = "*.bin filter=big\n", **files: str) -> None:
    """Commit `.gitattributes` and these files (`__` stands for a dot)."""
    repo.write(".gitattributes", text)
    for name, content in files.items():
        repo.write(name.replace("__", "."), content)
    repo.commit("files with a filter")


def define(repo: Repo, commands: dict[str, str], where: str = "--local") -> None:
    """Define the filter as one that git must have."""
    repo.git("config", where, "filter.big.required", "true")
    for key, command in commands.items():
        repo.git("config", where, f"filter.big.{key}", command)


def warnings(played: engine.Played) -> list[str]:
    """Return what was said about filters."""
    texts = [told.text for told in played.told if told.event == "warning"]
    return [text for text in texts if "filter" in text]


def complaint(commands: dict[str, str]) -> str:
    program = "git nolfs" if "git nolfs" in "".join(commands.values()) else "git-nolfs"
    return (
        f"git needs the filter big for files here, and its program {program} cannot be run; "
        f"install {program}, or take filter.big out of git's config"
    )


@pytest.mark.parametrize("where", ["--local", "--global"])
def test_an_agent_sees_files_as_the_persons_filters_make_them(repo: Repo, where: str) -> None:
    rules(repo, a__bin="stored\n")
    define(repo, {"smudge": UPPER, "clean": LOWER}, where)
    engine.plan(repo, task("1", "grep STORED a.bin && echo NEW > b.bin", verify=["grep NEW b.bin"]))
    played = engine.go(repo)
    engine.finished(repo, played)
    assert warnings(played) == []
    assert repo.show("flow/p", "b.bin") == "new\n"


@pytest.mark.parametrize("commands", NOT_THERE.values(), ids=list(NOT_THERE))
def test_a_filter_that_is_not_installed_fails_a_task_at_once_and_says_what_to_do(
    repo: Repo, tmp_path: Path, commands: dict[str, str]
) -> None:
    rules(repo, a__bin="stored\n")
    define(repo, commands)
    ran = tmp_path / "ran"
    engine.plan(repo, task("1", f"touch {ran}", verify=[f"touch {ran}"]), setup=[f"touch {ran}"])
    played = engine.go(repo)
    assert played.code == 4
    record = engine.record(repo, "1")
    assert (record["reason"], record["message"]) == ("precondition-failed", complaint(commands))
    assert len(record["attempts"]) == 1
    assert not ran.exists()
    assert not (repo.path / ".worktrees").exists()
    assert engine.audit(repo) == {"1": "failed"}


@pytest.mark.parametrize("commands", NOT_THERE.values(), ids=list(NOT_THERE))
def test_work_that_cannot_be_saved_without_a_filter_stays_in_a_folder_that_is_named(
    repo: Repo, commands: dict[str, str]
) -> None:
    rules(repo)
    define(repo, commands)
    commit = "git -c user.name=a -c user.email=a@example.com commit -qm committed"
    engine.plan(repo, task("1", f"echo 1 > kept && git add kept && {commit}; echo 2 > a.bin"))
    played = engine.go(repo)
    assert played.code == 4
    (left,) = (repo.path / ".worktrees" / "p").glob("1.left-*")
    record = engine.record(repo, "1")
    assert record["reason"] == "precondition-failed"
    message = f"{complaint(commands)}; what it had not committed is in {left}"
    assert record["message"] == message
    assert (left / "a.bin").read_text() == "2\n"
    assert repo.show("task/p/1-task-1", "kept") == "1\n"
    assert len(record["attempts"]) == 1


def test_a_train_whose_files_need_a_missing_filter_is_not_built_for_ever(repo: Repo) -> None:
    define(repo, NOT_THERE["command"])
    engine.plan(
        repo,
        task("1", "echo '*.bin filter=big' > .gitattributes", verify=["true"]),
        task("2", "echo 1 > a.bin", verify=["true"]),
        gate=["true"],
    )
    played = engine.go(repo)
    assert played.code == 4
    reasons = sorted(str(engine.record(repo, id).get("reason")) for id in "12")
    assert reasons == ["None", "precondition-failed"]
    failed = next(id for id in "12" if engine.record(repo, id).get("reason"))
    assert engine.record(repo, failed)["message"] == complaint(NOT_THERE["command"])


def test_a_filter_that_fails_for_another_reason_says_nothing_about_the_work(repo: Repo) -> None:
    rules(repo, a__bin="stored\n")
    mark = repo.path / ".git" / "tried"
    once = f"[ -e '{mark}' ] && cat || {{ touch '{mark}'; exit 3; }}"
    define(repo, {"smudge": once, "clean": "cat"})
    engine.plan(repo, task("1", "echo 1 > a"))
    played = engine.go(repo)
    engine.finished(repo, played)
    assert [a.get("reason") for a in engine.record(repo, "1")["attempts"]] == [
        "infrastructure",
        None,
    ]


def test_a_filter_that_no_config_defines_is_told_once_when_a_run_starts(repo: Repo) -> None:
    rules(repo, "# filter=no\n*.bin filter=big -text\n*.dat filter=big\n", a__bin="stored\n")
    engine.plan(repo, task("1", "grep stored a.bin && echo 1 > a"))
    played = engine.go(repo)
    engine.finished(repo, played)
    (warning,) = warnings(played)
    assert warning == (
        "no git config defines the filter big, which .gitattributes names: agents see its files "
        "as git stores them; install what defines filter.big, if they matter"
    )


def test_what_an_earlier_attempt_left_half_removed_is_nobodys_work(repo: Repo) -> None:
    once = f"test -e ../../../went || {{ touch ../../../went; kill -9 {engine.RUN}; sleep 60; }}; "
    path = engine.plan(repo, engine.task("1", f"{once}echo 1 > a.txt", verify=["test -s a.txt"]))
    repos.tool(repo, "run", path, check=False)
    # As when its run was killed before it had a worktree, while the former one was being removed.
    place, git = repo.path / ".worktrees/p/1", repo.path / ".git"
    (place / "README.md").unlink()
    (place / "plans/p.yaml").unlink()
    owner = git / "worktrees/gitflow-p+1/gitflow-owner"
    owner.write_text(f"{owner.read_text().rsplit(' ', 1)[0]} {'1' * 40}\n")
    shutil.rmtree(git / "gitflow-agents/attempts/p/1/1")
    engine.finished(repo, engine.go(repo))
    assert repo.tree("flow/p") == ["README.md", "a.txt", "plans/p.provides.yaml",
                                   "plans/p.report.md", "plans/p.yaml"]  # fmt: skip
