"""`python -m harness expectations`: check and show the expected failures."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from harness.catalog import backends, model_lists
from harness.catalog.backend_spec import BACKENDS
from harness.catalog.chosen_lists import OURS
from harness.commands.backends_option import add_backends_dir, backends_dir, every_backend
from harness.commands.lists_option import add_lists, catalog_of, lists_of
from harness.results.expectations import OWNERS, Expectation, Expectations, Failure
from harness.results.expectations_file import as_keys, load, load_library
from harness.toolkit.printable import show, show_json

#: The name under which the faults of the libraries are shown.
LIBRARY = "every backend"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness expectations`."""
    parser.description = "Checks and shows what each backend is known to get wrong."
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help="all of them by default")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a row")
    add_backends_dir(parser)
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the rows by backend; 1 where a reason is blank.

    Raises:
        HarnessError: a file is wrong, or a backend is unknown.
    """
    catalog, lists = catalog_of(args), lists_of(args)
    alone = bool(args.lists) and not lists.beside
    folder = backends_dir(args)
    specs = (
        [backends.find(name, folder) for name in args.backends]
        if args.backends
        else every_backend(args).values()
    )
    others = (lambda: model_lists.load().entries) if alone else tuple
    loaded = {spec.name: load(spec.expectations, catalog, others=others) for spec in specs}
    if alone:  # this project's backends say nothing of them
        theirs = {spec.name for spec in specs if spec.folder.parent == BACKENDS}
        loaded = {name: found for name, found in loaded.items() if name not in theirs}
    folders = [path for path in lists.folders if not (args.backends and path == OURS)]
    libraries = [load_library(path, catalog) for path in folders]
    rows = tuple(row for library in libraries for row in library.rows)
    if rows:  # they hold of every backend
        warnings = tuple(warning for library in libraries for warning in library.warnings)
        loaded = {LIBRARY: Expectations(rows, warnings=warnings), **loaded}
    if args.json:
        records = [as_record(name, row) for name, found in loaded.items() for row in found.rows]
        show_json(records)
    else:
        for name, found in loaded.items():
            _show(name, found)
        if alone and not any(found.rows for found in loaded.values()):
            show(
                f"no rows about {lists}: `expectations.toml` is read from a folder of lists. "
                "Fix: put it beside them, and name the folder"
            )
    blank = [warning for found in loaded.values() for warning in found.warnings]
    for warning in blank:
        show(warning, file=sys.stderr)
    return 1 if blank else 0


def _show(backend: str, expectations: Expectations) -> None:
    rows = expectations.rows
    owners = Counter(row.failure.owner for row in rows)
    counts = ", ".join(f"{owners[owner]} {owner}" for owner in OWNERS if owners[owner])
    entries = len({row.entry for row in rows})
    noun = "entry is" if entries == 1 else "entries are"
    show(f"{backend}: {entries} {noun} expected to fail{f' ({counts})' if counts else ''}")
    causes: dict[Failure, list[str]] = {}
    for row in rows:
        causes.setdefault(row.failure, []).append(row.entry)
    for failure, names in sorted(causes.items(), key=lambda item: -len(item[1])):
        outcome = f" {failure.outcome.value}" if failure.outcome else ""
        what = f"{failure.stage.value}{outcome}: {failure.reason or '(no reason)'}"
        show(f"  {len(set(names)):4} {failure.owner:8} {what}")
        show(f"       {', '.join(sorted(set(names)))}")


def as_record(backend: str, row: Expectation) -> dict[str, str]:
    """An expectation as one JSON object, for `--json`."""
    return {"backend": backend, "entry": row.entry, **as_keys(row.scope, row.failure)}
