"""The rows of the table: what is compared with what, and how much more it may cost.

Each function is one row, or a few that share a measurement, and yields figures. A row whose
program is absent still measures what it would be compared with, and says what it lacks.
"""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks import floor, inside, motion
from benchmarks.bench import BIG, Bench, script
from benchmarks.measure import (
    Contender,
    Figure,
    NotMeasured,
    git,
    interleave,
    ms,
    not_measured,
    per_task,
    printed,
    ratio,
    stopwatch,
    timed,
)
from benchmarks.peers import PEERS
from benchmarks.plans import NAME, Task, as_records, capability, layered
from benchmarks.trackers import TRACKERS
from gitflow_agents.graph import Frontier, Graph
from gitflow_agents.graph import ready as ready_tasks
from gitflow_agents.models import Capability, Plan, Status
from gitflow_agents.models import Task as PlanTask

Row = Callable[[Bench], Iterator[Figure]]


def present(row: str, what: str, probe: Callable[[], object]) -> Figure | None:
    """Return None if `probe` passes, else the line that says why the figure is not taken."""
    try:
        probe()
    except NotMeasured as reason:
        return not_measured(row, what, reason)
    return None


def the_floor(bench: Bench) -> Iterator[Figure]:
    """Show that the floor is one: its git processes a task, and its price in git processes."""
    count = bench.size(100, 30)
    env = bench.env
    for trees in ("hand", "add"):
        many, one = (bench.floor_processes(number, trees) for number in (count, 1))
        ours, every = many.since(one, count)
        names = many.names_since(one, count)
        yield Figure(
            "floor",
            f"git processes a task started by the floor, trees by {trees}",
            ours,
            unit="",
            target=4 if trees == "hand" else 5,
            beside=f"{every:.2f} with what git starts by itself: {names}",
        )
    repo = bench.repository()
    contenders: dict[str, Contender] = {
        "one git": partial(timed, ["git", "rev-parse", "HEAD"], cwd=repo, env=env),
        "hand 1": partial(bench.floor, 1),
        "hand": partial(bench.floor, count),
        "add 1": partial(bench.floor, 1, trees="add"),
        "add": partial(bench.floor, count, trees="add"),
    }
    taken = interleave(contenders, bench.rounds)
    hand = per_task(taken["hand"], taken["hand 1"], count)
    added = per_task(taken["add"], taken["add 1"], count)
    yield ratio(
        "floor",
        "a task of the floor over one `git rev-parse`",
        hand,
        taken["one git"],
        beside=f"{ms(hand)}, {ms(taken['one git'])}",
    )
    yield ratio(
        "floor",
        "trees by `git worktree add` over trees by hand",
        added,
        hand,
        beside=f"{ms(added)}, {ms(hand)}",
    )


def overhead(bench: Bench) -> Iterator[Figure]:
    """Compare what a no-op task costs with the floor, and a plan of ten times as many tasks."""
    few = bench.size(100, 30)
    lots = 10 * few
    what = f"a no-op task of {few}, over the floor with fresh trees"
    grown = f"a task of {lots} over a task of {few}"
    contenders: dict[str, Contender] = {
        "floor 1": partial(bench.floor, 1),
        "floor": partial(bench.floor, few),
    }
    absent = present("overhead", what, partial(bench.product, 1))
    if not absent:
        contenders["product 1"] = partial(bench.product, 1)
        contenders["product"] = partial(bench.product, few)
    taken = interleave(contenders, bench.rounds)
    under = per_task(taken["floor"], taken["floor 1"], few)
    if absent:
        yield absent
        yield Figure("overhead", "the floor alone, no ratio", beside=f"{ms(under)} a task")
    else:
        ours = per_task(taken["product"], taken["product 1"], few)
        yield ratio(
            "overhead", what, ours, under, target=1.5, beside=f"{ms(ours)}, floor {ms(under)}"
        )
        yield ratio(
            "overhead",
            "the whole run over the whole floor, start-up included",
            taken["product"],
            taken["floor"],
            beside=f"{ms(taken['product'])}, floor {ms(taken['floor'])}",
        )
    yield from _growth(bench, few, lots, grown, absent is None)


