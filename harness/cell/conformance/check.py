"""Check of one point of the contract; runs in the child process."""

from __future__ import annotations

from collections.abc import Mapping

from harness.cell.conformance.finding import PointFinding, PointState, UncheckedError
from harness.cell.conformance.points import POINTS
from harness.cell.conformance.request import ConformanceRequest
from harness.cell.conformance.subject import Subject
from harness.cell.errors import failure_of
from harness.cell.progress import Report
from harness.contract import BrokenContract, HarnessError, Stage, Unavailable

#: The points that promises belong to, which every inference is held to: another point whose
#: inference breaks one of them cannot be checked.
OWNERS: Mapping[str, str] = {
    "outputs": "types",
    "wrote into its input": "read-only",
    "aliased outputs": "aliasing",
    "dtype": "dtypes",
}

#: The steps in their order.
STEPS = tuple(Stage)


def check(request: ConformanceRequest, report: Report) -> PointFinding:
    """The finding of one point; only a fault that kills the process escapes.

    Args:
        request: the point, and the cell that it is checked on.
        report: called with a stage before it is entered.

    Raises:
        HarnessError: a package is missing, or there is no such backend or precision.
        Unavailable: the device is missing.
    """
    point = POINTS[request.point]
    subject = Subject(request.job, report)
    report(subject.stage, ())
    try:
        return PointFinding(PointState.HOLDS, point.look(subject))
    except UncheckedError as error:
        return PointFinding(PointState.UNCHECKED, str(error))
    except (HarnessError, Unavailable, SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        entry = request.job.cell.entry
        failure = failure_of(error, subject.stage, (entry.name, entry.architecture))
        reason = failure.reason
        if isinstance(error, BrokenContract):
            reason = reason.removeprefix("contract: ")
            if OWNERS.get(error.promise, request.point) != request.point:
                return PointFinding(PointState.UNCHECKED, reason)
        return at_stage(request.point, subject.stage, reason)


def at_stage(point: str, stage: Stage, reason: str) -> PointFinding:
    """The finding of a point whose check failed at some stage.

    Before the point's own stage it is another point that is broken: `prepare`, say.
    """
    if STEPS.index(stage) < STEPS.index(POINTS[point].stage):
        return PointFinding(PointState.UNCHECKED, f"{stage}: {reason}")
    return PointFinding(PointState.BROKEN, reason)
