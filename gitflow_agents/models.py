"""The values that every part agrees on.

First what people write: `Plan`, `Task`, `Config`.  Then what the tool records about it on the
state branch: `PlanState`, `TaskRecord`, `Attempt`.  All are frozen; a change is a new value.
Nothing here reads a file, a clock or the environment.  Annotations are no texts here as they are
elsewhere: every start would wait until each of them was compiled again.
"""

import hashlib
import re
import unicodedata
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)

SCHEMA = 1
"""The version written into every state file and every JSON answer."""

LOCAL = "local"
"""What the authority of a plan is called that the repository itself decides on."""
FORGE = "forge"
"""Stands in a lease for the host, where a run of the forge works."""
ZERO = "0" * 40
"""The sha that stands for "there is no such ref"."""


class Model(BaseModel):
    """A value that crosses a border: frozen, and nothing unknown gets in."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


# --- words ---------------------------------------------------------------------------------------


class Status(StrEnum):
    """The six statuses of a task that are stored; everything else is computed."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    REVIEW = "review"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why a task is where it is: the one closed list."""

    AGENT_ERROR = "agent-error"
    AGENT_REFUSED = "agent-refused"
    DENIED = "denied"
    NO_CHANGES = "no-changes"
    SETUP_FAILED = "setup-failed"
    CHECKS_FAILED = "checks-failed"
    UNVERIFIED = "unverified"
    GATE_FAILED = "gate-failed"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    BUDGET = "budget"
    TURNS = "turns"
    STOPPED = "stopped"
    CONFLICT = "conflict"
    PATH_VIOLATION = "path-violation"
    PROTECTED_PATH = "protected-path"
    NEEDS_WORKFLOW_PERMISSION = "needs-workflow-permission"
    FOREIGN_COMMITS = "foreign-commits"
    TOO_LARGE = "too-large"
    SECRET_FOUND = "secret-found"
    BAD_BASE = "bad-base"
    PUSH_REFUSED = "push-refused"
    LEASE_LOST = "lease-lost"
    PRECONDITION_FAILED = "precondition-failed"
    INFRASTRUCTURE = "infrastructure"
    AUTH = "auth"
    RATE_LIMIT = "rate-limit"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    REMOVED = "removed"
    REVERTED = "reverted"
    QUESTION = "question"
    FLOW_MISSING = "flow-missing"


class Priority(StrEnum):
    """When slots are short, `high` starts first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """Return 0 for high, 1 for medium, 2 for low."""
        return ("high", "medium", "low").index(self.value)


# --- scalars that people write --------------------------------------------------------------------

_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60}
_UNITS |= {"h": 3600, "hr": 3600, "hour": 3600}
_LONGEST = 366 * 24 * 3600
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(?:\s*(?:-|–|to)\s*(\d+(?:\.\d+)?))?\s*([a-z]*)")


class Duration(str):
    """A time as somebody wrote it; `seconds` is what it means.

    A bare number means minutes.  `90s`, `30m`, `2h`, `1h 30m`, `8 minutes` and `2-3 hours` (the
    longer end counts) are understood.
    """

    __slots__ = ()

    @property
    def seconds(self) -> float:
        """Return the length in seconds."""
        return parse_duration(self)

    @property
    def minutes(self) -> float:
        """Return the length in minutes."""
        return self.seconds / 60


@lru_cache(maxsize=4096)
def parse_duration(text: str) -> float:
    """Return the seconds that `text` means; ValueError when it means none."""
    folded = text.strip().lower().replace(",", " ").replace(" and ", " ")
    total, end = 0.0, 0
    for match in _SPAN.finditer(folded):
        if folded[end : match.start()].strip():
            break
        unit = match[3].removesuffix("s") if len(match[3]) > 1 else match[3]
        if unit and unit not in _UNITS:
            break
        total += float(match[2] or match[1]) * _UNITS[unit or "m"]
        end = match.end()
    if end == 0 or folded[end:].strip():
        raise ValueError("is not a time; write a number of minutes, or 90s, 30m, 2h, 8 minutes")
    if total > _LONGEST:
        raise ValueError("is longer than a year")
    return total


def _duration(value: Any) -> Duration:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("is not a time; write a number of minutes, or 90s, 30m, 2h, 8 minutes")
    parse_duration(str(value))
    return Duration(value)


def _timeout(value: Any) -> Duration:
    time = _duration(value)
    if not 60 <= time.seconds <= 14400:
        raise ValueError("has to be between 60 seconds and 4 hours")
    return time


_duration_json = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]})
Count = Annotated[int, Field(strict=True, ge=1)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Money = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Time = Annotated[Duration, PlainValidator(_duration), PlainSerializer(str), _duration_json]
Timeout = Annotated[Duration, PlainValidator(_timeout), PlainSerializer(str), _duration_json]


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Text = Annotated[str, Field(strict=True)]
Line = Annotated[str, StringConstraints(strict=True, min_length=1, pattern=r"\S")]
Lines = Annotated[
    tuple[Line, ...], BeforeValidator(_listed, json_schema_input_type=Line | tuple[Line, ...])
]
"""A list of strings; one string stands for a list of one."""

PLAN_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
TASK_ID = r"^[A-Za-z0-9][A-Za-z0-9.-]{0,31}$"
SLUG = r"^[a-z0-9][a-z0-9-]{0,62}$"

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
TOOL = r"^(read|edit|write|bash|web|mcp:[A-Za-z0-9_.-]{1,64})$"
PLACEHOLDER = r"\{(?:brief|rules|model|max_turns|budget_usd|tools|mcp|session)\}"
"""What can stand in an argument of an agent of one's own."""
AGENT = r"^[a-z][a-z0-9-]{0,31}$"
LOGIN = r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99})?$"
"""Somebody on GitHub, or a team there as `organisation/team`."""

PERSON_LOGIN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,38}$"
NODE = r"^[A-Za-z0-9_=-]{1,100}$"
"""What a forge calls a thing in GraphQL."""
BOT = r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}(\[bot\])?$"
WORD = r"^[a-z][a-z0-9-]{0,39}$"

RUNNER = r"^[a-z0-9][a-z0-9-]{0,31}$"
TAG = r"^[^\s,](?:[^,\r\n]{0,48}[^\s,])?$"
"""A label of an issue: at most 50 characters, and no comma, which parts them in an address."""

LABEL = r"^[A-Za-z0-9_][A-Za-z0-9_.:/=+-]{0,127}$"

