"""CPU seconds of cells in shared workers, over those of the same cells in a process each.

    nox -s mock -- --models smoke                       # once, for the environment
    .nox/mock/bin/python -m benchmarks.workers          # a minute on 2 cores
    .nox/mock/bin/python -m benchmarks.workers --quick  # a third of the cells

A fake device stands in for a GPU: opening its context costs each process some CPU time, as
creating a CUDA context and loading its libraries do. The same cells run once with a process each
and once in shared workers, and once more in shared workers where every tenth cell fails and runs
again alone. CPU seconds are those of all processes; the ratio holds on a noisy machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.fake_device import Work
from harness.contract import Outcome
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.shared_pool import SharedPool
from harness.workers.task import Task


def sweep(cells: Sequence[Work], *, shared: bool, workers: int) -> float:
    """CPU seconds of all the cells' processes; every cell must have its own result."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        tasks = [Task("benchmarks.fake_device:cell", replace(w, log=log), "it") for w in cells]
        settings = WorkerSettings(workers=workers, limits=Limits(60.0, 500), shared=shared)
        kind: type[Pool[Ending]] = SharedPool if shared else Pool
        with kind(lambda _, ending: ending, settings) as pool:
            endings = [future.result() for future in pool.start(tasks)]
        for work, ending in zip(cells, endings, strict=True):
            right = Outcome.FAIL if work.fails else Outcome.PASS
            if ending.value is None or ending.value.outcome is not right:
                raise SystemExit(f"expected {right} of cell {work.number}, found {ending}")
        return sum(float(line) for line in log.read_text(encoding="ascii").splitlines())


def main() -> int:
    """Measures and prints; 1 where the claim does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--cells", type=int, default=60)
    size.add_argument("--quick", action="store_const", dest="cells", const=20, help="20 cells")
    parser.add_argument("--context", type=float, default=0.6, help="CPU seconds of a context")
    parser.add_argument("--work", type=float, default=0.1, help="CPU seconds of a cell's own work")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()

    def works(failing: int) -> list[Work]:
        return [
            Work(n, args.context, args.work, bool(failing) and n % failing == 0, Path())
            for n in range(args.cells)
        ]

    alone = sweep(works(0), shared=False, workers=args.workers)
    rows = [
        ("a process a cell", alone),
        ("shared workers", sweep(works(0), shared=True, workers=args.workers)),
        ("shared, every 10th cell fails", sweep(works(10), shared=True, workers=args.workers)),
    ]
    print(
        f"{args.cells} cells of {args.work:g} s on {args.workers} workers, "
        f"a context of {args.context:g} s a process"
    )
    print(f"{'':32}{'CPU s a cell':>14}{'share':>8}")
    for name, cpu in rows:
        print(f"{name:32}{cpu / args.cells:14.2f}{cpu / alone:8.0%}")
    holds = rows[1][1] < 0.4 * alone and rows[2][1] < 0.7 * alone
    claim = "under 40 % of the CPU, and under 70 % where a tenth of the cells fail"
    print(f"{'claim holds' if holds else 'NOT MET'}: {claim}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
