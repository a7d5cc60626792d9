"""What `cleanup` removes, what it keeps and why; nothing that is not held elsewhere ever goes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gitflow_agents.service import Service
from gitflow_agents.service.cleanup import content_of
from gitflow_agents.store import Worktrees
from tests import engine, repos
from tests.engine import task
from tests.repos import Cli, Repo
from tests.test_run import lingering, pid_in, running

HELD = "what is on it is held elsewhere"
UNMERGED = "not merged: nothing else holds what is on it"
Names = dict[str, str]


@pytest.fixture(scope="module")
def made(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return a repository with the finished plan p: 1 is merged, 2 was tried and then skipped."""
    repo = repos.copy(template, tmp_path_factory.mktemp("made") / "repo")
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b; exit 1"))
    repo.commit("the plan")
    assert engine.go(repo, jobs=1).code == 4
    Cli(repo)("skip", "p/2", "-m", "not needed")
    assert engine.go(repo, jobs=1).code == 0
    return repo


@pytest.fixture
def over(made: Repo, tmp_path: Path) -> Repo:
    return repos.copy(made, tmp_path / "over")


def sweep(repo: Repo, *words: str) -> tuple[Names, Names]:
    """Return what went, or would go, and what stays, each with the reason."""
    told = Cli(repo)("cleanup", "--json", *words).json
    gone, kept = ({i["name"]: i["why"] for i in told[key]} for key in ("removed", "kept"))
    top = f"{repo.path}/"
    return (
        {name.removeprefix(top): why for name, why in gone.items()},
        {name.removeprefix(top): why for name, why in kept.items()},
    )


def swept(repo: Repo, *words: str) -> tuple[Names, Names]:
    """Clean up: as the dry run said, which changes nothing; a second time changes nothing."""
    before = engine.refs(repo), objects(repo)
    said = sweep(repo, *words)
    assert (engine.refs(repo), objects(repo)) == before
    reachable = repo.git("rev-list", "--all")
    assert sweep(repo, "--yes", *words) == said
    after = engine.refs(repo)
    assert sweep(repo, "--yes", *words) == ({}, said[1])
    assert engine.refs(repo) == after
    lost = set(reachable.split()) - set(repo.git("rev-list", "--all").split())
    assert lost == set()
    assert engine.fsck(repo) == ()
    return said


def objects(repo: Repo) -> list[Path]:
    return sorted((repo.path / ".git/objects").rglob("*"))


LOGS = ".git/gitflow-agents/attempts/p"
LOGS_WHY = "logs of attempts of a plan that is over"


def test_of_a_finished_plan_flow_and_what_is_not_merged_stay(over: Repo) -> None:
    assert swept(over) == (
        {LOGS: LOGS_WHY},
        {
            "flow/p": "the plan is finished",
            "plan/p": "the plan is finished",
            "task/p/2-task-2": UNMERGED,
        },
    )


def test_of_a_landed_plan_what_the_base_holds_goes(over: Repo) -> None:
    over.git("merge", "--quiet", "flow/p")
    assert engine.go(over).code == 0
    assert engine.state(over)["status"] == "landed"
    assert swept(over) == (
        {"flow/p": HELD, LOGS: LOGS_WHY},
        {"plan/p": UNMERGED, "task/p/2-task-2": UNMERGED},
    )
    assert Cli(over)("report", "p").stdout.startswith("# Report of plan p")


def test_a_branch_that_another_branch_holds_goes(over: Repo) -> None:
    over.git("branch", "mine", "task/p/2-task-2")
    gone, _ = swept(over)
    assert gone == {"task/p/2-task-2": HELD, LOGS: LOGS_WHY}
    assert "mine" in over.branches()


def test_a_branch_that_is_checked_out_stays(over: Repo, tmp_path: Path) -> None:
    over.git("branch", "mine", "task/p/2-task-2")
    over.git("worktree", "add", "--quiet", str(tmp_path / "look"), "task/p/2-task-2")
    _, kept = swept(over)
    assert kept["task/p/2-task-2"] == f"checked out in {tmp_path}/look"


def test_a_closed_plan_keeps_its_work(template: Repo, tmp_path: Path) -> None:
    repo = repos.copy(template, tmp_path / "closed")
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "exit 1"))
    assert engine.go(repo, jobs=1).code == 4
    Cli(repo)("stop", "plan", "p")
    gone, kept = swept(repo)
    assert gone == {LOGS: LOGS_WHY}
    assert set(kept) == {"flow/p", "plan/p", "task/p/2-task-2"}
    assert set(kept.values()) == {UNMERGED}


