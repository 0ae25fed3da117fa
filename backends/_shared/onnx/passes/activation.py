"""Activations that the HTP computes from coarse tables, or slowly, in forms without that."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import const, dims, is_float, node_of, rules, shape

#: Just inside float16's range, so that clipping changes nothing that is finite.
LARGEST = 6e4

#: What the HTP computes at once: so many rows, of so many values.
TILE = (8, 32)

#: With fewer values an activation takes no longer than the reshapes.
SMALLEST = 2048

#: Those that the compiler fuses and pads.
ACTIVATIONS = ("Tanh", "Sigmoid", "Gelu")


class _Activation(RewriteRuleClassBase):
    """A rule on one of `ACTIVATIONS`."""

    op_type: ClassVar[str]

    def pattern(self, op: Any, x: Any) -> Any:
        """The activation."""
        return getattr(op, self.op_type)(x, _outputs=["active"])

    def again(self, op: Any, x: Any, active: ir.Value) -> Any:
        """The activation of another value, with its own attributes."""
        attributes = node_of(active).attributes.items()
        return getattr(op, self.op_type)(x, **{name: given.value for name, given in attributes})


class _Clipped(_Activation):
    """An activation of a clipped value, which the compiler cannot fuse with what comes before."""

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """Not clipped yet, and computed in floating point."""
        node = x.producer()
        return is_float(x) and node is not None and node.op_type != "Clip"

    def rewrite(self, op: Any, x: ir.Value, active: ir.Value) -> Any:
        """Clip, then the activation."""
        limit = np.array(LARGEST, dtype=np.float32)
        return self.again(op, op.Clip(x, const(op, -limit), const(op, limit)), active)


class _Tiled(_Activation):
    """An activation of at most three dimensions, as one of whole tiles with the same values."""

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """No image, whose layout is another, and whole tiles alone."""
        sizes = shape(x)
        if sizes is None or not is_float(x) or len(sizes) > 3:
            return False
        return prod(sizes) >= SMALLEST and prod(sizes) % prod(TILE) == 0

    def rewrite(self, op: Any, x: ir.Value, active: ir.Value) -> Any:
        """The activation, between reshapes."""
        sizes = shape(x)
        assert sizes is not None
        rows, depth = TILE
        tiles = op.Reshape(x, dims(op, 1, rows, prod(sizes) // prod(TILE), depth))
        return op.Reshape(self.again(op, tiles, active), dims(op, *sizes))


def _of_each(rule: type[_Activation]) -> list[type[_Activation]]:
    """The rule on each of the activations."""
    return [type(f"{rule.__name__}{name}", (rule,), {"op_type": name}) for name in ACTIVATIONS]


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
    rules(*_of_each(_Clipped)),
)

TILED_ACTIVATION = Pass(
    "tiled-activation",
    "The HTP pads rows to 8 and their length to 32. Sequences are no such rows: the emulator takes "
    "two to three times as long for their activations as for those of the same values in tiles.",
    rules(*_of_each(_Tiled)),
)

SOFTPLUS = Pass(
    "softplus",
    "The HTP's Softplus has a relative error of 9e-3; written out it has 4e-4.",
    rules(StableSoftplus),
)
