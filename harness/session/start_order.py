"""Order in which cells start: those that took longest before go first.

So no long cell is alone at the end, while the other cores have nothing to do.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from harness.contract import BASE, Cell
from harness.session.cell_name import CellName, name_of
from harness.session.staggered import staggered


def start_order(
    cells: Sequence[Cell], seconds: Mapping[CellName, float], workers: int
) -> list[Cell]:
    """Cells in the order in which they start: models by their longest cell, precisions apart.

    Args:
        cells: in the order of the lists, which those keep that take equally long.
        seconds: what cells took before.
        workers: how many cells run at once.
    """
    expected = expected_seconds(cells, seconds)
    models: dict[str, float] = {}
    for cell, own in zip(cells, expected, strict=True):
        models[cell.label] = max(own, models.get(cell.label, 0.0))
    ordered = sorted(cells, key=lambda cell: -models[cell.label])
    return staggered(ordered, workers)


def expected_seconds(cells: Sequence[Cell], seconds: Mapping[CellName, float]) -> list[float]:
    """Seconds that each cell is expected to take: as before, else as cells like it.

    A new cell takes the median of its family's headless models or heads in the same precision;
    where none of these is known that of its family, then of all, and 0 where nothing is known.
    """
    known: dict[tuple[object, ...], list[float]] = {}
    for cell in cells:
        if (own := seconds.get(name_of(cell))) is not None:
            for kind in _kinds(cell):
                known.setdefault(kind, []).append(own)
    medians = {kind: statistics.median(found) for kind, found in known.items()}
    return [_expected(cell, seconds, medians) for cell in cells]


def _expected(
    cell: Cell, seconds: Mapping[CellName, float], medians: Mapping[tuple[object, ...], float]
) -> float:
    own = seconds.get(name_of(cell))
    if own is not None:
        return own
    return next((medians[kind] for kind in _kinds(cell) if kind in medians), 0.0)


def _kinds(cell: Cell) -> tuple[tuple[object, ...], ...]:
    """The groups that a cell belongs to, the narrowest first."""
    family = cell.entry.family
    return (family, cell.head == BASE, cell.precision), (family,), ()
