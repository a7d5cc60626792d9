"""What a person can tell a plan to do, and what follows from it.

`Command` is the one vocabulary of every door: the command line, comments, forms and tools parse
their words into these objects, and their help is generated from them.  `effects` decides, against a
snapshot, what a command changes; it is pure, and it refuses with a code of the closed list.  The
service does what is returned, in one transaction.  Every command can be given twice: what holds
already is no effect.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from gitflow_agents import handoff
from gitflow_agents.errors import FlowError
from gitflow_agents.graph import attempts_allowed
from gitflow_agents.models import (
    PERSON,
    Approval,
    Guidance,
    Limits,
    Model,
    Reason,
    Status,
    Task,
    TaskRecord,
    Value,
    person,
)
from gitflow_agents.scheduler import FLOW_TROUBLE, Snapshot, held_words
from gitflow_agents.transitions import Happened

S, E = Status, Happened

LEVELS = ("read", "triage", "write", "maintain", "admin")
"""Who may do what, as thresholds: each includes the ones before it."""
MOST_NAMED = 5
"""Tasks that a sentence names before it counts the others."""

Targets = tuple[str, ...]
Why = Annotated[str, Field(max_length=4000)]


class Refused(FlowError):
    """A command that cannot be carried out; `reason_code` is one of the closed list."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason_code = code


# --- the vocabulary -------------------------------------------------------------------------------


class Act(Model):
    """What all commands share: `level` is who may give it, `targets` what it is about."""

    level: ClassVar[str] = "write"
    needs_target: ClassVar[bool] = False
    takes_tasks: ClassVar[bool] = True
    default: ClassVar[Targets] = ()
    """The targets when none is named."""
    targets: Targets = ()


class Stop(Act):
    """End what runs; what it did is kept.

    Named tasks are cancelled.  Without a task everything that runs goes back to pending and the
    plan is held.  `plan` closes the plan for good.
    """

    verb: Literal["stop"] = "stop"


class Retry(Act):
    """Try failed, cancelled or finished but unmerged tasks again, on the same branch."""

    default = ("failed",)
    verb: Literal["retry"] = "retry"
    append: Why = Field(
        default="", description="Guidance for the agent, beside what the task says."
    )
    replace: Why = Field(
        default="", description="What the agent is told instead of the description."
    )
    prompt_modification: Why = Field(default="", description="The same, as --prompt-mode says.")
    prompt_mode: Literal["", "append", "replace"] = Field(
        default="", description="What --prompt-modification does: append, if nothing is said."
    )
    fresh: bool = Field(
        default=False, description="Leave the former work out; it is kept under a ref."
    )
    repair: bool = Field(
        default=False,
        description="Have the failure looked into; the brief holds its log and diff.",
    )
    cascade: bool = Field(
        default=False, description="Also the failed and cancelled tasks that need it."
    )
    force: bool = Field(default=False, description="Also where all allowed attempts are used up.")

    @property
    def guidance(self) -> tuple[str, Literal["append", "replace"]]:
        """Return what the agent is told, and whether beside the description or in its place.

        Raises Refused when it is said in more than one way.
        """
        given = [text for text in (self.append, self.replace, self.prompt_modification) if text]
        if len(given) > 1:
            raise Refused(
                "bad-value",
                "--append, --replace and --prompt-modification cannot be given together",
            )
        if self.prompt_mode and not self.prompt_modification:
            raise Refused("bad-value", "--prompt-mode says nothing without --prompt-modification")
        is_instead = bool(self.replace) or self.prompt_mode == "replace"
        return "".join(given), "replace" if is_instead else "append"


class Hold(Act):
    """Start and merge nothing more of these tasks, or of the whole plan; what runs goes on."""

    verb: Literal["hold"] = "hold"
    reason: Why = Field(default="", description="Why, for whoever looks.")


class Resume(Act):
    """Lift a hold."""

    verb: Literal["resume"] = "resume"


class Reject(Act):
    """Refuse what a task has done, before it is merged; the reason goes to the next attempt."""

    needs_target = True
    verb: Literal["reject"] = "reject"
    reason: Why = Field(description="What is wrong with it.", min_length=1)


class Skip(Act):
    """Leave a task out; the tasks that need it stay blocked unless --provides."""

    level = "maintain"
    needs_target = True
    verb: Literal["skip"] = "skip"
    reason: Why = Field(description="Why it is left out.", min_length=1)
    provides: bool = Field(default=False, description="Declare that what it provides is there.")


class Approve(Act):
    """Give the approval that a task, or the plan, waits for; it holds for exactly this text."""

    level = "maintain"
    verb: Literal["approve"] = "approve"
    sha: str = Field(
        default="", pattern=r"^([0-9a-f]{7,40})?$", description="Only if it is this commit."
    )


class Unapprove(Act):
    """Withdraw an approval, until what it is for has happened."""

    level = "maintain"
    verb: Literal["unapprove"] = "unapprove"


class Merge(Act):
    """Merge what is in review now, tested as always, and start nothing.

    Without a task it is everything that is in review and may be merged.
    """

    verb: Literal["merge"] = "merge"


class Revert(Act):
    """Take merged tasks back off flow, with the merged tasks that need them; all or none.

    Each waits again, and its next attempt begins with the work that was reverted.
    """

    level = "maintain"
    needs_target = True
    verb: Literal["revert"] = "revert"
    reason: Why = Field(description="Why it is taken back.", min_length=1)


