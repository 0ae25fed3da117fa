"""Rules that merge neighbouring dimensions of operators with more of them than the HTP has."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes._graph import constant, integers, node_of, shape

#: The most dimensions of an operator on the HTP.
LARGEST_RANK = 5

#: Elementwise operators of one operand, and of two that are broadcast together.
UNARY = ("Exp", "Log", "Neg", "Not", "Reciprocal", "Sigmoid", "Sqrt", "Tanh")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "And", "Or")
REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")


def merged(shapes: Sequence[Sequence[int]]) -> list[list[int]]:
    """The shapes of operands that are broadcast together, with neighbouring dimensions merged.

    Two dimensions become one where each operand has both in full, or neither.

    Args:
        shapes: of the operands, and of the result as the last.
    """
    rank = len(shapes[-1])
    padded = [[1] * (rank - len(sizes)) + list(sizes) for sizes in shapes]
    found: list[list[int]] = [[] for _ in shapes]
    before: tuple[bool, ...] | None = None
    for column in zip(*padded, strict=True):
        if column[-1] == 1:
            continue  # of all of them
        full = tuple(size == column[-1] for size in column)
        for sizes, size in zip(found, column, strict=True):
            if full == before:
                sizes[-1] *= size
            else:
                sizes.append(size)
        before = full
    return [sizes or [1] for sizes in found]


class _Elementwise(RewriteRuleClassBase):
    """A rule on an elementwise operator: Reshapes of its operands and its result."""

    operator: str

    def check(self, context: Any, result: ir.Value, **given: ir.Value) -> bool:
        """Static shapes of too many dimensions, and of few enough once merged."""
        shapes = [shape(value) for value in (*given.values(), result)]
        known = [sizes for sizes in shapes if sizes is not None]
        return (
            len(known) == len(shapes)
            and len(known[-1]) > LARGEST_RANK
            and all(known[-1])
            and len(merged(known)[-1]) <= LARGEST_RANK
        )

    def rewrite(self, op: Any, result: ir.Value, **given: ir.Value) -> Any:
        """The operator on merged operands, and a Reshape of its result."""
        values = list(given.values())
        shapes = [shape(value) or () for value in (*values, result)]
        *wanted, _ = merged(shapes)
        reshaped = [
            op.Reshape(value, integers(op, *sizes)) if shape(value) else value
            for value, sizes in zip(values, wanted, strict=True)
        ]
        return op.Reshape(getattr(op, self.operator)(*reshaped), integers(op, *shapes[-1]))


class _One(_Elementwise):
    """A rule on an operator of one operand."""

    def pattern(self, op: Any, a: Any) -> Any:
        """The operator on any operands."""
        return getattr(op, self.operator)(a, _outputs=["result"])


class _Two(_Elementwise):
    """A rule on an operator of two operands."""

    def pattern(self, op: Any, a: Any, b: Any) -> Any:
        """The operator on any operands."""
        return getattr(op, self.operator)(a, b, _outputs=["result"])


class _Three(_Elementwise):
    """A rule on an operator of three operands."""

    def pattern(self, op: Any, a: Any, b: Any, c: Any) -> Any:
        """The operator on any operands."""
        return getattr(op, self.operator)(a, b, c, _outputs=["result"])


def reduction(name: str) -> type[RewriteRuleClassBase]:
    """The rule on one reduction, `ReduceSum` say."""

    class Reduced(RewriteRuleClassBase):
        """Neighbouring axes merged where all of them are reduced, or none."""

        def pattern(self, op: Any, x: Any, axes: Any) -> Any:
            """The reduction over given axes."""
            return getattr(op, name)(x, axes, _outputs=["result"])

        def check(self, context: Any, x: ir.Value, axes: ir.Value, result: ir.Value) -> bool:
            """Too many dimensions, few enough once merged, and known axes."""
            sizes, known, wanted = shape(x), constant(axes), shape(result)
            if sizes is None or known is None or wanted is None or not known.size:
                return False
            return len(sizes) > LARGEST_RANK and len(_blocks(sizes, known)[0]) <= LARGEST_RANK

        def rewrite(self, op: Any, x: ir.Value, axes: ir.Value, result: ir.Value) -> Any:
            """The reduction between two Reshapes."""
            sizes, known, wanted = shape(x), constant(axes), shape(result)
            assert sizes is not None
            assert known is not None
            assert wanted is not None
            blocks, reduced = _blocks(sizes, known)
            flat = op.Reshape(x, integers(op, *blocks))
            found = getattr(op, name)(flat, integers(op, *reduced), keepdims=1)
            return op.Reshape(found, integers(op, *wanted))

    Reduced.__name__ = f"LowRank{name}"
    return Reduced


def _blocks(sizes: Sequence[int], axes: Any) -> tuple[list[int], list[int]]:
    """The sizes of merged axes, and which of these are reduced."""
    chosen = {int(axis) % len(sizes) for axis in axes.ravel()}
    blocks: list[int] = []
    reduced: list[int] = []
    before: bool | None = None
    for axis, size in enumerate(sizes):
        now = axis in chosen
        if now == before:
            blocks[-1] *= size
        else:
            blocks.append(size)
            if now:
                reduced.append(len(blocks) - 1)
        before = now
    return blocks, reduced


class LowRankSlice(RewriteRuleClassBase):
    """Slice along one axis after the other, the dimensions before and after each axis merged."""

    def pattern(self, op: Any, x: Any, starts: Any, ends: Any, axes: Any) -> Any:
        """Slice with or without steps."""
        return op.Slice(x, starts, ends, axes, _allow_other_inputs=True, _outputs=["part"])

    def check(self, context: Any, x: ir.Value, part: ir.Value, **_: Any) -> bool:
        """A static shape of too many dimensions, and known starts, ends, axes and steps."""
        sizes, result = shape(x), shape(part)
        known = all(constant(value) is not None for value in node_of(part).inputs[1:])
        return known and sizes is not None and result is not None and len(sizes) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, part: ir.Value, **_: Any) -> Any:
        """A Slice of three dimensions between Reshapes, for each axis."""
        sizes, result = list(shape(x) or ()), shape(part)
        assert result is not None
        given = [constant(value) for value in node_of(part).inputs[1:]]
        starts, ends, axes = ([int(n) for n in a.ravel()] for a in given[:3] if a is not None)
        steps = [int(n) for n in given[3].ravel()] if given[3:] and given[3] is not None else None
        value: Any = x
        for i, axis in enumerate(axis % len(sizes) for axis in axes):
            flat = integers(op, prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :]))
            step = steps[i] if steps else 1
            places = (integers(op, n) for n in (starts[i], ends[i], 1, step))
            value = op.Slice(op.Reshape(value, flat), *places)
            sizes[axis] = result[axis]
        return op.Reshape(value, integers(op, *result))


class UnsqueezeAsReshape(RewriteRuleClassBase):
    """Unsqueeze to more dimensions than there may be, as the Reshape that it is."""

    def pattern(self, op: Any, x: Any, axes: Any) -> Any:
        """Unsqueeze of any value."""
        return op.Unsqueeze(x, axes, _outputs=["wider"])

    def check(self, context: Any, x: ir.Value, wider: ir.Value, **_: Any) -> bool:
        """A static result of too many dimensions."""
        result = shape(wider)
        return result is not None and all(result) and len(result) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, wider: ir.Value, **_: Any) -> Any:
        """Reshape to the result's shape."""
        return op.Reshape(x, integers(op, *(shape(wider) or ())))


RULES: tuple[type[RewriteRuleClassBase], ...] = (
    *(type(f"LowRank{name}", (_One,), {"operator": name}) for name in UNARY),
    *(type(f"LowRank{name}", (_Two,), {"operator": name}) for name in ELEMENTWISE),
    type("LowRankWhere", (_Three,), {"operator": "Where"}),
    *map(reduction, REDUCTIONS),
    LowRankSlice,
    UnsqueezeAsReshape,
)