PlanName = Annotated[str, StringConstraints(strict=True, pattern=PLAN_NAME)]
TaskId = Annotated[str, StringConstraints(strict=True, pattern=TASK_ID)]
Slug = Annotated[str, StringConstraints(strict=True, pattern=SLUG)]
Variable = Annotated[str, StringConstraints(strict=True, pattern=VARIABLE)]
Tool = Annotated[str, StringConstraints(strict=True, pattern=TOOL)]
AgentName = Annotated[str, StringConstraints(strict=True, pattern=AGENT)]
Login = Annotated[str, StringConstraints(strict=True, pattern=LOGIN)]
Logins = Annotated[
    tuple[Login, ...],
    BeforeValidator(_listed, json_schema_input_type=Login | tuple[Login, ...]),
    Field(max_length=20),
]
BotName = Annotated[str, StringConstraints(strict=True, pattern=BOT)]
BotNames = Annotated[
    tuple[BotName, ...],
    BeforeValidator(_listed, json_schema_input_type=BotName | tuple[BotName, ...]),
    Field(max_length=20),
]
Verb = Annotated[str, StringConstraints(strict=True, pattern=WORD)]
Verbs = Annotated[
    tuple[Verb, ...],
    BeforeValidator(_listed, json_schema_input_type=Verb | tuple[Verb, ...]),
    Field(max_length=100),
]
RunnerName = Annotated[str, StringConstraints(strict=True, pattern=RUNNER)]
Label = Annotated[str, StringConstraints(strict=True, pattern=LABEL)]
Labels = Annotated[
    tuple[Label, ...],
    BeforeValidator(_listed, json_schema_input_type=Label | tuple[Label, ...]),
    Field(min_length=1, max_length=20),
]
TaskIds = Annotated[
    tuple[TaskId, ...], BeforeValidator(_listed, json_schema_input_type=TaskId | tuple[TaskId, ...])
]


@lru_cache(maxsize=65536)
def fold(capability: str) -> str:
    """Return the form in which capabilities are compared: NFC, white space folded, case kept."""
    return " ".join(unicodedata.normalize("NFC", capability).split())


class Capability(Model):
    """What a task gives; `check` is a command that proves it on a merged tree."""

    name: Line
    check: Line | None = None


