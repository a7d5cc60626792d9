"""One attempt in its worktree, and one test of a train in a fresh one.

This is the untrusted half: it runs what a plan says and what an agent does.  What comes out is a
tree, what the agent claims, and what we observed ourselves; whether that may be merged is decided
elsewhere.  `orders` has the values, `executor` the front, `attempt` the one thing after the other.
"""

from __future__ import annotations

from gitflow_agents.execute.attempt import FEEDBACK, read_not_ours
from gitflow_agents.execute.executor import Executor
from gitflow_agents.execute.inbox import empty, put
from gitflow_agents.execute.orders import (
    Check,
    Order,
    Result,
    Stage,
    StepOrder,
    Verdict,
    checks_of,
    command_of,
    gate_of,
    reds_of,
)
from gitflow_agents.execute.reports import REPORT_BYTES, judged, read_report

__all__ = [
    "FEEDBACK",
    "REPORT_BYTES",
    "Check",
    "Executor",
    "Order",
    "Result",
    "Stage",
    "StepOrder",
    "Verdict",
    "checks_of",
    "command_of",
    "empty",
    "gate_of",
    "judged",
    "put",
    "read_not_ours",
    "read_report",
    "reds_of",
]
