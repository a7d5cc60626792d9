"""All that is known of one plan, of one task, and of what is on flow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gitflow_agents.graph import estimate
from gitflow_agents.handoff import text as value_text
from gitflow_agents.models import (
    PERSON,
    SCHEMA,
    Asked,
    Attempt,
    DoneReport,
    Ran,
    Remark,
    Status,
    Task,
    Tracked,
    fold,
    person,
)
from gitflow_agents.render.facts import (
    LOST,
    OnFlow,
    answer_line,
    blockers_of,
    choices,
    cost,
    counts_line,
    estimated,
    instead_json,
    instead_line,
    instead_of,
    is_lost,
    lacking,
    last_line,
    on_flow,
    percent,
    question_json,
    remark_json,
    remark_line,
    sentence,
    tip,
    when,
)
from gitflow_agents.render.reports import ended
from gitflow_agents.render.shape import graph_text
from gitflow_agents.render.text import (
    WIDTH,
    clean,
    count,
    duration,
    fit,
    ids,
    money,
    one_line,
    screen,
    short,
    table,
    utc,
    wrapped,
)
from gitflow_agents.scheduler import Snapshot, is_ahead

_PENDING = Status.PENDING


# --- show -----------------------------------------------------------------------------------------


def show_plan(snapshot: Snapshot) -> str:
    """Return what a plan is: its goal, its decisions, its tasks wave by wave."""
    plan, state = snapshot.plan, snapshot.state
    lines = [
        f"Plan       {plan.plan} v{state.revision}",
        *_field("Goal", plan.goal),
        f"Base       {one_line(state.base)}",
        f"Flow       {state.flow or plan.flow_branch}",
        f"Tasks      {len(plan.tasks)}: {counts_line(snapshot)}",
        *_field("Design", plan.architecture),
        *_field("Patterns", plan.design_patterns),
        *_field("Stack", plan.technology_stack),
        *_field("Tracker", plan.tracker or ""),
        *_field("Epic", plan.epic or ""),
        *_field("Issue", _issue(snapshot, snapshot.tracking.issue)),
        *_field("Issues", snapshot.tracking.refused or snapshot.tracking.unblocked),
    ]
    if plan.tasks and any(task.estimated_time is not None for task in plan.tasks):
        total = sum(estimate(task, 0) for task in plan.tasks)
        lines.append(f"Estimated  {duration(60 * total)}")
    if plan.decisions:
        lines += ["", "Decisions"]
        for decision in plan.decisions:
            why = f" ({one_line(decision.why)})" if decision.why.strip() else ""
            lines += wrapped(f"{one_line(decision.decision)}{why}", "  ", "    ")
    if state.learned:
        lines += ["", "Learned"]
        for said in state.learned:
            lines += wrapped(one_line(said), "  ", "    ")
    lines += ["", graph_text(plan, snapshot.graph, snapshot.statuses())]
    return screen(lines)


def _field(name: str, text: str) -> list[str]:
    return wrapped(one_line(text), f"{name:<11}", " " * 11) if text.strip() else []


def _issue(snapshot: Snapshot, issue: Tracked | None) -> str:
    """Return an issue with its address, and what people made of it; nothing where there is none."""
    if issue is None:
        return ""
    where = f"#{issue.number} {snapshot.tracking.url}{issue.number}"
    return f"{where}; {issue.theirs}" if issue.theirs else where


def show_plan_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return the object that `show PLAN --json` prints; the estimate is in minutes."""
    plan, state = snapshot.plan, snapshot.state
    return {
        "schema": SCHEMA,
        "plan": plan.plan,
        "session_id": plan.plan,
        "goal": plan.goal,
        "architecture": plan.architecture,
        "design_patterns": plan.design_patterns,
        "technology_stack": plan.technology_stack,
        "decisions": [decision.model_dump(mode="json") for decision in plan.decisions],
        "total_tasks": len(plan.tasks),
        "plan_version": f"v{state.revision}",
        "base": state.base,
        "flow": state.flow or plan.flow_branch,
        "tracker": plan.tracker,
        "epic": plan.epic,
        "issue": snapshot.issue_number(),
        "waves": snapshot.graph.waves(),
        "progress": percent(snapshot),
        "estimated_minutes": sum(estimate(task, 0) for task in plan.tasks),
        "learned": list(state.learned),
        "tasks": [_task_object(snapshot, task) for task in plan.tasks],
    }


