"""What a person must know reaches them once: by a comment that names them, and by a webhook."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gitflow_agents import spec, webhook
from gitflow_agents.errors import InvalidFile, UsageError
from gitflow_agents.models import Attempt, Home, Limits, Reason, Status, TaskRecord
from gitflow_agents.render.alerts import MOST, alerts, mention, parcel, webhook_schema
from gitflow_agents.scheduler import Snapshot
from tests import engine, repos
from tests.engine import task
from tests.near_forge import Near
from tests.repos import Cli, Repo
from tests.test_render import AUTH, BEGAN, DONE, NOW, snapshot


def failed(id: str, message: str = "exit 3") -> TaskRecord:
    """Return a task whose first attempt an agent failed."""
    attempt = Attempt(
        number=1, outcome="failed", url="https://github.com/alice/shop/actions/runs/7"
    )
    return TaskRecord(
        id=id,
        status=Status.FAILED,
        reason=Reason.AGENT_ERROR,
        message=message,
        attempts=(attempt,),
    )


NO_LIMITS = Limits()


def told(seen: Snapshot, limits: Limits = NO_LIMITS) -> list[tuple[str, str, str]]:
    """Return kind, key and text of each alert."""
    return [(one.kind, one.key, one.text) for one in alerts(seen, limits, NOW)]


# --- what is told --------------------------------------------------------------------------------


def test_a_plan_that_goes_well_alerts_nobody() -> None:
    assert told(snapshot(AUTH, DONE[:1])) == []


def test_a_failure_is_told_once_for_each_attempt() -> None:
    (first,) = alerts(snapshot(AUTH, [failed("001")]), NO_LIMITS, NOW)
    assert (first.key, first.text, first.url) == (
        "failed 001 1",
        "001 failed (agent-error): exit 3",
        "https://github.com/alice/shop/actions/runs/7",
    )
    again = failed("001").model_copy(update={"attempts": (Attempt(number=1), Attempt(number=2))})
    assert [key for _, key, _ in told(snapshot(AUTH, [again]))] == ["failed 001 2"]


def test_a_failure_that_is_retried_by_itself_is_not_told() -> None:
    lost = failed("001").model_copy(update={"reason": Reason.LEASE_LOST, "lost": 1})
    assert told(snapshot(AUTH, [lost])) == []


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        ({"held": "an agent changed .git/hooks"}, "plan_held", "the plan is held: an agent changed .git/hooks"),
        ({"refused": "9" * 40, "refusal": "line 3: no goal"}, "text_refused", "the new text on plan/auth was refused: line 3: no goal"),
        ({"approval": ["plan"]}, "approval_needed", "v1 of plan auth needs an approval"),
        ({"approval": ["task"]}, "approval_needed", "001 may start only with an approval"),
    ],
)  # fmt: skip
def test_what_waits_for_a_person_is_told(state: dict[str, Any], kind: str, text: str) -> None:
    plan = {**AUTH, "approval": state.pop("approval", [])}
    assert (kind, text) in [(one, said) for one, _, said in told(snapshot(plan, **state))]


def test_who_holds_a_plan_by_hand_knows_it() -> None:
    assert told(snapshot(AUTH, DONE[:1], held="held by alice: she asks")) == []


def test_a_limit_that_is_used_up_is_told() -> None:
    spent = DONE[0].model_copy(
        update={"attempts": (Attempt(number=1, started_at=BEGAN, ended_at=BEGAN, cost_usd=3),)}
    )
    assert told(snapshot(AUTH, [spent]), Limits(budget_usd=2)) == [
        ("limit_reached", "limit 2 0", "the budget of $2 is used up ($3.00)")
    ]


def test_the_end_of_a_plan_is_told_and_after_it_nothing() -> None:
    done = [
        TaskRecord(id=id, status=Status.COMPLETED) for id in ("001", "002", "003", "004", "005")
    ]
    (end,) = told(snapshot(AUTH, done, status="finished"))
    assert end == (
        "plan_finished",
        "finished v1 ffffffffffff",
        "plan auth is finished: 5 tasks, merged to flow/auth",
    )
    assert told(snapshot(AUTH, done, status="landed")) == []


def test_of_very_many_failures_the_first_are_told_and_the_rest_is_one() -> None:
    ids = [str(n) for n in range(MOST + 9)]
    plan = {"plan": "p", "goal": "g", "tasks": [task(id, "true") for id in ids]}
    found = told(snapshot(plan, [failed(id) for id in ids]))
    assert (len(found), found[-1]) == (MOST + 1, ("more", "more", "and 9 more things"))


# --- how it is told ------------------------------------------------------------------------------

BAD = "ping @carol and <!channel>, see #1 [x](http://evil)"


def test_the_comment_pings_those_who_are_named_and_nobody_else() -> None:
    seen = snapshot(AUTH, [failed("001", BAD)])
    text = mention(seen, ("alice", "shop/payments"), alerts(seen, NO_LIMITS, NOW))
    assert text.splitlines()[1] == "@alice @shop/payments `auth`:"
    assert text.count("@") - text.count("@\u200b") == 2
    assert "[run](https://github.com/alice/shop/actions/runs/7)" in text
    assert "gitflow-agents retry auth/001" in text


def test_the_webhook_gets_what_its_schema_says_and_no_words_that_ping() -> None:
    seen = snapshot(AUTH, [failed("001", BAD)], home=Home(pull=4))
    body = parcel(seen, "alice/shop", alerts(seen, NO_LIMITS, NOW), NOW)
    jsonschema.validate(body, webhook_schema())
    said = (
        "001 failed (agent-error): ping @\u200bcarol and <\u200b!channel>, see #1 [x](http://evil)"
    )
    assert body == {
        "schema": 1,
        "event": "alerts",
        "text": f"alice/shop, plan auth: {said}",
        "repository": "alice/shop",
        "plan": "auth",
        "pull": 4,
        "at": "2026-01-02T03:20:45Z",
        "alerts": [
            {
                "kind": "task_failed",
                "task": "001",
                "attempt": 1,
                "reason": "agent-error",
                "text": said,
                "commands": ["gitflow-agents show auth/001", "gitflow-agents retry auth/001"],
                "run_url": "https://github.com/alice/shop/actions/runs/7",
            }
        ],
    }


# --- the webhook ---------------------------------------------------------------------------------


@dataclass
class Ear:
    """The other end of a webhook: what it answers, one after the other, and what it has heard."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)


