"""What the fork server imports once: the exporter with its tables, and ONNX Runtime."""

from __future__ import annotations

import functools
import logging
from typing import Any

import onnxruntime  # noqa: F401
import onnxscript  # noqa: F401
import torch
from onnxscript import rewriter
from onnxscript.rewriter import _basics, _matcher
from torch.onnx._internal.exporter import _registration

from backends._onnx import exported  # noqa: F401
from backends._onnx.trace import quiet

# Of torchvision's operators, which nothing here has.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


def _read_translations_once() -> None:
    """Let every export use the table of the first one.

    PyTorch parses the source of each of torchlib's 500 translations anew for each export, which
    is a quarter of the time of a small model's. Nothing here changes the table.
    """
    registry = _registration.ONNXRegistry
    registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


class _FirstNodeFirst(_matcher.SimplePatternMatcher):
    """Looks at a node before it lists the graph for what may go with it."""

    def match(self, model: Any, graph: Any, node: Any, **named: Any) -> Any:
        """No match, where the node is not what the pattern begins with."""
        first = self.pattern.output_nodes[0].op_identifier()
        if first is not None and node.op_identifier() != first:
            return _basics.MatchResult().fail("Another operator.")
        return super().match(model, graph, node, **named)


def _match_pairs_quickly() -> None:
    """Let rules on two nodes list a graph's nodes for nodes of their own operator alone.

    onnxscript's optimizer lists them for every node, once for each such rule, and so is quadratic
    in the size of a graph: most of the time of optimizing one of 2,500 nodes.
    """
    for rule in rewriter._DEFAULT_REWRITE_RULES:
        pattern = rule._matcher.pattern
        if not pattern.has_single_output_node:
            rule._matcher = _FirstNodeFirst(pattern)


def _warm() -> None:
    """The first export of a process imports much and reads tables."""
    with quiet():
        torch.onnx.export(
            torch.nn.Linear(1, 1).eval(), (torch.zeros(1, 1),), dynamo=True, verbose=False
        )


_read_translations_once()
_match_pairs_quickly()
_warm()
