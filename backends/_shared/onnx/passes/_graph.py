"""Helpers of the rewrite passes, over onnxscript's rewriter: shapes, constants, rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleClassBase, RewriteRuleSet

from harness.contract import Array


def rules(*classes: type[RewriteRuleClassBase]) -> Callable[[ir.Model], int]:
    """A function that applies rewrite rules all over a model and counts the places rewritten."""
    rule_set = RewriteRuleSet([each.rule() for each in classes])

    def apply(model: ir.Model) -> int:
        return int(rule_set.apply_to_model(model))

    return apply


def constant(value: ir.Value | None) -> Array | None:
    """The array of a value that is a constant; None for any other value."""
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return None if tensor is None else tensor.numpy()


def shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The static shape of a value; None where a size is unknown."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(dim) for dim in value.shape.numpy())


def node_of(value: ir.Value) -> ir.Node:
    """The node that computes a value."""
    node = value.producer()
    assert node is not None
    return node


def is_float(value: ir.Value) -> bool:
    """Whether a value is known to be float32."""
    return bool(value.dtype == ir.DataType.FLOAT)


def initializer(op: Any, array: Array) -> Any:
    """A constant of the new graph; `op` is the rewriter's context."""
    return op.initializer(ir.tensor(np.ascontiguousarray(array)), name=_fresh())


def integers(op: Any, *sizes: int) -> Any:
    """A vector of int64 as a constant of the new graph: a shape, axes or places."""
    return initializer(op, np.array(sizes, dtype=np.int64))


_count = iter(range(10**9))


def _fresh() -> str:
    return f"rewritten_{next(_count)}"
