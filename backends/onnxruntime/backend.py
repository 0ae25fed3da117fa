"""ONNX Runtime's CPU provider, on graphs that PyTorch exports."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import onnxruntime as ort
import psutil

from backends._shared import positions
from backends._shared.completed_inputs import CompletedProgram
from backends._shared.onnx import graph_cache
from backends._shared.onnx.runtime import (
    Inference,
    assignment,
    cpu_session,
    exported_file,
    placement_on,
)
from backends._shared.onnx.verified_export import Exported
from harness.contract import (
    Array,
    Arrays,
    Case,
    Device,
    ExportedFile,
    Placement,
    Precision,
    Program,
)
from harness.toolkit import cache as caches

PROVIDER = "CPUExecutionProvider"


class CpuProgram:
    """A graph on the CPU provider."""

    def __init__(self, infer: Inference, note: str) -> None:
        self.infer = infer
        self.note = note

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference."""
        return self.infer(inputs)

    def placement(self) -> Placement:
        """Placement as the session reports it: every node on the CPU provider."""
        found = placement_on(PROVIDER, assignment(self.infer.session))
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

    def probe(self) -> Device:
        """The processor and the versions of what computes and exports."""
        packages = ("onnxruntime", "onnx", "onnxscript", "torch", "transformers")
        return Device(
            name=platform.processor() or platform.machine(),
            kind="cpu",
            versions={name: version(name) for name in packages},
            driver=f"{PROVIDER} of ONNX Runtime {ort.__version__}",
            memory_bytes=int(psutil.virtual_memory().total),
        )

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export, check, and open a session as a user gets it.

        Raises:
            ExportFailed: no exporter gives a right graph.
        """
        case, complete = positions.completed_case(case)
        made = self._graph(case, precision)
        infer = Inference(cpu_session(made.model), made.outputs, made.fixed)
        return CompletedProgram(CpuProgram(infer, f"route {made.route}"), complete)

    def exported(
        self, case: Case, precision: Precision, inputs: Arrays, path: Path
    ) -> ExportedFile:
        """The graph as a file; raises as `prepare`."""
        case, complete = positions.completed_case(case)
        made = self._graph(case, precision)
        return exported_file(made.model, made.outputs, complete(inputs), path)

    def _graph(self, case: Case, precision: Precision) -> Exported:
        store, key = caches.Cache.of(self.options), graph_cache.model_key(case)
        made = next(graph_cache.exports(case, store, key))
        if precision.name != "int8":
            return made
        from backends._shared.onnx import quantize  # which imports much

        return replace(made, model=quantize.dynamic_int8(made.model))
