"""Tasks' issues on a forge: one a task and never two, whatever is lost; people's changes stay."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gitflow_agents import issues, render
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import (
    OWN,
    CloseIssue,
    EditIssue,
    ForgeDown,
    ForgeRefused,
    Ground,
    HangIssue,
    Issue,
    IssueWrite,
    NewIssue,
    PlanIssue,
    ReopenIssue,
)
from gitflow_agents.github import GitHub
from gitflow_agents.github.issues import Issues
from gitflow_agents.models import Limits, Reason, Status, TaskRecord, Tracked
from gitflow_agents.render.story import looked_at, opening, story, summary
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import Service
from gitflow_agents.service.issuing import AGAIN, LEASE, MOST_MADE, PACE, Issuing
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.service.service import Told
from gitflow_agents.store import Draft, Known
from tests import engine, near_forge, repos
from tests.engine import task
from tests.forge import Hub, Repository, complaints
from tests.near_forge import Near
from tests.repos import Cli, Repo
from tests.test_render import snapshot

ONE = task("1", "echo a > a.txt", provides=["a"])
AFTER = task("2", "cat a.txt > b.txt", preconditions=["a"])
LAST = task("3", "echo c > c.txt", depends_on=["1", "2"])


@pytest.fixture
def up(repo: Repo, tmp_path: Path) -> Repo:
    """Return the remote that decides, whose config wants issues."""
    up = repos.init(tmp_path / "up.git", bare=True)
    engine.config(repo, issues=True)
    repo.git("push", "--quiet", str(up.path), "main")
    return up


@pytest.fixture
def forge(up: Repo, tmp_path: Path) -> Near:
    """Return a forge over the remote."""
    return Near(up, tmp_path)


# --- what they say --------------------------------------------------------------------------------


def told(plan: Snapshot, *numbers: int, **about: Any) -> Snapshot:
    """Return a plan whose first tasks have these issues, as they were told last."""
    for each, number in zip(plan.plan.tasks, numbers, strict=False):
        shown = seen(plan, each.id, number)
        known = issues.tracked(plan, each.id, shown, is_child=True)
        plan.issues[each.id] = known.model_copy(update=about)
    return plan


def seen(plan: Snapshot, key: str, number: int, **changes: Any) -> Issue:
    """Return an issue as it was made."""
    new = issues.new_issue(plan, key, ())
    made = {"title": new.title, "body": new.body, **changes}
    return Issue(number=number, node=f"I_{number}", id=1000 + number, **made)


def plan_of(*tasks: dict[str, Any], records: tuple[TaskRecord, ...] = (), **keys: Any) -> Snapshot:
    """Return a plan p with some tasks."""
    about = {"plan": "p", "goal": "Try it", "tasks": tasks}
    return snapshot({**about, **keys.pop("plan", {})}, records, **keys)


def test_an_issue_says_what_the_task_says_and_pings_nobody() -> None:
    plan = plan_of(
        ONE | {"description": "ask @bob\n<!-- x -->", "acceptance": ["it | works"]},
        plan={"defaults": {"verify": ["true"]}},
    )
    plan.tracking = plan.tracking.model_copy(update={"issue": Tracked(number=7, node="I_7")})
    made = issues.new_issue(plan, "1", ("agents",), "alice")
    assert (made.title, made.labels, made.people, made.parent) == (
        "1: Task 1",
        ("agents",),
        ("alice",),
        "I_7",
    )
    assert made.body == (
        "<!-- gitflow-agents issue p/1 -->\n"
        "Task `1` of the plan `p`, part of #7.\n\n"
        "ask @\u200bbob\n\\<\\!-- x --\\>\n\n"
        "- Provides: a\n"
        "- Done when: it \\| works\n"
        "- Verified by: `true`\n"
    )


def test_below_a_plans_issue_hang_a_hundred_others_and_no_more() -> None:
    plan = plan_of(*(task(str(n), "true") for n in range(101)))
    plan.tracking = plan.tracking.model_copy(update={"issue": Tracked(number=7, node="I_7")})
    plan = told(plan, *range(100, 199))
    last = [issues.new_issue(plan, key, (), place=n).parent for n, key in enumerate(("99", "100"))]
    assert last == ["I_7", ""]


def test_a_plan_that_waits_for_an_approval_makes_no_issues() -> None:
    free, waiting = plan_of(ONE, AFTER), plan_of(ONE, AFTER, plan={"approval": ["plan"]})
    assert (issues.starting(free, 1), issues.missing(free)) == (["1"], ["1", "2"])
    assert (issues.starting(waiting, 1), issues.missing(waiting)) == ([], [])


def test_what_one_pass_may_merge_and_start_counts_as_starting() -> None:
    running = TaskRecord(id="1", status=Status.REVIEW)
    plan = plan_of(ONE, AFTER, LAST, records=(running,))
    assert issues.starting(plan, 0) == ["2"]


def ended(status: Status, reason: Reason | None = None) -> tuple[TaskRecord, ...]:
    """Return the record of a task that is over."""
    return (TaskRecord(id="1", status=status, reason=reason),)


DONE, LEFT = ended(Status.COMPLETED), ended(Status.CANCELLED, Reason.SKIPPED)


@pytest.mark.parametrize(
    ("records", "known", "shows", "writes", "said"),
    [
        ((), "", "", (), ""),
        (DONE, "", "", (CloseIssue("I_9", "completed"),), ""),
        (DONE, "", "completed", (), ""),
        (LEFT, "", "", (CloseIssue("I_9", "not_planned"),), ""),
        ((), "completed", "completed", (ReopenIssue("I_9"),), ""),
        ((), "completed", "", (), ""),
        (DONE, "", "not_planned", (), "#9 was closed as not planned by somebody, and stays so"),
        (LEFT, "completed", "", (), "#9 was reopened by somebody, and stays so"),
    ],
)
def test_who_closes_or_reopens_an_issue_by_hand_is_not_fought(
    records: tuple[TaskRecord, ...], known: str, shows: str, writes: tuple[object, ...], said: str
) -> None:
    plan = told(plan_of(ONE, records=records), 9, closed=known)
    found = issues.settle(plan, "1", plan.issues["1"], seen(plan, "1", 9, closed=shows))
    assert (found.writes, found.said) == (writes, said)
    plan.issues["1"] = found.after
    assert issues.stale(plan) == []


def test_what_people_wrote_into_an_issue_is_kept_and_reported() -> None:
    before, after = plan_of(ONE), plan_of(ONE | {"title": "New"})
    after.issues = dict(told(before, 9).issues)
    was, wanted = seen(before, "1", 9), issues.new_issue(after, "1", ())
    known, edit = after.issues["1"], EditIssue("I_9", wanted.title, wanted.body)
    assert issues.stale(after) == ["1"]
    assert issues.settle(after, "1", known, was).writes == (edit,)
    ours = seen(after, "1", 9, body=wanted.body.replace("\n", "\r\n"))
    assert issues.settle(after, "1", known, ours).writes == ()
    theirs = issues.settle(after, "1", known, seen(before, "1", 9, title="Mine"))
    assert (theirs.writes, theirs.said) == (
        (),
        "#9 says what people wrote, and not what the plan says now",
    )
    after.issues["1"] = theirs.after
    assert issues.stale(after) == []


def test_what_verifies_a_task_is_a_part_of_what_its_issue_says() -> None:
    before, after = plan_of(ONE), plan_of(ONE, plan={"defaults": {"verify": ["make check"]}})
    after.issues = dict(told(before, 9).issues)
    assert issues.stale(after) == ["1"]
    (edit,) = issues.settle(after, "1", after.issues["1"], seen(before, "1", 9)).writes
    assert isinstance(edit, EditIssue)
    assert "Verified by: `make check`" in edit.body


def test_no_title_is_longer_than_github_takes() -> None:
    plan = plan_of(ONE | {"title": "a" + "\u0301" * 1000})
    assert len(issues.new_issue(plan, "1", ()).title) == 256


def test_an_issue_waits_for_what_is_next_in_the_way_and_for_nothing_behind_it() -> None:
    plan = told(plan_of(ONE, AFTER, LAST), 11, 12, 13)
    assert (
        list(issues.blocks(plan))
        == [
            issues.Blocks("1", (), ()),
            issues.Blocks("2", ("1",), ()),
            issues.Blocks("3", ("2",), ()),
        ][1:]
    )


def test_what_tasks_left_to_be_done_is_told_once() -> None:
    left = ("Mend  the docs", "mend the DOCS", "rename it")
    record = TaskRecord(id="1", status=Status.COMPLETED, follow_ups=left)
    plan = plan_of(ONE, records=(record,))
    found = list(issues.follow_ups(plan))
    assert [one.text for one in found] == ["Mend  the docs", "rename it"]
    known = {found[0].key[1:]: 9}
    plan.tracking = plan.tracking.model_copy(update={"followed": known})
    assert [one.text for one in issues.follow_ups(plan)] == ["rename it"]


def test_what_people_look_at_names_the_issues() -> None:
    plan = told(plan_of(ONE, AFTER, plan={"epic": "acme/portal#3"}), 9)
    own = Tracked(number=7, node="I_7")
    where = "https://github.com/alice/shop/issues/"
    plan.tracking = plan.tracking.model_copy(update={"issue": own, "url": where})
    plan.issues["1"] = plan.issues["1"].model_copy(update={"theirs": "#9 was reopened"})
    shown = render.status(plan, Limits(), 0).splitlines()
    table = [line.split() for line in shown if line.startswith(("ID ", "1 ", "2 "))]
    assert table[0][:3] == ["ID", "ISSUE", "STATUS"]
    assert (table[1][:3], table[2][:2]) == (["1", "#9", "ready"], ["2", "pending"])
    assert f"Issue      #9 {where}9; #9 was reopened" in render.show_task(plan, "1", 0)
    lines = render.show_plan(plan).splitlines()
    assert lines[5:7] == ["Epic       acme/portal#3", f"Issue      #7 {where}7"]
    found = render.status_json(plan, Limits(), 0, "")["tasks"]
    assert [one["issue"] for one in found] == [9, None]
    assert render.show_task_json(plan, "1", 0)["issue"] == 9
    assert "| 1 | ready | 1 |  |  | Task 1 (#9) |\n" in render.status_page(plan, 0)
    assert f"| 1 Task 1 [#9]({where}9) | ready |" in summary(plan, Limits(), 0)
    assert "| 1 Task 1 #9 | pending |" in story(plan, Limits(), 0)
    assert "\n\nPart of #7 and acme/portal#3. Tasks of the plan `p` are" in opening(plan)
    assert looked_at(plan, "1", "").startswith("One task of the plan `p`: Task 1 (#9)\n")


# --- how they come about --------------------------------------------------------------------------


@dataclass
class Office:
    """A plan p in a repository, and a forge that has issues; `now` is its time."""

    repo: Repo
    tracker: near_forge.Tracked = field(default_factory=near_forge.Tracked)
    now: float = 1e9
    told: list[str] = field(default_factory=list)

    @contextmanager
    def at_work(self) -> Iterator[Issuing]:
        """Return what a new process does about the issues."""
        service = Service(str(self.repo.path), clock=lambda: self.now)
        service.actor = near_forge.ALICE
        try:
            data = (self.repo.path / engine.FILE).read_bytes()
            said: list[Told] = []
            snapshot = service.accepted("p", data, service.store, said.append)
            reconciler = Reconciler(service.desk(snapshot, said.append))
            yield Issuing(reconciler, self.tracker)
            reconciler.desk.written()
            self.told += [one.text for one in said if "issue" in f"{one.event} {one.text}"]
        finally:
            service.close()

    def turn(self, free: int = 1) -> str:
        """Do what a pass does; return why something is late."""
        with self.at_work() as issuing:
            issuing.begin(free)
            return issuing.end()

    def change(self, *records: TaskRecord, **state: Any) -> None:
        """Let tasks have ended."""
        with self.at_work() as issuing:
            draft = Draft(issuing.reconciler.desk.snapshot)
            for record in records:
                draft.put(record)
            draft.set(**state)
            draft.tell("tried")
            issuing.reconciler.desk.store.commit(draft)

    @property
    def known(self) -> dict[str, int]:
        """Return the issues that the state knows, by task; that of the plan has no name."""
        with self.at_work() as issuing:
            snapshot = issuing.reconciler.desk.snapshot
            own = snapshot.tracking.issue
            return ({"": own.number} if own else {}) | {
                task: issue.number for task, issue in snapshot.issues.items()
            }


@pytest.fixture
def office(repo: Repo) -> Office:
    """Return a plan of three tasks whose config wants issues."""
    engine.config(repo, issues=True)
    engine.plan(repo, ONE, AFTER, LAST)
    return Office(repo)


ALL = {"": 11, "1": 12, "2": 13, "3": 14}


def test_a_second_pass_asks_nothing(office: Office) -> None:
    assert (office.turn(), office.known) == ("", ALL)
    assert office.tracker.waits == {(13, 12), (14, 13)}
    asked = len(office.tracker.asked)
    assert office.turn() == ""
    assert office.tracker.asked[asked:] == []


@pytest.mark.parametrize("fault", ["lost", "late", "down"])
@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_no_task_has_two_issues_when_an_answer_is_lost(
    office: Office, fault: str, which: int
) -> None:
    office.tracker.fails = [""] * which + [fault]
    assert office.turn() == "no answer"
    asked = office.tracker.asked.count("write_issues")
    if fault != "lost":  # nobody knows yet whether it will be done
        assert office.turn() == ""
        assert office.tracker.asked.count("write_issues") == asked
    office.tracker.arrive()
    office.now += LEASE
    assert office.turn() == ""
    assert sorted(office.known) == sorted(ALL)
    assert len(office.tracker.there) == len(ALL)


def killed() -> None:
    """End a process."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_task_has_two_issues_after_a_kill(office: Office, when: str) -> None:
    setattr(office.tracker, when, killed)
    with pytest.raises(KeyboardInterrupt):
        office.turn()
    setattr(office.tracker, when, lambda: None)
    asked = len(office.tracker.asked)
    assert office.turn() == ""  # another process leaves it alone for a while
    assert office.tracker.asked[asked:] == []
    office.now += LEASE
    assert office.turn() == ""
    assert (office.known, len(office.tracker.there)) == (ALL, len(ALL))


