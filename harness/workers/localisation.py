"""Localisation of a failure, the parent's side: children that find the culprit, one after another.

A child tries parts of the model in its own process. Where a backend ends that process, or hangs in
it, the part that was being tried has failed so, and the next child goes on with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.cell.request import Job
from harness.contract import Culprit, Outcome
from harness.diagnosis.request import LocaliseRequest
from harness.diagnosis.trial import Journal, Trial, TrialKind
from harness.workers.ending import Ending
from harness.workers.pool import Pool
from harness.workers.run_folder import new_folder
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

#: Target of the task that localises.
LOCALISE = "harness.diagnosis.localise:localise"

#: Factor on the limit on time of a cell: a child prepares and runs many parts of one.
PATIENCE = 3.0

#: How many children there may be for one cell, each but the last one ended by the backend.
MOST_CHILDREN = 16


def localise(jobs: Sequence[Job], settings: WorkerSettings, *, chosen: str = "") -> list[Culprit]:
    """The culprits of some cells' failures, in the order of the cells.

    Args:
        jobs: the cells, and how they run.
        settings: of the children; a child has `PATIENCE` times the time of a cell.
        chosen: the name of the only input to look at; empty for the first that fails.

    Raises:
        HarnessError: a backend makes its own cases, or a cell has no input of that name.
    """
    folder = new_folder()
    requests = [
        LocaliseRequest(job, folder / f"{number}.jsonl", chosen) for number, job in enumerate(jobs)
    ]
    return culprits_of(requests, settings)


def culprits_of(asked: Sequence[LocaliseRequest], settings: WorkerSettings) -> list[Culprit]:
    """The culprits of some cells' failures, whose journals the caller keeps; raises as `localise`.

    Args:
        asked: the cells, and their journals.
        settings: of the children.
    """
    requests = {str(number): request for number, request in enumerate(asked)}
    found: dict[str, Culprit] = {}
    spent: dict[str, float] = dict.fromkeys(requests, 0.0)
    for _ in range(MOST_CHILDREN):
        waiting = {name: request for name, request in requests.items() if name not in found}
        if not waiting:
            break
        for name, ending in _endings(waiting, settings).items():
            spent[name] += ending.seconds
            culprit = _culprit(requests[name], ending)
            if culprit is not None:
                found[name] = replace(culprit, seconds=spent[name])
    return [found.get(name) or _unfinished(requests[name]) for name in requests]


def _endings(requests: dict[str, LocaliseRequest], settings: WorkerSettings) -> dict[str, Ending]:
    found: dict[str, Ending] = {}

    def keep(task: Task, ending: Ending) -> None:
        found[task.label] = ending

    with Pool(keep, replace(settings, shared=False)) as pool:
        tasks = [Task(LOCALISE, request, name, PATIENCE) for name, request in requests.items()]
        for future in pool.start(tasks):
            future.result()
    return found


def _culprit(request: LocaliseRequest, ending: Ending) -> Culprit | None:
    """The culprit that a child found; None where another child shall go on.

    Raises:
        HarnessError: the child refused.
    """
    if isinstance(ending.value, Culprit):
        return ending.value
    if ending.refusal is not None:
        raise ending.refusal
    journal = Journal(request.journal)
    if not journal.begun:
        return Culprit("", "", evidence=f"{ending.outcome} at {ending.stage}: {ending.reason}")
    hang = ending.outcome is Outcome.TIMEOUT
    failed = Trial(
        TrialKind.RAISES,
        reason=f"{ending.outcome}: {ending.reason}",
        cause=f"{ending.outcome}: the process hangs" if hang else ending.cause,
        input=request.input or "base",
    )
    journal.end(journal.begun, failed)
    return None


def _unfinished(request: LocaliseRequest) -> Culprit:
    tried = len(Journal(request.journal).trials)
    said = f"the backend ended {MOST_CHILDREN} processes, while {tried} parts were tried"
    return Culprit("", "", evidence=said, prepares=tried)
