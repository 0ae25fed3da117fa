"""Shared worker: one process that serves many tasks, for devices whose context is dear."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import psutil

from harness.contract import Stage
from harness.toolkit.process_memory import MB
from harness.workers.ending import Ending
from harness.workers.messages import Request
from harness.workers.running_child import GRACE, STARTUP, RunningChild
from harness.workers.task import T, Task

#: A worker that has grown by this share of the limit on a task's memory is replaced.
LEAKED = 0.5

#: Stands in for the task of an idle worker.
NO_TASK = Task("", None, "")


class SharedWorker(RunningChild[T]):
    """A process that serves one task after the other, as its parent sees it.

    Attributes:
        unit: the device that the worker uses; empty where there is no choice.
        busy: whether the worker runs a task.
        retired: whether the worker gets no more tasks.
    """

    def __init__(self, unit: str, requests: Connection, *process: Any) -> None:
        super().__init__(NO_TASK, Future(), *process)
        self.unit = unit
        self.busy = False
        self.retired = False
        self._requests = requests
        self._bytes_at_first = 0  # resident memory as the worker's first task began

    def give(self, task: Task, future: Future[T]) -> None:
        """Give a task to the worker, which must be idle."""
        self.task, self.future = task, future
        self.busy = True
        self.stage, self.failures = Stage.BUILD, ()
        self.started = time.monotonic()
        self.deadline = self.started + STARTUP
        if self.ready:
            self.begin_task()
        with contextlib.suppress(OSError):  # the worker is gone: its sentinel says so next
            factor = task.limits(self.limits).seconds / self.limits.seconds
            self._requests.send(Request(task.target, task.argument, factor))

    def take(self) -> Ending | None:
        """The ending of the worker's task, after which the worker is idle; None while it runs."""
        ending = self.reported() if self.busy else None
        if ending is None:
            return None
        if ending.peak_rss_mb is None and self.peak_bytes:
            ending = replace(ending, peak_rss_mb=self.peak_bytes / MB)
        self.last_message = None
        self.busy = False
        self.deadline = float("inf")
        return ending

    def leaks(self) -> bool:
        """Whether the tasks so far left too much memory behind for another."""
        self._bytes_at_first = self._bytes_at_first or self.bytes_at_start
        if self.watched is None:
            return False
        with contextlib.suppress(psutil.Error):
            grown = self.watched.memory_info().rss - self._bytes_at_first
            return grown > LEAKED * self.limits.memory_mb * MB
        return False

    def retire(self) -> None:
        """Give the worker no more tasks; it leaves, or is killed after `GRACE` seconds."""
        self.retired = True
        self.deadline = time.monotonic() + GRACE
        self._requests.close()

    def release(self) -> None:
        """Close the worker's pipes and process, and remove its folder."""
        self._requests.close()
        super().release()
