"""Committed results that are lost when a results file or its log is damaged at random.

    .nox/tests/bin/python -m benchmarks.damaged_results          # 200 damages, 10 minutes
    .nox/tests/bin/python -m benchmarks.damaged_results --quick  # 12 damages

Each damage (bits flipped, the end cut off; of the file, or of the log that a killed run leaves) is
followed by a run that appends, and by a reading of all results as a report does it. Lost is a
committed cell that DuckDB alone can still read from the damaged files, and that neither the results
nor what was set aside hold afterwards. What DuckDB itself cannot replay is counted, and whether the
harness said so.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from harness.contract import CellResult, HarnessError, Outcome, RunInfo, Stage, Verdict
from harness.results import merged
from harness.results.store import Store

ROOT = Path(__file__).resolve().parent.parent

#: Cells in the file, and in the log that a killed run leaves.
CELLS = 40

#: Damages of a whole measurement, and of a quick one.
DAMAGES, QUICK = 200, 12

#: A run that ends and one that is killed, in a process of their own.
WRITER = """
import os, sys
from pathlib import Path
from benchmarks.damaged_results import run
path = Path(sys.argv[1])
run(path, "finished", "2026-01-01T00:00:00+00:00")
run(path, "killed", "2026-01-02T00:00:00+00:00", end=lambda: os._exit(9))
"""

Cells = frozenset[tuple[str, str]]


def run(path: Path, run_id: str, started: str, end: Callable[[], object] = lambda: None) -> str:
    """Append a run of some cells to a results file; returns what the store said of the file."""
    with Store.open(path) as store:
        store.begin(RunInfo(run_id, "mock", started, "d", False, {}, "", "", "", [], 0))
        for number in range(CELLS):
            result = CellResult(f"entry{number}", "vision", "a", "base", "default", Stage.MEASURE,
                                Outcome.PASS, verdict=Verdict.OK, error="x" * 300)  # fmt: skip
            store.add(run_id, result)
        end()
        store.finish(run_id)
        return store.note


def flip(data: bytearray, random_: random.Random) -> bytearray:
    """One bit flipped, or a few."""
    for _ in range(random_.choice((1, 1, 8))):
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    return data


def cut(data: bytearray, random_: random.Random) -> bytearray:
    """The end cut off."""
    return data[: random_.randrange(len(data))]


DAMAGE_KINDS: dict[str, tuple[str, Callable[[bytearray, random.Random], bytearray]]] = {
    "file, bits flipped": ("", flip),
    "file, cut": ("", cut),
    "log, bits flipped": (".wal", flip),
    "log, cut": (".wal", cut),
}


def readable(folder: Path) -> Cells:
    """The cells that DuckDB alone reads from every database below a folder, without changing it."""
    found: set[tuple[str, str]] = set()
    for path in folder.rglob("*.duckdb"):
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary, path.name)
            for part in (path, path.with_name(f"{path.name}.wal")):
                if part.is_file():
                    shutil.copy(part, copy.with_name(part.name))
            try:
                with duckdb.connect(str(copy), read_only=True) as connection:
                    rows = connection.execute("SELECT run_id, entry FROM cells").fetchall()
            except (duckdb.Error, UnicodeError):
                continue
        found |= {(str(run), str(entry)) for run, entry in rows}
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Ending:
    """Counts for one damage."""

    lost: int  # committed cells that DuckDB could read before, and nothing holds now
    unreplayable: int  # committed cells that DuckDB could not read after the damage
    unsaid: bool  # some were, and neither the run nor the report said anything
    traceback: str
    untrue: int  # cells that are stored otherwise than they were


def measured(template: Path, kind: str, random_: random.Random) -> Ending:
    """Damage a copy of the template, append a run, and read everything back."""
    ending, damage = DAMAGE_KINDS[kind]
    everything = readable(template)
    with tempfile.TemporaryDirectory() as temporary:
        results = Path(temporary) / "results"
        shutil.copytree(template, results)
        path = results / "mock.duckdb"
        target = path.with_name(path.name + ending)
        target.write_bytes(damage(bytearray(target.read_bytes()), random_))
        before = readable(results)
        said = fault = ""
        try:
            said = run(path, "after", "2026-01-03T00:00:00+00:00")
        except HarnessError as error:
            said = str(error)
        except Exception:
            fault = traceback.format_exc()
        gathered = merged.gather(merged.find(results), None)
        with gathered.connection as connection:
            said += "".join(gathered.remarks())
            rows = connection.execute(
                "SELECT run_id, entry, outcome, verdict, finished_at IS NOT NULL FROM cells "
                "JOIN runs USING (run_id)"
            ).fetchall()
        after = readable(results)
        ours = {("after", f"entry{number}") for number in range(CELLS)}
        finished = {"finished": True, "killed": False, "after": True}
        untrue = sum(
            (outcome, verdict) != ("pass", "ok") or finished.get(run_id) is not ended
            for run_id, _, outcome, verdict, ended in rows
        )
        untrue += len(ours - {(row[0], row[1]) for row in rows})  # the run was appended unseen
        gone = everything - before
        return Ending(len(before - after), len(gone), bool(gone) and not said, fault, untrue)


def main() -> int:
    """Measure and print; 1 where a committed cell is lost, or an error is no message."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--damages", type=int, default=DAMAGES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} damages")
    args = parser.parse_args()
    damages = QUICK if args.quick else args.damages
    random_ = random.Random(args.seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        template = Path(temporary) / "template"
        subprocess.run(
            [sys.executable, "-c", WRITER, str(template / "mock.duckdb")], cwd=ROOT, check=False
        )
        if not (template / "mock.duckdb.wal").is_file():
            raise SystemExit("expected a killed run to leave a log, found none. Fix: WRITER")
        for number in range(damages):
            kind = list(DAMAGE_KINDS)[number % len(DAMAGE_KINDS)]
            ending = measured(template, kind, random_)
            counts["lost"] += ending.lost
            counts["unreplayable"] += ending.unreplayable
            counts["unsaid"] += ending.unsaid
            counts["tracebacks"] += bool(ending.traceback)
            counts["untrue"] += ending.untrue
            if ending.lost or ending.traceback or ending.untrue or ending.unsaid:
                print(f"damage {number}, {kind}: {ending}")
    print(f"{damages} damages to {2 * CELLS} committed cells, then a run and a report each")
    print(f"{counts['lost']:6} committed cells lost that DuckDB could still read")
    print(f"{counts['unreplayable']:6} that DuckDB itself cannot read after the damage")
    print(
        f"{counts['unsaid']:6} cases in which nobody said so (a log that was cut between two "
        "commits leaves no trace)"
    )
    print(f"{counts['tracebacks']:6} tracebacks")
    print(f"{counts['untrue']:6} cells of a run stored as what they were not, or not reported")
    return 1 if counts["lost"] or counts["tracebacks"] or counts["untrue"] else 0


if __name__ == "__main__":
    sys.exit(main())
