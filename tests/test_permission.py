"""Who may give which command: rules as a table, and each exception to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitflow_agents import owners, spec
from gitflow_agents.commands import KINDS, LEVELS, Act, Refused
from gitflow_agents.errors import InvalidFile
from gitflow_agents.models import Approval, Attempt, Config
from gitflow_agents.owners import Owners
from gitflow_agents.permission import (
    TERMINAL,
    Asker,
    Rules,
    doubt,
    permit,
    standing,
    teams,
    who_can,
    work,
)
from gitflow_agents.scheduler import Snapshot
from tests.test_scheduler import NOW, plan_of, snapshot

HOST = "users.noreply.github.com"
NEEDS = {
    "read": "help status waves explain",
    "write": "stop retry hold resume answer submit feedback take give add-task merge update start "
    "sync",
    "maintain": "stop+ retry+ approve unapprove reject skip revert",
}
"""What each verb takes, `+` for its stronger form, written down beside the code that says it."""
STRONGER: dict[str, dict[str, Any]] = {"stop": {"targets": ("plan",)}, "retry": {"force": True}}


def command(verb: str, *targets: str, **options: Any) -> Act:
    kind = KINDS[verb]
    return kind.model_construct(targets=targets, verb=verb, **options)


def rules(text: str = "", **config: Any) -> Rules:
    return Rules(Config.model_validate(config), owners.read(text))


def code(*about: Any, **more: Any) -> str:
    """Return with which code a command is refused, `yes` where it is not."""
    try:
        permit(*about, **more)
    except Refused as e:
        return e.reason_code
    return "yes"


def wanting(*gates: str, of: Any, letters: str = "r", **more: Any) -> Snapshot:
    """Return a plan of which the config wants some approved."""
    found = snapshot(of, letters, **more)
    found.approval = frozenset(gates)
    return found


def oracle(verb: str, level: str, bot: str, *, fork: bool, own: bool, itself: bool) -> str:
    """Return what has to become of a command, read off the rules as people are told them."""
    if own:
        return "not-allowed"
    if fork:
        return "fork"
    plain = verb.rstrip("+")
    if bot == "unknown" or (bot and plain in ("approve", "unapprove", "skip", "revert")):
        return "not-allowed"
    ranks = ("", "read", "triage", "write", "maintain", "admin")
    rank = ranks.index(level)
    if bot == "named":
        rank = max(rank, ranks.index("write"))
    if rank < ranks.index(needed(verb)):
        return "not-allowed"
    return "self-approval" if itself and plain == "approve" else "yes"


def needed(verb: str) -> str:
    return next(level for level, verbs in NEEDS.items() if verb in verbs.split())


def test_every_verb_level_bot_fork_and_self_is_decided_as_people_are_told() -> None:
    of = wanting("merge", of=plan_of({"id": "t"}))
    here = rules(allow_bots=["renovate"])
    forms = [*KINDS, *(f"{verb}+" for verb in STRONGER)]
    wrong, seen = [], 0
    square = itertools.product(forms, ("", *LEVELS), ("", "named", "unknown"), range(8))
    for verb, level, bot, bits in square:
        fork, own, itself = bool(bits & 1), bool(bits & 2), bool(bits & 4)
        login = {"": "alice", "named": "renovate[bot]", "unknown": "other[bot]"}[bot]
        who = Asker(login, 7, level, is_bot=bool(bot), is_own=own, from_fork=fork)
        plain = verb.rstrip("+")
        said = {"targets": ("t",)} if KINDS[plain].takes_tasks else {"targets": ()}
        if verb.endswith("+"):
            said |= STRONGER[plain]
        asked = command(plain, *said.pop("targets"), **said)
        authors = frozenset({who.actor if itself else f"bob <8+bob@{HOST}>"})
        got = code(asked, who, here, of, authors=authors)
        wanted = oracle(verb, level, bot, fork=fork, own=own, itself=itself)
        seen += 1
        if got != wanted:
            wrong.append((verb, level, bot, fork, own, itself, got, wanted))
    assert not wrong
    assert seen == len(forms) * 6 * 3 * 8


def test_the_person_at_the_terminal_may_do_all_of_it() -> None:
    of = wanting("merge", of=plan_of({"id": "t", "approvers": ["bob"]}))
    assert {code(command(verb, "t"), TERMINAL, rules(), of) for verb in KINDS} == {"yes"}


def test_somebody_whom_the_forge_gave_no_name_is_not_the_person_at_the_terminal() -> None:
    assert code(command("hold"), Asker(""), rules(), None) == "not-allowed"


@pytest.mark.parametrize(
    ("level", "config", "expected"),
    [
        ("write", {}, "yes"),
        ("write", {"command_permissions": {"hold": "maintain"}}, "not-allowed"),
        ("triage", {"command_permissions": {"hold": "triage"}}, "yes"),
        ("read", {"command_permissions": {"retry": "read"}}, "not-allowed"),
        ("read", {"command_permissions": {"hold": {"users": ["Alice"]}}}, "yes"),
        ("read", {"command_permissions": {"hold": {"level": "admin", "users": "alice"}}}, "yes"),
        ("", {"command_permissions": {"hold": {"users": ["shop/core"]}}}, "yes"),
        ("", {"command_permissions": {"hold": {"users": ["shop/other"]}}}, "not-allowed"),
        ("read", {"allow_users": ["alice"]}, "yes"),
        ("read", {"allow_users": ["shop/core"]}, "yes"),
        ("read", {"allow_users": ["bob"]}, "not-allowed"),
        ("read", {"allow_bots": ["alice"]}, "not-allowed"),
        ("strange", {}, "not-allowed"),
    ],
)
def test_the_config_says_who_may_give_a_command(
    level: str, config: dict[str, Any], expected: str
) -> None:
    who = Asker("alice", 7, level, teams=frozenset({"Shop/Core"}))
    assert code(command("hold"), who, rules(**config), None) == expected


def test_a_stronger_form_is_not_lent_with_the_verb() -> None:
    lent = rules(command_permissions={"retry": {"level": "triage", "users": ["alice"]}})
    alice, carol = Asker("alice", 7, "write"), Asker("carol", 9, "maintain")
    forced = command("retry", "t", force=True)
    of = snapshot(plan_of({"id": "t"}), "f")
    assert [code(forced, who, lent, of) for who in (alice, carol)] == ["not-allowed", "yes"]
    strict = rules(command_permissions={"retry": "admin"})
    assert code(forced, carol, strict, of) == "not-allowed"


def test_whom_the_config_lets_in_counts_as_one_who_can_write_and_not_as_more() -> None:
    here = rules(allow_users=["alice"], allow_bots=["renovate[bot]"])
    people = [Asker("alice", 7, level) for level in ("", "write", "admin")]
    assert [standing(who, here) for who in people] == ["write", "write", "admin"]
    assert standing(Asker("Renovate[bot]", 8, is_bot=True), here) == "write"
    assert standing(Asker("renovate", 9), here) == ""


def test_who_may_not_give_a_command_does_not_learn_which_tasks_there_are() -> None:
    of = snapshot(plan_of({"id": "t"}))
    for level, expected in ("read", "not-allowed"), ("write", "no-such-task"):
        assert code(command("hold", "x"), Asker("eve", 6, level), rules(), of) == expected


OWNED = "* @shop/core\n/pay/ @bob @carol\n/pay/log.py\n*.md @dave\n"


def may_approve(
    who: str,
    level: str = "write",
    *,
    gates: Iterable[str] = (),
    touched: Iterable[str] = (),
    config: dict[str, Any] | None = None,
    **about: Any,
) -> str:
    """Return what becomes of somebody's `approve t`; `about` says more of the task."""
    of = plan_of({"id": "t", "approval": ["merge"], **about})
    attempt = Attempt(number=1, report="a" * 40, touched=tuple(touched))
    asked = wanting(*gates, of=of, records={"t": {"attempts": (attempt,)}})
    asker = Asker(who, 7, level, teams=frozenset({"shop/core"} if who == "erin" else ()))
    return code(command("approve", "t"), asker, rules(OWNED, **(config or {})), asked)


