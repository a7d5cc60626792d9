"""What shows, without a model to judge it, that an agent gets nowhere.

`circle` looks at the tools that an agent uses while it works, and what it finds ends the attempt.
`swings` looks at the commits that it made, and what it finds is told with the result.  Both take
only what cannot be meant: the very same thing, over and over, with nothing new in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Any

AGAIN = 10
"""How often the same has to come in a row."""
STEPS = 3
"""The most uses of tools that together count as the same."""
_WAITS = re.compile(r"sleep|wait|poll|watch|output|status|stdin", re.IGNORECASE)


def used(before: tuple[str, ...], tool: object, arguments: Any) -> tuple[str, ...]:
    """Return the last uses of tools with one more, each by what stands for exactly it.

    Asking whether something has ended is no use: who waits does the same again and again.
    """
    said = json.dumps([str(tool), arguments], sort_keys=True, default=str)
    if _WAITS.search(str(tool)) or re.search(r"\b(?:sleep|wait)\b", said):
        return ()
    digest = sha1(said.encode(errors="replace"), usedforsecurity=False).hexdigest()
    return (*before, digest)[-AGAIN * STEPS :]


def circle(uses: Sequence[str]) -> int:
    """Return how many uses of tools have come `AGAIN` times in a row up to now; 0 for none."""
    for steps in range(1, STEPS + 1):
        last = uses[-steps * AGAIN :]
        if len(last) == steps * AGAIN and list(last) == list(last[:steps]) * AGAIN:
            return steps
    return 0


def swings(history: Sequence[Mapping[str, tuple[str, str]]]) -> list[str]:
    """Return the paths whose content came back to what it had been at least twice.

    `history` has a mapping for each commit, oldest first: what it changed from which content to
    which.  To take something back once is honest; to bring it back after that is to and fro.
    """
    seen: dict[str, list[str]] = {}
    returns: dict[str, int] = {}
    for changes in history:
        for path, (old, new) in changes.items():
            states = seen.setdefault(path, [old])
            returns[path] = returns.get(path, 0) + (new in states)
            states.append(new)
    return [path for path, times in returns.items() if times > 1]


__all__ = ["AGAIN", "STEPS", "circle", "swings", "used"]
