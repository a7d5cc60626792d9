"""What people say where runs of a forge do the work: it is written down, and a pass does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.commands import (
    AddTask,
    Give,
    Hold,
    Merge,
    Refused,
    Resume,
    Retry,
    Revert,
    Skip,
    Stop,
    Submit,
    Take,
    Update,
)
from gitflow_agents.service.acting import Outcome
from gitflow_agents.store import Draft
from tests import engine, near_forge
from tests.engine import task
from tests.near_forge import Near
from tests.repos import Repo

GATE = {"gate": ["test ! -e bad"]}
A = task("1", "echo a > a.txt", provides=["a"])
B = task("2", "cat a.txt > b.txt", preconditions=["a"])


def statuses(up: Repo, *tasks: str) -> list[str]:
    return [str(engine.record(up, one, "p")["status"]) for one in tasks]


def state(up: Repo) -> dict[str, Any]:
    return engine.state(up, "p")


def train(forge: Near, before: int) -> near_forge.Waiting:
    """Return the run of the one train that was dispatched since there were so many runs."""
    (one,) = forge.started[before:]
    assert one.job == "train"
    return one


def in_lines(repo: Repo, up: Repo) -> None:
    """Push a plan as a person writes it, to which tasks can be added."""
    repo.git("switch", "--quiet", "--create", "plan/p")
    what = "title: A\n  description: a\n  run: echo a > a.txt"
    repo.write("plans/p.yaml", f'plan: p\ngoal: Try it\ntasks:\n- id: "1"\n  {what}\n')
    repo.commit("plan p")
    repo.git("push", "--quiet", str(up.path), "plan/p")
    repo.git("switch", "--quiet", "main")


class Journal:
    """What notes a command in the state, as whoever calls `act` does."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def __call__(self, draft: Draft, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        draft.tell("command_done", note="; ".join(outcome.said))


def last(up: Repo) -> str:
    """Return the events of the newest state commit."""
    trailers = up.log("gitflow/state/p", "%(trailers:key=Gitflow-Event,valueonly,separator=%x20)")
    return trailers.splitlines()[0]


def refuse(up: Repo, refs: str) -> None:
    """Let the remote take no push of some refs."""
    hook = up.path / "hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ncase $1 in {refs}) echo no; exit 1;; esac\n")
    hook.chmod(0o755)


# --- trains that somebody asks for ----------------------------------------------------------------


