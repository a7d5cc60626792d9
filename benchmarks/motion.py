"""Rows of a plan in motion: what one event costs, many writers at once, many attempts at once.

What is compared is the same command on a small and on a large plan, the same number of events by
one process and by many, and seconds with what a person would wait for.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median

from benchmarks import inside
from benchmarks.bench import Bench, script
from benchmarks.measure import ROOT, Figure, git, interleave, ms, printed, ratio, timed
from benchmarks.plans import NAME, layered
from gitflow_agents.live import EVERY, View

PATIENCE = 120.0
"""Seconds after which something that was waited for does not come any more."""


# --- one event ------------------------------------------------------------------------------------


def event(bench: Bench) -> Iterator[Figure]:
    """Compare recording one event in a plan of thousands of tasks with the same in one of ten."""
    program, env = str(script()), bench.env
    sizes = (10, bench.size(5000, 500))
    repositories = {}
    for count in sizes:
        repositories[count] = bench.repository()
        tasks = layered(count)
        with inside.opened(repositories[count]) as service:
            inside.complete(service, inside.accepted(service, tasks), tasks[: count * 2 // 5])

    def tell(count: int, *words: str) -> float:
        repo = repositories[count]
        verb, *options = words
        target = f"{NAME}/{layered(count)[-1].id}"
        return timed([program, "-C", str(repo), verb, target, *options], cwd=repo, env=env)

    # Each pair brings the task back to where it was, so that every round writes the same.
    for words, back in ((("hold",), ("resume",)), (("skip", "-m", "for a while"), ("retry",))):
        verb = words[0]

        def once(count: int, words: Sequence[str] = words, back: Sequence[str] = back) -> float:
            seconds = tell(count, *words)
            tell(count, *back)
            return seconds

        taken = interleave({str(n): partial(once, n) for n in sizes}, bench.turns(5))
        few, many = (taken[str(n)] for n in sizes)
        yield ratio(
            "event",
            f"`{verb}` of a task of {sizes[1]} over one of {sizes[0]}",
            many,
            few,
            target=1.2,
            beside=f"{ms(many)}, {ms(few)}",
        )


# --- many writers ---------------------------------------------------------------------------------


def writers(bench: Bench) -> Iterator[Figure]:
    """Compare the rate at which many processes record events with that of one.

    First as people do it, a command an event, all at once and one after the other; then by
    processes that have begun long ago and do nothing else.
    """
    crowds = (2, 3) if bench.sizes == "tiny" else (8, 64)
    for crowd in crowds:
        taken = interleave(
            {
                "one": partial(_told, bench, crowd, at_once=False),
                "many": partial(_told, bench, crowd, at_once=True),
            },
            bench.turns(1, 0.5),
        )
        yield ratio(
            "writers",
            f"{crowd} commands one after the other over all at once, rate",
            taken["many"],
            taken["one"],
            target=1 / 0.6,
            beside=f"{ms(taken['many'])}, {ms(taken['one'])}",
        )
    for crowd in crowds:
        events = 8 * crowd
        taken = interleave(
            {
                "one": partial(_recorded, bench, 1, events),
                "many": partial(_recorded, bench, crowd, events // crowd),
            },
            bench.turns(1, 0.5),
        )
        # A rate over a rate is the seconds the other way round.
        yield ratio(
            "writers",
            f"{events} events by one process over {crowd} processes, rate",
            taken["many"],
            taken["one"],
            target=1 / 0.6,
            beside=f"{ms(taken['many'])}, {ms(taken['one'])}",
        )


def _told(bench: Bench, count: int, *, at_once: bool) -> float:
    """Return the seconds in which so many commands hold a task each; all are recorded."""
    repo = bench.repository()
    tasks = layered(max(10, count))
    with inside.opened(repo) as service:
        inside.accepted(service, tasks)
    state, program = f"gitflow/state/{NAME}", str(script())
    before = int(git(repo, "rev-list", "--count", state, env=bench.env))
    began = time.perf_counter()
    started: list[subprocess.Popen[bytes]] = []
    for task in tasks[:count]:
        command = [program, "-C", str(repo), "hold", f"{NAME}/{task.id}", "--quiet"]
        null = subprocess.DEVNULL
        started.append(subprocess.Popen(command, cwd=repo, env=bench.env, stdout=null))
        if not at_once:
            started[-1].wait(PATIENCE)
    codes = [process.wait(PATIENCE) for process in started]
    seconds = time.perf_counter() - began
    after = int(git(repo, "rev-list", "--count", state, env=bench.env))
    if any(codes) or after - before != count:
        raise RuntimeError(f"{count} commands, {after - before} events; exit codes {set(codes)}")
    shutil.rmtree(repo.parent)
    return seconds


WRITER = """
import sys
from benchmarks import inside
from gitflow_agents.commands import Hold, Resume
repo, plan, task, count = sys.argv[1:]
with inside.opened(__import__("pathlib").Path(repo)) as service:
    for number in range(int(count) + 2):
        if number == 2:  # what is started once, and is kept, is running by now
            print("ready", flush=True)
            sys.stdin.readline()
        kind = Resume if number % 2 else Hold
        outcome = service.handle(kind(targets=(task,)), plan)
        if not outcome.changed:
            raise SystemExit(f"{task}: {outcome.said}")
    print("done", flush=True)
    sys.stdin.readline()
"""
"""A process that records events of one task: ready, it waits for a line; done, it says so.

