"""Store: the results of one session in a DuckDB file, with one writer, committed cell by cell.

A run that is killed keeps every cell it has committed. A file is read from end to end before it is
written to. One that is damaged is set aside whole, with its log, and the run goes to a new file;
nothing is ever deleted or overwritten.
"""

from __future__ import annotations

import contextlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

from harness.contract import GREEN, CellResult, Culprit, HarnessError, Outcome, RunInfo
from harness.results import before_writing, last_results, schema, stored_durations
from harness.results.errors import first_line, fix_of
from harness.results.last_results import LastResult, ResultKey
from harness.results.reader import Reading, is_locked
from harness.results.schema import LARGEST_SEQUENCE, SCHEMA, SCHEMA_VERSION
from harness.results.stored_durations import StoredDuration
from harness.toolkit import printable

__all__ = ["SCHEMA", "SCHEMA_VERSION", "Store"]

_RUN = f"""
INSERT INTO runs (run_id, backend, started_at, device, emulated, versions, lock_sha256, git_commit,
                  host, arguments, seed, faults, size, sequence)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1 + coalesce(max(sequence), 0) FROM runs
WHERE sequence < {LARGEST_SEQUENCE}
"""

_CELL = """
INSERT INTO cells (run_id, entry, family, architecture, head, precision, stage, outcome, verdict,
                   reason, cause, parameters, seconds, peak_rss_mb, device_share, error,
                   noise_floor, score, fallback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_FURTHER = """
