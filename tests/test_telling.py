"""What GitHub shows of a plan: one comment and one check, written in one request, wherever that is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from gitflow_agents.commands import Hold, Unapprove
from gitflow_agents.forge import Check, ForgeRefused, Page
from gitflow_agents.github import GitHub
from gitflow_agents.models import (
    Approval,
    Attempt,
    Home,
    Limits,
    Plan,
    Reason,
    Status,
    TaskRecord,
)
from gitflow_agents.render.story import check, looked_at, matters, opening, summary
from gitflow_agents.service import Service
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.reviewing import agreed, approvals_of
from gitflow_agents.service.telling import Telling
from tests import engine, repos
from tests.engine import task
from tests.forge import Hub, Repository, Token, ask, push
from tests.near_forge import Near
from tests.repos import Repo
from tests.test_render import AUTH, DONE, NOW, snapshot

NO_LIMITS = Limits()
MARK = "<!-- gitflow-agents plan p -->"
RIGHTS = {"contents": "write", "pull-requests": "write", "issues": "write", "checks": "write"}

# --- what is shown -------------------------------------------------------------------------------

FAILED = TaskRecord(
    id="002",
    status=Status.FAILED,
    reason=Reason.AGENT_ERROR,
    message="ask @carol",
    attempts=(Attempt(number=1, url="https://github.com/alice/shop/actions/runs/7"),),
)


def test_a_check_has_a_line_a_task_and_pings_nobody() -> None:
    shown = check(snapshot(AUTH, [*DONE[:1], FAILED]), NO_LIMITS, NOW)
    assert (shown.sha, shown.title, shown.conclusion) == (
        "f" * 40,
        "running: 1 of 5 tasks merged",
        "",
    )
    assert shown.text.splitlines()[1] == (
        "- `002` failed (agent-error): ask @\u200bcarol"
        " ([run](https://github.com/alice/shop/actions/runs/7))"
    )
    assert len(shown.text.splitlines()) == 5
    assert shown.summary.startswith("**Waiting for you:** 1 thing\n")


@pytest.mark.parametrize(
    ("state", "conclusion"),
    [
        ({"status": "closed"}, "cancelled"),
        ({"held": "held by alice: she asks"}, ""),
        ({"approval": ["plan"]}, "action_required"),
    ],
)
def test_a_check_ends_only_when_nothing_moves_without_a_person(
    state: dict[str, Any], conclusion: str
) -> None:
    plan = {**AUTH, "approval": state.pop("approval", [])}
    assert check(snapshot(plan, **state), NO_LIMITS, NOW).conclusion == conclusion


def test_a_check_of_very_many_tasks_is_cut_at_a_line() -> None:
    said = "x" * 300
    ids = [str(n) for n in range(600)]
    plan = {"plan": "p", "goal": "g", "tasks": [task(id, "true") for id in ids]}
    failed = [FAILED.model_copy(update={"id": id, "message": said}) for id in ids]
    shown = check(snapshot(plan, failed), NO_LIMITS, NOW)
    assert len(shown.text) <= 60_000
    assert shown.text.splitlines()[-1].endswith("runs/7))")


def test_a_summary_says_what_is_ready_and_what_the_others_wait_for() -> None:
    lines = summary(snapshot(AUTH, DONE[:1]), NO_LIMITS, NOW).splitlines()
    assert lines[:5] == [
        "### `auth` is running: 1 of 5 tasks merged",
        "",
        "**Ready now:** 002, 005",
        "",
        "**Waiting for you:** nothing",
    ]
    assert lines[-4:] == [
        "| 002 Auth service | ready |  |  |  |",
        "| 003 Endpoints that answer with everything a client could ever w… | pending |  | 002 |  |",
        "| 004 Documents | pending |  | 003 |  |",
        "| 005 Container | ready |  |  |  |",
    ]


def test_an_issue_says_why_it_is_there_and_how_to_open_the_pull_request() -> None:
    text = opening(snapshot(AUTH), "it is not allowed by @carol", "https://x/compare")
    assert "(it is not allowed by @\u200bcarol)" in text
    assert "[open it](https://x/compare)" in text


# --- how it gets there ---------------------------------------------------------------------------


def page(sha: str, text: str = "one", conclusion: str = "") -> Page:
    """Return what is to be shown at a commit."""
    return Page(MARK, f"{MARK}\n{text}", Check(sha, "t", "s", "x", conclusion))


def github(hub: Hub, shop: Repository, but: str = "") -> GitHub:
    """Return the repository as a job of it sees it, without one of its rights."""
    rights = {name: level for name, level in RIGHTS.items() if name != but}
    token = hub.mint(shop, rights).text
    return GitHub("alice/shop", token, api=hub.api, server=hub.base, branch="main")


@pytest.fixture
def heads(hub: Hub, shop: Repository, repo: Repo, alice: Token) -> tuple[str, str]:
    """Return two commits that the branch flow/p has been at."""
    repo.git("switch", "--quiet", "--create", "flow/p")
    first = repo.commit("one")
    second = repo.commit("two")
    assert push(hub, repo, shop, alice, "flow/p") == ""
    return first, second


def asked(hub: Hub) -> list[str]:
    """Return the requests so far but those for git, without their repository."""
    said = [str(one) for one in hub.asked() if one.method != "GIT"]
    return [one.replace("/repos/alice/shop", "") for one in said]


def test_comment_and_check_are_brought_up_to_date_by_one_request(
    hub: Hub, shop: Repository, heads: tuple[str, str]
) -> None:
    first, second = heads
    there = github(hub, shop)
    home = there.tell(there.open("flow/p", "main", "p", "body"), page(first))
    before = len(asked(hub))
    home = there.tell(home, page(first, "two"))
    home = there.tell(home, page(second, "three"))
    home = there.tell(home, page(second, "four", "success"))
    assert len(asked(hub)) - before == 3
    (comment,) = shop.comments.values()
    assert (comment.id, comment.body) == (home.comment, f"{MARK}\nfour")
    shown = [(one.sha, one.name, one.conclusion) for one in shop.checks.values()]
    assert shown == [
        (first, "gitflow-agents", "neutral"),
        (second, "gitflow-agents", "success"),
    ]
    assert there.tell(home, page(second, "five")).check == home.check.model_copy(  # type: ignore[union-attr]
        update={"is_over": False}
    )
    assert [one.conclusion for one in shop.checks.values()] == ["neutral", None]


@pytest.mark.slow  # the way without any trouble is fast
def test_a_comment_that_somebody_deleted_is_written_again(
    hub: Hub, shop: Repository, heads: tuple[str, str]
) -> None:
    there = github(hub, shop)
    home = there.tell(there.open("flow/p", "main", "p", "body"), page(heads[0]))
    shop.comments.clear()
    home = there.tell(home, page(heads[1], "two"))
    assert [(one.id, one.body) for one in shop.comments.values()] == [
        (home.comment, f"{MARK}\ntwo")
    ]
    assert [one.conclusion for one in shop.checks.values()] == ["neutral", None]


def test_a_check_is_refused_once_a_commit_and_made_by_whoever_may_make_it(
    hub: Hub, shop: Repository, heads: tuple[str, str]
) -> None:
    first, second = heads
    less, there = github(hub, shop, but="checks"), github(hub, shop)
    home = less.tell(less.open("flow/p", "main", "p", "body"), page(first))
    home = less.tell(home, page(second))
    assert home.unchecked.startswith("the check could not be written: GitHub answered 403")
    assert (home.check, home.unchecked_at, shop.checks) == (None, second, {})
    before = len(asked(hub))
    assert less.tell(home, page(second, "two")) == home
    assert len(asked(hub)) - before == 1
    assert [one.body for one in shop.comments.values()] == [f"{MARK}\ntwo"]
    home = there.tell(home, page(first))
    assert (home.unchecked, home.unchecked_at) == ("", "")
    assert [(one.id, one.sha) for one in shop.checks.values()] == [
        (home.check and home.check.id, first)
    ]


@pytest.mark.parametrize("is_moved", [False, True])
def test_a_check_that_another_app_made_is_made_anew(
    hub: Hub, shop: Repository, heads: tuple[str, str], is_moved: bool
) -> None:
    there, head = github(hub, shop), heads[is_moved]
    home = there.tell(there.open("flow/p", "main", "p", "body"), page(heads[0]))
    token = hub.app(shop, RIGHTS).text
    other = GitHub("alice/shop", token, api=hub.api, server=hub.base, branch="main")
    home = other.tell(home, page(head, "two"))
    home = other.tell(home, page(head, "three", "success"))
    assert (home.unchecked, [one.body for one in shop.comments.values()]) == (
        "",
        [f"{MARK}\nthree"],
    )
    assert [(one.app, one.sha, one.conclusion) for one in shop.checks.values()] == [
        ("github-actions", heads[0], None),
        ("helper", head, "success"),
    ]


@pytest.mark.slow  # the way without any trouble is fast
def test_an_issue_of_a_plan_is_found_again_and_one_of_a_stranger_is_not(
    hub: Hub, shop: Repository, heads: tuple[str, str]
) -> None:
    there = github(hub, shop)
    stranger = hub.person("bob", (shop, "read"))
    asked_by = GitHub("alice/shop", stranger.text, api=hub.api, server=hub.base, branch="main")
    asked_by.report(MARK, "p", f"{MARK}\nmine")
    first = there.report(MARK, "p", f"{MARK}\nours")
    assert (first.issue, there.report(MARK, "p", "other")) == (2, first)
    home = there.tell(first, page(heads[0]))
    assert [one.number for one in shop.comments.values()] == [2]
    assert there.tell(home, page(heads[1])).check is not None
    there.close(2)
    assert [one.state for one in shop.issues.values()] == ["open", "closed"]
    with pytest.raises(ForgeRefused):
        github(hub, shop, but="issues").report("<!-- other -->", "p", "x")


# --- where it is ---------------------------------------------------------------------------------


@pytest.mark.slow  # what an issue says, and what is asked of GitHub for it, is fast
@pytest.mark.parametrize("by_hand", [True, False])
def test_an_issue_is_the_home_of_a_plan_until_there_is_a_pull_request(
    repo: Repo, tmp_path: Path, by_hand: bool
) -> None:
    up = repos.init(tmp_path / "up.git", bare=True)
    repo.git("push", "--quiet", str(up.path), "main")
    repo.git("switch", "--quiet", "--create", "plan/p")
    engine.plan(repo, task("1", "echo a > a.txt", verify=["grep a a.txt"]))
    repo.commit("plan p")
    repo.git("push", "--quiet", str(up.path), "plan/p")
    forge = Near(up, tmp_path, forbids_pulls=True)
    forge.reconcile()
    assert (list(forge.issues), engine.state(up)["home"]["issue"]) == ([50], 50)
    assert "compare/main...flow/p" in forge.issues[50]
    if by_hand:
        forge.pulls["flow/p"] = ("mine", "by hand")
        forge.turn()
    else:
        forge.forbids_pulls = False
    forge.finish()
    assert (forge.issues, list(forge.pulls), forge.ready) == ({}, ["flow/p"], {1})
    assert forge.said == ["The plan `p` is told of in its pull request now: #1\n"]
    assert forge.stories[101].splitlines()[1] == "### 100 %: 1 of 1 task merged"
    assert forge.checks[up.sha("flow/p")].conclusion == "success"
    assert engine.fsck(up) == ()


@pytest.mark.slow  # what people are told of is fast
def test_what_people_did_and_a_pass_that_could_start_nothing_are_told(
    repo: Repo, tmp_path: Path
) -> None:
    up = repos.init(tmp_path / "up.git", bare=True)
    repo.git("push", "--quiet", str(up.path), "main")
    repo.git("switch", "--quiet", "--create", "plan/p")
    engine.plan(repo, task("1", "echo a > a.txt", verify=["grep a a.txt"]))
    repo.commit("plan p")
    repo.git("push", "--quiet", str(up.path), "plan/p")
    forge = Near(up, tmp_path, refuses={"start"})
    with pytest.raises(ForgeRefused):
        forge.reconcile()
    assert "0 of 1 task merged" in forge.stories[101]
    forge.refuses.clear()
    with forge.jobs() as jobs:
        jobs.service.handle(Hold(), "p")
    forge.reconcile()
    assert "It is held" in forge.stories[101]
    told = list(forge.asked)
    forge.reconcile()
    assert forge.asked == told


def test_a_pull_request_that_another_pass_has_opened_is_taken(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge = Near(repo, tmp_path)

    def opened_before(head: str, *about: object, **more: object) -> Home:
        forge.pulls[head] = ("theirs", "")
        raise ForgeRefused("A pull request already exists", status=422)

    monkeypatch.setattr(forge, "open", opened_before)
    repo.identify()
    service = Service(str(repo.path))
    try:
        desk = service.desk(service._accepted(engine.plan(repo, task("1", "true")), print), print)
        assert Telling(Reconciler(desk), forge, Limits()).end() == ""
        home = desk.snapshot.state.home
    finally:
        service.close()
    assert home is not None
    assert (home.pull, home.issue, forge.asked.count("find")) == (1, 0, 2)


# --- a pull request a task -----------------------------------------------------------------------


class Canned(GitHub):
    """GitHub that answers these paths with these values, and knows nothing else."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__("alice/shop", "", api="http://localhost", server="", branch="main")
        self.answers = answers

    def ask(self, verb: str, path: str, what: str, **about: Any) -> Any:
        for end, value in self.answers.items():
            if path.endswith(end):
                return value
        raise ForgeRefused(f"{path} is not there", status=404)


