"""What is known of each coding agent, shown on lines that they printed and on programs in their place.

The agents themselves are in `test_real_agents`.
"""

from __future__ import annotations

import json
import os
import stat
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import detectors
from gitflow_agents.agents import BUILT_IN, Cli, Ears, Job, failure_of
from gitflow_agents.agents.claude import message
from gitflow_agents.agents.feeding import Feed
from gitflow_agents.agents.headless import Said, heard, plain, unlocking, verdict
from gitflow_agents.models import Reason, Remark, Task, Tokens
from gitflow_agents.runner import Caps, Ended, Stop
from gitflow_agents.service.desk import Told
from tests import engine, repos
from tests.repos import Repo

KEY = "a-key-that-nobody-may-see"


# --- what they print ------------------------------------------------------------------------------


def lines(*events: dict[str, Any]) -> list[str]:
    """Return events as an agent prints them, among other things that it prints."""
    return ["a word for people", *map(json.dumps, events), "{not json", ""]


def call(name: str, **arguments: str) -> dict[str, Any]:
    """Return the use of a tool as Claude tells it."""
    return {"type": "tool_use", "name": name, "input": arguments}


def said_by_claude(ident: str, *blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a message of Claude's."""
    message = {"id": ident, "model": "claude-opus-4-8", "content": list(blocks), **more}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None}


INIT = {"type": "system", "subtype": "init", "session_id": "s-1", "model": "claude-opus-4-8"}
USED = {"input_tokens": 30, "cache_read_input_tokens": 3, "output_tokens": 21}


def test_claude_tells_turns_words_cost_and_session() -> None:
    said = heard(
        BUILT_IN["claude"],
        lines(
            INIT,
            said_by_claude("m1", {"type": "text", "text": "I look."}),
            said_by_claude("m1", call("Read", file_path="src/x.py")),  # the same message goes on
            said_by_claude("m2", call("Edit", file_path="src/x.py")),
            {"type": "result", "subtype": "success", "is_error": False, "num_turns": 2}
            | {"result": "Done.", "session_id": "s-1", "total_cost_usd": 0.25, "usage": USED},
        ),
    )
    assert said == Said(
        turns=2,
        doing="editing src/x.py",
        session="s-1",
        model="claude-opus-4-8",
        text="Done.",
        cost_usd=0.25,
        tokens=Tokens(input=33, cached=3, output=21),
        is_done=True,
        marks=("m2",),
    )


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"subtype": "success", "api_error_status": 529, "result": "Overloaded"}, "infrastructure"),
        ({"subtype": "success", "api_error_status": 401, "result": "Invalid API key"}, "auth"),
        ({"subtype": "success", "api_error_status": 429, "result": "slow down"}, "rate-limit"),
        ({"subtype": "success", "result": "API Error: Unable to connect"}, "infrastructure"),
        ({"subtype": "error_max_turns", "errors": ["Reached maximum"]}, "turns"),
        ({"subtype": "error_max_budget_usd", "errors": ["Reached maximum"]}, "budget"),
        ({"subtype": "error_during_execution", "errors": ["it broke"]}, "agent-error"),
    ],
)
def test_is_error_decides_of_claude_and_never_its_subtype(
    result: dict[str, Any], reason: str
) -> None:
    said = heard(BUILT_IN["claude"], lines(INIT, {"type": "result", "is_error": True} | result))
    assert (said.reason, bool(said.error), said.cost_usd) == (reason, True, None)


def test_what_claude_was_denied_is_named_once() -> None:
    denials = [{"tool_name": "Write"}, {"tool_name": "Bash"}, {"tool_name": "Write"}]
    end = {"type": "result", "subtype": "success", "permission_denials": denials}
    assert heard(BUILT_IN["claude"], lines(INIT, end)).denied == ("Write", "Bash")


def item(kind: str, number: int, **more: Any) -> dict[str, Any]:
    """Return an event of Codex about one thing that it does."""
    return {"type": "item.completed", "item": {"id": f"i{number}", "type": kind, **more}}


