"""Stand-ins for actions that GitHub wrote: the same inputs and outputs, done here.

Start with STAND_INS. What one of them does not know it refuses, so that a workflow cannot lean on
something that only the stand-in leaves out.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from tests.forge.jobs import StandIn, StepFailed, Uses
from tests.forge.state import Artifact


def _checkout(uses: Uses) -> Mapping[str, str]:
    inputs, shop = uses.inputs, uses.shop
    _only(
        "checkout",
        inputs,
        "repository ref token persist-credentials path clean fetch-depth fetch-tags lfs submodules"
        " filter sparse-checkout set-safe-directory show-progress",
    )
    github, hub = shop.context["github"], shop.actions.hub
    name = inputs.get("repository") or github["repository"]
    is_own = name == github["repository"]
    ref = inputs.get("ref") or (github["sha"] if is_own else "HEAD")
    into = shop.workspace / inputs.get("path", "")
    if into.resolve() != shop.workspace.resolve() and not into.resolve().is_relative_to(
        shop.workspace.resolve()
    ):
        raise StepFailed(f"Repository path '{into}' is not under '{shop.workspace}'")
    into.mkdir(parents=True, exist_ok=True)
    folder = hub.engine.folders.get(name)
    if folder is not None:
        shutil.copytree(folder, into, symlinks=True, dirs_exist_ok=True, ignore=_LEFT_OUT)
        return {"ref": ref, "commit": ref}
    token = inputs.get("token", github["token"])
    known = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    header = f"http.{hub.base}/.extraheader"
    env = uses.shop.actions.git_env(shop.job)

    def git(*args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=into, env=env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            shop.job.log += done.stderr
            raise StepFailed(f"The process '/usr/bin/git' failed with exit code {done.returncode}")
        return done.stdout.strip()

    if not (into / ".git").exists():
        git("init", "--quiet", "--initial-branch=main", "--template=", ".")
        git("remote", "add", "origin", f"{hub.base}/{name}")
    git("config", header, f"AUTHORIZATION: basic {known}")
    depth = inputs.get("fetch-depth", "1")
    how = ["--quiet", "--no-tags", *([f"--depth={depth}"] if depth != "0" else [])]
    if depth == "0":
        git(
            "fetch",
            *how,
            "origin",
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        )
    else:
        git("fetch", *how, "origin", _remote_ref(ref))
    branch = ref.removeprefix("refs/heads/")
    tip = "FETCH_HEAD"
    if depth == "0":
        is_branch = not _is_sha(ref) and ref != "HEAD"
        tip = f"refs/remotes/origin/{branch}" if is_branch else ref
    if _is_sha(ref) or ref == "HEAD" or ref.startswith("refs/pull/"):
        git("checkout", "--quiet", "--force", "--detach", ref if _is_sha(ref) else tip)
    else:
        git("checkout", "--quiet", "--force", "-B", branch, tip)
    if inputs.get("persist-credentials", "true") != "true":
        git("config", "--unset-all", header)
    return {"ref": ref, "commit": git("rev-parse", "HEAD")}


# What a clone of the project would not have, and files that other tests make and remove meanwhile.
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "tests", "benchmarks")


def _remote_ref(ref: str) -> str:
    if _is_sha(ref) or ref == "HEAD" or ref.startswith("refs/"):
        return ref
    return f"refs/heads/{ref}"


def _is_sha(ref: str) -> bool:
    return len(ref) == 40 and all(one in "0123456789abcdef" for one in ref)


# In the place of a Python and its pip: what the tests have is there already, and a folder with a
# project is put in front of it, so that the code that runs is the one that was checked out.
_PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
  "{python}" -m venv --without-pip "$3" || exit
  packages=$(echo "$3"/lib/python*/site-packages)
  cp "{made}"/packages/*.pth "$packages"
  cp -r "{made}/packages/pip" "$packages"
  exit
fi
exec "{python}" "$@"
"""
_PIP = """
import pathlib, runpy, sys, sysconfig

here = pathlib.Path(__file__).parent
words = [one for one in sys.argv[1:] if not one.startswith("-")]
if words[:1] == ["install"] and len(words) == 2 and (pathlib.Path(words[1]) / "pyproject.toml").is_file():
    (here.parent / "0.pth").write_text(str(pathlib.Path(words[1]).resolve()) + "\\n")
    sys.exit()
sys.path = [one for one in sys.path if pathlib.Path(one or ".").resolve() != here.parent]
for name in [one for one in sys.modules if one.split(".")[0] == "pip"]:
    del sys.modules[name]
runpy.run_module("pip", run_name="__main__")
"""


