"""Settings of a pool: how many children, their limits, and the environment that they start in."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.toolkit.checkout import INSTALLED, ROOT
from harness.workers.limits import Limits

#: Environment variable with the modules that the fork server imports, as a JSON list
#: (`harness.workers.preload`).
PRELOAD_VARIABLE = "HARNESS_PRELOAD"

#: Set in every child unless the user has set it. Nothing is downloaded, and a fork after the
#: tokenizers' thread pool has started needs no warning.
ENVIRONMENT: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "THP_MEM_ALLOC_ENABLE": "1",  # PyTorch asks for pages of 2 MB: large tensors are made faster
}

#: Set where a child has one thread, unless the user has set it. It has a second one only while its
#: outputs on two are compared (`harness.cell.threads`), which is not to spin on a neighbour's core:
#: OpenMP's threads do so between two operators.
OF_ONE_THREAD: Mapping[str, str] = {"OMP_WAIT_POLICY": "passive"}

#: Environment variables with the number of threads of a numerical library, such as OpenBLAS.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def cores() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Number of children, their limits, and the way in which they are started."""

    workers: int = field(default_factory=cores)
    limits: Limits = field(default_factory=Limits)
    start_method: str = "forkserver"  # forkserver | spawn
    preload: tuple[str, ...] = ()  # modules that the fork server imports
    shared: bool = False  # whether a child serves many tasks (`harness.workers.shared_pool`)
    units: tuple[str, ...] = ()  # values of `--device`, one for each of several devices
    variables: Mapping[str, str] = field(default_factory=dict)  # the backend's own environment
    paths: tuple[Path, ...] = ()  # folders of modules, such as a backend's from elsewhere
    beside: int = 0  # children that other processes of the session run on this machine

    @property
    def threads(self) -> int:
        """Threads that the numerical libraries of one child may use.

        The user's `OMP_NUM_THREADS` holds for all of them: PyTorch takes that of MKL where both
        are set.
        """
        chosen = os.environ.get(THREADS[0], "")
        return int(chosen) if re.fullmatch(r"[1-9]\d{0,3}", chosen) else self._share

    @property
    def _share(self) -> int:
        return max(1, cores() // (self.workers + self.beside))

    def environment(self) -> dict[str, str]:
        """The variables that fork server and children have beyond, or other than, the parent's."""
        threads = dict.fromkeys(THREADS, str(self.threads))
        waiting = OF_ONE_THREAD if self.threads == 1 else {}
        chosen = {**ENVIRONMENT, **threads, **waiting, **self.variables}
        mine = {name: value for name, value in chosen.items() if name not in os.environ}
        # An installed package is on the path of every process already.
        own = [*([] if INSTALLED else [ROOT]), *self.paths]
        given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        if paths := [*map(str, own), *given]:
            mine["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        # multiprocessing's tracker removes the semaphores of killed children, and warns of each.
        warnings = [*filter(None, [os.environ.get("PYTHONWARNINGS")]), "ignore:resource_tracker"]
        mine["PYTHONWARNINGS"] = ",".join(warnings)
        mine[PRELOAD_VARIABLE] = json.dumps(list(self.preload))
        return mine
