"""Numerical comparison of outputs: relative L2 error, noise floor, score, and the limit of 5.

A difference is judged by the model's own noise floor: the error that eager execution on the CPU
makes in the dtype that the backend computes in. `score = error / floor` is comparable over models,
precisions and backends. Measured over 481 architectures, right results score below 4 and wrong
ones above 100, so one limit serves them all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.contract import Array, Arrays, is_floating

#: Between the right results (at most 4) and the wrong ones (at least 100).
LIMIT = 5.0

#: No floor is below this: the rounding of one output in that dtype.
SMALLEST_FLOOR: Mapping[str, float] = {
    "float64": 1e-15,
    "float32": 1e-7,
    "float16": 5e-4,
    "bfloat16": 4e-3,
    "float8_e4m3fn": 2.5e-2,
    "float8_e5m2": 5e-2,
    "int8": 1e-2,
    "int4": 1e-1,
    "mxfp4": 1e-1,
}

#: Models write the lowest number of a dtype where a value must never be chosen: no value, as -inf.
MASKED = 1e30

#: An output without spread has no relative error; it may move by this share of 1 + its magnitude.
CONSTANT = 0.1

#: The share of an integer output's elements that may differ: ties, and values between two steps.
MISMATCHED = 0.02

#: The least standard deviation of values that differ by more than rounding, as a share of the
#: largest one, and that which is certainly above.
ROUNDING = 1e-6
CERTAIN = 2 * ROUNDING

#: A floor at which `LIMIT` floors are an error of one half: anything would pass.
LARGEST_FLOOR = 0.5 / LIMIT


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between two sets of outputs: relative error, and faults beyond an error."""

    error: float  # the worst relative L2 error of a floating output
    output: str  # which one
    mismatched: float  # the largest share of unequal elements in an integer output
    faults: tuple[str, ...]  # names, shapes, non-finite values and constants that differ


def comparable(want: Arrays) -> list[str]:
    """The floating outputs that can be judged: some finite values, not all of them equal."""
    return [name for name, array in want.items() if is_floating(array) and _varies(array)]


def spread(array: Array) -> float:
    """Standard deviation of the finite values; 0 where there are none, or where it is rounding."""
    finite = _finite(array, array)
    if finite.size < 2:
        return 0.0
    deviation = float(finite.std())
    return deviation if deviation > ROUNDING * float(np.abs(finite).max()) else 0.0


def _varies(array: Array) -> bool:
    """Whether the spread is above 0; where the range alone says so, nothing is squared."""
    finite = _finite(array, array)
    if finite.size < 2:
        return False
    least, most = float(finite.min()), float(finite.max())
    # A standard deviation is at least the range divided by the root of twice the count.
    if most - least > CERTAIN * math.sqrt(2 * finite.size) * max(abs(least), abs(most)):
        return True
    return spread(array) > 0


def has_value(array: Array) -> NDArray[np.bool_]:
    """Boolean mask of the values that count: finite, and below `MASKED`; a mask's -3e38 is not."""
    found: NDArray[np.bool_] = np.abs(array) < MASKED  # false for NaN
    return found


def difference(got: Arrays, want: Arrays) -> Difference:
    """The difference of outputs from their reference.

    Args:
        got: outputs by name, any float dtype.
        want: the reference by name, float64.
    """
    faults: list[str] = []
    missing, extra = sorted(want.keys() - got.keys()), sorted(got.keys() - want.keys())
    if missing or extra:
        faults.append(f"outputs: expected {sorted(want)}, got {sorted(got)}")
    worst, where, mismatched = 0.0, "", 0.0
    judged = set(comparable(want))
    for name in [name for name in want if name in got]:
        w, g = want[name], got[name]
        if w.shape != g.shape:
            faults.append(f"{name}: expected shape {w.shape}, got {g.shape}")
            continue
        if w.size == 0:
            continue
        if not is_floating(w):
            mismatched = max(mismatched, float(np.mean(w != g)))
            continue
        broken = np.count_nonzero(np.isfinite(w) & ~np.isfinite(g))
        if broken:
            faults.append(f"{name}: {broken} of {g.size} values are not finite")
            continue
        expected, found = _finite(w, w), _finite(g, w)
        if name in judged:
            error = _relative(found, expected)
            if error >= worst:
                worst, where = error, name
        elif expected.size and np.abs(found - expected).max() > CONSTANT * (
            1 + np.abs(expected).max()
        ):
            faults.append(
                f"{name}: expected {expected[0]:.3g} in all of it, found {found.min():.3g} to "
                f"{found.max():.3g}"
            )
    return Difference(worst, where, mismatched, tuple(faults))


def _finite(array: Array, want: Array) -> Array:
    """The values where `want` has one, flat and in float64; without a copy where all of it has."""
    usable = has_value(want)
    held = array if usable.all() else array[usable]
    return held.astype(np.float64, copy=False).ravel()


def _relative(got: Array, want: Array) -> float:
    """||got - want|| / ||want||, both in float64."""
    norm = float(np.linalg.norm(want))
    return float(np.linalg.norm(got - want)) / norm if norm else 0.0


def floor_of(noise: float, dtype: str) -> float:
    """The noise floor: the measured noise, but at least the rounding of one output in the dtype."""
    return max(noise, SMALLEST_FLOOR.get(dtype, 1e-7))


def score(found: Difference, floor: float) -> float:
    """The error in units of the noise floor; infinite for wrong names, shapes or NaN."""
    return float("inf") if found.faults else found.error / floor


def is_wrong(found: Difference, floor: float, mismatch_floor: float = 0.0) -> bool:
    """The judgement: the one check that a control must be able to make fail.

    Args:
        found: the difference to the reference.
        floor: the noise floor of the floating outputs.
        mismatch_floor: the share of integer outputs that differ in the noise run itself.
    """
    return score(found, floor) > LIMIT or found.mismatched > max(MISMATCHED, LIMIT * mismatch_floor)


def explain(found: Difference, floor: float) -> str:
    """One line: what was found against what was expected."""
    if found.faults:
        return "; ".join(found.faults)
    if score(found, floor) > LIMIT:
        return (
            f"{found.output}: relative error {found.error:.2g}, expected at most "
            f"{LIMIT * floor:.2g} ({LIMIT:g} x the noise floor {floor:.2g}); score "
            f"{score(found, floor):.3g}"
        )
    return f"integer outputs: {found.mismatched:.1%} of the elements differ"
