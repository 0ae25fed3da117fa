"""`python -m harness sql "SELECT ..."`: a question to the results of all sessions, in SQL.

The files are read as by every command: opened read-only, their rows checked one by one. The
question is put to a copy in memory that can reach no file, no network and no extension.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import duckdb

from harness.commands.lists_option import add_lists, catalog_of
from harness.commands.report import RESULTS
from harness.contract import HarnessError
from harness.results import merged, views
from harness.results.errors import first_line
from harness.toolkit import printable, typed_commands
from harness.toolkit.printable import show
from harness.toolkit.text_table import plain_table

#: Characters of a value in a table; `--csv` and `--json` have all of it.
LONGEST = 100

#: Memory that an answer may take.
MEMORY = "4GB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness sql`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(map(len, (*views.VIEWS, *views.TABLES)))
    known = {**{name: about for name, (about, _) in views.VIEWS.items()}, **views.TABLES}
    parser.epilog = "what can be asked:\n" + "\n".join(
        f"  {name:<{width}}  {about}" for name, about in known.items()
    )
    parser.add_argument("query", metavar="SELECT", help="a query in the SQL of DuckDB")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="comma-separated values, uncut")
    form.add_argument("--json", action="store_true", help="a list of objects, uncut")
    add_lists(parser)


def main(arguments: argparse.Namespace) -> int:
    """Print the answer.

    Raises:
        HarnessError: there are no results, or the query is none or is wrong.
    """
    paths = merged.find(arguments.results)
    if not paths:
        raise HarnessError(
            f"expected results in {arguments.results}/*.duckdb, found none. Fix: run a session, "
            f"for example {typed_commands.session('mock')}, or name another folder with "
            "--results DIR"
        )
    _check(arguments.query)
    entries = list(catalog_of(arguments).entries.values())
    gathered = merged.gather(paths, entries, history=True)
    for remark in gathered.remarks():
        show(remark, file=sys.stderr)
    with gathered.connection as connection:
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        views.create(connection)
        try:
            answer = connection.execute(arguments.query)
            heads = [column[0] for column in answer.description or ()]
            rows = answer.fetchall()
        except duckdb.Error as error:
            raise HarnessError(
                f"{first_line(error)} Fix: python -m harness sql --help names the views; "
                '"DESCRIBE matrix" its columns'
            ) from error
    _print(heads, rows, arguments)
    return 0


def _check(query: str) -> None:
    """Take one query that only reads.

    Raises:
        HarnessError: it is more, or something else.
    """
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise HarnessError(f"{first_line(error)} Fix: the SQL of DuckDB") from error
    kinds = [statement.type.name for statement in statements]
    if kinds not in (["SELECT"], ["EXPLAIN"]):
        raise HarnessError(
            f"expected one SELECT, found {', '.join(kinds) or 'nothing'}. Fix: ask in one query; "
            "results are written by sessions only"
        )


def _print(heads: list[str], rows: list[tuple[Any, ...]], arguments: argparse.Namespace) -> None:
    if arguments.json:
        plain = (int, float, str, bool, type(None), list)
        printable.show_json(
            [
                {
                    head: value if isinstance(value, plain) else str(value)
                    for head, value in zip(heads, row, strict=True)
                }
                for row in rows
            ]
        )
        return
    if arguments.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows([[printable.escaped(_text(value)) for value in row] for row in rows])
        return
    shown = [[printable.line(_text(value), LONGEST) for value in row] for row in rows]
    for line in plain_table([heads, *shown]):
        show(line)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
