"""One board of GitHub's Projects, asked by GraphQL: what its cards show, and what is written there.

Start with Projects.  Documents are written here and hold nothing of a plan: what is said goes along
as variables, and the parts of a mutation are named by their position alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from gitflow_agents.board.terms import (
    AddContent,
    AddDraft,
    AddField,
    Archive,
    ClearValue,
    EditDraft,
    Field,
    Item,
    Option,
    Project,
    SetOptions,
    SetValue,
    Value,
    Write,
    Wrote,
)
from gitflow_agents.forge import ForgeDown, ForgeRefused
from gitflow_agents.github.client import GitHub, found_nodes
from gitflow_agents.github.premises import kind_of

MOST_WRITES = 50
"""Writes of one request, which GitHub gives ten seconds."""
MOST_ITEMS = 100
"""Cards that are read by one request."""
VIEWS = ("Board", "board"), ("Roadmap", "roadmap")
"""Name and layout of the views of a project that is made."""
_FIELD = """
fragment field on ProjectV2FieldConfiguration {
  ... on ProjectV2FieldCommon { id name dataType }
  ... on ProjectV2SingleSelectField { options { id name color description } }
}
"""
_ITEM = """
fragment item on ProjectV2Item {
  id
  isArchived
  project { id }
  content {
    __typename
    ... on DraftIssue { id title body }
    ... on Issue { id title }
    ... on PullRequest { id title }
  }
  fieldValues(first: 100) {
    nodes {
      ... on ProjectV2ItemFieldTextValue { text field { ...key } }
      ... on ProjectV2ItemFieldNumberValue { number field { ...key } }
      ... on ProjectV2ItemFieldDateValue { date field { ...key } }
      ... on ProjectV2ItemFieldSingleSelectValue { name field { ...key } }
    }
  }
}
fragment key on ProjectV2FieldConfiguration { ... on ProjectV2FieldCommon { id } }
"""
_LOOK = f"""
query Look($login: String!, $number: Int!, $after: String, $items: [ID!]!) {{
  repositoryOwner(login: $login) {{
    ... on ProjectV2Owner {{
      projectV2(number: $number) {{
        id number title url closed viewerCanUpdate
        fields(first: 100, after: $after) {{
          pageInfo {{ hasNextPage endCursor }}
          nodes {{ ...field }}
        }}
      }}
    }}
  }}
  nodes(ids: $items) {{ ...item }}
}}
{_FIELD}{_ITEM}"""
_ALL = f"""
query All($login: String!, $number: Int!, $after: String) {{
  repositoryOwner(login: $login) {{
    ... on ProjectV2Owner {{
      projectV2(number: $number) {{
        items(first: 100, after: $after) {{
          pageInfo {{ hasNextPage endCursor }}
          nodes {{ ...item }}
        }}
      }}
    }}
  }}
}}
{_ITEM}"""
_ALL_AND_ARCHIVED = _ALL.replace(
    "after: $after)", "after: $after, archivedStates: [NOT_ARCHIVED, ARCHIVED])"
)
_KNOWS = """
query Knows {
  project: __type(name: "ProjectV2") { fields { name args { name } } }
  option: __type(name: "ProjectV2SingleSelectFieldOptionInput") { inputFields { name } }
}
"""
_OWNER = """
query Owner($login: String!, $owner: String!, $name: String!, $title: String!) {
  repositoryOwner(login: $login) {
    __typename
    id
    ... on User { databaseId }
    ... on ProjectV2Owner {
      projectsV2(first: 20, query: $title) {
        nodes { number title closed viewerCanUpdate items(first: 1) { totalCount } }
      }
    }
  }
  repository(owner: $owner, name: $name) { id }
}
"""
_WHOSE = """
query Whose($node: ID!) {
  node(id: $node) {
    ... on ProjectV2 {
      number
      owner {
        ... on Organization { login }
        ... on User { login }
      }
    }
  }
}
"""
_CREATE = """
mutation Create($input: CreateProjectV2Input!) {
  createProjectV2(input: $input) { projectV2 { number } }
}
"""
_NEW_ITEM = "{ id content { ... on DraftIssue { id } } }"
_FIELD_ID = "{ projectV2Field { ... on ProjectV2FieldCommon { id } } }"
_PARTS: Mapping[type, tuple[str, str, str]] = {
    AddDraft: (
        "AddProjectV2DraftIssueInput",
        "addProjectV2DraftIssue",
        f"{{ projectItem {_NEW_ITEM} }}",
    ),
    AddContent: ("AddProjectV2ItemByIdInput", "addProjectV2ItemById", "{ item { id } }"),
    EditDraft: (
        "UpdateProjectV2DraftIssueInput",
        "updateProjectV2DraftIssue",
        "{ draftIssue { id } }",
    ),
    SetValue: (
        "UpdateProjectV2ItemFieldValueInput",
        "updateProjectV2ItemFieldValue",
        "{ projectV2Item { id } }",
    ),
    ClearValue: (
        "ClearProjectV2ItemFieldValueInput",
        "clearProjectV2ItemFieldValue",
        "{ projectV2Item { id } }",
    ),
    Archive: ("ArchiveProjectV2ItemInput", "archiveProjectV2Item", "{ item { id } }"),
    AddField: ("CreateProjectV2FieldInput", "createProjectV2Field", _FIELD_ID),
    SetOptions: ("UpdateProjectV2FieldInput", "updateProjectV2Field", _FIELD_ID),
}
"""Of each kind of write the type of its input, the mutation, and what is asked back."""
_BACK = ("UnarchiveProjectV2ItemInput", "unarchiveProjectV2Item", "{ item { id } }")
_VALUES = {"TEXT": "text", "NUMBER": "number", "DATE": "date"}
_MAKING = (AddDraft, AddField)
_RIGHTS = ("INSUFFICIENT_SCOPES", "FORBIDDEN")


class Projects:
    """The board `number` of an organisation or a person: a Board.

    Where nobody knows the number, `node` is what GitHub calls it, and it is asked for.
    """

    def __init__(self, github: GitHub, owner: str, number: int, node: str = "") -> None:
        self._github, self._owner, self._number, self._node = github, owner, number, node
        self._asked = 0

    @property
    def asked(self) -> int:
        """Return how many requests were made so far."""
        return self._asked

    def look(self, items: Sequence[str] = ()) -> tuple[Project, Mapping[str, Item]]:
        """Return the board, and of at most 100 cards those that are still there, by their id."""
        said, wrong = self._ask(_LOOK, {"items": [*items[:MOST_ITEMS]]})
        project = self._project(said, wrong)
        nodes = found_nodes(said.get("nodes"), wrong, f"{self._name} could not be read")
        found = (_item(one) for one in nodes if _is_on(one, project["id"]))
        fields, page = [*project["fields"]["nodes"]], project["fields"]["pageInfo"]
        while page["hasNextPage"]:
            more, wrong = self._ask(_LOOK, {"items": [], "after": page["endCursor"]})
            part = self._project(more, wrong)["fields"]
            fields, page = [*fields, *part["nodes"]], part["pageInfo"]
        board = Project(
            id=project["id"],
            number=project["number"],
            title=project["title"],
            url=project["url"],
            fields=tuple(_field(one) for one in fields if one),
            may_write=project["viewerCanUpdate"],
            is_closed=project["closed"],
        )
        return board, {one.id: one for one in found}

    def all(self) -> Iterator[Item]:
        """Go through all cards, 100 a request; archived ones where GitHub can list them."""
        after = None
        document = _ALL_AND_ARCHIVED if self._lists_archived else _ALL
        while True:
            said, wrong = self._ask(document, {"after": after})
            items = self._project(said, wrong)["items"]
            yield from map(
                _item, found_nodes(items["nodes"], wrong, f"{self._name} could not be read")
            )
            if not items["pageInfo"]["hasNextPage"]:
                return
            after = items["pageInfo"]["endCursor"]

    def write(self, project: str, writes: Sequence[Write]) -> tuple[Wrote, ...]:
        """Do at most 50 writes in their order, and return what came of each.

        ForgeDown where nobody knows which of them were done.
        """
        if not writes:
            return ()
        assert len(writes) <= MOST_WRITES
        if not self._number:
            self._find()
        parts = [_part(one) for one in writes]
        given = ", ".join(f"$w{turn}: {kind}!" for turn, (kind, _, _) in enumerate(parts))
        asked = "\n".join(
            f"  w{turn}: {name}(input: $w{turn}) {back}"
            for turn, (_, name, back) in enumerate(parts)
        )
        self._asked += 1
        said, wrong = self._github.graph(
            f"mutation Write({given}) {{\n{asked}\n}}",
            {f"w{turn}": self._input(one, project) for turn, one in enumerate(writes)},
            f"{self._name} could not be written",
            # One that was done and is done again is another card.
            once=any(isinstance(one, _MAKING) for one in writes),
        )
        refused = _by_part(wrong)
        lacks = [one for one in wrong if one.get("type") in _RIGHTS]
        if wrong and (not said or len(lacks) == len(writes)):
            raise self._refusal(lacks or wrong)
        names = [f"w{turn}" for turn in range(len(writes))]
        known = {str((one.get("path") or [""])[0]) for one in wrong if one.get("type")}
        if any(
            said.get(name) is None
            # What makes something may have made it, where GitHub only says that it went wrong.
            and (name not in refused or (name not in known and isinstance(one, _MAKING)))
            for name, one in zip(names, writes, strict=True)
        ):
            raise ForgeDown(
                f"{self._name} was written, and GitHub did not say what came of it",
                hint="nothing is lost; run it again",
            )
        return tuple(
            _wrote(one, said.get(name) or {}, refused.get(name, ""))
            for name, one in zip(names, writes, strict=True)
        )

    # --- asking -----------------------------------------------------------------------------------

    @cached_property
    def _knows(self) -> tuple[bool, bool]:
        """Return whether GitHub lists archived cards, and keeps choices whose ids it is sent.

        Both are newer than the description that it publishes, and servers of one's own may lack
        them.
        """
        self._asked += 1
        said, _ = self._github.graph(_KNOWS, {}, f"{self._name} could not be read")
        fields = (said.get("project") or {}).get("fields") or ()
        items = next((one["args"] for one in fields if one["name"] == "items"), ())
        inputs = (said.get("option") or {}).get("inputFields") or ()
        return (
            any(one["name"] == "archivedStates" for one in items),
            any(one["name"] == "id" for one in inputs),
        )

    @property
    def _lists_archived(self) -> bool:
        return self._knows[0]

    def _input(self, write: Write, project: str) -> dict[str, Any]:
        """Return what a mutation is given for a write."""
        said = _input(write, project)
        if isinstance(write, SetOptions) and self._knows[1]:
            for one, option in zip(said["singleSelectOptions"], write.options, strict=True):
                one |= {"id": option.id} if option.id else {}
        return said

    @property
    def _name(self) -> str:
        return (
            f"board {self._number} of {self._owner}"
            if self._number
            else f"a board of {self._owner}"
        )

    def _ask(
        self, document: str, variables: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
        if not self._number:
            self._find()
        self._asked += 1
        about = {"login": self._owner, "number": self._number, **variables}
        return self._github.graph(document, about, f"{self._name} could not be read")

    def is_there(self) -> bool:
        """Say whether there is a board of this node that the token may see."""
        try:
            self._find()
        except ForgeRefused as e:
            if e.status != 404:
                raise
            return False
        return True

    def _find(self) -> None:
        """Ask for owner and number of a board of which only the node is known."""
        self._asked += 1
        what = f"the project {self._node} could not be looked for"
        said, _ = self._github.graph(_WHOSE, {"node": self._node}, what)
        found = said.get("node") or {}
        if not found.get("number"):
            raise ForgeRefused(
                f"there is no project {self._node} that this token may see",
                hint=right_of(self._github.token),
                status=404,
            )
        self._number, self._owner = found["number"], found["owner"]["login"]

    def _project(
        self, said: Mapping[str, Any], wrong: Sequence[Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Return the board of an answer; what is wrong with single cards does not matter here."""
        board = (said.get("repositoryOwner") or {}).get("projectV2")
        if board is not None:
            return dict(board)
        raise self._refusal([one for one in wrong if (one.get("path") or [""])[0] != "nodes"])

    def _refusal(self, wrong: Sequence[Mapping[str, Any]]) -> ForgeRefused | ForgeDown:
        """Return why nothing of what was asked is there, and where the right to it is given."""
        kinds = {str(one.get("type") or "") for one in wrong}
        words = next((str(one["message"]) for one in wrong if one.get("message")), "no such board")
        hint = right_of(self._github.token)
        if _RIGHTS[0] in kinds:
            return ForgeRefused(
                f"the token lacks the scope `project`, so {self._name} cannot be kept up",
                hint=hint,
                status=403,
            )
        if "FORBIDDEN" in kinds:
            said = f"the token may not keep up {self._name}: {words}"
            return ForgeRefused(said, hint=hint, status=403)
        if not wrong or "NOT_FOUND" in kinds:
            said = f"there is no {self._name} that this token may see"
            return ForgeRefused(said, hint=hint, status=404)
        # GitHub's words for a bad day have no type, and what it does not understand has a code.
        if not any(kinds) and not any(one.get("extensions") for one in wrong):
            return ForgeDown(f"{self._name}: {words}", hint="nothing is lost; run it again")
        return ForgeRefused(f"{self._name}: {words}", hint=hint)


