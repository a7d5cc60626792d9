"""A remote as the authority of a plan: its branches there decide, and nothing here moves.

Every move is one `git push --atomic` in which each ref names the value that it replaces, so of two
machines that decide at once one wins whole and the other is told.  What is known of the remote
stands below `refs/gitflow/remote/<name>/`: a namespace of our own, because a person's branches are
theirs, and a remote-tracking branch that moves without their fetch makes their own
`git push --force-with-lease` believe that they have seen what is there.

Fetches and pushes are the person's own: their configuration, their credentials, their ssh.  Only
hooks are left out, for one that asks or refuses would need a person beside the run.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gitflow_agents.errors import ExitCode, FlowError, GitFailed, LostRace
from gitflow_agents.models import ZERO
from gitflow_agents.store.refs import BEAT, Move, RefRefused, Refs
from gitflow_agents.store.repository import Git, Repository

HEADS = "refs/heads/"
SPACE = "refs/gitflow/remote/"
"""Where what is known of remotes stands."""
TRACKING = "refs/remotes/"
UNSENT = "refs/gitflow/unsent/"
"""Results that were ready when the remote could not be reached, until they are there."""
REFUSED = "refs/gitflow/refused/"
"""Work that a server did not take."""
ALIAS = "gitflow-agents"
"""The remote's name in the git that we start: it has none of the person's refspecs."""

SLOWEST_BEAT = 15.0
"""Seconds between two looks at a server that takes its time to answer."""
FRESH = 0.5
"""Seconds for which what was read of the remote is not asked for again."""
GLANCE_SECONDS, FETCH_SECONDS, PUSH_SECONDS = 10.0, 120.0, 300.0
SILENCE = "60"
"""Seconds of silence after which git gives an http server up."""
TURNS = 4
"""Attempts at a push, or at reading what became of it, before it is given up."""
PAUSE = 0.4
"""Seconds before the second of them; each further pause is twice as long."""

OURS = frozenset("fetch mirror prune prunetags push pushurl tagopt url".split())
"""Settings of a remote that do not carry over: what is moved and read is said in full."""
TAKEN_OVER = ("GIT_CONFIG", "GIT_SSL", "GIT_HTTP", "GIT_PROXY", "GIT_CURL", "GIT_PROTOCOL")
"""What names of the person's variables begin with that tell git how to reach a remote."""
SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "push.followTags": "false",
    "push.recurseSubmodules": "no",
    "push.useForceIfIncludes": "false",
    "fetch.writeCommitGraph": "false",
    "fetch.recurseSubmodules": "no",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": SILENCE,
}
_FETCH = (
    "fetch",
    "--quiet",
    "--atomic",
    "--prune",
    "--no-prune-tags",
    "--no-tags",
    "--no-write-fetch-head",
)
_PUSH = ("push", "--porcelain", "--atomic")
_MISSING = re.compile(r"couldn't find remote ref (refs/heads/\S+)")
_REJECTED = re.compile(r"(?m)^!\t[^\t:]*:(?P<ref>[^\t]+)\t\[(?P<by>[^\]]+)\] \((?P<why>.*)\)$")
_INNOCENT = re.compile(r"atomic (?:push|transaction) fail|transaction (?:failed|aborted)")
_STALE = re.compile(
    r"stale info|fetch first|non-fast-forward|cannot lock ref|failed to (?:update|lock) ref|"
    r"incorrect old value|already exists|unable to resolve"
)


class Offline(FlowError):
    """The remote that decides cannot be reached; what was asked of it may have been done."""

    code = ExitCode.TRY_AGAIN


@dataclass(frozen=True)
class Rejection:
    """A ref that a push did not move, and why, in git's words."""

    ref: str
    why: str


