"""Leftovers of a backend: processes that outlive the one that ran an inference; runs in a child.

A further process, forked or spawned as the backend's own children are, prepares and runs the case
and leaves. On Linux this process is a subreaper meanwhile, so that a daemon becomes its child;
elsewhere a mark in the environment finds it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psutil

from harness.catalog import backends
from harness.cell.conformance.finding import PointFinding, PointState
from harness.cell.conformance.request import ConformanceRequest
from harness.cell.conformance.subject import Subject
from harness.cell.progress import Report
from harness.contract import Stage
from harness.workers.orphans import PATIENCE, adopt_orphans

#: Environment variable with the mark of the process that runs the inference, and of what it starts.
VARIABLE = "HARNESS_CONFORMANCE"


def leftovers(request: ConformanceRequest, report: Report) -> PointFinding:
    """No process that a backend starts outlives the one that it is in."""
    report(Stage.VERIFY, ())
    spec = backends.find(request.job.cell.backend, request.job.backends_dir)
    forks = sys.platform != "win32" and spec.start_method == "forkserver"
    context: Any = multiprocessing.get_context("fork" if forks else "spawn")
    adopt_orphans()
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    mark = os.environ[VARIABLE] = uuid.uuid4().hex
    process = context.Process(target=_use, args=(request,))
    process.start()
    process.join()
    if process.exitcode:
        return PointFinding(
            PointState.UNCHECKED, f"the inference ends with exit code {process.exitcode}"
        )
    until = time.monotonic() + PATIENCE
    while True:
        found = [p for p in _started(mark, before) if _is_alive(p)]
        if not found or time.monotonic() > until:
            break
        time.sleep(0.05)  # for one that ends because its parent has
    if not found:
        return PointFinding(PointState.HOLDS, "nothing that it started outlives its process")
    names = ", ".join(sorted({_name(p) for p in found}))
    for left in found:
        with contextlib.suppress(psutil.Error):
            left.kill()
    return PointFinding(
        PointState.BROKEN,
        "processes: expected none to outlive the one that the backend is in, found "
        f"{len(found)}: {names}",
    )


def _use(request: ConformanceRequest) -> None:
    subject = Subject(request.job, lambda stage, failures: None)
    subject.first  # noqa: B018


def _started(mark: str, before: set[int]) -> Iterator[psutil.Process]:
    own = psutil.Process()
    seen = {process.pid: process for process in own.children(recursive=True)}
    if sys.platform != "linux":
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(VARIABLE) == mark and process.pid != own.pid:
                    seen[process.pid] = process
    return (process for pid, process in seen.items() if pid not in before)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()) or process.name()
    return str(process.pid)
