"""What may stand in a plan and in a config file, for editors.

The shape comes from the models, the sentences from ABOUT; a key without a sentence fails a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from gitflow_agents.models import (
    CLIS,
    AgentConfig,
    AgentMapping,
    Agents,
    Capability,
    CommandConfig,
    CommandPermission,
    Config,
    ConfigLimits,
    CustomConfig,
    Decision,
    Defaults,
    Duration,
    Environments,
    Issues,
    Limits,
    Output,
    Plan,
    ProjectMapping,
    Projects,
    Sayings,
    Step,
    Task,
)
from gitflow_agents.roles import Role
from gitflow_agents.spec.wording import spellings

PLAN_SCHEMA = ".github/gitflow-agents/plan.schema.json"
"""Where `init` writes it, for editors."""
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_LIMITS = {
    "parallel": "How many attempts may run at once; 3 if neither plan nor config says.",
    "attempts": "How many attempts of one task an agent may end; 3 if nobody says.",
    "minutes": "Minutes of work by all agents together: two at once for 5 minutes use 10.",
    "budget_usd": "What the plan may cost in all, in dollars.",
    "open_reviews": "How many results may wait to be merged; one that is worked on counts too.",
}
_SHARED = {
    "agent": "Who does the work: `command` runs the task's `run`; or `claude`, `codex`, `gemini`, "
    "`opencode`, `aider`, or one of the config's own.",
    "model": "Which model the agent uses, in the agent's own words.",
    "tools": "What the agent may use, of what the config allows: `read`, `edit`, `write`, `bash`, "
    "`web`, `mcp:<server>`; all of that if left out.",
    "timeout": "How long an attempt may take, 60s to 4h: `30m`, `2h`; a number is minutes.",
    "verify": "Shell commands that prove the result; every one has to succeed.",
    "attempts": "How many attempts an agent may end.",
    "conflict_retries": "How often a task that conflicts with flow is tried again by itself.",
    "max_turns": "How many turns an agent may take, 1 to 200.",
    "budget_usd": "What an attempt may cost, in dollars.",
    "scope": "When work changes paths outside `files`: `flag` reports it, `strict` fails it.",
    "tdd": "`true` wants tests that failed in a commit before the code; the train runs them there.",
    "priority": "When slots are short, `high` starts first.",
    "working_directory": "The folder that the agent starts in, made if it is missing.",
    "runner": "On which of the config's `runners` GitHub Actions do it; the test of its merge runs "
    "there, too, where all that is merged with it names the same.",
    "role": "What its agent is for, and what its result may hold: a name that `roles` lists.",
    "steps": "More agents on the same branch, one after the other, after the task's own, at most "
    "8. The name of a role stands for a step with that role.",
    "quality": "`basic`; `full` wants a command that verifies it, a review by another agent or "
    "model, no change outside `files`, and tests with new code; `none` warns of nothing.",
    "merge": "`pr` merges a result only when it is approved: on GitHub in a pull request of its "
    "own, anywhere by `approve`; `auto` asks nobody.",
    "approvers": "Who may approve it or reject it, of those who can write on GitHub: people, teams "
    "as `organisation/team`, `codeowners`. What the config wants approved also needs `maintain`.",
}
_COMMANDS = {
    "setup": "Shell commands in every fresh worktree, before the agent and before the gate.",
    "copy_": "Untracked files that are copied into every worktree on a terminal, such as `.env`.",
    "gate": "Shell commands that have to succeed on the merged tree before flow moves.",
    "protected_paths": "Paths that no task may change.",
}

_SILENCE = "How long it may print nothing before it counts as stalled."
_AGENT = {
    "model": "Which model it uses where a plan does not say it.",
    "env": "Names of environment variables that reach it, beside the keys that it needs.",
    "args": "More arguments for its program.",
    "silence": _SILENCE,
    "tools": "The most that it may use: `read`, `edit`, `write`, `bash`, `web`, `mcp:<server>`; "
    "anything if left out.",
    "mcp_config": "A file on the default branch with `mcpServers`, which it may use.",
    "max_turns": "How many turns a task gets at most.",
    "budget_usd": "What an attempt may cost at most, in dollars.",
    "install": "The command that installs it where it is missing; it may name a version.",
}

ABOUT: Mapping[type[BaseModel], Mapping[str, str]] = {
    Plan: _COMMANDS
    | {
        "plan": "The plan's name, a part of all its branches; the file's name if left out.",
        "goal": "What this plan is for, in a sentence.",
        "base": "The branch that the work begins from; the default branch if left out.",
        "flow": "The branch that results are merged to; `flow/<plan>` if it is left out.",
        "type": "What kind of change this is; the flow branch becomes `<type>/<plan>`.",
        "architecture": "How it is built, for people and agents.",
        "design_patterns": "Which patterns the code follows.",
        "technology_stack": "Which languages, libraries and tools it uses, and why.",
        "decisions": "Decisions that were made, which every agent is told.",
        "defaults": "What tasks get that do not say it themselves.",
        "limits": "How much may happen; the config's limits hold too.",
        "approval": "What waits for a person's `approve`: the `plan`'s text, each `task` before it "
        "starts, each `merge`; nothing if left out.",
        "tracker": "The plan's name in an issue tracker.",
        "epic": "The issue on GitHub that this plan is a part of, by its number or its address, or "
        "a milestone, as `milestone 3` or its address. Pull request, branches and merges name it.",
        "tasks": "The work. A task starts when what it needs is there, wherever it stands here.",
        "estimated_total_time": "Compared with the tasks' own estimates; nothing else.",
        "dependency_graph": "`Wave 1: 001` and so on, a line each; compared with what tasks need.",
        "total_tasks": "Compared with the number of tasks.",
        "plan_version": "Ignored: revisions are counted when they are accepted.",
    },
    Task: _SHARED
    | {
        "id": 'The task\'s name in commands and branches; in quotes if it is a number: `"001"`.',
        "title": "What it is about, in a few words.",
        "description": "What is to be done.",
        "slug": "The end of its branch's name; made from the title if it is left out.",
        "run": "The shell command that does the work, in the task's own worktree.",
        "preconditions": "Capabilities that have to be on flow before it starts.",
        "depends_on": "Ids of tasks that have to be merged before it starts.",
        "provides": "Capabilities that its merge puts on flow.",
        "files": "Paths and globs that it is expected to change.",
        "kind": "`research` wants findings in the report and merges no file; else `change`.",
        "docs": "Files and folders whose text the agent gets; one that is missing fails the task "
        "before it starts.",
        "outputs": "Values that its agent has to report, by name; later tasks can take them.",
        "inputs": "Values of earlier tasks, as `name: task.output`; the agent finds each in "
        "`GITFLOW_INPUT_<NAME>`.",
        "acceptance": "What has to be true of the result, in words.",
        "estimated_time": "How long it should take: `8 minutes`, `2-3 h`; a number is minutes.",
        "approval": "What of it waits for `approve`, beside what the plan says: `task`, `merge`.",
        "tracker": "The task's name in an issue tracker.",
        "status": "Ignored unless `pending`: what is done is what was merged.",
        "session_goal": "Compared with the plan's goal.",
        "session_id": "Compared with the plan's name.",
        "plan_branch": "Compared with the plan's branch.",
        "plan_version": "Ignored: revisions are counted when they are accepted.",
        "enables": "Tasks that need this one; compared with what they need.",
        "parallel_with": "Tasks that neither need this one nor are needed by it; compared.",
        "completed_tasks": "Ignored: what is done is what was merged.",
    },
    Defaults: _SHARED | {"run": "The shell command of tasks that name none."},
    Limits: _LIMITS,
    Capability: {
        "name": "What others write among their preconditions.",
        "check": "A shell command that proves it on the merged tree.",
    },
    Output: {
        "name": "What it is reported under, and what others name behind the task's id.",
        "type": "`string`, `number` or `boolean`.",
        "choices": "The only texts that it can be.",
        "pattern": "A regular expression that all of the text has to match.",
    },
    Step: {
        "role": "What its agent is for, and what it may change. One that may change nothing judges "
        "the work, and has to give a verdict.",
        "agent": "Who does it; the role's or the plan's default if left out.",
        "model": "Which model, in the agent's own words.",
        "tools": "What its agent may use, of what config and role allow.",
        "run": "The shell command of a step that `command` does.",
        "prompt": "What is wanted of this step, for its agent.",
    },
    Role: {
        "description": "What it is for, in a sentence.",
        "prompt": "What its agent is told beside its task.",
        "agent": "Who does its tasks, where they do not say it themselves.",
        "model": "Which model, where they do not say it themselves.",
        "tools": "What its agent may use: `read`, `edit`, `write`, `bash`, `web`, `mcp:<server>`; "
        "anything if left out.",
        "timeout": "How long an attempt may take at most.",
        "runner": "On which of the config's `runners` its tasks are done, where they name none.",
        "may_change": "All that a result may change: kinds of files, paths and globs; `[]` is "
        "nothing, any file if left out.",
        "must_change": "What a result has to change, at least one file of each.",
        "adds": "Whether a result `may`, `must` or can `never` add files.",
        "edits": "The same for changes to files that are there.",
        "deletes": "The same for files that go.",
        "most_files": "How many files a result may change.",
        "scope": "`strict` refuses changes outside the task's `files`.",
    },
    Decision: {
        "decision": "What was decided.",
        "why": "The reason.",
        "alternative": "What was considered and not chosen.",
        "implementation": "How it is carried out.",
        "components": "What it concerns.",
    },
    Config: _COMMANDS
    | {
        "agents": "How each agent is run.",
        "bases": "Branches that plans may begin from, as names or globs; any branch if left out.",
        "allow_secrets": "Paths in which a result may hold what looks like a secret, as test keys.",
        "limits": "The most that any plan gets.",
        "approval": "What of every plan waits for `approve`: `plan`, `task`, `merge`.",
        "worktrees": "The folder for worktrees.",
        "brief_template": "A template in place of the packaged one, on the default branch.",
        "preferences": "A text that stands in every brief, on the default branch.",
        "roles": "The folder of the repository's own roles, on the default branch.",
        "keep_branches": "Keep task branches after their merge.",
        "train": "How many results are tested and merged together at most.",
        "follow_base": "`clean` merges a base that has moved into flow when that needs no person.",
        "remote": "The remote that decides on plans which begin from now on; else this repository.",
        "notify": "Who is mentioned on GitHub when a plan needs a person or is finished: people, "
        "and teams as `organisation/team`; nobody if left out.",
        "allow_users": "Who may give commands on GitHub as if they could write: people, and teams "
        "as `organisation/team`.",
        "allow_bots": "Bots that are heard on GitHub, as if they could write; none of them "
        "approves, skips or reverts.",
        "allow_self_approval": "`true` lets those approve who wrote or started it.",
        "reviews": "What a review on GitHub approves: `plan`, by one of the flow branch's pull "
        "request at its head; `merge`, by one of the task's. `merge` if left out, `[]` is none.",
        "environments": "Environments of GitHub whose reviewers are asked for an approval, by what "
        "it is of: the plan's text, the start of a task, its merge.",
        "command_permissions": "Who may give a command on GitHub, by its verb: a level, or "
        "`level`, `users` and `codeowners`.",
        "command_prefix": "`required`: only `/gitflow retry` is heard, and `/retry` is not.",
        "ignore_commands": "Words of other bots: `/word` is never answered, however much it looks "
        "like a command.",
        "command_limit": "How many commands one person may give on GitHub within an hour.",
        "start": "`on-push`: GitHub Actions also start each plan file on the default branch that "
        "was never started.",
        "cache": "Folders of a home, such as `~/.cache/pip`, that attempts on GitHub Actions find "
        "as an earlier one left them that worked in the same `working_directory`.",
        "issues": "`true`: each task has an issue on GitHub, made before its branch and closed by "
        "its merge; or what it is like, as a mapping.",
        "runners": "The machines of GitHub Actions that plans may name, each with its labels, such "
        "as `gpu: [self-hosted, gpu]`; tasks that name none get `default`, if there is one.",
        "projects": "The boards of GitHub Projects that show plans, or the path of a file on the "
        "default branch that says so; `docs/board.md` says how.",
        "agent_mapping": "Who answers for what agents do, on boards and issues, by a name: that of "
        "an agent, or any other.",
    },
    Projects: {
        "file": "A file on the default branch with these keys; what stands beside it goes first.",
        "version": "Of the file's shape: `1.0.0`.",
        "owner": "The organisation or person whose boards these are; the repository's if left out.",
        "plans": "By a plan's name, or `*` for every other plan: the number of its board, or its "
        "address.",
        "project_mappings": "The same as `plans`, with more words.",
        "fields": "What people call a field of ours, by our name; `null` leaves it out.",
        "states": "The choice of `Status` for each of a task's statuses; `archived` puts the card "
        "away.",
        "agent_mapping": "Who answers for what agents do, as at the top of the config.",
    },
    ProjectMapping: {
        "project_number": "The number of the board.",
        "project_id": "What GitHub calls it: `PVT_…`.",
        "last_sync": "Ignored: what was told is remembered in the plan's state.",
    },
    AgentMapping: {
        "github_username": "The person's login.",
        "services": "What the person answers for: plans, and folders from the top of the "
        "repository; `*` is everything.",
        "role": "Of several who could answer, who has the role of the task goes first.",
    },
    Environments: {
        "plan": "Asked for the plan's text.",
        "task": "Asked for each start of a task.",
        "merge": "Asked for each merge of a result.",
    },
    CommandPermission: {
        "level": "`read`, `triage`, `write`, `maintain` or `admin`; more than usual, or less.",
        "users": "People, and teams as `organisation/team`, who may whatever their level is.",
        "codeowners": "`true`: also who owns all paths of the task, by CODEOWNERS, and can write.",
    },
    Issues: {
        "labels": "Labels that every one of them gets; those that are missing are made.",
        "follow_ups": "`true`: what a merged task leaves to be done becomes issues, too.",
    },
    ConfigLimits: _LIMITS
    | {
        "task_minutes": "Estimates over this many minutes are warned about.",
        "changed_files": "How many files one task may change.",
        "changed_bytes": "How many bytes one task may add.",
    },
    Agents: {"command": "The agent that runs a task's `run`."}
    | {name: f"The agent {name}; see `docs/agents.md`." for name in CLIS},
    CommandConfig: {
        "env": "Names of environment variables that reach the agent and the checks.",
        "run": "The shell command of tasks that name none, nor does their plan.",
        "silence": _SILENCE,
    },
    AgentConfig: _AGENT,
    CustomConfig: _AGENT
    | {
        "command": "The program and its arguments. `{brief}`, `{rules}`, `{model}`, `{max_turns}`, "
        "`{budget_usd}`, `{tools}`, `{mcp}` and `{session}` are filled in; an argument, or a list "
        "of them, is left out when what it asks for is not known.",
        "brief": "Whether it reads its brief from `stdin` or from the `file` that `{brief}` names.",
        "version": "The program and the arguments that print its version.",
        "output": "Whether it prints `text`, or `json`, an object a line.",
        "says": "Where its JSON says what.",
        "turn": "A regular expression of the lines that begin a turn.",
        "tool": "A regular expression of the lines that tell the use of a tool, each with all of "
        "its arguments: one that comes over and over ends the attempt.",
        "failures": "Regular expressions of lines that say why it failed, each with the reason: "
        "`agent-error`, `denied`, `infrastructure`, `rate-limit`, `auth`.",
    },
    Sayings: {
        "text": "Its words.",
        "doing": "What it is doing.",
        "turns": "The turn that it is at.",
        "session": "What it calls its memory.",
        "cost_usd": "What it has cost so far, in dollars.",
        "input_tokens": "What its model has read so far.",
        "output_tokens": "What its model has written so far.",
        "tool": "The tool that it uses, beside `arguments`.",
        "arguments": "All that it asks of the tool: the very same over and over ends the attempt.",
        "denied": "What it was not allowed to use.",
        "error": "Why it failed.",
    },
}
"""One sentence for each key, by the model that has it."""


def plan_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a plan file."""
    return _schema(Plan, "A plan of gitflow-agents")


