"""Attempts at one cell: its result where `--repeat` runs it again, and whether it is run again.

A cell that passes in one attempt and fails in another is `flaky`. One that fails each time stays
what it was at first. The numbers of a result (times, memory, score) are those of its first attempt
that failed. Every attempt is counted in its metrics, and told below the traceback, with
outcome, reason and seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from harness.contract import ATTEMPTS, ATTEMPTS_PASSED, CellResult, Metric, Outcome, Verdict
from harness.toolkit import printable
from harness.toolkit.durations import duration

#: Above the lines on the attempts, in the text `error` of a result.
HEADING = "--- attempts ---"


def combined(attempts: Sequence[CellResult]) -> CellResult:
    """The result of a cell that was run one or several times.

    Args:
        attempts: the results in their order, at least one; they are left as they are.
    """
    if len(attempts) == 1:
        return attempts[0]
    passes = sum(attempt.outcome is Outcome.PASS for attempt in attempts)
    shown = next((one for one in attempts if one.outcome is not Outcome.PASS), attempts[0])
    counts = [Metric(ATTEMPTS, len(attempts), "1"), Metric(ATTEMPTS_PASSED, passes, "1")]
    lines = "\n".join([HEADING, *attempt_lines(attempts)])
    result = replace(
        shown,
        verdict=None,
        error=printable.kept(f"{shown.error.rstrip()}\n\n{lines}".lstrip()),
        metrics=[*shown.metrics, *counts],
        further=list(shown.further),
    )
    if 0 < passes < len(attempts):
        told = f"passed in {passes} of {len(attempts)} attempts, else {shown.outcome}"
        result.reason = printable.kept_line(f"{told}: {shown.reason}" if shown.reason else told)
        result.outcome = Outcome.FLAKY
        result.further = [replace(one, outcome=Outcome.FLAKY) for one in shown.further]
    return result


def attempt_lines(attempts: Sequence[CellResult]) -> list[str]:
    """A line for each attempt, or for several in a row that ended alike.

    `1, 2: fail at verify: relative error 0.2 ... (1.4 s, 1.3 s)`, then `3: pass (1.5 s)`.
    """
    lines = []
    for told, alike in groupby(enumerate(attempts, 1), lambda pair: _told(pair[1])):
        pairs = list(alike)
        numbers = ", ".join(str(number) for number, _ in pairs)
        seconds = ", ".join(duration(attempt.seconds) for _, attempt in pairs)
        lines.append(f"{numbers}: {told} ({seconds})")
    return lines


def wants_another(result: CellResult, attempts: int, repeats: int) -> bool:
    """Whether a cell is to be run again.

    A cell is run again while it has only failed, or only passed where a failure was expected.

    Args:
        result: of its attempts so far, judged.
        attempts: how many there were.
        repeats: how often a cell is run again at most.
    """
    if attempts > repeats or result.outcome in (Outcome.ABSENT, Outcome.FLAKY):
        return False
    return result.outcome is not Outcome.PASS or result.verdict is Verdict.IMPROVED


def _told(attempt: CellResult) -> str:
    if attempt.outcome is Outcome.PASS:
        return "pass"
    return f"{attempt.outcome} at {attempt.stage}: {printable.line(attempt.reason)}"
