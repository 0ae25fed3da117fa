"""Numerics: wrong results are told from rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.contract import DTYPES, Array, Arrays
from harness.toolkit import numerics
from harness.toolkit.numerics import (
    LARGEST_FLOOR,
    LIMIT,
    SMALLEST_FLOOR,
    Difference,
    difference,
    explain,
    floor_of,
    is_wrong,
    score,
)

FLOOR = 1e-6


def values(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape)


def moved(want: Array, error: float) -> Array:
    """The same values at a relative distance of `error`."""
    away = np.ones_like(want)
    return want + away * error * float(np.linalg.norm(want) / np.linalg.norm(away))


def found(got: Array, want: Array) -> Difference:
    return difference({"y": got}, {"y": want})


# ---- the error


def test_error_is_relative_to_the_whole_output() -> None:
    want = np.array([3.0, 4.0])
    assert found(np.array([3.0, 4.5]), want).error == pytest.approx(0.1)
    assert found(1e6 * np.array([3.0, 4.5]), 1e6 * want).error == pytest.approx(0.1)


def test_the_same_has_no_error() -> None:
    same = values(2, 8)
    assert found(same, same) == Difference(0.0, "y", 0.0, ())
    assert not is_wrong(found(same, same), FLOOR)


def test_the_worst_output_is_named() -> None:
    want = {"a": values(2, 8), "b": values(3, 8), "c": values(4, 8)}
    got = {"a": moved(want["a"], 0.1), "b": moved(want["b"], 0.3), "c": moved(want["c"], 0.2)}
    result = difference(got, want)
    assert result.output == "b"
    assert result.error == pytest.approx(0.3)


def test_error_is_computed_in_double_precision() -> None:
    want = np.full(4, 1.0) + np.arange(4)
    got = want.astype(np.float32)
    got[0] += np.float32(1e-6)
    assert found(got, want).error == pytest.approx(1e-6 / np.linalg.norm(want), rel=0.1)


def test_half_precision_of_large_values_does_not_overflow() -> None:
    want = values(64) * 300
    result = found(want.astype(np.float16), want)
    assert 0 < result.error < 1e-3
    assert not result.faults


# ---- names, shapes and values that are none


@pytest.mark.parametrize("got", [{}, {"z": values(4)}, {"y": values(4), "z": values(4)}])
def test_other_names_are_wrong_however_large_the_floor(got: Arrays) -> None:
    result = difference(got, {"y": values(4)})
    assert result.faults == (f"outputs: expected ['y'], got {sorted(got)}",)
    assert score(result, 1.0) == float("inf")
    assert is_wrong(result, 1.0)


@pytest.mark.parametrize("shape", [(8, 2), (16,), (1, 2, 8), (2, 7)])
def test_another_shape_is_wrong(shape: tuple[int, ...]) -> None:
    result = found(np.resize(values(16), shape), values(2, 8))
    assert result.faults == (f"y: expected shape (2, 8), got {shape}",)
    assert is_wrong(result, 1.0)


def test_a_shape_that_would_broadcast_is_another_shape() -> None:
    assert is_wrong(found(np.ones((1, 8)), np.ones((4, 8))), 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_none_is_wrong(bad: float) -> None:
    want = values(2, 8)
    got = want.copy()
    got[1, 3] = bad
    result = found(got, want)
    assert result.faults == ("y: 1 of 16 values are not finite",)
    assert is_wrong(result, 1.0)


def test_what_is_masked_in_the_reference_is_not_compared() -> None:
    want = values(2, 8)
    want[:, 0] = -np.inf
    got = np.full_like(want, -3.4e38)
    got[:, 1:] = moved(want[:, 1:], 0.25)
    result = found(got, want)
    assert not result.faults
    assert result.error == pytest.approx(0.25)


def test_one_fault_does_not_hide_another() -> None:
    want = {"a": values(4), "b": values(4)}
    result = difference({"a": values(5), "b": np.full(4, np.nan)}, want)
    assert [fault[:2] for fault in result.faults] == ["a:", "b:"]
    assert explain(result, FLOOR).count("; ") == 1


def test_outputs_without_elements() -> None:
    empty = np.zeros((2, 0))
    assert not is_wrong(found(empty, empty), FLOOR)
    assert is_wrong(found(np.zeros((0, 2)), empty), FLOOR)


# ---- outputs that a relative error says nothing about


@pytest.mark.parametrize("constant", [0.0, 1.0, -30.0])
def test_a_constant_output_is_held_to_its_value(constant: float) -> None:
    want = {"y": values(8), "mask": np.full((2, 4), constant)}
    near = {**want, "mask": want["mask"] + 1e-4}
    assert not is_wrong(difference(near, want), FLOOR)
    far = {**want, "mask": want["mask"] + 0.3 * (1 + abs(constant))}
    result = difference(far, want)
    assert is_wrong(result, FLOOR)
    assert result.faults[0].startswith(f"mask: expected {constant:.3g} in all of it, found ")


def test_a_single_number_is_held_to_its_value() -> None:
    want = {"y": values(8), "loss": np.array(2.5)}
    assert not is_wrong(difference({**want, "loss": np.array(2.500001)}, want), FLOOR)
    assert is_wrong(difference({**want, "loss": np.array(25.0)}, want), FLOOR)


def test_rounding_of_zeros_is_no_signal() -> None:
    want = {"y": values(8), "bias": np.full(4, 1e-19)}
    assert not is_wrong(difference({**want, "bias": np.full(4, -3e-18)}, want), FLOOR)


def test_comparable_outputs() -> None:
    outputs = {
        "fine": values(4),
        "nan": np.full(4, np.nan),
        "constant": np.ones(4),
        "nearly": 1e6 + values(4) * 1e-3,
        "one": np.array([2.0]),
        "ids": np.arange(4),
        "masked": np.array([1.0, 2.0, -np.inf]),
    }
    assert numerics.comparable(outputs) == ["fine", "masked"]


def test_spread_is_the_standard_deviation_of_finite_values() -> None:
    assert numerics.spread(np.array([1.0, 3.0, np.nan, np.inf])) == 1.0
    assert numerics.spread(np.array([])) == 0.0


# ---- integer outputs


def test_integers_are_compared_exactly() -> None:
    want = np.arange(100)
    got = want.copy()
    got[:2] += 1
    assert found(got, want).mismatched == pytest.approx(0.02)
    assert not is_wrong(found(got, want), FLOOR)
    got[2] += 1
    assert is_wrong(found(got, want), FLOOR)
    assert explain(found(got, want), FLOOR) == "integer outputs: 3.0% of the elements differ"


def test_integers_may_differ_as_the_models_own_do() -> None:
    want = np.arange(100)
    got = np.where(want < 30, want + 1, want)
    assert not is_wrong(found(got, want), FLOOR, mismatch_floor=0.07)
    assert is_wrong(found(got, want), FLOOR, mismatch_floor=0.05)


def test_booleans_are_no_numbers() -> None:
    want = np.array([True, False] * 8)
    assert is_wrong(found(~want, want), FLOOR)
    assert found(~want, want).mismatched == 1.0


# ---- the judgement


@given(st.floats(1e-7, 1e-2), st.floats(0.0, 100.0))
def test_the_limit_is_a_number_of_floors(floor: float, times: float) -> None:
    result = Difference(times * floor, "y", 0.0, ())
    assert score(result, floor) == pytest.approx(times)
    if abs(times - LIMIT) > 1e-9:
        assert is_wrong(result, floor) == (times > LIMIT)


def test_the_limit_lies_between_right_and_wrong() -> None:
    assert 4 < LIMIT < 100
    assert pytest.approx(0.5) == LIMIT * LARGEST_FLOOR


@pytest.mark.parametrize("dtype", SMALLEST_FLOOR)
def test_no_floor_is_below_one_rounding(dtype: str) -> None:
    assert floor_of(0.0, dtype) == SMALLEST_FLOOR[dtype]
    assert floor_of(0.17, dtype) == 0.17


def test_a_wider_dtype_has_a_lower_floor() -> None:
    order = ["float64", "float32", "float16", "bfloat16", "int8"]
    order += ["float8_e4m3fn", "float8_e5m2", "int4", "mxfp4"]
    assert {*order} == {*DTYPES} - {"tfloat32", "conv-tfloat32"}  # floors of float32 at least
    assert [SMALLEST_FLOOR[name] for name in order] == sorted(SMALLEST_FLOOR.values())
    assert floor_of(0.0, "float8_e4m3") == SMALLEST_FLOOR["float32"]


def test_an_explanation_has_all_numbers() -> None:
    want = values(2, 8)
    text = explain(found(moved(want, 1e-4), want), FLOOR)
    assert text == (
        "y: relative error 0.0001, expected at most 5e-06 (5 x the noise floor 1e-06); score 100"
    )


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-7, 1e-6, 2e-6, 1e-5, 1e-3, 1.0, 1e30])
@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_what_the_range_tells_is_what_the_spread_tells(scale: float, count: int) -> None:
    """The short cut of `comparable` says the same as the standard deviation."""
    noise = np.random.default_rng(count).standard_normal(count)
    for values in (1.0 + scale * noise, scale * noise, np.where(noise > 0, np.nan, scale * noise)):
        found = numerics.comparable({"x": values})
        assert found == (["x"] if numerics.spread(values) > 0 else [])
