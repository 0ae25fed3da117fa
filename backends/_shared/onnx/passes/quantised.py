"""What a quantised graph needs beside what a graph in floating point does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import const, constant, rules

#: A constant below this stands for minus infinity.
MASKED = -1e30

#: What stands for it in a quantised graph: a softmax gives 2e-22 for it.
LEAST = -50.0


class NormByDivision(RewriteRuleClassBase):
    """`x * reciprocal(sqrt(v))` as `x / sqrt(v)`."""

    def pattern(self, op: Any, x: Any, v: Any) -> Any:
        """The scaling of an RMS norm."""
        return op.Mul(x, op.Reciprocal(op.Sqrt(v)))

    def rewrite(self, op: Any, x: ir.Value, v: ir.Value) -> Any:
        """One division."""
        return op.Div(x, op.Sqrt(v))


class MaskOfLeast(RewriteRuleClassBase):
    """A choice between what is seen and minus infinity, with a number that a step can reach."""

    def pattern(self, op: Any, seen: Any, yes: Any, no: Any) -> Any:
        """Any choice."""
        return op.Where(seen, yes, no)

    def check(self, context: Any, yes: ir.Value, no: ir.Value, **_: Any) -> bool:
        """One of the two is a constant of that kind."""
        return _masks(yes) or _masks(no)

    def rewrite(self, op: Any, seen: ir.Value, yes: ir.Value, no: ir.Value) -> Any:
        """The same choice."""
        return op.Where(seen, _clamped(op, yes), _clamped(op, no))


def _masks(value: ir.Value) -> bool:
    known = constant(value)
    return known is not None and known.dtype.kind == "f" and bool((known < MASKED).any())


def _clamped(op: Any, value: ir.Value) -> Any:
    known = constant(value)
    if known is None or not _masks(value):
        return value
    return const(op, np.maximum(known, np.float32(LEAST)))


DIVIDED_NORM = Pass(
    "divided-norm",
    "Quantised, the RMS norm that the provider fuses is wrong.",
    rules(NormByDivision),
)

FINITE_MASK = Pass(
    "finite-mask",
    "A range that reaches to minus infinity leaves one step for everything else.",
    rules(MaskOfLeast),
)