def _growth(bench: Bench, few: int, lots: int, what: str, ours: bool) -> Iterator[Figure]:
    kinds: dict[str, Callable[..., float]] = {"floor": bench.floor}
    if ours:
        kinds["product"] = bench.product
    # Many tasks take long, and their own length evens out the noise: fewer rounds will do.
    rounds = bench.turns(3, 0.5)
    contenders: dict[str, Contender] = {
        f"{kind} {number}": partial(run, number, steady=True)
        for kind, run in kinds.items()
        for number in (1, few, lots)
    }
    taken = interleave(contenders, rounds)
    for kind in kinds:
        small = per_task(taken[f"{kind} {few}"], taken[f"{kind} 1"], few)
        large = per_task(taken[f"{kind} {lots}"], taken[f"{kind} 1"], lots)
        yield ratio(
            "overhead",
            what if kind == "product" else f"{what}, the floor itself",
            large,
            small,
            target=1.2 if kind == "product" else None,
            beside=f"{ms(large)}, {ms(small)}",
        )
    if not ours:
        yield not_measured("overhead", what, "see above")


def peers(bench: Bench) -> Iterator[Figure]:
    """Compare a whole run with engines that commit nothing, start-up included."""
    count = bench.size(100, 30)
    contenders: dict[str, Contender] = {}
    absent = present("peers", f"a whole run of {count} no-op tasks", partial(bench.product, 1))
    if absent:
        yield absent
        ours = "floor"
        contenders[ours] = partial(bench.floor, count)
    else:
        ours = "gitflow-agents"
        contenders[ours] = partial(bench.product, count)
    for peer in PEERS:
        lacking = present("peers", f"{ours} over {peer.name}", partial(peer.run, bench, 1))
        if lacking:
            yield lacking
        else:
            contenders[peer.name] = partial(peer.run, bench, count)
    taken = interleave(contenders, bench.rounds)
    for peer in PEERS:
        if peer.name in taken:
            yield ratio(
                "peers",
                f"{ours} over {peer.name}, {count} tasks",
                taken[ours],
                taken[peer.name],
                target=None if absent else peer.target,
                beside=f"{ms(taken[ours])}, {ms(taken[peer.name])}",
            )


def processes(bench: Bench) -> Iterator[Figure]:
    """Count the git processes of a no-op task, started by us and by git itself."""
    count = bench.size(100, 30)
    what = "git processes a no-op task, started by us"
    try:
        many, one = bench.product_processes(count), bench.product_processes(1)
    except NotMeasured as reason:
        yield not_measured("processes", what, reason)
    else:
        ours, every = many.since(one, count)
        names = many.names_since(one, count)
        yield Figure("processes", what, ours, unit="", target=6, beside=names)
        yield Figure(
            "processes", "the same with what git starts by itself", every, unit="", target=9
        )
    many, one = bench.floor_processes(count), bench.floor_processes(1)
    ours, every = many.since(one, count)
    names = many.names_since(one, count)
    yield Figure("processes", "the same of the floor", ours, unit="", beside=names)


def ready(bench: Bench) -> Iterator[Figure]:
    """Compare `ready --json` with a small Python program that reads one JSON file."""
    count = bench.size(5000, 500)
    done = count * 2 // 5
    env = bench.env
    tasks = layered(count)
    program = script()
    repo = bench.repository()
    with inside.opened(repo) as service:
        inside.complete(service, inside.accepted(service, tasks), tasks[:done])
    (repo / "tasks.json").write_text(json.dumps(as_records(tasks, done)))
    ask = [str(program), "-C", str(repo), "ready", NAME, "--json"]
    cache = repo / ".git" / "gitflow-agents" / "cache"

    def without(*kept: str) -> float:
        for file in cache.glob("*"):
            if file.name not in kept:
                file.unlink()
        return timed(ask, cwd=repo, env=env)

    plain = [sys.executable, str(Path(__file__).with_name("ready_floor.py")), "tasks.json"]
    said = [json.loads(printed(command, cwd=repo, env=env)) for command in (ask, ask, plain)]
    if not said[0] == said[1] == said[2]:
        raise RuntimeError("the answers to `ready` are not the same")
    contenders: dict[str, Contender] = {
        "python": partial(timed, [sys.executable, "-c", "pass"], cwd=repo, env=env),
        "floor": partial(timed, plain, cwd=repo, env=env),
        "cold": without,
        "moved": partial(without, f"{NAME}.json"),
        "warm": partial(timed, ask, cwd=repo, env=env),
    }
    for tracker in TRACKERS:
        try:
            place = tracker.prepare(bench, tasks, done, len(said[0]["ready"]))
        except NotMeasured as reason:
            yield not_measured("ready", f"`ready --json` over {tracker.name}", reason)
        else:
            contenders[tracker.name] = partial(tracker.ask, bench, place)
    taken = interleave(contenders, bench.turns(5))
    for tracker in TRACKERS:
        if tracker.name in taken:
            for (name, how), target in zip(
                (("warm", "`ready --json`"), ("cold", "the same, nothing kept,")),
                tracker.targets,
                strict=True,
            ):
                yield ratio(
                    "ready",
                    f"{how} of {count} tasks over {tracker.name}",
                    taken[name],
                    taken[tracker.name],
                    target=target,
                    beside=f"{ms(taken[name])}, {ms(taken[tracker.name])}",
                )
    for name, how in (
        ("warm", f"`ready --json` of {count} tasks over the floor"),
        ("moved", "the same when the state has moved since"),
        ("cold", "the same when nothing was kept"),
    ):
        yield ratio(
            "ready",
            how,
            taken[name],
            taken["floor"],
            beside=f"{ms(taken[name])}, floor {ms(taken['floor'])}",
        )
    yield ratio(
        "ready",
        "the floor, one JSON file, over a bare start of Python",
        taken["floor"],
        taken["python"],
        beside=f"{ms(taken['floor'])}, {ms(taken['python'])}",
    )


