"""Another text of a plan that was started: what it does to tasks in every status.

First the decision, over snapshots made by hand; then real plans, changed by their file, by `edit`
and by a person's commit on the plan's branch, while tasks are at work in another process too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import replan
from gitflow_agents.commands import DropTrain, Mark, Move
from gitflow_agents.errors import FlowError, InvalidFile
from gitflow_agents.models import Attempt, Reason
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import Service
from tests import engine
from tests.engine import act, commits, other, record, task, until, wait_for
from tests.repos import Cli, Repo
from tests.test_commands import LETTER, short
from tests.test_scheduler import NOW, lease, plan_of, snapshot, train

ALICE = "alice <alice@example.com>"


# --- the decision ---------------------------------------------------------------------------------

T = {"id": "t", "description": "do it", "provides": ["A"]}
U = {"id": "u", "description": "more"}


def one(letter: str, **record: Any) -> Snapshot:
    """Return a plan of `t` in a status and of a pending task `u`."""
    about: dict[str, Any] = {
        "attempts": () if letter == "p" else (Attempt(number=1, started_at=NOW),)
    }
    if letter == "i":
        about["lease"] = lease()
    return snapshot(plan_of(T, U), letter, records={"t": {**about, **record}})


def revised(of: Snapshot, *tasks: Mapping[str, Any], **keys: Any) -> replan.Revision:
    return replan.revise(of, plan_of(*tasks, **keys), ALICE)


def effects_of(revision: replan.Revision) -> list[str]:
    return [*map(short, revision.effects), *(f"forget {task}" for task in revision.forgotten)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", ["forget t"]),
        ("in_progress", ["end", "task_removed"]),
        ("review", ["task_removed"]),
        ("completed", ["task_kept"]),
        ("failed", ["task_removed"]),
        ("cancelled", ["task_removed"]),
    ],
)
def test_what_becomes_of_a_task_that_is_taken_out(status: str, expected: list[str]) -> None:
    revision = revised(one(LETTER[status]), U)
    assert (revision.removed, effects_of(revision)) == (("t",), expected)
    assert revision.said == ("taken out: t",)
    kept = "t was taken out of the plan, but is merged; it stays on flow"
    assert revision.warnings == ((kept,) if status == "completed" else ())


def test_a_task_that_waits_after_an_attempt_is_not_forgotten() -> None:
    of = one("p", attempts=(Attempt(number=1, started_at=NOW),))
    assert revised(of, U).effects == (
        Move(
            "t",
            replan.E.TASK_REMOVED,
            Reason.REMOVED,
            "taken out of the plan by alice",
        ),
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("pending", ()),
        ("in_progress", ("t goes on with the old text",)),
        ("review", ()),
        ("completed", ()),
        ("failed", ("t: the new text counts when it is tried again: retry",)),
        ("cancelled", ("t: the new text counts when it is tried again: retry",)),
    ],
)
def test_what_becomes_of_a_task_that_is_changed(status: str, said: tuple[str, ...]) -> None:
    revision = revised(one(LETTER[status]), {**T, "description": "do it well"}, U)
    assert (revision.changed, effects_of(revision)) == (("t",), [])
    assert revision.said == ("changed: t", *said)
    merged = "t is merged already; the new text changes nothing of that"
    assert revision.warnings == ((merged,) if status == "completed" else ())


def test_what_a_merged_task_gave_is_remembered_when_the_text_says_it_no_more() -> None:
    revision = revised(one("c"), {**T, "provides": ["B"]}, U)
    assert revision.effects == (
        Mark("t", "task_kept", "t is merged, and stays on flow", {"gave": ("A",)}),
    )
    assert revision.warnings == (
        "t is merged, and counts as giving B from now on",
        "t is merged already; the new text changes nothing of that",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("verify", ["true"]),
        ("provides", ["A", "B"]),
        ("files", ["a.txt"]),
        ("acceptance", ["it is quick"]),
        ("depends_on", ["u"]),
        ("preconditions", ["Z"]),
    ],
)
def test_a_train_is_taken_apart_when_what_proves_its_car_changes(key: str, value: Any) -> None:
    of = one("r")
    of.state = of.state.model_copy(update={"train": train("t")})
    assert DropTrain() in revised(of, {**T, key: value}, {**U, "provides": ["Z"]}).effects


@pytest.mark.parametrize(
    ("tasks", "keys", "is_dropped"),
    [
        ([{**T, "description": "else"}, U], {}, False),
        ([T], {}, False),
        ([U], {}, True),
        ([T, U], {"gate": ["true"]}, True),
        ([T, U], {"setup": ["true"]}, True),
        ([T, U], {"goal": "more"}, False),
    ],
)
def test_a_train_goes_on_when_the_change_is_none_of_its_affair(
    tasks: list[Any], keys: dict[str, Any], is_dropped: bool
) -> None:
    of = one("r")
    of.state = of.state.model_copy(update={"train": train("t")})
    assert (DropTrain() in revised(of, *tasks, **keys).effects) is is_dropped


def test_a_task_that_comes_back_into_the_plan_waits_again() -> None:
    of = snapshot(plan_of(U))
    gone = one("x", reason=Reason.REMOVED, used=3).record("t")
    of.apply(gone)
    (move,) = revised(of, T, U).effects
    assert isinstance(move, Move)
    assert (move.task, move.event, dict(move.changes)) == ("t", "task_retried", {"granted": 3})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"base": "other"},
            "`base` of a plan that was started cannot be changed (it is not set, the new text says other)",
        ),
        (
            {"flow": "mine"},
            "`flow` of a plan that was started cannot be changed (it is not set, the new text says mine)",
        ),
        (
            {"type": "feat"},
            "`type` of a plan that was started cannot be changed (it is not set, the new text says feat)",
        ),
    ],
)
def test_what_a_plan_was_started_with_stays(keys: dict[str, str], message: str) -> None:
    with pytest.raises(FlowError) as error:
        revised(one("p"), T, U, **keys)
    assert (error.value.message, error.value.hint) == (
        message,
        "take that change back, or put it into a plan of its own",
    )


@pytest.mark.parametrize("keys", [{"base": "main"}, {"flow": "flow/demo"}, {}])
def test_what_means_the_same_may_be_said(keys: dict[str, str]) -> None:
    assert revised(one("p"), T, U, goal="More", **keys).said == (
        "only what is said about the plan as a whole has changed",
    )


@pytest.mark.parametrize("status", ["landed", "closed"])
def test_a_plan_that_is_over_takes_no_new_text(status: str) -> None:
    of = snapshot(plan_of(T, U), "cc", status=status)
    with pytest.raises(FlowError, match=f"plan demo is {status}, and only looked at"):
        revised(of, T)


def test_a_large_plan_is_compared_in_a_moment() -> None:
    many = [{"id": f"t{n}"} for n in range(10_000)]
    of = snapshot(plan_of(*many), "c" * 5_000)
    revision = revised(of, *many[2_500:7_500], *({"id": f"n{n}"} for n in range(5_000)))
    assert (len(revision.added), len(revision.removed)) == (5_000, 5_000)
    assert (len(revision.forgotten), len(revision.effects)) == (2_500, 2_500)


# --- real plans -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def alice(repo: Repo) -> None:
    repo.identify()


ONE = task("1", "echo 1 > a.txt", provides=["A"])
TWO = task("2", "test -e on && echo 2 > b.txt", depends_on=["1"])
THREE = task("3", "echo 3 > c.txt")


def pushed(repo: Repo, *tasks: Mapping[str, Any], **keys: Any) -> str:
    """Put a text on the plan's branch as a person would, and return the commit."""
    text = json.dumps({"plan": "p", "goal": "Try it", **keys, "tasks": tasks})
    return commits(repo, "plan/p", "my change", **{"plans/p__yaml": text})


