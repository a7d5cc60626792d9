"""Each task's issue on a forge: made before the task's branch, and brought up to date after a pass.

What is going to be made is written down first.  So whoever comes after a kill, or after an answer
that was lost, looks for it before anything is made again, and no task ever has two.  People's
changes stay; nothing that fails here fails a pass, and no task waits for an issue.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial

from gitflow_agents import issues
from gitflow_agents.errors import LostRace
from gitflow_agents.forge import (
    ForgeDown,
    ForgeRefused,
    Ground,
    HangIssue,
    Issue,
    IssueWrote,
    NewIssue,
    PlanIssue,
    Tracker,
)
from gitflow_agents.issues import PLAN
from gitflow_agents.models import MILESTONE, Making, Tracked
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.reconcile import Reconciler
from gitflow_agents.store import Draft
from gitflow_agents.store.state import new_nonce

AT_ONCE = 10
"""Issues that are made by one request: GitHub ends one that takes ten seconds."""
MOST_MADE = 60
"""Issues that one pass makes; the next goes on."""
MOST_WRITTEN = 20
"""Other writes of one request."""
MOST_READ = 100
MOST_BLOCKS = 30
"""Requests of one pass that tell issues what they wait for."""
PACE = 8.0
"""Seconds for each issue that is made, beyond MOST_MADE: a forge takes 500 things an hour."""
LEASE = 300.0
"""Seconds for which others leave alone what is being made."""
MARGIN = 600.0
"""Seconds that the forge's clock may be behind ours."""
UNPROCESSABLE = 422
"""What a forge answers to something that it understands and does not want."""
AGAIN = 3600.0
"""Seconds until what was refused is tried again."""
RACES = 5
"""Times that something is written down when somebody else moves the plan."""


