"""What a person must know at once, and how it is told: to people by name, to a program as JSON.

Each alert has a key that names it for ever, so that whoever has told it once can be quiet.  Text of
plans and agents is shown as these characters: only those whom the config names are pinged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args

from gitflow_agents.models import SCHEMA, Limits, Reason, Status
from gitflow_agents.render.facts import (
    choices,
    from_whom,
    is_still,
    last_line,
    lasting,
    next_command,
    retries_by_itself,
    to_answer,
)
from gitflow_agents.render.story import quiet
from gitflow_agents.render.text import code, count, fence, fit, one_line, utc
from gitflow_agents.scheduler import Snapshot, held_words, plan_status, spent

Kind = Literal[
    "task_failed",
    "approval_needed",
    "question_asked",
    "plan_held",
    "text_refused",
    "limit_reached",
    "plan_stuck",
    "act_failed",
    "run_lives",
    "no_runs",
    "plan_finished",
    "more",
]
"""What an alert is about."""

MOST = 50
"""Alerts of a plan that are told apart; those beyond are one."""
MOST_COMMANDS = 5
MOST_CHARACTERS = 500
"""Of what one alert says."""


@dataclass(frozen=True)
class Alert:
    """One thing that a person must know: what happened, to which task, and what to type next.

    `url` is where its run can be seen, if a forge had one.
    """

    key: str
    kind: Kind
    text: str
    task: str = ""
    attempt: int = 0
    reason: Reason | None = None
    commands: tuple[str, ...] = ()
    url: str = ""


def alerts(snapshot: Snapshot, limits: Limits, now: float) -> list[Alert]:
    """Return what a person must know of a plan as it stands, at most MOST and one for the rest."""
    found = _alerts(snapshot, limits, now)
    first = list(islice(found, MOST))
    if more := sum(1 for _ in found):
        look = (f"gitflow-agents status {snapshot.plan.plan}",)
        first.append(Alert("more", "more", f"and {count(more, 'more thing')}", commands=look))
    return first


def _alerts(snapshot: Snapshot, limits: Limits, now: float) -> Iterator[Alert]:
    name, state = snapshot.plan.plan, snapshot.state
    look = (f"gitflow-agents status {name}",)
    for one in lasting(snapshot):
        whose = f"of {one.task}" if one.task else "of a train"
        why = f": {one_line(one.refused)}" if one.refused else ""
        text = fit(f"run {one.run} {whose} was stopped and has not ended{why}", MOST_CHARACTERS)
        yield Alert(f"run {one.run}", "run_lives", text, one.task, one.attempt, commands=look)
    if state.status in ("landed", "closed") or not snapshot.tip:
        return
    if state.status == "finished" and snapshot.is_over:
        tasks = count(len(snapshot.plan.tasks), "task")
        text = f"plan {name} is finished: {tasks}, merged to {state.flow}"
        key = f"finished v{state.revision} {state.flow_sha[:12]}"
        yield Alert(key, "plan_finished", text, commands=(f"gitflow-agents report {name}",))
        return
    if state.held and not state.held.startswith("held by "):  # a person knows what they did
        key = f"held {_digest(state.held)}"
        lift = (f"gitflow-agents resume {name}",)
        yield Alert(
            key, "plan_held", f"the plan is {held_words(one_line(state.held))}", "", 0, None, lift
        )
    if state.refused:
        text = f"the new text on plan/{name} was refused: {one_line(state.refusal)}"
        mend = (f"gitflow-agents validate {name}",)
        yield Alert(f"refused {state.refused[:12]}", "text_refused", text, commands=mend)
    if state.undispatched:
        text = fit(f"no runs are started: {one_line(state.undispatched)}", MOST_CHARACTERS)
        doctor = ("gitflow-agents doctor",)
        yield Alert(f"runs {_digest(state.undispatched)}", "no_runs", text, commands=doctor)
    if state.setback:
        key = f"setback {_digest(state.setback)}"
        yield Alert(key, "act_failed", one_line(state.setback), commands=look)
    if (used_up := spent(snapshot, limits)) and snapshot.by_status[Status.PENDING]:
        key = f"limit {limits.budget_usd or 0:g} {limits.minutes or 0:g}"
        yield Alert(key, "limit_reached", used_up, commands=look)
    yield from _approvals(snapshot)
    for task in sorted(snapshot.asking, key=snapshot.plan.order.__getitem__):
        if asked := snapshot.record(task).open_question:
            options = f" ({'; '.join(choices(asked))})" if choices(asked) else ""
            text = fit(f"{task} asks: {one_line(asked.text)}{options}", MOST_CHARACTERS)
            typed = (to_answer(name, task, asked),)
            key = f"question {task} {asked.attempt} {_digest(f'{asked.at} {asked.text}')}"
            yield Alert(key, "question_asked", text, task, asked.attempt, commands=typed)
    failed = [
        task
        for task in snapshot.by_status[Status.FAILED]
        if not retries_by_itself(snapshot, task, limits)
    ]
    for task in sorted(failed, key=snapshot.plan.order.__getitem__):
        yield _failed(snapshot, task)
    is_stuck = not failed and not used_up and is_still(snapshot)
    if is_stuck and plan_status(snapshot, limits, now) == "blocked":
        left = sorted(snapshot.by_status[Status.PENDING], key=snapshot.plan.order.__getitem__)
        key = f"stuck v{state.revision} {len(snapshot.by_status[Status.COMPLETED])}"
        look = (f"gitflow-agents explain {name}/{left[0]}",) if left else look
        text = f"{count(len(left), 'task')} of plan {name} can never start"
        yield Alert(key, "plan_stuck", text, commands=look)


def _approvals(snapshot: Snapshot) -> Iterator[Alert]:
    name, state = snapshot.plan.plan, snapshot.state
    if snapshot.awaits():
        whom = from_whom(snapshot)
        text = f"v{state.revision} of plan {name} needs an approval{whom and f' from {whom}'}"
        key, typed = f"plan {state.digest[:12]}", f"gitflow-agents approve {name}"
        yield Alert(key, "approval_needed", text, commands=(typed,))
        return
    waiting = {*snapshot.frontier.ready, *snapshot.by_status[Status.REVIEW]}
    for task in sorted(waiting, key=snapshot.plan.order.__getitem__):
        if gate := snapshot.awaits(task):
            sha = snapshot.approvable(task)
            what = "may start" if gate == "task" else "may be merged"
            key = f"{gate} {task} {(sha or snapshot.plan.by_id[task].digest)[:12]}"
            typed = f"gitflow-agents approve {name}/{task}" + (f" --sha {sha[:12]}" if sha else "")
            whom = from_whom(snapshot, task)
            text = f"{task} {what} only with an approval{whom and f' from {whom}'}"
            attempt = snapshot.record(task).attempt
            number = attempt.number if attempt else 0
            yield Alert(key, "approval_needed", text, task, number, commands=(typed,))


def _failed(snapshot: Snapshot, task: str) -> Alert:
    record = snapshot.record(task)
    attempt = record.attempt
    why = last_line(record)
    reason = f" ({record.reason})" if record.reason else ""
    text = fit(f"{task} failed{reason}{f': {why}' if why else ''}", MOST_CHARACTERS)
    number = attempt.number if attempt else 0
    return Alert(
        f"failed {task} {number}",
        "task_failed",
        text,
        task,
        number,
        record.reason,
        (next_command(snapshot, task), f"gitflow-agents retry {snapshot.plan.plan}/{task}"),
        attempt.url if attempt else "",
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


# --- for people ----------------------------------------------------------------------------------


def mention(snapshot: Snapshot, whom: Sequence[str], told: Sequence[Alert]) -> str:
    """Return the comment that pings some people and teams about alerts."""
    name = snapshot.plan.plan
    lines = [
        f"<!-- gitflow-agents alert {name} -->",
        f"{' '.join(f'@{one}' for one in whom)} {code(name)}:",
        "",
    ]
    for one in told:
        run = f" ([run]({one.url}))" if one.url else ""
        lines.append(f"- {quiet(one.text)}{run}")
    commands = [*dict.fromkeys(command for one in told for command in one.commands)]
    lines += ["", "In a clone:", fence("\n".join(commands[:MOST_COMMANDS]), "sh")]
    return "\n".join(lines) + "\n"


# --- for a program -------------------------------------------------------------------------------


def parcel(
    snapshot: Snapshot, repository: str, told: Sequence[Alert], now: float
) -> dict[str, Any]:
    """Return the object that a webhook gets; `text` is all of it in a sentence or two."""
    plan, home = snapshot.plan.plan, snapshot.state.home
    said = "; ".join(one.text for one in told)
    return {
        "schema": SCHEMA,
        "event": "alerts",
        "text": _harmless(fit(f"{repository}, plan {plan}: {said}", 4 * MOST_CHARACTERS)),
        "repository": repository,
        "plan": plan,
        "pull": (home.pull or None) if home else None,
        "at": utc(now),
        "alerts": [
            {
                "kind": one.kind,
                "task": one.task or None,
                "attempt": one.attempt or None,
                "reason": one.reason.value if one.reason else None,
                "text": _harmless(one.text),
                "commands": list(one.commands),
                "run_url": one.url or None,
            }
            for one in told
        ],
    }


def _harmless(text: str) -> str:
    """Return text by which a chat program pings nobody, neither by `@all` nor by `<!channel>`."""
    return re.sub("([@<])", "\\1\u200b", text)


def webhook_schema() -> dict[str, Any]:
    """Return the JSON schema of what a webhook gets."""
    text, maybe_text = {"type": "string"}, {"type": ["string", "null"]}
    maybe_number = {"type": ["integer", "null"], "minimum": 1}
    one = {
        "kind": {"enum": [*get_args(Kind)]},
        "task": maybe_text,
        "attempt": maybe_number,
        "reason": {"enum": [*(reason.value for reason in Reason), None]},
        "text": text,
        "commands": {"type": "array", "items": text, "description": "What to type in a clone."},
        "run_url": maybe_text,
    }
    whole = {
        "schema": {"const": SCHEMA},
        "event": {"const": "alerts"},
        "text": text | {"description": "All of it in words, as chat programs show it."},
        "repository": text,
        "plan": text,
        "pull": maybe_number | {"description": "The pull request that tells of the plan."},
        "at": text | {"format": "date-time"},
        "alerts": {"type": "array", "minItems": 1, "items": _object(one)},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What a webhook of gitflow-agents gets",
        **_object(whole),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


__all__ = ["MOST", "Alert", "Kind", "alerts", "mention", "parcel", "webhook_schema"]