def test_codex_tells_what_it_runs_and_no_cost() -> None:
    began = item("command_execution", 1, command="make test") | {"type": "item.started"}
    said = heard(
        BUILT_IN["codex"],
        lines(
            {"type": "thread.started", "thread_id": "t-1"},
            item("error", 0, message="a model that it does not know"),
            began,
            item("command_execution", 1, command="make test", exit_code=2, status="failed"),
            item("file_change", 2, changes=[{"path": "src/x.py", "kind": "update"}]),
            item("agent_message", 3, text="Done."),
            {"type": "turn.completed", "usage": {"input_tokens": 9, "output_tokens": 4}},
        ),
    )
    assert said == Said(
        turns=2,
        doing="editing src/x.py",
        session="t-1",
        text="Done.",
        tokens=Tokens(input=9, output=4),
        is_done=True,
        marks=("i2",),
    )


def test_codex_says_in_its_log_alone_what_its_sandbox_denied(tmp_path: Path) -> None:
    def call(ident: str, command: str) -> dict[str, Any]:
        arguments = json.dumps({"cmd": command})
        return {"type": "function_call", "name": "exec_command", "call_id": ident} | {
            "arguments": arguments
        }

    def output(ident: str, text: str) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": ident, "output": text}

    log = tmp_path / "sessions/2026/01/02/rollout-2026-01-02T03-04-05-t-1.jsonl"
    log.parent.mkdir(parents=True)
    told = lines(
        *(
            {"payload": payload}
            for payload in (
                {"type": "task_started"},
                call("0", "touch /of/an/earlier/run"),
                output("0", "Read-only file system"),
                {"type": "task_started"},
                call("1", "touch /etc/x"),
                output("1", "exited with code 1\ntouch: /etc/x: Read-only file system"),
                call("2", "make test"),
                {"type": "item_completed", "item": {"type": "CommandExecution", "id": "2"}},
                output("2", "permission denied, says a test"),
                call("4", "touch .git"),
                {"type": "item_completed", "item": {"type": "CommandExecution", "id": "4"}},
                output("4", "exited with code 1\ntouch: .git: Read-only file system"),
                call("3", "true"),
                output("3", "exited with code 0"),
            )
        )
    )
    log.write_text("\n".join([*told, "no JSON", '{"half":']))
    home = {"CODEX_HOME": str(tmp_path)}
    ask = BUILT_IN["codex"].held_back
    assert ask is not None
    assert ask("t-1", home) == ("exec_command touch /etc/x", "exec_command touch .git")
    assert ask("t-2", home) == ask("../t-1", home) == ask("t-1", {"HOME": str(tmp_path)}) == ()


def test_gemini_that_leaves_its_folder_is_denied() -> None:
    error = {"type": "invalid_tool_params", "message": "Path not in workspace: Attempted path …"}
    result = {"type": "tool_result", "tool_id": "1", "status": "error", "error": error}
    said = heard(BUILT_IN["gemini"], lines(used("write_file", "1", file_path="/x"), result))
    assert said.denied == ("write_file",)


def test_codex_that_only_tries_again_is_lost_until_it_has_failed() -> None:
    again = {"type": "error", "message": "Reconnecting... waiting for network (Connection failed)"}
    failed = {"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized"}}
    trying = heard(BUILT_IN["codex"], lines(again))
    assert (trying.is_lost, trying.reason) == (True, None)
    assert heard(BUILT_IN["codex"], lines(again, failed)).reason is Reason.AUTH
    assert not heard(BUILT_IN["codex"], lines(again, item("agent_message", 1, text="x"))).is_lost


def used(name: str, ident: str, **parameters: str) -> dict[str, Any]:
    """Return the use of a tool as Gemini tells it."""
    return {"type": "tool_use", "tool_name": name, "tool_id": ident, "parameters": parameters}


