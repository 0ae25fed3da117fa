"""`python -m harness advise ENTRY`: the backends for a model, the best first, from the results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.catalog import selection
from harness.commands.backends_option import add_backends_dir, every_backend
from harness.commands.lists_option import add_lists, catalog_of, lists_of
from harness.contract import Entry, HarnessError, Outcome
from harness.models.size_by_format import DEFAULT, SizeByFormat, size_by_format
from harness.report import words
from harness.results import merged
from harness.results.advice import Choice, choices
from harness.toolkit import checkout, hardware, printable, typed_commands
from harness.toolkit.hardware import Part
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import plain_table
from harness.workers.settings import ENVIRONMENT


def table(
    entry: Entry,
    found: Sequence[Choice],
    never: Sequence[str],
    sizes: SizeByFormat,
    lists: Sequence[str] = (),
) -> str:
    """The choices in aligned columns, the faults below, and what was never run.

    Args:
        entry: the model.
        found: its choices, the best first.
        never: names of backends without results of it.
        sizes: of the model at full size.
        lists: the option that names the entry's list, where that is not this project's.
    """
    if not found:
        command = typed_commands.session("torch-cpu", [*lists, "--models", entry.name])
        return f"{entry.name}: no results of it. Fix: {command}"
    lines = [("", "backend", "small", "real size", "needs", "fits", "error", "here", "device")]
    parts = hardware.inventory()
    for choice in found:
        head = "" if choice.head == "base" else f":{choice.head}"
        lines.append(
            (
                "pass" if choice.passes else "FAIL",
                f"{choice.backend} {choice.precision}{head}",
                words.seconds(choice.inference_seconds),
                _real_time(choice),
                _needs(choice, sizes),
                _fits(choice, sizes, parts),
                _error(choice),
                "yes" if choice.here else "no",
                choice.device + (" (emulated)" if choice.emulated else ""),
            )
        )
    text = [f"{entry.name} ({entry.architecture}), the best first", _size_line(sizes)]
    text += plain_table(lines)
    faults = [choice for choice in found if not choice.passes]
    if faults:
        text += ["", "known faults"]
        text += [
            "  " + printable.line(f"{choice.backend} {choice.precision}: {choice.fault}")
            for choice in faults
        ]
    if never:
        text += ["", f"never run on {', '.join(never)}"]
    text.append("small: seconds of the small model; they rank, and promise nothing")
    if not any(choice.real for choice in found):
        options = [*lists, "--models", entry.name, "--size"]
        command = typed_commands.measure(found[0].backend, options)
        text.append(f"real size: nothing; {command} wide predicts it, {command} full measures it")
    return "\n".join(text)


def _size_line(sizes: SizeByFormat) -> str:
    """A line about the model at full size."""
    size = sizes.of(DEFAULT)
    if size is None:
        return f"full size unknown: {printable.line(sizes.unknown)}"
    weights = words.memory(size.weight_bytes)
    length = f" at length {size.forward.length}" if size.forward is not None else ""
    total = words.memory(size.total_bytes)
    return (
        f"{size.model} at full size: {size.parameters / 1e6:,.0f} million parameters, {weights} in "
        f"float32, {total} with cache and activations{length}"
    )


def _real_time(choice: Choice) -> str:
    """Seconds and memory of a run at real size; `~` before seconds of a few inferences only."""
    real = choice.real
    if real is None:
        return words.NOTHING
    how = "" if real.measured or real.seconds is None else "~"
    failed = "" if real.outcome == Outcome.PASS else f", {real.outcome}"
    time, memory = words.seconds(real.seconds), words.megabytes(real.memory_mb)
    return f"{how}{time}, {memory} ({real.size}{failed})"


def _needs(choice: Choice, sizes: SizeByFormat) -> str:
    """Memory at full size in the format of a precision, as `python -m harness size` tells it."""
    size = sizes.of(choice.precision)
    return words.NOTHING if size is None else words.memory(size.total_bytes)


def _fits(choice: Choice, sizes: SizeByFormat, parts: Sequence[Part]) -> str:
    """Whether the model fits at full size, where the device is of this machine."""
    size = sizes.of(choice.precision)
    device = choice.device if choice.here and not choice.emulated else ""
    holders = (p for p in parts if p.name in device or f"({p.kind}" in device)
    memory = next((part.memory_bytes for part in holders), None)
    if size is None or memory is None:
        return words.NOTHING
    return f"{'yes' if size.total_bytes <= memory else 'NO'}, {words.memory(memory)}"


def _error(choice: Choice) -> str:
    """The relative error: its score times the noise floor that it is counted in."""
    if choice.floor is None or choice.score is None:
        return words.NOTHING
    return f"{choice.floor * choice.score:.0e}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness advise`."""
    parser.description = "Ranks the backends for a model from stored results."
    parser.add_argument("entry", metavar="ENTRY", help="an entry of the model lists")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a choice")
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    add_lists(parser)
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the choices; 1 where there are none.

    Raises:
        HarnessError: there is no such entry, or a list or a backend.toml is wrong.
    """
    catalog = catalog_of(args)
    entry = _entry(catalog, args.entry)
    specs = every_backend(args)
    here = [name for name, spec in specs.items() if spec.missing_hardware() is None]
    folder = args.results or checkout.results_folder(args.root)
    gathered = merged.gather(merged.find(folder), list(catalog.entries.values()))
    with gathered.connection:
        found = choices(gathered.connection, entry, here)
    never = [name for name in specs if name not in {choice.backend for choice in found}]
    if args.json:
        show_json([asdict(choice) for choice in found])
    else:
        os.environ.update(ENVIRONMENT)
        sizes = size_by_format(entry, [choice.precision for choice in found])
        lists = [f"--lists={lists_of(args)}"] if args.lists else []
        show(table(entry, found, never, sizes, lists))
    for remark in gathered.remarks():
        show(remark, file=sys.stderr)
    return 0 if found else 1


def _entry(catalog: selection.Catalog, name: str) -> Entry:
    found = catalog.select(name)
    if len(found) != 1:
        raise HarnessError(
            f"expected one entry, found {name!r}, which stands for {len(found)}. "
            "Fix: name one; `python -m harness list` shows them"
        )
    return found[0]