def test_of_two_processes_one_makes_the_issues(office: Office) -> None:
    with office.at_work() as first, office.at_work() as second:

        def meanwhile() -> None:
            office.tracker.before = killed  # nobody writes now
            assert second.end() == ""
            office.tracker.before = lambda: None

        office.tracker.before = meanwhile
        first.begin(1)
    assert office.turn() == ""
    assert (office.known, len(office.tracker.there)) == (ALL, len(ALL))


def test_where_issues_are_refused_it_is_said_once_and_tried_again_later(office: Office) -> None:
    office.tracker.fails = ["refused"]
    why = "tasks go on without an issue: there are no issues here"
    for _ in range(3):
        assert office.turn() == ""
    assert (office.told, office.tracker.asked) == ([why], ["ground", "write_issues"])
    office.now += AGAIN
    assert (office.turn(), office.known) == ("", ALL)


@pytest.mark.slow  # that all are refused is fast
def test_one_issue_that_is_refused_keeps_no_other_waiting(office: Office) -> None:
    office.tracker.fails = ["", "Task 1", "Task 2"]
    assert (office.turn(), office.known) == ("", {"": 11, "3": 12})
    assert office.told[1:] == [
        "tasks go on without an issue: no Task 1 here",
        "3 is #12",
        "tasks go on without an issue: no Task 2 here",
    ]
    asked = len(office.tracker.asked)
    assert (office.turn(), office.tracker.asked[asked:]) == ("", [])
    office.now += AGAIN
    late = NewIssue("1", "1: Task 1", f"{OWN}issue p/1 -->")
    office.tracker.write(late)  # it was made all the same
    assert (office.turn(), office.known) == ("", {"": 11, "1": 13, "2": 14, "3": 12})
    assert len(office.tracker.there) == 4


