"""Name of a cell in the results of one backend: entry, head and precision."""

from __future__ import annotations

from typing import TypeAlias

from harness.contract import Cell, CellResult

CellName: TypeAlias = tuple[str, str, str]


def name_of(cell: Cell | CellResult) -> CellName:
    """Entry, head and precision, by name."""
    entry = cell.entry.name if isinstance(cell, Cell) else cell.entry
    return entry, cell.head, cell.precision
