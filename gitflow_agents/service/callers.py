"""What is wrong with how a repository calls the workflows: on which branch, with which rights.

What git knows is told first, and so before anything was pushed; then GitHub itself is asked, where
there is a token for it.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from gitflow_agents import packaged, spec
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import Looked, Trouble
from gitflow_agents.models import Config
from gitflow_agents.service import setup
from gitflow_agents.service.setup import APPROVAL, WORKFLOWS
from gitflow_agents.store import Repository
from gitflow_agents.store.remote import settings_of
from gitflow_agents.store.state import HEADS, plan_ref

FOLDER = ".github/workflows/"
FILES = (*WORKFLOWS, APPROVAL)
_NEEDED = {APPROVAL: "an approval by an environment of the config"}
PASS = f"{FOLDER}{WORKFLOWS[0]}"
_WITHOUT = {
    ("contents", "write"): "nothing can be claimed or merged",
    ("contents", "read"): "nothing can be read",
    ("actions", "write"): "no run can be started",
    ("pull-requests", "write"): "nobody is told of the plan",
    ("issues", "write"): "nobody is told of the plan where no pull request may be opened",
    ("checks", "write"): "the head of the flow branch gets no check",
}
"""What does not work without a permission."""
_RANK = {"none": 0, "read": 1, "write": 2}


def troubles(
    repository: Repository, branch: str, config: Config, remote: str = "origin"
) -> Iterator[Trouble]:
    """Yield what is wrong, where a repository has any of the workflows; `branch` is the default."""
    here, own, there = _places(repository, branch, remote)
    if not here and not own and not there:
        return
    committed = there if there is not None else own or {}
    for name in setup.wanted(config):
        if name in committed:
            yield from _rights(name, committed[name])
        elif own and name in own:
            yield Trouble(
                "workflow-unpushed",
                f"{FOLDER}{name} is not on {remote}/{branch} yet, where GitHub looks for it",
                f"git push {remote} {branch}",
            )
        elif name in here:
            yield Trouble(
                "workflow-uncommitted",
                f"{FOLDER}{name} is not on {branch}, where GitHub looks for it",
                f"commit it there: git add {FOLDER}{name} && git commit -m 'gitflow-agents'",
            )
        else:
            yield Trouble(
                "workflow-missing",
                f"{FOLDER}{name} is missing, and {_NEEDED.get(name, 'a plan')} cannot get along "
                "without it",
                "gitflow-agents init",
            )
    if PASS.removeprefix(FOLDER) in committed:
        yield from _dead_plans(repository, branch, remote)
        if config.start == "on-push" and not _listens(committed[WORKFLOWS[0]], branch):
            yield Trouble(
                "push-unheard",
                f"the config says `start: on-push`, and no push of {branch} starts {PASS}; a plan "
                "file there waits for the next sweep",
                "gitflow-agents init --upgrade",
            )


def at_github(
    repository: Repository,
    branch: str,
    environ: Mapping[str, str],
    config: Config,
    remote: str = "origin",
) -> Looked:
    """Return what GitHub says, where it is to work on plans; nothing where it is not.

    Without a token that is told as what could not be checked.
    """
    here, own, there = _places(repository, branch, remote)
    texts = {**here, **(own or {}), **(there or {})}
    if not texts:
        return Looked()
    # Its library takes longer to import than all else that a look takes.
    from gitflow_agents.github.premises import Wanted, look
    from gitflow_agents.github.whereabouts import place, whereabouts

    try:
        url = dict(settings_of(repository, remote))["url"]
        place(url, environ)
    except FlowError:
        return Looked()  # no remote, or none of GitHub's: that is no mistake
    try:
        found = whereabouts(url, environ)
    except FlowError as e:
        return Looked(unchecked=(f"what GitHub allows: {e.message}: {e.hint}",))
    called = next(
        filter(None, (setup.says(text.decode(errors="replace")) for text in texts.values())), ""
    )
    environments = tuple(dict.fromkeys(name for _, name in config.environments if name))
    about = Wanted(branch, tuple(there or ()), called, environments, config.projects is not None)
    return look(found, about)


def _places(
    repository: Repository, branch: str, remote: str
) -> tuple[dict[str, bytes], dict[str, bytes] | None, dict[str, bytes] | None]:
    """Return the workflows in the checkout, on the branch here, and on it there as last seen."""
    top = repository.top
    files = {name: top / FOLDER / name for name in FILES} if top is not None else {}
    here = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
    own = _files(repository, f"{HEADS}{branch}")
    return here, own, _files(repository, f"refs/remotes/{remote}/{branch}")


def _files(repository: Repository, ref: str) -> dict[str, bytes] | None:
    """Return the workflows of a branch by their names; None where there is no such branch."""
    tip = repository.resolve(f"{ref}^{{commit}}")
    if tip is None:
        return None
    tree = repository.commit(tip).tree
    found = ((name, repository.read(tree, f"{FOLDER}{name}")) for name in FILES)
    return {name: data for name, data in found if data is not None}


def _rights(name: str, data: bytes) -> Iterator[Trouble]:
    """Yield the rights that a caller does not give: what it calls cannot have more."""
    wanted = _jobs(packaged.text(f"templates/actions/{name}").encode())
    try:
        given = _jobs(data)
    except FlowError:
        yield Trouble(
            "workflow-invalid", f"{FOLDER}{name} is no YAML", "gitflow-agents init --upgrade"
        )
        return
    for job, about in wanted.items():
        rights = given.get(job, {}).get("permissions", {}) if job in given else None
        if rights is None:
            yield Trouble(
                "workflow-changed",
                f"{FOLDER}{name} has no job {job}",
                "gitflow-agents init --upgrade shows what it should be",
            )
            continue
        for key, right in about["permissions"].items():
            has = rights if isinstance(rights, str) else _right(rights, key)
            if not isinstance(rights, str) and _RANK.get(has, 0) < _RANK[right]:
                why = _WITHOUT.get((key, right), "it cannot work")
                yield Trouble(
                    "permission-missing",
                    f"{FOLDER}{name} does not give its job {job} `{key}: {right}`: {why}",
                    f"add it under jobs.{job}.permissions, or: gitflow-agents init --upgrade",
                )


def _right(rights: object, key: str) -> str:
    said = rights.get(key) if isinstance(rights, Mapping) else None
    return said if isinstance(said, str) else "none"


def _listens(data: bytes, branch: str) -> bool:
    """Say whether a workflow starts by a push of a branch."""
    with suppress(FlowError):
        read = spec.from_yaml(data)
        on = read.get("on", read.get(True)) if isinstance(read, dict) else None
        push = on.get("push") if isinstance(on, dict) else None
        branches = push.get("branches") if isinstance(push, dict) else None
        if isinstance(branches, list):
            return any(fnmatch.fnmatchcase(branch, str(one)) for one in branches)
        return isinstance(on, str | list | dict) and "push" in on
    return True  # what is wrong with it is told elsewhere


def _jobs(data: bytes) -> dict[str, Any]:
    read = spec.from_yaml(data)
    jobs = read.get("jobs") if isinstance(read, dict) else None
    found = jobs if isinstance(jobs, dict) else {}
    return {name: job for name, job in found.items() if isinstance(job, dict)}


def _dead_plans(repository: Repository, branch: str, remote: str) -> Iterator[Trouble]:
    """Yield the plan branches that lack the workflow: GitHub looks at the pushed commit only."""
    below = (plan_ref(""), f"refs/remotes/{remote}/{plan_ref('').removeprefix(HEADS)}")
    seen = set()
    for prefix in below:
        for ref, tip in repository.tips(prefix).items():
            plan = ref.removeprefix(prefix)
            with suppress(FlowError):
                tree = repository.commit(tip).tree
                if plan not in seen and repository.find(tree, PASS) is None:
                    seen.add(plan)
                    yield Trouble(
                        "plan-branch-dead",
                        f"plan/{plan} was cut where {PASS} is not, so a push of it starts nothing",
                        f"gitflow-agents start {plan}, or: git switch plan/{plan} && "
                        f"git merge {branch} && git push",
                        plan,
                    )


__all__ = ["at_github", "troubles"]