def test_issues_are_told_how_their_tasks_end(office: Office) -> None:
    office.turn()
    office.change(*DONE, LEFT[0].model_copy(update={"id": "2"}))
    office.tracker.there.pop(14)
    office.turn()
    ends = {number: closed for number, (_, closed) in office.tracker.shown.items()}
    assert ends == {11: "", 12: "completed", 13: "not_planned"}
    office.change(TaskRecord(id="1"), LEFT[0].model_copy(update={"id": "3"}))
    assert office.turn() == ""
    assert office.tracker.shown[12][1] == ""
    assert office.told[-1] == "issue #14 was deleted; it is not made again"
    office.change(*DONE, status="landed")
    office.turn()
    ends = {number: closed for number, (_, closed) in office.tracker.shown.items()}
    assert ends == {11: "completed", 12: "completed", 13: "not_planned"}


def test_a_new_text_is_told_and_what_left_the_plan_is_closed(office: Office) -> None:
    office.turn()
    engine.plan(office.repo, {**ONE, "title": "New"}, AFTER, task("4", "true"), epic=14)
    with office.at_work() as issuing:
        assert issuing.reconciler.revise()
    assert office.turn() == ""
    assert office.tracker.shown == {
        11: ("p: Try it", ""),
        12: ("1: New", ""),
        13: ("2: Task 2", ""),
        14: ("3: Task 3", "not_planned"),
        15: ("4: Task 4", ""),
    }
    assert office.tracker.parents["I_11"] == "I_14"


