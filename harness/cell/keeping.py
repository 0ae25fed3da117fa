"""Keeping of references: written at the end of a cell, counted, and audited ones judged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.cell.progress import CellProgress
from harness.contract import REFERENCES_FOUND, REFERENCES_MADE, Case, Stage
from harness.models.kept_references import KeptReferences


def kept_references(case: Case) -> KeptReferences | None:
    """The reference store's part for a case; None where nothing is kept, as for a backend's own."""
    found = getattr(case, "kept", None)
    return found if isinstance(found, KeptReferences) else None


@contextmanager
def references_kept(case: Case, progress: CellProgress) -> Iterator[None]:
    """Writes what the reference gave, however the cell ends short of the end of its process.

    A kept reference that an audit did not find again is a failure of the stage `reference`.
    """
    kept = kept_references(case)
    try:
        yield
    finally:
        if kept is not None:
            kept.save()
            progress.metric(REFERENCES_FOUND, kept.found, "1")
            progress.metric(REFERENCES_MADE, kept.made, "1")
            for fault in kept.different:
                with progress.stage(Stage.REFERENCE):
                    progress.keep(fault)
