"""The train: what is merged together, what is tested, who is to blame, and what waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.service.service import Told
from tests import engine
from tests.engine import commits, settled, task, until
from tests.repos import Repo, Result


def trains(played: engine.Played) -> list[str]:
    """Return what each tested train held, and how those ended that did not pass."""
    return [
        told.text.partition(" on flow/p")[0]
        for told in played.told
        if told.event in ("train_started", "train_ended")
    ]


def subjects(repo: Repo) -> list[str]:
    """Return flow's own line, oldest first, without the commits at both ends of the plan."""
    line = repo.log("flow/p", "%s", "--first-parent", "--reverse").splitlines()
    return [subject for subject in line if subject not in ENDS]


TESTING = until("git rev-parse -q --verify gitflow/try/p >/dev/null")
"""Waits until a train is being tested."""
ENDS = ("first commit", "settings", "accept plan p v1", "finish plan p v1")


# --- merging --------------------------------------------------------------------------------------


def test_what_has_no_command_is_merged_without_a_test(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"))
    played = engine.go(repo)
    engine.finished(repo, played)
    assert trains(played) == []


def test_a_train_is_tested_in_a_fresh_worktree_of_its_last_merge(
    repo: Repo, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    look = f"pwd > {seen}; git rev-parse HEAD gitflow/try/p >> {seen}; ls -A >> {seen}"
    engine.plan(repo, task("1", "echo 1 > a; mkdir ignored; echo x > ignored/x"), gate=[look])
    repo.write(".gitignore", "ignored\n")
    repo.commit("ignore a folder")
    played = engine.go(repo)
    engine.finished(repo, played)
    merge = engine.record(repo, "1")["merge"]
    assert seen.read_text().split() == [
        str(repo.path / ".worktrees/p/.train"),
        merge,
        merge,
        ".git",
        ".gitignore",
        "README.md",
        "a",
        "plans",
    ]
    assert played.text("train_started") == "testing 1 on flow/p: 1 command"


def test_tasks_that_wait_together_are_tested_and_merged_together_in_plan_order(
    repo: Repo, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    engine.plan(
        repo,
        task("3", "echo 3 > c"),
        task("1", f"{TESTING} echo 1 > a", verify=["grep 1 a"]),
        task("2", f"{TESTING} echo 2 > b", verify=["grep 2 b"]),
        gate=[f"{settled('1', '2')} ls | tr '\\n' ' ' >> {log}; echo >> {log}"],
    )
    played = engine.go(repo, jobs=3)
    engine.finished(repo, played)
    assert trains(played) == ["testing 3", "testing 1, 2"]
    assert log.read_text() == "README.md c plans \nREADME.md a b c plans \n"
    assert subjects(repo) == ["merge 3: Task 3", "merge 1: Task 1", "merge 2: Task 2"]
    proofs = [(ran["kind"], ran["command"]) for ran in engine.record(repo, "2")["evidence"]]
    assert proofs[:2] == [("verify", "grep 1 a"), ("verify", "grep 2 b")]


def test_tasks_that_end_in_the_same_moment_are_all_merged(repo: Repo, tmp_path: Path) -> None:
    names = [f"t{n}" for n in range(6)]
    together = " && ".join(f"[ -e {tmp_path}/{name} ]" for name in names)
    engine.plan(
        repo,
        *(
            task(name, f"touch {tmp_path}/{name}; {until(f'{{ {together}; }}')} echo 1 > {name}")
            for name in names
        ),
    )
    engine.finished(repo, engine.go(repo, jobs=6))
    assert set(names) < set(repo.tree("flow/p"))


def test_a_config_may_keep_the_branches_of_merged_tasks(repo: Repo) -> None:
    engine.config(repo, keep_branches=True)
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b", depends_on=["1"]))
    assert engine.go(repo).code == 0
    assert engine.audit(repo, kept=True) == {"1": "completed", "2": "completed"}
    assert repo.sha("task/p/1-task-1") == repo.sha(engine.record(repo, "1")["merge"] + "^2")
    before = engine.refs(repo)
    assert engine.go(repo).code == 0
    assert engine.refs(repo) == before


# --- who is to blame ------------------------------------------------------------------------------

GOOD = [task(id, f"{TESTING} echo good > {id}") for id in "acd"]
BAD = task("b", f"{TESTING} echo bad > b")


def test_a_failing_train_is_halved_until_the_culprit_is_alone(repo: Repo) -> None:
    a, c, d = GOOD
    engine.plan(
        repo,
        task("0", "echo 0 > zero"),
        a,
        BAD,
        c,
        d,
        gate=[f"{settled('a', 'b', 'c', 'd')} ! grep -l bad ?"],
    )
    played = engine.go(repo, jobs=5)
    gate = "gate `" + f"{settled('a', 'b', 'c', 'd')} ! grep -l bad ?"[:120] + "` exited with 1"
    assert played.code == 4
    assert trains(played) == [
        "testing 0",
        "testing a, b, c, d",
        f"{gate} with a, b, c, d; trying 2 at a time",
        "testing a, b",
        f"{gate} with a, b; trying 1 at a time",
        "testing a",
        "testing b, c, d",
        f"{gate} with b, c, d; trying 1 at a time",
        "testing b",
        "testing c",
        "testing d",
    ]
    assert engine.audit(repo) == {
        "0": "completed",
        "a": "completed",
        "b": "failed",
        "c": "completed",
        "d": "completed",
    }
    kept = engine.record(repo, "b")
    assert (kept["reason"], kept["message"]) == ("gate-failed", gate)
    assert kept["evidence"][-1]["tail"] == "b"
    assert "b" not in repo.tree("flow/p")
    assert repo.show(kept["branch"], "b") == "bad\n"
    assert "train_limit" not in engine.state(repo)
    engine.tidy(repo)


def test_the_longest_train_allowed_is_in_the_state_until_one_passes(repo: Repo) -> None:
    a, _, _ = GOOD
    engine.plan(
        repo, task("0", "echo 0 > zero"), BAD, a, gate=[f"{settled('a', 'b')} ! grep -l bad ?"]
    )
    limits: list[int | None] = []

    def watch(told: Told) -> None:
        if told.event == "train_started":
            limits.append(engine.state(repo).get("train_limit"))

    assert engine.go(repo, jobs=3, on_event=watch).code == 4
    assert limits == [None, None, 1, 1]
    assert "train_limit" not in engine.state(repo)
    assert engine.audit(repo) == {"0": "completed", "b": "failed", "a": "completed"}


def test_a_capability_whose_check_fails_on_the_merged_tree_is_not_merged(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a"),
        task(
            "2",
            until(engine.recorded("1", "completed")) + "echo 2 > b",
            provides=[{"name": "only b", "check": "test -e b -a ! -e a"}],
        ),
        task("3", "echo 3 > c", preconditions=["only b"]),
    )
    played = engine.go(repo)
    assert played.code == 4
    kept = engine.record(repo, "2")
    assert (kept["reason"], kept["message"]) == (
        "checks-failed",
        "check `test -e b -a ! -e a` exited with 1",
    )
    assert played.happened("attempt_succeeded", "merge_refused") == ["1", "2", "2"]
    assert engine.audit(repo) == {"1": "completed", "2": "failed", "3": "pending"}


@pytest.mark.parametrize(
    ("keys", "run", "reason", "message"),
    [
        ({"gate": ["exit 1"]}, "", "gate-failed", "gate `exit 1` exited with 1"),
        (
            {"gate": ["not-there"]},
            "",
            "unverified",
            "gate `not-there` could not start (exit 127)",
        ),
        (
            {"gate": ["true"], "setup": ["test ! -e a"]},
            "",
            "setup-failed",
            "setup `test ! -e a` exited with 1",
        ),
        (
            {"gate": ["true"], "copy": ["notes"]},
            "rm {repo}/notes; ",
            "precondition-failed",
            "`copy` names notes, which cannot be copied: No such file or directory",
        ),
    ],
)
def test_what_does_not_pass_on_the_merged_tree_fails_with_its_reason(
    repo: Repo, keys: dict[str, Any], run: str, reason: str, message: str
) -> None:
    repo.write("notes", "of alice\n")
    engine.plan(repo, task("1", run.format(repo=repo.path) + "echo 1 > a"), **keys)
    played = engine.go(repo)
    assert played.code == 4
    kept = engine.record(repo, "1")
    assert (kept["status"], kept["reason"], kept["message"]) == ("failed", reason, message)
    assert repo.sha("flow/p") == engine.state(repo)["accepting"]
    assert engine.audit(repo) == {"1": "failed"}
    engine.tidy(repo)


def test_the_configs_gate_and_the_plans_must_both_pass(repo: Repo, tmp_path: Path) -> None:
    log = tmp_path / "log"
    engine.config(repo, gate=[f"echo config >> {log}"])
    engine.plan(
        repo, task("1", "echo 1 > a"), gate=[f"echo plan >> {log}", f"echo config >> {log}"]
    )
    engine.finished(repo, engine.go(repo))
    assert log.read_text().split() == ["config", "plan"]


# --- conflicts ------------------------------------------------------------------------------------


def test_what_conflicts_with_a_car_ahead_waits_for_the_next_train(repo: Repo) -> None:
    # 1 and 2 change the same line. 1 does not pass, so 2 meets no conflict at all.
    engine.plan(
        repo,
        task("0", "echo 0 > zero"),
        task("1", f"{TESTING} echo bad > README.md"),
        task("2", f"{TESTING} echo good > README.md"),
        gate=[f"{settled('1', '2')} ! grep bad README.md"],
    )
    played = engine.go(repo, jobs=3)
    assert played.code == 4
    assert [line for line in trains(played) if "testing" in line] == [
        "testing 0",
        "testing 1",
        "testing 2",
    ]
    assert engine.audit(repo) == {"0": "completed", "1": "failed", "2": "completed"}
    second = engine.record(repo, "2")
    assert (len(second["attempts"]), second.get("conflicts", 0)) == (1, 0)


def test_a_real_conflict_is_tried_again_once_with_the_conflict_in_its_brief(repo: Repo) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 >> README.md"),
        task("2", until(engine.recorded("1", "completed")) + "cat README.md > was; echo 2 >> README.md"),
        task("3", "echo 3 > c", depends_on=["2"]),
    )  # fmt: skip
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("merge_refused", "task_retried") == ["2", "2"]
    assert played.text("merge_refused") == (
        "2 was not merged: conflict: it does not merge with flow/p: README.md"
    )
    kept = engine.record(repo, "2")
    first, second = kept["attempts"]
    assert (first["reason"], first["kept"]) == ("conflict", "gitflow/attempt/p/2/1")
    assert (second["number"], second.get("reason")) == (2, None)
    assert kept["conflicts"] == 1
    assert repo.sha("gitflow/attempt/p/2/1") == first["report"]
    assert repo.show("gitflow/attempt/p/2/1", "README.md") == "# A small project\n2\n"
    brief = repo.show(kept["claim"], ".gitflow/brief.md")
    assert "The last result was in conflict with what is on flow by now." in brief
    assert "The conflict was in:\n\n- `README.md`\n" in brief
    assert "gitflow/attempt/p/2/1" in brief
    # The second attempt began on flow as it was then, without the work that did not fit.
    assert repo.show("flow/p", "was") == "# A small project\n1\n"
    assert repo.show("flow/p", "README.md") == "# A small project\n1\n2\n"


@pytest.mark.parametrize(
    ("retries", "meddled", "status", "attempts"),
    [
        (0, 1, "failed", 1),
        (1, 2, "failed", 2),
        (2, 2, "completed", 3),
        (2, 9, "failed", 3),
        (3, 3, "completed", 4),
    ],
)
def test_a_conflict_is_tried_again_as_often_as_the_plan_says(
    repo: Repo, retries: int, meddled: int, status: str, attempts: int
) -> None:
    engine.plan(repo, task("1", "echo mine >> README.md", conflict_retries=retries, attempts=9))
    times: list[int] = []

    def meddle(told: Told) -> None:
        """Change the same line on flow while the attempt is about to start."""
        if told.event == "attempt_started" and len(times) < meddled:
            times.append(len(times))
            text = "# A small project\n" + "".join(f"theirs {n}\n" for n in times)
            commits(repo, "flow/p", README__md=text)

    played = engine.go(repo, on_event=meddle)
    assert engine.audit(repo) == {"1": status}
    kept = engine.record(repo, "1")
    assert (len(kept["attempts"]), played.code) == (attempts, 0 if status == "completed" else 4)
    assert [a["kept"] for a in kept["attempts"][:-1]][-3:] == [
        f"gitflow/attempt/p/1/{n}" for n in range(1, attempts)
    ][-3:]
    if status == "failed":
        assert kept["reason"] == "conflict"
    engine.tidy(repo)


def test_work_that_still_fits_is_brought_back_when_another_attempt_is_made(repo: Repo) -> None:
    # The conflict is in one file; nothing of the former work can be kept then, and the brief says
    # where it is. Without a conflict (see the interrupted runs) it is brought back.
    engine.plan(repo, task("1", "ls > seen; echo mine >> README.md; echo 1 > new"))
    done: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "attempt_started" and not done:
            done.append(commits(repo, "flow/p", README__md="theirs\n"))

    engine.finished(repo, engine.go(repo, on_event=meddle))
    assert "new" not in repo.show("flow/p", "seen").split()


# --- people beside it -----------------------------------------------------------------------------


def test_a_persons_commit_on_flow_is_adopted(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "cat by-hand > b", depends_on=["1"]))
    made: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "attempt_started" and not made:
            made.append(commits(repo, "flow/p", **{"by-hand": "hers\n"}))

    played = engine.go(repo, on_event=meddle)
    engine.finished(repo, played)
    assert repo.show("flow/p", "b") == "hers\n"
    assert subjects(repo) == ["by hand", "merge 1: Task 1", "merge 2: Task 2"]
    assert f"flow/p moved to {made[0][:12]}: 1 commits of people" in [t.text for t in played.told]


def test_a_person_who_commits_to_flow_while_a_train_is_tested_comes_first(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), gate=["test -e a"])
    made: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "train_started" and not made:
            made.append(commits(repo, "flow/p", theirs="1\n"))

    played = engine.go(repo, on_event=meddle)
    engine.finished(repo, played)
    assert subjects(repo) == ["by hand", "merge 1: Task 1"]
    assert played.happened("train_started") == ["train_started"] * 2


