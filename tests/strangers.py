"""Results files that strangers could send, by kind, and what each does to the commands.

    .nox/tests/bin/python -m tests.strangers

prints, for each kind, whether `report`, `coverage`, `advise` and `operators` leak, write outside of
their output folder, or end in a traceback over a folder that holds it, and how long they take.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import duckdb

from harness.commands import advise, coverage, operators, report
from harness.contract import CellResult, HarnessError, Outcome, RunInfo, Stage, Verdict
from harness.results import schema
from harness.results.store import Store
from harness.toolkit import checkout

#: In the environment while a stranger's file is read.
SECRET = "a-secret-of-the-environment"

RUN = {
    "run_id": "'r1'",
    "backend": "'openvino'",
    "started_at": "TIMESTAMP '2026-11-01 00:00:00'",
    "finished_at": "TIMESTAMP '2026-11-01 01:00:00'",
    "device": "'a CPU'",
    "emulated": "false",
    "versions": "'{}'",
    "lock_sha256": "''",
    "git_commit": "''",
    "host": "'there'",
    "arguments": "'[]'",
    "seed": "0::BIGINT",
    "sequence": "1::BIGINT",
    "faults": "''",
}
CELL = {
    "run_id": "'r1'",
    "entry": "'bert'",
    "family": "'encoder-only'",
    "architecture": "'bert'",
    "head": "'base'",
    "precision": "'default'",
    "stage": "'run'",
    "outcome": "'crash'",
    "verdict": "'new'",
    "reason": "'a reason'",
    "cause": "'a cause'",
    "parameters": "1::BIGINT",
    "seconds": "1.0::DOUBLE",
    "peak_rss_mb": "1.0::DOUBLE",
    "device_share": "1.0::DOUBLE",
    "error": "'an error'",
    "noise_floor": "1e-7::DOUBLE",
    "score": "1.0::DOUBLE",
    "fallback": "''",
}
METRIC = {
    "run_id": "'r1'",
    "entry": "'bert'",
    "head": "'base'",
    "precision": "'default'",
    "name": "'load'",
    "value": "1.0::DOUBLE",
    "unit": "'s'",
}
FURTHER = {
    "run_id": "'r1'",
    "entry": "'bert'",
    "head": "'base'",
    "precision": "'default'",
    "number": "2",
    "stage": "'generate'",
    "outcome": "'fail'",
    "reason": "'another reason'",
    "cause": "'another cause'",
    "error": "'another error'",
}
CULPRIT = {
    "run_id": "'r1'",
    "entry": "'bert'",
    "head": "'base'",
    "precision": "'default'",
    "module": "'encoder.layer.0'",
    "kind": "'BertLayer'",
    "operator": "'gelu'",
    "input": "'base'",
    "cause": "'gelu'",
    "evidence": "'alone'",
    "alone": "true",
    "scores": "'[]'",
    "prepares": "4",
    "seconds": "2.5",
}
ROWS = {
    "runs": RUN,
    "cells": CELL,
    "metrics": METRIC,
    "further_failures": FURTHER,
    "culprits": CULPRIT,
}

Connection = duckdb.DuckDBPyConnection
Poison = Callable[[Connection], object]


def write(path: Path, *poisons: Poison, run_id: str = "r1", backend: str = "openvino") -> Path:
    """A file with one run of one cell, poisoned, and an earlier run, which is good."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {"run_id": f"'{run_id}'", "backend": f"'{backend}'"}
    good = {"run_id": f"'before-{run_id}'", "outcome": "'pass'", "verdict": "'ok'", "sequence": "0"}
    with duckdb.connect(str(path)) as connection:
        connection.execute(schema.SCHEMA)
        connection.execute("INSERT INTO schema_version VALUES (?)", [schema.SCHEMA_VERSION])
        for table, columns in ROWS.items():
            insert(connection, table, columns | _of(columns, own))
        for poison in poisons:
            poison(connection)
        with contextlib.suppress(duckdb.Error):  # where the poison took the table away
            for table, columns in ROWS.items():
                insert(connection, table, columns | _of(columns, own) | _of(columns, good))
    return path


