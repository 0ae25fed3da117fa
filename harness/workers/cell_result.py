"""Result of a cell: its own where it has one, else what the end of its process says."""

from __future__ import annotations

from harness.cell.request import Job
from harness.contract import CellResult, Metric, Outcome
from harness.toolkit import fingerprints
from harness.workers.task import Ending

#: What runs a cell, and what asks a backend for its device.
RUN_CELL = "harness.cell.stages:run"


def result_of(job: Job, ending: Ending) -> CellResult:
    """What a cell came to: its own result where it has one, else what its end says."""
    cell = job.cell
    outcome = ending.outcome
    reason, cause, error = ending.reason, ending.cause, ending.error
    result = ending.value
    if not isinstance(result, CellResult):
        if outcome is None:
            outcome = Outcome.CRASH
            reason = f"result unreadable: expected a CellResult, found {type(result).__name__}"
            cause = fingerprints.fingerprint(outcome, reason, [])
        result = CellResult(
            entry=cell.entry.name,
            family=cell.entry.family,
            architecture=cell.entry.architecture,
            head=cell.head,
            precision=cell.precision,
            stage=ending.stage,
            outcome=outcome,
            reason=reason,
            cause=cause,
            error=error,
        )
    elif result.outcome is not Outcome.PASS and ending.error:
        result.error = f"{result.error.rstrip()}\n\n{ending.error}".lstrip()
    result.seconds = result.seconds or ending.seconds
    if result.peak_rss_mb is None:
        result.peak_rss_mb = ending.peak_rss_mb
    if ending.cpu_seconds is not None:
        result.metrics.append(Metric("cpu", ending.cpu_seconds, "s"))
    if ending.before:
        result.metrics.append(Metric("reruns", 1, "1"))
        note = f"--- before, in a worker shared with other cells ---\n{ending.before}"
        result.error = f"{result.error.rstrip()}\n\n{note}".lstrip()
    return result
