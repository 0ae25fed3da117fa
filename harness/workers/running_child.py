"""Running child: one child process as its parent sees it, with its clock and its memory."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic

import psutil

from harness.contract import CellFailure, Outcome, Stage
from harness.toolkit.process_memory import MB
from harness.workers.ending import (
    DISTURBED,
    Ending,
    exit_reason,
    reported_ending,
    unreported_ending,
)
from harness.workers.failure_scope import FailureScope, failure_line, failure_scope
from harness.workers.limits import Limits
from harness.workers.message_reader import MessageReader
from harness.workers.messages import Entering, Raised, Ready, Returned
from harness.workers.task import T, Task

#: Seconds until a new process must have reported: its fork server may be importing torch.
STARTUP = 300.0

#: Seconds that a child's own timer is given to end the child, with its stack, before the parent
#: does.
GRACE = 1.0

#: Bytes at the end of a child's output that are kept.
TAIL = 8_000

#: Bytes at the end of a child's output in which faulthandler's stacks of every thread have room.
STACKS = 2 * MB

#: Bytes of a child's output at which the file is emptied.
LARGEST_OUTPUT = 64 * MB

#: Part of the message of an OSError on a full disk, or one without inodes.
NO_ROOM = f"[Errno {errno.ENOSPC}]"

#: Name of the file with a child's output, in the child's folder.
OUTPUT = "output"

#: First line that faulthandler prints as it ends a process whose time is over.
_TIMER = re.compile(r"^Timeout \(\d+:\d\d:\d\d", re.MULTILINE)


class RunningChild(Generic[T]):
    """One child process, as its parent sees it.

    Attributes:
        task: the task that the child runs.
        future: of the task.
        process: the child.
        messages: the reader of the child's messages.
        childs_ends: the child's ends of all pipes, to be closed once the child has inherited them.
        unstarted: the ending, where the process could not be started.
        stage: the last one that the child has reported.
        failures: of the cell, as the child has reported them.
        started: the start of the task, on the monotonic clock.
        deadline: on the monotonic clock; the parent then calls `overdue`.
        ready: whether the child is set up.
        last_message: how the task ended; None before that.
        limits: of each task.
        watched: the process to ask for its memory; None before the child is ready.
        bytes_at_start: resident memory as the task began.
        peak_bytes: the most resident memory seen, the child's descendants included.
        first: the ending that something outside has caused, where the task now runs again.
        tries: how often the task has been started, this time included.
    """

    def __init__(
        self,
        task: Task,
        future: Future[T],
        process: BaseProcess,
        connection: Connection,
        childs_ends: Sequence[Connection],
        folder: Path,
        limits: Limits,
    ) -> None:
        self.task = task
        self.future = future
        self.process = process
        self.messages = MessageReader(connection)
        self.childs_ends = childs_ends
        self.unstarted: Ending | None = None
        self.stage = Stage.BUILD
        self.failures: tuple[CellFailure, ...] = ()
        self.started = time.monotonic()
        self.deadline = self.started + STARTUP
        self.ready = False
        self.last_message: Returned | Raised | None = None
        self.limits = limits
        self.watched: psutil.Process | None = None
        self.bytes_at_start = 0
        self.peak_bytes = 0
        self.first: Ending | None = None
        self.tries = 1
        self._folder = folder
        self._leads_group = False
        self._descendants: list[psutil.Process] = []
        self._killed: tuple[Outcome, str] | None = None

    def read(self) -> None:
        """Take in the messages that have come."""
        for message in self.messages.read():
            match message:
                case Ready():
                    self.ready = True
                    self._leads_group = message.leads_group
                    self.begin_task()
                case Entering():
                    self.stage, self.failures = message.stage, message.failures
                case Returned() | Raised():
                    self.last_message = message
                    self.deadline = time.monotonic() + GRACE
        if self.messages.unreadable and self._killed is None:
            self._kill_as(Outcome.CRASH, f"result unreadable: {self.messages.unreadable}")

    def begin_task(self) -> None:
        """Start the task's clock, and count its memory from what the child holds now."""
        self.started = time.monotonic()
        self.deadline = self.started + self._seconds + GRACE
        with contextlib.suppress(psutil.Error):
            self.watched = psutil.Process(self.process.pid)
            self.bytes_at_start = self.peak_bytes = self.watched.memory_info().rss

    def overdue(self) -> None:
        """Kill the child, whose deadline is over."""
        self.deadline = float("inf")
        if self.last_message is not None:
            self.kill()  # the task has ended, and the process lingers
        elif self.ready:
            self._kill_as(Outcome.TIMEOUT, self._too_long())
        else:
            self._kill_as(Outcome.TIMEOUT, f"the process did not start within {STARTUP:g} s")

    def is_gone(self) -> bool:
        """Whether a killed process is gone; a daemon that it has left holds its sentinel open."""
        return self.deadline == float("inf") and self.process.exitcode is not None

    def watch(self, deep: bool) -> None:
        """Kill the child if it holds too much memory, and empty its output if that is too long.

        Args:
            deep: whether to look anew for processes that the child has started.
        """
        if self.watched is None:
            return
        with contextlib.suppress(psutil.Error):
            if deep:
                self._descendants = self.watched.children(recursive=True)
            resident = self.watched.memory_info().rss
            for descendant in self._descendants:
                with contextlib.suppress(psutil.Error):
                    resident += descendant.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, resident)
            grown = resident - self.bytes_at_start
            if grown > self.limits.memory_mb * MB and self.last_message is None:
                self._kill_as(
                    Outcome.OOM,
                    f"held {grown / MB:.0f} MB at {self.stage}, "
                    f"and may hold {self.limits.memory_mb} MB",
                )
        with contextlib.suppress(OSError):
            output = self._folder / OUTPUT
            if output.stat().st_size > LARGEST_OUTPUT:
                os.truncate(output, 0)

    def kill(self) -> None:
        """Kill the child and everything that it has started."""
        if self._leads_group and self.process.pid is not None and sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for descendant in self._descendants:
            with contextlib.suppress(psutil.Error):
                descendant.kill()
        self.process.kill()

    def reported(self) -> Ending | None:
        """The ending that the child has reported; None before that, or where it was killed."""
        if self.last_message is None or self._killed is not None:
            return None
        seconds = time.monotonic() - self.started
        ending = reported_ending(self.last_message, self.stage, seconds, self._output())
        return ending if ending.outcome is None else replace(ending, failures=self.failures)

    def end(self) -> Ending:
        """The ending of the task; call it once the process is gone."""
        if self.unstarted is not None:
            return self.unstarted
        self.process.join()
        self.kill()  # processes that the child started and left behind
        ending = self.reported() or self._unreported()
        if self.first is not None:
            ending = replace(ending, before=failure_line(self.first))
        elif self.task.before:
            ending = replace(ending, before=self.task.before)
        return replace(ending, disturbed=self._is_disturbed(ending))

    def _is_disturbed(self, ending: Ending) -> bool:
        """Whether something outside may be the cause of a failure.

        A signal that no fault of a process's own sends, the end of the fork server, a cleaner of
        temporary files, or a disk that neighbours have filled.
        """
        if failure_scope(ending) is FailureScope.NONE:
            return False
        if not self._folder.is_dir() or NO_ROOM in failure_line(ending):
            return True
        if isinstance(self.last_message, Raised):
            return self.last_message.kind == KeyboardInterrupt.__name__
        unsaid = self.last_message is None and self._killed is None
        return unsaid and self.process.exitcode in DISTURBED

    def _unreported(self) -> Ending:
        """The ending of a child that has not reported one."""
        code = self.process.exitcode
        if self._killed is not None:
            outcome, reason = self._killed
        elif code == 1 and _TIMER.search(self._output(STACKS)):  # it stands before all stacks
            outcome, reason = Outcome.TIMEOUT, self._too_long()
        elif self.messages.partial:
            outcome = Outcome.CRASH
            reason = f"result unreadable: it ends after {self.messages.partial} bytes"
        else:
            outcome, reason = Outcome.CRASH, exit_reason(code)
        seconds = time.monotonic() - self.started
        peak = self.peak_bytes / MB if self.peak_bytes else None
        ending = unreported_ending(outcome, reason, self.stage, seconds, self._output(), peak)
        return replace(ending, failures=self.failures)

    def release(self) -> None:
        """Close the pipe and the process, and remove the child's folder."""
        self.messages.connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(ValueError):  # still running: killed, and not yet reaped
            self.process.close()

    @property
    def _seconds(self) -> float:
        """The limit on the task's time."""
        return self.task.limits(self.limits).seconds

    def _kill_as(self, outcome: Outcome, reason: str) -> None:
        self._killed = (outcome, reason)
        self.kill()

    def _too_long(self) -> str:
        why = f" ({self.task.own_limit_from})" if self.task.own_limit_from else ""
        return f"still at {self.stage} after {self._seconds:g} s{why}"

    def _output(self, most: int = TAIL) -> str:
        """The last `most` bytes of what the child printed."""
        try:
            with open(self._folder / OUTPUT, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - most))
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
