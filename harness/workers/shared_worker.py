"""Shared worker: one process that serves many cells, where a device's context is dear."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import psutil

from harness.contract import Stage
from harness.workers.limits import MB
from harness.workers.messages import Request
from harness.workers.running import GRACE, STARTUP, Running
from harness.workers.task import Ending, Task

T = TypeVar("T")

#: A worker that has grown by this share of the limit on a task's memory is replaced.
LEAKED = 0.5

#: What a worker does between two tasks.
NOTHING = Task("", None, "")


class Worker(Running[T]):
    """A process that serves one task after the other, seen from the parent."""

    def __init__(self, unit: str, requests: Connection, *made: Any) -> None:
        super().__init__(NOTHING, Future(), *made)
        self.unit = unit
        self.busy = False
        self.retired = False
        self._requests = requests
        self._held_at_first = 0

    def give(self, task: Task, future: Future[T]) -> None:
        """Ask for a task; call it when the worker is idle."""
        self.task, self.future = task, future
        self.busy = True
        self.stage = Stage.BUILD
        self.started = time.monotonic()
        self.deadline = self.started + STARTUP
        if self._ready:
            self._begin_task()
        with contextlib.suppress(OSError):  # it is gone: its sentinel says so next
            self._requests.send(Request(task.target, task.argument, task.patience))

    def take(self) -> Ending | None:
        """How its task ended, where it has said so; the worker is idle then."""
        if not self.busy or self._last is None or self._killed is not None:
            return None
        ending = self._said(self._last, time.monotonic() - self.started, self._output())
        if ending.peak_rss_mb is None and self._peak:
            ending = replace(ending, peak_rss_mb=self._peak / MB)
        self._last = None
        self.busy = False
        self.deadline = float("inf")
        return ending

    def leaks(self) -> bool:
        """Whether what its tasks left behind is too much for another."""
        self._held_at_first = self._held_at_first or self._born_with
        with contextlib.suppress(psutil.Error, AttributeError):
            held = self._watched.memory_info().rss  # type: ignore[union-attr]
            return held - self._held_at_first > LEAKED * self._limits.memory_mb * MB
        return False

    def retire(self) -> None:
        """Ask for no more; it leaves, or is ended."""
        self.retired = True
        self.deadline = time.monotonic() + GRACE
        self._requests.close()

    def leave(self) -> None:
        """Give back what belongs to it."""
        self._requests.close()
        super().leave()
