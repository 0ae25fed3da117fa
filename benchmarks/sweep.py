"""CPU seconds of a cell in a cold Python process of its own, over those of a cell in a sweep.

    nox -s torch-cpu -- --models bert                      # once, for the environment
    .nox/torch-cpu/bin/python -m benchmarks.sweep          # 8 minutes on 2 cores
    .nox/torch-cpu/bin/python -m benchmarks.sweep --quick  # a few models

Both do the same work (`harness.cell.stages.run`: build, reference, all checks), so that the ratio
says what one fork server instead of cold processes, and nothing else, is worth. The sweep is of the
`torch-cpu` backend. A further row is the least that anyone's own script does: import, build, one
forward. CPU seconds are those of all processes, imports included; the ratio holds on a noisy
machine, the seconds do not.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent

#: Models of a quick run, and how many cold processes of either kind it starts.
QUICK = ("bert", "t5", "vit")
QUICK_SAMPLE = 2

#: One cell with all checks in a process of its own: exits with 0 where the cell passes.
COLD = """
import sys
from harness.catalog import backend_spec, model_lists
from harness.cell import stages
from harness.contract import Cell
from harness.cell.request import Job
entry = model_lists.load().entries[sys.argv[1]]
job = Job(Cell(entry, "torch-cpu"), 0, "tiny", backend_spec.BACKENDS)
result = stages.run(job, lambda *_: None)
sys.exit(result.outcome != "pass")
"""

#: The least that a user types to see whether a model runs at all: import, build, one forward.
PLAIN = """
import sys
from harness.catalog import model_lists
from harness.models.case import TinyCase
from harness.models.eager_reference import tensors
case = TinyCase(model_lists.load().entries[sys.argv[1]])
import torch
with torch.no_grad():
    case.module()(**tensors(case.inputs(), torch.float32), **case.options())
"""

#: The stages whose time is the models': building them, the reference, and running them.
MODELS = ("build", "reference", "run")
#: Further checks that are the library's own code on the model: from_pretrained, pipeline, timing.
LIBRARY = ("prepare", "roundtrip", "pipeline", "generate", "measure")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of wall time and of CPU, of a command and all it started."""

    wall: float
    cpu: float


def cost_of(command: Sequence[str]) -> Cost:
    """Runs a command in the root of the checkout; the seconds that it took.

    Raises:
        subprocess.CalledProcessError: it failed in a way that is not a failing cell (status 1).
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - began
    if done.returncode not in (0, 1):
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        done.check_returncode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu)


def sweep(models: str, results: Path) -> Cost:
    """Runs the harness on the `torch-cpu` backend; the seconds that it took.

    The CPU seconds are those of the harness's summary: this process is not the parent of the fork
    server's children, so the kernel does not count them as its own.

    Args:
        models: as --models takes them; empty: all.
        results: an empty folder for the results.

    Raises:
        SystemExit: the output has no summary.
    """
    command = [sys.executable, "-m", "pytest", "--backend", "torch-cpu", f"--results={results}"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *(["--models", models] if models else [])],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - began
    cpu = cpu_of(done.stdout)
    if cpu is None:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        raise SystemExit(
            "expected a summary with '30 cells' and '1.50 s of CPU a cell', found the output "
            "above. Fix: adapt cpu_of in benchmarks/sweep.py to harness/session/summary.py"
        )
    return Cost(wall, cpu)


def cpu_of(output: str) -> float | None:
    """CPU seconds of a run by its summary: those of a cell, times all cells, absent ones included.

    None: the output has no such summary.
    """
    each = re.search(r"^cost: .*?([\d.]+) s of CPU a cell", output, re.MULTILINE)
    count = re.search(r"; (\d+) cells(?:,|$)", output, re.MULTILINE)
    return float(each[1]) * int(count[1]) if each and count else None


def passing(results: Path, count: int) -> list[str]:
    """Names of entries whose headless model passed, spread evenly over the list."""
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        rows = connection.sql(
            "SELECT entry FROM cells WHERE outcome = 'pass' AND head = 'base' ORDER BY entry"
        )
        names = [row[0] for row in rows.fetchall()]
    step = max(1, len(names) // count)
    return names[::step][:count]


def shares(results: Path, cpu: float) -> dict[str, float]:
    """CPU seconds of a sweep by code; what no stage counts is the harness's own."""
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        rows = connection.sql(
            "SELECT substr(name, 5), sum(value) FROM metrics WHERE name LIKE 'cpu_%' GROUP BY 1"
        ).fetchall()
    stages: dict[str, float] = {str(name): float(value) for name, value in rows}
    models = sum(stages.get(stage, 0.0) for stage in MODELS)
    library = sum(stages.get(stage, 0.0) for stage in LIBRARY)
    return {"build, reference, run": models, "other library code": library,
            "the harness's own": max(0.0, cpu - models - library)}  # fmt: skip


def median_memory(results: Path) -> tuple[float, float]:
    """Median and largest peak resident memory of a child, in MB."""
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        rows = connection.sql("SELECT peak_rss_mb FROM cells WHERE peak_rss_mb > 0").fetchall()
    values = [float(row[0]) for row in rows]
    return statistics.median(values), max(values)


def cells_in(results: Path) -> int:
    """How many cells ran, absent ones left out."""
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        rows = connection.sql("SELECT entry FROM cells WHERE outcome <> 'absent'").fetchall()
    return len(rows)


def main() -> int:
    """Measures and prints; 1 where a claim of the README does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sample", type=int, default=20, help="cold processes of either kind")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    args = parser.parse_args()
    count = QUICK_SAMPLE if args.quick else args.sample
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        ours = sweep(",".join(QUICK) if args.quick else "", results)
        cells = cells_in(results)
        sample = passing(results, count)
        cold = [cost_of([sys.executable, "-c", COLD, name]) for name in sample]
        plain = [cost_of([sys.executable, "-c", PLAIN, name]) for name in sample]
        split = shares(results, ours.cpu)
        median, largest = median_memory(results)
    each = ours.cpu / cells
    print(f"cells: {cells} swept in {ours.wall:.0f} s of wall time; sample of {len(sample)} cold")
    print(f"{'':34}{'CPU s a cell':>15}{'x the harness':>15}")
    rows = [("the harness, all checks", each)]
    rows += [("a cold process, all checks", sum(c.cpu for c in cold) / len(cold))]
    rows += [("a cold process, one forward", sum(c.cpu for c in plain) / len(plain))]
    for name, cpu in rows:
        print(f"{name:34}{cpu:15.2f}{cpu / each:15.1f}")
    for name, cpu in split.items():
        print(f"{name:34}{cpu / cells:15.3f}{cpu / ours.cpu:15.0%} of the sweep's CPU")
    print(f"memory of a child: {median:.0f} MB at the median, {largest:.0f} MB at most")
    own = split["the harness's own"] / ours.cpu
    holds = rows[1][1] / each >= 8 and own < 0.25 and median < 700
    claims = "8 x less CPU, own share under 25 %, under 700 MB a child"
    if args.quick:
        print(f"not judged ({claims}): that is for the whole list, where imports are shared")
    else:
        print(f"{'claims hold' if holds else 'NOT MET'}: {claims}")
    return 0 if holds or args.quick else 1


if __name__ == "__main__":
    sys.exit(main())
