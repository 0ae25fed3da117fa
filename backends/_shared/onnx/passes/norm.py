"""Norms in the form that the provider computes rightly, and without work on padding."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import const, constant, dims, node_of, rules, shape


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


class GroupsAsRows(RewriteRuleClassBase):
    """An InstanceNormalization of groups, as a LayerNormalization of rows."""

    def pattern(self, op: Any, x: Any, scale: Any, bias: Any) -> Any:
        """What exporters make of a group norm: its groups are channels, flat, and not scaled."""
        return op.InstanceNormalization(x, scale, bias, _outputs=["normed"])

    def check(self, context: Any, x: ir.Value, scale: ir.Value, bias: ir.Value, **_: Any) -> bool:
        """One axis is averaged over, and all channels have the same scale and bias."""
        sizes, known = shape(x), (constant(scale), constant(bias))
        alike = all(each is not None and len(np.unique(each)) == 1 for each in known)
        return sizes is not None and len(sizes) == 3 and alike

    def rewrite(
        self, op: Any, x: ir.Value, scale: ir.Value, bias: ir.Value, normed: ir.Value
    ) -> Any:
        """LayerNormalization."""
        sizes, known = shape(x), (constant(scale), constant(bias))
        assert sizes is not None
        # Of one value each: repeated, they are as long as a row.
        weights = [const(op, np.resize(each, sizes[-1])) for each in known if each is not None]
        epsilon = node_of(normed).attributes.get_float("epsilon", 1e-5)
        return op.LayerNormalization(x, *weights, axis=-1, epsilon=epsilon)


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

GROUPS_AS_ROWS = Pass(
    "groups-as-rows",
    "The HTP pads channels to 32, and those of the InstanceNormalization that stands for a group "
    "norm are its groups: the fewer, the longer it takes; see docs/upstream/qnn_instance_norm.md.",
    rules(GroupsAsRows),
)
