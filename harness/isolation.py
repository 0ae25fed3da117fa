"""One process per task: whatever happens in it costs that task alone.

Children are forked from a server that has imported the heavy modules once (`multiprocessing`'s
fork server), or spawned where forking is impossible. A dispatcher thread keeps some of them
running at once and turns every way a child can end into an `Ending`.

A limit is held twice: by the child itself, with the kernel's help (`harness.child`), so that a
huge allocation is a clean MemoryError and a hang ends with the place where it hung; and by the
dispatcher, which watches clock and memory and kills.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil

from harness import causes, child
from harness.child import MB, Entering, Limits, Raised, Ready, Returned
from harness.contract import CellResult, HarnessError, Metric, Outcome, Stage, Unavailable
from harness.inbox import Inbox
from harness.job import Job, Probe, ProbeRequest
from harness.processes import Settings, context, starting

T = TypeVar("T")

#: A process, our end of its pipe, its own ends of all pipes, and its folder.
_Made = tuple[BaseProcess, Connection, Sequence[Connection], Path]

#: What runs a cell, and what asks a backend for its device.
RUN_CELL = "harness.cell:run"
PROBE = "harness.registry:probe"

#: Seconds until a new process must have reported: its server may be importing torch.
STARTUP = 300.0
#: Seconds that a child's own timer is given to end it, with its stack, before the parent does.
GRACE = 1.0
#: Seconds between two looks at the memory of the children, and at what they have started.
WATCH = 0.1
WATCH_DESCENDANTS = 1.0
#: Bytes of a child's output that are kept, and the size at which its file is emptied.
TAIL = 8_000
#: Bytes at the end in which faulthandler's stacks of every thread have room.
STACKS = 2 * MB
LARGEST_OUTPUT = 64 * MB

#: Modules that a message names: a fork server imports those of every architecture.
SHOWN = 6

#: What faulthandler prints before it ends a process whose time is over.
_TIMER = re.compile(r"^Timeout \(\d+:\d\d:\d\d", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Task:
    """One call of `target` (`module:function`) with `argument`, in a process of its own."""

    target: str
    argument: Any
    label: str
    patience: float = 1.0  # it may take so many times the limit on time

    def on(self, unit: str) -> Task:
        """The same on one of several devices; its argument then has a method `on` too."""
        return replace(self, argument=self.argument.on(unit)) if unit else self


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended.

    `outcome` is None where the target returned, and `value` is what it returned. Otherwise
    `outcome` is `crash`, `timeout` or `oom`, at `stage`, with the reason in one line.
    """

    outcome: Outcome | None
    stage: Stage
    seconds: float
    value: Any = None
    reason: str = ""
    cause: str = ""
    error: str = ""  # traceback, and the end of what the child printed
    cpu_seconds: float | None = None
    peak_rss_mb: float | None = None
    refusal: HarnessError | Unavailable | None = None
    before: str = ""  # why it failed in a shared worker, where it was then run again alone


@dataclass(frozen=True, slots=True)
class Standing:
    """A child that is running: what, at which stage, for how many seconds."""

    label: str
    stage: Stage
    seconds: float