def test_a_text_that_names_a_milestone_puts_the_plan_and_what_is_new_to_it(office: Office) -> None:
    office.turn()
    for goal in (2, 3):
        new = task(str(goal + 5), "true")
        engine.plan(office.repo, ONE, AFTER, new, epic=f"milestone {goal}")
        with office.at_work() as issuing:
            assert issuing.reconciler.revise()
        assert office.turn() == ""
    assert office.tracker.goals == {"I_11": "M_3", "I_15": "M_2", "I_16": "M_3"}
    assert office.told[-1] == "the plan's issue is part of milestone 3"


def test_who_answers_for_a_task_is_assigned_where_that_can_be(repo: Repo) -> None:
    mapping = {
        "command": {"github_username": "bob", "services": ["api"]},
        "other": {"github_username": "eve", "services": ["web"]},
    }
    engine.config(repo, issues=True, agent_mapping=mapping)
    folders = {"1": "api", "2": "web", "3": "docs"}
    engine.plan(repo, *(task(id, "true", files=[f"{it}/x"]) for id, it in folders.items()))
    office = Office(repo)
    office.tracker.assignable = frozenset({"bob"})
    office.turn(3)
    assert office.tracker.assigned == {11: (), 12: ("bob",), 13: ("eve",), 14: ()}
    assert office.told[-2:] == [
        "nobody is assigned to the issue of 2: eve cannot be assigned here",
        "nobody is assigned to the issue of 3: nobody in agent_mapping answers for it",
    ]


