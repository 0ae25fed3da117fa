"""The guard against rows of attention that a mask hides whole, without IsNaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import (
    constant,
    initializer,
    integers,
    is_float,
    node_of,
    rules,
)


class HiddenRowsByTheirMaximum(RewriteRuleClassBase):
    """Where(IsNaN(Softmax(x)), 0, Softmax(x)), with hidden rows told by the maximum of x.

    A softmax is NaN where all of a row is -inf, or where one value is NaN or +inf. The first and
    the second have no maximum above the least finite number; the third is no value of a masked
    score.
    """

    def pattern(self, op: Any, x: Any, zero: Any) -> Any:
        """The guard that PyTorch's exporter writes for attention with a mask."""
        chances = op.Softmax(x, _outputs=["chances"])
        return op.Where(op.IsNaN(chances), zero, chances)

    def check(self, context: Any, x: ir.Value, zero: ir.Value, chances: ir.Value) -> bool:
        """Float32 scores, and zeros in the place of NaN."""
        put = constant(zero)
        return is_float(x) and put is not None and not put.any()

    def rewrite(self, op: Any, x: ir.Value, zero: ir.Value, chances: ir.Value) -> Any:
        """The largest score of each row decides."""
        axis = node_of(chances).attributes.get_int("axis", -1)
        largest = op.ReduceMax(x, integers(op, axis), keepdims=1)
        least = initializer(op, np.array(np.finfo(np.float32).min))
        return op.Where(op.Greater(largest, least), op.Softmax(x, axis=axis), zero)


MASKED_SOFTMAX = Pass(
    "masked-softmax",
    "WebGPU's provider has no IsNaN, with which attention with a mask (bert) is guarded, and a "
    "shader may assume that there is no NaN.",
    rules(HiddenRowsByTheirMaximum),
)
