"""Timing of programs in turn: warm-up until steady, then rounds in which each program has a turn.

Nothing here knows a model: what is timed is a call without arguments. Clocks are injected, so that
tests need no sleeps.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.contract import Timings
from harness.toolkit import timing_statistics

#: Inferences in a window of the warm-up, and how many windows must agree.
WINDOW, WINDOWS = 3, 3

#: The most that the largest median of those windows may exceed the smallest. NVIDIA's Perf Analyzer
#: calls a measurement stable where its last three are within 10 % (`--stability-percentage`); a
#: model that warms up by a percent a call would pass that.
STEADY = 0.05

#: Seconds after which a warm-up ends, steady or not.
LONGEST_WARM_UP = 10.0

#: The fewest rounds, each with at least one inference of each program.
FEWEST_ROUNDS = 10

#: Seconds of inferences of the measured program that are wanted at least.
FEWEST_SECONDS = 1.0

#: The standard error of the level that is wanted, and the seconds after which it is given up.
WANTED_NOISE, LONGEST = 0.005, 8.0

#: Seconds that a turn takes at least: shorter inferences are repeated in it.
TURN_SECONDS = 0.02

#: The most timed inferences in a turn, and the most rounds: samples are kept.
MOST_IN_TURN, MOST_ROUNDS = 10, 400

#: Seconds of a call that a coarse clock did not see.
TICK = 1e-9

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Clocks:
    """The clocks of a measurement, in seconds: wall time, and CPU time of this process."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A warm-up that ended.

    Attributes:
        calls: how many there were.
        steady: whether the last windows agreed; otherwise its time was over.
        seconds: of the fastest of the last calls.
    """

    calls: int
    steady: bool
    seconds: float


@dataclass(slots=True)
class Series:
    """Times of one program, turn by turn."""

    in_turn: int
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def timings(self, name: str) -> Timings:
        """The series as it is stored."""
        return Timings(name, len(self.seconds) // self.in_turn, self.seconds, self.cpu_seconds)


def warm_up(call: Call, clocks: Clocks, longest: float = LONGEST_WARM_UP) -> WarmUp:
    """Call until the medians of the last three windows of three calls agree within 5 %.

    Args:
        call: of one inference.
        clocks: of the measurement.
        longest: seconds after which the warm-up ends in any case; two calls are made at least.
    """
    seconds: list[float] = []
    began = clocks.wall()
    while True:
        seconds.append(_timed(call, clocks)[0])
        windows = [seconds[-WINDOW * n :][:WINDOW] for n in range(WINDOWS, 0, -1)]
        if len(seconds) >= WINDOW * WINDOWS and _agree(windows):
            return WarmUp(len(seconds), True, min(seconds[-WINDOW * WINDOWS :]))
        if len(seconds) >= 2 and clocks.wall() - began > longest:
            return WarmUp(len(seconds), False, min(seconds[-WINDOW * WINDOWS :]))


def _agree(windows: list[list[float]]) -> bool:
    medians = [statistics.median(window) for window in windows]
    return max(medians) <= (1 + STEADY) * min(medians)


def in_turn(
    calls: Mapping[str, Call],
    usual: float,
    clocks: Clocks,
    longest: float = LONGEST,
) -> list[Timings]:
    """Times of programs that take turns, round by round, in an order that is drawn for each round.

    A round is as short as can be, so that what disturbs the machine disturbs all programs of it;
    and none is always the one that the scheduler interrupts after another's long turn. In
    a turn of several inferences a first one is not timed: it finds the caches as the program before
    left them. Rounds end when there are enough of them, and enough seconds of the first program,
    and its level is known well enough or the time is over.

    Args:
        calls: of one inference each, by name; the first is the one that is measured, and its level
            is taken over that of the last.
        usual: seconds of one inference of the slowest program that is compared.
        clocks: of the measurement.
        longest: seconds after which only the fewest rounds are still made.

    Returns:
        One series a program, in the order of the calls, all with the same number of turns.
    """
    series = {name: Series(_inferences(usual)) for name in calls}
    names = list(calls)
    measured, other = series[names[0]], series[names[-1]]
    order = random.Random(0)  # the same in each measurement
    began = clocks.wall()
    for done in range(1, MOST_ROUNDS + 1):
        for name in order.sample(names, len(names)):
            _turn(calls[name], series[name], clocks)
        if done >= FEWEST_ROUNDS:
            if clocks.wall() - began > longest:
                break
            if sum(measured.seconds) > FEWEST_SECONDS and done % WINDOW == 0:
                turns = timing_statistics.by_turn(measured.cpu_seconds, done)
                if len(names) > 1:
                    turns = turns - timing_statistics.by_turn(other.cpu_seconds, done)
                if timing_statistics.level(turns).noise < WANTED_NOISE:
                    break
    return [one.timings(name) for name, one in series.items()]


def _inferences(usual: float) -> int:
    return min(max(1, math.ceil(TURN_SECONDS / max(usual, TICK))), MOST_IN_TURN)


def _turn(call: Call, series: Series, clocks: Clocks) -> None:
    if series.in_turn > 1:
        call()
    for _ in range(series.in_turn):
        wall, cpu = _timed(call, clocks)
        series.seconds.append(wall)
        series.cpu_seconds.append(cpu)


def _timed(call: Call, clocks: Clocks) -> tuple[float, float]:
    """Wall and CPU seconds of one call, at least a nanosecond: logarithms are taken of them."""
    wall, cpu = clocks.wall(), clocks.cpu()
    call()
    used, passed = clocks.cpu() - cpu, clocks.wall() - wall
    return max(passed, TICK), max(used, TICK)