class Pool(Generic[T]):
    """Runs tasks in children, some at once, in the order given.

    Args:
        finish: turns a task and its ending into the future's value; called in one thread, one
            task after the other, as soon as a child has ended. What it raises stops the pool.
        settings: how many children, their limits, and how they are made.
    """

    def __init__(self, finish: Callable[[Task, Ending], T], settings: Settings) -> None:
        self.error: BaseException | None = None  # what `finish` raised
        self._finish = finish
        self._settings = settings
        self._context: Any = context(settings)
        self._waiting: deque[tuple[Task, Future[T]]] = deque()
        self._running: list[Running[T]] = []
        self._stopping = False
        self._wake_read, self._wake_write = multiprocessing.Pipe(duplex=False)
        self._folder = Path(tempfile.mkdtemp(prefix="harness-"))
        self._count = 0
        self._next_look = 0.0
        self._next_deep_look = 0.0
        self._finisher = ThreadPoolExecutor(1, thread_name_prefix="harness-finish")
        self._dispatcher = threading.Thread(
            target=self._dispatch, name="harness-dispatch", daemon=True
        )

    def start(self, tasks: Sequence[Task]) -> list[Future[T]]:
        """Begin, and return one future a task. Call it once.

        A future raises what `finish` raised, or `CancelledError` where its task was not run.
        """
        pairs = [(task, Future[T]()) for task in tasks]
        self._waiting.extend(pairs)
        self._dispatcher.start()
        return [future for _, future in pairs]

    def running(self) -> list[Standing]:
        """What is running now, the longest first."""
        now = time.monotonic()
        return [Standing(c.task.label, c.stage, now - c.started) for c in tuple(self._running)]

    def close(self) -> None:
        """Start nothing more, kill what runs, finish what has ended. Safe to call twice."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake_write.send_bytes(b"stop")
        if self._dispatcher.is_alive():
            # It may be waiting for a server that is importing; it is a daemon.
            self._dispatcher.join(timeout=5.0)
        if not self._dispatcher.is_alive():
            self._wake_read.close()
            self._wake_write.close()
        self._finisher.shutdown(wait=True)
        self._abandon()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Pool[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _dispatch(self) -> None:
        try:
            while not self._stopping and self._unfinished():
                self._start_waiting()
                self._look_after()
        except BaseException as error:  # a fault of ours: nobody may wait for ever
            self.error = error
        finally:
            for running in self._running:
                running.kill()
            for running in self._running:
                running.process.join(GRACE)
                running.future.cancel()
                running.leave()
            self._running.clear()
            self._abandon()

    def _abandon(self) -> None:
        """Nobody need wait for what was not started."""
        for _, future in self._waiting:
            future.cancel()

    def _unfinished(self) -> bool:
        return bool(self._waiting or self._running)

    def _start_waiting(self) -> None:
        """Start as many of the waiting tasks as may run now."""
        while self._waiting and len(self._running) < self._settings.workers:
            if self._stopping:
                break
            task, future = self._waiting.popleft()
            self._start(Running(task, future, *self._process_for(task), self._settings.limits))

    def _process_for(self, task: Task) -> _Made:
        """A process for one task, not yet started."""
        folder, limits = self._new_folder(), self._settings.limits.with_patience(task.patience)
        parents_end, childs_end = self._context.Pipe(duplex=True)
        process: BaseProcess = self._context.Process(
            target=child.main,
            args=(childs_end, task.target, task.argument, limits, folder),
            name=task.label,
        )
        return process, parents_end, (childs_end,), folder

    def _new_folder(self) -> Path:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder

    def _start(self, running: Running[T]) -> None:
        """Start its process; one that cannot be is a crash of its task."""
        try:
            with starting(self._settings):
                running.process.start()
        except Exception as error:
            reason = f"its process could not be started: {type(error).__name__}: {error}"
            running.unstarted = Ending(Outcome.CRASH, Stage.BUILD, 0.0, reason=reason)
            self._ended(running)
        else:
            self._running.append(running)
        finally:
            for connection in running.childs_ends:
                connection.close()

    def _look_after(self) -> None:
        """Wait until something happens, or until it is time to look, and deal with it."""
        now = time.monotonic()
        pause = min([WATCH, *(max(0.0, c.deadline - now) for c in self._running)])
        watched: list[Any] = [self._wake_read]
        for running in self._running:
            watched.append(running.process.sentinel)
            if not running.inbox.ended:
                watched.append(running.inbox.connection)
        ready = set(wait(watched, pause))
        for running in list(self._running):
            ended = running.process.sentinel in ready
            if ended or running.inbox.connection in ready:
                running.read()
            if ended:
                self._running.remove(running)
                self._ended(running)
            else:
                self._heard(running)
        now = time.monotonic()
        for running in self._running:
            if now > running.deadline:
                running.overdue()
        if now >= self._next_look:
            self._next_look = now + WATCH
            deep = now >= self._next_deep_look
            if deep:
                self._next_deep_look = now + WATCH_DESCENDANTS
            for running in self._running:
                running.watch(deep)

    def _heard(self, running: Running[T]) -> None:
        """A child that goes on has perhaps said something."""

    def _ended(self, running: Running[T]) -> None:
        """A child's process is gone."""
        ending = running.end()
        running.leave()
        self._conclude(running.task, running.future, ending)

    def _conclude(self, task: Task, future: Future[T], ending: Ending) -> None:
        self._finisher.submit(self._call_finish, task, future, ending)

    def _call_finish(self, task: Task, future: Future[T], ending: Ending) -> None:
        if self.error is not None:
            future.cancel()
            return
        try:
            value = self._finish(task, ending)
        except BaseException as error:
            self.error = error
            self._stopping = True
            future.set_exception(error)
        else:
            future.set_result(value)