def insert(connection: Connection, table: str, values: dict[str, str]) -> None:
    """One row, its values as SQL."""
    columns = ", ".join(values)
    connection.execute(f"INSERT INTO {table} ({columns}) SELECT {', '.join(values.values())}")


def _of(columns: dict[str, str], values: dict[str, str]) -> dict[str, str]:
    return {column: value for column, value in values.items() if column in columns}


def changed(table: str, **values: str) -> Poison:
    """Other values, as SQL, in the one row of a table."""
    changes = ", ".join(f"{column} = {value}" for column, value in values.items())
    return lambda connection: connection.execute(f"UPDATE {table} SET {changes}")


def view(table: str, source: str, **values: str) -> Poison:
    """A view in the place of a table."""
    columns = ", ".join(f"{value} AS {name}" for name, value in (ROWS[table] | values).items())

    def poison(connection: Connection) -> None:
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"CREATE VIEW {table} AS SELECT {columns} {source}")

    return poison


def remade(table: str, **types: str) -> Poison:
    """A table whose columns have other types, or are generated."""

    def poison(connection: Connection) -> None:
        found = connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?", [table]
        ).fetchall()
        columns = ", ".join(f"{name} {types.get(name, kind)}" for name, kind in found)
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"CREATE TABLE {table} ({columns})")

    return poison


