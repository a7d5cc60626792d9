"""Commands that people give on a forge: heard, allowed, journalled, carried out, answered.

A comment is heard once.  What it asks for is in the journal of the plan before anything happens,
and what came of it is written in the commit that does it; so a process that dies in between leaves
what the next one goes on with, and whatever is heard twice is known.  Signs and replies come last
and change nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Protocol

from gitflow_agents import grammar
from gitflow_agents.commands import KINDS, Act, Refused, within
from gitflow_agents.errors import ExitCode, FlowError, LostRace
from gitflow_agents.forge import Comment, ForgeDown, ForgeRefused, Reaction, Talk
from gitflow_agents.models import Config, Given, Limits, Spoken, person
from gitflow_agents.permission import HOUR, Asker, has_time
from gitflow_agents.render import replies
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.acting import Outcome
from gitflow_agents.service.permitting import Permitting, Unasked
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft, journal

OVERLAP = 600.0
"""Seconds before the last comment that was heard from which comments are asked for again.

Not every server of a forge knows of a comment at once.
"""
MOST_LOOKED_AT = 200
"""Commands of comments, and of forms, from the newest, among which those of an hour are counted."""
MOST_GIVEN = 5
MOST_AT_ONCE = 50
"""Comments that one commit writes down."""
RACES = 20
"""Times that what was heard is written down when somebody else moves the plan."""
SOON = 30.0
"""Seconds within which a comment is shown that it was seen, before it is clear what comes of it."""
GONE = (404, 410)
"""What a forge answers where there is no place any more in which to answer."""
OF_STRANGERS = frozenset({"not-allowed", "fork", "rate-limited"})
"""Codes of commands that are not shown among the last ones: anybody could fill those."""
MANY = 300
"""Comments of one place from which on it is noted that they were heard, whatever they say."""
LATER = 120.0
"""Seconds after which what another process carried out is answered by whoever comes."""
MOST_OF_A_LINE = 300


class Known(Exception):
    """The command was carried out meanwhile, by somebody else."""


@dataclass(frozen=True)
class Typed:
    """Commands of a form: where the journal has them, what was typed, and by whom."""

    key: str
    text: str
    login: str
    author: int
    at: float
    dry_run: bool = False
    first: tuple[str, int] = ("", 0)
    """Who filled the form in, where another one starts its run again: both have to be allowed."""


@dataclass
class Words:
    """What was said: comments that came by themselves, a form's commands, or all that is listed."""

    comments: tuple[Comment, ...] = ()
    typed: Typed | None = None
    listens: bool = True
    """Whether the forge is asked for what was written since the last time."""
    came: list[Spoken] = field(default_factory=list)
    """What came of the form's commands, as the journal has it in the end."""
    reply: str = ""
    """What is said to who filled the form in."""


class Acts(Protocol):
    """Carries commands out."""

    def __call__(
        self,
        command: Act,
        actor: str,
        at: float,
        *,
        permit: Callable[[Act, Snapshot], None],
        dry_run: bool,
        also: Callable[[Draft, Outcome], None],
        unless: Callable[[Snapshot], bool],
    ) -> Outcome:
        """Carry a command out for an actor, with what `also` stages; not at all if `unless`.

        `at` is when it was given; `permit` is asked again, of the plan as it is by then.
        """
        ...


