"""What a forge does for a plan: it starts runs elsewhere, and knows what became of them.

`service` asks a Forge and never which one it is.  Where there is none, attempts and trains are
processes of this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gitflow_agents.errors import ExitCode, FlowError
from gitflow_agents.models import Home

Job = Literal["task", "train", "reconcile", "approval"]
"""What a run is started for: one attempt, the test of one train, one pass, one approval."""


class ForgeRefused(FlowError):
    """The forge does not want it, and will not want it the next time either.

    `status` is the number that it gives for the reason, or 0.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ForgeDown(FlowError):
    """The forge could not be asked, or asks for patience: safe to try again."""

    code = ExitCode.TRY_AGAIN


@dataclass(frozen=True)
class ForgeRun:
    """A run of the forge.

    `title` is what the dispatch called it; `conclusion` is empty until it is over, then one of the
    forge's words: `success`, `failure`, `cancelled`, `timed_out`.  `steps` are the names of those
    that have succeeded, of a train's test.
    """

    id: int
    title: str = ""
    is_over: bool = False
    conclusion: str = ""
    url: str = ""
    steps: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trouble:
    """One thing that keeps runs from working, and what to do; `plan` if it is about one."""

    code: str
    message: str
    hint: str
    plan: str = ""


@dataclass(frozen=True)
class Looked:
    """What is wrong at the forge, what it does not tell and why, and what was asked with what."""

    troubles: tuple[Trouble, ...] = ()
    unchecked: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Check:
    """What is shown at a commit: a line, a list, and in the end a conclusion in the forge's words.

    Without a conclusion it is going on.
    """

    sha: str
    title: str
    summary: str
    text: str = ""
    conclusion: str = ""


@dataclass(frozen=True)
class Page:
    """What people are shown of a plan: one comment, which begins with `marker`, and one check."""

    marker: str
    text: str
    check: Check


@dataclass(frozen=True)
class Review:
    """What one person said last of a pull request: yes to a commit, or that changes are wanted.

    `at` is seconds since the epoch; `actor` the person as git writes people.
    """

    login: str
    id: int
    is_yes: bool
    sha: str
    at: float
    actor: str


@dataclass(frozen=True)
class Decision:
    """What a reviewer of an environment said to a run that waited for it."""

    login: str
    id: int
    environment: str
    is_yes: bool
    text: str = ""


OWN = "<!-- gitflow-agents "
"""Begins everything that the tool writes where people write."""


@dataclass(frozen=True)
class Comment:
    """What somebody wrote on a pull request or an issue; times are seconds since the epoch.

    `is_edited` says that it is not as it was first written any more.
    """

    id: int
    number: int
    text: str
    login: str
    author: int
    """The author's id, which outlives their name; 0 for nobody."""
    at: float
    is_bot: bool = False
    is_own: bool = False
    """The tool wrote it itself."""
    is_edited: bool = False


@dataclass(frozen=True)
class Reacted:
    """A sign that somebody put under a comment, in the forge's word for it.

    `at` is seconds since the epoch.
    """

    login: str
    author: int
    sign: str
    at: float
    is_bot: bool = False


Reaction = Literal["eyes", "rocket", "+1", "confused", "-1"]
"""Seen, accepted, done, not understood, refused."""


@dataclass(frozen=True)
class Issue:
    """An issue as it is; `node` and `id` are what it is called in GraphQL and in REST.

    `closed` says why it is closed, and is empty while it is open.
    """

    number: int
    node: str
    id: int
    title: str
    body: str
    closed: Literal["", "completed", "not_planned"] = ""
    url: str = ""


@dataclass(frozen=True)
class NewIssue:
    """An issue to be made; `key` is whose it is, `parent` the node of that which it hangs below."""

    key: str
    title: str
    body: str
    labels: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    parent: str = ""


@dataclass(frozen=True)
class EditIssue:
    """Another title and other words of an issue."""

    node: str
    title: str
    body: str


@dataclass(frozen=True)
class CloseIssue:
    """An issue is closed, as done or as something that will not be."""

    node: str
    reason: Literal["completed", "not_planned"]


@dataclass(frozen=True)
class ReopenIssue:
    """An issue is open again."""

    node: str


@dataclass(frozen=True)
class HangIssue:
    """An issue hangs below another one, and no more where it hung before."""

    node: str
    parent: str


@dataclass(frozen=True)
class PlanIssue:
    """An issue is for a milestone, given by its node, and for no other one."""

    node: str
    milestone: str


IssueWrite = NewIssue | EditIssue | CloseIssue | ReopenIssue | HangIssue | PlanIssue


@dataclass(frozen=True)
class IssueWrote:
    """What came of one write: the issue that was made, if any, or why it was not done."""

    issue: Issue | None = None
    refused: str = ""


@dataclass(frozen=True)
class Ground:
    """What new issues need to be told by its node: labels, people, what they hang below or are for.

    A label or a person that is missing cannot be told.  `gone` are those of the issues that were
    asked for which are not there.
    """

    repository: str
    labels: Mapping[str, str]
    people: Mapping[str, str]
    epic: str = ""
    milestone: str = ""
    gone: frozenset[str] = frozenset()


