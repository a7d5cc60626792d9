"""What an agent reads while it works: its brief first, then what people say, until its result.

An agent that takes such input goes on reading until it is closed.  That is when it has said its
result and everything that was sent is part of what it answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from gitflow_agents.agents.job import Ears, wording
from gitflow_agents.models import Remark


@dataclass
class Feed:
    """The input of one agent; `says` puts a text with a name of its own into its words."""

    says: Callable[[str, str], bytes]
    brief: str
    ears: Ears | None = None
    _sent: dict[str, Remark | None] = field(default_factory=dict)
    _is_over: bool = False

    def more(self) -> bytes | None:
        """Return what is to be sent now; None when nothing will come any more."""
        if self._is_over:
            return None
        data = b"" if self._sent else self._put(self.brief, None)
        for remark in self.ears.new() if self.ears else ():
            data += self._put(wording(remark), remark)
            if self.ears:
                self.ears.note(remark, False)
        return data

    def _put(self, text: str, remark: Remark | None) -> bytes:
        name = str(uuid4())
        self._sent[name] = remark
        return self.says(text, name)

    def heard(self, taken: tuple[str, ...], is_done: bool, has_failed: bool) -> None:
        """Take what the agent said: what it has read so far, and whether this was its result."""
        for name in taken:
            remark = self._sent.get(name)
            if remark is not None and self.ears:
                self.ears.note(remark, True)
        # One that repeats nothing cannot be waited for.
        is_all = not taken or self._sent.keys() <= set(taken)
        self._is_over = has_failed or (is_done and is_all)


__all__ = ["Feed"]
