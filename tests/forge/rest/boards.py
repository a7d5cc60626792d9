"""The little of projects that REST alone can do: their views."""

from __future__ import annotations

from tests.forge import wire
from tests.forge.boards import Project, opaque
from tests.forge.rest.routes import NOT_ACCESSIBLE, NOT_FOUND, Answer, Call, route
from tests.forge.state import Refused


@route("POST /orgs/{org}/projectsV2/{project_number}/views", "")
def _(call: Call) -> Answer:
    return _view(call, call.params["org"], f"orgs/{call.params['org']}")


@route("POST /users/{user_id}/projectsV2/{project_number}/views", "")
def _(call: Call) -> Answer:
    for project in call.hub.projects:
        about = wire.user(call.hub, project.owner)
        if call.params["user_id"] in (str(about["id"]), project.owner):
            return _view(call, project.owner, f"users/{project.owner}")
    raise Refused(404, NOT_FOUND)


def _view(call: Call, owner: str, where: str) -> Answer:
    from tests.forge.graph.shapes import Asker

    level = Asker(call.hub, call.who).level
    scopes = call.who.scopes
    for project in call.hub.projects:
        if (project.owner, str(project.number)) != (owner, call.params["project_number"]):
            continue
        if level(project) == "none" or (scopes is not None and "project" not in scopes):
            break
        if level(project) != "write":
            raise Refused(403, NOT_ACCESSIBLE)
        return Answer(_made(call, project, where), 201)
    raise Refused(404, NOT_FOUND)


def _made(call: Call, project: Project, where: str) -> wire.JSON:
    now, body, number = wire.at(call.hub.now()), call.body, len(project.views) + 1
    id = call.hub.next_id()
    made = {
        "id": id,
        "number": number,
        "name": str(body["name"]),
        "layout": body["layout"],
        "node_id": opaque("PVTV", id),
        "project_url": f"{call.hub.api}/{where}/projectsV2/{project.number}",
        "html_url": f"{call.hub.base}/{where}/projects/{project.number}/views/{number}",
        "creator": wire.user(call.hub, call.login),
        "created_at": now,
        "updated_at": now,
        "filter": body.get("filter"),
        "visible_fields": list(body.get("visible_fields") or ()),
        "sort_by": list(body.get("sort_by") or ()),
        "group_by": list(body.get("group_by") or ()),
        "vertical_group_by": list(body.get("vertical_group_by") or ()),
    }
    project.views.append(made)
    return made
