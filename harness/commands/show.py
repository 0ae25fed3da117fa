"""`python -m harness show ENTRY[:HEAD]`: the config that is built, beside the published one.

Runs in an environment that has the entry's library; a tiny model is built and run, one of another
size takes no memory.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from harness.catalog import backends
from harness.catalog.cells import cell_of
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import Absent, Cell, HarnessError
from harness.models.shown_model import ArraySpec, ShownModel, shown_model
from harness.toolkit import typed_commands
from harness.toolkit.printable import line, show, show_json
from harness.toolkit.text_table import plain_table
from harness.workers.settings import ENVIRONMENT

#: The sizes of a model, the smallest first.
SIZES = ("tiny", "wide", "full")

#: Characters of a value in the table.
MOST = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness show`."""
    parser.description = (
        "Shows how a model is built: fields of its config beside the published ones, with the rule "
        "that changed each, and parameters, inputs and outputs. Exit status: 0, 1 where this "
        "environment lacks the model, 2 where the entry is wrong."
    )
    parser.add_argument("entry", metavar="ENTRY[:HEAD]", help="a model, as pytest names its cell")
    parser.add_argument("--size", choices=SIZES, default=SIZES[0], help="as in a session (tiny)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the model; 1 where this environment lacks it.

    Raises:
        HarnessError: there is no such entry, it sets a field that does not exist, or the library
            cannot build it.
    """
    cell = cell_of(args.entry, "show", "default", catalog_of(args))
    if find_spec("torch") is None:
        raise HarnessError(
            "expected an environment with PyTorch, found none. Fix: "
            + typed_commands.with_packages(backends.find("torch-cpu").install, ["show", args.entry])
        )
    os.environ.update(ENVIRONMENT)
    try:
        found = shown_model(cell.entry, cell.head, args.size, args.seed)
    except Absent as error:
        show(f"{cell.label}: absent from this environment: {error}")
        return 1
    if args.json:
        show_json({"entry": cell.entry.name, "head": cell.head, "size": args.size, **_json(found)})
    else:
        show("\n".join(lines(cell, found, args.size)))
    return 0


def lines(cell: Cell, found: ShownModel, size: str) -> list[str]:
    """The model as text: where its config is from, the changed fields, parameters, arrays."""
    entry = cell.entry
    text = [f"{cell.label} ({found.model}), size {size}"]
    source = f"published: defaults of {found.config or entry.architecture}"
    if entry.config:
        source += ", with `config` of the entry:"
    text.append(source)
    text += [f"    {name} = {_shown(value, 100)}" for name, value in entry.config.items()]
    text.append("")
    if found.changed:
        heads = ("field", "published", size, "rule")
        rows = [
            (change.path, _shown(change.published), _shown(change.built), line(change.rule, 160))
            for change in found.changed
        ]
        text += plain_table([heads, *rows])
    elif not found.unknown:
        text.append("every field is as published")
    published = found.published_parameters
    of = "" if published is None else f" of {published:,} published".replace(",", " ")
    text += ["", f"parameters: {found.parameters:,}".replace(",", " ") + of]
    for name, specs in (("inputs", found.inputs), ("outputs", found.outputs)):
        if specs:
            text += [f"{name}:", *(f"    {row}" for row in plain_table(_rows(specs)))]
    if found.unknown:
        text.append(f"unknown: {line(found.unknown)}")
    return text


def _rows(specs: Mapping[str, ArraySpec]) -> list[tuple[str, str, str]]:
    return [(name, spec.dtype, "x".join(map(str, spec.shape))) for name, spec in specs.items()]


def _shown(value: Any, most: int = MOST) -> str:
    text = line(str(value), 10 * most)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _json(found: ShownModel) -> dict[str, Any]:
    made = asdict(found)
    for change in made["changed"]:
        for key in ("published", "built"):
            if not isinstance(change[key], bool | int | float | str | type(None)):
                change[key] = str(change[key])
    return made