@pytest.mark.parametrize("what", ["deleted", "moved"])
def test_a_result_whose_branch_a_person_takes_while_it_is_tested_is_kept_and_not_merged(
    repo: Repo, tmp_path: Path, what: str
) -> None:
    engine.plan(
        repo,
        task("1", "echo 1 > a"),
        task("2", f"{TESTING} echo 2 > b"),
        gate=[until(f"[ -e {tmp_path}/go ]") + settled("2")],
    )
    reviewed: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "train_started" and not reviewed:
            reviewed.append(repo.sha("task/p/1-task-1"))
            if what == "deleted":
                repo.git("branch", "-D", "task/p/1-task-1")
            else:
                commits(repo, "task/p/1-task-1", "hers", theirs="1\n")
            (tmp_path / "go").touch()

    played = engine.go(repo, on_event=meddle)
    assert (played.code, engine.audit(repo)) == (4, {"1": "failed", "2": "completed"})
    kept = engine.record(repo, "1")
    assert (kept["reason"], repo.sha("gitflow/attempt/p/1/1")) == ("foreign-commits", reviewed[0])
    assert "a" not in repo.tree("flow/p")
    if what == "moved":
        assert repo.log("task/p/1-task-1", "%s", "-1") == "hers"
    engine.tidy(repo)