def _capability(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


_Given = Annotated[
    Capability, BeforeValidator(_capability, json_schema_input_type=Line | Capability)
]
Tools = Annotated[
    tuple[Tool, ...], BeforeValidator(_listed, json_schema_input_type=Tool | tuple[Tool, ...])
]
"""What an agent may use, in words that hold for every agent."""
Capabilities = Annotated[
    tuple[_Given, ...], BeforeValidator(_listed, json_schema_input_type=Line | tuple[_Given, ...])
]


# --- the plan -------------------------------------------------------------------------------------


class Decision(Model):
    """One architecture decision, in the words that people use for them."""

    decision: Line
    why: Text = ""
    alternative: Annotated[
        Text, Field(validation_alias=AliasChoices("alternative", "alternative_considered"))
    ] = ""
    implementation: Text = ""
    components: Lines = ()


class Limits(Model):
    """How much may happen; where plan and config both speak, the smaller number counts."""

    parallel: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    attempts: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    minutes: Positive | None = None
    budget_usd: Money | None = None
    open_reviews: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None

    def tightened(self, other: "Limits") -> "Limits":
        """Return the limits that both allow."""
        values = {}
        for name in type(self).model_fields:
            both = [n for n in (getattr(self, name), getattr(other, name)) if n is not None]
            values[name] = min(both) if both else None
        return Limits.model_construct(**values)


class Output(Model):
    """A value that a task's agent has to report, and what it may be."""

    name: Variable
    type: Literal["string", "number", "boolean"] = "string"
    choices: Lines = ()
    pattern: Line | None = None


def _output(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


_Reported = Annotated[Output, BeforeValidator(_output, json_schema_input_type=Variable | Output)]
Outputs = Annotated[
    tuple[_Reported, ...],
    BeforeValidator(_listed, json_schema_input_type=Variable | tuple[_Reported, ...]),
]
Value = (
    Annotated[bool, Field(strict=True)]
    | Annotated[int, Field(strict=True)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    | Annotated[str, Field(strict=True, max_length=8192)]
)
"""What an output can be: true or false, a number, or a text of at most 8,192 characters."""


class Step(Model):
    """One more agent on a task's branch, after the task's own: what it is for, and who it is."""

    role: Line
    agent: AgentName | None = None
    model: Line | None = None
    tools: Tools | None = None
    run: Line | None = None
    prompt: Text = ""


def _step(value: Any) -> Any:
    return {"role": value} if isinstance(value, str) else value


_Staged = Annotated[Step, BeforeValidator(_step, json_schema_input_type=Line | Step)]
Steps = Annotated[
    tuple[_Staged, ...],
    BeforeValidator(_listed, json_schema_input_type=Line | tuple[_Staged, ...]),
    Field(max_length=8),
]
Quality = Literal["none", "basic", "full"]
"""How much has to speak for a result before it can be merged."""


CLIS = ("claude", "codex", "gemini", "opencode", "aider")
"""The agents that are known beside `command`, which is the task's own `run`."""
WITHOUT_MCP = frozenset({"aider"})
"""Those of them that know no MCP servers."""
WITHOUT_COST = frozenset({"codex", "gemini"})
"""Those that never tell what they cost."""
Gate = Literal["plan", "task", "merge"]
"""What a person can have to approve: the plan's text, a task before it starts, its merge."""
TaskGate = Literal["task", "merge"]
Gates = Annotated[
    tuple[Gate, ...], BeforeValidator(_listed, json_schema_input_type=Gate | tuple[Gate, ...])
]
TaskGates = Annotated[
    tuple[TaskGate, ...],
    BeforeValidator(_listed, json_schema_input_type=TaskGate | tuple[TaskGate, ...]),
]


class Defaults(Model):
    """What a task that says nothing gets."""

    agent: AgentName = "command"
    model: Line | None = None
    tools: Tools | None = None
    run: Line | None = None
    timeout: Timeout = Duration("30m")
    verify: Lines = ()
    attempts: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    conflict_retries: Annotated[int, Field(strict=True, ge=0, le=3)] = 1
    max_turns: Annotated[int, Field(strict=True, ge=1, le=200)] | None = None
    budget_usd: Money | None = None
    scope: Literal["flag", "strict"] = "flag"
    priority: Priority = Priority.MEDIUM
    working_directory: Line | None = None
    role: Line | None = None
    tdd: Annotated[bool, Field(strict=True)] = False
    steps: Steps = ()
    quality: Quality = "basic"
    runner: RunnerName | None = None
    merge: Literal["auto", "pr"] = "auto"
    approvers: Logins = ()


class Task(Model):
    """One piece of work: what it needs, what it gives, how its result is proved."""

    id: Annotated[TaskId, Field(validation_alias=AliasChoices("id", "task_id"))]
    title: Text = ""
    description: Text = ""
    slug: Annotated[Slug | None, Field(validation_alias=AliasChoices("slug", "branch_slug"))] = None
    run: Line | None = None
    agent: AgentName | None = None
    model: Line | None = None
    tools: Tools | None = None
    preconditions: Lines = ()
    depends_on: TaskIds = ()
    provides: Capabilities = ()
    files: Lines = ()
    acceptance: Lines = ()
    verify: Lines | None = None
    kind: Literal["change", "research"] = "change"
    role: Line | None = None
    steps: Steps | None = None
    quality: Quality | None = None
    docs: Lines = ()
    outputs: Outputs = ()
    inputs: dict[Variable, Line] = Field(default_factory=dict)  # an empty one is copied deeply
    estimated_time: Time | None = None
    priority: Priority | None = None
    working_directory: Line | None = None
    runner: RunnerName | None = None
    timeout: Timeout | None = None
    attempts: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    conflict_retries: Annotated[int, Field(strict=True, ge=0, le=3)] | None = None
    max_turns: Annotated[int, Field(strict=True, ge=1, le=200)] | None = None
    budget_usd: Money | None = None
    scope: Literal["flag", "strict"] | None = None
    tdd: Annotated[bool, Field(strict=True)] | None = None
    approval: TaskGates = ()
    approvers: Logins | None = None
    merge: Literal["auto", "pr"] | None = None
    tracker: Line | None = None
    # Accepted as other tools write them, and only compared with what is computed.
    status: Text = "pending"
    session_goal: Text | None = None
    session_id: Text | None = None
    plan_branch: Text | None = None
    plan_version: Text | None = None
    enables: Lines | None = None
    parallel_with: Lines | None = None
    completed_tasks: Lines | None = None

    @cached_property
    def digest(self) -> str:
        """Return what changes with anything that the plan says of this task."""
        said = self.model_dump_json(by_alias=True, exclude_defaults=True)
        return hashlib.sha256(said.encode()).hexdigest()[:40]

    @cached_property
    def needs(self) -> frozenset[str]:
        """Return the folded names of the capabilities that must be on flow."""
        return frozenset(map(fold, self.preconditions))

    @cached_property
    def gives(self) -> tuple[str, ...]:
        """Return the folded names of the capabilities that its merge puts on flow."""
        return tuple(fold(capability.name) for capability in self.provides)

    @property
    def name(self) -> str:
        """Return the title, or the first sentence of the description, or the id."""
        if self.title.strip():
            return " ".join(self.title.split())
        first = re.split(r"(?<=[.!?])\s|\n", self.description.strip(), maxsplit=1)[0]
        return " ".join(first.split())[:80] or self.id


class Instead(Model):
    """What a person wants of a task's attempts in place of what its text says.

    It holds for exactly that text; `at` is seconds since the epoch.
    """

    agent: AgentName | None = None
    model: Line | None = None
    budget_usd: Money | None = None
    timeout: Timeout | None = None
    by: str
    at: float
    digest: str


def _epic(value: Any) -> Any:
    said = _EPIC.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if said is None:
        raise ValueError(f"is no issue and no {MILESTONE}; write its number, or its address")
    number = said["number"] or said["at"]
    if said["kind"] == MILESTONE or said["at"]:
        where = said["long"] or ""
        return f"{where} {MILESTONE} {number}".strip()
    return f"{said['short'] or said['long'] or ''}#{number}"


MILESTONE = "milestone"
"""Stands before the number of an epic that is one."""
_EPIC = re.compile(
    r"(?:https?://[^/\s]+/(?P<long>[\w.-]+/[\w.-]+)/(?P<kind>issues|milestone)/"
    r"|(?P<short>[\w.-]+/[\w.-]+)?\#)?(?P<number>[1-9]\d{0,9})"
    r"|milestone (?P<at>[1-9]\d{0,9})"
)
Epic = Annotated[
    str,
    BeforeValidator(_epic),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}),
]
"""An issue as GitHub writes it: `#12`, or `owner/name#12` of another repository.

Or a milestone: `milestone 3`, or `owner/name milestone 3`.
"""


class Plan(Model):
    """A goal and its tasks, as one file says them."""

    plan: Annotated[PlanName, Field(validation_alias=AliasChoices("plan", "session_id"))]
    goal: Annotated[Line, Field(validation_alias=AliasChoices("goal", "user_request"))]
    base: Line | None = None
    flow: Line | None = None
    type: Literal["feat", "fix", "chore", "docs", "refactor", "test"] | None = None
    architecture: Text = ""
    design_patterns: Text = ""
    technology_stack: Text = ""
    decisions: tuple[Decision, ...] = ()
    defaults: Defaults = Defaults()
    setup: Lines = ()
    copy_: Annotated[Lines, Field(alias="copy")] = ()
    limits: Limits = Limits()
    approval: Gates = ()
    gate: Lines = ()
    protected_paths: Lines = ()
    tracker: Line | None = None
    epic: Epic | None = None
    tasks: tuple[Task, ...]
    # Accepted as other tools write them, and only compared with what is computed.
    estimated_total_time: Time | None = None
    dependency_graph: Text | None = None
    total_tasks: Annotated[int, Field(strict=True)] | None = None
    plan_version: Text | None = None

    @cached_property
    def by_id(self) -> dict[str, Task]:
        """Return the tasks by id."""
        return {task.id: task for task in self.tasks}

    @cached_property
    def order(self) -> dict[str, int]:
        """Return each task's place in the file."""
        return {task.id: place for place, task in enumerate(self.tasks)}

    @property
    def flow_branch(self) -> str:
        """Return the branch that results are merged to."""
        return self.flow or f"{self.type or 'flow'}/{self.plan}"

    def with_instead(self, task: str, said: Instead | None) -> "Plan":
        """Return the plan as attempts at a task go by it: a person may have said who does it."""
        if said is None or said.digest != self.by_id[task].digest:
            return self
        told = {name: getattr(said, name) for name in ("agent", "model", "budget_usd", "timeout")}
        changes = {name: value for name, value in told.items() if value is not None}
        text = self.by_id[task]
        if said.agent is not None and said.agent != self.setting(text, "agent"):
            changes["model"] = said.model  # that of the text is another agent's
        new = text.model_copy(update=changes)
        tasks = tuple(new if each is text else each for each in self.tasks)
        # Not copied: a copy would keep what was computed of the former tasks.
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return Plan.model_construct(self.model_fields_set, **{**values, "tasks": tasks})

    def verify(self, task: Task) -> tuple[str, ...]:
        """Return the commands whose success proves the task."""
        return self.defaults.verify if task.verify is None else task.verify

    def setting(self, task: Task, name: str) -> Any:
        """Return the task's own value of `name`, else the plan's default.

        A task with a `run` of its own is done by `command`; the default model is one of the
        default agent's, so it holds for that agent only.
        """
        own = getattr(task, name)
        if own is None and name == "agent" and task.run is not None:
            return "command"
        if own is None and name == "model" and self.setting(task, "agent") != self.defaults.agent:
            return None
        return getattr(self.defaults, name) if own is None else own


# --- the config -----------------------------------------------------------------------------------


_Variables = Annotated[
    tuple[Variable, ...],
    BeforeValidator(_listed, json_schema_input_type=Variable | tuple[Variable, ...]),
]


class CommandConfig(Model):
    """How the agent `command` is run: what tasks without a `run` start, what it may say nothing."""

    run: Line | None = None
    env: _Variables = ()
    silence: Time | None = None


class AgentConfig(Model):
    """How one coding agent is run, and the most that a task can ask of it."""

    model: Line | None = None
    env: _Variables = ()
    args: Lines = ()
    install: Text = ""
    silence: Time | None = None
    tools: Tools | None = None
    mcp_config: Line | None = None
    max_turns: Annotated[int, Field(strict=True, ge=1, le=200)] | None = None
    budget_usd: Money | None = None


_Argument = Line | tuple[Line, ...]


class Sayings(Model):
    """Where the lines of JSON that an agent prints say what of it: keys with dots between them."""

    text: Line | None = None
    doing: Line | None = None
    turns: Line | None = None
    session: Line | None = None
    cost_usd: Line | None = None
    input_tokens: Line | None = None
    output_tokens: Line | None = None
    tool: Line | None = None
    arguments: Line | None = None
    denied: Line | None = None
    error: Line | None = None


class CustomConfig(AgentConfig):
    """Any other agent: how it is started, and what its output means."""

    command: Annotated[
        tuple[_Argument, ...],
        BeforeValidator(_listed, json_schema_input_type=Line | tuple[_Argument, ...]),
        Field(min_length=1),
    ]
    brief: Literal["stdin", "file"] = "stdin"
    version: Lines = ()
    output: Literal["text", "json"] = "text"
    says: Sayings = Sayings()
    turn: Line | None = None
    tool: Line | None = None
    failures: dict[
        Line, Literal["agent-error", "denied", "infrastructure", "rate-limit", "auth"]
    ] = {}

    @cached_property
    def places(self) -> frozenset[str]:
        """Return the places in the arguments that are filled."""
        parts = (part for argument in self.command for part in listed(argument))
        return frozenset(place for part in parts for place in re.findall(PLACEHOLDER, part))


def listed(argument: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return an argument as the list that goes or stays as a whole."""
    return (argument,) if isinstance(argument, str) else argument


class Agents(Model):
    """The agents that can be configured; a name that is not among them is an agent of your own."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, CustomConfig] = Field(init=False)

    command: CommandConfig = CommandConfig()
    claude: AgentConfig = AgentConfig()
    codex: AgentConfig = AgentConfig()
    gemini: AgentConfig = AgentConfig()
    opencode: AgentConfig = AgentConfig()
    aider: AgentConfig = AgentConfig()

    @property
    def custom(self) -> dict[str, CustomConfig]:
        """Return the agents that only this config knows."""
        return self.__pydantic_extra__ or {}

    @property
    def allowed(self) -> tuple[str, ...]:
        """Return the agents that plans may name: those named here, or all when none is."""
        named = [name for name in CLIS if name in self.model_fields_set]
        return ("command", *((*named, *self.custom) if named or self.custom else CLIS))

    def of(self, name: str) -> AgentConfig:
        """Return how an agent other than `command` is run."""
        return self.custom.get(name) or getattr(self, name)


class ConfigLimits(Limits):
    """The limits that only a repository sets."""

    task_minutes: Positive = 10
    changed_files: Count = 5000
    changed_bytes: Count = 50 * 1024 * 1024


def _off(value: Any) -> Any:
    return "off" if value is False else value  # an unquoted off is false in YAML


Level = Literal["read", "triage", "write", "maintain", "admin"]
"""What somebody may do in a repository of a forge; each includes the ones before it."""


class CommandPermission(Model):
    """Who may give one command, in place of who may by default."""

    level: Level | None = None
    users: Logins = ()
    """People and teams who may, whatever their level."""
    codeowners: Annotated[bool, Field(strict=True)] = False
    """Whether owners of all paths of the task may, who can write here."""


def _leveled(value: Any) -> Any:
    return {"level": value} if isinstance(value, str) else value


_Permission = Annotated[
    CommandPermission, BeforeValidator(_leveled, json_schema_input_type=Level | CommandPermission)
]


CardField = Literal[
    "TM_ID",
    "Status",
    "Priority",
    "Assignee",
    "Dependencies",
    "Test Strategy",
    "Plan",
    "Wave",
    "Attempt",
    "Agent",
    "Cost",
    "Run",
    "Estimate",
    "Started",
    "Ended",
    "Reason",
]
"""What the card of a task says on a board, in the order in which a new board gets it."""


class ProjectMapping(Model):
    """The board of one plan, as an earlier tool wrote it down."""

    project_number: Count | None = None
    project_id: Annotated[str, StringConstraints(strict=True, pattern=NODE)] | None = None
    last_sync: Any = None
    """What that tool did; nothing here asks for it."""


_PROJECT_URL = re.compile(
    r"https?://(?P<host>[A-Za-z0-9.-]+(?::\d+)?)/(?:orgs|users)/(?P<owner>[A-Za-z0-9_-]+)"
    r"/projects/(?P<number>[1-9]\d*)(?:/.*|\?.*)?"
)


class Place(NamedTuple):
    """Where a board is; who owns it, and on which host, only where that was said."""

    number: int
    owner: str = ""
    host: str = ""


def place_of(project: int | str) -> Place | None:
    """Return where a board is that is named by its number or its address; None if neither."""
    if not isinstance(project, str):
        return Place(project)
    found = _PROJECT_URL.fullmatch(project)
    return Place(int(found["number"]), found["owner"], found["host"].casefold()) if found else None


def _project(value: Any) -> int | str:
    is_project = isinstance(value, int | str) and not isinstance(value, bool)
    if not is_project or (isinstance(value, int) and value < 1) or place_of(value) is None:
        raise ValueError(
            "is no project; write its number, or its address: "
            "https://github.com/orgs/acme/projects/3"
        )
    return value  # type: ignore[no-any-return]  # the line above leaves nothing else


_Project = Annotated[
    int | str,
    PlainValidator(_project),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}),
]


