"""Arithmetic that WebGPU's provider lacks, and some that the HTP lacks, from what they have."""

from __future__ import annotations

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
from backends._shared.onnx.passes.missing_operators import Col2ImAsTranspose


def _number(op: Any, x: ir.Value, value: float) -> Any:
    """A constant of the dtype of `x`."""
    assert x.dtype is not None
    return initializer(op, np.array(value, x.dtype.numpy()))


class _Known(RewriteRuleClassBase):
    """A rule on values of a known dtype."""

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """The dtype is known."""
        return x.dtype is not None


class NegAsSub(_Known):
    """Neg of integers as 0 - x."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Neg of any value."""
        return op.Neg(x)

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """Integers."""
        return x.dtype is not None and not x.dtype.is_floating_point()

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Sub."""
        return op.Sub(_number(op, x, 0), x)


class AbsAsMax(NegAsSub):
    """Abs of integers as max(x, 0 - x)."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Abs of any value."""
        return op.Abs(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Max and Sub."""
        return op.Max(x, op.Sub(_number(op, x, 0), x))


class SignAsDifference(_Known):
    """Sign as (x > 0) - (x < 0)."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Sign of any value."""
        return op.Sign(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Two comparisons, and Sub."""
        zero = _number(op, x, 0)
        above = op.Cast(op.Greater(x, zero), to=x.dtype)
        return op.Sub(above, op.Cast(op.Less(x, zero), to=x.dtype))


class ModByDiv(_Known):
    """Mod of integers from their quotient, which is rounded towards zero.

    x - (x / y) y has the sign of x. ONNX's Mod has that of y, unless its attribute `fmod` is set.
    """

    def pattern(self, op: Any, x: Any, y: Any) -> Any:
        """Mod of any two values."""
        return op.Mod(x, y, _outputs=["rest"])

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """Integers."""
        return x.dtype is not None and not x.dtype.is_floating_point()

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value, rest: ir.Value) -> Any:
        """The remainder, and again with y added where it shall have the sign of y."""
        found = op.Sub(x, op.Mul(op.Div(x, y), y))
        if node_of(rest).attributes.get_int("fmod", 0):
            return found
        moved = op.Add(found, y)
        return op.Sub(moved, op.Mul(op.Div(moved, y), y))


class RoundByFloor(RewriteRuleClassBase):
    """Round to the nearest integer, and to the even one of two that are equally near."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Round of any value."""
        return op.Round(x)

    def check(self, context: Any, x: ir.Value) -> bool:
        """Float32."""
        return is_float(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Floor, and 1 more above the middle, or in the middle where the floor is odd."""
        half, two = _number(op, x, 0.5), _number(op, x, 2)
        low = op.Floor(x)
        part = op.Sub(x, low)
        odd = op.Sub(low, op.Mul(two, op.Floor(op.Mul(low, half))))
        middle = op.Mul(op.Cast(op.Equal(part, half), to=x.dtype), odd)
        return op.Add(low, op.Add(op.Cast(op.Greater(part, half), to=x.dtype), middle))


class LogSoftmaxAsDifference(RewriteRuleClassBase):
    """log(softmax(x)) = (x - max x) - log(sum(exp(x - max x)))."""

    def pattern(self, op: Any, x: Any) -> Any:
        """LogSoftmax along any axis."""
        return op.LogSoftmax(x, _outputs=["chances"])

    def rewrite(self, op: Any, x: ir.Value, chances: ir.Value) -> Any:
        """The sum in the scale of its largest term."""
        axis = integers(op, node_of(chances).attributes.get_int("axis", -1))
        moved = op.Sub(x, op.ReduceMax(x, axis, keepdims=1))
        return op.Sub(moved, op.Log(op.ReduceSum(op.Exp(moved), axis, keepdims=1)))


class OneHotAsEqual(RewriteRuleClassBase):
    """OneHot as the comparison of each index with every class."""

    def pattern(self, op: Any, x: Any, depth: Any, values: Any) -> Any:
        """OneHot of any indices."""
        return op.OneHot(x, depth, values, _outputs=["hot"])

    def check(self, context: Any, x: ir.Value, depth: ir.Value, values: ir.Value, **_: Any) -> bool:
        """A static shape, and known classes and values."""
        known = constant(depth) is not None and constant(values) is not None
        return known and shape(x) is not None

    def rewrite(
        self, op: Any, x: ir.Value, depth: ir.Value, values: ir.Value, hot: ir.Value
    ) -> Any:
        """Equal, then Where."""
        sizes, classes, pair = shape(x), constant(depth), constant(values)
        assert sizes is not None
        assert classes is not None
        assert pair is not None
        count = int(classes.ravel()[0])
        axis = node_of(hot).attributes.get_int("axis", -1) % (len(sizes) + 1)
        line = [count if i == axis else 1 for i in range(len(sizes) + 1)]
        index = op.Reshape(
            op.Cast(x, to=ir.DataType.INT64), integers(op, *sizes[:axis], 1, *sizes[axis:])
        )
        below = op.Less(index, integers(op, 0))  # counted from the end
        index = op.Where(below, op.Add(index, integers(op, count)), index)
        same = op.Equal(index, initializer(op, np.arange(count, dtype=np.int64).reshape(line)))
        return op.Where(same, initializer(op, pair[1:]), initializer(op, pair[:1]))


class IsInfBySize(RewriteRuleClassBase):
    """IsInf as a size above the largest finite number."""

    def pattern(self, op: Any, x: Any) -> Any:
        """IsInf of either sign."""
        return op.IsInf(x, _outputs=["infinite"])

    def check(self, context: Any, x: ir.Value, infinite: ir.Value) -> bool:
        """Float32, and both signs."""
        attributes = node_of(infinite).attributes
        both = all(attributes.get_int(f"detect_{sign}", 1) for sign in ("negative", "positive"))
        return is_float(x) and both

    def rewrite(self, op: Any, x: ir.Value, infinite: ir.Value) -> Any:
        """Greater."""
        return op.Greater(op.Abs(x), _number(op, x, float(np.finfo(np.float32).max)))


ARITHMETIC = Pass(
    "arithmetic",
    "WebGPU's provider has no Neg, Abs and Mod of integers, no Sign, Round, LogSoftmax, OneHot, "
    "IsInf and Col2Im.",
    rules(
        NegAsSub,
        AbsAsMax,
        SignAsDifference,
        ModByDiv,
        RoundByFloor,
        LogSoftmaxAsDifference,
        OneHotAsEqual,
        IsInfBySize,
        Col2ImAsTranspose,
    ),
)

INTEGER_NEG = Pass(
    "integer-neg",
    "The HTP has no Neg of integers, which t5 has of the distances to the tokens in its cache.",
    rules(NegAsSub),
)