@contextmanager
def listening(*answers: int) -> Iterator[Ear]:
    """Listen on the loopback; after the answers that are given every one is 204."""
    ear = Ear(answers=[*answers])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            ear.heard.append(json.loads(body))
            self.send_response(ear.answers.pop(0) if ear.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        ear.url = f"http://127.0.0.1:{server.server_port}/s3cret"
        try:
            yield ear
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "url",
    ["http://example.com/x", "ftp://127.0.0.1/", "file:///etc/passwd", "example.com", "https://", "http://[", "https://a:b:c"],
)  # fmt: skip
def test_an_address_that_others_could_listen_to_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="holds no address") as e:
        webhook.webhook({"GITFLOW_WEBHOOK": url})
    assert url not in f"{e.value.message} {e.value.hint}".replace("https://;", "")
    assert webhook.webhook({"GITFLOW_WEBHOOK": ""}) is None


@pytest.mark.parametrize(
    ("answers", "tries", "said"),
    [
        ((200,), 1, ""),
        ((503, 429, 202), 3, ""),
        ((500, 500, 500), 3, "the webhook answered 500"),
        ((404,), 1, "the webhook answered 404"),
        ((302,), 1, "the webhook answered 302"),
    ],
)
def test_an_alert_is_tried_a_few_times_and_followed_nowhere(
    monkeypatch: pytest.MonkeyPatch, answers: Sequence[int], tries: int, said: str
) -> None:
    monkeypatch.setattr(webhook, "PAUSE", 0.0)
    with listening(*answers) as ear:
        hook = webhook.Webhook(ear.url)
        if said:
            with pytest.raises(webhook.NotDelivered) as e:
                hook.send({"a": 1})
            assert e.value.message == said
        else:
            hook.send({"a": 1})
    assert ear.heard == [{"a": 1}] * tries
    assert "s3cret" not in repr(hook)