def revision(repo: Repo) -> int:
    return int(engine.state(repo).get("revision", 1))


def marked(folder: Path, name: str) -> str:
    return f"touch '{folder}/{name}.on'; {until(f'test -e {folder}/{name}.go')}"


def test_a_commit_on_the_plans_branch_is_the_next_revision(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    flow = repo.sha("flow/p")
    tip = pushed(repo, ONE, TWO, THREE)
    played = engine.go(repo, "p")
    assert played.text("plan_accepted") == "plan p accepted as v2: added: 3"
    assert (revision(repo), engine.state(repo)["commit"]) == (2, tip)
    assert repo.sha("plan/p") == tip
    assert repo.log(f"{flow}..flow/p", "%s", "--first-parent") == "merge 3: Task 3"
    assert engine.audit(repo) == {"1": "completed", "2": "failed", "3": "completed"}
    assert "version v2" in repo.show("flow/p^2", ".gitflow/brief.md")


def test_edit_proposes_the_next_revision(repo: Repo, cli: Cli, tmp_path: Path) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    new = tmp_path / "new.yaml"
    new.write_text(json.dumps({"plan": "p", "goal": "Try it", "tasks": [ONE, TWO, THREE]}))
    cli("edit", "p", env={"VISUAL": f"cp {new}"})
    assert revision(repo) == 1
    assert engine.go(repo, "p").text("plan_accepted") == "plan p accepted as v2: added: 3"
    assert repo.log("plan/p", "%an", "-1") == "alice"


def test_a_text_that_means_the_same_is_no_revision(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    before = engine.refs(repo)
    text = repo.path.joinpath(engine.FILE)
    text.write_text("# a remark\n" + json.dumps(json.loads(text.read_text()), sort_keys=True))
    assert engine.go(repo).happened("plan_accepted") == []
    assert engine.refs(repo) == before
    commits(repo, "plan/p", "my remark", **{"plans/p__yaml": text.read_text()})
    assert engine.go(repo, "p").happened("plan_accepted") == []
    assert engine.refs(repo) == {**before, "refs/heads/plan/p": repo.sha("plan/p")}


def test_revisions_are_counted(repo: Repo, cli: Cli) -> None:
    for number in (1, 2, 3):
        engine.plan(repo, *(task(str(n), "exit 1") for n in range(number)))
        engine.go(repo)
    assert revision(repo) == 3
    assert "Version    v3" in cli("status", "p").stdout
    subjects = repo.log("gitflow/state/p", "%s", "--reverse").splitlines()
    assert [line for line in subjects if "plan accepted" in line] == [
        "p: plan accepted as v1: 1 task from main to flow/p",
        "p: plan accepted as v2: added: 1",
        "p: plan accepted as v3: added: 2",
    ]
    assert engine.audit(repo) == {"0": "failed", "1": "failed", "2": "failed"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("plan: p\ngoal: x\ntasks: [", "plan/p:plans/p.yaml:3:9: error: "),
        (
            "plan: p\ngoal: x\ntasks:\n- {id: '1', run: x, needs: y}\n",
            "plan/p:plans/p.yaml:4:21: error: tasks[0].needs: there is no",
        ),
    ],
)
def test_an_invalid_text_changes_nothing_and_is_recorded_once(
    repo: Repo, cli: Cli, text: str, why: str
) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    accepted = engine.state(repo)
    tip = commits(repo, "plan/p", "my change", **{"plans/p__yaml": text})
    begins = f"the new text of plan/p was refused, nothing has changed: {why}"
    assert engine.go(repo, "p").text("plan_refused").startswith(begins)
    state = engine.state(repo)
    assert (state.pop("refused"), state.pop("refusal").startswith(why)) == (tip, True)
    assert state == accepted
    before = engine.refs(repo)
    assert engine.go(repo, "p").text("plan_refused").startswith(begins)
    assert engine.refs(repo) == before
    waiting = cli("status", "p").stdout.splitlines()
    assert waiting[1].startswith("  the new text on plan/p was refused: plan/p:plans/p.yaml:")
    assert "      $ gitflow-agents validate p" in waiting
    assert cli("validate", "p", check=False).exit_code == 1
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}
    pushed(repo, ONE, TWO, THREE)
    assert "refused" not in cli("status", "p").stdout
    engine.go(repo, "p")
    assert (revision(repo), "refused" in engine.state(repo)) == (2, False)