class Update(Act):
    """Bring the base into flow now, tested as always, whatever `follow_base` says."""

    takes_tasks = False
    verb: Literal["update"] = "update"


class Take(Act):
    """Do tasks yourself in place of an agent: their branches are yours.

    An attempt that runs is stopped first. What was done so far is on the branch; no agent starts
    on a task that is taken, and it uses none of the agents' slots.
    """

    needs_target = True
    verb: Literal["take"] = "take"


class Submit(Act):
    """Say that tasks which you took are done; they are checked and merged as an agent's result.

    What counts is what you committed to their branches.
    """

    needs_target = True
    verb: Literal["submit"] = "submit"
    output: tuple[str, ...] = Field(
        default=(), description="A value that the task has to report, as NAME=VALUE."
    )


class Give(Act):
    """Hand tasks back that you took; the next attempt begins with what you committed."""

    needs_target = True
    verb: Literal["give"] = "give"


class AddTask(Act):
    """Add a task to a plan that was started; the next pass takes it up, of a running `run` too.

    It is committed to the branch plan/PLAN behind the tasks that are there. The file in your
    checkout stays as it is.
    """

    takes_tasks = False
    verb: Literal["add-task"] = "add-task"
    text: str = Field(default="", description="The task, or a list of tasks, as YAML; - reads it.")
    id: str = Field(default="", description="Its id; the next free number if nothing is said.")
    title: str = Field(default="", description="What it is called.")
    description: str = Field(default="", description="What is to be done.")
    run: str = Field(default="", description="The shell command that does it.")
    needs: tuple[str, ...] = Field(
        default=(), description="A capability that must be on flow before."
    )
    provides: tuple[str, ...] = Field(default=(), description="A capability that its merge gives.")
    depends_on: tuple[str, ...] = Field(
        default=(), description="A task that must be merged before."
    )
    files: tuple[str, ...] = Field(default=(), description="A path that it changes.")
    verify: tuple[str, ...] = Field(
        default=(), description="A shell command whose success proves it."
    )
    working_directory: str = Field(default="", description="The folder that it starts in.")
    priority: Literal["", "high", "medium", "low"] = Field(
        default="", description="When slots are short, high starts first."
    )
    estimated_time: str = Field(default="", description="How long it may take, such as 8 minutes.")

    @property
    def keys(self) -> dict[str, str | list[str]]:
        """Return the task that the options say, as a plan writes it; nothing where they say none.

        Raises Refused where a text says it too.
        """
        said = self.model_dump(exclude={"targets", "verb", "text"})
        said["preconditions"] = said.pop("needs")
        order = ("id", "title", "description", "preconditions", "depends_on")
        ordered = dict.fromkeys(order) | said
        found = {k: list(v) if isinstance(v, tuple) else v for k, v in ordered.items() if v}
        if found and self.text:
            raise Refused("bad-value", "--file says all of the task, so no other option can")
        if not found and not self.text:
            raise Refused("missing-argument", "add-task needs a task: --file, or --title and --run")
        return found


Command = Annotated[
    Stop
    | Retry
    | Hold
    | Resume
    | Reject
    | Skip
    | Approve
    | Unapprove
    | Merge
    | Revert
    | Update
    | Take
    | Submit
    | Give
    | AddTask,
    Field(discriminator="verb"),
]
KINDS: Mapping[str, type[Act]] = {
    kind.model_fields["verb"].default: kind for kind in get_args(get_args(Command)[0])
}
"""Every command by its verb, in the order in which help lists them."""


# --- what follows ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """End the attempt that runs at a task: its processes, its lease; what it did is kept.

    A task that a person took is given back.
    """

    task: str
    why: str


@dataclass(frozen=True)
class Move:
    """Take a task to another status; `changes` are fields of its record."""

    task: str
    event: Happened
    reason: Reason | None = None
    message: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """Note something on a task that moves it nowhere."""

    task: str
    event: str
    note: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class MarkPlan:
    """Note something on the plan."""

    event: str
    note: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class DropTrain:
    """End the test of the train that is on its way; its tasks stay in review."""


@dataclass(frozen=True)
class Assign:
    """Make a task the person's who asks."""

    task: str


@dataclass(frozen=True)
class PutForward:
    """Take what a person did at a task for its result; `outputs` is what they report."""

    task: str
    outputs: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class HandBack:
    """Let agents have a task again that a person took."""

    task: str


@dataclass(frozen=True)
class TakeBack:
    """Take the merges of completed tasks off flow, all or none."""

    tasks: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Follow:
    """Merge a tip of the base into flow."""

    tip: str


@dataclass(frozen=True)
class MergeNow:
    """Merge tasks in review, by as many trains as it takes."""

    tasks: tuple[str, ...]


Effect = (
    End
    | Move
    | Mark
    | MarkPlan
    | DropTrain
    | Assign
    | PutForward
    | HandBack
    | TakeBack
    | Follow
    | MergeNow
)


@dataclass(frozen=True)
class Decision:
    """What a command changes, a sentence a task for people, and the words that undo it."""

    effects: tuple[Effect, ...]
    said: tuple[str, ...]
    undo: str = ""


