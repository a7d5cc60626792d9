"""What is answered to a comment as a whole: one sign under it, and one reply where it needs words.

Words are for those who asked for something, or were refused; what was simply done is shown by its
sign, and in the comment of the plan with what takes it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from gitflow_agents.commands import KINDS, Refused, Start, Stop, Sync
from gitflow_agents.forge import OWN, Reaction
from gitflow_agents.grammar import Line, Prefix
from gitflow_agents.models import Limits, Spoken
from gitflow_agents.render import answers
from gitflow_agents.scheduler import Snapshot

GARBLED = frozenset(
    "unknown-verb not-leading unknown-flag bad-value missing-argument target-clash unclosed-quote "
    "too-long too-many nearly no-such-task edited not-run".split()
)
"""Codes of what was not understood; the others refuse what was."""

LATER = "a later job of this run does that; its summary says what it wrote"
"""What is said of a command to whom the summary of the run is shown, and not a reply."""


def marker(comment: int) -> str:
    """Return the hidden line by which the reply to a comment is found again."""
    return f"{OWN}reply {comment} -->"


def stranger(author: int, *, is_fork: bool) -> str:
    """Return what somebody is told once who gives commands where no plan is told of."""
    why = "fork" if is_fork else "not-a-flow"
    said = (
        "A pull request from a fork takes no commands; nothing ran. Comment on the pull request of "
        "the plan, or push the branch to this repository."
        if is_fork
        else "No plan is told of here, so that was no command; nothing ran. Commands are for the "
        "pull request, or the issue, that a plan was given."
    )
    return f"{OWN}{why} {author} -->\n{said}\n"


def sign(entries: Sequence[Spoken]) -> Reaction:
    """Return the sign for what came of the commands of one comment."""
    codes = {entry.code for entry in entries if entry.status == "refused"}
    if codes - GARBLED:
        return "-1"
    if codes:
        return "confused"
    return "rocket" if any(entry.is_staged for entry in entries) else "+1"


def reply(
    snapshot: Snapshot,
    limits: Limits,
    now: float,
    entries: Sequence[Spoken],
    prefix: Prefix,
    ending: Sequence[str] = (),
    levels: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the reply to the commands of one comment, empty where its sign says all.

    `ending` is how the runs end that were stopped, a sentence each; `levels` what the config wants
    for some verbs in place of their own.
    """
    plan = snapshot.plan.plan
    if any(entry.code == "not-run" for entry in entries):
        return answers.wrong([_line(entry) for entry in entries], plan, prefix)
    return "\n".join(_replies(snapshot, limits, now, entries, prefix, ending, levels))


def _replies(
    snapshot: Snapshot,
    limits: Limits,
    now: float,
    entries: Sequence[Spoken],
    prefix: Prefix,
    ending: Sequence[str],
    levels: Mapping[str, str],
) -> Iterator[str]:
    plan = snapshot.plan.plan
    for entry in entries:
        line = _line(entry)
        if line.refused is not None:
            yield answers.refusal(line, line.refused, plan, prefix)
            continue
        command = line.command
        if command is None:
            continue
        if entry.status == "open":
            yield answers.done(line, (LATER,), "", plan, prefix)
        elif command.reads:
            try:
                about = snapshot, limits, now, command, entry.level, prefix, levels
                yield answers.answer(*about)
            except Refused as e:
                yield answers.refusal(line, e, plan, prefix)
        elif entry.dry_run or not entry.changed or isinstance(command, Stop | Start | Sync):
            more = ending if isinstance(command, Stop) and entry.changed else ()
            yield answers.done(line, (*entry.said, *more), entry.undo, plan, prefix)


def _line(entry: Spoken) -> Line:
    """Return a command of the journal as it was read."""
    kind = KINDS.get(str(entry.command.get("verb", "")))
    command = kind.model_validate(entry.command) if kind is not None else None
    why = None
    if entry.status == "refused" and entry.code != "not-run":
        message, hint = (*entry.said, "", "")[:2]
        why = Refused(entry.code, message, hint=hint)
    verb = str(entry.command.get("verb", ""))
    number = int(entry.key.rpartition("-")[2])
    return Line(number, entry.line, verb, command, why, entry.synonym, entry.dry_run)


__all__ = ["marker", "reply", "sign"]
