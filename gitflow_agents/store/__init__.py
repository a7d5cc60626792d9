"""Everything that is kept: git's objects and refs, the state of plans, worktrees.

`repository` is the one place that starts git; `refs` moves a ref here and `remote` at a remote;
`state` knows how a plan's state is laid out; `worktrees` makes and removes checkouts.
"""

from gitflow_agents.store.checkout import Checkout
from gitflow_agents.store.guard import Findings, Guard, committer_address
from gitflow_agents.store.refs import CheckedOut, RefRefused, Refs
from gitflow_agents.store.remote import Offline, Remote
from gitflow_agents.store.repository import Change, Commit, Entry, Repository
from gitflow_agents.store.state import Draft, Known, Store, task_ids
from gitflow_agents.store.worktrees import (
    FilterMissing,
    Unsavable,
    Worktree,
    Worktrees,
    clone_repository,
    create_repository,
)

__all__ = [
    "Change",
    "CheckedOut",
    "Checkout",
    "Commit",
    "Draft",
    "Entry",
    "FilterMissing",
    "Findings",
    "Guard",
    "Known",
    "Offline",
    "RefRefused",
    "Refs",
    "Remote",
    "Repository",
    "Store",
    "Unsavable",
    "Worktree",
    "Worktrees",
    "clone_repository",
    "committer_address",
    "create_repository",
    "task_ids",
]
