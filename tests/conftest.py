"""Fixtures of the harness's tests: places to run fake backends in, and made-up results."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from workplace import Workplace

from harness.contract import CellResult, Outcome, RunInfo, Stage
from harness.workers import fork_server

# pytest reads this file in a backend's session too, whose environment has no hypothesis.
if find_spec("hypothesis"):
    from hypothesis import settings

    # The same examples every time, and no failure because the machine is busy.
    settings.register_profile("repeatable", derandomize=True, deadline=None)
    settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Ctrl-C and SIGHUP work in what the tests start, also in the background and behind nohup.

    A shell has what it puts there ignore them, which is passed on to its children.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def _own_fork_server() -> Iterator[None]:
    """Each module begins without a fork server: another one's has imported other modules."""
    yield
    if sys.platform != "win32":
        fork_server.end_server()


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture
def make_result() -> Callable[..., CellResult]:
    """Makes a passing result; keywords change it."""

    def make(entry: str = "bert", **changes: Any) -> CellResult:
        given: dict[str, Any] = {
            "entry": entry,
            "family": "encoder-only",
            "architecture": entry,
            "head": "base",
            "precision": "default",
            "stage": Stage.VERIFY,
            "outcome": Outcome.PASS,
            "seconds": 0.5,
        }
        return CellResult(**{**given, **changes})

    return make


@pytest.fixture
def make_run() -> Callable[..., RunInfo]:
    """Makes what is the same for the cells of a run; keywords change it."""

    def make(run_id: str = "r1", **changes: Any) -> RunInfo:
        given: dict[str, Any] = {
            "run_id": run_id,
            "backend": "good",
            "started_at": "2026-01-02T03:04:05+00:00",
            "device": "Fake 1 (cpu)",
            "emulated": True,
            "versions": {"fake": "1.0"},
            "lock_sha256": "",
            "git_commit": "",
            "host": "here",
            "arguments": ["--models", "bert"],
            "seed": 0,
        }
        return RunInfo(**{**given, **changes})

    return make