@dataclass(frozen=True)
class Ground:
    """What a decision is made on: the plan as it is, who asks, when, and the limits that hold."""

    snapshot: Snapshot
    actor: str
    now: float
    limits: Limits
    base_tip: str = ""
    """The tip of the base, where the command is about it."""
    has_base: bool = False
    """Whether flow holds that tip."""
    still: Mapping[str, bool] = field(default_factory=dict)
    """The files for which the plan is held, and whether each is still as it was then."""

    @property
    def who(self) -> str:
        """Return who asks, for a sentence."""
        return person(self.actor)


# --- which tasks ----------------------------------------------------------------------------------

WORDS = ("all", "failed", "blocked", "plan")


def is_group(word: str) -> bool:
    """Say whether a target word may stand for several tasks, of whichever plan."""
    return word in WORDS or word.startswith("wave:") or any(letter in word for letter in "*?[")


def select(snapshot: Snapshot, words: Sequence[str]) -> list[str]:
    """Return the ids that target words name, in plan order.

    Words are ids, globs of ids, `all`, `failed`, `blocked` or `wave:N`.  Raises Refused when one
    names nothing there is, or when `all` stands beside others.
    """
    if "all" in words and len(words) > 1:
        other = next(word for word in words if word != "all")
        raise Refused("target-clash", f"all and {other} cannot be named together")
    found: set[str] = set()
    for word in words:
        found.update(_named(snapshot, word))
    return sorted(found, key=snapshot.plan.order.__getitem__)


def _named(snapshot: Snapshot, word: str) -> Iterable[str]:
    order = snapshot.plan.order
    if word in order:
        return (word,)
    if word == "all":
        return order
    if word == "failed":
        return snapshot.by_status[S.FAILED]
    if word == "blocked":
        return _blocked(snapshot)
    if word.startswith("wave:"):
        waves = sorted(set(snapshot.graph.wave.values()))
        number = word.removeprefix("wave:")
        if not number.isdecimal() or int(number) not in waves:
            raise Refused("no-such-task", f"there is no {word}; there are waves 1 to {waves[-1]}")
        return (task for task in order if snapshot.graph.wave[task] == int(number))
    if any(letter in word for letter in "*?["):
        hits = [task for task in order if fnmatch.fnmatchcase(task, word)]
        if hits:
            return hits
    raise no_such_task(snapshot, word)


def no_such_task(snapshot: Snapshot, word: str) -> Refused:
    """Return what is said where a word is no task of a plan."""
    order = snapshot.plan.order
    folded = [task for task in order if task.casefold() == word.casefold()]
    near = folded or get_close_matches(word, order, 3)
    some = f"near ids: {', '.join(near)}" if near else f"some ids: {', '.join(list(order)[:5])}"
    tasks = "1 task, and it is not" if len(order) == 1 else f"{len(order)} tasks, and none is"
    return Refused("no-such-task", f"plan {snapshot.plan.plan} has {tasks} {word!r}", hint=some)


def _blocked(snapshot: Snapshot) -> set[str]:
    """Return the pending tasks that wait, however far off, for one that failed or is left out."""
    stuck = snapshot.by_status[S.FAILED] | snapshot.by_status[S.CANCELLED]
    todo, found = [task for task in stuck if not snapshot.is_met(task)], set[str]()
    while todo:
        for task in snapshot.graph.dependants[todo.pop()]:
            if task not in found and snapshot.status(task) is S.PENDING:
                found.add(task)
                todo.append(task)
    return found


