"""Model of a simple script: the library's own random weights, and the noise floor that they have.

The weights of a cell are made for judging: wide enough that each one counts. Where a failure shows
on those that the library draws itself, a script needs no line for weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.contract import Unsupported
from harness.toolkit import numerics

if TYPE_CHECKING:
    from harness.models.case import TinyCase

#: How many times its limit a simple script's error is at least: its weights have no negative
#: control, so that an error near the limit may be noise.
MARGIN = 10.0


def noise_floor(model: Any, case: TinyCase) -> float:
    """The relative error of plain float32 with a model's weights, on the plain inputs.

    Args:
        model: a torch module, as a script makes it.
        case: of the same architecture, with the cell's weights.

    Raises:
        Unsupported: the model does not run so, or its outputs are no numbers to compare.
    """
    eager, given = case.with_weights(model), case.inputs("base")
    try:
        right, found = (eager.outputs(given, dtype, 0) for dtype in ("float64", "float32"))
    except Exception as error:  # whatever modeling code says
        raise Unsupported(f"no float64 with the library's weights: {error}") from error
    noise = numerics.difference(found, right)
    if noise.faults or not numerics.comparable(right) or noise.error > numerics.LARGEST_FLOOR:
        raise Unsupported("outputs with the library's weights are no numbers to compare")
    return numerics.floor_of(noise.error, "float32")
