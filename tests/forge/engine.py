"""Which jobs an event leads to, in which order, and with which rights.

Start with Engine. It decides what may be started and what a finished job means for the others;
`actions` executes. Expressions, conditions and the verdict on a file are GitHub's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.forge import contexts, expressions, triggers
from tests.forge.concurrency import Groups
from tests.forge.expressions import Broken, evaluate, holds, text
from tests.forge.inputs import inputs as given_inputs
from tests.forge.inputs import matrices
from tests.forge.runs import Job, Node, Run, Within, ancestors, every, is_soft, nodes
from tests.forge.state import LEVELS, SCOPES, Refused, Repository, at_least, stated
from tests.forge.triggers import Event, File

if TYPE_CHECKING:
    from tests.forge.hub import Hub

MOST_JOBS = 256
MOST_LEVELS = 10


class Engine:
    """The runs of all repositories of a hub; to be used under the hub's lock."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._groups = Groups()
        self.folders: dict[str, Path] = {}
        """Where the files of a repository are that is not on the hub, by its name."""

    # What starts a run

    def start(self, repository: Repository, event: Event) -> list[Run]:
        """Create the runs that an event leads to, as far as they may start at once."""
        if event.name in repository.forbidden_events:
            return []
        if event.by_default_token and event.name not in (
            "workflow_dispatch",
            "repository_dispatch",
        ):
            action = event.payload.get("action")
            if event.name != "pull_request" or action not in triggers.DEFAULT_TYPES[event.name]:
                return []
        return [self.create(repository, file, event) for file in triggers.found(repository, event)]

    def create(
        self, repository: Repository, file: File, event: Event, id: int | None = None
    ) -> Run:
        """Create a run of a file; one that cannot start is over and says why."""
        now = self._hub.now()
        run = Run(
            id=self._hub.next_id() if id is None else id,
            number=1 + sum(one.file.path == file.path for one in repository.runs.values()),
            repository=repository,
            file=file,
            event=event,
            name=file.name,
            created=now,
            updated=now,
            workflow_id=self._hub.workflow_id(repository, file.path),
        )
        repository.runs[run.id] = run
        if event.by_default_token and event.name == "pull_request":
            self._over(run, "action_required")
            return run
        self._begin(run)
        return run

    def _begin(self, run: Run) -> None:
        try:
            run.top = self._top(run)
            self._check(run, run.top, 1)
            context = contexts.of_run(self._hub, run)
            if said := run.top.value.get("run-name"):
                run.name = text(evaluate(said, context)) or run.name
            elif run.event.name == "push":
                run.name = run.repository.git.log(run.event.sha, "%s", "-1")
            if "concurrency" in run.top.value:
                self._enter(run, run.top.value["concurrency"], context)
        except Broken as error:
            run.error = str(error)
            self._over(run, "startup_failure")
            return
        if run.status == "queued":
            self.advance(run)

    def _top(self, run: Run) -> Within:
        value = run.file.value
        said = expressions.complaints(run.file.path, run.file.content, self._others(run.file))
        if said:
            raise Broken("; ".join(said))
        about = triggers.triggers(value).get(run.event.name)
        declared = about.get("inputs") if isinstance(about, Mapping) else None
        run.inputs = given_inputs(declared or {}, run.event.inputs)
        given = stated(value.get("permissions"))
        if given is None:
            all_of_them = run.repository.default_permissions == "write"
            given = dict.fromkeys(SCOPES, "write") if all_of_them else {"contents": "read"}
        top = Within(run.file, value, run.inputs, dict(run.repository.secrets), given)
        top.nodes = nodes(top)
        return top

    # Who may call what

    def _check(self, run: Run, within: Within, level: int) -> None:
        """Refuse before anything starts what GitHub refuses then: levels, files, rights."""
        if level > MOST_LEVELS:
            raise Broken(f"{within.file.path}: more than {MOST_LEVELS} levels of workflows")
        for node in within.nodes.values():
            for needed in _names(node.definition.get("needs")):
                if needed not in within.nodes:
                    raise Broken(f"Job '{node.id}' depends on unknown job '{needed}'.")
            granted = self._granted(node, check=True)
            if "uses" in node.definition:
                file = self.resolve(str(node.definition["uses"]), within.file)
                value = file.value
                if "workflow_call" not in triggers.triggers(value):
                    raise Broken(f"{file.path} has no workflow_call trigger")
                called = Within(file, value, {}, {}, granted, node)
                called.nodes = nodes(called)
                self._check(run, called, level + 1)

    def _granted(self, node: Node, check: bool = False) -> dict[str, str]:
        within = node.within
        said = stated(node.definition.get("permissions"))
        if said is None and within.caller is not None:
            said = stated(within.value.get("permissions"))
        if said is None:
            return dict(within.cap)
        if within.caller is None:
            return said
        for scope, level in said.items():
            if check and not at_least(within.cap, scope, level):
                allowed = within.cap.get(scope, "none")
                raise Broken(
                    f"Error calling workflow '{within.file.path}'. The nested job '{node.id}' is"
                    f" requesting '{scope}: {level}', but is only allowed '{scope}: {allowed}'."
                )
        return {
            scope: min(level, within.cap.get(scope, "none"), key=_rank)
            for scope, level in said.items()
        }

    def resolve(self, uses: str, caller: File) -> File:
        """Return the workflow file that a `uses:` names; raise Broken where there is none."""
        path, _, ref = uses.partition("@")
        if path.startswith("./"):
            name, path, ref = caller.repository, path[2:], caller.sha
        else:
            owner, repo, path = path.split("/", 2)
            name = f"{owner}/{repo}"
        if (folder := self.folders.get(name)) is not None:
            file = folder / path
            content = file.read_text() if file.is_file() else None
            sha = ref
        else:
            repository = self._hub.repositories.get(name)
            sha = (repository and repository.sha(ref)) or ""
            content = repository.text(sha, path) if repository and sha else None
        if content is None:
            raise Broken(f"error parsing called workflow: {uses} : workflow was not found.")
        return File(name, path, sha, content)

    def _others(self, file: File) -> dict[str, str]:
        """Return the texts of all files that a file calls, directly or not."""
        found: dict[str, str] = {}

        def look(one: File, depth: int) -> None:
            for definition in (one.value.get("jobs") or {}).values():
                uses = definition.get("uses") if isinstance(definition, Mapping) else None
                if not uses or depth > MOST_LEVELS:
                    continue
                called = self.resolve(str(uses), one)
                # Within a file of another repository its neighbours are called by their path too.
                if str(uses).startswith("./"):
                    found.setdefault(called.path, called.content)
                found[f"{called.repository}/{called.path}"] = called.content
                look(called, depth + 1)

        look(file, 1)
        return found

    # What runs next

    def advance(self, run: Run) -> None:
        """Start what nothing stands in the way of any more, and end the run when nothing is left."""
        if run.top is None or run.status == "completed":
            return
        while self._advance(run, run.top):
            pass
        if run.top.is_done:
            self._end(run)

    def _advance(self, run: Run, within: Within) -> bool:
        moved = False
        for node in within.nodes.values():
            if node.state == "waiting" and all(one.state == "done" for one in node.needs):
                self._open(run, node)
                moved = True
            if node.state == "active":
                for call in node.calls:
                    moved |= self._advance(run, call)
                moved |= self._close(node)
        return moved

    def _open(self, run: Run, node: Node) -> None:
        context = contexts.of_node(self._hub, run, node)
        status = self._standing(run, node)
        try:
            if not holds(node.definition.get("if"), context, status):
                self._finish(node, "cancelled" if run.is_cancelling else "skipped")
                return
            node.matrices = self._matrices(node, context)
            if "concurrency" in node.definition:
                context |= {"strategy": {}, "matrix": node.matrices[0]}
                self._enter(node, node.definition["concurrency"], context, run)
        except Broken as error:
            self._break(run, node, error)
        if node.state == "waiting":
            self._expand(run, node)

    def _expand(self, run: Run, node: Node) -> None:
        node.state = "active"
        if not node.matrices:
            self._finish(node, "skipped")
            return
        try:
            self._fill(run, node)
        except Broken as error:
            self._break(run, node, error)

    def _break(self, run: Run, node: Node, error: Broken) -> None:
        run.error = f"{node.within.file.path}, job {node.id}: {error}"
        self._finish(node, "failure")

    def _fill(self, run: Run, node: Node) -> None:
        for index, matrix in enumerate(node.matrices):
            context = contexts.of_node(self._hub, run, node) | {
                "matrix": matrix,
                "strategy": {"job-index": index, "job-total": len(node.matrices)},
            }
            name = _name(node, matrix, context)
            if "uses" in node.definition:
                node.calls.append(self._call(run, node, name, context))
            else:
                node.jobs.append(self._job(run, node, name, matrix, index, context))

    def _call(self, run: Run, node: Node, name: str, context: dict[str, Any]) -> Within:
        file = self.resolve(str(node.definition["uses"]), node.within.file)
        value = file.value
        about = triggers.triggers(value)["workflow_call"] or {}
        given = evaluate(node.definition.get("with") or {}, context)
        secrets = node.definition.get("secrets") or {}
        if secrets == "inherit":
            secrets = dict(node.within.secrets)
        else:
            context = context | {"secrets": node.within.secrets}
            secrets = {key: text(one) for key, one in evaluate(secrets, context).items()}
        call = Within(
            file,
            value,
            given_inputs(about.get("inputs") or {}, given),
            secrets,
            self._granted(node),
            node,
            f"{node.within.prefix}{name} / ",
        )
        call.nodes = nodes(call)
        self._hub.count(node)
        return call

    def _job(
        self,
        run: Run,
        node: Node,
        name: str,
        matrix: dict[str, Any],
        index: int,
        context: dict[str, Any],
    ) -> Job:
        if {"container", "services"} & set(node.definition):
            raise Broken("jobs in containers are not executed here")
        labels = evaluate(node.definition.get("runs-on"), context)
        if isinstance(labels, Mapping):
            labels = labels.get("labels")
        environment = evaluate(node.definition.get("environment"), context)
        if isinstance(environment, Mapping):
            environment = environment.get("name")
        job = Job(
            id=self._hub.next_id(),
            run=run,
            node=node,
            name=f"{node.within.prefix}{name}",
            matrix=matrix,
            index=index,
            total=len(node.matrices),
            permissions=self._granted(node),
            labels=[labels] if isinstance(labels, str) else list(labels or []),
            environment=text(environment),
            attempt=run.attempt,
            created=self._hub.now(),
        )
        about = run.repository.environments.get(job.environment)
        if about and about.only and not triggers.matches(list(about.only), run.branch):
            run.error = (
                f'Branch "{run.branch}" is not allowed to deploy to {job.environment} due to'
                " environment protection rules."
            )
            job.status, job.conclusion = "completed", "failure"
        elif about and about.reviewers:
            job.status = run.status = "waiting"
        run.jobs.append(job)
        run.repository.jobs[job.id] = job
        return job

    def _close(self, node: Node) -> bool:
        """Take over the result of a node whose jobs, or whose called files, are all done."""
        if node.state != "active":
            return False
        if any(job.status != "completed" for job in node.jobs):
            return False
        if any(not call.is_done for call in node.calls):
            return False
        results = {job.conclusion for job in node.jobs} | {call.result for call in node.calls}
        for job in node.jobs:
            node.outputs.update(
                {k: v for k, v in job.outputs.items() if v or k not in node.outputs}
            )
        for call in node.calls:
            node.outputs.update(self._call_outputs(call))
        worst = next((one for one in ("failure", "cancelled") if one in results), "success")
        if worst == "failure" and is_soft(node):
            worst = "success"
        self._finish(node, worst)
        return True

    def _call_outputs(self, call: Within) -> dict[str, str]:
        about = triggers.triggers(call.value)["workflow_call"] or {}
        jobs = {
            node.id: {"result": node.result, "outputs": node.outputs}
            for node in call.nodes.values()
        }
        said = {name: one.get("value") for name, one in (about.get("outputs") or {}).items()}
        context = {"jobs": jobs, "inputs": call.inputs, "github": {}, "vars": {}}
        return {name: text(one) for name, one in evaluate(said, context).items()}

    def _finish(self, node: Node, result: str) -> None:
        node.state, node.result = "done", result
        if node.group:
            group, node.group = node.group, ""
            self._groups.leave(group, node)

    def _end(self, run: Run) -> None:
        assert run.top is not None
        result = run.top.result
        if result == "success" and all(n.result == "skipped" for n in run.top.nodes.values()):
            result = "skipped"
        if run.is_cancelling and result != "failure":
            result = "cancelled"
        self._over(run, result)
        self._hub.run_completed(run)

    def _over(self, run: Run, conclusion: str) -> None:
        run.status, run.conclusion, run.updated = "completed", conclusion, self._hub.now()
        if run.group:
            group, run.group = run.group, ""
            self._groups.leave(group, run)
        self._hub.runs_ended.append(run)

    def _standing(self, run: Run, node: Node) -> str:
        """Return what the functions of status in a job's `if:` are about."""
        if run.is_cancelling:
            return "cancelled"
        earlier = list(ancestors(node))
        if any(one.result == "failure" for one in earlier):
            return "failure"
        if any(one.result == "cancelled" for one in earlier):
            return "cancelled"
        return "success" if all(one.result == "success" for one in node.needs) else "skipped"

    # Concurrency

    def _enter(
        self, holder: Run | Node, said: Any, context: Mapping[str, Any], run: Run | None = None
    ) -> None:
        """Ask for a group; where it is taken the holder waits, or one that waited is cancelled."""
        said = evaluate(said, context)
        said = {"group": said} if not isinstance(said, Mapping) else said
        cancels = text(said.get("cancel-in-progress", False)) == "true"
        queue = text(said.get("queue", "single"))
        if cancels and queue == "max":
            raise Broken("queue: max cannot be used with cancel-in-progress: true")
        repository = (run or holder).repository  # type: ignore[union-attr]  # a node comes with its run
        group = f"{repository.name} {text(said['group'])}".lower()
        if run is not None and group in _held_above(holder, run):  # type: ignore[arg-type]  # likewise
            raise Broken(
                "Canceling since a deadlock for concurrency group"
                f" '{text(said['group'])}' was detected between a workflow and one that it calls"
            )

        def wake() -> None:
            if isinstance(holder, Run):
                holder.status = "queued"
                self.advance(holder)
            elif run is not None:
                holder.state = "waiting"
                self._expand(run, holder)
                self.advance(run)

        def drop() -> None:
            if isinstance(holder, Run):
                if holder.status == "pending":
                    self._over(holder, "cancelled")
                else:
                    self.cancel(holder)
            elif run is not None:
                if holder.state in ("waiting", "held"):
                    self._finish(holder, "cancelled")
                else:
                    self._stop_jobs(holder)
                self.advance(run)

        holder.group = group
        if not self._groups.enter(group, holder, wake, drop, queue=queue, cancels=cancels):
            if isinstance(holder, Run):
                if holder.status == "queued":
                    holder.status = "pending"
            elif holder.state == "waiting":
                holder.state = "held"

    # What a runner says, and what people ask for

    def queued(self) -> list[Job]:
        """Return the jobs that a runner may take, in the order in which they were made."""
        return [
            job
            for repository in self._hub.repositories.values()
            for job in repository.jobs.values()
            if job.status == "queued"
        ]

    def begin(self, job: Job, runner: str) -> None:
        """Record that a runner took a job, and mint the job's token."""
        job.status, job.started, job.runner = "in_progress", self._hub.now(), runner
        job.run.status, job.run.updated = "in_progress", self._hub.now()
        job.token = self._hub.mint(job.run.repository, job.permissions, job=job.key)
        self._hub.count(job.node)

    def finished(self, job: Job, conclusion: str, outputs: Mapping[str, str]) -> None:
        """Record how a job ended, and start what waited for it."""
        job.status, job.conclusion, job.completed = "completed", conclusion, self._hub.now()
        job.outputs = dict(outputs)
        if job.token is not None:
            job.token.is_over = True
        strategy = job.node.definition.get("strategy") or {}
        if conclusion == "failure" and not is_soft(job.node) and strategy.get("fail-fast", True):
            self._stop_jobs(job.node)
        self.advance(job.run)

    def review(self, run: Run, login: str, state: str, comment: str = "") -> None:
        """Let the jobs of a run that wait for an environment begin, or fail them.

        Raises Refused where nothing waits for that person.
        """
        environments = run.repository.environments
        waiting = [
            job
            for job in run.jobs
            if job.status == "waiting" and login in environments[job.environment].reviewers
        ]
        if not waiting:
            raise Refused(422, f"There are no pending deployment requests for {login} to review")
        for name in dict.fromkeys(job.environment for job in waiting):
            run.reviewed.append((name, login, state, comment))
        for job in waiting:
            if state == "approved":
                job.status = "queued"
            else:
                job.status, job.conclusion, job.completed = "completed", "failure", self._hub.now()
        if not any(job.status == "waiting" for job in run.jobs):
            run.status = "queued"
        self.advance(run)

    def cancel(self, run: Run, force: bool = False) -> None:
        """Cancel a run: what waits is cancelled, what runs is told to stop."""
        if run.status == "completed":
            raise Refused(409, "Cannot cancel a workflow run that is completed.")
        run.is_cancelling = True
        if run.status == "pending":
            self._groups.forget(run.group, run)
            self._over(run, "cancelled")
            return
        for job in run.jobs:
            self._stop(job)
        for node in every(run.top) if run.top else ():
            if node.state == "held" or (force and node.state == "waiting"):
                self._finish(node, "cancelled")
        self.advance(run)

    def rerun(self, run: Run) -> None:
        """Do a run again: same number, same inputs, same commit, one attempt more."""
        if run.status != "completed":
            raise Refused(403, "This workflow is already running")
        run.attempt += 1
        run.status, run.conclusion, run.error = "queued", None, ""
        run.is_cancelling, run.jobs, run.updated = False, [], self._hub.now()
        self._begin(run)

    def _stop_jobs(self, node: Node) -> None:
        for job in node.jobs:
            self._stop(job)
        for call in node.calls:
            for one in every(call):
                self._stop_jobs(one)

    def _stop(self, job: Job) -> None:
        if job.status in ("queued", "waiting"):
            job.status, job.conclusion, job.completed = "completed", "cancelled", self._hub.now()
        elif job.status == "in_progress":
            job.stop.set()

    def _matrices(self, node: Node, context: Mapping[str, Any]) -> list[dict[str, Any]]:
        strategy = node.definition.get("strategy") or {}
        if "matrix" not in strategy:
            return [{}]
        found = matrices(evaluate(strategy["matrix"], context))
        if len(found) > MOST_JOBS:
            raise Broken(f"a matrix of {len(found)} jobs, where {MOST_JOBS} is the most")
        return found


def _name(node: Node, matrix: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    if "name" in node.definition:
        return text(evaluate(node.definition["name"], context))
    return f"{node.id} ({', '.join(map(text, matrix.values()))})" if matrix else node.id


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _rank(level: str) -> int:
    return [str(one) for one in LEVELS].index(level)


def _held_above(node: Node, run: Run) -> set[str]:
    held = {run.group} - {""}
    caller = node.within.caller
    while caller is not None:
        held |= {caller.group} - {""}
        caller = caller.within.caller
    return held
