"""Result of a cell: the one that its process returned, else one made from the task's ending."""

from __future__ import annotations

from dataclasses import replace

from harness.cell.request import Job
from harness.contract import MOST_FURTHER, Cell, CellFailure, CellResult, Metric, Outcome, label
from harness.toolkit import printable
from harness.workers.ending import Ending

#: Target of the task that runs a cell.
RUN_CELL = "harness.cell.stages:run"


def result_of(job: Job, ending: Ending) -> CellResult:
    """The result of a cell: its own where it returned one, else one made from the ending.

    Time, memory, CPU seconds and printed output of the process are added to it. Its texts are cut
    to the lengths that a result keeps (`harness.toolkit.printable`).
    """
    cell = job.cell
    outcome = ending.outcome
    reason, cause, error = ending.reason, ending.cause, ending.error
    result = ending.value
    if not isinstance(result, CellResult) or _label(result) != _own_label(cell):
        if outcome is None:
            outcome = Outcome.CRASH
            found = _label(result) if isinstance(result, CellResult) else type(result).__name__
            reason = f"result unreadable: expected the result of {_own_label(cell)}, found {found}"
            cause = "crash: result unreadable: another was expected"
        result = CellResult(
            entry=cell.entry.name,
            family=cell.entry.family,
            architecture=cell.entry.architecture,
            head=cell.head,
            precision=cell.precision,
            stage=ending.stage,
            outcome=Outcome.PASS,
        )
        for failure in (*ending.failures, CellFailure(ending.stage, outcome, reason, cause, error)):
            result.fail(failure)
    elif result.outcome is not Outcome.PASS and ending.error:
        result.error = f"{result.error.rstrip()}\n\n{ending.error}".lstrip()
    result.architecture = cell.entry.architecture
    result.verdict, result.fallback = None, ""  # the parent's to say
    result.seconds = result.seconds or ending.seconds
    if result.peak_rss_mb is None:
        result.peak_rss_mb = ending.peak_rss_mb
    if ending.cpu_seconds is not None:
        result.metrics.append(Metric("cpu", ending.cpu_seconds, "s"))
    if ending.before:
        result.metrics.append(Metric("reruns", 1, "1"))
        note = f"--- before, beside other cells ---\n{ending.before}"
        result.error = f"{result.error.rstrip()}\n\n{note}".lstrip()
    result.reason = printable.kept_line(result.reason)
    result.cause = printable.kept_line(result.cause)
    result.error = printable.kept(result.error)
    result.further = [
        replace(
            failure,
            reason=printable.kept_line(failure.reason),
            cause=printable.kept_line(failure.cause),
            error=printable.kept(failure.error),
        )
        for failure in result.further[:MOST_FURTHER]
    ]
    return result


def _label(result: CellResult) -> str:
    """Family, cell and precision, as a result names them."""
    return f"{result.family} {label(result.entry, result.head)} in {result.precision}"


def _own_label(cell: Cell) -> str:
    return f"{cell.entry.family} {cell.label} in {cell.precision}"
