"""The graph rewrites that QNN needs, in their order."""

from __future__ import annotations

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes.activation import EXACT_ACTIVATION, SOFTPLUS, TILED_ACTIVATION
from backends._shared.onnx.passes.arithmetic import INTEGER_NEG
from backends._shared.onnx.passes.broadcast import BROADCAST_BATCH
from backends._shared.onnx.passes.cumulative import CUM_SUM
from backends._shared.onnx.passes.einsum import EINSUM
from backends._shared.onnx.passes.gather import GATHER_ND
from backends._shared.onnx.passes.missing_operators import MISSING
from backends._shared.onnx.passes.norm import GROUPS_AS_ROWS, NARROW_NORM, WEIGHT_SECOND
from backends._shared.onnx.passes.pooling import AVERAGE_OF_ALL, PADDED_AVERAGE
from backends._shared.onnx.passes.quantised import DIVIDED_NORM, FINITE_MASK
from backends._shared.onnx.passes.rank import FLAT_MATMUL, LOW_RANK, RESHAPE_ONCE
from backends._shared.onnx.passes.scatter import KNOWN_PLACES

PASSES: tuple[Pass, ...] = (
    GATHER_ND,
    KNOWN_PLACES,
    CUM_SUM,
    EINSUM,
    MISSING,
    INTEGER_NEG,
    LOW_RANK,
    FLAT_MATMUL,
    RESHAPE_ONCE,
    BROADCAST_BATCH,
    NARROW_NORM,
    WEIGHT_SECOND,
    GROUPS_AS_ROWS,
    AVERAGE_OF_ALL,
    PADDED_AVERAGE,
    SOFTPLUS,
    TILED_ACTIVATION,
    EXACT_ACTIVATION,
)

#: Those that a graph needs before it is quantised, after the others.
BEFORE_QUANTISING: tuple[Pass, ...] = (FINITE_MASK, DIVIDED_NORM)
