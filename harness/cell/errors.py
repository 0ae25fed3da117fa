"""Classification of errors: which outcome an exception is, at the stage where it was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from harness.contract import (
    OURS,
    Absent,
    BrokenContract,
    CellFailure,
    CheckFailed,
    HarnessError,
    Inconclusive,
    LibraryFault,
    Outcome,
    Stage,
    TooLarge,
    Unavailable,
    Unsupported,
)
from harness.toolkit import fingerprints, printable


def failure_of(error: BaseException, stage: Stage, names: Iterable[str]) -> CellFailure:
    """The failure that an exception is, classified by its type and its stage.

    Of a long message, the failure keeps as much as `harness.toolkit.printable` says.

    Args:
        error: the exception.
        stage: where it was raised.
        names: of the entry and its architecture, which are left out of the fingerprint.
    """
    where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    return CellFailure(
        stage=stage,
        outcome=_outcome(error, stage),
        reason=printable.kept_line(where + _one_line(error)),
        cause=fingerprints.of(error, names),
        error=printable.kept("".join(traceback.format_exception(error))),
    )


def _outcome(error: BaseException, stage: Stage) -> Outcome:
    if isinstance(error, BrokenContract):
        return Outcome.FAIL
    if isinstance(error, LibraryFault):
        return Outcome.LIBRARY
    if isinstance(error, Absent):
        return Outcome.ABSENT
    if isinstance(error, TooLarge):
        return Outcome.TOO_LARGE
    if isinstance(error, Inconclusive):
        return Outcome.INCONCLUSIVE
    if fingerprints.is_out_of_memory(type(error).__name__, fingerprints.text_of(error)):
        return Outcome.OOM
    if stage in OURS and not isinstance(error, Unavailable):
        return Outcome.UNTESTED
    return Outcome.UNSUPPORTED if isinstance(error, Unsupported) else Outcome.FAIL


def _one_line(error: BaseException) -> str:
    text = fingerprints.telling_line(fingerprints.text_of(error))
    if isinstance(
        error, CheckFailed | Absent | Unsupported | TooLarge | Inconclusive | HarnessError
    ):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
