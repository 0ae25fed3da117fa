"""Localising of failures in a run (`--localise`): which are followed, and with what settings."""

from __future__ import annotations

from dataclasses import replace

from harness.cell.request import Job
from harness.contract import CellResult, Culprit, HarnessError, Outcome, Stage
from harness.workers import localisation
from harness.workers.settings import WorkerSettings

#: Stages and outcomes of the failures that `--localise` follows.
LOCALISED_AT = (Stage.RUN, Stage.VERIFY)
LOCALISED = (Outcome.FAIL, Outcome.CRASH, Outcome.TIMEOUT)


def is_followed(result: CellResult) -> bool:
    """Whether a cell failed where the backend is to be searched: at `run` or `verify`."""
    return result.outcome in LOCALISED and result.stage in LOCALISED_AT


def culprit_of(job: Job, settings: WorkerSettings) -> Culprit:
    """The part of a failed cell that fails, or why none was found.

    Args:
        job: the cell.
        settings: of the run's children; one at a time searches.
    """
    try:
        (found,) = localisation.localise([job], replace(settings, workers=1))
    except HarnessError as error:  # a backend that makes its own cases
        return Culprit("", "", evidence=str(error))
    return found