def config_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a config file."""
    return _schema(Config, "The config of gitflow-agents")


def role_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a role's file."""
    return _schema(Role, "A role of gitflow-agents")


def reference() -> str:
    """Return every key of plan, config and role with its sentence, as tables for the docs."""
    parts = []
    for title, model in (
        ("A plan", Plan),
        ("A task", Task),
        ("`defaults`", Defaults),
        ("`limits`", Limits),
        ("A capability in `provides`", Capability),
        ("An entry of `outputs`", Output),
        ("An entry of `steps`", Step),
        ("An entry of `decisions`", Decision),
        ("The config", Config),
        ("The config's `limits`", ConfigLimits),
        ("The config's `environments`", Environments),
        ("An entry of the config's `command_permissions`", CommandPermission),
        ("The config's `projects`, and the file that it can name", Projects),
        ("An entry of its `project_mappings`", ProjectMapping),
        ("An entry of `agent_mapping`", AgentMapping),
        ("The config's `issues`", Issues),
        ("The config's `agents.command`", CommandConfig),
        ("The config's `agents.claude` and its like", AgentConfig),
        ("An agent of your own in the config's `agents`", CustomConfig),
        ("Its `says`", Sayings),
        ("A role", Role),
    ):
        rows = [
            f"| {', '.join(f'`{key}`' for key in keys)} | {ABOUT[model][field]} |"
            for field, keys in spellings(model).items()
        ]
        parts.append("\n".join([f"### {title}", "", "| Key | Meaning |", "|---|---|", *rows]))
    return "\n\n".join(parts)


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return str(dft) if isinstance(dft, Duration) else super().encode_default(dft)


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    schema = model.model_json_schema(mode="validation", by_alias=True, schema_generator=_Generator)
    definitions = schema.get("$defs", {})
    if model is Plan:
        schema["required"].remove("plan")  # the file's name can stand in for it
    for each, about in ABOUT.items():
        part = schema if each is model else definitions.get(each.__name__)
        if part is not None:
            _describe(part, each, about)
    return {"$schema": DIALECT, **schema, "title": title}


def _describe(part: dict[str, Any], model: type[BaseModel], about: Mapping[str, str]) -> None:
    part.pop("title", None)
    part["description"] = " ".join((model.__doc__ or "").split())
    choices: list[dict[str, Any]] = []
    for field, (key, *others) in spellings(model).items():
        value = part["properties"][key]
        value.pop("title", None)
        value["description"] = about[field]
        for other in others:
            part["properties"][other] = value | {"description": f"Another spelling of `{key}`."}
        if others and key in part.get("required", ()):
            part["required"].remove(key)
            choices.append({"oneOf": [{"required": [one]} for one in (key, *others)]})
        elif others:
            choices.append({"not": {"required": [key, *others]}})
    if choices:
        part["allOf"] = choices