class Remote(Refs):
    """The refs of one plan at a remote."""

    def __init__(self, local: Refs, name: str, plan: str) -> None:
        super().__init__(local.repository)
        self.name = name
        self.plan = plan
        self.local = local
        self._place = self.folder / "remotes" / name
        self._space = f"{SPACE}{name}/"
        self._branches: set[str] = set()
        self._fetched = float("-inf")
        self._took = 0.0
        self._failed: tuple[float, Offline | None] = (0.0, None)

    # --- reading ----------------------------------------------------------------------------------

    def known_as(self, ref: str) -> str:
        """Return the name under which what is known of a branch there stands here."""
        if not ref.startswith(HEADS):
            return ref
        return f"{self._space}{ref.removeprefix('refs/')}"

    def resolve(self, ref: str) -> str | None:
        """Return what a ref named at the remote when it was last read, or None."""
        return self.repository.resolve(self.known_as(ref))

    def tips(self, *prefixes: str) -> dict[str, str]:
        """Return every branch of the plan there below the prefixes with its sha."""
        found = self.repository.tips(*map(self.known_as, prefixes))
        return {f"refs/{ref.removeprefix(self._space)}": sha for ref, sha in found.items()}

    @property
    def beat(self) -> float:
        """Return the seconds after which to look again when nothing happened here."""
        return min(SLOWEST_BEAT, max(BEAT, self._took * 50))

    def heads(self) -> dict[str, Path]:
        """Return nothing: nobody has a branch of the remote checked out."""
        return {}

    def checkouts(self) -> dict[str, Path]:
        """Return the local branches that worktrees have checked out, with where."""
        return self.local.heads()

    def include(self, *branches: str) -> None:
        """Read these branches too, from the next look on: a plan's flow and its base."""
        new = {f"{HEADS}{branch}" for branch in branches} - self._branches
        if new:
            self._branches |= new
            self._fetched = float("-inf")

    def refresh(self, *, force: bool = False) -> None:
        """Read the plan's branches there; Offline when the remote cannot be reached."""
        if force or time.monotonic() - self._fetched > FRESH:
            self._fetch()

    def glance(self) -> None:
        """Read them for a look that nobody waits for long, unless somebody here reads them now."""
        if time.monotonic() - self._fetched <= self.beat:
            return
        if time.monotonic() - self._failed[0] <= self.beat and self._failed[1] is not None:
            raise self._failed[1]
        with self.quiet(0) as is_free:
            if is_free:
                try:
                    self._fetch(GLANCE_SECONDS)
                except Offline as e:
                    self._failed = (time.monotonic(), e)
                    raise

    @property
    def fetched_at(self) -> float:
        """Return when the plan's branches were last read, in seconds since the epoch, or 0."""
        try:
            return self._stamp.stat().st_mtime
        except OSError:
            return 0.0

    @property
    def _stamp(self) -> Path:
        return self._place / f"{self.plan}.fetched"

    def everything(self) -> dict[str, str]:
        """Return all branches there with their shas."""
        code, out, said = self._attempt(FETCH_SECONDS, "ls-remote", "--quiet", "--heads", ALIAS)
        if code:
            raise self._offline(said)
        lines = (line.split("\t") for line in os.fsdecode(out).splitlines())
        return {ref: sha for sha, ref in lines}

    def is_there(self, ref: str, seconds: float = FETCH_SECONDS) -> bool:
        """Say whether the remote has a branch; nothing of what it says is kept."""
        code, out, said = self._attempt(seconds, "ls-remote", "--quiet", "--heads", ALIAS, ref)
        if code:
            raise self._offline(said)
        return any(line.endswith(f"\t{ref}") for line in os.fsdecode(out).splitlines())

    def _fetch(self, seconds: float = FETCH_SECONDS) -> None:
        """Read exactly the plan's branches with one fetch."""
        wanted = [f"{HEADS}gitflow/{kind}/{self.plan}" for kind in ("state", "try")]
        wanted += [f"{HEADS}plan/{self.plan}", *sorted(self._branches)]
        gone: list[str] = []
        began = time.monotonic()
        for turn in range(TURNS + len(wanted)):
            below = [f"{HEADS}{kind}/{self.plan}/*" for kind in ("task", "gitflow/attempt")]
            asked = [*map(_perhaps, wanted), *below]
            specs = [f"+{ref}:{self.known_as(ref)}" for ref in asked]
            code, _, said = self._attempt(seconds, *_FETCH, ALIAS, *specs)
            if code == 0:
                break
            missing = _MISSING.search(said)
            if missing and missing[1] in wanted:
                wanted.remove(missing[1])
                gone.append(self.known_as(missing[1]))
            elif "cannot lock ref" in said and turn < TURNS:
                _pause(turn)  # another process of ours reads as well
            else:
                raise self._offline(said)
        else:
            raise self._offline(said)
        here = {ref: self.repository.resolve(ref) for ref in gone}
        self.local.move([(ref, sha, ZERO) for ref, sha in here.items() if sha])
        self._fetched = time.monotonic()
        self._took = self._fetched - began
        with contextlib.suppress(OSError):
            self._place.mkdir(parents=True, exist_ok=True)
            self._stamp.touch()

    # --- moving -----------------------------------------------------------------------------------

    def move(self, moves: Sequence[Move]) -> None:
        """Move refs there together: (ref, old, new) each, ZERO for "is not there".

        Raises LostRace when an old value no longer holds, RefRefused when the server does not
        want it, Offline when nobody can tell what became of it.
        """
        moves = [move for move in moves if move[1] != move[2]]
        if not moves:
            return
        self.repository.settle()
        self._branches |= {ref for ref, _, _ in moves if not self._is_read(ref)}
        with self.lock():
            for turn in range(TURNS):
                code, out, said = self._push(moves)
                if code == 0:
                    self._note(moves)
                    return
                self._read_again(said)
                if all(self._now(ref) == new for ref, _, new in moves):
                    return  # the answer was lost, not the move
                for ref, old, _ in moves:
                    if self._now(ref) != old:
                        raise self._lost(ref)
                refused = self._refused(out.decode(errors="replace"), said)
                if refused is not None:
                    raise refused
                _pause(turn)
            raise GitFailed(
                f"{self.name} does not take what is pushed: {_sentence(said)}",
                hint="nothing was lost; when the remote is mended, run the command again",
            )

    def _push(self, moves: Sequence[Move]) -> tuple[int, bytes, str]:
        leases = [f"--force-with-lease={ref}:{'' if old == ZERO else old}" for ref, old, _ in moves]
        specs = [f"{'' if new == ZERO else new}:{ref}" for ref, _, new in moves]
        return self._attempt(PUSH_SECONDS, *_PUSH, *leases, ALIAS, *specs)

    def _note(self, moves: Sequence[Move]) -> None:
        """Make sure that what was pushed is known; git notes it itself, unless it was disturbed."""
        if any(self._now(ref) != new for ref, _, new in moves):
            self._read_again("")

    def _read_again(self, said: str) -> None:
        """Read what became of a push, which its failure does not tell."""
        for turn in range(TURNS):
            try:
                return self.refresh(force=True)
            except Offline as e:
                why = e
                if turn < TURNS - 1 and not self.is_hurried():
                    _pause(turn)
        raise self._offline(said) from why

    def _is_read(self, ref: str) -> bool:
        """Say whether a look at the plan sees this ref anyway."""
        name = ref.removeprefix(HEADS)
        own = (f"gitflow/state/{self.plan}", f"gitflow/try/{self.plan}", f"plan/{self.plan}")
        return name in own or name.startswith(
            (f"task/{self.plan}/", f"gitflow/attempt/{self.plan}/")
        )

    def _lost(self, ref: str) -> LostRace:
        now, branch = self._now(ref), ref.removeprefix(HEADS)
        where = f"is gone from {self.name}"
        if now != ZERO:
            where = f"is at {now[:12]} on {self.name} ({self._subject(now)}{self._by(now)})"
        return LostRace(f"somebody was faster: {branch} {where}", hint="run the command again")

    def _by(self, sha: str) -> str:
        """Return who moved a ref to a commit, as its event or its author tells."""
        try:
            commit = self.repository.commit(sha)
        except GitFailed:
            return ""
        told = re.findall(r"(?m)^Gitflow-Actor: (.+)$", commit.message)
        who = told[-1] if told else commit.author
        return f", by {who.partition(' <')[0]}"

    def _refused(self, out: str, said: str) -> RefRefused | None:
        """Return what the server has against a push; None when it said nothing of the kind."""
        found = [Rejection(m["ref"], m["why"]) for m in _REJECTED.finditer(out)]
        guilty = [each for each in found if not _INNOCENT.search(each.why)]
        if not guilty or any(_STALE.search(each.why) for each in guilty):
            return None
        heard = [line.removeprefix("remote: ").strip() for line in _remote_lines(said)]
        words = "; ".join([line for line in heard if line][:3]) or guilty[0].why
        what = f" {guilty[0].ref.removeprefix(HEADS)}" if len(guilty) < len(found) else ""
        return RefRefused(
            f"{self.name} refused the push{' of' if what else ''}{what}: {words}",
            hint=f"what {self.name} allows is decided there",
        )

    # --- results that wait for the line -----------------------------------------------------------

    def keep_unsent(self, task: str, number: int, commit: str) -> None:
        """Note a result that is to be pushed when the remote can be reached again."""
        ref = f"{UNSENT}{self.plan}/{task}/{number}"
        self.local.move([(ref, self.repository.resolve(ref) or ZERO, commit)])

    def unsent(self) -> dict[tuple[str, int], str]:
        """Return the results that wait: (task, number of the attempt) and the commit."""
        below = f"{UNSENT}{self.plan}/"
        found = {}
        for ref, sha in self.repository.tips(below).items():
            task, _, number = ref.removeprefix(below).rpartition("/")
            found[task, int(number)] = sha
        return found

    def keep_refused(self, task: str, number: int, commit: str) -> str:
        """Keep work here that the server does not take, and return the ref that holds it."""
        ref = f"{REFUSED}{self.plan}/{task}/{number}"
        self.local.move([(ref, self.repository.resolve(ref) or ZERO, commit)])
        return ref

    def forget_unsent(self, task: str, number: int) -> None:
        """A result is there."""
        ref = f"{UNSENT}{self.plan}/{task}/{number}"
        self.local.move([(ref, self.repository.resolve(ref) or ZERO, ZERO)])

    # --- transport --------------------------------------------------------------------------------

    @cached_property
    def _git(self) -> Git:
        """Return the person's git with the remote under a name of its own, and no hooks."""
        own = settings_of(self.repository, self.name)
        pairs = [*SETTINGS.items(), (f"remote.{ALIAS}.fetch", f"+{HEADS}*:{self._space}heads/*")]
        pairs += [(f"remote.{ALIAS}.{key}", value) for key, value in own]
        theirs = {n: v for n, v in os.environ.items() if n.startswith(TAKEN_OVER)}
        first = int(theirs.get("GIT_CONFIG_COUNT") or 0)
        environment = {**theirs, "GIT_TERMINAL_PROMPT": "0"}
        environment["GIT_CONFIG_COUNT"] = str(first + len(pairs))
        for place, (key, value) in enumerate(pairs, first):
            environment[f"GIT_CONFIG_KEY_{place}"] = key
            environment[f"GIT_CONFIG_VALUE_{place}"] = value
        return Git(str(self.repository.directory), environment)

    def _attempt(self, seconds: float, *words: str) -> tuple[int, bytes, str]:
        try:
            return self._git.attempt(*words, seconds=seconds)
        except GitFailed as e:
            return -1, b"", f"fatal: {e.message}"

    def _offline(self, said: str) -> Offline:
        return Offline(
            f"{self.name}, which decides on {self.plan}, cannot be reached: {_sentence(said)}",
            hint="nothing is lost; run the command again when the line is back",
        )

    def close(self) -> None:
        """End what was kept open; what is local stays."""
        super().close()
        if "_git" in self.__dict__:
            self._git.close()


