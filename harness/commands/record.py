"""`python -m harness record`: records the signatures of real models, which `mock` replays.

Runs in an environment that has the real libraries; each model is built in a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from harness.catalog import backends, model_lists
from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import Job
from harness.contract import Cell, HarnessError, Stage, label
from harness.toolkit import checkout, signature
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.printable import show
from harness.workers.task_endings import task_endings

HEADER = """\
# What goes into each small model and what comes out, recorded from the real ones.
# Written by `python -m harness record`; one line for each entry, and each of its task heads:
#   label class parameters input:dtype[dims] ... -> output:dtype[dims] ...
# b is the batch and s the length of the text; 18~25 is a size that follows neither simply, and 82?
# one that follows from values.
"""

#: Further seeds of weights and examples, whose outputs show what of a shape follows from values.
FURTHER_SEEDS = 3


def signature_line(job: Job, report: Callable[[Stage], None]) -> str:
    """The signature of one entry's model; runs in a child."""
    from harness.cell import reference
    from harness.models.case import TinyCase

    case = TinyCase(job.cell.entry, job.seed, job.size, job.cell.head)
    report(Stage.INPUTS)
    base = case.inputs("base")
    report(Stage.REFERENCE)
    want, dtype = reference.first_reference(case, base)
    alike = [case.reference(case.inputs("other"), dtype)]
    for seed in range(job.seed + 1, job.seed + 1 + FURTHER_SEEDS):
        further = TinyCase(job.cell.entry, seed, job.size, job.cell.head)
        alike.append(further.reference(further.inputs("base"), dtype))
    return str(reference.describe(case, base, want, dtype, alike=alike))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m harness record`."""
    parser.add_argument(
        "models", nargs="?", default="", help="LIST, FAMILY or NAME, ...: only these"
    )
    parser.add_argument("--backend", help="whose environment this is; that of the newest models")
    parser.add_argument("-o", "--output", type=Path, default=signature.SNAPSHOT)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one entry")


def main(args: argparse.Namespace) -> int:
    """Write the lines of the entries that build; the others keep theirs.

    Raises:
        HarnessError: nothing builds here, so that nothing is written.
    """
    spec = backends.find(args.backend) if args.backend else _builder()
    lists = model_lists.load(checkout.ROOT)
    chosen = lists.select(args.models) if args.models else list(lists.entries.values())
    known = signature.load(args.output)
    cells = [Cell(e, spec.name, head=head) for e in chosen for head in e.built]
    jobs = {cell.label: Job(cell, 0, "tiny", spec.folder.parent) for cell in cells}
    problems: list[str] = []
    target = f"{__name__}:{signature_line.__name__}"
    for name, ending in task_endings(spec, target, jobs, args.timeout).items():
        if isinstance(ending.value, str):
            known[name] = signature.parse(ending.value)
        else:
            problems.append(f"{name}: at {ending.stage}: {ending.reason}")
    if len(problems) == len(jobs):
        raise HarnessError(
            f"expected a model that builds, found none ({min(problems)}); {args.output} is as it "
            f"was. Fix: run this in the environment of {spec.install}"
        )
    listed = {label(e.name, h) for e in lists.entries.values() for h in e.built}
    lines = [str(known[name]) for name in sorted(known) if name in listed]
    write_atomically(args.output, HEADER + "\n".join(lines) + "\n")
    for problem in sorted(problems):
        show(problem)
    recorded = len(jobs) - len(problems)
    show(f"{args.output}: {len(lines)} signatures; {recorded} of {len(jobs)} models recorded now")
    return 0


def _builder() -> BackendSpec:
    """A backend that is held against the snapshot: for every entry and every machine, if any is."""
    held = [spec for spec in backends.discover(left_out=[]).values() if spec.snapshot]
    if not held:
        raise HarnessError(
            "expected a backend whose backend.toml says `snapshot = true`, found none. Fix: name "
            "one with --backend"
        )
    return min(held, key=lambda spec: (bool(spec.models), spec.hardware is not None))