def _task_object(snapshot: Snapshot, task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "title": task.name,
        "description": task.description,
        "status": snapshot.status(task.id).value,
        "preconditions": list(task.preconditions),
        "depends_on": list(snapshot.graph.requires[task.id]),
        "provides": [capability.name for capability in task.provides],
        "files": list(task.files),
        "estimated_time": str(task.estimated_time) if task.estimated_time is not None else None,
        "priority": (task.priority or snapshot.plan.defaults.priority).value,
    }


def show_task(
    snapshot: Snapshot, task_id: str, now: float, report: DoneReport | None = None
) -> str:
    """Return all that is known about a task; `report` is that of its newest attempt."""
    plan, record = snapshot.plan, snapshot.record(task_id)
    task = plan.by_id[task_id]
    graph, instead = snapshot.graph, instead_of(snapshot, task_id)
    has_work = record.status is not _PENDING and any(past.tip for past in record.attempts)
    lines = [
        fit(f"{plan.plan}/{task_id}  {task.name}", WIDTH),
        *wrapped(sentence(snapshot, task_id, now), "  ", "  "),
        *([f"      $ gitflow-agents diff {plan.plan}/{task_id}"] if has_work else []),
        "",
        *_field("Branch", record.branch),
        *([f"Merge      {record.merge}"] if record.merge else []),
        f"Wave       {graph.wave.get(task_id, 'none')}",
        f"Priority   {task.priority or plan.defaults.priority}",
        *_field("Estimated", estimated(task)),
        *_field("Tracker", task.tracker or ""),
        *_field("Issue", _issue(snapshot, snapshot.issues.get(task_id))),
        *_field("Folder", plan.setting(task, "working_directory") or ""),
        *_field("Runner", plan.setting(task, "runner") or ""),
        *_field("By", instead_line(instead) if instead else ""),
        *_rows("Needs", _needs(snapshot, task)),
        *_rows("Provides", [capability.name for capability in task.provides]),
        *_rows("Files", task.files),
        *_field("Enables", ids(graph.dependants[task_id], 300)),
        *_rows("Command", [task.run] if task.run else []),
        *_rows("Verified", plan.verify(task)),
        *_rows("Failed at", [_red(ran) for ran in record.evidence if ran.kind == "red"]),
        *_rows("Done when", task.acceptance),
        *_rows("Steps", [step.role for step in plan.setting(task, "steps")]),
    ]
    lines += _block("Description", task.description)
    lines += _attempts(record.attempts, now, is_lost(snapshot, task_id))
    lines += _questions(record.questions)
    lines += _remarks(record.feedback)
    if one_line(record.message) != last_line(record):
        lines += _block("Message", record.message)
    commands = (*(report.commands if report else ()), *record.evidence)
    for ran in {ran.command: ran for ran in commands}.values():
        if ran.code != 0:
            lines += _block(f"{ran.kind} {fit(ran.command, 50)}: {ended(ran)}", ran.tail or "-")
    if report is not None:
        lines += _block("Report", report.report_problem)
    if report is not None and report.outcome != "succeeded":
        lines += _block("Last lines of the agent", report.output_tail)
    lines += _block("Summary", record.summary)
    said = [f"{name}: {value_text(value)}" for name, value in record.outputs.items()]
    lines += _block("Outputs", "\n".join(said))
    return screen(lines)


