"""`python -m harness coverage`: how much of the model lists has been run and passes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from harness.commands.backends_option import add_backends_dir, every_backend
from harness.commands.lists_option import add_lists, catalog_of, lists_of
from harness.contract import HarnessError
from harness.report.coverage import BEGIN, END, markdown, summary
from harness.results import merged
from harness.results.coverage import count
from harness.toolkit import checkout
from harness.toolkit.marked_text import write_between
from harness.toolkit.printable import show, show_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness coverage`."""
    parser.description = "Counts from the last results what was run and what passes."
    parser.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help=f"put the short tables into FILE, between {BEGIN} and {END}",
    )
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    add_lists(parser)
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the coverage; results files that cannot be read are named on stderr.

    Raises:
        HarnessError: a model list or a backend.toml is wrong, or `--write` would drop results that
            cannot be read.
    """
    catalog = catalog_of(args)
    folder = args.results or checkout.results_folder(args.root)
    gathered = merged.gather(merged.find(folder), list(catalog.entries.values()))
    specs = every_backend(args)
    lists = lists_of(args)
    usual = {name: lists.usual(catalog, spec.models) for name, spec in specs.items()}
    coverage = count(catalog, usual, gathered)
    if args.json:
        show_json(asdict(coverage))
    else:
        show(markdown(coverage), end="")
    if args.write is not None and gathered.left_out:
        for remark in gathered.remarks():
            show(remark, file=sys.stderr)
        raise HarnessError(
            f"expected to read all results for {args.write}, found those above left out; it is as "
            "it was. Fix: follow the advice above, or `python -m harness set-aside FILE` to write "
            "it without a file"
        )
    if args.write is not None:
        changed = write_between(args.write, BEGIN, END, summary(coverage))
        show(f"{args.write}: {'rewritten' if changed else 'unchanged'}", file=sys.stderr)
    for remark in gathered.remarks():
        show(remark, file=sys.stderr)
    return 0