def _setup_python(uses: Uses) -> Mapping[str, str]:
    """Give a job a Python whose environments have what the tests have, without any download.

    What a job installs stays in its own folder.
    """
    _only("setup-python", uses.inputs, _PYTHON_INPUTS)
    shop = uses.shop
    made = shop.temp / "python"
    if not made.exists():
        _make_python(made)
    if uses.inputs.get("update-environment", "true") == "true":
        shop.path.insert(0, str(made / "bin"))
        shop.env["pythonLocation"] = str(made)
    version = ".".join(map(str, sys.version_info[:3]))
    return {"python-version": version, "python-path": str(made / "python"), "cache-hit": ""}


def _make_python(made: Path) -> None:
    """Make a Python in a folder: `python` for new environments, `bin` for a job's own use."""
    packages = made / "packages"
    (packages / "pip").mkdir(parents=True)
    (packages / "pip" / "__init__.py").touch()
    (packages / "pip" / "__main__.py").write_text(_PIP)
    there = Path(sysconfig.get_path("purelib"))
    # An editable install is a .pth too, which is read in folders of packages only.
    for file in there.glob("*.pth"):
        if "import " not in file.read_text():
            shutil.copy(file, packages / file.name)
    (packages / "tests.pth").write_text(f"{there}\n")
    script = made / "python"
    script.write_text(_PYTHON.replace("{python}", sys.executable).replace("{made}", str(made)))
    script.chmod(0o755)
    subprocess.run([str(script), "-m", "venv", str(made)], check=True, timeout=60)
    for name in ("pip", "pip3"):
        shim = made / "bin" / name
        shim.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n')
        shim.chmod(0o755)


def real_python(uses: Uses) -> Mapping[str, str]:
    """Give a job the Python of the tests, and let it download what it installs.

    To be put in the place of the usual stand-in; how pip finds its packages is passed on.
    """
    _only("setup-python", uses.inputs, _PYTHON_INPUTS)
    found = (
        Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    )
    uses.shop.env |= {key: one for key, one in os.environ.items() if key.startswith("PIP_")}
    if uses.inputs.get("update-environment", "true") == "true":
        uses.shop.path.insert(0, str(found.parent))
    version = ".".join(map(str, sys.version_info[:3]))
    return {"python-version": version, "python-path": str(found), "cache-hit": ""}


_PYTHON_INPUTS = (
    "python-version python-version-file cache cache-dependency-path check-latest"
    " architecture token update-environment allow-prereleases pip-version pip-install"
)