def create(github: GitHub, owner: str, title: str) -> tuple[int, tuple[str, ...]]:
    """Make a project for the repository, with a board and a roadmap; return its number.

    An empty one of that title is taken as it is: the answer to who made it may have been lost.
    Beside it are sentences about what GitHub did not want: a view is made by hand as well.
    Raises ForgeRefused where no project may be made.
    """
    what = f"no project of {owner} could be made"
    repository = dict(zip(("owner", "name"), github.repository.split("/", 1), strict=True))
    said, wrong = github.graph(_OWNER, {"login": owner, "title": title, **repository}, what)
    whose = said.get("repositoryOwner")
    if whose is None:
        raise ForgeRefused(
            f"there is no person or organisation {owner} on {github.host}",
            hint="projects.owner in the config names who has the project",
        )
    number = _empty_one(whose, title)
    if not number:
        asked: dict[str, Any] = {"ownerId": whose["id"], "title": title}
        if said.get("repository"):
            asked["repositoryId"] = said["repository"]["id"]
        made, wrong = github.graph(_CREATE, {"input": asked}, what, once=True)
        payload = made.get("createProjectV2")
        if payload is None:
            raise Projects(github, owner, 0)._refusal(wrong)
        number = int(payload["projectV2"]["number"])
    who = f"users/{whose['databaseId']}" if "databaseId" in whose else f"orgs/{owner}"
    sentences = []
    for name, layout in VIEWS:
        path, body = f"/{who}/projectsV2/{number}/views", {"name": name, "layout": layout}
        try:
            github.ask("POST", path, f"no view {name} could be made", body=body)
        except (ForgeRefused, ForgeDown) as e:
            sentences.append(f"{e.message}; people make it with New view, {layout}")
    return number, tuple(sentences)


