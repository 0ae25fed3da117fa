"""Workers that serve many cells: each cell gets the verdict that it would get alone."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest
from device_targets import Work

from harness.contract import CellResult, HarnessError, Outcome, Stage
from harness.workers.ending import Ending
from harness.workers.failure_scope import FailureScope, failure_scope
from harness.workers.limits import Limits
from harness.workers.settings import WorkerSettings
from harness.workers.shared_pool import SharedPool
from harness.workers.task import Task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


class Machine:
    """Runs cells on the fake device, and knows which process did what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error: BaseException | None = None

    def run(
        self,
        *cells: str,
        workers: int = 1,
        units: Sequence[str] = (),
        limits: Limits | None = None,
        start_method: str = "forkserver",
        patience: float = 1.0,
    ) -> list[Ending | None]:
        """The ending that counts for each cell; None where none does."""
        settings = WorkerSettings(
            workers=workers,
            limits=limits or Limits(20.0, 300),
            start_method=start_method,
            shared=True,
            units=tuple(units),
        )
        tasks = [Task("device_targets:run", Work(c, self.folder), c, patience) for c in cells]
        probe = Task("device_targets:probe", Work("probe", self.folder), "probe")
        with SharedPool(lambda _, ending: ending, settings, probe) as pool:
            endings = [self._ending(future) for future in pool.start(tasks)]
            self.error = pool.error
        return endings

    def _ending(self, future: Future[Ending]) -> Ending | None:
        try:
            return future.result(timeout=60)
        except CancelledError:
            return None

    def outcomes(self, *cells: str, **settings: Any) -> list[Outcome | None]:
        return [outcome(ending) for ending in self.run(*cells, **settings)]

    @property
    def log(self) -> list[tuple[str, int, str]]:
        """Log of the tasks that ran: cell, process, device; in order."""
        lines = (self.folder / "log").read_text(encoding="utf-8").splitlines()
        return [(do, int(pid), device) for do, pid, device in map(str.split, lines)]

    def processes(self, cell: str) -> list[int]:
        return [pid for do, pid, _ in self.log if do == cell]


def outcome(ending: Ending | None) -> Outcome | None:
    if ending is None:
        return None
    return ending.value.outcome if isinstance(ending.value, CellResult) else ending.outcome


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


PASS = Outcome.PASS


def test_one_process_serves_many(machine: Machine) -> None:
    assert machine.outcomes(*"abcdefgh") == [PASS] * 8
    assert len({pid for _, pid, _ in machine.log}) == 1


def test_so_do_several(machine: Machine) -> None:
    cells = [f"wait-{n}" for n in range(12)]
    assert machine.outcomes(*cells, workers=3) == [PASS] * 12
    assert len({pid for _, pid, _ in machine.log}) == 3


@pytest.mark.parametrize(
    ("bad", "expected"),
    [("crash", Outcome.CRASH), ("hang", Outcome.TIMEOUT), ("fault", Outcome.FAIL)],
)
def test_a_failure_is_run_again_alone_and_costs_its_own_cell(
    machine: Machine, bad: str, expected: Outcome
) -> None:
    found = machine.outcomes("a", "b", bad, "c", "d", limits=Limits(1.5, 300))
    assert found == [PASS, PASS, expected, PASS, PASS]
    first, second = machine.processes(bad)
    assert first == machine.processes("b")[0]
    assert second not in {pid for cell, pid, _ in machine.log if cell != bad}
    assert machine.processes("c") != machine.processes("b")  # the worker was replaced
    assert machine.processes("c") == machine.processes("d")


def test_a_worker_is_as_patient_as_each_of_its_tasks(machine: Machine) -> None:
    (ending,) = machine.run("hang", limits=Limits(0.2, 300), patience=3.0)
    assert ending is not None
    assert (ending.outcome, ending.reason) == (Outcome.TIMEOUT, "still at run after 0.6 s")


def test_what_a_neighbour_left_behind_is_no_cells_fault(machine: Machine) -> None:
    """A context that one cell poisons unseen: the next one fails with it, and not alone."""
    endings = machine.run("a", "poison", "b", "c")
    assert [outcome(ending) for ending in endings] == [PASS] * 4
    assert len(machine.processes("b")) == 2
    victim = endings[2]
    assert victim is not None
    assert victim.before == "fail at run: illegal memory access"
    assert len(machine.processes("c")) == 1


