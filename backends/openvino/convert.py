"""Conversion of a PyTorch module to an OpenVINO model, in memory, by tracing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backends._shared.export_failed import unconverted
from backends._shared.openvino_without_telemetry import ov  # first: it leaves telemetry out
from backends.openvino import shims
from harness.contract import Arrays, Case

# isort: split
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model, with the argument of each input port and the name of each output.

    Attributes:
        model: an `ov.Model`.
        inputs: the forward argument of each of its parameters.
        outputs: the case's name of each of its results.
    """

    model: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class NamedModule(torch.nn.Module):
    """A module whose forward takes tensors by name and returns a tuple of them.

    The converter learns the names of inputs from forward's signature. A plain `*args` has none, and
    what the trace does not use would shift the others.

    Attributes:
        outputs: the names of what the last forward returned, in order.
    """

    def __init__(self, module: torch.nn.Module, case: Case) -> None:
        super().__init__()
        self.module = module
        self.case = case
        self.outputs: tuple[str, ...] = ()

    def call(self, given: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Forward with the case's options."""
        found = self.case.tensors(self.module(**given, **self.case.options()))
        # Sizes are numbers, and in a trace they are tensors without dimensions.
        found = {n: t for n, t in found.items() if t.ndim or t.is_floating_point()}
        self.outputs = tuple(found)
        return tuple(found.values())


def named_module(module: torch.nn.Module, case: Case, names: Sequence[str]) -> NamedModule:
    """A `NamedModule` whose forward has these arguments."""

    def forward(self: NamedModule, *values: torch.Tensor, **given: torch.Tensor) -> Any:
        return self.call({**dict(zip(names, values, strict=False)), **given})

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *names)]
    vars(forward)["__signature__"] = inspect.Signature(parameters)
    made: NamedModule = type("NamedModule", (NamedModule,), {"forward": forward})(module, case)
    return made


def convert(case: Case, arrays: Arrays, *, repaired: bool) -> Converted:
    """The case's module as an OpenVINO model, by tracing it.

    `torch.export` is no second route: with the shims in place it converted none of the models that
    cannot be traced, and takes minutes for some.

    Args:
        case: the model.
        arrays: the example that it is traced with.
        repaired: with the shims that repair wrong numbers.
    """
    with torch.no_grad(), shims.applied(repaired=repaired):
        module = case.module()
        shims.prepare(module)
        wrapper = named_module(module, case, list(arrays))
        example = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        decoder = TorchScriptPythonDecoder(
            wrapper,
            example_input=example,
            # Tracing twice and comparing finds no fault that the harness's own checks do not.
            trace_kwargs={"check_trace": False},
        )
        try:
            model = ov.convert_model(decoder, example_input=example)
        except Exception as error:
            # What matters is at the end, after a screen for each place of the graph.
            summary = unconverted(str(error))
            if not summary:
                raise
            raise RuntimeError(summary) from error
        return _converted(model, wrapper, arrays)


def trace(case: Case, arrays: Arrays, path: Path, *, repaired: bool) -> None:
    """Write the TorchScript that `convert` converts to a file.

    Args:
        case: the model.
        arrays: the example that it is traced with.
        path: of the file.
        repaired: with the shims that repair wrong numbers.
    """
    with torch.no_grad(), shims.applied(repaired=repaired):
        module = case.module()
        shims.prepare(module)
        wrapper = named_module(module, case, list(arrays))
        example = tuple(torch.from_numpy(array.copy()) for array in arrays.values())
        torch.jit.save(torch.jit.trace(wrapper, example, check_trace=False), path)


def _converted(model: Any, wrapper: NamedModule, arrays: Arrays) -> Converted:
    inputs = []
    for port in model.inputs:
        names = [name for name in arrays if name in port.get_names()]
        if len(names) != 1:
            raise RuntimeError(
                f"expected each input to be named after one of {list(arrays)}, found one that is "
                f"called {sorted(port.get_names())}"
            )
        inputs.append(names[0])
    if len(model.outputs) != len(wrapper.outputs):
        raise RuntimeError(
            f"expected {len(wrapper.outputs)} outputs ({', '.join(wrapper.outputs)}), found "
            f"{len(model.outputs)} after conversion"
        )
    return Converted(model, tuple(inputs), wrapper.outputs)
