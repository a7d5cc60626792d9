"""nektos/act as a second runner: it executes whole runs, by its own reading of the workflow files.

Start with Act.drain, which does what Actions.drain does. act knows no permissions, so a run has one
token with the rights of all its jobs; it knows no concurrency and cannot be looked into or cancelled.
Actions of GitHub's are composite stand-ins here, for act as for everybody.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.forge import contexts
from tests.forge.expressions import load
from tests.forge.hub import Hub
from tests.forge.jobs import PASSED_ON
from tests.forge.published import FOLDER
from tests.forge.runs import Run, Within
from tests.forge.state import LEVELS

ACT = FOLDER / "bin" / "act"
PATIENCE = 300.0
"""Seconds that a run may take."""
MOST_RUNS = 100

_CHECKOUT = """
inputs:
  repository: {default: "${{ github.repository }}"}
  ref: {default: ""}
  path: {default: "."}
  token: {default: "${{ github.token }}"}
  fetch-depth: {default: "1"}
  persist-credentials: {default: "true"}
"""
_CHECKOUT_RUN = """
mkdir -p "$INTO"
# act does not tell whose workflow runs: without a name and with a folder of its own it is the tool.
if [ -z "$NAME" ]; then cp -r "$FORGE_TOOL/." "$INTO"; exit; fi
cd "$INTO"
[ -d .git ] || git init --quiet --initial-branch=main --template= .
git config --replace-all remote.origin.url "$GITHUB_SERVER_URL/$NAME"
key=$(printf 'x-access-token:%s' "$TOKEN" | base64 -w0)
git config --replace-all "http.$GITHUB_SERVER_URL/.extraheader" "AUTHORIZATION: basic $key"
git fetch --quiet --no-tags origin '+refs/heads/*:refs/remotes/origin/*' "${REF:-$GITHUB_SHA}"
if git rev-parse --quiet --verify "refs/remotes/origin/$REF" >/dev/null
then git checkout --quiet --force -B "$REF" "refs/remotes/origin/$REF"
else git checkout --quiet --force --detach "${REF:-$GITHUB_SHA}"; fi
[ "$KEEP" = true ] || git config --unset-all "http.$GITHUB_SERVER_URL/.extraheader"
"""
_PYTHON = """
inputs:
  python-version: {default: ""}
  update-environment: {default: "true"}
outputs:
  python-path: {value: "${{ steps.made.outputs.python-path }}"}
"""
_PYTHON_RUN = """
echo "python-path=$FORGE_PYTHON" >>"$GITHUB_OUTPUT"
"""
_UPLOAD = """
inputs:
  name: {default: artifact}
  path: {required: true}
  if-no-files-found: {default: warn}
  retention-days: {default: ""}
"""
_UPLOAD_RUN = """
if [ -e "$INTO" ]; then mkdir -p "$FORGE_ARTIFACTS" && cp -r "$INTO" "$FORGE_ARTIFACTS/$NAME"
elif [ "$MISSING" = error ]; then exit 1; fi
"""
_DOWNLOAD = """
inputs:
  name: {required: true}
  path: {default: "."}
"""
_DOWNLOAD_RUN = """
mkdir -p "$INTO" && cp -r "$FORGE_ARTIFACTS/$NAME/." "$INTO"
"""
# To be resolved and never run: it is for who has an App.
_APP = """
inputs:
  client-id: {required: true}
  private-key: {required: true}
  permission-contents: {default: ""}
  permission-actions: {default: ""}
  permission-pull-requests: {default: ""}
outputs:
  token: {value: ""}
"""
# The same: there is nothing to hand on unless the config says so.
_CACHE = """
inputs:
  path: {required: true}
  key: {required: true}
  restore-keys: {default: ""}
