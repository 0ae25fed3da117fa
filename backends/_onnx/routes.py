"""The ladder of exporters: the first one whose graph is right is taken, and its name is kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer

from backends._onnx.trace import Trace, quiet

#: What `torch.onnx.export(dynamo=True)` emits by itself, so that both routes speak one dialect.
OPSET = 20


@dataclass(frozen=True, slots=True)
class Route:
    """One way from a module to a graph.

    Attributes:
        name: kept with each result.
        export: raises what the exporter raises.
    """

    name: str
    about: str
    export: Callable[[Trace], ir.Model]


class ExportFailed(Exception):
    """No route led to a right graph; the message says of each route why."""


def _dynamo(trace: Trace) -> ir.Model:
    with quiet():
        program = torch.onnx.export(
            trace.module,
            trace.tensors,
            dynamo=True,
            input_names=list(trace.inputs),
            output_names=_output_names(trace),
            verbose=False,
            opset_version=OPSET,
        )
    return program.model


def _torchscript(trace: Trace) -> ir.Model:
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
    model = ir.serde.deserialize_model(onnx.load_from_string(written.getvalue()))
    optimizer.optimize(model)
    return model


ROUTES: tuple[Route, ...] = (
    Route("dynamo", "torch.export: sees the whole program, static shapes", _dynamo),
    Route("torchscript", "tracing: values of one run decide what depends on data", _torchscript),
)


def why(error: BaseException) -> str:
    """The first telling line of the innermost cause: exporters wrap what went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = (line.strip() for line in str(error).splitlines())
    text = next((line for line in lines if any(c.isalpha() for c in line)), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _output_names(trace: Trace) -> list[str]:
    return [f"output_{i}" for i in range(len(trace.module.leaves))]