def said(who: str, state: str, second: int) -> dict[str, Any]:
    """Return a review of the commit `a`."""
    user = {"login": who, "id": len(who), "type": "User"}
    at = f"1970-01-01T00:00:{second:02}Z"
    return {"user": user, "state": state, "commit_id": "a", "submitted_at": at}


@pytest.mark.slow
def test_what_people_said_last_of_a_pull_request_is_known_with_what_they_may(
    hub: Hub, shop: Repository, heads: tuple[str, str], repo: Repo, alice: Token
) -> None:
    first, second = heads
    there = github(hub, shop)
    shop.allow_drafts = False
    with pytest.raises(ForgeRefused, match="Draft pull requests are not supported"):
        there.open("flow/p", "main", "p", "body", only_draft=True)
    pull = there.open("flow/p", "main", "p", "body").pull
    bob = hub.person("bob", (shop, "maintain"))
    carol = hub.person("carol", (shop, "write"))

    def review(who: Token, event: str, sha: str) -> dict[str, tuple[bool, str]]:
        about = {"event": event, "commit_id": sha, "body": "x"}
        assert ask(hub, who, f"POST /repos/alice/shop/pulls/{pull}/reviews", about).status == 200
        return {one.login: (one.is_yes, one.sha) for one in there.reviews(pull)}

    assert review(carol, "APPROVE", second) == {"carol": (True, second)}
    assert review(bob, "APPROVE", first)["bob"] == (True, first)
    assert review(bob, "APPROVE", second)["bob"] == (True, second)
    assert review(bob, "COMMENT", first)["bob"] == (True, second)
    assert review(bob, "REQUEST_CHANGES", second)["bob"] == (False, second)
    known = {one.login: one.id for one in there.reviews(pull)}
    levels = [there.level(who, known[who]) for who in ("bob", "carol")]
    assert levels == ["maintain", "write"]
    assert there.level("bob", known["carol"]) == ""
    assert there.level("eve", known["carol"]) == ""
    # Who wrote and who committed something, as far as these are accounts here.
    mail = f"carol <{known['carol']}+carol@users.noreply.127.0.0.1>"
    assert there.authors(second) == ()
    repo.git("commit", "--quiet", "--allow-empty", "-m", "hers", f"--author={mail}")
    assert push(hub, repo, shop, alice, "flow/p") == ""
    assert there.authors(repo.sha("HEAD"), first) == (mail,)
    hub.teams["acme/core"] = {"bob": "active", "carol": "pending"}
    with pytest.raises(ForgeRefused, match="403"):  # the job's own token sees no teams
        there.is_in_team("acme/core", "bob")
    app = GitHub(
        "alice/shop", hub.app(shop, RIGHTS).text, api=hub.api, server=hub.base, branch="main"
    )
    assert [app.is_in_team("acme/core", who) for who in ("bob", "carol", "eve")] == [
        True,
        False,
        False,
    ]


