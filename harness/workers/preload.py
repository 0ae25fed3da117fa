"""Imported once by the fork server, so that every child has the heavy modules already.

The modules come from the environment variable `HARNESS_PRELOAD`, a JSON list of names;
`module:argument` calls the module's `preload(argument)`. One that does not import is passed over
here: the child that needs it imports it again, and its error is that child's.
"""

from __future__ import annotations

import gc
import importlib
import json
import os

from harness.workers.child import PRELOAD_VARIABLE

#: Objects of each generation before it is collected. A child makes some hundred thousand that live
#: as long as it does, above all while a model is exported, and looks through them again and again.
THRESHOLDS = (100_000, 50, 1000)

#: What every child of a fork server would otherwise import on its way to its first line.
CHILDS_OWN = ("multiprocessing.popen_forkserver", "encodings.ascii")


def preload() -> list[str]:
    """Import the modules that the environment names; returns those that did not import.

    What they left in memory is exempted from garbage collection, so that a child's collector
    does not touch, and thereby copy, pages that it shares with the server.
    """
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


preload()