def settings_of(repository: Repository, name: str) -> list[tuple[str, str]]:
    """Return how a remote is reached, as (key, value); FlowError when there is no such remote."""
    _, out, _ = repository.user.attempt("config", "-z", "--list")
    found: list[tuple[str, str]] = []
    names: dict[str, None] = {}
    for item in os.fsdecode(out).split("\0"):
        full, _, value = item.partition("\n")
        section, _, rest = full.partition(".")
        own, _, key = rest.rpartition(".")
        if section == "remote" and own:
            names[own] = None
            found += [(key, value)] if own == name else []
    urls = [v for k, v in found if k == "pushurl"] or [v for k, v in found if k == "url"]
    if not urls:
        some = ", ".join(names)
        raise FlowError(
            f"there is no remote {name}",
            hint=f"the remotes are: {some}" if some else f"add it: git remote add {name} URL",
        )
    if len(urls) > 1:
        raise FlowError(
            f"the remote {name} has {len(urls)} addresses, and one place has to decide",
            hint=f"leave one: git remote set-url {name} {urls[0]}",
        )
    return [("url", urls[0]), *((k, v) for k, v in found if k not in OURS)]


def usual_remote(repository: Repository) -> str:
    """Return the remote that a clone has: the only one, or `origin`; no git is asked."""
    try:
        text = (repository.common / "config").read_text(errors="replace")
    except OSError:
        return ""
    names = list(dict.fromkeys(re.findall(r'(?m)^\s*\[remote "([^"\\]+)"\]', text)))
    return names[0] if len(names) == 1 else "origin" if "origin" in names else ""