@pytest.mark.slow
def test_a_revert_is_written_down_and_tested_by_a_run_of_its_own(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, B, **GATE)
    forge.finish()
    before, flow = len(forge.started), up.sha("flow/p")
    outcome = forge.act(Revert(targets=("1",), reason="it is wrong"))
    assert (outcome.changed, outcome.is_done, outcome.is_staged) == (True, False, True)
    assert outcome.said == (
        "1 is reverted, and waits again",
        "2 is reverted with it: it needs 1",
        "that is so once it is tested; flow has not moved yet",
    )
    assert (up.sha("flow/p"), len(forge.started)) == (flow, before)
    assert statuses(up, "1", "2") == ["completed", "completed"]
    forge.reconcile()
    forge.turn(train(forge, before))
    assert up.tree("flow/p").count("a.txt") == 0
    assert [one.job for one in forge.waiting] == ["task"]
    forge.finish()
    assert statuses(up, "1", "2") == ["completed", "completed"]
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_a_revert_that_does_not_pass_changes_nothing_and_somebody_is_told(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, B, gate=["test -e a.txt"])
    forge.finish()
    before, flow = len(forge.started), up.sha("flow/p")
    forge.act(Revert(targets=("2",), reason="it is wrong"))
    forge.act(Stop())  # she thinks again
    assert state(up)["setback"] == "the revert of 2 was ended by alice (alice had asked for it)"
    forge.act(Resume())
    forge.act(Revert(targets=("1",), reason="it is wrong"))
    assert state(up).get("setback", "") == ""
    forge.reconcile()
    with pytest.raises(Refused, match="a train that takes 2, 1 back is tested") as e:
        forge.act(Revert(targets=("2",), reason="it is wrong"))
    assert e.value.reason_code == "wrong-state"
    forge.turn(train(forge, before))
    assert up.sha("flow/p") == flow
    assert statuses(up, "1", "2") == ["completed", "completed"]
    said = "its run failed: run/5 without 2, 1; nothing was reverted (alice had asked for it)"
    assert state(up)["setback"] == said
    assert "train" not in state(up)
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_a_revert_that_the_remote_does_not_take_holds_nothing(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, B, **GATE)
    forge.finish()
    before, flow = len(forge.started), up.sha("flow/p")
    forge.act(Revert(targets=("2",), reason="it is wrong"))
    forge.reconcile()
    refuse(up, "refs/heads/flow/*")
    forge.turn(train(forge, before))
    assert up.sha("flow/p") == flow
    said = state(up)["setback"]
    assert said.startswith("2 could not be taken back: ")
    assert said.endswith("(alice had asked for it)")
    assert "train" not in state(up)
    (up.path / "hooks/update").unlink()
    forge.act(Revert(targets=("2",), reason="it is wrong"))
    forge.finish()
    assert [one["outcome"] for one in engine.record(up, "2", "p")["attempts"]] == ["succeeded"] * 2
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_a_merge_is_the_next_train_or_waits_for_it(repo: Repo, up: Repo, forge: Near) -> None:
    near_forge.propose(repo, up, A, task("2", "echo b > b.txt"), **GATE)
    forge.reconcile()
    one, two = forge.waiting
    forge.turn(one)
    dispatched = train(forge, 2)
    forge.publish(two, forge.execute(two))
    two.conclusion = "success"
    waits = forge.act(Merge(targets=("2",)))
    assert (waits.changed, waits.is_staged, waits.said) == (
        False,
        True,
        ("2 is merged by the next train that can take it",),
    )
    forge.act(Hold(targets=("2",)))
    forge.turn(dispatched)
    assert statuses(up, "1", "2") == ["completed", "review"]
    forge.act(Resume(targets=("2",)))
    staged = forge.act(Merge(targets=("2",)))
    assert (staged.changed, staged.is_done, staged.said) == (
        True,
        False,
        ("2 is tested, and merged to flow/p when that passes",),
    )
    forge.finish()
    assert statuses(up, "1", "2") == ["completed", "completed"]


def test_a_merge_that_nothing_has_to_be_run_for_is_made_at_once(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, task("2", "echo A > a.txt"))
    forge.reconcile()
    for one in forge.waiting:
        forge.publish(one, forge.execute(one))
    note = Journal()
    forge.act(Hold(targets=("2",)))
    outcome = forge.act(Merge(), also=note)
    assert note.outcomes == [outcome]
    sha = str(engine.record(up, "1", "p")["merge"])[:12]
    assert (outcome.is_done, outcome.is_staged, outcome.said, outcome.undo) == (
        True,
        False,
        (f"1 is merged to flow/p as {sha}",),
        "revert p/1 -m WHY",
    )
    assert last(up) == "task_merged command_done"


@pytest.mark.slow
def test_an_update_is_tested_by_a_run_and_told_when_it_fails(
    repo: Repo, up: Repo, forge: Near
) -> None:
    engine.config(repo, follow_base="off")
    repo.git("push", "--quiet", str(up.path), "main")
    near_forge.propose(repo, up, A, **GATE)
    forge.finish()
    for name, passes in (("fine", True), ("bad", False)):
        repo.write(name, "x")
        repo.commit(name)
        repo.git("push", "--quiet", str(up.path), "main")
        outcome = forge.act(Update())
        assert outcome.is_staged
        before = len(forge.started)
        forge.reconcile()
        forge.turn(train(forge, before))
        assert (name in up.tree("flow/p")) == passes
    assert state(up)["setback"].startswith("main was not merged into flow/p: its run failed: run/4")