def test_where_nobody_listens_that_is_said_without_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "PAUSE", 0.0)
    with listening() as ear:
        pass
    with pytest.raises(webhook.NotDelivered, match=r"^the webhook cannot be reached: \w+$"):
        webhook.Webhook(ear.url).send({})


# --- on a laptop ---------------------------------------------------------------------------------

BAD_ONE = task("1", "env; exit 3")


def test_a_run_alerts_once_and_a_second_one_is_quiet(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(404) as ear:
        monkeypatch.setenv("GITFLOW_WEBHOOK", ear.url)
        first, second = engine.go(repo, engine.plan(repo, BAD_ONE)), engine.go(repo)
    assert [(each["kind"], each["task"]) for one in ear.heard for each in one["alerts"]] == [
        ("task_failed", "1")
    ]
    assert ear.heard[0]["repository"] == repo.path.name
    warnings = [each.text for each in first.told if "alert" in each.text]
    assert warnings == ["1 alert did not get through: the webhook answered 404"]
    report = repo.show("task/p/1-task-1", ".gitflow/report.md")
    assert ("GITFLOW_CLAIM" in report, "s3cret" in report) == (True, False)
    assert (first.code, second.code, engine.fsck(repo)) == (4, 4, ())
    assert engine.state(repo)["alerted"] == {"webhook": ["failed 1 1"]}


def test_a_run_refuses_an_address_that_is_none_before_it_begins(
    cli: Cli, repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITFLOW_WEBHOOK", "http://example.com/s3cret")
    result = cli("run", engine.plan(repo, BAD_ONE), check=False)
    assert (result.exit_code, "s3cret" in result.stderr) == (2, False)
    assert "flow/p" not in repo.branches()


# --- on a forge ----------------------------------------------------------------------------------


@pytest.mark.slow  # the same on a laptop is fast
def test_a_pass_mentions_whom_the_config_names_and_only_once(repo: Repo, tmp_path: Path) -> None:
    up = repos.init(tmp_path / "up.git", bare=True)
    engine.config(repo, notify=["alice", "shop/payments"])
    repo.git("push", "--quiet", str(up.path), "main")
    repo.git("switch", "--quiet", "--create", "plan/p")
    engine.plan(repo, BAD_ONE)
    repo.commit("plan p")
    repo.git("push", "--quiet", str(up.path), "plan/p")
    forge = Near(up, tmp_path)
    with listening() as ear:
        forge.environ["GITFLOW_WEBHOOK"] = ear.url
        forge.finish()
        forge.environ["GITFLOW_WEBHOOK"] = "not an address"
        forge.reconcile()
    (comment,) = forge.said
    assert comment.splitlines()[1:4] == [
        "@alice @shop/payments `p`:",
        "",
        "- 1 failed (agent-error): the command exited with 3 ([run](run/1))",
    ]
    assert [one["alerts"][0]["run_url"] for one in ear.heard] == ["run/1"]
    assert [text for text in forge.texts() if "nobody is alerted" in text] == [
        "nobody is alerted: GITFLOW_WEBHOOK holds no address that alerts can be sent to"
    ]
    assert engine.fsck(up) == ()


@pytest.mark.parametrize("who", ["@alice", "alice bob", "-x", "shop/pay/ments", "a" * 40])
def test_only_names_of_people_and_teams_can_be_notified(who: str) -> None:
    with pytest.raises(InvalidFile) as e:
        spec.read_config(json.dumps({"notify": ["bob", who]}).encode(), file="c.yml")
    assert [(one.key, one.mend) for one in e.value.problems] == [
        ("notify[1]", "write it without `@`; a team is `organisation/team`")
    ]
    read = spec.read_config(b"notify: bob", file="c.yml", environ={"GITFLOW_NOTIFY": "alice"})
    assert read.notify == ("alice",)


def test_the_schema_of_a_webhook_is_printed(cli: Cli) -> None:
    assert cli("schema", "webhook").json == webhook_schema()
