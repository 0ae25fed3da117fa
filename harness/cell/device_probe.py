"""Device probe: a backend is opened and asked for its device, in the child process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.catalog.backends import find, load
from harness.cell import border
from harness.cell.request import DeviceReport, ProbeRequest
from harness.contract import BrokenContract, HarnessError, Stage


def probe(request: ProbeRequest, report: Callable[[Stage], None]) -> DeviceReport:
    """Ask a backend for its device and its precisions; runs in a child.

    Raises:
        Unavailable: the device is missing.
        HarnessError: a package is missing, or the backend breaks the contract.
    """
    spec = find(request.backend, request.backends_dir)
    backend = load(spec, request.options)
    try:
        device = border.device(backend.probe())
        precisions = border.precisions(backend.precisions)
    except BrokenContract as breach:
        raise HarnessError(
            f"backend {spec.name}: {breach}. Fix: {spec.folder / 'backend.py'}; "
            "harness/contract.py says what a backend returns"
        ) from breach
    # Packages like to make their version a class of their own.
    versions = {name: str(version) for name, version in device.versions.items()}
    return DeviceReport(replace(device, versions=versions), precisions)
