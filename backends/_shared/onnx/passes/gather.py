"""GatherND as Gather along one axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import constant, initializer, integers, rules, shape


class GatherNDAsGather(RewriteRuleClassBase):
    """GatherND as a Gather of one linear index from the data, flattened over the indexed axes.

    Constant indices that name every row in its order leave nothing but a Reshape.
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
        """Gather with the linear index between two Reshapes."""
        of_data, of_indices = shape(data), shape(indices)
        assert of_data is not None
        assert of_indices is not None
        depth = of_indices[-1]
        rows, rest = of_data[:depth], of_data[depth:]
        target = integers(op, *of_indices[:-1], *rest)
        known = constant(indices)
        if known is not None:
            # ONNX counts negative indices from the end.
            parts = [known[..., i] % rows[i] for i in range(depth)]
            linear = np.ravel_multi_index(parts, rows).ravel().astype(np.int64)
            if np.array_equal(linear, np.arange(np.prod(rows, dtype=int))):
                return op.Reshape(data, target)
            index = initializer(op, linear)
        else:
            strides = np.cumprod((*rows[1:], 1)[::-1])[::-1].astype(np.int64)
            index = op.Reshape(indices, integers(op, -1, depth))
            if depth > 1:
                index = op.Mul(index, initializer(op, strides))
                index = op.ReduceSum(index, integers(op, 1), keepdims=0)
            else:
                index = op.Reshape(index, integers(op, -1))
        flat = op.Reshape(data, integers(op, int(np.prod(rows, dtype=int)), *rest))
        return op.Reshape(op.Gather(flat, index, axis=0), target)


GATHER_ND = Pass(
    "gather-nd",
    "On the HTP emulator GatherND of boolean masks (bert) splits the graph, and with indices that "
    "the run decides (the experts of mixtral) it crashes.",
    rules(GatherNDAsGather),
)
