"""What agents say of their work: a report as it is read, and those of several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from gitflow_agents import spec, steps
from gitflow_agents.agents import Outcome
from gitflow_agents.errors import InvalidFile
from gitflow_agents.execute.orders import Order, Stage
from gitflow_agents.models import Report, Review, Tokens
from gitflow_agents.runner import read_plain

REPORT_BYTES = 64 * 1024


def together(stages: Sequence[Stage]) -> tuple[Outcome, Report]:
    """Return what all agents of an attempt come to, as the outcome and the report of one.

    It ends as the last one did; the words and the memory are those of the task's own agent.
    """
    first, last = stages[0], stages[-1]
    if len(stages) == 1:
        return first.outcome, first.report
    outcomes = [stage.outcome for stage in stages]
    reports = [stage.report for stage in stages]
    message = first.outcome.message
    if last.outcome.reason is not None:
        message = f"step {len(stages) - 1} ({last.task.role}): {last.outcome.message}"
    turns = [one.turns for one in outcomes if one.turns is not None]
    tokens = [one.tokens for one in outcomes if one.tokens is not None]
    outcome = replace(
        first.outcome,
        reason=last.outcome.reason,
        message=message,
        exit_code=last.outcome.exit_code,
        output=last.outcome.output,
        turns=sum(turns) if turns else None,
        cost_usd=spent(stages),
        left_behind=any(one.left_behind for one in outcomes),
        tokens=_sum(tokens) if tokens else None,
        denied=tuple(name for one in outcomes for name in one.denied),
    )
    report = first.report.model_copy(
        update={
            "risks": tuple(line for one in reports for line in one.risks),
            "follow_ups": tuple(line for one in reports for line in one.follow_ups),
            "learned": tuple(line for one in reports for line in one.learned),
            "outputs": {name: value for one in reports for name, value in one.outputs.items()},
            "question": last.report.question,
        }
    )
    return outcome, report


def _sum(tokens: Sequence[Tokens]) -> Tokens:
    return Tokens(
        input=sum(one.input for one in tokens),
        cached=sum(one.cached for one in tokens),
        output=sum(one.output for one in tokens),
    )


def spent(stages: Sequence[Stage]) -> float | None:
    """Return what those agents cost together that say it; None when none does."""
    costs = [cost_of(stage.outcome, stage.report) for stage in stages]
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def cost_of(outcome: Outcome, report: Report) -> float | None:
    """Return what was spent: as the agent's program counted it, else as the agent says."""
    return report.cost_usd if outcome.cost_usd is None else outcome.cost_usd


def over_budget(order: Order, cost: float | None) -> str:
    budget = order.plan.setting(order.task, "budget_usd")
    if budget is None or cost is None or cost <= budget:
        return ""
    return f"it cost ${cost:.2f}, ${budget:g} are allowed"


AnyReport = TypeVar("AnyReport", bound=Report)


def read_report(path: Path, kind: type[AnyReport]) -> tuple[AnyReport, str]:
    """Return what an agent wrote of its work, and a complaint when that cannot be read."""
    try:
        data = read_plain(path, REPORT_BYTES + 1)
    except FileNotFoundError:
        return kind(), ""
    except OSError as e:
        return kind(), f"the agent's report cannot be read: {e.strerror}"
    if len(data) > REPORT_BYTES:
        return kind(), "the agent's report is larger than 64 KiB and was left out"
    return _report(data, kind)


def judged(report: Review, words: str, word: str) -> tuple[Review, str]:
    """Return a review as its report and its agent's last words have it, and what is wrong with it.

    A verdict without the word of the brief is none, and neither are two that do not agree:
    something else than the agent may have written one.
    """
    spoken = [_report(text.encode(), Review) for text in steps.spoken(words, word)]
    none = report.model_copy(update={"verdict": None, "reasons": ()})
    if len(spoken) > 1:
        return none, "its last words hold more than one verdict"
    without = "its verdict does not carry the word of its brief"
    told, complaint = spoken[0] if spoken else (Review(), "")
    if not spoken and word and steps.names_verdict(words):
        complaint = without
    if report.verdict is None:
        said = {"verdict": told.verdict, "reasons": told.reasons}
        return (told if report == Review() else report.model_copy(update=said)), complaint
    if report.word != word:
        return none, without
    if told.verdict not in (None, report.verdict):
        return none, "its report and its last words do not agree"
    return report, ""


def _report(data: bytes, kind: type[AnyReport]) -> tuple[AnyReport, str]:
    if not data.strip():
        return kind(), ""
    try:
        return kind.model_validate(spec.from_yaml(data, file="report.yaml") or {}), ""
    except ValidationError as e:
        error = e.errors()[0]
        where = ".".join(str(part) for part in error["loc"])
        return kind(), f"the agent's report was left out: {where}: {error['msg']}"
    except InvalidFile as e:
        first = e.problems[0]
        return kind(), f"the agent's report was left out: line {first.line}: {first.reason}"
