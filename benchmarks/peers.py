"""Other engines, given the same tasks: whichever of them are installed.

They run the command of each task, two at once, in the order of its needs, and commit nothing.
Nothing is installed for the comparison. After each run the files of all tasks must be there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import JOBS, Bench
from benchmarks.measure import NotMeasured, timed
from benchmarks.plans import Task, layered

Tasks = tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """One engine: how it is started, how the tasks are told to it, and what is aimed at.

    `target` is the most that our time over its time may be; None where there is no aim.
    """

    name: str
    target: float | None
    file: str
    text: Callable[[Tasks], str]
    command: Callable[[], list[str]]

    def run(self, bench: Bench, tasks: int) -> float:
        """Return the seconds of one whole run, start-up included, over `tasks` tasks."""
        folder = bench.folder()
        plan = layered(tasks)
        (folder / self.file).write_text(self.text(plan))
        env = {**bench.env, "PYTHONPATH": str(folder)}
        seconds = timed(self.command(), cwd=folder, env=env)
        lost = [task.output for task in plan if not (folder / task.output).exists()]
        shutil.rmtree(folder)
        if lost:
            raise NotMeasured(f"{self.name} left out {len(lost)} of {tasks} tasks")
        return seconds


def program(name: str) -> str:
    """Return the path of an installed program; NotMeasured if there is none."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise NotMeasured(f"{name} is not installed")
    return found


def python_with(module: str) -> str:
    """Return a Python that can import `module`; NotMeasured if there is none."""
    for python in (sys.executable, shutil.which("python3")):
        probe = [python or "", "-c", f"import {module}"]
        if python and not subprocess.run(probe, capture_output=True, check=False).returncode:
            return python
    raise NotMeasured(f"{module} is not installed")


def makefile(tasks: Tasks) -> str:
    """Return the tasks as rules of GNU make."""
    rules = [f"all: {' '.join(task.output for task in tasks)}\n"]
    for task in tasks:
        needs = " ".join(f"out-{need}.txt" for need in task.needs)
        rules.append(f"{task.output}: {needs}\n\t{task.command}\n")
    return "\n".join(rules)


def table(tasks: Tasks) -> str:
    """Return the tasks as a Python assignment: TASKS = {id: [ids that it needs]}."""
    return f"TASKS = { ({task.id: list(task.needs) for task in tasks})!r}\n"


DODO = """
def task_make():
    for name, needs in TASKS.items():
        yield {
            "name": name,
            "actions": [f"echo x > out-{name}.txt"],
            "task_dep": [f"make:{need}" for need in needs],
        }
"""

LUIGI = """
import subprocess
import luigi

class Make(luigi.Task):
    name = luigi.Parameter()

    def requires(self):
        return [Make(name=need) for need in TASKS[self.name]]

    def output(self):
        return luigi.LocalTarget(f"out-{self.name}.txt")

    def run(self):
        subprocess.run(["sh", "-c", f"echo x > out-{self.name}.txt"], check=True)

class All(luigi.WrapperTask):
    def requires(self):
        return [Make(name=name) for name in TASKS]
"""

TASKFLOW = """
import subprocess
from taskflow import engines, task
from taskflow.patterns import graph_flow

class Make(task.Task):
    def execute(self, **needs):
        subprocess.run(["sh", "-c", f"echo x > out-{self.name}.txt"], check=True)
        return True

flow = graph_flow.Flow("bench")
for name, needs in TASKS.items():
    flow.add(Make(name=name, provides=f"cap-{name}", requires=[f"cap-{need}" for need in needs]))
engines.run(flow, engine="parallel", executor="threaded", max_workers=2)
"""


def snakefile(tasks: Tasks) -> str:
    """Return the tasks as rules of snakemake."""
    rules = [f"rule all:\n    input: {[task.output for task in tasks]!r}\n"]
    for task in tasks:
        needs = [f"out-{need}.txt" for need in task.needs]
        rules.append(
            f"rule make_{task.id}:\n    input: {needs!r}\n    output: {task.output!r}\n"
            '    shell: "echo x > {output}"\n'
        )
    return "\n".join(rules)


PEERS = (
    Peer(
        "make",
        None,
        "Makefile",
        makefile,
        lambda: [program("make"), "-s", f"-j{JOBS}"],
    ),
    Peer(
        "doit",
        None,
        "dodo.py",
        lambda tasks: table(tasks) + DODO,
        lambda: [program("doit"), "run", "-n", str(JOBS), "-P", "thread"],
    ),
    Peer(
        "luigi",
        1 / 1.2,
        "bench_luigi.py",
        lambda tasks: table(tasks) + LUIGI,
        lambda: [
            *(program("luigi"), "--module", "bench_luigi", "All", "--local-scheduler"),
            *("--workers", str(JOBS), "--log-level", "WARNING"),
        ],
    ),
    Peer(
        "snakemake",
        1 / 2.5,
        "Snakefile",
        snakefile,
        lambda: [program("snakemake"), "--cores", str(JOBS)],
    ),
    Peer(
        "taskflow",
        1 / 1.5,
        "bench_taskflow.py",
        lambda tasks: table(tasks) + TASKFLOW,
        lambda: [python_with("taskflow"), "bench_taskflow.py"],
    ),
)
