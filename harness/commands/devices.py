"""`python -m harness devices`: every backend, and whether this machine has its hardware.

No SDK is imported: the hardware is as the operating system reports it (`harness.toolkit.hardware`).
Whether an SDK can use that hardware, the backend's own session finds out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness.catalog.backend_spec import BackendSpec
from harness.commands.backends_option import add_backends_dir, every_backend
from harness.report import words
from harness.toolkit import hardware
from harness.toolkit.hardware import Part
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import plain_table

#: The kinds of hardware of a backend that names none in its backend.toml.
CPU = ("cpu",)


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One backend on this machine."""

    backend: str
    title: str
    present: bool
    parts: tuple[Part, ...]
    missing: str = ""
    fix: str = ""


def rows(specs: Sequence[BackendSpec], parts: Sequence[Part]) -> list[DeviceRow]:
    """Each backend with the parts of this machine that are for it."""
    made = []
    for spec in specs:
        kinds = spec.hardware.kinds if spec.hardware else CPU
        absence = spec.missing_hardware()
        fitting = tuple(part for part in parts if part.kind in kinds)
        if absence is None:
            made.append(DeviceRow(spec.name, spec.title, True, fitting))
        else:
            made.append(DeviceRow(spec.name, spec.title, False, (), absence.reason, absence.fix))
    return made


def table(found: Sequence[DeviceRow]) -> str:
    """The backends in aligned columns, then what is missing and how to get it."""
    lines = [("backend", "here", "device", "memory", "driver")]
    for row in found:
        here = "yes" if row.present else "no"
        first: tuple[Part | None, ...] = row.parts or (None,)
        for number, part in enumerate(first):
            lines.append(
                (
                    "" if number else row.backend,
                    "" if number else here,
                    part.name if part else "",
                    words.megabytes(part.memory_bytes / 1e6) if part and part.memory_bytes else "",
                    part.driver if part else "",
                )
            )
    text = plain_table(lines)
    for row in found:
        if not row.present:
            text += ["", f"{row.backend}: {row.missing}", f"  Fix: {row.fix}"]
    return "\n".join(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness devices`."""
    parser.description = "Shows which backends this machine has the hardware for."
    parser.add_argument("--json", action="store_true", help="as JSON, one object a backend")
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the table of backends.

    Raises:
        HarnessError: a backend.toml is wrong.
    """
    specs = list(every_backend(args).values())
    found = rows(specs, hardware.inventory())
    if args.json:
        show_json([asdict(row) for row in found])
    else:
        show(table(found))
    return 0
