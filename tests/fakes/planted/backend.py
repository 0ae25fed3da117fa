"""One planted operator: PyTorch on the CPU, wrong wherever that operator meets those operands.

`default` traces a case and interprets the graph, as a compiler's runtime does; `eager` runs the
module itself. The option `planted`, or the variable `PLANTED`, is `EFFECT/OPERATOR/KEY`, with a key
of `planted.key_of`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fakes.planted import planted
from torch.fx.experimental.proxy_tensor import make_fx

from backends._shared.torch.backend import MODES, CpuBackend, TorchProgram
from harness.contract import Array, Arrays, Case, Placement, Precision


class CompiledProgram:
    """A traced graph, interpreted."""

    def __init__(self, case: Case, fault: planted.Planted) -> None:
        self.fault = fault
        module, options = case.module(), case.options()
        self.names: list[str] = []
        inputs = case.inputs("base")
        self.inputs = list(inputs)

        def forward(*given: Any) -> Any:
            raw = module(**dict(zip(self.inputs, given, strict=True)), **options)
            found = case.tensors(raw)
            self.names = list(found)
            return tuple(found.values())

        with torch.no_grad():
            tensors = [torch.from_numpy(np.array(a)) for a in inputs.values()]
            make = make_fx(forward, pre_dispatch=True, _error_on_data_dependent_ops=False)
            self.graph = make(*tensors)

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        fault = self.fault

        class Faulty(torch.fx.Interpreter):
            """Runs a graph with the planted operator."""

            def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
                """Run one operator."""
                made = super().call_function(target, args, kwargs)
                return fault.applied(planted.name_of(target), args, kwargs, made)

        torch.manual_seed(0)
        with torch.no_grad():
            given = [torch.from_numpy(np.array(inputs[name])) for name in self.inputs]
            found = Faulty(self.graph).run(*given)
        return {n: t.numpy().copy() for n, t in zip(self.names, found, strict=True)}

    def placement(self) -> Placement:
        """All of it on the CPU."""
        return Placement(1.0, "an interpreter on the CPU")


class EagerProgram(TorchProgram):
    """The module itself, under a mode with the planted operator."""

    fault: planted.Planted

    def run(self, given: Mapping[str, Any]) -> Any:
        """The module's raw outputs."""
        with self.fault.mode():
            return super().run(given)


class Backend(CpuBackend):
    """Implements `harness.contract.Backend`."""

    precisions = (Precision("default", "float32"), Precision("eager", "float32"))
    dynamic = False

    def prepare(self, case: Case, precision: Precision) -> Any:
        """The small model with the planted operator."""
        fault = planted.Planted.of(self.options.get("planted") or os.environ.get("PLANTED", ""))
        if precision.name == "default":
            return CompiledProgram(case, fault)
        program = EagerProgram(case.module(), case, torch.device("cpu"), MODES["f32"])
        program.fault = fault
        return program
