"""A run at a terminal keeps the board, and the issues, of its plan in step by itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest

from gitflow_agents.board.memory import Index
from gitflow_agents.service import Service, following
from gitflow_agents.service.boarding import TOKEN
from gitflow_agents.store import boards
from tests import engine
from tests.engine import Played, task
from tests.forge import Hub, Project, Repository, server
from tests.repos import Repo

FIELDS = {"TM_ID": "TEXT", "Attempt": "NUMBER", "Ended": "DATE"}
BESIDE = "kept in step beside the work"


@dataclass
class Desk:
    """A repository that is on the hub, with a person who may write projects there."""

    repo: Repo
    hub: Hub
    shop: Repository
    board: Project
    monkeypatch: pytest.MonkeyPatch

    def begin(self, *scopes: str, **keys: Any) -> None:
        """Give alice a token with scopes, and the repository a config."""
        token = self.hub.person("alice", (self.shop, "admin"), scopes=scopes).text
        self.monkeypatch.setenv("GH_TOKEN", token)
        engine.config(self.repo, **keys)

    def run(self, *tasks: dict[str, Any], code: int = 0) -> Played:
        """Run a plan."""
        engine.plan(self.repo, *tasks)
        played = engine.go(self.repo)
        assert played.code == code, played.message
        return played

    @property
    def shown(self) -> dict[str, tuple[Any, ...]]:
        """Return the status and the attempt that cards show, by title."""
        cards = self.board.shown().items()
        return {title: (one.get("Status"), one.get("Attempt")) for title, one in cards}

    @property
    def remembered(self) -> Index:
        """Return what the state of the plan remembers of the board."""
        service = Service(str(self.repo.path))
        snapshot = service.store.load("p")
        assert snapshot is not None
        index = boards.index_of(service.repository, snapshot.tree)
        service.close()
        return index


@pytest.fixture
def desk(repo: Repo, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a desk with an empty board."""
    monkeypatch.setattr(following, "PAUSE", 0.05)
    shop = hub.repository("alice/shop", private=True)
    board = hub.project("alice", fields=FIELDS)
    board.choose_from("Status", ["pending", "in-progress", "QA Review", "done"])
    repo.git("remote", "add", "origin", f"{hub.base}/alice/shop.git")
    monkeypatch.setenv("GITHUB_API_URL", hub.api)
    monkeypatch.setenv("GITHUB_SERVER_URL", hub.base)
    for name in (TOKEN, "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return Desk(repo, hub, shop, board, monkeypatch)


def said(played: Played, event: str) -> list[str]:
    return [told.text for told in played.told if told.event == event]


def about_boards(played: Played) -> list[str]:
    return [text for text in said(played, "warning") if "the board" in text]


def test_a_board_shows_what_was_merged_when_the_run_ends(desk: Desk) -> None:
    desk.begin("project", projects={"plans": {"*": 1}})
    played = desk.run(
        task("1", "echo > a.txt", title="First"),
        task("2", "exit 3", title="Second"),
        code=4,
    )
    assert desk.shown == {"First": ("done", 1.0), "Second": ("in-progress", 1.0)}
    (began,) = [told for told in played.told if told.event == "run_started"]
    assert began.detail.splitlines()[-2:] == ["agents: command", f"board: {BESIDE}"]
    (told,) = said(played, "board_told")
    assert told.startswith("the board has 2 cards made and ")
    assert told.endswith("; it lacks some fields or choices: gitflow-agents sync p --create")
    assert about_boards(played) == []
    assert engine.fsck(desk.repo, "p") == ()


@pytest.mark.slow  # three more runs; that what is refused is told once is fast
def test_without_a_token_the_board_is_left_alone_in_one_line(desk: Desk) -> None:
    engine.config(desk.repo, projects={"plans": {"*": 1}})
    played = desk.run(task("1", "echo > a.txt", title="First"))
    (began,) = [told for told in played.told if told.event == "run_started"]
    last = began.detail.splitlines()[-1]
    assert (
        last
        == f"board: left alone; there is no token for the projects of {desk.hub.base.removeprefix('http://')}"
    )
    assert (about_boards(played), desk.shown, desk.hub.asked("POST /graphql")) == ([], {}, [])


def test_a_token_without_the_scope_is_told_once_and_noted_nowhere(desk: Desk) -> None:
    desk.begin("repo", projects={"plans": {"*": 1}})
    played = desk.run(*(task(each, f"echo > {each}.txt") for each in "12"))
    (warned,) = about_boards(played)
    assert warned.startswith("the board is left alone: the token lacks the scope `project`")
    assert desk.remembered == Index()


@pytest.mark.slow
def test_a_forge_that_is_away_keeps_no_run(desk: Desk) -> None:
    desk.begin("project", projects={"plans": {"*": 1}})
    desk.hub.refuse("POST /graphql", trouble="away", times=99)
    first, *_, last = about_boards(desk.run(task("1", "echo > a.txt")))
    assert first.startswith("the board is behind: board 1 of alice could not be read")
    assert last == "the board is behind; gitflow-agents sync p goes on"
    assert desk.repo.git("log", "-1", "--format=%s", "flow/p")


@pytest.mark.slow
def test_a_run_that_is_waited_for_leaves_what_takes_long(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE", 0.1)
    monkeypatch.setattr(server, "PATIENCE", 2.0)  # it hangs for so long
    desk.begin("project", projects={"plans": {"*": 1}})
    desk.hub.refuse("POST /graphql", trouble="silent", times=99)
    played = desk.run(task("1", "echo > a.txt"))
    assert about_boards(played) == ["the board is behind; gitflow-agents sync p goes on"]
    desk.hub.heal()
    for thread in threading.enumerate():
        if thread.name == "the board of p":
            thread.join(60)


@pytest.mark.slow
def test_issues_are_there_when_a_run_begins_and_closed_when_it_has_merged(desk: Desk) -> None:
    desk.begin("repo", issues=True)
    desk.run(
        task("1", "echo > a.txt", title="First"),
        task("2", "echo > b.txt", title="Second", depends_on=["1"]),
    )
    issues = {one.title: one for one in desk.shop.issues.values()}
    first, second = issues["1: First"], issues["2: Second"]
    assert (first.reason, second.reason) == ("completed", "completed")
    # What starts later than at once has its issue as soon as GitHub has made it.
    assert f"claim 1: First (#{first.number})" in desk.repo.git("log", "--format=%s", "flow/p")


@pytest.mark.slow
def test_what_happens_close_together_is_told_at_once(desk: Desk) -> None:
    desk.monkeypatch.setattr(following, "PAUSE", 60.0)  # until the run ends there is one look
    desk.begin("project", projects={"plans": {"*": 1}})
    desk.run(*(task(f"{n}", f"echo > {n}.txt", title=f"Task {n}") for n in range(1, 9)))
    assert {*desk.shown.values()} == {("done", 1.0)}
    assert len(desk.hub.asked("POST /graphql")) <= 2 * 8
