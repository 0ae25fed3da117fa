"""The graph rewrites that QNN needs, in their order."""

from __future__ import annotations

from backends._onnx.passes import Pass
from backends._onnx.passes.broadcast import BROADCAST_BATCH
from backends._onnx.passes.gather import GATHER_ND
from backends._onnx.passes.norm import RMS_NORM_RANK, WEIGHT_SECOND

PASSES: tuple[Pass, ...] = (GATHER_ND, BROADCAST_BATCH, RMS_NORM_RANK, WEIGHT_SECOND)
