"""Rows of the results, as typed dataclasses: the runs, the columns and the cells that count.

Every query reads the database of `harness.results.merged.gather`, where the table `latest` holds
the last result of each cell. How a report looks is no concern of a query.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, TypeVar

import duckdb

from harness.contract import FAMILIES, GREEN, MEASURED, Verdict

#: The metrics shown beside every result, by the name under which a cell records them.
LOAD = "load"
INFERENCE = "inference"

#: Verdicts that ask for somebody's attention, the most urgent first.
UNEXPECTED: tuple[Verdict, ...] = (
    Verdict.REGRESSED,
    Verdict.CHANGED,
    Verdict.NEW,
    Verdict.FLAKY,
    Verdict.IMPROVED,
)

#: SQL that several queries share.
FAMILY_ORDER = f"coalesce(list_position({list(FAMILIES)!r}, family), {len(FAMILIES) + 1}), family"
COLUMN_ORDER = "backend, precision <> 'default', precision"
NOT_GREEN = "verdict NOT IN ({})".format(", ".join(f"'{verdict}'" for verdict in sorted(GREEN)))

_CELLS = f"""
SELECT * REPLACE (coalesce(further, []) AS further, coalesce(culprit, '') AS culprit,
    coalesce(measured, MAP {{{{}}}}) AS measured)
FROM {{table}} LEFT JOIN (
    SELECT run_id, entry, head, precision, any_value(value) FILTER (name = '{LOAD}') AS load,
        any_value(value) FILTER (name = '{INFERENCE}') AS inference,
        map_from_entries(list((name[{len(MEASURED) + 1}:], value) ORDER BY name)
            FILTER (starts_with(name, '{MEASURED}'))) AS measured
    FROM metrics GROUP BY ALL
) USING (run_id, entry, head, precision) LEFT JOIN (
    SELECT run_id, entry, head, precision,
        list(outcome || ' at ' || stage || ': ' || reason ORDER BY number) AS further
    FROM further_failures GROUP BY ALL
) USING (run_id, entry, head, precision) LEFT JOIN (
    SELECT run_id, entry, head, precision,
        any_value(cause || ' in ' || coalesce(nullif(module, ''), kind)) AS culprit
    FROM culprits WHERE kind <> '' GROUP BY ALL
) USING (run_id, entry, head, precision)
"""

Connection = duckdb.DuckDBPyConnection
RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True, order=True)
class Column:
    """One column of the matrix: a backend in one precision."""

    backend: str
    precision: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run that still supplies results; times are UTC."""

    run_id: str
    backend: str
    started_at: datetime
    finished_at: datetime | None  # None: interrupted, or cut short by a crash
    device: str
    emulated: bool
    versions: Mapping[str, str]
    lock_sha256: str
    git_commit: str
    host: str
    arguments: tuple[str, ...]
    seed: int
    supplies: int  # how many of the cells that count are this run's


@dataclass(frozen=True, slots=True)
class CellRow:
    """The last result of one cell. Seconds, MB, and shares from 0 to 1."""

    entry: str
    head: str
    backend: str
    precision: str
    family: str
    architecture: str
    stage: str
    outcome: str
    verdict: str
    reason: str
    cause: str
    parameters: int | None
    seconds: float | None
    peak_rss_mb: float | None
    device_share: float | None
    noise_floor: float | None
    score: float | None
    load: float | None
    inference: float | None
    run_id: str
    further: Sequence[str]  # the failures after the first one, each in a line
    culprit: str = ""  # the part of the model that fails, where the cell was localised
    #: Numbers of a cell that was measured, by name: `median`, `ratio`, `tokens`, ...
    measured: Mapping[str, float] = field(default_factory=dict)
    size: str = "tiny"  # of the model: tiny, wide, full, or checkpoint

    @property
    def reasons(self) -> str:
        """The reason, and the failures after the first one, in one line."""
        return "; and ".join([self.reason, *self.further])

    @property
    def column(self) -> Column:
        """The column of the matrix that the cell stands in."""
        return Column(self.backend, self.precision)

    @property
    def unexpected(self) -> bool:
        """Whether the verdict is not green."""
        return self.verdict not in GREEN