class AgentMapping(Model):
    """Which person answers for what an agent does, and for which services."""

    github_username: Annotated[str, StringConstraints(strict=True, pattern=PERSON_LOGIN)]
    services: Lines = ("*",)
    """Plans, and folders at the top of the repository; `*` is all of them."""
    role: Text = ""


class Projects(Model):
    """Which boards show which plans, and how."""

    file: Line | None = None
    version: Literal["1.0.0"] | None = None
    owner: Annotated[
        Annotated[str, StringConstraints(strict=True, pattern=PERSON_LOGIN)] | None,
        Field(validation_alias=AliasChoices("owner", "organization")),
    ] = None
    plans: dict[Line, _Project] = {}
    project_mappings: dict[Line, ProjectMapping] = {}
    fields: dict[CardField, Line | None] = {}
    states: dict[Status, Line] = {}
    agent_mapping: dict[Line, AgentMapping] = {}


def _in_file(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


class Issues(Model):
    """What the issues of tasks are like, where a repository wants them."""

    labels: Annotated[
        tuple[Annotated[str, StringConstraints(strict=True, pattern=TAG)], ...],
        BeforeValidator(_listed),
        Field(max_length=20),
    ] = ()
    follow_ups: Annotated[bool, Field(strict=True)] = False
    """Whether what a merged task leaves to be done becomes issues, too."""


def _switch(value: Any) -> Any:
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, dict | Issues | None):
        raise ValueError("is neither true nor false; or write what they are like: {labels: [x]}")
    return value


