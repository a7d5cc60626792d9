"""Imports point down only, the core touches nothing outside itself, and one module starts git.

Start with LAYERS: a module may import its own layer and those above it in the table.
"""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import gitflow_agents

PACKAGE = "gitflow_agents"

# Lowest first. A module that does not exist yet is simply absent.
LAYERS: Mapping[str, frozenset[str]] = {
    "core": frozenset(
        {
            "models",
            "spec",
            "graph",
            "handoff",
            "detectors",
            "roles",
            "steps",
            "transitions",
            "scheduler",
            "commands",
            "owners",
            "permission",
            "grammar",
            "replan",
            "render",
            "errors",
            "forge",
            "issues",
            "board",
        }
    ),
    "edges": frozenset(
        {
            "packaged",
            "store",
            "leaks",
            "merge",
            "testfirst",
            "agents",
            "runner",
            "execute",
            "github",
            "webhook",
            "cache",
        }
    ),
    "service": frozenset({"service"}),
    "doors": frozenset({"cli", "acts", "live", "mcp", "on_actions", "on_boards", "__main__"}),
}
ORDER = list(LAYERS)
LAYER = {module: layer for layer, modules in LAYERS.items() for module in modules}

GIT_LIBRARIES = frozenset({"git", "gitdb", "smmap", "pygit2", "dulwich"})

# What the core may not import: I/O, processes, threads, the clock, chance and the environment.
OUTSIDE = GIT_LIBRARIES | frozenset(
    "asyncio atexit click concurrent ctypes curses fcntl fileinput ftplib getpass github glob http "
    "httpx importlib io logging mcp mmap multiprocessing os pathlib platform posix pty random "
    "requests resource rich runpy sched secrets select selectors shelve shutil signal smtplib "
    "socket socketserver sqlite3 ssl subprocess syslog tempfile termios threading time tty urllib "
    "urllib3 uuid webbrowser".split()
)
# Parts of them that compute and do nothing else.
PURE = frozenset({"io.StringIO", "urllib.parse"})
DEALINGS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
CLOCK = frozenset({"now", "utcnow", "today"})
STREAMS = frozenset({"stdin", "stdout", "stderr", "argv", "exit"})
STARTERS = frozenset(
    "run call check_call check_output Popen popen system execv execve execvp execvpe "
    "posix_spawn posix_spawnp spawnv spawnvp create_subprocess_exec create_subprocess_shell".split()
)

DOORS_ARE_LIGHT = frozenset(
    {"git", "gitdb", "github", "jinja2", "pydantic", "yaml", "rich", "mcp", "detect_secrets"}
)


def package_sources() -> dict[str, str]:
    """Return the package's sources: dotted name below the package -> text."""
    top = Path(gitflow_agents.__file__).parent
    return {
        ".".join(file.relative_to(top).with_suffix("").parts): file.read_text(encoding="utf-8")
        for file in sorted(top.rglob("*.py"))
        if file != top / "__init__.py"
    }


def imports(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) of all that a module imports, at any depth of its code.

    `name` is the module's dotted name below the package (a folder's is `agents.__init__`).
    """
    inside = [PACKAGE, *name.split(".")[:-1]]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = inside[: len(inside) - level + 1] if level else []
                start = ".".join([*base, *([module] if module else [])])
                yield from ((node.lineno, f"{start}.{alias.name}") for alias in names)
            case ast.Call(func=func, args=[ast.Constant(value=str(value)), *_]) if ends_with(
                func
            ) in {"import_module", "__import__"}:
                yield node.lineno, value


def ends_with(node: ast.expr) -> str:
    """Return the last name of a dotted expression, or nothing."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def module_of(dotted: str) -> str | None:
    """Return the module of our package that an absolute dotted name lies in, if it lies in one."""
    head, _, rest = dotted.partition(".")
    module = rest.partition(".")[0]
    return module if head == PACKAGE and module in LAYER else None


def findings(sources: Mapping[str, str]) -> list[str]:
    """Return a sentence for each place that breaks a rule of this file."""
    found: list[str] = []
    for name, text in sources.items():
        tree = ast.parse(text)
        module = name.partition(".")[0]
        layer = LAYER.get(module)
        if layer is None:
            found.append(f"{name}: belongs to no layer")
            continue
        for line, dotted in imports(name, tree):
            target = module_of(dotted)
            if target is not None and ORDER.index(LAYER[target]) > ORDER.index(layer):
                found.append(f"{name}:{line}: {layer} imports {target}, of {LAYER[target]}")
            if module != "store" and dotted.partition(".")[0] in GIT_LIBRARIES:
                found.append(f"{name}:{line}: only store imports {dotted}")
        if module != "store":
            found += [f"{name}:{line}: only store starts git" for line in starts_of_git(tree)]
        if layer == "core":
            found += [f"{name}:{line}: core uses {what}" for line, what in outside_uses(name, tree)]
    return found


def starts_of_git(tree: ast.Module) -> Iterator[int]:
    """Yield the lines where an argument vector or a command line begins with git."""
    for node in ast.walk(tree):
        match node:
            case ast.List(elts=[ast.Constant(value="git"), *_]):
                yield node.lineno
            case ast.Call(func=func, args=[first, *_]) if ends_with(func) in STARTERS:
                match first:
                    case ast.Constant(value=str(value)) if value.split()[:1] == ["git"]:
                        yield node.lineno
                    case ast.Tuple(elts=[ast.Constant(value="git"), *_]):
                        yield node.lineno