@dataclass
class Commanding:
    """The commands that one process hears for one plan."""

    reconciler: Reconciler
    talk: Talk
    limits: Limits
    permitting: Permitting
    acts: Acts
    is_mine: Callable[[Spoken], bool] = lambda entry: True
    """Says which commands this process carries out; the others wait for one that can."""
    fresh: set[str] = field(default_factory=set)
    """Keys of what this process has carried out, and replies."""
    signs: dict[int, int] = field(default_factory=dict)
    """Our sign under a comment, by the comment."""
    recent: dict[str, list[float]] = field(default_factory=dict)
    """When people gave the commands of the last hour, by actor."""
    replied: dict[int, frozenset[str]] = field(default_factory=dict)
    """The first lines of what the tool wrote before, by the pull request or issue."""
    first: tuple[str, int] = ("", 0)
    """Who filled in the form that is done again by another one."""
    unheard: set[int] = field(default_factory=set)
    """Places that could not be listed."""
    long: dict[int, float] = field(default_factory=dict)
    """Up to when places were heard in which much was said."""
    ending: tuple[str, ...] = ()
    """How runs end that were stopped, in sentences."""

    @property
    def _snapshot(self) -> Snapshot:
        return self.reconciler.desk.snapshot

    @property
    def _now(self) -> float:
        return self.reconciler.desk.clock()

    # --- hearing ----------------------------------------------------------------------------------

    def hear(self, words: Words) -> None:
        """Write down what was said, unless it is.

        Raises ForgeDown, with the rest not written, where it cannot be told who may do what.
        """
        heard = {comment.id: comment for comment in self._listed()} if words.listens else {}
        # As it came it is as it was written; what is listed may have been edited since.
        heard |= {comment.id: comment for comment in words.comments}
        texts = {str(comment.id): comment for _, comment in sorted(heard.items())}
        is_dry = False
        if words.typed is not None:
            typed, is_dry, self.first = words.typed, words.typed.dry_run, words.typed.first
            texts[typed.key] = Comment(0, 0, typed.text, typed.login, typed.author, typed.at)
        batch: dict[str, list[Spoken]] = {}
        try:
            for key, comment in texts.items():
                if entries := self._entries(key, comment, is_dry):
                    batch[key] = entries
                if len(batch) == MOST_AT_ONCE:
                    self._keep(batch)
                    batch = {}
        finally:
            self._keep(batch)
        self._note_heard()

    def _listed(self) -> Iterator[Comment]:
        state = self._snapshot.state
        for number in places(self._snapshot):
            since = state.listened.get(number, state.accepted_at) - OVERLAP
            try:
                listed = self.talk.comments(number, since)
            except ForgeRefused as e:
                # A place that was deleted, or moved away, must not keep the plan from going on.
                said = f"what was said in {number} is not heard: {e.message}"
                self.reconciler.desk.say("warning", said)
                self.unheard.add(number)
                continue
            if len(listed) >= MANY:
                self.long[number] = max(one.at for one in listed)
            # A sign under an old comment makes it new for some forges; it was heard in its time.
            yield from (one for one in listed if one.at >= int(since))

    def _note_heard(self) -> None:
        """Write down up to where long conversations were heard: they are not listed whole again."""
        new = {n: at for n, at in self.long.items() if at > self._listened.get(n, 0) + OVERLAP}
        if new:

            def stage(draft: Draft) -> None:
                draft.set(listened={**draft.snapshot.state.listened, **new})
                draft.tell("comments_heard", note="what was said so far is heard")

            self._write(stage)

    @property
    def _listened(self) -> dict[int, float]:
        return self._snapshot.state.listened

    def _entries(self, key: str, comment: Comment, is_dry: bool) -> list[Spoken]:
        """Return what is to be written down of a text: nothing where that was done, or need not."""
        if comment.is_own or f"{key}-1" in self._known():
            return []
        if comment.at < int(self._snapshot.state.accepted_at - OVERLAP):
            return []  # a run that is done again, of a comment to whatever was there before
        heard = understood(comment, self.reconciler.desk.config)
        if not heard.lines:
            return []
        if comment.id and self._now - comment.at < SOON:
            self._sign(comment.id, "eyes")
        lines = [replace(line, dry_run=line.dry_run or is_dry) for line in heard.lines]
        return self._judged(key, lines, comment)

    def _keep(self, batch: Mapping[str, Sequence[Spoken]]) -> None:
        """Write the commands of some texts down, those that nobody else has written."""
        if not batch:
            return

        def stage(draft: Draft) -> None:
            known, listened = self._known(), {**draft.snapshot.state.listened}
            new = [one for key, some in batch.items() if f"{key}-1" not in known for one in some]
            for entry in new:
                journal.put(draft, entry)
                self._note(draft, entry)
                # Where nothing was listed, something that came earlier may still be to be heard.
                if entry.number and entry.number not in self.unheard:
                    listened[entry.number] = max(entry.at, listened.get(entry.number, 0.0))
            if not new:
                return
            waiting = (*draft.snapshot.state.commands, *(entry.key for entry in new))
            draft.set(commands=waiting, listened=listened)
            # What only asks is done by being heard; so is what is refused. We answer them, too.
            over = {entry.key for entry in new if entry.status != "open"}
            self.reconciler.desk.afterwards.append(lambda: self.fresh.update(over))

        self._write(stage)

    def _known(self) -> frozenset[str]:
        return journal.keys(self.reconciler.desk.store.repository, self._snapshot.tree)

    def _judged(self, key: str, lines: Sequence[grammar.Line], comment: Comment) -> list[Spoken]:
        """Return what is written down of a text: all of it is accepted, or none."""
        asker, refused = Asker(comment.login, comment.author), dict[int, Refused]()
        first: Asker | None = None
        try:
            with _or_down():
                asker = self.permitting.asker(comment.login, comment.author, is_bot=comment.is_bot)
                is_twice = bool(self.first[0]) and not comment.id
                first = self.permitting.asker(*self.first) if is_twice else None
        except Unasked as e:
            refused = dict.fromkeys(range(len(lines)), e)
        recent = self._recent(asker)
        for turn, line in enumerate(lines):
            try:
                if first is not None:
                    self._permit(line, first, comment, recent)
                self._permit(line, asker, comment, recent)
            except Refused as e:
                refused.setdefault(turn, e)
            recent.append(comment.at)
        entries = []
        for turn, line in enumerate(lines):
            no = refused.get(turn)
            if no is None and refused:
                no = Refused("not-run", "nothing was done, because another line is refused")
            asked = line.command
            if asked is not None and no is None:
                asked = within(asked, self._snapshot)
            command = asked.model_dump(mode="json") if asked is not None and no is None else {}
            is_asking = line.command is not None and line.command.reads
            entries.append(
                Spoken(
                    key=f"{key}-{turn + 1}",
                    line=line.text[:MOST_OF_A_LINE],
                    synonym=line.synonym,
                    command=command,
                    dry_run=line.dry_run,
                    by=asker.actor,
                    level=asker.level,
                    first=first.actor if first else "",
                    first_level=first.level if first else "",
                    number=comment.number,
                    comment=comment.id,
                    is_bot=comment.is_bot,
                    at=comment.at,
                    status="refused" if no else "done" if is_asking else "open",
                    code=no.reason_code if no else "",
                    said=(no.message, no.hint) if no else (),
                    ended_at=self._now if no or is_asking else 0,
                )
            )
        # Who says more than one person may is not written down line for line.
        over = next((one for one in entries if one.code == "rate-limited"), None)
        return [over.model_copy(update={"key": f"{key}-1"})] if over else entries

    def _permit(
        self, line: grammar.Line, asker: Asker, comment: Comment, recent: Sequence[float]
    ) -> None:
        """Raise Refused unless a line is a command, and somebody may give it."""
        if comment.is_edited:
            why = "it was edited before it was read, so nothing of it was done"
            raise Refused("edited", why, hint="write it in a new comment")
        if line.command is None:
            # Who only ever garbles them is not answered without end, either.
            has_time(asker, self.permitting.rules, recent, comment.at)
            raise line.refused or Refused("unknown-verb", "that is not a command")
        about = within(line.command, self._snapshot), asker, self._snapshot
        with _or_down():
            self.permitting.permit(*about, recent=recent, now=comment.at)

    def _recent(self, asker: Asker) -> list[float]:
        """Return when somebody gave their last commands; what they give now is added."""
        if asker.actor in self.recent:
            return self.recent[asker.actor]
        repository, tree = self.reconciler.desk.store.repository, self._snapshot.tree
        entries = journal.read(repository, tree, _newest(journal.keys(repository, tree)))
        times = [entry.at for entry in entries if entry.by == asker.actor]
        return self.recent.setdefault(asker.actor, times)

    def _note(self, draft: Draft, entry: Spoken) -> None:
        who, said = person(entry.by), f"`{entry.line}`"
        if entry.status == "refused":
            draft.tell("command_refused", note=f"{who} said {said}: {entry.code}")
            if entry.code not in OF_STRANGERS:
                self._show(draft, entry)
        else:
            what = "asked" if entry.status == "done" else "said"
            draft.tell("command_accepted", note=f"{who} {what} {said}")

    def _show(self, draft: Draft, entry: Spoken) -> None:
        """Let the views show what came of a command."""
        outcome = "done" if entry.status == "done" else f"refused: {entry.code}"
        shown = Given(
            line=entry.line, by=person(entry.by), at=entry.at, outcome=outcome, undo=entry.undo
        )
        draft.set(given=(shown, *draft.snapshot.state.given)[:MOST_GIVEN])

    # --- carrying out -----------------------------------------------------------------------------

    def carry_out(self) -> bool:
        """Do what was accepted and is not done, in the order in which it was said.

        Returns whether anything was done.  Raises what keeps a command from being tried at all;
        it stays in the journal then, and is done by the next process.
        """
        done = False
        for entry in self._open():
            with contextlib.suppress(Known):
                self._do(entry)
                done = True
        return done

    def _open(self) -> list[Spoken]:
        found = self._read(self._snapshot.state.commands)
        return sorted(
            (one for one in found if one.status == "open" and self.is_mine(one)), key=_order
        )

    def _read(self, keys: Iterable[str]) -> list[Spoken]:
        repository = self.reconciler.desk.store.repository
        return journal.read(repository, self._snapshot.tree, [*keys])

    def _do(self, entry: Spoken) -> None:
        """Carry out one command, and write down what came of it with what it changed."""

        def close(draft: Draft, outcome: Outcome) -> None:
            self._end(draft, entry, "done", outcome=outcome)

        is_over, permit = partial(self._is_over, entry.key), partial(self._permit_again, entry)
        try:
            command = KINDS[entry.command["verb"]].model_validate(entry.command)
            if "key" in command.unasked:
                command = command.model_copy(update={"key": entry.key})
            about = command, entry.by, entry.at
            self.acts(*about, permit=permit, dry_run=entry.dry_run, also=close, unless=is_over)
        except Refused as e:
            self._fail(entry, e.reason_code, e)
        except FlowError as e:
            if e.code is ExitCode.TRY_AGAIN:
                raise
            self._fail(entry, "bad-value", e)
        except Exception as e:
            # It must not keep those behind it waiting for ever; the log has the traceback.
            self._fail(entry, "failed", FlowError(f"the tool failed: {type(e).__name__}"))
            raise

    def _permit_again(self, entry: Spoken, command: Act, snapshot: Snapshot) -> None:
        """Raise Refused where what a command comes to by now is not for who gave it.

        Between two decisions a group of tasks can become another, or another gate be waited at.
        """
        askers = [Asker.called(entry.by, entry.level, is_bot=entry.is_bot)]
        if entry.first:
            askers.append(Asker.called(entry.first, entry.first_level))
        for asker in askers:
            with _or_down():
                self.permitting.permit(command, asker, snapshot)

    def _is_over(self, key: str, snapshot: Snapshot) -> bool:
        (now,) = journal.read(self.reconciler.desk.store.repository, snapshot.tree, [key])
        return now.status != "open"

    def _fail(self, entry: Spoken, code: str, why: FlowError) -> None:
        said = tuple(filter(None, (why.message, why.hint)))
        self._write(lambda draft: self._end(draft, entry, "refused", code=code, said=said))

    def _end(
        self,
        draft: Draft,
        entry: Spoken,
        status: str,
        *,
        code: str = "",
        said: Sequence[str] = (),
        outcome: Outcome | None = None,
    ) -> None:
        """Stage that a command is over; Known when it was already."""
        repository = self.reconciler.desk.store.repository
        (now,) = journal.read(repository, draft.snapshot.tree, [entry.key])
        if now.status != "open":
            raise Known
        about: dict[str, object] = {"status": status, "code": code, "said": tuple(said)}
        if outcome is not None:
            about |= {"said": outcome.said, "undo": outcome.undo, "changed": outcome.changed}
            about["is_staged"] = outcome.is_staged
        over = now.model_copy(update={**about, "ended_at": self._now})
        journal.put(draft, over)
        self._show(draft, over)
        note = f"`{entry.line}` of {person(entry.by)}: {code or 'done'}"
        draft.tell("command_refused" if code else "command_done", note=note)
        self.reconciler.desk.afterwards.append(lambda: self.fresh.add(entry.key))

    # --- answering --------------------------------------------------------------------------------

    def answer(self, words: Words | None = None, ending: Sequence[str] = ()) -> str:
        """Put signs under comments, and reply where somebody asked or was refused.

        Who filled a form in reads it in `words`; `ending` says of runs that were stopped how they
        end.  Returns in a sentence why somebody cannot be answered; nothing is lost by it.
        """
        self.ending = tuple(ending)
        if words is not None and words.typed is not None:
            words.came += self._of(words.typed.key)
            words.reply = self._words(words.came)
        known = self._read(self._snapshot.state.commands)
        waiting = {one.comment for one in known if one.status == "open"}
        over = [one for one in known if one.status != "open" and one.comment not in waiting]
        mine = [one for one in over if one.key in self.fresh or self._now - one.ended_at > LATER]
        told: list[str] = []
        why, broken = "", None
        for comment, entries in groupby(sorted(mine, key=_order), key=lambda one: one.comment):
            some = [*entries]
            try:
                if comment:
                    self._reply(comment, some)
                told += [one.key for one in some]
            except (ForgeDown, ForgeRefused) as e:
                why = e.message
                if isinstance(e, ForgeRefused) and e.status in GONE:
                    told += [one.key for one in some]
            except Exception as e:
                # It would fail every pass from now on, and the plan would go on no more.
                broken = e
                told += [one.key for one in some]
        if told:
            self._write(lambda draft: self._tell(draft, told))
        if broken is not None:
            raise broken
        return why

    def _of(self, key: str) -> list[Spoken]:
        """Return the commands of one text."""
        known = journal.keys(self.reconciler.desk.store.repository, self._snapshot.tree)
        return self._read(sorted((one for one in known if one.rpartition("-")[0] == key), key=_age))

    def _tell(self, draft: Draft, told: Sequence[str]) -> None:
        state = draft.snapshot.state
        left = tuple(key for key in state.commands if key not in told)
        if left != state.commands:
            draft.set(commands=left)
            draft.tell("commands_answered", note=f"{len(told)} commands are answered")

    def _reply(self, comment: int, entries: Sequence[Spoken]) -> None:
        number = entries[0].number
        text = self._words(entries)
        if entries[0].is_bot and all(entry.status == "refused" for entry in entries):
            text = ""  # two programs that answer each other never end
        if self._was_limited(entries):
            text = ""
        if text and not (self._is_resumed(entries) and self._has_reply(number, comment)):
            self.talk.say(number, f"{replies.marker(comment)}\n{text}")
        if comment not in self.signs:
            self._sign(
                comment, "eyes"
            )  # who died over it may have put that, and it comes back as ours
        self._sign(comment, replies.sign(entries))

    def _was_limited(self, entries: Sequence[Spoken]) -> bool:
        """Say whether somebody is refused for giving too many, and was within the hour before."""
        first = entries[0]
        if all(one.code != "rate-limited" for one in entries):
            return False
        repository, tree = self.reconciler.desk.store.repository, self._snapshot.tree
        known = journal.read(repository, tree, _newest(journal.keys(repository, tree)))
        return any(
            one.code == "rate-limited"
            and (one.by, one.comment < first.comment) == (first.by, True)
            and first.at - HOUR < one.at
            for one in known
        )

    def _words(self, entries: Sequence[Spoken]) -> str:
        config = self.reconciler.desk.config
        said = config.command_permissions.items()
        levels = {verb: one.level for verb, one in said if one.level is not None}
        told = self._snapshot, self.limits, self._now, entries
        return replies.reply(*told, _prefix(config), self.ending, levels)

    def _is_resumed(self, entries: Sequence[Spoken]) -> bool:
        return any(entry.key not in self.fresh for entry in entries)

    def _has_reply(self, number: int, comment: int) -> bool:
        if number not in self.replied:
            own = self.talk.comments(number, self._snapshot.state.accepted_at)
            marks = (one.text.partition("\n")[0] for one in own if one.is_own)
            self.replied[number] = frozenset(marks)
        return replies.marker(comment) in self.replied[number]

    def _sign(self, comment: int, sign: Reaction) -> None:
        with contextlib.suppress(ForgeRefused):
            self.signs[comment] = self.talk.react(comment, sign, self.signs.get(comment, 0))

    # --- writing ----------------------------------------------------------------------------------

    def _write(self, stage: Callable[[Draft], None]) -> None:
        for turn in range(RACES):
            try:
                self.reconciler.write(stage)
                break
            except LostRace:
                if turn == RACES - 1:
                    raise


