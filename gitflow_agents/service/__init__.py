"""What a door calls: `Service`, or `Views` to look only, and the values that they answer with.

A part is imported when it is asked for: who looks does not wait for all that a run takes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gitflow_agents.service.folder import Folder
    from gitflow_agents.service.looking import Logged, Views
    from gitflow_agents.service.service import RunEnd, Service, Told, create_demo

__all__ = ["Folder", "Logged", "RunEnd", "Service", "Told", "Views", "create_demo"]
_PLACES = {"Folder": "folder", "Logged": "looking", "Views": "looking"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'service')}"), name)
