"""The rows of the table: what is compared with what, and how much more it may cost.

Each function is one row, or a few that share a measurement, and yields figures. A row whose
program is absent still measures what it would be compared with, and says what it lacks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import yaml

from benchmarks import floor
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
    ratio,
    stopwatch,
    timed,
)
from benchmarks.peers import PEERS
from benchmarks.plans import NAME, as_records, layered

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
    rounds = max(3, bench.rounds // 2)
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
    env = bench.env
    folder = bench.folder()
    records = as_records(layered(count), done=count * 2 // 5)
    (folder / "tasks.json").write_text(json.dumps(records))
    program = Path(__file__).with_name("ready_floor.py")
    contenders: dict[str, Contender] = {
        "python": partial(timed, [sys.executable, "-c", "pass"], cwd=folder, env=env),
        "floor": partial(timed, [sys.executable, program, "tasks.json"], cwd=folder, env=env),
    }
    what = f"`ready --json`, {count} tasks, 40 % done"
    absent = present("ready", what, script) or not_measured(
        "ready", what, "nothing makes a plan's state with tasks done but to run them"
    )
    taken = interleave(contenders, max(5, bench.rounds))
    yield absent
    yield ratio(
        "ready",
        f"{count} tasks of one JSON file over a bare start of Python",
        taken["floor"],
        taken["python"],
        beside=f"{ms(taken['floor'])}, {ms(taken['python'])}",
    )


def graph(bench: Bench) -> Iterator[Figure]:
    """Compare the ready set of tasks in memory with `json.loads` of the same tasks."""
    count = bench.size(100_000, 10_000)
    text = json.dumps(as_records(layered(count)))

    def loads() -> float:
        with stopwatch() as seconds:
            json.loads(text)
        return seconds()

    taken = interleave({"json": loads}, bench.rounds)
    yield not_measured("graph", f"the ready set of {count} tasks", "not compared yet")
    yield Figure("graph", "`json.loads` alone, no ratio", beside=ms(taken["json"]))


def load_with_git(repo: Path, ref: str, env: Mapping[str, str]) -> float:
    """Return the seconds of reading each YAML file under `ref`: two processes, no checks."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with stopwatch() as seconds:
        listed = git(repo, "ls-tree", "-r", ref, env=env)
        shas = [line.split()[2] for line in listed.splitlines()]
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
    git(repo, "fast-import", "--quiet", env=env, stdin=state_stream(count))
    taken = interleave({"git": partial(load_with_git, repo, "state", env)}, bench.rounds)
    each = tuple(second / count for second in taken["git"])
    yield not_measured("load", f"the state of {count} tasks", "not compared yet")
    yield Figure("load", "git and the YAML parser alone, no ratio", beside=f"{ms(each)} a file")


def state_stream(count: int) -> bytes:
    """Return a fast-import stream of one commit with `count` task files of 300 bytes on `state`."""
    parts = [f"commit refs/heads/state\ncommitter {floor.WHO.decode()} 0 +0000\ndata 0\n"]
    for task in layered(count):
        text = f"id: '{task.id}'\nstatus: completed\nattempt: 1\n" + "".join(
            f"{name}: {'0123456789abcdef' * 2}\n" for name in ("sha", "merge_sha", "claim", "nonce")
        )
        text += f"provides: [{task.capability}]\nstarted_at: '2000-01-01T00:00:00Z'\n"
        parts.append(f"M 100644 inline tasks/{task.id[-2:]}/{task.id}.yaml\n")
        parts.append(f"data {len(text)}\n{text}\n")
    return "".join(parts).encode()


def claims_stream(base: str, count: int) -> bytes:
    """Return a fast-import stream of `count` task branches, each with one commit on `base`."""
    parts = []
    for task in layered(count):
        text = f"plan: {NAME}\nid: '{task.id}'\ntitle: Make {task.output}\nrun: {task.command}\n"
        parts.append(
            f"commit {floor.branch(task)}\ncommitter {floor.WHO.decode()} 0 +0000\n"
            f"data {len(task.id)}\n{task.id}\nfrom {base}\n"
            f"M 100644 inline .gitflow/task.yaml\ndata {len(text)}\n{text}\n"
        )
    return "".join(parts).encode()


