"""Request to a child process: one point of the contract, on one case."""

from __future__ import annotations

from dataclasses import dataclass

from harness.cell.request import Job


@dataclass(frozen=True, slots=True)
class ConformanceRequest:
    """One point of `harness.cell.conformance.points`, and the cell that it is checked on."""

    point: str
    job: Job
