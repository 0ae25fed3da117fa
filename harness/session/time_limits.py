"""Limits on time of single cells, from what they took before: a hang costs less than `--timeout`.

A cell that such a limit ends has the full one in a second try (`harness.workers.second_tries`).
"""

from __future__ import annotations

from dataclasses import replace

from harness.results.stored_durations import RUNS, StoredDuration
from harness.toolkit.durations import duration
from harness.workers.limits import Limits
from harness.workers.task import Task

#: The limit of a cell, as a multiple of the longest duration of its last runs.
FACTOR = 10.0

#: Seconds of the shortest limit: one of caches that are cold, and of a machine that starts to swap.
FLOOR = 20.0


def with_own_limit(task: Task, stored: StoredDuration | None, limits: Limits) -> Task:
    """A cell's task with a limit for its first try, where that is below the full one.

    Args:
        task: of the cell.
        stored: what the cell took in its last runs; None of a new cell.
        limits: of all cells.
    """
    if stored is None:
        return task
    seconds = max(FLOOR, FACTOR * stored.longest)
    if seconds >= task.limits(limits).seconds:
        return task
    why = (
        f"its own limit: {FACTOR:g} times the {duration(stored.longest)} of its last "
        f"{RUNS} runs, at least {FLOOR:g} s; --timeout S gives each cell S seconds"
    )
    return replace(task, own_limit=seconds, own_limit_from=why)
