"""Values in, text or JSON-able values out: all that people and programs are shown.

Nothing here reads a file or a clock; `now` is an argument.  `text` makes free text safe and values
readable.  `standing` says where a plan is, `shape` and `details` what it is, `briefs` what an agent
is told and `prompt` in which words, `handbook` its roles, `reports` what is left in the end, and
`facts` holds what they have in common.
"""

from gitflow_agents.render.briefs import (
    Before,
    Beside,
    Brief,
    Doc,
    Repair,
    StepFacts,
    before,
    brief,
    brief_reference,
    filter_reference,
    heard,
    task_yaml,
)
from gitflow_agents.render.briefs import values as brief_values
from gitflow_agents.render.details import (
    provides,
    provides_json,
    show_plan,
    show_plan_json,
    show_task,
    show_task_json,
)
from gitflow_agents.render.facts import approvals, choices, is_held, taken_by, to_answer
from gitflow_agents.render.handbook import roles, roles_json
from gitflow_agents.render.live import live
from gitflow_agents.render.prompt import FILTERS, PACKAGED, Template
from gitflow_agents.render.reports import (
    done_report,
    final_report,
    final_report_json,
    provides_yaml,
)
from gitflow_agents.render.shape import (
    explain,
    explain_json,
    graph_dot,
    graph_json,
    graph_mermaid,
    graph_text,
    valid,
    waves,
    waves_json,
)
from gitflow_agents.render.standing import (
    is_to_land,
    log_json,
    log_line,
    plans,
    plans_json,
    ready_json,
    ready_text,
    status,
    status_json,
    status_page,
    status_schema,
)
from gitflow_agents.render.text import clean, count, duration, money, one_line, utc

__all__ = [
    "FILTERS",
    "PACKAGED",
    "Before",
    "Beside",
    "Brief",
    "Doc",
    "Repair",
    "StepFacts",
    "Template",
    "approvals",
    "before",
    "brief",
    "brief_reference",
    "brief_values",
    "choices",
    "clean",
    "count",
    "done_report",
    "duration",
    "explain",
    "explain_json",
    "filter_reference",
    "final_report",
    "final_report_json",
    "graph_dot",
    "graph_json",
    "graph_mermaid",
    "graph_text",
    "heard",
    "is_held",
    "is_to_land",
    "live",
    "log_json",
    "log_line",
    "money",
    "one_line",
    "plans",
    "plans_json",
    "provides",
    "provides_json",
    "provides_yaml",
    "ready_json",
    "ready_text",
    "roles",
    "roles_json",
    "show_plan",
    "show_plan_json",
    "show_task",
    "show_task_json",
    "status",
    "status_json",
    "status_page",
    "status_schema",
    "taken_by",
    "task_yaml",
    "to_answer",
    "utc",
    "valid",
    "waves",
    "waves_json",
]
