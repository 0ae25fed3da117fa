"""WebGPU through ONNX Runtime's plugin provider, which runs it natively on Dawn."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import onnxruntime as ort

from backends._shared import positions, vulkan
from backends._shared.completed_inputs import CompletedProgram
from backends._shared.onnx import graph_cache
from backends._shared.onnx.passes import chosen
from backends._shared.onnx.runtime import (
    Inference,
    PlacedProgram,
    assignment,
    exported_file,
    placement_on,
)
from backends._shared.onnx.verified_export import Exported
from backends._shared.onnx.webgpu_rewrites import PASSES
from backends.webgpu import sessions
from harness.contract import (
    Arrays,
    Case,
    Device,
    ExportedFile,
    Placement,
    Precision,
    Program,
    Unsupported,
)
from harness.toolkit import cache as caches

#: So many routes' graphs are tried at most, where the provider does not take all of one.
ROUTES_TRIED = 3


class Backend:
    """Implements `harness.contract.Backend`."""

    # Shaders are compiled at the first inference; SwiftShader takes up to a minute for that.
    precisions: Sequence[Precision] = (
        Precision("default", "float32", patience=3.0),
        Precision("f32", "float32", patience=3.0),
        Precision("f16", "float16", patience=3.0),
    )
    dynamic = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        self.passes = chosen(PASSES, options.get("skip_rewrite", ""))

    def probe(self) -> Device:
        """The GPU or what stands in for one.

        Raises:
            Unavailable: there is no Vulkan driver, or the provider finds no device.
        """
        found = sessions.provider().device()
        hardware = found.device
        emulated = hardware.type != ort.OrtHardwareDeviceType.GPU
        name = str(hardware.metadata.get("Description", "")) or f"GPU of {hardware.vendor}"
        if sys.platform == "linux":
            adapter = vulkan.chosen_device()
            name, emulated = adapter.name, adapter.is_processor
        packages = ("onnxruntime", "onnxruntime-ep-webgpu", "onnx", "onnxscript", "torch")
        return Device(
            name=name,
            kind="gpu",
            versions={each: version(each) for each in (*packages, "transformers")},
            driver=f"{sessions.PROVIDER} {found.ep_metadata.get('version', '')}".strip(),
            emulated=emulated,
        )

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export, rewrite, check on the CPU provider, and open a session.

        Where the provider takes only a part of the graph, the next route is tried too.

        Raises:
            Unsupported: float16 on a device without WebGPU's feature shader-f16.
            ExportFailed: no exporter gives a right graph; the provider is not to blame.
            What ONNX Runtime raises when the provider cannot compile the graph.
        """
        if precision.dtype == "float16" and not sessions.has_half_precision():
            raise Unsupported("the device lacks WebGPU's feature shader-f16")
        case, complete = positions.completed_case(case)
        best: PlacedProgram | None = None
        for made in islice(self._graphs(case, precision), ROUTES_TRIED):
            session = sessions.provider().session(made.model)
            found = with_origin(placement_on(sessions.PROVIDER, assignment(session)), made)
            if best is None or found.device_share > best.found.device_share:
                best = PlacedProgram(Inference(session, made.outputs, made.fixed), found)
            if found.device_share == 1.0:
                break
        assert best is not None  # without a first graph the iterator raises
        return CompletedProgram(best, complete)

    def exported(
        self, case: Case, precision: Precision, inputs: Arrays, path: Path
    ) -> ExportedFile:
        """The graph of the first route as a file; raises as `prepare`."""
        case, complete = positions.completed_case(case)
        made = next(self._graphs(case, precision))
        written = exported_file(made.model, made.outputs, complete(inputs), path)
        return replace(written, judged_alone=True)

    def _graphs(self, case: Case, precision: Precision) -> Iterator[Exported]:
        store = caches.Cache.of(self.options)
        key = graph_cache.model_key(case, store, self.passes)
        graphs = graph_cache.exports(case, store, key, self.passes)
        if precision.dtype != "float16":
            return graphs
        from backends._shared.onnx import half_precision  # which imports much

        return map(half_precision.halved, graphs)


def with_origin(found: Placement, made: Exported) -> Placement:
    """The placement, with the graph's route of export and rewrites among its counts."""
    rewrites = ", ".join(f"{name} x{count}" for name, count in made.rewrites.items())
    evidence = f"{found.evidence}; route {made.route}; rewrites: {rewrites or 'none'}"
    counts = {f"rewrite/{name}": count for name, count in made.rewrites.items()}
    # Each node is a partition of its own, so that their number says nothing.
    return Placement(
        found.device_share,
        evidence,
        found.fallback_ops,
        {"nodes": found.counts["nodes"], f"route/{made.route}": 1, **counts},
    )
