"""Conformance run, the parent's side: a child process for each point of the contract and case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.cell.conformance.check import at_stage
from harness.cell.conformance.finding import PointFinding, PointState
from harness.cell.conformance.points import POINTS
from harness.cell.conformance.request import ConformanceRequest
from harness.cell.request import Job
from harness.workers.ending import Ending
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

#: Target of the task that checks a point.
CHECK = "harness.cell.conformance.check:check"

#: The point about processes, which the parent's side checks, and its target.
PROCESSES = "processes"
LEFTOVERS = "harness.workers.leftovers:leftovers"

#: The promises of all points, by name.
PROMISES: Mapping[str, str] = {
    **{name: point.promise for name, point in POINTS.items()},
    PROCESSES: "No process that a backend starts outlives the one that it is in.",
}


@dataclass(frozen=True, slots=True)
class CaseFinding:
    """The finding of one point on one case."""

    point: str
    cell: str  # the label and the precision, as `bert[small-cpu-default]`
    finding: PointFinding


def conformance(
    jobs: Sequence[Job], settings: WorkerSettings, points: Sequence[str] = ()
) -> Iterator[list[CaseFinding]]:
    """The findings of each point, in the order of the points.

    Args:
        jobs: the cells; points that need no case are checked on the first one.
        settings: of the children.
        points: the names of those to check; empty for all.

    Raises:
        HarnessError: a package is missing, or there is no such precision.
        Unavailable: the device is missing.
    """
    found: dict[str, Ending] = {}

    def keep(task: Task, ending: Ending) -> None:
        found[task.label] = ending

    rows: dict[str, list[tuple[str, Task]]] = {}
    for point in points or PROMISES:
        chosen = jobs if point in POINTS and POINTS[point].of_case else jobs[:1]
        rows[point] = [
            (
                job.cell.id,
                Task(
                    LEFTOVERS if point == PROCESSES else CHECK,
                    ConformanceRequest(point, job),
                    f"{point} of {job.cell.id}",
                ),
            )
            for job in chosen
        ]
    with Pool(keep, settings) as pool:
        futures = iter(pool.start([task for row in rows.values() for _, task in row]))
        for point, row in rows.items():
            findings = []
            for cell, task in row:
                next(futures).result()
                findings.append(CaseFinding(point, cell, finding_of(point, found[task.label])))
            yield findings


def finding_of(point: str, ending: Ending) -> PointFinding:
    """The finding of a point, from the ending of its process.

    Raises:
        HarnessError: a package is missing, or there is no such precision.
        Unavailable: the device is missing.
    """
    if isinstance(ending.value, PointFinding):
        return ending.value
    if ending.refusal is not None:
        raise ending.refusal
    reason = f"{ending.outcome}: {ending.reason}"
    if point == PROCESSES:
        return PointFinding(PointState.UNCHECKED, reason)
    return at_stage(point, ending.stage, reason)
