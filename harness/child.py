"""The child's side of the isolation: one process that does one thing and leaves.

It tells its parent over a pipe what it is about to do, then what came of it, and ends with
`os._exit`, so that nothing that a library does on the way out can change the result.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from harness import causes
from harness.contract import HarnessError, Stage, Unavailable

if sys.platform != "win32":
    import resource

#: Bytes in a megabyte, here and wherever a size has the unit MB.
MB = 1_000_000

#: In a child, the file descriptor of its pipe to the parent: a fault injector that writes
#: rubbish to it does what a library does that writes into the wrong descriptor.
PIPE_VARIABLE = "HARNESS_RESULT_FD"

#: Names the modules that the fork server imports (`harness.preload`), as a JSON list.
PRELOAD_VARIABLE = "HARNESS_PRELOAD"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use: seconds of wall time, and MB beyond what it is born with."""

    seconds: float = 120.0
    memory_mb: int = 4096

    def with_patience(self, patience: float) -> Limits:
        """The same, with so many times the seconds."""
        return replace(self, seconds=self.seconds * patience)


@dataclass(frozen=True, slots=True)
class Request:
    """What a process that serves many tasks is to do next; see `serve`."""

    target: str
    argument: Any
    patience: float


@dataclass(frozen=True, slots=True)
class Ready:
    """First message: the process is set up, and its time begins."""

    leads_group: bool


@dataclass(frozen=True, slots=True)
class Entering:
    """The stage that the child enters next."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Usage:
    """What the child used: seconds of CPU, and its peak resident memory."""

    cpu_seconds: float
    peak_rss_mb: float | None


@dataclass(frozen=True, slots=True)
class Returned:
    """Last message: what the target returned."""

    value: Any
    usage: Usage


@dataclass(frozen=True, slots=True)
class Raised:
    """Last message: what escaped from the target."""

    kind: str  # the exception's class name
    message: str
    error: str  # the whole traceback
    cause: str
    usage: Usage
    fix: str = ""  # of an Unavailable
    reason: str = ""  # of an Unavailable
    is_refusal: bool = False  # a HarnessError: what it says is for the user, as it stands


Message = Ready | Entering | Returned | Raised


def main(connection: Connection, target: str, argument: Any, limits: Limits, folder: Path) -> None:
    """Set the process up, call `target` (`module:function`) with `argument`, report, and leave.

    Args:
        connection: the pipe to the parent; its end of file means that the parent is gone.
        target: called as `function(argument, report)`, where `report(stage)` tells the parent
            which stage comes next.
        argument: any picklable value.
        limits: of this process.
        folder: this child's own folder for its output and temporary files.
    """
    leads_group = _set_up(connection, folder)
    _hold_time(limits)
    _hold_memory(limits)
    _send(connection, Ready(leads_group))
    _send_bytes(connection, _answer(connection, target, argument, peak_rss_mb))
    os._exit(0)


def serve(connection: Connection, requests: Connection, limits: Limits, folder: Path) -> None:
    """Do one task after the other until the parent asks for no more, each within the limits.

    For devices whose context is dear. What a task leaves behind in this process, the next one
    finds: the parent runs every failure again in a process of its own (`harness.shared`).

    Args:
        connection: the pipe to the parent, for messages only.
        requests: where the parent sends a `Request`; its end of file means that there are no more.
        limits: of each task; memory counts from what the process holds as the task begins.
        folder: of this process; each task gets a folder for temporary files in it.
    """
    leads_group = _set_up(connection, folder)
    _send(connection, Ready(leads_group))
    while True:
        try:
            request: Request = requests.recv()
        except (EOFError, OSError):
            os._exit(0)
        with contextlib.suppress(OSError):
            os.ftruncate(1, 0)  # what the tasks before have printed is not this one's
        _hold_time(limits.with_patience(request.patience))
        _hold_memory(limits)
        resettable = _reset_peak()
        own = Path(tempfile.mkdtemp(dir=folder))
        _own_temporary_folder(own)
        peak = peak_rss_mb if resettable else _unknown
        payload = _answer(connection, request.target, request.argument, peak)
        shutil.rmtree(own, ignore_errors=True)
        gc.collect()
        _send_bytes(connection, payload)


def _set_up(connection: Connection, folder: Path) -> bool:
    """What every child does first; returns whether it leads a process group."""
    leads_group = _lead_group()
    _redirect_output(folder)
    _own_temporary_folder(folder)
    _no_core_dump()
    # What runs here is to find Python's own default, not the way in which this process was made.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_leave_with_parent, args=(connection,), daemon=True).start()
    os.environ[PIPE_VARIABLE] = str(connection.fileno())
    return leads_group


def _answer(
    connection: Connection, target: str, argument: Any, peak: Callable[[], float | None]
) -> bytes:
    """Run one target, its stages told to the parent; the last message, pickled."""

    def report(stage: Stage) -> None:
        _send(connection, Entering(Stage(stage)))

    started = time.process_time()
    outcome = _call(target, argument, report)
    usage = Usage(time.process_time() - started, peak())
    faulthandler.cancel_dump_traceback_later()
    try:
        payload = pickle.dumps(replace(outcome, usage=usage))
    except Exception as error:
        outcome = _raised(error)
        payload = pickle.dumps(replace(outcome, usage=usage))
    _flush()
    return payload


def peak_rss_mb() -> float | None:
    """This process's own peak resident memory in MB, or None where the system does not say.

    On Linux it is the high-water mark of this process's memory map: `ru_maxrss` would carry over
    the peak of the parent that forked and executed it.
    """
    if sys.platform == "linux":
        kilobytes = _proc_status("VmHWM")
        return None if kilobytes is None else kilobytes * 1024 / MB
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / MB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MB if sys.platform == "darwin" else peak * 1024 / MB


def _call(target: str, argument: Any, report: Any) -> Returned | Raised:
    nothing = Usage(0.0, None)
    try:
        module, _, function = target.partition(":")
        value = getattr(importlib.import_module(module), function)(argument, report)
        return Returned(value, nothing)
    except BaseException as error:  # SystemExit too: a model that calls sys.exit must not pass
        return _raised(error)


def _raised(error: BaseException) -> Raised:
    return Raised(
        kind=type(error).__name__,
        message=str(error),
        error="".join(traceback.format_exception(error)),
        cause=causes.of(error),
        usage=Usage(0.0, None),
        fix=error.fix if isinstance(error, Unavailable) else "",
        reason=error.reason if isinstance(error, Unavailable) else "",
        is_refusal=isinstance(error, HarnessError),
    )


def _lead_group() -> bool:
    """Lead a process group of its own, so that what it starts ends with it.

    The parent started this process deaf to Ctrl-C. One that came meanwhile was for the parent.
    """
    if sys.platform == "win32":
        return False
    try:
        os.setsid()
        leads = True
    except OSError:
        leads = False
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # drops what waits
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return leads


def _redirect_output(folder: Path) -> None:
    """Send what this process and the C code in it print to `output` in its own folder."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    output = os.open(folder / "output", flags, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = open(  # noqa: SIM115  (lives as long as the process)
            descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    faulthandler.enable(file=2, all_threads=True)


