"""Sanity of the reference: deterministic, finite, of order 1, not constant, input-sensitive."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch

import numpy as np

from harness.contract import Arrays, CheckFailed, is_floating
from harness.toolkit import numerics

#: Standard deviations of outputs that a relative error says something about.
SMALLEST, LARGEST = 1e-3, 1e3

#: An output of fewer values, such as the one scale of each series in TimesFM, is nearly constant
#: by chance now and then.
FEW = 8


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
                f"forward. Give it as an input in harness/inputs/recipe.toml, or switch it off in "
                f"harness/models/shrink/overrides.toml",
                fault="reference: an output differs between two runs under different seeds",
            )


def without_values(outputs: Arrays) -> list[str]:
    """The floating outputs that hold no finite value."""
    return [n for n, a in outputs.items() if is_floating(a) and a.size and not np.isfinite(a).any()]


def sane(outputs: Arrays, exempt: Collection[str] = ()) -> None:
    """Outputs vary, and each that varies has a spread that an error can be relative to.

    An output whose values are all the same, or not finite in part, is judged by the comparison; at
    least one must vary, in numbers or in codes, and none may be without a finite value.

    Args:
        outputs: the reference's.
        exempt: patterns of the names of outputs that are right to be larger or smaller.

    Raises:
        CheckFailed: they don't.
    """
    if not outputs:
        raise CheckFailed("reference: the model returns no arrays")
    broken = without_values(outputs)
    if broken:
        raise CheckFailed(
            f"reference: {', '.join(broken)} has no finite value",
            fault="reference: an output has no finite value",
        )
    names = numerics.comparable(outputs)
    if not names:
        if any(not is_floating(a) and np.unique(a).size > 1 for a in outputs.values()):
            return
        shapes = ", ".join(f"{n}{list(a.shape)}" for n, a in outputs.items())
        fault = "reference: every output is constant or not finite"
        raise CheckFailed(f"{fault}: {shapes}", fault=fault)
    judged = [name for name in names if not any(fnmatch(name, pattern) for pattern in exempt)]
    spreads = {name: numerics.spread(outputs[name]) for name in judged}
    outside = {
        name: spread
        for name, spread in spreads.items()
        if spread > LARGEST or (spread < SMALLEST and outputs[name].size >= FEW)
    }
    if outside:
        found = ", ".join(f"{n} {s:.2g}" for n, s in outside.items())
        raise CheckFailed(
            f"reference: expected a standard deviation between {SMALLEST:g} and {LARGEST:g} of "
            f"every output, found {found}; calibrate it (harness/models/calibrate.py, "
            f"harness/models/weights.toml), or exempt it in harness/catalog/exemptions.toml, with "
            f"the reason",
            fault="reference: the standard deviation of an output is too small or too large",
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
