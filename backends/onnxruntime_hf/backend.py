"""ONNX Runtime's CPU provider, on graphs of transformers' OnnxExporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers.exporters.exporter_onnx import OnnxExporter

from backends._shared.hf_export import HfProgram, export
from backends._shared.hf_generation import HfGenerator
from backends._shared.onnx.runtime import assignment, options, placement_on, processor
from harness.contract import Case, Device, Generator, Placement, Precision, Program

PROVIDER = "CPUExecutionProvider"


class Backend:
    """Implements `harness.contract.Backend`."""

    precisions: Sequence[Precision] = (Precision("default", "float32"), Precision("f32", "float32"))

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    def probe(self) -> Device:
        """The processor and the versions of what computes and exports."""
        return processor(PROVIDER)

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export, and open a session by the exported model's `to`.

        Raises:
            ExportFailed: neither dynamic nor static shapes can be exported.
            What ONNX Runtime raises on a graph that it cannot load.
        """
        made = export(OnnxExporter(), case)
        made.exported.to("cpu", session_options=options())
        session = made.exported.runners["model"].session

        def placed() -> Placement:
            return made.placed(placement_on(PROVIDER, assignment(session)))

        return HfProgram(made, case, placed)

    def generator(self, case: Case, precision: Precision) -> Generator:
        """`generate()` on the exported prompt and token, one graph each."""

        def load(made: Any) -> None:
            made.to("cpu", session_options=options())

        return HfGenerator(OnnxExporter(), case, load, _shares)


def _shares(made: Any) -> Mapping[str, float]:
    """The share of nodes on the provider, by component of an exported model."""
    return {
        name: placement_on(PROVIDER, assignment(runner.session)).device_share
        for name, runner in made.runners.items()
    }
