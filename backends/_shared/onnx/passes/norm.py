"""RMS norms and group norms in the forms that the QNN provider computes rightly and fast."""

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
    node_of,
    rules,
    shape,
)


class WeightSecond(RewriteRuleClassBase):
    """`Mul(weight, x)`, the last product of an RMS norm, as `Mul(x, weight)`."""

    def pattern(self, op: Any, weight: Any, x: Any) -> Any:
        """Mul of any two values."""
        return op.Mul(weight, x)

    def check(self, context: Any, weight: ir.Value, x: ir.Value) -> bool:
        """The first operand is a constant vector, the second is computed."""
        known = constant(weight)
        return known is not None and known.ndim >= 1 and known.size > 1 and constant(x) is None

    def rewrite(self, op: Any, weight: ir.Value, x: ir.Value) -> Any:
        """Mul with the operands swapped."""
        return op.Mul(x, weight)


#: An RMS norm over at most so many values is wrong from the second batch on, once fused.
NARROW = 32


class NormInOneBatch(RewriteRuleClassBase):
    """An RMS norm over a short last axis, computed with all rows in one batch."""

    def pattern(self, op: Any, x: Any, two: Any, axes: Any, epsilon: Any) -> Any:
        """`x * reciprocal(sqrt(mean(x ** 2) + epsilon))`, as PyTorch's exporter writes it."""
        mean = op.ReduceMean(op.Pow(x, two), axes)
        return op.Mul(x, op.Reciprocal(op.Sqrt(op.Add(mean, epsilon))))

    def check(self, context: Any, x: ir.Value, axes: ir.Value, **_: Any) -> bool:
        """More than one batch of rows, and a norm over a short last axis."""
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
        """The norm between two Reshapes."""
        of_x = shape(x)
        assert of_x is not None
        flat = op.Reshape(x, integers(op, 1, prod(of_x[:-1]), of_x[-1]))
        mean = op.ReduceMean(op.Pow(flat, two), integers(op, -1), keepdims=1)
        scaled = op.Mul(flat, op.Reciprocal(op.Sqrt(op.Add(mean, epsilon))))
        return op.Reshape(scaled, integers(op, *of_x))


class GroupsAsRows(RewriteRuleClassBase):
    """InstanceNormalization of groups as LayerNormalization of rows."""

    def pattern(self, op: Any, x: Any, scale: Any, bias: Any) -> Any:
        """The form that exporters give a group norm: groups as channels, each flat, not scaled."""
        return op.InstanceNormalization(x, scale, bias, _outputs=["normed"])

    def check(self, context: Any, x: ir.Value, scale: ir.Value, bias: ir.Value, **_: Any) -> bool:
        """One axis is averaged over, and all channels share one known scale and bias."""
        sizes, known = shape(x), (constant(scale), constant(bias))
        alike = all(each is not None and len(np.unique(each)) == 1 for each in known)
        return sizes is not None and len(sizes) == 3 and alike

    def rewrite(
        self, op: Any, x: ir.Value, scale: ir.Value, bias: ir.Value, normed: ir.Value
    ) -> Any:
        """LayerNormalization over the last axis."""
        sizes, known = shape(x), (constant(scale), constant(bias))
        assert sizes is not None
        # Scale and bias have one value each, and are repeated to the length of a row.
        weights = [
            initializer(op, np.resize(each, sizes[-1])) for each in known if each is not None
        ]
        epsilon = node_of(normed).attributes.get_float("epsilon", 1e-5)
        return op.LayerNormalization(x, *weights, axis=-1, epsilon=epsilon)


NARROW_NORM = Pass(
    "narrow-norm",
    "Silent: the provider fuses an RMS norm over at most 32 values (queries and keys of qwen3) "
    "into an operator that is wrong from the second batch on, with other values in each run; see "
    "docs/upstream/qnn_norms.md.",
    rules(NormInOneBatch),
)

WEIGHT_SECOND = Pass(
    "weight-second",
    "An RMS norm whose last product has the weight as its first operand (llama) ends in "
    "`MEM_ALLOC 1002` once the provider has fused it.",
    rules(WeightSecond),
)

GROUPS_AS_ROWS = Pass(
    "groups-as-rows",
    "The HTP pads channels to 32, and those of the InstanceNormalization that stands for a group "
    "norm (vqgan) are its groups: the fewer groups, the longer the norm takes; see "
    "docs/upstream/qnn_instance_norm.md.",
    rules(GroupsAsRows),
)
