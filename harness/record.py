"""`python -m harness record`: the signatures of real models, as the mock backend replays them.

Runs in an environment that has the real libraries; each model is built in a process of its own.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from harness import catalog, signature
from harness.contract import Cell, HarnessError, Outcome, Stage
from harness.job import Job
from harness.registry import BACKENDS

#: What the snapshot is called, in the folder of the backend that replays it.
SNAPSHOT = BACKENDS / "mock" / "signatures.txt"

HEADER = """\
# What goes into each small model and what comes out, recorded from the real ones.
# Written by `python -m harness record`; one line an entry:
#   entry class parameters input:dtype[dims] ... -> output:dtype[dims] ...
# b is the batch and s the length of the text; 18~25 is a size that follows neither simply.
"""


def signature_line(job: Job, report: Callable[[Stage], None]) -> str:
    """The signature of one entry's model; runs in a child."""
    from harness import cell
    from harness.tiny.case import TinyCase

    case = TinyCase(job.cell.entry, job.seed, job.size)
    report(Stage.INPUTS)
    base = case.inputs("base")
    report(Stage.REFERENCE)
    want, dtype = cell.first_reference(case, base)
    return str(cell.describe(case, base, want, dtype))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m harness record`."""
    parser.add_argument("models", nargs="?", default="", help="LIST, FAMILY or NAME, ...: only these")
    parser.add_argument("--backend", default="torch-cpu", help="whose environment this is")
    parser.add_argument("-o", "--output", type=Path, default=SNAPSHOT)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one entry")


def main(args: argparse.Namespace) -> int:
    """Write the lines of the entries that build; the others keep theirs."""
    from harness.isolation import run_all

    root = Path(__file__).resolve().parent.parent
    lists = catalog.load(root)
    chosen = lists.select(args.models) if args.models else list(lists.entries.values())
    known = signature.load(args.output)
    jobs = [Job(Cell(entry, args.backend), 0, "tiny", BACKENDS) for entry in chosen]
    failed = 0
    for job, ending in run_all(jobs, "harness.record:signature_line", seconds=args.timeout):
        name = job.cell.entry.name
        if ending.value is not None:
            known[name] = signature.parse(ending.value)
        else:
            failed += 1
            print(f"{name}: {ending.outcome or Outcome.FAIL} at {ending.stage}: {ending.reason}")
    if not known:
        raise HarnessError("expected at least one model that builds; found none, nothing written")
    lines = [str(known[name]) for name in sorted(known) if name in lists.entries]
    temporary = args.output.with_suffix(".tmp")
    temporary.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, args.output)
    print(f"{args.output}: {len(lines)} signatures; {failed} of {len(jobs)} entries have none")
    return 0
