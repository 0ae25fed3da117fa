"""Setup of a child process: its process group, its output, its temporary files, its end.

A child ends with its parent, and takes with it everything that it has started.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from harness.workers.ending import CONNECTION_LOST
from harness.workers.limits import no_core_dump
from harness.workers.orphans import end_with_parent

#: Environment variable with the file descriptor of a child's pipe to its parent. A fault injector
#: writes rubbish to that descriptor, as a library does that writes into the wrong one.
PIPE_VARIABLE = "HARNESS_RESULT_FD"


#: The pipe to the parent as it was at first: device and inode, by file descriptor.
_pipes: dict[int, tuple[int, int]] = {}


def set_up_process(connection: Connection, folder: Path) -> bool:
    """Set up this process as a child; returns whether it leads a process group.

    Args:
        connection: the pipe to the parent; its end of file means that the parent is gone.
        folder: this child's own, for its output and temporary files.
    """
    _end_with_server()
    _pipes[connection.fileno()] = _identity(connection)
    leads_group = _lead_group()
    _redirect_output(folder)
    use_temporary_folder(folder)
    no_core_dump()
    # Code that runs here is to find Python's own default, not how this process was started.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    os.environ[PIPE_VARIABLE] = str(connection.fileno())
    return leads_group


def use_temporary_folder(folder: Path) -> None:
    """Put temporary files where the parent removes them, however this process ends."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        os.environ[name] = str(folder)
    tempfile.tempdir = str(folder)


def is_intact(connection: Connection) -> bool:
    """Whether a connection is still the pipe that it was at first.

    A library that closes every file descriptor, as `os.closerange` does, closes this one too, and
    its number may belong to another file by now.
    """
    try:
        return _identity(connection) == _pipes[connection.fileno()]
    except OSError:
        return False


def _identity(connection: Connection) -> tuple[int, int]:
    if sys.platform == "win32":
        return (0, 0)  # handles are no file descriptors: no library closes them by number
    status = os.fstat(connection.fileno())
    return (status.st_dev, status.st_ino)


def end_with_group() -> NoReturn:
    """End this process and everything that it has started, at once."""
    if sys.platform != "win32" and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _end_with_server() -> None:
    """Have the fork server end with the parent, and this process with the fork server.

    `multiprocessing` lets the server wait for the end of every process that has inherited a certain
    pipe. A daemon that this process leaves behind would have it for ever.
    """
    if sys.platform == "win32":
        return
    server: Any = multiprocessing.forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        end_with_parent()
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None


def _lead_group() -> bool:
    """Lead a process group, so that processes started here end with this one.

    The parent started this process with Ctrl-C blocked. A Ctrl-C that came meanwhile was for the
    parent, and is dropped.
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
    """Send standard output and standard error, of C code too, to the file `output` in a folder."""
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


def _end_with_parent(connection: Connection) -> None:
    """Wait for the end of the parent, then end this process and everything that it has started.

    The parent sends nothing through the pipe, so whatever happens at its end is the parent's end.
    """
    with contextlib.suppress(OSError, EOFError):
        connection.poll(None)
    if not is_intact(connection):
        os._exit(CONNECTION_LOST)
    end_with_group()
