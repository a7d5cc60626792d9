"""Plan files in a folder that is no repository: what can be said of them without git.

Nothing was committed here, so the config is its defaults and the environment, no earlier plan gave
anything, and no plan was started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from gitflow_agents import packaged, scheduler, spec
from gitflow_agents.errors import FlowError
from gitflow_agents.graph import Graph
from gitflow_agents.models import Config, Limits, PlanState
from gitflow_agents.roles import Handbook
from gitflow_agents.scheduler import Snapshot
from gitflow_agents.service.briefing import PACKAGED_ROLE, Roles
from gitflow_agents.service.proposing import plan_path
from gitflow_agents.store import Repository


class Folder:
    """The plan files of a folder; it answers what `Service` does, as far as that needs no git."""

    def __init__(self, directory: str = ".", *, environ: Mapping[str, str] | None = None) -> None:
        self.directory = Path(directory)
        self.environ = dict(os.environ if environ is None else environ)

    @cached_property
    def config(self) -> Config:
        """Return the defaults, with `GITFLOW_*` over them."""
        return spec.read_config(None, file="the config", environ=self.environ)

    @cached_property
    def handbook(self) -> Handbook:
        """Return what comes with the package."""
        return Handbook(Roles({}), dict.fromkeys(packaged.roles(), PACKAGED_ROLE))

    def read(self, plan: str, *, strict: bool = False) -> spec.Reading:
        """Check a plan file; raise InvalidFile with everything that is wrong."""
        is_path = "/" in plan or plan.endswith((".yaml", ".yml"))
        path = self.directory / (plan if is_path else plan_path(plan))
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if not is_path:
                Repository(self.directory)  # says that there is none, and what to do
            raise FlowError(f"there is no file {plan}") from None
        except OSError as e:
            raise FlowError(f"{plan} cannot be read: {e.strerror}") from e
        name = spec.plan_name(data, default=path.stem)
        return spec.read_plan(
            data,
            file=plan,
            name=name,
            config=self.config,
            given={},
            roles=Roles({}),
            strict=strict,
        )

    def open(self, plan: str) -> Snapshot:
        """Return a plan that was never accepted."""
        read = self.read(plan).plan
        state = PlanState(
            plan=read.plan,
            commit="",
            digest="",
            base=read.base or "",
            base_sha="",
            flow=read.flow_branch,
            flow_sha="",
            accepting="",
            accepted_at=0,
        )
        return Snapshot(read, Graph.of(read), state, "", "", {})

    def limits(self, snapshot: Snapshot) -> Limits:
        """Return the limits of plan and config together."""
        return scheduler.limits_of(snapshot.plan, self.config)

    def close(self) -> None:
        """End nothing: no process was kept."""
