"""Einsum as sums, transposes and matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from string import ascii_letters
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import integers, is_float, node_of, rules, shape


class EinsumAsMatMul(RewriteRuleClassBase):
    """Einsum as products of one operand after the other, over labels that nothing else needs."""

    def pattern(self, op: Any, first: Any) -> Any:
        """Einsum of any number of operands."""
        return op.Einsum(first, _allow_other_inputs=True, _outputs=["product"])

    def check(self, context: Any, product: ir.Value, **_: Any) -> bool:
        """Operands are float32 of static shapes, without diagonals and broadcasting."""
        operands = node_of(product).inputs
        return all(v is not None and is_float(v) for v in operands) and bool(_sized(product))

    def rewrite(self, op: Any, product: ir.Value, **_: Any) -> Any:
        """ReduceSum, Transpose, Reshape and MatMul for each operand."""
        found = _sized(product)
        assert found is not None
        (labels, *others), out, sizes = found
        value, *operands = node_of(product).inputs
        for i, (operand, theirs) in enumerate(zip(operands, others, strict=True)):
            kept = set(out).union(*others[i + 1 :])
            value, labels = _product(op, (value, labels), (operand, theirs), kept, sizes)
        value, labels = _summed(op, value, labels, set(out))
        return _turned(op, value, labels, out)


def terms(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The labels of each operand and of the result of an equation, with ellipses written out.

    Args:
        equation: as `numpy.einsum` takes it.
        ranks: of the operands.
    """
    left, arrow, out = equation.replace(" ", "").partition("->")
    given = left.split(",")
    hidden = [
        rank - len(term) + 3 if "..." in term else 0
        for term, rank in zip(given, ranks, strict=True)
    ]
    spare = [letter for letter in ascii_letters if letter not in equation][: max(hidden)]
    found = [
        term.replace("...", "".join(spare[len(spare) - count :]))
        for term, count in zip(given, hidden, strict=True)
    ]
    if not arrow:
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        out = "..." + "".join(once)
    return found, out.replace("...", "".join(spare))


def _sized(product: ir.Value) -> tuple[list[str], str, dict[str, int]] | None:
    """The operands' labels, the result's, and label -> size; None for a diagonal or broadcast."""
    node = node_of(product)
    shapes = [shape(value) for value in node.inputs]
    known = [each for each in shapes if each is not None]
    if len(known) < len(shapes):
        return None
    labels, out = terms(node.attributes["equation"].as_string(), [len(each) for each in known])
    sizes: dict[str, int] = {}
    for term, each in zip(labels, known, strict=True):
        if len(set(term)) < len(term):
            return None  # a diagonal
        for label, size in zip(term, each, strict=True):
            if sizes.setdefault(label, size) != size:
                return None  # broadcast
    return labels, out, sizes


_Term = tuple[Any, str]


def _product(op: Any, a: _Term, b: _Term, kept: set[str], sizes: Mapping[str, int]) -> _Term:
    """The product of two operands, with the labels that are kept."""
    x, of_x = _summed(op, *a, kept | set(b[1]))
    y, of_y = _summed(op, *b, kept | set(a[1]))
    batch = [label for label in of_x if label in of_y and label in kept]
    inner = [label for label in of_x if label in of_y and label not in kept]
    left = [label for label in of_x if label not in of_y]
    right = [label for label in of_y if label not in of_x]

    def arranged(value: Any, labels: str, *groups: list[str]) -> Any:
        blocks = [block for block in (batch, *groups) if block or block is not batch]
        turned = _turned(op, value, labels, [label for block in blocks for label in block])
        return op.Reshape(turned, integers(op, *(_size(block, sizes) for block in blocks)))

    value = op.MatMul(arranged(x, of_x, left, inner), arranged(y, of_y, inner, right))
    labels = "".join([*batch, *left, *right])
    return op.Reshape(value, integers(op, *(sizes[label] for label in labels))), labels


def _summed(op: Any, value: Any, labels: str, kept: set[str]) -> _Term:
    """A value summed over the dimensions whose labels are not kept."""
    gone = [i for i, label in enumerate(labels) if label not in kept]
    if not gone:
        return value, labels
    left = "".join(label for label in labels if label in kept)
    return op.ReduceSum(value, integers(op, *gone), keepdims=0), left


def _turned(op: Any, value: Any, labels: str, wanted: Iterable[str]) -> Any:
    order = [labels.index(label) for label in wanted]
    return value if order == sorted(order) else op.Transpose(value, perm=order)


def _size(block: Iterable[str], sizes: Mapping[str, int]) -> int:
    return prod(sizes[label] for label in block)


EINSUM = Pass(
    "einsum",
    "The provider takes a few equations of Einsum only: the graph is split at others (mamba2).",
    rules(EinsumAsMatMul),
)
