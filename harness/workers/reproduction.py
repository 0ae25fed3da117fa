"""Reproductions of failures: scripts that are written in children, run, and held to the failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import Job
from harness.contract import CellFailure, CellResult, Outcome
from harness.diagnosis import script, script_run
from harness.diagnosis.script_request import EXPORTED, PLAIN, ScriptRequest
from harness.workers.cell_result import RUN_CELL, result_of
from harness.workers.task_endings import task_endings

#: Outcomes that are a backend's failure.
FAILURES = frozenset({Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT, Outcome.OOM})

_WRITE = f"{script.__name__}:{script.write.__name__}"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A script of a failure, and what it does.

    Attributes:
        failure: which one.
        script: its path; None where none was written.
        report: the path of its upstream report.
        lines: of the script.
        shown: whether it shows the failure; None where it was not run.
        said: how its run ended, or why there is no script.
    """

    failure: CellFailure
    script: Path | None = None
    report: Path | None = None
    lines: int = 0
    shown: bool | None = None
    said: str = ""


def results_of(spec: BackendSpec, jobs: Mapping[str, Job], seconds: float) -> dict[str, CellResult]:
    """The results of cells that are run now, by label."""
    endings = task_endings(spec, RUN_CELL, jobs, seconds)
    return {label: result_of(jobs[label], ending) for label, ending in endings.items()}


def failures_of(result: CellResult, name: str = "") -> Sequence[CellFailure]:
    """The failures of a backend in a result.

    Args:
        result: of a cell.
        name: of an input or of a stage, which is meant alone; empty for any.
    """
    found = [failure for failure in result.failures if failure.outcome in FAILURES]
    return [f for f in found if not name or f"'{name}'" in f.reason or name in (f.stage, "")]


def reproduce(
    spec: BackendSpec, request: ScriptRequest, seconds: float, *, runs: bool = True
) -> Reproduction:
    """Write a script of a failure and run it; the form of the model's own code is tried first.

    Args:
        spec: the backend, in whose environment this is.
        request: the failure.
        seconds: the limit for each of the steps.
        runs: whether the script is run.
    """
    best: Reproduction | None = None
    for form in (PLAIN, EXPORTED):
        made = _attempt(spec, replace(request, form=form), seconds, runs=runs)
        if made.shown or (made.script is not None and not runs):
            return made
        if best is None or (best.script is None and made.script is not None):
            best = made
    assert best is not None
    return best


def _attempt(
    spec: BackendSpec, request: ScriptRequest, seconds: float, *, runs: bool
) -> Reproduction:
    failure = request.failure
    (ending,) = task_endings(spec, _WRITE, {"script": request}, seconds).values()
    written: Any = ending.value
    if not isinstance(written, dict):
        return Reproduction(failure, said=f"{ending.outcome}: {ending.reason}")
    if "refused" in written:
        return Reproduction(failure, said=written["refused"])
    made = Reproduction(
        failure, Path(written["script"]), Path(written["report"]), int(written["lines"])
    )
    if not runs or made.script is None:
        return made
    ended = script_run.run(made.script, seconds + request.seconds, spec.environment)
    return replace(made, shown=ended.shows(failure), said=ended.summary)
