"""A state machine for coding agents whose only database is git."""

__version__ = "0.1.0"