@pytest.mark.parametrize(
    "trailers",
    [
        "Gitflow-Event: task_merged\nGitflow-Plan: p\nGitflow-Task: 1",
        "Gitflow-Event: plan_held\nGitflow-Event: task_merged",
        "Gitflow-Event: task_merged\nGitflow-Plan: p\nGitflow-Task: nobody",
        "Gitflow-Event: task_merged\nGitflow-Plan: other\nGitflow-Task: 1\nGitflow-Attempt: x",
        "Gitflow-Event: plan_finished\nGitflow-Plan: p",
    ],
)
def test_forged_trailers_on_flow_complete_nothing(repo: Repo, trailers: str) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "echo 2 > b", depends_on=["1"]))

    def meddle(told: Told) -> None:
        if told.event == "attempt_started" and told.data["task"] == "1":
            commits(repo, "flow/p", f"mine\n\n{trailers}", theirs="1\n")

    played = engine.go(repo, on_event=meddle)
    assert (played.code, played.happened("task_merged")) == (0, ["1", "2"])
    assert repo.show("flow/p", "a") == "1\n"
    # The audit does not tell ours from a forged merge, so it is left out here.
    assert "plans/p.report.md" in repo.tree("flow/p")


def moved_base(repo: Repo, **files: str) -> Any:
    """Return a listener that moves the base once, when the first attempt starts."""
    done: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "attempt_started" and not done:
            done.append(commits(repo, "main", "on main", **files))

    return meddle


