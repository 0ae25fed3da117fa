"""`python -m harness by-size`: whether tiny models predict those of published widths.

For each cell with a result at both sizes: the outcome of the tiny model beside the other one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import HarnessError
from harness.report import size_tables
from harness.results import by_size, merged
from harness.results.by_size import SizedCell
from harness.toolkit import checkout
from harness.toolkit.markdown_text import code, plain
from harness.toolkit.marked_text import write_between
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import markdown_table

#: The marks of the table in a document.
BEGIN, END = "<!-- by size: `python -m harness by-size --write FILE` -->", "<!-- end of by size -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness by-size`."""
    parser.description = (
        "Compares the outcome of each cell's tiny model with that of another size, from the last "
        "results; lists each cell that differs."
    )
    parser.add_argument("--size", choices=["wide", "full"], default="wide", help="the other (wide)")
    parser.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help=f"put it into FILE, between {BEGIN} and {END}"
    )
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the comparison.

    Raises:
        HarnessError: no cell has a result at both sizes, or a model list is wrong.
    """
    entries = list(catalog_of(args).entries.values())
    folder = args.results or checkout.results_folder(args.root)
    gathered = merged.gather(merged.find(folder), entries)
    for remark in gathered.remarks():
        show(remark, file=sys.stderr)
    cells = by_size.compared(gathered, args.size)
    if not cells:
        raise HarnessError(
            f"expected results of the same cells at sizes tiny and {args.size} in {folder}, found "
            f"none. Fix: run a session twice, once with `--size {args.size}`"
        )
    if args.json:
        show_json([asdict(cell) for cell in cells])
    else:
        show(markdown(cells, args.size))
    if args.write is not None:
        changed = write_between(args.write, BEGIN, END, markdown(cells, args.size))
        show(f"{args.write}: {'rewritten' if changed else 'unchanged'}", file=sys.stderr)
    return 0


def markdown(cells: list[SizedCell], size: str) -> str:
    """The share of equal outcomes by backend, and each cell that differs, as Markdown.

    Args:
        cells: with a result at both sizes.
        size: the other one.
    """
    tables = [size_tables.agreements(cells), *size_tables.differences(cells, size)]
    return "\n\n".join("\n".join(_table(heads, rows)) for heads, *rows in tables)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return markdown_table(
        heads, [(code(row[0]), *(plain(value, 160) for value in row[1:])) for row in rows]
    )