@pytest.mark.slow  # that such a result waits for an approval is fast
def test_a_result_is_merged_when_its_pull_request_is_approved(repo: Repo, tmp_path: Path) -> None:
    up = repos.init(tmp_path / "up.git", bare=True)
    engine.config(repo, approval=["plan"], reviews=["plan", "merge"])
    repo.git("push", "--quiet", str(up.path), "main")
    repo.git("switch", "--quiet", "--create", "plan/p")
    engine.plan(repo, task("1", "echo a > a.txt", verify=["grep a a.txt"], merge="pr"))
    repo.commit("plan p")
    repo.git("push", "--quiet", str(up.path), "plan/p")
    forge = Near(up, tmp_path)
    forge.finish()
    # The plan itself is approved, and that is taken back, in the pull request of its flow branch.
    assert "from anybody with maintain, for" in forge.stories[101]
    seen = 1, up.sha("flow/p")
    yes = ("bob <2+bob@users.noreply.github.com>",)
    for told, people in ({}, None), ({seen: yes}, "bob"), ({}, None), ({seen: yes}, "bob"):
        forge.yes = dict(told)
        forge.reconcile()
        found = engine.state(up).get("approved")
        assert (found and found["by"].split()[0]) == people
    forge.finish()
    branch = "task/p/1-task-1"
    assert list(forge.pulls) == ["flow/p", branch]
    assert forge.pulls[branch][0] == "p/1: Task 1"
    assert "in pull request 2" in forge.stories[101]
    asked = list(forge.asked)
    forge.reconcile()
    assert forge.asked[len(asked) :] == ["reviews", "reviews"]
    yes = forge.yes[2, up.sha(branch)] = ("bob <2+bob@users.noreply.github.com>",)

    def stands() -> tuple[int, bool]:
        """Return how many approvals there are, and whether they are being acted on."""
        forge.reconcile()
        return len(engine.record(up, "1").get("approvals", ())), "train" in engine.state(up)

    assert stands() == (1, True)
    # What was said there can be taken back there, as long as it is not merged.
    forge.yes.clear()
    assert stands() == (0, False)
    forge.yes[2, up.sha(branch)] = yes
    assert stands() == (1, True)
    # What was withdrawn in a clone is asked for again, there or here.
    forge.said_at = time.time()
    with forge.jobs() as jobs:
        jobs.reconcile("p", forge)
        jobs.service.handle(Unapprove(targets=("1",)), "p")
    assert [stands(), stands()] == [(0, False)] * 2
    forge.said_at = time.time() + 1
    forge.finish()
    assert up.show("flow/p", "a.txt") == "a\n"
    (approval,) = engine.record(up, "1")["approvals"]
    assert (approval["by"], approval["gate"]) == ("bob <2+bob@users.noreply.github.com>", "merge")
    assert engine.fsck(up) == ()


