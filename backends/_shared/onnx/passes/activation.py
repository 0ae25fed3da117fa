"""Tanh, Sigmoid, Gelu and Softplus in forms that the HTP computes exactly and fast."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import (
    initializer,
    integers,
    is_float,
    node_of,
    rules,
    shape,
)

#: The limit of a Clip that changes no finite value of float16, whose range ends at 65504.
LARGEST = 6e4

#: The HTP's tile: so many rows, of so many values.
TILE = (8, 32)

#: An activation of fewer values takes no longer than the reshapes around it.
SMALLEST = 2048

#: The activations that the HTP's compiler fuses and pads.
ACTIVATIONS = ("Tanh", "Sigmoid", "Gelu")


class _Activation(RewriteRuleClassBase):
    """A rewrite rule on one of `ACTIVATIONS`."""

    op_type: ClassVar[str]

    def pattern(self, op: Any, x: Any) -> Any:
        """The activation of any value."""
        return getattr(op, self.op_type)(x, _outputs=["active"])

    def again(self, op: Any, x: Any, active: ir.Value) -> Any:
        """The same activation, attributes included, of another value."""
        attributes = node_of(active).attributes.items()
        return getattr(op, self.op_type)(x, **{name: given.value for name, given in attributes})


class _Clipped(_Activation):
    """An activation behind a Clip, which keeps the compiler from fusing it with a product."""

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """The value is float32 and not clipped yet."""
        node = x.producer()
        return is_float(x) and node is not None and node.op_type != "Clip"

    def rewrite(self, op: Any, x: ir.Value, active: ir.Value) -> Any:
        """Clip, then the activation."""
        limit = np.array(LARGEST, dtype=np.float32)
        return self.again(op, op.Clip(x, initializer(op, -limit), initializer(op, limit)), active)


class _Tiled(_Activation):
    """An activation of at most three dimensions, as one of the same values in whole tiles."""

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """Enough float32 values to fill whole tiles, and no image, whose layout is another."""
        sizes = shape(x)
        if sizes is None or not is_float(x) or len(sizes) > 3:
            return False
        return prod(sizes) >= SMALLEST and prod(sizes) % prod(TILE) == 0

    def rewrite(self, op: Any, x: ir.Value, active: ir.Value) -> Any:
        """The activation between two Reshapes."""
        sizes = shape(x)
        assert sizes is not None
        rows, depth = TILE
        tiles = op.Reshape(x, integers(op, 1, rows, prod(sizes) // prod(TILE), depth))
        return op.Reshape(self.again(op, tiles, active), integers(op, *sizes))


def _of_each(rule: type[_Activation]) -> list[type[_Activation]]:
    """A rule's subclass for each of `ACTIVATIONS`."""
    return [type(f"{rule.__name__}{name}", (rule,), {"op_type": name}) for name in ACTIVATIONS]


class StableSoftplus(RewriteRuleClassBase):
    """`log(1 + exp(x))` as `max(x, 0) + log(1 + exp(-|x|))`, which cannot overflow."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Softplus of any value."""
        return op.Softplus(x)

    def check(self, context: Any, x: ir.Value) -> bool:
        """The value is float32."""
        return is_float(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Relu plus Log of Exp."""
        one = initializer(op, np.array(1, dtype=np.float32))
        return op.Add(op.Relu(x), op.Log(op.Add(op.Exp(op.Neg(op.Abs(x))), one)))


EXACT_ACTIVATION = Pass(
    "exact-activation",
    "Fused behind a product, Tanh, Sigmoid and Gelu come from a coarse table: relative error 7e-3, "
    "4e-3 and 3e-3 (bert, gpt2), where each alone has less than 6e-4. A Clip between the product "
    "and the activation keeps them apart.",
    rules(*_of_each(_Clipped)),
)

TILED_ACTIVATION = Pass(
    "tiled-activation",
    "The HTP pads rows to 8 and their length to 32. The activations of sequences (llama, vit) take "
    "the emulator two to three times as long as the same values in whole tiles; see "
    "docs/upstream/qnn_activation_shape.md.",
    rules(*_of_each(_Tiled)),
)

SOFTPLUS = Pass(
    "softplus",
    "The HTP's Softplus (mamba) has a relative error of 9e-3; written out it has 4e-4.",
    rules(StableSoftplus),
)