"""
STAND_INS: Mapping[str, tuple[str, str]] = {
    "actions/checkout": (_CHECKOUT, _CHECKOUT_RUN),
    "actions/setup-python": (_PYTHON, _PYTHON_RUN),
    "actions/upload-artifact": (_UPLOAD, _UPLOAD_RUN),
    "actions/download-artifact": (_DOWNLOAD, _DOWNLOAD_RUN),
    "actions/create-github-app-token": (_APP, "exit 1"),
    "actions/cache/restore": (_CACHE, "exit 1"),
    "actions/cache/save": (_CACHE, "exit 1"),
}
_ENV = {
    "NAME": "repository name",
    "INTO": "path",
    "REF": "ref",
    "TOKEN": "token",
    "KEEP": "persist-credentials",
    "MISSING": "if-no-files-found",
}
# An environment that it makes has what the tests have, and to install a folder takes no time.
_QUICK = """#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && ln -sf "$0" "$3/bin/python" ;;
"-m pip") ;;
*) exec "{python}" "$@" ;;
esac
"""


def require() -> None:
    """Skip the running test where act is not installed."""
    if not ACT.exists():
        pytest.skip("act is not installed: with Go, `make .venv-node/bin/act` does it")


@dataclass
class Act:
    """act, for the runs of a hub; `tool` has the files of `name`, the repository that is called."""

    hub: Hub
    name: str
    tool: Path
    logs: dict[int, str] = field(default_factory=dict)
    """What each run printed, by its id."""

    def __post_init__(self) -> None:
        """Write the stand-ins."""
        require()
        self.hub.engine.folders[self.name] = self.tool
        self._work = self.hub.root / "act"
        for name, (about, script) in STAND_INS.items():
            folder = self._work / "actions" / name
            folder.mkdir(parents=True)
            (folder / "action.yml").write_text(_composite(about, script))
        self._copy = self._work / "tool"
        left_out = shutil.ignore_patterns(".venv*", ".git", ".*_cache", "tests", "benchmarks")
        shutil.copytree(self.tool, self._copy, ignore=left_out)
        self._python = self._work / "python"
        self._python.write_text(_QUICK.replace("{python}", sys.executable))
        self._python.chmod(0o755)

    def drain(self) -> list[Run]:
        """Execute runs until none is left; return those that were executed, in their order."""
        done: list[Run] = []
        while (run := self._next()) is not None:
            assert len(done) < MOST_RUNS, f"over {MOST_RUNS} runs, and still no end"
            self._execute(run)
            done.append(run)
        return done

    def _next(self) -> Run | None:
        with self.hub.lock:
            return next((job.run for job in self.hub.engine.queued()), None)

    def _execute(self, run: Run) -> None:
        hub, folder = self.hub, self._work / str(run.id)
        with hub.lock:
            assert run.top is not None
            files = [run.top, *(call for node in run.top.nodes.values() for call in node.calls)]
            rights: dict[str, str] = {}
            for job in _definitions(files):
                for scope, level in (job.get("permissions") or {}).items():
                    rights[scope] = max(level, rights.get(scope, "none"), key=_RANKS.index)
            token = hub.mint(run.repository, rights, f"{run.file.path} (act)")
            context = contexts.github(hub, run)
        run.repository.git.clone(folder).git("checkout", "--quiet", "--detach", run.event.sha)
        event = self._work / f"{run.id}.json"
        event.write_text(json.dumps(context["event"]))
        secrets = self._work / f"{run.id}.secrets"
        known = run.repository.secrets | {"GITHUB_TOKEN": token.text}
        secrets.write_text("".join(f"{name}={value}\n" for name, value in known.items()))
        command = [str(ACT), run.event.name, "--json", "--no-skip-checkout", "--pull=false"]
        command += ["--workflows", run.file.path, "--eventpath", str(event)]
        command += ["--secret-file", str(secrets), "--actor", context["actor"]]
        for label in sorted(_labels(files)):
            command += ["--platform", f"{label}=-self-hosted"]
        for uses, there in sorted(self._mapped(files).items()):
            command += ["--local-repository", f"{uses}={there}"]
        for name, value in self._env(run, context).items():
            command += ["--env", f"{name}={value}"]
        for name, value in run.inputs.items():
            command += ["--input", f"{name}={value}"]
        home = self._work / "home"
        home.mkdir(exist_ok=True)
        own = {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}
        done = subprocess.run(
            command,
            cwd=folder,
            env=own | {"HOME": str(home), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.logs[run.id] = done.stdout + done.stderr
        self._tell(run, _results(done.stdout))
        token.is_over = True
        shutil.rmtree(folder)

    def _mapped(self, files: list[Within]) -> dict[str, Path]:
        """Return the folder of every `OWNER/NAME@REF` that some files, or the tool's action, use."""
        texts = [one.file.content for one in files] + [(self.tool / "action.yml").read_text()]
        found = {}
        for text in texts:
            for name, ref in re.findall(r"uses: ([\w.-]+/[\w.-]+)(?:/[^@\s]+)?@(\S+)", text):
                found[f"{name}@{ref}"] = (
                    self._copy if name == self.name else self._work / "actions" / name
                )
        return found

    def _env(self, run: Run, context: Mapping[str, Any]) -> dict[str, str]:
        return {
            "GITHUB_REPOSITORY": run.repository.name,
            "GITHUB_REPOSITORY_OWNER": run.repository.owner,
            "GITHUB_REF": context["ref"],
            "GITHUB_REF_NAME": context["ref_name"],
            "SHA_REF": context["sha"],
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_NUMBER": str(run.number),
            "GITHUB_RUN_ATTEMPT": str(run.attempt),
            "GITHUB_SERVER_URL": self.hub.base,
            "GITHUB_API_URL": self.hub.api,
            "GITHUB_GRAPHQL_URL": self.hub.graphql,
            "FORGE_TOOL": str(self._copy),
            "FORGE_PYTHON": str(self._python),
            "FORGE_ARTIFACTS": str(self._work / f"{run.id}-artifacts"),
        }

    def _tell(self, run: Run, results: Mapping[str, str]) -> None:
        """Let the hub know how each job ended, in the order in which it would have run them."""
        engine = self.hub.engine
        with self.hub.lock:
            while found := [job for job in engine.queued() if job.run is run]:
                for job in found:
                    engine.begin(job, "act")
                    job.log = self.logs[run.id]
                    engine.finished(job, results.get(job.node.id, "skipped"), {})


_RANKS = [str(level) for level in LEVELS]


def _results(printed: str) -> dict[str, str]:
    """Return how each job ended, from what act prints."""
    found = {}
    for line in printed.splitlines():
        about = json.loads(line) if line.startswith("{") else {}
        if "jobResult" in about:
            found[str(about["jobID"])] = str(about["jobResult"])
    return found


def _definitions(files: list[Within]) -> Iterator[Mapping[str, Any]]:
    for one in files:
        yield from one.value["jobs"].values()


def _labels(files: list[Within]) -> set[str]:
    """Return the labels that jobs name, in an expression, too."""
    said = " ".join(str(job["runs-on"]) for job in _definitions(files) if "runs-on" in job)
    return set(re.findall(r"ubuntu-[\w.]+", said))


def _composite(about: str, script: str) -> str:
    """Return the text of an action that runs a script with its inputs in the environment."""
    value = load(about)
    env = {
        name: f"${{{{ inputs.{one} }}}}"
        for name, ones in _ENV.items()
        for one in ones.split()
        if one in value["inputs"]
    }
    step = {"id": "made", "shell": "bash", "env": env, "run": script}
    return json.dumps(value | {"name": "stand-in", "runs": {"using": "composite", "steps": [step]}})