INSERT INTO further_failures (run_id, entry, head, precision, number, stage, outcome, reason, cause,
                              error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_CULPRIT = """
INSERT INTO culprits (run_id, entry, head, precision, module, kind, operator, input, cause,
                      evidence, alone, scores, prepares, seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

_TIMINGS = """
INSERT INTO timings (run_id, entry, head, precision, name, turns, seconds, cpu_seconds)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

_KEY = "INSERT INTO cell_keys (run_id, entry, head, precision, key, code) VALUES (?, ?, ?, ?, ?, ?)"

_CODE = "INSERT OR IGNORE INTO code_sets (digest, files) VALUES (?, ?)"

#: The tables whose rows a result of more attempts replaces.
_DROPPED = ("cells", "cell_keys", "culprits", "further_failures", "metrics", "timings")

_METRICS = "INSERT INTO metrics SELECT ?, ?, ?, ?, unnest(?), unnest(?), unnest(?)"

#: Green are passes too that nobody expected (`improved`). Absent cells say nothing of a cell.
_LAST_GREEN = f"""
SELECT entry, head, precision, outcome FROM cells JOIN runs USING (run_id)
WHERE backend = ? AND fallback = ? AND size = ? AND faults = ''
    AND (outcome = '{Outcome.PASS}' OR verdict IN ({", ".join(f"'{green}'" for green in GREEN)}))
    AND outcome IN ({", ".join(f"'{o}'" for o in Outcome if o is not Outcome.ABSENT)})
QUALIFY row_number() OVER (PARTITION BY entry, head, precision ORDER BY sequence DESC) = 1
"""


#: How often each cell of a backend was flaky.
_FLAKY = f"""
SELECT entry, head, precision, count(*) FROM cells JOIN runs USING (run_id)
WHERE backend = ? AND fallback = ? AND size = ? AND faults = '' AND outcome = '{Outcome.FLAKY}'
GROUP BY ALL
"""


class Store:
    """The results file of one session, open for writing. Use it as a context manager.

    Attributes:
        path: of the file.
        note: what a person must know of an older file, as that it was set aside; else empty.
    """

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection, note: str = "") -> None:
        self.path = path
        self.note = note
        self._connection = connection
        self._stored = 0
        self._code_sets: set[str] = set()  # that this run has stored: most cells share one

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open `path`, or create it with its folder, and bring it to this schema.

        A file that is damaged is set aside first.

        Raises:
            HarnessError: another process writes to it, its schema is newer or cannot be migrated,
                or the disk refuses. The file is left as it was.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            note = before_writing.check(path)
        except OSError as error:
            raise HarnessError(_cannot_open(path, error)) from error
        try:
            connection = duckdb.connect(str(path))
        except (duckdb.Error, OSError) as error:
            raise HarnessError(_cannot_open(path, error)) from error
        try:
            connection.execute("SET threads = 1")  # the cores belong to the cells
            connection.execute("SET enable_external_access = false")
            _bring_to_schema(path, connection)
        except HarnessError:
            connection.close()
            raise
        except (duckdb.Error, OSError) as error:
            connection.close()
            raise HarnessError(_cannot_open(path, error)) from error
        return cls(path, connection, note)

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
                run.faults,
                run.size,
            ],
        )

    def add(
        self, run_id: str, result: CellResult, key: ResultKey | None = None, *, again: bool = False
    ) -> None:
        """Store one cell with its metrics, failures, culprit and raw times, committed at once.

        Args:
            run_id: of the run, which `begin` has stored.
            result: of the cell.
            key: of all that the result follows from; None where that is not known.
            again: whether the result takes the place of the one of fewer attempts at the same cell.

        Raises:
            HarnessError: it could not be written; everything stored before is kept.
        """
        cell_id: list[object] = [run_id, result.entry, result.head, result.precision]
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
            if again:
                for table in _DROPPED:
                    self._connection.execute(
                        f"DELETE FROM {table} WHERE run_id = ? AND entry = ? AND head = ? "
                        "AND precision = ?",
                        list(map(_storable, cell_id)),
                    )
            self._connection.execute(_CELL, list(map(_storable, cell)))
            for number, failure in enumerate(result.further, 2):
                further = [*cell_id, number, failure.stage.value, failure.outcome.value]
                further += [failure.reason, failure.cause, failure.error]
                self._connection.execute(_FURTHER, list(map(_storable, further)))
            if result.culprit is not None:
                culprit = [*cell_id, *_culprit_values(result.culprit)]
                self._connection.execute(_CULPRIT, list(map(_storable, culprit)))
            for timings in result.timings:
                raw = [timings.name, timings.turns, timings.seconds, timings.cpu_seconds]
                self._connection.execute(_TIMINGS, list(map(_storable, [*cell_id, *raw])))
            if result.metrics:
                names = [_storable(metric.name) for metric in result.metrics]
                values = [float(metric.value) for metric in result.metrics]
                units = [_storable(metric.unit) for metric in result.metrics]
                self._connection.execute(_METRICS, [*map(_storable, cell_id), names, values, units])
            if key is not None:
                if key.code not in self._code_sets:
                    self._connection.execute(_CODE, [key.code, json.dumps(key.files)])
                self._connection.execute(_KEY, [*cell_id, key.digest, key.code])
            self._connection.commit()
        except (duckdb.Error, OSError) as error:
            with contextlib.suppress(duckdb.Error):  # a failed commit has rolled back
                self._connection.rollback()
            raise HarnessError(self._cannot_write(error)) from error
        self._stored += not again
        if key is not None:
            self._code_sets.add(key.code)

    def finish(self, run_id: str) -> None:
        """Store the end of a run; an interrupted run never has one.

        Raises:
            HarnessError: it could not be written.
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        self._write("UPDATE runs SET finished_at = ? WHERE run_id = ?", [now, run_id])

    def last_green(
        self, backend: str, fallback: str = "", size: str = "tiny"
    ) -> dict[tuple[str, str, str], Outcome]:
        """The last green outcome of each cell of a backend, by (entry, head, precision).

        A pass that was not expected is green here. Runs with injected faults are no history.

        Args:
            backend: its name.
            fallback: empty for outcomes of its own device, else of what stood in for it.
            size: of the models.
        """
        rows = self._connection.execute(_LAST_GREEN, [backend, fallback, size]).fetchall()
        return {(entry, head, precision): Outcome(last) for entry, head, precision, last in rows}

    def flaky_runs(
        self, backend: str, fallback: str = "", size: str = "tiny"
    ) -> dict[tuple[str, str, str], int]:
        """In how many runs each cell was flaky, by (entry, head, precision); others are left out.

        Args:
            backend: its name.
            fallback: empty for outcomes of its own device, else of what stood in for it.
            size: of the models.
        """
        rows = self._connection.execute(_FLAKY, [backend, fallback, size]).fetchall()
        return {(entry, head, precision): count for entry, head, precision, count in rows}

    def last_results(
        self, backend: str, fallback: str = "", size: str = "tiny"
    ) -> dict[tuple[str, str, str], LastResult]:
        """The last result of each cell of a backend, by (entry, head, precision).

        Args:
            backend: its name.
            fallback: empty for outcomes of its own device, else of what stood in for it.
            size: of the models.
        """
        asked = [backend, fallback, size]
        return last_results.read(self._connection, asked)

    def durations(
        self, backend: str, fallback: str = "", size: str = "tiny"
    ) -> dict[tuple[str, str, str], StoredDuration]:
        """Durations of the cells of a backend in their last runs, by (entry, head, precision).

        Args:
            backend: its name.
            fallback: empty for durations on its own device, else of what stood in for it.
            size: of the models.
        """
        return stored_durations.read(self._connection, [backend, fallback, size])

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
            self._connection.execute(statement, list(map(_storable, values)))
        except (duckdb.Error, OSError) as error:
            raise HarnessError(self._cannot_write(error)) from error

    def _cannot_write(self, error: Exception) -> str:
        return (
            f"{self.path} could not be written: {first_line(error)} The {self._stored} cells "
            "that this run stored before are kept, and so is every earlier run. "
            f"Fix: {fix_of(error, self.path)}, and run again"
        )


def _bring_to_schema(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    tables = {row[0] for row in connection.execute("SHOW TABLES").fetchall()}
    if not tables:
        connection.begin()
        connection.execute(schema.SCHEMA)
        connection.execute("INSERT INTO schema_version VALUES (?)", [schema.SCHEMA_VERSION])
        connection.commit()
        return
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    found = int(row[0]) if row and row[0] is not None else 0
    steps = range(found, schema.SCHEMA_VERSION)
    if found > schema.SCHEMA_VERSION or any(step not in schema.MIGRATIONS for step in steps):
        raise HarnessError(before_writing.other_schema(path, f"schema {found}"))
    if steps:
        connection.begin()
        for step in steps:
            for statement in schema.MIGRATIONS[step]:
                connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = ?", [schema.SCHEMA_VERSION])
        connection.commit()


def _cannot_open(path: Path, error: Exception) -> str:
    if is_locked(str(error)):  # since the check
        return before_writing.cannot_use(path, Reading("locked", str(error)))
    return (
        f"{path} cannot be opened for writing: {first_line(error)} What it holds is kept. "
        f"Fix: {fix_of(error, path)}"
    )


def _culprit_values(culprit: Culprit) -> list[object]:
    """The columns of a culprit after those that name its cell."""
    scores = [
        [one.path, one.kind, one.depth, one.score if math.isfinite(one.score) else None]
        for one in culprit.scores
    ]
    return [
        culprit.module,
        culprit.kind,
        culprit.operator,
        culprit.input,
        culprit.cause,
        culprit.evidence,
        culprit.alone,
        json.dumps(scores),
        culprit.prepares,
        float(culprit.seconds),
    ]


def _number(value: float | None) -> float | None:
    """A plain float also of a numpy scalar, which DuckDB would refuse."""
    return None if value is None else float(value)


def _storable(value: object) -> object:
    """A value for DuckDB, which takes no lone surrogates."""
    return printable.storable(value) if isinstance(value, str) else value