def test_approvers_of_a_plan_choose_among_those_who_can_write() -> None:
    asked: dict[str, Any] = {"approvers": ["bob", "shop/core"]}
    assert may_approve("bob", **asked) == "yes"
    assert may_approve("BOB", **asked) == "yes"
    assert may_approve("erin", **asked) == "yes"
    assert may_approve("bob", "triage", **asked) == "not-allowed"
    assert may_approve("carol", "admin", **asked) == "not-allowed"
    assert may_approve("bob") == "not-allowed"


def test_what_the_config_wants_approved_a_plan_can_only_tighten() -> None:
    asked: dict[str, Any] = {"approvers": ["bob"], "gates": ["merge"]}
    assert may_approve("bob", **asked) == "not-allowed"
    assert may_approve("bob", "maintain", **asked) == "yes"
    assert may_approve("carol", "admin", **asked) == "not-allowed"
    lowered: dict[str, Any] = {"command_permissions": {"approve": "write"}}
    assert may_approve("bob", **asked, config=lowered) == "yes"
    raised: dict[str, Any] = {"command_permissions": {"approve": "admin"}}
    assert may_approve("bob", "maintain", approvers=["bob"], config=raised) == "not-allowed"
    named: dict[str, Any] = {"command_permissions": {"approve": {"users": ["bob"]}}}
    assert may_approve("bob", "read", **asked, config=named) == "yes"
    assert may_approve("carol", "read", **asked, config=named) == "not-allowed"
    others: dict[str, Any] = {**asked, "approvers": ["carol"]}
    assert may_approve("bob", "read", **others, config=named) == "not-allowed"


