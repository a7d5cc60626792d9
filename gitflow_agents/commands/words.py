"""The vocabulary: what can be asked of a plan, with the arguments, options and help of each verb.

A field is an option, its description the help of it; the text of a class says what the verb does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from gitflow_agents.errors import FlowError
from gitflow_agents.models import AgentName, Level, Model, Timeout

LEVELS: tuple[str, ...] = get_args(Level)
"""Who may do what, as thresholds: each includes the ones before it."""

DOORS = frozenset({"terminal", "comment"})
"""Where a command can be given; the form takes what a comment takes."""

Targets = tuple[str, ...]
Dollars = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
Why = Annotated[str, Field(max_length=4000)]


class Refused(FlowError):
    """A command that cannot be carried out; `reason_code` is one of the closed list."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason_code = code


class Act(Model):
    """What all commands share: `level` is who may give it, `targets` what it is about."""

    level: ClassVar[str] = "write"
    doors: ClassVar[frozenset[str]] = DOORS
    reads: ClassVar[bool] = False
    """Whether it only asks, and is answered."""
    needs_target: ClassVar[bool] = False
    takes_tasks: ClassVar[bool] = True
    takes_plan: ClassVar[bool] = False
    """Whether `plan` can stand for its target."""
    most_targets: ClassVar[int | None] = None
    positional: ClassVar[str] = ""
    """The field of the argument behind the targets, which needs no name."""
    note: ClassVar[str] = ""
    """The field that takes a text of several lines which follows the command, if one does."""
    instead: ClassVar[tuple[str, ...]] = ()
    """Fields of which one says the same, so that no text is taken from below."""
    block: ClassVar[str] = ""
    """The field that a terminal reads from a file, and a comment has in a fenced block below."""
    default: ClassVar[Targets] = ()
    """The targets when none is named."""
    unasked: ClassVar[frozenset[str]] = frozenset()
    """Fields that no door asks for: whoever carries the command out fills them."""
    targets: Targets = ()

    def check(self) -> None:
        """Raise Refused where what is said does not go together."""

    @property
    def needs_level(self) -> str:
        """Return who may give it just so: its words can ask for more than the verb does."""
        return self.level


class Stop(Act):
    """End what runs; what it did is kept.

    Named tasks are cancelled.  Without a task everything that runs goes back to pending and the
    plan is held.  `plan` closes the plan for good.
    """

    takes_plan = True
    verb: Literal["stop"] = "stop"

    @property
    def needs_level(self) -> str:
        """Return who may end some tasks, or close the plan."""
        return "maintain" if "plan" in self.targets else self.level


class Retry(Act):
    """Try failed, cancelled or finished but unmerged tasks again, on the same branch."""

    default = ("failed",)
    note = "append"
    instead = ("replace", "prompt_modification")
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
    agent: AgentName | Literal[""] = Field(
        default="", description="Who does it from now on, if the config allows that agent."
    )
    model: Annotated[str, Field(max_length=200)] = Field(
        default="", description="The agent's model from now on."
    )
    budget: Dollars | None = Field(
        default=None, description="Dollars that an attempt may cost from now on."
    )
    timeout: Timeout | None = Field(
        default=None, description="How long an attempt may take from now on, such as 45m."
    )
    as_planned: bool = Field(
        default=False, description="Forget agent, model, budget and time of earlier retries."
    )

    @property
    def says_who(self) -> bool:
        """Say whether it is about who does the next attempts, or within what."""
        return bool(self.agent or self.model or self.budget or self.timeout)

    def check(self) -> None:
        """Raise Refused where what is said does not go together."""
        _ = self.guidance

    @property
    def needs_level(self) -> str:
        """Return who may try again, or beyond what the plan allows."""
        return "maintain" if self.force else self.level

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

    positional = note = "reason"
    verb: Literal["hold"] = "hold"
    reason: Why = Field(default="", description="Why, for whoever looks.")


class Resume(Act):
    """Lift a hold."""

    verb: Literal["resume"] = "resume"


class Reject(Act):
    """Refuse what a task has done, before it is merged; the reason goes to the next attempt."""

    level = "maintain"
    needs_target = True
    positional = note = "reason"
    verb: Literal["reject"] = "reject"
    reason: Why = Field(description="What is wrong with it.", min_length=1)


class Skip(Act):
    """Leave a task out; the tasks that need it stay blocked unless --provides."""

    level = "maintain"
    needs_target = True
    positional = note = "reason"
    verb: Literal["skip"] = "skip"
    reason: Why = Field(description="Why it is left out.", min_length=1)
    provides: bool = Field(default=False, description="Declare that what it provides is there.")


