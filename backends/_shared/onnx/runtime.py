"""ONNX Runtime sessions: options, inference, and which provider took which node."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import psutil

from harness.contract import Array, Arrays, Device, ExportedFile, Placement, Unsupported

#: ONNX Runtime's names of element types -> numpy's, where they differ.
_DTYPES = {"float": "float32", "double": "float64"}

#: Operators that convert from and to quantised numbers.
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def options(threads: int = 1) -> Any:
    """Session options: few threads, no messages but errors, a record of the nodes' assignment."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.log_severity_level = 3
    made.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return made


def cpu_session(model: bytes | Path, chosen: Any = None) -> Any:
    """A session on the CPU execution provider."""
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(
        source, chosen or options(), providers=["CPUExecutionProvider"], enable_fallback=0
    )


class Inference:
    """A session that takes and gives arrays by the model's names.

    Args:
        session: an `InferenceSession` without fallback to other providers.
        outputs: the model's name of each output -> its position among the session's outputs.
        fixed: the inputs that the graph holds as constants, with their values.
    """

    def __init__(
        self, session: Any, outputs: Mapping[str, int], fixed: Mapping[str, Array] | None = None
    ) -> None:
        self.session = session
        self.outputs = outputs
        self.fixed = fixed or {}
        # After a failure, `run` would otherwise try again on the CPU without a word.
        session.disable_fallback()
        self._inputs = {value.name: value for value in session.get_inputs()}

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """Outputs of one inference, by name.

        Raises:
            Unsupported: an input has another shape, or a fixed one another value, than the graph
                was made for.
        """
        for name, value in self.fixed.items():
            if not np.array_equal(inputs[name], value):
                raise Unsupported(f"the graph holds the value of {name} as a constant")
        found = self.session.run(None, self.feed(inputs))
        return {name: np.asarray(found[i]) for name, i in self.outputs.items()}

    def feed(self, inputs: Mapping[str, Array]) -> Arrays:
        """The inputs that the graph has: one that reaches no output is dropped by the export.

        Raises:
            Unsupported: one has another shape than the graph.
        """
        feed: Arrays = {}
        for name, wanted in self._inputs.items():
            array = inputs[name]
            if list(array.shape) != list(wanted.shape):
                raise Unsupported(
                    f"the graph has static shapes: expected {name} as {wanted.shape}, found "
                    f"{list(array.shape)}"
                )
            feed[name] = array.astype(_numpy_name(wanted.type), copy=False)
        return feed


class PlacedProgram:
    """A graph in a session, and where its nodes went.

    Args:
        infer: one inference.
        found: the placement.
    """

    def __init__(self, infer: Inference, found: Placement) -> None:
        self.infer = infer
        self.found = found

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.infer(inputs)

    def placement(self) -> Placement:
        """The placement, node by node."""
        return self.found


def processor(provider: str) -> Device:
    """The processor as a device of ONNX Runtime, and the versions of what computes and exports.

    Args:
        provider: the name of the provider that computes there.
    """
    packages = ("onnxruntime", "onnx", "onnxscript", "torch", "transformers")
    return Device(
        name=platform.processor() or platform.machine(),
        kind="cpu",
        versions={name: version(name) for name in packages},
        driver=f"{provider} of ONNX Runtime {ort.__version__}",
        memory_bytes=int(psutil.virtual_memory().total),
    )


def exported_file(
    model: bytes, outputs: Mapping[str, int], inputs: Arrays, path: Path
) -> ExportedFile:
    """A graph as a file, with the arrays of one inference.

    Args:
        model: the serialised graph.
        outputs: the case's name of each output -> its position among the graph's.
        inputs: of the case.
        path: of the file, which gets the suffix `.onnx`.

    Raises:
        Unsupported: the graph takes no inputs of these shapes.
    """
    written = path.with_suffix(".onnx")
    written.write_bytes(model)
    return ExportedFile(written, Inference(cpu_session(model), outputs).feed(inputs), outputs)


def assignment(session: Any) -> dict[str, list[list[str]]]:
    """The session's assignment of nodes: provider -> the op types of each of its subgraphs."""
    found: dict[str, list[list[str]]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        ops = [node.op_type for node in subgraph.get_nodes()]
        found.setdefault(subgraph.ep_name, []).append(ops)
    return found


def placement_on(
    provider: str, assigned: Mapping[str, Sequence[Sequence[str]]], ends: int = 0
) -> Placement:
    """The placement on one provider: the share of nodes that it took, and the ops of other ones.

    Args:
        provider: its name.
        assigned: from `assignment`.
        ends: the number of inputs and outputs of a quantised graph, 0 of any other. Each end is
            converted from or to floating point on the CPU, which is no work of the model.
    """
    counts: dict[str, int] = {}
    mine = 0
    for name, subgraphs in assigned.items():
        for op in (op for ops in subgraphs for op in ops):
            if name == provider:
                mine += 1
            elif op in CONVERSIONS and ends:
                ends -= 1
            else:
                counts[op] = counts.get(op, 0) + 1
    total = mine + sum(counts.values())
    share = mine / total if total else 0.0
    fallen = dict(sorted(counts.items(), key=lambda item: -item[1]))
    parts = len(assigned.get(provider, []))
    evidence = f"graph assignment: {mine} of {total} nodes in {parts} partitions on {provider}"
    return Placement(share, evidence, fallen, {"partitions": parts, "nodes": total})


def _numpy_name(kind: str) -> str:
    """`float32` for `tensor(float)`."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(inner, inner)
