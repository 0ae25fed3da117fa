"""Yardstick of a piece: float64 outputs on one input, and the noise floor of each output."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from harness.cell.reference import first_reference, noisy_inference
from harness.contract import Arrays, Case, Precision, is_floating
from harness.toolkit import numerics

#: A score above which an output is wrong wherever it is. Below it, and above `numerics.LIMIT`, it
#: is wrong only where the model's own outputs are not much worse: a floor of one tensor in the
#: middle of a model is less certain than that of its outputs.
CLEARLY_WRONG = 10 * numerics.LIMIT

#: A score may be so many times smaller than that of the model's outputs which it explains.
DAMPED = 10.0


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Right outputs by name, with the noise of each.

    Attributes:
        outputs: of the reference, in float64 where the modeling code allows.
        floors: relative error that right results may have; infinite where nothing can be judged.
        mismatches: share of elements in which right integers differ.
    """

    outputs: Arrays
    floors: Mapping[str, float]
    mismatches: Mapping[str, float]

    def scores(self, got: Arrays) -> dict[str, float]:
        """The score of each output that is there, in the order of the reference's.

        A score of integers is their share of mismatches in units of what is allowed, times the
        limit, so that the limit is the same for all.
        """
        return {name: self._score(name, got) for name in self.outputs if name in got}

    def _score(self, name: str, got: Arrays) -> float:
        floor = self.floors[name]
        same_kind = is_floating(got[name]) == is_floating(self.outputs[name])
        if floor == float("inf") or not same_kind:  # a mask of booleans in place of one of numbers
            return 0.0
        found = numerics.difference({name: got[name]}, {name: self.outputs[name]})
        allowed = max(numerics.MISMATCHED, numerics.LIMIT * self.mismatches[name])
        return max(numerics.score(found, floor), numerics.LIMIT * found.mismatched / allowed)


def yardstick(case: Case, precision: Precision, inputs: Arrays) -> Yardstick:
    """The yardstick of a case on one input.

    Noise is the larger one of eager execution in the precision's dtype, and of data that moved by
    one rounding of that dtype.

    Args:
        case: the model, or a part of it.
        precision: to judge.
        inputs: arrays by argument name.

    Raises:
        What the modeling code raises in float64 and in float32.
    """
    want, dtype = first_reference(case, inputs)
    noises = [case.reference(inputs, "float32")] if precision.dtype == "float64" else []
    with suppress(Exception):  # what cannot be run in that dtype has the other noise
        noises.append(noisy_inference(case, dtype, precision)(inputs))
    with suppress(Exception):
        noises.append(case.jittered(inputs, precision.dtype))
    floors, mismatches = {}, {}
    for name, right in want.items():
        worst, mismatched = 0.0, 0.0
        for noise in noises:
            if name not in noise:
                continue
            found = numerics.difference({name: noise[name]}, {name: right})
            worst = max(worst, float("inf") if found.faults else found.error)
            mismatched = max(mismatched, found.mismatched)
        floor = numerics.floor_of(worst, precision.dtype)
        floors[name] = float("inf") if floor > numerics.LARGEST_FLOOR else floor
        mismatches[name] = mismatched
    return Yardstick(want, floors, mismatches)


def limit_for(final: float) -> float:
    """The score above which an output in the middle of a model is wrong.

    Args:
        final: the score of the model's own outputs, which is to be explained.
    """
    return max(numerics.LIMIT, min(CLEARLY_WRONG, final / DAMPED))
