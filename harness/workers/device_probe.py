"""Device probe: a backend is asked for its device in a child process."""

from __future__ import annotations

from harness.cell.request import DeviceReport, ProbeRequest
from harness.contract import HarnessError
from harness.workers.fork_server import Settings
from harness.workers.pool import run_one
from harness.workers.task import Task

PROBE = "harness.cell.device_probe:probe"

#: Modules that a message names: a fork server imports those of every architecture.
SHOWN = 6


def probe(request: ProbeRequest, settings: Settings) -> DeviceReport:
    """The device and the precisions of a backend, asked in a child.

    Raises:
        Unavailable: the device is missing.
        HarnessError: the backend's packages are missing, or its code fails or crashes.
    """
    ending = run_one(Task(PROBE, request, f"probe of {request.backend}"), settings)
    if isinstance(ending.value, DeviceReport):
        return ending.value
    if ending.refusal is not None:
        raise ending.refusal
    modules = ", ".join(settings.preload[:SHOWN])
    more = len(settings.preload) - SHOWN
    modules += f" and {more} more" if more > 0 else ""
    imported = f" (the fork server imports {modules})" if modules else ""
    raise HarnessError(
        f"expected backend {request.backend} to say which device it has, found that its process "
        f"ended with {ending.outcome}: {ending.reason}{imported}. Fix: its backend.py, or what it "
        f"imports\n{ending.error}".rstrip()
    )