def test_a_leak_replaces_the_worker_and_fails_nobody(machine: Machine) -> None:
    cells = [f"leak-{n}" for n in range(6)]
    assert machine.outcomes(*cells) == [PASS] * 6
    pids = [pid for _, pid, _ in machine.log]
    assert len(pids) == 6
    # 300 MB are a task's limit: after two leaks of 80 MB a worker has grown by more than half.
    assert len(set(pids)) == 3


def test_a_cells_own_word_replaces_no_worker(machine: Machine) -> None:
    found = machine.outcomes("a", "unsupported", "absent", "b")
    assert found == [PASS, Outcome.UNSUPPORTED, Outcome.ABSENT, PASS]
    assert len(machine.processes("unsupported")) == 2
    assert len(machine.processes("absent")) == 1
    assert machine.processes("a") == machine.processes("b")
    assert "probe" not in {cell for cell, _, _ in machine.log}


def test_out_of_memory_is_tried_again_with_nobody_beside_it(machine: Machine) -> None:
    cells = ["oom", *(f"wait-{n}" for n in range(20))]
    found = machine.outcomes(*cells, workers=3)
    assert found == [Outcome.OOM, *[PASS] * 20]
    order = [cell for cell, _, _ in machine.log]
    again = len(order) - 1 - order[::-1].index("oom")
    # Workers that held memory before it are gone: what comes later runs in other processes.
    before = {pid for _, pid, _ in machine.log[:again]}
    after = {pid for _, pid, _ in machine.log[again:]}
    assert not before & after


def test_a_new_cause_is_probed_once(machine: Machine) -> None:
    machine.outcomes("fault-1", "fault-2", "a", "fault-3")
    assert len(machine.processes("probe")) == 1


def test_a_crash_is_always_probed(machine: Machine) -> None:
    machine.outcomes("crash-1", "crash-2")
    assert len(machine.processes("probe")) == 2


def test_a_dead_device_stops_the_run_and_blames_no_neighbour(machine: Machine) -> None:
    found = machine.outcomes("a", "kill", "b", "c")
    assert found[0] is PASS
    assert found[1:] == [None, None, None]
    assert isinstance(machine.error, HarnessError)
    message = str(machine.error)
    assert "to answer after" in message
    assert "Unavailable: the device does not answer." in message
    assert "Fix: reset the device" in message


def test_cells_are_spread_over_the_devices(machine: Machine) -> None:
    cells = [f"wait-{n}" for n in range(12)]
    assert machine.outcomes(*cells, workers=2, units=["gpu:0", "gpu:1"]) == [PASS] * 12
    devices: dict[int, set[str]] = defaultdict(set)
    for _, pid, device in machine.log:
        devices[pid].add(device)
    assert sorted(devices.values(), key=sorted) == [{"gpu:0"}, {"gpu:1"}]


def test_a_dead_device_leaves_its_cells_to_the_others(machine: Machine) -> None:
    (machine.folder / "gpu:0.dead").touch()
    cells = [f"wait-{n}" for n in range(8)]
    assert machine.outcomes(*cells, workers=2, units=["gpu:0", "gpu:1"]) == [PASS] * 8
    assert machine.error is None


def test_a_failure_is_run_again_on_the_same_device(machine: Machine) -> None:
    machine.outcomes("wait", "fault", workers=2, units=["gpu:0", "gpu:1"])
    assert len({device for cell, _, device in machine.log if cell == "fault"}) == 1


def test_spawned_workers_do_the_same(machine: Machine) -> None:
    found = machine.outcomes("a", "crash", "b", start_method="spawn")
    assert found == [PASS, Outcome.CRASH, PASS]


def test_workers_leave_when_there_is_no_more(machine: Machine) -> None:
    import psutil

    machine.outcomes("a", "b", workers=2)
    assert not [pid for _, pid, _ in machine.log if psutil.pid_exists(pid)]


def test_closing_cancels_what_was_to_run_again(tmp_path: Path) -> None:
    settings = WorkerSettings(workers=1, limits=Limits(20.0, 300), shared=True)
    pool = SharedPool(lambda _, ending: ending, settings)
    futures = pool.start([Task("tests.isolation_targets:sleeps", 60, "sleeps") for _ in range(3)])
    pool.close()
    assert all(future.cancelled() for future in futures)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (None, FailureScope.NONE),
        (Outcome.CRASH, FailureScope.DEVICE),
        (Outcome.TIMEOUT, FailureScope.DEVICE),
        (Outcome.OOM, FailureScope.PROCESS),
    ],
)
def test_what_an_end_says_of_the_device(outcome: Outcome | None, expected: FailureScope) -> None:
    ending = Ending(outcome, Stage.RUN, 0.1)
    assert failure_scope(ending) is expected