def _upload(uses: Uses) -> Mapping[str, str]:
    _only(
        "upload-artifact",
        uses.inputs,
        "name path if-no-files-found retention-days compression-level overwrite"
        " include-hidden-files",
    )
    shop, inputs = uses.shop, uses.inputs
    hub, run = shop.actions.hub, shop.job.run
    name = inputs.get("name", "artifact")
    if set(name) & set('"/:<>|*?\\\r\n'):
        raise StepFailed(f"The artifact name is not valid: {name}")
    hidden = inputs.get("include-hidden-files") == "true"
    found, root = _found(shop.workspace, inputs["path"], hidden)
    if not found:
        words = f"No files were found with the provided path: {inputs['path']}."
        if inputs.get("if-no-files-found", "warn") == "error":
            raise StepFailed(words)
        shop.job.log += words + "\n"
        return {}
    with hub.lock:
        repository = run.repository
        same = [
            one for one in repository.artifacts.values() if (one.run, one.name) == (run.id, name)
        ]
        if same and inputs.get("overwrite") != "true":
            raise StepFailed(
                "Failed to CreateArtifact: Received non-retryable error: (409) Conflict: an"
                " artifact with this name already exists on the workflow run"
            )
        for one in same:
            del repository.artifacts[one.id]
        id = hub.next_id()
        folder = hub.root / "artifacts" / str(id)
        for file in found:
            (folder / file.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.relative_to(root))
        size = sum(file.stat().st_size for file in found)
        repository.artifacts[id] = Artifact(id, name, run.id, folder, hub.now(), size)
    url = f"{hub.base}/{run.repository.name}/actions/runs/{run.id}/artifacts/{id}"
    return {"artifact-id": str(id), "artifact-url": url, "artifact-digest": ""}


def _found(workspace: Path, said: str, hidden: bool) -> tuple[list[Path], Path]:
    """Return the files that `path:` means, and the folder that their names are relative to."""
    found: set[Path] = set()
    tops = []
    for line in filter(None, map(str.strip, said.splitlines())):
        pattern = line.removeprefix("!")
        at = Path(pattern)
        if any(sign in pattern for sign in "*?["):
            base = Path(at.anchor) if at.is_absolute() else workspace
            hits = list(base.glob(pattern.removeprefix("/")))
        else:
            hits = [workspace / at] if (workspace / at).exists() else []
        files = {
            file
            for hit in hits
            for file in (hit.rglob("*") if hit.is_dir() else [hit])
            if file.is_file() and (hidden or not _is_hidden(file, workspace))
        }
        if line.startswith("!"):
            found -= files
        else:
            found |= files
            tops += [hit if hit.is_dir() else hit.parent for hit in hits]
    if not tops:
        return [], workspace
    root = tops[0]
    while not all(top.is_relative_to(root) for top in tops):
        root = root.parent
    return sorted(found), root


def _is_hidden(file: Path, workspace: Path) -> bool:
    # Hidden folders above the workspace are the runner's, and mean nothing.
    inside = file.relative_to(workspace) if file.is_relative_to(workspace) else Path(file.name)
    return any(part.startswith(".") for part in inside.parts)


def _download(uses: Uses) -> Mapping[str, str]:
    _only(
        "download-artifact",
        uses.inputs,
        "name artifact-ids path pattern merge-multiple github-token repository run-id",
    )
    shop, inputs = uses.shop, uses.inputs
    if "pattern" in inputs or "artifact-ids" in inputs:
        raise StepFailed("the stand-in for download-artifact knows no pattern and no ids")
    hub, repository = shop.actions.hub, shop.job.run.repository
    run = int(inputs.get("run-id") or shop.job.run.id)
    if run != shop.job.run.id and not inputs.get("github-token"):
        raise StepFailed("artifacts of another run need a github-token")
    into = shop.workspace / inputs.get("path", "")
    name = inputs.get("name")
    with hub.lock:
        found = [
            one
            for one in repository.artifacts.values()
            if one.run == run and name in (None, "", one.name)
        ]
    if name and not found:
        raise StepFailed(f"Unable to download artifact(s): Artifact not found for name: {name}")
    for one in found:
        target = into if name or inputs.get("merge-multiple") == "true" else into / one.name
        shutil.copytree(one.folder, target, dirs_exist_ok=True)
    return {"download-path": str(into)}


