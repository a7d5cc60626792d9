"""The way of one task from its plan to flow, walked in a scratch repository to see that it works.

Each step is what a job of its own does where a remote decides: in one of two clones, of which one
runs the agent and the tests, and the other writes.  Start with STEPS.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitflow_agents import packaged
from gitflow_agents.commands import Retry
from gitflow_agents.errors import FlowError
from gitflow_agents.forge import Comment, Decision, ForgeRun, Job, Page, Reacted, Review
from gitflow_agents.models import SCHEMA, DoneReport, Home, Reason, Status
from gitflow_agents.render import count, one_line
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service import fsck
from gitflow_agents.service.jobs import Jobs
from gitflow_agents.service.service import Service
from gitflow_agents.store import clone_repository, create_repository
from gitflow_agents.webhook import VARIABLE

PLAN, TASK = "self-test", "1"
FILE = f"plans/{PLAN}.yaml"
PREFIX = "gitflow-self-test-"
WHO = "gitflow-agents self-test <self-test@localhost>"
"""Whoever is at the terminal has no part in it, and may be unknown to git."""
SETTINGS = "GITFLOW_"
"""Variables of the surroundings that begin so would make another plan of it."""


class StepFailed(FlowError):
    """A step did not end as it has to."""


@dataclass(frozen=True)
class Step:
    """One step: whether it passed, None where it was not come to; what it showed, or why not."""

    name: str
    passed: bool | None
    message: str
    hint: str = ""
    seconds: float = 0.0


def walk(environ: Mapping[str, str]) -> Iterator[Step]:
    """Yield every step as it is done; what was made for it is gone in the end, however it ends."""
    settled = {name: value for name, value in environ.items() if not name.startswith(SETTINGS)}
    way = _Way(settled)
    is_blocked = False
    try:
        for name, step in STEPS:
            if is_blocked:
                yield Step(name, None, "not come to")
                continue
            began = time.monotonic()
            try:
                message, hint, passed = step(way), "", True
            except FlowError as e:
                message, hint, passed = e.message, e.hint, False
            except OSError as e:
                message, hint, passed = f"{e.filename or 'a file'}: {e.strerror or e}", "", False
            is_blocked = not passed
            yield Step(name, passed, one_line(message), hint, time.monotonic() - began)
    finally:
        way.close()


class _Near:
    """A forge that starts nothing: the walk does what it is asked for."""

    host = "localhost"

    def __init__(self) -> None:
        self.asked: list[tuple[Job, dict[str, str]]] = []

    def start(self, job: Job, inputs: Mapping[str, str]) -> int:
        self.asked.append((job, dict(inputs)))
        return len(self.asked)

    def verdict(self, run: int) -> ForgeRun | None:
        return None

    def run(self, number: int) -> ForgeRun | None:
        return None

    def decisions(self, run: int) -> tuple[Decision, ...]:
        return ()

    def cancel(self, run: int, *, force: bool = False) -> bool:
        return False

    def runs(self, job: Job, since: float) -> tuple[ForgeRun, ...]:
        return tuple(ForgeRun(n) for n, (kind, _) in enumerate(self.asked, 1) if kind == job)

    def find(self, head: str, base: str) -> Home | None:
        return Home(pull=1)

    def open(
        self, head: str, base: str, title: str, body: str, *, only_draft: bool = False
    ) -> Home:
        return Home(pull=1)

    def reviews(self, pull: int) -> tuple[Review, ...]:
        return ()

    def level(self, login: str, id: int) -> str:
        return ""

    def is_in_team(self, team: str, login: str) -> bool:
        return False

    def authors(self, sha: str, since: str = "") -> tuple[str, ...]:
        return ()

    def report(self, marker: str, title: str, body: str) -> Home:
        return Home(issue=1)

    def tell(self, home: Home, page: Page) -> Home:
        return home.model_copy(update={"comment": 1, "unchecked": "nobody looks at it"})

    def say(self, number: int, text: str) -> int:
        return 0

    def comments(self, number: int, since: float) -> tuple[Comment, ...]:
        return ()

    def rewrite(self, comment: int, text: str) -> None:
        pass

    def reactions(self, comment: int) -> tuple[Reacted, ...]:
        return ()

    def close(self, issue: int) -> None:
        pass

    def offer(self, pull: int) -> bool:
        return True

    def url(self, run: int) -> str:
        return ""

    def compare(self, head: str, base: str) -> str:
        return ""


class _Way:
    """The repositories of one walk below a folder of its own, and what its steps hand on."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        # Nobody is to be alerted of an attempt that is meant to fail.
        self._environ = {name: said for name, said in environ.items() if name != VARIABLE}
        self._stack = ExitStack()
        self.close = self._stack.close
        self.forge = _Near()

    # --- the steps --------------------------------------------------------------------------------

    def scratch(self) -> str:
        """Make a repository, which decides, and two clones."""
        files = {
            "README.md": b"# Made to see that everything works\n",
            "docs/greetings.md": b"A greeting says hello.\n",
            FILE: packaged.text(f"templates/{PLAN}.yaml").encode(),
        }
        made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self.top = Path(self._stack.enter_context(made))
        create_repository(self.top / "remote", files, "start of the self-test")
        self.runner, self.writer = self._clone("runner"), self._clone("writer")
        return "a repository, and two clones of it"

    def accept(self) -> str:
        """Propose the plan at the remote, and take it up."""
        self.writer.service.offer(FILE, "origin")
        self._pass()
        state = self.snapshot.state
        self._hold(state.revision == 1, f"the plan is at revision {state.revision}")
        return f"plan/{PLAN} is taken up as v1, on {state.flow}"

    def claim(self) -> str:
        """The pass has claimed the task, and asked for one run of it."""
        self._claimed(1)
        return f"attempt 1 is claimed, and one run was asked for: {self._inputs['name']}"

    def execute(self) -> str:
        """Do the attempt, which is to fail."""
        report = self._execute("first")
        self._hold(report.reason is Reason.AGENT_ERROR, self._why(report))
        return "an attempt that fails is told as one"

    def publish(self) -> str:
        """Put what the other clone left on the task's branch, and bring the task to a person."""
        self._publish("first", Status.FAILED)
        return "what it left is published by the clone that ran nothing of it"

    def retry(self) -> str:
        """Try it again as a person would, and do that attempt."""
        self.writer.service.handle(Retry(targets=(TASK,)), PLAN)
        self._pass()
        self._claimed(2)
        report = self._execute("second")
        self._hold(report.reason is None, self._why(report))
        self._publish("second", Status.REVIEW)
        return "attempt 2 succeeds on the same branch, with its docs, in its own folder"

    def train(self) -> str:
        """Test the merge in the clone that writes nothing."""
        job, inputs = self.forge.asked[-1]
        self._hold(job == "train", f"a run was asked for, and it is a {job}")
        verdict = self.runner.test(PLAN, inputs["claim"])
        self._hold(verdict.reason is None, f"{verdict.reason}: {verdict.message}")
        return f"{count(len(verdict.commands), 'check')} passed on the merge"

    def merge(self) -> str:
        """Take the verdict: flow moves, and the plan is finished."""
        heard = ForgeRun(len(self.forge.asked), "", True, "success")
        self._pass(heard)
        status = self.snapshot.status(TASK)
        self._hold(status is Status.COMPLETED, f"the task is {status}")
        self._hold(self.snapshot.state.status == "finished", "the plan is not finished")
        self._see("texts/greeting.txt")
        return f"{self.snapshot.state.flow} has the merge, and the plan is finished"

    def report(self) -> str:
        """Everything that was recorded fits together, and is told."""
        checked = fsck.check(self.writer.service.at(PLAN), PLAN)
        self._hold(not checked.findings, "; ".join(one.message for one in checked.findings))
        report = self.writer.service.report(self.snapshot)
        self._hold(bool(report.strip()), "the report is empty")
        return f"{count(checked.commits, 'event')} recorded, and all of it fits"

    # --- what they share --------------------------------------------------------------------------

    def _clone(self, name: str) -> Jobs:
        clone_repository(self.top / "remote", self.top / name)
        service = Service(str(self.top / name), environ=self._environ)
        self._stack.callback(service.close)
        service.actor = WHO
        return Jobs(service, lambda told: None)

    def _pass(self, heard: ForgeRun | None = None) -> None:
        self.snapshot: Snapshot = self.writer.reconcile(PLAN, self.forge, heard)

    @property
    def _inputs(self) -> dict[str, str]:
        return self.forge.asked[-1][1]

    def _claimed(self, number: int) -> None:
        status = self.snapshot.status(TASK)
        self._hold(status is Status.IN_PROGRESS, f"the task is {status}")
        attempts = self.snapshot.record(TASK).attempts
        self._hold(len(attempts) == number, f"it has {count(len(attempts), 'attempt')}")
        asked = [job for job, _ in self.forge.asked]
        self._hold(asked == ["task"] * number, f"runs were asked for: {', '.join(asked)}")

    def _execute(self, name: str) -> DoneReport:
        inputs, run = self._inputs, len(self.forge.asked)
        where = inputs["plan"], inputs["task"], inputs["claim"], run, self.top / name
        return self.runner.execute(*where)

    def _publish(self, name: str, status: Status) -> None:
        inputs, run = self._inputs, len(self.forge.asked)
        where = inputs["plan"], inputs["task"], inputs["claim"], run, self.top / name
        self._hold(bool(self.writer.publish(*where).event), "nothing was published")
        self._pass()
        found = self.snapshot.status(TASK)
        self._hold(found is status, f"the task is {found} and not {status}")

    def _see(self, path: str) -> None:
        repository = self.writer.service.repository
        tree = repository.commit(self.snapshot.state.flow_sha).tree
        self._hold(repository.find(tree, path) is not None, f"{path} is not on flow")

    def _why(self, report: DoneReport) -> str:
        return f"attempt {report.attempt} ended as {report.reason or 'a success'}: {report.message}"

    def _hold(self, is_so: bool, otherwise: str) -> None:
        if not is_so:
            raise StepFailed(otherwise)


