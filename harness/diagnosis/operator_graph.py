"""Operator graph: a piece's operators of ATen with their recorded values, and parts of the graph.

The graph is a trace (`torch.fx`), made before any operator is decomposed, so that it has the
operators that a converter meets.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.contract import Arrays

#: A frame in the stack trace of an operator: file and function.
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line \d+, in (?P<name>\w+)')

#: Frames that say nothing about the model's code: PyTorch's own, and the harness's.
_PLUMBING = re.compile(r"[\\/](?:torch|harness)[\\/]")

#: Functions that are the code of a module, which the module's name says already.
_FORWARD = re.compile(r"^_?forward")


@dataclass(frozen=True, slots=True)
class OperatorGraph:
    """A traced graph, and the value of each node on the example.

    Attributes:
        graph: a `torch.fx.GraphModule`.
        values: by the node's name; tensors are clones.
        operators: the nodes that compute something, in order.
    """

    graph: Any
    values: dict[str, Any] = field(repr=False)
    operators: Sequence[Any] = field(repr=False)

    def ancestors(self, node: Any) -> list[Any]:
        """The operators whose results a node needs, in order, the node last."""
        needed, waiting = set(), [node]
        while waiting:
            one = waiting.pop()
            if one not in needed:
                needed.add(one)
                waiting += one.all_input_nodes
        return [each for each in self.operators if each in needed]

    def part(self, chosen: Sequence[Any], *, every: bool = False) -> tuple[Any, Arrays]:
        """A part of the graph as a module whose forward takes tensors by name, and its inputs.

        Args:
            chosen: the operators of the part, in order.
            every: whether to return each operator's tensors; else the last one's.

        Returns:
            The module, which returns tensors by node, and the recorded inputs.
        """
        import torch

        graph = torch.fx.Graph()
        copies: dict[Any, Any] = {}
        inputs: Arrays = {}
        kept = set(chosen)

        def placed(node: Any) -> Any:
            if node in copies:
                return copies[node]
            value = self.values[node.name]
            if node.op == "get_attr":
                copies[node] = graph.get_attr(node.target)
            elif _is_item(node) and _source(node) in kept:
                copies[node] = graph.node_copy(node, placed)
            elif isinstance(value, torch.Tensor):
                copies[node] = self._placeholder(graph, node, value, inputs)
            else:
                raise ValueError(f"{node.name} is no tensor, and no input of a part can be that")
            return copies[node]

        # All placeholders first, as a graph has them.
        for node in chosen:
            for used in node.all_input_nodes:
                if used not in kept and not (_is_item(used) and _source(used) in kept):
                    placed(used)
        outputs = {}
        for node in chosen:
            copies[node] = graph.node_copy(node, placed)
            if every or node is chosen[-1]:
                for made in self.tensors_of(node):
                    # A later operator may write into it.
                    clone = torch.ops.aten.clone.default
                    outputs[made.name] = graph.call_function(clone, (placed(made),))
        graph.output(outputs)
        return torch.fx.GraphModule(self.graph, graph).eval(), inputs

    def _placeholder(self, graph: Any, node: Any, value: Any, inputs: Arrays) -> Any:
        import torch

        name = f"v_{node.name}"
        held = value
        made = graph.placeholder(name)
        if value.is_complex():
            held = torch.view_as_real(value)
            made = graph.call_function(torch.ops.aten.view_as_complex.default, (made,))
        if held.dtype in (torch.bfloat16, torch.float16):
            held = held.float()
        inputs[name] = np.array(held.resolve_conj().resolve_neg().numpy())
        return made

    def tensors_of(self, node: Any) -> list[Any]:
        """The nodes that hold the tensors of an operator: itself, or the items of its tuple."""
        import torch

        if isinstance(self.values[node.name], torch.Tensor):
            return [node]
        items = [user for user in node.users if _is_item(user)]
        return [item for item in items if isinstance(self.values[item.name], torch.Tensor)]


def trace(module: Any, inputs: Arrays) -> OperatorGraph:
    """The graph of a module's operators on one input, in float32.

    Args:
        module: its forward takes tensors by name and returns tensors by name.
        inputs: arrays by name.

    Raises:
        What PyTorch raises on code that it cannot trace.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    names = list(inputs)
    tensors = [torch.from_numpy(np.array(inputs[name])) for name in names]

    def function(*values: Any) -> Any:
        return module(**dict(zip(names, values, strict=True)))

    with torch.no_grad():
        graph = make_fx(
            function,
            pre_dispatch=True,
            record_stack_traces=True,
            _error_on_data_dependent_ops=False,
        )(*tensors)
    _without_modes(graph.graph)
    _repair(graph.graph)
    graph.recompile()
    values: dict[str, Any] = {}

    class Recorder(torch.fx.Interpreter):
        """Runs the graph and keeps every value."""

        def run_node(self, n: Any) -> Any:
            """Run one node."""
            found = super().run_node(n)
            values[n.name] = found.clone() if isinstance(found, torch.Tensor) else found
            return found

    with torch.no_grad():
        Recorder(graph).run(*[tensor.clone() for tensor in tensors])
    compute = [n for n in graph.graph.nodes if n.op == "call_function" and not _is_item(n)]
    return OperatorGraph(graph, values, compute)


def _without_modes(graph: Any) -> None:
    """Take out what enters and leaves modes, such as autocast, and what nobody uses."""
    import torch

    for node in reversed(list(graph.nodes)):
        if node.op != "call_function" or node.users or _is_item(node):
            continue
        if not isinstance(node.target, torch._ops.OpOverload):
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _repair(graph: Any) -> None:
    """Put operators that a part of the graph cannot have as they are into another form."""
    import torch

    for node in graph.nodes:
        if node.target is torch.ops.aten.view.default:  # recorded inputs have other strides
            node.target = torch.ops.aten.reshape.default
        elif node.target is torch.ops.aten.full_like.default and isinstance(node.args[1], bool):
            node.args = (node.args[0], int(node.args[1]))  # TorchScript takes no truth there


def _is_item(node: Any) -> bool:
    return node.op == "call_function" and node.target is operator.getitem


def _source(node: Any) -> Any:
    return node.args[0]


def operator_name(node: Any) -> str:
    """The name of an operator, as `roll`."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(packet.__name__ if packet is not None else getattr(node.target, "__name__", node))


def function_of(node: Any) -> str:
    """The function of the modeling code in which an operator stands; empty for a forward."""
    frames = [
        match["name"]
        for match in _FRAME.finditer(node.meta.get("stack_trace") or "")
        if not _PLUMBING.search(match["file"])
    ]
    return "" if not frames or _FORWARD.match(frames[-1]) else frames[-1]


def describe(chosen: Sequence[Any]) -> str:
    """A chain of operators in words, as `roll after window_reverse`.

    Neighbours that stand in one function of the modeling code have its name. Of a long chain, its
    end is told.
    """
    *before, last = chosen
    steps: list[str] = []
    for node in before:
        name = function_of(node)
        name = name if name and name != function_of(last) else operator_name(node)
        if name not in steps[-1:]:
            steps.append(name)
    told = steps[-MOST_STEPS:]
    text = operator_name(last)
    return f"{text} after {', '.join(told)}" if told else text


#: How many steps before its last operator a chain is told by.
MOST_STEPS = 3
