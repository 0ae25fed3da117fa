"""Share of the known failures at `run` and `verify` whose culprit `localise` finds, and its cost.

    .nox/torch-cpu/bin/python -m benchmarks.localise_failures --quick     # two cells a row
    .nox/torch-cpu/bin/python -m benchmarks.localise_failures             # all of torch-cpu
    .nox/openvino/bin/python -m benchmarks.localise_failures --backend openvino --precision f32

Takes every cell that the backend's `expectations.toml` expects to fail or crash at those stages, or
that of the libraries' faults where they show, in the precision asked for, and localises it. A cell
that does not fail any more is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness.catalog import backends, model_lists
from harness.catalog.backend_spec import BackendSpec
from harness.catalog.chosen_lists import OURS
from harness.cell.request import Job
from harness.contract import Cell, Culprit, HarnessError, Outcome, Stage
from harness.results import expectations_file
from harness.toolkit.printable import show
from harness.workers import fork_server
from harness.workers.localisation import localise
from harness.workers.task_endings import settings_of

#: The share that must have a culprit.
CLAIM = 0.8

#: Prepares and seconds of a cell, at the median; one of the two must hold.
MOST_PREPARES, MOST_SECONDS = 20, 60.0

#: Stages at which the model's own outputs are had, and judged.
STAGES = (Stage.RUN, Stage.VERIFY)

#: Outcomes of a backend's own failures.
OUTCOMES = (Outcome.FAIL, Outcome.CRASH, None)

#: Cells of each row that a quick run takes.
QUICK = 2

#: How the evidence begins of a cell that does not fail.
RIGHT = "the model's outputs are right"


def known_failures(spec: BackendSpec, precision: str, most: int | None) -> list[Cell]:
    """The cells that are expected to fail at `STAGES`, each once.

    Args:
        spec: the backend.
        precision: of the cells.
        most: how many cells of one row; None for all.
    """
    catalog = model_lists.load()
    found: dict[str, Cell] = {}
    taken: Counter[tuple[str, str]] = Counter()
    rows = expectations_file.load(spec.expectations, catalog).rows
    if spec.checkpoints:  # faults of the libraries show there
        rows += expectations_file.load_library(OURS, catalog).rows
    for row in rows:
        failure, scope = row.failure, row.scope
        if failure.stage not in STAGES or failure.outcome not in OUTCOMES:
            continue
        entry = catalog.entries[row.entry]
        for head in entry.built:
            if not scope.holds(head, precision):
                continue
            key = failure.reason, failure.match
            if most is not None and taken[key] >= most:
                continue
            cell = Cell(entry, spec.name, precision, head)
            taken[key] += cell.id not in found
            found[cell.id] = cell
    return list(found.values())


def line(cell: Cell, culprit: Culprit) -> str:
    """A cell, its culprit and its cost."""
    return f"{cell.id}: {culprit.line} [{culprit.prepares} prepares, {culprit.seconds:.0f} s]"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints each cell's culprit, the causes and the figures; 1 where a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="torch-cpu", help="whose environment this is")
    parser.add_argument("--precision", default="default")
    parser.add_argument("--models", default="", help="only these entries, separated by commas")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} cells of each row")
    parser.add_argument("--write", type=Path, help="a file of JSON lines to append to")
    args = parser.parse_args(argv)
    spec = backends.find(args.backend)
    cells = known_failures(spec, args.precision, QUICK if args.quick else None)
    if args.models:
        cells = [cell for cell in cells if cell.entry.name in args.models.split(",")]
    settings = settings_of(spec, 180.0, workers=1)
    found: dict[str, Culprit] = {}
    for cell in cells:
        try:
            (culprit,) = localise([Job(cell, 0, "tiny", spec.folder.parent)], settings)
        except HarnessError as error:
            culprit = Culprit("", "", evidence=str(error))
        if culprit.evidence.startswith(RIGHT):
            show(f"{cell.id}: does not fail here")
            continue
        found[cell.id] = culprit
        show(line(cell, culprit))
        sys.stdout.flush()
        if args.write is not None:
            with args.write.open("a", encoding="utf-8") as file:
                told = {"cell": cell.id, "line": culprit.line, "evidence": culprit.evidence}
                file.write(json.dumps(told) + "\n")
    fork_server.end_session()
    return _judge(list(found.values()))


def _judge(found: Sequence[Culprit]) -> int:
    """Prints the causes and the figures."""
    if not found:
        show("expected known failures at run or verify to localise, found none")
        return 1
    for cause, count in Counter(c.cause for c in found if c.found).most_common():
        show(f"{count:4} {cause}")
    share = sum(c.found for c in found) / len(found)
    prepares = statistics.median(c.prepares for c in found)
    seconds = statistics.median(c.seconds for c in found)
    operators = sum(bool(c.operator) for c in found)
    show(
        f"{share:.0%} of {len(found)} failures have a culprit (at least {CLAIM:.0%} wanted), "
        f"{operators} of them an operator; median {prepares:g} prepares, {seconds:.0f} s (at most "
        f"{MOST_PREPARES} or {MOST_SECONDS:.0f} s wanted)"
    )
    return int(share < CLAIM or (prepares > MOST_PREPARES and seconds > MOST_SECONDS))


if __name__ == "__main__":
    sys.exit(main())