def test_who_waits_for_it_has_all_issues_of_a_long_plan(repo: Repo) -> None:
    engine.config(repo, issues=True)
    needs = ({"depends_on": [f"t{n - 1}"]} if n else {} for n in range(70))
    engine.plan(repo, *(task(f"t{n}", "true", **each) for n, each in enumerate(needs)))
    office, waits = Office(repo), list[int]()
    with office.at_work() as issuing:
        issuing.wait = waits.append
        assert issuing.sync() == ""
    assert (len(office.tracker.there), len(office.tracker.waits)) == (71, 69)
    assert waits == [1, *[10] * 7]


def test_what_cannot_be_told_of_blocking_is_said_once(office: Office) -> None:
    office.tracker.forbids = {"block"}
    for _ in range(2):
        assert office.turn() == ""
    assert office.told[-1] == "issues do not show what they wait for: nobody may block"
    assert (office.known, office.tracker.asked.count("block")) == (ALL, 1)
    office.tracker.forbids.clear()
    with office.at_work() as issuing:  # a person asks for it
        assert issuing.sync() == ""
    assert office.tracker.waits == {(13, 12), (14, 13)}


def test_one_issue_that_cannot_wait_for_another_keeps_no_other_from_it(office: Office) -> None:
    office.tracker.unwanted = {(13, 12)}
    assert (office.turn(), office.tracker.waits) == ("", {(14, 13)})
    asked = len(office.tracker.asked)
    assert (office.turn(), office.tracker.asked[asked:]) == ("", [])


def test_what_is_known_of_issues_is_kept_between_two_looks(office: Office, tmp_path: Path) -> None:
    office.turn()
    with office.at_work() as issuing:
        store, known = issuing.reconciler.desk.store, Known()
        first = store.load("p", known=known)
        known.write(tmp_path / "known")
        again = store.load("p", known=Known.read(tmp_path / "known"))
        assert first is not None
        assert again is not None
        assert (again.issues, again.tracking) == (first.issues, first.tracking)
        assert len(again.issues) == 3


def test_an_issue_that_was_deleted_keeps_no_other_from_saying_what_it_waits_for(
    office: Office,
) -> None:
    office.tracker.after = lambda: office.tracker.there.pop(12, None)
    assert (office.turn(), office.tracker.waits) == ("", {(14, 13)})
    assert office.told.count("issue #12 was deleted; it is not made again") == 1
    asked = len(office.tracker.asked)
    assert (office.turn(), office.tracker.asked[asked:]) == ("", [])