@pytest.mark.parametrize(
    ("before", "people", "after"),
    [
        ((), (), ()),
        ((), ("bob", "carol"), (("bob", 7),)),
        ((("bob", 7),), ("carol", "bob"), (("bob", 7),)),
        ((("bob", 7),), ("carol",), (("carol", 7),)),
        ((("bob", 7),), (), ()),
    ],
)
def test_an_approval_in_a_pull_request_holds_while_somebody_gives_it(
    before: tuple[tuple[str, int], ...],
    people: tuple[str, ...],
    after: tuple[tuple[str, int], ...],
) -> None:
    sha, plan = "a" * 40, Plan.model_validate({**AUTH, "defaults": {"merge": "pr"}})
    digest = plan.by_id["001"].digest
    start = Approval(gate="task", by="alice", at=1, sha="", digest=digest)
    given = (
        start,
        *(
            Approval(gate="merge", by=by, at=1, sha=sha, digest=digest, pull=pull)
            for by, pull in before
        ),
    )
    attempts = (Attempt(number=1, report=sha),)
    record = TaskRecord(id="001", status=Status.REVIEW, attempts=attempts, pull=7, approvals=given)
    now = approvals_of(snapshot(plan, [record]), "001", people, 2)
    assert now[0] == start
    assert tuple((one.by, one.pull) for one in now[1:]) == after


