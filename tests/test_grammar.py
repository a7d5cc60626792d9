"""What a comment says to us: the grammar, every refusal, and texts that must say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gitflow_agents.commands import KINDS, Act, Refused, kinds, options
from gitflow_agents.grammar import (
    MOST_COMMANDS,
    MOST_SHOWN,
    Heard,
    Prefix,
    of_terminal,
    read,
    typed,
)
from gitflow_agents.grammar.arguments import MOST_NOTE, example_of, usage

ALWAYS = Prefix(is_required=True)


def commands(text: str, **how: Any) -> list[Act | None]:
    return [line.command for line in read(text, **how).lines]


def refused(text: str, **how: Any) -> tuple[str, str, str]:
    """Return code, message and hint of the first line that is refused."""
    heard = read(text, **how)
    assert heard.is_wrong
    found = next(line.refused for line in heard.lines if line.refused is not None)
    return found.reason_code, found.message, found.hint


def make(verb: str, *targets: str, **values: Any) -> Act:
    return KINDS[verb](targets=targets, **values)


# --- where commands stand -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/retry t1", [make("retry", "t1")]),
        ("  /retry t1  ", [make("retry", "t1")]),
        ("/retry\tt1\u00a0t2\u3000t3", [make("retry", "t1", "t2", "t3")]),
        ("/RETRY t1 --FRESH", [make("retry", "t1", fresh=True)]),
        ("/retry T1", [make("retry", "T1")]),
        ("/retry t1\r\n\r\n/stop t2\r\n", [make("retry", "t1"), make("stop", "t2")]),
        ("/retry t1\r/stop t2", [make("retry", "t1"), make("stop", "t2")]),
        ("\n\n> /stop all\n> me too\n\n/hold t1", [make("hold", "t1")]),
        ("<!-- /stop all -->\n/hold t1", [make("hold", "t1")]),
        ("<!--\n/stop all\n\n-->\n/hold t1", [make("hold", "t1")]),
        ("/lgtm\n/hold t1", [make("hold", "t1")]),
        ("/hold t1\n```\n/stop all\n```", [make("hold", "t1", reason="```\n/stop all\n```")]),
        ("/approve\n\n> /stop all", [make("approve")]),
        ("/approve\n\n    /stop all", [make("approve")]),
        ("/approve\n\n- ```\n  /stop all\n  ```", [make("approve")]),
        ("/approve\n\n1. - ~~~\n     x\n     ~~~\n/lgtm", [make("approve")]),
        ("/approve\n\n<pre>\n/stop all\n</pre>", [make("approve")]),
        ("/approve\nand <!-- see\n/stop all\n--> so", [make("approve")]),
        ("/gitflow retry t1", [make("retry", "t1")]),
        ("/gitflow  RETRY t1", [make("retry", "t1")]),
        ("/gitflow /retry t1", [make("retry", "t1")]),
    ],
)
def test_the_leading_lines_are_commands(text: str, found: list[Act]) -> None:
    assert commands(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "thanks, this looks good",
        "see /usr/bin and /retry",
        "/usr/bin is wrong",
        "/lgtm",
        "/stpo t1",
        "/reytr2 t1",
        "/ retry t1",
        "//retry t1",
        "\u00a0/retry t1",
        "\u200b/retry t1",
        "\ufeff/retry t1",
        "\\/retry t1",
        "/\u017ftop t1",
        "/re\u0442ry t1",
        '/s\u212aip t1 "x"',
        "`/retry t1`",
        "- /retry t1",
        "1. /retry t1",
        "> /retry t1",
        ">/retry t1",
        "> why\nnot that",
        "    /retry t1",
        "\t/retry t1",
        "   \t/retry t1",
        "```\n/retry t1\n```",
        "~~~ sh\n/retry t1",
        "````\n```\n/retry t1\n```\n````",
        "````\n    ````\n/retry t1",
        "<!-- /retry t1 -->",
        "<!-- /retry t1",
        "<!--\n/retry t1",
        "<!--\nx --> /retry t1",
        "x <!--\n/retry t1\n-->",
        "<pre>\n/retry t1\n</pre>",
        "x\u2028/retry t1",
        "x\x0b/retry t1",
        "x\x85/retry t1",
        "@alice retry 003",
        "gitflow is a nice name",
        "gitflow merge looks nice",
        "the bot should retry 003",
        "you can /retry 003 if you want",
        "@gitflow what is going on?",
        "`@gitflow retry 003`",
        "say `gitflow retry 003`",
        '"gitflow retry 003" is how',
        "Can you /retry it, alice?",
    ],
)
def test_what_is_not_said_to_us_is_not_heard(text: str) -> None:
    assert read(text) == Heard()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hello\n/stop t2", 2),
        ("/retry t1\nit was slow\n\n/stop t2", 4),
        ("hello <!-- x\n/stop t2", 2),
        ("hello <!-- x\n\n/stop t2\n\n-->", 3),
        ("<!--\n/stop all --> hello\n/stop t2", 3),
        ("/approve\n\n> why\n\n/stop t2", 5),
        ("- ```\n  x\n  ```\n/stop t2", 4),
    ],
)
def test_a_command_that_is_not_first_runs_nothing_and_is_told(text: str, line: int) -> None:
    assert refused(text) == (
        "not-leading",
        f"`/stop t2` is on line {line}, and commands must come first in a comment; nothing ran",
        "send it as the first line of a comment",
    )


def test_a_command_right_below_a_quote_is_a_part_of_it() -> None:
    for text, line in (("> he said\n/stop t2", 2), ("> he said\nthat\n/stop t2", 3)):
        code, message, _ = refused(text)
        assert code == "not-leading"
        assert message == (
            f"`/stop t2` is on line {line}, right below a quote and so a part of it: "
            "leave a blank line between; nothing ran"
        )


def test_one_wrong_line_of_several_makes_the_comment_wrong_and_all_are_told() -> None:
    heard = read("/retry t1\n/retyr t2\n/skip t3")
    assert heard.is_wrong
    told = [line.refused.reason_code if line.refused else "" for line in heard.lines]
    assert told == ["", "unknown-verb", "missing-argument"]
    assert [line.number for line in heard.lines] == [1, 2, 3]


# --- what a line says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('/skip t4 "not now"', make("skip", "t4", reason="not now")),
        ('/skip "not now" t4', make("skip", "t4", reason="not now")),
        ("/skip t4 -m gone --provides", make("skip", "t4", reason="gone", provides=True)),
        ('/reject t4 --reason="say \\"why\\" \\\\ \\n"', make("reject", "t4", reason='say "why" \\ \\n')),
        ("/hold t4 “a “phone’s” text”", None),
        ("/hold t4 “on my phone”", make("hold", "t4", reason="on my phone")),
        ('/feedback t1 t2 "use reqwest"', make("feedback", "t1", "t2", text="use reqwest")),
        ("/answer t1 b", make("answer", "t1", choice="b")),
        ('/answer t1 "Use SQL"', make("answer", "t1", choice="Use SQL")),
        ("/answer t1 --decline", make("answer", "t1", decline=True)),
        ("/feedback t1 --withdraw", make("feedback", "t1", withdraw=True)),
        ("/retry t1 --agent codex --budget 2.5 --timeout 1h", make("retry", "t1", agent="codex", budget=2.5, timeout="1h")),
        ("/retry t4 —append “$(rm -rf /); `id`” —fresh", make("retry", "t4", append="$(rm -rf /); `id`", fresh=True)),
        ('/retry t4 --append "--fresh"', make("retry", "t4", append="--fresh")),
        ("/retry t* wave:2 demo/7", make("retry", "t*", "wave:2", "demo/7")),
        ("/stop plan", make("stop", "plan")),
        ("/help retry", make("help", about="retry")),
        ("/status --verbose", make("status", verbose=True)),
        ("/start --max-parallel 3", make("start", max_parallel=3)),
        ("/submit t1 --output a=1 --output b=2", make("submit", "t1", output=("a=1", "b=2"))),
    ],
)  # fmt: skip
def test_words_end_up_in_the_fields_of_a_command(text: str, found: Act | None) -> None:
    assert commands(text) == [found]


@pytest.mark.parametrize(
    ("text", "verb", "synonym"),
    [
        ("/rerun", "retry", "rerun"),
        ("/retest t1", "retry", "retest"),
        ("/cancel t1", "stop", "cancel"),
        ("/unhold", "resume", "unhold"),
        ("/hold cancel t1", "resume", "hold cancel"),
        ("/approve CANCEL", "unapprove", "approve cancel"),
        ("/gitflow cancel t1", "stop", "cancel"),
        ("/stop t1", "stop", ""),
    ],
)
def test_other_words_for_a_command_are_told_with_its_name(
    text: str, verb: str, synonym: str
) -> None:
    (line,) = read(text).lines
    assert (line.verb, line.synonym, line.refused) == (verb, synonym, None)
    assert type(line.command) is KINDS[verb]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/retry t1\n\nuse reqwest\nand rustls", [make("retry", "t1", append="use reqwest\nand rustls")]),
        ("/retry t1 --replace x\nthanks", [make("retry", "t1", replace="x")]),
        ("/skip t1\nnot needed", [make("skip", "t1", reason="not needed")]),
        ('/skip t1\n/reject t2 "slow"\nno need', [make("skip", "t1", reason="no need"), make("reject", "t2", reason="slow")]),
        ("/approve\nthanks", [make("approve")]),
        ("/answer t1\nneither of them", [make("answer", "t1", text="neither of them")]),
        ("/answer t1 b\nbut small", [make("answer", "t1", choice="b", text="but small")]),
        ("/answer t1 --decline\nthanks", [make("answer", "t1", decline=True)]),
        ("/retry t1\nsee <!-- hidden --> this\n<!-- tracker: 1 -->", [make("retry", "t1", append="see <!-- hidden --> this")]),
        ("/add-task\nHere:\n```yaml\ntitle: a\n```\nthanks", [make("add-task", text="title: a\n")]),
        ("/add-task --title a --run b\nthanks", [make("add-task", title="a", run="b")]),
    ],
)  # fmt: skip
def test_what_stands_below_goes_to_the_last_command_that_takes_it(
    text: str, found: list[Act]
) -> None:
    assert commands(text) == found


def test_a_long_text_below_breaks_only_a_command_that_takes_it() -> None:
    assert commands("/approve\n" + "x" * 5000) == [make("approve")]
    assert refused("/retry t1\n" + "x" * 5000)[:2] == (
        "too-long",
        "what stands below a command has at most 4000 letters, and this has 5000",
    )


def test_a_rehearsal_can_be_asked_for_of_what_acts() -> None:
    (line,) = read("/stop t1 --dry-run").lines
    assert (line.command, line.dry_run) == (make("stop", "t1"), True)
    assert refused("/status --dry-run")[0] == "unknown-flag"


def test_what_is_told_again_of_a_line_is_short() -> None:
    (line,) = read("/retry " + "x" * 60_000).lines
    assert line.text == "/retry " + "x" * 292 + "…"


RETRY = f"usage: `{usage(KINDS['retry'], '/')}`"


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "message", "hint"),
    [
        ("/retyr t1", "unknown-verb", "`/retyr` is not a command; did you mean `/retry`?", "/retry t1"),
        ("/retyr t1 --frsh", "unknown-verb", "`/retyr` is not a command; did you mean `/retry`?", "`/help` lists them"),
        ("/gitflow stpo t1", "unknown-verb", "`/gitflow stpo` is not a command; did you mean `/stop`?", "/stop t1"),
        ("/gitflow dance", "unknown-verb", "`/gitflow dance` is not a command", "`/help` lists them"),
        ("/gitflow", "unknown-verb", "`/gitflow` says no command", "`/help` lists them"),
        ("/open t1", "unknown-verb", "`open` is for a terminal only", "`/help` lists the others"),
        ("/merge --frsh", "unknown-flag", "`/merge` has no option `--frsh`", "usage: `/merge [TASK...] [--dry-run]`"),
        ("/merge --dryrun", "unknown-flag", "`/merge` has no option `--dryrun`; did you mean `--dry-run`?", "usage: `/merge [TASK...] [--dry-run]`"),
        ("/merge -x", "unknown-flag", "`/merge` has no option `-x`", "usage: `/merge [TASK...] [--dry-run]`"),
        ("/merge --dry-run=no", "bad-value", "`--dry-run` stands alone, and once", "usage: `/merge [TASK...] [--dry-run]`"),
        ("/merge t1,", "bad-value", "`t1,` in column 8 is no task; did you mean `t1`?", "usage: `/merge [TASK...] [--dry-run]`"),
        ("/merge ../x", "bad-value", "`../x` in column 8 is no task", "usage: `/merge [TASK...] [--dry-run]`"),
        ("/merge plan", "bad-value", "`/merge` is for tasks, and `plan` is none", "usage: `/merge [TASK...] [--dry-run]`"),
        ("/merge all t1", "target-clash", "`all` and `t1` cannot be named together", ""),
        ("/stop t1 plan", "target-clash", "`plan` and `t1` cannot be named together", ""),
        ("/update t1", "bad-value", "`/update` takes no task, and `t1` in column 9 is one more word", "usage: `/update [--dry-run]`"),
        ("/explain a b", "bad-value", "`/explain` takes one task, and `b` in column 12 is one more word", "usage: `/explain TASK`"),
        ("/skip t4", "missing-argument", "`/skip` needs a task and a reason", 'for example `/skip t4 "the reason"`'),
        ("/skip -m x", "missing-argument", "`/skip` needs a task and a reason", 'for example `/skip t4 "the reason"`'),
        ("/add-task", "missing-argument", "`/add-task` needs a task: a fenced block below it, or options", 'for example `/add-task --title "Say hello" --run "echo hello"`'),
        ("/feedback t4", "missing-argument", "`/feedback` needs a task and a text", 'for example `/feedback t4 "the text"`'),
        ("/answer t4", "missing-argument", "`/answer` needs a task and a choice, or a text below it", 'for example `/answer t4 "the choice"`'),
        ("/retry --timeout soon", "bad-value", "`--timeout` is not a time; write a number of minutes, or 90s, 30m, 2h, 8 minutes", RETRY),
        ("/retry --agent Claude!", "bad-value", "`--agent` cannot be `Claude!`", RETRY),
        ("/start -j", "missing-argument", "`-j` in column 8 needs a value", "usage: `/start [--max-parallel N] [--dry-run]`"),
        ("/retry --append --fresh", "missing-argument", "`--append` in column 8 needs a value", RETRY),
        ("/start -j ten", "bad-value", "`--max-parallel` needs a whole number, got `ten`", "usage: `/start [--max-parallel N] [--dry-run]`"),
        ("/start -j 0", "bad-value", "`--max-parallel` has to be greater than or equal to 1, not `0`", "usage: `/start [--max-parallel N] [--dry-run]`"),
        ("/start -j 1 -j 2", "bad-value", "`--max-parallel` is given twice", "usage: `/start [--max-parallel N] [--dry-run]`"),
        ("/approve --sha master", "bad-value", "`--sha` cannot be `master`", "usage: `/approve [TASK... or plan] [--sha TEXT] [--dry-run]`"),
        ('/skip t4 "no', "unclosed-quote", "the quote that opens in column 10 is not closed in its line", "a longer text can stand below the command, without quotes"),
        ('/skip t4"no"', "bad-value", "the quote in column 9 stands inside a word", "put quotes around all of it"),
        ('/skip t4 "no"t', "bad-value", "the quote in column 13 ends inside a word", 'a quote in quotes is written `\\"`'),
        ("/merge " + "x" * 201, "too-long", "an argument has at most 200 letters, and the one in column 8 has 201", "a longer text can stand below the command"),
        ("/merge" + " x" * 21, "too-many", "a command takes at most 20 arguments, and this has 21", "use a glob, or several commands"),
        ("/merge\n" * 11, "too-many", "a comment holds at most 10 commands; nothing ran", ""),
    ],
)  # fmt: skip
def test_a_wrong_line_is_refused_by_name(text: str, code: str, message: str, hint: str) -> None:
    assert refused(text) == (code, message, hint)


def test_options_that_do_not_go_together_are_refused_before_anything_runs() -> None:
    code, message, hint = refused("/retry t1 --append a --replace b")
    assert code == "bad-value"
    assert message == "--append, --replace and --prompt-modification cannot be given together"
    assert hint.startswith("usage: `/retry [TASK...] [--append TEXT]")
    (line,) = read("/retry t1 --prompt-mode now").lines
    assert line.refused is not None
    assert line.refused.message == "`--prompt-mode` is `append` or `replace`, not `now`"


# --- other programs -------------------------------------------------------------------------------


def test_where_the_prefix_is_required_nothing_else_is_ours() -> None:
    for text in ("/retry t1", "/retyr t1", "/open t1", "hello\n/retry t1"):
        assert read(text, prefix=ALWAYS) == Heard()
    assert commands("/approve\n/gitflow hold t1", prefix=ALWAYS) == [make("hold", "t1")]
    code, message, hint = refused("/gitflow retyr t1", prefix=ALWAYS)
    assert (code, hint) == ("unknown-verb", "/gitflow retry t1")
    assert message == "`/gitflow retyr` is not a command; did you mean `/gitflow retry`?"


def test_words_that_are_left_to_others_are_not_heard_but_with_the_prefix() -> None:
    others = frozenset({"retest", "retyr", "hold"})
    for text in ("/retest", "/retyr", "/hold cancel"):
        assert read(text, ignored=others) == Heard()
    assert commands("/gitflow hold t1", ignored=others) == [make("hold", "t1")]


# --- a form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["retry t1", " /retry t1 ", "gitflow retry t1", "/gitflow retry t1", "RETRY t1\n"]
)
def test_a_form_needs_no_slash_whatever_a_comment_needs(text: str) -> None:
    for prefix in (Prefix(), ALWAYS):
        heard = read(text, prefix=prefix, ignored=frozenset({"retry"}), is_form=True)
        assert [line.command for line in heard.lines] == [make("retry", "t1")]


def test_a_form_may_hold_several_commands_and_a_text() -> None:
    assert commands("skip t1\n/stop t2\n\nnot needed", is_form=True) == [
        make("skip", "t1", reason="not needed"),
        make("stop", "t2"),
    ]


def test_what_stands_in_a_form_is_answered_whatever_it_is() -> None:
    assert refused("lgtm", is_form=True) == (
        "unknown-verb",
        "`lgtm` is not a command",
        "`/help` lists them",
    )
    assert refused('skip t1 "no', is_form=True)[1].startswith("the quote that opens in column 9 is")
    assert read(" \n", is_form=True) == Heard()


# --- nearly a command -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("@bot retry 003 with: use reqwest", '/retry 003 --append "use reqwest"'),
        ("please /retry 003", "/retry 003"),
        ("gitflow retry 003", "/retry 003"),
        ("/gitflow-agents retry 003", "/retry 003"),
        ("Hey @gitflow, could you please retry task 003 and 004?", "/retry 003 004"),
        ("@gitflow retry `models`: use sqlite", '/retry models --append "use sqlite"'),
        ("@gitflow-agents[bot] skip 7 because it is gone", '/skip 7 "it is gone"'),
        ("@gitflow cancel 003 now", "/stop 003"),
        ("gitflow stop everything", None),
        ("@gitflow stop everything", "/stop"),
        ("@gitflow skip 003", 'usage: `/skip TASK... "REASON" [--provides] [--dry-run]`'),
        ("@gitflow status?", "/status"),
        ("well\n\n@gitflow explain 7", "/explain 7"),
    ],
)
def test_who_talks_to_us_gets_the_command_to_copy_and_nothing_runs(
    text: str, hint: str | None
) -> None:
    if hint is None:
        assert read(text) == Heard()
        return
    heard = read(text)
    assert [line.command for line in heard.lines] == [None]
    assert refused(text)[::2] == ("nearly", hint)
    if hint.startswith("/"):
        assert not read(hint).is_wrong


def test_a_wish_below_a_command_is_a_part_of_its_text() -> None:
    assert commands("/retry t1\nplease /retry 003") == [
        make("retry", "t1", append="please /retry 003")
    ]


# --- writing commands -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("revert p/1 p/2 -m WHY", ('/revert 1 2 "WHY"', "")),
        ("resume p", ("/resume", "")),
        ("run p", ("/start", "")),
        ("start p -j 3", ("/start --max-parallel 3", "")),
        ("gitflow-agents explain p/3", ("/explain 3", "")),
        ("retry p/t --force gives it one more", ("/retry t --force", "gives it one more")),
        ('feedback p/3 -m "say \\"why\\""', ('/feedback 3 "say \\"why\\""', "")),
        ("submit one after the other", ("", "submit one after the other")),
        ("take it's own", ("", "take it's own")),
        ("git switch x", ("", "git switch x")),
        ("show p/t", ("", "show p/t")),
    ],
)
def test_words_of_a_terminal_are_written_for_a_comment(words: str, found: tuple[str, str]) -> None:
    assert of_terminal(words, "p") == found


@pytest.mark.parametrize("verb", kinds("comment"))
def test_the_example_of_every_command_is_one_and_its_usage_names_every_option(verb: str) -> None:
    kind = kinds("comment")[verb]
    assert [type(command) for command in commands(example_of(kind, "/"))] == [kind]
    told = usage(kind, "/")
    shown = [each.name for each in options(kind) if each.field not in (kind.block, kind.positional)]
    assert [name for name in shown if name not in told] == []


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=60
).filter(str.strip)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}", fullmatch=True).filter(
    lambda word: word not in ("all", "plan", "cancel")
)


FORMS: Mapping[str, st.SearchStrategy[Any]] = {
    "sha": st.from_regex("[0-9a-f]{7,40}", fullmatch=True),
    "agent": st.from_regex("[a-z][a-z0-9-]{0,31}", fullmatch=True),
    "budget": st.floats(0.01, 1000),
    "timeout": st.sampled_from(["90s", "30m", "1h 30m", "45"]),
}


@st.composite
def said(draw: st.DrawFn) -> Act:
    """Draw any command with any of its options, as long as it says something."""
    kind = draw(st.sampled_from([*kinds("comment").values()]))
    values: dict[str, Any] = {}
    if kind.takes_tasks:
        least = int(kind.needs_target)
        values["targets"] = tuple(
            draw(st.lists(IDS, min_size=least, max_size=kind.most_targets or 5))
        )
    for each in options(kind):
        if not (each.is_required or draw(st.booleans())):
            continue
        if each.is_flag:
            values[each.field] = draw(st.booleans())
        elif each.is_multiple:
            values[each.field] = tuple(draw(st.lists(TEXTS, max_size=2)))
        elif each.choices:
            values[each.field] = draw(st.sampled_from(each.choices))
        elif each.value == "N":
            values[each.field] = draw(st.integers(1, 900))
        else:
            values[each.field] = draw(FORMS.get(each.field, TEXTS))
    if kind.block and "text" in values:
        values = {"text": values["text"] + "\n"}
    elif kind.block:
        values["title"] = "x"
    elif kind.needs_target and kind.positional and not any(map(values.get, kind.instead)):
        values[kind.positional] = draw(TEXTS)
    command = kind(**values)
    try:
        command.check()
    except Refused:
        return kind(targets=values.get("targets", ()))
    return command


@given(said())
def test_a_command_that_is_written_is_read_as_itself(command: Act) -> None:
    for prefix in (Prefix(), ALWAYS):
        (line,) = read(typed(command, prefix), prefix=prefix).lines
        assert line.refused is None
        assert line.command == command


@pytest.mark.parametrize(
    "command",
    [
        make("retry", "t1", append="line\nline"),
        make("skip", "t1", reason="x" * 201),
        make("add-task", text="title: x\nrun: |\n  echo '```'\n"),
    ],
)
def test_a_long_text_is_written_below_its_command(command: Act) -> None:
    assert commands(typed(command)) == [command]


# --- whatever else a comment holds ----------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *("/", "/retry", "/stop t1", "/gitflow ", "/retyr", "t1", "all", "plan", "--append", "--", "—"),
        *("\n", "\n\n", "\r\n", "\r", " ", "    ", "\t", "\u00a0", "\u200b", "\u202e", "\u2028", "\x00"),
        *("> ", "```", "~~~", "`", "<!--", "-->", "<pre>", "</pre>", '"', "“", "”", "\\", "=", "*", "[", "]"),
        *("@bot ", "please ", "gitflow ", "with:", "$(id)", "'; rm -rf /", "../", "wave:", "é", "\U0001f440"),
    ]
)  # fmt: skip
COMMENTS = st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join)


@given(COMMENTS)
@example("/retry " + "[" * 150)
@example('/hold “"”')
@example('/hold --reason="')
@example("\x00/stop")
def test_no_comment_whatever_it_holds_is_more_than_lines_with_a_command_or_a_reason(
    text: str,
) -> None:
    heard = read(text)
    count = len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    for line in heard.lines:
        assert (line.command is None) is (line.refused is not None)
        assert len(line.text) <= 300
        assert 1 <= line.number <= count
    numbers = [line.number for line in heard.lines]
    assert numbers == sorted(numbers)
    assert len(heard.lines) <= 12


WRAPS = {
    "quote": lambda text: "\n".join(f"> {line}" for line in text.split("\n")),
    "fence": lambda text: f"`````\n{text}\n`````",
    "tildes": lambda text: f"~~~~~ yaml\n{text}\n~~~~~",
    "unclosed fence": lambda text: f"`````\n{text}",
    "indented": lambda text: "\n".join(f"    {line}" for line in text.split("\n")),
    "hidden": lambda text: f"<!--\n{text}\n-->",
    "unclosed comment": lambda text: f"<!-- {text}",
    "pre": lambda text: f"<pre>\n{text}\n</pre>",
}


@given(
    st.sampled_from([*WRAPS]),
    st.lists(st.sampled_from(["/stop", "/gitflow stop t1", "x", "", "@bot stop"]), max_size=6),
    st.sampled_from(["", "\n\n/approve"]),
)
def test_nothing_runs_from_inside_code_quotes_and_hidden_text(
    wrap: str, lines: list[str], after: str
) -> None:
    heard = read(WRAPS[wrap]("\n".join(lines)) + after)
    assert [line.command for line in heard.lines if line.verb == "stop"] == []
    assert not any(line.verb == "stop" for line in heard.lines)


@given(COMMENTS | st.lists(PIECES, max_size=8).map("\n".join))
def test_what_runs_is_a_paragraph_of_its_own_to_a_reader_of_markdown(text: str) -> None:
    heard = read(text)
    tokens = MarkdownIt("commonmark").parse(text.replace("\r\n", "\n").replace("\r", "\n"))
    seen = {
        number
        for token in tokens
        if token.type == "inline" and token.level == 1 and token.map
        for number in range(token.map[0] + 1, token.map[1] + 1)
    }
    ran = [line for line in heard.lines if line.command is not None]
    assert [line.text for line in ran if line.number not in seen] == []


def test_of_a_comment_as_long_as_github_takes_little_is_kept() -> None:
    for piece in ("/retry t1\n", "> q\n", "<!--\n", "x <!--\n", "/", '"', "[", "/retry " + '"'):
        text = (piece * 65_536)[:65_536]
        for whole in (text, "/retry " + text):
            heard = read(whole)
            assert len(heard.lines) <= MOST_COMMANDS + 1
            assert len(heard.note) <= MOST_NOTE
            assert all(len(line.text) <= MOST_SHOWN for line in heard.lines)
