"""Workflows, their runs, jobs and artifacts."""

from __future__ import annotations

from typing import Any

from tests.forge import triggers, wire
from tests.forge.rest.routes import NOT_FOUND, Answer, Call, route
from tests.forge.runs import Run
from tests.forge.state import (
    Refused,
)
from tests.forge.triggers import File


@route("GET /repos/{owner}/{repo}/actions/workflows", "actions: read")
def _(call: Call) -> Answer:
    shown = [_workflow_shown(call, file) for file in _workflow_files(call)]
    return Answer(shown, listed="workflows")


@route("GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}", "actions: read")
def _(call: Call) -> Answer:
    return Answer(_workflow_shown(call, _workflow(call)))


@route("POST /repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches", "actions: write")
def _(call: Call) -> Answer:
    file = _workflow(call)
    inputs = call.body.get("inputs") or {}
    if any(not isinstance(value, str) for value in inputs.values()):
        raise Refused(422, "Invalid value for input: all values are strings")
    if "workflow_dispatch" in call.repo.forbidden_events:
        raise Refused(403, "Event 'workflow_dispatch' is not allowed by an Actions policy.")
    runs = call.hub.dispatch(call.repo, call.who, file.path, str(call.body["ref"]), inputs)
    if not call.body.get("return_run_details"):
        return Answer(status=204)
    # One that got lost on its way had an id all the same.
    id = runs[0].id if runs else call.hub.next_id()
    page = f"repos/{call.repo.name}/actions/runs/{id}"
    return Answer(
        {
            "workflow_run_id": id,
            "run_url": f"{call.hub.api}/{page}",
            "html_url": f"{call.hub.base}/{call.repo.name}/actions/runs/{id}",
        }
    )


@route("GET /repos/{owner}/{repo}/actions/runs", "actions: read")
def _(call: Call) -> Answer:
    return _runs(call, list(call.repo.runs.values()))


@route("GET /repos/{owner}/{repo}/actions/workflows/{workflow_id}/runs", "actions: read")
def _(call: Call) -> Answer:
    path = _workflow(call).path
    return _runs(call, [run for run in call.repo.runs.values() if run.file.path == path])


def _runs(call: Call, runs: list[Run]) -> Answer:
    query = call.query
    since, _, until = query.get("created", "").removeprefix(">=").partition("..")
    found = [
        run
        for run in sorted(runs, key=lambda one: one.id, reverse=True)
        if query.get("event", run.event.name) == run.event.name
        and query.get("branch", run.branch) == run.branch
        and query.get("actor", run.event.actor) == run.event.actor
        and query.get("head_sha", run.shown_sha) == run.shown_sha
        and query.get("status") in (None, run.status, run.conclusion)
        and since <= (wire.at(run.created) or "") <= (until or "9")
    ]
    return Answer([wire.run(call.hub, run) for run in found], listed="workflow_runs")


@route("GET /repos/{owner}/{repo}/actions/runs/{run_id}", "actions: read")
def _(call: Call) -> Answer:
    return Answer(wire.run(call.hub, _run(call)))


@route("POST /repos/{owner}/{repo}/actions/runs/{run_id}/cancel", "actions: write")
def _(call: Call) -> Answer:
    call.hub.engine.cancel(_run(call))
    return Answer({}, 202)


@route("POST /repos/{owner}/{repo}/actions/runs/{run_id}/force-cancel", "actions: write")
def _(call: Call) -> Answer:
    call.hub.engine.cancel(_run(call), force=True)
    return Answer({}, 202)


@route("POST /repos/{owner}/{repo}/actions/runs/{run_id}/rerun", "actions: write")
def _(call: Call) -> Answer:
    call.hub.engine.rerun(_run(call))
    return Answer({}, 201)


@route("POST /repos/{owner}/{repo}/actions/runs/{run_id}/approve", "actions: write")
def _(call: Call) -> Answer:
    run = _run(call)
    if run.conclusion != "action_required":
        raise Refused(403, "This run is not from a fork pull request")
    call.hub.engine.rerun(run)
    run.attempt = 1
    return Answer({}, 201)


@route("GET /repos/{owner}/{repo}/actions/runs/{run_id}/approvals", "actions: read")
def _(call: Call) -> Answer:
    shown = [
        {
            "state": state,
            "comment": comment,
            "user": wire.user(call.hub, login),
            "environments": [_environment_shown(call, name)],
        }
        for name, login, state, comment in _run(call).reviewed
    ]
    return Answer(shown)


