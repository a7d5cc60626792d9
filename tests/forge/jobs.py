"""One job on one runner: its steps, as the hosted runner does them.

Start with execute. Steps are real processes in a folder of their own; actions are composite ones, or
stand-ins of ours for a few that GitHub wrote.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.forge import contexts
from tests.forge.expressions import Broken, evaluate, holds, load, text
from tests.forge.runs import Job, Step

if TYPE_CHECKING:
    from tests.forge.actions import Actions

# What a shell is when a step names it; without a name it is `bash -e`.
SHELLS: Mapping[str, tuple[str, ...]] = {
    "": ("bash", "-e", "{0}"),
    "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"),
    "sh": ("sh", "-e", "{0}"),
    "python": ("python", "{0}"),
}
FILES = ("OUTPUT", "ENV", "PATH", "STATE", "STEP_SUMMARY")
MOST_SUMMARY = 1 << 20
PASSED_ON = ("COVERAGE_", "TMPDIR", "LANG", "LC_ALL", "GIT_CONFIG_NOSYSTEM", "TZ")
"""What a runner has of the environment of the tests: nothing that means anything to a workflow."""
COMMAND = re.compile(r"^::([a-z-]+)(?: ([^:]*(?:::?[^:]+)*?))?::(.*)$")

Word = Literal["go", "cancel", "die"]


class StepFailed(Exception):
    """A step that did not succeed, with what it says about it."""


class RunnerDied(Exception):
    """The runner is gone in the middle of its job."""


@dataclass(frozen=True)
class At:
    """A moment in a run: before a step of a job."""

    job: Job
    number: int
    """Which step, from 1."""
    name: str


@dataclass
class Shop:
    """What the steps of a job, or of a composite action, share."""

    actions: Actions
    job: Job
    workspace: Path
    temp: Path
    context: dict[str, Any]
    """All contexts but `env` and `steps`."""
    env: dict[str, str]
    path: list[str] = field(default_factory=list)
    steps: dict[str, Any] = field(default_factory=dict)
    status: str = "success"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    deadline: float = float("inf")
    folder: Path | None = None
    """Where the composite action is whose steps these are."""

    @property
    def is_stopped(self) -> bool:
        """Return whether the job is to end: cancelled, or too slow."""
        return self.job.stop.is_set() or time.monotonic() > self.deadline

    def reading(self, **more: Any) -> dict[str, Any]:
        """Return the contexts as an expression in a step reads them."""
        job = self.context["job"] | {"status": self.status}
        return self.context | {"job": job, "env": self.env, "steps": self.steps} | more


@dataclass(frozen=True)
class Uses:
    """A step that uses an action, as a stand-in sees it."""

    shop: Shop
    inputs: Mapping[str, str]
    env: Mapping[str, str]


StandIn = Callable[[Uses], Mapping[str, str]]


def execute(actions: Actions, job: Job) -> tuple[str, dict[str, str]]:
    """Do the steps of a job; return its conclusion and its outputs."""
    folder = actions.work / f"{job.id}"
    workspace, temp = folder / "work", folder / "temp"
    workspace.mkdir(parents=True)
    temp.mkdir()
    try:
        with actions.hub.lock:
            context = contexts.of_job(actions.hub, job)
        return _do(actions, job, workspace, temp, context)
    except Broken as error:
        job.log += f"error: {error}\n"
        return "failure", {}
    except RunnerDied:
        job.log += "The runner has received a shutdown signal.\n"
        return "failure", {}
    finally:
        _kill_orphans(job)
        shutil.rmtree(folder, ignore_errors=True)


def _do(
    actions: Actions, job: Job, workspace: Path, temp: Path, context: dict[str, Any]
) -> tuple[str, dict[str, str]]:
    definition, value = job.node.definition, job.node.within.value
    context["github"] |= {"workspace": str(workspace), "event_path": str(temp / "event.json")}
    context["runner"] = {
        "os": "Linux",
        "arch": "X64",
        "name": job.runner,
        "temp": str(temp),
        "tool_cache": str(actions.work / "tools"),
        "environment": "github-hosted",
        "debug": "",
    }
    (temp / "event.json").write_text(json.dumps(context["github"]["event"]))
    minutes = float(text(evaluate(definition.get("timeout-minutes", 360), context)))
    shop = Shop(
        actions,
        job,
        workspace,
        temp,
        context,
        {},
        path=[str(one) for one in actions.path],
        defaults=_defaults(value) | _defaults(definition),
        deadline=time.monotonic() + minutes * actions.minute,
    )
    for env in (value.get("env"), definition.get("env")):
        shop.env |= _texts(evaluate(env or {}, shop.reading()))
    said = definition.get("steps") or []
    job.steps = [Step(n, _title(one, n, shop)) for n, one in enumerate(said, 1)]
    for number, step in enumerate(said, 1):
        record = job.steps[number - 1]
        word = actions.at_step(At(job, number, record.name))
        if word == "die":
            raise RunnerDied
        if word == "cancel":
            with actions.hub.lock:
                actions.hub.engine.cancel(job.run)
        if shop.is_stopped:
            shop.status = "cancelled"
        record.status = "in_progress"
        record.conclusion = _step(shop, step, f"__{number}")
        record.status = "completed"
    if shop.is_stopped:
        shop.status = "cancelled"
    outputs = _texts(evaluate(definition.get("outputs") or {}, shop.reading(), shop.status))
    return shop.status, outputs


def _step(shop: Shop, step: Mapping[str, Any], unnamed: str) -> str:
    """Do a step and return its conclusion; what it means for the others is in `shop`."""
    id = str(step.get("id") or unnamed)
    outputs: dict[str, str] = {}
    try:
        env = shop.env | _texts(evaluate(step.get("env") or {}, shop.reading(), shop.status))
        reading = shop.reading(env=env)
        if not holds(step.get("if"), reading, shop.status):
            shop.steps[id] = {"outputs": {}, "outcome": "skipped", "conclusion": "skipped"}
            return "skipped"
        if "run" in step:
            _run(shop, step, env, reading, outputs)
        else:
            given = _texts(evaluate(step.get("with") or {}, reading, shop.status))
            _use(shop, str(step["uses"]), given, env, outputs)
        outcome = "success"
    except (StepFailed, Broken) as error:
        shop.job.log += f"Error: {error}\n"
        outcome = "failure"
    if shop.is_stopped and outcome == "failure" and shop.status != "cancelled":
        outcome = "cancelled"
    conclusion = outcome
    if outcome == "failure":
        soft = evaluate(step.get("continue-on-error", False), shop.reading(), shop.status)
        conclusion = "success" if text(soft) == "true" else "failure"
    shop.steps[id] = {"outputs": outputs, "outcome": outcome, "conclusion": conclusion}
    if conclusion == "failure" and shop.status == "success":
        shop.status = "failure"
    if conclusion == "cancelled":
        shop.status = "cancelled"
    return conclusion


def _run(
    shop: Shop,
    step: Mapping[str, Any],
    env: dict[str, str],
    reading: Mapping[str, Any],
    outputs: dict[str, str],
) -> None:
    """Run a step's script, and take over what it left in the files that it was given."""
    shell = text(evaluate(step.get("shell") or shop.defaults.get("shell") or "", reading))
    if shop.folder is not None and not step.get("shell"):
        raise StepFailed("Required property is missing: shell")
    template = SHELLS.get(shell) or tuple(shell.split())
    name = uuid.uuid4().hex
    script = shop.temp / f"{name}.sh"
    script.write_text(text(evaluate(step["run"], reading, shop.status)))
    files = {kind: shop.temp / f"{name}-{kind}" for kind in FILES}
    for file in files.values():
        file.touch()
    folder = step.get("working-directory") or shop.defaults.get("working-directory") or "."
    where = shop.workspace / text(evaluate(folder, reading))
    if not where.is_dir():
        raise StepFailed(f"An error occurred trying to start process in {folder}: no such folder")
    minutes = step.get("timeout-minutes")
    deadline = shop.deadline
    if minutes is not None:
        most = float(text(evaluate(minutes, reading))) * shop.actions.minute
        deadline = min(deadline, time.monotonic() + most)
    code = _process(
        shop,
        [part.replace("{0}", str(script)) for part in template],
        _environment(shop) | env | {f"GITHUB_{kind}": str(file) for kind, file in files.items()},
        where,
        deadline,
    )
    outputs |= _pairs(files["OUTPUT"])
    shop.env |= {key: value for key, value in _pairs(files["ENV"]).items() if key != "NODE_OPTIONS"}
    shop.path[:0] = reversed([line for line in files["PATH"].read_text().splitlines() if line])
    summary = files["STEP_SUMMARY"].read_text(errors="replace")
    if len(summary.encode()) > MOST_SUMMARY:
        shop.job.annotations.append({"level": "error", "message": "the summary is over 1 MiB"})
    else:
        shop.job.summary += summary
    if code != 0:
        raise StepFailed(f"Process completed with exit code {code}.")


