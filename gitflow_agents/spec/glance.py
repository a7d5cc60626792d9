"""A first glance at a plan file that may be broken or very long: its name and its base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gitflow_agents.errors import InvalidFile
from gitflow_agents.spec.files import from_yaml

# In braces, as JSON is, or with every key indented.
_STARTS_ELSEWHERE = re.compile(
    rb"(\xef\xbb\xbf)?(([ \t]*+(#[^\n]*+)?|---[ \t]*+)\r?\n)*+(---)?[ \t]*(\{|[ \t]\S)"
)


def plan_name(data: bytes, *, default: str) -> str:
    """Return the plan's name as the file says it, else `default`."""
    return _top(data, "plan", "session_id") or default


def plan_base(data: bytes) -> str:
    """Return the branch that the file names as its base, or nothing."""
    return _top(data, "base")


def _top(data: bytes, *keys: str) -> str:
    """Return the text behind a key at the top of a file; of a block mapping only that is read."""
    if _STARTS_ELSEWHERE.match(data):
        whole = _whole(data)
        return next((whole[key] for key in keys if isinstance(whole.get(key), str)), "")
    for key in keys:
        pattern = rb"^\xef?\xbb?\xbf?[\"']?%s[\"']?[ \t]*:[ \t](.*)$" % key.encode()
        match = re.search(pattern, data, re.MULTILINE)
        if match:
            try:
                value = from_yaml(b"value: " + match[1])["value"]
            except (InvalidFile, KeyError, TypeError):
                continue
            if isinstance(value, str):
                return value
    return ""


@lru_cache(maxsize=1)
def _whole(data: bytes) -> Mapping[str, Any]:
    try:
        value = from_yaml(data)
    except InvalidFile:
        return {}
    return value if isinstance(value, Mapping) else {}
