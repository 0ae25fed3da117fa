"""Logic of truth values by the operators that WebGPU's provider has and computes right."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import integers, rules, shape


class OrThroughAnd(RewriteRuleClassBase):
    """Or by De Morgan's law: not (not x and not y)."""

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        """Or of any two values."""
        return op.Or(x, y)

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value) -> Any:
        """Not, And, Not."""
        return op.Not(op.And(op.Not(x), op.Not(y)))


class XorAsUnequal(RewriteRuleClassBase):
    """Xor as the inequality of both numbers."""

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        """Xor of any two values."""
        return op.Xor(x, y)

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value) -> Any:
        """Equal of Casts, and Not."""
        number = ir.DataType.INT32
        return op.Not(op.Equal(op.Cast(x, to=number), op.Cast(y, to=number)))


LOGIC = Pass("logic", "WebGPU's provider has no Or and no Xor.", rules(OrThroughAnd, XorAsUnequal))


class AndOfEqualShapes(RewriteRuleClassBase):
    """And with both operands expanded to the shape of the result."""

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        """And of any two values."""
        return op.And(x, y)

    def check(self, context: Any, x: ir.Value, y: ir.Value) -> bool:
        """Static shapes that differ."""
        return shape(x) is not None and shape(y) is not None and shape(x) != shape(y)

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value) -> Any:
        """Expand where a shape is not the result's own."""
        of_x, of_y = shape(x), shape(y)
        assert of_x is not None
        assert of_y is not None
        wide = np.broadcast_shapes(of_x, of_y)
        return op.And(
            x if of_x == wide else op.Expand(x, integers(op, *wide)),
            y if of_y == wide else op.Expand(y, integers(op, *wide)),
        )


EQUAL_AND = Pass(
    "equal-and",
    "WebGPU's provider takes a compiled And again for another broadcast of the same ranks, and is "
    "silently wrong: gpt2 behind bert in one process.",
    rules(AndOfEqualShapes),
)
