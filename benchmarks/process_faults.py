"""Random process faults, and what they cost: results, runs stored wrongly, processes, folders.

    nox -s mock -- --models smoke                              # once, for the environment
    .nox/mock/bin/python -m benchmarks.process_faults          # 200 faults
    .nox/mock/bin/python -m benchmarks.process_faults --quick  # 8 faults

Each fault is a run of the mock backend under a parent that stands for nox. After a random time a
signal goes to the parent, to pytest, to the fork server or to a cell's process, some signals twice.
Then a short run follows, which has to remove what the first one has left. The claim is 0 of each:

- rows lost: cells that pytest has shown, and that the results file lacks;
- stored wrongly: a run with an end that lacks cells, a run without one that was green, or a cell
  that is not `pass` in the results;
- orphans: processes that are there 10 s after pytest has ended, with the run's mark;
- folders: what is left in the folder for temporary files after the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import psutil

from harness.toolkit.checkout import ROOT
from harness.toolkit.typed_commands import STARTED_BY_NOX

#: Environment variable that marks every process of one fault.
MARK = "HARNESS_FAULT"

#: Seconds after which a run that goes on is taken for one that waits for ever.
PATIENCE = 120.0

#: Seconds after the end of pytest in which its processes may end.
GRACE = 10.0

#: Seconds within which the second of two signals comes.
BETWEEN = 1.3

#: The entries of a run, of which every second one is slow.
ENTRIES = ("bert", "gpt2", "t5", "vit", "clip", "whisper", "roberta", "resnet")

#: Who gets the signal.
TARGETS = ("nox", "pytest", "fork server", "child")

#: Starts the command behind it, as nox does, and ends as it ends.
PARENT = f"""
import os, subprocess, sys
environment = {{**os.environ, {STARTED_BY_NOX!r}: str(os.getpid())}}
run = subprocess.Popen(sys.argv[1:], env=environment)
try:
    sys.exit(run.wait())
except KeyboardInterrupt:
    sys.exit(run.wait(20))
