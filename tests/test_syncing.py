"""A board in step with its plan: what is written, how often, and what becomes of people's changes.

The board is one of the fake GitHub; the plan is a real one of three tasks, on which people act.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.board.memory import FOLDER, Index
from gitflow_agents.board.report import Report
from gitflow_agents.forge import Comment, ForgeDown, ForgeRefused
from gitflow_agents.github import GitHub
from gitflow_agents.render import utc
from gitflow_agents.service import Service, boarding, fsck
from gitflow_agents.service.boarding import HAS_TOKEN, TOKEN, Boarding
from gitflow_agents.service.boardjobs import BoardJobs
from gitflow_agents.service.boardnotes import LAG_SECONDS
from gitflow_agents.service.commanding import Words
from gitflow_agents.service.syncing import MOST_TRIES, Asked, Pace, Syncing
from gitflow_agents.store import Draft, boards
from tests import engine, repos
from tests.forge import Hub, Project, Token
from tests.near_forge import Near
from tests.repos import Cli, Repo

PLAN = """
plan: auth
goal: Users can log in
tasks:
  - {id: "1", title: User model, description: d, run: "true"}
  - {id: "2", title: Login, description: d, run: "true", depends_on: ["1"]}
  - {id: "3", title: Logout, description: d, run: "true"}
"""
FIELDS = {
    "TM_ID": "TEXT",
    "Plan": "TEXT",
    "Attempt": "NUMBER",
    "Started": "DATE",
    "Priority": ["high", "medium", "low"],
}


MISSING = (
    "Assignee",
    "Dependencies",
    "Test Strategy",
    "Wave",
    "Agent",
    "Cost",
    "Run",
    "Estimate",
    "Ended",
    "Reason",
)


@dataclass
class Day:
    """One plan and its board, and what people do with both."""

    repo: Repo
    hub: Hub
    board: Project
    token: Token
    plan: str = "auth"
    said: list[str] = field(default_factory=list)
    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.cli = Cli(self.repo)
        self.service = Service(str(self.repo.path), clock=lambda: self.now)

    @property
    def attempt_began(self) -> float:
        """Return when the first attempt at the first task began."""
        snapshot = self.service.store.load(self.plan)
        assert snapshot is not None
        return snapshot.record("1").attempts[0].started_at

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def boarding(self) -> Boarding:
        api, server = self.hub.api, self.hub.base
        github = GitHub("acme/shop", self.token.text, api=api, server=server, branch="main")
        return Boarding(github, Pace(), self.said.append)

    def syncing(self) -> Syncing:
        """Return who keeps the board, as another process would."""
        snapshot = self.service.store.load(self.plan)
        how = boarding.shown(self.service.config, self.plan, str(self.board.number))
        assert snapshot is not None
        assert how is not None
        desk = self.service.desk(snapshot, lambda told: None)
        return self.boarding().syncing(desk, replace(how, owner=self.board.owner))

    def sync(self, **asked: Any) -> Report:
        """Bring the board in step."""
        return self.syncing().go(Asked(**asked))

    def act(self, *words: str) -> None:
        """Do something at the terminal."""
        done = self.cli(*words)
        assert done.exit_code == 0, done.stderr

    @property
    def index(self) -> Index:
        """Return what the state remembers of the board as a whole."""
        snapshot = self.service.store.load(self.plan)
        assert snapshot is not None
        return boards.index_of(self.service.repository, snapshot.tree)


@pytest.fixture(scope="module")
def begun(template: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return a repository with a plan that was accepted, and nothing of it begun."""
    repo = repos.copy(template, tmp_path_factory.mktemp("begun") / "repo")
    repo.write("plans/auth.yaml", PLAN)
    repo.commit("plan")
    service = Service(str(repo.path))
    service.accepted("auth", PLAN.encode(), service.store, lambda told: None)
    service.close()
    return repo