class Forge(Protocol):
    """Where runs are started; each method raises ForgeRefused or ForgeDown."""

    @property
    def host(self) -> str:
        """Return the name of its server, which people have their address for no mail at."""
        ...

    def start(self, job: Job, inputs: Mapping[str, str]) -> int:
        """Start a run, and return its id, or 0 where the forge does not say it."""
        ...

    def verdict(self, run: int) -> ForgeRun | None:
        """Return the job of a run that works, as a run: an agent's, or the test of a train.

        It is over before the run is, whose other job takes what came of it.  None when the forge
        knows no run of that id.
        """
        ...

    def run(self, number: int) -> ForgeRun | None:
        """Return a run with all its jobs; None when the forge knows none of that id."""
        ...

    def cancel(self, run: int, *, force: bool = False) -> bool:
        """Ask a run to end, and say whether it was asked: not one that is over.

        With `force` it has no time to save what it did.
        """
        ...

    def runs(self, job: Job, since: float) -> tuple[ForgeRun, ...]:
        """Return the runs started since a time in seconds since the epoch, the newest first."""
        ...

    def find(self, head: str, base: str) -> Home | None:
        """Return the open pull request of a branch, if there is one."""
        ...

    def open(
        self, head: str, base: str, title: str, body: str, *, only_draft: bool = False
    ) -> Home:
        """Open the pull request of a branch, as a draft where there are any.

        ForgeRefused where none may be opened, or with `only_draft` where it could be no draft.
        """
        ...

    def reviews(self, pull: int) -> tuple[Review, ...]:
        """Return what people said of a pull request, of each the last that still holds.

        Nobody is left out for what they may do here.
        """
        ...

    def decisions(self, run: int) -> tuple[Decision, ...]:
        """Return what reviewers of environments said to a run, nothing while it waits for them."""
        ...

    def level(self, login: str, id: int) -> str:
        """Return what somebody may do here, one of `commands.LEVELS`; nothing where that is nobody.

        A login that belongs to another id by now is nobody's; with 0 the id is not known.
        """
        ...

    def is_in_team(self, team: str, login: str) -> bool:
        """Say whether somebody is in a team `organisation/team`."""
        ...

    def authors(self, sha: str, since: str = "") -> tuple[str, ...]:
        """Return who wrote and who committed a commit, as git writes people.

        With `since` it is all commits that this other one lacks.  Whom the forge does not know is
        left out.
        """
        ...

    def report(self, marker: str, title: str, body: str) -> Home:
        """Return the open issue that begins with `marker`, which is opened if needed.

        ForgeRefused where none may be opened.
        """
        ...

    def tell(self, home: Home, page: Page) -> Home:
        """Bring the one comment and the one check of a plan up to date; returns their ids.

        A comment that begins with the page's marker is never doubled.
        """
        ...

    def say(self, number: int, text: str) -> int:
        """Add a comment to a pull request or an issue, and return its id.

        Those whom it mentions are notified.
        """
        ...

    def comments(self, number: int, since: float) -> tuple[Comment, ...]:
        """Return what was written on a pull request or an issue since a time, the oldest first."""
        ...

    def rewrite(self, comment: int, text: str) -> None:
        """Let a comment of ours say something else; one that is gone stays gone."""
        ...

    def reactions(self, comment: int) -> tuple[Reacted, ...]:
        """Return what people put under a comment, the oldest first; nothing where it is gone."""
        ...

    def close(self, issue: int) -> None:
        """Close an issue that is needed no more."""
        ...

    def offer(self, pull: int) -> bool:
        """Let a draft be ready for review, and say whether it is."""
        ...

    def url(self, run: int) -> str:
        """Return where people see a run."""
        ...

    def compare(self, head: str, base: str) -> str:
        """Return where people open a pull request of a branch by hand."""
        ...


class Tracker(Protocol):
    """Where tasks have issues; each method raises ForgeRefused or ForgeDown."""

    def ground(
        self,
        labels: Sequence[str],
        people: Sequence[str],
        epic: str = "",
        there: Sequence[str] = (),
    ) -> Ground:
        """Look up what issues are made with; a label that is missing is made.

        `epic` is an issue or a milestone as a plan has it, `there` are nodes of issues that should
        be there.
        """
        ...

    def issues(self, nodes: Sequence[str]) -> Mapping[str, Issue]:
        """Return those of at most 100 issues that are still there, by their node."""
        ...

    def own_issues(self, since: float, label: str = "") -> tuple[Issue, ...]:
        """Return the issues of ours that were changed since a time, or the open ones of a label."""
        ...

    def write_issues(self, ground: Ground, writes: Sequence[IssueWrite]) -> tuple[IssueWrote, ...]:
        """Do a few writes by one request, and return what came of each.

        ForgeDown where nobody knows which of them were done.
        """
        ...

    def block(self, number: int, by: int, *, ends: bool = False) -> None:
        """Let an issue wait for another one, of which the id is given; or not any more."""
        ...


class Talk(Protocol):
    """Where people say what they want; each method raises ForgeRefused or ForgeDown."""

    def comments(self, number: int, since: float) -> tuple[Comment, ...]:
        """Return what was written on a pull request or an issue since a time, the oldest first."""
        ...

    def react(self, comment: int, sign: Reaction, instead: int = 0) -> int:
        """Put a sign under a comment, in the place of one of ours, and return its id.

        Where the comment is gone it is 0.
        """
        ...

    def say(self, number: int, text: str) -> int:
        """Add a comment to a pull request or an issue, and return its id.

        Those whom it mentions are notified.
        """
        ...

    def head(self, number: int) -> str:
        """Return the repository that a pull request comes from, empty for an issue."""
        ...


__all__ = [
    "OWN",
    "Check",
    "CloseIssue",
    "Comment",
    "Decision",
    "EditIssue",
    "Forge",
    "ForgeDown",
    "ForgeRefused",
    "ForgeRun",
    "Ground",
    "HangIssue",
    "Issue",
    "IssueWrite",
    "IssueWrote",
    "Job",
    "Looked",
    "NewIssue",
    "Page",
    "PlanIssue",
    "Reacted",
    "Reaction",
    "ReopenIssue",
    "Review",
    "Talk",
    "Tracker",
    "Trouble",
]
