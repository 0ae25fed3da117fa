"""Cost of a run: wall time, and CPU time of all its processes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall time, and of CPU in all processes of a run."""

    wall: float
    cpu: float


def cost_since(start: float) -> Cost:
    """The cost since `start`, on the monotonic clock; CPU counts from this process's own start.

    Processes that this one has started count too, ended ones included.
    """
    this = psutil.Process()
    cpu = 0.0
    for process in (this, *this.children()):
        with suppress(psutil.Error):
            times = process.cpu_times()
            cpu += times.user + times.system + times.children_user + times.children_system
    return Cost(time.monotonic() - start, cpu)