@pytest.fixture
def day(begun: Repo, hub: Hub, tmp_path: Path) -> Iterator[Day]:
    """Return a board with our fields, one of them without choices, and a plan for it."""
    hub.organisation("acme", "alice")
    board = hub.project("acme", fields=FIELDS)
    board.choose_from("Status", ["Todo", "pending", "in-progress", "QA Review", "done"])
    token = hub.person("alice", scopes=("project",))
    made = Day(repos.copy(begun, tmp_path / "own"), hub, board, token)
    yield made
    made.service.close()


def drop(day: Day, title: str) -> None:
    """Take a card off the board, as a person does."""
    day.board.delete(day.board.card(title))


def forget(day: Day) -> None:
    """Take all that is remembered of the board out of the state."""
    snapshot = day.service.store.load(day.plan)
    assert snapshot is not None
    draft = Draft(snapshot)
    files = day.service.repository.files(snapshot.tree)
    draft.files |= dict.fromkeys((path for path, _ in files if path.startswith(FOLDER)), None)
    draft.tell("board_noted", note="forgotten")
    day.service.store.commit(draft)


SHOWN = {
    title: {"TM_ID": str(number), "Plan": "auth", "Status": "pending", "Priority": "medium"}
    for number, title in enumerate(("User model", "Login", "Logout"), 1)
}


# What is written.


def test_new_cards_take_three_requests_a_change_two_and_nothing_none(day: Day) -> None:
    assert (day.sync().created, day.board.shown()) == (["1", "2", "3"], SHOWN)
    asked = [day.sync().requests]
    day.act("take", "1")
    day.act("skip", "3", "-m", "not now")
    came = day.sync()
    asked += [came.requests, day.sync().requests, day.sync(is_full=True).requests]
    taken = {"Status": "in-progress", "Attempt": 1.0, "Started": utc(day.attempt_began)[:10]}
    assert day.board.shown() == {"User model": SHOWN["User model"] | taken, "Login": SHOWN["Login"]}
    assert (came.updated, asked) == (["1", "3"], [0, 2, 0, 1])
    assert fsck.check(day.service.store, "auth").findings == ()


def test_a_dry_run_says_the_writes_and_does_none(day: Day) -> None:
    came = day.sync(dry_run=True)
    kinds = [type(one).__name__ for one in came.writes["1"]]
    assert kinds == ["AddDraft", *["SetValue"] * 4]
    assert (day.board.shown(), day.index) == ({}, Index())


def test_a_person_who_moved_a_card_is_reported_and_left_alone_until_there_is_news(day: Day) -> None:
    day.sync()
    day.board.set(day.board.card("Login"), "Status", "done")
    drop(day, "Logout")
    kept = day.sync(is_full=True)
    assert [(one.task, one.field, one.theirs) for one in kept.drift] == [
        ("2", "Status", "done"),
        ("3", "card", "taken off the board"),
    ]
    day.act("skip", "2", "-m", "no")
    assert [*day.board.shown()] == ["User model", "Login"]
    came = day.sync()
    assert ([*day.board.shown()], came.updated) == (["User model"], ["2"])
    day.sync(overwrite=True)
    assert [*day.board.shown()] == ["User model", "Logout"]


def test_what_was_refused_is_reported_and_written_by_the_next_pass(day: Day) -> None:
    day.hub.refuse("GRAPHQL * updateProjectV2ItemFieldValue", 422)
    came = day.sync()
    assert ([*came.failed], day.index.told) == (["1"], "")
    again = day.sync()
    assert (again.updated, day.board.shown()) == (["1"], SHOWN)


@pytest.mark.slow
def test_what_is_always_refused_is_not_tried_for_ever(day: Day) -> None:
    day.sync()
    day.act("take", "1")
    day.hub.refuse("GRAPHQL * updateProjectV2ItemFieldValue", 422, times=-1)
    tried = [[*day.sync().failed] for _ in range(MOST_TRIES + 1) if day.syncing().is_due]
    assert tried == [["1"]] * MOST_TRIES
    day.hub.heal()
    day.act("skip", "3", "-m", "no")
    assert (day.sync().updated, day.index.tries) == (["1", "3"], 0)


