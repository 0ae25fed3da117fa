"""`python -m harness advise ENTRY`: the backends for a model, the best first, from the results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from harness.catalog import backends, model_lists, selection
from harness.contract import Entry, HarnessError
from harness.report import words
from harness.results import merged
from harness.results.advice import Choice, choices
from harness.toolkit import checkout, printable
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import plain_table


def table(entry: Entry, found: Sequence[Choice], never: Sequence[str]) -> str:
    """The choices in aligned columns, the faults below, and what was never run."""
    if not found:
        return f"{entry.name}: no results of it. Fix: nox -s torch-cpu -- --models {entry.name}"
    lines = [("", "backend", "inference", "load", "score", "error", "memory", "here", "device")]
    for choice in found:
        size = choice.device_memory_mb
        memory = words.megabytes(choice.peak_rss_mb if size is None else size)
        head = "" if choice.head == "base" else f":{choice.head}"
        lines.append(
            (
                "pass" if choice.passes else "FAIL",
                f"{choice.backend} {choice.precision}{head}",
                words.seconds(choice.inference_seconds),
                words.seconds(choice.load_seconds),
                words.score(choice.score),
                _error(choice),
                f"{memory} {'host' if size is None else 'device'}",
                "yes" if choice.here else "no",
                choice.device + (" (emulated)" if choice.emulated else ""),
            )
        )
    text = [f"{entry.name} ({entry.architecture}), the best first", *plain_table(lines)]
    faults = [choice for choice in found if not choice.passes]
    if faults:
        text += ["", "known faults"]
        text += [
            "  " + printable.line(f"{choice.backend} {choice.precision}: {choice.fault}")
            for choice in faults
        ]
    if never:
        text += ["", f"never run on {', '.join(never)}"]
    text.append("times and memory are of the small model: they rank, and promise nothing")
    return "\n".join(text)


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
    parser.add_argument("--root", type=Path, default=checkout.ROOT, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Prints the choices; 1 where there are none.

    Raises:
        HarnessError: there is no such entry, or a list or a backend.toml is wrong.
    """
    catalog = model_lists.load(args.root)
    entry = _entry(catalog, args.entry)
    specs = backends.discover(args.root / "backends")
    here = [name for name, spec in specs.items() if spec.missing_hardware() is None]
    folder = args.results or args.root / "results"
    gathered = merged.gather(merged.find(folder), list(catalog.entries.values()))
    with gathered.connection:
        found = choices(gathered.connection, entry, here)
    never = [name for name in specs if name not in {choice.backend for choice in found}]
    if args.json:
        show_json([asdict(choice) for choice in found])
    else:
        show(table(entry, found, never))
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
