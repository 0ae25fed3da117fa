"""Operators on more dimensions than the HTP has, in fewer."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import constant, dims, node_of, rules, shape
from backends._shared.onnx.passes.many_dimensions import LARGEST_RANK, RULES


class LowRankTranspose(RewriteRuleClassBase):
    """A transpose as one of the blocks of dimensions that stay together, else as several.

    Any order is reached by moving one block at a time in front of others, which is a transpose of
    at most four dimensions: what stays in front, what is passed, what moves, and the rest.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        """Any transpose."""
        return op.Transpose(x, _outputs=["turned"])

    def check(self, context: Any, x: ir.Value, **_: Any) -> bool:
        """Too many dimensions, all of them static."""
        sizes = shape(x)
        return sizes is not None and len(sizes) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, turned: ir.Value) -> Any:
        """Reshapes around transposes."""
        sizes, node = shape(x), turned.producer()
        assert sizes is not None
        assert node is not None
        perm = list(node.attributes.get_ints("perm", ()) or reversed(range(len(sizes))))
        blocks, order = _blocks(sizes, perm)
        value = x
        if len(blocks) <= LARGEST_RANK:
            value = op.Transpose(op.Reshape(value, dims(op, *blocks)), perm=order)
        else:
            now = list(range(len(blocks)))
            for i, wanted in enumerate(order):
                j = now.index(wanted)
                if i == j:
                    continue
                width = [blocks[k] for k in now]
                parts = (prod(width[:i]), prod(width[i:j]), width[j], prod(width[j + 1 :]))
                value = op.Transpose(op.Reshape(value, dims(op, *parts)), perm=[0, 2, 1, 3])
                now.insert(i, now.pop(j))
        return op.Reshape(value, dims(op, *(sizes[k] for k in perm)))


class LowRankNeg(RewriteRuleClassBase):
    """A sign, over all but the last dimension at once."""

    def pattern(self, op: Any, x: Any) -> Any:
        """The operator."""
        return op.Neg(x)

    def check(self, context: Any, x: ir.Value) -> bool:
        """More dimensions than this operator may have, which is one less than others."""
        sizes = shape(x)
        return sizes is not None and len(sizes) >= LARGEST_RANK and all(sizes)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """Reshape, Neg, Reshape."""
        sizes = shape(x)
        assert sizes is not None
        return op.Reshape(op.Neg(op.Reshape(x, dims(op, -1, sizes[-1]))), dims(op, *sizes))


class LowRankGather(RewriteRuleClassBase):
    """Choosing along one axis: what comes before it is one dimension, and what comes after it."""

    def pattern(self, op: Any, x: Any, indices: Any) -> Any:
        """The operator."""
        return op.Gather(x, indices, _outputs=["gathered"])

    def check(self, context: Any, x: ir.Value, indices: ir.Value, gathered: ir.Value) -> bool:
        """Too many dimensions, all of them static."""
        sizes, result = shape(x), shape(gathered)
        if sizes is None or result is None:
            return False
        return max(len(sizes), len(result)) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, indices: ir.Value, gathered: ir.Value) -> Any:
        """Reshape, Gather, Reshape."""
        sizes, result = shape(x), shape(gathered)
        assert sizes is not None
        assert result is not None
        axis = node_of(gathered).attributes.get_int("axis", 0) % len(sizes)
        flat = dims(op, prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :]))
        chosen = op.Gather(op.Reshape(x, flat), op.Reshape(indices, dims(op, -1)), axis=1)
        return op.Reshape(chosen, dims(op, *result))


class SqueezeAsReshape(RewriteRuleClassBase):
    """Leaving out dimensions of size 1 where there are too many."""

    def pattern(self, op: Any, x: Any) -> Any:
        """With or without axes."""
        return op.Squeeze(x, _allow_other_inputs=True, _outputs=["squeezed"])

    def check(self, context: Any, x: ir.Value, squeezed: ir.Value) -> bool:
        """Too many dimensions, all of them static."""
        sizes, result = shape(x), shape(squeezed)
        known = sizes is not None and result is not None and all(result)
        return known and len(sizes or ()) > LARGEST_RANK

    def rewrite(self, op: Any, x: ir.Value, squeezed: ir.Value) -> Any:
        """Reshape."""
        return op.Reshape(x, dims(op, *(shape(squeezed) or ())))


class ReshapeOnce(RewriteRuleClassBase):
    """A reshape of a reshape: what lies between may have too many dimensions."""

    def pattern(self, op: Any, between: Any, second: Any) -> Any:
        """The second one: others may read what lies between, too."""
        return op.Reshape(between, second, _outputs=["reshaped"])

    def check(self, context: Any, between: ir.Value, reshaped: ir.Value, **_: Any) -> bool:
        """A first one, and a result whose shape is static and has elements."""
        sizes, first = shape(reshaped), between.producer()
        return sizes is not None and all(sizes) and first is not None and first.op_type == "Reshape"

    def rewrite(self, op: Any, between: ir.Value, reshaped: ir.Value, **_: Any) -> Any:
        """One."""
        sizes = shape(reshaped)
        assert sizes is not None
        return op.Reshape(node_of(between).inputs[0], dims(op, *sizes))


class RowsTimesMatrix(RewriteRuleClassBase):
    """A product of what a reshape gives with a matrix, over all rows at once."""

    def pattern(self, op: Any, x: Any, matrix: Any) -> Any:
        """The product."""
        return op.MatMul(x, matrix, _outputs=["product"])

    def check(self, context: Any, x: ir.Value, matrix: ir.Value, product: ir.Value) -> bool:
        """Rows in several batches that a reshape gives, one constant matrix."""
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
        """Reshape, MatMul, Reshape."""
        sizes, of_matrix = shape(product), shape(matrix)
        assert sizes is not None
        assert of_matrix is not None
        rows = op.Reshape(x, dims(op, prod(sizes[:-1]), of_matrix[0]))
        return op.Reshape(op.MatMul(rows, matrix), dims(op, *sizes))


def _blocks(sizes: tuple[int, ...], perm: list[int]) -> tuple[list[int], list[int]]:
    """The sizes of the blocks of dimensions that stay together, and the order of the blocks.

    Dimensions of size 1 count for nothing: they join the block before them.
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
    "The HTP has tensors of at most five dimensions, and Neg of four: windows and patches, cut out "
    "by a reshape and a transpose of six, fall to the CPU.",
    rules(LowRankTranspose, LowRankNeg, LowRankGather, SqueezeAsReshape, *RULES),
)

RESHAPE_ONCE = Pass(
    "reshape-once",
    "What lies between two reshapes may have more dimensions than the HTP has.",
    rules(ReshapeOnce),
)

FLAT_MATMUL = Pass(
    "flat-matmul",
    "A product of rank 3 with a matrix between two reshapes ends in `MEM_ALLOC 1002`.",
    rules(RowsTimesMatrix),
)
