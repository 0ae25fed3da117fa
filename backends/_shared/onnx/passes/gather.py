"""GatherND, which the provider computes wrongly or not at all, as Gather along one axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import const, constant, dims, rules, shape


class GatherNDAsGather(RewriteRuleClassBase):
    """Rows of the data by one index instead of several: the data flattened over these axes.

    Where the indices are constant and name every row in its order, nothing is left but a Reshape.
    """

    def pattern(self, op: Any, data: Any, indices: Any) -> Any:
        """`GatherND` without batch dimensions."""
        return op.GatherND(data, indices, _outputs=["gathered"])

    def check(self, context: Any, data: ir.Value, indices: ir.Value, gathered: ir.Value) -> bool:
        """Static shapes, no batch dimensions."""
        node = gathered.producer()
        batched = node is not None and node.attributes.get_int("batch_dims", 0)
        return not batched and shape(data) is not None and shape(indices) is not None

    def rewrite(self, op: Any, data: ir.Value, indices: ir.Value, gathered: ir.Value) -> Any:
        """Reshape, Gather with the linear index, Reshape."""
        of_data, of_indices = shape(data), shape(indices)
        assert of_data is not None
        assert of_indices is not None
        depth = of_indices[-1]
        rows, rest = of_data[:depth], of_data[depth:]
        target = dims(op, *of_indices[:-1], *rest)
        known = constant(indices)
        if known is not None:
            # ONNX counts negative indices from the end.
            parts = [known[..., i] % rows[i] for i in range(depth)]
            linear = np.ravel_multi_index(parts, rows).ravel().astype(np.int64)
            if np.array_equal(linear, np.arange(np.prod(rows, dtype=int))):
                return op.Reshape(data, target)
            index = const(op, linear)
        else:
            strides = np.cumprod((*rows[1:], 1)[::-1])[::-1].astype(np.int64)
            index = op.Reshape(indices, dims(op, -1, depth))
            if depth > 1:
                index = op.Mul(index, const(op, strides))
                index = op.ReduceSum(index, dims(op, 1), keepdims=0)
            else:
                index = op.Reshape(index, dims(op, -1))
        flat = op.Reshape(data, dims(op, int(np.prod(rows, dtype=int)), *rest))
        return op.Reshape(op.Gather(flat, index, axis=0), target)


GATHER_ND = Pass(
    "gather-nd",
    "On the HTP emulator GatherND on boolean masks splits the graph, and with indices that the run "
    "decides (mixtures of experts) it crashes.",
    rules(GatherNDAsGather),
)
