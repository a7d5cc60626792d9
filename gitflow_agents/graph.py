"""Which tasks need which, and what could run when.

`Graph` is the shape of a plan: which task waits for which, through named capabilities and plain
ids alike.  `ready` answers once from the statuses; `Frontier` keeps the answer through a long run,
so that an event costs its own edges and never a scan of all tasks.  The rest are questions that
people ask of that shape: waves, schedules, overlaps, what blocks what, what it can cost.

Wherever an order is needed it is the same one: priority first, then the place in the plan file.
Nothing here recurses, because a chain may be as long as the plan.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, partial
from heapq import heappop, heappush
from itertools import chain as joined
from itertools import islice

from gitflow_agents.models import Limits, Plan, Priority, Status, Task, fold

# Looking a member up on its class is slow in 3.11, and these are asked for once a task.
_PENDING, _COMPLETED = Status.PENDING, Status.COMPLETED
_RANKS = {priority: priority.rank for priority in Priority}


def rank(plan: Plan, task: Task) -> int:
    """Return how urgent the task is: 0 comes first; equals start in plan order."""
    return _RANKS[task.priority or plan.defaults.priority]


# --- the shape ------------------------------------------------------------------------------------

_STEPS = 100_000
"""About how many tasks the search for a shorter cycle may look at."""


@dataclass(frozen=True)
class Graph:
    """Which task needs which; a precondition that is given already needs nobody.

    A plan with mistakes has a graph too: tasks of one id count as one task, the first provider of
    a capability is its provider, and what leads nowhere is listed in `missing` and `unknown`.
    """

    order: tuple[str, ...]
    """All task ids, in the order in which they start when slots are short."""
    requires: dict[str, tuple[str, ...]]
    """Direct prerequisites of each task; both keys and values in plan order."""
    providers: dict[str, str]
    """The task that provides each folded capability."""
    given: frozenset[str]
    """Folded capabilities that are there whatever the plan does."""
    missing: tuple[tuple[str, str], ...]
    """Task and precondition, as written, where nobody provides it."""
    unknown: tuple[tuple[str, str], ...]
    """Task and entry of `depends_on` where there is no such task."""
    # The same edges as integers, places in `order`, because strings cost three times as much.
    _turn: dict[str, int] = field(repr=False, compare=False)
    _wakes: list[list[int]] = field(repr=False, compare=False)
    _unmet: list[int] = field(repr=False, compare=False)

    @classmethod
    def of(cls, plan: Plan, given: Collection[str] = ()) -> Graph:
        """Return the plan's graph; `given` are capabilities that are on flow anyway."""
        there = frozenset(map(fold, given))
        place: dict[str, int] = {}
        by_rank: list[list[str]] = [[] for _ in Priority]
        providers: dict[str, str] = {}
        for task in plan.tasks:
            if task.id not in place:
                place[task.id] = len(place)
                by_rank[rank(plan, task)].append(task.id)
            for capability in task.provides:
                providers.setdefault(fold(capability.name), task.id)
        order = tuple(joined.from_iterable(by_rank))
        turn = {task_id: number for number, task_id in enumerate(order)}

        # Names that are written the way they are folded, nearly all, need no folding to be found.
        sources = providers | dict.fromkeys(there, "")
        requires: dict[str, tuple[str, ...]] = {}
        missing: list[tuple[str, str]] = []
        unknown: list[tuple[str, str]] = []
        for task in plan.tasks:
            needed = set()
            for text in task.preconditions:
                source = sources.get(text)
                if source is None:
                    source = sources.get(fold(text))
                if source:
                    needed.add(source)
                elif source is None:
                    missing.append((task.id, text))
            for other in task.depends_on:
                if other in place:
                    needed.add(other)
                else:
                    unknown.append((task.id, other))
            if task.id in requires:
                needed.update(requires[task.id])
            requires[task.id] = tuple(sorted(needed, key=place.__getitem__) if needed else ())

        wakes: list[list[int]] = [[] for _ in order]
        for task_id, row in requires.items():
            mine = turn[task_id]
            for other in row:
                wakes[turn[other]].append(mine)
        return cls(
            order=order,
            requires=requires,
            providers=providers,
            given=there,
            missing=tuple(missing),
            unknown=tuple(unknown),
            _turn=turn,
            _wakes=wakes,
            _unmet=[len(requires[task_id]) for task_id in order],
        )

    @cached_property
    def dependants(self) -> dict[str, tuple[str, ...]]:
        """Return the tasks that directly need each task, in plan order."""
        rows: dict[str, list[str]] = {task_id: [] for task_id in self.requires}
        for task_id, row in self.requires.items():
            for other in row:
                rows[other].append(task_id)
        return {task_id: tuple(row) for task_id, row in rows.items()}

    @cached_property
    def wave(self) -> dict[str, int]:
        """Return each task's wave, from 1; a task in or behind a cycle has none."""
        left = self._unmet.copy()
        waves = [0] * len(left)
        number = 1
        level = [place for place, count in enumerate(left) if not count]
        while level:
            after: list[int] = []
            for place in level:
                waves[place] = number
                for waiter in self._wakes[place]:
                    left[waiter] -= 1
                    if not left[waiter]:
                        after.append(waiter)
            level, number = after, number + 1
        found = ((task_id, waves[self._turn[task_id]]) for task_id in self.requires)
        return {task_id: number for task_id, number in found if number}

    @cached_property
    def _waves(self) -> tuple[tuple[str, ...], ...]:
        rows: defaultdict[int, list[str]] = defaultdict(list)
        for task_id, number in self.wave.items():
            rows[number].append(task_id)
        return tuple(tuple(rows[number]) for number in sorted(rows))

    def waves(self) -> list[list[str]]:
        """Return the tasks wave by wave: all that the longest chain before them allows at once."""
        return [list(row) for row in self._waves]

    def wave_members(self, task_id: str) -> tuple[str, ...]:
        """Return the whole wave that the task is in, itself included, without making a copy."""
        number = self.wave.get(task_id)
        return self._waves[number - 1] if number else ()

    def ancestors(self, task_id: str) -> set[str]:
        """Return all that the task needs, directly or not."""
        return _reached(self.requires, task_id)

    def descendants(self, task_id: str) -> set[str]:
        """Return all that need the task, directly or not."""
        return _reached(self.dependants, task_id)

    def cycle(self) -> tuple[str, ...] | None:
        """Return a cycle, `(a, b, a)` where a needs b and b needs a, or None.

        It is the shortest of a small tangle and a short one of a big tangle, and begins with its
        first task in plan order.
        """
        stuck = {
            task_id: place
            for place, task_id in enumerate(self.requires)
            if task_id not in self.wave
        }
        if not stuck:
            return None
        # Every stuck task needs a stuck one, so a walk must come back to where it was.
        walk: dict[str, None] = {}
        here = next(iter(stuck))
        while here not in walk:
            walk[here] = None
            here = next(other for other in self.requires[here] if other in stuck)
        steps = list(walk)
        best = steps[steps.index(here) :]
        for start in islice(joined(best, stuck), max(1, _STEPS // len(stuck))):
            path = self._round_trip(start, stuck)
            if path and len(path) < len(best):
                best = path
        first = best.index(min(best, key=stuck.__getitem__))
        return (*best[first:], *best[:first], best[first])

    def _round_trip(self, start: str, within: Collection[str]) -> list[str]:
        came: dict[str, str] = {}
        queue = deque([start])
        while queue:
            here = queue.popleft()
            for other in self.requires[here]:
                if other == start:
                    path = [here]
                    while path[-1] != start:
                        path.append(came[path[-1]])
                    return path[::-1]
                if other in within and other not in came:
                    came[other] = here
                    queue.append(other)
        return []


def _reached(edges: Mapping[str, Iterable[str]], start: str) -> set[str]:
    found: set[str] = set()
    stack = list(edges[start])
    while stack:
        here = stack.pop()
        if here not in found:
            found.add(here)
            stack.extend(edges[here])
    return found


@dataclass(frozen=True, slots=True)
class Relations:
    """A task's neighbours, in the words that task files use."""

    depends_on: tuple[str, ...]
    enables: tuple[str, ...]
    parallel_with: tuple[str, ...]


def relations(graph: Graph, task_id: str) -> Relations:
    """Return what the task needs, what needs it, and the others of its wave."""
    return Relations(
        depends_on=graph.requires[task_id],
        enables=graph.dependants[task_id],
        parallel_with=tuple(other for other in graph.wave_members(task_id) if other != task_id),
    )


# --- what can start -------------------------------------------------------------------------------


def ready(
    plan: Plan, graph: Graph, statuses: Mapping[str, Status], given: Collection[str] = ()
) -> list[str]:
    """Return the pending tasks whose needs are all met, in the order in which they start.

    A task without a status is pending.  `given` adds to what the graph was built with.
    """
    there = graph.given.union(map(fold, given))
    return Frontier(graph if there == graph.given else Graph.of(plan, there), statuses).ready


class Frontier:
    """The ready tasks of a run that goes on: told what happened, it knows what can start.

    `ready` gives the same answer to the same statuses.  What the graph was built with as given
    counts as met; to count something else as given, make another frontier.
    """

    __slots__ = ("_counts", "_graph", "_head", "_queue", "_status", "_unmet")

    def __init__(self, graph: Graph, statuses: Mapping[str, Status]) -> None:
        """Begin from `statuses`; a task without one is pending, an id not in the graph nothing."""
        turn, wakes, unmet = graph._turn, graph._wakes, graph._unmet.copy()
        status = [_PENDING] * len(unmet)
        counts = dict.fromkeys(Status, 0)
        done = 0
        for task_id, _ in joined(graph.missing, graph.unknown):
            unmet[turn[task_id]] += 1
        for task_id, now in statuses.items():
            if now is _PENDING or (place := turn.get(task_id)) is None:
                continue
            status[place] = now
            if now is _COMPLETED:
                done += 1
                for waiter in wakes[place]:
                    unmet[waiter] -= 1
            else:
                counts[now] += 1
        counts[_COMPLETED] = done
        counts[_PENDING] = len(unmet) - sum(counts.values())
        self._graph = graph
        self._unmet = unmet
        self._status = status
        self._counts = counts
        # The ready tasks are `_queue[_head:]`, sorted.  Starting the first one moves the head only.
        self._queue = [
            place for place, left in enumerate(unmet) if not left and status[place] is _PENDING
        ]
        self._head = 0

    @property
    def ready(self) -> list[str]:
        """Return all ready tasks in the order in which they start."""
        return list(self.in_order())

    @property
    def has_ready(self) -> bool:
        """Say whether any task is ready."""
        return self._head < len(self._queue)

    @property
    def counts(self) -> dict[Status, int]:
        """Return how many tasks have each status."""
        return self._counts.copy()

    def in_order(self) -> Iterator[str]:
        """Yield the ready tasks in the order in which they start; move none before it is over."""
        for at in range(self._head, len(self._queue)):
            yield self._graph.order[self._queue[at]]

    def status(self, task_id: str) -> Status:
        """Return the status that the frontier believes the task to have."""
        return self._status[self._graph._turn[task_id]]

    def unmet(self, task_id: str) -> int:
        """Return how many of the task's needs are not met."""
        return self._unmet[self._graph._turn[task_id]]

    def take(self, count: int | None = None) -> list[str]:
        """Return the first `count` ready tasks (all for None), which are then no longer ready.

        Their status stays pending: `move` them when they have started, or `add` them again.
        """
        end = len(self._queue) if count is None else self._head + count
        places = self._queue[self._head : end]
        if end >= len(self._queue):
            self._queue, self._head = [], 0
        else:
            self._advance(count or 0)
        order = self._graph.order
        return [order[place] for place in places]

    def remove(self, task_id: str) -> None:
        """Leave a ready task out, until it is added or a need or its status changes again."""
        self._leave(self._graph._turn[task_id])

    def add(self, task_id: str) -> bool:
        """Count a task that was taken or removed as ready again; return whether it is."""
        place = self._graph._turn[task_id]
        if self._status[place] is not _PENDING or self._unmet[place]:
            return False
        self._leave(place)
        self._enter([place])
        return True

    def complete(self, *task_ids: str) -> list[str]:
        """Return the tasks that these completions made ready; completing twice changes nothing."""
        turn, wakes = self._graph._turn, self._graph._wakes
        status, unmet, counts = self._status, self._unmet, self._counts
        fresh: list[int] = []
        for place in list(map(turn.__getitem__, task_ids)):
            old = status[place]
            if old is _COMPLETED:
                continue
            if old is not _PENDING:
                counts[old] -= 1
                counts[_PENDING] += 1
            elif self._head < len(self._queue):
                self._leave(place)
            status[place] = _COMPLETED
            fresh.append(place)
        counts[_PENDING] -= len(fresh)
        counts[_COMPLETED] += len(fresh)
        # Only now, because one of these tasks may need another one of them.
        woken: list[int] = []
        for place in fresh:
            for waiter in wakes[place]:
                left = unmet[waiter] - 1
                unmet[waiter] = left
                if not left and status[waiter] is _PENDING:
                    woken.append(waiter)
        return self._enter(woken) if woken else []

    def reopen(self, task_id: str) -> list[str]:
        """Make a task pending again, retried or reverted; return it if it is ready at once."""
        return self.move(task_id, self.status(task_id), _PENDING)

    def move(self, task_id: str, old: Status, new: Status) -> list[str]:
        """Return the tasks that became ready because this one went from `old` to `new`.

        What a completed task had made ready is not ready once it leaves that status; the
        dependants' own statuses are the caller's to move.  ValueError if it was not in `old`.
        """
        graph = self._graph
        place = graph._turn[task_id]
        if self._status[place] is not old:
            raise ValueError(f"{task_id} is {self._status[place]}, not {old}")
        if new is old:
            return []
        if new is _COMPLETED:
            return self.complete(task_id)
        self._status[place] = new
        self._counts[old] -= 1
        self._counts[new] += 1
        if old is _PENDING:
            self._leave(place)
        elif old is _COMPLETED:
            for waiter in graph._wakes[place]:
                self._unmet[waiter] += 1
                self._leave(waiter)
        return self._enter([place] if new is _PENDING and not self._unmet[place] else [])

    def _enter(self, places: list[int]) -> list[str]:
        queue = self._queue
        if len(places) > 1:
            places.sort()
        if self._head == len(queue):
            self._queue, self._head = places, 0
        elif len(places) > 8:
            queue += places
            queue[self._head :] = sorted(queue[self._head :])
        else:
            for place in places:
                insort(queue, place, self._head)
        order = self._graph.order
        return [order[place] for place in places]

    def _leave(self, place: int) -> None:
        at = bisect_left(self._queue, place, self._head)
        if at == len(self._queue) or self._queue[at] != place:
            return
        if at == self._head:
            self._advance(1)
        else:
            del self._queue[at]

    def _advance(self, count: int) -> None:
        self._head += count
        if self._head * 2 > len(self._queue):
            del self._queue[: self._head]
            self._head = 0


# --- what blocks what -----------------------------------------------------------------------------


def blockers(graph: Graph, statuses: Mapping[str, Status], task_id: str) -> tuple[str, ...]:
    """Return the direct prerequisites that are not completed, in plan order."""
    return tuple(
        other for other in graph.requires[task_id] if statuses.get(other) is not _COMPLETED
    )


def chain(
    graph: Graph, statuses: Mapping[str, Status], task_id: str, limit: int = 20
) -> list[list[str]]:
    """Return how the task comes to wait: chains from it down to what must move first.

    Each chain begins with the task, each next one is a blocker of the one before, and the last is
    ready, at work, failed or cancelled.  Every blocking edge is in one of them, up to `limit`
    chains; a task that waits for nobody has none.
    """
    if statuses.get(task_id, _PENDING) is _COMPLETED:
        return []
    chains: list[list[str]] = []
    path = [task_id]
    open_edges: list[Iterator[str]] = [iter(blockers(graph, statuses, task_id))]
    seen = {task_id}
    while open_edges and len(chains) < limit:
        here = next(open_edges[-1], None)
        if here is None:
            open_edges.pop()
            path.pop()
        elif here in seen or not _waits(graph, statuses, here):
            chains.append(path + _first_way_down(graph, statuses, here))
        else:
            seen.add(here)
            path.append(here)
            open_edges.append(iter(blockers(graph, statuses, here)))
    return chains


def _waits(graph: Graph, statuses: Mapping[str, Status], task_id: str) -> bool:
    return statuses.get(task_id, _PENDING) is _PENDING and bool(blockers(graph, statuses, task_id))


def _first_way_down(graph: Graph, statuses: Mapping[str, Status], task_id: str) -> list[str]:
    way = {task_id: None}
    while _waits(graph, statuses, task_id):
        task_id = blockers(graph, statuses, task_id)[0]
        if task_id in way:
            break
        way[task_id] = None
    return list(way)


@dataclass(frozen=True, slots=True)
class Unblocks:
    """What a task holds up: what would be ready at once, and how many are pending behind it."""

    ready: tuple[str, ...]
    behind: int


def unblocks(graph: Graph, statuses: Mapping[str, Status], task_id: str) -> Unblocks:
    """Return what the task's completion would make ready, in plan order, and all behind it."""
    lacking = {other for other, _ in joined(graph.missing, graph.unknown)}
    return Unblocks(
        ready=tuple(
            other
            for other in graph.dependants[task_id]
            if statuses.get(other, _PENDING) is _PENDING
            and other not in lacking
            and blockers(graph, statuses, other) == (task_id,)
        ),
        behind=sum(
            statuses.get(other, _PENDING) is _PENDING for other in graph.descendants(task_id)
        ),
    )


# --- how long it takes ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slot:
    """One task in a schedule: minutes from the beginning, and which of the slots (from 1)."""

    task: str
    start: float
    end: float
    lane: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each task could run; times in minutes.

    `best` is the length of `critical_path`: no number of slots is faster.  `total` is the work.
    """

    rows: tuple[Slot, ...]
    makespan: float
    critical_path: tuple[str, ...]
    best: float
    total: float


def estimate(task: Task, default_minutes: float = 10) -> float:
    """Return how many minutes the task says it takes."""
    return default_minutes if task.estimated_time is None else task.estimated_time.minutes


def schedule(
    plan: Plan,
    graph: Graph,
    slots: int,
    *,
    minutes: Callable[[Task], float] | None = None,
    barrier: bool = False,
    default_minutes: float = 10,
) -> Schedule:
    """Return what a run with so many slots would look like, in the order of starting.

    `minutes` replaces the tasks' own estimates; `barrier` starts a wave only when the one before
    has ended.  Tasks that can never be ready are left out.  ValueError for no slot at all.
    """
    if slots < 1:
        raise ValueError("a schedule needs at least one slot")
    length = minutes or partial(estimate, default_minutes=default_minutes)
    frontier = Frontier(graph, {})
    free = list(range(1, min(slots, len(graph.order)) + 1))
    running: list[tuple[float, int, str]] = []
    queue: deque[str] = deque()
    rows: list[Slot] = []
    taking: dict[str, float] = {}
    now = 0.0
    while True:
        if not barrier:
            queue.extend(frontier.take(len(free)))
        elif not queue and not running:
            queue.extend(frontier.take())
        while queue and free:
            task_id, lane = queue.popleft(), heappop(free)
            taking[task_id] = length(plan.by_id[task_id])
            end = now + taking[task_id]
            rows.append(Slot(task_id, now, end, lane))
            heappush(running, (end, lane, task_id))
        if not running:
            break
        now = running[0][0]
        ended: list[str] = []
        while running and running[0][0] == now:
            _, lane, task_id = heappop(running)
            heappush(free, lane)
            ended.append(task_id)
        frontier.complete(*ended)
    path, best = _longest(graph, taking)
    return Schedule(tuple(rows), now, path, best, sum(taking.values()))


def _longest(graph: Graph, minutes: Mapping[str, float]) -> tuple[tuple[str, ...], float]:
    """Return the longest chain and its length; each task comes after those that it needs."""
    until: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for task_id, length in minutes.items():
        last = max(graph.requires[task_id], key=until.__getitem__, default=None)
        before[task_id] = last
        until[task_id] = length + (0.0 if last is None else until[last])
    here = max(until, key=until.__getitem__, default=None)
    best = 0.0 if here is None else until[here]
    path: list[str] = []
    while here is not None:
        path.append(here)
        here = before[here]
    return tuple(reversed(path)), best


# --- what gets in whose way -----------------------------------------------------------------------

_LONGEST_PATH = 4096
"""In characters; nothing longer can be checked out."""
_BLOCK = 4096
"""How many tasks' bits are held at once, so that memory grows with the plan, not its square."""
_COMPARISONS = 1_000_000
"""How many parts of globs are held against parts of paths before the search gives up."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two tasks, in plan order, that could run at once and both name `path`."""

    path: str
    first: str
    second: str


def covers(entry: str, path: str) -> bool:
    """Return whether an entry of `files` names `path`: equal, a folder above it, or a glob.

    In a glob `*`, `?` and `[…]` stay within one folder, and `**` stands for any number of them;
    one that names a folder names what is in it.
    """
    return _covers(_tidy(entry), _tidy(path))


def overlaps(plan: Plan, graph: Graph, limit: int = 100) -> list[Overlap]:
    """Return the pairs of tasks that name one path where neither must wait for the other.

    Each pair comes once, with the first path found, in plan order; at most `limit` pairs.  It is
    advice, so it also leaves out what a plan with far too many globs would take minutes to find.
    """
    entries: dict[str, list[str]] = {}
    listed: defaultdict[str, list[str]] = defaultdict(list)
    for task in plan.tasks:
        if task.id in graph.wave and task.id not in entries:
            tidy = (_tidy(entry) for entry in task.files if len(entry) <= _LONGEST_PATH)
            entries[task.id] = list(dict.fromkeys(tidy))
            for entry in entries[task.id]:
                listed[entry].append(task.id)
    place = {task_id: number for number, task_id in enumerate(entries)}
    found = [
        Overlap(path or ".", *sorted(pair, key=place.__getitem__))
        for path, *pair in islice(_crossings(graph, entries, listed), limit)
    ]
    return sorted(found, key=lambda overlap: (place[overlap.first], place[overlap.second]))


def contended(plan: Plan, found: Iterable[Overlap]) -> dict[str, list[str]]:
    """Return the tasks of overlaps by path, in plan order; not each needs to overlap each other."""
    tasks: defaultdict[str, set[str]] = defaultdict(set)
    for overlap in found:
        tasks[overlap.path] |= {overlap.first, overlap.second}
    return {path: sorted(ids, key=plan.order.__getitem__) for path, ids in tasks.items()}


def _crossings(
    graph: Graph, entries: Mapping[str, Sequence[str]], listed: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str, str]]:
    """Yield path and tasks of each overlap; `entries` are by task, `listed` the tasks by entry."""
    touching = _touching(listed)
    # A set of tasks is an integer here, a bit a task.  In the order of waves a later task is never
    # an ancestor of an earlier one, so one question a pair is enough.
    by_wave = sorted(graph.wave, key=graph.wave.__getitem__)
    members = [task_id for task_id in by_wave if not touching.keys().isdisjoint(entries[task_id])]
    for low in range(0, len(members), _BLOCK):
        bit = {task_id: 1 << number for number, task_id in enumerate(members[low : low + _BLOCK])}
        above: dict[str, int] = {}
        for task_id in by_wave:
            ancestors = _bits(above[other] for other in graph.requires[task_id])
            above[task_id] = ancestors | bit.get(task_id, 0)
        own: dict[str, int] = {}
        within: dict[str, int] = {}
        for second in members[low:]:
            excluded = above[second] | -bit.get(second, 0)
            for entry in entries[second]:
                if entry not in touching:
                    continue
                if entry not in within:
                    for other in touching[entry]:
                        if other not in own:
                            own[other] = _bits(bit.get(task_id, 0) for task_id in listed[other])
                    within[entry] = _bits(own[other] for other in touching[entry])
                candidates = within[entry] & ~excluded
                excluded |= candidates
                while candidates:
                    lowest = candidates & -candidates
                    candidates ^= lowest
                    first = members[low + lowest.bit_length() - 1]
                    other = next(other for other in entries[first] if other in touching[entry])
                    yield other if _covers(entry, other) else entry, first, second


def _bits(parts: Iterable[int]) -> int:
    total = 0
    for part in parts:
        total |= part
    return total


def _touching(listed: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Return for each entry the entries that overlap it; itself, if several tasks list it."""
    touching: defaultdict[str, set[str]] = defaultdict(set)
    for entry, tasks in listed.items():
        if len(tasks) > 1:
            touching[entry].add(entry)
        folder = entry
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in listed:
                touching[entry].add(folder)
                touching[folder].add(entry)
    globs = [entry for entry in listed if _is_glob(entry)]
    if not globs:
        return touching
    by_part: defaultdict[str, list[str]] = defaultdict(list)
    for entry in listed:
        for part in set(entry.split("/")):
            by_part[part].append(entry)
    left = _COMPARISONS
    for glob in globs:
        parts = glob.split("/")
        # What it matches has all its literal parts; the rarest one leaves the fewest to compare.
        literal = (by_part[part] for part in parts if not _is_glob(part))
        pool: Collection[str] = min(literal, key=len, default=listed.keys())
        for entry in pool:
            left -= len(parts) * (entry.count("/") + 1)
            if left < 0:
                return touching
            if entry != glob and _covers(glob, entry):
                touching[glob].add(entry)
                touching[entry].add(glob)
    return touching


def _tidy(entry: str) -> str:
    path = posixpath.normpath(entry).lstrip("/")
    return "" if path == "." else path


def _is_glob(entry: str) -> bool:
    return "*" in entry or "?" in entry or "[" in entry


def _covers(entry: str, path: str) -> bool:
    if not entry or entry == path or path.startswith(f"{entry}/"):
        return True
    return _is_glob(entry) and _glob_covers(entry.split("/"), path.split("/"))


def _glob_covers(glob: list[str], path: list[str]) -> bool:
    # All places in the glob where its reading can stand, part by part: no way back is ever tried.
    here = _past_stars(glob, {0})
    for part in path:
        if len(glob) in here:
            break
        after = set()
        for place in here:
            if glob[place] == "**":
                after.add(place)
            elif fnmatchcase(part, glob[place]):
                after.add(place + 1)
        here = _past_stars(glob, after)
    return len(glob) in here


def _past_stars(glob: list[str], places: set[int]) -> set[int]:
    found = set(places)
    for place in places:
        while place < len(glob) and glob[place] == "**":
            place += 1
            if place in found:
                break
            found.add(place)
    return found


# --- what it can cost -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cost:
    """The most that a plan can cost in dollars, None for no bound, and who sets no bound."""

    at_most: float | None
    without_budget: tuple[str, ...]


ATTEMPTS = 3
"""How many attempts a task may have when nobody says otherwise."""


def attempts_allowed(plan: Plan, task_id: str, limits: Limits) -> int:
    """Return how many attempts an agent may end on the task."""
    said: tuple[int | None, ...] = (
        plan.setting(plan.by_id[task_id], "attempts"),
        limits.attempts,
    )
    return min((number for number in said if number is not None), default=ATTEMPTS)


def most_it_can_cost(plan: Plan, config_limits: Limits) -> Cost:
    """Return the plan's worst case: every task uses its budget in every attempt it may have.

    The plan's and the config's own `budget_usd` is a bound too, and the only one where a task has
    no budget.
    """
    limits = plan.limits.tightened(config_limits)
    without: list[str] = []
    worst = 0.0
    for task in plan.tasks:
        budget: float | None = plan.setting(task, "budget_usd")
        if budget is None:
            without.append(task.id)
        else:
            worst += budget * attempts_allowed(plan, task.id, limits)
    bounds = [] if without else [worst]
    if limits.budget_usd is not None:
        bounds.append(limits.budget_usd)
    return Cost(min(bounds, default=None), tuple(without))
