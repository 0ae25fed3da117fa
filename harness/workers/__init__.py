"""Isolation: the processes that cells run in, their limits, messages and ends."""
