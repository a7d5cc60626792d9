"""What can go wrong, and with which exit code a door answers it.

An error is one sentence that says what is wrong and a hint that says what to do.  A class of its
own exists only where somebody catches it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the program's exit code means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BUG = 3
    NEEDS_A_PERSON = 4
    TRY_AGAIN = 75
    INTERRUPTED = 130


class FlowError(Exception):
    """An expected failure: `message` says what is wrong, `hint` what to do about it."""

    code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def said(self) -> str:
        """Return both in one line, for a record."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(FlowError):
    """The words of the command are wrong."""

    code = ExitCode.USAGE


class IllegalTransition(FlowError):
    """An event that the state machine does not allow; nothing was changed."""


class LostRace(FlowError):
    """A ref no longer held the value that the decision was made on; nothing was changed."""

    code = ExitCode.TRY_AGAIN


MAKE_ROOM = "make room on the disk, then run the command again; nothing was lost"


def is_full(error: OSError) -> bool:
    """Say whether something could not be written for want of room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class GitFailed(FlowError):
    """git, the disk or an object let us down; it says nothing about the work."""

    code = ExitCode.TRY_AGAIN


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file: where, what, and how to mend it.

    `line` and `column` count from 1; 0 means the whole file.  `key` is a path such as
    `tasks[2].preconditions[0]`.  What came from no file has only a key.
    """

    file: str
    line: int
    column: int
    key: str
    reason: str
    mend: str = ""
    is_warning: bool = False

    def __str__(self) -> str:
        """Return the problem as one line, the way compilers print theirs."""
        kind = "warning" if self.is_warning else "error"
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        place = f"{where}: " if where else ""
        key = f"{self.key}: " if self.key else ""
        mend = f" ({self.mend})" if self.mend else ""
        return f"{place}{kind}: {key}{self.reason}{mend}"


class InvalidFile(FlowError):
    """A plan or config file with problems; all of them, in the order of the file."""

    def __init__(self, what: str, problems: Sequence[Problem], *, hint: str = "") -> None:
        count = sum(not problem.is_warning for problem in problems)
        noun = "error" if count == 1 else "errors"
        super().__init__(f"{what} has {count} {noun}; nothing was changed", hint=hint)
        self.problems = tuple(problems)