@pytest.mark.parametrize(
    ("who", "files", "expected"),
    [
        ("bob", ["pay/a.py"], "yes"),
        ("bob", ["pay/a.py", "main.py"], "not-allowed"),
        ("erin", ["pay/a.py", "main.py"], "not-allowed"),
        ("erin", ["main.py", "lib/x.py"], "yes"),
        ("bob", ["pay/log.py"], "not-allowed"),
        ("bob", [], "not-allowed"),
        ("bob", ["pay/*"], "not-allowed"),
        ("dave", ["notes.md", "pay/notes.md"], "yes"),
    ],
)
def test_code_owners_approve_what_is_all_theirs(who: str, files: list[str], expected: str) -> None:
    assert may_approve(who, files=files, approvers=["codeowners"]) == expected
    if expected == "yes":
        assert may_approve(who, "triage", files=files, approvers=["codeowners"]) == "not-allowed"
        touched = ["setup.cfg", "pay/log.py"]
        more = may_approve(who, files=files, approvers=["codeowners"], touched=touched)
        assert more == "not-allowed"


def test_an_approver_by_name_stands_beside_the_code_owners() -> None:
    asked: dict[str, Any] = {"approvers": ["codeowners", "carol"], "files": ["main.py", "a.md"]}
    who = ("carol", "dave", "erin", "bob")
    assert [may_approve(one, **asked) for one in who] == ["yes", *["not-allowed"] * 3]


def test_the_config_can_let_code_owners_in_beside_a_level() -> None:
    lent: dict[str, Any] = {"command_permissions": {"approve": {"codeowners": True}}}
    people = (("bob", "write"), ("erin", "write"), ("bob", "read"), ("erin", "maintain"))
    found = [may_approve(*who, files=["pay/a.py"], config=lent) for who in people]
    assert found == ["yes", "not-allowed", "not-allowed", "yes"]


def test_an_approval_is_withdrawn_by_who_gave_it_or_with_the_level() -> None:
    bob, carol = Asker("bob", 8, "read"), Asker("carol", 9, "write")
    yes = Approval(gate="merge", by=bob.actor, at=1, sha="", digest="d")
    plan = plan_of({"id": "t"}, {"id": "u"})
    of = snapshot(plan, "rr", records={"t": {"approvals": (yes,)}}, approved=yes)
    for targets in ((), ("plan",), ("t",), ("all",)):
        asked = command("unapprove", *targets)
        who = (bob, carol, Asker("dave", 1, "maintain"))
        assert [code(asked, one, rules(), of) for one in who] == ["yes", "not-allowed", "yes"]
    assert code(command("unapprove", "u"), bob, rules(), of) == "not-allowed"


def test_nobody_approves_their_own_work_unless_the_repository_says_so() -> None:
    of = snapshot(plan_of({"id": "t", "approval": ["merge"]}), "r")
    alice = Asker("alice", 7, "admin")
    mine = frozenset({f"Renamed <7+renamed@{HOST}>"})
    namesake = frozenset({f"alice <70+alice@{HOST}>", "alice <alice@example.com>"})
    asked = command("approve", "t")
    assert code(asked, alice, rules(), of, authors=mine) == "self-approval"
    assert code(asked, alice, rules(), of, authors=namesake) == "yes"
    assert code(asked, alice, rules(), of, authors=frozenset({f"a <ALICE@{HOST}>"})) == (
        "self-approval"
    )
    alone = rules(allow_self_approval=True)
    assert code(asked, alice, alone, of, authors=mine) == "yes"
    for verb in ("reject", "unapprove", "hold"):
        assert code(command(verb, "t"), alice, rules(), of, authors=mine) == "yes"


