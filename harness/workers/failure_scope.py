"""Failure scope: how much of what outlives a failed task may be damaged, up to the device."""

from __future__ import annotations

import enum

from harness.contract import CellResult, Outcome
from harness.workers.ending import Ending


class FailureScope(enum.IntEnum):
    """The largest thing that a task may have damaged."""

    NONE = 0  # no failure: the ending counts at once
    TASK = 1  # run the task again alone, and go on with the worker
    PROCESS = 2  # replace the worker too, and probe the device where the cause is a new one
    DEVICE = 3  # probe the device in any case


#: Outcomes of a cell whose program has hardly run on the device.
_HARMLESS = frozenset(
    {
        Outcome.TOO_LARGE,
        Outcome.UNSUPPORTED,
        Outcome.LIBRARY,
        Outcome.UNTESTED,
        Outcome.INCONCLUSIVE,
    }
)


def failure_scope(ending: Ending) -> FailureScope:
    """The scope of a task's failure, from its outcome."""
    result = _result(ending)
    if isinstance(result, CellResult) and result.further:
        return max(_scope_of(failure.outcome) for failure in result.failures)
    return _scope_of(result.outcome)


def _scope_of(outcome: Outcome | None) -> FailureScope:
    if outcome in (None, Outcome.PASS, Outcome.ABSENT):
        return FailureScope.NONE
    if outcome in (Outcome.CRASH, Outcome.TIMEOUT):
        return FailureScope.DEVICE
    return FailureScope.TASK if outcome in _HARMLESS else FailureScope.PROCESS


def outcome_of(ending: Ending) -> Outcome | None:
    """The outcome of the cell, where the task returned a result; else that of the process."""
    return _result(ending).outcome


def cause_of(ending: Ending) -> str:
    """The fingerprint of a failure; without one, the failure in a line."""
    return _result(ending).cause or failure_line(ending)


def failure_line(ending: Ending) -> str:
    """A failure in a line: outcome, stage and reason."""
    result = _result(ending)
    return f"{result.outcome} at {result.stage}: {result.reason}"


def _result(ending: Ending) -> CellResult | Ending:
    return ending.value if isinstance(ending.value, CellResult) else ending
