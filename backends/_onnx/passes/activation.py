"""Activations that the HTP computes from coarse tables, in exact forms."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._onnx.passes import Pass
from backends._onnx.passes._graph import const, is_float, rules

#: Just inside float16's range, so that clipping changes nothing that is finite.
LARGEST = 6e4


class _Clipped(RewriteRuleClassBase):
    """An activation of a clipped value, which the compiler cannot fuse with what comes before."""

    op_type: ClassVar[str]

    def pattern(self, op: Any, x: Any) -> Any:
        """The activation."""
        return getattr(op, self.op_type)(x, _outputs=["active"])

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """Not clipped yet, and computed in floating point."""
        node = x.producer()
        return is_float(x) and node is not None and node.op_type != "Clip"

    def rewrite(self, op: Any, x: ir.Value, active: ir.Value) -> Any:
        """Clip, then the activation with its own attributes."""
        limit = np.array(LARGEST, dtype=np.float32)
        node = active.producer()
        assert node is not None
        clipped = op.Clip(x, const(op, -limit), const(op, limit))
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        return getattr(op, self.op_type)(clipped, **attributes)


class ClippedTanh(_Clipped):
    """Hyperbolic tangent."""

    op_type = "Tanh"


class ClippedSigmoid(_Clipped):
    """Logistic function, also within SiLU."""

    op_type = "Sigmoid"


class ClippedGelu(_Clipped):
    """Gaussian error linear unit."""

    op_type = "Gelu"


class StableSoftplus(RewriteRuleClassBase):
    """`log(1 + exp(x))` as `max(x, 0) + log(1 + exp(-|x|))`, which cannot overflow."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Any Softplus."""
        return op.Softplus(x)

    def check(self, context: Any, x: ir.Value) -> bool:
        """In floating point."""
        return is_float(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """The sum."""
        one = const(op, np.array(1, dtype=np.float32))
        return op.Add(op.Relu(x), op.Log(op.Add(op.Exp(op.Neg(op.Abs(x))), one)))


EXACT_ACTIVATION = Pass(
    "exact-activation",
    "Fused behind a product, Tanh, Sigmoid and Gelu come from a coarse table: relative error 7e-3, "
    "4e-3 and 3e-3, where each alone has less than 6e-4. A Clip between them keeps them apart.",
    rules(ClippedTanh, ClippedSigmoid, ClippedGelu),
)

SOFTPLUS = Pass(
    "softplus",
    "The HTP's Softplus has a relative error of 9e-3; written out it has 4e-4.",
    rules(StableSoftplus),
)
