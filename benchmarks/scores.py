"""Histogram of scores: how far right and wrong results lie from the limit, in noise floors.

    python -m benchmarks.scores results/openvino.duckdb
    python -m benchmarks.scores --quick                    whatever lies in results/

Reads the last result of each cell from results files, a line for each backend and precision. Cells
whose score lies between the limit and the least score of a plain fault are named: the limit is
right where none of them is.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.contract import label
from harness.report.labels import where
from harness.results import merged, queries
from harness.results.queries import CellRow
from harness.toolkit import checkout, printable
from harness.toolkit.numerics import LIMIT
from harness.toolkit.text_table import plain_table

#: Upper ends of the intervals of scores.
ENDS = (1.0, 2.0, 3.0, 4.0, LIMIT, 10.0, 30.0, 100.0, 1e3, 1e5, math.inf)

#: The score from which on nobody doubts that a result is wrong.
PLAIN_FAULT = 100.0


def histogram(cells: Iterable[CellRow]) -> list[list[str]]:
    """Counts of cells by their score, a row for each backend and precision, with a row of heads."""
    counts: dict[str, list[int]] = {}
    for cell in cells:
        if cell.score is not None:
            row = counts.setdefault(where(cell.backend, cell.precision), [0] * len(ENDS))
            row[next(at for at, end in enumerate(ENDS) if cell.score <= end)] += 1
    heads = ["", *(f"to {end:g}" for end in ENDS[:-1]), "above"]
    return [heads, *([name, *(str(n or "") for n in row)] for name, row in counts.items())]


def doubtful(cells: Iterable[CellRow]) -> list[str]:
    """A line for each cell above the limit that is no plain fault, the lowest score first."""
    found = [cell for cell in cells if cell.score is not None and LIMIT < cell.score <= PLAIN_FAULT]
    return [
        f"{cell.score:.3g}  {where(cell.backend, cell.precision)}  "
        f"{label(cell.entry, cell.head)}: {cell.outcome}: {printable.line(cell.reasons)}"
        for cell in sorted(found, key=lambda cell: cell.score or 0.0)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the histogram and the doubtful cells; 2 where a named file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scores")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--quick", action="store_true", help="the files in results/, if any")
    chosen = parser.parse_args(arguments)
    if not chosen.files and not chosen.quick:
        parser.error("expected results files, or --quick")
    gathered = merged.gather(chosen.files or merged.find(checkout.ROOT / "results"), None)
    for remark in gathered.remarks():
        print(remark, file=sys.stderr)
    with gathered.connection as connection:
        cells = queries.cells(connection)
    print("\n".join([*plain_table(histogram(cells), numbers=True), "", *doubtful(cells)]))
    return 2 if gathered.left_out and chosen.files else 0


if __name__ == "__main__":
    sys.exit(main())
