"""A plain answer starts neither git nor a slow package, and a kept answer is given only while it holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gitflow_agents import __version__, cache
from tests import repos
from tests.repos import Cli, Repo, Result

STATE = "refs/heads/gitflow/state/auth"
COMPLETE = {
    "_GITFLOW_AGENTS_COMPLETE": "bash_complete",
    "COMP_WORDS": "gitflow-agents re",
    "COMP_CWORD": "1",
}
SLOW = frozenset(
    {"asyncio", "git", "github", "jinja2", "json", "pydantic", "subprocess", "tempfile", "yaml"}
)


def imported(folder: Path, *args: str, **env: str) -> set[str]:
    """Return what a start of the tool imports beyond what click imports anyway."""

    def modules(code: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, *args],
            cwd=folder,
            env={**os.environ, **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
        return set(done.stderr.splitlines()[-1].split())

    tell = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    ours = modules(tell + "from gitflow_agents.cli import main; main()")
    assert "gitflow_agents.cli" in ours
    return ours - modules(tell + "import click")


def top(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    ("args", "env"),
    [(("--version",), {}), (("--help",), {}), (("run", "--help"), {}), ((), COMPLETE)],
    ids=["version", "help", "a verb's help", "completion"],
)
def test_a_start_that_asks_no_service_imports_click_and_little_else(
    tmp_path: Path, args: tuple[str, ...], env: dict[str, str]
) -> None:
    found = imported(tmp_path, *args, **env)
    assert top(found) & SLOW == set()
    assert {name for name in found if name.startswith("gitflow_agents")} == {
        "gitflow_agents",
        "gitflow_agents.cli",
    }


def keep(repo: Repo, ready: list[str], plan: str = "auth", digest: str = "") -> str:
    """Make a state ref of a plan and keep an answer for it; return the state's tip."""
    tip = repo.git("commit-tree", "-m", plan, "HEAD^{tree}")
    repo.git("update-ref", f"refs/heads/gitflow/state/{plan}", tip)
    cache.write(repo.git("rev-parse", "--absolute-git-dir"), plan, tip, ready, digest)
    return tip


def answer(ready: list[str], plan: str = "auth") -> dict[str, object]:
    return {"schema": 1, "plan": plan, "ready": ready}


def test_a_kept_answer_is_given_without_a_process_or_a_slow_package(repo: Repo) -> None:
    keep(repo, ["002", "003"])
    found = imported(repo.path, "ready", "--json", PATH="/nowhere")
    assert top(found) & SLOW <= {"json"}  # what measures the tests may be there before


@pytest.mark.parametrize("verb", [["status"], ["ready"], ["validate"], ["roles"], ["explain", "1"]])
def test_who_looks_imports_nothing_of_what_a_run_takes(repo: Repo, verb: list[str]) -> None:
    path = repo.plan("auth", "goal: g\ntasks:\n  - {id: '1', run: echo a > a, role: implement}\n")
    words = [*verb, str(path)] if verb in (["status"], ["ready"], ["validate"]) else verb
    running = {"jinja2", *(f"gitflow_agents.{part}" for part in ("agents", "commands", "execute"))}
    running.add("gitflow_agents.service.service")
    assert imported(repo.path, *words) & running == set()
    if verb == ["status"]:
        assert imported(repo.path, "run", str(path)) >= running


def test_ready_gives_the_kept_answer_by_name_and_for_the_only_plan(repo: Repo, cli: Cli) -> None:
    keep(repo, ["002", "003"])
    for args in (["ready", "auth", "--json"], ["--json", "ready"]):
        assert cli(*args).stdout == '{"schema": 1, "plan": "auth", "ready": ["002", "003"]}\n'


def test_a_kept_answer_holds_for_one_commit_of_the_state(repo: Repo) -> None:
    tip = keep(repo, ["002"])
    assert cache.ready(str(repo.path), "auth") == answer(["002"])
    repo.git("update-ref", STATE, repo.sha("HEAD"))
    assert cache.ready(str(repo.path), "auth") is None
    repo.git("update-ref", STATE, tip)
    assert cache.ready(str(repo.path), "auth") == answer(["002"])
    repo.git("update-ref", "-d", STATE)
    assert cache.ready(str(repo.path), "auth") is None


def test_a_packed_state_ref_is_found_and_a_loose_one_beside_it_wins(repo: Repo) -> None:
    keep(repo, ["002"])
    repo.git("pack-refs", "--all")
    assert not (repo.path / ".git" / STATE).exists()
    assert cache.ready(str(repo.path), "auth") == answer(["002"])
    repo.git("update-ref", STATE, repo.sha("HEAD"))
    assert cache.tip(str(repo.path / ".git"), "auth") == repo.sha("HEAD")


def test_a_state_ref_that_is_symbolic_is_left_to_git(repo: Repo) -> None:
    tip = keep(repo, ["002"])
    repo.git("branch", "elsewhere", tip)
    repo.git("symbolic-ref", STATE, "refs/heads/elsewhere")
    assert repo.sha(STATE) == tip
    assert cache.ready(str(repo.path), "auth") is None


def test_without_a_name_only_the_only_plan_is_answered(repo: Repo) -> None:
    common = str(repo.path / ".git")
    assert cache.plans(common) == []
    keep(repo, ["002"])
    assert cache.ready(str(repo.path)) == answer(["002"])
    repo.git("pack-refs", "--all")
    keep(repo, ["1"], plan="billing")
    assert cache.plans(common) == ["auth", "billing"]
    assert cache.ready(str(repo.path)) is None
    assert cache.ready(str(repo.path), "billing") == answer(["1"], "billing")


