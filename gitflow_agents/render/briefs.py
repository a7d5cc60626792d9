"""What an agent is told: the brief that it reads, and the task file that its branch carries.

Both say the same to different readers.  The words of the brief are a template; this module decides
which values it gets.  Everything that people or other agents wrote is a `Said`, which a template
can put only into a fence or a code span, so that it is read as what it is: a description of the
work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from gitflow_agents.handoff import source, variable
from gitflow_agents.models import (
    Attempt,
    Decision,
    Output,
    Plan,
    Remark,
    Report,
    Review,
    Status,
    Task,
    fold,
    person,
)
from gitflow_agents.render.facts import estimated
from gitflow_agents.render.prompt import FILTERS, Said, Template, variables
from gitflow_agents.render.text import clean, duration, inline, one_line, short, shortened, utc
from gitflow_agents.roles import Handbook, Role
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.spec import to_yaml
from gitflow_agents.steps import Member

MOST_NEIGHBOURS = 200
"""Ids in `parallel_with`: a wave of thousands would say nothing more."""
MOST_LEARNINGS = 100
_SUMMARY = 8_000
_SUMMARIES = 64_000
_MESSAGE = 4_000
_NOTHING = Said("")
MOST_PREFERENCES = 32_000
"""Characters of the preferences file that reach a brief."""


# --- the task file --------------------------------------------------------------------------------


def task_yaml(snapshot: Snapshot, task_id: str, branch: str, attempt: int) -> bytes:
    """Return `.gitflow/task.yaml`: all that somebody needs who has only the task's branch.

    `completed_tasks` are those on flow now, in plan order; `parallel_with` holds at most 200 ids.
    """
    plan, graph, state = snapshot.plan, snapshot.graph, snapshot.state
    task = plan.by_id[task_id]
    head = {
        "task_id": task.id,
        "branch_slug": branch.removeprefix(f"task/{plan.plan}/{task.id}-"),
        "title": task.name,
        "description": task.description,
        "acceptance": task.acceptance,
        "preconditions": task.preconditions,
        "provides": [capability.name for capability in task.provides],
        "files": task.files,
        "verify": plan.verify(task),
        "session_goal": plan.goal,
        "session_id": plan.plan,
        "plan_branch": f"plan/{plan.plan}",
        "plan_version": f"v{state.revision}",
        "branch": branch,
        "flow": state.flow,
        "attempt": attempt,
        "estimated_time": str(task.estimated_time or ""),
        "priority": (task.priority or plan.defaults.priority).value,
    }
    role = plan.setting(task, "role")
    outputs = [output.model_dump(mode="json", exclude_defaults=True) for output in task.outputs]
    steps = [step.role for step in plan.setting(task, "steps")]
    more = {
        "issue": snapshot.issue(task_id),
        "epic": plan.epic,
        "role": role,
        "steps": steps,
        "docs": task.docs,
        "inputs": task.inputs,
        "outputs": outputs,
    }
    head |= {key: value for key, value in more.items() if value}
    if task.kind != "change":
        head["kind"] = task.kind
    # Lists of ids grow with the plan; an id needs no escaping, so they are not left to the emitter.
    completed = snapshot.by_status[Status.COMPLETED]
    others = graph.wave_members(task_id)[: MOST_NEIGHBOURS + 1]
    at = others.index(task_id) if task_id in others else MOST_NEIGHBOURS
    tail = "".join(
        [
            _ids("depends_on", graph.requires[task_id]),
            _ids("enables", graph.dependants[task_id]),
            _ids("parallel_with", others[:at] + others[at + 1 :]),
            _ids("completed_tasks", _in_order(completed, plan)),
        ]
    )
    # Somewhere behind a text that ends in empty lines the emitter ends the document; ours goes on.
    return to_yaml(head).removesuffix(b"...\n") + tail.encode()


def _in_order(tasks: Set[str], plan: Plan) -> Iterable[str]:
    """Return some tasks in plan order, by whichever way is the shorter one."""
    if len(tasks) * 8 < len(plan.order):
        return sorted(tasks, key=plan.order.__getitem__)
    return (task for task in plan.order if task in tasks)


def _ids(key: str, ids: Iterable[str]) -> str:
    text = '", "'.join(ids)
    return f'{key}: ["{text}"]\n' if text else f"{key}: []\n"


# --- the values of a brief ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """The plan as the brief tells it."""

    name: str
    version: str
    branch: str
    goal: Said
    architecture: Said
    design_patterns: Said
    technology_stack: Said
    decisions: tuple[Said, ...]
    gate: tuple[Said, ...]
    protected_paths: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """A capability, and the command that proves it."""

    name: Said
    command: Said


@dataclass(frozen=True, slots=True)
class Doc:
    """A file that the task names as its documentation; `note` says what of it is not here."""

    path: Said
    text: Said
    note: str


@dataclass(frozen=True, slots=True)
class Input:
    """A value that an earlier task reported."""

    name: str
    variable: str
    task: str
    value: Said


@dataclass(frozen=True, slots=True)
class OutputFacts:
    """A value that this task has to report."""

    name: str
    type: str
    choices: tuple[Said, ...]
    pattern: Said


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """The task as the brief tells it."""

    id: str
    name: Said
    description: Said
    replacement: Said
    run: Said
    acceptance: tuple[Said, ...]
    provides: tuple[Said, ...]
    files: tuple[Said, ...]
    is_strict: bool
    is_research: bool
    is_test_first: bool
    priority: str
    estimated_time: Said
    working_directory: Said
    verify: tuple[Said, ...]
    proofs: tuple[Proof, ...]
    docs: tuple[Doc, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[OutputFacts, ...]
    time: str
    turns: int
    budget: str


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """The role of the task's agent; all of it is empty when it has none."""

    name: str
    description: Said
    prompt: str
    rules: tuple[str, ...]
    tools: tuple[str, ...]