def run_one(task: Task, settings: Settings) -> Ending:
    """Run one task in a child of its own and wait for its end."""
    with Pool(lambda _, ending: ending, settings) as pool:
        future = pool.start([task])[0]
        while True:
            # Without a timeout, Windows would not let Ctrl-C through.
            with contextlib.suppress(TimeoutError):
                return future.result(timeout=0.5)


def probe(request: ProbeRequest, settings: Settings) -> Probe:
    """The device and the precisions of a backend, asked in a child.

    Raises:
        Unavailable: the device is missing.
        HarnessError: the backend's packages are missing, or its code fails or crashes.
    """
    ending = run_one(Task(PROBE, request, f"probe of {request.backend}"), settings)
    if isinstance(ending.value, Probe):
        return ending.value
    if ending.refusal is not None:
        raise ending.refusal
    modules = ", ".join(settings.preload[:SHOWN])
    more = len(settings.preload) - SHOWN
    modules += f" and {more} more" if more > 0 else ""
    imported = f" (the fork server imports {modules})" if modules else ""
    raise HarnessError(
        f"expected backend {request.backend} to say which device it has, found that its process "
        f"ended with {ending.outcome}: {ending.reason}{imported}. Fix: its backend.py, or what it "
        f"imports\n{ending.error}".rstrip()
    )


def result_of(job: Job, ending: Ending) -> CellResult:
    """What a cell came to: its own result where it has one, else what its end says."""
    cell = job.cell
    outcome = ending.outcome
    reason, cause, error = ending.reason, ending.cause, ending.error
    result = ending.value
    if not isinstance(result, CellResult):
        if outcome is None:
            outcome = Outcome.CRASH
            reason = f"result unreadable: expected a CellResult, found {type(result).__name__}"
            cause = causes.fingerprint(outcome, reason, [])
        result = CellResult(
            entry=cell.entry.name,
            family=cell.entry.family,
            architecture=cell.entry.architecture,
            head=cell.head,
            precision=cell.precision,
            stage=ending.stage,
            outcome=outcome,
            reason=reason,
            cause=cause,
            error=error,
        )
    elif result.outcome is not Outcome.PASS and ending.error:
        result.error = f"{result.error.rstrip()}\n\n{ending.error}".lstrip()
    result.seconds = result.seconds or ending.seconds
    if result.peak_rss_mb is None:
        result.peak_rss_mb = ending.peak_rss_mb
    if ending.cpu_seconds is not None:
        result.metrics.append(Metric("cpu", ending.cpu_seconds, "s"))
    if ending.before:
        result.metrics.append(Metric("reruns", 1, "1"))
        note = f"--- before, in a worker shared with other cells ---\n{ending.before}"
        result.error = f"{result.error.rstrip()}\n\n{note}".lstrip()
    return result


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
            memory = causes.is_out_of_memory(last.kind, last.message)
            outcome = Outcome.OOM if memory else Outcome.CRASH
            said = causes.telling_line(last.message)
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
        frames = causes.faulthandler_frames(output)
        where = causes.place(frames)
        brief = re.sub(r" (?:after|within) [\d.]+ s$", "", reason)
        return Ending(
            outcome,
            self.stage,
            seconds,
            reason=f"{reason}, in {where}" if where else reason,
            cause=causes.fingerprint(outcome, brief, frames),
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
