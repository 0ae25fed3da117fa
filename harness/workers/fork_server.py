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
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

from harness.workers.settings import PRELOAD_VARIABLE, WorkerSettings

#: The module that the fork server imports; importing it here would import all that children need.
PRELOAD = "harness.workers.preload"

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
        RuntimeError: the fork server of this process was started with other modules to import.
    """
    global _server_environment
    environment = settings.environment()
    if settings.start_method == "forkserver" and sys.platform != "win32":
        if _server_environment is None:
            _server_environment = environment
        elif environment[PRELOAD_VARIABLE] != _server_environment[PRELOAD_VARIABLE]:
            raise RuntimeError(
                "a process has one fork server, and this one was started with "
                f"{_server_environment[PRELOAD_VARIABLE]}, not with {environment[PRELOAD_VARIABLE]}"
            )
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


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Signal mask without Ctrl-C, which reaches a whole process group; processes inherit the mask.

    A child unblocks the signal once it has a group of its own. Before, it would end as if it
    crashed.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # which would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
