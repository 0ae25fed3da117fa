"""A running child process, seen from the parent: what it said, its clock, its memory, its end."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic

import psutil

from harness.contract import HarnessError, Outcome, Stage, Unavailable
from harness.toolkit import fingerprints
from harness.workers.inbox import Inbox
from harness.workers.limits import MB, Limits
from harness.workers.messages import Entering, Raised, Ready, Returned
from harness.workers.task import Ending, T, Task

#: Seconds until a new process must have reported: its server may be importing torch.
STARTUP = 300.0

#: Seconds that a child's own timer is given to end it, with its stack, before the parent does.
GRACE = 1.0

#: Bytes of a child's output that are kept, and the size at which its file is emptied.
TAIL = 8_000

#: Bytes at the end in which faulthandler's stacks of every thread have room.
STACKS = 2 * MB

LARGEST_OUTPUT = 64 * MB

#: What faulthandler prints before it ends a process whose time is over.
_TIMER = re.compile(r"^Timeout \(\d+:\d\d:\d\d", re.MULTILINE)


class Running(Generic[T]):
    """One running child, seen from the parent."""

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
        self.inbox = Inbox(connection)
        self.childs_ends = childs_ends
        self.unstarted: Ending | None = None
        self.stage = Stage.BUILD
        self.started = time.monotonic()
        self.deadline = self.started + STARTUP
        self._folder = folder
        self._limits = limits
        self._ready = False
        self._leads_group = False
        self._watched: psutil.Process | None = None
        self._descendants: list[psutil.Process] = []
        self._born_with = 0
        self._peak = 0
        self._last: Returned | Raised | None = None
        self._killed: tuple[Outcome, str] | None = None

    def read(self) -> None:
        """Take in what the child has said so far."""
        for message in self.inbox.read():
            match message:
                case Ready():
                    self._ready = True
                    self._leads_group = message.leads_group
                    self._begin_task()
                case Entering():
                    self.stage = message.stage
                case Returned() | Raised():
                    self._last = message
                    self.deadline = time.monotonic() + GRACE
        if self.inbox.unreadable and self._killed is None:
            self._kill_as(Outcome.CRASH, f"result unreadable: {self.inbox.unreadable}")

    def overdue(self) -> None:
        """Its time is over."""
        self.deadline = float("inf")
        if self._last is not None:
            self.kill()  # it has said all, and lingers
        elif self._ready:
            self._kill_as(Outcome.TIMEOUT, self._too_long())
        else:
            self._kill_as(Outcome.TIMEOUT, f"the process did not start within {STARTUP:g} s")

    def watch(self, deep: bool) -> None:
        """Kill it if it holds too much memory; `deep` also finds what it has started."""
        if self._watched is None:
            return
        with contextlib.suppress(psutil.Error):
            if deep:
                self._descendants = self._watched.children(recursive=True)
            resident = self._watched.memory_info().rss
            for descendant in self._descendants:
                with contextlib.suppress(psutil.Error):
                    resident += descendant.memory_info().rss
            self._peak = max(self._peak, resident)
            grown = resident - self._born_with
            if grown > self._limits.memory_mb * MB and self._last is None:
                self._kill_as(
                    Outcome.OOM,
                    f"held {grown / MB:.0f} MB at {self.stage}, "
                    f"and may hold {self._limits.memory_mb} MB",
                )
        with contextlib.suppress(OSError):
            output = self._folder / "output"
            if output.stat().st_size > LARGEST_OUTPUT:
                os.truncate(output, 0)

    def kill(self) -> None:
        """End it, with everything it started."""
        if self._leads_group and self.process.pid is not None and sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for descendant in self._descendants:
            with contextlib.suppress(psutil.Error):
                descendant.kill()
        self.process.kill()

    def end(self) -> Ending:
        """How it ended. Call it once its sentinel is ready."""
        if self.unstarted is not None:
            return self.unstarted
        self.process.join()
        code = self.process.exitcode
        seconds = time.monotonic() - self.started
        output = self._output()
        self.kill()  # what it started and left behind
        if self._killed is not None:
            outcome, reason = self._killed
            return self._abnormal(outcome, reason, seconds, output)
        if self._last is not None:
            return self._said(self._last, seconds, output)
        if code == 1 and _TIMER.search(self._output(STACKS)):  # it stands before all stacks
            return self._abnormal(Outcome.TIMEOUT, self._too_long(), seconds, output)
        if self.inbox.partial:
            reason = f"result unreadable: it ends after {self.inbox.partial} bytes"
            return self._abnormal(Outcome.CRASH, reason, seconds, output)
        return self._abnormal(Outcome.CRASH, _exit_reason(code), seconds, output)

    def _said(self, last: Returned | Raised, seconds: float, output: str) -> Ending:
        """What its last message says."""
        if isinstance(last, Raised):
            return self._raised(last, seconds, output)
        return Ending(
            None,
            self.stage,
            seconds,
            value=last.value,
            error=_printed(output),
            cpu_seconds=last.usage.cpu_seconds,
            peak_rss_mb=last.usage.peak_rss_mb,
        )

    def leave(self) -> None:
        """Give back what belongs to it."""
        self.inbox.connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(ValueError):  # still running: killed, and not yet reaped
            self.process.close()

    def _begin_task(self) -> None:
        """Its time begins, and what it holds now is not the task's."""
        self.started = time.monotonic()
        self.deadline = self.started + self._seconds + GRACE
        with contextlib.suppress(psutil.Error):
            self._watched = psutil.Process(self.process.pid)
            self._born_with = self._peak = self._watched.memory_info().rss

    @property
    def _seconds(self) -> float:
        """How long its task may take."""
        return self._limits.with_patience(self.task.patience).seconds

    def _kill_as(self, outcome: Outcome, reason: str) -> None:
        self._killed = (outcome, reason)
        self.kill()

    def _too_long(self) -> str:
        return f"still at {self.stage} after {self._seconds:g} s"

    def _output(self, most: int = TAIL) -> str:
        try:
            with open(self._folder / "output", "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - most))
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def _raised(self, last: Raised, seconds: float, output: str) -> Ending:
        refusal: HarnessError | Unavailable | None = None
        if last.kind == Unavailable.__name__:
            refusal = Unavailable(last.reason, last.fix)
        elif last.is_refusal:
            refusal = HarnessError(last.message)
        if last.kind == SystemExit.__name__:
            outcome, reason = Outcome.CRASH, f"sys.exit({last.message}) was called"
        else:
            memory = fingerprints.is_out_of_memory(last.kind, last.message)
            outcome = Outcome.OOM if memory else Outcome.CRASH
            said = fingerprints.telling_line(last.message)
            reason = f"{last.kind}: {said}" if said else last.kind
        return Ending(
            outcome,
            self.stage,
            seconds,
            reason=reason,
            cause=last.cause,
            error=f"{last.error}\n{_printed(output)}".strip(),
            cpu_seconds=last.usage.cpu_seconds,
            peak_rss_mb=last.usage.peak_rss_mb,
            refusal=refusal,
        )

    def _abnormal(self, outcome: Outcome, reason: str, seconds: float, output: str) -> Ending:
        frames = fingerprints.faulthandler_frames(output)
        where = fingerprints.place(frames)
        brief = re.sub(r" (?:after|within) [\d.]+ s$", "", reason)
        return Ending(
            outcome,
            self.stage,
            seconds,
            reason=f"{reason}, in {where}" if where else reason,
            cause=fingerprints.fingerprint(outcome, brief, frames),
            error=_printed(output),
            peak_rss_mb=self._peak / MB if self._peak else None,
        )


def _printed(output: str) -> str:
    return f"--- its output ends with ---\n{output.strip()}" if output.strip() else ""


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        about = {
            "SIGSEGV": " (segmentation fault)",
            "SIGABRT": " (abort)",
            "SIGFPE": " (arithmetic exception in native code)",
            "SIGBUS": " (bus error)",
            "SIGILL": " (illegal instruction)",
            "SIGKILL": " from outside (by hand, or by the kernel when memory ran out)",
        }.get(name, "")
        return f"killed by {name}{about}"
    if code == 255:
        return "the process ended with exit code 255, or its fork server was killed"
    return f"the process left with exit code {code} before its result was complete"
