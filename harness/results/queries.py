"""What the report asks of the results: one SQL query a function, typed rows back.

All of them read what `harness.results.merged.gather` brought together, where the table `latest`
holds the last result of each cell. Nothing here knows how a report looks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

import duckdb

from harness.contract import FAMILIES, GREEN, Outcome, Verdict

#: The metrics shown beside every result, by the name under which a cell records them.
LOAD = "load"
INFERENCE = "inference"

#: Verdicts that ask for somebody's attention, the most urgent first.
UNEXPECTED: tuple[Verdict, ...] = (
    Verdict.REGRESSED,
    Verdict.CHANGED,
    Verdict.NEW,
    Verdict.IMPROVED,
)

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

    @property
    def column(self) -> Column:
        """Where in the matrix it stands."""
        return Column(self.backend, self.precision)

    @property
    def unexpected(self) -> bool:
        """Whether its verdict is not green."""
        return self.verdict not in GREEN


@dataclass(frozen=True, slots=True)
class Total:
    """How the cells of one column, or of one family in one column, came out."""

    backend: str
    precision: str
    family: str  # empty: all families
    outcomes: Mapping[str, int]
    verdicts: Mapping[str, int]
    listed: int  # entries that the model lists name
    not_run: int  # of these, entries without any result in this column
    surprises: int  # judged cells that did not pass although nobody expected that

    @property
    def column(self) -> Column:
        """The column counted."""
        return Column(self.backend, self.precision)

    @property
    def passed(self) -> int:
        """Cells that passed. Nothing else counts as passing."""
        return self.outcomes.get(Outcome.PASS, 0)

    @property
    def absent(self) -> int:
        """Cells that this environment's pins do not have."""
        return self.outcomes.get(Outcome.ABSENT, 0)

    @property
    def judged(self) -> int:
        """The denominator: every cell that ran, absent ones excluded."""
        return sum(self.outcomes.values()) - self.absent

    @property
    def expected(self) -> int:
        """Cells that did not pass, as expected (`xfail`), absent ones excluded."""
        return self.judged - self.passed - self.surprises

    @property
    def unexpected(self) -> int:
        """Cells whose verdict is not green, improvements and unexpected absences included."""
        return sum(count for verdict, count in self.verdicts.items() if verdict not in GREEN)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Where one cause strikes: one backend, stage and outcome, with an example."""

    backend: str
    stage: str
    outcome: str
    entries: tuple[str, ...]
    unexpected: int
    example: str
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Cause:
    """One fault and all the entries that it blocks, over all backends."""

    name: str
    entries: int
    places: tuple[Blocked, ...]


@dataclass(frozen=True, slots=True)
class Absence:
    """Why cells of one backend are in no denominator."""

    backend: str
    reason: str
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoodIn:
    """How many cells of a backend ran on something else, its device being missing."""

    backend: str
    fallback: str
    cells: int
    correct: int  # cells whose checks held there; none of them is a pass of the backend


@dataclass(frozen=True, slots=True)
class Delisted:
    """An entry that has results although no model list names it any more."""

    entry: str
    backends: tuple[str, ...]


_FAMILY_ORDER = f"coalesce(list_position({list(FAMILIES)!r}, family), {len(FAMILIES) + 1}), family"
_COLUMN_ORDER = "backend, precision <> 'default', precision"
_CELLS = f"""
SELECT latest.*, load.value AS load, inference.value AS inference
FROM latest
LEFT JOIN metrics AS load
    ON load.name = '{LOAD}' AND load.run_id = latest.run_id AND load.entry = latest.entry
    AND load.head = latest.head AND load.precision = latest.precision
LEFT JOIN metrics AS inference
    ON inference.name = '{INFERENCE}' AND inference.run_id = latest.run_id
    AND inference.entry = latest.entry AND inference.head = latest.head
    AND inference.precision = latest.precision
