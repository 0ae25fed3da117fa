"""Request to a child process: find out which part of a model fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.cell.request import Job


@dataclass(frozen=True, slots=True)
class LocaliseRequest:
    """One cell whose failure is to be localised.

    Attributes:
        job: the cell, and how it runs.
        journal: the file in which trials are kept.
        input: the only input to look at; empty for the first that fails.
        most: how many trials there may be.
        seconds: after which no further trial begins.
    """

    job: Job
    journal: Path
    input: str = ""
    most: int = 40
    seconds: float = 90.0

    def on(self, unit: str) -> LocaliseRequest:
        """The same request on one of several devices."""
        return replace(self, job=self.job.on(unit))