def outside_uses(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for all through which a module could touch the world or ask the time."""
    for line, dotted in imports(name, tree):
        pure = any(dotted == part or dotted.startswith(f"{part}.") for part in PURE)
        if dotted.partition(".")[0] in OUTSIDE and not pure:
            yield line, dotted
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=called)) if called in DEALINGS:
                yield node.lineno, f"{called}()"
            case ast.Call(func=ast.Attribute(attr=called)) if called == "open" or called in CLOCK:
                yield node.lineno, f".{called}()"
            case ast.Attribute(value=value, attr=attr) if attr in CLOCK and ends_with(value) in {
                "datetime",
                "date",
            }:
                yield node.lineno, f"{ends_with(value)}.{attr}"
            case ast.Attribute(value=ast.Name(id="sys"), attr=attr) if attr in STREAMS:
                yield node.lineno, f"sys.{attr}"


def core_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which modules of the core each module of the core imports."""
    edges: dict[str, set[str]] = {}
    for name, text in sources.items():
        module = name.partition(".")[0]
        if LAYER.get(module) == "core":
            targets = {module_of(dotted) for _, dotted in imports(name, ast.parse(text))}
            edges.setdefault(module, set()).update(
                target for target in targets if target in LAYERS["core"] and target != module
            )
    return edges


def test_imports_point_down_and_the_core_touches_nothing() -> None:
    assert findings(package_sources()) == []


def test_the_core_has_no_cycle() -> None:
    edges = core_graph(package_sources())
    assert set(graphlib.TopologicalSorter(edges).static_order()) >= {"errors", "models"}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"graph": "import os"}, ["graph:1: core uses os"]),
        ({"graph": "from pathlib import Path"}, ["graph:1: core uses pathlib.Path"]),
        ({"graph": "def f():\n    import time"}, ["graph:2: core uses time"]),
        ({"graph": "import os.path as p"}, ["graph:1: core uses os.path"]),
        ({"graph": "from urllib import parse\nfrom io import StringIO"}, []),
        ({"graph": "from urllib.parse import quote"}, []),
        ({"graph": "from urllib.request import urlopen"}, ["graph:1: core uses urllib.request.urlopen"]),
        ({"graph": "open('x')"}, ["graph:1: core uses open()"]),
        ({"graph": "import sys\nsys.intern('x')\nsys.stdout"}, ["graph:3: core uses sys.stdout"]),
        ({"graph": "from datetime import datetime\nx: datetime"}, []),
        (
            {"graph": "from datetime import datetime\nf(default=datetime.now)"},
            ["graph:2: core uses datetime.now"],
        ),
        (
            {"graph": "from datetime import datetime as dt\ndt.now()"},
            ["graph:2: core uses .now()"],
        ),
        ({"graph": "from gitflow_agents import store"}, ["graph:1: core imports store, of edges"]),
        ({"graph": "from . import models, cli"}, ["graph:1: core imports cli, of doors"]),
        ({"graph": "from .service import f"}, ["graph:1: core imports service, of service"]),
        ({"store": "import git\nf(['git', 'gc'])\nfrom gitflow_agents import merge, models"}, []),
        ({"store": "import gitflow_agents.service"}, ["store:1: edges imports service, of service"]),
        ({"service": "from gitflow_agents.cli import main"}, ["service:1: service imports cli, of doors"]),
        ({"cli": "from gitflow_agents import service, mcp, store, __version__"}, []),
        ({"agents.codex": "from .. import merge\nfrom ..cli import x"}, ["agents.codex:2: edges imports cli, of doors"]),
        ({"agents.__init__": "from .codex import Codex"}, []),
        (
            {"runner": "import importlib\nimportlib.import_module('gitflow_agents.cli')"},
            ["runner:2: edges imports cli, of doors"],
        ),
        ({"merge": "from git.repo import Repo"}, ["merge:1: only store imports git.repo.Repo"]),
        ({"runner": "args = ['git', *rest]"}, ["runner:1: only store starts git"]),
        ({"runner": "subprocess.run(('git', 'gc'))"}, ["runner:1: only store starts git"]),
        ({"runner": "os.system('git gc')"}, ["runner:1: only store starts git"]),
        ({"runner": "hint('git switch --detach')"}, []),
        ({"utils": "x = 1"}, ["utils: belongs to no layer"]),
    ],
)  # fmt: skip
def test_each_rule_finds_what_breaks_it(sources: dict[str, str], expected: list[str]) -> None:
    assert findings(sources) == expected


def test_a_cycle_in_the_core_is_found() -> None:
    edges = core_graph({"graph": "from . import models", "models": "from .graph import ready"})
    assert edges == {"graph": {"models"}, "models": {"graph"}}
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter(edges).static_order())


def test_the_command_line_starts_without_what_a_plain_answer_does_not_need() -> None:
    code = "import json, sys, gitflow_agents.cli; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(json.loads(done.stdout))
    assert "gitflow_agents.cli" in loaded
    assert loaded & DOORS_ARE_LIGHT == set()