def _states(repository: Repository) -> Iterator[tuple[str, str]]:
    """Yield (plan, remote) for each state that was seen at a remote, by us or by a person's fetch.

    What we have read ourselves comes first.
    """
    for prefix, between in ((SPACE, "/heads/gitflow/state/"), (TRACKING, "/gitflow/state/")):
        for ref in repository.tips(prefix):
            remote, is_state, plan = ref.removeprefix(prefix).rpartition(between)
            if is_state and "/" not in plan:
                yield plan, remote


def remotes_that_know(repository: Repository, plan: str) -> list[str]:
    """Return the remotes at which a plan's state was seen, without asking any."""
    return list(dict.fromkeys(remote for seen, remote in _states(repository) if seen == plan))


def plans_of_remotes(repository: Repository) -> set[str]:
    """Return the plans whose state was seen at some remote."""
    return {plan for plan, _ in _states(repository)}


def _perhaps(ref: str) -> str:
    """Return a pattern that fits one ref: git fails for a name that is missing, not for these."""
    head, _, name = ref.rpartition("/")
    return ref if f"{head}/" == HEADS else f"{head}*/{name}"


def _pause(turn: int) -> None:
    # Two that lost the same race must not meet again.
    time.sleep(PAUSE * 2**turn * random.uniform(0.5, 1.0))


def _remote_lines(said: str) -> Iterable[str]:
    return (line for line in said.splitlines() if line.startswith("remote: "))


def _sentence(said: str) -> str:
    """Return the one line of what git said that tells most."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal: ", "error: "))]
    last = (fatal or lines or ["git said nothing"])[0]
    return last.partition(": ")[2] if fatal else last


__all__ = ["Offline", "Remote", "plans_of_remotes", "remotes_that_know", "usual_remote"]
