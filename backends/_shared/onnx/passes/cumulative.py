"""Running sums in the forms that the provider takes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import (
    const,
    constant,
    dims,
    is_float,
    node_of,
    rules,
    shape,
)

#: Dimensions that a running sum on the HTP may have.
LARGEST_RANK = 4


class _CumSum(RewriteRuleClassBase):
    """Any running sum of a static shape over a known axis."""

    def pattern(self, op: Any, x: Any, axis: Any) -> Any:
        """The operator."""
        return op.CumSum(x, axis, _outputs=["summed"])

    def check(self, context: Any, x: ir.Value, axis: ir.Value, **_: Any) -> bool:
        """What both rewrites ask."""
        return shape(x) is not None and constant(axis) is not None


class CumSumInRankThree(_CumSum):
    """In floating point: what comes before the axis is one dimension, and what comes after it."""

    def check(self, context: Any, x: ir.Value, axis: ir.Value, **_: Any) -> bool:
        """Too many dimensions."""
        sizes = shape(x)
        known = super().check(context, x, axis)
        return known and is_float(x) and sizes is not None and len(sizes) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, axis: ir.Value, summed: ir.Value) -> Any:
        """The same between two Reshapes."""
        sizes, along = shape(x), constant(axis)
        assert sizes is not None
        assert along is not None
        place = int(along.ravel()[0]) % len(sizes)
        flat = op.Reshape(x, dims(op, prod(sizes[:place]), sizes[place], prod(sizes[place + 1 :])))
        attributes = node_of(summed).attributes
        value = op.CumSum(
            flat,
            const(op, np.array(1, np.int64)),
            exclusive=attributes.get_int("exclusive", 0),
            reverse=attributes.get_int("reverse", 0),
        )
        return op.Reshape(value, dims(op, *sizes))


class CumSumAsMatMul(_CumSum):
    """Of integers: `x @ triangle`, with the axis moved to the end and back."""

    def check(self, context: Any, x: ir.Value, axis: ir.Value, **_: Any) -> bool:
        """A known type."""
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
        value = op.MatMul(value, const(op, triangle))
        value = value if place == last else op.Transpose(value, perm=back)
        return op.Cast(value, to=x.dtype)


CUM_SUM = Pass(
    "cum-sum",
    "The provider takes no running sums of integers, and none of more than four dimensions: the "
    "graph is split there. (Counts stay exact in float16 up to 2048.)",
    rules(CumSumInRankThree, CumSumAsMatMul),
)
