"""The replies to commands: what they say, and that nothing in them pings, runs or breaks out."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gitflow_agents.commands import LEVELS, Refused, kinds
from gitflow_agents.grammar import Heard, Line, Prefix, read
from gitflow_agents.models import DoneReport, Limits, Reason
from gitflow_agents.render import answers, done_report, story
from tests.test_scheduler import NOW, needing, plan_of, snapshot

ALWAYS = Prefix(is_required=True)


def line(text: str) -> Line:
    (found,) = read(text).lines
    return found


def asked(text: str, level: str = "write", letters: str = "rfp") -> str:
    command = line(text).command
    assert command is not None
    of = snapshot(needing(a="", b="", c="a"), letters)
    return answers.answer(of, Limits(), NOW, command, level)


# --- what was asked for ---------------------------------------------------------------------------


def test_a_status_names_the_commands_as_they_are_written_in_a_comment() -> None:
    told = asked("/status demo/b").split("\n")
    assert told[:7] == [
        "```text",
        "Waiting for you: 1 thing (the plan runs by itself, without approvals)",
        "  b failed",
        "      $ gitflow-agents show demo/b",
        "      /retry b",
        "  nothing is at work just now; to go on:",
        "      /start",
    ]
    assert told[-3:] == ["b   failed  1                             b", "```", ""]


def test_a_status_of_many_tasks_lists_those_that_something_happens_to() -> None:
    tasks = [{"id": f"t{n}"} for n in range(50)]
    of = snapshot(plan_of(*tasks), "p" * 48 + "fr")
    look, verbose = line("/status").command, line("/status --verbose").command
    assert look is not None
    assert verbose is not None
    rows = [
        [row.split()[0] for row in told.split("ID  ")[1].split("\n")[1:-2]]
        for told in (answers.answer(of, Limits(), NOW, one, "read") for one in (look, verbose))
    ]
    assert rows[0] == ["t48", "t49"]
    assert len(rows[1]) >= 50


def test_what_blocks_a_task_is_told_link_by_link() -> None:
    assert asked("/explain c") == (
        "```text\n"
        "c c\n"
        "  is pending and waits for 1 task: a\n"
        "\n"
        "What blocks it\n"
        "  c  pending  c\n"
        "  a  review   a\n"
        "  a is done and waits to be merged.\n"
        "\n"
        "What it unblocks\n"
        "  nothing waits for it\n"
        "```\n"
    )


def test_the_schedule_is_told() -> None:
    told = asked("/waves")
    assert told.startswith("```text\nPlan demo: 3 tasks in 2 waves\n")
    assert told.endswith("a budget_usd.\n```\n")


@pytest.mark.parametrize("text", ["/status zz", "/explain zz", "/explain other/a"])
def test_a_task_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(Refused) as error:
        asked(text)
    assert error.value.reason_code == "no-such-task"


@pytest.mark.parametrize("level", ["", *LEVELS])
def test_help_lists_exactly_what_somebody_may_give(level: str) -> None:
    told = asked("/help", level)
    listed = [row.split("`")[1] for row in told.split("\n") if row.startswith("| `")]
    reach = LEVELS[: LEVELS.index(level) + 1] if level else ()
    assert listed == [f"/{verb}" for verb, kind in kinds("comment").items() if kind.level in reach]
    more = len(kinds("comment")) - len(listed)
    assert (f"{more} more commands need the role " in told) is bool(more)


def test_help_goes_by_what_the_config_wants() -> None:
    wanted = {"retry": "admin", "skip": "read"}
    listed = answers.usable("write", levels=wanted)
    assert "`/skip`" in listed
    assert "`/retry`" not in listed
    assert "the role maintain or admin on" in listed
    assert "It takes the role admin." in answers.usable("read", "retry", levels=wanted)


def test_help_on_a_command_says_all_of_it() -> None:
    assert asked("/help skip") == (
        "```text\n"
        '/skip TASK... "REASON" [--provides] [--dry-run]\n'
        "```\n"
        "\n"
        "Leave a task out; the tasks that need it stay blocked unless --provides.\n"
        "\n"
        "- `--provides`: Declare that what it provides is there.\n"
        "\n"
        "What stands below the command is `--reason`, if nothing else says it.\n"
        "\n"
        "It takes the role maintain. For example:\n"
        "\n"
        "```text\n"
        '/skip t4 "the reason"\n'
        "```\n"
    )
    assert asked("/help /CANCEL") == asked("/help stop")
    assert asked("/help stpo").startswith("`stpo` is not a command.\n\n| Command |")


# --- what became of a command ---------------------------------------------------------------------


def test_what_was_done_is_told_with_its_undo() -> None:
    said = ("a1 is tried again by the next run",)
    assert answers.done(line("/rerun a1"), said, "stop demo/a1", "demo") == (
        "`/rerun a1` (that is `/retry`):\n"
        "\n"
        "- a1 is tried again by the next run\n"
        "\n"
        "To undo it:\n"
        "\n"
        "```text\n"
        "/stop a1\n"
        "```\n"
    )
    with_prefix = answers.done(line("/retry a1"), said, "stop demo/a1", "demo", ALWAYS)
    assert with_prefix.endswith("```text\n/gitflow stop a1\n```\n")


def test_an_undo_of_git_is_for_a_clone() -> None:
    undo = "git switch flow/demo && git revert -m 1 HEAD && git switch -"
    assert answers.done(line("/update"), ("so",), undo, "demo") == (
        f"`/update`:\n\n- so\n\nTo undo it, in a clone:\n\n```sh\n{undo}\n```\n"
    )


def test_a_rehearsal_says_what_would_be_and_has_nothing_to_undo() -> None:
    told = answers.done(line("/stop a --dry-run"), ("a is stopped",), "retry demo/a", "demo")
    assert told == "`/stop a --dry-run` would do this:\n\n- a is stopped\n"


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (Refused("wrong-state", "a is running", hint="stop demo/a"), "a is running. Next:\n\n```text\n/stop a\n```"),
        (Refused("x", "3 of 3 used", hint="retry demo/a --force gives it one more"), "3 of 3 used. Next, which gives it one more:\n\n```text\n/retry a --force\n```"),
        (Refused("x", "so", hint="show demo/a"), "so. Next, in a clone:\n\n```sh\ngitflow-agents show demo/a\n```"),
        (Refused("x", "so", hint="run the command again"), "so. Run the command again."),
        (Refused("x", "so", hint="give it once for each"), "so. Give it once for each."),
        (Refused("no-such-task", "plan demo has no 'b'", hint="near ids: a"), "plan demo has no 'b'. Near ids: a."),
        (Refused("not-allowed", "`alice` has read; `/retry` needs write"), "`alice` has read; `/retry` needs write."),
    ],
)  # fmt: skip
def test_a_refusal_gives_the_reason_and_what_to_do(refused: Refused, told: str) -> None:
    assert answers.refusal(line("/retry a"), refused, "demo") == f"`/retry a` was refused: {told}\n"


def test_a_comment_with_a_wrong_line_is_answered_once_with_all_its_lines() -> None:
    assert answers.wrong(read("/retry t1\n/retyr t2\n/skip t3").lines) == (
        "Nothing ran, because 2 lines are wrong.\n"
        "\n"
        "- `/retry t1` is right.\n"
        "\n"
        "- `/retyr t2` was refused: `/retyr` is not a command; did you mean `/retry`? Next:\n"
        "  \n"
        "  ```text\n"
        "  /retry t2\n"
        "  ```\n"
        "\n"
        "- `/skip t3` was refused: `/skip` needs a task and a reason. "
        'For example `/skip t4 "the reason"`.\n'
    )
    assert answers.wrong(read("@bot retry 003 with: use reqwest").lines) == (
        "`@bot retry 003 with: use reqwest` is nearly a command, so nothing ran. To give it:\n"
        "\n"
        '```text\n/retry 003 --append "use reqwest"\n```\n'
    )


# --- whatever is in it ----------------------------------------------------------------------------

HOSTILE = st.lists(
    st.sampled_from(
        [
            *("@alice", "@org/team", "#12", "`", "``", "```", "~~~", "<!--", "-->", "<b>", "[x](y)"),
            *("\n", "\n/stop all", "\r/stop", "\n\n", "    ", "/stop all", "> ", "- ", "| a | b |"),
            *("![x](http://x)", "http://x", "\\", "*", "_", "~", "\x1b[31m", "\u202e", "&lt;", "$(x)"),
            *("@bot stop all", "gitflow stop all", "\n@bot stop all", "\n\ngitflow stop 1"),
        ]
    )
    | st.text(max_size=6),
    max_size=12,
).map("".join)  # fmt: skip
TOKENS = frozenset(
    "paragraph_open paragraph_close inline bullet_list_open bullet_list_close list_item_open "
    "list_item_close fence text code_inline text_special softbreak".split()
)


def held_together(reply: str, parts: int) -> None:
    """Check that a reply is the paragraphs that it was made of, says nothing to us, pings nobody."""
    assert read(reply) == Heard()
    assert read(reply, prefix=ALWAYS) == Heard()
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(reply)
    seen = [*tokens, *(child for token in tokens for child in token.children or ())]
    assert {token.type for token in seen} <= TOKENS
    assert sum(token.level == 0 and token.nesting >= 0 for token in tokens) == parts
    for token in seen:
        if token.type in ("text", "text_special"):
            assert "@" not in token.content.replace("@\u200b", "")


@given(HOSTILE, HOSTILE, HOSTILE)
@example("`", "`@alice`", "`")
def test_no_reply_breaks_pings_or_is_a_command(text: str, reason: str, hint: str) -> None:
    spoken = Line(1, text[:300] or "x", "stop", None, None)
    held_together(answers.refusal(spoken, Refused("x", reason), "demo"), 1)
    held_together(answers.done(spoken, (f"x {reason}", f"y {hint}"), "", "demo"), 2)
    told = answers.refusal(spoken, Refused("x", "so", hint=f"see {hint}"), "demo")
    held_together(told, 1)
    with_undo = answers.done(spoken, (), f"git switch {hint}", "demo")
    held_together(with_undo, 3)
    bad = Line(2, text[:300] or "x", "", None, Refused("bad-value", reason, hint=f"/x {hint}"))
    held_together(answers.wrong([spoken, bad], "demo"), 2)


@given(HOSTILE)
def test_what_people_wrote_in_a_comment_comes_back_as_data(text: str) -> None:
    for comment in (f"/retry {text}", f"/skip t4 {text}", f"@bot retry 3 {text}"):
        lines = [one for one in read(comment).lines if one.refused]
        if lines:
            assert read(answers.wrong(lines, "demo")) == Heard()


@settings(max_examples=settings().max_examples // 5)
@given(HOSTILE, HOSTILE)
@example("", "@alice\n\ngitflow stop 1")
def test_nothing_that_we_write_of_a_plan_by_ourselves_is_a_command(text: str, other: str) -> None:
    plan = plan_of({"id": "a", "title": text or "x"}, {"id": "b", "description": other or "y"})
    failed = {"a": {"message": text, "reason": Reason.AGENT_ERROR}}
    of = snapshot(plan, "fr", held=other, records=failed)
    report = DoneReport(
        plan="demo",
        task="a",
        attempt=1,
        outcome="failed",
        message=text,
        started_at=NOW,
        ended_at=NOW,
        scope=other,
        summary=text,
        risks=(other,),
        output_tail=text,
    )
    told = (
        story.story(of, Limits(), NOW),
        story.opening(of, text, "https://x.example"),
        story.summary(of, Limits(), NOW),
        story.looked_at(of, "a", done_report(report)),
        story.check(of, Limits(), NOW).text,
    )
    assert [one for one in told if read(one) != Heard()] == []
