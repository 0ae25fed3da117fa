"""Store: the results of one session in a DuckDB file, with one writer, committed cell by cell.

A run that is killed keeps every cell it has committed. A file that cannot be read is never
deleted or overwritten: the message says what it is and what to do with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from harness.contract import CellResult, HarnessError, Outcome, RunInfo

#: Version of `SCHEMA`: raise it with every change, and add the statements to `MIGRATIONS`.
SCHEMA_VERSION = 2

#: Times are UTC; `versions` and `arguments` are JSON; `seconds` are seconds of wall time,
#: `peak_rss_mb` is in units of 10^6 bytes, `device_share` lies in 0..1.
SCHEMA = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,
    backend VARCHAR NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,          -- NULL: the run was interrupted
    device VARCHAR NOT NULL,
    emulated BOOLEAN NOT NULL,
    versions VARCHAR NOT NULL,
    lock_sha256 VARCHAR NOT NULL,
    git_commit VARCHAR NOT NULL,
    host VARCHAR NOT NULL,
    arguments VARCHAR NOT NULL,
    seed BIGINT NOT NULL);
CREATE TABLE cells (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    architecture VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL,
    verdict VARCHAR,
    reason VARCHAR NOT NULL,
    cause VARCHAR NOT NULL,
    parameters BIGINT,
    seconds DOUBLE NOT NULL,
    peak_rss_mb DOUBLE,
    device_share DOUBLE,
    error VARCHAR NOT NULL,
    noise_floor DOUBLE,
    score DOUBLE,
    fallback VARCHAR NOT NULL DEFAULT '',  -- not empty: this stood in for the missing device
    PRIMARY KEY (run_id, entry, head, precision));
CREATE TABLE metrics (
    run_id VARCHAR NOT NULL,
    entry VARCHAR NOT NULL,
    head VARCHAR NOT NULL,
    precision VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    unit VARCHAR NOT NULL);
"""

#: From each older version to the next: the statements that get there, run in one transaction.
MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    1: ("ALTER TABLE cells ADD COLUMN fallback VARCHAR DEFAULT ''",),
}

_RUN = """
INSERT INTO runs (run_id, backend, started_at, device, emulated, versions, lock_sha256, git_commit,
                  host, arguments, seed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_CELL = """