USUAL = "default"
"""The runner of tasks that name none, where a config has one of that name."""


class Environments(Model):
    """The environments of a forge whose reviewers are asked for an approval, by what it is of."""

    plan: Line | None = None
    task: Line | None = None
    merge: Line | None = None


class Config(Model):
    """What a repository decides for all its plans; read from the default branch only."""

    agents: Agents = Agents()
    bases: Lines | None = None
    protected_paths: Lines = ()
    allow_secrets: Lines = ()
    limits: ConfigLimits = ConfigLimits()
    approval: Gates = ()
    gate: Lines = ()
    setup: Lines = ()
    copy_: Annotated[Lines, Field(alias="copy")] = ()
    worktrees: Line = ".worktrees"
    keep_branches: Annotated[bool, Field(strict=True)] = False
    brief_template: Line = ".github/gitflow-agents/brief.md.j2"
    preferences: Line = ".github/gitflow-agents/preferences.md"
    roles: Line = ".github/gitflow-agents/roles"
    train: Annotated[int, Field(strict=True, ge=1, le=100)] = 8
    follow_base: Annotated[Literal["clean", "off"], BeforeValidator(_off)] = "clean"
    remote: Line | None = None
    """The remote that decides on plans which begin from now on, if not this repository."""
    notify: Logins = ()
    allow_users: Logins = ()
    """Who counts as one who can write here, of those who give commands on a forge."""
    allow_bots: BotNames = ()
    """Bots that are heard, as if they could write here."""
    allow_self_approval: Annotated[bool, Field(strict=True)] = False
    reviews: Annotated[
        tuple[Literal["plan", "merge"], ...],
        BeforeValidator(_listed),
    ] = ("merge",)
    """What a review on a forge approves, as a command does."""
    environments: Environments = Environments()
    command_permissions: dict[Verb, _Permission] = {}
    command_prefix: Literal["none", "required"] = "none"
    ignore_commands: Verbs = ()
    """Words that belong to other bots, however near they are to a command."""
    command_limit: Count = 30
    """Commands that one person may give on a forge within an hour."""
    start: Literal["on-push"] | None = None
    """Whether Actions start the plan files of the default branch, too."""
    cache: Lines = ()
    """Folders of a machine of a forge that attempts at the same service hand on."""
    issues: Annotated[
        Issues | None,
        BeforeValidator(_switch, json_schema_input_type=bool | Issues),
    ] = None
    """Whether each task has an issue on a forge, and what it is like."""
    runners: dict[RunnerName, Labels] = {}
    """Labels of the machines of a forge that plans may name; `default` is for those that do not."""
    projects: Annotated[
        Projects | None, BeforeValidator(_in_file, json_schema_input_type=Line | Projects)
    ] = None
    """The boards that plans are shown on; none where it is left out."""
    agent_mapping: dict[Line, AgentMapping] = {}

    def labels(self, runner: str | None) -> tuple[str, ...]:
        """Return the labels of a runner; none where the forge's usual one does."""
        return self.runners.get(runner or USUAL, ())


# --- what the tool records ------------------------------------------------------------------------


class Lease(Model):
    """Who runs an attempt, so that anybody can tell whether they still do.

    `pid` and `pid_started` (clock ticks since boot) name one process of one boot; `until` is
    seconds since the epoch, after which another host may take the attempt for lost.  A forge's
    `run` stands in the place of a process.
    """

    host: str
    boot: str = ""
    pid: int = 0
    pid_started: int = 0
    until: float
    run: Annotated[int, Field(ge=0)] | None = None
    """The run of the forge, 0 until it is known which; None for a process."""


class Ran(Model):
    """One command that we ran and what came of it: the evidence.

    `code` is its exit code, negative for a signal, None when it did not end or could not start.
    The kind `red` is a verification that had to fail, at the commit `at` before the result.
    """

    command: str
    kind: Literal["setup", "verify", "check", "gate", "red"]
    at: str | None = None
    code: int | None = None
    seconds: float
    tail: str = ""


