"""What expressions may read: the contexts of a run, of a job, and of the steps of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.forge.expressions import text
from tests.forge.runs import Job, Node, Run

if TYPE_CHECKING:
    from tests.forge.hub import Hub


def github(hub: Hub, run: Run, job: Job | None = None) -> dict[str, Any]:
    """Return the `github` context of a run, or of a job in it."""
    event, repository = run.event, run.repository
    pull = event.payload.get("pull_request") if event.name == "pull_request" else None
    kind = "tag" if event.ref.startswith("refs/tags/") else "branch"
    payload = dict(event.payload)
    if event.name == "workflow_dispatch":
        payload["inputs"] = {name: text(value) for name, value in run.inputs.items()}
    return {
        "event_name": event.name,
        "event": payload,
        "ref": event.ref,
        "ref_name": run.event.ref.removeprefix("refs/").partition("/")[2],
        "ref_type": kind,
        "ref_protected": event.ref.removeprefix("refs/heads/") in repository.protected,
        "sha": event.sha,
        "head_ref": pull["head"]["ref"] if pull else "",
        "base_ref": pull["base"]["ref"] if pull else "",
        "repository": repository.name,
        "repository_id": str(repository.id),
        "repository_owner": repository.owner,
        "actor": event.actor,
        "triggering_actor": event.actor,
        "workflow": run.file.name,
        "workflow_ref": f"{repository.name}/{run.file.path}@{event.ref}",
        "workflow_sha": run.file.sha,
        "run_id": str(run.id),
        "run_number": str(run.number),
        "run_attempt": str(run.attempt),
        "server_url": hub.base,
        "api_url": hub.api,
        "graphql_url": hub.graphql,
        "job": job.node.id if job else "",
        "token": job.token.text if job and job.token else "",
    }


def of_job(hub: Hub, job: Job) -> dict[str, Any]:
    """Return all that the steps of a job may read, but what they themselves make."""
    run, within = job.run, job.node.within
    environment = run.repository.environments.get(job.environment)
    secrets = dict(within.secrets)
    if environment:
        secrets |= environment.secrets
    assert job.token is not None
    where = {
        "workflow_repository": within.file.repository,
        "workflow_file_path": within.file.path,
        "workflow_sha": within.file.sha,
        "workflow_ref": f"{within.file.repository}/{within.file.path}@{within.file.sha}",
    }
    return of_node(hub, run, job.node) | {
        "github": github(hub, run, job),
        "matrix": job.matrix,
        "strategy": {
            "job-index": job.index,
            "job-total": job.total,
            "fail-fast": (job.node.definition.get("strategy") or {}).get("fail-fast", True),
        },
        "secrets": secrets | {"GITHUB_TOKEN": job.token.text},
        "job": {"status": "success", "check_run_id": job.id} | (where if hub.tells_where else {}),
    }


def of_run(hub: Hub, run: Run) -> dict[str, Any]:
    """Return what may be read before there is any job."""
    return {
        "github": github(hub, run),
        "inputs": run.inputs,
        "vars": dict(run.repository.variables),
    }


def of_node(hub: Hub, run: Run, node: Node) -> dict[str, Any]:
    """Return what the keys of a job may read, but not its steps."""
    needs = {one.id: {"result": one.result, "outputs": one.outputs} for one in node.needs}
    return of_run(hub, run) | {"inputs": node.within.inputs, "needs": needs}
