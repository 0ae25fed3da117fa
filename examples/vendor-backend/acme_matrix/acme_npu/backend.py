"""Backend of the ACME NPU: a model is exported in float16, and compiled for its own shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import acme_sdk
import numpy as np
import torch
import transformers
from hf_hardware_matrix.contract import (
    Array,
    Arrays,
    Case,
    Device,
    Placement,
    Precision,
    Unavailable,
    Unsupported,
)
from hf_hardware_matrix.toolkit.dtype_cast import cast


class Tensors(torch.nn.Module):
    """A model in float16 whose forward returns a tuple of tensors.

    Args:
        case: of the model.
    """

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.model = cast(case.module(), torch.float16)
        for part in self.model.modules():
            if hasattr(part, "set_attn_implementation"):
                part.set_attn_implementation("eager")  # the compiler has no fused attention
        self.options = dict(case.options())
        self.case = case

    def named(self, **inputs: Any) -> Mapping[str, Any]:
        """The outputs by name."""
        return self.case.tensors(self.model(**inputs, **self.options))

    def forward(self, **inputs: Any) -> tuple[Any, ...]:
        """The outputs in their order."""
        return tuple(self.named(**inputs).values())


class NpuProgram:
    """One model, compiled for the shapes of its plain inputs."""

    def __init__(self, case: Case, *, fast: bool) -> None:
        given = {name: converted(array) for name, array in case.inputs("base").items()}
        self.shapes = {name: array.shape for name, array in given.items()}
        module = Tensors(case).eval()
        tensors = {name: torch.from_numpy(array) for name, array in given.items()}
        with torch.no_grad():
            self.names = list(module.named(**tensors))
            exported = torch.export.export(module, (), tensors, strict=False)
        try:
            self.executable = acme_sdk.compile_program(exported, list(given), fast=fast)
        except acme_sdk.UnsupportedOperator as error:
            raise Unsupported(str(error)) from error

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference; outputs by name, on the host."""
        for name, shape in self.shapes.items():
            if inputs[name].shape != shape:
                raise ValueError(f"{name}: compiled for {shape}, found {inputs[name].shape}")
        # Copies on both sides: the SDK converts its inputs in place, and reuses its outputs.
        found = self.executable.run([converted(inputs[name]) for name in self.shapes])
        return {name: np.array(array) for name, array in zip(self.names, found, strict=True)}

    def placement(self) -> Placement:
        """The runtime's own count of what ran where, in the last run."""
        report = self.executable.report
        npu, host = report.npu.total(), report.host.total()
        share = npu / max(1, npu + host)
        return Placement(share, f"runtime report: {npu} operators on the NPU", dict(report.host))


def converted(array: Array) -> Array:
    """A copy that the SDK takes: floats as float16, in C order."""
    kind = np.float16 if array.dtype.kind == "f" else array.dtype
    return np.array(array, dtype=kind, order="C")


class Backend:
    """Implements `hf_hardware_matrix.contract.Backend`."""

    precisions = (Precision("default", "float16"), Precision("fast", "float16"))
    dynamic = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    def probe(self) -> Device:
        """The first device that the driver sees."""
        found = acme_sdk.devices()
        if not found:
            raise Unavailable(
                "expected an ACME NPU or its emulator, and the driver sees none.",
                "plug one in, or unset ACME_DEVICES.",
            )
        versions = {
            "acme-sdk": acme_sdk.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        first = found[0]
        return Device(first.name, "npu", versions, first.driver, first.memory_bytes, emulated=True)

    def prepare(self, case: Case, precision: Precision) -> NpuProgram:
        """The model, exported and compiled.

        Raises:
            Unsupported: the SDK has no kernel for one of its operators.
        """
        return NpuProgram(case, fast=precision.name == "fast")
