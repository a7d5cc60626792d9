"""What is left for people when work has ended: the report of an attempt and that of a plan."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gitflow_agents.graph import estimate
from gitflow_agents.handoff import text
from gitflow_agents.models import SCHEMA, DoneReport, Ran, Status, StepReport
from gitflow_agents.render.facts import estimated, on_flow, worked
from gitflow_agents.render.text import (
    bullets,
    cell,
    clean,
    code,
    code_cell,
    count,
    duration,
    fence,
    fit,
    inline,
    money,
    one_line,
    short,
    shortened,
    utc,
)
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.spec import to_yaml

MOST_ROWS = 1000
"""Rows of one table in a report; what is left out is counted."""
_SUMMARY = 600


# --- an attempt -----------------------------------------------------------------------------------


def done_report(report: DoneReport) -> str:
    """Return an attempt's report: scope, files touched, commands, risks, human follow-ups."""
    return "\n\n".join([*_attempt(report), *_parts(report)]) + "\n"


def _attempt(report: DoneReport) -> Iterator[str]:
    yield f"# Report: task {report.task} of plan {report.plan}, attempt {report.attempt}"
    outcome = f"{report.outcome} ({report.reason})" if report.reason else report.outcome
    spent = duration(report.ended_at - report.started_at)
    lines = [
        f"- outcome: {outcome}" + (f": {inline(report.message)}" if report.message else ""),
        f"- agent: {code(report.agent)}{f', model {code(report.model)}' if report.model else ''}",
        f"- time: {utc(report.started_at)} to {utc(report.ended_at)} ({spent})",
        f"- cost: {_cost(report)}",
    ]
    if report.turns is not None:
        lines.append(f"- turns: {report.turns}")
    if report.tokens is not None:
        used = report.tokens
        lines.append(
            f"- tokens: {used.input} read ({used.cached} from a cache), {used.output} written"
        )
    if report.denied:
        lines.append(f"- denied: {', '.join(map(code, report.denied))}")
    if report.exit_code is not None:
        lines.append(f"- exit code: {report.exit_code}")
    if report.already_provided:
        lines.append("- what it provides was there before the attempt; its checks passed")
    yield "\n".join(lines)


def _parts(report: DoneReport) -> Iterator[str]:
    yield "## Scope"
    yield fence(report.scope) if report.scope.strip() else "Nothing was said."
    if report.summary.strip():
        yield f"The agent's summary:\n\n{fence(report.summary)}"
    yield "## Files touched"
    outside = set(report.outside_files)
    yield (
        "\n".join(
            f"- {code(path)}" + (" (the task's files do not name it)" if path in outside else "")
            for path in report.files_touched
        )
        or "None."
    )
    if report.steps:
        yield "## Steps"
        for number, step in enumerate(report.steps):
            yield "\n\n".join(_step(number, step))
    yield "## Commands"
    yield "\n".join(_outcomes(report.commands)) or "None were run."
    last = {(ran.kind, ran.command): ran for ran in report.commands}
    for ran in last.values():
        if ran.code != 0 and ran.tail.strip():
            yield f"The end of {code(ran.command)}:\n\n{fence(ran.tail)}"
    if report.output_tail.strip() and report.outcome != "succeeded":
        yield f"The agent's last lines:\n\n{fence(report.output_tail)}"
    yield "## Risks"
    yield "\n".join(bullets(report.risks)) or "None were named."
    yield "## Human follow-ups"
    yield "\n".join(bullets(report.follow_ups)) or "None were named."
    if report.learned:
        yield "## Learned"
        yield "\n".join(bullets(report.learned))
    if report.outputs:
        yield "## Outputs"
        said = ((name, text(value)) for name, value in report.outputs.items())
        yield "\n".join(f"- {code(name)}: {code(value) or 'empty'}" for name, value in said)


def _cost(report: DoneReport) -> str:
    if report.cost_usd is None:
        return "unknown"
    silent = sum(step.cost_usd is None for step in report.steps)
    more = f" and more ({silent} of {count(len(report.steps), 'agent')} did not say)"
    return f"{money(report.cost_usd)}{more if silent else ''}"


