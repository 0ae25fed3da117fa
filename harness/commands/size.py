"""`python -m harness size ENTRY[:HEAD]`: parameters and memory of a model before it is loaded.

Runs in an environment that has the entry's library; no weights, hardware or network are needed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec

from harness.catalog import backends
from harness.catalog.cells import cell_of
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import Absent, Cell, HarnessError
from harness.models import model_size
from harness.models.forward_memory import ForwardMemory
from harness.models.model_size import ModelSize
from harness.models.weight_formats import FORMATS
from harness.report import words
from harness.toolkit import hardware, printable, typed_commands
from harness.toolkit.hardware import Part
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import plain_table
from harness.workers.settings import ENVIRONMENT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness size`."""
    parser.description = (
        "Tells a model's parameters and memory at full size, before anything is allocated. Exit "
        "status: 0 where it is known, 1 where this environment lacks the library, 2 where the "
        "library cannot build it."
    )
    parser.add_argument("entry", metavar="ENTRY[:HEAD]", help="a model, as pytest names its cell")
    parser.add_argument("--dtype", choices=FORMATS, default="bf16", help="of the weights (bf16)")
    parser.add_argument("--batch", type=_positive, default=1, help="examples of a pass (1)")
    parser.add_argument("--length", type=_positive, default=4096, help="tokens of a text (4096)")
    parser.add_argument("--json", action="store_true", help="as JSON, in bytes")
    add_lists(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the size; 1 where this environment cannot know it.

    Raises:
        HarnessError: there is no such entry, or the library cannot build it at full size.
    """
    cell = cell_of(args.entry, "size", args.dtype, catalog_of(args))
    if find_spec("torch") is None:
        raise HarnessError(
            "expected an environment with PyTorch, found none. Fix: "
            + typed_commands.with_packages(backends.find("torch-cpu").install, ["size", args.entry])
        )
    os.environ.update(ENVIRONMENT)
    try:
        size = model_size.measure(
            cell.entry, cell.head, args.dtype, batch=args.batch, length=args.length
        )
    except Absent as error:
        show(f"{cell.label}: absent from this environment: {error}")
        return 1
    parts = [part for part in hardware.inventory() if part.memory_bytes]
    if args.json:
        show_json(as_json(cell, size, parts))
    else:
        show("\n".join(lines(cell, size, parts, args.length)))
    return 0


def as_json(cell: Cell, size: ModelSize, parts: Sequence[Part]) -> dict[str, object]:
    """The size as plain data, with what of this machine holds it."""
    return {
        "entry": cell.entry.name,
        "head": cell.head,
        "dtype": cell.precision,
        **asdict(size),
        "total_bytes": size.total_bytes,
        "machine": [
            {**asdict(part), "fits": size.total_bytes <= (part.memory_bytes or 0)} for part in parts
        ],
    }


def lines(cell: Cell, size: ModelSize, parts: Sequence[Part], length: int) -> list[str]:
    """The size as aligned text: where the config is from, the bytes, and each part's memory."""
    dtype = FORMATS[cell.precision].dtype
    rows = [
        ("parameters", f"{size.parameters:,}".replace(",", " "), "tied ones once"),
        ("weights", words.memory(size.weight_bytes), cell.precision),
        ("buffers", words.memory(size.buffer_bytes), "which no parameter is"),
    ]
    forward = size.forward
    if forward is not None:
        rows += [
            ("cache", words.memory(forward.cache_bytes), f"{dtype}, as the library's own holds it"),
            ("activations", words.memory(forward.activation_bytes), method(forward)),
        ]
    rows.append(("sum", words.memory(size.total_bytes), ""))
    text = [f"{cell.label} ({size.model}), {cell.precision}", origin(cell, size)]
    if forward is None:
        unknown = printable.line(size.unknown)
        text.append(f"cache and activations unknown, and not in the sum: {unknown}")
    else:
        shapes = (f"{name} {'x'.join(map(str, shape))}" for name, shape in forward.inputs.items())
        text.append(f"inputs: {', '.join(shapes)}")
        if forward.length != length:
            text.append(f"length {forward.length}, not {length}: it has positions for no more")
    alone = "" if forward is not None else ", of parameters and buffers alone"
    fits = (f"{fit(size.total_bytes, part)}{alone}" for part in parts)
    return [*text, "", *plain_table(rows), "", *fits]


def method(forward: ForwardMemory) -> str:
    """A line about how activations were estimated."""
    if forward.extrapolated_from:
        lengths = " and ".join(map(str, forward.extrapolated_from))
        return f"estimated: a line through the peaks at lengths {lengths}"
    return "estimated: most live bytes in one pass, with fused attention"


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return value


def origin(cell: Cell, size: ModelSize) -> str:
    """A line about where the sizes come from: the entry, or the config class's own defaults."""
    if size.declared:
        return f"sizes: {', '.join(size.declared)} of the entry, else defaults of {size.config}"
    checkpoint = cell.entry.checkpoint
    other = f"; those of {checkpoint} may differ" if checkpoint else ""
    return f"sizes: defaults of {size.config}, the entry declares none{other}"


def fit(needed: int, part: Part) -> str:
    """A line about whether so many bytes fit in the memory of a processor or GPU."""
    memory = part.memory_bytes or 0
    where = f"{part.kind} {part.name}, {words.memory(memory)}"
    if needed <= memory:
        return f"fits: {where}"
    return f"does NOT fit: {where}, {needed / memory:.1f} times as much is needed"
