"""The runs that a folder of results has and an earlier copy of it lacks: those of one session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.contract import Outcome
from harness.results import merged


@dataclass(frozen=True, slots=True)
class NewRun:
    """One run that is new.

    Attributes:
        run_id: its id.
        backend: its backend.
        finished: whether it came to its end.
        cells: how many of its cells ran: those that the environment lacks are not counted.
    """

    run_id: str
    backend: str
    finished: bool
    cells: int

    @property
    def counts(self) -> bool:
        """Whether its results say what a backend does now."""
        return self.finished and self.cells > 0


def new_runs(before: Path, after: Path) -> list[NewRun]:
    """The runs in one folder of results that another one lacks, by their ids.

    Args:
        before: the results as they were; a folder that is missing or empty has none.
        after: the results as they are now.
    """
    fresh = _ids(after) - _ids(before)
    if not fresh:
        return []
    gathered = merged.gather(merged.find(after), None, runs=fresh)
    with gathered.connection as connection:
        rows = connection.execute(
            "SELECT runs.run_id, backend, finished_at IS NOT NULL, "
            "count(entry) FILTER (outcome <> ?) FROM runs LEFT JOIN cells USING (run_id) "
            "WHERE list_contains(?, runs.run_id) GROUP BY ALL ORDER BY runs.run_id",
            [Outcome.ABSENT.value, sorted(fresh)],
        ).fetchall()
    return [NewRun(*row) for row in rows]


def _ids(folder: Path) -> set[str]:
    """The ids of all runs in a folder of results."""
    gathered = merged.gather(merged.find(folder), None, runs=())
    with gathered.connection as connection:
        return {row[0] for row in connection.execute("SELECT run_id FROM runs").fetchall()}
