"""`python -m harness set-aside FILE`: move a results file away whole, with its log."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.contract import HarnessError
from harness.results.set_aside import parts, set_aside
from harness.toolkit.printable import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness set-aside`."""
    parser.description = (
        "Moves results files that cannot be used, each with its log (.wal), which holds committed "
        "results, into a new folder beside it. Nothing is deleted or overwritten."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="NAME.duckdb")


def main(args: argparse.Namespace) -> int:
    """Moves the files and prints where they lie now.

    Raises:
        HarnessError: a file is not there, or cannot be moved.
    """
    for path in args.files:
        if not parts(path):
            raise HarnessError(f"expected a results file, found no {path}. Fix: correct the name")
        try:
            show(f"{path}: now {set_aside(path)}")
        except OSError as error:
            raise HarnessError(
                f"{path} could not be moved: {error}. Nothing is lost. Fix: make its folder "
                "writable"
            ) from error
    return 0