def test_a_base_that_moved_is_merged_first(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > a"), task("2", "cat news > b", depends_on=["1"]))
    played = engine.go(repo, on_event=moved_base(repo, news="from main\n"))
    engine.finished(repo, played)
    assert repo.show("flow/p", "b") == "from main\n"
    assert "main was merged into flow/p" in [told.text for told in played.told]
    assert subjects(repo)[0] == "merge main into flow/p"
    assert engine.state(repo)["base_sha"] == repo.sha("main")


def test_a_base_that_moved_is_left_alone_when_the_config_says_so(repo: Repo) -> None:
    engine.config(repo, follow_base="off")
    engine.plan(repo, task("1", "echo 1 > a"))
    engine.finished(repo, engine.go(repo, on_event=moved_base(repo, news="from main\n")))
    assert subjects(repo) == ["merge 1: Task 1"]


def test_a_base_that_does_not_merge_is_told_and_left_to_a_person(repo: Repo) -> None:
    engine.plan(repo, task("1", "echo 1 > README.md"), task("2", "echo 2 > b", depends_on=["1"]))
    done: list[str] = []

    def meddle(told: Told) -> None:
        if told.event == "task_merged" and not done:
            done.append(commits(repo, "main", "on main", README__md="theirs\n"))

    played = engine.go(repo, on_event=meddle)
    engine.finished(repo, played)
    assert (
        "main moved and does not merge into flow/p: README.md; merge it by hand when you like"
        in [told.text for told in played.told]
    )
    assert subjects(repo) == ["merge 1: Task 1", "merge 2: Task 2"]


@pytest.mark.parametrize("alone", [False, True])
def test_a_base_that_does_not_pass_the_gate_stays_out(repo: Repo, alone: bool) -> None:
    wait = until('[ -z "$(git rev-parse -q --verify gitflow/try/p)" ]') if alone else ""
    engine.plan(
        repo, task("1", f"{wait} echo 1 > a"), task("2", "echo 2 > b"), gate=["test ! -e broken"]
    )
    played = engine.go(repo, jobs=2 if alone else 1, on_event=moved_base(repo, broken="1\n"))
    engine.finished(repo, played)
    assert "broken" not in repo.tree("flow/p")
    assert not any("merge main" in subject for subject in subjects(repo))


# --- what must not hang ---------------------------------------------------------------------------


def timed(repo: Repo, tool: Any) -> Result:
    """Run the plan as a process of its own, which has to end by itself."""
    done: Result = tool(repo, "run", engine.FILE, check=False, timeout=60)
    return done


def test_a_run_ends_when_flow_is_checked_out_while_a_train_is_tested(
    repo: Repo, tool: Any, tmp_path: Path
) -> None:
    look = tmp_path / "look"
    engine.plan(
        repo,
        task("1", "echo 1 > a"),
        gate=[f"test -e {look} || git -C {repo.path} worktree add -q {look} flow/p"],
    )
    done = timed(repo, tool)
    assert done.exit_code == 4, done.stderr
    assert f"flow/p is checked out in {look}, so nothing is merged" in done.stderr
    assert engine.audit(repo) == {"1": "review"}
    repo.git("-C", str(look), "switch", "-q", "--detach")
    engine.finished(repo, engine.go(repo))


def test_a_run_ends_when_the_plan_is_held_while_a_train_is_tested(
    repo: Repo, tool: Any, tmp_path: Path
) -> None:
    held = until("git show gitflow/state/p:plan.yaml | grep -q '^held:'")
    engine.plan(
        repo,
        task("1", "echo 1 > a"),
        task("2", f"{TESTING} git config x.y z; echo 2 > b"),
        gate=[f"test -e {tmp_path}/held || {{ {held} touch {tmp_path}/held; }}"],
    )
    done = timed(repo, tool)
    assert done.exit_code == 4, done.stderr
    assert "the plan is held: " in done.stderr
    assert engine.audit(repo) == {"1": "review", "2": "failed"}
    repo.git("config", "--unset", "x.y")
    engine.act(repo, "resume")
    assert engine.go(repo).code == 4
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}
    engine.tidy(repo)
