"""An accepted plan as one line of JSON a task, so that one task is found without reading the rest.

It says what the plan file says, no more.  The file stays what people look at; this stands beside
it in the state, because reading 5,000 tasks of YAML takes longer than what is done to one of them.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import ValidationError

from gitflow_agents.errors import InvalidFile, Problem
from gitflow_agents.models import Plan
from gitflow_agents.spec.source import no_collections


@no_collections()
def to_lines(plan: Plan) -> bytes:
    """Return a plan as lines: everything but the tasks in the first, then a task in each."""
    head = plan.model_dump_json(by_alias=True, exclude_defaults=True, exclude={"tasks"})
    rows = [task.model_dump_json(by_alias=True, exclude_defaults=True) for task in plan.tasks]
    return "\n".join((head, *rows, "")).encode()


@no_collections()
def from_lines(data: bytes) -> Plan:
    """Return the plan that lines say; InvalidFile when they say none."""
    head, *rows = data.rstrip(b"\n").split(b"\n")
    return _plan(head, rows)


def slice_of(data: bytes, tasks: Collection[str]) -> Plan | None:
    """Return a plan with these tasks and no others, or None when one of them is not there.

    The time it takes hardly grows with the number of the others.
    """
    rows = []
    for task in dict.fromkeys(tasks):
        # An id needs no escape, a line break inside of a text has one: this is a line's beginning.
        at = data.find(b'\n{"id":"%s"' % task.encode()) + 1
        if at == 0:
            return None
        rows.append(data[at : data.index(b"\n", at)])
    plan = _plan(data[: data.index(b"\n")], rows)
    # A word that is no id can look like an id with something behind it.
    return plan if plan.by_id.keys() == set(tasks) else None


def _plan(head: bytes, rows: list[bytes]) -> Plan:
    text = b'%s,"tasks":[%s]}' % (head.removesuffix(b"}"), b",".join(rows))
    try:
        return Plan.model_validate_json(text)
    except ValidationError as e:
        problem = Problem("spec.jsonl", 0, 0, "", e.errors()[0]["msg"], "")
        raise InvalidFile("spec.jsonl", [problem]) from e
