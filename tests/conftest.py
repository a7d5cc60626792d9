"""What every test may rely on: a sealed environment, a small real repository, and the tool.

No test sees the machine's git configuration, identity, tokens or editor, and none starts in the
project's own checkout. With GITFLOW_REQUIRE=1 or GITFLOW_REQUIRE_AGENTS=1 a test that skips itself
has failed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from coverage import Coverage

from tests import repos
from tests.repos import Cli, Repo, Result

if TYPE_CHECKING:
    from tests.forge import Hub, Repository, Token
    from tests.near_forge import Near

# Read once, before the seal takes it away: the tool reports GITFLOW_* names that it does not know.
REQUIRED = os.environ.get("GITFLOW_REQUIRE") == "1"
AGENTS_REQUIRED = os.environ.get("GITFLOW_REQUIRE_AGENTS") == "1"

# GIT_DIR and its like point elsewhere inside a hook; MAKEFLAGS would reach a task that runs make.
# Without bytecode on the disk, each start of the tool compiles all of it: as long again.
UNSEALED = (
    "GIT_", "GITFLOW_", "GITHUB_", "GH_", "SSH_", "XDG_", "MAKE", "MFLAGS", "LC_", "LANG",
    "PYTHONDONTWRITEBYTECODE",
)  # fmt: skip
SEALED = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "EDITOR": "false",  # a prompt nobody expected is a failure and not a hang
    "VISUAL": "false",
    "LC_ALL": "C.UTF-8",
    "COLUMNS": "80",
}

# What a shell starts in the background has to ignore Ctrl-C; tests send it to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Half of what a test makes are folders that live for a second: where there is memory for them, no
# disk is asked. What TMPDIR or pytest's own variable says goes first; programs have to start there.
MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 2 << 30  # bytes; a whole run holds a tenth of that at most


def _has_room(folder: Path) -> bool:
    """Return whether a folder in memory can hold what tests make, programs included."""
    if not (folder.is_mount() and os.access(folder, os.W_OK | os.X_OK)):
        return False
    about = os.statvfs(folder)
    return not about.f_flag & os.ST_NOEXEC and about.f_bavail * about.f_frsize >= MEMORY_NEEDED


if "TMPDIR" not in os.environ and _has_room(MEMORY):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# A shared machine pauses tests for longer than any deadline; a failure must be the same twice.
hypothesis.settings.register_profile(
    "thorough", deadline=None, derandomize=REQUIRED, max_examples=100
)
# What runs on every change looks at fewer examples; `make test-all` asks for the other profile.
hypothesis.settings.register_profile(
    "every-change", hypothesis.settings.get_profile("thorough"), max_examples=25
)
hypothesis.settings.load_profile("every-change")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no slow test, nor what it starts: the fast ones alone have to reach the lines.

    A slow one passes the same lines a million times, and measured it takes three times as long.
    """
    measure = Coverage.current()
    if measure is None or item.get_closest_marker("slow") is None:
        return (yield)
    passed_on = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
    for name in passed_on:
        del os.environ[name]
    measure.stop()
    try:
        return (yield)
    finally:
        measure.start()
        os.environ.update(passed_on)


@pytest.fixture(scope="session", autouse=True)
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take the machine out of the environment, for fixtures of the session too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(UNSEALED)]:
            patch.delenv(name)
        for name, value in SEALED.items():
            patch.setenv(name, value)
        patch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path_factory.getbasetemp()))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # `python` in a task's command is the one that runs the tests.
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the test's own empty home; the test starts in the folder above it, in no repository."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture(scope="session")
def template(sealed: None, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return a repository with one commit on `main`; copy it, never write to it."""
    repo = repos.init(tmp_path_factory.mktemp("template") / "repo")
    repo.write("README.md", "# A small project\n")
    repo.commit("first commit")
    return repo


@pytest.fixture
def repo(template: Repo, tmp_path: Path) -> Repo:
    """Return the test's own repository: one commit on `main`, nobody's name in its configuration."""
    return repos.copy(template, tmp_path / "repo")


@pytest.fixture
def up(repo: Repo, tmp_path: Path) -> Repo:
    """Return a bare repository that decides as a remote, and has what `repo` has on `main`."""
    up = repos.init(tmp_path / "up.git", bare=True)
    repo.git("push", "--quiet", str(up.path), "main")
    return up


@pytest.fixture
def forge(up: Repo, tmp_path: Path) -> Near:
    """Return a forge over that remote, in this process."""
    from tests.near_forge import Near

    return Near(up, tmp_path)


@pytest.fixture
def cli(repo: Repo) -> Cli:
    """Return the tool, run in this process on `repo`."""
    return Cli(repo)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return an empty GitHub of the test's own."""
    # It needs what few tests do.
    from tests import forge

    with forge.serve(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def shop(hub: Hub, repo: Repo) -> Repository:
    """Return alice's repository on the hub, a clone of `repo`."""
    return hub.repository("alice/shop", repo)


@pytest.fixture
def alice(hub: Hub) -> Token:
    """Return the token of the owner of `shop`."""
    return hub.person("alice")


@pytest.fixture
def tool() -> Callable[..., Result]:
    """Return `tests.repos.tool`, which runs the installed script."""
    return repos.tool


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if (
        not (REQUIRED or AGENTS_REQUIRED)
        or report.outcome != "skipped"
        or hasattr(report, "wasxfail")
    ):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    name = "GITFLOW_REQUIRE" if REQUIRED else "GITFLOW_REQUIRE_AGENTS"
    report.longrepr = f"{name}=1 allows no skip: {reason}"
