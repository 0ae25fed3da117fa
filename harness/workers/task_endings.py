"""Endings of many tasks, each in a child process of its own, for commands that judge nothing."""

from __future__ import annotations

from collections.abc import Mapping

from harness.catalog.backend_spec import BackendSpec
from harness.workers import ld_preload
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings, cores
from harness.workers.task import Task


def task_endings(
    spec: BackendSpec, target: str, requests: Mapping[str, object], seconds: float
) -> dict[str, Ending]:
    """Run one task for each request, and return how each ended, in the order of the requests.

    Args:
        spec: the backend in whose environment this runs: how its children start.
        target: the function, as `module:name`, of a request and of a reporter of stages.
        requests: by label.
        seconds: the limit for one task.
    """
    found: dict[str, Ending] = {}

    def keep(task: Task, ending: Ending) -> None:
        found[task.label] = ending

    settings = settings_of(spec, seconds)
    with Pool(keep, settings) as pool:
        tasks = [Task(target, request, label) for label, request in requests.items()]
        for future in pool.start(tasks):
            future.result()
    return {label: found[label] for label in requests}


def settings_of(spec: BackendSpec, seconds: float, workers: int | None = None) -> WorkerSettings:
    """How children of a backend start.

    Args:
        spec: the backend, in whose environment this is.
        seconds: the limit for one task.
        workers: how many run at once; None for one on each core.

    Raises:
        HarnessError: there is no room for the backend's LD_PRELOAD shim.
    """
    return WorkerSettings(
        workers=workers or cores(),
        limits=Limits(seconds),
        start_method=spec.start_method,
        preload=spec.preload,
        paths=spec.search_path,
        variables={**spec.environment, **ld_preload.shim_variables(spec)},
    )