def _empty_one(whose: Mapping[str, Any], title: str) -> int:
    """Return the number of an open project of that title which nobody has put a card on, or 0."""
    for one in (whose.get("projectsV2") or {}).get("nodes") or ():
        is_open = one and one["title"] == title and not one["closed"] and one["viewerCanUpdate"]
        if is_open and not one["items"]["totalCount"]:
            return int(one["number"])
    return 0


def right_of(token: str) -> str:
    """Return which right a token needs for boards, and where it is given."""
    match kind_of(token).opens:
        case "scope":
            return (
                "it needs the scope `project`: Settings, Developer settings, Tokens (classic); of "
                "a login: gh auth refresh -s project"
            )
        case "permission":
            return (
                "it needs the organization permission Projects: read and write (Settings, "
                "Developer settings, Fine-grained tokens); a person's own project takes a classic "
                "token with the scope `project`"
            )
        case "job":
            return (
                "a job's own token never reaches a project: give the secret GITFLOW_PROJECT_TOKEN "
                "a classic token with the scope `project`, or let an App act that has the "
                "organization permission Projects: read and write"
            )
    return "it needs the scope `project`, or the organization permission Projects: read and write"


# --- what is sent ---------------------------------------------------------------------------------


def _part(write: Write) -> tuple[str, str, str]:
    return _BACK if isinstance(write, Archive) and write.back else _PARTS[type(write)]