EVERYWHERE = ("**",)
"""Stands for paths too many to list."""
PERSON = "person"
"""Stands in an attempt for the agent when a person did it."""


def person(actor: str) -> str:
    """Return the name of an actor (`name <address>`) for sentences, which show no address."""
    name = actor.partition("<")[0].strip()
    return name or actor.strip("<> ")


class Tokens(Model):
    """What a model read, of that what it had read before, and what it wrote."""

    input: int
    cached: int = 0
    output: int


class Attempt(Model):
    """One attempt at a task: numbered, ended once, never reopened."""

    number: int
    agent: str = "command"
    actor: str = ""
    host: str = ""
    started_at: float = 0
    ended_at: float | None = None
    outcome: Literal["running", "succeeded", "failed", "stopped", "expired", "asked"] = "running"
    reason: Reason | None = None
    message: str = ""
    base: str = ""
    """The flow tip that it was cut from."""
    tip: str = ""
    """What it produced: a commit."""
    kept: str = ""
    """The ref that holds `tip` when it is not the task branch."""
    report: str = ""
    """The event commit whose `.gitflow/` holds the attempt's report."""
    shown_at: float = 0
    """When the state named that, and people could see it."""
    touched: tuple[str, ...] = ()
    """The paths that it changed; `EVERYWHERE` when there are very many."""
    merged: str = ""
    """The merge that was its, once that was reverted."""
    reverted: str = ""
    """The commit that took its merge back."""
    cost_usd: float | None = None
    turns: int | None = None
    model: str = ""
    session: str = ""
    """What the agent calls its memory of this attempt, by which the next one can go on."""
    tokens: Tokens | None = None
    url: str = ""
    """Where people see its run, if a forge ran it."""


class Approval(Model):
    """A person's yes to exactly this: it dies when the commit or the digest is another one.

    `at` is seconds since the epoch; `sha` the plan's commit, or the result that is to be merged.
    """

    gate: Gate
    by: str
    at: float
    sha: str
    digest: str
    pull: int = 0
    """The pull request in which it was given, and may be withdrawn."""


class Guidance(Model):
    """What a person wants the next attempts at a task to know; `at` is seconds since the epoch."""

    text: str
    mode: Literal["append", "replace"] = "append"
    """Whether it stands beside the task's description or in its place."""
    by: str
    at: float
    after_attempt: int
    """The attempt that it answers; 0 when there was none."""


class Question(Model):
    """What an agent asks people, where only they can decide; free text where it has no options."""

    text: Annotated[Line, Field(max_length=4000)]
    options: Annotated[
        tuple[Annotated[Line, Field(max_length=500)], ...],
        BeforeValidator(_listed),
        Field(max_length=20),
    ] = ()
    default: Annotated[Line, Field(max_length=500)] | None = None
    """What the agent would take."""
    type: Literal["string", "number", "boolean"] = "string"
    pattern: Annotated[Line, Field(max_length=500)] | None = None
    """A regular expression for the whole of an answer."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if len({option.strip().casefold() for option in self.options}) != len(self.options):
            raise ValueError("names an option twice")
        if self.options and (self.pattern or self.type != "string"):
            raise ValueError("has options, so it has no `type` and no `pattern`")
        if self.options and self.default is not None and self.default not in self.options:
            raise ValueError("has a `default` that is none of its options")
        if self.pattern:
            try:
                TypeAdapter(Annotated[str, StringConstraints(pattern=whole(self.pattern))])
            except Exception:  # the engine's own error has no public name
                raise ValueError("has a `pattern` that is no regular expression") from None
        return self


def whole(pattern: str) -> str:
    """Return a pattern that only a whole text fits."""
    return rf"\A(?:{pattern})\z"


MOST_QUESTIONS = 5
"""Questions that one attempt may ask."""


class Asked(Question):
    """A question that an attempt asked, and what came of it; times since the epoch."""

    attempt: int
    at: float
    base: str
    """The flow commit that the work up to it was cut from."""
    tip: str
    """The last commit of that work."""
    answer: str = ""
    """Empty where people leave it to the agent."""
    note: str = ""
    answered_by: str = ""
    answered_at: float = 0
    shown_at: float = 0
    """When a forge was to show it in a comment of its own."""
    comment: int = 0
    """That comment, once it is known which it is."""
    is_closed: bool = False
    """The comment says what came of it."""


class Remark(Model):
    """What somebody said to the agent of a task, and what became of it; times since the epoch."""

    text: str
    kind: Literal["user", "system"] = "user"
    """Whether a person said it, or a program that looks on."""
    by: str
    at: float
    key: str
    """What names it for ever, so that it is stored and told once."""
    attempt: int = 0
    """The attempt that it was offered or told to; 0 before that."""
    offered_at: float = 0
    """When a running attempt could have read it."""
    delivered_at: float = 0
    """When an agent was told."""

    @property
    def is_pending(self) -> bool:
        """Say whether no agent was told yet."""
        return not self.delivered_at


class Heard(Model):
    """What became of a remark in an attempt; times since the epoch, 0 for what has not happened."""

    key: Annotated[str, Field(max_length=200)]
    offered_at: float
    delivered_at: float = 0


class TaskRecord(Model):
    """What is known about one task; a pending task with nothing to tell has none."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    id: str
    status: Status = Status.PENDING
    reason: Reason | None = None
    message: str = ""
    branch: str = ""
    claim: str = ""
    """The tip that publish expects."""
    nonce: str = ""
    lease: Lease | None = None
    attempts: tuple[Attempt, ...] = ()
    used: int = 0
    """Attempts that an agent ended."""
    granted: int = 0
    """Attempts that a person allowed beyond the limit."""
    lost: int = 0
    """Attempts in a row that were lost to infrastructure."""
    conflicts: int = 0
    conflict_paths: tuple[str, ...] = ()
    """Where it did not merge; such a path is given to one task at a time from then on."""
    not_before: float = 0
    held: str = ""
    """Why it is neither started nor merged, or empty."""
    questions: tuple[Asked, ...] = ()
    """What its agents asked, the oldest first."""
    taken_by: str = ""
    """Who does it in place of an agent: it is in progress without a lease, its branch is theirs."""
    fresh: bool = False
    """The next attempt begins without the work of the former ones."""
    repair: bool = False
    """The next attempt is to find out why the last one failed."""
    guidance: tuple[Guidance, ...] = ()
    instead: Instead | None = None
    """Who does the next attempts, and within what, where a retry said it."""
    feedback: tuple[Remark, ...] = ()
    """What was said to its agents, the oldest first."""
    approvals: tuple[Approval, ...] = ()
    unapproved: float = 0
    """When an approval was withdrawn last; one that is older counts no more, wherever it is."""
    pull: int = 0
    """The pull request in which its result is looked at, if a forge has one."""
    pulled: str = ""
    """The result that it was opened for, or looked for again."""
    gave: tuple[str, ...] = ()
    """What it provides, of a merged task that is in the plan no more."""
    provided_by: str = ""
    """Who declared that what this skipped task provides is there."""
    merge: str = ""
    summary: str = ""
    learned: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    outputs: dict[str, Value] = Field(default_factory=dict)  # as above
    """What it reported under the names that the plan declares, once it is merged."""
    evidence: tuple[Ran, ...] = ()
    """What was run on the merged tree, or on the same tree before, to prove the task."""

    @property
    def attempt(self) -> Attempt | None:
        """Return the newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_asked(self) -> bool:
        """Say whether its newest attempt waits for an answer, or goes on with one."""
        is_over = self.status is not Status.PENDING or self.reason is not Reason.QUESTION
        return bool(self.questions) and not is_over

    @property
    def open_question(self) -> Asked | None:
        """Return the question that it waits for, if it does."""
        last = self.questions[-1] if self.is_asked else None
        return last if last is not None and not last.answered_at else None

    @property
    def result_branch(self) -> str:
        """Return the branch that ends in what is to be merged: the task's, or one beside it."""
        return (self.attempt.kept if self.attempt else "") or self.branch


