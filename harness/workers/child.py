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
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from harness.contract import HarnessError, Stage, Unavailable
from harness.toolkit import fingerprints
from harness.workers.limits import (
    Limits,
    hold_memory,
    hold_time,
    no_core_dump,
    peak_rss_mb,
    reset_peak,
)
from harness.workers.messages import Entering, Message, Raised, Ready, Request, Returned, Usage

#: In a child, the file descriptor of its pipe to the parent: a fault injector that writes
#: rubbish to it does what a library does that writes into the wrong descriptor.
PIPE_VARIABLE = "HARNESS_RESULT_FD"

#: Names the modules that the fork server imports (`harness.workers.preload`), as a JSON list.
PRELOAD_VARIABLE = "HARNESS_PRELOAD"


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
    hold_time(limits)
    hold_memory(limits)
    _send(connection, Ready(leads_group))
    _send_bytes(connection, _answer(connection, target, argument, peak_rss_mb))
    os._exit(0)


def serve(connection: Connection, requests: Connection, limits: Limits, folder: Path) -> None:
    """Do one task after the other until the parent asks for no more, each within the limits.

    For devices whose context is dear. What a task leaves behind in this process, the next one
    finds: the parent runs every failure again alone (`harness.workers.shared_pool`).

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
        hold_time(limits.with_patience(request.patience))
        hold_memory(limits)
        resettable = reset_peak()
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
    no_core_dump()
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
        cause=fingerprints.of(error),
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


def _unknown() -> None:
    """A peak that the system does not keep by task."""


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
