"""`python -m harness repro ENTRY[:HEAD]`: one short standalone script that shows a failure.

Runs the cell, writes a Python file that imports nothing of this project, and runs that file. Beside
it lie what is too large to write down (`.npz`, `.onnx`) and a text for an upstream report (`.md`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.catalog.cells import cell_of
from harness.cell.request import Job
from harness.commands.backends_option import add_backends_dir, backends_dir
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import Cell, CellResult, HarnessError, Outcome
from harness.diagnosis.script_request import TEMPLATE, ScriptRequest
from harness.models.recorded import record
from harness.report import culprits
from harness.session.options import add_passed_on, passed_on
from harness.toolkit.printable import line, show
from harness.workers.reproduction import (
    Reproduction,
    failures_of,
    reproduce,
    reproduce_operators,
    results_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness repro`."""
    parser.description = (
        "Runs a cell, and writes a standalone script that shows its failure. Exit status: 0 where "
        "the script shows it, 1 where it does not, 2 where none can be written."
    )
    parser.add_argument("entry", metavar="ENTRY[:HEAD]", help="a cell, as pytest names it")
    parser.add_argument("--backend", required=True, help="whose environment this is")
    parser.add_argument("--precision", default="default", help="in which the cell fails (default)")
    parser.add_argument(
        "--input",
        default="",
        metavar="NAME",
        help="the input, the way of a cache or the stage whose failure is meant; the first else",
    )
    parser.add_argument("--output", type=Path, default=Path("repro"), metavar="FOLDER")
    parser.add_argument(
        "--operators",
        action="store_true",
        help="only the operators that fail, as `localise` finds them",
    )
    add_passed_on(parser)
    parser.add_argument("--no-run", action="store_true", help="write the script, do not run it")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each step")
    add_lists(parser)
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Writes the script; 1 where it does not show the failure.

    Raises:
        HarnessError: there is no such cell, or it does not fail, or no script can be written.
    """
    spec = backends.find(args.backend, backends_dir(args))
    if not (spec.folder / TEMPLATE).is_file():
        raise HarnessError(
            f"expected {spec.folder / TEMPLATE}, by which scripts run {spec.name}, found none. "
            "Fix: add it; docs/adding-a-backend.md says what it holds"
        )
    cell = cell_of(args.entry, spec.name, args.precision, catalog_of(args))
    reads = spec.checkpoints and args.precision == "default" and not args.lists
    recorded = tuple(record.load().get(cell.label, ())) if reads else ()
    folder = spec.folder.parent
    if args.operators:
        return _operators(spec, Job(cell, 0, "tiny", folder, options=passed_on(args)), args)
    job = Job(
        cell,
        0,
        "tiny",
        folder,
        options=passed_on(args),
        recorded_checkpoints=recorded,
        checks_library=reads,
    )
    (result,) = results_of(spec, {cell.label: job}, args.timeout).values()
    found = failures_of(result, args.input)
    if not found:
        raise HarnessError(_nothing(cell, result, args.input))
    refused = []
    for failure in found:
        request = ScriptRequest(job, failure, args.output, seconds=round(args.timeout))
        runs = not args.no_run
        (made,) = dict(reproduce(spec, {"": request}, args.timeout, runs=runs)).values()
        if made.script is not None:
            return _told(made)
        refused.append(f"{failure.line}: {made.said}")
    raise HarnessError(
        f"expected a failure that a script can show, found {line('; '.join(refused))}. Fix: name "
        "another one with --input"
    )


def _operators(spec: BackendSpec, job: Job, args: argparse.Namespace) -> int:
    """Writes the script of the operators alone; 1 where it does not show the failure."""
    culprit, made = reproduce_operators(
        spec, job, args.output, args.timeout, chosen=args.input, runs=not args.no_run
    )
    show("\n".join([job.cell.id, *culprits.lines(culprit), ""]))
    if made.script is not None:
        return _told(made)
    found = f"{made.said}: no script shows it" if culprit.operator else "none"
    raise HarnessError(
        f"expected operators of {job.cell.id} that fail alone, found {found}. Fix: leave out "
        "--operators, for a script of the whole model"
    )


def _told(made: Reproduction) -> int:
    show(f"{made.failure.line}\n")
    show(f"{made.script}: {made.lines} lines")
    show(f"{made.report}: text for an upstream report")
    if made.shown is None:
        show("not run")
        return 0
    show(f"{'shows the same failure' if made.shown else 'does NOT show it'}: {line(made.said)}")
    return 0 if made.shown else 1


def _nothing(cell: Cell, result: CellResult, name: str) -> str:
    if result.outcome is Outcome.PASS:
        return f"expected a failure of {cell.id}, found that it passes. Fix: name a cell that fails"
    others = line("; ".join(failure.line for failure in result.failures))
    wanted = f" on {name!r}" if name else ""
    return (
        f"expected a failure of the backend{wanted} in {cell.id}, found {others}. Fix: name "
        "another cell, or another --input"
    )
