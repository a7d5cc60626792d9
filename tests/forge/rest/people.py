"""Who somebody is and what they may."""

from __future__ import annotations

from tests.forge import wire
from tests.forge.rest.routes import NOT_ACCESSIBLE, NOT_FOUND, Answer, Call, route
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
    shown = {"enabled": call.repo.actions_enabled, "sha_pinning_required": False}
    return Answer(shown | {"allowed_actions": call.repo.allowed_actions})


@route(
    "GET /repos/{owner}/{repo}/actions/permissions/selected-actions",
    "administration: read",
    "admin",
)
def _(call: Call) -> Answer:
    if call.repo.allowed_actions != "selected":
        raise Refused(409, "The repository does not select actions")
    none = {"github_owned_allowed": False, "verified_allowed": False, "patterns_allowed": []}
    return Answer(none | call.repo.chosen_actions)


@route("GET /repos/{owner}/{repo}/actions/secrets", "secrets: read", "write")
def _(call: Call) -> Answer:
    now = wire.at(call.hub.now())
    shown = [{"name": one, "created_at": now, "updated_at": now} for one in call.repo.secrets]
    return Answer(shown, listed="secrets")


@route("GET /repos/{owner}/{repo}/actions/organization-secrets", "secrets: read", "write")
def _(call: Call) -> Answer:
    return Answer([], listed="secrets")


@route("GET /repos/{owner}/{repo}/actions/variables", "variables: read", "write")
def _(call: Call) -> Answer:
    now, known = wire.at(call.hub.now()), call.repo.variables
    shown = [
        {"name": one, "value": known[one], "created_at": now, "updated_at": now} for one in known
    ]
    return Answer(shown, listed="variables")


@route("GET /repos/{owner}/{repo}/actions/organization-variables", "variables: read", "write")
def _(call: Call) -> Answer:
    return Answer([], listed="variables")


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


@route("GET /orgs/{org}/teams/{team_slug}/memberships/{username}", "")
def _(call: Call) -> Answer:
    if call.who.kind == "default":
        raise Refused(403, NOT_ACCESSIBLE)
    org, slug, login = (call.params[one] for one in ("org", "team_slug", "username"))
    state = call.hub.teams.get(f"{org}/{slug}", {}).get(login)
    if state is None:
        raise Refused(404, NOT_FOUND)
    url = f"{call.hub.api}/orgs/{org}/teams/{slug}/memberships/{login}"
    return Answer({"url": url, "role": "member", "state": state})


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
