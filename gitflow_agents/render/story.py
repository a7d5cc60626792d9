"""What a plan's pull request tells: one comment that is kept up to date, and how it opens.

Text of plans and agents is shown as these characters: it pings nobody and is no command, and GitHub
makes a link of a plain address only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gitflow_agents.forge import OWN, Check
from gitflow_agents.grammar import of_terminal
from gitflow_agents.handoff import letter_of
from gitflow_agents.models import Asked, Limits, Status
from gitflow_agents.render.facts import (
    SHOWN,
    WORDS,
    answer_line,
    approvals,
    choices,
    cost,
    lasting,
    meanings,
    percent,
    remark_line,
    said_lately,
    sentence,
    to_answer,
    waiting,
    waits_for,
    word,
    worked,
)
from gitflow_agents.render.reports import final_report
from gitflow_agents.render.shape import graph_mermaid
from gitflow_agents.render.text import (
    cell,
    code,
    count,
    duration,
    fence,
    fit,
    inline,
    money,
    short,
    utc,
)
from gitflow_agents.scheduler import Snapshot, plan_status

MOST_CHARACTERS = 60_000
"""Of a comment; GitHub takes 65,536."""
MOST_WAITING = 20
MOST_ROWS = 200
MOST_LINES = 500
"""Tasks in a check or a summary."""
MOST_DRAWN = 60
"""Tasks of a plan that is drawn; more cannot be read."""
MOST_COMMANDS = 5
MOST_REMARKS = 10


def marker(plan: str) -> str:
    """Return the hidden line by which the comment of a plan is found again."""
    return f"<!-- gitflow-agents plan {plan} -->"


def quiet(text: str) -> str:
    """Return text of somebody's for a line of markdown; nobody is pinged by it."""
    return inline(text).replace("@", "@\u200b")


def question_marker(plan: str, task: str, asked: Asked) -> str:
    """Return the hidden line by which the comment of a question is found again."""
    return f"{OWN}question {plan}/{task} {asked.attempt} {asked.at:.0f} -->"


def question(snapshot: Snapshot, task: str, asked: Asked) -> str:
    """Return the comment in which people see a question, and answer it; later what came of it."""
    plan = snapshot.plan.plan
    lines = [
        question_marker(plan, task, asked),
        f"{code(task)} asks: {quiet(asked.text)}",
        "",
    ]
    signs = {option: sign for sign, option in meanings(asked).items()}
    for at, option in enumerate(asked.options):
        sign = f"{SHOWN[signs[option]]} " if option in signs else ""
        own = " (it would take this)" if option == asked.default else ""
        lines.append(f"- {sign}{letter_of(at)}: {quiet(option)}{own}")
    if not asked.options:
        lines += [f"- {SHOWN[sign]} {option}" for sign, option in meanings(asked).items()]
        lines += [f"- {quiet(line)}" for line in choices(asked)]
    if asked.answered_at:
        return "\n".join([*lines, "", f"Answered: {quiet(answer_line(asked))}", ""])
    if snapshot.record(task).open_question != asked:
        return "\n".join([*lines, "", "Nobody needs to answer any more.", ""])
    react = "React to this comment with one of the signs (seen within minutes), or comment:"
    how = react if signs else "Answer by a comment:"
    typed, _ = of_terminal(to_answer(plan, task, asked), plan)
    return "\n".join([*lines, "", how, "", fence(typed), ""])


def title(snapshot: Snapshot) -> str:
    """Return what the pull request is called."""
    return fit(f"{snapshot.plan.plan}: {snapshot.plan.goal}", 120)


def opening(snapshot: Snapshot, why: str = "", by_hand: str = "") -> str:
    """Return what the pull request says of itself; it is written once.

    With `why` it is an issue, as no pull request can be opened but `by_hand`, at an address.
    """
    plan, state = snapshot.plan, snapshot.state
    merge = f"merge this when you want the result on {code(state.base)}."
    if why:
        merge = (
            f"a pull request of it could not be opened ({quiet(why)}), so this issue tells of the "
            f"plan until there is one: [open it]({by_hand}) when you want the result on "
            f"{code(state.base)}."
        )
    return (
        f"{marker(plan.plan)}\n{quiet(fit(plan.goal, 1000))}\n\n"
        f"{_part_of(snapshot)}"
        f"Tasks of the plan {code(plan.plan)} are merged to {code(state.flow)} when they have "
        f"passed; {merge} The plan {approvals(snapshot)}. What happens is told in one comment "
        "below, which is kept up to date.\n"
    )


