"""Isolation of cells: child processes, their limits, messages and endings."""
