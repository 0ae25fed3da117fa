"""Nox sessions of backends: for a noxfile of one's own, and shared with this project's."""

from harness.nox_sessions.own_sessions import add_sessions

__all__ = ["add_sessions"]