"""

#: A cell that pytest -v shows with its outcome.
_SHOWN = re.compile(r"::(\S+)\[mock-default\] (?:PASSED|FAILED|XFAIL|SKIPPED)")


@dataclass(frozen=True, slots=True)
class Fault:
    """Signals to one process of a run, at a time in seconds after its start."""

    target: str
    numbers: tuple[signal.Signals, ...]
    after: float
    between: float

    def __str__(self) -> str:
        names = ", ".join(number.name for number in self.numbers)
        return f"{names} to {self.target} after {self.after:.2f} s"


@dataclass(slots=True)
class Cost:
    """The losses that a fault has caused, each as a list of findings."""

    rows_lost: list[str] = field(default_factory=list)
    stored_wrongly: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def draw(chance: random.Random, seconds: float) -> Fault:
    """A random fault of a run that takes that many seconds."""
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    number = chance.choice(numbers)
    twice = number is not signal.SIGKILL and chance.random() < 0.5
    return Fault(
        chance.choice(TARGETS),
        (number, number) if twice else (number,),
        chance.uniform(0.0, seconds),
        chance.uniform(0.0, BETWEEN),
    )


class Place:
    """A folder with results and temporary files, for the runs of one fault."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.results = folder / "results"
        self.temporary = folder / "t"
        self.temporary.mkdir()
        self.log = folder / "log"
        self.mark = mark

    def start(self, entries: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a run, under a parent that stands for nox, in a process group of its own."""
        slow = [word for entry in entries[::2] for word in ("--fault", f"slow={entry}")]
        command = [
            *(sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "harness.plugin"),
            *("-p", "no:cacheprovider", "--backend", "mock", "--models", ",".join(entries)),
            *("--heads", "base", "-n", "2", "-v", f"--results={self.results}", *slow),
        ]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", PARENT, *command],
                cwd=ROOT,
                env={**os.environ, MARK: self.mark, "TMPDIR": str(self.temporary)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """The living processes of this place, found by their mark."""
        return list(self._marked())

    def _marked(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK) == self.mark:
                    yield process

    def target(self, name: str, nox: int) -> psutil.Process | None:
        """The process that a fault is for; None where there is none at the time."""
        with contextlib.suppress(psutil.Error, IndexError):
            parent = psutil.Process(nox)
            if name == "nox":
                return parent
            run = parent.children()[0]
            if name == "pytest":
                return run
            servers = [p for p in run.children() if "forkserver" in " ".join(p.cmdline())]
            return servers[0] if name == "fork server" else servers[0].children()[-1]
        return None

    def stored(self) -> tuple[dict[str, str], bool]:
        """The outcomes of the first run's cells by entry, and whether the run has an end."""
        path = self.results / "mock.duckdb"
        if not path.exists():
            return {}, False
        with duckdb.connect(str(path)) as connection:
            if not connection.execute("SHOW TABLES").fetchall():  # killed before the schema
                return {}, False
            runs = connection.execute(
                "SELECT run_id, finished_at FROM runs ORDER BY started_at LIMIT 1"
            ).fetchall()
            if not runs:
                return {}, False
            rows = connection.execute(
                "SELECT entry, outcome FROM cells WHERE run_id = ?", [runs[0][0]]
            ).fetchall()
        return dict(rows), runs[0][1] is not None


def suffer(place: Place, fault: Fault) -> Cost:
    """Run, send the fault's signals, wait, and run again; what that has cost."""
    cost = Cost()
    parent = place.start(ENTRIES)
    time.sleep(fault.after)
    for number in fault.numbers:
        target = place.target(fault.target, parent.pid) or place.target("pytest", parent.pid)
        if target is not None:
            with contextlib.suppress(psutil.Error):
                target.send_signal(number)
        time.sleep(fault.between if len(fault.numbers) > 1 else 0.0)
    status = _wait(parent, place, cost)
    shown = set(_SHOWN.findall(place.log.read_text(errors="replace")))
    outcomes, ended = place.stored()
    cost.rows_lost += sorted(shown - set(outcomes))
    if (ended and set(outcomes) != set(ENTRIES)) or (status == 0 and not ended):
        cost.stored_wrongly.append(
            f"{'an' if ended else 'no'} end after {len(outcomes)} of {len(ENTRIES)} cells, "
            f"exit status {status}"
        )
    cost.stored_wrongly += [f"{e} is {o}" for e, o in outcomes.items() if o != "pass"]
    place.start(ENTRIES[:1]).wait(PATIENCE)
    until = time.monotonic() + GRACE
    while place.processes() and time.monotonic() < until:
        time.sleep(0.05)
    cost.folders += [path.name for path in place.temporary.iterdir() if not _is_probe(path)]
    return cost


def _is_probe(path: Path) -> bool:
    """Whether a file is the one by which Python's `tempfile` tries whether a folder can be written.

    A process that a signal ends before any code of ours has run may leave it, four bytes.
    """
    return path.is_file() and path.read_bytes() in (b"", b"blat")


def _wait(parent: subprocess.Popen[bytes], place: Place, cost: Cost) -> int:
    """Wait for the end of everything; the exit status of the parent."""
    try:
        status = parent.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        status = -1
    # Under a killed parent, pytest goes on until its run is closed.
    ended = time.monotonic()
    while (left := place.processes()) and time.monotonic() < ended + GRACE:
        time.sleep(0.05)
    for process in left:
        with contextlib.suppress(psutil.Error):
            cost.orphans.append(" ".join(process.cmdline())[:100])
            process.kill()
    return status


def main() -> int:
    """Measures and prints; 1 where the claim does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--faults", type=int, default=200)
    size.add_argument("--quick", action="store_const", dest="faults", const=8, help="8 faults")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    seconds = 0.0
    total = Cost()
    for number in range(args.faults + 1):
        with tempfile.TemporaryDirectory() as folder:
            place = Place(Path(folder), f"{os.getpid()}-{number}")
            if number == 0:  # undisturbed, for its time
                began = time.monotonic()
                if place.start(ENTRIES).wait(PATIENCE) != 0:
                    raise SystemExit(f"expected mock to pass, found\n{place.log.read_text()}")
                seconds = time.monotonic() - began
                continue
            fault = draw(chance, seconds)
            cost = suffer(place, fault)
            for name in Cost.__slots__:
                found = getattr(cost, name)
                getattr(total, name).extend(found)
                if found:
                    print(f"{number}: {fault}: {name.replace('_', ' ')}: {found}", flush=True)
    counts = {name.replace("_", " "): len(getattr(total, name)) for name in Cost.__slots__}
    print(f"{args.faults} faults: {', '.join(f'{n} {name}' for name, n in counts.items())}")
    holds = not any(counts.values())
    print(f"{'claim holds' if holds else 'NOT MET'}: 0 of each")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
