"""Attempts and trains as runs of a forge: whatever becomes of a run, each task is merged once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from gitflow_agents import commands, scheduler
from gitflow_agents.errors import LostRace
from gitflow_agents.forge import ForgeDown, ForgeRefused, Reacted
from gitflow_agents.models import Limits, Reason
from gitflow_agents.render.alerts import alerts
from gitflow_agents.service import Service, dispatching, handover, jobs
from gitflow_agents.service.jobs import ClaimOver, Jobs
from gitflow_agents.service.questioning import UNKNOWN_SECONDS
from tests import engine, near_forge, repos
from tests.engine import task
from tests.near_forge import Near
from tests.repos import Repo
from tests.test_questions import ASKS, asking

ONE = task("1", "echo a > a.txt", provides=["a"], verify=["grep a a.txt"])
BY_MINE = {**{key: value for key, value in ONE.items() if key != "run"}, "agent": "mine"}
AFTER = task("2", "cat a.txt > b.txt", preconditions=["a"], verify=["grep a b.txt"])


Propose = Callable[..., None]


@pytest.fixture
def propose(repo: Repo, up: Repo) -> Propose:
    """Return what pushes a plan p with some tasks on its branch."""

    def propose(*tasks: dict[str, object], **keys: object) -> None:
        near_forge.propose(repo, up, *tasks, **keys)

    return propose


def merged(up: Repo) -> list[str]:
    """Return the tasks that flow has merged, the last one first."""
    lines = up.log("flow/p", "%s", "--first-parent").splitlines()
    return [line.split()[1].rstrip(":") for line in lines if line.startswith("merge ")]


def test_a_pushed_plan_becomes_a_merged_flow_branch(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(ONE, AFTER)
    forge.finish()
    assert merged(up) == ["2", "1"]
    assert up.show("flow/p", "b.txt") == "a\n"
    assert [(one.job, one.inputs["name"].split()[0]) for one in forge.started] == [
        ("task", "p-command-task1-attempt1"),
        ("train", "p-train"),
        ("task", "p-command-task2-attempt1"),
        ("train", "p-train"),
    ]
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_the_state_names_the_run_of_an_attempt_and_of_a_train(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(ONE)
    forge.reconcile()
    assert engine.record(up, "1", "p")["lease"] == {
        "host": "forge",
        "until": engine.record(up, "1", "p")["lease"]["until"],
        "run": 1,
    }
    forge.turn()
    assert engine.state(up, "p")["train"]["lease"]["run"] == 2


def test_a_plan_file_that_was_never_started_is_known_by_what_is_not_there(repo: Repo) -> None:
    for name in ("a", "reported", "given", "begun", "proposed"):
        engine.plan(repo, ONE, name=name)
    repo.write("plans/b.yaml", "plan: other\ngoal: x\ntasks: [{id: a, run: x}]\n")
    repo.write("plans/reported.report.md", "")
    repo.write("plans/given.provides.yaml", "")
    repo.write("plans/no plan.yaml", "")
    repo.commit("plans")
    refs = ("main", "gitflow/state/begun", "plan/proposed")
    for ref in refs:
        repo.git("update-ref", f"refs/remotes/origin/{ref}", "HEAD")
    service = Service(str(repo.path))
    found = service.unstarted("origin")
    service.close()
    assert {name: path for name, (path, _) in found.items()} == {
        "a": "plans/a.yaml",
        "other": "plans/b.yaml",
    }


def test_a_pass_with_nothing_to_do_asks_nothing_and_moves_nothing(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(ONE)
    forge.reconcile()
    before, asked = engine.refs(up), list(forge.asked)
    forge.reconcile()
    assert (engine.refs(up), forge.asked) == (before, asked)


@pytest.mark.slow
def test_no_more_runs_are_started_than_attempts_are_allowed(propose: Propose, forge: Near) -> None:
    propose(*(task(str(n), "true") for n in range(5)), limits={"parallel": 2})
    with forge.jobs() as jobs:
        jobs.reconcile("p", forge, parallel=1)
    forge.reconcile()
    assert [one.inputs["task"] for one in forge.started] == ["0"]
    with forge.jobs() as jobs:
        jobs.reconcile("p", forge, parallel=3)
    forge.reconcile()
    assert [one.inputs["task"] for one in forge.started] == ["0", "1"]


@pytest.mark.slow
def test_passes_at_once_start_each_attempt_once(propose: Propose, forge: Near, up: Repo) -> None:
    propose(ONE, AFTER, task("3", "echo c > c.txt"))
    told: list[str] = []

    def one(jobs: Jobs) -> None:
        try:
            jobs.reconcile("p", forge)
        except LostRace as e:  # another pass was quicker, and does what is to be done
            told.append(e.message)

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        # A clone of a folder that is written to meanwhile would lack what comes in between.
        clones = [stack.enter_context(forge.jobs()) for _ in range(3)]
        list(pool.map(one, clones))
    assert len(told) < 3
    assert sorted(run.inputs["task"] for run in forge.started) == ["1", "3"]
    forge.finish()
    assert sorted(merged(up)) == ["1", "2", "3"]
    assert [len(engine.record(up, n, "p")["attempts"]) for n in "123"] == [1, 1, 1]


@pytest.mark.slow
def test_a_task_whose_runner_the_config_names_no_more_is_done_nowhere(
    propose: Propose, forge: Near, up: Repo, repo: Repo
) -> None:
    for runners in ({"gpu": ["self-hosted", "gpu"]}, {"other": ["x"]}):
        engine.config(repo, runners=runners)
        repo.git("push", "--quiet", str(up.path), "main")
        if "gpu" in runners:
            propose({**ONE, "runner": "gpu"})
            forge.reconcile()
    assert forge.started[0].inputs["runner"] == '["self-hosted", "gpu"]'
    forge.turn()
    record = engine.record(up, "1", "p")
    assert (record["status"], record["reason"]) == ("failed", "precondition-failed")


@pytest.mark.slow
def test_a_dispatch_that_got_lost_is_sent_again(
    propose: Propose, forge: Near, up: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "UNNAMED_SECONDS", 0.0)
    propose(ONE)
    forge.loses = 1
    forge.finish()
    assert forge.started == []
    forge.finish()
    assert merged(up) == ["1"]


@pytest.mark.slow
def test_a_run_whose_id_was_not_told_is_found_by_its_name(
    propose: Propose, forge: Near, up: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "UNNAMED_SECONDS", 0.0)
    propose(ONE)
    forge.hides = 1
    forge.reconcile()
    forge.finish()
    assert merged(up) == ["1"]
    assert [one.job for one in forge.started] == ["task", "train"]


@pytest.mark.slow
def test_of_a_doubled_dispatch_only_the_run_that_the_state_names_begins(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(ONE)
    forge.doubles = 1
    forge.reconcile()
    first, second = forge.started
    with forge.jobs() as jobs, pytest.raises(ClaimOver, match="run 1 does what"):
        jobs.execute("p", "1", second.inputs["claim"], second.id, forge.folder / "none")
    second.conclusion = "failure"
    forge.turn(first)
    forge.finish()
    assert merged(up) == ["1"]


def test_a_run_that_nobody_named_does_not_begin(propose: Propose, forge: Near) -> None:
    propose(ONE)
    forge.hides = 1
    forge.reconcile()
    (one,) = forge.started
    with forge.jobs() as jobs, pytest.raises(ClaimOver, match="did not name this run"):
        jobs.execute("p", "1", one.inputs["claim"], one.id, forge.folder / "none")


@pytest.mark.slow
def test_a_forge_that_is_down_loses_no_claim(
    propose: Propose, forge: Near, up: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "UNNAMED_SECONDS", 0.0)
    propose(ONE)
    forge.is_down = True
    with pytest.raises(ForgeDown):
        forge.reconcile()
    forge.is_down = False
    forge.finish()
    assert merged(up) == ["1"]
    assert len(engine.record(up, "1", "p")["attempts"]) == 1


@pytest.mark.slow
def test_a_dispatch_that_is_refused_is_told_once_and_holds_nothing_else(
    propose: Propose, forge: Near, up: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "UNNAMED_SECONDS", 0.0)
    last = task("4", "echo d > d.txt")
    propose(ONE, AFTER, task("3", "echo c > c.txt"), last, gate=["true"], limits={"parallel": 2})
    forge.reconcile()
    for one in forge.waiting[:2]:
        forge.publish(one, forge.execute(one))
        one.conclusion = "success"
    forge.forbids = {"task": 404}
    for _ in range(2):
        with pytest.raises(ForgeRefused, match="no task here"):
            forge.reconcile()
    train = next(one for one in forge.waiting if one.job == "train")
    with pytest.raises(ForgeRefused):
        forge.turn(train)
    assert merged(up) == ["3", "1"]
    assert engine.state(up, "p")["undispatched"] == "no task here"
    log = up.log("gitflow/state/p", "%B")
    assert log.count("Gitflow-Event: runs_refused") == 1
    with forge.jobs() as jobs:
        snapshot = jobs.service.look("p")
        assert snapshot is not None
        kinds = [one.kind for one in alerts(snapshot, Limits(), time.time())]
    assert kinds == ["no_runs"]
    forge.forbids.clear()
    forge.finish()
    assert engine.state(up, "p").get("undispatched", "") == ""
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_an_attempt_whose_runner_died_is_tried_again(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(ONE)
    forge.reconcile()
    (one,) = forge.waiting
    one.conclusion = "failure"
    published = forge.publish(one, forge.folder / "nothing came")
    assert published is not None
    assert published.report.reason is Reason.INFRASTRUCTURE
    forge.finish()
    assert merged(up) == ["1"]
    assert [a["outcome"] for a in engine.record(up, "1", "p")["attempts"]] == [
        "failed",
        "succeeded",
    ]


@pytest.mark.slow
def test_an_attempt_whose_run_is_over_without_a_word_is_found_by_the_sweep(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose({**ONE, "timeout": "1m"})
    forge.reconcile()
    forge.started[0].conclusion = "cancelled"
    late = engine.record(up, "1", "p")["attempts"][0]["started_at"] + 40
    forge.reconcile(clock=lambda: late)
    assert [a["reason"] for a in engine.record(up, "1", "p")["attempts"][:1]] == ["lease-lost"]
    forge.finish()
    assert merged(up) == ["1"]


@pytest.mark.slow
def test_a_run_that_is_late_but_at_work_is_left_in_peace(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose({**ONE, "timeout": "1m"})
    forge.reconcile()
    late = engine.record(up, "1", "p")["attempts"][0]["started_at"] + 100
    forge.reconcile(clock=lambda: late)
    assert engine.record(up, "1", "p")["status"] == "in_progress"
    assert "runs" in forge.asked


@pytest.mark.slow
def test_a_result_that_comes_after_a_stop_is_kept_beside(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(ONE)
    forge.reconcile()
    (one,) = forge.waiting
    folder = forge.execute(one)
    mine = up.clone(forge.folder / "mine")
    repos.Cli(mine)("stop", "p/1")
    published = forge.publish(one, folder)
    assert published is not None
    assert (published.event, published.kept) == ("", "gitflow/attempt/p/1/1")
    assert up.show("gitflow/attempt/p/1/1", "a.txt") == "a\n"
    assert engine.record(up, "1", "p")["status"] == "cancelled"


@pytest.mark.slow
def test_a_train_that_fails_fails_its_task_and_says_where(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(ONE, gate=["test ! -e a.txt"])
    forge.finish()
    record = engine.record(up, "1", "p")
    assert (record["status"], record["reason"]) == ("failed", "gate-failed")
    assert record["message"] == "its run failed: run/2"
    assert merged(up) == []


@pytest.mark.slow
def test_a_train_whose_run_was_cancelled_is_tested_again(
    propose: Propose, forge: Near, up: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "LOST_IN_A_ROW", 2)
    propose(ONE)
    forge.reconcile()
    forge.turn()
    for turn in range(2):
        (train,) = forge.waiting
        train.conclusion = "cancelled"
        forge.reconcile()
        assert bool(engine.state(up, "p").get("lost_trains")) == (turn == 0)
    assert engine.state(up, "p")["held"] == "the runs of 2 trains in a row ended without a verdict"
    assert forge.waiting == []
    with forge.jobs() as jobs:
        jobs.service.handle(commands.Resume(), "p")
    forge.finish()
    assert merged(up) == ["1"]
    assert [one.job for one in forge.started] == ["task", "train", "train", "train"]
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_a_train_that_nobody_wants_any_more_is_not_tested(propose: Propose, forge: Near) -> None:
    propose(ONE)
    with forge.jobs() as jobs:
        jobs.reconcile("p", forge)
        with pytest.raises(ClaimOver, match="is over"):
            jobs.test("p", "0" * 40)


def with_agent(repo: Repo, up: Repo, tmp_path: Path, install: str) -> None:
    """Allow an agent `mine` that is not installed."""
    (tmp_path / "bin").mkdir()
    mine = {"command": ["mine"], "brief": "stdin", "install": install}
    engine.config(repo, agents={"mine": mine})
    repo.git("push", "--quiet", str(up.path), "main")


@pytest.mark.slow
def test_a_runner_installs_the_agents_that_a_task_lacks(
    propose: Propose, forge: Near, repo: Repo, up: Repo, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "mine"
    with_agent(
        repo,
        up,
        tmp_path,
        f"printf '#!/bin/sh\\necho a > a.txt' > '{program}' && chmod +x '{program}'",
    )
    propose(BY_MINE)
    forge.reconcile()
    (one,) = forge.waiting
    forge.publish(one, forge.execute(one, install=True))
    one.conclusion = "success"
    forge.finish()
    assert merged(up) == ["1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("install", "said"),
    [
        (False, "mine is not installed: echo no network; exit 1"),
        (True, "mine could not be installed: echo no network; exit 1: no network"),
    ],
)
def test_an_agent_that_a_runner_lacks_is_named(
    propose: Propose, forge: Near, repo: Repo, up: Repo, tmp_path: Path, install: bool, said: str
) -> None:
    with_agent(repo, up, tmp_path, "echo no network; exit 1")
    propose(BY_MINE)
    forge.reconcile()
    (one,) = forge.waiting
    published = forge.publish(one, forge.execute(one, install=install))
    assert published is not None
    assert (published.report.reason, published.report.message) == (
        Reason.PRECONDITION_FAILED,
        said,
    )


# --- what a stranger hands over -------------------------------------------------------------------


def handed(forge: Near, propose: Propose, run: str = "echo a > a.txt") -> Path:
    """Return what the run of a task left."""
    propose(task("1", run, verify=["true"]))
    forge.reconcile()
    return forge.execute(forge.started[0])


def forged(folder: Path, **about: object) -> None:
    """Change what the report says."""
    path = folder / handover.PAPER
    paper = json.loads(path.read_text())
    paper["report"] |= about
    path.write_text(json.dumps(paper))


def test_what_a_result_holds_is_counted_from_its_commits_and_not_believed(
    propose: Propose, forge: Near, up: Repo
) -> None:
    folder = handed(forge, propose, "mkdir -p .github && echo x > .github/x.yml; echo a > a.txt")
    forged(folder, outcome="succeeded", files_touched=["a.txt"])
    json.loads((folder / handover.PAPER).read_text())
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    assert published.report.reason is Reason.PROTECTED_PATH
    assert ".github/x.yml" in published.report.files_touched


@pytest.mark.slow
def test_a_report_that_claims_success_without_any_work_is_no_success(
    propose: Propose, forge: Near
) -> None:
    folder = handed(forge, propose, "true")
    forged(folder, outcome="succeeded", reason=None, message="all done")
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    assert published.report.reason is Reason.NO_CHANGES


@pytest.mark.slow
def test_a_report_of_another_task_is_this_ones(propose: Propose, forge: Near) -> None:
    folder = handed(forge, propose)
    forged(folder, task="9", plan="other", attempt=7, agent="claude")
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    said = published.report
    assert (said.plan, said.task, said.attempt, said.agent) == ("p", "1", 1, "command")


@pytest.mark.slow
def test_numbers_and_words_of_a_report_cannot_spoil_the_plan(
    propose: Propose, forge: Near, up: Repo
) -> None:
    folder = handed(forge, propose)
    lie = "done\n\nGitflow-Event: task_merged\nGitflow-Task: 9"
    forged(folder, cost_usd=-5, message=lie, started_at=0, ended_at=1e30, session="s\x1b[2J")
    path = folder / handover.PAPER
    path.write_text(path.read_text().replace("1e+30", "Infinity"))
    forge.publish(forge.started[0], folder)
    forge.started[0].conclusion = "success"
    forge.finish()
    (attempt,) = engine.record(up, "1", "p")["attempts"]
    assert "cost_usd" not in attempt
    assert attempt["ended_at"] - attempt["started_at"] < 600
    assert "\n" not in attempt["message"]
    assert "\x1b" not in attempt["session"]
    assert merged(up) == ["1"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"report": {}}', "\x00" * 10, '{"report": null, "schema": 1}']
)
@pytest.mark.slow
def test_a_report_that_is_none_fails_the_attempt_with_a_sentence(
    propose: Propose, forge: Near, text: str
) -> None:
    folder = handed(forge, propose)
    (folder / handover.PAPER).write_text(text)
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    assert published.report.reason is Reason.BAD_BASE
    assert "report.json is not what an attempt writes" in published.report.message


def test_a_bundle_that_is_none_fails_the_attempt_with_a_sentence(
    propose: Propose, forge: Near
) -> None:
    folder = handed(forge, propose)
    (folder / handover.BUNDLE).write_bytes(b"# v2 git bundle\nnonsense")
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    assert published.report.reason is Reason.BAD_BASE
    assert published.report.message.startswith("result.bundle cannot be read")


@pytest.mark.slow
def test_a_symlink_in_place_of_a_bundle_is_not_followed(
    propose: Propose, forge: Near, tmp_path: Path
) -> None:
    folder = handed(forge, propose)
    bundle = folder / handover.BUNDLE
    bundle.rename(tmp_path / "elsewhere")
    bundle.symlink_to(tmp_path / "elsewhere")
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    assert published.report.reason is Reason.NO_CHANGES


@pytest.mark.slow
def test_work_that_does_not_come_from_the_claim_is_refused(
    propose: Propose, forge: Near, repo: Repo
) -> None:
    folder = handed(forge, propose)
    claim = engine.record(forge.up, "1", "p")["claim"]
    repo.git("switch", "--quiet", "--orphan", "elsewhere")
    repo.write("a.txt", "another history")
    repo.commit("root")
    repo.git("update-ref", f"{handover.REF}{claim}", "HEAD")
    bundle = str(folder / handover.BUNDLE)
    repo.git("bundle", "create", "--quiet", bundle, f"{handover.REF}{claim}")
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    assert published.report.reason in (Reason.BAD_BASE, Reason.NO_CHANGES)


@pytest.mark.slow
def test_a_secret_in_the_work_is_not_handed_over(propose: Propose, forge: Near) -> None:
    key = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    folder = handed(forge, propose, f"echo {key[:20]}'{key[20:40]}' > key.txt")
    assert not (folder / handover.BUNDLE).exists()
    published = forge.publish(forge.started[0], folder)
    assert published is not None
    assert published.report.reason is Reason.SECRET_FOUND
    assert key not in (folder / handover.PAPER).read_text()


# --- what people say ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_hears_what_is_said_and_asks_by_its_report(
    propose: Propose, forge: Near, up: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token can only read: what became of a remark, and the question, come with the result."""
    monkeypatch.setattr(jobs, "LOOK_SECONDS", 0.1)
    hears = engine.until('test -s "$GITFLOW_FEEDBACK"')
    propose(task("1", asking(ASKS, "echo b > a.txt", f"{hears} echo a > a.txt")))
    forge.reconcile()
    (one,) = forge.waiting
    with ThreadPoolExecutor(1) as pool:
        folder = pool.submit(forge.execute, one)
        said = forge.act(commands.Feedback(targets=("1",), text="be quick"))
        assert said.changed
        forge.publish(one, folder.result())
    one.conclusion = "success"
    forge.reconcile()
    record = engine.record(up, "1", "p")
    (remark,) = record["feedback"]
    assert ("status" in record, record["reason"]) == (False, "question")
    assert (remark["attempt"], "offered_at" in remark, "delivered_at" in remark) == (1, True, False)
    forge.act(commands.Answer(targets=("1",), choice="b"))
    forge.finish()
    record = engine.record(up, "1", "p")
    assert [attempt["number"] for attempt in record["attempts"]] == [1]
    assert record["feedback"][0]["delivered_at"] > remark["offered_at"]
    assert merged(up) == ["1"]


