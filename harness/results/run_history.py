"""History of the results: the runs of each column, and the changed states of every cell.

Every query reads the database of `harness.results.merged.gather(..., history=True)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.results import queries
from harness.results.queries import COLUMN_ORDER, Column, Connection, RunRow, dicts, typed
from harness.results.run_changes import environment_changes


@dataclass(frozen=True, slots=True)
class RunTotal:
    """Counts of one run in one precision, of tiny models.

    Attributes:
        number: of the run, in the order in which all runs count.
        run_id: of the run.
        backend: that was run.
        precision: of the cells counted.
        started_at: UTC.
        cells: that the run has.
        judged: without the absent ones.
        passed: of the judged ones.
        unexpected: cells whose verdict is not green.
        median_inference: over the passing cells, in seconds; None where none was timed.
    """

    number: int
    run_id: str
    backend: str
    precision: str
    started_at: datetime
    cells: int
    judged: int
    passed: int
    unexpected: int
    median_inference: float | None

    @property
    def column(self) -> Column:
        """The column of the matrix that the run belongs to."""
        return Column(self.backend, self.precision)


@dataclass(frozen=True, slots=True)
class StateChange:
    """The state that a cell took in a run, and kept until its next change."""

    number: int
    backend: str
    precision: str
    entry: str
    head: str
    stage: str
    outcome: str
    verdict: str
    reason: str
    cause: str


def totals(connection: Connection) -> list[RunTotal]:
    """The totals of all runs, by column, the oldest first."""
    return typed(
        RunTotal,
        connection.execute(
            f"SELECT * FROM run_totals JOIN runs USING (run_id) JOIN run_numbers USING (run_id) "
            f"ORDER BY {COLUMN_ORDER}, number"
        ),
    )


def changes(connection: Connection) -> list[StateChange]:
    """All changed states, by column, entry and head, the oldest first."""
    return typed(
        StateChange,
        connection.execute(
            f"SELECT * FROM changes ORDER BY {COLUMN_ORDER}, entry, head <> 'base', head, number"
        ),
    )


def states(connection: Connection, column: Column, number: int) -> list[StateChange]:
    """The state of each cell of a column as it was when a run had ended, by that run's number."""
    return typed(
        StateChange,
        connection.execute(
            "SELECT * FROM changes WHERE backend = ? AND precision = ? AND number <= ? "
            "QUALIFY row_number() OVER (PARTITION BY entry, head ORDER BY number DESC) = 1 "
            "ORDER BY entry, head",
            [column.backend, column.precision, number],
        ),
    )


def runs(connection: Connection) -> dict[int, RunRow]:
    """The runs that have totals, by their numbers."""
    rows = dicts(
        connection.execute(
            "SELECT *, 0 AS supplies FROM runs JOIN run_numbers USING (run_id) "
            "WHERE run_id IN (SELECT run_id FROM run_totals) ORDER BY number"
        )
    )
    return {row["number"]: queries.run_row(row) for row in rows}


def pin_changes(found: dict[int, RunRow]) -> dict[int, Sequence[str]]:
    """Versions, device and seed that each run changed since its backend's run before, in words.

    A run that changed nothing is left out.
    """
    last: dict[str, RunRow] = {}
    told: dict[int, Sequence[str]] = {}
    for number, run in found.items():
        before = last.get(run.backend)
        if before is not None and (changed := environment_changes(before, run)):
            told[number] = [f"{one.name} {one.before} → {one.after}" for one in changed]
        last[run.backend] = run
    return told