STEPS: tuple[tuple[str, Callable[[_Way], str]], ...] = (
    ("scratch", _Way.scratch),
    ("accept", _Way.accept),
    ("claim", _Way.claim),
    ("execute", _Way.execute),
    ("publish", _Way.publish),
    ("retry", _Way.retry),
    ("train", _Way.train),
    ("merge", _Way.merge),
    ("report", _Way.report),
)


# --- telling --------------------------------------------------------------------------------------


def text(step: Step) -> str:
    """Return a step in a line, with the hint below it."""
    word = {True: "pass", False: "FAIL", None: "-"}[step.passed]
    took = f" ({step.seconds:.1f} s)" if step.passed is not None else ""
    line = f"{word:<5} {step.name:<8} {step.message}{took}"
    return f"{line}\n      hint: {step.hint}" if step.hint else line


def as_json(steps: list[Step]) -> dict[str, Any]:
    """Return what `doctor --self-test --json` prints."""
    return {
        "schema": SCHEMA,
        "passed": all(step.passed for step in steps),
        "steps": [
            {
                "step": step.name,
                "passed": step.passed,
                "message": step.message,
                "hint": step.hint,
                "seconds": round(step.seconds, 3),
            }
            for step in steps
        ],
    }


__all__ = ["STEPS", "Step", "as_json", "text", "walk"]
