"""Predictions from slices: which slices are needed, their weights, and the interval."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_timing import Machine, noisy, steady

from harness.cell import predicting
from harness.contract import Precision
from harness.report import measured as shown
from harness.toolkit import depth_line

FLOAT32 = Precision("default", "float32")


@pytest.mark.parametrize(
    ("shallow", "whole", "slices"),
    [
        ({"layers": 2}, {"layers": 12}, [{"layers": 6}]),
        ({"layers": 2}, {"layers": 4}, [{"layers": 3}]),
        ({"layers": 2}, {"layers": 3}, [{"layers": 3}]),
        ({"layers": 2}, {"layers": 2}, []),
        ({"enc": 2, "dec": 2}, {"enc": 12, "dec": 12}, [{"enc": 6, "dec": 6}]),
        ({"enc": 2, "dec": 2}, {"enc": 12, "dec": 2}, [{"enc": 6, "dec": 2}]),
        ({"first": 1, "rest": 2}, {"first": 3, "rest": 58},
         [{"first": 2, "rest": 2}, {"first": 1, "rest": 6}]),
    ],
)  # fmt: skip
def test_kinds_that_grow_alike_grow_together(
    shallow: dict[str, int], whole: dict[str, int], slices: list[dict[str, int]]
) -> None:
    assert depth_line.deeper(shallow, whole) == slices


def test_the_whole_is_a_weighted_sum_of_slices() -> None:
    whole = {"first": 3, "rest": 58}
    slices = [{"first": 1, "rest": 2}, *depth_line.deeper({"first": 1, "rest": 2}, whole)]
    shares = depth_line.weights(slices, whole)
    assert shares is not None
    assert shares.sum() == pytest.approx(1.0)
    times = [7.0 + 5.0 * one["first"] + 2.0 * one["rest"] for one in slices]
    assert shares @ np.array(times) == pytest.approx(7.0 + 5.0 * 3 + 2.0 * 58)


def test_slices_that_did_not_come_out_deeper_tell_no_line() -> None:
    same = [{"layers": 2}, {"layers": 2}]
    assert depth_line.weights(same, {"layers": 12}) is None
    # A kind that grows only together with another, in another proportion than in the whole.
    tied = [{"a": 1, "b": 2}, {"a": 2, "b": 4}]
    assert depth_line.weights(tied, {"a": 10, "b": 30}) is None


def test_the_interval_covers_the_truth_of_a_noisy_line() -> None:
    covered = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        turns = [t * np.exp(0.05 * random.standard_normal(40)) for t in (0.03, 0.07)]
        found = depth_line.predicted(turns, np.array([-1.5, 2.5]))
        covered += found.low <= 0.13 <= found.high
    assert covered >= 95


class Sliced:
    """A case of ten layers, of which it has as many as it was asked for."""

    size = "wide"

    def __init__(self, layers: int = 2) -> None:
        self.slice = SimpleNamespace(layers={"layers": layers}, whole={"layers": 10})

    def with_layers(self, layers: dict[str, int]) -> Sliced:
        return Sliced(layers["layers"])

    def inputs(self, variant: str) -> dict[str, Any]:
        return {}


class Backend:
    """Programs that take 0.01 s, and 0.02 s a layer."""

    def __init__(self, machine: Machine, spread: float) -> None:
        self.machine = machine
        self.seeds = itertools.count()
        self.spread = spread

    def prepare(self, case: Sliced, precision: Precision) -> Any:
        seconds = 0.01 + 0.02 * case.slice.layers["layers"]
        times = noisy(seconds, self.spread, next(self.seeds)) if self.spread else steady(seconds)
        run = self.machine.program("slice", times)
        return lambda inputs: run()


@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_the_whole_is_predicted_from_two_slices_in_turn(spread: float) -> None:
    machine = Machine()
    case: Any = Sliced()
    backend: Any = Backend(machine, spread)
    found = predicting.predict(case, backend, FLOAT32, machine.clocks, 50.0)
    assert found is not None
    assert found.seconds.low < 0.21 < found.seconds.high
    assert found.cpu_seconds.ratio == pytest.approx(0.21, rel=0.001 if not spread else 0.05)
    assert [one.name for one in found.timings] == ["slice-0", "slice-1"]
    assert found.timings[0].turns == found.timings[1].turns


def test_only_slices_of_deeper_models_are_predicted_from() -> None:
    assert predicting.can_be_sliced(Sliced())
    assert not predicting.can_be_sliced(Sliced(10))
    tiny = Sliced()
    tiny.size = "tiny"
    assert not predicting.can_be_sliced(tiny)
    assert not predicting.can_be_sliced(SimpleNamespace(size="wide"))


def test_memory_is_the_first_program_s_with_the_slope_of_later_ones() -> None:
    shares = np.array([-1.0, 2.0])
    assert predicting._memory([100.0, 180.0], shares, 130.0) == pytest.approx(130.0 + 160.0)
    assert predicting._memory([100.0, None], shares, 130.0) is None
    assert predicting._memory([100.0, 180.0], shares, None) is None


def test_a_prediction_is_marked_as_one() -> None:
    numbers = {"median": 0.05, "predicted": 0.21, "predicted_low": 0.2, "predicted_high": 0.22,
               "predicted_memory": 440.0}  # fmt: skip
    heads, row, other = shown.table([shown.row("bert", numbers), shown.row("vit", {"median": 1.0})])
    assert heads[-1] == "whole model, predicted"
    assert row[-1] == "210 ms (200 ms to 220 ms), 440 MB"
    assert other[-1] == ""
