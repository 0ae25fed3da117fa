"""Running sums, which the provider lacks, as products with a triangle of ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._onnx.passes import Pass
from backends._onnx.passes._graph import const, constant, dims, is_float, rules, shape


class CumSumAsMatMul(RewriteRuleClassBase):
    """`CumSum(x, axis)` as `x @ triangle`, with the axis moved to the end and back."""

    def pattern(self, op: Any, x: Any, axis: Any) -> Any:
        """Any running sum."""
        return op.CumSum(x, axis, _outputs=["summed"])

    def check(self, context: Any, x: ir.Value, axis: ir.Value, **_: Any) -> bool:
        """A static shape, a known axis and element type."""
        return shape(x) is not None and constant(axis) is not None and x.dtype is not None

    def rewrite(self, op: Any, x: ir.Value, axis: ir.Value, summed: ir.Value) -> Any:
        """Transpose, MatMul, Transpose; integers go through float32."""
        sizes, along, node = shape(x), constant(axis), summed.producer()
        assert sizes is not None
        assert along is not None
        assert node is not None
        last = len(sizes) - 1
        place = int(along.ravel()[0]) % len(sizes)
        triangle = np.triu(np.ones((sizes[place],) * 2, np.float32))
        if node.attributes.get_int("exclusive", 0):
            triangle -= np.eye(sizes[place], dtype=np.float32)
        if node.attributes.get_int("reverse", 0):
            triangle = triangle.T
        order = [*(i for i in range(len(sizes)) if i != place), place]
        back = [order.index(i) for i in range(len(sizes))]
        value = x if is_float(x) else op.Cast(x, to=ir.DataType.FLOAT)
        value = value if place == last else op.Transpose(value, perm=order)
        # Products of more than four dimensions fall to the CPU.
        turned = [sizes[i] for i in order]
        value = op.Reshape(value, dims(op, -1, turned[-1]))
        value = op.Reshape(op.MatMul(value, const(op, triangle)), dims(op, *turned))
        value = value if place == last else op.Transpose(value, perm=back)
        return value if is_float(x) else op.Cast(value, to=x.dtype)


CUM_SUM = Pass(
    "cum-sum",
    "The provider has no CumSum: the graph is split there. (Counts stay exact in float16 up to "
    "2048.)",
    rules(CumSumAsMatMul),
)
