"""Screening of a results file, in a process of its own: a stranger's file in, a clean copy out.

The file is attached read-only to a database that may open nothing else. Its tables must be base
tables with the columns of the schema, so that reading them runs no SQL of the file's author. Each
row is held against `harness.results.rules`; those that hold, and of every cell the last result
at each size, go to the clean copy: the last of all runs, or of those that are asked for.
`harness.results.reader` starts this process and reads its answers: one JSON object a line.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import re
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from harness.results import clock, history_tables, rules, set_aside
from harness.results.rules import Rule
from harness.results.schema import (
    LARGEST_SEQUENCE,
    MIGRATIONS,
    SCHEMA,
    SCHEMA_VERSION,
    STAND_INS,
    TABLES_SINCE,
)
from harness.toolkit import printable

#: The sizes of models that a run may be of; that of a checkpoint is its own.
SIZES = ("tiny", "wide", "full", "checkpoint")

#: The tables that a file must have.
TABLES = ("runs", "cells", "metrics", "further_failures", "culprits", "timings")

#: Bytes on disk for which a file gets a further CPU second.
BYTES_A_SECOND = 10_000_000

#: Seconds of wall time for one file, in CPU seconds: a busy machine shares its cores.
PATIENCE = 12

#: Memory for one file; nothing is spilled to disk.
MEMORY = "1500MB"

#: Longest JSON text of a run, in characters.
LONGEST_JSON = 20_000

#: The most runs of one file: a nightly run of fifty years.
MOST_RUNS = 20_000

#: How many runs of one file are named, of a clock that was wrong.
MOST_DOUBTS = 5

_PLAIN = re.compile(rules.PLAIN_NAME)

_EPOCH = datetime(1970, 1, 1)


class Refused(Exception):
    """A file that cannot be used as a whole.

    Args:
        kind: `schema` for another version, `structure` for other tables or columns.
        found: the words after "found".
    """

    def __init__(self, kind: str, found: str) -> None:
        super().__init__(found)
        self.kind = kind


def main() -> int:
    """Answer one request a line until the input ends, as `harness.results.reader` writes them.

    The process imports little, so that it starts fast: the names that a cell's stage, outcome and
    verdict can have come in the first line.
    """
    # The parent gets Ctrl-C too, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    names = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        request = json.loads(line)
        clean = Path(request["clean"]) if request["clean"] else None
        path = Path(request["path"])
        _limit(path, request["seconds"])
        now = datetime.fromisoformat(request["now"])
        answer = answered(path, clean, names, now, request["runs"], history=request["history"])
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(answer), flush=True)
    return 0


def answered(
    path: Path,
    clean: Path | None,
    names: Mapping[str, Sequence[str]],
    now: datetime,
    runs: Sequence[str] | None = None,
    *,
    history: bool = False,
) -> dict[str, Any]:
    """The answer to one request: a `kind` and `text` where the file is refused, else `problems`.

    Args:
        path: of the file.
        clean: where the clean copy goes; None: everything is read, nothing is copied.
        names: that a cell's `stages`, `outcomes` and `verdicts` can have.
        now: the time of reading, UTC without a time zone.
        runs: ids of the runs whose cells count; None: all runs.
        history: whether the clean copy gets the tables of `harness.results.history_tables` too.
    """
    try:
        with _opened(path, clean) as connection:
            present = _columns_present(connection)
            if clean is None:
                _read_all(connection, present)
                return {"problems": []}
            return {"problems": _copy(connection, present, names, now, runs, history=history)}
    except Refused as refusal:
        return {"kind": refusal.kind, "text": str(refusal)}
    except (duckdb.Error, OSError, UnicodeError) as error:
        return {"kind": "unreadable", "text": " ".join(str(error).split())[:400]}
    except Exception as error:  # a fault of this code says nothing about the file
        return {"kind": "interrupted", "text": f"its reader failed: {error!r}"[:400]}


def _limit(path: Path, seconds: int) -> None:
    """Limit the time for one file: this process ends when it is over."""
    size = sum(part.stat().st_size for part in (path, Path(f"{path}.wal")) if part.is_file())
    seconds += size // BYTES_A_SECOND
    faulthandler.dump_traceback_later((seconds + 1) * PATIENCE, exit=True)
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = spent + seconds if hard == resource.RLIM_INFINITY else min(spent + seconds, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _opened(path: Path, clean: Path | None) -> duckdb.DuckDBPyConnection:
    """A database in memory, with the file as `source`, that may touch no other file."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    try:
        used = [path] if clean is None else [path, clean]
        allowed = [f"{part}{ending}" for part in used for ending in set_aside.PARTS]
        connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, allowed))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        connection.execute(f"ATTACH {_quoted(str(path))} AS source (READ_ONLY, TYPE duckdb)")
        if clean is not None:
            connection.execute(f"ATTACH {_quoted(str(clean))} AS clean (TYPE duckdb)")
        connection.execute(SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _columns_present(connection: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """The columns of each table, which may be those of an older schema.

    Raises:
        Refused: the schema is another one, or a table is no plain table of it.
    """
    _check_table(connection, "schema_version", frozenset())
    rows = connection.execute("SELECT version FROM source.schema_version LIMIT 100").fetchall()
    version = max((row[0] for row in rows if row[0] is not None), default=0)
    if version not in (*MIGRATIONS, SCHEMA_VERSION):
        raise Refused("schema", f"schema {version}")
    old = version != SCHEMA_VERSION
    return {
        table: _check_table(connection, table, STAND_INS[table] if old else frozenset())
        for table in TABLES
        if version >= TABLES_SINCE.get(table, 1)
    }


def _check_table(
    connection: duckdb.DuckDBPyConnection, table: str, optional: frozenset[str] | Mapping[str, str]
) -> set[str]:
    """The columns of a base table that has those of the schema, with the same types.

    Raises:
        Refused: it has not.
    """
    made = connection.execute(
        "SELECT sql FROM duckdb_tables() WHERE database_name = 'source' AND schema_name = 'main' "
        "AND table_name = ?",
        [table],
    ).fetchone()
    if made is None:
        view = connection.execute(
            "SELECT 1 FROM duckdb_views() WHERE database_name = 'source' AND view_name = ?",
            [table],
        ).fetchone()
        if table == "schema_version" and view is None:
            raise Refused("schema", "schema 0")
        raise Refused("structure", f"a view '{table}'" if view else f"no table '{table}'")
    if " COLLATE " in str(made[0]).upper():
        raise Refused("structure", f"a collation in table '{table}'")
    types = (
        "SELECT column_name, data_type, is_generated FROM duckdb_columns() "
        "WHERE database_name = ? AND schema_name = 'main' AND table_name = ?"
    )
    found = {row[0]: row[1:] for row in connection.execute(types, ["source", table]).fetchall()}
    wanted = connection.execute(types, ["memory", table]).fetchall()
    for column, kind, _ in wanted:
        if column not in found and column in optional:
            continue
        if column not in found:
            raise Refused("structure", f"no column '{column}' in table '{table}'")
        if found[column][1]:
            raise Refused("structure", f"a generated column '{column}' in table '{table}'")
        if found[column][0] != kind:
            raise Refused(
                "structure", f"{str(found[column][0])[:40]} column '{column}' in table '{table}'"
            )
    return set(found)


def _read_all(connection: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> None:
    """Read every value of every table, so that damage shows.

    Raises:
        Refused: rows that are inserted here would set off SQL of the file's own.
    """
    for table in tables:
        connection.execute(f"SELECT bit_xor(hash(t)) FROM source.{table} AS t").fetchall()
    triggers = connection.execute(
        "SELECT count(*) FROM duckdb_triggers() WHERE database_name = 'source'"
    ).fetchone()
    if triggers is not None and triggers[0]:
        raise Refused("structure", "triggers")


def _copy(
    connection: duckdb.DuckDBPyConnection,
    present: Mapping[str, set[str]],
    names: Mapping[str, Sequence[str]],
    now: datetime,
    runs: Sequence[str] | None,
    *,
    history: bool,
) -> list[dict[str, Any]]:
    """Write the clean copy; returns the rows that were left out, grouped, and doubted times."""
    problems: list[dict[str, Any]] = []
    cell_rules = rules.of_cells(**names)
    failure_rules = rules.of_further_failures(names["stages"], names["outcomes"])
    connection.begin()  # one transaction, which is written to the disk once
    doubts = _copy_runs(connection, _source("runs", present), now, problems)
    cells, metrics = _source("cells", present), _source("metrics", present)
    connection.execute("SET VARIABLE wanted = ?::VARCHAR[]", [runs])
    connection.execute(
        f"""
        CREATE TEMP TABLE judged AS
        SELECT row, run_id, entry, head, precision, outcome, coalesce(verdict, '') AS verdict,
            coalesce(fallback, '') AS fallback,
            CASE WHEN run_id NOT IN (SELECT run_id FROM clean.runs) THEN 'run'
            ELSE {rules.broken(cell_rules)} END AS broken
        FROM {cells};
        CREATE TEMP TABLE kept AS
        SELECT judged.row, run_id, entry, head, precision, backend, judged.fallback, faults, size
        FROM judged JOIN clean.runs USING (run_id)
        WHERE broken IS NULL AND coalesce(list_contains(getvariable('wanted'), run_id), true)
        QUALIFY row_number() OVER (
            PARTITION BY backend, faults <> '', judged.fallback, size, entry, head, precision
            ORDER BY sequence DESC, run_id DESC, judged.row DESC) = 1;
        """
    )
    texts = ", ".join(f"{rules.cut(column)} AS {column}" for column in rules.LONGEST)
    connection.execute(
        f"""
        CREATE TABLE clean.cells AS SELECT run_id, entry, family, architecture, head, precision,
            stage, outcome, verdict, {texts}, parameters, seconds, peak_rss_mb, device_share,
            noise_floor, score, coalesce(fallback, '') AS fallback
        FROM {cells} WHERE row IN (SELECT row FROM kept);
        CREATE TEMP TABLE measured AS
        SELECT row, {rules.broken(rules.METRICS)} AS broken
        FROM {metrics} SEMI JOIN kept USING (run_id, entry, head, precision)
        QUALIFY row_number() OVER (
            PARTITION BY run_id, entry, head, precision, name ORDER BY row) = 1;
        CREATE TABLE clean.metrics AS
        SELECT run_id, entry, head, precision, name, value, unit FROM {metrics}
        WHERE row IN (SELECT row FROM measured WHERE broken IS NULL);
        CREATE TABLE clean.further_failures AS SELECT * FROM memory.main.further_failures LIMIT 0;
        CREATE TEMP TABLE failed (row BIGINT, broken VARCHAR);
        CREATE TABLE clean.culprits AS SELECT * FROM memory.main.culprits LIMIT 0;
        CREATE TEMP TABLE blamed (row BIGINT, broken VARCHAR);
        CREATE TABLE clean.timings AS SELECT * FROM memory.main.timings LIMIT 0;
        CREATE TEMP TABLE timed (row BIGINT, broken VARCHAR);
        """
    )
    if history:
        shown = ", ".join(f"{rules.cut(column)} AS {column}" for column in ("reason", "cause"))
        green = "verdict NOT IN ('ok', 'xfail')"
        connection.execute(history_tables.of_one_file(cells, metrics, shown, green))
    if "further_failures" in present:
        further = _source("further_failures", present)
        connection.execute(
            f"""
            INSERT INTO failed SELECT row, {rules.broken(failure_rules)}
            FROM {further} SEMI JOIN kept USING (run_id, entry, head, precision)
            QUALIFY row_number() OVER (
                PARTITION BY run_id, entry, head, precision, number ORDER BY row) = 1;
            INSERT INTO clean.further_failures BY NAME
            SELECT run_id, entry, head, precision, number, stage, outcome, {texts} FROM {further}
            WHERE row IN (SELECT row FROM failed WHERE broken IS NULL);
            """
        )
    if "culprits" in present:
        culprits = _source("culprits", present)
        connection.execute(
            f"""
            INSERT INTO blamed SELECT row, {rules.broken(rules.CULPRITS)}
            FROM {culprits} SEMI JOIN kept USING (run_id, entry, head, precision)
            QUALIFY row_number() OVER (
                PARTITION BY run_id, entry, head, precision ORDER BY row) = 1;
            INSERT INTO clean.culprits BY NAME
            SELECT run_id, entry, head, precision, {", ".join(rules.CULPRIT_TEXTS)}, alone,
                prepares, seconds FROM {culprits}
            WHERE row IN (SELECT row FROM blamed WHERE broken IS NULL);
            """
        )
    if "timings" in present:
        timings = _source("timings", present)
        connection.execute(
            f"""
            INSERT INTO timed SELECT row, {rules.broken(rules.TIMINGS)}
            FROM {timings} SEMI JOIN kept USING (run_id, entry, head, precision)
            QUALIFY row_number() OVER (
                PARTITION BY run_id, entry, head, precision, name ORDER BY row) = 1;
            INSERT INTO clean.timings BY NAME
            SELECT run_id, entry, head, precision, name, turns, seconds, cpu_seconds
            FROM {timings} WHERE row IN (SELECT row FROM timed WHERE broken IS NULL);
            """
        )
    for table, judged, table_rules in (
        ("cells", "judged", cell_rules),
        ("metrics", "measured", rules.METRICS),
        ("further_failures", "failed", failure_rules),
        ("culprits", "blamed", rules.CULPRITS),
        ("timings", "timed", rules.TIMINGS),
    ):
        problems += _broken_rows(connection, table, judged, table_rules)
    supplying = {
        row[0] for row in connection.execute("SELECT DISTINCT run_id FROM kept").fetchall()
    }
    problems += _doubted([start for start in doubts if start.run_id in supplying])
    connection.commit()
    return problems


def _source(table: str, present: Mapping[str, set[str]]) -> str:
    """SQL for a table of the file with its rowid as `row`, and what an older schema lacks."""
    added = "".join(
        f", {value} AS {column}"
        for column, value in STAND_INS[table].items()
        if column not in present[table]
    )
    return f"(SELECT rowid AS row, *{added} FROM source.{table})"


def _copy_runs(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    now: datetime,
    problems: list[dict[str, Any]],
) -> list[clock.Start]:
    """Copy the runs that hold, with their effective starts; returns the starts that do not."""
    texts = ("run_id", "backend", "device", "versions", "lock_sha256", "git_commit", "host",
             "arguments")  # fmt: skip
    read = ", ".join(
        f"left(coalesce(TRY(decode(encode({text}))), chr(0)), {LONGEST_JSON + 1})" for text in texts
    )
    times = ", ".join(
        f"CASE WHEN isfinite({time}) THEN epoch_us({time}) END, {time} IS NULL"
        for time in ("started_at", "finished_at")
    )
    rows = connection.execute(
        f"SELECT {read}, {times}, emulated, seed, sequence, left(coalesce(faults, ''), 1000), "
        f"coalesce(size, 'tiny') "
        f"FROM {source} ORDER BY row LIMIT {MOST_RUNS + 1}"
    ).fetchall()
    if len(rows) > MOST_RUNS:
        raise Refused("structure", f"more than {MOST_RUNS} runs")
    broken_runs: dict[str, dict[str, Any]] = {}
    good: dict[str, tuple[Any, ...]] = {}
    starts = []
    for row in rows:
        given = dict(zip(texts, row[: len(texts)], strict=True))
        start, _, finish, unfinished, emulated, seed, sequence, faults, size = row[len(texts) :]
        broken = _broken_run(given, start, finish, unfinished, (emulated, seed, sequence))
        if size not in SIZES:
            broken = broken or ("size", f"one of {', '.join(SIZES)}", size)
        if given["run_id"] in good:
            broken = ("run_id", "each run once", given["run_id"])
        if broken is not None:
            column, expected, found = broken
            problem = broken_runs.setdefault(
                column,
                {"table": "runs", "count": 0, "of": len(rows), "column": column,
                 "expected": expected, "found": _shown(found),
                 "where": f"run {_shown(given['run_id'])}"},
            )  # fmt: skip
            problem["count"] += 1
            continue
        began = _EPOCH + timedelta(microseconds=start)
        ended = None if unfinished else _EPOCH + timedelta(microseconds=finish)
        starts.append(clock.Start(given["run_id"], sequence, began))
        for column in ("versions", "arguments"):
            given[column] = _with_storable_texts(json.loads(given[column]))
        good[given["run_id"]] = (
            given["run_id"], given["backend"], began, ended, given["device"][:500], emulated,
            *(given[name] for name in texts[3:]), seed, sequence, faults, size,
        )  # fmt: skip
    problems += broken_runs.values()
    ordered = clock.ranked(starts, now)
    connection.execute(
        """
        CREATE TABLE clean.runs AS SELECT run_id, backend, started_at, finished_at, device,
            emulated, versions, lock_sha256, git_commit, host, arguments, seed, sequence, faults,
            size, started_at AS effective_start
        FROM memory.main.runs LIMIT 0
        """
    )
    for at in ordered:
        marks = ", ".join("?" * 16)
        connection.execute(
            f"INSERT INTO clean.runs VALUES ({marks})", [*good[at.run_id], at.effective]
        )
    return [start for start in ordered if start.doubt]


def _doubted(starts: Sequence[clock.Start]) -> list[dict[str, Any]]:
    """The runs of a clock that was wrong, one by one; of many, the last ones."""
    named = starts[-MOST_DOUBTS:]
    found = [
        {"table": "clock", "found": start.doubt, "where": f"run {start.run_id}"} for start in named
    ]
    if len(starts) > len(named) and found:
        found[0]["where"] += f" (and {len(starts) - len(named)} earlier ones)"
    return found


def _broken_run(
    given: Mapping[str, str],
    start: int | None,
    finish: int | None,
    unfinished: bool,
    numbers: tuple[bool | None, int | None, int | None],
) -> tuple[str, str, object] | None:
    """The first rule that a run breaks: column, expected, found."""
    emulated, seed, sequence = numbers
    for column in ("run_id", "backend"):
        if len(given[column]) > rules.LONGEST_NAME or not _PLAIN.fullmatch(given[column]):
            return column, "a name of letters, digits and . _ + -", given[column]
    for column in ("device", "lock_sha256", "git_commit", "host"):
        if len(given[column]) > 1000 or "\0" in given[column]:
            return column, "a text of at most 1000 characters", given[column]
    latest = (datetime(9999, 1, 1) - _EPOCH) // timedelta(microseconds=1)
    if start is None or not 0 <= start < latest:
        return "started_at", "a time from 1970 to 9998", start
    if not unfinished and (finish is None or not 0 <= finish < latest):
        return "finished_at", "a time from 1970 to 9998, or NULL", finish
    if emulated is None:
        return "emulated", "true or false", None
    if seed is None:
        return "seed", "a number", None
    if sequence is None or not 0 <= sequence <= LARGEST_SEQUENCE:
        return "sequence", f"from 0 to {LARGEST_SEQUENCE:.0e}", sequence
    for column, kind, expected in (
        ("versions", dict, "a JSON object of texts"),
        ("arguments", list, "a JSON array of texts"),
    ):
        if not _is_json(given[column], kind):
            return column, expected, given[column]
    return None


def _is_json(text: str, kind: type[Any]) -> bool:
    """Whether a text is a JSON object or array of texts, of a sensible length."""
    if len(text) > LONGEST_JSON:
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, kind):
        return False
    items = value.values() if isinstance(value, dict) else value
    return not any(isinstance(item, dict | list) for item in items)


def _with_storable_texts(value: dict[str, object] | list[object]) -> str:
    """JSON whose texts can be written to a file; scalars become texts."""
    if isinstance(value, dict):
        texts = {key: printable.storable(str(item)) for key, item in value.items()}
        return json.dumps({printable.storable(key): text for key, text in texts.items()})
    return json.dumps([printable.storable(str(item)) for item in value])


def _broken_rows(
    connection: duckdb.DuckDBPyConnection, table: str, judged: str, table_rules: Sequence[Rule]
) -> list[dict[str, Any]]:
    """The rows of a table that break a rule, by rule, with the first of each as an example."""
    expected = {rule.column: rule.expected for rule in table_rules}
    total = connection.execute(f"SELECT count(*) FROM {judged}").fetchone()
    found = []
    for column, count, row in connection.execute(
        f"SELECT broken, count(*), min(row) FROM {judged} WHERE broken IS NOT NULL "
        "GROUP BY broken ORDER BY min(row)"
    ).fetchall():
        read = "run_id" if column == "run" else column
        names = ("run_id", "entry", "head", "precision", read)
        columns = ", ".join(
            f"left(coalesce(TRY(decode(encode({name}::VARCHAR))), 'NULL'), 100)" for name in names
        )
        values = connection.execute(
            f"SELECT {columns} FROM source.{table} WHERE rowid = ?", [row]
        ).fetchone()
        assert values is not None
        run, entry, head, precision, example = map(_shown, values)
        found.append(
            {"table": table, "count": count, "of": total[0] if total else count, "column": read,
             "expected": expected.get(column, "the id of a run in this file that can be read"),
             "found": example, "where": f"{entry}:{head} in {precision} of run {run}"}
        )  # fmt: skip
    return found


def _shown(value: object) -> str:
    """A value for a message: short, in one line, control characters escaped."""
    return "NULL" if value is None else printable.line(str(value), 60)


if __name__ == "__main__":
    sys.exit(main())
