"""Activations that the HTP computes from coarse tables, in exact forms."""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._onnx.passes import Pass
from backends._onnx.passes._graph import const, dims, is_float, rules, shape

#: Just inside float16's range, so that clipping changes nothing that is finite.
LARGEST = 6e4

#: What the HTP computes at once: so many rows, of so many values.
TILE = (8, 32)

#: With fewer values an activation takes no longer than the reshapes.
SMALLEST = 2048


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


class _Tiled(RewriteRuleClassBase):
    """An activation of at most three dimensions, as one of whole tiles with the same values."""

    op_type: ClassVar[str]

    def pattern(self, op: Any, x: Any) -> Any:
        """The activation."""
        return getattr(op, self.op_type)(x, _outputs=["active"])

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """No image, whose layout is another, and whole tiles alone."""
        sizes = shape(x)
        if sizes is None or not is_float(x) or len(sizes) > 3:
            return False
        return prod(sizes) >= SMALLEST and prod(sizes) % prod(TILE) == 0

    def rewrite(self, op: Any, x: ir.Value, active: ir.Value) -> Any:
        """The activation with its own attributes, between reshapes."""
        sizes, node = shape(x), active.producer()
        assert sizes is not None
        assert node is not None
        rows, depth = TILE
        tiles = op.Reshape(x, dims(op, 1, rows, prod(sizes) // prod(TILE), depth))
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        return op.Reshape(getattr(op, self.op_type)(tiles, **attributes), dims(op, *sizes))


class TiledTanh(_Tiled):
    """Hyperbolic tangent."""

    op_type = "Tanh"


class TiledSigmoid(_Tiled):
    """Logistic function, also within SiLU."""

    op_type = "Sigmoid"


class TiledGelu(_Tiled):
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

TILED_ACTIVATION = Pass(
    "tiled-activation",
    "The HTP pads rows to 8 and their length to 32. Sequences are no such rows: the emulator takes "
    "two to three times as long for their activations as for those of the same values in tiles.",
    rules(TiledTanh, TiledSigmoid, TiledGelu),
)

SOFTPLUS = Pass(
    "softplus",
    "The HTP's Softplus has a relative error of 9e-3; written out it has 4e-4.",
    rules(StableSoftplus),
)
