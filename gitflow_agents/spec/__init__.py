"""Plan and config text in; values out, or every problem with its position.

Nothing here reads a file, a clock or the environment: bytes and mappings come in as arguments.
`read_plan` judges a file that a person wrote; `load_plan` reads one that was accepted before.
"""

from gitflow_agents.spec.adding import Added, with_tasks
from gitflow_agents.spec.asking import (
    Wish,
    bad_plan_name,
    by_option,
    option,
    wish_plan,
    wish_task,
    wrong,
)
from gitflow_agents.spec.config import OWN_VARIABLES, read_config, variables
from gitflow_agents.spec.files import from_yaml, to_yaml
from gitflow_agents.spec.glance import plan_base, plan_name
from gitflow_agents.spec.lines import from_lines, slice_of, to_lines
from gitflow_agents.spec.names import bad_branch, bad_slug, branch, branches, service, slug
from gitflow_agents.spec.plan import Reading, load_plan, read_plan
from gitflow_agents.spec.projects import read_projects
from gitflow_agents.spec.role import read_role
from gitflow_agents.spec.schema import (
    PLAN_SCHEMA,
    config_schema,
    plan_schema,
    reference,
    role_schema,
)
from gitflow_agents.spec.template import modeline, template

__all__ = [
    "OWN_VARIABLES",
    "PLAN_SCHEMA",
    "Added",
    "Reading",
    "Wish",
    "bad_branch",
    "bad_plan_name",
    "bad_slug",
    "branch",
    "branches",
    "by_option",
    "config_schema",
    "from_lines",
    "from_yaml",
    "load_plan",
    "modeline",
    "option",
    "plan_base",
    "plan_name",
    "plan_schema",
    "read_config",
    "read_plan",
    "read_projects",
    "read_role",
    "reference",
    "role_schema",
    "service",
    "slice_of",
    "slug",
    "template",
    "to_lines",
    "to_yaml",
    "variables",
    "wish_plan",
    "wish_task",
    "with_tasks",
    "wrong",
]
