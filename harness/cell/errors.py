"""Classification of errors: which outcome an exception is, at the stage where it was raised."""

from __future__ import annotations

import traceback

from harness.contract import (
    OURS,
    Absent,
    BrokenContract,
    CellResult,
    CheckFailed,
    HarnessError,
    Inconclusive,
    Outcome,
    Stage,
    Unavailable,
    Unsupported,
)
from harness.toolkit import fingerprints, printable


def record_error(error: BaseException, result: CellResult) -> None:
    """Classify an exception by its type and by the stage where it was raised.

    Of a long message, the result keeps as much as `harness.toolkit.printable` says.
    """
    result.error = printable.kept("".join(traceback.format_exception(error)))
    where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    result.reason = printable.kept_line(where + _one_line(error))
    result.cause = fingerprints.of(error, (result.entry, result.architecture))
    result.outcome = _outcome(error, result.stage)


def _outcome(error: BaseException, stage: Stage) -> Outcome:
    if isinstance(error, BrokenContract):
        return Outcome.FAIL
    if isinstance(error, Absent):
        return Outcome.ABSENT
    if isinstance(error, Inconclusive):
        return Outcome.INCONCLUSIVE
    if fingerprints.is_out_of_memory(type(error).__name__, fingerprints.text_of(error)):
        return Outcome.OOM
    if stage in OURS and not isinstance(error, Unavailable):
        return Outcome.UNTESTED
    return Outcome.UNSUPPORTED if isinstance(error, Unsupported) else Outcome.FAIL


def _one_line(error: BaseException) -> str:
    text = fingerprints.telling_line(fingerprints.text_of(error))
    if isinstance(error, CheckFailed | Absent | Unsupported | Inconclusive | HarnessError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