def test_what_tasks_left_to_be_done_has_issues_and_other_plans_do_not_repeat_them(
    repo: Repo,
) -> None:
    engine.config(repo, issues={"follow_ups": True, "labels": "agents"})
    engine.plan(repo, ONE)
    office = Office(repo)
    office.turn()
    left = ("mend @bob", "rename it")
    office.change(TaskRecord(id="1", status=Status.COMPLETED, follow_ups=left), status="finished")
    same = TaskRecord(id="1", status=Status.COMPLETED, follow_ups=("Rename IT",))
    other = plan_of(ONE, records=(same,))
    folded = issues.follow_up(other, next(issues.follow_ups(other)), ())
    office.tracker.write(folded)
    office.turn()
    office.turn()
    assert office.tracker.shown[14] == ("mend @bob", "")
    assert len(office.tracker.there) == 4
    assert office.tracker.labels[14] == ("agents", "follow-up")
    words = office.tracker.there[14].body.splitlines()
    assert words[1:] == ["> mend @\u200bbob", "", "Left by the task `1` (#12) of the plan `p`."]


def test_of_a_long_plan_few_issues_are_made_at_once(repo: Repo) -> None:
    engine.config(repo, issues=True)
    engine.plan(repo, *(task(f"t{n}", "true") for n in range(70)))
    office = Office(repo)
    office.turn()
    assert len(office.tracker.there) == MOST_MADE
    assert office.tracker.asked.count("write_issues") == 1 + 7
    office.turn()
    assert len(office.tracker.there) == MOST_MADE
    office.now += MOST_MADE * PACE
    office.turn()
    assert len(office.tracker.there) == 71


ACCIDENTS = ("", "", "lost", "late", "down", "refused", "Task", "before", "after")


