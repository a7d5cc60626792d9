"""Who somebody is and what they may."""

from __future__ import annotations

from tests.forge import wire
from tests.forge.rest.routes import NOT_ACCESSIBLE, Answer, Call, route
from tests.forge.state import (
    Refused,
)


@route("GET /repos/{owner}/{repo}/collaborators/{username}/permission", "metadata: read")
def _(call: Call) -> Answer:
    login = call.params["username"]
    role = call.repo.role(login)
    old = {"maintain": "write", "triage": "read"}.get(role, role)
    return Answer({"permission": old, "role_name": role, "user": wire.user(call.hub, login)})


@route("GET /repos/{owner}/{repo}/actions/permissions", "administration: read", "admin")
def _(call: Call) -> Answer:
    return Answer({"enabled": True, "allowed_actions": "all", "sha_pinning_required": False})


@route("GET /repos/{owner}/{repo}/actions/permissions/workflow", "administration: read", "admin")
def _(call: Call) -> Answer:
    return Answer(
        {
            "default_workflow_permissions": call.repo.default_permissions,
            "can_approve_pull_request_reviews": call.repo.allow_pull_requests,
        }
    )


@route("GET /user", "")
def _(call: Call) -> Answer:
    if call.who.kind != "person":
        raise Refused(403, NOT_ACCESSIBLE)
    return Answer(wire.user(call.hub, call.login) | {"user_view_type": "public"})


@route("GET /users/{username}", "")
def _(call: Call) -> Answer:
    return Answer(wire.user(call.hub, call.params["username"]) | {"user_view_type": "public"})


@route("GET /rate_limit", "")
def _(call: Call) -> Answer:
    from tests.forge.server import allowance

    most, used, reset = allowance(call.hub, call.by)
    core = {"limit": most, "used": used, "remaining": most - used, "reset": reset}
    return Answer(
        {
            "resources": {"core": core, "graphql": core, "search": core},
            "rate": core,
        }
    )