def _step(number: int, step: StepReport) -> Iterator[str]:
    """Yield the parts of what is told of an agent of an attempt with steps."""
    role = f", {code(step.role)}" if step.role else ""
    yield f"### {f'Step {number}' if number else 'The task'}{role}"
    ended = f"{step.outcome} ({step.reason})" if step.reason else step.outcome
    lines = [
        f"- outcome: {ended}" + (f": {inline(step.message)}" if step.message else ""),
        f"- agent: {code(step.agent)}{f', model {code(step.model)}' if step.model else ''}",
        f"- time: {duration(step.seconds)}",
        f"- cost: {'unknown' if step.cost_usd is None else money(step.cost_usd)}",
    ]
    if step.turns is not None:
        lines.append(f"- turns: {step.turns}")
    if step.verdict is not None:
        lines.append(f"- verdict: {step.verdict}")
        lines += [f"  - {inline(reason)}" for reason in step.reasons]
    lines += [f"- changed: {', '.join(map(code, step.files_touched)) or 'nothing'}"]
    yield "\n".join(lines)
    if number and step.summary.strip():
        yield fence(step.summary)


def _outcomes(commands: Iterable[Ran]) -> list[str]:
    """Return a line for each command, with how each of its runs ended, in order."""
    runs: dict[tuple[str, str], list[Ran]] = {}
    for ran in commands:
        runs.setdefault((ran.kind, ran.command), []).append(ran)
    return [
        f"- {kind}: {code(command)}: "
        + " → ".join(f"{ended(ran)} ({duration(ran.seconds)})" for ran in rows)
        for (kind, command), rows in runs.items()
    ]


def ended(ran: Ran) -> str:
    """Return how a command ended, in a word or three."""
    if ran.code is None:
        return "did not end or could not start"
    if ran.code < 0:
        return f"ended by signal {-ran.code}"
    return f"failure {ran.code}" if ran.code else "success"


# --- a plan ---------------------------------------------------------------------------------------


def final_report(snapshot: Snapshot, now: float) -> str:
    """Return `plans/<plan>.report.md`: what was built, how it was proved, what it took.

    `now` is in seconds since the epoch.
    """
    return (
        "\n\n".join(
            [
                *_result(snapshot, now),
                *_built(snapshot),
                *_unfinished(snapshot),
                *_verification(snapshot),
                *_numbers(snapshot, now),
                *_estimates(snapshot),
                *_said(snapshot, "Risks", "risks"),
                *_said(snapshot, "Human follow-ups", "follow_ups"),
                *_learned(snapshot),
            ]
        )
        + "\n"
    )


def _result(snapshot: Snapshot, now: float) -> Iterator[str]:
    plan, state = snapshot.plan, snapshot.state
    yield f"# Report of plan {plan.plan}"
    yield (
        f"Generated {utc(now)} from {code(state.flow)} at `{short(state.flow_sha)}`, "
        f"plan version v{state.revision}."
    )
    yield fence(plan.goal)
    total, done = len(plan.tasks), len(snapshot.by_status[Status.COMPLETED])
    if done == total:
        yield f"All work merged to flow branch {code(state.flow)}."
    elif snapshot.is_over:
        left = count(total - done, "task was", "tasks were")
        yield f"{done} of {total} tasks merged to flow branch {code(state.flow)}; {left} left out."
    else:
        of = f"{done} of {count(total, 'task')}"
        yield f"Not finished: {of} merged to flow branch {code(state.flow)}."


def _built(snapshot: Snapshot) -> Iterator[str]:
    yield "## What was built"
    completed = snapshot.by_status[Status.COMPLETED]
    lines: list[str] = []
    for task in snapshot.plan.tasks:
        if task.id not in completed:
            continue
        if len(lines) == MOST_ROWS:
            lines.append(f"- … and {count(len(completed) - MOST_ROWS, 'more task')}")
            break
        record = snapshot.record(task.id)
        tracker = f" [{inline(task.tracker)}]" if task.tracker else ""
        merge = f", merged as `{short(record.merge)}`" if record.merge else ""
        line = f"- **{task.id}** {inline(task.name)}{tracker}{merge}"
        summary = one_line(record.summary)
        if summary:
            line += f":\n  {inline(shortened(summary, _SUMMARY))}"
        lines.append(line)
    yield "\n".join(lines) or "Nothing yet."


def _unfinished(snapshot: Snapshot) -> Iterator[str]:
    failed, cancelled = snapshot.by_status[Status.FAILED], snapshot.by_status[Status.CANCELLED]
    for title, which in (("Failed", failed), ("Left out", cancelled)):
        if not which:
            continue
        lines = []
        for task in snapshot.plan.tasks:
            if task.id in which:
                record = snapshot.record(task.id)
                said = ": ".join(
                    part for part in (record.reason or "", inline(fit(record.message, 300))) if part
                )
                why = f" ({said})" if said else ""
                lines.append(f"- **{task.id}** {inline(task.name)}{why}")
        if len(lines) > MOST_ROWS:
            lines[MOST_ROWS:] = [f"- … and {count(len(lines) - MOST_ROWS, 'more task')}"]
        yield f"## {title}"
        yield "\n".join(lines)
    over = len(snapshot.by_status[Status.COMPLETED]) + len(failed) + len(cancelled)
    if rest := len(snapshot.plan.tasks) - over:
        yield f"{count(rest, 'task is', 'tasks are')} not done."


