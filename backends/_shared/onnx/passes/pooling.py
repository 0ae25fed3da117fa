"""AveragePool with padding, and over a whole image."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import initializer, integers, node_of, rules, shape
from harness.contract import Array


class PaddedAverage(RewriteRuleClassBase):
    """AveragePool without its padding as one with it, times the share that padding took."""

    def pattern(self, op: Any, x: Any) -> Any:
        """AveragePool of any value."""
        return op.AveragePool(x, _outputs=["pooled"])

    def check(self, context: Any, x: ir.Value, pooled: ir.Value) -> bool:
        """A static shape, and explicit padding that is not counted."""
        attributes = node_of(pooled).attributes
        counted = attributes.get_int("count_include_pad", 0) or attributes.get_int("ceil_mode", 0)
        plain = attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        pads = any(attributes.get_ints("pads", ()))
        dilated = set(attributes.get_ints("dilations", ())) - {1}
        return plain and pads and not counted and not dilated and shape(x) is not None

    def rewrite(self, op: Any, x: ir.Value, pooled: ir.Value) -> Any:
        """AveragePool with the padding counted, then Mul."""
        attributes, sizes = node_of(pooled).attributes, shape(x)
        assert sizes is not None
        kernel = list(attributes.get_ints("kernel_shape", ()))
        pads = list(attributes.get_ints("pads", ()))
        strides = list(attributes.get_ints("strides", [1] * len(kernel)))
        found = op.AveragePool(
            x, kernel_shape=kernel, pads=pads, strides=strides, count_include_pad=1
        )
        return op.Mul(found, initializer(op, _shares(sizes[2:], kernel, pads, strides)))


class AverageOfAll(RewriteRuleClassBase):
    """AveragePool over a whole image as ReduceMean."""

    def pattern(self, op: Any, x: Any) -> Any:
        """AveragePool of any value."""
        return op.AveragePool(x, _outputs=["pooled"])

    def check(self, context: Any, x: ir.Value, pooled: ir.Value) -> bool:
        """One window that holds the image, and no padding."""
        attributes, sizes, result = node_of(pooled).attributes, shape(x), shape(pooled)
        if sizes is None or result is None or any(attributes.get_ints("pads", ())):
            return False
        window = attributes.get_ints("kernel_shape", ())
        holds = all(wide >= size for wide, size in zip(window, sizes[2:], strict=True))
        return holds and set(result[2:]) == {1}

    def rewrite(self, op: Any, x: ir.Value, **_: Any) -> Any:
        """ReduceMean over the image's axes."""
        return op.ReduceMean(x, integers(op, *range(2, len(shape(x) or ()))), keepdims=1)


def _shares(
    sizes: tuple[int, ...], kernel: list[int], pads: list[int], strides: list[int]
) -> Array:
    """The kernel's size by the number of real elements under it, at each place: float32."""
    found = np.ones((1, 1), np.float32)
    for axis, size in enumerate(sizes):
        before, after = pads[axis], pads[axis + len(sizes)]
        real = np.pad(np.ones(size), (before, after))
        starts = range(0, len(real) - kernel[axis] + 1, strides[axis])
        share = np.array([kernel[axis] / real[i : i + kernel[axis]].sum() for i in starts])
        found = (found[..., None] * share.astype(np.float32)).astype(np.float32)
    return found


AVERAGE_OF_ALL = Pass(
    "average-of-all",
    "ONNX Runtime moves an AveragePool over a whole small image to another layout for the HTP, "
    "which then refuses it.",
    rules(AverageOfAll),
)

PADDED_AVERAGE = Pass(
    "padded-average",
    "Silent: an AveragePool that does not count its padding (poolformer) is wrong on images of 12 "
    "by 12 pixels and more; see docs/upstream/qnn_average_pool.md.",
    rules(PaddedAverage),
)