def _part_of(snapshot: Snapshot) -> str:
    """Return the issues that a pull request of a plan belongs to, as a sentence or nothing."""
    own = snapshot.issue_number()
    numbers = (f"#{own}" if own else "", snapshot.plan.epic or "")
    said = " and ".join(filter(None, numbers))
    return f"Part of {said}. " if said else ""


def moved(snapshot: Snapshot, pull: int) -> str:
    """Return what an issue says last: a pull request tells of the plan from now on."""
    return f"The plan {code(snapshot.plan.plan)} is told of in its pull request now: #{pull}\n"


def looked_at(snapshot: Snapshot, task: str, report: str) -> str:
    """Return what the pull request of one task says: what approving it does, and the report."""
    plan, flow = snapshot.plan.plan, snapshot.state.flow
    return (
        f"One task of the plan {code(plan)}: {quiet(fit(snapshot.plan.by_id[task].name, 200))}"
        f"{f' ({number})' if (number := snapshot.issue(task)) else ''}\n\n"
        "**Approve it**, and it is tested and merged to "
        f"{code(flow)}; it stays a draft, as nobody has to merge it. Or refuse it in a clone:\n\n"
        f"{fence(f'gitflow-agents reject {plan}/{task} -m WHY', 'sh')}\n\n"
        f"{_cut(report.replace('@', '@' + chr(0x200B)))}\n"
    )


# --- the check and the summary --------------------------------------------------------------------

_CONCLUSIONS: Mapping[str, str] = {
    "finished": "success",
    "landed": "success",
    "closed": "cancelled",
    "failed": "failure",
    "blocked": "failure",
    "waiting": "action_required",
}
"""By the plan's status; without one the check is going on, as while a plan is held."""


def check(snapshot: Snapshot, limits: Limits, now: float) -> Check:
    """Return what is shown at the head of flow: a line a task, and how the plan stands."""
    status = plan_status(snapshot, limits, now)
    done, total = len(snapshot.by_status[Status.COMPLETED]), len(snapshot.plan.tasks)
    lines = [f"- {_line(snapshot, task.id, now)}" for task in snapshot.plan.tasks[:MOST_LINES]]
    if total > MOST_LINES:
        lines.append(f"- and {count(total - MOST_LINES, 'more task')}")
    return Check(
        sha=snapshot.state.flow_sha,
        title=f"{status}: {done} of {count(total, 'task')} merged",
        summary=_cut("\n".join(_waiting(snapshot, limits, now))),
        text=_cut("\n".join(lines)),
        conclusion=_CONCLUSIONS.get(status, ""),
    )


def _line(snapshot: Snapshot, task: str, now: float) -> str:
    attempt = snapshot.record(task).attempt
    run = f" ([run]({attempt.url}))" if attempt is not None and attempt.url else ""
    return f"{code(task)} {quiet(sentence(snapshot, task, now))}{run}"


def _cut(text: str) -> str:
    """Return text without the lines at its end that are too many."""
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].rpartition("\n")[0]


