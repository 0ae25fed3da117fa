"""`python -m harness durations`: what each cell took, for `--durations-file`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import HarnessError, Outcome
from harness.results import merged
from harness.session import durations_file
from harness.toolkit import checkout
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.printable import show

_SECONDS = f"""
SELECT backend, precision, entry, head, seconds FROM latest
WHERE outcome <> '{Outcome.ABSENT}' AND isfinite(seconds)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness durations`."""
    parser.description = (
        "Writes the seconds of each cell's last result as TOML, by which "
        "`--shard I/N --durations-file FILE` splits the entries."
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the file (standard output)")
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Writes the file.

    Raises:
        HarnessError: there are no results, a model list is wrong, or the file cannot be written.
    """
    entries = list(catalog_of(args).entries.values())
    folder = args.results or checkout.results_folder(args.root)
    gathered = merged.gather(merged.find(folder), entries)
    for remark in gathered.remarks():
        show(remark, file=sys.stderr)
    found: dict[tuple[str, str], dict[tuple[str, str, str], float]] = {}
    for backend, precision, entry, head, seconds in gathered.connection.execute(
        _SECONDS
    ).fetchall():
        found.setdefault((backend, precision), {})[entry, head, precision] = seconds
    if not found:
        raise HarnessError(
            f"expected results in {folder}, found none. Fix: run a session first, as in "
            "`nox -s torch-cpu`"
        )
    text = durations_file.text(found)
    if args.output is None:
        show(text.rstrip())
        return 0
    try:
        write_atomically(args.output, text)
    except OSError as error:
        raise HarnessError(
            f"{args.output} could not be written: {error}. Fix: name a file in a folder that is "
            "there and writable"
        ) from error
    count = sum(map(len, found.values()))
    show(f"{args.output}: {count} cells of {len({name for name, _ in found})} backends")
    return 0
