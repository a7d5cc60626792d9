"""What a job on GitHub knows of itself, and what it says to its runner."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents import on_actions
from gitflow_agents.cli import App, start
from gitflow_agents.errors import FlowError, Problem, UsageError
from gitflow_agents.forge import OWN, Check, Comment, ForgeRefused, Page
from gitflow_agents.github import GitHub, annotation, surroundings, whereabouts
from gitflow_agents.github.surroundings import Surroundings
from gitflow_agents.models import Home, Limits, TaskRecord
from gitflow_agents.render import utc
from gitflow_agents.service import setup
from tests import forge
from tests.forge.expressions import load
from tests.repos import Cli, Repo
from tests.test_render import AUTH, NOW
from tests.test_render import snapshot as drawn

JOB = {
    "GITHUB_REPOSITORY": "alice/shop",
    "GITHUB_API_URL": "https://api.github.com",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_RUN_ID": "7",
    "GITHUB_EVENT_NAME": "workflow_dispatch",
    "GITHUB_ACTOR": "bob",
    "GITHUB_ACTOR_ID": "12",
    "GITHUB_TOKEN": "t0ken",
}


def job(**more: str) -> Surroundings:
    """Return what a job with these variables knows of itself."""
    return surroundings({**JOB, **more})


def test_a_job_knows_its_repository_its_run_and_who_acted(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"repository": {"default_branch": "trunk"}}))
    assert job(GITHUB_EVENT_PATH=str(event)) == Surroundings(
        repository="alice/shop",
        api="https://api.github.com",
        server="https://github.com",
        token="t0ken",
        run=7,
        actor="bob <12+bob@users.noreply.github.com>",
        branch="trunk",
        who=("bob", 12),
        event="workflow_dispatch",
    )


@pytest.mark.parametrize(
    ("event", "actor", "again", "who"),
    [
        ("push", "bob", "", ("bob", 12)),
        ("push", "bob", "bob", ("bob", 12)),
        ("push", "bob", "carol", ("carol", 0)),
        ("push", "helper[bot]", "", ("helper[bot]", 12)),
        ("workflow_dispatch", "helper[bot]", "", ("", 0)),
        ("workflow_dispatch", "github-actions[bot]", "", ("", 0)),
        ("schedule", "bob", "", ("", 0)),
        ("issue_comment", "bob", "", ("", 0)),
    ],
)
def test_who_is_behind_an_event_is_known_of_some(
    event: str, actor: str, again: str, who: tuple[str, int]
) -> None:
    about = {"GITHUB_EVENT_NAME": event, "GITHUB_ACTOR": actor, "GITHUB_TRIGGERING_ACTOR": again}
    assert job(**about).who == who


def test_a_comment_is_read_as_it_was_written_and_nothing_else_is_one(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    user = {"login": "eve", "id": 9, "type": "User"}
    said = {"id": 5, "body": "/stop", "user": user, "created_at": "2026-01-01T00:00:10Z"}
    there = {"action": "created", "comment": said, "issue": {"number": 3}}

    def heard(**changes: Any) -> Comment | None:
        event.write_text(json.dumps({**there, **changes}))
        return job(GITHUB_EVENT_NAME="issue_comment", GITHUB_EVENT_PATH=str(event)).comment

    assert heard() == Comment(5, 3, "/stop", "eve", 9, 1767225610.0)
    bot = {**said, "user": {"login": "x[bot]", "id": 1, "type": "Bot"}, "body": f"{OWN}plan p -->"}
    assert heard(comment=bot) == Comment(
        5, 3, f"{OWN}plan p -->", "x[bot]", 1, 1767225610.0, is_bot=True, is_own=True
    )
    assert [heard(action="edited"), heard(comment=None), heard(comment="/stop")] == [None] * 3
    for garbled in ({"comment": {"id": "x"}}, {"issue": None}, {"comment": {**said, "user": 1}}):
        with pytest.raises(FlowError, match="the event tells of no comment that can be read"):
            heard(**garbled)


def test_who_started_a_run_is_known_where_another_one_starts_it_again() -> None:
    assert job(GITHUB_TRIGGERING_ACTOR="bob").first == ("", 0)
    assert job(GITHUB_TRIGGERING_ACTOR="eve").first == ("bob", 12)


def test_what_anybody_can_cause_is_done_in_nobodys_name() -> None:
    bot = "github-actions[bot] <github-actions[bot]@users.noreply.github.com>"
    events = ("push", "schedule", "pull_request", "pull_request_review", "issue_comment")
    bob = "bob <12+bob@users.noreply.github.com>"
    assert [job(GITHUB_EVENT_NAME=one).actor for one in events] == [bob, bot, bot, bot, bot]


@pytest.mark.parametrize("name", ["GITHUB_REPOSITORY", "GITHUB_API_URL", "GITHUB_RUN_ID"])
def test_outside_of_a_job_it_is_said_what_to_do_instead(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is not set") as e:
        job(**{name: ""})
    assert "gitflow-agents run" in e.value.hint


def test_the_verbs_of_a_job_say_so_on_a_persons_machine(cli: Cli) -> None:
    result = cli("reconcile", check=False)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: this is not a job of GitHub Actions")


@pytest.mark.parametrize(
    ("name", "ref", "more", "plans"),
    [
        ("push", "refs/heads/plan/auth", {}, ("auth",)),
        ("push", "refs/heads/plan/auth", {"deleted": True}, ()),
        ("push", "refs/heads/plan/a/b", {}, ()),
        ("push", "refs/heads/main", {}, ()),
        ("schedule", "refs/heads/plan/auth", {}, ()),
    ],
)
def test_a_pushed_plan_is_known_by_its_branch(
    tmp_path: Path, name: str, ref: str, more: Mapping[str, Any], plans: tuple[str, ...]
) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(more))
    about = {"GITHUB_EVENT_NAME": name, "GITHUB_REF": ref, "GITHUB_EVENT_PATH": str(event)}
    assert job(**about).pushed == plans


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', '{"repository": 3}', '{"repository": []}'])
def test_a_payload_that_is_none_is_no_bug(tmp_path: Path, text: str) -> None:
    event = tmp_path / "event.json"
    event.write_text(text)
    if text in ("", "{"):
        with pytest.raises(FlowError, match="the event's payload cannot be read"):
            job(GITHUB_EVENT_PATH=str(event))
    else:
        assert job(GITHUB_EVENT_PATH=str(event)).branch == ""


@pytest.mark.slow
def test_every_payload_that_github_shows_is_understood_or_refused(tmp_path: Path) -> None:
    event, seen = tmp_path / "event.json", 0
    for payload in forge.payloads():
        event.write_text(json.dumps(payload.body))
        found = job(GITHUB_EVENT_PATH=str(event), GITHUB_EVENT_NAME=payload.event)
        repository = payload.body.get("repository") or {}
        assert found.branch == (repository.get("default_branch") or "")
        seen += 1
    assert seen > 100


def test_the_token_is_shown_to_its_own_server_only() -> None:
    said = job().git_settings()
    assert said["GIT_CONFIG_KEY_0"] == "http.https://github.com/.extraheader"
    assert "t0ken" not in "".join(said.values())


@given(st.text(), st.text())
def test_nothing_in_an_output_can_set_another_one(first: str, second: str) -> None:
    import os
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "out")
        job(GITHUB_OUTPUT=path).set_outputs({"a": first, "b": second})
        with open(path, encoding="utf-8", errors="surrogatepass", newline="") as file:
            lines = file.read().split("\n")
    names = []
    while lines and lines != [""]:
        name, _, end = lines.pop(0).partition("<<")
        names.append(name)
        assert len(end) == 32
        while lines.pop(0) != end:
            pass
    assert names == ["a", "b"]


def test_a_mistake_is_shown_at_its_line_and_says_no_more() -> None:
    problem = Problem("plans/a,b:c.yaml", 3, 5, "tasks[0].id", "50% of\n::set-env name=X::y", "")
    assert annotation(problem) == (
        "::error file=plans/a%2Cb%3Ac.yaml,line=3,col=5::tasks[0].id: 50%25 of%0A::set-env name=X::y"
    )


def test_a_summary_that_is_too_long_is_cut_rather_than_dropped(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    around = job(GITHUB_STEP_SUMMARY=str(path))
    around.add_summary("é" * 1024 * 1024)
    around.add_summary("more")
    assert path.stat().st_size <= 1024 * 1024
    assert "(cut)" in path.read_text()


@pytest.mark.parametrize(
    ("url", "repository", "api"),
    [
        ("https://github.com/alice/shop.git", "alice/shop", "https://api.github.com"),
        ("https://t@github.com/alice/shop", "alice/shop", "https://api.github.com"),
        ("git@github.com:alice/shop.git", "alice/shop", "https://api.github.com"),
        ("ssh://git@ssh.github.com/alice/shop", "alice/shop", "https://api.github.com"),
        ("git@git.example.com:alice/my.shop", "alice/my.shop", "https://git.example.com/api/v3"),
    ],
)
def test_a_clone_knows_where_its_repository_is_asked(url: str, repository: str, api: str) -> None:
    tokens = {"GH_TOKEN": "for github.com", "GH_ENTERPRISE_TOKEN": "for others"}
    there = whereabouts(url, tokens)
    mine = "for github.com" if api == "https://api.github.com" else "for others"
    assert (there.repository, there.api, there.token) == (repository, api, mine)


def test_a_token_is_shown_to_no_server_that_it_is_not_for() -> None:
    url = "git@git.example.com:alice/shop.git"
    with pytest.raises(FlowError, match=r"there is no token for git.example.com"):
        whereabouts(url, {"GH_TOKEN": "mine", "PATH": ""})
    for said in ({"GH_HOST": "git.example.com"}, {"GITHUB_SERVER_URL": "https://git.example.com"}):
        assert whereabouts(url, {"GH_TOKEN": "mine", **said}).token == "mine"


@pytest.mark.parametrize("url", ["/srv/git/shop.git", "file:///x/y/z", "", "https://github.com/x"])
def test_an_address_that_is_not_githubs_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no repository of GitHub's"):
        whereabouts(url, {"GH_TOKEN": "mine"})


def test_without_a_token_it_is_said_how_to_get_one() -> None:
    with pytest.raises(FlowError, match=r"there is no token for github.com") as e:
        whereabouts("https://github.com/alice/shop", {"PATH": ""})
    assert e.value.hint.startswith("gh auth login")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, ["reconcile"]),
        ({"PLAN": "p"}, ["reconcile", "--", "p"]),
        ({"PLAN": "p; rm -rf /"}, ["reconcile", "--", "p; rm -rf /"]),
        ({"PLAN": "--json"}, ["reconcile", "--", "--json"]),
        (
            {"COMMAND": "execute", "PLAN": "p", "TASK": "1", "CLAIM": "abc", "FOLDER": "/t/x y"},
            ["execute", "--claim=abc", "--to=/t/x y", "--", "p/1"],
        ),
        (
            {"COMMAND": "publish", "PLAN": "p", "TASK": "1", "CLAIM": "abc", "FOLDER": "/t"},
            ["publish", "--claim=abc", "--from=/t", "--", "p/1"],
        ),
        (
            {"COMMAND": "execute --train", "PLAN": "p", "CLAIM": "abc"},
            ["execute", "--train", "--claim=abc", "--", "p"],
        ),
        ({"PLAN": "p", "VERDICT": "failure"}, ["reconcile", "--verdict=failure", "--", "p"]),
        ({"PLAN": "", "FORM": "null"}, ["reconcile"]),
        (
            {"PLAN": "p", "FORM": '{"plan": "p", "task": "", "dry-run": false}'},
            ["reconcile", "--", "p"],
        ),
        (
            {"FORM": '{"task": "--agent x\\n$(id)", "dry-run": true}'},
            ["start", "--task=--agent x\n$(id)", "--dry-run"],
        ),
        (
            {"PLAN": "p", "FORM": '{"plan": "p", "max-parallel": 2}'},
            ["start", "--max-parallel=2", "--", "p"],
        ),
    ],
)
def test_the_inputs_of_the_action_are_words_and_never_a_line_of_shell(
    inputs: Mapping[str, str], words: list[str]
) -> None:
    assert on_actions.words({f"ACTION_{name}": value for name, value in inputs.items()}) == words


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("{", "the form is no JSON"),
        ("[]", "the form is no object"),
        ('{"plna": "p"}', "the form has an input 'plna', which means nothing"),
        ('{"dry-run": "yes"}', "dry-run: 'yes' is neither true nor false"),
    ],
)
def test_a_form_that_is_none_is_refused_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str, said: str
) -> None:
    monkeypatch.setenv("ACTION_FORM", form)
    with pytest.raises(SystemExit) as e:
        on_actions.main()
    assert e.value.code == 2
    assert capsys.readouterr().out.startswith(f"::error::{said}")


def test_the_form_that_init_writes_has_the_inputs_of_start() -> None:
    (file,) = (t for path, t in setup.files(USES).items() if path.endswith("/gitflow.yml"))
    form = load(file)["on"]["workflow_dispatch"]
    assert (*form["inputs"],) == on_actions.INPUTS
    options = {name.lstrip("-") for param in start.params for name in param.opts}
    assert {*on_actions.INPUTS} - options == {"command"}


def test_a_command_of_the_form_is_one_of_a_pass_and_stands_alone() -> None:
    def typed(**form: object) -> list[str]:
        return on_actions.words({"ACTION_FORM": json.dumps(form)})

    assert typed(plan="p", command="retry 003; rm -rf /", **{"dry-run": True}) == [
        "reconcile",
        "--command=retry 003; rm -rf /",
        "--dry-run",
        "--",
        "p",
    ]
    with pytest.raises(UsageError, match="task is about new work, and command about a plan"):
        typed(plan="p", command="status", task="x")


@pytest.mark.parametrize("fails", [True, False])
def test_no_word_of_an_error_speaks_to_the_runner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: bool
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with suppress(FlowError), on_actions.hushed(App()) as aloud:
        aloud.append("::error file=p.yaml::said in the end")
        if fails:
            raise FlowError("a plan's words\n::add-mask::e")
    first, *more = capsys.readouterr().out.splitlines()
    word = first.removeprefix("::stop-commands::")
    assert more == ([] if fails else [f"::{word}::", "::error file=p.yaml::said in the end"])


def test_the_comment_of_a_person_is_found_again_and_no_strangers(
    hub: forge.Hub, repo: Repo
) -> None:
    shop, bob = hub.repository("alice/shop", repo), hub.person("bob")
    shop.people["bob"] = "write"
    asked = GitHub("alice/shop", bob.text, api=hub.api, server=hub.base, branch="main")
    issue = forge.ask(hub, bob, "POST /repos/alice/shop/issues", {"title": "p"}).value["number"]
    comments = f"POST /repos/alice/shop/issues/{issue}/comments"
    theirs = forge.ask(hub, hub.person("carol"), comments, {"body": "<!-- p --> mine"}).value["id"]

    def tell(text: str) -> int:
        check = Check(repo.sha(), "t", "s")
        return asked.tell(
            Home(issue=issue), Page("<!-- p -->", f"<!-- p --> {text}", check)
        ).comment

    own = tell("first")
    assert tell("second") == own != theirs
    assert shop.comments[own].body == "<!-- p --> second"
    assert shop.comments[theirs].body == "<!-- p --> mine"


RUNS = "on: workflow_dispatch\njobs: {go: {runs-on: ubuntu-latest, steps: [{run: true}]}}\n"


@pytest.mark.slow
def test_a_run_is_cancelled_and_one_that_is_over_or_unknown_is_not(
    hub: forge.Hub, repo: Repo
) -> None:
    repo.write(".github/workflows/gitflow-task.yml", RUNS)
    repo.commit("a workflow")
    shop, bob = hub.repository("alice/shop", repo), hub.person("bob")
    shop.people["bob"] = "write"
    asked = GitHub("alice/shop", bob.text, api=hub.api, server=hub.base, branch="main")
    one, two = asked.start("task", {}), asked.start("task", {})
    assert [asked.cancel(one), asked.cancel(two, force=True)] == [True, True]
    found = asked.run(one)
    assert found is not None
    assert (found.is_over, found.conclusion) == (True, "cancelled")
    assert [asked.cancel(one), asked.cancel(one + 900), asked.run(one + 900)] == [
        False,
        False,
        None,
    ]
    carol = GitHub(
        "alice/shop", hub.person("carol").text, api=hub.api, server=hub.base, branch="main"
    )
    with pytest.raises(ForgeRefused, match=f"run {one} could not be cancelled"):
        carol.cancel(one)


@pytest.mark.slow
def test_signs_under_a_comment_are_read_in_their_order_with_whose_they_are(
    hub: forge.Hub, repo: Repo
) -> None:
    shop = hub.repository("alice/shop", repo)
    alice, bob = hub.person("alice"), hub.person("bob", (shop, "read"))
    made = forge.ask(hub, alice, "POST /repos/alice/shop/issues", {"title": "Plan"})
    github = GitHub("alice/shop", alice.text, api=hub.api, server=hub.base, branch="main")
    comment = github.say(made.value["number"], "Which one?")
    under = f"POST /repos/alice/shop/issues/comments/{comment}/reactions"
    for who, sign in ((bob, "heart"), (alice, "rocket")):
        assert forge.ask(hub, who, under, {"content": sign}).status == 201
    assert [(one.login, one.sign, one.is_bot) for one in github.reactions(comment)] == [
        ("bob", "heart", False),
        ("alice", "rocket", False),
    ]
    github.rewrite(comment, "Answered")
    assert shop.comments[comment].body == "Answered"
    github.rewrite(comment + 1, "gone")
    assert github.reactions(comment + 1) == ()


def test_a_pass_says_when_more_is_due() -> None:
    lost = {"status": "failed", "reason": "lease-lost", "lost": 2, "not_before": NOW + 60}
    snapshot = drawn(AUTH, [TaskRecord.model_validate({"id": "001", **lost})])
    said = "plan auth: 0 of 5 tasks are merged to flow/auth, 0 attempts at work"
    assert on_actions.standing(snapshot, Limits(), NOW) == f"{said}; more is due at {utc(NOW + 60)}"
    assert on_actions.standing(snapshot, Limits(), NOW + 60) == said


# --- init -----------------------------------------------------------------------------------------

USES = "alice/gitflow-agents@0123456789abcdef0123456789abcdef01234567"


def test_init_writes_what_actions_need_and_a_second_time_nothing(cli: Cli, repo: Repo) -> None:
    first = cli("init", "--uses", USES)
    made = sorted(str(p.relative_to(repo.path)) for p in (repo.path / ".github").rglob("*.*"))
    assert made == [
        ".github/gitflow-agents.yml",
        ".github/gitflow-agents/config.schema.json",
        ".github/gitflow-agents/plan.schema.json",
        ".github/workflows/gitflow-commands.yml",
        ".github/workflows/gitflow-task.yml",
        ".github/workflows/gitflow-train.yml",
        ".github/workflows/gitflow.yml",
    ]
    assert first.stdout.partition("what is left to do by hand:\n")[2] == (
        "  - put these files on main, where GitHub looks for them: git add .github && git commit -m "
        "'gitflow-agents' && git push\n"
        "  - give the agents their keys, as secrets of the repository: gh secret set "
        "ANTHROPIC_API_KEY (or OPENAI_API_KEY, GEMINI_API_KEY); a plan of commands needs none\n"
        "  - let Actions open the pull request that tells of a plan: in the repository's Settings, "
        "Actions, General tick `Allow GitHub Actions to create and approve pull requests`\n"
        "  - write a plan (gitflow-agents new NAME), commit it on a branch plan/NAME that is cut "
        "from main, and push that\n"
        "  - see whether anything is missing: gitflow-agents doctor\n"
    )
    before = repo.snapshot()
    assert cli("init").stdout.startswith("nothing to do: all 7 files are there")
    assert repo.snapshot() == before


def test_init_leaves_what_a_person_wrote_and_shows_what_is_new(cli: Cli, repo: Repo) -> None:
    cli("init", "--uses", USES)
    mine = repo.write(".github/workflows/gitflow.yml", "# mine\n")
    assert "is there and says something else; it stays" in cli("init", "--uses", USES).stdout
    assert mine.read_text() == "# mine\n"
    assert "-# mine" in cli("init", "--upgrade", "--uses", USES).stdout
    assert mine.read_text() != "# mine\n"


def test_init_never_writes_over_a_config(cli: Cli, repo: Repo) -> None:
    repo.write(".github/gitflow-agents.yml", "train: 3\n")
    cli("init", "--upgrade", "--uses", USES)
    assert (repo.path / ".github/gitflow-agents.yml").read_text() == "train: 3\n"


@pytest.mark.parametrize("uses", ["alice/x@main", "x@" + "0" * 40, "alice/x", "a/b/c@" + "0" * 40])
def test_init_pins_a_whole_commit_or_says_how(cli: Cli, uses: str) -> None:
    result = cli("init", "--uses", uses, check=False)
    assert result.exit_code == 2
    assert "names no commit of a repository" in result.stderr


def test_every_key_that_the_commented_config_shows_is_one(cli: Cli, repo: Repo) -> None:
    cli("init", "--uses", USES)
    path = repo.path / ".github/gitflow-agents.yml"
    lines = path.read_text().splitlines()
    # Behind the sign a sentence has one space, a key has none or two.
    keys = (line[1:] if re.match(r"#(  )?[\w-]", line) else line for line in lines)
    path.write_text("\n".join(keys))
    repo.commit("all of it")
    assert "train" not in cli("plans").stderr
    repo.plan("p", "plan: p\ngoal: g\ntasks: [{id: '1', description: d, run: 'true'}]\n")
    assert cli("validate", "plans/p.yaml").exit_code == 0


# --- doctor ---------------------------------------------------------------------------------------


def codes(cli: Cli) -> list[str]:
    """Return what doctor finds of the workflows."""
    said = cli("doctor", "--json", check=False).json["left"]
    return [one["code"] for one in said if one["code"].startswith(("workflow", "perm", "pl", "pu"))]


def test_doctor_follows_a_first_time_user_from_init_to_a_plan(
    cli: Cli, repo: Repo, tmp_path: Path
) -> None:
    repo.identify()
    assert codes(cli) == []
    repo.git("branch", "plan/early")
    cli("init", "--uses", USES)
    assert codes(cli) == ["workflow-uncommitted"] * 4
    repo.commit("gitflow-agents")
    assert codes(cli) == ["plan-branch-dead"]
    up = tmp_path / "up.git"
    repo.git("init", "--quiet", "--bare", "--initial-branch=main", str(up))
    repo.git("remote", "add", "origin", str(up))
    repo.git("push", "--quiet", "origin", "main~:refs/heads/main")
    repo.git("fetch", "--quiet", "origin")
    assert codes(cli) == ["workflow-unpushed"] * 4
    repo.git("push", "--quiet", "origin", "main")
    repo.git("branch", "--force", "plan/early", "main")
    assert codes(cli) == []


def test_doctor_names_the_right_that_a_caller_does_not_give(cli: Cli, repo: Repo) -> None:
    repo.identify()
    cli("init", "--uses", USES)
    path = repo.path / ".github/workflows/gitflow.yml"
    path.write_text(path.read_text().replace("      actions: write", "      actions: read"))
    repo.commit("less")
    (found,) = (one for one in cli("doctor", "--json", check=False).json["left"])
    assert (found["code"], found["message"]) == (
        "permission-missing",
        ".github/workflows/gitflow.yml does not give its job reconcile `actions: write`: "
        "no run can be started",
    )


@pytest.mark.slow  # four commands, and nothing that the faster ones do not walk through
def test_doctor_says_when_no_push_starts_the_plans_that_it_should(cli: Cli, repo: Repo) -> None:
    repo.identify()
    cli("init", "--uses", USES)
    repo.write(".github/gitflow-agents.yml", "start: on-push\n")
    repo.commit("by itself")
    assert codes(cli) == ["push-unheard"]
    cli("init", "--upgrade")
    repo.commit("listening")
    assert codes(cli) == []


@pytest.mark.parametrize("text", ["", "{", "jobs: 3", "jobs: {reconcile: 3}", "- x"])
def test_doctor_reads_any_workflow_file(cli: Cli, repo: Repo, text: str) -> None:
    repo.identify()
    cli("init", "--uses", USES)
    repo.write(".github/workflows/gitflow.yml", text)
    repo.commit("changed")
    assert set(codes(cli)) <= {"workflow-changed", "workflow-invalid"}
    assert codes(cli)
