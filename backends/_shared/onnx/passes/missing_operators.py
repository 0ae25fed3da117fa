"""Operators that the QNN provider lacks, written with those that it has."""

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
    is_float,
    node_of,
    rules,
    shape,
)
from harness.contract import Array


class TriluAsChoice(RewriteRuleClassBase):
    """Trilu as a choice by a constant mask."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Trilu with or without a diagonal."""
        return op.Trilu(x, _allow_other_inputs=True, _outputs=["triangle"])

    def check(self, context: Any, x: ir.Value, triangle: ir.Value) -> bool:
        """A static shape, a known dtype and a known diagonal."""
        return shape(x) is not None and x.dtype is not None and _diagonal(triangle) is not None

    def rewrite(self, op: Any, x: ir.Value, triangle: ir.Value) -> Any:
        """Where; And for truth values."""
        sizes, diagonal = shape(x), _diagonal(triangle)
        assert sizes is not None
        assert diagonal is not None
        assert x.dtype is not None
        upper = node_of(triangle).attributes.get_int("upper", 1)
        rows, columns = sizes[-2:]
        lower = np.tri(rows, columns, diagonal - 1 if upper else diagonal, dtype=bool)
        mask = initializer(op, ~lower if upper else lower)
        if x.dtype == ir.DataType.BOOL:
            return op.And(x, mask)
        return op.Where(mask, x, initializer(op, np.zeros((), x.dtype.numpy())))


def _diagonal(triangle: ir.Value) -> int | None:
    inputs = node_of(triangle).inputs
    if len(inputs) < 2 or inputs[1] is None:
        return 0
    known = constant(inputs[1])
    return None if known is None else int(known.ravel()[0])


