"""Preloading in the fork server: heavy modules are imported once, and every child has them.

The modules come from the environment variable `HARNESS_PRELOAD`, a JSON list of names;
`module:argument` calls the module's `preload(argument)`. A module that does not import is passed
over here: the child that needs the module imports it again, and the error is that child's.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import BinaryIO

from harness.toolkit import printable
from harness.workers.orphans import MARK_VARIABLE, adopt_orphans, end_descendants
from harness.workers.settings import PRELOAD_VARIABLE

#: Thresholds of the garbage collector, for `gc.set_threshold`: objects of each generation before
#: a collection. Exporting a model makes some hundred thousand objects that live as long as the
#: child, and Python's own thresholds would have the collector traverse them again and again.
THRESHOLDS = (100_000, 50, 1000)

#: Modules that every child of a fork server needs, whichever its task.
CHILDS_OWN = ("harness.workers.child", "multiprocessing.popen_forkserver", "encodings.ascii")


def preload() -> list[str]:
    """Import the modules that the environment names; returns those that did not import.

    Objects that the imports left in memory are exempted from garbage collection, so that a child's
    collector does not touch, and thereby copy, pages that the child shares with the server.
    """
    if MARK_VARIABLE in os.environ:
        adopt_orphans()
        # An adopted process has ended.
        warnings.filterwarnings("ignore", "forkserver: waitpid returned unexpected pid")
        atexit.register(_end_with_descendants, os.getpid())
    failed = []
    with _prints_escaped():
        for name in (*CHILDS_OWN, *json.loads(os.environ.get(PRELOAD_VARIABLE, "[]"))):
            module, _, argument = name.partition(":")
            try:
                imported = importlib.import_module(module)
                if argument:
                    imported.preload(argument)
            except (Exception, SystemExit):
                failed.append(name)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    return failed


def _file_without_name() -> BinaryIO | None:
    """A file in memory, or on disk where the system has none in memory; None: there is no room."""
    try:
        if sys.platform == "linux":
            return os.fdopen(os.memfd_create("harness-printed"), "w+b")
        return tempfile.TemporaryFile()
    except OSError:
        return None


@contextlib.contextmanager
def _prints_escaped() -> Iterator[None]:
    """Hold back what is printed, by C code too, and print it escaped at the end.

    The fork server has its parent's standard output: an SDK that prints as it is imported would
    speak to the terminal, and to a CI's runner.
    """
    held = _file_without_name()
    if held is None:
        yield
        return
    kept = {number: os.dup(number) for number in (1, 2)}
    with held:
        try:
            for number in kept:
                os.dup2(held.fileno(), number)
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
            held.seek(0)
            printed = held.read().decode("utf-8", "replace")
            if printed:
                os.write(2, printable.block(printable.kept(printed)).encode())


def _end_with_descendants(server: int) -> None:
    """End what the fork server has started, as the server ends because its parent has."""
    if os.getpid() == server:
        end_descendants(server)


preload()