@route("GET /repos/{owner}/{repo}/environments/{environment_name}", "actions: read")
def _(call: Call) -> Answer:
    name = call.params["environment_name"]
    about = call.repo.environments.get(name)
    if about is None:
        raise Refused(404, NOT_FOUND)
    people = [{"type": "User", "reviewer": wire.user(call.hub, login)} for login in about.reviewers]
    rules = [
        {
            "id": 1,
            "node_id": wire.node_id("GateRule", 1),
            "type": "required_reviewers",
            "reviewers": people,
        }
    ]
    return Answer(_environment_shown(call, name) | {"protection_rules": rules if people else []})


def _environment_shown(call: Call, name: str) -> wire.JSON:
    id, now = 1 + list(call.repo.environments).index(name), wire.at(call.hub.now())
    return {
        "id": id,
        "node_id": wire.node_id("Environment", id),
        "name": name,
        "url": f"{call.hub.api}/repos/{call.repo.name}/environments/{name}",
        "html_url": f"{call.hub.base}/{call.repo.name}/deployments/activity_log?environment={name}",
        "created_at": now,
        "updated_at": now,
    }


@route("GET /repos/{owner}/{repo}/actions/runs/{run_id}/jobs", "actions: read")
def _(call: Call) -> Answer:
    run = _run(call)
    jobs = [
        job
        for job in call.repo.jobs.values()
        if job.run is run and (call.query.get("filter") == "all" or job.attempt == run.attempt)
    ]
    return Answer([wire.job(call.hub, job) for job in jobs], listed="jobs")


@route("GET /repos/{owner}/{repo}/actions/jobs/{job_id}", "actions: read")
def _(call: Call) -> Answer:
    job = call.repo.jobs.get(int(call.params["job_id"]))
    if job is None:
        raise Refused(404, NOT_FOUND)
    return Answer(wire.job(call.hub, job))


@route("GET /repos/{owner}/{repo}/actions/runs/{run_id}/artifacts", "actions: read")
def _(call: Call) -> Answer:
    id = _run(call).id
    return _artifacts(call, [one for one in call.repo.artifacts.values() if one.run == id])


@route("GET /repos/{owner}/{repo}/actions/artifacts", "actions: read")
def _(call: Call) -> Answer:
    return _artifacts(call, list(call.repo.artifacts.values()))


def _artifacts(call: Call, found: list[Any]) -> Answer:
    name = call.query.get("name")
    shown = [wire.artifact(call.hub, call.repo, one) for one in found if name in (None, one.name)]
    return Answer(shown, listed="artifacts")


@route("GET /repos/{owner}/{repo}/actions/artifacts/{artifact_id}", "actions: read")
def _(call: Call) -> Answer:
    one = call.repo.artifacts.get(int(call.params["artifact_id"]))
    if one is None:
        raise Refused(404, NOT_FOUND)
    return Answer(wire.artifact(call.hub, call.repo, one))


@route(
    "GET /repos/{owner}/{repo}/actions/artifacts/{artifact_id}/{archive_format}", "actions: read"
)
def _(call: Call) -> Answer:
    one = call.repo.artifacts.get(int(call.params["artifact_id"]))
    if one is None:
        raise Refused(404, NOT_FOUND)
    return Answer(status=302, headers={"Location": f"{call.hub.base}/_blobs/{one.id}"})


def _run(call: Call) -> Run:
    run = call.repo.runs.get(int(call.params["run_id"]))
    if run is None:
        raise Refused(404, NOT_FOUND)
    return run


def _workflow_files(call: Call) -> list[File]:
    return list(triggers.files(call.repo, f"refs/heads/{call.repo.default_branch}"))


def _workflow(call: Call) -> File:
    wanted = call.params["workflow_id"]
    for file in _workflow_files(call):
        names = (str(call.hub.workflow_id(call.repo, file.path)), file.path.rpartition("/")[2])
        if wanted in (*names, file.path):
            return file
    raise Refused(404, NOT_FOUND)


def _workflow_shown(call: Call, file: File) -> wire.JSON:
    id = call.hub.workflow_id(call.repo, file.path)
    shown = wire.workflow(call.hub, call.repo, file.path, id, file.name)
    now = wire.at(call.hub.now())
    return shown | {"created_at": now, "updated_at": now}
