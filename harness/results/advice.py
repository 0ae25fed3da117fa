"""Ranking of the backends for one entry, by the last results.

A backend in one precision that passes goes before one that does not, a real device before an
emulated one, and then the faster one first. What was never run is not guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.contract import Entry, Outcome
from harness.results import queries, real_size
from harness.results.queries import CellRow, Connection
from harness.results.real_size import RealSize

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
    inference_seconds: float | None  # of the small model
    load_seconds: float | None
    score: float | None  # error in noise floors of its precision
    floor: float | None  # that floor: a relative error
    device_memory_mb: float | None
    peak_rss_mb: float | None
    real: RealSize | None = None  # the last result with its full sizes or its checkpoint
    fault: str = ""  # why it does not pass

    @property
    def rank(self) -> tuple[object, ...]:
        """Sort key: the best choice has the smallest."""
        seconds = self.inference_seconds
        if seconds is None and self.real is not None:
            seconds = self.real.seconds
        slow = float("inf") if seconds is None else seconds
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
    real = real_size.of_entry(connection, entry.name)
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
            real=real.get((cell.backend, cell.precision, cell.head)),
            fault=_fault(cell),
        )
        for cell in cells
    ]
    small = {(choice.backend, choice.precision, choice.head) for choice in found}
    found += [_of_real_size(key, real[key], here) for key in real if key not in small]
    return sorted(found, key=lambda choice: choice.rank)


def _of_real_size(key: real_size.Key, found: RealSize, here: Sequence[str]) -> Choice:
    """The choice of a cell that has run at real size only."""
    backend, precision, head = key
    passes = found.outcome == Outcome.PASS
    return Choice(
        backend=backend,
        precision=precision,
        head=head,
        passes=passes,
        here=backend in here,
        device=found.device,
        emulated=found.emulated,
        inference_seconds=None,
        load_seconds=None,
        score=None,
        floor=None,
        device_memory_mb=None,
        peak_rss_mb=None,
        real=found,
        fault="" if passes else found.fault,
    )


def _finite(value: float | None) -> float | None:
    """A number that JSON has; a score is infinite where an output is missing or NaN."""
    return value if value is not None and math.isfinite(value) else None


def _fault(cell: CellRow) -> str:
    if cell.outcome == Outcome.PASS:
        return ""
    known = " (expected)" if not cell.unexpected else ""
    return f"{cell.outcome} at {cell.stage}{known}: {cell.reason}"