def test_an_approval_of_a_commit_counts_only_after_what_was_withdrawn() -> None:
    reviews = [said("bob", "APPROVED", 10), said("dave", "APPROVED", 30)]
    heard = Canned({"/pulls/7/reviews": reviews}).reviews(7)
    everybody = [agreed(heard, "a", since, lambda one: True) for since in (0, 10, 30)]
    assert [len(people) for people in everybody] == [2, 1, 0]
    assert agreed(heard, "b", 0, lambda one: True) == ()
    (who,) = agreed(heard, "a", 0, lambda one: one.login == "dave")
    assert who == "dave <4+dave@users.noreply.github.com>"
    reviews.append(said("carol", "CHANGES_REQUESTED", 5))
    heard = Canned({"/pulls/7/reviews": reviews}).reviews(7)
    assert agreed(heard, "a", 20, lambda one: True) == ()
    assert len(agreed(heard, "a", 0, lambda one: one.login != "carol")) == 2


def test_only_the_last_word_of_each_person_counts_and_of_no_account_none() -> None:
    reviews = [
        {**said("ghost", "CHANGES_REQUESTED", 1), "user": None},
        said("bob", "APPROVED", 1),
        said("bob", "CHANGES_REQUESTED", 2),
        said("carol", "APPROVED", 3),
        said("carol", "DISMISSED", 4),
        said("dave", "CHANGES_REQUESTED", 5),
        said("dave", "APPROVED", 6),
        said("dave", "COMMENTED", 7),
    ]
    heard = Canned({"/pulls/7/reviews": reviews}).reviews(7)
    assert {one.login: (one.is_yes, one.at) for one in heard} == {
        "bob": (False, 2.0),
        "dave": (True, 6.0),
    }


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ({"role_name": "maintain", "permission": "write"}, "maintain"),
        ({"role_name": "triage", "permission": "read"}, "triage"),
        ({"role_name": "our builders", "permission": "write"}, "write"),
        ({"permission": "admin"}, "admin"),
        ({"role_name": "none", "permission": "none"}, ""),
        ({"role_name": "admin", "permission": "admin", "user": None}, ""),
        ({"role_name": "admin", "permission": "admin", "user": {"login": "bob", "id": 8}}, ""),
        (None, ""),
    ],
)
def test_a_level_is_that_of_the_account_and_of_no_other(answer: Any, level: str) -> None:
    path = "/repos/alice/shop/collaborators/bob/permission"
    found = {} if answer is None else {path: {"user": {"login": "bob", "id": 7}, **answer}}
    assert Canned(found).level("bob", 7) == level