def test_a_path_is_answered_only_while_the_file_is_what_was_accepted(repo: Repo) -> None:
    path = repo.plan("auth", "goal: Add sign-in\n")
    digest = repo.git("hash-object", str(path))
    assert cache.digest(str(path)) == digest
    keep(repo, ["002"], digest=digest)
    assert cache.ready(str(repo.path), "plans/auth.yaml") == answer(["002"])
    assert cache.ready("/", str(path)) is None  # another folder, perhaps another repository
    path.write_text("goal: Add sign-in and sign-out\n")
    assert cache.ready(str(repo.path), "plans/auth.yaml") is None
    assert cache.ready(str(repo.path), "auth") == answer(["002"])


def test_a_path_is_never_answered_from_an_entry_that_does_not_know_its_file(repo: Repo) -> None:
    repo.plan("auth", "goal: Add sign-in\n")
    keep(repo, ["002"])
    assert cache.ready(str(repo.path), "plans/auth.yaml") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-2],
        lambda text: "[" * 100_000,
        lambda text: "null",
        lambda text: "\udcff",
        lambda text: text.replace('["002"]', "[2]"),
        lambda text: text.replace('["002"]', '"002"'),
        lambda text: text.replace('"plan": "auth"', '"plan": "billing"'),
        lambda text: text.replace('"digest": ""', '"digest": null'),
        lambda text: text.replace(f'"by": "{__version__}"', '"by": "0.0.1"'),
    ],
)
def test_a_damaged_or_older_entry_is_a_miss(repo: Repo, spoil: Callable[[str], str]) -> None:
    keep(repo, ["002"])
    entry = repo.path / ".git/gitflow-agents/cache/ready-auth.json"
    text = entry.read_text()
    spoilt = spoil(text)
    assert spoilt != text
    entry.write_text(spoilt, errors="surrogateescape")
    assert cache.ready(str(repo.path), "auth") is None


def test_names_that_no_plan_can_have_are_misses(repo: Repo) -> None:
    keep(repo, ["002"])
    for name in ("../auth", "Auth", "-auth", "a" * 64, "state/auth", "auth\n"):
        assert cache.ready(str(repo.path), name) is None


def test_an_entry_that_cannot_be_written_is_no_failure(repo: Repo) -> None:
    repo.write(".git/gitflow-agents/cache", "a file where the folder would be")
    keep(repo, ["002"])
    assert cache.ready(str(repo.path), "auth") is None


def test_an_entry_is_replaced_as_a_whole(repo: Repo) -> None:
    keep(repo, ["002"])
    repo.write("more", "x")
    tip = repo.commit("more")
    repo.git("update-ref", STATE, tip)
    cache.write(str(repo.path / ".git"), "auth", tip, ["003"])
    folder = repo.path / ".git/gitflow-agents/cache"
    assert [file.name for file in folder.iterdir()] == ["ready-auth.json"]
    assert json.loads((folder / "ready-auth.json").read_text()) == {
        "by": __version__,
        "plan": "auth",
        "tip": tip,
        "digest": "",
        "ready": ["003"],
    }


def test_the_common_directory_is_the_one_that_git_finds(repo: Repo, tmp_path: Path) -> None:
    repo.write("a folder/below/file", "x")
    linked = repo.worktree(tmp_path / "linked tree")
    bare = repo.clone(tmp_path / "bare.git", bare=True)
    (tmp_path / "link").symlink_to(repo.path / "a folder", target_is_directory=True)
    inside = [
        repo.path,
        repo.path / "a folder/below",
        repo.path / ".git",
        repo.path / ".git/refs/heads",
        linked.path,
        bare.path,
        bare.path / "refs",
        tmp_path / "link" / "below",
    ]
    for folder in inside:
        where = Repo(folder).git("rev-parse", "--path-format=absolute", "--git-common-dir")
        assert cache.common_directory(str(folder)) == where, folder
    assert cache.common_directory(str(tmp_path)) is None
    assert cache.checkout(str(repo.path / "a folder/below")) == str(repo.path)
    assert cache.checkout(str(linked.path)) == str(linked.path)
    assert cache.checkout(str(bare.path)) is None


def test_a_submodule_is_a_repository_of_its_own(repo: Repo, tmp_path: Path) -> None:
    other = repos.init(tmp_path / "other")
    other.commit("first")
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.path), "sub")
    where = Repo(repo.path / "sub").git("rev-parse", "--path-format=absolute", "--git-common-dir")
    assert cache.common_directory(str(repo.path / "sub")) == where


def test_a_repository_of_somebody_else_is_left_to_git(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(repo, ["002"])
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert cache.ready(str(repo.path), "auth") is None


def test_the_shell_completes_verbs_and_plans(repo: Repo, tool: Callable[..., Result]) -> None:
    keep(repo, ["002"])

    def complete(words: str) -> list[str]:
        env = {**COMPLETE, "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return tool(repo, env=env).stdout.split("\n")

    assert complete("gitflow-agents re") == [
        "plain,ready",
        "plain,report",
        "plain,reconcile",
        "plain,retry",
        "plain,resume",
        "plain,reject",
        "plain,revert",
        "",
    ]
    assert complete("gitflow-agents status a") == ["file,a", "plain,auth", ""]
