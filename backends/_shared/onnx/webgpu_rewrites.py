"""The graph rewrites that ONNX Runtime's WebGPU provider needs, natively and in a browser."""

from __future__ import annotations

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes.arithmetic import ARITHMETIC
from backends._shared.onnx.passes.gather import GATHER_ND
from backends._shared.onnx.passes.masked_softmax import MASKED_SOFTMAX
from backends._shared.onnx.passes.narrow_types import MOVED, NARROW
from backends._shared.onnx.passes.truths import EQUAL_AND, LOGIC

PASSES: tuple[Pass, ...] = (
    GATHER_ND,
    MASKED_SOFTMAX,
    ARITHMETIC,
    LOGIC,
    MOVED,
    NARROW,
    EQUAL_AND,
)