def runs(connection: Connection) -> list[RunRow]:
    """The runs that supply at least one result, by backend, the newest first."""
    rows = connection.execute(
        """
        SELECT runs.*, supplies
        FROM runs JOIN (SELECT run_id, count(*) AS supplies FROM latest GROUP BY run_id)
            USING (run_id)
        ORDER BY backend, effective_start DESC, sequence DESC, run_id DESC
        """
    )
    return [run_row(row) for row in dicts(rows)]


def run_row(row: Mapping[str, Any]) -> RunRow:
    """A run from the columns of its row, by their names; columns that no field has are dropped."""
    run = _instance(RunRow, row)
    return replace(run, versions=_mapping(run.versions), arguments=_sequence(run.arguments))


def columns(connection: Connection) -> list[Column]:
    """Every backend and precision with results: by backend, `default` first."""
    return typed(
        Column,
        connection.execute(
            f"SELECT DISTINCT backend, precision, precision <> 'default' FROM latest "
            f"ORDER BY {COLUMN_ORDER}"
        ),
    )


def cells(connection: Connection) -> list[CellRow]:
    """The last result of every cell: by family, then as listed, then by column."""
    order = f"{FAMILY_ORDER}, position, head <> 'base', head, {COLUMN_ORDER}"
    return _cells(connection, f"ORDER BY {order}")


def cells_of_all_sizes(connection: Connection) -> list[CellRow]:
    """The last result of every cell at each size of its model, by column, then as listed."""
    order = f"{COLUMN_ORDER}, size, position, head <> 'base', head"
    return _cells(connection, f"ORDER BY {order}", "latest_of_all_sizes")


def unexpected(connection: Connection) -> list[CellRow]:
    """Cells whose verdict is not green, the most urgent verdict first."""
    urgency = f"list_position({[str(verdict) for verdict in UNEXPECTED]!r}, verdict)"
    order = f"{urgency}, {COLUMN_ORDER}, position, head"
    return _cells(connection, f"WHERE {NOT_GREEN} ORDER BY {order}")


def slowest(connection: Connection, limit: int) -> list[CellRow]:
    """The cells that took longest, all stages together."""
    order = f"seconds DESC, position LIMIT {limit:d}"
    return _cells(connection, f"WHERE seconds IS NOT NULL ORDER BY {order}")


def largest(connection: Connection, limit: int) -> list[CellRow]:
    """The cells with the highest peak of resident memory."""
    order = f"peak_rss_mb DESC, position LIMIT {limit:d}"
    return _cells(connection, f"WHERE peak_rss_mb IS NOT NULL ORDER BY {order}")


def _cells(connection: Connection, clauses: str, table: str = "latest") -> list[CellRow]:
    return typed(CellRow, connection.execute(f"{_CELLS.format(table=table)} {clauses}"))


def dicts(rows: Connection) -> list[dict[str, Any]]:
    """Rows as dictionaries, by column name."""
    names = [column[0] for column in rows.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def typed(kind: type[RowT], rows: Connection) -> list[RowT]:
    """Rows as instances of a dataclass, by column name; columns it does not name are dropped."""
    return [_instance(kind, row) for row in dicts(rows)]


def _instance(kind: type[RowT], row: Mapping[str, Any]) -> RowT:
    return kind(**{field.name: row[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def _mapping(text: object) -> dict[str, str]:
    """A JSON object, keys and values as strings."""
    value = json.loads(str(text))
    return {str(key): str(item) for key, item in value.items()}


def _sequence(text: object) -> tuple[str, ...]:
    """A JSON array, its items as strings."""
    return tuple(str(item) for item in json.loads(str(text)))
