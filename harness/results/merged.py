"""Merge of the results files of all sessions, in one database in memory.

Each file is screened on its own first, in another process (`harness.results.reader`). A file or a
row that does not hold is left out with the reason, and costs the others nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

from harness.contract import Entry
from harness.results import history_tables, set_aside
from harness.results.reader import LeftOut, Reader, explained, rows_left_out
from harness.results.schema import SCHEMA

#: The size of the models whose results a report is about.
TINY = "tiny"

#: The newest of a partition: by start times that cannot run ahead, then by a file's own order.
NEWEST_FIRST = "effective_start DESC, sequence DESC, run_id DESC"

_LAST = f"""
QUALIFY row_number() OVER (
    PARTITION BY backend, fallback, size, entry, head, precision ORDER BY {NEWEST_FIRST}) = 1
"""

#: From a file's clean copy, which holds the last result of each of its cells.
_COPY = (
    "INSERT OR IGNORE INTO runs BY NAME SELECT * FROM source.runs",
    "INSERT OR IGNORE INTO cells BY NAME SELECT * FROM source.cells",
    """
    INSERT INTO metrics BY NAME SELECT * FROM source.metrics
    ANTI JOIN main.metrics USING (run_id, entry, head, precision, name)
    """,
    """
    INSERT INTO further_failures BY NAME SELECT * FROM source.further_failures
    ANTI JOIN main.further_failures USING (run_id, entry, head, precision, number)
    """,
    """
    INSERT INTO culprits BY NAME SELECT * FROM source.culprits
    ANTI JOIN main.culprits USING (run_id, entry, head, precision)
    """,
    """
    INSERT INTO timings BY NAME SELECT * FROM source.timings
    ANTI JOIN main.timings USING (run_id, entry, head, precision, name)
    """,
)

_LISTED = """
CREATE TABLE listed (entry VARCHAR PRIMARY KEY, family VARCHAR NOT NULL, position INTEGER NOT NULL)
"""

#: The results that count: the last of each cell that a model list names, in that list's family.
#: A result on the fallback for a missing device counts for no device, and one with an injected
#: fault (`--fault`) for none either. Those of tiny models are `latest`; the others are compared to
#: them (`harness.results.sizes`).
_LATEST = (
    """
    CREATE TABLE latest_of_all_sizes AS
    SELECT cells.* REPLACE (listed.family AS family, coalesce(verdict, '') AS verdict),
        position, backend, started_at, size
    FROM cells JOIN runs USING (run_id) JOIN listed USING (entry)
    WHERE fallback = '' AND faults = ''
    """
    + _LAST
)


@dataclass(frozen=True, slots=True)
class Gathered:
    """All readable results in memory.

    Attributes:
        connection: the database.
        files: where the results come from.
        left_out: files and rows that are left out.
        doubts: runs of a clock that was wrong; their results count below those of later runs.
        holders: the files that hold each run, by its id.
    """

    connection: duckdb.DuckDBPyConnection
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]
    doubts: tuple[LeftOut, ...] = ()
    holders: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def remarks(self) -> list[str]:
        """One line for each file, group of rows or run that a reader must know of."""
        return [
            *(f"left out: {left}" for left in self.left_out),
            *(f"doubted: {doubt}" for doubt in self.doubts),
        ]


def find(folder: Path) -> list[Path]:
    """All `*.duckdb` files in a folder and below it, sorted.

    Subfolders count, so that the downloaded artefacts of a sharded run can lie side by side; those
    of files that were set aside do not.
    """
    return sorted(path for path in folder.rglob("*.duckdb") if not set_aside.holds(path, folder))


def gather(
    paths: Iterable[Path],
    entries: Sequence[Entry] | None,
    now: datetime | None = None,
    runs: Collection[str] | None = None,
    *,
    history: bool = False,
) -> Gathered:
    """Read results files into one database in memory; a bad file raises nothing.

    Args:
        paths: the files of any number of sessions; several may belong to one backend.
        entries: the entries of the model lists; results of others no longer count. None when the
            lists could not be read: then every entry that has a result is taken as listed.
        now: the time of reading, UTC without a time zone; the clock's where it is not given.
        runs: ids of the runs whose cells count; None: all runs. With none, only the runs are read.
        history: whether the tables of `harness.results.history_tables` are filled too.
    """
    connection = duckdb.connect(":memory:")
    connection.execute(SCHEMA)
    connection.execute(history_tables.SCHEMA)
    connection.execute("ALTER TABLE runs ADD COLUMN effective_start TIMESTAMP")
    connection.execute(_LISTED)
    files: list[Path] = []
    left_out: list[LeftOut] = []
    doubts: list[LeftOut] = []
    holders: dict[str, list[Path]] = {}
    with Reader() as reader, tempfile.TemporaryDirectory(prefix="harness-") as folder:
        for number, path in enumerate(paths):
            clean = Path(folder, f"{number}.duckdb")
            reading = reader.read(path, clean, now, runs, history=history)
            if reading.kind:
                left_out.append(explained(path, reading))
                continue
            for run_id in _copy(connection, clean, history=history):
                holders.setdefault(run_id, []).append(path)
            files.append(path)
            for problem in reading.problems:
                kept = doubts if problem["table"] == "clock" else left_out
                kept.append(rows_left_out(path, problem))
    if entries is None:
        connection.execute(
            "INSERT INTO listed SELECT entry, any_value(family), row_number() OVER (ORDER BY entry)"
            " FROM cells GROUP BY entry"
        )
    else:
        connection.execute(
            "INSERT INTO listed SELECT unnest($names::VARCHAR[]), unnest($families::VARCHAR[]), "
            "unnest(range(len($names)))",
            {
                "names": [entry.name for entry in entries],
                "families": [entry.family for entry in entries],
            },
        )
    connection.execute(_LATEST)
    # Runs that are asked for by name are of the size that is asked for.
    size = f"WHERE size = '{TINY}'" if runs is None else ""
    connection.execute(f"CREATE TABLE latest AS SELECT * FROM latest_of_all_sizes {size}")
    if history:
        connection.execute(history_tables.OF_ALL_FILES)
    return Gathered(connection, tuple(files), tuple(left_out), tuple(doubts), holders)


def _copy(connection: duckdb.DuckDBPyConnection, clean: Path, *, history: bool) -> list[str]:
    """Copy the results of one file from its clean copy; returns the ids of its runs."""
    quoted = str(clean).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS source (READ_ONLY)")
    try:
        connection.begin()
        for statement in (*_COPY, *(history_tables.COPY if history else ())):
            connection.execute(statement)
        connection.commit()
        return [row[0] for row in connection.execute("SELECT run_id FROM source.runs").fetchall()]
    finally:
        connection.execute("DETACH source")
