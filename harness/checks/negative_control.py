"""Negative control: right outputs must fail against a reference with one slightly wrong weight."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contract import Arrays, Case, CheckFailed, Inconclusive
from harness.toolkit import numerics

#: The noise that a control puts on one weight, relative to the weight's own RMS.
NOISE = 1e-2

#: How far beyond the limit the perturbed model must lie before its failing proves anything.
MARGIN = 3.0

#: How many weights a control tries before it gives up.
TRIES = 24


@dataclass(frozen=True, slots=True)
class WrongReference:
    """Reference outputs of the model with one wrong weight: the negative control."""

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
            f"harness",
            fault="control: noise on a weight moves the model, yet the check passes",
        )
    return wrong.scale * numerics.LIMIT * floor / wrong.moved
