"""Digests of outputs: five numbers each, which tell another result by far more than rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.contract import Arrays, is_floating
from harness.toolkit.seeded_values import uniform

#: Projections of an output on seeded directions, beside its root mean square.
PROJECTIONS = 4

#: The digits that are kept.
DIGITS = 5

#: Two digests of the same outputs are closer than this. Versions of a library order their sums in
#: other ways, in float32 where they wrote it down; other weights differ by a hundredth at least.
TOLERANCE = 2e-3

#: No values beyond this: the lowest number of a dtype, where a model chooses nothing.
_MASKED = 1e30


def of(outputs: Arrays) -> dict[str, list[float]]:
    """The digest of each floating output: its RMS, and projections of output / RMS.

    Outputs that are empty, constantly 0, or not finite have none.

    Args:
        outputs: by name.
    """
    found = {}
    for name, array in outputs.items():
        if not is_floating(array) or not array.size or np.isnan(array).any():
            continue
        flat = np.where(np.abs(array) < _MASKED, array, 0.0).astype(np.float64).ravel()
        rms = float(np.sqrt(np.mean(flat**2)))
        if not rms:
            continue
        directions = (uniform(0, f"{name}/{i}", flat.shape) for i in range(PROJECTIONS))
        projected = [float(flat @ each) / (rms * flat.size**0.5) for each in directions]
        found[name] = [float(f"{value:.{DIGITS}g}") for value in (rms, *projected)]
    return found


def differing(
    found: Mapping[str, list[float]], recorded: Mapping[str, list[float]]
) -> tuple[str, float] | None:
    """The output that differs most from what was recorded, and by how much; None: all agree.

    Outputs that only one of the two has are left out: versions name theirs anew.

    Args:
        found: digests of today.
        recorded: digests of the older version.
    """
    distances = {name: _distance(found[name], recorded[name]) for name in recorded if name in found}
    name = max(distances, key=distances.__getitem__, default="")
    return (name, distances[name]) if name and distances[name] > TOLERANCE else None


def _distance(one: list[float], other: list[float]) -> float:
    (size, *sides), (size_before, *sides_before) = one, other
    apart = np.abs(np.subtract(sides, sides_before)).max()
    return float(max(abs(size / size_before - 1), apart))
