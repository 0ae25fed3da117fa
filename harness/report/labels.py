"""Labels of cells and columns, for the HTML and the Markdown report."""

from __future__ import annotations

from collections.abc import Sequence

from harness import contract
from harness.contract import Outcome
from harness.report import measured, size_tables, words
from harness.report.content import EntryRow, Report
from harness.results.queries import CellRow

#: Outcomes that mean as much without the stage at which they came.
_STAGELESS = frozenset(
    {
        Outcome.TOO_LARGE,
        Outcome.UNSUPPORTED,
        Outcome.LIBRARY,
        Outcome.ABSENT,
        Outcome.INCONCLUSIVE,
    }
)


def label(cell: CellRow) -> str:
    """Label of a cell in the matrix: `✓`, `✗ verify`, `crash run`, `unsupported`."""
    if cell.outcome == Outcome.PASS:
        return "✓"
    if cell.outcome == Outcome.FAIL:
        return f"✗ {cell.stage}"
    return cell.outcome if cell.outcome in _STAGELESS else f"{cell.outcome} {cell.stage}"


def name(of: CellRow | EntryRow) -> str:
    """Label of an entry and head: `bert`, or `bert:fill-mask`."""
    return contract.label(of.entry, of.head)


def where(backend: str, precision: str) -> str:
    """Label of a column: `openvino` for its default precision, `openvino f32`."""
    return backend if precision == "default" else f"{backend} {precision}"


def grouped(cells: Sequence[CellRow], field: str) -> list[tuple[str, list[CellRow]]]:
    """Cells by a field, in the order in which its values first come."""
    found: dict[str, list[CellRow]] = {}
    for cell in cells:
        found.setdefault(getattr(cell, field), []).append(cell)
    return list(found.items())


def outcomes(report: Report) -> list[str]:
    """The outcomes that need a column: judged, no pass, and found at least once."""
    found = {outcome for total in report.totals for outcome in total.outcomes}
    return [
        outcome
        for outcome in words.OUTCOMES
        if outcome in found and outcome not in (Outcome.PASS, Outcome.ABSENT)
    ]


def emulated(report: Report) -> frozenset[str]:
    """The backends of which a run was on an emulated device."""
    return frozenset(run.backend for run in report.runs if run.emulated)


def by_size(report: Report) -> dict[str, list[list[Sequence[str]]]]:
    """Tables by size on whether tiny models predict it, the heads first in each."""
    return {
        size: [size_tables.agreements(cells), *size_tables.differences(cells, size)]
        for size, cells in report.sizes.items()
    }


def speeds(report: Report) -> list[Sequence[str]]:
    """Table of the measured cells, the heads first; empty without any."""
    rows = (
        measured.row(f"{name(cell)} on {where(cell.backend, cell.precision)}", cell.measured)
        for cell in report.measured
    )
    return measured.table(list(rows))
