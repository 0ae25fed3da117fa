"""How children are made: from a fork server, or spawned, in an environment of their own.

`multiprocessing` has one fork server a process. It is started with the first configuration that
asks for it, and keeps it.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from harness.toolkit.checkout import ROOT
from harness.workers import child
from harness.workers.limits import Limits

#: What the fork server imports; importing it here would import all that the children need.
PRELOAD = "harness.workers.preload"
#: Set in every child unless the user has set it. Nothing is downloaded, and a fork after the
#: tokenizers' thread pool has started needs no warning.
ENVIRONMENT: Mapping[str, str] = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def cores() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Settings:
    """How children are made."""

    workers: int = field(default_factory=cores)
    limits: Limits = field(default_factory=Limits)
    start_method: str = "forkserver"  # forkserver | spawn
    preload: tuple[str, ...] = ()
    shared: bool = False  # whether a child serves many tasks (`harness.workers.shared_pool`)
    units: tuple[str, ...] = ()  # what `--device` takes for each of several devices
    variables: Mapping[str, str] = field(default_factory=dict)  # the backend's own environment
    root: Path = ROOT

    @property
    def threads(self) -> int:
        """Threads that the numerical libraries of one child may use."""
        return max(1, cores() // self.workers)

    def environment(self) -> dict[str, str]:
        """What the environment of server and children has beyond the parent's."""
        threads = dict.fromkeys(THREADS, str(self.threads))
        chosen = {**ENVIRONMENT, **threads, **self.variables}
        mine = {name: value for name, value in chosen.items() if name not in os.environ}
        paths = [str(self.root), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        mine["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        # multiprocessing's tracker removes the semaphores of killed children, and warns of each.
        warnings = [*filter(None, [os.environ.get("PYTHONWARNINGS")]), "ignore:resource_tracker"]
        mine["PYTHONWARNINGS"] = ",".join(warnings)
        mine[child.PRELOAD_VARIABLE] = json.dumps(list(self.preload))
        return mine


#: The environment that the fork server of this process was started with.
_server_environment: dict[str, str] | None = None


def context(settings: Settings) -> Any:
    """The `multiprocessing` context that makes children as the settings say."""
    method = "spawn" if sys.platform == "win32" else settings.start_method
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([PRELOAD])
    return context


def start_server(settings: Settings) -> None:
    """Let the fork server begin to import, while the caller does something else."""
    if context(settings).get_start_method() == "forkserver":
        with starting(settings):
            multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def starting(settings: Settings) -> Iterator[None]:
    """The environment of server and children; and nothing of `__main__`, which they don't need.

    `multiprocessing` would import the parent's main script in every child: pytest, say.
    """
    global _server_environment
    environment = settings.environment()
    if settings.start_method == "forkserver" and sys.platform != "win32":
        if _server_environment is None:
            _server_environment = environment
        elif environment[child.PRELOAD_VARIABLE] != _server_environment[child.PRELOAD_VARIABLE]:
            raise RuntimeError(
                "a process has one fork server, and this one was started with "
                f"{_server_environment[child.PRELOAD_VARIABLE]}, not with "
                f"{environment[child.PRELOAD_VARIABLE]}"
            )
    before = {name: os.environ.get(name) for name in environment}
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__",) if name in main.__dict__}
    spec, main.__spec__ = main.__spec__, None
    os.environ.update(environment)
    try:
        with _uninterrupted():
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
def _uninterrupted() -> Iterator[None]:
    """What is started in here is born deaf to Ctrl-C, which reaches a whole process group.

    A child listens again once it has a group of its own. Before, it would end as if it crashed.
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