def _process(
    shop: Shop, command: list[str], env: dict[str, str], where: Path, deadline: float
) -> int:
    """Run a process to its end, or until the job is to end, and read what it printed."""
    printed = shop.temp / f"{uuid.uuid4().hex}.log"
    with printed.open("wb") as out:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # A step that runs although its job was cancelled is given its time.
        was_cancelled = shop.status == "cancelled"
        while True:
            try:
                code = process.wait(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                is_over = time.monotonic() > deadline and not was_cancelled
                if is_over or (shop.job.stop.is_set() and not was_cancelled):
                    code = _end(process, shop.actions.grace)
                    break
    _listen(shop.job, printed.read_text(errors="replace"))
    return code


def _end(process: subprocess.Popen[bytes], grace: float) -> int:
    """End a process as a runner does: it alone is asked, twice, then all that it started is killed."""
    for sign, share in ((signal.SIGINT, 0.75), (signal.SIGTERM, 0.25)):
        process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=share * grace) or 130
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() or 130


def _listen(job: Job, printed: str) -> None:
    """Keep what was printed, and obey the commands in it as a runner does."""
    job.log += printed
    silence = ""
    for line in printed.splitlines():
        found = COMMAND.match(line.strip())
        if silence:
            if line.strip() == f"::{silence}::":
                silence = ""
            continue
        if not found:
            continue
        word, about, message = found[1], found[2] or "", found[3]
        if word == "stop-commands":
            silence = message
        elif word == "add-mask":
            job.masks.append(message)
        elif word in ("error", "warning", "notice"):
            given = dict(part.split("=", 1) for part in about.split(",") if "=" in part)
            job.annotations.append({"level": word, "message": message, **given})