def summary(snapshot: Snapshot, limits: Limits, now: float) -> str:
    """Return what a job says of a plan after a pass: what is ready, what the others wait for."""
    done, total = len(snapshot.by_status[Status.COMPLETED]), len(snapshot.plan.tasks)
    ready = ", ".join(snapshot.frontier.ready[:MOST_WAITING]) or "nothing"
    status = plan_status(snapshot, limits, now)
    rows = [
        task for task in snapshot.plan.tasks if snapshot.status(task.id) is not Status.COMPLETED
    ]
    lines = [
        f"### {code(snapshot.plan.plan)} is {status}: {done} of {count(total, 'task')} merged",
        "",
        f"**Ready now:** {ready}",
        "",
        *_waiting(snapshot, limits, now),
        "",
        "| Task | State | Try | Waiting for | Run |",
        "|---|---|---:|---|---|",
    ]
    for task in rows[:MOST_LINES]:
        attempt = snapshot.record(task.id).attempt
        cells = (
            f"{cell(task.id)} {_quiet_cell(task.name)}{_issue_link(snapshot, task.id)}",
            cell(word(snapshot, task.id)),
            str(attempt.number) if attempt else "",
            _quiet_cell(waits_for(snapshot, task.id, 80)),
            f"[run]({attempt.url})" if attempt and attempt.url else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    if len(rows) > MOST_LINES:
        lines += ["", f"and {count(len(rows) - MOST_LINES, 'more task')}"]
    return "\n".join(lines) + "\n"


def _issue_link(snapshot: Snapshot, task: str) -> str:
    """Return a link to a task's issue where a bare number is none, or nothing."""
    number = snapshot.issue(task)
    return f" [{number}]({snapshot.tracking.url}{number[1:]})" if number else ""


# --- the comment ----------------------------------------------------------------------------------


def story(snapshot: Snapshot, limits: Limits, now: float) -> str:
    """Return the comment of a plan: what waits for people first, then every task."""
    state, name = snapshot.state, snapshot.plan.plan
    parts = [
        f"{marker(name)}\n{_head(snapshot)}",
        "\n".join((*_waiting(snapshot, limits, now), *_remarks(snapshot))),
        "\n".join(_tasks(snapshot, now)),
        _drawing(snapshot),
        "\n".join(_given(snapshot)),
        final_report(snapshot, now).replace("@", "@\u200b") if snapshot.is_over else "",
        f"<sub>Updated {utc(now)} from state {code(short(snapshot.tip))}, revision "
        f"{state.revision}.</sub>",
    ]
    # What is dropped first is what people miss least.
    for drop in (None, 3, 5, 4, 2):
        if drop is not None:
            parts[drop] = "" if drop != 2 else _counted(snapshot)
        text = "\n\n".join(part for part in parts if part) + "\n"
        if len(text) <= MOST_CHARACTERS:
            return text
    return text[:MOST_CHARACTERS]


def matters(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what people want to be told of at once; while it is the same, nothing is written.

    A result that is being tested is still at work for them.
    """
    words: list[tuple[object, ...]] = []
    for task in snapshot.plan.tasks:
        status = snapshot.status(task.id)
        if status is Status.REVIEW and not snapshot.awaits(task.id):
            status = Status.IN_PROGRESS
        record = snapshot.record(task.id)
        words.append((status, record.reason, len(record.attempts), bool(snapshot.awaits(task.id))))
        if task.id in snapshot.issues:
            words.append((snapshot.issue(task.id),))
    words += [(task, one.key, one.is_pending) for task, one in said_lately(snapshot)]
    state = snapshot.state
    words.append((state.setback, state.undispatched, *lasting(snapshot)))
    about = state.revision, state.held, state.status, state.refused, state.given
    return (*about, snapshot.awaits(), *words)


def _head(snapshot: Snapshot) -> str:
    done, total = len(snapshot.by_status[Status.COMPLETED]), len(snapshot.plan.tasks)
    held = f" It is held: {quiet(snapshot.state.held)}." if snapshot.state.held else ""
    spent = f", {money(snapshot.cost_usd)} so far" if snapshot.cost_usd else ""
    return (
        f"### {percent(snapshot)} %: {done} of {count(total, 'task')} merged{spent}\n\n"
        f"The plan {code(snapshot.plan.plan)} {approvals(snapshot)}.{held}"
    )


def _waiting(snapshot: Snapshot, limits: Limits, now: float) -> Iterator[str]:
    found = list(waiting(snapshot, limits, now))
    if not found:
        yield "**Waiting for you:** nothing"
        return
    yield f"**Waiting for you:** {count(len(found), 'thing')}"
    yield ""
    commands: dict[str, None] = {}
    for thing in found[:MOST_WAITING]:
        yield f"- {quiet(thing.what)}{': ' if thing.why else ''}{quiet(thing.why)}"
        commands.update(dict.fromkeys(thing.commands))
    if len(found) > MOST_WAITING:
        yield f"- and {len(found) - MOST_WAITING} more"
    if commands:
        yield ""
        yield from _in_place([*commands][:MOST_COMMANDS], snapshot.plan.plan)


def _in_place(commands: Sequence[str], plan: str) -> Iterator[str]:
    """Yield commands to copy: as a comment where they can be one, else for a terminal."""
    said = {command: of_terminal(command, plan) for command in commands}
    here = [typed for typed, rest in said.values() if typed and not rest]
    there = [command for command, (typed, rest) in said.items() if rest or not typed]
    if here:
        yield "In a comment:"
        yield fence("\n".join(here), "text")
    if there:
        yield "In a clone:"
        yield fence("\n".join(there), "sh")


def _remarks(snapshot: Snapshot) -> Iterator[str]:
    """Yield what was said to agents, and whether they were told."""
    found = said_lately(snapshot)
    if found:
        yield ""
        yield "**Feedback:**"
        yield ""
    for task, one in found[:MOST_REMARKS]:
        yield f"- {code(task)} {quiet(remark_line(one))}: {quiet(fit(one.text, 200))}"
    if len(found) > MOST_REMARKS:
        yield f"- and {len(found) - MOST_REMARKS} more"


def _tasks(snapshot: Snapshot, now: float) -> Iterator[str]:
    rows = [*snapshot.plan.tasks]
    # In a long plan the tasks that are over are counted, so that the others can be read.
    over = (Status.COMPLETED, Status.CANCELLED)
    hidden = []
    if len(rows) > MOST_ROWS:
        hidden = [task for task in rows if snapshot.status(task.id) in over]
        rows = [task for task in rows if snapshot.status(task.id) not in over]
    yield "| Task | State | Try | Agent | Time | Cost | Run |"
    yield "|---|---|---:|---|---:|---:|---|"
    for task in rows[:MOST_ROWS]:
        record = snapshot.record(task.id)
        attempt = record.attempts[-1] if record.attempts else None
        state = WORDS[record.status] + (f": {record.reason}" if record.reason else "")
        spent = cost(record)
        took = worked(snapshot, task.id)
        number = snapshot.issue(task.id)
        cells = [
            f"{cell(task.id)} {_quiet_cell(task.name)}{f' {number}' if number else ''}",
            cell(state),
            str(attempt.number) if attempt else "",
            cell(attempt.agent) if attempt else "",
            duration(took) if took else "",
            money(spent) if spent is not None else "",
            f"[run]({attempt.url})" if attempt and attempt.url else "",
        ]
        yield f"| {' | '.join(cells)} |"
    more = len(hidden) + max(0, len(rows) - MOST_ROWS)
    if more:
        yield ""
        yield f"{count(more, 'more task is', 'more tasks are')} not listed."


def _given(snapshot: Snapshot) -> Iterator[str]:
    """Yield the last commands that people gave in comments, with what takes them back."""
    given = snapshot.state.given
    if given:
        yield "**Last commands:**"
        yield ""
    for one in given:
        words = of_terminal(one.undo, snapshot.plan.plan)[0] or one.undo
        undo = f"; undo: {code(words)}" if words and one.outcome == "done" else ""
        yield f"- {code(one.line)} of {code(one.by)}, {utc(one.at)}: {quiet(one.outcome)}{undo}"


def _quiet_cell(text: str) -> str:
    return cell(text).replace("@", "@\u200b")


def _counted(snapshot: Snapshot) -> str:
    rows = [f"| {WORDS[which]} | {len(snapshot.by_status[which])} |" for which in Status]
    return "\n".join(["| State | Tasks |", "|---|---:|", *rows])


def _drawing(snapshot: Snapshot) -> str:
    if not 1 < len(snapshot.plan.tasks) <= MOST_DRAWN:
        return ""
    drawn = graph_mermaid(snapshot.plan, snapshot.graph, snapshot.statuses())
    body = fence(drawn, "mermaid")
    return f"<details><summary>Which task needs which</summary>\n\n{body}\n\n</details>"


__all__ = [
    "MOST_CHARACTERS",
    "check",
    "looked_at",
    "marker",
    "matters",
    "moved",
    "opening",
    "quiet",
    "story",
    "summary",
    "title",
]