def _input(write: Write, project: str) -> dict[str, Any]:
    """Return what a mutation is given for a write."""
    match write:
        case AddDraft(_, title, body):
            return {"projectId": project, "title": title, "body": body}
        case AddContent(_, content):
            return {"projectId": project, "contentId": content}
        case EditDraft(content, title, body):
            return {"draftIssueId": content, "title": title, "body": body}
        case SetValue(item, field, kind, value):
            said = {_VALUES.get(kind, "singleSelectOptionId"): value}
            return {"projectId": project, "itemId": item, "fieldId": field, "value": said}
        case ClearValue(item, field):
            return {"projectId": project, "itemId": item, "fieldId": field}
        case Archive(item):
            return {"projectId": project, "itemId": item}
        case AddField(name, kind, options):
            made: dict[str, Any] = {"projectId": project, "name": name, "dataType": kind}
            return made | ({"singleSelectOptions": _options(options)} if options else {})
        case SetOptions(field, options):
            return {"fieldId": field, "singleSelectOptions": _options(options)}


def _options(options: Sequence[Option]) -> list[dict[str, str]]:
    return [
        {"name": one.name, "color": one.color, "description": one.description} for one in options
    ]


# --- what comes back ------------------------------------------------------------------------------


def _by_part(wrong: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return why parts of a mutation were not done, by their names."""
    first: dict[str, str] = {}
    for one in wrong:
        path = one.get("path") or ()
        if path:
            first.setdefault(str(path[0]), str(one.get("message") or "GitHub says no reason"))
    return first


def _wrote(write: Write, said: Mapping[str, Any], refused: str) -> Wrote:
    """Return what came of one write."""
    made = next((one for one in said.values() if isinstance(one, Mapping)), None) or {}
    content = write.content if isinstance(write, AddContent | EditDraft) else ""
    if isinstance(write, AddDraft):
        content = str((made.get("content") or {}).get("id") or "")
    return Wrote(id=str(made.get("id") or ""), content=content, refused=refused)


def _is_on(said: Mapping[str, Any], project: str) -> bool:
    return bool(said.get("project", {}).get("id") == project)


def _field(said: Mapping[str, Any]) -> Field:
    options = tuple(
        Option(one["name"], one["id"], one["color"], one["description"])
        for one in said.get("options") or ()
    )
    return Field(said["id"], said["name"], said["dataType"], options)


def _item(said: Mapping[str, Any]) -> Item:
    content = said["content"] or {}
    values: dict[str, Value] = {}
    for one in said["fieldValues"]["nodes"]:
        field = (one or {}).get("field") or {}
        for key in ("text", "number", "date", "name"):
            if field and one.get(key) is not None:
                values[field["id"]] = one[key]
    return Item(
        id=said["id"],
        content=str(content.get("id") or ""),
        is_draft=content.get("__typename") == "DraftIssue",
        title=str(content.get("title") or ""),
        body=str(content.get("body") or ""),
        is_archived=said["isArchived"],
        values=values,
    )


__all__ = ["MOST_ITEMS", "MOST_WRITES", "Projects", "create", "right_of"]
