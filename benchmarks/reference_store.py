"""CPU seconds of a run with kept references, over those of the same run without them.

    nox -s torch-cpu -- --models bert                                # once, for the environment
    .nox/torch-cpu/bin/python -m benchmarks.reference_store          # 25 minutes on 2 cores
    .nox/torch-cpu/bin/python -m benchmarks.reference_store --quick  # a few models

Four runs of the same cells on the `torch-cpu` backend: without the store, with an empty one, with
a full one, and once more where nothing has changed (`--changed`). The first three must give every
cell the same outcome, for the same cause, and the same noise floor; the last one must run no cell.
Else the exit status is 1. CPU seconds are those of the cells' processes: the ratio holds on a noisy
machine, wall seconds do not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent

#: Models of a quick run.
QUICK = ("bert", "gpt2", "vit")

_CELLS = """
SELECT entry, head, outcome, cause, noise_floor, cpu.value, kept.value
FROM cells
LEFT JOIN metrics AS cpu USING (run_id, entry, head, precision)
LEFT JOIN metrics AS kept USING (run_id, entry, head, precision)
WHERE run_id = (SELECT run_id FROM runs ORDER BY sequence DESC LIMIT 1)
    AND cpu.name = 'cpu' AND kept.name = 'references_kept'
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: outcome, cause and noise floor by cell, and what it cost.

    Attributes:
        found: by cell (entry, head).
        cpu: seconds of CPU of all cells' processes.
        wall: seconds of the whole run.
        kept: how many calls of references were answered by the store.
    """

    found: dict[tuple[str, str], list[object]]
    cpu: float
    wall: float
    kept: int


def run(results: Path, cache: Path, models: str, *options: str) -> Measured:
    """Run models on the `torch-cpu` backend.

    Args:
        results: the folder of the results.
        cache: of the kept references.
        models: as --models takes them.
        options: further ones.

    Raises:
        SystemExit: the session failed otherwise than by failing cells.
    """
    command = [sys.executable, "-m", "pytest", "-q", "--backend", "torch-cpu", "--models", models]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HARNESS_CACHE": str(cache)}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, f"--results={results}", *options],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - began
    if done.returncode not in (0, 1):
        raise SystemExit(f"expected a session, found:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    with duckdb.connect(str(results / "torch-cpu.duckdb"), read_only=True) as connection:
        rows = connection.execute(_CELLS).fetchall()
    found = {(entry, head): judged for entry, head, *judged, _, _ in rows}
    cpu, kept = sum(row[5] for row in rows), sum(row[6] for row in rows)
    return Measured(found, cpu, wall, int(kept))


def different(one: Measured, other: Measured) -> list[tuple[str, str]]:
    """The cells that two runs judged otherwise."""
    return sorted(
        cell for cell in one.found.keys() | other.found.keys()
        if one.found.get(cell) != other.found.get(cell)
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; 1 where a verdict hangs on the store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--models", default="all", help="as in a session; all")
    args = parser.parse_args(arguments)
    models = ",".join(QUICK) if args.quick else args.models
    with tempfile.TemporaryDirectory() as folder:
        cache, results = Path(folder) / "cache", Path(folder) / "results"
        runs = {
            "no store": run(results, cache, models, "--no-cache"),
            "empty store": run(results, cache, models),
            "full store": run(results, cache, models),
        }
        runs["nothing changed"] = run(results, cache, models, "--changed")
        return report(runs)


def report(runs: dict[str, Measured]) -> int:
    """Print a row a run, and judge them."""
    first = runs["no store"]
    print(f"{len(first.found)} cells of torch-cpu")
    print(f"{'run':18}{'cells':>7}{'CPU s':>9}{'ratio':>8}{'wall s':>9}{'calls kept':>12}")
    for name, measured in runs.items():
        ratio = measured.cpu / first.cpu
        print(
            f"{name:18}{len(measured.found):7}{measured.cpu:9.1f}{ratio:8.2f}{measured.wall:9.1f}"
            f"{measured.kept:12}"
        )
    wrong = {name: different(first, runs[name]) for name in ("empty store", "full store")}
    for name, cells in wrong.items():
        print(
            f"{name}: {len(cells)} cells judged otherwise{': ' if cells else ''}{cells[:5] or ''}"
        )
    ran = len(runs["nothing changed"].found)
    print(f"nothing changed: {ran} cells run")
    return int(any(wrong.values()) or bool(ran))


if __name__ == "__main__":
    sys.exit(main())
