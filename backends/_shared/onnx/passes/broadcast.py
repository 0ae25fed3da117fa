"""Add and Mul with an operand that is broadcast over the batch: the operand is repeated."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import constant, initializer, integers, rules, shape


class _Operand(RewriteRuleClassBase):
    """A rule on `op(x, y)` of rank 3, where `y` is the same for every member of the batch."""

    op_type: ClassVar[str]
    swapped: ClassVar[bool]

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        """The operator, with `y` as its first operand where `swapped`."""
        return getattr(op, self.op_type)(*((y, x) if self.swapped else (x, y)))

    def check(self, context: Any, x: ir.Value, y: ir.Value) -> bool:
        """The batch has more than one member, and all other dimensions are equal."""
        whole, part = shape(x), shape(_expanded(y))
        if whole is None or part is None or len(whole) != 3 or whole[0] == 1:
            return False
        return part in ((1, *whole[1:]), whole[1:])

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value) -> Any:
        """The operator on a repeated constant, or on a Tile of any other operand."""
        whole, part = shape(x), _expanded(y)
        assert whole is not None
        known = constant(part)
        if known is not None:
            full = initializer(op, np.broadcast_to(known, whole))
        else:
            full = op.Tile(
                op.Reshape(part, integers(op, 1, *whole[1:])), integers(op, whole[0], 1, 1)
            )
        return getattr(op, self.op_type)(*((full, x) if self.swapped else (x, full)))


class AddSecond(_Operand):
    """`x + y`."""

    op_type, swapped = "Add", False


class AddFirst(_Operand):
    """`y + x`."""

    op_type, swapped = "Add", True


class MulSecond(_Operand):
    """`x * y`."""

    op_type, swapped = "Mul", False


class MulFirst(_Operand):
    """`y * x`."""

    op_type, swapped = "Mul", True


def _expanded(value: ir.Value) -> ir.Value:
    """A value before its Expand, which ONNX Runtime drops where the operator broadcasts."""
    node = value.producer()
    if node is not None and node.op_type == "Expand" and node.inputs[0] is not None:
        return node.inputs[0]
    return value


BROADCAST_BATCH = Pass(
    "broadcast-batch",
    "Silent: a sum or product with an operand that is broadcast over the batch (the positions of "
    "bert), followed by a layer norm or RMS norm, is wrong from the second member of the batch on "
    "(relative error 0.5); see docs/upstream/qnn_norms.md.",
    rules(AddSecond, AddFirst, MulSecond, MulFirst),
)
