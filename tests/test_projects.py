"""What is asked of GitHub for a board: documents that its schema takes, with data as variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

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
    Write,
    Wrote,
)
from gitflow_agents.forge import ForgeDown, ForgeRefused
from gitflow_agents.github import projects
from gitflow_agents.github.client import GitHub
from gitflow_agents.github.issues import Issues
from gitflow_agents.github.projects import Projects
from tests.forge import graph

EVIL = '"}) { __typename } #${{ x }}'
ALL: tuple[Write, ...] = (
    AddDraft("001", EVIL, EVIL),
    AddContent("002", "I_1"),
    EditDraft("DI_1", EVIL, EVIL),
    SetValue("PVTI_1", "PVTF_1", "TEXT", EVIL),
    SetValue("PVTI_1", "PVTF_2", "NUMBER", 1.5),
    SetValue("PVTI_1", "PVTF_3", "DATE", "2026-11-22"),
    SetValue("PVTI_1", "PVTSSF_4", "SINGLE_SELECT", "f75ad846"),
    ClearValue("PVTI_1", "PVTF_1"),
    Archive("PVTI_1"),
    Archive("PVTI_1", back=True),
    AddField("Wave", "NUMBER"),
    AddField("State", "SINGLE_SELECT", (Option("Todo", color="GREEN"),)),
    SetOptions("PVTSSF_4", (Option("Todo", "f75ad846", "RED", "what is to be done"),)),
)


class Said:
    """Answers in the place of GitHub, and keeps what was asked: document, variables, whether once.

    What the fake GitHub does with all this, `test_syncing` shows.
    """

    repository, host, token = "alice/shop", "github.com", "ghp_1"

    def __init__(self, *answers: tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]) -> None:
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def graph(
        self, document: str, variables: Mapping[str, Any], what: str, *, once: bool = False
    ) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
        self.asked.append((document, variables, once))
        return self.answers.pop(0)


def answers(writes: tuple[Write, ...]) -> Said:
    """Return one who answers that all of it was done; what it knows beside that it is asked first."""
    done = {f"w{turn}": {"it": {"id": "x"}} for turn in range(len(writes))}
    is_asked = any(isinstance(one, SetOptions) for one in writes)
    knows: Mapping[str, Any] = {"project": {"fields": []}, "option": {"inputFields": []}}
    return Said(*([(knows, ())] if is_asked else []), (done, ()))


def board(said: Said) -> Projects:
    return Projects(cast(GitHub, said), "acme", 3)


@pytest.mark.slow  # all of the schema; the fake holds what it is asked against its part of it
def test_every_document_is_one_that_githubs_schema_takes() -> None:
    said = answers(ALL)
    board(said).write("PVT_1", ALL)
    newer = graph.complaints(projects._ALL_AND_ARCHIVED)
    assert newer == []
    asked = [
        projects._KNOWS,
        projects._LOOK,
        projects._ALL,
        projects._OWNER,
        projects._CREATE,
        projects._WHOSE,
    ]
    documents = [said.asked[-1][0], *asked]
    assert [graph.complaints(one, is_dated=True) for one in documents] == [[]] * 7


def test_what_a_plan_says_goes_along_as_data_and_never_in_the_document() -> None:
    said = answers(ALL)
    board(said).write("PVT_1", ALL)
    document, variables, _ = said.asked[-1]
    assert "typename" not in document
    assert list(variables.values()) == [
        {"projectId": "PVT_1", "title": EVIL, "body": EVIL},
        {"projectId": "PVT_1", "contentId": "I_1"},
        {"draftIssueId": "DI_1", "title": EVIL, "body": EVIL},
        *(
            {"projectId": "PVT_1", "itemId": "PVTI_1", "fieldId": field, "value": value}
            for field, value in (
                ("PVTF_1", {"text": EVIL}),
                ("PVTF_2", {"number": 1.5}),
                ("PVTF_3", {"date": "2026-11-22"}),
                ("PVTSSF_4", {"singleSelectOptionId": "f75ad846"}),
            )
        ),
        {"projectId": "PVT_1", "itemId": "PVTI_1", "fieldId": "PVTF_1"},
        {"projectId": "PVT_1", "itemId": "PVTI_1"},
        {"projectId": "PVT_1", "itemId": "PVTI_1"},
        {"projectId": "PVT_1", "name": "Wave", "dataType": "NUMBER"},
        {
            "projectId": "PVT_1",
            "name": "State",
            "dataType": "SINGLE_SELECT",
            "singleSelectOptions": [{"name": "Todo", "color": "GREEN", "description": ""}],
        },
        {
            "fieldId": "PVTSSF_4",
            "singleSelectOptions": [
                {"name": "Todo", "color": "RED", "description": "what is to be done"}
            ],
        },
    ]


@pytest.mark.parametrize(
    ("writes", "is_once"),
    [
        (ALL[:1], True),
        (ALL[10:11], True),
        (ALL[1:10], False),
    ],
)
def test_what_makes_another_one_each_time_is_sent_once(
    writes: tuple[Write, ...], is_once: bool
) -> None:
    said = answers(writes)
    board(said).write("PVT_1", writes)
    assert [once for _, _, once in said.asked] == [is_once]


def test_of_a_mutation_that_was_done_in_part_each_write_says_what_came_of_it() -> None:
    no = {"type": "NOT_FOUND", "path": ["w1"], "message": "Could not resolve to a node"}
    made = {"projectItem": {"id": "PVTI_9", "content": {"id": "DI_9"}}}
    said = Said(({"w0": made, "w1": None, "w2": {"item": {"id": "PVTI_8"}}}, (no,)))
    writes = (ALL[0], ALL[3], ALL[1])
    assert board(said).write("PVT_1", writes) == (
        Wrote(id="PVTI_9", content="DI_9"),
        Wrote(refused="Could not resolve to a node"),
        Wrote(id="PVTI_8", content="I_1"),
    )


def test_a_write_of_which_nobody_heard_is_no_refusal() -> None:
    said = Said(({"w0": None}, ()))
    with pytest.raises(ForgeDown, match="did not say what came of it"):
        board(said).write("PVT_1", ALL[:1])


@pytest.mark.parametrize(
    ("token", "error", "message", "hint"),
    [
        ("ghp_1", "INSUFFICIENT_SCOPES", "the token lacks the scope `project`", "Tokens (classic)"),
        ("github_pat_1", "FORBIDDEN", "the token may not keep up board 3", "organization"),
        ("ghs_1", "NOT_FOUND", "no board 3 of acme that this token may see", "never reaches"),
        ("gho_1", "INSUFFICIENT_SCOPES", "scope `project`", "gh auth refresh -s project"),
    ],
)
def test_a_token_without_the_right_is_told_which_it_is_and_where_it_is_given(
    token: str, error: str, message: str, hint: str
) -> None:
    wrong = ({"type": error, "path": ["repositoryOwner", "projectV2"], "message": "no"},)
    said = Said(({"repositoryOwner": {"projectV2": None}, "nodes": []}, wrong))
    said.token = token
    with pytest.raises(ForgeRefused) as e:
        board(said).look()
    assert message in e.value.message
    assert hint in e.value.hint


def test_a_token_that_may_only_read_is_refused_as_a_whole() -> None:
    wrong = ({"type": "INSUFFICIENT_SCOPES", "message": "requires one of ['project']"},)
    with pytest.raises(ForgeRefused, match="lacks the scope `project`"):
        board(Said(({}, wrong))).write("PVT_1", ALL[:3])


@pytest.mark.parametrize(("kind", "is_gone"), [("NOT_FOUND", True), ("RESOURCE_LIMITS", False)])
def test_only_what_github_says_is_gone_is(kind: str, is_gone: bool) -> None:
    fields = {"pageInfo": {"hasNextPage": False}, "nodes": []}
    about = {"id": "PVT_1", "number": 3, "title": "t", "url": "u", "closed": False}
    items = {"pageInfo": {"hasNextPage": False}, "nodes": [None]}
    project = {**about, "viewerCanUpdate": True, "fields": fields, "items": items}
    answer = {"repositoryOwner": {"projectV2": project}, "nodes": [None]}
    knows: Mapping[str, Any] = {"project": {"fields": []}, "option": {"inputFields": []}}
    wrong = {"type": kind, "path": ["nodes", 0], "message": "it takes too long"}
    there = board(Said((answer, (wrong,)), (knows, ()), (answer, (wrong,))))
    issue = Issues(cast(GitHub, Said(({"nodes": [None]}, (wrong,)))))
    for ask in (
        lambda: there.look(["PVTI_1"])[1],
        lambda: [*there.all()],
        lambda: issue.issues("I"),
    ):
        if is_gone:
            assert not ask()
        else:
            with pytest.raises(ForgeDown, match="it takes too long"):
                ask()