class Car(Model):
    """One task in a train: what is merged, and as which commit."""

    task: str
    tip: str
    merge: str


class Train(Model):
    """Merges that are being tested together."""

    base: str
    cars: tuple[Car, ...]
    tip: str
    lease: Lease
    nonce: str = ""
    base_branch_tip: str = ""
    """The base's tip when following it is the first car."""
    reverts: tuple[Car, ...] = ()
    """Of a train of reverts: what is taken back; `tip` is the old merge, `merge` the revert."""
    by: str = ""
    """Who asked for it, where it carries out a command and no pass made it up."""


class Ending(Model):
    """A run of a forge that has to end, because nobody wants what it does; times are of the epoch.

    Without a `task` it tests a train.
    """

    run: int
    task: str = ""
    attempt: int = 0
    since: float
    forced_at: float = 0.0
    """When it was forced, because it did not end when it was asked to."""
    told: bool = False
    """A person was told that it does not end."""
    refused: str = ""
    """Why the forge does not end it."""


class Checked(Model):
    """The check of a plan on the head of its flow: its ids for both ways of asking, and where."""

    id: int
    node: str = ""
    sha: str
    is_over: bool = False


class Home(Model):
    """Where a forge tells of a plan: the number of its pull request, and the id of the comment.

    `node` and `repository` are what the comment and the repository are called in GraphQL.
    """

    pull: int = 0
    issue: int = 0
    """Stands in for a pull request where none may be opened, or did so before there was one."""
    comment: int = 0
    node: str = ""
    repository: str = ""
    is_ready: bool = False
    """The pull request is no draft any more."""
    told: str = ""
    """A digest of what was told there last, of all that people care for."""
    refused: str = ""
    """Why there is no pull request."""
    check: Checked | None = None
    unchecked: str = ""
    """Why there is no check."""
    unchecked_at: str = ""
    """The commit for which that was said; for another one it is asked again."""

    @property
    def number(self) -> int:
        """Return what the plan is told of in, 0 where that is nothing."""
        return self.pull or self.issue


class Tracked(Model):
    """An issue of ours: where it is, and what it was told last.

    `node` and `id` are what it is called in GraphQL and in REST.
    """

    number: int
    node: str = ""
    id: int = 0
    text: str = ""
    """The digest of the task's text that it was told, or was compared with."""
    told: str = ""
    """The digest of title and words as they were written there."""
    closed: Literal["", "completed", "not_planned"] = ""
    """Why it is closed, as far as it was told; empty while it is open."""
    needs: tuple[str, ...] = ()
    """What the task needed when it was last told what it waits for."""
    blocked_by: tuple[str, ...] = ()
    """The tasks of whose issues it was told that it waits for them."""
    is_child: bool = False
    """It hangs below the plan's own issue."""
    is_gone: bool = False
    """Somebody deleted it."""
    theirs: str = ""
    """In a sentence what people made of it that is not what we would have written."""


class Making(Model):
    """Issues that are being made; the others leave that alone until then (seconds since epoch).

    `keys` are ids of tasks, an empty one for the plan, `+` and a digest for what a task left to do.
    """

    nonce: str
    keys: tuple[str, ...]
    since: float
    until: float


class Tracking(Model):
    """What is known of a plan's issues as a whole."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    url: str = ""
    """The address of an issue, without its number."""
    issue: Tracked | None = None
    """The plan's own."""
    epic: str = ""
    """What it hangs below."""
    making: Making | None = None
    paced_until: float = 0.0
    """When a forge will have had time enough for all that were made."""
    unblocked: str = ""
    """Why the issues are not told what they wait for."""
    followed: dict[str, int] = {}
    """The issue of what tasks left to be done, by a digest of its words."""
    refused: str = ""
    """Why there are none, or not all."""
    without: tuple[str, ...] = ()
    """The keys of which alone one is refused; without any of them it is all."""
    again_at: float = 0.0
    """When it is tried again, of what is refused."""


