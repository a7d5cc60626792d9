"""What is answered to commands: what was asked for, what was done and how to undo it, or why not.

Whatever plans, agents and people wrote is shown as these characters: it pings nobody, links to
nothing and ends no code block.  No line of an answer is a command, so that nothing we say is ever
carried out; commands to copy stand in code blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gitflow_agents import graph
from gitflow_agents.commands import (
    LEVELS,
    LOOKS,
    SYNONYMS,
    Act,
    Explain,
    Help,
    Look,
    Refused,
    Waves,
    kinds,
    options,
    select,
    within,
)
from gitflow_agents.grammar import Line, Prefix, of_terminal
from gitflow_agents.grammar.arguments import example_of, shown, usage, verb_of
from gitflow_agents.models import Limits, Status
from gitflow_agents.render.shape import explain, waves
from gitflow_agents.render.standing import status
from gitflow_agents.render.story import MOST_CHARACTERS, quiet
from gitflow_agents.render.text import code, count, fence
from gitflow_agents.scheduler import PARALLEL, Snapshot

MOST_TASKS = 20
"""Tasks of a plan that are all listed where nobody asks for more."""
MOST_OVERLAPS = 2000

_NO_PREFIX = Prefix()
_AS_THEY_ARE: Mapping[str, str] = {}
_CODE = re.compile(r"`([^`\n]+)`")
_TYPED = re.compile(r"^( *)\$ (gitflow-agents .*)$", re.MULTILINE)
_AT_WORK = (Status.IN_PROGRESS, Status.REVIEW, Status.FAILED)


# --- what was asked for ---------------------------------------------------------------------------


def answer(
    snapshot: Snapshot,
    limits: Limits,
    now: float,
    command: Act,
    level: str,
    prefix: Prefix = _NO_PREFIX,
    levels: Mapping[str, str] = _AS_THEY_ARE,
) -> str:
    """Return the reply to a command that only asks; `level` is what the person may do.

    `levels` are those that the config wants for some verbs in place of their own.  Raises Refused
    for a task that there is not.
    """
    command = within(command, snapshot)
    match command:
        case Help(about=about):
            return usable(level, about, prefix, levels)
        case Explain(targets=words):
            told = "\n\n".join(
                explain(snapshot, task, now, limits)
                for task in select(snapshot, words)[:MOST_TASKS]
            )
        case Look():
            told = status(snapshot, limits, now, tasks=_shown(snapshot, command))
        case Waves():
            told = _waves(snapshot, limits)
        case _:
            raise AssertionError(command)
    return _fenced(told, snapshot.plan.plan, prefix)


def _shown(snapshot: Snapshot, command: Look) -> Sequence[str]:
    """Return the tasks that a status lists: those named, else those that something happens to."""
    if command.targets:
        return select(snapshot, command.targets)
    if command.verbose or len(snapshot.plan.tasks) <= MOST_TASKS:
        return ()
    busy = {task for which in _AT_WORK for task in snapshot.by_status[which]}
    rows = [task for task in snapshot.plan.order if task in busy]
    return rows[:MOST_TASKS] or snapshot.frontier.ready[:MOST_TASKS] or [*snapshot.plan.order][:1]


def _waves(snapshot: Snapshot, limits: Limits) -> str:
    plan, slots = snapshot.plan, limits.parallel or PARALLEL
    return waves(
        plan,
        snapshot.graph,
        graph.schedule(plan, snapshot.graph, slots),
        graph.overlaps(plan, snapshot.graph, limit=MOST_OVERLAPS),
        graph.most_it_can_cost(plan, limits),
        slots,
    )


def _fenced(text: str, plan: str, prefix: Prefix) -> str:
    """Return plain text in a code block, with its commands as they are written in a comment."""

    def here(found: re.Match[str]) -> str:
        command, rest = of_terminal(found[2], plan, prefix)
        return f"{found[1]}{command}" if command and not rest else found[0]

    told = _TYPED.sub(here, text)
    if len(told) > MOST_CHARACTERS:
        told = told[:MOST_CHARACTERS].rpartition("\n")[0] + "\n… cut here: a comment holds no more"
    return fence(told) + "\n"


# --- help -----------------------------------------------------------------------------------------


def usable(
    level: str,
    about: str = "",
    prefix: Prefix = _NO_PREFIX,
    levels: Mapping[str, str] = _AS_THEY_ARE,
) -> str:
    """Return the commands that somebody of a level may give, or all of the one that is named."""
    needed = {verb: levels.get(verb, one.level) for verb, one in kinds("comment").items()}
    name = about.removeprefix("/").lower()
    kind = kinds("comment").get(SYNONYMS.get(name, name))
    if kind is not None:
        return "\n\n".join(_about(kind, needed[verb_of(kind)], prefix)) + "\n"
    mine = [
        (code(f"{prefix.start}{verb}"), marked(first(one)))
        for verb, one in kinds("comment").items()
        if _may(level, needed[verb])
    ]
    parts = [f"{marked(shown(about))} is not a command."] if about else []
    parts += [_table(mine, ("Command", "What it does"))]
    parts += [
        f"{_others(level, needed.values())}{code(f'{prefix.start}help COMMAND')} says all of one."
    ]
    return "\n\n".join(parts) + "\n"


def _others(level: str, needed: Iterable[str]) -> str:
    others = [one for one in needed if not _may(level, one)]
    if not others:
        return ""
    more = count(len(others), "more command needs", "more commands need")
    roles = " or ".join(sorted(set(others), key=LEVELS.index))
    return f"{more} the role {roles} on this repository. "


def _may(level: str, needed: str) -> bool:
    return level in LEVELS and LEVELS.index(level) >= LEVELS.index(needed)


def _table(rows: Iterable[tuple[str, ...]], head: tuple[str, ...]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def first(kind: type[Act]) -> str:
    """Return the first sentence of what a command says of itself."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _about(kind: type[Act], level: str, prefix: Prefix) -> Iterator[str]:
    verb = verb_of(kind)
    yield fence(usage(kind, prefix.start))
    yield marked(" ".join((kind.__doc__ or "").split()))
    listed = [each for each in options(kind) if each.field not in (kind.block, kind.positional)]
    if listed:
        yield "\n".join(f"- {code(each.name)}: {marked(each.about)}" for each in listed)
    if kind.block:
        yield "The task can stand below the command, in a fenced block of YAML."
    elif kind.note:
        yield f"What stands below the command is {code(f'--{kind.note}')}, if nothing else says it."
    others = [code(f"{prefix.start}{word}") for word, main in SYNONYMS.items() if main == verb]
    if others:
        yield f"{' and '.join(others)} {'say' if others[1:] else 'says'} the same."
    yield f"It takes the role {level}. For example:"
    yield fence(example_of(kind, prefix.start))


