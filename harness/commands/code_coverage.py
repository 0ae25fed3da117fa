"""`python -m harness code-coverage`: which code of its modeling file each architecture's cells run.

Runs the cells of a backend's environment under a line tracer, each in a process of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.catalog.requirements import unmet_requirements
from harness.cell.code_coverage import LinesRun, lines_run
from harness.cell.request import Job
from harness.commands.backends_option import add_backends_dir, backends_dir
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import Cell, Entry, HarnessError
from harness.report.code_coverage import BEGIN, END, markdown, summary, switches
from harness.results.code_coverage import count
from harness.toolkit.marked_text import write_between
from harness.toolkit.printable import show
from harness.workers.task_endings import task_endings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness code-coverage`."""
    parser.description = "Runs cells, and counts which code of the modeling files they run."
    parser.add_argument(
        "models", nargs="?", default="", help="LIST, FAMILY or NAME, ...: only these"
    )
    parser.add_argument("--backend", help="whose environment this is", default="torch-cpu")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help=f"put the tables into FILE, between {BEGIN} and {END}",
    )
    parser.add_argument(
        "--switches",
        action="store_true",
        help="run nothing: list the tests of config fields of which no entry gives one answer",
    )
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one cell")
    add_lists(parser)
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the files, those with the lowest share of code run first.

    Raises:
        HarnessError: no cell runs here.
    """
    spec = backends.find(args.backend, backends_dir(args))
    lists = catalog_of(args)
    chosen = lists.select(args.models) if args.models else list(lists.entries.values())
    if args.switches:
        show(switches(_survey(chosen, spec, args.timeout)), end="")
        return 0
    cells = [Cell(e, spec.name, head=head) for e in chosen for head in e.built]
    jobs = {cell.label: Job(cell, 0, "tiny", spec.folder.parent) for cell in cells}
    found: dict[str, LinesRun] = {}
    problems: list[str] = []
    target = f"{lines_run.__module__}:{lines_run.__name__}"
    for label, ending in task_endings(spec, target, jobs, args.timeout).items():
        if isinstance(ending.value, dict):
            found[label] = LinesRun.received(ending.value)
        else:
            problems.append(f"{label}: at {ending.stage}: {ending.reason}")
    files = count((cell, found[cell.label]) for cell in cells if cell.label in found)
    if not files:
        why = f" ({min(problems)})" if problems else ""
        raise HarnessError(
            f"expected a cell that runs, found none{why}. Fix: run this in an environment with "
            f"coverage and the packages of {spec.install}"
        )
    for problem in sorted(problems):
        show(problem, file=sys.stderr)
    show(markdown(files), end="")
    if args.write is not None:
        changed = write_between(args.write, BEGIN, END, summary(files))
        show(f"{args.write}: {'rewritten' if changed else 'unchanged'}", file=sys.stderr)
    return 0


def _survey(
    entries: Sequence[Entry], spec: BackendSpec, timeout: float
) -> Sequence[Mapping[str, Any]]:
    """The switches of the entries' modeling files, told by a child.

    Raises:
        HarnessError: the child failed.
    """
    chosen = [e for e in entries if e.library == "transformers" and not unmet_requirements(e)]
    target = "harness.models.switches:survey"
    (ending,) = task_endings(spec, target, {"switches": chosen}, timeout).values()
    found = ending.value
    if not isinstance(found, list):
        raise HarnessError(
            f"expected the configs of the entries, found: {ending.reason}. Fix: run this in "
            f"the environment of {spec.install}"
        )
    return found
