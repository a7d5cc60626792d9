"""People in the middle: what somebody does to branches by hand while a plan runs.

Nothing that a person made is moved or lost, no attempt fails for what somebody did beside it, and
the plan says what it cannot go on from.  `beside` does a person's deed when something happens; the
commands of the tasks wait for that, so there is a window and no race.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gitflow_agents.service.desk import Told
from tests import engine, repos
from tests.engine import Played, task
from tests.repos import Repo

BRANCH = "task/p/1-task-1"
KEPT = "gitflow/attempt/p/1/1"


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    """Return a file that a deed leaves when it is done."""
    return tmp_path / "gone"


def wait(mark: Path) -> str:
    """Return shell words that wait until a deed is done."""
    return engine.until(f"test -e '{mark}'")


def beside(repo: Repo, event: str, deed: Callable[[], object], mark: Path, id: str = "") -> Played:
    """Run the plan; when `event` (of a task) is told for the first time, a person does `deed`."""

    def look(told: Told) -> None:
        if told.event == event and told.data.get("task", "") == id and not mark.exists():
            deed()
            mark.touch()

    played = engine.go(repo, on_event=look)
    assert mark.exists()
    return played


def failed(repo: Repo, id: str = "1") -> tuple[str, str]:
    """Return the reason and the message with which a task failed."""
    kept = engine.record(repo, id)
    assert kept["status"] == "failed"
    return kept["reason"], kept["message"]


# --- a task's branch, while its attempt runs ------------------------------------------------------


@pytest.fixture
def running(repo: Repo, gone: Path) -> Repo:
    """Return a repository whose plan waits for a deed in its first task; the second needs it."""
    engine.plan(
        repo,
        task("1", f"echo a > a.txt; {wait(gone)}", provides=["a"]),
        task("2", "echo b > b.txt", preconditions=["a"]),
        task("3", f"{wait(gone)}echo c > c.txt"),
    )
    return repo


def test_a_task_branch_that_is_deleted_while_its_attempt_runs(running: Repo, gone: Path) -> None:
    played = beside(
        running, "attempt_started", lambda: running.git("branch", "-D", BRANCH), gone, "1"
    )
    assert failed(running) == (
        "foreign-commits",
        f"{BRANCH} was deleted; somebody moved it while attempt 1 was running; "
        f"the result is kept as {KEPT}",
    )
    (told,) = (told for told in played.told if told.event == "attempt_expired")
    assert told.detail == "next: gitflow-agents show p/1"
    assert running.show(KEPT, "a.txt") == "a\n"
    assert BRANCH not in running.branches()  # it is not made again behind their back
    assert (played.code, engine.audit(running)) == (
        4,
        {"1": "failed", "2": "pending", "3": "completed"},
    )
    engine.tidy(running)


@pytest.mark.parametrize("start", [BRANCH, "main"])
def test_a_task_branch_that_is_pushed_to_or_forced_while_its_attempt_runs(
    running: Repo, gone: Path, start: str
) -> None:
    def deed() -> None:
        running.git("branch", "theirs", start)
        engine.commits(running, "theirs", a__txt="theirs\n")
        running.git("update-ref", f"refs/heads/{BRANCH}", "theirs")

    played = beside(running, "attempt_started", deed, gone, "1")
    theirs = running.sha("theirs")
    assert failed(running) == (
        "foreign-commits",
        f"{BRANCH} is at {theirs[:12]} now; somebody moved it while attempt 1 was running; "
        f"what is there is kept as {KEPT}.2 too; the result is kept as {KEPT}",
    )
    assert running.sha(BRANCH) == running.sha(f"{KEPT}.2") == theirs
    assert running.show(KEPT, "a.txt") == "a\n"
    assert engine.record(running, "1")["attempts"][-1]["kept"] == KEPT
    assert (played.code, engine.audit(running)["2"]) == (4, "pending")
    engine.tidy(running)


def test_a_person_who_works_on_a_checked_out_task_branch_keeps_their_commit(
    running: Repo, gone: Path, tmp_path: Path
) -> None:
    theirs = Repo(tmp_path / "theirs")

    def deed() -> None:
        running.git("worktree", "add", "--quiet", str(theirs.path), BRANCH)
        theirs.write("a.txt", "theirs\n")
        theirs.commit("by hand")

    beside(running, "attempt_started", deed, gone, "1")
    assert failed(running)[0] == "foreign-commits"
    assert (theirs.sha(), theirs.git("status", "--porcelain")) == (running.sha(BRANCH), "")
    assert running.show(BRANCH, "a.txt") == "theirs\n"
    assert running.show(KEPT, "a.txt") == "a\n"


# --- a task's branch, while its result is tested --------------------------------------------------


@pytest.fixture
def in_review(repo: Repo, gone: Path) -> Repo:
    """Return a repository whose plan waits for a deed on the merged tree of two tasks."""
    engine.plan(
        repo,
        task("1", "echo a > a.txt", provides=["a"]),
        task("2", "echo b > b.txt", preconditions=["a"]),
        gate=[wait(gone)],
    )
    return repo


@pytest.mark.parametrize("deed", ["delete", "force", "push"])
def test_a_task_branch_that_is_moved_in_review_is_not_merged(
    in_review: Repo, gone: Path, deed: str
) -> None:
    def meddle() -> None:
        if deed == "delete":
            in_review.git("branch", "-D", BRANCH)
        elif deed == "force":
            in_review.git("branch", "--force", BRANCH, "main")
        else:
            engine.commits(in_review, BRANCH, b__txt="theirs\n")

    played = beside(in_review, "train_started", meddle, gone)
    record = engine.record(in_review, "1")
    tip = "" if deed == "delete" else in_review.sha(BRANCH)
    what = f"is at {tip[:12]} now" if tip else "was deleted"
    assert failed(in_review) == (
        "foreign-commits",
        f"{BRANCH} {what}, not what was to be merged; the result is kept as {KEPT}",
    )
    assert in_review.sha(KEPT) == record["attempts"][-1]["report"]
    assert in_review.show(KEPT, "a.txt") == "a\n"
    assert engine.state(in_review)["flow_sha"] == engine.state(in_review)["accepting"]
    assert (played.code, engine.audit(in_review)) == (4, {"1": "failed", "2": "pending"})
    assert played.happened("attempt_started") == ["1"]
    engine.tidy(in_review)


def test_a_car_that_is_taken_from_a_train_does_not_stop_the_others(repo: Repo, gone: Path) -> None:
    first = engine.until("git rev-parse -q --verify gitflow/try/p")
    engine.plan(
        repo,
        task("1", "echo a > a.txt"),
        task("2", f"{first}echo b > b.txt"),
        task("3", f"{first}echo c > c.txt"),
        gate=[engine.settled("2", "3"), f"if test -e b.txt; then {wait(gone)} fi"],
    )

    def look(told: Told) -> None:
        if told.event == "train_started" and told.text.startswith("testing 2, 3 "):
            repo.git("branch", "-D", "task/p/2-task-2")
            gone.touch()

    played = engine.go(repo, on_event=look)
    assert (played.code, engine.audit(repo)) == (
        4,
        {"1": "completed", "2": "failed", "3": "completed"},
    )
    assert repo.tree("flow/p") == ["README.md", "a.txt", "c.txt", "plans/p.yaml"]


def test_a_task_branch_that_is_checked_out_in_review_is_merged_and_stays(
    in_review: Repo, gone: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    played = beside(
        in_review,
        "train_started",
        lambda: in_review.git("worktree", "add", "--quiet", str(theirs), BRANCH),
        gone,
    )
    assert (played.code, Repo(theirs).git("status", "--porcelain")) == (0, "")
    assert BRANCH in in_review.branches()
    in_review.git("worktree", "remove", str(theirs))
    in_review.git("branch", "-D", BRANCH)
    engine.finished(in_review, played)


# --- flow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("event", "id"), [("attempt_started", "1"), ("train_started", "")])
def test_a_persons_commit_on_flow_is_adopted_and_merges_go_on(
    repo: Repo, gone: Path, event: str, id: str
) -> None:
    engine.plan(
        repo,
        task("1", f"{wait(gone) if id else ''}echo a > a.txt", provides=["a"]),
        task("2", "cat a.txt theirs.txt > b.txt", preconditions=["a"]),
        gate=["true" if id else wait(gone)],
    )
    theirs: list[str] = []
    played = beside(
        repo,
        event,
        lambda: theirs.append(engine.commits(repo, "flow/p", "by hand", theirs__txt="t\n")),
        gone,
        id,
    )
    engine.finished(repo, played)
    assert theirs[0] in repo.log("flow/p", "%H", "--first-parent").split()
    assert repo.show("flow/p", "b.txt") == "a\nt\n"
    assert played.text("flow_changed") == f"flow/p moved to {theirs[0][:12]}: 1 commits of people"


def test_a_persons_merge_of_a_task_in_review_is_adopted(in_review: Repo, gone: Path) -> None:
    def deed() -> None:
        tree = in_review.git("merge-tree", "--write-tree", "flow/p", BRANCH)
        made = in_review.git(
            "commit-tree", tree, "-p", "flow/p", "-p", BRANCH, "-m", "merged by hand"
        )
        in_review.git("update-ref", "refs/heads/flow/p", made)

    played = beside(in_review, "train_started", deed, gone)
    assert (played.code, set(engine.audit(in_review).values())) == (0, {"completed"})


@pytest.mark.parametrize("deed", ["delete", "force"])
def test_a_flow_that_is_gone_or_forced_holds_the_plan_until_somebody_mends_it(
    repo: Repo, gone: Path, deed: str
) -> None:
    engine.plan(
        repo,
        task("1", "echo a > a.txt", provides=["a"]),
        task("2", f"{wait(gone)}echo b > b.txt", preconditions=["a"]),
        task("3", "echo c > c.txt", depends_on=["2"]),
    )
    before: list[str] = []

    def meddle() -> None:
        before.append(repo.sha("flow/p"))
        if deed == "delete":
            repo.git("branch", "-D", "flow/p")
        else:
            repo.git("branch", "--force", "flow/p", "main")

    played = beside(repo, "attempt_started", meddle, gone, "2")
    (flow,) = before
    mend = {
        "delete": f"flow/p is gone; bring it back: git branch flow/p {flow}",
        "force": "flow/p was moved back or replaced; "
        f"to go on from what was merged: git branch -f flow/p {flow}",
    }[deed]
    assert (played.code, played.message) == (4, f"the plan is held: the flow branch {mend}")
    assert engine.record(repo, "2")["status"] == "review"  # what ran was let end, and is kept
    again = engine.go(repo)
    assert (again.code, again.message) == (played.code, played.message)
    command = mend.rpartition("git ")[2].split()
    repo.git(*command)
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("attempt_started") == ["3"]


def test_a_flow_that_was_mended_while_the_plan_runs_needs_no_other_run(
    repo: Repo, gone: Path, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    engine.plan(repo, task("1", f"{wait(gone)}{wait(held)}echo a > a.txt"))
    flow: list[str] = []

    def look(told: Told) -> None:
        if told.event == "attempt_started":
            flow.append(repo.sha("flow/p"))
            repo.git("branch", "-D", "flow/p")
            gone.touch()
        elif told.event == "plan_held":
            repo.git("branch", "flow/p", *flow)
            held.touch()

    played = engine.go(repo, on_event=look)
    engine.finished(repo, played)
    assert played.happened("plan_held", "plan_resumed") == ["plan_held", "plan_resumed"]


# --- the base -------------------------------------------------------------------------------------


def test_a_commit_on_the_base_is_merged_as_the_first_car(repo: Repo, gone: Path) -> None:
    engine.plan(
        repo,
        task("1", f"{wait(gone)}echo a > a.txt", provides=["a"]),
        task("2", "cat a.txt theirs.txt > b.txt", preconditions=["a"]),
        gate=["test -e README.md"],
    )
    theirs: list[str] = []
    played = beside(
        repo,
        "attempt_started",
        lambda: theirs.append(engine.commits(repo, "main", "on the base", theirs__txt="t\n")),
        gone,
        "1",
    )
    engine.finished(repo, played)
    assert repo.show("flow/p", "b.txt") == "a\nt\n"
    subjects = repo.log("flow/p", "%s", "--first-parent", "--reverse", "main..").split("\n")
    assert subjects == [
        "accept plan p v1",
        "merge main into flow/p",
        "merge 1: Task 1",
        "merge 2: Task 2",
        "finish plan p v1",
    ]


def test_a_commit_on_the_base_that_conflicts_is_only_said(repo: Repo, gone: Path) -> None:
    engine.plan(
        repo,
        task("1", "echo ours > x.txt", provides=["x"]),
        task("2", f"{wait(gone)}echo b > b.txt", preconditions=["x"]),
        task("3", "echo c > c.txt", depends_on=["2"]),
    )
    played = beside(
        repo,
        "attempt_started",
        lambda: engine.commits(repo, "main", x__txt="theirs\n"),
        gone,
        "2",
    )
    engine.finished(repo, played)
    assert repo.show("flow/p", "x.txt") == "ours\n"
    assert played.text("flow_changed") == (
        "main moved and does not merge into flow/p: x.txt; merge it by hand when you like"
    )


def test_a_base_that_does_not_pass_stays_out_and_the_tasks_are_merged(
    repo: Repo, gone: Path
) -> None:
    engine.plan(
        repo,
        task("1", f"{wait(gone)}echo a > a.txt", provides=["a"]),
        task("2", "echo b > b.txt", preconditions=["a"]),
        gate=["test ! -e broken.txt"],
    )
    played = beside(
        repo,
        "attempt_started",
        lambda: engine.commits(repo, "main", broken__txt="x\n"),
        gone,
        "1",
    )
    engine.finished(repo, played)
    assert "broken.txt" not in repo.tree("flow/p")


# --- beside ---------------------------------------------------------------------------------------


def ordinary_work(repo: Repo, tmp_path: Path) -> None:
    repo.git("switch", "--quiet", "--create", "mine")
    repo.write("README.md", "mine\n")
    repo.git("commit", "--quiet", "--all", "--message", "mine")
    repo.git("commit", "--quiet", "--amend", "--message", "mine again")
    repo.git("switch", "--quiet", "main")
    engine.commits(repo, "other", b__txt="b\n")


def branches_made_moved_and_deleted(repo: Repo, tmp_path: Path) -> None:
    repo.git("branch", "new")
    repo.git("branch", "--move", "other", "renamed")
    repo.git("branch", "--force", "second", "other-tip")
    repo.git("branch", "-D", "third")
    repo.git("update-ref", "-d", "refs/heads/fourth")


def tags_and_stashes(repo: Repo, tmp_path: Path) -> None:
    repo.git("tag", "v1")
    repo.git("tag", "--annotate", "--message", "two", "v2")
    repo.git("tag", "--delete", "old")
    repo.write("README.md", "stashed\n")
    repo.git("stash", "--quiet")
    repo.git("stash", "drop", "--quiet")
    repo.git("stash", "drop", "--quiet")


def upstreams(repo: Repo, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    repos.init(remote, bare=True)
    repo.git("push", "--quiet", "--set-upstream", str(remote), "main")
    repo.git("branch", "--set-upstream-to=main", "other")
    repo.git("config", "branch.other.description", "what it is for")


def branches_without_a_log(repo: Repo, tmp_path: Path) -> None:
    repo.git("-c", "core.logAllRefUpdates=false", "branch", "quiet")
    repo.git("-c", "core.logAllRefUpdates=false", "branch", "--force", "quiet", "other-tip")


def worktrees_and_housekeeping(repo: Repo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "--quiet", "-b", "elsewhere", str(tmp_path / "elsewhere"))
    repo.git("pack-refs", "--all")
    repo.git("gc", "--quiet")
    repo.git("worktree", "remove", str(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    "deed",
    [
        ordinary_work,
        branches_made_moved_and_deleted,
        tags_and_stashes,
        upstreams,
        branches_without_a_log,
        worktrees_and_housekeeping,
    ],
)
def test_no_attempt_fails_for_what_somebody_does_beside_it(
    repo: Repo, gone: Path, tmp_path: Path, deed: Callable[[Repo, Path], None]
) -> None:
    for name in ("other", "second", "third", "fourth"):
        repo.git("branch", name)
    repo.git("branch", "other-tip")
    engine.commits(repo, "other-tip", x__txt="x\n")
    repo.git("tag", "old")
    repo.write("README.md", "first\n")
    repo.git("stash", "--quiet")
    look = "git log -1 --format=%s other second main > /dev/null; git status > /dev/null; "
    engine.plan(
        repo,
        task("1", f"{wait(gone)}echo a > a.txt", provides=["a"]),
        task("2", f"{wait(gone)}{look}echo b > b.txt"),
        task("3", "echo c > c.txt", preconditions=["a"]),
        gate=["true"],
    )
    played = beside(repo, "attempt_started", lambda: deed(repo, tmp_path), gone, "1")
    engine.finished(repo, played)
    assert played.happened("attempt_started") == ["1", "2", "3"]


def test_two_plans_run_beside_each_other(repo: Repo, gone: Path) -> None:
    engine.plan(repo, task("1", f"{wait(gone)}echo a > a.txt"), task("2", "echo b > b.txt"))
    engine.plan(repo, task("1", "echo q > q.txt"), task("2", "echo r > r.txt"), name="q")
    inner: list[Played] = []
    outer = beside(
        repo, "attempt_started", lambda: inner.append(engine.go(repo, "plans/q.yaml")), gone, "1"
    )
    engine.finished(repo, inner[0], "q")
    engine.finished(repo, outer)


# --- the state ------------------------------------------------------------------------------------


def test_a_state_that_somebody_deleted_is_named_with_the_command_that_brings_it_back(
    repo: Repo, gone: Path, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    engine.plan(
        repo,
        task("1", f"touch {started}; {wait(gone)}echo a > a.txt"),
        task("2", "echo b > b.txt", depends_on=["1"]),
    )
    # In a process of its own: a second run in this one would take the first for alive.
    with subprocess.Popen(
        [Path(sys.executable).with_name("gitflow-agents"), "run", engine.FILE],
        cwd=repo.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        subprocess.run(["sh", "-c", wait(started)], check=True)
        tip = repo.sha("gitflow/state/p")
        repo.git("branch", "-D", "gitflow/state/p")
        gone.touch()
        _, said = run.communicate(timeout=60)
    command = f"git branch gitflow/state/p {tip}"
    assert (run.returncode, said) == (
        1,
        "error: the state of p is gone: refs/heads/gitflow/state/p\n"
        f"hint: {command} brings it back\n",
    )
    repo.git(*command.split()[1:])
    repos.tool(repo, "run", "p")
    assert set(engine.audit(repo).values()) == {"completed"}
    assert engine.record(repo, "1")["attempts"][-1]["number"] == 1  # its work was not done twice
    engine.tidy(repo)


def test_a_plan_branch_that_somebody_deleted_changes_nothing(repo: Repo, gone: Path) -> None:
    engine.plan(repo, task("1", f"{wait(gone)}echo a > a.txt"), task("2", "echo b > b.txt"))
    played = beside(repo, "attempt_started", lambda: repo.git("branch", "-D", "plan/p"), gone, "1")
    engine.finished(repo, played)


def test_a_checkout_that_somebody_deleted_in_the_middle_loses_nothing(
    repo: Repo, gone: Path
) -> None:
    engine.plan(repo, task("1", f"echo a > a.txt; {wait(gone)}"), task("2", "echo b > b.txt"))
    played = beside(repo, "attempt_started", lambda: shutil.rmtree(repo.path / "plans"), gone, "1")
    engine.finished(repo, played)