def reference() -> str:
    """Return the commands of a comment for the documentation, each with who may give it."""
    rows = [(code(f"/{verb}"), kind.level, first(kind)) for verb, kind in kinds("comment").items()]
    return _table(rows, ("Command", "Role", "What it does"))


def other_words() -> str:
    """Return what else commands can be called, for the documentation."""
    rows = [(code(f"/{word}"), code(f"/{main}")) for word, main in SYNONYMS.items()]
    return _table(rows, ("Also understood", "Means"))


# --- what became of a command ---------------------------------------------------------------------


def done(
    line: Line,
    said: Sequence[str],
    undo: str,
    plan: str = "",
    prefix: Prefix = _NO_PREFIX,
) -> str:
    """Return what is said of a command that was carried out, or was only rehearsed."""
    parts = [f"{_named(line, prefix)}{' would do this:' if line.dry_run else ':'}"]
    parts += ["\n".join(f"- {marked(sentence)}" for sentence in said)] if said else []
    if undo and not line.dry_run:
        parts += ["To undo it" + _in_place(undo, plan, prefix)]
    return "\n\n".join(parts) + "\n"


def refusal(line: Line, refused: Refused, plan: str = "", prefix: Prefix = _NO_PREFIX) -> str:
    """Return what is said of a command that was not carried out, and what can be done instead."""
    return f"{_named(line, prefix)} {_because(refused, plan, prefix)}\n"


def wrong(lines: Sequence[Line], plan: str = "", prefix: Prefix = _NO_PREFIX) -> str:
    """Return what is said of a comment of which a line is wrong, so that nothing of it ran."""
    bad = [line for line in lines if line.refused is not None]
    if len(lines) == 1 and lines[0].refused is not None:
        return refusal(lines[0], lines[0].refused, plan, prefix)
    told = [f"Nothing ran, because {count(len(bad), 'line is', 'lines are')} wrong."]
    for line in lines:
        if line.refused is None:
            told.append(f"- {_named(line, prefix)} is right.")
        else:
            because = _because(line.refused, plan, prefix).replace("\n", "\n  ")
            told.append(f"- {_named(line, prefix)} {because}")
    return "\n\n".join(told) + "\n"


def _named(line: Line, prefix: Prefix) -> str:
    other = f" (that is {code(prefix.start + line.verb)})" if line.synonym and line.verb else ""
    return f"{code(line.text) or 'a line'}{other}"


def _because(refused: Refused, plan: str, prefix: Prefix) -> str:
    if refused.reason_code == "nearly":
        why, then = "is nearly a command, so nothing ran.", "To give it"
    else:
        why, then = f"was refused: {_ended(marked(refused.message))}", "Next"
    if _is_typed(refused.hint, plan):
        return f"{why} {then}{_in_place(refused.hint, plan, prefix)}"
    return f"{why} {_sentence(marked(refused.hint))}" if refused.hint else why


def _is_typed(hint: str, plan: str) -> bool:
    """Say whether a hint is what to type; a sentence may begin with the same word."""
    first_, _, rest = hint.partition(" ")
    if first_ in (*kinds("terminal"), *LOOKS):
        return (bool(plan) and rest.startswith((f"{plan} ", f"{plan}/"))) or rest == plan
    return first_.startswith("/") or first_ in ("git", "gitflow-agents")


def _in_place(words: str, plan: str, prefix: Prefix) -> str:
    """Return the end of a sentence that says what to type, with that in a code block."""
    if words.startswith("/"):
        return f":\n\n{fence(words)}"
    command, rest = of_terminal(words, plan, prefix)
    if command:
        return f"{f', which {marked(rest)}' if rest else ''}:\n\n{fence(command)}"
    named = words if words.startswith(("git ", "gitflow-agents ")) else f"gitflow-agents {words}"
    return f", in a clone:\n\n{fence(named, 'sh')}"


def _sentence(text: str) -> str:
    return _ended(f"{text[:1].upper()}{text[1:]}")


def _ended(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def marked(text: str) -> str:
    """Return a sentence as markdown in which what stands in backticks is code, and nothing else."""
    parts = _CODE.split(text)
    return "".join(code(part) if place % 2 else _plain(part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    # `quiet` takes the blanks at both ends, which stand between a word and code here.
    before = " " if text[:1].isspace() else ""
    after = " " if text.strip() and text[-1:].isspace() else ""
    return f"{before}{quiet(text).replace('#', '#' + chr(0x200B))}{after}"


__all__ = ["answer", "done", "marked", "other_words", "reference", "refusal", "usable", "wrong"]
