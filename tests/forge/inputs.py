"""What a file is given: the inputs of a dispatch or a call, and the combinations of a matrix."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from tests.forge.expressions import Broken, text
from tests.forge.state import Refused

MOST_INPUTS = 25


def matrices(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the combinations of a matrix, `exclude` and `include` applied as GitHub does."""
    axes = {key: values for key, values in said.items() if key not in ("include", "exclude")}
    combined = [
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    ]
    kept = [
        one
        for one in combined
        if axes and not any(_covers(one, other) for other in said.get("exclude") or [])
    ]
    originals = [dict(one) for one in kept]
    for extra in said.get("include") or []:
        at = [
            one
            for one, original in zip(kept, originals, strict=False)
            if all(original[key] == value for key, value in extra.items() if key in original)
        ]
        for one in at:
            one.update(extra)
        if not at:
            kept.append(dict(extra))
    return kept


def _covers(one: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return all(one.get(key) == value for key, value in part.items())


def inputs(declared: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs with their defaults and in their types; raise Broken."""
    unknown = [name for name in given if name not in declared]
    if unknown:
        raise Broken(f"Unexpected inputs provided: {json.dumps(unknown)}")
    result: dict[str, Any] = {}
    for name, about in declared.items():
        about = about or {}
        value = given.get(name)
        if value is None:
            if about.get("required") and "default" not in about:
                raise Broken(f"Required input '{name}' not provided")
            value = about.get("default")
        kind = about.get("type", "string")
        if kind == "boolean":
            result[name] = text(value if value is not None else False) == "true"
        elif kind == "number":
            result[name] = float(text(value) or "0")
        elif kind == "choice" and text(value) and text(value) not in map(text, about["options"]):
            raise Broken(f"Provided value '{text(value)}' for input '{name}' not in the list")
        else:
            result[name] = text(value)
    return result


def check_inputs(declared: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse inputs of a dispatch that GitHub refuses."""
    if len(given) > MOST_INPUTS:
        raise Refused(422, f"you may only define up to {MOST_INPUTS} `inputs`")
    try:
        inputs(declared, given)
    except Broken as error:
        raise Refused(422, str(error)) from None
