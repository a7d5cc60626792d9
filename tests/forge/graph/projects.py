"""Projects, as GraphQL shows and changes them; what GitHub does with one is said in `boards`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.forge import wire
from tests.forge.boards import Card, Draft, Field, Project, check_text
from tests.forge.graph.shapes import FINE, INTEGRATION, JSON, Asker, connection, missing
from tests.forge.state import Issue, No

NODES = ("PVT", "PVTI", "PVTF", "PVTSSF", "PVTIF", "DI")


class Projects:
    """What can be asked of projects, and of the accounts that have them."""

    def __init__(self, asker: Asker) -> None:
        """Answer one who asks."""
        self._asker, self._hub = asker, asker.hub
        self.fields: dict[str, Callable[..., Any]] = {
            "organization": lambda login: self._account(login, "Organization"),
            "user": lambda login: self._account(login, "User"),
            "repositoryOwner": self._owner,
            "createProjectV2": self._create,
            "updateProjectV2": self._update,
            "linkProjectV2ToRepository": self._link,
            "createProjectV2Field": self._create_field,
            "updateProjectV2Field": self._update_field,
            "deleteProjectV2Field": self._delete_field,
            "addProjectV2DraftIssue": self._add_draft,
            "updateProjectV2DraftIssue": self._update_draft,
            "addProjectV2ItemById": self._add,
            "updateProjectV2ItemFieldValue": self._write,
            "clearProjectV2ItemFieldValue": self._clear,
            "archiveProjectV2Item": lambda input: self._archive(input, True),
            "unarchiveProjectV2Item": lambda input: self._archive(input, False),
            "deleteProjectV2Item": self._delete,
            "updateProjectV2ItemPosition": self._move,
            "convertProjectV2DraftIssueItemToIssue": self._convert,
        }
        asker.kinds |= dict.fromkeys(NODES, self._node)

    # --- what there is

    def _account(self, login: str, kind: str) -> JSON:
        known = {one.lower(): one for one in self._asker.logins()}
        found = known.get(login.lower())
        is_organisation = found in self._hub.organisations
        if found is None or is_organisation != (kind == "Organization"):
            a = "an Organization" if kind == "Organization" else "a User"
            raise No("NOT_FOUND", f"Could not resolve to {a} with the login of '{login}'.")
        return account(self._asker, found)

    def _owner(self, login: str, **_: Any) -> JSON | None:
        known = {one.lower(): one for one in self._asker.logins()}
        found = known.get(login.lower())
        return None if found is None else account(self._asker, found)

    def _node(self, id: str) -> JSON:
        project, about = self._found(id)
        if isinstance(about, Project):
            return shown(self._asker, about)
        if isinstance(about, Field):
            return field(self._asker, project, about)
        if id.startswith("DI_"):
            return draft(self._asker, project, about)
        return item(self._asker, project, about)

    def _found(self, id: str) -> tuple[Project, Project | Field | Card]:
        """Return what has an id, as far as the token may see it."""
        project, about = self._hub.nodes.get(id, (None, None))
        if project is None or about is None or self._asker.level(project) == "none":
            raise missing(id)
        return project, about

    # --- what is changed

    def _project(self, input: Mapping[str, Any]) -> Project:
        """Return the project that is to be changed, and refuse who may not."""
        _, about = self._found(str(input["projectId"]))
        if not isinstance(about, Project):
            raise missing(str(input["projectId"]))
        return self._changeable(about)

    def _changeable(self, project: Project) -> Project:
        by = self._asker.by
        if self._asker.level(project) != "write":
            words = f"{by.login} does not have the correct permissions to execute this mutation"
            if by.kind != "person":
                words = INTEGRATION
            elif by.fine_for:
                words = FINE
            raise No("FORBIDDEN", words)
        return project

    def _card(self, input: Mapping[str, Any], project: Project) -> Card:
        id = str(input["itemId"])
        card = project.cards.get(id)
        if card is None:
            raise missing(id)
        return card

    def _field(self, id: str, project: Project | None = None) -> tuple[Project, Field]:
        of, about = self._found(id)
        if not isinstance(about, Field) or about not in of.fields or project not in (None, of):
            raise missing(id)
        return self._changeable(of), about

    def _create(self, input: Mapping[str, Any]) -> JSON:
        owner, by = self._asker.account(str(input["ownerId"])), self._asker.by
        check_text(str(input["title"]), "")
        # It may do there what it may do with any project of the account.
        probe = Project(self._hub, owner, 0, "", "", 0)
        for one in probe.fields:
            del self._hub.nodes[one.id]
        if self._asker.level(probe) != "write":
            words = f"{by.login} does not have permission to create projects for this owner"
            raise No("FORBIDDEN", INTEGRATION if by.kind != "person" else words)
        made = self._hub.project(owner, str(input["title"]))
        if input.get("repositoryId"):
            made.repositories.append(self._asker.repository(str(input["repositoryId"])))
        return {"projectV2": shown(self._asker, made)}

    def _update(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        if input.get("title") is not None:
            check_text(str(input["title"]), "")
            project.title = str(input["title"])
        if input.get("closed") is not None:
            project.closed = bool(input["closed"])
        if input.get("public") is not None:
            project.public = bool(input["public"])
        return {"projectV2": shown(self._asker, project)}

    def _link(self, input: Mapping[str, Any]) -> JSON:
        from tests.forge.graph import repositories

        project = self._project(input)
        repository = self._asker.repository(str(input["repositoryId"]))
        if repository.owner != project.owner:
            raise No("UNPROCESSABLE", "The repository and the project must have the same owner")
        if repository not in project.repositories:
            project.repositories.append(repository)
        return {"repository": repositories.shown(self._asker, repository)}

    def _create_field(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        project.check_open()
        choices = input.get("singleSelectOptions")
        made = project.new_field(str(input["name"]), str(input["dataType"]), choices)
        return {"projectV2Field": field(self._asker, project, made)}

    def _update_field(self, input: Mapping[str, Any]) -> JSON:
        project, about = self._field(str(input["fieldId"]))
        project.check_open()
        if input.get("name"):
            if not about.is_own:
                raise No("UNPROCESSABLE", "Only custom fields can be renamed.")
            about.name = str(input["name"])
        if input.get("singleSelectOptions"):
            project.rewrite(about, input["singleSelectOptions"])
        return {"projectV2Field": field(self._asker, project, about)}

    def _delete_field(self, input: Mapping[str, Any]) -> JSON:
        project, about = self._field(str(input["fieldId"]))
        if not about.is_own:
            raise No("UNPROCESSABLE", "Only custom fields can be deleted.")
        said = field(self._asker, project, about)
        project.delete_field(about.name)
        return {"projectV2Field": said}

    def _add_draft(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        project.check_open()
        logins = [self._asker.account(str(id)) for id in input.get("assigneeIds") or ()]
        title, body = str(input["title"]), str(input.get("body") or "")
        card = project.add_draft(title, body, logins, self._asker.by.login)
        return self._said(input, "projectItem", item(self._asker, project, card))

    def _update_draft(self, input: Mapping[str, Any]) -> JSON:
        id = str(input["draftIssueId"])
        project, card = self._found(id)
        self._changeable(project)
        if not isinstance(card, Card) or not isinstance(card.content, Draft):
            raise missing(id)
        project.check_open(card)
        about = card.content
        title = about.title if input.get("title") is None else str(input["title"])
        body = about.body if input.get("body") is None else str(input["body"])
        check_text(title, body)
        about.title, about.body = title, body
        if input.get("assigneeIds") is not None:
            about.assignees = [self._asker.account(str(one)) for one in input["assigneeIds"]]
        return self._said(input, "draftIssue", draft(self._asker, project, card))

    def _add(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        project.check_open()
        content = self._asker.issue(str(input["contentId"]))
        card = project.add(content, self._asker.by.login)
        return self._said(input, "item", item(self._asker, project, card))

    def _write(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        card = self._card(input, project)
        _, about = self._field(str(input["fieldId"]), project)
        project.write(card, about, input["value"])
        return self._said(input, "projectV2Item", item(self._asker, project, card))

    def _clear(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        card = self._card(input, project)
        _, about = self._field(str(input["fieldId"]), project)
        project.erase(card, about)
        return self._said(input, "projectV2Item", item(self._asker, project, card))

    def _archive(self, input: Mapping[str, Any], archived: bool) -> JSON:
        project = self._project(input)
        project.check_open()
        card = self._card(input, project)
        card.is_archived = archived
        return self._said(input, "item", item(self._asker, project, card))

    def _delete(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        project.check_open()
        card = self._card(input, project)
        project.delete(card)
        return self._said(input, "deletedItemId", card.id)

    def _move(self, input: Mapping[str, Any]) -> JSON:
        project = self._project(input)
        card = self._card(input, project)
        project.check_open(card)
        after = input.get("afterId")
        project.move(card, project.cards[after] if after else None)
        return {"items": lambda **page: _listed(self._asker, project, (False,), **page)}

    def _convert(self, input: Mapping[str, Any]) -> JSON:
        project, card = self._found(str(input["itemId"]))
        self._changeable(project)
        if not isinstance(card, Card) or not isinstance(card.content, Draft):
            raise No("UNPROCESSABLE", "The item is not a draft issue")
        repository = self._asker.repository(str(input["repositoryId"]))
        self._asker.demand(repository, "issues")
        project.convert(card, repository)
        return self._said(input, "item", item(self._asker, project, card))

    def _said(self, input: Mapping[str, Any], name: str, about: Any) -> JSON:
        return {"clientMutationId": input.get("clientMutationId"), name: about}


def account(asker: Asker, login: str) -> JSON:
    """Return a person or an organisation."""
    kind = "Organization" if login in asker.hub.organisations else "User"

    def numbered(number: int) -> JSON:
        for one in asker.hub.projects:
            if (one.owner, one.number) == (login, number):
                if asker.level(one) != "none":
                    return shown(asker, one)
                may_never = asker.by.kind == "app" and kind == "Organization"
                if may_never and asker.by.repository.startswith(f"{login}/"):
                    raise No("FORBIDDEN", INTEGRATION)
                if asker.by.fine_for == login and kind == "Organization":
                    raise No("FORBIDDEN", FINE)
        raise No("NOT_FOUND", f"Could not resolve to a ProjectV2 with the number {number}.")

    def listed(query: str | None = None, **page: Any) -> JSON:
        found = [
            one
            for one in reversed(asker.hub.projects)
            if one.owner == login
            and asker.level(one) != "none"
            and (query or "").lower() in one.title.lower()
        ]
        return connection(found, lambda one: shown(asker, one), **_page(page))

    return asker.person(login) | {
        "__typename": kind,
        "projectV2": numbered,
        "projectsV2": listed,
    }


def shown(asker: Asker, project: Project) -> JSON:
    """Return a project."""
    is_organisation = project.owner in asker.hub.organisations
    kind = "orgs" if is_organisation else "users"
    may_write = asker.level(project) == "write"

    def one_field(name: str) -> JSON:
        for one in project.fields:
            if one.name == name:
                return field(asker, project, one)
        raise No(
            "NOT_FOUND", f"Could not resolve to a ProjectV2FieldConfiguration with the name {name}"
        )

    def items(**asked: Any) -> JSON:
        states = asked.get("archivedStates") or ["NOT_ARCHIVED"]
        return _listed(asker, project, [one == "ARCHIVED" for one in states], **asked)

    return {
        "__typename": "ProjectV2",
        "id": project.id,
        "databaseId": project.database_id,
        "fullDatabaseId": str(project.database_id),
        "number": project.number,
        "title": project.title,
        "url": f"{asker.hub.base}/{kind}/{project.owner}/projects/{project.number}",
        "closed": project.closed,
        "public": project.public,
        "template": False,
        "viewerCanUpdate": may_write,
        "viewerCanClose": may_write,
        "viewerCanReopen": may_write,
        "owner": lambda: account(asker, project.owner),
        "field": one_field,
        "fields": lambda **page: connection(
            project.fields, lambda one: field(asker, project, one), **_page(page)
        ),
        "items": items,
    }


def _listed(asker: Asker, project: Project, archived: Any, **page: Any) -> JSON:
    cards = project.listed(archived)
    return connection(cards, lambda card: item(asker, project, card), **_page(page))


def of_issue(asker: Asker, issue: Issue, **asked: Any) -> JSON:
    """Return the cards of an issue, of all projects that may be seen."""
    include_archived = asked.get("includeArchived", True)
    found = [
        (project, card)
        for project in asker.hub.projects
        if asker.level(project) != "none"
        for card in project.cards.values()
        if isinstance(card.content, tuple)
        and card.content[1] is issue
        and (include_archived or not card.is_archived)
    ]
    return connection(found, lambda one: item(asker, *one), **_page(asked))


def field(asker: Asker, project: Project, one: Field) -> JSON:
    """Return a field."""
    kinds = {"SINGLE_SELECT": "ProjectV2SingleSelectField", "ITERATION": "ProjectV2IterationField"}

    def options(names: list[str] | None = None) -> list[JSON]:
        return [
            {
                "__typename": "ProjectV2SingleSelectFieldOption",
                "id": it.id,
                "name": it.name,
                "nameHTML": it.name,
                "color": it.color,
                "description": it.description,
                "descriptionHTML": it.description,
            }
            for it in one.choices
            if names is None or it.name in names
        ]

    return {
        "__typename": kinds.get(one.kind, "ProjectV2Field"),
        "id": one.id,
        "databaseId": one.number,
        "name": one.name,
        "dataType": one.kind,
        "options": options,
        "configuration": {
            "duration": 14,
            "startDay": 1,
            "iterations": [],
            "completedIterations": [],
        },
        "project": lambda: shown(asker, project),
    }


def draft(asker: Asker, project: Project, card: Project | Field | Card) -> JSON:
    """Return the content of a card that is no issue."""
    assert isinstance(card, Card)
    assert isinstance(card.content, Draft)
    about = card.content
    return {
        "__typename": "DraftIssue",
        "id": about.id,
        "title": about.title,
        "body": about.body,
        "bodyText": about.body,
        "createdAt": wire.at(card.created),
        "updatedAt": wire.at(card.created),
        "creator": lambda: asker.person(card.author),
        "assignees": lambda **page: connection(about.assignees, asker.person, **_page(page)),
        "projectV2Items": lambda **page: connection(
            [card], lambda one: item(asker, project, one), **_page(page)
        ),
        "projectsV2": lambda **page: connection(
            [project], lambda one: shown(asker, one), **_page(page)
        ),
    }


def item(asker: Asker, project: Project, card: Card) -> JSON:
    """Return a card; of an issue that the token may not see there is no content."""
    from tests.forge.graph import issues

    content: Callable[[], JSON | None]
    if isinstance(card.content, Draft):
        kind, content = "DRAFT_ISSUE", lambda: draft(asker, project, card)
    else:
        repository, issue = card.content
        is_seen = asker.may(repository, "issues", "read")
        kind = "ISSUE" if is_seen else "REDACTED"
        content = lambda: issues.shown(asker, repository, issue) if is_seen else None  # noqa: E731

    def by_name(name: str) -> JSON | None:
        values = {shown["_name"]: shown for shown in _values(asker, project, card)}
        return values.get(name)

    return {
        "__typename": "ProjectV2Item",
        "id": card.id,
        "databaseId": card.number,
        "fullDatabaseId": str(card.number),
        "type": kind,
        "isArchived": card.is_archived,
        "createdAt": wire.at(card.created),
        "updatedAt": wire.at(card.created),
        "creator": lambda: asker.person(card.author),
        "project": lambda: shown(asker, project),
        "content": content,
        "fieldValues": lambda **page: connection(
            _values(asker, project, card), lambda one: one, **_page(page)
        ),
        "fieldValueByName": by_name,
    }


def _values(asker: Asker, project: Project, card: Card) -> list[JSON]:
    """Return what a card shows, field by field; what is not set is not there."""
    from tests.forge.graph import issues, repositories

    found: list[JSON] = []
    logins = (
        card.content.assignees if isinstance(card.content, Draft) else card.content[1].assignees
    )
    for one in project.fields:
        base: JSON = {
            "_name": one.name,
            "id": f"{one.id}_{card.number}",
            "databaseId": card.number,
            "field": lambda one=one: field(asker, project, one),
            "item": lambda: item(asker, project, card),
        }
        value = card.values.get(one.id)
        if one.kind == "TITLE":
            text = card.title
            found.append(base | {"__typename": "ProjectV2ItemFieldTextValue", "text": text})
        elif one.kind == "ASSIGNEES" and logins:
            users = lambda **page: connection(logins, asker.person, **_page(page))  # noqa: E731
            found.append(base | {"__typename": "ProjectV2ItemFieldUserValue", "users": users})
        elif one.kind in ("LABELS", "REPOSITORY") and isinstance(card.content, tuple):
            of, issue = card.content
            if one.kind == "REPOSITORY":
                shown_as = {"repository": lambda of=of: repositories.shown(asker, of)}
                found.append(base | {"__typename": "ProjectV2ItemFieldRepositoryValue"} | shown_as)
            elif issue.labels:
                names = lambda of=of, issue=issue, **page: connection(  # noqa: E731
                    issue.labels, lambda it: issues.label(asker, of, it), **_page(page)
                )
                found.append(base | {"__typename": "ProjectV2ItemFieldLabelValue", "labels": names})
        elif value is not None:
            found.append(base | _own(one, value))
    return found


def _own(one: Field, value: Any) -> JSON:
    """Return a value that is the card's own."""
    if one.kind == "SINGLE_SELECT":
        choice = next(it for it in one.choices if it.id == value)
        return {
            "__typename": "ProjectV2ItemFieldSingleSelectValue",
            "optionId": choice.id,
            "name": choice.name,
            "nameHTML": choice.name,
            "color": choice.color,
            "description": choice.description,
        }
    kinds = {"TEXT": ("Text", "text"), "NUMBER": ("Number", "number"), "DATE": ("Date", "date")}
    name, key = kinds[one.kind]
    return {"__typename": f"ProjectV2ItemField{name}Value", key: value}


def _page(asked: Mapping[str, Any]) -> JSON:
    return {key: asked[key] for key in ("first", "last", "after", "before") if key in asked}
