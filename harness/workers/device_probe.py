"""Device probe, the parent's side: a child process asks a backend for its device."""

from __future__ import annotations

from harness.cell.request import DeviceReport, ProbeRequest
from harness.contract import HarnessError
from harness.workers.pool import run_one
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

#: Target of the task that asks.
PROBE = "harness.cell.device_probe:probe"

#: Preloaded modules that an error names. There may be hundreds, one for each architecture.
MODULES_SHOWN = 6


def probe(request: ProbeRequest, settings: WorkerSettings) -> DeviceReport:
    """The device and the precisions of a backend.

    Raises:
        Unavailable: the device is missing.
        HarnessError: the backend's packages are missing, or its code fails or crashes.
    """
    ending = run_one(Task(PROBE, request, f"probe of {request.backend}"), settings)
    if isinstance(ending.value, DeviceReport):
        return ending.value
    if ending.refusal is not None:
        raise ending.refusal
    modules = ", ".join(settings.preload[:MODULES_SHOWN])
    more = len(settings.preload) - MODULES_SHOWN
    modules += f" and {more} more" if more > 0 else ""
    imported = f" (the fork server imports {modules})" if modules else ""
    raise HarnessError(
        f"expected backend {request.backend} to say which device it has, found that its process "
        f"ended with {ending.outcome}: {ending.reason}{imported}. Fix: its backend.py, or what it "
        f"imports\n{ending.error}".rstrip()
    )
