"""`python -m harness discover`: architectures that no list names yet."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from harness.catalog import family_guess, model_lists
from harness.catalog.discovery import ListDifference, compare, write
from harness.catalog.installed import InstalledLibrary, installed
from harness.catalog.selection import Catalog
from harness.contract import HarnessError
from harness.toolkit import checkout
from harness.toolkit.printable import show, show_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness discover`."""
    parser.description = (
        "Compares the installed transformers with the model lists: what is new, gone or renamed."
    )
    parser.add_argument("--write", action="store_true", help="add a row for each new architecture")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--transformers",
        type=Path,
        metavar="DIR",
        help="the folder of another transformers package than the installed one",
    )
    parser.add_argument("--root", type=Path, default=checkout.ROOT, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Prints the difference; 1 while the lists and the library differ.

    Raises:
        HarnessError: there is no transformers, or a list is wrong.
    """
    if args.write and checkout.is_installed(args.root / model_lists.FOLDER):
        raise HarnessError(
            f"expected lists that people edit for --write, found those of an installed package, "
            f"{args.root / model_lists.FOLDER}. Fix: write a list of your own, and take it in with "
            "--lists"
        )
    catalog = model_lists.load(args.root)
    library = installed(args.transformers)
    difference = compare(library, catalog)
    if args.json:
        guesses = {name: asdict(family_guess.guess(library, name)) for name in difference.new}
        show_json({**asdict(difference), "guesses": guesses})
    else:
        _show(difference, library, catalog)
    notes = sys.stderr if args.json else sys.stdout
    unlisted = [name for name in difference.new if name not in difference.renamed.values()]
    if args.write and unlisted:
        for changed in write(library, unlisted, catalog, args.root):
            show(f"wrote {changed}", file=notes)
        show(
            "Look for `review:` in them, correct family, task and priority, drop the comment.",
            file=notes,
        )
        unlisted = []
    elif unlisted:
        show("`python -m harness discover --write` adds rows for what is new.", file=notes)
    return 1 if unlisted or difference.gone or difference.renamed else 0


def _show(difference: ListDifference, library: InstalledLibrary, catalog: Catalog) -> None:
    listed = len(library.architectures) - len(difference.new)
    show(
        f"transformers {difference.version}: {listed} of {len(library.architectures)} "
        "architectures are listed"
    )
    renamed = set(difference.renamed.values())
    for architecture in difference.new:
        if architecture not in renamed:
            guess = family_guess.guess(library, architecture)
            show(f"  new      {architecture}: probably {guess.family} ({guess.because})")
    for entry, architecture in difference.renamed.items():
        old = catalog.entries[entry].architecture
        show(f"  renamed  {entry}: {old} is probably {architecture} now")
    for entry in difference.gone:
        show(f"  gone     {entry}: no {catalog.entries[entry].architecture} here")
    if difference.gone:
        show(
            "           an architecture that was removed needs "
            f'`requires = ["transformers<{difference.version}"]` in its list'
        )
    if difference.absent:
        show(f"  absent   as their rows say: {', '.join(difference.absent)}")