def _needs(snapshot: Snapshot, task: Task) -> list[str]:
    providers, given = snapshot.graph.providers, snapshot.graph.given
    rows = []
    for text in task.preconditions:
        source = "given" if fold(text) in given else providers.get(fold(text), "nobody")
        rows.append(f"{text} (from {source})")
    return rows + list(task.depends_on)


def _rows(name: str, texts: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for text in texts:
        lines += wrapped(one_line(text), f"{'' if lines else name:<11}", " " * 13)
    return lines


def _block(name: str, text: str) -> list[str]:
    body = clean(text).strip("\n")
    if not body.strip():
        return []
    return ["", name, *(f"  {line}".rstrip() for line in body.expandtabs(4).split("\n"))]


def _red(ran: Ran) -> str:
    return f"{(ran.at or '')[:12]}, before the code: {fit(ran.command, 40)}: {ended(ran)}"


def _attempts(attempts: Sequence[Attempt], now: float, is_dead: bool = False) -> list[str]:
    if not attempts:
        return []
    lines = ["", "Attempts"]
    for attempt in attempts:
        if is_dead and attempt.ended_at is None:
            lines.append(f"  {attempt.number}  {utc(attempt.started_at)}  {LOST}")
            continue
        until = now if attempt.ended_at is None else attempt.ended_at
        reason = f" ({attempt.reason})" if attempt.reason else ""
        took = duration(until - attempt.started_at)
        turns = f", {count(attempt.turns, 'turn')}" if attempt.turns is not None else ""
        # A command of the plan is expected to cost nothing; of an agent that is worth a word.
        is_silent = attempt.agent in ("command", PERSON) or attempt.ended_at is None
        unknown = "" if is_silent else ", cost unknown"
        spent = unknown if attempt.cost_usd is None else f", {money(attempt.cost_usd)}"
        lines.append(
            f"  {attempt.number}  {utc(attempt.started_at)}  {attempt.outcome}{reason}, "
            f"{took}{turns}{spent}"
        )
        if attempt.message.strip():
            lines += wrapped(one_line(attempt.message), "     ", "     ")
        if attempt.kept:
            lines.append(f"     kept as {attempt.kept}")
        if attempt.report:
            lines.append(f"     git show {attempt.report}:.gitflow/report.md")
    return lines


def _questions(questions: Sequence[Asked]) -> list[str]:
    lines = ["", "Questions"] if questions else []
    for one in questions:
        lines += wrapped(f"{one.attempt}  {utc(one.at)}  {one_line(one.text)}", "  ", "     ")
        lines += [line for each in choices(one) for line in wrapped(each, "     ", "       ")]
        lines += wrapped(answer_line(one), "     ", "       ")
    return lines


def _remarks(remarks: Sequence[Remark]) -> list[str]:
    lines = ["", "Feedback"] if remarks else []
    for one in remarks:
        lines += wrapped(f"{utc(one.at)}  {remark_line(one)}", "  ", "     ")
        text = clean(one.text).expandtabs(4).strip("\n").split("\n")
        lines += [f"     {line}".rstrip() for line in text]
    return lines


def show_task_json(
    snapshot: Snapshot, task_id: str, now: float, report: DoneReport | None = None
) -> dict[str, Any]:
    """Return the object that `show TASK --json` prints; what is not known is null.

    `report` is that of the task's newest attempt.
    """
    plan, graph, record = snapshot.plan, snapshot.graph, snapshot.record(task_id)
    task = plan.by_id[task_id]
    is_pending = record.status is _PENDING
    return {
        "schema": SCHEMA,
        "plan": plan.plan,
        **_task_object(snapshot, task),
        "lost": is_lost(snapshot, task_id),
        "taken_by": person(record.taken_by) if record.taken_by else None,
        "reason": record.reason.value if record.reason else None,
        "message": record.message or None,
        "wave": graph.wave.get(task_id),
        "ready": is_pending and not snapshot.frontier.unmet(task_id),
        "blocked_by": list(blockers_of(snapshot, task_id)) if is_pending else [],
        "waiting_for": lacking(snapshot, task) if is_pending else [],
        "enables": list(graph.dependants[task_id]),
        "parallel_with": [other for other in graph.wave_members(task_id) if other != task_id],
        "acceptance": list(task.acceptance),
        "verify": list(plan.verify(task)),
        "run": task.run,
        "agent": plan.setting(task, "agent"),
        "instead": instead_json(instead_of(snapshot, task_id)),
        "kind": task.kind,
        "role": plan.setting(task, "role"),
        "steps": [step.model_dump(mode="json") for step in plan.setting(task, "steps")],
        "quality": plan.setting(task, "quality"),
        "docs": list(task.docs),
        "inputs": dict(task.inputs),
        "outputs": {output.name: record.outputs.get(output.name) for output in task.outputs},
        "working_directory": plan.setting(task, "working_directory"),
        "tracker": task.tracker,
        "issue": snapshot.issue_number(task_id),
        "plan_version": f"v{snapshot.state.revision}",
        "branch": record.branch or None,
        "sha": tip(record),
        "merge_sha": record.merge or None,
        "not_before": when(record.not_before if is_ahead(record.not_before, now) else None),
        "cost_usd": cost(record),
        "summary": record.summary or None,
        "learned": list(record.learned),
        "risks": list(record.risks),
        "follow_ups": list(record.follow_ups),
        "report_problem": (report.report_problem if report else "") or None,
        "attempts": [_attempt_object(attempt) for attempt in record.attempts],
        "questions": [question_json(one) for one in record.questions],
        "feedback": [remark_json(one) for one in record.feedback],
        "evidence": [
            ran.model_dump(mode="json", exclude=None if ran.at else {"at"})
            for ran in record.evidence
        ],
    }


def _attempt_object(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "agent": attempt.agent,
        "actor": attempt.actor or None,
        "host": attempt.host or None,
        "started_at": when(attempt.started_at),
        "ended_at": when(attempt.ended_at),
        "outcome": attempt.outcome,
        "reason": attempt.reason.value if attempt.reason else None,
        "message": attempt.message or None,
        "base": attempt.base or None,
        "sha": attempt.tip or None,
        "kept": attempt.kept or None,
        "report": attempt.report or None,
        "cost_usd": attempt.cost_usd,
        "turns": attempt.turns,
        "model": attempt.model or None,
        "session": attempt.session or None,
        "tokens": attempt.tokens.model_dump() if attempt.tokens else None,
    }


# --- provides -------------------------------------------------------------------------------------


def provides(snapshot: Snapshot, given_by: Mapping[str, str] | None = None) -> str:
    """Return the capabilities on flow, each with the task and the merge that gave it.

    `given_by` names the earlier plan of each folded capability that was there before.
    """
    rows = [
        (
            each.task or "-",
            short(each.merge) if each.merge else "-",
            _named(each) if each.task else _earlier(each.name, each.plan),
        )
        for each in on_flow(snapshot, given_by)
    ]
    if not rows:
        return "Nothing is on the flow branch yet."
    return screen(table(("TASK", "MERGE", "CAPABILITY"), rows))


def _named(each: OnFlow) -> str:
    said = f" (declared by {one_line(each.declared_by)})" if each.declared_by else ""
    return one_line(each.name) + said


def _earlier(name: str, plan: str) -> str:
    return f"{one_line(name)} (from {plan or 'an earlier plan'})"


def provides_json(snapshot: Snapshot, given_by: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the object that `provides --json` prints; `names` is the plain list."""
    found = list(on_flow(snapshot, given_by))
    return {
        "schema": SCHEMA,
        "plan": snapshot.plan.plan,
        "names": [each.name for each in found],
        "provides": [
            {
                "name": each.name,
                "task": each.task or None,
                "merge_sha": each.merge or None,
                "from_plan": each.plan or None,
                "declared_by": each.declared_by or None,
            }
            for each in found
        ],
    }
