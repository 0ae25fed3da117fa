"""Durations of cells in the results of their last runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from harness.contract import Outcome

#: How many of a cell's last results count.
RUNS = 5

#: A cell that the environment lacks has taken no time, which says nothing of one that is there.
_RECENT = f"""
WITH recent AS (
    SELECT entry, head, precision, seconds,
        row_number() OVER (PARTITION BY entry, head, precision ORDER BY sequence DESC) AS place
    FROM cells JOIN runs USING (run_id)
    WHERE backend = ? AND fallback = ? AND size = ? AND faults = ''
        AND outcome <> '{Outcome.ABSENT}' AND isfinite(seconds)
)
SELECT entry, head, precision, median(seconds), max(seconds) FROM recent
WHERE place <= {RUNS} GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class StoredDuration:
    """Seconds that a cell took in its last runs: the median, and the most."""

    usual: float
    longest: float


def read(
    connection: duckdb.DuckDBPyConnection, asked: Sequence[str]
) -> dict[tuple[str, str, str], StoredDuration]:
    """The durations of the cells of one backend, by (entry, head, precision).

    Args:
        connection: to a results file of this schema.
        asked: backend, fallback and size of the models.
    """
    rows = connection.execute(_RECENT, list(asked)).fetchall()
    return {(row[0], row[1], row[2]): StoredDuration(row[3], row[4]) for row in rows}
