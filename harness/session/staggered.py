"""Order in which cells start: the precisions of one model apart, so that they share a reference.

Side by side, each would make the reference anew; a few models apart, the second one finds what the
first one kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract import Cell


def staggered(cells: Sequence[Cell], workers: int) -> list[Cell]:
    """Cells in the order in which they start.

    Args:
        cells: in the order of the lists; the precisions of one model are neighbours.
        workers: how many run at once; a precision starts twice as many models after the one before.
    """
    models: dict[str, int] = {}
    begun: dict[str, int] = {}  # precisions so far, by model
    places = []
    for cell in cells:
        place = models.setdefault(cell.label, len(models))
        turn = begun.get(cell.label, 0)
        begun[cell.label] = turn + 1
        places.append((place + 2 * workers * turn, turn))
    return [cells[n] for n in sorted(range(len(cells)), key=lambda n: places[n])]