def test_another_board_in_the_config_is_filled_without_any_news(day: Day) -> None:
    day.sync()
    day.board = day.hub.project("acme", fields=FIELDS)
    day.board.choose_from("Status", ["pending"])
    due = [day.syncing().is_due]
    day.sync()
    assert (day.board.shown(), [*due, day.syncing().is_due]) == (SHOWN, [True, False])


# Never twice.


def test_cards_of_which_nobody_heard_are_found_and_not_made_again(day: Day) -> None:
    day.hub.refuse("GRAPHQL w2 addProjectV2DraftIssue", "lost")
    with pytest.raises(ForgeDown):
        day.sync()
    # A listing may lack them for a while.
    assert day.sync().left == "somebody else is writing to the board"
    day.pass_time(LAG_SECONDS + 1)
    day.sync()
    assert (day.board.shown(), len(day.board.cards)) == (SHOWN, 3)


def test_who_finds_another_writer_leaves_the_board_alone(day: Day) -> None:
    other = Day(day.repo, day.hub, day.board, day.token)
    met: list[str] = []

    def meet(asked: str) -> None:
        if asked == "POST /graphql" and day.index.writer and not met:
            met.append(other.sync().left)

    day.hub.before = meet
    day.sync()
    assert (met, day.board.shown()) == (["somebody else is writing to the board"], SHOWN)
    other.service.close()


def test_a_sync_goes_on_until_it_has_told_what_happened_meanwhile(day: Day) -> None:
    acted: list[str] = []

    def act(asked: str) -> None:
        if asked == "POST /graphql" and day.index.writer and not acted:
            acted.append("skip 3")
            day.act("skip", "3", "-m", "no")

    day.hub.before = act
    day.sync()
    assert (acted, [*day.board.shown()]) == (["skip 3"], ["User model", "Login"])


def test_without_its_memory_it_finds_its_cards_and_keeps_what_people_changed(day: Day) -> None:
    day.sync()
    day.board.set(day.board.card("Login"), "Priority", "high")
    forget(day)
    came = day.sync()
    assert (came.created, came.updated, len(day.board.cards)) == ([], [], 3)
    assert [(one.task, one.field) for one in came.drift] == [("2", "Priority")]
    assert day.board.shown()["Login"]["Priority"] == "high"


def test_a_card_that_only_has_the_title_of_a_task_waits_for_a_word(day: Day) -> None:
    theirs = day.board.draft("Login", "what we want")
    came = day.sync()
    assert (came.waiting, came.created, day.sync().requests) == (("2",), ["1", "3"], 0)
    assert day.sync(adopt=True).waiting == ()
    assert (len(day.board.cards), day.board.values(theirs)["TM_ID"]) == (3, "2")
    assert theirs.body == "what we want"


def test_a_job_makes_some_cards_and_leaves_the_rest_to_the_next(day: Day) -> None:
    came = [day.sync(most_new=2), day.sync(most_new=2)]
    assert [one.created for one in came] == [["1", "2"], ["3"]]
    assert [one.is_behind for one in came] == [True, False]


def test_a_card_that_waits_for_a_word_takes_no_others_place(day: Day) -> None:
    day.board.draft("User model")
    came = [day.sync(most_new=1), day.sync(most_new=1)]
    assert [(one.created, one.is_behind) for one in came] == [(["2"], True), (["3"], False)]


