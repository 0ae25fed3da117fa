"""ScatterElements to a known slice as Slice and Concat."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import constant, integers, node_of, rules, shape


class ScatterToKnownPlaces(RewriteRuleClassBase):
    """`x[:, 3:5] = y` as a Concat of what is before the slice, y, and what is after it."""

    def pattern(self, op: Any, data: Any, indices: Any, updates: Any) -> Any:
        """ScatterElements of any values."""
        return op.ScatterElements(data, indices, updates, _outputs=["scattered"])

    def check(
        self, context: Any, data: ir.Value, indices: ir.Value, scattered: ir.Value, **_: Any
    ) -> bool:
        """Known consecutive indices along the axis, the same ones in every line, no reduction."""
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
        """Concat of Slices; the updates themselves where they cover the axis."""
        sizes, known = shape(data), constant(indices)
        assert sizes is not None
        assert known is not None
        axis = node_of(scattered).attributes.get_int("axis", 0) % len(sizes)
        start = int(known.ravel()[0]) % sizes[axis]
        stop = start + known.shape[axis]
        parts = [updates]
        if start:
            parts.insert(
                0, op.Slice(data, integers(op, 0), integers(op, start), integers(op, axis))
            )
        if stop < sizes[axis]:
            parts.append(
                op.Slice(data, integers(op, stop), integers(op, sizes[axis]), integers(op, axis))
            )
        return op.Concat(*parts, axis=axis) if len(parts) > 1 else op.Identity(updates)


KNOWN_PLACES = Pass(
    "known-places",
    "The HTP takes no ScatterElements of the ranks and dtypes with which models write into slices.",
    rules(ScatterToKnownPlaces),
)
