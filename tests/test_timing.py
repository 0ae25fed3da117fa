"""Timing in turn and its statistics, on programs whose times are made up: no sleeps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from harness.cell import timing
from harness.cell.timing import Clocks, in_turn, warm_up
from harness.toolkit import timing_statistics
from harness.toolkit.timing_statistics import by_turn, level, ratio_interval


@dataclass(slots=True)
class Machine:
    """A machine whose clocks move only while a program runs, so that its times are known."""

    wall: float = 0.0
    cpu: float = 0.0
    ran: list[str] = field(default_factory=list)

    @property
    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall, lambda: self.cpu)

    def program(
        self, name: str, seconds: Iterator[float], waits: Iterator[float] | None = None
    ) -> Callable[[], None]:
        """A program that takes these seconds of CPU, and waits for others beside."""

        def call() -> None:
            own = next(seconds)
            self.cpu += own
            self.wall += own + (next(waits) if waits is not None else 0.0)
            self.ran.append(name)

        return call


def steady(seconds: float) -> Iterator[float]:
    return itertools.repeat(seconds)


def noisy(seconds: float, spread: float, seed: int = 0) -> Iterator[float]:
    random = np.random.default_rng(seed)
    while True:
        yield float(seconds * np.exp(spread * random.standard_normal()))


def stolen(share: float, seed: int = 0) -> Iterator[float]:
    """A core that another process takes for 10 ms in a share of the calls."""
    random = np.random.default_rng(seed)
    while True:
        yield 0.01 if random.random() < share else 0.0


def slow_start(calls: int, seconds: float) -> Iterator[float]:
    """Each call is a tenth faster than the one before, then they stay."""
    for call in range(calls, 0, -1):
        yield seconds * 1.1**call
    yield from itertools.repeat(seconds)


class TestWarmUp:
    def test_a_steady_program_is_called_nine_times(self) -> None:
        machine = Machine()
        found = warm_up(machine.program("p", steady(0.1)), machine.clocks)
        assert (found.calls, found.steady) == (9, True)
        assert found.seconds == pytest.approx(0.1)

    def test_a_slow_start_is_waited_for(self) -> None:
        machine = Machine()
        found = warm_up(machine.program("p", slow_start(30, 0.01)), machine.clocks)
        assert found.steady
        assert 30 <= found.calls <= 39
        assert found.seconds == pytest.approx(0.01)

    def test_outliers_keep_nobody(self) -> None:
        machine = Machine()
        seconds = (0.5 if call % 4 == 3 else 0.01 for call in itertools.count())
        assert warm_up(machine.program("p", seconds), machine.clocks).calls == 9

    def test_what_never_settles_ends_and_says_so(self) -> None:
        machine = Machine()
        seconds = (1.2**-call for call in itertools.count())
        found = warm_up(machine.program("p", seconds), machine.clocks, longest=4.0)
        assert not found.steady

    def test_a_slow_program_is_called_twice_at_least(self) -> None:
        machine = Machine()
        found = warm_up(machine.program("p", steady(60.0)), machine.clocks)
        assert (found.calls, found.steady) == (2, False)


class TestTurns:
    def test_all_take_turns_in_each_round(self) -> None:
        machine = Machine()
        calls = {name: machine.program(name, steady(0.05)) for name in "abc"}
        series = in_turn(calls, 0.05, machine.clocks)
        rounds = [machine.ran[at : at + 3] for at in range(0, len(machine.ran), 3)]
        assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
        assert {one[0] for one in rounds} == {"a", "b", "c"}
        assert [one.turns for one in series] == [len(rounds)] * 3

    def test_ten_inferences_and_a_second_at_least(self) -> None:
        machine = Machine()
        (series,) = in_turn({"p": machine.program("p", steady(0.05))}, 0.05, machine.clocks)
        assert len(series.seconds) >= 10
        assert sum(series.seconds) > 1.0
        machine = Machine()
        (series,) = in_turn({"p": machine.program("p", steady(30.0))}, 30.0, machine.clocks)
        assert len(series.seconds) == timing.FEWEST_ROUNDS

    def test_the_first_of_a_turn_finds_other_caches_and_is_not_timed(self) -> None:
        machine = Machine()
        cold = (0.02 if call % 11 == 0 else 0.001 for call in itertools.count())
        (series,) = in_turn({"p": machine.program("p", cold)}, 0.001, machine.clocks)
        assert max(series.seconds) < 0.002
        assert len(series.seconds) == 10 * series.turns

    def test_noise_is_measured_longer(self) -> None:
        def rounds(spread: float) -> int:
            machine = Machine()
            calls = {"p": machine.program("p", noisy(0.05, spread))}
            return in_turn(calls, 0.05, machine.clocks)[0].turns

        assert rounds(0.2) > 2 * rounds(0.001)


class TestStatistics:
    def test_a_turn_is_its_fastest_wall_time_whatever_interrupts(self) -> None:
        machine = Machine()
        program = machine.program("p", noisy(0.002, 0.01), stolen(0.4))
        series, other = in_turn(
            {"p": program, "q": machine.program("q", noisy(0.001, 0.01, 1), stolen(0.4, 1))},
            0.002, machine.clocks,
        )  # fmt: skip
        one, two = (by_turn(s.seconds, s.turns, fastest=True) for s in (series, other))
        found = ratio_interval(one, two)
        assert found.low < 2.0 < found.high
        assert found.high / found.low < 1.05
        plain = np.mean(series.seconds) / np.mean(other.seconds)
        assert plain < 1.5  # which says nothing of the programs

    def test_noise_covers_drift_and_steps(self) -> None:
        calm = level(np.log(list(itertools.islice(noisy(1.0, 0.02), 80))))
        assert calm.noise < 0.01
        assert abs(calm.value) < 3 * calm.noise
        step = np.log([1.0] * 40 + [1.3] * 40)
        assert level(step).noise > 2 * calm.noise
        waves = np.log([1.0 + 0.3 * (at // 10 % 2) for at in range(80)])
        assert level(waves).noise > 5 * calm.noise

    def test_noise_of_a_single_batch_is_unknown(self) -> None:
        assert level(np.zeros(3)).noise == float("inf")

    def test_the_interval_covers_the_truth_as_often_as_it_says(self) -> None:
        covered = 0
        for seed in range(200):
            random = np.random.default_rng(seed)
            shared = np.cumsum(0.05 * random.standard_normal(40))  # what slows both
            one, other = (shared + 0.05 * random.standard_normal(40) for _ in range(2))
            found = ratio_interval(one, other + np.log(2.0))
            covered += found.low <= 0.5 <= found.high
        assert 180 <= covered <= 200

    def test_drift_and_the_program_against_itself(self) -> None:
        assert timing_statistics.drift(np.log([1.0] * 10 + [2.0] * 10)) == pytest.approx(2.0)
        assert timing_statistics.against_itself(np.log([3.0, 3.0] * 5)) == pytest.approx(1.0)
        assert timing_statistics.against_itself(np.log([2.0, 1.0] * 5)) == pytest.approx(2.0)

    def test_turns_are_of_one_size(self) -> None:
        with pytest.raises(ValueError, match="expected inferences in 2 turns of a size, found 3"):
            by_turn([1.0, 1.0, 1.0], 2)