@pytest.mark.slow
def test_a_person_does_a_task_in_place_of_a_run(
    repo: Repo, up: Repo, forge: Near, tmp_path: Path
) -> None:
    near_forge.propose(repo, up, A, B)
    forge.reconcile()
    note = Journal()
    forge.act(Take(targets=("1",)), also=note)
    assert last(up) == "attempt_stopped task_taken command_done"
    mine = up.clone(tmp_path / "mine")
    mine.git("switch", "--quiet", engine.record(up, "1", "p")["branch"])
    mine.write("a.txt", "mine\n")
    mine.commit("by hand")
    mine.git("push", "--quiet", "origin", "HEAD")
    outcome = forge.act(Submit(targets=("1",)), also=note)
    assert (outcome.changed, statuses(up, "1")) == (True, ["review"])
    forge.reconcile()
    assert up.show("flow/p", "a.txt") == "mine\n"
    forge.act(Take(targets=("2",)))
    forge.act(Give(targets=("2",)))
    forge.finish()
    assert statuses(up, "1", "2") == ["completed", "completed"]
    assert engine.fsck(up, "p") == ()


# --- one transaction ------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_goes_with_a_command_is_written_in_its_commit(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, B)
    forge.reconcile()
    note = Journal()
    outcome = forge.act(Skip(targets=("2",), reason="not now"), also=note)
    assert note.outcomes == [outcome]
    assert last(up) == "task_skipped command_done"
    again = forge.act(Skip(targets=("2",), reason="not now"), also=note)
    assert (again.changed, again.said) == (False, ("everything named is skipped already",))
    assert last(up) == "command_done"
    dry = forge.act(Retry(targets=("2",)), also=note, dry_run=True)
    assert (dry.would, last(up), statuses(up, "2")) == (True, "command_done", ["cancelled"])
    before = engine.refs(up)
    done = forge.act(Retry(targets=("2",)), also=note, unless=lambda snapshot: True)
    assert (done.changed, done.said, engine.refs(up)) == (False, (), before)


@pytest.mark.slow
def test_what_cannot_be_noted_did_not_happen(repo: Repo, up: Repo, forge: Near) -> None:
    in_lines(repo, up)
    forge.reconcile()

    def fail(draft: Draft, outcome: Outcome) -> None:
        raise KeyError("journal")

    before = engine.refs(up)
    for command in (
        Stop(targets=("1",)),
        AddTask(text="id: x\ntitle: X\ndescription: x\nrun: echo x"),
    ):
        with pytest.raises(KeyError):
            forge.act(command, also=fail)
    assert engine.refs(up) == before


@pytest.mark.slow
def test_a_task_is_added_together_with_its_note(repo: Repo, up: Repo, forge: Near) -> None:
    in_lines(repo, up)
    forge.reconcile()
    note = Journal()
    block = "id: x\ntitle: X\ndescription: x\nrun: echo x > x.txt"
    outcome = forge.act(AddTask(text=block), also=note)
    assert outcome.changed
    again = forge.act(AddTask(text=block), also=note)
    assert (again.changed, again.said) == (False, ("plan p has that already, as x",))
    assert last(up) == "command_done"
    assert up.log("plan/p", "%s").splitlines()[:2] == ["plan p: add x", "plan p"]
    assert up.log("plan/p", "%an <%ae>").splitlines()[0] == near_forge.ALICE
    forge.reconcile()
    assert statuses(up, "x") == ["in_progress"]


@pytest.mark.slow
def test_what_the_remote_does_not_take_is_refused_and_not_tried_for_ever(
    repo: Repo, up: Repo, forge: Near
) -> None:
    in_lines(repo, up)
    forge.reconcile()
    refuse(up, "refs/heads/task/*|*/plan/*")
    for command in (
        Stop(targets=("1",)),
        AddTask(text="id: x\ntitle: X\ndescription: x\nrun: echo x"),
    ):
        with pytest.raises(Refused) as e:
            forge.act(command, also=Journal())
        assert e.value.reason_code == "push-refused"