@pytest.mark.slow
def test_a_question_has_a_comment_of_its_own_and_a_sign_answers_it(
    propose: Propose, forge: Near, up: Repo
) -> None:
    propose(task("1", asking(ASKS, "echo b > a.txt", "echo a > a.txt")))
    forge.people["mallory"] = "read"
    forge.reconcile()
    forge.turn()
    (comment,) = forge.written
    assert comment.text.splitlines()[1:] == [
        "`1` asks: Which one?",
        "",
        "- \N{ROCKET} a: argon2",
        "- \N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16} b: bcrypt (it would take this)",
        "",
        "React to this comment with one of the signs (seen within minutes), or comment:",
        "",
        "```text",
        "/answer 1 b",
        "```",
    ]
    forge.reconcile()
    assert forge.written == [comment]
    forge.reacted[comment.id] = [
        Reacted("mallory", 0, "rocket", 0.0),
        Reacted("tool[bot]", 0, "rocket", 0.0, is_bot=True),
        Reacted("bob", 0, "confused", 0.0),
        Reacted("bob", 0, "heart", 0.0),
        Reacted("alice", 0, "rocket", 0.0),
    ]
    forge.finish()
    (asked,) = engine.record(up, "1", "p")["questions"]
    assert asked["answer"] == "bcrypt"
    assert asked["answered_by"].startswith("bob <bob@users.noreply")
    assert merged(up) == ["1"]
    (comment,) = forge.written
    assert "Answered: bcrypt, by bob " in comment.text
    assert "React" not in comment.text
    assert engine.fsck(up, "p") == ()


@pytest.mark.slow
def test_the_comment_of_a_question_that_nobody_noted_is_found_and_not_written_twice(
    propose: Propose, forge: Near, up: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    propose(task("1", asking(ASKS, "echo b > a.txt", "echo a > a.txt")))
    forge.reconcile()
    say, forge.now = forge.say, time.time()

    def die(number: int, text: str) -> int:
        say(number, text)
        raise ForgeDown("the answer got lost")

    monkeypatch.setattr(forge, "say", die)
    forge.turn()
    assert "a question is not shown: the answer got lost" in forge.texts()
    (comment,) = forge.written
    (asked,) = engine.record(up, "1", "p")["questions"]
    forge.reconcile(clock=lambda: asked["shown_at"] + UNKNOWN_SECONDS + 1)
    assert forge.written == [comment]
    (asked,) = engine.record(up, "1", "p")["questions"]
    assert asked["comment"] == comment.id