class DftAsMatMul(RewriteRuleClassBase):
    """DFT (fnet's, say) as a product with its matrix."""

    def pattern(self, op: Any, x: Any) -> Any:
        """DFT with or without a length and an axis."""
        return op.DFT(x, _allow_other_inputs=True, _outputs=["spectrum"])

    def check(self, context: Any, x: ir.Value, spectrum: ir.Value) -> bool:
        """Float32 of static shapes, transformed at the axis's own length."""
        of_x, of_spectrum = shape(x), shape(spectrum)
        length, axis = (_optional(spectrum, 1), _optional(spectrum, 2))
        if of_x is None or of_spectrum is None or not is_float(x):
            return False
        along = -2 if axis is None else int(axis.ravel()[0])
        return length is None or int(length.ravel()[0]) == of_x[along]

    def rewrite(self, op: Any, x: ir.Value, spectrum: ir.Value) -> Any:
        """MatMul over the axis and the parts of its numbers, which are moved beside each other."""
        sizes, node, axis = shape(x), node_of(spectrum), _optional(spectrum, 2)
        assert sizes is not None
        place = (-2 if axis is None else int(axis.ravel()[0])) % len(sizes)
        inverse = bool(node.attributes.get_int("inverse", 0))
        onesided = bool(node.attributes.get_int("onesided", 0))
        matrix = dft_matrix(sizes[place], sizes[-1], inverse=inverse, onesided=onesided)
        last = len(sizes) - 1
        order = [*(i for i in range(last) if i != place), place, last]
        back = [order.index(i) for i in range(len(sizes))]
        outer = [sizes[i] for i in order[:-2]]
        value = x if order == sorted(order) else op.Transpose(x, perm=order)
        value = op.Reshape(value, integers(op, prod(outer), matrix.shape[0]))
        value = op.MatMul(value, initializer(op, matrix))
        value = op.Reshape(value, integers(op, *outer, matrix.shape[1] // 2, 2))
        return value if order == sorted(order) else op.Transpose(value, perm=back)


def dft_matrix(size: int, parts: int, *, inverse: bool, onesided: bool) -> Array:
    """The matrix of a discrete Fourier transform of numbers given as (real, imaginary) parts.

    Value n adds exp(-2i pi k n / size) of itself to frequency k; an inverse has the opposite sign
    and divides by the size (ONNX's operator DFT).

    Args:
        size: the number of values.
        parts: 1 for real values, 2 for complex ones.
        inverse: whether the transform leads back from frequencies to values.
        onesided: whether only the first `size // 2 + 1` frequencies are computed.

    Returns:
        float32 of shape (size * parts, frequencies * 2).
    """
    frequencies = size // 2 + 1 if onesided else size
    turns = np.outer(np.arange(size), np.arange(frequencies)) / size
    wave = np.exp((2j if inverse else -2j) * np.pi * turns) / (size if inverse else 1)
    of_real = np.stack([wave.real, wave.imag], -1)
    of_imaginary = np.stack([-wave.imag, wave.real], -1)
    matrix = np.stack([of_real, of_imaginary][:parts], 1)
    return np.ascontiguousarray(matrix.reshape(size * parts, frequencies * 2), np.float32)


def _optional(value: ir.Value, i: int) -> Array | None:
    inputs = node_of(value).inputs
    return constant(inputs[i]) if len(inputs) > i else None


class Col2ImAsTranspose(RewriteRuleClassBase):
    """Col2Im of patches that do not overlap (mobilevitv2's, say) as a Transpose."""

    def pattern(self, op: Any, x: Any, image: Any, block: Any) -> Any:
        """Col2Im of any value."""
        return op.Col2Im(x, image, block, _outputs=["joined"])

    def check(
        self, context: Any, x: ir.Value, image: ir.Value, block: ir.Value, joined: ir.Value
    ) -> bool:
        """A known image of two dimensions, strides as wide as patches, no padding, no dilation."""
        size, of_block, of_x = constant(image), constant(block), shape(x)
        if size is None or of_block is None or of_x is None or size.size != 2:
            return False
        attributes = node_of(joined).attributes
        strides = list(attributes.get_ints("strides", (1, 1)))
        plain = not any(attributes.get_ints("pads", ())) and set(
            attributes.get_ints("dilations", ())
        ) <= {1}
        return plain and strides == of_block.tolist() and not (size % of_block).any()

    def rewrite(self, op: Any, x: ir.Value, image: ir.Value, block: ir.Value, **_: Any) -> Any:
        """Transpose between two Reshapes."""
        size, of_block, of_x = constant(image), constant(block), shape(x)
        assert size is not None
        assert of_block is not None
        assert of_x is not None
        (height, width), (high, wide) = size.tolist(), of_block.tolist()
        channels = of_x[1] // (high * wide)
        parts = (of_x[0], channels, high, wide, height // high, width // wide)
        turned = op.Transpose(op.Reshape(x, integers(op, *parts)), perm=[0, 1, 4, 2, 5, 3])
        return op.Reshape(turned, integers(op, of_x[0], channels, height, width))


class PadAsConcat(RewriteRuleClassBase):
    """Pad of integers or truth values as Concat with constants."""

    def pattern(self, op: Any, x: Any, pads: Any) -> Any:
        """Pad with or without a value and axes."""
        return op.Pad(x, pads, _allow_other_inputs=True, _outputs=["padded"])

    def check(self, context: Any, x: ir.Value, pads: ir.Value, padded: ir.Value) -> bool:
        """A static shape, known widths of at least 0, a known value, and no floating dtype."""
        widths, inputs = constant(pads), node_of(padded).inputs
        value = constant(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else np.zeros(())
        mode = node_of(padded).attributes.get_string("mode", "constant")
        if shape(x) is None or widths is None or value is None or len(inputs) > 3:
            return False
        exact = x.dtype is not None and not x.dtype.is_floating_point()
        return exact and mode == "constant" and bool((widths >= 0).all())

    def rewrite(self, op: Any, x: ir.Value, pads: ir.Value, padded: ir.Value) -> Any:
        """A Concat for each axis that grows."""
        sizes, widths, value = list(shape(x) or ()), constant(pads), _optional(padded, 2)
        assert widths is not None
        assert x.dtype is not None
        filler = np.zeros((), x.dtype.numpy()) if value is None else value.reshape(())
        found = x
        for axis, pair in enumerate(widths.reshape(2, -1).T.tolist()):
            front, back = (
                [initializer(op, np.full([*sizes[:axis], width, *sizes[axis + 1 :]], filler))]
                if width
                else []
                for width in pair
            )
            if front or back:
                found = op.Concat(*front, found, *back, axis=axis)
                sizes[axis] += sum(pair)
        return found if found is not x else op.Identity(x)


class EqualToTruth(RewriteRuleClassBase):
    """Equal of truth values and a constant, as Identity or Not."""

    def pattern(self, op: Any, x: Any, known: Any) -> Any:
        """Equal of any two values."""
        return op.Equal(x, known)

    def check(self, context: Any, x: ir.Value, known: ir.Value) -> bool:
        """The first is a truth value, the second one constant."""
        array = constant(known)
        return x.dtype == ir.DataType.BOOL and array is not None and array.size == 1

    def rewrite(self, op: Any, x: ir.Value, known: ir.Value) -> Any:
        """Identity where the constant is true, Not where it is false."""
        array = constant(known)
        assert array is not None
        return op.Identity(x) if array.ravel()[0] else op.Not(x)


class AcosThroughAtan(RewriteRuleClassBase):
    """acos(x) = pi / 2 - 2 atan(x / (1 + sqrt(1 - x^2))), which is finite at both ends."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Acos of any value."""
        return op.Acos(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Atan of a quotient with a root."""
        one, two = (
            initializer(op, np.array(1, np.float32)),
            initializer(op, np.array(2, np.float32)),
        )
        side = op.Sqrt(op.Relu(op.Sub(one, op.Mul(x, x))))
        angle = op.Mul(op.Atan(op.Div(x, op.Add(side, one))), two)
        return op.Sub(initializer(op, np.array(np.pi / 2, np.float32)), angle)


class AsinhAsLog(RewriteRuleClassBase):
    """asinh(x) = sign(x) log(|x| + sqrt(x^2 + 1)), which does not cancel where x is negative."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Asinh of any value."""
        return op.Asinh(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Log of a sum with a root, times the sign."""
        size = op.Abs(x)
        one = initializer(op, np.array(1.0, np.float32))
        return op.Mul(op.Sign(x), op.Log(op.Add(size, op.Sqrt(op.Add(op.Mul(x, x), one)))))


class NormOfBatch(RewriteRuleClassBase):
    """BatchNormalization of videos with known parameters, as a factor and a term a channel."""

    def pattern(self, op: Any, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
        """BatchNormalization of any value."""
        return op.BatchNormalization(x, scale, bias, mean, variance, _outputs=["normed"])

    def check(self, context: Any, x: ir.Value, **given: ir.Value) -> bool:
        """More dimensions than an image has, and known parameters."""
        known = (given[name] for name in ("scale", "bias", "mean", "variance"))
        sizes = shape(x)
        return sizes is not None and len(sizes) > 4 and all(constant(v) is not None for v in known)

    def rewrite(self, op: Any, x: ir.Value, normed: ir.Value, **given: ir.Value) -> Any:
        """Mul, then Add."""
        scale, bias, mean, variance = (
            np.asarray(constant(given[name])) for name in ("scale", "bias", "mean", "variance")
        )
        epsilon = node_of(normed).attributes.get_float("epsilon", 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        wide = [len(factor), *(1,) * (len(shape(x) or ()) - 2)]
        term = (bias - mean * factor).reshape(wide).astype(np.float32)
        return op.Add(
            op.Mul(x, initializer(op, factor.reshape(wide).astype(np.float32))),
            initializer(op, term),
        )


MISSING = Pass(
    "missing",
    "The provider has no Trilu, DFT (fnet), Col2Im (mobilevitv2), Acos and Asinh, no Pad of "
    "integers, no Equal of truth values and no batch norm of videos: the graph is split there.",
    rules(
        TriluAsChoice,
        DftAsMatMul,
        Col2ImAsTranspose,
        PadAsConcat,
        EqualToTruth,
        AcosThroughAtan,
        NormOfBatch,
        AsinhAsLog,
    ),
)