def test_a_text_that_names_another_base_is_shown_by_validate_too(repo: Repo, cli: Cli) -> None:
    repo.git("branch", "other")
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    pushed(repo, ONE, TWO, base="other")
    said = "`base` of a plan that was started cannot be changed (it is not set, the new text says other)"
    assert said in engine.go(repo, "p").text("plan_refused")
    assert said in cli("validate", "p", check=False).stderr
    assert revision(repo) == 1


def test_a_file_with_mistakes_is_refused_before_anything_is_committed(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    before = engine.refs(repo)
    engine.plan(repo, ONE, {**TWO, "depends_on": ["9"]})
    with pytest.raises(InvalidFile):
        engine.go(repo)
    assert engine.refs(repo) == before


def test_a_file_and_a_branch_that_both_say_something_new_stop_the_run(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    pushed(repo, ONE, TWO, THREE)
    engine.plan(repo, ONE, TWO, goal="Another")
    before = engine.refs(repo)
    with pytest.raises(FlowError) as error:
        engine.go(repo)
    assert (error.value.message, error.value.hint) == (
        "the file and the branch plan/p say different things",
        "look at both: git show plan/p:plans/p.yaml; then commit the one that counts there, "
        "or run the branch: gitflow-agents run p",
    )
    assert engine.refs(repo) == before
    service = Service(str(repo.path))
    with pytest.raises(FlowError, match="say different things"):
        service.rehearse(engine.FILE)
    service.close()
    assert engine.go(repo, "p").text("plan_accepted") == "plan p accepted as v2: added: 3"


def test_a_remark_on_the_branch_is_not_in_the_way_of_a_changed_file(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    text = "# a remark\n" + repo.path.joinpath(engine.FILE).read_text()
    commits(repo, "plan/p", "my remark", **{"plans/p__yaml": text})
    engine.plan(repo, ONE, TWO, THREE)
    assert engine.go(repo).text("plan_accepted") == "plan p accepted as v2: added: 3"


# --- what became of the tasks ---------------------------------------------------------------------


def test_a_failed_task_takes_the_new_text_when_it_is_tried_again(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    engine.plan(repo, ONE, {**TWO, "run": "echo 2 > b.txt", "title": "Another"})
    played = engine.go(repo)
    assert played.text("plan_accepted") == (
        "plan p accepted as v2: changed: 2; 2: the new text counts when it is tried again: retry"
    )
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}
    act(repo, "retry", "2")
    engine.finished(repo, engine.go(repo))
    assert record(repo, "2")["branch"] == "task/p/2-task-2"


def test_a_merged_task_that_is_taken_out_stays_on_flow_and_gives_what_it_gave(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    needing = task("3", "cat a.txt > c.txt", preconditions=["A"])
    engine.plan(repo, needing)
    played = engine.go(repo)
    assert played.text("plan_accepted") == "plan p accepted as v2: added: 3; taken out: 1, 2"
    (told,) = [told for told in played.told if told.event == "plan_accepted"]
    assert told.detail == "note: 1 was taken out of the plan, but is merged; it stays on flow"
    engine.finished(repo, played)
    assert repo.show("flow/p", "c.txt") == "1\n"
    assert (record(repo, "1")["status"], record(repo, "1")["gave"]) == ("completed", ["A"])
    given = engine.read_yaml(repo.show("flow/p", "plans/p.provides.yaml"))["provides"]
    assert given == [{"name": "A", "task": "1", "merge": record(repo, "1")["merge"]}]
    removed = record(repo, "2")
    assert (removed["status"], removed["reason"], removed["message"]) == (
        "cancelled",
        "removed",
        "taken out of the plan by alice",
    )
    assert removed["branch"] in repo.branches()


def test_a_pending_task_that_is_taken_out_is_forgotten(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO, task("3", "echo 3", depends_on=["2"]))
    engine.go(repo)
    act(repo, "hold", "3")
    assert record(repo, "3")["held"] == "held by alice"
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    assert engine.record_path("3") not in repo.tree("gitflow/state/p")
    assert engine.audit(repo) == {"1": "completed", "2": "failed"}


def test_a_task_that_was_taken_out_and_comes_back_is_tried_again(repo: Repo) -> None:
    engine.plan(repo, ONE, TWO)
    engine.go(repo)
    engine.plan(repo, ONE)
    assert engine.go(repo).code == 0
    engine.plan(repo, ONE, {**TWO, "run": "echo 2 > b.txt"})
    engine.finished(repo, engine.go(repo))
    assert [a["number"] for a in record(repo, "2")["attempts"]] == [1, 2]


def test_a_finished_plan_with_new_tasks_runs_again_and_gets_another_report(repo: Repo) -> None:
    engine.plan(repo, ONE)
    engine.finished(repo, engine.go(repo))
    first = repo.sha("flow/p")
    engine.plan(repo, ONE, THREE)
    played = engine.go(repo)
    engine.finished(repo, played)
    assert played.happened("attempt_started") == ["3"]
    assert repo.git("merge-base", first, "flow/p") == first
    assert "Task 3" in repo.show("flow/p", "plans/p.report.md")
    assert json.loads(repo.show("flow/p", "plans/p.yaml"))["tasks"][1]["id"] == "3"
    told = repo.log("gitflow/state/p", "%(trailers:key=Gitflow-Event,valueonly,separator=%x20)")
    assert told.split().count("plan_finished") == 2


def test_a_landed_plan_takes_no_new_text(repo: Repo) -> None:
    engine.plan(repo, ONE)
    repo.git("add", "plans")
    repo.commit("my plan")
    engine.go(repo)
    repo.git("merge", "--quiet", "flow/p")
    engine.go(repo)
    assert engine.state(repo)["status"] == "landed"
    before = engine.refs(repo)
    engine.plan(repo, ONE, THREE)
    with pytest.raises(FlowError, match="plan p is landed, and only looked at"):
        engine.go(repo)
    assert engine.refs(repo) == before
    pushed(repo, ONE, THREE)
    assert engine.go(repo, "p").happened("plan_accepted", "plan_refused") == []


@pytest.mark.slow
def test_new_limits_count_at_once(repo: Repo, tmp_path: Path) -> None:
    slow = [task(id, f"{marked(tmp_path, id)} echo {id} > {id}.txt") for id in "123"]
    engine.plan(repo, *slow, limits={"parallel": 1})
    with other(repo, "run", engine.FILE) as run:
        wait_for(lambda: (tmp_path / "1.on").exists())
        pushed(repo, *slow, limits={"parallel": 3})
        wait_for(lambda: all((tmp_path / f"{id}.on").exists() for id in "23"))
        for id in "123":
            (tmp_path / f"{id}.go").touch()
        assert run.ends().exit_code == 0


# --- while tasks are at work in another process ---------------------------------------------------


def test_a_run_takes_new_tasks_while_it_goes_on(repo: Repo, tmp_path: Path) -> None:
    slow = task("1", f"{marked(tmp_path, 'a')} echo 1 > a.txt", provides=["A"])
    engine.plan(repo, slow, TWO)
    with other(repo, "run", engine.FILE) as run:
        wait_for(lambda: (tmp_path / "a.on").exists())
        changed = {**slow, "description": "another text"}
        needing = task("9", "echo 9 > z.txt", preconditions=["A"])
        pushed(repo, changed, {**TWO, "run": "echo 2 > b.txt"}, needing)
        wait_for(lambda: revision(repo) == 2)
        (tmp_path / "a.go").touch()
        end = run.ends()
    assert (end.exit_code, end.stdout.splitlines()[-2]) == (
        0,
        "the plan is finished: 3 of 3 tasks are merged to flow/p",
    )
    assert (
        "plan p accepted as v2: added: 9; changed: 1, 2; 1 goes on with the old text"
    ) in end.stdout.splitlines()
    assert "another text" not in repo.show(record(repo, "1")["claim"], ".gitflow/brief.md")
    assert engine.audit(repo) == {"1": "completed", "2": "completed", "9": "completed"}
    engine.tidy(repo)


@pytest.mark.slow
def test_a_running_task_that_is_taken_out_is_ended_and_its_work_kept(
    repo: Repo, tmp_path: Path
) -> None:
    work = f"echo half > a.txt; echo $$ > '{tmp_path}/pid'; {marked(tmp_path, 'a')} true"
    engine.plan(repo, task("1", work), task("2", f"{marked(tmp_path, 'b')} echo 2 > b.txt"))
    with other(repo, "run", engine.FILE) as run:
        wait_for(lambda: (tmp_path / "a.on").exists() and (tmp_path / "b.on").exists())
        pushed(repo, task("2", f"{marked(tmp_path, 'b')} echo 2 > b.txt"))
        wait_for(lambda: revision(repo) == 2)
        pid = (tmp_path / "pid").read_text().strip()
        wait_for(lambda: not Path(f"/proc/{pid}").exists())
        (tmp_path / "b.go").touch()
        end = run.ends()
    assert end.exit_code == 0
    removed = record(repo, "1")
    assert (removed["status"], removed["reason"]) == ("cancelled", "removed")
    assert repo.show(removed["attempts"][-1]["kept"], "a.txt") == "half\n"
    assert removed["branch"] in repo.branches()
    assert engine.audit(repo) == {"2": "completed"}
    engine.tidy(repo)


@pytest.mark.slow
def test_a_second_run_with_a_changed_file_helps_the_first(repo: Repo, tmp_path: Path) -> None:
    slow = task("1", f"{marked(tmp_path, 'a')} echo 1 > a.txt", provides=["A"])
    engine.plan(repo, slow)
    with other(repo, "run", engine.FILE) as first:
        wait_for(lambda: (tmp_path / "a.on").exists())
        engine.plan(repo, slow, task("2", "echo 2 > b.txt", preconditions=["A"]), THREE)
        with other(repo, "run", engine.FILE) as second:
            wait_for(lambda: revision(repo) == 2)
            (tmp_path / "a.go").touch()
            ends = [first.ends(), second.ends()]
    assert [end.exit_code for end in ends] == [0, 0]
    assert engine.audit(repo) == {"1": "completed", "2": "completed", "3": "completed"}
    engine.tidy(repo)


@pytest.mark.slow
def test_what_is_merged_in_a_run_counts_for_a_text_that_comes_later_in_it(
    repo: Repo, tmp_path: Path
) -> None:
    slow = task("2", f"{marked(tmp_path, 'b')} echo 2 > b.txt")
    engine.plan(repo, ONE, slow)
    with other(repo, "run", engine.FILE) as run:
        wait_for(lambda: (tmp_path / "b.on").exists())
        wait_for(lambda: record(repo, "1").get("merge"))
        pushed(repo, slow, task("3", "cat a.txt > c.txt", preconditions=["A"]))
        wait_for(lambda: revision(repo) == 2)
        (tmp_path / "b.go").touch()
        assert run.ends().exit_code == 0
    assert engine.audit(repo) == {"2": "completed", "3": "completed"}


@pytest.mark.slow
def test_a_train_that_is_tested_is_built_again_when_its_proof_changes(
    repo: Repo, tmp_path: Path
) -> None:
    gate = [f"{marked(tmp_path, 'g')} true"]
    engine.plan(repo, task("1", "echo 1 > a.txt"), gate=gate)
    with other(repo, "run", engine.FILE) as run:
        wait_for(lambda: (tmp_path / "g.on").exists())
        pushed(repo, task("1", "echo 1 > a.txt", verify=["grep 2 a.txt"]), gate=gate)
        wait_for(lambda: revision(repo) == 2)
        (tmp_path / "g.go").touch()
        end = run.ends()
    assert end.exit_code == 4
    kept = record(repo, "1")
    assert (kept["status"], kept["reason"]) == ("failed", "checks-failed")
    assert engine.audit(repo) == {"1": "failed"}
    engine.tidy(repo)