def _use(
    shop: Shop,
    uses: str,
    given: Mapping[str, str],
    env: Mapping[str, str],
    outputs: dict[str, str],
) -> None:
    """Use an action: one of ours in the place of GitHub's, or a composite one.

    A composite one has outputs also when it fails, as GitHub's own runner has it.
    """
    name = uses.partition("@")[0]
    stand_in = shop.actions.stand_ins.get(name.lower())
    if stand_in is not None:
        outputs |= stand_in(Uses(shop, given, env))
        return
    folder = shop.actions.action(shop, uses)
    found = [folder / one for one in ("action.yml", "action.yaml") if (folder / one).is_file()]
    if not found:
        raise StepFailed(f"Can't find 'action.yml' or 'action.yaml' under '{uses}'")
    about = load(found[0].read_text())
    if about["runs"]["using"] != "composite":
        raise StepFailed(f"{uses}: only composite actions are executed here")
    shop.actions.hub.count_line(f"action {name}")
    declared = about.get("inputs") or {}
    for one in given:
        if one not in declared:
            shop.job.log += f"Warning: Unexpected input(s) '{one}'\n"
            shop.job.annotations.append({"level": "warning", "message": f"Unexpected input {one}"})
    reading = shop.reading(env=dict(env))
    inputs = {
        one: given[one] if one in given else text(evaluate((of or {}).get("default"), reading))
        for one, of in declared.items()
    }
    inner = Shop(
        shop.actions,
        shop.job,
        shop.workspace,
        shop.temp,
        shop.context
        | {
            "inputs": inputs,
            "github": shop.context["github"] | {"action_path": str(folder)},
        },
        dict(env),
        shop.path,
        {},
        "success",
        {},
        shop.deadline,
        folder,
    )
    # Secrets are not read in an action: they have to be handed over.
    inner.context.pop("secrets", None)
    for number, step in enumerate(about["runs"]["steps"], 1):
        if shop.is_stopped:
            inner.status = "cancelled"
        _step(inner, step, f"__{number}")
    shop.env |= {key: one for key, one in inner.env.items() if env.get(key) != one}
    said = {one: of.get("value") for one, of in (about.get("outputs") or {}).items()}
    outputs |= _texts(evaluate(said, inner.reading()))
    if inner.status != "success":
        raise StepFailed(f"{uses} ended with {inner.status}")


