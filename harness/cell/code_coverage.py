"""Coverage of modeling code: the lines of its model's file that one cell runs, in the child."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.cell import stages
from harness.cell.progress import Report
from harness.cell.request import Job
from harness.contract import Absent, Outcome


@dataclass(frozen=True, slots=True)
class LinesRun:
    """The lines of the file with a cell's model class that the whole cell has run."""

    file: str  # its path; empty where this environment does not have the model
    model: str  # the class, as that file calls it
    lines: frozenset[int]
    outcome: Outcome

    @classmethod
    def received(cls, message: Mapping[str, Any]) -> LinesRun:
        """The lines that `lines_run` has returned in a child."""
        lines, outcome = frozenset(message["lines"]), Outcome(message["outcome"])
        return cls(message["file"], message["model"], lines, outcome)


def lines_run(job: Job, report: Report) -> dict[str, Any]:
    """Run a cell, all of its stages, under a line tracer; runs in a child.

    Returns:
        The fields of `LinesRun` as plain data.
    """
    from coverage import Coverage

    try:
        model = model_class(job)
    except (Absent, ImportError):
        return {"file": "", "model": "", "lines": [], "outcome": str(Outcome.ABSENT)}
    file = str(sys.modules[model.__module__].__file__)
    measured = Coverage(data_file=None, config_file=False, include=[file])
    measured.start()
    try:
        result = stages.run(job, report)
    finally:
        measured.stop()
    lines = sorted(measured.get_data().lines(file) or ())
    return {
        "file": file,
        "model": model.__name__,
        "lines": lines,
        "outcome": str(result.outcome),
    }


def model_class(job: Job) -> type:
    """The class of a cell's model, as its library has it; the harness may have derived from it.

    Raises:
        Absent: this environment does not have the model.
    """
    import torch

    from harness.models.libraries import library

    entry, head = job.cell.entry, job.cell.head
    found = library(entry.library)
    config = found.config(entry.architecture, entry.config, job.size, head)
    with torch.device("meta"), torch.no_grad():
        model = found.module(entry.architecture, config, head)
    return next(c for c in type(model).__mro__ if c.__module__.startswith(f"{entry.library}."))
