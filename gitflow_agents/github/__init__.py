"""GitHub: what a job there knows of itself, and the requests that are made of it."""

from gitflow_agents.github.client import GitHub
from gitflow_agents.github.surroundings import Surroundings, annotation, surroundings
from gitflow_agents.github.whereabouts import Whereabouts, whereabouts

__all__ = ["GitHub", "Surroundings", "Whereabouts", "annotation", "surroundings", "whereabouts"]