def claims(bench: Bench) -> Iterator[Figure]:
    """Compare the claims of one pass with `git fast-import` of the same branches and commits."""
    count = bench.size(1000, 100)
    env = bench.env

    def fast_import() -> float:
        repo = bench.repository()
        stream = claims_stream(git(repo, "rev-parse", "HEAD", env=env), count)
        with stopwatch() as seconds:
            git(repo, "fast-import", "--quiet", env=env, stdin=stream)
        made = git(repo, "for-each-ref", f"refs/heads/task/{NAME}/", env=env).splitlines()
        if len(made) != count:
            raise RuntimeError(f"{count} branches were to be there, found {len(made)}")
        return seconds()

    taken = interleave({"fast-import": fast_import}, bench.rounds)
    each = tuple(second / count for second in taken["fast-import"])
    yield not_measured("claims", f"{count} task branches", "not compared yet")
    yield Figure("claims", "`git fast-import` alone, no ratio", beside=f"{ms(each)} a branch")


def merge(bench: Bench) -> Iterator[Figure]:
    """Compare a bare merge with `git merge` in a work tree, in a big repository."""
    files = bench.size(BIG, 500)
    repo = bench.repository(files)
    env = bench.env
    base = git(repo, "rev-parse", "HEAD", env=env)
    # One branch for each merge, and each merge a true one: flow has moved since they were cut.
    tasks = layered(2 * bench.rounds)
    git(repo, "fast-import", "--quiet", env=env, stdin=claims_stream_apart(base, len(tasks)))
    git(repo, "commit", "-q", "--allow-empty", "-m", "Move", env=env)
    git(repo, "branch", "bare", env=env)
    objects = floor.Objects(repo / ".git")
    left = {"tree": iter(tasks), "bare": iter(tasks)}

    def in_tree() -> float:
        branch = floor.branch(next(left["tree"])).removeprefix("refs/heads/")
        command = ["git", "merge", "-q", "--no-ff", "-m", "Merge", branch]
        return timed(command, cwd=repo, env=env)

    def bare() -> float:
        tip = git(repo, "rev-parse", "bare", env=env)
        work = git(repo, "rev-parse", floor.branch(next(left["bare"])), env=env)
        with stopwatch() as seconds:
            tree = git(repo, "merge-tree", "--write-tree", tip, work, env=env)
            commit = objects.commit(tree, (tip, work), "Merge")
            git(repo, "update-ref", "refs/heads/bare", commit, tip, env=env)
        return seconds()

    taken = interleave({"tree": in_tree, "bare": bare}, bench.rounds)
    trees = {git(repo, "rev-parse", f"{name}^{{tree}}", env=env) for name in ("main", "bare")}
    if len(trees) != 1:
        raise RuntimeError("the two ways to merge gave two trees")
    yield not_measured("merge", f"a merge in {files} files over `git merge`", "not compared yet")
    yield ratio(
        "merge",
        "the floor's bare merge over `git merge` in a tree",
        taken["bare"],
        taken["tree"],
        beside=f"{ms(taken['bare'])}, {ms(taken['tree'])}",
    )


def claims_stream_apart(base: str, count: int) -> bytes:
    """Return a fast-import stream of `count` branches that each change a file of their own."""
    parts = []
    for number, task in enumerate(layered(count)):
        text = f"{task.id}\n"
        parts.append(
            f"commit {floor.branch(task)}\ncommitter {floor.WHO.decode()} 0 +0000\n"
            f"data {len(task.id)}\n{task.id}\nfrom {base}\n"
            f"M 100644 inline part-{number % 5:02d}/{task.output}\ndata {len(text)}\n{text}\n"
        )
    return "".join(parts).encode()


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
    taken = interleave(contenders, max(9, bench.rounds))
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
    "processes": processes,
}