def test_more_cards_than_github_takes_in_a_minute_wait() -> None:
    now = [0.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(sleep, lambda: now[0])
    for _ in range(30):
        pace.wait(20, lambda text: None)
        now[0] += 1
    made = list(pace.made)
    assert (len(slept), len(made), max(slept) > 3000) == (len(slept), 500, True)
    assert all(sum(0 <= later - at < 60 for later in made) <= 80 for at in made)


# A board that lacks something.


@pytest.mark.slow
def test_no_card_is_read_for_a_choice_that_the_board_lacks_until_it_has_that(day: Day) -> None:
    day.board.choose_from("Status", ["Todo"])
    day.sync()
    day.act("skip", "3", "-m", "no")
    came = day.sync()
    (read,) = (one.body for one in day.hub.asked("POST /graphql")[-2:] if "Look" in str(one.body))
    assert (came.updated, len(read["variables"]["items"])) == (["3"], 1)
    day.board.choose_from("Status", ["Todo", "pending"])
    day.act("take", "1")
    assert day.sync().updated == ["1", "2"]
    assert day.board.shown()["Login"]["Status"] == "pending"


@pytest.mark.parametrize(
    "is_dated",
    [
        pytest.param(True, marks=pytest.mark.slow),  # it reads another schema
        False,
    ],
)
def test_fields_and_choices_are_made_and_nobody_loses_what_they_had_chosen(
    day: Day, is_dated: bool
) -> None:
    day.hub.is_dated = is_dated
    day.board.choose_from("Status", ["Todo", "Later"])
    theirs = day.board.draft("A card of theirs", Status="Later")
    away = day.board.draft("Put away", Status="Later")
    day.board.archive(away)
    came = day.sync(creates=True)
    choices = [one.name for one in day.board.named("Status").choices]
    assert choices == ["Todo", "Later", "pending", "in-progress", "QA Review", "done"]
    assert day.board.values(theirs) == {"Status": "Later"}
    assert day.board.shown()["Login"]["Dependencies"] == "1"
    assert (came.unmade, day.index.choices, away.is_archived) == ({}, {}, True)
    # The forge keeps the name Assignee for itself.
    assert day.board.named("TM_Assignee").kind == "TEXT"
    assert day.sync(is_full=True).missing == ()


@pytest.mark.slow  # what each kind of token lacks is told in `test_projects`, too
def test_a_token_without_the_scope_is_told_so_once(day: Day) -> None:
    day.token = day.hub.person("alice", scopes=("repo", "read:project"))
    syncing = [day.syncing(), day.syncing()]
    for one in syncing:
        with pytest.raises(ForgeRefused, match="lacks the scope `project`"):
            one.go(Asked())
    assert [one.is_news for one in syncing] == [True, False]
    assert (syncing[0].is_due, day.index.writer, day.board.cards) == (False, None, {})
    day.token = day.hub.person("alice", scopes=("project",))
    day.sync(is_full=True)
    assert (day.board.shown(), day.index.refused) == (SHOWN, "")


def test_a_field_of_another_kind_is_refused_before_anything_is_written(day: Day) -> None:
    day.board.add_field("Wave", "TEXT")
    with pytest.raises(ForgeRefused, match="the board's field `Wave` is a text"):
        day.sync()
    assert day.board.cards == {}


def test_a_field_that_the_config_calls_otherwise_is_filled_without_any_news(day: Day) -> None:
    day.sync()
    day.board.add_field("Id", "TEXT")
    syncing = day.syncing()
    syncing.shown = replace(syncing.shown, names={**syncing.shown.names, "TM_ID": "Id"})
    assert syncing.is_due
    assert syncing.go(Asked()).drift == []
    login = day.board.shown()["Login"]
    assert (login["Id"], login["TM_ID"]) == ("2", "2")  # the old one is left as it is
    assert not syncing.is_due


@pytest.mark.slow  # the same way as another name
def test_a_field_that_was_deleted_and_made_again_is_filled(day: Day) -> None:
    day.sync()
    day.board.delete_field("Plan")
    day.sync(is_full=True)
    day.board.add_field("Plan", "TEXT")
    assert day.sync(is_full=True).drift == []
    assert day.board.shown()["Login"]["Plan"] == "auth"


# At a terminal.


@pytest.fixture
def terminal(day: Day, monkeypatch: pytest.MonkeyPatch) -> Day:
    """Return the same, with the board's token in the environment and the repository on the hub."""
    day.repo.git("remote", "add", "origin", f"{day.hub.base}/acme/shop.git")
    for name, value in (
        ("GITHUB_API_URL", day.hub.api),
        ("GITHUB_SERVER_URL", day.hub.base),
        (TOKEN, day.token.text),
    ):
        monkeypatch.setenv(name, value)
    return day


def test_at_a_terminal_it_says_what_it_would_write_then_what_it_wrote(terminal: Day) -> None:
    where = f"{terminal.hub.base}/orgs/acme/projects/1"
    dry = terminal.cli("sync", "--project", where, "--dry-run")
    lacks = f"  the board has no fields {', '.join(f'`{name}`' for name in MISSING)}"
    hint = "hint: what the board lacks is left out: gitflow-agents sync auth --create makes it\n"
    assert (dry.exit_code, dry.stderr, dry.stdout) == (
        0,
        "",
        "".join(
            f"{number}: make the card: {title}\n"
            f"{number}: set TM_ID to {number}\n"
            f"{number}: set Status to pending\n"
            f"{number}: set Priority to medium\n"
            f"{number}: set Plan to auth\n"
            for number, title in enumerate(SHOWN, 1)
        )
        + f"the board of auth ({where}): 3 cards to make, 0 to change, 0 unchanged, 0 failed; "
        f"3 requests\n{lacks}\n{hint}",
    )
    assert terminal.board.cards == {}
    done = terminal.cli("sync", "auth", "--project", "1", "--json")
    assert (done.exit_code, done.json["created"], done.json["requests"]) == (0, ["1", "2", "3"], 5)
    assert terminal.board.shown() == SHOWN


def test_the_issues_and_the_cards_of_one_person_keep_one_pace(terminal: Day) -> None:
    service = Service(str(terminal.repo.path))
    made = boarding.Terminal(service)
    assert made.boarding.pace is made.pace
    service.close()


@pytest.mark.slow  # two commands; that the answer to a card may be lost is fast
def test_a_project_is_made_once_though_the_answer_was_lost(terminal: Day) -> None:
    terminal.hub.refuse("GRAPHQL * createProjectV2", trouble="lost")
    terminal.hub.project("acme", "Plan auth").draft("somebody's")
    lost = terminal.cli("sync", "auth", "--create", check=False)
    assert lost.exit_code != 0
    assert len(terminal.hub.projects) == 3
    terminal.cli("sync", "auth", "--create")
    assert len(terminal.hub.projects) == 3
    assert {*terminal.hub.projects[-1].shown()} == {*SHOWN}


@pytest.mark.slow  # a project, its fields, its views and its cards; that fields are made is fast
def test_a_board_is_made_for_a_plan_that_has_none(terminal: Day) -> None:
    dry = terminal.cli("sync", "auth", "--create", "--dry-run")
    assert "a project is made first" in dry.stdout
    done = terminal.cli("sync", "auth", "--create")
    assert "the config has to name it: projects: {owner: acme, plans: {auth: 2}}" in done.stdout
    made = terminal.hub.projects[-1]
    views = [(one["name"], one["layout"]) for one in made.views]
    assert (made.title, made.owner, views[-2:]) == (
        "Plan auth",
        "acme",
        [("Board", "board"), ("Roadmap", "roadmap")],
    )
    assert {one.name for one in made.fields} >= {"TM_ID", "Plan", "Started", "Ended", "Reason"}
    assert made.shown()["Login"] == made.shown()["Login"] | SHOWN["Login"]
    before = len(terminal.hub.projects)
    again = terminal.cli("sync", "auth", "--create")  # before the config names it
    assert ("3 unchanged" in again.stdout, len(terminal.hub.projects)) == (True, before)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("auth",), 1, "no board shows plan auth"),
        (("auth", "--project", "nowhere"), 2, "nowhere is no project"),
        (("auth", "--project", "9"), 1, "there is no board 9 of acme that this token may see"),
        (("auth", "--project", "https://github.com/orgs/acme/projects/1"), 2, "is on github.com"),
        (("auth", "--all"), 2, "--all and a plan cannot be given together"),
        (("other", "--project", "1"), 1, "there is no plan other"),
    ],
)
def test_what_cannot_be_synced_is_refused_in_a_sentence(
    terminal: Day, words: tuple[str, ...], code: int, said: str
) -> None:
    done = terminal.cli("sync", *words, check=False)
    assert (done.exit_code, done.stdout, said in done.stderr) == (code, "", True), done.stderr


