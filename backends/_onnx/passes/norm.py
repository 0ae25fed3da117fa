"""RMS norms in the form that the provider fuses rightly."""

from __future__ import annotations

from math import prod
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._onnx.passes import Pass
from backends._onnx.passes._graph import constant, dims, rules, shape


class WeightSecond(RewriteRuleClassBase):
    """`Mul(weight, x)` as `Mul(x, weight)`."""

    def pattern(self, op: Any, weight: Any, x: Any) -> Any:
        """Any product."""
        return op.Mul(weight, x)

    def check(self, context: Any, weight: ir.Value, x: ir.Value) -> bool:
        """A constant vector comes first, and something computed second."""
        known = constant(weight)
        return known is not None and known.ndim >= 1 and known.size > 1 and constant(x) is None

    def rewrite(self, op: Any, weight: ir.Value, x: ir.Value) -> Any:
        """The other way round."""
        return op.Mul(x, weight)


#: Up to so many values under one norm, the fused operator is wrong from the second batch on.
NARROW = 32


class NormInOneBatch(RewriteRuleClassBase):
    """The norm of few values over the last axis, computed with all rows in one batch."""

    def pattern(self, op: Any, x: Any, two: Any, axes: Any, epsilon: Any) -> Any:
        """`x * reciprocal(sqrt(mean(x ** 2) + epsilon))`, as PyTorch's exporter writes it."""
        mean = op.ReduceMean(op.Pow(x, two), axes)
        return op.Mul(x, op.Reciprocal(op.Sqrt(op.Add(mean, epsilon))))

    def check(self, context: Any, x: ir.Value, axes: ir.Value, **_: Any) -> bool:
        """More than one batch, few values, the last axis."""
        known, of_x = constant(axes), shape(x)
        return (
            of_x is not None
            and len(of_x) >= 3
            and prod(of_x[:-2]) > 1
            and of_x[-1] <= NARROW
            and known is not None
            and known.ravel().tolist() in ([-1], [len(of_x) - 1])
        )

    def rewrite(self, op: Any, x: ir.Value, two: ir.Value, epsilon: ir.Value, **_: Any) -> Any:
        """The same between two Reshapes."""
        of_x = shape(x)
        assert of_x is not None
        flat = op.Reshape(x, dims(op, 1, prod(of_x[:-1]), of_x[-1]))
        mean = op.ReduceMean(op.Pow(flat, two), dims(op, -1), keepdims=1)
        scaled = op.Mul(flat, op.Reciprocal(op.Sqrt(op.Add(mean, epsilon))))
        return op.Reshape(scaled, dims(op, *of_x))


NARROW_NORM = Pass(
    "narrow-norm",
    "The provider fuses an RMS norm of at most 32 values (queries and keys, latents) into an "
    "operator that is wrong from the second batch on, in other ways each time.",
    rules(NormInOneBatch),
)

WEIGHT_SECOND = Pass(
    "weight-second",
    "With the weight as the first operand of its last product, the RMS norm that the provider "
    "fuses ends in `MEM_ALLOC 1002`.",
    rules(WeightSecond),
)
