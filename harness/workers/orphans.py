"""Orphans: processes that outlive the child that started them, such as a daemon.

Two things find them. A session's processes carry its mark, the name of its run folder, in their
environment. And on Linux the fork server and the parent are subreapers: an orphan becomes their
child, and not that of the system's first process, even where it has dropped its environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

#: Environment variable with the mark of a session.
MARK_VARIABLE = "HARNESS_RUN"

#: Seconds that killed processes are given to be gone, in which they may start others.
PATIENCE = 2.0

#: Of prctl(2): orphans among the descendants become children of this process.
_PR_SET_CHILD_SUBREAPER = 36

#: Of prctl(2): the signal that this process gets when its parent ends.
_PR_SET_PDEATHSIG = 1


def adopt_orphans() -> None:
    """Make this process a subreaper, on Linux."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """Let the kernel kill this process when the thread that forked it ends, on Linux."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if sys.platform != "win32" else 0)


def end_descendants(pid: int) -> None:
    """Kill everything that a process has started, and what that has started; not the process."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        _end(lambda: process.children(recursive=True))


def end_marked(mark: str) -> None:
    """Kill every process of a session, found by its mark; this process never is."""
    _end(lambda: _marked(mark))


def _end(find: Callable[[], Iterable[psutil.Process]]) -> None:
    """Kill processes until no more are found, for `PATIENCE` seconds at most."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = [p for p in find() if _is_alive(p)]
        if not found:
            return
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.01)


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK_VARIABLE) == mark:
                yield process


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
