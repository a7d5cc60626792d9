"""What a repository needs so that GitHub Actions works on its plans: the files, and what is left.

A file that is there and says something else is a person's: it is shown, and changed only when they
say so.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from gitflow_agents import packaged, spec
from gitflow_agents.errors import FlowError, UsageError
from gitflow_agents.models import SCHEMA, Config
from gitflow_agents.render import count
from gitflow_agents.store import Repository
from gitflow_agents.store.remote import settings_of

WORKFLOWS = ("gitflow.yml", "gitflow-task.yml", "gitflow-train.yml", "gitflow-commands.yml")
APPROVAL = "gitflow-approval.yml"
"""The workflow of those whose config names an environment, beside these."""
CONFIG = ".github/gitflow-agents.yml"
CONFIG_SCHEMA = ".github/gitflow-agents/config.schema.json"
HERE = "gitflow-agents"
"""The distribution whose origin says which repository the workflows are called from."""
LISTENS = 'branches: ["plan/**"]'
"""The pushes that start a pass, in the words of the workflow."""
_USES = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})")
_ORIGIN = re.compile(r"https://[^/]+/(?P<repository>[\w.-]+/[\w.-]+?)(?:\.git)?/?")
_SAYS = re.compile(r"(?m)^ *uses: *([\w.-]+/[\w.-]+)/\.github/workflows/\w+\.yml@([0-9a-f]{40})")

State = Literal["written", "same", "other"]


@dataclass(frozen=True)
class Written:
    """A file of the set-up: `other` is one that says something else, and stays; `diff` shows it."""

    path: str
    state: State
    diff: str = ""


def origin() -> str:
    """Return where this version was installed from, as OWNER/NAME@COMMIT, or nothing.

    Installers write it down for what came from version control (PEP 610).
    """
    try:
        text = metadata.distribution(HERE).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return ""
    said = json.loads(text) if text else {}
    found = _ORIGIN.fullmatch(said.get("url", ""))
    commit = said.get("vcs_info", {}).get("commit_id", "")
    return f"{found['repository']}@{commit}" if found and len(commit) == 40 else ""


def wanted(config: Config) -> tuple[str, ...]:
    """Return the workflows that a repository needs by what its config says."""
    asks = any(name for _, name in config.environments)
    return (*WORKFLOWS, APPROVAL) if asks else WORKFLOWS


def files(
    uses: str,
    *,
    pushed: str = "",
    is_told: bool = True,
    workflows: Sequence[str] = WORKFLOWS,
) -> dict[str, str]:
    """Return the texts of the files by their paths; UsageError when `uses` is no pinned commit.

    `pushed` is the branch whose plan files start by themselves, too.  Unless it `is_told` by the
    server, the workflows say themselves where what they call is from.
    """
    found = _USES.fullmatch(uses)
    if found is None:
        raise UsageError(
            f"{uses!r} names no commit of a repository",
            hint="it is OWNER/NAME@ and all 40 letters of a commit: what is pinned cannot change",
        )
    made = {}
    for name in workflows:
        text = packaged.text(f"templates/actions/{name}")
        text = text.replace("USES/", f"{found['repository']}/").replace(
            "@COMMIT", f"@{found['commit']}"
        )
        if pushed:
            text = text.replace(LISTENS, f"{LISTENS[:-1]}, {json.dumps(pushed)}]")
        if not is_told:
            said = (
                f"      tool-repository: {found['repository']}\n"
                f"      tool-ref: {found['commit']} # as in `uses`\n"
            )
            text = text.replace("    with:\n", f"    with:\n{said}", 1)
        made[f".github/workflows/{name}"] = text
    made[CONFIG] = packaged.text("templates/actions/config.yml")
    made[spec.PLAN_SCHEMA] = json.dumps(spec.plan_schema(), indent=2) + "\n"
    made[CONFIG_SCHEMA] = json.dumps(spec.config_schema(), indent=2) + "\n"
    return made


def is_told(repository: Repository, remote: str = "origin") -> bool:
    """Say whether jobs are told where their workflow is from: GitHub does, other servers do not."""
    from gitflow_agents.github.whereabouts import CLOUD, PUBLIC, place

    try:
        host = place(dict(settings_of(repository, remote))["url"], {}).host
    except FlowError:
        return True
    return host == PUBLIC or host.endswith(f".{CLOUD}")


def pinned(top: Path) -> str:
    """Return what the workflows in a checkout are called from, as OWNER/NAME@COMMIT, or nothing."""
    for name in WORKFLOWS:
        try:
            text = (top / ".github/workflows" / name).read_text(errors="replace")
        except OSError:
            continue
        if found := says(text):
            return found
    return ""


def says(text: str) -> str:
    """Return what a workflow file calls, as OWNER/NAME@COMMIT, or nothing."""
    found = _SAYS.search(text)
    return f"{found[1]}@{found[2]}" if found else ""


def write(
    top: Path,
    uses: str,
    *,
    pushed: str = "",
    is_told: bool = True,
    workflows: Sequence[str] = WORKFLOWS,
    upgrade: bool,
    dry_run: bool,
) -> list[Written]:
    """Write what is missing; with `upgrade` also what says something else.

    The config is never written over: what stands there was decided by people.
    """
    uses = uses or (pinned(top) if not upgrade else "") or origin() or pinned(top)
    if not uses:
        raise UsageError(
            "nobody says which version of gitflow-agents the workflows are to call",
            hint="gitflow-agents init --uses OWNER/NAME@COMMIT",
        )
    done = []
    made = files(uses, pushed=pushed, is_told=is_told, workflows=workflows)
    for path, text in made.items():
        file = top / path
        if file.is_symlink():
            raise FlowError(f"{path} is a symlink, and is not written through")
        there = file.read_text(errors="replace") if file.is_file() else None
        if there == text:
            done.append(Written(path, "same"))
            continue
        is_theirs = there is not None and (not upgrade or path == CONFIG)
        diff = "".join(
            difflib.unified_diff(
                (there or "").splitlines(True), text.splitlines(True), path, f"{path} (new)"
            )
        )
        if not is_theirs and not dry_run:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        done.append(Written(path, "other" if is_theirs else "written", diff if there else ""))
    return done


def left(branch: str, written: Iterable[Written]) -> list[str]:
    """Return what a person still has to do, each in a sentence with the command."""
    new = [one.path for one in written if one.state == "written"]
    todo = []
    if new:
        paths = "git add .github && git commit -m 'gitflow-agents' && git push"
        todo.append(f"put these files on {branch}, where GitHub looks for them: {paths}")
    todo += [
        "give the agents their keys, as secrets of the repository: gh secret set "
        "ANTHROPIC_API_KEY (or OPENAI_API_KEY, GEMINI_API_KEY); a plan of commands needs none",
        "let Actions open the pull request that tells of a plan: in the repository's Settings, "
        "Actions, General tick `Allow GitHub Actions to create and approve pull requests`",
        f"write a plan (gitflow-agents new NAME), commit it on a branch plan/NAME that is cut from "
        f"{branch}, and push that",
        "see whether anything is missing: gitflow-agents doctor",
    ]
    return todo


def text(written: Iterable[Written], todo: Iterable[str], *, dry_run: bool) -> str:
    """Return what was done, and what is left."""
    listed = list(written)
    would = "would be written" if dry_run else "written"
    lines = [f"{one.path}: {would}" for one in listed if one.state == "written"]
    others = [one for one in listed if one.state == "other"]
    lines += [f"{one.path}: is there and says something else; it stays" for one in others]
    if not lines:
        lines.append(f"nothing to do: all {count(len(listed), 'file')} are there")
    lines += [line for one in listed for line in one.diff.splitlines()]
    if others and not all(one.path == CONFIG for one in others):
        lines.append("to take the new ones: gitflow-agents init --upgrade")
    return "\n".join([*lines, "", "what is left to do by hand:", *(f"  - {one}" for one in todo)])


def as_json(written: Iterable[Written], todo: Iterable[str]) -> dict[str, Any]:
    """Return the object that `init --json` prints."""
    rows = [{"path": one.path, "state": one.state, "diff": one.diff} for one in written]
    return {"schema": SCHEMA, "files": rows, "left": list(todo)}


__all__ = [
    "Written",
    "as_json",
    "files",
    "is_told",
    "left",
    "origin",
    "pinned",
    "says",
    "text",
    "wanted",
    "write",
]