def test_gemini_tells_a_turn_for_what_it_says_between_two_results() -> None:
    words = {"type": "message", "role": "assistant", "delta": True}
    denied = {"type": "tool_result", "tool_id": "2", "status": "error"}
    said = heard(
        BUILT_IN["gemini"],
        lines(
            {"type": "init", "session_id": "g-1", "model": "gemini-2.5-pro"},
            {"type": "message", "role": "user", "content": "the brief"},
            words | {"content": "I read, "},
            used("read_file", "1", file_path="a.py"),
            {"type": "tool_result", "tool_id": "1", "status": "success"},
            used("run_shell_command", "2", command="make"),
            denied | {"error": {"type": "policy_violation", "message": "denied"}},
            words | {"content": "Done"},
            words | {"content": "."},
            {"type": "result", "status": "success"}
            | {"stats": {"input_tokens": 8, "output_tokens": 5, "cached": 2}},
        ),
    )
    assert said == Said(
        turns=3,
        session="g-1",
        model="gemini-2.5-pro",
        text="Done.",
        tokens=Tokens(input=8, cached=2, output=5),
        denied=("run_shell_command",),
        is_done=True,
        marks=("turn",),
    )


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (53, "Reached max session turns", "turns"),
        (17, "[API Error: Overloaded]", "infrastructure"),  # 529, cut to eight bits
        (145, "[API Error: bad]", "auth"),
        (173, "[API Error: slow down]", "rate-limit"),
        (1, "[API Error: fetch failed]", "infrastructure"),
        (1, "[API Error: nonsense]", "agent-error"),
    ],
)
def test_the_exit_code_of_gemini_says_what_its_words_do_not(
    code: int, message: str, reason: str
) -> None:
    error = {"type": "result", "status": "error", "error": {"type": "x", "message": message}}
    cli = BUILT_IN["gemini"]
    assert verdict(cli, heard(cli, lines(error)), Ended(code, 1, ""), Caps(1))[0] == reason


def test_gemini_that_gave_up_in_circles_has_failed_although_it_says_success() -> None:
    gave_up = {"type": "error", "severity": "warning", "message": "Loop detected, stopping"}
    cli, ended = BUILT_IN["gemini"], Ended(0, 1, "")
    said = heard(cli, lines(gave_up, {"type": "result", "status": "success"}))
    assert verdict(cli, said, ended, Caps(1)) == (
        Reason.STALLED,
        "gemini: Loop detected, stopping",
    )


def step(reason: str, **more: Any) -> dict[str, Any]:
    """Return the end of a step of opencode's."""
    part = {"reason": reason, "tokens": {"input": 10, "output": 2, "cache": {"read": 1}}, **more}
    return {"type": "step_finish", "sessionID": "o-1", "part": part}


def test_opencode_tells_a_turn_a_step_and_adds_up_what_they_cost() -> None:
    tool = {"type": "tool_use", "part": {"tool": "bash", "state": {"status": "error"}}}
    tool["part"]["state"] |= {  # type: ignore[index]
        "input": {"command": "make"},
        "error": "The user rejected permission to use this specific tool call.",
    }
    begin = {"type": "step_start", "sessionID": "o-1", "part": {}}
    text = {"type": "text", "part": {"text": "Done."}}
    events = lines(begin, tool, step("tool-calls", cost=0.5), begin, text, step("stop", cost=0.25))
    assert heard(BUILT_IN["opencode"], events) == Said(
        turns=2,
        session="o-1",
        text="Done.",
        cost_usd=0.75,
        tokens=Tokens(input=22, cached=2, output=4),
        denied=("bash",),
        is_done=True,
    )
    free = heard(BUILT_IN["opencode"], lines(begin, step("stop", cost=0)))
    assert free.cost_usd is None  # it says 0 of what it has no price for


