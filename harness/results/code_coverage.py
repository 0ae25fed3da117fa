"""Coverage of modeling code: which statements of each modeling file its own cells run.

The unit is the modeling file: all cells whose model class it defines, in whatever entry, count for
it together. Counted is what their models reach: a head that no cell has is none of it. Code of one
architecture that another one's cell runs, such as a vision tower inside a composite, does not count
as run: the architecture's own cells have to run it.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cell.code_coverage import LinesRun
from harness.contract import Cell, Outcome
from harness.models.modeling_code import statements

#: Least share of the statements that cells are to run, at the median of the modeling files.
TARGET = 0.85


@dataclass(frozen=True, slots=True)
class FileCoverage:
    """Coverage of one modeling file; statements that inference can reach are counted."""

    name: str  # as `bert/modeling_bert.py`
    architectures: tuple[str, ...]
    whole: int  # statements of all of its classes
    statements: int  # of those that the cells' models reach
    run: int
    missed: Mapping[str, tuple[int, ...]]  # function -> first lines of the statements not run

    @property
    def share(self) -> float:
        """The share of the statements that are run."""
        return self.run / self.statements if self.statements else 1.0


def count(found: Iterable[tuple[Cell, LinesRun]]) -> list[FileCoverage]:
    """The coverage of each modeling file, the lowest first.

    Args:
        found: cells, and the lines that each has run.
    """
    cells: dict[str, list[tuple[Cell, LinesRun]]] = defaultdict(list)
    for cell, each in found:
        if each.outcome is not Outcome.ABSENT:
            cells[each.file].append((cell, each))
    counted = [_of_file(Path(file), own) for file, own in cells.items()]
    return sorted(counted, key=lambda each: (each.share, each.name))


def median(files: Iterable[FileCoverage]) -> float:
    """The share of statements run at the median of the files."""
    return statistics.median(each.share for each in files)


def _of_file(path: Path, cells: Sequence[tuple[Cell, LinesRun]]) -> FileCoverage:
    lines = frozenset[int]().union(*(each.lines for _, each in cells))
    counted = statements(path, {each.model for _, each in cells})
    missed: dict[str, list[int]] = defaultdict(list)
    for statement in counted:
        if not statement.is_run(lines):
            missed[statement.function].append(statement.first)
    return FileCoverage(
        "/".join(path.parts[-2:]),
        tuple(sorted({cell.entry.architecture for cell, _ in cells})),
        len(statements(path)),
        len(counted),
        len(counted) - sum(map(len, missed.values())),
        {function: tuple(found) for function, found in missed.items()},
    )
