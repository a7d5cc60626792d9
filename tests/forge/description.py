"""GitHub's own description of its REST API, cut to what the fake answers.

A request that GitHub would not know is a violation; what an answer lacks is filled in as the
description asks for it. Start with Description.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.forge.published import FOLDER, OPENAPI, require

ROOT = "urn:forge"
METHODS = frozenset({"get", "post", "put", "patch", "delete"})
DEEPEST = 12
"""How deep an answer is filled in: descriptions refer to themselves."""


@dataclass(frozen=True)
class Operation:
    """What the description says about one method of one path."""

    name: str
    """As `GET /repos/{owner}/{repo}`."""
    parameters: tuple[Mapping[str, Any], ...]
    body: Mapping[str, Any] | None
    needs_body: bool
    answers: Mapping[str, Mapping[str, Any]]


class Description:
    """The part of the description that belongs to some operations."""

    def __init__(self, cut: Mapping[str, Any]) -> None:
        self._schemas = cut["components"]["schemas"]
        self._known = cut["known"]
        self._operations = {
            name: Operation(
                name, tuple(one["parameters"]), one["body"], one["needs_body"], one["answers"]
            )
            for name, one in cut["operations"].items()
        }
        resource = Resource.from_contents(
            {"components": cut["components"]}, default_specification=DRAFT202012
        )
        self._registry: Registry[Any] = Registry().with_resource(ROOT, resource)
        self._validators: dict[int, Draft202012Validator] = {}

    def unknown(self, method: str, path: str) -> str:
        """Return what is to be said of a request that the fake has no answer to."""
        for template in self._known.get(method, ()):
            if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path):
                return f"{method} {path}: GitHub has this, the fake does not"
        return f"{method} {path}: GitHub has no such request"

    def complaints(
        self, name: str, params: Mapping[str, str], query: Mapping[str, str], body: Any
    ) -> Iterator[str]:
        """Yield what is wrong with a request to an operation, a sentence each."""
        about = self._operations[name]
        declared = {(one["in"], one["name"]): one for one in about.parameters}
        for where, given in (("path", params), ("query", query)):
            for key, value in given.items():
                parameter = declared.get((where, key))
                if parameter is None:
                    yield f"{name}: there is no {where} parameter {key}"
                    continue
                for error in self._errors(parameter["schema"], _typed(value, parameter["schema"])):
                    yield f"{name}: {where} parameter {key}: {error}"
        for (where, key), parameter in declared.items():
            if where == "query" and parameter.get("required") and key not in query:
                yield f"{name}: query parameter {key} is missing"
        if about.body is None:
            if body not in (None, {}):
                yield f"{name}: takes no body, and got {body!r}"
            return
        if body is None:
            if about.needs_body:
                yield f"{name}: the body is missing"
            return
        for error in self._errors(about.body, body):
            yield f"{name}: body: {error}"
        for key in self._strangers(about.body, body, 0):
            yield f"{name}: body: there is no {key}"

    def complete(self, name: str, status: int, answer: Any, base: str) -> Any:
        """Return an answer with all that the description requires; `base` replaces GitHub's API."""
        schema = self._operations[name].answers.get(str(status))
        if schema is None:
            return answer
        return _Filler(self._schemas, base).fill(answer, schema, 0)

    def own_faults(self, name: str, status: int, answer: Any) -> Iterator[str]:
        """Yield where a complete answer of the fake is none that GitHub would give."""
        about = self._operations[name]
        schema = about.answers.get(str(status))
        if schema is None:
            if str(status) not in about.answers and status < 400:
                yield f"{name}: GitHub never answers {status}"
            return
        for error in self._errors(schema, answer):
            yield f"{name}: answer {status}: {error}"
        for key in self._strangers(schema, answer, 0):
            yield f"{name}: answer {status}: GitHub has no {key}"

    def _errors(self, schema: Mapping[str, Any], value: Any) -> Iterator[str]:
        validator = self._validators.get(id(schema))
        if validator is None:
            validator = Draft202012Validator(schema, registry=self._registry)
            self._validators[id(schema)] = validator
        for error in validator.iter_errors(value):
            where = "/".join(map(str, error.absolute_path))
            yield f"{where or 'it'}: {error.message[:200]}"

    def _strangers(self, schema: Mapping[str, Any], value: Any, depth: int) -> Iterator[str]:
        """Yield the keys of a value that no part of its schema knows."""
        parts = list(_parts(schema, self._schemas))
        if isinstance(value, list):
            items: Mapping[str, Any] = next((one["items"] for one in parts if "items" in one), {})
            for one in value:
                yield from self._strangers(items, one, depth + 1)
        if not isinstance(value, dict) or depth > DEEPEST:
            return
        known: dict[str, Any] = {}
        for part in parts:
            known.update(part.get("properties", {}))
        is_open = not known or any(part.get("additionalProperties") for part in parts)
        for key, one in value.items():
            if key in known:
                for inner in self._strangers(known[key], one, depth + 1):
                    yield f"{key}.{inner}"
            elif not is_open:
                yield key