@pytest.mark.slow  # each kind of accident alone is fast
@settings(deadline=None, max_examples=6, phases=[Phase.generate])
@given(data=st.data())
def test_whatever_happens_no_task_has_two_issues_and_people_are_heard(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = repos.init(Path(folder) / "repo")
        engine.config(repo, issues={"follow_ups": True})
        titles = {id: f"Task {id}" for id in "12345"}
        office = Office(repo)
        for _ in range(data.draw(st.integers(3, 8))):
            titles[data.draw(st.sampled_from("123456"))] = data.draw(st.sampled_from(["A", "B"]))
            if data.draw(st.booleans()):
                titles.pop(data.draw(st.sampled_from(sorted(titles))))
            engine.plan(
                repo,
                *(task(id, "true", title=name) for id, name in titles.items()),
                task("9", "true"),
            )
            with office.at_work() as issuing:
                issuing.reconciler.revise()
            over = data.draw(st.sampled_from([*DONE, *LEFT, *ended(Status.PENDING)]))
            office.change(over.model_copy(update={"id": "9", "follow_ups": ("mend it",)}))
            there = office.tracker.there
            what = data.draw(st.sampled_from(["", "", "gone", "Mine", "completed", "reopened"]))
            one = data.draw(st.sampled_from(sorted(there))) if there and what else 0
            if what == "gone" and one:
                del there[one]
            elif what == "Mine" and one:
                there[one] = replace(there[one], title="Mine")
            elif one:
                there[one] = replace(there[one], closed="completed" if what == "completed" else "")
            fault = data.draw(st.sampled_from(ACCIDENTS))
            if fault in ("before", "after"):
                setattr(office.tracker, fault, killed)
            elif fault:
                office.tracker.fails = [""] * data.draw(st.integers(0, 2)) + [fault]
            with suppress(KeyboardInterrupt):
                office.turn()
            office.tracker.before = office.tracker.after = lambda: None
            office.tracker.fails = []
            office.tracker.arrive()
            office.now += data.draw(st.sampled_from([1.0, LEASE, AGAIN]))
        for _ in range(2):
            office.now += AGAIN
            assert office.turn() == ""
        asked = len(office.tracker.asked)
        assert office.turn() == ""
        assert office.tracker.asked[asked:] == []
        marks = [one.body.partition("\n")[0] for one in office.tracker.there.values()]
        assert len(marks) == len(set(marks))
        with office.at_work() as issuing:
            plan = issuing.reconciler.desk.snapshot
        assert issues.missing(plan) == []
        for id, known in plan.issues.items():
            shown = office.tracker.there.get(known.number)
            if shown is None or known.theirs:  # nobody looks until there is something to be told
                continue
            assert shown.closed == issues.closed(plan, id) or shown.closed != known.closed
            if id in plan.plan.by_id:
                assert shown.title in (f"{id}: {plan.plan.by_id[id].name}", "Mine")


# --- on GitHub ------------------------------------------------------------------------------------

EVIL = '"}) { __typename } #${{ x }}'
NEW = NewIssue("1", EVIL, EVIL, ("agents",), ("bob", "eve"), "I_7")


class Said:
    """Keeps what is asked in the place of GitHub, and answers nothing, or what is wrong."""

    repository = "alice/shop"

    def __init__(self, *wrong: Mapping[str, Any]) -> None:
        self.wrong = wrong
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def graph(
        self, document: str, variables: Mapping[str, Any], what: str, *, once: bool = False
    ) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
        """Keep a document."""
        self.asked.append((document, variables))
        return {"nodes": []}, self.wrong


@pytest.mark.slow  # the whole schema takes seconds to read; the fake has the part that is asked
def test_githubs_published_schema_takes_every_document_and_none_holds_what_is_said() -> None:
    said = Said()
    there = Issues(cast(GitHub, said))
    with pytest.raises(ForgeRefused):
        there.ground((EVIL,), (EVIL,), "acme/portal#3", ("I_1",))
    there.issues(["I_1"])
    ground = Ground("R_1", {"agents": "LA_1"}, {"bob": "U_1"})
    writes: list[IssueWrite] = [NEW, EditIssue("I_1", EVIL, EVIL), HangIssue("I_1", "I_2")]
    there.write_issues(ground, [*writes, CloseIssue("I_1", "not_planned"), ReopenIssue("I_1")])
    assert [complaints(document) for document, _ in said.asked] == [[], [], []]
    assert not any(EVIL in document for document, _ in said.asked)
    made = {"title": EVIL, "body": EVIL, "labelIds": ["LA_1"], "assigneeIds": ["U_1"]}
    assert said.asked[2][1] == {
        "w0": {"repositoryId": "R_1", **made, "parentIssueId": "I_7"},
        "w1": {"id": "I_1", "title": EVIL, "body": EVIL},
        "w2": {"issueId": "I_2", "subIssueId": "I_1", "replaceParent": True},
        "w3": {"issueId": "I_1", "stateReason": "NOT_PLANNED"},
        "w4": {"issueId": "I_1"},
    }


@pytest.mark.parametrize(
    ("wrong", "raised"),
    [
        ({"message": "Something went wrong, this may be the result of a timeout"}, ForgeDown),
        ({"message": "no", "path": ["w0"], "type": "FORBIDDEN"}, ForgeRefused),
        (
            {"message": "no", "path": ["mutation Track"], "extensions": {"code": "undefinedField"}},
            ForgeRefused,
        ),
    ],
)
def test_what_github_says_of_a_request_as_a_whole_is_about_no_issue_by_itself(
    wrong: Mapping[str, Any], raised: type[FlowError]
) -> None:
    there = Issues(cast(GitHub, Said(wrong)))
    with pytest.raises(raised, match=f"issues could not be written: {wrong['message']}"):
        there.write_issues(Ground("R_1", {}, {}), [NEW])


def tracker(hub: Hub, shop: Repository, **rights: str) -> Issues:
    """Return the issues of a repository as a job of it sees them."""
    token = hub.mint(shop, {"issues": "write", **rights}).text
    return Issues(GitHub("alice/shop", token, api=hub.api, server=hub.base, branch="main"))


def test_issues_are_made_told_and_found_on_github(hub: Hub, shop: Repository) -> None:
    there = tracker(hub, shop)
    hub.person("bob", (shop, "write"))
    ground = there.ground(("agents",), ("bob", "eve"), "#1")
    assert (set(ground.labels), set(ground.people), ground.epic) == ({"agents"}, {"bob"}, "")
    began = hub.now().timestamp()
    (own,) = there.write_issues(ground, [NewIssue("", "p", f"{OWN}issue p -->\n")])
    assert own.issue is not None
    new = replace(NEW, title="1", body=f"{OWN}issue p/1 -->\n", parent=own.issue.node)
    before = len(hub.asked("POST /graphql"))
    made, wrong, last = there.write_issues(
        ground, [new, replace(NEW, parent="I_nowhere"), replace(new, key="2", title="2")]
    )
    assert len(hub.asked("POST /graphql")) == before + 1
    assert made.issue is not None
    assert last.issue is not None
    assert "I_nowhere" in wrong.refused
    one = shop.issues[made.issue.number]
    assert (one.labels, one.assignees) == (["agents"], ["bob"])
    assert shop.issues[own.issue.number].parts == [made.issue.id, last.issue.id]
    for ends in (False, False, True, True):  # twice is as good as once
        there.block(last.issue.number, made.issue.id, ends=ends)
        assert shop.issues[last.issue.number].blocked_by == ([] if ends else [made.issue.id])
    done = there.write_issues(ground, [CloseIssue(one_ := made.issue.node, "not_planned")])
    assert (done[0].refused, one.reason) == ("", "not_planned")
    found = there.issues([one_, "I_nowhere"])
    assert found == {one_: replace(made.issue, closed="not_planned")}
    ours = {issue.number for issue in there.own_issues(began)}
    assert ours == {own.issue.number, made.issue.number, last.issue.number}
    assert [issue.number for issue in there.own_issues(0, "agents")] == [last.issue.number]
    assert there.ground((), (), "alice/shop#1", ["I_nowhere"]).gone == {"I_nowhere"}
    assert there.ground((), (), f"#{own.issue.number}").epic == own.issue.node


def test_a_plan_and_its_tasks_are_for_the_milestone_that_it_names(
    hub: Hub, shop: Repository
) -> None:
    there = tracker(hub, shop)
    shop.milestones += ["v1", "v2"]
    ground = there.ground((), (), "alice/shop milestone 2")
    assert (ground.epic, bool(ground.milestone)) == ("", True)
    (made,) = there.write_issues(ground, [NewIssue("", "p", f"{OWN}issue p -->\n")])
    assert made.issue is not None
    own = shop.issues[made.issue.number]
    assert own.milestone == 2
    first = there.ground((), (), "milestone 1").milestone
    (moved,) = there.write_issues(ground, [PlanIssue(made.issue.node, first)])
    assert (moved.refused, own.milestone) == ("", 1)
    for nowhere in ("milestone 3", "acme/other milestone 1"):
        assert there.ground((), (), nowhere).milestone == ""


def test_where_a_token_may_write_no_issues_nothing_is_tried_one_by_one(
    hub: Hub, shop: Repository
) -> None:
    there = tracker(hub, shop, issues="read")
    ground = there.ground(("agents",), ())
    assert ground.labels == {"agents": ""}
    with pytest.raises(ForgeRefused, match="issues could not be written"):
        there.write_issues(ground, [replace(NEW, parent="")])
    shop.issues_enabled = False
    with pytest.raises(ForgeRefused, match="alice/shop has no issues"):
        there.ground((), ())


@pytest.mark.slow  # what `sync` calls is fast
def test_sync_at_a_terminal_makes_the_issues_of_a_plan_that_runs_here(
    hub: Hub, shop: Repository, office: Office, cli: Cli
) -> None:
    alice = hub.person("alice")
    office.repo.git("remote", "add", "origin", hub.url(shop, alice))
    with office.at_work():
        pass  # it is accepted
    person = {"GH_TOKEN": alice.text, "GITHUB_API_URL": hub.api, "GITHUB_SERVER_URL": hub.base}
    said = cli("sync", "p", "--dry-run", env=person)
    assert shop.issues == {}
    assert said.stdout == ("plan p: 3 tasks would get an issue, and 0 issues would be looked at\n")
    said = cli("sync", "p", env=person)
    assert said.stdout.splitlines()[-1] == "plan p: 4 issues made, 0 changed"
    titles = [one.title for one in shop.issues.values()]
    assert titles == ["p: Try it", "1: Task 1", "2: Task 2", "3: Task 3"]
    asked = len(hub.asked())
    assert cli("sync", env=person).exit_code == 0
    assert hub.asked()[asked:] == []


@pytest.mark.slow  # what a process does about issues is fast
def test_each_task_has_an_issue_before_its_branch_which_its_merge_closes(
    repo: Repo, forge: Near, up: Repo
) -> None:
    near_forge.propose(repo, up, ONE, AFTER, epic=3)
    forge.finish()
    assert forge.tracker.shown == {
        11: ("p: Try it", ""),
        12: ("1: Task 1", "completed"),
        13: ("2: Task 2", "completed"),
    }
    assert forge.tracker.parents == {"I_12": "I_11", "I_13": "I_11"}
    assert forge.tracker.waits == {(13, 12)}
    flow = up.log("flow/p", "%s", "--first-parent").splitlines()
    assert flow[1:3] == ["merge 2: Task 2 (#13)", "merge 1: Task 1 (#12)"]
    assert "\nPart of #3\n" in up.log("flow/p~2", "%B", "-1")
    claim = up.log("flow/p~2^2", "%s").splitlines()
    assert claim[1:3] == ["1: Task 1 (#12)", "claim 1: Task 1 (#12)"]
    assert "issue: '#12'" in up.show("flow/p~2^2", ".gitflow/task.yaml")
    assert "| 1 Task 1 #12 | completed |" in forge.stories[101]
    assert engine.fsck(up, "p") == ()
