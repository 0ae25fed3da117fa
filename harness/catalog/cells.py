"""A cell as a command line names it: `bert`, or `bert:fill-mask`."""

from __future__ import annotations

from harness.catalog.selection import Catalog
from harness.contract import BASE, Cell, HarnessError
from harness.toolkit.close_matches import did_you_mean


def cell_of(model: str, backend: str, precision: str, catalog: Catalog) -> Cell:
    """The cell of `ENTRY[:HEAD]`; without a head the headless model, or else the first head.

    Args:
        model: the cell as it is typed.
        backend: its name.
        precision: one of the backend's.
        catalog: the model lists.

    Raises:
        HarnessError: the lists have no such entry, or the entry no such head.
    """
    entries = catalog.entries
    name, _, head = model.partition(":")
    if name not in entries:
        raise HarnessError(
            f"expected an entry of the model lists, found {name!r}.{did_you_mean(name, entries)} "
            "Fix: `python -m harness list` shows them"
        )
    built = entries[name].built
    if head and head not in built:
        raise HarnessError(
            f"expected a head of {name} ({', '.join(built)}), found {head!r}."
            f"{did_you_mean(head, built)} Fix: {name}:{built[0]}"
        )
    return Cell(entries[name], backend, precision, head or (BASE if BASE in built else built[0]))
