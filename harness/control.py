"""Controls: the reference is worth comparing with, and the comparison can fail."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np

from harness import numerics
from harness.contract import Arrays, Case, CheckFailed, Inconclusive, is_floating

#: Standard deviations of outputs that a relative error says something about.
SMALLEST, LARGEST = 1e-3, 1e3

#: The noise that a control puts on one weight, relative to the weight's own RMS.
NOISE = 1e-2

#: How far beyond the limit the perturbed model must lie before its failing proves anything.
MARGIN = 3.0

#: How many weights a control tries before it gives up.
TRIES = 24


def deterministic(first: Arrays, second: Arrays) -> None:
    """Two runs under different global seeds agree to the last bit.

    Raises:
        CheckFailed: they don't.
    """
    for name, array in first.items():
        other = second.get(name)
        if other is None or not np.array_equal(array, other, equal_nan=is_floating(array)):
            raise CheckFailed(
                f"reference: {name} differs between two runs under different seeds: randomness in "
                f"forward. Give it as an input, or switch it off, in harness/tiny/*.toml"
            )


def without_values(outputs: Arrays) -> list[str]:
    """The floating outputs that hold no finite value."""
    return [n for n, a in outputs.items() if is_floating(a) and a.size and not np.isfinite(a).any()]


def sane(outputs: Arrays, spared: Collection[str] = ()) -> None:
    """Outputs vary, and each that varies has a spread that an error can be relative to.

    An output whose values are all the same, or not finite in part, is judged by the comparison; at
    least one must vary, in numbers or in codes, and none may be without a finite value.

    Args:
        outputs: the reference's.
        spared: patterns of the names of outputs that are right to be larger or smaller.

    Raises:
        CheckFailed: they don't.
    """
    if not outputs:
        raise CheckFailed("reference: the model returns no arrays")
    broken = without_values(outputs)
    if broken:
        raise CheckFailed(f"reference: {', '.join(broken)} has no finite value")
    names = numerics.comparable(outputs)
    if not names:
        if any(not is_floating(a) and np.unique(a).size > 1 for a in outputs.values()):
            return
        shapes = ", ".join(f"{n}{list(a.shape)}" for n, a in outputs.items())
        raise CheckFailed(f"reference: every output is constant or not finite: {shapes}")
    judged = [name for name in names if not any(fnmatch(name, pattern) for pattern in spared)]
    spreads = {name: numerics.spread(outputs[name]) for name in judged}
    outside = {n: s for n, s in spreads.items() if not SMALLEST <= s <= LARGEST}
    if outside:
        found = ", ".join(f"{n} {s:.2g}" for n, s in outside.items())
        raise CheckFailed(
            f"reference: expected a standard deviation between {SMALLEST:g} and {LARGEST:g} of "
            f"every output, found {found}; calibrate it (harness/tiny/calibrate.py, weights.toml), "
            f"or spare it in harness/families/exceptions.toml, with the reason"
        )


def sensitive(base: Arrays, other: Arrays) -> None:
    """Other input values give other outputs.

    Raises:
        CheckFailed: they don't.
    """
    found = numerics.difference(other, base)
    if not found.faults and found.error < 1e-5 and found.mismatched == 0.0:
        raise CheckFailed(
            f"reference: other inputs move the outputs by {found.error:.1g} only; the model does "
            f"not see them"
        )


@dataclass(frozen=True, slots=True)
class WrongReference:
    """What the model would answer with one wrong weight."""

    outputs: Arrays
    weight: str
    scale: float  # of the noise on that weight, relative to its RMS
    moved: float  # relative error of the outputs


def wrong_reference(
    case: Case, inputs: Arrays, want: Arrays, floor: float, dtype: str
) -> WrongReference:
    """The reference with enough noise on one weight that the check must see it.

    Args:
        case: whose weights are tried, one after the other.
        inputs: the plain example.
        want: the reference's outputs on it.
        floor: the noise floor that the check will judge by.
        dtype: of the reference.

    Raises:
        Inconclusive: no weight moves this model by more than its own noise.
    """
    needed = MARGIN * numerics.LIMIT * floor
    for weight in case.weights()[:TRIES]:
        scale = NOISE
        outputs = case.perturbed(inputs, weight, scale, dtype=dtype)
        moved = numerics.difference(outputs, want).error
        if 0.0 < moved < needed:
            scale = NOISE * 1.5 * needed / moved
            if scale > 1.0:
                continue
            outputs = case.perturbed(inputs, weight, scale, dtype=dtype)
            moved = numerics.difference(outputs, want).error
        if moved >= needed:
            return WrongReference(outputs, weight, scale, moved)
    raise Inconclusive(
        f"control: no single weight moves the outputs by {needed:.2g}, the least that the check "
        f"could see above a noise floor of {floor:.2g}"
    )


def must_fail(got: Arrays, wrong: WrongReference, floor: float, mismatch: float) -> float:
    """Holds right outputs against the reference with one wrong weight: the check must fail.

    Returns:
        The detection limit: the smallest relative noise on that weight that the check would see.

    Raises:
        CheckFailed: the check passed although it must not; the fault is ours.
    """
    if not numerics.is_wrong(numerics.difference(got, wrong.outputs), floor, mismatch):
        raise CheckFailed(
            f"control: {wrong.scale:.2g} of noise on {wrong.weight} moves the model by "
            f"{wrong.moved:.2g}, yet the check passes; a check that cannot fail is a fault of the "
            f"harness"
        )
    return wrong.scale * numerics.LIMIT * floor / wrong.moved
