"""Cells that ran with their checkpoint before: where a run of the policy goes on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import duckdb

from harness.contract import CHECKPOINT_SIZE

#: A cell: entry, head, precision.
Key = tuple[str, str, str]


def cells_done(path: Path, lock_sha256: str) -> Collection[Key]:
    """The cells that were given their checkpoint, with the same pins, whatever came of it.

    Args:
        path: a session's results file.
        lock_sha256: of the pins; results of others say nothing of these.

    Returns:
        Nothing where there is no file, or none that can be read: all of it is run then.
    """
    if not path.is_file():
        return frozenset()
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = connection.execute(
                "SELECT DISTINCT entry, head, precision FROM metrics JOIN runs USING (run_id) "
                "WHERE metrics.name = ? AND lock_sha256 = ? AND coalesce(faults, '') = ''",
                [CHECKPOINT_SIZE, lock_sha256],
            ).fetchall()
    except duckdb.Error:
        return frozenset()
    return frozenset((str(row[0]), str(row[1]), str(row[2])) for row in rows)