@pytest.mark.slow  # that they wait is fast
def test_without_a_token_a_person_is_told_which_one_it_takes(
    terminal: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN)
    done = terminal.cli("sync", "auth", "--project", "1", check=False)
    assert done.exit_code == 1
    assert "there is no token for the projects of 127.0.0.1" in done.stderr
    assert f"--scopes project, or set {TOKEN} to a token that may write projects" in done.stderr
    assert terminal.board.cards == {}


def test_cards_that_wait_for_a_word_have_a_code_of_their_own(terminal: Day) -> None:
    terminal.board.draft("Login")
    assert terminal.cli("sync", "--project", "1", check=False).exit_code == 4
    assert terminal.cli("sync", "--project", "1", "--no-adopt").exit_code == 0
    titles = sorted(card.title for card in terminal.board.cards.values())
    assert titles == ["Login", "Login", "Logout", "User model"]


# Who asks for it in a comment.


@pytest.mark.slow  # three jobs; that a token is missing is told is fast
def test_who_asks_for_it_in_a_comment_has_one_answer_that_says_what_was_written(
    repo: Repo, hub: Hub, tmp_path: Path
) -> None:
    board = hub.project("alice", fields={"TM_ID": "TEXT"})
    token = hub.person("alice", scopes=("project",)).text
    github = GitHub("alice/shop", token, api=hub.api, server=hub.base, branch="main")
    repo.write(".github/gitflow-agents.yml", f"projects: {{plans: {{p: {board.number}}}}}\n")
    engine.plan(repo, engine.task("1", "true", title="First"), name="p")
    repo.commit("plan p")
    up = repo.clone(tmp_path / "up.git", bare=True)
    up.git("branch", "plan/p", "main")
    near = Near(up, tmp_path, environ={HAS_TOKEN: "true"})
    with near.jobs() as jobs:
        jobs.reconcile("p", near)
        at = engine.state(up, "p")["accepted_at"]
        asked = Comment(1, 1, "/sync\n/sync --dry-run", "alice", 7, at)
        snapshot = jobs.reconcile("p", near, words=Words((asked,)), talk=near)
        # The job that heard it has no token: it says nothing, and that another one is needed.
        assert (near.said, BoardJobs(jobs).is_behind(snapshot, github)) == ([], True)
        for _ in range(2):
            BoardJobs(jobs).sync("p", Boarding(github), Asked(), forge=near, talk=near)
        snapshot = jobs.reconcile("p", near)
        assert not BoardJobs(jobs).is_behind(snapshot, github)
    (reply,) = near.said
    assert "1 card made, 0 changed, 0 unchanged, 0 failed" in reply
    assert "0 cards to make, 0 to change, 1 unchanged" in reply
    assert [*board.shown()] == ["First"]


@pytest.mark.slow  # two jobs; with a token it is the same way
def test_where_no_job_has_a_token_who_asks_is_told_so(repo: Repo, tmp_path: Path) -> None:
    repo.write(".github/gitflow-agents.yml", "projects: {plans: {p: 1}}\n")
    engine.plan(repo, engine.task("1", "true"), name="p")
    repo.commit("plan p")
    up = repo.clone(tmp_path / "up.git", bare=True)
    up.git("branch", "plan/p", "main")
    near = Near(up, tmp_path)
    with near.jobs() as jobs:
        jobs.reconcile("p", near)
        asked = Comment(1, 1, "/sync", "alice", 7, engine.state(up, "p")["accepted_at"])
        jobs.reconcile("p", near, words=Words((asked,)), talk=near)
    (reply,) = near.said
    assert "`/sync` was refused: no board can be written: the secret" in reply
