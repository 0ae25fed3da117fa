"""Operators on int64 and truth values computed in int32, and moved by Reshape and Gather."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """An operator that is computed in int32.

    Attributes:
        places: of the inputs that hold values; empty for all inputs.
        keeps: whether the output has the dtype of the values.
    """

    places: tuple[int, ...] = (0,)
    keeps: bool = True


_SCATTER = _Narrowed((0, 2))
_INDEX = _Narrowed(keeps=False)

#: Operators on int64 that are computed in int32.
_OF_INT64: Mapping[str, _Narrowed] = {
    **dict.fromkeys(("Transpose", "CumSum", "Trilu"), _Narrowed()),
    **dict.fromkeys(("ReduceMax", "ReduceMin", "ReduceProd", "ReduceMean"), _Narrowed()),
    **dict.fromkeys(("ScatterND", "ScatterElements", "Pad"), _SCATTER),
    **dict.fromkeys(("ArgMax", "ArgMin"), _INDEX),
}

#: Operators on truth values that are computed in int32.
_OF_TRUTHS: Mapping[str, _Narrowed] = {
    **dict.fromkeys(("Transpose", "Tile", "Trilu"), _Narrowed()),
    **dict.fromkeys(("ScatterND", "ScatterElements", "Pad"), _SCATTER),
    "Concat": _Narrowed(()),
    "Equal": _Narrowed((), keeps=False),
}

_TABLES = {ir.DataType.INT64: _OF_INT64, ir.DataType.BOOL: _OF_TRUTHS}


def _narrow(model: ir.Model) -> int:
    """Compute what the tables list in int32, between Casts; returns the number of operators."""
    count = 0
    for node in list(model.graph):
        first = node.inputs[0] if node.inputs else None
        table = _TABLES.get(first.dtype) if first is not None and first.dtype is not None else None
        row = table.get(node.op_type) if table and not node.domain else None
        if row is None:
            continue
        assert first is not None
        assert first.dtype is not None
        added: list[ir.Node] = []
        inputs = list(node.inputs)
        for place in row.places or range(len(inputs)):
            value = inputs[place] if place < len(inputs) else None
            if value is not None:
                added.append(ir.node("Cast", [value], {"to": ir.DataType.INT32}))
                inputs[place] = added[-1].outputs[0]
        added.append(ir.Node("", node.op_type, inputs, attributes=node.attributes.values()))
        if row.keeps:
            added.append(ir.node("Cast", [added[-1].outputs[0]], {"to": first.dtype}))
        ir.convenience.replace_nodes_and_values(
            model.graph, node, [node], added, node.outputs, added[-1].outputs
        )
        count += 1
    return count


NARROW = Pass(
    "narrow-types",
    "WebGPU's provider moves, reduces and scatters no int64 (bert's running counts) and no truth "
    "values. Of an int64 it computes with the lower 32 bits, so that int32 loses nothing.",
    _narrow,
)


def _exact(x: ir.Value) -> bool:
    """Whether a value is known to be no float32, and has a static shape."""
    return x.dtype is not None and not is_float(x) and shape(x) is not None


class ExactSqueezeAsReshape(RewriteRuleClassBase):
    """Squeeze as a Reshape to the known shape of the result."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Squeeze along any axes."""
        return op.Squeeze(x, _allow_other_inputs=True, _outputs=["moved"])

    def check(self, context: Any, x: ir.Value, moved: ir.Value, **_: Any) -> bool:
        """The shape of the result is static."""
        return _exact(x) and shape(moved) is not None

    def rewrite(self, op: Any, x: ir.Value, moved: ir.Value) -> Any:
        """Reshape."""
        return op.Reshape(x, integers(op, *(shape(moved) or ())))


class FlattenAsReshape(ExactSqueezeAsReshape):
    """Flatten as a Reshape to the known shape of the result."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Flatten at any axis."""
        return op.Flatten(x, _outputs=["moved"])


class SliceAsGather(RewriteRuleClassBase):
    """Slice as a Gather of known places along each axis that is cut."""

    def pattern(self, op: Any, x: Any, starts: Any, ends: Any) -> Any:
        """Slice of any value."""
        return op.Slice(x, starts, ends, _allow_other_inputs=True, _outputs=["cut"])

    def check(self, context: Any, x: ir.Value, cut: ir.Value, **_: Any) -> bool:
        """Starts, ends, axes and steps are known."""
        given = node_of(cut).inputs[1:]
        known = all(value is None or constant(value) is not None for value in given)
        return _exact(x) and known

    def rewrite(self, op: Any, x: ir.Value, cut: ir.Value, **_: Any) -> Any:
        """A Gather for each axis."""
        sizes = shape(x)
        assert sizes is not None
        parts = [constant(value) for value in node_of(cut).inputs[1:]]
        starts, ends, axes, steps = (*parts, None, None)[:4]
        assert starts is not None
        assert ends is not None
        along = range(len(starts)) if axes is None else axes.tolist()
        strides = [1] * len(starts) if steps is None else steps.tolist()
        found = op.Identity(x)
        for start, end, axis, step in zip(
            starts.tolist(), ends.tolist(), along, strides, strict=True
        ):
            # ONNX cuts at an end that lies before the first place of a reversed axis with it.
            size = sizes[axis]
            places = np.arange(size)[slice(start, None if step < 0 and end < -size else end, step)]
            found = op.Gather(found, initializer(op, places.astype(np.int64)), axis=axis)
        return found


class ElementsAsGather(RewriteRuleClassBase):
    """GatherElements as a Gather of linear places from the flat data."""

    def pattern(self, op: Any, x: Any, indices: Any) -> Any:
        """GatherElements of any value."""
        return op.GatherElements(x, indices, _outputs=["gathered"])

    def check(self, context: Any, x: ir.Value, indices: ir.Value, **_: Any) -> bool:
        """Both shapes are static."""
        return _exact(x) and shape(indices) is not None

    def rewrite(self, op: Any, x: ir.Value, indices: ir.Value, gathered: ir.Value) -> Any:
        """Gather of the index along the axis times its stride, plus the place of the others."""
        sizes, wanted = shape(x), shape(indices)
        assert sizes is not None
        assert wanted is not None
        axis = node_of(gathered).attributes.get_int("axis", 0) % len(sizes)
        strides = [prod(sizes[i + 1 :]) for i in range(len(sizes))]
        others: Array = np.zeros(wanted, np.int64)
        for i, count in enumerate(wanted):
            if i != axis:
                line = np.arange(count, dtype=np.int64) * strides[i]
                others += line.reshape([count if k == i else 1 for k in range(len(wanted))])
        index = op.Cast(indices, to=ir.DataType.INT64)
        below = op.Less(index, integers(op, 0))  # counted from the end
        index = op.Where(below, op.Add(index, integers(op, sizes[axis])), index)
        index = op.Add(op.Mul(index, integers(op, strides[axis])), initializer(op, others))
        return op.Gather(op.Reshape(x, integers(op, -1)), index, axis=0)


MOVED = Pass(
    "moved-by-gather",
    "WebGPU's provider has no Squeeze (deberta_v2), Slice and GatherElements (tapas) of integers "
    "and truth values, but Reshape and Gather.",
    rules(ExactSqueezeAsReshape, FlattenAsReshape, SliceAsGather, ElementsAsGather),
)
