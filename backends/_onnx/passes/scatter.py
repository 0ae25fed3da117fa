"""Scattering, which the provider lacks or computes wrongly, as gathering and comparing."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._onnx.passes import Pass
from backends._onnx.passes._graph import const, constant, dims, is_float, node_of, rules, shape


class ScatterNDAsGather(RewriteRuleClassBase):
    """Rows written at known places: a Gather from the data's rows and the new ones."""

    def pattern(self, op: Any, data: Any, indices: Any, updates: Any) -> Any:
        """Any ScatterND."""
        return op.ScatterND(data, indices, updates, _outputs=["written"])

    def check(
        self, context: Any, data: ir.Value, indices: ir.Value, written: ir.Value, **_: Any
    ) -> bool:
        """Known places, a static shape, no sums."""
        return (
            constant(indices) is not None
            and shape(data) is not None
            and not _reduces(node_of(written))
        )

    def rewrite(
        self, op: Any, data: ir.Value, indices: ir.Value, updates: ir.Value, **_: Any
    ) -> Any:
        """Reshape, Concat, Gather, Reshape; without the data where nothing of it is left."""
        of_data, known = shape(data), constant(indices)
        assert of_data is not None
        assert known is not None
        depth = known.shape[-1]
        rows, rest = of_data[:depth], prod(of_data[depth:])
        # ONNX counts negative indices from the end.
        parts = [known[..., i].ravel() % rows[i] for i in range(depth)]
        places = np.ravel_multi_index(parts, rows)
        count = prod(rows)
        source = np.arange(count, dtype=np.int64)
        source[places] = count + np.arange(len(places))  # the last one that is written stays
        value = op.Reshape(updates, dims(op, len(places), rest))
        if (source >= count).all():
            source -= count
        else:
            value = op.Concat(op.Reshape(data, dims(op, count, rest)), value, axis=0)
        if not np.array_equal(source, np.arange(len(places))):
            value = op.Gather(value, const(op, source), axis=0)
        return op.Reshape(value, dims(op, *of_data))


class ScatterElementsAsChoice(RewriteRuleClassBase):
    """A few values along the last axis at places that the run decides: a choice by comparing."""

    def pattern(self, op: Any, data: Any, indices: Any, updates: Any) -> Any:
        """Any ScatterElements."""
        return op.ScatterElements(data, indices, updates, _outputs=["written"])

    def check(
        self, context: Any, data: ir.Value, indices: ir.Value, written: ir.Value, **_: Any
    ) -> bool:
        """The last axis, the same rows, floating point, no sums."""
        of_data, of_indices, node = shape(data), shape(indices), node_of(written)
        if of_data is None or of_indices is None or not is_float(data) or _reduces(node):
            return False
        last = node.attributes.get_int("axis", 0) in (-1, len(of_data) - 1)
        return last and of_data[:-1] == of_indices[:-1]

    def rewrite(
        self, op: Any, data: ir.Value, indices: ir.Value, updates: ir.Value, **_: Any
    ) -> Any:
        """Each place compared with each index; two values for one place count as one of them."""
        of_data, of_indices = shape(data), shape(indices)
        assert of_data is not None
        assert of_indices is not None
        width, places, rows = of_data[-1], of_indices[-1], prod(of_data[:-1])
        index = op.Reshape(op.Cast(indices, to=ir.DataType.INT32), dims(op, rows, places, 1))
        every = const(op, np.arange(width, dtype=np.int32).reshape(1, 1, width))
        hits = op.Cast(op.Equal(index, every), to=ir.DataType.FLOAT)
        hit = op.ReduceMax(hits, dims(op, 1), keepdims=0)
        known = constant(updates)
        if known is not None and np.unique(known).size == 1:
            value = const(op, known.ravel()[:1])
        else:
            value = op.MatMul(op.Reshape(updates, dims(op, rows, 1, places)), hits)
            value = op.Reshape(value, dims(op, rows, width))
        half = const(op, np.array(0.5, np.float32))
        rest = op.Reshape(data, dims(op, rows, width))
        return op.Reshape(op.Where(op.Greater(hit, half), value, rest), dims(op, *of_data))


def _reduces(node: ir.Node) -> bool:
    reduction = node.attributes.get("reduction")
    return reduction is not None and reduction.as_string() != "none"


SCATTER_ND = Pass(
    "scatter-nd",
    "ScatterND at constant places (`x[..., :n] = y`) gives wrong values or splits the graph.",
    rules(ScatterNDAsGather),
)

SCATTER_ELEMENTS = Pass(
    "scatter-elements",
    "The provider has no ScatterElements (the choice of expert groups): the graph is split there.",
    rules(ScatterElementsAsChoice),
)
