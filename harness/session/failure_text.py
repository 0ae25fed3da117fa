"""Text of a cell whose verdict is not green: outcome, expectation, traceback, rerun command."""

from __future__ import annotations

from collections.abc import Sequence

from harness.catalog import model_lists
from harness.contract import CellResult, Outcome, Verdict
from harness.report import culprits
from harness.results.attempts import HEADING, attempt_lines
from harness.results.expectations import Failure
from harness.session.run import Run
from harness.toolkit import printable
from harness.toolkit.checkout import shown_path

#: Lines of a traceback that are shown; the results have more of it.
TRACEBACK = 12

#: Where the whole of a text is that is cut.
WHOLE = "in the results"


def failure_text(run: Run, result: CellResult) -> str:
    """The text for one cell of a run."""
    outcome = result.outcome
    path = shown_path(run.spec.expectations)
    lines = [headline(result)]
    if result.reason:
        lines.append(printable.line(result.reason, whole=WHOLE))
    lines += [f"and {printable.line(more.line, whole=WHOLE)}" for more in result.further]
    if result.culprit is not None:
        lines += [printable.line(line, whole=WHOLE) for line in culprits.lines(result.culprit)]
    known = {path: run.expectations.about(result)}
    if run.expectations.checks_library:
        files = [shown_path(path / model_lists.EXPECTATIONS) for path in run.options.lists.folders]
        known[" or ".join(files)] = run.expectations.of_library(result)
    rows = "; ".join(
        f"{_told(row.failure)} ({file})" for file, found in known.items() for row in found
    )
    if result.verdict is Verdict.IMPROVED:
        lines.append(f"expected {rows}; it passes now. Fix: delete that row")
    elif result.verdict is Verdict.CHANGED:
        lines.append(f"expected {rows}")
        left = run.expectations.unexpected(result)
        if len(left) < len(result.failures):
            found = "; ".join(f"{failure.outcome} at {failure.stage}" for failure in left)
            lines.append(f"no row names {found}")
    elif result.verdict is Verdict.REGRESSED:
        lines.append("it passed before: its last green result is a pass")
    elif result.verdict is Verdict.FLAKY:
        lines.append(
            f'no row of {path} with outcome = "flaky" names this. Such a row lets the cell pass or '
            "fail so"
        )
    if flaky := run.flaky_runs(result):
        lines.append(f"flaky in {flaky} earlier run{'s' if flaky > 1 else ''}")
    attempts = run.attempts(result)
    if len(attempts) > 1:
        lines += ["attempts:", *(f"  {line}" for line in attempt_lines(attempts))]
    if result.error and outcome is not Outcome.PASS:
        trace = result.error.partition(HEADING)[0]
        excerpt = "\n".join(_excerpt(trace.strip().split("\n")))
        lines += ["", *printable.lines(excerpt, whole=WHOLE), ""]
    return "\n".join([*lines, printable.escaped(f"rerun: {run.rerun(result)}")])


def _told(failure: Failure) -> str:
    match = f" with {failure.match!r}" if failure.match else ""
    return f"{failure.outcome or 'a failure'} at {failure.stage}{match}"


def headline(result: CellResult) -> str:
    """Verdict, outcome and stage: `new: fail at verify`, and `flaky at verify`."""
    ending = f"{result.outcome} at {result.stage}"
    return ending if result.verdict is Verdict.FLAKY else f"{result.verdict}: {ending}"


def _excerpt(trace: Sequence[str]) -> list[str]:
    """The telling end of a traceback: its last lines, or the first ones of faulthandler's."""
    upside_down = [i for i, line in enumerate(trace) if line.endswith("(most recent call first):")]
    current = [i for i in upside_down if trace[i].startswith("Current thread")] or upside_down[-1:]
    start = max(0, current[0] - 2) if current else max(0, len(trace) - TRACEBACK)
    shown = trace[start : start + TRACEBACK]
    left = len(trace) - len(shown)
    return [*([f"... {left} lines more, {WHOLE}"] if left else []), *shown]
