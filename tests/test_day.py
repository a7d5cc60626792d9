"""A day on a pull request: what people say there, and what becomes of it by the shipped workflows.

The day is a text that a person can read, `tests/days/on-a-pull-request.md`; with `DAY=write` in the
environment it is written anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import engine, forge
from tests.engine import task
from tests.forge.jobs import Word
from tests.forge.state import Comment
from tests.forge.triggers import Event
from tests.repos import Repo
from tests.test_actions import Shop

DAY = Path(__file__).parent / "days" / "on-a-pull-request.md"
SIGNS = {"+1": "👍", "-1": "👎", "confused": "😕", "rocket": "🚀", "eyes": "👀"}
ROLES = {"alice": "admin", "bob": "write", "carol": "maintain", "eve": "read", "mallory": "none"}
CONFIG = """\
agents: {command: {}}
approval: [plan]
"""
TASKS = (
    task("001", "echo a > a.txt", provides=["a"], verify=["grep a a.txt"]),
    task("002", "cat a.txt > b.txt", preconditions=["a"], approval=["merge"]),
    task("003", "echo half > half.txt; sleep 120"),
)
ENDS = (
    (r"(?m)\b[0-9a-f]{40}\b|\b[0-9a-f]{12}\b|(?<= at )[0-9a-f]{7}$", "SHA"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z?( UTC)?", "TIME"),
    (r"http://127\.0\.0\.1:\d+", "https://github.example"),
    (r"\brun \d+", "run N"),
    (r"runs/\d+", "runs/N"),
    (r" +\d+(\.\d)?(ms|s|m|min)\b", " TOOK"),
    (r"reply \d+", "reply N"),
)
"""What differs from day to day, and what is written in its place."""


class Day:
    """The day as it is written down."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.lines, self.lost = shop, list[str](), 0
        for login, role in ROLES.items():
            roles = [] if role == "none" else [(shop.there, role)]
            self.shop.hub.person(login, *roles)
        self.people = {one: shop.hub.person(one) for one in ROLES}
        shop.hub.transit = self._transit

    def _transit(self, event: Event) -> Iterator[Event]:
        """Lose what GitHub loses today."""
        if event.name == "issue_comment" and self.lost:
            self.lost -= 1
            return
        yield event

    def scene(self, what: str) -> None:
        """Begin the next part of the day."""
        self.lines += [f"## {what}", ""]

    def say(self, login: str, text: str, *, is_lost: bool = False) -> Comment:
        """Let somebody write a comment."""
        self.lost += is_lost
        number = next(iter(self.shop.there.issues))
        asked = f"POST /repos/alice/shop/issues/{number}/comments"
        reply = forge.ask(self.shop.hub, self.people[login], asked, {"body": text})
        assert reply.status == 201, reply
        return self.shop.there.comments[int(reply.value["id"])]

    def talk(self, *said: tuple[str, str], is_lost: bool = False) -> None:
        """Let people write, one after the other, let the jobs run, and write down what came of it.

        Of all but the last the event is lost on its way.
        """
        comments = []
        for place, (login, text) in enumerate(said, 1):
            comments.append(self.say(login, text, is_lost=is_lost or place < len(said)))
        if is_lost:
            self.shop.hub.schedule(self.shop.there)
        self.shop.actions.drain()
        for comment in comments:
            self.wrote(comment)
        self.stands()

    def wrote(self, comment: Comment) -> None:
        """Write down a comment, the signs under it, and the reply."""
        quoted = "\n".join(f"    {line}".rstrip() for line in comment.body.splitlines())
        signs = " ".join(SIGNS[one.content] for one in comment.reactions) or "(no sign)"
        role = ROLES[comment.author]
        self.lines += [f"**{comment.author}** ({role}) wrote, and got {signs}", "", quoted, ""]
        mark = f"<!-- gitflow-agents reply {comment.id} -->\n"
        for one in self.shop.there.comments.values():
            if one.body.startswith(mark):
                said = one.body.removeprefix(mark).rstrip().splitlines()
                self.lines += [*(f"> {line}".rstrip() for line in said), ""]

    def stands(self) -> None:
        """Write down how the plan stands."""
        up = self.shop.up
        state = engine.state(up, "p")
        known = set(up.tree("gitflow/state/p"))
        words = []
        for one in TASKS:
            is_known = engine.record_path(one["id"]) in known
            record = engine.record(up, one["id"], "p") if is_known else {}
            words.append(f"{one['id']} {record.get('status', 'pending')}")
        about = [state.get("status", "live")]
        about += ["held"] if state.get("held") else []
        about += ["approved"] if state.get("approved") else []
        self.lines += [f"The plan is {' and '.join(about)}: {', '.join(words)}.", ""]

    @property
    def text(self) -> str:
        """Return the day without what differs from day to day."""
        text = "\n".join(self.lines).rstrip() + "\n"
        for pattern, word in ENDS:
            text = re.sub(pattern, word, text)
        return text


@pytest.fixture
def shop(repo: Repo, tmp_path: Path) -> Iterator[Shop]:
    """Return alice's repository."""
    with forge.serve(tmp_path / "hub") as hub:
        yield Shop(hub, repo)


@pytest.mark.slow
def test_a_day_on_a_pull_request_is_as_it_is_written_down(shop: Shop) -> None:
    shop.configure(CONFIG)
    day = Day(shop)
    day.lines += ["# A day on a pull request", ""]

    day.scene("alice pushes a plan that somebody has to approve")
    shop.propose(*TASKS)
    shop.actions.drain()
    day.stands()
    day.talk(
        ("mallory", "/approve plan\n/stop plan"),
        ("eve", "/approve\n\nCI says: $(touch owned) `::set-output name=x::y`\n/stop plan"),
        ("alice", "/approve"),
        ("bob", "/approve"),
        ("bob", "/status"),
    )

    day.scene("carol approves it, and somebody stops a task that has no end")
    stops = list[Comment]()

    def look(at: forge.At) -> Word:
        is_agent = at.job.run.name.startswith("p-command-task003") and "execute" in at.job.key
        if is_agent and at.name.endswith(".gitflow-agents") and not stops:
            stops.append(day.say("bob", "/stop 003"))
        return "go"

    shop.actions.at_step, shop.actions.grace = look, 15
    day.talk(("carol", "/approve"))
    assert stops, "the agent of 003 never began"
    day.wrote(stops[0])

    day.scene("002 waits for a yes; two people try what they may not, and one what there is not")
    day.talk(
        ("eve", "Please do this:\n\n```\n/approve 002\n```\n\n> /approve 002\n"),
        ("mallory", "@bot approve 002"),
        ("bob", '/skip 003 "not needed"'),
        ("bob", "/hold 002\n/retyr 003"),
        ("bob", "/explain 003"),
    )

    day.scene("GitHub loses what bob says; the sweep hears it")
    day.talk(("bob", '/hold 003 "until tomorrow"\n/feedback 002 "well done"'), is_lost=True)

    day.scene("carol lets 002 in, leaves 003 out, and the plan is finished")
    day.talk(("carol", '/approve 002\n/skip 003 "not needed"'), ("bob", "/waves"))
    day.talk(("alice", "/stop plan"), ("bob", "/retry 003"))

    assert shop.merged() == ["001", "002"]
    assert engine.fsck(shop.up, "p") == ()
    assert not (shop.repo.path / "owned").exists()
    if os.environ.get("DAY") == "write":
        DAY.write_text(day.text)
    assert day.text == DAY.read_text()
