"""The fake GitHub keeps projects by GitHub's rules, as far as they are known."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests import forge
from tests.forge import Hub, Project, Repository, Token, ask
from tests.repos import Repo

CARD = """
id type isArchived content { ... on DraftIssue { id title body } ... on Issue { id number } }
fieldValues(first: 20) { nodes {
  ... on ProjectV2ItemFieldValueCommon { field { ... on ProjectV2FieldCommon { name } } }
  ... on ProjectV2ItemFieldTextValue { text }
  ... on ProjectV2ItemFieldNumberValue { number }
  ... on ProjectV2ItemFieldSingleSelectValue { name optionId }
} }
"""
LOOK = f"""query($owner: String!, $number: Int!, $ids: [ID!]!) {{
  repositoryOwner(login: $owner) {{ ... on ProjectV2Owner {{ projectV2(number: $number) {{
    id title closed viewerCanUpdate
    fields(first: 50) {{ nodes {{
      ... on ProjectV2FieldCommon {{ id name dataType }}
      ... on ProjectV2SingleSelectField {{ options {{ id name }} }}
    }} }}
  }} }} }}
  nodes(ids: $ids) {{ ... on ProjectV2Item {{ {CARD} }} }}
  rateLimit {{ cost nodeCount }}
}}"""
LIST = """query($id: ID!, $after: String, $first: Int) { node(id: $id) { ... on ProjectV2 {
  items(first: $first, after: $after) {
    totalCount nodes { id } pageInfo { endCursor hasNextPage }
  }
} } }"""
WRITE = """mutation($project: ID!, $item: ID!, $field: ID!, $value: ProjectV2FieldValue!) {
  updateProjectV2ItemFieldValue(
    input: {projectId: $project, itemId: $item, fieldId: $field, value: $value}
  ) { projectV2Item { id } }
}"""
OPTIONS = """mutation($field: ID!, $options: [ProjectV2SingleSelectFieldOptionInput!]!) {
  updateProjectV2Field(input: {fieldId: $field, singleSelectOptions: $options}) {
    projectV2Field { ... on ProjectV2SingleSelectField { options { id name } } }
  }
}"""


@pytest.fixture
def board(hub: Hub) -> Project:
    """Return a project of an organisation that alice is in."""
    hub.organisation("acme", "alice")
    return hub.project("acme", fields={"TM_ID": "TEXT", "Wave": "NUMBER", "Priority": ["high"]})


@pytest.fixture
def token(hub: Hub, board: Project) -> Token:
    """Return a token that may write to it."""
    return hub.person("alice", scopes=("project",))


def look(hub: Hub, by: Token, board: Project, *ids: str) -> Any:
    """Return what GraphQL shows of a project and some cards."""
    return forge.query(hub, by, LOOK, owner=board.owner, number=board.number, ids=ids)


def refused(said: Any) -> list[tuple[str, str]]:
    """Return the type and the sentence of each error."""
    return [(one.get("type", ""), one["message"]) for one in said.get("errors", ())]


def test_a_card_is_made_then_written_and_both_are_shown(
    hub: Hub, board: Project, token: Token
) -> None:
    made = forge.query(
        hub,
        token,
        f"""mutation($project: ID!) {{
          a0: addProjectV2DraftIssue(input: {{projectId: $project, title: "Model", body: "x"}})
            {{ projectItem {{ id }} }}
          a1: addProjectV2DraftIssue(input: {{projectId: $project, title: " "}})
            {{ projectItem {{ {CARD} }} }}
        }}""",
        project=board.id,
    )
    assert made["data"]["a1"] is None
    assert [(one["path"], one["message"]) for one in made["errors"]] == [
        (["a1"], "Title can't be blank")
    ]
    item = made["data"]["a0"]["projectItem"]["id"]
    field = board.named("TM_ID").id
    sent = {"project": board.id, "item": item, "field": field}
    assert "errors" not in forge.query(hub, token, WRITE, **sent, value={"text": "001"})
    said = look(hub, token, board, item, "PVTI_gone")
    assert refused(said) == [
        ("NOT_FOUND", "Could not resolve to a node with the global id of 'PVTI_gone'.")
    ]
    assert said["errors"][0]["path"] == ["nodes", 1]
    card, gone = said["data"]["nodes"]
    values = {one["field"]["name"]: one for one in card["fieldValues"]["nodes"]}
    assert gone is None
    assert (card["type"], card["content"]["title"]) == ("DRAFT_ISSUE", "Model")
    assert [values["TM_ID"]["text"], values["Status"]["name"]] == ["001", "Todo"]
    assert said["data"]["rateLimit"] == {"cost": 1, "nodeCount": 90}
    assert board.shown() == {"Model": {"Status": "Todo", "TM_ID": "001"}}


@pytest.mark.parametrize(
    ("name", "value", "kind", "sentence"),
    [
        ("Wave", {"text": "1"}, "VALIDATION", "Did not receive a number value to update a field"),
        ("Status", {"singleSelectOptionId": "0"}, "VALIDATION", "The single select option Id does"),
        ("Labels", {"text": "x"}, "VALIDATION", "The field of type labels is currently not"),
        ("TM_ID", {"text": "é" * 513}, "UNPROCESSABLE", "Column value must be a valid value for"),
    ],
)
def test_a_value_that_does_not_suit_its_field_is_refused(
    hub: Hub, board: Project, token: Token, name: str, value: Any, kind: str, sentence: str
) -> None:
    card, field = board.draft("Model"), board.named(name)
    sent = {"project": board.id, "item": card.id, "field": field.id, "value": value}
    ((found, said),) = refused(forge.query(hub, token, WRITE, **sent))
    assert (found, said[: len(sentence)]) == (kind, sentence)


def test_an_archived_card_is_not_changed_and_not_listed(
    hub: Hub, board: Project, token: Token
) -> None:
    kept, card = board.draft("Kept"), board.draft("Put away")
    board.archive(card)
    sent = {"project": board.id, "item": card.id, "field": board.named("TM_ID").id}
    said = refused(forge.query(hub, token, WRITE, **sent, value={"text": "x"}))
    assert said == [("UNPROCESSABLE", "The item is archived and cannot be updated")]
    listed = forge.query(hub, token, LIST, id=board.id, first=100)["data"]["node"]["items"]
    assert [one["id"] for one in listed["nodes"]] == [kept.id]
    both = LIST.replace("first: $first", "first: $first, archivedStates: [ARCHIVED, NOT_ARCHIVED]")
    listed = forge.query(hub, token, both, id=board.id, first=100)["data"]["node"]["items"]
    assert [one["id"] for one in listed["nodes"]] == [kept.id, card.id]


@pytest.mark.slow  # reads another schema; that this one names the argument is fast
def test_a_dated_github_knows_what_is_published_and_no_more(
    hub: Hub, board: Project, token: Token
) -> None:
    hub.is_dated = True
    both = LIST.replace("first: $first", "first: $first, archivedStates: [ARCHIVED, NOT_ARCHIVED]")
    ((_, words),) = refused(forge.query(hub, token, both, id=board.id, first=100))
    assert words == "Unknown argument 'archivedStates' on field 'ProjectV2.items'."


def test_a_choice_that_is_sent_without_its_id_is_a_new_one(
    hub: Hub, board: Project, token: Token
) -> None:
    card, status = board.draft("Model"), board.named("Status")
    old = [one.id for one in status.choices]
    names = [{"name": one.name, "color": "GRAY", "description": ""} for one in status.choices]
    more = {"name": "QA Review", "color": "GRAY", "description": ""}
    kept = [one | {"id": id} for one, id in zip(names, old, strict=True)]
    forge.query(hub, token, OPTIONS, field=status.id, options=[*kept, more])
    assert [one.id for one in status.choices][:3] == old
    assert board.values(card) == {"Status": "Todo"}
    forge.query(hub, token, OPTIONS, field=status.id, options=names)
    assert [one.name for one in status.choices] == ["Todo", "In Progress", "Done"]
    assert not {one.id for one in status.choices} & set(old)
    assert (board.values(card), board.values(board.draft("Next"))) == ({}, {})


def test_pages_follow_each_other_and_have_bounds(hub: Hub, board: Project, token: Token) -> None:
    cards = [board.draft(f"Card {number}").id for number in range(5)]
    found: list[str] = []
    after = None
    while True:
        said = forge.query(hub, token, LIST, id=board.id, first=2, after=after)
        page = said["data"]["node"]["items"]
        found += [one["id"] for one in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == cards
    many = [
        refused(forge.query(hub, token, LIST, id=board.id, first=first))[0][0]
        for first in (None, 101)
    ]
    assert many == ["MISSING_PAGINATION_BOUNDARIES", "EXCESSIVE_PAGINATION"]
    inner = "a{0}: fieldValues(first: 100) {{ nodes {{ __typename }} }}"
    deep = " ".join(inner.format(at) for at in range(51))
    document = f"""query($id: ID!) {{ node(id: $id) {{ ... on ProjectV2 {{ items(first: 100)
        {{ nodes {{ {deep} }} }} }} }} }}"""
    assert refused(forge.query(hub, token, document, id=board.id))[0] == (
        "MAX_NODE_LIMIT_EXCEEDED",
        "This query requests up to 510,100 possible nodes which exceeds the maximum limit of"
        " 500,000.",
    )


def test_each_kind_of_token_sees_what_github_lets_it_see(
    hub: Hub, board: Project, shop: Repository, repo: Repo
) -> None:
    own = hub.project("alice")
    store = hub.repository("acme/store", repo)
    write, read = {"organization-projects": "write"}, {"organization-projects": "read"}
    tokens = {
        "no scope": hub.person("alice", scopes=("repo",)),
        "to read": hub.person("alice", scopes=("read:project",)),
        "all": hub.person("alice", scopes=("project",)),
        "a stranger": hub.person("bob", scopes=("project",)),
        "fine": hub.fine("alice", "acme", write),
        "fine, without": hub.fine("alice", "acme", {}),
        "fine, her own": hub.fine("alice", "alice", write),
        "an App": hub.app(store, write),
        "an App to read": hub.app(store, read),
        "an App, without": hub.app(store, {"issues": "write"}),
        "a job": hub.mint(store, {"issues": "write", **write}),
        "an App at home": hub.app(shop, write),
    }

    def result(by: Token, of: Project) -> str:
        said = look(hub, by, of)
        if "errors" in said:
            return refused(said)[0][0]
        about = said["data"]["repositoryOwner"]["projectV2"]
        return "write" if about["viewerCanUpdate"] else "read"

    no, not_there, never = "INSUFFICIENT_SCOPES", "NOT_FOUND", "FORBIDDEN"
    assert {name: (result(by, board), result(by, own)) for name, by in tokens.items()} == {
        "no scope": (no, no),
        "to read": ("write", "write"),
        "all": ("write", "write"),
        "a stranger": (not_there, not_there),
        "fine": ("write", not_there),
        "fine, without": (never, not_there),
        "fine, her own": (not_there, not_there),
        "an App": ("write", not_there),
        "an App to read": ("read", not_there),
        "an App, without": (never, not_there),
        "a job": (not_there, not_there),
        "an App at home": (not_there, not_there),
    }
    card = board.draft("Model")
    sent = {"project": board.id, "item": card.id, "field": board.named("TM_ID").id}
    value = {"text": "x"}
    assert refused(forge.query(hub, tokens["to read"], WRITE, **sent, value=value)) == [
        (
            no,
            "Your token has not been granted the required scopes to execute this query. The"
            " 'updateProjectV2ItemFieldValue' field requires one of the following scopes:"
            " ['project'], but your token has only been granted the: ['read:project'] scopes."
            " Please modify your token's scopes at: https://github.com/settings/tokens.",
        ),
    ]
    assert refused(forge.query(hub, tokens["an App to read"], WRITE, **sent, value=value)) == [
        (never, "Resource not accessible by integration")
    ]


def test_one_mutation_of_a_request_fails_and_one_is_not_known_to_be_done(
    hub: Hub, board: Project, token: Token
) -> None:
    document = """mutation($p: ID!) {
      a0: addProjectV2DraftIssue(input: {projectId: $p, title: "A"}) { projectItem { id } }
      a1: addProjectV2DraftIssue(input: {projectId: $p, title: "B"}) { projectItem { id } }
      a2: addProjectV2DraftIssue(input: {projectId: $p, title: "C"}) { projectItem { id } }
    }"""
    hub.refuse("GRAPHQL a1 addProject*", 422, message="A temporary conflict prevented this action.")
    said = forge.query(hub, token, document, p=board.id)
    assert [one["path"] for one in said["errors"]] == [["a1"]]
    assert list(board.shown()) == ["A", "C"]
    hub.refuse("GRAPHQL a1 *", "away")
    with pytest.raises(http.client.RemoteDisconnected):
        forge.query(hub, token, document.replace('"A"', '"D"'), p=board.id)
    assert list(board.shown()) == ["A", "C", "D"]


def test_what_is_made_is_limited_by_the_minute(hub: Hub, board: Project, token: Token) -> None:
    hub.is_paced = True
    some = " ".join(
        f'a{at}: addProjectV2DraftIssue(input: {{projectId: $p, title: "{at}"}}) {{ projectItem {{ id }} }}'
        for at in range(41)
    )
    document = f"mutation($p: ID!) {{ {some} }}"
    assert "errors" not in forge.query(hub, token, document, p=board.id)
    said = forge.query(hub, token, document, p=board.id)
    assert said["message"].startswith("You have exceeded a secondary rate limit")
    assert hub.asked("POST /graphql")[-1].status == 403
    assert len(board.cards) == 41


def test_an_issue_has_parts_labels_and_one_card(hub: Hub, shop: Repository, alice: Token) -> None:
    board = hub.project("alice")
    by = hub.person("alice", scopes=("repo", "project"))
    shop.labels["agents"] = "ededed"
    about = forge.query(
        hub, by, '{ repository(owner: "alice", name: "shop") { id label(name: "agents") { id } } }'
    )["data"]["repository"]
    create = """mutation($r: ID!, $t: String!, $l: [ID!], $p: ID) {
      createIssue(input: {repositoryId: $r, title: $t, labelIds: $l, parentIssueId: $p})
        { issue { id number databaseId parent { number } labels(first: 5) { nodes { name } } } }
    }"""

    def made(title: str, parent: str | None = None) -> Any:
        sent = {"r": about["id"], "t": title, "l": [about["label"]["id"]], "p": parent}
        return forge.query(hub, by, create, **sent)["data"]["createIssue"]["issue"]

    plan = made("Plan")
    first, second = made("First", plan["id"]), made("Second", plan["id"])
    assert first["parent"] == {"number": plan["number"]}
    assert first["labels"] == {"nodes": [{"name": "agents"}]}
    path = f"/repos/alice/shop/issues/{second['number']}/dependencies/blocked_by"
    assert ask(hub, by, f"POST {path}", {"issue_id": first["databaseId"]}).status == 201
    assert [one["number"] for one in ask(hub, by, f"GET {path}").value] == [first["number"]]
    add = """mutation($p: ID!, $c: ID!) { addProjectV2ItemById(input: {projectId: $p, contentId: $c})
      { item { id } } }"""
    twice = [forge.query(hub, by, add, p=board.id, c=first["id"]) for _ in range(2)]
    assert twice[0] == twice[1]
    close = "mutation($i: ID!) { closeIssue(input: {issueId: $i}) { issue { state } } }"
    forge.query(hub, by, close, i=first["id"])
    assert board.shown() == {"First": {"Status": "Done"}}
    shop.issues_enabled = False
    sent = {"r": about["id"], "t": "x", "l": []}
    assert refused(forge.query(hub, by, create, **sent)) == [
        ("UNPROCESSABLE", "Issues are disabled for this repo")
    ]


def test_people_rename_rewrite_and_take_away(hub: Hub, board: Project) -> None:
    card = board.draft("Model", "text", TM_ID="001", Priority="high")
    board.rename_field("Priority", "Urgency")
    board.choose_from("Urgency", ["urgent", "high"])
    board.set(card, "Wave", 2.0)
    board.edit(card, title="User model")
    other = board.draft("Other")
    board.move(other)
    assert board.shown() == {
        "Other": {"Status": "Todo"},
        "User model": {"Status": "Todo", "TM_ID": "001", "Urgency": "high", "Wave": 2.0},
    }
    board.choose_from("Urgency", ["urgent"])
    board.archive(other)
    board.delete_field("Wave")
    assert board.shown() == {"User model": {"Status": "Todo", "TM_ID": "001"}}
    board.delete(card)
    assert board.shown() == {}
