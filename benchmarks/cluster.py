"""Cells on three nodes of a dask.distributed cluster: none lost or doubled, and time a cell.

    nox -s mock -- --models smoke                       # once, for the environments
    nox -s cluster
    .nox/mock/bin/python -m benchmarks.cluster          # 20 trials, 6 minutes on 2 cores
    .nox/mock/bin/python -m benchmarks.cluster --quick  # one trial with two nodes, no times
    .nox/mock/bin/python -m benchmarks.cluster --trials 0 --backend torch-cpu --models smoke

Scheduler and workers are processes of this machine, started with the engine's own commands. In each
trial, after a random number of cells, SIGKILL ends one worker with all that it has started. Each
cell must have one row, in one attempt, and the outcome that it has in the local pool.

The time of a cell is that between the first one's report and the last one's, over their number: in
the local pool with three cells at once, and on three nodes with one each. The fastest of some
sessions counts, which take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

ROOT = Path(__file__).resolve().parent.parent

#: Settings of the engine's processes, as `nox -s cluster` has them.
SETTINGS = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}

#: How many nodes there are, with one cell at once each, and how many in a quick run.
NODES, FEW_NODES = 3, 2

#: The most that a cell may take on nodes, over the local pool.
MOST = 1.10

#: Seconds in which a scheduler and workers must be there, and in which a session must end.
STARTING, SESSION = 120.0, 900.0


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """Seconds of a session: whole, until its first cell was reported, and of a cell after that."""

    whole: float
    first: float
    cell: float


class Cluster:
    """A scheduler and workers on this machine, started by the commands of dask."""

    def __init__(self, engine: Path, folder: Path, nodes: int) -> None:
        self.nodes = nodes
        self._dask = engine.with_name("dask")
        self._folder = folder
        self.file = folder / "scheduler.json"
        self._count = 0
        self._scheduler = self._start(
            "scheduler", "--port", "0", "--scheduler-file", str(self.file)
        )
        self.workers: list[subprocess.Popen[bytes]] = []

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        self._count += 1
        log = (self._folder / f"{self._count}.log").open("wb")
        command = [str(self._dask), *words, "--host", "127.0.0.1", "--no-dashboard"]
        environment = {**os.environ, **SETTINGS}
        return subprocess.Popen(
            command, cwd=self._folder, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip

    def fill(self) -> None:
        """Start workers until there are enough, and wait until each has its connection."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < self.nodes:
            words = ["--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny"]
            name = f"node{self._count}"
            self.workers.append(self._start("worker", *words, "--name", name))
        until = time.monotonic() + STARTING
        while time.monotonic() < until:
            if all(self._registered(worker) for worker in self.workers):
                return
            time.sleep(0.1)
        raise SystemExit(f"expected {self.nodes} workers within {STARTING:g} s, found fewer")

    def _registered(self, worker: subprocess.Popen[bytes]) -> bool:
        """Whether a worker has a listening port, and a connection beside it."""
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(worker.pid).net_connections("tcp")
            states = {connection.status for connection in found}
            return {psutil.CONN_LISTEN, psutil.CONN_ESTABLISHED} <= states
        return False

    def kill(self, chance: random.Random) -> None:
        """SIGKILL one worker, and every process that it has started."""
        worker = chance.choice(self.workers)
        tree = [psutil.Process(worker.pid)]
        tree += tree[0].children(recursive=True)
        for process in tree:
            with contextlib.suppress(psutil.Error):
                process.kill()
        worker.wait()

    def close(self) -> None:
        """End all of it."""
        for process in (*self.workers, self._scheduler):
            process.terminate()
        for process in (*self.workers, self._scheduler):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


