"""Key of a cell in the results of one backend: entry, head and precision."""

from __future__ import annotations

from typing import TypeAlias

from harness.contract import Cell, CellResult

CellKey: TypeAlias = tuple[str, str, str]


def key_of(cell: Cell | CellResult) -> CellKey:
    """Entry, head and precision, by name."""
    entry = cell.entry.name if isinstance(cell, Cell) else cell.entry
    return entry, cell.head, cell.precision