def names(tasks: Sequence[str]) -> str:
    """Return some ids for a sentence, and how many more there are."""
    more = len(tasks) - MOST_NAMED
    return ", ".join(tasks[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


# --- the decisions --------------------------------------------------------------------------------


def effects(command: Act, ground: Ground) -> Decision:
    """Return what a command changes; no effects when everything is so already.

    Raises Refused, with a hint that says what can be done, when it cannot be carried out.
    """
    snapshot = ground.snapshot
    if isinstance(command, Stop) and command.targets == ("plan",) and is_closed(snapshot):
        return Decision((), (f"plan {snapshot.plan.plan} is closed already",))
    if snapshot.state.status in ("landed", "closed"):
        raise Refused(
            "closed", f"plan {snapshot.plan.plan} is {snapshot.state.status}, and only looked at"
        )
    if command.needs_target and not command.targets:
        verb = command.model_dump()["verb"]
        raise Refused("missing-argument", f"{verb} needs a task")
    return _DECIDE[type(command)](command, ground)


def is_closed(snapshot: Snapshot) -> bool:
    """Say whether somebody closed a plan."""
    return snapshot.state.status == "closed"


def _stop(command: Stop, ground: Ground) -> Decision:
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    why = f"stopped by {ground.who}"
    if "plan" in command.targets:
        if len(command.targets) > 1:
            raise Refused("target-clash", "plan and a task cannot be named together")
        running = _running(snapshot)
        ends: list[Effect] = [*_ends(snapshot, running, why), *_train(snapshot)]
        closed = MarkPlan("plan_closed", f"closed by {ground.who}", {"status": "closed"})
        return Decision((*ends, closed), (f"plan {plan} is closed", *_ended(running)))
    if not command.targets:
        running = _running(snapshot)
        ends = [*_ends(snapshot, running, why), *_train(snapshot)]
        before = snapshot.state.held
        if not ends and before:
            return Decision((), (f"nothing runs, and the plan is {held_words(before)}",))
        held = () if before else (MarkPlan("plan_held", f"held: {why}", {"held": why}),)
        said = (f"plan {plan} is {held_words(before) if before else 'held'}", *_ended(running))
        return Decision((*ends, *held), said, f"resume {plan}")
    chosen = select(snapshot, command.targets)
    stopped = [t for t in chosen if snapshot.status(t) not in (S.COMPLETED, S.CANCELLED)]
    _not_merged(snapshot, command.targets, chosen)
    done: list[Effect] = []
    if _in_train(snapshot, stopped):
        done += _train(snapshot)
    for task in stopped:
        done += [*_ends(snapshot, [task], why), Move(task, E.TASK_CANCELLED, Reason.STOPPED, why)]
    told = [f"{task} is cancelled; what it did is kept" for task in stopped]
    return _decided(snapshot, done, told, "retry", stopped, "everything named is ended already")


def _retry(command: Retry, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    if command.repair and command.fresh:
        why = "--repair mends the former work, and --fresh leaves it out"
        raise Refused("bad-value", why)
    words = command.targets or command.default
    chosen = select(snapshot, words)
    _not_merged(snapshot, words, chosen)
    for task in chosen:
        if task in words and snapshot.record(task).taken_by:
            who = person(snapshot.record(task).taken_by)
            mend = f"give {snapshot.plan.plan}/{task}"
            raise Refused("wrong-state", f"{task} is taken by {who}", hint=mend)
    _explicit(snapshot, words, chosen, (S.IN_PROGRESS,), "is running", "stop {}")
    # What is done and waits to be merged is thrown away only for who names the very task.
    again = [
        t
        for t in chosen
        if snapshot.status(t) in (S.FAILED, S.CANCELLED)
        or (t in words and snapshot.status(t) is S.REVIEW)
    ]
    if command.cascade:
        needing = {t for task in again for t in snapshot.graph.descendants(task)}
        again += [
            t
            for t in sorted(needing, key=snapshot.plan.order.__getitem__)
            if snapshot.status(t) in (S.FAILED, S.CANCELLED) and t not in again
        ]
    done: list[Effect] = list(_train(snapshot)) if _in_train(snapshot, again) else []
    for task in again:
        record = snapshot.record(task)
        changes = {
            **_next_attempt(command, ground, record),
            "fresh": command.fresh,
            "provided_by": "",
            "not_before": 0.0,
            "lost": 0,
            "conflicts": 0,
        }
        done.append(Move(task, E.TASK_RETRIED, record.reason, record.message, changes))
    told = [f"{task} is tried again by the next run" for task in again]
    for task in chosen:
        record = snapshot.record(task)
        if record.status is not S.PENDING or not record.attempts:
            continue
        changes = _next_attempt(command, ground, record)
        if any(getattr(record, name) != value for name, value in changes.items()):
            how = "without the former work" if command.fresh else "as was said"
            note = f"the next attempt at {task} begins {how}"
            done.append(Mark(task, "retry_changed", note, changes))
            told.append(f"{task} waits already; {note}")
            again = [*again, task]
    nothing = "nothing to try again: no task of those named has failed or was cancelled"
    return _decided(snapshot, done, told, "stop", again, nothing)


def _next_attempt(command: Retry, ground: Ground, record: TaskRecord) -> dict[str, Any]:
    """Return what a retry changes for a task's next attempt; Refused when it may have none."""
    snapshot, task = ground.snapshot, record.id
    allowed = attempts_allowed(snapshot.plan, task, ground.limits)
    granted = record.granted
    if record.used >= allowed + granted:
        if not command.force:
            raise Refused(
                "attempts-exhausted",
                f"{task} has used {record.used} of {allowed + granted} attempts",
                hint=f"retry {snapshot.plan.plan}/{task} --force gives it one more",
            )
        granted = record.used + 1 - allowed
    return {
        "granted": granted,
        "guidance": _guidance(command, ground, record),
        "fresh": (record.fresh or command.fresh) and not command.repair,
        "repair": (record.repair or command.repair) and not command.fresh,
    }


def _guidance(command: Retry, ground: Ground, record: TaskRecord) -> tuple[Guidance, ...]:
    """Return what people said of a task, and what this command says."""
    text, mode = command.guidance
    number = record.attempt.number if record.attempt else 0
    last = record.guidance[-1] if record.guidance else None
    if not text or (last and (last.text, last.mode, last.after_attempt) == (text, mode, number)):
        return record.guidance  # nothing is said, or it was said already
    said = Guidance(text=text, mode=mode, by=ground.actor, at=ground.now, after_attempt=number)
    return (*record.guidance, said)


def _hold(command: Hold, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    why = f"held by {ground.who}" + (f": {command.reason}" if command.reason else "")
    if not command.targets or tuple(command.targets) == ("all",):
        if snapshot.state.held:
            return Decision((), (f"the plan is {held_words(snapshot.state.held)} already",))
        plan = snapshot.plan.plan
        mark = MarkPlan("plan_held", why, {"held": why})
        return Decision((mark,), (f"plan {plan} is held; what runs goes on",), f"resume {plan}")
    chosen = select(snapshot, command.targets)
    _not_merged(snapshot, command.targets, chosen)
    fresh = [
        t for t in chosen if not snapshot.record(t).held and snapshot.status(t) is not S.COMPLETED
    ]
    done: list[Effect] = [Mark(t, "task_held", f"{t} {why}", {"held": why}) for t in fresh]
    said = [f"{t} is held: it is neither started nor merged" for t in fresh]
    return _decided(snapshot, done, said, "resume", fresh, "everything named is held already")


def _resume(command: Resume, ground: Ground) -> Decision:
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    by = f"resumed by {ground.who}"
    is_all = not command.targets or tuple(command.targets) == ("all",)
    chosen = list(snapshot.plan.order) if is_all else select(snapshot, command.targets)
    held = [t for t in chosen if snapshot.record(t).held]
    done: list[Effect] = [Mark(t, "task_resumed", f"{t} {by}", {"held": ""}) for t in held]
    said = [f"{t} goes on" for t in held]
    if is_all and snapshot.state.held:
        reason, there = snapshot.state.held, _still(ground.still)
        if reason.startswith(FLOW_TROUBLE):  # a pass has just looked: it is not mended
            said_, _, mend = reason.rpartition(": ")
            raise Refused("held", f"plan {plan} is held: {said_}", hint=mend)
        done.insert(0, MarkPlan("plan_resumed", f"{by}{there}", {"held": ""}))
        said.insert(0, f"plan {plan} goes on; it was {held_words(reason)}{there}")
        return Decision(tuple(done), tuple(said), f"hold {plan}")
    return _decided(snapshot, done, said, "hold", held, "nothing of it is held")


def _still(files: Mapping[str, bool]) -> str:
    """Return in words whether what held a plan is still so, where that can be told."""
    left = [path for path, is_so in files.items() if is_so]
    if left:
        return f"; {' and '.join(left)} {'are' if left[1:] else 'is'} still so"
    return "; that is put back" if files else ""


def _reject(command: Reject, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    chosen = select(snapshot, command.targets)
    for task in chosen:
        status = snapshot.status(task)
        if status is S.FAILED and snapshot.record(task).reason is Reason.REJECTED:
            continue
        if status is not S.REVIEW:
            raise _wrong_state(snapshot, task, "only what is done and not merged can be rejected")
    waiting = [task for task in chosen if snapshot.status(task) is S.REVIEW]
    done: list[Effect] = list(_train(snapshot)) if _in_train(snapshot, waiting) else []
    for task in waiting:
        record = snapshot.record(task)
        number = record.attempt.number if record.attempt else 0
        said = Guidance(
            text=command.reason,
            mode="append",
            by=ground.actor,
            at=ground.now,
            after_attempt=number,
        )
        message = f"rejected by {ground.who}: {command.reason}"
        changes = {"guidance": (*record.guidance, said)}
        done.append(Move(task, E.MERGE_REFUSED, Reason.REJECTED, message, changes))
    told = [f"{task} is rejected" for task in waiting]
    return _decided(snapshot, done, told, "retry", waiting, "everything named is rejected already")


def _skip(command: Skip, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    chosen = select(snapshot, command.targets)
    _not_merged(snapshot, command.targets, chosen)
    by = ground.actor if command.provides else ""
    left = [
        t
        for t in chosen
        if snapshot.status(t) is not S.COMPLETED
        and not (_is_skipped(snapshot.record(t)) and snapshot.record(t).provided_by == by)
    ]
    done: list[Effect] = list(_train(snapshot)) if _in_train(snapshot, left) else []
    message = f"skipped by {ground.who}: {command.reason}"
    for task in left:
        done += _ends(snapshot, [task], message)
        done.append(Move(task, E.TASK_SKIPPED, Reason.SKIPPED, message, {"provided_by": by}))
    rest = "what it provides counts as there" if by else "what needs it stays blocked"
    said = [f"{task} is skipped; {rest}" for task in left]
    return _decided(snapshot, done, said, "retry", left, "everything named is skipped already")


def _is_skipped(record: TaskRecord) -> bool:
    return record.status is S.CANCELLED and record.reason is Reason.SKIPPED


def _approve(command: Approve, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    state, plan = snapshot.state, snapshot.plan.plan
    given = partial(Approval, by=ground.actor, at=ground.now)
    if not command.targets or tuple(command.targets) == ("plan",):
        if snapshot.awaits() is None:
            waiting = [t for t in snapshot.plan.order if snapshot.awaits(t)]
            if waiting and not command.targets:
                some = " ".join(f"{plan}/{task}" for task in waiting[:MOST_NAMED])
                raise Refused(
                    "missing-argument",
                    f"{len(waiting)} tasks of {plan} wait for an approval, and none was named",
                    hint=f"approve {some}",
                )
            what = "is approved already" if state.approved else "needs no approval of its text"
            return Decision((), (f"plan {plan} {what}",))
        _same_commit(command.sha, state.commit, f"plan {plan}")
        yes = given(gate="plan", sha=state.commit, digest=state.digest)
        mark = MarkPlan("plan_approved", f"v{state.revision} approved", {"approved": yes})
        return Decision(
            (mark,), (f"plan {plan} v{state.revision} is approved",), f"unapprove {plan}"
        )
    chosen = select(snapshot, command.targets)
    done: list[Effect] = []
    told = []
    for task in chosen:
        gate = snapshot.awaits(task)
        if gate is None:
            continue
        sha, record = snapshot.approvable(task), snapshot.record(task)
        _same_commit(command.sha, sha, task)
        yes = given(gate=gate, sha=sha, digest=snapshot.plan.by_id[task].digest)
        kept = tuple(a for a in record.approvals if a.gate != gate)
        what = "may be merged" if gate == "merge" else "may start"
        done.append(Mark(task, "task_approved", f"{task} {what}", {"approvals": (*kept, yes)}))
        told.append(f"{task} {what}" + (f" as {sha[:12]}" if sha else ""))
    nothing = "nothing of what was named waits for an approval"
    tasks = [effect.task for effect in done if isinstance(effect, Mark)]
    return _decided(snapshot, done, told, "unapprove", tasks, nothing)


def _same_commit(wanted: str, here: str, what: str) -> None:
    """Refuse an approval that was meant for another commit."""
    if wanted and not here.startswith(wanted):
        is_at = f"is at {here[:12]} now" if here else "has no result yet"
        raise Refused("stale-approval", f"{what} {is_at}, not at {wanted[:12]}")


def _unapprove(command: Unapprove, ground: Ground) -> Decision:
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    by = f"withdrawn by {ground.who}"
    if not command.targets or tuple(command.targets) == ("plan",):
        if snapshot.state.approved is None:
            return Decision((), (f"plan {plan} is not approved",))
        mark = MarkPlan("plan_unapproved", f"approval {by}", {"approved": None})
        said = f"plan {plan} is not approved any more; what runs goes on"
        return Decision((mark,), (said,), f"approve {plan}")
    chosen = select(snapshot, command.targets)
    given = [
        t for t in chosen if snapshot.record(t).approvals and snapshot.status(t) is not S.COMPLETED
    ]
    done: list[Effect] = list(_train(snapshot)) if _in_train(snapshot, given) else []
    withdrawn = {"approvals": (), "unapproved": ground.now}
    done += [Mark(t, "task_unapproved", f"approval of {t} {by}", withdrawn) for t in given]
    told = [f"{t} is not approved any more" for t in given]
    return _decided(snapshot, done, told, "approve", given, "nothing of what was named is approved")


def _merge(command: Merge, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    _flow_may_move(snapshot)
    if snapshot.state.held:
        raise _held(snapshot)
    words = command.targets or ("all",)
    chosen = select(snapshot, words)
    for task in chosen:
        if task in words and snapshot.status(task) not in (S.REVIEW, S.COMPLETED):
            raise _wrong_state(snapshot, task, "only what is done, and in review, can be merged")
    waiting = [task for task in chosen if snapshot.status(task) is S.REVIEW]
    ready = []
    for task in waiting:
        refusal = _not_mergeable(snapshot, task, waiting)
        if refusal is None:
            ready.append(task)
        elif task in words:
            raise refusal
    if not ready:
        is_there = all(snapshot.status(task) is S.COMPLETED for task in chosen)
        return Decision((), ("everything named is merged already" if is_there else _NO_REVIEW,))
    plan, flow = snapshot.plan.plan, snapshot.state.flow
    undo = f"revert {' '.join(f'{plan}/{task}' for task in ready)} -m WHY"
    said = tuple(f"{task} is merged to {flow} if its tests pass" for task in ready)
    return Decision((MergeNow(tuple(ready)),), said, undo)


_NO_REVIEW = "nothing to merge: no task that was named is in review"


def _not_mergeable(snapshot: Snapshot, task: str, along: Sequence[str]) -> Refused | None:
    """Return why a task in review may not be merged, when `along` is merged with it."""
    target = f"{snapshot.plan.plan}/{task}"
    held = snapshot.record(task).held
    if held:
        return Refused("held", f"{task} is {held}", hint=f"resume {target}")
    if snapshot.awaits(task):
        return Refused("wrong-state", f"{task} waits for an approval", hint=f"approve {target}")
    missing = [
        need
        for need in snapshot.graph.requires[task]
        if need not in along and not snapshot.is_met(need)
    ]
    if missing:
        why = f"{task} needs {names(missing)}, which is not on {snapshot.state.flow}"
        return Refused("wrong-state", why, hint=f"explain {target}")
    return None


def _update(command: Update, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    if command.targets:
        raise Refused("bad-value", "update takes a plan and no task: it is about the whole of flow")
    _flow_may_move(snapshot)
    if snapshot.state.held:
        raise _held(snapshot)
    base, flow, tip = snapshot.state.base, snapshot.state.flow, ground.base_tip
    if not tip:
        raise Refused("wrong-state", f"there is no branch {base} here to bring into {flow}")
    if ground.has_base:
        return Decision((), (f"{base} is in {flow} already",))
    said = f"{base} ({tip[:12]}) is merged into {flow}"
    undo = f"git switch {flow} && git revert -m 1 HEAD && git switch -"
    return Decision((*_train(snapshot), Follow(tip)), (said,), undo)


def _revert(command: Revert, ground: Ground) -> Decision:
    snapshot = ground.snapshot
    chosen = select(snapshot, command.targets)
    for task in chosen:
        was_merged = any(attempt.reverted for attempt in snapshot.record(task).attempts)
        is_off = snapshot.status(task) is not S.COMPLETED
        if task in command.targets and is_off and not was_merged:
            raise _wrong_state(snapshot, task, "only what is merged can be reverted")
    asked = [task for task in chosen if snapshot.status(task) is S.COMPLETED]
    if not asked:
        is_one = all(word in snapshot.plan.order for word in command.targets)
        nothing = "everything named is reverted already" if is_one else "nothing of it is merged"
        return Decision((), (nothing,))
    _flow_may_move(snapshot)
    needing = _standing_on(snapshot, asked)
    merged = [t for t in needing if snapshot.status(t) is S.COMPLETED and t not in asked]
    gone = {*asked, *merged}
    said = [f"{task} is reverted, and waits again" for task in asked]
    for task in needing:
        needs = [need for need in snapshot.graph.requires[task] if need in gone]
        if task in merged:
            said.append(f"{task} is reverted with it: it needs {names(needs)}")
        elif snapshot.status(task) is S.IN_PROGRESS and needs:
            is_ours = snapshot.record(task).lease is not None
            done = "is stopped, and waits again" if is_ours else "is with a person, and goes on"
            said.append(f"{task} {done}: it needs {names(needs)}")
        elif snapshot.status(task) is S.REVIEW and needs:
            said.append(f"{task} is not merged, and waits again: it needs {names(needs)}")
    why = f"reverted by {ground.who}: {command.reason}"
    back = TakeBack(tuple(t for t in snapshot.plan.order if t in gone), why)
    return Decision((*_train(snapshot), back), tuple(said), f"run {snapshot.plan.plan}")


def _standing_on(snapshot: Snapshot, tasks: Iterable[str]) -> list[str]:
    """Return what needs these tasks, over any number of links, in plan order.

    What a person declared to be there stands by itself, and so does what needs it.
    """
    found: set[str] = set()
    ahead = list(tasks)
    while ahead:
        for other in snapshot.graph.dependants[ahead.pop()]:
            if other not in found and not snapshot.record(other).provided_by:
                found.add(other)
                ahead.append(other)
    return sorted(found, key=snapshot.plan.order.__getitem__)


def _flow_may_move(snapshot: Snapshot) -> None:
    """Refuse what changes flow while nobody may move it."""
    flow, place = snapshot.state.flow, snapshot.seen.flow_checked_out
    if snapshot.seen.flow in ("missing", "forced"):
        raise _held(snapshot)
    if place:
        raise Refused(
            "wrong-state",
            f"{flow} is checked out in {place}, so it is not moved",
            hint=f"git -C '{place}' switch --detach",
        )


def _held(snapshot: Snapshot) -> Refused:
    plan = snapshot.plan.plan
    return Refused("held", f"plan {plan} is held: {snapshot.state.held}", hint=f"resume {plan}")


def _take(command: Take, ground: Ground) -> Decision:
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    words = command.targets
    chosen = select(snapshot, words)
    _not_merged(snapshot, words, chosen)
    _explicit(snapshot, words, chosen, (S.CANCELLED,), "is cancelled", "retry {}, then take it")
    taken: list[str] = []
    for task in chosen:
        who = snapshot.record(task).taken_by
        if who:
            _not_anothers(snapshot, words, task, ground.actor)
        elif snapshot.status(task) not in (S.COMPLETED, S.CANCELLED):
            if snapshot.status(task) is S.PENDING:
                _may_start(snapshot, task)
            taken.append(task)
    done: list[Effect] = list(_train(snapshot)) if _in_train(snapshot, taken) else []
    said: list[str] = []
    for task in taken:
        done += _ends(snapshot, [task], f"taken by {ground.who}")
        done.append(Assign(task))
        said.append(f"{task} is taken by {ground.who}; no agent starts on it")
        if snapshot.record(task).lease is not None:
            said.append(f"what its agent had done is kept, and is named by: show {plan}/{task}")
        needs = [need for need in snapshot.graph.requires[task] if not snapshot.is_met(need)]
        if needs:
            flow = snapshot.state.flow
            said.append(f"{task} needs {names(needs)}, not on {flow} yet; later: git merge {flow}")
    return _decided(snapshot, done, said, "give", taken, "everything named is yours already")


def _may_start(snapshot: Snapshot, task: str) -> None:
    """Refuse to begin a task for whose beginning, or whose plan's, somebody's yes is missing."""
    plan = snapshot.plan.plan
    for what, target in ((f"plan {plan}", plan), (task, f"{plan}/{task}")):
        if snapshot.awaits("" if target == plan else task):
            raise Refused("wrong-state", f"{what} waits for an approval", hint=f"approve {target}")


def _submit(command: Submit, ground: Ground) -> Decision:
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    words = command.targets
    ready: list[str] = []
    for task in select(snapshot, words):
        record = snapshot.record(task)
        if record.taken_by:
            if _not_anothers(snapshot, words, task, ground.actor):
                ready.append(task)
        elif task in words and not _is_submitted(record):
            raise _wrong_state(snapshot, task, "nobody has taken it", hint=f"take {plan}/{task}")
    if command.output and len(ready) > 1:
        raise Refused("bad-value", "--output is for one task", hint="submit one after the other")
    done = [PutForward(task, _reported(snapshot.plan.by_id[task], command)) for task in ready]
    said = [f"{task} is submitted; the next run tests and merges it" for task in ready]
    return _decided(snapshot, done, said, "take", ready, "everything named is submitted already")


def _reported(task: Task, command: Submit) -> dict[str, Value]:
    """Return the values that a person reports; Refused when they are not what the task declares."""
    given, why = handoff.typed(task, command.output)
    if why := why or handoff.wrong(task, given):
        raise Refused(
            "bad-value",
            f"{task.id} cannot be merged: {why}",
            hint="say each of them: --output NAME=VALUE",
        )
    return given


def _is_submitted(record: TaskRecord) -> bool:
    is_theirs = record.attempt is not None and record.attempt.agent == PERSON
    return is_theirs and record.status in (S.REVIEW, S.COMPLETED)


def _give(command: Give, ground: Ground) -> Decision:
    snapshot, plan = ground.snapshot, ground.snapshot.plan.plan
    back: list[str] = []
    for task in select(snapshot, command.targets):
        record = snapshot.record(task)
        is_theirs = record.attempt is not None and record.attempt.agent == PERSON
        if record.taken_by:
            back.append(task)
        elif task in command.targets and not (is_theirs and record.status is S.PENDING):
            raise _wrong_state(snapshot, task, "nobody has taken it", hint=f"take {plan}/{task}")
    done = [HandBack(task) for task in back]
    said = [
        f"{task} is given back; the next attempt begins with what is on "
        f"{snapshot.record(task).branch}"
        for task in back
    ]
    return _decided(snapshot, done, said, "take", back, "everything named is given back already")


def _not_anothers(snapshot: Snapshot, words: Targets, task: str, actor: str) -> bool:
    """Say whether a taken task is the actor's; refuse one of somebody else's that was named."""
    who = snapshot.record(task).taken_by
    if who != actor and task in words:
        raise Refused(
            "wrong-state",
            f"{task} is taken by {person(who)}",
            hint=f"give {snapshot.plan.plan}/{task} hands it back, then take it",
        )
    return who == actor


_DECIDE: Mapping[type[Act], Callable[[Any, Ground], Decision]] = {
    Stop: _stop,
    Retry: _retry,
    Hold: _hold,
    Resume: _resume,
    Reject: _reject,
    Skip: _skip,
    Approve: _approve,
    Unapprove: _unapprove,
    Merge: _merge,
    Revert: _revert,
    Update: _update,
    Take: _take,
    Submit: _submit,
    Give: _give,
}


# --- what they share ------------------------------------------------------------------------------


def _running(snapshot: Snapshot) -> list[str]:
    """Return the tasks that a lease of the tool is on, in plan order."""
    running = (t for t in snapshot.by_status[S.IN_PROGRESS] if snapshot.record(t).lease)
    return sorted(running, key=snapshot.plan.order.__getitem__)


def _ends(snapshot: Snapshot, tasks: Iterable[str], why: str) -> Iterator[Effect]:
    for task in tasks:
        if snapshot.status(task) is S.IN_PROGRESS:
            yield End(task, why)


def _train(snapshot: Snapshot) -> tuple[Effect, ...]:
    return (DropTrain(),) if snapshot.state.train is not None else ()


def _in_train(snapshot: Snapshot, tasks: Iterable[str]) -> bool:
    train = snapshot.state.train
    return train is not None and not {car.task for car in train.cars}.isdisjoint(tasks)


def _ended(tasks: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{task} is stopped; what it did is kept" for task in tasks)


def _not_merged(snapshot: Snapshot, words: Sequence[str], chosen: Sequence[str]) -> None:
    """Refuse a merged task that was named by its own id."""
    _explicit(snapshot, words, chosen, (S.COMPLETED,), "is merged", "revert {} -m WHY")


def _explicit(
    snapshot: Snapshot,
    words: Sequence[str],
    chosen: Sequence[str],
    statuses: Sequence[Status],
    what: str,
    mend: str,
) -> None:
    """Refuse a task that was named by its own id and is in one of `statuses`."""
    for task in chosen:
        if task in words and snapshot.status(task) in statuses:
            target = f"{snapshot.plan.plan}/{task}"
            raise Refused("wrong-state", f"{task} {what}", hint=mend.format(target))


def _wrong_state(snapshot: Snapshot, task: str, why: str, hint: str = "") -> Refused:
    status = snapshot.status(task).replace("_", " ")
    return Refused("wrong-state", f"{task} is {status}: {why}", hint=hint)


def _decided(
    snapshot: Snapshot,
    done: Sequence[Effect],
    said: Sequence[str],
    undo: str,
    tasks: Sequence[str],
    nothing: str,
) -> Decision:
    if not done:
        return Decision((), (nothing,))
    plan = snapshot.plan.plan
    return Decision(
        tuple(done), tuple(said), f"{undo} {' '.join(f'{plan}/{task}' for task in tasks)}"
    )


__all__ = [
    "KINDS",
    "LEVELS",
    "AddTask",
    "Assign",
    "Command",
    "Decision",
    "DropTrain",
    "Effect",
    "End",
    "Follow",
    "Give",
    "Ground",
    "HandBack",
    "Hold",
    "Mark",
    "MarkPlan",
    "Merge",
    "MergeNow",
    "Move",
    "PutForward",
    "Refused",
    "Reject",
    "Resume",
    "Retry",
    "Revert",
    "Skip",
    "Stop",
    "Submit",
    "Take",
    "TakeBack",
    "Update",
    "effects",
    "is_group",
    "names",
    "select",
]
