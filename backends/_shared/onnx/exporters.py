"""The ladder of exporters: the first one whose graph is right is taken, and its name is kept."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from backends._shared.onnx.export_speedups import unwritten_code
from backends._shared.onnx.trace import Trace, quiet
from harness.contract import Arrays
from harness.toolkit import fingerprints

#: What `torch.onnx.export(dynamo=True)` emits by itself, so that both routes speak one dialect.
OPSET = 20

#: Operators whose result is as long as values say.
SIZED_BY_VALUES = frozenset({"NonZero", "Compress", "Unique"})

#: So many integers are sizes rather than a text or a mask.
HANDFUL = 16


@dataclass(frozen=True, slots=True)
class Captured:
    """A module's program, of which a graph can be made.

    Attributes:
        sized_by_values: whether the length of a tensor in it follows from values.
        graph: which takes most of the time.
        program: the same for two that are the same program, of the same inputs; empty if unknown.
    """

    sized_by_values: bool
    graph: Callable[[], ir.Model]
    program: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One way from a module to a graph.

    Attributes:
        name: kept with each result.
        capture: raises what the exporter raises, as the graph of what it gives does.
        fixes: which inputs the graph may hold as constants, given examples of all that it is asked,
            the plain one first; none by default.
    """

    name: str
    about: str
    capture: Callable[[Trace], Captured]
    fixes: Callable[[Sequence[Arrays]], frozenset[str]] | None = None


class ExportFailed(Exception):
    """No route led to a right graph; the message says of each route why."""


def _dynamo(trace: Trace) -> Captured:
    with quiet(), unwritten_code():
        program = torch.export.export(trace.module, trace.tensors, strict=False)

    def graph() -> ir.Model:
        with quiet(), unwritten_code():
            made = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(trace.inputs),
                output_names=_output_names(trace),
                verbose=False,
                opset_version=OPSET,
            )
        return made.model

    sized_by_values = any(map(_is_sized_by_values, program.graph.nodes))
    return Captured(sized_by_values, graph, _fingerprint(program))


def _fingerprint(program: torch.export.ExportedProgram) -> str:
    """A hash of what a program computes: its graph, and the tensors that the capture made for it.

    Those of the module are not among them: a route does not change them.
    """
    found = hashlib.sha256(str(program.graph).encode())
    for name, value in sorted(program.constants.items()):
        if isinstance(value, torch.Tensor):
            found.update(f"{name}: {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().contiguous().flatten()
            found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _is_sized_by_values(node: torch.fx.Node) -> bool:
    """Whether a tensor's length is a symbol without a value, or what a mask chooses.

    Of the latter the program may say how many there are, having checked that; the graph does not.
    """
    if node.target is torch.ops.aten.index.Tensor:
        positions = (each.meta["val"] for each in node.args[1] if each is not None)
        if any(each.dtype == torch.bool for each in positions):
            return True
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and bool(free_unbacked_symbols(value.shape))


def _recorded(trace: Trace) -> Captured:
    trace.module.answers = trace.answers
    return _dynamo(trace)


def _torchscript(trace: Trace) -> Captured:
    written = io.BytesIO()
    with quiet():
        torch.onnx.export(
            trace.module,
            trace.tensors,
            written,
            dynamo=False,
            input_names=list(trace.inputs),
            output_names=_output_names(trace),
            opset_version=OPSET,
        )
    proto = onnx.load_from_string(written.getvalue())
    sized_by_values = any(node.op_type in SIZED_BY_VALUES for node in proto.graph.node)

    def graph() -> ir.Model:
        model = ir.serde.deserialize_model(proto)
        optimizer.optimize(model)
        return model

    return Captured(sized_by_values, graph)


def _sizes(examples: Sequence[Arrays]) -> frozenset[str]:
    """A handful of integers that are the same in every example: the sizes of images and sounds."""
    first = examples[0]
    return frozenset(name for name in _unchanging(examples) if first[name].size <= HANDFUL)


def _unchanging(examples: Sequence[Arrays]) -> frozenset[str]:
    """Integers that are the same in every example: sizes, and masks of what is not padding.

    A padded example changes the masks of tokens, and moves those of images among them.
    """
    first, *others = examples
    return frozenset(
        name
        for name, array in first.items()
        if array.dtype.kind in "iub" and all(np.array_equal(array, other[name]) for other in others)
    )


ROUTES: tuple[Route, ...] = (
    Route("dynamo", "torch.export: sees the whole program, static shapes", _dynamo),
    Route("dynamo-sizes", "the same, the sizes of images and sounds as constants", _dynamo, _sizes),
    Route("dynamo-masks", "the same, masks that padding does not change too", _dynamo, _unchanging),
    Route(
        "dynamo-recorded",
        "what Python reads from tensors is what it read on the plain example",
        _recorded,
        _sizes,
    ),
    Route(
        "torchscript",
        "tracing: values of one run decide what depends on data",
        _torchscript,
        _sizes,
    ),
)


def why(error: BaseException) -> str:
    """The first telling line of the innermost cause: exporters wrap what went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = fingerprints.telling_line(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _output_names(trace: Trace) -> list[str]:
    return [f"output_{i}" for i in range(len(trace.module.leaves))]
