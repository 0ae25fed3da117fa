"""News of each column: cells that changed since its run before, and since its last green run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.results import run_history
from harness.results.changed_cells import CellKey, Change, Kind, State, changes, is_green
from harness.results.queries import Column, Connection
from harness.results.run_history import RunTotal, StateChange


@dataclass(frozen=True, slots=True)
class Since:
    """The changes of a column since one of its runs.

    Attributes:
        number: of that run, in the order in which all runs count.
        run_id: of that run.
        started_at: when it began, UTC.
        changes: the cells that changed since, the most urgent kind first. New cells are none.
    """

    number: int
    run_id: str
    started_at: datetime
    changes: tuple[Change, ...]

    def of(self, *kinds: Kind) -> list[Change]:
        """The changes of some kinds."""
        return [change for change in self.changes if change.kind in kinds]

    @property
    def broke(self) -> int:
        """Cells that passed and do not now, or do not always."""
        return len(self.of(Kind.REGRESSED, Kind.FLAKY))

    @property
    def mended(self) -> int:
        """Cells that did not pass, and do now."""
        return len(self.of(Kind.IMPROVED))


@dataclass(frozen=True, slots=True)
class News:
    """News of one column.

    Attributes:
        column: a backend in one precision.
        newest: its newest run.
        before: changes since the run before; None where there is none.
        green: changes since the last run before the newest in which every cell was as expected;
            None where there is none.
    """

    column: Column
    newest: RunTotal
    before: Since | None
    green: Since | None


def news(connection: Connection) -> list[News]:
    """The news of each column with results, in the order of the columns."""
    by_column: dict[Column, list[RunTotal]] = {}
    for total in run_history.totals(connection):
        by_column.setdefault(total.column, []).append(total)
    return [_of_column(connection, column, totals) for column, totals in by_column.items()]


def _of_column(connection: Connection, column: Column, totals: Sequence[RunTotal]) -> News:
    *earlier, newest = totals
    now = _states(run_history.states(connection, column, newest.number))
    before = earlier[-1] if earlier else None
    green = next((total for total in reversed(earlier) if not total.unexpected), None)
    since = {
        total.number: _since(connection, column, total, now)
        for total in (before, green)
        if total is not None
    }
    return News(
        column,
        newest,
        None if before is None else since[before.number],
        None if green is None else since[green.number],
    )


def _since(
    connection: Connection, column: Column, total: RunTotal, now: Mapping[CellKey, State]
) -> Since:
    then = _states(run_history.states(connection, column, total.number))
    changed = [one for one in changes(then, now) if one.kind not in (Kind.NEW, Kind.GONE)]
    return Since(total.number, total.run_id, total.started_at, tuple(changed))


def _states(found: Sequence[StateChange]) -> dict[CellKey, State]:
    return {
        CellKey(one.backend, one.precision, one.entry, one.head): State(
            one.outcome, one.stage, one.cause, one.reason, is_green(one.outcome, one.verdict)
        )
        for one in found
    }
