"""`python -m harness list`: the model lists, for people and for scripts."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from harness.catalog.selection import Catalog
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import PRIORITIES, Entry
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import plain_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness list`."""
    parser.description = "Shows the entries of the model lists."
    parser.add_argument(
        "models",
        nargs="?",
        metavar="LIST|FAMILY|NAME,...",
        help="what --models takes; all entries by default",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, one object an entry")
    form.add_argument("--names", action="store_true", help="names only, one a line")
    form.add_argument("--summary", action="store_true", help="counts by family and priority")
    form.add_argument("--subsets", action="store_true", help="the named lists that --models takes")
    form.add_argument("--unavailable", action="store_true", help="names that nobody can run, why")
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the entries, or one of the other views of the lists.

    Raises:
        HarnessError: a list is wrong, or a name is in none of them.
    """
    catalog = catalog_of(args)
    entries = catalog.select(args.models) if args.models else list(catalog.entries.values())
    if args.json:
        show_json([asdict(entry) for entry in entries])
    elif args.names:
        show("\n".join(entry.name for entry in entries))
    elif args.summary:
        show(summary(entries))
    elif args.subsets:
        show("\n".join(f"{name}: {', '.join(names)}" for name, names in catalog.subsets.items()))
    elif args.unavailable:
        show(unavailable(catalog))
    else:
        show(table(entries))
    return 0


def table(entries: Sequence[Entry]) -> str:
    """The entries in aligned columns, and a line with their number."""
    rows = [("name", "family", "architecture", "task", "priority", "requires")]
    rows += [
        (
            entry.name,
            entry.family,
            entry.architecture,
            entry.task,
            entry.priority,
            ", ".join(entry.requires),
        )
        for entry in entries
    ]
    noun = "entry" if len(entries) == 1 else "entries"
    return "\n".join([*plain_table(rows), f"{len(entries)} {noun}"])


def summary(entries: Sequence[Entry]) -> str:
    """How many entries each family has, by priority."""
    counts = Counter((entry.family, entry.priority) for entry in entries)
    families = dict.fromkeys(entry.family for entry in entries)
    rows = [("family", *PRIORITIES, "all")]
    for family in families:
        by_priority = [counts[family, priority] for priority in PRIORITIES]
        rows.append((family, *map(str, by_priority), str(sum(by_priority))))
    totals = [sum(counts[family, priority] for family in families) for priority in PRIORITIES]
    rows.append(("all", *map(str, totals), str(sum(totals))))
    return "\n".join(plain_table(rows))


def unavailable(catalog: Catalog) -> str:
    """The names that nobody can run, with kind and reason."""
    rows = [(model.name, model.kind, model.reason) for model in catalog.unavailable.values()]
    return "\n".join([*plain_table(rows), f"{len(rows)} names"])
