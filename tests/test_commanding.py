"""What people say in comments is done once, in their order, whatever becomes of the processes."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.commands import Act, Refused
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import Comment, ForgeRefused
from gitflow_agents.permission import Asker
from gitflow_agents.render import replies
from gitflow_agents.service.commanding import Typed, Words
from gitflow_agents.service.permitting import Permitting
from tests import engine, forge, repos
from tests.engine import task
from tests.near_forge import Near
from tests.repos import Repo
from tests.talks import Talk

TASKS = [task(f"t{n}", f"echo {n} > {n}.txt", depends_on=["first"]) for n in range(1, 5)]
FIRST = task("first", "echo 0 > 0.txt")
CROWD = 200
SEED = 20261122
MOST_DEATHS = 12
MOST_JOBS = 40


@pytest.fixture
def near(repo: Repo, tmp_path: Path) -> Near:
    """Return a forge with a plan p that is told of in pull request 1, one attempt at work."""
    up = repos.init(tmp_path / "up.git", bare=True)
    repo.git("switch", "--quiet", "--create", "plan/p")
    engine.plan(repo, FIRST, *TASKS, name="p")
    repo.commit("plan p")
    repo.git("push", "--quiet", str(up.path), "main", "plan/p")
    near = Near(up, tmp_path)
    near.reconcile()
    return near


_ids = itertools.count(1)


def said(near: Near, text: str, login: str = "alice", **about: Any) -> Comment:
    """Write a comment."""
    number = next(_ids)
    at = engine.state(near.up, "p")["accepted_at"] + number / 1000
    one = Comment(number, 1, text, login, 7, at, **about)
    near.written.append(one)
    return one


def hear(near: Near, *comments: Comment, listens: bool = True) -> None:
    """Do the pass of a job that heard of some comments, or of none."""
    with near.jobs() as jobs:
        jobs.reconcile("p", near, words=Words(comments, listens=listens), talk=near)


def journal(up: Repo) -> dict[str, Any]:
    """Return all commands of the journal, by their keys."""
    names = up.git("ls-tree", "--name-only", "gitflow/state/p", "commands/").split()
    return {
        name.removeprefix("commands/").removesuffix(".yaml"): engine.read_yaml(
            up.show("gitflow/state/p", name)
        )
        for name in names
    }


def came(near: Near) -> dict[str, tuple[str, str]]:
    """Return what came of each command, and its code."""
    return {key: (one["status"], one.get("code", "")) for key, one in journal(near.up).items()}


def test_a_comment_is_journalled_done_and_signed_and_heard_once(near: Near) -> None:
    one = said(near, '/hold "look first"\n\nI do not trust this.')
    hear(near, one)
    assert engine.state(near.up, "p")["held"] == "held by alice: look first"
    assert came(near) == {f"{one.id}-1": ("done", "")}
    assert near.signs == {one.id: "+1"}
    assert near.said == []
    before = engine.refs(near.up)
    hear(near, one, one)
    assert (engine.refs(near.up), near.said) == (before, [])
    subjects = near.up.log("gitflow/state/p", "%s").splitlines()
    assert 'p: alice said `/hold "look first"`' in subjects
    (event,) = (line for line in subjects if "plan p is held" in line or "held by" in line)
    assert "`/hold" in event, "what was done, and that it was, are one commit"


def test_of_a_comment_with_a_line_that_is_wrong_nothing_is_done(near: Near) -> None:
    one = said(near, "/hold\n/stop t9\n/retyr t1")
    hear(near, one)
    assert "held" not in engine.state(near.up, "p")
    assert [code for _, code in came(near).values()] == [
        "not-run",
        "no-such-task",
        "unknown-verb",
    ]
    assert near.signs == {one.id: "confused"}
    (reply,) = near.said
    assert reply.startswith(f"{replies.marker(one.id)}\nNothing ran, because 2 lines are wrong.")


def test_who_may_not_is_refused_and_prose_is_left_alone(near: Near) -> None:
    near.people["eve"] = "read"
    no = said(near, "/stop", "eve")
    prose = said(near, "I would /stop this.\n\n> /stop\n\n```\n/stop\n```", "eve")
    edited = said(near, "/hold", is_edited=True)
    bot = said(near, "/hold", "helper[bot]", is_bot=True)
    own = said(near, "/hold", "tool[bot]", is_bot=True, is_own=True)
    before = engine.state(near.up, "p")["accepted_at"] - 3600
    older = replace(said(near, "/hold"), at=before)
    near.written[-1] = replace(older, id=next(_ids))  # which a sign under it brought up again
    hear(near, no, older)
    assert came(near) == {
        f"{no.id}-1": ("refused", "not-allowed"),
        f"{edited.id}-1": ("refused", "edited"),
        f"{bot.id}-1": ("refused", "not-allowed"),
    }
    assert "held" not in engine.state(near.up, "p")
    assert near.signs == {no.id: "-1", edited.id: "confused", bot.id: "-1"}
    assert len(near.said) == 2, "no program is answered, so that two of them never talk for ever"
    assert {prose.id, own.id}.isdisjoint(near.signs)


def test_a_form_that_another_one_sends_again_needs_both(near: Near) -> None:
    near.people |= {"eve": "read", "bob": "write"}

    def sent(key: str, first: str) -> str:
        now = engine.state(near.up, "p")["accepted_at"]
        typed = Typed(f"form-{key}", "hold t1", "alice", 7, now, first=(first, 9))
        with near.jobs() as jobs:
            words = Words(typed=typed, listens=False)
            jobs.reconcile("p", near, words=words, talk=near)
        (one,) = words.came
        return one.code or one.status

    assert [sent("1", "eve"), sent("2", "bob"), sent("2", "eve")] == ["not-allowed", "done", "done"]


def test_where_nobody_can_tell_who_may_what_nothing_is_lost(near: Near) -> None:
    one = said(near, "/hold")
    near.is_down = True
    with pytest.raises(FlowError, match="the forge is down"):
        hear(near, one)
    assert journal(near.up) == {}
    near.is_down = False
    hear(near)
    assert came(near) == {f"{one.id}-1": ("done", "")}
    near.refuses = {"comments"}  # as of a place that was deleted
    hear(near, two := said(near, "/hold t1"))
    assert came(near)[f"{two.id}-1"] == ("done", "")
    assert "what was said in 1 is not heard: nobody may comments" in [t.text for t in near.told]


def test_who_was_not_answered_is_answered_by_the_next_pass_and_once(
    near: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = said(near, "/status"), said(near, "/hold")
    near.refuses = {"say"}
    hear(near, one, two)
    assert engine.state(near.up, "p")["commands"] == [f"{one.id}-1"]
    near.refuses = set()
    late = {"clock": lambda: engine.state(near.up, "p")["accepted_at"] + 600}
    with near.jobs(**late) as jobs:
        jobs.reconcile("p", near, talk=near)
    assert "commands" not in engine.state(near.up, "p")
    (reply,) = near.said
    assert reply.startswith(replies.marker(one.id))
    with near.jobs(**late) as jobs:
        jobs.reconcile("p", near, talk=near)
    assert len(near.said) == 1

    def gone(number: int, text: str) -> None:
        raise ForgeRefused("it was deleted", status=410)

    monkeypatch.setattr(near, "say", gone)
    hear(near, said(near, "/status"))
    assert "commands" not in engine.state(near.up, "p"), "who is gone is not answered for ever"


def test_what_one_person_says_in_an_hour_has_an_end_and_is_told_so_once(near: Near) -> None:
    for turn in range(33):
        said(near, "/explain t1" if turn % 2 else "/gitflow nothing", "bob")
        # Heard late, but said in three hours.
        late = said(near, "/waves", "carol")
        near.written[-1] = replace(late, at=late.at + 330 * turn)
    other = said(near, "/hold", "alice")
    hear(near)
    codes = [code for _, code in came(near).values()]
    assert (codes.count("rate-limited"), came(near)[f"{other.id}-1"]) == (3, ("done", ""))
    assert [("within an hour" in one) for one in near.said].count(True) == 1
    assert len(near.said) == 31 + 33


def test_what_is_done_is_permitted_as_it_is_by_then(
    near: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Asker] = []

    def permit(self: Permitting, command: Act, asker: Asker, *about: Any, **more: Any) -> None:
        asked.append(asker)
        if len(asked) == 2:
            raise Refused("not-allowed", "that is for others by now")

    monkeypatch.setattr(Permitting, "permit", permit)
    one = said(near, "/hold", "bob")
    hear(near, one)
    assert came(near) == {f"{one.id}-1": ("refused", "not-allowed")}
    assert "held" not in engine.state(near.up, "p")
    assert asked[0] == asked[1] == Asker("bob", 7, "maintain")


def test_a_closed_plan_is_looked_at_until_everybody_was_answered(near: Near) -> None:
    one = said(near, "/stop plan")
    near.refuses = {"say"}
    hear(near, one)
    near.reconcile()  # the run that was stopped has ended by now
    state = engine.state(near.up, "p")
    with near.jobs() as jobs:
        assert (state["status"], "ending" in state, jobs.plans()) == ("closed", False, ["p"])
    near.refuses = set()
    with near.jobs(clock=lambda: time.time() + 600) as jobs:
        jobs.reconcile("p", near, talk=near)
    with near.jobs() as jobs:
        assert (len(near.said), jobs.plans()) == (1, [])


def test_orders_are_kept_and_what_is_asked_for_is_answered_in_one_reply(near: Near) -> None:
    first = said(near, "/hold t1 t2\n/resume t1\n/explain t1\n/waves")
    hear(near, first)
    held = {name for name in ("t1", "t2") if "held" in engine.record(near.up, name, "p")}
    assert held == {"t2"}
    (reply,) = near.said
    assert reply.count("```text") == 2
    assert near.signs == {first.id: "+1"}


def test_where_no_plan_is_told_of_a_stranger_is_answered_once_and_nothing_is_done(
    near: Near,
) -> None:
    near.heads = {8: "eve/shop", 9: ""}
    before = engine.refs(near.up)

    def answered(number: int, text: str, **about: Any) -> str:
        one = replace(said(near, text, "eve", **about), number=number)
        with near.jobs() as jobs:
            assert jobs.plan_at(number) == ""
            return jobs.answer_stranger(one, near, "alice/shop")

    assert answered(7, "/retry t1") == "", "it may be for another program"
    assert answered(7, "/gitflow retry t1") == "that was said"
    assert answered(7, "/gitflow retry t1") == "it was said before"
    assert answered(8, "/stop") == "that was said"
    assert answered(8, "/approve") == "it was said before"
    assert answered(8, "/stop", is_bot=True) == ""
    assert answered(9, "what a /stop") == ""
    assert [text.partition(" 7 -->")[0] for text in near.said] == [
        "<!-- gitflow-agents not-a-flow",
        "<!-- gitflow-agents fork",
    ]
    assert "A pull request from a fork takes no commands" in near.said[1]
    assert engine.refs(near.up) == before


def test_what_came_before_a_refused_listing_is_heard_when_there_is_one(near: Near) -> None:
    start = engine.state(near.up, "p")["accepted_at"]
    early, late = (replace(said(near, "/hold t1"), at=start + at) for at in (1, 3600))
    near.refuses = {"comments"}
    hear(near, late)
    assert came(near) == {f"{late.id}-1": ("done", "")}
    near.refuses, near.written = set(), [early, late]
    hear(near)
    assert came(near)[f"{early.id}-1"] == ("done", "")


# --- a crowd, and processes that die --------------------------------------------------------------


@pytest.fixture
def talk(repo: Repo, tmp_path: Path) -> Iterator[Talk]:
    """Return alice's repository on a GitHub."""
    with forge.serve(tmp_path / "hub") as hub:
        yield Talk(hub, repo, tmp_path / "jobs")