def test_aider_tells_its_tokens_in_words_and_fails_with_exit_code_0() -> None:
    cli = BUILT_IN["aider"]
    said = heard(
        cli,
        [
            "litellm.InternalServerError: InternalServerError: OpenAIException - Connection ",
            "error.",
            "Retrying in 0.2 seconds...",
            "I did it.",
            "Tokens: 4.2k sent, 1.5k cache hit, 310 received. Cost: $0.01 message, $0.03 session.",
            "Applied edit to src/x.py",
        ],
    )
    assert (said.turns, said.cost_usd, said.reason) == (1, 0.03, None)
    assert (said.doing, said.tokens) == ("editing src/x.py", Tokens(input=4200, output=310))
    down = heard(cli, ["litellm.APIError: APIError: OpenAIException - Overloaded"])
    assert verdict(cli, down, Ended(0, 1, ""), Caps(1)) == (
        Reason.INFRASTRUCTURE,
        "aider: litellm.APIError: APIError: OpenAIException - Overloaded",
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("unexpected status 529 <unknown status code>: Overloaded", "infrastructure"),
        ("exceeded retry limit, last status: 429 Too Many Requests", "rate-limit"),
        ("unexpected status 401 Unauthorized: bad key", "auth"),
        ("connect ECONNREFUSED 127.0.0.1:9", "infrastructure"),
        ("You have hit your usage limit", "rate-limit"),
        ("Please run /login", "auth"),
        ("I could not find the file", "agent-error"),
    ],
)
def test_what_an_agent_says_of_its_model_has_a_reason(text: str, reason: str) -> None:
    assert failure_of(text) == reason


CLAUDE = BUILT_IN["claude"]
DONE = Said(turns=2, is_done=True)


@pytest.mark.parametrize(
    ("said", "ended", "reason", "message"),
    [
        (DONE, Ended(0, 1, ""), None, "claude says that it is done"),
        (
            replace(DONE, denied=("Bash",)),
            Ended(0, 1, ""),
            "denied",
            "claude was not allowed to use Bash",
        ),
        (Said(turns=2), Ended(0, 1, ""), "agent-error", "claude exited with 0 and said no result"),
        (DONE, Ended(-9, 1, ""), "agent-error", "claude was ended by signal 9"),
        (
            Said(),
            Ended(1, 1, "x\nerror: unknown option '--foo'\n"),
            "agent-error",
            "claude exited with 1: error: unknown option '--foo'",
        ),
        (Said(), Ended(1, 1, "Not logged in · Please run /login"), "auth", None),
        (
            replace(DONE, turns=4),
            Ended(-15, 1, "", Reason.TURNS, 4),
            "turns",
            "it was ended at turn 4, 3 are allowed",
        ),
        (
            replace(DONE, is_lost=True, error="waiting for network"),
            Ended(-15, 9, "", Reason.INFRASTRUCTURE),
            "infrastructure",
            "it was ended after 8 seconds without an answer of its model: waiting for network",
        ),
        (
            DONE,
            Ended(-15, 9, "", Reason.TOO_LARGE),
            "too-large",
            "it was ended after printing 2 MiB",
        ),
    ],
)
def test_what_we_did_to_it_counts_before_its_words_and_those_before_its_exit_code(
    said: Said, ended: Ended, reason: str | None, message: str | None
) -> None:
    found = verdict(CLAUDE, said, ended, Caps(60, turns=3, lost=8, output=2 << 20))
    assert found[0] == reason
    assert message in (None, found[1])


# --- how they are started -------------------------------------------------------------------------


def argv(tmp_path: Path, name: str, **more: Any) -> tuple[list[str], dict[str, str]]:
    """Return how an agent is started for a job, and what is added to its environment."""
    brief = tmp_path / "brief.md"
    brief.write_text("/run nothing\n" + "x" * 3_000_000)  # more than any command line can hold
    job = Job(
        task=Task(id="a", files=("*.py",)),
        command="",
        folder=tmp_path,
        brief=brief,
        report=tmp_path / "out" / "report.yaml",
        progress=tmp_path / "progress",
        transcript=tmp_path / "log",
        env={},
        mark="",
        caps=Caps(60),
        stop=Stop(),
        top=tmp_path,
        scratch=tmp_path,
        **more,
    )
    start = BUILT_IN[name].start(job)
    assert sum(map(len, start.argv)) < 20_000
    return list(start.argv), dict(start.env)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_the_brief_is_on_no_command_line(name: str, tmp_path: Path) -> None:
    words, env = argv(tmp_path, name)
    assert words[0] == name
    assert all(len(value) < 10_000 for value in env.values())


