"""Child process: runs one task and leaves, or serves many tasks as a shared worker.

The child tells its parent over a pipe which stage it enters, then how the task ended, and leaves
with `os._exit`, so that nothing that a library does on the way out can change the result.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.contract import CellFailure, HarnessError, Stage, Unavailable
from harness.toolkit import fingerprints, printable
from harness.toolkit.process_memory import peak_rss_mb, reset_peak
from harness.workers import frames
from harness.workers.child_setup import (
    end_with_group,
    is_intact,
    set_up_process,
    use_temporary_folder,
)
from harness.workers.ending import CONNECTION_LOST, NO_FOLDER
from harness.workers.limits import Limits, hold_memory, hold_time
from harness.workers.messages import Entering, Message, Raised, Ready, Request, Returned, Usage


def main(connection: Connection, target: str, argument: Any, limits: Limits, folder: Path) -> None:
    """Set the process up, call `target` (`module:function`) with `argument`, report, and leave.

    Args:
        connection: the pipe to the parent; its end of file means that the parent is gone.
        target: called as `function(argument, report)`, where `report(stage, failures)` tells the
            parent which stage comes next, and the failures of the cell so far.
        argument: any picklable value.
        limits: of this process.
        folder: this child's own, for its output and temporary files.
    """
    leads_group = _set_up(connection, folder)
    hold_time(limits)
    hold_memory(limits)
    _send(connection, Ready(leads_group))
    _send_bytes(connection, _last_message(connection, target, argument, peak_rss_mb))
    os._exit(0)


def serve(connection: Connection, requests: Connection, limits: Limits, folder: Path) -> None:
    """Run one task after the other until the parent asks for no more, each within the limits.

    For devices whose context is dear, such as a GPU's. A task finds in this process whatever the
    tasks before it left behind: the parent runs every failure again alone
    (`harness.workers.shared_pool`).

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
            os._exit(0 if is_intact(connection) else CONNECTION_LOST)
        with contextlib.suppress(OSError):
            os.ftruncate(1, 0)  # the output of the tasks before
        hold_time(limits.with_patience(request.patience))
        hold_memory(limits)
        resettable = reset_peak()
        own = Path(tempfile.mkdtemp(dir=folder))
        use_temporary_folder(own)
        peak = peak_rss_mb if resettable else _unknown_peak
        payload = _last_message(connection, request.target, request.argument, peak)
        _remove(own)
        gc.collect()
        _send_bytes(connection, payload)


def _remove(folder: Path) -> None:
    """Remove a folder, which is nearly always empty."""
    try:
        folder.rmdir()
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def _set_up(connection: Connection, folder: Path) -> bool:
    try:
        return set_up_process(connection, folder)
    except FileNotFoundError:
        os._exit(NO_FOLDER)


def _last_message(
    connection: Connection, target: str, argument: Any, peak: Callable[[], float | None]
) -> bytes:
    """Run one target, its stages told to the parent; the frame of the last message."""

    def report(stage: Stage, failures: Sequence[CellFailure] = ()) -> None:
        _send(connection, Entering(Stage(stage), tuple(failures)))

    started = time.process_time()
    message = _call(target, argument, report)
    usage = Usage(time.process_time() - started, peak())
    faulthandler.cancel_dump_traceback_later()
    try:
        payload = frames.encode(replace(message, usage=usage))
    except Exception as error:
        payload = frames.encode(replace(_raised(error), usage=usage))
    _flush()
    return payload


def _call(target: str, argument: Any, report: Callable[..., None]) -> Returned | Raised:
    try:
        module, _, function = target.partition(":")
        value = getattr(importlib.import_module(module), function)(argument, report)
        return Returned(value, Usage(0.0, None))
    except BaseException as error:  # SystemExit too: a model that calls sys.exit must not pass
        return _raised(error)


def _raised(error: BaseException) -> Raised:
    return Raised(
        kind=type(error).__name__,
        message=printable.kept(fingerprints.text_of(error)),
        error=printable.kept("".join(traceback.format_exception(error))),
        cause=str(fingerprints.of(error)),
        usage=Usage(0.0, None),
        fix=str(error.fix) if isinstance(error, Unavailable) else "",
        reason=str(error.reason) if isinstance(error, Unavailable) else "",
        is_refusal=isinstance(error, HarnessError),
    )


def _unknown_peak() -> None:
    """Peak memory of one task, where the system keeps only that of the whole process."""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _send(connection: Connection, message: Message) -> None:
    _send_bytes(connection, frames.encode(message))


def _send_bytes(connection: Connection, payload: bytes) -> None:
    if not is_intact(connection):
        os._exit(CONNECTION_LOST)
    try:
        connection.send_bytes(payload)
    except OSError:  # the parent is gone
        end_with_group()