class Approve(Act):
    """Give the approval that a task, or the plan, waits for; it holds for exactly this text."""

    level = "maintain"
    takes_plan = True
    verb: Literal["approve"] = "approve"
    sha: str = Field(
        default="", pattern=r"^([0-9a-f]{7,40})?$", description="Only if it is this commit."
    )


class Unapprove(Act):
    """Withdraw an approval, until what it is for has happened."""

    level = "maintain"
    takes_plan = True
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
    positional = note = "reason"
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


class Feedback(Act):
    """Say something to the agent of a task: to the one that runs where it can hear, else the next.

    It is stored at once, and goes into every brief from then on. `status` and `show` say when it
    was offered and delivered.
    """

    needs_target = True
    positional = note = "text"
    instead = ("withdraw",)
    unasked = frozenset({"key"})
    verb: Literal["feedback"] = "feedback"
    text: Why = Field(default="", description="What the agent is told.")
    kind: Literal["user", "system"] = Field(
        default="user", description="Who speaks: a person, or a program that looks on."
    )
    withdraw: bool = Field(
        default=False, description="Take back what you said and nobody was offered yet."
    )
    key: str = Field(default="", max_length=200)


class Answer(Act):
    """Answer the question that a task asked; it goes on where it stopped."""

    needs_target = True
    most_targets = 1
    positional = "choice"
    note = "text"
    instead = ("decline",)
    verb: Literal["answer"] = "answer"
    choice: Annotated[str, Field(max_length=500)] = Field(
        default="", description="An option, by its letter or its text."
    )
    text: Why = Field(default="", description="The answer in words, or a word beside the option.")
    decline: bool = Field(default=False, description="Leave it to the agent, which goes on.")


class AddTask(Act):
    """Add a task to a plan that was started; the next pass takes it up, of a running `run` too.

    It is committed to the branch plan/PLAN behind the tasks that are there. The file in your
    checkout stays as it is.
    """

    takes_tasks = False
    block = "text"
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

    def check(self) -> None:
        """Raise Refused where what is said does not go together."""
        _ = self.keys

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


class Start(Act):
    """Let a pass run now, which checks the plan and begins what is ready."""

    doors = frozenset({"comment"})
    takes_tasks = False
    verb: Literal["start"] = "start"
    max_parallel: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="How many attempts at once from now on."
    )


class Sync(Act):
    """Bring the board in step with the plan: every card is looked at, and people's changes told of.

    A job that has the token for boards does that, and answers with what it wrote.
    """

    doors = frozenset({"comment"})
    takes_tasks = False
    verb: Literal["sync"] = "sync"


class Look(Act):
    """Say where the plan, or a task, stands: what waits for a person, what runs, what it cost."""

    level = "read"
    reads = True
    doors = frozenset({"comment"})
    verb: Literal["status"] = "status"
    verbose: bool = Field(default=False, description="List every task.")


class Waves(Act):
    """Show what would run when, and how long it takes."""

    level = "read"
    reads = True
    doors = frozenset({"comment"})
    takes_tasks = False
    verb: Literal["waves"] = "waves"


class Explain(Act):
    """Say what a task waits for, and what it would unblock."""

    level = "read"
    reads = True
    doors = frozenset({"comment"})
    needs_target = True
    most_targets = 1
    verb: Literal["explain"] = "explain"


class Help(Act):
    """List the commands that you may give, or say all of one."""

    level = "read"
    reads = True
    doors = frozenset({"comment"})
    takes_tasks = False
    positional = "about"
    verb: Literal["help"] = "help"
    about: str = Field(default="", description="A command.")


Command = Annotated[
    Stop
    | Retry
    | Hold
    | Resume
    | Reject
    | Skip
    | Approve
    | Unapprove
    | Feedback
    | Answer
    | Merge
    | Revert
    | Update
    | Take
    | Submit
    | Give
    | AddTask
    | Start
    | Sync
    | Look
    | Waves
    | Explain
    | Help,
    Field(discriminator="verb"),
]
KINDS: Mapping[str, type[Act]] = {
    kind.model_fields["verb"].default: kind for kind in get_args(get_args(Command)[0])
}
"""Every command by its verb, in the order in which help lists them."""

LOOKS = ("explain", "show", "run", "edit")
"""Verbs of a terminal, beside those of the commands, with which a refusal's hint may begin."""

SYNONYMS: Mapping[str, str] = {
    "rerun": "retry",
    "retest": "retry",
    "cancel": "stop",
    "unhold": "resume",
    "hold cancel": "resume",
    "approve cancel": "unapprove",
}
"""Other words for a command that people know from elsewhere, and may write in a comment."""


def kinds(door: str) -> Mapping[str, type[Act]]:
    """Return the commands that can be given at a door, by their verbs."""
    return {verb: kind for verb, kind in KINDS.items() if door in kind.doors}