class TrackedShard(Model):
    """The issues of some tasks."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    tasks: dict[str, Tracked] = {}


class Spoken(Model):
    """A command that somebody gave where a forge listens, and what became of it.

    Times are seconds since the epoch.  `open` is one that was accepted and is still to be carried
    out; `command` is empty where the line was refused before it meant anything.
    """

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    key: str
    """The comment's id, or `form-` and the run's, then `-` and the number of the line."""
    line: str
    """What was typed."""
    synonym: str = ""
    """The other name of the command that was typed, if one was."""
    command: dict[str, Any] = {}
    dry_run: bool = False
    by: str = ""
    level: str = ""
    """What they might do in the repository when it was accepted."""
    first: str = ""
    """Who filled the form in that another one sent again: both have to be allowed."""
    first_level: str = ""
    number: int = 0
    """The pull request or issue in which it was said; 0 for a form."""
    comment: int = 0
    is_bot: bool = False
    at: float
    """When it was said."""
    status: Literal["open", "done", "refused"] = "open"
    code: str = ""
    """Of a refusal, one of the closed list."""
    said: tuple[str, ...] = ()
    undo: str = ""
    changed: bool = False
    is_staged: bool = False
    """It comes about once a train has passed its test."""
    ended_at: float = 0


class Given(Model):
    """One of the last commands, as the views show it."""

    line: str
    by: str
    at: float
    outcome: str
    undo: str = ""


class AskedFor(Model):
    """A run of a forge that waits in an environment for somebody's yes to exactly this."""

    environment: str
    sha: str
    digest: str
    at: float
    run: int = 0
    """0 until it is known which it is."""
    url: str = ""
    refused: str = ""
    """Why no yes came of it; it is not asked for again."""


class PlanState(Model):
    """What is known about a plan as a whole."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    plan: str
    revision: int = 1
    commit: str
    """The commit of the plan branch that was accepted."""
    digest: str
    """The blob sha of the accepted plan file."""
    base: str
    base_sha: str
    flow: str
    flow_sha: str
    accepting: str
    """The commit on flow that accepted the first revision."""
    authority: str = "local"
    """What decides: `local` for the repository that it began in, or the name of a remote there."""
    accepted_at: float
    accepted_by: str = ""
    doubt: str = ""
    """Why this text waits for an approval, whatever it and the config say."""
    asked_for: dict[str, AskedFor] = {}
    """Approvals that environments are asked for: of the `plan`, or by a gate and a task."""
    revised_at: float = 0
    """When this text was accepted, of a later one than the first."""
    revised_from: str = ""
    """The commit of the plan branch that was accepted before it."""
    train: Train | None = None
    train_limit: int | None = None
    """The longest train allowed until one passes; None means no restriction."""
    ending: tuple[Ending, ...] = ()
    """Runs of a forge that are wanted no more and may still be at work."""
    undispatched: str = ""
    """Why a forge starts no runs, in its words; nothing is to be expected of asking again."""
    setback: str = ""
    """What somebody asked for and a forge's run did not let through, until somebody acts again."""
    lost_trains: int = 0
    """How many runs of a forge in a row ended without a verdict on their train."""
    status: Literal["live", "finished", "landed", "closed"] = "live"
    held: str = ""
    """Why nothing more is started, or empty."""
    parallel: int | None = None
    """Attempts at once, as whoever started it said; plan and config can only allow fewer."""
    approved: Approval | None = None
    """The yes to the text of the plan."""
    unapproved: float = 0
    """When one was withdrawn last; a review that is older counts no more."""
    refused: str = ""
    """The commit of the plan branch whose text was not accepted as the next revision."""
    refusal: str = ""
    """Why not."""
    learned: tuple[str, ...] = ()
    home: Home | None = None
    """Where a forge tells of it, once that is known."""
    alerted: dict[str, tuple[str, ...]] = {}
    """The keys of the alerts that were told and still hold, by the way in which they were told."""
    listened: dict[int, float] = {}
    """Up to when comments were heard, by the number of the pull request or issue."""
    commands: tuple[str, ...] = ()
    """The keys of commands that are to be carried out, or whose outcome nobody was told yet."""
    given: tuple[Given, ...] = ()
    """The last commands, the newest first."""


class Event(Model):
    """Something that happened, as a state commit tells it."""

    event: str
    plan: str
    task: str = ""
    attempt: int | None = None
    status: Status | None = None
    reason: Reason | None = None
    actor: str = ""
    run: str = ""
    agent: str = ""
    model: str = ""
    cost_usd: float | None = None
    commit: str = ""
    """The commit on a task branch or on flow that this event tells again."""
    note: str = ""
    """One sentence for people, in the message's body."""


class Report(Model):
    """What an agent may say of its own work; none of it is evidence."""

    summary: Text = ""
    scope: Text = ""
    risks: Lines = ()
    follow_ups: Lines = ()
    learned: Lines = ()
    outputs: Annotated[dict[Variable, Value], Field(max_length=200)] = {}
    question: Question | None = None
    cost_usd: Annotated[float, Field(ge=0, le=1_000_000)] | None = None


class Review(Report):
    """What an agent says that judges the work of others: beside the rest, its verdict."""

    verdict: Literal["approve", "refuse"] | None = None
    reasons: Lines = ()
    word: str = ""
    """What its brief says that a verdict has to carry."""


class StepReport(Model):
    """What one agent of an attempt with steps did; the task's own is the first of them."""

    role: str = ""
    agent: str
    model: str = ""
    outcome: Literal["succeeded", "failed", "stopped"]
    reason: Reason | None = None
    message: str = ""
    seconds: float
    turns: int | None = None
    cost_usd: float | None = None
    tokens: Tokens | None = None
    verdict: Literal["approve", "refuse"] | None = None
    reasons: tuple[str, ...] = ()
    summary: str = ""
    files_touched: tuple[str, ...] = ()


class DoneReport(Model):
    """What is stored with an attempt: the agent's words beside what we observed."""

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    plan: str
    task: str
    attempt: int
    outcome: Literal["succeeded", "failed", "stopped", "asked"]
    reason: Reason | None = None
    message: str = ""
    agent: str = "command"
    started_at: float
    ended_at: float
    exit_code: int | None = None
    scope: str
    files_touched: tuple[str, ...] = ()
    outside_files: tuple[str, ...] = ()
    """Paths that the task's `files` or `working_directory` do not name."""
    commands: tuple[Ran, ...] = ()
    risks: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    summary: str = ""
    learned: tuple[str, ...] = ()
    outputs: dict[str, Value] = {}
    question: Question | None = None
    """What it has to know before it can go on."""
    heard: Annotated[tuple[Heard, ...], Field(max_length=100)] = ()
    """What was said to its agents while they worked."""
    report_problem: str = ""
    """Why nothing of what the agent wrote of its own work is here, in a sentence."""
    cost_usd: float | None = None
    turns: int | None = None
    model: str = ""
    session: str = ""
    tokens: Tokens | None = None
    denied: tuple[str, ...] = ()
    """What the agent wanted to use and was not allowed to."""
    output_tail: str = ""
    already_provided: bool = False
    steps: tuple[StepReport, ...] = ()
    """What each agent of a task with `steps` did, in order."""