def test_an_agent_that_may_only_read_is_told_so_in_its_own_words(tmp_path: Path) -> None:
    only = frozenset({"read"})
    words, _ = argv(tmp_path, "claude", tools=only)
    assert words[words.index("--tools") + 1] == "Read,Glob,Grep"
    assert words[words.index("--permission-mode") + 1] == "default"
    words, _ = argv(tmp_path, "codex", tools=only)
    assert 'sandbox_mode="read-only"' in words
    _, env = argv(tmp_path, "opencode", tools=only)
    permission = json.loads(env["OPENCODE_CONFIG_CONTENT"])["permission"]
    assert [permission[tool] for tool in ("read", "edit", "bash", "webfetch")] == [
        "allow",
        "deny",
        "deny",
        "deny",
    ]
    argv(tmp_path, "gemini", tools=only)
    assert "write_file" not in (tmp_path / "policy.toml").read_text()
    words, _ = argv(tmp_path, "aider", tools=only)
    assert words[words.index("--chat-mode") + 1] == "ask"


def test_each_agent_gets_the_mcp_servers_that_it_may_use_in_its_own_words(tmp_path: Path) -> None:
    servers = {"docs": {"command": "docs", "args": ["-q"]}, "shop": {"url": "http://shop.example"}}
    more = {
        "mcp": json.dumps({"mcpServers": servers}).encode(),
        "tools": frozenset({"read", "mcp:docs"}),
    }
    argv(tmp_path, "claude", **more)
    docs = {"docs": {"command": "docs", "args": ["-q"]}}
    assert json.loads((tmp_path / "mcp.json").read_text()) == {"mcpServers": docs}
    words, _ = argv(tmp_path, "codex", **more)
    assert [word for word in words if word.startswith("mcp_servers")] == [
        'mcp_servers.docs={"command"="docs", "args"=["-q"], '
        '"default_tools_approval_mode"="approve"}'
    ]
    _, env = argv(tmp_path, "opencode", **more)
    assert list(json.loads(env["OPENCODE_CONFIG_CONTENT"])["mcp"]) == ["docs"]
    words, _ = argv(tmp_path, "gemini", **more)
    assert words[words.index("--allowed-mcp-server-names") + 1] == "docs"
    rules = tomllib.loads((tmp_path / "policy.toml").read_text())["rule"]
    assert [rule for rule in rules if "mcpName" in rule] == [
        {"toolName": "*", "mcpName": "docs", "decision": "allow", "priority": 900}
    ]
    assert all("toolName" in rule for rule in rules)