def _cache(uses: Uses) -> Mapping[str, str]:
    """Have nothing in the cache, ever: a workflow may be faster with it and no different."""
    _only("cache", uses.inputs, f"{_CACHE_INPUTS} upload-chunk-size save-always")
    if uses.inputs.get("fail-on-cache-miss") == "true":
        raise StepFailed("Failed to restore cache entry.")
    return {"cache-hit": "false", "cache-primary-key": uses.inputs.get("key", "")}


_CACHE_INPUTS = "path key restore-keys enableCrossOsArchive fail-on-cache-miss lookup-only"


def _restore(uses: Uses) -> Mapping[str, str]:
    """Bring back what was saved last under the key, or under one that begins as it may."""
    _only("cache/restore", uses.inputs, _CACHE_INPUTS)
    hub, key = uses.shop.actions.hub, uses.inputs["key"]
    begins = [key, *uses.inputs.get("restore-keys", "").split()]
    with hub.lock:
        saved = uses.shop.job.run.repository.caches
        hits = (one for begin in begins for one in reversed(saved) if one.startswith(begin))
        hit = next(hits, "")
        kept = saved.get(hit, [])
    for place, folder in zip(_cached(uses), kept, strict=False):
        if folder is not None:
            shutil.copytree(folder, place, symlinks=True, dirs_exist_ok=True)
    return {
        "cache-hit": str(hit == key).lower(),
        "cache-matched-key": hit,
        "cache-primary-key": key,
    }


def _save(uses: Uses) -> Mapping[str, str]:
    """Save folders under a key that nobody has used yet."""
    _only("cache/save", uses.inputs, "path key enableCrossOsArchive upload-chunk-size")
    hub, key = uses.shop.actions.hub, uses.inputs["key"]
    if len(key) > 512 or "," in key:
        raise StepFailed(f"Key Validation Error: {key} is too long, or has a comma")
    kept = []
    for place in _cached(uses):
        folder = hub.root / "caches" / str(hub.next_id()) if place.is_dir() else None
        if folder is not None:
            shutil.copytree(place, folder, symlinks=True)
        kept.append(folder)
    with hub.lock:
        saved = uses.shop.job.run.repository.caches
        if key not in saved and any(kept):
            saved[key] = kept
    return {}


def _cached(uses: Uses) -> list[Path]:
    home = uses.shop.actions.home(uses.shop.job)
    lines = filter(None, map(str.strip, uses.inputs["path"].splitlines()))
    return [home / one[2:] if one.startswith("~/") else uses.shop.workspace / one for one in lines]


def _app_token(uses: Uses) -> Mapping[str, str]:
    """Mint a token of a GitHub App, for the repository of the run and what `permission-` names."""
    inputs, shop = uses.inputs, uses.shop
    id = inputs.get("app-id") or inputs.get("client-id")
    if not id or not inputs.get("private-key"):
        raise StepFailed("Input required and not supplied: app-id, private-key")
    hub, repository = shop.actions.hub, shop.job.run.repository
    about = shop.actions.apps.get(id)
    if about is None or about.key != inputs["private-key"]:
        raise StepFailed("A JSON web token could not be decoded")
    asked = {
        key.removeprefix("permission-"): level
        for key, level in inputs.items()
        if key.startswith("permission-")
    }
    token = hub.app(repository, asked or about.permissions, about.slug)
    shop.job.masks.append(token.text)
    return {"token": token.text, "app-slug": about.slug, "installation-id": "1"}


def _only(action: str, inputs: Mapping[str, str], known: str) -> None:
    strange = sorted(set(inputs) - set(known.split()))
    if strange:
        raise StepFailed(f"{action} has no input {', '.join(strange)}")


STAND_INS: Mapping[str, StandIn] = {
    "actions/checkout": _checkout,
    "actions/setup-python": _setup_python,
    "actions/upload-artifact": _upload,
    "actions/download-artifact": _download,
    "actions/cache": _cache,
    "actions/cache/restore": _restore,
    "actions/cache/save": _save,
    "actions/create-github-app-token": _app_token,
}
