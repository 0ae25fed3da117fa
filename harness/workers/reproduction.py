"""Reproductions of failures: scripts that are written in children, run, and held to the failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import Job
from harness.contract import CellFailure, CellResult, Outcome
from harness.diagnosis import script, script_run
from harness.diagnosis.script_request import ScriptRequest
from harness.workers.cell_result import RUN_CELL, result_of
from harness.workers.ending import Ending
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
    spec: BackendSpec, requests: Mapping[str, ScriptRequest], seconds: float, *, runs: bool = True
) -> Iterator[tuple[str, Reproduction]]:
    """Write scripts of failures and run each, by label; a file of the backend's is tried first.

    Args:
        spec: the backend, in whose environment this is.
        requests: of the scripts, by label.
        seconds: the limit for each of the steps.
        runs: whether the scripts are run.
    """
    waiting = dict(requests)
    best: dict[str, Reproduction] = {}
    for form in script.forms(spec):
        chosen = {name: replace(request, form=form) for name, request in waiting.items()}
        for name, ending in task_endings(spec, _WRITE, chosen, seconds).items():
            made = _made(spec, chosen[name], ending, seconds, runs=runs)
            if made.shown or (made.script is not None and not runs):
                del waiting[name]
                yield name, made
            elif name not in best or best[name].script is None:
                best[name] = made
    for name in waiting:
        yield name, best[name]


def _made(
    spec: BackendSpec, request: ScriptRequest, ending: Ending, seconds: float, *, runs: bool
) -> Reproduction:
    """The reproduction that a child has written, and its run."""
    failure = request.failure
    written: Any = ending.value
    if not isinstance(written, dict):
        return Reproduction(failure, said=f"{ending.outcome}: {ending.reason}")
    if "refused" in written:
        return Reproduction(failure, said=written["refused"])
    path = Path(written["script"])
    made = Reproduction(failure, path, Path(written["report"]), int(written["lines"]))
    if not runs:
        return made
    ended = script_run.run(path, seconds + request.seconds, spec.environment)
    return replace(made, shown=ended.shows(failure), said=ended.summary)
