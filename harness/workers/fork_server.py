"""Fork server: the process that imports heavy modules once and forks the children.

`multiprocessing` has one fork server a process. It is started with the first settings that ask
for it, and keeps them. Where forking is impossible, children are spawned.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

from harness.workers import orphans, run_folder
from harness.workers.settings import PRELOAD_VARIABLE, WorkerSettings

#: The module that the fork server imports; importing it here would import all that children need.
PRELOAD = "harness.workers.preload"

#: Errors of a start that mean that the fork server is gone, or its socket.
GONE = (EOFError, ConnectionError, FileNotFoundError)

#: Bytes of the longest folder for a socket: a name of its own follows, and macOS takes 103 bytes.
#: In a longer one, `multiprocessing` makes a folder of its own, with a shorter name.
LONGEST_FOLDER = 83

#: Held while the fork server is ended.
_ending = threading.RLock()

#: The environment that the fork server of this process was started with.
_server_environment: dict[str, str] | None = None


def context(settings: WorkerSettings) -> Any:
    """The `multiprocessing` context that starts children as the settings say."""
    method = "spawn" if sys.platform == "win32" else settings.start_method
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([PRELOAD])
    return context


def start_server(settings: WorkerSettings) -> None:
    """Let the fork server begin to import, while the caller does something else."""
    if context(settings).get_start_method() == "forkserver":
        with starting(settings):
            multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def starting(settings: WorkerSettings) -> Iterator[None]:
    """The surroundings in which the fork server and children are started.

    `os.environ` holds the settings' environment, and `__main__` hides its file: `multiprocessing`
    would import the parent's main script in every child, pytest for example.

    Raises:
        HarnessError: there is no room for temporary files.
        RuntimeError: the fork server of this process was started with other modules to import.
    """
    global _server_environment
    folder = run_folder.run_folder()
    environment = {**settings.environment(), orphans.MARK_VARIABLE: folder.name}
    if settings.start_method == "forkserver" and sys.platform != "win32":
        if _server_environment is None:
            _server_environment = environment
        elif environment[PRELOAD_VARIABLE] != _server_environment[PRELOAD_VARIABLE]:
            raise RuntimeError(
                "a process has one fork server, and this one was started with "
                f"{_server_environment[PRELOAD_VARIABLE]}, not with {environment[PRELOAD_VARIABLE]}"
            )
    orphans.adopt_orphans()
    _prepare_multiprocessing(str(folder))
    before = {name: os.environ.get(name) for name in environment}
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__",) if name in main.__dict__}
    spec, main.__spec__ = main.__spec__, None
    os.environ.update(environment)
    try:
        with _sigint_blocked():
            yield
    finally:
        main.__spec__ = spec
        main.__dict__.update(hidden)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def end_server() -> None:
    """Kill the fork server of this process, with all that it has started. Safe to call twice."""
    global _server_environment
    server: Any = multiprocessing.forkserver._forkserver
    with _ending:
        pid = server._forkserver_pid
        if pid is None:
            return
        orphans.end_descendants(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):  # its socket is gone, perhaps
            server._stop()
        _server_environment = None


def end_session() -> None:
    """End every process that was started here, and remove the run folder. Safe to call twice."""
    folder = run_folder.existing()
    if folder is None:
        return
    if sys.platform != "win32":
        end_server()
    orphans.end_marked(folder.name)
    run_folder.remove()


def _prepare_multiprocessing(folder: str) -> None:
    """Have `multiprocessing` keep its sockets in a folder, and start its tracker.

    The tracker has nothing to do with the session: it would let a blocked Ctrl-C through again, and
    ends by itself.
    """
    process: Any = multiprocessing.process.current_process()
    short = len(os.fsencode(folder)) <= LONGEST_FOLDER
    process._config["tempdir"] = folder if short else None
    if sys.platform != "win32":
        resource_tracker.ensure_running()


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Signal mask without Ctrl-C, which reaches a whole process group; processes inherit the mask.

    A child unblocks the signal once it has a group of its own. Before, it would end as if it
    crashed.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
