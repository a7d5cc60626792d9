"""Repositories, their refs and commits."""

from __future__ import annotations

import base64
import fnmatch

from tests.forge import wire
from tests.forge.rest.routes import NOT_FOUND, Answer, Call, route, wrong
from tests.forge.rest.shared import (
    changed_files,
    merged,
    move,
)
from tests.forge.state import (
    ROLES,
    ZERO,
    Refused,
)
from tests.forge.triggers import Event


@route("GET /repos/{owner}/{repo}", "metadata: read")
def _(call: Call) -> Answer:
    shown = wire.repository(call.hub, call.repo)
    if call.by is not None:
        may = call.repo.role(call.login) if call.by.kind == "person" else "write"
        shown["permissions"] = {
            "admin": may == "admin",
            "maintain": ROLES.index(may) >= ROLES.index("maintain"),
            "push": ROLES.index(may) >= ROLES.index("write"),
            "triage": ROLES.index(may) >= ROLES.index("triage"),
            "pull": may != "none",
        }
    return Answer(shown)


@route("GET /repos/{owner}/{repo}/branches", "contents: read")
def _(call: Call) -> Answer:
    lines = call.repo.git.git(
        "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads"
    )
    pairs = [line.rsplit(" ", 1) for line in lines.splitlines()]
    return Answer([_branch(call, name, sha) for name, sha in pairs], listed="")


@route("GET /repos/{owner}/{repo}/branches/{branch}", "contents: read")
def _(call: Call) -> Answer:
    sha = call.repo.head(call.params["branch"])
    if sha is None:
        raise Refused(404, "Branch not found")
    shown = _branch(call, call.params["branch"], sha)
    return Answer(shown | {"commit": wire.commit(call.hub, call.repo, sha)})


def _branch(call: Call, name: str, sha: str) -> wire.JSON:
    url = f"{call.hub.api}/repos/{call.repo.name}"
    return {
        "name": name,
        "commit": {"sha": sha, "url": f"{url}/commits/{sha}"},
        "protected": name in call.repo.protected,
    }


@route("GET /repos/{owner}/{repo}/rules/branches/{branch}", "metadata: read")
def _(call: Call) -> Answer:
    branch = call.params["branch"]
    kinds = {"update"} if branch in call.repo.protected else set()
    for pattern, more in call.repo.rules.items():
        kinds |= more if fnmatch.fnmatchcase(branch, pattern) else set()
    return Answer([{"type": kind} for kind in sorted(kinds)], listed="")


@route("GET /repos/{owner}/{repo}/git/ref/{ref}", "contents: read")
def _(call: Call) -> Answer:
    name = f"refs/{call.params['ref']}"
    sha = call.repo.sha(name)
    if sha is None or not name.startswith(("refs/heads/", "refs/tags/")):
        raise Refused(404, NOT_FOUND)
    return Answer(wire.ref(call.hub, call.repo, name, sha))


@route("GET /repos/{owner}/{repo}/git/matching-refs/{ref}", "contents: read")
def _(call: Call) -> Answer:
    lines = call.repo.git.git("for-each-ref", "--format=%(refname) %(objectname)")
    pairs = [line.rsplit(" ", 1) for line in lines.splitlines()]
    wanted = f"refs/{call.params['ref']}"
    found = [(name, sha) for name, sha in pairs if name.startswith(wanted)]
    return Answer([wire.ref(call.hub, call.repo, *one) for one in found], listed="")


@route("POST /repos/{owner}/{repo}/git/refs", "contents: write")
def _(call: Call) -> Answer:
    name, sha = str(call.body["ref"]), str(call.body["sha"])
    if call.repo.sha(name) is not None:
        raise Refused(422, "Reference already exists")
    if call.repo.sha(sha) is None:
        raise Refused(422, "Object does not exist")
    move(call, name, ZERO, sha)
    return Answer(wire.ref(call.hub, call.repo, name, sha), 201)


@route("PATCH /repos/{owner}/{repo}/git/refs/{ref}", "contents: write")
def _(call: Call) -> Answer:
    name, sha = f"refs/{call.params['ref']}", str(call.body["sha"])
    old = call.repo.sha(name)
    if old is None:
        raise Refused(422, "Reference does not exist")
    is_ahead = call.repo.git.git("merge-base", old, sha, check=False) == old
    if not is_ahead and not call.body.get("force"):
        raise Refused(422, "Update is not a fast forward")
    move(call, name, old, sha)
    return Answer(wire.ref(call.hub, call.repo, name, sha))


@route("DELETE /repos/{owner}/{repo}/git/refs/{ref}", "contents: write")
def _(call: Call) -> Answer:
    name = f"refs/{call.params['ref']}"
    old = call.repo.sha(name)
    if old is None:
        raise Refused(422, "Reference does not exist")
    move(call, name, old, ZERO)
    return Answer(status=204)


