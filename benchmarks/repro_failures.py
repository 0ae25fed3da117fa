"""Share of the failing cells of a run whose standalone script shows the same failure.

    .nox/torch-cpu/bin/python -m benchmarks.repro_failures --backend torch-cpu
    .nox/qnn/bin/python -m benchmarks.repro_failures --backend qnn --most 40
    .nox/torch-cpu/bin/python -m benchmarks.repro_failures --quick

Reads the last result of each cell from a folder of results, writes a script of each failure of a
backend (`harness.workers.reproduction`), and runs it apart from this project: `python -I`, in an
empty folder, without this project on its path. A script counts where it ends with status 1 and
shows the failure that was stored: the same comparison, the same exception, a signal, or no end.
With names of cells instead (`--cells aimv2,pvt:image-classification`) these are run first. A quick
run is of three cells on PyTorch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.catalog import backends, model_lists
from harness.catalog.backend_spec import BackendSpec
from harness.cell.request import Job
from harness.contract import BASE, Cell, CellFailure, Entry, Outcome, Stage, label
from harness.diagnosis.script_request import ScriptRequest
from harness.models.recorded import record
from harness.results import merged
from harness.toolkit import checkout
from harness.toolkit.printable import line, show
from harness.workers.reproduction import (
    FAILURES,
    Reproduction,
    failures_of,
    reproduce,
    results_of,
)

#: Of all scripts, the share that must show the failure, and lines at the median.
CLAIM, LINES = 0.95, 80

#: The cells of a quick run: wrong numbers, a pipeline, a cache.
QUICK = "aimv2,pvt:image-classification,openai_gpt:text-generation"

#: The failures of cells that a results file holds, the first and the further ones.
_STORED = """
SELECT entry, head, stage, outcome, reason, cause, error FROM latest
WHERE backend = ? AND precision = ?
UNION ALL
SELECT f.entry, f.head, f.stage, f.outcome, f.reason, f.cause, f.error FROM further_failures f
JOIN latest USING (run_id, entry, head, precision) WHERE latest.backend = ? AND precision = ?
ORDER BY ALL
"""


def stored(
    folder: Path, entries: Mapping[str, Entry], backend: str, precision: str
) -> Iterator[tuple[str, str, CellFailure]]:
    """Entry, head and failure of the last results of a backend's cells.

    Args:
        folder: of the results.
        entries: by name.
        backend: its name.
        precision: in which the cells ran.
    """
    gathered = merged.gather(merged.find(folder), list(entries.values()))
    with gathered.connection as connection:
        rows = connection.execute(_STORED, [backend, precision] * 2).fetchall()
    for entry, head, stage, outcome, reason, cause, error in rows:
        if Outcome(outcome) in FAILURES:
            failure = CellFailure(Stage(stage), Outcome(outcome), reason, cause, error)
            yield entry, head, failure


def job_of(spec: BackendSpec, entry: Entry, head: str, precision: str) -> Job:
    """The request that runs a cell, with the checkpoints that a session holds it to."""
    cell = Cell(entry, spec.name, precision, head)
    reads = spec.checkpoints and precision == "default"
    recorded = tuple(record.load().get(cell.label, ())) if reads else ()
    return Job(cell, 0, "tiny", spec.folder.parent, recorded_checkpoints=recorded)


def main() -> int:
    """Prints a line for each script; 1 where the claim does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--backend", default="torch-cpu", help="whose environment this is")
    parser.add_argument("--precision", default="default")
    parser.add_argument("--results", type=Path, default=checkout.ROOT / "results")
    parser.add_argument("--cells", default="", help="ENTRY[:HEAD],...: run these first")
    parser.add_argument("--most", type=int, default=0, help="so many failures, evenly spread")
    parser.add_argument("--output", type=Path, help="keep the scripts in this folder")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each step")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK}")
    args = parser.parse_args()
    spec = backends.find(args.backend)
    entries = model_lists.load().entries
    named = QUICK if args.quick else args.cells
    found: list[tuple[Job, CellFailure]] = []
    if named:
        cells = [name.partition(":") for name in named.split(",")]
        jobs = {
            label(entry, head or BASE): job_of(spec, entries[entry], head or BASE, args.precision)
            for entry, _, head in cells
        }
        for name, result in results_of(spec, jobs, args.timeout).items():
            found += [(jobs[name], failure) for failure in failures_of(result)]
    else:
        for entry, head, failure in stored(args.results, entries, spec.name, args.precision):
            found.append((job_of(spec, entries[entry], head, args.precision), failure))
    if args.most and len(found) > args.most:
        found = [found[i * len(found) // args.most] for i in range(args.most)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.output or Path(temporary)
        return judged(list(scripts(spec, found, folder, args.timeout)))


def scripts(
    spec: BackendSpec, found: Sequence[tuple[Job, CellFailure]], folder: Path, seconds: float
) -> Iterator[Reproduction]:
    """Writes and runs a script of each failure, and prints a line of each."""
    requests = {
        f"{job.cell.label} {number}": ScriptRequest(job, failure, folder)
        for number, (job, failure) in enumerate(found)
    }
    for name, made in reproduce(spec, requests, seconds):
        job, failure = requests[name].job, requests[name].failure
        word = "shows" if made.shown else "DIFFERS" if made.script else "NONE"
        said = "" if made.shown else f" | {made.said}"
        show(f"{word:8}{made.lines:4} {job.cell.label}: {line(failure.line + said, 300)}")
        yield made


def judged(made: Sequence[Reproduction]) -> int:
    """Prints the figures; 1 where they are below the claim."""
    shown = [each for each in made if each.shown]
    share = len(shown) / max(1, len(made))
    lines = statistics.median([each.lines for each in made if each.script] or [0])
    show(f"{len(shown)} of {len(made)} scripts show the failure ({share:.0%}, claimed {CLAIM:.0%})")
    show(f"{lines:g} lines at the median (claimed: fewer than {LINES})")
    return int(share < CLAIM or lines >= LINES)


if __name__ == "__main__":
    sys.exit(main())
