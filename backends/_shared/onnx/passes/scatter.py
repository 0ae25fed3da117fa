"""Writing into a known place of a tensor, without an operator that takes any place."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import constant, dims, node_of, rules, shape


class ScatterToKnownPlaces(RewriteRuleClassBase):
    """`x[:, 3] = y` and `x[:, 3:5] = y`: what is before the place, y, and what is after it."""

    def pattern(self, op: Any, data: Any, indices: Any, updates: Any) -> Any:
        """The operator."""
        return op.ScatterElements(data, indices, updates, _outputs=["scattered"])

    def check(
        self, context: Any, data: ir.Value, indices: ir.Value, scattered: ir.Value, **_: Any
    ) -> bool:
        """Known places that follow one another, the same ones everywhere."""
        sizes, known, attributes = shape(data), constant(indices), node_of(scattered).attributes
        if sizes is None or known is None or attributes.get_string("reduction", "none") != "none":
            return False
        axis = attributes.get_int("axis", 0) % len(sizes)
        lines = np.moveaxis(known, axis, -1) % sizes[axis]
        first = lines.ravel()[0] + np.arange(known.shape[axis])
        whole = np.delete(known.shape, axis).tolist() == np.delete(sizes, axis).tolist()
        return whole and bool((lines == first).all())

    def rewrite(
        self, op: Any, data: ir.Value, indices: ir.Value, updates: ir.Value, scattered: ir.Value
    ) -> Any:
        """Slice, Concat; the updates themselves where they cover everything."""
        sizes, known = shape(data), constant(indices)
        assert sizes is not None
        assert known is not None
        axis = node_of(scattered).attributes.get_int("axis", 0) % len(sizes)
        start = int(known.ravel()[0]) % sizes[axis]
        stop = start + known.shape[axis]
        parts = [updates]
        if start:
            parts.insert(0, op.Slice(data, dims(op, 0), dims(op, start), dims(op, axis)))
        if stop < sizes[axis]:
            parts.append(op.Slice(data, dims(op, stop), dims(op, sizes[axis]), dims(op, axis)))
        return op.Concat(*parts, axis=axis) if len(parts) > 1 else op.Identity(updates)


KNOWN_PLACES = Pass(
    "known-places",
    "The HTP takes no ScatterElements of the ranks and types in which slices are written into.",
    rules(ScatterToKnownPlaces),
)
