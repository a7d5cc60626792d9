"""Environments as a door for approvals: a run waits there, and who lets it in says yes."""

from __future__ import annotations

import pytest

from gitflow_agents.commands import Approve
from gitflow_agents.forge import Decision
from gitflow_agents.service import environments
from gitflow_agents.service.environments import LOOK_SECONDS, UNNAMED_SECONDS
from tests import engine, near_forge
from tests.engine import task
from tests.near_forge import Near
from tests.repos import Repo

A = task("1", "echo a > a.txt")
B = task("2", "echo b > b.txt")
CONFIG = "environments: {plan: gates, task: gates, merge: Releases}\n"


@pytest.fixture(autouse=True)
def configured(repo: Repo, up: Repo) -> None:
    """Let the config name two environments."""
    repo.write(".github/gitflow-agents.yml", CONFIG)
    repo.commit("config")
    repo.git("push", "--quiet", str(up.path), "main")


def say(forge: Near, who: str, *, yes: bool = True, where: str = "gates", text: str = "") -> None:
    """Let a reviewer decide on the one run that waits, and do the pass that comes of it."""
    (run,) = forge.asking
    forge.decided.setdefault(run.id, []).append(Decision(who, 0, where, yes, text))
    run.conclusion = "success" if yes else "failure"
    forge.reconcile()


def asked(up: Repo) -> dict[str, tuple[str, str]]:
    """Return what is asked for, with the environment and why there was no yes."""
    known = engine.state(up, "p").get("asked_for", {})
    return {key: (one["environment"], one.get("refused", "")) for key, one in known.items()}


def test_who_lets_a_run_in_has_approved_what_it_waits_for(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, approval=["plan", "merge"])
    forge.reconcile()
    (run,) = forge.asking
    sha = up.sha("plan/p")
    assert run.inputs == {
        "plan": "p",
        "environment": "gates",
        "name": f"p-approval of the plan {sha[:12]}",
    }
    forge.reconcile()
    assert forge.asking == [run]  # nobody is asked twice
    say(forge, "carol")
    state = engine.state(up, "p")
    assert (state["approved"]["by"], state["approved"]["sha"]) == (
        "carol <carol@users.noreply.github.com>",
        sha,
    )
    forge.turn()
    (run,) = forge.asking
    assert run.inputs["name"].startswith("p-approval of merge of 1 ")
    assert asked(up) == {"merge 1": ("Releases", "")}
    say(forge, "carol", where="releases")
    forge.finish()
    assert engine.record(up, "1", "p")["status"] == "completed"
    assert (asked(up), engine.fsck(up, "p")) == ({}, ())


@pytest.mark.parametrize(
    ("who", "level", "why"),
    [
        ("bob", "write", "the approval of bob does not count: "),
        ("mallory", "", "the approval of mallory does not count: "),
    ],
)
def test_a_yes_of_who_may_not_approve_is_none(
    repo: Repo, up: Repo, forge: Near, who: str, level: str, why: str
) -> None:
    near_forge.propose(repo, up, A, approval=["plan"])
    forge.people[who] = level
    forge.reconcile()
    say(forge, who)
    assert asked(up)["plan"][1].startswith(why)
    assert (forge.asking, forge.waiting) == ([], [])  # not asked for again, and nothing starts
    assert "approved" not in engine.state(up, "p")


@pytest.mark.slow
def test_a_no_is_shown_with_its_words_and_not_asked_for_again(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, approval=["task"])
    forge.reconcile()
    say(forge, "carol", yes=False, text="not on a Friday\n/approve")
    assert asked(up) == {"task 1": ("gates", "carol refused it there: not on a Friday /approve")}
    forge.reconcile()
    assert (forge.asking, forge.waiting) == ([], [])
    # A new text is another question.
    near_forge.propose(repo, up, {**A, "description": "Another"}, approval=["task"])
    forge.reconcile()
    say(forge, "carol")
    assert [one.job for one in forge.waiting] == ["task"]


@pytest.mark.slow
def test_what_is_not_waited_for_any_more_is_cancelled(repo: Repo, up: Repo, forge: Near) -> None:
    near_forge.propose(repo, up, A, approval=["plan"])
    forge.reconcile()
    (first,) = forge.asking
    near_forge.propose(repo, up, A, B, approval=["plan"])
    forge.reconcile()
    (second,) = forge.asking
    assert (first.conclusion, second.inputs["name"] == first.inputs["name"]) == ("cancelled", False)
    # What somebody said to the first one counts for nothing now.
    forge.decided[first.id] = [Decision("carol", 0, "gates", True)]
    forge.reconcile()
    assert "approved" not in engine.state(up, "p")


@pytest.mark.slow
def test_a_run_that_was_let_in_does_its_pass_though_nobody_waits_for_it(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, approval=["plan"])
    forge.reconcile()
    (run,) = forge.asking
    forge.act(Approve(targets=("plan",)))
    forge.decided[run.id] = [Decision("carol", 0, "gates", True)]
    forge.reconcile()
    assert (run.conclusion, asked(up)) == ("", {})


@pytest.mark.slow
def test_a_run_that_nobody_can_let_in_is_not_started_again_and_again(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, A, approval=["plan"])
    forge.reconcile()
    (run,) = forge.asking
    run.conclusion = "failure"  # its branch may not be deployed there
    now = engine.state(up, "p")["asked_for"]["plan"]["at"]
    forge.reconcile(clock=lambda: now + LOOK_SECONDS + 1)
    assert "nobody could let the run in" in asked(up)["plan"][1]
    assert forge.asking == []


@pytest.mark.slow
def test_who_was_refused_holds_nobodys_place(
    repo: Repo, up: Repo, forge: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "MOST", 1)
    near_forge.propose(repo, up, A, B, approval=["task"])
    forge.reconcile()
    say(forge, "carol", yes=False)
    assert [key for key, (_, why) in asked(up).items() if not why] == ["task 2"]


@pytest.mark.slow
def test_runs_that_are_lost_or_ask_nobody_are_seen_to(repo: Repo, up: Repo, forge: Near) -> None:
    near_forge.propose(repo, up, A, approval=["plan"])
    forge.hides = 1
    forge.reconcile()
    (run,) = forge.asking
    now = engine.state(up, "p")["asked_for"]["plan"]["at"]
    later = now + UNNAMED_SECONDS + 1
    forge.reconcile(clock=lambda: later)
    assert engine.state(up, "p")["asked_for"]["plan"]["run"] == run.id
    run.conclusion = "cancelled"  # by a person, or after thirty days
    forge.reconcile(clock=lambda: now + LOOK_SECONDS + 1)
    (run,) = forge.asking
    run.conclusion = "success"  # nobody had to let it in
    again = engine.state(up, "p")["asked_for"]["plan"]["at"]
    forge.reconcile(clock=lambda: again + LOOK_SECONDS + 1)
    assert asked(up)["plan"] == ("gates", "it let the run in and asked nobody: it has no reviewers")
    assert "approved" not in engine.state(up, "p")


@pytest.mark.slow
def test_a_forge_that_starts_no_such_runs_holds_nothing_else(
    repo: Repo, up: Repo, forge: Near
) -> None:
    near_forge.propose(repo, up, {**A, "approval": ["task"]}, B)
    forge.forbids["approval"] = 404
    forge.finish()
    assert engine.record(up, "2", "p")["status"] == "completed"
    assert asked(up) == {"task 1": ("gates", "no approval here")}
    assert "no environment is asked for an approval: no approval here" in forge.texts()
