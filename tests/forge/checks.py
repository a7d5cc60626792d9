"""What is to be said against workflow and action files before any of them runs.

Start with own, which holds what no tool of others does. The rest asks those tools: GitHub's parser
(said), zizmor, the schemas of check-jsonschema, shellcheck. Each returns sentences, none when all is
well.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.forge import expressions
from tests.forge.expressions import load
from tests.forge.state import SCOPES, at_least, stated

FULL_SHA = re.compile(r"@[0-9a-f]{40}$")
CALLED = re.compile(r"^([\w.-]+/[\w.-]+)/(\.github/workflows/[^@]+)@")
SECRET = re.compile(r"\$\{\{[^}]*\bsecrets\b")


SCHEMAS = {"action": "vendor.github-actions", "dependabot": "vendor.dependabot"}
"""The schemas of the files that are no workflows, by their names."""


def is_action(file: Path) -> bool:
    """Return whether a file is an action and no workflow."""
    return file.stem == "action"


def own(file: Path, *, may_read_secrets: frozenset[str] = frozenset()) -> list[str]:
    """Return where a file breaks a rule of this project's.

    `may_read_secrets` has the jobs that may, as `task.yml execute`.
    """
    return [f"{file.name}: {one}" for one in _own(file, may_read_secrets)]


def _own(file: Path, may_read_secrets: frozenset[str]) -> Iterator[str]:
    value = load(file.read_text())
    for where, step in _steps(file, value):
        if "${{" in str(step.get("run", "")):
            yield f"{where}: an expression inside `run`, where it is code"
        if "uses" in step and not _is_pinned(str(step["uses"])):
            yield f"{where}: {step['uses']} is not pinned to a full sha"
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            keeps = (step.get("with") or {}).get("persist-credentials", True)
            if keeps is not False:
                yield f"{where}: the checkout leaves its token behind"
    if is_action(file):
        return
    on = value.get("on")
    if "pull_request_target" in (on if isinstance(on, list | dict) else [on]):
        yield "pull_request_target runs what strangers wrote with our rights"
    if value.get("permissions") != {}:
        yield "permissions: {} is missing at the top"
    yield from _group("the workflow", value)
    for name, job in value["jobs"].items():
        yield from _group(name, job)
        if "permissions" not in job:
            yield f"{name}: states no permissions of its own"
        if "uses" in job:
            if not _is_pinned(str(job["uses"])):
                yield f"{name}: {job['uses']} is not pinned to a full sha"
            if job.get("secrets") == "inherit":
                yield f"{name}: hands over every secret that there is"
        elif "timeout-minutes" not in job:
            yield f"{name}: has no timeout-minutes"
        if SECRET.search(json.dumps(job)) and f"{file.name} {name}" not in may_read_secrets:
            yield f"{name}: reads secrets"


def _group(where: str, value: Mapping[str, Any]) -> Iterator[str]:
    said = value.get("concurrency")
    if isinstance(said, Mapping) and said.get("queue") == "max" and said.get("cancel-in-progress"):
        yield f"{where}: queue: max with cancel-in-progress"


def _is_pinned(uses: str) -> bool:
    return uses.startswith("./") or bool(FULL_SHA.search(uses))


def rights(caller: Path, called: Mapping[str, Path]) -> list[str]:
    """Return where a file calls another that wants more than it is given.

    `called` has the files that it may call, by `OWNER/NAME/PATH`, or by `./PATH`.
    """
    result = []
    value = load(caller.read_text())
    for name, job in value["jobs"].items():
        callee = called.get(str(job.get("uses", "")).partition("@")[0])
        if callee is None:
            continue
        given = stated(job.get("permissions", value.get("permissions"))) or {}
        for inner, wanted in load(callee.read_text())["jobs"].items():
            result += [
                f"{caller.name}: {name}: {callee.name} {inner} wants {scope}: {level}"
                for scope, level in (stated(wanted.get("permissions")) or {}).items()
                if scope in SCOPES and not at_least(given, scope, level)
            ]
    return result


def said(file: Path, called: Mapping[str, Path] | None = None) -> list[str]:
    """Return what GitHub's own parser says against a workflow file and the files that it calls."""
    others = {name.removeprefix("./"): one.read_text() for name, one in (called or {}).items()}
    text = file.read_text()
    return expressions.complaints(file.name, text, others or None)


def shellcheck(files: Sequence[Path]) -> list[str]:
    """Return what shellcheck says against the scripts in some files."""
    scripts = [
        (f"{file.name}: {where}", str(step["run"]))
        for file in files
        for where, step in _steps(file, load(file.read_text()))
        if "run" in step and step.get("shell", "bash") in ("bash", "sh")
    ]
    result = []
    for where, script in scripts:
        command = ["shellcheck", "--shell=bash", "--format=json", "-"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        result += [f"{where}: {one['message']}" for one in json.loads(done.stdout)]
    return result


def zizmor(files: Sequence[Path], *, but: frozenset[str] = frozenset()) -> list[str]:
    """Return what zizmor finds in some files when it is most suspicious, but for some of its rules."""
    command = ["zizmor", "--offline", "--strict-collection", "--no-config", "--quiet"]
    command += ["--persona=auditor", "--format=json", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        return [done.stderr.strip()]
    return [_finding(one) for one in json.loads(done.stdout) if one["ident"] not in but]


def _finding(one: Mapping[str, Any]) -> str:
    place = one["locations"][0]
    file = Path(next(iter(place["symbolic"]["key"].values()))["verbatim_path"]).name
    row = place["concrete"]["location"]["start_point"]["row"] + 1
    return f"{file}:{row}: {one['ident']}: {one['desc']}"


def schema(files: Sequence[Path]) -> list[str]:
    """Return where some files are not what the schemas of editors say."""
    result = []
    kinds = {file: SCHEMAS.get(file.stem, "vendor.github-workflows") for file in files}
    for kind in sorted(set(kinds.values())):
        chosen = [file for file in files if kinds[file] == kind]
        command = ["check-jsonschema", "--builtin-schema", kind, "--output-format=json"]
        done = subprocess.run(
            [*command, *map(str, chosen)], capture_output=True, text=True, check=False
        )
        about = json.loads(done.stdout)
        for one in about["errors"]:
            best = one.get("best_match") or one
            result.append(f"{Path(one['filename']).name}: {best['path']}: {best['message']}")
        result += [str(one) for one in about.get("parse_errors", ())]
    return result


def _steps(file: Path, value: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every step of a file with the name of where it is."""
    if is_action(file):
        for number, step in enumerate(value["runs"].get("steps") or (), 1):
            yield f"step {number}", step
        return
    for name, job in value["jobs"].items():
        for number, step in enumerate(job.get("steps") or (), 1):
            yield f"{name} step {number}", step
