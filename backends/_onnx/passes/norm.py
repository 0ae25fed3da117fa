"""RMS norms in the form that the provider fuses rightly."""

from __future__ import annotations

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


class NormInRankThree(RewriteRuleClassBase):
    """The norm of a tensor of rank 4 over its last axis, computed in rank 3."""

    def pattern(self, op: Any, x: Any, two: Any, axes: Any, epsilon: Any) -> Any:
        """`x * reciprocal(sqrt(mean(x ** 2) + epsilon))`, as PyTorch's exporter writes it."""
        mean = op.ReduceMean(op.Pow(x, two), axes)
        return op.Mul(x, op.Reciprocal(op.Sqrt(op.Add(mean, epsilon))))

    def check(self, context: Any, x: ir.Value, axes: ir.Value, **_: Any) -> bool:
        """Rank 4 and the last axis."""
        known, of_x = constant(axes), shape(x)
        return (
            of_x is not None
            and len(of_x) == 4
            and known is not None
            and known.ravel().tolist() in ([-1], [3])
        )

    def rewrite(self, op: Any, x: ir.Value, two: ir.Value, epsilon: ir.Value, **_: Any) -> Any:
        """The same between two Reshapes."""
        of_x = shape(x)
        assert of_x is not None
        flat = op.Reshape(x, dims(op, of_x[0] * of_x[1], of_x[2], of_x[3]))
        mean = op.ReduceMean(op.Pow(flat, two), dims(op, -1), keepdims=1)
        scaled = op.Mul(flat, op.Reciprocal(op.Sqrt(op.Add(mean, epsilon))))
        return op.Reshape(scaled, dims(op, *of_x))


RMS_NORM_RANK = Pass(
    "rms-norm-rank",
    "The provider fuses an RMS norm of rank 4 (the norm of queries and keys) into an operator that "
    "gives wrong values, other ones each time.",
    rules(NormInRankThree),
)

WEIGHT_SECOND = Pass(
    "weight-second",
    "With the weight as the first operand of its last product, the RMS norm that the provider "
    "fuses ends in `MEM_ALLOC 1002`.",
    rules(WeightSecond),
)