def _environment(shop: Shop) -> dict[str, str]:
    """Return what a runner gives every step."""
    github, runner = shop.context["github"], shop.context["runner"]
    mine = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
    names = (
        "action_path actor api_url base_ref event_name event_path graphql_url head_ref job ref"
        " ref_name ref_type ref_protected repository repository_id repository_owner run_attempt"
        " run_id run_number server_url sha triggering_actor workflow workflow_ref workflow_sha"
        " workspace"
    ).split()
    return {
        **mine,
        "PATH": os.pathsep.join([*shop.path, os.environ["PATH"]]),
        "HOME": str(shop.actions.home(shop.job)),
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "RUNNER_TRACKING_ID": _tracking(shop.job),
        **{f"GITHUB_{name.upper()}": text(github.get(name)) for name in names},
        **{f"RUNNER_{name.upper()}": text(value) for name, value in runner.items() if value},
    }


def _pairs(file: Path) -> dict[str, str]:
    """Return what a step wrote into one of its files: `K=V` lines, and texts of several lines."""
    found: dict[str, str] = {}
    lines: Iterator[str] = iter(file.read_text(errors="replace").splitlines())
    for line in lines:
        key, sign, rest = line.partition("=")
        many, arrows, end = line.partition("<<")
        if arrows and (not sign or len(many) < len(key)):
            inside = []
            for inner in lines:
                if inner == end:
                    break
                inside.append(inner)
            else:
                raise StepFailed(f"Invalid value. Matching delimiter not found '{end}'")
            found[many] = "\n".join(inside)
        elif sign:
            found[key] = rest
        elif line:
            raise StepFailed(f"Invalid format '{line}'")
    return found


def _kill_orphans(job: Job) -> None:
    """Kill what a job left behind, as a runner does when it ends."""
    mark = f"RUNNER_TRACKING_ID={_tracking(job)}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)


def _tracking(job: Job) -> str:
    return f"github_{id(job.run.repository)}_{job.id}"


def _title(step: Mapping[str, Any], number: int, shop: Shop) -> str:
    said = step.get("name") or (
        f"Run {str(step['run']).strip().splitlines()[0]}"
        if "run" in step
        else f"Run {step['uses']}"
    )
    with contextlib.suppress(Broken):
        return text(evaluate(said, shop.reading()))
    return f"step {number}"


def _defaults(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict((value.get("defaults") or {}).get("run") or {})


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): text(value) for key, value in values.items()}
