"""Check runs and commit statuses."""

from __future__ import annotations

from tests.forge import wire
from tests.forge.rest.routes import MOST_TEXT, NOT_FOUND, Answer, Call, route
from tests.forge.state import (
    Check,
    Refused,
)


@route("POST /repos/{owner}/{repo}/check-runs", "checks: write")
def _(call: Call) -> Answer:
    if call.who.kind == "person":
        raise Refused(403, "You must authenticate via a GitHub App.")
    if call.repo.sha(str(call.body["head_sha"])) is None:
        raise Refused(422, f"No commit found for SHA: {call.body['head_sha']}")
    check = Check(
        call.hub.next_id(), str(call.body["name"]), str(call.body["head_sha"]), _app(call)
    )
    call.repo.checks[check.id] = check
    _edit_check(call, check)
    return Answer(wire.check(call.hub, call.repo, check), 201)


@route("PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}", "checks: write")
def _(call: Call) -> Answer:
    check = _check(call)
    if check.app != _app(call):
        raise Refused(
            403,
            f"Invalid app_id `1` - check run can only be modified by the GitHub App that created it: {check.app}.",
        )
    _edit_check(call, check)
    return Answer(wire.check(call.hub, call.repo, check))


@route("GET /repos/{owner}/{repo}/check-runs/{check_run_id}", "checks: read")
def _(call: Call) -> Answer:
    return Answer(wire.check(call.hub, call.repo, _check(call)))


@route("GET /repos/{owner}/{repo}/check-runs/{check_run_id}/annotations", "checks: read")
def _(call: Call) -> Answer:
    return Answer(list(_check(call).annotations), listed="")


@route("GET /repos/{owner}/{repo}/commits/{ref}/check-runs", "checks: read")
def _(call: Call) -> Answer:
    sha = call.repo.sha(call.params["ref"])
    name = call.query.get("check_name")
    found = [
        wire.check(call.hub, call.repo, one)
        for one in call.repo.checks.values()
        if one.sha == sha and name in (None, one.name)
    ]
    return Answer(found, listed="check_runs")


def _app(call: Call) -> str:
    return "github-actions" if call.who.kind == "default" else call.login.removesuffix("[bot]")


def _edit_check(call: Call, check: Check) -> None:
    body = call.body
    check.name = str(body.get("name", check.name))
    check.status = str(body.get("status", check.status))
    check.details_url = body.get("details_url", check.details_url)
    check.external_id = str(body.get("external_id", check.external_id))
    if "conclusion" in body:
        check.status, check.conclusion = "completed", str(body["conclusion"])
    if check.status == "completed":
        if check.conclusion is None:
            raise Refused(422, "Invalid request.\n\nMissing required key: conclusion")
        check.completed = call.hub.now()
    else:
        check.conclusion = check.completed = None
        check.started = check.started or call.hub.now()
    output = body.get("output")
    if output is None:
        return
    for key in ("summary", "text"):
        if len(str(output.get(key) or "")) > MOST_TEXT - 1:
            raise Refused(422, f"Invalid request.\n\nOnly 65535 characters are allowed; {key}")
    if len(output.get("annotations") or ()) > 50:
        raise Refused(422, "Invalid request.\n\nNo more than 50 items are allowed; annotations")
    check.output = {key: one for key, one in output.items() if key != "annotations"}
    blob = f"{call.hub.base}/{call.repo.name}/blob/{check.sha}"
    check.annotations += [
        {
            "start_column": None,
            "end_column": None,
            "title": None,
            "raw_details": None,
            "blob_href": f"{blob}/{one['path']}",
            **one,
        }
        for one in output.get("annotations") or ()
    ]


def _check(call: Call) -> Check:
    check = call.repo.checks.get(int(call.params["check_run_id"]))
    if check is None:
        raise Refused(404, NOT_FOUND)
    return check


@route("POST /repos/{owner}/{repo}/statuses/{sha}", "statuses: write")
def _(call: Call) -> Answer:
    id = call.hub.next_id()
    shown = {
        "id": id,
        "node_id": wire.node_id("Status", id),
        "state": str(call.body["state"]),
        "context": str(call.body.get("context", "default")),
        "description": call.body.get("description"),
        "target_url": call.body.get("target_url"),
        "created_at": wire.at(call.hub.now()),
        "updated_at": wire.at(call.hub.now()),
        "creator": wire.user(call.hub, call.login),
        "url": f"{call.hub.api}/repos/{call.repo.name}/statuses/{call.params['sha']}",
    }
    call.repo.statuses.append(shown | {"_sha": call.params["sha"]})
    return Answer(shown, 201)
