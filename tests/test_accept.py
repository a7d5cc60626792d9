"""From a plan file to an accepted plan: what is made together, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.errors import FlowError, InvalidFile
from gitflow_agents.service import Service
from gitflow_agents.service.accept import name_clash
from tests import engine
from tests.engine import commits, task
from tests.repos import Repo


def refused(repo: Repo, what: str = engine.FILE) -> tuple[str, str]:
    """Return message and hint of a run that is refused; it may change nothing."""
    before = engine.refs(repo)
    with pytest.raises(FlowError) as error:
        engine.go(repo, what)
    assert engine.refs(repo) == before
    assert (repo.path / ".worktrees").exists() is False
    return error.value.message, error.value.hint


ONE = task("1", "echo 1 > a")


# --- what is made ---------------------------------------------------------------------------------


def test_a_plan_is_accepted_with_three_refs_at_once(repo: Repo) -> None:
    repo.identify()
    main = repo.sha("main")
    engine.plan(repo, task("1", "exit 1"), goal="Try\nit")
    text = repo.path.joinpath(engine.FILE).read_text()
    played = engine.go(repo)
    assert played.text("plan_accepted") == "plan p accepted as v1: 1 task"
    about = engine.state(repo)
    plan, flow = about["commit"], about["accepting"]
    assert {ref: sha for ref, sha in engine.refs(repo).items() if "/task/" not in ref} == {
        "refs/heads/main": main,
        "refs/heads/plan/p": plan,
        "refs/heads/flow/p": flow,
        "refs/heads/gitflow/state/p": repo.sha("gitflow/state/p"),
    }
    for commit in (plan, flow):
        assert repo.git("rev-parse", f"{commit}^") == main
        assert repo.git("diff", "--name-only", main, commit) == engine.FILE
        assert repo.show(commit, engine.FILE) == text
    assert repo.show("gitflow/state/p", "spec.yaml") == text
    assert repo.log(plan, "%s|%an <%ae>|%cn", "-1") == (
        "plan p: Try it|alice <alice@example.com>|gitflow-agents"
    )
    assert repo.log(flow, "%an|%B", "-1").rstrip() == (
        "gitflow-agents|accept plan p v1\n\nTry it\n\nGitflow-Event: plan_accepted\nGitflow-Plan: p"
    )
    first = engine.log(repo, "gitflow/state/p")[0]
    assert first.parents == ()
    (event,) = first.events
    assert (event["Event"], event["Commit"]) == ("plan_accepted", flow)
    assert event["Actor"] == "alice <alice@example.com>"
    assert (about["base"], about["base_sha"], about["flow"]) == ("main", main, "flow/p")
    assert about["accepted_by"] == "alice <alice@example.com>"
    assert (repo.path / engine.FILE).read_text() == text


def test_a_base_that_has_the_file_already_still_gets_an_accepting_commit(repo: Repo) -> None:
    engine.plan(repo, ONE)
    repo.commit("the plan")
    engine.finished(repo, engine.go(repo))
    accepting = engine.state(repo)["accepting"]
    assert repo.git("diff", "--name-only", f"{accepting}^", accepting) == ""
    assert repo.sha(f"{accepting}^") == repo.sha("main")


@pytest.mark.parametrize(
    ("keys", "flow"),
    [({}, "flow/p"), ({"type": "feat"}, "feat/p"), ({"flow": "team/one"}, "team/one")],
)
def test_a_plan_names_its_flow_branch(repo: Repo, keys: dict[str, Any], flow: str) -> None:
    engine.plan(repo, ONE, **keys)
    engine.finished(repo, engine.go(repo))
    assert flow in repo.branches()


def test_a_plan_starts_from_the_base_that_it_names(repo: Repo) -> None:
    repo.git("branch", "release")
    base = commits(repo, "release", only="here\n")
    engine.plan(repo, task("1", "cat only > a"), base="release")
    engine.finished(repo, engine.go(repo))
    assert engine.state(repo)["base_sha"] == base
    assert repo.show("flow/p", "a") == "here\n"


def test_a_remote_branch_is_a_base_too_and_stays_where_it_is(repo: Repo, tmp_path: Path) -> None:
    repo.git("branch", "release")
    clone = repo.clone(tmp_path / "clone")
    engine.plan(clone, ONE, base="release")
    engine.finished(clone, engine.go(clone))
    assert "release" not in clone.branches()
    assert repo.branches() == ["main", "release"]


def test_a_plan_takes_its_name_from_its_file_when_it_says_none(repo: Repo) -> None:
    repo.write("plans/my-plan.yaml", json.dumps({"goal": "Try it", "tasks": [ONE]}))
    engine.finished(repo, engine.go(repo, "plans/my-plan.yaml"), "my-plan")


def test_a_plan_may_stand_in_a_file_of_another_name_and_place(repo: Repo, tmp_path: Path) -> None:
    text = {"plan": "p", "goal": "Try it", "tasks": [ONE]}
    (tmp_path / "elsewhere.yml").write_text(json.dumps(text))
    engine.finished(repo, engine.go(repo, str(tmp_path / "elsewhere.yml")))
    assert engine.FILE in repo.tree("flow/p")


def test_two_plans_may_both_have_a_task_of_the_same_id(repo: Repo) -> None:
    for name in ("one", "two"):
        engine.plan(repo, task("001", f"echo {name} > {name}"), name=name)
        engine.finished(repo, engine.go(repo, f"plans/{name}.yaml"), name)
    assert repo.show("flow/one", "one") == "one\n"
    assert repo.show("flow/two", "two") == "two\n"
    assert "one" not in repo.tree("flow/two")


def test_a_plan_runs_from_a_linked_worktree(repo: Repo, tmp_path: Path) -> None:
    linked = repo.worktree(tmp_path / "linked")
    engine.plan(linked, ONE, base="main")
    played = engine.go(linked)
    assert played.code == 0, played.message
    assert engine.audit(linked) == {"1": "completed"}
    assert repo.tree("flow/p")[:2] == ["README.md", "a"]
    engine.tidy(repo)
    assert linked.git("status", "--porcelain") == "?? plans/"


# --- the plan branch ------------------------------------------------------------------------------


def pushed(repo: Repo, text: str | None = None, name: str = "p") -> str:
    """Push `plan/<plan>` as a person does, and return its tip."""
    engine.plan(repo, ONE, name=name)
    path = repo.path / f"plans/{name}.yaml"
    text = path.read_text() if text is None else text
    path.unlink()
    repo.git("branch", f"plan/{name}", "main", check=False)
    return commits(repo, f"plan/{name}", "my plan", **{f"plans/{name}__yaml": text})


def test_a_plan_that_a_person_pushed_is_run_by_its_name(repo: Repo) -> None:
    tip = pushed(repo)
    engine.finished(repo, engine.go(repo, "p"))
    assert repo.sha("plan/p") == tip == engine.state(repo)["commit"]
    assert repo.log("plan/p", "%s", "-1") == "my plan"


def test_a_file_that_says_what_the_plan_branch_says_is_the_same_plan(repo: Repo) -> None:
    tip = pushed(repo)
    engine.plan(repo, ONE)
    engine.finished(repo, engine.go(repo))
    assert repo.sha("plan/p") == tip


def test_a_file_and_a_plan_branch_that_say_different_things_are_both_shown(repo: Repo) -> None:
    pushed(repo)
    engine.plan(repo, task("1", "echo 2 > a"))
    assert refused(repo) == (
        "the file and the branch plan/p say different things",
        "look at both: git show plan/p:plans/p.yaml; then commit the one that counts there, "
        "or run the branch: gitflow-agents run p",
    )


def test_an_invalid_plan_branch_changes_nothing(repo: Repo) -> None:
    pushed(repo, "plan: p\ngoal: Try it\ntasks: [{id: 1}]\n")
    before = engine.refs(repo)
    with pytest.raises(InvalidFile) as error:
        engine.go(repo, "p")
    assert engine.refs(repo) == before
    first = error.value.problems[0]
    assert (first.file, first.line) == ("plan/p:plans/p.yaml", 3)


def test_a_plan_branch_without_its_file_is_refused(repo: Repo) -> None:
    repo.git("branch", "plan/p")
    assert refused(repo, "p") == (
        "the branch plan/p holds no plans/p.yaml",
        "commit the plan's file there as plans/p.yaml",
    )


@pytest.mark.parametrize("what", ["deleted", "moved to the same", "forced"])
def test_a_plan_branch_that_goes_away_changes_nothing_that_was_accepted(
    repo: Repo, what: str
) -> None:
    engine.plan(repo, ONE, task("2", "test -e on && echo 2 > b", depends_on=["1"]))
    assert engine.go(repo).code == 4
    if what == "deleted":
        repo.git("branch", "-D", "plan/p")
    elif what == "forced":
        repo.git("update-ref", "refs/heads/plan/p", repo.sha("main"))
    else:
        commits(repo, "plan/p", "words only", notes="1\n")
    played = engine.go(repo, "p")
    assert played.code == 4
    said = played.happened("plan_refused")
    if what == "forced":
        assert played.text("plan_refused") == (
            "the new text of plan/p was refused, nothing has changed: "
            "the branch plan/p holds no plans/p.yaml; commit the plan's file there as plans/p.yaml"
        )
        assert engine.go(repo).code == 4  # the file in the checkout says what was accepted
    else:
        assert said == []
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}
    assert engine.state(repo).get("revision", 1) == 1


# --- after it was accepted ------------------------------------------------------------------------


def test_a_changed_plan_is_its_next_revision(repo: Repo) -> None:
    repo.identify()
    engine.plan(repo, task("1", "exit 1"))
    engine.go(repo)
    accepted = engine.state(repo)["commit"]
    engine.plan(repo, task("1", "exit 1"), task("2", "echo 2 > b"))
    assert engine.go(repo).text("plan_accepted") == "plan p accepted as v2: added: 2"
    state = engine.state(repo)
    assert (state["revision"], state["commit"]) == (2, repo.sha("plan/p"))
    assert repo.sha("plan/p~1") == accepted
    assert repo.log("plan/p", "%an", "-1") == "alice"
    assert engine.audit(repo) == {"1": "failed", "2": "completed"}


def test_a_plan_whose_text_means_the_same_goes_on(repo: Repo) -> None:
    engine.plan(repo, ONE)
    engine.finished(repo, engine.go(repo))
    path = repo.path / engine.FILE
    path.write_text("# a comment\n" + json.dumps(json.loads(path.read_text())))
    before = engine.refs(repo)
    assert engine.go(repo).code == 0
    assert engine.refs(repo) == before


# --- what is refused ------------------------------------------------------------------------------


def test_a_plan_that_nobody_wrote_is_refused_with_near_names(repo: Repo) -> None:
    engine.plan(repo, ONE, name="payments")
    assert refused(repo, "payment") == (
        "there is no plan payment",
        "did you mean payments?",
    )
    assert refused(repo, "auth") == (
        "there is no plan auth",
        "write one: gitflow-agents new auth; or name a file: plans/auth.yaml",
    )
    assert refused(repo, "plans/auth.yaml")[0] == "there is no file plans/auth.yaml"


def test_a_base_that_is_not_there_or_not_allowed_is_refused(repo: Repo) -> None:
    engine.plan(repo, ONE, base="develop")
    assert refused(repo) == (
        "there is no branch develop to start from",
        "say which one: `base: <branch>` in the plan, or --base",
    )
    engine.config(repo, bases=["main", "release/*"])
    with pytest.raises(InvalidFile) as error:
        engine.go(repo)
    (problem,) = (each for each in error.value.problems if not each.is_warning)
    assert (problem.key, "develop" in problem.reason + problem.mend) == ("base", True)
    repo.git("branch", "release/1")
    engine.plan(repo, ONE, base="release/1")
    engine.finished(repo, engine.go(repo))


def test_the_config_counts_on_the_default_branch_only(repo: Repo) -> None:
    repo.git("branch", "side")
    commits(repo, "side", **{"__gitflow-agents__yml": "bases: []\n"})
    engine.plan(repo, ONE, base="side")
    engine.finished(repo, engine.go(repo))


@pytest.mark.parametrize(
    ("existing", "message", "hint"),
    [
        (
            "flow/p",
            "the branch flow/p is in the way of flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
        ),
        (
            "flow",
            "the branch flow is in the way of flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
        ),
        (
            "FLOW/P",
            "the branch FLOW/P is in the way of flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
        ),
        (
            "flow/p/below",
            "the branch flow/p/below is in the way of flow/p",
            "set `flow:` in the plan to one of: feat/p, p-flow, p-flow-2",
        ),
        (
            "task",
            "the branch task is in the way of task/p/1-task-1",
            "rename it: git branch -m task task-old",
        ),
        (
            "task/p",
            "the branch task/p is in the way of task/p/1-task-1",
            "rename it (git branch -m task/p NEW), or the plan: p-2, p-3, p-4",
        ),
        (
            "task/p/1-task-1",
            "the branch task/p/1-task-1 is in the way of task/p/1-task-1",
            "rename it (git branch -m task/p/1-task-1 NEW), or the plan: p-2, p-3, p-4",
        ),
    ],
)
def test_a_branch_in_the_way_is_named_with_free_names(
    repo: Repo, existing: str, message: str, hint: str
) -> None:
    repo.git("branch", existing)
    engine.plan(repo, ONE)
    assert refused(repo) == (message, hint)


@pytest.mark.parametrize(
    "existing", ["plan", "gitflow", "plan/p/x", "gitflow/state", "gitflow/try"]
)
def test_a_branch_in_the_way_of_the_tools_own_refs_is_named(repo: Repo, existing: str) -> None:
    repo.git("branch", existing)
    engine.plan(repo, ONE, gate=["true"])
    message, hint = refused(repo)
    assert f"the branch {existing} is in the way of " in message
    assert hint.startswith("rename it")


@pytest.mark.parametrize(
    ("wanted", "existing", "clash"),
    [
        (["flow/p"], [], None),
        (["flow/p"], ["flow/q", "main", "flow-p"], None),
        (["flow/p"], ["flow/p"], ("flow/p", "flow/p")),
        (["a", "flow/p"], ["Flow/P"], ("flow/p", "Flow/P")),
        (["docs/auth"], ["docs"], ("docs/auth", "docs")),
        (["docs/auth"], ["DOCS"], ("docs/auth", "DOCS")),
        (["docs"], ["docs/auth/x"], ("docs", "docs/auth/x")),
        (["a/b/c"], ["a/b"], ("a/b/c", "a/b")),
        (["ß"], ["SS"], ("ß", "SS")),
    ],
)
def test_names_clash_without_regard_to_case_and_folder_against_file(
    wanted: list[str], existing: list[str], clash: tuple[str, str] | None
) -> None:
    assert name_clash(wanted, existing) == clash


def test_an_existing_flow_branch_is_taken_only_if_its_accepting_commit_is_this_plans(
    repo: Repo,
) -> None:
    engine.plan(repo, ONE)
    text = repo.path.joinpath(engine.FILE).read_text()
    repo.git("branch", "flow/p")
    trailers = "Gitflow-Event: plan_accepted\nGitflow-Plan: {}"
    for name, content in (("other", text), ("p", text + "\n")):
        repo.git("update-ref", "refs/heads/flow/p", repo.sha("main"))
        commits(repo, "flow/p", f"x\n\n{trailers.format(name)}", **{"plans/p__yaml": content})
        assert refused(repo)[0] == "the branch flow/p is in the way of flow/p"
    repo.git("update-ref", "refs/heads/flow/p", repo.sha("main"))
    ours = commits(repo, "flow/p", f"x\n\n{trailers.format('p')}", **{"plans/p__yaml": text})
    engine.finished(repo, engine.go(repo))
    assert engine.state(repo)["accepting"] == ours


@pytest.mark.parametrize("kept", [["plan/p"], ["plan/p", "flow/p"]])
def test_an_acceptance_that_a_kill_has_cut_is_done_again(repo: Repo, kept: list[str]) -> None:
    # Whatever was made stays: no second accepting commit, no second proposal.
    engine.plan(repo, task("1", "exit 1"))
    engine.go(repo)
    made = {ref: sha for ref, sha in engine.refs(repo).items() if ref[len("refs/heads/") :] in kept}
    accepting, commit = engine.state(repo)["accepting"], engine.state(repo)["commit"]
    repo.git("update-ref", "refs/heads/plan/p", commit)
    for ref in engine.refs(repo):
        if ref not in made and ref != "refs/heads/main":
            repo.git("update-ref", "-d", ref)
    if "flow/p" in kept:
        repo.git("update-ref", "refs/heads/flow/p", accepting)
    assert engine.go(repo).code == 4
    about = engine.state(repo)
    assert about["commit"] == commit
    if "flow/p" in kept:
        assert about["accepting"] == accepting
    assert engine.audit(repo) == {"1": "failed"}


# --- a rehearsal ----------------------------------------------------------------------------------


def everything(repo: Repo) -> tuple[dict[str, str], list[str], list[str]]:
    """Return all refs, all objects, and all files below `.git` and beside it."""
    objects = repo.git("count-objects", "-v").splitlines()
    files = sorted(str(path) for path in repo.path.rglob("*"))
    return engine.refs(repo), objects, files


def rehearse(repo: Repo, what: str = engine.FILE, **keys: Any) -> list[str]:
    service = Service(str(repo.path))
    try:
        _, steps = service.rehearse(what, **keys)
        return [step.text for step in steps]
    finally:
        service.close()


FOUR = [
    task("1", "echo 1 > a", estimated_time="5 minutes", provides=["a"]),
    task("2", "echo 2 > b", estimated_time="10 minutes"),
    task("3", "echo 3 > c", estimated_time="5 minutes", preconditions=["a"]),
    task("4", "echo 4 > d", estimated_time="5 minutes", depends_on=["2", "3"]),
]


def test_a_rehearsal_walks_the_whole_plan_and_writes_nothing(repo: Repo) -> None:
    engine.plan(repo, *FOUR)
    before = everything(repo)
    assert rehearse(repo, jobs=2) == [
        "accept plan p: make plan/p and flow/p from main",
        "    0 min  start 1 on task/p/1-task-1: Task 1",
        "    0 min  start 2 on task/p/2-task-2: Task 2",
        "    5 min  merge 1 to flow/p",
        "    5 min  start 3 on task/p/3-task-3: Task 3",
        "   10 min  merge 2 to flow/p",
        "   10 min  merge 3 to flow/p",
        "   10 min  start 4 on task/p/4-task-4: Task 4",
        "   15 min  merge 4 to flow/p",
        "   15 min  finish: the report goes to flow/p",
    ]
    assert everything(repo) == before


def test_a_rehearsal_with_a_barrier_waits_for_the_wave(repo: Repo) -> None:
    engine.plan(repo, *FOUR)
    starts = [line for line in rehearse(repo, jobs=2, barrier=True) if "start" in line]
    assert [line.split()[0] for line in starts] == ["0", "0", "10", "15"]


def test_a_rehearsal_goes_on_from_where_a_plan_is(repo: Repo) -> None:
    engine.plan(repo, ONE, task("2", "exit 1"), task("3", "echo 3 > c", depends_on=["2"]))
    engine.go(repo)
    before = everything(repo)
    assert rehearse(repo) == ["    0 min  stop: 2 tasks cannot start without a person"]
    assert everything(repo) == before


def unlike_its_branch(repo: Repo) -> None:
    pushed(repo)
    engine.plan(repo, task("1", "echo 2 > a"))


def with_another_base(repo: Repo) -> None:
    repo.git("branch", "other")
    engine.plan(repo, task("1", "exit 1"))
    engine.go(repo)
    engine.plan(repo, task("1", "exit 1"), base="other")


def test_a_rehearsal_of_a_changed_plan_begins_with_its_next_revision(repo: Repo) -> None:
    engine.plan(repo, task("1", "exit 1"))
    engine.go(repo)
    engine.plan(repo, task("1", "exit 1"), task("2", "echo 2 > b", estimated_time="5 minutes"))
    before = everything(repo)
    steps = [
        "accept plan p as v2: added: 2",
        "    0 min  start 2 on task/p/2-task-2: Task 2",
        "    5 min  merge 2 to flow/p",
        "    5 min  stop: 1 task cannot start without a person",
    ]
    assert rehearse(repo) == steps
    assert everything(repo) == before
    text = repo.path.joinpath(engine.FILE).read_text()
    commits(repo, "plan/p", "my change", **{"plans/p__yaml": text})
    assert rehearse(repo, "p") == steps


def test_a_rehearsal_says_that_what_a_plan_branch_says_would_be_refused(repo: Repo) -> None:
    engine.plan(repo, task("1", "exit 1"))
    engine.go(repo)
    repo.git("update-ref", "refs/heads/plan/p", repo.sha("main"))
    before = everything(repo)
    assert rehearse(repo, "p") == [
        "refuse the new text of plan/p: the branch plan/p holds no plans/p.yaml",
        "    0 min  stop: 1 task cannot start without a person",
    ]
    assert everything(repo) == before


@pytest.mark.parametrize(
    "trouble",
    [
        lambda repo: engine.plan(repo, ONE, base="develop"),
        lambda repo: (engine.plan(repo, ONE), repo.git("branch", "flow")),
        unlike_its_branch,
        with_another_base,
    ],
    ids=["no base", "a branch in the way", "unlike its branch", "with another base"],
)
def test_a_rehearsal_is_refused_where_a_run_would_be(
    repo: Repo, trouble: Callable[[Repo], object]
) -> None:
    trouble(repo)
    before = everything(repo)
    with pytest.raises(FlowError) as dry:
        rehearse(repo)
    assert everything(repo) == before
    with pytest.raises(FlowError) as wet:
        engine.go(repo)
    assert (dry.value.message, dry.value.hint) == (wet.value.message, wet.value.hint)