def graph(bench: Bench) -> Iterator[Figure]:
    """Compare the ready set of tasks in memory with `json.loads` of the same tasks.

    The collector of cycles is off: with it on, `json.loads` takes six times as long.
    """
    count = bench.size(100_000, 10_000)
    tasks = layered(count)
    text = json.dumps(as_records(tasks))
    plan = Plan(
        plan=NAME,
        goal="Be looked at",
        tasks=tuple(
            PlanTask(
                id=task.id,
                preconditions=tuple(map(capability, task.needs)),
                provides=(Capability(name=task.capability),),
            )
            for task in tasks
        ),
    )
    shape = Graph.of(plan)
    statuses = {task.id: Status.COMPLETED for task in tasks[: count * 2 // 5]}

    def loads() -> float:
        with stopwatch() as seconds:
            json.loads(text)
        return seconds()

    def once() -> float:
        with stopwatch() as seconds:
            answer = ready_tasks(plan, shape, statuses)
        if not answer:
            raise RuntimeError("nothing is ready")
        return seconds()

    def waves() -> float:
        with stopwatch() as seconds:
            frontier, left = Frontier(shape, {}), count
            while now := frontier.take():
                left -= len(now)
                frontier.complete(*now)
        if left:
            raise RuntimeError(f"{left} tasks were never ready")
        return seconds()

    def build() -> float:
        with stopwatch() as seconds:
            Graph.of(plan)
        return seconds()

    gc.disable()
    try:
        taken = interleave(
            {"json": loads, "once": once, "waves": waves, "build": build}, bench.rounds
        )
    finally:
        gc.enable()
    for name, what, target in (
        ("once", f"the ready set of {count} tasks over `json.loads`", 0.5),
        ("waves", "all waves of a run, one after the other", 1.0),
        ("build", "who needs whom, found once a run", None),
    ):
        yield ratio(
            "graph",
            what,
            taken[name],
            taken["json"],
            target=target,
            beside=f"{ms(taken[name])}, {ms(taken['json'])}",
        )


def load_with_git(repo: Path, ref: str, env: Mapping[str, str]) -> float:
    """Return the seconds of reading each YAML file under `ref`: two processes, no checks."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with stopwatch() as seconds:
        listed = git(repo, "ls-tree", "-r", ref, env=env).splitlines()
        shas = [line.split()[2] for line in listed if line.endswith(".yaml")]
        done = subprocess.run(
            ["git", "cat-file", "--batch"],
            cwd=repo,
            env=env,
            input="".join(f"{sha}\n" for sha in shas).encode(),
            stdout=subprocess.PIPE,
            check=True,
        )
        place = 0
        for _ in shas:
            end = done.stdout.index(b"\n", place)
            size = int(done.stdout[place:end].split()[2])
            yaml.load(done.stdout[end + 1 : end + 1 + size], loader)
            place = end + size + 2
    return seconds()


def load(bench: Bench) -> Iterator[Figure]:
    """Compare loading a plan's state, cold and warm, with git and the YAML parser alone."""
    count = bench.size(1000, 100)
    repo = bench.repository()
    env = bench.env
    tasks = layered(count)
    with inside.opened(repo) as service:
        ref = inside.complete(service, inside.accepted(service, tasks), tasks)

        def look(*, cached: bool) -> float:
            with stopwatch() as seconds:
                snapshot = service.open(NAME, cached=cached)
            if len(snapshot.records) != count:
                raise RuntimeError(f"{count} records are there, {len(snapshot.records)} were read")
            return seconds()

        look(cached=True)
        contenders: dict[str, Contender] = {
            "git": partial(load_with_git, repo, ref, env),
            "cold": partial(look, cached=False),
            "warm": partial(look, cached=True),
        }
        taken = interleave(contenders, bench.rounds)
    yield ratio(
        "load",
        f"the state of {count} tasks over git and YAML alone",
        taken["cold"],
        taken["git"],
        target=1.3,
        beside=f"{ms(taken['cold'])}, {ms(taken['git'])}",
    )
    yield ratio(
        "load",
        "the same once it was read, over the first time",
        taken["warm"],
        taken["cold"],
        target=0.25,
        beside=f"{ms(taken['warm'])}",
    )


def claims_stream(base: str, branches: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """Return a fast-import stream of branches, each with one commit of these files on `base`."""
    parts: list[bytes] = []
    who = floor.WHO.decode()
    for branch, files in branches.items():
        head = f"commit refs/heads/{branch}\ncommitter {who} 0 +0000\ndata {len(branch)}\n"
        parts.append(f"{head}{branch}\nfrom {base}\n".encode())
        for path, data in files.items():
            parts += [f"M 100644 inline {path}\ndata {len(data)}\n".encode(), data, b"\n"]
    return b"".join(parts)


def claims(bench: Bench) -> Iterator[Figure]:
    """Compare the claims of one pass with `git fast-import` of the same branches and commits."""
    count = bench.size(1000, 100)
    env = bench.env
    tasks = tuple(replace(task, needs=()) for task in layered(count))
    branches: dict[str, dict[str, bytes]] = {}

    def product() -> float:
        repo = bench.repository()
        with inside.opened(repo) as service:
            snapshot = inside.accepted(service, tasks)
            seconds = inside.claim(service, snapshot)
            branches.update(branches or inside.briefings(service, snapshot))
        return checked(repo, seconds)

    def fast_import() -> float:
        repo = bench.repository()
        stream = claims_stream(git(repo, "rev-parse", "HEAD", env=env), branches)
        with stopwatch() as seconds:
            git(repo, "fast-import", "--quiet", env=env, stdin=stream)
        return checked(repo, seconds())

    def checked(repo: Path, seconds: float) -> float:
        made = git(repo, "for-each-ref", f"refs/heads/task/{NAME}/", env=env).splitlines()
        if len(made) != count:
            raise RuntimeError(f"{count} branches were to be there, found {len(made)}")
        shutil.rmtree(repo.parent)
        return seconds

    taken = interleave({"product": product, "fast-import": fast_import}, bench.rounds)
    each = {name: tuple(second / count for second in seconds) for name, seconds in taken.items()}
    yield ratio(
        "claims",
        f"{count} claims of one pass over `git fast-import`",
        taken["product"],
        taken["fast-import"],
        target=1.5,
        beside=f"{ms(each['product'])} a task, {ms(each['fast-import'])}",
    )


def merge(bench: Bench) -> Iterator[Figure]:
    """Compare a merge by the train with `git merge` in a work tree, in a big repository."""
    files = bench.size(BIG, 500)
    repo = bench.repository(files)
    env = bench.env
    base = git(repo, "rev-parse", "HEAD", env=env)
    # Each branch is merged once, and each merge is a true one: flow has moved since they were cut.
    tasks = layered(2 * bench.rounds)
    changed = [f"part-00/file-{number:04d}.txt" for number in range(len(tasks))]
    stream = stream_apart(base, tasks) + stream_together(repo, base, tasks, changed)
    git(repo, "fast-import", "--quiet", env=env, stdin=stream)
    for path in changed:
        (repo / path).write_text((repo / path).read_text() + "the last line\n")
    git(repo, "commit", "-q", "-a", "-m", "Move", env=env)
    for name in ("bare", "product"):
        git(repo, "branch", name, env=env)
    objects = floor.Objects(repo / ".git")

    def in_tree(branch: str) -> float:
        command = ["git", "merge", "-q", "--no-ff", "-m", "Merge", branch]
        return timed(command, cwd=repo, env=env)

    def bare(branch: str) -> float:
        tip = git(repo, "rev-parse", "bare", env=env)
        work = git(repo, "rev-parse", branch, env=env)
        with stopwatch() as seconds:
            tree = git(repo, "merge-tree", "--write-tree", tip, work, env=env)
            commit = objects.commit(tree, (tip, work), "Merge")
            git(repo, "update-ref", "refs/heads/bare", commit, tip, env=env)
        return seconds()

    with inside.opened(repo) as service:
        ways = {"tree": in_tree, "bare": bare, "product": inside.train(service, "product", base)}
        for kind, target in (("apart", 0.3), ("together", None)):
            left = {way: iter(tasks) for way in ways}

            def turn(way: str, kind: str = kind, left: Mapping[str, Any] = left) -> float:
                return ways[way](f"{kind}/{next(left[way]).id}")

            taken = interleave({way: partial(turn, way) for way in ways}, bench.rounds)
            trees = {git(repo, "rev-parse", f"{name}^{{tree}}", env=env) for name in MERGED}
            if len(trees) != 1:
                raise RuntimeError(f"the ways to merge gave {len(trees)} trees")
            for way, whose in (("product", "ours"), ("bare", "the floor")):
                what = "a merge" if kind == "apart" else "a merge inside of a file"
                yield ratio(
                    "merge",
                    f"{what} among {files} over `git merge`, {whose}",
                    taken[way],
                    taken["tree"],
                    target=target if way == "product" else None,
                    beside=f"{ms(taken[way])}, {ms(taken['tree'])}",
                )


MERGED = ("main", "bare", "product")


def stream_apart(base: str, tasks: tuple[Task, ...]) -> bytes:
    """Return a fast-import stream of a branch a task, each of which adds a file of its own."""
    branches = {
        f"apart/{task.id}": {f"part-{number % 5:02d}/{task.output}": f"{task.id}\n".encode()}
        for number, task in enumerate(tasks)
    }
    return claims_stream(base, branches)


def stream_together(repo: Path, base: str, tasks: tuple[Task, ...], changed: list[str]) -> bytes:
    """Return a fast-import stream of a branch a task, each with a line before one of the files."""
    branches = {
        f"together/{task.id}": {path: b"the first line\n" + (repo / path).read_bytes()}
        for task, path in zip(tasks, changed, strict=True)
    }
    return claims_stream(base, branches)


def startup(bench: Bench) -> Iterator[Figure]:
    """Compare the start of the program with that of Python with click, and see what it imports."""
    env = bench.env
    folder = bench.folder()
    click = [sys.executable, "-c", "import click"]
    try:
        program = str(script())
    except NotMeasured as reason:
        taken = interleave({"click": partial(timed, click, cwd=folder, env=env)}, bench.rounds)
        yield not_measured("startup", "`--version`, `--help`, completion", reason)
        yield Figure("startup", "`import click` alone, no ratio", beside=ms(taken["click"]))
        return
    completing = {
        "_GITFLOW_AGENTS_COMPLETE": "bash_complete",
        "COMP_WORDS": "gitflow-agents re",
        "COMP_CWORD": "1",
    }
    asked: dict[str, tuple[list[str], dict[str, str]]] = {
        "--version": ([program, "--version"], env),
        "--help": ([program, "--help"], env),
        "completion": ([program], {**env, **completing}),
    }
    contenders: dict[str, Contender] = {"click": partial(timed, click, cwd=folder, env=env)}
    for name, (command, its_env) in asked.items():
        contenders[name] = partial(timed, command, cwd=folder, env=its_env)
    taken = interleave(contenders, bench.turns(9))
    for name in asked:
        yield ratio(
            "startup",
            f"{name} over `import click`",
            taken[name],
            taken["click"],
            target=1.3,
            beside=f"{ms(taken[name])}, {ms(taken['click'])}",
        )
    for name, (command, its_env) in asked.items():
        dear = dear_imports(command, folder, its_env)
        yield Figure(
            "startup",
            f"packages imported by {name} that it has no use for",
            len(USELESS.intersection(dear)),
            unit="",
            target=0,
            beside=f"of the slow ones: {', '.join(dear) or 'none'}",
        )


# Slow to import; the first set is of no use at all to what the start is measured with.
USELESS = frozenset({"github", "mcp", "rich"})
DEAR = USELESS | {"git", "gitdb", "networkx", "pydantic", "requests", "yaml"}


def dear_imports(command: list[str], folder: Path, env: Mapping[str, str]) -> list[str]:
    """Return which of the slow packages a start of the program imports; NotMeasured if it fails."""
    python = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(python, cwd=folder, env=env, capture_output=True, text=True, check=False)
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    # Without this, a program that did not start at all would import nothing and pass.
    if done.returncode or "click" not in imported:
        raise NotMeasured(f"`{' '.join(command)}` did not start under `python -X importtime`")
    return sorted(DEAR & imported)


ROWS: Mapping[str, Row] = {
    "floor": the_floor,
    "overhead": overhead,
    "peers": peers,
    "ready": ready,
    "graph": graph,
    "load": load,
    "claims": claims,
    "merge": merge,
    "startup": startup,
    "event": motion.event,
    "writers": motion.writers,
    "latency": motion.latency,
    "processes": processes,
}
