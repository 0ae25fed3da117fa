"""Properties of the test suite in pytest's JUnit XML: backend, device, versions and options."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from harness.contract import Cell
from harness.session.run import Run
from harness.toolkit import printable


def suite_properties(run: Run, cells: Iterable[Cell]) -> dict[str, str]:
    """The properties of a run, by name; those that say nothing are left out.

    Args:
        run: once it has asked for its device.
        cells: that it was to run.
    """
    options = run.options
    found = {
        "backend": run.spec.name,
        "precision": ", ".join(dict.fromkeys(cell.precision for cell in cells)),
        "size": options.size,
        "seed": str(options.seed),
        "run_id": run.run_id,
    }
    if options.shard != (1, 1):
        found["shard"] = "{}/{}".format(*options.shard)
    if run.device is not None:
        device = run.device.device
        found["device"] = f"{device.name} ({device.kind})"
        found["driver"] = device.driver
        found["emulated"] = "true" if device.emulated else ""
        found["fallback"] = device.fallback
        found["versions"] = ", ".join(f"{name} {text}" for name, text in device.versions.items())
    return {name: printable.line(text) for name, text in found.items() if text}


def add_suite_properties(config: pytest.Config, properties: dict[str, str]) -> None:
    """Add properties to the test suite of `--junitxml`; nothing, where none is written.

    Pytest's fixture `record_testsuite_property` does the same, in tests that are functions.
    """
    for plugin in config.pluginmanager.get_plugins():
        add = getattr(plugin, "add_global_property", None)
        if add is not None:
            for name, text in properties.items():
                add(name, text)