@dataclass
class Issuing:
    """The issues of one plan, for the passes of one process."""

    reconciler: Reconciler
    tracker: Tracker
    most: int = MOST_MADE
    """How many may be made."""
    wait: Callable[[int], None] = lambda number: None
    """Waits until so many more may be made."""
    made: int = 0
    written: int = 0
    """Issues that were changed."""
    theirs: list[str] = field(default_factory=list)
    """What people changed and what was left to them, in sentences."""
    _why: str = ""
    _nonce: str = ""
    """Of what this process was making last."""

    @property
    def _snapshot(self) -> Snapshot:
        return self.reconciler.desk.snapshot

    @property
    def _now(self) -> float:
        return self.reconciler.desk.clock()

    def begin(self, free: int) -> None:
        """Make the issues of the tasks that are about to start; `free` more may be at work."""
        if self._starting(free):
            first = partial(self._starting, free)
            self._try(lambda: self._make_all(first, self.most))

    def _starting(self, free: int) -> list[str]:
        return issues.starting(self._snapshot, free)

    def end(self, *, is_paced: bool = True) -> str:
        """Bring everything up to date; returns in a sentence why that cannot be."""
        for part in (lambda: self._rest(is_paced), self._hang, self._follow_up, self._settle):
            self._try(part)
        self._try(self._block)
        self.reconciler.desk.written()
        return self._why

    def sync(self) -> str:
        """Bring everything up to date, however much it is; returns why that cannot be.

        For whoever waits for it: `wait` keeps to what a forge takes.
        """
        self.most = sys.maxsize
        tracking = self._snapshot.tracking
        if tracking.refused or tracking.unblocked:  # who asks may be somebody who may do it
            self._write(_forget_refusals)
        why = self.end(is_paced=False)
        while not why and not self._snapshot.tracking.unblocked and not self._is_put_off:
            if next(issues.blocks(self._snapshot), None) is None:
                break
            why = self.end(is_paced=False)
        return why

    def _try(self, part: Callable[[], None]) -> None:
        """Do a part; a refusal is told once, and tried again when some time has passed."""
        if self._why:
            return
        try:
            try:
                part()
            except ForgeRefused as e:
                self._refused(f"{e.message}; {e.hint}".rstrip("; "))
        except ForgeDown as e:
            self._why = e.message
        except LostRace:
            pass  # somebody else moves the plan, and the next pass goes on

    def _refused(self, why: str) -> None:
        if why != self._snapshot.tracking.refused:
            self.reconciler.desk.say("warning", f"tasks go on without an issue: {why}")

        def stage(draft: Draft) -> None:
            making = draft.snapshot.tracking.making
            making = None if making is not None and making.nonce == self._nonce else making
            put_off = {"refused": why, "without": (), "again_at": self._now + AGAIN}
            draft.set_tracking(**put_off, making=making)
            draft.tell("issues_refused", note=f"tasks go on without an issue: {why}")

        self._write(stage)

    @property
    def _is_put_off(self) -> bool:
        """Say whether what was refused is not to be tried again yet."""
        tracking = self._snapshot.tracking
        is_all = bool(tracking.refused) and not tracking.without
        return is_all and self._now < tracking.again_at

    def _write(self, stage: Callable[[Draft], None]) -> None:
        """Write down what has happened already, whoever moves the plan meanwhile."""
        for turn in range(RACES):
            try:
                self.reconciler.write(stage)
                return
            except LostRace:
                if turn == RACES - 1:
                    raise

    # --- making -----------------------------------------------------------------------------------

    def _rest(self, is_paced: bool) -> None:
        """Make the issues of tasks that start later, as many as a forge takes."""
        room = self.most
        if is_paced:
            ahead = max(0.0, self._snapshot.tracking.paced_until - self._now)
            room = self.made + int(MOST_MADE - ahead / PACE)
        self._make_all(lambda: issues.missing(self._snapshot), min(room, self.most))

    def _make_all(self, lacking: Callable[[], Sequence[str]], most: int) -> None:
        """Make the issues of tasks, and before the first of them the plan's own."""

        def wanted() -> list[str]:
            keys = [key for key in lacking() if not self._is_refused(key)]
            is_first = self._snapshot.tracking.issue is None and not self._is_refused(PLAN)
            return [PLAN] if keys and is_first else keys

        if wanted():
            self._reconsider()
        while not self._is_put_off and self.made < most and wanted() and self._look_for():
            if keys := wanted()[: min(AT_ONCE, most - self.made)]:
                people = {key: self._person(key) for key in keys}
                ground = self._ground(people={*people.values()} - {"", None})
                if not self._make(self._news(keys, ground, people), ground):
                    return
                self._say_who(people, ground)

    def _reconsider(self) -> None:
        """Look for what was refused some time ago, before it is tried again: it may be there."""
        tracking = self._snapshot.tracking
        if not tracking.without or self._now < tracking.again_at:
            return
        found = self._found(tracking.without, tracking.again_at - AGAIN)

        def stage(draft: Draft) -> None:
            for key, issue in found.items():
                if not self._have((key,)):
                    _track(draft, key, issue, is_child=False)
            draft.set_tracking(without=(), refused="", again_at=0.0)
            draft.tell("issues_noted", note="what was refused is tried again")

        self._write(stage)

    def _is_refused(self, key: str) -> bool:
        """Say whether the issue of one task is refused, and not to be tried again yet."""
        tracking = self._snapshot.tracking
        return key in tracking.without and self._now < tracking.again_at

    def _person(self, key: str) -> str | None:
        config = self.reconciler.desk.config
        return "" if key == PLAN else issues.answering(self._snapshot, config, key)

    def _say_who(self, people: Mapping[str, str | None], ground: Ground) -> None:
        """Tell whom GitHub does not let be assigned, and what nobody answers for."""
        by_person: dict[str | None, list[str]] = {}
        for key, who in people.items():
            by_person.setdefault(who, []).append(key)
        for who, keys in by_person.items():
            why = ""
            if who is None:
                why = "nobody in agent_mapping answers for it"
            elif who and who not in ground.people:
                why = f"{who} cannot be assigned here"
            if why:
                said = f"nobody is assigned to the issue of {_names(keys)}: {why}"
                self.reconciler.desk.say("warning", said)

    def _ground(
        self, extra: tuple[str, ...] = (), people: AbstractSet[str | None] = frozenset()
    ) -> Ground:
        """Look up what issues are made with, and note that the plan's own was deleted."""
        config, plan = self.reconciler.desk.config.issues, self._snapshot.plan
        labels = (*(config.labels if config else ()), *extra)
        own = self._snapshot.tracking.issue
        there = (own.node,) if own is not None and not own.is_gone else ()
        whom = sorted(one for one in people if one)
        ground = self.tracker.ground(labels, whom, plan.epic or "", there)
        if own is not None and own.node in ground.gone:
            gone = issues.settle(self._snapshot, PLAN, own, None)
            self._note_settled({PLAN: gone.after}, [gone.said])
        return ground

    def _news(
        self, keys: Sequence[str], ground: Ground, people: Mapping[str, str | None]
    ) -> list[NewIssue]:
        config = self.reconciler.desk.config.issues
        labels = config.labels if config else ()
        news = (
            issues.new_issue(self._snapshot, key, labels, people[key] or "", place=place)
            for place, key in enumerate(keys)
        )
        return [replace(new, parent=ground.epic) if new.key == PLAN else new for new in news]

    def _make(self, asked: Sequence[NewIssue], ground: Ground) -> bool:
        """Make issues by one request; False where somebody else does."""
        nonce, keys = new_nonce(), tuple(new.key for new in asked)
        taken: list[bool] = []

        def stage(draft: Draft) -> None:
            taken.clear()
            if draft.snapshot.tracking.making is not None or self._have(keys):
                return
            now = self._now
            making = Making(nonce=nonce, keys=keys, since=now, until=now + LEASE)
            draft.set_tracking(making=making)
            draft.tell("issues_begun", note=f"issues are made: {_names(keys)}")
            taken.append(True)

        self.wait(len(asked))  # before others are kept waiting
        self.reconciler.write(stage)
        if not taken:
            return False
        self._nonce = nonce
        try:
            wrote = self.tracker.write_issues(ground, asked)
        except ForgeDown:
            # It may have been done all the same, or be done yet: what is not there now is looked
            # for again before it is made.
            self._look_for(nonce)
            raise
        self._note_made(nonce, asked, wrote)
        return True

    def _have(self, keys: Iterable[str]) -> bool:
        """Say whether somebody else has made one of some issues meanwhile."""
        snapshot = self._snapshot
        own = {*snapshot.issues, *(f"+{name}" for name in snapshot.tracking.followed)}
        return any(key in own or (key == PLAN and snapshot.tracking.issue) for key in keys)

    def _note_made(
        self, nonce: str, asked: Sequence[NewIssue], wrote: Sequence[IssueWrote]
    ) -> None:
        pairs = [
            (new, one.issue) for new, one in zip(asked, wrote, strict=True) if one.issue is not None
        ]
        lacking = [new for new, one in zip(asked, wrote, strict=True) if one.refused]
        refused = next((one.refused for one in wrote if one.refused), "")
        if lacking:  # it may be there all the same, and hang nowhere
            there = self._found([new.key for new in lacking], self._now)
            pairs += [(replace(n, parent=""), there[n.key]) for n in lacking if n.key in there]
        without = [new.key for new in lacking if new.key not in {new.key for new, _ in pairs}]
        self.made += len(pairs)

        def stage(draft: Draft) -> None:
            for new, issue in pairs:
                _track(draft, new.key, issue, is_child=bool(new.parent), epic=self._epic(new.key))
            now, tracking = self._now, draft.snapshot.tracking
            is_ours = tracking.making is not None and tracking.making.nonce == nonce
            draft.set_tracking(
                making=None if is_ours else tracking.making,
                paced_until=max(now, tracking.paced_until) + PACE * len(pairs),
            )
            kept = tracking.without if now < tracking.again_at else ()
            if without:
                again = {"refused": refused, "again_at": now + AGAIN}
                draft.set_tracking(without=(*kept, *without), **again)
            elif not kept:
                draft.set_tracking(without=(), refused="", again_at=0.0)
            said = ", ".join(f"{_named(new.key)} is #{issue.number}" for new, issue in pairs)
            why = f"some were refused: {refused}" if refused else ""
            draft.tell("issues_noted", note="; ".join(filter(None, (said, why))))
            if pairs:
                self.reconciler.desk.say("issues_noted", said)

        known = self._snapshot.tracking.refused
        self._write(stage)
        if refused and refused != known:
            self.reconciler.desk.say("warning", f"tasks go on without an issue: {refused}")

    def _epic(self, key: str) -> str:
        return (self._snapshot.plan.epic or "") if key == PLAN else ""

    def _look_for(self, nonce: str = "") -> bool:
        """Find what was being made when somebody died; False while it may still be at work."""
        making = self._snapshot.tracking.making
        if making is None:
            return True
        if self._now < making.until and making.nonce != nonce:
            return False
        found = self._found(making.keys, making.since)
        is_over = self._now >= making.until or len(found) == len(making.keys)

        def stage(draft: Draft) -> None:
            now = draft.snapshot.tracking.making
            if now is None or now.nonce != making.nonce:
                return
            own = draft.snapshot.tracking.issue
            for key, issue in found.items():
                if not self._have((key,)):
                    _track(draft, key, issue, is_child=own is not None, epic=self._epic(key))
            left = tuple(key for key in making.keys if key not in found)
            draft.set_tracking(making=None if is_over else now.model_copy(update={"keys": left}))
            said = ", ".join(f"{_named(key)} is #{one.number}" for key, one in found.items())
            note = f"issues were looked for: {said or 'none was made'}"
            draft.tell("issues_noted", note=note)

        self._write(stage)
        return is_over

    def _found(self, keys: Iterable[str], since: float) -> dict[str, Issue]:
        """Return which issues of ours were made since a time, by their keys."""
        there = self.tracker.own_issues(since - MARGIN)
        return issues.found(self._snapshot.plan.plan, keys, there)

    def _hang(self) -> None:
        """Hang the plan's issue below the epic, or put it to the milestone, that its text names."""
        tracking, epic = self._snapshot.tracking, self._snapshot.plan.epic or ""
        own = tracking.issue
        if own is None or own.is_gone or epic in ("", tracking.epic) or self._is_put_off:
            return
        ground = self._ground()
        kind = MILESTONE if MILESTONE in epic else "issue"
        wrote = IssueWrote(refused=f"there is no such {kind}")
        if ground.milestone:
            (wrote,) = self.tracker.write_issues(ground, [PlanIssue(own.node, ground.milestone)])
        elif ground.epic:
            (wrote,) = self.tracker.write_issues(ground, [HangIssue(own.node, ground.epic)])
        said = f"the plan's issue is part of {epic}"
        if wrote.refused:
            said = f"the plan's issue is no part of {epic}: {wrote.refused}"

        def stage(draft: Draft) -> None:
            draft.set_tracking(epic=epic)
            draft.tell("issues_noted", note=said)
            self.reconciler.desk.say("warning" if wrote.refused else "issues_noted", said)

        self._write(stage)

    # --- what tasks left to be done ---------------------------------------------------------------

    def _follow_up(self) -> None:
        config = self.reconciler.desk.config.issues
        if config is None or not config.follow_ups or self._is_put_off:
            return
        due = [one for one in issues.follow_ups(self._snapshot) if not self._is_refused(one.key)]
        if not due or self.made >= self.most or not self._look_for():
            return
        due = [one for one in issues.follow_ups(self._snapshot) if not self._is_refused(one.key)]
        known = issues.found(
            self._snapshot.plan.plan,
            [one.key for one in due],
            self.tracker.own_issues(0, issues.FOLLOW_UP),
        )
        if known:
            self._note_followed(known)
        new = [one for one in due if one.key not in known]
        while new and self.made < self.most:
            now, new = new[:AT_ONCE], new[AT_ONCE:]
            ground = self._ground((issues.FOLLOW_UP,))
            asked = [issues.follow_up(self._snapshot, one, config.labels) for one in now]
            if not self._make(asked, ground):
                return

    def _note_followed(self, known: dict[str, Issue]) -> None:
        def stage(draft: Draft) -> None:
            for key, issue in known.items():
                _track(draft, key, issue, is_child=False)
            said = ", ".join(f"#{issue.number}" for issue in known.values())
            draft.tell("issues_noted", note=f"what is left to be done was there already: {said}")

        self._write(stage)

    # --- what has changed -------------------------------------------------------------------------

    def _settle(self) -> None:
        """Bring the issues up to date whose tasks have ended, or say something else now."""
        due = issues.stale(self._snapshot) if not self._is_put_off else []
        for start in range(0, len(due), MOST_READ):
            keys = due[start : start + MOST_READ]
            known = {key: self._known(key) for key in keys}
            seen = self.tracker.issues([one.node for one in known.values()])
            settled = {
                key: issues.settle(self._snapshot, key, one, seen.get(one.node))
                for key, one in known.items()
            }
            writing = [key for key in keys if settled[key].writes]
            done = {key: one.after for key, one in settled.items() if not one.writes}
            self._note_settled(done, [one.said for one in settled.values()])
            for first in range(0, len(writing), MOST_WRITTEN // 2):
                self._rewrite(
                    {key: settled[key] for key in writing[first : first + MOST_WRITTEN // 2]}
                )

    def _rewrite(self, settled: dict[str, issues.Settled]) -> None:
        asked = [(key, write) for key, one in settled.items() for write in one.writes]
        nothing = Ground("", {}, {})
        wrote = self.tracker.write_issues(nothing, [write for _, write in asked])
        results = list(zip(asked, wrote, strict=True))
        failed = {key: one.refused for (key, _), one in results if one.refused}
        done = {key: one.after for key, one in settled.items() if key not in failed}
        self.written += len(done)
        said = []
        for key, why in failed.items():  # it is tried again, and told only once
            known = self._known(key)
            theirs = f"#{known.number} could not be brought up to date: {why}"
            if known.theirs != theirs:
                done[key] = known.model_copy(update={"theirs": theirs})
                said.append(theirs)
        self._note_settled(done, said)

    def _known(self, key: str) -> Tracked:
        own = self._snapshot.tracking.issue
        if key == PLAN and own is not None:
            return own
        return self._snapshot.issues[key]

    def _note_settled(self, done: dict[str, Tracked], said: Iterable[str]) -> None:
        theirs = [one for one in said if one]
        self.theirs += theirs
        if not done:
            return

        def stage(draft: Draft) -> None:
            if draft.snapshot.tracking.refused and not draft.snapshot.tracking.without:
                draft.set_tracking(refused="", again_at=0.0)
            for key, issue in done.items():
                if key == PLAN:
                    draft.set_tracking(issue=issue)
                else:
                    draft.track(key, issue)
            note = f"told their issues: {_names(done)}"
            draft.tell("issues_noted", note="; ".join((note, *theirs)))
            for one in theirs:
                self.reconciler.desk.say("issues_noted", f"issue {one}")

        self._write(stage)

    # --- what waits for what ----------------------------------------------------------------------

    def _block(self) -> None:
        """Tell issues what they wait for, as far as this pass may; each is noted when it is told.

        A forge that refuses it is not asked again.
        """
        tracking, asked = self._snapshot.tracking, 0
        if tracking.unblocked or self._is_put_off:
            return
        done: dict[str, Tracked] = {}
        why = ""
        try:
            for one in list(issues.blocks(self._snapshot)):
                if asked + len(one.add) + len(one.drop) > MOST_BLOCKS and asked:
                    break
                asked += len(one.add) + len(one.drop)
                try:
                    done[one.task] = self._blocked(one)
                except ForgeRefused:
                    if not self._are_gone((one.task, *one.add, *one.drop)):
                        raise
        except ForgeRefused as e:
            why = f"issues do not show what they wait for: {e.message}"
        finally:
            if done or why:
                self._note_blocked(done, why)

    def _are_gone(self, tasks: Sequence[str]) -> bool:
        """Say whether some issues were deleted, and note that."""
        known = {task: self._snapshot.issues[task] for task in tasks}
        seen = self.tracker.issues([one.node for one in known.values()])
        gone = {
            task: issues.settle(self._snapshot, task, one, None)
            for task, one in known.items()
            if one.node not in seen
        }
        new = {task: one for task, one in gone.items() if not known[task].is_gone}
        self._note_settled(
            {task: one.after for task, one in new.items()}, [one.said for one in new.values()]
        )
        return bool(gone)

    def _blocked(self, one: issues.Blocks) -> Tracked:
        """Tell an issue what it waits for; what is wrong with one of that alone is only said."""
        known = self._snapshot.issues
        issue = known[one.task]
        for need in (*one.add, *one.drop):
            try:
                self.tracker.block(issue.number, known[need].id, ends=need in one.drop)
            except ForgeRefused as e:
                if e.status != UNPROCESSABLE:
                    raise
                self.reconciler.desk.say("warning", e.message)
        kept = [need for need in issue.blocked_by if need not in one.drop]
        needs = tuple(self._snapshot.graph.requires[one.task])
        return issue.model_copy(update={"needs": needs, "blocked_by": (*kept, *one.add)})

    def _note_blocked(self, done: dict[str, Tracked], why: str) -> None:
        def stage(draft: Draft) -> None:
            for task, issue in done.items():
                told = {"needs": issue.needs, "blocked_by": issue.blocked_by}
                draft.track(task, draft.snapshot.issues[task].model_copy(update=told))
            if why:
                draft.set_tracking(unblocked=why)
                self.reconciler.desk.say("warning", why)
            note = f"issues show what they wait for: {_names(done)}" if done else ""
            draft.tell("issues_noted", note="; ".join(filter(None, (note, why))))

        self._write(stage)


def _forget_refusals(draft: Draft) -> None:
    draft.set_tracking(refused="", without=(), again_at=0.0, unblocked="")
    draft.tell("issues_noted", note="what was refused is tried again")


def _track(draft: Draft, key: str, issue: Issue, *, is_child: bool, epic: str = "") -> None:
    """Note an issue that was made or found."""
    snapshot = draft.snapshot
    if key.startswith("+"):
        draft.set_tracking(followed={**snapshot.tracking.followed, key[1:]: issue.number})
        return
    known = issues.tracked(snapshot, key, issue, is_child=is_child)
    if key == PLAN:
        url = issue.url.removesuffix(str(issue.number))
        draft.set_tracking(issue=known, url=url, epic=epic)
    else:
        draft.track(key, known)


def _named(key: str) -> str:
    return "what is left to be done" if key.startswith("+") else key or "the plan"


def _names(keys: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(map(_named, keys)))


__all__ = ["Issuing"]