# --- programs in their place ----------------------------------------------------------------------


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str) -> None:
    """Put a shell script on the PATH."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")


def started(repo: Repo, agents: object, *tasks: str) -> repos.Cli:
    """Write a plan and a config, and return the tool."""
    repo.identify()
    repo.write(".github/gitflow-agents.yml", json.dumps({"agents": agents}))
    repo.plan("p", "goal: g\ngate: [test -s made]\ntasks:\n" + "\n".join(tasks))
    repo.commit("a plan")
    return repos.Cli(repo)


def reason_of(cli: repos.Cli) -> tuple[str | None, str | None]:
    """Return why the newest attempt failed, and the message."""
    last = cli("show", "p/a", "--json").json["attempts"][-1]
    return last["reason"], last["message"]


A = "- {id: a, title: A, description: d, agent: claude, max_turns: 3}"
RESULT = '{"type": "result", "is_error": false, "session_id": "s", "num_turns": 1}'
USE = json.dumps(said_by_claude("m", call("Bash", command="make test")))
TURN = '{"type": "assistant", "message": {"id": "%s", "content": []}}'


def test_an_agent_gets_brief_folder_and_key_and_its_progress_is_told(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = said_by_claude("m", call("Edit", file_path=f"src/{KEY}.py"))
    program(
        tmp_path,
        monkeypatch,
        "claude",
        f'test $ANTHROPIC_API_KEY = {KEY} && test "$PWD" = "$(pwd -P)" || exit 9\n'
        f"head -n 1 >made\necho 'learned: [x]' >$GITFLOW_REPORT\necho '{json.dumps(edit)}'\n"
        f"echo 'I say {KEY}' >&2\necho '{RESULT}'",
    )
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    cli = started(repo, {}, A)
    shown = cli("run", "p").stdout
    assert "a: Turn 1/3: editing src/***.py\n" in shown
    told = json.loads(repo.show("flow/p", "made"))["message"]["content"][0]["text"]
    assert told.startswith("# Task a of plan p")
    assert KEY not in shown + repo.git("log", "--all", "--format=%B", "-p")
    assert cli("show", "p", "--json").json["learned"] == ["x"]


REPEAT = """sed 's/"type": "user"/"type": "user", "isReplay": true/'"""
"""Says again what it is told, as Claude Code does once its model has it."""


def test_claude_hears_what_is_said_while_it_works(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(
        tmp_path,
        monkeypatch,
        "claude",
        f'for each in brief remark; do read -r line; printf "%s\\n" "$line" >made; {REPEAT} made; '
        f"done\necho '{RESULT}'\ncat >/dev/null",
    )
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    started(repo, {}, A)

    def speak(told: Told) -> None:
        if told.event == "attempt_started":
            engine.act(repo, "feedback", "a", text="use `reqwest`")

    engine.finished(repo, engine.go(repo, on_event=speak))
    told = json.loads(repo.show("flow/p", "made"))["message"]["content"][0]["text"]
    assert told.endswith("\n\n```text\nuse `reqwest`\n```\n")
    (remark,) = engine.record(repo, "a")["feedback"]
    assert remark["at"] <= remark["offered_at"] <= remark["delivered_at"]


def test_what_is_sent_after_a_result_waits_for_another_one(tmp_path: Path) -> None:
    said: list[Remark] = []
    noted: list[tuple[str, bool]] = []
    ears = Ears(
        lambda: [said.pop()] if said else [], lambda r, d: noted.append((r.key, d)), tmp_path
    )
    feed = Feed(message, "the brief", ears)

    def names(data: bytes | None) -> list[str]:
        return [json.loads(line)["uuid"] for line in (data or b"").splitlines()]

    (brief,) = names(feed.more())
    said.append(Remark(text="x", by="alice <a@x>", at=1, key="k"))
    (remark,) = names(feed.more())
    feed.heard((brief,), True, False)
    assert (feed.more(), noted) == (b"", [("k", False)])
    feed.heard((brief, remark), False, False)
    assert (feed.more(), noted[-1]) == (b"", ("k", True))
    feed.heard((brief, remark), True, False)
    assert feed.more() is None


@pytest.mark.parametrize("taken", [(), ("brief",)])
def test_an_agent_that_has_failed_or_repeats_nothing_is_not_waited_for(
    taken: tuple[str, ...], tmp_path: Path
) -> None:
    feed = Feed(message, "the brief", Ears(list, lambda r, d: None, tmp_path))
    feed.more()
    feed.heard(taken, True, bool(taken))
    assert feed.more() is None


def test_a_session_that_is_gone_is_begun_anew_and_else_goes_on(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls"
    program(
        tmp_path,
        monkeypatch,
        "claude",
        f'case "$*" in *--resume*) echo resumed >>{log}; exit 1;; esac\n'
        f"echo new >>{log}\necho '{RESULT}'",
    )
    cli = started(repo, {}, A)
    cli("run", "p", check=False)
    assert reason_of(cli) == ("no-changes", "it changed nothing")
    cli("retry", "p/a", "--append", "again")
    cli("run", "p", check=False)
    cli("retry", "p/a", "--fresh")
    cli("run", "p", check=False)
    assert log.read_text().split() == ["new", "resumed", "new", "new"]


@pytest.mark.parametrize(
    ("script", "reason", "message"),
    [
        (f"echo x >made; echo '{RESULT[:-1]}, \"permission_denials\": [{{\"tool_name\": \"Bash\"}}]}}'", "denied", "claude was not allowed to use Bash"),
        ("echo x >made; echo Done.", "agent-error", "claude exited with 0 and said no result"),
        ("for i in 1 2 3 4; do " + f"echo '{TURN}'" % "'$i'" + "; done; sleep 60", "turns", "it was ended at turn 4, 3 are allowed"),
        ("sleep 60", "stalled", "it was ended after 1 seconds of silence"),
        ("for i in 1 2 3 4 5 6 7 8 9 10; do " + f"echo '{USE}'" + "; done; sleep 60", "stalled", "it was ended after the same 10 times in a row: running make test"),
        ("""while :; do echo '{"type": "system", "subtype": "api_retry", "error_status": 529}'; sleep 0.1; done""", "infrastructure", None),
    ],
)  # fmt: skip
def test_an_end_is_judged_by_what_we_saw(
    script: str,
    reason: str,
    message: str | None,
    repo: Repo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gitflow_agents import transitions
    from gitflow_agents.service import attempts

    program(tmp_path, monkeypatch, "claude", script)
    monkeypatch.setattr(attempts, "RETRIED_BY_ITSELF", frozenset())
    monkeypatch.setattr(transitions, "RETRIED_BY_ITSELF", frozenset())
    cli = started(repo, {"claude": {"silence": "1s"}}, A + "\nlimits: {attempts: 1}")
    cli("run", "p", check=False)
    found = reason_of(cli)
    assert found[0] == reason
    assert message in (None, found[1])


def test_an_agent_of_ones_own_is_started_and_read_as_the_config_says(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(
        tmp_path,
        monkeypatch,
        "goose",
        'echo "$@" >made\n'
        'echo \'{"at": {"turn": 2}, "usage": {"in": 5, "out": 6}, "usd": 0.5, "text": "Done."}\'',
    )
    own = {
        "command": ["goose", ["--model", "{model}"], ["--session", "{session}"], "--file={brief}"],
        "brief": "file",
        "output": "json",
        "says": {
            "turns": "at.turn",
            "text": "text",
            "cost_usd": "usd",
            "input_tokens": "usage.in",
            "output_tokens": "usage.out",
        },
    }
    cli = started(repo, {"goose": own}, "- {id: a, description: d, agent: goose, model: m}")
    cli("run", "p")
    attempt = cli("show", "p/a", "--json").json["attempts"][0]
    told = [attempt[key] for key in ("agent", "turns", "cost_usd", "tokens")]
    assert told == ["goose", 2, 0.5, {"input": 5, "cached": 0, "output": 6}]
    model, name, brief = repo.show("flow/p", "made").split()
    assert (model, name, brief.endswith("prompt.md")) == ("--model", "m", True)


def test_an_agent_of_ones_own_says_in_its_own_words_why_it_failed(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, monkeypatch, "goose", "echo == turn; echo out of credits; cat >made")
    own = {"command": "goose", "turn": "^== ", "failures": {"out of credits": "auth"}}
    cli = started(repo, {"goose": own}, "- {id: a, description: d, agent: goose}")
    cli("run", "p", check=False)
    why = "give goose its key; `gitflow-agents agents` shows what is there"
    assert reason_of(cli) == ("auth", f"goose: out of credits; {why}")


@pytest.mark.parametrize(
    ("line", "own", "use"),
    [
        ("shell: make test $n", {"tool": "^shell: "}, "shell: make test 0"),
        (
            '{"call": {"name": "shell", "args": ["make test", $n]}}',
            {"output": "json", "says": {"tool": "call.name", "arguments": "call.args"}},
            "shell",
        ),
    ],
    ids=["text", "json"],
)
def test_an_agent_of_ones_own_that_goes_in_circles_is_ended(
    line: str,
    own: dict[str, Any],
    use: str,
    repo: Repo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = line.replace('"', '\\"')
    again = f"$(seq {detectors.AGAIN})"
    program(
        tmp_path,
        monkeypatch,
        "goose",
        f'cat >/dev/null; for n in {again}; do echo "{said}"; done; n=0\n'
        f'for i in {again}; do echo "{said}"; done; sleep 100',
    )
    cli = started(
        repo, {"goose": {"command": "goose", **own}}, "- {id: a, description: d, agent: goose}"
    )
    cli("run", "p", check=False)
    why = f"it was ended after the same {detectors.AGAIN} times in a row: using {use}"
    assert reason_of(cli) == ("stalled", why)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "claude",
            "set ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN or CLAUDE_CODE_OAUTH_TOKEN, "
            "or log in with claude",
        ),
        (
            "aider",
            "set OPENAI_API_KEY or ANTHROPIC_API_KEY or GEMINI_API_KEY or DEEPSEEK_API_KEY or "
            "OPENROUTER_API_KEY",
        ),
    ],
)
def test_who_is_refused_for_its_key_is_told_how_to_give_it_one(name: str, expected: str) -> None:
    told = unlocking(BUILT_IN[name])
    assert told == f"{expected}; `gitflow-agents agents` shows what is there"


# --- what is missing ------------------------------------------------------------------------------


def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no coding agent on the PATH."""
    program(tmp_path, monkeypatch, "nothing", "true")


