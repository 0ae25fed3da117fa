"""Ranking of the backends for one entry, by the last results.

A backend in one precision that passes goes before one that does not, a real device before an
emulated one, and then the faster one first. What was never run is not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.contract import Entry, Outcome
from harness.results import queries
from harness.results.queries import CellRow, Connection

#: The metric of a device's memory, as a cell records it, in MB.
DEVICE_MEMORY = "device_memory"


@dataclass(frozen=True, slots=True)
class Choice:
    """One backend in one precision for one entry and head, as it was last measured."""

    backend: str
    precision: str
    head: str
    passes: bool
    here: bool  # whether this machine seems to have the hardware
    device: str
    emulated: bool
    inference_seconds: float | None
    load_seconds: float | None
    score: float | None  # error in noise floors of its precision
    floor: float | None  # that floor: a relative error
    device_memory_mb: float | None
    peak_rss_mb: float | None
    fault: str = ""  # why it does not pass

    @property
    def rank(self) -> tuple[object, ...]:
        """Sort key: the best choice has the smallest."""
        slow = float("inf") if self.inference_seconds is None else self.inference_seconds
        return not self.passes, self.emulated, slow, self.backend, self.precision, self.head


def choices(connection: Connection, entry: Entry, here: Sequence[str]) -> list[Choice]:
    """The ranked cells of an entry: those that have a result and are not absent.

    Args:
        connection: the results, brought together.
        entry: the model.
        here: the backends whose hardware this machine has.
    """
    runs = {run.run_id: run for run in queries.runs(connection)}
    memory = {
        tuple(row[:3]): float(row[3])
        for row in connection.execute(
            "SELECT run_id, head, precision, value FROM metrics WHERE entry = ? AND name = ?",
            [entry.name, DEVICE_MEMORY],
        ).fetchall()
    }
    cells = [
        cell
        for cell in queries.cells(connection)
        if cell.entry == entry.name and cell.outcome != Outcome.ABSENT
    ]
    found = [
        Choice(
            backend=cell.backend,
            precision=cell.precision,
            head=cell.head,
            passes=cell.outcome == Outcome.PASS,
            here=cell.backend in here,
            device=runs[cell.run_id].device,
            emulated=runs[cell.run_id].emulated,
            inference_seconds=cell.inference,
            load_seconds=cell.load,
            score=_finite(cell.score),
            floor=_finite(cell.noise_floor),
            device_memory_mb=memory.get((cell.run_id, cell.head, cell.precision)),
            peak_rss_mb=cell.peak_rss_mb,
            fault=_fault(cell),
        )
        for cell in cells
    ]
    return sorted(found, key=lambda choice: choice.rank)


def _finite(value: float | None) -> float | None:
    """A number that JSON has; a score is infinite where an output is missing or NaN."""
    return value if value is not None and math.isfinite(value) else None


def _fault(cell: CellRow) -> str:
    if cell.outcome == Outcome.PASS:
        return ""
    known = " (expected)" if not cell.unexpected else ""
    return f"{cell.outcome} at {cell.stage}{known}: {cell.reason}"
