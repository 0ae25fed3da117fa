"""Preloading in the fork server: heavy modules are imported once, and every child has them.

The modules come from the environment variable `HARNESS_PRELOAD`, a JSON list of names;
`module:argument` calls the module's `preload(argument)`. A module that does not import is passed
over here: the child that needs the module imports it again, and the error is that child's.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import warnings

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


def _end_with_descendants(server: int) -> None:
    """End what the fork server has started, as the server ends because its parent has."""
    if os.getpid() == server:
        end_descendants(server)


preload()
