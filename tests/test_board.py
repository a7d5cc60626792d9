"""Which cards a plan has, and what is written to a board so that it shows them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest

from gitflow_agents.board.cards import (
    Card,
    digest,
    former,
    marked,
    marker,
    unmapped,
)
from gitflow_agents.board.changes import Drift, adopted, after, changes, stale
from gitflow_agents.board.memory import Placed
from gitflow_agents.board.shown import FIELDS, assignee, layout, shown_of
from gitflow_agents.board.terms import (
    AddField,
    Field,
    Item,
    Option,
    Project,
    SetOptions,
    SetValue,
    Wrote,
)
from gitflow_agents.errors import InvalidFile
from gitflow_agents.models import (
    Config,
    Lease,
    Plan,
    Reason,
    Status,
    TaskRecord,
)
from gitflow_agents.service.service import Service
from tests import engine
from tests.repos import Repo
from tests.wall import PLAN, ROLES, Desk, Wall, field_of, made, ran, shown, snapshot

S = Status
TASKS = [task["id"] for task in PLAN["tasks"]]


@pytest.fixture
def desk() -> Desk:
    how = shown()
    return Desk(Wall(how), snapshot())


@pytest.fixture
def synced(desk: Desk) -> Desk:
    desk.sync()
    return desk


# --- what a card shows ----------------------------------------------------------------------------


def test_a_card_says_of_a_task_what_people_ask_for() -> None:
    lease = Lease(host="forge", until=0, run=17)
    records = (
        TaskRecord(
            id="001",
            status=S.COMPLETED,
            attempts=(
                ran(1, "failed", cost_usd=0.1),
                ran(2, "succeeded", cost_usd=0.2, url="https://forge.test/runs/9"),
            ),
        ),
        TaskRecord(id="002", status=S.IN_PROGRESS, attempts=(ran(),), lease=lease),
    )
    found = made(snapshot(PLAN, *records))
    assert [card.values for card in found.values()] == [
        {
            "TM_ID": "001",
            "Status": "done",
            "Priority": "high",
            "Assignee": None,
            "Dependencies": None,
            "Test Strategy": "pytest -q; the hash is never logged",
            "Plan": "auth",
            "Wave": 1.0,
            "Attempt": 2.0,
            "Agent": "claude",
            "Cost": 0.3,
            "Run": "https://forge.test/runs/9",
            "Estimate": 8.0,
            "Started": "2026-01-02",
            "Ended": "2026-01-02",
            "Reason": None,
        },
        {
            "TM_ID": "002",
            "Status": "in-progress",
            "Priority": "medium",
            "Assignee": None,
            "Dependencies": "001",
            "Test Strategy": "pytest -q",
            "Plan": "auth",
            "Wave": 2.0,
            "Attempt": 1.0,
            "Agent": "claude",
            "Cost": None,
            "Run": "https://forge.test/runs/17",
            "Estimate": None,
            "Started": "2026-01-02",
            "Ended": None,
            "Reason": None,
        },
        {
            "TM_ID": "003",
            "Status": "pending",
            "Priority": "medium",
            "Assignee": None,
            "Dependencies": "001, 002",
            "Test Strategy": None,
            "Plan": "auth",
            "Wave": 3.0,
            "Attempt": None,
            "Agent": "claude",
            "Cost": None,
            "Run": None,
            "Estimate": None,
            "Started": None,
            "Ended": None,
            "Reason": None,
        },
    ]


def test_the_text_of_a_card_pings_nobody_and_ends_in_our_marker() -> None:
    card = made(snapshot(), home="https://forge.test/pull/4")["001"]
    assert (card.title, card.body) == (
        "User model",
        "A user has a name.\nAsk @\u200balice.\n\n- the hash is never logged\n\nA task of the plan "
        "`auth`, merged to `flow/auth`; [what happens there](https://forge.test/pull/4).\n\n"
        "<!-- gitflow-agents card auth/001 -->\n",
    )


def test_a_marker_in_the_text_of_a_plan_is_not_believed() -> None:
    text = f"{marker('auth', '002')}\n{marker('auth', '003')}"
    plan = {**PLAN, "tasks": [{"id": "001", "title": text, "description": text}]}
    card = made(snapshot(plan))["001"]
    assert marked(card.body) == ("auth", "001")


def test_long_and_wild_texts_are_cut_to_what_a_forge_takes() -> None:
    task = {
        "id": "001",
        "title": "\x1b[31mred " + "x" * 300,
        "description": "y`*" * 9000,
        "verify": ["z" * 2000],
    }
    card = made(snapshot({**PLAN, "tasks": [task]}))["001"]
    proof = card.values["Test Strategy"]
    assert isinstance(proof, str)
    assert (card.title, len(card.title)) == ("red " + "x" * 251 + "…", 256)
    assert (proof, len(proof.encode())) == ("z" * 1021 + "…", 1024)
    assert len(card.body) < 11_000
    assert marked(card.body) == ("auth", "001")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (S.PENDING, "pending"),
        (S.IN_PROGRESS, "in-progress"),
        (S.REVIEW, "in-progress"),
        (S.COMPLETED, "done"),
        (S.FAILED, "in-progress"),
        (S.CANCELLED, None),
    ],
)
def test_each_status_has_its_choice(status: Status, state: str | None) -> None:
    record = TaskRecord(id="003", status=status)
    card = made(snapshot(PLAN, record))["003"]
    assert (card.values.get("Status"), card.is_archived) == (state, state is None)


@pytest.mark.parametrize(
    ("task", "state"),
    [
        ({}, "in-progress"),
        ({"steps": [{"role": "code"}]}, "in-progress"),
        ({"steps": [{"role": "review"}]}, "QA Review"),
        ({"quality": "full"}, "QA Review"),
        ({"merge": "pr"}, "QA Review"),
        ({"approval": ["merge"]}, "QA Review"),
        ({"approval": ["task"]}, "in-progress"),
    ],
)
def test_only_what_somebody_judges_is_in_qa_review(task: dict[str, Any], state: str) -> None:
    plan = {**PLAN, "tasks": [{"id": "1", "title": "One", **task}]}
    record = TaskRecord(id="1", status=S.REVIEW, attempts=(ran(1, "succeeded"),))
    assert made(snapshot(plan, record), roles=ROLES)["1"].values["Status"] == state


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"status": S.FAILED, "reason": Reason.GATE_FAILED, "message": "x\nit broke"}, "gate-failed: it broke"),
        ({"status": S.CANCELLED, "reason": Reason.SKIPPED}, "skipped"),
        ({"held": "bob said so"}, "held: bob said so"),
        ({"status": S.COMPLETED, "reason": Reason.CONFLICT}, None),
    ],
)  # fmt: skip
def test_a_card_says_why_a_task_is_where_it_is(record: Any, reason: str | None) -> None:
    found = made(snapshot(PLAN, TaskRecord(id="001", **record)))
    assert found["001"].values["Reason"] == reason


def test_only_the_fields_that_are_kept_are_there_under_our_names() -> None:
    how = shown(fields={"Status": "State", **dict.fromkeys([*FIELDS][2:])})
    found = made(snapshot(), how)
    assert found["001"].values == {"TM_ID": "001", "Status": "pending"}
    assert how.names == {"TM_ID": "TM_ID", "Status": "State"}


def test_what_the_plan_lost_is_put_away_and_nothing_else_is_said_of_it() -> None:
    found = made(snapshot(), known=["001", "old"])
    assert list(found) == ["001", "002", "003", "old"]
    assert found["old"] == Card("old", "", "", {}, is_archived=True)


def test_a_digest_changes_with_all_that_is_shown() -> None:
    card = made(snapshot())["001"]
    others = [
        replace(card, task="2"),
        replace(card, title="x"),
        replace(card, body="x"),
        replace(card, values={}),
        replace(card, is_archived=True),
        replace(card, content="I_1"),
    ]
    assert len({digest({"001": each}) for each in (card, *others)}) == 7


# --- for whom -------------------------------------------------------------------------------------


PEOPLE = {
    "claude": {"github_username": "alice", "services": ["*"]},
    "trader-1": {"github_username": "bob", "services": ["trader"], "role": "implement"},
    "trader-2": {"github_username": "carol", "services": ["trader/web", "auth"], "role": "test"},
}


@pytest.mark.parametrize(
    ("task", "who"),
    [
        ({"agent": "claude", "files": ["trader/x.py"]}, "alice"),
        ({"agent": "codex", "files": ["trader/x.py"]}, "bob"),
        ({"agent": "codex", "working_directory": "./trader/web/"}, "bob"),
        ({"agent": "codex", "files": ["trader/web/x"], "role": "test"}, "carol"),
        ({"agent": "codex", "files": ["traders/x.py"]}, None),
    ],
)
def test_who_owns_the_service_answers_for_a_task(task: dict[str, Any], who: str | None) -> None:
    plan = Plan.model_validate({"plan": "p", "goal": "g", "tasks": [{"id": "1", **task}]})
    assert assignee(plan.tasks[0], plan, shown(agent_mapping=PEOPLE)) == who


def test_a_plan_is_a_service_too() -> None:
    plan = Plan.model_validate({**PLAN, "defaults": {"agent": "gemini"}})
    assert assignee(plan.tasks[2], plan, shown(agent_mapping=PEOPLE)) == "carol"


def test_agents_for_whom_nobody_answers_are_named_where_people_are() -> None:
    people = {"claude": {"github_username": "alice", "services": ["*"]}}
    assert unmapped(snapshot(), shown(agent_mapping=people)) == ["codex"]
    assert unmapped(snapshot(), shown()) == []


# --- which board ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("projects", "where"),
    [
        ({"plans": {"auth": 3, "*": 7}}, ("", "", 3, "")),
        ({"plans": {"other": 3, "*": 7}, "owner": "acme"}, ("acme", "", 7, "")),
        (
            {"plans": {"auth": "https://forge.test/orgs/acme/projects/7/views/2"}, "owner": "b"},
            ("acme", "forge.test", 7, ""),
        ),
        (
            {"plans": {"auth": "https://forge.test/users/alice/projects/12"}},
            ("alice", "forge.test", 12, ""),
        ),
        (
            {
                "version": "1.0.0",
                "organization": "acme",
                "project_mappings": {
                    "auth": {"project_number": 3, "project_id": "PVT_x", "last_sync": "now"}
                },
            },
            ("acme", "", 3, "PVT_x"),
        ),
        ({"plans": {"other": 3}}, None),
        (None, None),
    ],
)
def test_a_config_says_on_which_board_a_plan_is(projects: Any, where: Any) -> None:
    found = shown_of(Config.model_validate({"projects": projects}), "auth")
    assert (found and (found.owner, found.host, found.number, found.node)) == where


def test_a_field_that_a_person_renamed_is_still_ours() -> None:
    wall = Wall(shown())
    known = {name: there.id for name, there in wall.layout().fields.items()}
    wall.fields = [
        replace(one, name="Where") if one.name == "Status" else one for one in wall.fields
    ]
    assert wall.layout(known).fields["Status"].name == "Where"
    assert wall.layout(known).missing == ()
    assert wall.layout().missing == ("the board has no field `Status`",)
    wall.fields = [one for one in wall.fields if one.name != "Run"]
    both = wall.layout({**known, "Run": known["Plan"]})
    assert (both.fields["Plan"].name, "Run" in both.fields) == ("Plan", False)


def test_what_a_board_lacks_is_named_and_can_be_made_without_moving_what_is_there() -> None:
    how = shown(fields=dict.fromkeys([*FIELDS][2:]))
    todo = Option("Todo", "o1", "BLUE", "first")
    project = Project(
        "P", 3, "B", "u", (Field("f", "status", "SINGLE_SELECT", (todo, Option("Done", "o2"))),)
    )
    found = layout(project, how, {})
    assert found.missing == (
        "the board has no field `TM_ID`",
        "the field `status` has no choices `pending`, `in-progress`, `QA Review`",
    )
    assert found.to_make == (
        AddField("TM_ID", "TEXT"),
        SetOptions(
            "f",
            (
                todo,
                Option("Done", "o2"),
                Option("pending", color="GRAY"),
                Option("in-progress", color="YELLOW"),
                Option("QA Review", color="PURPLE"),
            ),
        ),
    )
    assert found.problems == ()


def test_a_field_of_another_kind_or_a_closed_board_is_a_problem_before_anything_is_written() -> (
    None
):
    how = shown(fields=dict.fromkeys([*FIELDS][1:]))
    there = (Field("f", "TM_ID", "NUMBER"),)
    closed = Project("P", 3, "B", "https://forge.test/3", there, is_closed=True)
    found = layout(closed, how, {})
    assert (found.fields, found.problems) == (
        {},
        (
            ("the board https://forge.test/3 is closed", "reopen it, or take it out of the config"),
            (
                "the board's field `TM_ID` is a number, and has to be a text",
                "rename it on the board, or give ours another name in the config: "
                'projects: {fields: {"TM_ID": Another name}}, with null to leave it out',
            ),
        ),
    )
    refused = layout(replace(closed, is_closed=False, may_write=False), how, {})
    assert refused.problems[0][0] == "the token may not write to the board https://forge.test/3"


def test_a_field_has_no_more_choices_than_a_forge_lets_it() -> None:
    how = shown(fields=dict.fromkeys([*FIELDS][2:]))
    full = Field("f", "Status", "SINGLE_SELECT", tuple(Option(f"x{n}", f"o{n}") for n in range(49)))
    found = layout(Project("P", 3, "B", "u", (Field("i", "TM_ID", "TEXT"), full)), how, {})
    assert found.to_make == ()
    assert found.missing[-1] == "the field `Status` can have 50 choices"


# --- what is written ------------------------------------------------------------------------------


def test_the_first_sync_makes_every_card_and_the_second_writes_nothing(desk: Desk) -> None:
    first = desk.sync()
    assert [(one.title, one.is_archived) for one in desk.wall.items.values()] == [
        ("User model", False),
        ("Sign in", False),
        ("Sign out", False),
    ]
    for task, card in desk.cards.items():
        shows = {name: desk.shows(task, name) for name in card.values}
        assert shows == dict(card.values)
    assert first == 3 + sum(v is not None for c in desk.cards.values() for v in c.values.values())
    assert (desk.sync(), desk.drift, stale(desk.cards, desk.memory)) == (0, [], ())


def test_one_merge_is_one_card_and_only_what_changed_of_it(synced: Desk) -> None:
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    assert stale(synced.cards, synced.memory) == ("001",)
    assert stale(synced.cards, synced.memory, lacking={"Status": ("done",)}) == ()
    assert synced.sync(full=False) == 1
    assert synced.shows("001", "Status") == "done"


def test_what_a_person_chose_is_kept_while_there_is_no_news(synced: Desk) -> None:
    synced.edit("001", "Status", "Parked")
    kept = Drift("001", "Status", "Parked", "pending")
    for _ in range(2):
        assert (synced.sync(), synced.drift) == (0, [kept])
    assert stale(synced.cards, synced.memory) == ()


def test_news_replace_what_a_person_chose_and_the_report_says_what(synced: Desk) -> None:
    synced.edit("001", "Status", "Parked")
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.IN_PROGRESS))
    assert synced.sync(full=False) == 1
    assert synced.drift == [Drift("001", "Status", "Parked", "in-progress", replaced=True)]
    assert (synced.sync(), synced.drift) == (0, [])


def test_a_person_who_was_first_with_what_we_want_is_not_in_the_report(synced: Desk) -> None:
    synced.edit("001", "Status", "done")
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    assert (synced.sync(), synced.drift) == (0, [])


def test_overwrite_puts_everything_back(synced: Desk) -> None:
    before = dict(synced.wall.items)
    synced.edit("001", "Status", "Parked")
    synced.change("001", title="Mine", body="all mine")
    synced.edit("002", "Plan", "another")
    synced.change("002", is_archived=True)
    del synced.wall.items[synced.memory["003"].item]
    assert synced.sync() == 0
    assert [(one.task, one.field, one.replaced) for one in synced.drift] == [
        ("001", "title", False),
        ("001", "body", False),
        ("001", "Status", False),
        ("002", "archived", False),
        ("003", "card", False),
    ]
    assert synced.sync(overwrite=True) > 0
    assert {one.title: one.values for one in synced.wall.items.values()} == {
        one.title: one.values for one in before.values()
    }
    assert not any(one.is_archived for one in synced.wall.items.values())
    assert (synced.sync(overwrite=True), synced.drift) == (0, [])


def test_a_card_that_a_person_took_off_is_not_made_again_nor_asked_for(synced: Desk) -> None:
    del synced.wall.items[synced.memory["001"].item]
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    gone = Drift("001", "card", "taken off the board", "User model")
    assert (synced.sync(full=False), synced.drift) == (0, [gone])
    assert stale(synced.cards, synced.memory) == ()
    assert (synced.sync(), synced.drift) == (0, [gone])


def test_a_card_that_a_person_put_away_stays_there_and_is_brought_up_to_date_when_it_is_back(
    synced: Desk,
) -> None:
    synced.change("001", is_archived=True)
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    assert (synced.sync(), synced.drift) == (
        0,
        [Drift("001", "archived", "archived", "on the board")],
    )
    synced.change("001", is_archived=False)
    assert (synced.sync(full=False), synced.shows("001", "Status")) == (1, "done")


def test_a_cancelled_task_is_put_away_last_and_comes_back_first(synced: Desk) -> None:
    cancelled = TaskRecord(id="001", status=S.CANCELLED, reason=Reason.SKIPPED)
    synced.seen = snapshot(PLAN, cancelled)
    synced.sync()
    assert (synced.card("001").is_archived, synced.shows("001", "Reason")) == (True, "skipped")
    assert (synced.sync(), stale(synced.cards, synced.memory)) == (0, ())
    synced.seen = snapshot(PLAN, cancelled.model_copy(update={"message": "not this year"}))
    assert (synced.sync(), stale(synced.cards, synced.memory)) == (0, ())
    synced.seen = snapshot(PLAN)
    synced.sync(full=False)
    assert (synced.card("001").is_archived, synced.shows("001", "Reason")) == (False, None)


def test_a_task_that_the_plan_lost_is_put_away_and_comes_back(synced: Desk) -> None:
    whole = synced.seen
    synced.seen = snapshot({**PLAN, "tasks": PLAN["tasks"][:2]})
    assert (synced.sync(full=False), synced.card("003").is_archived) == (1, True)
    assert synced.sync() == 0
    synced.seen = whole
    assert (synced.sync(full=False), synced.card("003").is_archived) == (1, False)


def test_a_card_that_a_person_took_off_of_a_lost_task_is_not_made_when_the_task_is_back(
    synced: Desk,
) -> None:
    whole, synced.seen = synced.seen, snapshot({**PLAN, "tasks": PLAN["tasks"][:2]})
    del synced.wall.items[synced.memory["003"].item]
    assert (synced.sync(full=False), synced.drift) == (0, [])
    assert stale(synced.cards, synced.memory) == ()
    synced.seen = whole
    assert (synced.sync(), len(synced.drift), len(synced.wall.items)) == (0, 1, 2)


def test_a_task_that_was_cancelled_before_it_had_a_card_gets_none(desk: Desk) -> None:
    desk.seen = snapshot(PLAN, TaskRecord(id="001", status=S.CANCELLED))
    desk.sync()
    assert [one.title for one in desk.wall.items.values()] == ["Sign in", "Sign out"]


def test_a_card_with_an_issue_takes_the_place_of_a_draft(synced: Desk) -> None:
    old = synced.memory["001"].item
    synced.contents = {"001": "I_1"}
    assert stale(synced.cards, synced.memory) == ("001",)
    synced.sync(full=False)
    assert synced.wall.items[old].is_archived
    new = synced.card("001")
    assert (new.content, new.is_draft, synced.shows("001", "Status")) == ("I_1", False, "pending")
    assert (synced.sync(), synced.drift, stale(synced.cards, synced.memory)) == (0, [], ())


def test_what_a_workflow_of_the_board_chose_for_a_new_card_is_replaced_and_reported(
    desk: Desk,
) -> None:
    card = desk.cards["001"]
    there = desk.wall.layout()
    known = changes({"001": card}, {}, {}, there, lambda task: {}).placed["001"]
    item = Item("i", "d", True, card.title, card.body, values={"f-Status": "Parked"})
    found = changes({"001": card}, {"001": known}, {"001": item}, there, lambda task: {})
    assert found.drift == (Drift("001", "Status", "Parked", "pending", replaced=True),)
    assert SetValue("i", "f-Status", "SINGLE_SELECT", "o-pending") in found.writes["001"]


def test_the_first_choice_that_a_board_gives_a_card_as_it_is_put_there_is_nobodys(
    desk: Desk,
) -> None:
    card = desk.cards["001"]
    there = desk.wall.layout()
    status = there.fields["Status"]
    todo = replace(status, options=(Option("Todo", "o-Todo"), *status.options))
    there = replace(there, fields={**there.fields, "Status": todo})
    known = changes({"001": card}, {}, {}, there, lambda task: {}).placed["001"]
    item = Item("i", "d", True, card.title, card.body, values={"f-Status": "Todo"})
    memory, items = {"001": known}, {"001": item}
    found = changes({"001": card}, memory, items, there, lambda task: {}, is_fresh=True)
    assert found.drift == ()
    assert SetValue("i", "f-Status", "SINGLE_SELECT", "o-pending") in found.writes["001"]
    # Later a person may have chosen it.
    later = changes({"001": card}, memory, items, there, lambda task: {})
    assert later.drift == (Drift("001", "Status", "Todo", "pending", replaced=True),)


def test_a_title_that_is_an_address_does_not_put_what_is_there_on_the_board() -> None:
    address = "https://github.com/acme/shop/issues/1"
    plan = {**PLAN, "tasks": [{"id": "001", "title": address, "description": "look at it"}]}
    assert made(snapshot(plan))["001"].title == f"001: {address}"


def test_a_text_is_cut_where_no_character_is_halved() -> None:
    reason = "é" * 600 + "!"
    record = TaskRecord(id="001", status=S.CANCELLED, reason=Reason.SKIPPED, message=reason)
    text = str(made(snapshot(PLAN, record))["001"].values["Reason"])
    assert (text[:12], text[-2:], len(text.encode())) == ("skipped: ééé", "é…", 1024)


def test_a_draft_that_a_person_made_an_issue_of_is_still_the_card(synced: Desk) -> None:
    synced.change("001", is_draft=False, content="I_9", title="Theirs", body="")
    assert (synced.sync(), synced.drift, stale(synced.cards, synced.memory)) == (0, [], ())
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    assert synced.sync(full=False) == 1


def test_choices_are_found_whatever_their_capitals(desk: Desk) -> None:
    desk.wall.fields = [
        replace(
            one,
            options=tuple(replace(option, name=option.name.title()) for option in one.options),
        )
        for one in desk.wall.fields
    ]
    desk.sync()
    assert desk.shows("001", "Status") == "Pending"
    desk.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    assert (desk.sync(), desk.drift, desk.shows("001", "Status")) == (1, [], "Done")


def test_what_the_board_lacks_is_left_out_and_the_rest_is_written(desk: Desk) -> None:
    desk.wall.fields = [one for one in desk.wall.fields if one.name != "Status"]
    desk.sync()
    there = desk.wall.layout().fields
    assert (desk.shows("001", "TM_ID"), desk.shows("001", "Status")) == ("001", None)
    assert stale(desk.cards, desk.memory, there) == ()
    desk.wall.fields.append(field_of("Status", desk.wall.how))
    assert (desk.sync(), desk.drift) == (3, [])


# --- without a memory -----------------------------------------------------------------------------


def test_without_a_memory_cards_are_found_again_and_nothing_is_written(synced: Desk) -> None:
    synced.memory, synced.is_read = {}, False
    assert (synced.sync(), synced.drift, len(synced.wall.items)) == (0, [], 3)


def test_without_a_memory_former_values_are_ours_and_others_a_persons(synced: Desk) -> None:
    synced.edit("002", "Status", "Parked")
    synced.memory, synced.is_read = {}, False
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    assert (synced.sync(), synced.drift) == (1, [Drift("002", "Status", "Parked", "pending")])
    assert synced.shows("001", "Status") == "done"


def test_without_a_memory_what_was_emptied_is_filled_and_reported(synced: Desk) -> None:
    values = synced.card("001").values
    synced.change("001", values={k: v for k, v in values.items() if k != "f-Plan"})
    synced.memory, synced.is_read = {}, False
    assert (synced.sync(), synced.drift) == (1, [Drift("001", "Plan", "empty", "auth", True)])


def test_cards_of_an_earlier_tool_are_adopted_by_their_id(desk: Desk) -> None:
    theirs = {"f-TM_ID": "002", "f-Status": "pending", "f-Priority": "low"}
    desk.wall.items = {
        "x": Item("x", "dx", True, "Login", "their text", values=theirs),
        "y": Item("y", "dy", True, "Sign out", values={"f-TM_ID": "003", "f-Plan": "other"}),
    }
    desk.sync()
    assert desk.memory["002"].item == "x"
    assert desk.memory["003"].item != "y"
    assert desk.drift == [
        Drift("002", "title", "Login", "Sign in"),
        Drift("002", "Priority", "low", "medium"),
    ]
    assert desk.card("002").body == "their text"
    assert stale(desk.cards, desk.memory) == ()
    assert (desk.sync(), len(desk.wall.items), [one.field for one in desk.drift]) == (
        0,
        4,
        ["title", "Priority"],
    )


@pytest.mark.parametrize(
    ("by_title", "waiting", "cards_then"), [(None, ("001",), 3), (True, (), 3), (False, (), 4)]
)
def test_a_card_with_only_the_title_is_nobodys_before_somebody_says_so(
    desk: Desk, by_title: bool | None, waiting: tuple[str, ...], cards_then: int
) -> None:
    desk.wall.items = {"x": Item("x", "dx", True, "User model", "mine")}
    desk.sync(by_title=by_title)
    assert (desk.waiting, len(desk.wall.items)) == (waiting, cards_then)
    assert (desk.memory.get("001", Placed()).item == "x") is (by_title is True)


def test_a_card_with_the_title_that_is_put_away_is_nobodys(desk: Desk) -> None:
    desk.wall.items = {"x": Item("x", "dx", True, "User model", is_archived=True)}
    desk.sync()
    assert (desk.waiting, len(desk.wall.items)) == ((), 4)


def test_without_a_memory_the_card_of_a_task_that_the_plan_lost_is_found_and_put_away(
    synced: Desk,
) -> None:
    node = synced.memory["003"].item
    synced.memory, synced.is_read = {}, False
    synced.seen = snapshot({**PLAN, "tasks": PLAN["tasks"][:2]})
    assert (synced.sync(), synced.memory["003"].item) == (1, node)
    assert synced.card("003").is_archived


def test_what_a_task_has_shown_before_is_what_its_record_tells() -> None:
    url = "https://forge.test/runs/1"
    attempts = (
        ran(1, "failed", reason=Reason.TIMEOUT, message="slow\ntoo slow", cost_usd=0.5, url=url),
        ran(2, "succeeded", cost_usd=0.25, merged="m" * 40),
        ran(3),
    )
    seen = snapshot(PLAN, TaskRecord(id="001", status=S.IN_PROGRESS, attempts=attempts))
    assert former(seen, shown(), "001", ROLES) == {
        "Status": {"pending", "in-progress", "QA Review", "done"},
        "Attempt": {None, 1.0, 2.0, 3.0},
        "Agent": {"claude"},
        "Cost": {None, 0.5, 0.75},
        "Run": {None, url},
        "Started": {None},
        "Ended": {None, "2026-01-02"},
        "Reason": {None, "timeout: too slow"},
        "archived": {False},
    }
    away = snapshot(PLAN, TaskRecord(id="001", status=S.CANCELLED))
    assert former(away, shown(), "001")["archived"] == {False, True}
    done = snapshot(PLAN, TaskRecord(id="001", attempts=(ran(1, "succeeded"),)))
    assert former(done, shown(), "001")["Status"] == {"pending", "in-progress", "QA Review"}
    assert former(done, shown(), "gone") == {"archived": {False}}


def test_the_surest_of_several_cards_is_adopted() -> None:
    how = shown()
    wall = Wall(how)
    asked = made(snapshot(), contents={"001": "I_1"})
    named = {"f-TM_ID": "001"}
    found = [
        Item("e", "d", True, "x", values=named),
        Item("d", "d", True, "x", values={**named, "f-Plan": "auth"}),
        Item("c", "d", True, "x", marker("auth", "001"), is_archived=True),
        Item("b", "d", True, "x", f"mine\n{marker('auth', '001')}\nmore"),
        Item("a", "I_1", False, "x"),
    ]
    for count, best in zip(range(1, 6), "eddba", strict=True):
        got, _ = adopted(asked, found[:count], wall.layout(), how, by_title=None)
        assert got["001"].id == best


@pytest.mark.parametrize(
    ("by_title", "takes", "waiting"),
    [(None, False, ("001",)), (True, True, ()), (False, False, ())],
)
def test_where_plans_share_a_board_that_names_none_an_id_alone_is_not_enough(
    by_title: bool | None, takes: bool, waiting: tuple[str, ...]
) -> None:
    named = {"f-TM_ID": "001"}
    for title, is_shared in (("Another plan's", True), ("User model", True), ("x", False)):
        how = replace(shown(fields={"Plan": None}), is_shared=is_shared)
        item = Item("a", "d", True, title, values=named)
        got = adopted(made(snapshot()), [item], Wall(how).layout(), how, by_title=by_title)
        is_doubtful = title == "Another plan's"
        assert ("001" in got[0], got[1]) == ((takes, waiting) if is_doubtful else (True, ()))


@pytest.mark.parametrize(
    ("plans", "is_shared"),
    [
        ({"auth": 3}, False),
        ({"*": 3}, True),
        ({"auth": 3, "pay": 3}, True),
        ({"auth": 3, "*": 4}, False),
    ],
)
def test_a_board_is_shared_where_the_config_shows_another_plan_there(
    plans: dict[str, int], is_shared: bool
) -> None:
    config = Config.model_validate({"projects": {"plans": plans}})
    how = shown_of(config, "auth")
    assert how is not None
    assert how.is_shared is is_shared


# --- when something goes wrong --------------------------------------------------------------------


def test_what_was_refused_is_written_by_the_next_pass(synced: Desk) -> None:
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    synced.wall.refuse = {synced.wall.writes + n for n in range(1, 6)}
    synced.sync(full=False)
    assert synced.shows("001", "Status") == "pending"
    assert synced.memory["001"].telling == {}
    synced.wall.refuse = set()
    assert (synced.sync(full=False), synced.drift) == (1, [])


@pytest.mark.parametrize("done", [0, 1])
def test_a_write_that_nobody_saw_end_is_no_persons(synced: Desk, done: int) -> None:
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    there = synced.wall.layout()
    found = synced._changes(synced.cards, ("001",), there, False)
    synced.memory |= found.placed
    synced.wall.write(found.writes["001"][:done])
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.FAILED))
    assert stale(synced.cards, synced.memory) == ("001",)
    assert (synced.sync(full=False), synced.drift) == (1, [])
    assert synced.shows("001", "Status") == "in-progress"


def test_of_a_write_that_nobody_saw_end_and_one_that_was_refused_neither_is_a_persons(
    synced: Desk,
) -> None:
    there = synced.wall.layout()
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.COMPLETED))
    unseen = synced._changes(synced.cards, ("001",), there, False)
    synced.memory |= unseen.placed
    synced.wall.write(unseen.writes["001"])
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.FAILED))
    refused = synced._changes(synced.cards, ("001",), there, False)
    (write,) = refused.writes["001"]
    placed = after(refused.placed["001"], (write,), (Wrote(refused="not today"),), there)
    synced.memory["001"] = placed
    assert (synced.sync(full=False), synced.drift) == (1, [])


def test_what_was_written_to_a_card_before_it_was_put_away_is_ours_when_nobody_saw_it_end(
    synced: Desk,
) -> None:
    synced.seen = snapshot(PLAN, TaskRecord(id="001", status=S.CANCELLED, reason=Reason.SKIPPED))
    found = synced._changes(synced.cards, ("001",), synced.wall.layout(), False)
    synced.memory |= found.placed
    synced.wall.write(found.writes["001"])
    assert synced.sync(full=False) == 0
    synced.seen = snapshot(PLAN)
    assert (synced.sync(full=False), synced.drift, synced.shows("001", "Reason")) == (2, [], None)


def test_a_card_whose_making_was_refused_is_made_by_the_next_pass(desk: Desk) -> None:
    desk.wall.refuse = set(range(1, 100))
    desk.sync()
    assert [(task, one.telling) for task, one in desk.memory.items()] == [(t, {}) for t in TASKS]
    desk.wall.refuse = set()
    desk.sync(full=False)
    assert (len(desk.wall.items), desk.sync()) == (3, 0)


def test_a_card_whose_making_nobody_saw_end_is_found_and_not_made_twice(desk: Desk) -> None:
    desk.wall.die_after = 1
    with pytest.raises(ConnectionError):
        desk.sync()
    desk.sync()
    assert [one.title for one in desk.wall.items.values()] == ["User model", "Sign in", "Sign out"]
    assert (desk.sync(), desk.drift) == (0, [])


# --- the file that a config names -----------------------------------------------------------------


def config_of(repo: Repo) -> Config:
    """Return the config of a repository."""
    with contextlib.closing(Service(str(repo.path))) as service:
        return service.config


def test_the_file_that_the_config_names_is_read_on_the_default_branch(repo: Repo) -> None:
    engine.config(repo, projects=".github/sync.json", agent_mapping=PEOPLE)
    with pytest.raises(InvalidFile) as gone:
        config_of(repo)
    assert str(gone.value.problems[0]).startswith(
        ".github/sync.json: error: the config names it as `projects`"
    )
    text = {"organization": "acme", "project_mappings": {"auth": {"project_number": 3}}}
    repo.write(".github/sync.json", json.dumps({**text, "version": "1"}))
    repo.commit("boards")
    with pytest.raises(InvalidFile) as wrong:
        config_of(repo)
    assert (wrong.value.problems[0].file, wrong.value.problems[0].key, wrong.value.hint) == (
        ".github/sync.json as committed on main",
        "version",
        "mend it and commit it on main: only what is committed there counts",
    )
    repo.write(".github/sync.json", json.dumps(text))
    repo.commit("boards, mended")
    found = shown_of(config_of(repo), "auth")
    assert found is not None
    assert (found.owner, found.number, sorted(found.people)) == ("acme", 3, sorted(PEOPLE))
