"""Half precision of the modeling code itself: eager execution against data moved by one rounding.

In a noise floor, what the modeling code loses by a mistake of its own looks like noise: positions
that depend on the dtype, a sum in 16 bits of what grows with a text. By backward error analysis
rounding is no worse than data that moved a little (`harness.models.moved_values`), so that a much
larger error is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.contract import Arrays, Case, LibraryFault
from harness.toolkit import numerics

#: The dtype that every session on the library's own eager execution looks at.
DTYPE = "bfloat16"

#: The name of the check in `harness/catalog/exemptions.toml`.
NAME = "half-precision"


def check(case: Case, inputs: Mapping[str, Arrays], wanted: Mapping[str, Arrays]) -> None:
    """Hold eager execution in bfloat16 to the error of data that moved by one rounding.

    Rounding flips a choice, such as of an expert, on one input or the other; a mistake shows on
    all of them.

    Args:
        case: whose modeling code is meant.
        inputs: examples by name, the plain one first.
        wanted: the reference's outputs on them.

    Raises:
        LibraryFault: on each of the inputs the error is more than `LIMIT` times as large.
    """
    said = ""
    for name, given in inputs.items():
        try:
            half = case.reference(given, DTYPE)
        except Exception:  # it refuses the dtype: operands of two dtypes, for instance
            return
        found = numerics.difference(half, wanted[name])
        least = numerics.SMALLEST_FLOOR[DTYPE]
        if found.faults or found.error <= numerics.LIMIT * least:
            return
        floor = max(least, numerics.difference(case.jittered(given, DTYPE), wanted[name]).error)
        if found.error <= numerics.LIMIT * floor:
            return
        said = said or (
            f"{NAME}: {found.output}: in {DTYPE} the modeling code is off by {found.error:.2g}, "
            f"expected at most {numerics.LIMIT * floor:.2g}: {numerics.LIMIT:g} x the error of "
            f"weights, constants and inputs that moved by one rounding"
        )
    if said:
        fault = "in bfloat16 the modeling code is off by more than rounding explains"
        raise LibraryFault(said, fault=f"{NAME}: {fault}")