@dataclass(frozen=True)
class Proof:
    """A command that passed: for how many tasks, and the most tests that a run of it counted."""

    kind: str
    command: str
    times: int
    tests: int | None


def proofs(snapshot: Snapshot) -> list[Proof]:
    """Return the commands that passed for what is merged, each once, in plan order."""
    times: dict[tuple[str, str], int] = {}
    tests: dict[tuple[str, str], int] = {}
    completed = snapshot.by_status[Status.COMPLETED]
    for task in snapshot.plan.tasks:
        if task.id not in completed:
            continue
        for ran in snapshot.record(task.id).evidence:
            if ran.code == 0 and ran.kind != "setup":
                key = (ran.kind, ran.command)
                times[key] = times.get(key, 0) + 1
                if (found := passed_in(ran.tail)) is not None:
                    tests[key] = max(found, tests.get(key, 0))
    return [Proof(*key, number, tests.get(key)) for key, number in times.items()]


_PYTEST = re.compile(r"\b(\d+) passed\b[^\n]{0,200} in \d+(?:\.\d+)?s\b")
_UNITTEST = re.compile(r"^Ran (\d+) tests? in \S+$", re.MULTILINE)
_OK = re.compile(r"^OK\b", re.MULTILINE)


def passed_in(output: str) -> int | None:
    """Return how many tests the end of an output of pytest or unittest says passed, else None."""
    text = clean(output)
    if found := _PYTEST.findall(text):
        return int(found[-1])
    runs = list(_UNITTEST.finditer(text))
    return int(runs[-1][1]) if runs and _OK.search(text, runs[-1].end()) else None


def _verification(snapshot: Snapshot) -> Iterator[str]:
    yield "## Verification"
    passed = proofs(snapshot)
    if not passed:
        yield "No command was run to verify the work."
        return
    counted = [proof for proof in passed if proof.tests is not None]
    if counted:
        most = max(counted, key=lambda proof: proof.tests or 0)
        yield f"Tests passing: {most.tests} in {code(most.command)}."
    else:
        yield "Tests passing: unknown, no output says how many."
    rows = [
        f"| {code_cell(proof.command, 100)} | {proof.kind} | {proof.times} | "
        f"{'' if proof.tests is None else proof.tests} |"
        for proof in passed[:MOST_ROWS]
    ]
    head = ["| Command that passed | Kind | Times | Tests passing |", "|---|---|---:|---:|"]
    yield "\n".join([*head, *rows])
    if len(passed) > MOST_ROWS:
        yield f"… and {count(len(passed) - MOST_ROWS, 'more command')}."


def _numbers(snapshot: Snapshot, now: float) -> Iterator[str]:
    plan, state = snapshot.plan, snapshot.state
    attempts = [attempt for record in snapshot.records.values() for attempt in record.attempts]
    silent = sum(attempt.cost_usd is None for attempt in attempts)
    if attempts and silent == len(attempts):
        money_said = "unknown (no attempt reported it)"
    else:
        money_said = money(snapshot.cost_usd)
        if silent:
            money_said += f" and more ({silent} of {count(len(attempts), 'attempt')} did not say)"
    waves = max(snapshot.graph.wave.values(), default=0)
    lines = [
        f"- session id: `{plan.plan}`",
        f"- flow branch: {code(state.flow)}, cut from {code(state.base)}",
        f"- total tasks: {len(plan.tasks)}",
        f"- waves: {waves}",
        f"- total time: {duration(now - state.accepted_at)}",
        f"- work by all agents together: {duration(snapshot.minutes * 60)}",
        f"- attempts: {len(attempts)}",
        f"- cost: {money_said}",
    ]
    if plan.tracker:
        lines.append(f"- tracker: {inline(plan.tracker)}")
    yield "## Numbers"
    yield "\n".join(lines)


