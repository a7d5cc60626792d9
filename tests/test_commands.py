"""What a command changes: `effects` over snapshots made by hand, for every verb and status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from gitflow_agents import acts
from gitflow_agents.cli import ACTS, main
from gitflow_agents.commands import (
    KINDS,
    Decision,
    DropTrain,
    Effect,
    End,
    Ground,
    Mark,
    MarkPlan,
    Move,
    Refused,
    effects,
    kinds,
    options,
    select,
    within,
)
from gitflow_agents.models import Attempt, Guidance, Limits, Reason, Status
from gitflow_agents.scheduler import FLOW_TROUBLE, Snapshot
from gitflow_agents.transitions import TRANSITIONS, Happened
from tests.test_scheduler import LETTERS, NOW, lease, needing, plan_of, snapshot, train

S = Status
ALICE = "alice <alice@example.com>"
FULL: dict[str, dict[str, Any]] = {
    "stop": {},
    "retry": {"append": "be quick"},
    "hold": {"reason": "she asks"},
    "resume": {},
    "reject": {"reason": "too slow"},
    "skip": {"reason": "not now", "provides": True},
}
"""The verbs that are tested here, each with what it needs to be said."""


def ground(of: Snapshot, **more: Any) -> Ground:
    return Ground(of, ALICE, NOW, Limits(), **more)


def decided(of: Snapshot, verb: str, *targets: str, **options: Any) -> Decision:
    return effects(KINDS[verb](targets=targets, **options), ground(of))


def refused(of: Snapshot, verb: str, *targets: str, **options: Any) -> tuple[str, str, str]:
    with pytest.raises(Refused) as error:
        decided(of, verb, *targets, **options)
    return error.value.reason_code, error.value.message, error.value.hint


def one(letter: str, **record: Any) -> Snapshot:
    """Return a plan of the one task `t` in a status, with an attempt where it had one."""
    attempt = Attempt(number=1, started_at=NOW - 60)
    about: dict[str, Any] = {"attempts": () if letter == "p" else (attempt,)}
    if letter == "i":
        about["lease"] = lease()
    return snapshot(needing(t=""), letter, records={"t": {**about, **record}})


def short(effect: Effect) -> str:
    match effect:
        case End():
            return "end"
        case DropTrain():
            return "drop"
        case Move(event=event) | Mark(event=event) | MarkPlan(event=event):
            return str(event)
    raise AssertionError(effect)


def outcome(of: Snapshot, verb: str, *targets: str, **options: Any) -> str:
    """Return the effects of a command in words, `-` for none, or the code of its refusal."""
    try:
        done = decided(of, verb, *targets, **options).effects
    except Refused as e:
        return f"!{e.reason_code}"
    return " ".join(map(short, done)) or "-"


TABLE = """
verb target   pending         in_progress          review          completed     failed          cancelled
stop t        task_cancelled  end+task_cancelled   task_cancelled  !wrong-state  task_cancelled  -
stop all      task_cancelled  end+task_cancelled   task_cancelled  -             task_cancelled  -
stop t*       task_cancelled  end+task_cancelled   task_cancelled  -             task_cancelled  -
stop          plan_held       end+plan_held        plan_held       plan_held     plan_held       plan_held
stop plan     plan_closed     end+plan_closed      plan_closed     plan_closed   plan_closed     plan_closed
retry t       -               !wrong-state         task_retried    !wrong-state  task_retried    task_retried
retry t*      -               -                    -               -             task_retried    task_retried
retry all     -               -                    -               -             task_retried    task_retried
retry         -               -                    -               -             task_retried    -
hold t        task_held       task_held            task_held       !wrong-state  task_held       task_held
hold wave:1   task_held       task_held            task_held       -             task_held       task_held
hold all      plan_held       plan_held            plan_held       plan_held     plan_held       plan_held
hold          plan_held       plan_held            plan_held       plan_held     plan_held       plan_held
resume t      -               -                    -               -             -               -
resume        -               -                    -               -             -               -
reject t      !wrong-state    !wrong-state         merge_refused   !wrong-state  !wrong-state    !wrong-state
reject        !missing-argument !missing-argument  !missing-argument !missing-argument !missing-argument !missing-argument
skip t        task_skipped    end+task_skipped     task_skipped    !wrong-state  task_skipped    task_skipped
skip all      task_skipped    end+task_skipped     task_skipped    -             task_skipped    task_skipped
skip          !missing-argument !missing-argument  !missing-argument !missing-argument !missing-argument !missing-argument
"""
ROWS = [
    (head, status, row[-6:][place].replace("+", " "))
    for row in map(str.split, TABLE.strip().splitlines()[1:])
    for head in [tuple(row[:-6])]
    for place, status in enumerate(TABLE.split()[2:8])
]
LETTER = {status.value: letter for letter, status in LETTERS.items()}


@pytest.mark.parametrize(("head", "status", "expected"), ROWS)
def test_what_a_verb_does_to_a_task_in_a_status(
    head: tuple[str, ...], status: str, expected: str
) -> None:
    verb, *targets = head
    assert outcome(one(LETTER[status]), verb, *targets, **FULL[verb]) == expected


# --- twice is once --------------------------------------------------------------------------------


def applied(of: Snapshot, done: tuple[Effect, ...]) -> Snapshot:
    """Return a snapshot after effects, as the service records them."""
    for effect in done:
        match effect:
            case End(task, _):
                ended = {"status": S.PENDING, "lease": None}
                of.apply(of.record(task).model_copy(update=ended))
            case DropTrain():
                of.state = of.state.model_copy(update={"train": None})
            case Move(task, event, reason, message, changes):
                record = of.record(task)
                after = TRANSITIONS[record.status][event]
                about = {"status": after, "reason": reason, "message": message, **changes}
                of.apply(record.model_copy(update=about))
            case Mark(task, _, _, changes):
                of.apply(of.record(task).model_copy(update=dict(changes)))
            case MarkPlan(_, _, changes):
                of.state = of.state.model_copy(update=dict(changes))
    return of


@pytest.mark.parametrize(("head", "status", "expected"), ROWS)
def test_a_command_that_is_given_twice_changes_nothing_the_second_time(
    head: tuple[str, ...], status: str, expected: str
) -> None:
    if expected.startswith("!"):
        return
    verb, *targets = head
    of = one(LETTER[status])
    first = decided(of, verb, *targets, **FULL[verb])
    again = decided(applied(of, first.effects), verb, *targets, **FULL[verb])
    assert (again.effects, again.undo) == ((), "")
    assert len(again.said) == 1


@pytest.mark.parametrize("targets", [(), ("all",), ("t",)])
@pytest.mark.parametrize("letter", "pirfx")
def test_a_hold_and_its_lifting_leave_all_as_it_was(targets: tuple[str, ...], letter: str) -> None:
    of = one(letter)
    before = of.state, of.record("t")
    held = applied(of, decided(of, "hold", *targets).effects)
    assert (held.state, held.record("t")) != before
    after = applied(held, decided(held, "resume", *targets).effects)
    assert (after.state, after.record("t")) == before


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "targets", "letter", "said", "undo"),
    [
        ("stop", ("t",), "i", ["t is cancelled; what it did is kept"], "retry demo/t"),
        (
            "stop",
            (),
            "i",
            ["plan demo is held", "t is stopped; what it did is kept"],
            "resume demo",
        ),
        (
            "stop",
            ("plan",),
            "i",
            ["plan demo is closed", "t is stopped; what it did is kept"],
            "",
        ),
        ("stop", ("t",), "x", ["everything named is ended already"], ""),
        ("retry", ("t",), "f", ["t is tried again by the next run"], "stop demo/t"),
        (
            "retry",
            (),
            "c",
            ["nothing to try again: no task of those named has failed or was cancelled"],
            "",
        ),
        ("hold", (), "p", ["plan demo is held; what runs goes on"], "resume demo"),
        ("hold", ("t",), "p", ["t is held: it is neither started nor merged"], "resume demo/t"),
        ("resume", (), "p", ["nothing of it is held"], ""),
        ("reject", ("t",), "r", ["t is rejected"], "retry demo/t"),
        ("skip", ("t",), "p", ["t is skipped; what it provides counts as there"], "retry demo/t"),
    ],
)
def test_each_decision_is_a_sentence_a_task_and_its_undo(
    verb: str, targets: tuple[str, ...], letter: str, said: list[str], undo: str
) -> None:
    decision = decided(one(letter), verb, *targets, **FULL[verb])
    assert (list(decision.said), decision.undo) == (said, undo)


def test_what_is_left_out_without_provides_leaves_the_others_blocked() -> None:
    decision = decided(one("p"), "skip", "t", reason="not now")
    assert decision.said == ("t is skipped; what needs it stays blocked",)
    assert decision.effects == (
        Move(
            "t",
            Happened.TASK_SKIPPED,
            Reason.SKIPPED,
            "skipped by alice: not now",
            {"provided_by": ""},
        ),
    )


def test_a_skipped_task_can_still_be_declared_to_be_there_and_back() -> None:
    of = one("p")
    applied(of, decided(of, "skip", "t", reason="not now").effects)
    assert not of.is_met("t")
    applied(of, decided(of, "skip", "t", reason="bob did it", provides=True).effects)
    assert (of.is_met("t"), of.record("t").provided_by) == (True, ALICE)
    applied(of, decided(of, "skip", "t", reason="he did not").effects)
    assert not of.is_met("t")


def texts(of: Snapshot, verb: str, *targets: str) -> list[str]:
    """Return all that people read of a command."""
    try:
        decision = decided(of, verb, *targets, **FULL[verb])
    except Refused as e:
        return [e.message, e.hint]
    found = [*decision.said, decision.undo]
    for effect in decision.effects:
        found += [getattr(effect, name, "") for name in ("why", "message", "note")]
        found.append(str(getattr(effect, "changes", {}).get("held", "")))
    return found


@pytest.mark.parametrize("command", FULL)
def test_no_sentence_and_no_message_shows_an_address(command: str) -> None:
    for letter in LETTERS:
        for targets in ((), ("t",), ("plan",)):
            assert "@" not in " ".join(texts(one(letter), command, *targets))


def test_every_command_is_in_the_static_list_with_the_first_sentence_of_its_help() -> None:
    for verb, kind in kinds("terminal").items():
        first = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        assert ACTS[verb] == first
    # `open` is for a terminal only, and tells no plan anything.
    assert [verb for verb in ACTS if verb != "open"] == list(kinds("terminal"))


# --- a train on its way ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "targets", "first"),
    [
        ("stop", (), "drop plan_held"),
        ("stop", ("plan",), "drop plan_closed"),
        ("stop", ("a",), "drop task_cancelled"),
        ("stop", ("b",), "task_cancelled"),
        ("retry", ("a",), "drop task_retried"),
        ("retry", ("b",), "task_retried"),
        ("reject", ("a",), "drop merge_refused"),
        ("reject", ("b",), "merge_refused"),
        ("skip", ("a",), "drop task_skipped"),
        ("skip", ("b",), "task_skipped"),
        ("hold", (), "plan_held"),
    ],
)
def test_a_train_is_taken_apart_only_for_its_own_cars(
    verb: str, targets: tuple[str, ...], first: str
) -> None:
    of = snapshot(needing(a="", b=""), "rr", train=train("a"))
    assert outcome(of, verb, *targets, **FULL[verb]) == first


# --- the plan as a whole --------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["landed", "closed"])
@pytest.mark.parametrize("verb", FULL)
def test_what_is_over_is_only_looked_at(verb: str, status: str) -> None:
    of = snapshot(needing(t=""), "f", status=status)
    assert refused(of, verb, "t", **FULL[verb]) == (
        "closed",
        f"plan demo is {status}, and only looked at",
        "",
    )


def test_a_plan_is_closed_once() -> None:
    of = snapshot(needing(t=""), "f", status="closed")
    assert decided(of, "stop", "plan").said == ("plan demo is closed already",)


def test_who_holds_a_held_plan_is_told_who_was_first() -> None:
    of = snapshot(needing(t=""), held="held by bob: he looks")
    assert decided(of, "hold").said == ("the plan is held by bob: he looks already",)
    assert decided(of, "stop").said == ("nothing runs, and the plan is held by bob: he looks",)


def test_a_stop_keeps_the_reason_for_which_a_plan_is_held_already() -> None:
    of = snapshot(
        needing(t=""), "i", held="1: the config changed", records={"t": {"lease": lease()}}
    )
    decision = decided(of, "stop")
    assert list(map(short, decision.effects)) == ["end"]
    assert decision.said[0] == "plan demo is held: 1: the config changed"


@pytest.mark.parametrize(
    ("still", "said"),
    [
        ({}, ""),
        ({"hooks/update": False}, "; that is put back"),
        ({"hooks/update": True, "config": False}, "; hooks/update is still so"),
        ({"hooks/update": True, "config": True}, "; hooks/update and config are still so"),
    ],
)
def test_who_lifts_a_hold_is_told_what_it_was_and_whether_it_is_still_so(
    still: dict[str, bool], said: str
) -> None:
    of = snapshot(needing(t=""), held="hooks/update was made")
    decision = effects(KINDS["resume"](), ground(of, still=still))
    assert decision.said == (f"plan demo goes on; it was held: hooks/update was made{said}",)
    assert decision.effects == (MarkPlan("plan_resumed", f"resumed by alice{said}", {"held": ""}),)


def test_trouble_with_flow_is_mended_and_not_resumed() -> None:
    trouble = f"{FLOW_TROUBLE} flow/demo is gone; bring it back: git branch flow/demo 123"
    of = snapshot(needing(t=""), held=trouble)
    assert refused(of, "resume") == (
        "held",
        f"plan demo is held: {FLOW_TROUBLE} flow/demo is gone; bring it back",
        "git branch flow/demo 123",
    )


def test_a_hold_is_lifted_from_the_plan_and_all_its_tasks_at_once() -> None:
    of = snapshot(needing(a="", b=""), held="held by bob", records={"b": {"held": "held by bob"}})
    decision = decided(of, "resume")
    assert list(map(short, decision.effects)) == ["plan_resumed", "task_resumed"]
    assert decision.said == ("plan demo goes on; it was held by bob", "b goes on")


# --- retry ----------------------------------------------------------------------------------------


def retried(of: Snapshot, *targets: str, **options: Any) -> dict[str, Any]:
    """Return what a retry of the task `t` changes in its record."""
    (move,) = decided(of, "retry", *(targets or ("t",)), **options).effects
    assert isinstance(move, Move)
    return dict(move.changes)


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({"append": "be quick"}, "append"),
        ({"replace": "be quick"}, "replace"),
        ({"prompt_modification": "be quick"}, "append"),
        ({"prompt_modification": "be quick", "prompt_mode": "append"}, "append"),
        ({"prompt_modification": "be quick", "prompt_mode": "replace"}, "replace"),
    ],
)
def test_guidance_is_kept_with_who_gave_it_and_which_attempt_it_answers(
    options: dict[str, str], mode: Any
) -> None:
    said = Guidance(text="be quick", mode=mode, by=ALICE, at=NOW, after_attempt=1)
    assert retried(one("f"), **options) == {
        "granted": 0,
        "guidance": (said,),
        "instead": None,
        "fresh": False,
        "repair": False,
        "provided_by": "",
        "not_before": 0.0,
        "lost": 0,
        "conflicts": 0,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"append": "a", "replace": "b"},
            "--append, --replace and --prompt-modification cannot be given together",
        ),
        (
            {"append": "a", "prompt_modification": "b"},
            "--append, --replace and --prompt-modification cannot be given together",
        ),
        ({"prompt_mode": "replace"}, "--prompt-mode says nothing without --prompt-modification"),
    ],
)
def test_guidance_is_given_in_one_way(options: dict[str, str], message: str) -> None:
    assert refused(one("f"), "retry", "t", **options) == ("bad-value", message, "")


def test_attempts_that_are_used_up_need_force_each_time() -> None:
    of = one("f", used=3)
    assert refused(of, "retry", "t") == (
        "attempts-exhausted",
        "t has used 3 of 3 attempts",
        "retry demo/t --force gives it one more",
    )
    assert retried(of, force=True)["granted"] == 1
    more = one("f", used=4, granted=1)
    assert refused(more, "retry", "t")[1] == "t has used 4 of 4 attempts"
    assert retried(more, force=True)["granted"] == 2


def test_a_pending_task_that_was_tried_takes_new_guidance_once() -> None:
    attempts = (Attempt(number=1, started_at=NOW),)
    of = one("p", attempts=attempts)
    decision = decided(of, "retry", "t", replace="another way", fresh=True)
    assert list(map(short, decision.effects)) == ["retry_changed"]
    assert decision.said == (
        "t waits already; the next attempt at t begins without the former work",
    )
    applied(of, decision.effects)
    assert (of.record("t").guidance[-1].text, of.record("t").fresh) == ("another way", True)
    assert decided(of, "retry", "t", replace="another way", fresh=True).effects == ()


def test_a_cascade_takes_what_needs_the_task_too_and_was_given_up() -> None:
    of = snapshot(needing(a="", b="a", c="b", d="", e="a"), "fxpff")
    assert [
        effect.task
        for effect in decided(of, "retry", "a", cascade=True).effects
        if isinstance(effect, Move)
    ] == [
        "a",
        "b",
        "e",
    ]
    assert len(decided(of, "retry", "a").effects) == 1


# --- targets --------------------------------------------------------------------------------------


MANY = snapshot(needing(**{"t1": "", "t2": "t1", "T3": "", "x.1": "t2", "y": ""}), "fpcpx")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("", ""),
        ("y t1", "t1 y"),
        ("y y", "y"),
        ("all", "t1 t2 T3 x.1 y"),
        ("failed", "t1"),
        ("failed y", "t1 y"),
        ("blocked", "t2 x.1"),
        ("wave:1", "t1 T3 y"),
        ("wave:3", "x.1"),
        ("t*", "t1 t2"),
        ("?", "y"),
        ("[tT]?", "t1 t2 T3"),
        ("x.*", "x.1"),
    ],
)
def test_words_name_tasks_in_plan_order(words: str, ids: str) -> None:
    assert select(MANY, words.split()) == ids.split()


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        ("all t1", "target-clash", "all and t1 cannot be named together", ""),
        (
            "t3",
            "no-such-task",
            "plan demo has 5 tasks, and none is 't3'",
            "near ids: T3",
        ),
        ("t21", "no-such-task", "plan demo has 5 tasks, and none is 't21'", "near ids: t2, t1"),
        (
            "q*",
            "no-such-task",
            "plan demo has 5 tasks, and none is 'q*'",
            "some ids: t1, t2, T3, x.1, y",
        ),
        ("wave:4", "no-such-task", "there is no wave:4; there are waves 1 to 3", ""),
        ("wave:²", "no-such-task", "there is no wave:²; there are waves 1 to 3", ""),
        ("wave:", "no-such-task", "there is no wave:; there are waves 1 to 3", ""),
        (
            "ALL",
            "no-such-task",
            "plan demo has 5 tasks, and none is 'ALL'",
            "some ids: t1, t2, T3, x.1, y",
        ),
    ],
)
def test_words_that_name_nothing_are_refused_with_what_is_near(
    words: str, code: str, message: str, hint: str
) -> None:
    with pytest.raises(Refused) as error:
        select(MANY, words.split())
    refusal = error.value
    assert (refusal.reason_code, refusal.message, refusal.hint) == (code, message, hint)


def test_a_glob_that_meets_merged_tasks_leaves_them_alone_and_an_id_does_not() -> None:
    of = snapshot(needing(a1="", a2=""), "cf")
    assert [short(e) for e in decided(of, "stop", "a*").effects] == ["task_cancelled"]
    assert refused(of, "stop", "a1", "a2") == (
        "wrong-state",
        "a1 is merged",
        "revert demo/a1 -m WHY",
    )


# --- how many at once, and other doors ------------------------------------------------------------


def test_start_says_how_many_at_once_and_can_be_given_twice() -> None:
    of = snapshot(needing(a=""), "p")
    decision = decided(of, "start", max_parallel=2)
    said = "2 attempts at once, from now on"
    assert decision.effects == (MarkPlan("plan_limited", said, {"parallel": 2}),)
    assert decision.said == (said, "a pass looks at plan demo now")
    assert decision.undo == ""
    again = snapshot(needing(a=""), "p", parallel=2)
    assert decided(again, "start", max_parallel=2).effects == ()
    assert decided(again, "start").said == ("a pass looks at plan demo now",)
    assert decided(again, "start", max_parallel=1).undo == "start demo -j 2"


def test_nothing_of_a_held_plan_is_started() -> None:
    of = snapshot(needing(a=""), "p", held="held by alice")
    assert refused(of, "start") == ("held", "plan demo is held: held by alice", "resume demo")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ()),
        (("a", "demo/b", "demo/all"), ("a", "b", "all")),
        (("demo",), ()),
        (("demo/demo",), ("demo",)),
        (("plan",), ("plan",)),
    ],
)
def test_targets_are_called_as_within_the_plan(
    words: tuple[str, ...], found: tuple[str, ...]
) -> None:
    of = snapshot(needing(a="", b=""), "pp")
    assert within(KINDS["stop"](targets=words), of) == KINDS["stop"](targets=found)


def test_a_target_in_another_plan_is_refused() -> None:
    with pytest.raises(Refused, match="this is about plan demo, and other/a is of another"):
        within(KINDS["stop"](targets=("other/a",)), snapshot(needing(a=""), "p"))


def test_every_command_is_spelled_alike_at_every_door() -> None:
    for verb, kind in kinds("terminal").items():
        params = {param.name: param for param in acts.verb(verb).params}
        for each in options(kind):
            is_bare = kind.most_targets == 1 and each.field == kind.positional
            spelled = [each.field] if is_bare else [*each.short, each.name]
            spelled = ["--file"] if each.field == kind.block else spelled
            assert params[each.field].opts == spelled


def test_what_a_terminal_has_a_verb_for_stays_that_verb() -> None:
    """The words of a comment beside those that act are verbs there too, or click's own help."""
    others = kinds("comment").keys() - kinds("terminal").keys()
    assert sorted(others - main.commands.keys()) == ["help"]
    assert others.isdisjoint(ACTS)


# --- large plans ----------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called by some work, C's included."""
    counted = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.parametrize("verb", FULL)
def test_what_it_takes_to_decide_grows_with_the_tasks_and_no_faster(verb: str) -> None:
    def decide(many: int) -> int:
        tasks = [
            {"id": f"t{n}", "depends_on": [f"t{n - 1}"] if n % 10 else []} for n in range(many)
        ]
        of = snapshot(plan_of(*tasks), "".join("r" if verb == "reject" else "f" for _ in tasks))
        decision = decided(of, verb, "t*" if verb == "hold" else "all", **FULL[verb])
        assert len(decision.effects) == (0 if verb == "resume" else many)

        def again() -> None:
            decided(of, verb, "t*" if verb == "hold" else "all", **FULL[verb])
            for word in ("blocked", "wave:3", "failed", "t*9"):
                select(of, [word])

        return calls(again)

    assert decide(2000) < 12 * decide(200)