"""
#: A failure without a fingerprint is a cause of its own, named by what is known of it.
_CAUSE = "coalesce(nullif(cause, ''), nullif(reason, ''), outcome || ' at ' || stage)"
_NOT_GREEN = "verdict NOT IN ({})".format(", ".join(f"'{verdict}'" for verdict in sorted(GREEN)))


def runs(connection: Connection) -> list[RunRow]:
    """The runs that supply at least one result, by backend, the newest first."""
    rows = connection.execute(
        """
        SELECT runs.*, supplies
        FROM runs JOIN (SELECT run_id, count(*) AS supplies FROM latest GROUP BY run_id)
            USING (run_id)
        ORDER BY backend, started_at DESC, run_id DESC
        """
    )
    return [
        replace(run, versions=_mapping(run.versions), arguments=_sequence(run.arguments))
        for run in _typed(RunRow, rows)
    ]


def columns(connection: Connection) -> list[Column]:
    """The backends and precisions with results: by backend, `default` first."""
    return _typed(
        Column,
        connection.execute(
            f"SELECT DISTINCT backend, precision, precision <> 'default' FROM latest "
            f"ORDER BY {_COLUMN_ORDER}"
        ),
    )


def cells(connection: Connection) -> list[CellRow]:
    """The last result of every cell: by family, then as listed, then by column."""
    return _typed(
        CellRow,
        connection.execute(
            f"{_CELLS} ORDER BY {_FAMILY_ORDER}, position, latest.head <> 'base', latest.head, "
            "backend, latest.precision <> 'default', latest.precision"
        ),
    )


def totals(connection: Connection) -> list[Total]:
    """One row a column, over all families."""
    return _totals(connection, by_family=False)


def family_totals(connection: Connection) -> list[Total]:
    """One row a family and column; families in the order of the contract."""
    return _totals(connection, by_family=True)


def causes(connection: Connection) -> list[Cause]:
    """Everything that keeps cells from passing, by the number of entries that it blocks."""
    rows = _dicts(
        connection.execute(
            f"""
            WITH places AS (
                SELECT {_CAUSE} AS name, backend, stage, outcome,
                    list(DISTINCT entry ORDER BY entry) AS entries,
                    count(*) FILTER ({_NOT_GREEN}) AS unexpected,
                    arg_min(entry, (position, precision)) AS example,
                    arg_min(reason, (position, precision)) AS reason,
                    arg_min(error, (position, precision)) AS error
                FROM latest WHERE outcome NOT IN ('{Outcome.PASS}', '{Outcome.ABSENT}')
                GROUP BY ALL
            ), ranked AS (
                SELECT {_CAUSE} AS name, count(DISTINCT entry) AS blocked
                FROM latest WHERE outcome NOT IN ('{Outcome.PASS}', '{Outcome.ABSENT}')
                GROUP BY ALL
            )
            SELECT name, blocked, backend, stage, outcome, entries, unexpected, example, reason,
                error
            FROM places JOIN ranked USING (name)
            ORDER BY blocked DESC, name, len(entries) DESC, backend, stage, outcome
            """
        )
    )
    found: dict[str, tuple[int, list[Blocked]]] = {}
    for row in rows:
        name, blocked = row.pop("name"), row.pop("blocked")
        row["entries"] = tuple(row["entries"])
        found.setdefault(name, (blocked, []))[1].append(Blocked(**row))
    return [Cause(name, blocked, tuple(places)) for name, (blocked, places) in found.items()]


def unexpected(connection: Connection) -> list[CellRow]:
    """Cells whose verdict is not green, the most urgent verdict first."""
    return _typed(
        CellRow,
        connection.execute(
            f"{_CELLS} WHERE {_NOT_GREEN} ORDER BY "
            f"list_position({[str(verdict) for verdict in UNEXPECTED]!r}, verdict), "
            "backend, latest.precision <> 'default', latest.precision, position, latest.head"
        ),
    )


def slowest(connection: Connection, limit: int) -> list[CellRow]:
    """The cells that took longest, all stages together."""
    return _typed(
        CellRow,
        connection.execute(
            f"{_CELLS} WHERE seconds IS NOT NULL ORDER BY seconds DESC, position LIMIT {limit:d}"
        ),
    )


def largest(connection: Connection, limit: int) -> list[CellRow]:
    """The cells with the highest peak of resident memory."""
    return _typed(
        CellRow,
        connection.execute(
            f"{_CELLS} WHERE peak_rss_mb IS NOT NULL "
            f"ORDER BY peak_rss_mb DESC, position LIMIT {limit:d}"
        ),
    )


def absences(connection: Connection) -> list[Absence]:
    """What is left out of the denominators, by backend and reason, the commonest first."""
    rows = _dicts(
        connection.execute(
            f"""
            SELECT backend, reason, list(DISTINCT entry ORDER BY entry) AS entries
            FROM latest WHERE outcome = '{Outcome.ABSENT}'
            GROUP BY ALL ORDER BY backend, len(entries) DESC, reason
            """
        )
    )
    return [Absence(row["backend"], row["reason"], tuple(row["entries"])) for row in rows]


def stood_in(connection: Connection) -> list[StoodIn]:
    """The cells that ran on a stand-in for a missing device; they count nowhere."""
    return _typed(
        StoodIn,
        connection.execute(
            f"""
            WITH last AS (
                FROM cells JOIN runs USING (run_id) WHERE fallback <> ''
                QUALIFY row_number() OVER (
                    PARTITION BY backend, fallback, entry, head, precision
                    ORDER BY started_at DESC, run_id DESC) = 1
            )
            SELECT backend, fallback, count(*) AS cells,
                count(*) FILTER (outcome = '{Outcome.PASS}') AS correct
            FROM last GROUP BY backend, fallback ORDER BY backend, fallback
            """
        ),
    )


def delisted(connection: Connection) -> list[Delisted]:
    """Entries with results that no model list names any more; they count nowhere."""
    rows = _dicts(
        connection.execute(
            """
            SELECT entry, list(DISTINCT backend ORDER BY backend) AS backends
            FROM cells JOIN runs USING (run_id)
            WHERE entry NOT IN (SELECT entry FROM listed) GROUP BY entry ORDER BY entry
            """
        )
    )
    return [Delisted(row["entry"], tuple(row["backends"])) for row in rows]


def _totals(connection: Connection, *, by_family: bool) -> list[Total]:
    family = "family" if by_family else "''"
    rows = connection.execute(
        f"""
        WITH asked AS (
            SELECT backend, precision, entry, {family} AS family
            FROM (SELECT DISTINCT backend, precision FROM latest), listed
        ), entries AS (
            SELECT backend, precision, family, count(*) AS listed,
                count(*) FILTER (NOT EXISTS (
                    FROM latest WHERE latest.entry = asked.entry
                    AND latest.backend = asked.backend AND latest.precision = asked.precision
                )) AS not_run
            FROM asked GROUP BY ALL
        ), counted AS (
            SELECT backend, precision, {family} AS family, histogram(outcome) AS outcomes,
                histogram(verdict) AS verdicts,
                count(*) FILTER (
                    {_NOT_GREEN} AND outcome NOT IN ('{Outcome.PASS}', '{Outcome.ABSENT}')
                ) AS surprises
            FROM latest GROUP BY ALL
        )
        SELECT backend, precision, family, coalesce(outcomes, MAP {{}}) AS outcomes,
            coalesce(verdicts, MAP {{}}) AS verdicts, listed, not_run,
            coalesce(surprises, 0) AS surprises
        FROM entries LEFT JOIN counted USING (backend, precision, family)
        ORDER BY {_FAMILY_ORDER}, {_COLUMN_ORDER}
        """
    )
    return [Total(**row) for row in _dicts(rows)]


def _dicts(rows: Connection) -> list[dict[str, Any]]:
    names = [column[0] for column in rows.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def _typed(kind: type[RowT], rows: Connection) -> list[RowT]:
    """Rows as instances of a dataclass, by column name; columns it does not name are dropped."""
    wanted = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return [kind(**{name: row[name] for name in wanted}) for row in _dicts(rows)]


def _mapping(text: object) -> dict[str, str]:
    """A JSON object as text -> text."""
    value = json.loads(str(text))
    return {str(key): str(item) for key, item in value.items()}


def _sequence(text: object) -> tuple[str, ...]:
    """A JSON array of strings."""
    return tuple(str(item) for item in json.loads(str(text)))