def test_whose_work_it_is_is_told_by_the_plan_and_by_the_results() -> None:
    attempts = (
        Attempt(number=1, agent="person", actor="dora"),
        Attempt(number=2, actor="github-actions[bot]", report="a" * 40),
    )
    plan = plan_of({"id": "t"}, {"id": "u"})
    of = snapshot(plan, "rr", records={"t": {"attempts": attempts}}, accepted_by="erin")
    found = work(command("approve", "t"), of)
    assert (found.actors, found.commits) == (frozenset({"erin", "dora"}), ("plan1",))
    assert found.results == ("a" * 40,)
    assert work(command("approve"), of).results == ()
    assert work(command("reject", "t"), of).actors == frozenset()


@pytest.mark.parametrize(
    ("times", "limit", "expected"),
    [
        ((), 1, "yes"),
        ((NOW - 3600,), 1, "yes"),
        ((NOW - 3599,), 1, "the next one is taken at 13:46 UTC"),
        ((NOW - 1800, NOW - 60, NOW - 3000), 3, "the next one is taken at 13:56 UTC"),
        ((NOW - 1800, NOW - 60, NOW - 3000), 2, "the next one is taken at 14:16 UTC"),
        ((NOW - 1800, NOW - 60, NOW - 3000), 4, "yes"),
    ],
)
def test_an_hour_holds_so_many_commands_of_one_person(
    times: tuple[float, ...], limit: int, expected: str
) -> None:
    asked = command("hold"), Asker("a", 7, "admin"), rules(command_limit=limit), None
    if expected == "yes":
        permit(*asked, recent=times, now=NOW)
        return
    with pytest.raises(Refused) as error:
        permit(*asked, recent=times, now=NOW)
    assert (error.value.reason_code, error.value.hint) == ("rate-limited", expected)


@pytest.mark.parametrize(
    ("who", "config", "expected"),
    [
        (None, {}, ""),
        (
            None,
            {"start": {"level": "maintain"}},
            "somebody proposed it, and `/start` takes maintain",
        ),
        (Asker("bob", 7, "write"), {}, ""),
        (Asker("bob", 7, "maintain"), {"start": {"level": "maintain"}}, ""),
        (Asker("bob", 7, "triage"), {}, "bob proposed it, and `/start` takes write"),
        (Asker("bob", 7, "triage"), {"start": {"level": "triage"}}, ""),
        (Asker("bob", 7), {"start": {"users": ["bob"]}}, ""),
        (Asker("carol", 7), {}, ""),
        (Asker("own[bot]", 7, is_bot=True), {}, ""),
        (
            Asker("x[bot]", 7, "admin", is_bot=True),
            {},
            "x[bot] proposed it, and `/start` takes write",
        ),
    ],
)
def test_a_plan_of_somebody_who_could_not_start_it_is_doubted(
    who: Asker | None, config: dict[str, Any], expected: str
) -> None:
    lent: dict[str, Any] = {"allow_users": ["carol"], "allow_bots": ["own"]}
    here = rules(**lent, command_permissions=config)
    assert doubt(who, here) == expected


def test_who_could_is_said_and_nobody_is_called() -> None:
    of = snapshot(
        plan_of({"id": "t", "approval": ["merge"], "approvers": ["bob", "shop/core"]}), "r"
    )
    with pytest.raises(Refused) as error:
        permit(command("approve", "t"), Asker("eve", 6, "read"), rules(), of)
    assert (error.value.message, error.value.hint) == (
        "`eve` is no approver of `t`",
        "who can: `bob`, team `shop/core` with write",
    )
    with pytest.raises(Refused) as error:
        permit(command("retry", "t"), Asker("eve", 6), rules(), of)
    assert (error.value.message, error.value.hint) == (
        "`eve` has no rights here; `/retry` needs write",
        "who can: anybody with write",
    )
    lent = rules(OWNED, command_permissions={"hold": {"users": ["dave"], "codeowners": True}})
    owned = snapshot(plan_of({"id": "t", "files": ["pay/x"]}))
    assert who_can(command("hold", "t"), lent, owned) == (
        "who can: anybody with write or `bob`, `carol` with write or `dave`"
    )


def test_the_teams_that_could_matter_are_told_beforehand() -> None:
    here = rules(
        "* @Shop/Core @bob\n",
        allow_users=["shop/friends", "carol"],
        command_permissions={"approve": {"users": ["shop/leads"], "codeowners": True}},
    )
    of = snapshot(plan_of({"id": "t", "files": ["a"]}), "r")
    named = {"shop/core", "shop/friends", "shop/leads"}
    assert teams(command("approve", "t"), here, of) == named
    assert teams(command("hold"), here, of) == {"shop/friends"}


