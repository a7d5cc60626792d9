"""What a workflow file means: its YAML, its `${{ }}` and its conditions.

The expressions and the verdict on a file are those of GitHub's own packages, asked of one Node
process that lives as long as the tests do. Start with evaluate and holds.
"""

from __future__ import annotations

import atexit
import json
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.forge.published import MODULES, require

HERE = Path(__file__).parent


class Broken(Exception):
    """A workflow file, or an expression in one, that GitHub would not take."""


def evaluate(value: Any, context: Mapping[str, Any], status: str = "success") -> Any:
    """Return a value with every `${{ }}` in it filled in; raise Broken.

    One that is alone in its text keeps its type. `status` is success, failure or cancelled.
    """
    if not any("${{" in text for text in _texts(value)):
        return value
    return _ask(ask="evaluate", value=value, context=context, status=status)


def holds(condition: Any, context: Mapping[str, Any], status: str = "success") -> bool:
    """Return whether an `if:` holds; none holds as long as all is well. Raise Broken."""
    if condition is None:
        return status == "success"
    if isinstance(condition, bool):
        return condition and status == "success"
    return bool(_ask(ask="condition", value=condition, context=context, status=status))


def complaints(name: str, content: str, others: Mapping[str, str] | None = None) -> list[str]:
    """Return what GitHub's parser says against a workflow file.

    `others` are the texts of the workflow files that it may call, by what its `uses` says before
    the `@`: with them, what caller and callee say of each other is looked at too.
    """
    said = _ask(ask="parse", name=name, content=content, others=others)
    return [str(one) for one in said]


def text(value: Any) -> str:
    """Return a value as an environment or an input would hold it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # one of two
    """YAML as GitHub reads it: `on` is a word, and so are `yes` and `12:30`."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]*\.[0-9]+$"), list("-+.0123456789")
)
# A number with a zero in front is no octal one.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def load(content: str) -> Any:
    """Return the YAML of a workflow or action file; raise Broken."""
    try:
        return yaml.load(content, _Loader)
    except yaml.YAMLError as error:
        raise Broken(str(error)) from error


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


_lock = threading.Lock()
_process: subprocess.Popen[str] | None = None


def _ask(**question: Any) -> Any:
    with _lock:
        pipes = _started()
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        pipes.stdin.write(json.dumps(question) + "\n")
        pipes.stdin.flush()
        line = pipes.stdout.readline()
    if not line:
        raise AssertionError("GitHub's expression engine ended: see what it said above")
    answer = json.loads(line)
    if "error" in answer:
        raise Broken(answer["error"])
    return answer["value"]


def _started() -> subprocess.Popen[str]:
    global _process
    if _process is None or _process.poll() is not None:
        require()
        script = ["--import", str(HERE / "json-import-hook.mjs"), str(HERE / "evaluate.mjs")]
        _process = subprocess.Popen(
            ["node", *script, str(MODULES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        atexit.register(_end, _process)
    return _process


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=10)
