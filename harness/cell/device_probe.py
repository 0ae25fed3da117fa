"""Device probe: a backend is opened and asked for its device, in the child process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.catalog.backends import find, load
from harness.cell.request import DeviceReport, ProbeRequest
from harness.contract import Stage


def probe(request: ProbeRequest, report: Callable[[Stage], None]) -> DeviceReport:
    """Ask a backend for its device and its precisions; runs in a child.

    Raises:
        Unavailable: the device is missing.
        HarnessError: a package is missing.
    """
    backend = load(find(request.backend, request.backends_dir), request.options)
    device = backend.probe()
    # Packages like to make their version a class of their own.
    versions = {name: str(version) for name, version in device.versions.items()}
    return DeviceReport(replace(device, versions=versions), tuple(backend.precisions))