def test_a_plan_that_is_not_over_keeps_its_branches(template: Repo, tmp_path: Path) -> None:
    repo = repos.copy(template, tmp_path / "live")
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "exit 1"))
    assert engine.go(repo, jobs=1).code == 4
    repo.git("branch", "task/p/1-task-1", engine.record(repo, "1")["attempts"][0]["report"])
    gone, kept = swept(repo)
    assert gone == {"task/p/1-task-1": HELD}  # a kill can leave it behind
    assert {kept[name] for name in ("flow/p", "plan/p", "task/p/2-task-2")} == {
        "the plan is not over"
    }
    assert kept[LOGS] == "logs of attempts of a plan that is not over"


@pytest.fixture(scope="module")
def tried(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return a repository where the task 1 has failed five times, its attempts kept one by one."""
    repo = repos.copy(template, tmp_path_factory.mktemp("tried") / "repo")
    engine.plan(repo, task("1", "echo x >> a; exit 1", attempts=9))
    assert engine.go(repo).code == 4
    for _ in range(4):
        Cli(repo)("retry", "p/1", "--fresh")
        assert engine.go(repo).code == 4
    return repo


@pytest.mark.parametrize("is_held", [True, False])
def test_the_last_three_attempts_stay_and_an_older_one_only_goes_when_it_is_held(
    tried: Repo, tmp_path: Path, is_held: bool
) -> None:
    repo = repos.copy(tried, tmp_path / "tried")
    kept_now = [a.get("kept", "") for a in engine.record(repo, "1")["attempts"]]
    assert kept_now == ["", *(f"gitflow/attempt/p/1/{n}" for n in (2, 3, 4)), ""]
    old = "gitflow/attempt/p/1/1"
    if is_held:
        repo.git("branch", old, "gitflow/attempt/p/1/2~1")
        repo.git("tag", "keep", old)
    else:
        engine.commits(repo, "main", only="1")
        repo.git("branch", old, "main")
        repo.git("update-ref", "refs/heads/main", "main~1")
    gone, kept = swept(repo)
    assert gone == ({old: HELD} if is_held else {})
    if not is_held:
        assert kept[old] == UNMERGED
    for number in (2, 3, 4):
        assert kept[f"gitflow/attempt/p/1/{number}"] == "among the last 3 attempts of 1"


def test_a_record_stops_naming_a_branch_that_goes(tried: Repo, tmp_path: Path) -> None:
    repo = repos.copy(tried, tmp_path / "named")
    newest = "gitflow/attempt/p/1/5"
    repo.git("branch", newest, "task/p/1-task-1")  # so that 2 is not among the last three
    repo.git("tag", "keep", "gitflow/attempt/p/1/2")
    before = repo.sha("gitflow/state/p")
    gone, _ = swept(repo)
    assert gone == {"gitflow/attempt/p/1/2": HELD}
    assert [a.get("kept", "") for a in engine.record(repo, "1")["attempts"]][1] == ""
    assert repo.sha("gitflow/state/p~1") == before
    assert engine.audit(repo) == {"1": "failed"}


@pytest.mark.slow
def test_nothing_of_a_plan_at_which_a_run_works_is_touched(repo: Repo, tmp_path: Path) -> None:
    engine.plan(repo, task("1", lingering(tmp_path)))
    with running(repo) as process:
        pid_in(tmp_path / "pid")
        why = "a run is at work on it, so nothing of it is touched"
        assert sweep(repo, "--yes") == ({}, {"p": why})
        process.kill()
    _, kept = sweep(repo, "--yes")
    there = "what a run that died did is there: gitflow-agents run p takes it up"
    assert kept[".worktrees/p/1"] == there
    (tmp_path / "go").touch()
    engine.finished(repo, engine.go(repo))
    assert repo.show("gitflow/attempt/p/1/1", "a") == "1\n"


# --- folders --------------------------------------------------------------------------------------


def a_worktree(repo: Repo, plan: str, name: str) -> Path:
    """Make a worktree of flow as the tool makes them, of a process that is no more."""
    service = Service(str(repo.path))
    try:
        worktrees = Worktrees(service.repository, ".worktrees")
        tree = worktrees.add(plan, name, repo.sha("flow/p"))
        (tree.admin / "gitflow-owner").write_text("999999999 1\n")
        return tree.path
    finally:
        service.close()


def test_a_worktree_goes_when_a_commit_holds_what_is_in_it(over: Repo) -> None:
    path = a_worktree(over, "p", "2")
    gone, _ = swept(over)
    assert gone[".worktrees/p/2"] == "what is in it is in a commit"
    assert not path.parent.parent.exists()
    assert not list((over.path / ".git/worktrees").glob("gitflow-*"))


@pytest.mark.parametrize("what", ["file", "ignored file", "repository", "pipe", "mode"])
def test_a_worktree_with_more_in_it_stays(over: Repo, what: str) -> None:
    path = a_worktree(over, "p", "2")
    match what:
        case "file":
            (path / "only-here").write_text("precious\n")
        case "ignored file":
            (path / ".gitignore").write_text("*\n")
        case "repository":
            repos.init(path / "inside")
        case "pipe":
            os.mkfifo(path / "pipe")
        case "mode":
            (path / "a").chmod(0o755)
    gone, kept = swept(over)
    assert ".worktrees/p/2" not in gone
    assert kept[".worktrees/p/2"].startswith("what is in it is in no commit")
    assert path.is_dir()


def test_what_was_moved_aside_is_named_and_only_goes_when_it_is_in_a_commit(over: Repo) -> None:
    one, two = (a_worktree(over, "p", name) for name in ("2", "3"))
    (two / "only-here").write_text("precious\n")
    for path in (one, two):
        path.rename(path.with_name(f"{path.name}.left-0123abcd"))
    for admin in (over.path / ".git/worktrees").glob("gitflow-*"):
        shutil.rmtree(admin)
    gone, kept = swept(over)
    assert ".worktrees/p/2.left-0123abcd" in gone
    assert kept[".worktrees/p/3.left-0123abcd"].startswith("what is in it is in no commit")
    assert (over.path / ".worktrees/p/3.left-0123abcd/only-here").exists()


def test_half_a_worktree_goes(over: Repo) -> None:
    (over.path / ".git/worktrees/gitflow-p+2").mkdir(parents=True)
    gone, _ = swept(over)
    assert gone[".worktrees/p/2"] == "half-made, and nobody works there"
    assert not (over.path / ".git/worktrees/gitflow-p+2").exists()


def test_a_worktree_that_a_person_made_there_stays(over: Repo) -> None:
    over.worktree(over.path / ".worktrees/p/mine", "main")
    _, kept = swept(over)
    assert kept[".worktrees/p/mine"] == "a worktree of your own"


def test_what_is_left_of_a_plan_that_nobody_knows_is_named(over: Repo) -> None:
    over.write(".worktrees/gone/1/notes", "mine\n")
    _, kept = swept(over)
    assert kept[".worktrees/gone/1"].startswith("what is in it is in no commit")


def test_nothing_of_a_plan_goes_whose_state_is_gone(over: Repo) -> None:
    tip = over.sha("gitflow/state/p")
    over.git("branch", "-D", "gitflow/state/p")
    logs = "logs of a plan that has no state here: remove them yourself"
    assert sweep(over, "--yes") == ({}, {LOGS: logs})
    over.git("branch", "gitflow/state/p", tip)
    assert engine.fsck(over) == ()


def test_what_a_merge_that_was_cut_off_left_goes(over: Repo) -> None:
    over.write(".git/gitflow-agents/merge-x/.gitattributes", "* -text\n")
    gone, _ = swept(over)
    assert gone[".git/gitflow-agents/merge-x"] == "left by a merge that was cut off"


def test_the_tree_of_a_folder_is_the_one_that_git_makes(repo: Repo) -> None:
    repo.write("b/x", "1\n")
    repo.write("b.txt", b"\0\xff")
    repo.write("b-c/run", "#!/bin/sh\n").chmod(0o755)
    (repo.path / "link").symlink_to("nowhere")
    (repo.path / "empty").mkdir()
    repo.commit("all kinds")
    tree = repo.worktree(repo.path.parent / "tree")
    (tree.path / "empty").mkdir()
    assert content_of(tree.path) == repo.sha("HEAD^{tree}")


# --- words ----------------------------------------------------------------------------------------


def test_what_would_go_is_told_first_and_nothing_is_changed(over: Repo, cli: Cli) -> None:
    over.git("branch", "mine", "task/p/2-task-2")
    sha = over.sha("mine")[:12]
    assert cli("cleanup", "p", repo=over).stdout.splitlines() == [
        f"would remove branch task/p/2-task-2 (was {sha}): {HELD}",
        f"would remove folder {over.path}/{LOGS}: {LOGS_WHY}",
        "kept branch flow/p: the plan is finished",
        "kept branch plan/p: the plan is finished",
        "nothing was changed; --yes does it",
    ]
    done = cli("cleanup", "p", "--yes", repo=over).stdout.splitlines()
    assert done[0] == f"removed branch task/p/2-task-2 (was {sha}): {HELD}"
    assert cli("cleanup", "p", repo=over).stdout.splitlines()[-1] == "nothing to remove"
