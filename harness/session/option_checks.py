"""Checks of a run's options against its backend and the model lists.

Each raises a HarnessError that names close matches.
"""

from __future__ import annotations

from harness.catalog import selection
from harness.catalog.backend_spec import BackendSpec
from harness.catalog.selection import Catalog
from harness.cell.request import DeviceReport
from harness.contract import BASE, HarnessError
from harness.session.options import Options, comma_separated
from harness.toolkit.close_matches import did_you_mean

#: Value of `--heads` for every head but the headless model.
TASKS = "tasks"


def check_heads(catalog: Catalog, options: Options) -> None:
    """Refuse `--heads` that no list has."""
    known = {task for entry in catalog.entries.values() for task in entry.heads}
    offered = (selection.ALL, BASE, TASKS, *sorted(known))
    for head in comma_separated(options.heads):
        if head not in offered:
            raise HarnessError(
                f"expected --heads to be {selection.ALL}, {BASE}, {TASKS} or tasks of the lists, "
                f"found {head!r}.{did_you_mean(head, offered)} "
                "Fix: `python -m harness list` shows each entry's task"
            )


def check_faults(spec: BackendSpec, catalog: Catalog, options: Options) -> None:
    """Refuse `--fault` kinds that the backend cannot inject, and entries that no list has."""
    for fault in filter(None, options.backend_options.get("fault", "").split(",")):
        kind, _, entry = fault.partition("=")
        if kind not in spec.faults:
            offered = ", ".join(spec.faults) or "none"
            raise HarnessError(
                f"expected --fault to be one that {spec.name} can inject ({offered}), found "
                f"{kind!r}.{did_you_mean(kind, spec.faults)} "
                "Fix: choose one, or a backend whose backend.toml lists it under `faults`"
            )
        if entry not in catalog.entries:
            raise HarnessError(
                f"expected --fault KIND=ENTRY with an entry of the model lists, found {fault!r}."
                f"{did_you_mean(entry, catalog.entries)} "
                "Fix: `python -m harness list` shows every name"
            )


def check_precisions(spec: BackendSpec, options: Options, report: DeviceReport) -> None:
    """Refuse `--precision` names that the backend does not offer."""
    offered = [precision.name for precision in report.precisions]
    for name in options.precisions:
        if name != "all" and name not in offered:
            raise HarnessError(
                f"expected --precision to be among those of {spec.name} "
                f"({', '.join(offered)}, or all), found {name!r}."
                f"{did_you_mean(name, offered)} Fix: choose one of them"
            )
