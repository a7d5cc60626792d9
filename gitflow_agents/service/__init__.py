"""What a door calls: `Service`, and the values that it answers with."""

from gitflow_agents.service.folder import Folder
from gitflow_agents.service.service import Logged, RunEnd, Service, Told, create_demo

__all__ = ["Folder", "Logged", "RunEnd", "Service", "Told", "create_demo"]