def sql(*statements: str) -> Poison:
    def poison(connection: Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    return poison


#: Whole files that are left out, with the words that name them.
FILES: dict[str, tuple[Poison, str]] = {
    "a view reads the environment": (
        view(
            "cells",
            "FROM (SELECT replace(content::VARCHAR, chr(0), ' ') AS content "
            "FROM read_text('/proc/self/environ'))",
            reason="content",
        ),
        "a view 'cells'",
    ),
    "a view reads a file": (
        view("runs", f"FROM read_text('{__file__}')", host="content"),
        "a view 'runs'",
    ),
    "an endless view": (view("metrics", "FROM range(1000000000000) t(i)"), "a view 'metrics'"),
    "a view of the version": (
        sql("DROP TABLE schema_version", "CREATE VIEW schema_version AS SELECT 3 AS version"),
        "a view 'schema_version'",
    ),
    "a generated column": (
        remade("cells", error="VARCHAR GENERATED ALWAYS AS (repeat(reason, 1000000))"),
        "a generated column 'error'",
    ),
    "a macro and a view": (
        sql(
            "CREATE MACRO secrets() AS (SELECT content FROM read_text('/proc/self/environ'))",
            "ALTER TABLE cells RENAME TO true_cells",
            "CREATE VIEW cells AS SELECT * REPLACE (secrets() AS reason) FROM true_cells",
        ),
        "a view 'cells'",
    ),
    "a column of another type": (
        remade("cells", seconds="VARCHAR"),
        "VARCHAR column 'seconds'",
    ),
    "an enum of its own": (
        remade("cells", outcome="ENUM ('pass', 'splendid')"),
        "column 'outcome'",
    ),
    "a version that is text": (
        sql("DROP TABLE schema_version", "CREATE TABLE schema_version (version VARCHAR)"),
        "VARCHAR column 'version'",
    ),
    "letters of any case": (
        remade("cells", outcome="VARCHAR COLLATE NOCASE"),
        "a collation",
    ),
}

#: Rows that are left out, with the words that name them.
ROWS_LEFT_OUT: dict[str, tuple[Poison, str]] = {
    "a backend above": (changed("runs", backend="'../../outside'"), "found ../../outside"),
    "an absolute backend": (changed("runs", backend="'/absolute'"), "found /absolute"),
    "a backend of two lines": (changed("runs", backend="'a' || chr(10) || 'b'"), "backend"),
    "a hidden backend": (changed("runs", backend="'.hidden'"), "found .hidden"),
    "a backend on a drive": (changed("runs", backend="'C:outside'"), "found C:outside"),
    "a very long backend": (changed("runs", backend="repeat('a', 5000)"), "backend"),
    "versions that are no JSON": (changed("runs", versions="'{not json'"), "{not json"),
    "versions in a list": (changed("runs", versions="'[1, 2]'"), "versions"),
    "nested versions": (changed("runs", versions="""'{"a": {"b": "c"}}'"""), "versions"),
    "deep JSON": (changed("runs", versions="repeat('[', 40000)"), "versions"),
    "long JSON": (changed("runs", arguments="'[' || repeat(' ', 9000000) || ']'"), "arguments"),
    "a JSON number of many digits": (
        changed("runs", arguments="'[' || repeat('1', 20000) || ']'"),
        "arguments",
    ),
    "arguments that are null": (changed("runs", arguments="'null'"), "found null"),
    "a year that no calendar has": (
        changed("runs", started_at="TIMESTAMP '290000-01-01 00:00:00'"),
        "started_at",
    ),
    "no time at all": (changed("runs", started_at="'infinity'::TIMESTAMP"), "started_at"),
    "an end without end": (changed("runs", finished_at="'-infinity'::TIMESTAMP"), "finished_at"),
    "the last sequence": (changed("runs", sequence="9223372036854775807"), "sequence"),
    "seconds that are no number": (changed("cells", seconds="'nan'"), "found nan"),
    "infinite memory": (changed("cells", peak_rss_mb="'inf'"), "found inf"),
    "negative seconds": (changed("cells", seconds="-1"), "found -1.0"),
    "two hundred per cent": (changed("cells", device_share="2"), "found 2.0"),
    "a score that is no number": (changed("cells", score="'nan'"), "score"),
    "an unknown outcome": (changed("cells", outcome="'splendid'"), "found splendid"),
    "an unknown stage": (changed("cells", stage="'later'"), "found later"),
    "an unknown verdict": (changed("cells", verdict="'guilty'"), "found guilty"),
    "an entry that is a path": (changed("cells", entry="'../bert'"), "found ../bert"),
    "a cell of no run": (changed("cells", run_id="'nobody'"), "found nobody"),
    "a metric that is no number": (changed("metrics", value="'nan'"), "value"),
    "a metric that is endless": (changed("metrics", value="'inf'"), "value"),
    "a name that commands": (
        changed("metrics", name="'load' || chr(10) || '::error::no'"),
        "name",
    ),
    "a further failure before the second": (changed("further_failures", number="1"), "number"),
    "a culprit whose scores are no JSON": (changed("culprits", scores="'[1'"), "scores"),
    "a culprit of negative cost": (changed("culprits", seconds="-1"), "seconds"),
    "a further failure nowhere": (changed("further_failures", stage="'later'"), "found later"),
}

#: Rows that are strange and harmless: they are reported.
HARMLESS: dict[str, Poison] = {
    "commands in texts": changed(
        "cells", reason="chr(27) || '[2J::error::no'", error="'::set-output name=a::b'"
    ),
    "markup in texts": changed("cells", reason="'<script>alert(1)</script>'"),
    "a huge text": changed("cells", error="repeat('x', 20000000)", reason="repeat('y', 9000000)"),
    "half a character in JSON": changed("runs", versions="""'{"a": "\\ud800"}'"""),
    "macros of well-known names": sql(
        "CREATE MACRO isfinite(x) AS true",
        "CREATE MACRO regexp_full_match(x, y) AS error('called')",
        "CREATE MACRO coalesce_(x) AS 1",
        "CREATE VIEW further AS SELECT * FROM read_text('/proc/self/environ')",
    ),
    "an infinite score": changed("cells", score="'inf'"),
}

#: Kinds of `ROWS_LEFT_OUT` that cost a number or a further failure, and not the cell.
MEASURES = {
    "a metric that is no number",
    "a metric that is endless",
    "a name that commands",
    "a further failure before the second",
    "a culprit whose scores are no JSON",
    "a culprit of negative cost",
    "a further failure nowhere",
}


def store(
    path: Path, run_id: str, started: str = "2026-11-02T00:00:00+00:00", **changes: object
) -> None:
    """Store one run of one cell, as a session does."""
    given: dict[str, object] = {
        "entry": "albert", "family": "encoder-only", "architecture": "albert", "head": "base",
        "precision": "default", "stage": Stage.MEASURE, "outcome": Outcome.PASS,
        "verdict": Verdict.OK,
    }  # fmt: skip
    faults = str(changes.pop("faults", ""))
    run = RunInfo(run_id, "good", started, "d", False, {}, "", "", "", [], 0, faults)
    with Store.open(path) as opened:
        opened.begin(run)
        opened.add(run_id, CellResult(**(given | changes)))  # type: ignore[arg-type]
        opened.finish(run_id)


#: The commands that read results, with their words.
COMMANDS: dict[str, tuple[ModuleType, list[str]]] = {
    "report": (report, []),
    "coverage": (coverage, []),
    "advise": (advise, ["bert"]),
    "advise --json": (advise, ["bert", "--json"]),
    "operators": (operators, []),
}


def said_and_written(results: Path, output: Path, names: Sequence[str]) -> str:
    """Text that commands, as `COMMANDS` lists them, print and write over a folder."""
    printed = io.StringIO()
    root = ["--root", str(checkout.ROOT)]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for name in names:
            command, words = COMMANDS[name]
            words = ["--output", str(output)] if command is report else [*words, *root]
            parser = argparse.ArgumentParser()
            command.add_arguments(parser)
            command.main(parser.parse_args(["--results", str(results), *words]))
    written = [path for path in sorted(output.rglob("*")) if path.is_file()]
    return printed.getvalue() + "".join(path.read_text("utf-8") for path in written)


def outside(folder: Path, output: Path) -> list[Path]:
    """The reports and badges below a folder that lie outside of the output folder."""
    return [
        path
        for ending in ("html", "md", "svg")
        for path in folder.rglob(f"*.{ending}")
        if output not in path.parents
    ]


def main() -> int:
    """Print a line for each kind; 1 where one does harm."""
    os.environ["HARNESS_TEST_SECRET"] = SECRET
    kinds = {
        name: poison for kinds in (FILES, ROWS_LEFT_OUT) for name, (poison, _) in kinds.items()
    }
    kinds |= HARMLESS
    leaks = strays = tracebacks = 0
    slowest = 0.0
    for name, poison in kinds.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            results, output = folder / "results", folder / "out" / "deep"
            store(results / "good.duckdb", "good")
            write(results / "openvino.duckdb", poison)
            text, fault, seconds = "", "", 0.0
            try:
                for command in COMMANDS:
                    began = time.monotonic()
                    text += said_and_written(results, output, [command])
                    seconds = max(seconds, time.monotonic() - began)
            except HarnessError as error:
                fault = f"stopped: {error}"
            except Exception:
                fault = traceback.format_exc()
            leaks += SECRET in text
            strays += len(outside(folder, output))
            tracebacks += bool(fault)
            slowest = max(slowest, seconds)
            print(f"{seconds:5.1f} s  {'FAULT' if fault else 'ok   '}  {name}")
            if fault:
                print(fault)
    print(
        f"{len(kinds)} kinds: {leaks} leaks, {strays} writes outside, {tracebacks} tracebacks; "
        f"the slowest command took {slowest:.1f} s"
    )
    return 1 if leaks or strays or tracebacks or slowest > 10 else 0


if __name__ == "__main__":
    sys.exit(main())