@route("GET /repos/{owner}/{repo}/commits", "contents: read")
def _(call: Call) -> Answer:
    rev = call.query.get("sha", call.repo.default_branch)
    if call.repo.sha(rev) is None:
        raise Refused(404, NOT_FOUND)
    path = ["--", call.query["path"]] if "path" in call.query else []
    shas = call.repo.git.git("rev-list", "-n", "100", rev, *path).split()
    return Answer([wire.commit(call.hub, call.repo, sha) for sha in shas], listed="")


@route("GET /repos/{owner}/{repo}/commits/{ref}", "contents: read")
def _(call: Call) -> Answer:
    sha = call.repo.sha(call.params["ref"])
    if sha is None:
        raise Refused(422, f"No commit found for SHA: {call.params['ref']}")
    return Answer(wire.commit(call.hub, call.repo, sha))


@route("GET /repos/{owner}/{repo}/compare/{basehead}", "contents: read")
def _(call: Call) -> Answer:
    base, _, head = call.params["basehead"].partition("...")
    git = call.repo.git
    old, new = call.repo.sha(base), call.repo.sha(head)
    if old is None or new is None:
        raise Refused(404, NOT_FOUND)
    behind, ahead = map(
        int, git.git("rev-list", "--left-right", "--count", f"{old}...{new}").split()
    )
    both = "diverged" if ahead else "behind"
    commits = git.git("rev-list", "--reverse", f"{old}..{new}").split()
    return Answer(
        {
            "status": both if behind else "ahead" if ahead else "identical",
            "ahead_by": ahead,
            "behind_by": behind,
            "total_commits": ahead,
            "base_commit": wire.commit(call.hub, call.repo, old),
            "merge_base_commit": wire.commit(call.hub, call.repo, git.git("merge-base", old, new)),
            "commits": [wire.commit(call.hub, call.repo, sha) for sha in commits],
            "files": changed_files(call, old, new),
        }
    )


@route("GET /repos/{owner}/{repo}/contents/{path}", "contents: read")
def _(call: Call) -> Answer:
    path, rev = call.params["path"], call.query.get("ref", call.repo.default_branch)
    sha = call.repo.sha(rev)
    if sha is None:
        raise Refused(404, f"No commit found for the ref {rev}")
    line = call.repo.git.git("ls-tree", "-l", sha, "--", path)
    if not line:
        raise Refused(404, NOT_FOUND)
    about = line.split("\t")[0].split()
    if about[1] == "tree":
        inner = call.repo.git.git("ls-tree", "-l", f"{sha}:{path}").splitlines()
        entries = [
            _entry(call, f"{path}/{one.split(chr(9))[1]}", one.split("\t")[0].split(), sha)
            for one in inner
        ]
        return Answer(entries)
    text = call.repo.git.show(sha, path).encode()
    return Answer(
        _entry(call, path, about, sha)
        | {"encoding": "base64", "content": base64.encodebytes(text).decode()}
    )


def _entry(call: Call, path: str, about: list[str], rev: str) -> wire.JSON:
    url = f"{call.hub.api}/repos/{call.repo.name}/contents/{path}?ref={rev}"
    kind = "dir" if about[1] == "tree" else "file"
    return {
        "type": kind,
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": about[2],
        "size": 0 if about[3] == "-" else int(about[3]),
        "url": url,
        "html_url": f"{call.hub.base}/{call.repo.name}/blob/{rev}/{path}",
        "git_url": f"{call.hub.api}/repos/{call.repo.name}/git/blobs/{about[2]}",
        "download_url": None,
        "_links": {"self": url, "git": None, "html": None},
    }


@route("POST /repos/{owner}/{repo}/merges", "contents: write")
def _(call: Call) -> Answer:
    repo, base, head = call.repo, str(call.body["base"]), str(call.body["head"])
    old, other = repo.head(base), repo.sha(head)
    if old is None or other is None:
        raise Refused(404, "Base does not exist" if old is None else "Head does not exist")
    if repo.git.git("merge-base", old, other, check=False) == other:
        return Answer(status=204)
    message = str(call.body.get("commit_message") or f"Merge {head} into {base}")
    sha = merged(repo, old, other, message)
    move(call, f"refs/heads/{base}", old, sha)
    return Answer(wire.commit(call.hub, repo, sha), 201)


@route("POST /repos/{owner}/{repo}/dispatches", "contents: write")
def _(call: Call) -> Answer:
    kind, payload = str(call.body["event_type"]), call.body.get("client_payload") or {}
    if len(payload) > 10:
        raise wrong("RepositoryDispatch", "too_many", field="client_payload")
    repo = call.repo
    told = {
        "action": kind,
        "branch": repo.default_branch,
        "client_payload": dict(payload),
        "repository": wire.repository(call.hub, repo),
        "sender": wire.user(call.hub, call.login),
    }
    sha, ref = repo.head(repo.default_branch) or ZERO, f"refs/heads/{repo.default_branch}"
    call.hub.happen(repo, Event("repository_dispatch", told, call.login, ref, sha))
    return Answer(status=204)
