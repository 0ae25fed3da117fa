"""Results that are in no denominator: absent, on a fallback, with a fault, off the lists."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contract import Outcome
from harness.results.merged import NEWEST_FIRST
from harness.results.queries import Connection, dicts, typed


@dataclass(frozen=True, slots=True)
class Absence:
    """One reason for which cells of a backend are absent, with their entries."""

    backend: str
    reason: str
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoodIn:
    """Counts of the cells of a backend that ran on a fallback for the missing device."""

    backend: str
    fallback: str
    cells: int
    correct: int  # cells whose checks held there; none of them is a pass of the backend


@dataclass(frozen=True, slots=True)
class Injected:
    """Counts of the cells of a backend that ran with injected faults (`--fault`)."""

    backend: str
    faults: str
    cells: int


@dataclass(frozen=True, slots=True)
class Delisted:
    """An entry that has results although no model list names it any more."""

    entry: str
    backends: tuple[str, ...]


def absences(connection: Connection) -> list[Absence]:
    """The absent cells by backend and reason, the commonest reason first."""
    rows = dicts(
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
    """The cells that ran on a fallback for a missing device; they count nowhere."""
    return typed(
        StoodIn,
        connection.execute(
            f"""
            WITH last AS (
                FROM cells JOIN runs USING (run_id) WHERE fallback <> '' AND faults = ''
                QUALIFY row_number() OVER (
                    PARTITION BY backend, fallback, entry, head, precision
                    ORDER BY {NEWEST_FIRST}) = 1
            )
            SELECT backend, fallback, count(*) AS cells,
                count(*) FILTER (outcome = '{Outcome.PASS}') AS correct
            FROM last GROUP BY backend, fallback ORDER BY backend, fallback
            """
        ),
    )


def injected(connection: Connection) -> list[Injected]:
    """The cells of runs with injected faults; they count nowhere."""
    return typed(
        Injected,
        connection.execute(
            """
            SELECT backend, faults, count(*) AS cells FROM cells JOIN runs USING (run_id)
            WHERE faults <> '' GROUP BY backend, faults ORDER BY backend, faults
            """
        ),
    )


def delisted(connection: Connection) -> list[Delisted]:
    """Entries with results that no model list names any more; they count nowhere."""
    rows = dicts(
        connection.execute(
            """
            SELECT entry, list(DISTINCT backend ORDER BY backend) AS backends
            FROM cells JOIN runs USING (run_id)
            WHERE faults = '' AND entry NOT IN (SELECT entry FROM listed)
            GROUP BY entry ORDER BY entry
            """
        )
    )
    return [Delisted(row["entry"], tuple(row["backends"])) for row in rows]