# --- CODEOWNERS -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", "a a/b .x/y", ""),
        ("*.js", "a.js b/a.js", "a.jsx js"),
        ("/build/logs/", "build/logs/a build/logs/b/c", "build/logs x/build/logs/a"),
        ("docs/*", "docs/a.md", "docs/b/a.md docs x/docs/a.md"),
        ("apps/", "apps/a b/apps/c/d", "apps b/apps xapps/a"),
        ("/apps/github", "apps/github apps/github/a", "apps/githubs b/apps/github"),
        ("**/logs", "logs a/logs a/b/logs/c", "logsx"),
        ("/*", "a .x", "a/b"),
        ("src/**", "src/a src/b/c", "src x/src/a"),
        ("/a/**/b", "a/b a/x/b a/x/y/b/c", "a/xb b"),
        ("/docs/a?.md", "docs/ab.md", "docs/a.md docs/a/.md docs/abc.md"),
        ("my\\ file.txt", "my file.txt a/my file.txt", "my"),
        ("x.+y", "x.+y", "xxxy x.y"),
    ],
)
def test_a_pattern_of_code_owners_is_about_what_github_says(
    pattern: str, yes: str, no: str
) -> None:
    (line,) = owners.read(f"{pattern} @bob # a note\n").lines
    assert line.owners == {"bob"}
    separator = "|" if " " in yes and "my file" in yes else " "
    names = yes.replace(".txt a", ".txt|a").split(separator)
    assert [path for path in names if not line.owns(path)] == []
    assert [path for path in no.split() if line.owns(path)] == []


def test_the_last_line_that_matches_says_whose_it_is() -> None:
    text = (
        "# ours\n\n* @a\n!*.md @b\n\\#x @b\n[ab].c @b\n/ @b\n*.md @B @o/T me@example.com #c\n"
        "x.md\n@nobody\n"
    )
    found = owners.read(text)
    assert [line.pattern for line in found.lines] == ["*", "*.md", "x.md", "@nobody"]
    owned = {path: [*found.of(path)] for path in ("a.py", "d/y.md", "x.md")}
    assert owned == {
        "a.py": [{"a"}],
        "d/y.md": [{"b", "o/t", "me@example.com"}],
        "x.md": [frozenset()],
    }
    assert [*Owners().of("a")] == [frozenset()]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("src/", ["c", "b"]),
        ("src/*.py", ["c", "b"]),
        ("src/deep/**", ["c", "b"]),
        ("lib/", ["c", "a"]),
        ("**", ["c", "d", "b", "a"]),
        ("/docs/", ["c", "d", "a"]),
        ("docs/x", ["d"]),
    ],
)
def test_a_folder_is_whose_any_of_it_may_be(entry: str, expected: list[str]) -> None:
    found = owners.read("* @a\n/src/ @b\n/docs/* @d\n*.md @c\n")
    assert [next(iter(one)) for one in found.of(entry)] == expected


@given(st.text("ab*?/.#[! \\@\n", max_size=40), st.text("ab/*.\n", max_size=30))
def test_no_file_of_code_owners_and_no_path_is_too_odd_to_read(text: str, path: str) -> None:
    assert all(isinstance(one, frozenset) for one in owners.read(text).of(path))


# --- the config -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "mend"),
    [
        (
            "command_permissions: {retyr: read}",
            "command_permissions.retyr",
            "did you mean `retry`?",
        ),
        (
            "command_permissions: {update: {codeowners: true}}",
            "command_permissions.update.codeowners",
            "remove it",
        ),
        ("allow_bots: ['*']", "allow_bots[0]", "write its name: `renovate`, or `renovate[bot]`"),
        (
            "allow_users: ['@bob']",
            "allow_users[0]",
            "write it without `@`; a team is `organisation/team`",
        ),
        ("ignore_commands: [/retest]", "ignore_commands[0]", "write it without `/`"),
    ],
)
def test_what_is_no_rule_for_commands_is_told_with_its_place(
    text: str, key: str, mend: str
) -> None:
    with pytest.raises(InvalidFile) as error:
        spec.read_config(text.encode(), file="c.yml")
    (problem,) = error.value.problems
    assert (problem.key, problem.mend) == (key, mend)


def test_who_does_a_run_again_is_known_by_the_login_where_the_number_is_not() -> None:
    bob, again = Asker("bob", 2, "write"), Asker("Bob", 0, "write")
    assert again.actor == f"Bob <Bob@{HOST}>"
    assert [one.is_(other.actor) for one in (bob, again) for other in (bob, again)] == [True] * 4
    assert not bob.is_(Asker("bob", 3).actor)
    assert not Asker("", 0).is_(Asker("", 0).actor)
    assert Asker.called(bob.actor, "write") == bob
