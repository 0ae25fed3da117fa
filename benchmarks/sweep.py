"""The torch-cpu sweep beside the plain way: one cold Python process per model.

    nox -s torch-cpu -- --models bert                # once, for the environment
    .nox/torch-cpu/bin/python benchmarks/sweep.py    # 8 minutes on 2 cores; --quick for 2

Both do the same work on the same models (`harness.cell.stages.run`: build, reference, all checks),
so that the ratio says what one fork server instead of cold processes, and nothing else, is worth. A
third column is the least that anyone's own script does: import, build, one forward. CPU seconds are
those of all processes, imports included; the ratio holds on a noisy machine, the seconds do not.
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

#: The same cell in a process of its own, as `python -m pytest` would never do it.
COLD = """
import sys
from harness.catalog import backend_spec, model_lists
from harness.cell import stages
from harness.contract import Cell
from harness.cell.request import Job
entry = model_lists.load().entries[sys.argv[1]]
job = Job(Cell(entry, "torch-cpu"), 0, "tiny", backend_spec.BACKENDS)
result = stages.run(job, lambda stage: None)
sys.exit(result.outcome != "pass")
"""

#: The least: what a user types to see whether a model runs at all.
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
    """Runs a command and says what it cost.

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
    """The harness over some models (all where the text is empty).

    Its CPU is what it says itself: the children of a fork server are nobody's to wait for, so the
    kernel does not count them as ours.
    """
    command = [sys.executable, "-m", "pytest", "--backend", "torch-cpu", f"--results={results}"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *(["--models", models] if models else [])],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - began
    said = re.search(r"([\d.]+) s of CPU an entry", done.stdout)
    if said is None:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        raise SystemExit("expected the sweep to say what it cost; see above for what it said")
    return Cost(wall, float(said.group(1)) * entries_in(results))


def passing(results: Path, count: int) -> list[str]:
    """Names of entries that passed, spread evenly over the list."""
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        rows = connection.sql("SELECT entry FROM cells WHERE outcome = 'pass' ORDER BY entry")
        names = [row[0] for row in rows.fetchall()]
    step = max(1, len(names) // count)
    return names[::step][:count]


def shares(results: Path, cpu: float) -> dict[str, float]:
    """CPU seconds by who spent them; what no stage counts is the harness's own."""
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


def entries_in(results: Path) -> int:
    """How many entries ran or were found absent."""
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        return len(connection.sql("SELECT DISTINCT entry FROM cells").fetchall())


def cells_in(results: Path) -> int:
    """How many cells ran, absent ones left out."""
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        rows = connection.sql("SELECT entry FROM cells WHERE outcome <> 'absent'").fetchall()
    return len(rows)


def main() -> int:
    """Measures and prints; 1 where a claim of the README does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sample", type=int, default=20, help="cold processes of either kind")
    parser.add_argument("--quick", action="store_true", help="the smoke list, and 5 processes")
    args = parser.parse_args()
    count = 5 if args.quick else args.sample
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        ours = sweep("smoke" if args.quick else "", results)
        cells = cells_in(results)
        sample = passing(results, count)
        cold = [cost_of([sys.executable, "-c", COLD, name]) for name in sample]
        plain = [cost_of([sys.executable, "-c", PLAIN, name]) for name in sample]
        split = shares(results, ours.cpu)
        median, largest = median_memory(results)
    each = ours.cpu / cells
    print(f"cells: {cells} swept in {ours.wall:.0f} s of wall time; sample of {len(sample)} cold")
    print(f"{'':34}{'CPU s an entry':>15}{'x the harness':>15}")
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
