"""Reproductions of failures: scripts that are written in children, run, and held to the failure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import Job
from harness.contract import CellFailure, CellResult, Culprit, Outcome, Stage
from harness.diagnosis import operator_script, script, script_run
from harness.diagnosis.operator_script import OperatorScriptRequest
from harness.diagnosis.request import LocaliseRequest
from harness.diagnosis.script_request import SIMPLE, ScriptRequest
from harness.diagnosis.simple_model import MARGIN
from harness.workers.cell_result import RUN_CELL, result_of
from harness.workers.ending import Ending
from harness.workers.localisation import culprits_of
from harness.workers.run_folder import new_folder
from harness.workers.task_endings import settings_of, task_endings

#: Outcomes that are a backend's failure.
FAILURES = frozenset({Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT, Outcome.OOM})

_WRITE = f"{script.__name__}:{script.write.__name__}"
_WRITE_OPERATORS = f"{operator_script.__name__}:{operator_script.write.__name__}"


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
    """Write scripts of failures and run each, by label.

    A file of the backend's is tried first, then the library's own weights, which show most failures
    in fewer lines than those of the cell.

    Args:
        spec: the backend, in whose environment this is.
        requests: of the scripts, by label.
        seconds: the limit for each of the steps.
        runs: whether the scripts are run.
    """
    waiting = dict(requests)
    best: dict[str, Reproduction] = {}
    for form in script.forms(spec):
        if not waiting or (form == SIMPLE and not runs):
            continue  # only its run tells whether the failure shows on other weights
        chosen = {name: replace(request, form=form) for name, request in waiting.items()}
        for name, ending in task_endings(spec, _WRITE, chosen, seconds).items():
            made = _made(spec, chosen[name], ending, seconds, runs=runs)
            if made.shown or (made.script is not None and not runs):
                del waiting[name]
                yield name, made
            elif form == SIMPLE and made.script is not None:
                _removed(made.script)
            elif name not in best or best[name].script is None:
                best[name] = made
    for name in waiting:
        yield name, best[name]


def _made(
    spec: BackendSpec, request: ScriptRequest, ending: Ending, seconds: float, *, runs: bool
) -> Reproduction:
    """The reproduction that a child has written, and its run."""
    failure = request.failure
    made = _read(ending, failure)
    margin = MARGIN if request.form == SIMPLE else 0.0
    return _shown(spec, made, seconds + request.seconds, margin) if made.script and runs else made


def _read(ending: Ending, failure: CellFailure) -> Reproduction:
    """A script as its child tells of it, not run yet."""
    written: Any = ending.value
    if not isinstance(written, dict):
        return Reproduction(failure, said=f"{ending.outcome}: {ending.reason}")
    if "refused" in written:
        return Reproduction(failure, said=written["refused"])
    return Reproduction(
        failure, Path(written["script"]), Path(written["report"]), int(written["lines"])
    )


def _shown(
    spec: BackendSpec, made: Reproduction, seconds: float, margin: float = 0.0
) -> Reproduction:
    """The reproduction, whose script has been run."""
    assert made.script is not None
    ended = script_run.run(made.script, seconds, spec.environment)
    return replace(made, shown=ended.shows(made.failure, margin), said=ended.summary)


def reproduce_operators(
    spec: BackendSpec,
    job: Job,
    folder: Path,
    seconds: float,
    *,
    chosen: str = "",
    runs: bool = True,
) -> tuple[Culprit, Reproduction]:
    """Find the operators of a cell that fail, write a script of these alone, and run it.

    The values are drawn at random where the operators fail on such ones, too.

    Args:
        spec: the backend, in whose environment this is.
        job: the cell.
        folder: where the script goes.
        seconds: the limit for each of the steps.
        chosen: the name of the only input to look at; empty for the first that fails.
        runs: whether scripts are run; else the one with recorded values is written.

    Returns:
        The culprit, and the first script that shows its failure; else no script, and how the last
        one ended.

    Raises:
        HarnessError: the backend makes its own cases, or the cell has no such input.
    """
    search = LocaliseRequest(job, new_folder() / "journal.jsonl", chosen)
    (culprit,) = culprits_of([search], settings_of(spec, seconds, workers=1))
    nothing = CellFailure(Stage.VERIFY, Outcome.FAIL, culprit.failure, "", "")
    best = Reproduction(nothing, said=culprit.line)
    for form in operator_script.FORMS if culprit.operator else ():
        if form == operator_script.DRAWN and not runs:
            continue
        request = OperatorScriptRequest(search, folder, form, round(seconds))
        (ending,) = task_endings(spec, _WRITE_OPERATORS, {form: request}, seconds).values()
        made = _read(ending, _failure_of(ending, nothing))
        if made.script is not None and runs:
            made = _shown(spec, made, 2 * seconds)
        if made.script is not None and made.shown is not False:
            return culprit, made
        if made.script is not None:
            _removed(made.script)
            best = replace(made, script=None, report=None)
        elif best.shown is None:
            best = made
    return culprit, best


def _failure_of(ending: Ending, otherwise: CellFailure) -> CellFailure:
    written: Any = ending.value
    if not isinstance(written, dict) or "cause" not in written:
        return otherwise
    return CellFailure(
        Stage(written["stage"]),
        Outcome(written["outcome"]),
        written["reason"],
        written["cause"],
        "",
    )


def _removed(path: Path) -> None:
    """Remove a script that does not show the failure, and what lies beside it."""
    for file in path.parent.glob(f"{path.stem}.*"):
        file.unlink()
