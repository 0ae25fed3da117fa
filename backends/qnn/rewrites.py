"""The graph rewrites that QNN needs, in their order."""

from __future__ import annotations

from backends._onnx.passes import Pass
from backends._onnx.passes.activation import EXACT_ACTIVATION, SOFTPLUS
from backends._onnx.passes.broadcast import BROADCAST_BATCH
from backends._onnx.passes.cumulative import CUM_SUM
from backends._onnx.passes.gather import GATHER_ND
from backends._onnx.passes.norm import RMS_NORM_RANK, WEIGHT_SECOND
from backends._onnx.passes.rank import LOW_RANK, RESHAPE_ONCE

PASSES: tuple[Pass, ...] = (
    GATHER_ND,
    CUM_SUM,
    LOW_RANK,
    RESHAPE_ONCE,
    BROADCAST_BATCH,
    RMS_NORM_RANK,
    WEIGHT_SECOND,
    SOFTPLUS,
    EXACT_ACTIVATION,
)