class _Filler:
    """Fills in what a schema requires and a value does not say."""

    def __init__(self, schemas: Mapping[str, Any], base: str) -> None:
        self._schemas, self._base = schemas, base

    def fill(self, value: Any, schema: Mapping[str, Any], depth: int) -> Any:
        if depth > DEEPEST:
            return value
        parts = list(_parts(schema, self._schemas, value))
        if isinstance(value, list):
            items = next((part["items"] for part in parts if "items" in part), None)
            return [self.fill(one, items, depth + 1) for one in value] if items else value
        if not isinstance(value, dict):
            return value
        filled = dict(value)
        for part in parts:
            known = part.get("properties", {})
            for key in filled.keys() & known.keys():
                filled[key] = self.fill(filled[key], known[key], depth + 1)
            for key in part.get("required", ()):
                if key not in filled and key in known:
                    filled[key] = self._made_up(known[key], depth + 1)
        return filled

    def _made_up(self, schema: Mapping[str, Any], depth: int) -> Any:
        parts = list(_parts(schema, self._schemas))
        kinds = {kind for part in parts for kind in _kinds(part)}
        if "null" in kinds or any(
            "null" in _kinds(one) for part in parts for one in part.get("anyOf", ())
        ):
            return None
        for part in parts:
            if "example" in part and not isinstance(part["example"], dict):
                return self._moved(part["example"])
            if "enum" in part:
                return part["enum"][0]
        if "object" in kinds:
            return self.fill({}, schema, depth)
        made: dict[str, Any] = {"array": [], "boolean": False, "integer": 0, "number": 0}
        if any(part.get("format") == "date-time" for part in parts):
            return "2026-01-01T00:00:00Z"
        return next((made[kind] for kind in kinds if kind in made), "")

    def _moved(self, example: Any) -> Any:
        if isinstance(example, str):
            return example.replace("https://api.github.com", self._base)
        return example


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _parts(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], value: Any = None
) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and what it is put together from; of alternatives the first that suits."""
    if "$ref" in schema:
        yield from _parts(schemas[schema["$ref"].rpartition("/")[2]], schemas, value)
        return
    yield schema
    for one in schema.get("allOf", ()):
        yield from _parts(one, schemas, value)
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if value is None:
        for one in choices:
            yield from _parts(one, schemas, value)
        return
    for one in choices:
        inner = list(_parts(one, schemas, value))
        kinds = {kind for part in inner for kind in _kinds(part)}
        wanted = "object" if isinstance(value, dict) else "array" if isinstance(value, list) else ""
        if wanted in kinds:
            yield from inner
            return


def _typed(value: str, schema: Mapping[str, Any]) -> Any:
    """Return a text of a path or query as what its schema says it is."""
    kinds = {kind for part in [schema, *schema.get("oneOf", ())] for kind in _kinds(part)}
    if "integer" in kinds and re.fullmatch(r"-?[0-9]+", value):
        return int(value)
    if "boolean" in kinds and value in ("true", "false"):
        return value == "true"
    return value


def load(operations: Iterable[str]) -> Description:
    """Return the description of operations, as `GET /rate_limit`; the cut is kept in a file."""
    return _load(tuple(sorted(operations)))


@functools.cache
def _load(operations: tuple[str, ...]) -> Description:
    require()
    about = json.dumps([operations, OPENAPI.stat().st_mtime_ns, Path(__file__).stat().st_mtime_ns])
    kept = FOLDER / f"reduced-{hashlib.sha256(about.encode()).hexdigest()[:16]}.json"
    if not kept.exists():
        text = json.dumps(_cut(json.loads(OPENAPI.read_text()), operations))
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_text(text)
        new.replace(kept)
    return Description(json.loads(kept.read_text()))


def _cut(whole: Mapping[str, Any], operations: Iterable[str]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    parts = whole["components"]

    def plain(value: Any) -> Any:
        """Return a schema of OpenAPI 3.0 as JSON Schema, and take note of what it refers to."""
        if isinstance(value, list):
            return [plain(one) for one in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("$ref"), str):
            name = value["$ref"].rpartition("/")[2]
            if name not in schemas:
                schemas[name] = {}
                schemas[name].update(plain(parts["schemas"][name]))
            return {"$ref": f"{ROOT}#/components/schemas/{name}"}
        left = ("description", "nullable", "examples", "title", "externalDocs")
        result = {
            key: plain(one)
            for key, one in value.items()
            if key not in left or not isinstance(one, str | bool | list)
        }
        if value.get("nullable") is True:
            if isinstance(result.get("type"), str):
                result["type"] = [result["type"], "null"]
                if "enum" in result and None not in result["enum"]:
                    result["enum"] = [*result["enum"], None]
            else:
                result = {"anyOf": [result, {"type": "null"}]}
        return result

    def found(value: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a part that may be named only."""
        if "$ref" not in value:
            return value
        _, _, kind, name = value["$ref"].split("/")
        return dict(parts[kind][name])

    def json_of(content: Mapping[str, Any]) -> Any:
        schema = (content.get("application/json") or {}).get("schema")
        return None if schema is None else plain(schema)

    cut: dict[str, Any] = {}
    for name in operations:
        method, path = name.split(" ", 1)
        about = whole["paths"].get(path, {}).get(method.lower())
        if about is None:
            raise AssertionError(f"GitHub's description has no {name}")
        body = found(about.get("requestBody") or {})
        cut[name] = {
            "parameters": [
                {**found(one), "schema": plain(found(one)["schema"])}
                for one in about.get("parameters", ())
            ],
            "body": json_of(body.get("content") or {}),
            "needs_body": bool(body.get("required")),
            "answers": {
                status: json_of(found(one).get("content") or {})
                for status, one in about["responses"].items()
            },
        }
    known: dict[str, list[str]] = {}
    for path, methods in whole["paths"].items():
        for method in methods.keys() & METHODS:
            known.setdefault(method.upper(), []).append(path)
    return {"operations": cut, "components": {"schemas": schemas}, "known": known}
