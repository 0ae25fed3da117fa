"""Transpose, Neg, Gather, Squeeze and products in fewer dimensions: the HTP has five."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import constant, integers, node_of, rules, shape
from backends._shared.onnx.passes.merged_dimensions import LARGEST_RANK, RULES


class LowRankTranspose(RewriteRuleClassBase):
    """Transpose of blocks of dimensions that stay together; several where the blocks are too many.

    Any order is reached by moving one block at a time in front of others, which is a Transpose of
    at most four dimensions: those that stay in front, those passed, those moved, and the rest.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        """Transpose of any value."""
        return op.Transpose(x, _outputs=["turned"])

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """Static shapes of too many dimensions."""
        sizes = shape(x)
        return sizes is not None and len(sizes) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, turned: ir.Value) -> Any:
        """Transpose between Reshapes."""
        sizes, node = shape(x), turned.producer()
        assert sizes is not None
        assert node is not None
        perm = list(node.attributes.get_ints("perm", ()) or reversed(range(len(sizes))))
        blocks, order = _blocks(sizes, perm)
        value = x
        if len(blocks) <= LARGEST_RANK:
            value = op.Transpose(op.Reshape(value, integers(op, *blocks)), perm=order)
        else:
            now = list(range(len(blocks)))
            for i, wanted in enumerate(order):
                j = now.index(wanted)
                if i == j:
                    continue
                width = [blocks[k] for k in now]
                parts = (prod(width[:i]), prod(width[i:j]), width[j], prod(width[j + 1 :]))
                value = op.Transpose(op.Reshape(value, integers(op, *parts)), perm=[0, 2, 1, 3])
                now.insert(i, now.pop(j))
        return op.Reshape(value, integers(op, *(sizes[k] for k in perm)))


class LowRankNeg(RewriteRuleClassBase):
    """Neg with all dimensions but the last one merged."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Neg of any value."""
        return op.Neg(x)

    def check(self, context: Any, x: ir.Value) -> bool:
        """A static shape of more dimensions than Neg may have, one less than other operators."""
        sizes = shape(x)
        return sizes is not None and len(sizes) >= LARGEST_RANK and all(sizes)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Neg between two Reshapes."""
        sizes = shape(x)
        assert sizes is not None
        return op.Reshape(op.Neg(op.Reshape(x, integers(op, -1, sizes[-1]))), integers(op, *sizes))


class LowRankGather(RewriteRuleClassBase):
    """Gather with the dimensions before its axis merged, and those after it."""

    def pattern(self, op: Any, x: Any, indices: Any) -> Any:
        """Gather of any value."""
        return op.Gather(x, indices, _outputs=["gathered"])

    def check(self, context: Any, x: ir.Value, indices: ir.Value, gathered: ir.Value) -> bool:
        """Static shapes of too many dimensions."""
        sizes, result = shape(x), shape(gathered)
        if sizes is None or result is None:
            return False
        return max(len(sizes), len(result)) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, indices: ir.Value, gathered: ir.Value) -> Any:
        """Gather between two Reshapes."""
        sizes, result = shape(x), shape(gathered)
        assert sizes is not None
        assert result is not None
        axis = node_of(gathered).attributes.get_int("axis", 0) % len(sizes)
        flat = integers(op, prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :]))
        chosen = op.Gather(op.Reshape(x, flat), op.Reshape(indices, integers(op, -1)), axis=1)
        return op.Reshape(chosen, integers(op, *result))


class SqueezeAsReshape(RewriteRuleClassBase):
    """Squeeze of too many dimensions, as the Reshape that it is."""

    def pattern(self, op: Any, x: Any) -> Any:
        """Squeeze with or without axes."""
        return op.Squeeze(x, _allow_other_inputs=True, _outputs=["squeezed"])

    def check(self, context: Any, x: ir.Value, squeezed: ir.Value) -> bool:
        """Static shapes of too many dimensions."""
        sizes, result = shape(x), shape(squeezed)
        known = sizes is not None and result is not None and all(result)
        return known and len(sizes or ()) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, squeezed: ir.Value) -> Any:
        """Reshape to the result's shape."""
        return op.Reshape(x, integers(op, *(shape(squeezed) or ())))


