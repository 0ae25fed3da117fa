"""`python -m harness generating`: the classes with a `generate()` that no cell lets generate.

Runs in an environment that has transformers.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import HarnessError
from harness.toolkit.printable import show
from harness.toolkit.text_table import plain_table
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import STRINGS, Key

REASONS = Path(__file__).with_suffix(".toml")

KEYS: Mapping[str, Key] = {
    "classes": Key("Classes of transformers.", STRINGS, required=True),
    "reason": Key("Why no cell lets them generate.", required=True),
}


def reasons() -> Mapping[str, str]:
    """Why no cell lets a class generate, by the name of the class; from `generating.toml`."""
    source = TomlFile(REASONS)
    source.check_tables(KEYS)
    return {name: table["reason"] for table in source.tables.values() for name in table["classes"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness generating`."""
    parser.description = "Lists the classes with a generate() that no cell lets generate."
    parser.add_argument("--all", action="store_true", help="those with a known reason too")
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the classes; 1 where one has no reason, or a reason has no such class.

    Raises:
        HarnessError: transformers is not installed here.
    """
    try:
        from harness.models import generating_classes

        classes, unread = generating_classes.of_library()
    except ImportError as error:
        raise HarnessError(
            f"expected transformers, found {error}. Fix: run this in an environment of torch-cpu"
        ) from error
    entries = catalog_of(args).entries.values()
    made = generating_classes.of_cells(entries)
    own = reasons()
    left = {name: cls.__module__ for name, cls in classes.items() if name not in made}
    known = {**generating_classes.exempt(entries), **own}
    rows = [
        [name, left[name].rpartition(".")[2], known.get(name, "")]
        for name in sorted(left)
        if args.all or name not in known
    ]
    for line in plain_table([["class", "module", "reason"], *rows]) if rows else []:
        show(line)
    idle = sorted(own.keys() - left.keys())
    if idle:
        show(f"{REASONS.name} names classes that need no reason: {', '.join(idle)}")
    kinds = [made.get(name) for name in classes]
    show(
        f"{len(classes)} classes have a generate(): cells judge each token of "
        f"{kinds.count(generating_classes.TOKENS)}, and the answer of {kinds.count('own')}; "
        f"{len(left)} are left"
    )
    for module in unread:
        show(f"not read: {module}")
    return int(bool(idle) or any(name not in known for name in left))
