"""RMS norms and attention masks in the forms that a quantised graph needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase

from backends._shared.onnx.passes import Pass
from backends._shared.onnx.passes._graph import constant, initializer, rules

#: A constant below this one masks: it stands for minus infinity.
MASKED = -1e30

#: The masking constant of a quantised graph; its share in a softmax is exp(-50), or 2e-22.
LEAST = -50.0


class NormByDivision(RewriteRuleClassBase):
    """The scaling of an RMS norm, `x * reciprocal(sqrt(v))`, as `x / sqrt(v)`."""

    def pattern(self, op: Any, x: Any, v: Any) -> Any:
        """The scaling of an RMS norm."""
        return op.Mul(x, op.Reciprocal(op.Sqrt(v)))

    def rewrite(self, op: Any, x: ir.Value, v: ir.Value) -> Any:
        """Div."""
        return op.Div(x, op.Sqrt(v))


class MaskOfLeast(RewriteRuleClassBase):
    """Where between a value and minus infinity, with `LEAST` in the place of minus infinity."""

    def pattern(self, op: Any, seen: Any, yes: Any, no: Any) -> Any:
        """Where of any values."""
        return op.Where(seen, yes, no)

    def check(self, context: Any, yes: ir.Value, no: ir.Value, **_: Any) -> bool:
        """One of the two values is a masking constant."""
        return _masks(yes) or _masks(no)

    def rewrite(self, op: Any, seen: ir.Value, yes: ir.Value, no: ir.Value) -> Any:
        """Where with constants of at least `LEAST`."""
        return op.Where(seen, _clamped(op, yes), _clamped(op, no))


def _masks(value: ir.Value) -> bool:
    known = constant(value)
    return known is not None and known.dtype.kind == "f" and bool((known < MASKED).any())


def _clamped(op: Any, value: ir.Value) -> Any:
    known = constant(value)
    if known is None or not _masks(value):
        return value
    return initializer(op, np.maximum(known, np.float32(LEAST)))


DIVIDED_NORM = Pass(
    "divided-norm",
    "The RMS norm that the provider fuses (llama) is wrong in a quantised graph.",
    rules(NormByDivision),
)

FINITE_MASK = Pass(
    "finite-mask",
    "An attention mask of -3e38 (llama) sets the range of 8 or 16 bits: one step of that range is "
    "left for all other values.",
    rules(MaskOfLeast),
)
