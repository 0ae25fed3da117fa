"""CumSum in the forms that the QNN provider takes."""

from __future__ import annotations

from math import prod
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
    shape,
)

#: The most dimensions of a CumSum on the HTP.
LARGEST_RANK = 4


class _CumSum(RewriteRuleClassBase):
    """A rule on CumSum of a static shape along a known axis."""

    def pattern(self, op: Any, x: Any, axis: Any) -> Any:
        """CumSum of any value."""
        return op.CumSum(x, axis, _outputs=["summed"])

    def check(self, context: Any, x: ir.Value, axis: ir.Value, **_: Any) -> bool:
        """The shape and the axis are known."""
        return shape(x) is not None and constant(axis) is not None


class CumSumInRankThree(_CumSum):
    """CumSum of float32 with the dimensions before its axis as one, and those after it as one."""

    def check(self, context: Any, x: ir.Value, axis: ir.Value, **_: Any) -> bool:
        """Float32 of too many dimensions."""
        sizes = shape(x)
        known = super().check(context, x, axis)
        return known and is_float(x) and sizes is not None and len(sizes) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, axis: ir.Value, summed: ir.Value) -> Any:
        """CumSum between two Reshapes."""
        sizes, along = shape(x), constant(axis)
        assert sizes is not None
        assert along is not None
        place = int(along.ravel()[0]) % len(sizes)
        flat = op.Reshape(
            x, integers(op, prod(sizes[:place]), sizes[place], prod(sizes[place + 1 :]))
        )
        attributes = node_of(summed).attributes
        value = op.CumSum(
            flat,
            initializer(op, np.array(1, np.int64)),
            exclusive=attributes.get_int("exclusive", 0),
            reverse=attributes.get_int("reverse", 0),
        )
        return op.Reshape(value, integers(op, *sizes))


class CumSumAsMatMul(_CumSum):
    """CumSum of integers as `x @ triangle`, with the axis moved to the end and back."""

    def check(self, context: Any, x: ir.Value, axis: ir.Value, **_: Any) -> bool:
        """A known dtype other than float32."""
        return super().check(context, x, axis) and x.dtype is not None and not is_float(x)

    def rewrite(self, op: Any, x: ir.Value, axis: ir.Value, summed: ir.Value) -> Any:
        """Cast, Transpose, MatMul, Transpose, Cast."""
        sizes, along = shape(x), constant(axis)
        assert sizes is not None
        assert along is not None
        last = len(sizes) - 1
        place = int(along.ravel()[0]) % len(sizes)
        triangle = np.triu(np.ones((sizes[place],) * 2, np.float32))
        attributes = node_of(summed).attributes
        if attributes.get_int("exclusive", 0):
            triangle -= np.eye(sizes[place], dtype=np.float32)
        if attributes.get_int("reverse", 0):
            triangle = triangle.T
        order = [*(i for i in range(len(sizes)) if i != place), place]
        back = [order.index(i) for i in range(len(sizes))]
        value = op.Cast(x, to=ir.DataType.FLOAT)
        value = value if place == last else op.Transpose(value, perm=order)
        value = op.MatMul(value, initializer(op, triangle))
        value = value if place == last else op.Transpose(value, perm=back)
        return op.Cast(value, to=x.dtype)


CUM_SUM = Pass(
    "cum-sum",
    "The provider takes no CumSum of integers (wav2vec2), and none of more than four dimensions "
    "(mamba2): the graph is split there. Counts stay exact in float16 up to 2048.",
    rules(CumSumInRankThree, CumSumAsMatMul),
)