def crowd(talk: Talk, dice: random.Random) -> dict[int, tuple[str, str]]:
    """Let several people write at once, and return what came of each comment as it has to be."""
    wanted: dict[int, tuple[str, str]] = {}
    kinds: list[tuple[str, str, tuple[str, str]]] = [
        ("bob", "/hold t{n}", ("done", "")),
        ("bob", "/resume t{n}", ("done", "")),
        ("carol", '/feedback t{n} "use {k}"', ("done", "")),
        ("carol", "/explain t{n}", ("done", "")),
        ("alice", "LGTM {k}\n\n> /stop t{n}", ("", "")),
        ("eve", "```\n/stop t{n}\n```", ("", "")),
        ("mallory", "<!-- /stop t{n} --> {k}", ("", "")),
        ("eve", "/stop t{n}", ("refused", "not-allowed")),
        ("mallory", '/skip t{n} "$(touch owned) `id` {k}"', ("refused", "not-allowed")),
        ("carol", "thanks, t{n} looks good {k}", ("", "")),
        ("bob", "/retyr t{n}", ("refused", "unknown-verb")),
    ]
    for k in range(CROWD):
        who, text, outcome = dice.choice(kinds)
        one = talk.say(who, text.format(n=dice.randrange(1, 5), k=k))
        wanted[one.id] = outcome
    return wanted