def test_a_plan_that_nobody_here_can_begin_is_refused_with_the_command(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(tmp_path, monkeypatch)
    cli = started(repo, {}, A)
    done = cli("run", "p", check=False)
    assert (done.exit_code, done.stderr) == (
        1,
        "error: nothing can be started: a cannot be done here: claude is not installed: "
        "npm install -g @anthropic-ai/claude-code\n"
        "hint: npm install -g @anthropic-ai/claude-code\n",
    )
    assert [branch for branch in repo.branches() if branch.startswith("task/")] == []
    left = cli("doctor", "--json", check=False).json["left"]
    assert [(one["code"], one["message"], one["hint"]) for one in left] == [
        (
            "agent-missing",
            "claude is not installed, and plan p wants it for a",
            "npm install -g @anthropic-ai/claude-code",
        )
    ]


def test_what_can_be_done_is_done_and_the_rest_fails_with_the_command(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(tmp_path, monkeypatch)
    cli = started(repo, {}, A, "- {id: b, description: d, run: echo x >made}")
    done = cli("run", "p", check=False)
    assert "a cannot be done here: claude is not installed" in done.stdout + done.stderr
    assert reason_of(cli) == (
        "precondition-failed",
        "claude is not installed: npm install -g @anthropic-ai/claude-code",
    )
    assert cli("status", "p", "--json").json["counts"]["completed"] == 1


def test_the_agents_are_listed_with_version_and_key_and_no_key_is_shown(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, monkeypatch, "claude", "echo '2.1.197 (Claude Code)'")
    program(tmp_path, monkeypatch, "codex", "exit 3")
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    login = Path(os.environ["HOME"], ".codex/auth.json")
    login.parent.mkdir()
    login.write_text("{}")
    pinned = {"install": "npm install -g @google/gemini-cli@0.9.1"}
    cli = started(repo, {"claude": {}, "codex": {}, "gemini": pinned}, A)
    assert cli("agents").stdout == (
        "AGENT    VERSION        KEY\n"
        "command  always there   -\n"
        "claude   2.1.197        ANTHROPIC_API_KEY\n"
        "codex    unknown        ~/.codex/auth.json\n"
        "gemini   not installed  not seen (GEMINI_API_KEY or GOOGLE_API_KEY)\n"
        "codex: it did not say its version (exit 3)\n"
        "get gemini: npm install -g @google/gemini-cli@0.9.1\n"
    )
    listed = cli("agents", "--json")
    assert KEY not in listed.stdout
    assert [(one["name"], one["installed"]) for one in listed.json["agents"]] == [
        ("claude", True),
        ("codex", True),
        ("gemini", False),
    ]


def test_what_is_printed_for_programs_is_not_shown_to_a_person() -> None:
    assert plain('{"type": "x"}\nwarning: y\n{broken\n{"type": "z"}\n') == ("warning: y\n{broken")


def test_every_agent_is_known_by_the_name_of_its_adapter() -> None:
    found: dict[str, Cli] = dict(BUILT_IN)
    assert [name for name, cli in found.items() if name != cli.name or name != cli.program] == []
