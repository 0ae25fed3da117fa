"""Merge of the results files of all sessions, in one database in memory.

Each file is read on its own first. One that cannot be read is left out with the reason, and costs
the others nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from harness.contract import Entry
from harness.results import store

#: The tables a report reads.
TABLES = ("runs", "cells", "metrics")

#: The newest of a partition; runs that began in the same moment are told apart by their id.
_LAST = """
QUALIFY row_number() OVER (
    PARTITION BY backend, {fallback}, entry, head, precision
    ORDER BY started_at DESC, run_id DESC) = 1
"""

#: A file may hold a hundred nights: only the last result of each cell is copied out of it.
_COPY = (
    "INSERT OR IGNORE INTO runs BY NAME SELECT {runs} FROM source.runs",
    """
    INSERT OR IGNORE INTO cells BY NAME SELECT {cells} FROM source.cells
    JOIN (SELECT run_id, backend, started_at FROM source.runs) USING (run_id)
    """
    + _LAST,
    """
    INSERT INTO metrics BY NAME SELECT {metrics} FROM source.metrics
    SEMI JOIN main.cells USING (run_id, entry, head, precision)
    ANTI JOIN main.metrics USING (run_id, entry, head, precision, name)
    """,
)

_LISTED = """
CREATE TABLE listed (entry VARCHAR PRIMARY KEY, family VARCHAR NOT NULL, position INTEGER NOT NULL)
"""

#: The results that count: the last of each cell that a model list names, in that list's family.
#: A result on the fallback for a missing device counts for no device.
_LATEST = """
    CREATE TABLE latest AS
    SELECT cells.* REPLACE (listed.family AS family, coalesce(verdict, '') AS verdict),
        position, backend, started_at
    FROM cells JOIN runs USING (run_id) JOIN listed USING (entry)
    WHERE fallback = ''
    """ + _LAST.format(fallback="fallback")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A results file that could not be read: what was found, and what to do about it."""

    path: Path
    found: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found} Fix: {self.fix}"


@dataclass(frozen=True, slots=True)
class Gathered:
    """All readable results in memory, the files that they come from, and those left out."""

    connection: duckdb.DuckDBPyConnection
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]


class _OtherSchema(Exception):
    """A readable DuckDB file that is not of this harness's schema."""


def find(folder: Path) -> list[Path]:
    """All `*.duckdb` files in a folder and below it, sorted.

    Subfolders count, so that the downloaded artefacts of a sharded run can lie side by side.
    """
    return sorted(folder.rglob("*.duckdb"))


def gather(paths: Iterable[Path], entries: Sequence[Entry] | None) -> Gathered:
    """Read results files into one database in memory; a bad file raises nothing.

    Args:
        paths: the files of any number of sessions; several may belong to one backend.
        entries: the entries of the model lists; results of others no longer count. None when the
            lists could not be read: then every entry that has a result is taken as listed.
    """
    connection = duckdb.connect(":memory:")
    connection.execute(store.SCHEMA)
    connection.execute(_LISTED)
    wanted = {table: _columns(connection, table) for table in TABLES}
    files: list[Path] = []
    left_out: list[LeftOut] = []
    for path in paths:
        try:
            _copy(connection, path, _check(path, wanted))
            files.append(path)
        except (duckdb.Error, OSError, _OtherSchema) as error:
            left_out.append(_explain(path, error))
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
    return Gathered(connection, tuple(files), tuple(left_out))


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The names of a table's columns, in the order in which they were declared."""
    found = connection.execute(f"SELECT * FROM {table} LIMIT 0").description
    return [column[0] for column in found or ()]


def _check(path: Path, wanted: dict[str, list[str]]) -> dict[str, list[str]]:
    """Read a file from end to end, in a database of its own, which a damaged one may take down.

    Returns the columns of the file: an older one lacks some, which then get their defaults.
    """
    held = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        version = 0
        with contextlib.suppress(duckdb.CatalogException):
            row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
            version = int(row[0]) if row and row[0] is not None else 0
        if version not in (*store.MIGRATIONS, store.SCHEMA_VERSION):
            raise _OtherSchema(f"schema {version}")
        for table in TABLES:
            try:
                found = _columns(connection, table)
            except duckdb.CatalogException as error:
                raise _OtherSchema(f"no table '{table}'") from error
            missing = [column for column in wanted[table] if column not in found]
            if missing and version == store.SCHEMA_VERSION:
                raise _OtherSchema(f"no column '{missing[0]}' in table '{table}'")
            held[table] = [column for column in wanted[table] if column in found]
            connection.execute(f"SELECT bit_xor(hash({table})) FROM {table}").fetchall()
    return held


def _copy(connection: duckdb.DuckDBPyConnection, path: Path, wanted: dict[str, list[str]]) -> None:
    """Copy the last results of one checked file: all of them or, on an error, none."""
    names = {table: ", ".join(wanted[table]) for table in TABLES}
    names["fallback"] = "fallback" if "fallback" in wanted["cells"] else "''"  # before schema 2
    quoted = str(path).replace("'", "''")
    connection.execute(f"ATTACH '{quoted}' AS source (READ_ONLY)")
    try:
        connection.begin()
        try:
            for statement in _COPY:
                connection.execute(statement.format_map(names))
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
    finally:
        connection.execute("DETACH source")


def _explain(path: Path, error: Exception) -> LeftOut:
    """The reason why a file is left out, in the reader's words rather than DuckDB's."""
    text = " ".join(str(error).split())
    session = path.name.split(".")[0]  # a shard's file is <session>.1-of-4.duckdb
    again = f"mv {path} {path}.old && nox -s {session}"
    if isinstance(error, _OtherSchema):
        expected = f"expected results of schema {store.SCHEMA_VERSION}, found {text}."
        newer = re.fullmatch(r"schema (\d+)", text)
        if newer and int(newer[1]) > store.SCHEMA_VERSION:
            return LeftOut(path, f"{expected} A newer harness wrote it.", "git pull")
        return LeftOut(path, f"{expected} An older harness wrote it, or another program.", again)
    if "Could not set lock" in text or "being used by another process" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder[1]}" if holder else "another process"
        return LeftOut(
            path,
            f"open in {who}: its session is still writing.",
            "wait until the session has ended, then nox -s report",
        )
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return LeftOut(path, "no permission to read it.", f"chmod u+r {path}")
    if "version number" in text:
        return LeftOut(path, f"another DuckDB wrote it: {text}", "pip install --upgrade duckdb")
    return LeftOut(path, f"truncated, damaged or no DuckDB file: {text.rstrip('.')}.", again)