def _estimates(snapshot: Snapshot) -> Iterator[str]:
    tasks = [task for task in snapshot.plan.tasks if task.estimated_time is not None]
    if not tasks:
        return
    tracked = any(task.tracker for task in tasks)
    rows = [
        ("Task", "Title", *(["Tracker"] if tracked else []), "Estimated", "Took"),
        ("---", "---", *(["---"] if tracked else []), "---:", "---:"),
    ]
    for task in tasks[:MOST_ROWS]:
        took = worked(snapshot, task.id)
        tracker = [cell(task.tracker or "", 40)] if tracked else []
        said = duration(took) if took else ""
        rows.append((task.id, cell(task.name), *tracker, cell(estimated(task), 20), said))
    total = duration(60 * sum(map(estimate, tasks)))
    took_all = duration(sum(worked(snapshot, task.id) for task in tasks))
    rows.append(("all", count(len(tasks), "task"), *([""] if tracked else []), total, took_all))
    yield "## Estimates and what it took"
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _learned(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.state.learned:
        yield "## Learned"
        yield "\n".join(bullets(snapshot.state.learned))


def _said(snapshot: Snapshot, title: str, key: str) -> Iterator[str]:
    """Yield what agents said of merged tasks under one heading, task by task."""
    lines = [f"{said['id']}: {one_line(said['text'])}" for said in _of_merged(snapshot, key)]
    if lines:
        yield f"## {title}"
        yield "\n".join(bullets(lines))


def final_report_json(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """Return the object that `report --json` prints; `now` is in seconds since the epoch.

    Times with a unit in their name are numbers of it; what is not known is null.
    """
    plan, state = snapshot.plan, snapshot.state
    attempts = [attempt for record in snapshot.records.values() for attempt in record.attempts]
    costs = [attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None]
    which = {status: snapshot.by_status[status] for status in Status}
    left = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
    tests = [proof.tests for proof in proofs(snapshot) if proof.tests is not None]
    return {
        "schema": SCHEMA,
        "plan": plan.plan,
        "session_id": plan.plan,
        "at": utc(now),
        "goal": plan.goal,
        "revision": state.revision,
        "base": state.base,
        "flow": state.flow,
        "flow_sha": state.flow_sha,
        "finished": snapshot.is_over,
        "built": [
            {
                "id": task.id,
                "title": task.name,
                "tracker": task.tracker,
                "merge_sha": snapshot.record(task.id).merge or None,
                "summary": snapshot.record(task.id).summary or None,
            }
            for task in plan.tasks
            if task.id in which[Status.COMPLETED]
        ],
        "failed": _unbuilt(snapshot, which[Status.FAILED]),
        "left_out": _unbuilt(snapshot, which[Status.CANCELLED]),
        "not_done": [t.id for t in plan.tasks if snapshot.status(t.id) not in left],
        "verification": [
            {
                "command": proof.command,
                "kind": proof.kind,
                "times": proof.times,
                "tests_passing": proof.tests,
            }
            for proof in proofs(snapshot)
        ],
        "tests_passing": max(tests, default=None),
        "total_tasks": len(plan.tasks),
        "waves": max(snapshot.graph.wave.values(), default=0),
        "attempts": len(attempts),
        "total_seconds": round(now - state.accepted_at, 3),
        "work_seconds": round(snapshot.minutes * 60, 3),
        "cost_usd": sum(costs) if costs else None,
        "cost_is_complete": len(costs) == len(attempts),
        "tracker": plan.tracker,
        "estimates": [
            {
                "id": task.id,
                "estimated_minutes": estimate(task),
                "work_seconds": round(worked(snapshot, task.id), 3),
            }
            for task in plan.tasks
            if task.estimated_time is not None
        ],
        "risks": _of_merged(snapshot, "risks"),
        "follow_ups": _of_merged(snapshot, "follow_ups"),
        "learned": list(state.learned),
    }


def _unbuilt(snapshot: Snapshot, which: Iterable[str]) -> list[dict[str, Any]]:
    found = []
    for task in sorted(which, key=snapshot.plan.order.__getitem__):
        record = snapshot.record(task)
        found.append(
            {
                "id": task,
                "title": snapshot.plan.by_id[task].name,
                "reason": record.reason.value if record.reason else None,
                "message": record.message or None,
            }
        )
    return found


def _of_merged(snapshot: Snapshot, key: str) -> list[dict[str, str]]:
    return [
        {"id": task.id, "text": text}
        for task in snapshot.plan.tasks
        if task.id in snapshot.by_status[Status.COMPLETED]
        for text in getattr(snapshot.record(task.id), key)
    ]


def provides_yaml(snapshot: Snapshot) -> bytes:
    """Return `plans/<plan>.provides.yaml`: what later plans may need, with task and merge."""
    provides = [
        {"name": each.name, "task": each.task, "declared_by": each.declared_by}
        if each.declared_by
        else {"name": each.name, "task": each.task, "merge": each.merge}
        for each in on_flow(snapshot)
        if each.task
    ]
    return to_yaml({"schema": SCHEMA, "plan": snapshot.plan.plan, "provides": provides})
