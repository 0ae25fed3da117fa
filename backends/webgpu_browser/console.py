"""ONNX Runtime's messages on a page's console: which provider takes which node."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import onnx

from harness.contract import Placement

_PROVIDER = re.compile(r"[Nn]ode(?:\(s\)|s) placed on \[(?P<name>\w+)\]\. Number of nodes: ?(\d*)")
_NODE = re.compile(r"VerifyEachNodeIsAssignedToAnEp\]\s+(?P<op>\w+) \((?P<name>.*)\)\s*$")

#: Copies between the page's memory and the device, which are no work of the model.
_COPIES = frozenset({"MemcpyFromHost", "MemcpyToHost"})


def assignment(lines: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Provider -> the operator and the name of each of its nodes; of a sole provider, no nodes.

    Args:
        lines: the console's, of a session with `logSeverityLevel: 0`.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    provider = ""
    for line in lines:
        if match := _PROVIDER.search(line):
            provider = match["name"]
            found.setdefault(provider, [])
        elif provider and (match := _NODE.search(line)):
            found[provider].append((match["op"], match["name"]))
    return found


def placement(
    provider: str, assigned: Mapping[str, list[tuple[str, str]]], model: bytes
) -> Placement:
    """The placement on one provider: the share of nodes that compute floating values there.

    Nodes on integers and truth values belong to the bookkeeping of tokens and masks, as on every
    GPU here; onnxruntime-web leaves those of int64 to WebAssembly. They are counted beside. A node
    that the graph does not name, since the optimizer made it, counts as floating.

    Args:
        provider: its name.
        assigned: from `assignment`.
        model: the serialised graph.
    """
    exact = exact_nodes(model)
    elsewhere: Counter[str] = Counter()
    bookkeeping = 0
    for other, nodes in assigned.items():
        if other == provider:
            continue
        for op, name in nodes:
            if op in _COPIES:
                continue
            if name in exact:
                bookkeeping += 1
            else:
                elsewhere[op] += 1
    own = sum(op not in _COPIES for op, _ in assigned.get(provider, []))
    if provider in assigned and len(assigned) == 1:
        share, nodes_said = 1.0, "every node"
    else:
        total = own + elsewhere.total()
        share = own / total if total else 0.0
        nodes_said = f"{own} of {total} nodes with floating values"
    evidence = (
        f"the page's console: {nodes_said} on {provider}, {bookkeeping} of integers elsewhere"
    )
    return Placement(share, evidence, elsewhere, {"nodes": own, "bookkeeping": bookkeeping})


def exact_nodes(model: bytes) -> frozenset[str]:
    """Names of the nodes whose inputs, or whose outputs, are integers and truth values alone."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    floating = {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.UNDEFINED,
    }

    def exact(names: Iterable[str]) -> bool:
        return all(kinds.get(name, 0) not in floating for name in names if name)

    return frozenset(
        node.name for node in graph.node if node.name and (exact(node.output) or exact(node.input))
    )
