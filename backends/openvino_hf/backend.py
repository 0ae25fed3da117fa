"""OpenVINO on whatever device it finds: models that transformers' OpenVINOExporter converts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import transformers

from backends._shared.hf_export import HfProgram, export
from backends._shared.hf_generation import HfGenerator
from backends._shared.openvino import devices
from backends._shared.openvino.placement import executed_on, placement
from backends._shared.openvino_without_telemetry import ov
from harness.contract import (
    Case,
    Device,
    Generator,
    HarnessError,
    Placement,
    Precision,
    Program,
)

# isort: split
from transformers.exporters.exporter_openvino import OpenVINOExporter  # which imports OpenVINO

#: OpenVINO's names of devices -> those that `ExportedModel.to` takes.
RUNNERS: Mapping[str, str | None] = {"CPU": "cpu", "GPU": "xpu", "AUTO": None}


class Backend:
    """Implements `harness.contract.Backend`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    @cached_property
    def target(self) -> devices.Target:
        """The device; opened at the first use, which is in a child."""
        found = devices.target(self.options.get("device", ""), ov.Core())
        if found.name not in RUNNERS:
            raise HarnessError(
                f"expected --device to be one of {', '.join(RUNNERS)}, found {found.name!r}. "
                "Fix: name one of those: transformers' runner takes no other"
            )
        return found

    @property
    def precisions(self) -> Sequence[Precision]:
        """`default`, which is the device's own, and `f32`, by a hint at loading."""
        return [p for p in self.target.precisions() if p.name in ("default", "f32")]

    def probe(self) -> Device:
        """The device as its plug-in names it."""
        return self.target.described(
            {
                "openvino": ov.get_version().partition("-")[0],
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            }
        )

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export, and compile by the exported model's `to`.

        Raises:
            ExportFailed: neither dynamic nor static shapes can be exported.
            What OpenVINO raises on a model that it cannot compile.
        """
        target = self.target
        made = export(OpenVINOExporter(), case)
        made.exported.to(RUNNERS[target.name], config=target.hints(precision))
        compiled = made.exported.runners["model"].compiled_model
        support = target.support(made.exported.program, executed_on(compiled))

        def placed() -> Placement:
            return made.placed(placement(compiled, support, target, "OpenVINOExporter"))

        return HfProgram(made, case, placed)

    def generator(self, case: Case, precision: Precision) -> Generator:
        """`generate()` on the exported prompt and token, one model each."""
        target = self.target

        def load(made: Any) -> None:
            made.to(RUNNERS[target.name], config=target.hints(precision))

        def shares(made: Any) -> Mapping[str, float]:
            found = {}
            for name, runner in made.runners.items():
                program = made.components[name].program
                support = target.support(program, executed_on(runner.compiled_model))
                placed = placement(runner.compiled_model, support, target, "OpenVINOExporter")
                found[name] = placed.device_share
            return found

        return HfGenerator(OpenVINOExporter(), case, load, shares, stateful=False)