def test_a_member_of_a_team_is_one_who_has_joined_it() -> None:
    path = "/orgs/shop/teams/core/memberships/"
    there = Canned({f"{path}bob": {"state": "active"}, f"{path}carol": {"state": "pending"}})
    assert [there.is_in_team("shop/core", who) for who in ("bob", "carol", "eve")] == [
        True,
        False,
        False,
    ]


def test_what_is_ours_is_found_beside_what_a_deleted_account_wrote() -> None:
    bot = {"body": f"{MARK}\nours", "id": 2, "user": {"type": "Bot", "login": "bot"}}
    gone = {"body": f"{MARK}\ntheirs", "id": 1, "user": None}
    there = Canned({})
    assert there.ours([gone, bot], MARK) == [bot]
    there._login = lambda: "alice"  # type: ignore[method-assign]
    assert there.ours([gone], MARK) == []


def test_what_a_pull_request_says_fits_however_many_people_are_named() -> None:
    text = looked_at(snapshot(AUTH), "001", "@bob\n" * 20_000)
    assert 50_000 < len(text) < 65_536
    assert "@bob" not in text


def test_a_task_whose_merge_is_a_pull_request_waits_for_an_approval() -> None:
    done = TaskRecord(
        id="001", status=Status.REVIEW, attempts=(Attempt(number=1, report="a" * 40),), pull=7
    )
    by_task = {**AUTH, "tasks": [{**AUTH["tasks"][0], "merge": "pr"}, *AUTH["tasks"][1:]]}
    by_default = {**AUTH, "defaults": {"merge": "pr"}}
    assert [snapshot(plan, [done]).awaits("001") for plan in (AUTH, by_task, by_default)] == [
        None,
        "merge",
        "merge",
    ]
    assert "001 may be merged only with your approval: in pull request 7, or" in (
        check(snapshot(by_task, [done]), NO_LIMITS, NOW).summary
    )


def test_a_comment_is_written_only_for_what_people_want_to_know() -> None:
    seen = snapshot(AUTH, DONE[:1])
    assert matters(seen) == matters(snapshot(AUTH, DONE[:1], held=""))
    assert matters(seen) != matters(snapshot(AUTH, [*DONE[:1], FAILED]))
