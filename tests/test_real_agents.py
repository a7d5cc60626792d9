"""The coding agents themselves, taken through whole plans and through what goes wrong with them.

Each is the program that people install, its model is `tests.model_server` on the loopback, and the
rest is as on anybody's machine: a repository, a plan, `run`.  `make test-agents` installs the
programs; without them a test skips itself and says so.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents import runner, scheduler
from gitflow_agents.service.desk import Told
from tests import engine, mcp_server, repos
from tests.model_server import (
    Break,
    Hang,
    ModelServer,
    Move,
    Run,
    Say,
    Use,
    Write,
    closed_port,
    serving,
)
from tests.repos import Cli, Repo, Result, tool

pytestmark = pytest.mark.agents

PROGRAMS = Path(__file__).parent.parent / ".venv-agents" / "bin"
KEY = "a-key-that-nobody-may-see"


@dataclass(frozen=True)
class Kind:
    """What it takes to point one agent at a server of ours."""

    model: str
    env: dict[str, str]
    args: tuple[str, ...] = ()
    settings: tuple[str, dict[str, Any]] = ("", {})
    """A file below the home, and what it says."""


_CODEX = (
    'model_providers.ours={name="ours", base_url="@URL@/v1", env_key="OPENAI_API_KEY", '
    'wire_api="responses", request_max_retries=1, stream_max_retries=1}'
)
_OPENCODE = {
    "npm": "@ai-sdk/openai-compatible",
    "name": "ours",
    "options": {"baseURL": "@URL@/v1", "apiKey": KEY},
    "models": {"fake-model": {"name": "fake-model"}},
}
KINDS = {
    "claude": Kind(
        "sonnet",
        {
            "ANTHROPIC_BASE_URL": "@URL@",
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_MAX_RETRIES": "1",
        },
    ),
    "codex": Kind(
        "fake-model",
        {"OPENAI_API_KEY": KEY},
        ("-c", "model_provider=ours", "-c", _CODEX),
    ),
    "gemini": Kind(
        "gemini-2.5-pro",
        {"GOOGLE_GEMINI_BASE_URL": "@URL@", "GEMINI_API_KEY": KEY},
        settings=(
            ".gemini/settings.json",
            {
                "security": {"auth": {"selectedType": "gemini-api-key"}},
                "general": {"maxAttempts": 2, "enableAutoUpdate": False},
            },
        ),
    ),
    "opencode": Kind(
        "ours/fake-model",
        {
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        },
        settings=(".config/opencode/opencode.json", {"provider": {"ours": _OPENCODE}}),
    ),
    "aider": Kind(
        "openai/fake-model",
        {
            "OPENAI_API_BASE": "@URL@/v1",
            "OPENAI_API_KEY": KEY,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
    ),
}
ALL = list(KINDS)
# Aider starts no commands, uses no tools and asks its model once a run: it has neither a shell that
# could misbehave, nor turns to be capped, nor a tool that could be denied.
WITH_TOOLS = ["opencode", "gemini", "codex", "claude"]
QUIET = {"claude": "4s", "codex": "4s", "gemini": "12s", "aider": "15s", "opencode": "20s"}
"""How long an agent may say nothing: as long as it takes to start beside others, and not longer."""
WORK = (Write("hello.txt", "hello\n"), Say("I wrote hello.txt."))
"""The moves that do what the plan below asks for."""


@dataclass
class Stage:
    """A repository with a plan for one agent, and the model behind it."""

    agent: str
    repo: Repo
    cli: Cli
    stack: ExitStack
    monkeypatch: pytest.MonkeyPatch
    model: ModelServer = field(default_factory=lambda: ModelServer("", ()))

    def set(self, *script: Move, task: str = "", port: int = 0, **config: object) -> None:
        """Let a model play a script, and write plan and config for it."""
        kind, url = KINDS[self.agent], f"http://127.0.0.1:{port}"
        if not port:
            self.model = self.stack.enter_context(serving(*script))
            url = self.model.url
        for name, value in kind.env.items():
            self.monkeypatch.setenv(name, value.replace("@URL@", url))
        path, settings = kind.settings
        if path:
            file = Path(os.environ["HOME"], path)
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(settings).replace("@URL@", url))
        args = [arg.replace("@URL@", url) for arg in kind.args]
        self.repo.write(
            ".github/gitflow-agents.yml",
            json.dumps({"agents": {self.agent: {"args": args, **config}}}),
        )
        self.repo.plan(
            "p",
            f"""
            goal: greet people
            gate: [test -f README.md]
            defaults: {{agent: {self.agent}, model: {kind.model}}}
            tasks:
              - id: a
                title: A greeting
                description: Write hello into hello.txt
                files: [hello.txt]
                provides: [{{name: greeting, check: test -s hello.txt}}]
                verify: [grep -q hello hello.txt]
                {task}
            """,
        )
        self.repo.commit("a plan")

    def run(self) -> Result:
        """Run the plan."""
        return self.cli("run", "p", check=False)

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Return the attempts at the task, as `show --json` has them."""
        found: list[dict[str, Any]] = self.cli("show", "p/a", "--json").json["attempts"]
        return found

    @property
    def reasons(self) -> list[str | None]:
        """Return why each attempt failed."""
        return [attempt["reason"] for attempt in self.attempts]

    @property
    def transcript(self) -> str:
        """Return all that the newest attempt printed."""
        folder = self.repo.path / ".git/gitflow-agents/attempts/p/a"
        return (folder / str(len(self.attempts)) / "output.log").read_text()


