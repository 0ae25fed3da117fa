"""Fake device whose context costs CPU time: the work of a process in `benchmarks.workers`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.contract import CellResult, Outcome, Stage

#: Whether this process has a context of the fake device.
_opened = False


@dataclass(frozen=True, slots=True)
class Work:
    """One cell on the fake device; seconds of CPU."""

    number: int
    context: float
    seconds: float
    fails: bool
    log: Path

    def on(self, unit: str) -> Work:
        """The fake has one device."""
        return self


def cell(work: Work, report: Callable[[Stage], None]) -> CellResult:
    """Open the context where this process has none, then do the cell's own work."""
    global _opened
    began = time.process_time()
    if not _opened:
        burn(work.context)
        _opened = True
    report(Stage.RUN)
    burn(work.seconds)
    with open(work.log, "a", encoding="ascii") as log:
        log.write(f"{time.process_time() - began}\n")
    outcome = Outcome.FAIL if work.fails else Outcome.PASS
    return CellResult(
        str(work.number), "vision", "fake", "base", "f32", Stage.RUN, outcome,
        reason="wrong" if work.fails else "", cause="wrong" if work.fails else "",
    )  # fmt: skip


def burn(seconds: float) -> None:
    """Use that much CPU time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