def _own_temporary_folder(folder: Path) -> None:
    """Temporary files go where the parent removes them, however this process ends."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ[name] = str(folder)
    tempfile.tempdir = str(folder)


def _no_core_dump() -> None:
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _hold_time(limits: Limits) -> None:
    """Let a timer in C hold the limit on time too, where the parent can't be in time.

    It prints where every thread stands, then ends the process: also when the interpreter hangs in
    C code, and also when the parent is gone.
    """
    faulthandler.dump_traceback_later(limits.seconds, exit=True, file=2)


def _hold_memory(limits: Limits) -> None:
    """Let the kernel hold the limit on memory too, counted from what the process holds now."""
    if sys.platform == "win32":
        return
    held = _proc_status("VmData")
    if held is None:
        return  # macOS does not hold a process to it; the parent's watch remains
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = held * 1024 + limits.memory_mb * MB
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _reset_peak() -> bool:
    """Let the high-water mark of resident memory begin anew; whether the system can do that."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # see proc(5)
    except OSError:
        return False
    return True


def _unknown() -> None:
    """A peak that the system does not keep by task."""


def _proc_status(key: str) -> int | None:
    """A number from Linux's /proc/self/status, in units of 1024 bytes."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith(f"{key}:"):
                    return int(line.split()[1])
    except OSError:
        return None
    return None


def _leave_with_parent(connection: Connection) -> None:
    """End with everything this process started as soon as the parent is gone.

    The parent sends nothing, so whatever happens at its end of the pipe is its end.
    """
    with contextlib.suppress(OSError, EOFError):
        connection.poll(None)
    _leave()


def _leave() -> NoReturn:
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _send(connection: Connection, message: Message) -> None:
    _send_bytes(connection, pickle.dumps(message))


def _send_bytes(connection: Connection, payload: bytes) -> None:
    try:
        connection.send_bytes(payload)
    except OSError:  # the parent is gone
        _leave()
