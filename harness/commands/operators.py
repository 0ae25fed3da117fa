"""`python -m harness operators`: which unsupported operator blocks which entries."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from harness.commands.lists_option import add_lists, catalog_of
from harness.results import merged
from harness.results.operators import Operator, count
from harness.results.queries import Column
from harness.toolkit import checkout, markdown_text, printable
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import markdown_table


def markdown(columns: Mapping[Column, list[Operator]]) -> str:
    """The operators as Markdown, ending in a newline."""
    blocks = ["# Which operator unlocks what"]
    for column, operators in columns.items():
        title = markdown_text.plain(f"{column.backend}, {column.precision}")
        blocks += [f"## {title}", _table(operators)]
    if not columns:
        blocks.append("No result names an operator that is unsupported or ran elsewhere.")
    return "\n\n".join(blocks) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness operators`."""
    parser.description = "Lists unsupported and fallen-back operators by the entries they block."
    parser.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the operators; results files that cannot be read are named on stderr."""
    entries = list(catalog_of(args).entries.values())
    folder = args.results or checkout.results_folder(args.root)
    gathered = merged.gather(merged.find(folder), entries)
    columns = count(gathered.connection)
    if args.json:
        rows = [
            {**asdict(column), **asdict(operator)}
            for column, operators in columns.items()
            for operator in operators
        ]
        show_json(rows)
    else:
        show(markdown(columns), end="")
    for remark in gathered.remarks():
        show(remark, file=sys.stderr)
    return 0


def _table(operators: Iterable[Operator]) -> str:
    heads = ("operator", "alone blocks", "blocks with others", "runs elsewhere without harm")
    rows = [
        (
            markdown_text.code(operator.name),
            _names(operator.alone),
            _names(operator.shared),
            len(operator.spared),
        )
        for operator in operators
    ]
    return "\n".join(markdown_table(heads, rows))


def _names(entries: tuple[str, ...]) -> str:
    names = markdown_text.plain(", ".join(entries), printable.KEPT_LINE)
    return f"{len(entries)}: {names}" if entries else "0"