def places(snapshot: Snapshot) -> list[int]:
    """Return the pull requests, and the issue, in which commands for a plan are given."""
    home = snapshot.state.home
    # An issue that stood in for the pull request is where somebody may still write.
    own = [number for number in (home.pull, home.issue) if number] if home is not None else []
    return own + [record.pull for record in snapshot.records.values() if record.pull]


def understood(comment: Comment, config: Config) -> grammar.Heard:
    """Return what a comment asks for, by the words that a repository wants."""
    ignored, is_form = frozenset(config.ignore_commands), not comment.id
    return grammar.read(comment.text, prefix=_prefix(config), ignored=ignored, is_form=is_form)


def _prefix(config: Config) -> grammar.Prefix:
    return grammar.Prefix(is_required=config.command_prefix == "required")


def _order(entry: Spoken) -> tuple[float, int, int]:
    return entry.at, entry.comment, int(entry.key.rpartition("-")[2])


def _newest(keys: Iterable[str]) -> list[str]:
    """Return the newest keys of comments, and of forms; their numbers cannot be compared."""
    old = sorted(keys, key=_age)
    forms = [key for key in old if key.startswith("form-")]
    return [key for key in old if key not in {*forms}][-MOST_LOOKED_AT:] + forms[-MOST_LOOKED_AT:]


@contextlib.contextmanager
def _or_down() -> Iterator[None]:
    """Raise ForgeDown in place of Unasked where that is why: the next process asks again."""
    try:
        yield
    except Unasked as e:
        if isinstance(e.__cause__, ForgeDown):
            raise e.__cause__ from e
        raise


def _age(key: str) -> tuple[int, int]:
    """Return what sorts keys by when they were said: ids of a forge only grow."""
    said, _, line = key.rpartition("-")
    return int(said.removeprefix("form-")), int(line)


__all__ = ["Acts", "Commanding", "Typed", "Words", "places", "understood"]
