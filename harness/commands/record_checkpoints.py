"""`python -m harness record-checkpoints`: records the checkpoints that a version saves.

Run once in the environment of an old version, for the names that published checkpoints have, and
once in that of the newest, for what it makes of them. Each model is built in a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.catalog import backends, model_lists
from harness.contract import Cell, CheckFailed, HarnessError, Stage, label
from harness.models.recorded import abridged, record
from harness.toolkit import checkout
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.printable import show
from harness.workers.task_endings import task_endings

HEADER = """\
# Checkpoints as older versions of transformers saved them, small and without their data.
# Written by `python -m harness record-checkpoints`; harness/models/recorded/ documents the lines.
"""


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """One cell's checkpoints to be recorded or read, and what is recorded of them already."""

    cell: Cell
    known: tuple[str, ...]
    anew: bool = False


def checkpoint_blocks(
    request: RecordRequest, report: Callable[[Stage], None]
) -> dict[str, list[str]]:
    """The recorded checkpoints of a cell, as `blocks`; runs in a child.

    Those of an older version stay, with what this version makes of them. A newer version's make
    way. `problems` has why blocks of an older version are as they were: they are read otherwise.
    """
    import transformers
    from packaging.version import Version

    from harness.models import model_class
    from harness.models.case import TinyCase
    from harness.models.recorded import making

    cell = request.cell
    report(Stage.BUILD)
    cls = model_class.of(cell.entry.architecture, cell.head)
    found = {r.label: r for r in map(record.parse, request.known)}
    here = Version(transformers.__version__)
    older = {name: r for name, r in found.items() if Version(r.version) < here and not request.anew}
    report(Stage.ROUNDTRIP)
    kept, problems = {}, []
    for name, older_one in older.items():
        try:
            kept[name] = str(making.updated(older_one, cls))
        except CheckFailed as error:
            kept[name] = str(older_one)
            problems.append(str(error))
    if cell.label not in kept:
        report(Stage.REFERENCE)
        made = making.make(TinyCase(cell.entry, 0, "tiny", cell.head))
        kept |= {r.label: str(r) for r in made if r.label not in kept}
    return {"blocks": [kept[name] for name in sorted(kept)], "problems": problems}


def read_blocks(request: RecordRequest, report: Callable[[Stage], None]) -> int:
    """The number of a cell's checkpoints, all of which this version reads; runs in a child.

    Raises:
        CheckFailed: one is read in another way than the version that saved it reads it.
    """
    from harness.models import model_class
    from harness.models.recorded import reading

    report(Stage.ROUNDTRIP)
    cls = model_class.of(request.cell.entry.architecture, request.cell.head)
    for block in request.known:
        reading.read(record.parse(block), cls)
    return len(request.known)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m harness record-checkpoints`."""
    parser.add_argument(
        "models", nargs="?", default="", help="LIST, FAMILY or NAME, ...: only these"
    )
    parser.add_argument("--backend", default="torch-cpu", help="whose environment this is")
    parser.add_argument(
        "--anew", action="store_true", help="also in the place of what an older version saved"
    )
    parser.add_argument(
        "--read", action="store_true", help="read what the file holds and write nothing"
    )
    parser.add_argument("-o", "--output", type=Path, default=record.RECORD, metavar="FILE")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one model")


def main(args: argparse.Namespace) -> int:
    """Write or read the checkpoints of the cells that this environment builds.

    With `--read`, 1 where one of them is read in another way than by the version that saved it.

    Raises:
        HarnessError: nothing builds here, so that nothing is written.
    """
    spec = backends.find(args.backend)
    lists = model_lists.load(checkout.ROOT)
    chosen = lists.select(args.models) if args.models else list(lists.entries.values())
    known = record.load(args.output)
    cells = [
        Cell(entry, spec.name, head=head)
        for entry in chosen
        if entry.library == "transformers"
        for head in record.recorded_heads(entry)
        if not args.read or label(entry.name, head) in known
    ]
    requests = {
        cell.label: RecordRequest(cell, tuple(known.get(cell.label, ())), args.anew)
        for cell in cells
    }
    function = read_blocks if args.read else checkpoint_blocks
    endings = task_endings(spec, f"{__name__}:{function.__name__}", requests, args.timeout)
    problems = {
        name: f"at {ending.stage}: {ending.reason}"
        for name, ending in endings.items()
        if ending.value is None
    }
    absent = {name for name in problems if endings[name].reason.startswith("Absent")}
    for name in sorted(problems.keys() - absent):
        show(f"{name}: {problems[name]}")
    built = len(cells) - len(absent)
    failed = len(problems) - len(absent)
    if args.read:
        show(f"{args.output}: {built - failed} of {built} models read alike, {failed} not")
        return int(failed > 0)
    if len(problems) == len(cells):
        raise HarnessError(
            f"expected a model that builds, found none ({min(problems.items(), default='')}); "
            f"{args.output} is as it was. Fix: run this in the environment of {spec.install}"
        )
    for name, ending in sorted(endings.items()):
        if ending.value is not None:
            known[name] = ending.value["blocks"]
            for problem in ending.value["problems"]:
                show(f"{name}: stays as it was: {problem}")
    listed = {label(e.name, h) for e in lists.entries.values() for h in record.recorded_heads(e)}
    write(args.output, {name: known[name] for name in sorted(known) if name in listed})
    show(f"{args.output}: {built - failed} of {built} models recorded now")
    return 0


def write(path: Path, blocks: Mapping[str, Sequence[str]]) -> None:
    """Write a record; the comments at its beginning stay."""
    before = path.read_text(encoding="utf-8") if path.is_file() else HEADER
    comments = before.partition("\n[")[0].strip()
    told = abridged.abridged([block for found in blocks.values() for block in found])
    write_atomically(path, "\n\n".join([comments, *told]) + "\n")
