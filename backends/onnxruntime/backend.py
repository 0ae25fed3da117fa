"""ONNX Runtime's CPU provider, on graphs that PyTorch exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from backends._shared import positions
from backends._shared.completed_inputs import CompletedProgram
from backends._shared.generation import stepwise
from backends._shared.onnx import graph_cache
from backends._shared.onnx.runtime import (
    Inference,
    assignment,
    cpu_session,
    exported_file,
    placement_on,
    processor,
)
from backends._shared.onnx.verified_export import Exported
from backends.onnxruntime.plugin import PRECISIONS, described, plugin_of
from harness.contract import (
    Array,
    Arrays,
    Case,
    Device,
    ExportedFile,
    Generator,
    Placement,
    Precision,
    Program,
)
from harness.toolkit import cache as caches

PROVIDER = "CPUExecutionProvider"


class CpuProgram:
    """A graph on the CPU provider, or on another one.

    Args:
        infer: the session.
        note: how the graph came about.
        provider: the name of the provider that shall take every node.
    """

    def __init__(self, infer: Inference, note: str, provider: str = PROVIDER) -> None:
        self.infer = infer
        self.note = note
        self.provider = provider

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.infer(inputs)

    def placement(self) -> Placement:
        """Placement as the session reports it, node by node."""
        found = placement_on(self.provider, assignment(self.infer.session))
        return Placement(found.device_share, f"{found.evidence}; {self.note}", found.fallback_ops)


class Backend:
    """Implements `harness.contract.Backend`."""

    precisions: Sequence[Precision] = (
        Precision("default", "float32"),
        Precision("f32", "float32"),
        Precision("int8", "int8"),
    )
    dynamic = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        self.plugin = plugin_of(options)
        if self.plugin:
            self.precisions = PRECISIONS

    def probe(self) -> Device:
        """The processor, or a plugin provider's device, and the versions of what computes.

        Raises:
            HarnessError: the options name no provider that can be loaded.
            Unavailable: the provider finds no device.
        """
        if self.plugin:
            return described(self.plugin)
        return processor(PROVIDER)

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export, check, and open a session as a user gets it.

        Raises:
            ExportFailed: no exporter gives a right graph.
        """
        case, complete = positions.completed_case(case)
        made = self._graph(case, precision)
        session = (self.plugin.session if self.plugin else cpu_session)(made.model)
        provider = self.plugin.device().ep_name if self.plugin else PROVIDER
        infer = Inference(session, made.outputs, made.fixed)
        return CompletedProgram(CpuProgram(infer, f"route {made.route}", provider), complete)

    def generator(self, case: Case, precision: Precision) -> Generator:
        """`generate()` on graphs with explicit caches of a fixed length."""
        return stepwise.generator(case, partial(self.prepare, precision=precision), static=True)

    def exported(
        self, case: Case, precision: Precision, inputs: Arrays, path: Path
    ) -> ExportedFile:
        """The graph as a file; raises as `prepare`."""
        case, complete = positions.completed_case(case)
        made = self._graph(case, precision)
        return exported_file(made.model, made.outputs, complete(inputs), path)

    def _graph(self, case: Case, precision: Precision) -> Exported:
        store = caches.Cache.of(self.options)
        key = graph_cache.model_key(case, store)
        made = next(graph_cache.exports(case, store, key))
        if precision.name == "f16":
            from backends._shared.onnx import half_precision  # which imports much

            return half_precision.halved(made)
        if precision.name != "int8":
            return made
        from backends._shared.onnx import quantize  # which imports much

        return replace(made, model=quantize.dynamic_int8(made.model))
