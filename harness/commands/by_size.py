"""`python -m harness by-size`: whether tiny models predict those of published widths.

For each cell with a result at both sizes: the outcome of the tiny model beside the other one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from harness import contract
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import HarnessError
from harness.report import words
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
    counts = [
        (
            code(column.backend),
            plain(column.precision),
            column.both,
            column.judged,
            f"{words.share(column.alike, column.judged)} of {column.judged}",
        )
        for column in by_size.agreements(cells)
    ]
    heads = ("backend", "precision", "at both sizes", "judged at both", "same outcome")
    lines = markdown_table(heads, counts)
    for title, chosen in (
        ("differs", [cell for cell in cells if cell.judged and not cell.alike]),
        ("not judged at both", [cell for cell in cells if not cell.judged and not cell.alike]),
    ):
        if chosen:
            rows = (
                (
                    code(contract.label(cell.entry, cell.head)),
                    code(cell.backend),
                    plain(cell.tiny),
                    plain(cell.other),
                    plain(cell.reason, 160),
                )
                for cell in chosen
            )
            lines += ["", *markdown_table((title, "backend", "tiny", size, "reason"), rows)]
    return "\n".join(lines)
