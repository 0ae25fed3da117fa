"""Option `--lists` of the commands that read the model lists."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.catalog import model_lists
from harness.catalog.chosen_lists import ChosenLists, chosen
from harness.catalog.selection import Catalog
from harness.toolkit import checkout


def add_lists(parser: argparse.ArgumentParser) -> None:
    """Add `--lists`, and the root of a checkout that tests name."""
    parser.add_argument(
        "--lists",
        metavar="PATH",
        help="a list or a folder of lists in place of model_lists/; +PATH: beside it",
    )
    parser.add_argument("--root", type=Path, default=checkout.ROOT, help=argparse.SUPPRESS)


def lists_of(args: argparse.Namespace) -> ChosenLists:
    """The choice of lists that a command line means.

    Args:
        args: with the options of `add_lists`.
    """
    return chosen(args.lists) if args.lists else ChosenLists(args.root / model_lists.FOLDER)


def catalog_of(args: argparse.Namespace) -> Catalog:
    """The lists that a command line means.

    Args:
        args: with the options of `add_lists`.

    Raises:
        HarnessError: nothing is where `--lists` says, or a list is wrong.
    """
    return chosen(args.lists).catalog() if args.lists else model_lists.load(args.root)