_NOTHING = Said("")


@dataclass(frozen=True, slots=True)
class Before:
    """What an agent of this attempt did before this step."""

    who: Said
    changed: Said
    report: Said


@dataclass(frozen=True, slots=True)
class StepFacts:
    """The step that this agent does; all of it is empty for the task's own agent."""

    number: int = 0
    of: int = 0
    prompt: Said = _NOTHING
    is_review: bool = False
    word: str = ""
    """What its verdict has to carry: nobody who worked before it can know it."""
    before: tuple[Before, ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """A task whose merge this one stands on."""

    id: str
    name: Said
    merge: str
    provides: tuple[Said, ...]
    summary: Said


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier attempt; `outcome` says how it ended, and `kept` names the ref of its work."""

    number: int
    outcome: str
    message: Said
    kept: Said
    report: str


@dataclass(frozen=True, slots=True)
class Repair:
    """A failure that this attempt has to look into; `attempt` is 0 where it has not."""

    attempt: int = 0
    log: Said = _NOTHING
    diff: Said = _NOTHING


@dataclass(frozen=True, slots=True)
class Guided:
    """What a person said, and after which attempt; 0 before the first."""

    by: str
    after: int
    text: Said


@dataclass(frozen=True, slots=True)
class Heard:
    """What somebody said to the agents of the task, when, and as whom."""

    by: str
    kind: str
    at: str
    text: Said


@dataclass(frozen=True, slots=True)
class Answered:
    """What an agent of the task asked, and the answer; empty where it was left to the agent."""

    question: Said
    answer: Said
    note: Said
    by: str


@dataclass(frozen=True, slots=True)
class Brief:
    """Everything that a template can name."""

    task: TaskFacts
    plan: PlanFacts
    role: RoleFacts
    step: StepFacts
    attempt: int
    branch: Said
    flow: Said
    worktree: Said
    preferences: Said
    given: tuple[Said, ...]
    needs: tuple[Need, ...]
    learned: tuple[Said, ...]
    attempts: tuple[Past, ...]
    refusal: Said
    refusal_reason: str
    kept: tuple[Said, ...]
    conflict: tuple[Said, ...]
    repair: Repair
    guidance: tuple[Guided, ...]
    questions: tuple[Answered, ...]
    feedback: tuple[Heard, ...]


ABOUT: Mapping[str, str] = {
    "task": "the task",
    "task.id": "its id",
    "task.name": "its title",
    "task.description": "what is to be done, as the plan says",
    "task.replacement": "what a person wants done instead (`retry --replace`), or empty",
    "task.run": "the command that the plan names for it, or empty",
    "task.acceptance": "what has to be true of the result",
    "task.provides": "the capabilities that its merge puts on flow",
    "task.files": "paths and globs that it is expected to change",
    "task.is_strict": "whether a change outside `files` is refused",
    "task.is_research": "whether findings are wanted and no changed files (`kind: research`)",
    "task.is_test_first": "whether its tests have to fail in a commit before the code (`tdd`)",
    "task.priority": "high, medium or low",
    "task.estimated_time": "the plan's estimate, or empty",
    "task.working_directory": "the folder that the agent starts in; `.` is the top",
    "task.verify": "commands that have to succeed",
    "task.proofs": "the checks of what it provides",
    "task.proofs[].name": "the capability",
    "task.proofs[].command": "the command that proves it",
    "task.docs": "the files that `docs` names",
    "task.docs[].path": "where the file is",
    "task.docs[].text": "what it says, or empty",
    "task.docs[].note": "why it is not here or not whole, or empty",
    "task.inputs": "the values that earlier tasks reported for it",
    "task.inputs[].name": "its name in this task",
    "task.inputs[].variable": "the variable of the agent's environment that holds it",
    "task.inputs[].task": "the task that reported it",
    "task.inputs[].value": "the value; empty in a preview, before it was reported",
    "task.outputs": "the values that it has to report",
    "task.outputs[].name": "the name to report it under",
    "task.outputs[].type": "string, number or boolean",
    "task.outputs[].choices": "the only values that it can have, if there are such",
    "task.outputs[].pattern": "a regular expression for the whole of it, or empty",
    "task.time": "how long an attempt may take",
    "task.turns": "how many turns it may take; 0 for any number",
    "task.budget": "what it may cost, or empty",
    "plan": "the plan",
    "plan.name": "its name, the session id",
    "plan.version": "its revision, such as `v2`",
    "plan.branch": "the branch on which people propose it",
    "plan.goal": "what it is for",
    "plan.architecture": "as the plan says",
    "plan.design_patterns": "as the plan says",
    "plan.technology_stack": "as the plan says",
    "plan.decisions": "each decision, with why, instead of what, how and where",
    "plan.gate": "commands that have to succeed on the merged tree",
    "plan.protected_paths": "paths that no task may change, beside those that are always protected",
    "role": "the task's role; all of it is empty when it has none",
    "role.name": "its name",
    "role.description": "what it is for",
    "role.prompt": "what the role's file says to the agent; it is an instruction",
    "role.rules": "what is held against the result, as sentences",
    "role.tools": "what its agent may use; empty for anything",
    "step": "the step that the brief is for; all of it is empty for the task's own agent",
    "step.number": "which of the steps it is; 0 for the task's own agent",
    "step.of": "how many steps there are",
    "step.prompt": "what the plan wants of this step, or empty",
    "step.is_review": "whether it judges the work and has to give a verdict",
    "step.word": "the word that its verdict has to carry; empty where it needs none",
    "step.before": "who was there before it in this attempt, the task's own agent first",
    "step.before[].who": "the agent and its role",
    "step.before[].changed": "which files it changed, and by how much",
    "step.before[].report": "what it reported",
    "attempt": "the number of this attempt",
    "branch": "the task's branch",
    "flow": "the branch that results are merged to",
    "worktree": "where the agent works, when that is known",
    "preferences": "the repository's preferences file, or empty",
    "given": "what it needs that earlier plans left",
    "needs": "the tasks that it stands on",
    "needs[].id": "the task's id",
    "needs[].name": "its title",
    "needs[].merge": "its merge commit, shortened; empty before that",
    "needs[].provides": "the capabilities that it gave",
    "needs[].summary": "what its agent reported",
    "learned": "what agents of this plan learned so far",
    "attempts": "the earlier attempts, the oldest first",
    "attempts[].number": "its number",
    "attempts[].outcome": "how it ended, why and after how long",
    "attempts[].message": "what was wrong with it",
    "attempts[].kept": "the ref that keeps its work, or empty",
    "attempts[].report": "the commit that holds its report, or empty",
    "refusal": "why the last result was not merged, where the attempt does not say it",
    "refusal_reason": "the code of that",
    "kept": "more refs that keep former work",
    "conflict": "the paths in which the last result met flow",
    "repair": "the failure that is to be looked into (`retry --repair`)",
    "repair.attempt": "the number of the attempt that failed; 0 where nobody asked for it",
    "repair.log": "the end of what its failed commands and its agent printed, or empty",
    "repair.diff": "what it changed, the beginning of it, or empty",
    "guidance": "what people said to earlier attempts, the oldest first",
    "guidance[].by": "who",
    "guidance[].after": "after which attempt; 0 before the first",
    "guidance[].text": "what they said",
    "questions": "what agents of the task asked and people answered, the oldest first",
    "questions[].question": "what was asked",
    "questions[].answer": "the answer; empty where it was left to the agent",
    "questions[].note": "what was said beside it, or empty",
    "questions[].by": "who answered",
    "feedback": "what was said to the agents of the task (`feedback`), the oldest first",
    "feedback[].by": "who",
    "feedback[].kind": "`user` for a person, `system` for a program",
    "feedback[].at": "when",
    "feedback[].text": "what they said",
}
"""A sentence for every value, in the order of the documentation; a test holds them together."""


def brief_reference() -> str:
    """Return the table of all values of a template, for the documentation."""
    rows = [f"| `{name}` | {kind} | {ABOUT[name]} |" for name, kind in variables(Brief)]
    return "\n".join(["| Name | Is a | Holds |", "|---|---|---|", *rows])


def filter_reference() -> str:
    """Return the table of all filters of a template, for the documentation."""
    rows = [f"| `{name}` | {each.about} |" for name, each in FILTERS.items()]
    return "\n".join(["| Filter | Puts a value |", "|---|---|", *rows])


@dataclass(frozen=True)
class Beside:
    """What a brief tells that the snapshot does not hold.

    `worktree` says where the agent works; `kept` are refs that hold former work besides those that
    the attempts name; `conflict` the paths in which the last result met flow; `inputs` the values
    by name.
    """

    worktree: str = ""
    kept: Sequence[str] = ()
    conflict: Sequence[str] = ()
    docs: Sequence[Doc] = ()
    inputs: Mapping[str, str] | None = None
    repair: Repair = Repair()


def brief(
    template: Template,
    snapshot: Snapshot,
    task_id: str,
    *,
    branch: str,
    attempt: int,
    handbook: Handbook = Handbook(),  # noqa: B008 - frozen
    beside: Beside = Beside(),
) -> str:
    """Return the markdown that an attempt's agent gets; FlowError when the template fails."""
    return template.render(
        values(snapshot, task_id, branch=branch, attempt=attempt, handbook=handbook, beside=beside)
    )


def values(
    snapshot: Snapshot,
    task_id: str,
    *,
    branch: str,
    attempt: int,
    handbook: Handbook,
    beside: Beside,
    member: Member | None = None,
    step: StepFacts = StepFacts(),
) -> Brief:
    """Return all that a template can name, for the task's own agent or that of a step."""
    plan, state, record = snapshot.plan_for(task_id), snapshot.state, snapshot.record(task_id)
    role: Role | None
    if member is None:
        role = handbook.role(plan, plan.by_id[task_id])
        task = handbook.terms(plan, plan.by_id[task_id])
    else:
        task, role = member
    earlier = [past for past in record.attempts if past.number < attempt]
    refusal = record.message.strip()
    if not record.reason or refusal in [past.message.strip() for past in earlier]:
        refusal = ""
    told = {past.kept for past in earlier}
    # A person may have given the former description up for another one.
    since = max((n for n, said in enumerate(record.guidance) if said.mode == "replace"), default=-1)
    return Brief(
        task=_task(plan, task, record.guidance[since].text if since >= 0 else "", beside),
        plan=PlanFacts(
            plan.plan,
            f"v{state.revision}",
            f"plan/{plan.plan}",
            _said(plan.goal),
            _said(plan.architecture),
            _said(plan.design_patterns),
            _said(plan.technology_stack),
            tuple(map(_decision, plan.decisions)),
            _texts(plan.gate),
            _texts(plan.protected_paths),
        ),
        role=_role(plan.setting(task, "role") or "", role),
        step=step,
        attempt=attempt,
        branch=Said(branch),
        flow=Said(state.flow),
        worktree=Said(beside.worktree),
        preferences=Said(shortened(handbook.preferences.strip("\n"), MOST_PREFERENCES)),
        given=_texts(text for text in task.preconditions if fold(text) in snapshot.given),
        needs=_needs(snapshot, task_id),
        learned=_texts(shortened(text, _MESSAGE) for text in state.learned[-MOST_LEARNINGS:]),
        attempts=tuple(map(_past, earlier)),
        refusal=Said(shortened(refusal, _MESSAGE)),
        refusal_reason=record.reason or "",
        kept=_texts(ref for ref in beside.kept if ref not in told),
        conflict=_texts(beside.conflict),
        repair=beside.repair,
        guidance=tuple(
            Guided(inline(person(said.by)), said.after_attempt, Said(said.text))
            for said in record.guidance[since + 1 :]
        ),
        questions=tuple(
            Answered(
                Said(one.text), Said(one.answer), Said(one.note), inline(person(one.answered_by))
            )
            for one in record.questions
            if one.answered_at
        ),
        feedback=heard(record.feedback),
    )


def heard(remarks: Iterable[Remark]) -> tuple[Heard, ...]:
    """Return remarks as a template can name them."""
    return tuple(
        Heard(inline(person(one.by)), one.kind, utc(one.at), Said(one.text)) for one in remarks
    )


def _said(text: str) -> Said:
    return Said(text if text.strip() else "")


def _texts(items: Iterable[str]) -> tuple[Said, ...]:
    return tuple(map(Said, items))


def _decision(decision: Decision) -> Said:
    lines = [one_line(decision.decision)]
    for word, said in (
        ("why", decision.why),
        ("instead of", decision.alternative),
        ("how", decision.implementation),
        ("where", ", ".join(decision.components)),
    ):
        if said.strip():
            lines.append(f"{word}: {one_line(said)}")
    return Said("\n".join(lines))


def _task(plan: Plan, task: Task, replacement: str, beside: Beside) -> TaskFacts:
    budget = plan.setting(task, "budget_usd")
    given = beside.inputs or {}
    return TaskFacts(
        id=task.id,
        name=Said(task.name),
        description=_said(task.description),
        replacement=Said(replacement),
        run=Said(task.run or ""),
        acceptance=_texts(task.acceptance),
        provides=_texts(capability.name for capability in task.provides),
        files=_texts(task.files),
        is_strict=plan.setting(task, "scope") == "strict",
        is_research=task.kind == "research",
        is_test_first=plan.setting(task, "tdd") and task.kind != "research",
        priority=task.priority or plan.defaults.priority,
        estimated_time=Said(estimated(task)),
        working_directory=Said(plan.setting(task, "working_directory") or "."),
        verify=_texts(plan.verify(task)),
        proofs=tuple(Proof(Said(c.name), Said(c.check)) for c in task.provides if c.check),
        docs=tuple(beside.docs),
        inputs=tuple(
            Input(name, variable(name), source(where)[0], Said(given.get(name, "")))
            for name, where in task.inputs.items()
        ),
        outputs=tuple(map(_output, task.outputs)),
        time=duration(plan.setting(task, "timeout").seconds),
        turns=plan.setting(task, "max_turns") or 0,
        budget="" if budget is None else f"${budget:g}",
    )


def _output(output: Output) -> OutputFacts:
    pattern = Said(output.pattern or "")
    return OutputFacts(output.name, output.type, _texts(output.choices), pattern)


def _role(name: str, role: Role | None) -> RoleFacts:
    if role is None:
        return RoleFacts("", Said(""), "", (), ())
    prompt = clean(role.prompt).strip()
    return RoleFacts(name, Said(role.description), prompt, role.rules, role.tools or ())


def before(who: str, changed: str, report: Report) -> Before:
    """Return what an agent of an attempt left for the steps after it."""
    said = [shortened(report.summary.strip(), _SUMMARY)]
    if isinstance(report, Review):
        said += [f"verdict: {report.verdict}", *(f"because {each}" for each in report.reasons)]
    for word, lines in (("risk", report.risks), ("follow-up", report.follow_ups)):
        said += [f"{word}: {each}" for each in lines]
    text = "\n".join(line for line in said if line)
    return Before(Said(who), Said(shortened(changed, _MESSAGE)), Said(shortened(text, _SUMMARY)))


def _needs(snapshot: Snapshot, task_id: str) -> tuple[Need, ...]:
    """Return what the task stands on; all summaries together are bounded."""
    found, left = [], _SUMMARIES
    for other in snapshot.graph.requires[task_id]:
        record, done = snapshot.record(other), snapshot.plan.by_id[other]
        summary = record.summary.strip()
        if summary and left > 0:
            where = f"git show {record.merge}^2:.gitflow/report.md" if record.merge else ""
            summary = shortened(summary, min(_SUMMARY, left), where)
            left -= len(summary)
        else:
            summary = ""
        names = _texts(capability.name for capability in done.provides)
        found.append(Need(other, Said(done.name), short(record.merge), names, Said(summary)))
    return tuple(found)


def _past(past: Attempt) -> Past:
    outcome = f"{past.outcome} ({past.reason})" if past.reason else past.outcome
    if past.ended_at is not None:
        outcome += f" after {duration(past.ended_at - past.started_at)}"
    message = shortened(past.message.strip(), _MESSAGE)
    return Past(past.number, outcome, Said(message), Said(past.kept), past.report)
