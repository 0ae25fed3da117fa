"""Text table: rows of cells as aligned plain text, or as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.toolkit import printable


def plain_table(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """The lines of a table as plain text, columns two spaces apart; cells as `printable.line`.

    Args:
        rows: the heads of the columns first; every row has as many cells as the first one.
        numbers: aligns every column but the first to the right, as for counts.

    Raises:
        ValueError: the rows differ in length.
    """
    rows = [[printable.line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if numbers and index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: bool = False
) -> list[str]:
    """The lines of a table as GitHub Markdown; what is in the cells is taken as Markdown.

    Args:
        heads: of the columns.
        rows: each with one cell a column.
        numbers: aligns every column but the first to the right, as for counts.
    """
    rule = ["---", *["---:" if numbers else "---"] * (len(heads) - 1)]
    return [f"| {' | '.join(map(str, row))} |" for row in (heads, rule, *rows)]