It ends when it is let go, for to end a Python is work, of which the others shall see nothing.
"""


def _recorded(bench: Bench, processes: int, events: int) -> float:
    """Return the seconds in which so many processes record so many events each; all are there."""
    repo = bench.repository()
    tasks = layered(max(10, processes))
    with inside.opened(repo) as service:
        inside.accepted(service, tasks)
    state = f"gitflow/state/{NAME}"
    with ExitStack() as stack:
        started = []
        for task in tasks[:processes]:
            command = [sys.executable, "-c", WRITER, str(repo), NAME, task.id, str(events)]
            pipe = subprocess.PIPE
            process = subprocess.Popen(command, cwd=ROOT, env=bench.env, stdin=pipe, stdout=pipe)
            stack.callback(process.kill)
            started.append(process)
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        before = int(git(repo, "rev-list", "--count", state, env=bench.env))
        began = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        # To end a Python takes longer than to record an event, and is nobody's business here.
        seconds = time.perf_counter() - began
        for process in started:
            process.communicate(timeout=PATIENCE)
        if any(process.returncode for process in started):
            raise RuntimeError("a writer gave up")
    after = int(git(repo, "rev-list", "--count", state, env=bench.env))
    if after - before != processes * events:
        raise RuntimeError(f"{processes * events} events, and {after - before} were recorded")
    shutil.rmtree(repo.parent)
    return seconds


# --- many attempts --------------------------------------------------------------------------------

AGENT = """\
echo "{\\"task\\": \\"$GITFLOW_TASK\\", \\"at\\": $(date +%s.%N)}" >>"$BENCH_SEEN/started"
until [ -e "$BENCH_SEEN/say" ]; do sleep 0.2; done
echo "1/2 heard $GITFLOW_TASK $(date +%s.%N)" >>"$GITFLOW_PROGRESS"
until [ -e "$BENCH_SEEN/end" ]; do sleep 0.2; done
echo x >"out-$GITFLOW_TASK.txt"
"""
"""What every attempt runs: it says when it began, says a line when it is told to, and waits."""


def latency(bench: Bench) -> Iterator[Figure]:
    """Measure how long people wait while many attempts go on: seconds, with 10 and with 100."""
    for count in (3,) if bench.sizes == "tiny" else (10, 100):
        rounds = [_waited(bench, count) for _ in range(bench.turns(1, 0.5))]
        for number, (what, target) in enumerate(WAITED):
            seconds = sorted(waited[number] for waited in rounds)
            yield Figure(
                "latency",
                f"{what}, {count} attempts at once",
                median(seconds),
                unit=" s",
                target=target,
                low=seconds[0],
                high=seconds[-1],
            )


WAITED = (
    ("from a claim to the first command of its agent, the slowest", 5.0),
    ("until a line of progress is seen, the slowest", 1.0),
    ("`status`", 2.0),
)


def _until(is_so: Callable[[], bool], every: float = 0.05) -> None:
    """Wait until something is so; RuntimeError when it never is."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError("what was waited for did not come")
        time.sleep(every)


def _waited(bench: Bench, count: int) -> tuple[float, float, float]:
    """Return the seconds of WAITED in one run of `count` attempts at once."""
    repo = bench.repository()
    seen = bench.folder()
    tasks = [{"id": f"t{number}", "run": AGENT} for number in range(count)]
    plan = {"plan": NAME, "goal": "Wait", "limits": {"parallel": count}, "tasks": tasks}
    config = {"agents": {"command": {"env": ["BENCH_SEEN"]}}}
    (repo / f"{NAME}.yaml").write_text(json.dumps(plan))
    (repo / ".gitflow-agents.yml").write_text(json.dumps(config))
    git(repo, "add", "-A", env=bench.env)
    git(repo, "commit", "-q", "-m", "Plan", env=bench.env)
    env = {**bench.env, "BENCH_SEEN": str(seen)}
    program = str(script())
    command = [program, "-C", str(repo), "run", f"{NAME}.yaml", "-j", str(count), "--quiet"]
    null = subprocess.DEVNULL
    run = subprocess.Popen(command, cwd=repo, env=env, stdout=null, stdin=null)
    try:
        started = seen / "started"
        _until(lambda: started.exists() and started.read_text().count("\n") == count)
        rows = map(json.loads, started.read_text().splitlines())
        began = {row["task"]: row["at"] for row in rows}
        with inside.opened(repo) as service:
            records = service.open(NAME).records
        first = max(at - records[task].attempts[-1].started_at for task, at in began.items())
        view = View(str(repo), NAME)
        (seen / "say").touch()
        heard: dict[str, float] = {}

        def all_heard() -> bool:
            drawn = view.draw(200, 10 * count + 100)
            now = time.time()
            for line in drawn.splitlines():
                said = line.partition("1/2 heard ")[2].split()
                if said:
                    heard.setdefault(said[0], now - float(said[1]))
            return len(heard) == count

        _until(all_heard, every=EVERY)
        view.close()
        status = [program, "-C", str(repo), "status", NAME, "--json"]
        looked = timed(status, cwd=repo, env=env)
        counts = json.loads(printed(status, cwd=repo, env=env))["counts"]
        if counts["in_progress"] != count:
            raise RuntimeError(f"{count} attempts should be going on: {counts}")
    finally:
        (seen / "end").touch()
        run.wait(PATIENCE)
    if run.returncode:
        raise RuntimeError(f"the run ended with {run.returncode}")
    shutil.rmtree(repo.parent)
    return first, max(heard.values()), looked
