"""Monkeypatches that spare exporters what they do anew for each model, or for nothing.

Graphs stay the same: `tests/test_onnx_export_speedups.py` compares them, and so does
`benchmarks/onnx_export.py`, which measures the CPU time saved.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch._export.utils
from onnxscript.rewriter import RewriteRule
from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen
from torch.onnx._internal.exporter import _decomp, _registration


def read_tables_once() -> None:
    """Memoise the tables of translations and decompositions that an export reads.

    PyTorch parses the source of each of torchlib's 500 translations anew for each export, asks its
    dispatcher for all composite operators once for each of 27 namespaces, and again, and chooses
    the decompositions that ONNX needs: together half of the time of a small model's export. Nothing
    in this project changes the tables, or registers an operator in C++ after the first export.
    """
    registry = _registration.ONNXRegistry
    registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))
    utils = torch._export.utils
    utils._materialize_cpp_cia_ops = functools.cache(utils._materialize_cpp_cia_ops)
    choose = functools.cache(_decomp.create_onnx_friendly_decomposition_table)
    _decomp.create_onnx_friendly_decomposition_table = lambda known: dict(choose(frozenset(known)))


def compare_operators_first() -> None:
    """Let a rewrite rule compare a node's operator before it sets up a match.

    onnxscript sets up a whole match for each pair of a node and one of its 46 rules, and for rules
    on two nodes lists the graph: most of the time of its optimizer, quadratic in the graph's size.
    """
    rewrite = RewriteRule.try_rewrite

    @functools.cache
    def operator(rule: RewriteRule) -> tuple[str, str] | None:
        pattern = getattr(rule._matcher, "pattern", None)
        found = pattern and pattern.output_nodes[0].op_identifier()
        return found and found[:2]  # its domain and its type, if it is one

    def try_rewrite(rule: RewriteRule, model: Any, graph: Any, node: Any, **named: Any) -> Any:
        wanted = operator(rule)
        if wanted is not None and (node.domain, node.op_type) != wanted:
            return None
        return rewrite(rule, model, graph, node, **named)

    RewriteRule.try_rewrite = try_rewrite


_write: Callable[[Any], Any] = GraphModule.recompile
_code = GraphModule.code


def _deferred_forward(module: Any, *args: Any, **kwargs: Any) -> Any:
    """The `forward` of a graph module whose code is not written yet: write it, then run."""
    _write(module)
    return type(module).forward(module, *args, **kwargs)


def _defer(module: Any) -> None:
    codegen = module._graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):  # read without running the module
        module._in_spec = codegen.pytree_info.in_spec
        module._out_spec = codegen.pytree_info.out_spec
    type(module).forward = _deferred_forward


def _written_code(module: Any) -> Any:
    if type(module).forward is _deferred_forward:
        _write(module)
    return _code.fget(module)


@contextmanager
def deferred_code() -> Iterator[None]:
    """A context in which graph modules write their Python code at their first run, not before.

    An export changes a graph module a dozen to forty times and interprets its graph; hardly one
    runs as Python.
    """
    before = GraphModule.recompile
    GraphModule.recompile = _defer
    GraphModule.code = property(_written_code)  # for good: a module may be asked for its code later
    try:
        yield
    finally:
        GraphModule.recompile = before