@contextlib.contextmanager
def cluster(engine: Path, nodes: int) -> Iterator[Cluster]:
    """A cluster for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="harness-cluster-") as folder:
        made = Cluster(engine, Path(folder), nodes)
        try:
            made.fill()
            yield made
        finally:
            made.close()


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions of one backend on some entries."""

    backend: str
    models: str
    engine: Path

    @property
    def python(self) -> Path:
        """That of the backend's environment."""
        own = ROOT / ".nox" / self.backend / "bin" / "python"
        return own if own.is_file() else Path(sys.executable)

    def run(
        self, results: Path, *words: str, kill: tuple[Cluster, int, random.Random] | None = None
    ) -> SessionTimes:
        """Run a session to its end.

        Args:
            results: the folder for its results.
            words: further options.
            kill: a cluster that loses a node, and after how many reported cells.
        """
        command = [
            str(self.python), "-m", "pytest", "-c", "pyproject.toml", "-p", "harness.plugin", "-v",
            "-p", "no:cacheprovider", "--backend", self.backend, "--models", self.models,
            f"--results={results}", *words,
        ]  # fmt: skip
        environment = {**os.environ, "HARNESS_CLUSTER_PYTHON": str(self.engine)}
        environment |= {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        environment.pop("HARNESS_BACKEND", None)
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        lines, reported = [], []
        for line in process.stdout:
            lines.append(line)
            if "%]" in line:
                reported.append(time.monotonic())
                if kill is not None and len(reported) == kill[1]:
                    kill[0].kill(kill[2])
        process.wait(SESSION)
        if process.returncode not in (0, 1) or len(reported) < 2:
            raise SystemExit("".join(["expected a session to run its cells, found:\n", *lines]))
        whole = time.monotonic() - began
        cell = (reported[-1] - reported[0]) / (len(reported) - 1)
        return SessionTimes(whole, reported[0] - began, cell)

    def rows(self, results: Path) -> tuple[Counter[tuple[str, ...]], int]:
        """Cells with their outcomes, and how many were tried more than once."""
        path = results / f"{self.backend}.duckdb"
        with duckdb.connect(str(path), read_only=True) as store:
            found = store.execute("SELECT entry, head, precision, outcome FROM cells").fetchall()
            tries = "SELECT count(*) FROM metrics WHERE name = 'attempts'"
            (again,) = store.execute(tries).fetchone() or (0,)
        return Counter(tuple(map(str, row)) for row in found), int(again)


def trials(sessions: Sessions, made: Cluster, count: int, seed: int) -> tuple[int, int]:
    """How many cells were lost, and how many doubled or otherwise, with a killed node each time."""
    chance = random.Random(seed)
    lost = doubled = 0
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, "local")
        sessions.run(local, "-n", str(made.nodes))
        wanted, _ = sessions.rows(local)
        for number in range(count):
            results = Path(folder, str(number))
            after = chance.randint(1, wanted.total() - 1)
            made.fill()
            times = sessions.run(results, *on(made), kill=(made, after, chance))
            found, again = sessions.rows(results)
            lost += (wanted - found).total()
            doubled += (found - wanted).total() + again
            print(
                f"trial {number + 1:2}: a node killed after {after:3} of {wanted.total()} cells; "
                f"{(wanted - found).total()} lost, {(found - wanted).total() + again} doubled or "
                f"otherwise, {times.whole:.1f} s",
                flush=True,
            )
    return lost, doubled


def on(made: Cluster) -> tuple[str, str]:
    """The option that names a cluster."""
    return "--cluster", str(made.file)


def compare(sessions: Sessions, made: Cluster, repeats: int) -> float:
    """The time of a cell on nodes over that in the local pool; prints both."""
    times: dict[str, list[SessionTimes]] = {"local pool": [], "cluster": []}
    with tempfile.TemporaryDirectory() as folder:
        sessions.run(Path(folder, "warm"), "-n", str(made.nodes))
        made.fill()
        for number in range(repeats):
            for name, words in (("local pool", ("-n", str(made.nodes))), ("cluster", on(made))):
                found = sessions.run(Path(folder, f"{name}{number}"), *words)
                times[name].append(found)
                print(
                    f"{name}, session {number + 1}: {1000 * found.cell:.1f} ms a cell", flush=True
                )
    print(f"{sessions.backend}, {sessions.models}: the fastest of {repeats}")
    print(f"{'':12}{'ms a cell':>12}{'first cell, s':>16}{'session, s':>12}")
    for name, each in times.items():
        print(
            f"{name:12}{1000 * min(t.cell for t in each):12.1f}"
            f"{min(t.first for t in each):16.1f}{min(t.whole for t in each):12.1f}"
        )
    fastest = {name: min(t.cell for t in each) for name, each in times.items()}
    return fastest["cluster"] / fastest["local pool"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; 1 where the claim does not hold here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backend", default="mock")
    parser.add_argument("--models", default="encoder-only")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument(
        "--repeats", type=int, default=5, help="sessions of which the fastest counts"
    )
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--seed", type=int, default=26)
    parser.add_argument("--engine", type=Path, default=ROOT / ".nox" / "cluster" / "bin" / "python")
    parser.add_argument("--quick", action="store_true", help="one trial on few cells, no times")
    args = parser.parse_args(arguments)
    if args.quick:
        args.models, args.trials, args.repeats, args.nodes = "bert,vit,t5,gpt2", 1, 0, FEW_NODES
    sessions = Sessions(args.backend, args.models, args.engine)
    holds = True
    with cluster(args.engine, args.nodes) as made:
        if args.trials:
            lost, doubled = trials(sessions, made, args.trials, args.seed)
            holds = lost == doubled == 0
            print(f"{args.trials} trials: {lost} cells lost, {doubled} doubled or otherwise")
        if args.repeats:
            ratio = compare(sessions, made, args.repeats)
            holds = holds and ratio <= MOST
            print(f"a cell on nodes takes {ratio:.2f} of its time in the local pool")
    claims = ["0 cells lost or doubled"] if args.trials else []
    claims += [f"at most {MOST:g} of the local pool's time a cell"] if args.repeats else []
    claim = ", ".join(claims)
    print(f"{'claim holds' if holds else 'NOT MET'}: {claim}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