class ReshapeOnce(RewriteRuleClassBase):
    """Reshape of a Reshape as one: the value between may have too many dimensions."""

    def pattern(self, op: Any, between: Any, second: Any) -> Any:
        """The second Reshape: other nodes may read the value between, too."""
        return op.Reshape(between, second, _outputs=["reshaped"])

    def check(self, context: Any, between: ir.Value, reshaped: ir.Value, **_: Any) -> bool:
        """The operand comes from a Reshape; the result has a static shape and elements."""
        sizes, first = shape(reshaped), between.producer()
        return sizes is not None and all(sizes) and first is not None and first.op_type == "Reshape"

    def rewrite(self, op: Any, between: ir.Value, reshaped: ir.Value, **_: Any) -> Any:
        """One Reshape to the result's shape."""
        sizes = shape(reshaped)
        assert sizes is not None
        return op.Reshape(node_of(between).inputs[0], integers(op, *sizes))


class RowsTimesMatrix(RewriteRuleClassBase):
    """MatMul of a Reshape's result with a matrix, over all rows at once."""

    def pattern(self, op: Any, x: Any, matrix: Any) -> Any:
        """MatMul of any values."""
        return op.MatMul(x, matrix, _outputs=["product"])

    def check(self, context: Any, x: ir.Value, matrix: ir.Value, product: ir.Value) -> bool:
        """Rows in batches, from a Reshape, times a constant matrix."""
        sizes, known, node = shape(product), constant(matrix), x.producer()
        reshaped = node is not None and node.op_type == "Reshape"
        return (
            reshaped
            and sizes is not None
            and len(sizes) > 2
            and known is not None
            and known.ndim == 2
        )

    def rewrite(self, op: Any, x: ir.Value, matrix: ir.Value, product: ir.Value) -> Any:
        """MatMul of rank 2 between two Reshapes."""
        sizes, of_matrix = shape(product), shape(matrix)
        assert sizes is not None
        assert of_matrix is not None
        rows = op.Reshape(x, integers(op, prod(sizes[:-1]), of_matrix[0]))
        return op.Reshape(op.MatMul(rows, matrix), integers(op, *sizes))


def _blocks(sizes: tuple[int, ...], perm: list[int]) -> tuple[list[int], list[int]]:
    """The sizes of the blocks of dimensions that a permutation keeps together, and their new order.

    Dimensions of size 1 belong to no block.
    """
    kept = [k for k in perm if sizes[k] != 1]
    runs: list[list[int]] = []
    real = sorted(kept)
    after = dict(pairwise(real))
    for k in kept:
        if runs and after.get(runs[-1][-1]) == k:
            runs[-1].append(k)
        else:
            runs.append([k])
    ordered = sorted(runs)
    blocks = [prod(sizes[k] for k in run) for run in ordered]
    return blocks, [ordered.index(run) for run in runs]


LOW_RANK = Pass(
    "low-rank",
    "The HTP has tensors of at most five dimensions, and Neg of four. The windows of swin, cut out "
    "by a Reshape and a Transpose of six, fall to the CPU; so do the sampled points of "
    "deformable_detr.",
    rules(LowRankTranspose, LowRankNeg, LowRankGather, SqueezeAsReshape, *RULES),
)

RESHAPE_ONCE = Pass(
    "reshape-once",
    "A value between two Reshapes (the windows of swin) may have more dimensions than the HTP has.",
    rules(ReshapeOnce),
)

FLAT_MATMUL = Pass(
    "flat-matmul",
    "A product of rank 3 with a matrix between two Reshapes (swin) ends in `MEM_ALLOC 1002`.",
    rules(RowsTimesMatrix),
)