@pytest.fixture
def stage(
    repo: Repo, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Stage]]:
    """Return what sets a stage for an agent, or skips the test without it."""
    repo.identify()
    monkeypatch.setenv("PATH", str(PROGRAMS), prepend=os.pathsep)
    with ExitStack() as stack:

        def for_agent(agent: str) -> Stage:
            if shutil.which(agent) is None:
                pytest.skip(f"{agent} is not installed: make test-agents installs it")
            return Stage(agent, repo, cli, stack, monkeypatch)

        yield for_agent


# --- the whole way --------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["opencode", "aider", "gemini", "codex", "claude"])
def test_a_model_that_is_overloaded_is_asked_again_and_the_work_is_merged(
    agent: str, stage: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = stage(agent)
    # Aider tries for a minute by itself; it is not to be waited for.
    at.set(Break(529), silence="45s" if agent == "aider" else "120s")

    def recover(losses: int) -> float:
        at.model.script = WORK
        return 0.0

    monkeypatch.setattr(scheduler, "back_off", recover)
    done = at.run()
    assert (done.exit_code, at.reasons) == (0, ["infrastructure", None])
    assert at.repo.show("flow/p", "hello.txt").strip() == "hello"
    assert at.repo.tree("flow/p") == [
        ".github/gitflow-agents.yml",
        "README.md",
        "hello.txt",
        "plans/p.provides.yaml",
        "plans/p.report.md",
        "plans/p.yaml",
    ]
    last = at.attempts[-1]
    assert last["agent"] == agent
    assert last["turns"] == {"aider": 1, "codex": 1}.get(agent, 2)
    assert (last["cost_usd"] is None) == (agent != "claude")
    assert last["tokens"]["output"] == 7 * (1 if agent == "aider" else 2)
    told = "a: Turn 1: editing hello.txt" if agent == "aider" else "a: Turn 1: "
    assert told in done.stdout
    assert [asked for asked in at.model.asked if KEY in asked.said] == []


@pytest.mark.parametrize("agent", ["codex", "claude"])
def test_what_is_said_while_it_works_reaches_the_model(
    agent: str, stage: Callable[[str], Stage]
) -> None:
    """Claude has it from its input, at the next answer; others find it in a file."""
    at = stage(agent)
    reads = "until test -s .gitflow/feedback.md; do sleep 0.1; done; cat .gitflow/feedback.md"
    at.set(Run("sleep 2" if agent == "claude" else reads), *WORK)
    spoken: list[str] = []

    def speak(told: Told) -> None:
        if told.event == "attempt_progress" and not spoken:
            spoken.append(told.text)
            engine.act(at.repo, "feedback", "a", text="Say it in Esperanto.")

    engine.finished(at.repo, engine.go(at.repo, on_event=speak))
    first, *later = at.model.prompts
    assert "Esperanto" not in first.said
    assert "Say it in Esperanto." in later[0].said
    (remark,) = engine.record(at.repo, "a")["feedback"]
    assert (remark["attempt"], "delivered_at" in remark) == (1, agent == "claude")
    assert remark["at"] <= remark["offered_at"]


@pytest.mark.parametrize("agent", ALL)
def test_who_only_says_that_it_is_done_has_failed_and_goes_on_from_there(
    agent: str, stage: Callable[[str], Stage]
) -> None:
    at = stage(agent)
    at.set(Say("Done: all tests pass."))
    assert (at.run().exit_code, at.reasons) == (4, ["no-changes"])
    at.model.script, before = WORK, len(at.model.asked)
    at.cli("retry", "p/a", "--append", "You wrote nothing; write the file.")
    assert (at.run().exit_code, at.reasons) == (0, ["no-changes", None])
    said = next(a.said for a in at.model.asked[before:] if a.tools or agent == "aider")
    assert "You wrote nothing; write the file." in said
    remembers = "Done: all tests pass." in said.replace("summary", "")
    sessions = [attempt["session"] for attempt in at.attempts]
    if agent == "aider":  # it has no sessions
        assert sessions == [None, None]
    else:
        assert (remembers, sessions[0]) == (True, sessions[1])


@pytest.mark.parametrize(("author", "judge"), [("claude", "codex"), ("codex", "claude")])
def test_another_agent_reviews_the_work_and_its_refusal_is_told_to_the_next_attempt(
    author: str, judge: str, stage: Callable[[str], Stage]
) -> None:
    stage(judge)
    at, kind = stage(author), KINDS[judge]
    said = "verdict: {}\nreasons: [it greets nobody]\nword: @WORD@"

    def script(verdict: str) -> tuple[Move, ...]:
        text = said.format(verdict)
        if judge == "codex":  # its role lets it read and run, so its sandbox lets it write no file
            return Run("cat hello.txt"), Say(f"I looked.\n```yaml\n{text}\n```")
        return Run(f"printf '{text}' >$GITFLOW_REPORT"), Say("I looked.")

    other = at.stack.enter_context(serving(*script("refuse")))
    for name, value in kind.env.items():
        at.monkeypatch.setenv(name, value.replace("@URL@", other.url))
    at.set(*WORK, task=f"steps: [{{role: review, agent: {judge}, model: {kind.model}}}]")
    path = ".github/gitflow-agents.yml"
    config = json.loads((at.repo.path / path).read_text())
    config["agents"][judge] = {"args": [arg.replace("@URL@", other.url) for arg in kind.args]}
    at.repo.write(path, json.dumps(config))
    at.repo.commit("the reviewer too")
    done = at.run()
    assert (done.exit_code, at.reasons) == (4, ["rejected"])
    assert f"a: step 1/1 review: started, by {judge}" in done.stdout
    why = "step 1 (review): it refused the work: it greets nobody"
    assert at.attempts[0]["message"] == why
    asked = other.prompts[0].said
    for words in ("## Your step: 1 of 1", "hello.txt | 1 +", "I wrote hello.txt."):
        assert words in asked
    other.script, before = script("approve"), len(at.model.asked)
    at.model.script = (Run("echo hello world >hello.txt"), Say("I greeted the world."))
    at.cli("retry", "p/a")
    assert (at.run().exit_code, at.reasons) == (0, ["rejected", None])
    assert why in "".join(each.said for each in at.model.asked[before:])
    report = at.repo.show(at.attempts[1]["report"], ".gitflow/report.md")
    assert "### Step 1, `review`" in report
    assert "- verdict: approve" in report
    assert at.repo.show("flow/p", "hello.txt") == "hello world\n"


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", WITH_TOOLS)
def test_an_agent_that_goes_round_in_circles_is_ended_at_its_last_turn(
    agent: str, stage: Callable[[str], Stage]
) -> None:
    at = stage(agent)
    at.set(Run("true"), task="max_turns: 3")
    assert (at.run().exit_code, at.reasons) == (4, ["turns"])
    assert at.attempts[0]["turns"] in (3, 4)
    assert len(at.model.prompts) <= 6


@pytest.mark.parametrize("agent", WITH_TOOLS)
def test_an_agent_that_would_go_round_in_circles_for_ever_is_ended(
    agent: str, stage: Callable[[str], Stage]
) -> None:
    at = stage(agent)
    at.set(Run("echo again"))
    assert (at.run().exit_code, at.reasons) == (4, ["stalled"])
    said = "Loop detected" if agent == "gemini" else "the same 10 times in a row"
    assert said in at.attempts[0]["message"]


@pytest.mark.parametrize("agent", WITH_TOOLS)
def test_an_agent_can_write_its_report(agent: str, stage: Callable[[str], Stage]) -> None:
    at = stage(agent)
    at.set(Run("echo 'learned: [water is wet]' >$GITFLOW_REPORT"), *WORK)
    assert at.run().exit_code == 0
    assert at.repo.show(at.attempts[0]["report"], ".gitflow/report.yaml").count("water is wet") == 1


# Codex denies by its sandbox, which the test after this one shows.
@pytest.mark.parametrize("agent", ["opencode", "gemini", "claude"])
def test_what_was_denied_fails_the_attempt_although_the_agent_ends_well(
    agent: str, stage: Callable[[str], Stage], tmp_path: Path
) -> None:
    at = stage(agent)
    outside = tmp_path / "outside.txt"
    at.set(Write(str(outside), "x"), *WORK)
    assert (at.run().exit_code, at.reasons) == (4, ["denied"])
    assert not outside.exists()


def test_what_its_sandbox_denies_codex_is_told_with_the_result(
    stage: Callable[[str], Stage],
) -> None:
    at = stage("codex")
    at.set(Run("echo x >.git"), *WORK)
    assert at.run().exit_code == 0
    report = at.repo.show(at.attempts[0]["report"], ".gitflow/report.md")
    assert "- denied: `exec_command echo x >.git`\n" in report


def test_a_task_gets_the_tools_that_are_left_of_those_of_the_config(
    stage: Callable[[str], Stage],
) -> None:
    at = stage("claude")
    at.set(*WORK, task="tools: [read, write]", tools=["read", "write", "bash"])
    assert at.run().exit_code == 0
    assert sorted(at.model.prompts[0].tools) == ["Glob", "Grep", "Read", "Write"]


# opencode says nothing while it tries again, for ever: it is ended for that, as in the test below.
@pytest.mark.parametrize("agent", ["aider", "gemini", "codex", "claude"])
def test_a_refused_connection_is_tried_again(
    agent: str, stage: Callable[[str], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, port = stage(agent), closed_port()
    at.set(port=port, silence=QUIET[agent])

    def recover(losses: int) -> float:
        at.stack.enter_context(serving(*WORK, port=port))
        return 0.0

    monkeypatch.setattr(scheduler, "back_off", recover)
    assert (at.run().exit_code, at.reasons) == (0, ["infrastructure", None])


@pytest.fixture
def private_folder() -> Iterator[Path]:
    """Return a new folder that nobody else may write to or above, as people's work mostly is."""
    for root in (PROGRAMS.parent, Path(pwd.getpwuid(os.getuid()).pw_dir)):
        above = [root.resolve(), *root.resolve().parents]
        if os.access(root, os.W_OK) and not any(f.stat().st_mode & stat.S_IWOTH for f in above):
            with tempfile.TemporaryDirectory(prefix=".gitflow-test-", dir=root) as folder:
                yield Path(folder)
            return
    pytest.skip("everybody may write somewhere above each folder that is ours")


# Aider takes no MCP servers.
@pytest.mark.parametrize("agent", ["gemini", "opencode", "codex", "claude"])
def test_the_mcp_server_of_the_config_is_used_and_no_other(
    agent: str, stage: Callable[[str], Stage], tmp_path: Path, private_folder: Path
) -> None:
    at, log, other = stage(agent), tmp_path / "log", tmp_path / "other"
    if agent == "gemini":  # it reads no settings of a system below a folder that all may write to
        at.repo = repos.copy(at.repo, private_folder / "repo")
        at.cli = Cli(at.repo)

    def servers(name: str, log: Path) -> str:
        words = [sys.executable, mcp_server.__file__, str(log)]
        return json.dumps({"mcpServers": {name: {"command": words[0], "args": words[1:]}}})

    at.repo.write(".github/mcp.json", servers("ours", log))
    at.repo.write(".mcp.json", servers("theirs", other))
    at.set(Use("greet", {"name": "a"}), *WORK, mcp_config=".github/mcp.json")
    assert (at.run().exit_code, at.reasons) == (0, [None])
    assert log.read_text().splitlines().count("tools/call") == 1
    assert mcp_server.GREETING in at.model.prompts[-1].said
    assert not other.exists()


def test_a_task_cannot_take_a_server_that_the_config_does_not_allow_it(
    stage: Callable[[str], Stage], tmp_path: Path
) -> None:
    at, log = stage("claude"), tmp_path / "log"
    words = [sys.executable, mcp_server.__file__, str(log)]
    server = {"command": words[0], "args": words[1:]}
    at.repo.write(".github/mcp.json", json.dumps({"mcpServers": {"ours": server}}))
    config: dict[str, Any] = {"mcp_config": ".github/mcp.json", "tools": ["read", "write"]}
    at.set(Use("greet"), *WORK, task='tools: [read, write, "mcp:ours"]', **config)
    refused = at.run()
    assert refused.exit_code == 1
    assert "the config does not allow claude to use mcp:ours" in refused.stderr
    assert (at.model.asked, log.exists()) == ([], False)


@pytest.mark.parametrize("agent", ALL)
def test_an_agent_without_an_answer_is_ended_as_stalled(
    agent: str, stage: Callable[[str], Stage]
) -> None:
    at = stage(agent)
    at.set(Hang(), silence=QUIET[agent])
    assert (at.run().exit_code, at.reasons) == (4, ["stalled"])


# --- what a shell does ----------------------------------------------------------------------------


def are_gone(name: str) -> bool:
    """Say whether no process has a name in its words any more; a kill takes a moment."""
    mine = os.getpid()
    for _ in range(500):
        found = False
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (place / "cmdline").read_bytes()
                found = found or (name.encode() in words and place.name != str(mine))
        if not found:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("agent", WITH_TOOLS)
def test_a_shell_that_ignores_sigterm_is_ended_with_its_agent(
    agent: str, stage: Callable[[str], Stage], tmp_path: Path
) -> None:
    at, name = stage(agent), f"deaf-{tmp_path.name}-{os.getpid()}"
    there = at.repo.path / ".worktrees/p/a/there"
    # Codex does not wait for it, and asks what to do meanwhile.
    at.set(Run(f"trap '' TERM; : {name}; touch there; while :; do sleep 0.1; done"), Hang())

    def stop() -> None:
        engine.wait_for(there.exists)
        tool(at.repo, "stop", "p/a")

    stopping = threading.Thread(target=stop)
    stopping.start()
    at.run()
    stopping.join()
    assert at.reasons == ["stopped"]
    assert are_gone(name)


@pytest.mark.parametrize("agent", WITH_TOOLS)
def test_what_a_shell_leaves_behind_floods_pushes_and_shows_harms_nobody(
    agent: str, stage: Callable[[str], Stage], tmp_path: Path
) -> None:
    at, name = stage(agent), f"left-{tmp_path.name}-{os.getpid()}"
    bare = at.repo.clone(tmp_path / "remote.git", bare=True)
    at.repo.git("remote", "add", "origin", str(bare.path))
    leave = f"setsid sh -c 'sleep 600; : {name}' >/dev/null 2>&1 &"
    # Gemini, whose model would have to read all of it, gives up at thirty megabytes.
    flood = f"head -c {1 if agent == 'gemini' else 30}000000 /dev/zero | tr '\\0' x"
    push = "git push -q origin HEAD:refs/heads/mine; env"
    at.set(Run(leave), Run(flood), Run(push), WORK[0], Say(f"The key is {KEY}."))
    before = at.repo.snapshot().files
    done = at.run()
    assert (done.exit_code, at.reasons) == (0, [None])
    assert are_gone(name)
    report = at.repo.show(at.attempts[0]["report"], ".gitflow/report.md")
    # Codex runs each command in a process namespace of its own, with which ends what it leaves.
    assert agent == "codex" or "- it left processes behind, which were ended" in report
    assert len(at.transcript) <= runner.OUTPUT + 100
    assert (bare.branches(), at.repo.snapshot().files) == (["main"], before)
    assert KEY not in done.stdout + at.repo.git("log", "--all", "--format=%B", "-p")


def test_aider_that_is_shown_its_key_leaves_it_nowhere(stage: Callable[[str], Stage]) -> None:
    at = stage("aider")
    at.set(WORK[0], Say(f"The key is {KEY}."))
    assert KEY not in at.run().stdout + at.repo.git("log", "--all", "--format=%B", "-p")
