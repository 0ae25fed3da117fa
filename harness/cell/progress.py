"""Record of a cell in progress: stages entered and numbers measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.contract import (
    CellResult,
    Metric,
    Stage,
)


@dataclass(slots=True)
class CellProgress:
    """A cell's partial result and its current stage; survives the exception that ends the cell."""

    result: CellResult
    report: Callable[[Stage], None]

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Tells the parent before entering a stage, and counts its CPU seconds."""
        self.report(stage)
        self.result.stage = stage
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.metric(f"cpu_{stage}", time.process_time() - cpu, "s")
            self.metric(f"wall_{stage}", time.perf_counter() - wall, "s")

    def metric(self, name: str, value: float, unit: str) -> None:
        """Keeps one measured number."""
        self.result.metrics.append(Metric(name, float(value), unit))
