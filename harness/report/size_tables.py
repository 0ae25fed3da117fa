"""Tables on whether tiny models predict those of another size, as texts under their heads."""

from __future__ import annotations

from collections.abc import Sequence

from harness import contract
from harness.report import words
from harness.results import by_size
from harness.results.by_size import SizedCell

#: The heads of the table of agreements; the names in the first column are code.
HEADS = ("backend", "precision", "at both sizes", "judged at both", "same outcome")


def agreements(cells: Sequence[SizedCell]) -> list[Sequence[str]]:
    """The share of equal outcomes by backend and precision, the heads first."""
    return [
        HEADS,
        *(
            (
                column.backend,
                column.precision,
                words.number(column.both),
                words.number(column.judged),
                f"{words.share(column.alike, column.judged)} of {words.number(column.judged)}",
            )
            for column in by_size.agreements(cells)
        ),
    ]


def differences(cells: Sequence[SizedCell], size: str) -> list[list[Sequence[str]]]:
    """A table of the judged cells whose outcomes differ, and one of those that were not judged.

    Args:
        cells: with a result at both sizes.
        size: the other one.

    Returns:
        The tables that have rows, the heads first.
    """
    made = []
    for title, judged in (("differs", True), ("not judged at both", False)):
        chosen = [cell for cell in cells if cell.judged is judged and not cell.alike]
        if chosen:
            heads = (title, "backend", "tiny", size, "reason")
            made.append([heads, *map(_row, chosen)])
    return made


def _row(cell: SizedCell) -> Sequence[str]:
    name = contract.label(cell.entry, cell.head)
    column = cell.backend if cell.precision == "default" else f"{cell.backend} {cell.precision}"
    return name, column, cell.tiny, cell.other, cell.reason
