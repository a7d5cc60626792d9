"""How a sync of a board reads, whole: in a terminal, in markdown, for programs."""

from __future__ import annotations

from dataclasses import replace

from gitflow_agents.board.changes import Drift
from gitflow_agents.board.report import Report, as_json, markdown, summary, text
from gitflow_agents.board.terms import (
    AddContent,
    AddDraft,
    AddField,
    Archive,
    ClearValue,
    EditDraft,
    Option,
    SetOptions,
    SetValue,
)
from tests.wall import Wall, shown

URL = "https://forge.test/orgs/acme/projects/3"


def report() -> Report:
    return Report(
        plan="auth",
        url=URL,
        created=["001"],
        updated=["002", "003"],
        unchanged=["004"],
        failed={"005": "the card | is\nlocked by @bob"},
        drift=[
            Drift("002", "Status", "Parked", "pending"),
            Drift("003", "Plan", "`mine` @alice", "auth", replaced=True),
        ],
        waiting=("006", "007"),
        missing=("the board has no field `Wave`",),
        unmapped=("codex",),
        writes={"002": (ClearValue("i2", "f-Run"),)},
        left="2 more cards are made by the next pass",
        requests=1,
        is_behind=True,
        layout=Wall(shown()).layout(),
    )


def test_a_terminal_shows_what_was_done_what_people_changed_and_what_to_do_next() -> None:
    assert text(report()).split("\n") == [
        f"the board of auth ({URL}): 1 card made, 2 changed, 1 unchanged, 1 failed, 2 changed by "
        "people (1 kept), 2 waiting for a word; 1 request",
        "  005 failed: the card | is locked by @bob",
        "what people changed:",
        "  TASK  FIELD   THEIRS         OURS",
        "  002   Status  Parked         pending  kept",
        "  003   Plan    `mine` @alice  auth     replaced",
        "  the board has no field `Wave`",
        "left: 2 more cards are made by the next pass",
        "hint: a card that may be theirs is on the board for 006, 007: gitflow-agents sync auth "
        "--adopt takes them, gitflow-agents sync auth --no-adopt makes others",
        "hint: what people changed was kept: gitflow-agents sync auth --overwrite puts it back",
        "hint: what the board lacks is left out: gitflow-agents sync auth --create makes it",
        "hint: nobody answers for codex: add them to agent_mapping",
    ]


def test_a_board_in_step_is_one_line() -> None:
    assert text(Report("auth", unchanged=["1", "2"], requests=2)) == (
        "the board of auth: 0 cards made, 0 changed, 2 unchanged, 0 failed; 2 requests"
    )


def test_a_dry_run_shows_each_write_in_the_words_of_the_board() -> None:
    how = shown(fields={"Status": "State"})
    dry = Report(
        "auth",
        is_dry=True,
        made=(
            AddField("Priority", "SINGLE_SELECT", (Option("high"), Option("low"))),
            AddField("Wave", "NUMBER"),
            SetOptions("f-Status", (Option("Todo", "o1"), Option("done"))),
        ),
        created=["001", "004"],
        updated=["002", "003"],
        writes={
            "001": (AddDraft("001", "User model", "text"), SetValue("new", "f-Wave", "NUMBER", 1.0)),
            "002": (
                EditDraft("d", "Sign in", "text"),
                SetValue("i", "f-Status", "SINGLE_SELECT", "o-done"),
                ClearValue("i", "f-Run"),
            ),
            "003": (Archive("i", back=True), Archive("i")),
            "004": (AddContent("004", "I_1"),),
        },
        drift=[Drift("002", "Status", "Parked", "done", replaced=True)],
        layout=Wall(how).layout(),
    )  # fmt: skip
    assert text(dry).split("\n") == [
        "make the field Priority (single select: high, low)",
        "make the field Wave (number)",
        "add to the choices of State: done",
        "001: make the card: User model",
        "001: set Wave to 1",
        "002: write title and text: Sign in",
        "002: set State to done",
        "002: empty Run",
        "003: bring the card back",
        "003: put the card away",
        "004: make the card of its issue",
        "the board of auth: 2 cards to make, 2 to change, 0 unchanged, 0 failed, 1 changed by "
        "people (0 kept); 0 requests",
        "what people changed:",
        "  TASK  FIELD   THEIRS  OURS",
        "  002   Status  Parked  done  to replace",
    ]
    assert "- 001: make the card: User model" in markdown(dry)


def test_markdown_pings_nobody_and_text_stays_in_its_cell() -> None:
    assert markdown(report()).split("\n") == [
        f"**Board of [auth]({URL})**: {summary(report())}.",
        "",
        "- `005` failed: the card \\| is locked by @\u200bbob",
        "",
        "| Task | Field | Theirs | Ours | |",
        "|---|---|---|---|---|",
        "| 002 | Status | Parked | pending | kept |",
        "| 003 | Plan | \\`mine\\` @\u200balice | auth | replaced |",
        "",
        "- the board has no field \\`Wave\\`",
        "- not done: 2 more cards are made by the next pass",
        "- a card that may be theirs is on the board for 006, 007: gitflow-agents sync auth --adopt "
        "takes them, gitflow-agents sync auth --no-adopt makes others",
        "- what people changed was kept: gitflow-agents sync auth --overwrite puts it back",
        "- what the board lacks is left out: gitflow-agents sync auth --create makes it",
        "- nobody answers for codex: add them to agent\\_mapping",
        "",
    ]


def test_a_long_report_is_cut_and_says_so() -> None:
    drift = [Drift(str(n), "Status", "x", "y") for n in range(250)]
    said = markdown(replace(report(), drift=drift, failed={}))
    assert (said.count("| kept |"), "and 150 more" in said) == (100, True)


def test_programs_get_one_object() -> None:
    assert as_json(report()) == {
        "schema": 1,
        "plan": "auth",
        "url": URL,
        "dry_run": False,
        "created": ["001"],
        "updated": ["002", "003"],
        "unchanged": ["004"],
        "failed": [{"what": "005", "why": "the card | is\nlocked by @bob"}],
        "drift": [
            {"task": "002", "field": "Status", "theirs": "Parked", "ours": "pending", "kept": True},
            {
                "task": "003",
                "field": "Plan",
                "theirs": "`mine` @alice",
                "ours": "auth",
                "kept": False,
            },
        ],
        "waiting": ["006", "007"],
        "missing": ["the board has no field `Wave`"],
        "unmapped": ["codex"],
        "writes": ["002: empty Run"],
        "left": "2 more cards are made by the next pass",
        "is_behind": True,
        "requests": 1,
    }