INSERT INTO cells (run_id, entry, family, architecture, head, precision, stage, outcome, verdict,
                   reason, cause, parameters, seconds, peak_rss_mb, device_share, error,
                   noise_floor, score, fallback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_METRICS = "INSERT INTO metrics SELECT ?, ?, ?, ?, unnest(?), unnest(?), unnest(?)"

_LAST_OUTCOMES = """
SELECT entry, head, precision, outcome FROM cells JOIN runs USING (run_id)
WHERE backend = ? AND fallback = ?
QUALIFY row_number() OVER (
    PARTITION BY entry, head, precision ORDER BY started_at DESC, run_id DESC) = 1
"""


class Store:
    """The results file of one session, open for writing. Use it as a context manager."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._connection = connection
        self._stored = 0

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open `path`, or create it with its folder, and bring it to this schema.

        Raises:
            HarnessError: another process writes to it, it is truncated or no DuckDB file, its
                schema is newer or cannot be migrated, or the disk refuses. The file is left as
                it was.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HarnessError(
                f"expected a folder for {path}, found that it cannot be made: {error}. "
                "Fix: choose another with `--results DIR`"
            ) from error
        try:
            connection = duckdb.connect(str(path))
        except (duckdb.Error, OSError) as error:
            raise HarnessError(_cannot_open(path, error)) from error
        try:
            connection.execute("SET threads = 1")  # the cores belong to the cells
            _bring_to_schema(path, connection)
        except HarnessError:
            connection.close()
            raise
        except (duckdb.Error, OSError) as error:
            connection.close()
            raise HarnessError(_cannot_open(path, error)) from error
        return cls(path, connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin(self, run: RunInfo) -> None:
        """Store a run, committed at once.

        Raises:
            HarnessError: it could not be written.
        """
        started = datetime.fromisoformat(run.started_at).astimezone(UTC).replace(tzinfo=None)
        self._write(
            _RUN,
            [
                run.run_id,
                run.backend,
                started,
                run.device,
                run.emulated,
                json.dumps(dict(run.versions), sort_keys=True),
                run.lock_sha256,
                run.git_commit,
                run.host,
                json.dumps(list(run.arguments)),
                run.seed,
            ],
        )

    def add(self, run_id: str, result: CellResult) -> None:
        """Store one cell with its metrics, committed at once.

        Raises:
            HarnessError: it could not be written; everything stored before is kept.
        """
        key = [run_id, result.entry, result.head, result.precision]
        cell = [
            run_id,
            result.entry,
            result.family,
            result.architecture,
            result.head,
            result.precision,
            result.stage.value,
            result.outcome.value,
            result.verdict.value if result.verdict is not None else None,
            result.reason,
            result.cause,
            result.parameters,
            float(result.seconds),
            _number(result.peak_rss_mb),
            _number(result.device_share),
            result.error,
            _number(result.noise_floor),
            _number(result.score),
            result.fallback,
        ]
        try:
            self._connection.begin()
            self._connection.execute(_CELL, cell)
            if result.metrics:
                names = [metric.name for metric in result.metrics]
                values = [float(metric.value) for metric in result.metrics]
                units = [metric.unit for metric in result.metrics]
                self._connection.execute(_METRICS, [*key, names, values, units])
            self._connection.commit()
        except (duckdb.Error, OSError) as error:
            raise HarnessError(self._cannot_write(error)) from error
        self._stored += 1

    def finish(self, run_id: str) -> None:
        """Store the end of a run; an interrupted run never has one.

        Raises:
            HarnessError: it could not be written.
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        self._write("UPDATE runs SET finished_at = ? WHERE run_id = ?", [now, run_id])

    def last_outcomes(
        self, backend: str, fallback: str = ""
    ) -> dict[tuple[str, str, str], Outcome]:
        """The last stored outcome of each cell of a backend, by (entry, head, precision).

        Args:
            backend: its name.
            fallback: empty for outcomes of its own device, else of what stood in for it.
        """
        rows = self._connection.execute(_LAST_OUTCOMES, [backend, fallback]).fetchall()
        return {(entry, head, precision): Outcome(last) for entry, head, precision, last in rows}

    def close(self) -> None:
        """Close the file. Safe to call twice, and after a failed write."""
        try:
            self._connection.close()
        except duckdb.Error:
            # Folding the log into the file failed, as on a full disk. The log holds what was
            # committed, and the next `open` reads it.
            return

    def _write(self, statement: str, values: list[object]) -> None:
        try:
            self._connection.execute(statement, values)
        except (duckdb.Error, OSError) as error:
            raise HarnessError(self._cannot_write(error)) from error

    def _cannot_write(self, error: Exception) -> str:
        return (
            f"{self.path} could not be written: {_first_line(error)} The {self._stored} cells "
            "that this run stored before are kept, and so is every earlier run. "
            f"Fix: make room (`df -h {self.path.parent}` shows it) or choose another folder with "
            "`--results DIR`, and run again"
        )


def _bring_to_schema(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    tables = {row[0] for row in connection.execute("SHOW TABLES").fetchall()}
    if not tables:
        connection.begin()
        connection.execute(SCHEMA)
        connection.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])
        connection.commit()
        return
    found = 0
    if "schema_version" in tables:
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        found = int(row[0]) if row and row[0] is not None else 0
    if found > SCHEMA_VERSION:
        raise HarnessError(
            f"{path}: expected schema {SCHEMA_VERSION}, found {found}: a newer harness wrote it. "
            "Fix: update this checkout (`git pull`), or write elsewhere with `--results DIR`"
        )
    steps = range(found, SCHEMA_VERSION)
    if any(step not in MIGRATIONS for step in steps):
        raise HarnessError(
            f"{path}: expected schema {SCHEMA_VERSION}, found {found or 'none'}, which this "
            "harness cannot bring up to date; it was left as it is. Fix: keep it under another "
            f"name (`mv {path} {path}.schema{found}`), or write elsewhere with `--results DIR`"
        )
    if steps:
        connection.begin()
        for step in steps:
            for statement in MIGRATIONS[step]:
                connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = ?", [SCHEMA_VERSION])
        connection.commit()


def _cannot_open(path: Path, error: Exception) -> str:
    text = str(error)
    if "Could not set lock" in text or "being used by another process" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder[1]}" if holder else "another process"
        look = f" (see it with `ps -p {holder[1]}`)" if holder else ""
        return (
            f"{path}: expected to be its one writer, found it open in {who}{look}. "
            "Fix: wait for it or end it, or write elsewhere with `--results DIR`"
        )
    if re.search(r"space left|[Dd]isk quota|File too large", text):
        return (
            f"{path} could not be written: {_first_line(error)} What it holds is kept. "
            f"Fix: make room (`df -h {path.parent}` shows it), or write elsewhere with "
            "`--results DIR`"
        )
    if path.is_file():
        return (
            f"{path}: expected a DuckDB file, found one that is truncated, damaged or something "
            f"else: {_first_line(error)} It was left as it is. Fix: move it away "
            f"(`mv {path} {path}.damaged`), or write elsewhere with `--results DIR`"
        )
    return (
        f"{path} cannot be opened for writing: {_first_line(error)} "
        "Fix: choose another folder with `--results DIR`"
    )


def _number(value: float | None) -> float | None:
    """A plain float also of a numpy scalar, which DuckDB would refuse."""
    return None if value is None else float(value)


def _first_line(error: Exception) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line if line.endswith((".", "!")) else line + "."
