"""A cell that its own, shorter limit on time has ended gets the full one before it is judged."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from device_targets import Work

from harness.contract import Outcome
from harness.results.stored_durations import StoredDuration
from harness.session.time_limits import FLOOR, with_own_limit
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.shared_pool import SharedPool
from harness.workers.task import Task

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")

OWN = {"own_limit": 0.5, "own_limit_from": "10 times its 0.05 s"}


def waiting(seconds: float, label: str, target: str = "waits") -> Task:
    return Task(f"tests.isolation_targets:{target}", seconds, label, **OWN)  # type: ignore[arg-type]


def run_all(tasks: Sequence[Task], seconds: float = 2.0) -> list[Ending]:
    settings = WorkerSettings(workers=1, limits=Limits(seconds, 300))
    with Pool(lambda _, ending: ending, settings) as pool:
        return [future.result(timeout=60) for future in pool.start(tasks)]


@posix
def test_a_slow_cell_passes_in_its_second_try() -> None:
    (ending,) = run_all([waiting(1.0, "slow")], seconds=20.0)
    assert (ending.outcome, ending.value) == (None, "done")
    assert ending.before.startswith(
        "timeout at run: still at run after 0.5 s (10 times its 0.05 s)"
    )


@posix
def test_a_hang_is_judged_by_the_full_limit() -> None:
    (ending,) = run_all([waiting(60, "hang")], seconds=1.5)
    assert ending.outcome is Outcome.TIMEOUT
    assert ending.reason == "still at run after 1.5 s, in threading:wait"
    assert "after 0.5 s (10 times" in ending.before


@posix
def test_a_confirmed_hang_is_believed_at_the_same_place_and_says_its_limit() -> None:
    first, second, third = run_all([waiting(60, name) for name in "abc"], seconds=1.5)
    assert first.reason.startswith("still at run after 1.5 s")
    for ending in (second, third):
        assert ending.reason == "still at run after 0.5 s (10 times its 0.05 s), in threading:wait"
        assert (ending.cause, ending.before) == (first.cause, "")


@posix
def test_a_place_that_is_not_known_is_never_believed() -> None:
    endings = run_all([waiting(60, name, "sleeps") for name in "ab"], seconds=1.5)
    assert [ending.reason for ending in endings] == ["still at run after 1.5 s"] * 2


@posix
def test_limits_that_were_too_short_once_are_not_believed_again() -> None:
    tasks = [waiting(60, "hang"), waiting(1.0, "slow"), waiting(60, "hang too")]
    tasks[1] = Task("tests.isolation_targets:sleeps", 1.0, "slow", **OWN)  # type: ignore[arg-type]
    hang, slow, again = run_all(tasks, seconds=1.8)
    assert hang.outcome is Outcome.TIMEOUT
    assert slow.outcome is None
    assert again.reason.startswith("still at run after 1.8 s")


@posix
def test_a_shared_worker_gives_the_full_limit_to_the_try_that_is_alone(tmp_path: Path) -> None:
    work = Work("hang", tmp_path)
    tasks = [Task("device_targets:run", work, "hang", **OWN)]  # type: ignore[arg-type]
    probe = Task("device_targets:probe", Work("probe", tmp_path), "probe")
    settings = WorkerSettings(workers=1, limits=Limits(1.5, 300), shared=True)
    with SharedPool(lambda _, ending: ending, settings, probe) as pool:
        (ending,) = [future.result(timeout=60) for future in pool.start(tasks)]
    assert "after 1.5 s" in ending.reason
    assert "after 0.5 s (10 times its 0.05 s)" in ending.before


@pytest.mark.parametrize(
    ("longest", "patience", "expected"),
    [
        (None, 1.0, None),  # a new cell
        (0.3, 1.0, FLOOR),
        (4.0, 1.0, 40.0),
        (12.0, 1.0, None),  # ten times that is the full limit
        (12.0, 2.0, 120.0),  # in a precision with twice the time
        (120.0, 1.0, None),  # a cell that ran out of time before is not ended sooner
    ],
)
def test_limit_of_a_cell(longest: float | None, patience: float, expected: float | None) -> None:
    stored = StoredDuration(0.1, longest) if longest is not None else None
    task = with_own_limit(Task("", None, "bert", patience), stored, Limits(120.0))
    assert task.own_limit == expected
    assert bool(task.own_limit_from) == (expected is not None)
    if expected == 40.0:
        assert "10 times the 4.0 s of its last 5 runs" in task.own_limit_from
        assert "--timeout S" in task.own_limit_from
