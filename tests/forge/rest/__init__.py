"""The REST requests that the fake answers: importing this fills ROUTES."""

from tests.forge.rest import actions, boards, checks, issues, parts, people, pulls, repositories
from tests.forge.rest.routes import NOT_ACCESSIBLE, NOT_FOUND, ROUTES, Answer, Call, find, permit

__all__ = [
    "NOT_ACCESSIBLE",
    "NOT_FOUND",
    "ROUTES",
    "Answer",
    "Call",
    "actions",
    "boards",
    "checks",
    "find",
    "issues",
    "parts",
    "people",
    "permit",
    "pulls",
    "repositories",
]
