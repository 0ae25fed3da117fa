"""The progress line: what it says, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.contract import CellResult, Outcome, Stage
from harness.session.progress import ProgressLine
from harness.workers.task import TaskStatus


class Screen:
    """Keeps what is written; `clock` is moved by hand."""

    def __init__(self) -> None:
        self.live: list[str] = []
        self.lines: list[str] = []
        self.flushed = 0
        self.now = 100.0

    def rewrite(self, line: str, **markup: bool) -> None:
        self.live.append(line)

    def write_line(self, line: str, **markup: bool) -> None:
        self.lines.append(line)

    def flush(self) -> None:
        self.flushed += 1

    def clock(self) -> float:
        return self.now


@pytest.fixture
def screen() -> Screen:
    return Screen()


def progress(screen: Screen, total: int, **changes: Any) -> ProgressLine:
    given: dict[str, Any] = {"live": True, "width": 200, "clock": screen.clock}
    return ProgressLine(screen, total, **{**given, **changes})


RUNNING = [
    TaskStatus("qwen3[x-default]", Stage.PREPARE, 12.0),
    TaskStatus("vit[x-f16]", Stage.RUN, 1.0),
]


def test_the_live_line_has_counts_time_left_and_what_runs(
    screen: Screen, make_result: Callable[..., CellResult]
) -> None:
    shown = progress(screen, 40)
    for number in range(10):
        shown.add(make_result(outcome=Outcome.FAIL if number == 3 else Outcome.PASS))
    screen.now += 20
    shown.show(RUNNING)
    assert screen.live == [
        " 25% 10/40   9 pass · 1 fail   1 min 00 s left   qwen3 (prepare 12 s), vit"
    ]
    assert screen.flushed == 1


def test_the_live_line_fits_and_is_not_redrawn_all_the_time(screen: Screen) -> None:
    shown = progress(screen, 40, width=20)
    for _ in range(10):
        shown.show(RUNNING)
        screen.now += 0.051
    assert len(screen.live) == 3  # in 0.46 s, with 0.2 s between
    assert all(len(line) < 20 for line in screen.live)
    shown.clear()
    assert screen.live[-1] == ""
    before = len(screen.live)
    shown.clear()
    assert len(screen.live) == before


def test_without_a_terminal_full_lines_come_now_and_then(
    screen: Screen, make_result: Callable[..., CellResult]
) -> None:
    shown = progress(screen, 100, live=False)
    for _ in range(100):
        screen.now += 0.5  # a tenth takes 5 s
        shown.add(make_result())
        shown.show([])
    assert [line.split()[0] for line in screen.lines] == [f"{n}%" for n in range(10, 100, 10)]
    assert screen.live == []


def test_without_a_terminal_a_slow_run_still_says_something(screen: Screen) -> None:
    shown = progress(screen, 5, live=False)
    for _ in range(25):
        screen.now += 1.0
        shown.show(RUNNING)
    assert len(screen.lines) == 2
    assert screen.flushed == 2


def test_a_fast_run_does_not_flood(screen: Screen, make_result: Callable[..., CellResult]) -> None:
    shown = progress(screen, 100, live=False)
    for _ in range(100):
        screen.now += 0.01
        shown.add(make_result())
        shown.show([])
    assert screen.lines == []


def test_nowhere_to_show(screen: Screen) -> None:
    shown = ProgressLine(None, 0, live=True)
    shown.show(RUNNING)
    shown.clear()