def outcomes_of(wanted: dict[int, tuple[str, str]]) -> list[str]:
    """Return the outcomes of comments, empty where one asks for nothing."""
    return [status for status, _ in wanted.values()]


@pytest.mark.slow
def test_of_200_comments_each_is_done_once_in_order_whatever_is_lost_doubled_or_killed(
    talk: Talk,
) -> None:
    dice = random.Random(SEED)
    for login, role in (("bob", "maintain"), ("carol", "write"), ("eve", "read")):
        talk.join(login, role)
    talk.join("mallory", "none")
    talk.repo.write(".github/gitflow-agents.yml", "command_limit: 1000\n")
    talk.repo.commit("a crowd may speak")
    talk.begin(FIRST, *TASKS)
    wanted = crowd(talk, dice)
    comments = [talk.there.comments[number] for number in wanted]
    # A third of the events is lost, a third comes twice, and they come in any order.
    events = [one for one in comments for _ in range(dice.choice((0, 1, 2)))]
    dice.shuffle(events)
    deaths = 0
    for comment in events[:MOST_DEATHS]:
        dies_at = dice.randrange(1, 60)
        talk.hear(comment, dies_at=dies_at)
        deaths += talk.points >= dies_at
    for _ in range(MOST_JOBS):
        talk.hear(minutes=5)  # by then nobody else is about to answer
        done = talk.journal()
        if not talk.state.get("commands") and len(done) == sum(map(bool, outcomes_of(wanted))):
            break
    assert deaths > MOST_DEATHS / 3
    journal = talk.journal()
    outcomes = {int(k[:-2]): (v["status"], v.get("code", "")) for k, v in journal.items()}
    assert outcomes == {number: one for number, one in wanted.items() if one[0]}
    # Each changed what it had to, and in the order in which people spoke.
    for name in ("t1", "t2", "t3", "t4"):
        lines = [one.body for one in comments if one.author in ("bob", "carol")]
        holds = [line for line in lines if line.startswith((f"/hold {name}", f"/resume {name}"))]
        record = engine.record(talk.there.git, name, "p")
        assert bool(record.get("held")) == holds[-1].startswith("/hold")
        told = [
            line.partition('"')[2][:-1] for line in lines if line.startswith(f"/feedback {name}")
        ]
        assert [one["text"] for one in record["feedback"]] == told
    # Each was answered once, and by one sign.
    marks = [reply.partition("\n")[0] for reply in talk.replies()]
    assert sorted(marks) == sorted({*marks})
    asked = {
        int(key[:-2])
        for key, one in journal.items()
        if one.get("command", {}).get("verb") == "explain"
    }
    refused = {number for number, (status, _) in outcomes.items() if status == "refused"}
    idle = {int(key[:-2]) for key, one in journal.items() if not one.get("changed")}
    assert {*marks} == {replies.marker(number) for number in asked | refused | idle}
    signs = {one.id: talk.signs(one) for one in comments if wanted[one.id][0]}
    assert {len(some) for some in signs.values()} == {1}, signs
    assert engine.fsck(talk.there.git, "p") == ()
