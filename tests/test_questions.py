"""Tasks that ask: what waits, at what cost, and how the same attempt goes on with the answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gitflow_agents import grammar, handoff, render, spec
from gitflow_agents.commands import KINDS, Decision, Ground, Move, Refused, effects
from gitflow_agents.commands.words import Answer
from gitflow_agents.errors import ExitCode
from gitflow_agents.models import Asked, Attempt, Limits, Reason, Report
from gitflow_agents.render.alerts import alerts
from gitflow_agents.scheduler import Claim, Snapshot, plan_status
from tests import engine
from tests.engine import act, record, task
from tests.repos import Cli, Repo
from tests.test_acting import brief
from tests.test_commands import ALICE
from tests.test_scheduler import NOW, due, needing, snapshot

NO_LIMITS = Limits()
WHICH = {"text": "Which one?", "options": ["argon2", "bcrypt"], "default": "bcrypt"}


def asked(**more: Any) -> Asked:
    about: dict[str, Any] = {"attempt": 1, "at": NOW, "base": "b", "tip": "t", **WHICH, **more}
    return Asked(**about)


def waiting(*questions: Asked) -> Snapshot:
    """Return a plan whose task `t` waits for an answer, and whose task `u` does not."""
    attempt = Attempt(number=1, started_at=NOW - 60, ended_at=NOW, outcome="asked")
    about = {"reason": Reason.QUESTION, "questions": questions, "attempts": (attempt,)}
    return snapshot(needing(t="", u="t"), "pp", records={"t": about})


def answers(of: Snapshot, *targets: str, **options: Any) -> Decision:
    ground = Ground(of, ALICE, NOW, NO_LIMITS)
    return effects(KINDS["answer"](targets=targets or ("t",), **options), ground)


def answer(of: Snapshot, **options: Any) -> tuple[str, str]:
    """Return what the agent that asked is told: the answer, and the word beside it."""
    (move,) = answers(of, **options).effects
    assert isinstance(move, Move)
    (told,) = move.changes["questions"]
    assert (told.answered_by, told.answered_at) == (ALICE, NOW)
    return told.answer, told.note


# --- what a question is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        {"text": " "},
        {"text": "x", "options": ["a", "A "]},
        {"text": "x", "options": ["a"], "default": "b"},
        {"text": "x", "options": ["a"], "pattern": "a"},
        {"text": "x", "options": ["a"], "type": "number"},
        {"text": "x", "pattern": "("},
        {"text": "x" * 4001},
        {"text": "x", "options": [str(n) for n in range(21)]},
        {"text": "x", "surprise": 1},
    ],
)
def test_a_question_that_nobody_could_answer_is_none(question: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Report.model_validate({"question": question})


# --- what is decided ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "options", "expected"),
    [
        ({}, {"choice": "b"}, ("bcrypt", "")),
        ({}, {"choice": "ARGON2", "text": "it is new"}, ("argon2", "it is new")),
        ({}, {"text": "a"}, ("argon2", "")),
        ({}, {"decline": True}, ("", "")),
        ({}, {"decline": True, "text": "as you like"}, ("", "as you like")),
        ({"options": ["b", "a"], "default": None}, {"choice": "b"}, ("b", "")),
        ({"options": (), "default": None}, {"text": "neither"}, ("neither", "")),
        ({"options": (), "default": None, "type": "number"}, {"choice": "12"}, ("12", "")),
        ({"options": (), "default": None, "pattern": "[a-z]+"}, {"choice": "abc"}, ("abc", "")),
    ],
)
def test_an_answer_is_an_option_or_what_fits(
    question: dict[str, Any], options: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert answer(waiting(asked(**question)), **options) == expected


LISTED = "answer demo/t a, of: a: argon2; b: bcrypt"


@pytest.mark.parametrize(
    ("question", "options", "code", "message", "hint"),
    [
        (
            {},
            {"choice": "c"},
            "bad-value",
            "'c' is no answer for t: it is none of its options",
            LISTED,
        ),
        ({}, {}, "missing-argument", "t asks, and answer says nothing", LISTED),
        (
            {},
            {"choice": "a", "decline": True},
            "bad-value",
            "--decline leaves it to the agent, and chooses nothing",
            "",
        ),
        (
            {"options": (), "default": None, "type": "number"},
            {"choice": "ten"},
            "bad-value",
            "'ten' is no answer for t: it is `ten`, and has to be a number",
            'answer demo/t -m "..."',
        ),
    ],
)
def test_what_is_no_answer_is_refused_with_the_options(
    question: dict[str, Any], options: dict[str, Any], code: str, message: str, hint: str
) -> None:
    with pytest.raises(Refused) as error:
        answers(waiting(asked(**question)), **options)
    found = error.value
    assert (found.reason_code, found.message, found.hint) == (code, message, hint)


def test_a_question_is_answered_once() -> None:
    over = asked(answer="argon2", answered_by="bob <b@x>", answered_at=NOW)
    again = answers(waiting(over), choice="a")
    assert again == Decision((), ("t was answered so already",))
    with pytest.raises(Refused, match="t is pending: its question was answered by bob"):
        answers(waiting(over), choice="b")
    with pytest.raises(Refused, match="u is pending: it has asked nothing"):
        answers(waiting(over), "u", choice="b")
    with pytest.raises(Refused, match="answer is for one task"):
        answers(waiting(over), "all", choice="b")


def test_a_task_that_asks_is_not_started_and_keeps_nothing_else_waiting() -> None:
    assert due(waiting(asked())) == []
    assert plan_status(waiting(asked()), NO_LIMITS, NOW) == "waiting"
    over = asked(answer="a", answered_by=ALICE, answered_at=NOW)
    assert due(waiting(over)) == [Claim(("t",))]
    assert plan_status(waiting(over), NO_LIMITS, NOW) == "running"


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("/answer t b", {"choice": "b"}),
        ('/answer t "argon2"', {"choice": "argon2"}),
        ("/answer t b\nit is\nold", {"choice": "b", "text": "it is\nold"}),
        ("/answer t\nneither", {"text": "neither"}),
        ("/answer t --decline", {"decline": True}),
    ],
)
def test_a_comment_answers_in_the_same_words(comment: str, said: dict[str, Any]) -> None:
    (line,) = grammar.read(comment).lines
    assert line.command == Answer(targets=("t",), **said)


# --- what people see ------------------------------------------------------------------------------


def test_every_view_asks_people_with_the_command_to_answer() -> None:
    of = waiting(asked())
    typed = "gitflow-agents answer demo/t b"
    assert render.status(of, NO_LIMITS, NOW).startswith(
        "Waiting for you: 1 thing (the plan runs by itself, without approvals)\n"
        "  t asks: Which one?: a: argon2; b: bcrypt; it would take: bcrypt\n"
        f"      $ {typed}\n"
    )
    shown = render.show_task(of, "t", NOW)
    assert "  waits for an answer to attempt 1: Which one?\n" in shown
    at = render.utc(NOW)
    assert shown.split("Questions\n")[1] == (
        f"  1  {at}  Which one?\n     a: argon2\n     b: bcrypt\n     it would take: bcrypt\n"
        "     not answered yet"
    )
    asks, other = render.status_json(of, NO_LIMITS, NOW, "")["tasks"]
    assert (asks["status"], asks["reason"], other["question"]) == ("pending", "question", None)
    assert (asks["question"]["options"], asks["question"]["answer"]) == (["argon2", "bcrypt"], None)
    (alert,) = alerts(of, NO_LIMITS, NOW)
    assert (alert.kind, alert.task, alert.commands) == ("question_asked", "t", (typed,))
    assert alert.text == "t asks: Which one? (a: argon2; b: bcrypt; it would take: bcrypt)"


# --- what becomes of it ---------------------------------------------------------------------------


def asking(question: str, then: str, first: str = "echo half > half.txt") -> str:
    """Return a command that asks, and goes on once its brief has an answer."""
    asks = f"printf '%s\\n' '{question}' > \"$GITFLOW_REPORT\""
    return f'if grep -q "^## Questions" "$GITFLOW_BRIEF"; then {then}; else {first}; {asks}; fi'


ASKS = "question: {text: Which one?, options: [argon2, bcrypt], default: bcrypt}"


@pytest.fixture(autouse=True)
def alice(repo: Repo) -> None:
    repo.identify()


def test_a_task_that_asks_waits_and_the_same_attempt_goes_on(repo: Repo, cli: Cli) -> None:
    engine.plan(
        repo,
        task("1", asking(ASKS, "cat half.txt > whole.txt"), attempts=1),
        task("2", "echo 2 > 2.txt"),
    )
    played = engine.go(repo)
    assert (played.code, played.message) == (
        int(ExitCode.NEEDS_A_PERSON),
        "the plan waits for an answer to 1; 1 of 2 tasks are merged to flow/p",
    )
    assert played.text("question_asked") == "1 asks: Which one?"
    assert engine.audit(repo) == {"1": "pending", "2": "completed"}
    before = record(repo, "1")
    assert (before["reason"], before.get("used"), "lease" in before) == ("question", None, False)
    assert cli("answer", "1", "c", check=False).exit_code == 1
    said = cli("answer", "1", "b", "-m", "the old one").stdout
    assert (
        said == "1 goes on with the next run: the answer is bcrypt\nundo: gitflow-agents stop p/1\n"
    )
    engine.finished(repo, engine.go(repo))
    assert repo.show("flow/p", "whole.txt") == "half\n"
    after = record(repo, "1")
    assert [each["number"] for each in after["attempts"]] == [1]
    assert after["used"] == 1
    told = brief(repo)
    assert "```text\nWhich one?\n```\n\nalice answers:\n\n```text\nbcrypt\n```\n" in told
    assert "And says:\n\n```text\nthe old one\n```\n" in told
    # What it had done is part of the branch that was merged.
    repo.git("merge-base", "--is-ancestor", before["attempts"][0]["report"], after["merge"])


@pytest.mark.slow
def test_a_research_task_may_ask_with_nothing_done_and_be_left_to_itself(repo: Repo) -> None:
    found = 'echo "summary: none" > "$GITFLOW_REPORT"'
    engine.plan(repo, task("1", asking("question: {text: x}", found, "true"), kind="research"))
    assert engine.go(repo).code == 4
    act(repo, "answer", "1", decline=True)
    engine.finished(repo, engine.go(repo))
    assert "alice leaves it to you." in brief(repo)
    assert record(repo, "1")["summary"] == "none"


@pytest.mark.slow
def test_stop_ends_a_question_and_a_retry_is_another_attempt(repo: Repo) -> None:
    engine.plan(repo, task("1", asking(ASKS, "true")))
    engine.go(repo)
    act(repo, "stop", "1")
    assert engine.audit(repo) == {"1": "cancelled"}
    with pytest.raises(Refused, match="1 is cancelled: its question is over"):
        act(repo, "answer", "1", choice="a")
    act(repo, "retry", "1")
    engine.go(repo)
    assert [each["number"] for each in record(repo, "1")["attempts"]] == [1, 2]
    assert engine.audit(repo) == {"1": "pending"}


@pytest.mark.slow
def test_an_attempt_that_only_asks_fails(repo: Repo) -> None:
    again = f"printf '%s\\n' '{ASKS}' > \"$GITFLOW_REPORT\""
    engine.plan(repo, task("1", f"echo x >> x.txt; {again}"))
    for _ in range(5):
        engine.go(repo)
        act(repo, "answer", "1", choice="a")
    engine.go(repo)
    about = record(repo, "1")
    assert (about["status"], about["reason"]) == ("failed", "question")
    assert about["message"] == "it asks once more, and an attempt may ask 5 times"
    assert engine.audit(repo) == {"1": "failed"}


# --- whatever it is that is asked -----------------------------------------------------------------


@given(st.text(min_size=1, max_size=200), st.lists(st.text(min_size=1, max_size=50), max_size=20))
def test_whatever_is_asked_is_read_as_data_and_named_by_its_letter(
    text: str, options: list[str]
) -> None:
    written = spec.to_yaml({"question": {"text": text, "options": options}})
    try:
        question = Report.model_validate(spec.from_yaml(written)).question
    except ValidationError:
        return
    assert question is not None
    assert (question.text, question.options) == (text, tuple(options))
    for place, option in enumerate(options):
        assert handoff.answered(question, option) == (option, "")
        letter = handoff.letter_of(place)
        if letter not in {each.strip().casefold() for each in options}:
            assert handoff.answered(question, letter) == (option, "")
    lines = render.choices(question)
    assert len(lines) == len(options)
    assert not any(set(line) & set("\n\r\x1b\0") for line in lines)
